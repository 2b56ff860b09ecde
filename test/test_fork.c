/* SPDX-License-Identifier: Apache-2.0 */
/* A child of fork: refused by every call, silent on its parent's connections, and rid of the store without harm. */
#include "support_calls.h"
#include "support_certificate.h"
#include "support_process.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_LIMIT_S 60
#define CHILD_UNABLE 77
#define CHILD_AT_ONCE_MS 5000 /* on a machine under load */

/* What a child is asked to do with its parent's objects; it returns how much of it went wrong. */
struct inherited {
    struct bench *bench;
    dynalock_store *store;
    dynalock_lock *lock;
    dynalock_lock *other; /* or NULL, as the lock */
    const char *key;
    const char *endpoint; /* of the server that speaks TLS */
    const struct certificate *certificate;
};

/* The leak sanitizer asks this at exit: what a child has of the calls of threads it does not have, is no leak. */
static bool leaks_are_none;
__attribute__((visibility("default"))) int __lsan_is_turned_off(void);

int __lsan_is_turned_off(void)
{
    return leaks_are_none;
}

/* cmocka's asserts are the parent's: a child says what is wrong, and counts it. */
static int wrong(const char *what, int code, int expected)
{
    if (code == expected) {
        tell_code(code);
        return 0;
    }
    fprintf(stderr, "in the child: %s: %d, not %d\n", what, code, expected);
    return 1;
}

static int child_status(pid_t child)
{
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

static pid_t child_start(int (*play)(const struct inherited *), const struct inherited *inherited)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)signal(SIGALRM, SIG_DFL);
        (void)alarm(CHILD_LIMIT_S);
        _exit(play(inherited));
    }
    return child;
}

static void child_run(int (*play)(const struct inherited *), const struct inherited *inherited)
{
    assert_int_equal(child_status(child_start(play, inherited)), 0);
}

/* A held lock that the keeper renews, but not while a test runs. */
static struct inherited inherit(struct bench *b)
{
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(b->store, key, (dynalock_lock_options){.ttl_ms = 120000});
    check(dynalock_put(b->store, "record", dynalock_none(), NULL, &failure), DYNALOCK_OK);
    return (struct inherited){.bench = b, .store = b->store, .lock = lock, .key = key};
}

/* ---- What a child may not do ----------------------------------------------------------------- */

static int each_item(dynalock_kv *kv, void *context)
{
    (void)kv;
    (void)context;
    return 1;
}

static int refused_records(dynalock_store *store)
{
    dynalock_kv *kv = NULL;
    dynalock_kv **items = NULL;
    size_t count = 0;
    bool exists = false;
    const struct {
        const char *what;
        int code;
    } calls[] = {
        {"put", dynalock_put(store, "a", dynalock_none(), NULL, NULL)},
        {"get", dynalock_get(store, "a", NULL, &kv, NULL)},
        {"exists", dynalock_exists(store, "a", NULL, &exists, NULL)},
        {"delete", dynalock_delete(store, "a", NULL)},
        {"list", dynalock_list(store, NULL, NULL, &items, &count, NULL)},
        {"list_each", dynalock_list_each(store, NULL, NULL, each_item, NULL, NULL)},
        {"atomic_put", dynalock_atomic_put(store, "a", dynalock_none(), NULL, NULL, &kv, NULL)},
        {"atomic_delete", dynalock_atomic_delete(store, "a", NULL, NULL)},
        {"table_verify", dynalock_table_verify(store, NULL, NULL)},
        {"table_create", dynalock_table_create(store, 0, NULL, NULL)},
    };
    int bad = 0;
    for (size_t i = 0; i < COUNT(calls); i++) {
        bad += wrong(calls[i].what, calls[i].code, DYNALOCK_ERR_FORKED);
    }
    return bad;
}

static int refused_locks(dynalock_store *store, dynalock_lock *lock)
{
    dynalock_kv *kv = NULL;
    dynalock_lock *another = NULL;
    dynalock_lock_info *infos = NULL;
    dynalock_lock_event event;
    dynalock_counters counters;
    dynalock_store_info info;
    size_t count = 0;
    int fd = -1;
    const struct {
        const char *what;
        int code;
    } calls[] = {
        {"lock_new", dynalock_lock_new(store, "a", NULL, &another, NULL)},
        {"acquire", dynalock_lock_acquire(lock, -1, -1, NULL)},
        {"renew", dynalock_lock_renew(lock, 0, NULL)},
        {"release", dynalock_lock_release(lock, NULL)},
        {"ensure", dynalock_lock_ensure(lock, 0, NULL)},
        {"lost_fd", dynalock_lock_lost_fd(lock, &fd, NULL)},
        {"holder", dynalock_lock_holder(lock, &kv, NULL, NULL)},
        {"acquire_start", dynalock_lock_acquire_start(lock, -1, NULL)},
        {"release_start", dynalock_lock_release_start(lock, NULL)},
        {"cancel", dynalock_lock_cancel(lock, NULL)},
        {"event_fd", dynalock_event_fd(store, &fd, NULL)},
        {"next_event", dynalock_next_event(store, &event, NULL)},
        {"lock_event_fd", dynalock_lock_event_fd(lock, &fd, NULL)},
        {"lock_next_event", dynalock_lock_next_event(lock, &event, NULL)},
        {"locks", dynalock_locks(store, &infos, &count, NULL)},
        {"counters", dynalock_store_counters(store, &counters)},
        {"describe", dynalock_store_describe(store, &info, NULL)},
    };
    int bad = 0;
    for (size_t i = 0; i < COUNT(calls); i++) {
        bad += wrong(calls[i].what, calls[i].code, DYNALOCK_ERR_FORKED);
    }
    bad += wrong("remaining_ms", (int)dynalock_lock_remaining_ms(lock), 0);
    bad += wrong("token", (int)dynalock_lock_token(lock), 0);
    bad += wrong("state", dynalock_lock_state(lock), DYNALOCK_LOCK_IDLE);
    bad += wrong("cause", dynalock_lock_cause(lock), DYNALOCK_CAUSE_NONE);
    return bad;
}

static int child_tries_everything(const struct inherited *inherited)
{
    return refused_records(inherited->store) + refused_locks(inherited->store, inherited->lock);
}

static int child_frees_then_closes(const struct inherited *inherited)
{
    dynalock_lock_free(inherited->lock);
    return wrong("close", dynalock_close(inherited->store), DYNALOCK_OK);
}

static int child_closes_then_frees(const struct inherited *inherited)
{
    int bad = wrong("close", dynalock_close(inherited->store), DYNALOCK_OK);
    dynalock_lock_free(inherited->lock);
    return bad;
}

static int child_of_a_child(const struct inherited *inherited)
{
    pid_t grandchild = fork();
    if (grandchild == 0) {
        _exit(child_tries_everything(inherited) + child_closes_then_frees(inherited));
    }
    return wrong("the grandchild", child_status(grandchild), 0) +
           child_frees_then_closes(inherited);
}

static int child_opens_its_own(const struct inherited *inherited)
{
    dynalock_store *own = bench_open(inherited->bench, NULL);
    int bad = wrong("put", dynalock_put(own, "child", dynalock_none(), NULL, NULL), DYNALOCK_OK);
    return bad + wrong("close", dynalock_close(own), DYNALOCK_OK) +
           child_frees_then_closes(inherited);
}

/* The lock is held as before, and the next request goes over the connection that was there. */
static void parent_unharmed(struct inherited *inherited, int64_t token)
{
    struct bench *b = inherited->bench;
    dynalock_counters before;
    dynalock_counters after;
    check(dynalock_store_counters(inherited->store, &before), DYNALOCK_OK);
    check(dynalock_put(inherited->store, "record", dynalock_none(), NULL, &failure), DYNALOCK_OK);
    check(dynalock_lock_ensure(inherited->lock, 1000, &failure), DYNALOCK_OK);
    check(dynalock_lock_renew(inherited->lock, 0, &failure), DYNALOCK_OK);
    check(dynalock_store_counters(inherited->store, &after), DYNALOCK_OK);
    assert_int_equal(after.connections, before.connections);
    assert_int_equal(after.retries, before.retries);
    assert_int_equal(dynalock_lock_token(inherited->lock), token);
    assert_true(is_there(b, inherited->key));
    lock_end(inherited->lock);
}

static void test_a_child_is_refused_or_frees_and_sends_nothing(void **state)
{
    static int (*const plays[])(const struct inherited *) = {
        child_tries_everything, child_frees_then_closes, child_closes_then_frees, child_of_a_child};
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(plays); i++) {
        struct inherited inherited = inherit(b);
        int64_t token = dynalock_lock_token(inherited.lock);
        bench_reset(b);
        child_run(plays[i], &inherited);
        assert_int_equal(bench_count(b, NULL), 0);
        assert_int_equal(rig_connections(b->rig), 0);
        parent_unharmed(&inherited, token);
    }
}

static void test_a_child_opens_a_store_of_its_own(void **state)
{
    struct bench *b = *state;
    struct inherited inherited = inherit(b);
    int64_t token = dynalock_lock_token(inherited.lock);
    bench_reset(b);
    child_run(child_opens_its_own, &inherited);
    assert_true(is_there(b, "child"));
    assert_int_equal(rig_connections(b->rig), 1);
    parent_unharmed(&inherited, token);
}

static void test_the_keeper_goes_on_after_a_child_has_closed_the_store(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    struct inherited inherited = {.bench = b, .store = b->store, .key = key};
    inherited.lock = lock_take(b->store, key, (dynalock_lock_options){.ttl_ms = 3000});
    child_run(child_closes_then_frees, &inherited);
    capture_clear(b->events);
    assert_true(await_event(b, DYNALOCK_EVENT_RENEWED, key, 2));
    check(dynalock_lock_ensure(inherited.lock, 0, &failure), DYNALOCK_OK);
    lock_end(inherited.lock);
}

/* ---- While calls are in progress ------------------------------------------------------------- */

static void *puts_until_closed(void *context)
{
    const struct inherited *inherited = context;
    int code = DYNALOCK_OK;
    while (code == DYNALOCK_OK) {
        code = dynalock_put(inherited->store, "busy", dynalock_none(), NULL, NULL);
    }
    return code == DYNALOCK_ERR_CLOSED ? context : NULL;
}

static void test_forks_amid_the_calls_of_other_threads_harm_nobody(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = bench_open(b, NULL);
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(store, key, (dynalock_lock_options){.ttl_ms = 3000});
    struct inherited inherited = {.bench = b, .store = store, .lock = lock, .key = key};
    pthread_t threads[3];
    for (size_t i = 0; i < COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, puts_until_closed, &inherited), 0);
    }
    for (int i = 0; i < 12; i++) {
        child_run(i % 3 == 0   ? child_tries_everything
                  : i % 3 == 1 ? child_frees_then_closes
                               : child_closes_then_frees,
                  &inherited);
    }
    check(dynalock_lock_ensure(lock, 0, &failure), DYNALOCK_OK);
    check(dynalock_lock_release(lock, &failure), DYNALOCK_OK);
    dynalock_close(store); /* with a lock that is left: the threads may ask until it is freed */
    for (size_t i = 0; i < COUNT(threads); i++) {
        void *ended = NULL;
        assert_int_equal(pthread_join(threads[i], &ended), 0);
        assert_ptr_equal(ended, &inherited);
    }
    dynalock_lock_free(lock);
}

static int child_sees_a_call_under_way(const struct inherited *inherited)
{
    int64_t began = monotonic_ms();
    int bad = refused_records(inherited->store);
    bad += inherited->lock ? refused_locks(inherited->store, inherited->lock) : 0;
    bad += inherited->other ? refused_locks(inherited->store, inherited->other) : 0;
    dynalock_lock_free(inherited->other);
    bad += child_closes_then_frees(inherited);
    return bad + wrong("it took long", monotonic_ms() - began > CHILD_AT_ONCE_MS, 0);
}

static int child_exits(const struct inherited *inherited)
{
    int bad = refused_records(inherited->store);
    leaks_are_none = true;
    exit(bad);
}

static int child_closes_and_exits(const struct inherited *inherited)
{
    int bad = child_sees_a_call_under_way(inherited);
    leaks_are_none = true;
    exit(bad);
}

/* A child is made, and ends, while the server has the request. */
static void fork_amid(struct bench *b, const struct inherited *inherited,
                      int (*play)(const struct inherited *))
{
    int before = bench_count(b, NULL);
    int connections = rig_connections(b->rig);
    child_run(play, inherited);
    assert_int_equal(bench_count(b, NULL), before);
    assert_int_equal(rig_connections(b->rig), connections);
}

static void fork_amid_call(struct bench *b, const struct server_call *call, const char *where,
                           int (*play)(const struct inherited *))
{
    struct caller c = caller_new(b, NULL);
    const struct inherited inherited = {
        .bench = b, .store = c.store, .lock = c.held, .other = c.other};
    struct call_thread t;
    dynalock_counters before;
    dynalock_counters after;
    print_message("%s, %s\n", call->name, where);
    check(dynalock_store_counters(c.store, &before), DYNALOCK_OK);
    bench_reset(b);
    rig_fault(b->rig, "'action':{'do':'hold','where':'%s'}", where);
    call_start(&t, &c, call);
    assert_true(rig_wait(b->rig, NULL, "held", 1, LONG_MS));
    fork_amid(b, &inherited, play);
    assert_int_equal(rig_let_go(b->rig), 1);
    check(call_join(&t), DYNALOCK_OK);
    check(dynalock_store_counters(c.store, &after), DYNALOCK_OK);
    assert_int_equal(after.connections, before.connections);
    assert_int_equal(after.retries, before.retries);
    if (strcmp(call->name, "release") != 0) {
        check(dynalock_lock_ensure(c.held, 1000, &failure), DYNALOCK_OK);
    }
    caller_free(&c);
}

static void test_a_fork_amid_any_call_goes_unnoticed(void **state)
{
    for (size_t i = 0; i < server_call_count; i++) {
        fork_amid_call(*state, &server_calls[i], "request", child_sees_a_call_under_way);
        fork_amid_call(*state, &server_calls[i], "answer", child_sees_a_call_under_way);
    }
}

static void test_a_child_may_end_by_exit_amid_a_call(void **state)
{
    fork_amid_call(*state, &server_calls[0], "answer", child_exits);
    fork_amid_call(*state, &server_calls[0], "answer", child_closes_and_exits);
}

static void test_a_fork_amid_the_wait_for_a_lock_goes_unnoticed(void **state)
{
    struct bench *b = *state;
    struct waiter w;
    const char *key = bench_key(b);
    const dynalock_lock_options options = {.ttl_ms = 120000, .poll_ms = 500};
    dynalock_lock *holder = lock_take(b->store, key, options);
    dynalock_store *store = impatient(b);
    dynalock_lock *waiting = lock_make(store, key, options);
    const struct inherited inherited = {.bench = b, .store = store, .lock = waiting};
    waiter_start(&w, waiting, -1, -1);
    assert_true(await_event(b, DYNALOCK_EVENT_WAITING, key, 1));
    child_run(child_sees_a_call_under_way, &inherited);
    lock_end(holder);
    assert_int_equal(waiter_join(&w), DYNALOCK_OK);
    lock_end(waiting);
    dynalock_close(store);
}

static void test_a_fork_amid_a_renewal_of_the_keeper_goes_unnoticed(void **state)
{
    struct bench *b = *state;
    struct inherited inherited = {.bench = b, .store = b->store, .key = bench_key(b)};
    inherited.lock = lock_take(b->store, inherited.key, (dynalock_lock_options){.ttl_ms = 9000});
    bench_reset(b);
    rig_fault(b->rig, "'action':{'do':'hold','where':'answer'}");
    assert_true(rig_wait(b->rig, "UpdateItem", "held", 1, LONG_MS));
    int64_t began = monotonic_ms();
    child_run(child_sees_a_call_under_way, &inherited);
    bool in_time = monotonic_ms() - began < 1000; /* an attempt of this renewal takes 1,500 */
    assert_true(!in_time || bench_count(b, NULL) == 1);
    rig_let_go(b->rig);
    assert_true(await_event(b, DYNALOCK_EVENT_RENEWED, inherited.key, 1));
    check(dynalock_lock_ensure(inherited.lock, 1000, &failure), DYNALOCK_OK);
    lock_end(inherited.lock);
}

static void *ends(void *context)
{
    const struct inherited *inherited = context;
    return dynalock_close(inherited->store) == DYNALOCK_OK ? context : NULL;
}

static void test_a_fork_amid_the_closing_goes_unnoticed(void **state)
{
    struct bench *b = *state;
    struct caller c = caller_new(b, NULL);
    struct inherited inherited = {
        .bench = b, .store = c.store, .lock = c.held, .other = c.other, .key = c.held_key};
    pthread_t thread;
    void *ended = NULL;
    bench_reset(b);
    rig_fault(b->rig, "'action':{'do':'hold','where':'request'}");
    assert_int_equal(pthread_create(&thread, NULL, ends, &inherited), 0);
    assert_true(rig_wait(b->rig, "DeleteItem", "held", 1, LONG_MS));
    fork_amid(b, &inherited, child_sees_a_call_under_way);
    assert_int_equal(rig_let_go(b->rig), 1);
    assert_int_equal(pthread_join(thread, &ended), 0);
    assert_ptr_equal(ended, &inherited);
    assert_false(is_there(b, inherited.key));
    c.store = NULL;
    caller_free(&c);
}

static void test_a_fork_amid_the_release_of_a_freed_lock_goes_unnoticed(void **state)
{
    struct bench *b = *state;
    struct caller c = caller_new(b, NULL);
    const struct inherited inherited = {.bench = b, .store = c.store, .lock = c.other};
    bench_reset(b);
    rig_fault(b->rig, "'action':{'do':'hold','where':'request'}");
    dynalock_lock_free(c.held);
    c.held = NULL;
    assert_true(rig_wait(b->rig, "DeleteItem", "held", 1, LONG_MS));
    fork_amid(b, &inherited, child_sees_a_call_under_way);
    assert_int_equal(rig_let_go(b->rig), 1);
    assert_true(await_gone(b, c.held_key));
    caller_free(&c);
}

/* ---- A fork in a callback -------------------------------------------------------------------- */

/* The callback forks, and returns in both; the pid, in the parent. */
struct forker {
    pid_t child;
    bool forked;
};

static void forker_fork(struct forker *forker)
{
    if (!forker->forked) {
        forker->forked = true;
        fflush(NULL);
        forker->child = fork();
    }
}

static int on_item(dynalock_kv *kv, void *context)
{
    (void)kv;
    forker_fork(context);
    return 0;
}

static void on_event(const dynalock_event *event, void *context)
{
    if (event->id == DYNALOCK_EVENT_RETRY) {
        forker_fork(context);
    }
}

/* In the child: ends it. In the parent: the child ended well. */
static void forker_end(const struct forker *forker, int code)
{
    assert_true(forker->forked);
    if (forker->child == 0) {
        _exit(wrong("the call that forked", code, DYNALOCK_ERR_FORKED));
    }
    assert_int_equal(code, DYNALOCK_OK);
    assert_int_equal(child_status(forker->child), 0);
}

static void test_a_child_made_while_listing_gets_no_further_page(void **state)
{
    struct bench *b = *state;
    static char bytes[200 * 1024];
    struct forker forker = {0};
    char key[24];
    for (int i = 0; i < 5; i++) { /* of 267 KB in base64: more than the 1 MB of a page */
        snprintf(key, sizeof key, "large%d", i);
        check(dynalock_put(b->store, key, dynalock_bytes(bytes, sizeof bytes), NULL, &failure),
              DYNALOCK_OK);
    }
    bench_reset(b);
    int code = dynalock_list_each(b->store, "large", NULL, on_item, &forker, NULL);
    forker_end(&forker, code);
    assert_true(bench_count(b, "Query") >= 2);
    check(dynalock_put(b->store, "record", dynalock_none(), NULL, &failure), DYNALOCK_OK);
    assert_int_equal(rig_connections(b->rig), 0);
}

static void test_a_child_made_while_logging_does_not_try_again(void **state)
{
    struct bench *b = *state;
    struct forker forker = {0};
    dynalock_options options = bench_options(b);
    options.log = on_event;
    options.log_context = &forker;
    dynalock_store *store = bench_open(b, &options);
    rig_fault(b->rig, "'match':{'op':'UpdateItem'},'action':{'do':'status','status':500}");
    bench_reset(b);
    int code = dynalock_put(store, "record", dynalock_none(), NULL, NULL);
    forker_end(&forker, code);
    assert_int_equal(bench_count(b, "UpdateItem"), 2);
    dynalock_close(store);
}

/* ---- A fork in a callback on the watch thread ------------------------------------------------ */

/* Forks in the first callback of a kind; the child ends there, as it must. */
struct watch_forker {
    struct inherited inherited;
    int (*play)(const struct inherited *);
    atomic_int child; /* 0: not yet made */
};

static void watch_fork(struct watch_forker *forker)
{
    sigset_t none;
    if (atomic_load(&forker->child) != 0) {
        return;
    }
    pid_t child = fork();
    if (child == 0) { /* with the watch's mask: all signals are blocked */
        (void)sigemptyset(&none);
        (void)pthread_sigmask(SIG_SETMASK, &none, NULL);
        (void)alarm(CHILD_LIMIT_S);
        _exit(forker->play(&forker->inherited));
    }
    atomic_store(&forker->child, child);
}

static void fork_when_lost(dynalock_lock *lock, int cause, void *context)
{
    struct watch_forker *forker = context;
    (void)cause;
    forker->inherited.other = lock;
    watch_fork(forker);
}

static void fork_when_renewed(const dynalock_event *event, void *context)
{
    if (event->id == DYNALOCK_EVENT_RENEWED) {
        watch_fork(context);
    }
}

static int child_starts_a_program(const struct inherited *inherited)
{
    (void)inherited;
    (void)execlp("sh", "sh", "-c", "exit 0", (char *)NULL);
    return 1;
}

static int watch_child_status(const struct watch_forker *forker)
{
    for (int64_t end = monotonic_ms() + LONG_MS;
         atomic_load(&forker->child) == 0 && monotonic_ms() < end;) {
        sleep_ms(5);
    }
    assert_true(atomic_load(&forker->child) > 0);
    return child_status(atomic_load(&forker->child));
}

static int (*const watch_plays[])(const struct inherited *) = {child_sees_a_call_under_way,
                                                               child_starts_a_program};

static void test_a_child_made_in_on_lost_leaves_the_store_alone(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(watch_plays); i++) {
        struct watch_forker forker = {.inherited = inherit(b), .play = watch_plays[i]};
        int64_t token = dynalock_lock_token(forker.inherited.lock);
        const char *key = bench_key(b);
        const dynalock_lock_options options = {.ttl_ms = 1000,
                                               .renewal = DYNALOCK_RENEWAL_NONE,
                                               .on_lost = fork_when_lost,
                                               .context = &forker};
        dynalock_lock *lock = lock_take(b->store, key, options);
        bench_reset(b);
        assert_int_equal(watch_child_status(&forker), 0);
        assert_int_equal(bench_count(b, NULL), 0);
        assert_int_equal(rig_connections(b->rig), 0);
        check(dynalock_lock_ensure(lock, 0, &failure), DYNALOCK_ERR_LOST);
        dynalock_lock_free(lock);
        parent_unharmed(&forker.inherited, token);
    }
}

static void test_a_child_made_by_the_log_on_the_watch_leaves_the_store_alone(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(watch_plays); i++) {
        struct watch_forker forker = {.play = watch_plays[i]};
        const dynalock_lock_options lease = {.ttl_ms = 1500};
        dynalock_options options = bench_options(b);
        dynalock_counters counters = {0};
        options.log = fork_when_renewed;
        options.log_context = &forker;
        dynalock_store *store = bench_open(b, &options);
        dynalock_lock *lock = lock_make(store, bench_key(b), lease);
        forker.inherited = (struct inherited){.bench = b, .store = store, .lock = lock};
        check(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_OK);
        assert_int_equal(watch_child_status(&forker), 0);
        for (int64_t end = monotonic_ms() + LONG_MS;
             counters.renewed < 3 && monotonic_ms() < end;) {
            sleep_ms(20);
            check(dynalock_store_counters(store, &counters), DYNALOCK_OK);
        }
        assert_true(counters.renewed >= 3);
        check(dynalock_lock_ensure(lock, 0, &failure), DYNALOCK_OK);
        lock_end(lock);
        dynalock_close(store);
    }
}

/* ---- Over TLS -------------------------------------------------------------------------------- */

/* Deletes all the time, over its one connection. */
struct deleter {
    dynalock_store *store;
    atomic_bool ends;
    atomic_int calls;
    int bad;
};

static void *deletes(void *context)
{
    struct deleter *deleter = context;
    while (!atomic_load(&deleter->ends)) {
        int code = dynalock_delete(deleter->store, "k", NULL);
        deleter->bad += wrong("delete amid forks", code, DYNALOCK_ERR_REFUSED);
        atomic_fetch_add(&deleter->calls, 1);
    }
    return NULL;
}

/* Children are made amid the calls of another thread. */
static int play_amid_calls(dynalock_store *store, dynalock_lock *lock)
{
    const struct inherited inherited = {.store = store, .lock = lock};
    struct deleter deleter = {.store = store};
    pthread_t thread;
    int bad = wrong("pthread_create", pthread_create(&thread, NULL, deletes, &deleter), 0);
    for (int i = 0; i < 5; i++) {
        for (int seen = atomic_load(&deleter.calls); atomic_load(&deleter.calls) == seen;) {
            sleep_ms(1);
        }
        int status = child_status(child_start(child_sees_a_call_under_way, &inherited));
        bad += wrong("its child amid calls", status, 0);
    }
    atomic_store(&deleter.ends, true);
    return bad + wrong("pthread_join", pthread_join(thread, NULL), 0) + deleter.bad;
}

/* The server closes a connection on which it is told goodbye: a second one would be counted. */
static int play_over_tls(const struct inherited *inherited)
{
    dynalock_options options = bench_options(inherited->bench);
    dynalock_counters counters = {0};
    dynalock_lock *lock = NULL;
    options.endpoint = inherited->endpoint;
    dynalock_store *store = bench_open(inherited->bench, &options);
    int bad = wrong("delete", dynalock_delete(store, "k", NULL), DYNALOCK_ERR_REFUSED) +
              wrong("lock_new", dynalock_lock_new(store, "k", NULL, &lock, NULL), DYNALOCK_OK);
    for (int i = 0; i < 3; i++) {
        const struct inherited again = {.store = store, .lock = lock};
        int status = child_status(child_start(child_closes_then_frees, &again));
        bad += wrong("its child", status, 0);
        bad += wrong("delete", dynalock_delete(store, "k", NULL), DYNALOCK_ERR_REFUSED);
    }
    bad += play_amid_calls(store, lock);
    bad += wrong("counters", dynalock_store_counters(store, &counters), DYNALOCK_OK) +
           wrong("connections", (int)counters.connections, 1);
    dynalock_lock_free(lock);
    dynalock_close(store);
    return bad;
}

static int play_trusting(const struct inherited *inherited)
{
    return certificate_trust(inherited->certificate) ? play_over_tls(inherited) : CHILD_UNABLE;
}

static void test_over_tls_a_child_says_no_goodbye(void **state)
{
    const struct certificate certificate = certificate_new("127.0.0.1");
    struct process server = process_start("fair", certificate.key, certificate.file);
    const struct inherited inherited = {
        .bench = *state, .endpoint = server.endpoint, .certificate = &certificate};
    int status = child_status(child_start(play_trusting, &inherited));
    process_end(&server);
    certificate_remove(&certificate);
    assert_int_equal(status,
                     0); /* CHILD_UNABLE, as an exit status: no mount namespace can be made */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOCK_TEST(test_a_child_is_refused_or_frees_and_sends_nothing),
        LOCK_TEST(test_a_child_opens_a_store_of_its_own),
        LOCK_TEST(test_the_keeper_goes_on_after_a_child_has_closed_the_store),
        LOCK_TEST(test_forks_amid_the_calls_of_other_threads_harm_nobody),
        LOCK_TEST(test_a_fork_amid_any_call_goes_unnoticed),
        LOCK_TEST(test_a_child_may_end_by_exit_amid_a_call),
        LOCK_TEST(test_a_fork_amid_the_wait_for_a_lock_goes_unnoticed),
        LOCK_TEST(test_a_fork_amid_a_renewal_of_the_keeper_goes_unnoticed),
        LOCK_TEST(test_a_fork_amid_the_closing_goes_unnoticed),
        LOCK_TEST(test_a_fork_amid_the_release_of_a_freed_lock_goes_unnoticed),
        LOCK_TEST(test_a_child_made_in_on_lost_leaves_the_store_alone),
        LOCK_TEST(test_a_child_made_by_the_log_on_the_watch_leaves_the_store_alone),
        LOCK_TEST(test_a_child_made_while_listing_gets_no_further_page),
        LOCK_TEST(test_a_child_made_while_logging_does_not_try_again),
        LOCK_TEST(test_over_tls_a_child_says_no_goodbye),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
