/* SPDX-License-Identifier: Apache-2.0 */
#include "waiting.h"

#include "command.h"
#include "process.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WAITING_WIDTH 80
#define WAITING_TEXT 512

static struct {
    pthread_mutex_t mutex;
    const char *key;
    bool on_terminal, shown;
    int64_t since_ms;
    int code; /* DYNALOCK_ERR_NOT_ACQUIRED: another holds it; 0: nothing is known yet; else why not */
    int64_t token;
    char text[WAITING_TEXT]; /* the holder's, or the error's */
    bool complained;
} waiting = {.mutex = PTHREAD_MUTEX_INITIALIZER};

void waiting_begin(const char *key)
{
    const char *kind = settings_variable("TERM");
    waiting.on_terminal = isatty(STDERR_FILENO) != 0 && (kind == NULL || strcmp(kind, "dumb") != 0);
    waiting.key = key;
    waiting.since_ms = process_clock_ms();
}

void waiting_note(const dynalock_event *event)
{
    if (event->wait_ms == 0) { /* it was the last try, and the end will be told */
        return;
    }
    (void)pthread_mutex_lock(&waiting.mutex);
    waiting.code = event->code;
    waiting.token = event->token;
    (void)snprintf(waiting.text, sizeof waiting.text, "%s", event->message);
    (void)pthread_mutex_unlock(&waiting.mutex);
}

/* Not over the prompt of a shell that has put it into the background. */
static bool waiting_may_write(void)
{
    return waiting.on_terminal && tcgetpgrp(STDERR_FILENO) == getpgrp();
}

static size_t waiting_width(void)
{
    struct winsize size = {0};
    bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20;
    return known ? size.ws_col : WAITING_WIDTH;
}

/* Who wrote the record tells the terminal nothing. Bytes, not letters, are counted: the line may be shorter. */
static void waiting_print(const char *line, size_t width)
{
    char escaped[1024];
    text_escape(line, escaped, sizeof escaped);
    (void)fprintf(stderr, "\r%.*s\033[K", (int)width - 1, escaped);
    (void)fflush(stderr);
    waiting.shown = true;
}

static void waiting_tell(int code, int64_t token, const char *text)
{
    char line[1024], waited[32];
    duration_print((process_clock_ms() - waiting.since_ms) / 1000 * 1000, waited, sizeof waited);
    if (code == DYNALOCK_ERR_NOT_ACQUIRED) {
        char held[32] = "";
        int64_t now_ms = time_now_ms(), since_ms = holder_since_ms(token, now_ms);
        if (since_ms != 0) {
            duration_print((now_ms - since_ms) / 1000 * 1000, held, sizeof held);
        }
        (void)snprintf(line, sizeof line, "dynalock: %.80s: held%s%s by %.128s; waiting for %s",
                       waiting.key, since_ms != 0 ? " for " : "", held, text, waited);
    } else {
        (void)snprintf(line, sizeof line, "dynalock: %.80s: waiting for %s: %s", waiting.key,
                       waited, text);
    }
    waiting_print(line, waiting_width());
}

int waiting_show(void)
{
    char text[WAITING_TEXT];
    (void)pthread_mutex_lock(&waiting.mutex);
    int code = waiting.code;
    int64_t token = waiting.token;
    (void)snprintf(text, sizeof text, "%s", waiting.text);
    (void)pthread_mutex_unlock(&waiting.mutex);
    if (code != 0 && waiting_may_write()) {
        waiting_tell(code, token, text);
    } else if (code != 0 && code != DYNALOCK_ERR_NOT_ACQUIRED && !waiting.complained) {
        waiting.complained =
            true; /* once: a log is read by people who wonder why nothing happens */
        complain("%s: waiting, for nobody can tell who holds the lock: %s", waiting.key, text);
    }
    return waiting.on_terminal ? 1000 : -1;
}

void waiting_end(void)
{
    if (waiting.shown) {
        (void)fputs("\r\033[K", stderr);
        (void)fflush(stderr);
        waiting.shown = false;
    }
}
