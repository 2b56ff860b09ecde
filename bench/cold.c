/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a process's start to its first lock, beside a floor program that makes as many requests: each is started
 * STARTS times (60), in turn.
 *
 *   cold OURS FLOOR   the two programs
 */
#include "bench.h"

#include <fcntl.h>
#include <jansson.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define STARTS_MAX 1000

extern char **environ;

struct start {
    double wall_ms, cpu_ms;
};

static double milliseconds(struct timeval time)
{
    return (double)time.tv_sec * 1e3 + (double)time.tv_usec / 1e3;
}

static struct start start(const char *program, const char *argument)
{
    char *const arguments[] = {(char *)program, (char *)argument, NULL};
    posix_spawn_file_actions_t actions;
    struct rusage usage;
    int fds[2];
    int status = 0;
    char byte = 0;
    pid_t child = 0;
    if (pipe2(fds, O_CLOEXEC) != 0 || posix_spawn_file_actions_init(&actions) != 0 ||
        posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO) != 0) {
        bench_fail("cold", "no pipe");
    }
    double begin = bench_wall_us();
    if (posix_spawn(&child, program, &actions, NULL, arguments, environ) != 0) {
        bench_fail(program, "cannot be started");
    }
    (void)close(fds[1]);
    ssize_t got = read(fds[0], &byte, 1);
    double end = bench_wall_us();
    (void)close(fds[0]);
    (void)posix_spawn_file_actions_destroy(&actions);
    if (wait4(child, &status, 0, &usage) != child || status != 0 || got != 1) {
        bench_fail(program, "has failed");
    }
    return (struct start){(end - begin) / 1e3,
                          milliseconds(usage.ru_utime) + milliseconds(usage.ru_stime)};
}

/* What ours sends, in a file for the floor; how many requests. */
static int record(const char *ours, const char *path)
{
    struct floor_script script;
    free(bench_control("/record"));
    (void)start(ours, NULL);
    char *text = bench_control("/recorded");
    FILE *file = fopen(path, "w");
    if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0) {
        bench_fail(path, "cannot be written");
    }
    floor_parse(&script, text);
    int count = (int)script.count;
    floor_free(&script);
    return count;
}

int main(int argc, char **argv)
{
    static double ours[STARTS_MAX], floors[STARTS_MAX], our_cpu[STARTS_MAX], floor_cpu[STARTS_MAX],
        ratio[STARTS_MAX];
    char path[] = "/tmp/dynalock-bench-XXXXXX";
    size_t starts = (size_t)bench_number("STARTS", 60);
    int fd = mkstemp(path);
    if (argc != 3 || starts < 1 || starts > STARTS_MAX || fd < 0) {
        bench_fail("cold", "usage: cold OURS FLOOR");
    }
    (void)close(fd);
    int requests = record(argv[1], path);
    (void)start(argv[2], path);
    for (size_t i = 0; i < starts; i++) {
        struct start floor = start(argv[2], path);
        struct start our = start(argv[1], NULL);
        ours[i] = our.wall_ms;
        floors[i] = floor.wall_ms;
        our_cpu[i] = our.cpu_ms;
        floor_cpu[i] = floor.cpu_ms;
        ratio[i] = our.wall_ms / floor.wall_ms;
    }
    (void)unlink(path);
    bench_print(json_pack("{s:s,s:i,s:i,s:f,s:f,s:f,s:f,s:f}", "kind", "cold", "starts",
                          (int)starts, "requests", requests, "ratio", bench_median(ratio, starts),
                          "our_ms", bench_median(ours, starts), "floor_ms",
                          bench_median(floors, starts), "our_cpu_ms", bench_median(our_cpu, starts),
                          "floor_cpu_ms", bench_median(floor_cpu, starts)));
    return 0;
}
