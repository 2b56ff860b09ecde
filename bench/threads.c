/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One store and several threads that get from it: against answers that come at once, beside as many threads of the
 * floor; and against answers that take 5 ms, where the threads' requests have to go side by side. With mutexes.so
 * preloaded, for gets, and for a lock of its own that each thread takes and lets go: how often a mutex was found
 * taken, and for how long, and whether one was ever held across I/O.
 */
#include "bench.h"

#include <dlfcn.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS_MAX 16

struct bench_mutexes {
    unsigned long locked, contended, wait_ns, under_io;
};

static dynalock_store *store;
static struct floor_script script;
static const char *key;
static atomic_bool stop;

enum work { WORK_FLOOR, WORK_GET, WORK_LOCK };

struct worker {
    pthread_t thread;
    enum work work;
    struct floor *floor;
    dynalock_lock *lock;
    unsigned long done;
};

static void get_once(void)
{
    dynalock_kv *kv = NULL;
    dynalock_error error;
    bench_check(dynalock_get(store, key, NULL, &kv, &error), &error, "get");
    dynalock_kv_free(kv);
}

static void lock_once(dynalock_lock *lock)
{
    dynalock_error error;
    bench_check(dynalock_lock_acquire(lock, -1, 0, &error), &error, "acquire");
    bench_check(dynalock_lock_release(lock, &error), &error, "release");
}

static void *work(void *context)
{
    struct worker *worker = context;
    while (!atomic_load(&stop)) {
        if (worker->work == WORK_FLOOR) {
            floor_run(worker->floor, &script);
        } else if (worker->work == WORK_LOCK) {
            lock_once(worker->lock);
        } else {
            get_once();
        }
        worker->done++;
    }
    return NULL;
}

struct result {
    double done, per_second, cpu_us; /* CPU time of one */
};

static void worker_open(struct worker *worker, enum work work, int number)
{
    char name[32];
    dynalock_error error;
    *worker = (struct worker){.work = work};
    if (work == WORK_FLOOR) {
        worker->floor = floor_open();
    } else if (work == WORK_LOCK) {
        (void)snprintf(name, sizeof name, "lock-%d", number);
        bench_check(dynalock_lock_new(store, name, NULL, &worker->lock, &error), &error,
                    "lock_new");
    }
}

static void worker_close(struct worker *worker)
{
    if (worker->floor != NULL) {
        floor_close(worker->floor);
    }
    dynalock_lock_free(worker->lock);
}

static struct result run(int threads, enum work what, long milliseconds)
{
    struct worker workers[THREADS_MAX];
    unsigned long done = 0;
    for (int i = 0; i < threads; i++) {
        worker_open(&workers[i], what, i);
    }
    atomic_store(&stop, false);
    double cpu = bench_cpu_us();
    double wall = bench_wall_us();
    for (int i = 0; i < threads; i++) {
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            bench_fail("threads", "cannot be started");
        }
    }
    (void)usleep((useconds_t)milliseconds * 1000);
    atomic_store(&stop, true);
    for (int i = 0; i < threads; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        done += workers[i].done;
    }
    cpu = bench_cpu_us() - cpu;
    wall = bench_wall_us() - wall;
    for (int i = 0; i < threads; i++) {
        worker_close(&workers[i]);
    }
    return (struct result){(double)done, (double)done / wall * 1e6, cpu / (double)done};
}

static void record(const char *of)
{
    key = of;
    get_once();
    free(bench_control("/record"));
    get_once();
    floor_parse(&script, bench_control("/recorded"));
}

static void measure(const char *kind, int threads, long milliseconds)
{
    size_t rounds = (size_t)bench_number("ROUNDS", 9);
    double ours[BENCH_ROUNDS_MAX];
    double floors[BENCH_ROUNDS_MAX];
    double ratio[BENCH_ROUNDS_MAX];
    double cpu_ratio[BENCH_ROUNDS_MAX];
    rounds = rounds < BENCH_ROUNDS_MAX ? rounds : BENCH_ROUNDS_MAX;
    (void)run(threads, WORK_GET, 20); /* connections are there */
    for (size_t i = 0; i < rounds; i++) {
        struct result floor = run(threads, WORK_FLOOR, milliseconds);
        struct result our = run(threads, WORK_GET, milliseconds);
        floors[i] = floor.per_second;
        ours[i] = our.per_second;
        ratio[i] = our.per_second / floor.per_second;
        cpu_ratio[i] = our.cpu_us / floor.cpu_us;
    }
    bench_print(json_pack("{s:s,s:i,s:f,s:f,s:f,s:f}", "kind", kind, "threads", threads,
                          "floor_per_second", bench_median(floors, rounds), "our_per_second",
                          bench_median(ours, rounds), "throughput_ratio",
                          bench_median(ratio, rounds), "cpu_ratio",
                          bench_median(cpu_ratio, rounds)));
}

/* Where mutexes.so is preloaded. */
static void tell_mutexes(int threads, enum work what, void (*read)(struct bench_mutexes *))
{
    struct bench_mutexes before;
    struct bench_mutexes after;
    (void)run(threads, what, 20);
    read(&before);
    double done = run(threads, what, 300).done;
    read(&after);
    bench_print(json_pack("{s:s,s:s,s:i,s:f,s:f,s:f,s:i}", "kind", "mutexes", "of",
                          what == WORK_LOCK ? "lock+unlock" : "get", "threads", threads, "locked",
                          (double)(after.locked - before.locked) / done, "contended",
                          (double)(after.contended - before.contended) / done, "wait_us",
                          (double)(after.wait_ns - before.wait_ns) / 1e3 / done, "under_io",
                          (int)(after.under_io - before.under_io)));
}

int main(void)
{
    static const int counts[] = {1, 2, 4, 16};
    void (*read)(struct bench_mutexes *) = NULL;
    void *found = dlsym(RTLD_DEFAULT, "bench_mutexes_read");
    memcpy(&read, &found, sizeof read);
    store = bench_store(NULL);
    record("kv-0123456789");
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        if (read != NULL) {
            tell_mutexes(counts[i], WORK_GET, read);
            tell_mutexes(counts[i], WORK_LOCK, read);
        } else {
            measure("threads", counts[i], 100);
        }
    }
    floor_free(&script);
    record("slow-kv-0123456789");
    for (size_t i = 0; i < sizeof counts / sizeof *counts && read == NULL; i++) {
        measure("threads, slow answers", counts[i], 100);
    }
    floor_free(&script);
    return dynalock_close(store);
}
