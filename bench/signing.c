/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request costs before it is sent, and an answer after it came, without libcurl: signing on a cached key
 * against a bare loop of the same hashes, composing a body, reading a record.
 *
 *   signing           a line of JSON for each
 *   signing NAME N    N times ours of one, in a function bench_counted
 */
#include "bench.h"
#include "internal.h"

#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

#define SIGN_REGION "us-east-1"
#define SIGN_SERVICE "dynamodb"

static dynalock_store *store;
static struct dlk_call call;
static dlk_sigv4_signer *signer;
static const struct dlk_sigv4_credentials credentials = {
    .access_key_id = "AKIDBENCHBENCHBENCHB",
    .secret_access_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYBENCHBENCH",
    .serial = 1};
static const struct dlk_sigv4_header headers[] = {
    {"content-type", "application/x-amz-json-1.0"},
    {"host", "dynamodb.us-east-1.amazonaws.com"},
    {"x-amz-target", "DynamoDB_20120810.UpdateItem"},
};
static struct dlk_sigv4_request request = {
    .method = "POST", .path = "/", .headers = headers, .header_count = 3};
static const int64_t moment = 1700000000;

/* What is hashed in the course of it. */
static struct dlk_sigv4_text canonical, string_to_sign;
static unsigned char key[DLK_SIGV4_HASH_SIZE];
static EVP_MD *sha256;
static EVP_MD_CTX *digest;
static EVP_MAC_CTX *mac;

static const char record[] =
    "{\"Item\":{\"expires\":{\"N\":\"4102444800\"},\"id\":{\"S\":\"bench\"},"
    "\"name\":{\"S\":\"kv-0123456789\"},\"nonce\":{\"S\":\"0123456789abcdef0123456789abcdef.1."
    "1700000000000001\"},\"payload\":{\"S\":\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"},"
    "\"version\":{\"N\":\"1700000000000001\"}}}";

static void need(bool done, const char *what)
{
    if (!done) {
        bench_fail("signing", what);
    }
}

/* ---- What is measured ---- */

static void sign_ours(void *context, long times)
{
    (void)context;
    for (long i = 0; i < times; i++) {
        struct dlk_sigv4_signature signature;
        need(dlk_sigv4_sign(signer, &request, &credentials, SIGN_REGION, SIGN_SERVICE, moment,
                            &signature) == 0,
             "a signature");
        dlk_sigv4_signature_free(&signature);
    }
}

/* The hash of the body, that of the canonical request, and the HMAC of the string to sign; algorithms are fetched
 * and contexts made before. */
static void sign_bare(void *context, long times)
{
    unsigned char hash[DLK_SIGV4_HASH_SIZE];
    unsigned int size = 0;
    size_t length = 0;
    const struct {
        const void *bytes;
        size_t length;
    } texts[2] = {{request.body, request.body_length}, {canonical.data, canonical.length}};
    (void)context;
    for (long i = 0; i < times; i++) {
        for (int text = 0; text < 2; text++) {
            need(EVP_DigestInit_ex(digest, sha256, NULL) == 1 &&
                     EVP_DigestUpdate(digest, texts[text].bytes, texts[text].length) == 1 &&
                     EVP_DigestFinal_ex(digest, hash, &size) == 1,
                 "a hash");
        }
        need(EVP_MAC_init(mac, key, sizeof key, NULL) == 1 &&
                 EVP_MAC_update(mac, (const unsigned char *)string_to_sign.data,
                                string_to_sign.length) == 1 &&
                 EVP_MAC_final(mac, hash, &length, sizeof hash) == 1,
             "an HMAC");
    }
}

/* The body of a put. */
static void encode_ours(void *context, long times)
{
    struct dlk_buffer value;
    (void)context;
    dlk_buffer_init(&value, 65536);
    for (long i = 0; i < times; i++) {
        dynalock_value bytes = dynalock_bytes(record, 100);
        dynalock_error error;
        size_t size = 0;
        dlk_buffer_clear(&value);
        need(dlk_json_value(&value, &bytes, &size, &error) == 0, "a value");
        struct dlk_item item = {.version = 1700000000000001,
                                .has_expires = true,
                                .expires = 4102444800,
                                .value = value.data,
                                .value_length = value.length};
        dlk_request_put(store, &call, "kv-0123456789", &item);
    }
    need(dlk_buffer_ok(&call.body), "a body");
    dlk_buffer_free(&value);
}

static void decode_ours(void *context, long times)
{
    (void)context;
    for (long i = 0; i < times; i++) {
        dynalock_kv *kv = NULL;
        dynalock_error error;
        bench_check(dlk_json_item(record, sizeof record - 1, &kv, &error), &error, "a record");
        dynalock_kv_free(kv);
    }
}

static void decode_bare(void *context, long times)
{
    (void)context;
    for (long i = 0; i < times; i++) {
        json_t *json = json_loadb(record, sizeof record - 1, 0, NULL);
        need(json != NULL, "JSON");
        json_decref(json);
    }
}

/* ---- Setting up ---- */

static void prepare(void)
{
    struct dlk_sigv4_text names = {0};
    char timestamp[DLK_SIGV4_TIMESTAMP_SIZE];
    char algorithm[] = "SHA256";
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, algorithm, 0),
        OSSL_PARAM_construct_end()};
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    encode_ours(NULL, 1);
    request.body = call.body.data;
    request.body_length = call.body.length;
    need(dlk_sigv4_signer_new(&signer) == 0 && dlk_sigv4_format_time(moment, timestamp) == 0 &&
             dlk_sigv4_canonical_request(signer, &canonical, &names, &request, NULL, timestamp) ==
                 0 &&
             dlk_sigv4_string_to_sign(signer, &string_to_sign, &canonical, timestamp, SIGN_REGION,
                                      SIGN_SERVICE) == 0 &&
             dlk_sigv4_signing_key(signer, &credentials, timestamp, SIGN_REGION, SIGN_SERVICE,
                                   key) == 0,
         "the stages of a signature");
    dlk_sigv4_text_free(&names);
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    digest = EVP_MD_CTX_new();
    mac = EVP_MAC_CTX_new(hmac);
    need(sha256 != NULL && digest != NULL && mac != NULL &&
             EVP_MAC_CTX_set_params(mac, parameters) == 1,
         "OpenSSL");
    EVP_MAC_free(hmac);
}

static void finish(void)
{
    EVP_MD_CTX_free(digest);
    EVP_MAC_CTX_free(mac);
    EVP_MD_free(sha256);
    dlk_sigv4_text_free(&canonical);
    dlk_sigv4_text_free(&string_to_sign);
    dlk_sigv4_signer_free(signer);
    dlk_call_free(&call);
    (void)dynalock_close(store);
}

/* Callgrind is told to count in here alone. */
__attribute__((noinline)) void bench_counted(const struct bench_pair *pair, long times);

void bench_counted(const struct bench_pair *pair, long times)
{
    pair->ours(pair->context, times);
}

int main(int argc, char **argv)
{
    struct bench_pair pairs[] = {
        {.name = "signature", .floor = sign_bare, .ours = sign_ours},
        {.name = "decode", .floor = decode_bare, .ours = decode_ours},
        {.name = "encode", .floor = encode_ours, .ours = encode_ours},
    };
    const size_t count = sizeof pairs / sizeof *pairs;
    dynalock_options options = {0};
    store = bench_store(&options);
    dlk_call_init(store, &call, "UpdateItem", "kv-0123456789");
    prepare();
    for (size_t i = 0; i < count && argc == 3; i++) {
        if (strcmp(pairs[i].name, argv[1]) == 0) {
            pairs[i].ours(NULL, 2);
            bench_counted(&pairs[i], strtol(argv[2], NULL, 10));
        }
    }
    if (argc != 3) {
        bench_measure(pairs, count);
        for (size_t i = 0; i < count; i++) {
            if (pairs[i].rounds > 0) {
                bench_print(bench_medians("stage", &pairs[i]));
            }
        }
    }
    finish();
    return 0;
}
