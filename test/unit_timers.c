/* SPDX-License-Identifier: Apache-2.0 */
/* The timers, against a model that is a sorted list in the simplest of ways. */
#include "../internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define TIMERS 40

static uint64_t timers_seed;

static unsigned timers_random(unsigned below)
{
    timers_seed = timers_seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(timers_seed >> 33) % below;
}

/* The earliest of those queued; -1: none. */
static int earliest(const struct dlk_timer *timers)
{
    int first = -1;
    for (int i = 0; i < TIMERS; i++) {
        if (timers[i].queued && (first < 0 || timers[i].due_us < timers[first].due_us)) {
            first = i;
        }
    }
    return first;
}

static void test_nothing_is_due_where_there_is_nothing(void **state)
{
    struct dlk_timers timers = {0};
    struct dlk_timer timer = {0};
    int64_t due_us = 7;

    (void)state;
    assert_null(dlk_timers_pop(&timers, INT64_MAX));
    assert_false(dlk_timers_next(&timers, &due_us));
    assert_int_equal(due_us, 7);
    dlk_timers_remove(&timers, &timer);
    assert_null(timers.root);
}

static void test_a_timer_is_due_at_its_time_and_once(void **state)
{
    struct dlk_timers timers = {0};
    struct dlk_timer timer = {0};
    int64_t due_us = 0;

    (void)state;
    dlk_timers_add(&timers, &timer, 100);
    assert_true(dlk_timers_next(&timers, &due_us));
    assert_int_equal(due_us, 100);
    assert_null(dlk_timers_pop(&timers, 99));
    assert_ptr_equal(dlk_timers_pop(&timers, 100), &timer);
    assert_false(timer.queued);
    assert_null(dlk_timers_pop(&timers, INT64_MAX));
}

static void test_adding_a_timer_again_moves_it(void **state)
{
    struct dlk_timers timers = {0};
    struct dlk_timer a = {0};
    struct dlk_timer b = {0};

    (void)state;
    dlk_timers_add(&timers, &a, 1);
    dlk_timers_add(&timers, &b, 2);
    dlk_timers_add(&timers, &a, 3);
    assert_ptr_equal(dlk_timers_pop(&timers, 10), &b);
    assert_ptr_equal(dlk_timers_pop(&timers, 10), &a);
    assert_null(dlk_timers_pop(&timers, 10));
}

static void test_timers_of_the_ends_of_time_are_in_order(void **state)
{
    struct dlk_timers timers = {0};
    struct dlk_timer first = {0};
    struct dlk_timer last = {0};

    (void)state;
    dlk_timers_add(&timers, &last, INT64_MAX);
    dlk_timers_add(&timers, &first, INT64_MIN);
    assert_ptr_equal(dlk_timers_pop(&timers, INT64_MIN), &first);
    assert_null(dlk_timers_pop(&timers, INT64_MAX - 1));
    assert_ptr_equal(dlk_timers_pop(&timers, INT64_MAX), &last);
}

/* One random step on the heap; what it must be afterwards is told by due_us and queued of the timers alone. */
static void step(struct dlk_timers *heap, struct dlk_timer *timers)
{
    struct dlk_timer *timer = &timers[timers_random(TIMERS)];
    int first = earliest(timers);
    int64_t now_us = timers_random(120);
    unsigned what = timers_random(8);
    if (what < 4) {
        dlk_timers_add(heap, timer, timers_random(100));
        assert_true(timer->queued);
    } else if (what < 6) {
        dlk_timers_remove(heap, timer);
        assert_false(timer->queued);
    } else {
        struct dlk_timer *popped = dlk_timers_pop(heap, now_us);
        if (first < 0 || timers[first].due_us > now_us) {
            assert_null(popped);
        } else {
            assert_non_null(popped);
            assert_false(popped->queued);
            assert_int_equal(popped->due_us, timers[first].due_us);
        }
    }
}

static void test_a_hundred_thousand_random_steps_agree_with_the_model(void **state)
{
    struct dlk_timers heap = {0};
    struct dlk_timer timers[TIMERS] = {{0}};

    (void)state;
    timers_seed = 42;
    for (int i = 0; i < 100000; i++) {
        int64_t due_us = 0;
        step(&heap, timers);
        int first = earliest(timers);
        assert_int_equal(dlk_timers_next(&heap, &due_us), first >= 0);
        if (first >= 0) {
            assert_int_equal(due_us, timers[first].due_us);
        }
    }
}

static void test_all_come_out_sorted_after_random_removals(void **state)
{
    struct dlk_timer timers[TIMERS] = {{0}};

    (void)state;
    timers_seed = 7;
    for (int round = 0; round < 200; round++) {
        struct dlk_timers heap = {0};
        struct dlk_timer *popped = NULL;
        int64_t before_us = INT64_MIN;
        int left = TIMERS;
        for (int i = 0; i < TIMERS; i++) {
            dlk_timers_add(&heap, &timers[i], timers_random(30));
        }
        for (int i = 0; i < TIMERS; i += 1 + (int)timers_random(3)) {
            dlk_timers_remove(&heap, &timers[i]);
            left--;
        }
        while ((popped = dlk_timers_pop(&heap, INT64_MAX)) != NULL) {
            assert_true(popped->due_us >= before_us);
            before_us = popped->due_us;
            left--;
        }
        assert_int_equal(left, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_due_where_there_is_nothing),
        cmocka_unit_test(test_a_timer_is_due_at_its_time_and_once),
        cmocka_unit_test(test_adding_a_timer_again_moves_it),
        cmocka_unit_test(test_timers_of_the_ends_of_time_are_in_order),
        cmocka_unit_test(test_a_hundred_thousand_random_steps_agree_with_the_model),
        cmocka_unit_test(test_all_come_out_sorted_after_random_removals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
