/* SPDX-License-Identifier: Apache-2.0 */
/* The log callback: called where a thing is done, but never on the keeper, whose events the watch
 * hands on. */
#include "internal.h"

#include <stdlib.h>

#define LOG_QUEUE_MAX 256

static _Thread_local unsigned log_depth;
static _Thread_local bool log_is_deferred;

bool dlk_in_callback(void)
{
    return log_depth > 0;
}

void dlk_callback_begin(void)
{
    log_depth++;
}

void dlk_callback_end(void)
{
    log_depth--;
}

void dlk_log_defer(void)
{
    log_is_deferred = true;
}

int dlk_log_init(struct dlk_log *log, dynalock_log_fn callback, void *context)
{
    log->callback = callback;
    log->context = context;
    log->last = &log->first;
    return pthread_mutex_init(&log->mutex, NULL) == 0 ? 0 : DYNALOCK_ERR_SYSTEM;
}

void dlk_log_drop(struct dlk_log *log)
{
    while (log->first != NULL) {
        struct dlk_event *next = log->first->next;
        free(log->first);
        log->first = next;
    }
}

void dlk_log_free(struct dlk_log *log)
{
    dlk_log_drop(log);
    (void)pthread_mutex_destroy(&log->mutex);
}

static const char *log_text(const char *text)
{
    return text != NULL ? text : "";
}

static void log_copy(struct dlk_event *to, const dynalock_event *event)
{
    dlk_copy_text(to->operation, sizeof to->operation, log_text(event->operation));
    dlk_copy_text(to->key, sizeof to->key, log_text(event->key));
    dlk_copy_text(to->request_id, sizeof to->request_id, log_text(event->request_id));
    dlk_copy_text(to->name, sizeof to->name, log_text(event->name));
    dlk_copy_text(to->message, sizeof to->message, log_text(event->message));
    to->event = *event;
    to->event.operation = to->operation;
    to->event.key = to->key;
    to->event.request_id = to->request_id;
    to->event.name = to->name;
    to->event.message = to->message;
    to->next = NULL;
}

static void log_call(const struct dlk_log *log, const dynalock_event *event)
{
    dlk_callback_begin();
    log->callback(event, log->context);
    dlk_callback_end();
}

static void log_queue(struct dlk_log *log, const dynalock_event *event)
{
    struct dlk_event *copy = malloc(sizeof *copy);
    if (copy != NULL) {
        log_copy(copy, event);
    }
    (void)pthread_mutex_lock(&log->mutex);
    bool queued = copy != NULL && log->queued < LOG_QUEUE_MAX;
    if (queued) {
        *log->last = copy;
        log->last = &copy->next;
        log->queued++;
    } else {
        log->dropped++;
    }
    (void)pthread_mutex_unlock(&log->mutex);
    if (!queued) {
        free(copy);
    }
}

void dlk_log(dynalock_store *store, const dynalock_event *event)
{
    struct dlk_log *log = &store->log;
    if (log->callback == NULL) {
        return;
    }
    if (log_is_deferred) {
        log_queue(log, event);
        dlk_wake_up(&store->watch_wake);
        return;
    }
    struct dlk_event copy;
    log_copy(&copy, event);
    log_call(log, &copy.event);
}

static struct dlk_event *log_next(struct dlk_log *log, uint64_t *dropped)
{
    (void)pthread_mutex_lock(&log->mutex);
    struct dlk_event *first = log->first;
    if (first != NULL) {
        log->first = first->next;
        log->queued--;
        if (log->first == NULL) {
            log->last = &log->first;
        }
    }
    *dropped = log->dropped - log->dropped_told;
    log->dropped_told = log->dropped;
    (void)pthread_mutex_unlock(&log->mutex);
    return first;
}

bool dlk_log_waits(struct dlk_log *log)
{
    (void)pthread_mutex_lock(&log->mutex);
    bool waits = log->first != NULL || log->dropped != log->dropped_told;
    (void)pthread_mutex_unlock(&log->mutex);
    return waits;
}

void dlk_log_hand_on(dynalock_store *store)
{
    struct dlk_log *log = &store->log;
    uint64_t dropped = 0;
    struct dlk_event *event = log_next(log, &dropped);
    if (dropped > 0) {
        struct dlk_event told;
        log_copy(&told, &(dynalock_event){.id = DYNALOCK_EVENT_DROPPED,
                                          .message = "the log callback is too slow"});
        log_call(log, &told.event);
    }
    if (event != NULL) {
        log_call(log, &event->event);
        free(event);
    }
}

uint64_t dlk_log_dropped(struct dlk_log *log)
{
    (void)pthread_mutex_lock(&log->mutex);
    uint64_t dropped = log->dropped;
    (void)pthread_mutex_unlock(&log->mutex);
    return dropped;
}
