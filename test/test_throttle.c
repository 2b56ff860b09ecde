/* SPDX-License-Identifier: Apache-2.0 */
/* Storms of throttling: renewals are not starved, and waits are those of the rules. */
#include "support_lock.h"

#include <stdatomic.h>

/* ---- A storm --------------------------------------------------------------------------------- */

#define CALLERS 6
#define LOCKS 4
#define STORM_MS 7000

struct caller {
    pthread_t thread;
    dynalock_store *store;
    atomic_bool *stop;
    int number, good, throttled, other;
};

static void *caller_main(void *context)
{
    struct caller *caller = context;
    char key[40];
    snprintf(key, sizeof key, "storm-%d", caller->number);
    while (!atomic_load(caller->stop)) {
        int code = dynalock_put(caller->store, key, dynalock_none(), NULL, NULL);
        caller->good += code == DYNALOCK_OK ? 1 : 0;
        /* A last attempt may have too little left of the operation's time. */
        bool given_up = code == DYNALOCK_ERR_THROTTLED || code == DYNALOCK_ERR_TIMEOUT;
        caller->throttled += given_up ? 1 : 0;
        caller->other += code != DYNALOCK_OK && !given_up ? 1 : 0;
        sleep_ms(5);
    }
    return NULL;
}

/* Of the requests for that key, two are throttled and one is let through, in turn. */
static void storm_key(struct bench *b, const char *key)
{
    for (int i = 0; i < 20; i++) {
        rig_fault(b->rig, "'match':{'key':'%s'},'times':2,'action':'throttle'", key);
        rig_fault(b->rig, "'match':{'key':'%s'},'times':1,'action':{'do':'delay','ms':0}", key);
    }
}

/* Of each lock that was lost, what was tried. */
static void storm_explain(struct bench *b)
{
    for (int n = capture_count(b->events, DYNALOCK_EVENT_LOST, NULL); n > 0; n--) {
        struct captured lost = capture_get(b->events, DYNALOCK_EVENT_LOST, NULL, n);
        for (int i = capture_count(b->events, 0, lost.key); i > 0; i--) {
            struct captured event = capture_get(b->events, 0, lost.key, i);
            print_error("%" PRId64 " ms before: %s, %" PRId64 " ms left, took %" PRId64 " ms %s\n",
                        lost.at_ms - event.at_ms, dynalock_event_name(event.id), event.remaining_ms,
                        event.elapsed_ms, event.message);
        }
    }
}

static void test_no_lock_is_lost_while_throttling_lets_one_request_in_three_through(void **state)
{
    struct bench *b = *state;
    dynalock_lock *locks[LOCKS];
    struct caller callers[CALLERS];
    atomic_bool stop = false;
    dynalock_counters before, after;
    dynalock_options options = bench_options(b);
    options.log = capture_log;
    options.log_context = b->events;
    options.timeout_ms = 3000;
    dynalock_store *store = bench_open(b, &options);
    warm(store);
    for (size_t i = 0; i < LOCKS; i++) {
        char key[40];
        snprintf(key, sizeof key, "held-%d", (int)i);
        locks[i] = lock_take(store, key, (dynalock_lock_options){.ttl_ms = 8000});
        storm_key(b, key);
    }
    assert_int_equal(dynalock_store_counters(store, &before), 0);
    rig_do(b->rig, "'cmd':'seed','seed':3,'rates':{'throttle':0.67}");
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.store = store, .stop = &stop, .number = i};
        assert_int_equal(pthread_create(&callers[i].thread, NULL, caller_main, &callers[i]), 0);
    }
    sleep_ms(STORM_MS);
    atomic_store(&stop, true);
    int good = 0, throttled = 0, other = 0;
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(callers[i].thread, NULL);
        good += callers[i].good;
        throttled += callers[i].throttled;
        other += callers[i].other;
    }
    rig_clear_faults(b->rig);
    assert_int_equal(dynalock_store_counters(store, &after), 0);
    print_message("%d puts, %d given up; %d requests, %d throttled; %d renewals, %d failed\n", good,
                  throttled, (int)(after.attempts - before.attempts), (int)after.throttled,
                  (int)after.renewed, (int)after.renewals_failed);
    storm_explain(b);
    assert_int_equal(other, 0);
    assert_true(good > 0 && throttled > 0 && after.renewals_failed > 0);
    assert_true(after.renewed >= LOCKS);
    assert_int_equal(after.lost, 0);
    for (size_t i = 0; i < LOCKS; i++) {
        lock_end(locks[i]);
    }
    dynalock_close(store);
}

static void test_a_lock_that_only_throttling_ends_says_so(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock =
        lock_take(b->store, bench_key(b), (dynalock_lock_options){.ttl_ms = 5000});
    rig_fault(b->rig, "'times':-1,'action':'throttle'");
    assert_true(await_state(lock, DYNALOCK_LOCK_LOST));
    assert_int_equal(dynalock_lock_cause(lock), DYNALOCK_CAUSE_THROTTLED);
    rig_clear_faults(b->rig);
    dynalock_lock_free(lock);
}

/* ---- The rules ------------------------------------------------------------------------------- */

/* All waits before retries that the log tells of, in attempt's row. */
struct waits {
    int count[4];
    int64_t most[4], sum[4];
};

static struct waits waits_of(struct bench *b)
{
    struct waits waits = {0};
    for (int n = capture_count(b->events, DYNALOCK_EVENT_RETRY, NULL); n > 0; n--) {
        struct captured event = capture_get(b->events, DYNALOCK_EVENT_RETRY, NULL, n);
        int at = event.attempt - 1;
        assert_in_range(at, 0, 3);
        waits.count[at]++;
        waits.sum[at] += event.wait_ms;
        waits.most[at] = event.wait_ms > waits.most[at] ? event.wait_ms : waits.most[at];
    }
    return waits;
}

struct putter {
    pthread_t thread;
    dynalock_store *store;
    int code;
    int64_t took_ms;
};

static void *putter_main(void *context)
{
    struct putter *putter = context;
    int64_t began = monotonic_ms();
    putter->code = dynalock_put(putter->store, "k", dynalock_none(), NULL, NULL);
    putter->took_ms = monotonic_ms() - began;
    return NULL;
}

/* All at once. */
static void all_are_throttled(struct putter *putters, size_t count, dynalock_store *store)
{
    for (size_t i = 0; i < count; i++) {
        putters[i] = (struct putter){.store = store};
        assert_int_equal(pthread_create(&putters[i].thread, NULL, putter_main, &putters[i]), 0);
    }
    for (size_t i = 0; i < count; i++) {
        pthread_join(putters[i].thread, NULL);
        assert_int_equal(putters[i].code, DYNALOCK_ERR_THROTTLED);
    }
}

static void test_waits_after_throttling_are_random_up_to_one_second_then_two_then_four(void **state)
{
    struct bench *b = *state;
    struct putter putters[24];
    dynalock_store *store = b->store;
    warm(store);
    capture_clear(b->events);
    rig_fault(b->rig, "'times':-1,'action':'throttle'");
    all_are_throttled(putters, COUNT(putters), store);
    struct waits waits = waits_of(b);
    for (int i = 0; i < 3; i++) {
        int64_t limit = (int64_t)1000 << i;
        int64_t mean = waits.sum[i] / waits.count[i];
        print_message("before attempt %d: %d waits of %" PRId64 " ms on average, %" PRId64
                      " at the most\n",
                      i + 2, waits.count[i], mean, waits.most[i]);
        assert_int_equal(waits.count[i], (int)COUNT(putters));
        assert_true(waits.most[i] <= limit);
        assert_true(waits.most[i] > limit / 2); /* by chance once in 16 million */
        assert_in_range(mean, limit / 5, limit * 4 / 5);
    }
    assert_int_equal(waits.count[3], 0);
}

static void test_what_the_log_says_of_a_wait_is_waited(void **state)
{
    struct bench *b = *state;
    struct putter putter = {.store = b->store};
    warm(b->store);
    capture_clear(b->events);
    rig_fault(b->rig, "'times':2,'action':'throttle'");
    (void)putter_main(&putter);
    struct waits waits = waits_of(b);
    assert_int_equal(putter.code, DYNALOCK_OK);
    assert_int_equal(waits.count[0] + waits.count[1], 2);
    assert_true(putter.took_ms >= waits.sum[0] + waits.sum[1]);
    assert_true(putter.took_ms < waits.sum[0] + waits.sum[1] + 5000);
}

/* 500 of a budget, 5 a retry: a hundred retries for all calls of the store together. */
static void test_a_store_that_is_throttled_throughout_makes_a_hundred_retries_and_no_more(
    void **state)
{
    struct bench *b = *state;
    struct putter putters[60];
    dynalock_counters counters;
    dynalock_options options = bench_options(b);
    options.timeout_ms = 9000;
    dynalock_store *store = bench_open(b, &options);
    warm(store);
    rig_fault(b->rig, "'times':-1,'action':'throttle'");
    all_are_throttled(putters, COUNT(putters), store);
    assert_int_equal(dynalock_store_counters(store, &counters), 0);
    print_message("%d retries\n", (int)counters.retries);
    assert_int_equal(counters.retries, 100);
    /* Nothing is left: what fails now fails at its first attempt. */
    check(dynalock_put(store, "k", dynalock_none(), NULL, &failure), DYNALOCK_ERR_THROTTLED);
    assert_int_equal(dynalock_store_counters(store, &counters), 0);
    assert_int_equal(counters.retries, 100);
    /* And a lock of this store is renewed all the same. */
    rig_clear_faults(b->rig);
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(store, key, (dynalock_lock_options){.ttl_ms = 3000});
    rig_fault(b->rig, "'match':{'key':'%s'},'times':2,'action':'throttle'", key);
    int64_t end = monotonic_ms() + LONG_MS;
    do {
        sleep_ms(20);
        assert_int_equal(dynalock_store_counters(store, &counters), 0);
    } while (counters.renewed < 2 && monotonic_ms() < end);
    assert_int_equal(counters.renewals_failed, 2);
    assert_int_equal(counters.lost, 0);
    lock_end(lock);
    dynalock_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOCK_TEST(test_no_lock_is_lost_while_throttling_lets_one_request_in_three_through),
        LOCK_TEST(test_a_lock_that_only_throttling_ends_says_so),
        LOCK_TEST(test_waits_after_throttling_are_random_up_to_one_second_then_two_then_four),
        LOCK_TEST(test_what_the_log_says_of_a_wait_is_waited),
        LOCK_TEST(test_a_store_that_is_throttled_throughout_makes_a_hundred_retries_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
