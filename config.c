/* SPDX-License-Identifier: Apache-2.0 */
/* Region and endpoint, from options and environment. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *dlk_config_env(const char *name)
{
#if defined(__GLIBC__)
    const char *value = secure_getenv(name);
#else
    const char *value = getenv(name);
#endif
    return value != NULL && *value != '\0' ? value : NULL;
}

static const char *config_first(const char *option, const char *first, const char *second)
{
    if (option != NULL && *option != '\0') {
        return option;
    }
    const char *value = dlk_config_env(first);
    return value != NULL ? value : dlk_config_env(second);
}

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

/* The partition's DNS suffix: the rest of the name follows one rule. */
static const char *config_suffix(const char *region)
{
    static const struct {
        const char *prefix, *suffix;
    } partitions[] = {
        {"cn-", "amazonaws.com.cn"},    {"eusc-", "amazonaws.eu"},
        {"us-iso-", "c2s.ic.gov"},      {"us-isob-", "sc2s.sgov.gov"},
        {"eu-isoe-", "cloud.adc-e.uk"}, {"us-isof-", "csp.hci.ic.gov"},
        {"eu-isof-", "csp.hci.ic.gov"},
    };
    for (size_t i = 0; i < sizeof partitions / sizeof *partitions; i++) {
        if (strncmp(region, partitions[i].prefix, strlen(partitions[i].prefix)) == 0) {
            return partitions[i].suffix;
        }
    }
    return "amazonaws.com";
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

static int config_set_endpoint(struct dlk_config *config, const char *endpoint,
                               dynalock_error *error)
{
    char url[384];
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
    (void)snprintf(url, sizeof url, "%s%s/", tls ? "https://" : "http://", host);
    config->url = strdup(url);
    config->host = strdup(host);
    return config->url != NULL && config->host != NULL
               ? 0
               : dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
}

int dlk_config_read(struct dlk_config *config, const dynalock_options *options,
                    dynalock_error *error)
{
    char made[256];
    const char *region = config_first(options->region, "AWS_REGION", "AWS_DEFAULT_REGION");
    const char *endpoint =
        config_first(options->endpoint, "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL");
    *config = (struct dlk_config){0};
    if (region == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_CONFIG, "no region: set AWS_REGION, or the option");
    }
    if (strlen(region) > 63 || !config_is_name(region, "-")) {
        return dlk_fail(error, DYNALOCK_ERR_CONFIG, "\"%.80s\" is not the name of a region",
                        region);
    }
    config->region = strdup(region);
    if (config->region == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    if (endpoint == NULL && strcmp(region, "local") == 0) {
        endpoint = "http://localhost:8000";
    } else if (endpoint == NULL) {
        (void)snprintf(made, sizeof made, "https://dynamodb.%s.%s", region, config_suffix(region));
        endpoint = made;
    }
    int code = config_set_endpoint(config, endpoint, error);
    if (code != 0) {
        dlk_config_free(config);
    }
    return code;
}

void dlk_config_free(struct dlk_config *config)
{
    free(config->region);
    free(config->url);
    free(config->host);
    *config = (struct dlk_config){0};
}
