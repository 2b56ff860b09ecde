/* SPDX-License-Identifier: Apache-2.0 */
/* One table for this library and the Go library: what each makes of the other's records and locks. */
#include "support.h"

#include <time.h>

#define NOT_FOUND "key not found in table"
#define EXISTS "key already exists in table"
#define MODIFIED "key has been modified"
#define NOT_ACQUIRED "failed to acquire lock"

static int64_t real_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- The Go library -------------------------------------------------------------------------- */

#define go(b, ...) rig_go((b)->rig, (b)->table, (b)->partition, __VA_ARGS__)

/* A call that must succeed (words NULL), or fail with those words. */
#define go_does(b, words, ...) go_result(go(b, __VA_ARGS__), (words), __FILE__, __LINE__)

static void go_result(json_t *answer, const char *words, const char *file, int line)
{
    const char *error = json_string_value(json_object_get(answer, "error"));
    bool as_wanted = error && words ? strcmp(error, words) == 0 : !error && !words;
    if (!as_wanted) {
        print_error("Go: %s, not %s\n", error ? error : "success", words ? words : "success");
        _fail(file, line);
    }
    json_decref(answer);
}

/* A record as Go reads it. */
struct go_record {
    int64_t version, expires;
    char value[64];
};

static struct go_record go_get(struct bench *b, const char *key)
{
    struct go_record record = {0};
    json_t *answer = go(b, "'call':'get','key':'%s'", key);
    json_t *got = json_object_get(answer, "record");
    assert_non_null(got);
    record.version = json_integer_value(json_object_get(got, "version"));
    record.expires = json_integer_value(json_object_get(got, "expires"));
    const char *value = json_string_value(json_object_get(got, "value"));
    snprintf(record.value, sizeof record.value, "%s", value ? value : "(none)");
    json_decref(answer);
    return record;
}

/* ---- Records --------------------------------------------------------------------------------- */

static dynalock_kv *get(struct bench *b, const char *key)
{
    dynalock_kv *kv = NULL;
    check(dynalock_get(b->store, key, NULL, &kv, &failure), DYNALOCK_OK);
    return kv;
}

static void assert_bytes(dynalock_kv *kv, const char *text)
{
    const void *bytes = NULL;
    size_t length = 0;
    check(dynalock_kv_bytes(kv, &bytes, &length, &failure), DYNALOCK_OK);
    assert_string_equal((const char *)bytes, text);
    assert_int_equal(length, strlen(text));
}

static dynalock_value text(const char *words)
{
    return dynalock_bytes(words, strlen(words));
}

static void test_we_read_what_go_put(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    int64_t before = real_ms();
    go_does(b, NULL, "'call':'put','key':'%s','value':'from Go','ttl':60", key);
    dynalock_kv *kv = get(b, key);
    assert_bytes(kv, "from Go");
    assert_int_equal(dynalock_kv_version(kv), 1);
    assert_in_range(dynalock_kv_expires_ms(kv), before + 59000, real_ms() + 60000);
    assert_string_equal(dynalock_kv_type(kv), "S");
    assert_null(dynalock_kv_holder(kv));
    assert_int_equal(dynalock_kv_lease_ms(kv), 0);
    dynalock_kv_free(kv);
}

static void test_we_read_what_go_put_without_value_or_expiry(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    go_does(b, NULL, "'call':'put','key':'%s','ttl':null", key);
    dynalock_kv *kv = get(b, key);
    assert_null(dynalock_kv_type(kv));
    assert_int_equal(dynalock_kv_expires_ms(kv), 0);
    dynalock_kv_free(kv);
}

static void test_we_read_structures_that_go_put(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    go_does(b, NULL,
            "'call':'put','key':'%s','payload':{'M':{'n':{'N':'7'},'l':{'L':[{'BOOL':true}]}}}",
            key);
    dynalock_kv *kv = get(b, key);
    json_t *json = NULL;
    check(dynalock_kv_json(kv, &json, &failure), DYNALOCK_OK);
    json_t *wanted = json_text("{'n':7,'l':[true]}");
    assert_true(json_equal(json, wanted));
    json_decref(wanted);
    json_decref(json);
    dynalock_kv_free(kv);
}

static void test_go_reads_what_we_put(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_write_options options = {.ttl_ms = 60000};
    check(dynalock_put(b->store, key, text("from C"), &options, &failure), DYNALOCK_OK);
    dynalock_kv *kv = get(b, key);
    struct go_record record = go_get(b, key);
    assert_string_equal(record.value, "from C");
    assert_int_equal(record.version, dynalock_kv_version(kv));
    assert_int_equal(record.expires * 1000, dynalock_kv_expires_ms(kv));
    dynalock_kv_free(kv);
    options = (dynalock_write_options){.never_expires = true};
    check(dynalock_put(b->store, key, dynalock_none(), &options, &failure), DYNALOCK_OK);
    record = go_get(b, key);
    assert_string_equal(record.value, "(none)");
    assert_int_equal(record.expires, 0);
}

static void test_bytes_are_the_same_on_both_sides(void **state)
{
    static const char encoded[] = "+/+/AAECA/z9/v8=";
    static const unsigned char bytes[] = {0xfb, 0xff, 0xbf, 0, 1, 2, 3, 0xfc, 0xfd, 0xfe, 0xff};
    struct bench *b = *state;
    const char *key = bench_key(b);
    const void *got = NULL;
    size_t length = 0;
    check(dynalock_put(b->store, key, dynalock_bytes(bytes, sizeof bytes), NULL, &failure),
          DYNALOCK_OK);
    json_t *item = bench_item(b, key);
    assert_string_equal(item_text(item, "payload", "S"), encoded);
    json_decref(item);
    go_does(b, NULL, "'call':'put','key':'%s','payload':{'S':'%s'}", key, encoded);
    dynalock_kv *kv = get(b, key);
    check(dynalock_kv_bytes(kv, &got, &length, &failure), DYNALOCK_OK);
    assert_int_equal(length, sizeof bytes);
    assert_memory_equal(got, bytes, sizeof bytes);
    dynalock_kv_free(kv);
}

static void test_both_list_the_same_records(void **state)
{
    struct bench *b = *state;
    const char *prefix = bench_key(b);
    char key[64];
    for (int i = 0; i < 4; i++) {
        snprintf(key, sizeof key, "%s/%d", prefix, i);
        if (i % 2 == 0) {
            go_does(b, NULL, "'call':'put','key':'%s','value':'v%d'", key, i);
        } else {
            check(dynalock_put(b->store, key, text("v"), NULL, &failure), DYNALOCK_OK);
        }
    }
    snprintf(key, sizeof key, "%s/expired", prefix);
    bench_put_item(b, key, "'version':{'N':'1'},'expires':{'N':'%" PRId64 "'}",
                   real_ms() / 1000 - 100);
    dynalock_kv **items = NULL;
    size_t count = 0;
    check(dynalock_list(b->store, prefix, NULL, &items, &count, &failure), DYNALOCK_OK);
    json_t *answer = go(b, "'call':'list','prefix':'%s'", prefix);
    json_t *records = json_object_get(answer, "records");
    assert_int_equal(count, 4);
    assert_int_equal(json_array_size(records), 4);
    for (size_t i = 0; i < count; i++) {
        json_t *name = json_object_get(json_array_get(records, i), "key");
        assert_string_equal(dynalock_kv_key(items[i]), json_string_value(name));
    }
    json_decref(answer);
    dynalock_list_free(items, count);
}

static void test_each_deletes_the_others_records(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    bool exists = true;
    go_does(b, NULL, "'call':'put','key':'%s'", key);
    check(dynalock_delete(b->store, key, &failure), DYNALOCK_OK);
    go_does(b, NOT_FOUND, "'call':'get','key':'%s'", key);
    check(dynalock_put(b->store, key, text("v"), NULL, &failure), DYNALOCK_OK);
    go_does(b, NULL, "'call':'delete','key':'%s'", key);
    check(dynalock_exists(b->store, key, NULL, &exists, &failure), DYNALOCK_OK);
    assert_false(exists);
}

/* ---- Compare and swap ------------------------------------------------------------------------ */

static void test_each_sees_that_the_other_has_created_the_record(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    go_does(b, NULL, "'call':'atomic-create','key':'%s','value':'Go'", key);
    check(dynalock_atomic_put(b->store, key, text("C"), NULL, NULL, NULL, &failure),
          DYNALOCK_ERR_EXISTS);
    key = bench_key(b);
    check(dynalock_atomic_put(b->store, key, text("C"), NULL, NULL, NULL, &failure), DYNALOCK_OK);
    go_does(b, EXISTS, "'call':'atomic-create','key':'%s','value':'Go'", key);
}

static void test_each_replaces_what_it_read_of_the_other(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_kv *ours = NULL;
    go_does(b, NULL, "'call':'atomic-create','key':'%s','value':'1'", key);
    dynalock_kv *kv = get(b, key);
    check(dynalock_atomic_put(b->store, key, text("2"), kv, NULL, &ours, &failure), DYNALOCK_OK);
    assert_int_equal(dynalock_kv_version(ours), 2);
    /* Go's last record is the one it wrote: version 1. */
    go_does(b, MODIFIED, "'call':'atomic-put','key':'%s','value':'3'", key);
    assert_int_equal(go_get(b, key).version, 2);
    go_does(b, NULL, "'call':'atomic-put','key':'%s','value':'3'", key);
    check(dynalock_atomic_put(b->store, key, text("4"), ours, NULL, NULL, &failure),
          DYNALOCK_ERR_MODIFIED);
    dynalock_kv_free(ours);
    dynalock_kv_free(kv);
    kv = get(b, key);
    assert_bytes(kv, "3");
    assert_int_equal(dynalock_kv_version(kv), 3);
    check(dynalock_atomic_put(b->store, key, text("4"), kv, NULL, NULL, &failure), DYNALOCK_OK);
    dynalock_kv_free(kv);
    assert_string_equal(go_get(b, key).value, "4");
}

static void test_each_deletes_exactly_what_it_read_of_the_other(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_kv *ours = NULL;
    check(dynalock_atomic_put(b->store, key, text("C"), NULL, NULL, &ours, &failure), DYNALOCK_OK);
    go_get(b, key);
    go_does(b, NULL, "'call':'put','key':'%s','value':'Go'", key);
    check(dynalock_atomic_delete(b->store, key, ours, &failure), DYNALOCK_ERR_MODIFIED);
    go_does(b, NOT_FOUND, "'call':'atomic-delete','key':'%s'", key);
    dynalock_kv_free(ours);
    ours = get(b, key);
    check(dynalock_atomic_delete(b->store, key, ours, &failure), DYNALOCK_OK);
    dynalock_kv_free(ours);
    check(dynalock_put(b->store, key, text("C"), NULL, &failure), DYNALOCK_OK);
    go_get(b, key);
    go_does(b, NULL, "'call':'atomic-delete','key':'%s'", key);
    go_does(b, NOT_FOUND, "'call':'get','key':'%s'", key);
}

static void test_a_record_replaced_by_go_at_the_same_version_is_not_ours(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_kv *ours = NULL;
    check(dynalock_atomic_put(b->store, key, text("C"), NULL, NULL, &ours, &failure), DYNALOCK_OK);
    bench_put_item(b, key, "'version':{'N':'%" PRId64 "'},'expires':{'N':'%" PRId64 "'}",
                   dynalock_kv_version(ours), real_ms() / 1000 + 60);
    check(dynalock_atomic_put(b->store, key, text("C"), ours, NULL, NULL, &failure),
          DYNALOCK_ERR_MODIFIED);
    check(dynalock_atomic_delete(b->store, key, ours, &failure), DYNALOCK_ERR_MODIFIED);
    dynalock_kv_free(ours);
}

static void test_gos_put_without_expiry_leaves_ours(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_write_options options = {.ttl_ms = 100000};
    check(dynalock_put(b->store, key, text("C"), &options, &failure), DYNALOCK_OK);
    dynalock_kv *before = get(b, key);
    go_does(b, NULL, "'call':'put','key':'%s','value':'Go','ttl':null", key);
    dynalock_kv *after = get(b, key);
    assert_bytes(after, "Go");
    assert_int_equal(dynalock_kv_version(after), dynalock_kv_version(before) + 1);
    assert_int_equal(dynalock_kv_expires_ms(after), dynalock_kv_expires_ms(before));
    dynalock_kv_free(before);
    dynalock_kv_free(after);
}

static void test_our_put_without_expiry_removes_gos(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_write_options options = {.never_expires = true};
    go_does(b, NULL, "'call':'put','key':'%s','value':'Go'", key);
    check(dynalock_put(b->store, key, text("C"), &options, &failure), DYNALOCK_OK);
    struct go_record record = go_get(b, key);
    assert_int_equal(record.version, 2);
    assert_int_equal(record.expires, 0);
    assert_string_equal(record.value, "C");
}

/* ---- Locks ----------------------------------------------------------------------------------- */

static dynalock_lock *lock_new(struct bench *b, const char *key,
                               const dynalock_lock_options *options)
{
    dynalock_lock *lock = NULL;
    check(dynalock_lock_new(b->store, key, options, &lock, &failure), DYNALOCK_OK);
    return lock;
}

/* A time that may be trusted: several answers. */
static int go_setup(void **state)
{
    if (bench_setup(state) != 0) {
        return -1;
    }
    struct bench *b = *state;
    bool exists = false;
    for (int i = 0; i < 3; i++) {
        if (dynalock_exists(b->store, "warm", NULL, &exists, NULL) != DYNALOCK_OK) {
            return -1;
        }
    }
    return 0;
}

static void test_a_lock_that_go_holds_is_held(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock_options options = {.poll_ms = 200};
    dynalock_lock *lock = lock_new(b, key, &options);
    go_does(b, NULL, "'call':'lock','key':'%s','value':'mine'", key);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
    assert_contains(failure.message, "no name");
    int64_t began = monotonic_ms();
    check(dynalock_lock_acquire(lock, -1, 2000, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
    assert_true(monotonic_ms() - began >= 2000);
    struct captured waiting = capture_get(b->events, DYNALOCK_EVENT_WAITING, key, 0);
    assert_int_equal(waiting.token, 1);
    dynalock_kv *kv = NULL;
    bool mine = true;
    check(dynalock_lock_holder(lock, &kv, &mine, &failure), DYNALOCK_OK);
    assert_false(mine);
    assert_null(dynalock_kv_holder(kv));
    assert_bytes(kv, "mine");
    dynalock_kv_free(kv);
    go_does(b, NULL, "'call':'unlock','key':'%s'", key);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_OK);
    check(dynalock_lock_release(lock, &failure), DYNALOCK_OK);
    dynalock_lock_free(lock);
}

static void taken_over_after(struct bench *b, const dynalock_lock_options *options,
                             int64_t delay_ms)
{
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_new(b, key, options);
    go_does(b, NULL, "'call':'lock','key':'%s','ttl':1", key);
    json_t *item = bench_item(b, key);
    int64_t expires_ms = item_number(item, "expires") * 1000;
    json_decref(item);
    check(dynalock_lock_acquire(lock, -1, 30000, &failure), DYNALOCK_OK);
    int64_t late_ms = real_ms() - expires_ms - delay_ms;
    assert_in_range(late_ms, 1,
                    1000 + options->poll_ms + 3000); /* the last is this machine's load */
    assert_int_equal(capture_count(b->events, DYNALOCK_EVENT_TAKEN_OVER, key), 1);
    assert_true(dynalock_lock_token(lock) > 1);
    /* Its holder can do no harm any more. */
    go_does(b, MODIFIED, "'call':'renew','key':'%s'", key);
    go_does(b, NOT_FOUND, "'call':'unlock','key':'%s'", key);
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_HELD);
    check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_OK);
    check(dynalock_lock_release(lock, &failure), DYNALOCK_OK);
    dynalock_lock_free(lock);
}

static void test_an_expired_lock_of_gos_is_taken_over_after_three_seconds(void **state)
{
    dynalock_lock_options options = {.poll_ms = 3000};
    taken_over_after(*state, &options, 3000);
}

static void test_how_long_an_expired_lock_of_gos_is_left_is_an_option(void **state)
{
    dynalock_lock_options options = {.poll_ms = 200, .go_takeover_delay_ms = 1200};
    taken_over_after(*state, &options, 1200);
}

static void test_a_lock_that_go_renews_is_never_taken(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock_options options = {.poll_ms = 150, .go_takeover_delay_ms = 1000};
    dynalock_lock *lock = lock_new(b, key, &options);
    go_does(b, NULL, "'call':'lock','key':'%s','ttl':4,'renew':true", key);
    check(dynalock_lock_acquire(lock, -1, 6600, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
    json_t *answer = go(b, "'call':'held','key':'%s'", key);
    assert_true(json_is_true(json_object_get(answer, "renewing")));
    json_decref(answer);
    assert_true(go_get(b, key).version >= 3);
    go_does(b, NULL, "'call':'unlock','key':'%s'", key);
    dynalock_lock_free(lock);
}

static void test_a_lock_of_gos_without_expiry_is_never_taken(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock_options options = {.poll_ms = 100, .go_takeover_delay_ms = 1, .go_lease_ms = 1};
    dynalock_lock *lock = lock_new(b, key, &options);
    go_does(b, NULL, "'call':'atomic-create','key':'%s','ttl':null", key);
    check(dynalock_lock_acquire(lock, -1, 1000, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
    dynalock_lock_free(lock);
}

static void test_without_a_date_gos_lock_is_taken_once_it_was_seen_unchanged(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    rig_do(b->rig, "'cmd':'set','date':'none'");
    dynalock_store *store = bench_open(b, NULL);
    dynalock_lock_options options = {.poll_ms = 200, .go_lease_ms = 1500};
    dynalock_lock *lock = NULL;
    check(dynalock_lock_new(store, key, &options, &lock, &failure), DYNALOCK_OK);
    go_does(b, NULL, "'call':'lock','key':'%s','ttl':1", key);
    int64_t began = monotonic_ms();
    check(dynalock_lock_acquire(lock, -1, 20000, &failure), DYNALOCK_OK);
    assert_in_range(monotonic_ms() - began, 1500, 6000);
    check(dynalock_lock_release(lock, &failure), DYNALOCK_OK);
    dynalock_lock_free(lock);
    dynalock_close(store);
    rig_do(b->rig, "'cmd':'set','date':'clock'");
}

static void test_with_a_date_gos_lock_is_never_taken_for_being_unchanged(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock_options options = {.poll_ms = 100, .go_lease_ms = 300};
    dynalock_lock *lock = lock_new(b, key, &options);
    go_does(b, NULL, "'call':'lock','key':'%s','ttl':60", key);
    int64_t version = go_get(b, key).version;
    check(dynalock_lock_acquire(lock, -1, 1500, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
    assert_int_equal(go_get(b, key).version, version);
    dynalock_lock_free(lock);
}

static void test_go_sees_our_lock_as_held_and_as_free_once_released(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_new(b, key, NULL);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_OK);
    go_does(b, NOT_ACQUIRED, "'call':'lock','key':'%s','poll':false", key);
    go_does(b, EXISTS, "'call':'atomic-create','key':'%s'", key);
    assert_int_equal(go_get(b, key).version, dynalock_lock_token(lock));
    check(dynalock_lock_release(lock, &failure), DYNALOCK_OK);
    go_does(b, NOT_FOUND, "'call':'get','key':'%s'", key);
    go_does(b, NULL, "'call':'lock','key':'%s','poll':false", key);
    dynalock_lock_free(lock);
}

static void test_go_sees_our_kept_record_as_free(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock_options options = {.keep_record = true};
    dynalock_lock *lock = lock_new(b, key, &options);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_OK);
    int64_t token = dynalock_lock_token(lock);
    go_does(b, NOT_ACQUIRED, "'call':'lock','key':'%s','poll':false", key);
    check(dynalock_lock_release(lock, &failure), DYNALOCK_OK);
    go_does(b, NOT_FOUND, "'call':'get','key':'%s'", key);
    go_does(b, NULL, "'call':'lock','key':'%s','poll':false,'value':'Go'", key);
    assert_true(go_get(b, key).version > token);
    dynalock_kv *kv = get(b, key);
    assert_null(dynalock_kv_holder(kv));
    assert_bytes(kv, "Go");
    dynalock_kv_free(kv);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
    go_does(b, NULL, "'call':'unlock','key':'%s'", key);
    dynalock_lock_free(lock);
}

static void test_go_takes_our_lock_over_when_it_has_expired_but_not_before(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock_options options = {.ttl_ms = 2000, .renewal = DYNALOCK_RENEWAL_NONE};
    dynalock_lock *lock = lock_new(b, key, &options);
    int fd = -1;
    check(dynalock_lock_lost_fd(lock, &fd, &failure), DYNALOCK_OK);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_OK);
    go_does(b, NULL, "'call':'lock','key':'%s','poll_ms':50", key);
    assert_int_equal(dynalock_lock_remaining_ms(lock), 0);
    check(dynalock_lock_ensure(lock, 0, &failure), DYNALOCK_ERR_LOST);
    check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_LOST);
    go_does(b, NULL, "'call':'renew','key':'%s'", key);
    go_does(b, NULL, "'call':'unlock','key':'%s'", key);
    dynalock_lock_free(lock);
}

static void test_go_does_not_get_our_lock_while_we_renew_it(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock_options options = {.ttl_ms = 3000};
    dynalock_lock *lock = lock_new(b, key, &options);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_OK);
    go_does(b, NOT_ACQUIRED, "'call':'lock','key':'%s','poll_ms':50,'timeout_ms':5600", key);
    check(dynalock_lock_ensure(lock, 1, &failure), DYNALOCK_OK);
    check(dynalock_lock_release(lock, &failure), DYNALOCK_OK);
    dynalock_lock_free(lock);
}

/* Waits for the loss. */
static void await_loss(struct bench *b, dynalock_lock *lock, const char *key, int cause)
{
    assert_true(capture_wait(b->events, DYNALOCK_EVENT_LOST, key, 1, 20000));
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_LOST);
    assert_int_equal(dynalock_lock_cause(lock), cause);
}

static void test_a_lock_that_a_go_client_with_a_fast_clock_took_is_lost_to_it(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock_options options = {.ttl_ms = 4000};
    dynalock_lock *lock = lock_new(b, key, &options);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_OK);
    go_does(b, NULL, "'call':'lock','key':'%s','now_offset_s':60,'poll':false", key);
    await_loss(b, lock, key, DYNALOCK_CAUSE_TAKEN_OVER);
    int64_t version = go_get(b, key).version;
    check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_ERR_LOST);
    check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_LOST);
    assert_int_equal(go_get(b, key).version, version);
    go_does(b, NULL, "'call':'unlock','key':'%s'", key);
    dynalock_lock_free(lock);
}

static void test_a_stale_holder_can_neither_renew_nor_delete_gos_lock_of_the_same_version(
    void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock_options options = {.renewal = DYNALOCK_RENEWAL_NONE};
    for (int renew = 0; renew < 2; renew++) {
        dynalock_lock *lock = lock_new(b, key, &options);
        check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_OK);
        bench_put_item(b, key, "'version':{'N':'%" PRId64 "'},'expires':{'N':'%" PRId64 "'}",
                       dynalock_lock_token(lock), real_ms() / 1000 + 60);
        if (renew) {
            check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_ERR_LOST);
            assert_int_equal(dynalock_lock_cause(lock), DYNALOCK_CAUSE_TAKEN_OVER);
        }
        int code = dynalock_lock_release(lock, &failure);
        assert_true(code == DYNALOCK_ERR_LOST || (!renew && code == DYNALOCK_OK));
        assert_int_equal(go_get(b, key).version, dynalock_lock_token(lock));
        dynalock_lock_free(lock);
        bench_delete_item(b, key);
    }
}

static void test_what_our_holder_left_means_nothing_under_gos_update(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock_options options = {.ttl_ms = 60000, .holder = "our holder"};
    dynalock_lock *lock = lock_new(b, key, &options);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_OK);
    dynalock_kv *kv = get(b, key);
    assert_string_equal(dynalock_kv_holder(kv), "our holder");
    assert_int_equal(dynalock_kv_lease_ms(kv), 60000);
    dynalock_kv_free(kv);
    go_does(b, NULL, "'call':'put','key':'%s','value':'Go'", key);
    json_t *item = bench_item(b, key);
    assert_string_equal(item_text(item, "holder", "S"), "our holder"); /* Go left it there */
    assert_non_null(item_text(item, "nonce", "S"));
    json_decref(item);
    kv = get(b, key);
    assert_null(dynalock_kv_holder(kv));
    assert_int_equal(dynalock_kv_lease_ms(kv), 0);
    dynalock_kv_free(kv);
    dynalock_lock *other = lock_new(b, key, NULL);
    check(dynalock_lock_acquire(other, -1, 0, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
    assert_null(strstr(failure.message, "our holder"));
    dynalock_lock_free(other);
    check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_ERR_LOST);
    assert_int_equal(dynalock_lock_cause(lock), DYNALOCK_CAUSE_TAKEN_OVER);
    dynalock_lock_free(lock);
    assert_string_equal(go_get(b, key).value, "Go");
}

struct go_waiter {
    struct bench *b;
    const char *key;
    json_t *answer;
};

static void *go_waits(void *context)
{
    struct go_waiter *waiter = context;
    struct rig *r = rig_open(); /* a connection of its own: this command takes its time */
    snprintf(r->server, sizeof r->server, "%s", test_server());
    waiter->answer =
        rig_go(r, waiter->b->table, waiter->b->partition,
               "'call':'lock','key':'%s','poll_ms':50,'timeout_ms':20000", waiter->key);
    rig_close(r);
    return NULL;
}

static void test_go_waits_for_our_lock_and_gets_it(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    struct go_waiter waiter = {.b = b, .key = key};
    pthread_t thread;
    dynalock_lock_options options = {.ttl_ms = 1500};
    dynalock_lock *lock = lock_new(b, key, &options);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_OK);
    assert_int_equal(pthread_create(&thread, NULL, go_waits, &waiter), 0);
    assert_true(capture_wait(b->events, DYNALOCK_EVENT_RENEWED, key, 4, 20000));
    check(dynalock_lock_ensure(lock, 1, &failure), DYNALOCK_OK);
    check(dynalock_lock_release(lock, &failure), DYNALOCK_OK);
    pthread_join(thread, NULL);
    go_result(waiter.answer, NULL, __FILE__, __LINE__);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
    dynalock_lock_free(lock);
}

#define GO_TEST(function) cmocka_unit_test_setup_teardown(function, bench_clear, bench_violations)

int main(void)
{
    const struct CMUnitTest tests[] = {
        GO_TEST(test_we_read_what_go_put),
        GO_TEST(test_we_read_what_go_put_without_value_or_expiry),
        GO_TEST(test_we_read_structures_that_go_put),
        GO_TEST(test_go_reads_what_we_put),
        GO_TEST(test_bytes_are_the_same_on_both_sides),
        GO_TEST(test_both_list_the_same_records),
        GO_TEST(test_each_deletes_the_others_records),
        GO_TEST(test_each_sees_that_the_other_has_created_the_record),
        GO_TEST(test_each_replaces_what_it_read_of_the_other),
        GO_TEST(test_each_deletes_exactly_what_it_read_of_the_other),
        GO_TEST(test_a_record_replaced_by_go_at_the_same_version_is_not_ours),
        GO_TEST(test_gos_put_without_expiry_leaves_ours),
        GO_TEST(test_our_put_without_expiry_removes_gos),
        GO_TEST(test_a_lock_that_go_holds_is_held),
        GO_TEST(test_an_expired_lock_of_gos_is_taken_over_after_three_seconds),
        GO_TEST(test_how_long_an_expired_lock_of_gos_is_left_is_an_option),
        GO_TEST(test_a_lock_that_go_renews_is_never_taken),
        GO_TEST(test_a_lock_of_gos_without_expiry_is_never_taken),
        GO_TEST(test_without_a_date_gos_lock_is_taken_once_it_was_seen_unchanged),
        GO_TEST(test_with_a_date_gos_lock_is_never_taken_for_being_unchanged),
        GO_TEST(test_go_sees_our_lock_as_held_and_as_free_once_released),
        GO_TEST(test_go_sees_our_kept_record_as_free),
        GO_TEST(test_go_takes_our_lock_over_when_it_has_expired_but_not_before),
        GO_TEST(test_go_does_not_get_our_lock_while_we_renew_it),
        GO_TEST(test_a_lock_that_a_go_client_with_a_fast_clock_took_is_lost_to_it),
        GO_TEST(test_a_stale_holder_can_neither_renew_nor_delete_gos_lock_of_the_same_version),
        GO_TEST(test_what_our_holder_left_means_nothing_under_gos_update),
        GO_TEST(test_go_waits_for_our_lock_and_gets_it),
    };
    return cmocka_run_group_tests(tests, go_setup, bench_teardown);
}
