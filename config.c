/* SPDX-License-Identifier: Apache-2.0 */
/* Region, endpoint and what else is configured: by options, environment and profile. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/auxv.h>
#endif

bool dlk_trusts_environment(void)
{
#ifdef __linux__
    return getauxval(AT_SECURE) == 0;
#else
    return geteuid() == getuid() && getegid() == getgid();
#endif
}

const char *dlk_config_env(const char *name)
{
    const char *value = dlk_trusts_environment() ? getenv(name) : NULL;
    return value != NULL && *value != '\0' ? value : NULL;
}

/* ---- Single settings ---- */

/* A setting as it is looked for; where: what to call the place it was found in. */
struct config_source {
    const struct dlk_profiles *profiles;
    const char *profile;
};

static const char *config_setting(const struct config_source *from, const char *variable,
                                  const char *key, char where[100])
{
    const char *value = dlk_config_env(variable);
    if (value != NULL) {
        (void)snprintf(where, 100, "%s", variable);
        return value;
    }
    (void)snprintf(where, 100, "%s of the profile \"%.50s\"", key, from->profile);
    return dlk_profiles_setting(from->profiles, from->profile, key);
}

static int config_flag(const struct config_source *from, const char *variable, const char *key,
                       bool *flag, dynalock_error *error)
{
    char where[100];
    const char *value = config_setting(from, variable, key, where);
    *flag = value != NULL && strcasecmp(value, "true") == 0;
    if (value != NULL && !*flag && strcasecmp(value, "false") != 0) {
        return dlk_fail(error, DYNALOCK_ERR_CONFIG, "%s is neither true nor false", where);
    }
    return 0;
}

static int config_attempts(const struct config_source *from, int *attempts, dynalock_error *error)
{
    char where[100];
    const char *value = config_setting(from, "AWS_MAX_ATTEMPTS", "max_attempts", where);
    if (value == NULL) {
        return 0;
    }
    size_t length = strspn(value, "0123456789");
    *attempts =
        length >= 1 && length <= 3 && value[length] == '\0' ? (int)strtol(value, NULL, 10) : 0;
    if (*attempts < 1 || *attempts > 100) {
        return dlk_fail(error, DYNALOCK_ERR_CONFIG, "%s is not a number from 1 to 100", where);
    }
    return 0;
}

/* One mode is there, the standard one; a host may have another set for other programs. */
static int config_retry_mode(const struct config_source *from, dynalock_error *error)
{
    char where[100];
    const char *value = config_setting(from, "AWS_RETRY_MODE", "retry_mode", where);
    if (value == NULL || strcasecmp(value, "standard") == 0 || strcasecmp(value, "adaptive") == 0 ||
        strcasecmp(value, "legacy") == 0) {
        return 0;
    }
    return dlk_fail(error, DYNALOCK_ERR_CONFIG, "%s is none of standard, adaptive and legacy",
                    where);
}

/* ---- Endpoints ---- */

static bool config_is_name(const char *text, const char *also)
{
    for (const char *at = text; *at != '\0'; at++) {
        bool alphanumeric =
            (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9');
        if (!alphanumeric && strchr(also, *at) == NULL) {
            return false;
        }
    }
    return *text != '\0';
}

static bool config_is_port(const char *text)
{
    int port = 0;
    for (; *text >= '0' && *text <= '9' && port <= 65535; text++) {
        port = port * 10 + (*text - '0');
    }
    return *text == '\0' && port > 0 && port <= 65535;
}

/* Whether it is host, host:port, [v6] or [v6]:port, in characters that a host may have. */
static bool config_is_authority(const char *text)
{
    char host[256];
    const char *colon = strrchr(text, ':');
    const char *bracket = strrchr(text, ']');
    if (colon != NULL && (bracket == NULL || colon > bracket)) {
        if (!config_is_port(colon + 1)) {
            return false;
        }
    } else {
        colon = text + strlen(text);
    }
    size_t length = (size_t)(colon - text);
    if (length == 0 || length >= sizeof host) {
        return false;
    }
    memcpy(host, text, length);
    host[length] = '\0';
    if (bracket == NULL) {
        return config_is_name(host, "-._");
    }
    if (length < 4 || host[0] != '[' || host[length - 1] != ']') {
        return false;
    }
    host[length - 1] = '\0';
    return config_is_name(host + 1, ":.");
}

/* Lower case, and without the scheme's own port: what an HTTP client sends as Host. */
static void config_normalise_host(char *host, bool tls)
{
    const char *own_port = tls ? ":443" : ":80";
    size_t length = strlen(host);
    for (char *at = host; *at != '\0'; at++) {
        if (*at >= 'A' && *at <= 'Z') {
            *at = (char)(*at + ('a' - 'A'));
        }
    }
    if (length > strlen(own_port) && strcmp(host + length - strlen(own_port), own_port) == 0) {
        host[length - strlen(own_port)] = '\0';
    }
}

/* The endpoint as it is used: "http://host:port/". */
static int config_check_endpoint(const char *endpoint, char url[DLK_URL_SIZE],
                                 dynalock_error *error)
{
    bool tls = strncmp(endpoint, "https://", 8) == 0;
    if (strchr(endpoint, '@') != NULL) { /* a password may stand before it: not to be quoted */
        return dlk_fail(error, DYNALOCK_ERR_CONFIG,
                        "the endpoint has a user or a password in it: scheme, host and port only");
    }
    if (!tls && strncmp(endpoint, "http://", 7) != 0) {
        return dlk_fail(error, DYNALOCK_ERR_CONFIG,
                        "the endpoint \"%.200s\" does not start with http:// or https://",
                        endpoint);
    }
    const char *authority = endpoint + (tls ? 8 : 7);
    size_t length = strcspn(authority, "/");
    char host[300];
    if (length >= sizeof host || (authority[length] == '/' && authority[length + 1] != '\0')) {
        return dlk_fail(
            error, DYNALOCK_ERR_CONFIG,
            "the endpoint \"%.200s\" has a path, or is too long: scheme, host and port only",
            endpoint);
    }
    memcpy(host, authority, length);
    host[length] = '\0';
    if (!config_is_authority(host)) {
        return dlk_fail(error, DYNALOCK_ERR_CONFIG,
                        "the endpoint \"%.200s\" has no valid host, or port", endpoint);
    }
    config_normalise_host(host, tls);
    (void)snprintf(url, DLK_URL_SIZE, "%s%s/", tls ? "https://" : "http://", host);
    return 0;
}

/* The service's name in a variable ("SSO_OIDC"), or in a services section ("sso_oidc"). */
static void config_service_name(char *to, size_t size, const char *service_id, bool upper)
{
    size_t length = 0;
    for (; service_id[length] != '\0' && length + 1 < size; length++) {
        char c = service_id[length];
        bool is_lower = c >= 'a' && c <= 'z', is_upper = c >= 'A' && c <= 'Z';
        int shift = upper && is_lower ? 'A' - 'a' : !upper && is_upper ? 'a' - 'A' : 0;
        to[length] = c == ' ' ? '_' : (char)(c + shift);
    }
    to[length] = '\0';
}

/* *endpoint: what was configured for the service; NULL: nothing. */
static int config_find_endpoint(const struct config_source *from, const char *service_id,
                                const char **endpoint, dynalock_error *error)
{
    char service[24], variable[64];
    bool ignored;
    int code = config_flag(from, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
                           "ignore_configured_endpoint_urls", &ignored, error);
    *endpoint = NULL;
    if (code != 0 || ignored) {
        return code;
    }
    config_service_name(service, sizeof service, service_id, true);
    (void)snprintf(variable, sizeof variable, "AWS_ENDPOINT_URL_%s", service);
    *endpoint = dlk_config_env(variable);
    if (*endpoint == NULL) {
        *endpoint = dlk_config_env("AWS_ENDPOINT_URL");
    }
    if (*endpoint != NULL) {
        return 0;
    }
    const char *section = dlk_profiles_setting(from->profiles, from->profile, "services");
    if (section != NULL && !dlk_profiles_has(from->profiles, DLK_SECTION_SERVICES, section)) {
        return dlk_fail(
            error, DYNALOCK_ERR_CONFIG,
            "the profile \"%.50s\" names the services section \"%.50s\", and there is none",
            from->profile, section);
    }
    if (section != NULL) {
        char key[64];
        config_service_name(service, sizeof service, service_id, false);
        (void)snprintf(key, sizeof key, "%s.endpoint_url", service);
        *endpoint = dlk_profiles_get(from->profiles, DLK_SECTION_SERVICES, section, key);
    }
    if (*endpoint == NULL) {
        *endpoint = dlk_profiles_setting(from->profiles, from->profile, "endpoint_url");
    }
    return 0;
}

/* As the services' own rules have it. */
static int config_check_variants(bool fips, bool dual_stack, dynalock_error *error)
{
    if (fips || dual_stack) {
        return dlk_fail(
            error, DYNALOCK_ERR_CONFIG,
            "an endpoint is configured, and %s endpoints are asked for (%s)",
            fips ? "FIPS" : "dual-stack",
            fips ? "AWS_USE_FIPS_ENDPOINT, or use_fips_endpoint of the profile"
                 : "AWS_USE_DUALSTACK_ENDPOINT, or use_dualstack_endpoint of the profile");
    }
    return 0;
}

/* The endpoint of a service: what is configured, or its own. */
static int config_resolve(const char *endpoint, const char *service, const char *region, bool fips,
                          bool dual_stack, char url[DLK_URL_SIZE], dynalock_error *error)
{
    char made[DLK_URL_SIZE];
    if (endpoint != NULL) {
        int code = config_check_variants(fips, dual_stack, error);
        return code != 0 ? code : config_check_endpoint(endpoint, url, error);
    }
    int code = dlk_endpoint_make(service, region, fips, dual_stack, made, sizeof made, error);
    return code != 0 ? code : config_check_endpoint(made, url, error);
}

int dlk_config_endpoint(const struct dlk_config *config, const struct dlk_profiles *profiles,
                        const char *service_id, const char *service, const char *region,
                        char url[DLK_URL_SIZE], dynalock_error *error)
{
    struct config_source from = {profiles, config->profile};
    char real_region[DLK_REGION_SIZE];
    bool fips = config->fips;
    const char *endpoint;
    int code = dlk_endpoint_region(region, real_region, &fips, error);
    if (code == 0) {
        code = config_find_endpoint(&from, service_id, &endpoint, error);
    }
    return code != 0 ? code
                     : config_resolve(endpoint, service, real_region, fips, config->dual_stack, url,
                                      error);
}

/* ---- All of it ---- */

/* DynamoDB's rules refuse its dual-stack endpoint as one that is configured. */
static int config_check_dual_stack(const char *url, const char *region, dynalock_error *error)
{
    char made[DLK_URL_SIZE], dual[DLK_URL_SIZE];
    int code = dlk_endpoint_make("dynamodb", region, false, true, made, sizeof made, error);
    if (code == 0) {
        code = config_check_endpoint(made, dual, error);
    }
    if (code == 0 && strcmp(strstr(url, "//"), strstr(dual, "//")) == 0) {
        return dlk_fail(
            error, DYNALOCK_ERR_CONFIG,
            "DynamoDB's dual-stack endpoint is chosen by AWS_USE_DUALSTACK_ENDPOINT=true, "
            "not as an endpoint");
    }
    return code;
}

static int config_make(struct dlk_config *config, const char *region, dynalock_error *error)
{
    char url[DLK_URL_SIZE], real_region[DLK_REGION_SIZE];
    bool fips = config->fips;
    int code = dlk_endpoint_region(region, real_region, &fips, error);
    if (code == 0) {
        code = config_resolve(config->endpoint, "dynamodb", real_region, fips, config->dual_stack,
                              url, error);
    }
    if (code == 0 && config->endpoint != NULL && strcmp(real_region, "local") != 0) {
        code = config_check_dual_stack(url, real_region, error);
    }
    if (code != 0) {
        return code;
    }
    /* What the SDKs sign with: DynamoDB Local may keep its tables by it. */
    bool is_local = config->endpoint == NULL && strcmp(real_region, "local") == 0;
    const char *host = strstr(url, "//") + 2;
    config->region = strdup(is_local ? "us-east-1" : real_region);
    config->url = strdup(url);
    config->host = strdup(host);
    if (config->region == NULL || config->url == NULL || config->host == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    config->host[strlen(host) - 1] = '\0'; /* the slash */
    return 0;
}

int dlk_config_set_region(struct dlk_config *config, const struct dlk_profiles *profiles,
                          const char *region, dynalock_error *error)
{
    const char *note = dlk_profiles_note(profiles);
    int code;
    if (region != NULL) {
        code = config_make(config, region, error);
    } else {
        code = dlk_fail(
            error, DYNALOCK_ERR_CONFIG,
            "no region: set AWS_REGION, the option, or region in the profile \"%.50s\"%s%s",
            config->profile, *note != '\0' ? "; " : "", note);
    }
    if (code != 0) {
        dlk_config_free(config);
    } else {
        config->lacks_region = false;
    }
    return code;
}

/* What does not depend on the region. */
static int config_read_settings(struct dlk_config *config, const struct config_source *from,
                                const char *endpoint, const char *ca_file, dynalock_error *error)
{
    if (ca_file == NULL || *ca_file == '\0') {
        char where[100];
        ca_file = config_setting(from, "AWS_CA_BUNDLE", "ca_bundle", where);
    }
    int code =
        config_flag(from, "AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint", &config->fips, error);
    if (code == 0) {
        code = config_flag(from, "AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint",
                           &config->dual_stack, error);
    }
    if (code == 0) {
        code = config_attempts(from, &config->max_attempts, error);
    }
    if (code == 0) {
        code = config_retry_mode(from, error);
    }
    if (code == 0 && (endpoint == NULL || *endpoint == '\0')) {
        code = config_find_endpoint(from, "DynamoDB", &endpoint, error);
    }
    if (code != 0) {
        return code;
    }
    config->ca_file = ca_file != NULL ? strdup(ca_file) : NULL;
    config->endpoint = endpoint != NULL ? strdup(endpoint) : NULL;
    return (config->ca_file == NULL) == (ca_file == NULL) &&
                   (config->endpoint == NULL) == (endpoint == NULL)
               ? 0
               : dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
}

static const char *config_region(const struct config_source *from, const char *region)
{
    if (region == NULL || *region == '\0') {
        region = dlk_config_env("AWS_REGION");
    }
    if (region == NULL) {
        region = dlk_config_env("AWS_DEFAULT_REGION");
    }
    return region != NULL
               ? region
               : dlk_profiles_get(from->profiles, DLK_SECTION_PROFILE, from->profile, "region");
}

int dlk_config_read(struct dlk_config *config, const dynalock_options *options,
                    const struct dlk_profiles *profiles, dynalock_error *error)
{
    *config = (struct dlk_config){0};
    config->profile = strdup(dlk_profiles_chosen(options));
    if (config->profile == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    struct config_source from = {profiles, config->profile};
    int code = config_read_settings(config, &from, options->endpoint, options->ca_file, error);
    if (code != 0) {
        dlk_config_free(config);
        return code;
    }
    const char *region = config_region(&from, options->region);
    config->lacks_region = region == NULL;
    return region == NULL ? 0 : dlk_config_set_region(config, profiles, region, error);
}

void dlk_config_free(struct dlk_config *config)
{
    free(config->profile);
    free(config->region);
    free(config->url);
    free(config->host);
    free(config->endpoint);
    free(config->ca_file);
    *config = (struct dlk_config){0};
}
