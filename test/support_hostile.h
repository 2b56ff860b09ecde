/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server that means harm: a thread of the test program, which takes any number of connections and answers what it
 * is told to, byte for byte: as DynamoDB would, or with endless, slow or absurd things.
 */
#ifndef TEST_SUPPORT_HOSTILE_H
#define TEST_SUPPORT_HOSTILE_H

#include "support.h"

#define HOSTILE_ID "x-amzn-RequestId: HOSTILE\r\n"
#define HOSTILE_OK "HTTP/1.1 200 OK\r\n" HOSTILE_ID

/* What is sent for a request. The texts live for as long as the server. */
struct hostile_answer {
    const char *what;   /* for people */
    const char *head;   /* sent as it stands */
    size_t head_length; /* 0: that of the text */
    const char *part;   /* and then this, again and again */
    long times;         /* -1: without end */
    int pause_ms;       /* before each part */
    bool end;           /* then the connection is closed; else it waits for another request */
};

struct hostile;

/* Whether `request`, a whole one, is answered by the text in *answer (the caller's to free), or (NULL) as else.
 * operation: "GetItem"; or "GET /path" of what is no request to DynamoDB. Called on the server's thread. */
typedef char *(*hostile_fn)(const char *operation, const char *request, int number, void *context);

struct hostile *hostile_start(void);
void hostile_end(struct hostile *h);
const char *hostile_endpoint(const struct hostile *h); /* "http://127.0.0.1:8000" */
/* What the operation (NULL: any) is answered with from now on; answer NULL: as DynamoDB would. */
void hostile_set(struct hostile *h, const char *operation, const struct hostile_answer *answer);
void hostile_choose(struct hostile *h, hostile_fn choose, void *context); /* asked first */
/* A whole answer with that body, and the time of now as Date. */
char *hostile_text(int status, const char *body);
int hostile_requests(struct hostile *h, const char *operation); /* NULL: all */
/* The newest request of the operation (NULL: any), the caller's to free; NULL: none came. */
char *hostile_request(struct hostile *h, const char *operation);

/* A store at the server, with one attempt an operation, and short times. */
dynalock_store *hostile_open(const struct hostile *h, const dynalock_options *options);

/* The greatest memory that this process has had so far. */
long peak_kb(void);

#endif
