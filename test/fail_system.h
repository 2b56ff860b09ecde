/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Included by the one file of a program whose failures shall reach further: what libcurl and the system's libraries ask
 * of the system. These are definitions: in a library they would be taken in the place of the system's by programs that
 * know nothing of them.
 */
#ifndef TEST_FAIL_SYSTEM_H
#define TEST_FAIL_SYSTEM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* RTLD_NEXT */
#endif

#include "support_fail.h"

#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

#define FAIL_INTERPOSE(type, name, parameters, arguments, failure) \
    __attribute__((visibility("default"))) type name parameters    \
    {                                                              \
        static type(*next) parameters;                             \
        if (next == NULL) {                                        \
            *(void **)&next = dlsym(RTLD_NEXT, #name);             \
        }                                                          \
        return fail_now(#name) ? (failure) : next arguments;       \
    }

static inline int fail_system_with(int why)
{
    errno = why;
    return -1;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic" /* glibc declares addresses as a union of pointers */

FAIL_INTERPOSE(int, connect, (int fd, const struct sockaddr *address, socklen_t length),
               (fd, address, length), fail_system_with(ENOBUFS))
FAIL_INTERPOSE(ssize_t, send, (int fd, const void *bytes, size_t length, int flags),
               (fd, bytes, length, flags), fail_system_with(ENOBUFS))
FAIL_INTERPOSE(ssize_t, recv, (int fd, void *bytes, size_t length, int flags),
               (fd, bytes, length, flags), fail_system_with(ENOBUFS))
FAIL_INTERPOSE(int, socketpair, (int domain, int type, int protocol, int fds[2]),
               (domain, type, protocol, fds), fail_system_with(EMFILE))
FAIL_INTERPOSE(int, getpeername, (int fd, struct sockaddr *address, socklen_t *length),
               (fd, address, length), fail_system_with(ENOBUFS))
FAIL_INTERPOSE(int, getsockopt, (int fd, int level, int option, void *value, socklen_t *length),
               (fd, level, option, value, length), fail_system_with(ENOBUFS))
FAIL_INTERPOSE(int, setsockopt,
               (int fd, int level, int option, const void *value, socklen_t length),
               (fd, level, option, value, length), fail_system_with(ENOBUFS))

#pragma GCC diagnostic pop

#endif
