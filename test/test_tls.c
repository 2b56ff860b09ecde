/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS as nginx speaks it: whom the client trusts, what it refuses and how it says so; connections that the server
 * closes between two requests; proxies of the environment. What OpenSSL reads but once is played by this program anew:
 * test_tls ROLE ENDPOINT CA-FILE TABLE PARTITION.
 */
#include "support_lock.h"
#include "support_tls.h"

#include <curl/curl.h>
#include <errno.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* All protocols, whatever the system's configuration of OpenSSL says, on both sides. */
#define WEAK "ssl_ciphers ALL:@SECLEVEL=0; "

static struct tls_site sites[] = {
    {.name = "good"},
    {.name = "named", .names = "DNS:localhost"},
    {.name = "modern", .directives = "ssl_protocols TLSv1.3;"},
    {.name = "usual", .directives = "ssl_protocols TLSv1.2;"},
    {.name = "unknown", .authority = "stranger"},
    {.name = "alone", .authority = "self"},
    {.name = "elsewhere", .names = "DNS:elsewhere.invalid,IP:127.0.0.2"},
    {.name = "expired", .from_s = -7200, .until_s = -3600},
    {.name = "early", .from_s = 3600},
    {.name = "old", .directives = WEAK "ssl_protocols TLSv1;"},
    {.name = "older", .directives = WEAK "ssl_protocols TLSv1.1;"},
    {.name = "once", .directives = "keepalive_requests 1;"},
    {.name = "thrice", .directives = "keepalive_requests 3;"},
    {.name = "hasty", .directives = "keepalive_timeout 40ms;"},
    /* In front of the service that hands them out, which knows its own name alone. */
    {.name = "credentials",
     .directives = "proxy_set_header Host $proxy_host; proxy_set_header Connection close;"},
};

static struct tls_farm farm;
static struct rig *metadata; /* its proxy is that service */

static int tls_setup(void **state)
{
    struct bench *b = bench_new();
    metadata = rig_open();
    json_t *made = rig(metadata, "'cmd':'metadata'");
    metadata->proxy = (int)json_integer_value(json_object_get(made, "proxy"));
    sites[COUNT(sites) - 1].port = (int)json_integer_value(json_object_get(made, "port"));
    json_decref(made);
    tls_start(&farm, sites, COUNT(sites), atoi(strrchr(b->endpoint, ':') + 1));
    *state = b;
    return 0;
}

static int tls_teardown(void **state)
{
    tls_end(&farm);
    rig_close(metadata);
    bench_free(*state);
    return 0;
}

static const char *const variables[] = {"AWS_CA_BUNDLE",
                                        "AWS_CONFIG_FILE",
                                        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                                        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
                                        "http_proxy",
                                        "https_proxy",
                                        "no_proxy"};

static int tls_after(void **state)
{
    for (size_t i = 0; i < COUNT(variables); i++) {
        unsetenv(variables[i]);
    }
    return bench_violations(state);
}

#define TLS_TEST(function) cmocka_unit_test_setup_teardown(function, bench_clear, tls_after)

static const char *site(const char *name)
{
    return tls_endpoint(&farm, name, "127.0.0.1");
}

static dynalock_options options_at(struct bench *b, const char *endpoint, const char *ca_file)
{
    dynalock_options options = bench_options(b);
    options.endpoint = endpoint;
    options.ca_file = ca_file;
    options.log = capture_log;
    options.log_context = b->events;
    return options;
}

static dynalock_store *open_at(struct bench *b, const char *endpoint, const char *ca_file)
{
    dynalock_options options = options_at(b, endpoint, ca_file);
    return bench_open(b, &options);
}

static int put(dynalock_store *store, const char *key)
{
    return dynalock_put(store, key, dynalock_bytes("value", 5), NULL, &failure);
}

/* A record and a lock by way of that endpoint. */
static void use(struct bench *b, const char *endpoint, const char *ca_file)
{
    dynalock_store *store = open_at(b, endpoint, ca_file);
    const char *key = bench_key(b);
    dynalock_kv *kv = NULL;
    check(put(store, key), DYNALOCK_OK);
    check(dynalock_get(store, key, NULL, &kv, &failure), DYNALOCK_OK);
    dynalock_kv_free(kv);
    lock_end(lock_take(store, bench_key(b), (dynalock_lock_options){.ttl_ms = 3000}));
    dynalock_close(store);
}

/* ---- Whom the client trusts ------------------------------------------------------------------ */

static void test_an_authority_of_ones_own_is_trusted_by_option(void **state)
{
    use(*state, site("good"), farm.authority);
}

static void test_an_authority_of_ones_own_is_trusted_by_environment(void **state)
{
    setenv("AWS_CA_BUNDLE", farm.authority, 1);
    use(*state, site("good"), NULL);
}

static void test_an_authority_of_ones_own_is_trusted_by_profile(void **state)
{
    char text[200];
    snprintf(text, sizeof text, "[default]\nca_bundle = %s\n", farm.authority);
    setenv("AWS_CONFIG_FILE", tls_file(&farm, "config", text), 1);
    use(*state, site("good"), NULL);
}

static void test_the_option_comes_before_the_environment_and_that_before_the_profile(void **state)
{
    char text[200];
    snprintf(text, sizeof text, "[default]\nca_bundle = %s\n", farm.stranger);
    setenv("AWS_CONFIG_FILE", tls_file(&farm, "config", text), 1);
    setenv("AWS_CA_BUNDLE", farm.authority, 1);
    use(*state, site("good"), NULL);
    setenv("AWS_CA_BUNDLE", farm.stranger, 1);
    use(*state, site("good"), farm.authority);
}

static void test_a_host_is_known_by_its_name_as_by_its_address(void **state)
{
    use(*state, tls_endpoint(&farm, "named", "localhost"), farm.authority);
}

static void test_tls_1_2_and_1_3_are_spoken(void **state)
{
    use(*state, site("usual"), farm.authority);
    use(*state, site("modern"), farm.authority);
}

static void test_the_services_of_credentials_are_trusted_by_the_same_file(void **state)
{
    struct bench *b = *state;
    char uri[100];
    snprintf(uri, sizeof uri, "%s/creds", site("credentials"));
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri, 1);
    struct rig *r = rig_open();
    char settings[40];
    snprintf(settings, sizeof settings, "'metadata':%d", metadata->proxy);
    dynalock_options options =
        options_at(b, rig_proxy_new(r, test_server(), settings), farm.authority);
    options.access_key_id = options.secret_access_key = NULL;
    dynalock_store *store = bench_open(b, &options);
    check(put(store, bench_key(b)), DYNALOCK_OK);
    dynalock_close(store);
    options.ca_file = farm.stranger;
    store = bench_open(b, &options);
    int code = put(store, bench_key(b));
    assert_true(code == DYNALOCK_ERR_CREDENTIALS || code == DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE);
    assert_contains(failure.message, "certificate");
    dynalock_close(store);
    rig_close(r);
}

/* ---- What it refuses ------------------------------------------------------------------------- */

struct refusal {
    const char *site, *host, *words;
};

static const struct refusal refusals[] = {
    {"unknown", "127.0.0.1", "unable to get local issuer certificate"},
    {"alone", "127.0.0.1", "certificate"}, /* "self-signed", or "self signed" */
    {"elsewhere", "127.0.0.1", "'127.0.0.1'"},
    {"good", "localhost", "'localhost'"},
    {"expired", "127.0.0.1", "certificate has expired"},
    {"early", "127.0.0.1", "certificate is not yet valid"},
};

/* Each of these fails with DYNALOCK_ERR_TLS at the first attempt, and says those words. */
static void refused(dynalock_store *store, const char *words)
{
    dynalock_counters counters;
    dynalock_kv *kv = NULL;
    dynalock_lock *lock = lock_make(store, "refused", (dynalock_lock_options){.ttl_ms = 3000});
    check(put(store, "refused"), DYNALOCK_ERR_TLS);
    assert_int_equal(failure.flags, 0);
    assert_contains(failure.message, words);
    check(dynalock_get(store, "refused", NULL, &kv, &failure), DYNALOCK_ERR_TLS);
    assert_contains(failure.message, words);
    check(dynalock_lock_acquire(lock, -1, 5000, &failure), DYNALOCK_ERR_TLS);
    assert_contains(failure.message, words);
    assert_int_equal(dynalock_store_counters(store, &counters), 0);
    assert_int_equal(counters.attempts, counters.operations);
    dynalock_lock_free(lock);
}

static void test_what_a_certificate_lacks_is_said_and_nothing_is_sent(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(refusals); i++) {
        const struct refusal *r = &refusals[i];
        print_message("%s at %s\n", r->site, r->host);
        dynalock_store *store = open_at(b, tls_endpoint(&farm, r->site, r->host), farm.authority);
        refused(store, r->words);
        dynalock_close(store);
    }
    assert_int_equal(bench_count(b, NULL), 0);
}

static void test_the_system_does_not_vouch_for_an_authority_of_ones_own(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = open_at(b, site("good"), NULL);
    check(put(store, "k"), DYNALOCK_ERR_TLS);
    assert_contains(failure.message, "certificate");
    dynalock_close(store);
    assert_int_equal(bench_count(b, NULL), 0);
}

static void test_a_file_of_certificates_that_is_not_there_fails_the_opening(void **state)
{
    dynalock_store *store = NULL;
    dynalock_options options = options_at(*state, site("good"), "/nonexistent/ca.pem");
    check(dynalock_open("t", "p", &options, &store, &failure), DYNALOCK_ERR_CONFIG);
    assert_contains(failure.message, "/nonexistent/ca.pem");
    options.ca_file = NULL;
    setenv("AWS_CA_BUNDLE", "/nonexistent/bundle.pem", 1);
    check(dynalock_open("t", "p", &options, &store, &failure), DYNALOCK_ERR_CONFIG);
    assert_contains(failure.message, "/nonexistent/bundle.pem");
    assert_null(store);
}

static void test_a_file_that_holds_no_certificate_is_named(void **state)
{
    struct bench *b = *state;
    static const char *const texts[] = {
        "", "neither PEM nor DER\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        const char *file = tls_file(&farm, "garbage.pem", texts[i]);
        dynalock_store *store = open_at(b, site("good"), file);
        check(put(store, "k"), DYNALOCK_ERR_TLS);
        assert_int_equal(failure.flags, 0);
        assert_contains(failure.message, "garbage.pem");
        dynalock_close(store);
    }
    assert_int_equal(bench_count(b, NULL), 0);
}

/* ---- Old versions of TLS --------------------------------------------------------------------- */

#define PERMISSIVE                                                             \
    "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = any\n" \
    "[any]\nMinProtocol = TLSv1\nCipherString = ALL:@SECLEVEL=0\n"

static size_t ignore(char *bytes, size_t size, size_t count, void *context)
{
    (void)bytes;
    (void)context;
    return size * count;
}

/* What libcurl says if it is told that TLS 1.0 will do. */
static CURLcode role_control(const char *endpoint, const char *ca_file)
{
    CURL *easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_URL, endpoint);
    curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_0);
    curl_easy_setopt(easy, CURLOPT_SSL_CIPHER_LIST, "ALL:@SECLEVEL=0");
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, ignore);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 20000L);
    CURLcode code = curl_easy_perform(easy);
    curl_easy_cleanup(easy);
    return code;
}

static int role_main(char **argv)
{
    dynalock_error error = {0};
    dynalock_store *store = NULL;
    dynalock_options options = {.region = RIG_REGION,
                                .endpoint = argv[2],
                                .ca_file = argv[3],
                                .access_key_id = RIG_KEY_ID,
                                .secret_access_key = RIG_SECRET};
    int code = dynalock_open(argv[4], argv[5], &options, &store, &error);
    CURLcode control = role_control(argv[2], argv[3]);
    if (code == 0) {
        code = dynalock_put(store, "old", dynalock_none(), NULL, &error);
    }
    dynalock_close(store);
    fprintf(stderr, "libcurl alone: %s; ours: %d %s\n", curl_easy_strerror(control), code,
            error.message);
    return (control != CURLE_OK ? 1 : 0) + (code != DYNALOCK_ERR_TLS ? 2 : 0) +
           (error.flags != 0 ? 4 : 0) + (strstr(error.message, "protocol") == NULL ? 8 : 0);
}

static int role_play(struct bench *b, const char *endpoint)
{
    char program[300] = "";
    char *argv[] = {program,      (char *)"old", (char *)endpoint, farm.authority, b->table,
                    b->partition, NULL};
    pid_t pid = -1;
    int status = -1;
    assert_true(readlink("/proc/self/exe", program, sizeof program - 1) > 0);
    setenv("OPENSSL_CONF", tls_file(&farm, "openssl.cnf", PERMISSIVE), 1);
    assert_int_equal(posix_spawn(&pid, program, NULL, NULL, argv, environ), 0);
    unsetenv("OPENSSL_CONF");
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

static void test_older_versions_of_tls_are_refused_where_the_system_would_allow_them(void **state)
{
    struct bench *b = *state;
    assert_int_equal(role_play(b, site("old")), 0);
    assert_int_equal(role_play(b, site("older")), 0);
    assert_int_equal(bench_item(b, "old") != NULL, 0);
    bench_reset(b); /* what the proxy thought of the control */
}

/* ---- Connections that the server closes ------------------------------------------------------ */

static int64_t version_of(struct bench *b, const char *key)
{
    json_t *item = bench_item(b, key);
    int64_t version = item_number(item, "version");
    json_decref(item);
    return version;
}

/* Each put raises the version by one: what was written twice shows. */
static void puts_at(struct bench *b, const char *name, int count, int pause_ms, bool reload)
{
    dynalock_store *store = open_at(b, site(name), farm.authority);
    dynalock_counters counters;
    const char *key = bench_key(b);
    check(put(store, key), DYNALOCK_OK);
    int64_t first = version_of(b, key);
    for (int i = 1; i < count; i++) {
        check(put(store, key), DYNALOCK_OK);
        sleep_ms(pause_ms > 0 ? pause_ms - 6 + i % 12 : 0);
        if (reload && i % 40 == 20) {
            tls_reload(&farm);
        }
    }
    assert_int_equal(version_of(b, key), first + count - 1);
    assert_int_equal(bench_count(b, "UpdateItem"), count);
    assert_int_equal(dynalock_store_counters(store, &counters), 0);
    print_message("%s: %d puts, %d connections, %d of them sent again by libcurl\n", name, count,
                  (int)counters.connections, (int)counters.unanswered);
    assert_true(counters.connections > 1 || !reload); /* old workers may stay for long */
    dynalock_close(store);
    bench_reset(b);
}

static void test_a_server_that_ends_connections_causes_no_error_and_no_second_write(void **state)
{
    struct bench *b = *state;
    puts_at(b, "once", 20, 0, false);
    puts_at(b, "thrice", 40, 0, false);
    puts_at(b, "hasty", 40, 40, false);
}

static void test_a_server_that_is_reloaded_causes_no_error_and_no_second_write(void **state)
{
    puts_at(*state, "good", 200, 0, true);
}

static void test_a_lock_is_renewed_on_connections_that_the_server_ends(void **state)
{
    static const char *const names[] = {"once", "hasty", "good"};
    struct bench *b = *state;
    dynalock_store *stores[COUNT(names)];
    dynalock_lock *locks[COUNT(names)];
    for (size_t i = 0; i < COUNT(names); i++) {
        stores[i] = open_at(b, site(names[i]), farm.authority);
        locks[i] = lock_take(stores[i], bench_key(b), (dynalock_lock_options){.ttl_ms = 4000});
    }
    for (int i = 0; i < 20; i++) {
        sleep_ms(400);
        tls_reload(&farm);
    }
    for (size_t i = 0; i < COUNT(names); i++) {
        dynalock_counters counters;
        assert_int_equal(dynalock_store_counters(stores[i], &counters), 0);
        assert_true(counters.renewed >= 4);
        assert_int_equal(counters.lost, 0);
        lock_end(locks[i]);
        dynalock_close(stores[i]);
    }
    for (int n = capture_count(b->events, DYNALOCK_EVENT_RENEWAL_FAILED, NULL); n > 0; n--) {
        print_message("a renewal failed, and the next did not: %s\n",
                      capture_get(b->events, DYNALOCK_EVENT_RENEWAL_FAILED, NULL, n).message);
    }
}

/* ---- Proxies --------------------------------------------------------------------------------- */

static void test_a_proxy_of_the_environment_is_used_for_dynamodb_with_tls(void **state)
{
    struct bench *b = *state;
    struct forward forward;
    char expected[60];
    forward_start(&forward);
    setenv("https_proxy", forward.url, 1);
    use(b, site("good"), farm.authority);
    snprintf(expected, sizeof expected, "CONNECT %s\n", site("good") + strlen("https://"));
    assert_contains(forward_asked(&forward), expected);
    assert_null(strstr(forward_asked(&forward), "POST"));
    forward_end(&forward);
}

static void test_behind_a_proxy_certificates_count_as_ever(void **state)
{
    struct bench *b = *state;
    struct forward forward;
    forward_start(&forward);
    setenv("https_proxy", forward.url, 1);
    dynalock_store *store = open_at(b, site("elsewhere"), farm.authority);
    refused(store, "'127.0.0.1'");
    dynalock_close(store);
    forward_end(&forward);
    assert_int_equal(bench_count(b, NULL), 0);
}

static void test_a_proxy_of_the_environment_is_used_for_dynamodb_without_tls(void **state)
{
    struct bench *b = *state;
    struct forward forward;
    char expected[60];
    forward_start(&forward);
    setenv("http_proxy", forward.url, 1);
    use(b, b->endpoint, NULL);
    snprintf(expected, sizeof expected, "POST %s/\n", b->endpoint);
    assert_contains(forward_asked(&forward), expected);
    forward_end(&forward);
}

static void test_a_host_that_no_proxy_names_is_asked_without_one(void **state)
{
    struct bench *b = *state;
    struct forward forward;
    forward_start(&forward);
    setenv("http_proxy", forward.url, 1);
    setenv("https_proxy", forward.url, 1);
    setenv("no_proxy", "127.0.0.1", 1);
    use(b, b->endpoint, NULL);
    use(b, site("good"), farm.authority);
    assert_string_equal(forward_asked(&forward), "");
    forward_end(&forward);
}

static void test_a_proxy_that_is_not_there_is_a_failure_of_the_network(void **state)
{
    struct bench *b = *state;
    setenv("https_proxy", "http://127.0.0.1:1", 1);
    dynalock_options options = options_at(b, site("good"), farm.authority);
    options.max_attempts = 1;
    dynalock_store *store = bench_open(b, &options);
    check(put(store, "k"), DYNALOCK_ERR_NETWORK);
    assert_int_equal(failure.flags, DYNALOCK_ERROR_RETRYABLE);
    dynalock_close(store);
}

/* A store without keys, at a proxy that knows what the service hands out; forward sees what goes by it. */
static void use_source(struct bench *b, const char *variable, const char *value,
                       struct forward *forward)
{
    char settings[40];
    struct rig *r = rig_open();
    snprintf(settings, sizeof settings, "'metadata':%d", metadata->proxy);
    dynalock_options options = options_at(b, rig_proxy_new(r, test_server(), settings), NULL);
    options.access_key_id = options.secret_access_key = NULL;
    setenv(variable, value, 1);
    dynalock_store *store = bench_open(b, &options);
    check(put(store, bench_key(b)), DYNALOCK_OK);
    dynalock_close(store);
    unsetenv(variable);
    assert_contains(forward_asked(forward), r->endpoint);
    rig_close(r);
}

static void test_metadata_endpoints_are_asked_without_the_proxy_of_the_environment(void **state)
{
    struct bench *b = *state;
    struct forward forward;
    char url[40], uri[60];
    int port = sites[COUNT(sites) - 1].port;
    snprintf(url, sizeof url, "http://127.0.0.1:%d", port);
    snprintf(uri, sizeof uri, "%s/creds", url);
    forward_start(&forward);
    setenv("http_proxy", forward.url, 1);
    rig_reset_counts(metadata);
    use_source(b, "AWS_CONTAINER_CREDENTIALS_FULL_URI", uri, &forward);
    use_source(b, "AWS_EC2_METADATA_SERVICE_ENDPOINT", url, &forward);
    assert_int_equal(rig_count(metadata, "container"), 1);
    assert_int_equal(rig_count(metadata, "imds-credentials"), 1);
    assert_null(strstr(forward_asked(&forward), url));
    assert_int_equal(rig_violations(metadata), 0);
    forward_end(&forward);
}

int main(int argc, char **argv)
{
    if (argc == 6) {
        return role_main(argv);
    }
    const struct CMUnitTest tests[] = {
        TLS_TEST(test_an_authority_of_ones_own_is_trusted_by_option),
        TLS_TEST(test_an_authority_of_ones_own_is_trusted_by_environment),
        TLS_TEST(test_an_authority_of_ones_own_is_trusted_by_profile),
        TLS_TEST(test_the_option_comes_before_the_environment_and_that_before_the_profile),
        TLS_TEST(test_a_host_is_known_by_its_name_as_by_its_address),
        TLS_TEST(test_tls_1_2_and_1_3_are_spoken),
        TLS_TEST(test_the_services_of_credentials_are_trusted_by_the_same_file),
        TLS_TEST(test_what_a_certificate_lacks_is_said_and_nothing_is_sent),
        TLS_TEST(test_the_system_does_not_vouch_for_an_authority_of_ones_own),
        TLS_TEST(test_a_file_of_certificates_that_is_not_there_fails_the_opening),
        TLS_TEST(test_a_file_that_holds_no_certificate_is_named),
        TLS_TEST(test_older_versions_of_tls_are_refused_where_the_system_would_allow_them),
        TLS_TEST(test_a_server_that_ends_connections_causes_no_error_and_no_second_write),
        TLS_TEST(test_a_server_that_is_reloaded_causes_no_error_and_no_second_write),
        TLS_TEST(test_a_lock_is_renewed_on_connections_that_the_server_ends),
        TLS_TEST(test_a_proxy_of_the_environment_is_used_for_dynamodb_with_tls),
        TLS_TEST(test_behind_a_proxy_certificates_count_as_ever),
        TLS_TEST(test_a_proxy_of_the_environment_is_used_for_dynamodb_without_tls),
        TLS_TEST(test_a_host_that_no_proxy_names_is_asked_without_one),
        TLS_TEST(test_a_proxy_that_is_not_there_is_a_failure_of_the_network),
        TLS_TEST(test_metadata_endpoints_are_asked_without_the_proxy_of_the_environment),
    };
    return cmocka_run_group_tests(tests, tls_setup, tls_teardown);
}
