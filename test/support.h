/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the test programs share: a server, a proxy of the rig before it and a table of their own; a
 * store at the proxy; log events kept to look at; checks that print the library's message.
 *
 *     static void test_something(void **state)
 *     {
 *         struct bench *b = *state;
 *         const char *key = bench_key(b);
 *
 *         check(dynalock_put(b->store, key, dynalock_none(), NULL, &failure), DYNALOCK_OK);
 *     }
 *     ... cmocka_unit_test_setup_teardown(test_something, bench_clear, bench_violations) ...
 *     return cmocka_run_group_tests(tests, bench_setup, bench_teardown);
 *
 * cmocka's asserts, and check(), end a test by longjmp: call them on the test's own thread only.
 */
#ifndef TEST_SUPPORT_H
#define TEST_SUPPORT_H

#include "../dynalock.h"
#include "rig.h"

#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* "local" or "dynalite": DYNALOCK_TEST_SERVER; dynalite if it is not set. */
const char *test_server(void);
bool test_is_local(void);
int64_t monotonic_ms(void);
void sleep_ms(int64_t ms);

/* ---- A bench: one per program, or one per thread --------------------------------------------- */

struct bench {
    struct rig *rig; /* its proxy is the newest made by this rig */
    char *table;
    char partition[40];      /* unique to this bench */
    dynalock_store *store;   /* at the proxy */
    dynalock_store *direct;  /* at a second proxy that has no faults; made when first asked for */
    int proxy, direct_proxy; /* of the two stores */
    char endpoint[40], direct_endpoint[40];
    struct capture *events; /* of store */
};

struct bench *bench_new(void);
void bench_free(struct bench *b); /* also ends when the store is closed (set to NULL) already */

/* For cmocka: *state is a struct bench. */
int bench_setup(void **state);
int bench_teardown(void **state);
int bench_clear(void **state);      /* before a test: no faults, counts, violations or events */
int bench_violations(void **state); /* after a test: fails if the proxy saw a violation */

/* A key that no other test has, "k<pid>-<n>"; valid until 64 more were asked for. */
const char *bench_key(struct bench *b);

/* Options for a store at the bench's proxy, with the rig's keys and no log. */
dynalock_options bench_options(const struct bench *b);
/* Another store of the bench's table and partition at its proxy; options NULL: bench_options. */
dynalock_store *bench_open(struct bench *b, const dynalock_options *options);
/* Another client without faults, and not counted: bench->direct. */
dynalock_store *bench_direct(struct bench *b);

/* The requests that the proxy saw since the last bench_reset. op NULL: of all operations. */
int bench_count(struct bench *b, const char *op);
void bench_reset(struct bench *b);

/* The item as it is in the table; NULL: none. The caller's. */
json_t *bench_item(struct bench *b, const char *key);
/* The text of attribute.type in an item; NULL: not there. Borrowed from item. */
const char *item_text(const json_t *item, const char *attribute, const char *type);
int64_t item_number(const json_t *item, const char *attribute); /* fails the test if it is none */
/* Writes an item straight to the server; members are JSON with ' for ", id and name are put in. */
void bench_put_item(struct bench *b, const char *key, const char *format, ...) RIG_FORMAT(3);
void bench_delete_item(struct bench *b, const char *key);

/* ---- Log events ------------------------------------------------------------------------------ */

struct captured {
    int id, code, cause, http_status, attempt;
    int64_t elapsed_ms, wait_ms, remaining_ms, token, at_ms; /* at_ms: monotonic_ms() */
    char operation[40], key[256], request_id[80], name[80], message[600];
};

struct capture;

struct capture *capture_new(void);
void capture_free(struct capture *c);
void capture_log(const dynalock_event *event, void *context); /* options.log; context: a capture */
void capture_clear(struct capture *c);
/* How many events of the id came (0: all), of the key (NULL: any). */
int capture_count(struct capture *c, int id, const char *key);
/* Waits until that many came; false: not in that time. */
bool capture_wait(struct capture *c, int id, const char *key, int count, int timeout_ms);
/* The nth (from 1; 0: the newest) event of the id and key; id 0 if there is none. */
struct captured capture_get(struct capture *c, int id, const char *key, int nth);

/* ---- Checks ---------------------------------------------------------------------------------- */

/* The details of the last check() of this thread. */
extern _Thread_local dynalock_error failure;

/* Fails the test, with the library's message, unless the call, which is passed &failure, returns
 * expected. */
#define check(call, expected)                                        \
    do {                                                             \
        memset(&failure, 0, sizeof failure);                         \
        check_result((call), (expected), #call, __FILE__, __LINE__); \
    } while (0)

void check_result(int code, int expected, const char *call, const char *file, int line);

/* Tells run.mjs that a test demanded the code, and got it; check() does. */
void tell_code(int code);

#define assert_contains(text, part) check_contains((text), (part), __FILE__, __LINE__)
void check_contains(const char *text, const char *part, const char *file, int line);

/* JSON text with ' for ", U+0000 allowed. The caller's; fails the test if it is none. */
json_t *json_text(const char *text);

#endif
