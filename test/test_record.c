/* SPDX-License-Identifier: Apache-2.0 */
/* What a record is: when it expires, how its version grows, and what others may have written. */
#include "support_kv.h"

/* ---- Expiry ---------------------------------------------------------------------------------- */

static void test_the_time_to_live_is_20_s_and_rounded_up(void **state)
{
    struct bench *b = *state;
    const struct {
        int64_t ttl_ms, least_s;
    } cases[] = {{0, 20}, {1, 1}, {1000, 1}, {1001, 2}, {2500, 3}, {3600000, 3600}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        const dynalock_write_options options = {.ttl_ms = cases[i].ttl_ms};
        for (int create_it = 0; create_it < 2; create_it++) {
            const char *key = bench_key(b);
            int64_t before = kv_now_s();
            if (create_it) {
                dynalock_kv_free(kv_create(b, key, "x", &options));
            } else {
                kv_put(b, key, "x", &options);
            }
            int64_t after = kv_now_s();
            json_t *item = bench_item(b, key);
            int64_t ttl_s = (cases[i].ttl_ms ? cases[i].ttl_ms + 999 : 20000) / 1000;
            assert_int_equal(ttl_s, cases[i].least_s);
            /* Not before its time; and not later than server time may be by its bounds. */
            assert_in_range(item_number(item, "expires"), before + ttl_s, after + ttl_s + 3);
            json_decref(item);
        }
    }
}

static void test_expires_ms_is_the_items_expiry(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_kv *written = kv_create(b, key, "x", NULL);
    dynalock_kv *read = kv_get(b, key);
    json_t *item = bench_item(b, key);
    assert_int_equal(dynalock_kv_expires_ms(read), item_number(item, "expires") * 1000);
    assert_int_equal(dynalock_kv_expires_ms(written), dynalock_kv_expires_ms(read));
    json_decref(item);
    dynalock_kv_free(written);
    dynalock_kv_free(read);
}

static void test_never_expires_removes_the_expiry(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    kv_put(b, key, "x", NULL);
    kv_put(b, key, "x", &kv_never);
    json_t *item = bench_item(b, key);
    assert_null(json_object_get(item, "expires"));
    json_decref(item);
    dynalock_kv *kv = kv_get(b, key);
    assert_int_equal(dynalock_kv_expires_ms(kv), 0);
    dynalock_kv_free(kv);
    kv = kv_create(b, bench_key(b), "x", &kv_never);
    assert_int_equal(dynalock_kv_expires_ms(kv), 0);
    dynalock_kv_free(kv);
}

static void test_a_put_leaves_nothing_of_the_record_before(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    bench_put_item(b, key,
                   "'version':{'N':'7'},'expires':{'N':'99999999999'},'payload':{'S':'b2xk'},"
                   "'nonce':{'S':'0123456789abcdef0123456789abcdef.1.7'},'holder':{'S':'h'},"
                   "'lease':{'N':'20000'},'theirs':{'S':'kept'}");
    dynalock_kv *kv = kv_get(b, key);
    assert_string_equal(dynalock_kv_holder(kv), "h");
    assert_int_equal(dynalock_kv_lease_ms(kv), 20000);
    dynalock_kv_free(kv);
    check(dynalock_put(b->store, key, dynalock_none(), NULL, &failure), DYNALOCK_OK);
    json_t *item = bench_item(b, key);
    static const char *const gone[] = {"payload", "nonce", "holder", "lease"};
    for (size_t i = 0; i < COUNT(gone); i++) {
        assert_null(json_object_get(item, gone[i]));
    }
    assert_int_equal(item_number(item, "version"), 8);
    assert_string_equal(item_text(item, "theirs", "S"), "kept");
    json_decref(item);
    kv = kv_get(b, key);
    const void *bytes;
    size_t length;
    assert_null(dynalock_kv_type(kv));
    check(dynalock_kv_bytes(kv, &bytes, &length, &failure), DYNALOCK_ERR_TYPE);
    assert_null(dynalock_kv_holder(kv));
    dynalock_kv_free(kv);
}

static void test_nobody_sees_an_expired_record(void **state)
{
    struct bench *b = *state;
    const char *const keys[] = {bench_key(b), bench_key(b), bench_key(b), bench_key(b)};
    kv_stranger(b, keys[0], 3, kv_now_s() - 10);
    kv_tombstone(b, keys[1], 3);
    kv_stranger(b, keys[2], 3, 0);
    kv_stranger(b, keys[3], 3, -5);
    for (size_t i = 0; i < COUNT(keys); i++) {
        dynalock_kv **items = NULL;
        size_t count = 9;
        kv_assert_absent(b, keys[i]);
        check(dynalock_list(b->store, keys[i], NULL, &items, &count, &failure), DYNALOCK_OK);
        assert_int_equal(count, 0);
        dynalock_list_free(items, count);
    }
}

static void test_a_record_is_seen_until_it_has_surely_expired(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    const dynalock_write_options options = {.ttl_ms = 1000};
    bool exists = true;
    kv_put(b, key, "x", &options);
    json_t *item = bench_item(b, key);
    int64_t expires = item_number(item, "expires");
    json_decref(item);
    int64_t seen_at = 0;
    for (int64_t end = monotonic_ms() + 15000; exists && monotonic_ms() < end;) {
        seen_at = kv_now_s();
        check(dynalock_exists(b->store, key, NULL, &exists, &failure), DYNALOCK_OK);
        sleep_ms(50);
    }
    assert_false(exists);
    assert_true(kv_now_s() > expires);
    assert_true(seen_at >= expires); /* seen in its last second */
}

/* ---- Versions -------------------------------------------------------------------------------- */

static void test_versions_begin_at_the_time_and_grow_by_one(void **state)
{
    struct bench *b = *state;
    const char *keys[] = {bench_key(b), bench_key(b)};
    int64_t least = (kv_now_s() - 3) * 1000000;
    kv_put(b, keys[0], "x", NULL);
    dynalock_kv *kv = kv_create(b, keys[1], "x", NULL);
    int64_t most = (kv_now_s() + 3) * 1000000;
    assert_int_equal(dynalock_kv_version(kv), kv_version_of(b, keys[1]));
    for (int i = 0; i < 2; i++) {
        int64_t version = kv_version_of(b, keys[i]);
        assert_in_range(version, least, most);
        kv_put(b, keys[i], "y", NULL);
        kv_put(b, keys[i], "z", NULL);
        assert_int_equal(kv_version_of(b, keys[i]), version + 2);
        dynalock_kv *previous = kv_get(b, keys[i]), *next = NULL;
        check(dynalock_atomic_put(b->store, keys[i], kv_text("z"), previous, NULL, &next, &failure),
              DYNALOCK_OK);
        assert_int_equal(dynalock_kv_version(next), version + 3);
        assert_int_equal(kv_version_of(b, keys[i]), version + 3);
        dynalock_kv_free(previous);
        dynalock_kv_free(next);
    }
    dynalock_kv_free(kv);
}

static void test_versions_never_go_back_after_a_delete(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    int64_t last = 0;
    for (int i = 0; i < 6; i++) {
        if (i % 2 == 0) {
            kv_put(b, key, "x", NULL);
        } else {
            dynalock_kv_free(kv_create(b, key, "x", NULL));
        }
        assert_true(kv_version_of(b, key) > last);
        last = kv_version_of(b, key);
        check(dynalock_delete(b->store, key, &failure), DYNALOCK_OK);
    }
}

static void test_a_create_over_an_expired_record_exceeds_its_version(void **state)
{
    struct bench *b = *state;
    const int64_t ahead = INT64_C(1) << 60;
    for (int kept = 0; kept < 2; kept++) {
        const char *key = bench_key(b);
        if (kept) {
            kv_tombstone(b, key, ahead);
        } else {
            kv_stranger(b, key, ahead, kv_now_s() - 5);
        }
        dynalock_kv *kv = kv_create(b, key, "new", NULL);
        assert_int_equal(dynalock_kv_version(kv), ahead + 1);
        assert_int_equal(kv_version_of(b, key), ahead + 1);
        dynalock_kv_free(kv);
        kv = kv_get(b, key);
        kv_assert_value(kv, "new");
        dynalock_kv_free(kv);
    }
}

static void test_a_put_over_an_expired_record_is_seen(void **state)
{
    struct bench *b = *state;
    for (int kept = 0; kept < 2; kept++) {
        const char *key = bench_key(b);
        if (kept) {
            kv_tombstone(b, key, 41);
        } else {
            kv_stranger(b, key, 41, kv_now_s() - 5);
        }
        kv_put(b, key, "new", NULL);
        dynalock_kv *kv = kv_get(b, key);
        kv_assert_value(kv, "new");
        assert_int_equal(dynalock_kv_version(kv), 42);
        dynalock_kv_free(kv);
    }
}

static void test_versions_at_the_end_of_their_range_do_not_overflow(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    kv_stranger(b, key, INT64_MAX, kv_now_s() + 60);
    dynalock_kv *kv = kv_get(b, key);
    assert_true(dynalock_kv_version(kv) == INT64_MAX);
    check(dynalock_atomic_put(b->store, key, kv_text("x"), kv, NULL, NULL, &failure),
          DYNALOCK_ERR_TYPE);
    check(dynalock_atomic_delete(b->store, key, kv, &failure), DYNALOCK_OK);
    dynalock_kv_free(kv);
    kv_stranger(b, key, INT64_MAX, kv_now_s() - 60);
    check(dynalock_atomic_put(b->store, key, kv_text("x"), NULL, NULL, NULL, &failure),
          DYNALOCK_ERR_TYPE);
    check(dynalock_delete(b->store, key, &failure), DYNALOCK_OK);
}

/* ---- Records of others ----------------------------------------------------------------------- */

static void test_records_that_are_not_dynalocks_are_called_so(void **state)
{
    struct bench *b = *state;
    static const char *const odd[] = {
        "'payload':{'S':'b2xk'}",
        "'version':{'S':'1'}",
        "'version':{'N':'1.5'}",
        "'version':{'N':'9223372036854775808'}",
        "'version':{'N':'99999999999999999999999999999999999999'}",
        "'version':{'NULL':true}",
        "'version':{'N':'1'},'expires':{'S':'soon'}",
        "'version':{'N':'1'},'expires':{'BOOL':true}",
    };
    dynalock_kv *kv = NULL, **items = NULL;
    size_t count = 0;
    bool exists = false;
    for (size_t i = 0; i < COUNT(odd); i++) {
        const char *key = bench_key(b);
        bench_put_item(b, key, odd[i], 0);
        check(dynalock_get(b->store, key, NULL, &kv, &failure), DYNALOCK_ERR_TYPE);
        assert_contains(failure.message, key);
        check(dynalock_exists(b->store, key, NULL, &exists, &failure), DYNALOCK_ERR_TYPE);
        check(dynalock_list(b->store, key, NULL, &items, &count, &failure), DYNALOCK_ERR_TYPE);
        check(dynalock_atomic_put(b->store, key, kv_text("x"), NULL, NULL, &kv, &failure),
              DYNALOCK_ERR_TYPE);
        assert_contains(failure.message, strstr(odd[i], "expires") ? "expires" : "version");
        bench_delete_item(b, key);
    }
    assert_null(kv);
    assert_null(items);
}

static void test_odd_records_that_can_be_read_are_read(void **state)
{
    struct bench *b = *state;
    const struct {
        const char *item;
        int64_t version, expires_ms;
    } odd[] = {
        {"'version':{'N':'-3'}", -3, 0},
        {"'version':{'N':'0'}", 0, 0},
        {"'version':{'N':'1'},'expires':{'N':'99999999999999999999999999999999999999'}", 1,
         INT64_MAX},
        {"'version':{'N':'1'},'expires':{'N':'1763871234000'}", 1, INT64_C(1763871234000000)},
        {"'version':{'N':'1'},'holder':{'BOOL':true},'lease':{'S':'x'}", 1, 0},
        {"'version':{'N':'1'},'nonce':{'S':'odd'},'holder':{'S':'h'},'lease':{'N':'5'}", 1, 0},
        {"'version':{'N':'1'},'more':{'M':{'a':{'L':[{'NULL':true}]}}}", 1, 0},
    };
    for (size_t i = 0; i < COUNT(odd); i++) {
        const char *key = bench_key(b);
        bench_put_item(b, key, odd[i].item, 0);
        dynalock_kv *kv = kv_get(b, key);
        assert_int_equal(dynalock_kv_version(kv), odd[i].version);
        assert_true(dynalock_kv_expires_ms(kv) == odd[i].expires_ms);
        assert_null(dynalock_kv_holder(kv));
        assert_int_equal(dynalock_kv_lease_ms(kv), 0);
        dynalock_kv_free(kv);
    }
}

static void test_odd_expired_records_can_be_created_over(void **state)
{
    struct bench *b = *state;
    static const char *const odd[] = {
        "'version':{'N':'1'},'expires':{'N':'1.5'}",
        "'version':{'N':'1'},'expires':{'N':'-99999999999999999999999999999999999999'}",
        "'version':{'N':'1'},'expires':{'N':'1'},'nonce':{'S':'odd'}",
        "'version':{'N':'-7'},'expires':{'N':'1'}",
    };
    for (size_t i = 0; i < COUNT(odd); i++) {
        const char *key = bench_key(b);
        bench_put_item(b, key, odd[i], 0);
        dynalock_kv_free(kv_create(b, key, "x", NULL));
    }
}

/* It is read and can be changed, or it is called no record of ours; not one without the other. */
static void test_a_strangers_nonce_of_another_type_is_judged_alike_by_all(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_kv *kv = NULL, *next = NULL;
    bench_put_item(b, key, "'version':{'N':'1'},'nonce':{'N':'5'}");
    int code = dynalock_get(b->store, key, NULL, &kv, &failure);
    if (code == DYNALOCK_ERR_TYPE) {
        assert_contains(failure.message, "nonce");
        check(dynalock_atomic_put(b->store, key, kv_text("x"), NULL, NULL, NULL, &failure), code);
        return;
    }
    check(code, DYNALOCK_OK);
    check(dynalock_atomic_put(b->store, key, kv_text("x"), kv, NULL, &next, &failure), DYNALOCK_OK);
    check(dynalock_atomic_delete(b->store, key, next, &failure), DYNALOCK_OK);
    dynalock_kv_free(kv);
    dynalock_kv_free(next);
}

/* As Go's have none: another of the same version that has one was written since. */
static void test_a_record_that_has_got_a_nonce_is_not_the_one_without(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_kv *kv = NULL;
    bench_put_item(b, key, "'version':{'N':'1'}");
    check(dynalock_get(b->store, key, NULL, &kv, &failure), DYNALOCK_OK);
    bench_put_item(b, key,
                   "'version':{'N':'1'},'nonce':{'S':'00112233445566778899aabbccddeeff.1.1'}");
    check(dynalock_atomic_put(b->store, key, kv_text("x"), kv, NULL, NULL, &failure),
          DYNALOCK_ERR_MODIFIED);
    check(dynalock_atomic_delete(b->store, key, kv, &failure), DYNALOCK_ERR_MODIFIED);
    dynalock_kv_free(kv);
}

static void test_a_put_on_a_record_that_cannot_be_counted_is_refused(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    bench_put_item(b, key, "'version':{'S':'1'}");
    check(dynalock_put(b->store, key, kv_text("x"), NULL, &failure), DYNALOCK_ERR_REFUSED);
    assert_string_equal(failure.name, "ValidationException");
    assert_int_equal(failure.http_status, 400);
    assert_int_equal(bench_count(b, "UpdateItem"), 1);
    check(dynalock_delete(b->store, key, &failure), DYNALOCK_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_clear, bench_violations)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_time_to_live_is_20_s_and_rounded_up),
        TEST(test_expires_ms_is_the_items_expiry),
        TEST(test_never_expires_removes_the_expiry),
        TEST(test_a_put_leaves_nothing_of_the_record_before),
        TEST(test_nobody_sees_an_expired_record),
        TEST(test_a_record_is_seen_until_it_has_surely_expired),
        TEST(test_versions_begin_at_the_time_and_grow_by_one),
        TEST(test_versions_never_go_back_after_a_delete),
        TEST(test_a_create_over_an_expired_record_exceeds_its_version),
        TEST(test_a_put_over_an_expired_record_is_seen),
        TEST(test_versions_at_the_end_of_their_range_do_not_overflow),
        TEST(test_records_that_are_not_dynalocks_are_called_so),
        TEST(test_odd_records_that_can_be_read_are_read),
        TEST(test_odd_expired_records_can_be_created_over),
        TEST(test_a_strangers_nonce_of_another_type_is_judged_alike_by_all),
        TEST(test_a_record_that_has_got_a_nonce_is_not_the_one_without),
        TEST(test_a_put_on_a_record_that_cannot_be_counted_is_refused),
    };

    return cmocka_run_group_tests(tests, bench_setup, bench_teardown);
}
