/* SPDX-License-Identifier: Apache-2.0 */
#include "support_client.h"

#include <stdatomic.h>

static atomic_bool client_saw_secret;

void client_scan(const char *text)
{
    static const char *const secrets[] = {RIG_SECRET, "EXAMPLETOKEN", "AWS4-HMAC",
                                          "Signature=", "Authorization"};
    for (size_t i = 0; i < COUNT(secrets); i++) {
        if (strstr(text, secrets[i])) {
            print_error("a secret: %s\n", text);
            atomic_store(&client_saw_secret, true);
        }
    }
}

static void client_log(const dynalock_event *event, void *context)
{
    client_scan(event->operation);
    client_scan(event->key);
    client_scan(event->request_id);
    client_scan(event->name);
    client_scan(event->message);
    capture_log(event, context);
}

int client_setup(void **state)
{
    struct bench *b = bench_new();
    rig_do(b->rig, "'cmd':'set','region':'%s','tokens':{'%s':'%s'}", RIG_REGION, RIG_KEY_ID,
           CLIENT_TOKEN);
    *state = b;
    return 0;
}

int client_after(void **state)
{
    bool secret = atomic_exchange(&client_saw_secret, false);
    return secret ? -1 : bench_violations(state);
}

dynalock_store *client_open(struct bench *b, const dynalock_options *options)
{
    dynalock_options all = options ? *options : (dynalock_options){0};
    all.endpoint = all.endpoint ? all.endpoint : b->endpoint;
    all.region = all.region ? all.region : RIG_REGION;
    if (!all.access_key_id) {
        all.access_key_id = RIG_KEY_ID;
        all.secret_access_key = RIG_SECRET;
        all.session_token = CLIENT_TOKEN;
    }
    if (!all.log) {
        all.log = client_log;
        all.log_context = b->events;
    }
    return bench_open(b, &all);
}

dynalock_store *client_warm(struct bench *b, const dynalock_options *options)
{
    dynalock_store *store = client_open(b, options);
    check(client_get(store, "never-there", &failure), DYNALOCK_ERR_NOT_FOUND);
    bench_reset(b);
    capture_clear(b->events);
    return store;
}

void client_fault(struct bench *b, const char *format, ...)
{
    char text[16384];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    assert_in_range(length, 0, sizeof text - 1);
    for (char *at = text; *at; at++) {
        *at = *at == '\'' ? '"' : *at;
    }
    rig_fault(b->rig, "%s", text);
}

int client_get(dynalock_store *store, const char *key, dynalock_error *error)
{
    dynalock_kv *kv = NULL;
    int code = dynalock_get(store, key, NULL, &kv, error);
    dynalock_kv_free(kv);
    return code;
}

int client_put(dynalock_store *store, const char *key, dynalock_error *error)
{
    return dynalock_put(store, key, dynalock_bytes("value", 5), NULL, error);
}

dynalock_counters client_counters(dynalock_store *store)
{
    dynalock_counters counters;
    assert_int_equal(dynalock_store_counters(store, &counters), DYNALOCK_OK);
    return counters;
}
