/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

void bench_fail(const char *what, const char *why)
{
    fprintf(stderr, "bench: %s: %s\n", what, why);
    exit(1);
}

const char *bench_setting(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    if (value == NULL && otherwise == NULL) {
        bench_fail(name, "is not set: start this by `make bench`");
    }
    return value != NULL ? value : otherwise;
}

long bench_number(const char *name, long otherwise)
{
    const char *value = getenv(name);
    return value != NULL ? strtol(value, NULL, 10) : otherwise;
}

static double bench_clock_us(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

double bench_cpu_us(void)
{
    return bench_clock_us(CLOCK_PROCESS_CPUTIME_ID);
}

double bench_wall_us(void)
{
    return bench_clock_us(CLOCK_MONOTONIC);
}

static int bench_compare(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return left < right ? -1 : left > right;
}

double bench_median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, bench_compare);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}
