/* SPDX-License-Identifier: Apache-2.0 */
#include "rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define RIG_ENV "DYNALOCK_TEST_RIG"

static _Noreturn void rig_broken(const char *what, const char *detail)
{
    fflush(stdout);
    fprintf(stderr, "test rig: %s: %s\n", what, detail);
    abort();
}

static void *rig_grown(void *old, size_t size)
{
    void *p = realloc(old, size);
    if (!p) {
        rig_broken("memory", "none left");
    }
    return p;
}

/* ' in the format becomes ", what is formatted into it stays as it is. */
static char *rig_text(const char *format, va_list args)
{
    char *json = rig_grown(NULL, strlen(format) + 1);
    for (size_t i = 0; i <= strlen(format); i++) {
        json[i] = format[i] == '\'' ? '"' : format[i];
    }
    va_list again;
    va_copy(again, args);
/* The compiler has checked the format where it was written: RIG_FORMAT. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    int length = vsnprintf(NULL, 0, json, again);
    va_end(again);
    if (length < 0) {
        rig_broken("format", format);
    }
    char *text = rig_grown(NULL, (size_t)length + 1);
    vsnprintf(text, (size_t)length + 1, json, args);
#pragma GCC diagnostic pop
    free(json);
    return text;
}

static void rig_send(struct rig *r, const char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        ssize_t n = send(r->fd, text, left, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) {
            rig_broken("send", strerror(errno));
        }
        if (n > 0) {
            text += n;
            left -= (size_t)n;
        }
    }
}

/* The length of the first whole line in r->in, which it waits for. */
static size_t rig_line(struct rig *r)
{
    for (size_t seen = 0;;) {
        char *end = r->used > seen ? memchr(r->in + seen, '\n', r->used - seen) : NULL;
        if (end) {
            return (size_t)(end - r->in) + 1;
        }
        seen = r->used;
        if (r->size - r->used < 4096) {
            r->size = r->size * 2 + 8192;
            r->in = rig_grown(r->in, r->size);
        }
        ssize_t n = recv(r->fd, r->in + r->used, r->size - r->used, 0);
        if (n == 0 || (n < 0 && errno != EINTR)) {
            rig_broken("answer", n == 0 ? "the rig has ended" : strerror(errno));
        }
        r->used += n > 0 ? (size_t)n : 0;
    }
}

static json_t *rig_exchange(struct rig *r, const char *members)
{
    rig_send(r, "{");
    rig_send(r, members);
    rig_send(r, "}\n");
    size_t length = rig_line(r);
    json_error_t error;
    json_t *answer = json_loadb(r->in, length, JSON_ALLOW_NUL, &error);
    if (!answer) {
        rig_broken("answer", error.text);
    }
    r->used -= length;
    memmove(r->in, r->in + length, r->used);
    return answer;
}

static json_t *rig_good(const char *members, json_t *answer)
{
    if (!json_is_true(json_object_get(answer, "ok"))) {
        fprintf(stderr, "test rig: command: {%s}\n", members);
        const char *error = json_string_value(json_object_get(answer, "error"));
        rig_broken("refused", error ? error : "no reason given");
    }
    return answer;
}

/* Runs "members" with "prefix" before them. */
static json_t *rig_with(struct rig *r, const char *prefix, const char *format, va_list args)
{
    char *rest = rig_text(format, args);
    size_t size = strlen(prefix) + strlen(rest) + 1;
    char *members = rig_grown(NULL, size);
    snprintf(members, size, "%s%s", prefix, rest);
    json_t *answer = rig_good(members, rig_exchange(r, members));
    free(rest);
    free(members);
    return answer;
}

json_t *rig_try(struct rig *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *members = rig_text(format, args);
    va_end(args);
    json_t *answer = rig_exchange(r, members);
    free(members);
    return answer;
}

json_t *rig(struct rig *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    json_t *answer = rig_with(r, "", format, args);
    va_end(args);
    return answer;
}

void rig_do(struct rig *r, const char *format, ...)
{
    char prefix[40];
    snprintf(prefix, sizeof prefix, "\"proxy\":%d,", r->proxy);
    va_list args;
    va_start(args, format);
    json_decref(rig_with(r, prefix, format, args));
    va_end(args);
}

bool rig_available(void)
{
    const char *port = getenv(RIG_ENV);
    return port && *port;
}

struct rig *rig_open(void)
{
    if (!rig_available()) {
        rig_broken(RIG_ENV, "not set: no rig to test with");
    }
    struct rig *r = rig_grown(NULL, sizeof *r);
    memset(r, 0, sizeof *r);
    r->fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atoi(getenv(RIG_ENV)))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (r->fd < 0 || fcntl(r->fd, F_SETFD, FD_CLOEXEC) != 0 ||
        connect(r->fd, (struct sockaddr *)&to, sizeof to) != 0) {
        rig_broken("connect", strerror(errno));
    }
    int on = 1;
    setsockopt(r->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return r;
}

void rig_close(struct rig *r)
{
    if (r) {
        close(r->fd);
        free(r->in);
        free(r);
    }
}

const char *rig_proxy_new(struct rig *r, const char *server, const char *settings)
{
    snprintf(r->server, sizeof r->server, "%s", server);
    size_t size = 64 + strlen(server) + (settings ? strlen(settings) : 0);
    char *members = rig_grown(NULL, size);
    snprintf(members, size, "'cmd':'proxy','server':'%s'%s%s", server, settings ? "," : "",
             settings ? settings : "");
    for (char *p = members; *p; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    json_t *answer = rig_good(members, rig_exchange(r, members));
    r->proxy = (int)json_integer_value(json_object_get(answer, "proxy"));
    int port = (int)json_integer_value(json_object_get(answer, "port"));
    snprintf(r->endpoint, sizeof r->endpoint, "http://127.0.0.1:%d", port);
    json_decref(answer);
    free(members);
    return r->endpoint;
}

char *rig_table(struct rig *r)
{
    static int count;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    char *name = rig_grown(NULL, 64);
    snprintf(name, 64, "t-%ld-%lx-%d", (long)getpid(), (unsigned long)now.tv_nsec, ++count);
    json_decref(rig(r, "'cmd':'table','server':'%s','name':'%s'", r->server, name));
    return name;
}

/* The answer's number of that name, or of counts.<op>. */
static int rig_number(struct rig *r, const char *name, const char *op)
{
    json_t *answer = rig(r, "'cmd':'counts','proxy':%d", r->proxy);
    json_t *value = json_object_get(answer, name);
    int number = (int)json_integer_value(op ? json_object_get(value, op) : value);
    json_decref(answer);
    return number;
}

int rig_count(struct rig *r, const char *op)
{
    return op ? rig_number(r, "counts", op) : rig_number(r, "total", NULL);
}

int rig_total(struct rig *r)
{
    return rig_number(r, "total", NULL);
}

int rig_connections(struct rig *r)
{
    return rig_number(r, "connections", NULL);
}

int rig_violations(struct rig *r)
{
    json_t *answer = rig(r, "'cmd':'counts','proxy':%d", r->proxy);
    json_t *list = json_object_get(answer, "violations");
    int count = (int)json_array_size(list);
    for (int i = 0; i < count; i++) {
        fprintf(stderr, "violation: %s\n", json_string_value(json_array_get(list, (size_t)i)));
    }
    json_decref(answer);
    return count;
}

void rig_reset_counts(struct rig *r)
{
    rig_do(r, "'cmd':'reset-counts'");
}

json_t *rig_log(struct rig *r, const char *op)
{
    json_t *answer = rig(r, "'cmd':'log','proxy':%d,'op':'%s'", r->proxy, op ? op : "");
    json_t *log = json_incref(json_object_get(answer, "log"));
    json_decref(answer);
    return log;
}

void rig_fault(struct rig *r, const char *format, ...)
{
    char prefix[60];
    snprintf(prefix, sizeof prefix, "\"cmd\":\"fault\",\"proxy\":%d,", r->proxy);
    va_list args;
    va_start(args, format);
    json_decref(rig_with(r, prefix, format, args));
    va_end(args);
}

void rig_clear_faults(struct rig *r)
{
    rig_do(r, "'cmd':'clear-faults'");
}

int rig_let_go(struct rig *r)
{
    json_t *answer = rig(r, "'cmd':'let-go','proxy':%d", r->proxy);
    int released = (int)json_integer_value(json_object_get(answer, "released"));
    json_decref(answer);
    return released;
}

bool rig_wait(struct rig *r, const char *op, const char *state, int count, int timeout_ms)
{
    const char *quote = op ? "\"" : "";
    json_t *answer =
        rig_try(r, "'cmd':'wait','proxy':%d,'op':%s%s%s,'state':'%s','count':%d,'timeout_ms':%d",
                r->proxy, quote, op ? op : "null", quote, state, count, timeout_ms);
    bool came = json_is_true(json_object_get(answer, "ok"));
    const char *error = json_string_value(json_object_get(answer, "error"));
    if (!came && error) {
        fprintf(stderr, "test rig: %s\n", error);
    }
    json_decref(answer);
    return came;
}

json_t *rig_raw(struct rig *r, const char *op, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *input = rig_text(format, args);
    va_end(args);
    json_t *answer =
        rig(r, "'cmd':'raw','server':'%s','op':'%s','input':{%s}", r->server, op, input);
    free(input);
    return answer;
}

json_t *rig_item(struct rig *r, const char *table, const char *partition, const char *key)
{
    json_t *answer =
        rig_raw(r, "GetItem",
                "'TableName':'%s','ConsistentRead':true,'Key':{'id':{'S':'%s'},'name':{'S':'%s'}}",
                table, partition, key);
    json_t *result = json_object_get(answer, "result");
    if (!result) {
        rig_broken("GetItem", json_string_value(json_object_get(answer, "error")));
    }
    json_t *item = json_incref(json_object_get(result, "Item"));
    json_decref(answer);
    return item;
}

json_t *rig_go(struct rig *r, const char *table, const char *partition, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *call = rig_text(format, args);
    va_end(args);
    json_t *answer = rig(r, "'cmd':'go','server':'%s','table':'%s','partition':'%s',%s", r->server,
                         table, partition, call);
    free(call);
    return answer;
}
