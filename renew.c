/* SPDX-License-Identifier: Apache-2.0 */
/* Renewing a lease: by the keeper in time, or by the caller. */
#include "lock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RENEW_ATTEMPT_MIN_MS 200
#define RENEW_RETRY_MS 100
#define RENEW_CUT_US (INT64_C(50) * 1000)
#define RENEW_RETRY_THROTTLED_MS 500
#define RENEW_TTL_MAX_MS (INT64_C(365) * 86400 * 1000)

static int renew_cause(int code)
{
    switch (code) {
    case DYNALOCK_ERR_THROTTLED: return DYNALOCK_CAUSE_THROTTLED;
    case DYNALOCK_ERR_NOT_AUTHORIZED:
    case DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE:
    case DYNALOCK_ERR_CREDENTIALS: return DYNALOCK_CAUSE_CREDENTIALS;
    case DYNALOCK_ERR_NETWORK:
    case DYNALOCK_ERR_TIMEOUT:
    case DYNALOCK_ERR_TLS: return DYNALOCK_CAUSE_UNREACHABLE;
    default: return DYNALOCK_CAUSE_SERVICE;
    }
}

/* With the mutex held: the next renewal's request in call, its lease in *lease. */
static void renew_compose(dynalock_lock *lock, struct dlk_call *call, struct dlk_lease *lease)
{
    struct dlk_now now;
    dlk_store_now(lock->store, &now);
    lease->version = lock->lease.version + 1;
    dlk_lock_number(lock, lease, &now);
    struct dlk_base base = {lock->lease.version, lock->lease.nonce, dlk_seconds_down(now.lower_us)};
    struct dlk_item item = {.version = lease->version,
                            .nonce = lease->nonce,
                            .has_expires = true,
                            .expires = lease->expires,
                            .lease_ms = lease->ttl_ms};
    dlk_request_replace(lock->store, call, lock->key, &item, &base);
    int64_t attempt_ms =
        lock->ttl_ms / 6 > RENEW_ATTEMPT_MIN_MS ? lock->ttl_ms / 6 : RENEW_ATTEMPT_MIN_MS;
    call->attempt_timeout_ms =
        attempt_ms < call->attempt_timeout_ms ? attempt_ms : call->attempt_timeout_ms;
    call->deadline_us = lock->valid_until_us;
    call->rank = DLK_RANK_RENEWAL;
}

/* With the mutex held: the record is this lease now. It is not counted as held for longer: see
 * renew_granted. */
static void renew_own(dynalock_lock *lock, const struct dlk_lease *lease)
{
    lock->lease.version = lease->version;
    lock->lease.expires = lease->expires;
    memcpy(lock->lease.nonce, lease->nonce, sizeof lock->lease.nonce);
}

/* With the mutex held: the write was answered. */
static void renew_granted(dynalock_lock *lock, const struct dlk_lease *lease,
                          const struct dlk_call *call)
{
    renew_own(lock, lease);
    if (lock->state != DYNALOCK_LOCK_HELD) {
        return;
    }
    lock->failures = 0;
    lock->trouble = DYNALOCK_CAUSE_NONE;
    lock->granted_us = dlk_lock_now(lock);
    dlk_lock_note(lock, 0, "");
    dlk_lock_set_end(lock, dlk_lease_end(lock, lease, &call->exchange));
    dlk_lock_judge(lock);
    if (lock->state == DYNALOCK_LOCK_HELD) {
        dlk_lock_arm_renewal(lock, dlk_lock_renewal_due(lock, lease->asked_us));
        dlk_count(lock->store, DLK_RENEWED);
    }
}

/* How long to wait after a failure: longer each time, but for no more than a sixth of what is left of
 * the lease, so that many attempts fit into it even when the service is throttling. */
static int64_t renew_pause_ms(const dynalock_lock *lock, int code)
{
    int64_t left_ms = (lock->valid_until_us - dlk_lock_now(lock)) / 1000;
    int64_t most = code == DYNALOCK_ERR_THROTTLED ? RENEW_RETRY_THROTTLED_MS : RENEW_RETRY_MS;
    for (unsigned i = 0; i < lock->failures && most < left_ms / 6; i++) {
        most *= 2;
    }
    most = most < left_ms / 6 ? most : left_ms / 6;
    most = most > RENEW_RETRY_MS ? most : RENEW_RETRY_MS;
    return most / 2 + (int64_t)dlk_random_below((uint64_t)most / 2 + 1);
}

/* With the mutex held: no answer, or a failure. Tried again until it is too late. */
static void renew_failed(dynalock_lock *lock, int code, const char *message)
{
    dlk_count(lock->store, DLK_RENEWALS_FAILED);
    dlk_lock_note(lock, code, message);
    int64_t pause_ms = renew_pause_ms(lock, code);
    lock->failures++;
    /* What the lease's end cut short says nothing of why the attempts before it failed. */
    bool cut =
        code == DYNALOCK_ERR_TIMEOUT && dlk_lock_now(lock) >= lock->valid_until_us - RENEW_CUT_US;
    if (!cut || lock->trouble == DYNALOCK_CAUSE_NONE) {
        lock->trouble = renew_cause(code);
    }
    dlk_lock_judge(lock);
    if (lock->state == DYNALOCK_LOCK_HELD) {
        dlk_lock_arm_renewal(lock, dlk_lock_now(lock) + pause_ms * 1000);
    }
}

/* With the mutex held: the condition failed, and this is the record (NULL: none). True: an earlier
 * renewal of ours has happened, whose answer was lost. It extends nothing; the next one does, at
 * once. */
static bool renew_settle(dynalock_lock *lock, const struct dlk_lease *asked,
                         const dynalock_kv *seen, bool unreadable)
{
    bool ours = seen != NULL && dlk_record_of(seen, lock->tenure);
    bool this_one = ours && dlk_record_same(seen, asked->version, asked->nonce);
    if (this_one || (ours && seen->version == lock->lease.version + 1)) {
        struct dlk_lease happened = {.version = seen->version,
                                     .expires = this_one ? asked->expires : lock->lease.expires};
        (void)snprintf(happened.nonce, sizeof happened.nonce, "%s", seen->nonce);
        renew_own(lock, &happened);
        dlk_count(lock->store, DLK_ADOPTED);
        if (lock->state == DYNALOCK_LOCK_HELD) {
            dlk_lock_arm_renewal(lock, dlk_lock_now(lock));
        }
        return true;
    }
    bool gone = seen == NULL && !unreadable;
    dlk_lock_lose(lock, gone   ? DYNALOCK_CAUSE_GONE
                        : ours ? DYNALOCK_CAUSE_EXPIRED /* by its own time */
                               : DYNALOCK_CAUSE_TAKEN_OVER);
    return false;
}

/* ---- By the keeper ---- */

void dlk_renewal_free(struct dlk_renewal *renewal)
{
    if (renewal != NULL) {
        dlk_call_free(&renewal->call);
        free(renewal);
    }
}

void dlk_renewals_drop(dynalock_store *store)
{
    while (store->spare_renewals != NULL) {
        struct dlk_renewal *renewal = store->spare_renewals;
        store->spare_renewals = renewal->next;
        dlk_renewal_free(renewal);
    }
}

/* NULL: no memory. */
static struct dlk_renewal *renew_take(dynalock_store *store)
{
    struct dlk_renewal *renewal = store->spare_renewals;
    if (renewal != NULL) {
        store->spare_renewals = renewal->next;
        store->spare_renewal_count--;
        return renewal;
    }
    renewal = calloc(1, sizeof *renewal);
    if (renewal != NULL) {
        dlk_call_init(store, &renewal->call, "UpdateItem", NULL);
    }
    return renewal;
}

/* Kept with its memory, warm, for the next. */
static void renew_give_back(dynalock_store *store, struct dlk_renewal *renewal)
{
    if (renewal == NULL || store->spare_renewal_count >= store->max_connections) {
        dlk_renewal_free(renewal);
        return;
    }
    dlk_wipe(renewal->call.token);
    renewal->call.token = NULL;
    renewal->next = store->spare_renewals;
    store->spare_renewals = renewal;
    store->spare_renewal_count++;
}

static void renew_end(dynalock_lock *lock)
{
    lock->renewing = false;
    lock->under_way = NULL;
    (void)pthread_cond_broadcast(&lock->store->changed);
    (void)pthread_mutex_unlock(&lock->store->mutex);
}

static void renew_finish(struct dlk_renewal *renewal, bool settled, const dynalock_kv *seen,
                         bool unreadable)
{
    dynalock_lock *lock = renewal->lock;
    const struct dlk_call *call = &renewal->call;
    int code = call->code;
    int event = 0;
    (void)pthread_mutex_lock(&lock->store->mutex);
    if (settled) {
        event = renew_settle(lock, &renewal->lease, seen, unreadable) ? DYNALOCK_EVENT_ADOPTED : 0;
    } else if (code == 0) {
        renew_granted(lock, &renewal->lease, call);
        event = DYNALOCK_EVENT_RENEWED;
    } else {
        renew_failed(lock, code, call->error.message);
        event = DYNALOCK_EVENT_RENEWAL_FAILED;
    }
    renew_end(lock);
    if (event != 0) {
        dlk_lock_log(lock, event, code == DLK_CONDITION_FAILED ? 0 : code, call->error.message);
    }
    renew_give_back(lock->store, renewal);
    dlk_lock_unref(lock);
}

/* The read that a server makes necessary which does not show the record of a failed condition. */
static void renew_read(struct dlk_call *call)
{
    dynalock_kv *seen = NULL;
    if (call->code == 0) {
        call->code = dlk_json_item(call->exchange.answer.data, call->exchange.answer.length, &seen,
                                   &call->error);
    }
    bool settled =
        call->code == 0 ||
        call->code == DYNALOCK_ERR_TYPE; /* what is no record of dynalock's is another's */
    renew_finish(call->context, settled, seen, call->code == DYNALOCK_ERR_TYPE);
    dynalock_kv_free(seen);
}

static void renew_answered(struct dlk_call *call)
{
    struct dlk_renewal *renewal = call->context;
    if (call->code != DLK_CONDITION_FAILED) {
        renew_finish(renewal, false, NULL, false);
    } else if (dlk_call_shows_record(call)) {
        renew_finish(renewal, true, call->service.item, call->service.item_unreadable);
    } else {
        int64_t deadline_us = call->deadline_us;
        int64_t attempt_timeout_ms = call->attempt_timeout_ms;
        dlk_request_get(call->store, call, call->key, true, false);
        call->deadline_us = deadline_us;
        call->attempt_timeout_ms = attempt_timeout_ms;
        call->max_attempts = 1;
        call->done = renew_read;
        dlk_keeper_send(call);
    }
}

/* Its turn has come; it has the reference that the turn had. */
static void renew_go(struct dlk_turn *turn)
{
    dynalock_lock *lock = DLK_OF(dynalock_lock, renewal_turn, turn);
    struct dlk_renewal *renewal = renew_take(lock->store);
    (void)pthread_mutex_lock(&lock->store->mutex);
    dlk_lock_judge(lock);
    bool renew = lock->state == DYNALOCK_LOCK_HELD && !lock->renewing;
    if (renew && renewal == NULL) {
        renew_failed(lock, DYNALOCK_ERR_MEMORY, "no memory for a renewal");
    }
    renew = renew && renewal != NULL;
    if (renew) {
        struct dlk_call *call = &renewal->call;
        call->key = lock->key;
        lock->renewing = true;
        lock->under_way = renewal;
        renewal->lock = lock;
        renew_compose(lock, call, &renewal->lease);
        call->max_attempts = 1; /* each attempt is a write of its own, with a later expiry */
        call->context = renewal;
        call->done = renew_answered;
    }
    (void)pthread_mutex_unlock(&lock->store->mutex);
    if (renew) {
        dlk_keeper_send(&renewal->call);
    } else {
        renew_give_back(lock->store, renewal);
        dlk_lock_unref(lock);
    }
}

void dlk_renewal_fire(struct dlk_timer *timer)
{
    dynalock_lock *lock = DLK_OF(dynalock_lock, renewal, timer);
    if (lock->renewal_turn.queued) {
        dlk_lock_unref(lock);
        return;
    }
    lock->renewal_turn.go = renew_go;
    lock->renewal_turn.rank = DLK_RANK_RENEWAL;
    dlk_keeper_turn(lock->store, &lock->renewal_turn);
}

/* ---- By the caller ---- */

/* After a failed condition, on this thread: the record as it is; *seen NULL: there is none, or it is no
 * record of dynalock's. */
static int renew_seen(dynalock_lock *lock, struct dlk_call *call, dynalock_kv **seen,
                      bool *unreadable)
{
    if (dlk_call_shows_record(call)) {
        *seen = call->service.item;
        *unreadable = call->service.item_unreadable;
        call->service.item = NULL;
        return 0;
    }
    int64_t deadline_us = call->deadline_us;
    dlk_request_get(lock->store, call, lock->key, true, false);
    call->deadline_us = deadline_us;
    int code = dlk_call_complete(call);
    if (code == 0) {
        code = dlk_json_item(call->exchange.answer.data, call->exchange.answer.length, seen,
                             &call->error);
    }
    *unreadable = code == DYNALOCK_ERR_TYPE;
    return *unreadable ? 0 : code; /* what is no record of dynalock's is another's */
}

/* With the mutex held. */
static int renew_check(dynalock_lock *lock, int64_t ttl_ms, dynalock_error *error)
{
    dlk_lock_judge(lock);
    if (lock->state == DYNALOCK_LOCK_LOST) {
        return dlk_fail(error, DYNALOCK_ERR_LOST, "the lock is lost: %s",
                        dynalock_cause_name(lock->cause));
    }
    if (lock->state != DYNALOCK_LOCK_HELD) {
        return dlk_fail(error, DYNALOCK_ERR_NOT_HELD, "the lock is not held");
    }
    if (ttl_ms != 0 && (ttl_ms < 0 || ttl_ms > RENEW_TTL_MAX_MS ||
                        ttl_ms * 1000 <= 2 * dlk_lock_margin_us(lock, ttl_ms))) {
        return dlk_fail(error, DYNALOCK_ERR_ARGUMENT,
                        "ttl_ms is negative, over a year, or not more than twice the margin");
    }
    return 0;
}

/* With the mutex held. A shorter lease counts from before it is sent: it may arrive without our
 * hearing of it. */
static void renew_change_ttl(dynalock_lock *lock, int64_t ttl_ms)
{
    if (ttl_ms != 0) {
        int64_t end = dlk_lock_now(lock) + ttl_ms * 1000 - dlk_lock_margin_us(lock, ttl_ms);
        lock->ttl_ms = ttl_ms;
        if (end < lock->valid_until_us) {
            dlk_lock_set_end(lock, end);
        }
    }
}

static int renew_once(dynalock_lock *lock, struct dlk_call *call, bool *again,
                      dynalock_error *error)
{
    struct dlk_lease lease;
    dynalock_kv *seen = NULL;
    renew_compose(lock, call, &lease);
    (void)pthread_mutex_unlock(&lock->store->mutex);
    int code = dlk_call_complete(call);
    bool refused = code == DLK_CONDITION_FAILED;
    bool unreadable = false;
    if (refused) {
        code = renew_seen(lock, call, &seen, &unreadable);
    }
    (void)pthread_mutex_lock(&lock->store->mutex);
    if (code != 0) {
        renew_failed(lock, code, call->error.message);
        return dlk_call_fail(call, code, error);
    }
    if (refused) {
        *again = renew_settle(lock, &lease, seen, unreadable);
        dynalock_kv_free(seen);
    } else {
        renew_granted(lock, &lease, call);
    }
    return *again ? 0 : renew_check(lock, 0, error);
}

int dynalock_lock_renew(dynalock_lock *lock, int64_t ttl_ms, dynalock_error *error)
{
    struct dlk_call call;
    int code = dlk_lock_enter(lock, error);
    if (code != 0) {
        return code;
    }
    dlk_lock_await_renewal(lock, lock->valid_until_us);
    code = renew_check(lock, ttl_ms, error);
    if (code == 0 && lock->renewing) { /* the keeper's is still under way: the wait was cut short */
        code = lock->store->closing
                   ? dlk_fail(error, DYNALOCK_ERR_CLOSED, "the store is being closed")
                   : dlk_fail(error, DYNALOCK_ERR_BUSY, "a renewal is under way");
    }
    if (code == 0) {
        bool again = true;
        lock->renewing = true;
        renew_change_ttl(lock, ttl_ms);
        dlk_call_init(lock->store, &call, "UpdateItem", lock->key);
        for (int i = 0; i < 2 && code == 0 && again; i++) {
            again = false;
            code = renew_once(lock, &call, &again, error);
        }
        dlk_call_free(&call);
        lock->renewing = false;
        (void)pthread_cond_broadcast(&lock->store->changed);
        if (code == 0 && again) {
            code = dlk_fail(error, DYNALOCK_ERR_SERVICE,
                            "renewals happen, but are answered as if they had not");
        }
    }
    (void)pthread_mutex_unlock(&lock->store->mutex);
    if (code == 0) {
        dlk_lock_log(lock, DYNALOCK_EVENT_RENEWED, 0, "");
    }
    dlk_lock_leave(lock);
    return code;
}
