/* SPDX-License-Identifier: Apache-2.0 */
/* What is told of the exchange with the service: in words (-v), and line by line (DYNALOCK_LOG). Events come from
 * several threads, so a line is written by one call. */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct {
    int file; /* -1: none */
    bool verbose;
    dynalock_log_fn next;
    void *next_context;
} log_to = {.file = -1};

/* ---- DYNALOCK_LOG: name=value, as logfmt has it ---- */

struct log_line {
    char text[6000]; /* key, message and the rest, each byte of which may become six */
    size_t length;
};

__attribute__((format(printf, 2, 3))) static void log_add(struct log_line *line, const char *format,
                                                          ...)
{
    size_t room = sizeof line->text - line->length;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line->text + line->length, room, format, arguments);
    va_end(arguments);
    if (length > 0) {
        line->length += (size_t)length < room ? (size_t)length : room - 1;
    }
}

static bool log_is_plain(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text <= ' ' || *text == '"' || *text == '=' || *text == '\\' ||
            *text == 0x7f) {
            return false;
        }
    }
    return true;
}

static void log_add_quoted(struct log_line *line, const char *text)
{
    log_add(line, "\"");
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            log_add(line, "\\%c", *text);
        } else if ((unsigned char)*text < ' ' || *text == 0x7f) {
            log_add(line, "\\u%04x", (unsigned)*text);
        } else {
            log_add(line, "%c", *text);
        }
    }
    log_add(line, "\"");
}

static void log_add_text(struct log_line *line, const char *name, const char *value)
{
    if (value[0] == '\0') {
        return;
    }
    log_add(line, " %s=", name);
    if (log_is_plain(value)) {
        log_add(line, "%s", value);
    } else {
        log_add_quoted(line, value);
    }
}

static void log_add_number(struct log_line *line, const char *name, int64_t value, bool always)
{
    if (always || value != 0) {
        log_add(line, " %s=%" PRId64, name, value);
    }
}

static void log_write(const dynalock_event *event)
{
    struct log_line line = {.length = 0};
    char now[TIME_SIZE];
    text_time(time_now_ms(), true, now);
    log_add(&line, "time=%s pid=%ld", now, (long)getpid());
    log_add_text(&line, "event", dynalock_event_name(event->id));
    log_add_text(&line, "operation", event->operation);
    log_add_text(&line, "key", event->key);
    log_add_number(&line, "attempt", event->attempt, false);
    log_add_number(&line, "elapsed_ms", event->elapsed_ms, event->attempt > 0);
    log_add_number(&line, "http_status", event->http_status, false);
    log_add_number(&line, "wait_ms", event->wait_ms, false);
    log_add_number(&line, "remaining_ms", event->remaining_ms, false);
    log_add_number(&line, "token", event->token, false);
    log_add_text(&line, "cause", event->cause != 0 ? dynalock_cause_name(event->cause) : "");
    log_add_number(&line, "code", event->code, false);
    log_add_text(&line, "name", event->name);
    log_add_text(&line, "request_id", event->request_id);
    log_add_text(&line, "message", event->message);
    line.text[line.length++] = '\n'; /* in the place of the NUL */
    (void)!write(log_to.file, line.text, line.length);
}

/* ---- -v: in words ---- */

static void log_say_failure(const dynalock_event *event, const char *what)
{
    const char *why = event->message[0] != '\0' ? event->message : dynalock_strerror(event->code);
    complain("%s: %s%s%s: %s", event->key, event->operation, event->operation[0] != '\0' ? " " : "",
             what, why);
}

static void log_say_lease(const dynalock_event *event, const char *what)
{
    char left[32];
    duration_print(event->remaining_ms, left, sizeof left);
    complain("%s: %s, token %" PRId64 ", %s of the lease left", event->key, what, event->token,
             left);
}

static void log_say_waiting(const dynalock_event *event)
{
    char wait[32];
    duration_print(event->wait_ms, wait, sizeof wait);
    bool held = event->code == DYNALOCK_ERR_NOT_ACQUIRED;
    complain("%s: %s%s%s%s", event->key, held ? "held by " : "",
             event->message[0] != '\0' ? event->message : "another",
             event->wait_ms > 0 ? "; next try in " : "", event->wait_ms > 0 ? wait : "");
}

static void log_say_retry(const dynalock_event *event)
{
    char wait[32];
    duration_print(event->wait_ms, wait, sizeof wait);
    complain("%s: %s, attempt %d: %s%s%s; once more in %s", event->key, event->operation,
             event->attempt, event->name, event->name[0] != '\0' ? ": " : "",
             event->message[0] != '\0' ? event->message : dynalock_strerror(event->code), wait);
}

static void log_say(const dynalock_event *event)
{
    switch (event->id) {
    case DYNALOCK_EVENT_ATTEMPT: break; /* too many */
    case DYNALOCK_EVENT_RETRY: log_say_retry(event); break;
    case DYNALOCK_EVENT_WAITING: log_say_waiting(event); break;
    case DYNALOCK_EVENT_ACQUIRED: log_say_lease(event, "acquired"); break;
    case DYNALOCK_EVENT_RENEWED: log_say_lease(event, "renewed"); break;
    case DYNALOCK_EVENT_TAKEN_OVER:
        complain("%s: taken over, its holder's lease has expired", event->key);
        break;
    case DYNALOCK_EVENT_RENEWAL_FAILED: log_say_failure(event, "renewal failed"); break;
    case DYNALOCK_EVENT_RELEASE_FAILED: log_say_failure(event, "release failed"); break;
    case DYNALOCK_EVENT_LOST:
        complain("%s: lost: %s", event->key, dynalock_cause_name(event->cause));
        break;
    case DYNALOCK_EVENT_CLOCK: complain("clock: %s", event->message); break;
    case DYNALOCK_EVENT_CREDENTIALS:
        complain("credentials: %s%s", event->code != 0 ? "failed: " : "from ", event->message);
        break;
    case DYNALOCK_EVENT_DROPPED: complain("some of what went on was not told"); break;
    default: complain("%s: %s", event->key, dynalock_event_name(event->id)); break;
    }
}

static void log_event(const dynalock_event *event, void *context)
{
    (void)context;
    if (log_to.file >= 0) {
        log_write(event);
    }
    if (log_to.verbose) {
        log_say(event);
    }
    if (log_to.next != NULL) {
        log_to.next(event, log_to.next_context);
    }
}

int log_open(const struct settings *settings, dynalock_log_fn log, void *context,
             dynalock_options *options, dynalock_error *error)
{
    const char *path = settings_variable("DYNALOCK_LOG");
    log_to.verbose = settings->verbose;
    log_to.next = log;
    log_to.next_context = context;
    if (path != NULL && (strcmp(path, "-") == 0 || strcmp(path, "stderr") == 0)) {
        log_to.file = STDERR_FILENO;
    } else if (path != NULL && log_to.file < 0) {
        log_to.file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        if (log_to.file < 0) {
            *error = (dynalock_error){.code = DYNALOCK_ERR_SYSTEM};
            (void)snprintf(error->message, sizeof error->message, "DYNALOCK_LOG: %s: %s", path,
                           strerror(errno));
            return error->code;
        }
    }
    if (log_to.file >= 0 || log_to.verbose || log != NULL) {
        options->log = log_event;
    }
    return 0;
}
