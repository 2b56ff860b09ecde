/* SPDX-License-Identifier: Apache-2.0 */
/* Which source of credentials a profile names, in the order of AWS's JavaScript SDK. */
#include "providers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP_PROFILES_MAX 8 /* profiles, one naming another */

/* The profile that is looked at, and those that led to it. */
struct step {
    const struct dlk_setting *setting;
    const char *name;
    const struct step *from; /* the one that names it as its source; NULL: it was chosen */
    int depth;
    const char *region; /* for STS: that of the profile that was chosen, if it is a role's */
};

static const char *step_get(const struct step *step, const char *key)
{
    const char *value =
        dlk_profiles_get(step->setting->profiles, DLK_SECTION_PROFILE, step->name, key);
    return value != NULL && *value != '\0' ? value : NULL;
}

static int step_wrong(const struct step *step, dynalock_error *error, const char *what)
{
    return dlk_fail(error, DYNALOCK_ERR_CREDENTIALS, "profile %.100s %s", step->name, what);
}

static void step_title(const struct step *step, const char *what, char title[96])
{
    (void)snprintf(title, 96, "profile %.64s%s%s", step->name, *what != '\0' ? ", " : "", what);
}

static int step_keys(const struct step *step, struct dlk_source **source, dynalock_error *error)
{
    char title[96];
    step_title(step, "", title);
    return dlk_source_keys(step_get(step, "aws_access_key_id"),
                           step_get(step, "aws_secret_access_key"),
                           step_get(step, "aws_session_token"), title, source, error);
}

static int step_process(const struct step *step, struct dlk_source **source, dynalock_error *error)
{
    struct dlk_source *made = dlk_source_new(DLK_SOURCE_PROCESS);
    if (made == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    step_title(step, "credential_process", made->name);
    int code = dlk_source_set(&made->command, step_get(step, "credential_process"), error);
    if (code != 0) {
        dlk_source_free(made);
        return code;
    }
    *source = made;
    return 0;
}

static int step_web_identity(const struct step *step, struct dlk_source **source,
                             dynalock_error *error)
{
    char title[96];
    step_title(step, "web identity", title);
    return dlk_source_web_identity_of(
        step->setting, title, step_get(step, "web_identity_token_file"), step_get(step, "role_arn"),
        step_get(step, "role_session_name"), source, error);
}

/* ---- Roles ---- */

static int step_find(const struct step *step, struct dlk_source **source, dynalock_error *error);

static int step_named_source(const struct step *step, const char *name, struct dlk_source **source,
                             dynalock_error *error)
{
    int code = 0;
    if (strcmp(name, "Environment") == 0) {
        code = dlk_source_environment(source, error);
    } else if (strcmp(name, "EcsContainer") == 0) {
        code = dlk_source_container(source, error);
    } else if (strcmp(name, "Ec2InstanceMetadata") == 0) {
        code = dlk_source_imds(step->setting, source, error);
    } else {
        return step_wrong(step, error,
                          "has a credential_source that is none of Environment, EcsContainer "
                          "and Ec2InstanceMetadata");
    }
    if (code == 0 && *source == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_CREDENTIALS,
                        "profile %.100s: credential_source %s is not there: the environment %s",
                        step->name, name,
                        strcmp(name, "Ec2InstanceMetadata") == 0 ? "sets AWS_EC2_METADATA_DISABLED"
                                                                 : "does not have it");
    }
    return code;
}

/* The chosen profile itself may be named once more: it may have keys. */
static bool step_is_loop(const struct step *step, const char *name)
{
    for (; step->from != NULL; step = step->from) {
        if (strcmp(step->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static int step_next(const struct step *step, const char *name, struct dlk_source **source,
                     dynalock_error *error)
{
    struct step next = {step->setting, name, step, step->depth + 1, step->region};
    if (step_is_loop(step, name)) {
        return step_wrong(step, error, "is in a loop of source_profile");
    }
    if (next.depth > STEP_PROFILES_MAX) {
        return step_wrong(step, error, "is at the end of more than 8 profiles");
    }
    if (!dlk_profiles_has(step->setting->profiles, DLK_SECTION_PROFILE, name)) {
        return dlk_fail(error, DYNALOCK_ERR_CREDENTIALS,
                        "profile %.100s names source_profile %.100s, which is not there",
                        step->name, name);
    }
    int code = step_find(&next, source, error);
    if (code == 0 && *source == NULL) {
        return step_wrong(&next, error, "has no credentials");
    }
    return code;
}

static int step_duration(const struct step *step, struct dlk_source *made, dynalock_error *error)
{
    const char *given = step_get(step, "duration_seconds");
    char *end = NULL;
    long seconds = given != NULL ? strtol(given, &end, 10) : 3600;
    if (given != NULL &&
        (*end != '\0' || *given < '0' || *given > '9' || seconds < 900 || seconds > 43200)) {
        return step_wrong(step, error, "has duration_seconds that are not 900 to 43200");
    }
    (void)snprintf(made->duration_s, sizeof made->duration_s, "%ld", seconds);
    return 0;
}

static int step_fill_role(const struct step *step, struct dlk_source *made, dynalock_error *error)
{
    if (step_get(step, "mfa_serial") != NULL) {
        return step_wrong(step, error, "wants an MFA code (mfa_serial), which nobody can enter");
    }
    int code = step_duration(step, made, error);
    code = code != 0 ? code : dlk_source_set(&made->role_arn, step_get(step, "role_arn"), error);
    code = code != 0 ? code
                     : dlk_source_set(&made->role_session_name, step_get(step, "role_session_name"),
                                      error);
    code =
        code != 0 ? code : dlk_source_set(&made->external_id, step_get(step, "external_id"), error);
    return code != 0 ? code : dlk_source_set_sts(made, step->setting, step->region, error);
}

static int step_role(const struct step *outer, struct dlk_source **source, dynalock_error *error)
{
    struct step step = *outer;
    struct dlk_source *base = NULL;
    const char *source_profile = step_get(&step, "source_profile");
    if (step.from == NULL) {
        step.region = step_get(&step, "region");
    }
    int code = source_profile != NULL
                   ? step_next(&step, source_profile, &base, error)
                   : step_named_source(&step, step_get(&step, "credential_source"), &base, error);
    if (code != 0) {
        return code;
    }
    if (step_get(&step, "role_arn") == NULL) { /* a source by credential_source alone */
        *source = base;
        return 0;
    }
    struct dlk_source *made = dlk_source_new(DLK_SOURCE_ROLE);
    if (made == NULL) {
        dlk_source_free(base);
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    made->base = base;
    step_title(&step, "role", made->name);
    code = step_fill_role(&step, made, error);
    if (code != 0) {
        dlk_source_free(made);
        return code;
    }
    *source = made;
    return 0;
}

/* ---- One profile ---- */

static bool step_has_sso(const struct step *step)
{
    static const char keys[][16] = {"sso_start_url", "sso_account_id", "sso_session", "sso_region",
                                    "sso_role_name"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (step_get(step, keys[i]) != NULL) {
            return true;
        }
    }
    return false;
}

static bool step_is_role(const struct step *step)
{
    bool has_role = step_get(step, "role_arn") != NULL;
    bool has_profile = step_get(step, "source_profile") != NULL;
    bool has_source = step_get(step, "credential_source") != NULL;
    return has_role ? has_profile != has_source : step->from != NULL && has_source;
}

/* What is left says half of something, or nothing. */
static int step_rest(const struct step *step, dynalock_error *error)
{
    const char *key = step_get(step, "aws_access_key_id");
    if (key != NULL || step_get(step, "aws_secret_access_key") != NULL) {
        return step_wrong(step, error,
                          key != NULL ? "has aws_access_key_id without aws_secret_access_key"
                                      : "has aws_secret_access_key without aws_access_key_id");
    }
    if (step_get(step, "login_session") != NULL) {
        return step_wrong(step, error,
                          "is of aws login, which dynalock does not know; give it a "
                          "credential_process of aws configure export-credentials");
    }
    if (step_get(step, "role_arn") != NULL) {
        return step_wrong(step, error,
                          step_get(step, "source_profile") != NULL
                              ? "has both source_profile and credential_source"
                              : "has role_arn without source_profile, credential_source or "
                                "web_identity_token_file");
    }
    return 0;
}

static int step_find(const struct step *step, struct dlk_source **source, dynalock_error *error)
{
    bool has_keys = step_get(step, "aws_access_key_id") != NULL &&
                    step_get(step, "aws_secret_access_key") != NULL;
    if (has_keys && step->from != NULL) {
        return step_keys(step, source, error);
    }
    if (step_is_role(step)) {
        return step_role(step, source, error);
    }
    if (has_keys) {
        return step_keys(step, source, error);
    }
    if (step_get(step, "web_identity_token_file") != NULL && step_get(step, "role_arn") != NULL) {
        return step_web_identity(step, source, error);
    }
    if (step_get(step, "credential_process") != NULL) {
        return step_process(step, source, error);
    }
    if (step_has_sso(step)) {
        return dlk_source_sso(step->setting, step->name, source, error);
    }
    return step_rest(step, error);
}

int dlk_source_profile(const struct dlk_setting *setting, struct dlk_source **source,
                       dynalock_error *error)
{
    struct step step = {.setting = setting, .name = setting->profile, .depth = 1};
    return step_find(&step, source, error);
}
