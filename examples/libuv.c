/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks in an event loop, here libuv's: the store's descriptor is one more handle of the loop, and what was started is
 * told there. The program waits for several locks at once, works on what it holds, is told of what it loses, and lets
 * all go on SIGTERM or SIGINT. Start it twice: the second waits for the first. Without a library: epoll.c.
 *
 * usage: libuv TABLE KEY...
 *
 * Region, endpoint and credentials come from the environment. The table must be there.
 */
#define _POSIX_C_SOURCE 200809L

#include <dynalock.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#define PIECE_MS 200 /* a piece of work is begun so often */

enum job_state { JOB_IDLE, JOB_WAITS, JOB_HELD, JOB_RELEASES };

struct job {
    const char *key;
    dynalock_lock *lock;
    enum job_state state;
    long pieces; /* of work done */
};

struct app {
    dynalock_store *store;
    struct job *jobs;
    int count, busy; /* busy: jobs that are not idle */
    bool stopping, failed;
    uv_poll_t events;
    uv_timer_t timer;
    uv_signal_t terminate, interrupt;
};

static struct app app;

static void app_stop(void);

static void complain(const char *what, const char *message)
{
    fprintf(stderr, "%s: %s\n", what, message);
    app.failed = true;
}

/* ---- A job: waits for its lock, works, and lets it go ---- */

static void job_is(struct job *job, enum job_state state)
{
    app.busy += (state != JOB_IDLE) - (job->state != JOB_IDLE);
    job->state = state;
}

static void job_wait(struct job *job)
{
    dynalock_error error;
    if (dynalock_lock_acquire_start(job->lock, -1, &error) == 0) {
        job_is(job, JOB_WAITS);
    } else {
        complain(job->key, error.message);
        app_stop();
    }
}

static void job_release(struct job *job)
{
    dynalock_error error;
    int code = dynalock_lock_release_start(job->lock, &error);
    job_is(job, code == 0 ? JOB_RELEASES : JOB_IDLE);
    if (code == DYNALOCK_ERR_LOST) {
        printf("%s: not released: %s\n", job->key, error.message); /* it is another's now */
    } else if (code != 0) {
        complain(job->key, error.message);
    }
}

static void job_stop(struct job *job)
{
    dynalock_error error;
    if (job->state == JOB_HELD) {
        job_release(job);
    } else if (job->state == JOB_WAITS && dynalock_lock_cancel(job->lock, &error) != 0) {
        complain(job->key, error.message); /* else its event follows */
    }
}

/* One small piece of the work, if there is time for it: the event of a loss may still be on its way. */
static void job_work(struct job *job)
{
    if (job->state == JOB_HELD && dynalock_lock_ensure(job->lock, PIECE_MS, NULL) == 0) {
        job->pieces++; /* where work that comes too late would do harm, the token goes with it */
    }
}

static void job_acquired(struct job *job, const dynalock_lock_event *event)
{
    job_is(job, event->code == 0 ? JOB_HELD : JOB_IDLE);
    if (event->code == 0) {
        printf("%s: locked, token %" PRId64 "\n", job->key, event->token);
    } else if (event->code == DYNALOCK_ERR_CANCELLED) {
        printf("%s: stopped while waiting\n", job->key);
    } else { /* what passes, as throttling, has not ended the wait */
        complain(job->key, event->error.message);
        app_stop();
    }
    if (job->state == JOB_HELD && app.stopping) {
        job_release(job);
    }
}

static void job_lost(struct job *job, const dynalock_lock_event *event)
{
    printf("%s: lost: %s\n", job->key, dynalock_cause_name(event->cause));
    job_is(job, JOB_IDLE);
    if (!app.stopping) {
        job_wait(job);
    }
}

static void job_released(struct job *job, const dynalock_lock_event *event)
{
    job_is(job, JOB_IDLE);
    if (event->code == 0) {
        printf("%s: released after %ld pieces of work\n", job->key, job->pieces);
    } else {
        printf("%s: not released: %s\n", job->key, event->error.message); /* its lease will end */
    }
}

/* ---- The loop ---- */

/* Without handles, and with nothing under way, uv_run returns. The poll handle goes before dynalock_close, which
 * closes the descriptor. */
static void app_end_if_idle(void)
{
    uv_handle_t *const handles[] = {(uv_handle_t *)&app.events, (uv_handle_t *)&app.timer,
                                    (uv_handle_t *)&app.terminate, (uv_handle_t *)&app.interrupt};
    if (app.stopping && app.busy == 0) {
        for (size_t i = 0; i < sizeof handles / sizeof *handles; i++) {
            if (!uv_is_closing(handles[i])) {
                uv_close(handles[i], NULL);
            }
        }
    }
}

static void app_stop(void)
{
    if (!app.stopping) {
        app.stopping = true;
        for (int i = 0; i < app.count; i++) {
            job_stop(&app.jobs[i]);
        }
    }
    app_end_if_idle();
}

/* Takes all that there is to tell. */
static void on_events(uv_poll_t *handle, int status, int ready)
{
    dynalock_lock_event event;
    dynalock_error error;
    int code = 0;
    (void)handle;
    (void)status;
    (void)ready;
    while ((code = dynalock_next_event(app.store, &event, &error)) == 0 &&
           event.kind != DYNALOCK_LOCK_EVENT_NONE) {
        switch (event.kind) {
        case DYNALOCK_LOCK_EVENT_ACQUIRE: job_acquired(event.context, &event); break;
        case DYNALOCK_LOCK_EVENT_RELEASE: job_released(event.context, &event); break;
        case DYNALOCK_LOCK_EVENT_LOST: job_lost(event.context, &event); break;
        default: break;
        }
    }
    if (code != 0) {
        complain("events", error.message);
        app_stop();
    }
    app_end_if_idle();
}

static void on_timer(uv_timer_t *handle)
{
    (void)handle;
    for (int i = 0; i < app.count; i++) {
        job_work(&app.jobs[i]);
    }
}

static void on_signal(uv_signal_t *handle, int number)
{
    (void)handle;
    (void)number;
    app_stop();
}

static int app_run(uv_loop_t *loop)
{
    dynalock_error error;
    int fd = -1;
    if (dynalock_event_fd(app.store, &fd, &error) != 0) {
        complain("events", error.message);
        return 1;
    }
    int code = uv_poll_init(loop, &app.events, fd);
    if (code != 0) {
        complain("uv_poll_init", uv_strerror(code));
        return 1;
    }
    /* These cannot fail. */
    (void)uv_timer_init(loop, &app.timer);
    (void)uv_signal_init(loop, &app.terminate);
    (void)uv_signal_init(loop, &app.interrupt);
    if ((code = uv_poll_start(&app.events, UV_READABLE, on_events)) != 0 ||
        (code = uv_timer_start(&app.timer, on_timer, PIECE_MS, PIECE_MS)) != 0 ||
        (code = uv_signal_start(&app.terminate, on_signal, SIGTERM)) != 0 ||
        (code = uv_signal_start(&app.interrupt, on_signal, SIGINT)) != 0) {
        complain("libuv", uv_strerror(code));
        app_stop();
    }
    for (int i = 0; i < app.count && !app.stopping; i++) {
        job_wait(&app.jobs[i]);
    }
    (void)uv_run(loop, UV_RUN_DEFAULT);
    return app.failed ? 1 : 0;
}

/* ---- Setting up ---- */

static int jobs_new(char **keys, int count)
{
    dynalock_error error;
    app.jobs = calloc((size_t)count, sizeof *app.jobs);
    if (app.jobs == NULL) {
        complain("jobs", "out of memory");
        return -1;
    }
    for (; app.count < count; app.count++) {
        struct job *job = &app.jobs[app.count];
        const dynalock_lock_options options = {.ttl_ms = 5000, .poll_ms = 1000, .context = job};
        job->key = keys[app.count];
        if (dynalock_lock_new(app.store, job->key, &options, &job->lock, &error) != 0) {
            complain(job->key, error.message);
            return -1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    uv_loop_t *loop = uv_default_loop();
    dynalock_error error;
    int status = 1;
    if (argc < 3) {
        fprintf(stderr, "usage: libuv TABLE KEY...\n");
        return 2;
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    if (loop == NULL) {
        complain("libuv", "no loop could be made");
        return 1;
    }
    if (dynalock_open(argv[1], "locks", NULL, &app.store, &error) != 0) {
        complain(argv[1], error.message);
        return 1;
    }
    if (jobs_new(argv + 2, argc - 2) == 0) {
        status = app_run(loop);
    }
    for (int i = 0; i < app.count; i++) {
        dynalock_lock_free(app.jobs[i].lock);
    }
    free(app.jobs);
    (void)dynalock_close(app.store);
    (void)uv_loop_close(loop);
    return status;
}
