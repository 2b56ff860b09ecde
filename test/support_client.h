/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of the client share: a store of their own for each test, with temporary credentials, and an eye on
 * secrets: none may be in a log event or an error.
 */
#ifndef TEST_SUPPORT_CLIENT_H
#define TEST_SUPPORT_CLIENT_H

#include "support.h"

#define CLIENT_TOKEN "FwoGZXIvYXdzEJr//////////wEaDEXAMPLETOKENthatNobodyMaySee1234567890=="

/* For cmocka: a bench whose proxy wants CLIENT_TOKEN, so that bench->store is of no use. */
int client_setup(void **state);
/* After a test: fails if the proxy saw a violation, or a secret was in an event or in an error. */
int client_after(void **state);
#define CLIENT_TEST(function) cmocka_unit_test_setup_teardown(function, bench_clear, client_after)

/* A store at the bench's proxy, with its events captured. options (NULL: defaults) are filled in where they have no
 * endpoint, region, keys or log. */
dynalock_store *client_open(struct bench *b, const dynalock_options *options);

/* The same, after a request that told it the server's time, and which is neither counted nor in the events. */
dynalock_store *client_warm(struct bench *b, const dynalock_options *options);

/* As rig_fault, but ' stands for " in what is formatted into it, too. */
void client_fault(struct bench *b, const char *format, ...) RIG_FORMAT(2);

/* Remembers if one of the secrets, or a header that holds one, is in the text. */
void client_scan(const char *text);

/* As check(), and looks for secrets in the error. */
#define expect(call, code)               \
    do {                                 \
        check((call), (code));           \
        client_scan(failure.message);    \
        client_scan(failure.name);       \
        client_scan(failure.request_id); \
    } while (0)

#define assert_flags(expected) assert_int_equal(failure.flags, (expected))

int client_get(dynalock_store *store, const char *key, dynalock_error *error);
int client_put(dynalock_store *store, const char *key, dynalock_error *error);

dynalock_counters client_counters(dynalock_store *store);

#endif
