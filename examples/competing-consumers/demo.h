/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this example share; main.c tells what it shows. */
#ifndef DEMO_H
#define DEMO_H

#include <dynalock.h>

#include <sys/types.h>

enum { PROCESSES = 3, JOBS = 4 }; /* a process has one worker for each job */

extern const char *const job_names[JOBS];

/* Set before the processes are made. */
struct demo {
    const char *table;
    char partition[64]; /* a run has a partition of its own */
    int64_t began_ms;
    int journal_fd;
    int stop_fd; /* readable when all shall stop: also when the parent has died */
};

extern struct demo demo;

int64_t now_ms(void); /* since the run began */

/* Prints a line: when, who, at which job. worker 0: the process; process 0: the parent; job -1: none. */
void say(int process, int worker, int job, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- worker.c ---- */

int process_run(int process); /* until all shall stop; returns its exit status */

/* ---- journal.c ---- */

enum journal_event { WORK_BEGINS, WORK_DONE, WORK_LEFT, PROCESS_DEAD };

int journal_open(void); /* 0; -1: see errno */
void journal_note(enum journal_event event, int job, int64_t token, int process, int worker);

struct tally_job {
    int process, worker; /* who is at it; 0: nobody */
    int64_t token;       /* the last one's */
    int done, unsure;    /* unsure: its worker died, perhaps after it had counted */
    bool orphaned;       /* and nobody has taken it over yet */
};

struct tally { /* what the journal says */
    off_t offset;
    int wrong;
    struct tally_job jobs[JOBS];
    struct {
        int begun, done, taken_over;
    } processes[PROCESSES + 1];
};

void tally_wrong(struct tally *t, int job, const char *what);
void tally_follow(struct tally *t); /* reads what has been appended since the last time */

#endif
