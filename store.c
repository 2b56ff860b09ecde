/* SPDX-License-Identifier: Apache-2.0 */
/* What every call on a store needs: entering and leaving it, waiting for it, counting, and its end. */
#include "internal.h"

#include <stdlib.h>
#include <time.h>

int64_t dlk_store_boot_us(const dynalock_store *store)
{
    return store->clock.boot_us(store->clock.context);
}

/* A thread that is cancelled amid a call would leave a mutex locked, or the store in use. */
static _Thread_local unsigned store_calls; /* that this thread is in, one within another */
static _Thread_local int store_cancelstate;

void dlk_cancel_later(void)
{
    if (store_calls++ == 0) {
        (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &store_cancelstate);
    }
}

void dlk_cancel_as_before(void)
{
    int now;
    if (--store_calls == 0) {
        (void)pthread_setcancelstate(store_cancelstate, &now);
    }
}

int dlk_enter(dynalock_store *store, dynalock_error *error)
{
    if (store == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_ARGUMENT, "there is no store");
    }
    if (store->generation != dlk_fork_generation()) {
        return dlk_fail(error, DYNALOCK_ERR_FORKED,
                        "the store was opened before a fork; open one in the child");
    }
    (void)pthread_mutex_lock(&store->mutex);
    bool closing = store->closing;
    if (!closing) {
        store->users++;
    }
    (void)pthread_mutex_unlock(&store->mutex);
    if (closing) {
        return dlk_fail(error, DYNALOCK_ERR_CLOSED, "the store is closed, or being closed");
    }
    dlk_cancel_later();
    return 0;
}

void dlk_leave(dynalock_store *store)
{
    dlk_cancel_as_before();
    if (store->generation != dlk_fork_generation()) {
        return; /* a callback has forked: the mutex may be held by a thread that is not here */
    }
    (void)pthread_mutex_lock(&store->mutex);
    store->users--;
    if (store->users == 0 && store->closing) {
        (void)pthread_cond_broadcast(&store->changed);
    }
    (void)pthread_mutex_unlock(&store->mutex);
}

void dlk_store_unref(dynalock_store *store)
{
    (void)pthread_mutex_lock(&store->mutex);
    store->references--;
    bool last = store->references == 0;
    (void)pthread_mutex_unlock(&store->mutex);
    if (last) {
        dlk_store_free(store);
    }
}

bool dlk_wait_changed(dynalock_store *store, int64_t until_us)
{
    int64_t left = until_us - dlk_store_boot_us(store);
    struct timespec when;
    if (left <= 0) {
        return false;
    }
#ifndef __APPLE__
    (void)clock_gettime(CLOCK_MONOTONIC, &when);
#else
    (void)clock_gettime(CLOCK_REALTIME, &when);
#endif
    when.tv_sec += (time_t)(left / 1000000);
    when.tv_nsec += (long)(left % 1000000) * 1000;
    if (when.tv_nsec >= 1000000000) {
        when.tv_sec++;
        when.tv_nsec -= 1000000000;
    }
    (void)pthread_cond_timedwait(&store->changed, &store->mutex, &when);
    return true;
}

void dlk_store_free(dynalock_store *store)
{
    dlk_transport_free(store->transport);
    dlk_sigv4_signer_free(store->signer);
    dlk_wake_close(&store->closed);
    dlk_refresh_free(&store->refresh);
    dlk_config_free(&store->config);
    dlk_log_free(&store->log);
    (void)pthread_cond_destroy(&store->changed);
    (void)pthread_mutex_destroy(&store->mutex);
    (void)pthread_mutex_destroy(&store->client_mutex);
    (void)pthread_mutex_destroy(&store->refresh.mutex);
    free(store->table);
    free(store->partition);
    free(store);
}

void dlk_count(dynalock_store *store, enum dlk_counter counter)
{
    atomic_fetch_add_explicit(&store->counters[counter], 1, memory_order_relaxed);
}

int dlk_check_reserved(const int64_t *reserved, size_t count, dynalock_error *error)
{
    for (size_t i = 0; i < count; i++) {
        if (reserved[i] != 0) {
            return dlk_fail(
                error, DYNALOCK_ERR_ARGUMENT,
                "a reserved member of the options is not 0: initialise the structure with {0}");
        }
    }
    return 0;
}
