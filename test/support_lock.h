/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of locks share, on top of support.h: a bench for each test, waiters, what is awaited. */
#ifndef TEST_SUPPORT_LOCK_H
#define TEST_SUPPORT_LOCK_H

#include "support.h"

#define LONG_MS 20000 /* longer than anything takes, on a machine under load */

/* A bench for each test. Its end fails on a request that the real service would object to, and on a
 * secret in the log. */
int lock_setup(void **state);
int lock_teardown(void **state);
#define LOCK_TEST(function) cmocka_unit_test_setup_teardown(function, lock_setup, lock_teardown)

int64_t real_ms(void); /* the servers' time, too */
bool readable(int fd, int timeout_ms);

/* As many harmless requests as a store needs before it trusts the servers' time. */
void warm(dynalock_store *store);

/* Another store at the bench's proxy that logs to its events: one attempt an operation, and closes within 300 ms. */
dynalock_store *impatient(struct bench *b);

dynalock_lock *lock_make(dynalock_store *store, const char *key, dynalock_lock_options options);
dynalock_lock *lock_take(dynalock_store *store, const char *key, dynalock_lock_options options);
/* Releases and frees it; fails the test if that fails. */
void lock_end(dynalock_lock *lock);

/* These end after LONG_MS at the latest, and then with false. */
bool await_state(dynalock_lock *lock, int state);
bool is_there(struct bench *b, const char *key); /* the record, now */
bool await_gone(struct bench *b, const char *key);
bool await_event(struct bench *b, int id, const char *key, int count);

/* A thread that acquires a lock. */
struct waiter {
    pthread_t thread;
    dynalock_lock *lock;
    int stop_fd, code;
    int64_t wait_ms, began_ms, ended_ms, ended_real_ms;
    dynalock_error error;
};

void waiter_start(struct waiter *w, dynalock_lock *lock, int stop_fd, int64_t wait_ms);
int waiter_join(struct waiter *w); /* what acquire returned */

/* Every request of op for key meets the fault, ACTION's text of the rig: none is answered before in_flight_end().
 * in_flight_await() waits for the first. */
void in_flight_begin(struct bench *b, const char *op, const char *key, const char *fault);
void in_flight_await(struct bench *b, const char *op, const char *fault);
void in_flight_end(struct bench *b);

/* For each of the faults that keep the answer of a try back, and the first once more with keep_record; no cleanup
 * is to be left in the end. */
void end_with_each_fault(struct bench *b, void (*end_in_flight)(struct bench *b, const char *fault,
                                                                bool keep_record));

#endif
