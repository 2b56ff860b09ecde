/* SPDX-License-Identifier: Apache-2.0 */
#include "small_dynamo.h"

#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMALL_TABLE "table"
#define SMALL_NAMES 16

/* A request as it is carried out. */
struct small_request {
    struct small_dynamo *server;
    const json_t *root;
    const json_t *names, *values; /* of its expressions; NULL: none */
    const char *used[2 * SMALL_NAMES];
    size_t used_count;
    struct small_answer *answer;
};

/* ---- Items ---- */

const char *small_text(const json_t *item, const char *name)
{
    return json_string_value(json_object_get(json_object_get(item, name), "S"));
}

bool small_number(const json_t *item, const char *name, long double *number)
{
    const char *text = json_string_value(json_object_get(json_object_get(item, name), "N"));
    if (text == NULL) {
        return false;
    }
    *number = strtold(text, NULL);
    return true;
}

static int small_order(const json_t *a, const char *partition, const char *key)
{
    int order = strcmp(small_text(a, "id"), partition);
    return order != 0 ? order : strcmp(small_text(a, "name"), key);
}

/* Where the item is, or would be. */
static size_t small_place(const struct small_dynamo *server, const char *partition, const char *key)
{
    size_t i = 0;
    while (i < server->count && small_order(server->items[i], partition, key) < 0) {
        i++;
    }
    return i;
}

const json_t *small_find(const struct small_dynamo *server, const char *partition, const char *key)
{
    size_t i = small_place(server, partition, key);
    return i < server->count && small_order(server->items[i], partition, key) == 0
               ? server->items[i]
               : NULL;
}

void small_remove(struct small_dynamo *server, const char *partition, const char *key)
{
    size_t i = small_place(server, partition, key);
    if (small_find(server, partition, key) != NULL) {
        json_decref(server->items[i]);
        server->count--;
        memmove(&server->items[i], &server->items[i + 1],
                (server->count - i) * sizeof server->items[0]);
    }
}

void small_put(struct small_dynamo *server, json_t *item)
{
    const char *partition = small_text(item, "id");
    const char *key = small_text(item, "name");
    fuzz_check(partition != NULL && key != NULL);
    small_remove(server, partition, key);
    fuzz_check(server->count < SMALL_ITEMS);
    size_t i = small_place(server, partition, key);
    memmove(&server->items[i + 1], &server->items[i],
            (server->count - i) * sizeof server->items[0]);
    server->items[i] = item;
    server->count++;
}

void small_clear(struct small_dynamo *server)
{
    for (size_t i = 0; i < server->count; i++) {
        json_decref(server->items[i]);
    }
    *server = (struct small_dynamo){0};
}

/* ---- What is asked ---- */

static const char *small_string(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    fuzz_check(text != NULL);
    return text;
}

static bool small_is_one_of(const char *name, const char *const *names)
{
    while (*names != NULL && strcmp(name, *names) != 0) {
        names++;
    }
    return *names != NULL;
}

static void small_check_members(const json_t *object, const char *const *allowed)
{
    const char *name;
    json_t *member;
    fuzz_check(json_is_object(object));
    json_object_foreach((json_t *)object, name, member)
    {
        fuzz_check(small_is_one_of(name, allowed));
    }
}

static bool small_is_number(const char *text)
{
    size_t digits = strspn(text + (*text == '-' ? 1 : 0), "0123456789");
    return digits > 0 && digits <= 38;
}

/* An attribute value: one member, of a type that there is. */
static void small_check_value(const json_t *value)
{
    static const char *const types[] = {"S", "N", "B",    "SS",   "NS", "BS",
                                        "M", "L", "BOOL", "NULL", NULL};
    fuzz_check(json_is_object(value) && json_object_size(value) == 1);
    small_check_members(value, types);
    const char *number = json_string_value(json_object_get(value, "N"));
    fuzz_check(json_object_get(value, "N") == NULL ||
               (number != NULL && strspn(number, "0123456789-+.eE") == strlen(number)));
    fuzz_check(json_object_get(value, "S") == NULL || json_is_string(json_object_get(value, "S")));
}

/* The two of the key, and nothing else. */
static void small_check_key(const json_t *key)
{
    fuzz_check(json_object_size(key) == 2);
    const char *partition = small_text(key, "id");
    const char *name = small_text(key, "name");
    fuzz_check(partition != NULL && name != NULL);
    fuzz_check(strlen(partition) >= 1 && strlen(partition) <= 2048);
    fuzz_check(strlen(name) >= 1 && strlen(name) <= 1024);
}

static void small_use(struct small_request *request, const char *name)
{
    for (size_t i = 0; i < request->used_count; i++) {
        if (strcmp(request->used[i], name) == 0) {
            return;
        }
    }
    fuzz_check(request->used_count < 2 * SMALL_NAMES);
    request->used[request->used_count++] = name;
}

/* The value that the expression names. */
static const json_t *small_value(struct small_request *request, const char *name)
{
    const char *known;
    json_t *value;
    json_object_foreach((json_t *)request->values, known, value)
    {
        if (strcmp(known, name) == 0) {
            small_use(request, known);
            return value;
        }
    }
    fuzz_failed("a value that the expression names is given", __FILE__, __LINE__);
}

static const char *small_name(struct small_request *request, const char *word)
{
    /* Of DynamoDB's reserved words, those that are likely here. */
    static const char *const reserved[] = {"name", "key", "values", "owner", "ttl", NULL};
    if (word[0] != '#') {
        fuzz_check(!small_is_one_of(word, reserved));
        return word;
    }
    const char *known;
    json_t *name;
    json_object_foreach((json_t *)request->names, known, name)
    {
        if (strcmp(known, word) == 0) {
            small_use(request, known);
            return json_string_value(name);
        }
    }
    fuzz_failed("a name that the expression uses is given", __FILE__, __LINE__);
}

/* DynamoDB refuses a request with a value or a name that no expression uses. */
static void small_check_used(const struct small_request *request)
{
    const char *known;
    json_t *value;
    size_t given = json_object_size(request->values) + json_object_size(request->names);
    fuzz_check(given == request->used_count);
    fuzz_check(request->values == NULL || json_object_size(request->values) > 0);
    fuzz_check(request->names == NULL || json_object_size(request->names) > 0);
    json_object_foreach((json_t *)request->values, known, value)
    {
        fuzz_check(known[0] == ':');
        small_check_value(value);
    }
}

/* ---- Expressions ---- */

struct small_scan {
    struct small_request *request;
    const char *at;
    const json_t *item; /* NULL: there is none */
    char word[64];
};

/* The next word into scan->word: a name, a number, or one other character; "": the end. */
static const char *small_next(struct small_scan *scan)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_#:";
    scan->at += strspn(scan->at, " ");
    size_t length = strspn(scan->at, letters);
    if (length == 0 && *scan->at != '\0') {
        length = strncmp(scan->at, ">=", 2) == 0 ? 2 : 1;
    }
    fuzz_check(length < sizeof scan->word);
    memcpy(scan->word, scan->at, length);
    scan->word[length] = '\0';
    scan->at += length;
    return scan->word;
}

static bool small_follows(struct small_scan *scan, const char *word)
{
    const char *before = scan->at;
    if (strcmp(small_next(scan), word) == 0) {
        return true;
    }
    scan->at = before;
    return false;
}

static void small_expect(struct small_scan *scan, const char *word)
{
    fuzz_check(small_follows(scan, word));
}

/* Of a different type it never holds. */
static bool small_compare(const json_t *have, const char *comparator, const json_t *want)
{
    const char *text = json_string_value(json_object_get(have, "S"));
    const char *other = json_string_value(json_object_get(want, "S"));
    const char *digits = json_string_value(json_object_get(have, "N"));
    const char *other_digits = json_string_value(json_object_get(want, "N"));
    int order;
    if (text != NULL && other != NULL) {
        order = strcmp(text, other);
    } else if (digits != NULL && other_digits != NULL) {
        long double a = strtold(digits, NULL), b = strtold(other_digits, NULL);
        order = a < b ? -1 : a > b ? 1 : 0;
    } else {
        return false;
    }
    if (strcmp(comparator, "=") == 0) {
        return order == 0;
    }
    fuzz_check(strcmp(comparator, "<") == 0 || strcmp(comparator, ">=") == 0);
    return comparator[0] == '<' ? order < 0 : order >= 0;
}

static bool small_any(struct small_scan *scan);

static bool small_term(struct small_scan *scan)
{
    char attribute[64], comparator[4];
    if (small_follows(scan, "(")) {
        bool holds = small_any(scan);
        small_expect(scan, ")");
        return holds;
    }
    bool is_absent = small_follows(scan, "attribute_not_exists");
    bool begins = !is_absent && small_follows(scan, "begins_with");
    if (is_absent || begins) {
        small_expect(scan, "(");
    }
    (void)snprintf(attribute, sizeof attribute, "%s", small_name(scan->request, small_next(scan)));
    const json_t *have = json_object_get(scan->item, attribute);
    if (is_absent) {
        small_expect(scan, ")");
        return have == NULL;
    }
    if (begins) {
        small_expect(scan, ",");
        const char *prefix =
            json_string_value(json_object_get(small_value(scan->request, small_next(scan)), "S"));
        small_expect(scan, ")");
        const char *text = json_string_value(json_object_get(have, "S"));
        fuzz_check(prefix != NULL && prefix[0] != '\0');
        return text != NULL && strncmp(text, prefix, strlen(prefix)) == 0;
    }
    (void)snprintf(comparator, sizeof comparator, "%s", small_next(scan));
    const json_t *want = small_value(scan->request, small_next(scan));
    return small_compare(have, comparator, want);
}

static bool small_all(struct small_scan *scan)
{
    bool holds = small_term(scan);
    while (small_follows(scan, "AND")) {
        bool next = small_term(scan);
        holds = holds && next;
    }
    return holds;
}

static bool small_any(struct small_scan *scan)
{
    bool holds = small_all(scan);
    while (small_follows(scan, "OR")) {
        bool next = small_all(scan);
        holds = holds || next;
    }
    return holds;
}

static bool small_holds(struct small_request *request, const char *expression, const json_t *item)
{
    struct small_scan scan = {.request = request, .at = expression, .item = item};
    bool holds = small_any(&scan);
    fuzz_check(*small_next(&scan) == '\0');
    return holds;
}

/* :v, or if_not_exists(version, :u) + :1 */
static json_t *small_operand(struct small_scan *scan)
{
    if (!small_follows(scan, "if_not_exists")) {
        return json_deep_copy(small_value(scan->request, small_next(scan)));
    }
    small_expect(scan, "(");
    const json_t *have = json_object_get(scan->item, small_name(scan->request, small_next(scan)));
    small_expect(scan, ",");
    const json_t *other = small_value(scan->request, small_next(scan));
    small_expect(scan, ")");
    small_expect(scan, "+");
    const json_t *more = small_value(scan->request, small_next(scan));
    const char *number = json_string_value(json_object_get(have != NULL ? have : other, "N"));
    char sum[64];
    if (number == NULL || !small_is_number(number)) {
        return NULL; /* ValidationException */
    }
    /* Whole numbers of up to 38 digits; those of a stranger may have a fraction, which is left out here. */
    (void)snprintf(sum, sizeof sum, "%.0Lf",
                   strtold(number, NULL) +
                       strtold(json_string_value(json_object_get(more, "N")), NULL));
    return json_pack("{ss}", "N", sum);
}

/* False: an operand is of a wrong type. */
static bool small_update(struct small_request *request, const char *expression, json_t *item)
{
    json_t *before = json_deep_copy(item);
    struct small_scan scan = {.request = request, .at = expression, .item = before};
    char attribute[64], seen[SMALL_NAMES][64];
    size_t count = 0;
    bool right = true;
    small_expect(&scan, "SET");
    bool setting = true;
    for (;;) {
        (void)snprintf(attribute, sizeof attribute, "%s", small_name(request, small_next(&scan)));
        fuzz_check(strcmp(attribute, "id") != 0 && strcmp(attribute, "name") != 0);
        for (size_t i = 0; i < count; i++) { /* two paths must not overlap */
            fuzz_check(strcmp(seen[i], attribute) != 0);
        }
        fuzz_check(count < SMALL_NAMES);
        memcpy(seen[count++], attribute, sizeof attribute);
        if (setting) {
            small_expect(&scan, "=");
            json_t *value = small_operand(&scan);
            right = right && value != NULL;
            if (value != NULL) {
                fuzz_check(json_object_set_new(item, attribute, value) == 0);
            }
        } else {
            (void)json_object_del(item, attribute);
        }
        if (small_follows(&scan, ",")) {
            continue;
        }
        if (setting && small_follows(&scan, "REMOVE")) {
            setting = false;
            continue;
        }
        break;
    }
    fuzz_check(*small_next(&scan) == '\0');
    json_decref(before);
    return right;
}

/* ---- Answers ---- */

static void small_say(struct small_request *request, int status, json_t *body)
{
    request->answer->status = status;
    request->answer->body = json_dumps(body, JSON_COMPACT);
    fuzz_check(request->answer->body != NULL);
    json_decref(body);
}

static void small_refuse(struct small_request *request, const char *name, const char *message,
                         const json_t *item)
{
    char type[128];
    (void)snprintf(type, sizeof type, "com.amazonaws.dynamodb.v20120810#%s", name);
    json_t *body = json_pack("{ssss}", "__type", type, "message", message);
    if (item != NULL) {
        (void)json_object_set(body, "Item", (json_t *)item);
    }
    small_say(request, 400, body);
}

/* The condition, where there is one. */
static bool small_condition(struct small_request *request, const json_t *item)
{
    const json_t *condition = json_object_get(request->root, "ConditionExpression");
    const json_t *asked = json_object_get(request->root, "ReturnValuesOnConditionCheckFailure");
    fuzz_check((condition == NULL) == (asked == NULL));
    if (condition == NULL) {
        return true;
    }
    fuzz_check(strcmp(json_string_value(asked), "ALL_OLD") == 0);
    return small_holds(request, json_string_value(condition), item);
}

static void small_fail_condition(struct small_request *request, const json_t *item)
{
    request->answer->refused = true;
    small_refuse(request, "ConditionalCheckFailedException", "The conditional request failed",
                 request->server->shows_items ? item : NULL);
}

static void small_written(struct small_request *request)
{
    request->answer->written = true;
    request->server->writes++;
    small_say(request, 200, json_object());
}

/* ---- Operations ---- */

static const json_t *small_key_item(struct small_request *request, const char **partition,
                                    const char **name)
{
    const json_t *key = json_object_get(request->root, "Key");
    small_check_key(key);
    *partition = small_text(key, "id");
    *name = small_text(key, "name");
    return small_find(request->server, *partition, *name);
}

static void small_get(struct small_request *request)
{
    static const char *const members[] = {
        "TableName", "Key", "ConsistentRead", "ProjectionExpression", "ExpressionAttributeNames",
        NULL};
    static const char *const shown[] = {"id", "name", "version", "expires"};
    const char *partition, *name;
    const json_t *item = small_key_item(request, &partition, &name);
    const json_t *projection = json_object_get(request->root, "ProjectionExpression");
    json_t *body = json_object();
    small_check_members(request->root, members);
    if (projection != NULL) {
        fuzz_check(strcmp(json_string_value(projection), "id,#n,version,expires") == 0);
        fuzz_check(strcmp(small_name(request, "#n"), "name") == 0);
    }
    small_check_used(request);
    if (item != NULL && projection == NULL) {
        (void)json_object_set(body, "Item", (json_t *)item);
    } else if (item != NULL) {
        json_t *part = json_object();
        for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
            json_t *value = json_object_get(item, shown[i]);
            if (value != NULL) {
                (void)json_object_set(part, shown[i], value);
            }
        }
        (void)json_object_set_new(body, "Item", part);
    }
    small_say(request, 200, body);
}

static void small_put_item(struct small_request *request)
{
    static const char *const members[] = {"TableName",
                                          "Item",
                                          "ConditionExpression",
                                          "ExpressionAttributeValues",
                                          "ReturnValuesOnConditionCheckFailure",
                                          NULL};
    const json_t *item = json_object_get(request->root, "Item");
    const char *attribute;
    json_t *value;
    small_check_members(request->root, members);
    json_t *key = json_pack("{sOsO}", "id", json_object_get(item, "id"), "name",
                            json_object_get(item, "name"));
    fuzz_check(key != NULL);
    small_check_key(key);
    json_decref(key);
    json_object_foreach((json_t *)item, attribute, value)
    {
        small_check_value(value);
    }
    const json_t *have =
        small_find(request->server, small_text(item, "id"), small_text(item, "name"));
    bool holds = small_condition(request, have);
    small_check_used(request);
    if (!holds) {
        small_fail_condition(request, have);
        return;
    }
    small_put(request->server, json_deep_copy(item));
    small_written(request);
}

static void small_update_item(struct small_request *request)
{
    static const char *const members[] = {"TableName",
                                          "Key",
                                          "UpdateExpression",
                                          "ConditionExpression",
                                          "ExpressionAttributeValues",
                                          "ReturnValuesOnConditionCheckFailure",
                                          NULL};
    const char *partition, *name;
    const json_t *have = small_key_item(request, &partition, &name);
    small_check_members(request->root, members);
    bool holds = small_condition(request, have);
    json_t *item = have != NULL
                       ? json_deep_copy(have)
                       : json_pack("{s{ss}s{ss}}", "id", "S", partition, "name", "S", name);
    bool right = small_update(request, small_string(request->root, "UpdateExpression"), item);
    small_check_used(request);
    if (!holds) {
        small_fail_condition(request, have);
    } else if (!right) {
        small_refuse(request, "ValidationException",
                     "An operand in the update expression has an incorrect data type", NULL);
    } else {
        small_put(request->server, json_incref(item));
        small_written(request);
    }
    json_decref(item);
}

static void small_delete_item(struct small_request *request)
{
    static const char *const members[] = {"TableName",
                                          "Key",
                                          "ConditionExpression",
                                          "ExpressionAttributeValues",
                                          "ReturnValuesOnConditionCheckFailure",
                                          NULL};
    const char *partition, *name;
    const json_t *have = small_key_item(request, &partition, &name);
    small_check_members(request->root, members);
    bool holds = small_condition(request, have);
    small_check_used(request);
    if (!holds) {
        small_fail_condition(request, have);
        return;
    }
    bool was_there = have != NULL;
    small_remove(request->server, partition, name);
    small_written(request);
    request->answer->written = was_there;
}

/* From where the page begins: behind ExclusiveStartKey. */
static size_t small_start(const struct small_request *request)
{
    const json_t *start = json_object_get(request->root, "ExclusiveStartKey");
    if (start == NULL) {
        return 0;
    }
    small_check_key(start);
    size_t i = small_place(request->server, small_text(start, "id"), small_text(start, "name"));
    bool is_there = i < request->server->count &&
                    small_order(request->server->items[i], small_text(start, "id"),
                                small_text(start, "name")) == 0;
    return i + (is_there ? 1 : 0);
}

static void small_query(struct small_request *request)
{
    static const char *const members[] = {"TableName",
                                          "KeyConditionExpression",
                                          "ExpressionAttributeNames",
                                          "ExpressionAttributeValues",
                                          "ExclusiveStartKey",
                                          "ConsistentRead",
                                          NULL};
    const struct small_dynamo *server = request->server;
    const char *condition = small_string(request->root, "KeyConditionExpression");
    size_t page = server->page > 0 ? server->page : SMALL_ITEMS;
    json_t *items = json_array();
    const json_t *last = NULL;
    bool full = false;
    small_check_members(request->root, members);
    (void)small_holds(request, condition, NULL); /* what it uses, though there be no item */
    for (size_t i = small_start(request); i < server->count && !full; i++) {
        if (small_holds(request, condition, server->items[i])) {
            (void)json_array_append(items, server->items[i]);
            last = server->items[i];
            full = json_array_size(items) == page;
        }
    }
    small_check_used(request);
    json_t *body = json_pack("{sI}", "Count", (json_int_t)json_array_size(items));
    (void)json_object_set_new(body, "Items", items);
    if (full) {
        json_t *key = json_pack("{sOsO}", "id", json_object_get(last, "id"), "name",
                                json_object_get(last, "name"));
        (void)json_object_set_new(body, "LastEvaluatedKey", key);
    }
    small_say(request, 200, body);
}

static void small_describe(struct small_request *request)
{
    struct small_dynamo *server = request->server;
    bool creating = server->creating > 0;
    server->creating -= creating ? 1 : 0;
    if (server->no_table || (creating && server->creating % 2 == 1)) {
        small_refuse(request, "ResourceNotFoundException",
                     "Requested resource not found: Table: table not found", NULL);
        return;
    }
    json_t *body =
        json_pack("{s{ssss s[{ssss}{ssss}] s[{ssss}{ssss}]}}", "Table", "TableName", SMALL_TABLE,
                  "TableStatus", creating ? "CREATING" : "ACTIVE", "AttributeDefinitions",
                  "AttributeName", "id", "AttributeType", server->wrong_keys ? "B" : "S",
                  "AttributeName", "name", "AttributeType", "S", "KeySchema", "AttributeName", "id",
                  "KeyType", "HASH", "AttributeName", "name", "KeyType", "RANGE");
    small_say(request, 200, body);
}

static void small_create_table(struct small_request *request)
{
    static const char *const members[] = {"TableName", "BillingMode", "AttributeDefinitions",
                                          "KeySchema", NULL};
    small_check_members(request->root, members);
    fuzz_check(json_array_size(json_object_get(request->root, "AttributeDefinitions")) == 2);
    fuzz_check(json_array_size(json_object_get(request->root, "KeySchema")) == 2);
    if (!request->server->no_table) {
        small_refuse(request, "ResourceInUseException", "Table already exists: table", NULL);
        return;
    }
    request->server->no_table = false;
    request->server->writes++;
    request->answer->written = true;
    small_say(request, 200,
              json_pack("{s{ssss}}", "TableDescription", "TableName", SMALL_TABLE, "TableStatus",
                        "CREATING"));
}

static void small_describe_ttl(struct small_request *request)
{
    const struct small_dynamo *server = request->server;
    if (server->no_ttl) {
        small_refuse(request, "UnknownOperationException", "", NULL);
        return;
    }
    small_say(request, 200,
              server->ttl_enabled
                  ? json_pack("{s{ssss}}", "TimeToLiveDescription", "TimeToLiveStatus", "ENABLED",
                              "AttributeName", server->ttl_wrong ? "until" : "expires")
                  : json_pack("{s{ss}}", "TimeToLiveDescription", "TimeToLiveStatus", "DISABLED"));
}

static void small_update_ttl(struct small_request *request)
{
    static const char *const members[] = {"TableName", "TimeToLiveSpecification", NULL};
    const json_t *wanted = json_object_get(request->root, "TimeToLiveSpecification");
    small_check_members(request->root, members);
    fuzz_check(json_is_true(json_object_get(wanted, "Enabled")));
    fuzz_check(strcmp(small_string(wanted, "AttributeName"), "expires") == 0);
    if (request->server->no_ttl) {
        small_refuse(request, "UnknownOperationException", "", NULL);
    } else if (request->server->ttl_enabled) {
        small_refuse(request, "ValidationException", "TimeToLive is already enabled", NULL);
    } else {
        request->server->ttl_enabled = request->answer->written = true;
        request->server->writes++;
        small_say(request, 200, json_pack("{sO}", "TimeToLiveSpecification", wanted));
    }
}

/* ---- A request ---- */

static bool small_is_hex(const char *text, size_t length)
{
    return strspn(text, "0123456789abcdef") == length;
}

static void small_check_signature(const struct memory_request *request)
{
    const char *text = request->authorization;
    const char *date = request->date;
    fuzz_check(strncmp(text, "AWS4-HMAC-SHA256 Credential=AKID/", 33) == 0);
    fuzz_check(strncmp(text + 33, date, 8) == 0);
    fuzz_check(strstr(text, "/us-east-1/dynamodb/aws4_request") == text + 41);
    const char *headers = strstr(text, "SignedHeaders=");
    fuzz_check(headers != NULL && strstr(headers, "content-type;host;x-amz-date") != NULL);
    fuzz_check(strstr(headers, "x-amz-target") != NULL);
    fuzz_check((request->token != NULL) == (strstr(headers, "x-amz-security-token") != NULL));
    const char *signature = strstr(text, "Signature=");
    fuzz_check(signature != NULL && small_is_hex(signature + 10, 64) && signature[74] == '\0');
    fuzz_check(strlen(date) == 16 && date[8] == 'T' && date[15] == 'Z');
}

void small_do(struct small_dynamo *server, const struct memory_request *request,
              struct small_answer *answer)
{
    static const struct {
        const char *name;
        void (*run)(struct small_request *request);
        bool of_table;
    } operations[] = {
        {"GetItem", small_get, false},
        {"PutItem", small_put_item, false},
        {"UpdateItem", small_update_item, false},
        {"DeleteItem", small_delete_item, false},
        {"Query", small_query, false},
        {"DescribeTable", small_describe, true},
        {"CreateTable", small_create_table, true},
        {"DescribeTimeToLive", small_describe_ttl, true},
        {"UpdateTimeToLive", small_update_ttl, true},
    };
    json_error_t failure;
    json_t *root = json_loadb(request->body, request->length,
                              JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &failure);
    fuzz_check(json_is_object(root));
    struct small_request asked = {.server = server,
                                  .root = root,
                                  .names = json_object_get(root, "ExpressionAttributeNames"),
                                  .values = json_object_get(root, "ExpressionAttributeValues"),
                                  .answer = answer};
    *answer = (struct small_answer){0};
    small_check_signature(request);
    fuzz_check(strcmp(small_string(root, "TableName"), SMALL_TABLE) == 0);
    size_t i = 0;
    size_t count = sizeof operations / sizeof *operations;
    while (i < count && strcmp(operations[i].name, request->operation) != 0) {
        i++;
    }
    fuzz_check(i < count);
    if (server->no_table && !operations[i].of_table) {
        small_refuse(&asked, "ResourceNotFoundException", "Requested resource not found", NULL);
    } else {
        operations[i].run(&asked);
    }
    json_decref(root);
}

uint32_t small_crc32(const char *bytes, size_t length)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < length; i++) {
        crc ^= (unsigned char)bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? UINT32_C(0xEDB88320) : 0);
        }
    }
    return ~crc;
}
