/* SPDX-License-Identifier: Apache-2.0 */
/* Answers that are none of DynamoDB's, or not whole: never a success, never more memory than an answer may need. */
#include "support_client.h"
#include "support_process.h"

#include <sys/resource.h>

#define FOREVER "'times':-1,"

/* Every operation, on a key; what is read is dropped. */
typedef int (*operation_fn)(dynalock_store *store, const char *key, dynalock_error *error);

static int op_exists(dynalock_store *store, const char *key, dynalock_error *error)
{
    bool exists = false;
    return dynalock_exists(store, key, NULL, &exists, error);
}

static int op_list(dynalock_store *store, const char *key, dynalock_error *error)
{
    dynalock_kv **items = NULL;
    size_t count = 0;
    int code = dynalock_list(store, key, NULL, &items, &count, error);
    if (code == DYNALOCK_OK) {
        dynalock_list_free(items, count);
    }
    return code;
}

static int op_create(dynalock_store *store, const char *key, dynalock_error *error)
{
    return dynalock_atomic_put(store, key, dynalock_none(), NULL, NULL, NULL, error);
}

static int op_verify(dynalock_store *store, const char *key, dynalock_error *error)
{
    (void)key;
    return dynalock_table_verify(store, NULL, error);
}

static int op_lock(dynalock_store *store, const char *key, dynalock_error *error)
{
    dynalock_lock *lock = NULL;
    int code = dynalock_lock_new(store, key, NULL, &lock, error);
    if (code == DYNALOCK_OK) {
        code = dynalock_lock_acquire(lock, -1, 0, error);
        dynalock_lock_free(lock);
    }
    return code;
}

struct operation {
    const char *name;
    operation_fn call;
    bool write;
};

static const struct operation operations[] = {
    {"get", client_get, false},   {"exists", op_exists, false}, {"list", op_list, false},
    {"verify", op_verify, false}, {"put", client_put, true},    {"delete", dynalock_delete, true},
    {"create", op_create, true},  {"lock", op_lock, true},
};

/* What every operation makes of an answer, with and without being delivered first. */
static void every_operation_fails(struct bench *b, const char *action, int code)
{
    dynalock_options options = {.max_attempts = 1, .close_timeout_ms = 100};
    dynalock_store *store = client_warm(b, &options);
    client_fault(b, FOREVER "'action':%s", action);
    for (size_t i = 0; i < COUNT(operations); i++) {
        print_message("%s\n", operations[i].name);
        expect(operations[i].call(store, bench_key(b), &failure), code);
        assert_int_equal((failure.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN) != 0,
                         operations[i].write);
        assert_true(strlen(failure.message) > 20);
    }
    rig_clear_faults(b->rig);
    dynalock_close(store);
}

/* ---- No answers of DynamoDB ------------------------------------------------------------------ */

static void test_a_login_page_is_no_answer(void **state)
{
    every_operation_fails(
        *state,
        "{'do':'garbage','text':'HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Type: text/html\\r\\n"
        "Content-Length: 28\\r\\n\\r\\n<html>Please log in.</html>\\n'}",
        DYNALOCK_ERR_BAD_RESPONSE);
}

static void test_a_login_page_with_a_request_id_is_no_answer(void **state)
{
    every_operation_fails(*state, "{'do':'rewrite','body':'<html>Please log in.</html>'}",
                          DYNALOCK_ERR_BAD_RESPONSE);
}

static void test_an_answer_without_a_request_id_is_none(void **state)
{
    every_operation_fails(*state, "{'do':'rewrite','remove-headers':['x-amzn-RequestId']}",
                          DYNALOCK_ERR_BAD_RESPONSE);
}

static void test_an_empty_answer_is_none(void **state)
{
    every_operation_fails(*state, "{'do':'rewrite','body':''}", DYNALOCK_ERR_BAD_RESPONSE);
}

static void test_an_array_is_no_answer(void **state)
{
    every_operation_fails(*state, "{'do':'rewrite','body':[]}", DYNALOCK_ERR_BAD_RESPONSE);
}

static void test_half_a_json_object_is_no_answer(void **state)
{
    every_operation_fails(*state, "{'do':'rewrite','body':'{\\'Item\\':{'}",
                          DYNALOCK_ERR_BAD_RESPONSE);
}

static void test_an_answer_that_was_cut_off_is_none(void **state)
{
    every_operation_fails(*state, "{'do':'truncate','bytes':1}", DYNALOCK_ERR_NETWORK);
}

static void test_an_answer_with_a_wrong_checksum_is_none(void **state)
{
    every_operation_fails(*state, "'wrong-crc'", DYNALOCK_ERR_BAD_RESPONSE);
}

static void test_text_that_is_no_http_is_no_answer(void **state)
{
    every_operation_fails(*state, "{'do':'garbage','text':'SSH-2.0-OpenSSH_9.2\\r\\n'}",
                          DYNALOCK_ERR_BAD_RESPONSE);
}

static void test_another_2xx_is_no_answer(void **state)
{
    every_operation_fails(*state, "{'do':'rewrite','status':204,'body':''}",
                          DYNALOCK_ERR_BAD_RESPONSE);
    every_operation_fails(*state, "{'do':'rewrite','status':202}", DYNALOCK_ERR_BAD_RESPONSE);
}

static void test_redirects_are_not_followed(void **state)
{
    static const int statuses[] = {301, 302, 303, 307, 308};
    struct bench *b = *state;
    char action[200];
    (void)bench_direct(b);
    for (size_t i = 0; i < COUNT(statuses); i++) {
        snprintf(action, sizeof action,
                 "{'do':'status','status':%d,'body':'','headers':{'Location':'%s/'}}", statuses[i],
                 b->direct_endpoint);
        every_operation_fails(b, action, DYNALOCK_ERR_BAD_RESPONSE);
        assert_contains(failure.message, "30");
        b->rig->proxy = b->direct_proxy;
        assert_int_equal(rig_total(b->rig), 0);
        b->rig->proxy = b->proxy;
    }
}

static void test_an_error_page_of_a_gateway_is_tried_again(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = client_warm(b, NULL);
    client_fault(
        b,
        "'action':{'do':'garbage','text':'HTTP/1.1 503 No\\r\\nConnection: close\\r\\nContent-Length: 4\\r\\n"
        "Content-Type: text/html\\r\\n\\r\\nbusy'}");
    expect(client_put(store, "k", &failure), DYNALOCK_OK);
    assert_int_equal(bench_count(b, NULL), 2);
    dynalock_close(store);
}

static void test_a_date_of_no_answer_teaches_nothing(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = client_open(b, NULL);
    const char *key = bench_key(b);
    client_fault(b, FOREVER
                 "'action':{'do':'garbage','text':'HTTP/1.1 503 No\\r\\nConnection: close\\r\\n"
                 "Date: Sun, 06 Nov 2044 08:49:37 GMT\\r\\nContent-Length: 0\\r\\n\\r\\n'}");
    expect(client_get(store, key, &failure), DYNALOCK_ERR_BAD_RESPONSE);
    rig_clear_faults(b->rig);
    expect(client_put(store, key, &failure), DYNALOCK_OK);
    json_t *item = bench_item(b, key);
    assert_true(item_number(item, "expires") < INT64_C(2362000000)); /* 2044 */
    json_decref(item);
    dynalock_close(store);
}

/* ---- Raw HTTP -------------------------------------------------------------------------------- */

struct raw {
    const char *what;
    const char *head; /* with its body */
    int code;
};

#define OK_HEAD "HTTP/1.1 200 OK\\r\\nx-amzn-RequestId: ABC\\r\\n"

static const struct raw raws[] = {
    {"as it should be", OK_HEAD "Content-Length: 2\\r\\n\\r\\n{}", DYNALOCK_OK},
    {"in chunks",
     OK_HEAD "Transfer-Encoding: chunked\\r\\n\\r\\n1\\r\\n{\\r\\n1\\r\\n}\\r\\n0\\r\\n\\r\\n",
     DYNALOCK_OK},
    {"until the connection ends", OK_HEAD "\\r\\n{}", DYNALOCK_OK},
    {"after a 100", "HTTP/1.1 100 Continue\\r\\n\\r\\n" OK_HEAD "Content-Length: 2\\r\\n\\r\\n{}",
     DYNALOCK_OK},
    {"names in capitals",
     "HTTP/1.1 200 OK\\r\\nX-AMZN-REQUESTID: ABC\\r\\nCONTENT-LENGTH: 2\\r\\n\\r\\n{}",
     DYNALOCK_OK},
    {"shorter than its length", OK_HEAD "Content-Length: 5\\r\\n\\r\\n{}", DYNALOCK_ERR_NETWORK},
    {"longer than its length", OK_HEAD "Content-Length: 1\\r\\n\\r\\n{}",
     DYNALOCK_ERR_BAD_RESPONSE},
    {"a negative length", OK_HEAD "Content-Length: -1\\r\\n\\r\\n{}", DYNALOCK_ERR_BAD_RESPONSE},
    {"a chunk cut off", OK_HEAD "Transfer-Encoding: chunked\\r\\n\\r\\n1\\r\\n{\\r\\n9\\r\\n}",
     DYNALOCK_ERR_NETWORK},
    {"a wrong chunk", OK_HEAD "Transfer-Encoding: chunked\\r\\n\\r\\nzz\\r\\n{}",
     DYNALOCK_ERR_NETWORK},
    {"compressed, which was not asked for",
     OK_HEAD
     "Content-Encoding: gzip\\r\\nContent-Length: 4\\r\\n\\r\\n\\u001f\\u0008\\u0008\\u0000",
     DYNALOCK_ERR_BAD_RESPONSE},
    {"no header's end", "HTTP/1.1 200 OK\\r\\nx-amzn-RequestId: ABC", DYNALOCK_ERR_BAD_RESPONSE},
    {"no status", "HTTP/1.1\\r\\n\\r\\n{}", DYNALOCK_ERR_BAD_RESPONSE},
    {"nothing", "", DYNALOCK_ERR_NETWORK},
    {"two objects", OK_HEAD "Content-Length: 4\\r\\n\\r\\n{}{}", DYNALOCK_ERR_BAD_RESPONSE},
    {"a checksum that is no number",
     OK_HEAD "x-amz-crc32: none\\r\\nContent-Length: 2\\r\\n\\r\\n{}", DYNALOCK_OK},
    {"the checksum", OK_HEAD "x-amz-crc32: 2745614147\\r\\nContent-Length: 2\\r\\n\\r\\n{}",
     DYNALOCK_OK},
};

static void test_raw_answers_are_read_or_refused(void **state)
{
    struct bench *b = *state;
    dynalock_options options = {.max_attempts = 1};
    for (size_t i = 0; i < COUNT(raws); i++) {
        dynalock_store *store = client_warm(b, &options);
        print_message("%s\n", raws[i].what);
        client_fault(b, FOREVER "'action':{'do':'garbage','text':'%s'}", raws[i].head);
        expect(client_put(store, "raw", &failure), raws[i].code);
        if (raws[i].code != DYNALOCK_OK) {
            assert_true((failure.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN) != 0);
        }
        rig_clear_faults(b->rig);
        dynalock_close(store);
    }
}

/* ---- Answers of the right kind with the wrong things in them --------------------------------- */

struct odd {
    operation_fn call;
    const char *body;
    int code;
};

#define KEYS "'id':{'S':'p'},'name':{'S':'k'}"

static const struct odd odds[] = {
    {client_get, "{'Item':[]}", DYNALOCK_ERR_BAD_RESPONSE},
    {client_get, "{'Item':7}", DYNALOCK_ERR_BAD_RESPONSE},
    {client_get, "{'Item':{'version':{'N':'1'}}}", DYNALOCK_ERR_TYPE},
    {client_get, "{'Item':{" KEYS ",'version':{'N':'x'}}}", DYNALOCK_ERR_TYPE},
    {client_get, "{'Item':{" KEYS ",'version':'1'}}", DYNALOCK_ERR_TYPE},
    {op_list, "{}", DYNALOCK_ERR_BAD_RESPONSE},
    {op_list, "{'Items':{}}", DYNALOCK_ERR_BAD_RESPONSE},
    {op_list, "{'Items':[7]}", DYNALOCK_ERR_BAD_RESPONSE},
    {op_list, "{'Items':[],'LastEvaluatedKey':7}", DYNALOCK_ERR_BAD_RESPONSE},
    {op_verify, "{}", DYNALOCK_ERR_BAD_RESPONSE},
    {op_verify, "{'Table':7}", DYNALOCK_ERR_BAD_RESPONSE},
};

static void test_answers_with_odd_contents_are_refused(void **state)
{
    struct bench *b = *state;
    dynalock_options options = {.max_attempts = 1};
    dynalock_store *store = client_warm(b, &options);
    for (size_t i = 0; i < COUNT(odds); i++) {
        print_message("%s\n", odds[i].body);
        client_fault(b, FOREVER "'action':{'do':'rewrite','status':200,'body':%s}", odds[i].body);
        expect(odds[i].call(store, "odd", &failure), odds[i].code);
        rig_clear_faults(b->rig);
    }
    dynalock_close(store);
}

/* ---- Size ------------------------------------------------------------------------------------ */

static long peak_kb(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss;
}

static void test_an_answer_without_end_is_refused_in_bounded_memory(void **state)
{
    struct bench *b = *state;
    struct process server = process_start("endless", NULL, NULL);
    dynalock_options options = {.endpoint = server.endpoint, .max_attempts = 1};
    dynalock_store *store = client_open(b, &options);
    long before = peak_kb();
    expect(client_get(store, "k", &failure), DYNALOCK_ERR_BAD_RESPONSE);
    assert_contains(failure.message, "16");
    assert_true(peak_kb() - before <
                200L * 1024); /* what a sanitizer keeps of freed memory included */
    dynalock_close(store);
    process_end(&server);
}

static void test_headers_without_end_are_refused(void **state)
{
    struct bench *b = *state;
    struct process server = process_start("headers", NULL, NULL);
    dynalock_options options = {.endpoint = server.endpoint, .max_attempts = 1};
    dynalock_store *store = client_open(b, &options);
    long before = peak_kb();
    int code = client_get(store, "k", &failure);
    assert_int_equal(code, DYNALOCK_ERR_BAD_RESPONSE);
    assert_non_null(strstr(failure.message, "larger than 256 KB"));
    assert_true(peak_kb() - before < 200L * 1024);
    dynalock_close(store);
    process_end(&server);
}

/* ---- Connections ----------------------------------------------------------------------------- */

static void test_a_connection_is_used_for_many_calls(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = client_warm(b, NULL);
    for (int i = 0; i < 30; i++) {
        expect(client_put(store, "k", &failure), DYNALOCK_OK);
        expect(client_get(store, "k", &failure), DYNALOCK_OK);
    }
    assert_int_equal(rig_connections(b->rig), 0); /* none but that of the first request */
    assert_int_equal(client_counters(store).connections, 1);
    dynalock_close(store);
}

static void test_a_refused_request_does_not_cost_the_connection(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = client_warm(b, NULL);
    client_fault(b, "'times':3,'action':'status'");
    expect(client_put(store, "k", &failure), DYNALOCK_OK);
    assert_int_equal(client_counters(store).connections, 1);
    dynalock_close(store);
}

static void test_a_connection_that_the_server_has_closed_is_replaced(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = client_warm(b, NULL);
    for (int i = 0; i < 10; i++) {
        client_fault(b, "'action':'close-after'");
        expect(client_put(store, "k", &failure), DYNALOCK_OK);
        assert_true(rig_wait(b->rig, NULL, "finished", 3 * i + 1, 10000));
        expect(client_put(store, "k", &failure), DYNALOCK_OK);
        rig_do(b->rig, "'cmd':'hang-up'");
        expect(client_get(store, "k", &failure), DYNALOCK_OK);
    }
    dynalock_close(store);
}

static void test_an_idle_connection_that_the_server_gives_up_is_replaced(void **state)
{
    struct bench *b = *state;
    rig_do(b->rig, "'cmd':'set','idle_ms':100");
    dynalock_store *store = client_warm(b, NULL);
    for (int i = 0; i < 3; i++) {
        sleep_ms(180); /* the server's time is over, or just about */
        expect(client_put(store, "k", &failure), DYNALOCK_OK);
    }
    rig_do(b->rig, "'cmd':'set','idle_ms':60000");
    dynalock_close(store);
}

/* ---- No connection --------------------------------------------------------------------------- */

static void test_a_refused_connection_is_a_network_failure_and_nothing_was_sent(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = client_warm(b, NULL);
    rig_do(b->rig, "'cmd':'shut'");
    expect(client_put(store, "k", &failure), DYNALOCK_ERR_NETWORK);
    rig_do(b->rig, "'cmd':'open'");
    assert_flags(DYNALOCK_ERROR_RETRYABLE);
    assert_int_equal(failure.http_status, 0);
    assert_string_equal(failure.request_id, "");
    assert_contains(failure.message, "onnect");
    assert_int_equal(client_counters(store).attempts, 5);
    expect(client_put(store, "k", &failure), DYNALOCK_OK);
    dynalock_close(store);
}

static void test_a_refused_connection_from_the_start_is_a_network_failure(void **state)
{
    struct bench *b = *state;
    dynalock_options options = {.endpoint = "http://127.0.0.1:1"};
    dynalock_store *store = client_open(b, &options);
    expect(client_put(store, "k", &failure), DYNALOCK_ERR_NETWORK);
    assert_flags(DYNALOCK_ERROR_RETRYABLE);
    expect(op_create(store, "k", &failure), DYNALOCK_ERR_NETWORK);
    assert_flags(DYNALOCK_ERROR_RETRYABLE);
    expect(dynalock_delete(store, "k", &failure), DYNALOCK_ERR_NETWORK);
    assert_flags(DYNALOCK_ERROR_RETRYABLE);
    dynalock_close(store);
}

static void test_a_name_that_does_not_resolve_is_a_network_failure(void **state)
{
    struct bench *b = *state;
    dynalock_options options = {.endpoint = "http://no-such-host.invalid:8000", .max_attempts = 2};
    dynalock_store *store = client_open(b, &options);
    expect(client_put(store, "k", &failure), DYNALOCK_ERR_NETWORK);
    assert_flags(DYNALOCK_ERROR_RETRYABLE);
    assert_contains(failure.message, "no-such-host.invalid");
    dynalock_close(store);
}

/* ---- Requests -------------------------------------------------------------------------------- */

static void test_no_operation_sends_what_a_strict_service_would_object_to(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = client_warm(b, NULL);
    static const char *const keys[] = {"a", "a/b/", "\xc3\xa4 \"quoted\" \\ /", "\xf0\x9f\x94\x92",
                                       "tab\there"};
    for (size_t i = 0; i < COUNT(keys); i++) {
        dynalock_kv *kv = NULL;
        expect(client_put(store, keys[i], &failure), DYNALOCK_OK);
        expect(dynalock_get(store, keys[i], NULL, &kv, &failure), DYNALOCK_OK);
        expect(op_exists(store, keys[i], &failure), DYNALOCK_OK);
        expect(op_list(store, keys[i], &failure), DYNALOCK_OK);
        expect(dynalock_atomic_put(store, keys[i], dynalock_none(), kv, NULL, NULL, &failure),
               DYNALOCK_OK);
        expect(dynalock_atomic_delete(store, keys[i], kv, &failure), DYNALOCK_ERR_MODIFIED);
        dynalock_kv_free(kv);
        expect(dynalock_delete(store, keys[i], &failure), DYNALOCK_OK);
        expect(op_create(store, keys[i], &failure), DYNALOCK_OK);
        expect(dynalock_delete(store, keys[i], &failure), DYNALOCK_OK);
        expect(op_lock(store, keys[i], &failure), DYNALOCK_OK);
    }
    expect(op_verify(store, NULL, &failure), DYNALOCK_OK);
    expect(dynalock_table_create(store, 0, NULL, &failure), DYNALOCK_OK);
    dynalock_close(store);
    assert_int_equal(rig_violations(b->rig), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLIENT_TEST(test_a_login_page_is_no_answer),
        CLIENT_TEST(test_a_login_page_with_a_request_id_is_no_answer),
        CLIENT_TEST(test_an_answer_without_a_request_id_is_none),
        CLIENT_TEST(test_an_empty_answer_is_none),
        CLIENT_TEST(test_an_array_is_no_answer),
        CLIENT_TEST(test_half_a_json_object_is_no_answer),
        CLIENT_TEST(test_an_answer_that_was_cut_off_is_none),
        CLIENT_TEST(test_an_answer_with_a_wrong_checksum_is_none),
        CLIENT_TEST(test_text_that_is_no_http_is_no_answer),
        CLIENT_TEST(test_another_2xx_is_no_answer),
        CLIENT_TEST(test_redirects_are_not_followed),
        CLIENT_TEST(test_an_error_page_of_a_gateway_is_tried_again),
        CLIENT_TEST(test_a_date_of_no_answer_teaches_nothing),
        CLIENT_TEST(test_raw_answers_are_read_or_refused),
        CLIENT_TEST(test_answers_with_odd_contents_are_refused),
        CLIENT_TEST(test_an_answer_without_end_is_refused_in_bounded_memory),
        CLIENT_TEST(test_headers_without_end_are_refused),
        CLIENT_TEST(test_a_connection_is_used_for_many_calls),
        CLIENT_TEST(test_a_refused_request_does_not_cost_the_connection),
        CLIENT_TEST(test_a_connection_that_the_server_has_closed_is_replaced),
        CLIENT_TEST(test_an_idle_connection_that_the_server_gives_up_is_replaced),
        CLIENT_TEST(test_a_refused_connection_is_a_network_failure_and_nothing_was_sent),
        CLIENT_TEST(test_a_refused_connection_from_the_start_is_a_network_failure),
        CLIENT_TEST(test_a_name_that_does_not_resolve_is_a_network_failure),
        CLIENT_TEST(test_no_operation_sends_what_a_strict_service_would_object_to),
    };
    return cmocka_run_group_tests(tests, client_setup, bench_teardown);
}
