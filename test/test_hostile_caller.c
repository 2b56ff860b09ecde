/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Callers that mean harm, or know no better: arguments that make no sense, texts that are formats, JSON or control
 * characters, no descriptors left, threads that are cancelled amid a call. Each call returns a code, nothing crashes,
 * and store and lock are as good as before.
 */
#define _GNU_SOURCE /* pipe2, clearenv */
#include "support_environment.h"
#include "support_hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct hostile *server;

static int group_setup(void **state)
{
    (void)state;
    environment_clear();
    server = hostile_start();
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    hostile_end(server);
    return 0;
}

static int make_fair(void **state)
{
    (void)state;
    hostile_choose(server, NULL, NULL);
    hostile_set(server, NULL, NULL);
    return 0;
}

#define CALLER_TEST(function) cmocka_unit_test_setup(function, make_fair)

/* ---- NULL ------------------------------------------------------------------------------------- */

static int show(dynalock_kv *kv, void *context)
{
    (void)kv;
    (void)context;
    return 0;
}

#define REFUSED(call)                        \
    do {                                     \
        int code = (call);                   \
        if (code != DYNALOCK_ERR_ARGUMENT) { \
            fail_msg("%s: %d", #call, code); \
        }                                    \
    } while (0)

/* With NULL in the place of each object, text and result in turn; and of the error, each time. */
static void test_null_is_refused_in_every_place(void **state)
{
    (void)state;
    const dynalock_value none = dynalock_none();
    dynalock_store *s = hostile_open(server, NULL), *made = NULL;
    dynalock_kv *kv = NULL, **items = NULL, *got = NULL;
    dynalock_lock *lock = NULL, *l = NULL;
    dynalock_lock_info *infos = NULL;
    dynalock_lock_event event;
    dynalock_store_info info;
    dynalock_counters counters;
    const void *bytes = NULL;
    json_t *json = NULL;
    size_t n = 0;
    bool exists = false;
    int fd = -1;
    check(dynalock_get(s, "k", NULL, &kv, &failure), 0);
    check(dynalock_lock_new(s, "k", NULL, &l, &failure), 0);
    int before = hostile_requests(server, NULL);

    REFUSED(dynalock_open(NULL, "p", NULL, &made, NULL));
    REFUSED(dynalock_open("t", NULL, NULL, &made, NULL));
    REFUSED(dynalock_open("t", "p", NULL, NULL, NULL));
    REFUSED(dynalock_put(NULL, "k", none, NULL, NULL));
    REFUSED(dynalock_put(s, NULL, none, NULL, NULL));
    REFUSED(dynalock_get(NULL, "k", NULL, &got, NULL));
    REFUSED(dynalock_get(s, NULL, NULL, &got, NULL));
    REFUSED(dynalock_get(s, "k", NULL, NULL, NULL));
    REFUSED(dynalock_exists(NULL, "k", NULL, &exists, NULL));
    REFUSED(dynalock_exists(s, NULL, NULL, &exists, NULL));
    REFUSED(dynalock_exists(s, "k", NULL, NULL, NULL));
    REFUSED(dynalock_delete(NULL, "k", NULL));
    REFUSED(dynalock_delete(s, NULL, NULL));
    REFUSED(dynalock_list(NULL, "k", NULL, &items, &n, NULL));
    REFUSED(dynalock_list(s, "k", NULL, NULL, &n, NULL));
    REFUSED(dynalock_list(s, "k", NULL, &items, NULL, NULL));
    REFUSED(dynalock_list_each(NULL, "k", NULL, show, NULL, NULL));
    REFUSED(dynalock_list_each(s, "k", NULL, NULL, NULL, NULL));
    REFUSED(dynalock_atomic_put(NULL, "k", none, NULL, NULL, &got, NULL));
    REFUSED(dynalock_atomic_put(s, NULL, none, kv, NULL, &got, NULL));
    REFUSED(dynalock_atomic_delete(NULL, "k", kv, NULL));
    REFUSED(dynalock_atomic_delete(s, NULL, kv, NULL));
    REFUSED(dynalock_atomic_delete(s, "k", NULL, NULL));
    REFUSED(dynalock_table_verify(NULL, NULL, NULL));
    REFUSED(dynalock_table_create(NULL, 0, NULL, NULL));
    REFUSED(dynalock_kv_bytes(NULL, &bytes, &n, NULL));
    REFUSED(dynalock_kv_bytes(kv, NULL, &n, NULL));
    REFUSED(dynalock_kv_bytes(kv, &bytes, NULL, NULL));
    REFUSED(dynalock_kv_json(NULL, &json, NULL));
    REFUSED(dynalock_kv_json(kv, NULL, NULL));
    REFUSED(dynalock_kv_attribute(NULL, &json, NULL));
    REFUSED(dynalock_kv_attribute(kv, NULL, NULL));
    REFUSED(dynalock_lock_new(NULL, "k", NULL, &lock, NULL));
    REFUSED(dynalock_lock_new(s, NULL, NULL, &lock, NULL));
    REFUSED(dynalock_lock_new(s, "k", NULL, NULL, NULL));
    REFUSED(dynalock_lock_acquire(NULL, -1, 0, NULL));
    REFUSED(dynalock_lock_renew(NULL, 0, NULL));
    REFUSED(dynalock_lock_release(NULL, NULL));
    REFUSED(dynalock_lock_ensure(NULL, 0, NULL));
    REFUSED(dynalock_lock_lost_fd(NULL, &fd, NULL));
    REFUSED(dynalock_lock_lost_fd(l, NULL, NULL));
    REFUSED(dynalock_lock_holder(NULL, &got, NULL, NULL));
    REFUSED(dynalock_lock_holder(l, NULL, NULL, NULL));
    REFUSED(dynalock_lock_acquire_start(NULL, 0, NULL));
    REFUSED(dynalock_lock_release_start(NULL, NULL));
    REFUSED(dynalock_lock_cancel(NULL, NULL));
    REFUSED(dynalock_event_fd(NULL, &fd, NULL));
    REFUSED(dynalock_event_fd(s, NULL, NULL));
    REFUSED(dynalock_next_event(NULL, &event, NULL));
    REFUSED(dynalock_next_event(s, NULL, NULL));
    REFUSED(dynalock_lock_event_fd(NULL, &fd, NULL));
    REFUSED(dynalock_lock_event_fd(l, NULL, NULL));
    REFUSED(dynalock_lock_next_event(NULL, &event, NULL));
    REFUSED(dynalock_lock_next_event(l, NULL, NULL));
    REFUSED(dynalock_store_counters(NULL, &counters));
    REFUSED(dynalock_store_counters(s, NULL));
    REFUSED(dynalock_store_describe(NULL, &info, NULL));
    REFUSED(dynalock_store_describe(s, NULL, NULL));
    REFUSED(dynalock_locks(NULL, &infos, &n, NULL));
    REFUSED(dynalock_locks(s, NULL, &n, NULL));
    REFUSED(dynalock_locks(s, &infos, NULL, NULL));
    assert_int_equal(dynalock_lock_remaining_ms(NULL), 0);
    assert_int_equal(dynalock_lock_token(NULL), 0);
    assert_int_equal(dynalock_lock_state(NULL), DYNALOCK_LOCK_IDLE);
    assert_int_equal(dynalock_lock_cause(NULL), DYNALOCK_CAUSE_NONE);
    dynalock_kv_free(NULL);
    dynalock_list_free(NULL, 0);
    dynalock_locks_free(NULL);
    dynalock_lock_free(NULL);
    assert_int_equal(dynalock_close(NULL), 0);
    assert_int_equal(hostile_requests(server, NULL), before);
    assert_true(!made && !items && !got && !lock && !infos && !json && !bytes && fd == -1 &&
                n == 0);
    dynalock_kv_free(kv);
    dynalock_lock_free(l);
    dynalock_close(s);
}

static void test_no_record_has_nothing(void **state)
{
    (void)state;
    assert_null(dynalock_kv_partition(NULL));
    assert_null(dynalock_kv_key(NULL));
    assert_int_equal(dynalock_kv_version(NULL), 0);
    assert_int_equal(dynalock_kv_expires_ms(NULL), 0);
    assert_null(dynalock_kv_type(NULL));
    assert_null(dynalock_kv_holder(NULL));
    assert_int_equal(dynalock_kv_lease_ms(NULL), 0);
    assert_int_equal(dynalock_kv_token(NULL), 0);
}

static void test_names_of_any_number_are_texts(void **state)
{
    static const int numbers[] = {INT_MIN, -1000, -30, -29, -1, 0, 1, 9, 10, 15, 16, 1000, INT_MAX};
    (void)state;
    for (size_t i = 0; i < COUNT(numbers); i++) {
        assert_true(strlen(dynalock_strerror(numbers[i])) > 0);
        assert_true(strlen(dynalock_event_name(numbers[i])) > 0);
        assert_true(strlen(dynalock_cause_name(numbers[i])) > 0);
        (void)dynalock_is_retryable(numbers[i]);
    }
}

/* ---- Numbers ---------------------------------------------------------------------------------- */

static const int64_t ends[] = {
    INT64_MIN,           INT64_MIN + 1,        INT64_MIN / 1000, -1,
    INT64_MAX / 1000000, INT64_MAX / 1000 + 1, INT64_MAX - 1,    INT64_MAX};

static char *held_by_another(const char *operation, const char *request, int number, void *context)
{
    (void)request;
    (void)number;
    (void)context;
    return strcmp(operation, "PutItem") != 0
               ? NULL
               : hostile_text(
                     400, "{\"__type\":\"x#ConditionalCheckFailedException\",\"Item\":{"
                          "\"id\":{\"S\":\"p\"},\"name\":{\"S\":\"k\"},\"version\":{\"N\":\"7\"},"
                          "\"expires\":{\"N\":\"99999999999\"}}}");
}

static void test_times_at_the_ends_of_their_range_are_limits_or_refused(void **state)
{
    (void)state;
    dynalock_store *s = hostile_open(server, NULL);
    dynalock_lock *lock = NULL;
    int pipe_fds[2];
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    assert_int_equal(write(pipe_fds[1], "", 1), 1);
    check(dynalock_delete(s, "k", &failure), 0); /* it knows the time */
    check(dynalock_lock_new(s, "k", NULL, &lock, &failure), 0);
    for (size_t i = 0; i < COUNT(ends); i++) {
        const dynalock_write_options writing = {.ttl_ms = ends[i]};
        check(dynalock_put(s, "k", dynalock_none(), &writing, &failure), DYNALOCK_ERR_ARGUMENT);
        check(dynalock_table_create(s, ends[i], NULL, &failure), DYNALOCK_ERR_ARGUMENT);
        for (int k = 0; k < 6; k++) {
            dynalock_lock_options options = {0};
            dynalock_lock *none = NULL;
            int64_t *const times[] = {&options.ttl_ms,
                                      &options.poll_ms,
                                      &options.margin_ms,
                                      &options.takeover_delay_ms,
                                      &options.go_takeover_delay_ms,
                                      &options.go_lease_ms};
            *times[k] = ends[i];
            check(dynalock_lock_new(s, "k", &options, &none, &failure), DYNALOCK_ERR_ARGUMENT);
        }
        check(dynalock_lock_acquire(lock, -1, ends[i], &failure), 0);
        check(dynalock_lock_renew(lock, ends[i], &failure), DYNALOCK_ERR_ARGUMENT);
        check(dynalock_lock_ensure(lock, ends[i], &failure),
              ends[i] < 0 ? 0 : DYNALOCK_ERR_SHORT_LEASE);
        check(dynalock_lock_release(lock, &failure), 0);
        check(dynalock_lock_renew(lock, ends[i], &failure), DYNALOCK_ERR_NOT_HELD);
    }
    hostile_choose(server, held_by_another, NULL);
    for (size_t i = 0; i < COUNT(ends); i++) {
        check(dynalock_lock_acquire(lock, pipe_fds[0], ends[i], &failure), DYNALOCK_ERR_CANCELLED);
        check(dynalock_lock_acquire_start(lock, ends[i], &failure), 0);
        check(dynalock_lock_cancel(lock, &failure), 0);
        dynalock_lock_event event = {.kind = DYNALOCK_LOCK_EVENT_NONE};
        for (int64_t end_ms = monotonic_ms() + 20000; event.kind == 0 && monotonic_ms() < end_ms;) {
            check(dynalock_next_event(s, &event, &failure), 0);
            sleep_ms(1);
        }
        assert_int_equal(event.code, DYNALOCK_ERR_CANCELLED);
    }
    dynalock_lock_free(lock);
    dynalock_close(s);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

/* What is not open is no reason to stop; what is always readable is. */
static void test_a_stop_descriptor_may_be_anything(void **state)
{
    (void)state;
    int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    const struct {
        int fd, code;
    } cases[] = {{INT_MIN, 0},
                 {-2, 0},
                 {null_fd, DYNALOCK_ERR_CANCELLED},
                 {INT_MAX, DYNALOCK_ERR_CANCELLED},
                 {1000000, DYNALOCK_ERR_CANCELLED}};
    dynalock_store *s = hostile_open(server, NULL);
    dynalock_lock *lock = NULL;
    check(dynalock_delete(s, "k", &failure), 0);
    check(dynalock_lock_new(s, "k", NULL, &lock, &failure), 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        check(dynalock_lock_acquire(lock, cases[i].fd, 0, &failure), cases[i].code);
        if (cases[i].code == 0) {
            check(dynalock_lock_release(lock, &failure), 0);
        }
    }
    dynalock_lock_free(lock);
    dynalock_close(s);
    close(null_fd);
}

/* ---- Texts ------------------------------------------------------------------------------------ */

static char *text_of(char byte, size_t length)
{
    char *text = malloc(length + 1);
    assert_non_null(text);
    memset(text, byte, length);
    text[length] = '\0';
    return text;
}

static int open_named(const char *table, const char *partition, dynalock_store **store)
{
    const dynalock_options options = {.region = RIG_REGION,
                                      .endpoint = hostile_endpoint(server),
                                      .access_key_id = RIG_KEY_ID,
                                      .secret_access_key = RIG_SECRET,
                                      .max_attempts = 1,
                                      .close_timeout_ms = 20};
    return dynalock_open(table, partition, &options, store, &failure);
}

static void test_texts_are_taken_up_to_their_limits(void **state)
{
    (void)state;
    char *longest = text_of('x', 2049);
    dynalock_store *s = NULL;
    dynalock_lock *lock = NULL;
    check(open_named("t", longest, &s), DYNALOCK_ERR_ARGUMENT);
    check(open_named(longest, "p", &s), DYNALOCK_ERR_ARGUMENT);
    longest[2048] = '\0';
    check(open_named("t", longest, &s), 0);
    longest[1025] = '\0';
    check(dynalock_put(s, longest, dynalock_none(), NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_list_each(s, longest, NULL, show, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    longest[1024] = '\0';
    check(dynalock_put(s, longest, dynalock_none(), NULL, &failure), 0);
    check(dynalock_list_each(s, longest, NULL, show, NULL, &failure), 0);
    check(dynalock_lock_new(s, longest, NULL, &lock, &failure), DYNALOCK_ERR_TOO_LARGE);
    dynalock_lock_options options = {.holder = longest, .large_record = true};
    longest[1000] = '\0';
    check(dynalock_lock_new(s, "k", &options, &lock, &failure), DYNALOCK_ERR_ARGUMENT);
    longest[512] = '\0';
    check(dynalock_lock_new(s, "k", &options, &lock, &failure), 0);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    dynalock_lock_free(lock);
    dynalock_close(s);
    free(longest);
}

/* The body of the newest request, as JSON: the texts in it must be what they were. */
static json_t *sent(const char *operation)
{
    char *request = hostile_request(server, operation);
    assert_non_null(request);
    const char *body = strstr(request, "\r\n\r\n");
    json_t *json = body ? json_loads(body + 4, JSON_REJECT_DUPLICATES, NULL) : NULL;
    free(request);
    assert_non_null(json);
    return json;
}

static void assert_sent(const json_t *key, const char *name, const char *text)
{
    assert_string_equal(json_string_value(json_object_get(json_object_get(key, name), "S")), text);
}

static void assert_plain(const char *text)
{
    for (const char *at = text; *at; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7F) {
            fail_msg("a control character in \"%s\"", text);
        }
    }
}

/* In the place of table, partition, key, holder and value: nothing of them is taken for a format, for JSON or for the
 * end of a line; messages repeat them as text. */
static void test_no_text_is_taken_for_anything_else(void **state)
{
    static const char *const texts[] = {
        "%n%s%n%s%n%s%n%s%n%s%n%s%n%s%n%s%n%s%n%s%d%c%p%.999999999d%*d",
        "\"},\"x\":{\"S\":\"y\"},\"z\":{\"S\":\"",
        "\\\"\\\\\\",
        "\\u0000",
        "a\r\nX-Amz-Target: DynamoDB_20120810.DeleteTable\r\n\r\n",
        "\x1b]0;title\x07\x1b[2J\x7f\b\v",
        "../../etc/passwd",
        "' OR 1=1 --",
        "#k :v attribute_not_exists(id)",
        "\xF4\x8F\xBF\xBF\xEF\xBF\xBF\xEF\xBB\xBF\xE2\x80\xAE",
        " ",
        "\n",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        const char *text = texts[i];
        dynalock_store *s = NULL;
        dynalock_lock *lock = NULL;
        dynalock_lock_info *infos = NULL;
        size_t count = 0;
        json_t *value = json_string(text);
        const dynalock_lock_options options = {.holder = text, .value = dynalock_json(value)};
        check(open_named(text, text, &s), 0);
        check(dynalock_put(s, text, dynalock_json(value), NULL, &failure), 0);
        json_t *body = sent("UpdateItem");
        assert_string_equal(json_string_value(json_object_get(body, "TableName")), text);
        assert_sent(json_object_get(body, "Key"), "id", text);
        assert_sent(json_object_get(body, "Key"), "name", text);
        json_decref(body);
        check(dynalock_list_each(s, text, NULL, show, NULL, &failure), 0);
        json_decref(sent("Query"));
        check(dynalock_lock_new(s, text, &options, &lock, &failure), 0);
        check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
        body = sent("PutItem");
        assert_sent(json_object_get(body, "Item"), "holder", text);
        assert_sent(json_object_get(body, "Item"), "name", text);
        assert_sent(json_object_get(body, "Item"), "payload", text);
        json_decref(body);
        check(dynalock_locks(s, &infos, &count, &failure), 0);
        assert_string_equal(infos[0].key, text);
        dynalock_locks_free(infos);
        char *refusal = hostile_text(400, "{\"__type\":\"x#ResourceNotFoundException\"}");
        const struct hostile_answer no_table = {.head = refusal};
        hostile_set(server, NULL, &no_table); /* the message names the table */
        check(dynalock_put(s, text, dynalock_none(), NULL, &failure), DYNALOCK_ERR_NO_TABLE);
        assert_plain(failure.message);
        hostile_set(server, NULL, NULL);
        dynalock_lock_free(lock);
        dynalock_close(s);
        free(refusal);
        json_decref(value);
    }
}

/* In the options: refused, or taken as they are; a message has no control characters. */
static void test_no_text_of_the_options_is_taken_for_anything_else(void **state)
{
    static const char *const texts[] = {"%n%s%n%s", "a\r\nX: y", "\x1b[2J", "\xFF\xFE",
                                        "",         "/",         "\n"};
    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        for (int k = 0; k < 7; k++) {
            dynalock_options options = {.region = RIG_REGION,
                                        .endpoint = hostile_endpoint(server),
                                        .access_key_id = RIG_KEY_ID,
                                        .secret_access_key = RIG_SECRET};
            const char **const members[] = {&options.region,        &options.endpoint,
                                            &options.access_key_id, &options.secret_access_key,
                                            &options.session_token, &options.profile,
                                            &options.ca_file};
            dynalock_store *s = NULL;
            *members[k] = texts[i];
            int code = dynalock_open("t", "p", &options, &s, &failure);
            if (code == 0) {
                (void)dynalock_delete(s, "k", &failure);
                dynalock_close(s);
            } else {
                assert_plain(failure.message);
            }
        }
    }
}

/* ---- In another process ----------------------------------------------------------------------- */

/* A check in a child that cannot end a test by longjmp. */
static bool right(const char *what, int code, int expected, const dynalock_error *error)
{
    if (code != expected) {
        fprintf(stderr, "%s: %d, not %d: %s\n", what, code, expected, error ? error->message : "");
    }
    return code == expected;
}

/* Runs it in a child of fork, which has twenty seconds. */
static void in_child(bool (*run)(void))
{
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)alarm(20);
        _exit(run() ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* ---- Descriptors ------------------------------------------------------------------------------ */

#define DESCRIPTORS 128

/* Takes all that are left; gives them back. */
static int taken[DESCRIPTORS];
static int taken_count;

static void take_descriptors(void)
{
    const struct rlimit limit = {DESCRIPTORS, DESCRIPTORS};
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    for (int fd = 0; fd >= 0 && taken_count < DESCRIPTORS;) {
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            taken[taken_count++] = fd;
        }
    }
}

static void give_descriptors(void)
{
    while (taken_count > 0) {
        close(taken[--taken_count]);
    }
}

static bool is_lack_of_descriptors(const char *what, int code, const dynalock_error *error)
{
    bool is =
        code == DYNALOCK_ERR_SYSTEM || code == DYNALOCK_ERR_NETWORK || code == DYNALOCK_ERR_MEMORY;
    if (!is) {
        fprintf(stderr, "%s: %d: %s\n", what, code, error->message);
    }
    return is;
}

static bool without_descriptors(void)
{
    const dynalock_lock_options lease = {.ttl_ms = 900};
    const dynalock_options patient = {.attempt_timeout_ms = 2000};
    dynalock_store *s = hostile_open(server, &patient), *cold = hostile_open(server, &patient),
                   *none = NULL;
    dynalock_lock *held = NULL, *idle = NULL, *first = NULL;
    dynalock_error error = {0};
    dynalock_kv *kv = NULL;
    int fd = -1;
    bool good = right("delete", dynalock_delete(s, "k", &error), 0, &error) &&
                right("new", dynalock_lock_new(s, "held", &lease, &held, &error), 0, &error) &&
                right("new", dynalock_lock_new(s, "idle", NULL, &idle, &error), 0, &error) &&
                right("new", dynalock_lock_new(cold, "first", NULL, &first, &error), 0, &error) &&
                right("acquire", dynalock_lock_acquire(held, -1, 0, &error), 0, &error);
    take_descriptors();
    good = good && is_lack_of_descriptors("open", open_named("t", "p", &none), &failure) &&
           none == NULL;
    good = good &&
           right("lost_fd", dynalock_lock_lost_fd(held, &fd, &error), DYNALOCK_ERR_SYSTEM, &error);
    good =
        good && right("event_fd", dynalock_event_fd(s, &fd, &error), DYNALOCK_ERR_SYSTEM, &error);
    good = good && right("lock_event_fd", dynalock_lock_event_fd(held, &fd, &error),
                         DYNALOCK_ERR_SYSTEM, &error);
    good =
        good && is_lack_of_descriptors("get", dynalock_get(cold, "k", NULL, &kv, &error), &error);
    good = good &&
           is_lack_of_descriptors("acquire", dynalock_lock_acquire(first, -1, 0, &error), &error);
    good = good &&
           is_lack_of_descriptors("start", dynalock_lock_acquire_start(first, 0, &error), &error);
    /* Where there is a connection, it serves; the lock is renewed on its own, or lost in time. */
    good = good && right("delete", dynalock_delete(s, "k", &error), 0, &error);
    int64_t end_ms = monotonic_ms() + 1500;
    while (monotonic_ms() < end_ms) {
        sleep_ms(10);
    }
    int ensured = dynalock_lock_ensure(held, 0, &error);
    good = good && (ensured == 0 || right("ensure", ensured, DYNALOCK_ERR_LOST, &error));
    give_descriptors();
    good = good && right("get", dynalock_get(cold, "k", NULL, &kv, &error), 0, &error);
    good = good && right("acquire", dynalock_lock_acquire(first, -1, 0, &error), 0, &error);
    good = good && right("acquire", dynalock_lock_acquire(idle, -1, 0, &error), 0, &error);
    good = good && right("lost_fd", dynalock_lock_lost_fd(held, &fd, &error), 0, &error);
    good = good && right("release", dynalock_lock_release(idle, &error), 0, &error);
    dynalock_kv_free(kv);
    dynalock_lock_free(held);
    dynalock_lock_free(idle);
    dynalock_lock_free(first);
    return right("close", dynalock_close(s), 0, NULL) &&
           right("close", dynalock_close(cold), 0, NULL) && good;
}

static void test_a_process_without_descriptors_gets_codes_and_goes_on_with_them(void **state)
{
    (void)state;
    in_child(without_descriptors);
}

/* ---- Cancelled threads ------------------------------------------------------------------------ */

static const struct hostile_answer silence = {.head = NULL};

struct cancelled {
    dynalock_store *store;
    dynalock_lock *lock;
    int (*call)(struct cancelled *c);
    int code;
};

static int cancel_put(struct cancelled *c)
{
    return dynalock_put(c->store, "k", dynalock_none(), NULL, NULL);
}

static int cancel_get(struct cancelled *c)
{
    dynalock_kv *kv = NULL;
    return dynalock_get(c->store, "k", NULL, &kv, NULL);
}

static int cancel_acquire(struct cancelled *c)
{
    return dynalock_lock_acquire(c->lock, -1, 300, NULL);
}

static int cancel_each_item(dynalock_kv *kv, void *context)
{
    (void)kv;
    (void)context;
    pthread_testcancel(); /* in a callback, too, it is put off */
    return 0;
}

static int cancel_list(struct cancelled *c)
{
    return dynalock_list_each(c->store, "k", NULL, cancel_each_item, NULL, NULL);
}

static void *cancel_main(void *context)
{
    struct cancelled *c = context;
    c->code = c->call(c);
    pthread_testcancel();
    c->code = 2;
    return NULL;
}

/* A cancelled thread ends when its call has returned; the store is as good as before. */
static bool cancel_amid(int (*call)(struct cancelled *c))
{
    const dynalock_options options = {.attempt_timeout_ms = 300};
    dynalock_store *s = hostile_open(server, &options);
    struct cancelled c = {.store = s, .call = call, .code = 1};
    dynalock_error error = {0};
    pthread_t thread;
    void *result = NULL;
    bool good = right("delete", dynalock_delete(s, "k", &error), 0, &error) &&
                right("new", dynalock_lock_new(s, "k", NULL, &c.lock, &error), 0, &error);
    hostile_set(server, NULL, &silence);
    int before = hostile_requests(server, NULL);
    good = good && pthread_create(&thread, NULL, cancel_main, &c) == 0;
    while (good && hostile_requests(server, NULL) == before) {
        sleep_ms(1);
    }
    good = good && pthread_cancel(thread) == 0 && pthread_join(thread, &result) == 0;
    good =
        good && result == PTHREAD_CANCELED && right("the cancelled call", c.code < 0, true, NULL);
    hostile_set(server, NULL, NULL);
    good = good && right("acquire", dynalock_lock_acquire(c.lock, -1, 2000, &error), 0, &error) &&
           right("release", dynalock_lock_release(c.lock, &error), 0, &error);
    dynalock_lock_free(c.lock);
    return right("close", dynalock_close(s), 0, NULL) && good;
}

static bool cancel_each(void)
{
    static int (*const calls[])(struct cancelled *) = {cancel_put, cancel_get, cancel_acquire,
                                                       cancel_list};
    server = hostile_start(); /* the other's thread is not here */
    for (size_t i = 0; i < COUNT(calls); i++) {
        if (!cancel_amid(calls[i])) {
            return false;
        }
    }
    return true;
}

static void test_a_thread_that_is_cancelled_amid_a_call_ends_after_it(void **state)
{
    (void)state;
    in_child(cancel_each);
}

/* ---- The program's surroundings --------------------------------------------------------------- */

static bool elsewhere(void)
{
    dynalock_error error = {0};
    dynalock_lock *lock = NULL;
    dynalock_store *s = hostile_open(server, NULL);
    bool good = chdir("/") == 0 && clearenv() == 0 && setenv("AWS_REGION", "?", 1) == 0 &&
                setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1", 1) == 0 &&
                setenv("AWS_ACCESS_KEY_ID", "A", 1) == 0;
    (void)umask(0777);
    good = good && right("put", dynalock_put(s, "k", dynalock_none(), NULL, &error), 0, &error) &&
           right("new", dynalock_lock_new(s, "k", NULL, &lock, &error), 0, &error) &&
           right("acquire", dynalock_lock_acquire(lock, -1, 0, &error), 0, &error) &&
           right("release", dynalock_lock_release(lock, &error), 0, &error);
    dynalock_lock_free(lock);
    return right("close", dynalock_close(s), 0, NULL) && good;
}

static void test_an_open_store_looks_at_no_folder_no_variable_and_no_mask(void **state)
{
    (void)state;
    in_child(elsewhere);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CALLER_TEST(test_null_is_refused_in_every_place),
        CALLER_TEST(test_names_of_any_number_are_texts),
        CALLER_TEST(test_times_at_the_ends_of_their_range_are_limits_or_refused),
        CALLER_TEST(test_a_stop_descriptor_may_be_anything),
        CALLER_TEST(test_texts_are_taken_up_to_their_limits),
        CALLER_TEST(test_no_text_is_taken_for_anything_else),
        CALLER_TEST(test_no_text_of_the_options_is_taken_for_anything_else),
        CALLER_TEST(test_a_process_without_descriptors_gets_codes_and_goes_on_with_them),
        CALLER_TEST(test_an_open_store_looks_at_no_folder_no_variable_and_no_mask),
        CALLER_TEST(test_no_record_has_nothing),
        CALLER_TEST(test_a_thread_that_is_cancelled_amid_a_call_ends_after_it),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
