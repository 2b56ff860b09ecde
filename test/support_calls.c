/* SPDX-License-Identifier: Apache-2.0 */
#include "support_calls.h"

#define PATIENCE_MS 60000

struct caller caller_new(struct bench *b, const char *endpoint)
{
    dynalock_options options = bench_options(b);
    const dynalock_lock_options lease = {.ttl_ms = 2 * PATIENCE_MS};
    struct caller c = {.bench = b};
    options.timeout_ms = options.attempt_timeout_ms = options.close_timeout_ms = PATIENCE_MS;
    options.endpoint = endpoint ? endpoint : options.endpoint;
    options.log = capture_log;
    options.log_context = b->events;
    c.store = bench_open(b, &options);
    warm(c.store);
    snprintf(c.key, sizeof c.key, "%s", bench_key(b));
    snprintf(c.held_key, sizeof c.held_key, "%s", bench_key(b));
    snprintf(c.other_key, sizeof c.other_key, "%s", bench_key(b));
    check(dynalock_atomic_put(c.store, c.key, dynalock_none(), NULL, NULL, &c.record, &failure), 0);
    c.held = lock_take(c.store, c.held_key, lease);
    c.other = lock_make(c.store, c.other_key, lease);
    return c;
}

void caller_free(struct caller *c)
{
    dynalock_kv_free(c->record);
    dynalock_lock_free(c->held);
    dynalock_lock_free(c->other);
    dynalock_close(c->store);
    *c = (struct caller){0};
}

/* ---- The calls ---- */

static int call_put(struct caller *c, dynalock_error *error)
{
    return dynalock_put(c->store, c->key, dynalock_none(), NULL, error);
}

static int call_get(struct caller *c, dynalock_error *error)
{
    dynalock_kv *kv = NULL;
    int code = dynalock_get(c->store, c->key, NULL, &kv, error);
    dynalock_kv_free(kv);
    return code;
}

static int call_exists(struct caller *c, dynalock_error *error)
{
    bool exists = false;
    return dynalock_exists(c->store, c->key, NULL, &exists, error);
}

static int call_delete(struct caller *c, dynalock_error *error)
{
    return dynalock_delete(c->store, c->key, error);
}

static int call_list(struct caller *c, dynalock_error *error)
{
    dynalock_kv **items = NULL;
    size_t count = 0;
    int code = dynalock_list(c->store, c->key, NULL, &items, &count, error);
    dynalock_list_free(items, count);
    return code;
}

static int call_item(dynalock_kv *kv, void *context)
{
    (void)kv;
    (void)context;
    return 0;
}

static int call_list_each(struct caller *c, dynalock_error *error)
{
    return dynalock_list_each(c->store, c->key, NULL, call_item, NULL, error);
}

static int call_create(struct caller *c, dynalock_error *error)
{
    dynalock_kv *kv = NULL;
    int code =
        dynalock_atomic_put(c->store, bench_key(c->bench), dynalock_none(), NULL, NULL, &kv, error);
    dynalock_kv_free(kv);
    return code;
}

static int call_replace(struct caller *c, dynalock_error *error)
{
    return dynalock_atomic_put(c->store, c->key, dynalock_none(), c->record, NULL, NULL, error);
}

static int call_atomic_delete(struct caller *c, dynalock_error *error)
{
    return dynalock_atomic_delete(c->store, c->key, c->record, error);
}

static int call_table_verify(struct caller *c, dynalock_error *error)
{
    return dynalock_table_verify(c->store, NULL, error);
}

static int call_table_create(struct caller *c, dynalock_error *error)
{
    return dynalock_table_create(c->store, 0, NULL, error);
}

static int call_acquire(struct caller *c, dynalock_error *error)
{
    return dynalock_lock_acquire(c->other, -1, 0, error);
}

static int call_renew(struct caller *c, dynalock_error *error)
{
    return dynalock_lock_renew(c->held, 0, error);
}

static int call_holder(struct caller *c, dynalock_error *error)
{
    dynalock_kv *kv = NULL;
    int code = dynalock_lock_holder(c->held, &kv, NULL, error);
    dynalock_kv_free(kv);
    return code;
}

static int call_release(struct caller *c, dynalock_error *error)
{
    return dynalock_lock_release(c->held, error);
}

const struct server_call server_calls[] = {
    {"put", call_put},
    {"get", call_get},
    {"exists", call_exists},
    {"delete", call_delete},
    {"list", call_list},
    {"list_each", call_list_each},
    {"atomic_put that creates", call_create},
    {"atomic_put that replaces", call_replace},
    {"atomic_delete", call_atomic_delete},
    {"table_verify", call_table_verify},
    {"table_create", call_table_create},
    {"acquire", call_acquire},
    {"renew", call_renew},
    {"holder", call_holder},
    {"release", call_release},
};

const size_t server_call_count = COUNT(server_calls);

/* ---- In a thread ---- */

static void *call_main(void *context)
{
    struct call_thread *t = context;
    t->code = t->call->make(t->caller, &t->error);
    return NULL;
}

void call_start(struct call_thread *t, struct caller *c, const struct server_call *call)
{
    *t = (struct call_thread){.caller = c, .call = call};
    assert_int_equal(pthread_create(&t->thread, NULL, call_main, t), 0);
}

int call_join(struct call_thread *t)
{
    assert_int_equal(pthread_join(t->thread, NULL), 0);
    failure = t->error;
    return t->code;
}
