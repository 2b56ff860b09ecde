/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credentials as JSON, in all their forms: what is found is what a plain reader of the same document finds, and what is
 * refused is refused without a word of what stands in it. The input is the text.
 */
#include "../providers.h"
#include "fuzz.h"
#include "message.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* What a document says, its texts borrowed. */
struct reading {
    bool sound;
    const char *id, *secret, *token;
    int64_t expires_s;
};

/* ---- The plain reader ---- */

static bool is_text(const json_t *json, const char *name)
{
    return json_string_length(json_object_get(json, name)) > 0;
}

static bool is_left_out(const json_t *json, const char *name)
{
    const json_t *member = json_object_get(json, name);
    return member == NULL || json_is_null(member) ||
           (json_is_string(member) && json_string_length(member) == 0);
}

static bool read_expiry(const json_t *json, enum dlk_credentials_form form, int64_t *expires_s)
{
    if (form == DLK_FORM_SSO) {
        const json_t *member = json_object_get(json, "expiration");
        double ms = json_number_value(member);
        *expires_s = ms >= 1000 && ms <= 9e15 ? (int64_t)ms / 1000 : 0;
        return json_is_number(member) && *expires_s > 0;
    }
    if (form == DLK_FORM_PROCESS && is_left_out(json, "Expiration")) {
        return true;
    }
    return is_text(json, "Expiration") &&
           dlk_rfc3339(json_string_value(json_object_get(json, "Expiration")), expires_s);
}

static bool is_of_form(const json_t *json, enum dlk_credentials_form form)
{
    const json_t *version = json_object_get(json, "Version");
    const json_t *status = json_object_get(json, "Code");
    if (form == DLK_FORM_PROCESS) {
        return json_is_number(version) && json_number_value(version) == 1;
    }
    return form != DLK_FORM_IMDS || !json_is_string(status) ||
           strcmp(json_string_value(status), "Success") == 0;
}

static struct reading read_plainly(const json_t *json, enum dlk_credentials_form form)
{
    static const char *const names[][3] = {
        [DLK_FORM_PROCESS] = {"AccessKeyId", "SecretAccessKey", "SessionToken"},
        [DLK_FORM_CONTAINER] = {"AccessKeyId", "SecretAccessKey", "Token"},
        [DLK_FORM_IMDS] = {"AccessKeyId", "SecretAccessKey", "Token"},
        [DLK_FORM_SSO] = {"accessKeyId", "secretAccessKey", "sessionToken"}};
    struct reading reading = {0};
    if (!json_is_object(json) || !is_of_form(json, form)) {
        return reading;
    }
    json = form == DLK_FORM_SSO ? json_object_get(json, "roleCredentials") : json;
    reading.id = json_string_value(json_object_get(json, names[form][0]));
    reading.secret = json_string_value(json_object_get(json, names[form][1]));
    if (is_text(json, names[form][2])) {
        reading.token = json_string_value(json_object_get(json, names[form][2]));
    }
    reading.sound = is_text(json, names[form][0]) && is_text(json, names[form][1]) &&
                    (reading.token != NULL ||
                     (form == DLK_FORM_PROCESS && is_left_out(json, names[form][2]))) &&
                    read_expiry(json, form, &reading.expires_s);
    return reading;
}

/* ---- Messages ---- */

static const char *const secret_names[] = {"SecretAccessKey", "secretAccessKey", "Token",
                                           "SessionToken",    "sessionToken",    "accessToken"};

/* None of the document's secrets stands in what was said, but where the words that may be said have it as well. */
static void check_secrets(const json_t *json, const char *said, const char *words)
{
    const json_t *holders[] = {json, json_object_get(json, "roleCredentials")};
    for (size_t i = 0; i < 2 * sizeof secret_names / sizeof *secret_names; i++) {
        const json_t *member = json_object_get(holders[i % 2], secret_names[i / 2]);
        const char *secret = json_string_value(member);
        fuzz_check(!message_tells(said, secret, SIZE_MAX) || strstr(words, secret) != NULL);
    }
}

/* "NAME in the answer WHAT", of names and faults that stand here. */
static bool is_known_complaint(const char *message)
{
    static const char *const faults[] = {"is missing",    "is empty",       "is not a string",
                                         "is not a date", "is not a token", "is not 1"};
    static const char *const others[] = {"AccessKeyId", "accessKeyId", "Expiration",
                                         "expiration",  "expiresAt",   "Version"};
    static const char between[] = " in the answer ";
    const char *middle = strstr(message, between);
    size_t length = middle == NULL ? 0 : (size_t)(middle - message);
    bool name = false, fault = false;
    for (size_t i = 0; middle != NULL && i < 6; i++) {
        name =
            name || (strlen(others[i]) == length && strncmp(others[i], message, length) == 0) ||
            (strlen(secret_names[i]) == length && strncmp(secret_names[i], message, length) == 0);
    }
    for (size_t i = 0; middle != NULL && i < sizeof faults / sizeof *faults; i++) {
        fault = fault || strcmp(middle + sizeof between - 1, faults[i]) == 0;
    }
    return name && fault;
}

static void check_complaint(const json_t *json, enum dlk_credentials_form form,
                            const dynalock_error *error)
{
    static const char of_code[] = "it answers with Code ";
    message_check(error, DYNALOCK_ERR_BAD_RESPONSE);
    if (!json_is_object(json)) {
        fuzz_check(strcmp(error->message, "the answer is not a JSON object") == 0);
    } else if (form == DLK_FORM_IMDS && !is_of_form(json, form)) {
        fuzz_check(strncmp(error->message, of_code, sizeof of_code - 1) == 0);
        fuzz_check(strlen(error->message) < sizeof of_code + 64);
        check_secrets(json, error->message + sizeof of_code - 1,
                      json_string_value(json_object_get(json, "Code")));
    } else {
        fuzz_check(is_known_complaint(error->message));
    }
}

/* ---- What is found ---- */

static void check_text(const char *found, const char *read, const char *text, size_t length)
{
    fuzz_check((found == NULL) == (read == NULL));
    if (found != NULL) {
        fuzz_check(strcmp(found, read) == 0);
        fuzz_check(memchr(text, '\\', length) != NULL ||
                   memmem(text, length, found, strlen(found)) != NULL);
    }
}

static bool is_visible(const char *text)
{
    for (; text != NULL && *text != '\0'; text++) {
        if (*text < '!' || *text > '~') {
            return false;
        }
    }
    return true;
}

static void check_set(const struct dlk_found *found)
{
    struct dlk_credentials *const none = (void *)&secret_names, *set = none;
    dynalock_error error = {0};
    bool sendable = is_visible(found->access_key_id) && is_visible(found->secret_access_key) &&
                    is_visible(found->session_token);
    int code = dlk_credentials_new(&set, found->access_key_id, found->secret_access_key,
                                   found->session_token, found->expires_s, "a source", &error);
    fuzz_check(code == (sendable ? 0 : DYNALOCK_ERR_CREDENTIALS));
    if (code != 0) {
        message_check(&error, code);
        fuzz_check(strcmp(error.message,
                          "a source: the access key id, the secret or the session "
                          "token has white space or other characters that none has") == 0);
        fuzz_check(set == none);
        return;
    }
    fuzz_check(strcmp(set->access_key_id, found->access_key_id) == 0);
    fuzz_check(strcmp(set->secret_access_key, found->secret_access_key) == 0);
    fuzz_check((set->session_token == NULL) == (found->session_token == NULL));
    fuzz_check(set->session_token == NULL || strcmp(set->session_token, found->session_token) == 0);
    fuzz_check(set->expires_s == found->expires_s && !set->stable);
    fuzz_check(strcmp(set->source, "a source") == 0);
    dlk_credentials_unref(dlk_credentials_ref(set));
    dlk_credentials_unref(set);
}

static void try_form(const char *text, size_t length, const json_t *json,
                     enum dlk_credentials_form form)
{
    struct dlk_found found = {0}, again = {0};
    dynalock_error error = {0};
    struct reading reading = read_plainly(json, form);
    int code = dlk_json_credentials(text, length, form, &found, &error);

    fuzz_check(code == (reading.sound ? 0 : DYNALOCK_ERR_BAD_RESPONSE));
    fuzz_check(dlk_json_credentials(text, length, form, &again, NULL) == code);
    dlk_found_free(&again);
    if (code == 0) {
        check_text(found.access_key_id, reading.id, text, length);
        check_text(found.secret_access_key, reading.secret, text, length);
        check_text(found.session_token, reading.token, text, length);
        fuzz_check(found.expires_s == reading.expires_s);
        fuzz_check(form == DLK_FORM_PROCESS || found.session_token != NULL);
        check_set(&found);
    } else {
        check_complaint(json, form, &error);
        fuzz_check(found.access_key_id == NULL && found.secret_access_key == NULL &&
                   found.session_token == NULL && found.expires_s == 0);
    }
    dlk_found_free(&found);
    fuzz_check(found.secret_access_key == NULL);
}

static void try_sso_token(const char *text, size_t length, const json_t *json)
{
    char unset[] = "unset", *token = unset;
    int64_t expires_s = -7, expected_s = 0;
    dynalock_error error = {0};
    bool sound = is_text(json, "accessToken") && is_text(json, "expiresAt") &&
                 is_visible(json_string_value(json_object_get(json, "accessToken"))) &&
                 dlk_rfc3339(json_string_value(json_object_get(json, "expiresAt")), &expected_s);
    int code = dlk_json_sso_token(text, length, &token, &expires_s, &error);

    fuzz_check(code == (sound ? 0 : DYNALOCK_ERR_BAD_RESPONSE));
    if (code == 0) {
        check_text(token, json_string_value(json_object_get(json, "accessToken")), text, length);
        fuzz_check(expires_s == expected_s);
        dlk_wipe(token);
    } else {
        message_check(&error, code);
        fuzz_check(token == unset);
        fuzz_check(is_known_complaint(error.message) ||
                   strcmp(error.message, "it is not a JSON object") == 0);
    }
}

/* ---- Complaints ---- */

static const char *first_text(const json_t *json, const char *const names[], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *text = json_string_value(json_object_get(json, names[i]));
        if (text != NULL) {
            return text;
        }
    }
    return "";
}

static void try_complaint(const char *text, size_t length, const json_t *json)
{
    static const char *const codes[] = {"code", "Code", "__type"};
    static const char *const messages[] = {"message", "Message"};
    static const size_t sizes[] = {1, 2, 16, 101, 256};
    char whole[512], part[512];
    const char *code = first_text(json, codes, 3), *message = first_text(json, messages, 2);

    memset(whole, 'x', sizeof whole);
    dlk_json_complaint(text, length, whole, 400);
    fuzz_check(strlen(whole) < 400 && message_is_clean(whole));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        memset(part, 'x', sizeof part);
        dlk_json_complaint(text, length, part, sizes[i]);
        fuzz_check(strlen(part) < sizes[i] && part[sizes[i]] == 'x');
        fuzz_check(strncmp(part, whole, strlen(part)) == 0);
    }
    if (strlen(code) < 100 && strlen(message) < 280 && message_is_clean(code) &&
        message_is_clean(message)) {
        char plain[512];
        (void)snprintf(plain, sizeof plain, "%s%s%s", code,
                       strcmp(code, "") != 0 && strcmp(message, "") != 0 ? ": " : "", message);
        size_t said = strlen(whole), both = strlen(plain);
        fuzz_check(strcmp(whole, plain) == 0 || (said >= both && said <= both + 2));
        check_secrets(json, whole, plain);
    }
    if (!json_is_object(json)) {
        fuzz_check(whole[0] == '\0');
    }
}

/* Of what is JSON: how many brackets are open at most. */
static size_t deepest(const char *text, size_t length)
{
    size_t depth = 0, most = 0;
    bool quoted = false;
    for (size_t i = 0; i < length; i++) {
        quoted = quoted != (text[i] == '"');
        i += quoted && text[i] == '\\' ? 1 : 0;
        depth += !quoted && (text[i] == '[' || text[i] == '{') ? 1 : 0;
        most = depth > most ? depth : most;
        depth -= !quoted && (text[i] == ']' || text[i] == '}') ? 1 : 0;
    }
    return most;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = size > 0 ? (const char *)data : NULL;
    json_t *json = text == NULL ? NULL : json_loadb(text, size, 0, NULL);

    if (json != NULL && deepest(text, size) > DLK_JSON_DEPTH_MAX) {
        json_decref(json);
        json = NULL;
    }

    for (int form = DLK_FORM_PROCESS; form <= DLK_FORM_SSO; form++) {
        try_form(text, size, json, (enum dlk_credentials_form)form);
    }
    try_sso_token(text, size, json);
    try_complaint(text, size, json);
    json_decref(json);
    return 0;
}
