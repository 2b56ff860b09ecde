/* SPDX-License-Identifier: Apache-2.0 */
/* Signals, as bytes from a pipe. */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static const int signals_caught[] = {SIGTERM, SIGINT,  SIGHUP,  SIGQUIT, SIGUSR1,
                                     SIGUSR2, SIGTSTP, SIGCONT, SIGCHLD, SIGPIPE};
#define SIGNALS_COUNT (sizeof signals_caught / sizeof signals_caught[0])

static struct sigaction signals_before[SIGNALS_COUNT];
static sigset_t signals_mask_before;
static int signals_pipe[2] = {-1, -1};
static volatile sig_atomic_t signals_continued;

bool process_pipe(int fds[2], bool blocks)
{
    if (pipe(fds) != 0) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        if (fcntl(fds[i], F_SETFD, FD_CLOEXEC) != 0 ||
            (!blocks && fcntl(fds[i], F_SETFL, O_NONBLOCK) != 0)) {
            (void)close(fds[0]);
            (void)close(fds[1]);
            return false;
        }
    }
    return true;
}

/* A full pipe wakes up, too; a signal that does not fit in has come many thousand times. */
static void signals_write(unsigned char byte)
{
    int saved = errno;
    ssize_t written = write(signals_pipe[1], &byte, 1);
    (void)written;
    errno = saved;
}

/* A SIGPIPE tells nobody: that nobody reads the standard error is no reason to end. */
static void signals_handler(int number)
{
    if (number == SIGCONT) {
        signals_continued = 1;
    }
    if (number != SIGPIPE) {
        signals_write((unsigned char)number);
    }
}

void signals_wake(void)
{
    signals_write(0);
}

int signals_next(void)
{
    unsigned char byte = 0;
    ssize_t length = read(signals_pipe[0], &byte, 1);
    return length == 1 ? byte : -1;
}

bool signals_open(int *fd)
{
    struct sigaction action = {.sa_handler = signals_handler, .sa_flags = SA_RESTART};
    sigset_t blocked;
    (void)sigemptyset(&blocked);
    (void)sigaddset(&blocked, SIGTTOU); /* handing over the terminal must not stop who does it */
    if (!process_pipe(signals_pipe, false) || sigfillset(&action.sa_mask) != 0 ||
        sigprocmask(SIG_BLOCK, &blocked, &signals_mask_before) != 0) {
        return false;
    }
    sigset_t caught;
    (void)sigemptyset(&caught);
    for (size_t i = 0; i < SIGNALS_COUNT; i++) {
        (void)sigaddset(&caught, signals_caught[i]);
        if (sigaction(signals_caught[i], NULL, &signals_before[i]) != 0) {
            return false;
        }
        bool ignored = signals_before[i].sa_handler == SIG_IGN && signals_caught[i] != SIGCHLD;
        if (!ignored && sigaction(signals_caught[i], &action, NULL) != 0) {
            return false;
        }
    }
    *fd = signals_pipe[0];
    return sigprocmask(SIG_UNBLOCK, &caught, NULL) ==
           0; /* who started this may have had them blocked */
}

bool signals_ignored(int number)
{
    for (size_t i = 0; i < SIGNALS_COUNT; i++) {
        if (signals_caught[i] == number) {
            return signals_before[i].sa_handler == SIG_IGN;
        }
    }
    return false;
}

void signals_reset(void)
{
    for (size_t i = 0; i < SIGNALS_COUNT; i++) {
        (void)sigaction(signals_caught[i], &signals_before[i], NULL);
    }
    (void)sigprocmask(SIG_SETMASK, &signals_mask_before, NULL);
}

static void signals_by_default(pid_t whom, int number)
{
    struct sigaction caught;
    struct sigaction by_default = {.sa_handler = SIG_DFL};
    if (sigaction(number, &by_default, &caught) == 0) {
        (void)kill(whom, number);
        (void)sigaction(number, &caught, NULL);
    }
}

/* The rest of a pipeline, and the script that this is part of, had the terminal's signal no more than this process: it
 * goes to the group that has the terminal. */
bool signals_stop(bool job)
{
    signals_continued = 0;
    signals_by_default(job ? 0 : getpid(), SIGTSTP);
    return signals_continued != 0;
}

void signals_die(int number, bool job)
{
    signals_by_default(job ? 0 : getpid(), number);
}
