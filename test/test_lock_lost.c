/* SPDX-License-Identifier: Apache-2.0 */
/* Losing a lock: why, when, who is told, and what can be done then. */
#include "support_lock.h"

#include <stdatomic.h>

/* What on_lost was told. Static in each test: on_lost may still run after a test that failed. */
struct told {
    atomic_int times, cause, result, done;
    _Atomic(dynalock_lock *) lock;
    dynalock_store *store;
};

static void on_lost(dynalock_lock *lock, int cause, void *context)
{
    struct told *told = context;
    atomic_store(&told->lock, lock);
    atomic_store(&told->cause, cause);
    atomic_fetch_add(&told->times, 1);
}

static bool await_int(atomic_int *value, int wanted)
{
    int64_t end = monotonic_ms() + LONG_MS;
    while (atomic_load(value) != wanted) {
        if (monotonic_ms() > end) {
            return false;
        }
        sleep_ms(2);
    }
    return true;
}

/* ---- Nobody renews ---------------------------------------------------------------------------- */

static void test_a_lock_that_nobody_renews_is_lost(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    static struct told told;
    dynalock_lock *lock = lock_make(b->store, key,
                                    (dynalock_lock_options){.ttl_ms = 1500,
                                                            .renewal = DYNALOCK_RENEWAL_NONE,
                                                            .on_lost = on_lost,
                                                            .context = &told});
    int fd = -1;
    int64_t began = monotonic_ms();

    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    check(dynalock_lock_lost_fd(lock, &fd, &failure), 0);
    assert_false(readable(fd, 0));
    assert_true(readable(fd, LONG_MS));
    assert_in_range((uintmax_t)(monotonic_ms() - began), 1200, 4000);
    assert_int_equal(dynalock_lock_remaining_ms(lock), 0);
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_LOST);
    assert_int_equal(dynalock_lock_cause(lock), DYNALOCK_CAUSE_EXPIRED);
    check(dynalock_lock_ensure(lock, 0, &failure), DYNALOCK_ERR_LOST);
    assert_contains(failure.message, dynalock_cause_name(DYNALOCK_CAUSE_EXPIRED));
    assert_true(await_int(&told.times, 1));
    assert_ptr_equal(atomic_load(&told.lock), lock);
    assert_int_equal(atomic_load(&told.cause), DYNALOCK_CAUSE_EXPIRED);
    assert_true(await_event(b, DYNALOCK_EVENT_LOST, key, 1));
    struct captured event = capture_get(b->events, DYNALOCK_EVENT_LOST, key, 0);
    assert_int_equal(event.cause, DYNALOCK_CAUSE_EXPIRED);
    assert_int_equal(event.token, dynalock_lock_token(lock));
    dynalock_lock_free(lock);
}

static void test_after_a_loss_the_object_can_be_used_again(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(
        b->store, key, (dynalock_lock_options){.ttl_ms = 1500, .renewal = DYNALOCK_RENEWAL_NONE});
    int64_t token = dynalock_lock_token(lock);
    int fd = -1;

    assert_true(await_state(lock, DYNALOCK_LOCK_LOST));
    assert_int_equal(dynalock_lock_token(lock), token);
    check(dynalock_lock_lost_fd(lock, &fd, &failure), 0); /* asked for after the loss */
    assert_true(readable(fd, 0));
    check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_ERR_LOST);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0); /* its own record: no waiting */
    assert_false(readable(fd, 0));
    assert_int_equal(dynalock_lock_cause(lock), DYNALOCK_CAUSE_NONE);
    assert_true(dynalock_lock_token(lock) > token);
    assert_true(await_state(lock, DYNALOCK_LOCK_LOST));
    check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_LOST);
    assert_false(is_there(b, key)); /* it was still there */
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_IDLE);
    check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_NOT_HELD);
    dynalock_lock_free(lock);
}

static void test_a_failed_try_leaves_the_lost_descriptor_readable(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(
        b->store, key, (dynalock_lock_options){.ttl_ms = 1500, .renewal = DYNALOCK_RENEWAL_NONE});
    int fd = -1;

    check(dynalock_lock_lost_fd(lock, &fd, &failure), 0);
    assert_true(readable(fd, LONG_MS));
    bench_put_item(b, key, "'version':{'N':'5'},'expires':{'N':'4102444800'}");
    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
    assert_true(readable(fd, 0));
    bench_delete_item(b, key);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    assert_false(readable(fd, 0));
    lock_end(lock);
}

/* ---- Others interfere ------------------------------------------------------------------------- */

static void test_a_deleted_record_is_gone(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(b->store, key, (dynalock_lock_options){.ttl_ms = 3000});

    bench_delete_item(b, key);
    assert_true(await_state(lock, DYNALOCK_LOCK_LOST));
    assert_int_equal(dynalock_lock_cause(lock), DYNALOCK_CAUSE_GONE);
    assert_false(is_there(b, key)); /* a renewal does not bring it back */
    bench_reset(b);
    check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_LOST);
    assert_int_equal(bench_count(b, NULL), 0);
    check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_NOT_HELD);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    lock_end(lock);
}

static void test_a_record_that_is_anothers_is_left_alone(void **state)
{
    struct bench *b = *state;
    static const char *const theirs[] = {
        "\"version\":{\"N\":\"5\"},\"expires\":{\"N\":\"4102444800\"}", /* as Go's, after a theft */
        ("\"version\":{\"N\":\"5\"},\"expires\":{\"N\":\"4102444800\"},"
         "\"nonce\":{\"S\":\"00112233445566778899aabbccddeeff.1.5\"},\"lease\":{\"N\":\"20000\"}"),
        "\"payload\":{\"S\":\"of another kind\"}",
    };
    for (size_t i = 0; i < COUNT(theirs); i++) {
        const char *key = bench_key(b);
        dynalock_lock *lock = lock_take(b->store, key, (dynalock_lock_options){.ttl_ms = 3000});
        bench_put_item(b, key, "%s", theirs[i]);
        json_t *before = bench_item(b, key);
        assert_true(await_state(lock, DYNALOCK_LOCK_LOST));
        assert_int_equal(dynalock_lock_cause(lock), DYNALOCK_CAUSE_TAKEN_OVER);
        check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_LOST);
        dynalock_lock_free(lock);
        json_t *after = bench_item(b, key);
        assert_true(json_equal(before, after));
        json_decref(before);
        json_decref(after);
    }
}

static void test_a_release_that_finds_anothers_record_leaves_it(void **state)
{
    struct bench *b = *state;
    for (int keep = 0; keep < 2; keep++) {
        const char *key = bench_key(b);
        dynalock_lock *lock =
            lock_take(b->store, key, (dynalock_lock_options){.keep_record = keep == 1});
        bench_put_item(b, key, "'version':{'N':'5'},'expires':{'N':'4102444800'}");
        check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_LOST);
        assert_int_equal(dynalock_lock_cause(lock), DYNALOCK_CAUSE_TAKEN_OVER);
        json_t *item = bench_item(b, key);
        assert_int_equal(item_number(item, "version"), 5);
        json_decref(item);
        dynalock_lock_free(lock);
    }
}

static void test_renewing_by_hand_tells_of_a_loss(void **state)
{
    struct bench *b = *state;
    static const struct {
        bool deleted;
        int cause;
    } cases[] = {{true, DYNALOCK_CAUSE_GONE}, {false, DYNALOCK_CAUSE_TAKEN_OVER}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *key = bench_key(b);
        static struct told told;
        atomic_store(&told.times, 0);
        dynalock_lock *lock =
            lock_take(b->store, key,
                      (dynalock_lock_options){
                          .renewal = DYNALOCK_RENEWAL_NONE, .on_lost = on_lost, .context = &told});
        if (cases[i].deleted) {
            bench_delete_item(b, key);
        } else {
            bench_put_item(b, key, "'version':{'N':'5'},'expires':{'N':'4102444800'}");
        }
        check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_ERR_LOST);
        assert_int_equal(dynalock_lock_cause(lock), cases[i].cause);
        assert_int_equal(dynalock_lock_remaining_ms(lock), 0);
        assert_true(await_int(&told.times, 1));
        assert_int_equal(atomic_load(&told.cause), cases[i].cause);
        dynalock_lock_free(lock);
    }
}

/* ---- The service fails ------------------------------------------------------------------------ */

#define LEASE_MS 3750 /* of 4,000 */

struct trouble {
    const char *action;
    int cause;
    const char *key;
    dynalock_lock *lock;
    struct told told;
    int64_t began_ms, acquired_ms;
    struct waiter next;
};

static void test_what_keeps_failing_loses_the_lock_at_the_end_of_the_lease(void **state)
{
    struct bench *b = *state;
    static struct trouble cases[] = {
        {.action = "\"blackhole\"", .cause = DYNALOCK_CAUSE_UNREACHABLE},
        {.action = "\"reset\"", .cause = DYNALOCK_CAUSE_UNREACHABLE},
        {.action = "\"throttle\"", .cause = DYNALOCK_CAUSE_THROTTLED},
        {.action = "\"status\"", .cause = DYNALOCK_CAUSE_SERVICE},
        {.action = "{\"do\":\"status\",\"status\":400,"
                   "\"type\":\"com.amazon.coral.service#AccessDeniedException\"}",
         .cause = DYNALOCK_CAUSE_CREDENTIALS},
        {.action = "{\"do\":\"status\",\"status\":400,"
                   "\"type\":\"com.amazon.coral.service#UnrecognizedClientException\"}",
         .cause = DYNALOCK_CAUSE_CREDENTIALS},
    };
    warm(bench_direct(b));
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct trouble *t = &cases[i];
        dynalock_lock_options options = {.ttl_ms = 4000, .on_lost = on_lost, .context = &t->told};
        t->key = bench_key(b);
        t->began_ms = monotonic_ms();
        t->lock = lock_take(b->store, t->key, options);
        t->acquired_ms = monotonic_ms();
        rig_fault(b->rig, "'match':{'op':'UpdateItem','key':'%s'},'times':-1,'action':%s", t->key,
                  t->action);
        options = (dynalock_lock_options){.poll_ms = 100};
        waiter_start(&t->next, lock_make(b->direct, t->key, options), -1, LONG_MS);
    }
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct trouble *t = &cases[i];
        assert_true(await_int(&t->told.times, 1));
        assert_int_equal(atomic_load(&t->told.cause), t->cause);
        assert_int_equal(dynalock_lock_cause(t->lock), t->cause);
        struct captured lost = capture_get(b->events, DYNALOCK_EVENT_LOST, t->key, 0);
        assert_int_equal(lost.cause, t->cause);
        assert_true(lost.at_ms >= t->began_ms + LEASE_MS);
        assert_true(lost.at_ms <= t->acquired_ms + LEASE_MS + 3000);
        assert_true(await_event(b, DYNALOCK_EVENT_RENEWAL_FAILED, t->key, 1));
    }
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct trouble *t = &cases[i];
        check(waiter_join(&t->next), 0);
        assert_true(t->next.ended_ms > t->began_ms + LEASE_MS);
        assert_true(dynalock_lock_token(t->next.lock) > dynalock_lock_token(t->lock));
        check(dynalock_lock_release(t->lock, &failure), DYNALOCK_ERR_LOST); /* not the other's */
        lock_end(t->next.lock);
        dynalock_lock_free(t->lock);
    }
}

static void test_what_fails_for_less_than_the_lease_loses_nothing(void **state)
{
    struct bench *b = *state;
    static const struct {
        const char *action;
        int times;
    } cases[] = {
        {"\"status\"", 3},
        {"\"throttle\"", 2},
        {"\"reset\"", 3},
        {"\"drop-before\"", 3},
        {"\"blackhole\"", 1},
        {"\"garbage\"", 2},
        {"\"truncate\"", 2},
        {"\"wrong-crc\"", 2},
        {"{\"do\":\"status\",\"status\":400,"
         "\"type\":\"com.amazon.coral.service#AccessDeniedException\"}",
         1},
    };
    dynalock_lock *locks[COUNT(cases)];
    const char *keys[COUNT(cases)];
    for (size_t i = 0; i < COUNT(cases); i++) {
        keys[i] = bench_key(b);
        locks[i] = lock_take(b->store, keys[i], (dynalock_lock_options){.ttl_ms = 6000});
        rig_fault(b->rig, "'match':{'op':'UpdateItem','key':'%s'},'times':%d,'action':%s", keys[i],
                  cases[i].times, cases[i].action);
    }
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_true(await_event(b, DYNALOCK_EVENT_RENEWED, keys[i], 1));
        /* On a connection that was kept libcurl sends again by itself, and nothing has failed. */
        bool is_reset = strcmp(cases[i].action, "\"reset\"") == 0;
        if ((capture_count(b->events, DYNALOCK_EVENT_RENEWAL_FAILED, keys[i]) < 1 && !is_reset) ||
            dynalock_lock_ensure(locks[i], 1, &failure) != 0) {
            fail_msg("%s", cases[i].action);
        }
        lock_end(locks[i]);
    }
    dynalock_counters counters;
    check(dynalock_store_counters(b->store, &counters), 0);
    assert_int_equal(counters.lost, 0);
    assert_true(counters.renewals_failed >= COUNT(cases));
}

static void test_after_an_unreachable_loss_release_removes_the_record(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(b->store, key, (dynalock_lock_options){.ttl_ms = 1500});

    rig_fault(b->rig, "'match':{'op':'UpdateItem'},'times':-1,'action':'blackhole'");
    assert_true(await_state(lock, DYNALOCK_LOCK_LOST));
    assert_true(is_there(b, key));
    check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_LOST);
    assert_false(is_there(b, key));
    dynalock_lock_free(lock);
}

/* ---- Callbacks -------------------------------------------------------------------------------- */

static void lost_then_acquire(dynalock_lock *lock, int cause, void *context)
{
    struct told *told = context;
    (void)cause;
    atomic_store(&told->result, dynalock_lock_acquire(lock, -1, 0, NULL));
    atomic_fetch_add(&told->done, 1);
}

static void lost_then_release(dynalock_lock *lock, int cause, void *context)
{
    struct told *told = context;
    (void)cause;
    atomic_store(&told->result, dynalock_lock_release(lock, NULL));
    atomic_fetch_add(&told->done, 1);
}

static void lost_then_free(dynalock_lock *lock, int cause, void *context)
{
    struct told *told = context;
    (void)cause;
    dynalock_lock_free(lock);
    atomic_fetch_add(&told->done, 1);
}

static void lost_then_close(dynalock_lock *lock, int cause, void *context)
{
    struct told *told = context;
    (void)lock;
    (void)cause;
    atomic_store(&told->result, dynalock_close(told->store));
    atomic_fetch_add(&told->done, 1);
}

static void test_a_callback_may_use_its_lock(void **state)
{
    struct bench *b = *state;
    static const struct {
        dynalock_lost_fn callback;
        int result;
        bool freed;
    } cases[] = {
        {lost_then_acquire, 0, false},
        {lost_then_release, DYNALOCK_ERR_LOST, false},
        {lost_then_free, 0, true},
        {lost_then_close, DYNALOCK_ERR_BUSY, false},
    };
    static struct told told[COUNT(cases)];
    dynalock_lock *locks[COUNT(cases)];
    for (size_t i = 0; i < COUNT(cases); i++) {
        told[i].store = b->store;
        locks[i] = lock_take(b->store, bench_key(b),
                             (dynalock_lock_options){.ttl_ms = 1500,
                                                     .renewal = DYNALOCK_RENEWAL_NONE,
                                                     .on_lost = cases[i].callback,
                                                     .context = &told[i]});
    }
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_true(await_int(&told[i].done, 1));
        assert_int_equal(atomic_load(&told[i].result), cases[i].result);
        if (!cases[i].freed) {
            dynalock_lock_free(locks[i]);
        }
    }
    check(dynalock_put(b->store, "k", dynalock_none(), NULL, &failure), 0); /* not closed */
}

struct slow {
    atomic_bool going;
    atomic_int began;
};

static void lost_then_block(dynalock_lock *lock, int cause, void *context)
{
    struct slow *slow = context;
    (void)lock;
    (void)cause;
    atomic_store(&slow->began, 1);
    while (atomic_load(&slow->going)) {
        sleep_ms(5);
    }
}

static void test_a_blocked_callback_delays_neither_renewals_nor_deadlines(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    static struct slow slow = {.going = true};
    dynalock_lock_options brief = {.ttl_ms = 1500,
                                   .renewal = DYNALOCK_RENEWAL_NONE,
                                   .on_lost = lost_then_block,
                                   .context = &slow};
    dynalock_lock *blocking = lock_take(b->store, bench_key(b), brief);
    dynalock_lock *renewed = lock_take(b->store, key, (dynalock_lock_options){.ttl_ms = 3000});
    int fd = -1;

    assert_true(await_int(&slow.began, 1));
    brief.on_lost = NULL;
    dynalock_lock *other = lock_take(b->store, bench_key(b), brief);
    check(dynalock_lock_lost_fd(other, &fd, &failure), 0);
    sleep_ms(3500); /* longer than the lease that is renewed */
    assert_true(readable(fd, 0));
    check(dynalock_lock_ensure(renewed, 1, &failure), 0);
    check(dynalock_lock_ensure(other, 0, &failure), DYNALOCK_ERR_LOST);
    atomic_store(&slow.going, false);
    dynalock_lock_free(blocking); /* waits for the callback */
    dynalock_lock_free(other);
    lock_end(renewed);
}

static void test_freeing_waits_for_a_callback_under_way(void **state)
{
    struct bench *b = *state;
    struct slow *slow = calloc(1, sizeof *slow);
    assert_non_null(slow);
    atomic_store(&slow->going, true);
    dynalock_lock *lock = lock_take(b->store, bench_key(b),
                                    (dynalock_lock_options){.ttl_ms = 1500,
                                                            .renewal = DYNALOCK_RENEWAL_NONE,
                                                            .on_lost = lost_then_block,
                                                            .context = slow});
    assert_true(await_int(&slow->began, 1));
    atomic_store(&slow->going, false);
    dynalock_lock_free(lock);
    free(slow); /* the sanitizers tell if it was still in use */
}

/* ---- Closing ---------------------------------------------------------------------------------- */

static void test_closing_releases_what_is_held_and_says_so(void **state)
{
    struct bench *b = *state;
    const char *keys[3];
    dynalock_lock *locks[3];
    static struct told told[3];
    for (int i = 0; i < 3; i++) {
        keys[i] = bench_key(b);
        locks[i] = lock_take(b->store, keys[i],
                             (dynalock_lock_options){
                                 .on_lost = on_lost, .context = &told[i], .keep_record = i == 2});
    }
    check(dynalock_close(b->store), 0);
    b->store = NULL;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(atomic_load(&told[i].times), 1);
        assert_int_equal(atomic_load(&told[i].cause), DYNALOCK_CAUSE_CLOSED);
        json_t *item = bench_item(b, keys[i]);
        if (i == 2) {
            assert_int_equal(item_number(item, "expires"), 1);
        } else {
            assert_null(item);
        }
        json_decref(item);
        check(dynalock_lock_ensure(locks[i], 0, &failure), DYNALOCK_ERR_CLOSED);
        dynalock_lock_free(locks[i]);
    }
}

static void test_closing_ends_in_its_time_though_nothing_answers(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = impatient(b);
    static struct told told;
    dynalock_lock *lock = lock_take(store, bench_key(b),
                                    (dynalock_lock_options){.on_lost = on_lost, .context = &told});

    rig_fault(b->rig, "'match':{'op':'DeleteItem'},'times':-1,'action':'blackhole'");
    int64_t began = monotonic_ms();
    check(dynalock_close(store), 0);
    assert_true(monotonic_ms() - began < 300 + 1500);
    assert_int_equal(atomic_load(&told.cause), DYNALOCK_CAUSE_CLOSED);
    dynalock_lock_free(lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOCK_TEST(test_a_lock_that_nobody_renews_is_lost),
        LOCK_TEST(test_after_a_loss_the_object_can_be_used_again),
        LOCK_TEST(test_a_failed_try_leaves_the_lost_descriptor_readable),
        LOCK_TEST(test_a_deleted_record_is_gone),
        LOCK_TEST(test_a_record_that_is_anothers_is_left_alone),
        LOCK_TEST(test_a_release_that_finds_anothers_record_leaves_it),
        LOCK_TEST(test_renewing_by_hand_tells_of_a_loss),
        LOCK_TEST(test_what_keeps_failing_loses_the_lock_at_the_end_of_the_lease),
        LOCK_TEST(test_what_fails_for_less_than_the_lease_loses_nothing),
        LOCK_TEST(test_after_an_unreachable_loss_release_removes_the_record),
        LOCK_TEST(test_a_callback_may_use_its_lock),
        LOCK_TEST(test_a_blocked_callback_delays_neither_renewals_nor_deadlines),
        LOCK_TEST(test_freeing_waits_for_a_callback_under_way),
        LOCK_TEST(test_closing_releases_what_is_held_and_says_so),
        LOCK_TEST(test_closing_ends_in_its_time_though_nothing_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
