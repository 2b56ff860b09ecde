/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that provider_process.c starts, without one: the file of a fuzzer that has it says
 *     wrap: posix_spawnp posix_spawn_file_actions_adddup2 waitid waitpid kill
 * as the Makefile reads it. There is one at a time.
 */
#ifndef FUZZ_FAKE_CHILD_H
#define FUZZ_FAKE_CHILD_H

#include <stdbool.h>
#include <stddef.h>

struct fake_child {
    int spawn_error;    /* what starting it fails with; 0: it starts */
    int status;         /* as waitpid gives it */
    const char *output; /* borrowed */
    size_t length;
    int ticks;      /* until it ends; -1: it does so only when it is killed */
    bool babbles;   /* prints its output again and again */
    bool is_orphan; /* nobody can wait for it: the system has done so */
};

/* What the next program does, whose words are to be those of this command. */
void fake_child_set(const struct fake_child *child, const char *command);
/* Some time passes: it prints, and perhaps ends. */
void fake_child_tick(void);
/* It was started, and has been waited for, or none was. */
bool fake_child_is_gone(void);
unsigned fake_child_starts(void); /* so far */

#endif
