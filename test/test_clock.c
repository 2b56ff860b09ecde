/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lock and the clocks: a host that is suspended, a guest that stands still without its clocks noticing, a host whose
 * clock is wrong or runs wrong. The boot clock is turned by standing in front of clock_gettime, server time by the proxy's,
 * the host's idea of the time in the store.
 */
/* wrap: clock_gettime */
#include "../internal.h"

#include "support_lock.h"

#include <time.h>

#define SECOND_US INT64_C(1000000)
#define HOUR_S INT64_C(3600)
#define SUSPENDED_S 30

/* ---- The boot clock, turned ---- */

static atomic_llong clock_ahead_us; /* of the true one */
static atomic_int clock_percent = 100;
static atomic_llong clock_origin_us; /* since when it runs at that rate */
static atomic_int clock_pause_after; /* as many readings of clocks: then it stands still */
#define CLOCK_PAUSE_S 10

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = __real_clock_gettime(clock, now);
    if (failed == 0 && clock == CLOCK_BOOTTIME) {
        int64_t us = (int64_t)now->tv_sec * SECOND_US + now->tv_nsec / 1000;
        int64_t since_us = us - atomic_load(&clock_origin_us);
        int percent = atomic_load(&clock_percent);
        us += atomic_load(&clock_ahead_us);
        us += percent != 100 ? since_us * (percent - 100) / 100 : 0;
        now->tv_sec = (time_t)(us / SECOND_US);
        now->tv_nsec = (long)(us % SECOND_US) * 1000;
        if (atomic_fetch_sub(&clock_pause_after, 1) == 1) {
            atomic_fetch_add(&clock_ahead_us, CLOCK_PAUSE_S * SECOND_US);
        }
    }
    return failed;
}

static void clock_forward(int64_t seconds)
{
    atomic_fetch_add(&clock_ahead_us, seconds * SECOND_US);
}

static void clock_rate(int percent)
{
    struct timespec now;
    assert_int_equal(__real_clock_gettime(CLOCK_BOOTTIME, &now), 0);
    atomic_store(&clock_origin_us, (int64_t)now.tv_sec * SECOND_US + now.tv_nsec / 1000);
    atomic_store(&clock_percent, percent);
}

static int clock_teardown(void **state)
{
    atomic_store(&clock_percent, 100);
    return lock_teardown(state);
}

/* What the servers' clock shows, from now on, against the true time. */
static void server_ahead(struct bench *b, int64_t seconds)
{
    rig_do(b->rig, "'cmd':'set','skew_ms':%" PRId64, seconds * 1000);
}

/* ---- A host whose clock is wrong ---- */

static int64_t host_real_us(void *context)
{
    return dlk_system_clock().real_us(NULL) + *(const int64_t *)context * SECOND_US;
}

/* The host's clock goes on in a pause as the boot clock does. */
static int64_t paused_real_us(void *context)
{
    int64_t us = dlk_system_clock().real_us(context) + atomic_load(&clock_ahead_us);
    if (atomic_fetch_sub(&clock_pause_after, 1) == 1) {
        atomic_fetch_add(&clock_ahead_us, CLOCK_PAUSE_S * SECOND_US);
    }
    return us;
}

/* Another client, whose host's clock is so many seconds (borrowed) ahead. */
static dynalock_store *host_open(struct bench *b, int64_t *ahead_s)
{
    dynalock_options options = bench_options(b);
    options.log = capture_log;
    options.log_context = b->events;
    dynalock_store *store = bench_open(b, &options);
    store->clock.real_us = host_real_us;
    store->clock.context = ahead_s;
    return store;
}

static const dynalock_lock_options by_hand = {.ttl_ms = 20000, .renewal = DYNALOCK_RENEWAL_NONE};

static void assert_held(dynalock_lock *lock, int64_t least_ms, int64_t most_ms)
{
    int64_t left_ms = dynalock_lock_remaining_ms(lock);
    check(dynalock_lock_ensure(lock, 0, &failure), DYNALOCK_OK);
    if (left_ms < least_ms || left_ms > most_ms) {
        fail_msg("%" PRId64 " ms are left, and not %" PRId64 " to %" PRId64, left_ms, least_ms,
                 most_ms);
    }
}

static void assert_lost(dynalock_lock *lock, int cause)
{
    check(dynalock_lock_ensure(lock, 0, &failure), DYNALOCK_ERR_LOST);
    assert_int_equal(dynalock_lock_remaining_ms(lock), 0);
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_LOST);
    assert_int_equal(dynalock_lock_cause(lock), cause);
}

/* ---- Suspend: the boot clock counts it ---- */

static void test_a_suspend_past_the_lease_loses_the_lock_before_any_thread_has_run(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_take(b->store, bench_key(b), by_hand);

    clock_forward(SUSPENDED_S);
    assert_lost(lock, DYNALOCK_CAUSE_EXPIRED);
    check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_LOST);
    dynalock_lock_free(lock);
}

static void test_a_suspend_past_the_lease_is_told_when_the_watch_looks(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(b->store, key, (dynalock_lock_options){.ttl_ms = 20000});
    int fd = -1;

    check(dynalock_lock_lost_fd(lock, &fd, &failure), DYNALOCK_OK);
    bench_reset(b);
    clock_forward(SUSPENDED_S);
    dlk_wake_up(&b->store->watch_wake); /* as the alarm does after a true suspend */
    assert_true(readable(fd, LONG_MS));
    assert_true(await_event(b, DYNALOCK_EVENT_LOST, key, 1));
    assert_lost(lock, DYNALOCK_CAUSE_EXPIRED);
    assert_int_equal(bench_count(b, "UpdateItem"), 0); /* nothing was renewed since */
    dynalock_lock_free(lock);
}

static void test_a_suspend_within_the_lease_shortens_it_and_a_renewal_restores_it(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_take(b->store, bench_key(b), by_hand);

    clock_forward(10);
    assert_held(lock, 1000, 10000);
    check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_OK);
    assert_held(lock, 15000, 19750);
    lock_end(lock);
}

static void test_the_keeper_renews_at_once_after_a_suspend_within_the_lease(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(b->store, key, (dynalock_lock_options){.ttl_ms = 20000});

    clock_forward(10);
    dlk_loop_wake(b->store->loop); /* as its alarm does after a true suspend */
    assert_true(await_event(b, DYNALOCK_EVENT_RENEWED, key, 1));
    assert_held(lock, 12000, 19750);
    lock_end(lock);
}

/* Its answer would count for the new lease. */
static void test_after_a_suspend_an_acquisition_awaits_the_renewal_that_is_under_way(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock =
        lock_take(b->store, bench_key(b), (dynalock_lock_options){.ttl_ms = 60000});
    struct waiter waiter;

    bench_reset(b);
    rig_fault(b->rig, "'match':{'op':'UpdateItem'},'action':{'do':'hold','where':'request'}");
    clock_forward(25);
    dlk_loop_wake(b->store->loop);
    assert_true(rig_wait(b->rig, "UpdateItem", "held", 1, LONG_MS));
    clock_forward(60);
    assert_lost(lock, DYNALOCK_CAUSE_UNREACHABLE);
    waiter_start(&waiter, lock, -1, LONG_MS);
    sleep_ms(300);
    assert_int_equal(bench_count(b, "PutItem"), 0);
    (void)rig_let_go(b->rig);
    check(waiter_join(&waiter), DYNALOCK_OK);
    lock_end(lock);
}

static void test_an_acquisition_that_a_suspend_cuts_in_two_does_not_succeed_late(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(b->store, key, by_hand);
    struct waiter waiter;

    warm(b->store);
    bench_reset(b);
    rig_fault(b->rig, "'match':{'op':'PutItem'},'action':'hold'");
    waiter_start(&waiter, lock, -1, 0);
    assert_true(rig_wait(b->rig, "PutItem", "held", 1, LONG_MS));
    clock_forward(SUSPENDED_S);
    (void)rig_let_go(b->rig);
    assert_int_not_equal(waiter_join(&waiter), DYNALOCK_OK);
    assert_int_equal(dynalock_lock_remaining_ms(lock), 0);
    check(dynalock_lock_ensure(lock, 0, &failure), DYNALOCK_ERR_NOT_HELD);
    assert_true(await_gone(b, key)); /* what it has won is removed */
    dynalock_lock_free(lock);
}

/* ---- A guest that stands still: server time passes, its boot clock does not ---- */

/* Without a Date in the answers nothing but the boot clock can tell. */
static void test_a_process_that_stands_still_anywhere_on_its_way_believes_no_longer_than_its_record(
    void **state)
{
    struct bench *b = *state;
    dynalock_store *store = bench_open(b, NULL);
    store->clock.real_us = paused_real_us;
    rig_do(b->rig, "'cmd':'set','date':'none','verify':false");
    for (int readings = 1; readings <= 24; readings++) {
        const char *key = bench_key(b);
        atomic_store(&clock_pause_after, readings);
        dynalock_lock *lock = lock_take(
            store, key, (dynalock_lock_options){.ttl_ms = 60000, .renewal = DYNALOCK_RENEWAL_NONE});
        for (int renewals = 0; renewals < 2; renewals++) {
            json_t *item = rig_item(b->rig, b->table, b->partition, key);
            int64_t expires = item_number(item, "expires");
            json_decref(item);
            int64_t until_us = paused_real_us(NULL) + dynalock_lock_remaining_ms(lock) * 1000;
            assert_true(until_us <= expires * SECOND_US);
            atomic_store(&clock_pause_after, readings);
            check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_OK);
        }
        atomic_store(&clock_pause_after, 0);
        lock_end(lock);
    }
    assert_int_equal(dynalock_close(store), 0);
}

static void test_a_pause_that_no_clock_counted_is_seen_by_the_next_answer_of_any_kind(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *one = lock_take(b->store, key, by_hand);
    dynalock_lock *two = lock_take(b->store, bench_key(b), by_hand);
    dynalock_lock *longer =
        lock_take(b->store, bench_key(b),
                  (dynalock_lock_options){.ttl_ms = 600000, .renewal = DYNALOCK_RENEWAL_NONE});
    bool exists = false;
    int fd = -1;

    check(dynalock_lock_lost_fd(two, &fd, &failure), DYNALOCK_OK);
    warm(b->store);
    server_ahead(b, SUSPENDED_S);
    assert_held(one, 1, 20000); /* nothing tells yet: the token is for that */
    check(dynalock_exists(b->store, "another key", NULL, &exists, &failure), DYNALOCK_OK);
    assert_lost(one, DYNALOCK_CAUSE_CLOCK);
    assert_lost(two, DYNALOCK_CAUSE_CLOCK);
    assert_true(readable(fd, LONG_MS));
    assert_true(await_event(b, DYNALOCK_EVENT_LOST, key, 1));
    assert_true(await_event(b, DYNALOCK_EVENT_CLOCK, NULL, 1));
    assert_held(longer, 500000, 600000 - SUSPENDED_S * 1000 + 1000);
    dynalock_lock_free(one);
    dynalock_lock_free(two);
    lock_end(longer);
}

static void test_server_time_that_goes_back_loses_nothing(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_take(b->store, bench_key(b), by_hand);

    warm(b->store);
    server_ahead(b, -SUSPENDED_S);
    warm(b->store);
    assert_held(lock, 5000, 20000);
    check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_OK);
    assert_held(lock, 10000, 20000);
    lock_end(lock);
}

/* The bounds are stale, and the lease asked for has ended before it was granted: the answer's own Date tells. */
static void test_a_lease_that_was_over_when_it_was_granted_is_not_taken_for_one(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock =
        lock_make(b->store, key, (dynalock_lock_options){.ttl_ms = 20000, .poll_ms = 200});

    warm(b->store);
    server_ahead(b, SUSPENDED_S);
    check(dynalock_lock_acquire(lock, -1, LONG_MS, &failure), DYNALOCK_OK);
    assert_held(lock, 10000, 20000);
    json_t *item = bench_item(b, key);
    assert_true(item_number(item, "expires") * 1000 >= real_ms() + SUSPENDED_S * 1000 + 15000);
    json_decref(item);
    lock_end(lock);
}

static void test_a_lease_that_was_over_when_it_was_granted_is_no_success_without_waiting(
    void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(b->store, key, by_hand);

    warm(b->store);
    server_ahead(b, SUSPENDED_S);
    assert_int_not_equal(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_OK);
    assert_int_equal(dynalock_lock_remaining_ms(lock), 0);
    assert_true(await_gone(b, key));
    dynalock_lock_free(lock);
}

/* ---- A host whose clock is wrong ---- */

static const int64_t wrong_s[] = {HOUR_S, -HOUR_S, 100 * 24 * HOUR_S};

static void test_a_wrong_clock_is_corrected_for_signing(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(wrong_s); i++) {
        int64_t ahead_s = wrong_s[i];
        dynalock_store *store = host_open(b, &ahead_s);
        const char *key = bench_key(b);
        check(dynalock_put(store, key, dynalock_bytes("x", 1), NULL, &failure), DYNALOCK_OK);
        check(dynalock_delete(store, key, &failure), DYNALOCK_OK);
        assert_true(capture_count(b->events, DYNALOCK_EVENT_CLOCK, NULL) > (int)i);
        assert_int_equal(dynalock_close(store), 0);
    }
}

static void test_a_wrong_clock_never_steals_a_lock_that_is_held(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(wrong_s); i++) {
        int64_t ahead_s = wrong_s[i];
        const char *key = bench_key(b);
        dynalock_lock *held = lock_take(b->store, key, (dynalock_lock_options){.ttl_ms = 3000});
        dynalock_store *store = host_open(b, &ahead_s);
        dynalock_lock *lock = lock_make(store, key, (dynalock_lock_options){.poll_ms = 200});
        check(dynalock_lock_acquire(lock, -1, i == 0 ? 3600 : 600, &failure),
              DYNALOCK_ERR_NOT_ACQUIRED);
        check(dynalock_lock_ensure(held, 1, &failure), DYNALOCK_OK);
        lock_end(held);
        dynalock_lock_free(lock);
        assert_int_equal(dynalock_close(store), 0);
    }
}

/* Another way to the server, on which Date is wrong or missing. */
static dynalock_store *dated_open(struct bench *b, const char *settings)
{
    dynalock_options options = bench_options(b);
    options.endpoint = rig_proxy_new(b->rig, test_server(), settings);
    dynalock_store *store = bench_open(b, &options);
    b->rig->proxy = b->proxy;
    return store;
}

/* 2^31 seconds after 1970, where a time_t of 32 bits ends. */
static void test_after_2038_locks_are_held_and_expire_as_before(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    int64_t ahead_s = 20 * 366 * 24 * HOUR_S;
    server_ahead(b, ahead_s);
    dynalock_store *store = host_open(b, &ahead_s);
    dynalock_store *other = host_open(b, &ahead_s);
    dynalock_lock *held = lock_take(
        store, key, (dynalock_lock_options){.ttl_ms = 1500, .renewal = DYNALOCK_RENEWAL_NONE});
    dynalock_lock *lock = lock_make(other, key, (dynalock_lock_options){.poll_ms = 100});
    dynalock_kv *kv = NULL;

    check(dynalock_get(other, key, NULL, &kv, &failure), DYNALOCK_OK);
    assert_true(dynalock_kv_expires_ms(kv) > (int64_t)INT32_MAX * 1000);
    dynalock_kv_free(kv);
    check(dynalock_lock_acquire(lock, -1, 600, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
    check(dynalock_lock_ensure(held, 1, &failure), DYNALOCK_OK);
    check(dynalock_lock_acquire(lock, -1, LONG_MS, &failure), DYNALOCK_OK);
    assert_lost(held, DYNALOCK_CAUSE_EXPIRED);
    dynalock_lock_free(held);
    lock_end(lock);
    assert_int_equal(dynalock_close(store), 0);
    assert_int_equal(dynalock_close(other), 0);
}

static void test_a_wrong_date_or_none_never_steals_a_lock_that_is_held(void **state)
{
    static const char *const settings[] = {"'skew_ms':3600000", "'skew_ms':-3600000",
                                           "'date':'none'"};
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(settings); i++) {
        const char *key = bench_key(b);
        dynalock_lock *held = lock_take(b->store, key, (dynalock_lock_options){.ttl_ms = 1500});
        dynalock_store *store = dated_open(b, settings[i]);
        dynalock_lock *lock = lock_make(store, key, (dynalock_lock_options){.poll_ms = 100});
        check(dynalock_lock_acquire(lock, -1, 600, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
        check(dynalock_lock_ensure(held, 1, &failure), DYNALOCK_OK);
        lock_end(held);
        check(dynalock_lock_acquire(lock, -1, LONG_MS, &failure), DYNALOCK_OK);
        lock_end(lock);
        assert_int_equal(dynalock_close(store), 0);
    }
}

static void test_a_wrong_clock_takes_over_what_it_saw_unchanged_for_the_lease(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < 2; i++) {
        int64_t ahead_s = wrong_s[i];
        const char *key = bench_key(b);
        dynalock_lock *held =
            lock_take(b->store, key,
                      (dynalock_lock_options){.ttl_ms = 1500, .renewal = DYNALOCK_RENEWAL_NONE});
        dynalock_store *store = host_open(b, &ahead_s);
        dynalock_lock *lock = lock_make(store, key, (dynalock_lock_options){.poll_ms = 200});
        int64_t began_ms = monotonic_ms();
        check(dynalock_lock_acquire(lock, -1, LONG_MS, &failure), DYNALOCK_OK);
        assert_true(monotonic_ms() - began_ms >= 1500 + 250);
        assert_true(dynalock_lock_token(lock) > dynalock_lock_token(held));
        assert_int_equal(capture_count(b->events, DYNALOCK_EVENT_TAKEN_OVER, key), 1);
        lock_end(lock);
        dynalock_lock_free(held);
        assert_int_equal(dynalock_close(store), 0);
    }
}

/* For longer than answers count as fresh: the bounds they gave are old, the host's clock is no better. */
static void test_a_renewal_after_an_hour_without_answers_does_not_go_by_a_wrong_clock(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    int64_t ahead_s = -2 * HOUR_S;
    dynalock_store *store = host_open(b, &ahead_s);
    dynalock_lock *lock = lock_take(
        store, key,
        (dynalock_lock_options){.ttl_ms = 3 * HOUR_S * 1000, .renewal = DYNALOCK_RENEWAL_NONE});

    clock_forward(HOUR_S);
    server_ahead(b, HOUR_S);
    check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_OK);
    json_t *item = bench_item(b, key);
    assert_true(item_number(item, "expires") >= real_ms() / 1000 + 4 * HOUR_S - LONG_MS / 1000);
    json_decref(item);
    lock_end(lock);
    assert_int_equal(dynalock_close(store), 0);
}

static void test_a_holder_with_a_wrong_clock_writes_a_version_of_the_servers_time(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(wrong_s); i++) {
        int64_t ahead_s = wrong_s[i];
        dynalock_store *store = host_open(b, &ahead_s);
        dynalock_lock *lock = lock_take(store, bench_key(b), by_hand);
        int64_t off_ms = dynalock_lock_token(lock) / 1000 - real_ms();
        assert_true(off_ms > -LONG_MS && off_ms < LONG_MS);
        lock_end(lock);
        assert_int_equal(dynalock_close(store), 0);
    }
}

/* Its `expires` may be an hour ahead: that it has been seen unchanged for its lease is enough. */
static void test_a_holder_with_a_wrong_clock_that_died_blocks_nobody_for_longer_than_its_lease(
    void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < 2; i++) {
        int64_t ahead_s = wrong_s[i];
        const char *key = bench_key(b);
        dynalock_store *store = host_open(b, &ahead_s);
        dynalock_lock *dead = lock_take(
            store, key, (dynalock_lock_options){.ttl_ms = 1500, .renewal = DYNALOCK_RENEWAL_NONE});
        dynalock_lock *lock = lock_make(b->store, key, (dynalock_lock_options){.poll_ms = 200});
        check(dynalock_lock_acquire(lock, -1, LONG_MS, &failure), DYNALOCK_OK);
        assert_int_equal(dynalock_lock_remaining_ms(dead), 0);
        lock_end(lock);
        dynalock_lock_free(dead);
        assert_int_equal(dynalock_close(store), 0);
    }
}

/* ---- A boot clock that runs wrong ---- */

/* While the lock says that it is held, the record is there and not expired, whatever the clock does. */
static void watch_it_held(struct bench *b, dynalock_lock *lock, const char *key, int64_t for_ms)
{
    int64_t until_ms = monotonic_ms() + for_ms;
    while (monotonic_ms() < until_ms) {
        json_t *item = bench_item(b, key);
        int64_t now_ms = real_ms();
        check(dynalock_lock_ensure(lock, 0, &failure), DYNALOCK_OK);
        assert_non_null(item);
        assert_true(item_number(item, "expires") * 1000 > now_ms - 1000);
        json_decref(item);
        sleep_ms(20);
    }
}

static void test_a_lock_outlives_a_clock_that_runs_fast_or_slow(void **state)
{
    static const int percent[] = {200, 80};
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(percent); i++) {
        const char *key = bench_key(b);
        dynalock_lock *lock = lock_take(b->store, key, (dynalock_lock_options){.ttl_ms = 6000});
        clock_rate(percent[i]);
        watch_it_held(b, lock, key, 6500);
        clock_rate(100);
        lock_end(lock);
    }
}

/* ---- A record seen unchanged, and deadlines while the keeper is busy ---- */

/* The request is older than the record that its answer shows. */
static void test_a_record_is_observed_from_its_answer_on_and_not_from_the_request(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    int64_t ahead_s = HOUR_S;
    dynalock_store *store = host_open(b, &ahead_s);
    dynalock_lock *lock = lock_make(store, key, (dynalock_lock_options){.poll_ms = 100});
    struct waiter waiter;

    warm(store);
    warm(bench_direct(b));
    rig_fault(b->rig, "'match':{'op':'PutItem'},'action':{'do':'hold','where':'request'}");
    waiter_start(&waiter, lock, -1, LONG_MS);
    assert_true(rig_wait(b->rig, "PutItem", "held", 1, LONG_MS));
    sleep_ms(2500);
    int64_t began_ms = monotonic_ms();
    dynalock_lock *held = lock_take(
        b->direct, key, (dynalock_lock_options){.ttl_ms = 1500, .renewal = DYNALOCK_RENEWAL_NONE});
    (void)rig_let_go(b->rig);
    check(waiter_join(&waiter), DYNALOCK_OK);
    assert_true(waiter.ended_ms - began_ms >= 1500 + 250);
    lock_end(lock);
    dynalock_lock_free(held);
    assert_int_equal(dynalock_close(store), 0);
}

static atomic_bool keeper_is_stuck;

static void stick(struct dlk_timer *timer)
{
    (void)timer;
    atomic_store(&keeper_is_stuck, true);
    for (int64_t end = monotonic_ms() + LONG_MS;
         atomic_load(&keeper_is_stuck) && monotonic_ms() < end;) {
        sleep_ms(5);
    }
}

/* As libcurl may be for seconds, where name resolution hangs. */
static void test_a_lock_is_lost_in_time_while_the_keeper_is_stuck_in_its_io(void **state)
{
    static struct dlk_timer timer = {.fire = stick};
    struct bench *b = *state;
    dynalock_lock *lock =
        lock_take(b->store, bench_key(b), (dynalock_lock_options){.ttl_ms = 1500});
    int fd = -1;

    check(dynalock_lock_lost_fd(lock, &fd, &failure), DYNALOCK_OK);
    (void)pthread_mutex_lock(&b->store->mutex);
    dlk_keeper_schedule(b->store, &timer, 0);
    (void)pthread_mutex_unlock(&b->store->mutex);
    bool told = readable(fd, 1500 + 3000);
    bool was_stuck = atomic_exchange(&keeper_is_stuck, false);
    assert_true(told);
    assert_true(was_stuck);
    assert_lost(lock, DYNALOCK_CAUSE_EXPIRED);
    dynalock_lock_free(lock);
}

/* ---- The margin, and a lease made shorter ---- */

static void test_what_is_left_is_the_lease_without_its_margin(void **state)
{
    static const struct {
        int64_t ttl_ms, margin_ms, most_ms;
    } cases[] = {
        {2000, 0, 1750},      {20000, 0, 19750},   {600000, 0, 599400},
        {20000, 5000, 15000}, {600000, 1, 599999}, {501, 0, 251},
    };
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        dynalock_lock *lock = lock_take(b->store, bench_key(b),
                                        (dynalock_lock_options){.ttl_ms = cases[i].ttl_ms,
                                                                .margin_ms = cases[i].margin_ms,
                                                                .renewal = DYNALOCK_RENEWAL_NONE});
        int64_t left_ms = dynalock_lock_remaining_ms(lock);
        assert_true(left_ms <= cases[i].most_ms);
        assert_true(cases[i].ttl_ms < 10000 || left_ms > cases[i].most_ms - 10000);
        (void)dynalock_lock_release(lock, NULL);
        dynalock_lock_free(lock);
    }
}

static void test_a_lease_that_is_no_longer_than_twice_its_margin_is_refused(void **state)
{
    static const struct {
        int64_t ttl_ms, margin_ms;
        int code;
    } cases[] = {
        {500, 0, DYNALOCK_ERR_ARGUMENT},     {501, 0, 0},
        {2000, 1000, DYNALOCK_ERR_ARGUMENT}, {2001, 1000, 0},
        {1, 0, DYNALOCK_ERR_ARGUMENT},       {0, 10000, DYNALOCK_ERR_ARGUMENT},
    };
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        dynalock_lock_options options = {.ttl_ms = cases[i].ttl_ms,
                                         .margin_ms = cases[i].margin_ms};
        dynalock_lock *lock = NULL;
        check(dynalock_lock_new(b->store, "key", &options, &lock, &failure), cases[i].code);
        dynalock_lock_free(lock);
    }
}

static void *renew_shorter(void *context)
{
    (void)dynalock_lock_renew(context, 3000, NULL);
    return NULL;
}

static void test_a_shorter_lease_counts_before_it_is_sent(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_take(b->store, bench_key(b), by_hand);
    pthread_t thread;

    bench_reset(b);
    rig_fault(b->rig, "'match':{'op':'UpdateItem'},'action':{'do':'hold','where':'request'}");
    assert_int_equal(pthread_create(&thread, NULL, renew_shorter, lock), 0);
    assert_true(rig_wait(b->rig, "UpdateItem", "held", 1, LONG_MS));
    assert_true(dynalock_lock_remaining_ms(lock) <= 2750);
    (void)rig_let_go(b->rig);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(dynalock_lock_remaining_ms(lock) <= 2750);
    (void)dynalock_lock_release(lock, NULL);
    dynalock_lock_free(lock);
}

#define CLOCK_TEST(name) cmocka_unit_test_setup_teardown(name, lock_setup, clock_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLOCK_TEST(test_a_suspend_past_the_lease_loses_the_lock_before_any_thread_has_run),
        CLOCK_TEST(test_a_suspend_past_the_lease_is_told_when_the_watch_looks),
        CLOCK_TEST(test_a_suspend_within_the_lease_shortens_it_and_a_renewal_restores_it),
        CLOCK_TEST(test_the_keeper_renews_at_once_after_a_suspend_within_the_lease),
        CLOCK_TEST(test_after_a_suspend_an_acquisition_awaits_the_renewal_that_is_under_way),
        CLOCK_TEST(test_an_acquisition_that_a_suspend_cuts_in_two_does_not_succeed_late),
        CLOCK_TEST(
            test_a_process_that_stands_still_anywhere_on_its_way_believes_no_longer_than_its_record),
        CLOCK_TEST(test_a_pause_that_no_clock_counted_is_seen_by_the_next_answer_of_any_kind),
        CLOCK_TEST(test_server_time_that_goes_back_loses_nothing),
        CLOCK_TEST(test_a_lease_that_was_over_when_it_was_granted_is_not_taken_for_one),
        CLOCK_TEST(test_a_lease_that_was_over_when_it_was_granted_is_no_success_without_waiting),
        CLOCK_TEST(test_a_wrong_clock_is_corrected_for_signing),
        CLOCK_TEST(test_a_wrong_clock_never_steals_a_lock_that_is_held),
        CLOCK_TEST(test_after_2038_locks_are_held_and_expire_as_before),
        CLOCK_TEST(test_a_wrong_date_or_none_never_steals_a_lock_that_is_held),
        CLOCK_TEST(test_a_wrong_clock_takes_over_what_it_saw_unchanged_for_the_lease),
        CLOCK_TEST(test_a_renewal_after_an_hour_without_answers_does_not_go_by_a_wrong_clock),
        CLOCK_TEST(test_a_holder_with_a_wrong_clock_writes_a_version_of_the_servers_time),
        CLOCK_TEST(
            test_a_holder_with_a_wrong_clock_that_died_blocks_nobody_for_longer_than_its_lease),
        CLOCK_TEST(test_a_lock_outlives_a_clock_that_runs_fast_or_slow),
        CLOCK_TEST(test_a_record_is_observed_from_its_answer_on_and_not_from_the_request),
        CLOCK_TEST(test_a_lock_is_lost_in_time_while_the_keeper_is_stuck_in_its_io),
        CLOCK_TEST(test_what_is_left_is_the_lease_without_its_margin),
        CLOCK_TEST(test_a_lease_that_is_no_longer_than_twice_its_margin_is_refused),
        CLOCK_TEST(test_a_shorter_lease_counts_before_it_is_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
