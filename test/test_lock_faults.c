/* SPDX-License-Identifier: Apache-2.0 */
/* Locks over a network that loses, doubles and delays: what becomes of writes whose answer did not come. */
#include "support_lock.h"

#include <inttypes.h>

static const dynalock_lock_options by_default = {0};

static dynalock_counters counters_of(dynalock_store *store)
{
    dynalock_counters counters;
    check(dynalock_store_counters(store, &counters), 0);
    return counters;
}

static int64_t version_of(struct bench *b, const char *key)
{
    json_t *item = bench_item(b, key);
    int64_t version = item != NULL ? item_number(item, "version") : 0;
    json_decref(item);
    return version;
}

/* The nth request of an operation, from 1, as it came; borrowed from the log. */
static const json_t *request_of(const json_t *log, size_t n)
{
    return json_object_get(json_array_get(log, n - 1), "request");
}

/* ---- Acquiring -------------------------------------------------------------------------------- */

static void test_a_lost_answer_to_the_acquisition_is_found_to_have_won(void **state)
{
    struct bench *b = *state;
    static const char *const actions[] = {"\"drop\"", "\"reset\"", "\"truncate\"", "\"wrong-crc\"",
                                          "{\"do\":\"status\",\"forward\":true}"};
    warm(b->store);
    for (size_t i = 0; i < COUNT(actions); i++) {
        const char *key = bench_key(b);
        rig_reset_counts(b->rig);
        rig_fault(b->rig, "'match':{'op':'PutItem','key':'%s'},'action':%s", key, actions[i]);
        dynalock_lock *lock = lock_take(b->store, key, by_default);
        json_t *log = rig_log(b->rig, "PutItem");
        assert_true(json_array_size(log) >= 2);
        assert_true(json_equal(request_of(log, 1), request_of(log, 2)));
        json_decref(log);
        assert_int_equal(version_of(b, key), dynalock_lock_token(lock));
        check(dynalock_lock_ensure(lock, 1, &failure), 0);
        lock_end(lock);
        assert_int_equal(version_of(b, key), 0);
    }
    assert_int_equal(counters_of(b->store).adopted, COUNT(actions));
    assert_int_equal(counters_of(b->store).acquired, COUNT(actions));
}

static void test_a_try_that_got_no_answer_is_adopted_by_the_next_with_a_new_write(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_store *store = impatient(b);
    dynalock_lock *lock = lock_make(store, key, (dynalock_lock_options){.poll_ms = 100});
    struct waiter w;

    rig_fault(b->rig, "'match':{'op':'PutItem'},'times':-1,'action':'drop'");
    waiter_start(&w, lock, -1, LONG_MS);
    assert_true(await_event(b, DYNALOCK_EVENT_WAITING, key, 1));
    int64_t first = version_of(b, key);
    assert_true(first > 0);
    assert_int_equal(dynalock_lock_remaining_ms(lock), 0);
    rig_clear_faults(b->rig);
    check(waiter_join(&w), 0);
    assert_true(dynalock_lock_token(lock) > first);
    assert_int_equal(version_of(b, key), dynalock_lock_token(lock));
    assert_true(capture_count(b->events, DYNALOCK_EVENT_ADOPTED, key) >= 1);
    lock_end(lock);
    dynalock_close(store);
}

/* The first try's request is late, and arrives while the second try's, of the same version, is on its
 * way: only the number of the write in the nonce tells the two apart. */
static void test_a_try_that_lands_during_the_next_is_adopted_by_a_new_write(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    const int64_t seen = INT64_C(8000000000000000000); /* so that both tries write seen + 1 */
    dynalock_store *store = impatient(b);
    dynalock_lock *lock = lock_make(store, key, (dynalock_lock_options){.poll_ms = 300});
    struct waiter w;

    warm(store);
    bench_put_item(b, key,
                   "'version':{'N':'%" PRId64 "'},'expires':{'N':'1'},"
                   "'nonce':{'S':'0123456789abcdef0123456789abcdef.3.%" PRId64 "'}",
                   seen, seen);
    /* Twice: libcurl sends again by itself where a kept connection is closed. */
    rig_fault(b->rig,
              "'match':{'op':'PutItem','nth':2},'times':2,'action':{'do':'late','ms':1500}");
    waiter_start(&w, lock, -1, LONG_MS);
    assert_true(await_event(b, DYNALOCK_EVENT_WAITING, key, 1));
    rig_fault(b->rig, "'match':{'op':'PutItem','nth':2},'action':{'do':'hold','where':'request'}");
    assert_true(rig_wait(b->rig, "PutItem", "held", 1, LONG_MS));
    for (int64_t end = monotonic_ms() + LONG_MS; version_of(b, key) != seen + 1;) {
        assert_true(monotonic_ms() < end);
    }
    rig_let_go(b->rig);
    check(waiter_join(&w), 0);
    assert_int_equal(dynalock_lock_token(lock), seen + 2);
    assert_int_equal(version_of(b, key), seen + 2);
    lock_end(lock);
    dynalock_close(store);
}

static void test_a_lease_counts_from_before_it_was_asked_for(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    const int64_t late_ms = 1000;
    dynalock_lock *lock = lock_make(
        b->store, key, (dynalock_lock_options){.ttl_ms = 3000, .renewal = DYNALOCK_RENEWAL_NONE});

    warm(b->store);
    rig_fault(b->rig, "'match':{'op':'PutItem'},'action':{'do':'delay','ms':1000}");
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    assert_in_range(dynalock_lock_remaining_ms(lock), 1, 3000 - 250 - late_ms);
    rig_fault(b->rig, "'match':{'op':'UpdateItem'},'action':{'do':'delay','ms':1000}");
    /* So long that a sixth of it is enough for one late answer: a second attempt would count anew. */
    check(dynalock_lock_renew(lock, 30000, &failure), 0);
    assert_in_range(dynalock_lock_remaining_ms(lock), 1, 30000 - 250 - late_ms);
    lock_end(lock);
}

/* Without a Date, by which the lease ends earlier. */
static void test_a_lease_counts_from_the_first_attempt_of_its_write(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    const int64_t attempt_ms = 1500;
    dynalock_options options = bench_options(b);
    options.attempt_timeout_ms = attempt_ms;
    dynalock_store *store = bench_open(b, &options);
    dynalock_lock *lock =
        lock_make(store, key, (dynalock_lock_options){.renewal = DYNALOCK_RENEWAL_NONE});

    rig_do(b->rig, "'cmd':'set','date':'none'");
    rig_fault(b->rig, "'match':{'op':'PutItem'},'action':{'do':'blackhole','forward':true}");
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    assert_in_range(dynalock_lock_remaining_ms(lock), 1, 20000 - 250 - attempt_ms);
    lock_end(lock);
    dynalock_close(store);
}

static void test_an_answer_that_comes_after_the_lease_is_no_lock(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(b->store, key, (dynalock_lock_options){.ttl_ms = 800});

    warm(b->store);
    rig_fault(b->rig, "'match':{'op':'PutItem'},'times':-1,'action':{'do':'delay','ms':700}");
    int64_t began = monotonic_ms();
    int code = dynalock_lock_acquire(lock, -1, 0, &failure);
    assert_int_not_equal(code, 0);
    assert_true((failure.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN) != 0);
    assert_true(monotonic_ms() - began < 3000);
    assert_int_equal(dynalock_lock_remaining_ms(lock), 0);
    rig_clear_faults(b->rig);
    assert_true(await_gone(b, key));
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    check(dynalock_lock_ensure(lock, 1, &failure), 0);
    dynalock_lock_free(lock);
}

static void test_a_try_that_lands_after_the_call_is_removed(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_store *store = impatient(b);
    dynalock_lock *lock = lock_make(store, key, by_default);

    rig_fault(b->rig, "'match':{'op':'PutItem'},'times':2,'action':{'do':'late','ms':1200}");
    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_ERR_NETWORK);
    assert_true((failure.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN) != 0);
    assert_true(rig_wait(b->rig, "PutItem", "forwarded", 1, LONG_MS));
    assert_true(await_gone(b, key));
    dynalock_lock_free(lock);
    dynalock_close(store);
}

/* The first of several tries lands, after the last: each has a nonce of its own. */
static void test_what_tries_have_left_is_removed_whichever_it_was(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_store *store = impatient(b);
    dynalock_lock *lock =
        lock_make(store, key, (dynalock_lock_options){.ttl_ms = 60000, .poll_ms = 100});

    warm(store);
    /* Twice: libcurl sends again by itself where a kept connection is closed. */
    rig_fault(b->rig, "'match':{'op':'PutItem'},'times':2,'action':{'do':'late','ms':1500}");
    rig_fault(b->rig, "'match':{'op':'PutItem'},'times':-1,'action':'drop-before'");
    assert_int_not_equal(dynalock_lock_acquire(lock, -1, 1000, &failure), 0);
    assert_true((failure.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN) != 0);
    assert_true(bench_count(b, "PutItem") > 2);
    assert_true(rig_wait(b->rig, "PutItem", "forwarded", 1, LONG_MS));
    assert_true(await_gone(b, key));
    dynalock_lock_free(lock);
    dynalock_close(store);
}

static void test_cleaning_up_after_a_try_leaves_anothers_record(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_store *store = impatient(b);
    dynalock_lock *lock = lock_make(store, key, (dynalock_lock_options){.ttl_ms = 1000});

    warm(store);
    warm(bench_direct(b));
    rig_fault(b->rig, "'match':{'op':'GetItem'},'action':{'do':'hold','where':'request'}");
    rig_fault(b->rig, "'match':{'op':'PutItem'},'times':-1,'action':'drop-before'");
    bench_reset(b);
    assert_int_not_equal(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    assert_true(rig_wait(b->rig, "GetItem", "held", 1, LONG_MS)); /* the keeper's look */
    dynalock_lock *other = lock_take(b->direct, key, by_default);
    rig_let_go(b->rig);
    assert_true(rig_wait(b->rig, "GetItem", "finished", 3, LONG_MS));
    assert_int_equal(bench_count(b, "DeleteItem"), 0);
    assert_int_equal(version_of(b, key), dynalock_lock_token(other));
    lock_end(other);
    dynalock_lock_free(lock);
    dynalock_close(store);
}

static void test_a_create_that_lands_after_its_tenure_holds_nothing(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(b->store, key, (dynalock_lock_options){.ttl_ms = 1500});
    dynalock_lock *other =
        lock_make(bench_direct(b), key, (dynalock_lock_options){.ttl_ms = 3000, .poll_ms = 100});

    warm(b->store);
    warm(b->direct);
    rig_fault(b->rig, "'match':{'op':'PutItem'},'action':{'do':'late','ms':1000}");
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    int64_t token = dynalock_lock_token(lock);
    lock_end(lock);
    /* The first copy comes now: a record that nobody owns. */
    assert_true(rig_wait(b->rig, "PutItem", "forwarded", 2, LONG_MS));
    json_t *item = bench_item(b, key);
    if (item != NULL) { /* on DynamoDB Local the table's time to live may have been quicker */
        assert_int_equal(item_number(item, "version"), token);
    }
    json_decref(item);
    check(dynalock_lock_acquire(other, -1, LONG_MS, &failure), 0);
    assert_true(dynalock_lock_token(other) > token);
    lock_end(other);
}

static void test_an_acquisition_that_is_delivered_twice_is_one(void **state)
{
    struct bench *b = *state;
    static const char *const answers[] = {"first", "second"};
    for (size_t i = 0; i < COUNT(answers); i++) {
        const char *key = bench_key(b);
        rig_fault(b->rig,
                  "'match':{'op':'PutItem','key':'%s'},'action':{'do':'twice','answer':'%s'}", key,
                  answers[i]);
        dynalock_lock *lock = lock_take(b->store, key, by_default);
        assert_int_equal(version_of(b, key), dynalock_lock_token(lock));
        check(dynalock_lock_renew(lock, 0, &failure), 0);
        lock_end(lock);
    }
}

static void test_a_takeover_whose_answer_is_lost_has_one_token(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);

    bench_put_item(b, key, "'version':{'N':'9000000000000000000'},'expires':{'N':'1'}");
    warm(b->store);
    rig_fault(b->rig, "'match':{'op':'PutItem','nth':2},'action':'drop'");
    dynalock_lock *lock = lock_take(b->store, key, by_default);
    assert_int_equal(dynalock_lock_token(lock), INT64_C(9000000000000000001));
    assert_int_equal(version_of(b, key), INT64_C(9000000000000000001));
    lock_end(lock);
}

/* Between the look at a record and the write over it, one thing about it changes: it is judged anew. */
static void test_a_takeover_writes_over_nothing_but_the_record_that_was_judged(void **state)
{
#define JUDGED_VERSION "8000000000000000000"
#define JUDGED_NONCE "00112233445566778899aabbccddeeff.1." JUDGED_VERSION
    static const char *const changed[][3] = {
        {JUDGED_VERSION, JUDGED_NONCE, "2"},
        {JUDGED_VERSION, "00112233445566778899aabbccddeeff.2." JUDGED_VERSION, "1"},
        {"8000000000000000001", JUDGED_NONCE, "1"},
    };
    static const char format[] = "'version':{'N':'%s'},'nonce':{'S':'%s'},'expires':{'N':'%s'}";
    struct bench *b = *state;
    warm(b->store);
    for (size_t i = 0; i < COUNT(changed); i++) {
        const char *key = bench_key(b);
        dynalock_lock *lock = lock_make(b->store, key, by_default);
        struct waiter w;
        bench_put_item(b, key, format, JUDGED_VERSION, JUDGED_NONCE, "1");
        rig_reset_counts(b->rig);
        rig_fault(b->rig,
                  "'match':{'op':'PutItem','key':'%s','nth':2},"
                  "'action':{'do':'hold','where':'request'}",
                  key);
        waiter_start(&w, lock, -1, 0);
        assert_true(rig_wait(b->rig, "PutItem", "held", 1, LONG_MS));
        bench_put_item(b, key, format, changed[i][0], changed[i][1], changed[i][2]);
        rig_let_go(b->rig);
        check(waiter_join(&w), 0);
        assert_int_equal(rig_count(b->rig, "PutItem"), 3);
        assert_int_equal(dynalock_lock_token(lock), strtoll(changed[i][0], NULL, 10) + 1);
        lock_end(lock);
    }
}

/* ---- Renewing --------------------------------------------------------------------------------- */

static void test_renewals_whose_answers_are_lost_keep_the_lock(void **state)
{
    struct bench *b = *state;
    static const char *const actions[] = {"\"drop\"",
                                          "\"reset\"",
                                          "\"wrong-crc\"",
                                          "\"twice\"",
                                          "{\"do\":\"blackhole\",\"forward\":true}",
                                          "{\"do\":\"status\",\"forward\":true}"};
    dynalock_lock *locks[COUNT(actions)];
    const char *keys[COUNT(actions)];
    for (size_t i = 0; i < COUNT(actions); i++) {
        keys[i] = bench_key(b);
        locks[i] = lock_take(b->store, keys[i], (dynalock_lock_options){.ttl_ms = 6000});
        rig_fault(b->rig, "'match':{'op':'UpdateItem','key':'%s'},'times':2,'action':%s", keys[i],
                  actions[i]);
    }
    for (size_t i = 0; i < COUNT(actions); i++) {
        int64_t token = dynalock_lock_token(locks[i]);
        if (!await_event(b, DYNALOCK_EVENT_RENEWED, keys[i], 2) ||
            dynalock_lock_ensure(locks[i], 1, &failure) != 0 ||
            capture_count(b->events, DYNALOCK_EVENT_ADOPTED, keys[i]) < 1) {
            fail_msg("%s", actions[i]);
        }
        assert_int_equal(dynalock_lock_token(locks[i]), token);
        assert_true(version_of(b, keys[i]) > token);
        lock_end(locks[i]);
    }
    assert_int_equal(counters_of(b->store).lost, 0);
}

/* On a server that does not show the record, and cannot be asked for it either. */
static void test_a_renewal_that_was_delivered_twice_is_recognised_by_the_next(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock =
        lock_take(b->store, key, (dynalock_lock_options){.renewal = DYNALOCK_RENEWAL_NONE});

    rig_fault(b->rig, "'match':{'op':'UpdateItem'},'action':'twice'");
    rig_fault(b->rig, "'match':{'op':'GetItem'},'times':4,'action':{'do':'status','status':500}");
    int code = dynalock_lock_renew(lock, 0, &failure);
    assert_int_equal(code, test_is_local() ? DYNALOCK_OK : DYNALOCK_ERR_SERVICE);
    check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_OK);
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_HELD);
    lock_end(lock);
}

static void test_each_attempt_of_a_renewal_is_a_write_of_its_own(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(b->store, key, (dynalock_lock_options){.ttl_ms = 3000});

    rig_reset_counts(b->rig);
    rig_fault(b->rig, "'match':{'op':'UpdateItem'},'action':'status'");
    assert_true(await_event(b, DYNALOCK_EVENT_RENEWED, key, 1));
    json_t *log = rig_log(b->rig, "UpdateItem");
    assert_true(json_array_size(log) >= 2);
    assert_false(json_equal(request_of(log, 1), request_of(log, 2)));
    json_decref(log);
    lock_end(lock);
}

static void test_a_renewal_that_got_no_answer_extends_nothing(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(
        b->store, key, (dynalock_lock_options){.ttl_ms = 3000, .renewal = DYNALOCK_RENEWAL_NONE});

    sleep_ms(500);
    rig_fault(b->rig, "'match':{'op':'UpdateItem'},'times':-1,'action':'drop'");
    assert_int_not_equal(dynalock_lock_renew(lock, 0, &failure), 0);
    assert_true(dynalock_lock_remaining_ms(lock) <= 2250);
    assert_int_equal(failure.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN,
                     DYNALOCK_ERROR_OUTCOME_UNKNOWN);
    assert_true(version_of(b, key) > dynalock_lock_token(lock)); /* it has happened */
    rig_clear_faults(b->rig);
    if (dynalock_lock_remaining_ms(lock) > 500) {
        check(dynalock_lock_renew(lock, 10000, &failure), 0);
        check(dynalock_lock_ensure(lock, 3000, &failure), 0);
        lock_end(lock);
    } else {
        dynalock_lock_free(lock);
    }
}

static void test_a_renewal_that_is_found_to_have_happened_extends_nothing(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = impatient(b);
    dynalock_lock *lock =
        lock_take(store, bench_key(b),
                  (dynalock_lock_options){.ttl_ms = 6000, .renewal = DYNALOCK_RENEWAL_NONE});

    sleep_ms(1000);
    rig_fault(b->rig, "'match':{'op':'UpdateItem'},'action':{'do':'status','forward':true}");
    check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_ERR_SERVICE);
    rig_fault(b->rig, "'match':{'op':'UpdateItem','nth':2},'times':-1,'action':'status'");
    check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_ERR_SERVICE);
    assert_int_equal(counters_of(store).adopted, 1);
    assert_true(dynalock_lock_remaining_ms(lock) <= 6000 - 250 - 1000);
    rig_clear_faults(b->rig);
    lock_end(lock);
    dynalock_close(store);
}

static void test_a_shorter_lease_counts_though_its_answer_is_lost(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_take(b->store, bench_key(b),
                                    (dynalock_lock_options){.renewal = DYNALOCK_RENEWAL_NONE});

    rig_fault(b->rig, "'match':{'op':'UpdateItem'},'times':-1,'action':'drop'");
    assert_int_not_equal(dynalock_lock_renew(lock, 1000, &failure), 0);
    assert_true(dynalock_lock_remaining_ms(lock) <= 750);
    assert_true(await_state(lock, DYNALOCK_LOCK_LOST));
    dynalock_lock_free(lock);
}

/* ---- Releasing -------------------------------------------------------------------------------- */

static void test_a_release_whose_answer_is_lost_has_released(void **state)
{
    struct bench *b = *state;
    static const char *const actions[] = {"\"drop\"", "\"reset\"", "\"wrong-crc\"", "\"twice\"",
                                          "{\"do\":\"status\",\"forward\":true}"};
    for (size_t i = 0; i < 2 * COUNT(actions); i++) {
        bool keep = i % 2 == 1;
        /* Of a delete that somebody sends again on the way only the refusal is seen. */
        bool in_doubt = !keep && strstr(actions[i / 2], "twice") != NULL;
        const char *key = bench_key(b);
        dynalock_lock *lock =
            lock_take(b->store, key, (dynalock_lock_options){.keep_record = keep});
        rig_fault(b->rig, "'match':{'op':'%s','key':'%s'},'action':%s",
                  keep ? "UpdateItem" : "DeleteItem", key, actions[i / 2]);
        check(dynalock_lock_release(lock, &failure), in_doubt ? DYNALOCK_ERR_LOST : 0);
        assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_IDLE);
        json_t *item = bench_item(b, key);
        if (keep) {
            assert_int_equal(item_number(item, "expires"), 1);
            assert_int_equal(item_number(item, "version"), dynalock_lock_token(lock) + 1);
        } else {
            assert_null(item);
        }
        json_decref(item);
        dynalock_lock_free(lock);
    }
    assert_int_equal(counters_of(b->store).released, 2 * COUNT(actions) - 1);
}

struct releaser {
    pthread_t thread;
    dynalock_lock *lock;
    int code;
};

static void *release_main(void *context)
{
    struct releaser *r = context;
    r->code = dynalock_lock_release(r->lock, NULL);
    return NULL;
}

/* Releases while a renewal is held by the proxy, which lets go of it when the release has begun. */
static void test_a_release_during_a_renewal_leaves_nothing(void **state)
{
    struct bench *b = *state;
    static const char *const wheres[] = {"answer", "request"};
    for (size_t i = 0; i < COUNT(wheres); i++) {
        const char *key = bench_key(b);
        dynalock_lock *lock = lock_take(b->store, key, (dynalock_lock_options){.ttl_ms = 3000});
        struct releaser r = {.lock = lock};
        rig_reset_counts(b->rig);
        rig_fault(b->rig,
                  "'match':{'op':'UpdateItem','key':'%s'},'action':{'do':'hold','where':'%s'}", key,
                  wheres[i]);
        assert_true(rig_wait(b->rig, "UpdateItem", "held", 1, LONG_MS));
        assert_int_equal(pthread_create(&r.thread, NULL, release_main, &r), 0);
        assert_true(await_state(lock, DYNALOCK_LOCK_RELEASING));
        check(dynalock_lock_ensure(lock, 0, &failure), DYNALOCK_ERR_NOT_HELD);
        rig_let_go(b->rig);
        pthread_join(r.thread, NULL);
        assert_int_equal(r.code, 0);
        assert_false(is_there(b, key));
        assert_int_equal(capture_count(b->events, DYNALOCK_EVENT_LOST, key), 0);
        dynalock_lock_free(lock);
    }
}

static void test_a_release_after_a_renewal_without_an_answer_finds_its_version(void **state)
{
    struct bench *b = *state;
    for (int keep = 0; keep < 2; keep++) {
        const char *key = bench_key(b);
        dynalock_lock *lock = lock_take(
            b->store, key,
            (dynalock_lock_options){.keep_record = keep == 1, .renewal = DYNALOCK_RENEWAL_NONE});
        rig_fault(b->rig, "'match':{'op':'UpdateItem','key':'%s'},'times':-1,'action':'drop'", key);
        assert_int_not_equal(dynalock_lock_renew(lock, 0, &failure), 0);
        rig_clear_faults(b->rig);
        assert_true(version_of(b, key) > dynalock_lock_token(lock));
        check(dynalock_lock_release(lock, &failure), 0);
        json_t *item = bench_item(b, key);
        if (keep == 1) {
            assert_int_equal(item_number(item, "expires"), 1);
        } else {
            assert_null(item);
        }
        json_decref(item);
        dynalock_lock_free(lock);
    }
}

static void test_a_release_into_nothing_returns_and_can_be_repeated(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_options options = bench_options(b);
    options.timeout_ms = 1000;
    options.attempt_timeout_ms = 300;
    options.log = capture_log;
    options.log_context = b->events;
    dynalock_store *store = bench_open(b, &options);
    dynalock_lock *lock = lock_take(store, key, by_default);
    int64_t began = monotonic_ms();

    rig_fault(b->rig, "'match':{'op':'DeleteItem'},'times':-1,'action':'blackhole'");
    int code = dynalock_lock_release(lock, &failure);
    assert_true(code == DYNALOCK_ERR_TIMEOUT || code == DYNALOCK_ERR_NETWORK);
    assert_true((failure.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN) != 0);
    assert_true(monotonic_ms() - began < 4000);
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_RELEASING);
    assert_int_equal(dynalock_lock_remaining_ms(lock), 0);
    check(dynalock_lock_ensure(lock, 0, &failure), DYNALOCK_ERR_NOT_HELD);
    check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_ERR_NOT_HELD);
    assert_int_equal(capture_count(b->events, DYNALOCK_EVENT_RELEASE_FAILED, key), 1);
    rig_clear_faults(b->rig);
    assert_true(is_there(b, key));
    check(dynalock_lock_release(lock, &failure), 0);
    assert_false(is_there(b, key));
    assert_int_equal(counters_of(store).released, 1);
    dynalock_lock_free(lock);
    dynalock_close(store);
}

static void test_after_a_failed_release_the_object_acquires_its_own_record_at_once(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_store *store = impatient(b);
    dynalock_lock *lock = lock_take(store, key, by_default);
    int64_t token = dynalock_lock_token(lock);

    rig_fault(b->rig, "'times':-1,'action':'drop-before'");
    check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_NETWORK);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_ERR_NETWORK);
    rig_clear_faults(b->rig);
    check(dynalock_lock_acquire(lock, -1, INT64_MAX, &failure), 0);
    assert_true(dynalock_lock_token(lock) > token);
    lock_end(lock);
    dynalock_close(store);
}

static void await_remaining(dynalock_lock *lock, int64_t ms)
{
    while (dynalock_lock_remaining_ms(lock) > ms) {
        sleep_ms(20);
    }
}

/* The delete is on its way until after the lease; meanwhile the record has gone. */
static void test_a_release_that_finds_nothing_after_the_lease_is_a_loss(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(
        b->store, key, (dynalock_lock_options){.ttl_ms = 4000, .renewal = DYNALOCK_RENEWAL_NONE});
    struct releaser r = {.lock = lock};
    int64_t lease_ends_ms = monotonic_ms() + dynalock_lock_remaining_ms(lock) + 1;
    await_remaining(lock, 1500); /* a release has as long as a lease: more than what is left */

    rig_fault(b->rig,
              "'match':{'op':'DeleteItem'},'action':'status'"); /* it may have been that one */
    rig_fault(b->rig, "'match':{'op':'DeleteItem'},'action':{'do':'hold','where':'request'}");
    assert_int_equal(pthread_create(&r.thread, NULL, release_main, &r), 0);
    assert_true(rig_wait(b->rig, "DeleteItem", "held", 1, LONG_MS));
    bench_delete_item(b, key);
    while (monotonic_ms() <= lease_ends_ms) {
        sleep_ms(20);
    }
    rig_let_go(b->rig);
    pthread_join(r.thread, NULL);
    assert_int_equal(r.code, DYNALOCK_ERR_LOST);
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_IDLE);
    dynalock_lock_free(lock);
}

/* After the lease another may have held the lock, unless the record says whose release it was. */
static void test_a_kept_record_shows_whose_release_it_was_after_the_lease_too(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock =
        lock_take(b->store, key,
                  (dynalock_lock_options){
                      .ttl_ms = 4000, .keep_record = true, .renewal = DYNALOCK_RENEWAL_NONE});
    struct releaser r = {.lock = lock};
    int64_t lease_ends_ms = monotonic_ms() + dynalock_lock_remaining_ms(lock) + 1;
    await_remaining(lock, 1500); /* a release has as long as a lease: more than what is left */

    rig_fault(b->rig, "'match':{'op':'UpdateItem'},'action':{'do':'status','forward':true}");
    rig_fault(b->rig, "'match':{'op':'UpdateItem'},'action':{'do':'hold','where':'request'}");
    assert_int_equal(pthread_create(&r.thread, NULL, release_main, &r), 0);
    assert_true(rig_wait(b->rig, "UpdateItem", "held", 1, LONG_MS));
    while (monotonic_ms() <= lease_ends_ms) {
        sleep_ms(20);
    }
    rig_let_go(b->rig);
    pthread_join(r.thread, NULL);
    assert_int_equal(r.code, 0);
    dynalock_lock_free(lock);
}

static void test_a_lock_freed_after_a_failed_release_is_released_in_the_background(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_store *store = impatient(b);
    dynalock_lock *lock = lock_take(store, key, by_default);

    rig_fault(b->rig, "'match':{'op':'DeleteItem'},'times':3,'action':'drop-before'");
    check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_NETWORK);
    dynalock_lock_free(lock);
    assert_true(await_gone(b, key));
    dynalock_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOCK_TEST(test_a_lost_answer_to_the_acquisition_is_found_to_have_won),
        LOCK_TEST(test_a_try_that_got_no_answer_is_adopted_by_the_next_with_a_new_write),
        LOCK_TEST(test_a_try_that_lands_during_the_next_is_adopted_by_a_new_write),
        LOCK_TEST(test_a_lease_counts_from_before_it_was_asked_for),
        LOCK_TEST(test_a_lease_counts_from_the_first_attempt_of_its_write),
        LOCK_TEST(test_an_answer_that_comes_after_the_lease_is_no_lock),
        LOCK_TEST(test_a_try_that_lands_after_the_call_is_removed),
        LOCK_TEST(test_what_tries_have_left_is_removed_whichever_it_was),
        LOCK_TEST(test_cleaning_up_after_a_try_leaves_anothers_record),
        LOCK_TEST(test_a_create_that_lands_after_its_tenure_holds_nothing),
        LOCK_TEST(test_an_acquisition_that_is_delivered_twice_is_one),
        LOCK_TEST(test_a_takeover_whose_answer_is_lost_has_one_token),
        LOCK_TEST(test_a_takeover_writes_over_nothing_but_the_record_that_was_judged),
        LOCK_TEST(test_renewals_whose_answers_are_lost_keep_the_lock),
        LOCK_TEST(test_a_renewal_that_was_delivered_twice_is_recognised_by_the_next),
        LOCK_TEST(test_each_attempt_of_a_renewal_is_a_write_of_its_own),
        LOCK_TEST(test_a_renewal_that_got_no_answer_extends_nothing),
        LOCK_TEST(test_a_renewal_that_is_found_to_have_happened_extends_nothing),
        LOCK_TEST(test_a_shorter_lease_counts_though_its_answer_is_lost),
        LOCK_TEST(test_a_release_whose_answer_is_lost_has_released),
        LOCK_TEST(test_a_release_during_a_renewal_leaves_nothing),
        LOCK_TEST(test_a_release_after_a_renewal_without_an_answer_finds_its_version),
        LOCK_TEST(test_a_release_into_nothing_returns_and_can_be_repeated),
        LOCK_TEST(test_after_a_failed_release_the_object_acquires_its_own_record_at_once),
        LOCK_TEST(test_a_release_that_finds_nothing_after_the_lease_is_a_loss),
        LOCK_TEST(test_a_kept_record_shows_whose_release_it_was_after_the_lease_too),
        LOCK_TEST(test_a_lock_freed_after_a_failed_release_is_released_in_the_background),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
