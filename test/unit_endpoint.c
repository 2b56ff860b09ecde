/* SPDX-License-Identifier: Apache-2.0 */
/* Hosts of services, and names of regions; config.test.mjs has every region of AWS's own list. */
#include "../internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void test_each_partition_has_its_suffixes(void **state)
{
    static const struct {
        const char *service, *region;
        bool fips, dual_stack;
        const char *url;
    } cases[] = {
        {"dynamodb", "us-east-1", false, false, "https://dynamodb.us-east-1.amazonaws.com/"},
        {"dynamodb", "us-east-1", true, false, "https://dynamodb-fips.us-east-1.amazonaws.com/"},
        {"dynamodb", "us-east-1", false, true, "https://dynamodb.us-east-1.api.aws/"},
        {"dynamodb", "us-east-1", true, true, "https://dynamodb-fips.us-east-1.api.aws/"},
        {"sts", "us-gov-west-1", true, false, "https://sts.us-gov-west-1.amazonaws.com/"},
        {"sts", "us-gov-west-1", true, true, "https://sts-fips.us-gov-west-1.api.aws/"},
        {"sts", "aws-global", false, false, "https://sts.amazonaws.com/"},
        {"oidc", "cn-north-1", true, false, "https://oidc-fips.cn-north-1.amazonaws.com.cn/"},
        {"portal.sso", "cn-north-1", false, true,
         "https://portal.sso.cn-north-1.api.amazonwebservices.com.cn/"},
        {"dynamodb", "eusc-de-east-1", false, true,
         "https://dynamodb.eusc-de-east-1.api.amazonwebservices.eu/"},
        {"dynamodb", "us-isob-east-1", false, true,
         "https://dynamodb.us-isob-east-1.api.aws.scloud/"},
        {"dynamodb", "nowhere", false, false, "https://dynamodb.nowhere.amazonaws.com/"},
        {"dynamodb", "local", false, false, "http://localhost:8000/"},
        {"sts", "local", false, false, "https://sts.local.amazonaws.com/"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char url[DLK_URL_SIZE];
        assert_int_equal(dlk_endpoint_make(cases[i].service, cases[i].region, cases[i].fips,
                                           cases[i].dual_stack, url, sizeof url, NULL),
                         0);
        assert_string_equal(url, cases[i].url);
    }
}

static void test_dynamodb_local_has_no_variants(void **state)
{
    char url[DLK_URL_SIZE];
    dynalock_error error;

    (void)state;
    assert_int_equal(dlk_endpoint_make("dynamodb", "local", true, false, url, sizeof url, &error),
                     DYNALOCK_ERR_CONFIG);
    assert_non_null(strstr(error.message, "FIPS"));
    assert_int_equal(dlk_endpoint_make("dynamodb", "local", false, true, url, sizeof url, &error),
                     DYNALOCK_ERR_CONFIG);
    assert_non_null(strstr(error.message, "dual-stack"));
}

static void test_a_url_that_does_not_fit_is_refused(void **state)
{
    char url[41];

    (void)state;
    assert_int_equal(
        dlk_endpoint_make("dynamodb", "us-east-1", false, false, url, sizeof url, NULL),
        DYNALOCK_ERR_CONFIG);
}

static void test_a_region_of_old_style_asks_for_fips(void **state)
{
    static const char *const cases[][2] = {
        {"fips-us-east-1", "us-east-1"},     {"us-gov-west-1-fips", "us-gov-west-1"},
        {"fips-aws-global", "us-east-1"},    {"aws-fips", "us-east-1"},
        {"fips-dkr-us-west-2", "us-west-2"}, {"fips-prod-eu-west-1", "eu-west-1"},
        {"a-fips-fips", "a-fips"},           {"fips-fips-a", "fips-a"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char region[DLK_REGION_SIZE];
        bool fips = false;
        assert_int_equal(dlk_endpoint_region(cases[i][0], region, &fips, NULL), 0);
        assert_string_equal(region, cases[i][1]);
        assert_true(fips);
    }
}

static void test_another_region_changes_nothing(void **state)
{
    static const char *const names[] = {
        "us-east-1",
        "a",
        "1",
        "US-East-1",
        "xfips-a",
        "a-fipsx",
        "x23456789012345678901234567890123456789012345678901234567890123",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(names); i++) {
        char region[DLK_REGION_SIZE];
        bool fips = false;
        assert_int_equal(dlk_endpoint_region(names[i], region, &fips, NULL), 0);
        assert_string_equal(region, names[i]);
        assert_false(fips);
        fips = true;
        assert_int_equal(dlk_endpoint_region(names[i], region, &fips, NULL), 0);
        assert_true(fips);
    }
}

static void test_what_cannot_be_a_label_of_a_host_is_no_region(void **state)
{
    static const char *const names[] = {
        "",
        "-",
        "-a",
        "a-",
        "fips-",
        "-fips",
        "fips--fips",
        "a.b",
        "a b",
        "a/",
        "*",
        "a_b",
        "\xC3\xA4",
        "x234567890123456789012345678901234567890123456789012345678901234",
        "fips-x2345678901234567890123456789012345678901234567890123456789012345678901234567890",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(names); i++) {
        char region[DLK_REGION_SIZE];
        bool fips = false;
        dynalock_error error;
        if (dlk_endpoint_region(names[i], region, &fips, &error) != DYNALOCK_ERR_CONFIG) {
            fail_msg("taken: %s", names[i]);
        }
        assert_non_null(strstr(error.message, "is not the name of a region"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_partition_has_its_suffixes),
        cmocka_unit_test(test_dynamodb_local_has_no_variants),
        cmocka_unit_test(test_a_url_that_does_not_fit_is_refused),
        cmocka_unit_test(test_a_region_of_old_style_asks_for_fips),
        cmocka_unit_test(test_another_region_changes_nothing),
        cmocka_unit_test(test_what_cannot_be_a_label_of_a_host_is_no_region),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
