/* SPDX-License-Identifier: Apache-2.0 */
#include "support_source.h"

#include <time.h>

struct source *source_new(struct bench *b, int64_t lifetime_ms)
{
    struct source *source = calloc(1, sizeof *source);
    pthread_condattr_t attributes;
    assert_non_null(source);
    source->bench = b;
    source->lifetime_ms = lifetime_ms;
    source->rig = rig_open();
    source->rig->proxy = b->proxy;
    pthread_mutex_init(&source->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&source->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return source;
}

void source_free(struct source *source)
{
    rig_do(source->rig, "'cmd':'set','secrets':{'%s':'%s'},'tokens':{},'expiries':{}", RIG_KEY_ID,
           RIG_SECRET);
    rig_close(source->rig);
    pthread_cond_destroy(&source->changed);
    pthread_mutex_destroy(&source->mutex);
    free(source);
}

/* ---- The callback's thread ---- */

static void source_enter(struct source *source)
{
    pthread_mutex_lock(&source->mutex);
    source->called_ms[source->calls % SOURCE_CALLS] = monotonic_ms();
    source->calls++;
    source->running++;
    source->most_running =
        source->running > source->most_running ? source->running : source->most_running;
    pthread_cond_broadcast(&source->changed);
    while (source->blocked) {
        pthread_cond_wait(&source->changed, &source->mutex);
    }
    pthread_mutex_unlock(&source->mutex);
}

static void source_leave(struct source *source, bool given)
{
    pthread_mutex_lock(&source->mutex);
    source->running--;
    source->given += given ? 1 : 0;
    pthread_mutex_unlock(&source->mutex);
}

static void source_tell(struct source *source)
{
    const char *second = source->ids[1][0] ? "," : "";
    char secrets[200], tokens[240], expiries[200] = "";
    const int64_t for_ever = INT64_C(9000000000000);
    snprintf(secrets, sizeof secrets, "'%s':'%s'%s", source->ids[0], source->secrets[0], second);
    snprintf(tokens, sizeof tokens, "'%s':'%s'%s", source->ids[0], source->tokens[0], second);
    snprintf(expiries, sizeof expiries, "'%s':%" PRId64 "%s", source->ids[0],
             source->expires_ms[0] ? source->expires_ms[0] : for_ever, second);
    if (*second) {
        size_t used = strlen(secrets);
        snprintf(secrets + used, sizeof secrets - used, "'%s':'%s'", source->ids[1],
                 source->secrets[1]);
        used = strlen(tokens);
        snprintf(tokens + used, sizeof tokens - used, "'%s':'%s'", source->ids[1],
                 source->tokens[1]);
        used = strlen(expiries);
        snprintf(expiries + used, sizeof expiries - used, "'%s':%" PRId64, source->ids[1],
                 source->expires_ms[1] ? source->expires_ms[1] : for_ever);
    }
    char text[800];
    snprintf(text, sizeof text, "'cmd':'set','secrets':{%s},'tokens':{%s},'expiries':{%s}", secrets,
             tokens, expiries);
    for (char *at = text; *at; at++) {
        *at = *at == '\'' ? '"' : *at;
    }
    rig_do(source->rig, "%s", text);
}

static void source_issue(struct source *source)
{
    int n = source->calls;
    memcpy(source->ids[1], source->ids[0], sizeof source->ids[0]);
    memcpy(source->secrets[1], source->secrets[0], sizeof source->secrets[0]);
    memcpy(source->tokens[1], source->tokens[0], sizeof source->tokens[0]);
    source->expires_ms[1] = source->expires_ms[0];
    snprintf(source->ids[0], sizeof source->ids[0], "ASIASOURCE%08d", n);
    snprintf(source->secrets[0], sizeof source->secrets[0], SOURCE_MARK "/secret/%d/%" PRId64, n,
             monotonic_ms());
    snprintf(source->tokens[0], sizeof source->tokens[0], SOURCE_MARK "/token/%d/%" PRId64, n,
             monotonic_ms());
    /* Near the end of a second, and the library takes the second's beginning for it: what is sent just before that
     * arrives in time. */
    int64_t end_ms = real_ms() + source->lifetime_ms;
    source->expires_ms[0] = source->lifetime_ms ? end_ms - end_ms % 1000 + 900 : 0;
}

int source_call(dynalock_credentials *credentials, void *context)
{
    struct source *source = context;
    source_enter(source);
    int code = source->act ? source->act(source, credentials) : 0;
    if (code == 0) {
        sleep_ms(source->slow_ms);
        source_issue(source);
        if (!source->quiet) {
            source_tell(source);
        }
        credentials->access_key_id = source->ids[0];
        credentials->secret_access_key = source->secrets[0];
        credentials->session_token = source->tokens[0];
        credentials->expires_ms = source->expires_ms[0];
    }
    source_leave(source, code == 0);
    return code == SOURCE_AS_IT_IS ? 0 : code;
}

/* ---- The test's ---- */

dynalock_store *source_open(struct source *source, const dynalock_options *options)
{
    dynalock_options all = options ? *options : (dynalock_options){0};
    all.region = RIG_REGION;
    all.endpoint = source->bench->endpoint;
    all.credentials = source_call;
    all.credentials_context = source;
    all.log = all.log ? all.log : capture_log;
    all.log_context = all.log_context ? all.log_context : source->bench->events;
    return bench_open(source->bench, &all);
}

void source_block(struct source *source, bool blocked)
{
    pthread_mutex_lock(&source->mutex);
    source->blocked = blocked;
    pthread_cond_broadcast(&source->changed);
    pthread_mutex_unlock(&source->mutex);
}

int source_calls(struct source *source)
{
    pthread_mutex_lock(&source->mutex);
    int calls = source->calls;
    pthread_mutex_unlock(&source->mutex);
    return calls;
}

int source_given(struct source *source)
{
    pthread_mutex_lock(&source->mutex);
    int given = source->given;
    pthread_mutex_unlock(&source->mutex);
    return given;
}

bool source_await(struct source *source, int calls)
{
    int64_t end = monotonic_ms() + LONG_MS;
    while (source_calls(source) < calls && monotonic_ms() < end) {
        sleep_ms(2);
    }
    return source_calls(source) >= calls;
}

void source_revoke(struct source *source)
{
    rig_do(source->bench->rig, "'cmd':'set','secrets':{},'tokens':{},'expiries':{}");
}

int source_refused(struct rig *r)
{
    json_t *counts = rig(r, "'cmd':'counts','proxy':%d", r->proxy);
    int refused = (int)json_integer_value(json_object_get(counts, "refused"));
    json_decref(counts);
    return refused;
}
