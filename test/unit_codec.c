/* SPDX-License-Identifier: Apache-2.0 */
/* Records and the bodies of answers: what is taken, and what is refused. */
/* wrap: malloc calloc realloc */
#include "values.h"

enum { MUTATIONS = 4000 };

/* ---- Allocations that fail ------------------------------------------------------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

static long allocations_left = -1; /* negative: no end of them */

static bool allocation_fails(void)
{
    if (allocations_left < 0) {
        return false;
    }
    if (allocations_left == 0) {
        return true;
    }
    allocations_left--;
    return false;
}

void *__wrap_malloc(size_t size)
{
    return allocation_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return allocation_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return allocation_fails() ? NULL : __real_realloc(old, size);
}

/* jansson's memory is not malloc's: whoever mixes the two crashes. */
static void *jansson_alloc(size_t size)
{
    char *memory = allocation_fails() ? NULL : __real_malloc(size + 16);

    return memory != NULL ? memory + 16 : NULL;
}

static void jansson_release(void *memory)
{
    if (memory != NULL) {
        free((char *)memory - 16);
    }
}

/* ---- Records --------------------------------------------------------------------------------- */

static void test_record_refused(void **state)
{
    static const struct {
        const char *body;
        int code;
        const char *part;
    } cases[] = {
        {"", DYNALOCK_ERR_BAD_RESPONSE, "it is no JSON"},
        {"<html>secret</html>", DYNALOCK_ERR_BAD_RESPONSE, "it is no JSON"},
        {"[]", DYNALOCK_ERR_BAD_RESPONSE, "no JSON object"},
        {"{\"Item\":", DYNALOCK_ERR_BAD_RESPONSE, "it is no JSON"},
        {"{} x", DYNALOCK_ERR_BAD_RESPONSE, "it is no JSON"},
        {"{\"a\":1,\"a\":1}", DYNALOCK_ERR_BAD_RESPONSE, "it is no JSON"},
        {"{\"a\":\"\xC0\x80\"}", DYNALOCK_ERR_BAD_RESPONSE, "it is no JSON"},
        {"{\"a\":\"\\ud800\"}", DYNALOCK_ERR_BAD_RESPONSE, "it is no JSON"},
        {"{\"a\\u0000b\":1}", DYNALOCK_ERR_TYPE, "U+0000 in its name"},
        {"{\"Item\":[]}", DYNALOCK_ERR_BAD_RESPONSE, "an item is no object"},
        {"{\"Item\":{}}", DYNALOCK_ERR_TYPE, "a record's name is not a string"},
        {"{\"Item\":{\"name\":{\"N\":\"1\"}}}", DYNALOCK_ERR_TYPE, "name is not a string"},
        {"{\"Item\":{\"name\":{\"S\":\"a\\u0000\"}}}", DYNALOCK_ERR_TYPE, "name is not a string"},
        {"{\"Item\":{\"name\":{\"S\":\"k\"}}}", DYNALOCK_ERR_TYPE,
         "record \"k\": id is not a string"},
        {"{\"Item\":{" KEYS "}}", DYNALOCK_ERR_TYPE, "record \"k\": it has no version"},
        {ITEM("\"version\":{\"S\":\"1\"}"), DYNALOCK_ERR_TYPE,
         "record \"k\": version is not an int64"},
        {ITEM("\"version\":{\"N\":\"1.5\"}"), DYNALOCK_ERR_TYPE, "version is not an int64"},
        {ITEM("\"version\":{\"N\":\"9223372036854775808\"}"), DYNALOCK_ERR_TYPE, "not an int64"},
        {ITEM("\"version\":1"), DYNALOCK_ERR_TYPE, "version is not an int64"},
        {ITEM("\"version\":{\"N\":\"7\"},\"nonce\":{\"N\":\"1\"}"), DYNALOCK_ERR_TYPE,
         "nonce is not a string"},
        {ITEM("\"version\":{\"N\":\"7\"},\"nonce\":7"), DYNALOCK_ERR_TYPE, "nonce is not a string"},
        {ITEM("\"version\":{\"N\":\"1\"},\"expires\":{\"S\":\"1\"}"), DYNALOCK_ERR_TYPE,
         "record \"k\": expires is not a number"},
        {PAYLOAD("1"), DYNALOCK_ERR_BAD_RESPONSE, "record \"k\": payload is no attribute value"},
        {PAYLOAD("{\"S\":\"a\",\"N\":\"1\"}"), DYNALOCK_ERR_BAD_RESPONSE,
         "payload is no attribute"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        dynalock_kv *kv = (dynalock_kv *)&i;
        dynalock_error error;

        if (dlk_json_item(cases[i].body, strlen(cases[i].body), &kv, &error) != cases[i].code) {
            fail_msg("%s", cases[i].body);
        }
        assert_contains(error.message, cases[i].part);
        assert_null(strstr(error.message, "secret"));
        assert_ptr_equal(kv, &i);
    }
}

static void test_record(void **state)
{
    dynalock_kv *kv = (dynalock_kv *)1;

    (void)state;
    assert_int_equal(dlk_json_item("{}", 2, &kv, NULL), DYNALOCK_OK);
    assert_null(kv);
    kv = kv_of(ITEM("\"version\":{\"N\":\"4\"},\"expires\":{\"N\":\"1795400420\"},"
                    "\"payload\":{\"S\":\"dGVzdA==\"},\"unknown\":{\"S\":\"x\"}"));
    assert_string_equal(dynalock_kv_partition(kv), "p");
    assert_string_equal(dynalock_kv_key(kv), "k");
    assert_int_equal(dynalock_kv_version(kv), 4);
    assert_int_equal(dynalock_kv_expires_ms(kv), 1795400420000);
    assert_string_equal(dynalock_kv_type(kv), "S");
    assert_null(dynalock_kv_holder(kv));
    assert_int_equal(dynalock_kv_lease_ms(kv), 0);
    assert_null(kv->nonce);
    dynalock_kv_free(kv);
}

static void test_expires(void **state)
{
    static const struct {
        const char *expires;
        int64_t seconds;
        int64_t ms;
    } cases[] = {
        {"0", 0, 1},
        {"1", 1, 1000},
        {"1.9", 1, 1000},
        {"-0.5", -1, -1000},
        {"1E3", 1000, 1000000},
        {"9223372036854775", 9223372036854775, 9223372036854775000},
        {"9223372036854776", 9223372036854776, INT64_MAX},
        {"1E125", INT64_MAX, INT64_MAX},
        {"-1E125", INT64_MIN, INT64_MIN},
        {"-9223372036854776", -9223372036854776, INT64_MIN},
    };
    dynalock_kv *kv = kv_of(ITEM("\"version\":{\"N\":\"1E0\"}"));
    size_t i;

    (void)state;
    assert_false(kv->has_expires);
    assert_int_equal(dynalock_kv_expires_ms(kv), 0);
    dynalock_kv_free(kv);
    for (i = 0; i < COUNT(cases); i++) {
        char body[200];

        (void)snprintf(body, sizeof body,
                       ITEM("\"version\":{\"N\":\"1\"},\"expires\":{\"N\":\"%s\"}"),
                       cases[i].expires);
        kv = kv_of(body);
        assert_true(kv->has_expires);
        assert_true(kv->expires == cases[i].seconds);
        assert_true(dynalock_kv_expires_ms(kv) == cases[i].ms);
        dynalock_kv_free(kv);
    }
}

static void test_tenure(void **state)
{
    static const struct {
        const char *nonce;
        const char *holder;
        const char *lease;
        bool current;
        int64_t lease_ms; /* as the accessor tells */
    } cases[] = {
        {"{\"S\":\"" NONCE ".1.7\"}", "{\"S\":\"h\"}", "{\"N\":\"20000\"}", true, 20000},
        {"{\"S\":\"" NONCE ".12345.7\"}", "{\"S\":\"h\"}", "{\"N\":\"1\"}", true, 1},
        {"{\"S\":\"" NONCE ".1.7\"}", "{\"N\":\"1\"}", "{\"N\":\"5\"}", true, 5},
        {"{\"S\":\"" NONCE ".1.7\"}", "{\"S\":\"h\"}", "{\"S\":\"5\"}", true, 0},
        {"{\"S\":\"" NONCE ".1.7\"}", "{\"S\":\"h\"}", "{\"N\":\"-5\"}", true, 0},
        {"{\"S\":\"" NONCE ".1.7\"}", "{\"S\":\"h\"}", "{\"N\":\"5.5\"}", true, 0},
        {"{\"S\":\"" NONCE ".2.1.7\"}", "{\"S\":\"h\"}", "{\"N\":\"5\"}", true, 5},
        {"{\"S\":\"" NONCE ".2.1.6\"}", "{\"S\":\"h\"}", "{\"N\":\"5\"}", false, 0},
        {"{\"S\":\"" NONCE ".2..7\"}", "{\"S\":\"h\"}", "{\"N\":\"5\"}", false, 0},
        {"{\"S\":\"" NONCE ".2.1.1.7\"}", "{\"S\":\"h\"}", "{\"N\":\"5\"}", false, 0},
        {"{\"S\":\"" NONCE ".1.6\"}", "{\"S\":\"h\"}", "{\"N\":\"5\"}", false, 0},
        {"{\"S\":\"" NONCE ".1.07\"}", "{\"S\":\"h\"}", "{\"N\":\"5\"}", false, 0},
        {"{\"S\":\"" NONCE ".1.7 \"}", "{\"S\":\"h\"}", "{\"N\":\"5\"}", false, 0},
        {"{\"S\":\"" NONCE ".1.\"}", "{\"S\":\"h\"}", "{\"N\":\"5\"}", false, 0},
        {"{\"S\":\"" NONCE "..7\"}", "{\"S\":\"h\"}", "{\"N\":\"5\"}", false, 0},
        {"{\"S\":\"" NONCE ".7\"}", "{\"S\":\"h\"}", "{\"N\":\"5\"}", false, 0},
        {"{\"S\":\"" NONCE "0.1.7\"}", "{\"S\":\"h\"}", "{\"N\":\"5\"}", false, 0},
        {"{\"S\":\"0123456789ABCDEF0123456789abcdef.1.7\"}", "{\"S\":\"h\"}", "{\"N\":\"5\"}",
         false, 0},
        {"{\"S\":\"\"}", "{\"S\":\"h\"}", "{\"N\":\"5\"}", false, 0},
        {"{\"S\":\"" NONCE ".00000000000000000000000000000000000000000000001.7\"}", "{\"S\":\"h\"}",
         "{\"N\":\"5\"}", false, 0},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        char body[400];
        const char *holder = NULL;
        dynalock_kv *kv;

        (void)snprintf(body, sizeof body,
                       ITEM("\"version\":{\"N\":\"7\"},\"nonce\":%s,\"holder\":%s,\"lease\":%s"),
                       cases[i].nonce, cases[i].holder, cases[i].lease);
        kv = kv_of(body);
        assert_non_null(kv->nonce);
        assert_int_equal(kv->current, cases[i].current);
        assert_int_equal(dynalock_kv_lease_ms(kv), cases[i].lease_ms);
        holder = dynalock_kv_holder(kv);
        assert_int_equal(holder != NULL, cases[i].lease_ms > 0 && cases[i].holder[2] == 'S');
        dynalock_kv_free(kv);
    }
}

/* A stranger can write any version, and the nonce that names it. */
static void test_versions_of_no_tenure(void **state)
{
    static const struct {
        const char *version;
        bool current;
    } cases[] = {{"-9223372036854775808", false},
                 {"-1", false},
                 {"0", false},
                 {"1", true},
                 {"9223372036854775806", true},
                 {"9223372036854775807", false}};
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        char body[300];
        dynalock_kv *kv;

        (void)snprintf(
            body, sizeof body,
            ITEM("\"version\":{\"N\":\"%s\"},\"lease\":{\"N\":\"5\"},\"nonce\":{\"S\":\"" NONCE
                 ".1.1.%s\"}"),
            cases[i].version, cases[i].version);
        kv = kv_of(body);
        assert_int_equal(kv->current, cases[i].current);
        assert_int_equal(dynalock_kv_token(kv) != 0, cases[i].current && i != 3);
        dynalock_kv_free(kv);
    }
}

/* Of the depth in lists, with what looks like more of it in a string. */
static void test_depth(void **state)
{
    static const size_t depths[] = {1, DLK_JSON_DEPTH_MAX - 1, DLK_JSON_DEPTH_MAX, 2000, 1000000};
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(depths); i++) {
        size_t depth = depths[i];
        char *body = malloc(2 * depth + 64);
        size_t start;
        dynalock_error error;

        assert_non_null(body);
        start = (size_t)sprintf(body, "{\"x\":\"[[[{{{\\\"[[[\",\"y\":");
        memset(body + start, '[', depth);
        memset(body + start + depth, ']', depth);
        (void)sprintf(body + start + 2 * depth, "}");
        assert_int_equal(dlk_json_is_object(body, strlen(body)), depth < DLK_JSON_DEPTH_MAX);
        if (depth >= DLK_JSON_DEPTH_MAX) {
            dynalock_kv *kv = NULL;
            assert_int_equal(dlk_json_item(body, strlen(body), &kv, &error),
                             DYNALOCK_ERR_BAD_RESPONSE);
            assert_non_null(strstr(error.message, "nested"));
        }
        free(body);
    }
}

static void test_kv_make(void **state)
{
    dynalock_value value = dynalock_bytes("a\0b", 3);
    const void *bytes = NULL;
    dynalock_kv *kv = NULL;
    size_t length = 0;
    char *text = NULL;
    size_t size = 0;

    (void)state;
    assert_int_equal(write_text(value, &text, &size, NULL), DYNALOCK_OK);
    assert_int_equal(size, 4);
    assert_int_equal(dlk_kv_make("p", "k", NULL, text, strlen(text), &kv, NULL), DYNALOCK_OK);
    assert_int_equal(dynalock_kv_bytes(kv, &bytes, &length, NULL), DYNALOCK_OK);
    assert_int_equal(length, 3);
    assert_memory_equal(bytes, "a\0b", 4);
    assert_string_equal(dynalock_kv_partition(kv), "p");
    assert_string_equal(dynalock_kv_key(kv), "k");
    free(text);
    dynalock_kv_free(kv);
    assert_int_equal(dlk_kv_make("p", "k", NULL, NULL, 0, &kv, NULL), DYNALOCK_OK);
    assert_null(dynalock_kv_type(kv));
    dynalock_kv_free(kv);
}

/* ---- Bodies ---------------------------------------------------------------------------------- */

/* A key to go on from that no item could have is not sent back. */
static void test_long_key(void)
{
    char body[DLK_KEY_MAX + 100];
    struct dlk_page page;
    int length;

    for (length = DLK_KEY_MAX; length <= DLK_KEY_MAX + 1; length++) {
        (void)snprintf(body, sizeof body,
                       "{\"Items\":[],\"LastEvaluatedKey\":{\"name\":{\"S\":\"%0*d\"}}}", length,
                       7);
        assert_int_equal(dlk_json_page(body, strlen(body), &page, NULL),
                         length <= DLK_KEY_MAX ? DYNALOCK_OK : DYNALOCK_ERR_BAD_RESPONSE);
        if (length <= DLK_KEY_MAX) {
            assert_int_equal(strlen(page.last_key), length);
            dlk_page_free(&page);
        }
    }
}

static void test_page(void **state)
{
    static const char two[] =
        "{\"Items\":[{" KEYS ",\"version\":{\"N\":\"1\"}},{" KEYS
        ",\"version\":{\"N\":\"2\"}}],\"LastEvaluatedKey\":{\"id\":{\"S\":\"p\"},"
        "\"name\":{\"S\":\"a\\\"\xC3\xA9\"}}}";
    static const char *const bad[] = {
        "{}",
        "{\"Items\":{}}",
        "{\"Items\":[1]}",
        "{\"Items\":[{}]}",
        "{\"Items\":[{" KEYS ",\"version\":{\"N\":\"1\"}},{" KEYS "}]}",
        "{\"Items\":[],\"LastEvaluatedKey\":{}}",
        "{\"Items\":[],\"LastEvaluatedKey\":[1]}",
        "{\"Items\":[],\"LastEvaluatedKey\":{\"id\":{\"S\":\"p\"}}}",
        "{\"Items\":[],\"LastEvaluatedKey\":{\"name\":{\"B\":\"YQ==\"}}}",
        "{\"Items\":[],\"LastEvaluatedKey\":{\"name\":{\"S\":\"a\\u0000\"}}}",
    };
    struct dlk_page page;
    size_t i;

    (void)state;
    assert_int_equal(dlk_json_page(two, strlen(two), &page, NULL), DYNALOCK_OK);
    assert_int_equal(page.count, 2);
    assert_int_equal(dynalock_kv_version(page.items[1]), 2);
    assert_string_equal(page.last_key, "a\"\xC3\xA9");
    dlk_page_free(&page);
    dlk_page_free(&page);
    assert_int_equal(dlk_json_page("{\"Items\":[]}", 12, &page, NULL), DYNALOCK_OK);
    assert_int_equal(page.count, 0);
    assert_null(page.last_key);
    dlk_page_free(&page);
    test_long_key();
    for (i = 0; i < COUNT(bad); i++) {
        page.count = 77;
        assert_int_not_equal(dlk_json_page(bad[i], strlen(bad[i]), &page, NULL), DYNALOCK_OK);
        assert_int_equal(page.count, 77);
    }
}

#define KEY(name, kind) "{\"AttributeName\":\"" name "\",\"KeyType\":\"" kind "\"}"
#define DEFINITION(name, type) "{\"AttributeName\":\"" name "\",\"AttributeType\":\"" type "\"}"

static void test_table(void **state)
{
    static const struct {
        const char *body;
        const char *status; /* NULL: refused */
        const char *keys;
        bool right;
    } cases[] = {
        {"{\"Table\":{\"TableStatus\":\"ACTIVE\",\"KeySchema\":[" KEY("id", "HASH") "," KEY(
             "name", "RANGE") "],"
                              "\"AttributeDefinitions\":[" DEFINITION("name", "S") "," DEFINITION(
                                  "id", "S") "]}}",
         "ACTIVE", "id (S) partition key, name (S) sort key", true},
        {"{\"TableDescription\":{\"TableStatus\":\"CREATING\",\"KeySchema\":[" KEY(
             "id", "HASH") "," KEY("name", "RANGE") "],"
                                                    "\"AttributeDefinitions\":[" DEFINITION(
                                                        "name", "N") "," DEFINITION("id",
                                                                                    "S") "]}}",
         "CREATING", "id (S) partition key, name (N) sort key", false},
        {"{\"Table\":{\"TableStatus\":\"ACTIVE\",\"KeySchema\":[" KEY(
             "id", "HASH") "],"
                           "\"AttributeDefinitions\":[" DEFINITION("id", "S") "]}}",
         "ACTIVE", "id (S) partition key, no sort key", false},
        {"{\"Table\":{\"TableStatus\":\"ACTIVE\",\"KeySchema\":[" KEY("name", "HASH") "," KEY(
             "id", "RANGE") "]}}",
         "ACTIVE", "name (?) partition key, id (?) sort key", false},
        {"{\"Table\":{\"TableStatus\":\"DELETING\"}}", "DELETING", "no keys given", false},
        {"{\"Table\":{}}", NULL, NULL, false},
        {"{\"Table\":1}", NULL, NULL, false},
        {"{}", NULL, NULL, false},
        {"x", NULL, NULL, false},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        struct dlk_table_state table;
        int code = dlk_json_table(cases[i].body, strlen(cases[i].body), &table, NULL);

        if (cases[i].status == NULL) {
            assert_int_equal(code, DYNALOCK_ERR_BAD_RESPONSE);
            continue;
        }
        assert_int_equal(code, DYNALOCK_OK);
        assert_string_equal(table.status, cases[i].status);
        assert_string_equal(table.keys, cases[i].keys);
        assert_int_equal(table.keys_right, cases[i].right);
    }
}

static void test_ttl(void **state)
{
    static const char on[] = "{\"TimeToLiveDescription\":{\"TimeToLiveStatus\":\"ENABLED\","
                             "\"AttributeName\":\"expires\"}}";
    static const char off[] = "{\"TimeToLiveDescription\":{\"TimeToLiveStatus\":\"DISABLED\"}}";
    struct dlk_ttl_state ttl;

    (void)state;
    assert_int_equal(dlk_json_ttl(on, strlen(on), &ttl, NULL), DYNALOCK_OK);
    assert_string_equal(ttl.status, "ENABLED");
    assert_string_equal(ttl.attribute, "expires");
    assert_int_equal(dlk_json_ttl(off, strlen(off), &ttl, NULL), DYNALOCK_OK);
    assert_string_equal(ttl.status, "DISABLED");
    assert_string_equal(ttl.attribute, "");
    assert_int_equal(dlk_json_ttl("{}", 2, &ttl, NULL), DYNALOCK_ERR_BAD_RESPONSE);
    assert_int_equal(dlk_json_ttl("", 0, &ttl, NULL), DYNALOCK_ERR_BAD_RESPONSE);
}

static void test_error_body(void **state)
{
    static const struct {
        const char *body;
        const char *name;
        const char *message;
    } cases[] = {
        {"{\"__type\":\"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException:http://x/#y\","
         "\"message\":\"The conditional\\nrequest failed\"}",
         "ConditionalCheckFailedException", "The conditional request failed"},
        {"{\"__type\":\"com.amazon.coral.service#ThrottlingException\",\"Message\":\"slow down\"}",
         "ThrottlingException", "slow down"},
        {"{\"__type\":\"ValidationException\",\"message\":\"\",\"Message\":\"b\"}",
         "ValidationException", "b"},
        {"{\"__type\":1,\"message\":[]}", "", ""},
        {"{}", "", ""},
        {"[]", "", ""},
        {"", "", ""},
        {"<html>", "", ""},
        {"\"a\"", "", ""},
    };
    struct dlk_service_error error;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        memset(&error, 'x', sizeof error);
        dlk_json_error(cases[i].body, strlen(cases[i].body), &error);
        assert_string_equal(error.name, cases[i].name);
        assert_string_equal(error.message, cases[i].message);
        assert_null(error.item);
        assert_false(error.item_unreadable);
    }
    dlk_json_error(NULL, 0, &error);
    assert_string_equal(error.name, "");
}

static void test_error_item(void **state)
{
    static const char good[] = "{\"__type\":\"a#b\",\"Item\":{" KEYS ",\"version\":{\"N\":\"3\"}}}";
    static const char bad[] = "{\"__type\":\"a#b\",\"Item\":{" KEYS "}}";
    struct dlk_service_error error;

    (void)state;
    dlk_json_error(good, strlen(good), &error);
    assert_non_null(error.item);
    assert_int_equal(dynalock_kv_version(error.item), 3);
    assert_false(error.item_unreadable);
    dynalock_kv_free(error.item);
    dlk_json_error(bad, strlen(bad), &error);
    assert_null(error.item);
    assert_true(error.item_unreadable);
    assert_string_equal(error.name, "b");
}

/* ---- Mutations, lack of memory ---------------------------------------------------------------- */

static void read_everything(const char *body, size_t length)
{
    struct dlk_service_error failure;
    struct dlk_table_state table;
    struct dlk_ttl_state ttl;
    struct dlk_page page;
    dynalock_error error;
    dynalock_kv *kv = NULL;

    if (dlk_json_item(body, length, &kv, &error) == DYNALOCK_OK && kv != NULL) {
        const void *bytes = NULL;
        size_t count = 0;
        json_t *json = NULL;

        (void)dynalock_kv_bytes(kv, &bytes, &count, &error);
        if (dynalock_kv_json(kv, &json, &error) == DYNALOCK_OK) {
            json_decref(json);
        }
        dynalock_kv_free(kv);
    }
    if (dlk_json_page(body, length, &page, &error) == DYNALOCK_OK) {
        dlk_page_free(&page);
    }
    (void)dlk_json_table(body, length, &table, &error);
    (void)dlk_json_ttl(body, length, &ttl, &error);
    dlk_json_error(body, length, &failure);
    dynalock_kv_free(failure.item);
}

static const char everything[] =
    "{\"__type\":\"a#b\",\"message\":\"m\",\"Item\":{" KEYS
    ",\"version\":{\"N\":\"4\"},\"expires\":{\"N\":\"179\"},"
    "\"nonce\":{\"S\":\"" NONCE
    ".1.4\"},\"holder\":{\"S\":\"h\"},\"lease\":{\"N\":\"20\"},\"payload\":{\"M\":{"
    "\"a\":{\"L\":[{\"N\":\"1.5\"},{\"B\":\"Zg==\"},{\"BOOL\":true},{\"NULL\":true}]},"
    "\"b\":{\"NS\":[\"1\",\"2\"]},\"c\":{\"SS\":[\"x\"]}}}},\"Items\":[{" KEYS
    ",\"version\":{\"N\":\"1\"}}],"
    "\"LastEvaluatedKey\":{\"name\":{\"S\":\"p\"}},\"Table\":{\"TableStatus\":\"ACTIVE\",\"KeySchema\":[" KEY(
        "id", "HASH") "]},\"TimeToLiveDescription\":{\"TimeToLiveStatus\":\"ENABLED\"}}";

/* Every body is in memory of its own size, so that a sanitizer sees what reads past it. */
static void test_mutations(void **state)
{
    const size_t full = strlen(everything);
    int i;

    (void)state;
    random_state = 4711;
    for (i = 0; i < MUTATIONS; i++) {
        size_t length = random_below(4) == 0 ? 1 + random_below(full) : full;
        size_t changes = 1 + random_below(3);
        char *body = __real_malloc(length);

        memcpy(body, everything, length);
        while (changes-- > 0) {
            static const char likely[] = "\"{}[]:,\\0SNB-.E\xFF";
            size_t at = random_below(length);

            body[at] = random_below(2) == 0 ? likely[random_below(sizeof likely)]
                                            : (char)random_below(256);
        }
        read_everything(body, length);
        free(body);
    }
}

/* The work is done with 0, 1, 2... allocations, until it needs no more: each failure is MEMORY (or
 * `also`: see codec_load), and nothing is left behind (the sanitizers look). */
static void run_out(int (*work)(void), int also)
{
    long granted = 0;
    int code;

    do {
        allocations_left = granted++;
        code = work();
        allocations_left = -1;
        if (code != DYNALOCK_OK && code != DYNALOCK_ERR_MEMORY && code != also) {
            fail_msg("%ld allocations: %s", granted - 1, dynalock_strerror(code));
        }
    } while (code != DYNALOCK_OK && granted < 5000);
    assert_int_equal(code, DYNALOCK_OK);
}

static json_t *memory_value;
static dynalock_kv *memory_kv;

static int work_item(void)
{
    dynalock_error error;
    dynalock_kv *kv = NULL;
    int code = dlk_json_item(everything, strlen(everything), &kv, &error);

    dynalock_kv_free(kv);
    return code;
}

static int work_page(void)
{
    struct dlk_page page = {NULL, 0, NULL};
    int code = dlk_json_page(everything, strlen(everything), &page, NULL);

    dlk_page_free(&page);
    return code;
}

static int work_write(void)
{
    char *text = NULL;
    size_t size = 0;
    dynalock_error error = {0};
    int code = write_text(dynalock_attribute(memory_value), &text, &size, &error);

    free(text);
    return code;
}

static int work_plain(void)
{
    json_t *json = NULL;
    int code = dynalock_kv_json(memory_kv, &json, NULL);

    json_decref(json);
    return code;
}

static int work_attribute(void)
{
    json_t *json = NULL;
    int code = dynalock_kv_attribute(memory_kv, &json, NULL);

    json_decref(json);
    return code;
}

static int work_make(void)
{
    dynalock_kv *kv = NULL;
    const void *bytes = NULL;
    size_t length = 0;
    int code = dlk_kv_make("p", "k", NULL, "{\"S\":\"Zg==\"}", 12, &kv, NULL);

    if (code == DYNALOCK_OK) {
        code = dynalock_kv_bytes(kv, &bytes, &length, NULL);
    }
    dynalock_kv_free(kv);
    return code;
}

static void test_no_memory(void **state)
{
    long i;

    (void)state;
    memory_value = parse("{\"M\":{\"a\":{\"NS\":[\"1\",\"2\"]},\"b\":{\"L\":[{\"S\":\"x\"}]}}}");
    memory_kv = kv_of(everything);
    run_out(work_item, DYNALOCK_ERR_BAD_RESPONSE);
    run_out(work_page, DYNALOCK_ERR_BAD_RESPONSE);
    run_out(work_write, DYNALOCK_ERR_MEMORY);
    run_out(work_plain, DYNALOCK_ERR_MEMORY);
    run_out(work_attribute, DYNALOCK_ERR_MEMORY);
    run_out(work_make, DYNALOCK_ERR_MEMORY);
    for (i = 0; i < 300; i++) {
        struct dlk_service_error failure;

        allocations_left = i;
        dlk_json_error(everything, strlen(everything), &failure);
        allocations_left = -1;
        dynalock_kv_free(failure.item);
    }
    json_decref(memory_value);
    dynalock_kv_free(memory_kv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record_refused),
        cmocka_unit_test(test_record),
        cmocka_unit_test(test_expires),
        cmocka_unit_test(test_tenure),
        cmocka_unit_test(test_versions_of_no_tenure),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_kv_make),
        cmocka_unit_test(test_page),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_ttl),
        cmocka_unit_test(test_error_body),
        cmocka_unit_test(test_error_item),
        cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_no_memory),
    };

    json_set_alloc_funcs(jansson_alloc, jansson_release);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
