/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the library's files share among themselves. Calls go down this list, never up:
 *   dynalock
 *   lock, acquire, renew, release, events
 *   kv, table
 *   keeper
 *   client, request, record, store
 *   refresh
 *   chain, provider*, http, easy
 *   credentials, config, profile, endpoint, transport, sigv4, json_*
 *   log, servertime, timers, os
 *   buffer, error
 */
#ifndef DYNALOCK_INTERNAL_H
#define DYNALOCK_INTERNAL_H

/* For CLOCK_BOOTTIME, timerfd, eventfd, getrandom and accept4's kin on Linux: before any other
 * header. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "dynalock.h"
#include "sigv4.h"

#if defined(__GNUC__)
#define DLK_PRINTF(text, first) __attribute__((__format__(__printf__, text, first)))
#else
#define DLK_PRINTF(text, first)
#endif

/* The structure that the member is part of. */
#define DLK_OF(type, member, pointer) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* ---- error.c --------------------------------------------------------------------------------- */

/* Fills *error (NULL: nothing) with the code, a message, and whether it is retryable,
 * everything else cleared; returns code. */
int dlk_fail(dynalock_error *error, int code, const char *format, ...) DLK_PRINTF(3, 4);
/* So that analysers see what it returns. */
#define dlk_fail(error, code, ...) ((void)dlk_fail(error, code, __VA_ARGS__), (code))
/* Copies at most size - 1 bytes without cutting a UTF-8 sequence, control characters made
 * spaces. */
void dlk_copy_text(char *to, size_t size, const char *from);
/* The length of the UTF-8 sequence at the start of text, 1 to 4; 0: there is no valid one. */
size_t dlk_utf8_sequence(const char *text, size_t length);

/* ---- buffer.c -------------------------------------------------------------------------------- */

/* Growing bytes, always with a NUL behind them once not empty. A failure (no memory, over max)
 * sticks: check once at the end. */
struct dlk_buffer {
    char *data;
    size_t length;
    size_t capacity;
    size_t max;
    bool out_of_memory;
    bool too_large;
};

void dlk_buffer_init(struct dlk_buffer *buffer, size_t max);
void dlk_buffer_free(struct dlk_buffer *buffer);  /* leaves it usable again, with the same max */
void dlk_buffer_clear(struct dlk_buffer *buffer); /* keeps the memory */
bool dlk_buffer_ok(const struct dlk_buffer *buffer);
void dlk_buffer_bytes(struct dlk_buffer *buffer, const void *bytes, size_t length);
void dlk_buffer_text(struct dlk_buffer *buffer, const char *text);
void dlk_buffer_int(struct dlk_buffer *buffer, int64_t number);
/* 0, DYNALOCK_ERR_MEMORY or DYNALOCK_ERR_TOO_LARGE, with its message. */
int dlk_buffer_result(const struct dlk_buffer *buffer, dynalock_error *error);

/* ---- json_text.c ----------------------------------------------------------------------------- */

bool dlk_is_utf8(const char *text, size_t length);
/* Valid UTF-8 of min to max bytes: 0, or DYNALOCK_ERR_ARGUMENT with a message naming `what`. */
int dlk_check_text(const char *text, size_t min, size_t max, const char *what,
                   dynalock_error *error);
/* jansson reads JSON by recursion, and threads may have small stacks: a record of 32 levels makes an answer of some 70.
 * And it makes some 200 bytes of a part: DynamoDB Local's largest page, of empty strings, has 2.9 million. */
enum { DLK_JSON_DEPTH_MAX = 128, DLK_JSON_PARTS_MAX = 3000000 };
bool dlk_json_is_sane(const char *text, size_t length);
/* Text for a request body: quoted and escaped; it must be valid UTF-8 (see dlk_check_text). */
void dlk_json_string(struct dlk_buffer *buffer, const char *text, size_t length);
void dlk_base64_encode(struct dlk_buffer *buffer, const unsigned char *bytes, size_t length);
/* Canonical only: padded, the unused bits zero, nothing else in it. bytes NULL: only looks;
 * otherwise there is room for three bytes for every four of the text. */
bool dlk_base64_decode(const char *text, size_t length, unsigned char *bytes, size_t *decoded);

/* ---- json_number.c --------------------------------------------------------------------------- */

/* A number as DynamoDB has them: digits[0].digits[1..] * 10^exponent, no zero at either end;
 * count 0: zero. */
struct dlk_number {
    bool negative;
    int count;
    int exponent;
    char digits[38];
};

enum { DLK_NUMBER_TEXT = 48 };

/* NULL, or what is wrong with the text (or the double), to be put behind its name: "is not a
 * number". */
const char *dlk_number_parse(const char *text, size_t length, struct dlk_number *number);
const char *dlk_number_from_double(double value,
                                   struct dlk_number *number); /* the shortest that reads back */
/* Some total order; 0: equal. */
int dlk_number_compare(const struct dlk_number *a, const struct dlk_number *b);
/* The greatest whole number that is not above it, clamped to int64; true: that is the number
 * itself. */
bool dlk_number_floor(const struct dlk_number *number, int64_t *floor);
/* False: no double's shortest decimal form is this number. */
bool dlk_number_to_double(const struct dlk_number *number, double *value);
/* Of what dlk_number_from_double made. */
void dlk_number_format(const struct dlk_number *number, char text[DLK_NUMBER_TEXT]);
size_t dlk_number_size(const struct dlk_number *number); /* as DynamoDB counts it */

/* ---- json_value.c: values to be written; json_value.c, json_read.c and json_codec.c know
 * jansson.h -- */

enum { DLK_ITEM_MAX = 409600, DLK_ATTRIBUTE_NAME_MAX = 65535, DLK_KEY_MAX = 1024 };

/* Appends value's attribute value ({"S":"..."}), and adds to *size its size as DynamoDB counts it.
 * Not for DYNALOCK_VALUE_NONE. Everything that DynamoDB would refuse is refused with a message that
 * says where. ARGUMENT, TYPE, TOO_LARGE, MEMORY. */
int dlk_json_value(struct dlk_buffer *buffer, const dynalock_value *value, size_t *size,
                   dynalock_error *error);

/* ---- json_read.c: attribute values as they come
 * ------------------------------------------------ */

/* DynamoDB's 32 levels are 31 lists and maps, one in another, and what stands in the innermost; an
 * empty list or map counts as the others do. */
enum { DLK_DEPTH_MAX = 31 };

/* Where in a value we are; the chain is only read when something is wrong there. */
struct dlk_place {
    const struct dlk_place *up; /* NULL: the value itself */
    const char *name;           /* a type or a member; NULL: an index */
    size_t index;
};

/* "the value at M.a.L[3] " and the reason; returns code. */
int dlk_place_fail(dynalock_error *error, int code, const struct dlk_place *place,
                   const char *reason);

void *dlk_json_first(const struct json_t *object);
void *dlk_json_next(const struct json_t *object, void *iterator);

/* Of an attribute value that came in an answer. "S"; NULL: it is no attribute value. */
const char *dlk_attribute_type(const struct json_t *attribute);
/* NULL: it is no S. */
const char *dlk_attribute_string(const struct json_t *attribute, size_t *length);
/* False: it is no N. See dlk_number_floor. */
bool dlk_attribute_floor(const struct json_t *attribute, int64_t *floor, bool *exact);
/* Decoded, with a NUL behind; give it to free. TYPE, MEMORY. */
int dlk_attribute_bytes(const struct json_t *attribute, void **bytes, size_t *length,
                        dynalock_error *error);
/* Plain JSON, a new reference. TYPE, MEMORY. */
int dlk_attribute_plain(const struct json_t *attribute, struct json_t **json,
                        dynalock_error *error);

/* ---- json_codec.c: bodies and records
 * ---------------------------------------------------------- */

/* A record as read. */
struct dynalock_kv {
    char *partition; /* this, key, nonce and holder are in one block with the structure */
    char *key;
    int64_t version;
    bool has_expires;
    int64_t expires; /* epoch seconds */
    char *nonce;     /* as it stands in the record; NULL: none */
    bool current;    /* the nonce names the record's version: holder and lease are meant */
    char *holder;    /* as they stand in the record, stale or not; NULL and 0: none */
    int64_t lease_ms;
    struct json_t *payload; /* an attribute value; NULL: none */
    void *bytes;            /* decoded when first asked for */
    size_t bytes_length;
};

struct dlk_page { /* of a Query */
    dynalock_kv **items;
    size_t count;
    char *last_key; /* the key of LastEvaluatedKey; NULL: that was the last page */
};

struct dlk_service_error { /* an error body */
    char name[64];
    char message[384];
    dynalock_kv *item;    /* of a failed condition; NULL: none came */
    bool item_unreadable; /* one came that is not a record of dynalock's */
    char item_problem[160];
    bool out_of_memory; /* it could not be read for want of memory */
};

struct dlk_table_state {
    char status[32];
    char
        keys[192]; /* what the key schema is, in words: "id (S) partition key, name (S) sort key" */
    bool keys_right;
};

struct dlk_ttl_state {
    char status[32]; /* ENABLED, ENABLING, DISABLED, DISABLING */
    char attribute[256];
};

/* Bodies of answers. BAD_RESPONSE for what is no JSON or not of the shape; TYPE for an item
 * that is not a record; MEMORY. */
int dlk_json_item(const char *body, size_t length, dynalock_kv **kv /* NULL: no item */,
                  dynalock_error *error);
int dlk_json_page(const char *body, size_t length, struct dlk_page *page, dynalock_error *error);
int dlk_json_table(const char *body, size_t length, struct dlk_table_state *state,
                   dynalock_error *error);
int dlk_json_ttl(const char *body, size_t length, struct dlk_ttl_state *state,
                 dynalock_error *error);
bool dlk_json_is_object(const char *body, size_t length); /* the whole of it, and nothing else */
/* Never fails: what cannot be read stays empty. */
void dlk_json_error(const char *body, size_t length, struct dlk_service_error *error);
void dlk_page_free(struct dlk_page *page);
/* The record that a write has made: nonce NULL: none; length 0: no payload, else the text of the attribute
 * value as dlk_json_value wrote it. Version and expiry are the caller's to set. */
int dlk_kv_make(const char *partition, const char *key, const char *nonce, const char *value_text,
                size_t value_length, dynalock_kv **kv, dynalock_error *error);

/* ---- os.c: clocks, entropy, waking, signals, fork
 * ---------------------------------------------- */

/* Microseconds. boot counts suspended time and never jumps; real is the host's idea of the time
 * since 1970. Replaceable, for tests. */
struct dlk_clock {
    int64_t (*boot_us)(void *context);
    int64_t (*real_us)(void *context);
    void *context;
};

struct dlk_clock dlk_system_clock(void);

int dlk_random(void *bytes, size_t length); /* 0 or DYNALOCK_ERR_SYSTEM; from the kernel */
uint64_t dlk_random_below(uint64_t bound);  /* for jitter: not for secrets; 0 if bound is 0 */

/* How often this process has been forked off its ancestors since the library was loaded. */
unsigned dlk_fork_generation(void);

/* What a descriptor was when it was made: a host may close it, and the number become another's. */
struct dlk_identity {
    bool is_open;
    dev_t device;
    ino_t inode;
};

/* A descriptor that is readable from wake to drain. */
struct dlk_wake {
    int read_fd;
    int write_fd; /* may be the same */
    struct dlk_identity read_identity, write_identity;
};

int dlk_wake_open(struct dlk_wake *wake); /* 0 or DYNALOCK_ERR_SYSTEM */
void dlk_wake_close(struct dlk_wake *wake);
void dlk_wake_up(const struct dlk_wake *wake);
void dlk_wake_drain(const struct dlk_wake *wake);
bool dlk_wake_works(const struct dlk_wake *wake); /* false: the host has closed its descriptor */

/* A descriptor that becomes readable after a time that counts suspended time. fd is -1 where the
 * system has none: then waits are cut in slices. */
struct dlk_alarm {
    int fd;
    struct dlk_identity identity;
    int64_t due_us; /* keeper.c's: boot clock, when it was set to go off; INT64_MAX: never */
};

int dlk_alarm_open(struct dlk_alarm *alarm);
void dlk_alarm_close(struct dlk_alarm *alarm);
void dlk_alarm_set(const struct dlk_alarm *alarm, int64_t delay_us); /* < 0: never; also drains */

bool dlk_alarm_works(const struct dlk_alarm *alarm); /* as dlk_wake_works */

/* poll(2) for at most timeout_ms (< 0: for ever) or until one of the descriptors (those < 0 are
 * left out) is readable, hung up or invalid: its index; -1: time is over or a signal came. */
int dlk_wait_readable(const int *fds, size_t count, int64_t timeout_ms);

/* A thread with all signals blocked and a stack of its own size. */
int dlk_thread_start(pthread_t *thread, void *(*run)(void *), void *context);

/* Between the two, SIGPIPE caused by this thread is swallowed. */
struct dlk_sigpipe {
    bool was_pending;
    bool was_blocked;
};

void dlk_sigpipe_hold(struct dlk_sigpipe *state);
void dlk_sigpipe_release(const struct dlk_sigpipe *state);

/* ---- timers.c: what is due next; nothing in it can fail
 * ----------------------------------------- */

struct dlk_timer {
    int64_t due_us;
    struct dlk_timer *child, *next,
        *previous; /* previous: the elder sibling, or the parent of a first child */
    bool queued;
    void (*fire)(struct dlk_timer *timer);
};

struct dlk_timers {
    struct dlk_timer *root;
};

void dlk_timers_add(struct dlk_timers *timers, struct dlk_timer *timer,
                    int64_t due_us); /* moves it, if it is there */
void dlk_timers_remove(struct dlk_timers *timers,
                       struct dlk_timer *timer); /* nothing, if it is not there */
struct dlk_timer *dlk_timers_pop(struct dlk_timers *timers,
                                 int64_t now_us); /* the first that is due; NULL: none */
bool dlk_timers_next(const struct dlk_timers *timers, int64_t *due_us);

/* ---- servertime.c: bounds on the server's time from the Date headers of its answers
 * ------------ */

struct dlk_servertime {
    bool any;
    int64_t low_us, high_us; /* bounds on (server time - boot clock), as of boot_us */
    int64_t boot_us;
    int64_t newest_us; /* when the newest sample was received */
    unsigned agreeing; /* samples since the last contradiction */
    uint64_t conflicts;
};

/* What is known at a moment. */
struct dlk_now {
    int64_t boot_us;
    int64_t lower_us,
        upper_us;     /* server time is between these; the host's clock, +- 2 s, if not known */
    int64_t real_us;  /* the host's clock, held to the bounds if they are known */
    int64_t lease_us; /* the upper bound to count a lease's `expires` from */
    bool known;       /* there is a sample that is fresh enough */
    bool trusted;     /* good enough to take a lock over by time */
};

enum dlk_sample_result {
    DLK_SAMPLE_AGREES = 0,
    DLK_SAMPLE_CONFLICTS = 1, /* with what was known */
    DLK_SAMPLE_JUMPED = 2 /* conflicts: more time has passed there than the boot clock counted */
};

/* A Date in the form that RFC 9110, 5.6.7, tells senders to use, "Sun, 06 Nov 1994 08:49:37 GMT", of the
 * years 1970 to 9999; false: another text. */
bool dlk_http_date(const char *text, int64_t *date_s);
/* "2031-01-02T03:04:05.678+01:00", of the years 1970 to 9999, the fraction left out; "UTC", as the AWS
 * command line once wrote, is taken for "Z". */
bool dlk_rfc3339(const char *text, int64_t *moment_s);
enum dlk_sample_result dlk_servertime_add(struct dlk_servertime *st, int64_t sent_us,
                                          int64_t received_us, int64_t date_s);
void dlk_servertime_now(const struct dlk_servertime *st, int64_t boot_us, int64_t real_us,
                        struct dlk_now *now);

/* ---- profile.c: the shared files ~/.aws/config and ~/.aws/credentials
 * ------------------------------- */

struct dlk_profiles;

enum dlk_section {
    DLK_SECTION_PROFILE,
    DLK_SECTION_SSO_SESSION, /* of the configuration file alone, as the next */
    DLK_SECTION_SERVICES
};

/* Both files as they are now; those that are not there, or may not be read, are empty.
 * DYNALOCK_ERR_CONFIG: one is no text, or too large. DYNALOCK_ERR_SYSTEM: no descriptor is left, or the device fails. DYNALOCK_ERR_MEMORY. */
int dlk_profiles_read(struct dlk_profiles **profiles, dynalock_error *error);
void dlk_profiles_free(struct dlk_profiles *profiles); /* wipes it; takes NULL */
/* The folder of the user; false: there is none, or its path is too long. */
bool dlk_home(char *home, size_t size);
/* Which file is there but could not be read, and why; or "". */
const char *dlk_profiles_note(const struct dlk_profiles *profiles);
/* The name of the profile to use: by option, AWS_PROFILE, or "default". */
const char *dlk_profiles_chosen(const dynalock_options *options);
bool dlk_profiles_has(const struct dlk_profiles *profiles, enum dlk_section section,
                      const char *name);
/* Borrowed, never empty; NULL: not there. The credentials file comes first: for credentials, roles and the region.
 * A property under another is "dynamodb.endpoint_url". */
const char *dlk_profiles_get(const struct dlk_profiles *profiles, enum dlk_section section,
                             const char *name, const char *key);
/* The same of a profile, the configuration file first: for all else. */
const char *dlk_profiles_setting(const struct dlk_profiles *profiles, const char *name,
                                 const char *key);

/* ---- endpoint.c: AWS's partitions, and the hosts in them
 * -------------------------------------------- */

enum { DLK_REGION_SIZE = 64, DLK_URL_SIZE = 384 };

/* The region that name means; *fips becomes true for "fips-us-east-1" and its like. */
int dlk_endpoint_region(const char *name, char region[DLK_REGION_SIZE], bool *fips,
                        dynalock_error *error);
/* "https://sts.us-east-1.amazonaws.com/" for the service "sts"; others are "dynamodb", "portal.sso", "oidc". */
int dlk_endpoint_make(const char *service, const char *region, bool fips, bool dual_stack,
                      char *url, size_t size, dynalock_error *error);

/* ---- config.c and credentials.c: options, environment and profile
 * ----------------------------------- */

struct dlk_config {
    char *profile;
    char *region; /* to sign with */
    char *url;    /* "http://127.0.0.1:8000/" */
    char *host;   /* as signed and sent: "127.0.0.1:8000" */
    bool
        lacks_region; /* nothing names one: region, url and host are NULL until dlk_config_set_region */
    char *endpoint; /* as configured; NULL: DynamoDB's own */
    bool fips, dual_stack;
    int max_attempts; /* 0: not said */
    char *ca_file;    /* NULL: not said */
};

bool dlk_trusts_environment(void); /* false: this is a set-user-id program */
/* The variable's value; NULL if unset, empty, or the environment is not trusted. */
const char *dlk_config_env(const char *name);
int dlk_config_read(struct dlk_config *config, const dynalock_options *options,
                    const struct dlk_profiles *profiles, dynalock_error *error);
/* Completes a configuration that lacks a region; NULL: there is none, and that is the error. Frees the
 * configuration where it fails. */
int dlk_config_set_region(struct dlk_config *config, const struct dlk_profiles *profiles,
                          const char *region, dynalock_error *error);
/* The URL of another service: service_id "STS", service "sts" (see dlk_endpoint_make). */
int dlk_config_endpoint(const struct dlk_config *config, const struct dlk_profiles *profiles,
                        const char *service_id, const char *service, const char *region,
                        char url[DLK_URL_SIZE], dynalock_error *error);
void dlk_config_free(struct dlk_config *config);

struct dlk_credentials {
    atomic_uint references;
    char *access_key_id, *secret_access_key, *session_token; /* token: NULL: none */
    int64_t expires_s;                                       /* epoch seconds; 0: never */
    bool stable;     /* may be used past that while nothing newer can be had */
    char source[96]; /* for people: "the environment" */
};

/* Whether a header can carry it; NULL, too. */
bool dlk_is_sendable(const char *text);
/* Copies. DYNALOCK_ERR_CREDENTIALS: one has characters that no header can carry. */
int dlk_credentials_new(struct dlk_credentials **made, const char *id, const char *secret,
                        const char *token, int64_t expires_s, const char *source,
                        dynalock_error *error);
struct dlk_credentials *dlk_credentials_ref(struct dlk_credentials *set);
void dlk_credentials_unref(struct dlk_credentials *set); /* takes NULL; the last one wipes */
void dlk_wipe_bytes(void *bytes, size_t length);
void dlk_wipe(char *text); /* and frees it; takes NULL */
/* What AWS says of a wrong signature repeats the canonical request, session token included: cuts that off. */
void dlk_cut_signed(char *words);
/* That, and what follows of the secret (NULL: none), or of its beginning. */
void dlk_cut_secret(char *words, const char *secret);

/* ---- transport.c: the only place with curl.h
 * ---------------------------------------------------- */

#define DLK_EXCHANGE_HEADERS 8

/* One HTTP exchange: a POST of body to the transport's URL. */
struct dlk_exchange {
    const char
        *headers[DLK_EXCHANGE_HEADERS]; /* whole lines, borrowed; those after the last are NULL */
    const char *body;                   /* borrowed */
    size_t body_length;
    int64_t timeout_ms;

    int64_t sent_us, received_us; /* boot clock: before anything was sent, after all was received */
    int result; /* 0: an answer came; else DYNALOCK_ERR_NETWORK, _TLS, _TIMEOUT, _MEMORY, _BAD_RESPONSE */
    bool may_have_arrived; /* result is not 0, and the request may have reached the server */
    bool connected;        /* a new connection was opened for it */
    bool resent;           /* libcurl sent it again by itself: it may have arrived twice */
    char message[256];     /* why result is not 0 */
    int status;
    struct dlk_buffer answer;
    size_t header_bytes;
    bool has_date, has_crc;
    int64_t date_s;
    uint32_t crc;
    int64_t retry_after_ms; /* -1: none */
    char request_id[64];

    void (*done)(struct dlk_exchange *exchange); /* of a loop */
    void *context;
    struct dlk_lane *lane; /* transport's own, while under way */
    struct dlk_exchange *next;
};

struct dlk_transport;
struct dlk_lane;

struct dlk_transport_settings {
    const char *url;
    const char *ca_file; /* borrowed for as long as the transport lives; NULL: libcurl's own */
    int64_t connect_timeout_ms;
    const struct dlk_clock *clock;
};

void dlk_exchange_init(struct dlk_exchange *exchange);
void dlk_exchange_free(struct dlk_exchange *exchange);

/* Once in a process, before all else here and in http.c. */
int dlk_curl_init(dynalock_error *error);
int dlk_transport_new(const struct dlk_transport_settings *settings,
                      struct dlk_transport **transport, dynalock_error *error);
void dlk_transport_free(struct dlk_transport *transport);
void dlk_transport_abandon(
    struct dlk_transport *transport); /* in a child of fork: frees what touches no connection */

/* Runs the exchange on this thread. -1: it has ended, see exchange->result. Else the index of a
 * stop descriptor that became readable: then it is still under way, to be given to dlk_loop_adopt
 * or dlk_exchange_abort. */
int dlk_exchange_run(struct dlk_transport *transport, struct dlk_exchange *exchange,
                     const int *stop_fds, size_t stop_count);
void dlk_exchange_abort(struct dlk_transport *transport, struct dlk_exchange *exchange);

/* Many exchanges at a time, on the one thread that calls these; wake may be called by any. */
struct dlk_loop;
int dlk_loop_new(struct dlk_transport *transport, int max_connections, struct dlk_loop **loop,
                 dynalock_error *error);
void dlk_loop_free(struct dlk_loop *loop); /* ends what is under way, without a call of done */
void dlk_loop_abandon(struct dlk_loop *loop);
void dlk_loop_start(struct dlk_loop *loop,
                    struct dlk_exchange *exchange); /* done is called from dlk_loop_run */
void dlk_loop_adopt(struct dlk_loop *loop, struct dlk_exchange *exchange);
void dlk_loop_run(struct dlk_loop *loop, int alarm_fd, int64_t timeout_ms);
void dlk_loop_wake(struct dlk_loop *loop);
bool dlk_loop_works(const struct dlk_loop *loop); /* false: the host has closed its descriptor */

/* ---- log.c
 * ---------------------------------------------------------------------------------------- */

/* An event and its texts, owned. */
struct dlk_event {
    dynalock_event event;
    char operation[24], key[256], request_id[64], name[64], message[256];
    struct dlk_event *next;
};

struct dlk_log {
    dynalock_log_fn callback;
    void *context;
    pthread_mutex_t mutex;
    struct dlk_event *first, **last;
    unsigned queued;
    uint64_t dropped, dropped_told;
};

int dlk_log_init(struct dlk_log *log, dynalock_log_fn callback, void *context);
void dlk_log_free(struct dlk_log *log);
void dlk_log_drop(struct dlk_log *log); /* what is queued */
uint64_t dlk_log_dropped(struct dlk_log *log);
void dlk_log(dynalock_store *store, const dynalock_event *event); /* NULL texts are "" */
void dlk_log_defer(void); /* from now on, this thread's events are the watch's to hand on */
bool dlk_log_waits(struct dlk_log *log);
void dlk_log_hand_on(dynalock_store *store); /* one of them; false: there is none */

bool dlk_in_callback(void); /* this thread is in a callback of the caller's */
void dlk_callback_begin(void);
void dlk_callback_end(void);

/* Whose turn comes first, the last of these. Some of the requests at a time are for renewals alone, and all
 * else waits for credentials that are coming. What is not ordinary is exempt from the retry budget. */
enum dlk_rank { DLK_RANK_ORDINARY, DLK_RANK_RELEASE, DLK_RANK_RENEWAL, DLK_RANKS };

/* What waits for its turn to send a request; keeper.c's. */
struct dlk_turn {
    struct dlk_turn *next, *previous;
    bool queued;
    int rank; /* enum dlk_rank */
    void (*go)(struct dlk_turn *turn);
};

struct dlk_turns {
    struct dlk_turn *first, *last;
};

/* ---- client.c: one DynamoDB call, all its attempts
 * ------------------------------------------------ */

#define DLK_CONDITION_FAILED 1 /* dlk_call.code: ConditionalCheckFailedException */

struct dlk_call {
    const char *operation; /* "PutItem" */
    const char *key;       /* for the log; borrowed */
    struct dlk_buffer body;
    bool write; /* if its answer is lost, the outcome is open */
    int rank;   /* enum dlk_rank */
    int max_attempts;
    int64_t attempt_timeout_ms;
    int64_t deadline_us;

    int attempt;
    bool unanswered; /* an attempt may have been applied without our hearing of it */
    bool throttled;
    bool clock_corrected, credentials_renewed;
    uint64_t signed_with; /* serial of the credentials */
    int spent;            /* of the retry budget, for the last retry */
    int64_t signed_s;     /* the time of the last attempt's signature */
    char *authorization;  /* header lines that are not fixed */
    char target[80], date[40];
    char *token;
    struct dlk_exchange exchange;

    int code; /* 0, DLK_CONDITION_FAILED or a code */
    dynalock_error error;
    struct dlk_service_error service;

    struct dlk_timer timer; /* keeper.c's: the next attempt */
    struct dlk_turn turn;
    bool under_way; /* it has sent an attempt, and done is to come */
    void (*done)(struct dlk_call *call);
    void *context;
    dynalock_store *store;
};

void dlk_call_init(dynalock_store *store, struct dlk_call *call, const char *operation,
                   const char *key);
void dlk_call_free(struct dlk_call *call);
/* Makes it ready to be run again with another body. */
void dlk_call_reset(dynalock_store *store, struct dlk_call *call, const char *operation);

/* Runs the call on this thread; its code. DYNALOCK_ERR_CANCELLED: stop_fd became readable,
 * DYNALOCK_ERR_CLOSED: the store is closing; then, if exchange.lane is set, an attempt is still
 * under way: to be given to dlk_keeper_adopt, or ended by dlk_call_abort. */
int dlk_call_run(dynalock_store *store, struct dlk_call *call, int stop_fd);
void dlk_call_abort(dynalock_store *store, struct dlk_call *call);
/* The same without a stop descriptor, to the end: nothing is under way when it returns. */
int dlk_call_complete(struct dlk_call *call);
/* Of a failed condition: whether the answer tells what the record is (call->service.item;
 * NULL: there is none). dynalite's does not. */
bool dlk_call_shows_record(const struct dlk_call *call);

/* The two halves, for the keeper: signs the next attempt into call->exchange (else ends the call:
 * false); takes what came of it (true: the call has ended; false: to be tried again after
 * *wait_ms). */
bool dlk_call_begin(dynalock_store *store, struct dlk_call *call);
bool dlk_call_judge(dynalock_store *store, struct dlk_call *call, int64_t *wait_ms);
/* Fills *error from the ended call, with the code that the operation makes of it. */
int dlk_call_fail(const struct dlk_call *call, int code, dynalock_error *error);

void dlk_store_now(dynalock_store *store, struct dlk_now *now);

/* ---- record.c: what a record means
 * ---------------------------------------------------------------- */

#define DLK_TENURE_SIZE 33 /* 128 random bits in hexadecimal, and a NUL */
#define DLK_NONCE_SIZE \
    80 /* between dots: tenure, write number, in a renewal what the version is
                             * ahead of the token, version */

int dlk_tenure_new(char tenure[DLK_TENURE_SIZE]); /* 0 or DYNALOCK_ERR_SYSTEM */
void dlk_nonce_make(char nonce[DLK_NONCE_SIZE], const char *tenure, unsigned write,
                    unsigned since_token, int64_t version);
bool dlk_nonce_of(const char *nonce,
                  const char *tenure); /* a write of this tenure or operation happened */
int64_t dlk_nonce_version(const char *nonce);
unsigned dlk_nonce_since_token(
    const char *nonce); /* what the version is ahead of the fencing token */
bool dlk_record_of(const dynalock_kv *kv, const char *tenure); /* and nothing else has since */
bool dlk_record_same(const dynalock_kv *kv, int64_t version, const char *nonce);
bool dlk_record_expired(const dynalock_kv *kv, const struct dlk_now *now);
int64_t dlk_seconds_down(int64_t us);
int64_t dlk_seconds_up(int64_t us);
/* Of a creation (over NULL) or a takeover. */
int64_t dlk_first_version(const struct dlk_now *now, const dynalock_kv *over);
/* Nobody but a stranger writes versions that leave no room for writes to come. */
bool dlk_version_is_spent(int64_t version);
/* An upper bound of the item's size as DynamoDB counts it. */
size_t dlk_record_size(const char *partition, const char *key, const char *holder,
                       size_t value_size, bool has_value);
int dlk_compose_value(const dynalock_value *value, struct dlk_buffer *text, size_t *size,
                      dynalock_error *error);

/* ---- request.c: the bodies of requests. Each resets the call
 * ----------------------------------------- */

#define DLK_TOMBSTONE \
    1 /* `expires` of a released record that is kept: the table's TTL leaves it alone */
#define DLK_EXPIRED_OR_NOT INT64_MIN

struct dlk_item { /* what is written */
    int64_t version;
    const char *nonce;
    bool has_expires, keep_expires; /* neither: never expires */
    int64_t expires;
    const char *holder; /* NULL: not a lock's */
    int64_t lease_ms;   /* 0: not a lock's */
    const char *value;  /* an attribute value as text; NULL: none */
    size_t value_length;
};

struct dlk_base { /* what it must be written over */
    int64_t version;
    const char *nonce;      /* NULL: has none */
    int64_t not_expired_at; /* epoch seconds, or DLK_EXPIRED_OR_NOT */
};

void dlk_request_get(dynalock_store *store, struct dlk_call *call, const char *key, bool consistent,
                     bool only_presence);
void dlk_request_query(dynalock_store *store, struct dlk_call *call, const char *prefix,
                       bool consistent, const char *start_key);
void dlk_request_put(dynalock_store *store, struct dlk_call *call, const char *key,
                     const struct dlk_item *item);
/* over: exactly this record is replaced; NULL: there must be none. */
void dlk_request_create(dynalock_store *store, struct dlk_call *call, const char *key,
                        const struct dlk_item *item, const dynalock_kv *over);
/* A renewal, if item->lease_ms > 0: payload and holder stay. Else payload is replaced, holder
 * and lease removed. */
void dlk_request_replace(dynalock_store *store, struct dlk_call *call, const char *key,
                         const struct dlk_item *item, const struct dlk_base *base);
void dlk_request_delete(dynalock_store *store, struct dlk_call *call, const char *key);
void dlk_request_delete_exactly(dynalock_store *store, struct dlk_call *call, const char *key,
                                const struct dlk_base *base);
/* The release that keeps the record: base->not_expired_at is not looked at. */
void dlk_request_keep(dynalock_store *store, struct dlk_call *call, const char *key,
                      const struct dlk_base *base, const char *nonce);
void dlk_request_table(dynalock_store *store, struct dlk_call *call, const char *operation);
void dlk_request_create_table(dynalock_store *store, struct dlk_call *call);
void dlk_request_enable_ttl(dynalock_store *store, struct dlk_call *call);

/* ---- keeper.c: the two threads
 * ---------------------------------------------------------------------- */

int dlk_keeper_start(dynalock_store *store, dynalock_error *error); /* nothing, if they run */
void dlk_keeper_stop(dynalock_store *store);                        /* ends what is under way */
void dlk_keeper_abandon(dynalock_store *store);                     /* in a child of fork */

/* A timer's fire is called without the mutex, on the keeper or the watch. The mutex is held by the
 * caller of these; forget says whether it was still to come. */
void dlk_keeper_schedule(dynalock_store *store, struct dlk_timer *timer, int64_t due_us);
bool dlk_keeper_forget(dynalock_store *store, struct dlk_timer *timer);
void dlk_watch_schedule(dynalock_store *store, struct dlk_timer *timer, int64_t due_us);
bool dlk_watch_forget(dynalock_store *store, struct dlk_timer *timer);

/* On the keeper, which sends at most max_connections requests at a time: turn->go is called as soon as
 * one may be sent, perhaps at once, in the order of asking, by rank. */
void dlk_keeper_turn(dynalock_store *store, struct dlk_turn *turn);
void dlk_keeper_leave_turn(dynalock_store *store,
                           struct dlk_turn *turn); /* nothing, if it waits not */
/* On the keeper: runs the call, whose done is called there: when its turn comes; at once, in turn->go,
 * and in done after an answer. */
void dlk_keeper_call(struct dlk_call *call);
void dlk_keeper_send(struct dlk_call *call);
/* On the keeper: no further attempt of a call that it runs is sent. If one is under way, call->done, which may
 * be another by now, is called when it has ended. */
void dlk_keeper_cancel(struct dlk_call *call);
/* On the keeper: takes over a call that dlk_call_run left under way. */
void dlk_keeper_adopt(struct dlk_call *call);

/* ---- The store
 * --------------------------------------------------------------------------------- */

enum dlk_counter {
    DLK_OPERATIONS,
    DLK_ATTEMPTS,
    DLK_RETRIES,
    DLK_THROTTLED,
    DLK_UNANSWERED,
    DLK_CONNECTIONS,
    DLK_ACQUIRED,
    DLK_TAKEN_OVER,
    DLK_ADOPTED,
    DLK_RELEASED,
    DLK_RENEWED,
    DLK_RENEWALS_FAILED,
    DLK_LOST,
    DLK_COUNTERS
};

#define DLK_RETRY_BUDGET 500 /* AWS's, of its standard mode */

/* ---- refresh.c: which credentials requests are signed with ------------------------------------- */

struct dlk_chain;

struct dlk_refresh {
    struct dlk_chain *chain;
    atomic_bool cancelled;
    pthread_mutex_t mutex;           /* of all that follows; never held across I/O */
    struct dlk_credentials *current; /* NULL: none yet */
    uint64_t serial;                 /* of current */
    bool refused;                    /* the service does not know current any more */
    int64_t force_at_us;             /* boot clock: not before it for the service's word alone */
    int64_t fetch_at_us;             /* boot clock: when to fetch the next */
    int64_t retry_at_us;             /* the same, where there is nothing to sign with */
    uint64_t fetches;                /* that have ended */
    dynalock_error error;            /* of the last that failed */
    bool fetching;                   /* its end is not published */
    bool joinable;
    pthread_t thread; /* the last that was started; it joins the one before it */
    bool has_before;
    pthread_t before;
    struct refresh_waiter *waiters;
};

/* Takes those that are fixed; others are fetched when first needed. */
int dlk_refresh_open(dynalock_store *store, dynalock_error *error);
/* What to sign with now, to be given back by dlk_credentials_unref. Never waits; begins a fetch where it
 * is time for one. DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE: there are none now. DYNALOCK_ERR_CREDENTIALS. */
int dlk_refresh_take(dynalock_store *store, struct dlk_credentials **set, uint64_t *serial,
                     dynalock_error *error);
/* Waits until there is something to take, or the fetch under way has failed, or until_us. -1; or the
 * index of the descriptor of stops (two at the most) that became readable. */
int dlk_refresh_await(dynalock_store *store, const int *stops, size_t count, int64_t until_us);
/* Whether there is nothing to sign with, but will be, or a reason why not; begins a fetch, as take. */
bool dlk_refresh_is_coming(dynalock_store *store);
/* The service knows those of that serial no more. True: others are there, or are being fetched. */
bool dlk_refresh_refuse(dynalock_store *store, uint64_t serial);
void dlk_refresh_close(
    dynalock_store *store); /* no call is in progress: ends the fetch under way */
void dlk_refresh_free(struct dlk_refresh *refresh);
void dlk_refresh_abandon(struct dlk_refresh *refresh); /* in a child of fork */

/* What event loops are to be told; events.c's, under the store's mutex. */
struct dlk_events {
    struct dynalock_lock *first, *last; /* that have something to tell, by event_next */
    struct dlk_wake wake;               /* readable while there is one */
    bool open;
};

struct dynalock_store {
    char *table, *partition;
    struct dlk_config config;
    char host_line[320]; /* "Host: " and config.host */
    struct dlk_refresh refresh;
    struct dlk_clock clock;
    int64_t timeout_ms, attempt_timeout_ms, close_timeout_ms;
    int max_attempts, max_connections;
    unsigned generation; /* of forks, at dynalock_open */

    dlk_sigv4_signer *signer;
    struct dlk_transport *transport;
    struct dlk_log log;
    atomic_uint_fast64_t counters[DLK_COUNTERS];

    /* What answers teach; client.c's. */
    pthread_mutex_t client_mutex;
    struct dlk_servertime servertime;
    int64_t sign_skew_s;
    int64_t budget;            /* AWS's retry token bucket */
    atomic_bool returns_items; /* this server returns the item of a failed condition */
    atomic_bool dateless;      /* this server has answered without a Date */
    /* lock.c's: server time jumped against the boot clock: judges every lock anew by this answer. */
    void (*jumped)(dynalock_store *store, int64_t sent_us, int64_t date_s);

    /* All that follows: under the mutex. It is never held across I/O or a callback. */
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* a call has left; a renewal, a cleanup or a callback has ended */
    bool closing, abandoned;
    unsigned users;                     /* calls in progress */
    unsigned references;                /* dynalock_open's, each lock's, each cleanup's */
    struct dlk_wake closed;             /* readable from dynalock_close on */
    struct dynalock_lock *locks, *owed; /* owed: their on_lost is to be called */
    size_t lock_count;
    struct dlk_cleanup *cleanups;

    /* keeper.c's. */
    bool starting, running, stopping;
    bool watch_is_calling; /* is in a callback */
    pthread_t keeper_thread, watch_thread;
    struct dlk_loop *loop;
    struct dlk_alarm keeper_alarm, watch_alarm;
    struct dlk_wake watch_wake;
    struct dlk_timers keeper_timers, watch_timers;
    unsigned started; /* operations that are under way without anybody waiting */
    struct dlk_events events;
    /* The keeper's own, without the mutex. */
    struct dlk_turns turns[DLK_RANKS];
    int sending; /* requests */
    struct dlk_renewal *spare_renewals;
    int spare_renewal_count;
    bool keeper_is_deaf;       /* the host has closed what wakes it up */
    int64_t keeper_listens_us; /* when to look for that again */
    struct dlk_timer credentials_timer;
    /* lock.c's: runs one callback that is owed, on the watch; false: none is. */
    bool (*tell)(dynalock_store *store);
};

/* ---- store.c: what every call on a store needs
 * ------------------------------------------------ */

/* Every public function on a store is between these two. enter: 0, DYNALOCK_ERR_FORKED, _CLOSED. */
int dlk_enter(dynalock_store *store, dynalock_error *error);
void dlk_leave(dynalock_store *store);
/* Between the two, this thread is not cancelled: enter and leave call them. */
void dlk_cancel_later(void);
void dlk_cancel_as_before(void);
void dlk_store_unref(dynalock_store *store);
void dlk_store_free(dynalock_store *store);
int64_t dlk_store_boot_us(const dynalock_store *store); /* its boot clock, now */
void dlk_count(dynalock_store *store, enum dlk_counter counter);
/* With the mutex held: waits for store->changed; false: it is past until_us already. */
bool dlk_wait_changed(dynalock_store *store, int64_t until_us);
int dlk_check_reserved(const int64_t *reserved, size_t count, dynalock_error *error);

/* ---- lock.c: what dynalock.c needs of it ----------------------------------------------------- */

void dlk_locks_init(dynalock_store *store);
/* Closing, in order: releases what is held, until then; drops, after the threads have ended, what
 * was still to come. */
void dlk_locks_close(dynalock_store *store, int64_t until_us);
void dlk_locks_closed(dynalock_store *store);
/* In a child of fork: frees the store, when no lock is left. */
void dlk_locks_abandon(dynalock_store *store);
void dlk_events_close(dynalock_store *store);
void dlk_cleanups_drop(dynalock_store *store); /* the keeper has ended */
unsigned dlk_cleanups_pending(dynalock_store *store);

#endif
