/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two threads of a store. The keeper does I/O, many requests at a time, and runs no callback.
 * The watch does no I/O, which libcurl can make block for seconds (a hanging getaddrinfo), and so
 * is never late to judge a deadline.
 */
#include "internal.h"

#define KEEPER_WAIT_MAX_MS 60000
/* Between two looks at the deadlines while the watch is in a callback, or the host has closed what
 * wakes a thread up. */
#define KEEPER_JUDGE_MS 25
#define KEEPER_CREDENTIALS_US INT64_C(25000) /* between two looks for credentials that are coming */
#define KEEPER_SLICE_MS 250 /* where there is no clock that wakes up and counts suspended time */

/* With the mutex held: arms the alarm for the next timer; how long to wait at the most. A timer that was
 * forgotten does not change the alarm: it finds nothing to do, or something that is due later. */
static int64_t keeper_wait_ms(const dynalock_store *store, const struct dlk_timers *timers,
                              struct dlk_alarm *alarm)
{
    int64_t now_us = dlk_store_boot_us(store);
    int64_t due_us = INT64_MAX;
    (void)dlk_timers_next(timers, &due_us);
    if (due_us < alarm->due_us || alarm->due_us <= now_us) {
        alarm->due_us = due_us;
        dlk_alarm_set(alarm, due_us == INT64_MAX ? -1 : due_us > now_us ? due_us - now_us : 0);
    }
    int64_t most_ms = alarm->fd >= 0 ? KEEPER_WAIT_MAX_MS : KEEPER_SLICE_MS;
    if (alarm->due_us >= now_us + most_ms * 1000) {
        return most_ms;
    }
    return alarm->due_us > now_us ? (alarm->due_us - now_us) / 1000 + 1 : 1;
}

/* Fires what is due, with the mutex released meanwhile. */
static void keeper_fire(dynalock_store *store, struct dlk_timers *timers)
{
    struct dlk_timer *timer = NULL;
    while (!store->stopping && (timer = dlk_timers_pop(timers, dlk_store_boot_us(store))) != NULL) {
        (void)pthread_mutex_unlock(&store->mutex);
        timer->fire(timer);
        (void)pthread_mutex_lock(&store->mutex);
    }
}

/* Looked at now and then: it takes system calls. */
static bool keeper_can_be_woken(dynalock_store *store)
{
    int64_t now_us = dlk_store_boot_us(store);
    if (!store->keeper_is_deaf && now_us >= store->keeper_listens_us) {
        store->keeper_listens_us = now_us + INT64_C(1000) * KEEPER_JUDGE_MS;
        store->keeper_is_deaf =
            !dlk_loop_works(store->loop) || !dlk_alarm_works(&store->keeper_alarm);
    }
    return !store->keeper_is_deaf;
}

static void *keeper_main(void *context)
{
    dynalock_store *store = context;
    dlk_log_defer();
    (void)pthread_mutex_lock(&store->mutex);
    while (!store->stopping) {
        keeper_fire(store, &store->keeper_timers);
        if (store->watch_is_calling) {
            keeper_fire(store, &store->watch_timers);
        }
        int64_t wait = keeper_wait_ms(store, &store->keeper_timers, &store->keeper_alarm);
        if (store->watch_is_calling && wait > KEEPER_JUDGE_MS) {
            wait = KEEPER_JUDGE_MS;
        }
        (void)pthread_mutex_unlock(&store->mutex);
        dlk_loop_run(store->loop, store->keeper_alarm.fd, wait);
        if (!keeper_can_be_woken(store)) {
            (void)dlk_wait_readable(NULL, 0, KEEPER_JUDGE_MS);
        }
        (void)pthread_mutex_lock(&store->mutex);
    }
    (void)pthread_mutex_unlock(&store->mutex);
    return NULL;
}

/* Runs one callback that is owed; the keeper judges deadlines meanwhile, for it may block. */
static bool watch_call(dynalock_store *store)
{
    (void)pthread_mutex_lock(&store->mutex);
    bool calling = store->owed != NULL || dlk_log_waits(&store->log);
    store->watch_is_calling = calling;
    (void)pthread_mutex_unlock(&store->mutex);
    if (calling) {
        dlk_loop_wake(store->loop);
        if (!store->tell(store)) {
            dlk_log_hand_on(store);
        }
    }
    return calling;
}

/* Deadlines and lost descriptors first, then callbacks, and deadlines again after each. */
static void *watch_main(void *context)
{
    dynalock_store *store = context;
    bool stopping = false;
    while (!stopping) {
        (void)pthread_mutex_lock(&store->mutex);
        keeper_fire(store, &store->watch_timers);
        stopping = store->stopping;
        int64_t wait = keeper_wait_ms(store, &store->watch_timers, &store->watch_alarm);
        (void)pthread_mutex_unlock(&store->mutex);
        if (watch_call(store)) {
            stopping = false;
            continue;
        }
        const int fds[2] = {store->watch_wake.read_fd, store->watch_alarm.fd};
        if (!stopping && dlk_wait_readable(fds, 2, wait) == 0) {
            dlk_wake_drain(&store->watch_wake);
        }
        if (!dlk_wake_works(&store->watch_wake) || !dlk_alarm_works(&store->watch_alarm)) {
            (void)dlk_wait_readable(NULL, 0, KEEPER_JUDGE_MS);
        }
    }
    return NULL;
}

/* ---- Timers ---- */

void dlk_keeper_schedule(dynalock_store *store, struct dlk_timer *timer, int64_t due_us)
{
    dlk_timers_add(&store->keeper_timers, timer, due_us);
    if (store->running && due_us < store->keeper_alarm.due_us &&
        pthread_equal(pthread_self(), store->keeper_thread) == 0) {
        dlk_loop_wake(store->loop);
    }
}

bool dlk_keeper_forget(dynalock_store *store, struct dlk_timer *timer)
{
    bool queued = timer->queued;
    dlk_timers_remove(&store->keeper_timers, timer);
    return queued;
}

void dlk_watch_schedule(dynalock_store *store, struct dlk_timer *timer, int64_t due_us)
{
    dlk_timers_add(&store->watch_timers, timer, due_us);
    if (store->running && due_us < store->watch_alarm.due_us) {
        dlk_wake_up(&store->watch_wake);
    }
}

bool dlk_watch_forget(dynalock_store *store, struct dlk_timer *timer)
{
    bool queued = timer->queued;
    dlk_timers_remove(&store->watch_timers, timer);
    return queued;
}

/* ---- Turns ---- */

static void turns_unlink(struct dlk_turns *turns, struct dlk_turn *turn)
{
    *(turn->previous != NULL ? &turn->previous->next : &turns->first) = turn->next;
    *(turn->next != NULL ? &turn->next->previous : &turns->last) = turn->previous;
    turn->next = turn->previous = NULL;
    turn->queued = false;
}

/* Many that hang must not cost a lease; and a renewal does not wait for credentials, for it is to say that
 * there are none. */
static struct dlk_turn *turns_next(dynalock_store *store)
{
    int kept = store->max_connections / 8;
    kept = kept == 0 && store->max_connections > 1 ? 1 : kept;
    struct dlk_turn *turn = store->turns[DLK_RANK_RENEWAL].first;
    if (turn != NULL || store->sending >= store->max_connections - kept) {
        return turn;
    }
    for (int rank = DLK_RANK_RENEWAL - 1; rank >= DLK_RANK_ORDINARY && turn == NULL; rank--) {
        turn = store->turns[rank].first;
    }
    if (turn == NULL || !dlk_refresh_is_coming(store)) {
        return turn;
    }
    (void)pthread_mutex_lock(&store->mutex);
    dlk_keeper_schedule(store, &store->credentials_timer,
                        dlk_store_boot_us(store) + KEEPER_CREDENTIALS_US);
    (void)pthread_mutex_unlock(&store->mutex);
    return NULL;
}

static void turns_grant(dynalock_store *store)
{
    struct dlk_turn *turn = NULL;
    while (store->sending < store->max_connections && (turn = turns_next(store)) != NULL) {
        turns_unlink(&store->turns[turn->rank], turn);
        turn->go(turn);
    }
}

static void turns_look_again(struct dlk_timer *timer)
{
    turns_grant(DLK_OF(dynalock_store, credentials_timer, timer));
}

void dlk_keeper_turn(dynalock_store *store, struct dlk_turn *turn)
{
    struct dlk_turns *turns = &store->turns[turn->rank];
    turn->previous = turns->last;
    turn->next = NULL;
    *(turns->last != NULL ? &turns->last->next : &turns->first) = turn;
    turns->last = turn;
    turn->queued = true;
    turns_grant(store);
}

void dlk_keeper_leave_turn(dynalock_store *store, struct dlk_turn *turn)
{
    if (turn->queued) {
        turns_unlink(&store->turns[turn->rank], turn);
    }
}

/* ---- Calls ---- */

static void keeper_judge(struct dlk_call *call)
{
    dynalock_store *store = call->store;
    int64_t wait_ms = 0;
    if (dlk_call_judge(store, call, &wait_ms)) {
        call->done(call);
        return;
    }
    (void)pthread_mutex_lock(&store->mutex);
    dlk_keeper_schedule(store, &call->timer, dlk_store_boot_us(store) + wait_ms * 1000);
    (void)pthread_mutex_unlock(&store->mutex);
}

static void keeper_answered(struct dlk_exchange *exchange)
{
    struct dlk_call *call = exchange->context;
    dynalock_store *store = call->store;
    store->sending--;
    call->under_way = false;
    keeper_judge(call);
    turns_grant(store);
}

static void keeper_answered_adopted(struct dlk_exchange *exchange)
{
    keeper_judge(exchange->context);
}

static void keeper_send_in_turn(struct dlk_turn *turn)
{
    dlk_keeper_send(DLK_OF(struct dlk_call, turn, turn));
}

static void keeper_send_again(struct dlk_timer *timer)
{
    struct dlk_call *call = DLK_OF(struct dlk_call, timer, timer);
    dlk_keeper_turn(call->store, &call->turn);
}

static void keeper_own(struct dlk_call *call, void (*answered)(struct dlk_exchange *exchange))
{
    call->timer.fire = keeper_send_again;
    call->turn.go = keeper_send_in_turn;
    call->turn.rank = call->rank;
    call->exchange.done = answered;
    call->exchange.context = call;
}

void dlk_keeper_send(struct dlk_call *call)
{
    keeper_own(call, keeper_answered);
    if (dlk_call_begin(call->store, call)) {
        call->store->sending++;
        call->under_way = true;
        dlk_loop_start(call->store->loop, &call->exchange);
    } else {
        call->done(call);
    }
}

void dlk_keeper_call(struct dlk_call *call)
{
    keeper_own(call, keeper_answered);
    dlk_keeper_turn(call->store, &call->turn);
}

void dlk_keeper_cancel(struct dlk_call *call)
{
    dlk_keeper_leave_turn(call->store, &call->turn);
    (void)pthread_mutex_lock(&call->store->mutex);
    (void)dlk_keeper_forget(call->store, &call->timer);
    (void)pthread_mutex_unlock(&call->store->mutex);
}

void dlk_keeper_adopt(struct dlk_call *call)
{
    keeper_own(call, keeper_answered_adopted);
    dlk_loop_adopt(call->store->loop, &call->exchange);
}

/* ---- Starting and stopping ---- */

static void keeper_close(dynalock_store *store)
{
    dlk_alarm_close(&store->keeper_alarm);
    dlk_alarm_close(&store->watch_alarm);
    dlk_wake_close(&store->watch_wake);
    dlk_loop_free(store->loop);
    store->loop = NULL;
}

static int keeper_open(dynalock_store *store, dynalock_error *error)
{
    store->credentials_timer.fire = turns_look_again;
    store->keeper_alarm.fd = store->watch_alarm.fd = -1;
    store->keeper_alarm.due_us = store->watch_alarm.due_us = INT64_MAX;
    store->watch_wake.read_fd = store->watch_wake.write_fd = -1;
    int code = dlk_loop_new(store->transport, store->max_connections, &store->loop, error);
    if (code == 0 &&
        (dlk_alarm_open(&store->keeper_alarm) != 0 || dlk_alarm_open(&store->watch_alarm) != 0 ||
         dlk_wake_open(&store->watch_wake) != 0)) {
        code = dlk_fail(error, DYNALOCK_ERR_SYSTEM, "no descriptors for the keeper");
    }
    if (code != 0) {
        keeper_close(store);
    }
    return code;
}

static int keeper_start_threads(dynalock_store *store, dynalock_error *error)
{
    if (dlk_thread_start(&store->keeper_thread, keeper_main, store) != 0) {
        return dlk_fail(error, DYNALOCK_ERR_SYSTEM, "no thread for the keeper");
    }
    if (dlk_thread_start(&store->watch_thread, watch_main, store) == 0) {
        return 0;
    }
    store->stopping = true;
    (void)pthread_mutex_unlock(&store->mutex);
    dlk_loop_wake(store->loop);
    (void)pthread_join(store->keeper_thread, NULL);
    (void)pthread_mutex_lock(&store->mutex);
    store->stopping = false;
    return dlk_fail(error, DYNALOCK_ERR_SYSTEM, "no thread for the watch");
}

int dlk_keeper_start(dynalock_store *store, dynalock_error *error)
{
    int code = 0;
    (void)pthread_mutex_lock(&store->mutex);
    while (store->starting) {
        (void)pthread_cond_wait(&store->changed, &store->mutex);
    }
    if (!store->running) {
        store->starting = true;
        code = keeper_open(store, error);
        if (code == 0) {
            code = keeper_start_threads(store, error);
            if (code != 0) {
                keeper_close(store);
            }
        }
        store->running = code == 0;
        store->starting = false;
        (void)pthread_cond_broadcast(&store->changed);
    }
    (void)pthread_mutex_unlock(&store->mutex);
    return code;
}

void dlk_keeper_stop(dynalock_store *store)
{
    (void)pthread_mutex_lock(&store->mutex);
    bool running = store->running;
    store->stopping = true;
    (void)pthread_mutex_unlock(&store->mutex);
    if (!running) {
        return;
    }
    dlk_loop_wake(store->loop);
    (void)pthread_join(store->keeper_thread, NULL);
    dlk_wake_up(&store->watch_wake);
    (void)pthread_join(store->watch_thread, NULL);
    (void)pthread_mutex_lock(&store->mutex); /* dynalock_lock_free may look, in another thread */
    store->running = false;
    (void)pthread_mutex_unlock(&store->mutex);
    keeper_close(store);
}

void dlk_keeper_abandon(dynalock_store *store)
{
    if (store->running) {
        dlk_loop_abandon(store->loop);
        store->loop = NULL;
        keeper_close(store);
        store->running = false;
    }
}
