/* SPDX-License-Identifier: Apache-2.0 */
/* The chain of credentials: which source it is, settled once, and what was passed over. */
#include "providers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dlk_chain {
    struct dlk_source *source;
    char passed[320]; /* "environment: not set; profile default: not there; " */
};

static void chain_pass(struct dlk_chain *chain, const char *source, const char *why)
{
    size_t used = strlen(chain->passed);
    (void)snprintf(chain->passed + used, sizeof chain->passed - used, "%s: %s; ", source, why);
}

/* ---- Finding the source ---- */

static int chain_environment(struct dlk_chain *chain, bool named, dynalock_error *error)
{
    if (named) {
        chain_pass(chain, "environment", "passed over, as a profile is named");
        return 0;
    }
    int code = dlk_source_environment(&chain->source, error);
    if (code == 0 && chain->source == NULL) {
        chain_pass(chain, "environment", "AWS_ACCESS_KEY_ID is not set");
    }
    return code;
}

static int chain_profile(struct dlk_chain *chain, const struct dlk_setting *setting, bool named,
                         dynalock_error *error)
{
    const char *note = dlk_profiles_note(setting->profiles);
    if (!dlk_profiles_has(setting->profiles, DLK_SECTION_PROFILE, setting->profile)) {
        if (named) {
            return dlk_fail(error, DYNALOCK_ERR_CREDENTIALS, "there is no profile %.100s%s%.200s",
                            setting->profile, *note != '\0' ? "; " : "", note);
        }
        chain_pass(chain, "profile default", *note != '\0' ? "a file cannot be read" : "not there");
        return 0;
    }
    int code = dlk_source_profile(setting, &chain->source, error);
    if (code == 0 && chain->source == NULL) {
        char title[80];
        (void)snprintf(title, sizeof title, "profile %.60s", setting->profile);
        chain_pass(chain, title, "has no credentials");
    }
    return code;
}

static int chain_rest(struct dlk_chain *chain, const struct dlk_setting *setting,
                      dynalock_error *error)
{
    int code = dlk_source_web_identity(setting, &chain->source, error);
    if (code != 0 || chain->source != NULL) {
        return code;
    }
    chain_pass(chain, "web identity",
               dlk_config_env("AWS_WEB_IDENTITY_TOKEN_FILE") != NULL
                   ? "AWS_ROLE_ARN is not set"
                   : "AWS_WEB_IDENTITY_TOKEN_FILE is not set");
    code = dlk_source_container(&chain->source, error);
    if (code != 0 || chain->source != NULL) {
        return code;
    }
    chain_pass(chain, "container", "AWS_CONTAINER_CREDENTIALS_*_URI is not set");
    code = dlk_source_imds(setting, &chain->source, error);
    if (code == 0 && chain->source == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_CREDENTIALS,
                        "no credentials: %sinstance metadata: AWS_EC2_METADATA_DISABLED is set",
                        chain->passed);
    }
    return code;
}

static int chain_find(struct dlk_chain *chain, const dynalock_options *options,
                      const struct dlk_setting *setting, dynalock_error *error)
{
    bool named = (options->profile != NULL && *options->profile != '\0') ||
                 dlk_config_env("AWS_PROFILE") != NULL;
    int code = dlk_source_callback(options, &chain->source, error);
    if (code == 0 && chain->source == NULL) {
        code = dlk_source_keys(options->access_key_id, options->secret_access_key,
                               options->session_token, "options", &chain->source, error);
    }
    if (code == 0 && chain->source == NULL) {
        code = chain_environment(chain, named, error);
    }
    if (code == 0 && chain->source == NULL) {
        code = chain_profile(chain, setting, named, error);
    }
    if (code == 0 && chain->source == NULL) {
        code = chain_rest(chain, setting, error);
    }
    return code;
}

int dlk_chain_new(struct dlk_chain **chain, const dynalock_options *options,
                  const struct dlk_config *config, const struct dlk_profiles *profiles,
                  const char *profile_name, dynalock_error *error)
{
    const struct dlk_setting setting = {config, profiles, profile_name};
    struct dlk_chain *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    int code = chain_find(made, options, &setting, error);
    if (code != 0) {
        dlk_chain_free(made);
        return code;
    }
    char name[sizeof made->source->name]; /* with a profile's in it, which may be anything */
    memcpy(name, made->source->name, sizeof name);
    dlk_copy_text(made->source->name, sizeof name, name);
    *chain = made;
    return 0;
}

void dlk_chain_free(struct dlk_chain *chain)
{
    if (chain != NULL) {
        dlk_source_free(chain->source);
        free(chain);
    }
}

bool dlk_chain_is_fixed(const struct dlk_chain *chain)
{
    return chain->source->kind == DLK_SOURCE_FIXED;
}

const char *dlk_chain_name(const struct dlk_chain *chain)
{
    return chain->source->name;
}

/* ---- Fetching ---- */

/* What was passed over is of use where nothing was chosen: instance metadata is asked because there is
 * nothing else. */
int dlk_chain_fetch(struct dlk_chain *chain, const struct dlk_fetch *how,
                    struct dlk_credentials **made, dynalock_error *error)
{
    dynalock_error why = {0};
    struct dlk_errand errand;
    dlk_errand_start(&errand, how);
    int code = dlk_source_fetch(chain->source, &errand, made, &why);
    if (code == DYNALOCK_ERR_CREDENTIALS) {
        (void)dlk_fail(error, code, "no credentials: %s%s: %.220s", chain->passed,
                       chain->source->name, why.message);
    } else if (code != 0) {
        (void)dlk_fail(error, code, "%s", why.message);
    }
    if (code != 0 && error != NULL) {
        error->flags = why.flags;
    }
    return code;
}
