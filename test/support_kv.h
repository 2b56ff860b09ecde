/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of records share: the operations in short, and records as others write them. */
#ifndef TEST_SUPPORT_KV_H
#define TEST_SUPPORT_KV_H

#include "support.h"

extern const dynalock_write_options kv_never; /* never expires */

dynalock_value kv_text(const char *bytes);

/* On b->store; they fail the test if the operation fails. */
void kv_put(struct bench *b, const char *key, const char *bytes,
            const dynalock_write_options *options);
dynalock_kv *kv_get(struct bench *b, const char *key);
dynalock_kv *kv_create(struct bench *b, const char *key, const char *bytes,
                       const dynalock_write_options *options);

void kv_assert_absent(struct bench *b, const char *key); /* for get and for exists */
void kv_assert_value(dynalock_kv *kv, const char *expected);

int64_t kv_now_s(void);
int64_t kv_version_of(struct bench *b, const char *key); /* as it is in the table */

/* Straight into the table: a record of Go's, without nonce; what a kept record looks like. */
void kv_stranger(struct bench *b, const char *key, int64_t version, int64_t expires);
void kv_tombstone(struct bench *b, const char *key, int64_t version);

#endif
