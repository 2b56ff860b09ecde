/* SPDX-License-Identifier: Apache-2.0 */
/* The shared files: what the differential test against AWS's SDK does not generate. */
#include "../internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define FILE_MAX (1 << 20)

static char home[64];

static int make_home(void **state)
{
    char path[100];
    (void)state;
    (void)snprintf(home, sizeof home, "/tmp/dynalock-profile-XXXXXX");
    assert_non_null(mkdtemp(home));
    (void)snprintf(path, sizeof path, "%s/.aws", home);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(setenv("HOME", home, 1), 0);
    assert_int_equal(unsetenv("AWS_PROFILE"), 0);
    assert_int_equal(unsetenv("AWS_CONFIG_FILE"), 0);
    assert_int_equal(unsetenv("AWS_SHARED_CREDENTIALS_FILE"), 0);
    return 0;
}

static int remove_home(void **state)
{
    static const char *const files[] = {".aws/config", ".aws/credentials", "own", ".aws", ""};
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[100];
        (void)snprintf(path, sizeof path, "%s/%s", home, files[i]);
        (void)remove(path);
    }
    return 0;
}

static void write_bytes(const char *name, const void *bytes, size_t length)
{
    char path[100];
    (void)snprintf(path, sizeof path, "%s/%s", home, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static struct dlk_profiles *read_profiles(void)
{
    struct dlk_profiles *profiles = NULL;
    dynalock_error error = {0};
    if (dlk_profiles_read(&profiles, &error) != 0) {
        fail_msg("%s", error.message);
    }
    return profiles;
}

/* The files, NULL for one that is not there, as they are read. */
static struct dlk_profiles *profiles_of(const char *config, const char *credentials)
{
    if (config != NULL) {
        write_bytes(".aws/config", config, strlen(config));
    }
    if (credentials != NULL) {
        write_bytes(".aws/credentials", credentials, strlen(credentials));
    }
    return read_profiles();
}

static void check(const struct dlk_profiles *profiles, const char *name, const char *key,
                  const char *value)
{
    const char *found = dlk_profiles_get(profiles, DLK_SECTION_PROFILE, name, key);
    if (value == NULL || found == NULL) {
        assert_ptr_equal(found, value);
    } else {
        assert_string_equal(found, value);
    }
}

static void test_files_that_are_not_there_are_empty(void **state)
{
    struct dlk_profiles *profiles = read_profiles();
    (void)state;
    check(profiles, "default", "region", NULL);
    assert_false(dlk_profiles_has(profiles, DLK_SECTION_PROFILE, "default"));
    assert_string_equal(dlk_profiles_note(profiles), "");
    dlk_profiles_free(profiles);
    dlk_profiles_free(NULL);
}

static void test_a_file_that_cannot_be_read_is_empty_with_a_note(void **state)
{
    (void)state;
    assert_int_equal(setenv("AWS_CONFIG_FILE", home, 1), 0);
    struct dlk_profiles *profiles = profiles_of(NULL, "[default]\nregion = r\n");
    check(profiles, "default", "region", "r");
    assert_non_null(strstr(dlk_profiles_note(profiles), "cannot be read: it is a directory"));
    assert_non_null(strstr(dlk_profiles_note(profiles), home));
    dlk_profiles_free(profiles);
}

/* As nobody, where the tester is root, who may read all. */
static void test_a_file_that_may_not_be_read_is_empty_with_a_note(void **state)
{
    uid_t user = geteuid();
    (void)state;
    write_bytes(".aws/config", "[default]\nregion = r\n", 21);
    assert_int_equal(chmod(home, 0), 0);
    assert_int_equal(user == 0 ? setresuid(65534, 65534, user) : 0, 0);
    struct dlk_profiles *profiles = read_profiles();
    assert_int_equal(user == 0 ? setresuid(user, user, user) : 0, 0);
    assert_int_equal(chmod(home, 0700), 0);
    check(profiles, "default", "region", NULL);
    assert_non_null(strstr(dlk_profiles_note(profiles), "cannot be read: permission denied"));
    dlk_profiles_free(profiles);
}

static void test_a_missing_home_is_looked_up(void **state)
{
    struct dlk_profiles *profiles = NULL;
    (void)state;
    assert_int_equal(unsetenv("HOME"), 0);
    assert_int_equal(dlk_profiles_read(&profiles, NULL), 0);
    dlk_profiles_free(profiles);
}

static void test_a_home_of_endless_length_has_no_files(void **state)
{
    static char endless[10000];
    (void)state;
    memset(endless, 'h', sizeof endless - 1);
    endless[0] = '/';
    assert_int_equal(setenv("HOME", endless, 1), 0);
    dlk_profiles_free(read_profiles());
    assert_int_equal(setenv("AWS_CONFIG_FILE", endless, 1), 0);
    dlk_profiles_free(read_profiles());
}

static void test_variables_name_the_files_with_a_tilde_or_without(void **state)
{
    char path[100];
    (void)state;
    write_bytes("own", "[default]\nregion = r\n", 21);
    (void)snprintf(path, sizeof path, "%s/own", home);
    const char *const names[] = {path, "~/own"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(setenv("AWS_SHARED_CREDENTIALS_FILE", names[i], 1), 0);
        struct dlk_profiles *profiles = read_profiles();
        check(profiles, "default", "region", "r");
        dlk_profiles_free(profiles);
    }
    assert_int_equal(setenv("AWS_SHARED_CREDENTIALS_FILE", "~own", 1), 0);
    struct dlk_profiles *profiles = read_profiles();
    check(profiles, "default", "region", NULL);
    dlk_profiles_free(profiles);
}

static void test_the_credentials_file_comes_first_and_for_settings_the_other(void **state)
{
    struct dlk_profiles *profiles = profiles_of("[profile a]\nregion = c\nonly = c\n",
                                                "[a]\nregion = k\naws_access_key_id = k\n");
    (void)state;
    check(profiles, "a", "region", "k");
    check(profiles, "a", "only", "c");
    check(profiles, "a", "aws_access_key_id", "k");
    assert_string_equal(dlk_profiles_setting(profiles, "a", "region"), "c");
    assert_string_equal(dlk_profiles_setting(profiles, "a", "aws_access_key_id"), "k");
    assert_null(dlk_profiles_setting(profiles, "a", "none"));
    dlk_profiles_free(profiles);
}

static void test_profile_default_hides_all_of_default_in_either_order(void **state)
{
    static const char *const texts[] = {
        "[profile default]\nregion = p\n[default]\nregion = d\nother = d\n",
        "[default]\nregion = d\nother = d\n[profile default]\nregion = p\n",
    };
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct dlk_profiles *profiles = profiles_of(texts[i], NULL);
        check(profiles, "default", "region", "p");
        check(profiles, "default", "other", NULL);
        dlk_profiles_free(profiles);
    }
    struct dlk_profiles *profiles = profiles_of("[profile default]\n[default]\nregion = d\n", NULL);
    check(profiles, "default", "region", "d");
    dlk_profiles_free(profiles);
}

static void test_a_header_with_a_comment_right_behind_it_is_one(void **state)
{
    struct dlk_profiles *profiles =
        profiles_of("[default]\nregion = d\n[profile a]#x\nregion = a\n[profile b];x\nregion = b\n",
                    "[a];x\naws_access_key_id = k\n");
    (void)state;
    check(profiles, "default", "region", "d");
    check(profiles, "a", "region", "a");
    check(profiles, "b", "region", "b");
    check(profiles, "a", "aws_access_key_id", "k");
    dlk_profiles_free(profiles);
}

static void test_what_follows_a_broken_header_is_not_taken_for_another_profiles(void **state)
{
    static const char *const headers[] = {"[b", "[", "[b] x", "[b = c", "[]", "[other b]", "[[;"};
    (void)state;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        char text[200];
        (void)snprintf(text, sizeof text, "[a]\nregion = a\n%s\nregion = b\n[c]\nregion = c\n",
                       headers[i]);
        struct dlk_profiles *profiles = profiles_of(NULL, text);
        check(profiles, "a", "region", "a");
        check(profiles, "b", "region", NULL);
        check(profiles, "c", "region", "c");
        dlk_profiles_free(profiles);
    }
}

static void test_a_profile_is_there_by_its_header_alone(void **state)
{
    struct dlk_profiles *profiles =
        profiles_of("[profile a]\n[services s]\n[sso-session t]\n[profile]\n", "[b]\n");
    (void)state;
    assert_true(dlk_profiles_has(profiles, DLK_SECTION_PROFILE, "a"));
    assert_true(dlk_profiles_has(profiles, DLK_SECTION_PROFILE, "b"));
    assert_true(dlk_profiles_has(profiles, DLK_SECTION_SERVICES, "s"));
    assert_true(dlk_profiles_has(profiles, DLK_SECTION_SSO_SESSION, "t"));
    assert_false(dlk_profiles_has(profiles, DLK_SECTION_PROFILE, "s"));
    assert_false(dlk_profiles_has(profiles, DLK_SECTION_PROFILE, ""));
    assert_false(dlk_profiles_has(profiles, DLK_SECTION_SERVICES, "a"));
    check(profiles, "a", "region", NULL);
    dlk_profiles_free(profiles);
}

static void test_services_and_sessions_come_from_the_configuration_file_alone(void **state)
{
    struct dlk_profiles *profiles =
        profiles_of("[sso-session a]\nsso_region = c\n",
                    "[sso-session a]\nsso_region = k\n[services s]\nsts =\n  endpoint_url = u\n");
    (void)state;
    assert_string_equal(dlk_profiles_get(profiles, DLK_SECTION_SSO_SESSION, "a", "sso_region"),
                        "c");
    assert_false(dlk_profiles_has(profiles, DLK_SECTION_SERVICES, "s"));
    dlk_profiles_free(profiles);
}

static void test_the_profile_is_that_of_the_option_or_the_environment(void **state)
{
    dynalock_options options = {.profile = "o"};
    (void)state;
    assert_string_equal(dlk_profiles_chosen(&(dynalock_options){0}), "default");
    assert_int_equal(setenv("AWS_PROFILE", "e", 1), 0);
    assert_string_equal(dlk_profiles_chosen(&(dynalock_options){0}), "e");
    assert_string_equal(dlk_profiles_chosen(&options), "o");
    options.profile = "";
    assert_string_equal(dlk_profiles_chosen(&options), "e");
}

/* ---- Sizes ---- */

/* A profile whose secret makes the file so large. */
static char *large_text(size_t size)
{
    static const char start[] = "[default]\naws_secret_access_key = ";
    char *text = malloc(size);
    assert_non_null(text);
    memset(text, 's', size);
    memcpy(text, start, sizeof start - 1);
    return text;
}

static void test_a_line_may_be_as_long_as_the_file(void **state)
{
    char *text = large_text(FILE_MAX);
    (void)state;
    write_bytes(".aws/credentials", text, FILE_MAX);
    free(text);
    struct dlk_profiles *profiles = read_profiles();
    const char *secret =
        dlk_profiles_get(profiles, DLK_SECTION_PROFILE, "default", "aws_secret_access_key");
    assert_non_null(secret);
    assert_int_equal(strlen(secret), FILE_MAX - 34);
    dlk_profiles_free(profiles);
}

static void check_refused(const char *words)
{
    struct dlk_profiles *profiles = NULL;
    dynalock_error error = {0};
    assert_int_equal(dlk_profiles_read(&profiles, &error), DYNALOCK_ERR_CONFIG);
    assert_null(profiles);
    assert_non_null(strstr(error.message, words));
    assert_null(strstr(error.message, "sss"));
}

static void test_a_file_over_a_megabyte_is_refused_whatever_is_in_it(void **state)
{
    char *text = large_text(FILE_MAX + 1);
    (void)state;
    write_bytes(".aws/credentials", text, FILE_MAX + 1);
    free(text);
    check_refused("is larger than 1 MB");
    assert_int_equal(setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1), 0);
    assert_int_equal(setenv("AWS_CONFIG_FILE", "/dev/zero", 1), 0);
    check_refused("is larger than 1 MB");
}

static void test_a_file_with_nul_bytes_is_refused_and_not_quoted(void **state)
{
    static const char text[] = "[default]\naws_secret_access_key = sss\0sss\nregion = r\n";
    static const char utf16[] = "[\0d\0e\0f\0a\0u\0l\0t\0]\0\n";
    (void)state;
    write_bytes(".aws/config", text, sizeof text - 1);
    check_refused("has a NUL byte");
    write_bytes(".aws/config", utf16, sizeof utf16 - 1);
    check_refused("UTF-16");
}

static void test_a_hundred_thousand_sections_are_read_and_searched(void **state)
{
    struct dlk_buffer text;
    (void)state;
    dlk_buffer_init(&text, FILE_MAX);
    for (int64_t i = 0; i < 100000; i++) {
        dlk_buffer_text(&text, "[");
        dlk_buffer_int(&text, i % 50000);
        dlk_buffer_text(&text, "]\n");
    }
    dlk_buffer_text(&text, "a=1\n[7]\nb=2\n[7]\nb=3\n");
    assert_true(dlk_buffer_ok(&text));
    write_bytes(".aws/credentials", text.data, text.length);
    dlk_buffer_free(&text);
    struct dlk_profiles *profiles = read_profiles();
    check(profiles, "49999", "a", "1");
    check(profiles, "7", "b", "3");
    check(profiles, "8", "b", NULL);
    assert_true(dlk_profiles_has(profiles, DLK_SECTION_PROFILE, "0"));
    dlk_profiles_free(profiles);
}

static void test_no_text_is_read_beyond_its_end(void **state)
{
    static const char letters[] = "[[]]==#;\"' \t\r\n\n\nprofile services.a";
    uint64_t random = 88172645463325252U;
    (void)state;
    for (int i = 0; i < 800; i++) {
        char text[120] = "";
        size_t length = (size_t)i % sizeof text;
        for (size_t k = 0; k < length; k++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            text[k] = letters[random % (sizeof letters - 1)];
        }
        write_bytes(i % 2 == 0 ? ".aws/config" : ".aws/credentials", text, length);
        struct dlk_profiles *profiles = read_profiles();
        (void)dlk_profiles_get(profiles, DLK_SECTION_PROFILE, "default", "a.a");
        (void)dlk_profiles_has(profiles, DLK_SECTION_SERVICES, "a");
        dlk_profiles_free(profiles);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_home, remove_home)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_files_that_are_not_there_are_empty),
        TEST(test_a_file_that_cannot_be_read_is_empty_with_a_note),
        TEST(test_a_file_that_may_not_be_read_is_empty_with_a_note),
        TEST(test_a_missing_home_is_looked_up),
        TEST(test_a_home_of_endless_length_has_no_files),
        TEST(test_variables_name_the_files_with_a_tilde_or_without),
        TEST(test_the_credentials_file_comes_first_and_for_settings_the_other),
        TEST(test_profile_default_hides_all_of_default_in_either_order),
        TEST(test_a_header_with_a_comment_right_behind_it_is_one),
        TEST(test_what_follows_a_broken_header_is_not_taken_for_another_profiles),
        TEST(test_a_profile_is_there_by_its_header_alone),
        TEST(test_services_and_sessions_come_from_the_configuration_file_alone),
        TEST(test_the_profile_is_that_of_the_option_or_the_environment),
        TEST(test_a_line_may_be_as_long_as_the_file),
        TEST(test_a_file_over_a_megabyte_is_refused_whatever_is_in_it),
        TEST(test_a_file_with_nul_bytes_is_refused_and_not_quoted),
        TEST(test_a_hundred_thousand_sections_are_read_and_searched),
        TEST(test_no_text_is_read_beyond_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
