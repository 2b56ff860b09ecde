/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small DynamoDB in memory: one table, and the requests that the library writes, which it reads strictly. What the
 * service would refuse as badly written ends the fuzzer.
 */
#ifndef FUZZ_SMALL_DYNAMO_H
#define FUZZ_SMALL_DYNAMO_H

#include "../internal.h"

#include <jansson.h>

#include "memory_transport.h"

enum { SMALL_ITEMS = 24 };

struct small_dynamo {
    json_t *items[SMALL_ITEMS]; /* in the order of partition and key, as bytes */
    size_t count;
    size_t page;      /* items of a Query; 0: all */
    bool shows_items; /* with a failed condition */
    bool no_table, wrong_keys, no_ttl, ttl_enabled, ttl_wrong;
    unsigned creating; /* DescribeTable answers CREATING, or that there is none, so often */
    uint64_t writes;   /* that have changed something */
};

struct small_answer {
    int status;
    char *body; /* to be freed */
    bool written;
    bool refused; /* the condition failed */
};

void small_clear(struct small_dynamo *server);
/* Carries the request out. */
void small_do(struct small_dynamo *server, const struct memory_request *request,
              struct small_answer *answer);
/* The item; NULL: there is none. */
const json_t *small_find(const struct small_dynamo *server, const char *partition, const char *key);
/* By other hands: item is taken over. */
void small_put(struct small_dynamo *server, json_t *item);
void small_remove(struct small_dynamo *server, const char *partition, const char *key);

/* Of an item: text NULL, and number as it was, where there is none of that type. */
const char *small_text(const json_t *item, const char *name);
bool small_number(const json_t *item, const char *name, long double *number);

uint32_t small_crc32(const char *bytes, size_t length);

#endif
