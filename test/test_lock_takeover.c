/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking over from a holder that is dead, and never from one that lives, whatever the clocks say. All scenes are
 * played at once, by the group's setup, since each takes seconds; the tests look at what became of them.
 */
#include "support_lock.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#define TTL_MS 2000 /* of the dead */
#define LIVING_TTL_MS 6000
#define POLL_MS 500
#define GRACE_MS \
    1000 /* of a takeover by time; on DynamoDB Local the table's time to live may be quicker */
#define GO_GRACE_MS 3000    /* of one from a Go client */
#define IMPLAUSIBLE_MS 5000 /* more in sight, where time is trusted and the expiry is far away */
#define BOUND_MS (TTL_MS + 4000 + POLL_MS)
#define LOAD_MS 4000   /* what a loaded machine may add */
#define LIVING_MS 9500 /* how long nobody takes over from the living */
#define RIG_HOUR_MS 3600000

extern char **environ;

/* Before a contender's proxy: what its clock, and so its Date, says. */
static const char *const clock_settings[] = {NULL, "'date':'none'", "'skew_ms':3600000",
                                             "'skew_ms':-3600000"};
static const char *const clock_names[] = {"right", "none", "an hour fast", "an hour slow"};
#define CLOCKS COUNT(clock_settings)

/* One contender, with its own proxy and store. */
struct scene {
    const char *key;
    dynalock_store *store;
    dynalock_lock *lock;
    struct waiter waiter;
};

static struct play {
    struct bench *b;
    pid_t holder; /* the process that was killed */
    int64_t killed_ms, killed_expires_ms;
    struct scene killed;
    dynalock_lock *living;
    int64_t living_token;
    struct scene against_living[CLOCKS];
    dynalock_store *skewed_stores[CLOCKS];
    dynalock_lock *skewed_holders[CLOCKS];
    struct scene against_skewed[CLOCKS];
    struct scene by_sight[CLOCKS];
    int64_t go_expires_ms;
    struct scene go_dead, go_living;
} play;

/* ---- The process that holds a lock until it is killed ----------------------------------------- */

static int hold(char **argv)
{
    const dynalock_options options = {.region = RIG_REGION,
                                      .endpoint = argv[2],
                                      .access_key_id = RIG_KEY_ID,
                                      .secret_access_key = RIG_SECRET};
    const dynalock_lock_options lock_options = {.ttl_ms = TTL_MS};
    dynalock_store *store = NULL;
    dynalock_lock *lock = NULL;
    if (dynalock_open(argv[3], argv[4], &options, &store, NULL) != 0 ||
        dynalock_lock_new(store, argv[5], &lock_options, &lock, NULL) != 0 ||
        dynalock_lock_acquire(lock, -1, 0, NULL) != 0 || write(1, "held", 4) != 4) {
        return 1;
    }
    for (;;) {
        pause();
    }
}

static pid_t start_holder(struct bench *b, const char *key)
{
    char *argv[] = {(char *)"hold", (char *)"hold", b->endpoint, b->table,
                    b->partition,   (char *)key,    NULL};
    posix_spawn_file_actions_t actions;
    char word[4];
    pid_t pid = -1;
    int fds[2];
    if (pipe(fds) != 0 || posix_spawn_file_actions_init(&actions) != 0 ||
        posix_spawn_file_actions_adddup2(&actions, fds[1], 1) != 0 ||
        posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ) != 0) {
        fail_msg("no process for the holder");
    }
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    assert_int_equal(read(fds[0], word, sizeof word), 4);
    close(fds[0]);
    return pid;
}

/* ---- Setting the scenes ----------------------------------------------------------------------- */

static dynalock_store *store_with_clock(struct bench *b, size_t clock)
{
    dynalock_options options = bench_options(b);
    char endpoint[40];
    snprintf(endpoint, sizeof endpoint, "%s",
             rig_proxy_new(b->rig, test_server(), clock_settings[clock]));
    b->rig->proxy = b->proxy;
    options.endpoint = endpoint;
    options.close_timeout_ms = 1000;
    dynalock_store *store = bench_open(b, &options);
    warm(store);
    return store;
}

static void start_contender(struct bench *b, struct scene *scene, const char *key, size_t clock,
                            int64_t wait_ms)
{
    dynalock_lock_options options = {.ttl_ms = TTL_MS, .poll_ms = POLL_MS};
    scene->key = key;
    scene->store = store_with_clock(b, clock);
    scene->lock = lock_make(scene->store, key, options);
    waiter_start(&scene->waiter, scene->lock, -1, wait_ms);
}

static void end_scene(struct scene *scene)
{
    dynalock_lock_free(scene->lock);
    dynalock_close(scene->store);
}

/* A record of ours whose holder is dead, and had a clock that was an hour fast: nobody can wait for its expiry. */
static void put_dead(struct bench *b, const char *key)
{
    bench_put_item(b, key,
                   "'version':{'N':'7'},'expires':{'N':'%" PRId64 "'},'holder':{'S':'Ada'},"
                   "'lease':{'N':'%d'},'nonce':{'S':'00112233445566778899aabbccddeeff.1.7'}",
                   real_ms() / 1000 + RIG_HOUR_MS / 1000, TTL_MS);
}

static const char *go_holds(struct bench *b, bool renewing)
{
    const char *key = bench_key(b);
    json_t *answer = rig_go(b->rig, b->table, b->partition,
                            "'client':'%s','call':'lock','key':'%s','ttl':2,'renew':%s", key, key,
                            renewing ? "true" : "false");
    assert_null(json_object_get(answer, "error"));
    json_decref(answer);
    return key;
}

static void kill_the_holder(struct bench *b)
{
    kill(play.holder, SIGKILL);
    assert_int_equal(waitpid(play.holder, NULL, 0), play.holder);
    play.killed_ms = real_ms();
    json_t *item = bench_item(b, play.killed.key);
    play.killed_expires_ms = item_number(item, "expires") * 1000;
    json_decref(item);
}

static int set_up(void **state)
{
    struct bench *b = play.b = bench_new();
    *state = b;
    const char *key = bench_key(b);
    play.holder = start_holder(b, key);
    start_contender(b, &play.killed, key, 0, LONG_MS);

    key = bench_key(b);
    play.living = lock_take(b->store, key, (dynalock_lock_options){.ttl_ms = LIVING_TTL_MS});
    play.living_token = dynalock_lock_token(play.living);
    for (size_t i = 0; i < CLOCKS; i++) {
        start_contender(b, &play.against_living[i], key, i, LIVING_MS);
        const char *skewed = bench_key(b);
        play.skewed_stores[i] = store_with_clock(b, i);
        play.skewed_holders[i] = lock_take(play.skewed_stores[i], skewed,
                                           (dynalock_lock_options){.ttl_ms = LIVING_TTL_MS});
        start_contender(b, &play.against_skewed[i], skewed, 0, LIVING_MS);
        const char *dead = bench_key(b);
        put_dead(b, dead);
        start_contender(b, &play.by_sight[i], dead, i, LONG_MS);
    }
    start_contender(b, &play.go_living, go_holds(b, true), 0, LIVING_MS);
    key = go_holds(b, false);
    json_t *item = bench_item(b, key);
    play.go_expires_ms = item_number(item, "expires") * 1000;
    json_decref(item);
    start_contender(b, &play.go_dead, key, 0, LONG_MS);
    kill_the_holder(b);
    return 0;
}

static int take_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < CLOCKS; i++) {
        end_scene(&play.against_living[i]);
        end_scene(&play.against_skewed[i]);
        end_scene(&play.by_sight[i]);
        dynalock_lock_free(play.skewed_holders[i]);
        dynalock_close(play.skewed_stores[i]);
    }
    end_scene(&play.killed);
    end_scene(&play.go_dead);
    end_scene(&play.go_living);
    dynalock_lock_free(play.living);
    bench_free(play.b);
    return 0;
}

/* ---- What became of them ---------------------------------------------------------------------- */

static void test_from_a_killed_holder_after_its_expiry_and_within_the_bound(void **state)
{
    (void)state;
    check(waiter_join(&play.killed.waiter), 0);
    int64_t at = play.killed.waiter.ended_real_ms;
    assert_true(at >= play.killed_expires_ms + GRACE_MS);
    assert_true(at <= play.killed_ms + BOUND_MS + LOAD_MS);
    assert_int_equal(dynalock_lock_state(play.killed.lock), DYNALOCK_LOCK_HELD);
}

static void test_never_from_a_living_holder_whatever_the_contenders_date_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < CLOCKS; i++) {
        struct waiter *w = &play.against_living[i].waiter;
        if (waiter_join(w) != DYNALOCK_ERR_NOT_ACQUIRED) {
            (void)dynalock_lock_ensure(play.living, 1, &failure);
            fail_msg("contender's clock %s: %d; holder: %s", clock_names[i], w->code,
                     failure.message);
        }
    }
    check(dynalock_lock_ensure(play.living, 1, &failure), 0);
    assert_int_equal(dynalock_lock_token(play.living), play.living_token);
}

static void test_never_from_a_living_holder_whatever_its_own_date_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < CLOCKS; i++) {
        struct waiter *w = &play.against_skewed[i].waiter;
        int code = waiter_join(w);
        int held = dynalock_lock_ensure(play.skewed_holders[i], 1, &failure);
        if (code != DYNALOCK_ERR_NOT_ACQUIRED || held != 0) {
            fail_msg("holder's clock %s: contender %d, holder %d, %s", clock_names[i], code, held,
                     failure.message);
        }
    }
}

static void test_a_dead_holders_record_is_taken_once_its_lease_has_passed_in_sight(void **state)
{
    (void)state;
    for (size_t i = 0; i < CLOCKS; i++) {
        struct waiter *w = &play.by_sight[i].waiter;
        check(waiter_join(w), 0);
        int64_t took = w->ended_ms - w->began_ms;
        int64_t least = TTL_MS + (i == 0 ? IMPLAUSIBLE_MS : 0);
        if (took < least || took > least + POLL_MS + LOAD_MS) {
            fail_msg("contender's clock %s: after %d ms", clock_names[i], (int)took);
        }
    }
}

static void test_from_a_dead_go_client_after_the_longer_delay(void **state)
{
    (void)state;
    check(waiter_join(&play.go_dead.waiter), 0);
    int64_t at = play.go_dead.waiter.ended_real_ms;
    assert_true(at >= play.go_expires_ms + GO_GRACE_MS);
    assert_true(at <= play.go_expires_ms + GO_GRACE_MS + POLL_MS + LOAD_MS);
}

static void test_never_from_a_living_go_client(void **state)
{
    (void)state;
    check(waiter_join(&play.go_living.waiter), DYNALOCK_ERR_NOT_ACQUIRED);
    assert_contains(play.go_living.waiter.error.message, "no name");
}

int main(int argc, char **argv)
{
    if (argc == 6 && strcmp(argv[1], "hold") == 0) {
        return hold(argv);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_from_a_killed_holder_after_its_expiry_and_within_the_bound),
        cmocka_unit_test(test_never_from_a_living_holder_whatever_the_contenders_date_says),
        cmocka_unit_test(test_never_from_a_living_holder_whatever_its_own_date_says),
        cmocka_unit_test(test_a_dead_holders_record_is_taken_once_its_lease_has_passed_in_sight),
        cmocka_unit_test(test_from_a_dead_go_client_after_the_longer_delay),
        cmocka_unit_test(test_never_from_a_living_go_client),
    };

    return cmocka_run_group_tests(tests, set_up, take_down);
}
