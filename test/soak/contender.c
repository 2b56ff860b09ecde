/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One process of the soak (main.mjs): threads that take locks, hold them for a while, write to what they guard, and
 * let go, until standard input ends. What each believes goes to a log that history.mjs judges:
 *
 *     wait KEY NOW                          begins to wait
 *     none KEY NOW CODE                     ends to wait without the lock
 *     hold KEY NOW UNTIL TOKEN              has it, by what the library says until then
 *     more KEY NOW UNTIL TOKEN              has it longer
 *     write KEY BEFORE NOW UNTIL TOKEN took the guarded resource took the token (stale: it refused)
 *     end KEY NOW TOKEN                     is about to let go, or has been told of the loss
 *     freed KEY NOW TOKEN CODE              release has returned
 *     count NAME NUMBER                     at the end: descriptors, threads, memory before and after
 *
 * in microseconds of CLOCK_MONOTONIC, which is the machine's own. A line is one write(2): what a process that is killed
 * has logged is there.
 */
#include "../../dynalock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define THREADS 2
#define WAIT_MS 20000
#define SECOND 1000000

/* From the environment; main.mjs sets all of them. */
static const char *resources; /* a folder: a file for each key */
static char *keys[64];
static int key_count;
static int log_fd = -1;

struct thread {
    pthread_t id;
    dynalock_store *store;
    unsigned seed;
};

static int64_t now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * SECOND + now.tv_nsec / 1000;
}

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void note(const char *format, ...)
{
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (write(log_fd, line, (size_t)length) != length) {
        abort();
    }
}

/* Standard input has ended: the run is over. It is the stop descriptor of every wait, too. */
static bool is_over(void)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&in, 1, 0) != 0;
}

static int below(struct thread *thread, int limit)
{
    return rand_r(&thread->seed) % limit;
}

static void sleep_us(int64_t us)
{
    struct timespec time = {us / SECOND, us % SECOND * 1000};
    while (us > 0 && nanosleep(&time, &time) != 0 && errno == EINTR) {
    }
}

/* ---- What the lock guards -------------------------------------------------------------------- */

/* A file that takes no token smaller than one it has seen. Returns whether it took this one. */
static bool resource_write(const char *key, int64_t token)
{
    char path[512];
    char text[32] = "";
    snprintf(path, sizeof path, "%s/%s", resources, key);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || flock(fd, LOCK_EX) != 0 || pread(fd, text, sizeof text - 1, 0) < 0) {
        abort();
    }
    bool takes = strtoll(text, NULL, 10) <= token;
    int length = snprintf(text, sizeof text, "%-30" PRId64, token);
    if (takes && pwrite(fd, text, (size_t)length, 0) != length) {
        abort();
    }
    (void)close(fd);
    return takes;
}

/* ---- A tenure -------------------------------------------------------------------------------- */

/* Until when the library says that the lock is held: never later than it believes itself. */
static int64_t believed_until(dynalock_lock *lock)
{
    int64_t before = now_us();
    int64_t left_ms = dynalock_lock_remaining_ms(lock);
    return left_ms > 0 ? before + left_ms * 1000 : 0;
}

static void work(struct thread *thread, dynalock_lock *lock, const char *key, int64_t until)
{
    int64_t token = dynalock_lock_token(lock);
    /* Mostly short; now and then longer than the lease, and then the keeper must renew it. */
    int64_t end = now_us() + (below(thread, 12) == 0 ? 2 * SECOND : below(thread, 30000));
    do {
        int64_t before = now_us();
        if (dynalock_lock_ensure(lock, 100, NULL) != 0) {
            break;
        }
        bool took = resource_write(key, token);
        note("%s %s %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 "\n", took ? "write" : "stale",
             key, before, now_us(), until, token);
        int64_t left = end - now_us();
        sleep_us(left < 50000 ? left : 50000);
        int64_t later = believed_until(lock);
        if (later > until) {
            until = later;
            note("more %s %" PRId64 " %" PRId64 " %" PRId64 "\n", key, now_us(), until, token);
        }
    } while (now_us() < end);
}

static void tenure(struct thread *thread, dynalock_lock *lock, const char *key)
{
    dynalock_error error;
    note("wait %s %" PRId64 "\n", key, now_us());
    int code = dynalock_lock_acquire(lock, STDIN_FILENO, WAIT_MS, &error);
    int64_t begun = now_us();
    if (code != DYNALOCK_OK) {
        note("none %s %" PRId64 " %d\n", key, begun, code);
        return;
    }
    int64_t until = believed_until(lock);
    int64_t token = dynalock_lock_token(lock);
    note("hold %s %" PRId64 " %" PRId64 " %" PRId64 "\n", key, begun, until, token);
    work(thread, lock, key, until);
    if (below(thread, 4) == 0) {
        (void)dynalock_lock_renew(lock, 0, NULL);
    }
    note("end %s %" PRId64 " %" PRId64 "\n", key, now_us(), token);
    for (int attempt = 0; attempt < 3; attempt++) {
        code = dynalock_lock_release(lock, &error);
        note("freed %s %" PRId64 " %" PRId64 " %d\n", key, now_us(), token, code);
        if (code == DYNALOCK_OK || !dynalock_is_retryable(code)) {
            break;
        }
    }
}

static void *contend(void *context)
{
    struct thread *thread = context;
    while (!is_over()) {
        const char *key = keys[below(thread, key_count)];
        dynalock_error error;
        dynalock_lock *lock = NULL;
        dynalock_lock_options options = {
            .ttl_ms = 1000 + below(thread, 1000),
            .poll_ms = 50,
            .keep_record = strncmp(key, "keep", 4) == 0,
            .renewal = below(thread, 8) == 0 ? DYNALOCK_RENEWAL_NONE : DYNALOCK_RENEWAL_KEEPER,
        };
        if (dynalock_lock_new(thread->store, key, &options, &lock, &error) != DYNALOCK_OK) {
            fprintf(stderr, "%s\n", error.message);
            exit(3);
        }
        for (int tenures = 1 + below(thread, 3); tenures > 0 && !is_over(); tenures--) {
            tenure(thread, lock, key);
        }
        dynalock_lock_free(lock);
    }
    return NULL;
}

/* ---- What is left behind --------------------------------------------------------------------- */

static int entries(const char *folder)
{
    int count = 0;
    DIR *open = opendir(folder);
    while (open != NULL && readdir(open) != NULL) {
        count++;
    }
    if (open != NULL) {
        (void)closedir(open);
    }
    return count;
}

static void note_size(const char *when)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file != NULL) {
        (void)!fscanf(file, "%*d %ld", &pages);
        (void)fclose(file);
    }
    note("count descriptors-%s %d\n", when, entries("/proc/self/fd"));
    note("count threads-%s %d\n", when, entries("/proc/self/task"));
    note("count memory-kb-%s %ld\n", when, pages * (sysconf(_SC_PAGESIZE) / 1024));
}

static dynalock_store *open_store(void)
{
    dynalock_error error;
    dynalock_store *store = NULL;
    const dynalock_options options = {
        .attempt_timeout_ms = 700, .timeout_ms = 5000, .close_timeout_ms = 3000};
    if (dynalock_open(getenv("SOAK_TABLE"), "soak", &options, &store, &error) != DYNALOCK_OK) {
        fprintf(stderr, "%s\n", error.message);
        exit(2);
    }
    return store;
}

static void note_counters(dynalock_store *store)
{
    dynalock_counters counters;
    (void)dynalock_store_counters(store, &counters);
    note("count taken-over %" PRIu64 "\n", counters.taken_over);
    note("count adopted %" PRIu64 "\n", counters.adopted);
    note("count renewed %" PRIu64 "\n", counters.renewed);
    note("count unanswered %" PRIu64 "\n", counters.unanswered);
}

static void *nothing(void *context)
{
    return context;
}

int main(void)
{
    char *names = getenv("SOAK_KEYS");
    struct thread threads[THREADS];
    log_fd = open(getenv("SOAK_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    resources = getenv("SOAK_RESOURCES");
    for (char *key = strtok(names, ","); key != NULL && key_count < 64; key = strtok(NULL, ",")) {
        keys[key_count++] = key;
    }
    if (log_fd < 0 || key_count == 0) {
        return 2;
    }
    /* Once for nothing: what libcurl, the C library and the sanitizers keep for good is there then. */
    (void)dynalock_close(open_store());
    if (pthread_create(&threads[0].id, NULL, nothing, NULL) == 0) {
        (void)pthread_join(threads[0].id, NULL);
    }
    note_size("before");
    dynalock_store *store = open_store();
    for (unsigned i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){.store = store,
                                     .seed = (unsigned)atoi(getenv("SOAK_SEED")) * THREADS + i};
        if (pthread_create(&threads[i].id, NULL, contend, &threads[i]) != 0) {
            return 2;
        }
    }
    for (unsigned i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i].id, NULL);
    }
    note_counters(store);
    int64_t before = now_us();
    int code = dynalock_close(store);
    note("count close-ms %" PRId64 "\n", (now_us() - before) / 1000);
    note_size("after");
    return code;
}
