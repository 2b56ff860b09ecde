/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

_Thread_local dynalock_error failure;

const char *test_server(void)
{
    const char *server = getenv("DYNALOCK_TEST_SERVER");
    return server && *server ? server : "dynalite";
}

bool test_is_local(void)
{
    return strcmp(test_server(), "local") == 0;
}

int64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void sleep_ms(int64_t ms)
{
    struct timespec rest = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR) {
    }
}

/* For run.mjs, which searches all that a test says for secrets, and for what was raised (raised.mjs). Not request ids:
 * the servers' are at random, and four letters of a secret come up. */
static bool support_tells(void)
{
    const char *tell = getenv("DYNALOCK_TEST_TELL");
    return tell && *tell;
}

static _Noreturn void support_broken(const char *what, const char *detail)
{
    fflush(stdout);
    fprintf(stderr, "test support: %s: %s\n", what, detail);
    abort();
}

static void *support_alloc(size_t size)
{
    void *p = calloc(1, size);
    if (!p) {
        support_broken("memory", "none left");
    }
    return p;
}

/* ---- A bench --------------------------------------------------------------------------------- */

dynalock_options bench_options(const struct bench *b)
{
    return (dynalock_options){
        .region = RIG_REGION,
        .endpoint = b->endpoint,
        .access_key_id = RIG_KEY_ID,
        .secret_access_key = RIG_SECRET,
    };
}

static dynalock_store *bench_store(struct bench *b, const dynalock_options *options)
{
    dynalock_store *store = NULL;
    dynalock_error error;
    if (dynalock_open(b->table, b->partition, options, &store, &error) != DYNALOCK_OK) {
        support_broken("dynalock_open", error.message);
    }
    return store;
}

dynalock_store *bench_open(struct bench *b, const dynalock_options *options)
{
    dynalock_options ours = bench_options(b);
    return bench_store(b, options ? options : &ours);
}

dynalock_store *bench_direct(struct bench *b)
{
    if (!b->direct) {
        snprintf(b->direct_endpoint, sizeof b->direct_endpoint, "%s",
                 rig_proxy_new(b->rig, test_server(), NULL));
        b->direct_proxy = b->rig->proxy;
        b->rig->proxy = b->proxy;
        snprintf(b->rig->endpoint, sizeof b->rig->endpoint, "%s", b->endpoint);
        dynalock_options options = bench_options(b);
        options.endpoint = b->direct_endpoint;
        b->direct = bench_store(b, &options);
    }
    return b->direct;
}

struct bench *bench_new(void)
{
    static int count;
    struct bench *b = support_alloc(sizeof *b);
    b->rig = rig_open();
    snprintf(b->endpoint, sizeof b->endpoint, "%s", rig_proxy_new(b->rig, test_server(), NULL));
    b->proxy = b->rig->proxy;
    b->table = rig_table(b->rig);
    snprintf(b->partition, sizeof b->partition, "p%ld-%d", (long)getpid(),
             __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED));
    b->events = capture_new();
    dynalock_options options = bench_options(b);
    options.log = capture_log;
    options.log_context = b->events;
    b->store = bench_store(b, &options);
    return b;
}

void bench_free(struct bench *b)
{
    if (!b) {
        return;
    }
    dynalock_close(b->store);
    dynalock_close(b->direct);
    capture_free(b->events);
    json_decref(rig_raw(b->rig, "DeleteTable", "'TableName':'%s'", b->table));
    rig_close(b->rig);
    free(b->table);
    free(b);
}

int bench_setup(void **state)
{
    *state = bench_new();
    return 0;
}

int bench_teardown(void **state)
{
    bench_free(*state);
    return 0;
}

int bench_clear(void **state)
{
    struct bench *b = *state;
    rig_clear_faults(b->rig);
    (void)rig_let_go(b->rig);
    rig_reset_counts(b->rig);
    capture_clear(b->events);
    return 0;
}

int bench_violations(void **state)
{
    struct bench *b = *state;
    return rig_violations(b->rig) == 0 ? 0 : -1;
}

const char *bench_key(struct bench *b)
{
    static _Thread_local char keys[64][64];
    static int count;
    int n = __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
    (void)b;
    snprintf(keys[n % 64], sizeof keys[0], "k%ld-%d", (long)getpid(), n);
    return keys[n % 64];
}

int bench_count(struct bench *b, const char *op)
{
    return rig_count(b->rig, op);
}

void bench_reset(struct bench *b)
{
    rig_reset_counts(b->rig);
}

json_t *bench_item(struct bench *b, const char *key)
{
    return rig_item(b->rig, b->table, b->partition, key);
}

const char *item_text(const json_t *item, const char *attribute, const char *type)
{
    return json_string_value(json_object_get(json_object_get(item, attribute), type));
}

int64_t item_number(const json_t *item, const char *attribute)
{
    const char *text = item_text(item, attribute, "N");
    if (!text) {
        fail_msg("%s is not a number in the item", attribute);
        return 0;
    }
    return strtoll(text, NULL, 10);
}

static void bench_raw(struct bench *b, const char *op, const char *what, const char *key,
                      const char *members)
{
    json_t *name = json_string(key);
    char *quoted = json_dumps(name, JSON_ENCODE_ANY);
    json_t *answer =
        rig_raw(b->rig, op, "'TableName':'%s','%s':{'id':{'S':'%s'},'name':{'S':%s}%s%s}", b->table,
                what, b->partition, quoted, *members ? "," : "", members);
    if (!json_object_get(answer, "result")) {
        support_broken(op, json_string_value(json_object_get(answer, "message")));
    }
    json_decref(answer);
    json_decref(name);
    free(quoted);
}

static char *support_quotes(const char *text)
{
    char *copy = support_alloc(strlen(text) + 1);
    for (size_t i = 0; text[i]; i++) {
        copy[i] = text[i] == '\'' ? '"' : text[i];
    }
    return copy;
}

void bench_put_item(struct bench *b, const char *key, const char *format, ...)
{
    char text[4096];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (length < 0 || (size_t)length >= sizeof text) {
        support_broken("bench_put_item", "too long");
    }
    char *members = support_quotes(text);
    bench_raw(b, "PutItem", "Item", key, members);
    free(members);
}

void bench_delete_item(struct bench *b, const char *key)
{
    bench_raw(b, "DeleteItem", "Key", key, "");
}

/* ---- Log events ------------------------------------------------------------------------------ */

struct capture {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct captured *events;
    size_t count, size;
};

struct capture *capture_new(void)
{
    struct capture *c = support_alloc(sizeof *c);
    pthread_condattr_t attributes;
    pthread_mutex_init(&c->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&c->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return c;
}

void capture_free(struct capture *c)
{
    if (c) {
        pthread_cond_destroy(&c->changed);
        pthread_mutex_destroy(&c->mutex);
        free(c->events);
        free(c);
    }
}

void capture_log(const dynalock_event *event, void *context)
{
    struct capture *c = context;
    if (support_tells()) {
        fprintf(stderr, "~ event %d, cause %d: %s %s %s %s\n", event->id, event->cause,
                event->operation, event->key, event->name, event->message);
    }
    pthread_mutex_lock(&c->mutex);
    if (c->count == c->size) {
        c->size = c->size * 2 + 64;
        c->events = realloc(c->events, c->size * sizeof *c->events);
        if (!c->events) {
            support_broken("memory", "none left");
        }
    }
    struct captured *to = &c->events[c->count++];
    *to = (struct captured){
        .id = event->id,
        .code = event->code,
        .cause = event->cause,
        .http_status = event->http_status,
        .attempt = event->attempt,
        .elapsed_ms = event->elapsed_ms,
        .wait_ms = event->wait_ms,
        .remaining_ms = event->remaining_ms,
        .token = event->token,
        .at_ms = monotonic_ms(),
    };
    snprintf(to->operation, sizeof to->operation, "%s", event->operation);
    snprintf(to->key, sizeof to->key, "%s", event->key);
    snprintf(to->request_id, sizeof to->request_id, "%s", event->request_id);
    snprintf(to->name, sizeof to->name, "%s", event->name);
    snprintf(to->message, sizeof to->message, "%s", event->message);
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

void capture_clear(struct capture *c)
{
    pthread_mutex_lock(&c->mutex);
    c->count = 0;
    pthread_mutex_unlock(&c->mutex);
}

static bool capture_matches(const struct captured *event, int id, const char *key)
{
    return (id == 0 || event->id == id) && (!key || strcmp(event->key, key) == 0);
}

static int capture_matching(const struct capture *c, int id, const char *key)
{
    int found = 0;
    for (size_t i = 0; i < c->count; i++) {
        found += capture_matches(&c->events[i], id, key) ? 1 : 0;
    }
    return found;
}

int capture_count(struct capture *c, int id, const char *key)
{
    pthread_mutex_lock(&c->mutex);
    int found = capture_matching(c, id, key);
    pthread_mutex_unlock(&c->mutex);
    return found;
}

bool capture_wait(struct capture *c, int id, const char *key, int count, int timeout_ms)
{
    int64_t end = monotonic_ms() + timeout_ms;
    struct timespec until = {.tv_sec = (time_t)(end / 1000),
                             .tv_nsec = (long)(end % 1000) * 1000000};
    pthread_mutex_lock(&c->mutex);
    bool came = capture_matching(c, id, key) >= count;
    for (int waited = 0; !came && waited != ETIMEDOUT;) {
        waited = pthread_cond_timedwait(&c->changed, &c->mutex, &until);
        came = capture_matching(c, id, key) >= count;
    }
    pthread_mutex_unlock(&c->mutex);
    return came;
}

struct captured capture_get(struct capture *c, int id, const char *key, int nth)
{
    struct captured event = {0};
    pthread_mutex_lock(&c->mutex);
    for (size_t i = 0; i < c->count; i++) {
        if (capture_matches(&c->events[i], id, key)) {
            event = c->events[i];
            if (--nth == 0) {
                pthread_mutex_unlock(&c->mutex);
                return event;
            }
        }
    }
    pthread_mutex_unlock(&c->mutex);
    return nth < 0 ? event : (struct captured){0};
}

/* ---- Checks ---------------------------------------------------------------------------------- */

void tell_code(int code)
{
    if (code != 0 && support_tells()) {
        fprintf(stderr, "~ code %d:\n", code);
    }
}

void check_result(int code, int expected, const char *call, const char *file, int line)
{
    if (code != 0 && support_tells()) {
        fprintf(stderr, "~ message: %s [%s]\n", failure.message, failure.name);
    }
    if (code == expected) {
        tell_code(code);
    }
    if (code != expected) {
        print_error("%s\n  returned %d (%s), not %d (%s): %s [%s]\n", call, code,
                    dynalock_strerror(code), expected, dynalock_strerror(expected), failure.message,
                    failure.name);
        _fail(file, line);
    }
}

void check_contains(const char *text, const char *part, const char *file, int line)
{
    if (!text || !strstr(text, part)) {
        print_error("\"%s\" is not in \"%s\"\n", part, text ? text : "(null)");
        _fail(file, line);
    }
}

json_t *json_text(const char *text)
{
    char *quoted = support_quotes(text);
    json_error_t error;
    json_t *json = json_loads(quoted, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    free(quoted);
    if (!json) {
        fail_msg("%s: %s", text, error.text);
    }
    return json;
}
