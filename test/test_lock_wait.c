/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for a lock: how often it looks, what ends it, and what a try that was given up leaves. */
#include "support_lock.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define AT_ONCE_MS 2000 /* at once, on a machine under load; a twentieth of it is usual */

static const dynalock_lock_options quick = {.poll_ms = 100};
static const dynalock_lock_options slow = {.poll_ms = 60000};

/* ---- Stopping --------------------------------------------------------------------------------- */

struct stop {
    int fd, write_fd; /* write_fd -1: fd is an eventfd */
};

enum { STOP_BY_BYTE, STOP_BY_CLOSING, STOP_BY_EVENT, STOP_KINDS };

static struct stop stop_new(int kind)
{
    int fds[2] = {-1, -1};
    if (kind == STOP_BY_EVENT) {
        fds[0] = eventfd(0, EFD_CLOEXEC);
    } else {
        assert_int_equal(pipe(fds), 0);
    }
    return (struct stop){fds[0], fds[1]};
}

static void stop_now(struct stop *stop, int kind)
{
    const uint64_t one = 1;
    if (kind == STOP_BY_CLOSING) {
        close(stop->write_fd);
        stop->write_fd = -1;
    } else {
        int fd = kind == STOP_BY_EVENT ? stop->fd : stop->write_fd;
        assert_int_equal(write(fd, &one, sizeof one), sizeof one);
    }
}

static void stop_free(struct stop *stop)
{
    close(stop->fd);
    if (stop->write_fd >= 0) {
        close(stop->write_fd);
    }
}

static void test_a_stop_before_the_start_sends_nothing(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_make(b->store, bench_key(b), slow);

    for (int kind = 0; kind < STOP_KINDS; kind++) {
        struct stop stop = stop_new(kind);
        stop_now(&stop, kind);
        check(dynalock_lock_acquire(lock, stop.fd, -1, &failure), DYNALOCK_ERR_CANCELLED);
        assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_IDLE);
        stop_free(&stop);
    }
    assert_int_equal(bench_count(b, NULL), 0);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    lock_end(lock);
}

static void test_a_stop_ends_the_wait_at_once(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *held = lock_take(bench_direct(b), key, slow);
    dynalock_lock *lock = lock_make(b->store, key, slow);

    for (int kind = 0; kind < STOP_KINDS; kind++) {
        struct stop stop = stop_new(kind);
        struct waiter w;
        waiter_start(&w, lock, stop.fd, -1);
        assert_true(await_event(b, DYNALOCK_EVENT_WAITING, key, kind + 1));
        int64_t stopped = monotonic_ms();
        stop_now(&stop, kind);
        check(waiter_join(&w), DYNALOCK_ERR_CANCELLED);
        assert_true(w.ended_ms - stopped < AT_ONCE_MS);
        assert_int_equal(w.error.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN, 0);
        assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_IDLE);
        stop_free(&stop);
    }
    dynalock_lock_free(lock);
    lock_end(held);
}

/* A try is stopped before it is answered, and then goes on without its caller. */
static void stop_in_flight(struct bench *b, const char *fault, bool keep_record)
{
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(
        b->store, key, (dynalock_lock_options){.ttl_ms = LONG_MS, .keep_record = keep_record});
    struct stop stop = stop_new(STOP_BY_BYTE);
    struct waiter w;

    in_flight_begin(b, "PutItem", key, fault);
    waiter_start(&w, lock, stop.fd, -1);
    in_flight_await(b, "PutItem", fault);
    int64_t stopped = monotonic_ms();
    stop_now(&stop, STOP_BY_BYTE);
    check(waiter_join(&w), DYNALOCK_ERR_CANCELLED);
    assert_true(w.ended_ms - stopped < AT_ONCE_MS);
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_IDLE);
    assert_int_equal(dynalock_lock_remaining_ms(lock), 0);
    in_flight_end(b);
    assert_true(await_event(b, DYNALOCK_EVENT_CLEANED, key, 1));
    json_t *item = bench_item(b, key);
    if (item != NULL && (!keep_record || item_number(item, "expires") != 1)) {
        fail_msg("%s leaves a record", fault);
    }
    json_decref(item);
    dynalock_lock_free(lock);
    stop_free(&stop);
}

static void test_what_a_stopped_try_wins_is_removed(void **state)
{
    end_with_each_fault(*state, stop_in_flight);
}

static void test_a_stopped_try_does_not_disturb_the_next(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_store *store = impatient(b);
    dynalock_lock *lock = lock_make(store, key, quick);
    struct stop stop = stop_new(STOP_BY_BYTE);
    struct waiter w;

    rig_fault(b->rig, "'match':{'op':'PutItem'},'action':'hold'");
    waiter_start(&w, lock, stop.fd, -1);
    assert_true(rig_wait(b->rig, "PutItem", "held", 1, LONG_MS));
    stop_now(&stop, STOP_BY_BYTE);
    check(waiter_join(&w), DYNALOCK_ERR_CANCELLED);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0); /* its own finished tenure: at once */
    int64_t token = dynalock_lock_token(lock);
    rig_let_go(b->rig);
    assert_true(rig_wait(b->rig, "DeleteItem", "finished", 1, LONG_MS)); /* the keeper's */
    assert_true(await_event(b, DYNALOCK_EVENT_CLEANED, key, 1));
    json_t *item = bench_item(b, key);
    assert_non_null(item);
    assert_int_equal(item_number(item, "version"), token);
    json_decref(item);
    lock_end(lock);
    dynalock_close(store);
    stop_free(&stop);
}

/* The first try's record is seen by the second, which can write nothing over it. */
static void test_what_was_won_and_seen_but_never_held_is_removed(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_store *store = impatient(b);
    dynalock_lock *lock = lock_make(store, key, quick);

    rig_fault(b->rig, "'match':{'op':'PutItem','key':'%s'},'action':{'do':'status','forward':true}",
              key);
    rig_fault(b->rig, "'match':{'op':'PutItem','key':'%s','nth':2},'times':-1,'action':'throttle'",
              key);
    int code = dynalock_lock_acquire(lock, -1, 3000, &failure);
    /* The last try has what is left of the time: too little for an answer, where the machine is busy. */
    assert_true(code == DYNALOCK_ERR_THROTTLED || code == DYNALOCK_ERR_TIMEOUT);
    assert_true(failure.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN);
    assert_true(await_event(b, DYNALOCK_EVENT_CLEANED, key, 1));
    assert_false(is_there(b, key));
    dynalock_lock_free(lock);
    dynalock_close(store);
}

/* ---- The limit -------------------------------------------------------------------------------- */

static void test_the_limit_ends_the_wait(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *held = lock_take(b->store, key, slow);
    dynalock_lock *lock = lock_make(b->store, key, quick);
    int64_t began = monotonic_ms();

    check(dynalock_lock_acquire(lock, -1, 700, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
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
    struct waiter w;

    warm(b->store);
    rig_fault(
        b->rig,
        "'match':{'op':'PutItem','nth':2},'times':-1,'action':{'do':'hold','where':'request'}");
    waiter_start(&w, lock, -1, 800);
    assert_true(rig_wait(b->rig, "PutItem", "held", 1, LONG_MS));
    assert_int_not_equal(waiter_join(&w), 0);
    assert_in_range((uintmax_t)(w.ended_ms - w.began_ms), 800, 800 + 2 * AT_ONCE_MS);
    assert_true(w.error.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN);
    lock_end(held);
    rig_clear_faults(b->rig);
    rig_let_go(b->rig); /* the try lands after all, and wins */
    assert_true(await_event(b, DYNALOCK_EVENT_CLEANED, key, 1));
    assert_true(await_gone(b, key));
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_IDLE);
    dynalock_lock_free(lock);
}

static void test_there_is_a_last_try_before_the_limit(void **state)
{
    struct bench *b = *state;
    int code = DYNALOCK_ERR_NOT_ACQUIRED;

    /* It is 300 ms before it, and left out where the machine lets those pass. */
    for (int i = 0; i < 4 && code == DYNALOCK_ERR_NOT_ACQUIRED; i++) {
        const char *key = bench_key(b);
        dynalock_lock *held = lock_take(bench_direct(b), key, slow);
        dynalock_lock *lock = lock_make(b->store, key, slow);
        struct waiter w;
        waiter_start(&w, lock, -1, 2500);
        assert_true(await_event(b, DYNALOCK_EVENT_WAITING, key, 1));
        lock_end(held);
        code = waiter_join(&w);
        dynalock_lock_free(lock);
    }
    assert_int_equal(code, 0);
}

/* ---- Looking again ---------------------------------------------------------------------------- */

/* The times of the waiter's tries, as the proxy saw them. */
static size_t arrivals(struct bench *b, double *times, size_t most)
{
    json_t *log = rig_log(b->rig, "PutItem");
    size_t count = json_array_size(log) < most ? json_array_size(log) : most;
    for (size_t i = 0; i < count; i++) {
        times[i] = json_real_value(json_object_get(json_array_get(log, i), "arrived_ms"));
    }
    json_decref(log);
    return count;
}

static void test_tries_come_one_poll_apart_and_not_in_step(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *held = lock_take(bench_direct(b), key, slow);
    dynalock_lock *lock = lock_make(b->store, key, (dynalock_lock_options){.poll_ms = 1000});
    double times[16] = {0};
    double least = 1e9;
    double most = 0;

    warm(b->store);
    check(dynalock_lock_acquire(lock, -1, 7500, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
    size_t count = arrivals(b, times, COUNT(times));
    assert_true(count >= 4);
    for (size_t i = 1; i + 1 < count; i++) { /* the last try is that before the limit, perhaps */
        double apart = times[i] - times[i - 1];
        least = apart < least ? apart : least;
        most = apart > most ? apart : most;
    }
    assert_true(least > 300); /* 10 % less, and what the first of two was late on its way */
    assert_true((times[count - 1] - times[0]) / (double)(count - 1) < 1600);
    assert_true(most - least > 2);
    dynalock_lock_free(lock);
    lock_end(held);
}

static void test_a_waiter_wakes_just_after_the_holders_lease(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(b->store, key, slow);
    int64_t expires = real_ms() / 1000 + 1;

    bench_put_item(b, key,
                   "'version':{'N':'7'},'expires':{'N':'%" PRId64 "'},'holder':{'S':'Ada'},"
                   "'lease':{'N':'20000'},'nonce':{'S':'00112233445566778899aabbccddeeff.1.7'}",
                   expires);
    warm(b->store);
    check(dynalock_lock_acquire(lock, -1, LONG_MS, &failure), 0);
    int64_t late = real_ms() - expires * 1000 - 1000;
    assert_in_range((uintmax_t)late, 0, 4000);
    dynalock_counters counters;
    check(dynalock_store_counters(b->store, &counters), 0);
    assert_int_equal(capture_count(b->events, DYNALOCK_EVENT_TAKEN_OVER, key), 1);
    assert_int_equal(counters.taken_over, 1);
    assert_int_equal(counters.acquired, 1);
    lock_end(lock);
}

/* ---- Records of others ------------------------------------------------------------------------ */

static void test_a_record_of_others_is_respected_while_it_lasts(void **state)
{
    struct bench *b = *state;
    static const struct {
        const char *item;
        int code;
    } cases[] = {
        {"'version':{'N':'1'}", DYNALOCK_ERR_NOT_ACQUIRED}, /* never expires */
        {"'version':{'N':'1'},'expires':{'N':'99999999999999'}", DYNALOCK_ERR_NOT_ACQUIRED},
        {"'version':{'N':'1'},'expires':{'N':'9223372036854775807'}", DYNALOCK_ERR_NOT_ACQUIRED},
        {"'version':{'N':'1'},'expires':{'N':'4102444800'}", DYNALOCK_ERR_NOT_ACQUIRED},
        {"'version':{'N':'1'},'expires':{'S':'1'}", DYNALOCK_ERR_TYPE},
        {"'version':{'S':'1'},'expires':{'N':'1'}", DYNALOCK_ERR_TYPE},
        {"'version':{'N':'1.5'},'expires':{'N':'1'}", DYNALOCK_ERR_TYPE},
        {"'version':{'N':'9223372036854775807'},'expires':{'N':'1'}", DYNALOCK_ERR_TYPE},
        {"'version':{'N':'9223372036854775808'},'expires':{'N':'1'}", DYNALOCK_ERR_TYPE},
        {"'expires':{'N':'1'}", DYNALOCK_ERR_TYPE},
        {"'payload':{'S':'x'}", DYNALOCK_ERR_TYPE},
    };
    warm(b->store);
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *key = bench_key(b);
        dynalock_lock *lock = lock_make(b->store, key, quick);
        char item[200] = "";
        for (size_t j = 0; cases[i].item[j] != '\0'; j++) {
            item[j] = cases[i].item[j] == '\'' ? '"' : cases[i].item[j];
        }
        bench_put_item(b, key, "%s", item);
        json_t *before = bench_item(b, key);
        int code = dynalock_lock_acquire(lock, -1, 0, &failure);
        if (code != cases[i].code) {
            fail_msg("%s: %d, %s", cases[i].item, code, failure.message);
        }
        json_t *after = bench_item(b, key);
        assert_true(json_equal(before, after));
        json_decref(before);
        json_decref(after);
        dynalock_lock_free(lock);
    }
}

/* ---- What ends a wait, and what does not ------------------------------------------------------ */

static void test_a_failing_service_does_not_end_the_wait(void **state)
{
    struct bench *b = *state;
    static const char *const actions[] = {"\"throttle\"", "\"status\"", "\"drop-before\"",
                                          "\"garbage\""};
    for (size_t i = 0; i < COUNT(actions); i++) {
        const char *key = bench_key(b);
        dynalock_store *store = impatient(b); /* each failure is a try of its own */
        dynalock_lock *lock = lock_make(store, key, quick);
        rig_fault(b->rig, "'match':{'op':'PutItem','key':'%s'},'times':3,'action':%s", key,
                  actions[i]);
        check(dynalock_lock_acquire(lock, -1, LONG_MS, &failure), 0);
        lock_end(lock);
        dynalock_close(store);
    }
}

static void test_a_try_once_says_what_failed(void **state)
{
    struct bench *b = *state;
    static const struct {
        const char *action;
        int code;
        bool unknown;
    } cases[] = {
        {"\"throttle\"", DYNALOCK_ERR_THROTTLED, false},
        {"{\"do\":\"status\",\"status\":500}", DYNALOCK_ERR_SERVICE, true},
        {"\"drop\"", DYNALOCK_ERR_NETWORK, true},
    };
    dynalock_store *store = impatient(b);
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *key = bench_key(b);
        dynalock_lock *lock = lock_make(store, key, quick);
        rig_fault(b->rig, "'match':{'op':'PutItem','key':'%s'},'times':-1,'action':%s", key,
                  cases[i].action);
        check(dynalock_lock_acquire(lock, -1, 0, &failure), cases[i].code);
        assert_true((failure.flags & DYNALOCK_ERROR_RETRYABLE) != 0);
        assert_int_equal((failure.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN) != 0, cases[i].unknown);
        if (cases[i].unknown) {
            assert_true(await_gone(b, key));
        }
        dynalock_lock_free(lock);
    }
    dynalock_close(store);
}

static void test_what_will_not_go_away_ends_the_wait(void **state)
{
    struct bench *b = *state;
    static const struct {
        const char *type;
        int code;
    } cases[] = {
        {"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException", DYNALOCK_ERR_NO_TABLE},
        {"com.amazon.coral.service#AccessDeniedException", DYNALOCK_ERR_NOT_AUTHORIZED},
        {"com.amazon.coral.service#UnrecognizedClientException", DYNALOCK_ERR_NOT_AUTHORIZED},
        {"com.amazon.coral.validate#ValidationException", DYNALOCK_ERR_REFUSED},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *key = bench_key(b);
        dynalock_lock *lock = lock_make(b->store, key, quick);
        rig_fault(
            b->rig,
            "'match':{'key':'%s'},'times':-1,'action':{'do':'status','status':400,'type':'%s'}",
            key, cases[i].type);
        int64_t began = monotonic_ms();
        check(dynalock_lock_acquire(lock, -1, -1, &failure), cases[i].code);
        assert_true(monotonic_ms() - began < 3 * AT_ONCE_MS);
        dynalock_lock_free(lock);
    }
}

/* ---- Closing ---------------------------------------------------------------------------------- */

static void test_closing_ends_waits_in_other_threads(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    const char *stuck = bench_key(b);
    dynalock_lock *held = lock_take(bench_direct(b), key, slow);
    dynalock_store *store = impatient(b);
    dynalock_lock *locks[2] = {lock_make(store, key, slow), lock_make(store, stuck, slow)};
    struct waiter waiters[2];

    rig_fault(b->rig, "'match':{'key':'%s'},'action':'blackhole'", stuck);
    for (int i = 0; i < 2; i++) {
        waiter_start(&waiters[i], locks[i], -1, -1);
    }
    assert_true(await_event(b, DYNALOCK_EVENT_WAITING, key, 1));
    int64_t closed = monotonic_ms();
    check(dynalock_close(store), 0);
    for (int i = 0; i < 2; i++) {
        check(waiter_join(&waiters[i]), DYNALOCK_ERR_CLOSED);
        assert_true(waiters[i].ended_ms - closed < 300 + AT_ONCE_MS);
        dynalock_lock_free(locks[i]);
    }
    lock_end(held);
}

static void test_after_closing_every_function_of_a_lock_says_so(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_make(b->store, bench_key(b), slow);
    dynalock_kv *kv = NULL;
    int fd = -1;

    check(dynalock_close(b->store), 0);
    b->store = NULL;
    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_ERR_CLOSED);
    check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_ERR_CLOSED);
    check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_CLOSED);
    check(dynalock_lock_ensure(lock, 0, &failure), DYNALOCK_ERR_CLOSED);
    check(dynalock_lock_holder(lock, &kv, NULL, &failure), DYNALOCK_ERR_CLOSED);
    check(dynalock_lock_lost_fd(lock, &fd, &failure), DYNALOCK_ERR_CLOSED);
    assert_int_equal(dynalock_lock_remaining_ms(lock), 0);
    dynalock_lock_free(lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOCK_TEST(test_a_stop_before_the_start_sends_nothing),
        LOCK_TEST(test_a_stop_ends_the_wait_at_once),
        LOCK_TEST(test_what_a_stopped_try_wins_is_removed),
        LOCK_TEST(test_a_stopped_try_does_not_disturb_the_next),
        LOCK_TEST(test_what_was_won_and_seen_but_never_held_is_removed),
        LOCK_TEST(test_the_limit_ends_the_wait),
        LOCK_TEST(test_there_is_a_last_try_before_the_limit),
        LOCK_TEST(test_the_limit_is_kept_while_a_try_is_under_way),
        LOCK_TEST(test_tries_come_one_poll_apart_and_not_in_step),
        LOCK_TEST(test_a_waiter_wakes_just_after_the_holders_lease),
        LOCK_TEST(test_a_record_of_others_is_respected_while_it_lasts),
        LOCK_TEST(test_a_failing_service_does_not_end_the_wait),
        LOCK_TEST(test_a_try_once_says_what_failed),
        LOCK_TEST(test_what_will_not_go_away_ends_the_wait),
        LOCK_TEST(test_closing_ends_waits_in_other_threads),
        LOCK_TEST(test_after_closing_every_function_of_a_lock_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
