/* SPDX-License-Identifier: Apache-2.0 */
/* Locks and threads: exclusion under faults, many locks at once, and an end in any order. */
#include "support_lock.h"

#include <stdatomic.h>

#define THREADS 4

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525U + 1013904223U;
    return *seed >> 8;
}

/* ---- Exclusion -------------------------------------------------------------------------------- */

#define EXCLUSION_MS 5000
#define NEEDED_MS 400 /* of the lease, for a critical section */

/* A stay in the critical section, as far as the lease surely reached. */
struct stay {
    int64_t from_ms, to_ms, token;
};

struct arena {
    pthread_mutex_t mutex;
    struct stay stays[2000];
    size_t count;
    int64_t end_ms;
};

struct contender {
    pthread_t thread;
    struct arena *arena;
    dynalock_store *store;
    dynalock_lock *lock;
    uint32_t seed;
};

static void critical_section(struct contender *c)
{
    struct arena *arena = c->arena;
    struct stay stay = {.from_ms = monotonic_ms()};
    if (dynalock_lock_ensure(c->lock, NEEDED_MS, NULL) != 0) {
        return;
    }
    stay.token = dynalock_lock_token(c->lock);
    sleep_ms(1 + next_random(&c->seed) % 20);
    stay.to_ms = monotonic_ms();
    if (stay.to_ms - stay.from_ms < NEEDED_MS) { /* else the machine was too slow to say */
        pthread_mutex_lock(&arena->mutex);
        if (arena->count < COUNT(arena->stays)) {
            arena->stays[arena->count++] = stay;
        }
        pthread_mutex_unlock(&arena->mutex);
    }
}

static void *contender_main(void *context)
{
    struct contender *c = context;
    while (monotonic_ms() < c->arena->end_ms) {
        if (dynalock_lock_acquire(c->lock, -1, 1000, NULL) == 0) {
            critical_section(c);
            (void)dynalock_lock_release(c->lock, NULL);
        }
    }
    return NULL;
}

static int by_time(const void *one, const void *other)
{
    const struct stay *a = one;
    const struct stay *b = other;
    return (a->from_ms > b->from_ms) - (a->from_ms < b->from_ms);
}

static void judge_stays(struct arena *arena, bool ordered)
{
    qsort(arena->stays, arena->count, sizeof *arena->stays, by_time);
    for (size_t i = 1; i < arena->count; i++) {
        const struct stay *before = &arena->stays[i - 1];
        const struct stay *after = &arena->stays[i];
        bool disordered = ordered && after->token <= before->token;
        if (after->from_ms < before->to_ms || disordered) {
            fail_msg("%" PRId64 "-%" PRId64 " with token %" PRId64 ", then from %" PRId64
                     " with token %" PRId64,
                     before->from_ms, before->to_ms, before->token, after->from_ms, after->token);
        }
    }
    assert_true(arena->count >= 5);
}

/* Where all keep the record, tokens increase strictly. Where some delete it, they come from clocks: a
 * create that the network delayed bears the time at which it was composed. */
static void contend(struct bench *b, bool all_keep)
{
    const char *key = bench_key(b);
    static struct arena arena = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct contender contenders[THREADS];
    uint32_t seed = (uint32_t)real_ms();

    printf("# seed %u\n", seed);
    arena.count = 0;
    arena.end_ms = monotonic_ms() + EXCLUSION_MS;
    rig_do(b->rig,
           "'cmd':'seed','seed':%u,'rates':{'drop':0.02,'drop-before':0.02,'reset':0.02,"
           "'status':0.02,'twice':0.02,'late':{'rate':0.02,'ms':300},"
           "'delay':{'rate':0.1,'ms':60}}",
           seed);
    for (int i = 0; i < THREADS; i++) {
        struct contender *c = &contenders[i];
        *c = (struct contender){.arena = &arena, .seed = seed + (uint32_t)i};
        c->store = impatient(b);
        c->lock =
            lock_make(c->store, key,
                      (dynalock_lock_options){
                          .ttl_ms = 1500, .poll_ms = 30, .keep_record = all_keep || i % 2 == 1});
        assert_int_equal(pthread_create(&c->thread, NULL, contender_main, c), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(contenders[i].thread, NULL);
        dynalock_lock_free(contenders[i].lock);
        dynalock_close(contenders[i].store);
    }
    judge_stays(&arena, all_keep);
}

static void test_no_two_are_inside_whatever_the_network_does(void **state)
{
    contend(*state, false);
}

static void test_tokens_of_a_kept_record_increase_whatever_the_network_does(void **state)
{
    contend(*state, true);
}

/* ---- Many locks of one store ------------------------------------------------------------------ */

#define LOCKS_EACH 6
#define ROUNDS 3

struct worker {
    pthread_t thread;
    struct bench *b;
    const char *keys[LOCKS_EACH];
    dynalock_lock *locks[LOCKS_EACH];
    atomic_int failures, closed;
    uint32_t seed;
};

static void *many_main(void *context)
{
    struct worker *w = context;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < LOCKS_EACH; i++) {
            w->failures += dynalock_lock_acquire(w->locks[i], -1, LONG_MS, NULL) != 0;
        }
        for (int i = 0; i < LOCKS_EACH; i++) {
            w->failures += dynalock_lock_ensure(w->locks[i], 1, NULL) != 0;
            w->failures += dynalock_lock_renew(w->locks[i], 0, NULL) != 0;
        }
        for (int i = 0; i < LOCKS_EACH; i++) {
            w->failures += dynalock_lock_release(w->locks[i], NULL) != 0;
        }
    }
    return NULL;
}

static void make_locks(struct bench *b, struct worker *w, dynalock_lock_options options)
{
    *w = (struct worker){.b = b};
    for (int i = 0; i < LOCKS_EACH; i++) {
        w->keys[i] = bench_key(b);
        w->locks[i] = lock_make(b->store, w->keys[i], options);
    }
}

static void test_many_locks_of_one_store_in_many_threads(void **state)
{
    struct bench *b = *state;
    struct worker workers[THREADS];
    dynalock_counters counters;

    for (int i = 0; i < THREADS; i++) {
        make_locks(b, &workers[i], (dynalock_lock_options){0});
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&workers[i].thread, NULL, many_main, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(atomic_load(&workers[i].failures), 0);
        for (int n = 0; n < LOCKS_EACH; n++) {
            dynalock_lock_free(workers[i].locks[n]);
        }
    }
    check(dynalock_store_counters(b->store, &counters), 0);
    assert_int_equal(counters.acquired, THREADS * LOCKS_EACH * ROUNDS);
    assert_int_equal(counters.released, THREADS * LOCKS_EACH * ROUNDS);
    assert_int_equal(counters.lost, 0);
}

static void test_the_keeper_renews_many_locks_over_few_connections(void **state)
{
    struct bench *b = *state;
    dynalock_options options = bench_options(b);
    options.max_connections = 4;
    dynalock_store *store = bench_open(b, &options);
    dynalock_lock *locks[40];
    dynalock_counters counters;

    for (size_t i = 0; i < COUNT(locks); i++) {
        locks[i] = lock_take(store, bench_key(b), (dynalock_lock_options){.ttl_ms = 6000});
    }
    sleep_ms(6500);
    for (size_t i = 0; i < COUNT(locks); i++) {
        check(dynalock_lock_ensure(locks[i], 1, &failure), 0);
    }
    check(dynalock_store_counters(store, &counters), 0);
    assert_true(counters.renewed >= 2 * COUNT(locks));
    assert_true(counters.connections <= 4 + 2); /* and this thread's */
    for (size_t i = 0; i < COUNT(locks); i++) {
        dynalock_lock_free(locks[i]);
    }
    dynalock_close(store);
    json_t *answer = rig_raw(b->rig, "Scan", "'TableName':'%s','Select':'COUNT'", b->table);
    json_t *count = json_object_get(json_object_get(answer, "result"), "Count");
    assert_int_equal(json_integer_value(count), 0); /* all released in the background */
    json_decref(answer);
}

/* ---- One object in several threads ------------------------------------------------------------ */

static void *quarrel_main(void *context)
{
    struct worker *w = context;
    dynalock_lock *lock = w->locks[0];
    for (int i = 0; i < 40; i++) {
        int acquired = dynalock_lock_acquire(lock, -1, 0, NULL);
        int renewed = dynalock_lock_renew(lock, 0, NULL);
        (void)dynalock_lock_ensure(lock, 1, NULL);
        (void)dynalock_lock_token(lock);
        int released = dynalock_lock_release(lock, NULL);
        w->failures += acquired != 0 && acquired != DYNALOCK_ERR_BUSY;
        w->failures +=
            renewed != 0 && renewed != DYNALOCK_ERR_BUSY && renewed != DYNALOCK_ERR_NOT_HELD;
        w->failures +=
            released != 0 && released != DYNALOCK_ERR_BUSY && released != DYNALOCK_ERR_NOT_HELD;
    }
    return NULL;
}

static void test_threads_that_share_an_object_get_busy_and_nothing_worse(void **state)
{
    struct bench *b = *state;
    struct worker worker = {.b = b};
    pthread_t threads[THREADS];

    worker.locks[0] = lock_make(b->store, bench_key(b), (dynalock_lock_options){0});
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, quarrel_main, &worker), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(atomic_load(&worker.failures), 0);
    int code = dynalock_lock_release(worker.locks[0], &failure);
    assert_true(code == 0 || code == DYNALOCK_ERR_NOT_HELD);
    dynalock_lock_free(worker.locks[0]);
}

/* ---- The end ---------------------------------------------------------------------------------- */

static void *until_closed_main(void *context)
{
    struct worker *w = context;
    dynalock_lock *lock = w->locks[0];
    for (;;) {
        int code = dynalock_lock_acquire(lock, -1, -1, NULL);
        if (code == 0) {
            (void)dynalock_lock_renew(lock, 0, NULL);
            code = dynalock_lock_release(lock, NULL);
        }
        if (code == DYNALOCK_ERR_CLOSED) {
            w->closed = 1;
            return NULL;
        }
        w->failures += code != 0 && code != DYNALOCK_ERR_LOST && code != DYNALOCK_ERR_NOT_HELD;
    }
}

static void test_closing_under_load_ends_every_call(void **state)
{
    struct bench *b = *state;
    for (int round = 0; round < 3; round++) {
        struct worker workers[THREADS];
        const char *shared = bench_key(b);
        dynalock_store *store = impatient(b);
        for (int i = 0; i < THREADS; i++) {
            workers[i] = (struct worker){.b = b};
            workers[i].locks[0] = lock_make(store, i % 2 == 0 ? shared : bench_key(b),
                                            (dynalock_lock_options){.poll_ms = 20});
            assert_int_equal(
                pthread_create(&workers[i].thread, NULL, until_closed_main, &workers[i]), 0);
        }
        sleep_ms(100 + 150 * round);
        int64_t began = monotonic_ms();
        check(dynalock_close(store), 0);
        assert_true(monotonic_ms() - began < 300 + 3000);
        for (int i = 0; i < THREADS; i++) {
            pthread_join(workers[i].thread, NULL);
            assert_int_equal(atomic_load(&workers[i].closed), 1);
            assert_int_equal(atomic_load(&workers[i].failures), 0);
            dynalock_lock_free(workers[i].locks[0]);
        }
    }
}

static void *free_main(void *context)
{
    struct worker *w = context;
    for (int i = 0; i < LOCKS_EACH; i++) {
        sleep_ms(next_random(&w->seed) % 10);
        dynalock_lock_free(w->locks[i]);
    }
    return NULL;
}

static void ignore_loss(dynalock_lock *lock, int cause, void *context)
{
    (void)cause;
    (void)context;
    (void)dynalock_lock_token(lock);
}

/* Held locks are freed by one thread while another closes their store. */
static void test_locks_are_freed_while_their_store_is_closed(void **state)
{
    struct bench *b = *state;
    for (int round = 0; round < 3; round++) {
        struct worker worker = {.b = b, .seed = (uint32_t)round};
        dynalock_store *store = impatient(b);
        for (int i = 0; i < LOCKS_EACH; i++) {
            worker.locks[i] =
                lock_take(store, bench_key(b), (dynalock_lock_options){.on_lost = ignore_loss});
        }
        assert_int_equal(pthread_create(&worker.thread, NULL, free_main, &worker), 0);
        sleep_ms(20 * round);
        check(dynalock_close(store), 0);
        pthread_join(worker.thread, NULL);
    }
}

static void test_locks_are_freed_before_or_after_their_store_is_closed(void **state)
{
    struct bench *b = *state;
    for (int held = 0; held < 2; held++) {
        dynalock_store *store = impatient(b);
        dynalock_lock *locks[3];
        for (size_t i = 0; i < COUNT(locks); i++) {
            locks[i] = lock_make(store, bench_key(b), (dynalock_lock_options){0});
            if (held == 1) {
                check(dynalock_lock_acquire(locks[i], -1, 0, &failure), 0);
            }
        }
        dynalock_lock_free(locks[1]);
        check(dynalock_close(store), 0);
        dynalock_lock_free(locks[2]);
        dynalock_lock_free(locks[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOCK_TEST(test_no_two_are_inside_whatever_the_network_does),
        LOCK_TEST(test_tokens_of_a_kept_record_increase_whatever_the_network_does),
        LOCK_TEST(test_many_locks_of_one_store_in_many_threads),
        LOCK_TEST(test_the_keeper_renews_many_locks_over_few_connections),
        LOCK_TEST(test_threads_that_share_an_object_get_busy_and_nothing_worse),
        LOCK_TEST(test_closing_under_load_ends_every_call),
        LOCK_TEST(test_locks_are_freed_while_their_store_is_closed),
        LOCK_TEST(test_locks_are_freed_before_or_after_their_store_is_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
