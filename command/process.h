/* SPDX-License-Identifier: Apache-2.0 */
/* What `dynalock run` is made of: signals, the guardian, the group of processes that the lock is held for. */
#ifndef PROCESS_H
#define PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The clock of leases, which counts suspended time where there is such a clock. */
int64_t process_clock_ms(void);

/* Makes a pipe that does not outlive an exec, and of which no end blocks if so asked. */
bool process_pipe(int fds[2], bool blocks);

/* ---- signals.c: signals come as bytes from a pipe ---- */

/* Catches what is handed on, but for what was ignored when the program began. From here on SIGTTOU is blocked. False:
 * it cannot be done. */
bool signals_open(int *fd);
int signals_next(void);           /* the next signal that has come; 0: a wake-up; -1: none */
void signals_wake(void);          /* from any thread: makes the descriptor readable */
bool signals_ignored(int number); /* whether one that is handed on was before signals_open */
/* In a child of fork, all signals blocked: as they were before signals_open. */
void signals_reset(void);
/* Stops this process, or its whole job, as SIGTSTP does by default. False: it went on at once, for there is no shell that
 * could continue it. */
bool signals_stop(bool job);
/* Ends this process, or its whole job, as the signal does by default. */
void signals_die(int number, bool job);

/* ---- guardian.c: who sees to it that the group dies with the lease ---- */

/* A process of its own, with an ear on a pipe: when this process has died, or has let the deadline pass, it kills the
 * group. It must be able to do so when nothing else works, and so it waits and kills, and does nothing else. */
struct guardian {
    pid_t pid;
    int fd;
};

bool guardian_start(struct guardian *guardian);
/* group 0: none yet, or no more. Also in a child of fork, before exec. False, with errno: it has died, or stands
 * still, and will learn by our end. */
bool guardian_tell(const struct guardian *guardian, pid_t group, int64_t deadline_ms);
bool guardian_has_died(struct guardian *guardian); /* and it is not there any more */
void guardian_end(struct guardian *guardian);

/* ---- group.c: the command, in a group of processes of its own ---- */

struct group {
    pid_t
        leader; /* and the group's number. Kept as a zombie to the end, or the number could be given anew. 0: none */
    int terminal;        /* -1: there is none to be handed over */
    bool takes_terminal; /* whenever this process has it; else when it asks for it */
    bool stopped;        /* the leader is */
    int stop_signal;
    bool ended; /* the leader has */
    int status; /* then: to exit with */
    int signal; /* and the signal it ended by; 0: it exited */
};

/* Starts argv with environment; errno says why not: what exec said, too. It is told to the guardian first. */
bool group_start(struct group *group, char **argv, char **environment,
                 const struct guardian *guardian, int64_t deadline_ms);
void group_look(struct group *group); /* what has become of the leader */
void group_signal(const struct group *group, int number);
int group_is_left(const struct group *
                      group); /* 1: others of the group than its leader live; -1: nobody can tell */
bool group_lend_terminal(const struct group *group); /* if this process has it */
void group_give_terminal(const struct group *group); /* if it takes it, and this process has it */
bool group_take_terminal(const struct group *group); /* whether the group had it */
bool process_has_terminal(void);                     /* whether it is in the foreground of one */
void group_end(struct group *group);

#endif
