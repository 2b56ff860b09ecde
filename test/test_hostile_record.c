/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one who may write to the table, and means harm, makes others read: in messages, in events, as a value. What it
 * does to locks: test_hostile_writer.c.
 */
#include "support_lock.h"

#include <malloc.h>
#include <stdatomic.h>

#define STRANGER "00112233445566778899aabbccddeeff"

static const dynalock_lock_options by_hand = {.renewal = DYNALOCK_RENEWAL_NONE};

/* ---- Words ------------------------------------------------------------------------- */

/* One line of whole characters, none of them a control character. */
static void assert_harmless(const char *text)
{
    json_t *utf8 = json_string(text);
    assert_non_null(utf8);
    json_decref(utf8);
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        if (*c < ' ' || *c == 0x7f || (*c == 0xc2 && c[1] < 0xa0)) {
            fail_msg("a control character in: %s", text);
        }
    }
}

static void assert_events_harmless(struct bench *b)
{
    struct captured event;
    for (int n = 1; (event = capture_get(b->events, 0, NULL, n)).id != 0; n++) {
        assert_harmless(event.key);
        assert_harmless(event.message);
        assert_harmless(event.name);
    }
}

static void assert_lock_infos_harmless(dynalock_store *store)
{
    dynalock_lock_info *infos = NULL;
    size_t count = 0;
    check(dynalock_locks(store, &infos, &count, &failure), 0);
    for (size_t i = 0; i < count; i++) {
        assert_harmless(infos[i].last_error);
    }
    dynalock_locks_free(infos);
}

static const char *const texts[] = {
    "\\u001b[2J\\u001b]0;root@host\\u0007",
    "Ada\\n2026-01-01T00:00:00Z dynalock: acquired",
    "Ada\\r\\u001b[Kroot",
    "\\u009b31m\\u0090\\u009c\\u0085",
    "\\u007f\\u0008\\b\\u0001\\u001f",
    "%s%s%s%n%n%99999999d",
    "\\ud83d\\ude00\\u00e9\\u20ac",
    "\\\"}],\\\"Item\\\":{",
};

/* Guard: text of others goes through dlk_copy_text on its way to messages and events. */
static void test_the_words_of_a_writer_are_harmless_in_messages_and_events(void **state)
{
    struct bench *b = *state;
    char *longer = malloc(300001);
    assert_non_null(longer);
    memset(longer, 'x', 300000);
    longer[300000] = '\0';
    for (size_t i = 0; i <= COUNT(texts); i++) {
        const char *text = i < COUNT(texts) ? texts[i] : longer;
        const char *key = bench_key(b);
        dynalock_lock *lock = lock_make(b->store, key, by_hand);
        json_decref(rig_raw(b->rig, "PutItem",
                            "'TableName':'%s','Item':{'id':{'S':'%s'},'name':{'S':'%s'},'version':{"
                            "'N':'5'},'nonce':{'S':'" STRANGER ".1.5'},'lease':{'N':'9'},"
                            "'expires':{'N':'4102444800'},'holder':{'S':\"%s\"}}",
                            b->table, b->partition, key, text));
        check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
        assert_contains(failure.message, "the lock is held by ");
        assert_harmless(failure.message);
        assert_lock_infos_harmless(b->store);
        dynalock_lock_free(lock);
    }
    free(longer);
    assert_true(capture_count(b->events, DYNALOCK_EVENT_WAITING, NULL) == (int)COUNT(texts) + 1);
    assert_events_harmless(b);
}

/* Guard: the same of keys and of the names in a value. */
static void test_the_names_that_a_writer_chose_are_harmless_in_messages(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        char partition[100];
        dynalock_store *store = NULL;
        dynalock_options options = bench_options(b);
        dynalock_kv **items = NULL;
        json_t *json = NULL;
        size_t count = 0;
        snprintf(partition, sizeof partition, "%s-%zu", b->partition, i);
        check(dynalock_open(b->table, partition, &options, &store, &failure), 0);
        json_decref(rig_raw(b->rig, "PutItem",
                            "'TableName':'%s','Item':{'id':{'S':'%s'},'name':{'S':\"k%s\"},"
                            "'version':{'N':'5'},'payload':{'M':{\"%s\":{'N':'1E-120'},"
                            "'x':{'N':'12345678901234567890123456789012345678'}}}}",
                            b->table, partition, texts[i], texts[i]));
        check(dynalock_list(store, "k", NULL, &items, &count, &failure), 0);
        assert_int_equal(count, 1);
        check(dynalock_kv_json(items[0], &json, &failure), DYNALOCK_ERR_TYPE);
        assert_harmless(failure.message);
        dynalock_list_free(items, count);
        json_decref(rig_raw(b->rig, "PutItem",
                            "'TableName':'%s','Item':{'id':{'S':'%s'},'name':{'S':\"k%s\"}}",
                            b->table, partition, texts[i]));
        check(dynalock_list(store, "k", NULL, &items, &count, &failure), DYNALOCK_ERR_TYPE);
        assert_contains(failure.message, "record \"k");
        assert_harmless(failure.message);
        dynalock_close(store);
    }
}

/* What compare and swap cannot see: who writes past the library may leave version and nonce as they are. */
static void test_a_value_that_is_changed_under_its_version_is_not_noticed(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_kv *kv = NULL;
    check(dynalock_atomic_put(b->store, key, dynalock_bytes("old", 3), NULL, NULL, &kv, &failure),
          0);
    json_decref(rig_raw(b->rig, "UpdateItem",
                        "'TableName':'%s','Key':{'id':{'S':'%s'},'name':{'S':'%s'}},"
                        "'UpdateExpression':'SET payload = :p',"
                        "'ExpressionAttributeValues':{':p':{'N':'1'}}",
                        b->table, b->partition, key));
    check(dynalock_atomic_put(b->store, key, dynalock_bytes("new", 3), kv, NULL, NULL, &failure),
          0);
    dynalock_kv_free(kv);
}

/* ---- Memory ----------------------------------------------------------------------------------- */

/* What jansson has now, and had at the most. */
static atomic_size_t json_bytes, json_most;

static void *json_take(size_t size)
{
    void *block = malloc(size);
    size_t size_now = malloc_usable_size(block);
    size_t now = atomic_fetch_add(&json_bytes, size_now) + size_now;
    size_t most = atomic_load(&json_most);
    while (now > most && !atomic_compare_exchange_weak(&json_most, &most, now)) {
    }
    return block;
}

static void json_give(void *block)
{
    atomic_fetch_sub(&json_bytes, malloc_usable_size(block));
    free(block);
}

/* A list of n empty strings, which take a byte each in the table: nothing there is smaller. */
static char *many_empty(size_t n)
{
    static const char element[] = ",{\"S\":\"\"}";
    char *text = malloc(n * sizeof element + 1);
    assert_non_null(text);
    char *end = text;
    for (size_t i = 0; i < n; i++) {
        end += sprintf(end, "%s", element + (i == 0));
    }
    return text;
}

enum { ELEMENTS = 8000, GROWTH = 500 };

/* Guard: an answer is read once, and given back; SECURITY.md names the factor. */
static void test_a_value_takes_a_bounded_multiple_of_its_size(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(b->store, key, by_hand);
    dynalock_kv *kv = NULL;
    char *value = many_empty(ELEMENTS);
    json_t *answer = rig_raw(b->rig, "PutItem",
                             "'TableName':'%s','Item':{'id':{'S':'%s'},'name':{'S':'%s'},"
                             "'version':{'N':'5'},'payload':{'L':[%s]}}",
                             b->table, b->partition, key, value);
    free(value);
    json_decref(answer);
    warm(b->store);
    size_t before = atomic_load(&json_bytes);
    atomic_store(&json_most, before);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
    check(dynalock_get(b->store, key, NULL, &kv, &failure), 0);
    dynalock_kv_free(kv);
    size_t most = atomic_load(&json_most) - before;
    print_message("# %zu bytes of memory for each of an item's\n", most / ELEMENTS);
    assert_true(most < (size_t)ELEMENTS * GROWTH);
    assert_true(atomic_load(&json_bytes) == before);
    dynalock_lock_free(lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOCK_TEST(test_the_words_of_a_writer_are_harmless_in_messages_and_events),
        LOCK_TEST(test_the_names_that_a_writer_chose_are_harmless_in_messages),
        LOCK_TEST(test_a_value_that_is_changed_under_its_version_is_not_noticed),
        LOCK_TEST(test_a_value_takes_a_bounded_multiple_of_its_size),
    };
    json_set_alloc_funcs(json_take, json_give);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
