/* SPDX-License-Identifier: Apache-2.0 */
/* One set of credentials: immutable, counted, and wiped when it is dropped. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Dummies that a local server takes may be shorter, and part of any word. */
#define CREDENTIALS_SECRET_MIN 8

void dlk_wipe_bytes(void *bytes, size_t length)
{
    volatile char *at = bytes; /* a plain memset of what is not used again is optimised away */
    for (size_t i = 0; i < length; i++) {
        at[i] = '\0';
    }
}

void dlk_wipe(char *text)
{
    if (text != NULL) {
        dlk_wipe_bytes(text, strlen(text));
        free(text);
    }
}

void dlk_cut_signed(char *words)
{
    static const char signs[][24] = {"The Canonical String", "The String-to-Sign",
                                     "x-amz-security-token", "AWS4-HMAC-SHA256"};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        char *at = strstr(words, signs[i]);
        if (at != NULL) {
            *at = '\0';
        }
    }
}

bool dlk_is_sendable(const char *text)
{
    for (const char *at = text; at != NULL && *at != '\0'; at++) {
        if (*at <= ' ' || *at > '~') {
            return false;
        }
    }
    return true;
}

int dlk_credentials_new(struct dlk_credentials **made, const char *id, const char *secret,
                        const char *token, int64_t expires_s, const char *source,
                        dynalock_error *error)
{
    if (!dlk_is_sendable(id) || !dlk_is_sendable(secret) || !dlk_is_sendable(token)) {
        return dlk_fail(
            error, DYNALOCK_ERR_CREDENTIALS,
            "%s: the access key id, the secret or the session token has white space or other characters that "
            "none has",
            source);
    }
    struct dlk_credentials *set = calloc(1, sizeof *set);
    if (set != NULL) {
        atomic_init(&set->references, 1);
        set->access_key_id = strdup(id);
        set->secret_access_key = strdup(secret);
        set->session_token = token != NULL && *token != '\0' ? strdup(token) : NULL;
        set->expires_s = expires_s;
        dlk_copy_text(set->source, sizeof set->source, source);
    }
    if (set == NULL || set->access_key_id == NULL || set->secret_access_key == NULL ||
        (token != NULL && *token != '\0' && set->session_token == NULL)) {
        dlk_credentials_unref(set);
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    *made = set;
    return 0;
}

struct dlk_credentials *dlk_credentials_ref(struct dlk_credentials *set)
{
    (void)atomic_fetch_add(&set->references, 1);
    return set;
}

void dlk_credentials_unref(struct dlk_credentials *set)
{
    if (set != NULL && atomic_fetch_sub(&set->references, 1) == 1) {
        dlk_wipe(set->access_key_id);
        dlk_wipe(set->secret_access_key);
        dlk_wipe(set->session_token);
        free(set);
    }
}

void dlk_cut_secret(char *words, const char *secret)
{
    dlk_cut_signed(words);
    if (secret != NULL && strlen(secret) >= CREDENTIALS_SECRET_MIN) {
        char start[17]; /* the words may repeat a part alone */
        (void)snprintf(start, sizeof start, "%s", secret);
        char *at = strstr(words, start);
        if (at != NULL) {
            *at = '\0';
        }
        dlk_wipe_bytes(start, sizeof start);
    }
}
