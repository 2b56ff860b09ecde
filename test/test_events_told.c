/* SPDX-License-Identifier: Apache-2.0 */
/* How events are told: losses among them, in which order, on which descriptor, and to whom. */
#include "support_events.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static const dynalock_lock_options slow = {.poll_ms = 60000};
static const dynalock_lock_options brief = {.ttl_ms = 3000}; /* the keeper looks after a second */

/* Held, and its event taken. */
static dynalock_lock *take(dynalock_store *store, const char *key, dynalock_lock_options options)
{
    dynalock_lock *lock = lock_make(store, key, options);
    acquire_by_event(store, lock, 0, 0);
    return lock;
}

/* Its record is another's; the loss is noticed, and not yet taken. */
static void lose(struct bench *b, dynalock_lock *lock, const char *key)
{
    bench_put_item(b, key, ANOTHERS);
    assert_true(await_state(lock, DYNALOCK_LOCK_LOST));
    bench_delete_item(b, key);
}

static bool await_count(atomic_int *count, int least)
{
    int64_t end = monotonic_ms() + LONG_MS;
    while (atomic_load(count) < least) {
        if (monotonic_ms() > end) {
            return false;
        }
        sleep_ms(2);
    }
    return true;
}

/* ---- Losses ----------------------------------------------------------------------------------- */

static void test_a_loss_is_told_once_with_its_cause_and_the_token(void **state)
{
    struct bench *b = *state;
    static const int causes[] = {DYNALOCK_CAUSE_TAKEN_OVER, DYNALOCK_CAUSE_GONE};
    for (size_t i = 0; i < COUNT(causes); i++) {
        const char *key = bench_key(b);
        int mine = 0;
        dynalock_lock_options options = brief;
        options.context = &mine;
        dynalock_lock *lock = take(b->store, key, options);
        int64_t token = dynalock_lock_token(lock);
        if (causes[i] == DYNALOCK_CAUSE_GONE) {
            bench_delete_item(b, key);
        } else {
            bench_put_item(b, key, ANOTHERS);
        }
        dynalock_lock_event event = next_event(b->store);
        check_event(event, lock, DYNALOCK_LOCK_EVENT_LOST, DYNALOCK_ERR_LOST);
        assert_int_equal(event.cause, causes[i]);
        assert_int_equal(event.token, token);
        assert_ptr_equal(event.context, &mine);
        assert_contains(event.error.message, dynalock_cause_name(causes[i]));
        no_event(b->store);
        dynalock_lock_free(lock);
    }
}

static void test_a_lock_that_was_acquired_without_events_is_told_to_be_lost_as_well(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock =
        lock_take(b->store, bench_key(b),
                  (dynalock_lock_options){.ttl_ms = 1000, .renewal = DYNALOCK_RENEWAL_NONE});

    dynalock_lock_event event = next_event(b->store);
    check_event(event, lock, DYNALOCK_LOCK_EVENT_LOST, DYNALOCK_ERR_LOST);
    assert_int_equal(event.cause, DYNALOCK_CAUSE_EXPIRED);
    dynalock_lock_free(lock);
}

static void test_the_loss_follows_the_acquisition(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(b->store, key, brief);

    lock_start(lock, 0);
    assert_true(readable(event_fd(b->store), LONG_MS));
    lose(b, lock, key);
    dynalock_lock_event acquired = next_event(b->store);
    check_event(acquired, lock, DYNALOCK_LOCK_EVENT_ACQUIRE, 0);
    assert_int_equal(acquired.cause, DYNALOCK_CAUSE_NONE);
    dynalock_lock_event lost = next_event(b->store);
    check_event(lost, lock, DYNALOCK_LOCK_EVENT_LOST, DYNALOCK_ERR_LOST);
    assert_int_equal(lost.token, acquired.token);
    no_event(b->store);
    dynalock_lock_free(lock);
}

static void test_a_loss_that_is_not_taken_is_forgotten_by_the_next_call(void **state)
{
    enum { ACQUIRE, ACQUIRE_START, RELEASE, RELEASE_START, WAYS };
    struct bench *b = *state;
    for (int way = 0; way < WAYS; way++) {
        const char *key = bench_key(b);
        dynalock_lock *lock = take(b->store, key, brief);
        lose(b, lock, key);
        assert_true(readable(event_fd(b->store), 0));
        if (way == ACQUIRE) {
            check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
        } else if (way == ACQUIRE_START) {
            acquire_by_event(b->store, lock, 0, 0); /* the next event */
        } else if (way == RELEASE) {
            check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_LOST);
        } else {
            check(dynalock_lock_release_start(lock, &failure), DYNALOCK_ERR_LOST);
        }
        no_event(b->store);
        dynalock_lock_free(lock);
    }
}

struct told {
    atomic_int times, cause, code, starts;
    dynalock_store *store;
};

static void on_lost(dynalock_lock *lock, int cause, void *context)
{
    struct told *told = context;
    (void)lock;
    atomic_store(&told->cause, cause);
    atomic_fetch_add(&told->times, 1);
}

static void test_a_loss_is_told_by_the_callback_and_by_the_event(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    static struct told told;
    dynalock_lock_options options = brief;
    options.on_lost = on_lost;
    options.context = &told;
    dynalock_lock *lock = take(b->store, key, options);

    bench_put_item(b, key, ANOTHERS);
    check_event(next_event(b->store), lock, DYNALOCK_LOCK_EVENT_LOST, DYNALOCK_ERR_LOST);
    assert_true(await_count(&told.times, 1));
    assert_int_equal(atomic_load(&told.cause), DYNALOCK_CAUSE_TAKEN_OVER);
    assert_int_equal(atomic_load(&told.times), 1);
    dynalock_lock_free(lock);
}

static void start_anew(dynalock_lock *lock, int cause, void *context)
{
    struct told *told = context;
    (void)cause;
    atomic_store(&told->code, dynalock_lock_acquire_start(lock, -1, NULL));
    atomic_fetch_add(&told->starts, 1);
}

static void test_the_callback_of_a_loss_may_start_the_next_acquisition(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    static struct told told;
    dynalock_lock_options options = brief;
    options.poll_ms = 100;
    options.on_lost = start_anew;
    options.context = &told;
    dynalock_lock *lock = take(b->store, key, options);
    int64_t token = dynalock_lock_token(lock);

    bench_delete_item(b, key);
    assert_true(await_count(&told.starts, 1));
    check(atomic_load(&told.code), 0);
    dynalock_lock_event event = next_event(b->store);
    if (event.kind == DYNALOCK_LOCK_EVENT_LOST) { /* it was here before the callback */
        event = next_event(b->store);
    }
    check_event(event, lock, DYNALOCK_LOCK_EVENT_ACQUIRE, 0);
    assert_true(event.token > token);
    release_by_event(b->store, lock, 0);
    dynalock_lock_free(lock);
}

static void free_it(dynalock_lock *lock, int cause, void *context)
{
    struct told *told = context;
    (void)cause;
    dynalock_lock_free(lock);
    atomic_fetch_add(&told->times, 1);
}

static void test_the_callback_of_a_loss_may_free_the_lock_and_there_is_no_event(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    static struct told told;
    dynalock_lock_options options = brief;
    options.on_lost = free_it;
    options.context = &told;
    (void)take(b->store, key, options);

    bench_delete_item(b, key);
    assert_true(await_count(&told.times, 1));
    no_event(b->store);
}

/* ---- Order and descriptors -------------------------------------------------------------------- */

static void test_events_come_in_the_order_in_which_they_happened(void **state)
{
    enum { MANY = 8 };
    struct bench *b = *state;
    dynalock_lock *locks[MANY];
    char keys[MANY][64];

    for (int i = 0; i < MANY; i++) {
        snprintf(keys[i], sizeof keys[i], "%s", bench_key(b));
        locks[i] = lock_make(b->store, keys[i], slow);
        lock_start(locks[i], 0);
        assert_true(await_event(b, DYNALOCK_EVENT_ACQUIRED, keys[i], 1));
        sleep_ms(20); /* its event follows the one of the log */
    }
    for (int i = 0; i < MANY; i++) {
        check_event(next_event(b->store), locks[i], DYNALOCK_LOCK_EVENT_ACQUIRE, 0);
    }
    for (int i = 0; i < MANY; i++) {
        dynalock_lock_free(locks[i]);
    }
}

static void test_the_descriptor_is_readable_until_there_is_no_event_left(void **state)
{
    enum { MANY = 5 };
    struct bench *b = *state;
    dynalock_lock *locks[MANY];
    int fd = event_fd(b->store);

    assert_int_equal(event_fd(b->store), fd);
    assert_false(readable(fd, 0));
    for (int i = 0; i < MANY; i++) {
        const char *key = bench_key(b);
        locks[i] = lock_make(b->store, key, slow);
        lock_start(locks[i], 0);
        assert_true(await_event(b, DYNALOCK_EVENT_ACQUIRED, key, 1));
    }
    for (int i = 0; i < MANY; i++) {
        assert_true(readable(fd, LONG_MS));
        assert_true(readable(fd, 0)); /* looking at it changes nothing */
        (void)next_event(b->store);
    }
    no_event(b->store);
    check(dynalock_lock_release_start(locks[0], &failure), 0);
    assert_true(readable(fd, LONG_MS)); /* and again */
    (void)next_event(b->store);
    no_event(b->store);
    for (int i = 0; i < MANY; i++) {
        dynalock_lock_free(locks[i]);
    }
}

static void test_an_edge_is_enough_for_who_takes_all_events(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_make(b->store, bench_key(b), slow);
    struct epoll_event ready = {.events = EPOLLIN | EPOLLET};
    int loop = epoll_create1(EPOLL_CLOEXEC);
    int fd = event_fd(b->store);

    assert_int_equal(epoll_ctl(loop, EPOLL_CTL_ADD, fd, &ready), 0);
    for (int i = 0; i < 3; i++) {
        dynalock_lock_event event;
        lock_start(lock, 0);
        assert_int_equal(epoll_wait(loop, &ready, 1, LONG_MS), 1);
        (void)next_event(b->store);
        check(dynalock_lock_release_start(lock, &failure), 0);
        assert_int_equal(epoll_wait(loop, &ready, 1, LONG_MS), 1);
        (void)next_event(b->store);
        check(dynalock_next_event(b->store, &event, &failure), 0);
        assert_int_equal(event.kind, DYNALOCK_LOCK_EVENT_NONE);
    }
    close(loop);
    dynalock_lock_free(lock);
}

static void test_a_descriptor_asked_for_late_is_readable(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(b->store, key, slow);

    lock_start(lock, 0);
    assert_true(await_event(b, DYNALOCK_EVENT_ACQUIRED, key, 1));
    sleep_ms(20);
    assert_true(readable(event_fd(b->store), 0));
    check_event(next_event(b->store), lock, DYNALOCK_LOCK_EVENT_ACQUIRE, 0);
    dynalock_lock_free(lock);
}

static void test_events_are_taken_without_any_descriptor(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_make(b->store, bench_key(b), slow);
    dynalock_lock_event event = {0};

    lock_start(lock, 0);
    for (int64_t end = monotonic_ms() + LONG_MS;
         event.kind == DYNALOCK_LOCK_EVENT_NONE && monotonic_ms() < end; sleep_ms(1)) {
        check(dynalock_next_event(b->store, &event, &failure), 0);
    }
    check_event(event, lock, DYNALOCK_LOCK_EVENT_ACQUIRE, 0);
    dynalock_lock_free(lock);
}

static void test_a_lock_with_a_descriptor_of_its_own_tells_its_events_there_alone(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *own = lock_make(b->store, key, brief);
    dynalock_lock *other = lock_make(b->store, bench_key(b), slow);
    dynalock_lock_event event;
    int fd = lock_event_fd(own);

    assert_int_equal(lock_event_fd(own), fd);
    assert_int_not_equal(event_fd(b->store), fd);
    assert_false(readable(fd, 0));
    lock_start(own, 0);
    check_event(next_lock_event(own), own, DYNALOCK_LOCK_EVENT_ACQUIRE, 0);
    assert_false(readable(fd, 0));
    check(dynalock_lock_next_event(own, &event, &failure), 0);
    assert_int_equal(event.kind, DYNALOCK_LOCK_EVENT_NONE);
    lose(b, own, key);
    no_event(b->store);
    assert_true(readable(fd, 0));
    acquire_by_event(b->store, other, 0, 0);
    check_event(next_lock_event(own), own, DYNALOCK_LOCK_EVENT_LOST, DYNALOCK_ERR_LOST);
    assert_false(readable(fd, 0));
    assert_false(readable(event_fd(b->store), 0));
    dynalock_lock_free(own);
    dynalock_lock_free(other);
}

static void test_a_locks_descriptor_is_readable_until_all_its_events_are_taken(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(b->store, key, brief);
    int fd = lock_event_fd(lock);

    lock_start(lock, 0);
    assert_true(readable(fd, LONG_MS));
    lose(b, lock, key);
    check_event(next_lock_event(lock), lock, DYNALOCK_LOCK_EVENT_ACQUIRE, 0);
    assert_true(readable(fd, 0));
    check_event(next_lock_event(lock), lock, DYNALOCK_LOCK_EVENT_LOST, DYNALOCK_ERR_LOST);
    assert_false(readable(fd, 0));
    dynalock_lock_free(lock);
}

static void test_a_forgotten_loss_makes_no_descriptor_readable(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = take(b->store, key, brief);
    int fd = lock_event_fd(lock);

    lose(b, lock, key);
    assert_true(readable(fd, 0));
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    assert_false(readable(fd, 0));
    lock_end(lock);
}

static void test_an_event_moves_to_a_descriptor_that_is_asked_for_late(void **state)
{
    struct bench *b = *state;
    dynalock_lock *first = lock_make(b->store, bench_key(b), slow);
    dynalock_lock *second = lock_make(b->store, bench_key(b), slow);

    lock_start(first, 0);
    assert_true(readable(event_fd(b->store), LONG_MS));
    int fd = lock_event_fd(first);
    assert_true(readable(fd, 0));
    no_event(b->store);
    acquire_by_event(b->store, second, 0, 0); /* and others' are told as before */
    check_event(next_lock_event(first), first, DYNALOCK_LOCK_EVENT_ACQUIRE, 0);
    dynalock_lock_free(first);
    dynalock_lock_free(second);
}

/* A host that closes descriptors, against all advice, and opens its own: their numbers are the same. */
static void test_what_has_taken_a_descriptors_place_is_left_alone(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = bench_open(b, NULL);
    dynalock_lock *lock = lock_make(store, bench_key(b), slow);
    dynalock_lock *own = lock_make(store, bench_key(b), slow);
    const int fds[] = {event_fd(store), lock_event_fd(own)};
    dynalock_lock_event event = {0};
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    for (size_t i = 0; i < COUNT(fds); i++) {
        assert_int_equal(dup2(ends[1], fds[i]), fds[i]);
    }
    lock_start(lock, 0);
    lock_start(own, 0);
    for (int64_t end = monotonic_ms() + LONG_MS;
         event.kind == DYNALOCK_LOCK_EVENT_NONE && monotonic_ms() < end; sleep_ms(1)) {
        check(dynalock_next_event(store, &event, &failure), 0);
    }
    check_event(event, lock, DYNALOCK_LOCK_EVENT_ACQUIRE, 0);
    assert_true(await_state(own, DYNALOCK_LOCK_HELD));
    dynalock_lock_free(own);
    check(dynalock_close(store), 0);
    dynalock_lock_free(lock);
    assert_false(readable(ends[0], 0)); /* nothing was written */
    for (size_t i = 0; i < COUNT(fds); i++) {
        assert_int_equal(write(fds[i], "x", 1), 1); /* and nothing closed */
        assert_int_equal(close(fds[i]), 0);
    }
    close(ends[0]);
    close(ends[1]);
}

/* ---- With all the rest ------------------------------------------------------------------------ */

static void test_other_calls_go_on_beside_events(void **state)
{
    struct bench *b = *state;
    const char *const key = bench_key(b);
    dynalock_lock *held = take(b->store, key, slow);
    dynalock_lock *waits = lock_make(b->store, key, (dynalock_lock_options){.poll_ms = 100});
    dynalock_lock *other = lock_make(b->store, bench_key(b), slow);
    struct waiter w;

    waiter_start(&w, waits, -1, -1);
    assert_true(await_event(b, DYNALOCK_EVENT_WAITING, key, 1));
    check(dynalock_lock_renew(held, 30000, &failure), 0);
    assert_true(dynalock_lock_remaining_ms(held) > 20000);
    acquire_by_event(b->store, other, 0, 0);
    check(dynalock_lock_release(other, &failure), 0); /* by a call */
    check(dynalock_lock_acquire(other, -1, 0, &failure), 0);
    release_by_event(b->store, other, 0);
    release_by_event(b->store, held, 0);
    check(waiter_join(&w), 0);
    no_event(b->store);
    lock_end(waits);
    dynalock_lock_free(other);
    dynalock_lock_free(held);
}

static void test_the_keeper_renews_what_events_have_acquired(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = take(b->store, key, brief);

    assert_true(await_event(b, DYNALOCK_EVENT_RENEWED, key, 4)); /* longer than one lease */
    check(dynalock_lock_ensure(lock, 1, &failure), 0);
    no_event(b->store);
    release_by_event(b->store, lock, 0);
    dynalock_lock_free(lock);
}

static void take_in_log(const dynalock_event *event, void *context)
{
    struct told *told = context;
    dynalock_lock_event taken = {0};
    if (told->store == NULL || event->id == DYNALOCK_EVENT_ATTEMPT) {
        return;
    }
    atomic_store(&told->code, dynalock_next_event(told->store, &taken, NULL));
    if (taken.kind == DYNALOCK_LOCK_EVENT_LOST) {
        atomic_store(&told->cause, taken.cause);
        atomic_fetch_add(&told->times, 1);
    }
}

static void test_the_log_callback_may_take_events(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    static struct told told;
    dynalock_options options = bench_options(b);
    options.log = take_in_log;
    options.log_context = &told;
    dynalock_store *store = bench_open(b, &options);
    dynalock_lock *lock = lock_take(store, key, brief);

    told.store = store;
    bench_delete_item(b, key);
    assert_true(await_count(&told.times, 1)); /* by the time the loss is logged it can be taken */
    check(atomic_load(&told.code), 0);
    assert_int_equal(atomic_load(&told.cause), DYNALOCK_CAUSE_GONE);
    dynalock_lock_free(lock);
    dynalock_close(store);
}

static atomic_int alarms;

static void on_alarm(int number)
{
    (void)number;
    atomic_fetch_add(&alarms, 1);
}

static void test_signals_do_not_disturb(void **state)
{
    struct bench *b = *state;
    dynalock_lock *lock = lock_make(b->store, bench_key(b), slow);
    struct sigaction action = {.sa_handler = on_alarm};
    struct sigaction before;
    const struct itimerval often = {{0, 2000}, {0, 2000}};
    const struct itimerval never = {{0, 0}, {0, 0}};
    dynalock_lock_event event;

    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    for (int i = 0; i < 10; i++) {
        for (int release = 0; release < 2; release++) {
            check(release == 0 ? dynalock_lock_acquire_start(lock, -1, &failure)
                               : dynalock_lock_release_start(lock, &failure),
                  0);
            for (event.kind = 0; event.kind == DYNALOCK_LOCK_EVENT_NONE;) {
                check(dynalock_next_event(b->store, &event, &failure), 0);
            }
            check_event(event, lock,
                        release == 0 ? DYNALOCK_LOCK_EVENT_ACQUIRE : DYNALOCK_LOCK_EVENT_RELEASE,
                        0);
        }
    }
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    assert_true(atomic_load(&alarms) > 0);
    dynalock_lock_free(lock);
}

/* ---- A child of fork -------------------------------------------------------------------------- */

/* How many calls a child is not refused. */
static int child_tries(dynalock_store *store, dynalock_lock *lock)
{
    dynalock_lock_event event;
    int fd = -1;
    const int codes[] = {
        dynalock_lock_acquire_start(lock, 0, NULL),
        dynalock_lock_release_start(lock, NULL),
        dynalock_lock_cancel(lock, NULL),
        dynalock_event_fd(store, &fd, NULL),
        dynalock_next_event(store, &event, NULL),
        dynalock_lock_event_fd(lock, &fd, NULL),
        dynalock_lock_next_event(lock, &event, NULL),
    };
    int bad = 0;
    for (size_t i = 0; i < COUNT(codes); i++) {
        bad += codes[i] != DYNALOCK_ERR_FORKED;
    }
    return bad;
}

static void fork_and_try(dynalock_store *store, dynalock_lock **locks, size_t count,
                         bool close_first)
{
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)alarm(60);
        int bad = child_tries(store, locks[0]);
        bad += close_first && dynalock_close(store) != 0;
        for (size_t i = 0; i < count; i++) {
            dynalock_lock_free(locks[i]);
        }
        bad += !close_first && dynalock_close(store) != 0;
        _exit(bad);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    assert_int_equal(status, 0);
}

static void test_a_child_is_refused_and_the_parent_goes_on(void **state)
{
    struct bench *b = *state;
    for (int close_first = 0; close_first < 2; close_first++) {
        const char *const keys[] = {bench_key(b), bench_key(b), bench_key(b), bench_key(b)};
        dynalock_lock *locks[COUNT(keys)];
        for (size_t i = 0; i < COUNT(keys); i++) {
            locks[i] = lock_make(b->store, keys[i], (dynalock_lock_options){.poll_ms = 100});
        }
        /* One held, one asked for, one that waits, one whose event is not taken. */
        acquire_by_event(b->store, locks[0], 0, 0);
        rig_fault(b->rig, "'match':{'key':'%s'},'action':'hold'", keys[1]);
        lock_start(locks[1], -1);
        assert_true(rig_wait(b->rig, NULL, "held", 1 + close_first, LONG_MS));
        bench_put_item(b, keys[2], ANOTHERS);
        lock_start(locks[2], -1);
        (void)lock_event_fd(locks[3]);
        lock_start(locks[3], 0);
        assert_true(readable(lock_event_fd(locks[3]), LONG_MS));

        fork_and_try(b->store, locks, COUNT(locks), close_first == 1);

        check_event(next_lock_event(locks[3]), locks[3], DYNALOCK_LOCK_EVENT_ACQUIRE, 0);
        rig_let_go(b->rig);
        check_event(next_event(b->store), locks[1], DYNALOCK_LOCK_EVENT_ACQUIRE, 0);
        bench_delete_item(b, keys[2]);
        check_event(next_event(b->store), locks[2], DYNALOCK_LOCK_EVENT_ACQUIRE, 0);
        check(dynalock_lock_ensure(locks[0], 1, &failure), 0);
        for (size_t i = 0; i < COUNT(locks); i++) {
            lock_end(locks[i]);
            assert_false(is_there(b, keys[i]));
        }
    }
}

/* ---- Many threads ----------------------------------------------------------------------------- */

enum { CROWD_THREADS = 4, CROWD_KEYS = 3, CROWD_MS = 3000 };

/* Threads that start, cancel and free as chance has it, one that takes events, and the keeper: every event names the
 * lock it is of, no key has two holders, and nothing is left. */
struct crowd {
    struct bench *bench;
    dynalock_store *store;
    char keys[CROWD_KEYS][64];
    atomic_int holders[CROWD_KEYS], acquired, wrong;
    int64_t end_ms;
};

struct member {
    pthread_t thread;
    struct crowd *crowd;
    unsigned seed;
};

static unsigned member_chance(struct member *m, unsigned below)
{
    m->seed = m->seed * 1664525U + 1013904223U;
    return (m->seed >> 8) % below;
}

static void member_wrong(struct member *m, const char *what, const dynalock_error *error)
{
    fprintf(stderr, "%s: %s\n", what, error->message);
    atomic_fetch_add(&m->crowd->wrong, 1);
}

/* The event of what was started; false: it did not come. */
static bool member_await(dynalock_lock *lock, int fd, dynalock_lock_event *event)
{
    event->kind = DYNALOCK_LOCK_EVENT_NONE;
    return readable(fd, LONG_MS) && dynalock_lock_next_event(lock, event, NULL) == 0 &&
           event->kind != DYNALOCK_LOCK_EVENT_NONE && event->lock == lock;
}

static void member_hold(struct member *m, dynalock_lock *lock, int fd, int key)
{
    dynalock_error error = {0};
    dynalock_lock_event event = {0};
    atomic_fetch_add(&m->crowd->acquired, 1);
    if (atomic_fetch_add(&m->crowd->holders[key], 1) != 0) {
        member_wrong(m, "two hold it", &error);
    }
    sleep_ms(member_chance(m, 3));
    if (dynalock_lock_ensure(lock, 0, &error) != 0) {
        member_wrong(m, "not held", &error);
    }
    atomic_fetch_sub(&m->crowd->holders[key], 1);
    if (member_chance(m, 4) == 0) {
        return; /* dynalock_lock_free does it */
    }
    if (dynalock_lock_release_start(lock, &error) != 0) {
        member_wrong(m, "release_start", &error);
    } else if (member_chance(m, 4) != 0 && (!member_await(lock, fd, &event) || event.code != 0)) {
        member_wrong(m, "the release", &event.error);
    }
}

static void member_turn(struct member *m)
{
    int key = (int)member_chance(m, CROWD_KEYS);
    dynalock_lock *lock = NULL;
    dynalock_lock_event event = {0};
    dynalock_error error = {0};
    const dynalock_lock_options options = {.poll_ms = 20};
    int fd = -1;
    if (dynalock_lock_new(m->crowd->store, m->crowd->keys[key], &options, &lock, &error) != 0 ||
        dynalock_lock_event_fd(lock, &fd, &error) != 0 ||
        dynalock_lock_acquire_start(lock, member_chance(m, 2) == 0 ? -1 : 50, &error) != 0) {
        member_wrong(m, "start", &error);
        dynalock_lock_free(lock);
        return;
    }
    sleep_ms(member_chance(m, 6));
    unsigned what = member_chance(m, 3);
    if (what == 0 || monotonic_ms() > m->crowd->end_ms) {
        (void)dynalock_lock_cancel(lock, NULL);
    }
    if (what != 1) {
        if (!member_await(lock, fd, &event)) {
            member_wrong(m, "no event", &error);
        } else if (event.code == 0) {
            member_hold(m, lock, fd, key);
        } else if (event.code != DYNALOCK_ERR_CANCELLED &&
                   event.code != DYNALOCK_ERR_NOT_ACQUIRED && event.code != DYNALOCK_ERR_TIMEOUT) {
            member_wrong(m, "the acquisition", &event.error);
        }
    }
    dynalock_lock_free(lock);
}

static void *member_main(void *context)
{
    struct member *m = context;
    while (monotonic_ms() < m->crowd->end_ms) {
        member_turn(m);
    }
    return NULL;
}

static void test_many_threads_start_cancel_and_free(void **state)
{
    struct bench *b = *state;
    struct crowd crowd = {.bench = b, .end_ms = monotonic_ms() + CROWD_MS};
    struct member members[CROWD_THREADS];
    dynalock_options options = bench_options(b);
    options.max_connections = 3;
    crowd.store = bench_open(b, &options);
    for (int i = 0; i < CROWD_KEYS; i++) {
        snprintf(crowd.keys[i], sizeof crowd.keys[i], "%s", bench_key(b));
    }
    for (unsigned i = 0; i < CROWD_THREADS; i++) {
        members[i] = (struct member){.crowd = &crowd, .seed = i + 1};
        assert_int_equal(pthread_create(&members[i].thread, NULL, member_main, &members[i]), 0);
    }
    for (int i = 0; i < CROWD_THREADS; i++) {
        pthread_join(members[i].thread, NULL);
    }
    assert_int_equal(atomic_load(&crowd.wrong), 0);
    print_message("%d acquisitions\n", atomic_load(&crowd.acquired));
    assert_true(atomic_load(&crowd.acquired) > 10);
    no_event(crowd.store);
    dynalock_close(crowd.store); /* with what is to be removed yet */
    for (int i = 0; i < CROWD_KEYS; i++) {
        assert_false(is_there(b, crowd.keys[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOCK_TEST(test_a_loss_is_told_once_with_its_cause_and_the_token),
        LOCK_TEST(test_a_lock_that_was_acquired_without_events_is_told_to_be_lost_as_well),
        LOCK_TEST(test_the_loss_follows_the_acquisition),
        LOCK_TEST(test_a_loss_that_is_not_taken_is_forgotten_by_the_next_call),
        LOCK_TEST(test_a_loss_is_told_by_the_callback_and_by_the_event),
        LOCK_TEST(test_the_callback_of_a_loss_may_start_the_next_acquisition),
        LOCK_TEST(test_the_callback_of_a_loss_may_free_the_lock_and_there_is_no_event),
        LOCK_TEST(test_events_come_in_the_order_in_which_they_happened),
        LOCK_TEST(test_the_descriptor_is_readable_until_there_is_no_event_left),
        LOCK_TEST(test_an_edge_is_enough_for_who_takes_all_events),
        LOCK_TEST(test_a_descriptor_asked_for_late_is_readable),
        LOCK_TEST(test_events_are_taken_without_any_descriptor),
        LOCK_TEST(test_a_lock_with_a_descriptor_of_its_own_tells_its_events_there_alone),
        LOCK_TEST(test_a_locks_descriptor_is_readable_until_all_its_events_are_taken),
        LOCK_TEST(test_a_forgotten_loss_makes_no_descriptor_readable),
        LOCK_TEST(test_an_event_moves_to_a_descriptor_that_is_asked_for_late),
        LOCK_TEST(test_what_has_taken_a_descriptors_place_is_left_alone),
        LOCK_TEST(test_other_calls_go_on_beside_events),
        LOCK_TEST(test_the_keeper_renews_what_events_have_acquired),
        LOCK_TEST(test_the_log_callback_may_take_events),
        LOCK_TEST(test_signals_do_not_disturb),
        LOCK_TEST(test_a_child_is_refused_and_the_parent_goes_on),
        LOCK_TEST(test_many_threads_start_cancel_and_free),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
