/* SPDX-License-Identifier: Apache-2.0 */
#include "support_kv.h"

#include <time.h>

const dynalock_write_options kv_never = {.never_expires = true};

dynalock_value kv_text(const char *bytes)
{
    return dynalock_bytes(bytes, strlen(bytes));
}

void kv_put(struct bench *b, const char *key, const char *bytes,
            const dynalock_write_options *options)
{
    check(dynalock_put(b->store, key, kv_text(bytes), options, &failure), DYNALOCK_OK);
}

dynalock_kv *kv_get(struct bench *b, const char *key)
{
    dynalock_kv *kv = NULL;
    check(dynalock_get(b->store, key, NULL, &kv, &failure), DYNALOCK_OK);
    assert_non_null(kv);
    return kv;
}

void kv_assert_absent(struct bench *b, const char *key)
{
    dynalock_kv *kv = NULL;
    bool exists = true;
    check(dynalock_get(b->store, key, NULL, &kv, &failure), DYNALOCK_ERR_NOT_FOUND);
    assert_null(kv);
    check(dynalock_exists(b->store, key, NULL, &exists, &failure), DYNALOCK_OK);
    assert_false(exists);
}

void kv_assert_value(dynalock_kv *kv, const char *expected)
{
    const void *bytes = NULL;
    size_t length = 0;
    check(dynalock_kv_bytes(kv, &bytes, &length, &failure), DYNALOCK_OK);
    assert_int_equal(length, strlen(expected));
    assert_memory_equal(bytes, expected, length);
}

dynalock_kv *kv_create(struct bench *b, const char *key, const char *bytes,
                       const dynalock_write_options *options)
{
    dynalock_kv *kv = NULL;
    check(dynalock_atomic_put(b->store, key, kv_text(bytes), NULL, options, &kv, &failure),
          DYNALOCK_OK);
    return kv;
}

int64_t kv_now_s(void)
{
    return (int64_t)time(NULL);
}

void kv_stranger(struct bench *b, const char *key, int64_t version, int64_t expires)
{
    bench_put_item(b, key,
                   "'version':{'N':'%" PRId64 "'},'expires':{'N':'%" PRId64
                   "'},'payload':{'S':'b2xk'}",
                   version, expires);
}

void kv_tombstone(struct bench *b, const char *key, int64_t version)
{
    bench_put_item(b, key,
                   "'version':{'N':'%" PRId64 "'},'expires':{'N':'1'},"
                   "'nonce':{'S':'0123456789abcdef0123456789abcdef.3.%" PRId64 "'}",
                   version, version);
}

int64_t kv_version_of(struct bench *b, const char *key)
{
    json_t *item = bench_item(b, key);
    int64_t version = item_number(item, "version");
    json_decref(item);
    return version;
}
