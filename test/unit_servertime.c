/* SPDX-License-Identifier: Apache-2.0 */
/* Bounds on server time: the rules one by one, and a simulated server whose true time they must contain. */
#include "../internal.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define SECOND INT64_C(1000000)
#define SLACK (50 * INT64_C(1000))
#define EPOCH INT64_C(1700000000) /* what server time is when the boot clock shows 0 */

static struct dlk_now now_of(const struct dlk_servertime *st, int64_t boot_us, int64_t real_us)
{
    struct dlk_now now;
    dlk_servertime_now(st, boot_us, real_us, &now);
    return now;
}

/* A host clock that is right. */
static struct dlk_now now_at(const struct dlk_servertime *st, int64_t boot_us)
{
    return now_of(st, boot_us, EPOCH * SECOND + boot_us);
}

/* An answer made halfway between sent and received, of a server that is off_us ahead. */
static enum dlk_sample_result answer(struct dlk_servertime *st, int64_t sent_us,
                                     int64_t received_us, int64_t off_us)
{
    int64_t made_us = EPOCH * SECOND + (sent_us + received_us) / 2 + off_us;
    return dlk_servertime_add(st, sent_us, received_us, dlk_seconds_down(made_us));
}

/* Samples at changing fractions of a second, until the bounds are as narrow as they get. */
static void narrow(struct dlk_servertime *st, int64_t from_us, int64_t off_us)
{
    for (int i = 0; i < 20; i++) {
        int64_t sent_us = from_us + i * 1050000;
        assert_int_equal(answer(st, sent_us, sent_us + 2000, off_us), DLK_SAMPLE_AGREES);
    }
}

/* ---- Without samples, and with one ------------------------------------------------------------ */

static void test_without_a_sample_nothing_has_expired_but_what_was_released(void **state)
{
    struct dlk_servertime st = {0};
    struct dlk_now now = now_of(&st, 77, EPOCH * SECOND);
    dynalock_kv released = {.has_expires = true, .expires = DLK_TOMBSTONE};
    dynalock_kv old = {.has_expires = true, .expires = EPOCH - 86400};

    (void)state;
    assert_false(now.known);
    assert_false(now.trusted);
    assert_int_equal(now.boot_us, 77);
    assert_int_equal(now.real_us, EPOCH * SECOND);
    assert_int_equal(now.upper_us, (EPOCH + 2) * SECOND);
    assert_int_equal(now.lease_us, now.upper_us);
    assert_true(dlk_record_expired(&released, &now));
    assert_false(dlk_record_expired(&old, &now));
}

static void test_one_sample_gives_the_bounds_of_its_date(void **state)
{
    struct dlk_servertime st = {0};
    struct dlk_now now;

    (void)state;
    assert_int_equal(dlk_servertime_add(&st, 1000000, 1200000, EPOCH + 1), DLK_SAMPLE_AGREES);
    now = now_of(&st, 1200000, (EPOCH + 1) * SECOND + 500000);
    assert_true(now.known);
    assert_false(now.trusted); /* two that agree are needed */
    /* At least Date when it was received; less than Date + 1 s when it was sent. */
    assert_int_equal(now.lower_us, (EPOCH + 1) * SECOND - SLACK);
    assert_int_equal(now.upper_us, (EPOCH + 2) * SECOND + 200000 + SLACK);
}

static void test_two_agreeing_samples_and_a_right_host_clock_are_trusted(void **state)
{
    struct dlk_servertime st = {0};

    (void)state;
    assert_int_equal(answer(&st, 1000000, 1010000, 0), DLK_SAMPLE_AGREES);
    assert_false(now_at(&st, 1010000).trusted);
    assert_int_equal(answer(&st, 1600000, 1610000, 0), DLK_SAMPLE_AGREES);
    assert_true(now_at(&st, 1610000).trusted);
}

static void test_agreeing_samples_narrow_the_bounds_to_one_second_and_no_further(void **state)
{
    struct dlk_servertime st = {0};
    struct dlk_now now;

    (void)state;
    narrow(&st, 0, 0);
    now = now_at(&st, 20 * SECOND);
    assert_true(now.upper_us - now.lower_us >= SECOND);
    assert_true(now.upper_us - now.lower_us <= SECOND + 1);
    assert_true(now.lower_us <= (EPOCH + 20) * SECOND);
    assert_true(now.upper_us >= (EPOCH + 20) * SECOND);
}

static void test_bounds_are_never_narrower_than_one_second(void **state)
{
    struct dlk_servertime st = {0};

    (void)state;
    for (int i = 0; i < 400; i++) {
        int64_t sent_us = i * 250001;
        struct dlk_now now;
        (void)answer(&st, sent_us, sent_us + 1, 0);
        now = now_at(&st, sent_us + 1);
        assert_true(now.upper_us - now.lower_us >= SECOND);
    }
}

/* ---- Age ---------------------------------------------------------------------------------------- */

static void test_bounds_widen_by_500_ppm_of_a_samples_age(void **state)
{
    struct dlk_servertime st = {0};
    struct dlk_now young;
    struct dlk_now old;

    (void)state;
    (void)dlk_servertime_add(&st, 0, 0, EPOCH);
    young = now_at(&st, 0);
    old = now_at(&st, 200 * SECOND);
    assert_in_range(young.lower_us + 200 * SECOND - old.lower_us, 100000, 100002);
    assert_in_range(old.upper_us - (young.upper_us + 200 * SECOND), 100000, 100002);
}

static void test_a_sample_says_nothing_after_five_minutes(void **state)
{
    struct dlk_servertime st = {0};

    (void)state;
    narrow(&st, 0, 0);
    int64_t newest_us = st.newest_us;
    assert_true(now_at(&st, newest_us + 300 * SECOND).known);
    assert_true(now_at(&st, newest_us + 300 * SECOND).trusted);
    assert_false(now_at(&st, newest_us + 300 * SECOND + 1).known);
    assert_false(now_at(&st, newest_us + 300 * SECOND + 1).trusted);
}

static void test_after_five_minutes_two_samples_are_needed_again(void **state)
{
    struct dlk_servertime st = {0};

    (void)state;
    narrow(&st, 0, 0);
    int64_t later_us = st.newest_us + 301 * SECOND;
    assert_int_equal(answer(&st, later_us, later_us + 1000, 0), DLK_SAMPLE_AGREES);
    assert_true(now_at(&st, later_us + 1000).known);
    assert_false(now_at(&st, later_us + 1000).trusted);
    assert_int_equal(answer(&st, later_us + SECOND, later_us + SECOND + 1000, 0),
                     DLK_SAMPLE_AGREES);
    assert_true(now_at(&st, later_us + SECOND + 1000).trusted);
}

static void test_a_jump_is_seen_however_long_nothing_was_asked(void **state)
{
    struct dlk_servertime st = {0};

    (void)state;
    narrow(&st, 0, 0);
    int64_t later_us = st.newest_us + 3600 * SECOND;
    assert_int_equal(answer(&st, later_us, later_us + 1000, 60 * SECOND), DLK_SAMPLE_JUMPED);
    assert_false(now_of(&st, later_us + 1000, (EPOCH + 60) * SECOND + later_us).trusted);
    narrow(&st, later_us + SECOND, 60 * SECOND);
    assert_true(now_of(&st, st.newest_us, (EPOCH + 60) * SECOND + st.newest_us).trusted);
    assert_int_equal(st.conflicts, 1);
}

static void test_answers_that_overtake_each_other_agree(void **state)
{
    struct dlk_servertime st = {0};

    (void)state;
    assert_int_equal(answer(&st, 5 * SECOND, 5 * SECOND + 1000, 0), DLK_SAMPLE_AGREES);
    /* Received before the newest was, handed in after it. */
    assert_int_equal(answer(&st, 1 * SECOND, 4 * SECOND, 0), DLK_SAMPLE_AGREES);
    struct dlk_now now = now_at(&st, 6 * SECOND);
    assert_true(now.known);
    assert_true(now.lower_us <= (EPOCH + 6) * SECOND);
    assert_true(now.upper_us >= (EPOCH + 6) * SECOND);
}

/* ---- Contradictions ----------------------------------------------------------------------------- */

static void test_a_contradiction_takes_the_hull_and_trusts_nothing(void **state)
{
    static const struct {
        int64_t off_us;
        enum dlk_sample_result result;
    } cases[] = {
        {10 * SECOND, DLK_SAMPLE_JUMPED},
        {-10 * SECOND, DLK_SAMPLE_CONFLICTS},
        {86400 * SECOND, DLK_SAMPLE_JUMPED},
        {-86400 * SECOND, DLK_SAMPLE_CONFLICTS},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dlk_servertime st = {0};
        struct dlk_now now;
        narrow(&st, 0, 0);
        assert_int_equal(answer(&st, 30 * SECOND, 30 * SECOND + 1000, cases[i].off_us),
                         cases[i].result);
        now = now_at(&st, 30 * SECOND + 1000);
        assert_int_equal(st.conflicts, 1);
        assert_false(now.trusted);
        /* Both what was known and what came are within. */
        assert_true(now.lower_us <= (EPOCH + 30) * SECOND);
        assert_true(now.upper_us >= (EPOCH + 30) * SECOND);
        assert_true(now.lower_us <= (EPOCH + 30) * SECOND + cases[i].off_us);
        assert_true(now.upper_us >= (EPOCH + 30) * SECOND + cases[i].off_us);
    }
}

static void test_after_a_contradiction_the_older_samples_are_dropped(void **state)
{
    struct dlk_servertime st = {0};

    (void)state;
    narrow(&st, 0, 0);
    assert_int_equal(answer(&st, 30 * SECOND, 30 * SECOND + 1000, 10 * SECOND), DLK_SAMPLE_JUMPED);
    /* The next one narrows the hull to where the server is now. */
    narrow(&st, 31 * SECOND, 10 * SECOND);
    int64_t boot_us = st.newest_us;
    struct dlk_now now = now_of(&st, boot_us, (EPOCH + 10) * SECOND + boot_us);
    assert_true(now.lower_us > EPOCH * SECOND + boot_us + 8 * SECOND);
    assert_true(now.upper_us < EPOCH * SECOND + boot_us + 12 * SECOND);
    assert_true(now.trusted);
    assert_int_equal(st.conflicts, 1);
}

static void test_front_ends_less_than_half_a_second_apart_do_not_count_as_a_jump(void **state)
{
    struct dlk_servertime st = {0};

    (void)state;
    narrow(&st, 0, 0);
    for (int i = 0; i < 40; i++) {
        int64_t sent_us = 30 * SECOND + i * 1050000;
        enum dlk_sample_result result =
            answer(&st, sent_us, sent_us + 2000, i % 2 == 0 ? 300000 : 0);
        assert_int_equal(result, DLK_SAMPLE_AGREES); /* within bounds of one second */
    }
    assert_true(now_at(&st, st.newest_us).trusted);
}

/* ---- The host's clock ---------------------------------------------------------------------------- */

static void test_the_hosts_clock_is_held_to_the_bounds(void **state)
{
    static const struct {
        int64_t off_us;
        bool trusted;
    } cases[] = {
        {0, true},
        {2 * SECOND, true},
        {-2 * SECOND, true},
        {4 * SECOND, false},
        {-4 * SECOND, false},
        {3600 * SECOND, false},
        {-3600 * SECOND, false},
        {-(EPOCH + 20) * SECOND, false}, /* 1970 */
    };
    struct dlk_servertime st = {0};

    (void)state;
    narrow(&st, 0, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t boot_us = 20 * SECOND;
        struct dlk_now now = now_of(&st, boot_us, EPOCH * SECOND + boot_us + cases[i].off_us);
        assert_int_equal(now.trusted, cases[i].trusted);
        assert_true(now.real_us >= now.lower_us);
        assert_true(now.real_us <= now.upper_us);
        assert_true(now.lease_us >= now.upper_us);
    }
}

static void test_a_lease_is_not_counted_from_a_date_that_is_behind_a_host_that_disagrees(
    void **state)
{
    struct dlk_servertime st = {0};
    int64_t boot_us = 20 * SECOND;

    (void)state;
    narrow(&st, 0, 0);
    struct dlk_now ahead = now_of(&st, boot_us, EPOCH * SECOND + boot_us + 3600 * SECOND);
    struct dlk_now behind = now_of(&st, boot_us, EPOCH * SECOND + boot_us - 3600 * SECOND);
    assert_int_equal(ahead.lease_us, EPOCH * SECOND + boot_us + 3600 * SECOND);
    assert_int_equal(behind.lease_us, behind.upper_us);
}

/* ---- A simulated server ---------------------------------------------------------------------------- */

static uint64_t simulation_seed;

static int64_t simulated(int64_t below)
{
    simulation_seed =
        simulation_seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (int64_t)((simulation_seed >> 33) % (uint64_t)below);
}

struct simulation {
    int64_t drift_ppm;    /* of the boot clock against the server's */
    int64_t front_end_us; /* each answer's front end is up to so much ahead or behind */
    int64_t rtt_us, gap_us;
};

/* What the boot clock shows at this true time. */
static int64_t simulated_boot(const struct simulation *s, int64_t true_us)
{
    return true_us + true_us / SECOND * s->drift_ppm + true_us % SECOND * s->drift_ppm / SECOND;
}

/* Runs for `seconds`; how many answers were contradictions. After each, and before the next, the bounds are judged. */
static void simulate(const struct simulation *s, int64_t seconds, struct dlk_servertime *st)
{
    int64_t true_us = 1000;
    while (true_us < seconds * SECOND) {
        int64_t received_at = true_us + 1 + simulated(s->rtt_us);
        int64_t made_at = true_us + simulated(received_at - true_us);
        int64_t off_us = s->front_end_us > 0 ? simulated(2 * s->front_end_us) - s->front_end_us : 0;
        (void)dlk_servertime_add(st, simulated_boot(s, true_us), simulated_boot(s, received_at),
                                 dlk_seconds_down(EPOCH * SECOND + made_at + off_us));
        true_us = received_at + simulated(s->gap_us);
        struct dlk_now now = now_of(st, simulated_boot(s, true_us), EPOCH * SECOND + true_us);
        if (now.lower_us > EPOCH * SECOND + true_us + s->front_end_us ||
            now.upper_us < EPOCH * SECOND + true_us - s->front_end_us) {
            fail_msg("after %" PRId64 " us the bounds are %" PRId64 " and %" PRId64, true_us,
                     now.lower_us - EPOCH * SECOND - true_us,
                     now.upper_us - EPOCH * SECOND - true_us);
        }
    }
}

static void test_bounds_contain_the_true_time_whatever_drift_and_round_trips(void **state)
{
    static const int64_t drifts[] = {-400, 0, 400};
    static const int64_t rtts[] = {2, 3000, 200000, 4000000};
    static const int64_t gaps[] = {50000, 7 * SECOND, 290 * SECOND};

    (void)state;
    simulation_seed = 1;
    for (size_t d = 0; d < 3; d++) {
        for (size_t r = 0; r < 4; r++) {
            for (size_t g = 0; g < 3; g++) {
                struct simulation s = {drifts[d], 0, rtts[r], gaps[g]};
                struct dlk_servertime st = {0};
                simulate(&s, 2000, &st);
                assert_int_equal(st.conflicts, 0);
            }
        }
    }
}

static void test_bounds_stay_within_what_the_front_ends_say(void **state)
{
    (void)state;
    simulation_seed = 2;
    for (int64_t off_us = 50000; off_us <= SECOND; off_us *= 2) {
        struct simulation s = {400, off_us, 20000, 7 * SECOND};
        struct dlk_servertime st = {0};
        simulate(&s, 3000, &st);
    }
}

/* Plain intersection would be empty within minutes, and block takeover for ever. */
static void test_holding_for_ten_thousand_seconds_never_blocks_a_takeover(void **state)
{
    static const int64_t drifts[] = {-400, 400};

    (void)state;
    simulation_seed = 3;
    for (size_t d = 0; d < 2; d++) {
        struct simulation s = {drifts[d], SECOND, 50000, 13 * SECOND};
        struct dlk_servertime st = {0};
        int trusted = 0;
        for (int64_t from = 0; from < 10000; from += 100) {
            int64_t true_us = (from + 100) * SECOND;
            simulate(&s, from + 100, &st);
            struct dlk_now now = now_of(&st, simulated_boot(&s, true_us), EPOCH * SECOND + true_us);
            /* A record that expired 10 s ago is surely expired, and one that has 10 s to go is not. */
            assert_true(now.lower_us > EPOCH * SECOND + true_us - 10 * SECOND);
            assert_true(now.lower_us < EPOCH * SECOND + true_us + 10 * SECOND);
            trusted += now.trusted ? 1 : 0;
            st = (struct dlk_servertime){0};
        }
        assert_true(trusted > 50);
    }
}

static void test_one_long_tenure_keeps_time_to_a_few_seconds(void **state)
{
    static const int64_t drifts[] = {-400, 0, 400};

    (void)state;
    simulation_seed = 4;
    for (size_t d = 0; d < 3; d++) {
        struct simulation s = {drifts[d], SECOND, 50000, 13 * SECOND};
        struct dlk_servertime st = {0};
        int64_t true_us = 10000 * SECOND;
        simulate(&s, 10000, &st);
        struct dlk_now now = now_of(&st, simulated_boot(&s, true_us), EPOCH * SECOND + true_us);
        assert_true(now.known);
        assert_true(now.upper_us - now.lower_us < 4 * SECOND);
    }
}

/* ---- The text of a Date ----------------------------------------------------------------------- */

static void test_a_date_is_read(void **state)
{
    static const struct {
        const char *text;
        int64_t date_s;
    } cases[] = {
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
        {"Tue, 29 Feb 2000 23:59:59 GMT", 951868799},
        {"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800},
        {"Thu, 29 Feb 2024 00:00:00 GMT", 1709164800},
        {"Fri, 01 Mar 2024 00:00:00 GMT", 1709251200},
        {"Tue, 19 Jan 2038 03:14:08 GMT", INT64_C(2147483648)},
        {"Mon, 01 Mar 2100 00:00:00 GMT", INT64_C(4107542400)},
        {"Fri, 31 Dec 9999 23:59:59 GMT", INT64_C(253402300799)},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t date_s = -1;
        assert_true(dlk_http_date(cases[i].text, &date_s));
        assert_int_equal(date_s, cases[i].date_s);
    }
}

static void test_what_is_no_date_is_none(void **state)
{
    static const char *const cases[] = {
        "",
        "Sun",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "1994-11-06T08:49:37Z",
        "784111777",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 29 Feb 1900 08:49:37 GMT",
        "Mon, 29 Feb 2100 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 06 anF 1994 08:49:37 GMT",
        "Wed, 31 Dec 1969 23:59:59 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 1994 08:-9:37 GMT",
        "Sun, 06 Nov +994 08:49:37 GMT",
    };
    int64_t date_s = 7;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_false(dlk_http_date(cases[i], &date_s));
        assert_int_equal(date_s, 7);
    }
}

static void test_the_bounds_hold_beyond_2038_and_to_the_year_9999(void **state)
{
    static const int64_t dates[] = {INT32_MAX, INT64_C(2147483648), UINT32_MAX, INT64_C(4294967296),
                                    INT64_C(253402300799)};
    (void)state;
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
        struct dlk_servertime st = {0};
        int64_t us = dates[i] * SECOND;
        assert_int_equal(dlk_servertime_add(&st, 0, 2000, dates[i]), DLK_SAMPLE_AGREES);
        assert_int_equal(dlk_servertime_add(&st, 1000, 3000, dates[i]), DLK_SAMPLE_AGREES);
        struct dlk_now now = now_of(&st, 3000, us + SECOND / 2);
        assert_true(now.trusted);
        assert_in_range(now.lower_us, us - SECOND, us);
        assert_in_range(now.upper_us, us + SECOND, us + 2 * SECOND);
        dynalock_kv kv = {.has_expires = true, .expires = dates[i]};
        assert_false(dlk_record_expired(&kv, &now));
        kv.expires -= 2;
        assert_true(dlk_record_expired(&kv, &now));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_date_is_read),
        cmocka_unit_test(test_what_is_no_date_is_none),
        cmocka_unit_test(test_without_a_sample_nothing_has_expired_but_what_was_released),
        cmocka_unit_test(test_one_sample_gives_the_bounds_of_its_date),
        cmocka_unit_test(test_two_agreeing_samples_and_a_right_host_clock_are_trusted),
        cmocka_unit_test(test_agreeing_samples_narrow_the_bounds_to_one_second_and_no_further),
        cmocka_unit_test(test_bounds_are_never_narrower_than_one_second),
        cmocka_unit_test(test_bounds_widen_by_500_ppm_of_a_samples_age),
        cmocka_unit_test(test_a_sample_says_nothing_after_five_minutes),
        cmocka_unit_test(test_after_five_minutes_two_samples_are_needed_again),
        cmocka_unit_test(test_a_jump_is_seen_however_long_nothing_was_asked),
        cmocka_unit_test(test_answers_that_overtake_each_other_agree),
        cmocka_unit_test(test_a_contradiction_takes_the_hull_and_trusts_nothing),
        cmocka_unit_test(test_after_a_contradiction_the_older_samples_are_dropped),
        cmocka_unit_test(test_front_ends_less_than_half_a_second_apart_do_not_count_as_a_jump),
        cmocka_unit_test(test_the_hosts_clock_is_held_to_the_bounds),
        cmocka_unit_test(
            test_a_lease_is_not_counted_from_a_date_that_is_behind_a_host_that_disagrees),
        cmocka_unit_test(test_bounds_contain_the_true_time_whatever_drift_and_round_trips),
        cmocka_unit_test(test_bounds_stay_within_what_the_front_ends_say),
        cmocka_unit_test(test_holding_for_ten_thousand_seconds_never_blocks_a_takeover),
        cmocka_unit_test(test_one_long_tenure_keeps_time_to_a_few_seconds),
        cmocka_unit_test(test_the_bounds_hold_beyond_2038_and_to_the_year_9999),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
