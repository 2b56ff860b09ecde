/* SPDX-License-Identifier: Apache-2.0 */
/* What goes wrong: one line on standard error, and an exit status. */
#include "command.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* In one piece: several threads may complain, and several processes share the terminal. */
__attribute__((format(printf, 1, 0))) static void say(const char *format, va_list arguments)
{
    char text[4096] = "dynalock: ";
    char line[2 * sizeof text];
    size_t start = strlen(text);
    (void)vsnprintf(text + start, sizeof text - start, format, arguments);
    text_escape(text, line, sizeof line - 1);
    size_t length = strlen(line);
    line[length++] = '\n';
    (void)!write(STDERR_FILENO, line, length);
}

void complain(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
}

int complain_usage(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    return EXIT_USAGE;
}

static int exit_code_of(int code)
{
    switch (code) {
    case DYNALOCK_OK: return EXIT_OK;
    case DYNALOCK_ERR_NOT_FOUND: return EXIT_NOT_FOUND;
    case DYNALOCK_ERR_EXISTS:
    case DYNALOCK_ERR_MODIFIED: return EXIT_CONDITION;
    case DYNALOCK_ERR_ARGUMENT:
    case DYNALOCK_ERR_TOO_LARGE: return EXIT_USAGE;
    case DYNALOCK_ERR_MEMORY:
    case DYNALOCK_ERR_SYSTEM: return EXIT_SYSTEM;
    case DYNALOCK_ERR_NOT_ACQUIRED: return EXIT_NOT_ACQUIRED;
    case DYNALOCK_ERR_LOST: return EXIT_LOST;
    default: return EXIT_SERVICE;
    }
}

/* ---- What to do about it, where that is not in the message ---- */

static char about_table[1100]; /* an ARN, at the longest */
static const char *about_partition = "";

void report_about(const char *table, const char *partition)
{
    if (table != NULL) {
        (void)snprintf(about_table, sizeof about_table, " --table %s", table);
    }
    about_partition = partition;
}

const char *report_table(void)
{
    return about_table;
}

static void advise(int code, char *advice, size_t size)
{
    switch (code) {
    case DYNALOCK_ERR_NO_TABLE:
        (void)snprintf(advice, size, "; `dynalock init%s` creates it", about_table);
        break;
    case DYNALOCK_ERR_TYPE: /* KEY: what strangers have written is not put before a shell */
        (void)snprintf(
            advice, size,
            "; if it is none of dynalock's, `dynalock rm KEY --partition %s%s` removes it",
            about_partition, about_table);
        break;
    case DYNALOCK_ERR_CREDENTIALS:
    case DYNALOCK_ERR_NOT_AUTHORIZED:
        (void)snprintf(advice, size, "; `dynalock doctor` tells what is used");
        break;
    default: advice[0] = '\0'; break;
    }
}

int report(const char *what, const dynalock_error *error)
{
    char advice[2048];
    advise(error->code, advice, sizeof advice);
    complain("%s%s%s%s", what != NULL ? what : "", what != NULL ? ": " : "", error->message,
             advice);
    return exit_code_of(error->code);
}
