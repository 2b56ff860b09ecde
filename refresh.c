/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which credentials requests are signed with. Newer ones are fetched ahead of the expiry of those
 * there are, one fetch at a time, on a thread that lives for as long as the fetch: never on the
 * keeper's, and nobody waits who has credentials that are good.
 */
#include "providers.h"

#include <stdlib.h>

#define REFRESH_SECOND INT64_C(1000000)
#define REFRESH_EARLIEST_S 600 /* before expiry, at random between these */
#define REFRESH_LATEST_S 300
#define REFRESH_AGAIN_S 60 /* after a failure, while those there are can be used */
#define REFRESH_FETCH_MS 20000
#define REFRESH_LOOK_MS 20 /* where no descriptor is left to be woken by */

struct refresh_waiter {
    struct dlk_wake wake;
    struct refresh_waiter *next;
};

static int64_t refresh_real_s(dynalock_store *store)
{
    struct dlk_now now;
    dlk_store_now(store, &now);
    return dlk_seconds_down(now.real_us);
}

/* With the mutex held: whether requests can be signed with what there is. */
static bool refresh_usable(const struct dlk_refresh *refresh, int64_t real_s)
{
    const struct dlk_credentials *set = refresh->current;
    return set != NULL && (set->expires_s == 0 || real_s < set->expires_s || set->stable) &&
           !(refresh->refused && refresh->fetching);
}

/* When to fetch next: early enough to fail a few times, and not in step with the rest of the fleet.
 * What lives for a short time only is fetched in the last half of it. */
static int64_t refresh_lead_s(int64_t left_s)
{
    int64_t spread = REFRESH_EARLIEST_S - REFRESH_LATEST_S;
    int64_t lead = REFRESH_LATEST_S + (int64_t)dlk_random_below((uint64_t)spread);
    return lead < left_s / 2 ? lead : left_s / 2;
}

static int64_t refresh_next_us(const struct dlk_credentials *set, int64_t boot_us, int64_t real_s)
{
    if (set->expires_s == 0) {
        return INT64_MAX;
    }
    int64_t left_s = set->expires_s - real_s;
    if (left_s <= 0) { /* good on account of its stability alone */
        return boot_us + REFRESH_AGAIN_S * REFRESH_SECOND;
    }
    return boot_us + (left_s - refresh_lead_s(left_s)) * REFRESH_SECOND;
}

/* With the mutex held. */
static int64_t refresh_again_us(const struct dlk_refresh *refresh, int64_t boot_us, int64_t real_s)
{
    int64_t wait_s = 1;
    if (refresh_usable(refresh, real_s)) {
        int64_t left_s = refresh->current->expires_s - real_s;
        wait_s = refresh->current->stable ? REFRESH_AGAIN_S : left_s / 10;
        wait_s = wait_s < REFRESH_AGAIN_S ? wait_s : REFRESH_AGAIN_S;
        wait_s = wait_s > 1 ? wait_s : 1;
    }
    return boot_us + wait_s * REFRESH_SECOND;
}

/* Takes what a fetch has brought, or that it has failed. */
static void refresh_publish(dynalock_store *store, struct dlk_credentials *made,
                            const dynalock_error *error)
{
    struct dlk_refresh *refresh = &store->refresh;
    struct dlk_credentials *old = NULL;
    int64_t real_s = refresh_real_s(store);
    int64_t boot_us = dlk_store_boot_us(store);
    (void)pthread_mutex_lock(&refresh->mutex);
    refresh->fetching = false;
    refresh->fetches++;
    refresh->retry_at_us = boot_us + REFRESH_SECOND;
    if (made != NULL) {
        old = refresh->current;
        refresh->current = made;
        refresh->serial++;
        refresh->refused = false;
        refresh->error = (dynalock_error){0};
        refresh->fetch_at_us = refresh_next_us(made, boot_us, real_s);
    } else {
        refresh->error = *error;
        refresh->fetch_at_us = refresh_again_us(refresh, boot_us, real_s);
    }
    for (struct refresh_waiter *waiter = refresh->waiters; waiter != NULL; waiter = waiter->next) {
        dlk_wake_up(&waiter->wake);
    }
    (void)pthread_mutex_unlock(&refresh->mutex);
    dlk_credentials_unref(old);
}

static void *refresh_main(void *context)
{
    dynalock_store *store = context;
    struct dlk_credentials *made = NULL;
    dynalock_error error;
    const struct dlk_fetch how = {.now_s = refresh_real_s(store),
                                  .timeout_ms = REFRESH_FETCH_MS,
                                  .cancelled = &store->refresh.cancelled,
                                  .signer = store->signer,
                                  .ca_file = store->config.ca_file};
    int code = dlk_chain_fetch(store->refresh.chain, &how, &made, &error);
    if (code == DYNALOCK_ERR_CREDENTIALS && (error.flags & DYNALOCK_ERROR_RETRYABLE) != 0) {
        error.code = code = DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE;
    }
    if (code == 0) {
        dlk_copy_text(error.message, sizeof error.message, made->source);
    }
    (void)pthread_mutex_lock(&store->refresh.mutex);
    bool has_before = store->refresh.has_before;
    pthread_t before = store->refresh.before;
    (void)pthread_mutex_unlock(&store->refresh.mutex);
    refresh_publish(store, code == 0 ? made : NULL, &error);
    /* The callback may block, and so may what others do at a thread's end: nobody waits for either but
     * dynalock_close, which waits for the last thread, and that for the one before it. */
    dlk_log(store, &(dynalock_event){
                       .id = DYNALOCK_EVENT_CREDENTIALS, .code = code, .message = error.message});
    if (has_before) {
        (void)pthread_join(before, NULL);
    }
    return NULL;
}

/* With the mutex held: begins a fetch, if it is time for one. Where the host's clock was set, what there
 * is may end before it was thought to. */
static void refresh_begin(dynalock_store *store, int64_t real_s)
{
    struct dlk_refresh *refresh = &store->refresh;
    int64_t due_us = refresh->fetch_at_us;
    if (!refresh_usable(refresh, real_s) && refresh->retry_at_us < due_us) {
        due_us = refresh->retry_at_us;
    }
    if (refresh->fetching || atomic_load(&refresh->cancelled) ||
        dlk_store_boot_us(store) < due_us) {
        return;
    }
    pthread_t last = refresh->thread;
    refresh->before = last;
    refresh->has_before = refresh->joinable;
    if (dlk_thread_start(&refresh->thread, refresh_main, store) == 0) {
        refresh->joinable = refresh->fetching = true;
        return;
    }
    refresh->thread = last;
    refresh->fetch_at_us = refresh->retry_at_us = dlk_store_boot_us(store) + REFRESH_SECOND;
    (void)dlk_fail(&refresh->error, DYNALOCK_ERR_SYSTEM,
                   "no thread could be started to fetch credentials");
}

int dlk_refresh_open(dynalock_store *store, dynalock_error *error)
{
    struct dlk_refresh *refresh = &store->refresh;
    if (!dlk_chain_is_fixed(refresh->chain)) {
        return 0; /* fetched when first needed */
    }
    const struct dlk_fetch how = {.cancelled = &refresh->cancelled};
    int code = dlk_chain_fetch(refresh->chain, &how, &refresh->current, error);
    if (code == 0) {
        refresh->serial = 1;
        refresh->fetch_at_us = INT64_MAX;
    }
    return code;
}

int dlk_refresh_take(dynalock_store *store, struct dlk_credentials **set, uint64_t *serial,
                     dynalock_error *error)
{
    struct dlk_refresh *refresh = &store->refresh;
    int64_t real_s = refresh_real_s(store);
    int code = 0;
    (void)pthread_mutex_lock(&refresh->mutex);
    refresh_begin(store, real_s);
    if (refresh_usable(refresh, real_s)) {
        *set = dlk_credentials_ref(refresh->current);
        *serial = refresh->serial;
    } else if (refresh->fetching || refresh->error.code == 0) {
        code = dlk_fail(error, DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE,
                        "credentials are being fetched, and are not there yet");
    } else {
        code = refresh->error.code;
        if (error != NULL) {
            *error = refresh->error;
        }
    }
    (void)pthread_mutex_unlock(&refresh->mutex);
    return code;
}

bool dlk_refresh_is_coming(dynalock_store *store)
{
    struct dlk_refresh *refresh = &store->refresh;
    int64_t real_s = refresh_real_s(store);
    (void)pthread_mutex_lock(&refresh->mutex);
    refresh_begin(store, real_s);
    bool coming = refresh->fetching && !refresh_usable(refresh, real_s);
    (void)pthread_mutex_unlock(&refresh->mutex);
    return coming;
}

/* With the mutex held. */
static void refresh_forget(struct dlk_refresh *refresh, const struct refresh_waiter *waiter)
{
    struct refresh_waiter **at = &refresh->waiters;
    while (*at != waiter) {
        at = &(*at)->next;
    }
    *at = waiter->next;
}

int dlk_refresh_await(dynalock_store *store, const int *stops, size_t count, int64_t until_us)
{
    struct dlk_refresh *refresh = &store->refresh;
    struct refresh_waiter waiter = {.wake.read_fd = -1, .wake.write_fd = -1};
    int stopped = -1;
    if (store->generation != dlk_fork_generation()) { /* a callback of this call has forked */
        return -1;
    }
    int64_t real_s = refresh_real_s(store);
    (void)pthread_mutex_lock(&refresh->mutex);
    refresh_begin(store, real_s);
    bool wait = !refresh_usable(refresh, real_s) && refresh->fetching &&
                /* what is fetched by a callback that calls us does not come */
                pthread_equal(pthread_self(), refresh->thread) == 0;
    uint64_t fetches = refresh->fetches;
    if (wait) {
        (void)dlk_wake_open(&waiter.wake);
        waiter.next = refresh->waiters;
        refresh->waiters = &waiter;
    }
    while (wait && stopped < 0 && refresh->fetches == fetches) {
        int fds[3] = {-1, -1, waiter.wake.read_fd};
        int64_t left_ms = (until_us - dlk_store_boot_us(store)) / 1000;
        for (size_t i = 0; i < count && i < 2; i++) {
            fds[i] = stops[i];
        }
        if (left_ms <= 0) {
            break;
        }
        (void)pthread_mutex_unlock(&refresh->mutex);
        if (waiter.wake.read_fd < 0 || !dlk_wake_works(&waiter.wake)) {
            fds[2] = -1;
            left_ms = REFRESH_LOOK_MS;
        }
        stopped = dlk_wait_readable(fds, 3, left_ms);
        stopped = stopped < (int)count ? stopped : -1;
        (void)pthread_mutex_lock(&refresh->mutex);
    }
    if (wait) {
        refresh_forget(refresh, &waiter);
    }
    (void)pthread_mutex_unlock(&refresh->mutex);
    dlk_wake_close(&waiter.wake);
    return stopped;
}

bool dlk_refresh_refuse(dynalock_store *store, uint64_t serial)
{
    struct dlk_refresh *refresh = &store->refresh;
    if (store->generation != dlk_fork_generation()) {
        return false;
    }
    (void)pthread_mutex_lock(&refresh->mutex);
    int64_t boot_us = dlk_store_boot_us(store);
    bool newer = refresh->serial != serial;
    bool may = newer;
    if (!newer && !dlk_chain_is_fixed(refresh->chain)) {
        if (!refresh->refused && boot_us >= refresh->force_at_us) {
            refresh->refused = true;
            refresh->fetch_at_us = 0;
            refresh->force_at_us = boot_us + REFRESH_SECOND;
        }
        may = refresh->refused && (refresh->fetching || boot_us >= refresh->fetch_at_us);
    }
    (void)pthread_mutex_unlock(&refresh->mutex);
    return may;
}

void dlk_refresh_close(dynalock_store *store)
{
    struct dlk_refresh *refresh = &store->refresh;
    atomic_store(&refresh->cancelled, true);
    (void)pthread_mutex_lock(&refresh->mutex);
    bool joinable = refresh->joinable;
    refresh->joinable = false;
    (void)pthread_mutex_unlock(&refresh->mutex);
    if (joinable) {
        (void)pthread_join(refresh->thread, NULL);
    }
    dlk_refresh_free(refresh); /* a lock may keep the store for long */
}

void dlk_refresh_free(struct dlk_refresh *refresh)
{
    dlk_credentials_unref(refresh->current);
    dlk_chain_free(refresh->chain);
    refresh->current = NULL;
    refresh->chain = NULL;
}

void dlk_refresh_abandon(struct dlk_refresh *refresh)
{
    /* Else a thread that is not here may have been in the middle of using it. */
    if (!refresh->joinable) {
        dlk_refresh_free(refresh);
    }
}
