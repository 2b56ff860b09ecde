/* SPDX-License-Identifier: Apache-2.0 */
/* Linked into the programs of `make coverage`. What gcc counts is written by exit alone: here also by _exit, which ends
 * what was forked, and by the signals that end the command as it is meant to be ended. */
#include <signal.h>
#include <stddef.h>

void __gcov_dump(void); /* gcov.h */

_Noreturn void __real__exit(int status);
_Noreturn void __wrap__exit(int status);
_Noreturn void __wrap__exit(int status)
{
    __gcov_dump();
    __real__exit(status);
}

static void exit_by(int number)
{
    __gcov_dump();
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

__attribute__((constructor)) static void exit_prepare(void)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    struct sigaction action;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (sigaction(numbers[i], NULL, &action) == 0 && action.sa_handler == SIG_DFL) {
            action.sa_handler = exit_by;
            (void)sigaction(numbers[i], &action, NULL);
        }
    }
}
