/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time that passes only while everybody waits, and threads that take turns on one: hours in milliseconds, and the same
 * each time. A program puts it in the system's place by the names after "wrap:" that fuzz_tenure.c has, too. The turn
 * changes where a thread waits, and, if virtual_nervous says so, where it gives a mutex back.
 */
#ifndef FUZZ_VIRTUAL_TIME_H
#define FUZZ_VIRTUAL_TIME_H

#include "../internal.h"

#include "fuzz.h"

/* A machine: its boot clock counts from when it was started, by so many millionths too fast; its host's clock is ahead
 * of that by so much, and may be set. While it is frozen its threads stand still, and its clocks do not. */
struct virtual_host {
    int64_t boot_us, drift_ppm, ahead_us, frozen_until_us;
    int64_t stood_us, still_from_us, still_until_us; /* see virtual_stand_still */
};

/* Everything is as at the start; nobody may be waiting. Chance is what the library takes for the kernel's. */
void virtual_reset(uint64_t chance);
int64_t virtual_now_us(void);
struct dlk_clock virtual_clock(struct virtual_host *host);

/* What happens by itself, in order, from this thread or another. */
void virtual_at(int64_t when_us, void (*happen)(void *context), void *context);
/* Waits until it is ready (NULL: never), or it is so late. */
void virtual_wait(bool (*ready)(void *context), void *context, int64_t until_us);
bool virtual_readable(
    int fd); /* a descriptor of the library's, or of virtual_pipe; false for any other */
uint64_t virtual_chance(uint64_t bound);

/* The machine is paused for so long, its clocks with it; not before the last time is over. */
void virtual_stand_still(struct virtual_host *host, int64_t us);

/* The machine on which this thread runs. */
void virtual_be(struct virtual_host *host);
/* A thread there. Its number is not to be had again in this run. */
pthread_t virtual_start(struct virtual_host *host, void *(*run)(void *context), void *context);
bool virtual_runs(pthread_t thread);
unsigned virtual_threads(void);    /* that run, without this one */
uint64_t virtual_steps(void);      /* turns taken so far */
extern void (*virtual_look)(void); /* after each turn; or NULL */
extern unsigned virtual_nervous;   /* of 256 */

/* A descriptor for a stop, or whatever else. */
int virtual_pipe(void);
void virtual_pipe_write(int fd);
void virtual_pipe_drain(int fd);
void virtual_pipe_close(int fd);
unsigned virtual_descriptors(void); /* that are open */

#endif
