/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dynalock: key/value records and distributed locks, with AWS DynamoDB as the store.
 *
 * This header is the whole public interface and its contract. What follows holds for every function;
 * what a function adds is said where it is declared.
 *
 * 1.  RESULTS. A function that can fail returns int: 0 (DYNALOCK_OK), or one of the negative codes of
 *     enum dynalock_code. The last parameter, which may be NULL, takes the details of a failure; it
 *     needs no initialising and is untouched on success. Out-parameters are untouched on failure.
 * 2.  OWNERSHIP. What a function hands out through `T **` is the caller's, to be given back to the one
 *     function named with it; all of those take NULL. Strings and options passed in are copied, or not
 *     needed after the return. "Borrowed" pointers live as long as the object they were asked of.
 * 3.  UNITS. Times are milliseconds (`_ms`), moments are milliseconds since 1970-01-01 UTC, sizes are
 *     bytes. Text is UTF-8 and ends in NUL; values carry their length and may contain anything.
 * 4.  OPTIONS. Zero means default, in every member; NULL means all defaults. The reserved members must
 *     be zero, so that a structure can grow: fill structures by `= {0}` or a designated initialiser.
 * 5.  THREADS. A store and its locks may be used from any number of threads at once. A dynalock_kv
 *     belongs to one thread at a time. A lock object is one contender: the second of two threads that
 *     call acquire, renew or release on the same lock object at once gets DYNALOCK_ERR_BUSY. A thread that
 *     is cancelled (pthread_cancel) amid a call, or in a callback amid it, ends after the call.
 * 6.  THREADS OF THE LIBRARY. A store starts two threads with its first acquisition: the keeper, which
 *     renews leases, and the watch, which does no I/O, judges deadlines and runs callbacks. Both
 *     block all signals, and so does at first a program that a callback on the watch starts: unblock
 *     them before exec. A store that only reads and writes records starts none of the two. A third
 *     thread lives for as long as credentials are being fetched. libcurl resolves a name in a thread
 *     of its own, with the signal mask of the thread that called.
 * 7.  CALLBACKS. No callback runs under a mutex of the library; each may call any function of this
 *     header but dynalock_close, which answers DYNALOCK_ERR_BUSY there. That of dynalock_list_each
 *     runs on the thread that called it, on_lost on the watch thread. The log callback runs on the
 *     thread that did the thing, or on the watch thread for what the keeper did, so that no callback
 *     can ever delay a renewal. A callback for credentials runs on the thread that fetches them. A
 *     callback that blocks delays the callbacks after it; it delays neither a renewal, nor a lost
 *     descriptor (by more than 25 ms), nor dynalock_lock_ensure.
 * 8.  FORK. A store cannot be used in a child of fork: every function answers DYNALOCK_ERR_FORKED
 *     there, sends nothing and touches no record. dynalock_lock_free and dynalock_close may be called
 *     in the child; they free memory alone. The parent does not notice. A callback that forks returns
 *     in the child only to see its call refused; on_lost, the callback for credentials, and the log
 *     callback on the library's threads must not return in the child at all (_exit or exec there).
 * 9.  SIGNALS. No function is cut short by a signal handler, and SIGPIPE never reaches the program.
 * 10. DESCRIPTORS. All are close-on-exec. A program that closes descriptors it does not know does so
 *     before dynalock_open: after it a store's calls may fail with DYNALOCK_ERR_NETWORK or _SYSTEM,
 *     its locks are lost by their deadlines, and dynalock_close still returns.
 * 11. CLOSING. dynalock_close ends calls that other threads have in progress (DYNALOCK_ERR_CLOSED).
 *     Locks keep their store's memory alive: they are freed before or after dynalock_close, and after
 *     it every function on them but dynalock_lock_free answers DYNALOCK_ERR_CLOSED.
 * 12. The library never prints, never exits and never raises a signal. No secret is put in a log event
 *     or an error.
 */
#ifndef DYNALOCK_H
#define DYNALOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DYNALOCK_VERSION_MAJOR 0
#define DYNALOCK_VERSION_MINOR 1
#define DYNALOCK_VERSION_PATCH 0
#define DYNALOCK_VERSION "0.1.0"

#ifndef DYNALOCK_API
#if defined(__GNUC__) && !defined(_WIN32)
#define DYNALOCK_API __attribute__((visibility("default")))
#else
#define DYNALOCK_API
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* jansson's value; include jansson.h to make or to read one. */
struct json_t;

typedef struct dynalock_store dynalock_store;
typedef struct dynalock_kv dynalock_kv;
typedef struct dynalock_lock dynalock_lock;

/* The version of the library that runs, as text; DYNALOCK_VERSION is that of the header. */
DYNALOCK_API const char *dynalock_version(void);

/* ---- Errors ---------------------------------------------------------------------------------- */

/* Stable: a number is never given a new meaning. */
enum dynalock_code {
    DYNALOCK_OK = 0,
    DYNALOCK_ERR_ARGUMENT = -1,  /* the call is wrong; nothing was sent */
    DYNALOCK_ERR_MEMORY = -2,    /* out of memory */
    DYNALOCK_ERR_SYSTEM = -3,    /* the operating system refused: threads, descriptors, entropy */
    DYNALOCK_ERR_NOT_FOUND = -4, /* no such record, or it has expired */
    DYNALOCK_ERR_EXISTS = -5,    /* atomic_put without previous: there is a record */
    DYNALOCK_ERR_MODIFIED = -6,  /* the record is not the previous one any more */
    DYNALOCK_ERR_TYPE = -7,      /* the value, or the record, is not of the kind asked for */
    DYNALOCK_ERR_TOO_LARGE = -8, /* over a limit of DynamoDB, or over 1 KB for a lock */
    DYNALOCK_ERR_CANCELLED = -9, /* the stop descriptor became readable */
    DYNALOCK_ERR_NOT_ACQUIRED = -10, /* another holds the lock, and the wait has ended */
    DYNALOCK_ERR_LOST = -11,         /* the lock was held and is not any more */
    DYNALOCK_ERR_NOT_HELD = -12,     /* the lock is not held */
    DYNALOCK_ERR_SHORT_LEASE = -13,  /* held, but less of the lease is left than asked for */
    DYNALOCK_ERR_BUSY = -14,         /* the object is in use by another call */
    DYNALOCK_ERR_CLOSED = -15,       /* the store is closed or closing */
    DYNALOCK_ERR_FORKED = -16,       /* called in a child of fork */
    DYNALOCK_ERR_CONFIG = -17, /* region, endpoint or a setting in the environment is unusable */
    DYNALOCK_ERR_CREDENTIALS = -18,    /* no credentials, or half of them */
    DYNALOCK_ERR_NOT_AUTHORIZED = -19, /* the service knows us not, or allows us not */
    DYNALOCK_ERR_NO_TABLE = -20,       /* no such table */
    DYNALOCK_ERR_BAD_TABLE = -21,      /* the table has other keys than dynalock's */
    DYNALOCK_ERR_NETWORK = -22,        /* no answer: resolving, connecting, sending, receiving */
    DYNALOCK_ERR_TLS = -23,            /* the server's certificate or TLS version was refused */
    DYNALOCK_ERR_TIMEOUT = -24,        /* the operation's time was over before an answer came */
    DYNALOCK_ERR_THROTTLED = -25,      /* the service asks for fewer requests */
    DYNALOCK_ERR_SERVICE = -26,        /* the service failed */
    DYNALOCK_ERR_BAD_RESPONSE = -27,   /* what came is not an answer of DynamoDB */
    DYNALOCK_ERR_REFUSED = -28, /* the service refused the request, for a reason that stays */
    DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE = -29 /* they could not be fetched just now */
};

/* dynalock_error.flags */
enum dynalock_error_flag {
    DYNALOCK_ERROR_RETRYABLE = 1,      /* the same call may work later */
    DYNALOCK_ERROR_THROTTLED = 2,      /* an answer on the way was a throttle */
    DYNALOCK_ERROR_OUTCOME_UNKNOWN = 4 /* the write may have happened, or may happen yet */
};

typedef struct dynalock_error {
    int code;        /* what the function returned */
    unsigned flags;  /* enum dynalock_error_flag */
    int http_status; /* of the last answer; 0: none came */
    int reserved_int;
    char name[64];       /* DynamoDB's name of the error, "ThrottlingException"; or "" */
    char request_id[64]; /* DynamoDB's id of the request; or "" */
    char message[512];   /* one line for a person, with the service's own words where it gave any */
    int64_t reserved[4];
} dynalock_error;

/* A short text for a code, "not found"; never NULL. */
DYNALOCK_API const char *dynalock_strerror(int code);

/* Whether, of a code alone, trying the same call again later can help. */
DYNALOCK_API bool dynalock_is_retryable(int code);

/* ---- Log events ------------------------------------------------------------------------------ */

/* Stable, as the codes are. */
enum dynalock_event_id {
    DYNALOCK_EVENT_ATTEMPT = 1, /* operation, key, attempt, elapsed_ms, http_status, ... */
    DYNALOCK_EVENT_RETRY = 2,   /* the same, and wait_ms */
    DYNALOCK_EVENT_WAITING =
        3, /* key, wait_ms, code; where that is DYNALOCK_ERR_NOT_ACQUIRED, token
                                 * and message are the holder's; else message: why nobody can tell */
    DYNALOCK_EVENT_ACQUIRED = 4,        /* key, token, remaining_ms */
    DYNALOCK_EVENT_TAKEN_OVER = 5,      /* from an expired record: key, token */
    DYNALOCK_EVENT_ADOPTED = 6,         /* a lost answer's write had happened: key, token */
    DYNALOCK_EVENT_RENEWED = 7,         /* key, token, remaining_ms */
    DYNALOCK_EVENT_RENEWAL_FAILED = 8,  /* key, token, remaining_ms, cause, code */
    DYNALOCK_EVENT_LOST = 9,            /* key, token, cause */
    DYNALOCK_EVENT_RELEASED = 10,       /* key, token */
    DYNALOCK_EVENT_RELEASE_FAILED = 11, /* key, token, code, message */
    DYNALOCK_EVENT_CLEANED = 12, /* nothing of a cancelled try is left that has not expired: key */
    DYNALOCK_EVENT_CLOCK = 13,   /* corrected for signing, or in conflict: message */
    DYNALOCK_EVENT_DROPPED = 14, /* events were: the callback was too slow */
    DYNALOCK_EVENT_CREDENTIALS = 15 /* fetched, message: from where; or code and message: why not */
};

/* All pointers are borrowed for the time of the call; none is NULL. */
typedef struct dynalock_event {
    int id;    /* enum dynalock_event_id */
    int code;  /* enum dynalock_code */
    int cause; /* enum dynalock_cause */
    int http_status;
    int attempt; /* from 1 */
    int64_t elapsed_ms;
    int64_t wait_ms;
    int64_t remaining_ms; /* of the lease */
    int64_t token;
    const char *operation; /* "PutItem" */
    const char *key;       /* cut at 255 bytes */
    const char *request_id;
    const char *name; /* DynamoDB's name of the error */
    const char *message;
} dynalock_event;

typedef void (*dynalock_log_fn)(const dynalock_event *event, void *context);

/* "acquired" for DYNALOCK_EVENT_ACQUIRED and so on; never NULL. */
DYNALOCK_API const char *dynalock_event_name(int id);

/* ---- The store ------------------------------------------------------------------------------- */

/*
 * What a caller's own source of credentials fills in. The strings are copied when the callback has
 * returned; a secret is wiped when it is no longer used.
 */
typedef struct dynalock_credentials {
    const char *access_key_id;
    const char *secret_access_key;
    const char *session_token; /* NULL: none */
    int64_t expires_ms;        /* 0: never */
    int64_t reserved[4];
} dynalock_credentials;

/*
 * Called when credentials are needed, and again ahead of their expiry: on a thread of the library's
 * own, one call at a time. It may block: who has good credentials does not wait for it. *credentials
 * is all zero before. 0; or what else the calls that wait for it shall fail with:
 * DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE, where trying again can help, or DYNALOCK_ERR_CREDENTIALS.
 * dynalock_close waits for it to return.
 */
typedef int (*dynalock_credentials_fn)(dynalock_credentials *credentials, void *context);

/* dynalock_options.flags */
enum dynalock_option_flag {
    /* The program has called curl_global_init, and calls curl_global_cleanup after the last
     * dynalock_close, if at all: dynalock_open leaves libcurl's global state alone. */
    DYNALOCK_NO_CURL_INIT = 1
};

typedef struct dynalock_options {
    /* "us-east-1". Default: AWS_REGION, then AWS_DEFAULT_REGION, the profile's, the instance's. Region
     * "local" stands for http://localhost:8000. */
    const char *region;
    /*
     * "http://127.0.0.1:8000"; requests are signed for the region all the same. Default:
     * AWS_ENDPOINT_URL_DYNAMODB, AWS_ENDPOINT_URL, endpoint_url under dynamodb in the services section
     * that the profile names, the profile's endpoint_url (none of them with
     * AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true, or ignore_configured_endpoint_urls in the profile);
     * then DynamoDB's own for the region, with AWS_USE_FIPS_ENDPOINT=true (use_fips_endpoint) and
     * AWS_USE_DUALSTACK_ENDPOINT=true (use_dualstack_endpoint) that of the kind.
     */
    const char *endpoint;
    /*
     * Default: the first that is configured of the environment (AWS_ACCESS_KEY_ID,
     * AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN), the profile (keys, role, web identity, SSO,
     * credential_process), a web identity, a container's endpoint, the instance's metadata. Which it
     * is, is settled by dynalock_open; it is asked when first needed. A key id without a secret, or
     * a secret without one, is DYNALOCK_ERR_CREDENTIALS.
     */
    const char *access_key_id;
    const char *secret_access_key;
    const char *session_token;
    /* Limit of a whole operation, its retries included; of a list, of each page. Default 30,000. */
    int64_t timeout_ms;
    /* Limit of one attempt. Default 5,000. Attempts on a lease take shorter ones where the lease asks
     * for it. */
    int64_t attempt_timeout_ms;
    /* Limit of connecting, resolving included. Default 3,000. */
    int64_t connect_timeout_ms;
    /* How long dynalock_close may take. Default 5,000. */
    int64_t close_timeout_ms;
    /* Attempts of an operation, the first included. Default: AWS_MAX_ATTEMPTS, then max_attempts of the
     * profile, then 4, AWS's own for DynamoDB. AWS_RETRY_MODE (retry_mode): standard, and adaptive and
     * legacy are taken for it. */
    int max_attempts;
    /* Connections the keeper opens, and requests it has under way, at the most: an eighth of them, and one
     * at the least where there is another, for renewals alone. Default 32. */
    int max_connections;
    /* See rule 7. */
    dynalock_log_fn log;
    void *log_context;
    uint64_t flags; /* enum dynalock_option_flag */
    /* The profile of ~/.aws/config and ~/.aws/credentials. Default: AWS_PROFILE, then "default". One
     * that is named, here or there, comes before the credentials of the environment. */
    const char *profile;
    /* A source of credentials of the caller's own, in the place of all others. */
    dynalock_credentials_fn credentials;
    void *credentials_context;
    /* A file with the certificates to trust, in PEM. Default: AWS_CA_BUNDLE, then the profile's
     * ca_bundle, then the system's. */
    const char *ca_file;
    int64_t reserved[3];
} dynalock_options;

/*
 * Opens a store: the records of one partition (the table's partition key, 1 to 2,048 bytes) of one
 * table. Sends nothing to DynamoDB: a wrong table or wrong credentials show with the first operation.
 * Where nothing names a region, the instance's metadata is asked for it, for 5 s at the most.
 * The first dynalock_open of a process calls curl_global_init, and nothing ever takes that back.
 * Before libcurl 7.84 it must not happen while another thread uses libcurl: then call it yourself
 * at the program's start, with DYNALOCK_NO_CURL_INIT or without.
 * DYNALOCK_ERR_ARGUMENT, _CONFIG, _CREDENTIALS, _MEMORY, _SYSTEM.
 */
DYNALOCK_API int dynalock_open(const char *table, const char *partition,
                               const dynalock_options *options, dynalock_store **store,
                               dynalock_error *error);

/*
 * Closes the store and frees it; NULL does nothing. Calls in progress in other threads end with
 * DYNALOCK_ERR_CLOSED. Locks that are held are released, and what cancelled tries may have left is
 * removed, as far as close_timeout_ms allows; the rest ends by its lease.
 * DYNALOCK_ERR_BUSY, with nothing done, in a callback (rule 7); otherwise 0.
 */
DYNALOCK_API int dynalock_close(dynalock_store *store);

/* ---- Values ---------------------------------------------------------------------------------- */

enum dynalock_value_kind {
    DYNALOCK_VALUE_NONE = 0,     /* the record has no value */
    DYNALOCK_VALUE_BYTES = 1,    /* stored as the Go library does: an S with base64 */
    DYNALOCK_VALUE_JSON = 2,     /* plain JSON; see dynalock_json */
    DYNALOCK_VALUE_ATTRIBUTE = 3 /* DynamoDB's attribute JSON; see dynalock_attribute */
};

/* What is written. Made by the functions below; borrowed by the calls it is passed to. */
typedef struct dynalock_value {
    int kind;
    size_t length;
    const void *bytes;
    const struct json_t *json;
} dynalock_value;

static inline dynalock_value dynalock_value_make(int kind)
{
#ifdef __cplusplus
    dynalock_value value = dynalock_value();
#else
    dynalock_value value = {0};
#endif
    value.kind = kind;
    return value;
}

/* No value. */
static inline dynalock_value dynalock_none(void)
{
    return dynalock_value_make(DYNALOCK_VALUE_NONE);
}

/* length bytes; they may be 0. */
static inline dynalock_value dynalock_bytes(const void *bytes, size_t length)
{
    dynalock_value value = dynalock_value_make(DYNALOCK_VALUE_BYTES);
    value.bytes = bytes;
    value.length = length;
    return value;
}

/*
 * Plain JSON, stored as attributes: string S, integer and real N, true and false BOOL, null NULL,
 * array L, object M. A real that is NaN, infinite or out of DynamoDB's range (1E-130 to 9.9E+125) is
 * DYNALOCK_ERR_ARGUMENT; others are written in the shortest decimal form that reads back as the same
 * double. U+0000 in strings is kept.
 */
static inline dynalock_value dynalock_json(const struct json_t *json)
{
    dynalock_value value = dynalock_value_make(DYNALOCK_VALUE_JSON);
    value.json = json;
    return value;
}

/*
 * Any attribute value in DynamoDB's own JSON, {"M":{"n":{"N":"38 digits"},"b":{"B":"base64"}}}: all
 * of S N B SS NS BS M L BOOL NULL, without loss. What DynamoDB would refuse is refused here, with
 * DYNALOCK_ERR_ARGUMENT: other types, an empty set or one with duplicates, a number of more than 38
 * digits or out of range, base64 that is not canonical, a map member without a name (plain JSON's
 * too), more than 32 levels.
 */
static inline dynalock_value dynalock_attribute(const struct json_t *json)
{
    dynalock_value value = dynalock_value_make(DYNALOCK_VALUE_ATTRIBUTE);
    value.json = json;
    return value;
}

/* ---- Records --------------------------------------------------------------------------------- */

/* Borrowed; NULL only of NULL, which this and the next seven take, and answer with NULL or 0. */
DYNALOCK_API const char *dynalock_kv_partition(const dynalock_kv *kv);
DYNALOCK_API const char *dynalock_kv_key(const dynalock_kv *kv);

/* +1 at every write. For a lock: the fencing token of who holds it, or a later number. */
DYNALOCK_API int64_t dynalock_kv_version(const dynalock_kv *kv);

/* When the record expires; 0: never. */
DYNALOCK_API int64_t dynalock_kv_expires_ms(const dynalock_kv *kv);

/* The attribute type of the value, "S"; NULL where the record has none. Borrowed. */
DYNALOCK_API const char *dynalock_kv_type(const dynalock_kv *kv);

/* For a record that a lock of this library holds: the holder's text (borrowed), and the lease in
 * milliseconds. NULL and 0 for every other record. */
DYNALOCK_API const char *dynalock_kv_holder(const dynalock_kv *kv);
DYNALOCK_API int64_t dynalock_kv_lease_ms(const dynalock_kv *kv);

/* The fencing token of who holds such a lock; 0 for every other record. It is the time of the acquisition
 * in microseconds since 1970-01-01 UTC, unless the record's version was ahead of that already. */
DYNALOCK_API int64_t dynalock_kv_token(const dynalock_kv *kv);

/*
 * The value as bytes, borrowed, with a NUL behind them that is not counted: of an S with canonical
 * base64 (as this library and Go write bytes), or of a B. DYNALOCK_ERR_TYPE otherwise, also for an S
 * that is not canonical base64 (it is never guessed) and for a record without a value;
 * DYNALOCK_ERR_MEMORY.
 */
DYNALOCK_API int dynalock_kv_bytes(dynalock_kv *kv, const void **bytes, size_t *length,
                                   dynalock_error *error);

/*
 * The value as plain JSON; a new reference, the caller's. S becomes a string as it stands, N an
 * integer where it is a whole number within int64 and else a real, BOOL, NULL, L, M what they are
 * called, B a string with its base64, SS NS BS arrays of what their members become.
 * DYNALOCK_ERR_TYPE where an N is neither an int64 nor exactly the number that a double's shortest
 * decimal form stands for, and for a record without a value; DYNALOCK_ERR_MEMORY.
 */
DYNALOCK_API int dynalock_kv_json(const dynalock_kv *kv, struct json_t **json,
                                  dynalock_error *error);

/* The value as DynamoDB's attribute JSON, {"S":"..."}; a new reference, the caller's.
 * DYNALOCK_ERR_TYPE for a record without a value; DYNALOCK_ERR_MEMORY. */
DYNALOCK_API int dynalock_kv_attribute(const dynalock_kv *kv, struct json_t **json,
                                       dynalock_error *error);

DYNALOCK_API void dynalock_kv_free(dynalock_kv *kv);

/* ---- Reading and writing --------------------------------------------------------------------- */

/*
 * Every operation below may fail with DYNALOCK_ERR_ARGUMENT (key: 1 to 1,024 bytes of UTF-8), _MEMORY,
 * _SYSTEM, _CLOSED, _FORKED, _CREDENTIALS, _CREDENTIALS_UNAVAILABLE, _NOT_AUTHORIZED, _NO_TABLE,
 * _NETWORK, _TLS, _TIMEOUT, _THROTTLED, _SERVICE, _BAD_RESPONSE, _REFUSED. A failed write says by
 * DYNALOCK_ERROR_OUTCOME_UNKNOWN that it may have happened.
 *
 * A record counts as expired, and is not seen by any of them, once server time is surely past its
 * expiry; the host's clock is not asked.
 */

typedef struct dynalock_read_options {
    bool eventually_consistent; /* half the price, and may be a second behind */
    int64_t reserved[4];
} dynalock_read_options;

typedef struct dynalock_write_options {
    int64_t ttl_ms;     /* time to live, rounded up to whole seconds; default 20,000 */
    bool never_expires; /* no expiry; not together with ttl_ms */
    int64_t reserved[4];
} dynalock_write_options;

/* Writes the record, whatever is there. Retried after a lost answer, it may be applied twice: the
 * version then grows by two; and an attempt that the network held up may be applied late, over what was
 * written since (dynalock_atomic_put replaces what it names only). Also DYNALOCK_ERR_TOO_LARGE. */
DYNALOCK_API int dynalock_put(dynalock_store *store, const char *key, dynalock_value value,
                              const dynalock_write_options *options, dynalock_error *error);

/* Also DYNALOCK_ERR_NOT_FOUND, and DYNALOCK_ERR_TYPE for a record that is not dynalock's (no int64
 * version, say). Give *kv to dynalock_kv_free. */
DYNALOCK_API int dynalock_get(dynalock_store *store, const char *key,
                              const dynalock_read_options *options, dynalock_kv **kv,
                              dynalock_error *error);

DYNALOCK_API int dynalock_exists(dynalock_store *store, const char *key,
                                 const dynalock_read_options *options, bool *exists,
                                 dynalock_error *error);

/* Removes the record, whatever is there; there being none is success. */
DYNALOCK_API int dynalock_delete(dynalock_store *store, const char *key, dynalock_error *error);

/*
 * All records whose key begins with prefix (NULL or "": all of the partition), in the order of their
 * keys as bytes. None at all is success with count 0. Give *items to dynalock_list_free. Also
 * DYNALOCK_ERR_TYPE, as dynalock_get.
 */
DYNALOCK_API int dynalock_list(dynalock_store *store, const char *prefix,
                               const dynalock_read_options *options, dynalock_kv ***items,
                               size_t *count, dynalock_error *error);

DYNALOCK_API void dynalock_list_free(dynalock_kv **items, size_t count);

/*
 * The same, item by item, with memory for one page (1 MB read by the service) only. Each kv is
 * borrowed for the time of the call. The callback returns 0 to go on; another value ends the listing
 * and is what dynalock_list_each returns (use positive ones: they are no codes of this library).
 * After a failure some items may have been handed over already.
 */
typedef int (*dynalock_list_fn)(dynalock_kv *kv, void *context);

DYNALOCK_API int dynalock_list_each(dynalock_store *store, const char *prefix,
                                    const dynalock_read_options *options, dynalock_list_fn callback,
                                    void *context, dynalock_error *error);

/*
 * Compare and swap. Without previous: creates the record; DYNALOCK_ERR_EXISTS if there is one that has
 * not expired. With previous (read, or written by an earlier atomic_put): replaces exactly that
 * record, and keeps its expiry unless options say otherwise; DYNALOCK_ERR_MODIFIED if it is another by
 * now, has expired or is gone; DYNALOCK_ERR_TYPE if it is not dynalock's. *kv, if kv is not NULL,
 * becomes the record written (give it to dynalock_kv_free). Also DYNALOCK_ERR_TOO_LARGE.
 * A lost answer is resolved: success if the write turns out to have happened. An attempt to create that
 * the network held up may find the key free, and create the record again, after it has been deleted.
 */
DYNALOCK_API int dynalock_atomic_put(dynalock_store *store, const char *key, dynalock_value value,
                                     const dynalock_kv *previous,
                                     const dynalock_write_options *options, dynalock_kv **kv,
                                     dynalock_error *error);

/*
 * Removes exactly the record previous. DYNALOCK_ERR_NOT_FOUND if there is none or it has expired,
 * DYNALOCK_ERR_MODIFIED if it is another by now. After a lost answer the record may have been removed by
 * this call, whatever is there by now: then the error has DYNALOCK_ERROR_OUTCOME_UNKNOWN.
 */
DYNALOCK_API int dynalock_atomic_delete(dynalock_store *store, const char *key,
                                        const dynalock_kv *previous, dynalock_error *error);

/* ---- The table ------------------------------------------------------------------------------- */

enum dynalock_ttl_state {
    DYNALOCK_TTL_ENABLED = 0,  /* on, or being turned on, for `expires` */
    DYNALOCK_TTL_DISABLED = 1, /* expired records are never removed, though never seen either */
    DYNALOCK_TTL_WRONG = 2,    /* on for another attribute */
    DYNALOCK_TTL_UNREADABLE =
        3, /* not allowed to ask (dynamodb:DescribeTimeToLive) or to change it */
    DYNALOCK_TTL_UNSUPPORTED = 4 /* this server has no time to live */
};

typedef struct dynalock_table_report {
    bool created;      /* by this call */
    int ttl;           /* enum dynalock_ttl_state; all but the first are warnings */
    char message[256]; /* the warning in words; "" where there is none */
    int64_t reserved[4];
} dynalock_table_report;

/*
 * Verifies the table: partition key `id` and sort key `name`, both S (else DYNALOCK_ERR_BAD_TABLE, and
 * the message says what is there), and its time to live. report may be NULL.
 * Also DYNALOCK_ERR_NO_TABLE.
 */
DYNALOCK_API int dynalock_table_verify(dynalock_store *store, dynalock_table_report *report,
                                       dynalock_error *error);

/*
 * Creates the table where there is none (on-demand capacity, time to live on `expires`), waits until
 * it is active for wait_ms at the most (0: 60,000; DYNALOCK_ERR_TIMEOUT after it), and verifies it.
 * An existing table is verified; its time to live is turned on if it is off.
 */
DYNALOCK_API int dynalock_table_create(dynalock_store *store, int64_t wait_ms,
                                       dynalock_table_report *report, dynalock_error *error);

/* ---- Locks ----------------------------------------------------------------------------------- */

/*
 * A lock is a lease: a record that its holder renews, and that others may take over once it has
 * expired. While dynalock_lock_ensure answers 0, no other client of this library holds it. What a
 * lease cannot promise: that a program which was stopped (SIGSTOP, swapping, a paused guest) in its
 * critical section notices before it goes on. Where that would do harm, hand the fencing token
 * (dynalock_lock_token) to the resource and let it refuse a token smaller than the greatest it saw.
 */

enum dynalock_renewal {
    DYNALOCK_RENEWAL_KEEPER = 0, /* the keeper renews every third of the lease */
    DYNALOCK_RENEWAL_NONE = 1    /* nobody does; the caller may, by dynalock_lock_renew */
};

enum dynalock_lock_state {
    DYNALOCK_LOCK_IDLE = 0,
    DYNALOCK_LOCK_ACQUIRING = 1,
    DYNALOCK_LOCK_HELD = 2,
    DYNALOCK_LOCK_RELEASING = 3, /* also after a release that failed: it may be repeated */
    DYNALOCK_LOCK_LOST = 4       /* until the next acquire or release */
};

/* Why a lock was lost. */
enum dynalock_cause {
    DYNALOCK_CAUSE_NONE = 0,
    DYNALOCK_CAUSE_TAKEN_OVER = 1,  /* the record is another's */
    DYNALOCK_CAUSE_GONE = 2,        /* the record was deleted */
    DYNALOCK_CAUSE_EXPIRED = 3,     /* nobody renewed it */
    DYNALOCK_CAUSE_UNREACHABLE = 4, /* no answer until the lease ended */
    DYNALOCK_CAUSE_THROTTLED = 5,
    DYNALOCK_CAUSE_SERVICE = 6,     /* the service failed until the lease ended */
    DYNALOCK_CAUSE_CREDENTIALS = 7, /* not authorised any more */
    DYNALOCK_CAUSE_CLOCK = 8,       /* server time shows that this host stood still meanwhile */
    DYNALOCK_CAUSE_CLOSED = 9       /* the store was closed */
};

/* "taken over" and so on; never NULL. */
DYNALOCK_API const char *dynalock_cause_name(int cause);

typedef void (*dynalock_lost_fn)(dynalock_lock *lock, int cause, void *context);

typedef struct dynalock_lock_options {
    int64_t ttl_ms;            /* the lease; default 20,000; must exceed twice the margin */
    int64_t poll_ms;           /* between two tries; default 3,000; +- 10 % at random */
    int64_t margin_ms;         /* given up for safety; default the greater of 250 and ttl / 1,000 */
    int64_t takeover_delay_ms; /* past a record's expiry; default 1,000 */
    /* The same for a Go client's record, by a clock that is not known; default 3,000. */
    int64_t go_takeover_delay_ms;
    /* Where time cannot be trusted: how long a Go client's record must be seen unchanged; default 20,000. */
    int64_t go_lease_ms;
    int renewal;              /* enum dynalock_renewal */
    bool keep_record;         /* release keeps the record: tokens then increase strictly */
    bool large_record;        /* the item may exceed 1 KB: each poll then costs more */
    dynalock_value value;     /* stored with the lock, for others to read */
    const char *holder;       /* who holds it, for people; default "host pid start-time" */
    dynalock_lost_fn on_lost; /* see rule 7; the lock may have been acquired anew meanwhile */
    void *context;
    int64_t reserved[8];
} dynalock_lock_options;

/* Makes a lock object, idle; sends nothing. Give it to dynalock_lock_free.
 * DYNALOCK_ERR_ARGUMENT, _TOO_LARGE, _MEMORY, _SYSTEM, _CLOSED, _FORKED. */
DYNALOCK_API int dynalock_lock_new(dynalock_store *store, const char *key,
                                   const dynalock_lock_options *options, dynalock_lock **lock,
                                   dynalock_error *error);

/* Frees the object, NULL too. A lock that is held is released in the background. on_lost is not called
 * any more after the return, and one that runs is waited for (but where it is on_lost, or the log
 * callback on the watch thread, that frees the lock). */
DYNALOCK_API void dynalock_lock_free(dynalock_lock *lock);

/*
 * Acquires the lock: tries at once, then every poll_ms and just after the holder's lease ends. wait_ms
 * limits the waiting (not the first try): 0 tries once, a negative number waits for ever. stop_fd, if
 * not negative, ends the wait when it becomes readable (or is closed at its other end): the call then
 * returns DYNALOCK_ERR_CANCELLED at once, and the keeper removes what a try still under way may win.
 * Throttling and a failing service or network do not end the wait before its limit; what will not go away does.
 *
 * DYNALOCK_ERR_NOT_ACQUIRED (the message says who holds it), _CANCELLED, _BUSY (in use by another
 * thread, or held already), _TYPE (the record is not dynalock's), or what the operations may fail
 * with. After 0 the lease is ahead: dynalock_lock_remaining_ms is greater than 0.
 */
DYNALOCK_API int dynalock_lock_acquire(dynalock_lock *lock, int stop_fd, int64_t wait_ms,
                                       dynalock_error *error);

/*
 * Renews now, and makes the lease ttl_ms from now on (0: unchanged). For DYNALOCK_RENEWAL_NONE, or to
 * change the lease. DYNALOCK_ERR_LOST, _NOT_HELD, _BUSY, _ARGUMENT, or what the operations may fail with:
 * then the lock is held as long as dynalock_lock_remaining_ms says, and may be renewed again.
 */
DYNALOCK_API int dynalock_lock_renew(dynalock_lock *lock, int64_t ttl_ms, dynalock_error *error);

/*
 * Releases the lock. Final, once sent: after any return but _BUSY and _NOT_HELD the lock is not held.
 * 0: released. DYNALOCK_ERR_LOST: it is not held, but may have been lost before. DYNALOCK_ERR_NOT_HELD: nothing to
 * release. Another code: the record may be there until it expires; release may be called again.
 */
DYNALOCK_API int dynalock_lock_release(dynalock_lock *lock, dynalock_error *error);

/* What is left of the lease; 0: not held. Costs no request and takes no mutex for long. */
DYNALOCK_API int64_t dynalock_lock_remaining_ms(dynalock_lock *lock);

/* 0 if the lock is held for min_ms more at the least. DYNALOCK_ERR_SHORT_LEASE, _LOST (the message has the
 * cause), _NOT_HELD. Costs no request. */
DYNALOCK_API int dynalock_lock_ensure(dynalock_lock *lock, int64_t min_ms, dynalock_error *error);

/* The fencing token: the record's version at acquisition; of the last tenure if not held; 0: none. */
DYNALOCK_API int64_t dynalock_lock_token(dynalock_lock *lock);

DYNALOCK_API int dynalock_lock_state(dynalock_lock *lock); /* enum dynalock_lock_state */
DYNALOCK_API int dynalock_lock_cause(
    dynalock_lock *lock); /* enum dynalock_cause, of the last tenure */

/*
 * A descriptor that is readable from the moment the lock is lost until it is acquired again. It is the
 * lock's: wait on it, do not read it, do not close it. Made by the first call. DYNALOCK_ERR_ARGUMENT,
 * _SYSTEM, _CLOSED, _FORKED.
 */
DYNALOCK_API int dynalock_lock_lost_fd(dynalock_lock *lock, int *fd, dynalock_error *error);

/*
 * Who holds the lock now, by one consistent read: dynalock_kv_holder, _token, _expires_ms of *kv tell.
 * mine, if not NULL: whether it is this object's. DYNALOCK_ERR_NOT_FOUND: nobody does.
 */
DYNALOCK_API int dynalock_lock_holder(dynalock_lock *lock, dynalock_kv **kv, bool *mine,
                                      dynalock_error *error);

/* ---- Locks in an event loop ------------------------------------------------------------------ */

/*
 * The same without waiting: an acquisition or a release is started, the keeper does it (rule 6), and its
 * end is told by an event. Wait for the descriptor in the loop (level-triggered, or take events until
 * there is none), and take the events there. Any number may be under way at once, on one thread; the
 * keeper sends max_connections requests at a time, renewals first, then releases. Until the event has
 * been taken, acquire, renew and release on that lock, and their start, answer DYNALOCK_ERR_BUSY.
 *
 * Losses are told in the same way, of every lock, besides on_lost: one that is not taken before the lock
 * is acquired or released next is told no more. The events of one lock come in the order in which they
 * happened. None is dropped for want of memory. dynalock_close ends what is under way, and tells no more.
 */

enum dynalock_lock_event_kind {
    DYNALOCK_LOCK_EVENT_NONE = 0,    /* there is no event now */
    DYNALOCK_LOCK_EVENT_ACQUIRE = 1, /* dynalock_lock_acquire_start has ended */
    DYNALOCK_LOCK_EVENT_RELEASE = 2, /* dynalock_lock_release_start has ended */
    DYNALOCK_LOCK_EVENT_LOST = 3 /* the lock was lost; it may have been acquired anew meanwhile */
};

typedef struct dynalock_lock_event {
    int kind;  /* enum dynalock_lock_event_kind */
    int code;  /* what dynalock_lock_acquire or _release would have returned; DYNALOCK_ERR_LOST */
    int cause; /* enum dynalock_cause, with DYNALOCK_ERR_LOST */
    int reserved_int;
    int64_t token;        /* the lock's fencing token */
    dynalock_lock *lock;  /* NULL: none */
    void *context;        /* dynalock_lock_options.context */
    dynalock_error error; /* where code is not 0 */
    int64_t reserved[4];
} dynalock_lock_event;

/*
 * Starts what dynalock_lock_acquire does. wait_ms: as there. The first call on a store starts its
 * threads. Nothing is sent on this thread, and nothing waited for.
 * DYNALOCK_ERR_BUSY (as dynalock_lock_acquire; or something is started, or its event not taken), _SYSTEM,
 * _MEMORY, _CLOSED, _FORKED: nothing was started. All else is told by the event.
 */
DYNALOCK_API int dynalock_lock_acquire_start(dynalock_lock *lock, int64_t wait_ms,
                                             dynalock_error *error);

/*
 * Starts what dynalock_lock_release does: final from here on. DYNALOCK_ERR_NOT_HELD, _LOST (as
 * dynalock_lock_release, without a request), _BUSY, _MEMORY, _CLOSED, _FORKED: nothing was started.
 */
DYNALOCK_API int dynalock_lock_release_start(dynalock_lock *lock, dynalock_error *error);

/*
 * Ends an acquisition that was started: its event follows at once, with DYNALOCK_ERR_CANCELLED, or with 0
 * if it was acquired just before. What it may have left is removed, as with a stop descriptor. Where
 * nothing is to be cancelled, nothing happens. DYNALOCK_ERR_CLOSED, _FORKED.
 */
DYNALOCK_API int dynalock_lock_cancel(dynalock_lock *lock, dynalock_error *error);

/*
 * The store's descriptor for events: readable while there is one to take. It is the store's: wait on it,
 * do not read it, do not close it; take it out of the loop before dynalock_close. Made by the first call.
 * DYNALOCK_ERR_SYSTEM, _CLOSED, _FORKED.
 */
DYNALOCK_API int dynalock_event_fd(dynalock_store *store, int *fd, dynalock_error *error);

/*
 * Takes the next event, without waiting; kind DYNALOCK_LOCK_EVENT_NONE where there is none. Of a lock that
 * is freed no event is taken any more. DYNALOCK_ERR_ARGUMENT, _CLOSED, _FORKED.
 */
DYNALOCK_API int dynalock_next_event(dynalock_store *store, dynalock_lock_event *event,
                                     dynalock_error *error);

/*
 * The same for one lock. Once it has a descriptor of its own, its events are taken by
 * dynalock_lock_next_event, and not by dynalock_next_event. The descriptor is the lock's, until
 * dynalock_lock_free, and readable, too, once the store is closed. DYNALOCK_ERR_SYSTEM, _MEMORY, _CLOSED,
 * _FORKED.
 */
DYNALOCK_API int dynalock_lock_event_fd(dynalock_lock *lock, int *fd, dynalock_error *error);
DYNALOCK_API int dynalock_lock_next_event(dynalock_lock *lock, dynalock_lock_event *event,
                                          dynalock_error *error);

/* ---- What goes on ---------------------------------------------------------------------------- */

typedef struct dynalock_counters {
    uint64_t operations; /* calls of DynamoDB operations, retries not counted */
    uint64_t attempts;   /* HTTP exchanges */
    uint64_t retries;
    uint64_t throttled;   /* answers */
    uint64_t unanswered;  /* attempts without one */
    uint64_t connections; /* opened */
    uint64_t acquired;
    uint64_t taken_over; /* of these, from an expired record */
    uint64_t adopted;    /* lost answers resolved: the write had happened */
    uint64_t released;
    uint64_t renewed;
    uint64_t renewals_failed;
    uint64_t lost;
    uint64_t cleanups;        /* cancelled tries that are being cleaned up now */
    uint64_t clock_conflicts; /* server times that contradicted each other */
    uint64_t events_dropped;
    uint64_t reserved[8];
} dynalock_counters;

DYNALOCK_API int dynalock_store_counters(dynalock_store *store, dynalock_counters *counters);

/* What the store has settled on, and what answers have taught it so far. The text is the store's. */
typedef struct dynalock_store_info {
    const char *region;         /* to sign with */
    const char *endpoint;       /* "https://dynamodb.eu-west-1.amazonaws.com/" */
    const char *profile;        /* "default" */
    const char *credentials;    /* where they come from, "environment"; never themselves */
    bool clock_known;           /* an answer's Date has been seen, five minutes ago at the most */
    int64_t clock_ahead_min_ms; /* the host's clock is ahead of the server's by so much at least, */
    int64_t clock_ahead_max_ms; /* and at most; negative: behind */
    int64_t reserved[8];
} dynalock_store_info;

/* Sends nothing. DYNALOCK_ERR_ARGUMENT, _CLOSED, _FORKED. */
DYNALOCK_API int dynalock_store_describe(dynalock_store *store, dynalock_store_info *info,
                                         dynalock_error *error);

typedef struct dynalock_lock_info {
    const char *key;
    int state; /* enum dynalock_lock_state */
    int cause; /* enum dynalock_cause */
    int64_t token;
    int64_t ttl_ms;
    int64_t remaining_ms;
    int64_t since_renewal_ms; /* since the last write that was granted; -1: none */
    int last_code;            /* of the last acquire, renewal or release */
    char last_error[160];     /* its words; "" */
} dynalock_lock_info;

/* All lock objects of the store as they are now. Give *infos to dynalock_locks_free.
 * DYNALOCK_ERR_MEMORY, _CLOSED, _FORKED. */
DYNALOCK_API int dynalock_locks(dynalock_store *store, dynalock_lock_info **infos, size_t *count,
                                dynalock_error *error);

DYNALOCK_API void dynalock_locks_free(dynalock_lock_info *infos);

#ifdef __cplusplus
}
#endif

#endif
