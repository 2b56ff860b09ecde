/* SPDX-License-Identifier: Apache-2.0 */
/* The client within its process: descriptors, SIGPIPE, threads, TLS. */
#define _GNU_SOURCE /* strcasestr */
#include "support_certificate.h"
#include "support_client.h"
#include "support_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Descriptors ----------------------------------------------------------------------------- */

#define MAX_FD 1024

/* Which descriptors are open, and which of them a program started by exec would get. */
struct fds {
    bool open[MAX_FD];
    bool inherited[MAX_FD];
};

static struct fds fds_now(void)
{
    struct fds fds = {0};
    for (int fd = 0; fd < MAX_FD; fd++) {
        int flags = fcntl(fd, F_GETFD);
        fds.open[fd] = flags >= 0;
        fds.inherited[fd] = flags >= 0 && (flags & FD_CLOEXEC) == 0;
    }
    return fds;
}

static void fds_name(int fd)
{
    char path[40];
    char name[200] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (readlink(path, name, sizeof name - 1) > 0) {
        print_error("not close-on-exec: %d, %s\n", fd, name);
    }
}

static int fds_opened_since(const struct fds *before)
{
    struct fds now = fds_now();
    int count = 0;
    for (int fd = 0; fd < MAX_FD; fd++) {
        count += now.open[fd] && !before->open[fd] ? 1 : 0;
    }
    return count;
}

static int fds_inherited_since(const struct fds *before)
{
    struct fds now = fds_now();
    int count = 0;
    for (int fd = 0; fd < MAX_FD; fd++) {
        if (now.inherited[fd] && !before->open[fd]) {
            fds_name(fd);
            count++;
        }
    }
    return count;
}

static void test_no_descriptor_survives_exec(void **state)
{
    struct bench *b = *state;
    struct fds before = fds_now();
    dynalock_lock_options lock_options = {.ttl_ms = 3000};
    dynalock_lock *lock = NULL;
    int fd = -1;
    dynalock_store *store = client_warm(b, NULL);
    assert_int_equal(fds_inherited_since(&before), 0);
    expect(client_put(store, "k", &failure), DYNALOCK_OK);
    assert_int_equal(fds_inherited_since(&before), 0);
    expect(dynalock_lock_new(store, bench_key(b), &lock_options, &lock, &failure), DYNALOCK_OK);
    expect(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_OK);
    expect(dynalock_lock_lost_fd(lock, &fd, &failure), DYNALOCK_OK);
    assert_true(rig_wait(b->rig, "UpdateItem", "answered", 2, 20000)); /* the put, and a renewal */
    assert_int_equal(fds_inherited_since(&before), 0);
    assert_true(fds_opened_since(&before) >= 6); /* connections, waking, timing, the lost one */
    expect(dynalock_lock_release(lock, &failure), DYNALOCK_OK);
    dynalock_lock_free(lock);
    dynalock_close(store);
}

static void test_closing_gives_back_every_descriptor(void **state)
{
    struct bench *b = *state;
    dynalock_close(client_warm(b, NULL)); /* what the libraries keep for the process */
    struct fds before = fds_now();
    dynalock_lock *lock = NULL;
    int fd = -1;
    dynalock_store *store = client_warm(b, NULL);
    expect(dynalock_lock_new(store, bench_key(b), NULL, &lock, &failure), DYNALOCK_OK);
    expect(dynalock_lock_acquire(lock, -1, 0, &failure), DYNALOCK_OK);
    expect(dynalock_lock_lost_fd(lock, &fd, &failure), DYNALOCK_OK);
    dynalock_lock_free(lock);
    dynalock_close(store);
    struct fds after = fds_now();
    assert_memory_equal(before.open, after.open, sizeof before.open);
}

/* ---- SIGPIPE --------------------------------------------------------------------------------- */

static void no_sigpipe_pending(void)
{
    sigset_t set;
    assert_int_equal(sigpending(&set), 0);
    assert_int_equal(sigismember(&set, SIGPIPE), 0);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &set), 0);
    assert_int_equal(sigismember(&set, SIGPIPE), 0);
}

static void test_a_connection_reset_under_a_large_write_raises_no_signal(void **state)
{
    struct bench *b = *state;
    static char bytes[200 * 1024];
    dynalock_options options = {.max_attempts = 2};
    assert_true(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    dynalock_store *store = client_warm(b, &options);
    for (int i = 0; i < 5; i++) {
        client_fault(b, "'times':2,'action':{'do':'reset','when':'before'}");
        (void)dynalock_put(store, "large", dynalock_bytes(bytes, sizeof bytes), NULL, NULL);
        rig_clear_faults(b->rig);
        rig_do(b->rig, "'cmd':'hang-up'");
    }
    expect(client_put(store, "k", &failure), DYNALOCK_OK);
    no_sigpipe_pending();
    rig_do(b->rig, "'cmd':'hang-up'");
    dynalock_close(store);
    no_sigpipe_pending();
}

static void test_a_sigpipe_of_the_program_stays_its_own(void **state)
{
    struct bench *b = *state;
    sigset_t set;
    sigset_t pending;
    dynalock_store *store = client_warm(b, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    assert_int_equal(pthread_kill(pthread_self(), SIGPIPE), 0);
    expect(client_put(store, "k", &failure), DYNALOCK_OK);
    dynalock_close(store);
    assert_int_equal(sigpending(&pending), 0);
    assert_int_equal(sigismember(&pending, SIGPIPE), 1);
    int signal = 0;
    assert_int_equal(sigwait(&set, &signal), 0);
    assert_int_equal(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
}

/* ---- Threads --------------------------------------------------------------------------------- */

#define THREADS 8
#define ROUNDS 100

struct worker {
    pthread_t thread;
    dynalock_store *store;
    int number;
    int failures;
};

static void *worker_main(void *context)
{
    struct worker *worker = context;
    char key[40];
    for (int i = 0; i < ROUNDS; i++) {
        dynalock_kv *kv = NULL;
        const void *bytes = NULL;
        size_t length = 0;
        snprintf(key, sizeof key, "thread-%d-%d", worker->number, i % 5);
        bool good =
            dynalock_put(worker->store, key, dynalock_bytes(&i, sizeof i), NULL, NULL) == 0 &&
            dynalock_get(worker->store, key, NULL, &kv, NULL) == 0 &&
            dynalock_kv_bytes(kv, &bytes, &length, NULL) == 0 && length == sizeof i &&
            memcmp(bytes, &i, sizeof i) == 0;
        worker->failures += good ? 0 : 1;
        dynalock_kv_free(kv);
    }
    return NULL;
}

static void test_eight_threads_share_one_store(void **state)
{
    struct bench *b = *state;
    struct worker workers[THREADS];
    dynalock_store *store = client_warm(b, NULL);
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.store = store, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]), 0);
    }
    int failures = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        failures += workers[i].failures;
    }
    assert_int_equal(failures, 0);
    dynalock_counters counters = client_counters(store);
    assert_int_equal(counters.operations, 1 + THREADS * ROUNDS * 2);
    assert_in_range(counters.connections, 1, THREADS);
    dynalock_close(store);
}

/* ---- TLS ------------------------------------------------------------------------------------- */

static void test_a_certificate_that_nobody_vouches_for_is_refused(void **state)
{
    struct bench *b = *state;
    const struct certificate certificate = certificate_new("127.0.0.1");
    struct process server = process_start("fair", certificate.key, certificate.file);
    dynalock_options options = {.endpoint = server.endpoint};
    dynalock_store *store = client_open(b, &options);
    expect(dynalock_delete(store, "k", &failure), DYNALOCK_ERR_TLS);
    assert_flags(0);
    assert_contains(failure.message, "certificate");
    assert_int_equal(client_counters(store).attempts, 1);
    dynalock_close(store);
    process_end(&server);
    certificate_remove(&certificate);
}

static void test_tls_with_a_server_that_speaks_none_fails_clearly(void **state)
{
    struct bench *b = *state;
    char endpoint[48];
    snprintf(endpoint, sizeof endpoint, "https%s", b->endpoint + strlen("http"));
    dynalock_options options = {.endpoint = endpoint, .max_attempts = 1};
    dynalock_store *store = client_open(b, &options);
    int code = dynalock_delete(store, "k", &failure);
    assert_true(code == DYNALOCK_ERR_TLS || code == DYNALOCK_ERR_NETWORK);
    assert_false(failure.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN);
    assert_true(strcasestr(failure.message, "ssl") || strcasestr(failure.message, "tls"));
    dynalock_close(store);
    bench_reset(b); /* what the proxy thought of it */
}

#define CHILD_UNABLE 77

struct scene {
    const char *what;
    const char *kind;
    const char *name; /* in the certificate */
    int code;         /* of a get, all of them */
    const char *words;
};

static const struct scene scenes[] = {
    {"a certificate that is vouched for", "fair", "127.0.0.1", DYNALOCK_ERR_REFUSED, "no database"},
    {"a certificate for another name", "fair", "elsewhere.invalid", DYNALOCK_ERR_TLS, "127.0.0.1"},
    {"a server that closes what is idle", "idle", "127.0.0.1", DYNALOCK_ERR_REFUSED, "no database"},
    {"a server that resets", "reset", "127.0.0.1", DYNALOCK_ERR_NETWORK, ""},
    {"a server that ends in the middle", "cut", "127.0.0.1", DYNALOCK_ERR_NETWORK, ""},
    {"a server that resets early", "early", "127.0.0.1", DYNALOCK_ERR_NETWORK, ""},
};

/* What the child finds: 0 if all is as the scene says. */
static int scene_play(struct bench *b, const struct scene *scene, const struct process *server)
{
    static char bytes[250 * 1024];
    dynalock_options options = {.endpoint = server->endpoint, .max_attempts = 2};
    dynalock_store *store = client_open(b, &options);
    int wrong = 0;
    for (int i = 0; i < 3; i++) {
        int code = client_get(store, "k", &failure);
        if (code != scene->code || !strstr(failure.message, scene->words)) {
            print_error("%s: %d %s\n", scene->what, code, failure.message);
            wrong = 1;
        }
        sleep_ms(120);
        (void)dynalock_put(store, "k", dynalock_bytes(bytes, sizeof bytes), NULL, NULL);
    }
    dynalock_close(store);
    return wrong;
}

static void scene_run(struct bench *b, const struct scene *scene)
{
    const struct certificate certificate = certificate_new(scene->name);
    struct process server = process_start(scene->kind, certificate.key, certificate.file);
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)signal(SIGPIPE, SIG_DFL);
        _exit(certificate_trust(&certificate) ? scene_play(b, scene, &server) : CHILD_UNABLE);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    process_end(&server);
    certificate_remove(&certificate);
    assert_true(WIFEXITED(status)); /* no signal */
    if (WEXITSTATUS(status) == CHILD_UNABLE) {
        fail_msg("no mount namespace can be made here: this cannot be tested");
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_tls_works_and_no_end_of_a_connection_raises_a_signal(void **state)
{
    for (size_t i = 0; i < COUNT(scenes); i++) {
        print_message("%s\n", scenes[i].what);
        scene_run(*state, &scenes[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLIENT_TEST(test_no_descriptor_survives_exec),
        CLIENT_TEST(test_closing_gives_back_every_descriptor),
        CLIENT_TEST(test_a_connection_reset_under_a_large_write_raises_no_signal),
        CLIENT_TEST(test_a_sigpipe_of_the_program_stays_its_own),
        CLIENT_TEST(test_eight_threads_share_one_store),
        CLIENT_TEST(test_a_certificate_that_nobody_vouches_for_is_refused),
        CLIENT_TEST(test_tls_with_a_server_that_speaks_none_fails_clearly),
        CLIENT_TEST(test_tls_works_and_no_end_of_a_connection_raises_a_signal),
    };
    return cmocka_run_group_tests(tests, client_setup, bench_teardown);
}
