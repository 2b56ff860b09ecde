/* SPDX-License-Identifier: Apache-2.0 */
/* The lock object: its making and freeing, its state, its deadline, and who is told that it is
 * lost. */
#include "lock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOCK_TTL_MS 20000
#define LOCK_POLL_MS 3000
#define LOCK_TAKEOVER_MS 1000
#define LOCK_GO_TAKEOVER_MS 3000
#define LOCK_GO_LEASE_MS 20000
#define LOCK_MARGIN_MS 250
#define LOCK_TIME_MAX_MS (INT64_C(365) * 86400 * 1000)
#define LOCK_GRAINS 200
#define LOCK_GRAIN_MAX_US (INT64_C(100) * 1000)
#define LOCK_ITEM_MAX ((size_t)1024)
#define LOCK_ITEM_MAX_LARGE ((size_t)400 * 1024)
#define LOCK_HOLDER_MAX 512

int64_t dlk_lock_now(const dynalock_lock *lock)
{
    return dlk_store_boot_us(lock->store);
}

/* ---- References ---- */

void dlk_lock_ref(dynalock_lock *lock)
{
    lock->references++;
}

static void lock_free_memory(dynalock_lock *lock)
{
    dlk_renewal_free(lock->under_way);
    if (lock->started != NULL) {
        lock->started->free(lock->started);
    }
    dlk_buffer_free(&lock->value);
    if (lock->lost_open) {
        dlk_wake_close(&lock->lost);
    }
    if (lock->event_wake != NULL) {
        dlk_wake_close(lock->event_wake);
        free(lock->event_wake);
    }
    free(lock->holder);
    free(lock->key);
    free(lock);
}

static void lock_unlink(dynalock_lock *lock)
{
    dynalock_store *store = lock->store;
    if (lock->previous != NULL) {
        lock->previous->next = lock->next;
    } else {
        store->locks = lock->next;
    }
    if (lock->next != NULL) {
        lock->next->previous = lock->previous;
    }
    store->lock_count--;
}

void dlk_lock_unref(dynalock_lock *lock)
{
    dynalock_store *store = lock->store;
    (void)pthread_mutex_lock(&store->mutex);
    bool last = --lock->references == 0;
    if (last) {
        lock_unlink(lock);
    }
    (void)pthread_mutex_unlock(&store->mutex);
    if (last) {
        lock_free_memory(lock);
        dlk_store_unref(store);
    }
}

/* ---- Timers. One that is to come holds a reference. ---- */

/* A little earlier than in a third of the lease: those of many locks fall together, and go out in one turn
 * of the keeper. */
int64_t dlk_lock_renewal_due(const dynalock_lock *lock, int64_t asked_us)
{
    int64_t due_us = asked_us + lock->ttl_ms * 1000 / 3;
    int64_t grain_us = lock->ttl_ms * 1000 / LOCK_GRAINS;
    grain_us = grain_us < LOCK_GRAIN_MAX_US ? grain_us : LOCK_GRAIN_MAX_US;
    return due_us - due_us % grain_us;
}

void dlk_lock_arm_renewal(dynalock_lock *lock, int64_t due_us)
{
    if (lock->options.renewal == DYNALOCK_RENEWAL_KEEPER) {
        lock->references += lock->renewal.queued ? 0 : 1;
        dlk_keeper_schedule(lock->store, &lock->renewal, due_us);
    }
}

void dlk_lock_disarm(dynalock_lock *lock)
{
    lock->references -= dlk_keeper_forget(lock->store, &lock->renewal) ? 1 : 0;
    lock->references -= dlk_watch_forget(lock->store, &lock->deadline) ? 1 : 0;
}

void dlk_lock_set_end(dynalock_lock *lock, int64_t valid_until_us)
{
    lock->valid_until_us = valid_until_us;
    lock->references += lock->deadline.queued ? 0 : 1;
    dlk_watch_schedule(lock->store, &lock->deadline, valid_until_us);
}

static void lock_deadline_fire(struct dlk_timer *timer)
{
    dynalock_lock *lock = DLK_OF(dynalock_lock, deadline, timer);
    (void)pthread_mutex_lock(&lock->store->mutex);
    dlk_lock_judge(lock);
    (void)pthread_mutex_unlock(&lock->store->mutex);
    dlk_lock_unref(lock);
}

/* ---- The lease ---- */

int64_t dlk_lock_margin_us(const dynalock_lock *lock, int64_t ttl_ms)
{
    int64_t margin = lock->options.margin_ms;
    if (margin == 0) {
        margin = ttl_ms / 1000 > LOCK_MARGIN_MS ? ttl_ms / 1000 : LOCK_MARGIN_MS;
    }
    return margin * 1000;
}

int64_t dlk_lease_end(const dynalock_lock *lock, const struct dlk_lease *lease,
                      const struct dlk_exchange *granted_by)
{
    int64_t end = lease->asked_us + lease->ttl_ms * 1000 - dlk_lock_margin_us(lock, lease->ttl_ms);
    if (granted_by->has_date) {
        /* Server time was below Date + 1 s when this was sent. Only this notices that a guest stood
         * still without its clock noticing, before the lease was asked for. */
        int64_t by_date =
            granted_by->sent_us + (lease->expires - granted_by->date_s - 1) * DLK_SECOND;
        end = by_date < end ? by_date : end;
    }
    return end;
}

void dlk_lock_number(dynalock_lock *lock, struct dlk_lease *lease, const struct dlk_now *now)
{
    unsigned since_token = lock->was_held ? (unsigned)(lease->version - lock->token) : 0;
    dlk_nonce_make(lease->nonce, lock->tenure, ++lock->writes, since_token, lease->version);
    lease->ttl_ms = lock->ttl_ms;
    lease->asked_us = now->boot_us;
    /* The ttl in whole seconds, so that the end by Date (above) is never the earlier of the two for
     * want of a fraction. */
    lease->expires = dlk_seconds_up(now->lease_us + (lock->ttl_ms + 999) / 1000 * DLK_SECOND);
}

static void lock_owe(dynalock_lock *lock)
{
    dynalock_store *store = lock->store;
    lock->owed_cause = lock->cause;
    lock->owed_token = lock->token;
    if (!lock->owed) {
        lock->owed = true;
        lock->references++;
        lock->owed_next = NULL;
        dynalock_lock **last = &store->owed;
        while (*last != NULL) {
            last = &(*last)->owed_next;
        }
        *last = lock;
    }
    dlk_wake_up(&store->watch_wake);
}

void dlk_lock_lose(dynalock_lock *lock, int cause)
{
    if (lock->state != DYNALOCK_LOCK_HELD) {
        return;
    }
    lock->state = DYNALOCK_LOCK_LOST;
    lock->cause = cause;
    dlk_lock_disarm(lock);
    if (lock->lost_open) {
        dlk_wake_up(&lock->lost);
    }
    dlk_count(lock->store, DLK_LOST);
    lock_owe(lock);
    dlk_events_loss(lock);
}

void dlk_lock_judge(dynalock_lock *lock)
{
    if (lock->state == DYNALOCK_LOCK_HELD && dlk_lock_now(lock) >= lock->valid_until_us) {
        int cause = lock->trouble;
        if (cause == DYNALOCK_CAUSE_NONE) {
            cause = lock->renewing ? DYNALOCK_CAUSE_UNREACHABLE : DYNALOCK_CAUSE_EXPIRED;
        }
        dlk_lock_lose(lock, cause);
    }
}

void dlk_lock_note(dynalock_lock *lock, int code, const char *message)
{
    lock->last_code = code;
    dlk_copy_text(lock->last_error, sizeof lock->last_error, message);
}

void dlk_lock_log(dynalock_lock *lock, int id, int code, const char *message)
{
    (void)pthread_mutex_lock(&lock->store->mutex);
    int64_t left =
        lock->state == DYNALOCK_LOCK_HELD ? lock->valid_until_us - dlk_lock_now(lock) : 0;
    dynalock_event event = {.id = id,
                            .code = code,
                            .cause = id == DYNALOCK_EVENT_LOST ? lock->owed_cause : lock->trouble,
                            .token = id == DYNALOCK_EVENT_LOST ? lock->owed_token : lock->token,
                            .remaining_ms = left > 0 ? left / 1000 : 0,
                            .key = lock->key,
                            .message = message};
    (void)pthread_mutex_unlock(&lock->store->mutex);
    dlk_log(lock->store, &event);
}

/* Server time has jumped against the boot clock: this host, or its guest, stood still unnoticed. */
static void lock_on_jump(dynalock_store *store, int64_t sent_us, int64_t date_s)
{
    (void)pthread_mutex_lock(&store->mutex);
    for (dynalock_lock *lock = store->locks; lock != NULL; lock = lock->next) {
        int64_t end = lock->state == DYNALOCK_LOCK_HELD
                          ? sent_us + (lock->lease.expires - date_s - 1) * DLK_SECOND
                          : INT64_MAX;
        if (end < lock->valid_until_us) {
            lock->trouble = DYNALOCK_CAUSE_CLOCK;
            dlk_lock_set_end(lock, end);
            dlk_lock_judge(lock);
        }
    }
    (void)pthread_mutex_unlock(&store->mutex);
}

/* One lock whose loss is to be told, on the watch. */
static bool lock_tell(dynalock_store *store)
{
    (void)pthread_mutex_lock(&store->mutex);
    dynalock_lock *lock = store->owed;
    if (lock == NULL) {
        (void)pthread_mutex_unlock(&store->mutex);
        return false;
    }
    store->owed = lock->owed_next;
    lock->owed = false;
    lock->telling = !lock->freed;
    int cause = lock->owed_cause;
    bool tell = lock->telling;
    (void)pthread_mutex_unlock(&store->mutex);
    if (tell) {
        dlk_lock_log(lock, DYNALOCK_EVENT_LOST, DYNALOCK_ERR_LOST, dynalock_cause_name(cause));
        if (lock->options.on_lost != NULL) {
            dlk_callback_begin();
            lock->options.on_lost(lock, cause, lock->options.context);
            dlk_callback_end();
        }
    }
    (void)pthread_mutex_lock(&store->mutex);
    lock->telling = false;
    (void)pthread_cond_broadcast(&store->changed);
    (void)pthread_mutex_unlock(&store->mutex);
    dlk_lock_unref(lock);
    return true;
}

void dlk_locks_init(dynalock_store *store)
{
    store->jumped = lock_on_jump;
    store->tell = lock_tell;
}

/* ---- Making and freeing ---- */

/* "host pid start-time": the time is that of the first lock of the process, close enough to tell two pids
 * apart. */
static char *lock_default_holder(void)
{
    char host[128] = "";
    char text[224];
    char when[DLK_SIGV4_TIMESTAMP_SIZE] = "";
    static atomic_llong started;
    long long none = 0;
    (void)atomic_compare_exchange_strong(&started, &none, (long long)time(NULL));
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0') {
        (void)snprintf(host, sizeof host, "unknown");
    }
    (void)dlk_sigv4_format_time((int64_t)atomic_load(&started), when);
    (void)snprintf(text, sizeof text, "%s %ld %s", host, (long)getpid(), when);
    return strdup(text);
}

static void lock_default_ms(int64_t *value, int64_t by_default)
{
    if (*value == 0) {
        *value = by_default;
    }
}

static int lock_check_options(dynalock_lock *lock, dynalock_error *error)
{
    dynalock_lock_options *options = &lock->options;
    const int64_t given[] = {options->ttl_ms,
                             options->poll_ms,
                             options->margin_ms,
                             options->takeover_delay_ms,
                             options->go_takeover_delay_ms,
                             options->go_lease_ms};
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        if (given[i] < 0 || given[i] > LOCK_TIME_MAX_MS) {
            return dlk_fail(error, DYNALOCK_ERR_ARGUMENT,
                            "a time in the lock's options is negative or over a year");
        }
    }
    lock_default_ms(&options->ttl_ms, LOCK_TTL_MS);
    lock_default_ms(&options->poll_ms, LOCK_POLL_MS);
    lock_default_ms(&options->takeover_delay_ms, LOCK_TAKEOVER_MS);
    lock_default_ms(&options->go_takeover_delay_ms, LOCK_GO_TAKEOVER_MS);
    lock_default_ms(&options->go_lease_ms, LOCK_GO_LEASE_MS);
    if (options->ttl_ms * 1000 <= 2 * dlk_lock_margin_us(lock, options->ttl_ms)) {
        return dlk_fail(error, DYNALOCK_ERR_ARGUMENT,
                        "ttl_ms is not more than twice the margin of %" PRId64 " ms",
                        dlk_lock_margin_us(lock, options->ttl_ms) / 1000);
    }
    if (options->renewal != DYNALOCK_RENEWAL_KEEPER && options->renewal != DYNALOCK_RENEWAL_NONE) {
        return dlk_fail(error, DYNALOCK_ERR_ARGUMENT,
                        "renewal is not one of enum dynalock_renewal");
    }
    lock->ttl_ms = options->ttl_ms;
    return dlk_check_reserved(options->reserved,
                              sizeof options->reserved / sizeof *options->reserved, error);
}

static int lock_set_texts(dynalock_lock *lock, const char *key, dynalock_error *error)
{
    const char *holder = lock->options.holder;
    size_t size = 0;
    int code = dlk_check_text(key, 1, LOCK_ITEM_MAX, "key", error);
    if (code == 0 && holder != NULL) {
        code = dlk_check_text(holder, 1, LOCK_HOLDER_MAX, "holder", error);
    }
    if (code == 0) {
        code = dlk_compose_value(&lock->options.value, &lock->value, &size, error);
    }
    if (code != 0) {
        return code;
    }
    lock->key = strdup(key);
    lock->holder = holder != NULL ? strdup(holder) : lock_default_holder();
    if (lock->key == NULL || lock->holder == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    size_t max = lock->options.large_record ? LOCK_ITEM_MAX_LARGE : LOCK_ITEM_MAX;
    bool has_value = lock->options.value.kind != DYNALOCK_VALUE_NONE;
    if (dlk_record_size(lock->store->partition, key, lock->holder, size, has_value) > max) {
        return dlk_fail(
            error, DYNALOCK_ERR_TOO_LARGE,
            lock->options.large_record
                ? "the lock's record would exceed DynamoDB's limit of 400 KB"
                : "the lock's record would exceed 1 KB, and each poll would cost more: shorten its value or "
                  "holder, or set large_record");
    }
    return 0;
}

static void lock_link(dynalock_lock *lock)
{
    dynalock_store *store = lock->store;
    (void)pthread_mutex_lock(&store->mutex);
    lock->next = store->locks;
    if (store->locks != NULL) {
        store->locks->previous = lock;
    }
    store->locks = lock;
    store->lock_count++;
    store->references++;
    (void)pthread_mutex_unlock(&store->mutex);
}

int dynalock_lock_new(dynalock_store *store, const char *key, const dynalock_lock_options *options,
                      dynalock_lock **lock, dynalock_error *error)
{
    static const dynalock_lock_options defaults = {0};
    int code = dlk_enter(store, error);
    if (code != 0) {
        return code;
    }
    dynalock_lock *made = lock != NULL ? calloc(1, sizeof *made) : NULL;
    if (made == NULL) {
        dlk_leave(store);
        return lock != NULL
                   ? dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory")
                   : dlk_fail(error, DYNALOCK_ERR_ARGUMENT, "there is no place for the answer");
    }
    made->store = store;
    made->references = 1;
    made->options = options != NULL ? *options : defaults;
    made->deadline.fire = lock_deadline_fire;
    made->renewal.fire = dlk_renewal_fire;
    dlk_buffer_init(&made->value, LOCK_ITEM_MAX_LARGE * 8);
    code = lock_check_options(made, error);
    if (code == 0) {
        code = lock_set_texts(made, key, error);
    }
    if (code == 0) {
        lock_link(made);
        *lock = made;
    } else {
        lock_free_memory(made);
    }
    dlk_leave(store);
    return code;
}

/* In a child of fork there is one thread, and the mutexes may be held by others that are not here. */
static void lock_free_in_child(dynalock_lock *lock)
{
    dynalock_store *store = lock->store;
    lock_unlink(lock);
    lock_free_memory(lock);
    if (store->abandoned) {
        dlk_locks_abandon(store);
    }
}

void dlk_locks_abandon(dynalock_store *store)
{
    dynalock_lock *next = NULL;
    dlk_renewals_drop(store);
    for (dynalock_lock *lock = store->locks; lock != NULL && !store->abandoned; lock = next) {
        next = lock->next;
        if (lock->freed) { /* the keeper's reference was its last */
            lock_unlink(lock);
            lock_free_memory(lock);
        }
    }
    store->abandoned = true;
    if (store->locks == NULL) {
        free(store);
    }
}

/* With the mutex held: by what was started. */
static bool lock_is_being_released(const dynalock_lock *lock)
{
    return lock->started != NULL && !lock->started->ended &&
           lock->started->kind == DYNALOCK_LOCK_EVENT_RELEASE;
}

void dynalock_lock_free(dynalock_lock *lock)
{
    if (lock == NULL) {
        return;
    }
    dynalock_store *store = lock->store;
    if (store->generation != dlk_fork_generation()) {
        lock_free_in_child(lock);
        return;
    }
    dlk_cancel_later();
    (void)pthread_mutex_lock(&store->mutex);
    lock->freed = true;
    bool is_watch = store->running && pthread_equal(pthread_self(), store->watch_thread) != 0;
    while (lock->telling && !is_watch) {
        (void)pthread_cond_wait(&store->changed, &store->mutex);
    }
    dlk_lock_judge(lock);
    bool releasing = lock_is_being_released(lock);
    if (!store->closing && !releasing) {
        dlk_lock_release_later(lock);
    }
    lock->state = releasing ? DYNALOCK_LOCK_RELEASING : DYNALOCK_LOCK_IDLE;
    dlk_lock_disarm(lock);
    dlk_events_free(lock);
    (void)pthread_mutex_unlock(&store->mutex);
    dlk_lock_unref(lock);
    dlk_cancel_as_before();
}

/* ---- Closing the store ---- */

void dlk_locks_close(dynalock_store *store, int64_t until_us)
{
    (void)pthread_mutex_lock(&store->mutex);
    for (dynalock_lock *lock = store->locks; lock != NULL; lock = lock->next) {
        dlk_started_stop(lock, DYNALOCK_ERR_CLOSED);
        if (!lock_is_being_released(lock)) {
            dlk_lock_release_later(lock);
        }
        dlk_lock_lose(lock, DYNALOCK_CAUSE_CLOSED);
    }
    while ((store->cleanups != NULL || store->started > 0) && dlk_wait_changed(store, until_us)) {
    }
    (void)pthread_mutex_unlock(&store->mutex);
}

/* With the mutex held: drops the references of what will not happen any more. */
static void lock_stop(dynalock_lock *lock)
{
    bool starting = lock->started != NULL && !lock->started->ended;
    dlk_lock_disarm(lock);
    lock->references -= (lock->under_way != NULL ? 1U : 0U) + (lock->owed ? 1U : 0U) +
                        (lock->renewal_turn.queued ? 1U : 0U) + (starting ? 1U : 0U);
    lock->renewing = lock->owed = lock->renewal_turn.queued = false;
    if (starting) {
        (void)dlk_keeper_forget(lock->store, &lock->started->timer);
        lock->started->ended = true;
    }
    if (lock->event_wake != NULL) {
        dlk_wake_up(lock->event_wake);
    }
}

/* The threads have ended: nobody else is here, but for dynalock_lock_free in other threads. */
void dlk_locks_closed(dynalock_store *store)
{
    (void)pthread_mutex_lock(&store->mutex);
    for (dynalock_lock *lock = store->locks; lock != NULL; lock = lock->next) {
        lock_stop(lock);
    }
    /* Of what is freed from here on nothing may stand in the heaps. */
    while (dlk_timers_pop(&store->keeper_timers, INT64_MAX) != NULL) {
    }
    (void)pthread_mutex_unlock(&store->mutex);
    dlk_cleanups_drop(store);
    dlk_renewals_drop(store);
    (void)pthread_mutex_lock(&store->mutex);
    dynalock_lock *next = NULL;
    for (dynalock_lock *lock = store->locks; lock != NULL; lock = next) {
        next = lock->next;
        dlk_renewal_free(lock->under_way);
        lock->under_way = NULL;
        if (lock->references == 0) {
            lock_unlink(lock);
            lock_free_memory(lock);
            store->references--; /* not the last: dynalock_close has its own */
        }
    }
    store->owed = NULL;
    dlk_events_close(store);
    (void)pthread_mutex_unlock(&store->mutex);
}

/* ---- Calls on the object ---- */

/* Not in a child of fork, not after dynalock_close. With 0 the mutex is held. */
static int lock_begin(dynalock_lock *lock, dynalock_error *error)
{
    if (lock == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_ARGUMENT, "there is no lock");
    }
    int code = dlk_enter(lock->store, error);
    if (code == 0) {
        (void)pthread_mutex_lock(&lock->store->mutex);
    }
    return code;
}

int dlk_lock_enter(dynalock_lock *lock, dynalock_error *error)
{
    int code = lock_begin(lock, error);
    if (code != 0) {
        return code;
    }
    if (lock->in_call || lock->started != NULL) {
        const char *why =
            lock->in_call          ? "another thread is acquiring, renewing or releasing this lock"
            : lock->started->ended ? "the event of what was started on this lock has not been taken"
                                   : "what was started on this lock is under way";
        (void)pthread_mutex_unlock(&lock->store->mutex);
        dlk_leave(lock->store);
        return dlk_fail(error, DYNALOCK_ERR_BUSY, "%s", why);
    }
    lock->in_call = true;
    return 0;
}

void dlk_lock_leave(dynalock_lock *lock)
{
    dynalock_store *store = lock->store;
    (void)pthread_mutex_lock(&store->mutex);
    lock->in_call = false;
    (void)pthread_mutex_unlock(&store->mutex);
    dlk_leave(store);
}

void dlk_lock_await_renewal(dynalock_lock *lock, int64_t until_us)
{
    while (lock->renewing && !lock->store->closing && dlk_wait_changed(lock->store, until_us)) {
    }
}

int dlk_lock_look(dynalock_lock *lock, dynalock_error *error)
{
    int code = lock_begin(lock, error);
    if (code == 0) {
        dlk_lock_judge(lock);
    }
    return code;
}

void dlk_lock_looked(dynalock_lock *lock)
{
    (void)pthread_mutex_unlock(&lock->store->mutex);
    dlk_leave(lock->store);
}

static int64_t lock_remaining_us(const dynalock_lock *lock)
{
    int64_t left =
        lock->state == DYNALOCK_LOCK_HELD ? lock->valid_until_us - dlk_lock_now(lock) : 0;
    return left > 0 ? left : 0;
}

int64_t dynalock_lock_remaining_ms(dynalock_lock *lock)
{
    if (dlk_lock_look(lock, NULL) != 0) {
        return 0;
    }
    int64_t left = lock_remaining_us(lock);
    dlk_lock_looked(lock);
    return left / 1000;
}

int dynalock_lock_ensure(dynalock_lock *lock, int64_t min_ms, dynalock_error *error)
{
    int code = dlk_lock_look(lock, error);
    if (code != 0) {
        return code;
    }
    int64_t left = lock_remaining_us(lock);
    int state = lock->state;
    int cause = lock->cause;
    dlk_lock_looked(lock);
    if (state == DYNALOCK_LOCK_LOST) {
        return dlk_fail(error, DYNALOCK_ERR_LOST, "the lock is lost: %s",
                        dynalock_cause_name(cause));
    }
    if (state != DYNALOCK_LOCK_HELD) {
        return dlk_fail(error, DYNALOCK_ERR_NOT_HELD, "the lock is not held");
    }
    if (left == 0 || left / 1000 < min_ms) {
        return dlk_fail(error, DYNALOCK_ERR_SHORT_LEASE, "%" PRId64 " ms are left of the lease",
                        left / 1000);
    }
    return 0;
}

/* What of the three a function below is asked for. */
static int64_t lock_get(dynalock_lock *lock, int what)
{
    int64_t value = 0;
    if (dlk_lock_look(lock, NULL) == 0) {
        value = what == 0 ? lock->token : what == 1 ? lock->state : lock->cause;
        dlk_lock_looked(lock);
    }
    return value;
}

int64_t dynalock_lock_token(dynalock_lock *lock)
{
    return lock_get(lock, 0);
}

int dynalock_lock_state(dynalock_lock *lock)
{
    return (int)lock_get(lock, 1);
}

int dynalock_lock_cause(dynalock_lock *lock)
{
    return (int)lock_get(lock, 2);
}

int dynalock_lock_lost_fd(dynalock_lock *lock, int *fd, dynalock_error *error)
{
    if (fd == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_ARGUMENT, "there is no place for the answer");
    }
    int code = dlk_lock_look(lock, error);
    if (code != 0) {
        return code;
    }
    if (!lock->lost_open && dlk_wake_open(&lock->lost) != 0) {
        code = dlk_fail(error, DYNALOCK_ERR_SYSTEM, "no descriptor could be made");
    } else {
        if (!lock->lost_open && lock->state == DYNALOCK_LOCK_LOST) {
            dlk_wake_up(&lock->lost);
        }
        lock->lost_open = true;
        *fd = lock->lost.read_fd;
    }
    dlk_lock_looked(lock);
    return code;
}

int dynalock_lock_holder(dynalock_lock *lock, dynalock_kv **kv, bool *mine, dynalock_error *error)
{
    dynalock_kv *found = NULL;
    if (kv == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_ARGUMENT, "there is no place for the answer");
    }
    int code = dlk_lock_look(lock, error);
    if (code != 0) {
        return code;
    }
    dlk_lock_looked(lock);
    code = dynalock_get(lock->store, lock->key, NULL, &found, error);
    if (code == 0) {
        (void)pthread_mutex_lock(&lock->store->mutex);
        bool is_mine = lock->state == DYNALOCK_LOCK_HELD && dlk_record_of(found, lock->tenure);
        (void)pthread_mutex_unlock(&lock->store->mutex);
        *kv = found;
        if (mine != NULL) {
            *mine = is_mine;
        }
    }
    return code;
}

/* ---- The snapshot ---- */

static void lock_fill_info(const dynalock_lock *lock, dynalock_lock_info *info, char *key)
{
    memcpy(key, lock->key, strlen(lock->key) + 1);
    *info = (dynalock_lock_info){
        .key = key,
        .state = lock->state,
        .cause = lock->cause,
        .token = lock->token,
        .ttl_ms = lock->ttl_ms,
        .remaining_ms = lock_remaining_us(lock) / 1000,
        .since_renewal_ms =
            lock->granted_us > 0 ? (dlk_lock_now(lock) - lock->granted_us) / 1000 : -1,
        .last_code = lock->last_code};
    memcpy(info->last_error, lock->last_error, sizeof info->last_error);
}

int dynalock_locks(dynalock_store *store, dynalock_lock_info **infos, size_t *count,
                   dynalock_error *error)
{
    if (infos == NULL || count == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_ARGUMENT, "there is no place for the answer");
    }
    int code = dlk_enter(store, error);
    if (code != 0) {
        return code;
    }
    size_t keys = 0;
    size_t used = 0;
    (void)pthread_mutex_lock(&store->mutex);
    for (const dynalock_lock *lock = store->locks; lock != NULL; lock = lock->next) {
        keys += strlen(lock->key) + 1;
    }
    /* The structures, and behind them the keys: one block, one free. */
    dynalock_lock_info *made = malloc((store->lock_count + 1) * sizeof *made + keys);
    if (made != NULL) {
        char *key = (char *)(made + store->lock_count + 1);
        for (dynalock_lock *lock = store->locks; lock != NULL; lock = lock->next) {
            if (!lock->freed) {
                dlk_lock_judge(lock);
                lock_fill_info(lock, &made[used++], key);
                key += strlen(key) + 1;
            }
        }
    }
    (void)pthread_mutex_unlock(&store->mutex);
    dlk_leave(store);
    if (made == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    *infos = made;
    *count = used;
    return 0;
}

void dynalock_locks_free(dynalock_lock_info *infos)
{
    free(infos);
}
