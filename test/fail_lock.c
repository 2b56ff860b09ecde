/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lock, while one call after another that the library makes of what it depends on fails: making, acquiring, renewing,
 * releasing, giving up. What is held stays held, what is not is not, and all is well once the failures end.
 */
/* wrap: malloc calloc realloc strdup pthread_create eventfd timerfd_create getrandom */
/* wrap: curl_easy_init curl_multi_init curl_multi_add_handle curl_slist_append curl_easy_setopt */
/* wrap: curl_multi_setopt curl_multi_poll curl_multi_perform EVP_MD_fetch EVP_MAC_fetch EVP_MD_CTX_new */
/* wrap: EVP_MAC_CTX_new EVP_MAC_CTX_set_params EVP_DigestInit_ex EVP_DigestUpdate EVP_DigestFinal_ex */
/* wrap: EVP_MAC_init EVP_MAC_update EVP_MAC_final EVP_Digest */
#include "../lock.h"
#include "support_fail.h"
#include "support_lock.h"

#include <unistd.h>

#define FAIL_MOST 600
#define LATE_MS 20000 /* later than anything happens on a machine under load */
#define MINUTE_MS 60000

static const dynalock_lock_options by_hand = {.ttl_ms = MINUTE_MS,
                                              .renewal = DYNALOCK_RENEWAL_NONE};

static bool there_is(struct bench *b, const char *key)
{
    json_t *item = bench_item(b, key);
    json_decref(item);
    return item != NULL;
}

static dynalock_counters counters_of(dynalock_store *store)
{
    dynalock_counters counters;
    assert_int_equal(dynalock_store_counters(store, &counters), 0);
    return counters;
}

/* The keeper has done what it could do at once; what it could not, it tries again later. */
static void let_clean_up(dynalock_store *store)
{
    int64_t until = monotonic_ms() + 600;
    while (counters_of(store).cleanups > 0 && monotonic_ms() < until) {
        sleep_ms(2);
    }
}

/* A failure of what was made fail: the code, and words. jansson takes a want of memory for a mistake in the text. */
static void judge(const char *what, unsigned nth, int code, const dynalock_error *error)
{
    bool right =
        code == DYNALOCK_ERR_MEMORY || code == DYNALOCK_ERR_SYSTEM ||
        (code == DYNALOCK_ERR_BAD_RESPONSE && strcmp(fail_what(), "jansson's malloc") == 0);
    if (!right || error->code != code || error->message[0] == '\0') {
        fail_msg("%s, with %s failing as call %u: code %d, \"%s\"", what, fail_what(), nth, code,
                 error->message);
    }
}

/* ---- The object ---- */

static void test_a_lock_is_made_whole_or_not_at_all(void **state)
{
    struct bench *b = *state;
    dynalock_lock_options options = by_hand;
    bool failed = true;

    options.value = dynalock_bytes("value", 5);
    for (unsigned nth = 1; failed; nth++) {
        dynalock_error error = {0};
        dynalock_lock *lock = NULL;
        fail_arm(nth, 1);
        int code = dynalock_lock_new(b->store, "key", &options, &lock, &error);
        failed = fail_disarm();
        assert_int_equal(code != 0, failed);
        assert_int_equal(lock != NULL, code == 0);
        if (code != 0) {
            judge("new", nth, code, &error);
        }
        dynalock_lock_free(lock);
    }
}

static void test_descriptor_and_snapshot_are_had_or_a_code(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_make(b->store, bench_key(b), by_hand);
    dynalock_lock_info *infos = NULL;
    size_t count = 77;
    int fd = -7;

    fail_arm(1, 1);
    assert_int_equal(dynalock_lock_lost_fd(lock, &fd, &failure), DYNALOCK_ERR_SYSTEM);
    assert_int_equal(fd, -7);
    assert_int_equal(dynalock_lock_lost_fd(lock, &fd, &failure), 0);
    fail_arm(1, 1);
    assert_int_equal(dynalock_locks(b->store, &infos, &count, &failure), DYNALOCK_ERR_MEMORY);
    assert_null(infos);
    assert_int_equal(count, 77);
    assert_true(fail_disarm());
    dynalock_lock_free(lock);
}

/* ---- Acquiring ---- */

struct acquiring {
    const char *name;
    void (*prepare)(struct bench *b, const char *key);
    int expected;
};

static void prepare_none(struct bench *b, const char *key)
{
    (void)b;
    (void)key;
}

static void prepare_expired(struct bench *b, const char *key)
{
    bench_put_item(b, key, "'version':{'N':'5'},'expires':{'N':'100'}");
}

static void prepare_held(struct bench *b, const char *key)
{
    bench_put_item(b, key, "'version':{'N':'5'},'expires':{'N':'9999999999'}");
}

/* One acquisition with a failure, then one without, on the same object. True: something was made fail. */
static bool acquire_once(struct bench *b, dynalock_store *store, const struct acquiring *acquiring,
                         unsigned nth)
{
    const char *key = bench_key(b);
    dynalock_error error = {0};
    acquiring->prepare(b, key);
    dynalock_lock *lock = lock_make(store, key, by_hand);
    fail_arm(nth, 1);
    int code = dynalock_lock_acquire(lock, -1, 0, &error);
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
        assert_false(there_is(b, key));
    } else {
        assert_true(there_is(b, key));
    }
    dynalock_lock_free(lock);
    return failed;
}

static const struct acquiring acquirings[] = {
    {"acquire", prepare_none, 0},
    {"acquire from an expired record", prepare_expired, 0},
    {"acquire what another holds", prepare_held, DYNALOCK_ERR_NOT_ACQUIRED},
};

static void test_acquiring_survives_each_failure(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(acquirings); i++) {
        (void)acquire_once(b, b->store, &acquirings[i], 0);
        for (unsigned nth = 1; acquire_once(b, b->store, &acquirings[i], nth); nth++) {
            assert_true(nth < FAIL_MOST);
        }
    }
}

/* Threads, descriptors and connections still to be made. */
static void test_the_first_acquisition_of_a_store_survives_each_failure(void **state)
{
    struct bench *b = *state;
    bool failed = true;
    for (unsigned nth = 1; failed; nth++) {
        dynalock_store *store = bench_open(b, NULL);
        assert_true(nth < FAIL_MOST);
        failed = acquire_once(b, store, &acquirings[0], nth);
        assert_int_equal(dynalock_close(store), 0);
    }
}

/* ---- Renewing and releasing ---- */

static void test_a_renewal_by_hand_that_failed_leaves_the_lock_held(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_take(b->store, bench_key(b), by_hand);
    int64_t token = dynalock_lock_token(lock);
    bool failed = true;

    for (unsigned nth = 1; failed; nth++) {
        dynalock_error error = {0};
        fail_arm(nth, 1);
        int code = dynalock_lock_renew(lock, 0, &error);
        failed = fail_disarm();
        if (code != 0) {
            assert_true(failed);
            judge("renew", nth, code, &error);
        }
        check(dynalock_lock_ensure(lock, 1000, &failure), 0);
        check(dynalock_lock_renew(lock, 0, &failure), 0);
    }
    assert_int_equal(dynalock_lock_token(lock), token);
    check(dynalock_lock_release(lock, &failure), 0);
    dynalock_lock_free(lock);
}

static void release_for_each_failure(struct bench *b, bool keep_record)
{
    dynalock_lock_options options = by_hand;
    bool failed = true;

    options.keep_record = keep_record;
    for (unsigned nth = 1; failed; nth++) {
        const char *key = bench_key(b);
        dynalock_lock *lock = lock_take(b->store, key, options);
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
        assert_int_equal(there_is(b, key), keep_record);
        assert_int_equal(dynalock_lock_release(lock, NULL), DYNALOCK_ERR_NOT_HELD);
        /* It is free: another takes it at once. */
        check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
        check(dynalock_lock_release(lock, &failure), 0);
        dynalock_lock_free(lock);
    }
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

static void renew_now(dynalock_lock *lock)
{
    (void)pthread_mutex_lock(&lock->store->mutex);
    if (lock->renewal.queued) { /* else one is under way */
        dlk_lock_arm_renewal(lock, dlk_lock_now(lock));
    }
    (void)pthread_mutex_unlock(&lock->store->mutex);
}

static void await_renewals(dynalock_store *store, uint64_t renewed, uint64_t any)
{
    int64_t until = monotonic_ms() + LATE_MS;
    dynalock_counters now = counters_of(store);
    while (now.renewed < renewed || now.renewed + now.renewals_failed < any) {
        assert_true(monotonic_ms() < until);
        sleep_ms(1);
        now = counters_of(store);
    }
}

static void test_a_lock_survives_each_failure_of_a_renewal(void **state)
{
    struct bench *b = *state;
    dynalock_lock_options options = {.ttl_ms = MINUTE_MS};
    dynalock_lock *lock = lock_take(b->store, bench_key(b), options);
    int64_t token = dynalock_lock_token(lock);
    bool failed = true;

    for (unsigned nth = 1; failed; nth++) {
        dynalock_counters before = counters_of(b->store);
        assert_true(nth < FAIL_MOST);
        fail_arm(nth, 1);
        renew_now(lock);
        await_renewals(b->store, 0, before.renewed + before.renewals_failed + 1);
        failed = fail_disarm();
        check(dynalock_lock_ensure(lock, 1000, &failure), 0);
        renew_now(lock);
        await_renewals(b->store, before.renewed + 1, 0);
    }
    assert_int_equal(dynalock_lock_token(lock), token);
    check(dynalock_lock_release(lock, &failure), 0);
    dynalock_lock_free(lock);
}

/* What an answer sets in motion counts for the wait that follows. The store is a new one: nothing else wakes its keeper. */
static void test_a_lock_is_renewed_though_answers_are_looked_at_just_before_a_wait(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = bench_open(b, NULL);
    dynalock_lock *lock = lock_take(store, bench_key(b), (dynalock_lock_options){.ttl_ms = 1500});

    fail_look_late(store->keeper_thread, true);
    await_renewals(store, 5, 0);
    fail_look_late(store->keeper_thread, false);
    check(dynalock_lock_ensure(lock, 0, &failure), 0);
    lock_end(lock);
    assert_int_equal(dynalock_close(store), 0);
}

static void test_a_lock_survives_when_everything_fails_for_a_while(void **state)
{
    struct bench *b = *state;
    dynalock_lock_options options = {.ttl_ms = 6000};
    dynalock_lock *lock = lock_take(b->store, bench_key(b), options);
    uint64_t before = counters_of(b->store).renewals_failed;

    fail_arm(1, UINT32_MAX);
    renew_now(lock);
    while (counters_of(b->store).renewals_failed < before + 3) {
        sleep_ms(1);
    }
    (void)fail_disarm();
    await_renewals(b->store, counters_of(b->store).renewed + 1, 0);
    check(dynalock_lock_ensure(lock, 2000, &failure), 0);
    check(dynalock_lock_release(lock, &failure), 0);
    dynalock_lock_free(lock);
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
    struct bench *b = *state;
    struct told told = {0};
    dynalock_lock_options options = {.ttl_ms = 1200, .on_lost = on_lost, .context = &told};
    dynalock_lock *lock = lock_take(b->store, bench_key(b), options);
    int fd = -1;

    check(dynalock_lock_lost_fd(lock, &fd, &failure), 0);
    fail_arm(1, UINT32_MAX);
    assert_int_equal(dlk_wait_readable(&fd, 1, LATE_MS), 0);
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_LOST);
    int64_t until = monotonic_ms() + LATE_MS;
    while (atomic_load(&told.count) == 0 && monotonic_ms() < until) {
        sleep_ms(1);
    }
    assert_true(fail_disarm());
    assert_int_equal(atomic_load(&told.count), 1);
    assert_int_equal(atomic_load(&told.cause), dynalock_lock_cause(lock));
    assert_int_equal(dynalock_lock_release(lock, NULL), DYNALOCK_ERR_LOST);
    dynalock_lock_free(lock);
}

/* ---- Giving up ---- */

/* A try whose request is held back is cancelled, then let go, and what it has won is removed. */
static bool cancel_once(struct bench *b, unsigned nth)
{
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(b->store, key, by_hand);
    struct waiter waiter;
    int ends[2];

    bench_reset(b);
    assert_int_equal(pipe(ends), 0);
    rig_fault(b->rig, "'match':{'op':'PutItem','key':'%s'},'action':{'do':'hold','where':'answer'}",
              key);
    waiter_start(&waiter, lock, ends[0], -1);
    assert_true(rig_wait(b->rig, "PutItem", "held", 1, LATE_MS));
    fail_arm(nth, 1);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(waiter_join(&waiter), DYNALOCK_ERR_CANCELLED);
    fail_arm(0, 0); /* the rig's own calls shall not fail */
    assert_int_equal(rig_let_go(b->rig), 1);
    fail_arm(nth, 1);
    let_clean_up(b->store);
    bool failed = fail_disarm();
    assert_true(await_gone(b, key));
    dynalock_lock_free(lock);
    (void)close(ends[0]);
    (void)close(ends[1]);
    return failed;
}

static void test_what_a_cancelled_try_has_won_is_removed_whatever_fails(void **state)
{
    (void)cancel_once(*state, 0);
    for (unsigned nth = 1; cancel_once(*state, nth); nth += 3) {
        assert_true(nth < FAIL_MOST);
    }
}

/* True: something was made fail. What cannot be removed for want of memory ends by its lease. */
static bool free_once(struct bench *b, unsigned nth)
{
    dynalock_lock *lock = lock_take(b->store, bench_key(b), by_hand);
    fail_arm(nth, 1);
    dynalock_lock_free(lock);
    let_clean_up(b->store);
    return fail_disarm();
}

static void test_freeing_a_held_lock_survives_each_failure(void **state)
{
    for (unsigned nth = 1; free_once(*state, nth); nth += 3) {
        assert_true(nth < FAIL_MOST);
    }
}

static void test_closing_a_store_with_a_held_lock_survives_each_failure(void **state)
{
    struct bench *b = *state;
    bool failed = true;
    for (unsigned nth = 1; failed; nth += 3) {
        dynalock_store *store = bench_open(b, NULL);
        dynalock_lock *lock = lock_take(store, bench_key(b), by_hand);
        assert_true(nth < FAIL_MOST);
        fail_arm(nth, 1);
        assert_int_equal(dynalock_close(store), 0);
        failed = fail_disarm();
        assert_int_equal(dynalock_lock_ensure(lock, 0, NULL), DYNALOCK_ERR_CLOSED);
        dynalock_lock_free(lock);
    }
}

#define TEST(name) cmocka_unit_test_setup(name, bench_clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_lock_is_made_whole_or_not_at_all),
        TEST(test_descriptor_and_snapshot_are_had_or_a_code),
        TEST(test_acquiring_survives_each_failure),
        TEST(test_the_first_acquisition_of_a_store_survives_each_failure),
        TEST(test_a_renewal_by_hand_that_failed_leaves_the_lock_held),
        TEST(test_a_release_that_failed_can_be_repeated),
        TEST(test_a_release_that_keeps_the_record_and_failed_can_be_repeated),
        TEST(test_a_lock_survives_each_failure_of_a_renewal),
        TEST(test_a_lock_is_renewed_though_answers_are_looked_at_just_before_a_wait),
        TEST(test_a_lock_survives_when_everything_fails_for_a_while),
        TEST(test_the_loss_is_told_though_everything_fails),
        TEST(test_what_a_cancelled_try_has_won_is_removed_whatever_fails),
        TEST(test_freeing_a_held_lock_survives_each_failure),
        TEST(test_closing_a_store_with_a_held_lock_survives_each_failure),
    };
    fail_install();
    return cmocka_run_group_tests(tests, bench_setup, bench_teardown);
}
