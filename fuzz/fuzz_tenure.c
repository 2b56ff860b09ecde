/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two contenders for one lock, each with a host, a clock, a keeper and a watch of its own (or both with the same), and
 * a client of the Go library: what they do, when, and what becomes of their requests, the input says. As long as the
 * server is honest and nobody meddles with the record, never do two believe at once; whatever happens, each call keeps
 * its contract and comes to an end, and nothing is left.
 */
/* wrap: dlk_wake_open dlk_wake_close dlk_wake_up dlk_wake_drain dlk_wake_works dlk_alarm_open dlk_alarm_close */
/* wrap: dlk_alarm_set dlk_alarm_works dlk_wait_readable dlk_thread_start dlk_random dlk_random_below */
/* wrap: dlk_wait_changed pthread_join pthread_cond_wait pthread_cond_broadcast pthread_mutex_lock */
/* wrap: pthread_mutex_unlock */
#include "../lock.h"

#include "contract.h"
#include "rough_network.h"
#include "strangers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARTITION "partition"
#define KEY "lock"
#define EPOCH_S INT64_C(1900000000)
#define MS INT64_C(1000)
#define SECOND INT64_C(1000000)
#define HOUR (3600 * SECOND)
#define UNSURE_US (13 * SECOND) /* of versions by the clock: what an answer may take, and more */

enum { CLIENTS = 2, COMMANDS = 64, FATES = 20, GRANTS = 32 };

/* Of a run; and, in the last, of one stretch of time: renewals go on and on. */
enum { TURNS = 6000, REQUESTS = 160, REQUESTS_ALONG = 20 };

enum calling { NO_CALL, ACQUIRING, RENEWING, RELEASING };

struct client {
    struct virtual_host own, *host;
    dynalock_store *store;
    bool has_store; /* it is not the other's */
    dynalock_lock *lock;
    dynalock_lock_options options;
    struct rough_fate fates[FATES];
    unsigned fate_count;
    bool unplugged; /* none of its requests is sent */
    enum calling calling;
    pthread_t thread;
    int stop_fd, lost_fd, event_fd;
    int64_t asked_ms; /* of the call: how long to wait, or the lease */
    int64_t began_us, longest_us;
    int64_t token; /* of the last acquisition that was seen */
    int started;   /* enum dynalock_lock_event_kind */
    bool late;     /* a request of this tenure has arrived when nobody waited for it */
    bool disputed; /* another thread called as well, and may have come after the end of the call */
    unsigned told; /* losses, by on_lost */
    char before[DLK_TENURE_SIZE]; /* what was called, or started: the tenure then */
    char gone[DLK_TENURE_SIZE];   /* of which nothing may be left, nor come */
};

struct grant {
    int64_t when_us, token;
};

static struct fixture {
    struct fuzz_input input;
    struct small_dynamo server;
    struct client clients[CLIENTS];
    bool meddled; /* with the record, by somebody who knows no rules */
    bool stood_still, removed, all_keep, with_go;
    struct grant grants[GRANTS];
    unsigned grant_count;
    struct stranger_go go;
    int64_t timeout_ms, attempt_timeout_ms, close_timeout_ms;
    int max_attempts, max_connections;
} f;

/* ---- What is so ---- */

static int64_t boot_us(const struct client *c)
{
    struct dlk_clock clock = virtual_clock(c->host);
    return clock.boot_us(clock.context);
}

static const json_t *record(void)
{
    return small_find(&f.server, PARTITION, KEY);
}

/* Go leaves the nonce there: then it names another version. */
static bool record_is_of(const char *tenure)
{
    long double version;
    const char *nonce = record() != NULL ? small_text(record(), "nonce") : NULL;
    return nonce != NULL && dlk_nonce_of(nonce, tenure) &&
           small_number(record(), "version", &version) && version == dlk_nonce_version(nonce);
}

static bool record_is_tombstone(void)
{
    long double expires;
    return record() != NULL && small_number(record(), "expires", &expires) && expires == 1;
}

static bool believes(const struct client *c)
{
    return c->lock != NULL && c->lock->state == DYNALOCK_LOCK_HELD &&
           boot_us(c) < c->lock->valid_until_us;
}

/* A token that has come with an acquisition, which began at began_us. */
static void check_token(struct client *c, int64_t token)
{
    if (token == c->token) {
        return;
    }
    c->token = token;
    fuzz_check(token > 0);
    for (unsigned i = 0; i < f.grant_count; i++) {
        const struct grant *grant = &f.grants[i];
        bool later = c->began_us > grant->when_us + UNSURE_US;
        bool greater = (f.all_keep && !f.removed) || (later && !rough.dateless && !f.stood_still);
        fuzz_check(!greater || f.with_go || token > grant->token);
    }
    if (f.grant_count < GRANTS) {
        f.grants[f.grant_count++] = (struct grant){virtual_now_us(), token};
    }
}

/* After each turn: what dynalock_lock_ensure would answer, but that being asked changes nothing. */
static void look(void)
{
    unsigned believers = stranger_go_believes(&f.go) ? 1 : 0;
    if (f.meddled) {
        return;
    }
    for (int i = 0; i < CLIENTS; i++) {
        if (believes(&f.clients[i])) {
            believers++;
            fuzz_check(record_is_of(f.clients[i].lock->tenure));
            check_token(&f.clients[i], f.clients[i].lock->token);
        }
    }
    fuzz_check(believers <= 1);
}

/* The watch is not late, and the descriptor tells. */
static void check_deadline(const struct client *c)
{
    const dynalock_lock *lock = c->lock;
    if (lock == NULL || virtual_now_us() <= c->host->frozen_until_us) {
        return;
    }
    bool over = boot_us(c) > lock->valid_until_us + 50 * MS;
    fuzz_check(lock->state != DYNALOCK_LOCK_HELD || !over);
    if (lock->lost_open) {
        bool lost = lock->state == DYNALOCK_LOCK_LOST;
        fuzz_check(!lost || virtual_readable(lock->lost.read_fd));
        fuzz_check(lock->state != DYNALOCK_LOCK_HELD || !virtual_readable(lock->lost.read_fd));
    }
}

static bool is_frozen(const struct client *c)
{
    return virtual_now_us() < c->host->frozen_until_us;
}

/* ---- The network ---- */

static struct client *sender(const struct memory_request *request)
{
    int i = 0;
    while (i < CLIENTS - 1 &&
           (f.clients[i].store == NULL || f.clients[i].store->transport != request->transport)) {
        i++;
    }
    return &f.clients[i];
}

static struct rough_fate next_fate(const struct memory_request *request)
{
    struct rough_fate fate = {ROUGH_GOOD, 1};
    struct client *c = sender(request);
    if (c->unplugged) {
        return (struct rough_fate){ROUGH_UNREACHABLE, 0};
    }
    if (c->fate_count > 0) {
        fate = c->fates[0];
        memmove(c->fates, c->fates + 1, --c->fate_count * sizeof c->fates[0]);
    }
    fate.kind %= ROUGH_NO_DATE;
    return fate;
}

static void after_request(const struct memory_request *request, const struct small_answer *answer)
{
    if (!answer->written) {
        return;
    }
    for (int i = 0; i < CLIENTS; i++) {
        struct client *c = &f.clients[i];
        c->late = c->late || request->lane == NULL;
        fuzz_check(f.meddled || !record_is_of(c->gone) || record_is_tombstone());
    }
}

/* ---- What is promised of calls ---- */

static const int acquire_codes[] = {DYNALOCK_ERR_NOT_ACQUIRED, DYNALOCK_ERR_CANCELLED,
                                    DYNALOCK_ERR_BUSY,         DYNALOCK_ERR_TYPE,
                                    DYNALOCK_ERR_TOO_LARGE,    0};
static const int renew_codes[] = {DYNALOCK_ERR_LOST, DYNALOCK_ERR_NOT_HELD,  DYNALOCK_ERR_BUSY,
                                  DYNALOCK_ERR_TYPE, DYNALOCK_ERR_TOO_LARGE, 0};
static const int release_codes[] = {DYNALOCK_ERR_LOST, DYNALOCK_ERR_NOT_HELD,  DYNALOCK_ERR_BUSY,
                                    DYNALOCK_ERR_TYPE, DYNALOCK_ERR_TOO_LARGE, 0};
static const int ensure_codes[] = {DYNALOCK_ERR_SHORT_LEASE, DYNALOCK_ERR_LOST,
                                   DYNALOCK_ERR_NOT_HELD, DYNALOCK_ERR_CLOSED, 0};
static const int lost_or_busy[] = {DYNALOCK_ERR_LOST, DYNALOCK_ERR_NOT_HELD, DYNALOCK_ERR_BUSY,
                                   DYNALOCK_ERR_CLOSED, 0};

static int ensure(const struct client *c, int64_t min_ms)
{
    dynalock_error error;
    contract_error_init(&error);
    int code = dynalock_lock_ensure(c->lock, min_ms, &error);
    contract_check_code(code, ensure_codes, true);
    contract_check_error(code, &error);
    return code;
}

/* An acquisition that has failed, and says that it has left nothing. */
static void check_left_nothing(struct client *c, const dynalock_error *error)
{
    if ((error->flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN) == 0) {
        fuzz_check(f.meddled || !record_is_of(c->lock->tenure) || record_is_tombstone());
        memcpy(c->gone, c->lock->tenure, sizeof c->gone);
    }
}

/* A tenure of its own: before that it may have failed, or waited for the last renewal of the one before. */
static bool has_begun(const struct client *c)
{
    return strcmp(c->before, c->lock->tenure) != 0;
}

static void check_acquired(struct client *c, int code, const dynalock_error *error)
{
    if (c->disputed) {
        return;
    }
    if (code == 0) {
        fuzz_check(c->lock->state == DYNALOCK_LOCK_HELD || c->lock->state == DYNALOCK_LOCK_LOST);
        fuzz_check(c->lock->token > 0);
    } else if (code != DYNALOCK_ERR_CLOSED && has_begun(c)) {
        fuzz_check(c->lock->state == DYNALOCK_LOCK_IDLE);
        check_left_nothing(c, error);
    }
}

static void check_released(const struct client *c, int code)
{
    if (code == DYNALOCK_ERR_BUSY || code == DYNALOCK_ERR_CLOSED || c->disputed) {
        return;
    }
    int state = c->lock->state;
    fuzz_check(state != DYNALOCK_LOCK_HELD);
    fuzz_check(code == 0 || code == DYNALOCK_ERR_LOST || code == DYNALOCK_ERR_NOT_HELD
                   ? state == DYNALOCK_LOCK_IDLE
                   : state == DYNALOCK_LOCK_RELEASING);
    if (code == 0 && !f.meddled && !c->late) {
        fuzz_check(!record_is_of(c->lock->tenure) || record_is_tombstone());
        fuzz_check(!record_is_of(c->lock->tenure) || c->options.keep_record);
    }
}

/* ---- Calls that wait, each on a thread ---- */

static void *call_main(void *context)
{
    struct client *c = context;
    dynalock_error error;
    int code = 0;
    contract_error_init(&error);
    switch (c->calling) {
    case ACQUIRING:
        code = dynalock_lock_acquire(c->lock, c->stop_fd, c->asked_ms, &error);
        contract_check_code(code, acquire_codes, false);
        check_acquired(c, code, &error);
        break;
    case RENEWING:
        code = dynalock_lock_renew(c->lock, c->asked_ms, &error);
        contract_check_code(code, renew_codes, false);
        break;
    default:
        code = dynalock_lock_release(c->lock, &error);
        contract_check_code(code, release_codes, false);
        check_released(c, code);
        break;
    }
    rough_tell("%s: call %d: code %d %s", c->options.holder, c->calling, code,
               code != 0 ? error.message : "");
    contract_check_error(code, &error);
    fuzz_check(virtual_now_us() - c->began_us <= c->longest_us + SECOND);
    c->calling = NO_CALL;
    return NULL;
}

/* What a try may take: a read, creates, and a read after each. */
static int64_t try_us(void)
{
    return 14 * (f.timeout_ms + 100) * MS;
}

static void call(struct client *c, enum calling what, int64_t asked_ms)
{
    c->calling = what;
    c->disputed = false;
    c->asked_ms = asked_ms;
    c->began_us = virtual_now_us();
    int64_t wait_us = what != ACQUIRING ? 0 : asked_ms < 0 ? 365 * 24 * HOUR : asked_ms * MS;
    c->longest_us = f.attempt_timeout_ms * MS + wait_us + try_us();
    if (what == RENEWING && c->lock->valid_until_us > boot_us(c)) { /* it awaits the keeper's */
        c->longest_us += c->lock->valid_until_us - boot_us(c);
    }
    if (what == ACQUIRING) {
        c->late = false;
        c->gone[0] = '\0';
        virtual_pipe_drain(c->stop_fd);
        memcpy(c->before, c->lock->tenure, sizeof c->before);
    }
    c->thread = virtual_start(c->host, call_main, c);
}

/* The second of two threads. */
static void call_busy(struct client *c, unsigned what)
{
    dynalock_error error;
    contract_error_init(&error);
    bool busy = c->lock->in_call || c->lock->started != NULL;
    if (!busy) { /* its first call is about to begin, or has ended */
        return;
    }
    c->disputed = virtual_nervous > 0;
    int code = what % 4 == 0   ? dynalock_lock_acquire(c->lock, -1, 0, &error)
               : what % 4 == 1 ? dynalock_lock_renew(c->lock, 0, &error)
               : what % 4 == 2 ? dynalock_lock_release(c->lock, &error)
                               : dynalock_lock_release_start(c->lock, &error);
    fuzz_check(code == DYNALOCK_ERR_BUSY || virtual_nervous > 0);
    contract_check_error(code, &error);
}

static bool is_busy(const struct client *c)
{
    return c->calling != NO_CALL || c->lock->started != NULL;
}

/* ---- What is started, and told by an event ---- */

static void check_event_error(const dynalock_lock_event *event)
{
    fuzz_check(event->error.code == event->code);
    fuzz_check(event->error.message[0] != '\0');
    contract_check_text(event->error.message);
}

static void take_event(struct client *c)
{
    dynalock_lock_event event;
    dynalock_error error;
    contract_error_init(&error);
    int code = c->event_fd >= 0 ? dynalock_lock_next_event(c->lock, &event, &error)
                                : dynalock_next_event(c->store, &event, &error);
    fuzz_check(code == 0);
    contract_check_error(code, &error);
    if (event.kind == DYNALOCK_LOCK_EVENT_NONE) {
        fuzz_check(event.lock == NULL && event.code == 0);
        return;
    }
    struct client *of = event.lock == f.clients[0].lock ? &f.clients[0] : &f.clients[1];
    fuzz_check(event.lock != NULL && event.lock == of->lock && event.context == of);
    if (event.code != 0) {
        check_event_error(&event);
    }
    if (event.kind == DYNALOCK_LOCK_EVENT_LOST) {
        fuzz_check(event.code == DYNALOCK_ERR_LOST && event.cause != DYNALOCK_CAUSE_NONE);
        return;
    }
    fuzz_check(event.kind == of->started);
    of->started = DYNALOCK_LOCK_EVENT_NONE;
    if (event.kind == DYNALOCK_LOCK_EVENT_RELEASE) {
        contract_check_code(event.code, release_codes, false);
        check_released(of, event.code);
        return;
    }
    contract_check_code(event.code, acquire_codes, false);
    if (event.code == 0) {
        fuzz_check(event.token > 0);
    } else if (has_begun(of)) {
        check_left_nothing(of, &event.error);
    }
}

static void start(struct client *c, bool acquire, int64_t wait_ms)
{
    dynalock_error error;
    contract_error_init(&error);
    c->disputed = virtual_nervous > 0 && c->calling != NO_CALL;
    int code = acquire ? dynalock_lock_acquire_start(c->lock, wait_ms, &error)
                       : dynalock_lock_release_start(c->lock, &error);
    contract_check_code(code, lost_or_busy, true);
    contract_check_error(code, &error);
    fuzz_check(!acquire || code != DYNALOCK_ERR_LOST);
    if (code == 0) {
        c->started = acquire ? DYNALOCK_LOCK_EVENT_ACQUIRE : DYNALOCK_LOCK_EVENT_RELEASE;
        c->began_us = virtual_now_us();
        if (acquire) {
            memcpy(c->before, c->lock->tenure, sizeof c->before);
            c->late = false;
            c->gone[0] = '\0';
        }
    }
}

static void cancel(struct client *c)
{
    dynalock_error error;
    contract_error_init(&error);
    virtual_pipe_write(c->stop_fd);
    int code = dynalock_lock_cancel(c->lock, &error);
    fuzz_check(code == 0);
    contract_check_error(code, &error);
}

/* ---- Looking ---- */

static void look_at(struct client *c)
{
    dynalock_lock_info *infos = NULL;
    dynalock_counters counters;
    size_t count = 0;
    int64_t token = dynalock_lock_token(c->lock);
    int held = ensure(c, 0);
    int64_t left_ms = dynalock_lock_remaining_ms(c->lock);
    int state = dynalock_lock_state(c->lock);
    int cause = dynalock_lock_cause(c->lock);
    if (virtual_nervous == 0) { /* nothing has happened in between */
        fuzz_check((held == 0) == (state == DYNALOCK_LOCK_HELD));
        fuzz_check((held == DYNALOCK_ERR_LOST) == (state == DYNALOCK_LOCK_LOST));
        fuzz_check(left_ms == 0 || held == 0);
        fuzz_check(held != 0 || ensure(c, left_ms + 1) == DYNALOCK_ERR_SHORT_LEASE);
        fuzz_check(held != 0 || token > 0);
        bool tells = state == DYNALOCK_LOCK_LOST;
        fuzz_check(!tells || (cause > DYNALOCK_CAUSE_NONE && cause <= DYNALOCK_CAUSE_CLOSED));
        bool none = state == DYNALOCK_LOCK_HELD || state == DYNALOCK_LOCK_ACQUIRING;
        fuzz_check(!none || cause == DYNALOCK_CAUSE_NONE || c->lock->started != NULL);
    }
    fuzz_check(left_ms <= c->lock->ttl_ms || virtual_nervous > 0);
    fuzz_check(dynalock_store_counters(c->store, &counters) == 0);
    fuzz_check(counters.lost + counters.released <= counters.acquired || virtual_nervous > 0);
    fuzz_check(counters.taken_over <= counters.acquired);
    fuzz_check(dynalock_locks(c->store, &infos, &count, NULL) == 0);
    fuzz_check(count == (f.clients[0].store == f.clients[1].store ? 2 : 1));
    for (size_t i = 0; i < count; i++) {
        fuzz_check(strcmp(infos[i].key, KEY) == 0);
        contract_check_text(infos[i].last_error);
        fuzz_check(infos[i].remaining_ms >= 0 && infos[i].since_renewal_ms >= -1);
    }
    dynalock_locks_free(infos);
}

static void both_ensure(void)
{
    struct client *a = &f.clients[0], *b = &f.clients[1];
    int first = ensure(a, 0), second = ensure(b, 0);
    fuzz_check(f.meddled || virtual_nervous > 0 || first != 0 || second != 0);
}

static void holder(struct client *c)
{
    static const int codes[] = {DYNALOCK_ERR_NOT_FOUND, DYNALOCK_ERR_TYPE, DYNALOCK_ERR_TOO_LARGE,
                                0};
    dynalock_kv *kv = NULL;
    dynalock_error error;
    bool mine = false;
    contract_error_init(&error);
    int code = dynalock_lock_holder(c->lock, &kv, &mine, &error);
    contract_check_code(code, codes, false);
    contract_check_error(code, &error);
    fuzz_check((code == 0) == (kv != NULL));
    dynalock_kv_free(kv);
}

static void descriptors(struct client *c)
{
    int fd = -1;
    fuzz_check(dynalock_lock_lost_fd(c->lock, &fd, NULL) == 0 && fd >= 0);
    fuzz_check(c->lost_fd < 0 || fd == c->lost_fd);
    c->lost_fd = fd;
    if (fuzz_byte(&f.input) % 4 == 0) {
        fuzz_check(dynalock_lock_event_fd(c->lock, &fd, NULL) == 0 && fd >= 0);
        c->event_fd = fd;
    } else {
        fuzz_check(dynalock_event_fd(c->store, &fd, NULL) == 0 && fd >= 0);
    }
}

/* ---- Clients come and go ---- */

static void on_event(const dynalock_event *event, void *context)
{
    (void)context;
    contract_check_event(event);
}

/* A lock object with any options; sends nothing. */
static void make_any_lock(struct client *c)
{
    static const int codes[] = {DYNALOCK_ERR_ARGUMENT, DYNALOCK_ERR_TOO_LARGE, 0};
    static char long_text[2000];
    dynalock_lock *const nothing = (dynalock_lock *)&f;
    dynalock_lock *lock = nothing;
    dynalock_error error;
    memset(long_text, 'x', sizeof long_text - 1);
    uint8_t choice = fuzz_byte(&f.input);
    const char *key = choice % 8 == 0 ? NULL : choice % 8 == 1 ? long_text + 900 : "other";
    dynalock_lock_options options = {.ttl_ms = fuzz_int(&f.input) >> choice % 64,
                                     .margin_ms = fuzz_int(&f.input) >> choice % 64,
                                     .poll_ms = fuzz_int(&f.input) >> choice % 64,
                                     .go_lease_ms = choice,
                                     .renewal = choice / 8 % 3,
                                     .value = dynalock_bytes(long_text, choice * 4U),
                                     .holder = long_text + 2000 - 1 - choice * 3,
                                     .large_record = choice % 2 == 1};
    options.reserved[7] = choice == 200;
    contract_error_init(&error);
    int code = dynalock_lock_new(c->store, key, &options, &lock, &error);
    contract_check_code(code, codes, true);
    contract_check_error(code, &error);
    fuzz_check((code == 0) == (lock != nothing));
    if (code == 0) {
        fuzz_check(dynalock_lock_state(lock) == DYNALOCK_LOCK_IDLE);
        fuzz_check(dynalock_lock_release(lock, NULL) == DYNALOCK_ERR_NOT_HELD);
        dynalock_lock_free(lock);
    }
}

static void on_lost(dynalock_lock *lock, int cause, void *context)
{
    struct client *c = context;
    fuzz_check(cause > DYNALOCK_CAUSE_NONE && cause <= DYNALOCK_CAUSE_CLOSED);
    fuzz_check(c->lock == lock || c->lock == NULL); /* being freed */
    c->told++;
    unsigned nervous = virtual_nervous; /* that it is in a callback the library keeps by thread */
    virtual_nervous = 0;
    (void)dynalock_lock_token(lock);
    fuzz_check(dynalock_close(c->store) == DYNALOCK_ERR_BUSY);
    virtual_nervous = nervous;
}

static void make_lock(struct client *c)
{
    fuzz_check(dynalock_lock_new(c->store, KEY, &c->options, &c->lock, NULL) == 0);
    fuzz_check(dynalock_lock_state(c->lock) == DYNALOCK_LOCK_IDLE);
    c->lost_fd = c->event_fd = -1;
    c->started = DYNALOCK_LOCK_EVENT_NONE;
}

static void open_store(struct client *c)
{
    dynalock_options options = {.region = "us-east-1",
                                .endpoint = "http://127.0.0.1:1",
                                .access_key_id = CONTRACT_KEY_ID,
                                .secret_access_key = CONTRACT_SECRET,
                                .timeout_ms = f.timeout_ms,
                                .attempt_timeout_ms = f.attempt_timeout_ms,
                                .close_timeout_ms = f.close_timeout_ms,
                                .max_attempts = f.max_attempts,
                                .max_connections = f.max_connections,
                                .flags = DYNALOCK_NO_CURL_INIT,
                                .log = on_event};
    virtual_be(c->host);
    fuzz_check(dynalock_open("table", PARTITION, &options, &c->store, NULL) == 0);
    c->store->clock = virtual_clock(c->host);
    virtual_be(NULL);
}

static bool call_has_ended(void *context)
{
    return ((struct client *)context)->calling == NO_CALL;
}

/* Within the time that it may take to close, whatever is under way. */
static void close_store(struct client *c)
{
    int64_t began_us = virtual_now_us();
    int64_t frozen_us = c->host->frozen_until_us - began_us;
    fuzz_check(dynalock_close(c->store) == 0);
    fuzz_check(virtual_now_us() - began_us <=
               (frozen_us > 0 ? frozen_us : 0) + (f.close_timeout_ms + 1000) * MS);
}

/* The calls that were in progress end; what is done after it is told that it is closed. */
static void check_closed(struct client *c)
{
    dynalock_error error;
    virtual_wait(call_has_ended, c, virtual_now_us() + 120 * SECOND);
    fuzz_check(c->calling == NO_CALL);
    contract_error_init(&error);
    int code = dynalock_lock_release(c->lock, &error);
    fuzz_check(code == DYNALOCK_ERR_CLOSED);
    contract_check_error(code, &error);
    fuzz_check(ensure(c, 0) == DYNALOCK_ERR_CLOSED);
    fuzz_check(dynalock_lock_state(c->lock) == 0 && dynalock_lock_remaining_ms(c->lock) == 0);
}

/* What it sends arrives, and is answered. */
static bool is_well(const struct client *c)
{
    return c->fate_count == 0 && !c->unplugged && !c->late && !rough.dateless && !f.stood_still &&
           rough_on_the_way() == 0;
}

static void check_nothing_is_left(const struct client *c, const char *tenure)
{
    long double expires;
    bool over = record() != NULL && small_number(record(), "expires", &expires) &&
                expires * SECOND < (long double)rough_server_us();
    fuzz_check(f.meddled || c->late || !record_is_of(tenure) || over);
}

/* Frees the lock: what it holds is released in the background. */
static void free_lock(struct client *c)
{
    virtual_pipe_write(c->stop_fd);
    virtual_wait(call_has_ended, c, virtual_now_us() + 400 * SECOND);
    fuzz_check(c->calling == NO_CALL);
    bool held = believes(c) && is_well(c) && c->lock->under_way == NULL && c->lock->started == NULL;
    char tenure[DLK_TENURE_SIZE];
    memcpy(tenure, c->lock->tenure, sizeof tenure);
    dynalock_lock *lock = c->lock;
    c->lock = NULL;
    dynalock_lock_free(lock);
    if (held) { /* then it is released now */
        virtual_wait(NULL, NULL, virtual_now_us() + 2 * SECOND);
        check_nothing_is_left(c, tenure);
    }
}

/* Closes what is its own, and frees it. */
static void end_client(struct client *c, bool crash)
{
    c->unplugged = crash;
    virtual_be(c->host);
    close_store(c);
    virtual_be(NULL);
    dynalock_store *closed = c->store;
    for (int i = 0; i < CLIENTS; i++) {
        if (f.clients[i].store == closed) {
            check_closed(&f.clients[i]);
            dynalock_lock *lock = f.clients[i].lock;
            f.clients[i].lock = NULL;
            f.clients[i].store = NULL;
            dynalock_lock_free(lock);
        }
    }
}

static void begin_again(struct client *c, bool crash)
{
    end_client(c, crash);
    c->unplugged = false;
    open_store(c);
    for (int i = 0; i < CLIENTS; i++) {
        struct client *on = &f.clients[i];
        if (on == c || on->store == NULL) {
            on->store = c->store;
            on->gone[0] = '\0';
            make_lock(on);
        }
    }
}

/* ---- The script ---- */

static int64_t choose_span(void)
{
    static const int64_t spans_ms[] = {1,     20,     100,    250,    500,     1000,    1500,
                                       2000,  3000,   5000,   7000,   10000,   20000,   25000,
                                       60000, 299000, 301000, 900000, 3600000, 7200000, 36000000};
    return spans_ms[fuzz_below(&f.input, sizeof spans_ms / sizeof *spans_ms)] * MS;
}

static bool is_enough(void *context)
{
    return rough.sent >= *(const uint64_t *)context || virtual_steps() >= TURNS;
}

static void pass(int64_t us)
{
    int64_t until_us = virtual_now_us() + us;
    uint64_t enough = rough.sent + REQUESTS_ALONG;
    virtual_be(NULL);
    while (virtual_now_us() < until_us && !is_enough(&enough)) {
        int64_t left_us = until_us - virtual_now_us();
        int64_t piece_us = left_us < us / 8 ? left_us : us / 8 + 1;
        virtual_wait(is_enough, &enough, virtual_now_us() + piece_us);
        check_deadline(&f.clients[0]);
        check_deadline(&f.clients[1]);
    }
}

/* Calls on that machine may take so much longer. */
static void lengthen(const struct client *c, int64_t us)
{
    for (int i = 0; i < CLIENTS; i++) {
        f.clients[i].longest_us += f.clients[i].host == c->host ? us : 0;
    }
}

static void freeze(const struct client *c, int64_t us)
{
    c->host->frozen_until_us = virtual_now_us() + us;
    lengthen(c, us);
}

static void add_fates(struct client *c)
{
    struct rough_fate fate = {fuzz_byte(&f.input), fuzz_byte(&f.input)};
    for (unsigned more = 1 + fuzz_byte(&f.input) % 4; more > 0 && c->fate_count < FATES; more--) {
        c->fates[c->fate_count++] = fate;
    }
}

static void set_clock(struct client *c)
{
    static const int64_t ahead_s[] = {0, 1, -1, 3, -3, 400, -400, 7200, -7200, 86400 * 300};
    c->host->ahead_us =
        EPOCH_S * SECOND - c->host->boot_us + ahead_s[fuzz_below(&f.input, 10)] * SECOND;
}

/* A guest that is paused, its clocks with it: nothing can protect what it holds, or is about to. */
static void stand_still(struct client *c)
{
    bool anyway = fuzz_byte(&f.input) % 4 == 3;
    for (int i = 0; i < CLIENTS; i++) {
        struct client *on = &f.clients[i];
        bool idle = !is_busy(on) && on->lock->state != DYNALOCK_LOCK_HELD && !on->lock->renewing &&
                    on->store->cleanups == NULL;
        if (on->host == c->host && !idle) {
            f.meddled = f.meddled || anyway;
            if (!anyway) {
                return;
            }
        }
    }
    int64_t us = choose_span();
    us = us < 100 * SECOND ? us : 100 * SECOND;
    f.stood_still = true;
    virtual_stand_still(c->host, us);
    lengthen(c, us);
    pass(us);
}

static const int64_t renewals_ms[] = {0, 0, 0, 600, 1000, 3000, 30000, 400000, -1, INT64_MAX};
static const int64_t waits_ms[] = {0, 0, 100, 3000, 30000, 600000, -1};

static void command(void)
{
    unsigned choice = fuzz_byte(&f.input);
    struct client *c = &f.clients[choice >= 128 ? 1 : 0];
    rough_tell("%s: command %u", c->options.holder, choice % 32);
    if (is_frozen(c) && choice % 32 != 13) {
        pass(choose_span());
        return;
    }
    virtual_be(c->host); /* what it calls on this thread, it calls there */
    switch (choice % 32) {
    case 0:
    case 1:
    case 2: {
        int64_t wait_ms = waits_ms[fuzz_below(&f.input, 7)];
        is_busy(c) ? call_busy(c, choice) : call(c, ACQUIRING, wait_ms);
        break;
    }
    case 3:
    case 4: {
        int64_t ttl_ms = renewals_ms[fuzz_below(&f.input, 10)];
        is_busy(c) ? call_busy(c, choice) : call(c, RENEWING, ttl_ms);
        break;
    }
    case 5:
    case 6: is_busy(c) ? call_busy(c, choice) : call(c, RELEASING, 0); break;
    case 7: {
        int64_t wait_ms = waits_ms[fuzz_below(&f.input, 7)];
        if (!is_busy(c)) {
            start(c, true, wait_ms);
        }
        break;
    }
    case 8:
        if (!is_busy(c)) {
            start(c, false, 0);
        }
        break;
    case 9: take_event(c); break;
    case 10: cancel(c); break;
    case 11: both_ensure(); break;
    case 12: holder(c); break;
    case 13:
    case 14:
    case 15:
    case 16:
    case 17: pass(choose_span()); break;
    case 18:
    case 19:
    case 20: add_fates(c); break;
    case 21: set_clock(c); break;
    case 22: freeze(c, choose_span()); break;
    case 23: stand_still(c); break;
    case 24: look_at(c); break;
    case 25: descriptors(c); break;
    case 26:
        free_lock(c);
        make_lock(c);
        break;
    case 27: begin_again(c, fuzz_byte(&f.input) % 2 == 1); break;
    case 28:
        if (f.with_go) {
            stranger_go(&f.go, &f.server, PARTITION, KEY, fuzz_byte(&f.input));
        }
        break;
    case 29:
        if (!rough.dateless) { /* else an expiry is as right as a host's clock */
            f.removed = stranger_time_to_live(&f.server, PARTITION, KEY) || f.removed;
        }
        break;
    case 30: c->unplugged = !c->unplugged; break;
    default:
        if (choice == 255) {
            f.meddled = true;
            stranger_meddle(&f.server, PARTITION, KEY, fuzz_byte(&f.input));
        } else {
            make_any_lock(c);
        }
        break;
    }
    virtual_be(NULL);
}

/* ---- A run ---- */

static void choose_lock_options(struct client *c)
{
    static const int64_t ttls_ms[] = {2000, 1000, 5000, 20000, 60000, 36000000, 700, 1500};
    static const int64_t polls_ms[] = {0, 200, 1000, 10000};
    static const int64_t delays_ms[] = {0, 1, 100, 5000};
    uint8_t choice = fuzz_byte(&f.input);
    uint8_t more = fuzz_byte(&f.input);
    c->options = (dynalock_lock_options){
        .ttl_ms = ttls_ms[choice % 8],
        .poll_ms = polls_ms[choice / 8 % 4],
        .takeover_delay_ms = delays_ms[choice / 32 % 4],
        .renewal = choice >= 128 ? DYNALOCK_RENEWAL_NONE : DYNALOCK_RENEWAL_KEEPER,
        .keep_record = more % 2 == 1,
        .value = more % 4 > 1 ? dynalock_bytes("v", 1) : dynalock_none(),
        .holder = c == &f.clients[0] ? "A" : "B",
        .on_lost = on_lost,
        .context = c};
}

static void set_up_client(struct client *c, bool alone)
{
    static const int64_t drifts_ppm[] = {0, 0, 400, -400};
    c->own = (struct virtual_host){.boot_us = (1000 + 500 * (c - f.clients)) * SECOND,
                                   .drift_ppm = drifts_ppm[fuzz_below(&f.input, 4)]};
    c->host = alone ? &c->own : f.clients[0].host;
    set_clock(c);
    choose_lock_options(c);
    c->stop_fd = virtual_pipe();
    if (alone) {
        open_store(c);
    } else {
        c->store = f.clients[0].store;
    }
    make_lock(c);
}

static void set_up(void)
{
    static const int64_t timeouts_ms[] = {30000, 30000, 5000, 1000};
    static const int64_t attempts_ms[] = {5000, 1000, 300, 10000};
    static const unsigned nervousness[] = {0, 0, 16, 96};
    static const int64_t go_ahead_ms[] = {0, 1000, -1000, -2000};
    uint8_t flags = fuzz_byte(&f.input);
    uint8_t limits = fuzz_byte(&f.input);
    f.server = (struct small_dynamo){.shows_items = (flags & 1) == 0};
    rough = (struct rough_network){.server = &f.server,
                                   .epoch_us = EPOCH_S * SECOND + (flags & 2) * 200 * MS,
                                   .cached_us = (flags & 4) != 0 ? 45 * MS : 0,
                                   .dateless = (flags & 24) == 24,
                                   .fate = next_fate,
                                   .carried_out = after_request};
    f.with_go = (flags & 96) == 96;
    f.go.ahead_us = go_ahead_ms[flags >> 3 & 3] * MS;
    f.timeout_ms = timeouts_ms[limits % 4];
    f.attempt_timeout_ms = attempts_ms[limits / 4 % 4];
    f.max_attempts = 1 + limits / 16 % 4;
    f.max_connections = 1 + limits / 64 % 4;
    f.close_timeout_ms = 3000;
    virtual_nervous = nervousness[fuzz_below(&f.input, 4)];
    set_up_client(&f.clients[0], true);
    set_up_client(&f.clients[1], (flags & 128) == 0);
    f.all_keep = f.clients[0].options.keep_record && f.clients[1].options.keep_record;
    virtual_look = look;
}

/* Over a network on which nothing happens: what a try has left is removed, and a lock that is held, with nothing else
 * under way, is released. */
static void end_well(struct client *c)
{
    char held[DLK_TENURE_SIZE] = "";
    bool cleans = c->store->cleanups != NULL && is_well(c);
    if (cleans) {
        virtual_wait(NULL, NULL, virtual_now_us() + 10 * SECOND);
    }
    for (int i = 0; i < CLIENTS; i++) {
        const struct client *on = &f.clients[i];
        if (on->store != c->store || on->calling != NO_CALL || on->lock->started != NULL ||
            on->lock->under_way != NULL || !is_well(on)) {
            continue;
        }
        if (believes(on)) {
            memcpy(held, on->lock->tenure, sizeof held);
        } else if (cleans && on->lock->state == DYNALOCK_LOCK_IDLE) {
            check_nothing_is_left(on, on->lock->tenure);
        }
    }
    end_client(c, false);
    fuzz_check(f.meddled || !record_is_of(held) || record_is_tombstone());
}

static void tear_down(void)
{
    bool shared = f.clients[0].store == f.clients[1].store;
    for (int i = 0; i < CLIENTS; i++) {
        struct client *c = &f.clients[i];
        virtual_wait(NULL, NULL, c->host->still_until_us);
        c->fate_count = 0;
        c->unplugged = false;
        c->host->frozen_until_us = 0;
    }
    end_well(&f.clients[0]);
    if (!shared) {
        end_well(&f.clients[1]);
    }
    virtual_look = NULL;
    for (int i = 0; i < CLIENTS; i++) {
        virtual_pipe_close(f.clients[i].stop_fd);
    }
    virtual_wait(NULL, NULL, virtual_now_us() + 300 * SECOND);
    fuzz_check(rough_on_the_way() == 0 && virtual_threads() == 0);
    fuzz_check(memory_under_way() == 0 && memory_requests() == 0 && virtual_descriptors() == 0);
    small_clear(&f.server);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    if (!ready) {
        contract_environment();
        dlk_log_defer(); /* as on a keeper: its mark is the thread's, and here there is one */
        ready = true;
    }
    f = (struct fixture){.input = {data, size}};
    virtual_reset(fuzz_byte(&f.input));
    set_up();
    uint64_t enough = REQUESTS;
    for (int i = 0; i < COMMANDS && f.input.left > 0 && !is_enough(&enough); i++) {
        command();
    }
    tear_down();
    return 0;
}
