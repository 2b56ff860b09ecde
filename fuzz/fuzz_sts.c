/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What STS answers: XML against a reader that makes a tree of it first, then whole fetches of a role and of a web
 * identity with the input as the body of an answer, of status 200 and of 400.
 */
/* wrap: dlk_system_clock dlk_wait_readable dlk_random_below dlk_read_file */
#include "errand_time.h"
#include "memory_http.h"
#include "message.h"
#include "slow_xml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEEPEST 256  /* all names from the root on, each with a byte behind it */
#define NAME_SIZE 64 /* what is told of an error's name, with a NUL */

static const char secret[] = "HUSHwJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
static const char session_token[] = "HUSHsessionIQoJb3JpZ2luX2VjEJr//////////wEaCWV1LXdlc3Q=";
static const char web_token[] = "HUSHeyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwcyJ9.c2lnbmF0dXJl";

/* ---- XML ---- */

/* One that may be refused for its depth: those of that length, a root's name alone, are. */
static bool is_deep(const struct slow_document *document)
{
    return document->longest_path >= DEEPEST;
}

/* Whether it is found, and with this text; *text is to be freed. */
static bool expect_one(const struct slow_document *document, const char *path, char **text,
                       size_t *length, bool *sound)
{
    const struct slow_element *one;
    size_t count = slow_xml_find(document, path, &one);
    *text = count > 0 ? slow_xml_text(one, length) : NULL;
    *sound = *sound && count <= 1 && (count == 0 || (one->count == 0 && *text != NULL));
    return count > 0;
}

static void compare(const char *text, size_t length, const struct slow_document *document,
                    const char *const paths[], size_t count)
{
    struct dlk_xml_wanted wanted[4] = {{0}};
    char *texts[4];
    size_t lengths[4] = {0};
    bool found[4], sound = document->root != NULL && memchr(text, '\0', length) == NULL;
    for (size_t i = 0; i < count; i++) {
        wanted[i].path = paths[i];
        found[i] = expect_one(document, paths[i], &texts[i], &lengths[i], &sound);
    }
    const char *wrong = dlk_xml_read(text, length, wanted, count);
    fuzz_check(wrong == NULL || *wrong != '\0');
    fuzz_check(sound || wrong != NULL);
    fuzz_check(!sound || wrong == NULL || is_deep(document));
    fuzz_check(wrong != NULL || document->longest_path <= DEEPEST);
    for (size_t i = 0; i < count; i++) {
        if (wrong == NULL) {
            fuzz_check(wanted[i].found == found[i]);
            fuzz_check(wanted[i].text.length == lengths[i]);
            fuzz_check(lengths[i] == 0 ||
                       memcmp(wanted[i].text.data, texts[i], lengths[i] + 1) == 0);
        }
        dlk_sigv4_text_free(&wanted[i].text);
        free(texts[i]);
    }
}

/* ---- Whole fetches ---- */

static const char *answer_body;
static size_t answer_length;
static int answer_status, answers;

static int answer(const struct dlk_http_request *request, struct dlk_http_answer *made,
                  dynalock_error *error)
{
    (void)error;
    fuzz_check(strcmp(request->method, "POST") == 0);
    fuzz_check(strstr(request->body, secret) == NULL);
    made->status = answer_status;
    if (answer_length > 0) {
        fuzz_check(dlk_sigv4_append(&made->body, answer_body, answer_length) == DLK_SIGV4_OK);
    }
    answers++;
    return 0;
}

int __wrap_dlk_read_file(const char *path, size_t max, struct dlk_sigv4_text *text,
                         dynalock_error *error);

int __wrap_dlk_read_file(const char *path, size_t max, struct dlk_sigv4_text *text,
                         dynalock_error *error)
{
    (void)error;
    fuzz_check(strcmp(path, "/the/token") == 0 && max >= sizeof web_token);
    return dlk_sigv4_append_string(text, web_token);
}

/* The text of the one element of that name in that place, "" if it is empty or not there. */
static char *text_of(const struct slow_document *document, const char *action, const char *name)
{
    char path[160];
    const struct slow_element *one;
    size_t length = 0;
    (void)snprintf(path, sizeof path, "%sResponse/%sResult/Credentials/%s", action, action, name);
    char *text = slow_xml_find(document, path, &one) > 0 ? slow_xml_text(one, &length) : NULL;
    return text != NULL ? text : strdup("");
}

static bool is_read(const struct slow_document *document, const char *const paths[], size_t count)
{
    bool sound = document->root != NULL && memchr(answer_body, '\0', answer_length) == NULL &&
                 !is_deep(document);
    for (size_t i = 0; i < count; i++) {
        char *text;
        size_t length;
        (void)expect_one(document, paths[i], &text, &length, &sound);
        free(text);
    }
    return sound;
}

static void check_found(const struct slow_document *document, const char *action, int code,
                        const struct dlk_found *found, const dynalock_error *error, bool readable)
{
    char *id = text_of(document, action, "AccessKeyId");
    char *key = text_of(document, action, "SecretAccessKey");
    char *token = text_of(document, action, "SessionToken");
    char *date = text_of(document, action, "Expiration");
    int64_t expires_s = 0;
    bool whole = *id != '\0' && *key != '\0' && *token != '\0' && dlk_rfc3339(date, &expires_s);
    fuzz_check(is_deep(document) || code == (readable && whole ? 0 : DYNALOCK_ERR_BAD_RESPONSE));
    if (code == 0) {
        fuzz_check(strcmp(found->access_key_id, id) == 0);
        fuzz_check(strcmp(found->secret_access_key, key) == 0);
        fuzz_check(strcmp(found->session_token, token) == 0);
        fuzz_check(found->expires_s == expires_s);
    } else {
        static const char *const said[] = {
            "the answer has no AccessKeyId", "the answer has no SecretAccessKey",
            "the answer has no SessionToken", "the answer has no date in Expiration"};
        static const char of_xml[] = "the answer is not XML of STS: ";
        bool known = strncmp(error->message, of_xml, sizeof of_xml - 1) == 0;
        message_check(error, code);
        for (size_t i = 0; i < 4; i++) {
            known = known || strcmp(error->message, said[i]) == 0;
        }
        fuzz_check(known);
    }
    free(id);
    free(key);
    free(token);
    free(date);
}

/* The error's name, cut and cleaned as messages are; "": there is none that can be read. */
static void read_name(const struct slow_document *document, char name[NAME_SIZE])
{
    static const char *const paths[] = {"ErrorResponse/Error/Code", "ErrorResponse/Error/Message"};
    const struct slow_element *one;
    size_t length = 0;
    name[0] = '\0';
    if (is_read(document, paths, 2) && slow_xml_find(document, paths[0], &one) == 1) {
        char *text = slow_xml_text(one, &length);
        dlk_copy_text(name, NAME_SIZE, text);
        free(text);
    }
}

static void check_refused(const struct slow_document *document, bool with_token, int code,
                          const dynalock_error *error)
{
    static const char status[] = "HTTP status 400";
    char name[NAME_SIZE];
    read_name(document, name);
    bool passes = strcmp(name, "IDPCommunicationError") == 0 || strstr(name, "Throttl") != NULL ||
                  strcmp(name, "RequestLimitExceeded") == 0;
    bool again = passes || (with_token && strcmp(name, "InvalidIdentityToken") == 0);
    fuzz_check(code == DYNALOCK_ERR_CREDENTIALS);
    message_check(error, code);
    fuzz_check(with_token || !message_tells(error->message, secret, 16));
    fuzz_check(with_token || !message_tells(error->message, session_token, 16));
    fuzz_check(!with_token || !message_tells(error->message, web_token, 16));
    if (!is_deep(document)) {
        fuzz_check(answers == (again ? DLK_ERRAND_ATTEMPTS : 1));
        fuzz_check(((error->flags & DYNALOCK_ERROR_RETRYABLE) != 0) == passes);
    }
    /* The name, or as much of it as may be told. */
    fuzz_check(strncmp(error->message, status, sizeof status - 1) == 0);
    const char *told = error->message + sizeof status - 1;
    fuzz_check(*told == '\0' || strncmp(told, ", ", 2) == 0);
    told += *told == '\0' ? 0 : 2;
    fuzz_check(is_deep(document) || strncmp(told, name, strlen(told)) == 0 ||
               strncmp(told, name, strlen(name)) == 0);
}

static void fetch(const struct slow_document *document, const char *action, int status,
                  dlk_sigv4_signer *signer)
{
    bool with_token = strcmp(action, "AssumeRole") != 0;
    char url[] = "https://sts.eu-west-1.amazonaws.com/", region[] = "eu-west-1";
    char role[] = "arn:aws:iam::111122223333:role/dev", file[] = "/the/token";
    char id[] = "AKIAIOSFODNN7EXAMPLE", key[sizeof secret], token[sizeof session_token];
    struct dlk_source source = {.kind = with_token ? DLK_SOURCE_WEB_IDENTITY : DLK_SOURCE_ROLE,
                                .url = url,
                                .region = region,
                                .role_arn = role,
                                .token_file = file,
                                .duration_s = "3600"};
    struct dlk_credentials base = {
        .access_key_id = id, .secret_access_key = key, .session_token = token};
    struct dlk_fetch how = {.now_s = 1900000000, .timeout_ms = 10000, .signer = signer};
    struct dlk_errand errand;
    struct dlk_found found = {0};
    dynalock_error error = {0};
    char paths[4][128];
    const char *wanted[4];
    static const char *const names[] = {"AccessKeyId", "SecretAccessKey", "SessionToken",
                                        "Expiration"};
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(paths[i], sizeof paths[i], "%sResponse/%sResult/Credentials/%s", action,
                       action, names[i]);
        wanted[i] = paths[i];
    }
    memcpy(key, secret, sizeof key);
    memcpy(token, session_token, sizeof token);
    answer_status = status;
    answers = 0;
    dlk_errand_start(&errand, &how);
    int code = with_token ? dlk_fetch_web_identity(&source, &errand, &found, &error)
                          : dlk_fetch_role(&source, &base, &errand, &found, &error);
    fuzz_check(answers >= 1 && answers <= DLK_ERRAND_ATTEMPTS);
    if (status == 200) {
        fuzz_check(answers == 1);
        check_found(document, action, code, &found, &error, is_read(document, wanted, 4));
    } else {
        check_refused(document, with_token, code, &error);
        fuzz_check(found.access_key_id == NULL && found.secret_access_key == NULL);
    }
    dlk_found_free(&found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const error_paths[] = {"ErrorResponse/Error/Code",
                                              "ErrorResponse/Error/Message"};
    static const char *const short_paths[] = {"a/b", "a/b/c", "d", "a/e"};
    static const char *const root_path[] = {"a"};
    static dlk_sigv4_signer *signer;
    struct slow_document document;

    if (signer == NULL) {
        fuzz_check(dlk_sigv4_signer_new(&signer) == DLK_SIGV4_OK);
    }
    errand_time_us = 1000000;
    memory_http_answer = answer;
    answer_body = size > 0 ? (const char *)data : "";
    answer_length = size;
    slow_xml_read(answer_body, size, &document);
    compare(answer_body, size, &document, error_paths, 2);
    compare(answer_body, size, &document, short_paths, 4);
    compare(answer_body, size, &document, root_path, 1);
    fetch(&document, "AssumeRole", 200, signer);
    fetch(&document, "AssumeRoleWithWebIdentity", 200, signer);
    fetch(&document, "AssumeRole", 400, signer);
    fetch(&document, "AssumeRoleWithWebIdentity", 400, signer);
    slow_xml_free(&document);
    return 0;
}
