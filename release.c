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
        dlk_nonce_make(nonce, tenure, RELEASE_NUMBER, lease->version + 1);
        dlk_request_keep(store, call, key, &base, nonce);
    } else {
        dlk_request_delete_exactly(store, call, key, &base);
    }
    call->exempt = true;
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

/* ---- By the caller ---- */

/* Without the mutex: sends the release of *lease; 0: the record is not this tenure's any more;
 * *removed: by us. */
static int release_send(dynalock_lock *lock, struct dlk_call *call, struct dlk_lease *lease,
                        bool *removed)
{
    int64_t limit_ms = lock->ttl_ms > RELEASE_MIN_MS ? lock->ttl_ms : RELEASE_MIN_MS;
    limit_ms = limit_ms < lock->store->timeout_ms ? limit_ms : lock->store->timeout_ms;
    int64_t deadline_us = dlk_lock_now(lock) + limit_ms * 1000;
    for (int round = 0;; round++) {
        dynalock_kv *seen = NULL;
        bool unreadable = false;
        release_compose(lock->store, call, lock->key, lock->tenure, lease,
                        lock->options.keep_record);
        call->deadline_us = deadline_us;
        int code = dlk_call_complete(call);
        *removed = code == 0;
        if (code != DLK_CONDITION_FAILED) {
            return code;
        }
        code = dlk_lock_seen(lock, call, &seen, &unreadable);
        /* A renewal whose answer was lost has made it a later version: once more, at that one. */
        bool again = code == 0 && round == 0 && release_find(seen, lock->tenure, lease);
        *removed = seen != NULL && dlk_record_of(seen, lock->tenure) && release_is_tombstone(seen);
        dynalock_kv_free(seen);
        if (!again) {
            return code;
        }
    }
}

/* With the mutex held: what of the lock's state allows a release. 1: it was lost, and there may be
 * something to remove. */
static int release_check(dynalock_lock *lock, dynalock_error *error)
{
    dlk_lock_judge(lock);
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

/* Without the mutex: the release of a lock that release_check let pass. */
static int release_run(dynalock_lock *lock, bool was_lost, struct dlk_lease lease,
                       int64_t valid_until_us, dynalock_error *error)
{
    struct dlk_call call;
    bool removed = false;
    dlk_call_init(lock->store, &call, "DeleteItem", lock->key);
    int code = release_send(lock, &call, &lease, &removed);
    bool in_time = dlk_lock_now(lock) < valid_until_us;
    (void)pthread_mutex_lock(&lock->store->mutex);
    lock->state = code == 0 ? DYNALOCK_LOCK_IDLE : DYNALOCK_LOCK_RELEASING;
    lock->lease = lease;
    dlk_lock_note(lock, code, code != 0 ? call.error.message : "");
    int cause = lock->cause;
    (void)pthread_mutex_unlock(&lock->store->mutex);
    if (code != 0) {
        dlk_lock_log(lock, DYNALOCK_EVENT_RELEASE_FAILED, code, call.error.message);
        (void)dlk_call_fail(&call, code, error);
    } else if (was_lost) {
        code = dlk_fail(error, DYNALOCK_ERR_LOST, "the lock was lost before it was released: %s",
                        dynalock_cause_name(cause));
    } else if (!removed && !in_time) {
        code = dlk_fail(error, DYNALOCK_ERR_LOST,
                        "the lock was released too late to say whether it was lost before");
    } else {
        dlk_count(lock->store, DLK_RELEASED);
        dlk_lock_log(lock, DYNALOCK_EVENT_RELEASED, 0, "");
    }
    dlk_call_free(&call);
    return code;
}

int dynalock_lock_release(dynalock_lock *lock, dynalock_error *error)
{
    int code = dlk_lock_enter(lock, error);
    if (code != 0) {
        return code;
    }
    code = release_check(lock, error);
    if (code < 0) {
        (void)pthread_mutex_unlock(&lock->store->mutex);
        dlk_lock_leave(lock);
        return code;
    }
    /* From here on this tenure never counts as held again: the delete may arrive late, whatever
     * comes back. */
    lock->state = DYNALOCK_LOCK_RELEASING;
    lock->was_lost = lock->was_lost || code == 1;
    int64_t valid_until_us = lock->valid_until_us;
    dlk_lock_disarm(lock);
    dlk_lock_await_renewal(lock, dlk_lock_now(lock) + lock->store->attempt_timeout_ms * 1000);
    struct dlk_lease lease = lock->lease;
    (void)pthread_mutex_unlock(&lock->store->mutex);
    code = release_run(lock, lock->was_lost, lease, valid_until_us, error);
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

/* What the record shows of this tenure becomes known, and one open outcome less. */
static bool cleanup_find(struct dlk_cleanup *cleanup, const dynalock_kv *seen)
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
    cleanup->known.version = 0;
    if (refused && !dlk_call_shows_record(call)) {
        cleanup_read(cleanup);
    } else if (refused && cleanup_find(cleanup, call->service.item)) {
        cleanup_remove(cleanup); /* a renewal whose answer was lost has made it a later version */
    } else if (settled && cleanup->unsure == 0) {
        cleanup_done(cleanup);
    } else {
        cleanup_later(cleanup);
    }
}

static void cleanup_send(struct dlk_cleanup *cleanup, void (*done)(struct dlk_call *call))
{
    cleanup->call.exempt = true;
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
    bool found = code == 0 && cleanup_find(cleanup, seen);
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
    if (won || cleanup_find(cleanup, call->service.item)) {
        cleanup_remove(cleanup);
    } else if (call->code == DLK_CONDITION_FAILED && !dlk_call_shows_record(call)) {
        cleanup_read(cleanup); /* delivered twice, it may have been refused for its own record */
    } else if (cleanup->unsure == 0) {
        cleanup_done(cleanup);
    } else {
        cleanup_later(cleanup);
    }
}

static void cleanup_fire(struct dlk_timer *timer)
{
    struct dlk_cleanup *cleanup =
        (struct dlk_cleanup *)(void *)((char *)timer - offsetof(struct dlk_cleanup, timer));
    if (cleanup->call.exchange.lane != NULL) {
        cleanup->call.context = cleanup;
        cleanup->call.done = cleanup_answered;
        cleanup->call.max_attempts = cleanup->call.attempt; /* nobody wants it any more */
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
    dlk_keeper_schedule(store, &cleanup->timer, dlk_store_boot_us(cleanup->store));
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
