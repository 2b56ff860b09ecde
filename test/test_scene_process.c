/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holders that are processes of their own, stopped or killed at each moment of a tenure, and a second client that
 * wants their locks. All scenes are played at once, by the group's setup, up to the moment when the second client
 * has every lock and what was held up on its way has arrived; the tests look at what became of them.
 */
#include "support_lock.h"
#include "support_peer.h"

#include <unistd.h>

#define TTL_MS 2000
#define POLL_MS 300
#define GRACE_MS 1000 /* of a takeover by time */
#define BOUND_MS (TTL_MS + 4000 + POLL_MS)
#define LOAD_MS 4000 /* what a loaded machine may add */

enum { HOLDING, ACQUIRING, WAITING, RELEASING, RELEASING_LATE, RENEWING, RENEWING_LATE, MOMENTS };

/* What is held up at the proxy when the process is stopped: a request that arrives late, or an answer. */
static const struct {
    const char *name, *op, *where;
} moments[MOMENTS] = {
    [HOLDING] = {"while it holds the lock", NULL, NULL},
    [ACQUIRING] = {"inside an acquisition that tries once", "PutItem", "answer"},
    [WAITING] = {"inside an acquisition that waits", "PutItem", "answer"},
    [RENEWING] = {"inside a renewal", "UpdateItem", "answer"},
    [RENEWING_LATE] = {"inside a renewal that arrives late", "UpdateItem", "request"},
    [RELEASING] = {"inside a release", "DeleteItem", "answer"},
    [RELEASING_LATE] = {"inside a release that arrives late", "DeleteItem", "request"},
};

struct scene {
    int moment;
    char key[64], path[128];
    struct peer holder;
    int64_t token, expires_ms, stopped_ms; /* by the wall clock; expires 0: there was no record */
    dynalock_lock *lock;                   /* the second client's */
    struct waiter waiter;
};

static struct bench *bench;
static char folder[] = "/tmp/dynalock-scene-XXXXXX";
static struct scene stopped[MOMENTS], killed[MOMENTS];

/* ---- Setting the scenes ----------------------------------------------------------------------- */

static void await_held(const struct scene *s)
{
    json_decref(rig(bench->rig,
                    "'cmd':'wait','proxy':%d,'op':'%s','key':'%s','state':'held','timeout_ms':%d",
                    bench->proxy, moments[s->moment].op, s->key, LONG_MS));
}

static void begin(struct scene *s, int moment)
{
    s->moment = moment;
    snprintf(s->key, sizeof s->key, "%s", bench_key(bench));
    snprintf(s->path, sizeof s->path, "%s/%s", folder, s->key);
    s->holder = peer_start(bench, NULL, NULL, NULL);
    assert_int_equal(peer_ask(&s->holder, "lock %s %d %d 0 1", s->key, TTL_MS, POLL_MS), 0);
    s->lock = lock_make(bench_direct(bench), s->key, (dynalock_lock_options){.poll_ms = POLL_MS});
}

static void hold_up(const struct scene *s)
{
    rig_fault(
        bench->rig,
        "'match':{'op':'%s','key':'%s'},'times':-1,'action':{\"do\":\"hold\",\"where\":\"%s\"}",
        moments[s->moment].op, s->key, moments[s->moment].where);
}

/* Up to where the process is to be stopped. */
static void play(struct scene *s)
{
    if (moments[s->moment].op) {
        hold_up(s);
    }
    if (s->moment == ACQUIRING || s->moment == WAITING) {
        peer_tell(&s->holder, "acquire %d", s->moment == WAITING ? -1 : 0);
        return;
    }
    assert_int_equal(peer_ask(&s->holder, "acquire 0"), 0);
    assert_int_equal(peer_ask(&s->holder, "write %s", s->path), 1);
    s->token = peer_look(&s->holder).token;
    if (s->moment == RELEASING || s->moment == RELEASING_LATE) {
        peer_tell(&s->holder, "release");
    }
}

static void end_or_stop(struct scene *s, bool kills)
{
    if (moments[s->moment].op) {
        await_held(s);
    }
    if (kills) {
        peer_kill(&s->holder);
    } else {
        peer_stop(&s->holder);
    }
    s->stopped_ms = real_ms();
    json_t *item = bench_item(bench, s->key);
    s->expires_ms = item ? item_number(item, "expires") * 1000 : 0;
    json_decref(item);
    waiter_start(&s->waiter, s->lock, -1, LONG_MS);
}

/* One after the other, or a try would be over on a machine under load; but a renewal takes time to come. */
static void play_all(void)
{
    for (int i = 0; i < MOMENTS; i++) {
        play(&stopped[i]);
        if (i < RENEWING) {
            end_or_stop(&stopped[i], false);
        }
        play(&killed[i]);
        if (i < RENEWING) {
            end_or_stop(&killed[i], true);
        }
    }
}

static int set_up(void **state)
{
    *state = bench = bench_new();
    assert_non_null(mkdtemp(folder));
    warm(bench_direct(bench));
    for (int i = 0; i < MOMENTS; i++) {
        begin(&stopped[i], i);
        begin(&killed[i], i);
    }
    play_all();
    for (int i = RENEWING; i < MOMENTS; i++) {
        end_or_stop(&stopped[i], false);
        end_or_stop(&killed[i], true);
    }
    for (int i = 0; i < MOMENTS; i++) {
        check(waiter_join(&stopped[i].waiter), 0);
        check(waiter_join(&killed[i].waiter), 0);
        assert_true(guarded_write(stopped[i].path, dynalock_lock_token(stopped[i].lock)));
    }
    rig_clear_faults(bench->rig);
    rig_reset_counts(bench->rig);
    int held = rig_let_go(bench->rig);
    return rig_wait(bench->rig, NULL, "finished", held, LONG_MS) ? 0 : -1;
}

static int take_down(void **state)
{
    (void)state;
    for (int i = 0; i < MOMENTS; i++) {
        peer_kill(&stopped[i].holder);
        peer_kill(&killed[i].holder);
        dynalock_lock_free(stopped[i].lock);
        dynalock_lock_free(killed[i].lock);
        unlink(stopped[i].path);
        unlink(killed[i].path);
    }
    rmdir(folder);
    bench_free(bench);
    return 0;
}

/* ---- What became of them ---------------------------------------------------------------------- */

/* The second client holds it, by its own account and by the record's. */
static void assert_taken(const struct scene *s)
{
    check(dynalock_lock_ensure(s->lock, 1, &failure), 0);
    json_t *item = bench_item(bench, s->key);
    assert_non_null(item);
    assert_string_equal(item_text(item, "lease", "N"), "20000");
    assert_true(item_number(item, "version") >= dynalock_lock_token(s->lock));
    json_decref(item);
    assert_true(dynalock_lock_token(s->lock) > s->token);
}

static void assert_taken_in_time(const struct scene *s, const char *how)
{
    int64_t at_ms = s->waiter.ended_real_ms;
    if (s->expires_ms != 0) {
        assert_true(at_ms >= s->expires_ms + GRACE_MS);
    }
    assert_true(at_ms <= s->stopped_ms + BOUND_MS + LOAD_MS);
    printf("# %s %s: taken over after %" PRId64 " ms, %" PRId64
           " ms after the record's expiry (bound %d ms)\n",
           how, moments[s->moment].name, at_ms - s->stopped_ms,
           s->expires_ms != 0 ? at_ms - s->expires_ms : 0, BOUND_MS);
}

/* The first thing that it hears of is the loss, and what it does then harms nobody. */
static void assert_knows_the_loss(struct scene *s)
{
    struct peer_look look = peer_look(&s->holder);
    assert_int_equal(look.ensure, DYNALOCK_ERR_LOST);
    assert_int_equal(look.remaining_ms, 0);
    assert_int_equal(look.state, DYNALOCK_LOCK_LOST);
    assert_int_not_equal(look.cause, DYNALOCK_CAUSE_NONE);
    assert_int_equal(look.lost_fd, 1);
    assert_int_equal(look.told, look.cause);
    assert_int_equal(look.token, s->token);
    assert_int_equal(peer_ask(&s->holder, "write %s", s->path), 0);
    assert_int_equal(peer_ask(&s->holder, "renew"), DYNALOCK_ERR_LOST);
    assert_int_equal(peer_ask(&s->holder, "release"), DYNALOCK_ERR_LOST);
    assert_int_equal(peer_ask(&s->holder, "release"), DYNALOCK_ERR_NOT_HELD);
    assert_taken(s);
}

/* Resumed, with a question that it was asked while it was stopped. */
static void resume_a_holder(int moment)
{
    struct scene *s = &stopped[moment];
    int64_t n[8] = {0};
    assert_taken_in_time(s, "stopped");
    assert_taken(s);
    peer_tell(&s->holder, "look");
    peer_continue(&s->holder);
    assert_true(peer_hear(&s->holder, n, COUNT(n), LONG_MS));
    assert_int_equal(n[0], DYNALOCK_ERR_LOST);
    assert_knows_the_loss(s);
    peer_end(&s->holder);
    assert_taken(s);
}

/* Guard: lost at the deadline; version and nonce in the condition of a release. That ensure asks no thread shows if
 * the watch is slower than this question: test_clock.c shows it always. */
static void test_stopped_while_it_holds_the_lock(void **state)
{
    (void)state;
    resume_a_holder(HOLDING);
}

/* Guard: lost at the deadline. A lease counts from before it was asked for, and its request is given up before it
 * ends: only without both may the late answer be believed, and then not always. */
static void test_stopped_inside_a_renewal(void **state)
{
    (void)state;
    resume_a_holder(RENEWING);
}

/* Guard: version and nonce in a renewal's condition. */
static void test_stopped_inside_a_renewal_that_arrives_late(void **state)
{
    (void)state;
    resume_a_holder(RENEWING_LATE);
}

/* Guard: a try is given up before its lease ends, and an acquisition succeeds only if its lease is still ahead: the
 * one covers for the other; what is cleaned up is one's own. */
static void test_stopped_inside_an_acquisition_that_tries_once(void **state)
{
    struct scene *s = &stopped[ACQUIRING];
    int64_t n[2] = {0};
    (void)state;
    assert_taken_in_time(s, "stopped");
    peer_continue(&s->holder);
    assert_true(peer_hear(&s->holder, n, COUNT(n), LONG_MS));
    assert_int_not_equal(n[0], 0);
    struct peer_look look = peer_look(&s->holder);
    assert_int_equal(look.ensure, DYNALOCK_ERR_NOT_HELD);
    assert_int_equal(look.remaining_ms, 0);
    assert_int_equal(look.state, DYNALOCK_LOCK_IDLE);
    peer_end(&s->holder);
    assert_taken(s);
}

/* Guard: the same; what is found to be another's is waited for. */
static void test_stopped_inside_an_acquisition_that_waits(void **state)
{
    struct scene *s = &stopped[WAITING];
    int64_t n[3] = {0};
    (void)state;
    assert_taken_in_time(s, "stopped");
    peer_continue(&s->holder);
    assert_false(peer_hear(&s->holder, n, COUNT(n), 3 * POLL_MS));
    assert_taken(s);
    int64_t token = dynalock_lock_token(s->lock);
    int64_t released_ms = monotonic_ms();
    check(dynalock_lock_release(s->lock, &failure), 0);
    assert_true(peer_hear(&s->holder, n, COUNT(n), LONG_MS));
    assert_int_equal(n[0], 0);
    assert_true(n[1] > token);
    assert_true(n[2] >= released_ms);
    assert_int_equal(peer_ask(&s->holder, "write %s", s->path), 1);
    assert_int_equal(peer_ask(&s->holder, "release"), 0);
    peer_end(&s->holder);
}

/* Resumed after all its time, it may not have looked at the answer: then the release is repeated. */
static void resume_a_release(int moment, int code)
{
    struct scene *s = &stopped[moment];
    int64_t n[2] = {0};
    peer_continue(&s->holder);
    assert_true(peer_hear(&s->holder, n, COUNT(n), LONG_MS));
    struct peer_look look = peer_look(&s->holder);
    assert_int_equal(look.ensure, DYNALOCK_ERR_NOT_HELD);
    assert_int_equal(look.remaining_ms, 0);
    assert_int_equal(peer_ask(&s->holder, "write %s", s->path), 0);
    if (n[0] == DYNALOCK_ERR_TIMEOUT) {
        assert_int_equal(look.state, DYNALOCK_LOCK_RELEASING);
        n[0] = peer_ask(&s->holder, "release");
        code = DYNALOCK_ERR_LOST;
    }
    assert_int_equal(n[0], code);
    assert_int_equal(peer_ask(&s->holder, "release"), DYNALOCK_ERR_NOT_HELD);
    peer_end(&s->holder);
    assert_taken(s);
}

/* Guard: a release is final; repeated, it removes no record but its own. */
static void test_stopped_inside_a_release(void **state)
{
    (void)state;
    resume_a_release(RELEASING, DYNALOCK_OK);
}

/* Guard: version and nonce in a release's condition; "released or lost" once the lease has ended. */
static void test_stopped_inside_a_release_that_arrives_late(void **state)
{
    (void)state;
    assert_taken_in_time(&stopped[RELEASING_LATE], "stopped");
    resume_a_release(RELEASING_LATE, DYNALOCK_ERR_LOST);
}

/* Guard: the takeover delay; a waiter looks again just after the expiry; what arrives late is conditional. */
static void test_killed_at_any_moment_it_is_taken_over_after_its_expiry_and_within_the_bound(
    void **state)
{
    (void)state;
    for (int i = 0; i < MOMENTS; i++) {
        assert_taken_in_time(&killed[i], "killed");
        assert_taken(&killed[i]);
    }
}

int main(int argc, char **argv)
{
    if (peer_is(argc, argv)) {
        return peer_main(argv);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stopped_while_it_holds_the_lock),
        cmocka_unit_test(test_stopped_inside_a_renewal),
        cmocka_unit_test(test_stopped_inside_a_renewal_that_arrives_late),
        cmocka_unit_test(test_stopped_inside_an_acquisition_that_tries_once),
        cmocka_unit_test(test_stopped_inside_an_acquisition_that_waits),
        cmocka_unit_test(test_stopped_inside_a_release),
        cmocka_unit_test(test_stopped_inside_a_release_that_arrives_late),
        cmocka_unit_test(
            test_killed_at_any_moment_it_is_taken_over_after_its_expiry_and_within_the_bound),
    };

    return cmocka_run_group_tests(tests, set_up, take_down);
}
