/* SPDX-License-Identifier: Apache-2.0 */
/* A role by way of a program, while one call after another of what the library depends on fails: credentials, or a
 * failure that says so, and nothing left behind. */
/* wrap: malloc calloc realloc strdup pthread_create eventfd timerfd_create getrandom */
/* wrap: curl_easy_init curl_multi_init curl_multi_add_handle curl_slist_append curl_easy_setopt */
/* wrap: curl_multi_setopt curl_multi_poll curl_multi_perform EVP_MD_fetch EVP_MAC_fetch EVP_MD_CTX_new */
/* wrap: EVP_MAC_CTX_new EVP_MAC_CTX_set_params EVP_DigestInit_ex EVP_DigestUpdate EVP_DigestFinal_ex */
/* wrap: EVP_MAC_init EVP_MAC_update EVP_MAC_final EVP_Digest */
#include "../internal.h"
#include "../providers.h"
#include "support_fail.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define NOW INT64_C(1700000000)

static char path[] = "/tmp/dynalock-providers-XXXXXX";
static int listener;
static pthread_t server;

/* ---- An STS that knows one answer ------------------------------------------------------------ */

static const char body[] =
    "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId>"
    "<SecretAccessKey>s&amp;s</SecretAccessKey><SessionToken>t</SessionToken>"
    "<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult>"
    "</AssumeRoleResponse>";

static void answer(int fd)
{
    char bytes[8192] = "";
    size_t length = 0;
    ssize_t got = 0;
    while (strstr(bytes, "DurationSeconds=3600") == NULL && length < sizeof bytes - 1 &&
           (got = read(fd, bytes + length, sizeof bytes - 1 - length)) > 0) {
        length += (size_t)got;
        bytes[length] = '\0';
    }
    (void)dprintf(fd, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
                  sizeof body - 1, body);
}

static void *serve(void *context)
{
    (void)context;
    for (int fd = 0; (fd = accept(listener, NULL, NULL)) >= 0; (void)close(fd)) {
        answer(fd);
    }
    return NULL;
}

static int begin(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    char url[64];
    (void)state;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (const struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(pthread_create(&server, NULL, serve, NULL), 0);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(dprintf(fd,
                        "[default]\nregion = us-east-1\nrole_arn = r\nsource_profile = p\n"
                        "external_id = e\n[profile p]\ncredential_process = echo "
                        "'{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\","
                        "\"SessionToken\":\"T\",\"Expiration\":\"2099-01-01T00:00:00Z\"}'\n") > 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(setenv("AWS_CONFIG_FILE", path, 1), 0);
    assert_int_equal(setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent", 1), 0);
    assert_int_equal(setenv("AWS_ENDPOINT_URL_STS", url, 1), 0);
    return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    (void)shutdown(listener, SHUT_RDWR);
    assert_int_equal(pthread_join(server, NULL), 0);
    (void)close(listener);
    return remove(path);
}

/* ---- The test -------------------------------------------------------------------------------- */

static int run_chain(struct dlk_credentials **made, dynalock_error *error)
{
    const dynalock_options options = {0};
    struct dlk_profiles *profiles = NULL;
    struct dlk_config config = {0};
    struct dlk_chain *chain = NULL;
    struct dlk_fetch how = {.now_s = NOW, .timeout_ms = 10000};
    if (dlk_sigv4_signer_new(&how.signer) != 0) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "no signer");
    }
    int code = dlk_profiles_read(&profiles, error);
    if (code == 0) {
        code = dlk_config_read(&config, &options, profiles, error);
    }
    if (code == 0) {
        code = dlk_chain_new(&chain, &options, &config, profiles, "default", error);
    }
    if (code == 0) {
        code = dlk_chain_fetch(chain, &how, made, error);
    }
    dlk_chain_free(chain);
    dlk_config_free(&config);
    dlk_profiles_free(profiles);
    dlk_sigv4_signer_free(how.signer);
    return code;
}

static void test_credentials_come_whole_or_not_at_all(void **state)
{
    unsigned nth = 1;
    bool failed = true;
    (void)state;
    for (; failed; nth++) {
        struct dlk_credentials *made = NULL;
        dynalock_error error = {0};
        fail_arm(nth, 1);
        int code = run_chain(&made, &error);
        failed = fail_disarm();
        assert_true(failed || code == 0);
        assert_int_equal(made != NULL, code == 0);
        if (code == 0) { /* some are of no account, or are tried again */
            assert_string_equal(made->access_key_id, "ASIA");
            assert_string_equal(made->secret_access_key, "s&s");
            assert_string_equal(made->session_token, "t");
        } else if (code != DYNALOCK_ERR_MEMORY && code != DYNALOCK_ERR_CREDENTIALS &&
                   code != DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE) {
            fail_msg("%s failing, the %uth call: %s", fail_what(), nth, error.message);
        } else {
            assert_int_equal(error.code, code);
            assert_true(error.message[0] != '\0');
        }
        dlk_credentials_unref(made);
    }
    assert_true(nth > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_credentials_come_whole_or_not_at_all),
    };
    fail_install();
    return cmocka_run_group_tests(tests, begin, end);
}
