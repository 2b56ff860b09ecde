/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetches the credentials that it is told to, for credentials.test.mjs; see support_tool.h.
 *
 * In: env (an object: all there is of AWS_*), profile (the option; may be missing).
 * Out: id, secret, token (may be missing) and source; or error, a message.
 */
#include "../providers.h"
#include "support_tool.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <time.h>

static int tool_fetch(const dynalock_options *options, const struct dlk_profiles *profiles,
                      dlk_sigv4_signer *signer, struct dlk_credentials **made,
                      dynalock_error *error)
{
    const struct dlk_fetch how = {
        .now_s = (int64_t)time(NULL), .timeout_ms = 10000, .signer = signer};
    struct dlk_config config = {0};
    struct dlk_chain *chain = NULL;
    int code = dlk_config_read(&config, options, profiles, error);
    if (code != 0) {
        return code;
    }
    code = dlk_chain_new(&chain, options, &config, profiles, dlk_profiles_chosen(options), error);
    if (code == 0) {
        code = dlk_chain_fetch(chain, &how, made, error);
        dlk_chain_free(chain);
    }
    dlk_config_free(&config);
    return code;
}

static json_t *tool_answer(const json_t *in, void *signer)
{
    const dynalock_options options = {.profile = json_string_value(json_object_get(in, "profile"))};
    struct dlk_profiles *profiles = NULL;
    struct dlk_credentials *made = NULL;
    dynalock_error error = {0};
    tool_set_environment(json_object_get(in, "env"));
    int code = dlk_profiles_read(&profiles, &error);
    if (code == 0) {
        code = tool_fetch(&options, profiles, signer, &made, &error);
        dlk_profiles_free(profiles);
    }
    json_t *out = code == 0 ? json_pack("{s:s, s:s, s:s, s:s*}", "id", made->access_key_id,
                                        "secret", made->secret_access_key, "source", made->source,
                                        "token", made->session_token)
                            : json_pack("{s:s}", "error", error.message);
    dlk_credentials_unref(made);
    return out;
}

int main(void)
{
    dlk_sigv4_signer *signer = NULL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || dlk_sigv4_signer_new(&signer) != 0) {
        return EXIT_FAILURE;
    }
    int status = tool_run(tool_answer, signer);
    dlk_sigv4_signer_free(signer);
    return status;
}
