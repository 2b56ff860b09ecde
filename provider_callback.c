/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials of a source of the caller's own. */
#include "providers.h"

#include <string.h>

#define CALLBACK_NEVER_S INT64_C(253402300799) /* the end of the year 9999 */

int dlk_source_callback(const dynalock_options *options, struct dlk_source **source,
                        dynalock_error *error)
{
    if (options->credentials == NULL) {
        return 0;
    }
    struct dlk_source *made = dlk_source_new(DLK_SOURCE_CALLBACK);
    if (made == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    dlk_copy_text(made->name, sizeof made->name, "callback");
    made->callback = options->credentials;
    made->callback_context = options->credentials_context;
    *source = made;
    return 0;
}

static int callback_failed(int code, dynalock_error *error)
{
    (void)dlk_fail(error, DYNALOCK_ERR_CREDENTIALS, "it failed (%d, %s)", code,
                   dynalock_strerror(code));
    if (error != NULL && dynalock_is_retryable(code)) {
        error->flags |= DYNALOCK_ERROR_RETRYABLE;
    }
    return DYNALOCK_ERR_CREDENTIALS;
}

static bool callback_is_empty(const char *text)
{
    return text == NULL || *text == '\0';
}

int dlk_fetch_callback(const struct dlk_source *source, struct dlk_found *found,
                       dynalock_error *error)
{
    dynalock_credentials given = {0};
    dlk_callback_begin();
    int code = source->callback(&given, source->callback_context);
    dlk_callback_end();
    if (code != 0) {
        return callback_failed(code, error);
    }
    if (callback_is_empty(given.access_key_id) || callback_is_empty(given.secret_access_key)) {
        return dlk_fail(error, DYNALOCK_ERR_CREDENTIALS, "it gave no %s",
                        callback_is_empty(given.access_key_id) ? "access key id"
                                                               : "secret access key");
    }
    /* Of what ends in the first second of 1970 or before, the end must not become a 0, "never". */
    found->expires_s = given.expires_ms >= 1000 ? given.expires_ms / 1000 : given.expires_ms != 0;
    if (found->expires_s > CALLBACK_NEVER_S) {
        found->expires_s = 0;
    }
    code = dlk_source_set(&found->access_key_id, given.access_key_id, error);
    if (code == 0) {
        code = dlk_source_set(&found->secret_access_key, given.secret_access_key, error);
    }
    return code == 0 ? dlk_source_set(&found->session_token, given.session_token, error) : code;
}
