/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Competing consumers: three processes with four threads each share four jobs. A job is worked on under its lock, and
 * what was done is counted in a record of its own. One process is killed on the way: the others take its jobs over
 * when its leases have expired.
 *
 * That no two ever worked on one job at the same time is checked without asking the locks: each worker notes the begin
 * and the end of its work, with its fencing token, in a file that is only appended to; the parent reads it.
 *
 * usage: competing-consumers [TABLE]
 *
 * Region, endpoint and credentials come from the environment. The table (default: dynalock-demo) is created if it is
 * not there.
 */
#define _POSIX_C_SOURCE 200809L

#include "demo.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    KILL_AT_MS = 6000,
    GO_ON_MS = 4000, /* after the last of the dead process's jobs was taken over */
    LIMIT_MS = 30000,
    STOP_MS = 8000
};

const char *const job_names[JOBS] = {"invoices", "letters", "reports", "thumbnails"};

struct demo demo = {.table = "dynalock-demo"};

int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 - demo.began_ms;
}

/* One line for the reader, in one write, so that lines of several processes do not mix. */
void say(int process, int worker, int job, const char *format, ...)
{
    char line[512];
    char who[32];
    char text[384];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    (void)snprintf(who, sizeof who,
                   process == 0  ? "parent"
                   : worker == 0 ? "process %d"
                                 : "process %d worker %d",
                   process, worker);
    int length = snprintf(line, sizeof line, "%6.2f s  %-18s  %-10s  %s\n", (double)now_ms() / 1000,
                          who, job < 0 ? "" : job_names[job], text);
    if (length > 0) {
        (void)!write(STDOUT_FILENO, line, strlen(line)); /* nobody reads? no reason to stop */
    }
}

/* The table, and the records in which the jobs are counted. The store is closed before the processes are made: it
 * could not be used in them. */
static int prepare(dynalock_error *error)
{
    dynalock_store *store = NULL;
    dynalock_table_report report;
    dynalock_write_options options = {.ttl_ms = 3600000};
    int code = dynalock_open(demo.table, demo.partition, NULL, &store, error);
    if (code == 0) {
        code = dynalock_table_create(store, 0, &report, error);
    }
    if (code == 0) {
        say(0, 0, -1, "table %s %s. %s", demo.table, report.created ? "created" : "found",
            report.message);
    }
    for (int job = 0; job < JOBS && code == 0; job++) {
        char key[64];
        (void)snprintf(key, sizeof key, "job/%s", job_names[job]);
        code = dynalock_atomic_put(store, key, dynalock_bytes("0", 1), NULL, &options, NULL, error);
    }
    (void)dynalock_close(store);
    return code;
}

static pid_t spawn(int process, int stop_write_fd)
{
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(stop_write_fd);
        _exit(process_run(process));
    }
    return pid;
}

static int jobs_of(const struct tally *t, int process)
{
    int jobs = 0;
    for (int job = 0; job < JOBS; job++) {
        jobs += t->jobs[job].process == process ? 1 : 0;
    }
    return jobs;
}

/* Kills the process that is at most jobs now. It is stopped first, so that it does not finish them meanwhile.
 * Returns 0 if there is none. */
static int kill_busiest(struct tally *t, pid_t *pids)
{
    int victim = 1;
    for (int process = 2; process <= PROCESSES; process++) {
        victim = jobs_of(t, process) > jobs_of(t, victim) ? process : victim;
    }
    (void)kill(pids[victim], SIGSTOP);
    (void)waitpid(pids[victim], NULL, WUNTRACED);
    tally_follow(t);
    if (jobs_of(t, victim) == 0) {
        (void)kill(pids[victim], SIGCONT);
        return 0;
    }
    (void)kill(pids[victim], SIGKILL);
    (void)waitpid(pids[victim], NULL, 0);
    pids[victim] = 0;
    say(0, 0, -1, "process %d is killed (SIGKILL), and leaves locks behind: %d", victim,
        jobs_of(t, victim));
    journal_note(PROCESS_DEAD, 0, 0, victim, 0);
    tally_follow(t);
    return victim;
}

static bool any_orphan(const struct tally *t)
{
    bool any = false;
    for (int job = 0; job < JOBS; job++) {
        any = any || t->jobs[job].orphaned;
    }
    return any;
}

static bool any_died(pid_t *pids)
{
    for (int process = 1; process <= PROCESSES; process++) {
        if (pids[process] > 0 && waitpid(pids[process], NULL, WNOHANG) != 0) {
            pids[process] = 0;
            return true;
        }
    }
    return false;
}

/* Until there is nothing more to see. Returns the process that was killed; 0 if it did not come to that. */
static int supervise(struct tally *t, pid_t *pids, const sigset_t *signals)
{
    const struct timespec pause = {.tv_nsec = 100000000};
    int victim = 0;
    int64_t end_ms = LIMIT_MS;
    while (now_ms() < end_ms) {
        if (sigtimedwait(signals, NULL, &pause) > 0) {
            tally_wrong(t, -1, "interrupted");
            break;
        }
        tally_follow(t);
        if (any_died(pids)) {
            tally_wrong(t, -1, "a process ended too early");
            break;
        }
        if (victim == 0 && now_ms() >= KILL_AT_MS) {
            victim = kill_busiest(t, pids);
        } else if (victim != 0 && end_ms == LIMIT_MS && !any_orphan(t)) {
            end_ms = now_ms() + GO_ON_MS;
        }
    }
    return victim;
}

/* Waits for the processes to end; kills those that do not. */
static void await_end(struct tally *t, pid_t *pids)
{
    const struct timespec pause = {.tv_nsec = 50000000};
    int64_t until_ms = now_ms() + STOP_MS;
    for (int process = 1; process <= PROCESSES; process++) {
        int status = 0;
        while (pids[process] > 0 && waitpid(pids[process], &status, WNOHANG) == 0) {
            if (now_ms() > until_ms) {
                tally_wrong(t, -1, "a process did not stop: it is killed");
                (void)kill(pids[process], SIGKILL);
            }
            (void)nanosleep(&pause, NULL);
        }
        if (pids[process] > 0 && status != 0) {
            tally_wrong(t, -1, "a process failed");
        }
    }
}

static int run(struct tally *t, const sigset_t *signals)
{
    int ends[2];
    pid_t pids[PROCESSES + 1] = {0};
    if (pipe(ends) != 0 || journal_open() != 0) {
        tally_wrong(t, -1, strerror(errno));
        return 0;
    }
    demo.stop_fd = ends[0];
    for (int process = 1; process <= PROCESSES && t->wrong == 0; process++) {
        pids[process] = spawn(process, ends[1]);
        if (pids[process] < 0) {
            tally_wrong(t, -1, strerror(errno));
        }
    }
    int victim = t->wrong == 0 ? supervise(t, pids, signals) : 0;
    say(0, 0, -1, "stops them");
    (void)close(ends[1]); /* all workers watch the other end */
    await_end(t, pids);
    tally_follow(t);
    if (victim == 0 || any_orphan(t)) {
        tally_wrong(t, -1, "no work of a dead process was seen to be taken over");
    }
    return victim;
}

/* The counts in the records must be those of the journal: no work was lost, none done twice. */
static void check_records(struct tally *t, dynalock_store *store)
{
    for (int job = 0; job < JOBS; job++) {
        char key[64];
        dynalock_kv *kv = NULL;
        dynalock_error error;
        const void *bytes = NULL;
        size_t length = 0;
        (void)snprintf(key, sizeof key, "job/%s", job_names[job]);
        if (dynalock_get(store, key, NULL, &kv, &error) != 0 ||
            dynalock_kv_bytes(kv, &bytes, &length, &error) != 0) {
            tally_wrong(t, job, error.message);
        } else {
            long long count = strtoll(bytes, NULL, 10);
            if (count < t->jobs[job].done || count > t->jobs[job].done + t->jobs[job].unsure) {
                tally_wrong(t, job, "the record's count is not that of the work done");
            }
        }
        dynalock_kv_free(kv);
    }
}

static void summarise(const struct tally *t, int victim)
{
    int begun = 0;
    printf("\n%-10s %8s %8s %12s\n", "process", "locked", "done", "taken over");
    for (int process = 1; process <= PROCESSES; process++) {
        begun += t->processes[process].begun;
        printf("%-10d %8d %8d %12d%s\n", process, t->processes[process].begun,
               t->processes[process].done, t->processes[process].taken_over,
               process == victim ? "   killed" : "");
    }
    if (t->wrong != 0) {
        printf("\nFAILED: %d times something was WRONG, see above\n", t->wrong);
        return;
    }
    printf("\nCHECKED: %d pieces of work, never two at one job at once, tokens always increasing, "
           "records equal to the journal\n",
           begun);
}

int main(int argc, char **argv)
{
    static struct tally t;
    dynalock_store *store = NULL;
    dynalock_error error;
    sigset_t signals;
    demo.began_ms = now_ms();
    demo.table = argc > 1 ? argv[1] : demo.table;
    (void)snprintf(demo.partition, sizeof demo.partition, "demo %lld %ld", (long long)time(NULL),
                   (long)getpid());
    /* Blocked here and in the processes: the parent takes them, and the processes then see the pipe end. */
    (void)signal(SIGINT, SIG_DFL);
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    if (prepare(&error) != 0) {
        say(0, 0, -1, "%s", error.message);
        return 1;
    }
    int victim = run(&t, &signals);
    if (dynalock_open(demo.table, demo.partition, NULL, &store, &error) == 0) {
        check_records(&t, store);
        (void)dynalock_close(store);
    } else {
        tally_wrong(&t, -1, error.message);
    }
    summarise(&t, victim);
    return t.wrong == 0 ? 0 : 1;
}
