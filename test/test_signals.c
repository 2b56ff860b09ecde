/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals: whatever a call waits for, a handler that runs meanwhile (without SA_RESTART) neither ends the wait nor
 * makes it longer, and no thread of the library ever runs one.
 */
#define _GNU_SOURCE /* gettid's system call */
#include "support_calls.h"
#include "support_names.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#define SLOW_MS 100
#define LATE_MS 3000 /* on a machine under load */
#define ALL_THREADS 64

/* ---- The handler ----------------------------------------------------------------------------- */

static _Thread_local volatile sig_atomic_t is_ours; /* a thread that a test knows */
static atomic_int handled, foreign;

static void on_signal(int signal)
{
    (void)signal;
    atomic_fetch_add(&handled, 1);
    atomic_fetch_add(&foreign, is_ours ? 0 : 1);
}

static void handle(int signal)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    assert_int_equal(sigaction(signal, &action, NULL), 0);
}

/* SIGALRM every 2 ms; 0: not any more. The kernel gives it to the main thread, if that does not block it. */
static void alarms_every(long ms)
{
    const struct itimerval timer = {.it_interval.tv_usec = ms * 1000,
                                    .it_value.tv_usec = ms * 1000};
    assert_int_equal(setitimer(ITIMER_REAL, &timer, NULL), 0);
}

static void alarms_begin(void)
{
    atomic_store(&handled, 0);
    atomic_store(&foreign, 0);
    handle(SIGALRM);
    alarms_every(2);
}

static void alarms_end(int at_least)
{
    alarms_every(0);
    assert_true(atomic_load(&handled) >= at_least);
    assert_int_equal(atomic_load(&foreign), 0);
}

static int signals_setup(void **state)
{
    is_ours = 1;
    return lock_setup(state);
}

static int signals_teardown(void **state)
{
    alarms_every(0);
    return lock_teardown(state);
}

#define SIGNALS_TEST(function) \
    cmocka_unit_test_setup_teardown(function, signals_setup, signals_teardown)

/* ---- Amid requests --------------------------------------------------------------------------- */

/* Each answer is late by SLOW_MS: the call takes that for each of its requests. */
static void amid_call(struct bench *b, const struct server_call *call)
{
    struct caller c = caller_new(b, NULL);
    dynalock_counters before;
    dynalock_counters after;
    print_message("%s\n", call->name);
    check(dynalock_store_counters(c.store, &before), DYNALOCK_OK);
    rig_fault(b->rig, "'times':-1,'action':{'do':'delay','ms':%d}", SLOW_MS);
    bench_reset(b);
    alarms_begin();
    int64_t began = monotonic_ms();
    check(call->make(&c, &failure), DYNALOCK_OK);
    int64_t took_ms = monotonic_ms() - began;
    alarms_end(5);
    int64_t slow_ms = (int64_t)bench_count(b, NULL) * SLOW_MS;
    rig_clear_faults(b->rig);
    assert_in_range(took_ms, slow_ms - 10, slow_ms + LATE_MS);
    check(dynalock_store_counters(c.store, &after), DYNALOCK_OK);
    assert_int_equal(after.retries, before.retries);
    assert_int_equal(after.connections, before.connections);
    caller_free(&c);
}

static void test_no_call_is_cut_short_or_drawn_out(void **state)
{
    for (size_t i = 0; i < server_call_count; i++) {
        amid_call(*state, &server_calls[i]);
    }
}

/* A hundred signals at once, at the moment when the server has the request, or the answer is on its way. */
static void test_a_burst_amid_a_request_changes_nothing(void **state)
{
    static const char *const steps[] = {"request", "answer"};
    struct bench *b = *state;
    handle(SIGUSR1);
    for (size_t i = 0; i < server_call_count * COUNT(steps); i++) {
        struct caller c = caller_new(b, NULL);
        struct call_thread t;
        atomic_store(&handled, 0);
        rig_fault(b->rig, "'action':{'do':'hold','where':'%s'}", steps[i % COUNT(steps)]);
        bench_reset(b);
        call_start(&t, &c, &server_calls[i / COUNT(steps)]);
        assert_true(rig_wait(b->rig, NULL, "held", 1, LONG_MS));
        for (int n = 0; n < 100; n++) {
            assert_int_equal(pthread_kill(t.thread, SIGUSR1), 0);
            sched_yield();
        }
        assert_int_equal(rig_let_go(b->rig), 1);
        for (int n = 0; n < 100; n++) {
            (void)pthread_kill(t.thread, SIGUSR1); /* it is not joined yet */
        }
        check(call_join(&t), DYNALOCK_OK);
        assert_true(atomic_load(&handled) > 0);
        caller_free(&c);
    }
}

static void test_the_wait_before_a_retry_is_kept(void **state)
{
    struct bench *b = *state;
    struct caller c = caller_new(b, NULL);
    dynalock_counters before;
    dynalock_counters after;
    check(dynalock_store_counters(c.store, &before), DYNALOCK_OK);
    rig_fault(b->rig, "'times':2,'action':{'do':'status','headers':{'x-amz-retry-after':'300'}}");
    alarms_begin();
    int64_t began = monotonic_ms();
    check(dynalock_lock_release(c.held, &failure), DYNALOCK_OK);
    assert_in_range(monotonic_ms() - began, 600, 600 + LATE_MS);
    alarms_end(20);
    check(dynalock_store_counters(c.store, &after), DYNALOCK_OK);
    assert_int_equal(after.retries, before.retries + 2);
    caller_free(&c);
}

static void test_the_time_limit_of_an_operation_is_kept(void **state)
{
    struct bench *b = *state;
    dynalock_options options = bench_options(b);
    options.timeout_ms = 800;
    options.attempt_timeout_ms = 400;
    dynalock_store *store = bench_open(b, &options);
    warm(store);
    rig_fault(b->rig, "'times':-1,'action':'blackhole'");
    alarms_begin();
    int64_t began = monotonic_ms();
    check(dynalock_put(store, "k", dynalock_none(), NULL, &failure), DYNALOCK_ERR_TIMEOUT);
    assert_in_range(monotonic_ms() - began, 390, 800 + LATE_MS);
    alarms_end(10);
    dynalock_close(store);
}

/* ---- Amid waits ------------------------------------------------------------------------------ */

static void test_the_wait_for_a_lock_is_kept(void **state)
{
    struct bench *b = *state;
    struct caller c = caller_new(b, NULL);
    const dynalock_lock_options options = {.ttl_ms = 3000, .poll_ms = 300};
    dynalock_lock *waiting = lock_make(c.store, c.held_key, options);
    bench_reset(b);
    alarms_begin();
    int64_t began = monotonic_ms();
    check(dynalock_lock_acquire(waiting, -1, 1000, &failure), DYNALOCK_ERR_NOT_ACQUIRED);
    assert_in_range(monotonic_ms() - began, 990, 1000 + LATE_MS);
    alarms_end(20);
    assert_in_range(bench_count(b, NULL), 2, 10); /* one each poll, not each signal */
    dynalock_lock_free(waiting);
    caller_free(&c);
}

static void test_a_waiter_gets_the_lock_and_can_be_stopped(void **state)
{
    struct bench *b = *state;
    struct caller c = caller_new(b, NULL);
    struct waiter w;
    int stop[2];
    const dynalock_lock_options options = {.ttl_ms = 3000, .poll_ms = 200};
    dynalock_lock *waiting = lock_make(c.store, c.held_key, options);
    assert_int_equal(pipe(stop), 0);
    handle(SIGUSR1);
    for (int round = 0; round < 2; round++) {
        capture_clear(b->events);
        waiter_start(&w, waiting, stop[0], -1);
        assert_true(await_event(b, DYNALOCK_EVENT_WAITING, c.held_key, 1));
        for (int n = 0; n < 100; n++) {
            assert_int_equal(pthread_kill(w.thread, SIGUSR1), 0);
            sleep_ms(2);
        }
        if (round == 0) {
            assert_int_equal(write(stop[1], "x", 1), 1);
            assert_int_equal(waiter_join(&w), DYNALOCK_ERR_CANCELLED);
            char byte = 0;
            assert_int_equal(read(stop[0], &byte, 1), 1);
        } else {
            check(dynalock_lock_release(c.held, &failure), DYNALOCK_OK);
            assert_int_equal(waiter_join(&w), DYNALOCK_OK);
        }
    }
    close(stop[0]);
    close(stop[1]);
    lock_end(waiting);
    caller_free(&c);
}

static void test_the_wait_for_a_table_is_kept(void **state)
{
    struct bench *b = *state;
    rig_fault(b->rig, "'match':{'op':'DescribeTable'},'times':-1,'action':{'do':'rewrite',"
                      "'body':{'Table':{'TableStatus':'CREATING'}}}");
    bench_reset(b);
    alarms_begin();
    int64_t began = monotonic_ms();
    check(dynalock_table_create(b->store, 1200, NULL, &failure), DYNALOCK_ERR_TIMEOUT);
    assert_in_range(monotonic_ms() - began, 1190, 1200 + LATE_MS);
    alarms_end(20);
    assert_in_range(bench_count(b, "DescribeTable"), 2, 10); /* not one each signal */
}

/* ---- Amid the closing ------------------------------------------------------------------------ */

static void test_closing_releases_what_is_held(void **state)
{
    struct bench *b = *state;
    struct caller c = caller_new(b, NULL);
    rig_fault(b->rig, "'match':{'op':'DeleteItem'},'action':{'do':'delay','ms':300}");
    alarms_begin();
    int64_t began = monotonic_ms();
    assert_int_equal(dynalock_close(c.store), DYNALOCK_OK);
    assert_in_range(monotonic_ms() - began, 290, 300 + LATE_MS);
    alarms_end(10);
    assert_false(is_there(b, c.held_key));
    c.store = NULL;
    caller_free(&c);
}

static void test_closing_ends_the_calls_of_other_threads(void **state)
{
    struct bench *b = *state;
    struct caller c = caller_new(b, NULL);
    struct call_thread t;
    check(dynalock_lock_release(c.held, &failure), DYNALOCK_OK);
    bench_reset(b);
    rig_fault(b->rig, "'action':'blackhole'");
    call_start(&t, &c, &server_calls[0]);
    assert_true(rig_wait(b->rig, NULL, "arrived", 1, LONG_MS));
    alarms_begin();
    int64_t began = monotonic_ms();
    assert_int_equal(dynalock_close(c.store), DYNALOCK_OK);
    assert_true(monotonic_ms() - began < LATE_MS);
    alarms_end(0);
    assert_int_equal(call_join(&t), DYNALOCK_ERR_CLOSED);
    c.store = NULL;
    caller_free(&c);
}

/* ---- Threads of the library ------------------------------------------------------------------ */

/* Fills tids with the threads that are there, and returns how many. */
static size_t threads_now(pid_t tids[ALL_THREADS])
{
    size_t count = 0;
    DIR *folder = opendir("/proc/self/task");
    assert_non_null(folder);
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        if (entry->d_name[0] != '.' && count < ALL_THREADS) {
            tids[count++] = (pid_t)strtol(entry->d_name, NULL, 10);
        }
    }
    closedir(folder);
    return count;
}

static void block(int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    assert_int_equal(pthread_sigmask(how, &set, NULL), 0);
}

static void test_a_signal_that_the_program_blocks_stays_pending(void **state)
{
    struct bench *b = *state;
    sigset_t pending;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(b->store, key, (dynalock_lock_options){.ttl_ms = 1500});
    block(SIG_BLOCK); /* the threads of the library have begun without that */
    handle(SIGUSR2);
    atomic_store(&handled, 0);
    for (int round = 1; round <= 3; round++) {
        assert_int_equal(kill(getpid(), SIGUSR2), 0);
        assert_true(await_event(b, DYNALOCK_EVENT_RENEWED, key, round));
        assert_int_equal(sigpending(&pending), 0);
        assert_int_equal(sigismember(&pending, SIGUSR2), 1);
    }
    assert_int_equal(atomic_load(&handled), 0);
    lock_end(lock);
    block(SIG_UNBLOCK); /* here it is handled */
    assert_int_equal(atomic_load(&handled), 1);
}

static void test_signals_to_every_thread_disturb_no_renewal(void **state)
{
    struct bench *b = *state;
    pid_t tids[ALL_THREADS];
    const char *key = bench_key(b);
    handle(SIGUSR2);
    dynalock_lock *lock = lock_take(b->store, key, (dynalock_lock_options){.ttl_ms = 6000});
    atomic_store(&handled, 0);
    atomic_store(&foreign, 0);
    size_t count = threads_now(tids);
    assert_true(count >= 3); /* this one, the keeper, the watch */
    while (capture_count(b->events, DYNALOCK_EVENT_RENEWED, key) < 3) {
        for (size_t i = 0; i < count; i++) {
            (void)syscall(SYS_tgkill, getpid(), tids[i], SIGUSR2);
        }
        sleep_ms(1);
        check(dynalock_lock_ensure(lock, 0, &failure), DYNALOCK_OK);
    }
    assert_true(atomic_load(&handled) > 10);
    assert_int_equal(atomic_load(&foreign), 0);
    dynalock_counters counters;
    check(dynalock_store_counters(b->store, &counters), DYNALOCK_OK);
    assert_int_equal(counters.renewals_failed, 0);
    lock_end(lock);
}

static void test_the_deadline_is_judged_in_time(void **state)
{
    struct bench *b = *state;
    int fd = -1;
    const dynalock_lock_options options = {.ttl_ms = 1500, .renewal = DYNALOCK_RENEWAL_NONE};
    dynalock_lock *lock = lock_take(b->store, bench_key(b), options);
    check(dynalock_lock_lost_fd(lock, &fd, &failure), DYNALOCK_OK);
    int64_t left_ms = dynalock_lock_remaining_ms(lock);
    int64_t began = monotonic_ms();
    alarms_begin();
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    while (poll(&polled, 1, 20000) < 0) {
    }
    alarms_end(10);
    assert_true(polled.revents & POLLIN);
    assert_in_range(monotonic_ms() - began, left_ms - 20, left_ms + LATE_MS);
    dynalock_lock_free(lock);
}

/* ---- Names ----------------------------------------------------------------------------------- */

#define SLOW_NAME "dynamodb.test"
#define LOOKUP_MS 300

static atomic_int lookups;

static bool look_up_slowly(void)
{
    atomic_fetch_add(&lookups, 1);
    sleep_ms(LOOKUP_MS);
    return true;
}

static void test_resolving_a_name_is_not_cut_short(void **state)
{
    struct bench *b = *state;
    char endpoint[64];
    bool exists = false;
    dynalock_options options = bench_options(b);
    snprintf(endpoint, sizeof endpoint, "http://%s%s", SLOW_NAME, strrchr(b->endpoint, ':'));
    options.endpoint = endpoint;
    options.max_attempts = 1;
    dynalock_store *store = bench_open(b, &options);
    alarms_begin();
    int64_t began = monotonic_ms();
    check(dynalock_exists(store, "k", NULL, &exists, &failure), DYNALOCK_OK);
    int64_t took_ms = monotonic_ms() - began;
    atomic_store(&foreign, 0); /* libcurl's thread has the mask of the one that calls */
    alarms_end(10);
    assert_true(atomic_load(&lookups) > 0);
    assert_in_range(took_ms, LOOKUP_MS - 10, LOOKUP_MS + LATE_MS);
    dynalock_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SIGNALS_TEST(test_no_call_is_cut_short_or_drawn_out),
        SIGNALS_TEST(test_a_burst_amid_a_request_changes_nothing),
        SIGNALS_TEST(test_the_wait_before_a_retry_is_kept),
        SIGNALS_TEST(test_the_time_limit_of_an_operation_is_kept),
        SIGNALS_TEST(test_the_wait_for_a_lock_is_kept),
        SIGNALS_TEST(test_a_waiter_gets_the_lock_and_can_be_stopped),
        SIGNALS_TEST(test_the_wait_for_a_table_is_kept),
        SIGNALS_TEST(test_closing_releases_what_is_held),
        SIGNALS_TEST(test_closing_ends_the_calls_of_other_threads),
        SIGNALS_TEST(test_a_signal_that_the_program_blocks_stays_pending),
        SIGNALS_TEST(test_signals_to_every_thread_disturb_no_renewal),
        SIGNALS_TEST(test_the_deadline_is_judged_in_time),
        SIGNALS_TEST(test_resolving_a_name_is_not_cut_short),
    };
    names_take(SLOW_NAME, look_up_slowly);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
