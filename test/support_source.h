/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A source of credentials as a program has it: new ones at each call, which the bench's proxy knows from then on and
 * takes until they expire. It can be told to fail, to block, and what to give instead.
 */
#ifndef TEST_SUPPORT_SOURCE_H
#define TEST_SUPPORT_SOURCE_H

#include "support_lock.h"

/* All secrets begin like this: no output of a test may hold it. */
#define SOURCE_MARK "HUSH"

#define SOURCE_CALLS 64
#define SOURCE_AS_IT_IS 99 /* see act */

struct source {
    struct bench *bench;
    struct rig *rig;     /* of the callback's thread */
    int64_t lifetime_ms; /* 0: for ever */
    bool quiet;          /* the proxy is not told */
    /* What is asked first, where it is not NULL: 0 goes on, SOURCE_AS_IT_IS leaves *credentials alone, all else is
     * what the callback returns. */
    int (*act)(struct source *source, dynalock_credentials *credentials);
    int64_t slow_ms;
    void *context; /* of act */

    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t changed;
    int calls, running, most_running, given;
    bool blocked; /* the next calls wait until it is false */
    int64_t called_ms[SOURCE_CALLS];
    char ids[2][24], secrets[2][48], tokens[2][64]; /* of the newest, and of those before */
    int64_t expires_ms[2];
};

/* The test's own; to be given back when the store is closed. */
struct source *source_new(struct bench *b, int64_t lifetime_ms);
void source_free(struct source *source);
int source_call(dynalock_credentials *credentials, void *context); /* options.credentials */

/* A store at the bench's proxy with that source, and its events captured. */
dynalock_store *source_open(struct source *source, const dynalock_options *options);

void source_block(struct source *source, bool blocked);
int source_calls(struct source *source);
int source_given(struct source *source);
bool source_await(struct source *source, int calls); /* false: not within LONG_MS */
/* The proxy knows the newest no more. */
void source_revoke(struct source *source);
/* Requests that the proxy refused, for their signature or for credentials that it does not know. */
int source_refused(struct rig *r);

#endif
