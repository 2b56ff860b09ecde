/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <dlfcn.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define MEASURE_SLICES 50 /* of a round */

bool bench_is_wanted(const char *name)
{
    return strstr(name, bench_setting("ONLY", "")) != NULL;
}

/* As many in a round as ours takes so long for. */
static void measure_calibrate(struct bench_pair *pair)
{
    double wanted_us = 1e3 * (double)bench_number("ROUND_MS", 150);
    long times = 1;
    pair->floor(pair->context, 1);
    pair->ours(pair->context, 1);
    for (;;) {
        double start = bench_cpu_us();
        pair->ours(pair->context, times);
        double took = bench_cpu_us() - start;
        if (took > wanted_us / 10) {
            pair->times = (long)((double)times * wanted_us / took) + 1;
            return;
        }
        times *= 2;
    }
}

static void measure_slice(const struct bench_pair *pair, void (*run)(void *, long), long times,
                          double *cpu, double *wall)
{
    double cpu_start = bench_cpu_us();
    double wall_start = bench_wall_us();
    run(pair->context, times);
    *cpu += (bench_cpu_us() - cpu_start) / (double)pair->times;
    *wall += (bench_wall_us() - wall_start) / (double)pair->times;
}

static void measure_round(struct bench_pair *pair, size_t round)
{
    long slice = pair->times > MEASURE_SLICES ? pair->times / MEASURE_SLICES : 1;
    for (long done = 0; done < pair->times; done += slice) {
        long times = pair->times - done < slice ? pair->times - done : slice;
        measure_slice(pair, pair->floor, times, &pair->floor_cpu[round], &pair->floor_wall[round]);
        measure_slice(pair, pair->ours, times, &pair->our_cpu[round], &pair->our_wall[round]);
    }
    pair->ratio[round] = pair->our_cpu[round] / pair->floor_cpu[round];
}

void bench_measure(struct bench_pair *pairs, size_t count)
{
    long rounds = bench_number("ROUNDS", 9);
    if (rounds < 1 || rounds > BENCH_ROUNDS_MAX) {
        bench_fail("ROUNDS", "is from 1 to 99");
    }
    for (size_t i = 0; i < count; i++) {
        if (bench_is_wanted(pairs[i].name)) {
            measure_calibrate(&pairs[i]);
            pairs[i].rounds = (size_t)rounds;
        }
    }
    for (size_t round = 0; round < (size_t)rounds; round++) {
        for (size_t i = 0; i < count; i++) {
            if (pairs[i].rounds > 0) {
                measure_round(&pairs[i], round);
            }
        }
    }
}

json_t *bench_medians(const char *kind, struct bench_pair *pair)
{
    double ratio = bench_median(pair->ratio, pair->rounds);
    json_t *line =
        json_pack("{s:s,s:s,s:i,s:i,s:f,s:f,s:f,s:f,s:f,s:f,s:f}", "kind", kind, "name", pair->name,
                  "rounds", (int)pair->rounds, "times", (int)pair->times, "ratio", ratio, "lowest",
                  pair->ratio[0], "highest", pair->ratio[pair->rounds - 1], "floor_cpu_us",
                  bench_median(pair->floor_cpu, pair->rounds), "our_cpu_us",
                  bench_median(pair->our_cpu, pair->rounds), "floor_wall_us",
                  bench_median(pair->floor_wall, pair->rounds), "our_wall_us",
                  bench_median(pair->our_wall, pair->rounds));
    if (line == NULL) {
        bench_fail(pair->name, "memory");
    }
    return line;
}

void bench_print(json_t *line)
{
    if (line == NULL || json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(8)) != 0) {
        bench_fail("results", "cannot be told");
    }
    printf("\n");
    (void)fflush(stdout);
    json_decref(line);
}

unsigned long bench_allocations(void)
{
    static unsigned long (*count)(void);
    static bool looked;
    if (!looked) {
        void *found = dlsym(RTLD_DEFAULT, "bench_allocations_count");
        memcpy(&count, &found, sizeof count);
        looked = true;
    }
    return count != NULL ? count() : 0;
}
