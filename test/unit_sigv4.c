/* SPDX-License-Identifier: Apache-2.0 */
/* The signer: each stage by a table, and signatures that AWS has published. */
#include "../sigv4.h"
#include "sigv4_suite/vectors.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { SUITE_TIME = 1440938160 /* 2015-08-30 12:36:00 */ };

static const struct dlk_sigv4_credentials suite_credentials = {
    "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", NULL, 0};

static int make_signer(void **state)
{
    dlk_sigv4_signer *signer = NULL;
    int status = dlk_sigv4_signer_new(&signer);

    *state = signer;
    return status;
}

static int free_signer(void **state)
{
    dlk_sigv4_signer_free(*state);
    return 0;
}

static size_t count_headers(const struct dlk_sigv4_header *headers)
{
    size_t count = 0;

    while (count < MOST_HEADERS && headers[count].name != NULL) {
        count++;
    }
    return count;
}

/* Published signatures */

static struct dlk_sigv4_request request_of(const struct vector *v)
{
    return (struct dlk_sigv4_request){.method = v->method,
                                      .path = v->path,
                                      .query = v->query,
                                      .headers = v->headers,
                                      .header_count = count_headers(v->headers),
                                      .body = v->body,
                                      .body_length = v->body == NULL ? 0 : strlen(v->body),
                                      .keep_segments = v->keep_segments};
}

static void check_signature(const char *name, const struct dlk_sigv4_signature *got,
                            const char *want)
{
    const char *found = strstr(got->authorization, ", Signature=");

    if (found == NULL || strcmp(found + strlen(", Signature="), want) != 0) {
        fail_msg("%s: got %s, want the signature %s", name, got->authorization, want);
    }
}

static void test_suite_vectors(void **state)
{
    for (size_t i = 0; i < COUNT(suite); i++) {
        struct dlk_sigv4_request request = request_of(&suite[i]);
        struct dlk_sigv4_credentials credentials = suite_credentials;
        struct dlk_sigv4_signature signature;

        credentials.session_token = suite[i].token;
        assert_int_equal(dlk_sigv4_sign(*state, &request, &credentials, "us-east-1", "service",
                                        SUITE_TIME, &signature),
                         DLK_SIGV4_OK);
        assert_string_equal(signature.timestamp, "20150830T123600Z");
        check_signature(suite[i].name, &signature, suite[i].signature);
        dlk_sigv4_signature_free(&signature);
    }
}

static void test_s3_examples(void **state)
{
    const struct dlk_sigv4_credentials credentials = {
        "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "", 0};

    for (size_t i = 0; i < COUNT(s3_examples); i++) {
        struct dlk_sigv4_request request = request_of(&s3_examples[i]);
        struct dlk_sigv4_signature signature;

        request.keep_encoding = true;
        assert_int_equal(dlk_sigv4_sign(*state, &request, &credentials, "us-east-1", "s3",
                                        1369353600, &signature),
                         DLK_SIGV4_OK);
        check_signature(s3_examples[i].name, &signature, s3_examples[i].signature);
        dlk_sigv4_signature_free(&signature);
    }
}

/* Every stage of the IAM example that AWS's guide to signing goes through. */
static void test_iam_example(void **state)
{
    static const unsigned char key_wanted[] = {0xc4, 0xaf, 0xb1, 0xcc, 0x57, 0x71, 0xd8, 0x71,
                                               0x76, 0x3a, 0x39, 0x3e, 0x44, 0xb7, 0x03, 0x57,
                                               0x1b, 0x55, 0xcc, 0x28, 0x42, 0x4d, 0x1a, 0x5e,
                                               0x86, 0xda, 0x6e, 0xd3, 0xc1, 0x54, 0xa4, 0xb9};
    static const struct dlk_sigv4_header headers[] = {
        {"Host", "iam.amazonaws.com"},
        {"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"}};
    const struct dlk_sigv4_request request = {.method = "GET",
                                              .path = "/",
                                              .query = "Action=ListUsers&Version=2010-05-08",
                                              .headers = headers,
                                              .header_count = COUNT(headers)};
    struct dlk_sigv4_text canonical = {0}, names = {0}, to_sign = {0};
    struct dlk_sigv4_signature signature;
    unsigned char key[DLK_SIGV4_HASH_SIZE];

    assert_int_equal(
        dlk_sigv4_canonical_request(*state, &canonical, &names, &request, NULL, "20150830T123600Z"),
        DLK_SIGV4_OK);
    assert_string_equal(canonical.data,
                        "GET\n/\nAction=ListUsers&Version=2010-05-08\n"
                        "content-type:application/x-www-form-urlencoded; charset=utf-8\n"
                        "host:iam.amazonaws.com\nx-amz-date:20150830T123600Z\n\n"
                        "content-type;host;x-amz-date\n" EMPTY_HASH);
    assert_int_equal(dlk_sigv4_string_to_sign(*state, &to_sign, &canonical, "20150830T123600Z",
                                              "us-east-1", "iam"),
                     DLK_SIGV4_OK);
    assert_string_equal(to_sign.data,
                        "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n"
                        "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59");
    assert_int_equal(dlk_sigv4_signing_key(*state, &suite_credentials, "20150830T123600Z",
                                           "us-east-1", "iam", key),
                     DLK_SIGV4_OK);
    assert_memory_equal(key, key_wanted, sizeof key);
    assert_int_equal(dlk_sigv4_sign(*state, &request, &suite_credentials, "us-east-1", "iam",
                                    SUITE_TIME, &signature),
                     DLK_SIGV4_OK);
    assert_string_equal(
        signature.authorization,
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date, Signature="
        "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
    dlk_sigv4_signature_free(&signature);
    dlk_sigv4_signature_free(&signature);
    dlk_sigv4_text_free(&canonical);
    dlk_sigv4_text_free(&names);
    dlk_sigv4_text_free(&to_sign);
}

/* The stages */

static void test_times(void **state)
{
    static const struct {
        int64_t time;
        const char *text;
    } times[] = {
        {0, "19700101T000000Z"},
        {59, "19700101T000059Z"},
        {68169599, "19720228T235959Z"},
        {68169600, "19720229T000000Z"},
        {68256000, "19720301T000000Z"},
        {94694399, "19721231T235959Z"},
        {951782400, "20000229T000000Z"},
        {1440938160, "20150830T123600Z"},
        {2147483648, "20380119T031408Z"},
        {4107542399, "21000228T235959Z"},
        {4107542400, "21000301T000000Z"},
        {253402300799, "99991231T235959Z"},
        {-1, NULL},
        {INT64_MIN, NULL},
        {253402300800, NULL},
        {INT64_MAX, NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(times); i++) {
        char text[DLK_SIGV4_TIMESTAMP_SIZE] = "untouched";
        int status = dlk_sigv4_format_time(times[i].time, text);

        assert_int_equal(status, times[i].text == NULL ? DLK_SIGV4_EINPUT : DLK_SIGV4_OK);
        assert_string_equal(text, times[i].text == NULL ? "untouched" : times[i].text);
    }
    assert_int_equal(dlk_sigv4_format_time(0, NULL), DLK_SIGV4_EINPUT);
}

/* NULL where the input is to be refused. */
static void check_text(struct dlk_sigv4_text *text, int status, const char *input, const char *want)
{
    int wanted = want == NULL ? DLK_SIGV4_EINPUT : DLK_SIGV4_OK;

    if (status != wanted ||
        (want != NULL && strcmp(text->data == NULL ? "" : text->data, want) != 0)) {
        fail_msg("\"%s\": got %d, \"%s\"; want %d, \"%s\"", input, status,
                 text->data == NULL ? "" : text->data, wanted, want == NULL ? "" : want);
    }
    dlk_sigv4_text_free(text);
}

static void test_paths(void **state)
{
    static const struct {
        const char *path;
        bool keep_segments, keep_encoding;
        const char *text;
    } paths[] = {
        {"", false, false, "/"},
        {"", true, true, "/"},
        {"/", false, false, "/"},
        {"/", true, false, "/"},
        {"/..", false, false, "/"},
        {"/../..", false, false, "/"},
        {"/../a", false, false, "/a"},
        {"/a/..", false, false, "/"},
        {"/a/../", false, false, "/"},
        {"/a/b/..", false, false, "/a"},
        {"/a/b/../", false, false, "/a/"},
        {"/a/.", false, false, "/a"},
        {"/a/./", false, false, "/a/"},
        {"/a//b///", false, false, "/a/b/"},
        {"/.../..a/.b", false, false, "/.../..a/.b"},
        {"/%2e%2e/a", false, false, "/%252e%252e/a"},
        {"/a%20b", false, false, "/a%2520b"},
        {"/a%20b", false, true, "/a%20b"},
        {"/a+b/c:d@e", false, false, "/a%2Bb/c%3Ad%40e"},
        {"/\xc3\xa9/..//x y", true, false, "/%C3%A9/..//x%20y"},
        {"/a/../b//%24", true, true, "/a/../b//%24"},
        {"/a/../b//%24", false, true, "/b/%24"},
        {"//", true, true, "//"},
        {"a", false, false, NULL},
        {NULL, false, false, NULL},
        {"/a?b", true, true, NULL},
        {"/a#b", false, false, NULL},
        {"/a\nb", true, true, NULL},
        {"/\x7f", false, false, NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(paths); i++) {
        const struct dlk_sigv4_request request = {.path = paths[i].path,
                                                  .keep_segments = paths[i].keep_segments,
                                                  .keep_encoding = paths[i].keep_encoding};
        struct dlk_sigv4_text text = {0};

        check_text(&text, dlk_sigv4_append_path(&text, &request), paths[i].path, paths[i].text);
    }
}

/* A popped segment must not eat what stood in the text before the path. */
static void test_path_appends(void **state)
{
    const struct dlk_sigv4_request request = {.path = "/../../a"};
    struct dlk_sigv4_text text = {0};

    (void)state;
    assert_int_equal(dlk_sigv4_append_string(&text, "x/y"), DLK_SIGV4_OK);
    check_text(&text, dlk_sigv4_append_path(&text, &request), request.path, "x/y/a");
}

static void test_queries(void **state)
{
    static const struct {
        const char *query, *text;
    } queries[] = {
        {NULL, ""},
        {"", ""},
        {"&", ""},
        {"&&&", ""},
        {"k", "k="},
        {"k=", "k="},
        {"=v", "=v"},
        {"=", "="},
        {"=&=", "=&="},
        {"k=a=b", "k=a%3Db"},
        {"b=2&a=1", "a=1&b=2"},
        {"k=2&k=1&k", "k=&k=1&k=2"},
        {"k=10&k=1&k=9", "k=1&k=10&k=9"},
        {"ab=1&a=2&a-b=3", "a=2&a-b=3&ab=1"},
        {"a=b&a%20=c&A=d", "A=d&a=b&a%20=c"},
        {"k=%2b&k=+", "k=%2B&k=%2B"},
        {"k=%20", "k=%20"},
        {"k=%2f/%7e~%41", "k=%2F%2F~~A"},
        {"k=%00%0a", "k=%00%0A"},
        {"k=%&%zz=%2&k=%g1", "%25zz=%252&k=%25&k=%25g1"},
        {"k=%ff\xff", "k=%FF%FF"},
        {"\xe1\x88\xb4=bar", "%E1%88%B4=bar"},
        {"k=?a/b", "k=%3Fa%2Fb"},
        {"k=%252B", "k=%252B"},
        {"k=a#b", NULL},
        {"k=a\nb", NULL},
        {"k=a\tb", NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(queries); i++) {
        struct dlk_sigv4_text text = {0};

        check_text(&text, dlk_sigv4_append_query(&text, queries[i].query), queries[i].query,
                   queries[i].text);
    }
}

/* clang-format off */
static const struct {
    const char *token;
    struct dlk_sigv4_header headers[MOST_HEADERS];
    const char *lines, *names;
} header_cases[] = {
    {NULL, {{"Host", "h"}}, "host:h\nx-amz-date:T\n", "host;x-amz-date"},
    {"", {{"HOST", " h\t"}, {"X-Amz-Date", "T"}}, "host:h\nx-amz-date:T\n",
     "host;x-amz-date"},
    {"t", {{"host", "h"}}, "host:h\nx-amz-date:T\nx-amz-security-token:t\n",
     "host;x-amz-date;x-amz-security-token"},
    {"t", {{"X-AMZ-Security-Token", "t"}, {"host", "h"}},
     "host:h\nx-amz-date:T\nx-amz-security-token:t\n", "host;x-amz-date;x-amz-security-token"},
    {NULL, {{"X-AMZ-Security-Token", "t"}, {"host", "h"}},
     "host:h\nx-amz-date:T\nx-amz-security-token:t\n", "host;x-amz-date;x-amz-security-token"},
    /* On the name alone, not on the line; one that begins like another. */
    {NULL, {{"a-b", "1"}, {"a", "2"}, {"host", "h"}, {"A-", "3"}, {"a-bc", "4"}},
     "a:2\na-:3\na-b:1\na-bc:4\nhost:h\nx-amz-date:T\n", "a;a-;a-b;a-bc;host;x-amz-date"},
    /* As they arrived, whatever the case. */
    {NULL, {{"k", "2"}, {"host", "h"}, {"K", "1"}, {"k", "3"}},
     "host:h\nk:2,1,3\nx-amz-date:T\n", "host;k;x-amz-date"},
    {NULL, {{"k", ""}, {"host", "h"}, {"K", " \t "}, {"l", ""}},
     "host:h\nk:,\nl:\nx-amz-date:T\n", "host;k;l;x-amz-date"},
    {NULL, {{"k", "  a \t b\r\n c\n\td\r\n  \r\n e "}, {"host", "h"}},
     "host:h\nk:a b c d e\nx-amz-date:T\n", "host;k;x-amz-date"},
    {NULL, {{"k", "\xc2\xa0\xc3\xa9"}, {"host", "h"}},
     "host:h\nk:\xc2\xa0\xc3\xa9\nx-amz-date:T\n", "host;k;x-amz-date"},
    {NULL, {{"host", "h"}, {"Authorization", "a"}, {"CONNECTION", "c"}, {"Expect", "e"},
     {"Keep-Alive", "k"}, {"TE", "t"}, {"Trailer", "t"}}, "host:h\nx-amz-date:T\n",
     "host;x-amz-date"},
    {NULL, {{"host", "h"}, {"Transfer-Encoding", "t"}, {"Upgrade", "u"}, {"User-Agent",
     "u"}, {"X-Amzn-Trace-Id", "x"}, {"Proxy-Authorization", "p"}, {"PROXY-", "p"}},
     "host:h\nx-amz-date:T\n", "host;x-amz-date"},
    {NULL, {{"host", "h"}, {"proxy", "1"}, {"user-agents", "2"}, {"tea", "3"},
     {"prox-y", "4"}}, "host:h\nprox-y:4\nproxy:1\ntea:3\nuser-agents:2\nx-amz-date:T\n",
     "host;prox-y;proxy;tea;user-agents;x-amz-date"},
    {NULL, {{"k", "v"}}, NULL, NULL},
    {NULL, {{"host", "h"}, {"Host", "h"}}, NULL, NULL},
    {NULL, {{"host", "h"}, {"x-amz-date", "U"}}, NULL, NULL},
    {NULL, {{"host", "h"}, {"x-amz-date", "T"}, {"X-amz-date", "T"}}, NULL, NULL},
    {"t", {{"host", "h"}, {"x-amz-security-token", "u"}}, NULL, NULL},
    {NULL, {{"host", "h"}, {"x-amz-content-sha256", "u"}, {"x-amz-content-sha256", "u"}},
     NULL, NULL},
    {"t\n", {{"host", "h"}}, NULL, NULL},
    {"t u", {{"host", "h"}}, NULL, NULL},
    {NULL, {{"host", "h\n"}}, NULL, NULL},
    {NULL, {{"host", "h\r\nk: v"}}, NULL, NULL},
    {NULL, {{"host", "h"}, {"k", "a\r b"}}, NULL, NULL},
    {NULL, {{"host", "h"}, {"k", "\x01"}}, NULL, NULL},
    {NULL, {{"host", "h"}, {"k", "a\vb"}}, NULL, NULL},
    {NULL, {{"host", "h"}, {"k", "a\x7f"}}, NULL, NULL},
    {NULL, {{"host", "h"}, {"", "v"}}, NULL, NULL},
    {NULL, {{"host", "h"}, {"k v", "v"}}, NULL, NULL},
    {NULL, {{"host", "h"}, {"k:", "v"}}, NULL, NULL},
    {NULL, {{"host", "h"}, {"\xc3\xa9", "v"}}, NULL, NULL},
    {NULL, {{"host", "h"}, {"k", NULL}}, NULL, NULL},
};
/* clang-format on */

static void test_headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(header_cases); i++) {
        const struct dlk_sigv4_request request = {.headers = header_cases[i].headers,
                                                  .header_count =
                                                      count_headers(header_cases[i].headers)};
        struct dlk_sigv4_text lines = {0}, names = {0};
        int status = dlk_sigv4_append_headers(&lines, &names, &request, header_cases[i].token, "T");

        if (header_cases[i].names != NULL) {
            assert_string_equal(names.data, header_cases[i].names);
        }
        dlk_sigv4_text_free(&names);
        check_text(&lines, status, header_cases[i].headers[1].name, header_cases[i].lines);
    }
}

static void test_body_hashes(void **state)
{
    static const struct dlk_sigv4_header headers[] = {
        {"host", "h"}, {"X-Amz-Content-SHA256", " UNSIGNED-PAYLOAD "}};
    static const unsigned char body[] = {'a', 0, 'b', 0xff};
    static const struct {
        const void *body;
        size_t length, headers;
        const char *hash;
    } cases[] = {
        {NULL, 0, 1, EMPTY_HASH},
        {"x", 0, 1, EMPTY_HASH},
        {"abc", 3, 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {body, sizeof body, 1, "a37cc3026aae4d519e0b19c298fa913b4dccfdf0658cbccbb7deaa0226d5acdb"},
        {"abc", 3, 2, "UNSIGNED-PAYLOAD"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct dlk_sigv4_request request = {.method = "POST",
                                                  .path = "/",
                                                  .headers = headers,
                                                  .header_count = cases[i].headers,
                                                  .body = cases[i].body,
                                                  .body_length = cases[i].length};
        struct dlk_sigv4_text text = {0}, names = {0};

        assert_int_equal(dlk_sigv4_canonical_request(*state, &text, &names, &request, NULL, "T"),
                         DLK_SIGV4_OK);
        assert_string_equal(strrchr(text.data, '\n') + 1, cases[i].hash);
        dlk_sigv4_text_free(&text);
        dlk_sigv4_text_free(&names);
    }
}

/* The key cache */

static void sign_with(dlk_sigv4_signer *signer, const char *secret, const char *region,
                      int64_t time, struct dlk_sigv4_signature *out)
{
    const struct dlk_sigv4_credentials credentials = {"AKID", secret, NULL, 0};
    const struct dlk_sigv4_request request = request_of(&suite[0]);

    assert_int_equal(dlk_sigv4_sign(signer, &request, &credentials, region, "service", time, out),
                     DLK_SIGV4_OK);
}

/* Whatever the cache holds by now, the signature is that of a new signer. */
static void check_like_new(dlk_sigv4_signer *signer, const char *secret, const char *region,
                           int64_t time)
{
    dlk_sigv4_signer *other = NULL;
    struct dlk_sigv4_signature a, b;

    assert_int_equal(dlk_sigv4_signer_new(&other), DLK_SIGV4_OK);
    sign_with(signer, secret, region, time, &a);
    sign_with(other, secret, region, time, &b);
    assert_string_equal(a.authorization, b.authorization);
    dlk_sigv4_signature_free(&a);
    dlk_sigv4_signature_free(&b);
    dlk_sigv4_signer_free(other);
}

static void test_cache(void **state)
{
    static const char *const secrets[] = {"one", "two", "one", "onetwo"};
    static const char *const regions[] = {"r1", "r2", "r3"};

    for (size_t round = 0; round < 2; round++) {
        for (size_t s = 0; s < COUNT(secrets); s++) {
            for (size_t r = 0; r < COUNT(regions); r++) {
                check_like_new(*state, secrets[s], regions[r], SUITE_TIME);
                check_like_new(*state, secrets[s], regions[r], SUITE_TIME + 86400);
            }
        }
    }
}

static void test_parts_do_not_run_together(void **state)
{
    const struct dlk_sigv4_credentials a = {"AK", "Dsecret", NULL, 0},
                                       b = {"AKD", "secret", NULL, 0};
    unsigned char key_a[DLK_SIGV4_HASH_SIZE], key_b[DLK_SIGV4_HASH_SIZE];

    assert_int_equal(dlk_sigv4_signing_key(*state, &a, "20150830T123600Z", "r", "s", key_a), 0);
    assert_int_equal(dlk_sigv4_signing_key(*state, &b, "20150830T123600Z", "r", "s", key_b), 0);
    assert_memory_not_equal(key_a, key_b, sizeof key_a);
}

struct signing_thread {
    pthread_t thread;
    dlk_sigv4_signer *signer;
    size_t first;
    int failures;
};

static void *sign_in_thread(void *given)
{
    struct signing_thread *self = given;

    for (size_t n = 0; n < 10 * COUNT(suite); n++) {
        const struct vector *v = &suite[(self->first + n) % COUNT(suite)];
        struct dlk_sigv4_request request = request_of(v);
        struct dlk_sigv4_credentials credentials = suite_credentials;
        struct dlk_sigv4_signature signature = {{0}, NULL};

        credentials.session_token = v->token;
        if (dlk_sigv4_sign(self->signer, &request, &credentials, "us-east-1", "service", SUITE_TIME,
                           &signature) != DLK_SIGV4_OK ||
            strstr(signature.authorization, v->signature) == NULL) {
            self->failures++;
        }
        dlk_sigv4_signature_free(&signature);
        /* Drives keys out of the cache. */
        if (dlk_sigv4_sign(self->signer, &request, &credentials, n % 2 == 0 ? "a" : "b", v->name, 0,
                           &signature) == DLK_SIGV4_OK) {
            dlk_sigv4_signature_free(&signature);
        }
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct signing_thread threads[4];
    int failures = 0;
    size_t started = 0;

    for (; started < COUNT(threads); started++) {
        threads[started] = (struct signing_thread){.signer = *state, .first = started * 7};
        if (pthread_create(&threads[started].thread, NULL, sign_in_thread, &threads[started]) !=
            0) {
            break;
        }
    }
    /* All are joined before anything is asserted: a failed assertion leaves this function. */
    for (size_t i = 0; i < started; i++) {
        failures += pthread_join(threads[i].thread, NULL) == 0 ? threads[i].failures : 1;
    }
    assert_int_equal(started, COUNT(threads));
    assert_int_equal(failures, 0);
}

/* What is refused */

static void check_refused(dlk_sigv4_signer *signer, const struct dlk_sigv4_request *request,
                          const struct dlk_sigv4_credentials *credentials, const char *region,
                          const char *service, int64_t time, int wanted)
{
    struct dlk_sigv4_signature out = {"untouched", NULL};

    assert_int_equal(dlk_sigv4_sign(signer, request, credentials, region, service, time, &out),
                     wanted);
    assert_string_equal(out.timestamp, "untouched");
    assert_null(out.authorization);
}

static void test_refused_arguments(void **state)
{
    static const char *const bad[] = {NULL, "", "a/b", "a,b", "a b", "a\nb", "\xc3\xa9"};
    const struct dlk_sigv4_request good = request_of(&suite[0]);
    const struct dlk_sigv4_credentials *ok = &suite_credentials;
    struct dlk_sigv4_signature out;

    check_refused(NULL, &good, ok, "r", "s", 0, DLK_SIGV4_EINPUT);
    check_refused(*state, NULL, ok, "r", "s", 0, DLK_SIGV4_EINPUT);
    check_refused(*state, &good, NULL, "r", "s", 0, DLK_SIGV4_EINPUT);
    check_refused(*state, &good, ok, "r", "s", -1, DLK_SIGV4_EINPUT);
    check_refused(*state, &good, ok, "r", "s", INT64_MAX, DLK_SIGV4_EINPUT);
    assert_int_equal(dlk_sigv4_sign(*state, &good, ok, "r", "s", 0, NULL), DLK_SIGV4_EINPUT);
    for (size_t i = 0; i < COUNT(bad); i++) {
        const struct dlk_sigv4_credentials credentials = {bad[i], "secret", NULL, 0};

        check_refused(*state, &good, ok, bad[i], "s", 0, DLK_SIGV4_EINPUT);
        check_refused(*state, &good, ok, "r", bad[i], 0, DLK_SIGV4_EINPUT);
        check_refused(*state, &good, &credentials, "r", "s", 0, DLK_SIGV4_EINPUT);
    }
    for (size_t i = 0; i < 2; i++) {
        const struct dlk_sigv4_credentials credentials = {"AKID", bad[i], NULL, 0};

        check_refused(*state, &good, &credentials, "r", "s", 0, DLK_SIGV4_EINPUT);
    }
    assert_int_equal(dlk_sigv4_signer_new(NULL), DLK_SIGV4_EINPUT);
    assert_int_equal(dlk_sigv4_sign(*state, &good, ok, "r", "s", 0, &out), DLK_SIGV4_OK);
    dlk_sigv4_signature_free(&out);
}

static void test_refused_requests(void **state)
{
    static const char *const methods[] = {NULL, "", "GET /", "GET\n"};
    const struct dlk_sigv4_request good = request_of(&suite[0]);

    for (size_t i = 0; i < COUNT(methods); i++) {
        struct dlk_sigv4_request request = good;

        request.method = methods[i];
        check_refused(*state, &request, &suite_credentials, "r", "s", 0, DLK_SIGV4_EINPUT);
    }
    struct dlk_sigv4_request request = good;
    request.headers = NULL;
    check_refused(*state, &request, &suite_credentials, "r", "s", 0, DLK_SIGV4_EINPUT);
    request = good;
    request.header_count = 0;
    check_refused(*state, &request, &suite_credentials, "r", "s", 0, DLK_SIGV4_EINPUT);
    request.header_count = DLK_SIGV4_MAX_HEADERS + 1;
    check_refused(*state, &request, &suite_credentials, "r", "s", 0, DLK_SIGV4_ETOOBIG);
    request = good;
    request.body_length = 1;
    check_refused(*state, &request, &suite_credentials, "r", "s", 0, DLK_SIGV4_EINPUT);
}

static void test_stages_take_no_nulls(void **state)
{
    const struct dlk_sigv4_request request = request_of(&suite[0]);
    struct dlk_sigv4_text text = {0}, names = {0};
    unsigned char key[DLK_SIGV4_HASH_SIZE];

    assert_int_equal(dlk_sigv4_append_path(NULL, &request), DLK_SIGV4_EINPUT);
    assert_int_equal(dlk_sigv4_append_query(NULL, "a"), DLK_SIGV4_EINPUT);
    assert_int_equal(dlk_sigv4_append_headers(NULL, &names, &request, NULL, "T"), DLK_SIGV4_EINPUT);
    assert_int_equal(dlk_sigv4_append_headers(&text, NULL, &request, NULL, "T"), DLK_SIGV4_EINPUT);
    assert_int_equal(dlk_sigv4_append_scope(NULL, "T", "r", "s"), DLK_SIGV4_EINPUT);
    assert_int_equal(dlk_sigv4_canonical_request(*state, NULL, &names, &request, NULL, "T"),
                     DLK_SIGV4_EINPUT);
    assert_int_equal(dlk_sigv4_string_to_sign(*state, NULL, &text, "T", "r", "s"),
                     DLK_SIGV4_EINPUT);
    assert_int_equal(dlk_sigv4_signing_key(*state, NULL, "T", "r", "s", key), DLK_SIGV4_EINPUT);
    assert_int_equal(dlk_sigv4_append_path(&text, NULL), DLK_SIGV4_EINPUT);
    dlk_sigv4_text_free(&text);
    assert_int_equal(dlk_sigv4_append_headers(&text, &names, &request, NULL, NULL),
                     DLK_SIGV4_EINPUT);
    dlk_sigv4_text_free(&text);
    assert_int_equal(dlk_sigv4_append_scope(&text, "20150830", "r", "s"), DLK_SIGV4_EINPUT);
    dlk_sigv4_text_free(&text);
    assert_int_equal(dlk_sigv4_string_to_sign(*state, &text, &names, "20150830T123600Z", "r", "s"),
                     DLK_SIGV4_EINPUT);
    dlk_sigv4_text_free(&text);
    dlk_sigv4_text_free(NULL);
    dlk_sigv4_signature_free(NULL);
    dlk_sigv4_signer_free(NULL);
}

static char *repeat(char c, size_t count)
{
    char *s = malloc(count + 1);

    assert_non_null(s);
    memset(s, c, count);
    s[count] = '\0';
    return s;
}

static void test_limits(void **state)
{
    char *big = repeat('a', DLK_SIGV4_MAX_TEXT), *spaces = repeat(' ', DLK_SIGV4_MAX_TEXT / 2);
    struct dlk_sigv4_header headers[] = {{"host", "h"}, {"k", big}};
    struct dlk_sigv4_request request = request_of(&suite[0]);
    struct dlk_sigv4_credentials credentials = suite_credentials;
    struct dlk_sigv4_signature out;

    request.headers = headers;
    request.header_count = 2;
    check_refused(*state, &request, &suite_credentials, "r", "s", 0, DLK_SIGV4_ETOOBIG);
    request.header_count = 1;
    request.query = big;
    check_refused(*state, &request, &suite_credentials, "r", "s", 0, DLK_SIGV4_ETOOBIG);
    request.query = spaces; /* three times as long when encoded */
    check_refused(*state, &request, &suite_credentials, "r", "s", 0, DLK_SIGV4_ETOOBIG);
    request.query = NULL;
    big[0] = '/';
    request.path = big;
    check_refused(*state, &request, &suite_credentials, "r", "s", 0, DLK_SIGV4_ETOOBIG);
    request.path = "/";
    credentials.secret_access_key = big;
    check_refused(*state, &request, &credentials, "r", "s", 0, DLK_SIGV4_ETOOBIG);
    /* What is no text of the signer's is not limited. */
    headers[1].value = spaces; /* cppcheck-suppress unreadVariable; request.headers points to it */
    request.header_count = 2;
    request.body = big;
    request.body_length = DLK_SIGV4_MAX_TEXT;
    assert_int_equal(dlk_sigv4_sign(*state, &request, &suite_credentials, "r", "s", 0, &out),
                     DLK_SIGV4_OK);
    dlk_sigv4_signature_free(&out);
    free(big);
    free(spaces);
}

static void test_growing(void **state)
{
    struct dlk_sigv4_text text = {0};

    (void)state;
    for (size_t i = 0; i < DLK_SIGV4_MAX_TEXT - 1; i++) {
        assert_int_equal(dlk_sigv4_append_char(&text, (char)('a' + i % 26)), DLK_SIGV4_OK);
    }
    assert_int_equal(text.length, DLK_SIGV4_MAX_TEXT - 1);
    assert_int_equal(strlen(text.data), text.length);
    assert_int_equal(text.data[25999], 'z');
    assert_int_equal(dlk_sigv4_append_char(&text, 'x'), DLK_SIGV4_ETOOBIG);
    assert_int_equal(dlk_sigv4_append(&text, "", 0), DLK_SIGV4_ETOOBIG);
    assert_int_equal(dlk_sigv4_fail(&text, DLK_SIGV4_ENOMEM), DLK_SIGV4_ETOOBIG);
    dlk_sigv4_text_free(&text);
    assert_null(text.data);
}

/*
 * OpenSSL short of memory: its allocations can be made to fail from the n-th on without a special
 * build.
 */

static atomic_long allocations_left = -1; /* below 0: unlimited */

static bool may_allocate(void)
{
    long left = atomic_load(&allocations_left);

    if (left > 0) {
        atomic_store(&allocations_left, left - 1);
    }
    return left != 0;
}

static void *short_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return may_allocate() ? malloc(size) : NULL;
}

static void *short_realloc(void *p, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return may_allocate() ? realloc(p, size) : NULL;
}

static void short_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    free(p);
}

static int sign_once(void)
{
    const struct dlk_sigv4_request request = request_of(&suite[0]);
    dlk_sigv4_signer *signer = NULL;
    struct dlk_sigv4_signature out = {{0}, NULL};
    int status = dlk_sigv4_signer_new(&signer);

    if (status == DLK_SIGV4_OK) {
        status = dlk_sigv4_sign(signer, &request, &suite_credentials, "us-east-1", "service",
                                SUITE_TIME, &out);
    }
    atomic_store(&allocations_left, -1);
    if (status == DLK_SIGV4_OK) {
        check_signature("short of memory", &out, suite[0].signature);
    }
    dlk_sigv4_signature_free(&out);
    dlk_sigv4_signer_free(signer);
    return status;
}

static void test_crypto_failures(void **state)
{
    int status = DLK_SIGV4_ECRYPTO, failures = 0;

    (void)state;
    assert_int_equal(sign_once(), DLK_SIGV4_OK); /* what OpenSSL makes once is made */
    for (long left = 0; status != DLK_SIGV4_OK; left++) {
        assert_in_range(left, 0, 1000);
        atomic_store(&allocations_left, left);
        status = sign_once();
        if (status != DLK_SIGV4_OK) {
            assert_int_equal(status, DLK_SIGV4_ECRYPTO);
            failures++;
        }
    }
    assert_true(failures > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suite_vectors),
        cmocka_unit_test(test_s3_examples),
        cmocka_unit_test(test_iam_example),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_path_appends),
        cmocka_unit_test(test_queries),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_body_hashes),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_parts_do_not_run_together),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_refused_arguments),
        cmocka_unit_test(test_refused_requests),
        cmocka_unit_test(test_stages_take_no_nulls),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_growing),
        cmocka_unit_test(test_crypto_failures),
    };

    if (CRYPTO_set_mem_functions(short_malloc, short_realloc, short_free) != 1) {
        fprintf(stderr, "unit_sigv4: OpenSSL has allocated already\n");
        return EXIT_FAILURE;
    }
    return cmocka_run_group_tests(tests, make_signer, free_signer);
}
