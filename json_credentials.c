/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials as JSON: what programs, metadata services and SSO hand out. */
#include "providers.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void dlk_found_free(struct dlk_found *found)
{
    dlk_wipe(found->access_key_id);
    dlk_wipe(found->secret_access_key);
    dlk_wipe(found->session_token);
    *found = (struct dlk_found){0};
}

/* ---- Reading ---- */

static json_t *creds_load(const char *text, size_t length)
{
    json_t *json =
        text != NULL && dlk_json_is_sane(text, length) ? json_loadb(text, length, 0, NULL) : NULL;
    if (json != NULL && !json_is_object(json)) {
        json_decref(json);
        return NULL;
    }
    return json;
}

/* Frees it, its texts wiped first: jansson does not. */
static void creds_drop(json_t *json)
{
    void *iterator = dlk_json_first(json);
    for (; iterator != NULL; iterator = dlk_json_next(json, iterator)) {
        const json_t *member = json_object_iter_value(iterator);
        if (json_is_string(member)) {
            dlk_wipe_bytes((char *)json_string_value(member), json_string_length(member));
        }
    }
}

static void creds_free(json_t *json)
{
    if (json == NULL) {
        return;
    }
    json_t *nested = json_object_get(json, "roleCredentials");
    if (json_is_object(nested)) {
        creds_drop(nested);
    }
    creds_drop(json);
    json_decref(json);
}

static int creds_bad(dynalock_error *error, const char *name, const char *what)
{
    return dlk_fail(error, DYNALOCK_ERR_BAD_RESPONSE, "%s in the answer %s", name, what);
}

/* A string of at least one byte. An optional one may be absent, null or "". */
static int creds_text(const json_t *json, const char *name, bool optional, char **text,
                      dynalock_error *error)
{
    const json_t *member = json_object_get(json, name);
    size_t length = json_string_length(member);
    if (member == NULL || json_is_null(member) || (json_is_string(member) && length == 0)) {
        return optional ? 0 : creds_bad(error, name, member != NULL ? "is empty" : "is missing");
    }
    if (!json_is_string(member)) {
        return creds_bad(error, name, "is not a string");
    }
    *text = strdup(json_string_value(member));
    return *text != NULL ? 0 : dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
}

static int creds_date(const json_t *json, const char *name, bool optional, int64_t *expires_s,
                      dynalock_error *error)
{
    char *text = NULL;
    int code = creds_text(json, name, optional, &text, error);
    if (code == 0 && text != NULL && !dlk_rfc3339(text, expires_s)) {
        code = creds_bad(error, name, "is not a date");
    }
    dlk_wipe(text);
    return code;
}

/* SSO's, in milliseconds. */
static int creds_milliseconds(const json_t *json, const char *name, int64_t *expires_s,
                              dynalock_error *error)
{
    const json_t *member = json_object_get(json, name);
    double ms = json_number_value(member);
    if (!json_is_number(member) || !(ms >= 1000) || ms > 9e15) {
        return creds_bad(error, name, member != NULL ? "is not a date" : "is missing");
    }
    *expires_s = (int64_t)(ms / 1000);
    return 0;
}

/* ---- Their forms ---- */

static int creds_keys(const json_t *json, const char names[3][16], bool needs_token,
                      struct dlk_found *found, dynalock_error *error)
{
    int code = creds_text(json, names[0], false, &found->access_key_id, error);
    if (code == 0) {
        code = creds_text(json, names[1], false, &found->secret_access_key, error);
    }
    return code != 0 ? code
                     : creds_text(json, names[2], !needs_token, &found->session_token, error);
}

static int creds_check(const json_t *json, enum dlk_credentials_form form, dynalock_error *error)
{
    const json_t *version = json_object_get(json, "Version");
    const char *status = json_string_value(json_object_get(json, "Code"));
    if (form == DLK_FORM_PROCESS && !(json_is_number(version) && json_number_value(version) == 1)) {
        return creds_bad(error, "Version", version == NULL ? "is missing" : "is not 1");
    }
    if (form == DLK_FORM_IMDS && status != NULL && strcmp(status, "Success") != 0) {
        char words[64];
        dlk_copy_text(words, sizeof words, status);
        return dlk_fail(error, DYNALOCK_ERR_BAD_RESPONSE, "it answers with Code %s", words);
    }
    return 0;
}

static int creds_read(const json_t *json, enum dlk_credentials_form form, struct dlk_found *found,
                      dynalock_error *error)
{
    static const char process[][16] = {"AccessKeyId", "SecretAccessKey", "SessionToken"};
    static const char metadata[][16] = {"AccessKeyId", "SecretAccessKey", "Token"};
    static const char sso[][16] = {"accessKeyId", "secretAccessKey", "sessionToken"};
    int code = creds_check(json, form, error);
    if (code != 0) {
        return code;
    }
    if (form == DLK_FORM_SSO) {
        json = json_object_get(json, "roleCredentials");
        code = creds_keys(json, sso, true, found, error);
        return code != 0 ? code : creds_milliseconds(json, "expiration", &found->expires_s, error);
    }
    bool optional = form == DLK_FORM_PROCESS;
    code = creds_keys(json, optional ? process : metadata, !optional, found, error);
    return code != 0 ? code : creds_date(json, "Expiration", optional, &found->expires_s, error);
}

int dlk_json_credentials(const char *text, size_t length, enum dlk_credentials_form form,
                         struct dlk_found *found, dynalock_error *error)
{
    json_t *json = creds_load(text, length);
    if (json == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_BAD_RESPONSE, "the answer is not a JSON object");
    }
    int code = creds_read(json, form, found, error);
    creds_free(json);
    if (code != 0) {
        dlk_found_free(found);
    }
    return code;
}

int dlk_json_sso_token(const char *text, size_t length, char **token, int64_t *expires_s,
                       dynalock_error *error)
{
    char *read = NULL;
    json_t *json = creds_load(text, length);
    if (json == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_BAD_RESPONSE, "it is not a JSON object");
    }
    int code = creds_text(json, "accessToken", false, &read, error);
    if (code == 0 && !dlk_is_sendable(read)) {
        code = creds_bad(error, "accessToken", "is not a token");
    }
    if (code == 0) {
        code = creds_date(json, "expiresAt", false, expires_s, error);
    }
    creds_free(json);
    if (code != 0) {
        dlk_wipe(read);
        return code;
    }
    *token = read;
    return 0;
}

/* ---- Complaints ---- */

static const char *creds_word(const json_t *json, const char *lower, const char *upper)
{
    const char *word = json_string_value(json_object_get(json, lower));
    return word != NULL ? word : json_string_value(json_object_get(json, upper));
}

void dlk_json_complaint(const char *text, size_t length, char *to, size_t size)
{
    char joined[400];
    json_t *json = creds_load(text, length);
    const char *code = creds_word(json, "code", "Code");
    const char *message = creds_word(json, "message", "Message");
    code = code != NULL ? code : json_string_value(json_object_get(json, "__type"));
    (void)snprintf(joined, sizeof joined, "%.100s%s%.280s", code != NULL ? code : "",
                   code != NULL && message != NULL ? ": " : "", message != NULL ? message : "");
    dlk_copy_text(to, size, joined);
    json_decref(json);
}
