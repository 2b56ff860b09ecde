/* SPDX-License-Identifier: Apache-2.0 */
/* The instance metadata service of EC2, version 2: credentials of the instance's role, and its region. */
#include "providers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define IMDS_ATTEMPT_MS 1000
#define IMDS_URL_SIZE ((size_t)2 * DLK_URL_SIZE)
#define IMDS_TOKEN_TTL "21600"
#define IMDS_TOKEN_MARGIN_S 60
#define IMDS_ROLE_PATH "/latest/meta-data/iam/security-credentials/"
#define IMDS_REGION_PATH "/latest/meta-data/placement/region"

/* ---- Finding it ---- */

bool dlk_imds_is_disabled(void)
{
    const char *disabled = dlk_config_env("AWS_EC2_METADATA_DISABLED");
    return disabled != NULL && strcasecmp(disabled, "false") != 0;
}

static const char *imds_setting(const struct dlk_setting *setting, const char *variable,
                                const char *key)
{
    const char *value = dlk_config_env(variable);
    return value != NULL ? value : dlk_profiles_setting(setting->profiles, setting->profile, key);
}

static int imds_url(const struct dlk_setting *setting, char *url, size_t size,
                    dynalock_error *error)
{
    const char *endpoint =
        imds_setting(setting, "AWS_EC2_METADATA_SERVICE_ENDPOINT", "ec2_metadata_service_endpoint");
    const char *mode = imds_setting(setting, "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
                                    "ec2_metadata_service_endpoint_mode");
    bool is_v6 = mode != NULL && strcasecmp(mode, "ipv6") == 0;
    if (endpoint == NULL && mode != NULL && !is_v6 && strcasecmp(mode, "ipv4") != 0) {
        return dlk_fail(error, DYNALOCK_ERR_CONFIG,
                        "the endpoint mode of instance metadata is neither IPv4 nor IPv6");
    }
    if (endpoint == NULL) {
        endpoint = is_v6 ? "http://[fd00:ec2::254]" : "http://169.254.169.254";
    }
    bool is_url =
        strncasecmp(endpoint, "http://", 7) == 0 || strncasecmp(endpoint, "https://", 8) == 0;
    for (const char *at = endpoint; is_url && *at != '\0'; at++) {
        is_url = *at > ' ' && *at <= '~' && strchr("@?#\"\\", *at) == NULL;
    }
    size_t length = strlen(endpoint);
    while (length > 0 && endpoint[length - 1] == '/') {
        length--;
    }
    bool has_host = is_url && strchr("/:", endpoint[strcspn(endpoint, "/") + 2]) == NULL;
    if (!has_host || length >= size) {
        return dlk_fail(error, DYNALOCK_ERR_CONFIG,
                        "the endpoint of instance metadata is not an http:// or https:// URL");
    }
    (void)snprintf(url, size, "%.*s", (int)length, endpoint);
    return 0;
}

int dlk_source_imds(const struct dlk_setting *setting, struct dlk_source **source,
                    dynalock_error *error)
{
    char url[DLK_URL_SIZE];
    if (dlk_imds_is_disabled()) {
        return 0;
    }
    int code = imds_url(setting, url, sizeof url, error);
    if (code != 0) {
        return code;
    }
    struct dlk_source *made = dlk_source_new(DLK_SOURCE_IMDS);
    if (made == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    dlk_copy_text(made->name, sizeof made->name, "instance metadata");
    code = dlk_source_set(&made->url, url, error);
    if (code != 0) {
        dlk_source_free(made);
        return code;
    }
    *source = made;
    return 0;
}

/* ---- Asking it ---- */

static int64_t imds_now_us(void)
{
    struct dlk_clock clock = dlk_system_clock();
    return clock.boot_us(clock.context);
}

static int imds_url_of(const struct dlk_source *source, const char *path, const char *rest,
                       char url[IMDS_URL_SIZE], dynalock_error *error)
{
    int length = snprintf(url, IMDS_URL_SIZE, "%s%s%s", source->url, path, rest);
    return (size_t)length < IMDS_URL_SIZE
               ? 0
               : dlk_fail(error, DYNALOCK_ERR_BAD_RESPONSE, "a name is too long");
}

static bool imds_is_token(const struct dlk_sigv4_text *text)
{
    for (size_t i = 0; i < text->length; i++) {
        if (text->data[i] <= ' ' || text->data[i] > '~') {
            return false;
        }
    }
    return text->length > 0 && text->length <= 4096;
}

static int64_t imds_ttl_s(const char *header)
{
    long ttl = strtol(header, NULL, 10);
    return ttl > 0 && ttl <= 21600 ? ttl : 21600;
}

static int imds_take_token(struct dlk_source *source, const struct dlk_http_answer *answer,
                           int64_t asked_us, dynalock_error *error)
{
    if (answer->status == 403) {
        return dlk_fail(error, DYNALOCK_ERR_CREDENTIALS, "it is switched off (HTTP status 403)");
    }
    if (answer->status != 200) {
        return dlk_errand_refused(answer, "for a token", error);
    }
    if (!imds_is_token(&answer->body)) {
        return dlk_fail(error, DYNALOCK_ERR_BAD_RESPONSE, "what it gives is not a token");
    }
    int64_t ttl_s = imds_ttl_s(answer->header);
    bool is_long = ttl_s > INT64_C(2) * IMDS_TOKEN_MARGIN_S;
    int code = dlk_source_set(&source->token, answer->body.data, error);
    source->token_until_us =
        asked_us + (is_long ? ttl_s - IMDS_TOKEN_MARGIN_S : ttl_s / 2) * INT64_C(1000000);
    return code;
}

static void imds_forget_token(struct dlk_source *source)
{
    dlk_wipe(source->token);
    source->token = NULL;
}

/* Unless there is one that lasts. */
static int imds_token(struct dlk_source *source, const struct dlk_errand *errand,
                      dynalock_error *error)
{
    char url[IMDS_URL_SIZE];
    struct dlk_http_answer answer = {0};
    struct dlk_http_request request = {
        .method = "PUT",
        .url = url,
        .headers = {"X-aws-ec2-metadata-token-ttl-seconds: " IMDS_TOKEN_TTL},
        .wanted = "x-aws-ec2-metadata-token-ttl-seconds",
        .direct = true};
    int64_t asked_us = imds_now_us();
    if (source->token != NULL && asked_us < source->token_until_us) {
        return 0;
    }
    imds_forget_token(source);
    int code = imds_url_of(source, "/latest/api/token", "", url, error);
    if (code == 0) {
        code = dlk_errand_http(errand, &request, IMDS_ATTEMPT_MS, NULL, &answer, error);
    }
    if (code == 0) {
        code = imds_take_token(source, &answer, asked_us, error);
    }
    dlk_http_answer_free(&answer);
    return code;
}

static int imds_get_once(struct dlk_source *source, const struct dlk_errand *errand,
                         const char *url, struct dlk_http_answer *answer, dynalock_error *error)
{
    struct dlk_sigv4_text line = {0};
    struct dlk_http_request request = {.method = "GET", .url = url, .direct = true};
    int code = imds_token(source, errand, error);
    if (code == 0) {
        (void)dlk_sigv4_append_string(&line, "X-aws-ec2-metadata-token: ");
        if (dlk_sigv4_append_string(&line, source->token) != DLK_SIGV4_OK) {
            code = dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
        }
        request.headers[0] = line.data;
    }
    if (code == 0) {
        code = dlk_errand_http(errand, &request, IMDS_ATTEMPT_MS, NULL, answer, error);
    }
    if (code == 0 && answer->status == 401) {
        imds_forget_token(source);
    }
    dlk_sigv4_text_free(&line);
    return code;
}

/* A token may end before its time. The answer has status 200 where this returns 0. */
static int imds_get(struct dlk_source *source, const struct dlk_errand *errand, const char *path,
                    const char *rest, struct dlk_http_answer *answer, dynalock_error *error)
{
    char url[IMDS_URL_SIZE];
    int code = imds_url_of(source, path, rest, url, error);
    if (code == 0) {
        code = imds_get_once(source, errand, url, answer, error);
    }
    if (code == 0 && answer->status == 401) {
        dlk_http_answer_free(answer);
        code = imds_get_once(source, errand, url, answer, error);
    }
    if (code == 0 && answer->status == 404 && *rest == '\0') {
        return dlk_fail(error, DYNALOCK_ERR_CREDENTIALS, "the instance has %s",
                        strcmp(path, IMDS_ROLE_PATH) == 0 ? "no role" : "no such metadata");
    }
    return code != 0 || answer->status == 200 ? code : dlk_errand_refused(answer, NULL, error);
}

/* The first line, which must be a name that an URL can have. */
static int imds_name(const struct dlk_http_answer *answer, const char *also, char *name,
                     size_t size, dynalock_error *error)
{
    const char *text = answer->body.data != NULL ? answer->body.data : "";
    size_t length = strcspn(text, "\r\n");
    bool sound = length > 0 && length < size;
    for (size_t i = 0; sound && i < length; i++) {
        char c = text[i];
        sound = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                (c != '\0' && strchr(also, c) != NULL);
    }
    if (!sound) {
        return dlk_fail(error, DYNALOCK_ERR_BAD_RESPONSE, "what it gives is not a name");
    }
    memcpy(name, text, length);
    name[length] = '\0';
    return 0;
}

int dlk_fetch_imds(struct dlk_source *source, const struct dlk_errand *errand,
                   struct dlk_found *found, dynalock_error *error)
{
    char role[128];
    struct dlk_http_answer answer = {0};
    int code = imds_get(source, errand, IMDS_ROLE_PATH, "", &answer, error);
    if (code == 0) {
        code = imds_name(&answer, "+=,.@_-", role, sizeof role, error);
    }
    dlk_http_answer_free(&answer);
    if (code == 0) {
        code = imds_get(source, errand, IMDS_ROLE_PATH, role, &answer, error);
    }
    if (code == 0) {
        code =
            dlk_json_credentials(answer.body.data, answer.body.length, DLK_FORM_IMDS, found, error);
    }
    dlk_http_answer_free(&answer);
    return code;
}

int dlk_imds_region(const struct dlk_fetch *how, const struct dlk_profiles *profiles,
                    const char *profile_name, char *region, size_t size, dynalock_error *error)
{
    struct dlk_setting setting = {.profiles = profiles, .profile = profile_name};
    struct dlk_source *source = NULL;
    struct dlk_http_answer answer = {0};
    struct dlk_errand errand;
    dlk_errand_start(&errand, how);
    int code = dlk_source_imds(&setting, &source, error);
    if (code == 0 && source == NULL) {
        code = dlk_fail(error, DYNALOCK_ERR_CONFIG, "AWS_EC2_METADATA_DISABLED is set");
    }
    if (code == 0) {
        code = imds_get(source, &errand, IMDS_REGION_PATH, "", &answer, error);
    }
    if (code == 0) {
        code = imds_name(&answer, "-", region, size, error);
    }
    dlk_http_answer_free(&answer);
    dlk_source_free(source);
    if (code != 0 && code != DYNALOCK_ERR_MEMORY && code != DYNALOCK_ERR_CLOSED && error != NULL) {
        error->code = DYNALOCK_ERR_CONFIG;
    }
    return code == 0 || code == DYNALOCK_ERR_MEMORY || code == DYNALOCK_ERR_CLOSED
               ? code
               : DYNALOCK_ERR_CONFIG;
}
