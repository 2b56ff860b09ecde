/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP server in a thread of the test program, on a free port of 127.0.0.1: for tests that ask thousands of times, or
 * that have no rig. None of its own calls is made fail by support_fail.h.
 */
#ifndef TEST_SUPPORT_SERVER_H
#define TEST_SUPPORT_SERVER_H

#include <stdbool.h>
#include <stddef.h>

struct server_request {
    const char *head; /* the request line and the headers, NUL behind */
    const char *body;
    size_t length;
};

struct server_answer {
    int status;   /* 200, if it is not set */
    char *body;   /* from malloc, taken by the server; NULL: none */
    bool is_held; /* it is sent when server_let_go is called */
    bool closes;  /* the connection is closed behind it */
};

/* Called on the server's thread, one at a time. */
typedef void (*server_fn)(const struct server_request *request, struct server_answer *answer,
                          void *context);

struct server;

struct server *server_start(server_fn serve, void *context);
void server_end(struct server *server);
const char *server_endpoint(const struct server *server); /* "http://127.0.0.1:PORT" */

/* Until so many answers have been held; false: not within that time. */
bool server_await_held(struct server *server, int count, int timeout_ms);
void server_let_go(struct server *server);

/* Closes all connections; those that ask next make new ones. */
void server_disconnect(struct server *server);

/* The value of a header, or of what else ends with the line, behind that text; "": there is none. */
void server_find(const struct server_request *request, const char *name, char *value, size_t size);

#endif
