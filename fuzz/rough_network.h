/* SPDX-License-Identifier: Apache-2.0 */
/* The way between memory_transport.h and small_dynamo.h, on which anything may happen. */
#ifndef FUZZ_ROUGH_NETWORK_H
#define FUZZ_ROUGH_NETWORK_H

#include "memory_transport.h"
#include "small_dynamo.h"
#include "virtual_time.h"

/* What becomes of an exchange. */
enum rough_kind {
    ROUGH_GOOD,         /* argument: milliseconds each way */
    ROUGH_SLOW_REQUEST, /* argument: tenths of a second */
    ROUGH_SLOW_ANSWER,  /* the same */
    ROUGH_LOST_REQUEST, /* nothing comes: it times out */
    ROUGH_LOST_ANSWER,  /* the same, but it is carried out */
    ROUGH_UNREACHABLE,  /* not sent */
    ROUGH_RESET_BEFORE, /* sent, perhaps; the connection breaks */
    ROUGH_RESET_AFTER,  /* the same, but it is carried out */
    ROUGH_TWICE,        /* libcurl sends it again; carried out twice */
    ROUGH_COPY,      /* libcurl sends it again; the first is carried out argument seconds later */
    ROUGH_LATE,      /* the connection breaks; carried out argument seconds later */
    ROUGH_THROTTLED, /* refused, not carried out */
    ROUGH_FAILED_BEFORE,  /* HTTP status 500 or so, not carried out */
    ROUGH_FAILED_AFTER,   /* the same, but it is carried out */
    ROUGH_PORTAL,         /* a page of somebody else's, with a Date of any kind */
    ROUGH_GATEWAY_BEFORE, /* 502 and its like, in HTML */
    ROUGH_GATEWAY_AFTER,
    ROUGH_WRONG_CRC, /* carried out */
    ROUGH_CUT,       /* carried out; the answer is not whole */
    ROUGH_REFUSED,   /* for a reason that stays, or that new credentials would mend */
    ROUGH_NO_MEMORY, /* for a connection */
    ROUGH_TLS,
    /* From here on the server is not to be believed any more. */
    ROUGH_NO_DATE,    /* carried out, answered without a Date */
    ROUGH_WRONG_DATE, /* carried out; argument: by how much */
    ROUGH_RAW,        /* the program's own answer */
    ROUGH_KINDS
};

struct rough_fate {
    uint8_t kind, argument;
};

struct rough_network {
    struct small_dynamo *server;
    int64_t epoch_us;  /* the server's time at the start */
    int64_t cached_us; /* Date is that of so long ago; 50 ms at the most */
    bool dateless;     /* no answer has a Date */
    unsigned tag;      /* of the requests that are sent now */
    uint64_t sent;
    /* The program's; any may be NULL. */
    struct rough_fate (*fate)(const struct memory_request *request);
    void (*before)(const struct memory_request *request);
    void (*carried_out)(const struct memory_request *request, const struct small_answer *answer);
    void (*raw)(struct memory_answer *answer); /* fills it in; the body is to be freed */
};

extern struct rough_network rough;

/* With FUZZ_TRACE in the environment, what happens is told on standard error, with the time in seconds. */
void rough_tell(const char *format, ...) DLK_PRINTF(1, 2);

int64_t rough_server_us(void);
unsigned rough_on_the_way(void); /* requests that may be carried out yet */

#endif
