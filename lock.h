/* SPDX-License-Identifier: Apache-2.0 */
/* What acquire.c, renew.c, release.c and lock.c share: the lock object. */
#ifndef DYNALOCK_LOCK_H
#define DYNALOCK_LOCK_H

#include "internal.h"

#define DLK_SECOND INT64_C(1000000)

/* A write of the record that, once answered, is a lease. */
struct dlk_lease {
    int64_t version;
    char nonce[DLK_NONCE_SIZE];
    int64_t expires; /* epoch seconds */
    int64_t ttl_ms;
    int64_t asked_us; /* boot clock, when expires was made; the write is sent later */
};

/* A record seen unchanged, and since when. */
struct dlk_sight {
    bool any, has_expires, has_nonce;
    int64_t version, expires;
    char nonce[DLK_NONCE_SIZE]; /* a longer one is not ours, and is not remembered */
    int64_t since_us;
};

/* A renewal by the keeper, while it is under way; or a spare one of the store's. */
struct dlk_renewal {
    struct dlk_renewal *next; /* spare */
    dynalock_lock *lock;
    struct dlk_lease lease;
    struct dlk_call call;
};

/* An acquisition or a release that the keeper does, until its event has been taken. Under the store's
 * mutex, but for timer and turn. */
struct dlk_started {
    dynalock_lock *lock;
    int kind;               /* enum dynalock_lock_event_kind */
    bool ended;             /* code and error are set */
    int stop;               /* 0; DYNALOCK_ERR_CANCELLED, _CLOSED: it is to end */
    struct dlk_timer timer; /* when to go on; it goes on by taking its turn */
    struct dlk_turn turn;
    int64_t patience_us; /* until when it waits for the renewal of the tenure before */
    int code;
    dynalock_error error;
    void (*forgotten)(struct dlk_started *started); /* it has ended, its lock was freed; or NULL */
    void (*free)(struct dlk_started *started);      /* what it is part of; nothing is under way */
};

struct dynalock_lock {
    dynalock_store *store;
    char *key, *holder;
    struct dlk_buffer value;       /* the attribute value as text; empty: none */
    dynalock_lock_options options; /* with the defaults filled in; its pointers are not used */
    struct dlk_sight sight;        /* the acquirer's */
    struct dlk_turn renewal_turn;  /* the keeper's; holds a reference while it is queued */

    /* All that follows: under the store's mutex. */
    struct dynalock_lock *next, *previous; /* of store->locks */
    struct dynalock_lock *owed_next;       /* of store->owed */
    unsigned
        references; /* the caller's, that of each timer that is to come, and of a call under way */
    bool freed, in_call, renewing;
    bool was_held, was_lost; /* this tenure: at some time; before its release */
    bool owed, telling;      /* on_lost is to be called; is being called */
    int state, cause;
    int64_t ttl_ms;
    /* This tenure, the last one before that was held, the last one before that never was. */
    char tenure[DLK_TENURE_SIZE], finished[DLK_TENURE_SIZE], abandoned[DLK_TENURE_SIZE];
    unsigned writes;        /* of this tenure */
    struct dlk_lease lease; /* as last granted, or adopted */
    int64_t token, valid_until_us, granted_us;
    unsigned failures; /* renewals in a row */
    int trouble;       /* enum dynalock_cause: what it will be lost of, if nothing changes */
    int last_code;
    char last_error[160];
    int owed_cause;
    int64_t owed_token;
    struct dlk_timer renewal, deadline;
    struct dlk_renewal *under_way; /* NULL: none */
    struct dlk_wake lost;
    bool lost_open;

    /* events.c's. */
    struct dlk_started *started; /* under way, or ended and not told; NULL: none */
    struct dynalock_lock *event_next, *event_previous; /* of store->events */
    bool event_queued, loss_untold;
    int loss_cause;
    int64_t loss_token;
    struct dlk_wake *event_wake; /* where asked for */
};

/* ---- lock.c. With the mutex held, but where it says otherwise. ---- */

int64_t dlk_lock_now(const dynalock_lock *lock);
int64_t dlk_lock_margin_us(const dynalock_lock *lock, int64_t ttl_ms);
/* When a lease that was granted by this answer must be thought over. */
int64_t dlk_lease_end(const dynalock_lock *lock, const struct dlk_lease *lease,
                      const struct dlk_exchange *granted_by);
/* The next write of this tenure: lease->version is set; fills the rest. */
void dlk_lock_number(dynalock_lock *lock, struct dlk_lease *lease, const struct dlk_now *now);
void dlk_lock_judge(dynalock_lock *lock); /* lost, if its time is over */
void dlk_lock_lose(dynalock_lock *lock, int cause);
void dlk_lock_set_end(dynalock_lock *lock, int64_t valid_until_us);
void dlk_lock_note(dynalock_lock *lock, int code, const char *message);
void dlk_lock_arm_renewal(dynalock_lock *lock, int64_t due_us);
/* When a lease that was asked for then is renewed. */
int64_t dlk_lock_renewal_due(const dynalock_lock *lock, int64_t asked_us);
void dlk_lock_disarm(dynalock_lock *lock);
void dlk_lock_ref(dynalock_lock *lock);
void dlk_lock_unref(dynalock_lock *lock); /* without the mutex */
/* Without the mutex: begins and ends a call on the object; 0, DYNALOCK_ERR_BUSY and those of
 * dlk_enter. After enter the mutex is held. */
int dlk_lock_enter(dynalock_lock *lock, dynalock_error *error);
void dlk_lock_leave(dynalock_lock *lock);
/* With the mutex held: waits for the renewal under way to end, for as long as a call may take. */
void dlk_lock_await_renewal(dynalock_lock *lock, int64_t until_us);
/* Without the mutex: looks at the lock's state, and with 0 leaves the mutex held until looked. */
int dlk_lock_look(dynalock_lock *lock, dynalock_error *error);
void dlk_lock_looked(dynalock_lock *lock);
/* Without the mutex. */
void dlk_lock_log(dynalock_lock *lock, int id, int code, const char *message);

/* ---- events.c. With the mutex held, but where it says otherwise. ---- */

void dlk_events_loss(dynalock_lock *lock);   /* its tenure is lost */
void dlk_events_forget(dynalock_lock *lock); /* a loss that was not told, and is old news now */
/* The keeper begins it: started->timer fires there. Takes a reference until it has ended. */
void dlk_started_begin(struct dlk_started *started);
/* Without the mutex, on the keeper: it has ended, and is freed once its event has been taken. */
void dlk_started_end(struct dlk_started *started, int code, const dynalock_error *error);
/* On the keeper, without the mutex: it goes on, and its timer does not fire; else the code to end with. */
int dlk_started_go(struct dlk_started *started);
/* On the keeper, without the mutex: the timer fires then; now, if it is to end. */
void dlk_started_resume(struct dlk_started *started, int64_t due_us);
/* On the keeper, without the mutex: whether the tenure before's last renewal is still under way, and worth
 * waiting for; then the timer fires again. */
bool dlk_started_awaits_renewal(struct dlk_started *started);
void dlk_started_stop(dynalock_lock *lock,
                      int code); /* what is under way, if it is an acquisition */
/* The lock is being freed: nobody takes its events any more. What is under way goes on to its end. */
void dlk_events_free(dynalock_lock *lock);

/* ---- renew.c ---- */

void dlk_renewal_fire(struct dlk_timer *timer);
void dlk_renewal_free(struct dlk_renewal *renewal); /* nothing is under way; takes NULL */
void dlk_renewals_drop(dynalock_store *store);      /* the spare ones; the keeper has ended */

/* ---- release.c ---- */

/* What a tenure that ended may have left: looked for and removed by the keeper, until its time is
 * over. */
struct dlk_cleanup {
    struct dlk_cleanup *next, *previous;
    dynalock_store *store;
    struct dlk_call call;
    struct dlk_timer timer;
    char *key;
    char tenure[DLK_TENURE_SIZE];
    bool keep_record;
    struct dlk_lease known; /* the record that is to be removed; version 0: none known */
    struct dlk_lease asked; /* of the try that is under way in call */
    unsigned unsure;        /* tries whose outcome is open, the known one not among them */
    int64_t until_us; /* boot clock: after that, what a late try may make has expired already */
    unsigned rounds;
};

struct dlk_cleanup *dlk_cleanup_new(dynalock_lock *lock); /* NULL: no memory */
void dlk_cleanup_free(struct dlk_cleanup *cleanup);
/* With the mutex held; the keeper owns it from here on. If its call is under way, goes on with what comes of
 * that. */
void dlk_cleanup_start(struct dlk_cleanup *cleanup);
/* If the record is of this tenure it becomes what is known, to be removed; and one outcome less is open. */
bool dlk_cleanup_find(struct dlk_cleanup *cleanup, const dynalock_kv *seen);
/* With the mutex held: the keeper removes the record, if this lock is held or its release has failed. */
void dlk_lock_release_later(dynalock_lock *lock);

#endif
