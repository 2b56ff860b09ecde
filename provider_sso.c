/* SPDX-License-Identifier: Apache-2.0 */
/* SSO: the role credentials that the portal gives for the token of `aws sso login`. */
#include "providers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SSO_ATTEMPT_MS 5000
#define SSO_FILE_MAX ((size_t)64 * 1024)

/* ---- Finding it ---- */

/* What a profile with SSO must say, by itself or in the section that sso_session names. */
struct sso_properties {
    const char *session; /* NULL: the older form */
    const char *start_url, *region, *account_id, *role_name;
};

static int sso_missing(const char *section, const char *name, const char *property,
                       dynalock_error *error)
{
    return dlk_fail(error, DYNALOCK_ERR_CREDENTIALS, "%s %.100s has no %s", section, name,
                    property);
}

static int sso_read_profile(const struct dlk_profiles *profiles, const char *profile,
                            struct sso_properties *sso, dynalock_error *error)
{
    sso->session = dlk_profiles_get(profiles, DLK_SECTION_PROFILE, profile, "sso_session");
    enum dlk_section section = sso->session != NULL ? DLK_SECTION_SSO_SESSION : DLK_SECTION_PROFILE;
    const char *owner = sso->session != NULL ? sso->session : profile;
    const char *kind = sso->session != NULL ? "sso-session" : "profile";
    if (sso->session != NULL && !dlk_profiles_has(profiles, section, owner)) {
        return dlk_fail(error, DYNALOCK_ERR_CREDENTIALS,
                        "profile %.100s names sso-session %.100s, which is not there", profile,
                        owner);
    }
    sso->start_url = dlk_profiles_get(profiles, section, owner, "sso_start_url");
    sso->region = dlk_profiles_get(profiles, section, owner, "sso_region");
    sso->account_id = dlk_profiles_get(profiles, DLK_SECTION_PROFILE, profile, "sso_account_id");
    sso->role_name = dlk_profiles_get(profiles, DLK_SECTION_PROFILE, profile, "sso_role_name");
    return sso->start_url == NULL    ? sso_missing(kind, owner, "sso_start_url", error)
           : sso->region == NULL     ? sso_missing(kind, owner, "sso_region", error)
           : sso->account_id == NULL ? sso_missing("profile", profile, "sso_account_id", error)
           : sso->role_name == NULL  ? sso_missing("profile", profile, "sso_role_name", error)
                                     : 0;
}

/* The file in which `aws sso login` left the token. */
static int sso_set_file(struct dlk_source *made, const char *key, dynalock_error *error)
{
    char path[4096 + 80];
    char home[4096];
    char hash[DLK_SHA1_HEX_SIZE];
    if (!dlk_home(home, sizeof home)) {
        return dlk_fail(error, DYNALOCK_ERR_CREDENTIALS, "%s: there is no home folder", made->name);
    }
    if (dlk_sha1_hex(key, hash) != DLK_SIGV4_OK) {
        return dlk_fail(error, DYNALOCK_ERR_SYSTEM, "OpenSSL has no SHA-1");
    }
    (void)snprintf(path, sizeof path, "%s/.aws/sso/cache/%s.json", home, hash);
    return dlk_source_set(&made->token_file, path, error);
}

static int sso_fill(struct dlk_source *made, const struct dlk_setting *setting,
                    const struct sso_properties *sso, dynalock_error *error)
{
    char url[DLK_URL_SIZE];
    int code = dlk_config_endpoint(setting->config, setting->profiles, "SSO", "portal.sso",
                                   sso->region, url, error);
    code = code != 0 ? code : dlk_source_set(&made->url, url, error);
    code = code != 0 ? code : dlk_source_set(&made->account_id, sso->account_id, error);
    code = code != 0 ? code : dlk_source_set(&made->sso_role, sso->role_name, error);
    if (code == 0) {
        code = sso_set_file(made, sso->session != NULL ? sso->session : sso->start_url, error);
    }
    return code;
}

int dlk_source_sso(const struct dlk_setting *setting, const char *profile,
                   struct dlk_source **source, dynalock_error *error)
{
    struct sso_properties sso;
    int code = sso_read_profile(setting->profiles, profile, &sso, error);
    if (code != 0) {
        return code;
    }
    struct dlk_source *made = dlk_source_new(DLK_SOURCE_SSO);
    if (made == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    (void)snprintf(made->name, sizeof made->name, "profile %.64s, SSO", profile);
    code = dlk_source_set(&made->profile, profile, error);
    code = code != 0 ? code : sso_fill(made, setting, &sso, error);
    if (code != 0) {
        dlk_source_free(made);
        return code;
    }
    *source = made;
    return 0;
}

/* ---- Asking it ---- */

static int sso_log_in(const struct dlk_source *source, const char *why, dynalock_error *error)
{
    return dlk_fail(error, DYNALOCK_ERR_CREDENTIALS, "%s: run aws sso login --profile %.64s", why,
                    source->profile);
}

static int sso_token(const struct dlk_source *source, const struct dlk_errand *errand, char **token,
                     dynalock_error *error)
{
    struct dlk_sigv4_text text = {0};
    dynalock_error why = {0};
    int64_t expires_s = 0;
    int code = dlk_read_file(source->token_file, SSO_FILE_MAX, &text, &why);
    if (code == 0) {
        code = dlk_json_sso_token(text.data, text.length, token, &expires_s, &why);
    }
    dlk_sigv4_text_free(&text);
    if (code == DYNALOCK_ERR_MEMORY || code == DYNALOCK_ERR_SYSTEM) {
        return dlk_fail(error, code, "%s", why.message);
    }
    if (code != 0) {
        char words[300];
        (void)snprintf(words, sizeof words, "no token of a login (%.250s)", why.message);
        return sso_log_in(source, words, error);
    }
    return expires_s > errand->how->now_s ? 0 : sso_log_in(source, "the login has expired", error);
}

static void sso_encode(struct dlk_sigv4_text *url, const char *text)
{
    for (; *text != '\0'; text++) {
        char code[4];
        bool plain = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
                     (*text >= '0' && *text <= '9') || strchr("-._~", *text) != NULL;
        (void)snprintf(code, sizeof code, plain ? "%c" : "%%%02X", (unsigned char)*text);
        (void)dlk_sigv4_append_string(url, code);
    }
}

static int sso_read(const struct dlk_source *source, const struct dlk_http_answer *answer,
                    const char *token, struct dlk_found *found, dynalock_error *error)
{
    char words[256];
    if (answer->status == 200) {
        return dlk_json_credentials(answer->body.data, answer->body.length, DLK_FORM_SSO, found,
                                    error);
    }
    if (answer->status == 401) {
        return sso_log_in(source, "the portal does not take the login", error);
    }
    dlk_json_complaint(answer->body.data, answer->body.length, words, sizeof words);
    dlk_cut_secret(words, token);
    return dlk_errand_refused(answer, words, error);
}

static int sso_ask(const struct dlk_source *source, const struct dlk_errand *errand,
                   const char *token, struct dlk_found *found, dynalock_error *error)
{
    struct dlk_sigv4_text url = {0};
    struct dlk_sigv4_text line = {0};
    struct dlk_http_answer answer = {0};
    struct dlk_http_request request = {.method = "GET"};
    (void)dlk_sigv4_append_string(&url, source->url);
    (void)dlk_sigv4_append_string(&url, "federation/credentials?role_name=");
    sso_encode(&url, source->sso_role);
    (void)dlk_sigv4_append_string(&url, "&account_id=");
    sso_encode(&url, source->account_id);
    (void)dlk_sigv4_append_string(&line, "x-amz-sso_bearer_token: ");
    (void)dlk_sigv4_append_string(&line, token);
    request.url = url.data;
    request.headers[0] = line.data;
    int code = url.status == DLK_SIGV4_OK && line.status == DLK_SIGV4_OK
                   ? dlk_errand_http(errand, &request, SSO_ATTEMPT_MS, NULL, &answer, error)
                   : dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    if (code == 0) {
        code = sso_read(source, &answer, token, found, error);
    }
    dlk_http_answer_free(&answer);
    dlk_sigv4_text_free(&line);
    dlk_sigv4_text_free(&url);
    return code;
}

int dlk_fetch_sso(const struct dlk_source *source, const struct dlk_errand *errand,
                  struct dlk_found *found, dynalock_error *error)
{
    char *token = NULL;
    int code = sso_token(source, errand, &token, error);
    if (code == 0) {
        code = sso_ask(source, errand, token, found, error);
    }
    dlk_wipe(token);
    return code;
}
