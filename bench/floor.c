/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor: what libcurl takes to send the same bytes to the same place and to drop the answer. They
 * are sent as they were recorded: nothing is composed, signed or parsed, and no header is made twice.
 */
#include "bench.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct floor {
    CURL *easy;
    char error[CURL_ERROR_SIZE];
};

/* ---- Scripts ---- */

static void floor_add_header(struct floor_request *request, const char *line)
{
    struct curl_slist *longer = curl_slist_append(request->headers, line);
    if (longer == NULL) {
        bench_fail("floor", "memory");
    }
    request->headers = longer;
}

/* The request at text, whose lines it cuts; what comes after it. */
static char *floor_parse_one(struct floor_request *request, char *text)
{
    char *end = strstr(text, "\r\n\r\n");
    char *line = strstr(text, "\r\n");
    if (end == NULL || line == NULL) {
        bench_fail("floor", "what was recorded is no request");
    }
    end[2] = '\0';
    while (line < end) {
        char *next = strstr(line + 2, "\r\n");
        *next = '\0';
        if (strncasecmp(line + 2, "Content-Length: ", 16) == 0) {
            request->length = strtoul(line + 18, NULL, 10);
        } else {
            floor_add_header(request, line + 2);
        }
        line = next;
    }
    floor_add_header(request, "Accept:");
    floor_add_header(request, "Expect:");
    request->body = end + 4;
    return end + 4 + request->length;
}

void floor_parse(struct floor_script *script, char *recorded)
{
    char *text = recorded;
    *script = (struct floor_script){.recorded = recorded};
    while (*text != '\0') {
        struct floor_request request = {0};
        text = floor_parse_one(&request, text);
        script->requests =
            realloc(script->requests, (script->count + 1) * sizeof *script->requests);
        if (script->requests == NULL) {
            bench_fail("floor", "memory");
        }
        script->requests[script->count++] = request;
    }
    if (script->count == 0) {
        bench_fail("floor", "nothing was recorded");
    }
}

void floor_free(struct floor_script *script)
{
    for (size_t i = 0; i < script->count; i++) {
        curl_slist_free_all(script->requests[i].headers);
    }
    free(script->requests);
    free(script->recorded);
}

/* ---- Sending ---- */

static size_t floor_drop(const char *bytes, size_t size, size_t count, void *context)
{
    (void)bytes;
    (void)context;
    return size * count;
}

static void floor_init(struct floor *floor)
{
    const char *ca_file = bench_setting("BENCH_CA", "");
    floor->easy = curl_easy_init();
    if (floor->easy == NULL ||
        curl_easy_setopt(floor->easy, CURLOPT_URL, bench_setting("BENCH_URL", NULL)) != CURLE_OK ||
        curl_easy_setopt(floor->easy, CURLOPT_POST, 1L) != CURLE_OK ||
        curl_easy_setopt(floor->easy, CURLOPT_NOSIGNAL, 1L) != CURLE_OK ||
        curl_easy_setopt(floor->easy, CURLOPT_TIMEOUT_MS, 5000L) != CURLE_OK ||
        curl_easy_setopt(floor->easy, CURLOPT_WRITEFUNCTION, floor_drop) != CURLE_OK ||
        curl_easy_setopt(floor->easy, CURLOPT_ERRORBUFFER, floor->error) != CURLE_OK ||
        (ca_file[0] != '\0' &&
         curl_easy_setopt(floor->easy, CURLOPT_CAINFO, ca_file) != CURLE_OK)) {
        bench_fail("floor", "libcurl");
    }
}

struct floor *floor_open(void)
{
    struct floor *floor = calloc(1, sizeof *floor);
    if (floor == NULL) {
        bench_fail("floor", "memory");
    }
    floor_init(floor);
    return floor;
}

void floor_close(struct floor *floor)
{
    curl_easy_cleanup(floor->easy);
    free(floor);
}

static void floor_set(struct floor *floor, const struct floor_request *request)
{
    if (curl_easy_setopt(floor->easy, CURLOPT_HTTPHEADER, request->headers) != CURLE_OK ||
        curl_easy_setopt(floor->easy, CURLOPT_POSTFIELDS, request->body) != CURLE_OK ||
        curl_easy_setopt(floor->easy, CURLOPT_POSTFIELDSIZE, (long)request->length) != CURLE_OK) {
        bench_fail("floor", "libcurl");
    }
}

static void floor_send(struct floor *floor, const struct floor_request *request)
{
    floor_set(floor, request);
    if (curl_easy_perform(floor->easy) != CURLE_OK) {
        bench_fail("floor", floor->error);
    }
}

void floor_run(struct floor *floor, const struct floor_script *script)
{
    for (size_t i = 0; i < script->count; i++) {
        floor_send(floor, &script->requests[i]);
    }
}

static size_t floor_keep(const char *bytes, size_t size, size_t count, void *context)
{
    return fwrite(bytes, size, count, context) * size;
}

char *floor_fetch(struct floor *floor, const struct floor_request *request, size_t *length)
{
    char *answer = NULL;
    FILE *kept = open_memstream(&answer, length);
    if (kept == NULL ||
        curl_easy_setopt(floor->easy, CURLOPT_WRITEFUNCTION, floor_keep) != CURLE_OK ||
        curl_easy_setopt(floor->easy, CURLOPT_WRITEDATA, kept) != CURLE_OK) {
        bench_fail("floor", "memory");
    }
    floor_send(floor, request);
    (void)curl_easy_setopt(floor->easy, CURLOPT_WRITEFUNCTION, floor_drop);
    if (fclose(kept) != 0) {
        bench_fail("floor", "memory");
    }
    return answer;
}

/* ---- Many at a time ---- */

struct floor_many {
    CURLM *multi;
    struct floor *floors;
    int count;
};

struct floor_many *floor_many_open(int connections)
{
    struct floor_many *many = calloc(1, sizeof *many);
    if (many == NULL) {
        bench_fail("floor", "memory");
    }
    many->count = connections;
    many->floors = calloc((size_t)connections, sizeof *many->floors);
    many->multi = curl_multi_init();
    if (many->floors == NULL || many->multi == NULL ||
        curl_multi_setopt(many->multi, CURLMOPT_MAXCONNECTS, (long)connections) != CURLM_OK) {
        bench_fail("floor", "memory");
    }
    for (int i = 0; i < connections; i++) {
        floor_init(&many->floors[i]);
        (void)curl_easy_setopt(many->floors[i].easy, CURLOPT_PRIVATE, (char *)&many->floors[i]);
    }
    return many;
}

void floor_many_close(struct floor_many *many)
{
    for (int i = 0; i < many->count; i++) {
        curl_easy_cleanup(many->floors[i].easy);
    }
    (void)curl_multi_cleanup(many->multi);
    free(many->floors);
    free(many);
}

static void floor_many_start(struct floor_many *many, struct floor *floor,
                             const struct floor_request *request)
{
    floor_set(floor, request);
    if (curl_multi_add_handle(many->multi, floor->easy) != CURLM_OK) {
        bench_fail("floor", "libcurl");
    }
}

/* The next transfer that has ended; NULL: none has. */
static struct floor *floor_many_ended(struct floor_many *many)
{
    struct floor *floor = NULL;
    int left = 0;
    const CURLMsg *message = curl_multi_info_read(many->multi, &left);
    if (message != NULL) {
        CURLcode result = message->data.result;
        CURL *easy = message->easy_handle;
        (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&floor);
        (void)curl_multi_remove_handle(many->multi, easy);
        if (result != CURLE_OK) {
            bench_fail("floor", floor->error);
        }
    }
    return floor;
}

void floor_many_run(struct floor_many *many, const struct floor_script *script, size_t count)
{
    size_t started = 0;
    size_t ended = 0;
    int running = 0;
    for (; started < count && started < (size_t)many->count; started++) {
        floor_many_start(many, &many->floors[started], &script->requests[started % script->count]);
    }
    while (ended < count) {
        struct floor *floor = NULL;
        if (curl_multi_perform(many->multi, &running) != CURLM_OK) {
            bench_fail("floor", "libcurl");
        }
        while ((floor = floor_many_ended(many)) != NULL) {
            ended++;
            if (started < count) {
                floor_many_start(many, floor, &script->requests[started++ % script->count]);
            }
        }
        if (ended < count && curl_multi_poll(many->multi, NULL, 0, 1000, NULL) != CURLM_OK) {
            bench_fail("floor", "libcurl");
        }
    }
}
