/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One of several candidates does the work: this program waits for a lock, works as long as it holds it, and lets it
 * go on SIGTERM or SIGINT. Start it twice: the second waits for the first.
 *
 * usage: lock KEY [TABLE]
 *
 * Region, endpoint and credentials come from the environment. The table (default: dynalock-demo) must be there.
 */
#define _POSIX_C_SOURCE 200809L

#include <dynalock.h>

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static int stop_pipe[2];

static void on_signal(int number)
{
    (void)number;
    (void)!write(stop_pipe[1], "", 1); /* of what it may do, a signal handler needs no more */
}

static int catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigemptyset(&action.sa_mask);
    if (pipe(stop_pipe) != 0 || fcntl(stop_pipe[1], F_SETFL, O_NONBLOCK) != 0) {
        return -1;
    }
    return sigaction(SIGTERM, &action, NULL) != 0 || sigaction(SIGINT, &action, NULL) != 0 ? -1 : 0;
}

static int fail(const dynalock_error *error)
{
    fprintf(stderr, "%s\n", error->message);
    return error->code;
}

/* Works in small pieces until it is told to stop, or may not go on. */
static int work(dynalock_lock *lock)
{
    dynalock_error error;
    int lost_fd = -1;
    if (dynalock_lock_lost_fd(lock, &lost_fd, &error) != 0) {
        return fail(&error);
    }
    struct pollfd fds[] = {{.fd = stop_pipe[0], .events = POLLIN},
                           {.fd = lost_fd, .events = POLLIN}};
    for (;;) {
        /* A piece takes half a second at the most: begin it only if the lease lasts longer. */
        if (dynalock_lock_ensure(lock, 500, &error) != 0) {
            return fail(&error);
        }
        if (poll(fds, 2, 200) > 0 && fds[0].revents != 0) { /* stands for a piece of work */
            return 0;
        }
    }
}

static int lock_and_work(dynalock_store *store, const char *key)
{
    dynalock_lock *lock = NULL;
    dynalock_error error;
    const dynalock_lock_options options = {.ttl_ms = 5000, .poll_ms = 1000};
    if (dynalock_lock_new(store, key, &options, &lock, &error) != 0) {
        return fail(&error);
    }
    printf("waiting for %s\n", key);
    int code = dynalock_lock_acquire(lock, stop_pipe[0], -1, &error);
    if (code == 0) {
        /* Where work that comes too late would do harm, the token goes with it. */
        printf("locked, token %" PRId64 "\n", dynalock_lock_token(lock));
        code = work(lock);
        if (dynalock_lock_release(lock, &error) == 0) {
            printf("released\n");
        } else {
            code = fail(&error);
        }
    } else if (code == DYNALOCK_ERR_CANCELLED) {
        printf("stopped while waiting\n");
        code = 0;
    } else {
        code = fail(&error);
    }
    dynalock_lock_free(lock);
    return code;
}

int main(int argc, char **argv)
{
    dynalock_store *store = NULL;
    dynalock_error error;
    if (argc < 2) {
        fprintf(stderr, "usage: lock KEY [TABLE]\n");
        return 2;
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    if (catch_signals() != 0) {
        perror("lock");
        return 1;
    }
    int code = dynalock_open(argc > 2 ? argv[2] : "dynalock-demo", "locks", NULL, &store, &error);
    if (code != 0) {
        return fail(&error) != 0;
    }
    code = lock_and_work(store, argv[1]);
    (void)dynalock_close(store);
    return code != 0;
}
