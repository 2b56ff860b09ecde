/* SPDX-License-Identifier: Apache-2.0 */
/* Locks where nothing goes wrong: acquiring, holding, renewing, releasing, and what others see of it. */
#include "support_lock.h"

#include <unistd.h>

static const dynalock_lock_options by_default = {0};

/* ---- Acquiring and releasing ------------------------------------------------------------------ */

static void test_a_free_lock_is_acquired_at_once(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_make(b->store, bench_key(b), by_default);

    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_IDLE);
    assert_int_equal(dynalock_lock_token(lock), 0);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_HELD);
    assert_int_equal(dynalock_lock_cause(lock), DYNALOCK_CAUSE_NONE);
    assert_true(dynalock_lock_token(lock) > 0);
    assert_in_range((uintmax_t)dynalock_lock_remaining_ms(lock), 1, 19750);
    check(dynalock_lock_ensure(lock, 1000, &failure), 0);
    check(dynalock_lock_ensure(lock, 20000, &failure), DYNALOCK_ERR_SHORT_LEASE);
    check(dynalock_lock_release(lock, &failure), 0);
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_IDLE);
    assert_int_equal(dynalock_lock_remaining_ms(lock), 0);
    check(dynalock_lock_ensure(lock, 0, &failure), DYNALOCK_ERR_NOT_HELD);
    dynalock_lock_free(lock);
}

static void test_trying_once_says_who_holds_the_lock(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *held = lock_take(b->store, key, (dynalock_lock_options){.holder = "Ada at w1"});
    dynalock_lock *other = lock_make(bench_direct(b), key, by_default);
    int64_t began = monotonic_ms();

    check(dynalock_lock_acquire(other, -1, 0, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
    assert_contains(failure.message, "Ada at w1");
    assert_int_equal(failure.code, DYNALOCK_ERR_NOT_ACQUIRED);
    assert_int_equal(failure.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN, 0);
    assert_true(monotonic_ms() - began < 2500); /* less than a poll */
    assert_int_equal(dynalock_lock_state(other), DYNALOCK_LOCK_IDLE);
    assert_int_equal(dynalock_lock_token(other), 0);
    dynalock_lock_free(other);
    lock_end(held);
}

/* There is a record whenever it is written, and none whenever it is looked for. */
static void test_a_try_among_others_that_come_and_go_ends(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(b->store, key, (dynalock_lock_options){.ttl_ms = LONG_MS});
    rig_fault(b->rig, "'match':{'op':'PutItem'},'times':-1,'action':{'do':'status','status':400,"
                      "'type':'x#ConditionalCheckFailedException'}");
    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
    assert_contains(failure.message, "all the time");
    assert_true(bench_count(b, "PutItem") <= 10);
    rig_clear_faults(b->rig);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_OK);
    lock_end(lock);
}

static void test_a_record_that_is_not_dynalocks_is_no_lock(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(b->store, key, (dynalock_lock_options){.ttl_ms = LONG_MS});
    warm(b->store);
    bench_put_item(b, key, "'version':{'S':'five'}");
    check(dynalock_lock_acquire(lock, -1, LONG_MS, &failure), DYNALOCK_ERR_TYPE);
    dynalock_lock_free(lock);
    json_t *item = bench_item(b, key);
    assert_string_equal(item_text(item, "version", "S"), "five");
    json_decref(item);
}

static void test_a_waiter_gets_the_lock_when_it_is_released(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *held = lock_take(b->store, key, by_default);
    dynalock_lock *other = lock_make(b->store, key, (dynalock_lock_options){.poll_ms = 100});
    int64_t token = dynalock_lock_token(held);
    struct waiter w;

    waiter_start(&w, other, -1, -1);
    assert_true(await_event(b, DYNALOCK_EVENT_WAITING, key, 2));
    assert_int_equal(dynalock_lock_state(other), DYNALOCK_LOCK_ACQUIRING);
    lock_end(held);
    check(waiter_join(&w), 0);
    assert_true(dynalock_lock_token(other) > token);
    lock_end(other);
}

static void test_one_object_locks_again_and_again_with_growing_tokens(void **state)
{
    struct bench *b = *state;
    for (int keep = 0; keep < 2; keep++) {
        dynalock_lock *lock =
            lock_make(b->store, bench_key(b), (dynalock_lock_options){.keep_record = keep == 1});
        int64_t token = 0;
        for (int i = 0; i < 4; i++) {
            check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
            assert_true(dynalock_lock_token(lock) > token);
            token = dynalock_lock_token(lock);
            check(dynalock_lock_release(lock, &failure), 0);
            assert_int_equal(dynalock_lock_token(lock), token);
        }
        dynalock_lock_free(lock);
    }
}

static void test_a_token_exceeds_any_version_that_was_there(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    const int64_t high = INT64_C(9000000000000000000);

    bench_put_item(b, key, "'version':{'N':'%" PRId64 "'},'expires':{'N':'1'}", high);
    dynalock_lock *lock = lock_take(b->store, key, by_default);
    assert_int_equal(dynalock_lock_token(lock), high + 1);
    lock_end(lock);
}

static void test_release_removes_the_record(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(b->store, key, by_default);
    json_t *item = bench_item(b, key);

    assert_int_equal(item_number(item, "version"), dynalock_lock_token(lock));
    assert_int_equal(item_number(item, "lease"), 20000);
    json_decref(item);
    lock_end(lock);
    assert_false(is_there(b, key));
}

static void test_what_is_not_held_is_not_released(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_make(b->store, bench_key(b), by_default);

    check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_NOT_HELD);
    check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_ERR_NOT_HELD);
    assert_int_equal(bench_count(b, NULL), 0);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    check(dynalock_lock_release(lock, &failure), 0);
    check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_NOT_HELD);
    check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_ERR_NOT_HELD);
    dynalock_lock_free(lock);
}

static void test_a_held_lock_is_not_acquired_again(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_take(b->store, bench_key(b), by_default);
    int64_t token = dynalock_lock_token(lock);

    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_ERR_BUSY);
    assert_int_equal(dynalock_lock_token(lock), token);
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_HELD);
    lock_end(lock);
}

static void test_an_object_takes_one_call_at_a_time(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *held = lock_take(b->store, key, by_default);
    dynalock_lock *lock = lock_make(b->store, key, (dynalock_lock_options){.poll_ms = 100});
    struct waiter w;

    waiter_start(&w, lock, -1, LONG_MS);
    assert_true(await_state(lock, DYNALOCK_LOCK_ACQUIRING));
    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_ERR_BUSY);
    check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_ERR_BUSY);
    check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_BUSY);
    check(dynalock_lock_ensure(lock, 0, &failure), DYNALOCK_ERR_NOT_HELD);
    lock_end(held);
    check(waiter_join(&w), 0);
    lock_end(lock);
}

static void test_two_locks_of_one_store_exclude_each_other(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *first = lock_take(b->store, key, by_default);
    dynalock_lock *second = lock_make(b->store, key, by_default);

    check(dynalock_lock_acquire(second, -1, 0, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
    lock_end(first);
    check(dynalock_lock_acquire(second, -1, 0, &failure), 0);
    lock_end(second);
}

static void test_freeing_a_held_lock_releases_it_in_the_background(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    const char *kept = bench_key(b);
    dynalock_lock *lock = lock_take(b->store, key, by_default);
    dynalock_lock *keeping =
        lock_take(b->store, kept, (dynalock_lock_options){.keep_record = true});

    dynalock_lock_free(lock);
    assert_true(await_gone(b, key));
    dynalock_lock_free(keeping);
    assert_true(await_event(b, DYNALOCK_EVENT_CLEANED, kept, 1));
    json_t *item = bench_item(b, kept);
    assert_int_equal(item_number(item, "expires"), 1);
    json_decref(item);
    dynalock_lock_free(NULL);
}

/* ---- Kept records ----------------------------------------------------------------------------- */

static void test_a_kept_record_is_a_tombstone(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock_options options = {.keep_record = true, .value = dynalock_bytes("work", 4)};
    dynalock_lock *lock = lock_take(b->store, key, options);
    int64_t token = dynalock_lock_token(lock);

    check(dynalock_lock_release(lock, &failure), 0);
    json_t *item = bench_item(b, key);
    assert_non_null(item);
    assert_int_equal(item_number(item, "expires"), 1);
    assert_int_equal(item_number(item, "version"), token + 1);
    assert_null(json_object_get(item, "payload"));
    assert_null(json_object_get(item, "holder"));
    assert_null(json_object_get(item, "lease"));
    json_decref(item);
    dynalock_lock_free(lock);
}

static void test_nobody_sees_a_kept_record(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(b->store, key, (dynalock_lock_options){.keep_record = true});
    dynalock_kv *kv = NULL;
    dynalock_kv **items = NULL;
    size_t count = 1;
    bool exists = true;

    check(dynalock_lock_release(lock, &failure), 0);
    check(dynalock_get(b->store, key, NULL, &kv, &failure), DYNALOCK_ERR_NOT_FOUND);
    check(dynalock_exists(b->store, key, NULL, &exists, &failure), 0);
    assert_false(exists);
    check(dynalock_list(b->store, NULL, NULL, &items, &count, &failure), 0);
    assert_int_equal(count, 0);
    dynalock_list_free(items, count);
    check(dynalock_lock_holder(lock, &kv, NULL, &failure), DYNALOCK_ERR_NOT_FOUND);
    json_t *answer = rig_go(b->rig, b->table, b->partition, "'call':'get','key':'%s'", key);
    assert_string_equal(json_string_value(json_object_get(answer, "error")),
                        "key not found in table");
    json_decref(answer);
    dynalock_lock_free(lock);
}

static void test_a_kept_record_is_taken_without_waiting_and_with_a_greater_token(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock_options options = {.keep_record = true};
    dynalock_lock *first = lock_take(b->store, key, options);
    int64_t token = dynalock_lock_token(first);

    check(dynalock_lock_release(first, &failure), 0);
    /* This store has seen no time yet. */
    dynalock_lock *second = lock_make(bench_direct(b), key, options);
    check(dynalock_lock_acquire(second, -1, 0, &failure), 0);
    assert_true(dynalock_lock_token(second) > token + 1);
    check(dynalock_lock_release(second, &failure), 0);
    check(dynalock_lock_acquire(first, -1, 0, &failure), 0);
    assert_int_equal(capture_count(b->events, DYNALOCK_EVENT_TAKEN_OVER, key), 0);
    check(dynalock_lock_release(first, &failure), 0);
    dynalock_lock_free(first);
    dynalock_lock_free(second);
}

static void test_go_locks_over_a_kept_record(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(b->store, key, (dynalock_lock_options){.keep_record = true});

    check(dynalock_lock_release(lock, &failure), 0);
    json_t *answer = rig_go(b->rig, b->table, b->partition,
                            "'call':'lock','key':'%s','ttl':20,'poll':false", key);
    assert_null(json_object_get(answer, "error"));
    json_decref(answer);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
    answer = rig_go(b->rig, b->table, b->partition, "'call':'unlock','key':'%s'", key);
    assert_null(json_object_get(answer, "error"));
    json_decref(answer);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    lock_end(lock);
}

/* ---- What others see -------------------------------------------------------------------------- */

static void test_value_and_holder_are_there_to_read(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock_options options = {.value = dynalock_bytes("w1", 2), .holder = "Ada"};
    dynalock_lock *lock = lock_take(b->store, key, options);
    dynalock_kv *kv = NULL;
    dynalock_kv **items = NULL;
    const void *bytes = NULL;
    size_t length = 0;

    check(dynalock_get(bench_direct(b), key, NULL, &kv, &failure), 0);
    assert_string_equal(dynalock_kv_holder(kv), "Ada");
    assert_int_equal(dynalock_kv_lease_ms(kv), 20000);
    assert_int_equal(dynalock_kv_version(kv), dynalock_lock_token(lock));
    assert_true(dynalock_kv_expires_ms(kv) > real_ms() + 15000);
    check(dynalock_kv_bytes(kv, &bytes, &length, &failure), 0);
    assert_int_equal(length, 2);
    assert_memory_equal(bytes, "w1", 2);
    dynalock_kv_free(kv);
    check(dynalock_list(bench_direct(b), NULL, NULL, &items, &length, &failure), 0);
    assert_int_equal(length, 1);
    assert_string_equal(dynalock_kv_holder(items[0]), "Ada");
    dynalock_list_free(items, length);
    lock_end(lock);
}

static void test_the_value_survives_renewals(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock_options options = {.value = dynalock_bytes("w1", 2), .holder = "Ada"};
    dynalock_lock *lock = lock_take(b->store, key, options);

    check(dynalock_lock_renew(lock, 0, &failure), 0);
    check(dynalock_lock_renew(lock, 0, &failure), 0);
    json_t *item = bench_item(b, key);
    assert_string_equal(item_text(item, "payload", "S"), "dzE=");
    assert_string_equal(item_text(item, "holder", "S"), "Ada");
    assert_int_equal(item_number(item, "version"), dynalock_lock_token(lock) + 2);
    json_decref(item);
    lock_end(lock);
}

static void test_the_default_holder_is_host_pid_and_time(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_take(b->store, bench_key(b), by_default);
    dynalock_kv *kv = NULL;
    char pid[32];

    snprintf(pid, sizeof pid, " %ld 20", (long)getpid());
    check(dynalock_lock_holder(lock, &kv, NULL, &failure), 0);
    assert_contains(dynalock_kv_holder(kv), pid);
    dynalock_kv_free(kv);
    lock_end(lock);
}

/* As a cron job does, that tries once and ends. */
static void test_the_first_try_of_a_process_takes_what_a_dead_holder_left(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_store *store = bench_open(b, NULL);

    bench_put_item(b, key,
                   "'version':{'N':'7'},'expires':{'N':'%lld'},'holder':{'S':'dead'},"
                   "'lease':{'N':'20000'},'nonce':{'S':'0123456789abcdef0123456789abcdef.1.7'}",
                   (long long)(real_ms() / 1000 - 60));
    dynalock_lock *lock = lock_take(store, key, by_default);
    lock_end(lock);
    dynalock_close(store);
}

static void test_the_record_shows_the_holders_token_through_all_renewals(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock =
        lock_take(b->store, key, (dynalock_lock_options){.renewal = DYNALOCK_RENEWAL_NONE});
    dynalock_kv *kv = NULL;

    for (int renewals = 0; renewals < 3; renewals++) {
        check(dynalock_get(b->store, key, NULL, &kv, &failure), 0);
        assert_int_equal(dynalock_kv_token(kv), dynalock_lock_token(lock));
        assert_int_equal(dynalock_kv_version(kv), dynalock_lock_token(lock) + renewals);
        dynalock_kv_free(kv);
        check(dynalock_lock_renew(lock, 0, &failure), 0);
    }
    lock_end(lock);
    check(dynalock_put(b->store, key, dynalock_none(), NULL, &failure), 0);
    check(dynalock_get(b->store, key, NULL, &kv, &failure), 0);
    assert_int_equal(dynalock_kv_token(kv), 0);
    dynalock_kv_free(kv);
}

static void test_a_lock_knows_whether_the_holder_is_itself(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(b->store, key, (dynalock_lock_options){.holder = "Ada"});
    dynalock_lock *other = lock_make(b->store, key, by_default);
    dynalock_kv *kv = NULL;
    bool mine = false;

    check(dynalock_lock_holder(lock, &kv, &mine, &failure), 0);
    assert_true(mine);
    dynalock_kv_free(kv);
    check(dynalock_lock_holder(other, &kv, &mine, &failure), 0);
    assert_false(mine);
    assert_string_equal(dynalock_kv_holder(kv), "Ada");
    dynalock_kv_free(kv);
    lock_end(lock);
    check(dynalock_lock_holder(other, &kv, &mine, &failure), DYNALOCK_ERR_NOT_FOUND);
    dynalock_lock_free(other);
}

static void test_another_acquirer_leaves_nothing_of_the_one_before(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);

    bench_put_item(b, key,
                   "'version':{'N':'7'},'expires':{'N':'1000'},'payload':{'S':'b2xk'},"
                   "'other':{'S':'attribute'}");
    warm(b->store);
    dynalock_lock *lock = lock_take(b->store, key, by_default);
    json_t *item = bench_item(b, key);
    assert_null(json_object_get(item, "payload"));
    assert_null(json_object_get(item, "other"));
    json_decref(item);
    lock_end(lock);
}

/* ---- Renewing --------------------------------------------------------------------------------- */

static void test_the_keeper_holds_a_lock_past_its_ttl(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(b->store, key, (dynalock_lock_options){.ttl_ms = 3000});
    dynalock_lock *other =
        lock_make(bench_direct(b), key, (dynalock_lock_options){.ttl_ms = 3000, .poll_ms = 200});
    int64_t token = dynalock_lock_token(lock);
    struct waiter w;

    waiter_start(&w, other, -1, 6500); /* ttl, rounding, delay of a takeover, and more */
    check(waiter_join(&w), DYNALOCK_ERR_NOT_ACQUIRED);
    check(dynalock_lock_ensure(lock, 1, &failure), 0);
    assert_int_equal(dynalock_lock_token(lock), token);
    assert_true(capture_count(b->events, DYNALOCK_EVENT_RENEWED, key) >= 4);
    lock_end(lock);
    check(dynalock_lock_acquire(other, -1, 0, &failure), 0);
    assert_true(dynalock_lock_token(other) > token);
    lock_end(other);
}

static void test_renewing_by_hand_extends_the_lease(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock_options options = {.ttl_ms = 10000, .renewal = DYNALOCK_RENEWAL_NONE};
    dynalock_lock *lock = lock_take(b->store, key, options);

    sleep_ms(300);
    assert_true(dynalock_lock_remaining_ms(lock) <= 9450);
    check(dynalock_lock_renew(lock, 0, &failure), 0);
    check(dynalock_lock_renew(lock, 30000, &failure), 0); /* longer */
    assert_in_range((uintmax_t)dynalock_lock_remaining_ms(lock), 20000, 29750);
    json_t *item = bench_item(b, key);
    assert_int_equal(item_number(item, "lease"), 30000);
    json_decref(item);
    check(dynalock_lock_renew(lock, 5000, &failure), 0); /* shorter */
    assert_in_range((uintmax_t)dynalock_lock_remaining_ms(lock), 1, 4750);
    item = bench_item(b, key);
    assert_int_equal(item_number(item, "lease"), 5000);
    assert_true(item_number(item, "expires") * 1000 <= real_ms() + 8000);
    json_decref(item);
    check(dynalock_lock_renew(lock, 500, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_lock_renew(lock, -1, &failure), DYNALOCK_ERR_ARGUMENT);
    lock_end(lock);
    check(dynalock_lock_acquire(lock = lock_make(b->store, key, options), -1, 0, &failure), 0);
    assert_true(dynalock_lock_remaining_ms(lock) <= 9750); /* the options' again */
    lock_end(lock);
}

/* Each renewal happens, and is said not to have. */
static void test_a_renewal_that_is_denied_each_time_though_it_happens_fails(void **state)
{
    struct bench *b = *state;
    dynalock_lock_options options = {.ttl_ms = LONG_MS, .renewal = DYNALOCK_RENEWAL_NONE};
    dynalock_lock *lock = lock_take(b->store, bench_key(b), options);
    rig_fault(b->rig, "'match':{'op':'UpdateItem'},'times':-1,'action':{'do':'status','status':400,"
                      "'type':'x#ConditionalCheckFailedException','forward':true}");
    check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_ERR_SERVICE);
    assert_contains(failure.message, "as if they had not");
    assert_int_equal(bench_count(b, "UpdateItem"), 2);
    check(dynalock_lock_ensure(lock, 1, &failure), DYNALOCK_OK);
    rig_clear_faults(b->rig);
    check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_OK);
    lock_end(lock);
}

static void test_the_keeper_goes_on_with_a_changed_ttl(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(b->store, key, (dynalock_lock_options){.ttl_ms = 60000});

    check(dynalock_lock_renew(lock, 3000, &failure), 0);
    capture_clear(b->events);
    assert_true(await_event(b, DYNALOCK_EVENT_RENEWED, key, 1));
    assert_true(dynalock_lock_remaining_ms(lock) <= 2750);
    check(dynalock_lock_ensure(lock, 1, &failure), 0);
    lock_end(lock);
}

/* ---- Options ---------------------------------------------------------------------------------- */

static void test_bad_options_are_refused(void **state)
{
    struct bench *b = *state;
    static const struct {
        const char *what;
        dynalock_lock_options options;
    } cases[] = {
        {"twice the default margin", {.ttl_ms = 500}},
        {"twice the given margin", {.ttl_ms = 4000, .margin_ms = 2000}},
        {"a negative ttl", {.ttl_ms = -1}},
        {"a negative poll", {.poll_ms = -1}},
        {"a negative margin", {.margin_ms = -1}},
        {"a negative delay", {.takeover_delay_ms = -1}},
        {"a negative delay for Go", {.go_takeover_delay_ms = -1}},
        {"a negative lease for Go", {.go_lease_ms = -1}},
        {"the greatest ttl", {.ttl_ms = INT64_MAX}},
        {"an unknown renewal", {.renewal = 2}},
        {"a negative renewal", {.renewal = -1}},
        {"an unknown kind of value", {.value = {.kind = 9}}},
        {"bytes that are not there", {.value = {.kind = DYNALOCK_VALUE_BYTES, .length = 3}}},
        {"a holder that is not UTF-8", {.holder = "\xff"}},
        {"the first reserved member", {.reserved = {1}}},
        {"the last reserved member", {.reserved = {0, 0, 0, 0, 0, 0, 0, 1}}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        dynalock_lock *lock = (dynalock_lock *)(void *)b;
        int code = dynalock_lock_new(b->store, "k", &cases[i].options, &lock, &failure);
        if (code != DYNALOCK_ERR_ARGUMENT || failure.message[0] == '\0') {
            fail_msg("%s: %d", cases[i].what, code);
        }
        assert_ptr_equal(lock, b); /* untouched */
    }
    dynalock_lock *lock = lock_make(b->store, "k", (dynalock_lock_options){.ttl_ms = 501});
    dynalock_lock_free(lock);
}

static void test_bad_arguments_are_refused(void **state)
{
    struct bench *b = *state;
    static const char *const keys[] = {NULL, "", "\xc3", "\xed\xa0\x80"};
    char long_key[1026];
    dynalock_lock *lock = NULL;
    dynalock_lock *good = lock_make(b->store, "k", by_default);

    memset(long_key, 'k', sizeof long_key - 1);
    long_key[sizeof long_key - 1] = '\0';
    for (size_t i = 0; i < COUNT(keys); i++) {
        check(dynalock_lock_new(b->store, keys[i], NULL, &lock, &failure), DYNALOCK_ERR_ARGUMENT);
    }
    check(dynalock_lock_new(b->store, long_key, NULL, &lock, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_lock_new(NULL, "k", NULL, &lock, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_lock_new(b->store, "k", NULL, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_lock_acquire(NULL, -1, 0, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_lock_renew(NULL, 0, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_lock_release(NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_lock_ensure(NULL, 0, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_lock_lost_fd(good, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_lock_holder(good, NULL, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_locks(b->store, NULL, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    assert_int_equal(dynalock_lock_remaining_ms(NULL), 0);
    assert_int_equal(dynalock_lock_token(NULL), 0);
    assert_int_equal(bench_count(b, NULL), 0);
    dynalock_lock_free(good);
}

static void test_a_record_of_over_1_kb_needs_the_option(void **state)
{
    struct bench *b = *state;
    char bytes[2000] = {0};
    const char *key = bench_key(b);
    dynalock_lock *lock = NULL;
    dynalock_lock_options options = {.value = dynalock_bytes(bytes, 800)};

    check(dynalock_lock_new(b->store, key, &options, &lock, &failure), DYNALOCK_ERR_TOO_LARGE);
    assert_contains(failure.message, "large_record");
    options.value = dynalock_bytes(bytes, 400);
    lock_end(lock_take(b->store, key, options));
    options.value = dynalock_bytes(bytes, sizeof bytes);
    options.large_record = true;
    lock_end(lock_take(b->store, key, options));
}

static void test_a_value_is_copied(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    char text[] = "Ada";
    char name[] = "Ada";
    dynalock_lock *lock = lock_make(
        b->store, key, (dynalock_lock_options){.value = dynalock_bytes(text, 3), .holder = name});

    memset(text, 'x', 3);
    memset(name, 'x', 3);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    json_t *item = bench_item(b, key);
    assert_string_equal(item_text(item, "payload", "S"), "QWRh");
    assert_string_equal(item_text(item, "holder", "S"), "Ada");
    json_decref(item);
    lock_end(lock);
}

/* ---- Costs ------------------------------------------------------------------------------------ */

static void test_a_warm_store_locks_and_unlocks_in_two_requests(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_make(b->store, bench_key(b), by_default);

    warm(b->store);
    bench_reset(b);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    check(dynalock_lock_release(lock, &failure), 0);
    assert_int_equal(bench_count(b, "PutItem"), 1);
    assert_int_equal(bench_count(b, "DeleteItem"), 1);
    assert_int_equal(bench_count(b, NULL), 2);
    dynalock_lock_free(lock);
}

static void test_a_cold_store_reads_first(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_take(b->store, bench_key(b), by_default);

    assert_int_equal(bench_count(b, "GetItem"), 1);
    assert_int_equal(bench_count(b, NULL), 2);
    lock_end(lock);
    assert_int_equal(bench_count(b, NULL), 3);
}

static void test_what_an_acquisition_reads_is_read_consistently(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_take(b->store, bench_key(b), by_default);
    json_t *log = rig_log(b->rig, "GetItem");
    const json_t *request = json_object_get(json_array_get(log, 0), "request");

    assert_true(json_is_true(json_object_get(request, "ConsistentRead")));
    json_decref(log);
    lock_end(lock);
}

static void test_a_failed_try_costs_one_request(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *held = lock_take(bench_direct(b), key, by_default);
    dynalock_lock *lock = lock_make(b->store, key, by_default);

    warm(b->store);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
    bench_reset(b);
    for (int i = 0; i < 3; i++) {
        check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
    }
    /* dynalite does not show the record of a failed condition: a read more. */
    assert_int_equal(bench_count(b, NULL), test_is_local() ? 3 : 6);
    lock_end(held);
    dynalock_lock_free(lock);
}

/* ---- What goes on ----------------------------------------------------------------------------- */

static void test_the_snapshot_shows_every_lock(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *held = lock_take(b->store, key, by_default);
    dynalock_lock *idle = lock_make(b->store, key, (dynalock_lock_options){.ttl_ms = 9000});
    dynalock_lock_info *infos = NULL;
    size_t count = 0;

    check(dynalock_lock_acquire(idle, -1, 0, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
    check(dynalock_locks(b->store, &infos, &count, &failure), 0);
    assert_int_equal(count, 2);
    const dynalock_lock_info *of_held = &infos[infos[0].state == DYNALOCK_LOCK_HELD ? 0 : 1];
    const dynalock_lock_info *of_idle = &infos[infos[0].state == DYNALOCK_LOCK_HELD ? 1 : 0];
    assert_string_equal(of_held->key, key);
    assert_int_equal(of_held->state, DYNALOCK_LOCK_HELD);
    assert_int_equal(of_held->token, dynalock_lock_token(held));
    assert_int_equal(of_held->ttl_ms, 20000);
    assert_in_range((uintmax_t)of_held->remaining_ms, 1, 19750);
    assert_in_range((uintmax_t)of_held->since_renewal_ms, 0, LONG_MS);
    assert_int_equal(of_held->last_code, 0);
    assert_string_equal(of_held->last_error, "");
    assert_int_equal(of_idle->state, DYNALOCK_LOCK_IDLE);
    assert_int_equal(of_idle->ttl_ms, 9000);
    assert_int_equal(of_idle->since_renewal_ms, -1);
    assert_int_equal(of_idle->last_code, DYNALOCK_ERR_NOT_ACQUIRED);
    assert_contains(of_idle->last_error, "held by");
    dynalock_locks_free(infos);
    dynalock_lock_free(idle);
    lock_end(held);
    check(dynalock_locks(b->store, &infos, &count, &failure), 0);
    assert_int_equal(count, 0);
    dynalock_locks_free(infos);
    dynalock_locks_free(NULL);
}

static void test_the_counters_count(void **state)
{
    struct bench *b = *state;
    dynalock_counters counters;
    dynalock_lock *lock = lock_take(b->store, bench_key(b), by_default);

    check(dynalock_lock_renew(lock, 0, &failure), 0);
    lock_end(lock);
    check(dynalock_store_counters(b->store, &counters), 0);
    assert_int_equal(counters.operations, 4); /* a read, for the store is cold */
    assert_int_equal(counters.attempts, 4);
    assert_int_equal(counters.acquired, 1);
    assert_int_equal(counters.renewed, 1);
    assert_int_equal(counters.released, 1);
    assert_int_equal(counters.taken_over + counters.adopted + counters.lost, 0);
    assert_int_equal(counters.renewals_failed + counters.retries + counters.cleanups, 0);
    assert_int_equal(counters.clock_conflicts + counters.events_dropped, 0);
}

static void test_every_step_is_logged(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(b->store, key, (dynalock_lock_options){.holder = "Ada"});
    dynalock_lock *other = lock_make(b->store, key, by_default);
    int64_t token = dynalock_lock_token(lock);

    check(dynalock_lock_acquire(other, -1, 0, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
    check(dynalock_lock_renew(lock, 0, &failure), 0);
    lock_end(lock);
    static const int ids[] = {DYNALOCK_EVENT_ATTEMPT, DYNALOCK_EVENT_ACQUIRED,
                              DYNALOCK_EVENT_WAITING, DYNALOCK_EVENT_RENEWED,
                              DYNALOCK_EVENT_RELEASED};
    for (size_t i = 0; i < COUNT(ids); i++) {
        struct captured event = capture_get(b->events, ids[i], key, 0);
        assert_int_equal(event.id, ids[i]);
        assert_int_equal(event.token, ids[i] == DYNALOCK_EVENT_ATTEMPT ? 0 : token);
    }
    struct captured event = capture_get(b->events, DYNALOCK_EVENT_WAITING, key, 0);
    assert_contains(event.message, "Ada");
    event = capture_get(b->events, DYNALOCK_EVENT_ACQUIRED, key, 0);
    assert_in_range((uintmax_t)event.remaining_ms, 1, 19750);
    event = capture_get(b->events, DYNALOCK_EVENT_RENEWED, key, 0);
    assert_in_range((uintmax_t)event.remaining_ms, 1, 19750);
    dynalock_lock_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOCK_TEST(test_a_free_lock_is_acquired_at_once),
        LOCK_TEST(test_trying_once_says_who_holds_the_lock),
        LOCK_TEST(test_a_try_among_others_that_come_and_go_ends),
        LOCK_TEST(test_a_record_that_is_not_dynalocks_is_no_lock),
        LOCK_TEST(test_a_waiter_gets_the_lock_when_it_is_released),
        LOCK_TEST(test_one_object_locks_again_and_again_with_growing_tokens),
        LOCK_TEST(test_a_token_exceeds_any_version_that_was_there),
        LOCK_TEST(test_release_removes_the_record),
        LOCK_TEST(test_what_is_not_held_is_not_released),
        LOCK_TEST(test_a_held_lock_is_not_acquired_again),
        LOCK_TEST(test_an_object_takes_one_call_at_a_time),
        LOCK_TEST(test_two_locks_of_one_store_exclude_each_other),
        LOCK_TEST(test_freeing_a_held_lock_releases_it_in_the_background),
        LOCK_TEST(test_a_kept_record_is_a_tombstone),
        LOCK_TEST(test_nobody_sees_a_kept_record),
        LOCK_TEST(test_a_kept_record_is_taken_without_waiting_and_with_a_greater_token),
        LOCK_TEST(test_go_locks_over_a_kept_record),
        LOCK_TEST(test_value_and_holder_are_there_to_read),
        LOCK_TEST(test_the_value_survives_renewals),
        LOCK_TEST(test_the_default_holder_is_host_pid_and_time),
        LOCK_TEST(test_the_first_try_of_a_process_takes_what_a_dead_holder_left),
        LOCK_TEST(test_the_record_shows_the_holders_token_through_all_renewals),
        LOCK_TEST(test_a_lock_knows_whether_the_holder_is_itself),
        LOCK_TEST(test_another_acquirer_leaves_nothing_of_the_one_before),
        LOCK_TEST(test_the_keeper_holds_a_lock_past_its_ttl),
        LOCK_TEST(test_renewing_by_hand_extends_the_lease),
        LOCK_TEST(test_a_renewal_that_is_denied_each_time_though_it_happens_fails),
        LOCK_TEST(test_the_keeper_goes_on_with_a_changed_ttl),
        LOCK_TEST(test_bad_options_are_refused),
        LOCK_TEST(test_bad_arguments_are_refused),
        LOCK_TEST(test_a_record_of_over_1_kb_needs_the_option),
        LOCK_TEST(test_a_value_is_copied),
        LOCK_TEST(test_a_warm_store_locks_and_unlocks_in_two_requests),
        LOCK_TEST(test_a_cold_store_reads_first),
        LOCK_TEST(test_what_an_acquisition_reads_is_read_consistently),
        LOCK_TEST(test_a_failed_try_costs_one_request),
        LOCK_TEST(test_the_snapshot_shows_every_lock),
        LOCK_TEST(test_the_counters_count),
        LOCK_TEST(test_every_step_is_logged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
