/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials, from options and environment. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* A plain memset before free is optimised away. */
static void credentials_wipe(char *text)
{
    if (text != NULL) {
        volatile char *at = text;
        while (*at != '\0') {
            *at++ = '\0';
        }
        free(text);
    }
}

static bool credentials_are_sendable(const char *text)
{
    for (const char *at = text; at != NULL && *at != '\0'; at++) {
        if (*at <= ' ' || *at > '~') {
            return false;
        }
    }
    return true;
}

static int credentials_copy(struct dlk_credentials *credentials, const char *id, const char *secret,
                            const char *token, dynalock_error *error)
{
    if (!credentials_are_sendable(id) || !credentials_are_sendable(secret) ||
        !credentials_are_sendable(token)) {
        return dlk_fail(
            error, DYNALOCK_ERR_CREDENTIALS,
            "the access key id, the secret or the session token has white space or other characters that "
            "none has");
    }
    credentials->access_key_id = strdup(id);
    credentials->secret_access_key = strdup(secret);
    credentials->session_token = token != NULL ? strdup(token) : NULL;
    if (credentials->access_key_id == NULL || credentials->secret_access_key == NULL ||
        (token != NULL && credentials->session_token == NULL)) {
        dlk_credentials_free(credentials);
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    return 0;
}

int dlk_credentials_read(struct dlk_credentials *credentials, const dynalock_options *options,
                         dynalock_error *error)
{
    const char *id = options->access_key_id;
    const char *secret = options->secret_access_key;
    const char *token = options->session_token;
    const char *place = "the options";
    *credentials = (struct dlk_credentials){0};
    if (id == NULL && secret == NULL) {
        id = dlk_config_env("AWS_ACCESS_KEY_ID");
        secret = dlk_config_env("AWS_SECRET_ACCESS_KEY");
        token = dlk_config_env("AWS_SESSION_TOKEN");
        place = "the environment";
    }
    if (id == NULL && secret == NULL) {
        return dlk_fail(
            error, DYNALOCK_ERR_CREDENTIALS,
            "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the options");
    }
    if (id == NULL || secret == NULL || *id == '\0' || *secret == '\0') {
        return dlk_fail(error, DYNALOCK_ERR_CREDENTIALS, "%s give %s without %s", place,
                        id != NULL && *id != '\0' ? "an access key id" : "a secret access key",
                        id != NULL && *id != '\0' ? "a secret access key" : "an access key id");
    }
    return credentials_copy(credentials, id, secret, token != NULL && *token != '\0' ? token : NULL,
                            error);
}

void dlk_credentials_free(struct dlk_credentials *credentials)
{
    credentials_wipe(credentials->access_key_id);
    credentials_wipe(credentials->secret_access_key);
    credentials_wipe(credentials->session_token);
    *credentials = (struct dlk_credentials){0};
}
