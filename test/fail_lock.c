/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lock, while one call after another that the library makes of what it depends on fails (see support_fail.h): making,
 * acquiring, renewing, releasing, giving up. What is held stays held, what is not is not, and all is well once the
 * failures end.
 */
#include "../lock.h"
#include "fail_system.h"
#include "support_lock.h"
#include "support_table.h"

#include <unistd.h>

#define FAIL_MOST 3000
#define LATE_MS 20000 /* later than anything happens on a machine under load */
#define MINUTE_MS 60000
#define BEYOND \
    3 /* runs without a failure end a sweep of threads: they do not take the same steps each time */
#define ANOTHERS                                                                                   \
    "'version':{'N':'5'},'nonce':{'S':'0123456789abcdef0123456789abcdef.1.5'},'holder':{'S':'h'}," \
    "'lease':{'N':'20000'},'expires':{'N':'4102444800'}"

struct ground {
    struct table *table;
    dynalock_store *store;
};

static const dynalock_lock_options by_hand = {.ttl_ms = MINUTE_MS,
                                              .renewal = DYNALOCK_RENEWAL_NONE};

static dynalock_counters counters_of(dynalock_store *store)
{
    dynalock_counters counters;
    assert_int_equal(dynalock_store_counters(store, &counters), 0);
    return counters;
}

/* Until what is to fail has, or the keeper has done what it could do at once; what it could not, it tries again later. */
static void let_clean_up(dynalock_store *store)
{
    int64_t until = monotonic_ms() + 300;
    while (counters_of(store).cleanups > 0 && fail_what()[0] == 0 && monotonic_ms() < until) {
        sleep_ms(1);
    }
}

static bool await_no_record(struct table *table, const char *key)
{
    int64_t until = monotonic_ms() + LATE_MS;
    while (table_has(table, key) && monotonic_ms() < until) {
        sleep_ms(1);
    }
    return !table_has(table, key);
}

/* A failure of what was made fail: the code, and words. */
static void judge(const char *what, unsigned nth, int code, const dynalock_error *error)
{
    if (!fail_explains(code) || error->code != code || error->message[0] == '\0') {
        fail_msg("%s, with %s failing as call %u: code %d, \"%s\"", what, fail_what(), nth, code,
                 error->message);
    }
    tell_code(code);
}

/* ---- The object ---- */

static void test_a_lock_is_made_whole_or_not_at_all(void **state)
{
    const struct ground *g = *state;
    dynalock_lock_options options = by_hand;
    bool failed = true;

    options.value = dynalock_bytes("value", 5);
    for (unsigned nth = 1; failed; nth++) {
        dynalock_error error = {0};
        dynalock_lock *lock = NULL;
        fail_arm(nth, 1);
        int code = dynalock_lock_new(g->store, "key", &options, &lock, &error);
        failed = fail_disarm();
        assert_int_equal(lock != NULL, code == 0);
        if (code != 0) { /* a host without a name is none */
            assert_true(failed);
            judge("new", nth, code, &error);
        }
        dynalock_lock_free(lock);
    }
    assert_true(fail_report("lock new") > 0);
}

/* What is asked of a lock, or of a store about its locks. */
struct question {
    const char *name;
    int (*ask)(dynalock_store *store, dynalock_lock *lock, dynalock_error *error);
};

static int ask_lost_fd(dynalock_store *store, dynalock_lock *lock, dynalock_error *error)
{
    int fd = -7;
    int code = dynalock_lock_lost_fd(lock, &fd, error);
    (void)store;
    assert_int_equal(fd >= 0, code == 0);
    assert_true(code == 0 || fd == -7);
    return code;
}

static int ask_event_fd(dynalock_store *store, dynalock_lock *lock, dynalock_error *error)
{
    int fd = -7;
    int code = dynalock_lock_event_fd(lock, &fd, error);
    (void)store;
    assert_true(code == 0 ? fd >= 0 : fd == -7);
    return code;
}

static int ask_locks(dynalock_store *store, dynalock_lock *lock, dynalock_error *error)
{
    dynalock_lock_info *infos = NULL;
    size_t count = 77;
    int code = dynalock_locks(store, &infos, &count, error);
    (void)lock;
    assert_int_equal(infos != NULL, code == 0);
    assert_int_equal(count, code == 0 ? 1 : 77);
    dynalock_locks_free(infos);
    return code;
}

static int ask_holder(dynalock_store *store, dynalock_lock *lock, dynalock_error *error)
{
    dynalock_kv *kv = NULL;
    bool mine = false;
    int code = dynalock_lock_holder(lock, &kv, &mine, error);
    (void)store;
    assert_int_equal(kv != NULL, code == 0);
    assert_int_equal(mine, code == 0);
    dynalock_kv_free(kv);
    return code;
}

static int ask_ensure(dynalock_store *store, dynalock_lock *lock, dynalock_error *error)
{
    (void)store;
    assert_true(dynalock_lock_remaining_ms(lock) > 0);
    assert_true(dynalock_lock_token(lock) > 0);
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_HELD);
    return dynalock_lock_ensure(lock, 1000, error);
}

static const struct question questions[] = {
    {"lock lost fd", ask_lost_fd}, {"lock event fd", ask_event_fd}, {"locks", ask_locks},
    {"lock holder", ask_holder},   {"lock ensure", ask_ensure},
};

/* Each time of a new lock, for a descriptor is made once. */
static bool question_once(const struct ground *g, const struct question *question, unsigned nth)
{
    dynalock_error error = {0};
    dynalock_lock *lock = lock_take(g->store, table_key(g->table), by_hand);
    fail_arm(nth, 1);
    int code = question->ask(g->store, lock, &error);
    bool failed = fail_disarm();
    if (code != 0) {
        assert_true(failed);
        judge(question->name, nth, code, &error);
        check(question->ask(g->store, lock, &failure), 0);
    }
    check(dynalock_lock_ensure(lock, 1000, &failure), 0);
    lock_end(lock);
    return failed;
}

static void test_what_is_asked_is_answered_whole_or_not_at_all(void **state)
{
    for (size_t i = 0; i < COUNT(questions); i++) {
        for (unsigned nth = 1; question_once(*state, &questions[i], nth); nth++) {
            assert_true(nth < FAIL_MOST);
        }
        (void)fail_report(questions[i].name);
    }
}

/* ---- Acquiring ---- */

struct acquiring {
    const char *name;
    const char *record; /* what there is; NULL: none */
    int expected;
    int64_t wait_ms;
};

/* One acquisition with a failure, then one without, on the same object. True: something was made fail. */
static bool acquire_once(const struct ground *g, dynalock_store *store,
                         const struct acquiring *acquiring, unsigned nth)
{
    const char *key = table_key(g->table);
    dynalock_error error = {0};
    if (acquiring->record != NULL) {
        table_put(g->table, key, acquiring->record);
    }
    dynalock_lock_options options = by_hand;
    options.poll_ms = 5;
    dynalock_lock *lock = lock_make(store, key, options);
    fail_arm(nth, 1);
    int code = dynalock_lock_acquire(lock, -1, acquiring->wait_ms, &error);
    bool failed = fail_disarm();
    if (code != 0 && code != acquiring->expected) {
        judge(acquiring->name, nth, code, &error);
        assert_true(failed);
    }
    if (code == 0) {
        assert_int_equal(acquiring->expected, 0);
    } else {
        assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_IDLE);
        assert_int_equal(dynalock_lock_remaining_ms(lock), 0);
    }
    if (acquiring->expected == 0) {
        if (code != 0) {
            check(dynalock_lock_acquire(lock, -1, LATE_MS, &failure), 0);
        }
        check(dynalock_lock_ensure(lock, 1000, &failure), 0);
        check(dynalock_lock_release(lock, &failure), 0);
        assert_false(table_has(g->table, key));
    } else {
        assert_true(table_has(g->table, key));
    }
    dynalock_lock_free(lock);
    return failed;
}

static const struct acquiring acquirings[] = {
    {"acquire", NULL, 0, 0},
    {"acquire from a Go client's expired record", "'version':{'N':'5'},'expires':{'N':'100'}", 0,
     0},
    {"acquire from an expired record",
     "'version':{'N':'5'},'nonce':{'S':'0123456789abcdef0123456789abcdef.1.5'},'holder':{'S':'h'},"
     "'lease':{'N':'20000'},'expires':{'N':'100'}",
     0, 0},
    {"acquire from a record that was kept",
     "'version':{'N':'5'},'nonce':{'S':'0123456789abcdef0123456789abcdef.2.5'},'expires':{'N':'1'}",
     0, 0},
    {"acquire what another holds", ANOTHERS, DYNALOCK_ERR_NOT_ACQUIRED, 0},
    {"acquire, waiting, what another holds", ANOTHERS, DYNALOCK_ERR_NOT_ACQUIRED, 12},
};

static void test_acquiring_survives_each_failure(void **state)
{
    const struct ground *g = *state;
    for (size_t i = 0; i < COUNT(acquirings); i++) {
        (void)acquire_once(g, g->store, &acquirings[i], 0);
        /* How often it tries is another each time, and so is the number of calls. */
        unsigned most = acquirings[i].wait_ms > 0 ? 300 : FAIL_MOST;
        for (unsigned nth = 1; acquire_once(g, g->store, &acquirings[i], nth) && nth < most;
             nth++) {
            assert_true(nth < FAIL_MOST);
        }
        (void)fail_report(acquirings[i].name);
    }
}

/* Threads, descriptors and connections still to be made. */
static void test_the_first_acquisition_of_a_store_survives_each_failure(void **state)
{
    const struct ground *g = *state;
    bool failed = true;
    for (unsigned nth = 1; failed; nth++) {
        dynalock_store *store = table_open(g->table, NULL);
        assert_true(nth < FAIL_MOST);
        failed = acquire_once(g, store, &acquirings[0], nth);
        assert_int_equal(dynalock_close(store), 0);
    }
    assert_true(fail_report("acquire, on a new store") > 200);
}

/* ---- Renewing and releasing ---- */

static void test_a_renewal_by_hand_that_failed_leaves_the_lock_held(void **state)
{
    const struct ground *g = *state;
    dynalock_lock *lock = lock_take(g->store, table_key(g->table), by_hand);
    int64_t token = dynalock_lock_token(lock);
    bool failed = true;

    for (unsigned nth = 1; failed; nth++) {
        dynalock_error error = {0};
        fail_arm(nth, 1);
        int code = dynalock_lock_renew(lock, 2 * MINUTE_MS, &error);
        failed = fail_disarm();
        if (code != 0) {
            assert_true(failed);
            judge("renew", nth, code, &error);
        }
        check(dynalock_lock_ensure(lock, 1000, &failure), 0);
        check(dynalock_lock_renew(lock, MINUTE_MS, &failure), 0);
    }
    assert_int_equal(dynalock_lock_token(lock), token);
    lock_end(lock);
    assert_true(fail_report("renew") > 50);
}

static void release_for_each_failure(const struct ground *g, bool keep_record)
{
    dynalock_lock_options options = by_hand;
    bool failed = true;

    options.keep_record = keep_record;
    for (unsigned nth = 1; failed; nth++) {
        const char *key = table_key(g->table);
        dynalock_lock *lock = lock_take(g->store, key, options);
        dynalock_error error = {0};
        fail_arm(nth, 1);
        int code = dynalock_lock_release(lock, &error);
        failed = fail_disarm();
        assert_int_equal(dynalock_lock_remaining_ms(lock), 0);
        assert_int_equal(dynalock_lock_ensure(lock, 0, NULL), DYNALOCK_ERR_NOT_HELD);
        if (code != 0) {
            assert_true(failed);
            judge("release", nth, code, &error);
            check(dynalock_lock_release(lock, &failure), 0);
        }
        assert_int_equal(table_has(g->table, key), keep_record);
        assert_int_equal(dynalock_lock_release(lock, NULL), DYNALOCK_ERR_NOT_HELD);
        /* It is free: another takes it at once. */
        check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
        lock_end(lock);
    }
    assert_true(fail_report(keep_record ? "release, keeping the record" : "release") > 50);
}

static void test_a_release_that_failed_can_be_repeated(void **state)
{
    release_for_each_failure(*state, false);
}

static void test_a_release_that_keeps_the_record_and_failed_can_be_repeated(void **state)
{
    release_for_each_failure(*state, true);
}

/* ---- By the keeper ---- */

static void await_quiet(dynalock_lock *lock)
{
    int64_t until = monotonic_ms() + LATE_MS;
    (void)pthread_mutex_lock(&lock->store->mutex);
    while (!lock->renewal.queued || lock->under_way != NULL) {
        (void)pthread_mutex_unlock(&lock->store->mutex);
        assert_true(monotonic_ms() < until);
        sleep_ms(1);
        (void)pthread_mutex_lock(&lock->store->mutex);
    }
    (void)pthread_mutex_unlock(&lock->store->mutex);
}

/* No renewal is under way; the next is due now. */
static void renew_now(dynalock_lock *lock)
{
    await_quiet(lock);
    (void)pthread_mutex_lock(&lock->store->mutex);
    dlk_lock_arm_renewal(lock, dlk_lock_now(lock));
    (void)pthread_mutex_unlock(&lock->store->mutex);
}

static void await_renewals(dynalock_store *store, uint64_t renewed, uint64_t any)
{
    int64_t until = monotonic_ms() + LATE_MS;
    dynalock_counters now = counters_of(store);
    while (now.renewed < renewed || now.renewed + now.renewals_failed < any) {
        if (monotonic_ms() > until) {
            fail_msg("no renewal since %s failed", fail_what());
        }
        sleep_ms(1);
        now = counters_of(store);
    }
}

/* new_connection: of the keeper; else it is kept. */
static void renewals_survive(const struct ground *g, bool new_connection)
{
    dynalock_lock_options options = {.ttl_ms = MINUTE_MS};
    dynalock_store *store = table_open(g->table, NULL);
    dynalock_lock *lock = lock_take(store, table_key(g->table), options);
    int64_t token = dynalock_lock_token(lock);
    unsigned beyond = 0;

    for (unsigned nth = 1; beyond < BEYOND; nth++) {
        if (new_connection) {
            table_disconnect(g->table);
        }
        await_quiet(lock);
        dynalock_counters before = counters_of(store);
        assert_true(nth < FAIL_MOST);
        fail_arm(nth, 1);
        renew_now(lock);
        await_renewals(store, 0, before.renewed + before.renewals_failed + 1);
        beyond = fail_disarm() ? 0 : beyond + 1;
        check(dynalock_lock_ensure(lock, 1000, &failure), 0);
        renew_now(lock);
        await_renewals(store, before.renewed + 1, 0);
    }
    assert_int_equal(dynalock_lock_token(lock), token);
    lock_end(lock);
    check(dynalock_close(store), 0);
    assert_true(fail_report(new_connection ? "renewal by the keeper, by a new connection"
                                           : "renewal by the keeper") > 50);
}

/* What a renewal takes is kept for the next. */
static bool first_renewal_once(const struct ground *g, unsigned nth)
{
    dynalock_store *store = table_open(g->table, NULL);
    dynalock_lock *lock =
        lock_take(store, table_key(g->table), (dynalock_lock_options){.ttl_ms = MINUTE_MS});
    fail_arm(nth, 1);
    renew_now(lock);
    await_renewals(store, 0, 1);
    bool failed = fail_disarm();
    check(dynalock_lock_ensure(lock, 1000, &failure), 0);
    renew_now(lock);
    await_renewals(store, counters_of(store).renewed + 1, 0);
    lock_end(lock);
    check(dynalock_close(store), 0);
    return failed;
}

static void test_a_lock_survives_each_failure_of_the_first_renewal_of_a_store(void **state)
{
    unsigned beyond = 0;
    for (unsigned nth = 1; beyond < BEYOND; nth += nth < 10 ? 1 : fail_step(5)) {
        assert_true(nth < FAIL_MOST);
        beyond = first_renewal_once(*state, nth) ? 0 : beyond + 1;
    }
    assert_true(fail_report("renewal by the keeper, on a new store") > 20);
}

static void test_a_lock_survives_each_failure_of_a_renewal(void **state)
{
    renewals_survive(*state, false);
}

static void test_a_lock_survives_each_failure_of_a_renewal_by_a_new_connection(void **state)
{
    renewals_survive(*state, true);
}

/* What an answer sets in motion counts for the wait that follows. The store is a new one: nothing else wakes its keeper. */
static void test_a_lock_is_renewed_though_answers_are_looked_at_just_before_a_wait(void **state)
{
    const struct ground *g = *state;
    dynalock_store *store = table_open(g->table, NULL);
    dynalock_lock *lock =
        lock_take(store, table_key(g->table), (dynalock_lock_options){.ttl_ms = 1500});

    fail_look_late(store->keeper_thread, true);
    await_renewals(store, 5, 0);
    fail_look_late(store->keeper_thread, false);
    check(dynalock_lock_ensure(lock, 0, &failure), 0);
    lock_end(lock);
    assert_int_equal(dynalock_close(store), 0);
}

static void test_a_lock_survives_when_everything_fails_for_a_while(void **state)
{
    const struct ground *g = *state;
    dynalock_lock_options options = {.ttl_ms = 6000};
    dynalock_lock *lock = lock_take(g->store, table_key(g->table), options);
    uint64_t before = counters_of(g->store).renewals_failed;

    fail_arm(1, UINT32_MAX);
    renew_now(lock);
    while (counters_of(g->store).renewals_failed < before + 3) {
        sleep_ms(1);
    }
    (void)fail_disarm();
    await_renewals(g->store, counters_of(g->store).renewed + 1, 0);
    check(dynalock_lock_ensure(lock, 2000, &failure), 0);
    lock_end(lock);
}

struct told {
    atomic_int count, cause;
};

static void on_lost(dynalock_lock *lock, int cause, void *context)
{
    struct told *told = context;
    (void)lock;
    atomic_store(&told->cause, cause);
    atomic_fetch_add(&told->count, 1);
}

static void test_the_loss_is_told_though_everything_fails(void **state)
{
    const struct ground *g = *state;
    struct told told = {0};
    dynalock_lock_options options = {.ttl_ms = 1200, .on_lost = on_lost, .context = &told};
    dynalock_lock *lock = lock_take(g->store, table_key(g->table), options);
    int fd = -1;

    check(dynalock_lock_lost_fd(lock, &fd, &failure), 0);
    fail_exempt(true); /* this thread's calls are the test's */
    fail_arm(1, UINT32_MAX);
    assert_int_equal(dlk_wait_readable(&fd, 1, LATE_MS), 0);
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_LOST);
    int64_t until = monotonic_ms() + LATE_MS;
    while (atomic_load(&told.count) == 0 && monotonic_ms() < until) {
        sleep_ms(1);
    }
    assert_true(fail_disarm());
    fail_exempt(false);
    assert_int_equal(atomic_load(&told.count), 1);
    assert_int_equal(atomic_load(&told.cause), dynalock_lock_cause(lock));
    assert_int_equal(dynalock_lock_release(lock, NULL), DYNALOCK_ERR_LOST);
    dynalock_lock_free(lock);
}

/* ---- Giving up ---- */

/* A try whose request is held back is cancelled, then let go, and what it has won is removed. */
static bool cancel_once(const struct ground *g, unsigned nth)
{
    const char *key = table_key(g->table);
    dynalock_lock *lock = lock_make(g->store, key, by_hand);
    struct waiter waiter;
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    table_hold(g->table, "PutItem");
    waiter_start(&waiter, lock, ends[0], -1);
    assert_true(table_await_held(g->table, LATE_MS));
    fail_arm(nth, 1);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(waiter_join(&waiter), DYNALOCK_ERR_CANCELLED);
    table_let_go(g->table);
    let_clean_up(g->store);
    bool failed = fail_disarm();
    assert_true(await_no_record(g->table, key));
    dynalock_lock_free(lock);
    (void)close(ends[0]);
    (void)close(ends[1]);
    return failed;
}

static void test_what_a_cancelled_try_has_won_is_removed_whatever_fails(void **state)
{
    (void)cancel_once(*state, 0);
    unsigned beyond = 0;
    for (unsigned nth = 1; beyond < BEYOND; nth += fail_step(7)) {
        assert_true(nth < FAIL_MOST);
        beyond = cancel_once(*state, nth) ? 0 : beyond + 1;
    }
    (void)fail_report("cleaning up after a cancelled try");
}

/* True: something was made fail. What cannot be removed for want of memory ends by its lease. */
static bool free_once(const struct ground *g, unsigned nth)
{
    dynalock_lock *lock = lock_take(g->store, table_key(g->table), by_hand);
    fail_arm(nth, 1);
    dynalock_lock_free(lock);
    let_clean_up(g->store);
    return fail_disarm();
}

static void test_freeing_a_held_lock_survives_each_failure(void **state)
{
    unsigned beyond = 0;
    for (unsigned nth = 1; beyond < BEYOND; nth += fail_step(3)) {
        assert_true(nth < FAIL_MOST);
        beyond = free_once(*state, nth) ? 0 : beyond + 1;
    }
    (void)fail_report("freeing a held lock");
}

static void test_closing_a_store_with_a_held_lock_survives_each_failure(void **state)
{
    const struct ground *g = *state;
    unsigned beyond = 0;
    for (unsigned nth = 1; beyond < BEYOND; nth += fail_step(3)) {
        dynalock_store *store = table_open(g->table, NULL);
        dynalock_lock *lock = lock_take(store, table_key(g->table), by_hand);
        assert_true(nth < FAIL_MOST);
        fail_arm(nth, 1);
        assert_int_equal(dynalock_close(store), 0);
        beyond = fail_disarm() ? 0 : beyond + 1;
        assert_int_equal(dynalock_lock_ensure(lock, 0, NULL), DYNALOCK_ERR_CLOSED);
        dynalock_lock_free(lock);
    }
    (void)fail_report("closing a store with a held lock");
}

static void ignore(const dynalock_event *event, void *context)
{
    (void)event;
    (void)context;
}

static int begin(void **state)
{
    static struct ground g;
    g.table = table_start();
    dynalock_options options = table_options(g.table);
    options.log = ignore;
    g.store = table_open(g.table, &options);
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
        cmocka_unit_test(test_a_lock_is_made_whole_or_not_at_all),
        cmocka_unit_test(test_what_is_asked_is_answered_whole_or_not_at_all),
        cmocka_unit_test(test_acquiring_survives_each_failure),
        cmocka_unit_test(test_the_first_acquisition_of_a_store_survives_each_failure),
        cmocka_unit_test(test_a_renewal_by_hand_that_failed_leaves_the_lock_held),
        cmocka_unit_test(test_a_release_that_failed_can_be_repeated),
        cmocka_unit_test(test_a_release_that_keeps_the_record_and_failed_can_be_repeated),
        cmocka_unit_test(test_a_lock_survives_each_failure_of_the_first_renewal_of_a_store),
        cmocka_unit_test(test_a_lock_survives_each_failure_of_a_renewal),
        cmocka_unit_test(test_a_lock_survives_each_failure_of_a_renewal_by_a_new_connection),
        cmocka_unit_test(test_a_lock_is_renewed_though_answers_are_looked_at_just_before_a_wait),
        cmocka_unit_test(test_a_lock_survives_when_everything_fails_for_a_while),
        cmocka_unit_test(test_the_loss_is_told_though_everything_fails),
        cmocka_unit_test(test_what_a_cancelled_try_has_won_is_removed_whatever_fails),
        cmocka_unit_test(test_freeing_a_held_lock_survives_each_failure),
        cmocka_unit_test(test_closing_a_store_with_a_held_lock_survives_each_failure),
    };
    fail_install();
    return cmocka_run_group_tests(tests, begin, end);
}
