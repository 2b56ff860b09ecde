/* SPDX-License-Identifier: Apache-2.0 */
/* What the providers of credentials share: time, retries, failures, files, and their sources. */
#include "providers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ERRAND_SLICE_MS 50
#define ERRAND_PAUSE_MS 100 /* before the second attempt; then twice that */

/* ---- Time and attempts ---- */

static int64_t errand_now_us(void)
{
    struct dlk_clock clock = dlk_system_clock();
    return clock.boot_us(clock.context);
}

void dlk_errand_start(struct dlk_errand *errand, const struct dlk_fetch *how)
{
    errand->how = how;
    errand->deadline_us = errand_now_us() + how->timeout_ms * 1000;
}

bool dlk_errand_cancelled(const struct dlk_errand *errand)
{
    return errand->how->cancelled != NULL && atomic_load(errand->how->cancelled);
}

int64_t dlk_errand_left_ms(const struct dlk_errand *errand)
{
    int64_t left_us = errand->deadline_us - errand_now_us();
    return left_us > 0 ? left_us / 1000 : 0;
}

bool dlk_errand_pause(const struct dlk_errand *errand, int64_t ms)
{
    int64_t until_us = errand_now_us() + ms * 1000;
    while (!dlk_errand_cancelled(errand) && dlk_errand_left_ms(errand) > 0) {
        int64_t left_ms = (until_us - errand_now_us()) / 1000;
        if (left_ms <= 0) {
            return true;
        }
        (void)dlk_wait_readable(NULL, 0, left_ms < ERRAND_SLICE_MS ? left_ms : ERRAND_SLICE_MS);
    }
    return false;
}

static bool errand_may_pass(int code, const struct dlk_http_answer *answer,
                            bool (*again)(const struct dlk_http_answer *answer))
{
    if (code != 0) {
        return code == DYNALOCK_ERR_NETWORK || code == DYNALOCK_ERR_TIMEOUT;
    }
    return answer->status >= 500 || answer->status == 429 || (again != NULL && again(answer));
}

int dlk_errand_http(const struct dlk_errand *errand, struct dlk_http_request *request,
                    int64_t attempt_ms, bool (*again)(const struct dlk_http_answer *answer),
                    struct dlk_http_answer *answer, dynalock_error *error)
{
    request->ca_file = errand->how->ca_file;
    request->cancelled = errand->how->cancelled;
    for (int attempt = 1;; attempt++) {
        int64_t left_ms = dlk_errand_left_ms(errand);
        request->timeout_ms = left_ms < attempt_ms ? left_ms : attempt_ms;
        int code = dlk_http(request, answer, error);
        if (attempt == DLK_ERRAND_ATTEMPTS || !errand_may_pass(code, answer, again)) {
            return code;
        }
        int64_t pause_ms = (int64_t)ERRAND_PAUSE_MS << (attempt - 1);
        pause_ms += (int64_t)dlk_random_below((uint64_t)pause_ms);
        if (!dlk_errand_pause(errand, pause_ms)) {
            return dlk_errand_cancelled(errand)
                       ? dlk_fail(error, DYNALOCK_ERR_CLOSED, "the store is closing")
                       : code;
        }
        dlk_http_answer_free(answer);
    }
}

/* ---- Failures ---- */

int dlk_provider_fail(int code, dynalock_error *error)
{
    if (code == DYNALOCK_ERR_MEMORY || code == DYNALOCK_ERR_CLOSED) {
        return code;
    }
    if (error != NULL) {
        error->code = DYNALOCK_ERR_CREDENTIALS;
    }
    return DYNALOCK_ERR_CREDENTIALS;
}

int dlk_errand_refused(const struct dlk_http_answer *answer, const char *words,
                       dynalock_error *error)
{
    bool said = words != NULL && *words != '\0';
    int code = dlk_fail(error, DYNALOCK_ERR_CREDENTIALS, "HTTP status %d%s%.200s", answer->status,
                        said ? ", " : "", said ? words : "");
    if (error != NULL && (answer->status >= 500 || answer->status == 429)) {
        error->flags |= DYNALOCK_ERROR_RETRYABLE;
    }
    return code;
}

/* ---- Files ---- */

static int provider_read(int fd, size_t max, struct dlk_sigv4_text *text)
{
    char bytes[2048];
    ssize_t got = 0;
    int failed = 0;
    do {
        got = read(fd, bytes, sizeof bytes);
        if (got > 0 && (text->length + (size_t)got > max ||
                        dlk_sigv4_append(text, bytes, (size_t)got) != DLK_SIGV4_OK)) {
            failed = text->status == DLK_SIGV4_ENOMEM ? ENOMEM : EFBIG;
        } else if (got < 0 && errno != EINTR) {
            failed = errno;
        }
    } while (got != 0 && failed == 0);
    dlk_wipe_bytes(bytes, sizeof bytes);
    return failed;
}

int dlk_read_file(const char *path, size_t max, struct dlk_sigv4_text *text, dynalock_error *error)
{
    /* O_NONBLOCK: it may be a pipe that nobody writes to. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int failed = fd < 0 ? errno : provider_read(fd, max, text);
    if (fd >= 0) {
        (void)close(fd);
    }
    switch (failed) {
    case 0:
        return text->length > 0
                   ? 0
                   : dlk_fail(error, DYNALOCK_ERR_CREDENTIALS, "%.200s is empty", path);
    case ENOMEM: return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    case ENOENT:
    case ENOTDIR: return dlk_fail(error, DYNALOCK_ERR_CREDENTIALS, "there is no file %.200s", path);
    case EACCES:
    case EPERM: return dlk_fail(error, DYNALOCK_ERR_CREDENTIALS, "%.200s may not be read", path);
    default:
        return dlk_fail(error,
                        failed == EMFILE || failed == ENFILE || failed == EIO
                            ? DYNALOCK_ERR_SYSTEM
                            : DYNALOCK_ERR_CREDENTIALS,
                        "%.200s cannot be read (%s)", path,
                        failed == EFBIG ? "too large" : "the system refuses");
    }
}

/* ---- Sources ---- */

struct dlk_source *dlk_source_new(enum dlk_source_kind kind)
{
    struct dlk_source *source = calloc(1, sizeof *source);
    if (source != NULL) {
        source->kind = kind;
    }
    return source;
}

void dlk_source_free(struct dlk_source *source)
{
    while (source != NULL) {
        struct dlk_source *base = source->base;
        char *const texts[] = {source->command,     source->role_arn,   source->role_session_name,
                               source->external_id, source->token_file, source->token,
                               source->url,         source->region,     source->account_id,
                               source->sso_role,    source->profile};
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
            dlk_wipe(texts[i]);
        }
        dlk_credentials_unref(source->fixed);
        free(source);
        source = base;
    }
}

int dlk_source_set(char **to, const char *text, dynalock_error *error)
{
    if (text != NULL) {
        *to = strdup(text);
        if (*to == NULL) {
            return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
        }
    }
    return 0;
}

int dlk_source_keys(const char *id, const char *secret, const char *token, const char *name,
                    struct dlk_source **source, dynalock_error *error)
{
    bool has_id = id != NULL && *id != '\0';
    bool has_secret = secret != NULL && *secret != '\0';
    if (!has_id && !has_secret) {
        return 0;
    }
    if (!has_id || !has_secret) {
        return dlk_fail(error, DYNALOCK_ERR_CREDENTIALS, "%s: %s without %s", name,
                        has_id ? "an access key id" : "a secret access key",
                        has_id ? "a secret access key" : "an access key id");
    }
    struct dlk_source *made = dlk_source_new(DLK_SOURCE_FIXED);
    if (made == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    dlk_copy_text(made->name, sizeof made->name, name);
    int code =
        dlk_credentials_new(&made->fixed, id, secret,
                            token != NULL && *token != '\0' ? token : NULL, 0, made->name, error);
    if (code != 0) {
        dlk_source_free(made);
        return code;
    }
    *source = made;
    return 0;
}

int dlk_source_environment(struct dlk_source **source, dynalock_error *error)
{
    return dlk_source_keys(dlk_config_env("AWS_ACCESS_KEY_ID"),
                           dlk_config_env("AWS_SECRET_ACCESS_KEY"),
                           dlk_config_env("AWS_SESSION_TOKEN"), "environment", source, error);
}

/* ---- Fetching ---- */

static int source_found(struct dlk_source *source, const struct dlk_errand *errand,
                        const struct dlk_found *found, struct dlk_credentials **made,
                        dynalock_error *error)
{
    bool stable = source->kind == DLK_SOURCE_IMDS;
    if (!stable && found->expires_s != 0 && found->expires_s <= errand->how->now_s) {
        return dlk_fail(error, DYNALOCK_ERR_CREDENTIALS, "what it gave has expired");
    }
    int code = dlk_credentials_new(made, found->access_key_id, found->secret_access_key,
                                   found->session_token, found->expires_s, source->name, error);
    if (code == 0) {
        (*made)->stable = stable;
    }
    return code;
}

static int source_run(struct dlk_source *source, const struct dlk_errand *errand,
                      const struct dlk_credentials *base, struct dlk_found *found,
                      dynalock_error *error)
{
    switch (source->kind) {
    case DLK_SOURCE_CALLBACK: return dlk_fetch_callback(source, found, error);
    case DLK_SOURCE_PROCESS: return dlk_fetch_process(source, errand, found, error);
    case DLK_SOURCE_ROLE: return dlk_fetch_role(source, base, errand, found, error);
    case DLK_SOURCE_WEB_IDENTITY: return dlk_fetch_web_identity(source, errand, found, error);
    case DLK_SOURCE_SSO: return dlk_fetch_sso(source, errand, found, error);
    case DLK_SOURCE_CONTAINER: return dlk_fetch_container(source, errand, found, error);
    case DLK_SOURCE_IMDS: return dlk_fetch_imds(source, errand, found, error);
    case DLK_SOURCE_FIXED: break;
    }
    return dlk_fail(error, DYNALOCK_ERR_CREDENTIALS, "there is nothing to run");
}

int dlk_source_fetch(struct dlk_source *source, const struct dlk_errand *errand,
                     struct dlk_credentials **made, dynalock_error *error)
{
    struct dlk_found found = {0};
    struct dlk_credentials *base = NULL;
    if (source->kind == DLK_SOURCE_FIXED) {
        *made = dlk_credentials_ref(source->fixed);
        return 0;
    }
    int code = source->base != NULL ? dlk_source_fetch(source->base, errand, &base, error) : 0;
    if (code == 0) {
        code = source_run(source, errand, base, &found, error);
    } else if (error != NULL) {
        char why[sizeof error->message];
        dlk_copy_text(why, sizeof why, error->message);
        (void)snprintf(error->message, sizeof error->message, "%s: %.300s", source->base->name,
                       why);
    }
    if (code == 0) {
        code = source_found(source, errand, &found, made, error);
    }
    dlk_found_free(&found);
    dlk_credentials_unref(base);
    return code == 0 ? 0 : dlk_provider_fail(code, error);
}
