/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signs what it is told to, for signers.test.mjs: a line of JSON in, a line of JSON out, until the
 * input ends.
 *
 * In: method, path, query (null: none), headers ([[name, value], ...]), body (base64),
 * access_key_id, secret_access_key, session_token (null: none), region, service, time (seconds),
 * keep_segments, keep_encoding.
 *
 * Out: {"status", "canonical", "string_to_sign", "authorization", "timestamp"}, or {"status"} alone
 * if it is not 0.
 */
#include "../sigv4.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tool_case {
    struct dlk_sigv4_request request;
    struct dlk_sigv4_credentials credentials;
    const char *region, *service, *body;
    json_t *header_list;
    json_int_t time;
};

static int tool_base64_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = c == '\0' ? NULL : strchr(digits, c);

    return found == NULL ? -1 : (int)(found - digits);
}

/* Padding just ends the text; the result is never NULL but for want of memory. */
static unsigned char *tool_base64_decode(const char *text, size_t *length)
{
    unsigned char *bytes = malloc(strlen(text) / 4 * 3 + 3);
    unsigned long bits = 0;

    *length = 0;
    for (size_t i = 0; bytes != NULL && tool_base64_value(text[i]) >= 0; i++) {
        bits = (bits << 6 | (unsigned long)tool_base64_value(text[i])) & 0xffffff;
        if (i % 4 > 0) {
            bytes[(*length)++] = (unsigned char)(bits >> (6 - 2 * (i % 4)));
        }
    }
    return bytes;
}

static struct dlk_sigv4_header *tool_headers(json_t *list)
{
    struct dlk_sigv4_header *headers = calloc(json_array_size(list) + 1, sizeof *headers);

    for (size_t i = 0; headers != NULL && i < json_array_size(list); i++) {
        json_t *pair = json_array_get(list, i);

        headers[i].name = json_string_value(json_array_get(pair, 0));
        headers[i].value = json_string_value(json_array_get(pair, 1));
    }
    return headers;
}

static int tool_unpack(json_t *in, struct tool_case *c, json_error_t *error)
{
    json_t *query = NULL, *token = NULL;
    int keep_segments = 0, keep_encoding = 0;
    int status = json_unpack_ex(
        in, error, 0, "{s:s, s:s, s:o, s:o, s:s, s:s, s:s, s:o, s:s, s:s, s:I, s:b, s:b}", "method",
        &c->request.method, "path", &c->request.path, "query", &query, "headers", &c->header_list,
        "body", &c->body, "access_key_id", &c->credentials.access_key_id, "secret_access_key",
        &c->credentials.secret_access_key, "session_token", &token, "region", &c->region, "service",
        &c->service, "time", &c->time, "keep_segments", &keep_segments, "keep_encoding",
        &keep_encoding);

    c->request.query = json_string_value(query);
    c->credentials.session_token = json_string_value(token);
    c->request.keep_segments = keep_segments != 0;
    c->request.keep_encoding = keep_encoding != 0;
    return status;
}

static json_t *tool_sign(dlk_sigv4_signer *signer, const struct tool_case *c)
{
    struct dlk_sigv4_signature signature = {{0}, NULL};
    struct dlk_sigv4_text canonical = {0}, names = {0}, to_sign = {0};
    json_t *out = NULL;
    int status = dlk_sigv4_sign(signer, &c->request, &c->credentials, c->region, c->service,
                                c->time, &signature);

    if (status == DLK_SIGV4_OK) {
        status = dlk_sigv4_canonical_request(signer, &canonical, &names, &c->request,
                                             c->credentials.session_token, signature.timestamp);
    }
    if (status == DLK_SIGV4_OK) {
        status = dlk_sigv4_string_to_sign(signer, &to_sign, &canonical, signature.timestamp,
                                          c->region, c->service);
    }
    if (status == DLK_SIGV4_OK) {
        out = json_pack("{s:i, s:s, s:s, s:s, s:s}", "status", status, "canonical", canonical.data,
                        "string_to_sign", to_sign.data, "authorization", signature.authorization,
                        "timestamp", signature.timestamp);
    } else {
        out = json_pack("{s:i}", "status", status);
    }
    dlk_sigv4_signature_free(&signature);
    dlk_sigv4_text_free(&canonical);
    dlk_sigv4_text_free(&names);
    dlk_sigv4_text_free(&to_sign);
    return out;
}

/* The answer to one line; NULL if the line is not what it should be, or memory has run out. */
static json_t *tool_answer(dlk_sigv4_signer *signer, const char *line)
{
    json_error_t error = {0};
    struct tool_case c = {0};
    json_t *in = json_loads(line, 0, &error), *out = NULL;
    unsigned char *body = NULL;
    struct dlk_sigv4_header *headers = NULL;

    if (in == NULL || tool_unpack(in, &c, &error) != 0) {
        fprintf(stderr, "signer_tool: %s\n", error.text);
        json_decref(in);
        return NULL;
    }
    body = tool_base64_decode(c.body, &c.request.body_length);
    headers = tool_headers(c.header_list);
    if (body != NULL && headers != NULL) {
        c.request.body = body;
        c.request.headers = headers;
        c.request.header_count = json_array_size(c.header_list);
        out = tool_sign(signer, &c);
    }
    free(headers);
    free(body);
    json_decref(in);
    return out;
}

int main(void)
{
    dlk_sigv4_signer *signer;
    char *line = NULL;
    size_t size = 0;
    int status = EXIT_SUCCESS;

    if (dlk_sigv4_signer_new(&signer) != DLK_SIGV4_OK) {
        return EXIT_FAILURE;
    }
    while (status == EXIT_SUCCESS && getline(&line, &size, stdin) > 0) {
        json_t *out = tool_answer(signer, line);

        if (out == NULL || json_dumpf(out, stdout, JSON_COMPACT) != 0 || putchar('\n') == EOF) {
            status = EXIT_FAILURE;
        }
        json_decref(out);
    }
    if (fflush(stdout) != 0) {
        status = EXIT_FAILURE;
    }
    free(line);
    dlk_sigv4_signer_free(signer);
    return status;
}
