/* SPDX-License-Identifier: Apache-2.0 */
#include "support_lock.h"

#include <poll.h>
#include <time.h>

/* ---- The bench ---- */

int lock_setup(void **state)
{
    *state = bench_new();
    return 0;
}

static bool lock_told_secret(struct bench *b)
{
    for (int n = 1;; n++) {
        struct captured event = capture_get(b->events, 0, NULL, n);
        if (event.id == 0) {
            return false;
        }
        if (strstr(event.message, RIG_SECRET) != NULL || strstr(event.name, RIG_SECRET) != NULL) {
            return true;
        }
    }
}

int lock_teardown(void **state)
{
    struct bench *b = *state;
    int code = bench_violations(state);
    if (lock_told_secret(b)) {
        fprintf(stderr, "there is a secret in the log\n");
        code = -1;
    }
    rig_clear_faults(b->rig);
    rig_let_go(b->rig);
    bench_free(b);
    return code;
}

void warm(dynalock_store *store)
{
    bool exists = false;
    for (int i = 0; i < 2; i++) {
        check(dynalock_exists(store, "warm", NULL, &exists, &failure), 0);
    }
}

dynalock_store *impatient(struct bench *b)
{
    dynalock_options options = bench_options(b);
    options.max_attempts = 1;
    options.close_timeout_ms = 300;
    options.log = capture_log;
    options.log_context = b->events;
    return bench_open(b, &options);
}

/* ---- Locks ---- */

dynalock_lock *lock_make(dynalock_store *store, const char *key, dynalock_lock_options options)
{
    dynalock_lock *lock = NULL;
    check(dynalock_lock_new(store, key, &options, &lock, &failure), 0);
    return lock;
}

dynalock_lock *lock_take(dynalock_store *store, const char *key, dynalock_lock_options options)
{
    dynalock_lock *lock = lock_make(store, key, options);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    return lock;
}

void lock_end(dynalock_lock *lock)
{
    check(dynalock_lock_release(lock, &failure), 0);
    dynalock_lock_free(lock);
}

/* ---- What is awaited ---- */

int64_t real_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool readable(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, timeout_ms) == 1 && (p.revents & (POLLIN | POLLHUP)) != 0;
}

bool await_state(dynalock_lock *lock, int state)
{
    int64_t end = monotonic_ms() + LONG_MS;
    while (dynalock_lock_state(lock) != state) {
        if (monotonic_ms() > end) {
            return false;
        }
        sleep_ms(2);
    }
    return true;
}

bool is_there(struct bench *b, const char *key)
{
    json_t *item = bench_item(b, key);
    json_decref(item);
    return item != NULL;
}

bool await_gone(struct bench *b, const char *key)
{
    int64_t end = monotonic_ms() + LONG_MS;
    while (is_there(b, key)) {
        if (monotonic_ms() > end) {
            return false;
        }
        sleep_ms(20);
    }
    return true;
}

bool await_event(struct bench *b, int id, const char *key, int count)
{
    return capture_wait(b->events, id, key, count, LONG_MS);
}

/* ---- Waiters ---- */

static void *waiter_main(void *context)
{
    struct waiter *w = context;
    w->code = dynalock_lock_acquire(w->lock, w->stop_fd, w->wait_ms, &w->error);
    w->ended_ms = monotonic_ms();
    w->ended_real_ms = real_ms();
    return NULL;
}

void waiter_start(struct waiter *w, dynalock_lock *lock, int stop_fd, int64_t wait_ms)
{
    memset(w, 0, sizeof *w);
    w->lock = lock;
    w->stop_fd = stop_fd;
    w->wait_ms = wait_ms;
    w->began_ms = monotonic_ms();
    assert_int_equal(pthread_create(&w->thread, NULL, waiter_main, w), 0);
}

int waiter_join(struct waiter *w)
{
    pthread_join(w->thread, NULL);
    return w->code;
}

void in_flight_begin(struct bench *b, const char *op, const char *key, const char *fault)
{
    rig_reset_counts(b->rig);
    rig_fault(b->rig, "'match':{'op':'%s','key':'%s'},'times':-1,'action':{'do':%s}", op, key,
              fault);
}

void in_flight_await(struct bench *b, const char *op, const char *fault)
{
    /* What is to be let go must be held before. */
    const char *begun = strstr(fault, "hold") != NULL ? "held" : "arrived";
    assert_true(rig_wait(b->rig, op, begun, 1, LONG_MS));
}

void in_flight_end(struct bench *b)
{
    rig_clear_faults(b->rig);
    rig_let_go(b->rig);
}

void end_with_each_fault(struct bench *b, void (*end_in_flight)(struct bench *b, const char *fault,
                                                                bool keep_record))
{
    static const char *const faults[] = {
        "\"hold\"",                       /* the record is there, the answer comes later */
        "\"hold\",\"where\":\"request\"", /* the record itself comes later */
        "\"drop\"",
        "\"reset\"",
    };
    for (size_t i = 0; i < COUNT(faults); i++) {
        end_in_flight(b, faults[i], false);
    }
    end_in_flight(b, faults[0], true);
    dynalock_counters counters;
    check(dynalock_store_counters(b->store, &counters), 0);
    assert_int_equal(counters.cleanups, 0);
}
