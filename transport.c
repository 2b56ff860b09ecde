/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP: a pool of easy handles for threads that wait, and a loop of many exchanges for the keeper.
 * Knows no AWS. */
#include "easy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define TRANSPORT_ANSWER_MAX \
    ((size_t)16 * 1024 * 1024) /* a page of 1 MB, each byte escaped, and some */
#define TRANSPORT_MAX_IDLE 32
#define TRANSPORT_CONNECTION_AGE 50L /* seconds: DynamoDB closes idle connections after about 60 */
#define TRANSPORT_RESENT_MAX 4
#define TRANSPORT_HEADERS_MAX ((size_t)256 * 1024) /* libcurl before 7.84 has no limit */
#define TRANSPORT_ADOPTED_SLICE_MS 20

enum { TRANSPORT_LINES = 2 + DLK_EXCHANGE_HEADERS };

/* An easy handle, and, for threads that wait, the multi handle that drives it and keeps its
 * connection. */
struct dlk_lane {
    struct dlk_transport *transport;
    CURL *easy;
    CURLM *multi;
    struct curl_slist headers[TRANSPORT_LINES]; /* the exchange's own lines, not copied */
    struct dlk_exchange *exchange;
    struct dlk_lane *next, *previous;
    unsigned requests;           /* sent for this exchange */
    unsigned resent;             /* exchanges that libcurl sent again */
    size_t read;                 /* of its body */
    struct dlk_sigpipe *sigpipe; /* of the thread that waits for it; NULL: the keeper drives it */
    bool holds_sigpipe;
    char error[CURL_ERROR_SIZE];
};

struct dlk_transport {
    char *url;
    const char *ca_file;
    int64_t connect_timeout_ms;
    struct dlk_clock clock;
    bool may_raise; /* see dlk_easy_may_raise_sigpipe */
    pthread_mutex_t mutex;
    struct dlk_lane *idle;
    unsigned idle_count;
};

struct dlk_loop {
    struct dlk_transport *transport;
    CURLM *multi;
    struct dlk_wake
        wake; /* not libcurl's own: that of 8.21 is lost if it comes at the wrong time */
    struct dlk_lane *idle, *active, *adopted;
    struct dlk_exchange *failed; /* could not even be started */
};

static int64_t transport_now(const struct dlk_transport *transport)
{
    return transport->clock.boot_us(transport->clock.context);
}

void dlk_exchange_init(struct dlk_exchange *exchange)
{
    *exchange = (struct dlk_exchange){0};
    dlk_buffer_init(&exchange->answer, TRANSPORT_ANSWER_MAX);
}

void dlk_exchange_free(struct dlk_exchange *exchange)
{
    dlk_buffer_free(&exchange->answer);
}

/* ---- Callbacks of libcurl ---- */

#if LIBCURL_VERSION_NUM >= 0x075000 && !defined(DLK_TRANSPORT_OLD_CURL)
#define TRANSPORT_COUNTS_REQUESTS 1

/* libcurl is about to send the request; on a connection that turns out to be dead, not for the
 * first time. */
/* NOLINTNEXTLINE(readability-non-const-parameter): libcurl's prototype */
static int transport_on_request(void *context, char *own_address, char *address, int own_port,
                                int port)
{
    struct dlk_lane *lane = context;
    (void)own_address;
    (void)address;
    (void)own_port;
    (void)port;
    lane->exchange->resent = lane->requests > 0;
    lane->requests++;
    return CURL_PREREQFUNC_OK;
}
#else
#define TRANSPORT_COUNTS_REQUESTS 0

/* libcurl before 7.80 tells of a second sending only by reading the body a second time. */
static size_t transport_on_read(char *to, size_t size, size_t count, void *context)
{
    struct dlk_lane *lane = context;
    size_t left = lane->exchange->body_length - lane->read;
    size_t length = size * count < left ? size * count : left;
    memcpy(to, lane->exchange->body + lane->read, length);
    lane->read += length;
    return length;
}

static int transport_on_seek(void *context, curl_off_t offset, int origin)
{
    struct dlk_lane *lane = context;
    if (origin != SEEK_SET || offset != 0) {
        return CURL_SEEKFUNC_FAIL;
    }
    lane->exchange->resent = true;
    lane->read = 0;
    return CURL_SEEKFUNC_OK;
}
#endif

static size_t transport_on_body(char *bytes, size_t size, size_t count, void *context)
{
    struct dlk_lane *lane = context;
    struct dlk_exchange *exchange = lane->exchange;
    dlk_buffer_bytes(&exchange->answer, bytes, size * count);
    return dlk_buffer_ok(&exchange->answer) ? size * count : 0;
}

static bool transport_number(const char *text, int64_t max, int64_t *number)
{
    char *end = NULL;
    if (*text < '0' || *text > '9') {
        return false;
    }
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || *end != '\0' || value > max) {
        return false;
    }
    *number = value;
    return true;
}

static void transport_forget_headers(struct dlk_exchange *exchange)
{
    exchange->has_date = exchange->has_crc = false;
    exchange->retry_after_ms = -1;
    exchange->request_id[0] = '\0';
}

static size_t transport_on_header(char *line, size_t size, size_t count, void *context)
{
    struct dlk_lane *lane = context;
    struct dlk_exchange *exchange = lane->exchange;
    size_t length = size * count;
    char value[128];
    int64_t number = 0;
    exchange->header_bytes += length;
    if (exchange->header_bytes > TRANSPORT_HEADERS_MAX) {
        return 0;
    }
    if (exchange->answer.length > 0) { /* a trailer */
        return length;
    }
    if (length >= 5 &&
        memcmp(line, "HTTP/", 5) == 0) { /* of the final answer, or of a 1xx before it */
        transport_forget_headers(exchange);
    } else if (dlk_easy_header(line, length, "date", value, sizeof value)) {
        bool is_date = dlk_http_date(value, &number);
        /* Two that differ say nothing. */
        exchange->has_date = is_date && (!exchange->has_date || exchange->date_s == number);
        exchange->date_s = number;
    } else if (dlk_easy_header(line, length, "x-amz-crc32", value, sizeof value)) {
        exchange->has_crc = transport_number(value, UINT32_MAX, &number);
        exchange->crc = (uint32_t)number;
    } else if (dlk_easy_header(line, length, "x-amz-retry-after", value, sizeof value)) {
        exchange->retry_after_ms = transport_number(value, 86400000, &number) ? number : -1;
    } else if (dlk_easy_header(line, length, "x-amzn-requestid", value, sizeof value)) {
        dlk_copy_text(exchange->request_id, sizeof exchange->request_id, value);
    }
    return length;
}

/* SIGPIPE is held back by three system calls, where they are needed: from the start, or from the moment a
 * name is resolved, by a thread of libcurl's that gets this one's signal mask. */
static void lane_hold_sigpipe(struct dlk_lane *lane)
{
    if (lane->sigpipe != NULL && !lane->holds_sigpipe) {
        dlk_sigpipe_hold(lane->sigpipe);
        lane->holds_sigpipe = true;
    }
}

static int transport_on_resolve(void *state, void *reserved, void *context)
{
    (void)state;
    (void)reserved;
    lane_hold_sigpipe(context);
    return 0;
}

/* ---- Lanes ---- */

static curl_socket_t transport_on_socket(void *context, curlsocktype purpose,
                                         struct curl_sockaddr *address)
{
    (void)context;
    (void)purpose;
    return dlk_easy_socket(address);
}

static bool transport_set_connection(CURL *easy, const struct dlk_transport *transport)
{
    return dlk_easy_set(easy, transport->url, transport->ca_file) &&
           curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)transport->connect_timeout_ms) ==
               CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, TRANSPORT_CONNECTION_AGE) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, transport_on_socket) == CURLE_OK;
}

static bool transport_set_callbacks(struct dlk_lane *lane)
{
    CURL *easy = lane->easy;
    return curl_easy_setopt(easy, CURLOPT_POST, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HTTPHEADER, lane->headers) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, transport_on_body) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEDATA, lane) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, transport_on_header) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HEADERDATA, lane) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_RESOLVER_START_FUNCTION, transport_on_resolve) ==
               CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_RESOLVER_START_DATA, lane) == CURLE_OK &&
#if TRANSPORT_COUNTS_REQUESTS
           curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, transport_on_request) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PREREQDATA, lane) == CURLE_OK &&
#else
           curl_easy_setopt(easy, CURLOPT_READFUNCTION, transport_on_read) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_READDATA, lane) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, transport_on_seek) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_SEEKDATA, lane) == CURLE_OK &&
#endif
           curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, lane->error) == CURLE_OK;
}

static void lane_free(struct dlk_lane *lane)
{
    curl_easy_cleanup(lane->easy);
    if (lane->multi != NULL) {
        (void)curl_multi_cleanup(lane->multi);
    }
    free(lane);
}

static struct dlk_lane *lane_new(struct dlk_transport *transport, bool with_multi)
{
    struct dlk_lane *lane = calloc(1, sizeof *lane);
    if (lane == NULL) {
        return NULL;
    }
    lane->transport = transport;
    lane->easy = curl_easy_init();
    lane->multi = with_multi ? dlk_easy_multi() : NULL;
    if (lane->easy == NULL || (with_multi && lane->multi == NULL) ||
        !transport_set_connection(lane->easy, transport) || !transport_set_callbacks(lane)) {
        lane_free(lane);
        return NULL;
    }
    return lane;
}

/* libcurl gives an easy handle five second sendings in its life, and fails the sixth. */
static bool lane_is_worn(const struct dlk_lane *lane)
{
    return lane->resent >= TRANSPORT_RESENT_MAX;
}

static struct dlk_lane *lane_take(struct dlk_transport *transport)
{
    (void)pthread_mutex_lock(&transport->mutex);
    struct dlk_lane *lane = transport->idle;
    if (lane != NULL) {
        transport->idle = lane->next;
        transport->idle_count--;
    }
    (void)pthread_mutex_unlock(&transport->mutex);
    return lane != NULL ? lane : lane_new(transport, true);
}

static void lane_give_back(struct dlk_transport *transport, struct dlk_lane *lane)
{
    (void)pthread_mutex_lock(&transport->mutex);
    bool keep = transport->idle_count < TRANSPORT_MAX_IDLE && !lane_is_worn(lane);
    if (keep) {
        lane->next = transport->idle;
        transport->idle = lane;
        transport->idle_count++;
    }
    (void)pthread_mutex_unlock(&transport->mutex);
    if (!keep) {
        lane_free(lane);
    }
}

static void lane_link(struct dlk_lane **list, struct dlk_lane *lane)
{
    lane->previous = NULL;
    lane->next = *list;
    if (*list != NULL) {
        (*list)->previous = lane;
    }
    *list = lane;
}

static void lane_unlink(struct dlk_lane **list, struct dlk_lane *lane)
{
    if (lane->previous != NULL) {
        lane->previous->next = lane->next;
    } else {
        *list = lane->next;
    }
    if (lane->next != NULL) {
        lane->next->previous = lane->previous;
    }
    lane->next = lane->previous = NULL;
}

/* ---- One exchange ---- */

static void exchange_failed(struct dlk_exchange *exchange, int result, const char *message)
{
    exchange->result = result;
    dlk_copy_text(exchange->message, sizeof exchange->message, message);
}

/* It could not be started: nothing of an earlier exchange is to be taken for its answer. */
static void exchange_unsent(const struct dlk_transport *transport, struct dlk_exchange *exchange)
{
    dlk_buffer_clear(&exchange->answer);
    transport_forget_headers(exchange);
    exchange->lane = NULL;
    exchange->status = 0;
    exchange->may_have_arrived = exchange->connected = exchange->resent = false;
    exchange->sent_us = exchange->received_us = transport_now(transport);
    exchange_failed(exchange, DYNALOCK_ERR_MEMORY, "no memory for a connection");
}

/* A list of libcurl's over the lines as they are: it keeps a pointer to the first and changes none. */
static void lane_set_headers(struct dlk_lane *lane, const struct dlk_exchange *exchange)
{
    static char expect[] = "Expect:";
    static char accept[] = "Accept:";
    struct curl_slist *line = lane->headers;
    *line = (struct curl_slist){expect, line + 1};
    *++line = (struct curl_slist){accept, NULL};
    for (size_t i = 0; i < DLK_EXCHANGE_HEADERS && exchange->headers[i] != NULL; i++) {
        line->next = line + 1;
        *++line = (struct curl_slist){(char *)(uintptr_t)exchange->headers[i], NULL};
    }
}

/* Makes lane and exchange ready for each other; false: out of memory. */
static bool lane_prepare(struct dlk_lane *lane, struct dlk_exchange *exchange)
{
    CURL *easy = lane->easy;
    dlk_buffer_clear(&exchange->answer);
    transport_forget_headers(exchange);
    exchange->status = 0;
    exchange->header_bytes = 0;
    exchange->connected = exchange->may_have_arrived = exchange->resent = false;
    lane->requests = 0;
    lane->read = 0;
    exchange->message[0] = '\0';
    lane->error[0] = '\0';
    lane->exchange = exchange;
    exchange->lane = lane;
    exchange->sent_us = transport_now(lane->transport);
    lane_set_headers(lane, exchange);
    return
#if TRANSPORT_COUNTS_REQUESTS
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, exchange->body) == CURLE_OK &&
#endif
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)exchange->body_length) ==
            CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS,
                         (long)(exchange->timeout_ms > 0 ? exchange->timeout_ms : 1)) == CURLE_OK;
}

/* Whether nothing of the request can have been sent. libcurl sends again by itself when a reused
 * connection turns out to be dead, so that even a failure to connect does not tell; the bytes it
 * counted do. */
static bool transport_surely_unsent(CURL *easy)
{
    long size = 0;
    return curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &size) == CURLE_OK && size == 0;
}

/* Takes down what came of the lane's exchange, and parts the two. */
static void lane_finish(struct dlk_lane *lane, CURLcode code)
{
    struct dlk_exchange *exchange = lane->exchange;
    long number = 0;
    exchange->received_us = transport_now(lane->transport);
    exchange->result = code == CURLE_WRITE_ERROR && exchange->answer.out_of_memory
                           ? DYNALOCK_ERR_MEMORY
                           : dlk_easy_result(lane->easy, code);
    if (curl_easy_getinfo(lane->easy, CURLINFO_RESPONSE_CODE, &number) == CURLE_OK) {
        exchange->status = (int)number;
    }
    if (curl_easy_getinfo(lane->easy, CURLINFO_NUM_CONNECTS, &number) == CURLE_OK) {
        exchange->connected = number > 0;
    }
    if (code != CURLE_OK) {
        exchange->may_have_arrived = !transport_surely_unsent(lane->easy);
        const char *words = lane->error[0] != '\0' ? lane->error : curl_easy_strerror(code);
        if (exchange->answer.too_large) {
            words = "the answer is larger than 16 MB";
        } else if (exchange->header_bytes > TRANSPORT_HEADERS_MAX) {
            words = "the headers of the answer are larger than 256 KB";
        }
        exchange_failed(exchange, exchange->result, words);
        exchange->status = 0;
    }
    lane->resent += exchange->resent ? 1 : 0;
    lane->exchange = NULL;
    exchange->lane = NULL;
}

/* Whether the transfer on this multi handle, its only one, has ended. */
static bool lane_ended(struct dlk_lane *lane, CURLcode *code)
{
    int running = 0;
    int left = 0;
    if (curl_multi_perform(lane->multi, &running) != CURLM_OK) {
        *code = CURLE_RECV_ERROR;
        return true;
    }
    if (running > 0) {
        return false;
    }
    CURLMsg *message = curl_multi_info_read(lane->multi, &left);
    *code = message != NULL ? message->data.result : CURLE_RECV_ERROR;
    return true;
}

/* Runs until the transfer has ended (-1), or a stop descriptor is readable (its index). */
static int lane_drive(struct dlk_lane *lane, const int *stop_fds, size_t stop_count, CURLcode *code)
{
    struct curl_waitfd extra[2];
    unsigned used = 0;
    for (size_t i = 0; i < stop_count && used < 2; i++) {
        if (stop_fds[i] >= 0) {
            extra[used++] = (struct curl_waitfd){stop_fds[i], CURL_WAIT_POLLIN, 0};
        }
    }
    bool ended = lane_ended(lane, code);
    while (!ended) {
        if (curl_multi_poll(lane->multi, extra, used, 1000, NULL) != CURLM_OK) {
            *code = CURLE_RECV_ERROR;
            return -1;
        }
        /* A stop that came no later than the answer goes before it. */
        bool told = (used > 0 && extra[0].revents != 0) || (used > 1 && extra[1].revents != 0);
        ended = !told && lane_ended(lane, code);
        /* libcurl tells nothing of a descriptor that has hung up. */
        int stopped = ended ? -1 : dlk_wait_readable(stop_fds, stop_count, 0);
        if (stopped >= 0) {
            return stopped;
        }
    }
    return -1;
}

int dlk_exchange_run(struct dlk_transport *transport, struct dlk_exchange *exchange,
                     const int *stop_fds, size_t stop_count)
{
    struct dlk_sigpipe sigpipe = {0};
    CURLcode code = CURLE_OUT_OF_MEMORY;
    struct dlk_lane *lane = lane_take(transport);
    if (lane == NULL) {
        exchange_unsent(transport, exchange);
        return -1;
    }
    lane->sigpipe = &sigpipe;
    lane->holds_sigpipe = false;
    if (transport->may_raise) {
        lane_hold_sigpipe(lane);
    }
    bool added =
        lane_prepare(lane, exchange) && curl_multi_add_handle(lane->multi, lane->easy) == CURLM_OK;
    int stopped = added ? lane_drive(lane, stop_fds, stop_count, &code) : -1;
    bool held = lane->holds_sigpipe;
    lane->sigpipe = NULL;
    if (stopped < 0) {
        if (added) {
            (void)curl_multi_remove_handle(lane->multi, lane->easy);
        }
        lane_finish(lane, code);
        lane_give_back(transport, lane);
        if (!added) {
            exchange_unsent(transport, exchange);
        }
    }
    if (held) {
        dlk_sigpipe_release(&sigpipe);
    }
    return stopped;
}

void dlk_exchange_abort(struct dlk_transport *transport, struct dlk_exchange *exchange)
{
    struct dlk_sigpipe sigpipe;
    struct dlk_lane *lane = exchange->lane;
    dlk_sigpipe_hold(&sigpipe);
    (void)curl_multi_remove_handle(lane->multi, lane->easy);
    lane_finish(lane, CURLE_OPERATION_TIMEDOUT);
    lane_give_back(transport, lane);
    dlk_sigpipe_release(&sigpipe);
}

/* ---- The transport ---- */

int dlk_transport_new(const struct dlk_transport_settings *settings,
                      struct dlk_transport **transport, dynalock_error *error)
{
    struct dlk_transport *made = calloc(1, sizeof *made);
    char *url = strdup(settings->url);
    if (made == NULL || url == NULL || pthread_mutex_init(&made->mutex, NULL) != 0) {
        free(url);
        free(made);
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    made->url = url;
    made->ca_file = settings->ca_file;
    made->connect_timeout_ms = settings->connect_timeout_ms;
    made->clock = *settings->clock;
    made->may_raise = dlk_easy_may_raise_sigpipe();
    *transport = made;
    return 0;
}

static void transport_release(struct dlk_transport *transport)
{
    (void)pthread_mutex_destroy(&transport->mutex);
    free(transport->url);
    free(transport);
}

void dlk_transport_free(struct dlk_transport *transport)
{
    struct dlk_sigpipe sigpipe;
    if (transport == NULL) {
        return;
    }
    dlk_sigpipe_hold(&sigpipe);
    while (transport->idle != NULL) {
        struct dlk_lane *lane = transport->idle;
        transport->idle = lane->next;
        lane_free(lane);
    }
    dlk_sigpipe_release(&sigpipe);
    transport_release(transport);
}

static void lanes_abandon(struct dlk_lane *lane)
{
    while (lane != NULL) {
        struct dlk_lane *next = lane->next;
        /* Its handles hold the parent's connections: libcurl would say goodbye on them. */
        free(lane);
        lane = next;
    }
}

void dlk_transport_abandon(struct dlk_transport *transport)
{
    lanes_abandon(transport->idle);
    transport_release(transport);
}

/* ---- The loop ---- */

int dlk_loop_new(struct dlk_transport *transport, int max_connections, struct dlk_loop **loop,
                 dynalock_error *error)
{
    struct dlk_loop *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    made->transport = transport;
    if (dlk_wake_open(&made->wake) != 0) {
        free(made);
        return dlk_fail(error, DYNALOCK_ERR_SYSTEM, "no descriptor could be made");
    }
    made->multi = dlk_easy_multi();
    if (made->multi == NULL ||
        curl_multi_setopt(made->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)max_connections) !=
            CURLM_OK ||
        curl_multi_setopt(made->multi, CURLMOPT_MAXCONNECTS, (long)max_connections) != CURLM_OK) {
        if (made->multi != NULL) {
            (void)curl_multi_cleanup(made->multi);
        }
        dlk_wake_close(&made->wake);
        free(made);
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    *loop = made;
    return 0;
}

static void lanes_free(struct dlk_lane *lane)
{
    while (lane != NULL) {
        struct dlk_lane *next = lane->next;
        if (lane->exchange != NULL) {
            lane->exchange->lane = NULL;
        }
        lane_free(lane);
        lane = next;
    }
}

void dlk_loop_free(struct dlk_loop *loop)
{
    struct dlk_sigpipe sigpipe;
    if (loop == NULL) {
        return;
    }
    dlk_sigpipe_hold(&sigpipe);
    for (struct dlk_lane *lane = loop->active; lane != NULL; lane = lane->next) {
        (void)curl_multi_remove_handle(loop->multi, lane->easy);
    }
    for (struct dlk_lane *lane = loop->adopted; lane != NULL; lane = lane->next) {
        (void)curl_multi_remove_handle(lane->multi, lane->easy);
    }
    lanes_free(loop->active);
    lanes_free(loop->adopted);
    lanes_free(loop->idle);
    (void)curl_multi_cleanup(loop->multi);
    dlk_sigpipe_release(&sigpipe);
    dlk_wake_close(&loop->wake);
    free(loop);
}

void dlk_loop_abandon(struct dlk_loop *loop)
{
    if (loop != NULL) {
        lanes_abandon(loop->active);
        lanes_abandon(loop->adopted);
        lanes_abandon(loop->idle);
        dlk_wake_close(&loop->wake);
        free(loop);
    }
}

void dlk_loop_start(struct dlk_loop *loop, struct dlk_exchange *exchange)
{
    struct dlk_lane *lane = loop->idle;
    if (lane != NULL) {
        lane_unlink(&loop->idle, lane);
    } else {
        lane = lane_new(loop->transport, false);
    }
    if (lane != NULL && lane_prepare(lane, exchange) &&
        curl_multi_add_handle(loop->multi, lane->easy) == CURLM_OK) {
        lane_link(&loop->active, lane);
        return;
    }
    if (lane != NULL) {
        lane_free(lane);
    }
    exchange_unsent(loop->transport, exchange);
    exchange->next = loop->failed;
    loop->failed = exchange;
}

void dlk_loop_adopt(struct dlk_loop *loop, struct dlk_exchange *exchange)
{
    lane_link(&loop->adopted, exchange->lane);
}

static void loop_tell_failed(struct dlk_loop *loop)
{
    while (loop->failed != NULL) {
        struct dlk_exchange *exchange = loop->failed;
        loop->failed = exchange->next;
        exchange->done(exchange);
    }
}

static void loop_drive_adopted(struct dlk_loop *loop)
{
    struct dlk_lane *lane = loop->adopted;
    while (lane != NULL) {
        struct dlk_lane *next = lane->next;
        struct dlk_exchange *exchange = lane->exchange;
        CURLcode code = CURLE_OK;
        if (lane_ended(lane, &code)) {
            (void)curl_multi_remove_handle(lane->multi, lane->easy);
            lane_unlink(&loop->adopted, lane);
            lane_finish(lane, code);
            lane_give_back(loop->transport, lane);
            exchange->done(exchange);
        }
        lane = next;
    }
}

/* Whether any exchange has ended. */
static bool loop_drive(struct dlk_loop *loop)
{
    bool ended = false;
    int running = 0;
    int left = 0;
    CURLMsg *message = NULL;
    (void)curl_multi_perform(loop->multi, &running);
    while ((message = curl_multi_info_read(loop->multi, &left)) != NULL) {
        struct dlk_lane *lane = loop->active;
        CURLcode code = message->data.result;
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc) lane_unlink has taken out what was freed */
        while (lane != NULL && lane->easy != message->easy_handle) {
            lane = lane->next;
        }
        if (lane == NULL || message->msg != CURLMSG_DONE) {
            continue;
        }
        struct dlk_exchange *exchange = lane->exchange;
        (void)curl_multi_remove_handle(loop->multi, lane->easy);
        lane_unlink(&loop->active, lane);
        lane_finish(lane, code);
        if (lane_is_worn(lane)) {
            lane_free(lane);
        } else {
            lane_link(&loop->idle, lane);
        }
        exchange->done(exchange);
        ended = true;
    }
    return ended;
}

void dlk_loop_run(struct dlk_loop *loop, int alarm_fd, int64_t timeout_ms)
{
    struct curl_waitfd extra[2] = {{loop->wake.read_fd, CURL_WAIT_POLLIN, 0},
                                   {alarm_fd, CURL_WAIT_POLLIN, 0}};
    if (loop->adopted != NULL && timeout_ms > TRANSPORT_ADOPTED_SLICE_MS) {
        timeout_ms =
            TRANSPORT_ADOPTED_SLICE_MS; /* a multi handle cannot be waited for within another */
    }
    /* Sends what was started since. If some end here already, they may have set timers that the
     * caller must look at before anybody waits. */
    if (loop_drive(loop) || loop->failed != NULL) {
        timeout_ms = 0;
    }
    if (curl_multi_poll(loop->multi, extra, alarm_fd >= 0 ? 2 : 1, (int)timeout_ms, NULL) !=
        CURLM_OK) {
        (void)dlk_wait_readable(NULL, 0, 20); /* no memory: to be tried again, but not at once */
    }
    if (extra[0].revents != 0) {
        dlk_wake_drain(&loop->wake);
    }
    (void)loop_drive(loop);
    loop_drive_adopted(loop);
    loop_tell_failed(loop);
}

void dlk_loop_wake(struct dlk_loop *loop)
{
    dlk_wake_up(&loop->wake);
}

bool dlk_loop_works(const struct dlk_loop *loop)
{
    return dlk_wake_works(&loop->wake);
}
