/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hosts whose wall clock is an hour fast, an hour slow, or jumps while locks are held: processes under libfaketime,
 * whose boot clock is left alone. The proxies refuse what is signed more than five minutes off. All scenes are played
 * at once, by the group's setup; the tests look at what became of them.
 */
#include "support_lock.h"
#include "support_peer.h"

#include <libgen.h>
#include <limits.h>
#include <unistd.h>

#define TTL_MS 3000
#define POLL_MS 300
#define LIVING_MS 5500 /* how long nobody takes over from the living */
#define JUMP_MS 350
#define HOUR_MS INT64_C(3600000)
#define MARGIN_MS 250
/* By the expiry, or by having seen the record for its lease; where time is trusted, for five seconds more. */
#define BOUND_MS (TTL_MS + MARGIN_MS + 5000 + POLL_MS)
#define LOAD_MS 4000 /* what a loaded machine may add */

enum { RIGHT, FAST, SLOW, JUMPING, CLOCKS };

static const char *const clock_names[CLOCKS] = {"right", "an hour fast", "an hour slow", "jumping"};
static const char *const clock_offsets[CLOCKS] = {NULL, "+3600", "-3600", NULL};
static const char *const jumps[] = {"+3600", "-3600", "+0"};

static const struct {
    int holder, contender;
} casts[] = {{FAST, RIGHT}, {SLOW, RIGHT},    {JUMPING, RIGHT}, {RIGHT, FAST},
             {RIGHT, SLOW}, {RIGHT, JUMPING}, {FAST, SLOW},     {JUMPING, JUMPING}};

struct scene {
    char key[64];
    struct peer holder, contender;
    int64_t token, renewed, believed_ms; /* until when the holder had it, when it was killed */
    int64_t killed_ms, n[3];             /* n: what the contender answered */
    bool stolen, lost, taken;
};

static struct bench *bench;
static char folder[] = "/tmp/dynalock-scene-XXXXXX";
static char clock_file[80], program[PATH_MAX];
static int proxies[CLOCKS];
static char endpoints[CLOCKS][40];
static struct scene scenes[COUNT(casts)];
static int64_t clocks[CLOCKS][2], true_clocks[CLOCKS][2]; /* wall, boot */

/* ---- Processes with another clock ------------------------------------------------------------- */

static const char *faketime_library(void)
{
    static const char *const places[] = {
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib/faketime/libfaketimeMT.so.1",
    };
    for (size_t i = 0; i < COUNT(places); i++) {
        if (access(places[i], R_OK) == 0) {
            return places[i];
        }
    }
    fail_msg("libfaketime is not there");
    return NULL;
}

/* libfaketime is this machine's own, and does not go with sanitizers: what it is loaded into is the usual build. */
static void find_program(void)
{
    char self[PATH_MAX] = "", name[PATH_MAX] = "";
    assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    snprintf(name, sizeof name, "%s", self);
    snprintf(program, sizeof program, "%.2000s/../../release/test/%.200s", dirname(self),
             basename(name));
    assert_int_equal(access(program, X_OK), 0);
}

static void jump(const char *offset)
{
    char next[100];
    snprintf(next, sizeof next, "%s.next", clock_file);
    FILE *file = fopen(next, "w");
    assert_non_null(file);
    fprintf(file, "%s\n", offset);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(next, clock_file), 0);
}

static struct peer start_with_clock(int clock)
{
    char preload[PATH_MAX], offset[200];
    snprintf(preload, sizeof preload, "LD_PRELOAD=%s", faketime_library());
    if (clock == JUMPING) {
        snprintf(offset, sizeof offset, "FAKETIME_TIMESTAMP_FILE=%s", clock_file);
    } else {
        snprintf(offset, sizeof offset, "FAKETIME=%s", clock_offsets[clock]);
    }
    const char *const environment[] = {
        preload, offset, "DONT_FAKE_MONOTONIC=1", "FAKETIME_DONT_RESET=1", "FAKETIME_NO_CACHE=1",
        NULL};
    return peer_start(bench, endpoints[clock], program, environment);
}

static struct peer start(struct scene *s, int clock)
{
    struct peer peer =
        clock == RIGHT ? peer_start(bench, endpoints[clock], NULL, NULL) : start_with_clock(clock);
    assert_int_equal(peer_ask(&peer, "lock %s %d %d 0 1", s->key, TTL_MS, POLL_MS), 0);
    return peer;
}

static void ask_clocks(struct peer *peer, int clock)
{
    struct timespec boot;
    peer_tell(peer, "clocks");
    assert_true(peer_hear(peer, clocks[clock], 2, LONG_MS));
    clock_gettime(CLOCK_BOOTTIME, &boot);
    true_clocks[clock][0] = real_ms();
    true_clocks[clock][1] = (int64_t)boot.tv_sec * 1000 + boot.tv_nsec / 1000000;
}

/* ---- Setting the scenes ----------------------------------------------------------------------- */

static void begin(struct scene *s, size_t i)
{
    snprintf(s->key, sizeof s->key, "%s", bench_key(bench));
    s->holder = start(s, casts[i].holder);
    s->contender = start(s, casts[i].contender);
    assert_int_equal(peer_ask(&s->holder, "acquire 0"), 0);
    s->token = peer_look(&s->holder).token;
    ask_clocks(&s->holder, casts[i].holder);
    peer_tell(&s->contender, "acquire -1");
}

static void look(struct scene *s)
{
    struct peer_look seen = peer_look(&s->holder);
    s->lost = s->lost || seen.ensure != 0 || seen.token != s->token;
    s->renewed = seen.renewed;
    s->stolen = s->stolen || peer_hear(&s->contender, s->n, COUNT(s->n), 0);
}

static void end_holder(struct scene *s)
{
    int64_t before_ms = monotonic_ms();
    s->believed_ms = before_ms + peer_look(&s->holder).remaining_ms;
    peer_kill(&s->holder);
    s->killed_ms = monotonic_ms();
}

static void live(void)
{
    int64_t end = monotonic_ms() + LIVING_MS;
    for (size_t n = 0; monotonic_ms() < end; n++) {
        jump(jumps[n % COUNT(jumps)]);
        sleep_ms(JUMP_MS);
        for (size_t i = 0; i < COUNT(casts); i++) {
            look(&scenes[i]);
        }
    }
}

static int set_up(void **state)
{
    *state = bench = bench_new();
    assert_non_null(mkdtemp(folder));
    snprintf(clock_file, sizeof clock_file, "%s/clock", folder);
    find_program();
    for (int clock = 0; clock < CLOCKS; clock++) {
        snprintf(endpoints[clock], sizeof endpoints[clock], "%s",
                 rig_proxy_new(bench->rig, test_server(), NULL));
        proxies[clock] = bench->rig->proxy;
    }
    jump("+3600");
    for (size_t i = 0; i < COUNT(casts); i++) {
        begin(&scenes[i], i);
    }
    live();
    for (size_t i = 0; i < COUNT(casts); i++) {
        end_holder(&scenes[i]);
    }
    for (size_t i = 0; i < COUNT(casts); i++) {
        struct scene *s = &scenes[i];
        s->taken = s->stolen || peer_hear(&s->contender, s->n, COUNT(s->n), LONG_MS);
    }
    return 0;
}

static int take_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(casts); i++) {
        peer_kill(&scenes[i].holder);
        peer_kill(&scenes[i].contender);
    }
    unlink(clock_file);
    rmdir(folder);
    bench->rig->proxy = bench->proxy;
    bench_free(bench);
    return 0;
}

static const char *cast_name(size_t i)
{
    static char name[100];
    snprintf(name, sizeof name, "holder's clock %s, contender's %s", clock_names[casts[i].holder],
             clock_names[casts[i].contender]);
    return name;
}

/* ---- What became of them ---------------------------------------------------------------------- */

/* Without it, none of this would say anything. */
static void test_the_wall_clocks_are_wrong_and_the_boot_clock_is_right(void **state)
{
    static const int64_t expected_ms[CLOCKS] = {0, HOUR_MS, -HOUR_MS, HOUR_MS};
    (void)state;
    for (int clock = 0; clock < CLOCKS; clock++) {
        int64_t wall_ms = clocks[clock][0] - true_clocks[clock][0] - expected_ms[clock];
        int64_t boot_ms = clocks[clock][1] - true_clocks[clock][1];
        if (wall_ms < -LONG_MS || wall_ms > LONG_MS || boot_ms < -LONG_MS || boot_ms > LONG_MS) {
            fail_msg("%s: off by %" PRId64 " ms, the boot clock by %" PRId64 " ms",
                     clock_names[clock], wall_ms, boot_ms);
        }
    }
}

/* Guard: what is refused for its time is signed anew by the server's, and the correction is kept. */
static void test_signing_is_corrected_once_and_again_after_each_jump(void **state)
{
    (void)state;
    for (int clock = 0; clock < CLOCKS; clock++) {
        json_t *counts = rig(bench->rig, "'cmd':'counts','proxy':%d", proxies[clock]);
        int refused = (int)json_integer_value(json_object_get(counts, "refused"));
        int total = (int)json_integer_value(json_object_get(counts, "total"));
        int stores = 0;
        for (size_t i = 0; i < COUNT(casts); i++) {
            stores += (casts[i].holder == clock ? 1 : 0) + (casts[i].contender == clock ? 1 : 0);
        }
        int most = clock == RIGHT     ? 0
                   : clock == JUMPING ? stores * (LIVING_MS / JUMP_MS + 3)
                                      : stores;
        printf("# wall clock %s: %d of %d requests refused, of %d clients\n", clock_names[clock],
               refused, total, stores);
        assert_true(refused <= most);
        assert_true(refused >= (clock == RIGHT ? 0 : stores));
        assert_true(total > 4 * stores);
        assert_int_equal(json_array_size(json_object_get(counts, "violations")), 0);
        json_decref(counts);
    }
}

/* Guard: the host's clock decides nothing: neither that a lease has ended, nor when one's own does. */
static void test_no_lock_is_stolen_or_lost_whatever_the_wall_clocks_say(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(casts); i++) {
        if (scenes[i].stolen || scenes[i].lost || scenes[i].renewed < 3) {
            fail_msg("%s: %s, renewed %d times", cast_name(i),
                     scenes[i].stolen ? "stolen"
                     : scenes[i].lost ? "lost"
                                      : "held",
                     (int)scenes[i].renewed);
        }
    }
}

/* Guard: a record that was seen unchanged for its lease is taken, where clocks say nothing; never before. */
static void test_after_the_holders_death_the_lock_is_taken_over_in_time(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(casts); i++) {
        struct scene *s = &scenes[i];
        if (!s->taken || s->n[0] != 0) {
            fail_msg("%s: never, or with %d", cast_name(i), (int)s->n[0]);
        }
        int64_t took_ms = s->n[2] - s->killed_ms;
        printf("# %s: taken over after %" PRId64 " ms (bound %d ms)\n", cast_name(i), took_ms,
               BOUND_MS);
        assert_true(s->n[1] > s->token);
        assert_true(s->n[2] > s->believed_ms);
        assert_true(took_ms <= BOUND_MS + LOAD_MS);
        struct peer_look seen = peer_look(&s->contender);
        assert_int_equal(seen.ensure, 0);
        assert_int_equal(peer_ask(&s->contender, "release"), 0);
        peer_end(&s->contender);
        assert_false(is_there(bench, s->key));
    }
}

int main(int argc, char **argv)
{
    if (peer_is(argc, argv)) {
        return peer_main(argv);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_wall_clocks_are_wrong_and_the_boot_clock_is_right),
        cmocka_unit_test(test_signing_is_corrected_once_and_again_after_each_jump),
        cmocka_unit_test(test_no_lock_is_stolen_or_lost_whatever_the_wall_clocks_say),
        cmocka_unit_test(test_after_the_holders_death_the_lock_is_taken_over_in_time),
    };

    return cmocka_run_group_tests(tests, set_up, take_down);
}
