/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lock's protocol, for spin: one record, CLIENTS of ours, GO clients of the Go library, a network
 * that delays, loses and doubles. docs/model.md tells what is modelled and what is not; model/run
 * runs it. The name after each transition is that of the function it stands for.
 *
 * -DSTILL=n: a guest may have stood still for n ticks, its clocks too, since it last heard what the time is, when it asks
 * for the lock. -DOBSERVE: nobody can trust the time. -DKEEP: releases keep the record. -DNARROW: readings of the host's
 * clock are right; -DWIDE: upper bounds may be late. -DEMPTY: there is no record to begin with.
 * Guards are left out with -DNO_...; -DREACH=WHAT makes spin find a run that reaches WHAT.
 */
#ifndef CLIENTS
#define CLIENTS 2
#endif
#ifndef TENURES /* of each client, at the most 6 / CLIENTS */
#define TENURES 1
#endif
#ifndef WRITES /* of each tenure that set a lease: tries and renewals, at the most 3 */
#define WRITES 2
#endif
#ifndef WRITES_1 /* of the client 1 */
#define WRITES_1 WRITES
#endif
#define writes(k) (k == 1 -> WRITES_1 : WRITES)
#ifndef STRAYS /* requests under way that nobody waits for any more */
#define STRAYS 1
#endif
#ifndef GO
#define GO 0
#endif
#ifndef GO_LOCKS /* locks that one of them asks for */
#define GO_LOCKS 1
#endif
#ifndef END /* the last tick */
#define END 6
#endif
#ifndef TTL
#define TTL 2
#endif
#ifndef UNSURE /* ticks by which a reading of the time may be off, either way */
#define UNSURE 1
#endif
#ifndef REACH
#define REACH 0
#endif

/* ---- What there is ---- */

#define FIRST 2 /* the first tick: a reading may be off by one, and 0 is that of a tombstone */
#define TOMBSTONE 0
#define DEAD 7     /* tenure of the record that stands there in the beginning, if one does */
#define GO_DELAY 1 /* by how much longer Go's records are waited for: Go's clocks are off, too */

/* Versions of clock readings. Where Go takes part, two hosts' readings never are the same: Go has
 * nothing but versions, so that "microseconds do not meet" is what its part depends on. Else they
 * meet all the time, and nonces have to do. */
#if GO || defined(TOKENS)
#define FINE 16
#define SHARE(c) ((c) * 4)
#else
#define FINE 1
#define SHARE(c) 0
#endif

#define NOTHING 0
#define CREATE 1 /* PutItem if absent */
#define OVER 2   /* PutItem over the record seen */
#define RENEW 3
#define REMOVE 4
#define KEEP_RECORD 5
#define GO_CREATE 6
#define GO_RENEW 7
#define GO_REMOVE 8

#define IDLE 0
#define TRYING 1  /* a try is under way */
#define WAITING 2 /* between two tries */
#define HELD 3
#define RENEWING 4  /* held, and a renewal is under way */
#define REMOVING 5  /* released: its delete is under way */
#define RELEASING 6 /* released: its delete was not answered */
#define LOST 7      /* by time: the record may still be there */

/* What REACH may be. */
#define TAKEOVER 1
#define ADOPTION 2
#define ADOPTED_RENEWAL 3
#define TURNS 4
#define LATE_CREATE 5
#define LATE_REMOVAL 6
#define TAKEOVER_OF_GO 7
#define TAKEOVER_BY_GO 8
#define LOSS 9
#define KEPT 10
#define reached(what) assert(REACH != what)

/* What `model/run NAME` prints of a counterexample. */
#define tell(text) printf(text, now, k)

typedef Record {
    bool there;
    bool current;    /* the nonce's version is the record's; Go leaves nonces behind */
    unsigned n : 3;  /* the nonce: tenure, */
    unsigned w : 2;  /* write */
    unsigned v : 7;  /* version */
    unsigned e : 4;  /* expires */
};

typedef Request {
    unsigned kind : 4;
    unsigned n : 3;
    unsigned w : 2;
    unsigned v : 7;
    unsigned e : 4;
    bool bcurrent; /* the record that the condition names; be: Go's time, of its writes */
    unsigned bn : 3;
    unsigned bw : 2;
    unsigned bv : 7;
    unsigned be : 4;
};

typedef Client {
    unsigned state : 3;
    unsigned tenure : 3;
    unsigned w : 2;   /* writes of this tenure */
    bool remembers;   /* its tenures before: the process has not been started anew */
    bool again;       /* the release is being repeated at a later version */
    unsigned lv : 7;  /* the lease as last granted or adopted: version, */
    unsigned lw : 2;  /* write */
    unsigned until : 4;
    unsigned asked : 4; /* when its expiry was made */
    bool granted;     /* the answer is on its way */
    Request q;        /* that is under way, or answered */
#ifdef OBSERVE
    Record sight;
    unsigned since : 4;
#endif
};

Record r;
Client c[CLIENTS];
Request stray[STRAYS];
unsigned now : 4 = FIRST;

#if GO
typedef GoClient {
    unsigned state : 3; /* IDLE, TRYING, HELD, RENEWING */
    unsigned tenure : 2;
    bool granted;
    bool renewed;
    bool spoiled;
    unsigned last : 7; /* version */
    unsigned off : 2;  /* its clock: UNSURE is right */
    unsigned until : 4;
    Request q;
};
GoClient g[GO];
#endif

/* Of the assertions alone. */
#if defined(KEEP) || defined(TOKENS)
unsigned token : 7;
#endif
#ifdef TOKENS
unsigned token_at : 4;
#endif
#if REACH == TURNS
unsigned ended : 3;
#endif

/* Within one step. */
hidden byte i, j, at, reading, before;
hidden byte applied, mine;

/* ---- Nonces: record.c ---- */

#define id(k) (k * TENURES + c[k].tenure)

#ifdef NO_NONCE
#define same_nonce(current_, n_, w_) true
#elif defined(NO_WRITE_NUMBER)
#define same_nonce(current_, n_, w_) (current_ && n_)
#else
#define same_nonce(current_, n_, w_) (current_ && n_ && w_)
#endif
#ifdef NO_VERSION_IN_NONCE
#define is_current(x) (x.n != 0)
#define same_current(a, b) true
#else
#define is_current(x) x.current
#define same_current(a, b) (a == b)
#endif

/* dlk_record_same: the record x, and the one that q's condition names */
#define is_base(x, q) (x.there && x.v == q.bv && same_nonce(same_current(x.current, q.bcurrent), x.n == q.bn, x.w == q.bw))
/* dlk_record_same: the record x, and the one that q writes */
#define is_write(x, q) (x.there && x.v == q.v && same_nonce(is_current(x), x.n == q.n, x.w == q.w))
/* dlk_record_of. Without nonces there is the version of the last write to go by. */
#ifdef NO_NONCE
#define is_of(x, k) (x.there && (x.v == c[k].lv || x.v == c[k].lv + 1))
#define is_of_earlier(x, k) false
#else
#define is_of(x, k) (x.there && is_current(x) && x.n == id(k))
#define is_of_earlier(x, k) \
    (x.there && is_current(x) && c[k].remembers && x.n > k * TENURES && x.n < id(k))
#endif

/* ---- What must hold ---- */

#ifdef NO_DEADLINE
#define in_time(k) true
#else
#define in_time(k) (now < c[k].until)
#endif
#define holds(k) ((c[k].state == HELD || c[k].state == RENEWING) && in_time(k))
/* A Go client counts until the record that it wrote has expired by its clock. */
#define go_holds(k) ((g[k].state == HELD || g[k].state == RENEWING) && !g[k].spoiled && go_now(k) <= g[k].until)
#define go_now(k) (now + g[k].off - UNSURE) /* by its own clock */

/* At most one believer: asked where one begins to believe. What Go does to Go is not asked. */
inline check_believers(k) {
    j = 0;
    do
    :: j < CLIENTS -> assert(j == k || !holds(j) || !holds(k)); j++
    :: else -> break
    od;
#if GO
    j = 0;
    do
    :: j < GO -> assert(!go_holds(j) || !holds(k)); j++
    :: else -> break
    od;
#endif
    j = 0
}

inline check_go_believer(k) {
    j = 0;
    do
    :: j < CLIENTS -> assert(!holds(j) || !go_holds(k)); j++
    :: else -> break
    od;
    j = 0
}

/* The record that q's acquisition replaces, and the tokens that there were. */
inline check_token(m) {
    assert(m.kind != OVER || m.v > r.v);
#ifdef KEEP
#if !GO
    assert(m.v > token);
#endif
    token = m.v
#endif
}

/* ---- The server: one write after the other ---- */

inline clear_request(m) {
    m.kind = NOTHING; m.n = 0; m.w = 0; m.v = 0; m.e = 0;
    m.bcurrent = false; m.bn = 0; m.bw = 0; m.bv = 0; m.be = 0
}

inline copy_request(to, m) {
    to.kind = m.kind; to.n = m.n; to.w = m.w; to.v = m.v; to.e = m.e;
    to.bcurrent = m.bcurrent; to.bn = m.bn; to.bw = m.bw; to.bv = m.bv; to.be = m.be
}

inline clear_record(x) {
    x.there = false; x.current = false; x.n = 0; x.w = 0; x.v = 0; x.e = 0
}

inline copy_record(to, x) {
    to.there = x.there; to.current = x.current; to.n = x.n; to.w = x.w; to.v = x.v; to.e = x.e
}

inline put(m) {
    r.there = true; r.current = true; r.n = m.n; r.w = m.w; r.v = m.v; r.e = m.e
}

/* applied: the condition held. */
inline execute(m) {
    applied = false;
    if
    :: m.kind == CREATE && !r.there -> applied = true; check_token(m); put(m)
#ifdef NO_RECORD_SEEN
    :: m.kind == OVER -> applied = true; put(m)
#elif defined(NO_EXPIRY_SEEN)
    :: m.kind == OVER && is_base(r, m) -> applied = true; check_token(m); put(m)
#else
    :: m.kind == OVER && is_base(r, m) && r.e == m.be -> applied = true; check_token(m); put(m)
#endif
    :: (m.kind == RENEW || m.kind == KEEP_RECORD) && is_base(r, m) ->
        applied = true;
        assert(r.current && r.n == m.n); /* nobody renews another's */
        put(m)
    :: m.kind == REMOVE && is_base(r, m) ->
        applied = true;
        assert(r.current && r.n == m.n); /* nobody deletes another's */
        clear_record(r)
#if GO
    :: m.kind == GO_CREATE && (!r.there || r.e < m.be) ->
        applied = true;
        m.v = r.v + 1; /* which the answer shows */
        r.there = true; r.current = false; r.v = m.v; r.e = m.e
    :: m.kind == GO_RENEW && r.there && r.v == m.bv && r.e > m.be ->
        applied = true;
        assert(!r.current);
        r.v = m.v; r.e = m.e
    :: m.kind == GO_REMOVE && r.there && r.v == m.bv ->
        applied = true;
        assert(!r.current);
        clear_record(r)
#endif
    :: else
    fi;
    if
    :: applied -> printf("%d    the record: there %d version %d tenure %d write %d current %d expires %d\n", now, r.there, r.v,
        r.n, r.w, r.current, r.e)
    :: else -> printf("%d    refused\n", now)
    fi
}

/* A copy stays on its way, with nobody waiting for it; maybe in the place of one that is lost. */
inline stay_behind(m) {
    j = 0;
    do
    :: j < STRAYS - 1 -> j++
    :: break
    od;
    copy_request(stray[j], m);
    printf("%d    a copy of it stays on its way\n", now);
    j = 0
}

proctype network(byte k) {
end:
    do
    :: atomic { stray[k].kind != NOTHING ->
        printf("%d  a late request arrives: kind %d, tenure %d, write %d\n", now, stray[k].kind, stray[k].n, stray[k].w);
        execute(stray[k]);
        if
        :: applied && stray[k].kind == CREATE ->
            at = (stray[k].n - 1) / TENURES;
            if
            :: id(at) != stray[k].n || (c[at].state != TRYING && c[at].state != WAITING) ->
                reached(LATE_CREATE)
            :: else
            fi
        :: applied && stray[k].kind == REMOVE -> reached(LATE_REMOVAL)
#if GO
        :: applied && stray[k].kind >= GO_RENEW ->
            /* Versions of Go's come round, so that this may have been Go's next record. It does not count as held. */
            j = 0;
            do
            :: j < GO -> g[j].spoiled = (g[j].state != IDLE); j++
            :: else -> break
            od;
            j = 0
#endif
        :: else
        fi;
        clear_request(stray[k])
       }
    od
}

active proctype time() {
end:
    do
    :: atomic { now < END -> now++; printf("%d -- a tick\n", now) }
    od
}

/* ---- A client of ours ---- */

/* dlk_store_now, at the composing of a write; at: the upper bound of server time, reading: the host's clock within the
 * bounds. They may be off by UNSURE. */
inline read_time() {
    if
#ifdef OBSERVE /* a wrong clock, and a wrong Date: `expires` is anything */
    :: at = END
    :: at = FIRST - TTL
#else
    :: at = now
#endif
#ifdef WIDE
    :: at = now + UNSURE
#endif
    fi;
    if
    :: reading = now
#ifndef NARROW
    :: reading = now + UNSURE
    :: reading = now - UNSURE
#endif
    fi
}

/* The next write's number and expiry: dlk_lock_number */
inline number(k) {
    c[k].w++;
    c[k].q.n = id(k);
    c[k].q.w = c[k].w;
    c[k].q.e = at + TTL;
#ifndef NO_MAKING
    c[k].asked = now
#endif
}

/* acquire_create; over: the record r, as seen. Its version: dlk_first_version */
inline create(k, over) {
    read_time();
#ifdef STILL
    if
    :: skip
    :: at = at - STILL
    fi;
#endif
    number(k);
    c[k].q.v = reading * FINE + SHARE(k);
#ifdef NO_CLOCK
    c[k].q.v = 1;
#endif
    c[k].q.kind = CREATE;
    if
    :: over ->
        c[k].q.kind = OVER;
        c[k].q.bcurrent = r.current;
        c[k].q.bn = r.n;
        c[k].q.bw = r.w;
        c[k].q.bv = r.v;
        c[k].q.be = r.e;
#ifndef NO_SEEN_PLUS_1
        if
        :: r.v >= c[k].q.v -> c[k].q.v = r.v + 1
        :: else
        fi
#endif
    :: else
    fi;
    printf("%d  client %d acquire_create: kind %d version %d write %d expires %d\n", now, k, c[k].q.kind, c[k].q.v, c[k].q.w,
        c[k].q.e);
    c[k].state = TRYING
}

/* Until when a lease is counted as held: dlk_lease_end. By the answer's Date it ends no later than its record. */
inline lease_end(k) {
    at = c[k].asked + TTL;
#if defined(NO_SENDING) || defined(NO_BEFORE_SENDING)
    at = now + TTL;
#endif
#if !defined(NO_DATE) && !defined(NO_BEFORE_SENDING) && !defined(NO_MAKING)
    at = (at < c[k].q.e -> at : c[k].q.e)
#endif
}

/* acquire_hold */
inline hold(k) {
    lease_end(k);
    c[k].lv = c[k].q.v;
    c[k].lw = c[k].q.w;
    if
    :: at > now ->
        c[k].state = HELD;
        c[k].until = at;
        printf("%d  client %d acquire_hold: held until %d\n", now, k, at);
        check_believers(k);
#ifdef TOKENS
        assert(c[k].asked <= token_at + 2 * UNSURE || c[k].lv > token);
        token = c[k].lv;
        token_at = now;
#endif
#if REACH == TURNS
        if
        :: ended != 0 && ended != id(k) -> reached(TURNS)
        :: else
        fi;
#endif
        if
        :: c[k].q.kind == OVER && c[k].q.be == TOMBSTONE -> reached(KEPT)
        :: c[k].q.kind == OVER && c[k].q.bn == id(k) && c[k].q.bcurrent -> reached(ADOPTION)
        :: c[k].q.kind == OVER && c[k].q.be != TOMBSTONE && c[k].q.bcurrent &&
                (c[k].q.bn - 1) / TENURES != k && c[k].q.bn != DEAD -> reached(TAKEOVER)
        :: c[k].q.kind == OVER && !c[k].q.bcurrent -> reached(TAKEOVER_OF_GO)
        :: else
        fi
    :: else -> c[k].state = WAITING; tell("%d  client %d acquire_hold: the lease is over\n")
    fi;
    clear_request(c[k].q);
    c[k].granted = false;
    c[k].asked = 0
}

#if REACH == TURNS
#define note_end(k) ended = id(k)
#else
#define note_end(k) skip
#endif

inline forget_lease(k) {
    c[k].until = 0; c[k].lv = 0; c[k].lw = 0; c[k].again = false
}

inline end_tenure(k) {
    forget_lease(k);
    c[k].remembers = true;
    c[k].state = IDLE
}

#ifdef OBSERVE
/* acquire_seen_us */
inline observe(k) {
    if
    :: c[k].sight.there && c[k].sight.v == r.v && c[k].sight.n == r.n && c[k].sight.w == r.w &&
            c[k].sight.current == r.current && c[k].sight.e == r.e
    :: else -> copy_record(c[k].sight, r); c[k].since = now
    fi
}
#define may_take(k) (now - c[k].since >= TTL)
#else
#define observe(k) skip
/* acquire_may_take: the lower bound of server time is at the most now. */
#define may_take(k) (r.e + (r.current -> 0 : GO_DELAY) < now)
#endif

/* The other requests about the lease: its record is what their condition names. */
inline about_lease(k, kind_) {
    c[k].q.kind = kind_;
    c[k].q.n = id(k);
    c[k].q.bcurrent = true;
    c[k].q.bn = id(k);
    c[k].q.bw = c[k].lw;
    c[k].q.bv = c[k].lv
}

/* release_compose. A tombstone has write number 0. */
inline compose_release(k) {
#ifdef KEEP
    about_lease(k, KEEP_RECORD);
    c[k].q.v = c[k].lv + 1;
    c[k].q.e = TOMBSTONE;
#else
    about_lease(k, REMOVE);
#endif
    tell("%d  client %d release_compose: final\n");
    c[k].state = REMOVING
}

/* The same of the record r, which the tenure n_ has left; nobody waits for it. */
inline compose_cleanup(m, n_) {
    m.kind = REMOVE;
    m.n = n_; m.w = 0; m.v = 0; m.e = 0;
    m.bcurrent = true; m.bn = n_; m.bw = r.w; m.bv = r.v; m.be = 0;
#ifdef KEEP
    m.kind = KEEP_RECORD;
    m.v = r.v + 1;
    m.e = TOMBSTONE
#endif
}

/* A refusal shows the record: acquire_create_answered, acquire_consider. */
inline consider(k) {
    observe(k);
    if
    :: c[k].q.kind != NOTHING && is_write(r, c[k].q) -> hold(k) /* its answer was lost */
#ifdef NO_NEW_WRITE
    :: c[k].q.kind != NOTHING && !is_write(r, c[k].q) && is_of(r, k) -> hold(k)
#endif
    :: else ->
#ifdef NO_NONCE
        if
        :: c[k].q.kind != NOTHING -> c[k].lv = c[k].q.v
        :: else
        fi;
#endif
        clear_request(c[k].q);
        c[k].asked = 0;
        c[k].state = WAITING;
        tell("%d  client %d acquire_consider\n");
        if
        :: c[k].w < writes(k) && (!r.there || is_of(r, k) || is_of_earlier(r, k) || r.e == TOMBSTONE || may_take(k)) ->
            create(k, r.there)
        :: skip /* acquire_wait */
        fi
    fi
}

/* renew_answered, renew_settle */
inline settle(k) {
    mine = is_write(r, c[k].q) || (r.v == c[k].lv + 1 && is_of(r, k));
    if
    :: mine -> /* renew_own */
        c[k].lv = r.v;
        c[k].lw = r.w;
        c[k].state = HELD;
        tell("%d  client %d renew_settle: it has happened\n");
#ifdef NO_EXTENDS_NOTHING
        c[k].until = now + TTL;
        check_believers(k);
#endif
        reached(ADOPTED_RENEWAL)
    :: else -> end_tenure(k); tell("%d  client %d renew_settle: lost\n") /* dlk_lock_lose: taken over, or gone */
    fi;
    clear_request(c[k].q);
    c[k].asked = 0
}

/* release_remove, release_find */
inline shown_at_release(k) {
    mine = !c[k].again && is_of(r, k) && r.e != TOMBSTONE;
    clear_request(c[k].q);
    if
    :: mine ->
        c[k].lv = r.v;
        c[k].lw = r.w;
        c[k].again = true;
        compose_release(k)
    :: else -> end_tenure(k)
    fi
}

#define is_sent(k) (c[k].asked != 0 || c[k].q.kind == REMOVE || c[k].q.kind == KEEP_RECORD)

proctype client(byte k) {
end:
    do
#ifdef NO_MAKING
    /* The lease counts from here: dlk_call_begin. */
    :: atomic { (c[k].state == TRYING || (c[k].state == RENEWING && in_time(k))) && c[k].asked == 0 ->
        c[k].asked = now;
        tell("%d  client %d sends it\n")
       }
#endif
    /* Its request arrives. The answer may be lost with the connection, and libcurl sends the request again (client.c:
     * `resent`); a copy may stay on its way. */
    :: atomic { is_sent(k) && !c[k].granted ->
        tell("%d  the request of client %d arrives\n");
        execute(c[k].q);
        if
        :: applied -> c[k].granted = true
        :: applied -> c[k].granted = true; stay_behind(c[k].q)
        :: applied -> skip
        :: !applied && c[k].state == TRYING -> consider(k)
        :: !applied && c[k].state == RENEWING -> settle(k)
        :: !applied && c[k].state == REMOVING -> shown_at_release(k)
        fi
       }
    /* It is not answered, for as long as anybody waits: acquire_failed, renew_failed, release_finish. */
    :: atomic { c[k].q.kind != NOTHING ->
        tell("%d  client %d gives up waiting for an answer\n");
        if
        :: c[k].state == TRYING ->
#ifdef NO_NONCE
            c[k].lv = c[k].q.v;
#endif
            c[k].state = WAITING
        :: c[k].state == RENEWING -> c[k].state = HELD
        :: c[k].state == REMOVING ->
            c[k].again = false;
#ifdef NO_FINAL
            c[k].state = HELD;
            check_believers(k)
#else
            c[k].state = RELEASING
#endif
        fi;
        if
        :: skip /* lost */
        :: is_sent(k) -> stay_behind(c[k].q)
        fi;
        c[k].granted = false;
        c[k].asked = 0;
        clear_request(c[k].q)
       }
    /* acquire_hold; renew_granted; release_finish */
    :: atomic { c[k].granted ->
        if
        :: c[k].state == TRYING -> hold(k)
        :: c[k].state == RENEWING ->
            lease_end(k);
            c[k].until = at;
            c[k].lv = c[k].q.v;
            c[k].lw = c[k].q.w;
            c[k].state = HELD;
            printf("%d  client %d renew_granted: held until %d\n", now, k, at);
            check_believers(k)
        :: c[k].state == REMOVING -> note_end(k); end_tenure(k); tell("%d  client %d release_finish: released\n")
        fi;
        clear_request(c[k].q);
        c[k].granted = false;
        c[k].asked = 0
       }

    /* dynalock_lock_acquire, acquire_start: a new tenure. Its tries, after acquire_wait: acquire_begin. */
    :: atomic { ((c[k].state == IDLE || c[k].state == LOST || c[k].state == RELEASING) && c[k].tenure < TENURES &&
            (k == 0 || c[k - 1].tenure > 0 || WRITES_1 != WRITES)) || (c[k].state == WAITING && c[k].w < writes(k)) ->
        if
        :: c[k].state == WAITING
        :: else ->
            c[k].remembers = c[k].remembers || c[k].state != IDLE;
            forget_lease(k);
            c[k].tenure++;
            c[k].w = 0;
            tell("%d  client %d acquire_start: a new tenure\n")
        fi;
        if
        :: create(k, false)
        :: consider(k) /* what a read shows: acquire_read, acquire_read_answered */
        fi
       }
    /* Cancelled, or the limit of waiting is over: acquire_give_up; what is left is the keeper's, dlk_cleanup_start. */
    :: atomic { c[k].state == WAITING -> end_tenure(k); tell("%d  client %d acquire_give_up\n") }

    /* dlk_renewal_fire, renew_compose */
    :: atomic { c[k].state == HELD && in_time(k) && c[k].w < writes(k) ->
        read_time();
        number(k);
        about_lease(k, RENEW);
        c[k].q.v = c[k].lv + 1;
        printf("%d  client %d renew_compose: version %d expires %d\n", now, k, c[k].q.v, c[k].q.e);
        c[k].state = RENEWING
       }
    /* dlk_lock_judge: after the deadline, and sooner or later after it */
    :: atomic { c[k].state == HELD && !in_time(k) ->
        tell("%d  client %d dlk_lock_judge: lost\n");
        reached(LOSS);
        c[k].until = 0;
        c[k].state = LOST
       }
    /* dynalock_lock_release, release_check. Also of what was lost by time, and once more. */
    :: atomic { (c[k].state == HELD && in_time(k)) || c[k].state == LOST || c[k].state == RELEASING ->
#ifndef NO_FINAL
        c[k].until = 0;
#endif
        compose_release(k)
       }
    /* cleanup_looked, dlk_cleanup_find, cleanup_remove: the keeper removes what an ended tenure has left. */
    :: atomic { c[k].remembers && r.there && r.current && r.e != TOMBSTONE && r.n > k * TENURES &&
            (r.n < id(k) || (r.n == id(k) && c[k].state == IDLE)) ->
        tell("%d  client %d cleanup_remove\n");
        before = r.n;
        j = 0;
        do
        :: j < STRAYS - 1 -> j++
        :: break
        od;
        compose_cleanup(stray[j], before);
        j = 0
       }
    /* The process dies, and another is started in its place. One that dies for good does nothing more, as do those who
     * are paused. */
    :: atomic { c[k].state != IDLE && c[k].q.kind == NOTHING && c[k].tenure < TENURES ->
        tell("%d  client %d dies, and is started anew\n");
        end_tenure(k);
        c[k].remembers = false
       }
    od
}

/* ---- A client of the Go library: the requests of test/rig/go.mjs ---- */

#if GO
inline go_end(k) {
    clear_request(g[k].q);
    g[k].granted = false;
    g[k].spoiled = false;
    g[k].last = 0;
    g[k].until = 0;
    g[k].state = IDLE
}

proctype go(byte k) {
end:
    do
    :: atomic { g[k].q.kind != NOTHING && !g[k].granted ->
        tell("%d  the request of Go client %d arrives\n");
        execute(g[k].q);
        if
        :: applied -> g[k].granted = true
        :: applied -> g[k].granted = true; stay_behind(g[k].q)
        :: !applied -> go_end(k)
        fi
       }
    :: atomic { g[k].state == IDLE && g[k].tenure < GO_LOCKS -> /* lock */
        g[k].tenure++;
        g[k].renewed = false;
        g[k].q.kind = GO_CREATE;
        g[k].q.be = go_now(k);
        g[k].q.e = go_now(k) + TTL;
        tell("%d  Go client %d lock\n");
        g[k].state = TRYING
       }
    :: atomic { g[k].granted ->
        if
        :: g[k].q.kind == GO_CREATE && g[k].q.v > FINE -> reached(TAKEOVER_BY_GO)
        :: else
        fi;
        g[k].last = g[k].q.v;
        g[k].until = g[k].q.e;
        g[k].granted = false;
        clear_request(g[k].q);
        g[k].state = HELD;
        printf("%d  Go client %d holds until %d by its clock, which is off by %d - UNSURE\n", now, k, g[k].until, g[k].off);
        check_go_believer(k)
       }
    :: atomic { g[k].q.kind != NOTHING -> /* not answered */
        if
        :: skip
        :: stay_behind(g[k].q)
        fi;
        go_end(k)
       }
    :: atomic { g[k].state == HELD && !g[k].renewed -> /* renew */
        g[k].renewed = true;
        g[k].q.kind = GO_RENEW;
        g[k].q.bv = g[k].last;
        g[k].q.v = g[k].last + 1;
        g[k].q.be = go_now(k);
        g[k].q.e = go_now(k) + TTL;
        tell("%d  Go client %d renews\n");
        g[k].state = RENEWING
       }
    :: atomic { g[k].state == HELD ->
        tell("%d  Go client %d unlock\n");
        g[k].q.kind = GO_REMOVE;
        g[k].q.bv = g[k].last;
        if
        :: execute(g[k].q)
        :: stay_behind(g[k].q)
        fi;
        go_end(k)
       }
    od
}
#endif

init {
    atomic {
        if
        :: skip /* nothing is there */
#ifndef EMPTY
        :: r.there = true; r.current = true; r.n = DEAD; r.w = 1; r.e = FIRST - 1; /* a dead client's, with a fast clock */
            r.v = (END + 2) * FINE + FINE / 2
#ifdef OBSERVE
            ; r.e = END
#endif
#endif
        fi;
#ifdef KEEP
        token = r.v;
#endif
        i = 0;
        do
        :: i < CLIENTS -> run client(i); i++
        :: else -> break
        od;
        i = 0;
        do
        :: i < STRAYS -> run network(i); i++
        :: else -> break
        od;
#if GO
        i = 0;
        do
        :: i < GO ->
            if
            :: g[i].off = 0
#ifndef NARROW
            :: g[i].off = UNSURE
#endif
            :: g[i].off = 2 * UNSURE
            fi;
            run go(i);
            i++
        :: else -> break
        od;
#endif
        i = 0
    }
}
