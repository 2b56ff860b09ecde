/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tests' side of the test rig (rig/main.mjs, where the commands are described).
 *
 * The rig's control port is in the environment variable DYNALOCK_TEST_RIG. A rig that cannot be
 * reached, or that answers "ok": false, ends the test program with a message: only rig_try() and
 * rig_wait() report it.
 *
 * Formats are printf's and make JSON, in which ' stands for ":
 *     rig_fault(r, "'action':'drop','times':%d", 2);
 * What is passed for %s is taken as it stands. A struct rig is for one thread at a time; one
 * thread may open several.
 */
#ifndef DYNALOCK_TEST_RIG_H
#define DYNALOCK_TEST_RIG_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

/* The one pair of keys that the proxies know if they are told no other. */
#define RIG_KEY_ID "AKIDEXAMPLE000000001"
#define RIG_SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define RIG_REGION "us-east-1"

#if defined(__GNUC__)
#define RIG_FORMAT(at) __attribute__((format(printf, at, at + 1)))
#else
#define RIG_FORMAT(at)
#endif

struct rig {
    int fd;
    int proxy;         /* which the calls below are about: the newest, or set it yourself */
    char server[16];   /* which raw, go and table are about: the newest proxy's, or set it */
    char endpoint[40]; /* of the newest proxy: http://127.0.0.1:port */
    char *in;          /* what has come and is not yet taken */
    size_t used, size;
};

bool rig_available(void); /* is there a rig? */
struct rig *rig_open(void);
void rig_close(struct rig *r); /* ends its proxies and Go clients, too; NULL is fine */

/* One command; the members of a JSON object without its braces. The answer is the caller's. */
json_t *rig(struct rig *r, const char *format, ...) RIG_FORMAT(2);
/* As rig(), but an "ok": false comes back as it is. */
json_t *rig_try(struct rig *r, const char *format, ...) RIG_FORMAT(2);
/* As rig(), for a command that needs the proxy: 'proxy' is put in, the answer is dropped. */
void rig_do(struct rig *r, const char *format, ...) RIG_FORMAT(2);

/* A new proxy before server ("local", "dynalite"), with settings ("'skew_ms':600000") or NULL.
 * Returns r->endpoint. */
const char *rig_proxy_new(struct rig *r, const char *server, const char *settings);
/* A table with a name of its own, in r->server; the caller's to free. */
char *rig_table(struct rig *r);

/* Requests of an operation (NULL: all) that came; connections accepted; violations, which are
 * printed too. */
int rig_count(struct rig *r, const char *op);
int rig_total(struct rig *r);
int rig_connections(struct rig *r);
int rig_violations(struct rig *r);
void rig_reset_counts(struct rig *r);
json_t *rig_log(struct rig *r, const char *op); /* array, oldest first */

void rig_fault(struct rig *r, const char *format, ...) RIG_FORMAT(2);
void rig_clear_faults(struct rig *r);
int rig_let_go(struct rig *r); /* how many were held */
/* Until count requests of op (NULL: any) have "arrived", been "held", "forwarded", "answered" or
 * "finished"; false: not in that time. */
bool rig_wait(struct rig *r, const char *op, const char *state, int count, int timeout_ms);

/* An operation straight on r->server; input in DynamoDB JSON. The answer has "result", or "error",
 * "message" and perhaps "item". */
json_t *rig_raw(struct rig *r, const char *op, const char *format, ...) RIG_FORMAT(3);
/* The item as it is in the table, or NULL. */
json_t *rig_item(struct rig *r, const char *table, const char *partition, const char *key);
/* A call of the Go library: rig_go(r, table, "Lock", "'call':'lock','key':'a','ttl':20"). */
json_t *rig_go(struct rig *r, const char *table, const char *partition, const char *format, ...)
    RIG_FORMAT(4);

#endif
