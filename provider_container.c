/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials of a container: the endpoint that ECS, EKS and the like name in the environment. */
#include "providers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CONTAINER_HOST "http://169.254.170.2"
#define CONTAINER_ATTEMPT_MS 5000
#define CONTAINER_TOKEN_MAX ((size_t)16 * 1024)

/* ---- Finding it ---- */

/* Nothing but visible characters, and no user or password before the host. */
static bool container_is_url(const char *url)
{
    const char *scheme_end = strstr(url, "://");
    for (const char *at = url; *at != '\0'; at++) {
        if (*at <= ' ' || *at > '~' || *at == '"' || *at == '\\') {
            return false;
        }
    }
    if (scheme_end == NULL ||
        (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0)) {
        return false;
    }
    size_t authority = strcspn(scheme_end + 3, "/?#");
    return authority > 0 && memchr(scheme_end + 3, '@', authority) == NULL;
}

static int container_url(char url[1024], dynalock_error *error)
{
    const char *relative = dlk_config_env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = dlk_config_env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    const char *name = relative != NULL ? "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
                                        : "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    int length = relative != NULL ? snprintf(url, 1024, CONTAINER_HOST "%s", relative)
                                  : snprintf(url, 1024, "%s", full);
    if (length >= 1024 || (relative != NULL && *relative != '/') || !container_is_url(url)) {
        return dlk_fail(error, DYNALOCK_ERR_CREDENTIALS, "%s is not %s", name,
                        relative != NULL ? "a path that begins with /"
                                         : "an http:// or https:// URL");
    }
    return 0;
}

int dlk_source_container(struct dlk_source **source, dynalock_error *error)
{
    char url[1024];
    if (dlk_config_env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") == NULL &&
        dlk_config_env("AWS_CONTAINER_CREDENTIALS_FULL_URI") == NULL) {
        return 0;
    }
    int code = container_url(url, error);
    if (code != 0) {
        return code;
    }
    struct dlk_source *made = dlk_source_new(DLK_SOURCE_CONTAINER);
    if (made == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    dlk_copy_text(made->name, sizeof made->name, "container endpoint");
    const char *file = dlk_config_env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    const char *token = dlk_config_env("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    code = dlk_source_set(&made->url, url, error);
    code = code != 0 ? code : dlk_source_set(&made->token_file, file, error);
    code = code != 0 ? code : dlk_source_set(&made->token, file == NULL ? token : NULL, error);
    if (code != 0) {
        dlk_source_free(made);
        return code;
    }
    *source = made;
    return 0;
}

/* ---- Asking it ---- */

static bool container_is_sendable(const struct dlk_sigv4_text *token)
{
    for (size_t i = 0; i < token->length; i++) {
        unsigned char c = (unsigned char)token->data[i];
        if ((c < ' ' && c != '\t') || c == 0x7F) {
            return false;
        }
    }
    return true;
}

/* The header line, if there is a token. The file is read each time: its token changes. */
static int container_authorization(const struct dlk_source *source, struct dlk_sigv4_text *line,
                                   dynalock_error *error)
{
    struct dlk_sigv4_text token = {0};
    int code = 0;
    if (source->token_file != NULL) {
        code = dlk_read_file(source->token_file, CONTAINER_TOKEN_MAX, &token, error);
    } else if (source->token != NULL) {
        (void)dlk_sigv4_append_string(&token, source->token);
    }
    if (code == 0 && token.length > 0) {
        (void)dlk_sigv4_append_string(line, "Authorization: ");
        (void)dlk_sigv4_append(line, token.data, token.length);
        if (!container_is_sendable(&token)) {
            code =
                dlk_fail(error, DYNALOCK_ERR_CREDENTIALS,
                         "the authorization token has a line break or another control character");
        }
    }
    if (code == 0 && (token.status != DLK_SIGV4_OK || line->status != DLK_SIGV4_OK)) {
        code = dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    dlk_sigv4_text_free(&token);
    return code;
}

static int container_read(const struct dlk_http_answer *answer, const char *authorization,
                          struct dlk_found *found, dynalock_error *error)
{
    char words[256];
    if (answer->status == 200) {
        return dlk_json_credentials(answer->body.data, answer->body.length, DLK_FORM_CONTAINER,
                                    found, error);
    }
    dlk_json_complaint(answer->body.data, answer->body.length, words, sizeof words);
    dlk_cut_secret(words, authorization);
    const char *scheme_end = authorization != NULL ? strrchr(authorization, ' ') : NULL;
    if (scheme_end != NULL) {
        dlk_cut_secret(words, scheme_end + 1);
    }
    return dlk_errand_refused(answer, words, error);
}

int dlk_fetch_container(const struct dlk_source *source, const struct dlk_errand *errand,
                        struct dlk_found *found, dynalock_error *error)
{
    struct dlk_sigv4_text line = {0};
    struct dlk_http_answer answer = {0};
    struct dlk_http_request request = {
        .method = "GET", .url = source->url, .direct = true, .guarded = true};
    int code = container_authorization(source, &line, error);
    if (code == 0) {
        request.headers[0] = line.data;
        code = dlk_errand_http(errand, &request, CONTAINER_ATTEMPT_MS, NULL, &answer, error);
    }
    if (code == 0) {
        const char *value = line.data != NULL ? strchr(line.data, ' ') + 1 : NULL;
        code = container_read(&answer, value, found, error);
    }
    dlk_http_answer_free(&answer);
    dlk_sigv4_text_free(&line);
    return code;
}
