/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both shared files, the environment and options: what is read of them, the configuration and the source of credentials
 * that they name. The input is the configuration file, the file of credentials, lines of the environment, the options'
 * profile, region and endpoint, with a byte 0xFF between them. Nothing is sent.
 */
#define _GNU_SOURCE 1 /* before any header: memfd_create */
#include "../providers.h"
#include "fuzz.h"
#include "message.h"
#include "slow_profile.h"
#include "slow_text.h"

#include <curl/curl.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#define PROFILE_SECRET "S3cr3t"

enum { PROFILE_VARIABLES = 40, PROFILE_PARTS = 6 };

extern char **environ;

struct profile_case {
    char *parts[PROFILE_PARTS]; /* config, credentials, environment; profile, region, endpoint */
    size_t lengths[PROFILE_PARTS];
    char *variables[PROFILE_VARIABLES + 4]; /* of the environment */
    dynalock_options options;
    struct slow_ini config, credentials;
    bool hides; /* there are secrets in it, and they stand nowhere else */
};

/* ---- What is given ---- */

static int profile_files[2] = {-1, -1};

static void profile_write(int which, const char *text, size_t length)
{
    if (profile_files[which] < 0) {
        profile_files[which] = memfd_create("profile", MFD_CLOEXEC);
    }
    fuzz_check(ftruncate(profile_files[which], 0) == 0);
    fuzz_check(pwrite(profile_files[which], text, length, 0) == (ssize_t)length);
}

/* The lines that set a variable of AWS's; the files' names are not to be changed. */
static void profile_environment(struct profile_case *given)
{
    static char files[2][80];
    size_t count = 0;
    char *rest = given->parts[2];
    (void)snprintf(files[0], sizeof files[0], "AWS_CONFIG_FILE=/proc/self/fd/%d", profile_files[0]);
    (void)snprintf(files[1], sizeof files[1], "AWS_SHARED_CREDENTIALS_FILE=/proc/self/fd/%d",
                   profile_files[1]);
    given->variables[count++] = files[0];
    given->variables[count++] = files[1];
    given->variables[count++] = (char *)"HOME=/nonexistent";
    while (rest != NULL && count < PROFILE_VARIABLES) {
        char *line = strsep(&rest, "\n");
        if (slow_begins(line, "AWS_") && strchr(line, '=') != NULL &&
            !slow_begins(line, "AWS_CONFIG_FILE") &&
            !slow_begins(line, "AWS_SHARED_CREDENTIALS_FILE")) {
            given->variables[count++] = line;
        }
    }
    given->variables[count] = NULL;
}

/* The first of that name, as getenv has it; NULL: none, or empty. */
static const char *profile_variable(const struct profile_case *given, const char *name)
{
    size_t length = strlen(name);
    for (char *const *at = given->variables; *at != NULL; at++) {
        if (strncmp(*at, name, length) == 0 && (*at)[length] == '=') {
            return (*at)[length + 1] != '\0' ? *at + length + 1 : NULL;
        }
    }
    return NULL;
}

static bool profile_hides_line(const char *line, const char *secret)
{
    static const char *const keys[] = {
        "aws_secret_access_key", "aws_session_token", "credential_process",
        "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"};
    line += strspn(line, " \t");
    size_t length = strcspn(line, "=\n"), end = strcspn(line, "\n");
    while (length > 0 && line[length - 1] == ' ') {
        length--;
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (length == strlen(keys[i]) && strncmp(line, keys[i], length) == 0) {
            return secret > line + length;
        }
    }
    bool endpoint =
        strncmp(line, "endpoint_url", 12) == 0 || strncmp(line, "AWS_ENDPOINT_URL", 16) == 0;
    return endpoint && secret > line + 16 &&
           memchr(secret, '@', (size_t)(line + end - secret)) != NULL;
}

/* Where the mark of a secret stands as one everywhere. */
static bool profile_hides(const struct profile_case *given)
{
    bool any = false;
    for (int i = 0; i < PROFILE_PARTS; i++) {
        const char *text = given->parts[i];
        for (const char *at = strstr(text, PROFILE_SECRET); at != NULL;
             at = strstr(at + 1, PROFILE_SECRET)) {
            const char *line = at;
            while (line > text && line[-1] != '\n') {
                line--;
            }
            if (i == 5 ? strchr(at, '@') == NULL : i > 2 || !profile_hides_line(line, at)) {
                return false;
            }
            any = true;
        }
    }
    return any;
}

static void profile_check_line(const struct profile_case *given, const char *line)
{
    fuzz_check(message_is_clean(line));
    fuzz_check(!given->hides || strstr(line, PROFILE_SECRET) == NULL);
}

/* ---- The files ---- */

static const char *const profile_keys[] = {
    "region", "aws_access_key_id", "services", "dynamodb.endpoint_url", ".", ""};

static void profile_check_key(const struct profile_case *given, const struct dlk_profiles *profiles,
                              const char *name, const char *key)
{
    static const char *const sections[] = {"sso-session", "services"};
    static const enum dlk_section kinds[] = {DLK_SECTION_SSO_SESSION, DLK_SECTION_SERVICES};
    const char *slow = slow_profile_get(&given->config, &given->credentials, false, name, key);
    const char *quick = dlk_profiles_get(profiles, DLK_SECTION_PROFILE, name, key);
    if (*key == '\0') {
        return; /* is not asked for */
    }
    fuzz_check((quick == NULL) == (slow == NULL) && (quick == NULL || strcmp(quick, slow) == 0));
    slow = slow_profile_get(&given->config, &given->credentials, true, name, key);
    quick = dlk_profiles_setting(profiles, name, key);
    fuzz_check((quick == NULL) == (slow == NULL) && (quick == NULL || strcmp(quick, slow) == 0));
    for (int i = 0; i < 2; i++) {
        char *section = slow_alloc(strlen(name) + 20);
        (void)sprintf(section, "%s.%s", sections[i], name);
        slow = slow_ini_get(&given->config, section, key);
        quick = dlk_profiles_get(profiles, kinds[i], name, key);
        fuzz_check((quick == NULL) == (slow == NULL) &&
                   (quick == NULL || strcmp(quick, slow) == 0));
        fuzz_check(quick == NULL || *quick != '\0');
        fuzz_check(dlk_profiles_has(profiles, kinds[i], name) ==
                   slow_ini_has(&given->config, section));
        free(section);
    }
}

/* Of all keys that there are, as far as there are not too many. */
static void profile_check_name(const struct profile_case *given,
                               const struct dlk_profiles *profiles, const char *name)
{
    const struct slow_ini *files[] = {&given->config, &given->credentials};
    fuzz_check(dlk_profiles_has(profiles, DLK_SECTION_PROFILE, name) ==
               slow_profile_has(&given->config, &given->credentials, name));
    for (size_t i = 0; i < sizeof profile_keys / sizeof *profile_keys; i++) {
        profile_check_key(given, profiles, name, profile_keys[i]);
    }
    for (size_t i = 0; i < 10; i++) {
        for (int f = 0; f < 2; f++) {
            if (i < files[f]->count && files[f]->lines[i].key != NULL) {
                profile_check_key(given, profiles, name, files[f]->lines[i].key);
            }
        }
    }
}

static void profile_check_files(const struct profile_case *given,
                                const struct dlk_profiles *profiles)
{
    const struct slow_ini *files[] = {&given->config, &given->credentials};
    const char *last = "";
    profile_check_name(given, profiles, dlk_profiles_chosen(&given->options));
    profile_check_name(given, profiles, "default");
    for (size_t i = 0; i < 10; i++) {
        for (int f = 0; f < 2; f++) {
            const char *section = i < files[f]->count ? files[f]->lines[i].section : last;
            const char *name =
                f == 0 && strchr(section, '.') != NULL ? strchr(section, '.') + 1 : section;
            if (strcmp(section, last) != 0) {
                profile_check_name(given, profiles, name);
            }
            last = section;
        }
    }
    fuzz_check(*dlk_profiles_note(profiles) == '\0');
}

/* ---- The configuration, read slowly ---- */

struct profile_config {
    bool fips, dual_stack, is_wrong;
    int max_attempts;
    const char *region, *endpoint, *ca_file;
};

static const char *profile_setting(const struct profile_case *given, const char *variable,
                                   const char *key)
{
    const char *value = profile_variable(given, variable);
    return value != NULL ? value
                         : slow_profile_get(&given->config, &given->credentials, true,
                                            dlk_profiles_chosen(&given->options), key);
}

static bool profile_flag(const struct profile_case *given, struct profile_config *config,
                         const char *variable, const char *key)
{
    const char *value = profile_setting(given, variable, key);
    config->is_wrong |=
        value != NULL && strcasecmp(value, "true") != 0 && strcasecmp(value, "false") != 0;
    return value != NULL && strcasecmp(value, "true") == 0;
}

static bool profile_is_one_of(const char *value, const char *const *values)
{
    for (; *values != NULL; values++) {
        if (strcasecmp(value, *values) == 0) {
            return true;
        }
    }
    return false;
}

static void profile_slow_endpoint(const struct profile_case *given, struct profile_config *config)
{
    const char *given_one = given->options.endpoint, *chosen = dlk_profiles_chosen(&given->options);
    if (given_one != NULL && *given_one != '\0') {
        config->endpoint = given_one;
        return;
    }
    if (profile_flag(given, config, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
                     "ignore_configured_endpoint_urls")) {
        return;
    }
    config->endpoint = profile_variable(given, "AWS_ENDPOINT_URL_DYNAMODB");
    config->endpoint =
        config->endpoint != NULL ? config->endpoint : profile_variable(given, "AWS_ENDPOINT_URL");
    const char *services =
        slow_profile_get(&given->config, &given->credentials, true, chosen, "services");
    if (config->endpoint == NULL && services != NULL) {
        char *section = slow_alloc(strlen(services) + 20);
        (void)sprintf(section, "services.%s", services);
        config->is_wrong |= !slow_ini_has(&given->config, section);
        config->endpoint = slow_ini_get(&given->config, section, "dynamodb.endpoint_url");
        free(section);
    }
    if (config->endpoint == NULL) {
        config->endpoint =
            slow_profile_get(&given->config, &given->credentials, true, chosen, "endpoint_url");
    }
}

static struct profile_config profile_slow_config(const struct profile_case *given)
{
    static const char *const modes[] = {"standard", "adaptive", "legacy", NULL};
    struct profile_config config = {0};
    const char *attempts = profile_setting(given, "AWS_MAX_ATTEMPTS", "max_attempts");
    const char *mode = profile_setting(given, "AWS_RETRY_MODE", "retry_mode");
    config.fips = profile_flag(given, &config, "AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint");
    config.dual_stack =
        profile_flag(given, &config, "AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint");
    if (attempts != NULL) {
        size_t digits = strspn(attempts, "0123456789");
        config.max_attempts = digits < 4 ? atoi(attempts) : 0;
        config.is_wrong |=
            attempts[digits] != '\0' || config.max_attempts < 1 || config.max_attempts > 100;
    }
    config.is_wrong |= mode != NULL && !profile_is_one_of(mode, modes);
    profile_slow_endpoint(given, &config);
    config.region = given->options.region;
    if (config.region == NULL || *config.region == '\0') {
        config.region = profile_variable(given, "AWS_REGION");
    }
    if (config.region == NULL) {
        config.region = profile_variable(given, "AWS_DEFAULT_REGION");
    }
    if (config.region == NULL) {
        config.region = slow_profile_get(&given->config, &given->credentials, false,
                                         dlk_profiles_chosen(&given->options), "region");
    }
    config.ca_file = profile_setting(given, "AWS_CA_BUNDLE", "ca_bundle");
    return config;
}

/* scheme://host[:port][/], the port one that there is. */
static bool profile_is_endpoint(const char *text)
{
    static regex_t form;
    regmatch_t parts[6];
    if (form.re_nsub == 0) {
        fuzz_check(regcomp(&form,
                           "^https?://([A-Za-z0-9._-]+|\\[[A-Za-z0-9:.]{2,}\\])(:([0-9]+))?/?$",
                           REG_EXTENDED) == 0);
    }
    if (regexec(&form, text, 6, parts, 0) != 0 || parts[1].rm_eo - parts[1].rm_so > 255) {
        return false;
    }
    unsigned long port = parts[3].rm_so < 0 ? 1 : strtoul(text + parts[3].rm_so, NULL, 10);
    size_t authority = strcspn(strstr(text, "//") + 2, "/");
    return port > 0 && port <= 65535 && authority < 300;
}

/* The URL is what an HTTP client takes for the same host and port, and nothing besides. */
static void profile_check_url(const struct dlk_config *config)
{
    CURLU *url = curl_url();
    char *host = NULL, *port = NULL, *path = NULL, *user = NULL, *query = NULL, *scheme = NULL;
    char authority[400];
    (void)snprintf(authority, sizeof authority, "%s/", config->host);
    fuzz_check(strcmp(strstr(config->url, "//") + 2, authority) == 0 &&
               strchr(config->host, '/') == NULL);
    if (curl_url_set(url, CURLUPART_URL, config->url, 0) == CURLUE_OK) {
        fuzz_check(curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK);
        fuzz_check(curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK);
        fuzz_check(curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK);
        fuzz_check(curl_url_get(url, CURLUPART_PATH, &path, 0) == CURLUE_OK &&
                   strcmp(path, "/") == 0);
        fuzz_check(curl_url_get(url, CURLUPART_USER, &user, 0) == CURLUE_NO_USER);
        fuzz_check(curl_url_get(url, CURLUPART_QUERY, &query, 0) == CURLUE_NO_QUERY);
        bool own_port = strcmp(port, strcmp(scheme, "https") == 0 ? "443" : "80") == 0;
        const char *colon = strrchr(config->host, ':'), *bracket = strrchr(config->host, ']');
        bool has_port = colon != NULL && (bracket == NULL || colon > bracket);
        fuzz_check(has_port ? atoi(colon + 1) == atoi(port) : own_port);
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_free(path);
    curl_url_cleanup(url);
}

/* Whether the region and the endpoint go together; its URL. */
static bool profile_goes(const struct profile_config *slow, char url[DLK_URL_SIZE])
{
    char region[DLK_REGION_SIZE], dual[DLK_URL_SIZE];
    bool fips = slow->fips;
    if (dlk_endpoint_region(slow->region, region, &fips, NULL) != 0) {
        return false;
    }
    if (slow->endpoint == NULL) {
        return dlk_endpoint_make("dynamodb", region, fips, slow->dual_stack, url, DLK_URL_SIZE,
                                 NULL) == 0;
    }
    if (!profile_is_endpoint(slow->endpoint) || fips || slow->dual_stack) {
        return false;
    }
    (void)snprintf(url, DLK_URL_SIZE, "%s", slow->endpoint);
    if (strcmp(region, "local") == 0) {
        return true;
    }
    /* The same host by either scheme, and by its own port. */
    fuzz_check(dlk_endpoint_make("dynamodb", region, false, true, dual, sizeof dual, NULL) == 0);
    size_t length = strlen(dual) - strlen("https:///");
    const char *host = strstr(url, "//") + 2, *rest = host + length;
    bool tls = slow_begins(url, "https");
    return strncasecmp(host, strstr(dual, "//") + 2, length) != 0 ||
           (*rest != '\0' && *rest != '/' && strcmp(rest, tls ? ":443" : ":80") != 0 &&
            strcmp(rest, tls ? ":443/" : ":80/") != 0);
}

static void profile_check_config(const struct profile_case *given, const struct dlk_config *config,
                                 const struct profile_config *slow)
{
    char url[DLK_URL_SIZE], region[DLK_REGION_SIZE];
    bool fips = slow->fips;
    fuzz_check(strcmp(config->profile, dlk_profiles_chosen(&given->options)) == 0);
    fuzz_check(config->fips == slow->fips && config->dual_stack == slow->dual_stack);
    fuzz_check(config->max_attempts == slow->max_attempts);
    fuzz_check((config->endpoint == NULL) == (slow->endpoint == NULL));
    fuzz_check(slow->endpoint == NULL || strcmp(config->endpoint, slow->endpoint) == 0);
    fuzz_check((config->ca_file == NULL) == (slow->ca_file == NULL));
    fuzz_check(config->lacks_region == (slow->region == NULL));
    if (config->lacks_region) {
        fuzz_check(config->region == NULL && config->url == NULL && config->host == NULL);
        return;
    }
    fuzz_check(profile_goes(slow, url));
    fuzz_check(dlk_endpoint_region(slow->region, region, &fips, NULL) == 0);
    bool local = slow->endpoint == NULL && strcmp(region, "local") == 0;
    fuzz_check(strcmp(config->region, local ? "us-east-1" : region) == 0);
    fuzz_check(slow_ends(config->url, "/") && strlen(config->url) <= strlen(url) + 1);
    fuzz_check(slow_begins(config->url, "https://") == slow_begins(url, "https://"));
    fuzz_check(strncasecmp(config->url, url, strlen(config->url) - 1) == 0);
    for (const char *at = config->host; *at != '\0'; at++) {
        fuzz_check(*at > ' ' && *at <= '~' && (*at < 'A' || *at > 'Z'));
    }
    profile_check_url(config);
}

/* ---- Credentials ---- */

/* Keys that are at hand stand where they may be taken from, both in one place. */
static void profile_check_keys(const struct profile_case *given, struct dlk_chain *chain)
{
    struct dlk_credentials *set = NULL;
    struct dlk_fetch how = {.now_s = 1, .timeout_ms = 1000};
    const char *id = profile_variable(given, "AWS_ACCESS_KEY_ID"),
               *secret = profile_variable(given, "AWS_SECRET_ACCESS_KEY");
    const struct slow_ini *files[] = {&given->config, &given->credentials};
    fuzz_check(dlk_chain_fetch(chain, &how, &set, NULL) == 0);
    bool stands = id != NULL && secret != NULL && strcmp(id, set->access_key_id) == 0 &&
                  strcmp(secret, set->secret_access_key) == 0;
    for (int f = 0; f < 2 && !stands; f++) {
        for (size_t i = 0; i < files[f]->count && !stands; i++) {
            const char *name = files[f]->lines[i].section;
            name = slow_begins(name, "profile.") && f == 0 ? name + 8 : name;
            id = slow_profile_get(&given->config, &given->credentials, false, name,
                                  "aws_access_key_id");
            secret = slow_profile_get(&given->config, &given->credentials, false, name,
                                      "aws_secret_access_key");
            stands = id != NULL && secret != NULL && strcmp(id, set->access_key_id) == 0 &&
                     strcmp(secret, set->secret_access_key) == 0;
        }
    }
    fuzz_check(stands);
    dlk_credentials_unref(set);
}

static void profile_check_chain(const struct profile_case *given, const struct dlk_config *config,
                                const struct dlk_profiles *profiles)
{
    dynalock_error error = SLOW_UNTOLD;
    struct dlk_chain *untouched = (struct dlk_chain *)(void *)&error, *chain = untouched;
    bool named = (given->options.profile != NULL && *given->options.profile != '\0') ||
                 profile_variable(given, "AWS_PROFILE") != NULL;
    bool has_id = profile_variable(given, "AWS_ACCESS_KEY_ID") != NULL;
    bool has_secret = profile_variable(given, "AWS_SECRET_ACCESS_KEY") != NULL;
    int code = dlk_chain_new(&chain, &given->options, config, profiles, config->profile, &error);

    fuzz_check((code == 0) == (chain != untouched));
    if (code != 0) {
        SLOW_CHECK_TOLD(&error, code, DYNALOCK_ERR_CREDENTIALS, DYNALOCK_ERR_CONFIG);
        profile_check_line(given, error.message);
        return;
    }
    slow_check_untold(&error);
    profile_check_line(given, dlk_chain_name(chain));
    fuzz_check(*dlk_chain_name(chain) != '\0');
    fuzz_check(named || has_id == has_secret);
    if (!named && has_id) {
        fuzz_check(strcmp(dlk_chain_name(chain), "environment") == 0 && dlk_chain_is_fixed(chain));
    }
    if (named) {
        fuzz_check(slow_profile_has(&given->config, &given->credentials, config->profile));
    }
    if (dlk_chain_is_fixed(chain)) {
        profile_check_keys(given, chain);
    }
    dlk_chain_free(chain);
}

/* ---- Any ---- */

static void profile_check_settings(const struct profile_case *given,
                                   const struct dlk_profiles *profiles)
{
    dynalock_error error = SLOW_UNTOLD;
    struct dlk_config config;
    char url[DLK_URL_SIZE];
    struct profile_config slow = profile_slow_config(given);
    int code = dlk_config_read(&config, &given->options, profiles, &error);

    fuzz_check((code == 0) ==
               (!slow.is_wrong && (slow.region == NULL || profile_goes(&slow, url))));
    if (code != 0) {
        SLOW_CHECK_TOLD(&error, code, DYNALOCK_ERR_CONFIG);
        profile_check_line(given, error.message);
        fuzz_check(config.profile == NULL && config.url == NULL && config.endpoint == NULL);
        return;
    }
    slow_check_untold(&error);
    profile_check_config(given, &config, &slow);
    profile_check_chain(given, &config, profiles);
    if (config.lacks_region) {
        fuzz_check(dlk_config_set_region(&config, profiles, NULL, &error) == DYNALOCK_ERR_CONFIG);
        SLOW_CHECK_TOLD(&error, DYNALOCK_ERR_CONFIG, DYNALOCK_ERR_CONFIG);
        profile_check_line(given, error.message);
    }
    dlk_config_free(&config);
}

static void profile_check(const struct profile_case *given)
{
    dynalock_error error = SLOW_UNTOLD;
    struct dlk_profiles *profiles = NULL;
    bool is_text = strlen(given->parts[0]) == given->lengths[0] &&
                   strlen(given->parts[1]) == given->lengths[1];
    int code = dlk_profiles_read(&profiles, &error);

    fuzz_check((code == 0) == is_text);
    if (code != 0) {
        SLOW_CHECK_TOLD(&error, code, DYNALOCK_ERR_CONFIG);
        fuzz_check(profiles == NULL);
        return;
    }
    slow_check_untold(&error);
    profile_check_files(given, profiles);
    profile_check_settings(given, profiles);
    dlk_profiles_free(profiles);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, size};
    struct profile_case given = {.options = {0}};
    char **own = environ;

    for (int i = 0; i < PROFILE_PARTS; i++) {
        given.parts[i] = fuzz_text(&input, &given.lengths[i]);
    }
    profile_write(0, given.parts[0], given.lengths[0]);
    profile_write(1, given.parts[1], given.lengths[1]);
    given.options.profile = given.parts[3];
    given.options.region = given.parts[4];
    given.options.endpoint = given.parts[5];
    given.hides = profile_hides(&given);
    slow_ini_read(&given.config, given.parts[0]);
    slow_ini_read(&given.credentials, given.parts[1]);
    profile_environment(&given);
    environ = given.variables;
    profile_check(&given);
    environ = own;
    slow_ini_free(&given.config);
    slow_ini_free(&given.credentials);
    for (int i = 0; i < PROFILE_PARTS; i++) {
        free(given.parts[i]);
    }
    return 0;
}
