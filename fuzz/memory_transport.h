/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A transport without a network, in the place of transport.c: each request is handed to memory_serve, and answered
 * when, and if, that calls memory_answer. It needs virtual_time.h.
 */
#ifndef FUZZ_MEMORY_TRANSPORT_H
#define FUZZ_MEMORY_TRANSPORT_H

#include "../internal.h"

/* As it was sent; it may be on its way for longer than anybody waits for it. */
struct memory_request {
    struct dlk_lane *lane; /* NULL: nobody waits any more */
    const struct dlk_transport *transport;
    char *operation, *body, *date, *authorization, *token; /* token: NULL: none */
    size_t length;
    int64_t timeout_ms;
    unsigned tag; /* the program's */
    unsigned references;
};

/* What came of it. */
struct memory_answer {
    int result; /* as dlk_exchange.result */
    bool may_have_arrived, connected, resent;
    const char *message;
    int status;
    const char *body;
    size_t length;
    bool has_date, has_crc;
    int64_t date_s;
    uint32_t crc;
    int64_t retry_after_ms;
    const char *request_id;
};

/* The program's. False: there was no memory for a connection. */
bool memory_serve(struct memory_request *request);
void memory_answer(struct memory_request *request, const struct memory_answer *answer);
struct memory_request *memory_ref(struct memory_request *request);
void memory_unref(struct memory_request *request);

unsigned memory_under_way(void); /* exchanges that somebody waits for, or has left under way */
unsigned memory_requests(void);  /* that somebody has a reference to */

#endif
