/* SPDX-License-Identifier: Apache-2.0 */
/* credential_process: runs a program, without a shell, and reads what it prints. */
#include "providers.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESS_OUTPUT_MAX ((size_t)64 * 1024)
#define PROCESS_WORDS_MAX 256
#define PROCESS_SLICE_MS 20

/* ---- Words ---- */

struct process_words {
    char *text; /* the words, each with its NUL; no longer than the command */
    char *words[PROCESS_WORDS_MAX + 1];
    size_t count;
};

/* Copies what is in the quotes; what follows them, or NULL: they do not end. A backslash in double
 * quotes stands before " and itself. */
static const char *process_quoted(const char *at, char **to)
{
    char quote = *at++;
    while (*at != quote) {
        if (*at == '\\' && quote == '"' && (at[1] == '"' || at[1] == '\\')) {
            at++;
        }
        if (*at == '\0') {
            return NULL;
        }
        *(*to)++ = *at++;
    }
    return at + 1;
}

static const char *process_word(const char *at, char **to)
{
    while (at != NULL && *at != '\0' && strchr(" \t\r\n", *at) == NULL) {
        if (*at == '"' || *at == '\'') {
            at = process_quoted(at, to);
        } else if (*at == '\\' && *++at == '\0') {
            return NULL;
        } else {
            *(*to)++ = *at++;
        }
    }
    return at;
}

/* As a POSIX shell splits a line that has nothing but words and quotes. NULL, or what is wrong. */
static const char *process_split(const char *command, struct process_words *words)
{
    char *to = words->text;
    for (;;) {
        command += strspn(command, " \t\r\n");
        if (*command == '\0') {
            return words->count > 0 ? NULL : "credential_process is empty";
        }
        if (words->count == PROCESS_WORDS_MAX) {
            return "credential_process has more than 256 words";
        }
        words->words[words->count++] = to;
        command = process_word(command, &to);
        if (command == NULL) {
            return "credential_process has a quote that does not end";
        }
        *to++ = '\0';
    }
}

/* ---- Starting ---- */

/* From 3 on: what the program gets must not be overwritten while it is put in its place. */
static int process_move_up(int *fd)
{
    int moved = fcntl(*fd, F_DUPFD_CLOEXEC, 3);
    (void)close(*fd);
    *fd = moved;
    return moved < 0 ? errno : 0;
}

static int process_pipe(int fds[2])
{
#ifdef __linux__
    int failed = pipe2(fds, O_CLOEXEC) == 0 ? 0 : errno;
#else
    int failed = pipe(fds) == 0 ? 0 : errno;
    for (int i = 0; i < 2 && failed == 0; i++) {
        failed = fcntl(fds[i], F_SETFD, FD_CLOEXEC) == 0 ? 0 : errno;
    }
#endif
    if (failed != 0) {
        return failed;
    }
    failed = process_move_up(&fds[0]);
    int second = process_move_up(&fds[1]);
    failed = failed != 0 ? failed : second;
    if (failed == 0 && fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0) {
        failed = errno;
    }
    for (int i = 0; i < 2 && failed != 0; i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    return failed;
}

static int process_set_files(posix_spawn_file_actions_t *actions, int output)
{
    int failed = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
    if (failed == 0) {
        failed = posix_spawn_file_actions_adddup2(actions, output, 1);
    }
    if (failed == 0) {
        failed = posix_spawn_file_actions_addopen(actions, 2, "/dev/null", O_WRONLY, 0);
    }
#if defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 34)
    /* Descriptors of the caller's program that are not close-on-exec. */
    if (failed == 0) {
        failed = posix_spawn_file_actions_addclosefrom_np(actions, 3);
    }
#endif
#endif
    return failed;
}

/* No signal blocked, all as they are by default, and a process group of its own, to be ended as one. */
static int process_set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none;
    sigset_t all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    (void)sigdelset(&all, SIGKILL);
    (void)sigdelset(&all, SIGSTOP);
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP;
#ifdef POSIX_SPAWN_CLOEXEC_DEFAULT
    flags = (short)(flags | POSIX_SPAWN_CLOEXEC_DEFAULT);
#endif
    int failed = posix_spawnattr_setsigmask(attributes, &none);
    failed = failed != 0 ? failed : posix_spawnattr_setsigdefault(attributes, &all);
    failed = failed != 0 ? failed : posix_spawnattr_setpgroup(attributes, 0);
    return failed != 0 ? failed : posix_spawnattr_setflags(attributes, flags);
}

static int process_spawn(char *const words[], int output, pid_t *pid)
{
#ifndef __linux__
    extern char **environ;
#endif
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int failed = posix_spawn_file_actions_init(&actions);
    if (failed != 0) {
        return failed;
    }
    failed = posix_spawnattr_init(&attributes);
    if (failed == 0) {
        failed = process_set_files(&actions, output);
        failed = failed != 0 ? failed : process_set_attributes(&attributes);
        if (failed == 0) {
            failed = posix_spawnp(pid, words[0], &actions, &attributes, words, environ);
        }
        (void)posix_spawnattr_destroy(&attributes);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    return failed;
}

/* ---- Running ---- */

enum process_end {
    PROCESS_ENDED,
    PROCESS_SILENT,
    PROCESS_TALKATIVE,
    PROCESS_LATE,
    PROCESS_NO_MEMORY
};

/* What is there to be read. True: there may be more later. */
static bool process_drain(int fd, struct dlk_sigv4_text *output, enum process_end *end)
{
    char bytes[2048];
    ssize_t got = 0;
    bool more = true;
    do {
        got = read(fd, bytes, sizeof bytes);
        if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN)) {
            *end = PROCESS_SILENT;
            more = false;
        } else if (got > 0 && output->length + (size_t)got > PROCESS_OUTPUT_MAX) {
            *end = PROCESS_TALKATIVE;
            more = false;
        } else if (got > 0 && dlk_sigv4_append(output, bytes, (size_t)got) != DLK_SIGV4_OK) {
            *end = PROCESS_NO_MEMORY;
            more = false;
        }
    } while (more && (got > 0 || errno == EINTR));
    dlk_wipe_bytes(bytes, sizeof bytes);
    return more;
}

/* Whether it has ended; its id stays taken until it is reaped. Where the caller's program leaves
 * children to the system (SIGCHLD ignored), there is nothing to ask for. */
static bool process_has_ended(pid_t pid)
{
    siginfo_t info;
    memset(&info, 0, sizeof info);
    int result = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT);
    return (result == 0 && info.si_pid == pid) || (result != 0 && errno == ECHILD);
}

/* Until it has ended, or has to be. Who keeps its output open after it is not waited for. */
static enum process_end process_listen(pid_t pid, int fd, const struct dlk_errand *errand,
                                       struct dlk_sigv4_text *output)
{
    enum process_end end = PROCESS_ENDED;
    int waited = fd;
    while (dlk_errand_left_ms(errand) > 0 && !dlk_errand_cancelled(errand)) {
        (void)dlk_wait_readable(&waited, 1, PROCESS_SLICE_MS);
        bool ended = process_has_ended(pid);
        if (waited >= 0 && !process_drain(fd, output, &end)) {
            if (end != PROCESS_SILENT) {
                return end;
            }
            waited = -1;
        }
        if (ended) {
            return PROCESS_ENDED;
        }
    }
    return PROCESS_LATE;
}

/* Its status as waitpid gives it; 0 where the system has reaped it. */
static int process_reap(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return 0;
        }
    }
    return status;
}

static int process_judge(enum process_end end, int status, const struct dlk_errand *errand,
                         dynalock_error *error)
{
    if (dlk_errand_cancelled(errand)) {
        return dlk_fail(error, DYNALOCK_ERR_CLOSED, "the store is closing");
    }
    switch (end) {
    case PROCESS_NO_MEMORY: return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    case PROCESS_TALKATIVE:
        return dlk_fail(error, DYNALOCK_ERR_BAD_RESPONSE, "it printed more than 64 KB");
    case PROCESS_LATE: return dlk_fail(error, DYNALOCK_ERR_TIMEOUT, "it did not end in time");
    default: break;
    }
    if (WIFSIGNALED(status)) {
        return dlk_fail(error, DYNALOCK_ERR_CREDENTIALS, "signal %d ended it", WTERMSIG(status));
    }
    if (WEXITSTATUS(status) != 0) {
        return dlk_fail(error, DYNALOCK_ERR_CREDENTIALS, "it ended with status %d%s",
                        WEXITSTATUS(status),
                        WEXITSTATUS(status) == 127 ? ", as if there were no such program" : "");
    }
    return 0;
}

static int process_run(char *const words[], const struct dlk_errand *errand,
                       struct dlk_sigv4_text *output, dynalock_error *error)
{
    int fds[2];
    pid_t pid = 0;
    int failed = process_pipe(fds);
    if (failed != 0) {
        return dlk_fail(error, DYNALOCK_ERR_SYSTEM, "no pipe could be made");
    }
    failed = process_spawn(words, fds[1], &pid);
    (void)close(fds[1]);
    if (failed != 0) {
        (void)close(fds[0]);
        bool passes = failed == EAGAIN || failed == ENOMEM || failed == EMFILE || failed == ENFILE;
        return dlk_fail(error, passes ? DYNALOCK_ERR_SYSTEM : DYNALOCK_ERR_CREDENTIALS,
                        "%.100s cannot be started: %s", words[0],
                        failed == ENOENT   ? "there is no such program"
                        : failed == EACCES ? "permission denied"
                                           : "the system refuses");
    }
    enum process_end end = process_listen(pid, fds[0], errand, output);
    (void)close(fds[0]);
    if (end != PROCESS_ENDED && !process_has_ended(pid)) {
        (void)kill(-pid, SIGKILL);
        (void)kill(pid, SIGKILL); /* it may have left its group */
    }
    int status = process_reap(pid);
    return process_judge(end, status, errand, error);
}

int dlk_fetch_process(const struct dlk_source *source, const struct dlk_errand *errand,
                      struct dlk_found *found, dynalock_error *error)
{
    struct dlk_sigv4_text output = {0};
    size_t size = strlen(source->command) + 1;
    char *text = malloc(size);
    struct process_words words = {.text = text};
    if (text == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    const char *wrong = process_split(source->command, &words);
    if (wrong == NULL && (getuid() != geteuid() || getgid() != getegid())) {
        wrong = "a privileged program runs no credential_process";
    }
    int code = wrong != NULL ? dlk_fail(error, DYNALOCK_ERR_CREDENTIALS, "%s", wrong)
                             : process_run(words.words, errand, &output, error);
    if (code == 0) {
        code = dlk_json_credentials(output.data, output.length, DLK_FORM_PROCESS, found, error);
        /* What a program prints wrongly, it will print again. */
        if (code == DYNALOCK_ERR_BAD_RESPONSE && error != NULL) {
            error->flags = 0;
        }
    }
    dlk_sigv4_text_free(&output);
    dlk_wipe_bytes(text, size);
    free(text);
    return code;
}
