/* SPDX-License-Identifier: Apache-2.0 */
/* A worker: waits for its job's lock, works, counts what it did, releases. */
#define _POSIX_C_SOURCE 200809L

#include "demo.h"

#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEASE_MS = 3000, POLL_MS = 1000 };

struct worker {
    dynalock_store *store;
    pthread_t thread;
    int process, number, job;
    bool failed;
};

/* Adds one to the job's record. It is replaced only if it is still the one that was read. */
static int count_up(struct worker *w, int64_t *count, dynalock_error *error)
{
    char key[64];
    dynalock_kv *read = NULL;
    const void *bytes = NULL;
    size_t length = 0;
    (void)snprintf(key, sizeof key, "job/%s", job_names[w->job]);
    int code = dynalock_get(w->store, key, NULL, &read, error);
    if (code == 0) {
        code = dynalock_kv_bytes(read, &bytes, &length, error);
    }
    if (code == 0) {
        char text[32];
        *count = strtoll(bytes, NULL, 10) + 1;
        (void)snprintf(text, sizeof text, "%" PRId64, *count);
        code = dynalock_atomic_put(w->store, key, dynalock_bytes(text, strlen(text)), read, NULL,
                                   NULL, error);
    }
    dynalock_kv_free(read);
    return code;
}

/* Waits as real work would last; ends early when all shall stop, or when the lock is lost. */
static bool labour(const struct worker *w, int lost_fd)
{
    struct pollfd fds[] = {{.fd = demo.stop_fd, .events = POLLIN},
                           {.fd = lost_fd, .events = POLLIN}};
    return poll(fds, 2, 700 + 200 * w->job + 100 * w->process) == 0;
}

static void work(struct worker *w, dynalock_lock *lock, int lost_fd)
{
    dynalock_error error = {0};
    int64_t token = dynalock_lock_token(lock);
    int64_t count = 0;
    journal_note(WORK_BEGINS, w->job, token, w->process, w->number);
    say(w->process, w->number, w->job, "locked, token %" PRId64, token);
    /* A second is time enough to write; if less is left of the lease, it is better not to begin. */
    bool done = labour(w, lost_fd) && dynalock_lock_ensure(lock, 1000, &error) == 0 &&
                count_up(w, &count, &error) == 0;
    if (done) {
        say(w->process, w->number, w->job, "done, number %" PRId64, count);
    } else {
        say(w->process, w->number, w->job, "not done: %s",
            error.code != 0 ? error.message : "stopped");
    }
    w->failed = w->failed || error.code == DYNALOCK_ERR_MODIFIED;
    journal_note(done ? WORK_DONE : WORK_LEFT, w->job, token, w->process, w->number);
}

static int worker_loop(struct worker *w, dynalock_lock *lock, dynalock_error *error)
{
    int lost_fd = -1;
    int code = dynalock_lock_lost_fd(lock, &lost_fd, error);
    while (code == 0) {
        code = dynalock_lock_acquire(lock, demo.stop_fd, -1, error);
        if (code == 0) {
            work(w, lock, lost_fd);
            code = dynalock_lock_release(lock, error);
            if (code == DYNALOCK_ERR_LOST || dynalock_is_retryable(code)) {
                code = 0; /* it is not held any more, and the work has been told of that */
            }
            struct pollfd stop = {.fd = demo.stop_fd, .events = POLLIN};
            (void)poll(&stop, 1, 2 * POLL_MS); /* so that the others have their turn */
        }
    }
    return code;
}

static void *worker_run(void *context)
{
    struct worker *w = context;
    char key[64];
    char holder[64];
    dynalock_lock *lock = NULL;
    dynalock_error error;
    (void)snprintf(key, sizeof key, "lock/%s", job_names[w->job]);
    (void)snprintf(holder, sizeof holder, "process %d worker %d", w->process, w->number);
    dynalock_lock_options options = {.ttl_ms = LEASE_MS, .poll_ms = POLL_MS, .holder = holder};
    int code = dynalock_lock_new(w->store, key, &options, &lock, &error);
    if (code == 0) {
        code = worker_loop(w, lock, &error);
    }
    if (code != DYNALOCK_ERR_CANCELLED) { /* that is: all shall stop */
        say(w->process, w->number, w->job, "gives up: %s", error.message);
        w->failed = true;
    }
    dynalock_lock_free(lock);
    return NULL;
}

/* ---- A process of workers ---- */

static void on_event(const dynalock_event *event, void *context)
{
    const int *process = context;
    if (event->id == DYNALOCK_EVENT_TAKEN_OVER) {
        say(*process, 0, -1, "takes %s over: its holder's lease has expired", event->key);
    }
}

int process_run(int process)
{
    struct worker workers[JOBS];
    dynalock_store *store = NULL;
    dynalock_error error;
    dynalock_options options = {.log = on_event, .log_context = &process};
    bool failed = false;
    int started = 0;
    if (dynalock_open(demo.table, demo.partition, &options, &store, &error) != 0) {
        say(process, 0, -1, "%s", error.message);
        return 1;
    }
    for (; started < JOBS && !failed; started++) {
        struct worker *w = &workers[started];
        *w = (struct worker){
            .store = store, .process = process, .number = started + 1, .job = started};
        failed = pthread_create(&w->thread, NULL, worker_run, w) != 0;
    }
    for (int i = 0; i < (failed ? started - 1 : started); i++) {
        (void)pthread_join(workers[i].thread, NULL);
        failed = failed || workers[i].failed;
    }
    return dynalock_close(store) != 0 || failed;
}
