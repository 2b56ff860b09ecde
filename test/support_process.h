/* SPDX-License-Identifier: Apache-2.0 */
/* Other servers than the rig's, each a process of its own (rig/odd.mjs), and certificates for them. */
#ifndef TEST_SUPPORT_PROCESS_H
#define TEST_SUPPORT_PROCESS_H

#include <sys/types.h>

struct process {
    pid_t pid;
    int in; /* its standard input: it ends when this is closed */
    char endpoint[40];
};

/* A server of that kind; over TLS with a key and a certificate (files), without if they are NULL. */
struct process process_start(const char *kind, const char *key, const char *certificate);
void process_end(struct process *process);

/* Writes a new key and a certificate for it, signed by itself, for "127.0.0.1" or a DNS name. */
void process_certificate(const char *key, const char *certificate, const char *name);

#endif
