/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_child.h"
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FAKE_PID = 0x3FFFFFF1, FAKE_BABBLE = 20000 };

static struct fake_child fake;
static const char *fake_command;
static int fake_output = -1; /* its own end of the pipe */
static int fake_given = -1;  /* the descriptor that is to be its output */
static bool fake_runs, fake_killed, fake_there;
static size_t fake_printed;
static unsigned fake_started;

/* ---- Words ---- */

/* The next byte of the word at *at, what stands in quotes as well; -1: the word has ended; -2: a quote has not. */
static int fake_next(const char **at, char *quote)
{
    for (;;) {
        char c = *(*at)++;
        if (*quote == '\0' && (c == '\0' || c == ' ' || c == '\t' || c == '\r' || c == '\n')) {
            --*at;
            return -1;
        }
        if (c == '\0') {
            return -2;
        }
        if (c == *quote) {
            *quote = '\0';
        } else if (*quote == '\0' && (c == '"' || c == '\'')) {
            *quote = c;
        } else if (c == '\\' &&
                   (*quote == '\0' || (*quote == '"' && (**at == '"' || **at == '\\')))) {
            return **at == '\0' ? -2 : (unsigned char)*(*at)++;
        } else {
            return (unsigned char)c;
        }
    }
}

static void fake_check_words(char *const *words)
{
    const char *at = fake_command;
    size_t count = 0;
    for (at += strspn(at, " \t\r\n"); *at != '\0'; at += strspn(at, " \t\r\n")) {
        const char *word = words[count++];
        char quote = '\0';
        int c;
        fuzz_check(word != NULL);
        while ((c = fake_next(&at, &quote)) >= 0) {
            fuzz_check((unsigned char)*word++ == c);
        }
        fuzz_check(c == -1 && *word == '\0');
    }
    fuzz_check(count > 0 && count <= 256 && words[count] == NULL);
}

/* ---- Its life ---- */

static void fake_close(void)
{
    if (fake_output >= 0) {
        (void)close(fake_output);
        fake_output = -1;
    }
}

void fake_child_set(const struct fake_child *child, const char *command)
{
    fake_close();
    fake = *child;
    fake_command = command;
    fake_given = -1;
    fake_runs = fake_killed = fake_there = false;
    fake_printed = 0;
}

static void fake_print(size_t most)
{
    size_t left = fake.length - fake_printed;
    size_t now = left < most ? left : most;
    if (now > 0 && fake_output >= 0) {
        ssize_t written = write(fake_output, fake.output + fake_printed, now);
        fuzz_check(written == (ssize_t)now || (written < 0 && errno == EAGAIN));
        fake_printed += written > 0 ? (size_t)written : 0;
    }
}

static void fake_babble(void)
{
    for (size_t printed = 0; printed < FAKE_BABBLE; printed += fake.length + 1) {
        fake_print(fake.length);
        fake_printed = 0;
    }
}

void fake_child_tick(void)
{
    if (fake_runs) {
        fake_print(fake.length / 2 + 1);
        if (fake.babbles) {
            fake_babble();
        }
        fake.ticks -= fake.ticks > 0 ? 1 : 0;
        if (fake.ticks == 0) {
            fake_print(fake.length);
            fake_close();
            fake_runs = false;
        }
    }
}

bool fake_child_is_gone(void)
{
    return !fake_there;
}

unsigned fake_child_starts(void)
{
    return fake_started;
}

/* ---- In the place of the system ---- */

int __wrap_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                        const posix_spawnattr_t *attributes, char *const *words,
                        char *const *environment);
int __real_posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int fd, int as);
int __wrap_posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int fd, int as);
int __real_waitid(idtype_t type, id_t id, siginfo_t *info, int options);
int __wrap_waitid(idtype_t type, id_t id, siginfo_t *info, int options);
pid_t __real_waitpid(pid_t pid, int *status, int options);
pid_t __wrap_waitpid(pid_t pid, int *status, int options);
int __real_kill(pid_t pid, int number);
int __wrap_kill(pid_t pid, int number);

int __wrap_posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int fd, int as)
{
    if (as == 1) {
        fake_given = fd;
    }
    return __real_posix_spawn_file_actions_adddup2(actions, fd, as);
}

int __wrap_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                        const posix_spawnattr_t *attributes, char *const *words,
                        char *const *environment)
{
    sigset_t blocked;
    pid_t group = -1;
    short flags = 0;
    (void)actions;
    fuzz_check(strcmp(file, words[0]) == 0 && environment != NULL && fake_given >= 3);
    fake_check_words(words);
    fuzz_check(posix_spawnattr_getflags(attributes, &flags) == 0);
    fuzz_check((flags & POSIX_SPAWN_SETSIGMASK) != 0 && (flags & POSIX_SPAWN_SETPGROUP) != 0);
    fuzz_check(posix_spawnattr_getsigmask(attributes, &blocked) == 0 &&
               sigismember(&blocked, SIGTERM) == 0);
    fuzz_check(posix_spawnattr_getpgroup(attributes, &group) == 0 && group == 0);
    fuzz_check(fake_child_is_gone());
    if (fake.spawn_error != 0) {
        return fake.spawn_error;
    }
    fake_output = fcntl(fake_given, F_DUPFD_CLOEXEC, 3);
    fuzz_check(fake_output >= 0 && fcntl(fake_output, F_SETFL, O_NONBLOCK) == 0);
    fake_runs = fake_there = true;
    fake_started++;
    *pid = FAKE_PID;
    return 0;
}

int __wrap_waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
    if (type != P_PID || id != FAKE_PID) {
        return __real_waitid(type, id, info, options);
    }
    fuzz_check(fake_there && (options & WNOWAIT) != 0 && (options & WNOHANG) != 0);
    if (fake.is_orphan && !fake_runs) {
        errno = ECHILD;
        return -1;
    }
    info->si_pid = fake_runs ? 0 : FAKE_PID;
    return 0;
}

pid_t __wrap_waitpid(pid_t pid, int *status, int options)
{
    if (pid != FAKE_PID) {
        return __real_waitpid(pid, status, options);
    }
    fuzz_check(fake_there && !fake_runs); /* else it would be waited for without an end */
    fake_there = false;
    if (fake.is_orphan) {
        errno = ECHILD;
        return -1;
    }
    *status = fake_killed ? SIGKILL : fake.status;
    return pid;
}

int __wrap_kill(pid_t pid, int number)
{
    if (pid != FAKE_PID && pid != -FAKE_PID) {
        return __real_kill(pid, number);
    }
    fuzz_check(fake_there && number == SIGKILL);
    /* Else its number may be another's by now. */
    fuzz_check(fake_runs || fake_killed || !fake.is_orphan);
    fake_killed = fake_killed || fake_runs;
    fake_runs = false;
    fake_close();
    return 0;
}
