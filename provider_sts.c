/* SPDX-License-Identifier: Apache-2.0 */
/* Roles, by STS: AssumeRole with the credentials of another source, AssumeRoleWithWebIdentity with a token. */
#include "providers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define STS_ATTEMPT_MS 5000
#define STS_TOKEN_MAX ((size_t)64 * 1024)
#define STS_CONTENT_TYPE "application/x-www-form-urlencoded; charset=utf-8"
#define STS_CONTENT_TYPE_LINE "Content-Type: " STS_CONTENT_TYPE

/* ---- The form ---- */

static void sts_encode(struct dlk_sigv4_text *body, const char *text)
{
    static const char digits[] = "0123456789ABCDEF";
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
        bool plain = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
                     (*at >= '0' && *at <= '9') || strchr("-._~", *at) != NULL;
        if (plain) {
            (void)dlk_sigv4_append_char(body, (char)*at);
        } else {
            char code[3] = {'%', digits[*at >> 4], digits[*at & 15]};
            (void)dlk_sigv4_append(body, code, sizeof code);
        }
    }
}

static void sts_add(struct dlk_sigv4_text *body, const char *name, const char *value)
{
    if (value != NULL && *value != '\0') {
        (void)dlk_sigv4_append_char(body, '&');
        (void)dlk_sigv4_append_string(body, name);
        (void)dlk_sigv4_append_char(body, '=');
        sts_encode(body, value);
    }
}

static void sts_begin(struct dlk_sigv4_text *body, const char *action,
                      const struct dlk_source *source, const struct dlk_errand *errand)
{
    char name[64];
    (void)snprintf(name, sizeof name, "dynalock-%lld", (long long)errand->how->now_s);
    (void)dlk_sigv4_append_string(body, "Action=");
    (void)dlk_sigv4_append_string(body, action);
    sts_add(body, "Version", "2011-06-15");
    sts_add(body, "RoleArn", source->role_arn);
    sts_add(body, "RoleSessionName",
            source->role_session_name != NULL ? source->role_session_name : name);
}

/* ---- The answer ---- */

static int sts_take(struct dlk_xml_wanted *wanted, const char *name, char **to,
                    dynalock_error *error)
{
    if (!wanted->found || wanted->text.length == 0) {
        return dlk_fail(error, DYNALOCK_ERR_BAD_RESPONSE, "the answer has no %s", name);
    }
    return dlk_source_set(to, wanted->text.data, error);
}

static int sts_read_found(struct dlk_xml_wanted wanted[4], struct dlk_found *found,
                          dynalock_error *error)
{
    int code = sts_take(&wanted[0], "AccessKeyId", &found->access_key_id, error);
    code = code != 0 ? code
                     : sts_take(&wanted[1], "SecretAccessKey", &found->secret_access_key, error);
    code = code != 0 ? code : sts_take(&wanted[2], "SessionToken", &found->session_token, error);
    if (code == 0 &&
        (wanted[3].text.length == 0 || !dlk_rfc3339(wanted[3].text.data, &found->expires_s))) {
        code = dlk_fail(error, DYNALOCK_ERR_BAD_RESPONSE, "the answer has no date in Expiration");
    }
    return code;
}

static int sts_read(const struct dlk_http_answer *answer, const char *action,
                    struct dlk_found *found, dynalock_error *error)
{
    static const char names[][16] = {"AccessKeyId", "SecretAccessKey", "SessionToken",
                                     "Expiration"};
    char paths[4][128];
    struct dlk_xml_wanted wanted[4] = {{0}};
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(paths[i], sizeof paths[i], "%sResponse/%sResult/Credentials/%s", action,
                       action, names[i]);
        wanted[i].path = paths[i];
    }
    const char *text = answer->body.data != NULL ? answer->body.data : "";
    const char *wrong = dlk_xml_read(text, answer->body.length, wanted, 4);
    int code = wrong != NULL ? dlk_fail(error, DYNALOCK_ERR_BAD_RESPONSE,
                                        "the answer is not XML of STS: %s", wrong)
                             : sts_read_found(wanted, found, error);
    for (size_t i = 0; i < 4; i++) {
        dlk_sigv4_text_free(&wanted[i].text);
    }
    return code;
}

/* The error's name and words; "": it has none. */
static void sts_read_error(const struct dlk_http_answer *answer, char name[64], char words[400])
{
    struct dlk_xml_wanted wanted[2] = {{.path = "ErrorResponse/Error/Code"},
                                       {.path = "ErrorResponse/Error/Message"}};
    const char *text = answer->body.data != NULL ? answer->body.data : "";
    bool is_error = dlk_xml_read(text, answer->body.length, wanted, 2) == NULL;
    name[0] = words[0] = '\0';
    if (is_error && wanted[0].text.length > 0) {
        dlk_copy_text(name, 64, wanted[0].text.data);
        dlk_copy_text(words, 400, wanted[1].text.length > 0 ? wanted[1].text.data : "");
    }
    dlk_sigv4_text_free(&wanted[0].text);
    dlk_sigv4_text_free(&wanted[1].text);
}

/* What passes among the errors of status 400. */
static bool sts_is_passing(const char *name)
{
    return strcmp(name, "IDPCommunicationError") == 0 || strstr(name, "Throttl") != NULL ||
           strcmp(name, "RequestLimitExceeded") == 0;
}

static bool sts_again(const struct dlk_http_answer *answer)
{
    char name[64];
    char words[400];
    if (answer->status == 200) {
        return false;
    }
    sts_read_error(answer, name, words);
    return sts_is_passing(name);
}

/* STS may not have fetched the keys of its issuer yet. */
static bool sts_again_with_token(const struct dlk_http_answer *answer)
{
    char name[64];
    char words[400];
    if (answer->status == 200) {
        return false;
    }
    sts_read_error(answer, name, words);
    return sts_is_passing(name) || strcmp(name, "InvalidIdentityToken") == 0;
}

static int sts_refused(const struct dlk_http_answer *answer, const char *const secrets[],
                       size_t count, dynalock_error *error)
{
    char name[64];
    char words[400];
    char joined[480];
    sts_read_error(answer, name, words);
    (void)snprintf(joined, sizeof joined, "%s%s%s", name, *words != '\0' ? ": " : "", words);
    for (size_t i = 0; i < count; i++) {
        dlk_cut_secret(joined, secrets[i]);
    }
    int code = dlk_errand_refused(answer, joined, error);
    if (error != NULL && sts_is_passing(name)) {
        error->flags |= DYNALOCK_ERROR_RETRYABLE;
    }
    return code;
}

/* ---- Sending ---- */

/* As signed and sent. dlk_config_endpoint has left neither a path in it nor the scheme's own port. */
static void sts_find_host(const char *url, char host[DLK_URL_SIZE])
{
    const char *authority = strstr(url, "://") + 3;
    (void)snprintf(host, DLK_URL_SIZE, "%.*s", (int)strcspn(authority, "/"), authority);
}

/* The header lines of a signed request. */
struct sts_lines {
    char host[DLK_URL_SIZE + 8], date[48];
    struct dlk_sigv4_text authorization, token;
};

static int sts_sign(const struct dlk_source *source, const struct dlk_credentials *base,
                    const struct dlk_errand *errand, const struct dlk_sigv4_text *body,
                    struct sts_lines *lines, dynalock_error *error)
{
    char host[DLK_URL_SIZE];
    sts_find_host(source->url, host);
    struct dlk_sigv4_header headers[] = {{"content-type", STS_CONTENT_TYPE}, {"host", host}};
    struct dlk_sigv4_request request = {.method = "POST",
                                        .path = "/",
                                        .headers = headers,
                                        .header_count = sizeof headers / sizeof *headers,
                                        .body = body->data,
                                        .body_length = body->length};
    struct dlk_sigv4_credentials credentials = {base->access_key_id, base->secret_access_key,
                                                base->session_token, 0};
    struct dlk_sigv4_signature signature;
    int failed = dlk_sigv4_sign(errand->how->signer, &request, &credentials, source->region, "sts",
                                errand->how->now_s, &signature);
    if (failed == 0) {
        (void)snprintf(lines->host, sizeof lines->host, "Host: %s", host);
        (void)snprintf(lines->date, sizeof lines->date, "X-Amz-Date: %s", signature.timestamp);
        (void)dlk_sigv4_append_string(&lines->authorization, "Authorization: ");
        failed = dlk_sigv4_append_string(&lines->authorization, signature.authorization);
        dlk_sigv4_signature_free(&signature);
    }
    if (failed == 0 && base->session_token != NULL) {
        (void)dlk_sigv4_append_string(&lines->token, "X-Amz-Security-Token: ");
        failed = dlk_sigv4_append_string(&lines->token, base->session_token);
    }
    return failed == 0 ? 0
           : failed == DLK_SIGV4_ENOMEM
               ? dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory")
               : dlk_fail(error,
                          failed == DLK_SIGV4_ECRYPTO ? DYNALOCK_ERR_SYSTEM
                                                      : DYNALOCK_ERR_CREDENTIALS,
                          "the request could not be signed");
}

static void sts_set_body(struct dlk_http_request *request, const struct dlk_sigv4_text *body)
{
    request->body = body->data;
    request->body_length = body->length;
}

int dlk_fetch_role(const struct dlk_source *source, const struct dlk_credentials *base,
                   const struct dlk_errand *errand, struct dlk_found *found, dynalock_error *error)
{
    struct dlk_sigv4_text body = {0};
    struct sts_lines lines = {.host = ""};
    struct dlk_http_answer answer = {0};
    struct dlk_http_request request = {
        .method = "POST", .url = source->url, .headers = {STS_CONTENT_TYPE_LINE}};
    const char *const secrets[] = {base->secret_access_key, base->session_token};
    sts_begin(&body, "AssumeRole", source, errand);
    sts_add(&body, "DurationSeconds", source->duration_s);
    sts_add(&body, "ExternalId", source->external_id);
    int code = body.status == DLK_SIGV4_OK ? sts_sign(source, base, errand, &body, &lines, error)
                                           : dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    if (code == 0) {
        request.headers[1] = lines.host;
        request.headers[2] = lines.date;
        request.headers[3] = lines.authorization.data;
        request.headers[4] = lines.token.data;
        sts_set_body(&request, &body);
        code = dlk_errand_http(errand, &request, STS_ATTEMPT_MS, sts_again, &answer, error);
    }
    if (code == 0) {
        code = answer.status == 200 ? sts_read(&answer, "AssumeRole", found, error)
                                    : sts_refused(&answer, secrets, 2, error);
    }
    dlk_http_answer_free(&answer);
    dlk_sigv4_text_free(&body);
    dlk_sigv4_text_free(&lines.authorization);
    dlk_sigv4_text_free(&lines.token);
    return code;
}

int dlk_fetch_web_identity(const struct dlk_source *source, const struct dlk_errand *errand,
                           struct dlk_found *found, dynalock_error *error)
{
    static const char action[] = "AssumeRoleWithWebIdentity";
    struct dlk_sigv4_text token = {0};
    struct dlk_sigv4_text body = {0};
    struct dlk_http_answer answer = {0};
    struct dlk_http_request request = {
        .method = "POST", .url = source->url, .headers = {STS_CONTENT_TYPE_LINE}};
    int code = dlk_read_file(source->token_file, STS_TOKEN_MAX, &token, error);
    if (code == 0) {
        sts_begin(&body, action, source, errand);
        sts_add(&body, "WebIdentityToken", token.data);
        sts_set_body(&request, &body);
        code = body.status == DLK_SIGV4_OK ? dlk_errand_http(errand, &request, STS_ATTEMPT_MS,
                                                             sts_again_with_token, &answer, error)
                                           : dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    if (code == 0) {
        const char *const secrets[] = {token.data};
        code = answer.status == 200 ? sts_read(&answer, action, found, error)
                                    : sts_refused(&answer, secrets, 1, error);
    }
    dlk_http_answer_free(&answer);
    dlk_sigv4_text_free(&token);
    dlk_sigv4_text_free(&body);
    return code;
}

/* ---- Finding it ---- */

int dlk_source_set_sts(struct dlk_source *made, const struct dlk_setting *setting,
                       const char *region, dynalock_error *error)
{
    char url[DLK_URL_SIZE];
    char signed_region[DLK_REGION_SIZE];
    bool fips = false;
    region = region != NULL ? region : setting->config->region;
    if (region == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_CONFIG, "%s: no region for STS", made->name);
    }
    int code =
        dlk_config_endpoint(setting->config, setting->profiles, "STS", "sts", region, url, error);
    code = code != 0 ? code : dlk_endpoint_region(region, signed_region, &fips, error);
    bool global = strcmp(signed_region, "aws-global") == 0;
    code = code != 0 ? code
                     : dlk_source_set(&made->region, global ? "us-east-1" : signed_region, error);
    return code != 0 ? code : dlk_source_set(&made->url, url, error);
}

static int sts_set_web_identity(struct dlk_source *made, const struct dlk_setting *setting,
                                const char *file, const char *role, const char *name,
                                dynalock_error *error)
{
    int code = dlk_source_set(&made->token_file, file, error);
    code = code != 0 ? code : dlk_source_set(&made->role_arn, role, error);
    code = code != 0 ? code : dlk_source_set(&made->role_session_name, name, error);
    return code != 0 ? code : dlk_source_set_sts(made, setting, NULL, error);
}

int dlk_source_web_identity_of(const struct dlk_setting *setting, const char *name,
                               const char *file, const char *role, const char *role_session_name,
                               struct dlk_source **source, dynalock_error *error)
{
    struct dlk_source *made = dlk_source_new(DLK_SOURCE_WEB_IDENTITY);
    if (made == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    dlk_copy_text(made->name, sizeof made->name, name);
    if (role_session_name == NULL) {
        role_session_name = dlk_config_env("AWS_ROLE_SESSION_NAME");
    }
    int code = sts_set_web_identity(made, setting, file, role, role_session_name, error);
    if (code != 0) {
        dlk_source_free(made);
        return code;
    }
    *source = made;
    return 0;
}

int dlk_source_web_identity(const struct dlk_setting *setting, struct dlk_source **source,
                            dynalock_error *error)
{
    const char *file = dlk_config_env("AWS_WEB_IDENTITY_TOKEN_FILE");
    const char *role = dlk_config_env("AWS_ROLE_ARN");
    if (file == NULL || role == NULL) {
        return 0;
    }
    return dlk_source_web_identity_of(setting, "web identity", file, role, NULL, source, error);
}
