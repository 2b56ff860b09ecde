/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* pipe2, environ */
#include "support_peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PEER_WORD "peer"
#define PEER_ANSWER_MS 30000
#define PEER_LOST_MS 1000
#define PEER_ENVIRONMENT_MAX 256

static _Noreturn void peer_broken(const char *what)
{
    fflush(stdout);
    fprintf(stderr, "test peer: %s: %s\n", what, strerror(errno));
    abort();
}

/* ---- What a lock guards ---- */

bool guarded_write(const char *path, int64_t token)
{
    char text[32] = "";
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || flock(fd, LOCK_EX) != 0 || pread(fd, text, sizeof text - 1, 0) < 0) {
        peer_broken(path);
    }
    bool takes = strtoll(text, NULL, 10) <= token;
    int length = snprintf(text, sizeof text, "%-30" PRId64, token);
    if (takes && pwrite(fd, text, (size_t)length, 0) != length) {
        peer_broken(path);
    }
    close(fd);
    return takes;
}

/* ---- In the other process --------------------------------------------------------------------- */

static dynalock_store *peer_store;
static dynalock_lock *peer_lock;
static atomic_int peer_told;
static int peer_lost_fd = -1;

static void peer_on_lost(dynalock_lock *lock, int cause, void *context)
{
    (void)lock;
    (void)context;
    atomic_store(&peer_told, cause);
}

static int peer_do_lock(const char *arguments)
{
    char key[80] = "";
    int64_t numbers[4] = {0};
    const dynalock_lock_options none = {0};
    dynalock_lock_options options = none;
    if (sscanf(arguments, "%79s %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64, key, &numbers[0],
               &numbers[1], &numbers[2], &numbers[3]) != 5) {
        peer_broken(arguments);
    }
    options.ttl_ms = numbers[0];
    options.poll_ms = numbers[1];
    options.keep_record = numbers[2] != 0;
    options.renewal = numbers[3] != 0 ? DYNALOCK_RENEWAL_KEEPER : DYNALOCK_RENEWAL_NONE;
    options.on_lost = peer_on_lost;
    int code = dynalock_lock_new(peer_store, key, &options, &peer_lock, NULL);
    return code != 0 ? code : dynalock_lock_lost_fd(peer_lock, &peer_lost_fd, NULL);
}

static bool peer_fd_readable(int timeout_ms)
{
    struct pollfd lost = {.fd = peer_lost_fd, .events = POLLIN};
    return poll(&lost, 1, timeout_ms) == 1;
}

static void peer_do_look(void)
{
    int ensure = dynalock_lock_ensure(peer_lock, 0, NULL);
    int64_t remaining_ms = dynalock_lock_remaining_ms(peer_lock);
    int state = dynalock_lock_state(peer_lock);
    int wait_ms = state == DYNALOCK_LOCK_LOST ? PEER_LOST_MS : 0;
    bool lost = peer_fd_readable(wait_ms);
    for (int waited = 0; waited < wait_ms && atomic_load(&peer_told) == 0; waited += 5) {
        sleep_ms(5);
    }
    dynalock_counters counters;
    memset(&counters, 0, sizeof counters);
    (void)dynalock_store_counters(peer_store, &counters);
    printf("%d %" PRId64 " %d %d %" PRId64 " %" PRIu64 " %d %d\n", ensure, remaining_ms, state,
           dynalock_lock_cause(peer_lock), dynalock_lock_token(peer_lock), counters.renewed,
           lost ? 1 : 0, atomic_load(&peer_told));
}

static int64_t peer_clock_ms(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void peer_obey(const char *order, const char *arguments)
{
    if (strcmp(order, "lock") == 0) {
        printf("%d\n", peer_do_lock(arguments));
    } else if (strcmp(order, "acquire") == 0) {
        int code = dynalock_lock_acquire(peer_lock, -1, strtoll(arguments, NULL, 10), NULL);
        printf("%d %" PRId64 " %" PRId64 "\n", code, dynalock_lock_token(peer_lock),
               monotonic_ms());
    } else if (strcmp(order, "renew") == 0) {
        int code = dynalock_lock_renew(peer_lock, 0, NULL);
        printf("%d %" PRId64 "\n", code, monotonic_ms());
    } else if (strcmp(order, "release") == 0) {
        int code = dynalock_lock_release(peer_lock, NULL);
        printf("%d %" PRId64 "\n", code, monotonic_ms());
    } else if (strcmp(order, "look") == 0) {
        peer_do_look();
    } else if (strcmp(order, "write") == 0) {
        printf("%d\n", guarded_write(arguments, dynalock_lock_token(peer_lock)) ? 1 : 0);
    } else if (strcmp(order, "clocks") == 0) {
        printf("%" PRId64 " %" PRId64 "\n", peer_clock_ms(CLOCK_REALTIME),
               peer_clock_ms(CLOCK_BOOTTIME));
    } else {
        peer_broken(order);
    }
    fflush(stdout);
}

bool peer_is(int argc, char **argv)
{
    return argc == 5 && strcmp(argv[1], PEER_WORD) == 0;
}

int peer_main(char **argv)
{
    const dynalock_options options = {.region = RIG_REGION,
                                      .endpoint = argv[2],
                                      .access_key_id = RIG_KEY_ID,
                                      .secret_access_key = RIG_SECRET,
                                      .close_timeout_ms = 500};
    dynalock_error error;
    char line[512];
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* even if it has been stopped */
    if (dynalock_open(argv[3], argv[4], &options, &peer_store, &error) != 0) {
        peer_broken(error.message);
    }
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        char *space = strchr(line, ' ');
        if (space) {
            *space = '\0';
        }
        peer_obey(line, space ? space + 1 : "");
    }
    dynalock_lock_free(peer_lock);
    return dynalock_close(peer_store) == 0 ? 0 : 1;
}

/* ---- In the test ------------------------------------------------------------------------------ */

struct peer peer_start(struct bench *b, const char *endpoint, const char *program,
                       const char *const *environment)
{
    char *argv[] = {
        (char *)PEER_WORD, (char *)PEER_WORD, (char *)(endpoint ? endpoint : b->endpoint),
        b->table,          b->partition,      NULL};
    char *variables[PEER_ENVIRONMENT_MAX];
    posix_spawn_file_actions_t actions;
    struct peer peer = {.pid = -1};
    int in[2], out[2];
    size_t count = 0;
    for (size_t i = 0; environment && environment[i]; i++) {
        variables[count++] = (char *)environment[i];
    }
    for (size_t i = 0; environ[i] && count < PEER_ENVIRONMENT_MAX - 1; i++) {
        variables[count++] = environ[i];
    }
    variables[count] = NULL;
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 ||
        posix_spawn_file_actions_init(&actions) != 0 ||
        posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO) != 0 ||
        posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO) != 0 ||
        (errno = posix_spawn(&peer.pid, program ? program : "/proc/self/exe", &actions, NULL, argv,
                             variables)) != 0) {
        peer_broken(program ? program : "this program");
    }
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    peer.in = in[1];
    peer.out = out[0];
    return peer;
}

static int peer_wait(struct peer *peer)
{
    int status = 0;
    if (waitpid(peer->pid, &status, 0) != peer->pid) {
        peer_broken("waitpid");
    }
    close(peer->in);
    close(peer->out);
    peer->pid = -1;
    return status;
}

void peer_end(struct peer *peer)
{
    if (peer->pid > 0) {
        close(peer->in);
        peer->in = open("/dev/null", O_RDONLY | O_CLOEXEC);
        int status = peer_wait(peer);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            fail_msg("the other process ended with status %d", status);
        }
    }
}

void peer_kill(struct peer *peer)
{
    if (peer->pid > 0) {
        kill(peer->pid, SIGKILL);
        (void)peer_wait(peer);
    }
}

void peer_stop(struct peer *peer)
{
    int status = 0;
    kill(peer->pid, SIGSTOP);
    if (waitpid(peer->pid, &status, WUNTRACED) != peer->pid || !WIFSTOPPED(status)) {
        peer_broken("SIGSTOP");
    }
}

void peer_continue(struct peer *peer)
{
    kill(peer->pid, SIGCONT);
}

static void peer_send(struct peer *peer, const char *format, va_list arguments)
{
    char line[512];
    int length = vsnprintf(line, sizeof line - 1, format, arguments);
    line[length++] = '\n';
    if (write(peer->in, line, (size_t)length) != length) {
        peer_broken("the other process hears nothing");
    }
}

void peer_tell(struct peer *peer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    peer_send(peer, format, arguments);
    va_end(arguments);
}

bool peer_hear(struct peer *peer, int64_t *numbers, size_t count, int timeout_ms)
{
    char line[256];
    int64_t end = monotonic_ms() + timeout_ms;
    for (size_t used = 0; used + 1 < sizeof line; used++) {
        struct pollfd out = {.fd = peer->out, .events = POLLIN};
        int64_t left = end - monotonic_ms();
        if (poll(&out, 1, left > 0 ? (int)left : 0) != 1) {
            return false; /* of a line nothing is there, or all: it is one write */
        }
        if (read(peer->out, line + used, 1) != 1) {
            errno = 0;
            peer_broken("the other process has ended");
        }
        if (line[used] == '\n') {
            line[used] = '\0';
            break;
        }
    }
    char *next = line;
    for (size_t i = 0; i < count; i++) {
        numbers[i] = strtoll(next, &next, 10);
    }
    return true;
}

int64_t peer_ask(struct peer *peer, const char *format, ...)
{
    int64_t number = 0;
    va_list arguments;
    va_start(arguments, format);
    peer_send(peer, format, arguments);
    va_end(arguments);
    if (!peer_hear(peer, &number, 1, PEER_ANSWER_MS)) {
        fail_msg("no answer to %s", format);
    }
    return number;
}

struct peer_look peer_look(struct peer *peer)
{
    int64_t n[8] = {0};
    peer_tell(peer, "look");
    if (!peer_hear(peer, n, COUNT(n), PEER_ANSWER_MS)) {
        fail_msg("no answer to look");
    }
    return (struct peer_look){n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7]};
}
