/* SPDX-License-Identifier: Apache-2.0 */
/* Region, endpoint and credentials, from options, environment and profile. */
#include "../providers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const char *const config_variables[] = {
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL_SSO_OIDC",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_MAX_ATTEMPTS",
    "AWS_RETRY_MODE",
    "AWS_CA_BUNDLE",
};

static char config_file[] = "/tmp/dynalock-config-XXXXXX";

static int clear_environment(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(config_variables); i++) {
        assert_int_equal(unsetenv(config_variables[i]), 0);
    }
    assert_int_equal(setenv("AWS_CONFIG_FILE", "/dev/null", 1), 0);
    assert_int_equal(setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1), 0);
    return 0;
}

static void write_config(const char *text)
{
    FILE *file = fopen(config_file, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(setenv("AWS_CONFIG_FILE", config_file, 1), 0);
}

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(config_file);
    return fd < 0 || close(fd) != 0;
}

static int remove_file(void **state)
{
    (void)state;
    return remove(config_file);
}

static int read_config(struct dlk_config *config, const dynalock_options *options,
                       dynalock_error *error)
{
    struct dlk_profiles *profiles;
    assert_int_equal(dlk_profiles_read(&profiles, error), 0);
    int code = dlk_config_read(config, options, profiles, error);
    if (code == 0 && config->lacks_region) {
        assert_null(config->region);
        assert_null(config->url);
        code = dlk_config_set_region(config, profiles, NULL, error);
        assert_int_not_equal(code, 0);
    }
    if (code != 0) {
        assert_null(config->profile);
    }
    dlk_profiles_free(profiles);
    return code;
}

/* Reads a configuration that must be right. */
static struct dlk_config config_of(const char *region, const char *endpoint)
{
    dynalock_options options = {.region = region, .endpoint = endpoint};
    struct dlk_config config;
    dynalock_error error;
    int code = read_config(&config, &options, &error);
    if (code != 0) {
        fail_msg("%s %s: %s", region ? region : "-", endpoint ? endpoint : "-", error.message);
    }
    return config;
}

static void check_url(const char *region, const char *endpoint, const char *url, const char *host)
{
    struct dlk_config config = config_of(region, endpoint);
    assert_string_equal(config.url, url);
    assert_string_equal(config.host, host);
    dlk_config_free(&config);
    assert_null(config.url);
}

static void test_each_partition_has_its_own_host(void **state)
{
    static const char *const cases[][2] = {
        {"us-east-1", "dynamodb.us-east-1.amazonaws.com"},
        {"eu-central-1", "dynamodb.eu-central-1.amazonaws.com"},
        {"us-gov-west-1", "dynamodb.us-gov-west-1.amazonaws.com"},
        {"cn-north-1", "dynamodb.cn-north-1.amazonaws.com.cn"},
        {"eusc-de-east-1", "dynamodb.eusc-de-east-1.amazonaws.eu"},
        {"us-iso-east-1", "dynamodb.us-iso-east-1.c2s.ic.gov"},
        {"us-isob-east-1", "dynamodb.us-isob-east-1.sc2s.sgov.gov"},
        {"eu-isoe-west-1", "dynamodb.eu-isoe-west-1.cloud.adc-e.uk"},
        {"us-isof-south-1", "dynamodb.us-isof-south-1.csp.hci.ic.gov"},
        {"mars-1", "dynamodb.mars-1.amazonaws.com"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char url[200];
        (void)snprintf(url, sizeof url, "https://%s/", cases[i][1]);
        check_url(cases[i][0], NULL, url, cases[i][1]);
    }
}

static void test_the_region_local_is_dynamodb_local_at_its_port(void **state)
{
    (void)state;
    check_url("local", NULL, "http://localhost:8000/", "localhost:8000");
    check_url("local", "http://127.0.0.1:9000", "http://127.0.0.1:9000/", "127.0.0.1:9000");
}

static void test_an_endpoint_is_sent_as_an_http_client_sends_it(void **state)
{
    static const char *const cases[][3] = {
        {"http://127.0.0.1:8000", "http://127.0.0.1:8000/", "127.0.0.1:8000"},
        {"http://127.0.0.1:8000/", "http://127.0.0.1:8000/", "127.0.0.1:8000"},
        {"http://EXAMPLE.org:80", "http://example.org/", "example.org"},
        {"https://EXAMPLE.org:443/", "https://example.org/", "example.org"},
        {"http://example.org:443", "http://example.org:443/", "example.org:443"},
        {"https://example.org:80", "https://example.org:80/", "example.org:80"},
        {"http://example.org:8080", "http://example.org:8080/", "example.org:8080"},
        {"http://[::1]:8000", "http://[::1]:8000/", "[::1]:8000"},
        {"http://[::1]", "http://[::1]/", "[::1]"},
        {"http://[2001:DB8::80]:80", "http://[2001:db8::80]/", "[2001:db8::80]"},
        {"http://under_score-and.dot:1", "http://under_score-and.dot:1/", "under_score-and.dot:1"},
        {"http://h:65535", "http://h:65535/", "h:65535"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        check_url("us-east-1", cases[i][0], cases[i][1], cases[i][2]);
    }
}

static void check_refused(const char *region, const char *endpoint)
{
    dynalock_options options = {.region = region, .endpoint = endpoint};
    struct dlk_config config;
    dynalock_error error;
    if (read_config(&config, &options, &error) != DYNALOCK_ERR_CONFIG) {
        fail_msg("taken: region %s, endpoint %s", region, endpoint ? endpoint : "-");
    }
    assert_true(strlen(error.message) > 10);
    assert_null(config.region);
    assert_null(config.url);
    assert_null(config.host);
}

static void test_an_endpoint_that_is_none_is_refused(void **state)
{
    static const char *const endpoints[] = {
        "127.0.0.1:8000",   "ftp://h",
        "HTTP://",          "http://",
        "http:///",         "http://h/path",
        "http://h?x",       "http://h#x",
        "http://u:p@h",     "http://h:",
        "http://h:0",       "http://h:65536",
        "http://h:80x",     "http://h:99999999999999999999",
        "http://h h",       "http://h\r\nX: y",
        "http://[::1",      "http://::1",
        "http://[]",        "http://[::1]x",
        "http://[::1]:",    "http://h\xC3\xA4",
        "http://h:8000/x/", "http://h:-1",
        "http://:8000",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(endpoints); i++) {
        check_refused("us-east-1", endpoints[i]);
    }
}

static void test_a_region_that_could_not_be_part_of_a_host_is_refused(void **state)
{
    static const char *const regions[] = {
        "us east 1",
        "us-east-1.evil.org",
        "us-east-1/",
        "a\nb",
        "us-east-1@x",
        "-us-east-1",
        "us-east-1-",
        "\xC3\xA4",
        "a123456789012345678901234567890123456789012345678901234567890123",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(regions); i++) {
        check_refused(regions[i], NULL);
    }
}

static void test_an_endless_host_is_refused(void **state)
{
    char endpoint[600] = "http://";

    (void)state;
    memset(endpoint + 7, 'h', 500);
    check_refused("us-east-1", endpoint);
    endpoint[7 + 255] = '\0';
    struct dlk_config config = config_of("us-east-1", endpoint);
    dlk_config_free(&config);
}

static void test_without_a_region_there_is_a_clear_code(void **state)
{
    (void)state;
    check_refused(NULL, "http://127.0.0.1:8000");
}

static void test_the_option_precedes_the_environment_and_empty_counts_as_unset(void **state)
{
    static const struct {
        const char *option, *first, *second, *region;
    } cases[] = {
        {"a", "b", "c", "a"}, {NULL, "b", "c", "b"}, {NULL, NULL, "c", "c"},
        {"", "b", "c", "b"},  {NULL, "", "c", "c"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        (void)clear_environment(NULL);
        if (cases[i].first != NULL) {
            assert_int_equal(setenv("AWS_REGION", cases[i].first, 1), 0);
        }
        assert_int_equal(setenv("AWS_DEFAULT_REGION", cases[i].second, 1), 0);
        struct dlk_config config = config_of(cases[i].option, NULL);
        assert_string_equal(config.region, cases[i].region);
        dlk_config_free(&config);
    }
}

static void test_the_endpoint_of_dynamodb_precedes_that_of_all_services(void **state)
{
    (void)state;
    assert_int_equal(setenv("AWS_ENDPOINT_URL", "http://all:1", 1), 0);
    check_url("us-east-1", NULL, "http://all:1/", "all:1");
    assert_int_equal(setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://one:2", 1), 0);
    check_url("us-east-1", NULL, "http://one:2/", "one:2");
    check_url("us-east-1", "http://option:3", "http://option:3/", "option:3");
    check_url("local", NULL, "http://one:2/", "one:2");
}

/* ---- Profile and flags ---- */

static void check_error(const dynalock_options *options, const char *words)
{
    struct dlk_config config;
    dynalock_error error;
    assert_int_equal(read_config(&config, options, &error), DYNALOCK_ERR_CONFIG);
    if (strstr(error.message, words) == NULL) {
        fail_msg("%s", error.message);
    }
    assert_null(strstr(error.message, "s3cr3t"));
}

static const char services[] = "[default]\nregion = eu-west-1\nservices = s\n"
                               "endpoint_url = http://profile:1\n"
                               "[services s]\ndynamodb =\n  endpoint_url = http://section:2\n"
                               "sts =\n  endpoint_url = http://sts:3\n";

static void test_the_profile_comes_after_the_environment(void **state)
{
    (void)state;
    write_config(services);
    check_url(NULL, NULL, "http://section:2/", "section:2");
    struct dlk_config config = config_of(NULL, NULL);
    assert_string_equal(config.region, "eu-west-1");
    dlk_config_free(&config);
    assert_int_equal(setenv("AWS_DEFAULT_REGION", "eu-west-2", 1), 0);
    config = config_of(NULL, NULL);
    assert_string_equal(config.region, "eu-west-2");
    dlk_config_free(&config);
    assert_int_equal(setenv("AWS_ENDPOINT_URL", "http://all:4", 1), 0);
    check_url(NULL, NULL, "http://all:4/", "all:4");
}

static void test_the_profile_of_the_option_is_read(void **state)
{
    dynalock_options options = {.profile = "b"};
    struct dlk_config config;
    (void)state;
    write_config("[profile a]\nregion = r-a\n[profile b]\nregion = r-b\n");
    assert_int_equal(setenv("AWS_PROFILE", "a", 1), 0);
    assert_int_equal(read_config(&config, &options, NULL), 0);
    assert_string_equal(config.region, "r-b");
    assert_string_equal(config.profile, "b");
    dlk_config_free(&config);
    config = config_of(NULL, NULL);
    assert_string_equal(config.region, "r-a");
    dlk_config_free(&config);
}

static void test_configured_endpoints_may_be_ignored_but_for_the_option(void **state)
{
    (void)state;
    write_config(services);
    assert_int_equal(setenv("AWS_ENDPOINT_URL", "http://all:4", 1), 0);
    assert_int_equal(setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true", 1), 0);
    check_url("us-east-1", NULL, "https://dynamodb.us-east-1.amazonaws.com/",
              "dynamodb.us-east-1.amazonaws.com");
    check_url("us-east-1", "http://option:5", "http://option:5/", "option:5");
    assert_int_equal(unsetenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"), 0);
    write_config("[default]\nignore_configured_endpoint_urls = TRUE\n");
    check_url("us-east-1", NULL, "https://dynamodb.us-east-1.amazonaws.com/",
              "dynamodb.us-east-1.amazonaws.com");
}

static void test_an_endpoint_in_a_private_network_is_signed_for_the_region(void **state)
{
    struct dlk_config config =
        config_of("eu-west-1", "https://vpce-1-2.dynamodb.us-east-1.vpce.amazonaws.com");
    (void)state;
    assert_string_equal(config.region, "eu-west-1");
    assert_string_equal(config.host, "vpce-1-2.dynamodb.us-east-1.vpce.amazonaws.com");
    dlk_config_free(&config);
}

static void test_dynamodb_local_is_signed_for_as_the_sdks_do(void **state)
{
    struct dlk_config config = config_of("local", NULL);
    (void)state;
    assert_string_equal(config.region, "us-east-1");
    dlk_config_free(&config);
    config = config_of("local", "http://127.0.0.1:9000");
    assert_string_equal(config.region, "local");
    dlk_config_free(&config);
}

static void test_fips_and_dual_stack_are_asked_for_in_any_spelling(void **state)
{
    (void)state;
    assert_int_equal(setenv("AWS_USE_FIPS_ENDPOINT", "True", 1), 0);
    check_url("us-east-1", NULL, "https://dynamodb-fips.us-east-1.amazonaws.com/",
              "dynamodb-fips.us-east-1.amazonaws.com");
    write_config("[default]\nuse_dualstack_endpoint = true\nuse_fips_endpoint = false\n");
    check_url("us-east-1", NULL, "https://dynamodb-fips.us-east-1.api.aws/",
              "dynamodb-fips.us-east-1.api.aws");
    assert_int_equal(unsetenv("AWS_USE_FIPS_ENDPOINT"), 0);
    check_url("us-east-1", NULL, "https://dynamodb.us-east-1.api.aws/",
              "dynamodb.us-east-1.api.aws");
    check_url("us-east-1-fips", NULL, "https://dynamodb-fips.us-east-1.api.aws/",
              "dynamodb-fips.us-east-1.api.aws");
}

static void test_an_endpoint_excludes_fips_and_dual_stack(void **state)
{
    dynalock_options options = {.region = "us-east-1", .endpoint = "http://h"};
    (void)state;
    assert_int_equal(setenv("AWS_USE_FIPS_ENDPOINT", "true", 1), 0);
    check_error(&options, "FIPS endpoints are asked for");
    assert_int_equal(unsetenv("AWS_USE_FIPS_ENDPOINT"), 0);
    assert_int_equal(setenv("AWS_USE_DUALSTACK_ENDPOINT", "true", 1), 0);
    check_error(&options, "dual-stack endpoints are asked for");
    assert_int_equal(unsetenv("AWS_USE_DUALSTACK_ENDPOINT"), 0);
    options.endpoint = "https://dynamodb.US-EAST-1.api.aws";
    check_error(&options, "AWS_USE_DUALSTACK_ENDPOINT=true");
}

static void test_attempts_and_ca_file_are_read(void **state)
{
    struct dlk_config config = config_of("r", NULL);
    (void)state;
    assert_int_equal(config.max_attempts, 0);
    assert_null(config.ca_file);
    dlk_config_free(&config);
    write_config("[default]\nmax_attempts = 7\nca_bundle = /ca a.pem\nretry_mode = legacy\n");
    config = config_of("r", NULL);
    assert_int_equal(config.max_attempts, 7);
    assert_string_equal(config.ca_file, "/ca a.pem");
    dlk_config_free(&config);
    assert_int_equal(setenv("AWS_MAX_ATTEMPTS", "100", 1), 0);
    assert_int_equal(setenv("AWS_CA_BUNDLE", "/b.pem", 1), 0);
    assert_int_equal(setenv("AWS_RETRY_MODE", "adaptive", 1), 0);
    config = config_of("r", NULL);
    assert_int_equal(config.max_attempts, 100);
    assert_string_equal(config.ca_file, "/b.pem");
    dlk_config_free(&config);
}

static void test_a_setting_that_makes_no_sense_is_named_and_not_quoted(void **state)
{
    static const struct {
        const char *variable, *key, *value, *words;
    } cases[] = {
        {"AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint", "s3cr3t", "is neither true nor false"},
        {"AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint", "1", "is neither true nor false"},
        {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls", "yes",
         "is neither true nor false"},
        {"AWS_MAX_ATTEMPTS", "max_attempts", "0", "is not a number from 1 to 100"},
        {"AWS_MAX_ATTEMPTS", "max_attempts", "101", "is not a number from 1 to 100"},
        {"AWS_MAX_ATTEMPTS", "max_attempts", "99999999999", "is not a number from 1 to 100"},
        {"AWS_MAX_ATTEMPTS", "max_attempts", "-1", "is not a number from 1 to 100"},
        {"AWS_MAX_ATTEMPTS", "max_attempts", "3 s3cr3t", "is not a number from 1 to 100"},
        {"AWS_RETRY_MODE", "retry_mode", "s3cr3t", "is none of standard, adaptive and legacy"},
    };
    dynalock_options options = {.region = "r"};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char words[150], text[150];
        (void)clear_environment(NULL);
        (void)snprintf(words, sizeof words, "%s %s", cases[i].variable, cases[i].words);
        assert_int_equal(setenv(cases[i].variable, cases[i].value, 1), 0);
        check_error(&options, words);
        (void)clear_environment(NULL);
        (void)snprintf(words, sizeof words, "%s of the profile \"default\" %s", cases[i].key,
                       cases[i].words);
        (void)snprintf(text, sizeof text, "[default]\n%s = %s\n", cases[i].key, cases[i].value);
        write_config(text);
        check_error(&options, words);
    }
}

static void test_what_a_profile_lacks_is_named(void **state)
{
    dynalock_options options = {.profile = "p"};
    (void)state;
    check_error(&options, "region in the profile \"p\"");
    write_config("[profile p]\nregion = r\nservices = gone\n");
    check_error(&options, "the services section \"gone\", and there is none");
    write_config("[profile p]\nregion = r\nendpoint_url = http://u:s3cr3t@h\n");
    check_error(&options, "a user or a password");
    assert_int_equal(setenv("AWS_CONFIG_FILE", "/", 1), 0);
    check_error(&options, "; / cannot be read: it is a directory");
}

static void check_service(const char *service_id, const char *service, const char *url)
{
    dynalock_options options = {.region = "us-east-1"};
    struct dlk_profiles *profiles;
    struct dlk_config config;
    char found[DLK_URL_SIZE];
    assert_int_equal(dlk_profiles_read(&profiles, NULL), 0);
    assert_int_equal(dlk_config_read(&config, &options, profiles, NULL), 0);
    int code =
        dlk_config_endpoint(&config, profiles, service_id, service, "eu-west-1", found, NULL);
    assert_int_equal(code, url != NULL ? 0 : DYNALOCK_ERR_CONFIG);
    if (url != NULL) {
        assert_string_equal(found, url);
    }
    dlk_config_free(&config);
    dlk_profiles_free(profiles);
}

static void test_other_services_have_endpoints_of_their_own(void **state)
{
    (void)state;
    check_service("STS", "sts", "https://sts.eu-west-1.amazonaws.com/");
    check_service("SSO", "portal.sso", "https://portal.sso.eu-west-1.amazonaws.com/");
    write_config(services);
    check_service("STS", "sts", "http://sts:3/");
    check_service("SSO OIDC", "oidc", "http://profile:1/");
    assert_int_equal(setenv("AWS_ENDPOINT_URL_SSO_OIDC", "http://oidc:6", 1), 0);
    check_service("SSO OIDC", "oidc", "http://oidc:6/");
    assert_int_equal(unsetenv("AWS_ENDPOINT_URL_SSO_OIDC"), 0);
    assert_int_equal(setenv("AWS_ENDPOINT_URL", "http://all:4", 1), 0);
    check_service("STS", "sts", "http://all:4/");
    assert_int_equal(setenv("AWS_ENDPOINT_URL_STS", "nonsense", 1), 0);
    check_service("STS", "sts", NULL);
    check_service("SSO", "portal.sso", "http://all:4/");
}

static void test_a_region_may_be_found_later(void **state)
{
    dynalock_options options = {.endpoint = "http://h:1"};
    struct dlk_profiles *profiles;
    struct dlk_config config;
    (void)state;
    assert_int_equal(dlk_profiles_read(&profiles, NULL), 0);
    assert_int_equal(dlk_config_read(&config, &options, profiles, NULL), 0);
    assert_true(config.lacks_region);
    assert_null(config.url);
    assert_int_equal(dlk_config_set_region(&config, profiles, "us-east-1", NULL), 0);
    assert_false(config.lacks_region);
    assert_string_equal(config.region, "us-east-1");
    assert_string_equal(config.url, "http://h:1/");
    dlk_config_free(&config);
    dlk_profiles_free(profiles);
}

/* ---- Credentials -------------------------------------------------------------------------------- */

/* What dynalock_open makes of options and environment. */
static int read_credentials(struct dlk_credentials **made, const dynalock_options *options,
                            dynalock_error *error)
{
    const struct dlk_config config = {.region = (char[]){"us-east-1"}};
    const struct dlk_fetch how = {.timeout_ms = 1000};
    struct dlk_profiles *profiles = NULL;
    struct dlk_chain *chain = NULL;
    assert_int_equal(setenv("AWS_EC2_METADATA_DISABLED", "true", 1), 0);
    assert_int_equal(dlk_profiles_read(&profiles, NULL), 0);
    int code = dlk_chain_new(&chain, options, &config, profiles, "default", error);
    if (code == 0) {
        code = dlk_chain_fetch(chain, &how, made, error);
    }
    dlk_chain_free(chain);
    dlk_profiles_free(profiles);
    return code;
}

static void test_credentials_come_from_the_options_or_all_from_the_environment(void **state)
{
    dynalock_options options = {.access_key_id = "ID", .secret_access_key = "SECRET"};
    struct dlk_credentials *credentials = NULL;

    (void)state;
    assert_int_equal(setenv("AWS_ACCESS_KEY_ID", "env-id", 1), 0);
    assert_int_equal(setenv("AWS_SECRET_ACCESS_KEY", "env-secret", 1), 0);
    assert_int_equal(setenv("AWS_SESSION_TOKEN", "env-token", 1), 0);
    assert_int_equal(read_credentials(&credentials, &options, NULL), 0);
    assert_string_equal(credentials->access_key_id, "ID");
    assert_string_equal(credentials->secret_access_key, "SECRET");
    assert_null(credentials->session_token); /* the environment's belongs to another key */
    dlk_credentials_unref(credentials);
    options = (dynalock_options){0};
    assert_int_equal(read_credentials(&credentials, &options, NULL), 0);
    assert_string_equal(credentials->access_key_id, "env-id");
    assert_string_equal(credentials->secret_access_key, "env-secret");
    assert_string_equal(credentials->session_token, "env-token");
    dlk_credentials_unref(credentials);
}

static void test_half_a_pair_of_credentials_is_none_and_no_secret_is_told(void **state)
{
    static const struct {
        const char *id, *secret, *token;
    } cases[] = {
        {"ID-7", NULL, NULL},
        {NULL, "s3cr3t", NULL},
        {"", "s3cr3t", NULL},
        {"ID-7", "", NULL},
        {"", "", NULL},
        {"ID-7", "s3cr3t\n", NULL},
        {"ID-7 ", "s3cr3t", NULL},
        {"ID-7", "s3c r3t", NULL},
        {"ID-7", "s3cr3t", "t\r\nX: s3cr3t"},
        {"ID\xC3\xA4", "s3cr3t", NULL},
        {NULL, NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        dynalock_options options = {.access_key_id = cases[i].id,
                                    .secret_access_key = cases[i].secret,
                                    .session_token = cases[i].token};
        struct dlk_credentials *credentials = NULL;
        dynalock_error error;
        assert_int_equal(read_credentials(&credentials, &options, &error),
                         DYNALOCK_ERR_CREDENTIALS);
        assert_null(strstr(error.message, "s3c"));
        assert_true(strlen(error.message) > 10);
        assert_null(credentials);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_each_partition_has_its_own_host, clear_environment),
        cmocka_unit_test_setup(test_the_region_local_is_dynamodb_local_at_its_port,
                               clear_environment),
        cmocka_unit_test_setup(test_an_endpoint_is_sent_as_an_http_client_sends_it,
                               clear_environment),
        cmocka_unit_test_setup(test_an_endpoint_that_is_none_is_refused, clear_environment),
        cmocka_unit_test_setup(test_a_region_that_could_not_be_part_of_a_host_is_refused,
                               clear_environment),
        cmocka_unit_test_setup(test_an_endless_host_is_refused, clear_environment),
        cmocka_unit_test_setup(test_without_a_region_there_is_a_clear_code, clear_environment),
        cmocka_unit_test_setup(test_the_option_precedes_the_environment_and_empty_counts_as_unset,
                               clear_environment),
        cmocka_unit_test_setup(test_the_endpoint_of_dynamodb_precedes_that_of_all_services,
                               clear_environment),
        cmocka_unit_test_setup(test_the_profile_comes_after_the_environment, clear_environment),
        cmocka_unit_test_setup(test_the_profile_of_the_option_is_read, clear_environment),
        cmocka_unit_test_setup(test_configured_endpoints_may_be_ignored_but_for_the_option,
                               clear_environment),
        cmocka_unit_test_setup(test_an_endpoint_in_a_private_network_is_signed_for_the_region,
                               clear_environment),
        cmocka_unit_test_setup(test_dynamodb_local_is_signed_for_as_the_sdks_do, clear_environment),
        cmocka_unit_test_setup(test_fips_and_dual_stack_are_asked_for_in_any_spelling,
                               clear_environment),
        cmocka_unit_test_setup(test_an_endpoint_excludes_fips_and_dual_stack, clear_environment),
        cmocka_unit_test_setup(test_attempts_and_ca_file_are_read, clear_environment),
        cmocka_unit_test_setup(test_a_setting_that_makes_no_sense_is_named_and_not_quoted,
                               clear_environment),
        cmocka_unit_test_setup(test_what_a_profile_lacks_is_named, clear_environment),
        cmocka_unit_test_setup(test_other_services_have_endpoints_of_their_own, clear_environment),
        cmocka_unit_test_setup(test_a_region_may_be_found_later, clear_environment),
        cmocka_unit_test_setup(test_credentials_come_from_the_options_or_all_from_the_environment,
                               clear_environment),
        cmocka_unit_test_setup(test_half_a_pair_of_credentials_is_none_and_no_secret_is_told,
                               clear_environment),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
