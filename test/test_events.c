/* SPDX-License-Identifier: Apache-2.0 */
/* Acquisitions and releases that are started, and told of by events: how they end. */
#include "support_events.h"

#include <stdatomic.h>

static const dynalock_lock_options quick = {.poll_ms = 100};
static const dynalock_lock_options slow = {.poll_ms = 60000};

/* ---- To the end ------------------------------------------------------------------------------- */

static void test_a_lock_is_acquired_and_released_by_events(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    int mine = 0;
    dynalock_lock *lock = lock_make(b->store, key, (dynalock_lock_options){.context = &mine});

    no_event(b->store);
    dynalock_lock_event event = acquire_by_event(b->store, lock, 0, 0);
    assert_ptr_equal(event.context, &mine);
    assert_true(event.token > 0);
    assert_int_equal(event.token, dynalock_lock_token(lock));
    assert_int_equal(event.cause, DYNALOCK_CAUSE_NONE);
    check(dynalock_lock_ensure(lock, 1000, &failure), 0);
    assert_true(is_there(b, key));
    no_event(b->store);
    event = release_by_event(b->store, lock, 0);
    assert_ptr_equal(event.context, &mine);
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_IDLE);
    assert_false(is_there(b, key));
    no_event(b->store);
    dynalock_lock_free(lock);
}

static void test_what_is_started_waits_for_nothing_and_is_seen_in_the_locks_state(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(b->store, key, slow);

    rig_fault(b->rig, "'action':'hold','times':2");
    int64_t began = monotonic_ms();
    lock_start(lock, -1);
    assert_true(monotonic_ms() - began < AT_ONCE_MS);
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_ACQUIRING);
    assert_int_equal(dynalock_lock_remaining_ms(lock), 0);
    assert_true(rig_wait(b->rig, NULL, "held", 1, LONG_MS));
    no_event(b->store);
    rig_clear_faults(b->rig);
    rig_let_go(b->rig);
    check_event(next_event(b->store), lock, DYNALOCK_LOCK_EVENT_ACQUIRE, 0);

    rig_fault(b->rig, "'match':{'op':'DeleteItem'},'action':{'do':'hold','where':'request'}");
    began = monotonic_ms();
    check(dynalock_lock_release_start(lock, &failure), 0);
    assert_true(monotonic_ms() - began < AT_ONCE_MS);
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_RELEASING);
    check(dynalock_lock_ensure(lock, 0, &failure), DYNALOCK_ERR_NOT_HELD);
    assert_true(rig_wait(b->rig, "DeleteItem", "held", 1, LONG_MS));
    no_event(b->store);
    rig_let_go(b->rig);
    check_event(next_event(b->store), lock, DYNALOCK_LOCK_EVENT_RELEASE, 0);
    dynalock_lock_free(lock);
}

static int by_number(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* How many requests the proxy had at a time, at the most, of those it knows the end of. */
static int most_at_a_time(struct bench *b)
{
    static double came[1024];
    static double went[1024];
    json_t *log = rig_log(b->rig, NULL);
    size_t count = 0;
    int most = 0;
    for (size_t i = 0; i < json_array_size(log) && count < COUNT(came); i++) {
        const json_t *entry = json_array_get(log, i);
        if (json_is_number(json_object_get(entry, "answered_ms"))) {
            came[count] = json_number_value(json_object_get(entry, "arrived_ms"));
            went[count++] = json_number_value(json_object_get(entry, "answered_ms"));
        }
    }
    json_decref(log);
    qsort(came, count, sizeof *came, by_number);
    qsort(went, count, sizeof *went, by_number);
    for (size_t in = 0, out = 0; in < count; in++) {
        while (went[out] <= came[in]) {
            out++;
        }
        most = (int)(in + 1 - out) > most ? (int)(in + 1 - out) : most;
    }
    return most;
}

static void test_hundreds_are_acquired_and_released_on_one_thread_over_four_connections(
    void **state)
{
    enum { MANY = 300 };
    struct bench *b = *state;
    dynalock_store *store = narrow(b, 4);
    static dynalock_lock *locks[MANY];
    static bool told[MANY];
    dynalock_counters counters;

    memset(told, 0, sizeof told);
    for (int i = 0; i < MANY; i++) {
        locks[i] = lock_make(store, bench_key(b), (dynalock_lock_options){.context = &told[i]});
        lock_start(locks[i], 0);
    }
    for (int i = 0; i < MANY; i++) {
        dynalock_lock_event event = next_event(store);
        check_event(event, event.lock, DYNALOCK_LOCK_EVENT_ACQUIRE, 0);
        assert_true(event.token > 0);
        assert_false(*(bool *)event.context);
        *(bool *)event.context = true;
    }
    for (int i = 0; i < MANY; i++) {
        assert_true(told[i]);
        check(dynalock_lock_ensure(locks[i], 1, &failure), 0);
        check(dynalock_lock_release_start(locks[i], &failure), 0);
    }
    for (int i = 0; i < MANY; i++) {
        dynalock_lock_event event = next_event(store);
        check_event(event, event.lock, DYNALOCK_LOCK_EVENT_RELEASE, 0);
    }
    no_event(store);
    check(dynalock_store_counters(store, &counters), 0);
    assert_int_equal(counters.acquired, MANY);
    assert_int_equal(counters.released, MANY);
    assert_in_range(rig_connections(b->rig), 1, 4);
    assert_in_range(most_at_a_time(b), 2, 4);
    for (int i = 0; i < MANY; i++) {
        dynalock_lock_free(locks[i]);
    }
    dynalock_close(store);
}

static void test_locks_that_do_not_come_keep_no_others_waiting(void **state)
{
    enum { OTHERS = 20 };
    struct bench *b = *state;
    dynalock_store *store = narrow(b, 4);
    dynalock_lock *stuck[3];
    dynalock_lock *others[OTHERS];
    const char *const hangs = bench_key(b);
    const char *const throttled = bench_key(b);
    const char *const taken = bench_key(b);

    warm(store);
    bench_put_item(b, taken, ANOTHERS);
    rig_fault(b->rig, "'match':{'key':'%s'},'action':'hold','times':-1", hangs);
    rig_fault(b->rig, "'match':{'key':'%s'},'action':'throttle','times':-1", throttled);
    stuck[0] = lock_make(store, hangs, quick);
    stuck[1] = lock_make(store, throttled, quick);
    stuck[2] = lock_make(store, taken, quick);
    for (size_t i = 0; i < COUNT(stuck); i++) {
        lock_start(stuck[i], -1);
    }
    assert_true(rig_wait(b->rig, "PutItem", "held", 1, LONG_MS));
    assert_true(await_event(b, DYNALOCK_EVENT_WAITING, taken, 1));
    int64_t began = monotonic_ms();
    for (size_t i = 0; i < COUNT(others); i++) {
        others[i] = lock_make(store, bench_key(b), quick);
        lock_start(others[i], 0);
    }
    for (size_t i = 0; i < COUNT(others); i++) {
        dynalock_lock_event event = next_event(store);
        check_event(event, event.lock, DYNALOCK_LOCK_EVENT_ACQUIRE, 0);
    }
    assert_true(monotonic_ms() - began < 2 * AT_ONCE_MS);
    for (size_t i = 0; i < COUNT(stuck); i++) {
        assert_int_equal(dynalock_lock_state(stuck[i]), DYNALOCK_LOCK_ACQUIRING);
        dynalock_lock_free(stuck[i]);
    }
    for (size_t i = 0; i < COUNT(others); i++) {
        dynalock_lock_free(others[i]);
    }
    dynalock_close(store);
}

static void test_acquisitions_that_hang_keep_no_lock_from_being_renewed(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = narrow(b, 4);
    dynalock_lock *hang[8];
    dynalock_lock *held = lock_take(store, bench_key(b), (dynalock_lock_options){.ttl_ms = 2000});

    rig_fault(b->rig, "'match':{'op':'PutItem'},'action':'hold','times':-1");
    for (size_t i = 0; i < COUNT(hang); i++) {
        hang[i] = lock_make(store, bench_key(b), slow);
        lock_start(hang[i], -1);
    }
    assert_false(readable(event_fd(store), 3000)); /* no loss, and nothing else */
    check(dynalock_lock_ensure(held, 1, &failure), 0);
    rig_clear_faults(b->rig);
    rig_let_go(b->rig);
    for (size_t i = 0; i < COUNT(hang); i++) {
        dynalock_lock_event event = next_event(store);
        check_event(event, event.lock, DYNALOCK_LOCK_EVENT_ACQUIRE, 0);
    }
    for (size_t i = 0; i < COUNT(hang); i++) {
        dynalock_lock_free(hang[i]);
    }
    lock_end(held);
    dynalock_close(store);
}

static void test_a_released_record_is_kept_where_it_shall_be(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(b->store, key, (dynalock_lock_options){.keep_record = true});
    int64_t token = 0;

    for (int i = 0; i < 3; i++) {
        dynalock_lock_event event = acquire_by_event(b->store, lock, 0, 0);
        assert_true(event.token > token);
        token = event.token;
        release_by_event(b->store, lock, 0);
        assert_int_equal(expires_of(b, key), 1);
    }
    dynalock_lock_free(lock);
}

static void test_a_release_finds_a_renewal_whose_answer_was_lost(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_store *store = impatient(b);
    dynalock_lock *lock =
        lock_take(store, key, (dynalock_lock_options){.renewal = DYNALOCK_RENEWAL_NONE});

    rig_fault(b->rig, "'match':{'op':'UpdateItem'},'action':{'do':'status','forward':true}");
    check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_ERR_SERVICE);
    release_by_event(store, lock, 0);
    assert_false(is_there(b, key));
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_IDLE);
    dynalock_lock_free(lock);
    dynalock_close(store);
}

static void test_an_acquisition_waits_for_the_last_renewal_of_the_tenure_before(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(b->store, key, (dynalock_lock_options){.ttl_ms = 2000});
    int64_t token = dynalock_lock_token(lock);

    rig_fault(b->rig, "'match':{'op':'UpdateItem'},'action':'blackhole','times':-1");
    check_event(next_event(b->store), lock, DYNALOCK_LOCK_EVENT_LOST, DYNALOCK_ERR_LOST);
    dynalock_lock_event event = acquire_by_event(b->store, lock, LONG_MS, 0);
    assert_true(event.token > token);
    rig_clear_faults(b->rig);
    release_by_event(b->store, lock, 0);
    assert_false(is_there(b, key));
    dynalock_lock_free(lock);
}

/* ---- The wait --------------------------------------------------------------------------------- */

static void test_without_a_wait_it_is_tried_once(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *held = lock_take(bench_direct(b), key, (dynalock_lock_options){.holder = "Ada"});
    dynalock_lock *lock = lock_make(b->store, key, quick);

    warm(b->store);
    dynalock_lock_event event = acquire_by_event(b->store, lock, 0, DYNALOCK_ERR_NOT_ACQUIRED);
    assert_contains(event.error.message, "Ada");
    assert_int_equal(event.token, 0);
    assert_int_equal(event.error.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN, 0);
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_IDLE);
    assert_int_equal(bench_count(b, "PutItem"), 1);
    dynalock_lock_free(lock);
    lock_end(held);
}

static void test_the_limit_ends_the_wait(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *held = lock_take(bench_direct(b), key, slow);
    dynalock_lock *lock = lock_make(b->store, key, quick);

    int64_t began = monotonic_ms();
    acquire_by_event(b->store, lock, 700, DYNALOCK_ERR_NOT_ACQUIRED);
    assert_in_range((uintmax_t)(monotonic_ms() - began), 700, 700 + 2 * AT_ONCE_MS);
    dynalock_lock_free(lock);
    lock_end(held);
}

static void test_the_limit_is_kept_while_a_try_is_under_way(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *held = lock_take(bench_direct(b), key, slow);
    dynalock_lock *lock = lock_make(b->store, key, quick);

    warm(b->store);
    rig_fault(
        b->rig,
        "'match':{'op':'PutItem','nth':2},'times':-1,'action':{'do':'hold','where':'request'}");
    int64_t began = monotonic_ms();
    lock_start(lock, 800);
    dynalock_lock_event event = next_event(b->store);
    assert_int_not_equal(event.code, 0);
    assert_in_range((uintmax_t)(monotonic_ms() - began), 800, 800 + 2 * AT_ONCE_MS);
    assert_true(event.error.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN);
    lock_end(held);
    rig_clear_faults(b->rig);
    rig_let_go(b->rig); /* the try lands after all, and wins */
    assert_true(await_event(b, DYNALOCK_EVENT_CLEANED, key, 1));
    assert_true(await_gone(b, key));
    dynalock_lock_free(lock);
}

/* The one connection is busy with another lock's request when it is time for the second try. */
static void test_the_limit_is_kept_while_others_requests_come_first(void **state)
{
    struct bench *b = *state;
    const char *const taken = bench_key(b);
    const char *const hangs = bench_key(b);
    dynalock_store *store = narrow(b, 1);
    dynalock_lock *lock = lock_make(store, taken, (dynalock_lock_options){.poll_ms = 300});
    dynalock_lock *other = lock_make(store, hangs, slow);

    warm(store);
    bench_put_item(b, taken, ANOTHERS);
    rig_fault(b->rig, "'match':{'key':'%s'},'action':'hold','times':-1", hangs);
    int64_t began = monotonic_ms();
    lock_start(lock, 1000);
    assert_true(await_event(b, DYNALOCK_EVENT_WAITING, taken, 1));
    lock_start(other, -1);
    check_event(next_event(store), lock, DYNALOCK_LOCK_EVENT_ACQUIRE, DYNALOCK_ERR_NOT_ACQUIRED);
    assert_in_range((uintmax_t)(monotonic_ms() - began), 1000, 1000 + 2 * AT_ONCE_MS);
    dynalock_lock_free(other);
    dynalock_lock_free(lock);
    dynalock_close(store);
}

static void test_a_wait_for_ever_ends_when_the_holder_releases(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *held = lock_take(bench_direct(b), key, slow);
    dynalock_lock *lock = lock_make(b->store, key, quick);

    lock_start(lock, -1);
    assert_true(await_event(b, DYNALOCK_EVENT_WAITING, key, 3));
    no_event(b->store);
    int64_t token = dynalock_lock_token(held);
    lock_end(held);
    dynalock_lock_event event = next_event(b->store);
    check_event(event, lock, DYNALOCK_LOCK_EVENT_ACQUIRE, 0);
    assert_true(event.token > token);
    release_by_event(b->store, lock, 0);
    dynalock_lock_free(lock);
}

static void test_a_failing_service_does_not_end_the_wait(void **state)
{
    static const char *const faults[] = {"\"throttle\"", "\"drop-before\"",
                                         "{\"do\":\"status\",\"status\":500}"};
    struct bench *b = *state;
    dynalock_store *store = impatient(b);
    for (size_t i = 0; i < COUNT(faults); i++) {
        const char *key = bench_key(b);
        dynalock_lock *lock = lock_make(store, key, quick);
        rig_fault(b->rig, "'match':{'key':'%s'},'action':%s,'times':3", key, faults[i]);
        acquire_by_event(store, lock, -1, 0);
        release_by_event(store, lock, 0);
        dynalock_lock_free(lock);
    }
    dynalock_close(store);
}

static void test_what_will_not_go_away_ends_the_wait(void **state)
{
    struct bench *b = *state;
    dynalock_options options = bench_options(b);
    dynalock_store *store = NULL;
    check(dynalock_open("there-is-none", "p", &options, &store, &failure), 0);
    dynalock_lock *lock = lock_make(store, bench_key(b), quick);
    acquire_by_event(store, lock, -1, DYNALOCK_ERR_NO_TABLE);
    dynalock_lock_free(lock);
    dynalock_close(store);

    options.secret_access_key = "another";
    store = bench_open(b, &options);
    lock = lock_make(store, bench_key(b), quick);
    dynalock_lock_event event = acquire_by_event(store, lock, -1, DYNALOCK_ERR_NOT_AUTHORIZED);
    assert_int_equal(event.error.http_status, 400);
    assert_true(event.error.name[0] != '\0');
    dynalock_lock_free(lock);
    dynalock_close(store);
}

static void test_a_lost_answer_leaves_the_outcome_open_and_is_cleaned_up(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_store *store = impatient(b);
    dynalock_lock *lock = lock_make(store, key, quick);

    warm(store);
    rig_fault(b->rig, "'match':{'op':'PutItem'},'action':'drop'");
    dynalock_lock_event event = acquire_by_event(store, lock, 0, DYNALOCK_ERR_NETWORK);
    assert_true(event.error.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN);
    assert_true(await_event(b, DYNALOCK_EVENT_CLEANED, key, 1));
    assert_false(is_there(b, key));
    dynalock_lock_free(lock);
    dynalock_close(store);
}

static void test_a_failed_release_is_told_and_can_be_repeated(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_store *store = impatient(b);
    dynalock_lock *lock = lock_take(store, key, slow);

    rig_fault(b->rig, "'match':{'op':'DeleteItem'},'action':'throttle','times':2");
    dynalock_lock_event event = release_by_event(store, lock, DYNALOCK_ERR_THROTTLED);
    assert_true(event.error.flags & DYNALOCK_ERROR_THROTTLED);
    assert_string_equal(event.error.name, "ProvisionedThroughputExceededException");
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_RELEASING);
    release_by_event(store, lock, DYNALOCK_ERR_THROTTLED);
    assert_true(is_there(b, key));
    release_by_event(store, lock, 0);
    assert_false(is_there(b, key));
    dynalock_lock_free(lock);
    dynalock_close(store);
}

/* ---- What may not be ------------------------------------------------------------------------- */

static void all_are_busy(dynalock_lock *lock)
{
    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_ERR_BUSY);
    check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_ERR_BUSY);
    check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_BUSY);
    check(dynalock_lock_acquire_start(lock, 0, &failure), DYNALOCK_ERR_BUSY);
    check(dynalock_lock_release_start(lock, &failure), DYNALOCK_ERR_BUSY);
}

static void test_a_lock_is_busy_until_its_event_is_taken(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_make(b->store, bench_key(b), slow);

    rig_fault(b->rig, "'action':'hold'");
    lock_start(lock, 0);
    assert_true(rig_wait(b->rig, NULL, "held", 1, LONG_MS));
    all_are_busy(lock);
    rig_let_go(b->rig);
    assert_true(readable(event_fd(b->store), LONG_MS));
    all_are_busy(lock);
    check(dynalock_lock_ensure(lock, 1, &failure), 0); /* it is held all the same */
    check_event(next_event(b->store), lock, DYNALOCK_LOCK_EVENT_ACQUIRE, 0);
    check(dynalock_lock_renew(lock, 0, &failure), 0);

    rig_fault(b->rig, "'match':{'op':'DeleteItem'},'action':'hold'");
    check(dynalock_lock_release_start(lock, &failure), 0);
    assert_true(rig_wait(b->rig, "DeleteItem", "held", 1, LONG_MS));
    all_are_busy(lock);
    rig_let_go(b->rig);
    assert_true(readable(event_fd(b->store), LONG_MS));
    all_are_busy(lock);
    check_event(next_event(b->store), lock, DYNALOCK_LOCK_EVENT_RELEASE, 0);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    lock_end(lock);
}

static void test_a_held_lock_is_not_acquired_again(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_make(b->store, bench_key(b), slow);

    acquire_by_event(b->store, lock, 0, 0);
    check(dynalock_lock_acquire_start(lock, 0, &failure), DYNALOCK_ERR_BUSY);
    assert_contains(failure.message, "held");
    no_event(b->store);
    check(dynalock_lock_ensure(lock, 1, &failure), 0);
    release_by_event(b->store, lock, 0);
    dynalock_lock_free(lock);
}

static void test_what_is_not_held_is_not_released(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(b->store, key, (dynalock_lock_options){.ttl_ms = 3000});

    check(dynalock_lock_release_start(lock, &failure), DYNALOCK_ERR_NOT_HELD);
    acquire_by_event(b->store, lock, 0, 0);
    bench_put_item(b, key, ANOTHERS);
    assert_true(await_state(lock, DYNALOCK_LOCK_LOST));
    bench_reset(b);
    check(dynalock_lock_release_start(lock, &failure), DYNALOCK_ERR_LOST);
    assert_contains(failure.message, dynalock_cause_name(DYNALOCK_CAUSE_TAKEN_OVER));
    assert_int_equal(bench_count(b, NULL), 0);
    check(dynalock_lock_release_start(lock, &failure), DYNALOCK_ERR_NOT_HELD);
    no_event(b->store); /* the loss was not taken before the release */
    dynalock_lock_free(lock);
}

static void test_the_release_of_an_expired_lock_removes_its_record_and_tells_of_the_loss(
    void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(
        b->store, key, (dynalock_lock_options){.ttl_ms = 1500, .renewal = DYNALOCK_RENEWAL_NONE});

    acquire_by_event(b->store, lock, 0, 0);
    assert_true(await_state(lock, DYNALOCK_LOCK_LOST));
    dynalock_lock_event event = release_by_event(b->store, lock, DYNALOCK_ERR_LOST);
    assert_int_equal(event.cause, DYNALOCK_CAUSE_EXPIRED);
    assert_false(is_there(b, key));
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_IDLE);
    dynalock_lock_free(lock);
}

static void test_what_is_not_given_is_an_argument_error(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_make(b->store, bench_key(b), slow);
    dynalock_lock_event event;
    int fd = -1;

    check(dynalock_lock_acquire_start(NULL, 0, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_lock_release_start(NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_lock_cancel(NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_event_fd(NULL, &fd, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_event_fd(b->store, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_next_event(NULL, &event, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_next_event(b->store, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_lock_event_fd(NULL, &fd, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_lock_event_fd(lock, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_lock_next_event(NULL, &event, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_lock_next_event(lock, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    assert_int_equal(fd, -1);
    dynalock_lock_free(lock);
}

/* ---- Credentials ------------------------------------------------------------------------------ */

struct giver {
    atomic_int calls;
    int slow_ms, code;
    int first_ms; /* how long the first are good; 0: for ever, and they are as slow as all */
};

static int give(dynalock_credentials *credentials, void *context)
{
    struct giver *giver = context;
    bool is_first = atomic_fetch_add(&giver->calls, 1) == 0;
    if (is_first && giver->first_ms > 0) {
        credentials->expires_ms = real_ms() + giver->first_ms;
    } else {
        sleep_ms(giver->slow_ms);
    }
    credentials->access_key_id = RIG_KEY_ID;
    credentials->secret_access_key = RIG_SECRET;
    return giver->code;
}

static dynalock_store *giver_open(struct bench *b, struct giver *giver)
{
    dynalock_options options = bench_options(b);
    options.access_key_id = options.secret_access_key = NULL;
    options.credentials = give;
    options.credentials_context = giver;
    options.log = capture_log;
    options.log_context = b->events;
    return bench_open(b, &options);
}

static void test_fifty_wait_for_the_first_credentials_and_lose_no_poll(void **state)
{
    enum { FIFTY = 50 };
    struct bench *b = *state;
    struct giver giver = {.slow_ms = 300};
    dynalock_store *store = giver_open(b, &giver);
    dynalock_lock *locks[FIFTY];

    int64_t began = monotonic_ms();
    for (int i = 0; i < FIFTY; i++) {
        locks[i] = lock_make(store, bench_key(b), slow);
        lock_start(locks[i], 0);
    }
    assert_true(monotonic_ms() - began < AT_ONCE_MS);
    for (int i = 0; i < FIFTY; i++) {
        dynalock_lock_event event = next_event(store);
        check_event(event, event.lock, DYNALOCK_LOCK_EVENT_ACQUIRE, 0);
    }
    assert_true(monotonic_ms() - began >= 300);
    assert_true(monotonic_ms() - began < 300 + 2 * AT_ONCE_MS);
    assert_int_equal(atomic_load(&giver.calls), 1);
    for (int i = 0; i < FIFTY; i++) {
        dynalock_lock_free(locks[i]);
    }
    dynalock_close(store);
}

static void test_a_release_waits_for_credentials_that_are_coming(void **state)
{
    struct bench *b = *state;
    struct giver giver = {.slow_ms = 4000, .first_ms = 2000};
    dynalock_store *store = giver_open(b, &giver);
    const char *key = bench_key(b);
    int64_t end = real_ms() + giver.first_ms;
    dynalock_lock *lock = lock_take(store, key, (dynalock_lock_options){.ttl_ms = 30000});
    bool there = false;

    /* The next are asked for in the last half of their life, and are not there when it ends. */
    while (atomic_load(&giver.calls) < 2) {
        check(dynalock_exists(store, key, NULL, &there, &failure), 0);
        sleep_ms(20);
    }
    sleep_ms((int)(end + 100 - real_ms() > 0 ? end + 100 - real_ms() : 0));
    release_by_event(store, lock, 0);
    dynalock_lock_free(lock);
    dynalock_close(store);
}

static void test_what_waits_for_credentials_can_be_cancelled(void **state)
{
    struct bench *b = *state;
    struct giver giver = {.slow_ms = 1500};
    dynalock_store *store = giver_open(b, &giver);
    dynalock_lock *lock = lock_make(store, bench_key(b), slow);

    lock_start(lock, -1);
    cancel_by_event(store, lock);
    assert_int_equal(bench_count(b, NULL), 0);
    dynalock_lock_free(lock);
    dynalock_close(store);
}

static void test_where_there_are_no_credentials_the_event_says_so(void **state)
{
    struct bench *b = *state;
    struct giver giver = {.code = DYNALOCK_ERR_CREDENTIALS};
    dynalock_store *store = giver_open(b, &giver);
    dynalock_lock *lock = lock_make(store, bench_key(b), quick);
    acquire_by_event(store, lock, -1, DYNALOCK_ERR_CREDENTIALS);
    dynalock_lock_free(lock);
    dynalock_close(store);

    giver.code = DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE;
    store = giver_open(b, &giver);
    lock = lock_make(store, bench_key(b), quick);
    acquire_by_event(store, lock, 0, DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE);
    assert_int_equal(bench_count(b, NULL), 0);
    dynalock_lock_free(lock);
    dynalock_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOCK_TEST(test_a_lock_is_acquired_and_released_by_events),
        LOCK_TEST(test_what_is_started_waits_for_nothing_and_is_seen_in_the_locks_state),
        LOCK_TEST(test_hundreds_are_acquired_and_released_on_one_thread_over_four_connections),
        LOCK_TEST(test_locks_that_do_not_come_keep_no_others_waiting),
        LOCK_TEST(test_acquisitions_that_hang_keep_no_lock_from_being_renewed),
        LOCK_TEST(test_a_released_record_is_kept_where_it_shall_be),
        LOCK_TEST(test_a_release_finds_a_renewal_whose_answer_was_lost),
        LOCK_TEST(test_an_acquisition_waits_for_the_last_renewal_of_the_tenure_before),
        LOCK_TEST(test_without_a_wait_it_is_tried_once),
        LOCK_TEST(test_the_limit_ends_the_wait),
        LOCK_TEST(test_the_limit_is_kept_while_a_try_is_under_way),
        LOCK_TEST(test_the_limit_is_kept_while_others_requests_come_first),
        LOCK_TEST(test_a_wait_for_ever_ends_when_the_holder_releases),
        LOCK_TEST(test_a_failing_service_does_not_end_the_wait),
        LOCK_TEST(test_what_will_not_go_away_ends_the_wait),
        LOCK_TEST(test_a_lost_answer_leaves_the_outcome_open_and_is_cleaned_up),
        LOCK_TEST(test_a_failed_release_is_told_and_can_be_repeated),
        LOCK_TEST(test_a_lock_is_busy_until_its_event_is_taken),
        LOCK_TEST(test_a_held_lock_is_not_acquired_again),
        LOCK_TEST(test_what_is_not_held_is_not_released),
        LOCK_TEST(test_the_release_of_an_expired_lock_removes_its_record_and_tells_of_the_loss),
        LOCK_TEST(test_what_is_not_given_is_an_argument_error),
        LOCK_TEST(test_fifty_wait_for_the_first_credentials_and_lose_no_poll),
        LOCK_TEST(test_a_release_waits_for_credentials_that_are_coming),
        LOCK_TEST(test_what_waits_for_credentials_can_be_cancelled),
        LOCK_TEST(test_where_there_are_no_credentials_the_event_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
