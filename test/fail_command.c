/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command, in a process of its own each time, while one call after another that it or the library makes of what they
 * depend on fails (see support_fail.h). It ends by itself, with an exit status of the manual's and one line on standard
 * error, or did what it is there for, and said all of it; `run` starts nothing without the lock. Its main is
 * command_main here.
 */
/* wrap: fork write getentropy opendir json_pack json_string json_object_set_new json_object_update */
/* wrap: json_dumps json_dumpb json_dumpf json_loads */
#define _GNU_SOURCE /* pipe2 */
#include "fail_system.h"
#include "support_table.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define FAIL_MOST 5000
#define LATE_MS 20000
#define A_RECORD "'version':{'N':'5'},'payload':{'S':'c29tZSBieXRlcw=='}"
#define A_NUMBER "'version':{'N':'6'},'payload':{'M':{'a':{'N':'0.1'}}}"
#define A_LOCK                                                                                      \
    "'version':{'N':'5'},'nonce':{'S':'0123456789abcdef0123456789abcdef.1.5'},'holder':{'S':'me'}," \
    "'lease':{'N':'20000'},'expires':{'N':'4102444800'}"

int command_main(int argc, char **argv);

/* ---- What the command alone uses ---- */

#define COMMAND_WRAP(type, name, parameters, arguments, failure)      \
    type __real_##name parameters;                                    \
    type __wrap_##name parameters;                                    \
    type __wrap_##name parameters                                     \
    {                                                                 \
        return fail_now(#name) ? (failure) : __real_##name arguments; \
    }

static void *command_no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

static DIR *command_no_folder(void)
{
    errno = EMFILE;
    return NULL;
}

COMMAND_WRAP(pid_t, fork, (void), (), fail_system_with(EAGAIN))
COMMAND_WRAP(int, getentropy, (void *bytes, size_t size), (bytes, size), fail_system_with(ENOSYS))
COMMAND_WRAP(DIR *, opendir, (const char *path), (path), command_no_folder())
COMMAND_WRAP(json_t *, json_string, (const char *text), (text), NULL)
COMMAND_WRAP(json_t *, json_loads, (const char *text, size_t flags, json_error_t *error),
             (text, flags, error), NULL)
COMMAND_WRAP(char *, json_dumps, (const json_t *json, size_t flags), (json, flags),
             command_no_memory())
COMMAND_WRAP(size_t, json_dumpb, (const json_t *json, char *to, size_t size, size_t flags),
             (json, to, size, flags), 0)
COMMAND_WRAP(int, json_dumpf, (const json_t *json, FILE *to, size_t flags), (json, to, flags), -1)
COMMAND_WRAP(int, json_object_update, (json_t * object, json_t *other), (object, other), -1)

static int command_decref(json_t *value)
{
    json_decref(value);
    return -1;
}

COMMAND_WRAP(int, json_object_set_new, (json_t * object, const char *key, json_t *value),
             (object, key, value), command_decref(value))

/* What it is given is given back: jansson takes references even where it fails. */
json_t *__wrap_json_pack(const char *format, ...);
json_t *__wrap_json_pack(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    json_t *made = json_vpack_ex(NULL, 0, format, arguments);
    va_end(arguments);
    if (made != NULL && fail_now("json_pack")) {
        json_decref(made);
        made = NULL;
    }
    return made;
}

/* A note for the guardian, who is gone. */
ssize_t __real_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size)
{
    bool is_note = size == 2 * sizeof(int64_t) && fd > STDERR_FILENO;
    return is_note && fail_now("write") ? fail_system_with(EPIPE) : __real_write(fd, bytes, size);
}

/* ---- The scenes ---- */

struct scene {
    const char *name;
    const char *arguments[14];
    const char *record, *input; /* record: of "key"; NULL: none */
    int status;
    const char *told[3]; /* parts of what is printed, if it ends as it should */
    bool holds;          /* COMMAND is started with the lock, or not at all */
};

#define COMMAND "--", "sh", "-c", "echo started; read line; exit 7"

static const struct scene scenes[] = {
    {.name = "version", .arguments = {"version"}, .told = {"jansson "}},
    {.name = "version --json", .arguments = {"version", "--json"}, .told = {"\"jansson\":"}},
    {.name = "init", .arguments = {"init"}, .told = {"table t: exists", "time to live: on"}},
    {.name = "init --json", .arguments = {"init", "--json"}, .told = {"\"created\":", "}\n"}},
    {.name = "put", .arguments = {"put", "key", "value"}},
    {.name = "put -", .arguments = {"put", "key", "-", "--ttl", "5m"}, .input = "from a pipe"},
    {.name = "put --if-absent --json",
     .arguments = {"put", "key", "value", "--if-absent", "--json"},
     .told = {"\"version\":", "}\n"}},
    {.name = "put --if-absent, and there is one",
     .arguments = {"put", "key", "value", "--if-absent"},
     .record = A_RECORD,
     .status = 2},
    {.name = "put --if-version --json-value",
     .arguments = {"put", "key", "{\"a\":[1,0.5,true]}", "--json-value", "--if-version", "5"},
     .record = A_RECORD},
    {.name = "get", .arguments = {"get", "key"}, .record = A_RECORD, .told = {"some bytes"}},
    {.name = "get --json",
     .arguments = {"get", "key", "--json"},
     .record = A_NUMBER,
     .told = {"\"value\":{\"a\":0.1}", "}\n"}},
    {.name = "get of none", .arguments = {"get", "key"}, .status = 1},
    {.name = "exists", .arguments = {"exists", "key"}, .record = A_RECORD},
    {.name = "exists of none", .arguments = {"exists", "key"}, .status = 1},
    {.name = "rm", .arguments = {"rm", "key"}, .record = A_RECORD},
    {.name = "rm --if-version",
     .arguments = {"rm", "key", "--if-version", "5"},
     .record = A_RECORD},
    {.name = "ls", .arguments = {"ls"}, .record = A_NUMBER, .told = {"key", "never", " -\n"}},
    {.name = "ls --json",
     .arguments = {"ls", "k", "--json"},
     .record = A_NUMBER,
     .told = {"\"key\":\"key\"", "\"size\":null}\n"}},
    {.name = "locks", .arguments = {"locks"}, .record = A_LOCK, .told = {"me", "KEY"}},
    {.name = "locks --json",
     .arguments = {"locks", "--json"},
     .record = A_LOCK,
     .told = {"\"holder\":\"me\"", "}\n"}},
    {.name = "break --yes",
     .arguments = {"break", "key", "--yes"},
     .record = A_LOCK,
     .told = {"me", "removed. "}},
    {.name = "break --yes --json",
     .arguments = {"break", "key", "--yes", "--json"},
     .record = A_LOCK,
     .told = {"\"holder\":\"me\""}},
    {.name = "doctor", .arguments = {"doctor"}, .told = {"settings", "ok       round trips"}},
    {.name = "doctor --json",
     .arguments = {"doctor", "--json"},
     .told = {"\"settings\"", "\"step\":\"round trips\",\"status\":\"ok\"", "}\n"}},
    {.name = "run",
     .arguments = {"run", "key", "--value", "v", "--poll", "20ms", COMMAND},
     .status = 7,
     .told = {"started"},
     .holds = true},
    {.name = "run, over an expired record, keeping it",
     .arguments = {"run", "key", "--keep-record", "--poll", "20ms", COMMAND},
     .record = "'version':{'N':'5'},'expires':{'N':'100'}",
     .status = 7,
     .told = {"started"},
     .holds = true},
    {.name = "run --try of what another holds",
     .arguments = {"run", "key", "--try", COMMAND},
     .record = A_LOCK,
     .status = 75},
    {.name = "run of what there is not",
     .arguments = {"run", "key", "--poll", "20ms", "--", "/nonexistent/command"},
     .status = 127},
};

/* ---- One run ---- */

struct outcome {
    int status;
    char out[8192], err[8192];
    bool started_without; /* COMMAND, while another, or nobody, held the lock */
};

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void become(const struct scene *scene, const int fds[3], int in)
{
    char *arguments[16] = {(char *)(uintptr_t) "dynalock"};
    int count = 1;
    for (int i = 0; scene->arguments[i] != NULL; i++) {
        arguments[count++] = (char *)(uintptr_t)scene->arguments[i];
    }
    for (int i = 0; i < 3; i++) {
        (void)dup2(fds[i], i);
    }
    (void)close(in);
    fail_exempt(false);
    exit(command_main(count, arguments));
}

/* The holder's record is its own: another's has been there from the start. */
static bool is_held(struct table *table, const struct scene *scene)
{
    json_t *item = table_item(table, "key");
    bool held = scene->holds && json_object_get(item, "holder") != NULL;
    json_decref(item);
    return held;
}

static bool take(int fd, char *text, size_t size)
{
    size_t used = strlen(text);
    ssize_t got = read(fd, text + used, size - 1 - used);
    text[used + (got > 0 ? (size_t)got : 0)] = '\0';
    return got > 0;
}

/* Until both of its outputs are closed. COMMAND is let go on once it has been looked at. */
static void listen_to(struct table *table, const struct scene *scene, int in, int out, int err,
                      struct outcome *outcome)
{
    struct pollfd fds[2] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};
    bool let_go = false;
    int64_t until = now_ms() + LATE_MS;
    while ((fds[0].fd >= 0 || fds[1].fd >= 0) && now_ms() < until) {
        (void)poll(fds, 2, 100);
        if (fds[0].revents != 0 && !take(out, outcome->out, sizeof outcome->out)) {
            fds[0].fd = -1;
        }
        if (fds[1].revents != 0 && !take(err, outcome->err, sizeof outcome->err)) {
            fds[1].fd = -1;
        }
        if (!let_go && strstr(outcome->out, "started\n") != NULL) {
            outcome->started_without = !is_held(table, scene);
            let_go = true;
            (void)!write(in, "\n", 1);
        }
    }
}

/* The leak check says that it has not seen the thread of the server, which is not in that process. */
static void drop_remark(char *text)
{
    char *remark = strstr(text, "==");
    char *tail = remark != NULL ? strstr(remark, " are possible.\n") : NULL;
    if (tail != NULL && (remark == text || remark[-1] == '\n')) {
        tail += strlen(" are possible.\n");
        memmove(remark, tail, strlen(tail) + 1);
    }
}

static void await_end(pid_t pid, struct outcome *outcome)
{
    int status = 0;
    pid_t ended = 0;
    for (int64_t until = now_ms() + LATE_MS; ended == 0 && now_ms() < until;) {
        ended = waitpid(pid, &status, WNOHANG);
        if (ended == 0) {
            (void)nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
        }
    }
    if (ended == 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, &status, 0);
    }
    outcome->status = ended == 0          ? -1
                      : WIFEXITED(status) ? WEXITSTATUS(status)
                                          : -1 - WTERMSIG(status);
}

/* True: something was made fail. */
static bool run_once(struct table *table, const struct scene *scene, unsigned nth,
                     struct outcome *outcome)
{
    int ends[3][2];
    *outcome = (struct outcome){0};
    table_remove(table, "key");
    if (scene->record != NULL) {
        table_put(table, "key", scene->record);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pipe2(ends[i], O_CLOEXEC), 0);
    }
    fail_exempt(true); /* this process */
    fail_arm(nth, 1);
    pid_t pid = fork();
    if (pid == 0) {
        become(scene, (int[]){ends[0][0], ends[1][1], ends[2][1]}, ends[0][1]);
    }
    assert_true(pid > 0);
    (void)close(ends[0][0]);
    (void)close(ends[1][1]);
    (void)close(ends[2][1]);
    if (scene->input != NULL) {
        (void)!write(ends[0][1], scene->input, strlen(scene->input));
    }
    if (!scene->holds && scene->status != 75) {
        (void)close(ends[0][1]);
        ends[0][1] = -1;
    }
    listen_to(table, scene, ends[0][1], ends[1][0], ends[2][0], outcome);
    await_end(pid, outcome);
    drop_remark(outcome->err);
    if (ends[0][1] >= 0) {
        (void)close(ends[0][1]);
    }
    (void)close(ends[1][0]);
    (void)close(ends[2][0]);
    return fail_disarm();
}

/* ---- What must hold ---- */

static bool is_complete(const struct scene *scene, const struct outcome *outcome)
{
    for (size_t i = 0; i < 3 && scene->told[i] != NULL; i++) {
        if (strstr(outcome->out, scene->told[i]) == NULL) {
            return false;
        }
    }
    return true;
}

static size_t lines_of(const char *text)
{
    size_t lines = 0;
    for (; (text = strchr(text, '\n')) != NULL; text++) {
        lines++;
    }
    return lines;
}

/* One line, behind one at most that tells what it waits for. */
static bool has_said_why(const char *err)
{
    size_t lines = lines_of(err);
    if (lines == 2 && strstr(err, ": waiting, for ") != NULL) {
        err = strchr(err, '\n') + 1;
        lines = 1;
    }
    return lines == 1 && strncmp(err, "dynalock: ", 10) == 0;
}

/* NULL, or what is wrong with it. */
static const char *fault_of(const struct scene *scene, const struct outcome *outcome, bool failed)
{
    bool by_step = strncmp(scene->name, "doctor", 6) == 0; /* says so in a step */
    if (outcome->status < 0 || strstr(outcome->err, "Sanitizer") != NULL ||
        strstr(outcome->err, "runtime error") != NULL) {
        return outcome->status == -1 ? "it did not end" : "it crashed, or left something behind";
    }
    if (outcome->started_without) {
        return "COMMAND was started without the lock";
    }
    if (outcome->status == scene->status) {
        return is_complete(scene, outcome) ? NULL : "it has not told all";
    }
    if (!failed) {
        return "it failed though nothing else did";
    }
    bool misread = outcome->status == 64 && strcmp(fail_what(), "jansson's malloc") == 0;
    if (outcome->status != 69 && outcome->status != 70 && !misread) {
        return "another exit status than 69 or 70";
    }
    return by_step || has_said_why(outcome->err) ? NULL : "not one line on standard error";
}

static unsigned faults;

static bool judge_once(struct table *table, const struct scene *scene, unsigned nth)
{
    static struct outcome outcome;
    bool failed = run_once(table, scene, nth, &outcome);
    const char *fault = fault_of(scene, &outcome, failed);
    if (fault != NULL) {
        faults++;
        print_error("%s, with %s failing as call %u: %s: status %d, out \"%s\", err \"%s\"\n",
                    scene->name, fail_what(), nth, fault, outcome.status, outcome.out, outcome.err);
    }
    return failed;
}

static void test_each_subcommand_ends_as_the_manual_says_whatever_fails(void **state)
{
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) {
        unsigned step = fail_step(41);
        assert_false(judge_once(*state, &scenes[i], 0));
        for (unsigned nth = 1 + (unsigned)i % step; judge_once(*state, &scenes[i], nth);
             nth += step) {
            assert_true(nth < FAIL_MOST);
        }
        (void)fail_report(scenes[i].name);
    }
    assert_int_equal(faults, 0);
}

static int begin(void **state)
{
    static struct table *table; /* not lost when another process looks */
    table = table_start();
    (void)setenv("AWS_ENDPOINT_URL", table_endpoint(table), 1);
    (void)setenv("AWS_REGION", "us-east-1", 1);
    (void)setenv("AWS_ACCESS_KEY_ID", "AKID", 1);
    (void)setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    (void)setenv("DYNALOCK_TABLE", "t", 1);
    (void)setenv("DYNALOCK_PARTITION", "p", 1);
    (void)signal(SIGPIPE, SIG_IGN);
    /* What OpenSSL sets up for a program as a whole is done: fail_unit_open.c is about that. */
    (void)dynalock_close(table_open(table, NULL));
    *state = table;
    return 0;
}

static int end(void **state)
{
    table_end(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_subcommand_ends_as_the_manual_says_whatever_fails),
    };
    fail_install();
    return cmocka_run_group_tests(tests, begin, end);
}
