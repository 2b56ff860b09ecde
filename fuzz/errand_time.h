/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time for what fetches credentials: it passes where something waits, and nowhere else. For the one file of a fuzzer
 * that says
 *     wrap: dlk_system_clock dlk_wait_readable dlk_random_below
 * as the Makefile reads it.
 */
#ifndef FUZZ_ERRAND_TIME_H
#define FUZZ_ERRAND_TIME_H

#include "../providers.h"
#include "fuzz.h"

static int64_t errand_time_us;                  /* boot clock */
static void (*errand_time_passes)(void) = NULL; /* called as it does; or NULL */

struct dlk_clock __wrap_dlk_system_clock(void);
int __wrap_dlk_wait_readable(const int *fds, size_t count, int64_t timeout_ms);
uint64_t __wrap_dlk_random_below(uint64_t bound);

static int64_t errand_time_now(void *context)
{
    (void)context;
    return errand_time_us;
}

struct dlk_clock __wrap_dlk_system_clock(void)
{
    return (struct dlk_clock){errand_time_now, errand_time_now, NULL};
}

int __wrap_dlk_wait_readable(const int *fds, size_t count, int64_t timeout_ms)
{
    (void)fds;
    (void)count;
    fuzz_check(timeout_ms > 0 && timeout_ms <= 50);
    errand_time_us += timeout_ms * 1000;
    if (errand_time_passes != NULL) {
        errand_time_passes();
    }
    return -1;
}

uint64_t __wrap_dlk_random_below(uint64_t bound)
{
    return bound / 2;
}

#endif
