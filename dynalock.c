/* SPDX-License-Identifier: Apache-2.0 */
/* The store: opening and closing it, the calls in progress, what it counts. */
#include "providers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <time.h>

#define STORE_PARTITION_MAX 2048
#define STORE_REGION_MS 5000

/* ---- Opening ---- */

static int store_check_options(const dynalock_options *options, dynalock_error *error)
{
    const int64_t times[] = {options->timeout_ms, options->attempt_timeout_ms,
                             options->connect_timeout_ms, options->close_timeout_ms};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        if (times[i] < 0 || times[i] > 86400000) {
            return dlk_fail(error, DYNALOCK_ERR_ARGUMENT,
                            "a timeout is not within 0 to 86,400,000 ms");
        }
    }
    if (options->max_attempts < 0 || options->max_attempts > 100 || options->max_connections < 0 ||
        options->max_connections > 10000) {
        return dlk_fail(error, DYNALOCK_ERR_ARGUMENT,
                        "max_attempts or max_connections is out of range");
    }
    if ((options->flags & ~(uint64_t)DYNALOCK_NO_CURL_INIT) != 0) {
        return dlk_fail(error, DYNALOCK_ERR_ARGUMENT, "flags has a bit that is none of dynalock's");
    }
    return dlk_check_reserved(options->reserved,
                              sizeof options->reserved / sizeof *options->reserved, error);
}

static void store_set(dynalock_store *store, const dynalock_options *options)
{
    store->clock = dlk_system_clock();
    store->timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : 30000;
    store->attempt_timeout_ms =
        options->attempt_timeout_ms > 0 ? options->attempt_timeout_ms : 5000;
    store->close_timeout_ms = options->close_timeout_ms > 0 ? options->close_timeout_ms : 5000;
    store->max_attempts = options->max_attempts > 0 ? options->max_attempts : 4;
    store->max_connections = options->max_connections > 0 ? options->max_connections : 32;
    store->generation = dlk_fork_generation();
    store->budget = DLK_RETRY_BUDGET;
    store->references = 1;
    dlk_locks_init(store);
}

static int store_init_mutexes(dynalock_store *store)
{
    pthread_condattr_t attributes;
    bool done = pthread_condattr_init(&attributes) == 0 &&
#ifndef __APPLE__
                pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
#endif
                pthread_mutex_init(&store->client_mutex, NULL) == 0 &&
                pthread_mutex_init(&store->mutex, NULL) == 0 &&
                pthread_mutex_init(&store->refresh.mutex, NULL) == 0 &&
                pthread_cond_init(&store->changed, &attributes) == 0;
    (void)pthread_condattr_destroy(&attributes);
    return done ? 0 : DYNALOCK_ERR_SYSTEM;
}

/* The region of the instance, where nothing else names one. */
static int store_ask_region(dynalock_store *store, const struct dlk_profiles *profiles,
                            dynalock_error *error)
{
    char region[DLK_REGION_SIZE];
    const struct dlk_fetch how = {.timeout_ms = STORE_REGION_MS};
    dynalock_error why = {0};
    int code = dlk_imds_region(&how, profiles, store->config.profile, region, sizeof region, &why);
    if (code != 0) {
        dlk_config_free(&store->config);
        return dlk_fail(error, code,
                        "no region: set AWS_REGION, or the option; instance metadata: %.300s",
                        why.message);
    }
    return dlk_config_set_region(&store->config, profiles, region, error);
}

static int store_configure(dynalock_store *store, const dynalock_options *options,
                           const struct dlk_profiles *profiles, dynalock_error *error)
{
    int code = dlk_config_read(&store->config, options, profiles, error);
    if (code == 0 && store->config.lacks_region) {
        code = store_ask_region(store, profiles, error);
    }
    if (code == 0 && options->max_attempts == 0 && store->config.max_attempts > 0) {
        store->max_attempts = store->config.max_attempts;
    }
    if (code == 0 && store->config.ca_file != NULL && access(store->config.ca_file, R_OK) != 0) {
        code =
            dlk_fail(error, DYNALOCK_ERR_CONFIG,
                     "the file of certificates \"%.300s\" cannot be read", store->config.ca_file);
    }
    if (code == 0) {
        code = dlk_chain_new(&store->refresh.chain, options, &store->config, profiles,
                             store->config.profile, error);
    }
    return code == 0 ? dlk_refresh_open(store, error) : code;
}

static int store_make_signer(dynalock_store *store, dynalock_error *error)
{
    int failed = dlk_sigv4_signer_new(&store->signer);
    if (failed != 0) {
        return dlk_fail(
            error, failed == DLK_SIGV4_ENOMEM ? DYNALOCK_ERR_MEMORY : DYNALOCK_ERR_SYSTEM,
            "the signer could not be made: OpenSSL has no SHA-256 or HMAC, or no memory is left");
    }
    return 0;
}

/* What can fail, in an order that store_free undoes. */
static int store_make(dynalock_store *store, const char *table, const char *partition,
                      const dynalock_options *options, dynalock_error *error)
{
    struct dlk_profiles *profiles = NULL;
    store->closed.read_fd = store->closed.write_fd = -1;
    if (store_init_mutexes(store) != 0 ||
        dlk_log_init(&store->log, options->log, options->log_context) != 0) {
        return dlk_fail(error, DYNALOCK_ERR_SYSTEM, "no mutex could be made");
    }
    store->table = strdup(table);
    store->partition = strdup(partition);
    if (store->table == NULL || store->partition == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    if (dlk_wake_open(&store->closed) != 0) {
        return dlk_fail(error, DYNALOCK_ERR_SYSTEM, "no descriptor could be made");
    }
    int code = (options->flags & DYNALOCK_NO_CURL_INIT) == 0 ? dlk_curl_init(error) : 0;
    if (code == 0) {
        code = store_make_signer(store, error);
    }
    if (code == 0) {
        code = dlk_profiles_read(&profiles, error);
    }
    if (code == 0) {
        code = store_configure(store, options, profiles, error);
        dlk_profiles_free(profiles);
    }
    if (code != 0) {
        return code;
    }
    (void)snprintf(store->host_line, sizeof store->host_line, "Host: %s", store->config.host);
    struct dlk_transport_settings settings = {
        store->config.url, store->config.ca_file,
        options->connect_timeout_ms > 0 ? options->connect_timeout_ms : 3000, &store->clock};
    return dlk_transport_new(&settings, &store->transport, error);
}

int dynalock_open(const char *table, const char *partition, const dynalock_options *options,
                  dynalock_store **store, dynalock_error *error)
{
    static const dynalock_options defaults = {0};
    options = options != NULL ? options : &defaults;
    if (store == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_ARGUMENT, "there is no place for the answer");
    }
    int code = dlk_check_text(table, 1, 1024, "table", error);
    if (code == 0) {
        code = dlk_check_text(partition, 1, STORE_PARTITION_MAX, "partition", error);
    }
    if (code == 0) {
        code = store_check_options(options, error);
    }
    if (code != 0) {
        return code;
    }
    dynalock_store *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    store_set(made, options);
    dlk_cancel_later();
    code = store_make(made, table, partition, options, error);
    if (code != 0) {
        dlk_store_free(made);
    } else {
        *store = made;
    }
    dlk_cancel_as_before();
    return code;
}

/* ---- Calls in progress, and closing ---- */

/* In a child of fork: the mutexes may be held by threads that are not here, and the connections are
 * the parent's. */
static void store_abandon(dynalock_store *store)
{
    dlk_keeper_abandon(store);
    dlk_transport_abandon(store->transport);
    dlk_wake_close(&store->closed);
    dlk_events_close(store);
    dlk_sigv4_signer_free(store->signer);
    dlk_refresh_abandon(&store->refresh);
    dlk_config_free(&store->config);
    free(store->table);
    free(store->partition);
    dlk_log_drop(&store->log);
    dlk_cleanups_drop(store);
    dlk_locks_abandon(store);
}

int dynalock_close(dynalock_store *store)
{
    if (store == NULL) {
        return 0;
    }
    if (store->generation != dlk_fork_generation()) {
        store_abandon(store);
        return 0;
    }
    if (dlk_in_callback()) {
        return DYNALOCK_ERR_BUSY;
    }
    dlk_cancel_later();
    int64_t until_us = dlk_store_boot_us(store) + store->close_timeout_ms * 1000;
    (void)pthread_mutex_lock(&store->mutex);
    store->closing = true;
    (void)pthread_cond_broadcast(&store->changed);
    dlk_wake_up(&store->closed);
    while (store->users > 0) {
        (void)pthread_cond_wait(&store->changed, &store->mutex);
    }
    (void)pthread_mutex_unlock(&store->mutex);
    dlk_locks_close(store, until_us);
    dlk_keeper_stop(store);
    dlk_locks_closed(store);
    dlk_refresh_close(store);
    dlk_sigv4_signer_free(store->signer); /* with its keys, though a lock may keep the store */
    store->signer = NULL;
    dlk_store_unref(store);
    dlk_cancel_as_before();
    return 0;
}

/* ---- Counters ---- */

int dynalock_store_counters(dynalock_store *store, dynalock_counters *counters)
{
    uint64_t values[DLK_COUNTERS];
    int code = counters == NULL ? DYNALOCK_ERR_ARGUMENT : dlk_enter(store, NULL);
    if (code != 0) {
        return code;
    }
    for (int i = 0; i < DLK_COUNTERS; i++) {
        values[i] = atomic_load_explicit(&store->counters[i], memory_order_relaxed);
    }
    (void)pthread_mutex_lock(&store->client_mutex);
    uint64_t conflicts = store->servertime.conflicts;
    (void)pthread_mutex_unlock(&store->client_mutex);
    *counters = (dynalock_counters){.operations = values[DLK_OPERATIONS],
                                    .attempts = values[DLK_ATTEMPTS],
                                    .retries = values[DLK_RETRIES],
                                    .throttled = values[DLK_THROTTLED],
                                    .unanswered = values[DLK_UNANSWERED],
                                    .connections = values[DLK_CONNECTIONS],
                                    .acquired = values[DLK_ACQUIRED],
                                    .taken_over = values[DLK_TAKEN_OVER],
                                    .adopted = values[DLK_ADOPTED],
                                    .released = values[DLK_RELEASED],
                                    .renewed = values[DLK_RENEWED],
                                    .renewals_failed = values[DLK_RENEWALS_FAILED],
                                    .lost = values[DLK_LOST],
                                    .cleanups = dlk_cleanups_pending(store),
                                    .clock_conflicts = conflicts,
                                    .events_dropped = dlk_log_dropped(&store->log)};
    dlk_leave(store);
    return 0;
}

/* ---- What it has settled on ---- */

int dynalock_store_describe(dynalock_store *store, dynalock_store_info *info, dynalock_error *error)
{
    int code = info == NULL
                   ? dlk_fail(error, DYNALOCK_ERR_ARGUMENT, "there is no place for the answer")
                   : dlk_enter(store, error);
    if (code != 0) {
        return code;
    }
    struct dlk_now now;
    dlk_store_now(store, &now);
    int64_t real_us = store->clock.real_us(store->clock.context);
    *info = (dynalock_store_info){.region = store->config.region,
                                  .endpoint = store->config.url,
                                  .profile = store->config.profile,
                                  .credentials = dlk_chain_name(store->refresh.chain),
                                  .clock_known = now.known};
    if (now.known) {
        info->clock_ahead_min_ms = (real_us - now.upper_us) / 1000;
        info->clock_ahead_max_ms = (real_us - now.lower_us) / 1000;
    }
    dlk_leave(store);
    return 0;
}
