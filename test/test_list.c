/* SPDX-License-Identifier: Apache-2.0 */
/* Listing: prefixes, order, pages, what a callback may do, failures on the way. */
#include "support.h"

struct listing {
    dynalock_kv **items;
    size_t count;
};

static struct listing list(dynalock_store *store, const char *prefix)
{
    struct listing l = {NULL, 99};
    check(dynalock_list(store, prefix, NULL, &l.items, &l.count, &failure), DYNALOCK_OK);
    return l;
}

static void put(dynalock_store *store, const char *prefix, const char *rest)
{
    char key[200];
    snprintf(key, sizeof key, "%s%s", prefix, rest);
    check(dynalock_put(store, key, dynalock_bytes(rest, strlen(rest)), NULL, &failure),
          DYNALOCK_OK);
}

/* The listed keys are prefix and each of these, in this order, with that as their value. */
static void assert_listed(dynalock_store *store, const char *prefix, const char *const *rest,
                          size_t count)
{
    struct listing l = list(store, prefix);
    assert_int_equal(l.count, count);
    for (size_t i = 0; i < count; i++) {
        const void *bytes;
        size_t length;
        assert_memory_equal(dynalock_kv_key(l.items[i]), prefix, strlen(prefix));
        assert_string_equal(dynalock_kv_key(l.items[i]) + strlen(prefix), rest[i]);
        check(dynalock_kv_bytes(l.items[i], &bytes, &length, &failure), DYNALOCK_OK);
        assert_int_equal(length, strlen(rest[i]));
        assert_memory_equal(bytes, rest[i], length);
    }
    dynalock_list_free(l.items, l.count);
}

static void test_nothing_is_listed_as_nothing(void **state)
{
    struct bench *b = *state;
    struct listing l = list(b->store, "no such prefix");
    assert_int_equal(l.count, 0);
    dynalock_list_free(l.items, l.count);
    assert_int_equal(bench_count(b, "Query"), 1);
}

static void test_a_prefix_selects_and_keys_are_in_the_order_of_their_bytes(void **state)
{
    struct bench *b = *state;
    const char *prefix = bench_key(b);
    static const char *const rest[] = {"",
                                       "!",
                                       "/",
                                       "/A",
                                       "/a",
                                       "/a/",
                                       "/a/1",
                                       "/a/10",
                                       "/a/2",
                                       "\\\"",
                                       "\x7F",
                                       "\xC3\xBC",
                                       "\xE2\x82\xAC",
                                       "\xEF\xBF\xBD",
                                       "\xF0\x9F\x94\x92"};
    char inner[100];
    for (size_t i = COUNT(rest); i > 0; i--) {
        put(b->store, prefix, rest[i - 1]);
    }
    char other[100]; /* sorts before, and is no part of it */
    snprintf(other, sizeof other, "%.*s", (int)strlen(prefix) - 1, prefix);
    put(b->store, other, "");
    snprintf(inner, sizeof inner, "%s/a/", prefix);
    struct listing l = list(b->store, inner);
    assert_int_equal(l.count, 4); /* the prefix itself is one */
    dynalock_list_free(l.items, l.count);
    l = list(b->store, prefix);
    assert_int_equal(l.count, COUNT(rest));
    for (size_t i = 0; i < l.count; i++) {
        assert_string_equal(dynalock_kv_key(l.items[i]) + strlen(prefix), rest[i]);
    }
    dynalock_list_free(l.items, l.count);
}

static void test_prefixes_of_odd_characters_select_literally(void **state)
{
    struct bench *b = *state;
    static const char *const odd[] = {"%", "*", "\"", "\\", ":p", "#n", "\x01", "\xF0\x9F\x94\x92"};
    static const char *const rest[] = {"", "x"};
    for (size_t i = 0; i < COUNT(odd); i++) {
        char prefix[100];
        snprintf(prefix, sizeof prefix, "%s%s", odd[i], bench_key(b));
        put(b->store, prefix, "");
        put(b->store, prefix, "x");
        assert_listed(b->store, prefix, rest, 2);
    }
}

static void test_no_prefix_lists_the_whole_partition_and_no_other(void **state)
{
    struct bench *b = *state;
    dynalock_options options = bench_options(b);
    dynalock_store *store = NULL;
    static const char *const rest[] = {"a", "b/c"};
    check(dynalock_open(b->table, "a partition\\", &options, &store, &failure), DYNALOCK_OK);
    put(store, "", "b/c");
    put(store, "", "a");
    put(b->store, bench_key(b), "");
    assert_listed(store, "", rest, 2);
    struct listing l = list(store, NULL);
    assert_int_equal(l.count, 2);
    assert_string_equal(dynalock_kv_partition(l.items[0]), "a partition\\");
    dynalock_list_free(l.items, l.count);
    dynalock_close(store);
}

static void test_expired_records_are_left_out(void **state)
{
    struct bench *b = *state;
    const char *prefix = bench_key(b);
    static const char *const rest[] = {"b", "d"};
    static const char *const expired[] = {"a", "c", "e"};
    for (size_t i = 0; i < COUNT(expired); i++) {
        char key[100];
        snprintf(key, sizeof key, "%s%s", prefix, expired[i]);
        bench_put_item(b, key, "'version':{'N':'5'},'expires':{'N':'%d'}", i == 1 ? 1 : 1700000000);
    }
    put(b->store, prefix, "b");
    put(b->store, prefix, "d");
    assert_listed(b->store, prefix, rest, 2);
}

static void test_arguments_are_checked_before_anything_is_sent(void **state)
{
    struct bench *b = *state;
    char longer[1026];
    struct listing l = {NULL, 5};
    memset(longer, 'k', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    const char *const bad[] = {longer, "\xFF", "a\xC0\x80"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        check(dynalock_list(b->store, bad[i], NULL, &l.items, &l.count, &failure),
              DYNALOCK_ERR_ARGUMENT);
        assert_contains(failure.message, "prefix");
    }
    for (int i = 0; i < 4; i++) {
        dynalock_read_options options = {0};
        options.reserved[i] = 1;
        check(dynalock_list(b->store, "", &options, &l.items, &l.count, &failure),
              DYNALOCK_ERR_ARGUMENT);
    }
    check(dynalock_list(b->store, "", NULL, NULL, &l.count, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_list(b->store, "", NULL, &l.items, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_list_each(b->store, "", NULL, NULL, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    assert_null(l.items);
    assert_int_equal(l.count, 5);
    assert_int_equal(bench_count(b, NULL), 0);
    longer[1024] = '\0'; /* as long as a key may be */
    l = list(b->store, longer);
    assert_int_equal(l.count, 0);
    dynalock_list_free(l.items, l.count);
}

/* ---- Pages ----------------------------------------------------------------------------------- */

enum { MANY = 40, LARGE = 45000 };

static char *large_prefix;

/* 40 records of 60 KB in base64: three pages of 1 MB. */
static int large_setup(void **state)
{
    struct bench *b = *state;
    if (!large_prefix) {
        static unsigned char bytes[LARGE];
        large_prefix = strdup(bench_key(b));
        for (int i = 0; i < MANY; i++) {
            char key[100];
            snprintf(key, sizeof key, "%s/%03d", large_prefix, i);
            memset(bytes, i, sizeof bytes);
            check(dynalock_put(b->store, key, dynalock_bytes(bytes, sizeof bytes),
                               &(dynalock_write_options){.never_expires = true}, &failure),
                  DYNALOCK_OK);
        }
    }
    return bench_clear(state);
}

static void assert_large(dynalock_kv *kv, int i)
{
    const void *bytes;
    size_t length;
    char key[100];
    snprintf(key, sizeof key, "%s/%03d", large_prefix, i);
    assert_string_equal(dynalock_kv_key(kv), key);
    check(dynalock_kv_bytes(kv, &bytes, &length, &failure), DYNALOCK_OK);
    assert_int_equal(length, LARGE);
    assert_int_equal(((const unsigned char *)bytes)[0], i);
    assert_int_equal(((const unsigned char *)bytes)[LARGE - 1], i);
}

static void test_a_long_list_comes_whole_and_in_order(void **state)
{
    struct bench *b = *state;
    struct listing l = list(b->store, large_prefix);
    assert_int_equal(l.count, MANY);
    for (int i = 0; i < MANY; i++) {
        assert_large(l.items[i], i);
    }
    dynalock_list_free(l.items, l.count);
    assert_in_range(bench_count(b, "Query"), 3, 4);
}

struct walk {
    struct bench *b;
    int seen, stop_after, value;
    int pages_at[MANY]; /* asked for, when each item was handed over */
};

static int step(dynalock_kv *kv, void *context)
{
    struct walk *walk = context;
    assert_large(kv, walk->seen);
    walk->pages_at[walk->seen] = bench_count(walk->b, "Query");
    walk->seen++;
    return walk->seen == walk->stop_after ? walk->value : 0;
}

static void test_list_each_asks_for_a_page_when_the_one_before_is_done(void **state)
{
    struct bench *b = *state;
    struct walk walk = {.b = b};
    check(dynalock_list_each(b->store, large_prefix, NULL, step, &walk, &failure), DYNALOCK_OK);
    assert_int_equal(walk.seen, MANY);
    assert_int_equal(walk.pages_at[0], 1);
    assert_int_equal(walk.pages_at[14], 1); /* 15 records are less than 1 MB */
    assert_in_range(walk.pages_at[MANY - 1], 3, 4);
}

static void test_a_callback_ends_the_listing_with_its_value(void **state)
{
    struct bench *b = *state;
    struct walk walk = {.b = b, .stop_after = 3, .value = 7};
    dynalock_error error, before;
    memset(&error, 0x5A, sizeof error);
    before = error;
    int result = dynalock_list_each(b->store, large_prefix, NULL, step, &walk, &error);
    assert_int_equal(result, 7);
    assert_memory_equal(&error, &before, sizeof error);
    assert_int_equal(walk.seen, 3);
    assert_int_equal(bench_count(b, "Query"), 1);
}

static void test_a_failure_in_a_later_page_ends_the_list(void **state)
{
    struct bench *b = *state;
    struct walk walk = {.b = b};
    struct listing l = {NULL, 5};
    rig_fault(b->rig,
              "'match':{'op':'Query','nth':2},'times':-1,'action':{'do':'status','status':400,"
              "'type':'x#AccessDeniedException'}");
    check(dynalock_list(b->store, large_prefix, NULL, &l.items, &l.count, &failure),
          DYNALOCK_ERR_NOT_AUTHORIZED);
    assert_null(l.items);
    assert_int_equal(l.count, 5);
    rig_clear_faults(b->rig);
    bench_reset(b);
    rig_fault(b->rig,
              "'match':{'op':'Query','nth':2},'times':-1,'action':{'do':'status','status':400,"
              "'type':'x#AccessDeniedException'}");
    check(dynalock_list_each(b->store, large_prefix, NULL, step, &walk, &failure),
          DYNALOCK_ERR_NOT_AUTHORIZED);
    assert_in_range(walk.seen, 15, 20);
}

static void test_a_page_that_is_lost_is_asked_for_again(void **state)
{
    struct bench *b = *state;
    rig_fault(b->rig, "'match':{'op':'Query','nth':2},'action':{'do':'truncate'}");
    rig_fault(b->rig, "'match':{'op':'Query','nth':2},'action':'wrong-crc'");
    struct listing l = list(b->store, large_prefix);
    assert_int_equal(l.count, MANY);
    for (int i = 0; i < MANY; i++) {
        assert_large(l.items[i], i);
    }
    dynalock_list_free(l.items, l.count);
}

static void test_an_empty_page_is_not_the_end(void **state)
{
    struct bench *b = *state;
    const char *prefix = bench_key(b);
    static const char *const rest[] = {"1", "2"};
    put(b->store, prefix, "1");
    put(b->store, prefix, "2");
    rig_fault(b->rig,
              "'match':{'op':'Query'},'action':{'do':'rewrite','body':{'Items':[],'Count':0,"
              "'ScannedCount':9,'LastEvaluatedKey':{'id':{'S':'%s'},'name':{'S':'%s0'}}}}",
              b->partition, prefix);
    assert_listed(b->store, prefix, rest, 2);
    assert_int_equal(bench_count(b, "Query"), 2);
}

static void test_a_listing_that_does_not_advance_is_ended(void **state)
{
    struct bench *b = *state;
    struct listing l = {NULL, 5};
    rig_fault(b->rig,
              "'match':{'op':'Query'},'times':-1,'action':{'do':'rewrite','body':{'Items':[],"
              "'LastEvaluatedKey':{'id':{'S':'%s'},'name':{'S':'x'}}}}",
              b->partition);
    check(dynalock_list(b->store, "x", NULL, &l.items, &l.count, &failure),
          DYNALOCK_ERR_BAD_RESPONSE);
    assert_int_equal(bench_count(b, "Query"), 2);
}

static void test_answers_that_are_no_page_are_refused(void **state)
{
    struct bench *b = *state;
    static const char *const bodies[] = {
        "{}",
        "{'Items':{}}",
        "{'Items':[],'LastEvaluatedKey':{}}",
        "{'Items':[],'LastEvaluatedKey':'x'}",
        "{'Items':[5]}",
    };
    for (size_t i = 0; i < COUNT(bodies); i++) {
        struct listing l = {NULL, 5};
        json_t *json = json_text(bodies[i]);
        char *body = json_dumps(json, JSON_COMPACT);
        rig_fault(b->rig, "'match':{'op':'Query'},'times':-1,'action':{'do':'rewrite','body':%s}",
                  body);
        free(body);
        json_decref(json);
        check(dynalock_list(b->store, "x", NULL, &l.items, &l.count, &failure),
              DYNALOCK_ERR_BAD_RESPONSE);
        assert_null(l.items);
        rig_clear_faults(b->rig);
    }
}

static void test_one_record_that_is_not_dynalocks_fails_the_list(void **state)
{
    struct bench *b = *state;
    const char *prefix = bench_key(b);
    char key[100];
    struct listing l = {NULL, 5};
    put(b->store, prefix, "1");
    snprintf(key, sizeof key, "%s2", prefix);
    bench_put_item(b, key, "'payload':{'S':'x'}");
    check(dynalock_list(b->store, prefix, NULL, &l.items, &l.count, &failure), DYNALOCK_ERR_TYPE);
    assert_contains(failure.message, key);
    assert_null(l.items);
    assert_int_equal(l.count, 5);
    bench_delete_item(b, key);
}

/* ---- What a callback may do ------------------------------------------------------------------ */

struct busy {
    struct bench *b;
    int closed, got, listed, removed;
};

static int count_one(dynalock_kv *kv, void *context)
{
    (void)kv;
    ++*(int *)context;
    return 0;
}

static int call_all(dynalock_kv *kv, void *context)
{
    struct busy *busy = context;
    dynalock_store *store = busy->b->store;
    dynalock_kv *again = NULL;
    int inner = 0;
    busy->closed = dynalock_close(store);
    busy->got = dynalock_get(store, dynalock_kv_key(kv), NULL, &again, NULL);
    busy->listed = dynalock_list_each(store, dynalock_kv_key(kv), NULL, count_one, &inner, NULL);
    if (busy->closed == DYNALOCK_ERR_BUSY) { /* also after a callback within the callback */
        busy->closed = dynalock_close(store);
    }
    busy->removed = dynalock_atomic_delete(store, dynalock_kv_key(kv), again, NULL);
    dynalock_kv_free(again);
    return inner;
}

static void test_a_callback_may_call_all_but_close(void **state)
{
    struct bench *b = *state;
    struct busy busy = {.b = b};
    const char *prefix = bench_key(b);
    put(b->store, prefix, "1");
    put(b->store, prefix, "2");
    assert_int_equal(dynalock_list_each(b->store, prefix, NULL, call_all, &busy, NULL), 1);
    assert_int_equal(busy.closed, DYNALOCK_ERR_BUSY);
    assert_int_equal(busy.got, 0);
    assert_int_equal(busy.listed, 0);
    assert_int_equal(busy.removed, 0);
    static const char *const rest[] = {"2"};
    assert_listed(b->store, prefix, rest, 1);
}

static void test_after_a_callback_the_store_can_be_closed(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = bench_open(b, NULL);
    int seen = 0;
    const char *prefix = bench_key(b);
    put(store, prefix, "1");
    check(dynalock_list_each(store, prefix, NULL, count_one, &seen, &failure), DYNALOCK_OK);
    assert_int_equal(seen, 1);
    assert_int_equal(dynalock_close(store), DYNALOCK_OK);
}

static int list_teardown(void **state)
{
    free(large_prefix);
    return bench_teardown(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_clear, bench_violations)
#define LARGE_TEST(name) cmocka_unit_test_setup_teardown(name, large_setup, bench_violations)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_is_listed_as_nothing),
        TEST(test_a_prefix_selects_and_keys_are_in_the_order_of_their_bytes),
        TEST(test_prefixes_of_odd_characters_select_literally),
        TEST(test_no_prefix_lists_the_whole_partition_and_no_other),
        TEST(test_expired_records_are_left_out),
        TEST(test_arguments_are_checked_before_anything_is_sent),
        LARGE_TEST(test_a_long_list_comes_whole_and_in_order),
        LARGE_TEST(test_list_each_asks_for_a_page_when_the_one_before_is_done),
        LARGE_TEST(test_a_callback_ends_the_listing_with_its_value),
        LARGE_TEST(test_a_failure_in_a_later_page_ends_the_list),
        LARGE_TEST(test_a_page_that_is_lost_is_asked_for_again),
        TEST(test_an_empty_page_is_not_the_end),
        TEST(test_a_listing_that_does_not_advance_is_ended),
        TEST(test_answers_that_are_no_page_are_refused),
        TEST(test_one_record_that_is_not_dynalocks_fails_the_list),
        TEST(test_a_callback_may_call_all_but_close),
        TEST(test_after_a_callback_the_store_can_be_closed),
    };

    return cmocka_run_group_tests(tests, bench_setup, list_teardown);
}
