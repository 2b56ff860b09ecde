/* SPDX-License-Identifier: Apache-2.0 */
/* The guardian; see process.h. In the new process nothing but async-signal-safe functions: it may be forked by a
 * program with threads. */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/prctl.h>
#endif

#define GUARDIAN_LOOK_MS 1000 /* at the clock: poll does not count suspended time */
#define GUARDIAN_AGAIN_MS 50
#define GUARDIAN_FILES 1024

struct note {
    int64_t group;
    int64_t deadline_ms;
};

int64_t process_clock_ms(void)
{
    struct timespec now = {0};
#ifdef CLOCK_BOOTTIME
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
#else
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
#endif
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void guardian_kill(const struct note *note)
{
    (void)kill((pid_t)-note->group, SIGKILL);
}

/* Acts on what is known; how long to wait for more. */
static int guardian_act(const struct note *note)
{
    if (note->group <= 0) {
        return -1;
    }
    int64_t left_ms = note->deadline_ms - process_clock_ms();
    if (left_ms <= 0) {
        guardian_kill(note);
        return GUARDIAN_AGAIN_MS;
    }
    return left_ms < GUARDIAN_LOOK_MS ? (int)left_ms : GUARDIAN_LOOK_MS;
}

static void guardian_watch(int fd)
{
    struct note note = {0, 0};
    struct note next;
    struct pollfd ear = {.fd = fd, .events = POLLIN};
    for (;;) {
        /* What has come is read first: it may take back what is to be acted on. */
        int ready = poll(&ear, 1, 0);
        if (ready == 0) {
            ready = poll(&ear, 1, guardian_act(&note));
        }
        ssize_t length = ready > 0 ? read(fd, &next, sizeof next) : 1;
        if (length == 0) {
            break;
        }
        if (length == (ssize_t)sizeof next) {
            note = next;
        }
    }
    if (note.group > 0) {
        guardian_kill(&note);
    }
}

/* It keeps nothing of the program open: neither what others wait to see closed, nor the program's connections. */
static void guardian_main(int fd)
{
    (void)setsid(); /* no signal of a terminal or of a group reaches it */
#ifdef __linux__
    (void)prctl(PR_SET_NAME, "lease-guardian"); /* nor one of pkill dynalock */
#endif
    int null = open("/dev/null", O_RDWR);
    for (int each = 0; each < GUARDIAN_FILES; each++) {
        if (each <= 2 && null >= 0) {
            (void)dup2(null, each);
        } else if (each > 2 && each != fd) {
            (void)close(each);
        }
    }
    guardian_watch(fd);
    _exit(0);
}

bool guardian_start(struct guardian *guardian)
{
    int fds[2];
    if (!process_pipe(fds, false)) {
        return false;
    }
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, &before); /* for good in the new process */
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(fds[1]);
        guardian_main(fds[0]);
    }
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    (void)close(fds[0]);
    if (pid < 0) {
        (void)close(fds[1]);
        return false;
    }
    *guardian = (struct guardian){.pid = pid, .fd = fds[1]};
    return true;
}

bool guardian_tell(const struct guardian *guardian, pid_t group, int64_t deadline_ms)
{
    struct note note = {.group = group, .deadline_ms = deadline_ms};
    return write(guardian->fd, &note, sizeof note) == (ssize_t)sizeof note;
}

bool guardian_has_died(struct guardian *guardian)
{
    if (guardian->pid <= 0 || waitpid(guardian->pid, NULL, WNOHANG) != guardian->pid) {
        return false;
    }
    (void)close(guardian->fd);
    guardian->pid = 0;
    guardian->fd = -1;
    return true;
}

void guardian_end(struct guardian *guardian)
{
    if (guardian->pid > 0) {
        (void)guardian_tell(guardian, 0, 0);
        (void)close(guardian->fd);
        (void)kill(guardian->pid, SIGKILL); /* it may stand still */
        while (waitpid(guardian->pid, NULL, 0) < 0 && errno == EINTR) {
        }
        guardian->pid = 0;
        guardian->fd = -1;
    }
}
