/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char *control_receive(int fd)
{
    size_t capacity = 65536;
    size_t length = 0;
    char *answer = malloc(capacity);
    for (;;) {
        ssize_t got = answer != NULL ? recv(fd, answer + length, capacity - length - 1, 0) : 0;
        if (got <= 0) {
            bench_fail("responder", "its answer was cut short");
        }
        length += (size_t)got;
        answer[length] = '\0';
        const char *body = strstr(answer, "\r\n\r\n");
        const char *size = strstr(answer, "Content-Length: ");
        if (body != NULL && size != NULL &&
            length >= (size_t)(body + 4 - answer) + strtoul(size + 16, NULL, 10)) {
            return answer;
        }
        if (capacity - length < 32768) {
            capacity *= 2;
            answer = realloc(answer, capacity);
        }
    }
}

char *bench_control(const char *path)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char request[128];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_port = htons((uint16_t)strtol(bench_setting("BENCH_PORT", NULL), NULL, 10));
    int size = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        send(fd, request, (size_t)size, MSG_NOSIGNAL) != size) {
        bench_fail("responder", "cannot be reached");
    }
    char *answer = control_receive(fd);
    (void)close(fd);
    const char *body = strstr(answer, "\r\n\r\n") + 4;
    memmove(answer, body, strlen(body) + 1);
    return answer;
}

json_t *bench_counts(const char *path)
{
    char *text = bench_control(path);
    json_t *counts = json_loads(text, 0, NULL);
    free(text);
    if (counts == NULL) {
        bench_fail("responder", "its counts are no JSON");
    }
    return counts;
}

/* ---- Stores ---- */

void bench_check(int code, const dynalock_error *error, const char *what)
{
    if (code != 0) {
        bench_fail(what, error->message);
    }
}

dynalock_store *bench_store(const dynalock_options *more)
{
    dynalock_options options = more != NULL ? *more : (dynalock_options){0};
    const char *ca_file = bench_setting("BENCH_CA", "");
    dynalock_error error;
    dynalock_store *store = NULL;
    options.region = "us-east-1";
    options.endpoint = bench_setting("BENCH_URL", NULL);
    options.access_key_id = "AKIDBENCHBENCHBENCHB";
    options.secret_access_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYBENCHBENCH";
    options.ca_file = ca_file[0] != '\0' ? ca_file : NULL;
    bench_check(dynalock_open("bench", "bench", &options, &store, &error), &error, "dynalock_open");
    return store;
}

/* One that the keeper leaves alone. */
dynalock_lock *bench_lock(dynalock_store *store, const char *key)
{
    dynalock_lock_options options = {.renewal = DYNALOCK_RENEWAL_NONE, .ttl_ms = 600000};
    dynalock_lock *lock = NULL;
    dynalock_error error;
    bench_check(dynalock_lock_new(store, key, &options, &lock, &error), &error, "lock_new");
    return lock;
}

void bench_list(dynalock_store *store)
{
    dynalock_kv **items = NULL;
    size_t count = 0;
    dynalock_error error;
    bench_check(dynalock_list(store, "many-10000-5000-", NULL, &items, &count, &error), &error,
                "list");
    if (count != BENCH_ITEMS) {
        bench_fail("list", "not all items came");
    }
    dynalock_list_free(items, count);
}
