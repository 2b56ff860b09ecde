/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that has taken the library's two files in, and is linked with a library that uses the
 * shared one: the two copies work side by side, as two processes would.
 */
#include "two_copies.h"
#include "support.h"

struct pair {
    struct bench *bench;
    struct copy_store *linked, *vendored;
};

static int pair_setup(void **state)
{
    static struct pair pair;
    struct bench *b = bench_new();
    pair.bench = b;
    pair.linked = linked_copy.open(b->table, b->partition, b->endpoint);
    pair.vendored = vendored_copy.open(b->table, b->partition, b->endpoint);
    *state = &pair;
    return 0;
}

static int pair_teardown(void **state)
{
    struct pair *pair = *state;
    int failed = bench_violations((void **)&pair->bench);
    if (pair->linked) {
        linked_copy.close(pair->linked);
    }
    vendored_copy.close(pair->vendored);
    bench_free(pair->bench);
    return failed;
}

static void test_there_are_two_copies(void **state)
{
    (void)state;
    assert_true(linked_copy.version != vendored_copy.version);
    assert_string_equal(linked_copy.version(), vendored_copy.version());
}

static void test_each_copy_locks_and_unlocks_and_shuts_the_other_out(void **state)
{
    struct pair *pair = *state;
    const char *key = bench_key(pair->bench);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(vendored_copy.take(pair->vendored, key), 0);
        assert_int_equal(linked_copy.take(pair->linked, key), DYNALOCK_ERR_NOT_ACQUIRED);
        assert_int_equal(vendored_copy.give_back(pair->vendored), 0);
        assert_int_equal(linked_copy.take(pair->linked, key), 0);
        assert_int_equal(vendored_copy.take(pair->vendored, key), DYNALOCK_ERR_NOT_ACQUIRED);
        assert_int_equal(linked_copy.give_back(pair->linked), 0);
    }
}

static void test_the_keeper_of_each_copy_renews_its_own_lock(void **state)
{
    struct pair *pair = *state;
    assert_int_equal(vendored_copy.take(pair->vendored, bench_key(pair->bench)), 0);
    assert_int_equal(linked_copy.take(pair->linked, bench_key(pair->bench)), 0);
    int64_t began = monotonic_ms();
    while ((vendored_copy.renewals(pair->vendored) < 2 || linked_copy.renewals(pair->linked) < 2) &&
           monotonic_ms() - began < 20000) {
        sleep_ms(20);
    }
    assert_true(vendored_copy.renewals(pair->vendored) >= 2);
    assert_true(linked_copy.renewals(pair->linked) >= 2);
    assert_true(vendored_copy.holds(pair->vendored));
    assert_true(linked_copy.holds(pair->linked));
    assert_int_equal(vendored_copy.give_back(pair->vendored), 0);
    assert_int_equal(linked_copy.give_back(pair->linked), 0);
}

static void test_one_copy_goes_on_when_the_store_of_the_other_is_closed(void **state)
{
    struct pair *pair = *state;
    assert_int_equal(vendored_copy.take(pair->vendored, bench_key(pair->bench)), 0);
    assert_int_equal(linked_copy.take(pair->linked, bench_key(pair->bench)), 0);
    linked_copy.close(pair->linked);
    pair->linked = NULL;
    assert_true(vendored_copy.holds(pair->vendored));
    assert_int_equal(vendored_copy.give_back(pair->vendored), 0);
    assert_int_equal(vendored_copy.take(pair->vendored, bench_key(pair->bench)), 0);
    assert_int_equal(vendored_copy.give_back(pair->vendored), 0);
}

#define PAIR_TEST(function) cmocka_unit_test_setup_teardown(function, pair_setup, pair_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_there_are_two_copies),
        PAIR_TEST(test_each_copy_locks_and_unlocks_and_shuts_the_other_out),
        PAIR_TEST(test_the_keeper_of_each_copy_renews_its_own_lock),
        PAIR_TEST(test_one_copy_goes_on_when_the_store_of_the_other_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
