/* SPDX-License-Identifier: Apache-2.0 */
/* The journal, and the check: whether two were ever at one job, and whether tokens always increased. */
#define _POSIX_C_SOURCE 200809L

#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct entry {
    int64_t token;
    enum journal_event event;
    int job, process, worker;
};

int journal_open(void)
{
    char path[256];
    const char *folder = getenv("TMPDIR");
    (void)snprintf(path, sizeof path, "%s/competing-consumers-XXXXXX",
                   folder != NULL ? folder : "/tmp");
    demo.journal_fd = mkstemp(path);
    if (demo.journal_fd < 0 || fcntl(demo.journal_fd, F_SETFL, O_APPEND) != 0) {
        return -1;
    }
    return unlink(path); /* the descriptor is all that is needed, and nothing is left behind */
}

void journal_note(enum journal_event event, int job, int64_t token, int process, int worker)
{
    const struct entry entry = {token, event, job, process, worker};
    if (write(demo.journal_fd, &entry, sizeof entry) != (ssize_t)sizeof entry) {
        say(process, worker, job, "cannot write to the journal: %s", strerror(errno));
        _exit(1);
    }
}

void tally_wrong(struct tally *t, int job, const char *what)
{
    say(0, 0, job, "WRONG: %s", what);
    t->wrong++;
}

static void tally_begin(struct tally *t, const struct entry *entry)
{
    struct tally_job *job = &t->jobs[entry->job];
    if (job->process != 0) {
        tally_wrong(t, entry->job, "two are at it at the same time");
    }
    if (entry->token <= job->token) {
        tally_wrong(t, entry->job, "a token is not greater than the one before");
    }
    t->processes[entry->process].begun++;
    t->processes[entry->process].taken_over += job->orphaned ? 1 : 0;
    job->orphaned = false;
    job->process = entry->process;
    job->worker = entry->worker;
    job->token = entry->token;
}

static void tally_end(struct tally *t, const struct entry *entry)
{
    struct tally_job *job = &t->jobs[entry->job];
    if (job->process != entry->process || job->worker != entry->worker ||
        job->token != entry->token) {
        tally_wrong(t, entry->job, "a worker was still at it after another had begun");
    }
    job->process = 0;
    job->done += entry->event == WORK_DONE ? 1 : 0;
    t->processes[entry->process].done += entry->event == WORK_DONE ? 1 : 0;
}

static void tally_death(struct tally *t, int process)
{
    for (struct tally_job *job = t->jobs; job < t->jobs + JOBS; job++) {
        if (job->process == process) {
            job->process = 0;
            job->orphaned = true;
            job->unsure++;
        }
    }
}

void tally_follow(struct tally *t)
{
    struct entry entry;
    while (pread(demo.journal_fd, &entry, sizeof entry, t->offset) == (ssize_t)sizeof entry) {
        t->offset += (off_t)sizeof entry;
        switch (entry.event) {
        case WORK_BEGINS: tally_begin(t, &entry); break;
        case WORK_DONE:
        case WORK_LEFT: tally_end(t, &entry); break;
        case PROCESS_DEAD: tally_death(t, entry.process); break;
        }
    }
}
