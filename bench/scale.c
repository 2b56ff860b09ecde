/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many locks of one store, by events.
 *
 *   burst: LOCKS_AT_ONCE (5,000) acquisitions are started at once on one thread, beside the floor's time for as many
 *          requests over as many connections on one thread
 *   held:  LOCKS (10,000) are held: what they take of memory, threads, connections and CPU time, and how late their
 *          renewals are, by when they arrive; then the same with some whose renewals hang or are throttled
 *
 *   scale         both, against the responder
 *   scale table   LOCKS are held in a table of DynamoDB's (a server like it) at BENCH_URL, which it creates
 */
#include "bench.h"

#include <dirent.h>
#include <jansson.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LUMP_MS 100

static int ttl_ms; /* TTL_MS (20,000) */
static dynalock_store *store;
static dynalock_lock **locks;
static size_t lock_count;
static struct floor_script script;

/* ---- What both need ---- */

static void make_locks(size_t count)
{
    locks = calloc(count, sizeof(dynalock_lock *));
    if (locks == NULL) {
        bench_fail("scale", "memory");
    }
    for (lock_count = 0; lock_count < count; lock_count++) {
        const dynalock_lock_options options = {.ttl_ms = ttl_ms};
        dynalock_error error;
        char key[32];
        (void)snprintf(key, sizeof key, "scale-%zu", lock_count);
        bench_check(dynalock_lock_new(store, key, &options, &locks[lock_count], &error), &error,
                    "lock_new");
    }
}

static void free_locks(void)
{
    for (size_t i = 0; i < lock_count; i++) {
        dynalock_lock_free(locks[i]);
    }
    free(locks);
}

/* Takes so many events; other codes than 0 only if they may. */
static void take_events(size_t count, bool may_fail)
{
    struct pollfd ready = {.events = POLLIN};
    dynalock_error error;
    bench_check(dynalock_event_fd(store, &ready.fd, &error), &error, "event_fd");
    for (size_t taken = 0; taken < count;) {
        dynalock_lock_event event;
        bench_check(dynalock_next_event(store, &event, &error), &error, "next_event");
        if (event.kind == DYNALOCK_LOCK_EVENT_NONE) {
            (void)poll(&ready, 1, 10000);
        } else if (event.kind != DYNALOCK_LOCK_EVENT_LOST) {
            taken++;
            if (!may_fail) {
                bench_check(event.code, &event.error, "a lock");
            }
        }
    }
}

static void acquire_all(void)
{
    dynalock_error error;
    for (size_t i = 0; i < lock_count; i++) {
        bench_check(dynalock_lock_acquire_start(locks[i], -1, &error), &error, "acquire_start");
    }
    take_events(lock_count, false);
}

static void release_all(bool may_fail)
{
    size_t started = 0;
    dynalock_error error;
    for (size_t i = 0; i < lock_count; i++) {
        int code = dynalock_lock_release_start(locks[i], &error);
        if (code == 0) {
            started++;
        } else if (!may_fail) {
            bench_check(code, &error, "release_start");
        }
    }
    take_events(started, may_fail);
}

static double count_of(const char *path, const char *name)
{
    json_t *counts = bench_counts(path);
    double count = json_number_value(json_object_get(counts, name));
    json_decref(counts);
    return count;
}

/* ---- At once ---- */

static void tell_burst(void)
{
    size_t rounds = (size_t)bench_number("ROUNDS", 7);
    double ours[BENCH_ROUNDS_MAX];
    double floors[BENCH_ROUNDS_MAX];
    double ratio[BENCH_ROUNDS_MAX];
    double our_cpu[BENCH_ROUNDS_MAX];
    double floor_cpu_us[BENCH_ROUNDS_MAX];
    rounds = rounds < BENCH_ROUNDS_MAX ? rounds : BENCH_ROUNDS_MAX;
    make_locks((size_t)bench_number("LOCKS_AT_ONCE", 5000));
    free(bench_control("/reset"));
    free(bench_control("/record"));
    acquire_all();
    floor_parse(&script, bench_control("/recorded"));
    int connections = (int)count_of("/counts", "most_open");
    double requests = count_of("/counts", "requests");
    struct floor_many *many = floor_many_open(connections);
    floor_many_run(many, &script, lock_count);
    for (size_t i = 0; i < rounds; i++) {
        release_all(false);
        double start = bench_wall_us();
        double cpu_start = bench_cpu_us();
        floor_many_run(many, &script, lock_count);
        double between = bench_wall_us();
        double cpu_between = bench_cpu_us();
        acquire_all();
        ours[i] = (bench_wall_us() - between) / 1e3;
        our_cpu[i] = (bench_cpu_us() - cpu_between) / (double)lock_count;
        floors[i] = (between - start) / 1e3;
        floor_cpu_us[i] = (cpu_between - cpu_start) / (double)lock_count;
        ratio[i] = ours[i] / floors[i];
    }
    release_all(false);
    bench_print(json_pack(
        "{s:s,s:i,s:f,s:i,s:f,s:f,s:f,s:f,s:f}", "kind", "burst", "locks", (int)lock_count,
        "requests", requests, "connections", connections, "floor_ms", bench_median(floors, rounds),
        "our_ms", bench_median(ours, rounds), "ratio", bench_median(ratio, rounds), "floor_cpu_us",
        bench_median(floor_cpu_us, rounds), "our_cpu_us", bench_median(our_cpu, rounds)));
    floor_many_close(many);
    floor_free(&script);
    free_locks();
}

/* ---- Held ---- */

static double heap(void)
{
    struct mallinfo2 info = mallinfo2();
    return (double)(info.uordblks + info.hblkhd);
}

static double resident(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1) {
        bench_fail("scale", "/proc/self/statm");
    }
    (void)fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

/* Of the library: all but this one. */
static int threads(void)
{
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    const struct dirent *entry = NULL;
    if (tasks == NULL) {
        bench_fail("scale", "/proc/self/task");
    }
    while ((entry = readdir(tasks)) != NULL) {
        count += entry->d_name[0] != '.';
    }
    (void)closedir(tasks);
    return count - 1;
}

/* How much later than a third of the lease after the one before it a renewal came, in leases. */
static double latest(void)
{
    json_t *gaps = bench_counts("/gaps");
    double longest = json_number_value(json_object_get(gaps, "longest_us"));
    double oldest = json_number_value(json_object_get(gaps, "oldest_us"));
    json_decref(gaps);
    longest = oldest > longest ? oldest : longest;
    return (longest / 1e3 - ttl_ms / 3.0) / ttl_ms;
}

static double renewed(void)
{
    dynalock_counters counters;
    bench_check(dynalock_store_counters(store, &counters), NULL, "store_counters");
    return (double)counters.renewed;
}

/* CPU time of a renewal, over so many thirds of a lease. */
static double watch_renewals(int thirds, double *count)
{
    double before = renewed();
    double cpu = bench_cpu_us();
    (void)usleep((useconds_t)(ttl_ms * 1000 / 3 * thirds));
    cpu = bench_cpu_us() - cpu;
    *count = renewed() - before;
    return cpu / *count;
}

/* The floor at the same pace: as many requests in a third of a lease, sent together where a keeper's would be. */
static double floor_cpu(int connections, size_t count)
{
    size_t lumps = (size_t)ttl_ms / 3 / LUMP_MS;
    struct floor_many *many = floor_many_open(connections);
    floor_many_run(many, &script, (size_t)connections);
    double start = bench_wall_us();
    double cpu = bench_cpu_us();
    for (size_t i = 0; i < lumps; i++) {
        floor_many_run(many, &script, count / lumps);
        double left = start + (double)(i + 1) * LUMP_MS * 1e3 - bench_wall_us();
        (void)usleep(left > 0 ? (useconds_t)left : 0);
    }
    cpu = (bench_cpu_us() - cpu) / (double)(count / lumps * lumps);
    floor_many_close(many);
    return cpu;
}

static void tell_held(void)
{
    double count = 0;
    double rare = 0;
    free(bench_control("/reset"));
    double heap_before = heap();
    double resident_before = resident();
    make_locks((size_t)bench_number("LOCKS", 10000));
    double start = bench_wall_us();
    acquire_all();
    double acquired_ms = (bench_wall_us() - start) / 1e3;
    free(bench_control("/record"));
    double cpu = watch_renewals(3, &count);
    double bytes = (heap() - heap_before) / (double)lock_count;
    double resident_bytes = (resident() - resident_before) / (double)lock_count;
    double late = latest();
    int connections = (int)count_of("/counts", "most_open");
    int own_threads = threads();
    floor_parse(&script, bench_control("/recorded"));
    free(bench_control("/trouble"));
    (void)watch_renewals(2, &rare);
    double late_in_trouble = latest();
    release_all(true);
    free(bench_control("/reset")); /* and no trouble for the floor */
    double floor = floor_cpu(connections, lock_count);
    bench_print(json_pack("{s:s,s:i,s:i,s:i,s:i,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f}", "kind",
                          "held", "locks", (int)lock_count, "ttl_ms", ttl_ms, "threads",
                          own_threads, "connections", connections, "bytes_per_lock", bytes,
                          "resident_per_lock", resident_bytes, "acquired_ms", acquired_ms,
                          "renewals", count, "our_cpu_us", cpu, "floor_cpu_us", floor, "ratio",
                          cpu / floor, "latest", late, "latest_in_trouble", late_in_trouble));
    floor_free(&script);
    free_locks();
}

/* ---- On a server that is none of ours ---- */

/* The longest that a renewal has kept us waiting after a third of the lease, in leases: looked for every 100 ms. */
static double look_for_latest(int seconds, double late)
{
    double end = bench_wall_us() + seconds * 1e6;
    while (bench_wall_us() < end) {
        dynalock_lock_info *infos = NULL;
        size_t count = 0;
        dynalock_error error;
        bench_check(dynalock_locks(store, &infos, &count, &error), &error, "locks");
        for (size_t i = 0; i < count; i++) {
            double since = ((double)infos[i].since_renewal_ms - ttl_ms / 3.0) / ttl_ms;
            late = since > late ? since : late;
        }
        dynalock_locks_free(infos);
        (void)usleep(100000);
    }
    return late;
}

static void tell_table(void)
{
    dynalock_error error;
    dynalock_counters counters;
    bench_check(dynalock_table_create(store, 0, NULL, &error), &error, "table_create");
    make_locks((size_t)bench_number("LOCKS", 2000));
    double start = bench_wall_us();
    acquire_all();
    double acquired_ms = (bench_wall_us() - start) / 1e3;
    double late = look_for_latest(3 * ttl_ms / 1000, -1);
    bench_check(dynalock_store_counters(store, &counters), NULL, "store_counters");
    start = bench_wall_us();
    release_all(false);
    bench_print(json_pack("{s:s,s:i,s:i,s:f,s:f,s:f,s:i,s:i,s:i,s:i}", "kind", "table", "locks",
                          (int)lock_count, "ttl_ms", ttl_ms, "acquired_ms", acquired_ms,
                          "released_ms", (bench_wall_us() - start) / 1e3, "latest", late, "renewed",
                          (int)counters.renewed, "renewals_failed", (int)counters.renewals_failed,
                          "lost", (int)counters.lost, "connections", (int)counters.connections));
    free_locks();
}

int main(int argc, char **argv)
{
    dynalock_error error;
    ttl_ms = (int)bench_number("TTL_MS", 20000);
    store = bench_store(NULL);
    if (argc == 2 && strcmp(argv[1], "table") == 0) {
        tell_table();
        return dynalock_close(store);
    }
    bench_check(dynalock_put(store, "kv-0", dynalock_none(), NULL, &error), &error, "put");
    tell_burst();
    tell_held();
    return dynalock_close(store);
}
