/* SPDX-License-Identifier: Apache-2.0 */
/* For event loops: operations that the keeper does while nobody waits, and the events that tell of
 * them. Each lock has room for its own: one operation's end, and one loss after it. */
#include "lock.h"

#include <stdlib.h>
#include <string.h>

#define STARTED_LOOK_US (INT64_C(20) * 1000)

/* ---- The queue. With the mutex held. ---- */

/* While something is under way its end comes first: an acquisition may be lost before it is told. */
static bool event_waits(const dynalock_lock *lock)
{
    return lock->started != NULL ? lock->started->ended : lock->loss_untold;
}

static void event_enqueue(dynalock_lock *lock)
{
    struct dlk_events *events = &lock->store->events;
    if (lock->freed || lock->event_queued || !event_waits(lock)) {
        return;
    }
    if (lock->event_wake != NULL) {
        dlk_wake_up(lock->event_wake);
        return;
    }
    lock->event_queued = true;
    lock->event_next = NULL;
    lock->event_previous = events->last;
    *(events->last != NULL ? &events->last->event_next : &events->first) = lock;
    events->last = lock;
    if (events->first == lock && events->open) {
        dlk_wake_up(&events->wake);
    }
}

static void event_dequeue(dynalock_lock *lock)
{
    struct dlk_events *events = &lock->store->events;
    if (lock->event_wake != NULL) {
        dlk_wake_drain(lock->event_wake);
    }
    if (!lock->event_queued) {
        return;
    }
    lock->event_queued = false;
    *(lock->event_previous != NULL ? &lock->event_previous->event_next : &events->first) =
        lock->event_next;
    *(lock->event_next != NULL ? &lock->event_next->event_previous : &events->last) =
        lock->event_previous;
    if (events->first == NULL && events->open) {
        dlk_wake_drain(&events->wake);
    }
}

void dlk_events_loss(dynalock_lock *lock)
{
    lock->loss_untold = true;
    lock->loss_cause = lock->cause;
    lock->loss_token = lock->token;
    event_enqueue(lock);
}

void dlk_events_forget(dynalock_lock *lock)
{
    lock->loss_untold = false;
    if (!event_waits(lock)) {
        event_dequeue(lock);
    }
}

/* The first thing there is to tell of this lock. What was started is the caller's to free. */
static struct dlk_started *event_take(dynalock_lock *lock, dynalock_lock_event *event)
{
    struct dlk_started *told = NULL;
    *event = (dynalock_lock_event){.lock = lock, .context = lock->options.context};
    if (lock->started != NULL) {
        told = lock->started;
        lock->started = NULL;
        event->kind = told->kind;
        event->code = told->code;
        event->token = lock->token;
        event->cause = told->code == DYNALOCK_ERR_LOST ? lock->cause : (int)DYNALOCK_CAUSE_NONE;
        event->error = told->error;
    } else {
        lock->loss_untold = false;
        event->kind = DYNALOCK_LOCK_EVENT_LOST;
        event->code = DYNALOCK_ERR_LOST;
        event->token = lock->loss_token;
        event->cause = lock->loss_cause;
        (void)dlk_fail(&event->error, DYNALOCK_ERR_LOST, "the lock is lost: %s",
                       dynalock_cause_name(event->cause));
    }
    if (!event_waits(lock)) {
        event_dequeue(lock);
    }
    return told;
}

static void event_tell(dynalock_store *store, dynalock_lock *lock, dynalock_lock_event *event)
{
    struct dlk_started *told = NULL;
    if (lock != NULL && event_waits(lock)) {
        told = event_take(lock, event);
    } else {
        *event = (dynalock_lock_event){.kind = DYNALOCK_LOCK_EVENT_NONE};
    }
    (void)pthread_mutex_unlock(&store->mutex);
    if (told != NULL) {
        told->free(told);
    }
    dlk_leave(store);
}

int dynalock_next_event(dynalock_store *store, dynalock_lock_event *event, dynalock_error *error)
{
    if (event == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_ARGUMENT, "there is no place for the answer");
    }
    int code = dlk_enter(store, error);
    if (code == 0) {
        (void)pthread_mutex_lock(&store->mutex);
        event_tell(store, store->events.first, event);
    }
    return code;
}

int dynalock_lock_next_event(dynalock_lock *lock, dynalock_lock_event *event, dynalock_error *error)
{
    if (event == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_ARGUMENT, "there is no place for the answer");
    }
    int code = dlk_lock_look(lock, error);
    if (code == 0) {
        event_tell(lock->store, lock, event);
    }
    return code;
}

/* ---- Descriptors ---- */

int dynalock_event_fd(dynalock_store *store, int *fd, dynalock_error *error)
{
    if (fd == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_ARGUMENT, "there is no place for the answer");
    }
    int code = dlk_enter(store, error);
    if (code != 0) {
        return code;
    }
    struct dlk_events *events = &store->events;
    (void)pthread_mutex_lock(&store->mutex);
    if (!events->open && dlk_wake_open(&events->wake) != 0) {
        code = dlk_fail(error, DYNALOCK_ERR_SYSTEM, "no descriptor could be made");
    } else {
        if (!events->open && events->first != NULL) {
            dlk_wake_up(&events->wake);
        }
        events->open = true;
        *fd = events->wake.read_fd;
    }
    (void)pthread_mutex_unlock(&store->mutex);
    dlk_leave(store);
    return code;
}

/* With the mutex held: this lock's events go their own way from here on. */
static int event_part(dynalock_lock *lock, dynalock_error *error)
{
    struct dlk_wake *wake = malloc(sizeof *wake);
    if (wake == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    if (dlk_wake_open(wake) != 0) {
        free(wake);
        return dlk_fail(error, DYNALOCK_ERR_SYSTEM, "no descriptor could be made");
    }
    event_dequeue(lock);
    lock->event_wake = wake;
    if (event_waits(lock)) {
        dlk_wake_up(wake);
    }
    return 0;
}

int dynalock_lock_event_fd(dynalock_lock *lock, int *fd, dynalock_error *error)
{
    if (fd == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_ARGUMENT, "there is no place for the answer");
    }
    int code = dlk_lock_look(lock, error);
    if (code != 0) {
        return code;
    }
    if (lock->event_wake == NULL) {
        code = event_part(lock, error);
    }
    if (code == 0) {
        *fd = lock->event_wake->read_fd;
    }
    dlk_lock_looked(lock);
    return code;
}

/* ---- What was started ---- */

void dlk_started_begin(struct dlk_started *started)
{
    dynalock_lock *lock = started->lock;
    dynalock_store *store = lock->store;
    int64_t now_us = dlk_lock_now(lock);
    started->patience_us = now_us + store->attempt_timeout_ms * 1000;
    lock->started = started;
    store->started++;
    dlk_lock_ref(lock);
    dlk_keeper_schedule(store, &started->timer, now_us);
}

void dlk_started_end(struct dlk_started *started, int code, const dynalock_error *error)
{
    dynalock_lock *lock = started->lock;
    dynalock_store *store = lock->store;
    (void)pthread_mutex_lock(&store->mutex);
    started->code = code;
    started->error = code != 0 ? *error : (dynalock_error){0};
    started->ended = true;
    (void)dlk_keeper_forget(store, &started->timer);
    bool forget = lock->freed;
    if (forget) {
        lock->started = NULL;
        if (started->forgotten != NULL) {
            started->forgotten(started);
        }
    } else {
        event_enqueue(lock);
    }
    store->started--;
    (void)pthread_cond_broadcast(&store->changed);
    (void)pthread_mutex_unlock(&store->mutex);
    if (forget) {
        started->free(started);
    }
    dlk_lock_unref(lock);
}

int dlk_started_go(struct dlk_started *started)
{
    dynalock_store *store = started->lock->store;
    (void)pthread_mutex_lock(&store->mutex);
    int stop = started->stop;
    (void)dlk_keeper_forget(store, &started->timer);
    (void)pthread_mutex_unlock(&store->mutex);
    return stop;
}

void dlk_started_resume(struct dlk_started *started, int64_t due_us)
{
    dynalock_store *store = started->lock->store;
    (void)pthread_mutex_lock(&store->mutex);
    dlk_keeper_schedule(store, &started->timer,
                        started->stop == 0 ? due_us : dlk_store_boot_us(store));
    (void)pthread_mutex_unlock(&store->mutex);
}

bool dlk_started_awaits_renewal(struct dlk_started *started)
{
    dynalock_lock *lock = started->lock;
    (void)pthread_mutex_lock(&lock->store->mutex);
    int64_t now_us = dlk_lock_now(lock);
    bool await = lock->renewing && now_us < started->patience_us && started->stop == 0;
    (void)pthread_mutex_unlock(&lock->store->mutex);
    if (await) {
        dlk_started_resume(started, now_us + STARTED_LOOK_US);
    }
    return await;
}

void dlk_started_stop(dynalock_lock *lock, int code)
{
    struct dlk_started *started = lock->started;
    if (started != NULL && !started->ended && started->stop == 0 &&
        started->kind == DYNALOCK_LOCK_EVENT_ACQUIRE) {
        started->stop = code;
        dlk_keeper_schedule(lock->store, &started->timer, dlk_lock_now(lock));
    }
}

/* ---- Freeing ---- */

void dlk_events_free(dynalock_lock *lock)
{
    event_dequeue(lock);
    lock->loss_untold = false;
    dlk_started_stop(lock, DYNALOCK_ERR_CANCELLED);
}

void dlk_events_close(dynalock_store *store)
{
    if (store->events.open) {
        dlk_wake_close(&store->events.wake);
        store->events.open = false;
    }
}
