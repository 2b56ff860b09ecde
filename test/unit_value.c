/* SPDX-License-Identifier: Apache-2.0 */
/* Values: what is taken, what is refused, and that what was written comes back. */
#include "values.h"

#include <math.h>

enum { ROUND_TRIPS = 2000 };

static void assert_refused(dynalock_value value, int code, const char *part)
{
    dynalock_error error = {0};
    char *text = NULL;
    size_t size = 7;

    if (write_text(value, &text, &size, &error) != code) {
        fail_msg("not refused as \"%s\"", part);
    }
    assert_int_equal(error.code, code);
    assert_contains(error.message, part);
    assert_int_equal(size, 7);
    assert_null(text);
}

/* ---- Values that are written ----------------------------------------------------------------- */

static void test_attribute(void **state)
{
    static const struct {
        const char *text;
        size_t size;
    } cases[] = {
        {"{\"S\":\"\"}", 0},
        {"{\"S\":\"abc\"}", 3},
        {"{\"B\":\"\"}", 0},
        {"{\"B\":\"Zm8=\"}", 2},
        {"{\"N\":\"0\"}", 1},
        {"{\"N\":\"+1.50E1\"}", 2},
        {"{\"N\":\"-123\"}", 4},
        {"{\"N\":\"" NINES "\"}", 20},
        {"{\"BOOL\":true}", 1},
        {"{\"BOOL\":false}", 1},
        {"{\"NULL\":true}", 1},
        {"{\"SS\":[\"a\",\"\",\"bc\"]}", 3},
        {"{\"NS\":[\"1\",\"-1\",\"10\"]}", 7},
        {"{\"BS\":[\"\",\"Zg==\"]}", 1},
        {"{\"L\":[]}", 3},
        {"{\"M\":{}}", 3},
        {"{\"L\":[{\"S\":\"ab\"},{\"L\":[]}]}", 10},
        {"{\"M\":{\"key\":{\"N\":\"1\"}}}", 9},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        json_t *json = parse(cases[i].text);
        char *text = NULL;
        size_t size = 100;

        assert_int_equal(write_text(dynalock_attribute(json), &text, &size, NULL), DYNALOCK_OK);
        assert_string_equal(text, cases[i].text);
        assert_int_equal(size, 100 + cases[i].size);
        free(text);
        json_decref(json);
    }
}

static void test_attribute_refused(void **state)
{
    static const struct {
        const char *text;
        const char *part;
    } cases[] = {
        {"1", "the value is not an object with one member"},
        {"{}", "the value is not an object"},
        {"{\"S\":\"a\",\"N\":\"1\"}", "is not an object with one member"},
        {"{\"X\":\"a\"}", "is not an object with one member that is a type"},
        {"{\"s\":\"a\"}", "that is a type"},
        {"{\"S\":1}", "the value at S is not a string"},
        {"{\"S\":null}", "at S is not a string"},
        {"{\"N\":1}", "the value at N is not a string with a number"},
        {"{\"N\":\"abc\"}", "the value at N is not a number"},
        {"{\"N\":\"" NINES "9\"}", "at N has more than 38 significant digits"},
        {"{\"N\":\"1E126\"}", "at N is out of range"},
        {"{\"N\":\"1\\u0000\"}", "at N is not a number"},
        {"{\"B\":\"Zg\"}", "the value at B is not a string of canonical base64"},
        {"{\"B\":\"Zh==\"}", "canonical base64"},
        {"{\"B\":1}", "canonical base64"},
        {"{\"BOOL\":\"true\"}", "at BOOL is neither true nor false"},
        {"{\"NULL\":false}", "at NULL is not true"},
        {"{\"SS\":[]}", "at SS is an empty set"},
        {"{\"NS\":[]}", "at NS is an empty set"},
        {"{\"BS\":[]}", "at BS is an empty set"},
        {"{\"SS\":{}}", "at SS is not an array"},
        {"{\"SS\":[\"a\",1]}", "at SS[1] is not a string"},
        {"{\"SS\":[\"a\",\"b\",\"a\"]}", "is in the set twice"},
        {"{\"SS\":[\"a\\u0000b\",\"a\\u0000b\"]}", "is in the set twice"},
        {"{\"NS\":[\"1\",\"1.0\"]}", "is in the set twice"},
        {"{\"NS\":[\"0\",\"2\",\"-0E5\"]}", "is in the set twice"},
        {"{\"NS\":[\"1E2\",\"0100.00\"]}", "is in the set twice"},
        {"{\"NS\":[1]}", "at NS[0] is not a string"},
        {"{\"NS\":[\"1\",\"x\"]}", "at NS[1] is not a number"},
        {"{\"BS\":[\"Zg==\",\"Zg==\"]}", "is in the set twice"},
        {"{\"BS\":[\"Zg==\",\"Z\"]}", "at BS[1] is not a string of canonical base64"},
        {"{\"L\":{}}", "at L is not an array"},
        {"{\"M\":[]}", "at M is not an object"},
        {"{\"M\":{\"\":{\"S\":\"a\"}}}", "at M has a member whose name is not of 1 to 65535 bytes"},
        {"{\"L\":[{\"S\":\"a\"},\"b\"]}", "the value at L[1] is not an object with one member"},
        {"{\"M\":{\"a\":{\"L\":[{\"N\":\"1\"},{\"N\":\"1\"},{\"N\":\"1\"},{\"N\":\"?\"}]}}}",
         "the value at M.a.L[3].N is not a number"},
        {"{\"M\":{\"a\":{\"M\":{\"b\\n\":{\"X\":1}}}}}", "the value at M.a.M.b  is not an object"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        json_t *json = parse(cases[i].text);

        assert_refused(dynalock_attribute(json), DYNALOCK_ERR_ARGUMENT, cases[i].part);
        json_decref(json);
    }
}

static void test_utf8_refused(void **state)
{
    json_t *text = json_string_nocheck("secret\xED\xA0\x80");
    json_t *array = json_pack("[O]", text);
    json_t *object = json_object();
    json_t *attribute;

    (void)state;
    assert_refused(dynalock_json(text), DYNALOCK_ERR_ARGUMENT, "the value is not valid UTF-8");
    assert_refused(dynalock_json(array), DYNALOCK_ERR_ARGUMENT, "at [0] is not valid UTF-8");
    assert_int_equal(json_object_set_nocheck(object, "secret\xC0\x80", text), 0);
    assert_refused(dynalock_json(object), DYNALOCK_ERR_ARGUMENT,
                   "the value has a member whose name is not valid UTF-8");
    attribute = json_pack("{s:O}", "M", object);
    assert_refused(dynalock_attribute(attribute), DYNALOCK_ERR_ARGUMENT, "at M has a member");
    json_decref(attribute);
    attribute = json_pack("{s:O}", "SS", array);
    assert_refused(dynalock_attribute(attribute), DYNALOCK_ERR_ARGUMENT, "at SS[0] is not valid");
    json_decref(attribute);
    json_decref(object);
    json_decref(array);
    json_decref(text);
#if JANSSON_VERSION_HEX >= 0x020e00
    object = json_object();
    assert_int_equal(json_object_setn_new_nocheck(object, "a\0b", 3, json_true()), 0);
    assert_refused(dynalock_json(object), DYNALOCK_ERR_ARGUMENT,
                   "a member with U+0000 in its name");
    json_decref(object);
    object = json_object();
    assert_int_equal(json_object_setn_new_nocheck(object, "S\0x", 3, json_string("x")), 0);
    assert_refused(dynalock_attribute(object), DYNALOCK_ERR_ARGUMENT,
                   "with one member that is a type");
    json_decref(object);
#endif
}

static void test_plain(void **state)
{
    static const char *const cases[][2] = {
        {"\"a\\u0000b\"", "{\"S\":\"a\\u0000b\"}"},
        {"12", "{\"N\":\"12\"}"},
        {"-9223372036854775808", "{\"N\":\"-9223372036854775808\"}"},
        {"9223372036854775807", "{\"N\":\"9223372036854775807\"}"},
        {"0.1", "{\"N\":\"0.1\"}"},
        {"-2.0", "{\"N\":\"-2\"}"},
        {"1e30", "{\"N\":\"1E30\"}"},
        {"true", "{\"BOOL\":true}"},
        {"false", "{\"BOOL\":false}"},
        {"null", "{\"NULL\":true}"},
        {"[]", "{\"L\":[]}"},
        {"{}", "{\"M\":{}}"},
        {"[1,[\"a\"]]", "{\"L\":[{\"N\":\"1\"},{\"L\":[{\"S\":\"a\"}]}]}"},
        {"{\"a\\\"\":{\"b\":null}}", "{\"M\":{\"a\\u0022\":{\"M\":{\"b\":{\"NULL\":true}}}}}"},
        {"{\"S\":\"x\"}", "{\"M\":{\"S\":{\"S\":\"x\"}}}"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        json_t *json = parse(cases[i][0]);
        char *text = NULL;
        size_t size = 0;

        assert_int_equal(write_text(dynalock_json(json), &text, &size, NULL), DYNALOCK_OK);
        assert_string_equal(text, cases[i][1]);
        free(text);
        json_decref(json);
    }
}

/* json_real refuses what is not finite, but a real can be made such by other means. */
static void test_not_finite(void **state)
{
    static const struct {
        double value;
        const char *part;
    } cases[] = {
        {(double)NAN, "the value is not a number (NaN)"},
        {(double)INFINITY, "the value is infinite"},
        {-(double)INFINITY, "the value is infinite"},
        {1e200, "the value is out of range"},
    };
    json_t *model = json_real(1.0);
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        struct {
            json_t json;
            double value;
        } real = {*model, cases[i].value};

        assert_refused(dynalock_json(&real.json), DYNALOCK_ERR_ARGUMENT, cases[i].part);
    }
    json_decref(model);
}

static json_t *nested(int depth, const char *innermost, bool attribute, bool maps)
{
    json_t *json = parse(innermost);

    for (; depth > 0; depth--) {
        json = maps ? json_pack("{s:o}", "n", json) : json_pack("[o]", json);
        if (attribute) {
            json = json_pack("{s:o}", maps ? "M" : "L", json);
        }
    }
    return json;
}

/* As DynamoDB: 31 around a scalar, and an empty list or map is one of the 31. */
static void test_depth(void **state)
{
    int maps;

    (void)state;
    for (maps = 0; maps <= 1; maps++) {
        json_t *plain = nested(31, "1", false, maps == 1);
        json_t *attribute = nested(31, "{\"NS\":[\"1\"]}", true, maps == 1);
        json_t *plain_deep = nested(32, "1", false, maps == 1);
        json_t *attribute_deep = nested(31, "{\"M\":{}}", true, maps == 1);
        char *text = NULL;
        size_t size = 0;

        assert_int_equal(write_text(dynalock_json(plain), &text, &size, NULL), DYNALOCK_OK);
        free(text);
        assert_int_equal(write_text(dynalock_attribute(attribute), &text, &size, NULL), 0);
        free(text);
        assert_refused(dynalock_json(plain_deep), DYNALOCK_ERR_ARGUMENT, "32 levels");
        assert_refused(dynalock_attribute(attribute_deep), DYNALOCK_ERR_ARGUMENT, "32 levels");
        json_decref(plain);
        json_decref(attribute);
        json_decref(plain_deep);
        json_decref(attribute_deep);
    }
}

/* A list that holds itself has no end. */
static void test_circular(void **state)
{
    json_t *outer = json_array();
    json_t *inner = json_array();

    (void)state;
    assert_int_equal(json_array_append(outer, inner), 0);
    assert_int_equal(json_array_append(inner, outer), 0);
    assert_refused(dynalock_json(outer), DYNALOCK_ERR_ARGUMENT, "32 levels");
    json_array_clear(inner);
    json_decref(inner);
    json_decref(outer);
}

static void test_too_large(void **state)
{
    char *big = malloc(DLK_ITEM_MAX + 1);
    json_t *string;
    json_t *array = json_array();
    json_t *set;
    char *text = NULL;
    size_t size = 0;
    int i;

    (void)state;
    memset(big, 'a', DLK_ITEM_MAX + 1);
    assert_refused(dynalock_bytes(big, SIZE_MAX), DYNALOCK_ERR_TOO_LARGE, "400 KB");
    assert_refused(dynalock_bytes(big, DLK_ITEM_MAX / 4 * 3 + 1), DYNALOCK_ERR_TOO_LARGE, "400 KB");
    assert_int_equal(write_text(dynalock_bytes(big, DLK_ITEM_MAX / 4 * 3), &text, &size, NULL), 0);
    assert_int_equal(size, DLK_ITEM_MAX);
    free(text);
    string = json_stringn_nocheck(big, DLK_ITEM_MAX + 1);
    assert_refused(dynalock_json(string), DYNALOCK_ERR_TOO_LARGE, "400 KB");
    json_decref(string);
    for (i = 0; i <= DLK_ITEM_MAX; i++) {
        assert_int_equal(json_array_append_new(array, json_null()), 0);
    }
    assert_refused(dynalock_json(array), DYNALOCK_ERR_TOO_LARGE, "400 KB");
    set = json_pack("{s:O}", "SS", array);
    assert_refused(dynalock_attribute(set), DYNALOCK_ERR_TOO_LARGE, "at SS goes over");
    json_decref(set);
    json_decref(array);
    big[DLK_ATTRIBUTE_NAME_MAX + 1] = '\0';
    set = json_pack("{s:i}", big, 1);
    assert_refused(dynalock_json(set), DYNALOCK_ERR_ARGUMENT, "1 to 65535 bytes");
    json_decref(set);
    free(big);
}

static void test_bad_values(void **state)
{
    dynalock_value odd = dynalock_none();

    (void)state;
    assert_refused(odd, DYNALOCK_ERR_ARGUMENT, "of no kind");
    odd.kind = 99;
    assert_refused(odd, DYNALOCK_ERR_ARGUMENT, "of no kind");
    assert_refused(dynalock_json(NULL), DYNALOCK_ERR_ARGUMENT, "NULL");
    assert_refused(dynalock_attribute(NULL), DYNALOCK_ERR_ARGUMENT, "NULL");
    assert_refused(dynalock_bytes(NULL, 1), DYNALOCK_ERR_ARGUMENT, "no bytes");
}

static void test_buffer_limit(void **state)
{
    dynalock_value value = dynalock_bytes("abc", 3);
    struct dlk_buffer buffer;
    dynalock_error error;
    size_t size = 0;

    (void)state;
    dlk_buffer_init(&buffer, 5);
    assert_int_equal(dlk_json_value(&buffer, &value, &size, &error), DYNALOCK_ERR_TOO_LARGE);
    assert_int_equal(size, 0);
    dlk_buffer_free(&buffer);
}

/* ---- Values that are read -------------------------------------------------------------------- */

static void test_bytes(void **state)
{
    static const struct {
        const char *body;
        const char *bytes; /* NULL: refused */
        const char *part;
    } cases[] = {
        {PAYLOAD("{\"S\":\"dGVzdA==\"}"), "test", NULL},
        {PAYLOAD("{\"B\":\"dGVzdA==\"}"), "test", NULL},
        {PAYLOAD("{\"S\":\"\"}"), "", NULL},
        {PAYLOAD("{\"S\":\"test!\"}"), NULL, "the value is not canonical base64"},
        {PAYLOAD("{\"S\":\"dGVzdB==\"}"), NULL, "canonical base64"},
        {PAYLOAD("{\"B\":\"dGVzdA=\"}"), NULL, "canonical base64"},
        {PAYLOAD("{\"N\":\"1234\"}"), NULL, "neither an S nor a B"},
        {PAYLOAD("{\"B\":1}"), NULL, "neither an S nor a B"},
        {PAYLOAD("{\"M\":{\"S\":{\"S\":\"\"}}}"), NULL, "neither an S nor a B"},
        {ITEM("\"version\":{\"N\":\"1\"}"), NULL, "record \"k\": it has no value"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        dynalock_kv *kv = kv_of(cases[i].body);
        const void *bytes = cases;
        size_t length = 77;
        dynalock_error error;
        int code = dynalock_kv_bytes(kv, &bytes, &length, &error);

        if (cases[i].bytes != NULL) {
            assert_int_equal(code, DYNALOCK_OK);
            assert_int_equal(length, strlen(cases[i].bytes));
            assert_string_equal(bytes, cases[i].bytes);
            assert_int_equal(dynalock_kv_bytes(kv, &bytes, &length, &error), DYNALOCK_OK);
        } else {
            assert_int_equal(code, DYNALOCK_ERR_TYPE);
            assert_contains(error.message, cases[i].part);
            assert_ptr_equal(bytes, cases);
            assert_int_equal(length, 77);
        }
        dynalock_kv_free(kv);
    }
}

static void test_json(void **state)
{
    static const struct {
        const char *attribute;
        const char *plain; /* NULL: refused */
        const char *part;
    } cases[] = {
        {"{\"S\":\"dGVzdA==\\u0000\"}", "\"dGVzdA==\\u0000\"", NULL},
        {"{\"N\":\"1E2\"}", "100", NULL},
        {"{\"N\":\"100.0\"}", "100", NULL},
        {"{\"N\":\"-9223372036854775808\"}", "-9223372036854775808", NULL},
        {"{\"N\":\"0.1\"}", "0.1", NULL},
        {"{\"N\":\"100000000000000000000\"}", "1e20", NULL},
        {"{\"N\":\"1E125\"}", "1e125", NULL},
        {"{\"B\":\"Zg==\"}", "\"Zg==\"", NULL},
        {"{\"BOOL\":false}", "false", NULL},
        {"{\"NULL\":true}", "null", NULL},
        {"{\"SS\":[\"b\",\"a\"]}", "[\"b\",\"a\"]", NULL},
        {"{\"NS\":[\"1\",\"2.5\"]}", "[1,2.5]", NULL},
        {"{\"BS\":[\"Zg==\"]}", "[\"Zg==\"]", NULL},
        {"{\"M\":{\"a\":{\"L\":[{\"M\":{}},{\"L\":[]}]}}}", "{\"a\":[{},[]]}", NULL},
        {"{\"N\":\"9223372036854775808\"}", NULL, "the value at N is a number that neither"},
        {"{\"N\":\"0.1234567890123456789\"}", NULL, "neither int64 nor double"},
        {"{\"N\":\"0.1000000000000000055511151231257827\"}", NULL, "neither int64 nor double"},
        {"{\"L\":[{\"N\":\"1\"},{\"NS\":[\"1\",\"" NINES "\"]}]}", NULL,
         "the value at L[1].NS[1] is"},
        {"{\"N\":\"x\"}", NULL, "at N is not a number"},
        {"{\"N\":1}", NULL, "at N is not a number"},
        {"{\"S\":1}", NULL, "at S is not a string"},
        {"{\"SS\":\"a\"}", NULL, "at SS is not an array"},
        {"{\"SS\":[1]}", NULL, "at SS[0] is not a string"},
        {"{\"L\":{}}", NULL, "at L is not an array"},
        {"{\"M\":[]}", NULL, "at M is not an object"},
        {"{\"M\":{\"a\":{}}}", NULL, "at M.a is not an attribute value"},
        {"{\"BOOL\":1}", NULL, "at BOOL is neither"},
        {"{\"NULL\":false}", NULL, "at NULL is not true"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        char body[256];
        json_t *json = NULL;
        dynalock_error error;
        dynalock_kv *kv;
        int code;

        (void)snprintf(body, sizeof body, PAYLOAD("%s"), cases[i].attribute);
        kv = kv_of(body);
        code = dynalock_kv_json(kv, &json, &error);
        if (cases[i].plain != NULL) {
            json_t *expected = parse(cases[i].plain);

            assert_int_equal(code, DYNALOCK_OK);
            assert_true(json_equal(json, expected));
            json_decref(expected);
        } else {
            assert_int_equal(code, DYNALOCK_ERR_TYPE);
            assert_contains(error.message, cases[i].part);
            assert_null(json);
        }
        json_decref(json);
        dynalock_kv_free(kv);
    }
}

static void test_read_depth(void **state)
{
    int depth;

    (void)state;
    for (depth = 31; depth <= 32; depth++) {
        json_t *payload = nested(depth, "{\"BOOL\":true}", true, depth == 31);
        struct dynalock_kv kv = {.payload = payload};
        json_t *json = NULL;
        int code = dynalock_kv_json(&kv, &json, NULL);

        assert_int_equal(code, depth == 31 ? DYNALOCK_OK : DYNALOCK_ERR_TYPE);
        json_decref(json);
        json_decref(payload);
    }
}

static void test_kv_attribute(void **state)
{
    dynalock_kv *kv = kv_of(PAYLOAD("{\"M\":{\"a\":{\"N\":\"" NINES "\"}}}"));
    json_t *json = NULL;
    json_t *again = NULL;
    dynalock_error error;

    (void)state;
    assert_string_equal(dynalock_kv_type(kv), "M");
    assert_int_equal(dynalock_kv_attribute(kv, &json, &error), DYNALOCK_OK);
    json_object_clear(json_object_get(json, "M"));
    assert_int_equal(dynalock_kv_attribute(kv, &again, &error), DYNALOCK_OK);
    assert_int_equal(json_object_size(json_object_get(again, "M")), 1);
    json_decref(json);
    json_decref(again);
    assert_int_equal(dynalock_kv_attribute(kv, NULL, &error), DYNALOCK_ERR_ARGUMENT);
    assert_int_equal(dynalock_kv_attribute(NULL, &json, &error), DYNALOCK_ERR_ARGUMENT);
    assert_int_equal(dynalock_kv_json(kv, NULL, NULL), DYNALOCK_ERR_ARGUMENT);
    assert_int_equal(dynalock_kv_json(NULL, &json, NULL), DYNALOCK_ERR_ARGUMENT);
    assert_int_equal(dynalock_kv_bytes(kv, NULL, NULL, NULL), DYNALOCK_ERR_ARGUMENT);
    assert_int_equal(dynalock_kv_bytes(NULL, NULL, NULL, NULL), DYNALOCK_ERR_ARGUMENT);
    dynalock_kv_free(kv);
    dynalock_kv_free(NULL);
    dynalock_list_free(NULL, 3);
    kv = kv_of(ITEM("\"version\":{\"N\":\"1\"}"));
    assert_null(dynalock_kv_type(kv));
    json = NULL;
    assert_int_equal(dynalock_kv_attribute(kv, &json, &error), DYNALOCK_ERR_TYPE);
    assert_int_equal(dynalock_kv_json(kv, &json, &error), DYNALOCK_ERR_TYPE);
    assert_null(json);
    dynalock_kv_free(kv);
}

/* ---- Round trips ----------------------------------------------------------------------------- */

static json_t *random_string(size_t tag)
{
    static const char *const pieces[] = {
        "a", "\"", "\\", "\n", "\x7F", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "/", "\x01"};
    char text[64] = "";
    size_t count = random_below(8);
    size_t length;

    while (count-- > 0) {
        strcat(text, pieces[random_below(COUNT(pieces))]);
    }
    length = strlen(text);
    if (tag > 0) {
        length += (size_t)snprintf(text + length, sizeof text - length, "%zu", tag);
    }
    return json_stringn(text, length + (random_below(4) == 0 ? 1 : 0));
}

static json_t *random_number(size_t tag)
{
    char text[64];

    (void)snprintf(text, sizeof text, "%s%" PRIu64 ".%" PRIu64 "%zuE%d",
                   random_below(2) == 0 ? "-" : "", random_next() >> 4, random_next() >> 40,
                   tag + 1, (int)random_below(200) - 100);
    return json_string(text);
}

static json_t *random_binary(size_t tag)
{
    struct dlk_buffer buffer;
    unsigned char bytes[24];
    json_t *json;
    size_t i;

    for (i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)random_below(256);
    }
    bytes[0] = (unsigned char)tag;
    dlk_buffer_init(&buffer, 100);
    dlk_base64_encode(&buffer, bytes, 1 + random_below(sizeof bytes));
    json = json_stringn(buffer.data, buffer.length);
    dlk_buffer_free(&buffer);
    return json;
}

static json_t *random_set(json_t *(*member)(size_t))
{
    json_t *set = json_array();
    size_t count = 1 + random_below(5);
    size_t i;

    for (i = 1; i <= count; i++) {
        (void)json_array_append_new(set, member(i));
    }
    return set;
}

static json_t *random_attribute(int depth);

static json_t *random_container(bool map, json_t *(*member)(int), int depth)
{
    json_t *json = map ? json_object() : json_array();
    size_t count = random_below(4);

    while (count-- > 0) {
        json_t *name = random_string(count + 1);

        if (map) {
            (void)json_object_set_new(json, json_string_value(name), member(depth + 1));
        } else {
            (void)json_array_append_new(json, member(depth + 1));
        }
        json_decref(name);
    }
    return json;
}

static json_t *random_attribute(int depth)
{
    switch (random_below(depth < 6 ? 12 : 8)) {
    case 0: return json_pack("{s:o}", "S", random_string(0));
    case 1: return json_pack("{s:o}", "N", random_number(0));
    case 2: return json_pack("{s:o}", "B", random_binary(0));
    case 3: return json_pack("{s:o}", "SS", random_set(random_string));
    case 4: return json_pack("{s:o}", "NS", random_set(random_number));
    case 5: return json_pack("{s:o}", "BS", random_set(random_binary));
    case 6: return json_pack("{s:b}", "BOOL", (int)random_below(2));
    case 7: return json_pack("{s:b}", "NULL", 1);
    case 8:
    case 9: return json_pack("{s:o}", "M", random_container(true, random_attribute, depth));
    default: return json_pack("{s:o}", "L", random_container(false, random_attribute, depth));
    }
}

/* No whole numbers: they come back as integers. */
static json_t *random_real(void)
{
    uint64_t bits;
    double value;

    do {
        bits = random_next();
        memcpy(&value, &bits, sizeof value);
    } while (!isfinite(value) || fabs(value) < 1e-129 || fabs(value) > 1e125 ||
             !(floor(value) < value));
    return json_real(value);
}

static json_t *random_plain(int depth)
{
    switch (random_below(depth < 6 ? 9 : 5)) {
    case 0: return random_string(0);
    case 1: return json_integer((json_int_t)random_next());
    case 2: return random_real();
    case 3: return json_boolean(random_below(2) == 0);
    case 4: return json_null();
    case 5:
    case 6: return random_container(true, random_plain, depth);
    default: return random_container(false, random_plain, depth);
    }
}

static void assert_round_trip(json_t *json, bool plain)
{
    dynalock_error error = {0};
    dynalock_kv *kv = NULL;
    json_t *back = NULL;
    char *text = NULL;
    size_t size = 0;

    if (write_text(plain ? dynalock_json(json) : dynalock_attribute(json), &text, &size, &error) !=
            0 ||
        dlk_kv_make("p", "k", NULL, text, strlen(text), &kv, &error) != 0 ||
        (plain ? dynalock_kv_json : dynalock_kv_attribute)(kv, &back, &error) != 0) {
        fail_msg("%s", error.message);
    }
    if (!json_equal(json, back)) {
        fail_msg("%s", text);
    }
    json_decref(back);
    json_decref(json);
    dynalock_kv_free(kv);
    free(text);
}

static void test_round_trips(void **state)
{
    int i;

    (void)state;
    random_state = 20180614;
    for (i = 0; i < ROUND_TRIPS; i++) {
        assert_round_trip(random_attribute(0), false);
        assert_round_trip(random_plain(0), true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attribute),    cmocka_unit_test(test_attribute_refused),
        cmocka_unit_test(test_utf8_refused), cmocka_unit_test(test_plain),
        cmocka_unit_test(test_not_finite),   cmocka_unit_test(test_depth),
        cmocka_unit_test(test_circular),     cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_bad_values),   cmocka_unit_test(test_buffer_limit),
        cmocka_unit_test(test_bytes),        cmocka_unit_test(test_json),
        cmocka_unit_test(test_read_depth),   cmocka_unit_test(test_kv_attribute),
        cmocka_unit_test(test_round_trips),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
