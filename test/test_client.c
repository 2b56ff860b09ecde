/* SPDX-License-Identifier: Apache-2.0 */
/* AWS's rules for one call: what is tried again, how often and when; what a failure says of itself. */
#include "support_client.h"

#define FOREVER "'times':-1,"
#define RETRYABLE DYNALOCK_ERROR_RETRYABLE
#define UNKNOWN DYNALOCK_ERROR_OUTCOME_UNKNOWN

/* ---- Failures that pass ---------------------------------------------------------------------- */

struct transient {
    const char *name;
    const char *action; /* of the proxy, as JSON */
    int code;           /* if it does not pass */
    int http_status;
    const char *error_name;
};

static const struct transient transients[] = {
    {"HTTP 500", "{'do':'status','status':500}", DYNALOCK_ERR_SERVICE, 500, "InternalServerError"},
    {"HTTP 502", "{'do':'status','status':502,'type':'BadGateway'}", DYNALOCK_ERR_SERVICE, 502,
     "BadGateway"},
    {"HTTP 503", "{'do':'status','status':503,'type':'ServiceUnavailable'}", DYNALOCK_ERR_SERVICE,
     503, "ServiceUnavailable"},
    {"HTTP 504", "{'do':'status','status':504,'body':''}", DYNALOCK_ERR_SERVICE, 504, ""},
    {"a dropped answer", "'drop'", DYNALOCK_ERR_NETWORK, 0, ""},
    {"a dropped request", "'drop-before'", DYNALOCK_ERR_NETWORK, 0, ""},
    {"a reset", "'reset'", DYNALOCK_ERR_NETWORK, 0, ""},
    {"an early reset", "{'do':'reset','when':'before'}", DYNALOCK_ERR_NETWORK, 0, ""},
    {"no answer in time", "'blackhole'", DYNALOCK_ERR_TIMEOUT, 0, ""},
    {"half an answer", "{'do':'truncate','bytes':1}", DYNALOCK_ERR_NETWORK, 0, ""},
    {"a wrong checksum", "'wrong-crc'", DYNALOCK_ERR_BAD_RESPONSE, 200, ""},
};

/* Short where it will be waited for; elsewhere long enough for a busy machine to answer in. */
static int attempt_timeout_ms(const struct transient *t)
{
    return t->code == DYNALOCK_ERR_TIMEOUT ? 800 : 5000;
}

static void test_a_transient_failure_is_tried_again(void **state)
{
    struct bench *b = *state;
    dynalock_options options = {.attempt_timeout_ms = 2000};
    for (size_t i = 0; i < COUNT(transients); i++) {
        dynalock_store *store = client_warm(b, &options);
        const char *key = bench_key(b);
        expect(client_put(store, key, &failure), DYNALOCK_OK);
        bench_reset(b);
        print_message("%s\n", transients[i].name);
        client_fault(b, "'action':%s", transients[i].action);
        expect(client_get(store, key, &failure), DYNALOCK_OK);
        assert_int_equal(bench_count(b, "GetItem"), 2);
        dynalock_close(store);
    }
}

static void test_a_write_is_tried_again_too(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = client_warm(b, NULL);
    const char *key = bench_key(b);
    client_fault(b, "'action':'status'");
    expect(client_put(store, key, &failure), DYNALOCK_OK);
    assert_int_equal(bench_count(b, "UpdateItem"), 2);
    client_fault(b, "'action':'status'");
    expect(dynalock_delete(store, key, &failure), DYNALOCK_OK);
    assert_int_equal(bench_count(b, "DeleteItem"), 2);
    dynalock_close(store);
}

static void test_a_lasting_failure_is_reported_after_four_attempts(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(transients); i++) {
        const struct transient *t = &transients[i];
        dynalock_options options = {.attempt_timeout_ms = attempt_timeout_ms(t)};
        dynalock_store *store = client_open(b, &options);
        print_message("%s\n", t->name);
        client_fault(b, FOREVER "'action':%s", t->action);
        expect(client_get(store, "lasting", &failure), t->code);
        dynalock_counters counters = client_counters(store);
        assert_int_equal(counters.operations, 1);
        assert_int_equal(counters.attempts, 4);
        assert_int_equal(counters.retries, 3);
        assert_int_equal(counters.unanswered, t->http_status == 0 ? 4 : 0);
        assert_int_equal(failure.code, t->code);
        assert_flags(RETRYABLE);
        assert_int_equal(failure.http_status, t->http_status);
        assert_string_equal(failure.name, t->error_name);
        assert_int_equal(failure.request_id[0] != '\0', t->http_status != 0);
        assert_contains(failure.message, "GetItem: ");
        assert_true(strlen(failure.message) > strlen("GetItem: ") + 3);
        rig_clear_faults(b->rig);
        dynalock_close(store);
    }
}

static void test_a_write_that_was_sent_without_an_answer_may_have_happened(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(transients); i++) {
        dynalock_options options = {.attempt_timeout_ms = attempt_timeout_ms(&transients[i]),
                                    .max_attempts = 1};
        dynalock_store *store = client_warm(b, &options);
        print_message("%s\n", transients[i].name);
        client_fault(b, FOREVER "'action':%s", transients[i].action);
        expect(client_put(store, "unknown", &failure), transients[i].code);
        assert_flags(RETRYABLE | UNKNOWN);
        rig_clear_faults(b->rig);
        dynalock_close(store);
    }
}

static void test_max_attempts_is_the_number_of_attempts(void **state)
{
    struct bench *b = *state;
    const int numbers[] = {1, 2, 6};
    for (size_t i = 0; i < COUNT(numbers); i++) {
        dynalock_options options = {.max_attempts = numbers[i]};
        dynalock_store *store = client_warm(b, &options);
        client_fault(b, FOREVER "'action':'status'");
        expect(client_get(store, "k", &failure), DYNALOCK_ERR_SERVICE);
        assert_int_equal(bench_count(b, NULL), numbers[i]);
        rig_clear_faults(b->rig);
        dynalock_close(store);
    }
}

static void test_the_number_of_attempts_is_that_of_the_option_or_the_environment(void **state)
{
    struct bench *b = *state;
    setenv("AWS_MAX_ATTEMPTS", "2", 1);
    for (int option = 0; option <= 3; option += 3) {
        dynalock_options options = {.max_attempts = option};
        dynalock_store *store = client_warm(b, &options);
        client_fault(b, FOREVER "'action':'status'");
        expect(client_get(store, "k", &failure), DYNALOCK_ERR_SERVICE);
        assert_int_equal(bench_count(b, NULL), option != 0 ? option : 2);
        rig_clear_faults(b->rig);
        dynalock_close(store);
    }
    unsetenv("AWS_MAX_ATTEMPTS");
}

static void test_conflicts_of_transactions_are_tried_again(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = client_warm(b, NULL);
    const char *const names[] = {"TransactionConflictException",
                                 "ReplicatedWriteConflictException"};
    for (size_t i = 0; i < COUNT(names); i++) {
        bench_reset(b);
        client_fault(b, "'action':{'do':'throttle','type':'%s'}", names[i]);
        expect(client_put(store, "k", &failure), DYNALOCK_OK);
        assert_int_equal(bench_count(b, NULL), 2);
    }
    dynalock_close(store);
}

/* ---- Throttling ------------------------------------------------------------------------------ */

struct throttled_call {
    dynalock_store *store;
    const char *name; /* also the key */
    const char *action;
    int code;
    pthread_t thread;
};

static struct throttled_call throttles[] = {
    {.name = "ProvisionedThroughputExceededException"},
    {.name = "ThrottlingException"},
    {.name = "Throttling"},
    {.name = "ThrottledException"},
    {.name = "RequestThrottledException"},
    {.name = "RequestThrottled"},
    {.name = "RequestLimitExceeded"},
    {.name = "LimitExceededException"},
    {.name = "TooManyRequestsException"},
    {.name = "BandwidthLimitExceeded"},
    {.name = "PriorRequestNotComplete"},
    {.name = "EC2ThrottledException"},
    {.name = "SlowDown"},
    {.name = "TransactionInProgressException"},
    {.name = "HTTP429", .action = "{'do':'status','status':429,'type':'SomethingNew'}"},
};

static void *throttled_put(void *context)
{
    struct throttled_call *call = context;
    call->code = client_put(call->store, call->name, NULL);
    return NULL;
}

static void throttle(struct bench *b, const struct throttled_call *call, int times)
{
    if (call->action) {
        client_fault(b, "'times':%d,'match':{'key':'%s'},'action':%s", times, call->name,
                     call->action);
    } else {
        client_fault(b, "'times':%d,'match':{'key':'%s'},'action':{'do':'throttle','type':'%s'}",
                     times, call->name, call->name);
    }
}

static void test_every_throttle_is_tried_again_after_a_longer_wait(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = client_warm(b, NULL);
    int64_t longest = 0;
    for (size_t i = 0; i < COUNT(throttles); i++) {
        throttle(b, &throttles[i], 1);
        throttles[i].store = store;
        assert_int_equal(pthread_create(&throttles[i].thread, NULL, throttled_put, &throttles[i]),
                         0);
    }
    for (size_t i = 0; i < COUNT(throttles); i++) {
        pthread_join(throttles[i].thread, NULL);
    }
    for (size_t i = 0; i < COUNT(throttles); i++) {
        print_message("%s\n", throttles[i].name);
        assert_int_equal(throttles[i].code, DYNALOCK_OK);
        struct captured retry = capture_get(b->events, DYNALOCK_EVENT_RETRY, throttles[i].name, 1);
        assert_int_equal(retry.code, DYNALOCK_ERR_THROTTLED);
        assert_in_range(retry.wait_ms, 0, 1000);
        longest = retry.wait_ms > longest ? retry.wait_ms : longest;
    }
    assert_true(longest > 100); /* fifteen at random within a second */
    assert_int_equal(client_counters(store).throttled, COUNT(throttles));
    dynalock_close(store);
}

static void test_a_lasting_throttle_is_reported_as_one(void **state)
{
    struct bench *b = *state;
    dynalock_options options = {.max_attempts = 1};
    dynalock_store *store = client_warm(b, &options);
    for (size_t i = 0; i < COUNT(throttles); i++) {
        print_message("%s\n", throttles[i].name);
        throttle(b, &throttles[i], 1);
        expect(client_put(store, throttles[i].name, &failure), DYNALOCK_ERR_THROTTLED);
        assert_flags(RETRYABLE | DYNALOCK_ERROR_THROTTLED);
        assert_int_equal(failure.http_status, throttles[i].action ? 429 : 400);
        assert_string_equal(failure.name, throttles[i].action ? "SomethingNew" : throttles[i].name);
    }
    dynalock_close(store);
}

static void test_a_throttle_on_the_way_is_told_with_a_later_failure(void **state)
{
    struct bench *b = *state;
    dynalock_options options = {.max_attempts = 2};
    dynalock_store *store = client_warm(b, &options);
    client_fault(b, "'action':'throttle'");
    client_fault(b, "'action':'status'");
    expect(client_put(store, "k", &failure), DYNALOCK_ERR_SERVICE);
    assert_flags(RETRYABLE | DYNALOCK_ERROR_THROTTLED | UNKNOWN);
    dynalock_close(store);
}

static void test_a_throttle_does_not_clear_that_an_earlier_attempt_may_have_happened(void **state)
{
    struct bench *b = *state;
    dynalock_options options = {.max_attempts = 2};
    dynalock_store *store = client_warm(b, &options);
    client_fault(b, "'action':{'do':'status','status':503,'forward':true}");
    client_fault(b, "'action':'throttle'");
    expect(client_put(store, "k", &failure), DYNALOCK_ERR_THROTTLED);
    assert_flags(RETRYABLE | DYNALOCK_ERROR_THROTTLED | UNKNOWN);
    dynalock_close(store);
}

/* ---- When ------------------------------------------------------------------------------------ */

static void test_waits_grow_from_25_ms(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = client_warm(b, NULL);
    for (int call = 1; call <= 5; call++) {
        client_fault(b, "'times':3,'action':'status'");
        expect(client_put(store, "k", &failure), DYNALOCK_OK);
        for (int n = 1; n <= 3; n++) {
            struct captured retry =
                capture_get(b->events, DYNALOCK_EVENT_RETRY, "k", (call - 1) * 3 + n);
            assert_int_equal(retry.attempt, n);
            assert_in_range(retry.wait_ms, 0, 25 << (n - 1));
        }
    }
    dynalock_close(store);
}

static void test_the_wait_that_the_service_asks_for_is_kept(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = client_warm(b, NULL);
    client_fault(b, "'action':{'do':'status','headers':{'x-amz-retry-after':'600'}}");
    int64_t began = monotonic_ms();
    expect(client_put(store, "k", &failure), DYNALOCK_OK);
    assert_true(monotonic_ms() - began >= 600);
    struct captured retry = capture_get(b->events, DYNALOCK_EVENT_RETRY, "k", 1);
    assert_in_range(retry.wait_ms, 600, 625);
    dynalock_close(store);
}

static void test_no_more_than_five_seconds_are_waited_because_the_service_asks(void **state)
{
    struct bench *b = *state;
    dynalock_options options = {.max_attempts = 2};
    dynalock_store *store = client_warm(b, &options);
    client_fault(b, "'action':{'do':'status','headers':{'x-amz-retry-after':'3600000'}}");
    expect(client_put(store, "k", &failure), DYNALOCK_OK);
    struct captured retry = capture_get(b->events, DYNALOCK_EVENT_RETRY, "k", 1);
    assert_in_range(retry.wait_ms, 5000, 5025);
    dynalock_close(store);
}

static void test_a_wait_that_would_not_end_in_time_is_not_begun(void **state)
{
    struct bench *b = *state;
    dynalock_options options = {.timeout_ms = 2000};
    dynalock_store *store = client_warm(b, &options);
    client_fault(b, FOREVER "'action':{'do':'status','headers':{'x-amz-retry-after':'4000'}}");
    int64_t began = monotonic_ms();
    expect(client_get(store, "k", &failure), DYNALOCK_ERR_SERVICE);
    assert_true(monotonic_ms() - began < 2000);
    assert_int_equal(bench_count(b, NULL), 1);
    dynalock_close(store);
}

static void test_what_is_no_number_of_milliseconds_asks_for_nothing(void **state)
{
    struct bench *b = *state;
    const char *const values[] = {"-5000",   "soon",  "9e9", "99999999999999999999",
                                  "1000 ms", "0x9999"};
    dynalock_store *store = client_warm(b, NULL);
    for (size_t i = 0; i < COUNT(values); i++) {
        print_message("%s\n", values[i]);
        client_fault(b, "'action':{'do':'status','headers':{'x-amz-retry-after':'%s'}}", values[i]);
        expect(client_put(store, "k", &failure), DYNALOCK_OK);
        assert_in_range(capture_get(b->events, DYNALOCK_EVENT_RETRY, "k", 0).wait_ms, 0, 25);
    }
    dynalock_close(store);
}

static void test_an_operation_ends_within_its_time(void **state)
{
    struct bench *b = *state;
    dynalock_options options = {.timeout_ms = 700};
    dynalock_store *store = client_warm(b, &options);
    client_fault(b, FOREVER "'action':'blackhole'");
    int64_t began = monotonic_ms();
    expect(client_get(store, "k", &failure), DYNALOCK_ERR_TIMEOUT);
    int64_t took = monotonic_ms() - began;
    assert_in_range(took, 690, 3000);
    assert_flags(RETRYABLE);
    assert_int_equal(failure.http_status, 0);
    assert_int_equal(bench_count(b, NULL), 1);
    dynalock_close(store);
}

static void test_an_attempt_ends_within_its_time_and_another_follows(void **state)
{
    struct bench *b = *state;
    dynalock_options options = {.attempt_timeout_ms = 800, .max_attempts = 2};
    dynalock_store *store = client_warm(b, &options);
    client_fault(b, FOREVER "'action':'blackhole'");
    int64_t began = monotonic_ms();
    expect(client_put(store, "k", &failure), DYNALOCK_ERR_TIMEOUT);
    assert_true(monotonic_ms() - began >= 1590);
    assert_flags(RETRYABLE | UNKNOWN);
    assert_int_equal(bench_count(b, NULL), 2);
    dynalock_close(store);
}

static void test_an_answer_that_comes_too_slowly_is_not_awaited(void **state)
{
    struct bench *b = *state;
    dynalock_options options = {.timeout_ms = 600, .max_attempts = 1};
    dynalock_store *store = client_warm(b, &options);
    expect(client_put(store, "k", &failure), DYNALOCK_OK);
    client_fault(b, "'action':{'do':'trickle','ms':100,'bytes':1}");
    int64_t began = monotonic_ms();
    expect(client_get(store, "k", &failure), DYNALOCK_ERR_TIMEOUT);
    assert_in_range(monotonic_ms() - began, 590, 3000);
    dynalock_close(store);
}

/* ---- The budget of retries ------------------------------------------------------------------- */

static int attempts_of_a_get(struct bench *b, dynalock_store *store, int code)
{
    int before = bench_count(b, NULL);
    expect(client_get(store, "budget", &failure), code);
    return bench_count(b, NULL) - before;
}

static void test_the_budget_of_retries_runs_out_and_fills_again(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = client_warm(b, NULL);
    client_fault(b, FOREVER "'action':'status'");
    int retries = 0;
    for (int i = 0; i < 14; i++) {
        retries += attempts_of_a_get(b, store, DYNALOCK_ERR_SERVICE) - 1;
    }
    assert_int_equal(retries, 500 / 14);
    assert_int_equal(attempts_of_a_get(b, store, DYNALOCK_ERR_SERVICE), 1);
    rig_clear_faults(b->rig);
    for (int i = 0; i < 14; i++) {
        assert_int_equal(attempts_of_a_get(b, store, DYNALOCK_ERR_NOT_FOUND), 1);
    }
    client_fault(b, "'action':'status'");
    assert_int_equal(attempts_of_a_get(b, store, DYNALOCK_ERR_NOT_FOUND), 2);
    dynalock_close(store);
}

static void test_a_retry_that_helps_costs_nothing(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = client_warm(b, NULL);
    for (int i = 0; i < 40; i++) {
        client_fault(b, "'action':'status'");
        expect(client_put(store, "k", &failure), DYNALOCK_OK);
    }
    dynalock_close(store);
}

/* ---- Failures that stay ---------------------------------------------------------------------- */

struct final {
    const char *type;
    int status;
    int code;
};

static const struct final finals[] = {
    {"ValidationException", 400, DYNALOCK_ERR_REFUSED},
    {"SerializationException", 400, DYNALOCK_ERR_REFUSED},
    {"UnknownOperationException", 400, DYNALOCK_ERR_REFUSED},
    {"ItemCollectionSizeLimitExceededException", 400, DYNALOCK_ERR_REFUSED},
    {"SomethingNewException", 400, DYNALOCK_ERR_REFUSED},
    {"SomethingNewException", 403, DYNALOCK_ERR_REFUSED},
    {"ResourceNotFoundException", 400, DYNALOCK_ERR_NO_TABLE},
    {"AccessDeniedException", 400, DYNALOCK_ERR_NOT_AUTHORIZED},
    {"AccessDeniedException", 403, DYNALOCK_ERR_NOT_AUTHORIZED},
    {"UnrecognizedClientException", 400, DYNALOCK_ERR_NOT_AUTHORIZED},
    {"InvalidSignatureException", 400, DYNALOCK_ERR_NOT_AUTHORIZED},
    {"SignatureDoesNotMatch", 403, DYNALOCK_ERR_NOT_AUTHORIZED},
    {"IncompleteSignatureException", 400, DYNALOCK_ERR_NOT_AUTHORIZED},
    {"MissingAuthenticationTokenException", 400, DYNALOCK_ERR_NOT_AUTHORIZED},
    {"ExpiredTokenException", 400, DYNALOCK_ERR_NOT_AUTHORIZED},
};

static void test_what_stays_is_sent_once_and_reported_with_the_services_words(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = client_warm(b, NULL);
    for (size_t i = 0; i < COUNT(finals); i++) {
        const struct final *f = &finals[i];
        print_message("%s\n", f->type);
        bench_clear(state);
        client_fault(b,
                     FOREVER "'action':{'do':'status','status':%d,'type':'com.amazon.coral#%s',"
                             "'message':'words of the service'}",
                     f->status, f->type);
        expect(client_put(store, "k", &failure), f->code);
        assert_int_equal(bench_count(b, NULL), 1);
        assert_flags(0);
        assert_int_equal(failure.http_status, f->status);
        assert_string_equal(failure.name, f->type);
        assert_contains(failure.message, "UpdateItem: ");
        assert_contains(failure.message, f->type);
        assert_contains(failure.message, "words of the service");
        struct captured attempt = capture_get(b->events, DYNALOCK_EVENT_ATTEMPT, "k", 1);
        assert_string_equal(attempt.request_id, failure.request_id);
        assert_int_equal(strlen(failure.request_id), 52);
        assert_int_equal(capture_count(b->events, DYNALOCK_EVENT_RETRY, NULL), 0);
    }
    dynalock_close(store);
}

static void test_a_wrong_secret_is_not_authorized(void **state)
{
    struct bench *b = *state;
    dynalock_options options = {.access_key_id = RIG_KEY_ID,
                                .secret_access_key = "not/the/secret/key",
                                .session_token = CLIENT_TOKEN};
    dynalock_store *store = client_open(b, &options);
    expect(client_get(store, "k", &failure), DYNALOCK_ERR_NOT_AUTHORIZED);
    assert_int_equal(bench_count(b, NULL), 1);
    assert_string_equal(failure.name, "InvalidSignatureException");
    assert_null(strstr(failure.message, "not/the/secret"));
    dynalock_close(store);
}

static void test_secrets_that_the_service_repeats_are_not_repeated(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = client_warm(b, NULL);
    /* What AWS says of a signature that does not match, in a shorter form. */
    client_fault(
        b,
        "'action':{'do':'status','status':400,'type':'com.amazon#InvalidSignatureException',"
        "'message':'The Canonical String for this request should have been\\n"
        "x-amz-security-token:%s\\n'}",
        CLIENT_TOKEN);
    expect(client_get(store, "k", &failure), DYNALOCK_ERR_NOT_AUTHORIZED);
    dynalock_close(store);
}

/* ---- Error bodies of every shape ------------------------------------------------------------- */

struct body {
    const char *body; /* JSON: text is sent as it stands */
    int status;
    int code;
    const char *name;
    const char *words;
};

static const struct body bodies[] = {
    {"{'__type':'com.amazonaws.dynamodb.v20120810#ResourceNotFoundException','message':'gone'}",
     400, DYNALOCK_ERR_NO_TABLE, "ResourceNotFoundException", "gone"},
    {"{'__type':'ResourceNotFoundException','Message':'Gone'}", 400, DYNALOCK_ERR_NO_TABLE,
     "ResourceNotFoundException", "Gone"},
    {"{'__type':'ResourceNotFoundException:http://internal.amazon.com/coral/x/','message':'m'}",
     400, DYNALOCK_ERR_NO_TABLE, "ResourceNotFoundException", "m"},
    {"{'__type':'a.b#ResourceNotFoundException:http://x/#y','message':'m'}", 400,
     DYNALOCK_ERR_NO_TABLE, "ResourceNotFoundException", "m"},
    {"{'__type':'ResourceNotFoundException'}", 400, DYNALOCK_ERR_NO_TABLE,
     "ResourceNotFoundException", "ResourceNotFoundException"},
    {"{'__type':'ResourceNotFoundException','message':null,'Message':null}", 400,
     DYNALOCK_ERR_NO_TABLE, "ResourceNotFoundException", "ResourceNotFoundException"},
    {"{'__type':'ResourceNotFoundException','message':{'a':[1]}}", 400, DYNALOCK_ERR_NO_TABLE,
     "ResourceNotFoundException", "ResourceNotFoundException"},
    {"{'__type':'X','message':'two\\nlines\\tand\\u0000more'}", 400, DYNALOCK_ERR_REFUSED, "X",
     "two lines and"},
    {"{'__type':'','message':'m'}", 400, DYNALOCK_ERR_BAD_RESPONSE, "", ""},
    {"{'__type':7,'message':'m'}", 400, DYNALOCK_ERR_BAD_RESPONSE, "", ""},
    {"{'message':'m'}", 400, DYNALOCK_ERR_BAD_RESPONSE, "", ""},
    {"'<html><body>Bad Request</body></html>'", 400, DYNALOCK_ERR_BAD_RESPONSE, "", ""},
    {"''", 400, DYNALOCK_ERR_BAD_RESPONSE, "", ""},
    {"'null'", 400, DYNALOCK_ERR_BAD_RESPONSE, "", ""},
    {"[]", 400, DYNALOCK_ERR_BAD_RESPONSE, "", ""},
    {"[{'__type':'ThrottlingException'}]", 400, DYNALOCK_ERR_BAD_RESPONSE, "", ""},
    {"'{'", 400, DYNALOCK_ERR_BAD_RESPONSE, "", ""},
    {"'<html>Service Unavailable</html>'", 503, DYNALOCK_ERR_SERVICE, "", "503"},
    {"''", 500, DYNALOCK_ERR_SERVICE, "", "500"},
    {"[]", 502, DYNALOCK_ERR_SERVICE, "", "502"},
    {"''", 429, DYNALOCK_ERR_THROTTLED, "", "429"},
};

static void test_error_bodies_of_every_shape_are_understood(void **state)
{
    struct bench *b = *state;
    dynalock_options options = {.max_attempts = 1};
    dynalock_store *store = client_warm(b, &options);
    for (size_t i = 0; i < COUNT(bodies); i++) {
        print_message("%d %s\n", bodies[i].status, bodies[i].body);
        client_fault(b, "'action':{'do':'status','status':%d,'body':%s}", bodies[i].status,
                     bodies[i].body);
        expect(client_get(store, "k", &failure), bodies[i].code);
        assert_string_equal(failure.name, bodies[i].name);
        assert_int_equal(failure.http_status, bodies[i].status);
        assert_contains(failure.message, bodies[i].words);
        assert_null(strpbrk(failure.message, "\r\n\t"));
        assert_true(strlen(failure.message) > 10);
        char last = failure.message[strlen(failure.message) - 1];
        assert_true(last != ' ' && last != ':');
    }
    dynalock_close(store);
}

static void test_long_words_of_the_service_are_cut(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = client_warm(b, NULL);
    char words[3001];
    for (size_t i = 0; i + 2 < sizeof words; i += 2) {
        memcpy(words + i, "\xc3\xa4", 3);
    }
    client_fault(b, "'action':{'do':'status','status':400,'type':'%s','message':'%s'}", words,
                 words);
    expect(client_get(store, "k", &failure), DYNALOCK_ERR_REFUSED);
    assert_in_range(strlen(failure.message), 400, sizeof failure.message - 1);
    assert_in_range(strlen(failure.name), 60, sizeof failure.name - 1);
    json_t *valid = json_string(failure.message); /* NULL if it is not UTF-8 */
    assert_non_null(valid);
    json_decref(valid);
    dynalock_close(store);
}

/* ---- The clock for signing ------------------------------------------------------------------- */

static void signing_is_corrected(struct bench *b, int64_t skew_ms)
{
    dynalock_store *store = client_open(b, NULL);
    rig_do(b->rig, "'cmd':'set','skew_ms':%" PRId64, skew_ms);
    expect(client_get(store, "never-there", &failure), DYNALOCK_ERR_NOT_FOUND);
    assert_int_equal(bench_count(b, NULL), 2);
    assert_int_equal(capture_count(b->events, DYNALOCK_EVENT_CLOCK, NULL), 1);
    struct captured event = capture_get(b->events, DYNALOCK_EVENT_CLOCK, NULL, 1);
    assert_contains(event.message, "clock");
    for (int i = 0; i < 5; i++) {
        expect(client_get(store, "never-there", &failure), DYNALOCK_ERR_NOT_FOUND);
    }
    assert_int_equal(bench_count(b, NULL), 7);
    dynalock_close(store);
    rig_do(b->rig, "'cmd':'set','skew_ms':0");
}

static void test_a_host_clock_an_hour_behind_costs_one_request(void **state)
{
    signing_is_corrected(*state, 3600000);
}

static void test_a_host_clock_an_hour_ahead_costs_one_request(void **state)
{
    signing_is_corrected(*state, -3600000);
}

static void test_a_host_clock_that_is_right_again_is_followed(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = client_open(b, NULL);
    rig_do(b->rig, "'cmd':'set','skew_ms':3600000");
    expect(client_get(store, "never-there", &failure), DYNALOCK_ERR_NOT_FOUND);
    rig_do(b->rig, "'cmd':'set','skew_ms':0");
    expect(client_get(store, "never-there", &failure), DYNALOCK_ERR_NOT_FOUND);
    assert_int_equal(bench_count(b, NULL), 4);
    dynalock_close(store);
}

static void test_a_signature_refused_for_its_date_is_not_tried_for_ever(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = client_warm(b, NULL);
    client_fault(b, FOREVER "'action':{'do':'status','status':400,'type':'x#RequestTimeTooSkewed',"
                            "'headers':{'Date':'Sun, 06 Nov 1994 08:49:37 GMT'}}");
    expect(client_get(store, "k", &failure), DYNALOCK_ERR_NOT_AUTHORIZED);
    assert_int_equal(bench_count(b, NULL), 2);
    assert_string_equal(failure.name, "RequestTimeTooSkewed");
    dynalock_close(store);
}

static void test_without_a_date_the_signing_clock_is_not_touched(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = client_warm(b, NULL);
    rig_do(b->rig, "'cmd':'set','skew_ms':3600000,'date':'none'");
    expect(client_get(store, "k", &failure), DYNALOCK_ERR_NOT_AUTHORIZED);
    rig_do(b->rig, "'cmd':'set','skew_ms':0,'date':'clock'");
    assert_int_equal(bench_count(b, NULL), 1);
    assert_contains(failure.message, "Signature expired");
    dynalock_close(store);
}

/* ---- What is told ---------------------------------------------------------------------------- */

static void test_attempts_and_retries_are_logged_in_their_order(void **state)
{
    static const int ids[] = {DYNALOCK_EVENT_ATTEMPT, DYNALOCK_EVENT_RETRY, DYNALOCK_EVENT_ATTEMPT,
                              DYNALOCK_EVENT_RETRY, DYNALOCK_EVENT_ATTEMPT};
    static const int codes[] = {DYNALOCK_ERR_SERVICE, DYNALOCK_ERR_SERVICE, DYNALOCK_ERR_NETWORK,
                                DYNALOCK_ERR_NETWORK, DYNALOCK_OK};
    static const int statuses[] = {500, 500, 0, 0, 200};
    struct bench *b = *state;
    dynalock_store *store = client_warm(b, NULL);
    const char *key = bench_key(b);
    client_fault(b, "'action':'status'");
    client_fault(b, "'action':{'do':'truncate','bytes':1}");
    expect(client_put(store, key, &failure), DYNALOCK_OK);
    assert_int_equal(capture_count(b->events, 0, NULL), COUNT(ids));
    for (int i = 0; i < (int)COUNT(ids); i++) {
        struct captured event = capture_get(b->events, 0, NULL, i + 1);
        assert_int_equal(event.id, ids[i]);
        assert_int_equal(event.attempt, i / 2 + 1);
        assert_int_equal(event.code, codes[i]);
        assert_int_equal(event.http_status, statuses[i]);
        assert_string_equal(event.operation, "UpdateItem");
        assert_string_equal(event.key, key);
        assert_int_equal(event.name[0] != '\0', statuses[i] == 500);
        assert_int_equal(event.message[0] != '\0', codes[i] != DYNALOCK_OK);
        assert_true(event.request_id[0] != '\0' || statuses[i] == 0);
        assert_in_range(event.elapsed_ms, 0, 5000);
        assert_true(event.id == DYNALOCK_EVENT_RETRY || event.wait_ms == 0);
    }
    dynalock_close(store);
}

static void test_a_failed_condition_is_an_answer_and_no_failure(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = client_warm(b, NULL);
    const char *key = bench_key(b);
    expect(client_put(store, key, &failure), DYNALOCK_OK);
    capture_clear(b->events);
    expect(dynalock_atomic_put(store, key, dynalock_none(), NULL, NULL, NULL, &failure),
           DYNALOCK_ERR_EXISTS);
    struct captured event = capture_get(b->events, DYNALOCK_EVENT_ATTEMPT, key, 1);
    assert_string_equal(event.operation, "PutItem");
    assert_int_equal(event.code, DYNALOCK_OK);
    assert_int_equal(event.http_status, 400);
    assert_string_equal(event.name, "ConditionalCheckFailedException");
    dynalock_close(store);
}

struct where {
    pthread_t thread;
    int count;
};

static void log_where(const dynalock_event *event, void *context)
{
    struct where *where = context;
    (void)event;
    where->count += pthread_equal(where->thread, pthread_self()) ? 1 : 1000;
}

static void test_events_of_a_call_come_on_its_own_thread(void **state)
{
    struct bench *b = *state;
    struct where where = {.thread = pthread_self()};
    dynalock_options options = {.log = log_where, .log_context = &where};
    dynalock_store *store = client_warm(b, &options);
    where.count = 0;
    client_fault(b, "'action':'status'");
    expect(client_put(store, "k", &failure), DYNALOCK_OK);
    assert_int_equal(where.count, 3);
    dynalock_close(store);
}

static void test_counters_count(void **state)
{
    struct bench *b = *state;
    dynalock_options options = {.max_attempts = 3, .attempt_timeout_ms = 5000};
    dynalock_store *store = client_warm(b, &options);
    client_fault(b, "'action':'status'");
    client_fault(b, "'action':{'do':'truncate','bytes':1}");
    expect(client_put(store, "k", &failure), DYNALOCK_OK);
    expect(client_get(store, "k", &failure), DYNALOCK_OK);
    client_fault(b, "'action':{'do':'status','status':429,'type':'x'}");
    expect(client_get(store, "k", &failure), DYNALOCK_OK);
    dynalock_counters counters = client_counters(store);
    assert_int_equal(counters.operations, 4);
    assert_int_equal(counters.attempts, 7);
    assert_int_equal(counters.retries, 3);
    assert_int_equal(counters.throttled, 1);
    assert_int_equal(counters.unanswered, 1);
    assert_int_equal(counters.connections, 2);
    assert_int_equal(counters.events_dropped, 0);
    dynalock_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLIENT_TEST(test_a_transient_failure_is_tried_again),
        CLIENT_TEST(test_a_write_is_tried_again_too),
        CLIENT_TEST(test_a_lasting_failure_is_reported_after_four_attempts),
        CLIENT_TEST(test_a_write_that_was_sent_without_an_answer_may_have_happened),
        CLIENT_TEST(test_max_attempts_is_the_number_of_attempts),
        CLIENT_TEST(test_the_number_of_attempts_is_that_of_the_option_or_the_environment),
        CLIENT_TEST(test_conflicts_of_transactions_are_tried_again),
        CLIENT_TEST(test_every_throttle_is_tried_again_after_a_longer_wait),
        CLIENT_TEST(test_a_lasting_throttle_is_reported_as_one),
        CLIENT_TEST(test_a_throttle_on_the_way_is_told_with_a_later_failure),
        CLIENT_TEST(test_a_throttle_does_not_clear_that_an_earlier_attempt_may_have_happened),
        CLIENT_TEST(test_waits_grow_from_25_ms),
        CLIENT_TEST(test_the_wait_that_the_service_asks_for_is_kept),
        CLIENT_TEST(test_no_more_than_five_seconds_are_waited_because_the_service_asks),
        CLIENT_TEST(test_a_wait_that_would_not_end_in_time_is_not_begun),
        CLIENT_TEST(test_what_is_no_number_of_milliseconds_asks_for_nothing),
        CLIENT_TEST(test_an_operation_ends_within_its_time),
        CLIENT_TEST(test_an_attempt_ends_within_its_time_and_another_follows),
        CLIENT_TEST(test_an_answer_that_comes_too_slowly_is_not_awaited),
        CLIENT_TEST(test_the_budget_of_retries_runs_out_and_fills_again),
        CLIENT_TEST(test_a_retry_that_helps_costs_nothing),
        CLIENT_TEST(test_what_stays_is_sent_once_and_reported_with_the_services_words),
        CLIENT_TEST(test_a_wrong_secret_is_not_authorized),
        CLIENT_TEST(test_secrets_that_the_service_repeats_are_not_repeated),
        CLIENT_TEST(test_error_bodies_of_every_shape_are_understood),
        CLIENT_TEST(test_long_words_of_the_service_are_cut),
        CLIENT_TEST(test_a_host_clock_an_hour_behind_costs_one_request),
        CLIENT_TEST(test_a_host_clock_an_hour_ahead_costs_one_request),
        CLIENT_TEST(test_a_host_clock_that_is_right_again_is_followed),
        CLIENT_TEST(test_a_signature_refused_for_its_date_is_not_tried_for_ever),
        CLIENT_TEST(test_without_a_date_the_signing_clock_is_not_touched),
        CLIENT_TEST(test_attempts_and_retries_are_logged_in_their_order),
        CLIENT_TEST(test_a_failed_condition_is_an_answer_and_no_failure),
        CLIENT_TEST(test_events_of_a_call_come_on_its_own_thread),
        CLIENT_TEST(test_counters_count),
    };
    return cmocka_run_group_tests(tests, client_setup, bench_teardown);
}
