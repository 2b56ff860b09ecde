/* SPDX-License-Identifier: Apache-2.0 */
/* Releasing a lock, and cleaning up after tenures that ended with an open outcome. */
#include "lock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RELEASE_MIN_MS 1000
#define RELEASE_NUMBER 0U /* of the write in its nonce: acquisitions and renewals count from 1 */
#define CLEANUP_WAIT_MS 250
#define CLEANUP_WAIT_MAX_MS 4000

/* The delete, or the update that leaves a tombstone, of exactly this record. */
static void release_compose(dynalock_store *store, struct dlk_call *call, const char *key,
                            const char *tenure, const struct dlk_lease *lease, bool keep_record)
{
    struct dlk_base base = {lease->version, lease->nonce, DLK_EXPIRED_OR_NOT};
    if (keep_record) {
        char nonce[DLK_NONCE_SIZE];
        dlk_nonce_make(nonce, tenure, RELEASE_NUMBER, 0, lease->version + 1);
        dlk_request_keep(store, call, key, &base, nonce);
    } else {
        dlk_request_delete_exactly(store, call, key, &base);
    }
    call->rank = DLK_RANK_RELEASE;
}

static bool release_is_tombstone(const dynalock_kv *kv)
{
    return kv->has_expires && kv->expires == DLK_TOMBSTONE;
}

/* Takes over, as the lease to be removed, what the tenure has left; false: nothing of it is there. */
static bool release_find(const dynalock_kv *seen, const char *tenure, struct dlk_lease *lease)
{
    if (seen == NULL || !dlk_record_of(seen, tenure) || release_is_tombstone(seen)) {
        return false;
    }
    lease->version = seen->version;
    lease->expires = seen->expires;
    (void)snprintf(lease->nonce, sizeof lease->nonce, "%s", seen->nonce);
    return true;
}

/* ---- A release: a short series of requests, whoever sends them ---- */

struct release {
    dynalock_lock *lock;
    struct dlk_call call;
    struct dlk_lease lease; /* to be removed */
    bool was_lost;
    int64_t valid_until_us, deadline_us;
    bool reading; /* the request under way is a read */
    bool removed; /* by us */
    bool open;    /* an attempt to remove it had no answer */
    int cause;    /* not removed by us: enum dynalock_cause */
    int code;     /* 0: the record is not this tenure's any more */
};

static void release_remove(struct release *r)
{
    dynalock_lock *lock = r->lock;
    release_compose(lock->store, &r->call, lock->key, lock->tenure, &r->lease,
                    lock->options.keep_record);
    r->call.deadline_us = r->deadline_us;
    r->reading = false;
}

/* After a failed condition: the record as it is, NULL: there is none, or it is not dynalock's. True: a
 * renewal whose answer was lost has made it a later version, and it is removed at that. */
static bool release_refused(struct release *r, const dynalock_kv *seen)
{
    const char *tenure = r->lock->tenure;
    r->code = 0;
    r->removed = seen != NULL && dlk_record_of(seen, tenure) && release_is_tombstone(seen);
    r->cause = seen != NULL ? DYNALOCK_CAUSE_TAKEN_OVER : DYNALOCK_CAUSE_GONE;
    if (!release_find(seen, tenure, &r->lease)) {
        return false;
    }
    release_remove(r); /* within the time of the release: several may come late */
    return true;
}

static bool release_read(struct release *r)
{
    struct dlk_call *call = &r->call;
    dynalock_kv *seen = NULL;
    r->code = call->code;
    if (r->code == 0) {
        r->code = dlk_json_item(call->exchange.answer.data, call->exchange.answer.length, &seen,
                                &call->error);
    }
    bool known = r->code == 0 || r->code == DYNALOCK_ERR_TYPE;
    bool more = known && release_refused(r, seen);
    dynalock_kv_free(seen);
    return more;
}

/* Takes the ended call's answer. True: there is more to send. */
static bool release_answered(struct release *r)
{
    struct dlk_call *call = &r->call;
    if (r->reading) {
        return release_read(r);
    }
    r->code = call->code;
    r->removed = call->code == 0;
    r->open = r->open || call->unanswered;
    if (call->code != DLK_CONDITION_FAILED) {
        return false;
    }
    if (dlk_call_shows_record(call)) {
        dynalock_kv *seen = call->service.item;
        call->service.item = NULL;
        bool more = release_refused(r, seen);
        dynalock_kv_free(seen);
        return more;
    }
    dlk_request_get(r->lock->store, call, r->lock->key, true, false);
    call->deadline_us = r->deadline_us;
    r->reading = true;
    return true;
}

/* With the mutex held: what of the lock's state allows a release. 1: it was lost, and there may be
 * something to remove. */
static int release_check(dynalock_lock *lock, dynalock_error *error)
{
    dlk_lock_judge(lock);
    dlk_events_forget(lock);
    switch (lock->state) {
    case DYNALOCK_LOCK_HELD:
    case DYNALOCK_LOCK_RELEASING: return 0;
    case DYNALOCK_LOCK_LOST:
        if (lock->cause != DYNALOCK_CAUSE_TAKEN_OVER && lock->cause != DYNALOCK_CAUSE_GONE) {
            return 1;
        }
        lock->state = DYNALOCK_LOCK_IDLE;
        return dlk_fail(error, DYNALOCK_ERR_LOST, "the lock was lost before it was released: %s",
                        dynalock_cause_name(lock->cause));
    default: return dlk_fail(error, DYNALOCK_ERR_NOT_HELD, "the lock is not held");
    }
}

/* With the mutex held: begins the release, if it is allowed. From here on this tenure never counts as
 * held again: the delete may arrive late, whatever comes back. */
static int release_start(struct release *r, dynalock_error *error)
{
    dynalock_lock *lock = r->lock;
    int code = release_check(lock, error);
    if (code < 0) {
        return code;
    }
    r->open = lock->state == DYNALOCK_LOCK_RELEASING;
    lock->state = DYNALOCK_LOCK_RELEASING;
    lock->was_lost = lock->was_lost || code == 1;
    r->was_lost = lock->was_lost;
    r->valid_until_us = lock->valid_until_us;
    dlk_lock_disarm(lock);
    return 0;
}

/* Composes the first request. */
static void release_begin(struct release *r)
{
    dynalock_lock *lock = r->lock;
    dynalock_store *store = lock->store;
    int64_t limit_ms = lock->ttl_ms > RELEASE_MIN_MS ? lock->ttl_ms : RELEASE_MIN_MS;
    limit_ms = limit_ms < store->timeout_ms ? limit_ms : store->timeout_ms;
    r->deadline_us = dlk_lock_now(lock) + limit_ms * 1000;
    (void)pthread_mutex_lock(&store->mutex);
    r->lease = lock->lease;
    (void)pthread_mutex_unlock(&store->mutex);
    dlk_call_init(store, &r->call, "DeleteItem", lock->key);
    release_remove(r);
}

/* What the caller is told. */
static int release_finish(struct release *r, dynalock_error *error)
{
    dynalock_lock *lock = r->lock;
    int code = r->code;
    bool in_time = dlk_lock_now(lock) < r->valid_until_us;
    bool lost_before = r->was_lost || (code == 0 && !r->removed && !r->open);
    (void)pthread_mutex_lock(&lock->store->mutex);
    lock->cause = lost_before && !r->was_lost ? r->cause : lock->cause;
    lock->state = code == 0 ? DYNALOCK_LOCK_IDLE : DYNALOCK_LOCK_RELEASING;
    lock->lease = r->lease;
    dlk_lock_note(lock, code, code != 0 ? r->call.error.message : "");
    int cause = lock->cause;
    (void)pthread_mutex_unlock(&lock->store->mutex);
    if (code != 0) {
        dlk_lock_log(lock, DYNALOCK_EVENT_RELEASE_FAILED, code, r->call.error.message);
        (void)dlk_call_fail(&r->call, code, error);
    } else if (lost_before) {
        code = dlk_fail(error, DYNALOCK_ERR_LOST, "the lock was lost before it was released: %s",
                        dynalock_cause_name(cause));
    } else if (!r->removed && !in_time) {
        code = dlk_fail(error, DYNALOCK_ERR_LOST,
                        "the lock was released too late to say whether it was lost before");
    } else {
        dlk_count(lock->store, DLK_RELEASED);
        dlk_lock_log(lock, DYNALOCK_EVENT_RELEASED, 0, "");
    }
    dlk_call_free(&r->call);
    return code;
}

/* ---- On the caller's thread ---- */

int dynalock_lock_release(dynalock_lock *lock, dynalock_error *error)
{
    int code = dlk_lock_enter(lock, error);
    if (code != 0) {
        return code;
    }
    struct release r = {.lock = lock};
    code = release_start(&r, error);
    if (code == 0) {
        dlk_lock_await_renewal(lock, dlk_lock_now(lock) + lock->store->attempt_timeout_ms * 1000);
    }
    (void)pthread_mutex_unlock(&lock->store->mutex);
    if (code == 0) {
        release_begin(&r);
        do {
            r.code = dlk_call_complete(&r.call);
        } while (release_answered(&r));
        code = release_finish(&r, error);
    }
    dlk_lock_leave(lock);
    return code;
}

/* ---- On the keeper, with nobody waiting ---- */

struct release_started {
    struct dlk_started base;
    struct release r;
    bool begun;
};

/* With the mutex held: the lock was freed, and nobody is there who could repeat a release that failed. */
static void release_forgotten(struct dlk_started *started)
{
    dlk_lock_release_later(started->lock);
}

static void release_called(struct dlk_call *call)
{
    struct release_started *x = call->context;
    dynalock_error error = {0};
    if (release_answered(&x->r)) {
        dlk_keeper_send(call);
        return;
    }
    x->begun = false; /* in a child of fork nothing is freed twice */
    int code = release_finish(&x->r, &error);
    dlk_started_end(&x->base, code, &error);
}

static void release_go(struct dlk_turn *turn)
{
    struct release_started *x = DLK_OF(struct release_started, base.turn, turn);
    if (!dlk_started_awaits_renewal(&x->base)) {
        release_begin(&x->r);
        x->begun = true;
        x->r.call.context = x;
        x->r.call.done = release_called;
        dlk_keeper_send(&x->r.call);
    }
}

static void release_fire(struct dlk_timer *timer)
{
    struct release_started *x = DLK_OF(struct release_started, base.timer, timer);
    dlk_keeper_turn(x->r.lock->store, &x->base.turn);
}

static void release_free(struct dlk_started *started)
{
    struct release_started *x = DLK_OF(struct release_started, base, started);
    if (x->begun) {
        dlk_call_free(&x->r.call);
    }
    free(x);
}

int dynalock_lock_release_start(dynalock_lock *lock, dynalock_error *error)
{
    int code = dlk_lock_enter(lock, error);
    if (code != 0) {
        return code;
    }
    struct release_started *x = calloc(1, sizeof *x);
    if (x == NULL) {
        code = dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    } else {
        x->base = (struct dlk_started){.lock = lock,
                                       .kind = DYNALOCK_LOCK_EVENT_RELEASE,
                                       .timer.fire = release_fire,
                                       .turn = {.go = release_go, .rank = DLK_RANK_RELEASE},
                                       .forgotten = release_forgotten,
                                       .free = release_free};
        x->r.lock = lock;
        code = release_start(&x->r, error);
        if (code == 0) {
            dlk_started_begin(&x->base);
        }
    }
    (void)pthread_mutex_unlock(&lock->store->mutex);
    if (code != 0) {
        free(x);
    }
    dlk_lock_leave(lock);
    return code;
}

/* ---- By the keeper: cleaning up ---- */

static void cleanup_read(struct dlk_cleanup *cleanup);
static void cleanup_remove(struct dlk_cleanup *cleanup);

struct dlk_cleanup *dlk_cleanup_new(dynalock_lock *lock)
{
    struct dlk_cleanup *cleanup = calloc(1, sizeof *cleanup);
    if (cleanup == NULL) {
        return NULL;
    }
    cleanup->store = lock->store;
    cleanup->key = strdup(lock->key);
    if (cleanup->key == NULL) {
        free(cleanup);
        return NULL;
    }
    cleanup->keep_record = lock->options.keep_record;
    cleanup->until_us = dlk_lock_now(lock) + lock->ttl_ms * 1000 + 5 * DLK_SECOND;
    memcpy(cleanup->tenure, lock->tenure, sizeof cleanup->tenure);
    dlk_call_init(lock->store, &cleanup->call, "GetItem", cleanup->key);
    return cleanup;
}

void dlk_cleanup_free(struct dlk_cleanup *cleanup)
{
    if (cleanup != NULL) {
        dlk_call_free(&cleanup->call);
        free(cleanup->key);
        free(cleanup);
    }
}

static void cleanup_unlink(struct dlk_cleanup *cleanup)
{
    if (cleanup->previous != NULL) {
        cleanup->previous->next = cleanup->next;
    } else {
        cleanup->store->cleanups = cleanup->next;
    }
    if (cleanup->next != NULL) {
        cleanup->next->previous = cleanup->previous;
    }
}

/* The store outlives its cleanups: dynalock_close waits for the keeper, and drops what is left. */
static void cleanup_done(struct dlk_cleanup *cleanup)
{
    dynalock_store *store = cleanup->store;
    dlk_log(store, &(dynalock_event){.id = DYNALOCK_EVENT_CLEANED, .key = cleanup->key});
    (void)pthread_mutex_lock(&store->mutex);
    cleanup_unlink(cleanup);
    (void)pthread_cond_broadcast(&store->changed);
    (void)pthread_mutex_unlock(&store->mutex);
    dlk_cleanup_free(cleanup);
}

static void cleanup_later(struct dlk_cleanup *cleanup)
{
    dynalock_store *store = cleanup->store;
    int64_t now = dlk_store_boot_us(cleanup->store);
    if (now >= cleanup->until_us) {
        cleanup_done(cleanup);
        return;
    }
    int64_t wait_ms = CLEANUP_WAIT_MS;
    for (unsigned i = 0; i < cleanup->rounds && wait_ms < CLEANUP_WAIT_MAX_MS; i++) {
        wait_ms *= 2;
    }
    cleanup->rounds++;
    (void)pthread_mutex_lock(&store->mutex);
    dlk_keeper_schedule(store, &cleanup->timer, now + wait_ms * 1000);
    (void)pthread_mutex_unlock(&store->mutex);
}

bool dlk_cleanup_find(struct dlk_cleanup *cleanup, const dynalock_kv *seen)
{
    bool found = release_find(seen, cleanup->tenure, &cleanup->known);
    if (found && cleanup->unsure > 0) {
        cleanup->unsure--;
    }
    return found;
}

static void cleanup_removed(struct dlk_call *call)
{
    struct dlk_cleanup *cleanup = call->context;
    bool refused = call->code == DLK_CONDITION_FAILED;
    bool settled = call->code == 0 || (refused && !call->unanswered);
    bool over = refused && dlk_store_boot_us(cleanup->store) >= cleanup->until_us;
    cleanup->known.version = 0;
    if (refused && !over && !dlk_call_shows_record(call)) {
        cleanup_read(cleanup);
    } else if (refused && !over && dlk_cleanup_find(cleanup, call->service.item)) {
        cleanup_remove(cleanup); /* a renewal whose answer was lost has made it a later version */
    } else if (over || (settled && cleanup->unsure == 0)) {
        cleanup_done(cleanup);
    } else {
        cleanup_later(cleanup);
    }
}

static void cleanup_send(struct dlk_cleanup *cleanup, void (*done)(struct dlk_call *call))
{
    cleanup->call.rank = DLK_RANK_RELEASE;
    cleanup->call.context = cleanup;
    cleanup->call.done = done;
    dlk_keeper_call(&cleanup->call);
}

static void cleanup_remove(struct dlk_cleanup *cleanup)
{
    release_compose(cleanup->store, &cleanup->call, cleanup->key, cleanup->tenure, &cleanup->known,
                    cleanup->keep_record);
    cleanup_send(cleanup, cleanup_removed);
}

static void cleanup_looked(struct dlk_call *call)
{
    struct dlk_cleanup *cleanup = call->context;
    dynalock_kv *seen = NULL;
    int code = call->code;
    if (code == 0) {
        code = dlk_json_item(call->exchange.answer.data, call->exchange.answer.length, &seen, NULL);
    }
    bool found = code == 0 && dlk_cleanup_find(cleanup, seen);
    dynalock_kv_free(seen);
    if (found) {
        cleanup_remove(cleanup);
    } else if (code == 0 && cleanup->unsure == 0) {
        cleanup_done(cleanup);
    } else {
        cleanup_later(cleanup);
    }
}

static void cleanup_read(struct dlk_cleanup *cleanup)
{
    dlk_request_get(cleanup->store, &cleanup->call, cleanup->key, true, false);
    cleanup_send(cleanup, cleanup_looked);
}

/* The try that was under way when its acquisition was cancelled has been answered, or has failed. */
static void cleanup_answered(struct dlk_call *call)
{
    struct dlk_cleanup *cleanup = call->context;
    bool won = call->write && call->code == 0;
    cleanup->unsure += call->write && call->unanswered ? 1 : 0;
    if (won) {
        cleanup->known = cleanup->asked;
    }
    if (won || dlk_cleanup_find(cleanup, call->service.item)) {
        cleanup_remove(cleanup);
    } else if (call->code == DLK_CONDITION_FAILED && !dlk_call_shows_record(call)) {
        cleanup_read(cleanup); /* delivered twice, it may have been refused for its own record */
    } else if (cleanup->unsure == 0) {
        cleanup_done(cleanup);
    } else {
        cleanup_later(cleanup);
    }
}

static void cleanup_take_over(struct dlk_cleanup *cleanup)
{
    cleanup->call.context = cleanup;
    cleanup->call.done = cleanup_answered;
    cleanup->call.max_attempts = cleanup->call.attempt; /* nobody wants it any more */
}

static void cleanup_fire(struct dlk_timer *timer)
{
    struct dlk_cleanup *cleanup = DLK_OF(struct dlk_cleanup, timer, timer);
    if (cleanup->call.exchange.lane != NULL) {
        cleanup_take_over(cleanup);
        dlk_keeper_adopt(&cleanup->call);
    } else if (cleanup->known.version != 0) {
        cleanup_remove(cleanup);
    } else {
        cleanup_read(cleanup);
    }
}

void dlk_cleanup_start(struct dlk_cleanup *cleanup)
{
    dynalock_store *store = cleanup->store;
    cleanup->next = store->cleanups;
    cleanup->previous = NULL;
    if (store->cleanups != NULL) {
        store->cleanups->previous = cleanup;
    }
    store->cleanups = cleanup;
    cleanup->timer.fire = cleanup_fire;
    if (cleanup->call.under_way) { /* on the keeper, which tells when it has ended */
        cleanup_take_over(cleanup);
    } else {
        dlk_keeper_schedule(store, &cleanup->timer, dlk_store_boot_us(store));
    }
}

void dlk_lock_release_later(dynalock_lock *lock)
{
    bool due = lock->state == DYNALOCK_LOCK_HELD || lock->state == DYNALOCK_LOCK_RELEASING;
    struct dlk_cleanup *cleanup = due ? dlk_cleanup_new(lock) : NULL;
    if (cleanup != NULL) {
        cleanup->known = lock->lease;
        dlk_cleanup_start(cleanup);
    }
}

void dlk_cleanups_drop(dynalock_store *store)
{
    while (store->cleanups != NULL) {
        struct dlk_cleanup *cleanup = store->cleanups;
        store->cleanups = cleanup->next;
        dlk_cleanup_free(cleanup);
    }
}

unsigned dlk_cleanups_pending(dynalock_store *store)
{
    unsigned count = 0;
    (void)pthread_mutex_lock(&store->mutex);
    for (const struct dlk_cleanup *cleanup = store->cleanups; cleanup != NULL;
         cleanup = cleanup->next) {
        count++;
    }
    (void)pthread_mutex_unlock(&store->mutex);
    return count;
}
