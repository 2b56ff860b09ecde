/* SPDX-License-Identifier: Apache-2.0 */
/*
 * To be preloaded: counts how often a program's threads find a mutex taken and how long they wait for it, and
 * how often one polls, sends or receives with a mutex of its own held (glibc).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

struct bench_mutexes {
    unsigned long locked, contended, wait_ns, under_io;
};
void bench_mutexes_read(struct bench_mutexes *counts);

static atomic_ulong locked, contended, wait_ns, under_io;
static __thread int held;

static struct {
    int (*lock)(pthread_mutex_t *mutex);
    int (*trylock)(pthread_mutex_t *mutex);
    int (*unlock)(pthread_mutex_t *mutex);
    int (*poll)(struct pollfd *fds, nfds_t count, int timeout);
    ssize_t (*send)(int fd, const void *bytes, size_t length, int flags);
    ssize_t (*recv)(int fd, void *bytes, size_t length, int flags);
} real;

static void find(void *function, const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    memcpy(function, &found, sizeof found);
}

__attribute__((constructor)) static void find_all(void)
{
    find(&real.trylock, "pthread_mutex_trylock");
    find(&real.unlock, "pthread_mutex_unlock");
    find(&real.poll, "poll");
    find(&real.send, "send");
    find(&real.recv, "recv");
    find(&real.lock, "pthread_mutex_lock"); /* last: the others are there once it is */
}

static unsigned long now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (unsigned long)now.tv_sec * 1000000000UL + (unsigned long)now.tv_nsec;
}

void bench_mutexes_read(struct bench_mutexes *counts)
{
    *counts = (struct bench_mutexes){locked, contended, wait_ns, under_io};
}

int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    if (real.lock == NULL) {
        find_all();
    }
    int result = real.trylock(mutex);
    if (result == EBUSY) {
        unsigned long start = now_ns();
        result = real.lock(mutex);
        wait_ns += now_ns() - start;
        contended++;
    }
    locked++;
    held++;
    return result;
}

int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    if (real.lock == NULL) {
        find_all();
    }
    held--;
    return real.unlock(mutex);
}

int poll(struct pollfd *fds, nfds_t count, int timeout)
{
    under_io += held > 0 && timeout != 0;
    return real.poll(fds, count, timeout);
}

ssize_t send(int fd, const void *bytes, size_t length, int flags)
{
    under_io += held > 0;
    return real.send(fd, bytes, length, flags);
}

ssize_t recv(int fd, void *bytes, size_t length, int flags)
{
    under_io += held > 0;
    return real.recv(fd, bytes, length, flags);
}
