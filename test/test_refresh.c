/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials of the program's own source: when it is asked, who waits for it, and what it may do. */
#define _GNU_SOURCE /* pread64 */
#include "support_source.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int get(dynalock_store *store, dynalock_error *error)
{
    dynalock_kv *kv = NULL;
    int code = dynalock_get(store, "nothing", NULL, &kv, error);
    dynalock_kv_free(kv);
    return code;
}

/* A get that reached the server. */
#define answered(store) check(get((store), &failure), DYNALOCK_ERR_NOT_FOUND)

static void finish(struct source *source, dynalock_store *store)
{
    source_block(source, false);
    dynalock_close(store);
    source_free(source);
}

/* ---- When it is asked ------------------------------------------------------------------------ */

static void test_opening_asks_for_nothing_and_the_first_use_once(void **state)
{
    struct source *source = source_new(*state, 0);
    dynalock_store *store = source_open(source, NULL);
    assert_int_equal(source_calls(source), 0);
    for (int i = 0; i < 5; i++) {
        answered(store);
    }
    assert_int_equal(source_calls(source), 1);
    finish(source, store);
}

static void test_the_source_stands_in_the_place_of_all_others(void **state)
{
    struct bench *b = *state;
    struct source *source = source_new(b, 0);
    dynalock_options options = bench_options(b);
    options.access_key_id = "AKIDNOBODYKNOWS00000";
    setenv("AWS_ACCESS_KEY_ID", "AKIDNOBODYKNOWS00000", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "x", 1);
    dynalock_store *store = source_open(source, &options);
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SECRET_ACCESS_KEY");
    answered(store);
    finish(source, store);
}

static void test_where_credentials_come_from_is_in_the_log_and_why_they_do_not(void **state)
{
    struct bench *b = *state;
    struct source *source = source_new(b, 0);
    dynalock_store *store = source_open(source, NULL);
    answered(store);
    struct captured event = capture_get(b->events, DYNALOCK_EVENT_CREDENTIALS, NULL, 1);
    assert_int_equal(event.code, 0);
    assert_string_equal(event.message, "callback");
    finish(source, store);
}

struct crowd {
    pthread_t thread;
    dynalock_store *store;
    atomic_bool *stop;
    int good, bad;
    dynalock_error error;
};

static void *crowd_main(void *context)
{
    struct crowd *one = context;
    do {
        if (get(one->store, &one->error) == DYNALOCK_ERR_NOT_FOUND) {
            one->good++;
        } else {
            one->bad++;
        }
        sleep_ms(60);
    } while (!atomic_load(one->stop));
    return NULL;
}

static void test_sixteen_threads_cause_one_fetch_at_a_time_ahead_of_each_expiry(void **state)
{
    struct bench *b = *state;
    struct source *source = source_new(b, 3000);
    dynalock_store *store = source_open(source, NULL);
    struct crowd crowd[16];
    atomic_bool stop = false;
    source->slow_ms = 150;
    for (size_t i = 0; i < COUNT(crowd); i++) {
        crowd[i] = (struct crowd){.store = store, .stop = &stop};
        assert_int_equal(pthread_create(&crowd[i].thread, NULL, crowd_main, &crowd[i]), 0);
    }
    sleep_ms(4000);
    atomic_store(&stop, true);
    for (size_t i = 0; i < COUNT(crowd); i++) {
        pthread_join(crowd[i].thread, NULL);
        if (crowd[i].bad > 0) {
            print_error("%s\n", crowd[i].error.message);
        }
        assert_int_equal(crowd[i].bad, 0);
        assert_true(crowd[i].good > 0);
    }
    print_message("%d fetches in 4 s\n", source_calls(source));
    assert_in_range(source_calls(source), 2,
                    6); /* each lives 2 to 3 s, and is replaced in its second half */
    assert_int_equal(source_refused(b->rig), 0);
    dynalock_close(store);
    assert_int_equal(source->most_running, 1);
    source_free(source);
}

static int act_fail_later(struct source *source, dynalock_credentials *credentials)
{
    (void)credentials;
    return source->given > 0 ? DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE : 0;
}

static void test_a_failure_keeps_what_is_good_and_is_tried_again_once_a_second(void **state)
{
    struct bench *b = *state;
    struct source *source = source_new(b, 5000);
    dynalock_store *store = source_open(source, NULL);
    source->act = act_fail_later;
    answered(store);
    int64_t good_until_ms = source->called_ms[0] + 3900; /* in whole seconds, rounded down */
    while (monotonic_ms() < good_until_ms) {
        answered(store);
        sleep_ms(20);
    }
    assert_true(source_calls(source) >= 2);
    while (get(store, &failure) == DYNALOCK_ERR_NOT_FOUND) {
        sleep_ms(20);
    }
    assert_int_equal(failure.code, DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE);
    assert_int_equal(failure.flags, DYNALOCK_ERROR_RETRYABLE);
    assert_contains(failure.message, "callback");
    assert_int_equal(source_refused(b->rig), 0); /* what has expired is not sent */
    sleep_ms(1100);
    check(get(store, &failure), DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE);
    for (int i = 2; i < source_calls(source); i++) {
        assert_true(source->called_ms[i] - source->called_ms[i - 1] >= 950);
    }
    struct captured event = capture_get(b->events, DYNALOCK_EVENT_CREDENTIALS, NULL, 2);
    assert_int_equal(event.code, DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE);
    finish(source, store);
}

/* ---- The service's word ---------------------------------------------------------------------- */

static const char *const refusals[] = {"ExpiredTokenException", "UnrecognizedClientException",
                                       "ExpiredToken", "InvalidClientTokenId"};

static void refuse(struct bench *b, const char *op, const char *name, int times)
{
    rig_fault(b->rig,
              "'match':{'op':'%s'},'times':%d,'action':{'do':'status','status':400,"
              "'type':'com.amazon.coral.service#%s','message':'no'}",
              op, times, name);
}

static void test_credentials_that_are_refused_are_replaced_and_the_call_is_made_once_more(
    void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(refusals); i++) {
        struct source *source = source_new(b, 0);
        dynalock_store *store = source_open(source, NULL);
        answered(store);
        bench_reset(b);
        refuse(b, "GetItem", refusals[i], 1);
        answered(store);
        assert_int_equal(bench_count(b, "GetItem"), 2);
        assert_int_equal(source_calls(source), 2);
        finish(source, store);
    }
}

static void test_the_second_try_is_made_with_the_new_credentials_token_included(void **state)
{
    struct bench *b = *state;
    struct source *source = source_new(b, 0);
    dynalock_store *store = source_open(source, NULL);
    for (int i = 1; i <= 3; i++) {
        answered(store);
        assert_int_equal(source_calls(source), i);
        source_revoke(source);
        sleep_ms(1050);
    }
    assert_int_equal(source_refused(b->rig), 2);
    finish(source, store);
}

static void test_what_is_refused_again_fails_after_the_second_try(void **state)
{
    struct bench *b = *state;
    struct source *source = source_new(b, 0);
    dynalock_store *store = source_open(source, NULL);
    answered(store);
    bench_reset(b);
    source->slow_ms = 1100; /* by then another fetch would be forced */
    refuse(b, "GetItem", "UnrecognizedClientException", 2);
    check(get(store, &failure), DYNALOCK_ERR_NOT_AUTHORIZED);
    assert_string_equal(failure.name, "UnrecognizedClientException");
    assert_int_equal(bench_count(b, "GetItem"), 2);
    assert_int_equal(source_calls(source), 2);
    finish(source, store);
}

static void test_a_service_that_refuses_everything_causes_no_flood_of_fetches(void **state)
{
    struct bench *b = *state;
    struct source *source = source_new(b, 0);
    dynalock_store *store = source_open(source, NULL);
    answered(store);
    refuse(b, "GetItem", "UnrecognizedClientException", -1);
    int64_t began = monotonic_ms();
    for (int i = 0; i < 20; i++) {
        check(get(store, &failure), DYNALOCK_ERR_NOT_AUTHORIZED);
    }
    assert_true(source_calls(source) <= 2 + (int)((monotonic_ms() - began) / 1000));
    finish(source, store);
}

static void test_keys_that_are_fixed_are_not_tried_twice(void **state)
{
    struct bench *b = *state;
    answered(b->store);
    bench_reset(b);
    refuse(b, "GetItem", "UnrecognizedClientException", -1);
    check(get(b->store, &failure), DYNALOCK_ERR_NOT_AUTHORIZED);
    assert_int_equal(bench_count(b, "GetItem"), 1);
}

static int act_fail_second(struct source *source, dynalock_credentials *credentials)
{
    (void)credentials;
    return source->calls == 2 ? DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE : 0;
}

static void test_where_no_newer_can_be_had_the_old_are_used_on(void **state)
{
    struct bench *b = *state;
    struct source *source = source_new(b, 0);
    dynalock_store *store = source_open(source, NULL);
    source->act = act_fail_second;
    answered(store);
    refuse(b, "GetItem", "ExpiredTokenException", 1);
    answered(store); /* refused, nothing newer, and once more */
    answered(store);
    finish(source, store);
}

static void test_a_renewal_that_is_refused_is_made_again_with_new_credentials(void **state)
{
    struct bench *b = *state;
    struct source *source = source_new(b, 0);
    dynalock_store *store = source_open(source, NULL);
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(store, key, (dynalock_lock_options){.ttl_ms = 5000});
    assert_true(await_event(b, DYNALOCK_EVENT_RENEWED, key, 1));
    source_revoke(source);
    assert_true(await_event(b, DYNALOCK_EVENT_RENEWED, key, 3));
    assert_int_equal(source_calls(source), 2);
    assert_int_equal(source_refused(b->rig), 1);
    lock_end(lock);
    finish(source, store);
}

static void test_a_renewal_by_the_caller_is_made_again_with_new_credentials(void **state)
{
    struct bench *b = *state;
    struct source *source = source_new(b, 0);
    dynalock_store *store = source_open(source, NULL);
    dynalock_lock_options options = {.ttl_ms = 20000, .renewal = DYNALOCK_RENEWAL_NONE};
    dynalock_lock *lock = lock_take(store, bench_key(b), options);
    bench_reset(b);
    refuse(b, "UpdateItem", "ExpiredTokenException", 1);
    check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_OK);
    assert_int_equal(bench_count(b, "UpdateItem"), 2);
    assert_int_equal(source_calls(source), 2);
    lock_end(lock);
    finish(source, store);
}

/* ---- Who waits ------------------------------------------------------------------------------- */

struct caller {
    pthread_t thread;
    dynalock_store *store;
    int code;
    int64_t ended_ms;
};

static void *caller_main(void *context)
{
    struct caller *caller = context;
    caller->code = get(caller->store, NULL);
    caller->ended_ms = monotonic_ms();
    return NULL;
}

static void caller_start(struct caller *caller, dynalock_store *store)
{
    *caller = (struct caller){.store = store};
    assert_int_equal(pthread_create(&caller->thread, NULL, caller_main, caller), 0);
}

static void test_the_first_use_waits_for_what_is_being_fetched(void **state)
{
    struct source *source = source_new(*state, 0);
    dynalock_store *store = source_open(source, NULL);
    struct caller callers[4];
    source_block(source, true);
    for (size_t i = 0; i < COUNT(callers); i++) {
        caller_start(&callers[i], store);
    }
    assert_true(source_await(source, 1));
    sleep_ms(200);
    int64_t given_ms = monotonic_ms();
    source_block(source, false);
    for (size_t i = 0; i < COUNT(callers); i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].code, DYNALOCK_ERR_NOT_FOUND);
        assert_true(callers[i].ended_ms >= given_ms);
    }
    assert_int_equal(source_calls(source), 1);
    finish(source, store);
}

static void test_that_wait_is_no_longer_than_the_operation_may_take(void **state)
{
    struct bench *b = *state;
    struct source *source = source_new(b, 0);
    dynalock_options options = {.timeout_ms = 300};
    dynalock_store *store = source_open(source, &options);
    source_block(source, true);
    int64_t began = monotonic_ms();
    int code = get(store, &failure);
    assert_true(code == DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE || code == DYNALOCK_ERR_TIMEOUT);
    assert_int_equal(failure.flags, DYNALOCK_ERROR_RETRYABLE);
    assert_in_range(monotonic_ms() - began, 290, 5000);
    assert_int_equal(bench_count(b, NULL), 0);
    finish(source, store);
}

static void test_a_stop_descriptor_ends_that_wait(void **state)
{
    struct bench *b = *state;
    struct source *source = source_new(b, 0);
    dynalock_store *store = source_open(source, NULL);
    dynalock_lock *lock = lock_make(store, bench_key(b), (dynalock_lock_options){.ttl_ms = 3000});
    struct waiter waiter;
    int stop[2];
    assert_int_equal(pipe(stop), 0);
    source_block(source, true);
    waiter_start(&waiter, lock, stop[0], 20000);
    assert_true(source_await(source, 1));
    sleep_ms(100);
    int64_t stopped_ms = monotonic_ms();
    assert_int_equal(write(stop[1], "x", 1), 1);
    assert_int_equal(waiter_join(&waiter), DYNALOCK_ERR_CANCELLED);
    print_message("stopped after %" PRId64 " ms\n", waiter.ended_ms - stopped_ms);
    assert_true(waiter.ended_ms - stopped_ms < 500); /* 100 on a machine that does nothing else */
    source_block(source, false);
    dynalock_lock_free(lock);
    close(stop[0]);
    close(stop[1]);
    finish(source, store);
}

static void test_an_acquisition_waits_through_failures_that_pass(void **state)
{
    struct bench *b = *state;
    struct source *source = source_new(b, 0);
    dynalock_store *store = source_open(source, NULL);
    source->act = act_fail_second;
    source->calls = 1; /* the first that is made is the second */
    dynalock_lock *lock =
        lock_make(store, bench_key(b), (dynalock_lock_options){.ttl_ms = 3000, .poll_ms = 200});
    check(dynalock_lock_acquire(lock, -1, LONG_MS, &failure), DYNALOCK_OK);
    lock_end(lock);
    finish(source, store);
}

static void *close_main(void *context)
{
    dynalock_close(context);
    return NULL;
}

static void test_closing_ends_the_wait_of_others_and_waits_for_the_callback_itself(void **state)
{
    struct source *source = source_new(*state, 0);
    dynalock_store *store = source_open(source, NULL);
    struct caller caller;
    pthread_t closer;
    source_block(source, true);
    caller_start(&caller, store);
    assert_true(source_await(source, 1));
    assert_int_equal(pthread_create(&closer, NULL, close_main, store), 0);
    pthread_join(caller.thread, NULL);
    assert_int_equal(caller.code, DYNALOCK_ERR_CLOSED);
    sleep_ms(50);
    source_block(source, false);
    pthread_join(closer, NULL);
    assert_int_equal(source->running, 0);
    source_free(source);
}

struct slow_log {
    struct capture *events;
    atomic_bool blocked;
};

static void slow_log(const dynalock_event *event, void *context)
{
    struct slow_log *log = context;
    while (event->id == DYNALOCK_EVENT_CREDENTIALS && atomic_load(&log->blocked)) {
        sleep_ms(5);
    }
    capture_log(event, log->events);
}

static void test_a_log_callback_that_blocks_keeps_nobody_from_new_credentials(void **state)
{
    struct bench *b = *state;
    struct source *source = source_new(b, 0);
    struct slow_log log = {.events = b->events, .blocked = true};
    dynalock_options options = {.log = slow_log, .log_context = &log, .timeout_ms = 5000};
    dynalock_store *store = source_open(source, &options);
    answered(store);
    atomic_store(&log.blocked, false);
    finish(source, store);
}

/* ---- What it may do -------------------------------------------------------------------------- */

struct within {
    dynalock_store *own, *other;
    int own_code, other_code, close_code;
    int64_t took_ms;
};

static int act_call(struct source *source, dynalock_credentials *credentials)
{
    struct within *within = source->context;
    int64_t began = monotonic_ms();
    (void)credentials;
    within->own_code = get(within->own, NULL);
    within->took_ms = monotonic_ms() - began;
    within->other_code = get(within->other, NULL);
    within->close_code = dynalock_close(within->own);
    return 0;
}

static void test_the_callback_may_call_everything_but_close(void **state)
{
    struct bench *b = *state;
    struct source *source = source_new(b, 0);
    dynalock_store *store = source_open(source, NULL);
    struct within within = {.own = store, .other = bench_direct(b)};
    source->context = &within;
    source->act = act_call;
    answered(store);
    assert_int_equal(within.own_code, DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE);
    assert_true(within.took_ms < 5000); /* it does not wait for itself */
    assert_int_equal(within.other_code, DYNALOCK_ERR_NOT_FOUND);
    assert_int_equal(within.close_code, DYNALOCK_ERR_BUSY);
    finish(source, store);
}

static int act_fork(struct source *source, dynalock_credentials *credentials)
{
    int *status = source->context;
    (void)credentials;
    pid_t child = fork();
    if (child == 0) {
        _exit(7);
    }
    return waitpid(child, status, 0) == child ? 0 : DYNALOCK_ERR_CREDENTIALS;
}

static void test_the_callback_may_fork(void **state)
{
    struct source *source = source_new(*state, 0);
    dynalock_store *store = source_open(source, NULL);
    int status = 0;
    source->context = &status;
    source->act = act_fork;
    answered(store);
    assert_int_equal(WEXITSTATUS(status), 7);
    finish(source, store);
}

static void test_a_child_of_fork_amid_a_fetch_can_let_go_of_the_store(void **state)
{
    struct source *source = source_new(*state, 0);
    dynalock_store *store = source_open(source, NULL);
    struct caller caller;
    int status = 0;
    source_block(source, true);
    caller_start(&caller, store);
    assert_true(source_await(source, 1));
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        int code = get(store, NULL);
        dynalock_close(store);
        _exit(code == DYNALOCK_ERR_FORKED ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    source_block(source, false);
    pthread_join(caller.thread, NULL);
    assert_int_equal(caller.code, DYNALOCK_ERR_NOT_FOUND);
    finish(source, store);
}

/* ---- What it may give ------------------------------------------------------------------------ */

struct gift {
    const char *what;
    dynalock_credentials credentials;
    int returned, expected;
    const char *words;
};

#define GOOD_ID .access_key_id = "ASIASOURCE"
#define GOOD_SECRET .secret_access_key = SOURCE_MARK "given"

static const struct gift gifts[] = {
    {"nothing", {0}, 0, DYNALOCK_ERR_CREDENTIALS, "no access key id"},
    {"no secret", {GOOD_ID}, 0, DYNALOCK_ERR_CREDENTIALS, "no secret access key"},
    {"no id", {GOOD_SECRET}, 0, DYNALOCK_ERR_CREDENTIALS, "no access key id"},
    {"an empty id",
     {.access_key_id = "", GOOD_SECRET},
     0,
     DYNALOCK_ERR_CREDENTIALS,
     "no access key id"},
    {"an empty secret",
     {GOOD_ID, .secret_access_key = ""},
     0,
     DYNALOCK_ERR_CREDENTIALS,
     "no secret"},
    {"a line end",
     {GOOD_ID, .secret_access_key = SOURCE_MARK "\r\nX: y"},
     0,
     DYNALOCK_ERR_CREDENTIALS,
     "characters"},
    {"a blank",
     {.access_key_id = "ASIA SOURCE", GOOD_SECRET},
     0,
     DYNALOCK_ERR_CREDENTIALS,
     "white space"},
    {"a control character in the token",
     {GOOD_ID, GOOD_SECRET, .session_token = SOURCE_MARK "\001"},
     0,
     DYNALOCK_ERR_CREDENTIALS,
     "characters"},
    {"a token that is not ASCII",
     {GOOD_ID, GOOD_SECRET, .session_token = SOURCE_MARK "\xc3\xa9"},
     0,
     DYNALOCK_ERR_CREDENTIALS,
     "characters"},
    {"what has expired",
     {GOOD_ID, GOOD_SECRET, .expires_ms = 1500000000000},
     0,
     DYNALOCK_ERR_CREDENTIALS,
     "expired"},
    {"what expired in the first second",
     {GOOD_ID, GOOD_SECRET, .expires_ms = 1},
     0,
     DYNALOCK_ERR_CREDENTIALS,
     "expired"},
    {"what expired before 1970",
     {GOOD_ID, GOOD_SECRET, .expires_ms = INT64_MIN},
     0,
     DYNALOCK_ERR_CREDENTIALS,
     "expired"},
    {"a failure that stays",
     {GOOD_ID, GOOD_SECRET},
     DYNALOCK_ERR_CREDENTIALS,
     DYNALOCK_ERR_CREDENTIALS,
     "callback"},
    {"a failure that passes",
     {GOOD_ID, GOOD_SECRET},
     DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE,
     DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE,
     "callback"},
    {"a number of no meaning", {GOOD_ID, GOOD_SECRET}, 12345, DYNALOCK_ERR_CREDENTIALS, "12345"},
};

static int act_give(struct source *source, dynalock_credentials *credentials)
{
    const struct gift *gift = source->context;
    *credentials = gift->credentials;
    return gift->returned == 0 ? SOURCE_AS_IT_IS : gift->returned;
}

static void test_what_cannot_be_used_is_refused_with_words_and_nothing_is_sent(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(gifts); i++) {
        struct source *source = source_new(b, 0);
        dynalock_store *store = source_open(source, NULL);
        print_message("%s\n", gifts[i].what);
        source->context = (void *)(uintptr_t)&gifts[i];
        source->act = act_give;
        check(get(store, &failure), gifts[i].expected);
        assert_int_equal(failure.flags,
                         dynalock_is_retryable(gifts[i].expected) ? DYNALOCK_ERROR_RETRYABLE : 0);
        assert_contains(failure.message, gifts[i].words);
        assert_null(strstr(failure.message, SOURCE_MARK));
        assert_int_equal(bench_count(b, NULL), 0);
        finish(source, store);
    }
    for (int n = capture_count(b->events, 0, NULL); n > 0; n--) {
        assert_null(strstr(capture_get(b->events, 0, NULL, n).message, SOURCE_MARK));
    }
}

/* ---- What is left of it ---------------------------------------------------------------------- */

#define MASK 0x55
#define REGION_MAX ((uint64_t)1 << 26) /* sanitizers have larger ones, of their own */

#define MARKER_SIZE 96

static char
    masked[MARKER_SIZE]; /* the marker; nowhere in clear but where it was given to the library */

static void marker_make(char *clear)
{
    unsigned char random[MARKER_SIZE];
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, random, sizeof random), (ssize_t)sizeof random);
    close(fd);
    for (size_t i = 0; i < MARKER_SIZE; i++) {
        clear[i] = (char)('a' + random[i] % 26);
        masked[i] = (char)(clear[i] ^ MASK);
    }
    clear[MARKER_SIZE] = '\0';
}

/* Looks through memory whoever it belongs to. Of the middle: free() writes to the beginning of what it is given. */
__attribute__((no_sanitize("thread", "address"))) static int marker_count(const char *bytes,
                                                                          size_t length)
{
    const size_t part = MARKER_SIZE / 3;
    int found = 0;
    for (size_t i = 0; i + part <= length; i++) {
        size_t same = 0;
        while (same < part && bytes[i + same] == (masked[part + same] ^ MASK)) {
            same++;
        }
        found += same == part ? 1 : 0;
    }
    return found;
}

/* How often the marker is in what this process can write to. */
static int memory_count(void)
{
    static char bytes[1 << 16];
    char line[512];
    int found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    assert_true(maps != NULL && memory >= 0);
    while (fgets(line, sizeof line, maps)) {
        uint64_t from = 0, to = 0;
        char access[8] = "";
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s", &from, &to, access) != 3 ||
            access[1] != 'w' || to - from > REGION_MAX) {
            continue;
        }
        for (uint64_t at = from; at < to;) {
            ssize_t got = pread64(memory, bytes, sizeof bytes, (off64_t)at);
            if (got <= 0) {
                break;
            }
            if (at + (uint64_t)got <= (uint64_t)(uintptr_t)bytes ||
                at >= (uint64_t)(uintptr_t)(bytes + sizeof bytes)) {
                found += marker_count(bytes, (size_t)got);
            }
            at += got > 4 * MARKER_SIZE ? (uint64_t)got - MARKER_SIZE
                                        : (uint64_t)got; /* what lies across the border */
        }
    }
    memset(bytes, 0, sizeof bytes);
    __asm__ volatile("" : : "r"(bytes) : "memory");
    close(memory);
    fclose(maps);
    return found;
}

static char clear_secret[MARKER_SIZE + 1];

/* The marker once, then others. */
static int act_give_marker(struct source *source, dynalock_credentials *credentials)
{
    credentials->access_key_id = "ASIAMARKER0000000001";
    credentials->secret_access_key = source->calls == 1 ? clear_secret : "another";
    return SOURCE_AS_IT_IS;
}

/* A store that signs with the marker, of which the test has no copy. */
static dynalock_store *marker_open(struct bench *b, struct source *source)
{
    dynalock_store *store = source_open(source, NULL);
    rig_do(b->rig, "'cmd':'set','verify':false");
    source->act = act_give_marker;
    marker_make(clear_secret);
    answered(store);
    memset(clear_secret, 0, sizeof clear_secret);
    assert_true(memory_count() > 0); /* the search finds what is there */
    return store;
}

static void test_closing_leaves_no_secret_in_memory(void **state)
{
    struct bench *b = *state;
    struct source *source = source_new(b, 0);
    dynalock_store *store = marker_open(b, source);
    dynalock_lock *lock = lock_take(store, bench_key(b), (dynalock_lock_options){.ttl_ms = 3000});
    dynalock_close(store);
    assert_int_equal(memory_count(), 0); /* while a lock keeps the rest of the store */
    dynalock_lock_free(lock);
    source_free(source);
}

static void test_what_was_replaced_leaves_no_secret_in_memory(void **state)
{
    struct bench *b = *state;
    struct source *source = source_new(b, 0);
    dynalock_store *store = marker_open(b, source);
    refuse(b, "GetItem", "ExpiredTokenException", 1);
    answered(store);
    assert_int_equal(source_calls(source), 2);
    assert_int_equal(memory_count(), 0);
    finish(source, store);
}

/* The same until its end, *context, is there. */
static int act_until_the_same_end(struct source *source, dynalock_credentials *credentials)
{
    const int64_t *expires_ms = source->context;
    *credentials = (dynalock_credentials){
        .access_key_id = RIG_KEY_ID, .secret_access_key = RIG_SECRET, .expires_ms = *expires_ms};
    return SOURCE_AS_IT_IS;
}

static void test_a_source_that_gives_the_same_to_its_end_leads_to_a_clear_failure(void **state)
{
    struct source *source = source_new(*state, 0);
    int64_t expires_ms = ((int64_t)time(NULL) + 3) * 1000;
    source->context = &expires_ms;
    source->act = act_until_the_same_end;
    dynalock_store *store = source_open(source, NULL);
    int code = DYNALOCK_ERR_NOT_FOUND;
    int64_t end = monotonic_ms() + LONG_MS;
    while (code == DYNALOCK_ERR_NOT_FOUND && monotonic_ms() < end) {
        code = get(store, &failure);
        sleep_ms(10);
    }
    assert_true(code == DYNALOCK_ERR_CREDENTIALS || code == DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE);
    assert_true(failure.message[0] != 0);
    finish(source, store);
}

static void test_credentials_that_end_after_all_time_never_end(void **state)
{
    struct source *source = source_new(*state, 0);
    int64_t expires_ms = INT64_MAX;
    source->context = &expires_ms;
    source->act = act_until_the_same_end;
    dynalock_store *store = source_open(source, NULL);
    for (int i = 0; i < 20; i++) {
        answered(store);
    }
    assert_int_equal(source_calls(source), 1);
    finish(source, store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOCK_TEST(test_opening_asks_for_nothing_and_the_first_use_once),
        LOCK_TEST(test_the_source_stands_in_the_place_of_all_others),
        LOCK_TEST(test_where_credentials_come_from_is_in_the_log_and_why_they_do_not),
        LOCK_TEST(test_sixteen_threads_cause_one_fetch_at_a_time_ahead_of_each_expiry),
        LOCK_TEST(test_a_failure_keeps_what_is_good_and_is_tried_again_once_a_second),
        LOCK_TEST(test_credentials_that_are_refused_are_replaced_and_the_call_is_made_once_more),
        LOCK_TEST(test_the_second_try_is_made_with_the_new_credentials_token_included),
        LOCK_TEST(test_what_is_refused_again_fails_after_the_second_try),
        LOCK_TEST(test_a_service_that_refuses_everything_causes_no_flood_of_fetches),
        LOCK_TEST(test_keys_that_are_fixed_are_not_tried_twice),
        LOCK_TEST(test_where_no_newer_can_be_had_the_old_are_used_on),
        LOCK_TEST(test_a_renewal_that_is_refused_is_made_again_with_new_credentials),
        LOCK_TEST(test_a_renewal_by_the_caller_is_made_again_with_new_credentials),
        LOCK_TEST(test_the_first_use_waits_for_what_is_being_fetched),
        LOCK_TEST(test_that_wait_is_no_longer_than_the_operation_may_take),
        LOCK_TEST(test_a_stop_descriptor_ends_that_wait),
        LOCK_TEST(test_an_acquisition_waits_through_failures_that_pass),
        LOCK_TEST(test_closing_ends_the_wait_of_others_and_waits_for_the_callback_itself),
        LOCK_TEST(test_a_log_callback_that_blocks_keeps_nobody_from_new_credentials),
        LOCK_TEST(test_the_callback_may_call_everything_but_close),
        LOCK_TEST(test_the_callback_may_fork),
        LOCK_TEST(test_a_child_of_fork_amid_a_fetch_can_let_go_of_the_store),
        LOCK_TEST(test_what_cannot_be_used_is_refused_with_words_and_nothing_is_sent),
        LOCK_TEST(test_a_source_that_gives_the_same_to_its_end_leads_to_a_clear_failure),
        LOCK_TEST(test_credentials_that_end_after_all_time_never_end),
        LOCK_TEST(test_closing_leaves_no_secret_in_memory),
        LOCK_TEST(test_what_was_replaced_leaves_no_secret_in_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
