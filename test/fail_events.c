/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks in an event loop, while one call after another that the library makes of what it depends on fails (see
 * support_fail.h): what is started ends with an event that tells how, or was not started.
 */
#include "fail_system.h"
#include "support_events.h"
#include "support_table.h"

#define FAIL_MOST 3000
#define MINUTE_MS 60000
#define BEYOND \
    3 /* runs without a failure end a sweep of threads: they do not take the same steps each time */

struct ground {
    struct table *table;
    dynalock_store *store;
};

static const dynalock_lock_options by_hand = {.ttl_ms = MINUTE_MS,
                                              .renewal = DYNALOCK_RENEWAL_NONE};

static void judge(const char *what, unsigned nth, int code, const dynalock_error *error)
{
    if (!fail_explains(code) || error->code != code || error->message[0] == '\0') {
        fail_msg("%s, with %s failing as call %u: code %d, \"%s\"", what, fail_what(), nth, code,
                 error->message);
    }
}

/* The next event, of this kind; its code. The store's descriptor is waited for: it shows each. */
static int event_of(dynalock_store *store, int kind, dynalock_error *error)
{
    dynalock_lock_event event = {.kind = DYNALOCK_LOCK_EVENT_NONE};
    int fd = -1;
    fail_exempt(true);
    check(dynalock_event_fd(store, &fd, &failure), 0);
    assert_true(readable(fd, LONG_MS));
    fail_exempt(false);
    check(dynalock_next_event(store, &event, &failure), 0);
    assert_int_equal(event.kind, kind);
    *error = event.error;
    return event.code;
}

static int acquire(dynalock_store *store, dynalock_lock *lock, dynalock_error *error)
{
    int code = dynalock_lock_acquire_start(lock, 0, error);
    return code != 0 ? code : event_of(store, DYNALOCK_LOCK_EVENT_ACQUIRE, error);
}

static int release(dynalock_store *store, dynalock_lock *lock, dynalock_error *error)
{
    int code = dynalock_lock_release_start(lock, error);
    return code != 0 ? code : event_of(store, DYNALOCK_LOCK_EVENT_RELEASE, error);
}

/* ---- Acquiring ---- */

static bool acquire_once(const struct ground *g, dynalock_store *store, const char *record,
                         unsigned nth)
{
    const char *key = table_key(g->table);
    dynalock_error error = {0};
    if (record != NULL) {
        table_put(g->table, key, record);
    }
    dynalock_lock *lock = lock_make(store, key, by_hand);
    fail_arm(nth, 1);
    int code = acquire(store, lock, &error);
    bool failed = fail_disarm();
    if (code != 0) {
        judge("acquire", nth, code, &error);
        assert_true(failed);
        assert_int_equal(dynalock_lock_remaining_ms(lock), 0);
        check(acquire(store, lock, &failure), 0);
    }
    check(dynalock_lock_ensure(lock, 1000, &failure), 0);
    check(release(store, lock, &failure), 0);
    assert_false(table_has(g->table, key));
    dynalock_lock_free(lock);
    return failed;
}

static void test_an_acquisition_that_is_started_survives_each_failure(void **state)
{
    static const char *const records[] = {NULL, "'version':{'N':'5'},'expires':{'N':'100'}"};
    const struct ground *g = *state;
    for (size_t i = 0; i < COUNT(records); i++) {
        unsigned beyond = 0;
        for (unsigned nth = 1; beyond < BEYOND; nth++) {
            assert_true(nth < FAIL_MOST);
            beyond = acquire_once(g, g->store, records[i], nth) ? 0 : beyond + 1;
        }
        (void)fail_report(i == 0 ? "acquire start" : "acquire start, over an expired record");
    }
}

/* Threads, descriptors and connections still to be made. */
static void test_the_first_that_is_started_on_a_store_survives_each_failure(void **state)
{
    const struct ground *g = *state;
    unsigned beyond = 0;
    for (unsigned nth = 1; beyond < BEYOND; nth += fail_step(2)) {
        dynalock_store *store = table_open(g->table, NULL);
        assert_true(nth < FAIL_MOST);
        beyond = acquire_once(g, store, NULL, nth) ? 0 : beyond + 1;
        assert_int_equal(dynalock_close(store), 0);
    }
    assert_true(fail_report("acquire start, on a new store") > 100);
}

/* ---- Releasing, cancelling, losing ---- */

static bool release_once(const struct ground *g, bool keep_record, unsigned nth)
{
    const char *key = table_key(g->table);
    dynalock_lock_options options = by_hand;
    dynalock_error error = {0};
    options.keep_record = keep_record;
    dynalock_lock *lock = lock_take(g->store, key, options);
    fail_arm(nth, 1);
    int code = dynalock_lock_release_start(lock, &error);
    bool started = code == 0;
    assert_int_equal(dynalock_lock_remaining_ms(lock) == 0, started);
    if (started) {
        code = event_of(g->store, DYNALOCK_LOCK_EVENT_RELEASE, &error);
    }
    bool failed = fail_disarm();
    if (code != 0) {
        assert_true(failed);
        judge("release", nth, code, &error);
        check(release(g->store, lock, &failure), 0);
    }
    assert_int_equal(dynalock_lock_remaining_ms(lock), 0);
    assert_int_equal(table_has(g->table, key), keep_record);
    dynalock_lock_free(lock);
    return failed;
}

static void test_a_release_that_is_started_survives_each_failure(void **state)
{
    for (int kept = 0; kept < 2; kept++) {
        unsigned beyond = 0;
        for (unsigned nth = 1; beyond < BEYOND; nth++) {
            assert_true(nth < FAIL_MOST);
            beyond = release_once(*state, kept == 1, nth) ? 0 : beyond + 1;
        }
        assert_true(fail_report(kept == 1 ? "release start, keeping the record" : "release start") >
                    50);
    }
}

static bool cancel_once(const struct ground *g, unsigned nth)
{
    const char *key = table_key(g->table);
    dynalock_lock *lock = lock_make(g->store, key, by_hand);
    dynalock_error error = {0};
    table_hold(g->table, "PutItem");
    check(dynalock_lock_acquire_start(lock, -1, &failure), 0);
    assert_true(table_await_held(g->table, LONG_MS));
    fail_arm(nth, 1);
    check(dynalock_lock_cancel(lock, &failure), 0);
    assert_int_equal(event_of(g->store, DYNALOCK_LOCK_EVENT_ACQUIRE, &error),
                     DYNALOCK_ERR_CANCELLED);
    table_let_go(g->table);
    for (int64_t until = monotonic_ms() + 300;
         table_has(g->table, key) && monotonic_ms() < until;) {
        sleep_ms(1);
    }
    bool failed = fail_disarm();
    for (int64_t until = monotonic_ms() + LONG_MS; table_has(g->table, key);) {
        assert_true(monotonic_ms() < until);
        sleep_ms(1);
    }
    dynalock_lock_free(lock);
    return failed;
}

static void test_what_is_cancelled_is_told_and_removed_whatever_fails(void **state)
{
    unsigned beyond = 0;
    for (unsigned nth = 1; beyond < BEYOND; nth += fail_step(3)) {
        assert_true(nth < FAIL_MOST);
        beyond = cancel_once(*state, nth) ? 0 : beyond + 1;
    }
    (void)fail_report("cancel");
}

/* A renewal finds the lock taken over. */
static bool lose_once(const struct ground *g, unsigned nth)
{
    const char *key = table_key(g->table);
    dynalock_error error = {0};
    dynalock_lock *lock = lock_take(g->store, key, by_hand);
    table_put(g->table, key, ANOTHERS);
    fail_arm(nth, 1);
    int code = dynalock_lock_renew(lock, 0, &error);
    bool failed = fail_disarm();
    if (code != DYNALOCK_ERR_LOST) {
        assert_true(failed);
        judge("renewal of what is lost", nth, code, &error);
        check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_ERR_LOST);
    }
    assert_int_equal(event_of(g->store, DYNALOCK_LOCK_EVENT_LOST, &error), DYNALOCK_ERR_LOST);
    assert_int_equal(dynalock_lock_cause(lock), DYNALOCK_CAUSE_TAKEN_OVER);
    assert_int_equal(dynalock_lock_remaining_ms(lock), 0);
    dynalock_lock_free(lock);
    table_remove(g->table, key);
    return failed;
}

static void test_a_loss_is_told_whatever_fails(void **state)
{
    for (unsigned nth = 1; lose_once(*state, nth); nth++) {
        assert_true(nth < FAIL_MOST);
    }
    assert_true(fail_report("renew of what is lost") > 50);
}

/* ---- Descriptors ---- */

static void test_a_descriptor_for_events_is_had_or_a_code(void **state)
{
    const struct ground *g = *state;
    bool failed = true;
    for (unsigned nth = 1; failed; nth++) {
        dynalock_store *store = table_open(g->table, NULL);
        dynalock_error error = {0};
        int fd = -7;
        fail_arm(nth, 1);
        int code = dynalock_event_fd(store, &fd, &error);
        failed = fail_disarm();
        assert_true(code == 0 ? fd >= 0 : fd == -7);
        if (code != 0) {
            assert_true(failed);
            judge("event fd", nth, code, &error);
            check(dynalock_event_fd(store, &fd, &failure), 0);
        }
        assert_int_equal(dynalock_close(store), 0);
    }
    assert_true(fail_report("event fd") > 0);
}

static int begin(void **state)
{
    static struct ground g;
    g.table = table_start();
    g.store = table_open(g.table, NULL);
    *state = &g;
    return 0;
}

static int end(void **state)
{
    const struct ground *g = *state;
    int code = dynalock_close(g->store);
    table_end(g->table);
    return code;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_acquisition_that_is_started_survives_each_failure),
        cmocka_unit_test(test_the_first_that_is_started_on_a_store_survives_each_failure),
        cmocka_unit_test(test_a_release_that_is_started_survives_each_failure),
        cmocka_unit_test(test_what_is_cancelled_is_told_and_removed_whatever_fails),
        cmocka_unit_test(test_a_loss_is_told_whatever_fails),
        cmocka_unit_test(test_a_descriptor_for_events_is_had_or_a_code),
    };
    fail_install();
    return cmocka_run_group_tests(tests, begin, end);
}
