/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs of this folder share: clocks, measuring side by side, the responder's other side, and
 * the floor. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <dynalock.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_t;

/* ---- bench.c ----------------------------------------------------------------------------------- */

_Noreturn void bench_fail(const char *what, const char *why);
/* A variable of the environment; without a default there must be one. */
const char *bench_setting(const char *name, const char *otherwise);
long bench_number(const char *name, long otherwise);

double bench_cpu_us(void); /* of this process */
double bench_wall_us(void);
double bench_median(double *values, size_t count); /* sorts them */

/* ---- measure.c --------------------------------------------------------------------------------- */

enum { BENCH_ROUNDS_MAX = 99 };

/* Two ways to do a thing, side by side. In each round they take turns in short slices, so that what else
 * the machine does falls on both alike; a ratio is made of the two of one round. */
struct bench_pair {
    const char *name;
    void *context;
    void (*floor)(void *context, long times);
    void (*ours)(void *context, long times);

    long times; /* in a round */
    size_t rounds;
    double floor_cpu[BENCH_ROUNDS_MAX], our_cpu[BENCH_ROUNDS_MAX]; /* us, of one */
    double floor_wall[BENCH_ROUNDS_MAX], our_wall[BENCH_ROUNDS_MAX];
    double ratio[BENCH_ROUNDS_MAX]; /* of CPU time */
};

/* Whether ONLY (part of a name) wants it. */
bool bench_is_wanted(const char *name);
/* Those that are wanted: ROUNDS (9) of ROUND_MS (150) of our CPU time each. */
void bench_measure(struct bench_pair *pairs, size_t count);
/* The medians, to be added to. */
struct json_t *bench_medians(const char *kind, struct bench_pair *pair);
void bench_print(struct json_t *line); /* and frees it */

/* Of allocations.so, which is preloaded: calls of malloc and its kin; 0 where it is not there. */
unsigned long bench_allocations(void);

/* ---- control.c: the responder, at BENCH_PORT, and a store there ---------------------------------- */

char *bench_control(const char *path); /* the body of its answer, to be freed */
struct json_t *bench_counts(const char *path);

/* A store at BENCH_URL with fixed credentials; BENCH_CA: whom to trust. */
dynalock_store *bench_store(const dynalock_options *more);
dynalock_lock *bench_lock(dynalock_store *store, const char *key);
void bench_check(int code, const dynalock_error *error, const char *what);
enum { BENCH_ITEMS = 10000 };
void bench_list(dynalock_store *store); /* of BENCH_ITEMS items, in pages of half of them */

/* ---- floor.c: libcurl alone -------------------------------------------------------------------- */

struct floor_request {
    struct curl_slist *headers;
    const char *body;
    size_t length;
};

/* Requests as the responder recorded them. */
struct floor_script {
    char *recorded;
    struct floor_request *requests;
    size_t count;
};

void floor_parse(struct floor_script *script,
                 char *recorded); /* which is the script's from now on */
void floor_free(struct floor_script *script);

struct floor;
struct floor *floor_open(void); /* one easy handle, at BENCH_URL */
void floor_close(struct floor *floor);
/* All requests of the script, one after the other. */
void floor_run(struct floor *floor, const struct floor_script *script);
/* count requests in all, those of the script in turn, over that many connections at a time on this thread. */
struct floor_many;
struct floor_many *floor_many_open(int connections);
void floor_many_close(struct floor_many *many);
void floor_many_run(struct floor_many *many, const struct floor_script *script, size_t count);
/* One of them; its answer, to be freed. */
char *floor_fetch(struct floor *floor, const struct floor_request *request, size_t *length);

#endif
