/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Servers that mean harm: whatever they answer, and however slowly, every call ends in its time and in bounded memory,
 * with the right code and its out-parameters untouched; no lock is held but by an answer that grants it; credentials go
 * nowhere else. What odd answers mean otherwise is in test_client_answers.c, test_list.c and test_providers.c; what odd
 * records do, in test_scene_stranger.c.
 */
#define _GNU_SOURCE /* stpcpy */
#include "support_environment.h"
#include "support_hostile.h"

#include <poll.h>
#include <time.h>

#define SOON_MS 10000 /* what takes less has not waited for long; the machine may be busy */
#define ROLE "arn:aws:iam::123456789012:role/rig"

static struct hostile *server;
static char kb64[64 * 1024 + 1]; /* 64 KB of x */

static int group_setup(void **state)
{
    (void)state;
    memset(kb64, 'x', sizeof kb64 - 1);
    home_make();
    environment_clear();
    server = hostile_start();
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    hostile_end(server);
    return home_remove();
}

static int make_fair(void **state)
{
    (void)state;
    hostile_choose(server, NULL, NULL);
    hostile_set(server, NULL, NULL);
    return 0;
}

#define HOSTILE_TEST(function) cmocka_unit_test_setup(function, make_fair)

/* ---- Who is answered -------------------------------------------------------------------------- */

struct victim {
    dynalock_store *store;
    dynalock_kv *record;
    dynalock_lock *renewed, *released, *idle;
};

static dynalock_lock *victim_lock(dynalock_store *store, const char *key, bool held)
{
    const dynalock_lock_options options = {.ttl_ms = 60000, .renewal = DYNALOCK_RENEWAL_NONE};
    dynalock_lock *lock = NULL;
    check(dynalock_lock_new(store, key, &options, &lock, &failure), 0);
    if (held) {
        check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    }
    return lock;
}

/* A store that has had some fair answers, and holds two locks. */
static struct victim victim_new(const dynalock_options *options)
{
    struct victim v = {.store = hostile_open(server, options)};
    check(dynalock_get(v.store, "k", NULL, &v.record, &failure), 0);
    v.renewed = victim_lock(v.store, "renewed", true);
    v.released = victim_lock(v.store, "released", true);
    v.idle = victim_lock(v.store, "idle", false);
    return v;
}

static void victim_free(struct victim *v)
{
    int64_t began_ms = monotonic_ms();
    dynalock_lock_free(v->renewed);
    dynalock_lock_free(v->released);
    dynalock_lock_free(v->idle);
    dynalock_kv_free(v->record);
    assert_int_equal(dynalock_close(v->store), 0);
    assert_true(monotonic_ms() - began_ms < SOON_MS);
}

static int op_get(struct victim *v, dynalock_error *error)
{
    dynalock_kv *kv = NULL;
    int code = dynalock_get(v->store, "k", NULL, &kv, error);
    dynalock_kv_free(kv);
    return code != 0 && kv ? 1 : code;
}

static int op_exists(struct victim *v, dynalock_error *error)
{
    bool exists = false;
    int code = dynalock_exists(v->store, "k", NULL, &exists, error);
    return code != 0 && exists ? 1 : code;
}

static int op_list(struct victim *v, dynalock_error *error)
{
    dynalock_kv **items = NULL;
    size_t count = 7;
    int code = dynalock_list(v->store, "k", NULL, &items, &count, error);
    if (code != 0) {
        return items || count != 7 ? 1 : code;
    }
    dynalock_list_free(items, count);
    return 0;
}

static int op_item(dynalock_kv *kv, void *context)
{
    (void)kv;
    (void)context;
    return 0;
}

static int op_list_each(struct victim *v, dynalock_error *error)
{
    return dynalock_list_each(v->store, NULL, NULL, op_item, NULL, error);
}

static int op_put(struct victim *v, dynalock_error *error)
{
    return dynalock_put(v->store, "k", dynalock_bytes("x", 1), NULL, error);
}

static int op_delete(struct victim *v, dynalock_error *error)
{
    return dynalock_delete(v->store, "k", error);
}

static int op_create(struct victim *v, dynalock_error *error)
{
    dynalock_kv *kv = NULL;
    int code = dynalock_atomic_put(v->store, "k", dynalock_none(), NULL, NULL, &kv, error);
    dynalock_kv_free(kv);
    return code != 0 && kv ? 1 : code;
}

static int op_replace(struct victim *v, dynalock_error *error)
{
    return dynalock_atomic_put(v->store, "k", dynalock_none(), v->record, NULL, NULL, error);
}

static int op_delete_exactly(struct victim *v, dynalock_error *error)
{
    return dynalock_atomic_delete(v->store, "k", v->record, error);
}

static int op_verify(struct victim *v, dynalock_error *error)
{
    return dynalock_table_verify(v->store, NULL, error);
}

static int op_create_table(struct victim *v, dynalock_error *error)
{
    return dynalock_table_create(v->store, 0, NULL, error);
}

static int op_acquire(struct victim *v, dynalock_error *error)
{
    int code = dynalock_lock_acquire(v->idle, -1, 0, error);
    return code != 0 && dynalock_lock_remaining_ms(v->idle) != 0 ? 1 : code;
}

static int op_holder(struct victim *v, dynalock_error *error)
{
    dynalock_kv *kv = NULL;
    bool mine = false;
    int code = dynalock_lock_holder(v->renewed, &kv, &mine, error);
    dynalock_kv_free(kv);
    return code != 0 && (kv || mine) ? 1 : code;
}

static int op_renew(struct victim *v, dynalock_error *error)
{
    return dynalock_lock_renew(v->renewed, 0, error);
}

static int op_release(struct victim *v, dynalock_error *error)
{
    int code = dynalock_lock_release(v->released, error);
    return dynalock_lock_remaining_ms(v->released) != 0 ? 1 : code;
}

struct operation {
    const char *name;
    int (*call)(struct victim *v, dynalock_error *error); /* 1: an out-parameter was touched */
    bool write;
};

static const struct operation operations[] = {
    {"get", op_get, false},
    {"exists", op_exists, false},
    {"list", op_list, false},
    {"list_each", op_list_each, false},
    {"put", op_put, true},
    {"delete", op_delete, true},
    {"atomic_put that creates", op_create, true},
    {"atomic_put that replaces", op_replace, true},
    {"atomic_delete", op_delete_exactly, true},
    {"table_verify", op_verify, false},
    {"table_create", op_create_table, false},
    {"acquire", op_acquire, true},
    {"holder", op_holder, false},
    {"renew", op_renew, true},
    {"release", op_release, true},
};

struct call {
    pthread_t thread;
    struct victim *victim;
    const struct operation *operation;
    int code;
    int64_t took_ms;
    dynalock_error error;
};

static void *call_main(void *context)
{
    struct call *call = context;
    int64_t began_ms = monotonic_ms();
    call->code = call->operation->call(call->victim, &call->error);
    call->took_ms = monotonic_ms() - began_ms;
    return NULL;
}

/* All operations at once, each on a thread of its own. */
static void call_all(struct victim *v, struct call calls[COUNT(operations)])
{
    for (size_t i = 0; i < COUNT(operations); i++) {
        calls[i] = (struct call){.victim = v, .operation = &operations[i]};
        assert_int_equal(pthread_create(&calls[i].thread, NULL, call_main, &calls[i]), 0);
    }
    for (size_t i = 0; i < COUNT(operations); i++) {
        assert_int_equal(pthread_join(calls[i].thread, NULL), 0);
    }
}

static bool message_is_plain(const char *message)
{
    for (const char *at = message; *at; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7F) {
            return false;
        }
    }
    return true;
}

/* What libcurl makes of a line that is longer than it takes has changed with its versions. */
#define LONG_LINE 1

static bool is_expected(int code, int expected)
{
    return expected == LONG_LINE ? code == DYNALOCK_ERR_MEMORY || code == DYNALOCK_ERR_NETWORK ||
                                       code == DYNALOCK_ERR_BAD_RESPONSE
                                 : code == expected;
}

/* Every operation fails with the code, in time, and nothing is asked twice. */
static void all_fail(const struct hostile_answer *answer, int code)
{
    /* Only where the time is all that ends it may it be short on a busy machine. */
    const dynalock_options options = {.attempt_timeout_ms =
                                          code == DYNALOCK_ERR_TIMEOUT ? 0 : SOON_MS};
    struct victim v = victim_new(&options);
    struct call calls[COUNT(operations)];
    hostile_set(server, NULL, answer);
    int before = hostile_requests(server, NULL);
    call_all(&v, calls);
    int asked = hostile_requests(server, NULL) - before;
    hostile_set(server, NULL, NULL);
    bool good = asked <= (int)COUNT(operations) + 1; /* and what is cleaned up */
    for (size_t i = 0; i < COUNT(operations); i++) {
        const struct call *call = &calls[i];
        bool unknown = (call->error.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN) != 0;
        if (!is_expected(call->code, code) || call->took_ms >= SOON_MS ||
            unknown != call->operation->write || !message_is_plain(call->error.message)) {
            print_error("%s: %s: %d (%s), %d ms, flags %u: %s\n", answer->what,
                        call->operation->name, call->code, dynalock_strerror(call->code),
                        (int)call->took_ms, call->error.flags, call->error.message);
            good = false;
        }
    }
    if (!good) {
        print_error("%s: %d requests\n", answer->what, asked);
    }
    victim_free(&v);
    assert_true(good);
}

/* ---- HTTP ------------------------------------------------------------------------------------- */

#define B64 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define KB B64 B64 B64 B64 B64 B64 B64 B64 B64 B64 B64 B64 B64 B64 B64 B64
#define CHUNKED HOSTILE_OK "Transfer-Encoding: chunked\r\n\r\n"

static const struct {
    struct hostile_answer answer;
    int code;
} exchanges[] = {
    {{.what = "1xx without end",
      .part = "HTTP/1.1 103 Early Hints\r\nLink: <" KB ">\r\n\r\n",
      .times = -1},
     DYNALOCK_ERR_BAD_RESPONSE},
    {{.what = "a 100 now and then",
      .part = "HTTP/1.1 100 Continue\r\n\r\n",
      .times = -1,
      .pause_ms = 40},
     DYNALOCK_ERR_TIMEOUT},
    {{.what = "headers without end", .head = HOSTILE_OK, .part = "x-more: " KB "\r\n", .times = -1},
     DYNALOCK_ERR_BAD_RESPONSE},
    {{.what = "a header without end", .head = HOSTILE_OK "x-more: ", .part = KB, .times = -1},
     LONG_LINE},
    {{.what = "a status line without end", .head = "HTTP/1.1 200 ", .part = KB, .times = -1},
     LONG_LINE},
    {{.what = "headers in small pieces",
      .head = HOSTILE_OK,
      .part = "a:b\r\n",
      .times = -1,
      .pause_ms = 40},
     DYNALOCK_ERR_TIMEOUT},
    {{.what = "a body in small pieces",
      .head = HOSTILE_OK "Content-Length: 1000\r\n\r\n{",
      .part = " ",
      .times = -1,
      .pause_ms = 40},
     DYNALOCK_ERR_TIMEOUT},
    {{.what = "trailers without end",
      .head = CHUNKED "2\r\n{}\r\n0\r\n",
      .part = "x-more: " KB "\r\n",
      .times = -1},
     DYNALOCK_ERR_BAD_RESPONSE},
    {{.what = "a chunk's extension without end", .head = CHUNKED "2;", .part = KB, .times = -1},
     DYNALOCK_ERR_TIMEOUT},
    {{.what = "empty chunks' zeros without end",
      .head = CHUNKED,
      .part = "0000000000000000",
      .times = -1},
     DYNALOCK_ERR_NETWORK},
    {{.what = "8 GB promised", .head = HOSTILE_OK "Content-Length: 8589934592\r\n\r\n{}"},
     DYNALOCK_ERR_TIMEOUT},
    {{.what = "8 EB promised", .head = HOSTILE_OK "Content-Length: 9223372036854775807\r\n\r\n{}"},
     DYNALOCK_ERR_TIMEOUT},
    {{.what = "a chunk of 4 GB promised", .head = CHUNKED "ffffffff\r\n{}"}, DYNALOCK_ERR_TIMEOUT},
    {{.what = "a chunk of more than 64 bits", .head = CHUNKED "fffffffffffffffff\r\n{}"},
     DYNALOCK_ERR_NETWORK},
    {{.what = "compressed on its way",
      .head = HOSTILE_OK "Transfer-Encoding: gzip\r\n\r\n\x1f\x8b\x08",
      .end = true},
     DYNALOCK_ERR_BAD_RESPONSE},
    {{.what = "compressed in chunks",
      .head = HOSTILE_OK "Transfer-Encoding: gzip, chunked\r\n\r\n3\r\n\x1f\x8b\x08\r\n0\r\n\r\n"},
     DYNALOCK_ERR_BAD_RESPONSE},
    {{.what = "of an unknown coding",
      .head = HOSTILE_OK "Transfer-Encoding: foo\r\nContent-Length: 5\r\n\r\n{}{}{"},
     DYNALOCK_ERR_BAD_RESPONSE},
    {{.what = "br",
      .head = HOSTILE_OK "Content-Encoding: br\r\nContent-Length: 4\r\n\r\n\x0b\x02\x80{}"},
     DYNALOCK_ERR_BAD_RESPONSE},
    {{.what = "a password asked for",
      .head = "HTTP/1.1 401 Who\r\nWWW-Authenticate: Basic realm=\"x\"\r\n"
              "WWW-Authenticate: Negotiate\r\nContent-Length: 0\r\n\r\n"},
     DYNALOCK_ERR_BAD_RESPONSE},
    {{.what = "a password asked for by a proxy",
      .head = "HTTP/1.1 407 Who\r\nProxy-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n"},
     DYNALOCK_ERR_BAD_RESPONSE},
    {{.what = "another protocol",
      .head = "HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
      .end = true},
     DYNALOCK_ERR_NETWORK},
    {{.what = "HTTP/0.9", .head = "{}", .end = true}, DYNALOCK_ERR_BAD_RESPONSE},
    {{.what = "status 0", .head = "HTTP/1.1 000 No\r\n" HOSTILE_ID "Content-Length: 2\r\n\r\n{}"},
     DYNALOCK_ERR_BAD_RESPONSE},
    {{.what = "status 999", .head = "HTTP/1.1 999 No\r\nContent-Length: 2\r\n\r\n{}"},
     DYNALOCK_ERR_BAD_RESPONSE},
    {{.what = "status -200",
      .head = "HTTP/1.1 -200 No\r\n" HOSTILE_ID "Content-Length: 2\r\n\r\n{}"},
     DYNALOCK_ERR_BAD_RESPONSE},
    {{.what = "304 with a body",
      .head = "HTTP/1.1 304 Same\r\n" HOSTILE_ID "Content-Length: 2\r\n\r\n{}"},
     DYNALOCK_ERR_BAD_RESPONSE},
    {{.what = "NUL in the headers",
      .head = HOSTILE_OK "x: a\0b\r\nContent-Length: 3\r\n\r\n{}{",
      .head_length = sizeof HOSTILE_OK - 1 + 8 + 24},
     DYNALOCK_ERR_BAD_RESPONSE},
    {{.what = "only a line's end", .head = "\r\n\r\n", .end = true}, DYNALOCK_ERR_BAD_RESPONSE},
    {{.what = "a redirection to a file",
      .head = "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n"},
     DYNALOCK_ERR_BAD_RESPONSE},
};

static void test_no_exchange_of_http_is_a_success_or_takes_long(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(exchanges); i++) {
        all_fail(&exchanges[i].answer, exchanges[i].code);
    }
}

/* ---- JSON ------------------------------------------------------------------------------------- */

/* The caller's to free. */
static char *repeated(const char *before, const char *part, size_t times, const char *middle,
                      const char *end_part, const char *after)
{
    size_t size = strlen(before) + times * (strlen(part) + strlen(end_part)) + strlen(middle) +
                  strlen(after) + 1;
    char *text = malloc(size);
    char *at = text;
    assert_non_null(text);
    at = stpcpy(at, before);
    for (size_t i = 0; i < times; i++) {
        at = stpcpy(at, part);
    }
    at = stpcpy(at, middle);
    for (size_t i = 0; i < times; i++) {
        at = stpcpy(at, end_part);
    }
    (void)stpcpy(at, after);
    return text;
}

static void all_fail_with_body(const char *what, int status, const char *body, int code)
{
    char *text = hostile_text(status, body);
    const struct hostile_answer answer = {.what = what, .head = text};
    all_fail(&answer, code);
    free(text);
}

static void test_no_json_but_an_object_of_its_own_is_a_success(void **state)
{
    static const struct {
        const char *what, *body;
    } bodies[] = {
        {"a member twice", "{\"Item\":{},\"Item\":{}}"},
        {"a byte that is no UTF-8", "{\"a\":\"\xFF\"}"},
        {"an overlong sequence", "{\"a\":\"\xC0\x80\"}"},
        {"half of a surrogate pair", "{\"a\":\"\\ud800\"}"},
        {"the other half of one", "{\"a\":\"\\udc00\\ud800\"}"},
        {"a surrogate in UTF-8", "{\"a\":\"\xED\xA0\x80\"}"},
        {"a number past doubles", "{\"Count\":1e400}"},
        {"a number of 38 digits", "{\"Count\":99999999999999999999999999999999999999}"},
        {"what is no number", "{\"Count\":NaN}"},
        {"hexadecimal", "{\"Count\":0x10}"},
        {"a comment", "{/* none */}"},
        {"a byte order mark", "\xEF\xBB\xBF{}"},
        {"a comma too many", "{\"a\":1,}"},
        {"a control character", "{\"a\":\"\n\"}"},
        {"a string", "\"{}\""},
        {"a number", "7"},
        {"nothing, in white space", " \n\t"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(bodies); i++) {
        all_fail_with_body(bodies[i].what, 200, bodies[i].body, DYNALOCK_ERR_BAD_RESPONSE);
    }
}

static void test_no_answer_is_nested_deeper_than_dynamodb_nests(void **state)
{
    static const struct {
        const char *what, *part, *end_part;
        size_t times;
    } nests[] = {
        {"2,000 arrays", "[", "]", 2000},
        {"2,000 objects", "{\"a\":", "}", 2000},
        {"100,000 arrays", "[", "]", 100000},
        {"100,000 objects", "{\"a\":", "}", 100000},
        {"100,000 arrays, none closed", "[", "", 100000},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(nests); i++) {
        char *body =
            repeated("{\"Item\":", nests[i].part, nests[i].times, "1", nests[i].end_part, "}");
        all_fail_with_body(nests[i].what, 200, body, DYNALOCK_ERR_BAD_RESPONSE);
        free(body);
    }
}

/* 31 lists and maps, one in another, and brackets in a text, which are none. */
static void test_what_dynamodb_nests_is_read(void **state)
{
    (void)state;
    char *value = repeated("", "{\"M\":{\"[{\":", 31, "{\"S\":\"[[[[{{{{\\\"[\\\\\"}", "}}", "");
    char *body = repeated(
        "{\"Item\":{\"id\":{\"S\":\"p\"},\"name\":{\"S\":\"k\"},\"version\":{\"N\":\"1\"},\"payload\":",
        "", 0, value, "", "}}");
    char *text = hostile_text(200, body);
    const struct hostile_answer answer = {.head = text};
    dynalock_store *store = hostile_open(server, NULL);
    dynalock_kv *kv = NULL;
    json_t *json = NULL;
    hostile_set(server, NULL, &answer);
    check(dynalock_get(store, "k", NULL, &kv, &failure), 0);
    check(dynalock_kv_json(kv, &json, &failure), 0);
    json_decref(json);
    dynalock_kv_free(kv);
    dynalock_close(store);
    free(text);
    free(body);
    free(value);
}

static void *small_main(void *context)
{
    struct victim *v = context;
    dynalock_error error;
    for (size_t i = 0; i < COUNT(operations); i++) {
        (void)operations[i].call(v, &error);
    }
    return NULL;
}

static void test_a_deep_answer_needs_no_deep_stack(void **state)
{
    (void)state;
    char *body = repeated("{\"Item\":", "{\"a\":", 2000, "1", "}", "}");
    char *text = hostile_text(200, body);
    const struct hostile_answer answer = {.head = text};
    struct victim v = victim_new(NULL);
    pthread_attr_t attributes;
    pthread_t thread;
    hostile_set(server, NULL, &answer);
    pthread_attr_init(&attributes);
    assert_int_equal(pthread_attr_setstacksize(&attributes, (size_t)128 * 1024), 0);
    assert_int_equal(pthread_create(&thread, &attributes, small_main, &v), 0);
    pthread_attr_destroy(&attributes);
    assert_int_equal(pthread_join(thread, NULL), 0);
    hostile_set(server, NULL, NULL);
    victim_free(&v);
    free(text);
    free(body);
}

/* ---- Errors ----------------------------------------------------------------------------------- */

static void test_an_error_of_any_shape_has_a_code_of_the_header(void **state)
{
    static const char *const bodies[] = {
        "{\"__type\":\"x#ConditionalCheckFailedException\"}",
        "{\"__type\":\"x#ConditionalCheckFailedException\",\"Item\":7}",
        "{\"__type\":\"x#ConditionalCheckFailedException\",\"Item\":{\"name\":{\"S\":\"k\"}}}",
        "{\"__type\":\"x#ConditionalCheckFailedException\",\"Item\":{\"id\":{\"S\":\"else\"},"
        "\"name\":{\"S\":\"else\"},\"version\":{\"N\":\"9223372036854775807\"},\"expires\":{\"N\":\"-1e125\"},"
        "\"nonce\":{\"S\":\"00000000000000000000000000000000.1.9223372036854775807\"},"
        "\"lease\":{\"N\":\"9223372036854775807\"}}}",
        "{\"__type\":7,\"message\":[]}",
        "{\"__type\":\"%n%s%n%s\",\"message\":\"%n%s%n%s%n%s\"}",
        "{\"__type\":\"#\",\"message\":\"\\u0000\\u001b[2J\\r\\n\\u009b\"}",
        "{\"__type\":\"\\u001b]0;x\\u0007\",\"Message\":\"a\\nb\"}",
        "{}",
        "[]",
        "",
    };
    static const int statuses[] = {400, 403, 500};
    (void)state;
    for (size_t i = 0; i < COUNT(bodies) * COUNT(statuses); i++) {
        const char *body = bodies[i / COUNT(statuses)];
        char *text = hostile_text(statuses[i % COUNT(statuses)], body);
        const struct hostile_answer answer = {.head = text};
        const dynalock_options options = {.attempt_timeout_ms = SOON_MS};
        struct victim v = victim_new(&options);
        struct call calls[COUNT(operations)];
        hostile_set(server, NULL, &answer);
        call_all(&v, calls);
        hostile_set(server, NULL, NULL);
        for (size_t k = 0; k < COUNT(operations); k++) {
            const dynalock_error *error = &calls[k].error;
            /* Of a failed server and another's record a release can say: it is gone. */
            bool may_be_0 =
                strcmp(operations[k].name, "release") == 0 && statuses[i % COUNT(statuses)] >= 500;
            if (calls[k].code == 0 && may_be_0) {
                continue;
            }
            if (calls[k].code >= 0 ||
                strcmp(dynalock_strerror(calls[k].code), dynalock_strerror(-9999)) == 0 ||
                error->code != calls[k].code || !message_is_plain(error->message) ||
                !message_is_plain(error->name) || calls[k].took_ms > SOON_MS) {
                print_error("%d %s: %s: %d, %s [%s]\n", statuses[i % COUNT(statuses)], body,
                            operations[k].name, calls[k].code, error->message, error->name);
                fail();
            }
        }
        victim_free(&v);
        free(text);
    }
}

/* ---- Size ------------------------------------------------------------------------------------- */

/* Sanitizers keep what is freed. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KEEPS_FREED_MEMORY true
#else
#define KEEPS_FREED_MEMORY false
#endif

static void assert_peak(long before_kb, long most_mb)
{
    long more_mb = (peak_kb() - before_kb) / 1024;
    if (!KEEPS_FREED_MEMORY && more_mb > most_mb) {
        fail_msg("%ld MB more", more_mb);
    }
}

static void test_bodies_without_end_are_refused_in_bounded_memory(void **state)
{
    static int (*const calls[])(struct victim *, dynalock_error *) = {op_list, op_acquire, op_renew,
                                                                      op_release};
    static const struct hostile_answer flood = {
        .head = HOSTILE_OK "\r\n{\"Items\":[{\"id\":{\"S\":\"",
        .part = kb64,
        .times = -1,
    };
    const dynalock_options options = {.attempt_timeout_ms = 10000};
    (void)state;
    long before = peak_kb();
    for (size_t k = 0; k < COUNT(calls); k++) {
        struct victim v = victim_new(&options);
        hostile_set(server, NULL, &flood);
        check(calls[k](&v, &failure), DYNALOCK_ERR_BAD_RESPONSE);
        assert_contains(failure.message, "16 MB");
        hostile_set(server, NULL, NULL);
        victim_free(&v);
    }
    assert_peak(before, 64);
}

/* A page as large as they are taken, of the smallest parts. */
static void test_a_body_of_countless_parts_is_refused_in_bounded_memory(void **state)
{
    static const char *const parts[] = {"{},", "\"\",", "0,"};
    (void)state;
    for (size_t i = 0; i < COUNT(parts); i++) {
        size_t times = (size_t)15 * 1024 * 1024 / strlen(parts[i]);
        char *body = repeated("{\"Items\":[", parts[i], times, "0", "", "]}");
        char *text = hostile_text(200, body);
        const struct hostile_answer answer = {.head = text};
        const dynalock_options options = {.attempt_timeout_ms = 10000};
        struct victim v = {.store = hostile_open(server, &options)};
        hostile_set(server, NULL, &answer);
        long before = peak_kb();
        check(op_list(&v, &failure), DYNALOCK_ERR_BAD_RESPONSE);
        assert_peak(before, 64);
        hostile_set(server, NULL, NULL);
        dynalock_close(v.store);
        free(text);
        free(body);
    }
}

/* As many parts as DynamoDB puts into an item of 400 KB. */
static void test_an_item_of_as_many_parts_as_can_be_is_read(void **state)
{
    (void)state;
    char *list = repeated("{\"L\":[", "{\"BOOL\":true},", 200000, "{\"NULL\":true}", "", "]}");
    char *body = repeated(
        "{\"Item\":{\"id\":{\"S\":\"p\"},\"name\":{\"S\":\"k\"},\"version\":{\"N\":\"1\"},\"payload\":",
        "", 0, list, "", "}}");
    char *text = hostile_text(200, body);
    const struct hostile_answer answer = {.head = text};
    const dynalock_options options = {.attempt_timeout_ms = 10000};
    struct victim v = {.store = hostile_open(server, &options)};
    hostile_set(server, NULL, &answer);
    check(op_get(&v, &failure), 0);
    hostile_set(server, NULL, NULL);
    dynalock_close(v.store);
    free(text);
    free(body);
    free(list);
}

/* ---- Lists ------------------------------------------------------------------------------------ */

/* The name in the request's ExclusiveStartKey, "x<number>"; 0: none. */
static long start_of(const char *request)
{
    const char *key = strstr(request, "ExclusiveStartKey");
    const char *name = key ? strstr(key, "\"x") : NULL;
    return name ? strtol(name + 2, NULL, 10) : 0;
}

/* Keys that come round again after *context pages. */
static char *round_pages(const char *operation, const char *request, int number, void *context)
{
    char body[300];
    (void)number;
    snprintf(body, sizeof body,
             "{\"Items\":[{\"id\":{\"S\":\"p\"},\"name\":{\"S\":\"x\"},\"version\":{\"N\":\"1\"}}],"
             "\"LastEvaluatedKey\":{\"id\":{\"S\":\"p\"},\"name\":{\"S\":\"x%ld\"}}}",
             start_of(request) % *(const long *)context + 1);
    return strcmp(operation, "Query") == 0 ? hostile_text(200, body) : NULL;
}

static void test_a_listing_that_goes_round_is_ended(void **state)
{
    static const long rounds[] = {1, 2, 3, 10, 100};
    (void)state;
    for (size_t i = 0; i < COUNT(rounds); i++) {
        dynalock_store *store = hostile_open(server, NULL);
        dynalock_kv **items = NULL;
        size_t count = 7;
        hostile_choose(server, round_pages, (void *)(uintptr_t)&rounds[i]);
        int before = hostile_requests(server, "Query");
        check(dynalock_list(store, "x", NULL, &items, &count, &failure), DYNALOCK_ERR_BAD_RESPONSE);
        assert_null(items);
        assert_int_equal(count, 7);
        check(dynalock_list_each(store, "x", NULL, op_item, NULL, &failure),
              DYNALOCK_ERR_BAD_RESPONSE);
        assert_true(hostile_requests(server, "Query") - before <= 2 * (4 * rounds[i] + 1));
        dynalock_close(store);
    }
}

/* Always another key: on pages that are empty, or (*context) have a record. */
static char *new_pages(const char *operation, const char *request, int number, void *context)
{
    static const char record[] =
        "{\"id\":{\"S\":\"p\"},\"name\":{\"S\":\"x\"},\"version\":{\"N\":\"1\"}}";
    char body[300];
    (void)request;
    snprintf(
        body, sizeof body,
        "{\"Items\":[%s],\"LastEvaluatedKey\":{\"id\":{\"S\":\"else\"},\"name\":{\"S\":\"x%09d\"}}}",
        *(const bool *)context ? record : "", number);
    return strcmp(operation, "Query") == 0 ? hostile_text(200, body) : NULL;
}

static void test_empty_pages_without_end_are_refused(void **state)
{
    static const bool with_records = false;
    (void)state;
    dynalock_store *store = hostile_open(server, NULL);
    int before = hostile_requests(server, "Query");
    hostile_choose(server, new_pages, (void *)(uintptr_t)&with_records);
    check(dynalock_list_each(store, "x", NULL, op_item, NULL, &failure), DYNALOCK_ERR_BAD_RESPONSE);
    assert_true(hostile_requests(server, "Query") - before < 200);
    dynalock_close(store);
}

static void *list_main(void *context)
{
    struct call *call = context;
    call->code = op_list_each(call->victim, &call->error);
    return NULL;
}

/* Nobody can tell it from a table of that size: its callback can end it, and closing does; it takes no memory. */
static void test_records_without_end_take_no_memory_one_by_one(void **state)
{
    static const bool with_records = true;
    (void)state;
    struct victim v = {.store = hostile_open(server, NULL)};
    struct call call = {.victim = &v};
    int before = hostile_requests(server, "Query");
    hostile_choose(server, new_pages, (void *)(uintptr_t)&with_records);
    assert_int_equal(pthread_create(&call.thread, NULL, list_main, &call), 0);
    int64_t end_ms = monotonic_ms() + 2 * SOON_MS;
    long peak = 0;
    for (int asked = 0; asked < 1000 && monotonic_ms() < end_ms;) {
        sleep_ms(1);
        asked = hostile_requests(server, "Query") - before;
        peak = peak == 0 && asked >= 100 ? peak_kb() : peak;
    }
    assert_peak(peak, 4);
    assert_int_equal(dynalock_close(v.store), 0);
    assert_int_equal(pthread_join(call.thread, NULL), 0);
    assert_int_equal(call.code, DYNALOCK_ERR_CLOSED);
}

/* ---- Dates ------------------------------------------------------------------------------------ */

static void test_dates_at_the_ends_of_time_do_no_harm(void **state)
{
    static const char *const dates[] = {
        "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
        "Date: Thu, 01 Jan 1970 00:00:01 GMT\r\n",
        "Date: Tue, 19 Jan 2038 03:14:08 GMT\r\n",
        "Date: Mon, 07 Feb 2106 06:28:16 GMT\r\n",
        "Date: Fri, 31 Dec 9999 23:59:60 GMT\r\n",
        "Date: Fri, 31 Dec 99999 23:59:59 GMT\r\n",
        "Date: Fri, 00 Foo 0000 99:99:99 GMT\r\n",
        "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nDate: Fri, 31 Dec 9999 23:59:59 GMT\r\n",
        "Date: Fri, 31 Dec 1969 23:59:59 GMT\r\n",
        "Date:\r\n",
        "",
    };
    /* Each after each: the one is what the time was thought to be when the other came. */
    for (size_t i = 0; i < COUNT(dates) * COUNT(dates); i++) {
        char text[2][400];
        struct hostile_answer answers[2];
        (void)state;
        for (size_t k = 0; k < 2; k++) {
            const char *date = dates[k == 0 ? i % COUNT(dates) : i / COUNT(dates)];
            snprintf(text[k], sizeof text[k], HOSTILE_OK "%sContent-Length: 2\r\n\r\n{}", date);
            answers[k] = (struct hostile_answer){.head = text[k]};
        }
        dynalock_store *store = hostile_open(server, NULL);
        dynalock_lock *lock = victim_lock(store, "k", false);
        hostile_set(server, NULL, &answers[0]);
        check(dynalock_put(store, "k", dynalock_none(), NULL, &failure), 0);
        int code = dynalock_lock_acquire(lock, -1, 0, &failure);
        assert_true(code == 0 || code == DYNALOCK_ERR_TIMEOUT);
        assert_true(code != 0 || dynalock_lock_token(lock) > 0);
        hostile_set(server, NULL, &answers[1]);
        check(dynalock_put(store, "k", dynalock_none(), NULL, &failure), 0);
        (void)dynalock_lock_renew(lock, 0, &failure);
        assert_true(dynalock_lock_remaining_ms(lock) <= 60000);
        (void)dynalock_lock_release(lock, &failure);
        code = dynalock_lock_acquire(lock, -1, 0, &failure);
        assert_true(code == 0 || code == DYNALOCK_ERR_TIMEOUT);
        assert_true(dynalock_lock_remaining_ms(lock) <= 60000);
        hostile_set(server, NULL, NULL);
        dynalock_lock_free(lock);
        dynalock_close(store);
    }
}

/* ---- What a server would like to be remembered ------------------------------------------------- */

static void test_nothing_a_server_asks_to_be_remembered_is(void **state)
{
    struct hostile *other = hostile_start();
    char head[1000];
    (void)state;
    snprintf(
        head, sizeof head,
        HOSTILE_OK
        "Set-Cookie: sid=1; Path=/\r\nAlt-Svc: h1=\"%s\"; ma=86400\r\n"
        "Strict-Transport-Security: max-age=31536000\r\nRefresh: 0; url=%s\r\nLocation: %s/\r\n"
        "Content-Location: %s/\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}",
        hostile_endpoint(other) + 7, hostile_endpoint(other), hostile_endpoint(other),
        hostile_endpoint(other));
    const struct hostile_answer answer = {.head = head};
    dynalock_store *store = hostile_open(server, NULL);
    hostile_set(server, NULL, &answer);
    for (int i = 0; i < 3; i++) {
        check(dynalock_delete(store, "k", &failure), 0);
    }
    char *request = hostile_request(server, "DeleteItem");
    assert_non_null(request);
    assert_null(strstr(request, "Cookie"));
    assert_int_equal(hostile_requests(other, NULL), 0);
    free(request);
    hostile_set(server, NULL, NULL);
    dynalock_close(store);
    hostile_end(other);
}

#define TOKEN "HUSHFwoGZXIvYXdzEJrtoken0123456789"

/* The session token is all of the secrets that a server gets to see. */
static char *echo(const char *operation, const char *request, int number, void *context)
{
    static const char *const names[] = {"ValidationException", "UnrecognizedClientException",
                                        "InternalServerError"};
    char body[300];
    (void)operation;
    (void)context;
    assert_true(strstr(request, TOKEN) != NULL);
    snprintf(body, sizeof body, "{\"__type\":\"x#%s\",\"message\":\"no token is %s\"}",
             names[number % (int)COUNT(names)], TOKEN);
    return hostile_text(number % 3 == 2 ? 500 : 400, body);
}

static void test_a_session_token_that_a_server_repeats_is_not_repeated(void **state)
{
    const dynalock_options options = {.session_token = TOKEN};
    (void)state;
    dynalock_store *store = hostile_open(server, &options);
    hostile_choose(server, echo, NULL);
    for (int i = 0; i < 3; i++) {
        assert_true(dynalock_delete(store, "k", &failure) < 0);
        assert_null(strstr(failure.message, "HUSH"));
    }
    hostile_choose(server, NULL, NULL);
    dynalock_close(store);
}

/* What follows an answer is none to the next request. */
static void test_an_answer_that_nobody_asked_for_is_not_taken_for_one(void **state)
{
    static const char item[] =
        "{\"Item\":{\"id\":{\"S\":\"p\"},\"name\":{\"S\":\"forged\"},\"version\":{\"N\":\"1\"}}}";
    (void)state;
    char *forged = hostile_text(200, item);
    char *both = repeated(HOSTILE_OK "Content-Length: 2\r\n\r\n{}", "", 0, forged, "", "");
    const struct hostile_answer answer = {.head = both};
    dynalock_store *store = hostile_open(server, NULL);
    for (int i = 0; i < 5; i++) {
        dynalock_kv *kv = NULL;
        hostile_set(server, NULL, &answer);
        check(dynalock_delete(store, "k", &failure), 0);
        hostile_set(server, NULL, NULL);
        check(dynalock_get(store, "k", NULL, &kv, &failure), 0);
        assert_string_equal(dynalock_kv_key(kv), "k");
        dynalock_kv_free(kv);
    }
    dynalock_close(store);
    free(both);
    free(forged);
}

/* ---- A lock that is held ---------------------------------------------------------------------- */

#define TTL_MS 900

static const struct hostile_answer troubles[] = {
    {.what = "1xx without end",
     .part = "HTTP/1.1 103 Early Hints\r\nLink: <" KB ">\r\n\r\n",
     .times = -1},
    {.what = "a body without end", .head = HOSTILE_OK "\r\n{\"a\":\"", .part = KB, .times = -1},
    {.what = "small pieces",
     .head = HOSTILE_OK "Content-Length: 1000\r\n\r\n{",
     .part = " ",
     .times = -1,
     .pause_ms = 50},
    {.what = "nothing"},
    {.what = "a closed connection", .end = true},
    {.what = "a redirection",
     .head = "HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"},
    {.what = "no HTTP", .head = "\x16\x03\x01", .end = true},
    {.what = "a failed condition of nobody's",
     .head = "HTTP/1.1 400 No\r\n" HOSTILE_ID
             "Content-Length: 80\r\n\r\n{\"__type\":\"ConditionalCheckFailedException\","
             "\"Item\":{\"nonce\":{\"S\":\"x\"}},\"a\":[[]]}"},
    {.what = "one without a record",
     .head = "HTTP/1.1 400 No\r\n" HOSTILE_ID
             "Content-Length: 44\r\n\r\n{\"__type\":\"ConditionalCheckFailedException\"}"},
};

static void test_a_held_lock_is_lost_in_time_whatever_is_answered(void **state)
{
    const dynalock_lock_options lease = {.ttl_ms = TTL_MS};
    struct hostile *servers[COUNT(troubles)];
    dynalock_store *stores[COUNT(troubles)];
    dynalock_lock *locks[COUNT(troubles)];
    int64_t held_ms[COUNT(troubles)] = {0};
    int fds[COUNT(troubles)] = {0};
    (void)state;
    for (size_t i = 0; i < COUNT(troubles); i++) {
        servers[i] = hostile_start();
        stores[i] = hostile_open(servers[i], NULL);
        check(dynalock_delete(stores[i], "k", &failure), 0);
        check(dynalock_lock_new(stores[i], "k", &lease, &locks[i], &failure), 0);
        check(dynalock_lock_lost_fd(locks[i], &fds[i], &failure), 0);
    }
    for (size_t i = 0; i < COUNT(troubles); i++) {
        check(dynalock_lock_acquire(locks[i], -1, 0, &failure), 0);
        held_ms[i] = monotonic_ms();
        hostile_set(servers[i], NULL, &troubles[i]);
    }
    for (size_t i = 0; i < COUNT(troubles); i++) {
        struct pollfd lost = {.fd = fds[i], .events = POLLIN};
        int64_t end_ms = held_ms[i] + TTL_MS;
        (void)poll(&lost, 1, end_ms > monotonic_ms() ? (int)(end_ms - monotonic_ms()) : 0);
        if (dynalock_lock_ensure(locks[i], 0, &failure) != DYNALOCK_ERR_LOST ||
            dynalock_lock_cause(locks[i]) == DYNALOCK_CAUSE_NONE ||
            hostile_requests(servers[i], "UpdateItem") == 0) {
            fail_msg("%s: the lock is %d, for %d, after %d renewals", troubles[i].what,
                     dynalock_lock_state(locks[i]), dynalock_lock_cause(locks[i]),
                     hostile_requests(servers[i], "UpdateItem"));
        }
    }
    /* The objects are as good as new. */
    for (size_t i = 0; i < COUNT(troubles); i++) {
        hostile_set(servers[i], NULL, NULL);
        check(dynalock_lock_acquire(locks[i], -1, 5000, &failure), 0);
        check(dynalock_lock_release(locks[i], &failure), 0);
        dynalock_lock_free(locks[i]);
        assert_int_equal(dynalock_close(stores[i]), 0);
        hostile_end(servers[i]);
    }
}

/* ---- Where credentials come from -------------------------------------------------------------- */

static const struct hostile_answer odd_sources[] = {
    {.what = "nothing"},
    {.what = "1xx without end",
     .part = "HTTP/1.1 103 Early Hints\r\nLink: <" KB ">\r\n\r\n",
     .times = -1},
    {.what = "headers without end", .head = HOSTILE_OK, .part = "x-more: " KB "\r\n", .times = -1},
    {.what = "a body without end", .head = HOSTILE_OK "\r\n{\"a\":\"", .part = kb64, .times = -1},
    {.what = "trailers without end",
     .head = CHUNKED "2\r\n{}\r\n0\r\n",
     .part = "x-more: " KB "\r\n",
     .times = -1},
    {.what = "small pieces",
     .head = HOSTILE_OK "Content-Length: 1000\r\n\r\n{",
     .part = " ",
     .times = -1,
     .pause_ms = 50},
    {.what = "8 GB promised", .head = HOSTILE_OK "Content-Length: 8589934592\r\n\r\n{}"},
    {.what = "a password asked for",
     .head =
         "HTTP/1.1 401 Who\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n"},
    {.what = "another protocol", .head = "\x16\x03\x01\x02", .end = true},
    {.what = "a line's end in a secret",
     .head = HOSTILE_OK
     "\r\n{\"Code\":\"Success\",\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"b\\r\\nx: y\","
     "\"Token\":\"c\\r\\nx: y\",\"Expiration\":\"9999-12-31T23:59:59Z\"}",
     .end = true},
    {.what = "an expiry that is no time",
     .head = HOSTILE_OK
     "\r\n{\"Code\":\"Success\",\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"b\",\"Token\":\"c\",\"Expiration\":1e400}",
     .end = true},
    {.what = "what is no credentials",
     .head = HOSTILE_OK "Content-Length: 38\r\n\r\n{\"AccessKeyId\":7,\"SecretAccessKey\":[]}"},
};

enum { SOURCES = 4 };

/* 0: a container, 1: instance metadata, 2: a web identity, 3: a login. */
static dynalock_store *open_with_source(int source, const char *url)
{
    static const char cache[] = ".aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json";
    const dynalock_options options = {.region = RIG_REGION,
                                      .endpoint = hostile_endpoint(server),
                                      .timeout_ms = 700,
                                      .close_timeout_ms = 20};
    dynalock_store *store = NULL;
    environment_clear();
    home_put(
        ".aws/config",
        source < 3
            ? ""
            : "[default]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = rig\n"
              "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/\n");
    home_put("token", "HUSH.web.identity");
    home_put(cache, "{\"accessToken\":\"HUSH-sso\",\"expiresAt\":\"2099-01-01T00:00:00Z\"}");
    environment_set("AWS_ENDPOINT_URL_STS", url);
    environment_set("AWS_ENDPOINT_URL_SSO", url);
    environment_set("AWS_EC2_METADATA_SERVICE_ENDPOINT", url);
    if (source == 0) {
        char full[100];
        snprintf(full, sizeof full, "%s/creds", url);
        environment_set("AWS_CONTAINER_CREDENTIALS_FULL_URI", full);
        environment_set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "HUSH-container");
    } else if (source == 2) {
        environment_set("AWS_WEB_IDENTITY_TOKEN_FILE", home_path("token"));
        environment_set("AWS_ROLE_ARN", ROLE);
    }
    check(dynalock_open("t", "p", &options, &store, &failure), 0);
    return store;
}

static void source_clean(void)
{
    environment_clear();
    home_drop("token");
    home_drop(".aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json");
}

static const struct operation op_of_source = {"delete", op_delete, false};

static bool is_lack_of_credentials(int code)
{
    return code == DYNALOCK_ERR_CREDENTIALS || code == DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE ||
           code == DYNALOCK_ERR_TIMEOUT;
}

static void sources_are_useless(const struct hostile_answer *answers, size_t count)
{
    struct hostile *servers[COUNT(odd_sources)];
    struct victim victims[COUNT(odd_sources) * SOURCES];
    struct call calls[COUNT(odd_sources) * SOURCES];
    int before = hostile_requests(server, NULL);
    long before_kb = peak_kb();
    for (size_t i = 0; i < count; i++) {
        servers[i] = hostile_start();
        hostile_set(servers[i], NULL, &answers[i]);
        for (int k = 0; k < SOURCES; k++) {
            struct victim *v = &victims[i * SOURCES + (size_t)k];
            *v = (struct victim){.store = open_with_source(k, hostile_endpoint(servers[i]))};
            struct call *call = &calls[i * SOURCES + (size_t)k];
            *call = (struct call){.victim = v, .operation = &op_of_source};
            assert_int_equal(pthread_create(&call->thread, NULL, call_main, call), 0);
        }
    }
    for (size_t i = 0; i < count * SOURCES; i++) {
        const char *what = answers[i / SOURCES].what;
        assert_int_equal(pthread_join(calls[i].thread, NULL), 0);
        if (!is_lack_of_credentials(calls[i].code) || calls[i].took_ms > SOON_MS ||
            strstr(calls[i].error.message, "HUSH") || !message_is_plain(calls[i].error.message)) {
            fail_msg("%s: source %d: %d %s", what, (int)(i % SOURCES), calls[i].code,
                     calls[i].error.message);
        }
    }
    for (size_t i = 0; i < count * SOURCES; i++) {
        int64_t began_ms = monotonic_ms();
        assert_int_equal(dynalock_close(victims[i].store), 0); /* waits for no fetch */
        assert_true(monotonic_ms() - began_ms < SOON_MS);
    }
    for (size_t i = 0; i < count; i++) {
        assert_true(hostile_requests(servers[i], NULL) > 0);
        hostile_end(servers[i]);
    }
    assert_int_equal(hostile_requests(server, NULL), before);
    assert_peak(before_kb, 64);
    source_clean();
}

static void test_no_source_of_credentials_takes_long_or_gives_what_is_none(void **state)
{
    (void)state;
    sources_are_useless(odd_sources, COUNT(odd_sources));
}

static void test_no_source_of_credentials_leads_elsewhere(void **state)
{
    static const int statuses[] = {301, 302, 303, 307, 308, 300, 201};
    struct hostile *other = hostile_start();
    struct hostile_answer answers[COUNT(statuses)];
    char heads[COUNT(statuses)][200];
    (void)state;
    for (size_t i = 0; i < COUNT(statuses); i++) {
        snprintf(
            heads[i], sizeof heads[i],
            "HTTP/1.1 %d Go\r\nLocation: %s/\r\nRefresh: 0; url=%s\r\nContent-Length: 0\r\n\r\n",
            statuses[i], hostile_endpoint(other), hostile_endpoint(other));
        answers[i] = (struct hostile_answer){.what = "a redirection", .head = heads[i]};
    }
    sources_are_useless(answers, COUNT(answers));
    assert_int_equal(hostile_requests(other, NULL), 0);
    hostile_end(other);
}

static void test_opening_without_a_region_does_not_wait_for_metadata_for_long(void **state)
{
    (void)state;
    environment_clear();
    for (size_t i = 0; i < COUNT(odd_sources); i++) {
        struct hostile *metadata = hostile_start();
        const dynalock_options options = {.access_key_id = "A", .secret_access_key = "b"};
        dynalock_store *store = NULL;
        hostile_set(metadata, NULL, &odd_sources[i]);
        environment_set("AWS_EC2_METADATA_SERVICE_ENDPOINT", hostile_endpoint(metadata));
        if (odd_sources[i].what[0] != 'n' && odd_sources[i].pause_ms == 0 && i != 6) {
            check(dynalock_open("t", "p", &options, &store, &failure), DYNALOCK_ERR_CONFIG);
            assert_true(message_is_plain(failure.message));
            assert_null(store);
        }
        hostile_end(metadata);
    }
    environment_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HOSTILE_TEST(test_no_exchange_of_http_is_a_success_or_takes_long),
        HOSTILE_TEST(test_no_json_but_an_object_of_its_own_is_a_success),
        HOSTILE_TEST(test_no_answer_is_nested_deeper_than_dynamodb_nests),
        HOSTILE_TEST(test_what_dynamodb_nests_is_read),
        HOSTILE_TEST(test_a_deep_answer_needs_no_deep_stack),
        HOSTILE_TEST(test_an_error_of_any_shape_has_a_code_of_the_header),
        HOSTILE_TEST(test_bodies_without_end_are_refused_in_bounded_memory),
        HOSTILE_TEST(test_a_body_of_countless_parts_is_refused_in_bounded_memory),
        HOSTILE_TEST(test_an_item_of_as_many_parts_as_can_be_is_read),
        HOSTILE_TEST(test_a_listing_that_goes_round_is_ended),
        HOSTILE_TEST(test_empty_pages_without_end_are_refused),
        HOSTILE_TEST(test_records_without_end_take_no_memory_one_by_one),
        HOSTILE_TEST(test_dates_at_the_ends_of_time_do_no_harm),
        HOSTILE_TEST(test_nothing_a_server_asks_to_be_remembered_is),
        HOSTILE_TEST(test_a_session_token_that_a_server_repeats_is_not_repeated),
        HOSTILE_TEST(test_an_answer_that_nobody_asked_for_is_not_taken_for_one),
        HOSTILE_TEST(test_a_held_lock_is_lost_in_time_whatever_is_answered),
        HOSTILE_TEST(test_no_source_of_credentials_takes_long_or_gives_what_is_none),
        HOSTILE_TEST(test_no_source_of_credentials_leads_elsewhere),
        HOSTILE_TEST(test_opening_without_a_region_does_not_wait_for_metadata_for_long),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
