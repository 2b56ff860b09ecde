/* SPDX-License-Identifier: Apache-2.0 */
/* Reading profiles and what they configure while one allocation after another fails: whole, or not at all. */
#include "../internal.h"
#include "support_fail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/dynalock-config-XXXXXX";

/* More lines than are room for at first. */
static int write_profile(void **state)
{
    int fd = mkstemp(path);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    (void)state;
    assert_non_null(file);
    assert_true(fputs("[default]\nregion = r\nca_bundle = c\nendpoint_url = http://h:1\n", file) >=
                0);
    for (int i = 0; i < 100; i++) {
        assert_true(fputs("[a]\nk = v\n", file) >= 0);
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(setenv("AWS_CONFIG_FILE", path, 1), 0);
    return setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
}

static int remove_profile(void **state)
{
    (void)state;
    return remove(path);
}

static int read_all(struct dlk_config *config, dynalock_error *error)
{
    static const dynalock_options options = {0};
    struct dlk_profiles *profiles = NULL;
    int code = dlk_profiles_read(&profiles, error);
    if (code != 0) {
        assert_null(profiles);
        return code;
    }
    code = dlk_config_read(config, &options, profiles, error);
    dlk_profiles_free(profiles);
    return code;
}

static void test_a_configuration_is_read_whole_or_not_at_all(void **state)
{
    bool failed = true;

    (void)state;
    for (unsigned nth = 1; failed; nth++) {
        struct dlk_config config = {0};
        dynalock_error error = {0};
        fail_arm(nth, 1);
        int code = read_all(&config, &error);
        failed = fail_disarm();
        assert_int_equal(code != 0, failed);
        assert_true(code == 0 || code == DYNALOCK_ERR_MEMORY || code == DYNALOCK_ERR_SYSTEM);
        assert_int_equal(error.code, code);
        assert_int_equal(config.url != NULL, code == 0);
        dlk_config_free(&config);
    }
    assert_true(fail_report("configuration") > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_configuration_is_read_whole_or_not_at_all),
    };
    fail_install();
    return cmocka_run_group_tests(tests, write_profile, remove_profile);
}
