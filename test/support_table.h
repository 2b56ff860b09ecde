/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of DynamoDB's in memory, at a server of the program's own: as much of the service as the library's requests
 * need, and no signature is looked at. A request costs a fraction of what it costs with a real server, and nothing else
 * is to be started: for tests that make thousands.
 */
#ifndef TEST_SUPPORT_TABLE_H
#define TEST_SUPPORT_TABLE_H

#include "../dynalock.h"

#include <jansson.h>
#include <stdbool.h>

struct table;

struct table *table_start(void);
void table_end(struct table *table);
const char *table_endpoint(const struct table *table);

/* Options for a store there. */
dynalock_options table_options(const struct table *table);
/* A store there, in the one partition that the table looks at; options NULL: table_options. */
dynalock_store *table_open(const struct table *table, const dynalock_options *options);

/* A key that none has had, "k17"; valid until 64 more were asked for. */
const char *table_key(struct table *table);
/* Members are JSON with ' for ", id and name are put in. */
void table_put(struct table *table, const char *key, const char *members);
void table_remove(struct table *table, const char *key);
/* The item; NULL: none. The caller's. */
json_t *table_item(struct table *table, const char *key);
bool table_has(struct table *table, const char *key);
void table_drop(struct table *table, bool is_gone); /* the table itself is not there, or is again */

/* Requests of an operation since the last reset; NULL: of those that write. */
int table_count(struct table *table, const char *operation);
void table_reset(struct table *table);

/* The next request of the operation is done, but its answer held until table_let_go. */
void table_hold(struct table *table, const char *operation);
bool table_await_held(struct table *table, int timeout_ms);
void table_let_go(struct table *table);
/* All connections are closed. */
void table_disconnect(struct table *table);

#endif
