/* SPDX-License-Identifier: Apache-2.0 */
/* What ends an acquisition or a release that was started before its time: cancelling it, freeing its lock, closing. */
#include "support_events.h"

static const dynalock_lock_options quick = {.poll_ms = 100};
static const dynalock_lock_options slow = {.poll_ms = 60000};

/* ---- Cancelling ------------------------------------------------------------------------------- */

static void test_cancelling_ends_the_wait_at_once(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *held = lock_take(bench_direct(b), key, slow);
    dynalock_lock *lock = lock_make(b->store, key, slow);

    for (int i = 1; i <= 2; i++) {
        lock_start(lock, -1);
        assert_true(await_event(b, DYNALOCK_EVENT_WAITING, key, i));
        dynalock_lock_event event = cancel_by_event(b->store, lock);
        assert_int_equal(event.error.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN, 0);
    }
    no_event(b->store);
    dynalock_lock_free(lock);
    lock_end(held);
}

/* A try is cancelled before it is answered, and then goes on without its caller. */
static void cancel_in_flight(struct bench *b, const char *fault, bool keep_record)
{
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(
        b->store, key, (dynalock_lock_options){.ttl_ms = LONG_MS, .keep_record = keep_record});

    in_flight_begin(b, "PutItem", key, fault);
    lock_start(lock, -1);
    in_flight_await(b, "PutItem", fault);
    cancel_by_event(b->store, lock);
    in_flight_end(b);
    assert_true(await_event(b, DYNALOCK_EVENT_CLEANED, key, 1));
    if (expires_of(b, key) != (keep_record ? 1 : 0)) {
        fail_msg("%s leaves a record", fault);
    }
    dynalock_lock *next = lock_take(bench_direct(b), key, slow);
    lock_end(next);
    dynalock_lock_free(lock);
}

static void test_what_a_cancelled_try_wins_is_removed(void **state)
{
    end_with_each_fault(*state, cancel_in_flight);
}

static void test_a_cancelled_read_leaves_nothing(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(b->store, key, slow);

    rig_fault(b->rig, "'match':{'op':'GetItem'},'action':'hold'"); /* its time is not known yet */
    lock_start(lock, -1);
    assert_true(rig_wait(b->rig, "GetItem", "held", 1, LONG_MS));
    dynalock_lock_event event = cancel_by_event(b->store, lock);
    assert_int_equal(event.error.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN, 0);
    rig_let_go(b->rig);
    acquire_by_event(b->store, lock, 0, 0);
    release_by_event(b->store, lock, 0);
    dynalock_lock_free(lock);
}

/* The answers to its requests are lost; between two of them, the outcome is open as well. */
static void test_what_is_cancelled_between_two_attempts_is_cleaned_up(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_options options = bench_options(b);
    options.max_attempts = 100;
    options.log = capture_log;
    options.log_context = b->events;
    dynalock_store *store = bench_open(b, &options);
    dynalock_lock *lock = lock_make(store, key, slow);

    warm(store);
    rig_fault(b->rig, "'match':{'op':'PutItem'},'action':'drop','times':-1");
    lock_start(lock, -1);
    assert_true(await_event(b, DYNALOCK_EVENT_RETRY, key, 4));
    dynalock_lock_event event = cancel_by_event(store, lock);
    assert_true(event.error.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN);
    assert_true(await_event(b, DYNALOCK_EVENT_CLEANED, key, 1));
    assert_false(is_there(b, key));
    dynalock_lock_free(lock);
    dynalock_close(store);
}

/* A write that was not answered has been seen since, and is not open any more: the keeper does not look for a
 * second record. */
static void test_what_was_found_before_the_end_is_not_looked_for_again(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_store *store = impatient(b);
    dynalock_lock *lock = lock_make(store, key, quick);

    rig_fault(b->rig, "'match':{'op':'PutItem','key':'%s'},'action':{'do':'status','forward':true}",
              key);
    /* Of the second try: the first is refused for the record, the second writes it anew. */
    rig_fault(b->rig, "'match':{'op':'PutItem','key':'%s','nth':2},'action':'hold'", key);
    lock_start(lock, -1);
    assert_true(rig_wait(b->rig, "PutItem", "held", 1, LONG_MS));
    cancel_by_event(store, lock);
    rig_let_go(b->rig);
    assert_true(await_event(b, DYNALOCK_EVENT_CLEANED, key, 1));
    assert_false(is_there(b, key));
    dynalock_lock_free(lock);
    dynalock_close(store);
}

static void test_what_is_cancelled_before_its_turn_sends_nothing(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = narrow(b, 1);
    const char *const hangs = bench_key(b);
    dynalock_lock *first = lock_make(store, hangs, slow);
    dynalock_lock *second = lock_make(store, bench_key(b), slow);

    rig_fault(b->rig, "'match':{'key':'%s'},'action':'hold','times':-1", hangs);
    lock_start(first, -1);
    assert_true(rig_wait(b->rig, NULL, "held", 1, LONG_MS));
    lock_start(second, 0);
    dynalock_lock_event event = cancel_by_event(store, second);
    assert_int_equal(event.error.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN, 0);
    lock_start(second, 0); /* and at once, before anything can have come of it */
    cancel_by_event(store, second);
    assert_int_equal(bench_count(b, NULL), 1);
    dynalock_lock_free(first);
    dynalock_lock_free(second);
    dynalock_close(store);
}

static void test_a_cancelled_try_does_not_disturb_the_next(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_store *store = impatient(b);
    dynalock_lock *lock = lock_make(store, key, quick);

    warm(store);
    rig_fault(b->rig, "'match':{'op':'PutItem'},'action':'hold'");
    lock_start(lock, -1);
    assert_true(rig_wait(b->rig, "PutItem", "held", 1, LONG_MS));
    cancel_by_event(store, lock);
    int64_t token = acquire_by_event(store, lock, 0, 0).token; /* its own tenure before: at once */
    rig_let_go(b->rig);
    assert_true(rig_wait(b->rig, "DeleteItem", "finished", 1, LONG_MS)); /* the keeper's */
    assert_true(await_event(b, DYNALOCK_EVENT_CLEANED, key, 1));
    json_t *item = bench_item(b, key);
    assert_non_null(item);
    assert_int_equal(item_number(item, "version"), token);
    json_decref(item);
    release_by_event(store, lock, 0);
    dynalock_lock_free(lock);
    dynalock_close(store);
}

static void test_cancelling_what_was_acquired_before_changes_nothing(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(b->store, key, slow);

    lock_start(lock, -1);
    assert_true(readable(event_fd(b->store), LONG_MS));
    check(dynalock_lock_cancel(lock, &failure), 0);
    check_event(next_event(b->store), lock, DYNALOCK_LOCK_EVENT_ACQUIRE, 0);
    check(dynalock_lock_cancel(lock, &failure), 0);
    check(dynalock_lock_ensure(lock, 1, &failure), 0);
    assert_true(is_there(b, key));
    release_by_event(b->store, lock, 0);
    dynalock_lock_free(lock);
}

static void test_cancelling_nothing_does_nothing(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_make(b->store, bench_key(b), slow);

    check(dynalock_lock_cancel(lock, &failure), 0); /* nothing was ever started */
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    check(dynalock_lock_cancel(lock, &failure), 0);
    rig_fault(b->rig, "'match':{'op':'DeleteItem'},'action':'hold'");
    check(dynalock_lock_release_start(lock, &failure), 0);
    assert_true(rig_wait(b->rig, "DeleteItem", "held", 1, LONG_MS));
    check(dynalock_lock_cancel(lock, &failure), 0); /* a release is final */
    no_event(b->store);
    rig_let_go(b->rig);
    check_event(next_event(b->store), lock, DYNALOCK_LOCK_EVENT_RELEASE, 0);
    check(dynalock_lock_cancel(lock, &failure), 0);
    no_event(b->store);
    dynalock_lock_free(lock);
}

static void test_cancelling_does_not_touch_an_acquisition_in_another_thread(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *held = lock_take(bench_direct(b), key, slow);
    dynalock_lock *lock = lock_make(b->store, key, quick);
    struct waiter w;

    waiter_start(&w, lock, -1, -1);
    assert_true(await_event(b, DYNALOCK_EVENT_WAITING, key, 1));
    check(dynalock_lock_cancel(lock, &failure), 0);
    check(dynalock_lock_acquire_start(lock, 0, &failure), DYNALOCK_ERR_BUSY);
    check(dynalock_lock_release_start(lock, &failure), DYNALOCK_ERR_BUSY);
    lock_end(held);
    check(waiter_join(&w), 0);
    no_event(b->store);
    lock_end(lock);
}

/* ---- Freeing and closing ---------------------------------------------------------------------- */

static void test_freeing_ends_an_acquisition_and_removes_what_it_wins(void **state)
{
    struct bench *b = *state;
    static const char *const faults[] = {"\"hold\"", "\"hold\",\"where\":\"request\"", "\"drop\""};
    warm(b->store);
    for (size_t i = 0; i < COUNT(faults); i++) {
        const char *key = bench_key(b);
        dynalock_lock *lock = lock_make(b->store, key, slow);
        in_flight_begin(b, "PutItem", key, faults[i]);
        lock_start(lock, -1);
        in_flight_await(b, "PutItem", faults[i]);
        int64_t began = monotonic_ms();
        dynalock_lock_free(lock);
        assert_true(monotonic_ms() - began < AT_ONCE_MS);
        in_flight_end(b);
        assert_true(await_event(b, DYNALOCK_EVENT_CLEANED, key, 1));
        assert_false(is_there(b, key));
    }
    no_event(b->store);
}

static void test_freeing_a_lock_that_waits_leaves_the_holder_alone(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *held = lock_take(bench_direct(b), key, slow);
    dynalock_lock *lock = lock_make(b->store, key, quick);

    lock_start(lock, -1);
    assert_true(await_event(b, DYNALOCK_EVENT_WAITING, key, 1));
    dynalock_lock_free(lock);
    no_event(b->store);
    check(dynalock_lock_ensure(held, 1, &failure), 0);
    lock_end(held);
}

static void test_freeing_amid_a_release_goes_on_with_it(void **state)
{
    struct bench *b = *state;
    static const char *const faults[] = {"\"hold\"", "\"hold\",\"where\":\"request\"", "\"drop\"",
                                         "\"throttle\"", "\"drop-before\""};
    dynalock_store *store = impatient(b);
    for (size_t i = 0; i < COUNT(faults); i++) {
        const char *key = bench_key(b);
        dynalock_lock *lock = lock_take(store, key, slow);
        in_flight_begin(b, "DeleteItem", key, faults[i]);
        check(dynalock_lock_release_start(lock, &failure), 0);
        in_flight_await(b, "DeleteItem", faults[i]);
        dynalock_lock_free(lock);
        in_flight_end(b);
        assert_true(await_gone(b, key));
    }
    no_event(store);
    dynalock_close(store);
}

static void test_of_a_freed_lock_no_event_is_taken(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(b->store, key, slow);
    dynalock_lock *other = lock_make(b->store, bench_key(b), slow);

    lock_start(lock, 0);
    assert_true(readable(event_fd(b->store), LONG_MS));
    dynalock_lock_free(lock);
    no_event(b->store);
    assert_true(await_gone(b, key)); /* it was held */
    acquire_by_event(b->store, other, 0, 0);
    dynalock_lock_free(other);
}

/* What goes on when a store is closed. */
enum { CLOSE_WAITING, CLOSE_ASKING, CLOSE_QUEUED, CLOSE_ACQUIRED, CLOSE_RELEASING, CLOSE_WAYS };

static void close_amid(struct bench *b, int way)
{
    const char *key = bench_key(b);
    const char *const hangs = bench_key(b);
    dynalock_store *store = narrow(b, way == CLOSE_QUEUED ? 1 : 4);
    dynalock_lock *lock = lock_make(store, key, quick);
    dynalock_lock *first = lock_make(store, hangs, slow);

    warm(store);
    rig_reset_counts(b->rig);
    if (way == CLOSE_WAITING) {
        bench_put_item(b, key, ANOTHERS);
        lock_start(lock, -1);
        assert_true(await_event(b, DYNALOCK_EVENT_WAITING, key, 1));
    } else if (way == CLOSE_ASKING) {
        rig_fault(b->rig, "'match':{'key':'%s'},'action':{'do':'delay','ms':300}", key);
        lock_start(lock, -1);
        assert_true(rig_wait(b->rig, "PutItem", "arrived", 1, LONG_MS));
    } else if (way == CLOSE_QUEUED) {
        rig_fault(b->rig, "'match':{'key':'%s'},'action':'hold','times':-1", hangs);
        lock_start(first, -1);
        assert_true(rig_wait(b->rig, NULL, "held", 1, LONG_MS));
        lock_start(lock, -1);
    } else {
        lock_start(lock, -1);
        assert_true(readable(event_fd(store), LONG_MS));
    }
    if (way == CLOSE_RELEASING) {
        (void)next_event(store);
        rig_fault(b->rig, "'match':{'key':'%s'},'action':{'do':'delay','ms':300}", key);
        check(dynalock_lock_release_start(lock, &failure), 0);
        assert_true(rig_wait(b->rig, "DeleteItem", "arrived", 1, LONG_MS));
    }
    int64_t began = monotonic_ms();
    check(dynalock_close(store), 0);
    assert_true(monotonic_ms() - began < 1000 + AT_ONCE_MS);
    check(dynalock_lock_cancel(lock, &failure), DYNALOCK_ERR_CLOSED);
    if (is_there(b, key) != (way == CLOSE_WAITING)) {
        fail_msg("closing leaves a record, or takes another's: way %d", way);
    }
    dynalock_lock_free(lock);
    dynalock_lock_free(first);
    rig_let_go(b->rig);
}

static void test_closing_ends_what_is_started_and_leaves_no_record(void **state)
{
    for (int way = 0; way < CLOSE_WAYS; way++) {
        close_amid(*state, way);
    }
}

static void test_closing_at_any_moment_leaves_no_record(void **state)
{
    enum { MANY = 8, TIMES = 24 };
    struct bench *b = *state;
    for (int i = 0; i < TIMES; i++) {
        dynalock_store *store = narrow(b, 4);
        dynalock_lock *locks[MANY];
        const char *keys[MANY];
        for (int n = 0; n < MANY; n++) {
            keys[n] = bench_key(b);
            locks[n] = lock_make(store, keys[n], slow);
            lock_start(locks[n], -1);
        }
        sleep_ms(i % 12);
        check(dynalock_close(store), 0);
        for (int n = 0; n < MANY; n++) {
            if (is_there(b, keys[n])) {
                fail_msg("a record is left after closing %d ms after the start", i % 12);
            }
            dynalock_lock_free(locks[n]);
        }
    }
}

static void test_closing_does_not_wait_longer_for_an_answer_that_does_not_come(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = impatient(b);
    dynalock_lock *lock = lock_make(store, bench_key(b), slow);
    dynalock_lock *other = lock_take(store, bench_key(b), slow);

    rig_fault(b->rig, "'action':'hold','times':-1");
    lock_start(lock, -1);
    check(dynalock_lock_release_start(other, &failure), 0);
    assert_true(rig_wait(b->rig, "DeleteItem", "held", 1, LONG_MS));
    assert_true(rig_wait(b->rig, NULL, "held", 2, LONG_MS));
    int64_t began = monotonic_ms();
    check(dynalock_close(store), 0);
    assert_true(monotonic_ms() - began < 300 + AT_ONCE_MS);
    dynalock_lock_free(lock);
    dynalock_lock_free(other);
}

/* A release waits for a renewal that hangs, and cleanups for their next look, when the time is over. */
static void test_closing_amid_all_that_waits_touches_nothing_that_is_gone(void **state)
{
    enum { FREED = 12 };
    struct bench *b = *state;
    dynalock_store *store = impatient(b);
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(store, key, (dynalock_lock_options){.ttl_ms = 6000});
    dynalock_lock *freed[FREED];
    for (int i = 0; i < FREED; i++) {
        freed[i] = lock_take(store, bench_key(b), slow);
    }
    rig_reset_counts(b->rig);
    rig_fault(b->rig, "'match':{'op':'UpdateItem','key':'%s'},'action':'hold','times':-1", key);
    static const char *const cleaning[] = {"DeleteItem", "GetItem"};
    for (size_t i = 0; i < COUNT(cleaning); i++) {
        rig_fault(b->rig,
                  "'match':{'op':'%s'},'times':-1,'action':{'do':'status','status':400,"
                  "'type':'com.amazon.coral.validate#ValidationException'}",
                  cleaning[i]);
    }
    assert_true(rig_wait(b->rig, "UpdateItem", "held", 1, LONG_MS));
    for (int i = 0; i < FREED; i++) {
        dynalock_lock_free(freed[i]);
    }
    assert_true(rig_wait(b->rig, "DeleteItem", "arrived", FREED, LONG_MS));
    check(dynalock_lock_release_start(lock, &failure), 0);
    sleep_ms(100); /* until their timers are set */
    check(dynalock_close(store), 0);
    dynalock_lock_free(lock);
}

static void test_after_closing_every_function_says_so(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_make(b->store, bench_key(b), slow);
    dynalock_lock_event event;
    int fd = -1;

    (void)lock_event_fd(lock);
    lock_start(lock, -1);
    check(dynalock_close(b->store), 0);
    b->store = NULL;
    check(dynalock_lock_acquire_start(lock, 0, &failure), DYNALOCK_ERR_CLOSED);
    check(dynalock_lock_release_start(lock, &failure), DYNALOCK_ERR_CLOSED);
    check(dynalock_lock_cancel(lock, &failure), DYNALOCK_ERR_CLOSED);
    check(dynalock_lock_event_fd(lock, &fd, &failure), DYNALOCK_ERR_CLOSED);
    check(dynalock_lock_next_event(lock, &event, &failure), DYNALOCK_ERR_CLOSED);
    assert_int_equal(fd, -1);
    dynalock_lock_free(lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOCK_TEST(test_cancelling_ends_the_wait_at_once),
        LOCK_TEST(test_what_a_cancelled_try_wins_is_removed),
        LOCK_TEST(test_a_cancelled_read_leaves_nothing),
        LOCK_TEST(test_what_is_cancelled_between_two_attempts_is_cleaned_up),
        LOCK_TEST(test_what_was_found_before_the_end_is_not_looked_for_again),
        LOCK_TEST(test_what_is_cancelled_before_its_turn_sends_nothing),
        LOCK_TEST(test_a_cancelled_try_does_not_disturb_the_next),
        LOCK_TEST(test_cancelling_what_was_acquired_before_changes_nothing),
        LOCK_TEST(test_cancelling_nothing_does_nothing),
        LOCK_TEST(test_cancelling_does_not_touch_an_acquisition_in_another_thread),
        LOCK_TEST(test_freeing_ends_an_acquisition_and_removes_what_it_wins),
        LOCK_TEST(test_freeing_a_lock_that_waits_leaves_the_holder_alone),
        LOCK_TEST(test_freeing_amid_a_release_goes_on_with_it),
        LOCK_TEST(test_of_a_freed_lock_no_event_is_taken),
        LOCK_TEST(test_closing_ends_what_is_started_and_leaves_no_record),
        LOCK_TEST(test_closing_at_any_moment_leaves_no_record),
        LOCK_TEST(test_closing_does_not_wait_longer_for_an_answer_that_does_not_come),
        LOCK_TEST(test_closing_amid_all_that_waits_touches_nothing_that_is_gone),
        LOCK_TEST(test_after_closing_every_function_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
