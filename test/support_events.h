/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of events share, on top of support_lock.h: starting, and waiting for what follows. */
#ifndef TEST_SUPPORT_EVENTS_H
#define TEST_SUPPORT_EVENTS_H

#include "support_lock.h"

#define AT_ONCE_MS 2000 /* at once, on a machine under load; a twentieth of it is usual */

#define ANOTHERS "'version':{'N':'5'},'expires':{'N':'4102444800'}" /* for bench_put_item */

/* Another store at the bench's proxy that logs to its events, sends so many requests at a time, and closes within a
 * second. */
dynalock_store *narrow(struct bench *b, int connections);

int64_t expires_of(struct bench *b, const char *key); /* as the record has it; 0: there is none */

int event_fd(dynalock_store *store);
int lock_event_fd(dynalock_lock *lock);

/* The next event: waits for the descriptor, and fails the test after LONG_MS. */
dynalock_lock_event next_event(dynalock_store *store);
dynalock_lock_event next_lock_event(dynalock_lock *lock); /* that has a descriptor of its own */

/* Fails the test unless there is none, and the descriptor says so. */
void no_event(dynalock_store *store);

/* Fails the test, with the event's message, unless it is this. */
#define check_event(event, lock, kind, code) \
    check_event_is((event), (lock), (kind), (code), __FILE__, __LINE__)
void check_event_is(dynalock_lock_event event, const dynalock_lock *lock, int kind, int code,
                    const char *file, int line);

void lock_start(dynalock_lock *lock, int64_t wait_ms); /* an acquisition */

/* Starts an acquisition or a release; its event, with this code, is the store's next. */
dynalock_lock_event acquire_by_event(dynalock_store *store, dynalock_lock *lock, int64_t wait_ms,
                                     int code);
dynalock_lock_event release_by_event(dynalock_store *store, dynalock_lock *lock, int code);

/* Cancels an acquisition that is under way; its event follows at once, and says so. */
dynalock_lock_event cancel_by_event(dynalock_store *store, dynalock_lock *lock);

#endif
