/* SPDX-License-Identifier: Apache-2.0 */
/* Values, end to end: what is written is read, and what DynamoDB would refuse is not sent. */
#include "support.h"

#define NINES "99999999999999999999999999999999999999"

static dynalock_kv *get(struct bench *b, const char *key)
{
    dynalock_kv *kv = NULL;
    check(dynalock_get(b->store, key, NULL, &kv, &failure), DYNALOCK_OK);
    return kv;
}

/* The value, put and got back. */
static dynalock_kv *there_and_back(struct bench *b, dynalock_value value)
{
    const char *key = bench_key(b);
    check(dynalock_put(b->store, key, value, NULL, &failure), DYNALOCK_OK);
    return get(b, key);
}

/* A record that somebody else wrote, with this payload. */
static dynalock_kv *strangers(struct bench *b, const char *payload)
{
    const char *key = bench_key(b);
    bench_put_item(b, key, "'version':{'N':'1'},'payload':%s", payload);
    return get(b, key);
}

static json_t *attribute_of(const dynalock_kv *kv)
{
    json_t *json = NULL;
    check(dynalock_kv_attribute(kv, &json, &failure), DYNALOCK_OK);
    return json;
}

static json_t *plain_of(const dynalock_kv *kv)
{
    json_t *json = NULL;
    check(dynalock_kv_json(kv, &json, &failure), DYNALOCK_OK);
    return json;
}

/* Both are given up. */
static void assert_json(json_t *json, json_t *expected)
{
    if (!json_equal(json, expected)) {
        char *is = json_dumps(json, JSON_ENCODE_ANY),
             *should = json_dumps(expected, JSON_ENCODE_ANY);
        fail_msg("%s is not %s", is, should);
    }
    json_decref(json);
    json_decref(expected);
}

static void assert_bytes(dynalock_kv *kv, const void *expected, size_t length)
{
    const void *bytes = NULL, *again = NULL;
    size_t got = 0;
    for (int i = 0; i < 2; i++) {
        check(dynalock_kv_bytes(kv, &bytes, &got, &failure), DYNALOCK_OK);
        assert_int_equal(got, length);
        assert_non_null(bytes);
        assert_int_equal(((const char *)bytes)[length], 0);
        if (length > 0) {
            assert_memory_equal(bytes, expected, length);
        }
        assert_true(i == 0 || bytes == again);
        again = bytes;
    }
}

static void assert_no_bytes(dynalock_kv *kv)
{
    const void *const untouched = &failure;
    const void *bytes = untouched;
    size_t length = 5;
    check(dynalock_kv_bytes(kv, &bytes, &length, &failure), DYNALOCK_ERR_TYPE);
    assert_ptr_equal(bytes, untouched);
    assert_int_equal(length, 5);
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

static void test_bytes_of_every_length_come_back(void **state)
{
    struct bench *b = *state;
    static const size_t lengths[] = {0, 1, 2, 3, 4, 255, 256, 65537, 300000};
    unsigned char *bytes = test_malloc(300000);
    for (size_t i = 0; i < 300000; i++) {
        bytes[i] = (unsigned char)(i * 131 + (i >> 8));
    }
    for (size_t i = 0; i < COUNT(lengths); i++) {
        dynalock_kv *kv = there_and_back(b, dynalock_bytes(bytes, lengths[i]));
        assert_string_equal(dynalock_kv_type(kv), "S");
        assert_bytes(kv, bytes, lengths[i]);
        dynalock_kv_free(kv);
    }
    dynalock_kv *kv = there_and_back(b, dynalock_bytes(NULL, 0));
    assert_bytes(kv, "", 0);
    dynalock_kv_free(kv);
    test_free(bytes);
}

static void test_bytes_are_stored_as_go_stores_them(void **state)
{
    struct bench *b = *state;
    const struct {
        const char *bytes;
        size_t length;
        const char *base64;
    } cases[] = {
        {"test", 4, "dGVzdA=="}, {"", 0, ""}, {"\xFB\xFF\xFE", 3, "+//+"}, {"\0", 1, "AA=="}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *key = bench_key(b);
        check(dynalock_put(b->store, key, dynalock_bytes(cases[i].bytes, cases[i].length), NULL,
                           &failure),
              DYNALOCK_OK);
        json_t *item = bench_item(b, key);
        assert_string_equal(item_text(item, "payload", "S"), cases[i].base64);
        json_decref(item);
    }
}

static void test_a_string_that_is_not_canonical_base64_is_no_bytes(void **state)
{
    struct bench *b = *state;
    static const char *const odd[] = {"Zg",       "Zg=", "Zh==", "Z g=",       "Zg==\\n",    "-_8=",
                                      "Zg==Zg==", "=",   "====", "plain text", "Zm9v\\u0000"};
    for (size_t i = 0; i < COUNT(odd); i++) {
        char payload[80];
        snprintf(payload, sizeof payload, "{'S':'%s'}", odd[i]);
        dynalock_kv *kv = strangers(b, payload);
        assert_no_bytes(kv);
        assert_json(attribute_of(kv), json_text(payload));
        dynalock_kv_free(kv);
    }
}

static void test_native_bytes_are_read_as_bytes(void **state)
{
    struct bench *b = *state;
    dynalock_kv *kv = strangers(b, "{'B':'AP/+AQ=='}");
    assert_string_equal(dynalock_kv_type(kv), "B");
    assert_bytes(kv, "\x00\xFF\xFE\x01", 4);
    dynalock_kv_free(kv);
    kv = strangers(b, "{'B':''}");
    assert_bytes(kv, "", 0);
    dynalock_kv_free(kv);
}

static void test_no_other_type_is_bytes(void **state)
{
    struct bench *b = *state;
    static const char *const others[] = {"{'N':'5'}",      "{'BOOL':true}", "{'NULL':true}",
                                         "{'L':[]}",       "{'M':{}}",      "{'SS':['Zg==']}",
                                         "{'BS':['Zg==']}"};
    for (size_t i = 0; i < COUNT(others); i++) {
        dynalock_kv *kv = strangers(b, others[i]);
        assert_no_bytes(kv);
        dynalock_kv_free(kv);
    }
}

static void test_a_record_without_value_has_none_of_any_kind(void **state)
{
    struct bench *b = *state;
    json_t *json = NULL;
    dynalock_kv *kv = there_and_back(b, dynalock_none());
    assert_null(dynalock_kv_type(kv));
    assert_no_bytes(kv);
    check(dynalock_kv_json(kv, &json, &failure), DYNALOCK_ERR_TYPE);
    check(dynalock_kv_attribute(kv, &json, &failure), DYNALOCK_ERR_TYPE);
    assert_null(json);
    dynalock_kv_free(kv);
}

static void test_null_arguments_of_the_getters_are_refused(void **state)
{
    struct bench *b = *state;
    dynalock_kv *kv = there_and_back(b, dynalock_bytes("x", 1));
    const void *bytes = NULL;
    size_t length = 0;
    json_t *json = NULL;
    check(dynalock_kv_bytes(NULL, &bytes, &length, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_kv_bytes(kv, NULL, &length, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_kv_bytes(kv, &bytes, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_kv_json(NULL, &json, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_kv_json(kv, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_kv_attribute(NULL, &json, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_kv_attribute(kv, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    dynalock_kv_free(kv);
}

/* ---- Attribute JSON -------------------------------------------------------------------------- */

static const char *const attributes[] = {
    "{'S':''}",
    "{'S':'text'}",
    "{'S':'\\u0000\\u0001\\b\\f\\n\\r\\t\\u001f\\u007f\\\\\\\"/'}",
    "{'S':'a\\u0000'}",
    "{'S':'\xC3\xBC\xE2\x82\xAC\xF0\x9F\x94\x92\xEF\xBF\xBF\\u2028'}",
    "{'N':'0'}",
    "{'N':'-1'}",
    "{'N':'0.1'}",
    "{'N':'9223372036854775808'}",
    "{'N':'" NINES "'}",
    "{'N':'-" NINES "'}",
    "{'N':'1.2345678901234567890123456789012345678'}",
    "{'B':''}",
    "{'B':'AP/+'}",
    "{'BOOL':true}",
    "{'BOOL':false}",
    "{'NULL':true}",
    "{'L':[]}",
    "{'M':{}}",
    "{'SS':['one']}",
    "{'NS':['" NINES "']}",
    "{'BS':['AA==']}",
    "{'M':{'S':{'S':'S'},'M':{'M':{'a':{'N':'1'},'\\\"':{'L':[{'L':[{'NULL':true}]}]}}}}}",
    "{'L':[{'S':''},{'N':'1'},{'SS':['x']},{'M':{'a b':{'BOOL':true}}}]}",
};

static void test_every_attribute_comes_back_without_loss(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(attributes); i++) {
        const char *key = bench_key(b);
        json_t *json = json_text(attributes[i]);
        dynalock_kv *written = NULL;
        check(dynalock_atomic_put(b->store, key, dynalock_attribute(json), NULL, NULL, &written,
                                  &failure),
              DYNALOCK_OK);
        dynalock_kv *kv = get(b, key);
        assert_int_equal(json->refcount, 1);
        assert_string_equal(dynalock_kv_type(kv), json_object_iter_key(json_object_iter(json)));
        assert_json(attribute_of(written), json_incref(json));
        assert_json(attribute_of(kv), json);
        dynalock_kv_free(written);
        dynalock_kv_free(kv);
    }
}

static bool has(const json_t *array, const char *text)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (strcmp(json_string_value(json_array_get(array, i)), text) == 0) {
            return true;
        }
    }
    return false;
}

static void test_sets_come_back_in_any_order(void **state)
{
    struct bench *b = *state;
    const struct {
        const char *json, *type, *members[3];
    } sets[] = {{"{'SS':['b','','a']}", "SS", {"a", "", "b"}},
                {"{'NS':['1','-2','0.5']}", "NS", {"0.5", "1", "-2"}},
                {"{'BS':['AQ==','AA==','']}", "BS", {"AA==", "", "AQ=="}}};
    for (size_t i = 0; i < COUNT(sets); i++) {
        json_t *json = json_text(sets[i].json);
        dynalock_kv *kv = there_and_back(b, dynalock_attribute(json));
        json_t *back = attribute_of(kv);
        assert_int_equal(json_array_size(json_object_get(back, sets[i].type)), 3);
        for (int j = 0; j < 3; j++) {
            assert_true(has(json_object_get(back, sets[i].type), sets[i].members[j]));
        }
        json_decref(back);
        json_decref(json);
        dynalock_kv_free(kv);
    }
}

static void test_what_is_handed_out_is_the_callers(void **state)
{
    struct bench *b = *state;
    json_t *json = json_text("{'M':{'a':{'L':[{'N':'1'}]}}}");
    dynalock_kv *kv = there_and_back(b, dynalock_attribute(json));
    json_t *first = attribute_of(kv);
    json_object_clear(json_object_get(first, "M"));
    assert_json(attribute_of(kv), json_incref(json));
    json_t *second = attribute_of(kv);
    dynalock_kv_free(kv);
    assert_json(second, json);
    json_decref(first);
}

/* ---- Plain JSON ------------------------------------------------------------------------------ */

static void test_plain_json_comes_back(void **state)
{
    struct bench *b = *state;
    static const char *const values[] = {
        "''",
        "'text \\u0000 \xE2\x82\xAC'",
        "0",
        "-1",
        "9223372036854775807",
        "-9223372036854775808",
        "0.1",
        "-1.5",
        "1e20",
        "1e100",
        "1e-130",
        "9.9e125",
        "123456.789",
        "true",
        "false",
        "null",
        "[]",
        "{}",
        "[[[]],{},'',null]",
        "{'a':{'b':[1,2.5,{'c':null}]},'d':'','S':'x','N':1,' \\\"\\\\':true}",
    };
    for (size_t i = 0; i < COUNT(values); i++) {
        json_t *json = json_text(values[i]);
        const size_t references = json->refcount;
        dynalock_kv *kv = there_and_back(b, dynalock_json(json));
        assert_true(json->refcount == references);
        assert_json(plain_of(kv), json);
        dynalock_kv_free(kv);
    }
}

static void test_plain_json_is_stored_as_attributes(void **state)
{
    struct bench *b = *state;
    json_t *json = json_text("{'s':'x','i':5,'r':0.5,'t':true,'n':null,'l':[1],'m':{}}");
    dynalock_kv *kv = there_and_back(b, dynalock_json(json));
    assert_json(attribute_of(kv),
                json_text("{'M':{'s':{'S':'x'},'i':{'N':'5'},'r':{'N':'0.5'},'t':{'BOOL':true},"
                          "'n':{'NULL':true},'l':{'L':[{'N':'1'}]},'m':{'M':{}}}}"));
    json_decref(json);
    dynalock_kv_free(kv);
}

static void test_every_attribute_reads_as_plain_json(void **state)
{
    struct bench *b = *state;
    const struct {
        const char *attribute, *plain; /* NULL: of no kind that JSON has without loss */
    } cases[] = {
        {"{'S':'dGVzdA=='}", "'dGVzdA=='"},
        {"{'N':'9223372036854775807'}", "9223372036854775807"},
        {"{'N':'-9223372036854775808'}", "-9223372036854775808"},
        {"{'N':'9223372036854776000'}", "9223372036854776000.0"},
        {"{'N':'9223372036854775808'}", NULL},
        {"{'N':'100000000000000000000'}", "1e20"},
        {"{'N':'0.1'}", "0.1"},
        {"{'N':'0.10000000000000000555'}", NULL},
        {"{'N':'" NINES "'}", NULL},
        {"{'L':[{'N':'1'},{'M':{'a':{'N':'" NINES "'}}}]}", NULL},
        {"{'B':'AP/+'}", "'AP/+'"},
        {"{'BOOL':true}", "true"},
        {"{'NULL':true}", "null"},
        {"{'SS':['x']}", "['x']"},
        {"{'NS':['7']}", "[7]"},
        {"{'BS':['AA==']}", "['AA==']"},
        {"{'L':[{'S':'a'},{'M':{'b':{'BOOL':false}}}]}", "['a',{'b':false}]"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        dynalock_kv *kv = strangers(b, cases[i].attribute);
        if (cases[i].plain) {
            assert_json(plain_of(kv), json_text(cases[i].plain));
        } else {
            json_t *json = NULL;
            check(dynalock_kv_json(kv, &json, &failure), DYNALOCK_ERR_TYPE);
            assert_null(json);
        }
        dynalock_kv_free(kv);
    }
}

/* ---- Refusals -------------------------------------------------------------------------------- */

static void refuse(struct bench *b, dynalock_value value, int code)
{
    dynalock_kv *kv = NULL;
    check(dynalock_put(b->store, "refused", value, NULL, &failure), code);
    assert_int_not_equal(failure.message[0], '\0');
    check(dynalock_atomic_put(b->store, "refused", value, NULL, NULL, &kv, &failure), code);
    assert_null(kv);
    assert_int_equal(bench_count(b, NULL), 0);
}

static void test_attributes_that_dynamodb_would_refuse_are_not_sent(void **state)
{
    struct bench *b = *state;
    static const char *const bad[] = {
        "5",
        "'S'",
        "[]",
        "{}",
        "{'X':'x'}",
        "{'s':'x'}",
        "{'S':'x','N':'1'}",
        "{'S':5}",
        "{'N':5}",
        "{'N':''}",
        "{'N':'x'}",
        "{'N':' 1'}",
        "{'N':'1 '}",
        "{'N':'0x1'}",
        "{'N':'NaN'}",
        "{'N':'Infinity'}",
        "{'N':'1\\u0000'}",
        "{'N':'123456789012345678901234567890123456789'}",
        "{'N':'1e126'}",
        "{'N':'-1e126'}",
        "{'N':'1e-131'}",
        "{'N':'1e99999999999999999999'}",
        "{'B':'Zg'}",
        "{'B':'Zh=='}",
        "{'B':'Z g='}",
        "{'B':5}",
        "{'BOOL':1}",
        "{'BOOL':'true'}",
        "{'NULL':false}",
        "{'NULL':null}",
        "{'SS':[]}",
        "{'NS':[]}",
        "{'BS':[]}",
        "{'SS':'x'}",
        "{'SS':['a','a']}",
        "{'SS':['a',1]}",
        "{'NS':['1','1.0']}",
        "{'NS':[1]}",
        "{'NS':['x']}",
        "{'BS':['AA==','AA==']}",
        "{'BS':['A']}",
        "{'L':{}}",
        "{'L':[5]}",
        "{'L':[{'X':1}]}",
        "{'M':[]}",
        "{'M':{'a':5}}",
        "{'M':{'a':{}}}",
        "{'M':{'':{'N':'1'}}}",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        json_t *json = json_text(bad[i]);
        refuse(b, dynalock_attribute(json), DYNALOCK_ERR_ARGUMENT);
        json_decref(json);
    }
}

static void test_values_that_are_none_are_not_sent(void **state)
{
    struct bench *b = *state;
    json_t *json = json_text("1e126");
    refuse(b, dynalock_bytes(NULL, 1), DYNALOCK_ERR_ARGUMENT);
    refuse(b, dynalock_json(NULL), DYNALOCK_ERR_ARGUMENT);
    refuse(b, dynalock_attribute(NULL), DYNALOCK_ERR_ARGUMENT);
    refuse(b, dynalock_value_make(4), DYNALOCK_ERR_ARGUMENT);
    refuse(b, dynalock_value_make(-1), DYNALOCK_ERR_ARGUMENT);
    for (int i = 0; i < 4; i++) {
        static const double out_of_range[] = {1e126, -1e126, 1e-131, 1e308};
        json_real_set(json, out_of_range[i]);
        refuse(b, dynalock_json(json), DYNALOCK_ERR_ARGUMENT);
    }
    json_decref(json);
}

/* So many lists, each in the other. */
static json_t *nested(int depth)
{
    json_t *json = json_array();
    for (int i = 1; i < depth; i++) {
        json_t *outer = json_array();
        json_array_append_new(outer, json);
        json = outer;
    }
    return json;
}

static void test_levels_are_limited(void **state)
{
    struct bench *b = *state;
    json_t *json = nested(31);
    dynalock_kv *kv = there_and_back(b, dynalock_json(json));
    assert_json(plain_of(kv), json);
    dynalock_kv_free(kv);
    bench_reset(b);
    json = nested(33);
    refuse(b, dynalock_json(json), DYNALOCK_ERR_ARGUMENT);
    json_decref(json);
    json = nested(2000);
    refuse(b, dynalock_json(json), DYNALOCK_ERR_ARGUMENT);
    json_decref(json);
}

static void test_records_over_400_kb_are_not_sent(void **state)
{
    struct bench *b = *state;
    size_t size = (size_t)400 * 1024;
    char *text = test_malloc(size * 2);
    memset(text, 'x', size * 2);
    refuse(b, dynalock_bytes(text, size * 2), DYNALOCK_ERR_TOO_LARGE);
    refuse(b, dynalock_bytes(text, size / 4 * 3), DYNALOCK_ERR_TOO_LARGE); /* in base64 */
    json_t *json = json_stringn(text, size);
    refuse(b, dynalock_json(json), DYNALOCK_ERR_TOO_LARGE);
    json_decref(json);
    json = json_pack("{s:[o]}", "L", json_pack("{s:o}", "S", json_stringn(text, size - 5)));
    refuse(b, dynalock_attribute(json), DYNALOCK_ERR_TOO_LARGE);
    assert_contains(failure.message, "400 KB");
    json_decref(json);
    test_free(text);
}

static void test_a_record_just_below_400_kb_is_taken(void **state)
{
    struct bench *b = *state;
    size_t size = (size_t)400 * 1024 - 300;
    char *text = test_malloc(size);
    memset(text, '"', size);
    json_t *json = json_stringn(text, size);
    dynalock_kv *kv = there_and_back(b, dynalock_json(json));
    assert_json(plain_of(kv), json);
    dynalock_kv_free(kv);
    test_free(text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_clear, bench_violations)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_bytes_of_every_length_come_back),
        TEST(test_bytes_are_stored_as_go_stores_them),
        TEST(test_a_string_that_is_not_canonical_base64_is_no_bytes),
        TEST(test_native_bytes_are_read_as_bytes),
        TEST(test_no_other_type_is_bytes),
        TEST(test_a_record_without_value_has_none_of_any_kind),
        TEST(test_null_arguments_of_the_getters_are_refused),
        TEST(test_every_attribute_comes_back_without_loss),
        TEST(test_sets_come_back_in_any_order),
        TEST(test_what_is_handed_out_is_the_callers),
        TEST(test_plain_json_comes_back),
        TEST(test_plain_json_is_stored_as_attributes),
        TEST(test_every_attribute_reads_as_plain_json),
        TEST(test_attributes_that_dynamodb_would_refuse_are_not_sent),
        TEST(test_values_that_are_none_are_not_sent),
        TEST(test_levels_are_limited),
        TEST(test_records_over_400_kb_are_not_sent),
        TEST(test_a_record_just_below_400_kb_is_taken),
    };

    return cmocka_run_group_tests(tests, bench_setup, bench_teardown);
}
