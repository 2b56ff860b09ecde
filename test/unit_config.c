/* SPDX-License-Identifier: Apache-2.0 */
/* Region, endpoint and credentials, from options and environment. */
#include "../internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const char *const config_variables[] = {
    "AWS_REGION",        "AWS_DEFAULT_REGION",    "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
};

static int clear_environment(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(config_variables); i++) {
        assert_int_equal(unsetenv(config_variables[i]), 0);
    }
    return 0;
}

/* Reads a configuration that must be right. */
static struct dlk_config config_of(const char *region, const char *endpoint)
{
    dynalock_options options = {.region = region, .endpoint = endpoint};
    struct dlk_config config;
    dynalock_error error;
    int code = dlk_config_read(&config, &options, &error);
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
    if (dlk_config_read(&config, &options, &error) != DYNALOCK_ERR_CONFIG) {
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

/* ---- Credentials -------------------------------------------------------------------------------- */

static void test_credentials_come_from_the_options_or_all_from_the_environment(void **state)
{
    dynalock_options options = {.access_key_id = "ID", .secret_access_key = "SECRET"};
    struct dlk_credentials *credentials = NULL;

    (void)state;
    assert_int_equal(setenv("AWS_ACCESS_KEY_ID", "env-id", 1), 0);
    assert_int_equal(setenv("AWS_SECRET_ACCESS_KEY", "env-secret", 1), 0);
    assert_int_equal(setenv("AWS_SESSION_TOKEN", "env-token", 1), 0);
    assert_int_equal(dlk_credentials_read(&credentials, &options, NULL), 0);
    assert_string_equal(credentials->access_key_id, "ID");
    assert_string_equal(credentials->secret_access_key, "SECRET");
    assert_null(credentials->session_token); /* the environment's belongs to another key */
    dlk_credentials_unref(credentials);
    options = (dynalock_options){0};
    assert_int_equal(dlk_credentials_read(&credentials, &options, NULL), 0);
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
        assert_int_equal(dlk_credentials_read(&credentials, &options, &error),
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
        cmocka_unit_test_setup(test_credentials_come_from_the_options_or_all_from_the_environment,
                               clear_environment),
        cmocka_unit_test_setup(test_half_a_pair_of_credentials_is_none_and_no_secret_is_told,
                               clear_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
