/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signer against a slower one: the same canonical request, text to sign, signature and refusals, whatever it has
 * signed before. An input: what is left out (a byte), flags (a byte), the time (eight bytes); then texts, each up to a
 * byte 0xFF: method, path, query, body, access key id, secret, token, region, service, what is signed next (a byte
 * each), and names and values of headers. Of the very end: what there is to be much of (a byte), and by how much more than
 * there may be (a byte).
 */
#include "../sigv4.h"
#include "fuzz.h"
#include "slow_signer.h"

#include <stdlib.h>
#include <string.h>

enum { KEEP_SEGMENTS = 1, KEEP_ENCODING = 2, NO_QUERY = 4, NO_TOKEN = 8, YEAR_2015 = 16 };
enum { LONG_SECRET = 1, MANY_HEADERS };
enum { ROUNDS = 12, HEADERS = 24 };

struct texts {
    char *method, *path, *query, *body, *id, *secret, *token, *region, *service, *next;
    char *headers[2 * HEADERS];
    size_t body_length, header_count;
};

/* What a byte of `next` says of one signature. */
enum {
    WITH_SERIAL = 1,
    OTHER_SECRET = 2,
    NEXT_DAY = 4,
    OTHER_REGION = 8,
    OTHER_SERVICE = 16,
    SAME_DAY = 32
};

static void read_texts(struct fuzz_input *input, struct texts *texts)
{
    texts->method = fuzz_text(input, NULL);
    texts->path = fuzz_text(input, NULL);
    texts->query = fuzz_text(input, NULL);
    texts->body = fuzz_text(input, &texts->body_length);
    texts->id = fuzz_text(input, NULL);
    texts->secret = fuzz_text(input, NULL);
    texts->token = fuzz_text(input, NULL);
    texts->region = fuzz_text(input, NULL);
    texts->service = fuzz_text(input, NULL);
    texts->next = fuzz_text(input, NULL);
    while (input->left > 0 && texts->header_count < HEADERS) {
        texts->headers[2 * texts->header_count] = fuzz_text(input, NULL);
        texts->headers[2 * texts->header_count + 1] = fuzz_text(input, NULL);
        texts->header_count++;
    }
}

static void free_texts(struct texts *texts)
{
    char *const all[] = {texts->method, texts->path,  texts->query,  texts->body,    texts->id,
                         texts->secret, texts->token, texts->region, texts->service, texts->next};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
    for (size_t i = 0; i < 2 * texts->header_count; i++) {
        free(texts->headers[i]);
    }
}

/* ---- One signature ---- */

/* The stages by themselves say the same. */
static void check_stages(dlk_sigv4_signer *signer, const struct dlk_sigv4_request *request,
                         const char *token, const char *region, const char *service,
                         const struct slow_signature *slow)
{
    struct dlk_sigv4_text canonical = {0}, names = {0}, to_sign = {0};
    int status =
        dlk_sigv4_canonical_request(signer, &canonical, &names, request, token, slow->timestamp);
    if (slow->verdict == 0) {
        fuzz_check(status == DLK_SIGV4_OK);
        fuzz_check(strcmp(canonical.data, slow->canonical) == 0 &&
                   canonical.length == strlen(slow->canonical));
        fuzz_check(strcmp(names.data, slow->names) == 0);
        fuzz_check(dlk_sigv4_string_to_sign(signer, &to_sign, &canonical, slow->timestamp, region,
                                            service) == 0);
        fuzz_check(strcmp(to_sign.data, slow->to_sign) == 0);
    } else {
        fuzz_check(status <= DLK_SIGV4_OK && status >= DLK_SIGV4_ETOOBIG);
        fuzz_check(status == canonical.status);
    }
    dlk_sigv4_text_free(&canonical);
    dlk_sigv4_text_free(&names);
    dlk_sigv4_text_free(&to_sign);
}

static void check_signature(dlk_sigv4_signer *signer, const struct dlk_sigv4_request *request,
                            const struct dlk_sigv4_credentials *credentials, const char *region,
                            const char *service, int64_t unix_time, bool stages)
{
    char untouched[] = "untouched";
    struct dlk_sigv4_signature quick = {"never", untouched};
    struct slow_signature slow;
    slow_sign(request, credentials, region, service, unix_time, &slow);
    int status = dlk_sigv4_sign(signer, request, credentials, region, service, unix_time, &quick);

    fuzz_check(status != DLK_SIGV4_OK || (slow.verdict & (SLOW_REFUSED | SLOW_TOO_BIG)) == 0);
    fuzz_check(status != DLK_SIGV4_EINPUT || (slow.verdict & SLOW_REFUSED) != 0);
    fuzz_check(status != DLK_SIGV4_ETOOBIG ||
               (slow.verdict & (SLOW_TOO_BIG | SLOW_PERHAPS_TOO_BIG)) != 0);
    fuzz_check(status == DLK_SIGV4_OK || status == DLK_SIGV4_EINPUT || status == DLK_SIGV4_ETOOBIG);
    if (status == DLK_SIGV4_OK) {
        fuzz_check(strcmp(quick.timestamp, slow.timestamp) == 0);
        fuzz_check(strcmp(quick.authorization, slow.authorization) == 0);
        dlk_sigv4_signature_free(&quick);
        fuzz_check(quick.authorization == NULL);
    } else {
        fuzz_check(quick.authorization == untouched && strcmp(quick.timestamp, "never") == 0);
    }
    if (stages && slow.timestamp[0] != '\0') {
        check_stages(signer, request, credentials->session_token, region, service, &slow);
    }
    slow_signature_free(&slow);
}

/* ---- Several ---- */

/* A serial stands for an id and a secret: 1 for the one secret, 2 for the other. */
static void check_next(dlk_sigv4_signer *signer, const struct dlk_sigv4_request *request,
                       const struct dlk_sigv4_credentials *first, const char *region,
                       const char *service, int64_t unix_time, unsigned how)
{
    struct dlk_sigv4_credentials credentials = *first;
    if ((how & OTHER_SECRET) != 0) {
        credentials.secret_access_key = "another";
    }
    if ((how & WITH_SERIAL) != 0) {
        credentials.serial = (how & OTHER_SECRET) != 0 ? 2 : 1;
    }
    region = (how & OTHER_REGION) != 0 ? "eu-west-1" : region;
    service = (how & OTHER_SERVICE) != 0 ? "sts" : service;
    unix_time += (how & NEXT_DAY) != 0 && unix_time < INT64_MAX / 2 ? 86400 : 0;
    unix_time += (how & SAME_DAY) != 0 && unix_time < INT64_MAX / 2 ? 1 : 0;
    check_signature(signer, request, &credentials, region, service, unix_time, false);
}

/* The secret, with what the key is made of besides, is by so many bytes longer than a text may be. */
static void lengthen_secret(struct texts *texts, int over)
{
    size_t length = (size_t)(DLK_SIGV4_MAX_TEXT + over) - sizeof "AWS4";
    free(texts->secret);
    texts->secret = malloc(length + 1);
    if (texts->secret == NULL) {
        abort();
    }
    memset(texts->secret, 'a', length);
    texts->secret[length] = '\0';
}

/* What there is of the request, of the texts as they are now. */
static void set_request(const struct texts *texts, unsigned left_out, unsigned flags,
                        struct dlk_sigv4_header *headers, struct dlk_sigv4_request *request,
                        struct dlk_sigv4_credentials *credentials)
{
    for (size_t i = 0; i < texts->header_count; i++) {
        headers[i].name = left_out == 1 && i == 0 ? NULL : texts->headers[2 * i];
        headers[i].value = left_out == 2 && i == 0 ? NULL : texts->headers[2 * i + 1];
    }
    *request = (struct dlk_sigv4_request){
        .method = left_out == 3 ? NULL : texts->method,
        .path = left_out == 4 ? NULL : texts->path,
        .query = (flags & NO_QUERY) != 0 ? NULL : texts->query,
        .headers = left_out == 5 ? NULL : headers,
        .header_count = texts->header_count,
        .body = left_out == 6 ? NULL : texts->body,
        .body_length = texts->body_length,
        .keep_segments = (flags & KEEP_SEGMENTS) != 0,
        .keep_encoding = (flags & KEEP_ENCODING) != 0,
    };
    *credentials = (struct dlk_sigv4_credentials){
        .access_key_id = left_out == 7 ? NULL : texts->id,
        .secret_access_key = left_out == 8 ? NULL : texts->secret,
        .session_token = (flags & NO_TOKEN) != 0 ? NULL : texts->token,
    };
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t tail = size >= 2 ? 2 : 0;
    struct fuzz_input input = {data, size - tail};
    unsigned left_out = fuzz_byte(&input), flags = fuzz_byte(&input);
    unsigned which = tail > 0 ? data[size - 2] : 0;
    int over = tail > 0 ? data[size - 1] - 128 : 0;
    int64_t unix_time = fuzz_int(&input);
    struct texts texts = {0};
    struct dlk_sigv4_header headers[DLK_SIGV4_MAX_HEADERS + 2] = {{0}};
    struct dlk_sigv4_request request;
    struct dlk_sigv4_credentials credentials;
    dlk_sigv4_signer *signer = NULL;

    read_texts(&input, &texts);
    unix_time = (flags & YEAR_2015) != 0 ? 1440938160 : unix_time;
    if (which == LONG_SECRET) {
        lengthen_secret(&texts, over);
    }
    set_request(&texts, left_out, flags, headers, &request, &credentials);
    if (which == MANY_HEADERS && texts.header_count > 0) {
        for (; request.header_count < DLK_SIGV4_MAX_HEADERS + (size_t)(over > 0);
             request.header_count++) {
            /* cppcheck-suppress unreadVariable; request.headers points to it */
            headers[request.header_count] = headers[texts.header_count - 1];
        }
    }

    const char *region = left_out == 9 ? NULL : texts.region;
    const char *service = left_out == 10 ? NULL : texts.service;
    fuzz_check(dlk_sigv4_signer_new(&signer) == DLK_SIGV4_OK);
    check_signature(signer, &request, &credentials, region, service, unix_time, true);
    for (size_t i = 0; i < ROUNDS && texts.next[i] != '\0'; i++) {
        check_next(signer, &request, &credentials, region, service, unix_time,
                   (unsigned char)texts.next[i]);
    }
    check_signature(signer, &request, &credentials, region, service, unix_time, false);
    dlk_sigv4_signer_free(signer);
    free_texts(&texts);
    return 0;
}
