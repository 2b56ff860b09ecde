/* SPDX-License-Identifier: Apache-2.0 */
/* Reading profiles and what they configure while one allocation after another fails: whole, or not at all. */
/* wrap: malloc calloc realloc strdup pthread_create eventfd timerfd_create getrandom */
/* wrap: curl_easy_init curl_multi_init curl_multi_add_handle curl_slist_append curl_easy_setopt */
/* wrap: curl_multi_setopt curl_multi_poll curl_multi_perform EVP_MD_fetch EVP_MAC_fetch EVP_MD_CTX_new */
/* wrap: EVP_MAC_CTX_new EVP_MAC_CTX_set_params EVP_DigestInit_ex EVP_DigestUpdate EVP_DigestFinal_ex */
/* wrap: EVP_MAC_init EVP_MAC_update EVP_MAC_final EVP_Digest */
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
    unsigned nth = 1;
    bool failed = true;

    (void)state;
    for (; failed; nth++) {
        struct dlk_config config = {0};
        dynalock_error error = {0};
        fail_arm(nth, 1);
        int code = read_all(&config, &error);
        failed = fail_disarm();
        assert_int_equal(code, failed ? DYNALOCK_ERR_MEMORY : 0);
        assert_int_equal(error.code, code);
        assert_int_equal(config.url != NULL, code == 0);
        dlk_config_free(&config);
    }
    assert_true(nth > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_configuration_is_read_whole_or_not_at_all),
    };
    fail_install();
    return cmocka_run_group_tests(tests, write_profile, remove_profile);
}
