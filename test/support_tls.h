/* SPDX-License-Identifier: Apache-2.0 */
/* nginx with TLS in front of a proxy of the rig: certificates of all kinds, and the sites that show them. */
#ifndef TEST_SUPPORT_TLS_H
#define TEST_SUPPORT_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TLS_SITES_MAX 24

/* What a site is to be; what is 0 is as good as can be. */
struct tls_site {
    const char *name;        /* to ask for it by */
    const char *names;       /* that the certificate is for; NULL: "IP:127.0.0.1" */
    const char *authority;   /* who signs it: "ours" (NULL), "stranger", or "self" */
    int64_t from_s, until_s; /* its validity, from now; until_s 0: a day */
    const char *directives;  /* more of nginx */
    int port;                /* of the server behind it; 0: that of the farm */
};

/* One nginx. */
struct tls_farm {
    char folder[32], authority[64], stranger[64]; /* files of certificates to trust */
    const struct tls_site *sites;
    size_t count;
    int listeners[TLS_SITES_MAX], ports[TLS_SITES_MAX];
    pid_t pid;
};

/* Starts it in front of a server without TLS on that port of 127.0.0.1. Ends the program if it cannot. */
void tls_start(struct tls_farm *farm, const struct tls_site *sites, size_t count, int port);
/* New workers for the same sites; the old ones close what is idle. */
void tls_reload(const struct tls_farm *farm);
void tls_end(struct tls_farm *farm);
/* "https://127.0.0.1:PORT" for that host; valid until four more were asked for. */
const char *tls_endpoint(const struct tls_farm *farm, const char *site, const char *host);
/* Writes a file into the farm's folder; returns its path, as tls_endpoint. */
const char *tls_file(const struct tls_farm *farm, const char *name, const char *text);

/* A forward proxy (rig/forward.mjs), and what it was asked for so far, a line each. */
struct forward {
    pid_t pid;
    int in, out;
    char url[40];
    char asked[4096];
};

void forward_start(struct forward *forward);
const char *forward_asked(struct forward *forward);
void forward_end(struct forward *forward);

#endif
