/* SPDX-License-Identifier: Apache-2.0 */
#include "support_table.h"

#include "support_server.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct table {
    struct server *server;
    pthread_mutex_t mutex; /* of all that follows */
    json_t *items;         /* by name */
    json_t *counts;        /* by operation */
    char held[32];         /* the operation of which the next answer is held; "": none */
    bool is_gone;
    unsigned keys;
    char key[64][16];
};

/* ---- Expressions: as much of them as request.c writes ---- */

static json_int_t number_of(const json_t *attribute)
{
    const char *text = json_string_value(json_object_get(attribute, "N"));
    return text != NULL ? strtoll(text, NULL, 10) : 0;
}

static const json_t *value_of(const json_t *request, const char *name)
{
    return json_object_get(json_object_get(request, "ExpressionAttributeValues"), name);
}

/* One comparison, or "attribute_not_exists(NAME)". */
static bool term_holds(const json_t *request, const json_t *item, const char *term)
{
    char name[32], operator[4], value[8];
    if (sscanf(term, "attribute_not_exists(%31[a-z])", name) == 1) {
        return json_object_get(item, name) == NULL;
    }
    if (sscanf(term, "%31s %3s %7[:a-z]", name, operator, value) != 3) {
        fprintf(stderr, "test table: what is \"%s\"?\n", term);
        abort();
    }
    const json_t *found = json_object_get(item, name);
    const json_t *given = value_of(request, value);
    if (found == NULL) {
        return false;
    }
    if (strcmp(operator, "=") == 0) {
        return json_equal(found, given) != 0;
    }
    return strcmp(operator, "<") == 0 ? number_of(found) < number_of(given)
                                      : number_of(found) >= number_of(given);
}

static bool condition_holds(const json_t *request, const json_t *item)
{
    const char *text = json_string_value(json_object_get(request, "ConditionExpression"));
    bool holds = true;
    while (text != NULL && holds) {
        const char *next = strstr(text, " AND ");
        if (*text == '(') { /* "(one OR other)" */
            const char *other = strstr(text, " OR ");
            holds = term_holds(request, item, text + 1) || term_holds(request, item, other + 4);
        } else {
            holds = term_holds(request, item, text);
        }
        text = next != NULL ? next + 5 : NULL;
    }
    return holds;
}

static void update_set(const json_t *request, json_t *item, const char *text)
{
    char name[32], value[8];
    for (; text != NULL; text = strchr(text, ',')) {
        text += strspn(text, ", ");
        if (sscanf(text, "%31s = if_not_exists(version, %7[:a-z])", name, value) == 2) {
            char sum[24];
            const json_t *there = json_object_get(item, "version");
            json_int_t start = number_of(there != NULL ? there : value_of(request, value));
            (void)snprintf(sum, sizeof sum, "%lld", (long long)start + 1);
            (void)json_object_set_new(item, name, json_pack("{s:s}", "N", sum));
            text = strchr(text, ')');
        } else if (sscanf(text, "%31s = %7[:a-z]", name, value) == 2) {
            (void)json_object_set_new(item, name, json_deep_copy(value_of(request, value)));
        }
    }
}

static void update(const json_t *request, json_t *item)
{
    char text[256];
    (void)snprintf(text, sizeof text, "%s",
                   json_string_value(json_object_get(request, "UpdateExpression")));
    char *removed = strstr(text, " REMOVE ");
    if (removed != NULL) {
        *removed = '\0';
        removed += 8;
    }
    update_set(request, item, text + 4);
    for (char *rest = NULL, *name = removed != NULL ? strtok_r(removed, ", ", &rest) : NULL;
         name != NULL; name = strtok_r(NULL, ", ", &rest)) {
        (void)json_object_del(item, name);
    }
}

/* ---- Operations ---- */

static json_t *refusal(int *status, const char *name)
{
    char type[80];
    *status = 400;
    (void)snprintf(type, sizeof type, "com.amazonaws.dynamodb.v20120810#%s", name);
    return json_pack("{s:s, s:s}", "__type", type, "message", "as asked for");
}

static const char *name_in(const json_t *key)
{
    return json_string_value(json_object_get(json_object_get(key, "name"), "S"));
}

static json_t *item_write(struct table *table, const char *operation, const json_t *request,
                          int *status)
{
    const json_t *whole = json_object_get(request, "Item");
    const json_t *key = whole != NULL ? whole : json_object_get(request, "Key");
    json_t *item = json_object_get(table->items, name_in(key));
    if (!condition_holds(request, item)) {
        json_t *answer = refusal(status, "ConditionalCheckFailedException");
        if (item != NULL && json_object_get(request, "ReturnValuesOnConditionCheckFailure")) {
            (void)json_object_set(answer, "Item", item);
        }
        return answer;
    }
    if (strcmp(operation, "DeleteItem") == 0) {
        (void)json_object_del(table->items, name_in(key));
    } else if (whole != NULL) {
        (void)json_object_set_new(table->items, name_in(key), json_deep_copy(whole));
    } else {
        if (item == NULL) {
            item = json_deep_copy(key);
            (void)json_object_set_new(table->items, name_in(key), item);
        }
        update(request, item);
    }
    return json_object();
}

static int compare_names(const void *one, const void *other)
{
    return strcmp(*(const char *const *)one, *(const char *const *)other);
}

/* Two items a page, so that there are several. */
static json_t *query(struct table *table, const json_t *request)
{
    const char *names[1024] = {NULL};
    const char *prefix = json_string_value(json_object_get(value_of(request, ":p"), "S"));
    const char *start = name_in(json_object_get(request, "ExclusiveStartKey"));
    const char *name = NULL;
    json_t *item = NULL;
    json_t *found = json_array();
    json_t *answer = json_pack("{s:o}", "Items", found);
    size_t count = 0;
    json_object_foreach(table->items, name, item)
    {
        if ((prefix == NULL || strncmp(name, prefix, strlen(prefix)) == 0) &&
            (start == NULL || strcmp(name, start) > 0) && count < 1024) {
            names[count++] = name;
        }
    }
    qsort(names, count, sizeof names[0], compare_names);
    for (size_t i = 0; i < count && i < 2; i++) {
        (void)json_array_append(found, json_object_get(table->items, names[i]));
    }
    if (count > 2) {
        (void)json_object_set_new(
            answer, "LastEvaluatedKey",
            json_pack("{s:{s:s}, s:{s:s}}", "id", "S", "p", "name", "S", names[1]));
    }
    return answer;
}

static json_t *describe(const struct table *table, int *status)
{
    if (table->is_gone) {
        return refusal(status, "ResourceNotFoundException");
    }
    return json_pack("{s:{s:s, s:[{s:s,s:s},{s:s,s:s}], s:[{s:s,s:s},{s:s,s:s}]}}", "Table",
                     "TableStatus", "ACTIVE", "AttributeDefinitions", "AttributeName", "id",
                     "AttributeType", "S", "AttributeName", "name", "AttributeType", "S",
                     "KeySchema", "AttributeName", "id", "KeyType", "HASH", "AttributeName", "name",
                     "KeyType", "RANGE");
}

static json_t *operate(struct table *table, const char *operation, const json_t *request,
                       int *status)
{
    if (strcmp(operation, "DescribeTable") == 0) {
        return describe(table, status);
    }
    if (strcmp(operation, "DescribeTimeToLive") == 0) {
        return json_pack("{s:{s:s, s:s}}", "TimeToLiveDescription", "TimeToLiveStatus", "ENABLED",
                         "AttributeName", "expires");
    }
    if (strcmp(operation, "CreateTable") == 0) {
        table->is_gone = false;
        return json_pack("{s:{}}", "TableDescription");
    }
    if (strcmp(operation, "GetItem") == 0) {
        const json_t *item =
            json_object_get(table->items, name_in(json_object_get(request, "Key")));
        return item != NULL ? json_pack("{s:O}", "Item", item) : json_object();
    }
    if (strcmp(operation, "Query") == 0) {
        return query(table, request);
    }
    return item_write(table, operation, request, status);
}

static void serve(const struct server_request *request, struct server_answer *answer, void *context)
{
    struct table *table = context;
    char target[64];
    server_find(request, "X-Amz-Target", target, sizeof target);
    const char *operation = strchr(target, '.') != NULL ? strchr(target, '.') + 1 : "?";
    json_t *body = json_loadb(request->body, request->length, JSON_ALLOW_NUL, NULL);
    (void)pthread_mutex_lock(&table->mutex);
    (void)json_object_set_new(
        table->counts, operation,
        json_integer(json_integer_value(json_object_get(table->counts, operation)) + 1));
    json_t *made = operate(table, operation, body, &answer->status);
    answer->is_held = strcmp(table->held, operation) == 0;
    if (answer->is_held) {
        table->held[0] = '\0';
    }
    answer->body = json_dumps(made, JSON_COMPACT);
    (void)pthread_mutex_unlock(&table->mutex);
    json_decref(made);
    json_decref(body);
}

/* ---- For the test ---- */

struct table *table_start(void)
{
    struct table *table = calloc(1, sizeof *table);
    if (table == NULL || pthread_mutex_init(&table->mutex, NULL) != 0) {
        abort();
    }
    table->items = json_object();
    table->counts = json_object();
    table->server = server_start(serve, table);
    return table;
}

void table_end(struct table *table)
{
    server_end(table->server);
    json_decref(table->items);
    json_decref(table->counts);
    (void)pthread_mutex_destroy(&table->mutex);
    free(table);
}

const char *table_endpoint(const struct table *table)
{
    return server_endpoint(table->server);
}

dynalock_options table_options(const struct table *table)
{
    return (dynalock_options){.region = "us-east-1",
                              .endpoint = table_endpoint(table),
                              .access_key_id = "AKID",
                              .secret_access_key = "secret"};
}

dynalock_store *table_open(const struct table *table, const dynalock_options *options)
{
    const dynalock_options usual = table_options(table);
    dynalock_store *store = NULL;
    dynalock_error error = {0};
    if (dynalock_open("t", "p", options != NULL ? options : &usual, &store, &error) != 0) {
        fprintf(stderr, "test table: no store: %s\n", error.message);
        abort();
    }
    return store;
}

const char *table_key(struct table *table)
{
    (void)pthread_mutex_lock(&table->mutex);
    char *key = table->key[table->keys % 64];
    (void)snprintf(key, sizeof table->key[0], "k%u", ++table->keys);
    (void)pthread_mutex_unlock(&table->mutex);
    return key;
}

void table_put(struct table *table, const char *key, const char *members)
{
    char text[4096];
    (void)snprintf(text, sizeof text, "{'id':{'S':'p'},'name':{'S':'%s'},%s}", key, members);
    for (char *at = text; *at != '\0'; at++) {
        *at = *at == '\'' ? '"' : *at;
    }
    json_t *item = json_loads(text, 0, NULL);
    if (item == NULL) {
        fprintf(stderr, "test table: no JSON: %s\n", text);
        abort();
    }
    (void)pthread_mutex_lock(&table->mutex);
    (void)json_object_set_new(table->items, key, item);
    (void)pthread_mutex_unlock(&table->mutex);
}

void table_remove(struct table *table, const char *key)
{
    (void)pthread_mutex_lock(&table->mutex);
    (void)json_object_del(table->items, key);
    (void)pthread_mutex_unlock(&table->mutex);
}

json_t *table_item(struct table *table, const char *key)
{
    (void)pthread_mutex_lock(&table->mutex);
    json_t *item = json_deep_copy(json_object_get(table->items, key));
    (void)pthread_mutex_unlock(&table->mutex);
    return item;
}

bool table_has(struct table *table, const char *key)
{
    (void)pthread_mutex_lock(&table->mutex);
    bool has = json_object_get(table->items, key) != NULL;
    (void)pthread_mutex_unlock(&table->mutex);
    return has;
}

void table_drop(struct table *table, bool is_gone)
{
    (void)pthread_mutex_lock(&table->mutex);
    table->is_gone = is_gone;
    (void)pthread_mutex_unlock(&table->mutex);
}

int table_count(struct table *table, const char *operation)
{
    static const char *const writes[] = {"PutItem", "UpdateItem", "DeleteItem"};
    json_int_t count = 0;
    (void)pthread_mutex_lock(&table->mutex);
    for (size_t i = 0; operation == NULL && i < sizeof writes / sizeof *writes; i++) {
        count += json_integer_value(json_object_get(table->counts, writes[i]));
    }
    if (operation != NULL) {
        count = json_integer_value(json_object_get(table->counts, operation));
    }
    (void)pthread_mutex_unlock(&table->mutex);
    return (int)count;
}

void table_reset(struct table *table)
{
    (void)pthread_mutex_lock(&table->mutex);
    (void)json_object_clear(table->counts);
    (void)pthread_mutex_unlock(&table->mutex);
}

void table_hold(struct table *table, const char *operation)
{
    (void)pthread_mutex_lock(&table->mutex);
    (void)snprintf(table->held, sizeof table->held, "%s", operation);
    (void)pthread_mutex_unlock(&table->mutex);
}

bool table_await_held(struct table *table, int timeout_ms)
{
    return server_await_held(table->server, 1, timeout_ms);
}

void table_let_go(struct table *table)
{
    server_let_go(table->server);
}

void table_disconnect(struct table *table)
{
    server_disconnect(table->server);
}
