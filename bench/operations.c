/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our operations against the floor, which sends what they sent.
 *
 *   operations             a line of JSON for each operation
 *   operations NAME WHO N  N times WHO (ours, floor) of one operation, in a function bench_counted
 */
#include "bench.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define TELL_TIMES 100

static dynalock_store *store;
static dynalock_lock *lock, *held, *renewed;
static const char value[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
                            "0123456789abcdef0123456789abcdef0123";

/* ---- The operations ---- */

static void run_get(void)
{
    dynalock_kv *kv = NULL;
    dynalock_error error;
    bench_check(dynalock_get(store, "kv-0123456789", NULL, &kv, &error), &error, "get");
    dynalock_kv_free(kv);
}

static void run_put(void)
{
    dynalock_error error;
    bench_check(
        dynalock_put(store, "kv-0123456789", dynalock_bytes(value, sizeof value - 1), NULL, &error),
        &error, "put");
}

static void run_atomic_put(void)
{
    dynalock_kv *kv = NULL;
    dynalock_error error;
    bench_check(dynalock_atomic_put(store, "new-0123456789",
                                    dynalock_bytes(value, sizeof value - 1), NULL, NULL, &kv,
                                    &error),
                &error, "atomic_put");
    dynalock_kv_free(kv);
}

static void run_lock(void)
{
    dynalock_error error;
    bench_check(dynalock_lock_acquire(lock, -1, 0, &error), &error, "acquire");
    bench_check(dynalock_lock_release(lock, &error), &error, "release");
}

static void run_renewal(void)
{
    dynalock_error error;
    bench_check(dynalock_lock_renew(renewed, 0, &error), &error, "renew");
}

static void run_failed_poll(void)
{
    dynalock_error error;
    if (dynalock_lock_acquire(held, -1, 0, &error) != DYNALOCK_ERR_NOT_ACQUIRED) {
        bench_fail("failed poll", "another answer than that the lock is held");
    }
}

static void run_list(void)
{
    bench_list(store);
}

static struct operation {
    const char *name;
    void (*run)(void);
    size_t requests; /* that it is meant to make */
    struct floor_script script;
    struct floor *floor; /* with the one connection that it keeps, as the library does */
} operations[] = {
    {.name = "get", .run = run_get, .requests = 1},
    {.name = "put", .run = run_put, .requests = 1},
    {.name = "atomic_put", .run = run_atomic_put, .requests = 1},
    {.name = "lock+unlock", .run = run_lock, .requests = 2},
    {.name = "renewal", .run = run_renewal, .requests = 1},
    {.name = "failed poll", .run = run_failed_poll, .requests = 1},
    {.name = "list of 10,000", .run = run_list, .requests = 2},
};

#define OPERATIONS (sizeof operations / sizeof *operations)

static void run_ours(void *context, long times)
{
    const struct operation *operation = context;
    for (long i = 0; i < times; i++) {
        operation->run();
    }
}

static void run_floor(void *context, long times)
{
    const struct operation *operation = context;
    for (long i = 0; i < times; i++) {
        floor_run(operation->floor, &operation->script);
    }
}

/* One run of ours is what the floor then sends. */
static void prepare(struct operation *operation)
{
    run_ours(operation, 3);
    free(bench_control("/record"));
    run_ours(operation, 1);
    floor_parse(&operation->script, bench_control("/recorded"));
    if (operation->script.count != operation->requests) {
        bench_fail(operation->name, "makes another number of requests than it should");
    }
    operation->floor = floor_open();
    run_floor(operation, 3);
}

/* The floor has to send what ours sends, but for the digits of a number that grows. */
static void compare(const char *name, const json_t *floor, const json_t *ours)
{
    double sent = json_number_value(json_object_get(floor, "in"));
    double our_sent = json_number_value(json_object_get(ours, "in"));
    if (our_sent < 0.98 * sent || our_sent > 1.02 * sent ||
        json_number_value(json_object_get(floor, "requests")) !=
            json_number_value(json_object_get(ours, "requests"))) {
        bench_fail(name, "the floor does not send what ours sends");
    }
}

/* Allocations, requests and bytes of one, by many. */
static json_t *count(struct operation *operation, void (*run)(void *, long))
{
    const long times = operation->run == run_list ? 2 : TELL_TIMES;
    run(operation, 1);
    free(bench_control("/reset"));
    unsigned long before = bench_allocations();
    run(operation, times);
    double allocations = (double)(bench_allocations() - before);
    json_t *counts = bench_counts("/counts");
    const char *key;
    json_t *number;
    json_object_foreach(counts, key, number)
    {
        (void)json_object_set_new(counts, key,
                                  json_real(json_number_value(number) / (double)times));
    }
    (void)json_object_set_new(counts, "allocations", json_real(allocations / (double)times));
    return counts;
}

static void measure_all(void)
{
    struct bench_pair pairs[OPERATIONS] = {0};
    for (size_t i = 0; i < OPERATIONS; i++) {
        pairs[i] = (struct bench_pair){.name = operations[i].name,
                                       .context = &operations[i],
                                       .floor = run_floor,
                                       .ours = run_ours};
        if (bench_is_wanted(operations[i].name)) {
            prepare(&operations[i]);
        }
    }
    bench_measure(pairs, OPERATIONS);
    for (size_t i = 0; i < OPERATIONS; i++) {
        if (pairs[i].rounds > 0) {
            json_t *line = bench_medians("operation", &pairs[i]);
            json_t *floor = count(&operations[i], run_floor);
            json_t *ours = count(&operations[i], run_ours);
            compare(operations[i].name, floor, ours);
            (void)json_object_set_new(line, "floor", floor);
            (void)json_object_set_new(line, "ours", ours);
            bench_print(line);
        }
    }
}

/* Callgrind is told to count in here alone. */
__attribute__((noinline)) void bench_counted(void (*run)(void *, long), struct operation *operation,
                                             long times);

void bench_counted(void (*run)(void *, long), struct operation *operation, long times)
{
    run(operation, times);
}

static void run_one(const char *name, const char *who, long times)
{
    for (size_t i = 0; i < OPERATIONS; i++) {
        if (strcmp(operations[i].name, name) == 0) {
            prepare(&operations[i]);
            bench_counted(strcmp(who, "floor") == 0 ? run_floor : run_ours, &operations[i], times);
        }
    }
}

int main(int argc, char **argv)
{
    dynalock_error error;
    store = bench_store(NULL);
    bench_check(dynalock_lock_new(store, "lock-0123456789", NULL, &lock, &error), &error,
                "lock_new");
    held = bench_lock(store, "held-0123456789");
    renewed = bench_lock(store, "lock-9876543210");
    run_put(); /* the server's time is known from now on */
    bench_check(dynalock_lock_acquire(renewed, -1, 0, &error), &error, "acquire");
    if (argc == 4) {
        run_one(argv[1], argv[2], strtol(argv[3], NULL, 10));
    } else {
        measure_all();
    }
    for (size_t i = 0; i < OPERATIONS; i++) {
        if (operations[i].floor != NULL) {
            floor_close(operations[i].floor);
            floor_free(&operations[i].script);
        }
    }
    dynalock_lock_free(lock);
    dynalock_lock_free(held);
    dynalock_lock_free(renewed);
    return dynalock_close(store);
}
