/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing bodies while one allocation after another fails: the right code, nothing lost, nothing made up. */
#include "../internal.h"
#include "support_fail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#define FAIL_MOST 5000
#define RECORD                                                                                          \
    "{\"id\":{\"S\":\"p\"},\"name\":{\"S\":\"k\"},\"version\":{\"N\":\"7\"},\"expires\":{\"N\":\"9\"}," \
    "\"nonce\":{\"S\":\"0123456789abcdef0123456789abcdef.1.7\"},\"holder\":{\"S\":\"me\"},"             \
    "\"lease\":{\"N\":\"20000\"},\"payload\":{\"M\":{\"a\":{\"L\":[{\"S\":\"x\"},{\"N\":\"1\"}]}}}}"

/* jansson takes a want of memory for a mistake in the text as often as not. */
static bool is_failure_of_memory(int code)
{
    return code == DYNALOCK_ERR_MEMORY ||
           (code == DYNALOCK_ERR_BAD_RESPONSE && strcmp(fail_what(), "jansson's malloc") == 0);
}

/* Runs what is given for every N: the Nth allocation fails. Ends when none was made fail. */
static void for_each_failure(const char *name, int (*run)(void *context, dynalock_error *error),
                             void *context)
{
    for (unsigned nth = 1; nth < FAIL_MOST; nth++) {
        dynalock_error error = {0};
        fail_arm(nth, 1);
        int code = run(context, &error);
        bool failed = fail_disarm();
        if (failed ? !is_failure_of_memory(code) : code != 0) {
            fail_msg("with %s failing as call %u: code %d, %s", fail_what(), nth, code,
                     error.message);
        }
        assert_int_equal(error.code, code);
        if (!failed) {
            (void)fail_report(name);
            return;
        }
    }
    fail_msg("there is no end to it");
}

static int read_item(void *context, dynalock_error *error)
{
    const char *body = context;
    dynalock_kv *kv = NULL;
    int code = dlk_json_item(body, strlen(body), &kv, error);
    assert_int_equal(kv != NULL, code == 0);
    if (kv != NULL) {
        assert_int_equal(dynalock_kv_version(kv), 7);
        assert_string_equal(dynalock_kv_holder(kv), "me");
    }
    dynalock_kv_free(kv);
    return code;
}

static void test_an_item_is_read_whole_or_not_at_all(void **state)
{
    char body[] = "{\"Item\":" RECORD "}";

    (void)state;
    for_each_failure("reading an item", read_item, body);
}

static int read_page(void *context, dynalock_error *error)
{
    const char *body = context;
    struct dlk_page page = {0};
    int code = dlk_json_page(body, strlen(body), &page, error);
    assert_int_equal(page.count, code == 0 ? 3 : 0);
    assert_int_equal(page.last_key != NULL, code == 0);
    dlk_page_free(&page);
    return code;
}

static void test_a_page_is_read_whole_or_not_at_all(void **state)
{
    char body[] = "{\"Items\":[" RECORD "," RECORD "," RECORD "],\"Count\":3,"
                  "\"LastEvaluatedKey\":{\"id\":{\"S\":\"p\"},\"name\":{\"S\":\"k\"}}}";

    (void)state;
    for_each_failure("reading a page", read_page, body);
}

static int read_table(void *context, dynalock_error *error)
{
    struct dlk_table_state table = {0};
    struct dlk_ttl_state ttl = {0};
    static const char ttl_body[] = "{\"TimeToLiveDescription\":{\"TimeToLiveStatus\":\"ENABLED\","
                                   "\"AttributeName\":\"expires\"}}";
    const char *body = context;
    int code = dlk_json_table(body, strlen(body), &table, error);
    return code != 0 ? code : dlk_json_ttl(ttl_body, strlen(ttl_body), &ttl, error);
}

static void test_a_table_is_described_rightly_or_not_at_all(void **state)
{
    char body[] = "{\"Table\":{\"TableStatus\":\"ACTIVE\",\"AttributeDefinitions\":["
                  "{\"AttributeName\":\"id\",\"AttributeType\":\"S\"},"
                  "{\"AttributeName\":\"name\",\"AttributeType\":\"S\"}],\"KeySchema\":["
                  "{\"AttributeName\":\"id\",\"KeyType\":\"HASH\"},"
                  "{\"AttributeName\":\"name\",\"KeyType\":\"RANGE\"}]}}";

    (void)state;
    for_each_failure("reading of a table", read_table, body);
}

static int make_kv(void *context, dynalock_error *error)
{
    static const char value[] = "{\"S\":\"YWJj\"}";
    const void *bytes = NULL;
    size_t length = 0;
    json_t *json = NULL;
    dynalock_kv *kv = NULL;
    int code = dlk_kv_make("p", "k", NULL, value, strlen(value), &kv, error);

    (void)context;
    if (code == 0) {
        code = dynalock_kv_bytes(kv, &bytes, &length, error);
        assert_int_equal(bytes != NULL, code == 0);
    }
    if (code == 0) {
        assert_int_equal(length, 3);
        code = dynalock_kv_json(kv, &json, error);
        assert_int_equal(json != NULL, code == 0);
        json_decref(json);
        json = NULL;
    }
    if (code == 0) {
        code = dynalock_kv_attribute(kv, &json, error);
        assert_int_equal(json != NULL, code == 0);
        json_decref(json);
    }
    dynalock_kv_free(kv);
    return code;
}

static void test_a_value_is_handed_out_whole_or_not_at_all(void **state)
{
    (void)state;
    for_each_failure("making a record", make_kv, NULL);
}

static int write_value(void *context, dynalock_error *error)
{
    const dynalock_value *value = context;
    struct dlk_buffer text;
    size_t size = 0;
    dlk_buffer_init(&text, 100000);
    int code = dlk_json_value(&text, value, &size, error);
    dlk_buffer_free(&text);
    return code;
}

static void test_a_value_is_composed_whole_or_not_at_all(void **state)
{
    json_t *json = json_pack("{s:[i,f,s,n,b],s:{s:s}}", "a", 1, 1.5, "text", 1, "m", "k", "v");
    json_t *sets =
        json_loads("{\"M\":{\"s\":{\"SS\":[\"a\",\"b\",\"c\"]},\"n\":{\"NS\":[\"1\",\"2\"]},"
                   "\"b\":{\"BS\":[\"YQ==\",\"Yg==\"]},\"l\":{\"L\":[{\"B\":\"YQ==\"}]}}}",
                   0, NULL);
    char large[2000];

    (void)state;
    memset(large, 'x', sizeof large);
    assert_non_null(json);
    assert_non_null(sets);
    dynalock_value values[] = {dynalock_json(json), dynalock_attribute(sets),
                               dynalock_bytes(large, sizeof large)};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        for_each_failure("composing a value", write_value, &values[i]);
    }
    json_decref(json);
    json_decref(sets);
}

/* ---- An answer, judged ---------------------------------------------------------------------------- */

static int store_setup(void **state)
{
    dynalock_options options = {.region = "us-east-1",
                                .endpoint = "http://127.0.0.1:1",
                                .access_key_id = "AKID",
                                .secret_access_key = "secret"};
    return dynalock_open("t", "p", &options, (dynalock_store **)state, NULL);
}

static int store_teardown(void **state)
{
    return dynalock_close(*state);
}

static void fill_in(struct dlk_call *call, const char *body)
{
    struct dlk_exchange *exchange = &call->exchange;
    exchange->result = 0;
    exchange->status = 400;
    exchange->retry_after_ms = -1;
    exchange->received_us = exchange->sent_us = dlk_store_boot_us(call->store);
    (void)snprintf(exchange->request_id, sizeof exchange->request_id, "REQUEST");
    dlk_buffer_clear(&exchange->answer);
    dlk_buffer_text(&exchange->answer, body);
}

/* What a failed condition says of the record decides whether a lock is lost: it must not be made up. */
static void test_a_failed_condition_shows_its_record_or_is_a_failure_of_memory(void **state)
{
    static const char body[] =
        "{\"__type\":\"x#ConditionalCheckFailedException\",\"message\":\"m\",\"Item\":" RECORD "}";
    dynalock_store *store = *state;
    bool failed = true;

    for (unsigned nth = 1; failed; nth++) {
        struct dlk_call call;
        struct dlk_base base = {6, NULL, DLK_EXPIRED_OR_NOT};
        int64_t wait_ms = 0;
        dlk_call_init(store, &call, "DeleteItem", "k");
        dlk_request_delete_exactly(store, &call, "k", &base);
        assert_true(dlk_call_begin(store, &call));
        fill_in(&call, body);
        fail_arm(nth, 1);
        bool ended = dlk_call_judge(store, &call, &wait_ms);
        failed = fail_disarm();
        if (call.code == DLK_CONDITION_FAILED) {
            assert_true(ended);
            assert_false(call.service.item_unreadable);
            assert_non_null(call.service.item);
            assert_int_equal(dynalock_kv_version(call.service.item), 7);
        } else if (!is_failure_of_memory(call.code)) {
            fail_msg("with %s failing as call %u: code %d, %s", fail_what(), nth, call.code,
                     call.error.message);
        }
        dlk_call_free(&call);
    }
    (void)fail_report("reading a failed condition");
}

static int begin_call(void *context, dynalock_error *error)
{
    struct dlk_call call;
    dlk_call_init(context, &call, "GetItem", "k");
    dlk_request_get(context, &call, "k", true, false);
    int code = dlk_call_begin(context, &call) ? 0 : call.code;
    *error = call.error;
    dlk_call_free(&call);
    return code == DYNALOCK_ERR_SYSTEM ? error->code = DYNALOCK_ERR_MEMORY : code;
}

/* OpenSSL does not say why it failed: that is DYNALOCK_ERR_SYSTEM. */
static void test_an_attempt_is_signed_or_not_begun(void **state)
{
    for_each_failure("beginning an attempt", begin_call, *state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_item_is_read_whole_or_not_at_all),
        cmocka_unit_test(test_a_page_is_read_whole_or_not_at_all),
        cmocka_unit_test(test_a_table_is_described_rightly_or_not_at_all),
        cmocka_unit_test(test_a_value_is_handed_out_whole_or_not_at_all),
        cmocka_unit_test(test_a_value_is_composed_whole_or_not_at_all),
        cmocka_unit_test_setup_teardown(
            test_a_failed_condition_shows_its_record_or_is_a_failure_of_memory, store_setup,
            store_teardown),
        cmocka_unit_test_setup_teardown(test_an_attempt_is_signed_or_not_begun, store_setup,
                                        store_teardown),
    };
    fail_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
