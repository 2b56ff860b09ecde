/* SPDX-License-Identifier: Apache-2.0 */
#include "memory_transport.h"

#include "virtual_time.h"

#include <stdlib.h>
#include <string.h>

#define MEMORY_ANSWER_MAX ((size_t)16 * 1024 * 1024)

struct dlk_lane {
    struct dlk_transport *transport;
    struct dlk_exchange *exchange;
    struct memory_request *request;
    struct dlk_lane *next;
    bool ended;
    int64_t until_us;
};

struct dlk_transport {
    const struct dlk_clock *clock;
    unsigned lanes;
};

struct dlk_loop {
    struct dlk_transport *transport;
    struct dlk_wake wake;
    struct dlk_lane *active, *adopted;
    struct dlk_exchange *failed;
};

static unsigned memory_lanes, memory_known;

unsigned memory_under_way(void)
{
    return memory_lanes;
}

unsigned memory_requests(void)
{
    return memory_known;
}

static void *memory_made(void *made)
{
    if (made == NULL) {
        abort();
    }
    return made;
}

static int64_t memory_now(const struct dlk_transport *transport)
{
    return transport->clock->boot_us(transport->clock->context);
}

void dlk_exchange_init(struct dlk_exchange *exchange)
{
    *exchange = (struct dlk_exchange){0};
    dlk_buffer_init(&exchange->answer, MEMORY_ANSWER_MAX);
}

void dlk_exchange_free(struct dlk_exchange *exchange)
{
    dlk_buffer_free(&exchange->answer);
}

/* ---- Requests ---- */

/* The value of the header, which is to be there once at the most; NULL: it is not. */
static char *memory_header(const struct dlk_exchange *exchange, const char *name)
{
    char *found = NULL;
    size_t length = strlen(name);
    bool over = false;
    for (size_t i = 0; i < DLK_EXCHANGE_HEADERS; i++) {
        const char *line = exchange->headers[i];
        over = over || line == NULL;
        fuzz_check(over == (line == NULL)); /* none behind the last */
        if (line != NULL && strncmp(line, name, length) == 0) {
            fuzz_check(found == NULL && strpbrk(line, "\r\n") == NULL);
            found = memory_made(strdup(line + length));
        }
    }
    return found;
}

static struct memory_request *memory_request_new(struct dlk_lane *lane)
{
    const struct dlk_exchange *exchange = lane->exchange;
    struct memory_request *request = memory_made(calloc(1, sizeof *request));
    char *type = memory_header(exchange, "Content-Type: ");
    char *host = memory_header(exchange, "Host: ");
    fuzz_check(type != NULL && strcmp(type, "application/x-amz-json-1.0") == 0);
    fuzz_check(host != NULL && host[0] != '\0');
    free(type);
    free(host);
    *request = (struct memory_request){
        .lane = lane,
        .transport = lane->transport,
        .operation = memory_header(exchange, "X-Amz-Target: DynamoDB_20120810."),
        .date = memory_header(exchange, "X-Amz-Date: "),
        .authorization = memory_header(exchange, "Authorization: "),
        .token = memory_header(exchange, "X-Amz-Security-Token: "),
        .body = memory_made(malloc(exchange->body_length + 1)),
        .length = exchange->body_length,
        .timeout_ms = exchange->timeout_ms,
        .references = 1};
    fuzz_check(request->operation != NULL && request->date != NULL &&
               request->authorization != NULL);
    memcpy(request->body, exchange->body, exchange->body_length);
    request->body[exchange->body_length] = '\0';
    memory_known++;
    return request;
}

struct memory_request *memory_ref(struct memory_request *request)
{
    request->references++;
    return request;
}

void memory_unref(struct memory_request *request)
{
    if (--request->references > 0) {
        return;
    }
    memory_known--;
    free(request->operation);
    free(request->body);
    free(request->date);
    free(request->authorization);
    free(request->token);
    free(request);
}

/* ---- Exchanges ---- */

static void exchange_forget(const struct dlk_transport *transport, struct dlk_exchange *exchange)
{
    dlk_buffer_clear(&exchange->answer);
    exchange->has_date = exchange->has_crc = false;
    exchange->retry_after_ms = -1;
    exchange->request_id[0] = exchange->message[0] = '\0';
    exchange->status = 0;
    exchange->header_bytes = 0;
    exchange->may_have_arrived = exchange->connected = exchange->resent = false;
    exchange->sent_us = exchange->received_us = memory_now(transport);
}

static void exchange_unsent(const struct dlk_transport *transport, struct dlk_exchange *exchange)
{
    exchange_forget(transport, exchange);
    exchange->lane = NULL;
    exchange->result = DYNALOCK_ERR_MEMORY;
    dlk_copy_text(exchange->message, sizeof exchange->message, "no memory for a connection");
}

/* NULL: there was no memory. */
static struct dlk_lane *lane_start(struct dlk_transport *transport, struct dlk_exchange *exchange)
{
    struct dlk_lane *lane = memory_made(calloc(1, sizeof *lane));
    fuzz_check(exchange->lane == NULL && exchange->timeout_ms > 0 &&
               exchange->timeout_ms <= 86400000);
    exchange_forget(transport, exchange);
    lane->transport = transport;
    lane->exchange = exchange;
    lane->until_us = virtual_now_us() + exchange->timeout_ms * 1000;
    lane->request = memory_request_new(lane);
    exchange->lane = lane;
    transport->lanes++;
    memory_lanes++;
    if (memory_serve(lane->request)) {
        return lane;
    }
    lane->request->lane = NULL;
    memory_unref(lane->request);
    transport->lanes--;
    memory_lanes--;
    free(lane);
    exchange_unsent(transport, exchange);
    return NULL;
}

void memory_answer(struct memory_request *request, const struct memory_answer *answer)
{
    struct dlk_lane *lane = request->lane;
    if (lane == NULL || lane->ended) {
        return;
    }
    struct dlk_exchange *exchange = lane->exchange;
    lane->ended = true;
    exchange->received_us = memory_now(lane->transport);
    exchange->result = answer->result;
    exchange->may_have_arrived = answer->may_have_arrived;
    exchange->connected = answer->connected;
    exchange->resent = answer->resent;
    exchange->status = answer->result == 0 ? answer->status : 0;
    exchange->has_date = answer->has_date;
    exchange->date_s = answer->date_s;
    exchange->has_crc = answer->has_crc;
    exchange->crc = answer->crc;
    exchange->retry_after_ms = answer->retry_after_ms;
    if (answer->length > 0) {
        dlk_buffer_bytes(&exchange->answer, answer->body, answer->length);
    }
    dlk_copy_text(exchange->message, sizeof exchange->message,
                  answer->message != NULL ? answer->message : "");
    dlk_copy_text(exchange->request_id, sizeof exchange->request_id,
                  answer->request_id != NULL ? answer->request_id : "");
}

static const struct memory_answer memory_late = {.result = DYNALOCK_ERR_TIMEOUT,
                                                 .may_have_arrived = true,
                                                 .message = "Timeout was reached",
                                                 .retry_after_ms = -1};

/* Whether it has ended, if only because its time is over. */
static bool lane_ended(struct dlk_lane *lane)
{
    if (!lane->ended && virtual_now_us() >= lane->until_us) {
        memory_answer(lane->request, &memory_late);
    }
    return lane->ended;
}

static void lane_end(struct dlk_lane *lane)
{
    lane->exchange->lane = NULL;
    lane->request->lane = NULL;
    memory_unref(lane->request);
    lane->transport->lanes--;
    memory_lanes--;
    free(lane);
}

struct memory_run {
    struct dlk_lane *lane;
    const int *fds;
    size_t count;
};

static int run_stopped(const struct memory_run *run)
{
    for (size_t i = 0; i < run->count; i++) {
        if (virtual_readable(run->fds[i])) {
            return (int)i;
        }
    }
    return -1;
}

static bool run_ready(void *context)
{
    const struct memory_run *run = context;
    return run->lane->ended || run_stopped(run) >= 0;
}

int dlk_exchange_run(struct dlk_transport *transport, struct dlk_exchange *exchange,
                     const int *stop_fds, size_t stop_count)
{
    struct dlk_lane *lane = lane_start(transport, exchange);
    if (lane == NULL) {
        return -1;
    }
    struct memory_run run = {lane, stop_fds, stop_count};
    do {
        virtual_wait(run_ready, &run, lane->until_us);
    } while (!run_ready(&run) && virtual_now_us() < lane->until_us);
    int stopped = run_stopped(&run);
    if (stopped < 0) {
        fuzz_check(lane_ended(lane));
        lane_end(lane);
    }
    return stopped;
}

/* cppcheck-suppress constParameter; of internal.h */
void dlk_exchange_abort(struct dlk_transport *transport, struct dlk_exchange *exchange)
{
    struct dlk_lane *lane = exchange->lane;
    fuzz_check(lane->transport == transport);
    lane->ended = false;
    memory_answer(lane->request, &memory_late);
    lane_end(lane);
}

/* ---- The transport ---- */

int dlk_transport_new(const struct dlk_transport_settings *settings,
                      struct dlk_transport **transport, dynalock_error *error)
{
    (void)error;
    *transport = memory_made(calloc(1, sizeof **transport));
    (*transport)->clock = settings->clock;
    return 0;
}

void dlk_transport_free(struct dlk_transport *transport)
{
    fuzz_check(transport == NULL || transport->lanes == 0);
    free(transport);
}

void dlk_transport_abandon(struct dlk_transport *transport)
{
    free(transport);
}

/* ---- The loop ---- */

int dlk_loop_new(struct dlk_transport *transport, int max_connections, struct dlk_loop **loop,
                 dynalock_error *error)
{
    (void)error;
    fuzz_check(max_connections > 0);
    *loop = memory_made(calloc(1, sizeof **loop));
    (*loop)->transport = transport;
    (void)dlk_wake_open(&(*loop)->wake);
    return 0;
}

static void lanes_end(struct dlk_lane *lane)
{
    while (lane != NULL) {
        struct dlk_lane *next = lane->next;
        lane_end(lane);
        lane = next;
    }
}

void dlk_loop_free(struct dlk_loop *loop)
{
    if (loop != NULL) {
        lanes_end(loop->active);
        lanes_end(loop->adopted);
        dlk_wake_close(&loop->wake);
        free(loop);
    }
}

void dlk_loop_abandon(struct dlk_loop *loop)
{
    dlk_loop_free(loop);
}

static void lanes_add(struct dlk_lane **last, struct dlk_lane *lane)
{
    while (*last != NULL) {
        last = &(*last)->next;
    }
    lane->next = NULL;
    *last = lane;
}

void dlk_loop_start(struct dlk_loop *loop, struct dlk_exchange *exchange)
{
    struct dlk_lane *lane = lane_start(loop->transport, exchange);
    if (lane != NULL) {
        lanes_add(&loop->active, lane);
    } else {
        exchange->next = loop->failed;
        loop->failed = exchange;
    }
}

void dlk_loop_adopt(struct dlk_loop *loop, struct dlk_exchange *exchange)
{
    fuzz_check(exchange->lane != NULL);
    lanes_add(&loop->adopted, exchange->lane);
}

static bool lanes_ready(struct dlk_lane *lane)
{
    while (lane != NULL && !lane->ended) {
        lane = lane->next;
    }
    return lane != NULL;
}

struct memory_loop_wait {
    struct dlk_loop *loop;
    int alarm_fd;
};

static bool loop_ready(void *context)
{
    const struct memory_loop_wait *wait = context;
    const struct dlk_loop *loop = wait->loop;
    return loop->failed != NULL || lanes_ready(loop->active) || lanes_ready(loop->adopted) ||
           virtual_readable(loop->wake.read_fd) || virtual_readable(wait->alarm_fd);
}

static int64_t lanes_until(const struct dlk_lane *lane, int64_t until_us)
{
    for (; lane != NULL; lane = lane->next) {
        until_us = lane->until_us < until_us ? lane->until_us : until_us;
    }
    return until_us;
}

/* What done does may start more, behind these. */
static void lanes_tell(struct dlk_lane **lanes)
{
    struct dlk_lane **at = lanes;
    while (*at != NULL) {
        struct dlk_lane *lane = *at;
        if (!lane_ended(lane)) {
            at = &lane->next;
            continue;
        }
        struct dlk_exchange *exchange = lane->exchange;
        *at = lane->next;
        lane_end(lane);
        exchange->done(exchange);
        at = lanes; /* the list may be another by now */
    }
}

void dlk_loop_run(struct dlk_loop *loop, int alarm_fd, int64_t timeout_ms)
{
    struct memory_loop_wait wait = {loop, alarm_fd};
    int64_t until_us = virtual_now_us() + timeout_ms * 1000;
    until_us = lanes_until(loop->active, lanes_until(loop->adopted, until_us));
    virtual_wait(loop_ready, &wait, until_us);
    dlk_wake_drain(&loop->wake);
    lanes_tell(&loop->active);
    lanes_tell(&loop->adopted);
    while (loop->failed != NULL) {
        struct dlk_exchange *exchange = loop->failed;
        loop->failed = exchange->next;
        exchange->done(exchange);
    }
}

void dlk_loop_wake(struct dlk_loop *loop)
{
    dlk_wake_up(&loop->wake);
}

bool dlk_loop_works(const struct dlk_loop *loop)
{
    return dlk_wake_works(&loop->wake);
}
