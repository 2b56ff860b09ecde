/* SPDX-License-Identifier: Apache-2.0 */
/* The command that the lock is held for, in a group of processes of its own; see process.h. */
#include "process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/prctl.h>
#endif

extern char **environ;

/* ---- The terminal ---- */

static bool group_is_ours(int terminal)
{
    return terminal >= 0 && tcgetpgrp(terminal) == getpgrp();
}

bool group_lend_terminal(const struct group *group)
{
    return group_is_ours(group->terminal) && tcsetpgrp(group->terminal, group->leader) == 0;
}

void group_give_terminal(const struct group *group)
{
    if (group->takes_terminal) {
        (void)group_lend_terminal(group);
    }
}

bool group_take_terminal(const struct group *group)
{
    bool taken = group->terminal >= 0 && tcgetpgrp(group->terminal) == group->leader;
    if (taken) {
        (void)tcsetpgrp(group->terminal, getpgrp());
    }
    return taken;
}

bool process_has_terminal(void)
{
    int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC);
    bool has = group_is_ours(terminal);
    if (terminal >= 0) {
        (void)close(terminal);
    }
    return has;
}

/* ---- Starting ---- */

/* A pager behind a pipe, and the script that has started this by &, are of this process's group: they want the terminal
 * themselves. */
static bool group_takes_terminal(void)
{
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && !signals_ignored(SIGINT);
}

/* In the new process, all signals blocked. The guardian knows of the group before there is anything to guard. */
static void group_become(const struct group *group, char **argv, char **environment, int failure_fd,
                         const struct guardian *guardian, int64_t deadline_ms, bool foreground)
{
    pid_t self = getpid();
#ifdef __linux__
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* for the case that the guardian is killed, too */
#endif
    (void)setpgid(self, self);
    if (guardian_tell(guardian, self, deadline_ms)) {
        if (foreground) {
            (void)tcsetpgrp(group->terminal, self);
        }
        signals_reset();
        environ = environment;
        (void)execvp(argv[0], argv);
    }
    int why = errno;
    (void)!write(failure_fd, &why, sizeof why);
    _exit(127);
}

/* 0: exec has happened. */
static int group_await_exec(int failure_fd)
{
    int why = 0;
    ssize_t length = 0;
    do {
        length = read(failure_fd, &why, sizeof why);
    } while (length < 0 && errno == EINTR);
    return length == (ssize_t)sizeof why ? why : 0;
}

bool group_start(struct group *group, char **argv, char **environment,
                 const struct guardian *guardian, int64_t deadline_ms)
{
    int fds[2];
    sigset_t all, before;
    if (!process_pipe(fds, true)) {
        return false;
    }
    group->terminal = open("/dev/tty", O_RDWR | O_CLOEXEC);
    group->takes_terminal = group_takes_terminal();
    bool foreground = group->takes_terminal && group_is_ours(group->terminal);
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0) {
        group_become(group, argv, environment, fds[1], guardian, deadline_ms, foreground);
    }
    int why = errno;
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    (void)close(fds[1]);
    if (pid > 0) {
        (void)setpgid(pid, pid); /* whoever comes first */
        group->leader = pid;
        why = group_await_exec(fds[0]);
    }
    (void)close(fds[0]);
    if (why != 0) {
        (void)group_take_terminal(group);
        (void)guardian_tell(guardian, 0, 0);
        group->ended = true; /* or will have in a moment */
        group_end(group);
    }
    errno = why;
    return why == 0;
}

/* ---- Watching ---- */

void group_look(struct group *group)
{
    siginfo_t info = {0};
    if (group->leader == 0 || group->ended) {
        return;
    }
    if (waitid(P_PID, (id_t)group->leader, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        info.si_pid == group->leader) {
        group->ended = true;
        group->stopped = false;
        group->signal = info.si_code == CLD_EXITED ? 0 : info.si_status;
        group->status = info.si_status + (group->signal != 0 ? 128 : 0);
        return;
    }
    while (waitid(P_PID, (id_t)group->leader, &info, WSTOPPED | WCONTINUED | WNOHANG) == 0 &&
           info.si_pid == group->leader) {
        group->stopped = info.si_code == CLD_STOPPED;
        group->stop_signal = group->stopped ? info.si_status : 0;
        info = (siginfo_t){0};
    }
}

void group_signal(const struct group *group, int number)
{
    if (group->leader > 0) {
        (void)kill(-group->leader, number);
    }
}

/* proc(5), /proc/PID/stat: "PID (NAME) STATE PPID PGRP ...", the number of threads as the 18th behind the name. What has
 * ended is a zombie of one thread; of more: its first thread alone has. */
static bool group_of_stat(const char *text, pid_t *pgrp, bool *lives)
{
    char state = 0;
    long numbers[17] = {0};
    const char *at = strrchr(text, ')');
    if (at == NULL || strlen(at) < 4) {
        return false;
    }
    state = at[2];
    at += 3;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        char *end = NULL;
        numbers[i] = strtol(at, &end, 10);
        if (end == at) {
            return false;
        }
        at = end;
    }
    *pgrp = (pid_t)numbers[1];
    *lives = (state != 'Z' && state != 'X') || numbers[16] > 1;
    return true;
}

/* 1: it is of the group, and lives; 0: it is not, or does not; -1: nobody can tell. */
static int group_has(const struct group *group, const char *pid)
{
    char path[64];
    char text[512];
    pid_t pgrp = 0;
    bool lives = false;
    (void)snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    int why = errno;
    if (fd >= 0) {
        (void)close(fd);
    }
    if (length <= 0) {
        return length == 0 || why == ENOENT || why == ESRCH ? 0 : -1;
    }
    text[length] = '\0';
    if (!group_of_stat(text, &pgrp, &lives)) {
        return -1;
    }
    return pgrp == group->leader && lives ? 1 : 0;
}

/* A look that does not see the leader, which is there to the end, sees nothing. */
int group_is_left(const struct group *group)
{
    DIR *folder = opendir("/proc");
    const struct dirent *entry = NULL;
    bool living = false, leader = false, blind = false;
    if (folder == NULL) {
        return -1;
    }
    while (!blind && !living && (entry = readdir(folder)) != NULL) {
        if (isdigit((unsigned char)entry->d_name[0]) != 0) {
            int found = group_has(group, entry->d_name);
            leader = leader || strtol(entry->d_name, NULL, 10) == group->leader;
            living = found == 1;
            blind = found < 0;
        }
    }
    (void)closedir(folder);
    return living ? 1 : blind || !leader ? -1 : 0;
}

void group_end(struct group *group)
{
    while (group->leader > 0 && group->ended && waitpid(group->leader, NULL, 0) < 0 &&
           errno == EINTR) {
    }
    if (group->terminal >= 0) {
        (void)close(group->terminal);
    }
    *group = (struct group){
        .terminal = -1, .ended = group->ended, .status = group->status, .signal = group->signal};
}
