/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bodies of answers, whatever is in them: as an item, a page, a table, a time to live and an error, each judged by
 * a second reading of the same JSON. After a byte below ' ' the input is other words of a server.
 */
#include "message.h"
#include "slow_value.h"

#include <inttypes.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- A record, read slowly ---- */

struct answer_record {
    const char *partition, *key, *nonce, *holder;
    int64_t version, expires, lease;
    bool has_expires, is_current;
    int64_t token;
    const json_t *payload;
    bool is_odd,
        is_bad; /* not a record: DYNALOCK_ERR_TYPE; not an answer: DYNALOCK_ERR_BAD_RESPONSE */
};

static const char *answer_string(const json_t *item, const char *name)
{
    const json_t *inner = NULL;
    const char *type = slow_type(json_object_get(item, name), &inner);
    const char *text = type != NULL && strcmp(type, "S") == 0 ? json_string_value(inner) : NULL;
    return text != NULL && strlen(text) == json_string_length(inner) ? text : NULL;
}

static bool answer_number(const json_t *item, const char *name, int64_t *floor, bool *exact)
{
    const json_t *inner = NULL;
    struct slow_decimal decimal;
    const char *type = slow_type(json_object_get(item, name), &inner);
    if (type == NULL || strcmp(type, "N") != 0 || !json_is_string(inner)) {
        return false;
    }
    bool sound =
        slow_decimal_read(json_string_value(inner), json_string_length(inner), &decimal) == 0;
    if (sound) {
        *exact = slow_decimal_floor(&decimal, floor);
    }
    free(decimal.digits);
    return sound;
}

/* Whether the nonce is one that this library makes with that version; the token's distance then. */
static bool answer_is_current(const char *nonce, int64_t version, int64_t *since_token)
{
    static regex_t form;
    static bool compiled;
    regmatch_t parts[4];
    char expected[32];
    if (!compiled) {
        compiled =
            regcomp(&form, "^[0-9a-f]{32}\\.[0-9]+\\.(([0-9]+)\\.)?(-?[0-9]+)$", REG_EXTENDED) == 0;
        fuzz_check(compiled);
    }
    if (nonce == NULL || strlen(nonce) >= DLK_NONCE_SIZE || version < 1 || version == INT64_MAX ||
        regexec(&form, nonce, 4, parts, 0) != 0) {
        return false;
    }
    (void)snprintf(expected, sizeof expected, "%" PRId64, version);
    *since_token =
        parts[2].rm_so < 0 ? 0 : (int64_t)(unsigned)strtoul(nonce + parts[2].rm_so, NULL, 10);
    return strcmp(nonce + parts[3].rm_so, expected) == 0;
}

static struct answer_record answer_read(const json_t *item)
{
    struct answer_record record = {.payload = json_object_get(item, "payload")};
    const json_t *inner = NULL;
    int64_t lease = 0, since_token = 0;
    bool exact = false;

    record.is_bad = !json_is_object(item) ||
                    (record.payload != NULL && slow_type(record.payload, &inner) == NULL);
    record.partition = answer_string(item, "id");
    record.key = answer_string(item, "name");
    record.nonce = answer_string(item, "nonce");
    record.holder = answer_string(item, "holder");
    record.is_odd = record.partition == NULL || record.key == NULL;
    record.is_odd |= record.nonce == NULL && json_object_get(item, "nonce") != NULL;
    record.is_odd |= !answer_number(item, "version", &record.version, &exact) || !exact;
    record.has_expires = json_object_get(item, "expires") != NULL;
    record.is_odd |= record.has_expires && !answer_number(item, "expires", &record.expires, &exact);
    if (answer_number(item, "lease", &lease, &exact) && exact && lease > 0) {
        record.lease = lease;
    }
    record.is_current = answer_is_current(record.nonce, record.version, &since_token);
    record.token = record.version - since_token;
    return record;
}

static bool answer_same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* Whatever its key is. */
static void answer_check_no_value(dynalock_kv *kv)
{
    dynalock_error error = SLOW_UNTOLD;
    const void *bytes = &error;
    struct json_t *json = NULL;
    size_t length = 77;
    SLOW_CHECK_TOLD(&error, dynalock_kv_bytes(kv, &bytes, &length, &error), DYNALOCK_ERR_TYPE);
    fuzz_check(bytes == &error && length == 77);
    SLOW_CHECK_TOLD(&error, dynalock_kv_json(kv, &json, &error), DYNALOCK_ERR_TYPE);
    SLOW_CHECK_TOLD(&error, dynalock_kv_attribute(kv, &json, &error), DYNALOCK_ERR_TYPE);
    fuzz_check(json == NULL);
}

static void answer_check_record(dynalock_kv *kv, const json_t *item)
{
    struct answer_record record = answer_read(item);
    const json_t *inner = NULL;
    bool is_lock = record.is_current && record.lease > 0;
    int64_t expires_ms = !record.has_expires                 ? 0
                         : record.expires == 0               ? 1
                         : record.expires > INT64_MAX / 1000 ? INT64_MAX
                         : record.expires < INT64_MIN / 1000 ? INT64_MIN
                                                             : record.expires * 1000;

    fuzz_check(!record.is_odd && !record.is_bad);
    fuzz_check(strcmp(dynalock_kv_partition(kv), record.partition) == 0);
    fuzz_check(strcmp(dynalock_kv_key(kv), record.key) == 0);
    fuzz_check(dynalock_kv_version(kv) == record.version);
    fuzz_check(dynalock_kv_expires_ms(kv) == expires_ms);
    fuzz_check(kv->has_expires == record.has_expires && kv->expires == record.expires);
    fuzz_check(answer_same_text(kv->nonce, record.nonce));
    fuzz_check(kv->current == record.is_current);
    fuzz_check(answer_same_text(dynalock_kv_holder(kv), is_lock ? record.holder : NULL));
    fuzz_check(dynalock_kv_lease_ms(kv) == (is_lock ? record.lease : 0));
    fuzz_check(dynalock_kv_token(kv) == (is_lock ? record.token : 0));
    fuzz_check(answer_same_text(dynalock_kv_type(kv),
                                record.payload != NULL ? slow_type(record.payload, &inner) : NULL));
    if (record.payload == NULL) {
        answer_check_no_value(kv);
    }
}

static void answer_check_failed(const json_t *item, int code, const dynalock_error *error)
{
    struct answer_record record = answer_read(item);
    SLOW_CHECK_TOLD(error, code, DYNALOCK_ERR_TYPE, DYNALOCK_ERR_BAD_RESPONSE);
    fuzz_check(code == DYNALOCK_ERR_TYPE ? record.is_odd : record.is_bad);
}

/* ---- Bodies; root NULL: it is no JSON object ---- */

/* Of an answer that could not be read at all. */
static void answer_check_unread(const char *body, size_t length, int code,
                                const dynalock_error *error)
{
    SLOW_CHECK_TOLD(error, code, DYNALOCK_ERR_TYPE, DYNALOCK_ERR_BAD_RESPONSE);
    fuzz_check(code == DYNALOCK_ERR_BAD_RESPONSE || memmem(body, length, "\\u0000", 6) != NULL);
}

static void answer_check_item(const char *body, size_t length, const json_t *root)
{
    dynalock_error error = SLOW_UNTOLD;
    dynalock_kv *untouched = (dynalock_kv *)(void *)&error, *kv = untouched;
    const json_t *item = json_object_get(root, "Item");
    int code = dlk_json_item(body, length, &kv, &error);

    fuzz_check((code == 0) == (kv != untouched));
    if (code == 0) {
        slow_check_untold(&error);
        fuzz_check((item == NULL) == (kv == NULL) && root != NULL);
        if (kv != NULL) {
            answer_check_record(kv, item);
            dynalock_kv_free(kv);
        }
    } else if (root != NULL) {
        answer_check_failed(item, code, &error);
    } else {
        answer_check_unread(body, length, code, &error);
    }
}

static bool answer_page_is_sound(const json_t *root)
{
    const json_t *items = json_object_get(root, "Items");
    const json_t *last = json_object_get(root, "LastEvaluatedKey");
    const char *name = answer_string(last, "name");
    bool sound = json_is_array(items) &&
                 (last == NULL || json_is_null(last) || (name != NULL && strlen(name) <= 1024));
    for (size_t i = 0; i < json_array_size(items); i++) {
        struct answer_record record = answer_read(json_array_get(items, i));
        sound = sound && !record.is_odd && !record.is_bad;
    }
    return sound;
}

static void answer_check_page(const char *body, size_t length, const json_t *root)
{
    dynalock_error error = SLOW_UNTOLD;
    struct dlk_page page = {NULL, 77, NULL};
    const json_t *items = json_object_get(root, "Items");
    const json_t *last = json_object_get(root, "LastEvaluatedKey");
    int code = dlk_json_page(body, length, &page, &error);

    fuzz_check((code == 0) == answer_page_is_sound(root));
    if (code == 0) {
        slow_check_untold(&error);
        fuzz_check(page.count == json_array_size(items));
        for (size_t i = 0; i < page.count; i++) {
            answer_check_record(page.items[i], json_array_get(items, i));
        }
        fuzz_check(answer_same_text(page.last_key, answer_string(last, "name")));
        dlk_page_free(&page);
    } else {
        SLOW_CHECK_TOLD(&error, code, DYNALOCK_ERR_TYPE, DYNALOCK_ERR_BAD_RESPONSE);
        fuzz_check(page.items == NULL && page.count == 77 && page.last_key == NULL);
    }
}

static const char *answer_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

/* The keys' name or type by what another member of the same object says. The last one counts. */
static const char *answer_look_up(const json_t *array, const char *by, const char *key,
                                  const char *wanted)
{
    const char *found = NULL;
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *member = json_array_get(array, i);
        found = strcmp(answer_text(member, by), key) == 0 ? answer_text(member, wanted) : found;
    }
    return found != NULL ? found : "";
}

static bool answer_has_key(const json_t *table, const char *kind, const char *name)
{
    const json_t *schema = json_object_get(table, "KeySchema");
    const json_t *types = json_object_get(table, "AttributeDefinitions");
    return strcmp(answer_look_up(schema, "KeyType", kind, "AttributeName"), name) == 0 &&
           strcmp(answer_look_up(types, "AttributeName", name, "AttributeType"), "S") == 0;
}

static void answer_check_table(const char *body, size_t length, const json_t *root)
{
    dynalock_error error = SLOW_UNTOLD;
    struct dlk_table_state state, untouched;
    const json_t *table = json_object_get(root, "Table");
    table = table != NULL ? table : json_object_get(root, "TableDescription");
    memset(&untouched, 0x5A, sizeof untouched);
    state = untouched;
    int code = dlk_json_table(body, length, &state, &error);

    fuzz_check((code == 0) == (answer_text(table, "TableStatus")[0] != '\0'));
    if (code == 0) {
        slow_check_untold(&error);
        fuzz_check(message_is_clean(state.status) && state.status[0] != '\0');
        fuzz_check(strlen(state.keys) < sizeof state.keys && state.keys[0] != '\0');
        fuzz_check(state.keys_right ==
                   (answer_has_key(table, "HASH", "id") && answer_has_key(table, "RANGE", "name")));
    } else {
        SLOW_CHECK_TOLD(&error, code, DYNALOCK_ERR_TYPE, DYNALOCK_ERR_BAD_RESPONSE);
        fuzz_check(memcmp(&state, &untouched, sizeof state) == 0);
    }
}

static void answer_check_ttl(const char *body, size_t length, const json_t *root)
{
    dynalock_error error = SLOW_UNTOLD;
    struct dlk_ttl_state state, untouched;
    const json_t *ttl = json_object_get(root, "TimeToLiveDescription");
    memset(&untouched, 0x5A, sizeof untouched);
    state = untouched;
    int code = dlk_json_ttl(body, length, &state, &error);

    fuzz_check((code == 0) == (answer_text(ttl, "TimeToLiveStatus")[0] != '\0'));
    if (code == 0) {
        slow_check_untold(&error);
        fuzz_check(message_is_clean(state.status) && message_is_clean(state.attribute));
        fuzz_check(state.status[0] != '\0');
    } else {
        SLOW_CHECK_TOLD(&error, code, DYNALOCK_ERR_TYPE, DYNALOCK_ERR_BAD_RESPONSE);
        fuzz_check(memcmp(&state, &untouched, sizeof state) == 0);
    }
}

/* The name behind the namespace, before the address. */
static void answer_check_name(const char *name, const char *type)
{
    char expected[sizeof((struct dlk_service_error *)0)->name];
    char *copy = strdup(type);
    copy[strcspn(copy, ":")] = '\0';
    char *hash = strrchr(copy, '#');
    dlk_copy_text(expected, sizeof expected, hash != NULL ? hash + 1 : copy);
    fuzz_check(strlen(type) >= 150 || strcmp(name, expected) == 0);
    free(copy);
}

static void answer_check_error(const char *body, size_t length, const json_t *root)
{
    struct dlk_service_error error;
    const json_t *item = json_object_get(root, "Item");
    struct answer_record record = answer_read(item);
    char message[sizeof error.message];
    const char *words = answer_text(root, "message");
    words = words[0] != '\0' ? words : answer_text(root, "Message");
    memset(&error, 0x5A, sizeof error);
    dlk_json_error(body, length, &error);

    dlk_copy_text(message, sizeof message, words);
    fuzz_check(strcmp(error.message, message) == 0 && message_is_clean(error.message));
    fuzz_check(message_is_clean(error.name));
    answer_check_name(error.name, answer_text(root, "__type"));
    fuzz_check(!error.out_of_memory);
    fuzz_check(error.item_unreadable == (error.item_problem[0] != '\0'));
    fuzz_check(message_is_clean(error.item_problem));
    if (error.item != NULL) {
        fuzz_check(!error.item_unreadable);
        answer_check_record(error.item, item);
        dynalock_kv_free(error.item);
    } else if (root != NULL) {
        fuzz_check(error.item_unreadable == (item != NULL));
        fuzz_check(item == NULL || record.is_odd || record.is_bad);
    } else {
        fuzz_check(!error.item_unreadable || memmem(body, length, "\\u0000", 6) != NULL);
    }
}

static void answer_check_body(const char *body, size_t length)
{
    json_t *any = slow_parse(body, length);
    bool is_object = json_is_object(any) && slow_depth(any) <= DLK_JSON_DEPTH_MAX;
    const json_t *root = is_object ? any : NULL;

    fuzz_check(any == NULL ||
               dlk_json_is_sane(body, length) == (slow_depth(any) <= DLK_JSON_DEPTH_MAX));
    fuzz_check(dlk_json_is_object(body, length) == is_object);
    answer_check_item(body, length, root);
    answer_check_page(body, length, root);
    answer_check_table(body, length, root);
    answer_check_ttl(body, length, root);
    answer_check_error(body, length, root);
    json_decref(any);
}

/* ---- Other words ---- */

/* They end where the first sign was, and none is left. */
static void answer_check_cut(const char *words)
{
    static const char *const signs[] = {"The Canonical String", "The String-to-Sign",
                                        "x-amz-security-token", "AWS4-HMAC-SHA256"};
    size_t end = strlen(words);
    char *cut = strdup(words);
    dlk_cut_signed(cut);
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        const char *at = strstr(words, signs[i]);
        end = at != NULL && (size_t)(at - words) < end ? (size_t)(at - words) : end;
    }
    fuzz_check(strlen(cut) == end && strncmp(cut, words, end) == 0);
    free(cut);
}

static void answer_check_nonce(struct fuzz_input *input)
{
    int64_t version = fuzz_int(input);
    char *nonce = fuzz_text(input, NULL);
    json_t *body = json_pack(
        "{s:{s:{s:s},s:{s:s},s:{s:o},s:{s:o},s:{s:s},s:{s:s}}}", "Item", "id", "S", "p", "name",
        "S", "k", "version", "N", json_sprintf("%" PRId64, version), "nonce", "S",
        json_stringn_nocheck(nonce, strlen(nonce)), "lease", "N", "20000", "holder", "S", "h");
    char *text = json_dumps(body, JSON_COMPACT);
    if (text != NULL) { /* it is UTF-8 */
        answer_check_body(text, strlen(text));
    }
    free(text);
    json_decref(body);
    free(nonce);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, size};
    if (size == 0 || *data >= ' ') {
        answer_check_body((const char *)data, size);
    } else if (fuzz_byte(&input) == 1) {
        char *words = fuzz_text(&input, NULL);
        answer_check_cut(words);
        free(words);
    } else {
        answer_check_nonce(&input);
    }
    return 0;
}
