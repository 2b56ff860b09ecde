/* SPDX-License-Identifier: Apache-2.0 */
/* What a record means: nonces, versions, expiry, seconds, sizes. */
#include "../internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define TENURE "0123456789abcdef0123456789abcdef"
#define OTHER "f123456789abcdef0123456789abcdef"

static void test_tenures_are_32_lower_case_digits_and_differ(void **state)
{
    char a[DLK_TENURE_SIZE];
    char b[DLK_TENURE_SIZE];

    (void)state;
    assert_int_equal(dlk_tenure_new(a), 0);
    assert_int_equal(dlk_tenure_new(b), 0);
    assert_int_equal(strlen(a), 32);
    assert_int_equal(strspn(a, "0123456789abcdef"), 32);
    assert_string_not_equal(a, b);
}

static void test_a_nonce_holds_tenure_write_and_version_at_their_widest(void **state)
{
    char nonce[DLK_NONCE_SIZE];

    (void)state;
    dlk_nonce_make(nonce, TENURE, 7, 0, 1234);
    assert_string_equal(nonce, TENURE ".7.1234");
    assert_int_equal(dlk_nonce_version(nonce), 1234);
    dlk_nonce_make(nonce, TENURE, 4294967295U, 0, INT64_MIN);
    assert_string_equal(nonce, TENURE ".4294967295.-9223372036854775808");
    assert_true(dlk_nonce_version(nonce) == INT64_MIN);
    dlk_nonce_make(nonce, TENURE, 0, 0, INT64_MAX);
    assert_true(dlk_nonce_version(nonce) == INT64_MAX);
    dlk_nonce_make(nonce, TENURE, 4294967295U, 4294967295U, INT64_MAX);
    assert_string_equal(nonce, TENURE ".4294967295.4294967295.9223372036854775807");
    assert_true(dlk_nonce_version(nonce) == INT64_MAX);
}

static void test_a_renewals_nonce_tells_the_token(void **state)
{
    static const struct {
        const char *nonce;
        unsigned since;
    } cases[] = {{TENURE ".7.3.1234", 3},
                 {TENURE ".7.4294967295.9223372036854775807", 4294967295U},
                 {TENURE ".7.1234", 0},
                 {TENURE, 0},
                 {"", 0},
                 {".", 0},
                 {"..", 0},
                 {"...", 0},
                 {"a.b.c.d", 0}};
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(dlk_nonce_since_token(cases[i].nonce), cases[i].since);
    }
}

static void test_a_nonce_belongs_to_its_tenure_alone(void **state)
{
    static const struct {
        const char *nonce, *tenure;
        bool belongs;
    } cases[] = {
        {TENURE ".1.5", TENURE, true},   {TENURE ".99.5", TENURE, true},
        {OTHER ".1.5", TENURE, false},   {TENURE, TENURE, false},
        {TENURE "0.1.5", TENURE, false}, {"", TENURE, false},
        {NULL, TENURE, false},           {".1.5", "", false}, /* no tenure yet */
        {TENURE ".1.5", "", false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(dlk_nonce_of(cases[i].nonce, cases[i].tenure), cases[i].belongs);
    }
}

static void test_a_record_is_a_tenures_only_while_its_nonce_is_current(void **state)
{
    char nonce[] = TENURE ".1.5";
    dynalock_kv kv = {.nonce = nonce, .version = 5, .current = true};

    (void)state;
    assert_true(dlk_record_of(&kv, TENURE));
    kv.current = false; /* Go has written since, and left the nonce behind */
    assert_false(dlk_record_of(&kv, TENURE));
}

static void test_the_same_record_has_the_same_version_and_nonce_or_none(void **state)
{
    char nonce[] = TENURE ".1.5";
    dynalock_kv with = {.nonce = nonce, .version = 5};
    dynalock_kv without = {.version = 5};

    (void)state;
    assert_true(dlk_record_same(&with, 5, TENURE ".1.5"));
    assert_false(dlk_record_same(&with, 6, TENURE ".1.5"));
    assert_false(dlk_record_same(&with, 5, TENURE ".2.5"));
    assert_false(dlk_record_same(&with, 5, NULL));
    assert_true(dlk_record_same(&without, 5, NULL));
    assert_false(dlk_record_same(&without, 5, ""));
    assert_false(dlk_record_same(&without, 4, NULL));
}

static void test_a_record_expires_when_the_lower_bound_is_past_its_second(void **state)
{
    static const struct {
        bool has_expires;
        int64_t expires, lower_us;
        bool expired;
    } cases[] = {
        {true, 100, 100000000, false},
        {true, 100, 100999999, false},
        {true, 100, 101000000, true},
        {true, 100, 99000000, false},
        {false, 0, INT64_MAX, false},
        {true, DLK_TOMBSTONE, 2000000, true},
        {true, 0, 1000000, true},
        {true, INT64_MIN, 0, true},
        {true, INT64_MAX, INT64_MAX, false},
        {true, -5, -4500000, false},
        {true, -5, -4000000, true},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        dynalock_kv kv = {.has_expires = cases[i].has_expires, .expires = cases[i].expires};
        struct dlk_now now = {.lower_us = cases[i].lower_us};
        assert_int_equal(dlk_record_expired(&kv, &now), cases[i].expired);
    }
}

static void test_seconds_are_rounded_down_and_up_at_any_sign(void **state)
{
    static const struct {
        int64_t us, down, up;
    } cases[] = {
        {0, 0, 0},
        {1, 0, 1},
        {-1, -1, 0},
        {999999, 0, 1},
        {1000000, 1, 1},
        {1000001, 1, 2},
        {-999999, -1, 0},
        {-1000000, -1, -1},
        {-1000001, -2, -1},
        {INT64_MAX, INT64_C(9223372036854), INT64_C(9223372036855)},
        {INT64_MIN, INT64_C(-9223372036855), INT64_C(-9223372036854)},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_true(dlk_seconds_down(cases[i].us) == cases[i].down);
        assert_true(dlk_seconds_up(cases[i].us) == cases[i].up);
    }
}

static void test_a_first_version_is_the_time_and_exceeds_what_was_there(void **state)
{
    static const struct {
        int64_t real_us;
        bool over;
        int64_t over_version, version;
    } cases[] = {
        {1700000000000000, false, 0, 1700000000000000},
        {1700000000000000, true, 12, 1700000000000000},
        {1700000000000000, true, 1700000000000000, 1700000000000001},
        {1700000000000000, true, INT64_MAX - 1, INT64_MAX},
        {0, false, 0, 1},
        {-5, false, 0, 1},
        {-5, true, -9, 1},
        {1, true, 1, 2},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct dlk_now now = {.real_us = cases[i].real_us};
        dynalock_kv over = {.version = cases[i].over_version};
        assert_true(dlk_first_version(&now, cases[i].over ? &over : NULL) == cases[i].version);
    }
}

/* DynamoDB counts names and values as bytes, and a number as half its digits and some. */
static void test_a_records_size_is_an_upper_bound_that_counts_every_attribute(void **state)
{
    size_t bare = dlk_record_size("p", "k", NULL, 0, false);

    (void)state;
    assert_true(bare >= 2 + 1 + 4 + 1 + 7 + 11 + 7 + 6 + 5 + 60);
    assert_true(bare < 200);
    assert_int_equal(dlk_record_size("pp", "k", NULL, 0, false), bare + 1);
    assert_int_equal(dlk_record_size("p", "kkk", NULL, 0, false), bare + 2);
    assert_int_equal(dlk_record_size("p", "k", NULL, 10, true), bare + strlen("payload") + 10);
    assert_true(dlk_record_size("p", "k", "me", 0, false) >=
                bare + strlen("holder") + 2 + strlen("lease") + 6);
}

static void test_no_value_is_composed_as_nothing_and_a_value_as_an_attribute(void **state)
{
    struct dlk_buffer text;
    dynalock_value none = dynalock_none();
    dynalock_value bytes = dynalock_bytes("abc", 3);
    size_t size = 99;

    (void)state;
    dlk_buffer_init(&text, 1000);
    assert_int_equal(dlk_compose_value(&bytes, &text, &size, NULL), 0);
    assert_string_equal(text.data, "{\"S\":\"YWJj\"}");
    assert_int_equal(size, 4);
    assert_int_equal(dlk_compose_value(&none, &text, &size, NULL), 0);
    assert_int_equal(text.length, 0);
    assert_int_equal(size, 0);
    dlk_buffer_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tenures_are_32_lower_case_digits_and_differ),
        cmocka_unit_test(test_a_nonce_holds_tenure_write_and_version_at_their_widest),
        cmocka_unit_test(test_a_renewals_nonce_tells_the_token),
        cmocka_unit_test(test_a_nonce_belongs_to_its_tenure_alone),
        cmocka_unit_test(test_a_record_is_a_tenures_only_while_its_nonce_is_current),
        cmocka_unit_test(test_the_same_record_has_the_same_version_and_nonce_or_none),
        cmocka_unit_test(test_a_record_expires_when_the_lower_bound_is_past_its_second),
        cmocka_unit_test(test_seconds_are_rounded_down_and_up_at_any_sign),
        cmocka_unit_test(test_a_first_version_is_the_time_and_exceeds_what_was_there),
        cmocka_unit_test(test_a_records_size_is_an_upper_bound_that_counts_every_attribute),
        cmocka_unit_test(test_no_value_is_composed_as_nothing_and_a_value_as_an_attribute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
