/* SPDX-License-Identifier: Apache-2.0 */
/* The operating system: clocks, entropy, waking a thread, SIGPIPE, fork. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <time.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#endif

/* libcurl with OpenSSL needs well under 100 KB; the rest is room for callbacks. */
#define OS_STACK_SIZE ((size_t)512 * 1024)

static int64_t os_clock_us(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now) != 0) {
        return 0;
    }
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t os_boot_us(void *context)
{
    (void)context;
#ifdef CLOCK_BOOTTIME
    return os_clock_us(CLOCK_BOOTTIME);
#else
    return os_clock_us(
        CLOCK_MONOTONIC); /* on macOS, and the BSDs' CLOCK_MONOTONIC, this counts sleep */
#endif
}

static int64_t os_real_us(void *context)
{
    (void)context;
    return os_clock_us(CLOCK_REALTIME);
}

struct dlk_clock dlk_system_clock(void)
{
    return (struct dlk_clock){os_boot_us, os_real_us, NULL};
}

int dlk_random(void *bytes, size_t length)
{
    unsigned char *to = bytes;
    while (length > 0) {
#ifdef __linux__
        ssize_t got = getrandom(to, length, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
#else
        ssize_t got = getentropy(to, length > 256 ? 256 : length) == 0
                          ? (ssize_t)(length > 256 ? 256 : length)
                          : -1;
#endif
        if (got <= 0) {
            return DYNALOCK_ERR_SYSTEM;
        }
        to += got;
        length -= (size_t)got;
    }
    return 0;
}

uint64_t dlk_random_below(uint64_t bound)
{
    uint64_t number = 0;
    if (bound == 0 || dlk_random(&number, sizeof number) != 0) {
        return 0;
    }
    return number % bound;
}

static atomic_uint os_generation;

static void os_count_fork(void)
{
    atomic_fetch_add(&os_generation, 1);
}

static void os_watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, os_count_fork);
}

unsigned dlk_fork_generation(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, os_watch_forks);
    return atomic_load(&os_generation);
}

#ifndef __linux__
static int os_set_flags(int fd)
{
    return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0 ? 0 : -1;
}
#endif

static struct dlk_identity os_identity(int fd)
{
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0) {
        return (struct dlk_identity){false, 0, 0};
    }
    return (struct dlk_identity){true, status.st_dev, status.st_ino};
}

/* Whether it still is what was made here: the host may have closed it, and the number may be that of
 * a socket or a file by now, which is not to be written to, nor to be closed. */
static bool os_is_ours(int fd, const struct dlk_identity *made)
{
    struct dlk_identity now = os_identity(fd);
    return now.is_open && made->is_open && now.device == made->device && now.inode == made->inode;
}

static void os_close(int fd, const struct dlk_identity *made)
{
    if (os_is_ours(fd, made)) {
        (void)close(fd);
    }
}

bool dlk_wake_works(const struct dlk_wake *wake)
{
    return os_is_ours(wake->read_fd, &wake->read_identity);
}

bool dlk_alarm_works(const struct dlk_alarm *alarm)
{
    return alarm->fd < 0 || os_is_ours(alarm->fd, &alarm->identity);
}

int dlk_wake_open(struct dlk_wake *wake)
{
#ifdef __linux__
    wake->read_fd = wake->write_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    wake->read_identity = wake->write_identity = os_identity(wake->read_fd);
    return wake->read_fd >= 0 ? 0 : DYNALOCK_ERR_SYSTEM;
#else
    int fds[2];
    if (pipe(fds) != 0) {
        wake->read_fd = wake->write_fd = -1;
        return DYNALOCK_ERR_SYSTEM;
    }
    wake->read_fd = fds[0];
    wake->write_fd = fds[1];
    wake->read_identity = os_identity(fds[0]);
    wake->write_identity = os_identity(fds[1]);
    if (os_set_flags(fds[0]) != 0 || os_set_flags(fds[1]) != 0) {
        dlk_wake_close(wake);
        return DYNALOCK_ERR_SYSTEM;
    }
    return 0;
#endif
}

void dlk_wake_close(struct dlk_wake *wake)
{
    if (wake->write_fd != wake->read_fd) {
        os_close(wake->write_fd, &wake->write_identity);
    }
    os_close(wake->read_fd, &wake->read_identity);
    wake->read_fd = wake->write_fd = -1;
}

void dlk_wake_up(const struct dlk_wake *wake)
{
    static const uint64_t one = 1;
    ssize_t written = 0;
    if (!os_is_ours(wake->write_fd, &wake->write_identity)) {
        return;
    }
    do {
        written = write(wake->write_fd, &one, sizeof one);
    } while (written < 0 && errno == EINTR);
    /* EAGAIN: it is readable already. */
}

void dlk_wake_drain(const struct dlk_wake *wake)
{
    uint64_t bytes[32];
    ssize_t got = 0;
    if (!os_is_ours(wake->read_fd, &wake->read_identity)) {
        return;
    }
    do {
        got = read(wake->read_fd, bytes, sizeof bytes);
    } while (got == (ssize_t)sizeof bytes || (got < 0 && errno == EINTR));
}

int dlk_alarm_open(struct dlk_alarm *alarm)
{
#ifdef __linux__
    alarm->fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    alarm->identity = os_identity(alarm->fd);
    return alarm->fd >= 0 ? 0 : DYNALOCK_ERR_SYSTEM;
#else
    alarm->fd = -1;
    return 0;
#endif
}

void dlk_alarm_close(struct dlk_alarm *alarm)
{
    os_close(alarm->fd, &alarm->identity);
    alarm->fd = -1;
}

void dlk_alarm_set(const struct dlk_alarm *alarm, int64_t delay_us)
{
#ifdef __linux__
    struct itimerspec when = {{0, 0}, {0, 0}};
    if (delay_us >= 0) {
        when.it_value.tv_sec = (time_t)(delay_us / 1000000);
        when.it_value.tv_nsec = (long)(delay_us % 1000000) * 1000;
        if (delay_us == 0) {
            when.it_value.tv_nsec = 1; /* 0 would disarm it */
        }
    }
    (void)timerfd_settime(alarm->fd, 0, &when, NULL);
#else
    (void)alarm;
    (void)delay_us;
#endif
}

int dlk_wait_readable(const int *fds, size_t count, int64_t timeout_ms)
{
    struct pollfd polled[4];
    nfds_t used = 0;
    for (; used < count && used < 4; used++) {
        polled[used] = (struct pollfd){fds[used], POLLIN, 0}; /* poll leaves out negative ones */
    }
    int timeout = timeout_ms < 0 ? -1 : timeout_ms > INT_MAX ? INT_MAX : (int)timeout_ms;
    if (poll(polled, used, timeout) > 0) {
        for (nfds_t i = 0; i < used; i++) {
            if (polled[i].revents != 0) {
                return (int)i;
            }
        }
    }
    return -1;
}

int dlk_thread_start(pthread_t *thread, void *(*run)(void *), void *context)
{
    pthread_attr_t attributes;
    sigset_t all;
    sigset_t before;
    if (pthread_attr_init(&attributes) != 0) {
        return DYNALOCK_ERR_SYSTEM;
    }
    int failed = pthread_attr_setstacksize(&attributes, OS_STACK_SIZE);
    (void)sigfillset(&all);
    if (failed == 0) {
        failed = pthread_sigmask(SIG_SETMASK, &all, &before);
    }
    if (failed == 0) {
        failed = pthread_create(thread, &attributes, run, context);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    (void)pthread_attr_destroy(&attributes);
    return failed == 0 ? 0 : DYNALOCK_ERR_SYSTEM;
}

static void os_sigpipe_set(sigset_t *set)
{
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGPIPE);
}

void dlk_sigpipe_hold(struct dlk_sigpipe *state)
{
    sigset_t pipe_only;
    sigset_t before;
    os_sigpipe_set(&pipe_only);
    (void)pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
    state->was_blocked = sigismember(&before, SIGPIPE) == 1;
    state->was_pending = false;
    if (state->was_blocked) {
        sigset_t pending;
        state->was_pending = sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
    }
}

void dlk_sigpipe_release(const struct dlk_sigpipe *state)
{
    sigset_t pipe_only;
    sigset_t pending;
    os_sigpipe_set(&pipe_only);
    if (!state->was_pending && sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1) {
#ifdef __APPLE__
        int taken = 0;
        (void)sigwait(&pipe_only, &taken);
#else
        static const struct timespec at_once = {0, 0};
        (void)sigtimedwait(&pipe_only, NULL, &at_once); /* another thread may have been quicker */
#endif
    }
    if (!state->was_blocked) {
        (void)pthread_sigmask(SIG_UNBLOCK, &pipe_only, NULL);
    }
}
