/* SPDX-License-Identifier: Apache-2.0 */
/* Requests with the signatures that AWS has published for them; for unit_sigv4.c. */
#ifndef SIGV4_SUITE_VECTORS_H
#define SIGV4_SUITE_VECTORS_H

#include "../../sigv4.h"

/* clang-format off */

#define UNRESERVED "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define EMPTY_HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

enum { MOST_HEADERS = 8 };

struct vector {
    const char *name, *method, *path, *query;
    struct dlk_sigv4_header headers[MOST_HEADERS];
    const char *body, *token;
    bool keep_segments;
    const char *signature;
};

#define HOST {"Host", "example.amazonaws.com"}
#define SUITE_TOKEN "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"
#define STS_TOKEN                                                                                  \
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSP" \
    "fIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYw"  \
    "T7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKml" \
    "zm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
#define FORM_HASH "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"
#define FORM_HEADERS {"Content-Length", "13"}, {"x-amz-content-sha256", FORM_HASH}

/* AWS's signing test suite, as its SDKs have it. */
static const struct vector suite[] = {
    {"get-vanilla", "GET", "/", NULL, {HOST}, NULL, NULL, false,
     "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
    {"post-vanilla", "POST", "/", NULL, {HOST}, NULL, NULL, false,
     "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
    {"get-header-key-duplicate", "GET", "/", NULL, {HOST, {"My-Header1", "value2"}, {"My-Header1",
     "value2"}, {"My-Header1", "value1"}}, NULL, NULL, false,
     "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
    {"get-header-value-multiline", "GET", "/", NULL, {HOST, {"My-Header1",
     "value1\n  value2\n     value3"}}, NULL, NULL, false,
     "cfd34249e4b1c8d6b91ef74165d41a32e5fab3306300901bb65a51a73575eefd"},
    {"get-header-value-order", "GET", "/", NULL, {HOST, {"My-Header1", "value4"}, {"My-Header1",
     "value1"}, {"My-Header1", "value3"}, {"My-Header1", "value2"}}, NULL, NULL, false,
     "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"},
    {"get-header-value-trim", "GET", "/", NULL, {HOST, {"My-Header1", " value1"}, {"My-Header2",
     " \"a   b   c\""}}, NULL, NULL, false,
     "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
    {"get-relative-normalized", "GET", "/example/..", NULL, {HOST}, NULL, NULL, false,
     "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
    {"get-relative-unnormalized", "GET", "/example/..", NULL, {HOST}, NULL, NULL, true,
     "eca7ead57bb5aa5c8e28007acd4ff04e1ff9a0ff3b237ec1554a184887ff9282"},
    {"get-relative-relative-normalized", "GET", "/example1/example2/../..", NULL, {HOST}, NULL,
     NULL, false, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
    {"get-relative-relative-unnormalized", "GET", "/example1/example2/../..", NULL, {HOST}, NULL,
     NULL, true, "dc33e0856fd4baca4d7aa2146c38958283844764f38c74252a333df5e613003b"},
    {"get-slash-normalized", "GET", "//", NULL, {HOST}, NULL, NULL, false,
     "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
    {"get-slash-unnormalized", "GET", "//", NULL, {HOST}, NULL, NULL, true,
     "c88bcd3d312d75078c0cd961d6deae3f4c754924b01669efcfcb439fd5e5b76e"},
    {"get-slash-dot-slash-unnormalized", "GET", "/./", NULL, {HOST}, NULL, NULL, true,
     "68714168e6557f8f2de0ef956fc24dc2593a4bd2961f8df51898d8a134695145"},
    {"get-slash-pointless-dot-normalized", "GET", "/./example", NULL, {HOST}, NULL, NULL, false,
     "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"},
    {"get-slash-pointless-dot-unnormalized", "GET", "/./example", NULL, {HOST}, NULL, NULL, true,
     "beb03f223f7deae4146464f06e29eebbee9c8afbe15c290cf07aa8b119e14cff"},
    {"get-slashes-normalized", "GET", "//example//", NULL, {HOST}, NULL, NULL, false,
     "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"},
    {"get-slashes-unnormalized", "GET", "//example//", NULL, {HOST}, NULL, NULL, true,
     "87cca117541a147f6df867677d98a7d80dff226d2bfca9e4ffa899665623c7e5"},
    {"get-space-normalized", "GET", "/example space/", NULL, {HOST}, NULL, NULL, false,
     "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},
    {"get-space-unnormalized", "GET", "/example space/", NULL, {HOST}, NULL, NULL, true,
     "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},
    {"get-unreserved", "GET", "/" UNRESERVED, NULL, {HOST}, NULL, NULL, false,
     "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
    {"get-utf8", "GET", "/\xe1\x88\xb4", NULL, {HOST}, NULL, NULL, false,
     "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
    {"get-vanilla-empty-query-key", "GET", "/", "Param1=value1", {HOST}, NULL, NULL, false,
     "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
    {"get-vanilla-query-order-encoded", "GET", "/",
     "Param-3=Value3&Param=Value2&%E1%88%B4=Value1", {HOST}, NULL, NULL, false,
     "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac"},
    {"get-vanilla-query-order-key-case", "GET", "/", "Param2=value2&Param1=value1", {HOST}, NULL,
     NULL, false, "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
    {"get-vanilla-query-unreserved", "GET", "/", UNRESERVED "=" UNRESERVED, {HOST}, NULL, NULL,
     false, "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
    {"get-vanilla-utf8-query", "GET", "/", "\xe1\x88\xb4=bar", {HOST}, NULL, NULL, false,
     "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
    {"get-vanilla-with-session-token", "GET", "/", NULL, {HOST}, NULL, SUITE_TOKEN, false,
     "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"},
    {"the same, token among the headers", "GET", "/", NULL, {{"x-amz-SECURITY-token",
     SUITE_TOKEN}, HOST, {"X-Amz-Date", "20150830T123600Z"}}, NULL, SUITE_TOKEN, false,
     "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"},
    {"post-sts-header-before", "POST", "/", NULL, {HOST}, NULL, STS_TOKEN, false,
     "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"},
    {"post-header-key-sort", "POST", "/", NULL, {HOST, {"My-Header1", "value1"}}, NULL, NULL,
     false, "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
    {"post-header-value-case", "POST", "/", NULL, {HOST, {"My-Header1", "VALUE1"}}, NULL, NULL,
     false, "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"},
    {"post-vanilla-query", "POST", "/", "Param1=value1", {HOST}, NULL, NULL, false,
     "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
    {"post-x-www-form-urlencoded", "POST", "/", NULL, {{"Content-Type",
     "application/x-www-form-urlencoded"}, HOST, FORM_HEADERS}, "Param1=value1", NULL, false,
     "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b"},
    {"post-x-www-form-urlencoded-parameters", "POST", "/", NULL, {{"Content-Type",
     "application/x-www-form-urlencoded; charset=utf-8"}, HOST, FORM_HEADERS}, "Param1=value1",
     NULL, false, "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422"},
};

/* The examples of Amazon S3's reference on signing in the Authorization header. */
#define S3_HOST {"Host", "examplebucket.s3.amazonaws.com"}
#define S3_EMPTY {"x-amz-content-sha256", EMPTY_HASH}

static const struct vector s3_examples[] = {
    {"get object", "GET", "/test.txt", NULL, {S3_HOST, {"Range", "bytes=0-9"}, S3_EMPTY}, NULL,
     NULL, true, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
    {"put object", "PUT", "/test%24file.text", NULL, {S3_HOST, {"Date",
     "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-content-sha256",
     "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"}, {"x-amz-storage-class",
     "REDUCED_REDUNDANCY"}}, "Welcome to Amazon S3.", NULL, true,
     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
    {"get bucket lifecycle", "GET", "/", "lifecycle", {S3_HOST, S3_EMPTY}, NULL, NULL, true,
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
    {"list objects", "GET", "/", "max-keys=2&prefix=J", {S3_HOST, S3_EMPTY}, NULL, NULL, true,
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
};

/* clang-format on */

#endif
