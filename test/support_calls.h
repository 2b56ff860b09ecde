/* SPDX-License-Identifier: Apache-2.0 */
/* Every call that asks the server something, in one table: for tests of what may happen amid any of them. */
#ifndef TEST_SUPPORT_CALLS_H
#define TEST_SUPPORT_CALLS_H

#include "support_lock.h"

/* What the calls are made with: a store of its own at the bench's proxy, patient with a slow server. */
struct caller {
    struct bench *bench;
    dynalock_store *store;
    dynalock_lock *held;  /* the keeper need not renew it while a test runs */
    dynalock_lock *other; /* is idle */
    char key[64];         /* of a record */
    char held_key[64], other_key[64];
    dynalock_kv *record;
};

/* Also knows the servers' time: the first request of an acquisition is then its write. endpoint NULL: the bench's. */
struct caller caller_new(struct bench *b, const char *endpoint);
/* Frees all that is not NULL, store and locks included. */
void caller_free(struct caller *c);

struct server_call {
    const char *name;
    int (*make)(struct caller *c, dynalock_error *error);
};

extern const struct server_call server_calls[];
extern const size_t server_call_count;

/* A thread that makes one of them. */
struct call_thread {
    pthread_t thread;
    struct caller *caller;
    const struct server_call *call;
    int code;
    dynalock_error error;
};

void call_start(struct call_thread *t, struct caller *c, const struct server_call *call);
int call_join(struct call_thread *t); /* what the call returned */

#endif
