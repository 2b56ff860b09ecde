/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Acquiring a lock. A try is a short series of requests, each chosen by what the one before showed:
 * acquire_begin composes the first, acquire_answered takes an answer and composes the next or ends
 * the try. Who sends them, and who waits between two tries, is another matter (below).
 */
#include "lock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACQUIRE_ROUNDS 6 /* requests of one try */
#define ACQUIRE_ATTEMPT_MIN_MS 250
#define ACQUIRE_LOOK_US \
    (INT64_C(20) * 1000) /* at the stop descriptor, in the one wait that is no poll */
#define ACQUIRE_EXPIRES_MAX (INT64_MAX / DLK_SECOND / 2) /* later is never */
#define ACQUIRE_IMPLAUSIBLE_US \
    (5 * DLK_SECOND) /* that much later than its lease, no record should expire */
#define ACQUIRE_SHORTEST_US (INT64_C(100) * 1000)
#define ACQUIRE_LAST_US (INT64_C(300) * 1000)
#define ACQUIRE_WAIT_MAX_MS (INT64_C(100) * 365 * 86400 * 1000) /* longer is for ever */

enum acquire_step {
    ACQUIRE_SEND,
    ACQUIRE_WON,
    ACQUIRE_WAIT, /* another holds it, or nobody can tell now */
    ACQUIRE_FAIL  /* for a reason that stays */
};

struct acquisition {
    dynalock_lock *lock;
    struct dlk_cleanup *after; /* has the call; the keeper's, if this ends with an open outcome */
    struct dlk_call *call;
    struct dlk_lease lease; /* that the create under way asks for */
    bool reading;           /* the request under way is a read */
    bool looked_again;      /* for a second answer */
    int taken_from;         /* event: what was written over */
    unsigned rounds;
    int64_t end_us;     /* of the waiting; INT64_MAX: never */
    int64_t limit_us;   /* of this try: the first has none, INT64_MAX */
    int64_t look_us;    /* when to look again, at the latest */
    int64_t held_token; /* who holds it, for people */
    char held_by[128];
    dynalock_error error; /* of the last try */
};

static struct dlk_now acquire_now(const struct acquisition *a)
{
    struct dlk_now now;
    dlk_store_now(a->lock->store, &now);
    return now;
}

/* ---- What a try sends ---- */

static enum acquire_step acquire_read(struct acquisition *a)
{
    dynalock_lock *lock = a->lock;
    dlk_request_get(lock->store, a->call, lock->key, true, false);
    a->call->deadline_us = a->limit_us < a->call->deadline_us ? a->limit_us : a->call->deadline_us;
    a->reading = true;
    return ACQUIRE_SEND;
}

/* The time after which an answer to a write that is sent now could not be a lease any more. */
static void acquire_bound(const struct acquisition *a, const struct dlk_now *now)
{
    const dynalock_lock *lock = a->lock;
    struct dlk_call *call = a->call;
    int64_t lease_ms = lock->ttl_ms - dlk_lock_margin_us(lock, lock->ttl_ms) / 1000;
    int64_t attempt_ms =
        lease_ms / 2 > ACQUIRE_ATTEMPT_MIN_MS ? lease_ms / 2 : ACQUIRE_ATTEMPT_MIN_MS;
    int64_t end_us = now->boot_us + lease_ms * 1000;
    call->deadline_us = end_us < call->deadline_us ? end_us : call->deadline_us;
    call->deadline_us = a->limit_us < call->deadline_us ? a->limit_us : call->deadline_us;
    call->attempt_timeout_ms =
        attempt_ms < call->attempt_timeout_ms ? attempt_ms : call->attempt_timeout_ms;
}

/* The next poll: +- 10 %, so that waiters do not stay in step. */
static int64_t acquire_poll_us(const struct acquisition *a)
{
    int64_t poll_us = a->lock->options.poll_ms * 1000;
    return poll_us - poll_us / 10 + (int64_t)dlk_random_below((uint64_t)poll_us / 5 + 1);
}

/* over: the record that may be replaced, exactly as seen; NULL: there must be none. */
static enum acquire_step acquire_create(struct acquisition *a, const dynalock_kv *over)
{
    dynalock_lock *lock = a->lock;
    struct dlk_now now = acquire_now(a);
    if (a->rounds++ >= ACQUIRE_ROUNDS) {
        a->look_us = dlk_lock_now(lock) + acquire_poll_us(a);
        (void)dlk_fail(&a->error, DYNALOCK_ERR_NOT_ACQUIRED,
                       "others acquire and release the lock all the time");
        return ACQUIRE_WAIT;
    }
    a->lease.version = dlk_first_version(&now, over);
    (void)pthread_mutex_lock(&lock->store->mutex);
    dlk_lock_number(lock, &a->lease, &now);
    (void)pthread_mutex_unlock(&lock->store->mutex);
    struct dlk_item item = {.version = a->lease.version,
                            .nonce = a->lease.nonce,
                            .has_expires = true,
                            .expires = a->lease.expires,
                            .holder = lock->holder,
                            .lease_ms = a->lease.ttl_ms,
                            .value = lock->value.length > 0 ? lock->value.data : NULL,
                            .value_length = lock->value.length};
    dlk_request_create(lock->store, a->call, lock->key, &item, over);
    acquire_bound(a, &now);
    a->reading = false;
    a->after->asked = a->lease;
    a->after->until_us = now.boot_us + a->lease.ttl_ms * 1000 + 5 * DLK_SECOND;
    return ACQUIRE_SEND;
}

/* The first request of a try. Without a fresh time there is no saying when a lease ends: then a
 * read comes first. */
static enum acquire_step acquire_begin(struct acquisition *a)
{
    struct dlk_now now = acquire_now(a);
    a->rounds = 0;
    a->taken_from = 0;
    a->lease.version = 0;
    return now.known || atomic_load(&a->lock->store->dateless) ? acquire_create(a, NULL)
                                                               : acquire_read(a);
}

/* ---- What is made of a record ---- */

/* How long this very record has been seen, unchanged. */
static int64_t acquire_seen_us(struct acquisition *a, const dynalock_kv *kv)
{
    struct dlk_sight *sight = &a->lock->sight;
    int64_t received_us = a->call->exchange.received_us;
    bool same = sight->any && sight->has_expires == kv->has_expires &&
                sight->expires == kv->expires &&
                dlk_record_same(kv, sight->version, sight->has_nonce ? sight->nonce : NULL);
    if (!same) {
        *sight = (struct dlk_sight){.any = kv->nonce == NULL || strlen(kv->nonce) < DLK_NONCE_SIZE,
                                    .has_expires = kv->has_expires,
                                    .has_nonce = kv->nonce != NULL,
                                    .version = kv->version,
                                    .expires = kv->expires,
                                    .since_us = received_us}; /* it was written no later */
        (void)snprintf(sight->nonce, sizeof sight->nonce, "%s", kv->nonce != NULL ? kv->nonce : "");
    }
    return received_us - sight->since_us;
}

static bool acquire_is_ours(const dynalock_kv *kv)
{
    return kv->current && kv->lease_ms > 0;
}

/* Whether the record may be taken over now; if not, when to look again (boot clock). */
static bool acquire_may_take(struct acquisition *a, const dynalock_kv *kv, int64_t *look_us)
{
    const dynalock_lock_options *options = &a->lock->options;
    struct dlk_now now = acquire_now(a);
    int64_t seen_us = acquire_seen_us(a, kv);
    bool ours = acquire_is_ours(kv);
    int64_t observe_us = -1;
    *look_us = INT64_MAX;
    if (!kv->has_expires) {
        return false;
    }
    if (kv->expires == DLK_TOMBSTONE) {
        return true; /* released: no clock is needed to tell */
    }
    if (kv->expires < DLK_TOMBSTONE) {
        return now.trusted;
    }
    if (now.trusted && kv->expires < ACQUIRE_EXPIRES_MAX) {
        int64_t delay_ms = ours ? options->takeover_delay_ms : options->go_takeover_delay_ms;
        int64_t left_us = kv->expires * DLK_SECOND + delay_ms * 1000 - now.lower_us;
        if (left_us < 0) {
            return true;
        }
        *look_us = now.boot_us + left_us + left_us / 1000 + 10000;
    }
    /* A record of ours may always be taken when its lease has passed under our eyes, so that a
     * holder with a wrong clock cannot leave one behind for hours. Go's has no lease to go by: only
     * where time cannot be trusted. */
    if (ours && kv->lease_ms < INT64_MAX / 2000) {
        observe_us = kv->lease_ms * 1000 + dlk_lock_margin_us(a->lock, kv->lease_ms) +
                     (now.trusted ? ACQUIRE_IMPLAUSIBLE_US : 0);
    } else if (!ours && !now.trusted) {
        observe_us = options->go_lease_ms * 1000;
    }
    if (observe_us >= 0) {
        int64_t due_us = now.boot_us + observe_us - seen_us;
        *look_us = due_us < *look_us ? due_us : *look_us;
        return seen_us > observe_us;
    }
    return false;
}

/* Of a record that has expired by the only answer there was: another answer at once may be all that is wanting. A
 * process that tries once, and ends, would never get beyond its first. */
static bool acquire_lacks_an_answer(const struct acquisition *a, const dynalock_kv *kv)
{
    struct dlk_now now = acquire_now(a);
    return !a->looked_again && now.known && !now.trusted && dlk_record_expired(kv, &now);
}

static void acquire_remember_holder(struct acquisition *a, const dynalock_kv *kv)
{
    int64_t token = dynalock_kv_token(kv);
    a->held_token = token != 0 ? token : kv->version;
    dlk_copy_text(a->held_by, sizeof a->held_by,
                  acquire_is_ours(kv) && kv->holder != NULL ? kv->holder
                                                            : "a client that left no name");
    (void)dlk_fail(&a->error, DYNALOCK_ERR_NOT_ACQUIRED, "the lock is held by %s", a->held_by);
}

static enum acquire_step acquire_consider(struct acquisition *a, const dynalock_kv *kv)
{
    const dynalock_lock *lock = a->lock;
    int64_t look_us = INT64_MAX;
    a->after->known.version = 0;
    (void)dlk_cleanup_find(a->after, kv);
    if (kv == NULL) {
        return acquire_create(a, NULL);
    }
    if (a->lease.version != 0 && dlk_record_same(kv, a->lease.version, a->lease.nonce)) {
        a->taken_from = DYNALOCK_EVENT_ADOPTED;
        return ACQUIRE_WON; /* this very write: its answer was lost */
    }
    if (dlk_version_is_spent(kv->version)) {
        (void)dlk_fail(&a->error, DYNALOCK_ERR_TYPE,
                       "the record's version is at the end of its range");
        return ACQUIRE_FAIL;
    }
    if (dlk_record_of(kv, lock->tenure)) {
        /* An earlier try's: no lease counts from it, so it is written anew. */
        a->taken_from = DYNALOCK_EVENT_ADOPTED;
        return acquire_create(a, kv);
    }
    if (dlk_record_of(kv, lock->finished) || dlk_record_of(kv, lock->abandoned)) {
        return acquire_create(a, kv);
    }
    if (acquire_may_take(a, kv, &look_us)) {
        a->taken_from = kv->expires == DLK_TOMBSTONE ? 0 : DYNALOCK_EVENT_TAKEN_OVER;
        return acquire_create(a, kv);
    }
    if (acquire_lacks_an_answer(a, kv)) {
        a->looked_again = true;
        return acquire_read(a);
    }
    acquire_remember_holder(a, kv);
    int64_t poll_us = dlk_lock_now(lock) + acquire_poll_us(a);
    a->look_us = look_us < poll_us ? look_us : poll_us;
    return ACQUIRE_WAIT;
}

/* ---- What is made of an answer ---- */

static enum acquire_step acquire_failed(struct acquisition *a, int code)
{
    (void)dlk_call_fail(a->call, code, &a->error);
    a->look_us = dlk_lock_now(a->lock) + acquire_poll_us(a);
    return dynalock_is_retryable(code) ? ACQUIRE_WAIT : ACQUIRE_FAIL;
}

static enum acquire_step acquire_read_answered(struct acquisition *a)
{
    const struct dlk_exchange *exchange = &a->call->exchange;
    dynalock_kv *seen = NULL;
    if (a->call->code != 0) {
        return acquire_failed(a, a->call->code);
    }
    int code = dlk_json_item(exchange->answer.data, exchange->answer.length, &seen, &a->error);
    if (code != 0) {
        a->look_us = dlk_lock_now(a->lock) + acquire_poll_us(a);
        return dynalock_is_retryable(code) ? ACQUIRE_WAIT : ACQUIRE_FAIL;
    }
    enum acquire_step step = acquire_consider(a, seen);
    dynalock_kv_free(seen);
    return step;
}

static enum acquire_step acquire_create_answered(struct acquisition *a)
{
    struct dlk_call *call = a->call;
    if (call->code == 0) {
        return ACQUIRE_WON;
    }
    if (call->unanswered) {
        a->after->unsure++;
    }
    if (call->code != DLK_CONDITION_FAILED) {
        return acquire_failed(a, call->code);
    }
    if (call->service.item_unreadable) {
        (void)dlk_fail(&a->error, DYNALOCK_ERR_TYPE, "%s", call->service.item_problem);
        return ACQUIRE_FAIL;
    }
    if (!dlk_call_shows_record(call)) {
        return acquire_read(a);
    }
    dynalock_kv *seen = call->service.item;
    call->service.item = NULL;
    enum acquire_step step = acquire_consider(a, seen);
    dynalock_kv_free(seen);
    return step;
}

/* Takes the ended call's answer. */
static enum acquire_step acquire_answered(struct acquisition *a)
{
    return a->reading ? acquire_read_answered(a) : acquire_create_answered(a);
}

/* Many locks that were acquired at once are not to be renewed at once for ever. */
static int64_t acquire_first_renewal_us(const dynalock_lock *lock, int64_t asked_us)
{
    bool many = lock->store->lock_count > (size_t)lock->store->max_connections;
    uint64_t spread_us = many ? (uint64_t)lock->ttl_ms * 1000 / 6 : 0;
    return dlk_lock_renewal_due(lock, asked_us - (int64_t)dlk_random_below(spread_us));
}

/* The lease was granted: by the answer in a->call, or it was found in it. False: its time is over
 * already. */
static bool acquire_hold(struct acquisition *a)
{
    dynalock_lock *lock = a->lock;
    (void)pthread_mutex_lock(&lock->store->mutex);
    int64_t now_us = dlk_lock_now(lock);
    int64_t end_us = dlk_lease_end(lock, &a->lease, &a->call->exchange);
    bool wanted = lock->started == NULL || lock->started->stop == 0;
    bool ahead = wanted && end_us > now_us;
    lock->lease = a->lease;
    if (ahead) {
        lock->state = DYNALOCK_LOCK_HELD;
        lock->token = a->lease.version;
        lock->was_held = true;
        if (lock->lost_open) {
            dlk_wake_drain(&lock->lost);
        }
        lock->granted_us = now_us;
        lock->failures = 0;
        dlk_lock_note(lock, 0, "");
        dlk_lock_set_end(lock, end_us);
        dlk_lock_arm_renewal(lock, acquire_first_renewal_us(lock, a->lease.asked_us));
    }
    (void)pthread_mutex_unlock(&lock->store->mutex);
    return ahead;
}

/* What a try has come to, when there is nothing more to send. */
static enum acquire_step acquire_settle(struct acquisition *a, enum acquire_step step)
{
    if (step == ACQUIRE_WON && !acquire_hold(a)) {
        a->after->known = a->lease; /* the next try finds the record, and writes it anew */
        a->look_us = dlk_lock_now(a->lock) + acquire_poll_us(a);
        (void)dlk_fail(&a->error, DYNALOCK_ERR_TIMEOUT, "the lease was over when its answer came");
        return ACQUIRE_WAIT;
    }
    return step;
}

/* When to go on: a try that the limit would cut short is not begun. */
static int64_t acquire_until(const struct acquisition *a)
{
    int64_t end_us = a->limit_us;
    int64_t last_us = end_us - ACQUIRE_LAST_US;
    if (a->look_us < end_us - ACQUIRE_SHORTEST_US) {
        return a->look_us;
    }
    /* A last try before the end, where it is not the next thing to do anyway. */
    return dlk_lock_now(a->lock) < last_us - ACQUIRE_SHORTEST_US ? last_us : end_us;
}

/* The wait has ended: what of. A try that the limit cut short says less than the one before it. */
static int acquire_give_up(struct acquisition *a)
{
    if (a->error.code == DYNALOCK_ERR_TIMEOUT && a->held_by[0] != '\0') {
        return dlk_fail(&a->error, DYNALOCK_ERR_NOT_ACQUIRED, "the lock is held by %s", a->held_by);
    }
    return a->error.code;
}

static void acquire_log(struct acquisition *a, bool won)
{
    dynalock_lock *lock = a->lock;
    if (!won) {
        int64_t wait_us = (a->look_us < a->end_us ? a->look_us : a->end_us) - dlk_lock_now(lock);
        bool held = a->error.code == DYNALOCK_ERR_NOT_ACQUIRED;
        dlk_log(lock->store, &(dynalock_event){.id = DYNALOCK_EVENT_WAITING,
                                               .code = a->error.code,
                                               .wait_ms = wait_us > 0 ? wait_us / 1000 : 0,
                                               .token = held ? a->held_token : 0,
                                               .key = lock->key,
                                               .message = held ? a->held_by : a->error.message});
        return;
    }
    dlk_count(lock->store, DLK_ACQUIRED);
    if (a->taken_from == DYNALOCK_EVENT_TAKEN_OVER) {
        dlk_count(lock->store, DLK_TAKEN_OVER);
    } else if (a->taken_from == DYNALOCK_EVENT_ADOPTED) {
        dlk_count(lock->store, DLK_ADOPTED);
    }
    if (a->taken_from != 0) {
        dlk_lock_log(lock, a->taken_from, 0, "");
    }
    dlk_lock_log(lock, DYNALOCK_EVENT_ACQUIRED, 0, "");
}

/* It has failed, and what it may have left is for the keeper to remove. */
static void acquire_failed_for_good(struct acquisition *a)
{
    dynalock_lock *lock = a->lock;
    struct dlk_cleanup *after = a->after;
    bool under_way = a->call->under_way || a->call->exchange.lane != NULL;
    bool written = after->unsure > 0 || after->known.version != 0;
    bool open = written || under_way;
    if (written || (under_way && a->call->write)) {
        a->error.flags |= DYNALOCK_ERROR_OUTCOME_UNKNOWN;
    }
    (void)pthread_mutex_lock(&lock->store->mutex);
    dlk_lock_note(lock, a->error.code, a->error.message);
    a->after = NULL; /* in a child of fork nothing is freed twice */
    if (open) {
        dlk_cleanup_start(after);
    }
    (void)pthread_mutex_unlock(&lock->store->mutex);
    if (!open) {
        dlk_cleanup_free(after);
    }
}

/* With the mutex held. */
static int acquire_check(dynalock_lock *lock, dynalock_error *error)
{
    dlk_lock_judge(lock);
    if (lock->state == DYNALOCK_LOCK_HELD) {
        return dlk_fail(error, DYNALOCK_ERR_BUSY, "the lock is held already, by this object");
    }
    dlk_events_forget(lock);
    return 0;
}

/* With the mutex held: a new tenure. */
static int acquire_start(dynalock_lock *lock, dynalock_error *error)
{
    char tenure[DLK_TENURE_SIZE];
    if (lock->renewing) {
        return lock->store->closing
                   ? dlk_fail(error, DYNALOCK_ERR_CLOSED, "the store is being closed")
                   : dlk_fail(error, DYNALOCK_ERR_BUSY,
                              "the last renewal of the tenure before is still under way");
    }
    if (dlk_tenure_new(tenure) != 0) {
        return dlk_fail(error, DYNALOCK_ERR_SYSTEM, "no random bytes could be had");
    }
    memcpy(lock->was_held ? lock->finished : lock->abandoned, lock->tenure, sizeof lock->tenure);
    lock->was_held = lock->was_lost = false;
    memcpy(lock->tenure, tenure, sizeof lock->tenure);
    lock->writes = 0;
    lock->state = DYNALOCK_LOCK_ACQUIRING;
    lock->cause = lock->trouble = DYNALOCK_CAUSE_NONE;
    lock->failures = 0;
    lock->ttl_ms = lock->options.ttl_ms;
    return 0;
}

/* With the new tenure. */
static int acquire_prepare(struct acquisition *a)
{
    a->after = dlk_cleanup_new(a->lock);
    if (a->after == NULL) {
        return dlk_fail(&a->error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    a->call = &a->after->call;
    a->limit_us = INT64_MAX;
    return 0;
}

static int64_t acquire_end_us(const dynalock_lock *lock, int64_t wait_ms)
{
    bool for_ever = wait_ms < 0 || wait_ms > ACQUIRE_WAIT_MAX_MS;
    return for_ever ? INT64_MAX : dlk_lock_now(lock) + wait_ms * 1000;
}

static void acquire_idle(dynalock_lock *lock)
{
    (void)pthread_mutex_lock(&lock->store->mutex);
    if (lock->state == DYNALOCK_LOCK_ACQUIRING) {
        lock->state = DYNALOCK_LOCK_IDLE;
    }
    (void)pthread_mutex_unlock(&lock->store->mutex);
}

/* ---- On the caller's thread ---- */

static enum acquire_step acquire_try(struct acquisition *a, int stop_fd)
{
    enum acquire_step step = acquire_begin(a);
    while (step == ACQUIRE_SEND) {
        int code = dlk_call_run(a->lock->store, a->call, stop_fd);
        if (code == DYNALOCK_ERR_CANCELLED || code == DYNALOCK_ERR_CLOSED) {
            bool over =
                a->call->exchange.lane == NULL; /* else the keeper will see what comes of it */
            a->after->unsure += over && a->call->write && a->call->unanswered ? 1 : 0;
            (void)dlk_call_fail(a->call, code, &a->error);
            return ACQUIRE_FAIL;
        }
        step = acquire_answered(a);
    }
    return acquire_settle(a, step);
}

/* Waits until it is time to look again. 0: look; else why not. */
static int acquire_wait(struct acquisition *a, int stop_fd)
{
    dynalock_store *store = a->lock->store;
    const int stops[2] = {stop_fd, store->closed.read_fd};
    int64_t until_us = acquire_until(a);
    for (;;) {
        int64_t left_us = until_us - dlk_lock_now(a->lock);
        if (left_us <= 0) {
            return dlk_lock_now(a->lock) < a->end_us ? 0 : acquire_give_up(a);
        }
        int stopped = dlk_wait_readable(stops, 2, left_us / 1000 + 1);
        if (stopped == 0) {
            return dlk_fail(&a->error, DYNALOCK_ERR_CANCELLED,
                            "the stop descriptor became readable");
        }
        if (stopped == 1) {
            return dlk_fail(&a->error, DYNALOCK_ERR_CLOSED, "the store is being closed");
        }
    }
}

static int acquire_loop(struct acquisition *a, int stop_fd)
{
    for (;;) {
        enum acquire_step step = acquire_try(a, stop_fd);
        if (step == ACQUIRE_WON) {
            acquire_log(a, true);
            return 0;
        }
        if (step == ACQUIRE_FAIL) {
            return a->error.code;
        }
        acquire_log(a, false);
        a->limit_us = a->end_us;
        int code = acquire_wait(a, stop_fd);
        if (code != 0) {
            return code;
        }
    }
}

static int acquire_run(dynalock_lock *lock, int stop_fd, int64_t wait_ms, dynalock_error *error)
{
    struct acquisition a = {.lock = lock, .end_us = acquire_end_us(lock, wait_ms)};
    int code = acquire_prepare(&a);
    if (code == 0) {
        code = acquire_loop(&a, stop_fd);
        if (code == 0) {
            dlk_cleanup_free(a.after);
        } else {
            acquire_failed_for_good(&a);
        }
    }
    if (code != 0 && error != NULL) {
        *error = a.error;
    }
    return code;
}

/* With the mutex held: waits for the last renewal of the tenure before to end. */
static int acquire_await_renewal(dynalock_lock *lock, int stop_fd, dynalock_error *error)
{
    int64_t until_us = dlk_lock_now(lock) + lock->store->attempt_timeout_ms * 1000;
    while (lock->renewing && !lock->store->closing && dlk_lock_now(lock) < until_us &&
           dlk_wait_readable(&stop_fd, 1, 0) < 0) {
        dlk_lock_await_renewal(lock, dlk_lock_now(lock) + ACQUIRE_LOOK_US);
    }
    return dlk_wait_readable(&stop_fd, 1, 0) < 0
               ? 0
               : dlk_fail(error, DYNALOCK_ERR_CANCELLED, "the stop descriptor is readable");
}

int dynalock_lock_acquire(dynalock_lock *lock, int stop_fd, int64_t wait_ms, dynalock_error *error)
{
    int code = dlk_lock_enter(lock, error);
    if (code != 0) {
        return code;
    }
    code = acquire_check(lock, error);
    if (code == 0) {
        code = acquire_await_renewal(lock, stop_fd, error);
    }
    if (code == 0) {
        code = acquire_start(lock, error);
    }
    (void)pthread_mutex_unlock(&lock->store->mutex);
    if (code == 0) {
        code = dlk_keeper_start(lock->store, error);
        if (code == 0) {
            code = acquire_run(lock, stop_fd, wait_ms, error);
        }
        acquire_idle(lock);
    }
    dlk_lock_leave(lock);
    return code;
}

/* ---- On the keeper, with nobody waiting ---- */

struct acquire_started {
    struct dlk_started base;
    struct acquisition a;
    bool calling;
    int64_t first_until_us; /* by then the first try must have begun */
};

static void acquire_ended(struct acquire_started *x, int code)
{
    if (x->calling) {
        dlk_keeper_cancel(x->a.call);
    }
    dlk_keeper_leave_turn(x->a.lock->store, &x->base.turn);
    if (code == 0) {
        dlk_cleanup_free(x->a.after);
        x->a.after = NULL;
    } else if (x->a.after != NULL) {
        acquire_failed_for_good(&x->a);
    }
    acquire_idle(x->a.lock);
    dlk_started_end(&x->base, code, &x->a.error);
}

/* It is not wanted any more. */
static void acquire_stopped(struct acquire_started *x, int code)
{
    struct acquisition *a = &x->a;
    if (x->calling && a->call->write && a->call->unanswered && !a->call->under_way) {
        a->after->unsure++;
    }
    (void)dlk_fail(&a->error, code,
                   code == DYNALOCK_ERR_CLOSED ? "the store is being closed"
                                               : "the acquisition was cancelled");
    acquire_ended(x, code);
}

static void acquire_called(struct dlk_call *call);

static void acquire_continue(struct acquire_started *x, enum acquire_step step)
{
    struct acquisition *a = &x->a;
    if (step == ACQUIRE_SEND) {
        a->call->context = x;
        a->call->done = acquire_called;
        x->calling = true;
        dlk_keeper_send(a->call);
        return;
    }
    step = acquire_settle(a, step);
    if (step == ACQUIRE_FAIL) {
        acquire_ended(x, a->error.code);
        return;
    }
    acquire_log(a, step == ACQUIRE_WON);
    if (step == ACQUIRE_WON) {
        acquire_ended(x, 0);
        return;
    }
    a->limit_us = a->end_us;
    dlk_started_resume(&x->base, acquire_until(a));
}

static void acquire_called(struct dlk_call *call)
{
    struct acquire_started *x = call->context;
    x->calling = false;
    acquire_continue(x, acquire_answered(&x->a));
}

/* Its turn has come. */
static void acquire_go(struct dlk_turn *turn)
{
    struct acquire_started *x = DLK_OF(struct acquire_started, base.turn, turn);
    struct acquisition *a = &x->a;
    int stop = dlk_started_go(&x->base);
    if (stop != 0) {
        acquire_stopped(x, stop);
        return;
    }
    if (a->after == NULL) {
        if (dlk_started_awaits_renewal(&x->base)) {
            return;
        }
        (void)pthread_mutex_lock(&a->lock->store->mutex);
        int code = acquire_start(a->lock, &a->error);
        (void)pthread_mutex_unlock(&a->lock->store->mutex);
        if (code == 0) {
            code = acquire_prepare(a);
        }
        if (code != 0) {
            acquire_ended(x, code);
            return;
        }
    }
    acquire_continue(x, acquire_begin(a));
}

static void acquire_fire(struct dlk_timer *timer)
{
    struct acquire_started *x = DLK_OF(struct acquire_started, base.timer, timer);
    struct acquisition *a = &x->a;
    int stop = dlk_started_go(&x->base);
    if (stop != 0) {
        acquire_stopped(x, stop);
        return;
    }
    bool is_first = a->after == NULL;
    int64_t until_us = is_first ? x->first_until_us : a->end_us;
    if (dlk_lock_now(a->lock) >= until_us) {
        acquire_ended(x, is_first ? dlk_fail(&a->error, DYNALOCK_ERR_TIMEOUT,
                                             "no request could be sent in timeout_ms")
                                  : acquire_give_up(a));
        return;
    }
    if (until_us < INT64_MAX) {
        dlk_started_resume(&x->base, until_us); /* its turn may come too late */
    }
    if (!x->base.turn.queued) {
        dlk_keeper_turn(a->lock->store, &x->base.turn);
    }
}

static void acquire_free(struct dlk_started *started)
{
    struct acquire_started *x = DLK_OF(struct acquire_started, base, started);
    dlk_cleanup_free(x->a.after);
    free(x);
}

int dynalock_lock_acquire_start(dynalock_lock *lock, int64_t wait_ms, dynalock_error *error)
{
    int code = dlk_lock_enter(lock, error);
    if (code != 0) {
        return code;
    }
    (void)pthread_mutex_unlock(&lock->store->mutex);
    struct acquire_started *x = calloc(1, sizeof *x);
    code = x != NULL ? dlk_keeper_start(lock->store, error)
                     : dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    (void)pthread_mutex_lock(&lock->store->mutex);
    if (code == 0) {
        code = acquire_check(lock, error);
    }
    if (code == 0) {
        *x = (struct acquire_started){.base = {.lock = lock,
                                               .kind = DYNALOCK_LOCK_EVENT_ACQUIRE,
                                               .timer.fire = acquire_fire,
                                               .turn.go = acquire_go,
                                               .free = acquire_free},
                                      .a = {.lock = lock, .end_us = acquire_end_us(lock, wait_ms)}};
        x->first_until_us = dlk_lock_now(lock) + lock->store->timeout_ms * 1000;
        lock->state = DYNALOCK_LOCK_ACQUIRING;
        dlk_started_begin(&x->base);
    }
    (void)pthread_mutex_unlock(&lock->store->mutex);
    if (code != 0) {
        free(x);
    }
    dlk_lock_leave(lock);
    return code;
}

int dynalock_lock_cancel(dynalock_lock *lock, dynalock_error *error)
{
    int code = dlk_lock_look(lock, error);
    if (code == 0) {
        dlk_started_stop(lock, DYNALOCK_ERR_CANCELLED);
        dlk_lock_looked(lock);
    }
    return code;
}
