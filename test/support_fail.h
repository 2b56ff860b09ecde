/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failures on purpose: the Nth call that the library makes of what it depends on fails, as if there were no memory, no
 * descriptor, no thread, no entropy. For programs with the line
 *     wrap: malloc calloc realloc strdup ...
 * (as a comment, all of FAIL_WRAPPED in support_fail.c); jansson's allocations are counted too.
 */
#ifndef TEST_SUPPORT_FAIL_H
#define TEST_SUPPORT_FAIL_H

#include <pthread.h>
#include <stdbool.h>

/* Once, before jansson is used for anything else. */
void fail_install(void);

/* From now on, the calls are counted, and those from the nth on (1: the first), count of them, fail. */
void fail_arm(unsigned nth, unsigned count);
/* Ends it: whether one was made fail. */
bool fail_disarm(void);
/* What was made fail last, "malloc". */
const char *fail_what(void);

/* Of that thread (0: nobody's): what has arrived is not looked at right after a poll, but just before the next one. */
void fail_look_late(pthread_t thread, bool late);

#endif
