/* SPDX-License-Identifier: Apache-2.0 */
/* The operating system: clocks, entropy, wakes and alarms, threads, SIGPIPE, fork. */
#include "../internal.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static int64_t boot_us(void)
{
    return dlk_system_clock().boot_us(NULL);
}

static bool readable(int fd)
{
    return dlk_wait_readable(&fd, 1, 0) == 0;
}

/* ---- Clocks and entropy -------------------------------------------------------------------------- */

static void test_the_boot_clock_moves_and_the_real_clock_is_since_1970(void **state)
{
    int64_t before = boot_us();
    int64_t real_s = dlk_system_clock().real_us(NULL) / 1000000;

    (void)state;
    assert_true(before > 0);
    assert_true(real_s >= time(NULL) - 1 && real_s <= time(NULL) + 1);
    while (boot_us() == before) {
    }
    assert_true(boot_us() > before);
}

static void test_random_bytes_are_not_the_same_twice(void **state)
{
    unsigned char a[300] = {0};
    unsigned char b[300] = {0};

    (void)state;
    assert_int_equal(dlk_random(a, sizeof a), 0);
    assert_int_equal(dlk_random(b, sizeof b), 0);
    assert_memory_not_equal(a, b, sizeof a);
    assert_memory_not_equal(a + 284, a, 16); /* filled to the end */
    assert_int_equal(dlk_random(a, 0), 0);
}

/* A process is copied with all its memory: so is a guest. */
static void test_random_bytes_of_a_copied_process_are_others(void **state)
{
    unsigned char ours[16];
    unsigned char theirs[16];
    int fds[2];
    int status = 0;

    (void)state;
    assert_int_equal(dlk_random(ours, sizeof ours), 0);
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    if (child == 0) {
        bool written = dlk_random(theirs, sizeof theirs) == 0 &&
                       write(fds[1], theirs, sizeof theirs) == sizeof theirs;
        _exit(written ? 0 : 1);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(read(fds[0], theirs, sizeof theirs), sizeof theirs);
    assert_int_equal(dlk_random(ours, sizeof ours), 0);
    assert_memory_not_equal(ours, theirs, sizeof ours);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void test_random_below_stays_below_and_reaches_both_ends(void **state)
{
    bool seen[7] = {false};

    (void)state;
    assert_int_equal(dlk_random_below(0), 0);
    assert_int_equal(dlk_random_below(1), 0);
    for (int i = 0; i < 1000; i++) {
        uint64_t number = dlk_random_below(7);
        assert_true(number < 7);
        seen[number] = true;
    }
    for (int i = 0; i < 7; i++) {
        assert_true(seen[i]);
    }
}

/* ---- Wakes and alarms ------------------------------------------------------------------------------ */

static void test_a_wake_is_readable_from_wake_to_drain(void **state)
{
    struct dlk_wake wake;

    (void)state;
    assert_int_equal(dlk_wake_open(&wake), 0);
    assert_true((fcntl(wake.read_fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_true((fcntl(wake.write_fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_false(readable(wake.read_fd));
    dlk_wake_drain(&wake); /* does not block */
    for (int i = 0; i < 100; i++) {
        dlk_wake_up(&wake);
    }
    assert_true(readable(wake.read_fd));
    assert_true(readable(wake.read_fd));
    dlk_wake_drain(&wake);
    assert_false(readable(wake.read_fd));
    dlk_wake_up(&wake);
    assert_true(readable(wake.read_fd));
    dlk_wake_close(&wake);
    assert_int_equal(wake.read_fd, -1);
    dlk_wake_close(&wake); /* twice does no harm */
}

static void test_an_alarm_goes_off_at_its_time_and_can_be_put_off(void **state)
{
    struct dlk_alarm alarm;

    (void)state;
    assert_int_equal(dlk_alarm_open(&alarm), 0);
    assert_true((fcntl(alarm.fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_false(readable(alarm.fd));
    int64_t set_us = boot_us();
    dlk_alarm_set(&alarm, 30000);
    assert_int_equal(dlk_wait_readable(&alarm.fd, 1, 20000), 0);
    assert_true(boot_us() - set_us >= 30000);
    dlk_alarm_set(&alarm, 3600 * INT64_C(1000000)); /* drains it, too */
    assert_false(readable(alarm.fd));
    dlk_alarm_set(&alarm, 0);
    assert_int_equal(dlk_wait_readable(&alarm.fd, 1, 20000), 0);
    dlk_alarm_set(&alarm, -1);
    assert_false(readable(alarm.fd));
    dlk_alarm_close(&alarm);
    assert_int_equal(alarm.fd, -1);
}

static void test_waiting_tells_which_descriptor_it_was(void **state)
{
    struct dlk_wake wake[2];
    int ends[2];

    (void)state;
    assert_int_equal(dlk_wake_open(&wake[0]), 0);
    assert_int_equal(dlk_wake_open(&wake[1]), 0);
    assert_int_equal(pipe(ends), 0);
    const int fds[4] = {-1, wake[0].read_fd, wake[1].read_fd, ends[0]};
    assert_int_equal(dlk_wait_readable(fds, 4, 1), -1);
    dlk_wake_up(&wake[1]);
    assert_int_equal(dlk_wait_readable(fds, 4, -1), 2);
    dlk_wake_up(&wake[0]);
    assert_int_equal(dlk_wait_readable(fds, 4, INT64_MAX), 1);
    dlk_wake_drain(&wake[0]);
    dlk_wake_drain(&wake[1]);
    (void)close(ends[1]); /* hung up at the other end counts */
    assert_int_equal(dlk_wait_readable(fds, 4, -1), 3);
    (void)close(ends[0]); /* as does what is no descriptor */
    assert_int_equal(dlk_wait_readable(fds, 4, -1), 3);
    assert_int_equal(dlk_wait_readable(fds, 0, 1), -1);
    dlk_wake_close(&wake[0]);
    dlk_wake_close(&wake[1]);
}

/* ---- Threads ---------------------------------------------------------------------------------------- */

struct thread_report {
    sigset_t blocked;
    size_t stack;
};

static void *report_thread(void *context)
{
    struct thread_report *report = context;
    pthread_attr_t attributes;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &report->blocked);
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        (void)pthread_attr_getstacksize(&attributes, &report->stack);
        (void)pthread_attr_destroy(&attributes);
    }
    return NULL;
}

static void test_a_thread_blocks_all_signals_and_has_a_stack_of_its_own_size(void **state)
{
    struct thread_report report = {.stack = 0};
    pthread_t thread;
    sigset_t before;
    sigset_t after;

    (void)state;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &before);
    assert_int_equal(dlk_thread_start(&thread, report_thread, &report), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &after);
    static const int signals[] = {SIGINT, SIGTERM, SIGALRM, SIGUSR1, SIGCHLD, SIGPIPE, SIGPROF};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        assert_int_equal(sigismember(&report.blocked, signals[i]), 1);
        assert_int_equal(sigismember(&after, signals[i]), sigismember(&before, signals[i]));
    }
    assert_true(report.stack >= (size_t)256 * 1024);
    assert_true(report.stack < (size_t)4 * 1024 * 1024);
}

/* ---- SIGPIPE ----------------------------------------------------------------------------------------- */

static volatile sig_atomic_t sigpipes;

static void count_sigpipe(int number)
{
    (void)number;
    sigpipes++;
}

static void break_a_pipe(void)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    (void)close(ends[0]);
    assert_int_equal(write(ends[1], "x", 1), -1);
    assert_int_equal(errno, EPIPE);
    (void)close(ends[1]);
}

static bool sigpipe_is(int how) /* 0: blocked, 1: pending */
{
    sigset_t set;
    (void)(how == 0 ? pthread_sigmask(SIG_SETMASK, NULL, &set) : sigpending(&set));
    return sigismember(&set, SIGPIPE) == 1;
}

static void test_a_sigpipe_between_hold_and_release_never_reaches_the_program(void **state)
{
    struct sigaction action = {.sa_handler = count_sigpipe};
    struct sigaction before;
    struct dlk_sigpipe held;

    (void)state;
    sigpipes = 0;
    assert_int_equal(sigaction(SIGPIPE, &action, &before), 0);
    dlk_sigpipe_hold(&held);
    break_a_pipe();
    break_a_pipe();
    dlk_sigpipe_release(&held);
    assert_int_equal(sigpipes, 0);
    assert_false(sigpipe_is(0));
    break_a_pipe(); /* the program's own do */
    assert_int_equal(sigpipes, 1);
    dlk_sigpipe_hold(&held);
    dlk_sigpipe_release(&held); /* without one it does not wait */
    assert_int_equal(sigpipes, 1);
    assert_int_equal(sigaction(SIGPIPE, &before, NULL), 0);
}

static void test_a_sigpipe_of_the_programs_own_stays_pending(void **state)
{
    struct dlk_sigpipe held;
    sigset_t pipe_only;
    int taken = 0;

    (void)state;
    (void)sigemptyset(&pipe_only);
    (void)sigaddset(&pipe_only, SIGPIPE);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &pipe_only, NULL), 0);
    break_a_pipe();
    assert_true(sigpipe_is(1));
    dlk_sigpipe_hold(&held);
    break_a_pipe();
    dlk_sigpipe_release(&held);
    assert_true(sigpipe_is(0));
    assert_true(sigpipe_is(1));
    assert_int_equal(sigwait(&pipe_only, &taken), 0);
    dlk_sigpipe_hold(&held); /* blocked, and none pending: ours is taken away */
    break_a_pipe();
    dlk_sigpipe_release(&held);
    assert_true(sigpipe_is(0));
    assert_false(sigpipe_is(1));
    assert_int_equal(pthread_sigmask(SIG_UNBLOCK, &pipe_only, NULL), 0);
}

/* ---- Fork ---------------------------------------------------------------------------------------------- */

static void test_the_generation_grows_in_a_child_and_a_grandchild_only(void **state)
{
    unsigned before = dlk_fork_generation();
    int status = 0;

    (void)state;
    pid_t child = fork();
    if (child == 0) {
        bool grown = dlk_fork_generation() == before + 1;
        pid_t grandchild = fork();
        if (grandchild == 0) {
            _exit(dlk_fork_generation() == before + 2 ? 0 : 1);
        }
        _exit(waitpid(grandchild, &status, 0) == grandchild && status == 0 && grown ? 0 : 1);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(dlk_fork_generation(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_boot_clock_moves_and_the_real_clock_is_since_1970),
        cmocka_unit_test(test_random_bytes_are_not_the_same_twice),
        cmocka_unit_test(test_random_bytes_of_a_copied_process_are_others),
        cmocka_unit_test(test_random_below_stays_below_and_reaches_both_ends),
        cmocka_unit_test(test_a_wake_is_readable_from_wake_to_drain),
        cmocka_unit_test(test_an_alarm_goes_off_at_its_time_and_can_be_put_off),
        cmocka_unit_test(test_waiting_tells_which_descriptor_it_was),
        cmocka_unit_test(test_a_thread_blocks_all_signals_and_has_a_stack_of_its_own_size),
        cmocka_unit_test(test_a_sigpipe_between_hold_and_release_never_reaches_the_program),
        cmocka_unit_test(test_a_sigpipe_of_the_programs_own_stays_pending),
        cmocka_unit_test(test_the_generation_grows_in_a_child_and_a_grandchild_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
