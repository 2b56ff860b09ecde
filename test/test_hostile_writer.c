/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One who may write to the table, and means harm: what this does to those who wait for a lock or hold one. SECURITY.md
 * says it in words. What readers see: test_hostile_record.c. What one does by accident: test_scene_stranger.c.
 *
 * In all that follows the library answers within its limits, sends no more requests than ever, and believes to hold a
 * lock only by a conditional write of its own.
 */
#include "support_lock.h"

#include <stdatomic.h>

#define FAR_OFF INT64_C(4102444800) /* 2100 */
#define LONG_AGO INT64_C(1600000000)
#define STRANGER "00112233445566778899aabbccddeeff"
#define TEN "0000000000"

static const dynalock_lock_options by_hand = {.renewal = DYNALOCK_RENEWAL_NONE};

/* ---- The writer ------------------------------------------------------------------------------- */

/* The tenure that has written the record, and its version. */
static void look(struct bench *b, const char *key, char tenure[33], int64_t *version)
{
    json_t *item = bench_item(b, key);
    assert_non_null(item);
    snprintf(tenure, 33, "%.32s", item_text(item, "nonce", "S"));
    *version = item_number(item, "version");
    json_decref(item);
}

/* A record as this library writes it; the nonce is tenure.write.version. */
static void forge(struct bench *b, const char *key, const char *tenure, const char *write,
                  const char *version, int64_t expires)
{
    bench_put_item(b, key,
                   "'version':{'N':'%s'},'nonce':{'S':'%s.%s.%s'},'expires':{'N':'%" PRId64
                   "'},'lease':{'N':'20000'},'holder':{'S':'Mallory'}",
                   version, tenure, write, version, expires);
}

static void forge_at(struct bench *b, const char *key, const char *tenure, const char *write,
                     int64_t version, int64_t expires)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, version);
    forge(b, key, tenure, write, text, expires);
}

static void set_expiry(struct bench *b, const char *key, int64_t expires)
{
    json_t *answer = rig_raw(b->rig, "UpdateItem",
                             "'TableName':'%s','Key':{'id':{'S':'%s'},'name':{'S':'%s'}},"
                             "'UpdateExpression':'SET expires = :e',"
                             "'ExpressionAttributeValues':{':e':{'N':'%" PRId64 "'}}",
                             b->table, b->partition, key, expires);
    assert_non_null(json_object_get(answer, "result"));
    json_decref(answer);
}

/* Whether there is a record at all, of which not all can be read. */
static bool is_left(struct bench *b, const char *key)
{
    json_t *answer = rig_raw(b->rig, "GetItem",
                             "'TableName':'%s','ConsistentRead':true,'ProjectionExpression':'id',"
                             "'Key':{'id':{'S':'%s'},'name':{'S':'%s'}}",
                             b->table, b->partition, key);
    bool left = json_object_get(json_object_get(answer, "result"), "Item") != NULL;
    json_decref(answer);
    return left;
}

/* One call, where this thread has something else to do. */
struct worker {
    pthread_t thread;
    dynalock_lock *lock;
    dynalock_store *store;
    const char *key;
    int code;
};

static void *renew_it(void *context)
{
    struct worker *worker = context;
    worker->code = dynalock_lock_renew(worker->lock, 0, NULL);
    return NULL;
}

/* No more requests of the kind than so many. */
static void assert_few(struct bench *b, const char *op, int most)
{
    int count = bench_count(b, op);
    if (count > most) {
        fail_msg("%d of %s, and not %d at the most", count, op, most);
    }
}

/* ---- Taking a lock from its holder ------------------------------------------------------------ */

/* What is done to the record of a held lock; another takes it then, at once. */
static void steal_by_deleting(struct bench *b, const char *key, const char *finished)
{
    (void)finished;
    bench_delete_item(b, key);
}

static void steal_by_expiring(struct bench *b, const char *key, const char *finished)
{
    (void)finished;
    set_expiry(b, key, LONG_AGO);
}

static void steal_by_releasing(struct bench *b, const char *key, const char *finished)
{
    (void)finished;
    set_expiry(b, key, 1);
}

static void steal_by_a_go_record(struct bench *b, const char *key, const char *finished)
{
    (void)finished;
    bench_put_item(b, key, "'version':{'N':'1'},'expires':{'N':'%" PRId64 "'}", LONG_AGO);
}

/* A record of the thief's tenure before, put back. */
static void steal_by_replaying(struct bench *b, const char *key, const char *finished)
{
    forge_at(b, key, finished, "1", 5, FAR_OFF);
}

static void (*const thefts[])(struct bench *b, const char *key, const char *finished) = {
    steal_by_deleting, steal_by_expiring, steal_by_releasing, steal_by_a_go_record,
    steal_by_replaying};

struct theft {
    const char *key;
    dynalock_lock *holder, *thief;
    int64_t token;
};

static void theft_begin(struct bench *b, struct theft *t, size_t which)
{
    char finished[33];
    int64_t version = 0;
    t->key = bench_key(b);
    t->thief = lock_take(bench_direct(b), t->key, (dynalock_lock_options){0});
    look(b, t->key, finished, &version);
    check(dynalock_lock_release(t->thief, &failure), 0);
    t->holder = lock_take(b->store, t->key, (dynalock_lock_options){.ttl_ms = 9000});
    t->token = dynalock_lock_token(t->holder);
    thefts[which](b, t->key, finished);
    check(dynalock_lock_acquire(t->thief, -1, 0, &failure), 0);
}

/* Guard: a renewal names version and nonce; what the other has is not removed. */
static void test_a_holder_that_is_robbed_learns_of_it_at_its_next_renewal(void **state)
{
    struct bench *b = *state;
    struct theft stolen[COUNT(thefts)];
    int lost = -1;
    warm(bench_direct(b));
    for (size_t i = 0; i < COUNT(thefts); i++) {
        theft_begin(b, &stolen[i], i);
        assert_true(dynalock_lock_token(stolen[i].thief) > stolen[i].token); /* fencing tells */
    }
    for (size_t i = 0; i < COUNT(thefts); i++) {
        struct theft *t = &stolen[i];
        check(dynalock_lock_lost_fd(t->holder, &lost, &failure), 0);
        assert_true(readable(lost, LONG_MS));
        assert_int_equal(dynalock_lock_cause(t->holder), DYNALOCK_CAUSE_TAKEN_OVER);
        check(dynalock_lock_ensure(t->holder, 0, &failure), DYNALOCK_ERR_LOST);
        check(dynalock_lock_release(t->holder, &failure), DYNALOCK_ERR_LOST);
        check(dynalock_lock_renew(t->thief, 0, &failure), 0);
        lock_end(t->thief);
        dynalock_lock_free(t->holder);
    }
    assert_int_equal(capture_count(b->events, DYNALOCK_EVENT_RENEWED, NULL), 0); /* the first one */
}

/* Who may write may make tokens small again, and give the same to two: of what the resource has seen, it can only refuse
 * the smaller. Nothing of this happens where the version has not been driven ahead of the time. */
static void test_tokens_go_back_or_come_twice_where_a_writer_has_driven_them_ahead(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *robbed = lock_make(b->store, key, by_hand);
    dynalock_lock *next = lock_make(b->store, key, by_hand);
    warm(b->store);
    forge(b, key, STRANGER, "1", "4000000000000000000", LONG_AGO);
    check(dynalock_lock_acquire(robbed, -1, 0, &failure), 0);
    assert_true(dynalock_lock_token(robbed) == INT64_C(4000000000000000001));
    forge(b, key, STRANGER, "1", "4000000000000000000", LONG_AGO);
    check(dynalock_lock_acquire(next, -1, 0, &failure), 0);
    assert_true(dynalock_lock_token(next) == dynalock_lock_token(robbed));
    check(dynalock_lock_renew(robbed, 0, &failure), DYNALOCK_ERR_LOST);
    check(dynalock_lock_release(next, &failure), 0);
    check(dynalock_lock_acquire(next, -1, 0, &failure), 0);
    assert_true(dynalock_lock_token(next) < dynalock_lock_token(robbed));
    lock_end(next);
    dynalock_lock_free(robbed);
}

/* ---- Keeping others from it ------------------------------------------------------------------- */

#define WAITS DYNALOCK_ERR_NOT_ACQUIRED
#define ODD DYNALOCK_ERR_TYPE

static const struct barrier {
    const char *attributes;
    int code;
} barriers[] = {
    {"'version':{'N':'5'}", WAITS}, /* never expires */
    {"'version':{'N':'5'},'expires':{'N':'4102444800'}", WAITS},
    {"'version':{'N':'5'},'expires':{'N':'4102444800'},"
     "'nonce':{'S':'" STRANGER ".1.5'},'lease':{'N':'9223372036854775807'}",
     WAITS},
    {"'version':{'N':'5'},'expires':{'N':'4102444800'},"
     "'nonce':{'S':'" STRANGER ".1.5'},'lease':{'N':'4611686018427387'}",
     WAITS},
    /* Where sums of microseconds end. */
    {"'version':{'N':'5'},'expires':{'N':'4611686018427'}", WAITS},
    {"'version':{'N':'5'},'expires':{'N':'9214000000000'}", WAITS},
    {"'version':{'N':'5'},'expires':{'N':'9215000000000'}", WAITS},
    {"'version':{'N':'5'},'expires':{'N':'9223371950000'}", WAITS},
    {"'version':{'N':'5'},'expires':{'N':'9223371950453'}", WAITS},
    {"'version':{'N':'5'},'expires':{'N':'9223372036854'}", WAITS},
    {"'version':{'N':'5'},'expires':{'N':'9220000000000'},"
     "'nonce':{'S':'" STRANGER ".1.5'},'lease':{'N':'4611686018427386'}",
     WAITS},
    {"'version':{'N':'-9223372036854775808'},'expires':{'N':'4102444800'},"
     "'nonce':{'S':'" STRANGER ".1.1.-9223372036854775808'},'lease':{'N':'20000'}",
     WAITS},
    {"'version':{'N':'5'},'expires':{'N':'4102444800'},"
     "'nonce':{'S':'" STRANGER ".1.4294967295.5'},'lease':{'N':'20000'}",
     WAITS},
    {"'version':{'N':'9223372036854775807'},'expires':{'N':'1'}", ODD}, /* spent */
    {"'version':{'N':'9223372036854775807'},'expires':{'N':'4102444800'},"
     "'nonce':{'S':'" STRANGER ".1.9223372036854775807'},'lease':{'N':'20000'}",
     ODD},
    {"'expires':{'N':'1'}", ODD},
    {"'version':{'S':'5'},'expires':{'N':'1'}", ODD},
    {"'version':{'N':'5'},'expires':{'N':'1'},'nonce':{'NULL':true}", ODD},
    {"'version':{'N':'5'},'expires':{'N':'4102444800'},"
     "'a.b':{'S':'x'},'#n':{'S':'x'},':v':{'S':'x'},'Item':{'M':{}}",
     WAITS},
    {"'version':{'N':'5'},'expires':{'N':'4102444800'},'a\\u0000b':{'S':'x'}", ODD},
    {"'version':{'N':'5'},'expires':{'N':'1'},'payload':{'M':{'\\u0000':{'S':'x'}}}", ODD},
};

static void take_event(dynalock_store *store, dynalock_lock_event *event)
{
    int fd = -1;
    check(dynalock_event_fd(store, &fd, &failure), 0);
    assert_true(readable(fd, LONG_MS));
    check(dynalock_next_event(store, event, &failure), 0);
    assert_int_equal(event->kind, DYNALOCK_LOCK_EVENT_ACQUIRE);
}

/* Guard: limits of times and versions before sums are made of them; an error ends the wait. */
static void test_a_record_that_bars_a_lock_costs_no_more_than_the_wait_for_it(void **state)
{
    struct bench *b = *state;
    const char *keys[COUNT(barriers)];
    dynalock_lock *locks[COUNT(barriers)];
    warm(b->store);
    for (size_t i = 0; i < COUNT(barriers); i++) {
        keys[i] = bench_key(b);
        bench_put_item(b, keys[i], "%s", barriers[i].attributes);
        dynalock_lock_options options = {.context = (void *)(uintptr_t)&barriers[i]};
        options.takeover_delay_ms = options.go_takeover_delay_ms = INT64_C(365) * 86400 * 1000;
        locks[i] = lock_make(b->store, keys[i], options);
    }
    bench_reset(b);
    int64_t began_ms = monotonic_ms();
    for (size_t i = 0; i < COUNT(barriers); i++) {
        check(dynalock_lock_acquire_start(locks[i], 600, &failure), 0);
    }
    for (size_t i = 0; i < COUNT(barriers); i++) {
        dynalock_lock_event event;
        take_event(b->store, &event);
        const struct barrier *barrier = event.context;
        if (event.code != barrier->code) {
            fail_msg("%s: %d (%s)", barrier->attributes, event.code, event.error.message);
        }
    }
    assert_true(monotonic_ms() - began_ms < LONG_MS / 2);
    assert_few(b, "PutItem", 3 * (int)COUNT(barriers));
    for (size_t i = 0; i < COUNT(barriers); i++) {
        check(dynalock_delete(b->store, keys[i], &failure), 0); /* what an operator does then */
        check(dynalock_lock_acquire(locks[i], -1, 0, &failure), 0);
        lock_end(locks[i]);
    }
}

/* Guard: the token of a forged record is no more than its version; nothing overflows. */
static void test_a_forged_nonce_gives_no_token_beyond_the_version(void **state)
{
    static const struct {
        const char *write, *version;
    } cases[] = {
        {"1", "-9223372036854775808"},
        {"1.1", "-9223372036854775808"},
        {"1.4294967295", "-5"},
        {"1.1", "0"},
        {"1.7", "5"},
        {"1.99999999999999999999", "5"},
        {"1", "9223372036854775807"},
        {"1.1", "9223372036854775807"},
        {"1.4294967295", "4294967295"},
        {TEN TEN TEN TEN TEN TEN "1.1", "5"},
    };
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *key = bench_key(b);
        dynalock_kv *kv = NULL;
        forge(b, key, STRANGER, cases[i].write, cases[i].version, FAR_OFF);
        check(dynalock_get(b->store, key, NULL, &kv, &failure), 0);
        assert_true(dynalock_kv_token(kv) <= dynalock_kv_version(kv) || dynalock_kv_token(kv) == 0);
        assert_true(dynalock_kv_lease_ms(kv) == 0 || dynalock_kv_lease_ms(kv) == 20000);
        dynalock_kv_free(kv);
    }
}

/* ---- The tenure of another, copied ------------------------------------------------------------ */

/* Guard: a version at the end of its range is judged before whose it is. */
static void test_the_tenures_own_nonce_at_the_last_version_is_not_counted_on(void **state)
{
    struct bench *b = *state;
    for (int keep = 0; keep < 2; keep++) {
        const char *key = bench_key(b);
        char tenure[33];
        int64_t version = 0;
        dynalock_lock_options options = by_hand;
        options.keep_record = keep == 1;
        dynalock_lock *lock = lock_take(b->store, key, options);
        look(b, key, tenure, &version);
        forge_at(b, key, tenure, "1", INT64_MAX, FAR_OFF);
        json_t *before = bench_item(b, key);
        check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_LOST);
        check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_ERR_TYPE);
        assert_contains(failure.message, "end of its range");
        json_t *after = bench_item(b, key);
        assert_true(json_equal(before, after));
        json_decref(before);
        json_decref(after);
        dynalock_lock_free(lock);
    }
}

/* Of the holder's tenure by its beginning: what is longer than any nonce of this library is a stranger's. */
static const char *const long_writes[] = {TEN TEN TEN TEN TEN TEN "1", "1." TEN TEN TEN TEN TEN "1",
                                          TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN "1"};

/* Guard: what is to be removed is named whole, or left. */
static void test_a_release_does_not_chase_a_nonce_that_it_cannot_name(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(long_writes); i++) {
        const char *key = bench_key(b);
        char tenure[33];
        int64_t version = 0;
        dynalock_lock *lock = lock_take(b->store, key, by_hand);
        look(b, key, tenure, &version);
        forge_at(b, key, tenure, long_writes[i], version + 1, FAR_OFF);
        bench_reset(b);
        check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_LOST);
        assert_few(b, "DeleteItem", 2);
        assert_true(is_there(b, key));
        dynalock_lock_free(lock);
    }
}

/* Guard: the same for what the keeper removes of a lock that is freed. */
static void test_a_clean_up_does_not_chase_a_nonce_that_it_cannot_name(void **state)
{
    struct bench *b = *state;
    const char *keys[COUNT(long_writes)];
    dynalock_lock *locks[COUNT(long_writes)];
    for (size_t i = 0; i < COUNT(long_writes); i++) {
        char tenure[33];
        int64_t version = 0;
        keys[i] = bench_key(b);
        locks[i] = lock_take(b->store, keys[i], by_hand);
        look(b, keys[i], tenure, &version);
        forge_at(b, keys[i], tenure, long_writes[i], version + 1, FAR_OFF);
    }
    bench_reset(b);
    for (size_t i = 0; i < COUNT(long_writes); i++) {
        dynalock_lock_free(locks[i]);
    }
    for (size_t i = 0; i < COUNT(long_writes); i++) {
        assert_true(capture_wait(b->events, DYNALOCK_EVENT_CLEANED, keys[i], 1, LONG_MS));
        assert_true(is_there(b, keys[i]));
    }
    assert_few(b, "DeleteItem", 2 * (int)COUNT(long_writes));
}

/* What is done to the record of a try whose answer was lost, before the next attempt. */
enum meddling { NOTHING, NEXT_VERSION, LATER_WRITE, LAST_VERSION, EXPIRED, ANOTHERS, REMOVED };

static void meddle(struct bench *b, const char *key, enum meddling what)
{
    char tenure[33];
    int64_t version = 0;
    look(b, key, tenure, &version);
    switch (what) {
    case NOTHING: break;
    case NEXT_VERSION: /* the nonce stays, as in what Go writes */
        bench_put_item(b, key,
                       "'version':{'N':'%" PRId64 "'},'nonce':{'S':'%s.1.%" PRId64
                       "'},'expires':{'N':'%" PRId64 "'}",
                       version + 1, tenure, version, FAR_OFF);
        break;
    case LATER_WRITE: forge_at(b, key, tenure, "7", version + 1, FAR_OFF); break;
    case LAST_VERSION: forge_at(b, key, tenure, "1", INT64_MAX, FAR_OFF); break;
    case EXPIRED: set_expiry(b, key, LONG_AGO); break;
    case ANOTHERS: forge_at(b, key, STRANGER, "1", version, FAR_OFF); break;
    case REMOVED: bench_delete_item(b, key); break;
    }
}

/* Guard: what was won is this very write, or is written anew. */
static void test_a_lost_answer_is_not_replaced_by_a_forged_one(void **state)
{
    static const struct {
        enum meddling what;
        int code;
    } cases[] = {
        {NOTHING, 0}, {NEXT_VERSION, WAITS}, {LATER_WRITE, 0}, {LAST_VERSION, ODD},
        {EXPIRED, 0}, {ANOTHERS, WAITS},     {REMOVED, 0},
    };
    struct bench *b = *state;
    dynalock_options options = bench_options(b);
    options.close_timeout_ms =
        300; /* a try without an answer is looked after for as long as its lease */
    dynalock_store *store = bench_open(b, &options);
    warm(store);
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *key = bench_key(b);
        struct waiter waiter;
        dynalock_lock *lock = lock_make(store, key, by_hand);
        bench_reset(b);
        rig_fault(b->rig, "'match':{'op':'PutItem','key':'%s'},'action':'hold'", key);
        waiter_start(&waiter, lock, -1, 0);
        assert_true(rig_wait(b->rig, "PutItem", "held", 1, LONG_MS));
        meddle(b, key, cases[i].what);
        rig_do(b->rig, "'cmd':'hang-up'");
        int code = waiter_join(&waiter);
        rig_let_go(b->rig);
        if (code != cases[i].code) {
            fail_msg("%d: %d (%s)", (int)cases[i].what, code, waiter.error.message);
        }
        if (code == 0) {
            char tenure[33];
            int64_t version = 0;
            look(b, key, tenure, &version);
            assert_true(version == dynalock_lock_token(lock));
            check(dynalock_lock_renew(lock, 0, &failure),
                  cases[i].what == EXPIRED ? DYNALOCK_ERR_LOST : 0);
        }
        (void)dynalock_lock_release(lock, NULL);
        assert_true(cases[i].what != ANOTHERS || is_there(b, key));
        dynalock_lock_free(lock);
    }
    dynalock_close(store);
}

/* Guard: a renewal that is found to have happened extends nothing, however often it is found. */
static void test_forged_renewals_extend_no_lease(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    char tenure[33];
    int64_t version = 0;
    struct worker worker = {.lock = lock_take(b->store, key, by_hand)};
    look(b, key, tenure, &version);
    rig_fault(b->rig,
              "'match':{'op':'UpdateItem','key':'%s'},'times':-1,"
              "'action':{'do':'hold','where':'request'}",
              key);
    bench_reset(b);
    int64_t end_ms = monotonic_ms() + dynalock_lock_remaining_ms(worker.lock);
    assert_int_equal(pthread_create(&worker.thread, NULL, renew_it, &worker), 0);
    for (int i = 1; i <= 2; i++) {
        assert_true(rig_wait(b->rig, "UpdateItem", "held", i, LONG_MS));
        forge_at(b, key, tenure, "9", version + i, FAR_OFF);
        rig_let_go(b->rig);
    }
    pthread_join(worker.thread, NULL);
    assert_int_equal(worker.code, DYNALOCK_ERR_SERVICE);
    assert_int_equal(bench_count(b, "UpdateItem"), 2);
    assert_true(monotonic_ms() + dynalock_lock_remaining_ms(worker.lock) <= end_ms + 1);
    rig_clear_faults(b->rig);
    check(dynalock_lock_renew(worker.lock, 0, &failure), 0); /* its own again, by its own write */
    lock_end(worker.lock);
}

/* Guard: an attribute that cannot even be read is another's doing: the holder is told at once, not at the end of its
 * lease. */
static void test_a_held_record_that_is_made_unreadable_is_lost_at_the_next_renewal(void **state)
{
    static const char *const oddities[] = {
        "'version':{'S':'x'}",
        "'version':{'N':'5'},'nonce':{'NULL':true}",
        "'version':{'N':'5'},'a\\u0000b':{'S':'x'}",
        "'version':{'N':'5'},'payload':{'L':[{'M':{'\\u0000':{'NULL':true}}}]}",
    };
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(oddities); i++) {
        const char *key = bench_key(b);
        dynalock_lock *lock = lock_take(b->store, key, by_hand);
        bench_put_item(b, key, "%s", oddities[i]);
        int code = dynalock_lock_renew(lock, 0, &failure);
        if (code != DYNALOCK_ERR_LOST || dynalock_lock_cause(lock) != DYNALOCK_CAUSE_TAKEN_OVER) {
            fail_msg("%s: %d (%s)", oddities[i], code, failure.message);
        }
        check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_LOST);
        dynalock_lock_free(lock);
        assert_true(is_left(b, key));
    }
}

/* ---- A race ----------------------------------------------------------------------------------- */

struct racer {
    pthread_t thread;
    const struct bench *b;
    const char *key;
    atomic_bool stop;
    int writes;
};

/* Writes over the record as fast as it can, by a connection of its own. */
static void *race(void *context)
{
    static const char *const records[] = {
        ",\"version\":{\"N\":\"5\"},\"expires\":{\"N\":\"4102444800\"}",
        ",\"version\":{\"N\":\"5\"},\"expires\":{\"N\":\"1600000000\"}",
        ",\"version\":{\"N\":\"5\"},\"expires\":{\"N\":\"1\"}",
        ",\"version\":{\"N\":\"6\"},\"nonce\":{\"S\":\"" STRANGER ".1.6\"},\"lease\":{\"N\":\"9\"},"
        "\"expires\":{\"N\":\"1600000000\"}",
        ",\"version\":{\"S\":\"5\"}",
        NULL,
    };
    struct racer *racer = context;
    const struct bench *b = racer->b;
    struct rig *own = rig_open();
    snprintf(own->server, sizeof own->server, "%s", test_server());
    for (; !atomic_load(&racer->stop); racer->writes++) {
        const char *record = records[racer->writes % (int)COUNT(records)];
        json_decref(rig_raw(own, record != NULL ? "PutItem" : "DeleteItem",
                            "'TableName':'%s','%s':{'id':{'S':'%s'},'name':{'S':'%s'}%s}", b->table,
                            record != NULL ? "Item" : "Key", b->partition, racer->key,
                            record != NULL ? record : ""));
    }
    rig_close(own);
    return NULL;
}

/* One call of each kind in turn. */
static int race_round(struct bench *b, const char *key, dynalock_lock *lock, int what)
{
    dynalock_kv *kv = NULL, **items = NULL;
    size_t count = 0;
    bool exists = false;
    int code = 0;
    switch (what) {
    case 0: code = dynalock_get(b->store, key, NULL, &kv, &failure); break;
    case 1: code = dynalock_exists(b->store, key, NULL, &exists, &failure); break;
    case 2: code = dynalock_list(b->store, key, NULL, &items, &count, &failure); break;
    case 3:
        code = dynalock_atomic_put(b->store, key, dynalock_none(), NULL, NULL, &kv, &failure);
        break;
    case 4:
        code = dynalock_get(b->store, key, NULL, &kv, &failure);
        code = code != 0 ? code : dynalock_atomic_delete(b->store, key, kv, &failure);
        break;
    case 5: code = dynalock_lock_acquire(lock, -1, 0, &failure); break;
    case 6: code = dynalock_lock_renew(lock, 0, &failure); break;
    default: code = dynalock_lock_release(lock, &failure); break;
    }
    dynalock_kv_free(kv);
    dynalock_list_free(items, count);
    return code;
}

static bool race_allows(int code)
{
    static const int allowed[] = {0,
                                  DYNALOCK_ERR_NOT_FOUND,
                                  DYNALOCK_ERR_EXISTS,
                                  DYNALOCK_ERR_MODIFIED,
                                  DYNALOCK_ERR_TYPE,
                                  DYNALOCK_ERR_NOT_ACQUIRED,
                                  DYNALOCK_ERR_LOST,
                                  DYNALOCK_ERR_NOT_HELD,
                                  DYNALOCK_ERR_BUSY};
    for (size_t i = 0; i < COUNT(allowed); i++) {
        if (code == allowed[i]) {
            return true;
        }
    }
    return false;
}

/* Guard: no series of requests goes on for as long as another writes. */
static void test_a_writer_that_races_makes_no_operation_endless(void **state)
{
    enum { ROUNDS = 12, KINDS = 8, MOST = 14 };
    struct bench *b = *state;
    struct racer racer = {.b = b, .key = bench_key(b)};
    dynalock_lock *lock = lock_make(b->store, racer.key, by_hand);
    warm(b->store);
    assert_int_equal(pthread_create(&racer.thread, NULL, race, &racer), 0);
    for (int i = 0; i < ROUNDS * KINDS; i++) {
        dynalock_counters before, after;
        check(dynalock_store_counters(b->store, &before), 0);
        int code = race_round(b, racer.key, lock, i % KINDS);
        check(dynalock_store_counters(b->store, &after), 0);
        if (!race_allows(code) || after.attempts - before.attempts > MOST) {
            atomic_store(&racer.stop, true);
            pthread_join(racer.thread, NULL);
            fail_msg("%d: %d (%s), %d requests", i % KINDS, code, failure.message,
                     (int)(after.attempts - before.attempts));
        }
    }
    atomic_store(&racer.stop, true);
    pthread_join(racer.thread, NULL);
    assert_true(racer.writes > ROUNDS);
    bench_delete_item(b, racer.key);
    (void)dynalock_lock_release(lock, NULL);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0); /* and all is as ever when it stops */
    lock_end(lock);
}

static void *create_it(void *context)
{
    struct worker *worker = context;
    worker->code =
        dynalock_atomic_put(worker->store, worker->key, dynalock_none(), NULL, NULL, NULL, NULL);
    return NULL;
}

static void *acquire_it(void *context)
{
    struct worker *worker = context;
    worker->code = dynalock_lock_acquire(worker->lock, -1, 0, NULL);
    return NULL;
}

/* Guard: the rounds of a try, and of a create. */
static void test_a_writer_that_is_always_first_ends_the_try(void **state)
{
    static const struct {
        void *(*call)(void *worker);
        int rounds, code;
    } cases[] = {{acquire_it, 6, WAITS}, {create_it, 4, DYNALOCK_ERR_EXISTS}};
    struct bench *b = *state;
    warm(b->store);
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *key = bench_key(b);
        struct worker worker = {
            .lock = lock_make(b->store, key, by_hand), .store = b->store, .key = key};
        bench_reset(b);
        rig_fault(b->rig,
                  "'match':{'op':'PutItem','key':'%s'},'times':%d,"
                  "'action':{'do':'hold','where':'request'}",
                  key, cases[i].rounds);
        assert_int_equal(pthread_create(&worker.thread, NULL, cases[i].call, &worker), 0);
        for (int round = 1; round <= cases[i].rounds; round++) {
            assert_true(rig_wait(b->rig, "PutItem", "held", round, LONG_MS));
            bench_put_item(b, key, "'version':{'N':'%d'},'expires':{'N':'%" PRId64 "'}", round,
                           LONG_AGO);
            rig_let_go(b->rig);
        }
        pthread_join(worker.thread, NULL);
        assert_int_equal(worker.code, cases[i].code);
        assert_int_equal(bench_count(b, "PutItem"), cases[i].rounds);
        dynalock_lock_free(worker.lock);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOCK_TEST(test_a_holder_that_is_robbed_learns_of_it_at_its_next_renewal),
        LOCK_TEST(test_tokens_go_back_or_come_twice_where_a_writer_has_driven_them_ahead),
        LOCK_TEST(test_a_record_that_bars_a_lock_costs_no_more_than_the_wait_for_it),
        LOCK_TEST(test_a_forged_nonce_gives_no_token_beyond_the_version),
        LOCK_TEST(test_the_tenures_own_nonce_at_the_last_version_is_not_counted_on),
        LOCK_TEST(test_a_release_does_not_chase_a_nonce_that_it_cannot_name),
        LOCK_TEST(test_a_clean_up_does_not_chase_a_nonce_that_it_cannot_name),
        LOCK_TEST(test_a_lost_answer_is_not_replaced_by_a_forged_one),
        LOCK_TEST(test_forged_renewals_extend_no_lease),
        LOCK_TEST(test_a_held_record_that_is_made_unreadable_is_lost_at_the_next_renewal),
        LOCK_TEST(test_a_writer_that_races_makes_no_operation_endless),
        LOCK_TEST(test_a_writer_that_is_always_first_ends_the_try),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
