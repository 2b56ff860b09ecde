/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing records: arguments, results, compare and swap, what each costs. */
#include "support_kv.h"

/* ---- Put, get, exists, delete ---------------------------------------------------------------- */

static void test_what_was_put_is_got(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    kv_assert_absent(b, key);
    kv_put(b, key, "one", NULL);
    dynalock_kv *kv = kv_get(b, key);
    assert_string_equal(dynalock_kv_key(kv), key);
    assert_string_equal(dynalock_kv_partition(kv), b->partition);
    assert_string_equal(dynalock_kv_type(kv), "S");
    assert_null(dynalock_kv_holder(kv));
    assert_int_equal(dynalock_kv_lease_ms(kv), 0);
    kv_assert_value(kv, "one");
    dynalock_kv_free(kv);
    kv_put(b, key, "two", NULL);
    kv = kv_get(b, key);
    kv_assert_value(kv, "two");
    dynalock_kv_free(kv);
    bool exists = false;
    check(dynalock_exists(b->store, key, NULL, &exists, &failure), DYNALOCK_OK);
    assert_true(exists);
    check(dynalock_delete(b->store, key, &failure), DYNALOCK_OK);
    kv_assert_absent(b, key);
    check(dynalock_delete(b->store, key, &failure), DYNALOCK_OK);
}

static void test_every_key_that_dynamodb_takes_is_taken(void **state)
{
    struct bench *b = *state;
    char longest[1025];
    memset(longest, 'k', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    const char *const keys[] = {"a",
                                "/",
                                "a/b/c",
                                "a/b/c/",
                                "//",
                                " ",
                                "quote\"s and 'these'",
                                "back\\slash\\",
                                "\x01\x02\b\f\n\r\t\x1F\x7F",
                                "\xC3\xBC\xE2\x82\xAC\xF0\x9F\x94\x92",
                                "\xEF\xBF\xBF\xF4\x8F\xBF\xBF",
                                ":u#n{}[],",
                                longest};
    for (size_t i = 0; i < COUNT(keys); i++) {
        kv_put(b, keys[i], keys[i], NULL);
    }
    for (size_t i = 0; i < COUNT(keys); i++) {
        dynalock_kv *kv = kv_get(b, keys[i]);
        assert_string_equal(dynalock_kv_key(kv), keys[i]);
        kv_assert_value(kv, keys[i]);
        dynalock_kv_free(kv);
        check(dynalock_delete(b->store, keys[i], &failure), DYNALOCK_OK);
    }
}

static void test_bad_keys_are_refused_before_anything_is_sent(void **state)
{
    struct bench *b = *state;
    char longer[1026];
    memset(longer, 'k', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    const char *const keys[] = {
        NULL,  "", longer, "\xFF", "a\xC0\x80", "\xED\xA0\x80", "\xE2\x82", "\xF4\x90\x80\x80",
        "\x80"};
    dynalock_kv *kv = NULL;
    bool exists;
    for (size_t i = 0; i < COUNT(keys); i++) {
        dynalock_store *s = b->store;
        check(dynalock_put(s, keys[i], kv_text("x"), NULL, &failure), DYNALOCK_ERR_ARGUMENT);
        assert_contains(failure.message, "key");
        check(dynalock_get(s, keys[i], NULL, &kv, &failure), DYNALOCK_ERR_ARGUMENT);
        check(dynalock_exists(s, keys[i], NULL, &exists, &failure), DYNALOCK_ERR_ARGUMENT);
        check(dynalock_delete(s, keys[i], &failure), DYNALOCK_ERR_ARGUMENT);
        check(dynalock_atomic_put(s, keys[i], kv_text("x"), NULL, NULL, &kv, &failure),
              DYNALOCK_ERR_ARGUMENT);
        check(dynalock_atomic_delete(s, keys[i], NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    }
    assert_null(kv);
    assert_int_equal(bench_count(b, NULL), 0);
}

static void test_null_and_reserved_arguments_are_refused_before_anything_is_sent(void **state)
{
    struct bench *b = *state;
    dynalock_store *cold = bench_open(b, NULL); /* which has to ask for the time before it writes */
    const char *key = bench_key(b);
    dynalock_kv *kv = NULL;
    bool exists = false;
    check(dynalock_get(cold, key, NULL, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_exists(cold, key, NULL, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_atomic_delete(cold, key, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_store_counters(cold, NULL), DYNALOCK_ERR_ARGUMENT);
    for (int i = 0; i < 4; i++) {
        dynalock_read_options reading = {0};
        dynalock_write_options writing = {0};
        reading.reserved[i] = writing.reserved[i] = i % 2 == 0 ? 1 : -1;
        check(dynalock_get(cold, key, &reading, &kv, &failure), DYNALOCK_ERR_ARGUMENT);
        check(dynalock_exists(cold, key, &reading, &exists, &failure), DYNALOCK_ERR_ARGUMENT);
        check(dynalock_put(cold, key, kv_text("x"), &writing, &failure), DYNALOCK_ERR_ARGUMENT);
        check(dynalock_atomic_put(cold, key, kv_text("x"), NULL, &writing, &kv, &failure),
              DYNALOCK_ERR_ARGUMENT);
    }
    assert_int_equal(bench_count(b, NULL), 0);
    dynalock_close(cold);
}

static void test_bad_ttls_are_refused_before_anything_is_sent(void **state)
{
    struct bench *b = *state;
    dynalock_store *cold = bench_open(b, NULL);
    const char *key = bench_key(b);
    const dynalock_write_options bad[] = {{.ttl_ms = -1},
                                          {.ttl_ms = INT64_MIN},
                                          {.ttl_ms = INT64_MAX},
                                          {.ttl_ms = 1, .never_expires = true}};
    for (size_t i = 0; i < COUNT(bad); i++) {
        check(dynalock_put(cold, key, kv_text("x"), &bad[i], &failure), DYNALOCK_ERR_ARGUMENT);
        assert_contains(failure.message, "ttl");
        check(dynalock_atomic_put(cold, key, kv_text("x"), NULL, &bad[i], NULL, &failure),
              DYNALOCK_ERR_ARGUMENT);
    }
    assert_int_equal(bench_count(b, NULL), 0);
    dynalock_close(cold);
}

static void test_failures_leave_results_alone_and_successes_the_error(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_kv *const untouched = (dynalock_kv *)&failure;
    dynalock_kv *kv = untouched;
    dynalock_error error, before;
    bool exists = true;
    memset(&error, 0x5A, sizeof error);
    before = error;
    assert_int_equal(dynalock_put(b->store, key, kv_text("x"), NULL, &error), 0);
    assert_int_equal(dynalock_exists(b->store, key, NULL, &exists, &error), 0);
    assert_int_equal(dynalock_exists(b->store, "not there", NULL, &exists, &error), 0);
    assert_int_equal(dynalock_get(b->store, key, NULL, &kv, &error), 0);
    dynalock_kv *next = NULL;
    assert_int_equal(dynalock_atomic_put(b->store, key, kv_text("y"), kv, NULL, &next, &error), 0);
    assert_int_equal(dynalock_atomic_delete(b->store, key, next, &error), 0);
    assert_int_equal(dynalock_delete(b->store, key, &error), 0);
    assert_memory_equal(&error, &before, sizeof error);
    dynalock_kv_free(next);
    next = untouched;
    check(dynalock_get(b->store, key, NULL, &next, &failure), DYNALOCK_ERR_NOT_FOUND);
    check(dynalock_atomic_put(b->store, key, kv_text("y"), kv, NULL, &next, &failure),
          DYNALOCK_ERR_MODIFIED);
    assert_ptr_equal(next, untouched);
    rig_fault(b->rig,
              "'times':-1,'action':{'do':'status','status':400,'type':'x#AccessDeniedException'}");
    exists = true;
    check(dynalock_exists(b->store, key, NULL, &exists, &failure), DYNALOCK_ERR_NOT_AUTHORIZED);
    assert_true(exists);
    dynalock_kv_free(kv);
}

static void test_errors_may_be_null(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_kv *kv = NULL;
    assert_int_equal(dynalock_get(b->store, key, NULL, &kv, NULL), DYNALOCK_ERR_NOT_FOUND);
    assert_int_equal(dynalock_put(b->store, "", kv_text("x"), NULL, NULL), DYNALOCK_ERR_ARGUMENT);
    assert_int_equal(dynalock_atomic_put(b->store, key, kv_text("x"), NULL, NULL, NULL, NULL), 0);
    assert_int_equal(dynalock_atomic_put(b->store, key, kv_text("x"), NULL, NULL, NULL, NULL),
                     DYNALOCK_ERR_EXISTS);
    assert_int_equal(dynalock_get(b->store, key, NULL, &kv, NULL), 0);
    assert_int_equal(dynalock_put(b->store, key, kv_text("x"), NULL, NULL), 0);
    assert_int_equal(dynalock_atomic_put(b->store, key, kv_text("x"), kv, NULL, NULL, NULL),
                     DYNALOCK_ERR_MODIFIED);
    assert_int_equal(dynalock_atomic_delete(b->store, key, kv, NULL), DYNALOCK_ERR_MODIFIED);
    dynalock_kv_free(kv);
    dynalock_kv_free(NULL);
    dynalock_list_free(NULL, 0);
}

static bool was_consistent(struct bench *b, const char *op)
{
    json_t *log = rig_log(b->rig, op);
    const json_t *entry = json_array_get(log, json_array_size(log) - 1);
    bool consistent =
        json_is_true(json_object_get(json_object_get(entry, "request"), "ConsistentRead"));
    json_decref(log);
    return consistent;
}

static void test_reads_are_consistent_unless_told_otherwise(void **state)
{
    struct bench *b = *state;
    const dynalock_read_options options[] = {{0}, {.eventually_consistent = true}};
    const char *key = bench_key(b);
    kv_put(b, key, "x", NULL);
    for (size_t i = 0; i < 3; i++) {
        const dynalock_read_options *reading = i < 2 ? &options[i] : NULL;
        dynalock_kv *kv = NULL, **items = NULL;
        size_t count = 0;
        bool exists = false;
        check(dynalock_get(b->store, key, reading, &kv, &failure), DYNALOCK_OK);
        dynalock_kv_free(kv);
        assert_int_equal(was_consistent(b, "GetItem"), i != 1);
        check(dynalock_exists(b->store, key, reading, &exists, &failure), DYNALOCK_OK);
        assert_int_equal(was_consistent(b, "GetItem"), i != 1);
        check(dynalock_list(b->store, key, reading, &items, &count, &failure), DYNALOCK_OK);
        dynalock_list_free(items, count);
        assert_int_equal(was_consistent(b, "Query"), i != 1);
    }
}

static void test_partitions_do_not_see_each_other(void **state)
{
    struct bench *b = *state;
    dynalock_options options = bench_options(b);
    dynalock_store *other = NULL;
    dynalock_kv *kv = NULL;
    const char *key = bench_key(b);
    kv_put(b, key, "x", NULL);
    check(dynalock_open(b->table, "other \"partition\"\\", &options, &other, &failure),
          DYNALOCK_OK);
    check(dynalock_get(other, key, NULL, &kv, &failure), DYNALOCK_ERR_NOT_FOUND);
    check(dynalock_put(other, key, kv_text("y"), NULL, &failure), DYNALOCK_OK);
    check(dynalock_get(other, key, NULL, &kv, &failure), DYNALOCK_OK);
    assert_string_equal(dynalock_kv_partition(kv), "other \"partition\"\\");
    check(dynalock_atomic_put(b->store, key, kv_text("z"), kv, NULL, NULL, &failure),
          DYNALOCK_ERR_ARGUMENT);
    check(dynalock_atomic_delete(b->store, key, kv, &failure), DYNALOCK_ERR_ARGUMENT);
    dynalock_kv_free(kv);
    dynalock_close(other);
    kv = kv_get(b, key);
    kv_assert_value(kv, "x");
    dynalock_kv_free(kv);
}

/* ---- Compare and swap ------------------------------------------------------------------------ */

static void test_a_create_meets_a_record(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_kv_free(kv_create(b, key, "first", NULL));
    check(dynalock_atomic_put(b->store, key, kv_text("second"), NULL, NULL, NULL, &failure),
          DYNALOCK_ERR_EXISTS);
    assert_int_equal(failure.flags, 0);
    dynalock_kv *kv = kv_get(b, key);
    kv_assert_value(kv, "first");
    dynalock_kv_free(kv);
}

/* There is a record whenever it is written, and none whenever it is looked for. */
static void test_a_create_among_others_that_come_and_go_ends(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    rig_fault(b->rig, "'match':{'op':'PutItem'},'times':-1,'action':{'do':'status','status':400,"
                      "'type':'x#ConditionalCheckFailedException'}");
    check(dynalock_atomic_put(b->store, key, dynalock_none(), NULL, NULL, NULL, &failure),
          DYNALOCK_ERR_EXISTS);
    assert_contains(failure.message, "all the time");
    assert_true(bench_count(b, "PutItem") <= 10);
    rig_clear_faults(b->rig);
    check(dynalock_atomic_put(b->store, key, dynalock_none(), NULL, NULL, NULL, &failure),
          DYNALOCK_OK);
}

static void test_what_atomic_put_gives_is_what_get_gives(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_kv *written = kv_create(b, key, "one", NULL);
    for (int i = 0; i < 2; i++) {
        dynalock_kv *read = kv_get(b, key);
        assert_string_equal(dynalock_kv_key(written), dynalock_kv_key(read));
        assert_string_equal(dynalock_kv_partition(written), dynalock_kv_partition(read));
        assert_string_equal(dynalock_kv_type(written), dynalock_kv_type(read));
        assert_int_equal(dynalock_kv_version(written), dynalock_kv_version(read));
        assert_int_equal(dynalock_kv_expires_ms(written), dynalock_kv_expires_ms(read));
        assert_null(dynalock_kv_holder(written));
        kv_assert_value(written, i == 0 ? "one" : "two");
        kv_assert_value(read, i == 0 ? "one" : "two");
        dynalock_kv_free(read);
        dynalock_kv *next = NULL;
        check(dynalock_atomic_put(b->store, key, kv_text("two"), written, NULL, &next, &failure),
              DYNALOCK_OK);
        dynalock_kv_free(written);
        written = next;
    }
    check(dynalock_atomic_delete(b->store, key, written, &failure), DYNALOCK_OK);
    dynalock_kv_free(written);
    kv_assert_absent(b, key);
}

static void test_only_the_previous_record_is_replaced_or_deleted(void **state)
{
    struct bench *b = *state;
    for (int change = 0; change < 5; change++) {
        const char *key = bench_key(b);
        dynalock_kv *previous = kv_create(b, key, "one", NULL);
        switch (change) {
        case 0: kv_put(b, key, "other", NULL); break;
        case 1:
            check(dynalock_atomic_put(b->store, key, kv_text("other"), previous, NULL, NULL,
                                      &failure),
                  DYNALOCK_OK);
            break;
        case 2: check(dynalock_delete(b->store, key, &failure), DYNALOCK_OK); break;
        case 3: /* another record that has this version */
            kv_stranger(b, key, dynalock_kv_version(previous), kv_now_s() + 60);
            break;
        default:
            bench_put_item(b, key,
                           "'version':{'N':'%" PRId64
                           "'},'nonce':{'S':'00000000000000000000000000000000.1.%" PRId64 "'}",
                           dynalock_kv_version(previous), dynalock_kv_version(previous));
        }
        json_t *before = bench_item(b, key);
        check(dynalock_atomic_put(b->store, key, kv_text("two"), previous, NULL, NULL, &failure),
              DYNALOCK_ERR_MODIFIED);
        assert_int_equal(failure.flags, 0);
        check(dynalock_atomic_delete(b->store, key, previous, &failure),
              change == 2 ? DYNALOCK_ERR_NOT_FOUND : DYNALOCK_ERR_MODIFIED);
        assert_int_equal(failure.flags, 0);
        json_t *after = bench_item(b, key);
        assert_true(json_equal(before, after) || (!before && !after));
        json_decref(before);
        json_decref(after);
        dynalock_kv_free(previous);
    }
}

static void test_a_strangers_record_can_be_replaced_and_deleted(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    kv_stranger(b, key, 1, kv_now_s() + 60);
    dynalock_kv *previous = kv_get(b, key), *next = NULL;
    check(dynalock_atomic_put(b->store, key, kv_text("new"), previous, NULL, &next, &failure),
          DYNALOCK_OK);
    assert_int_equal(dynalock_kv_version(next), 2);
    check(dynalock_atomic_delete(b->store, key, previous, &failure), DYNALOCK_ERR_MODIFIED);
    dynalock_kv_free(previous);
    dynalock_kv_free(next);
    kv_put(b, key, "x", NULL); /* which leaves no nonce */
    previous = kv_get(b, key);
    check(dynalock_atomic_delete(b->store, key, previous, &failure), DYNALOCK_OK);
    dynalock_kv_free(previous);
}

static void test_a_replace_keeps_the_expiry_unless_told_otherwise(void **state)
{
    struct bench *b = *state;
    const dynalock_write_options hour = {.ttl_ms = 3600000};
    const dynalock_write_options defaults = {0};
    const struct {
        const dynalock_write_options *first, *then;
        int64_t least, most; /* in s from now; -1: as before; 0: never */
    } cases[] = {
        {&hour, NULL, -1, -1},     {&hour, &defaults, -1, -1},     {&kv_never, NULL, 0, 0},
        {NULL, &hour, 3600, 3610}, {&kv_never, &hour, 3600, 3610}, {&hour, &kv_never, 0, 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *key = bench_key(b);
        dynalock_kv *previous = kv_create(b, key, "x", cases[i].first), *next = NULL;
        int64_t now = kv_now_s();
        check(dynalock_atomic_put(b->store, key, kv_text("y"), previous, cases[i].then, &next,
                                  &failure),
              DYNALOCK_OK);
        json_t *item = bench_item(b, key);
        const char *raw = item_text(item, "expires", "N");
        int64_t expires = raw ? strtoll(raw, NULL, 10) : 0;
        assert_int_equal(dynalock_kv_expires_ms(next), expires * 1000);
        if (cases[i].least < 0) {
            assert_int_equal(expires * 1000, dynalock_kv_expires_ms(previous));
        } else if (cases[i].least == 0) {
            assert_null(raw);
        } else {
            assert_in_range(expires, now + cases[i].least, now + cases[i].most);
        }
        json_decref(item);
        dynalock_kv_free(previous);
        dynalock_kv_free(next);
    }
}

static void test_a_replace_without_value_removes_it_and_the_holder(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    bench_put_item(b, key,
                   "'version':{'N':'7'},'payload':{'S':'b2xk'},'holder':{'S':'h'},"
                   "'nonce':{'S':'0123456789abcdef0123456789abcdef.1.7'},'lease':{'N':'20000'}");
    dynalock_kv *previous = kv_get(b, key), *next = NULL;
    check(dynalock_atomic_put(b->store, key, dynalock_none(), previous, NULL, &next, &failure),
          DYNALOCK_OK);
    assert_null(dynalock_kv_type(next));
    json_t *item = bench_item(b, key);
    assert_null(json_object_get(item, "payload"));
    assert_null(json_object_get(item, "holder"));
    assert_null(json_object_get(item, "lease"));
    json_decref(item);
    dynalock_kv_free(previous);
    dynalock_kv_free(next);
}

static void test_an_expired_previous_is_modified_and_not_found(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_kv *previous = kv_create(b, key, "x", NULL);
    json_t *item = bench_item(b, key);
    bench_put_item(b, key, "'version':{'N':'%s'},'nonce':{'S':'%s'},'expires':{'N':'%" PRId64 "'}",
                   item_text(item, "version", "N"), item_text(item, "nonce", "S"), kv_now_s() - 5);
    json_decref(item);
    check(dynalock_atomic_put(b->store, key, kv_text("y"), previous, NULL, NULL, &failure),
          DYNALOCK_ERR_MODIFIED);
    check(dynalock_atomic_delete(b->store, key, previous, &failure), DYNALOCK_ERR_NOT_FOUND);
    assert_int_equal(failure.flags, 0);
    dynalock_kv_free(previous);
}

static void test_a_previous_of_another_key_is_refused(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_kv *previous = kv_create(b, key, "x", NULL);
    bench_reset(b);
    check(dynalock_atomic_put(b->store, "other", kv_text("y"), previous, NULL, NULL, &failure),
          DYNALOCK_ERR_ARGUMENT);
    check(dynalock_atomic_delete(b->store, "other", previous, &failure), DYNALOCK_ERR_ARGUMENT);
    assert_contains(failure.message, "previous");
    assert_int_equal(bench_count(b, NULL), 0);
    dynalock_kv_free(previous);
}

/* ---- What it costs --------------------------------------------------------------------------- */

static void cost(struct bench *b, int requests)
{
    assert_int_equal(bench_count(b, NULL), requests);
    bench_reset(b);
}

static void test_each_operation_costs_one_request(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b), *other = bench_key(b);
    const int failed =
        test_is_local() ? 1 : 2; /* dynalite does not show the item on a failed condition */
    bool exists;
    kv_put(b, key, "warm", NULL);
    dynalock_kv_free(kv_create(b, other, "warm", NULL));
    check(dynalock_atomic_put(b->store, other, kv_text("x"), NULL, NULL, NULL, &failure),
          DYNALOCK_ERR_EXISTS);
    bench_reset(b);
    kv_put(b, key, "x", NULL);
    cost(b, 1);
    dynalock_kv *kv = kv_get(b, key), *next = NULL;
    cost(b, 1);
    check(dynalock_exists(b->store, key, NULL, &exists, &failure), DYNALOCK_OK);
    cost(b, 1);
    check(dynalock_atomic_put(b->store, key, kv_text("x"), kv, NULL, &next, &failure), DYNALOCK_OK);
    cost(b, 1);
    check(dynalock_atomic_put(b->store, key, kv_text("x"), kv, NULL, NULL, &failure),
          DYNALOCK_ERR_MODIFIED);
    cost(b, failed);
    check(dynalock_atomic_put(b->store, key, kv_text("x"), NULL, NULL, NULL, &failure),
          DYNALOCK_ERR_EXISTS);
    cost(b, failed);
    check(dynalock_atomic_delete(b->store, key, kv, &failure), DYNALOCK_ERR_MODIFIED);
    cost(b, failed);
    check(dynalock_atomic_delete(b->store, key, next, &failure), DYNALOCK_OK);
    cost(b, 1);
    check(dynalock_delete(b->store, key, &failure), DYNALOCK_OK);
    cost(b, 1);
    check(dynalock_get(b->store, key, NULL, &kv, &failure), DYNALOCK_ERR_NOT_FOUND);
    cost(b, 1);
    dynalock_kv_free(kv_create(b, key, "x", NULL));
    cost(b, 1);
    dynalock_kv **items = NULL;
    size_t count = 0;
    check(dynalock_list(b->store, key, NULL, &items, &count, &failure), DYNALOCK_OK);
    cost(b, 1);
    dynalock_list_free(items, count);
    kv_tombstone(b, key, 5);
    dynalock_kv_free(kv_create(b, key, "x", NULL));
    cost(b, failed + 1);
    dynalock_kv_free(kv);
    dynalock_kv_free(next);
}

static void test_a_cold_store_reads_once_before_it_writes(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_store *cold = bench_open(b, NULL);
    check(dynalock_put(cold, key, kv_text("x"), NULL, &failure), DYNALOCK_OK);
    assert_int_equal(bench_count(b, "GetItem"), 1);
    assert_int_equal(bench_count(b, "UpdateItem"), 1);
    check(dynalock_put(cold, key, kv_text("x"), NULL, &failure), DYNALOCK_OK);
    assert_int_equal(bench_count(b, NULL), 3);
    dynalock_close(cold);
}

static void test_counters_count(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = bench_open(b, NULL);
    dynalock_counters counters;
    memset(&counters, 0x5A, sizeof counters);
    check(dynalock_store_counters(store, &counters), DYNALOCK_OK);
    const dynalock_counters zero = {0};
    assert_memory_equal(&counters, &zero, sizeof zero);
    check(dynalock_delete(store, "a", &failure), DYNALOCK_OK);
    rig_fault(b->rig, "'action':'drop'");
    rig_fault(b->rig, "'action':'throttle'");
    check(dynalock_delete(store, "a", &failure), DYNALOCK_OK);
    check(dynalock_store_counters(store, &counters), DYNALOCK_OK);
    assert_int_equal(counters.operations, 2);
    assert_int_equal(counters.attempts, 4);
    assert_int_equal(counters.retries, 2);
    assert_int_equal(counters.unanswered, 1);
    assert_int_equal(counters.throttled, 1);
    assert_int_equal(counters.connections, 2);
    assert_int_equal(counters.attempts, bench_count(b, NULL));
    dynalock_close(store);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_clear, bench_violations)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_was_put_is_got),
        TEST(test_every_key_that_dynamodb_takes_is_taken),
        TEST(test_bad_keys_are_refused_before_anything_is_sent),
        TEST(test_null_and_reserved_arguments_are_refused_before_anything_is_sent),
        TEST(test_bad_ttls_are_refused_before_anything_is_sent),
        TEST(test_failures_leave_results_alone_and_successes_the_error),
        TEST(test_errors_may_be_null),
        TEST(test_reads_are_consistent_unless_told_otherwise),
        TEST(test_partitions_do_not_see_each_other),
        TEST(test_a_create_meets_a_record),
        TEST(test_a_create_among_others_that_come_and_go_ends),
        TEST(test_what_atomic_put_gives_is_what_get_gives),
        TEST(test_only_the_previous_record_is_replaced_or_deleted),
        TEST(test_a_strangers_record_can_be_replaced_and_deleted),
        TEST(test_a_replace_keeps_the_expiry_unless_told_otherwise),
        TEST(test_a_replace_without_value_removes_it_and_the_holder),
        TEST(test_an_expired_previous_is_modified_and_not_found),
        TEST(test_a_previous_of_another_key_is_refused),
        TEST(test_each_operation_costs_one_request),
        TEST(test_a_cold_store_reads_once_before_it_writes),
        TEST(test_counters_count),
    };

    return cmocka_run_group_tests(tests, bench_setup, bench_teardown);
}
