/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uses the library through dynalock.h, for two_copies.c. The Makefile compiles it twice: as it
 * stands, and with the library's source in front of it, all static, as vendored_copy.
 */
#include "../dynalock.h"
#include "rig.h"
#include "two_copies.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef COPY
#define COPY linked_copy
#endif

struct copy_store {
    dynalock_store *store;
    dynalock_lock *lock; /* the one it took last */
    atomic_int renewals;
};

static void user_log(const dynalock_event *event, void *context)
{
    struct copy_store *s = context;
    if (event->id == DYNALOCK_EVENT_RENEWED) {
        atomic_fetch_add(&s->renewals, 1);
    }
}

static void user_must(int code, const char *what, const dynalock_error *error)
{
    if (code != 0) {
        fprintf(stderr, "two_copies: %s: %s\n", what, error->message);
        abort();
    }
}

static struct copy_store *user_open(const char *table, const char *partition, const char *endpoint)
{
    struct copy_store *s = calloc(1, sizeof *s);
    if (!s) {
        abort();
    }
    const dynalock_options options = {
        .region = RIG_REGION,
        .endpoint = endpoint,
        .access_key_id = RIG_KEY_ID,
        .secret_access_key = RIG_SECRET,
        .log = user_log,
        .log_context = s,
    };
    dynalock_error error = {0};
    user_must(dynalock_open(table, partition, &options, &s->store, &error), "open", &error);
    return s;
}

static int user_take(struct copy_store *s, const char *key)
{
    const dynalock_lock_options options = {.ttl_ms = 3000};
    dynalock_error error = {0};
    dynalock_lock_free(s->lock);
    s->lock = NULL;
    user_must(dynalock_lock_new(s->store, key, &options, &s->lock, &error), "lock", &error);
    return dynalock_lock_acquire(s->lock, -1, 0, NULL);
}

static int user_give_back(struct copy_store *s)
{
    return dynalock_lock_release(s->lock, NULL);
}

static int user_renewals(struct copy_store *s)
{
    return atomic_load(&s->renewals);
}

static bool user_holds(struct copy_store *s)
{
    return dynalock_lock_ensure(s->lock, 0, NULL) == 0;
}

static void user_close(struct copy_store *s)
{
    dynalock_lock_free(s->lock);
    (void)dynalock_close(s->store);
    free(s);
}

const struct copy COPY = {
    .version = dynalock_version,
    .open = user_open,
    .take = user_take,
    .give_back = user_give_back,
    .renewals = user_renewals,
    .holds = user_holds,
    .close = user_close,
};
