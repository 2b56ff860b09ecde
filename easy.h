/* SPDX-License-Identifier: Apache-2.0 */
/* What the two users of libcurl, transport.c and http.c, share. */
#ifndef DYNALOCK_EASY_H
#define DYNALOCK_EASY_H

#include "internal.h"

#include <curl/curl.h>

/* A multi handle whose descriptors are close-on-exec; NULL: no memory. */
CURLM *dlk_easy_multi(void);
/* Sets what no request may be without: TLS from 1.2 on, verified (by ca_file; NULL: libcurl's own
 * certificates), HTTP 1.1, no redirects, no signals, no waiting for a name resolution that hangs. */
bool dlk_easy_set(CURL *easy, const char *url, const char *ca_file);
curl_socket_t dlk_easy_socket(const struct curl_sockaddr *address); /* close-on-exec */
/* If the line is that header, its value without white space around it, in value. */
bool dlk_easy_header(const char *line, size_t length, const char *name, char *value, size_t size);
/* 0 or DYNALOCK_ERR_NETWORK, _TLS, _TIMEOUT, _BAD_RESPONSE, _MEMORY. */
int dlk_easy_result(CURL *easy, CURLcode code);

/* Whether sending may raise SIGPIPE: libcurl itself uses MSG_NOSIGNAL, and gives OpenSSL's records the
 * same way since 7.87. */
bool dlk_easy_may_raise_sigpipe(void);

#endif
