/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks in an event loop, here epoll's: one thread waits for any number of locks at once, works on what it holds, and
 * is told of what it loses. SIGTERM or SIGINT ends it: what waits is cancelled, what is held is released. Start it twice:
 * the second waits for the first. With a library's loop: libuv.c.
 *
 * usage: epoll TABLE KEY...
 *
 * Region, endpoint and credentials come from the environment. The table must be there.
 */
#define _GNU_SOURCE

#include <dynalock.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

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
    int loop, events, timer, signals; /* descriptors */
};

static struct app app = {.loop = -1, .events = -1, .timer = -1, .signals = -1};

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

static void app_stop(void)
{
    if (!app.stopping) {
        app.stopping = true;
        for (int i = 0; i < app.count; i++) {
            job_stop(&app.jobs[i]);
        }
    }
}

/* Takes all that there is to tell. */
static int on_events(void)
{
    dynalock_lock_event event;
    dynalock_error error;
    int code = 0;
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
    }
    return code;
}

static void on_timer(void)
{
    uint64_t times = 0;
    if (read(app.timer, &times, sizeof times) == (ssize_t)sizeof times) {
        for (int i = 0; i < app.count; i++) {
            job_work(&app.jobs[i]);
        }
    }
}

static void on_signal(void)
{
    struct signalfd_siginfo info;
    if (read(app.signals, &info, sizeof info) == (ssize_t)sizeof info) {
        app_stop();
    }
}

static int app_run(void)
{
    struct epoll_event ready[8];
    for (int i = 0; i < app.count && !app.stopping; i++) {
        job_wait(&app.jobs[i]);
    }
    while (!app.stopping || app.busy > 0) {
        int count = epoll_wait(app.loop, ready, sizeof ready / sizeof *ready, -1);
        if (count < 0 && errno != EINTR) {
            perror("epoll");
            return -1;
        }
        for (int i = 0; i < count; i++) {
            int fd = ready[i].data.fd;
            if (fd == app.timer) {
                on_timer();
            } else if (fd == app.signals) {
                on_signal();
            } else if (on_events() != 0) {
                return -1;
            }
        }
    }
    return app.failed ? -1 : 0;
}

/* ---- Setting up ---- */

static int watch(int fd)
{
    struct epoll_event wanted = {.events = EPOLLIN, .data = {.fd = fd}};
    return fd < 0 ? -1 : epoll_ctl(app.loop, EPOLL_CTL_ADD, fd, &wanted);
}

static int app_open(const sigset_t *signals)
{
    const struct itimerspec often = {{0, PIECE_MS * 1000000L}, {0, PIECE_MS * 1000000L}};
    dynalock_error error;
    if (dynalock_event_fd(app.store, &app.events, &error) != 0) {
        complain("events", error.message);
        return -1;
    }
    app.loop = epoll_create1(EPOLL_CLOEXEC);
    app.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    app.signals = signalfd(-1, signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (app.loop < 0 || watch(app.events) != 0 || watch(app.timer) != 0 ||
        watch(app.signals) != 0 || timerfd_settime(app.timer, 0, &often, NULL) != 0) {
        perror("epoll");
        return -1;
    }
    return 0;
}

/* The descriptor of the events is the store's: it leaves the loop before dynalock_close. */
static void app_close(void)
{
    const int fds[] = {app.loop, app.timer, app.signals};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    for (int i = 0; i < app.count; i++) {
        dynalock_lock_free(app.jobs[i].lock);
    }
    free(app.jobs);
    (void)dynalock_close(app.store);
}

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
    dynalock_error error;
    sigset_t signals;
    if (argc < 3) {
        fprintf(stderr, "usage: epoll TABLE KEY...\n");
        return 2;
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    if (sigprocmask(SIG_BLOCK, &signals, NULL) != 0) {
        perror("epoll");
        return 1;
    }
    if (dynalock_open(argv[1], "locks", NULL, &app.store, &error) != 0) {
        complain(argv[1], error.message);
        return 1;
    }
    bool done = jobs_new(argv + 2, argc - 2) == 0 && app_open(&signals) == 0 && app_run() == 0;
    app_close();
    return done ? 0 : 1;
}
