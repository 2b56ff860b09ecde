/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One DynamoDB call, without a server: attempts are begun, their exchanges filled in by hand, and judged. What is signed,
 * what is tried again and when, what it costs, what the answers teach.
 */
#include "../internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define EPOCH INT64_C(1700000000)
#define SECOND INT64_C(1000000)
#define BUDGET 500
#define THROTTLE "{\"__type\":\"com.amazonaws#ThrottlingException\",\"message\":\"slow down\"}"
#define CONDITION "{\"__type\":\"x#ConditionalCheckFailedException\",\"message\":\"failed\"}"

struct fixture {
    dynalock_store *store;
    struct dlk_call call;
    int64_t boot_us, real_us;
    int64_t wait_ms; /* of the last judgement */
    int clock_events;
};

static int64_t fixture_boot(void *context)
{
    return ((struct fixture *)context)->boot_us;
}

static int64_t fixture_real(void *context)
{
    return ((struct fixture *)context)->real_us;
}

static void fixture_log(const dynalock_event *event, void *context)
{
    ((struct fixture *)context)->clock_events += event->id == DYNALOCK_EVENT_CLOCK ? 1 : 0;
}

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.boot_us = 1000 * SECOND, .real_us = EPOCH * SECOND};
    dynalock_options options = {.region = "us-east-1",
                                .endpoint = "http://127.0.0.1:1",
                                .access_key_id = "AKID",
                                .secret_access_key = "top-secret",
                                .session_token = "token-text",
                                .log = fixture_log,
                                .log_context = &f};
    if (dynalock_open("t", "p", &options, &f.store, NULL) != 0) {
        return -1;
    }
    f.store->clock = (struct dlk_clock){fixture_boot, fixture_real, &f};
    dlk_call_init(f.store, &f.call, "GetItem", "k");
    dlk_request_get(f.store, &f.call, "k", true, false);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    dlk_call_free(&f->call);
    return dynalock_close(f->store);
}

static void as_write(struct fixture *f)
{
    struct dlk_item item = {.version = 1, .nonce = "n"};
    dlk_request_create(f->store, &f->call, "k", &item, NULL);
}

/* ---- Filling in what came of an attempt ---- */

static struct dlk_exchange *begin(struct fixture *f)
{
    struct dlk_exchange *exchange = &f->call.exchange;
    assert_true(dlk_call_begin(f->store, &f->call));
    dlk_buffer_clear(&exchange->answer);
    exchange->sent_us = f->boot_us;
    exchange->received_us = f->boot_us + 1000;
    exchange->result = 0;
    exchange->may_have_arrived = exchange->connected = false;
    exchange->has_date = exchange->has_crc = false;
    exchange->retry_after_ms = -1;
    (void)snprintf(exchange->request_id, sizeof exchange->request_id, "REQUEST");
    exchange->message[0] = '\0';
    return exchange;
}

/* True: the call has ended. */
static bool judge(struct fixture *f)
{
    return dlk_call_judge(f->store, &f->call, &f->wait_ms);
}

static bool answered(struct fixture *f, int status, const char *body)
{
    struct dlk_exchange *exchange = begin(f);
    exchange->status = status;
    dlk_buffer_text(&exchange->answer, body);
    return judge(f);
}

static bool unanswered(struct fixture *f, int result, bool may_have_arrived)
{
    struct dlk_exchange *exchange = begin(f);
    exchange->result = result;
    exchange->status = 0;
    exchange->may_have_arrived = may_have_arrived;
    (void)snprintf(exchange->message, sizeof exchange->message, "gone");
    return judge(f);
}

/* ---- Sending ---- */

static void test_each_attempt_is_signed_with_its_own_time(void **state)
{
    struct fixture *f = *state;
    char first[64];
    const struct dlk_exchange *exchange = begin(f);

    assert_string_equal(exchange->headers[0], "Content-Type: application/x-amz-json-1.0");
    assert_string_equal(exchange->headers[1], "Host: 127.0.0.1:1");
    assert_string_equal(exchange->headers[2], "X-Amz-Target: DynamoDB_20120810.GetItem");
    assert_string_equal(exchange->headers[3], "X-Amz-Date: 20231114T221320Z");
    assert_non_null(strstr(exchange->headers[4],
                           "Authorization: AWS4-HMAC-SHA256 Credential=AKID/20231114/us-east-1/"));
    assert_non_null(strstr(exchange->headers[4], "x-amz-security-token"));
    assert_string_equal(exchange->headers[5], "X-Amz-Security-Token: token-text");
    assert_null(exchange->headers[6]);
    for (int i = 0; i < 6; i++) {
        assert_null(strstr(exchange->headers[i], "top-secret"));
    }
    (void)snprintf(first, sizeof first, "%s", strstr(exchange->headers[4], "Signature="));
    f->real_us += 60 * SECOND;
    exchange = begin(f);
    assert_string_equal(exchange->headers[3], "X-Amz-Date: 20231114T221420Z");
    assert_string_not_equal(strstr(exchange->headers[4], "Signature="), first);
}

static void test_an_attempt_has_its_own_limit_or_what_the_operation_has_left(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(begin(f)->timeout_ms, 5000);
    f->boot_us += 29 * SECOND;
    assert_int_equal(begin(f)->timeout_ms, 1000);
    f->boot_us += SECOND;
    assert_false(dlk_call_begin(f->store, &f->call));
    assert_int_equal(f->call.code, DYNALOCK_ERR_TIMEOUT);
}

/* ---- What is tried again ---- */

static void test_answers_mean_what_they_say(void **state)
{
    static const struct {
        int status;
        const char *name;
        int code;
        bool again;
    } cases[] = {
        {400, "ConditionalCheckFailedException", DYNALOCK_ERR_REFUSED, false}, /* of no condition */
        {400, "ValidationException", DYNALOCK_ERR_REFUSED, false},
        {400, "ResourceNotFoundException", DYNALOCK_ERR_NO_TABLE, false},
        {400, "AccessDeniedException", DYNALOCK_ERR_NOT_AUTHORIZED, false},
        {400, "UnrecognizedClientException", DYNALOCK_ERR_NOT_AUTHORIZED, false},
        {400, "ExpiredTokenException", DYNALOCK_ERR_NOT_AUTHORIZED, false},
        {400, "InvalidSignatureException", DYNALOCK_ERR_NOT_AUTHORIZED, false},
        {400, "ProvisionedThroughputExceededException", DYNALOCK_ERR_THROTTLED, true},
        {400, "ThrottlingException", DYNALOCK_ERR_THROTTLED, true},
        {400, "RequestLimitExceeded", DYNALOCK_ERR_THROTTLED, true},
        {400, "LimitExceededException", DYNALOCK_ERR_THROTTLED, true},
        {400, "TransactionInProgressException", DYNALOCK_ERR_THROTTLED, true},
        {429, "", DYNALOCK_ERR_THROTTLED, true},
        {503, "ThrottlingException", DYNALOCK_ERR_THROTTLED, true},
        {400, "TransactionConflictException", DYNALOCK_ERR_SERVICE, true},
        {400, "ReplicatedWriteConflictException", DYNALOCK_ERR_SERVICE, true},
        {500, "InternalServerError", DYNALOCK_ERR_SERVICE, true},
        {500, "", DYNALOCK_ERR_SERVICE, true},
        {502, "", DYNALOCK_ERR_SERVICE, true},
        {503, "", DYNALOCK_ERR_SERVICE, true},
        {504, "", DYNALOCK_ERR_SERVICE, true},
        {400, "", DYNALOCK_ERR_BAD_RESPONSE, false},
        {302, "", DYNALOCK_ERR_BAD_RESPONSE, false},
        {400, "SomethingNew", DYNALOCK_ERR_REFUSED, false},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        char body[128];
        dynalock_error error;
        (void)snprintf(body, sizeof body,
                       cases[i].name[0] != '\0' ? "{\"__type\":\"com.amazonaws#%s\"}" : "<html>%s",
                       cases[i].name);
        dlk_request_get(f->store, &f->call, "k", true, false);
        bool ended = answered(f, cases[i].status, body);
        if (f->call.code != cases[i].code || ended == cases[i].again) {
            fail_msg("%d %s: code %d, %s", cases[i].status, cases[i].name, f->call.code,
                     ended ? "ended" : "tried again");
        }
        assert_int_equal(dlk_call_fail(&f->call, DYNALOCK_ERR_SERVICE, &error),
                         DYNALOCK_ERR_SERVICE);
        assert_int_equal(error.code, DYNALOCK_ERR_SERVICE);
        assert_int_equal(error.http_status, cases[i].status);
        assert_string_equal(error.name, cases[i].name);
        assert_string_equal(error.request_id, "REQUEST");
    }
}

static void test_an_item_that_the_service_finds_too_large_is_told_as_such(void **state)
{
    struct fixture *f = *state;
    static const char *const words[] = {
        "Item size has exceeded the maximum allowed size",
        "Item size to update has exceeded the maximum allowed size",
    };

    for (size_t i = 0; i < COUNT(words); i++) {
        char body[200];
        (void)snprintf(body, sizeof body,
                       "{\"__type\":\"com.amazon.coral.validate#ValidationException\","
                       "\"message\":\"%s\"}",
                       words[i]);
        dlk_request_get(f->store, &f->call, "k", true, false);
        assert_true(answered(f, 400, body));
        assert_int_equal(f->call.code, DYNALOCK_ERR_TOO_LARGE);
    }
}

static void test_failures_to_get_an_answer_mean_what_they_say(void **state)
{
    static const struct {
        int result;
        bool again;
    } cases[] = {
        {DYNALOCK_ERR_NETWORK, true},
        {DYNALOCK_ERR_TIMEOUT, true},
        {DYNALOCK_ERR_TLS, false},
        {DYNALOCK_ERR_MEMORY, false},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        dlk_request_get(f->store, &f->call, "k", true, false);
        assert_int_equal(unanswered(f, cases[i].result, false), !cases[i].again);
        assert_int_equal(f->call.code, cases[i].result);
        assert_int_equal(f->call.error.http_status, 0);
        assert_string_equal(f->call.error.request_id, "");
        assert_non_null(strstr(f->call.error.message, "gone"));
    }
}

static void test_what_is_no_answer_of_dynamodb_teaches_nothing(void **state)
{
    struct fixture *f = *state;
    struct dlk_exchange *exchange = begin(f);
    struct dlk_now now;

    exchange->status = 200;
    exchange->request_id[0] = '\0'; /* a captive portal's page */
    exchange->has_date = true;
    exchange->date_s = EPOCH + 7200;
    dlk_buffer_text(&exchange->answer, "{}");
    assert_false(judge(f));
    assert_int_equal(f->call.code, DYNALOCK_ERR_BAD_RESPONSE);
    dlk_store_now(f->store, &now);
    assert_false(now.known);
}

static void test_an_answer_whose_checksum_is_wrong_teaches_nothing_and_is_tried_again(void **state)
{
    struct fixture *f = *state;
    struct dlk_exchange *exchange = begin(f);
    struct dlk_now now;

    exchange->status = 400;
    exchange->has_crc = true;
    exchange->crc = 1;
    exchange->has_date = true;
    exchange->date_s = EPOCH;
    dlk_buffer_text(&exchange->answer, CONDITION);
    assert_false(judge(f));
    assert_int_equal(f->call.code, DYNALOCK_ERR_BAD_RESPONSE);
    dlk_store_now(f->store, &now);
    assert_false(now.known);
}

static void test_checksums_are_those_of_iso_3309(void **state)
{
    static const struct {
        const char *body;
        uint32_t crc;
    } cases[] = {
        {"{}", UINT32_C(2745614147)},
        {"{\"Item\":{}}", UINT32_C(49613676)},
        {"{\"\xC3\xA4\":\"\xE2\x82\xAC\"}", UINT32_C(1798933857)},
        {"{123456789", UINT32_C(3235789713)},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        for (uint32_t wrong = 0; wrong < 2; wrong++) {
            dlk_request_get(f->store, &f->call, "k", true, false);
            struct dlk_exchange *exchange = begin(f);
            exchange->status = 200;
            exchange->has_crc = true;
            exchange->crc = cases[i].crc ^ wrong;
            dlk_buffer_text(&exchange->answer, cases[i].body);
            assert_int_equal(judge(f), wrong == 0);
            assert_int_equal(f->call.code, wrong == 0 ? 0 : DYNALOCK_ERR_BAD_RESPONSE);
        }
    }
}

/* ---- Whether a write may have happened ---- */

static void test_a_write_may_have_happened_once_an_attempt_stayed_unanswered(void **state)
{
    static const struct {
        bool write;
        int result;
        bool arrived;
        int status;
        bool unknown;
    } cases[] = {
        {true, DYNALOCK_ERR_TIMEOUT, true, 0, true},
        {true, DYNALOCK_ERR_NETWORK, true, 0, true},
        {true, DYNALOCK_ERR_NETWORK, false, 0, false},
        {true, 0, false, 500, true},
        {true, 0, false, 503, true},
        {true, 0, false, 400, false},
        {true, 0, false, 429, false},
        {false, DYNALOCK_ERR_TIMEOUT, true, 0, false},
        {false, 0, false, 500, false},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        dynalock_error error;
        dlk_request_get(f->store, &f->call, "k", true, false);
        if (cases[i].write) {
            as_write(f);
        }
        if (cases[i].result != 0) {
            (void)unanswered(f, cases[i].result, cases[i].arrived);
        } else {
            (void)answered(f, cases[i].status, "{\"__type\":\"x#ValidationException\"}");
        }
        (void)dlk_call_fail(&f->call, f->call.code, &error);
        assert_int_equal((error.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN) != 0, cases[i].unknown);
    }
}

static void test_a_later_answer_does_not_clear_what_is_unknown(void **state)
{
    static const char *const later[] = {THROTTLE, CONDITION, "{\"__type\":\"x#AccessDenied\"}"};
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT(later); i++) {
        dynalock_error error;
        as_write(f);
        assert_false(unanswered(f, DYNALOCK_ERR_TIMEOUT, true));
        (void)answered(f, 400, later[i]);
        (void)dlk_call_fail(&f->call, f->call.code, &error);
        assert_true((error.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN) != 0);
        dlk_request_get(f->store, &f->call, "k", true, false); /* another request does */
        assert_false(f->call.unanswered);
    }
}

static void test_a_throttle_on_the_way_is_told_however_the_call_ends(void **state)
{
    struct fixture *f = *state;
    dynalock_error error;

    assert_false(answered(f, 400, THROTTLE));
    assert_false(unanswered(f, DYNALOCK_ERR_NETWORK, false));
    (void)dlk_call_fail(&f->call, f->call.code, &error);
    assert_true((error.flags & DYNALOCK_ERROR_THROTTLED) != 0);
    f->boot_us += 40 * SECOND; /* no time is left to send it again */
    assert_false(dlk_call_begin(f->store, &f->call));
    (void)dlk_call_fail(&f->call, f->call.code, &error);
    assert_int_equal(error.code, DYNALOCK_ERR_TIMEOUT);
    assert_true((error.flags & DYNALOCK_ERROR_THROTTLED) != 0);
    assert_true((error.flags & DYNALOCK_ERROR_RETRYABLE) != 0);
}

/* ---- When it is tried again ---- */

static void test_waits_are_random_below_a_bound_that_doubles(void **state)
{
    static const struct {
        const char *body;
        int status;
        int64_t base_ms;
    } cases[] = {{"{}", 500, 25}, {THROTTLE, 400, 1000}};
    struct fixture *f = *state;

    f->store->timeout_ms = 86400000;
    f->store->max_attempts = 100;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t longest_ms[14] = {0};
        for (int round = 0; round < 60; round++) {
            dlk_request_get(f->store, &f->call, "k", true, false);
            f->call.rank = DLK_RANK_RENEWAL;
            for (int n = 0; n < 14; n++) {
                int64_t most = cases[i].base_ms << n < 20000 ? cases[i].base_ms << n : 20000;
                assert_false(answered(f, cases[i].status, cases[i].body));
                assert_in_range(f->wait_ms, 0, most);
                longest_ms[n] = f->wait_ms > longest_ms[n] ? f->wait_ms : longest_ms[n];
            }
        }
        for (int n = 0; n < 14; n++) { /* it is not always little */
            int64_t most = cases[i].base_ms << n < 20000 ? cases[i].base_ms << n : 20000;
            assert_true(longest_ms[n] > most / 2);
        }
    }
}

static void test_a_wait_that_the_service_asks_for_is_kept_up_to_five_seconds_more(void **state)
{
    static const struct {
        int64_t asked_ms, least_ms, most_ms;
    } cases[] = {
        {-1, 0, 25}, {0, 0, 25}, {3000, 3000, 3000}, {5000, 5000, 5000}, {900000, 5000, 5025}};
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        dlk_request_get(f->store, &f->call, "k", true, false);
        struct dlk_exchange *exchange = begin(f);
        exchange->status = 503;
        exchange->retry_after_ms = cases[i].asked_ms;
        assert_false(judge(f));
        assert_in_range(f->wait_ms, cases[i].least_ms, cases[i].most_ms);
    }
}

static void test_there_are_four_attempts_and_none_after_the_deadline(void **state)
{
    struct fixture *f = *state;

    for (int attempt = 1; attempt <= 4; attempt++) {
        assert_int_equal(answered(f, 500, "{}"), attempt == 4);
    }
    dlk_request_get(f->store, &f->call, "k", true, false);
    struct dlk_exchange *exchange = begin(f);
    f->boot_us += 29 * SECOND;
    exchange->status = 503;
    exchange->retry_after_ms = 2000; /* past the deadline: the end is told now */
    assert_true(judge(f));
    assert_int_equal(f->call.code, DYNALOCK_ERR_SERVICE);
}

/* ---- What it costs ---- */

static void test_a_retry_costs_14_and_a_throttled_one_5_of_the_budget(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(f->store->budget, BUDGET);
    assert_false(answered(f, 500, "{}"));
    assert_int_equal(f->store->budget, BUDGET - 14);
    assert_false(answered(f, 400, THROTTLE));
    assert_int_equal(f->store->budget, BUDGET - 19);
    assert_false(unanswered(f, DYNALOCK_ERR_NETWORK, false));
    assert_int_equal(f->store->budget, BUDGET - 33);
    assert_true(answered(f, 500, "{}")); /* the last attempt is no retry's */
    assert_int_equal(f->store->budget, BUDGET - 33);
}

static void test_success_gives_back_what_its_last_retry_cost_and_else_one(void **state)
{
    struct fixture *f = *state;

    assert_false(answered(f, 500, "{}"));
    assert_false(answered(f, 400, THROTTLE));
    assert_true(answered(f, 200, "{}"));
    assert_int_equal(f->store->budget, BUDGET - 14);
    dlk_request_get(f->store, &f->call, "k", true, false);
    assert_true(answered(f, 200, "{}"));
    assert_int_equal(f->store->budget, BUDGET - 13);
    f->store->budget = BUDGET;
    dlk_request_get(f->store, &f->call, "k", true, false);
    assert_true(answered(f, 200, "{}"));
    assert_int_equal(f->store->budget, BUDGET); /* and no more than full */
}

static void test_a_request_does_not_give_back_what_the_one_before_it_cost(void **state)
{
    struct fixture *f = *state;

    for (int attempt = 1; attempt <= 4; attempt++) {
        (void)answered(f, 500, "{}");
    }
    assert_int_equal(f->store->budget, BUDGET - 42);
    dlk_request_get(f->store, &f->call, "k", true, false);
    assert_true(answered(f, 200, "{}"));
    assert_int_equal(f->store->budget, BUDGET - 41);
}

static void test_an_empty_budget_ends_retries_but_not_those_of_renewals(void **state)
{
    struct fixture *f = *state;

    f->store->budget = 13;
    assert_true(answered(f, 500, "{}"));
    assert_int_equal(f->store->budget, 13);
    dlk_request_get(f->store, &f->call, "k", true, false);
    assert_false(answered(f, 400, THROTTLE));
    assert_int_equal(f->store->budget, 8);
    f->store->budget = 0;
    dlk_request_get(f->store, &f->call, "k", true, false);
    f->call.rank = DLK_RANK_RENEWAL;
    assert_false(answered(f, 500, "{}"));
    assert_int_equal(f->store->budget, 0);
}

static void test_what_happened_is_counted(void **state)
{
    struct fixture *f = *state;
    dynalock_counters counters;

    assert_false(answered(f, 400, THROTTLE));
    assert_false(unanswered(f, DYNALOCK_ERR_TIMEOUT, true));
    assert_true(answered(f, 200, "{}"));
    assert_int_equal(dynalock_store_counters(f->store, &counters), 0);
    assert_int_equal(counters.operations, 1);
    assert_int_equal(counters.attempts, 3);
    assert_int_equal(counters.retries, 2);
    assert_int_equal(counters.throttled, 1);
    assert_int_equal(counters.unanswered, 1);
}

/* ---- What answers teach ---- */

static bool refused_signature(struct fixture *f, const char *name, int64_t ahead_s)
{
    char body[128];
    struct dlk_exchange *exchange = begin(f);
    exchange->status = 400;
    exchange->has_date = true;
    exchange->date_s = EPOCH + ahead_s;
    (void)snprintf(body, sizeof body, "{\"__type\":\"com.amazon.coral.service#%s\"}", name);
    dlk_buffer_text(&exchange->answer, body);
    return judge(f);
}

static void test_a_wrong_clock_is_corrected_for_signing_once(void **state)
{
    static const char *const names[] = {"InvalidSignatureException", "RequestTimeTooSkewed",
                                        "SignatureDoesNotMatch", "RequestExpired"};
    static const int64_t off_s[] = {3600, -3600, 86400 * 365, -301};
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT(names); i++) {
        f->store->sign_skew_s = 0;
        f->clock_events = 0;
        dlk_request_get(f->store, &f->call, "k", true, false);
        assert_false(refused_signature(f, names[i], off_s[i]));
        assert_int_equal(f->wait_ms, 0);
        assert_int_equal(f->store->sign_skew_s, off_s[i]);
        assert_true(f->clock_events > 0);
        assert_true(refused_signature(f, names[i], off_s[i] * 2)); /* the secret is wrong, then */
        assert_int_equal(f->call.code, DYNALOCK_ERR_NOT_AUTHORIZED);
    }
}

static void test_a_refused_signature_with_a_right_clock_is_final(void **state)
{
    struct fixture *f = *state;

    assert_true(refused_signature(f, "InvalidSignatureException", 300));
    dlk_request_get(f->store, &f->call, "k", true, false);
    assert_true(refused_signature(f, "AccessDeniedException", 3600));
    dlk_request_get(f->store, &f->call, "k", true, false);
    assert_true(answered(f, 400, "{\"__type\":\"x#RequestTimeTooSkewed\"}")); /* without a Date */
    assert_int_equal(f->store->sign_skew_s, 0);
}

static void test_the_corrected_clock_signs_the_next_attempt(void **state)
{
    struct fixture *f = *state;

    assert_false(refused_signature(f, "RequestTimeTooSkewed", 3600));
    assert_string_equal(begin(f)->headers[3], "X-Amz-Date: 20231114T231320Z");
}

static void test_two_answers_teach_the_time_and_none_without_a_date(void **state)
{
    struct fixture *f = *state;
    struct dlk_now now;

    assert_true(answered(f, 200, "{}"));
    assert_true(atomic_load(&f->store->dateless));
    dlk_store_now(f->store, &now);
    assert_false(now.known);
    for (int i = 0; i < 2; i++) {
        dlk_request_get(f->store, &f->call, "k", true, false);
        struct dlk_exchange *exchange = begin(f);
        exchange->status = 200;
        exchange->has_date = true;
        exchange->date_s = EPOCH;
        dlk_buffer_text(&exchange->answer, "{}");
        assert_true(judge(f));
        dlk_store_now(f->store, &now);
        assert_true(now.known);
        assert_int_equal(now.trusted, i == 1);
    }
    assert_false(atomic_load(&f->store->dateless));
}

static dynalock_store *jumped_store;
static int64_t jumped_date_s;

static void on_jump(dynalock_store *store, int64_t sent_us, int64_t date_s)
{
    (void)sent_us;
    jumped_store = store;
    jumped_date_s = date_s;
}

static void test_a_date_ahead_of_the_boot_clock_has_all_locks_judged(void **state)
{
    struct fixture *f = *state;
    static const int64_t ahead_s[] = {0, -30, 60};

    f->store->jumped = on_jump;
    for (size_t i = 0; i < COUNT(ahead_s); i++) {
        jumped_store = NULL;
        dlk_request_get(f->store, &f->call, "k", true, false);
        struct dlk_exchange *exchange = begin(f);
        exchange->status = 200;
        exchange->has_date = true;
        exchange->date_s = EPOCH + ahead_s[i];
        dlk_buffer_text(&exchange->answer, "{}");
        assert_true(judge(f));
        assert_ptr_equal(jumped_store, ahead_s[i] > 0 ? f->store : NULL);
    }
    assert_int_equal(jumped_date_s, EPOCH + 60);
    assert_int_equal(f->clock_events, 2);
}

static void test_a_server_that_returns_items_is_remembered(void **state)
{
    struct fixture *f = *state;

    as_write(f);
    assert_true(answered(f, 400, CONDITION));
    assert_false(atomic_load(&f->store->returns_items));
    as_write(f);
    assert_true(
        answered(f, 400,
                 "{\"__type\":\"x#ConditionalCheckFailedException\",\"Item\":{\"id\":{\"S\":"
                 "\"p\"},\"name\":{\"S\":\"k\"},\"version\":{\"N\":\"7\"}}}"));
    assert_true(atomic_load(&f->store->returns_items));
    assert_non_null(f->call.service.item);
    assert_int_equal(dynalock_kv_version(f->call.service.item), 7);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_each_attempt_is_signed_with_its_own_time),
        TEST(test_an_attempt_has_its_own_limit_or_what_the_operation_has_left),
        TEST(test_answers_mean_what_they_say),
        TEST(test_an_item_that_the_service_finds_too_large_is_told_as_such),
        TEST(test_failures_to_get_an_answer_mean_what_they_say),
        TEST(test_what_is_no_answer_of_dynamodb_teaches_nothing),
        TEST(test_an_answer_whose_checksum_is_wrong_teaches_nothing_and_is_tried_again),
        TEST(test_checksums_are_those_of_iso_3309),
        TEST(test_a_write_may_have_happened_once_an_attempt_stayed_unanswered),
        TEST(test_a_later_answer_does_not_clear_what_is_unknown),
        TEST(test_a_throttle_on_the_way_is_told_however_the_call_ends),
        TEST(test_waits_are_random_below_a_bound_that_doubles),
        TEST(test_a_wait_that_the_service_asks_for_is_kept_up_to_five_seconds_more),
        TEST(test_there_are_four_attempts_and_none_after_the_deadline),
        TEST(test_a_retry_costs_14_and_a_throttled_one_5_of_the_budget),
        TEST(test_success_gives_back_what_its_last_retry_cost_and_else_one),
        TEST(test_a_request_does_not_give_back_what_the_one_before_it_cost),
        TEST(test_an_empty_budget_ends_retries_but_not_those_of_renewals),
        TEST(test_what_happened_is_counted),
        TEST(test_a_wrong_clock_is_corrected_for_signing_once),
        TEST(test_a_refused_signature_with_a_right_clock_is_final),
        TEST(test_the_corrected_clock_signs_the_next_attempt),
        TEST(test_two_answers_teach_the_time_and_none_without_a_date),
        TEST(test_a_date_ahead_of_the_boot_clock_has_all_locks_judged),
        TEST(test_a_server_that_returns_items_is_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
