/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client in a process of its own, which can be stopped, killed and given another wall clock: the test program once
 * more, with one store and one lock. It is told what to do by lines, in turn, and answers each by a line of numbers.
 *
 *     int main(int argc, char **argv)
 *     {
 *         if (peer_is(argc, argv)) {
 *             return peer_main(argv);
 *         }
 *
 *     lock KEY TTL_MS POLL_MS KEEP RENEWED    makes the lock object (KEEP, RENEWED: 0 or 1) -> code
 *     acquire WAIT_MS                         -> code, token, when it returned
 *     renew, release                          -> code, when it returned
 *     look                                    -> what the lock says: struct peer_look
 *     write FILE                              a write to what the lock guards, with the token -> 1: taken, 0: refused
 *     clocks                                  -> wall clock, boot clock
 *
 * Times are milliseconds; moments are those of CLOCK_MONOTONIC.
 */
#ifndef TEST_SUPPORT_PEER_H
#define TEST_SUPPORT_PEER_H

#include "support.h"

#include <sys/types.h>

struct peer {
    pid_t pid;
    int in, out;
};

struct peer_look {
    int64_t ensure; /* what dynalock_lock_ensure returns: asked first */
    int64_t remaining_ms, state, cause, token, renewed;
    int64_t
        lost_fd;  /* 1: the lost descriptor is readable, within a second if the lock is not held */
    int64_t told; /* the cause that on_lost was called with, likewise; 0: it was not */
};

bool peer_is(int argc, char **argv);
int peer_main(char **argv);

/* At the endpoint (NULL: the bench's), in the bench's table and partition. program NULL: this one. environment NULL:
 * none; else more of it, "NAME=text", up to a NULL. */
struct peer peer_start(struct bench *b, const char *endpoint, const char *program,
                       const char *const *environment);
/* Ends it, and fails the test if it does not end as it should. */
void peer_end(struct peer *peer);
void peer_kill(struct peer *peer); /* by SIGKILL; returns when it is gone */
void peer_stop(struct peer *peer); /* by SIGSTOP; returns when it has stopped */
void peer_continue(struct peer *peer);

/* Tells it something, and does not wait for the answer. */
void peer_tell(struct peer *peer, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The next answer; false: it did not come in time. */
bool peer_hear(struct peer *peer, int64_t *numbers, size_t count, int timeout_ms);
/* Both, for what is answered soon: the first number of the answer. */
int64_t peer_ask(struct peer *peer, const char *format, ...) __attribute__((format(printf, 2, 3)));
struct peer_look peer_look(struct peer *peer);

/* A write to a file that takes no token smaller than one it has seen; whether it took this one. */
bool guarded_write(const char *path, int64_t token);

#endif
