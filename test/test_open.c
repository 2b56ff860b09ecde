/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a store: arguments, region, endpoint, credentials, from options and environment. */
#include "support.h"

#define TOKEN "FwoGZXIvYXdzEXAMPLEtoken/+=="

static const char *const variables[] = {
    "AWS_REGION",        "AWS_DEFAULT_REGION",        "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN", "AWS_EC2_METADATA_DISABLED",
};

static int clear_environment(void **state)
{
    for (size_t i = 0; i < COUNT(variables); i++) {
        unsetenv(variables[i]);
    }
    return bench_clear(state);
}

static void set(const char *name, const char *value)
{
    assert_int_equal(setenv(name, value, 1), 0);
}

static void set_keys(void)
{
    set("AWS_ACCESS_KEY_ID", RIG_KEY_ID);
    set("AWS_SECRET_ACCESS_KEY", RIG_SECRET);
}

/* Opening fails so, leaves the store alone, and says no secret. */
static void refuse(const dynalock_options *options, int code, const char *word)
{
    dynalock_store *const untouched = (dynalock_store *)&failure;
    dynalock_store *store = untouched;
    check(dynalock_open("t", "p", options, &store, &failure), code);
    assert_ptr_equal(store, untouched);
    assert_int_equal(failure.code, code);
    assert_contains(failure.message, word);
    assert_null(strstr(failure.message, "HUSH"));
    assert_int_equal(dynalock_open("t", "p", options, &store, NULL), code);
}

/* Opening works, and leaves the error alone. */
static dynalock_store *accept(const char *table, const char *partition,
                              const dynalock_options *options)
{
    dynalock_store *store = NULL;
    dynalock_error before;
    memset(&failure, 0x5A, sizeof failure);
    before = failure;
    int code = dynalock_open(table, partition, options, &store, &failure);
    if (code != DYNALOCK_OK) {
        fail_msg("%s", failure.message);
    }
    assert_memory_equal(&failure, &before, sizeof failure);
    assert_non_null(store);
    return store;
}

/* A get of a key that is not there, with what open finds in options and environment. */
static void get_nothing(struct bench *b, const dynalock_options *options, int code)
{
    dynalock_store *store = accept(b->table, b->partition, options);
    dynalock_kv *kv = NULL;
    check(dynalock_get(store, "nothing", NULL, &kv, &failure), code);
    assert_null(kv);
    assert_int_equal(dynalock_close(store), 0);
}

static char *repeat(char c, size_t count)
{
    char *text = test_malloc(count + 1);
    memset(text, c, count);
    text[count] = '\0';
    return text;
}

/* ---- Arguments ------------------------------------------------------------------------------- */

static void test_table_and_partition_are_checked(void **state)
{
    dynalock_options options = bench_options(*state);
    char *longest = repeat('p', 2048), *longer = repeat('p', 2049);
    const struct {
        const char *table, *partition;
    } bad[] = {{NULL, "p"},   {"", "p"},          {"t", NULL},    {"t", ""},
               {"t", longer}, {"t", "a\xC0\xAF"}, {"t", "a\xFF"}, {"t\xFF", "p"}};
    dynalock_store *store = NULL;
    for (size_t i = 0; i < COUNT(bad); i++) {
        check(dynalock_open(bad[i].table, bad[i].partition, &options, &store, &failure),
              DYNALOCK_ERR_ARGUMENT);
        assert_null(store);
    }
    check(dynalock_open("t", "p", &options, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    const char *const good[] = {"p", longest, "a b/c\"\\\n\x01", "\xE2\x82\xAC\xF0\x9F\x94\x92"};
    for (size_t i = 0; i < COUNT(good); i++) {
        dynalock_close(accept("t", good[i], &options));
    }
    test_free(longest);
    test_free(longer);
}

static void test_options_out_of_range_are_refused(void **state)
{
    const dynalock_options good = bench_options(*state);
    for (int i = 0; i < 7 + (int)COUNT(good.reserved); i++) {
        dynalock_options options = good;
        int64_t *const times[] = {&options.timeout_ms, &options.attempt_timeout_ms,
                                  &options.connect_timeout_ms, &options.close_timeout_ms};
        if (i < 4) {
            *times[i] = -1;
        } else if (i == 4) {
            options.max_attempts = -1;
        } else if (i == 5) {
            options.max_connections = -1;
        } else if (i == 6) {
            options.flags = 2;
        } else {
            options.reserved[i - 7] = 1;
        }
        refuse(&options, DYNALOCK_ERR_ARGUMENT, "");
    }
}

static void test_close_takes_null(void **state)
{
    (void)state;
    assert_int_equal(dynalock_close(NULL), 0);
}

static void test_every_function_refuses_a_null_store(void **state)
{
    dynalock_kv *kv = NULL, **items = NULL;
    dynalock_lock *lock = NULL;
    dynalock_lock_info *infos = NULL;
    dynalock_counters counters;
    dynalock_store_info info;
    size_t count = 0;
    bool exists = false;
    (void)state;
    check(dynalock_put(NULL, "k", dynalock_none(), NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_get(NULL, "k", NULL, &kv, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_exists(NULL, "k", NULL, &exists, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_delete(NULL, "k", &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_list(NULL, "k", NULL, &items, &count, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_atomic_put(NULL, "k", dynalock_none(), NULL, NULL, &kv, &failure),
          DYNALOCK_ERR_ARGUMENT);
    check(dynalock_atomic_delete(NULL, "k", NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_table_verify(NULL, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_table_create(NULL, 0, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_lock_new(NULL, "k", NULL, &lock, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_locks(NULL, &infos, &count, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_store_counters(NULL, &counters), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_store_describe(NULL, &info, &failure), DYNALOCK_ERR_ARGUMENT);
}

static void test_a_store_tells_what_it_has_settled_on(void **state)
{
    struct bench *b = *state;
    dynalock_options options = bench_options(b);
    dynalock_store *store = bench_open(b, &options);
    dynalock_store_info info;
    bool exists = false;

    check(dynalock_store_describe(store, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_store_describe(store, &info, &failure), 0);
    assert_string_equal(info.region, options.region);
    assert_memory_equal(info.endpoint, options.endpoint, strlen(options.endpoint));
    assert_string_equal(info.profile, "default");
    assert_string_equal(info.credentials, "options");
    assert_false(info.clock_known);
    check(dynalock_exists(store, "k", NULL, &exists, &failure), 0);
    check(dynalock_store_describe(store, &info, &failure), 0);
    assert_true(info.clock_known);
    assert_true(info.clock_ahead_min_ms <= 0 && info.clock_ahead_max_ms >= 0);
    assert_true(info.clock_ahead_max_ms - info.clock_ahead_min_ms < 60000);
    dynalock_close(store);
}

static void test_what_was_passed_in_is_copied(void **state)
{
    struct bench *b = *state;
    dynalock_options options = bench_options(b);
    char table[80], partition[40], region[20], endpoint[40], id[40], secret[60];
    snprintf(table, sizeof table, "%s", b->table);
    snprintf(partition, sizeof partition, "%s", b->partition);
    snprintf(region, sizeof region, "%s", options.region);
    snprintf(endpoint, sizeof endpoint, "%s", options.endpoint);
    snprintf(id, sizeof id, "%s", options.access_key_id);
    snprintf(secret, sizeof secret, "%s", options.secret_access_key);
    options = (dynalock_options){
        .region = region, .endpoint = endpoint, .access_key_id = id, .secret_access_key = secret};
    dynalock_store *store = accept(table, partition, &options);
    memset(table, 'x', sizeof table);
    memset(partition, 'x', sizeof partition);
    memset(region, 'x', sizeof region);
    memset(endpoint, 'x', sizeof endpoint);
    memset(id, 'x', sizeof id);
    memset(secret, 'x', sizeof secret);
    memset(&options, 'x', sizeof options);
    check(dynalock_delete(store, "nothing", &failure), DYNALOCK_OK);
    dynalock_close(store);
}

/* ---- Region and endpoint --------------------------------------------------------------------- */

static void test_without_a_region_there_is_no_store(void **state)
{
    dynalock_options options = bench_options(*state);
    options.region = NULL;
    refuse(&options, DYNALOCK_ERR_CONFIG, "region");
    refuse(NULL, DYNALOCK_ERR_CONFIG, "region");
    set("AWS_REGION", "");
    set("AWS_DEFAULT_REGION", "");
    refuse(&options, DYNALOCK_ERR_CONFIG, "region");
}

static void test_bad_region_names_are_refused(void **state)
{
    static const char *const bad[] = {"us east-1",    "us-east-1/x", "a.example#",
                                      "x@y",          "us-east-1\n", "\xC3\xBC",
                                      "us-east-1:80", "..",          "?"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        dynalock_options options = bench_options(*state);
        options.region = bad[i];
        options.endpoint = NULL;
        refuse(&options, DYNALOCK_ERR_CONFIG, "region");
        options.region = NULL;
        set("AWS_REGION", bad[i]);
        refuse(&options, DYNALOCK_ERR_CONFIG, "region");
    }
}

static void test_bad_endpoints_are_refused(void **state)
{
    static const char *const bad[] = {
        "127.0.0.1:8000",
        "localhost",
        "//localhost",
        "ftp://localhost",
        "file:///etc/passwd",
        "http:/localhost",
        "http://",
        "http:///",
        "https://:8000",
        "http://h:",
        "http://h:0",
        "http://h:65536",
        "http://h:99999999999999999999",
        "http://h:80a",
        "http://h:-1",
        "http://h/path",
        "http://h/?q",
        "http://h?q",
        "http://h#f",
        "http://user:HUSH@h",
        "http://h h",
        " http://h",
        "http://h\r\nX-Evil: 1",
        "http://[::1",
        "http://[::1]x",
        "http://[::1]:x",
        "http://[]",
        "http://::1",
        "http://h:1:2",
        "http://\xC3\xBC",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        dynalock_options options = bench_options(*state);
        options.endpoint = bad[i];
        refuse(&options, DYNALOCK_ERR_CONFIG, "endpoint");
        options.endpoint = NULL;
        set("AWS_ENDPOINT_URL", bad[i]);
        refuse(&options, DYNALOCK_ERR_CONFIG, "endpoint");
    }
}

static void test_good_endpoints_are_taken(void **state)
{
    static const char *const good[] = {
        NULL,
        "http://h",
        "http://h/",
        "https://h:443",
        "http://[::1]:8000",
        "https://[::1]",
        "http://H.example",
        "http://h:65535",
        "http://a-b.c_d.example:1",
    };
    for (size_t i = 0; i < COUNT(good); i++) {
        dynalock_options options = bench_options(*state);
        options.endpoint = good[i];
        dynalock_close(accept("t", "p", &options));
    }
    dynalock_options local = bench_options(*state);
    local.region = "local";
    local.endpoint = NULL;
    dynalock_close(accept("t", "p", &local));
}

static void test_an_endpoint_may_be_written_in_other_ways(void **state)
{
    struct bench *b = *state;
    dynalock_options options = bench_options(b);
    const char *port = strrchr(b->endpoint, ':');
    const char *const hosts[] = {"http://127.0.0.1", "http://localhost", "http://LocalHost"};
    for (size_t i = 0; i < COUNT(hosts); i++) {
        char endpoint[80];
        snprintf(endpoint, sizeof endpoint, "%s%s/", hosts[i], port);
        options.endpoint = endpoint;
        get_nothing(b, &options, DYNALOCK_ERR_NOT_FOUND);
    }
    assert_int_equal(bench_count(b, "GetItem"), 3);
}

static void test_the_most_special_endpoint_wins(void **state)
{
    struct bench *b = *state;
    dynalock_options options = bench_options(b);
    (void)bench_direct(b);
    int other = b->direct_proxy;
    options.endpoint = NULL;
    set("AWS_ENDPOINT_URL", b->endpoint);
    get_nothing(b, &options, DYNALOCK_ERR_NOT_FOUND);
    assert_int_equal(bench_count(b, "GetItem"), 1);
    set("AWS_ENDPOINT_URL_DYNAMODB", b->endpoint);
    set("AWS_ENDPOINT_URL", b->direct_endpoint);
    get_nothing(b, &options, DYNALOCK_ERR_NOT_FOUND);
    assert_int_equal(bench_count(b, "GetItem"), 2);
    set("AWS_ENDPOINT_URL_DYNAMODB", b->direct_endpoint);
    options.endpoint = b->endpoint;
    get_nothing(b, &options, DYNALOCK_ERR_NOT_FOUND);
    assert_int_equal(bench_count(b, "GetItem"), 3);
    b->rig->proxy = other;
    assert_int_equal(bench_count(b, "GetItem"), 0);
    b->rig->proxy = b->proxy;
}

static void test_the_most_special_region_wins(void **state)
{
    struct bench *b = *state;
    dynalock_options options = bench_options(b);
    rig_do(b->rig, "'cmd':'set','region':'eu-central-1'");
    options.region = NULL;
    set("AWS_DEFAULT_REGION", "eu-central-1");
    get_nothing(b, &options, DYNALOCK_ERR_NOT_FOUND);
    set("AWS_REGION", "eu-central-1");
    set("AWS_DEFAULT_REGION", "us-west-2");
    get_nothing(b, &options, DYNALOCK_ERR_NOT_FOUND);
    set("AWS_REGION", "us-west-2");
    get_nothing(b, &options, DYNALOCK_ERR_NOT_AUTHORIZED);
    options.region = "eu-central-1";
    get_nothing(b, &options, DYNALOCK_ERR_NOT_FOUND);
    rig_do(b->rig, "'cmd':'set','region':'us-east-1'");
}

/* ---- Credentials ----------------------------------------------------------------------------- */

static void test_without_credentials_there_is_no_store(void **state)
{
    dynalock_options options = bench_options(*state);
    options.access_key_id = options.secret_access_key = NULL;
    set("AWS_EC2_METADATA_DISABLED", "true");
    refuse(&options, DYNALOCK_ERR_CREDENTIALS, "AWS_ACCESS_KEY_ID");
    set("AWS_ACCESS_KEY_ID", "");
    set("AWS_SECRET_ACCESS_KEY", "");
    refuse(&options, DYNALOCK_ERR_CREDENTIALS, "AWS_ACCESS_KEY_ID");
}

static void test_half_credentials_in_the_environment_are_refused(void **state)
{
    dynalock_options options = bench_options(*state);
    options.access_key_id = options.secret_access_key = NULL;
    set("AWS_ACCESS_KEY_ID", "AKID");
    refuse(&options, DYNALOCK_ERR_CREDENTIALS, "secret");
    unsetenv("AWS_ACCESS_KEY_ID");
    set("AWS_SECRET_ACCESS_KEY", "theHUSH");
    refuse(&options, DYNALOCK_ERR_CREDENTIALS, "key id");
}

static void test_half_credentials_in_the_options_are_refused(void **state)
{
    dynalock_options options = bench_options(*state);
    set_keys();
    options.secret_access_key = NULL;
    refuse(&options, DYNALOCK_ERR_CREDENTIALS, "secret");
    options.secret_access_key = "";
    refuse(&options, DYNALOCK_ERR_CREDENTIALS, "secret");
    options.access_key_id = NULL;
    options.secret_access_key = "theHUSH";
    refuse(&options, DYNALOCK_ERR_CREDENTIALS, "key id");
}

static void test_credentials_that_no_header_can_carry_are_refused(void **state)
{
    const dynalock_options good = bench_options(*state);
    static const char *const bad[] = {"HUSH\n", "HUSH\r\nX: y", " HUSH", "HUSH\x7F", "HUSH\xC3"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        dynalock_options options = good;
        options.access_key_id = bad[i];
        refuse(&options, DYNALOCK_ERR_CREDENTIALS, "");
        options = good;
        options.secret_access_key = bad[i];
        refuse(&options, DYNALOCK_ERR_CREDENTIALS, "");
        options = good;
        options.session_token = bad[i];
        refuse(&options, DYNALOCK_ERR_CREDENTIALS, "");
    }
}

static void test_keys_of_the_environment_are_used(void **state)
{
    struct bench *b = *state;
    dynalock_options options = bench_options(b);
    options.access_key_id = options.secret_access_key = NULL;
    set_keys();
    get_nothing(b, &options, DYNALOCK_ERR_NOT_FOUND);
}

static void test_keys_of_the_options_win(void **state)
{
    struct bench *b = *state;
    dynalock_options options = bench_options(b);
    set("AWS_ACCESS_KEY_ID", "AKIDOTHER");
    set("AWS_SECRET_ACCESS_KEY", "other");
    set("AWS_SESSION_TOKEN", "not/of/these/keys");
    get_nothing(b, &options, DYNALOCK_ERR_NOT_FOUND);
}

static void test_the_environment_is_read_by_open_only(void **state)
{
    struct bench *b = *state;
    set_keys();
    set("AWS_REGION", RIG_REGION);
    set("AWS_ENDPOINT_URL", b->endpoint);
    dynalock_store *store = accept(b->table, b->partition, NULL);
    set("AWS_ACCESS_KEY_ID", "x");
    set("AWS_SECRET_ACCESS_KEY", "x");
    set("AWS_REGION", "x");
    set("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    check(dynalock_delete(store, "nothing", &failure), DYNALOCK_OK);
    dynalock_close(store);
}

static void test_a_wrong_secret_shows_with_the_first_operation(void **state)
{
    struct bench *b = *state;
    dynalock_options options = bench_options(b);
    options.secret_access_key = "wrongHUSH";
    get_nothing(b, &options, DYNALOCK_ERR_NOT_AUTHORIZED);
    assert_non_null(strstr(failure.name, "Signature"));
    assert_null(strstr(failure.message, "HUSH"));
}

static void test_a_session_token_is_sent_and_signed(void **state)
{
    struct bench *b = *state;
    dynalock_options options = bench_options(b);
    rig_do(b->rig, "'cmd':'set','tokens':{'%s':'%s'}", RIG_KEY_ID, TOKEN);
    get_nothing(b, &options, DYNALOCK_ERR_NOT_AUTHORIZED);
    options.session_token = "other";
    get_nothing(b, &options, DYNALOCK_ERR_NOT_AUTHORIZED);
    options.session_token = TOKEN;
    get_nothing(b, &options, DYNALOCK_ERR_NOT_FOUND);
    options.access_key_id = options.secret_access_key = options.session_token = NULL;
    set_keys();
    set("AWS_SESSION_TOKEN", TOKEN);
    get_nothing(b, &options, DYNALOCK_ERR_NOT_FOUND);
    rig_do(b->rig, "'cmd':'set','tokens':{}");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, clear_environment, bench_violations)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_table_and_partition_are_checked),
        TEST(test_options_out_of_range_are_refused),
        TEST(test_close_takes_null),
        TEST(test_every_function_refuses_a_null_store),
        TEST(test_a_store_tells_what_it_has_settled_on),
        TEST(test_what_was_passed_in_is_copied),
        TEST(test_without_a_region_there_is_no_store),
        TEST(test_bad_region_names_are_refused),
        TEST(test_bad_endpoints_are_refused),
        TEST(test_good_endpoints_are_taken),
        TEST(test_an_endpoint_may_be_written_in_other_ways),
        TEST(test_the_most_special_endpoint_wins),
        TEST(test_the_most_special_region_wins),
        TEST(test_without_credentials_there_is_no_store),
        TEST(test_half_credentials_in_the_environment_are_refused),
        TEST(test_half_credentials_in_the_options_are_refused),
        TEST(test_credentials_that_no_header_can_carry_are_refused),
        TEST(test_keys_of_the_environment_are_used),
        TEST(test_keys_of_the_options_win),
        TEST(test_the_environment_is_read_by_open_only),
        TEST(test_a_wrong_secret_shows_with_the_first_operation),
        TEST(test_a_session_token_is_sent_and_signed),
    };

    return cmocka_run_group_tests(tests, bench_setup, bench_teardown);
}
