/* SPDX-License-Identifier: Apache-2.0 */
#include "slow_signer.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define SLOW_ALPHANUMERIC "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

/* ---- Texts ---- */

static char *slow_copy(const char *text, size_t length)
{
    char *copy = malloc(length + 1);
    if (copy == NULL) {
        abort();
    }
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

static void slow_add_bytes(char **text, const char *more, size_t length)
{
    size_t used = *text == NULL ? 0 : strlen(*text);
    char *longer = realloc(*text, used + length + 1);
    if (longer == NULL) {
        abort();
    }
    memcpy(longer + used, more, length);
    longer[used + length] = '\0';
    *text = longer;
}

static void slow_add(char **text, const char *more)
{
    slow_add_bytes(text, more, strlen(more));
}

struct slow_list {
    char **texts;
    size_t count;
};

static void slow_append(struct slow_list *list, char *text)
{
    list->texts = realloc(list->texts, (list->count + 1) * sizeof *list->texts);
    if (list->texts == NULL) {
        abort();
    }
    list->texts[list->count++] = text;
}

static void slow_list_free(struct slow_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->texts[i]);
    }
    free(list->texts);
}

/* The parts between the separators, empty ones too. */
static struct slow_list slow_split(const char *text, char separator)
{
    struct slow_list list = {0};
    const char *end;
    while ((end = strchr(text, separator)) != NULL) {
        slow_append(&list, slow_copy(text, (size_t)(end - text)));
        text = end + 1;
    }
    slow_append(&list, slow_copy(text, strlen(text)));
    return list;
}

/* ---- URIs ---- */

/* UriEncode: every byte but the unreserved characters of RFC 3986. */
static char *slow_encode(const char *text)
{
    char *encoded = malloc(3 * strlen(text) + 1), *to = encoded;
    if (encoded == NULL) {
        abort();
    }
    for (;;) {
        size_t plain = strspn(text, SLOW_ALPHANUMERIC "-._~");
        memcpy(to, text, plain);
        to += plain;
        text += plain;
        if (*text == '\0') {
            *to = '\0';
            return encoded;
        }
        to += sprintf(to, "%%%02X", (unsigned)(unsigned char)*text++);
    }
}

/* Escapes are bytes, NUL too; what only looks like one stays, and so does a plus. */
static char *slow_decode(const char *text, size_t *length)
{
    char *decoded = slow_copy(text, strlen(text)), *to = decoded;
    while (*text != '\0') {
        if (*text == '%' && strspn(text + 1, "0123456789abcdefABCDEF") >= 2) {
            char digits[3] = {text[1], text[2], '\0'};
            *to++ = (char)strtol(digits, NULL, 16);
            text += 3;
        } else {
            *to++ = *text++;
        }
    }
    *length = (size_t)(to - decoded);
    *to = '\0';
    return decoded;
}

/* Of the query: decoded, then encoded. */
static char *slow_reencode(const char *text)
{
    char *whole = NULL;
    size_t length;
    char *decoded = slow_decode(text, &length);
    slow_add(&whole, "");
    for (size_t at = 0; at <= length; at += strlen(decoded + at) + 1) {
        char *part = slow_encode(decoded + at);
        slow_add(&whole, at > 0 ? "%00" : "");
        slow_add(&whole, part);
        free(part);
    }
    free(decoded);
    return whole;
}

static char *slow_path(const struct dlk_sigv4_request *request)
{
    const char *path = *request->path == '\0' ? "/" : request->path;
    struct slow_list parts = slow_split(path + 1, '/'), kept = {0};
    char *joined = NULL;
    for (size_t i = 0; i < parts.count; i++) {
        const char *part = parts.texts[i];
        if (request->keep_segments) {
            slow_append(&kept, slow_copy(part, strlen(part)));
        } else if (strcmp(part, "..") == 0 && kept.count > 0) {
            free(kept.texts[--kept.count]);
        } else if (strcmp(part, "..") != 0 && strcmp(part, ".") != 0 && *part != '\0') {
            slow_append(&kept, slow_copy(part, strlen(part)));
        }
    }
    for (size_t i = 0; i < kept.count; i++) {
        char *encoded = request->keep_encoding ? slow_copy(kept.texts[i], strlen(kept.texts[i]))
                                               : slow_encode(kept.texts[i]);
        slow_add(&joined, "/");
        slow_add(&joined, encoded);
        free(encoded);
    }
    if (joined == NULL || (!request->keep_segments && path[strlen(path) - 1] == '/')) {
        slow_add(&joined, "/");
    }
    slow_list_free(&parts);
    slow_list_free(&kept);
    return joined;
}

struct slow_pair {
    char *name, *value;
};

static bool slow_is_before(const struct slow_pair *a, const struct slow_pair *b)
{
    int order = strcmp(a->name, b->name);
    return order < 0 || (order == 0 && strcmp(a->value, b->value) < 0);
}

static char *slow_query(const char *query)
{
    struct slow_list parts = slow_split(query == NULL ? "" : query, '&');
    struct slow_pair *pairs = calloc(parts.count, sizeof *pairs);
    char *joined = NULL;
    size_t count = 0;
    if (pairs == NULL) {
        abort();
    }
    for (size_t i = 0; i < parts.count; i++) {
        char *equals = strchr(parts.texts[i], '=');
        if (*parts.texts[i] == '\0') {
            continue;
        }
        if (equals != NULL) {
            *equals++ = '\0';
        }
        struct slow_pair pair = {slow_reencode(parts.texts[i]),
                                 slow_reencode(equals == NULL ? "" : equals)};
        size_t at = count++;
        for (; at > 0 && slow_is_before(&pair, &pairs[at - 1]); at--) {
            pairs[at] = pairs[at - 1];
        }
        pairs[at] = pair;
    }
    slow_add(&joined, "");
    for (size_t i = 0; i < count; i++) {
        slow_add(&joined, i > 0 ? "&" : "");
        slow_add(&joined, pairs[i].name);
        slow_add(&joined, "=");
        slow_add(&joined, pairs[i].value);
        free(pairs[i].name);
        free(pairs[i].value);
    }
    free(pairs);
    slow_list_free(&parts);
    return joined;
}

/* ---- Headers ---- */

static bool slow_is_signed(const char *name)
{
    static const char *const names[] = {
        "authorization", "connection", "expect",     "keep-alive",        "te",
        "trailer",       "upgrade",    "user-agent", "transfer-encoding", "x-amzn-trace-id"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcasecmp(name, names[i]) == 0) {
            return false;
        }
    }
    return strncasecmp(name, "proxy-", 6) != 0;
}

/* Lines unfolded, tabs made spaces, the spaces at both ends taken off, and of several in a row one left. NULL: it has a
 * character that a header cannot have. */
static char *slow_value(const char *value)
{
    char *folded = slow_copy(value, strlen(value)), *to = folded;
    for (const char *at = value; *at != '\0'; at++) {
        const char *end = at[0] == '\r' && at[1] == '\n' ? at + 1 : at;
        if (*end == '\n' && (end[1] == ' ' || end[1] == '\t')) {
            at = end + 1;
            *to++ = ' ';
        } else if (*at == '\t') {
            *to++ = ' ';
        } else if ((unsigned char)*at < ' ' || *at == 0x7F) {
            free(folded);
            return NULL;
        } else {
            *to++ = *at;
        }
    }
    *to = '\0';
    for (to = folded; *to != '\0';) {
        if (*to == ' ' && (to == folded || to[1] == ' ' || to[1] == '\0')) {
            memmove(to, to + 1, strlen(to));
        } else {
            to++;
        }
    }
    return folded;
}

static char *slow_lower(const char *text)
{
    char *lower = slow_copy(text, strlen(text));
    for (char *at = lower; *at != '\0'; at++) {
        *at = (char)(*at >= 'A' && *at <= 'Z' ? *at + 32 : *at);
    }
    return lower;
}

/* The lines and the names of the signed headers; false: a value cannot be sent. */
static bool slow_headers(const struct dlk_sigv4_header *headers, size_t count, char **lines,
                         char **names)
{
    struct slow_list sorted = {0}; /* names in lower case, each once */
    bool sound = true;
    for (size_t i = 0; i < count; i++) {
        char *name = slow_lower(headers[i].name);
        size_t at = 0;
        while (at < sorted.count && strcmp(sorted.texts[at], name) < 0) {
            at++;
        }
        if (!slow_is_signed(name) || (at < sorted.count && strcmp(sorted.texts[at], name) == 0)) {
            free(name);
            continue;
        }
        slow_append(&sorted, NULL);
        memmove(sorted.texts + at + 1, sorted.texts + at,
                (sorted.count - 1 - at) * sizeof *sorted.texts);
        sorted.texts[at] = name;
    }
    for (size_t n = 0; n < sorted.count; n++) {
        const char *before = ":";
        slow_add(names, n > 0 ? ";" : "");
        slow_add(names, sorted.texts[n]);
        slow_add(lines, sorted.texts[n]);
        for (size_t i = 0; i < count; i++) {
            if (strcasecmp(headers[i].name, sorted.texts[n]) == 0) {
                char *value = slow_value(headers[i].value);
                sound = sound && value != NULL;
                slow_add(lines, before);
                slow_add(lines, value == NULL ? "" : value);
                free(value);
                before = ",";
            }
        }
        slow_add(lines, "\n");
    }
    slow_list_free(&sorted);
    return sound;
}

/* ---- What is refused ---- */

static bool slow_has_only(const char *text, const char *characters)
{
    return text != NULL && *text != '\0' && text[strspn(text, characters)] == '\0';
}

static bool slow_is_token(const char *text)
{
    return slow_has_only(text, SLOW_ALPHANUMERIC "!#$%&'*+-.^_`|~");
}

static bool slow_is_scope(const char *text)
{
    return slow_has_only(text, SLOW_ALPHANUMERIC "!\"#$%&'()*+-.:;<=>?@[\\]^_`{|}~");
}

static bool slow_is_visible(const char *text)
{
    return slow_has_only(text, SLOW_ALPHANUMERIC "!\"#$%&'()*+-.:;<=>?@[\\]^_`{|}~/,");
}

static bool slow_has_control(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((*text > 0 && *text < ' ') || *text == 0x7F) {
            return true;
        }
    }
    return false;
}

/* How often it is there, and that it is the value, if there is one. */
static size_t slow_count(const struct dlk_sigv4_request *request, const char *name,
                         const char *value, bool *same)
{
    size_t count = 0;
    for (size_t i = 0; i < request->header_count; i++) {
        if (strcasecmp(request->headers[i].name, name) == 0) {
            *same = *same && (value == NULL || strcmp(request->headers[i].value, value) == 0);
            count++;
        }
    }
    return count;
}

static bool slow_headers_are_sound(const struct dlk_sigv4_request *request, const char *token,
                                   const char *timestamp)
{
    bool same = true;
    for (size_t i = 0; i < request->header_count; i++) {
        if (request->headers == NULL || !slow_is_token(request->headers[i].name) ||
            request->headers[i].value == NULL) {
            return false;
        }
    }
    return slow_count(request, "host", NULL, &same) == 1 &&
           slow_count(request, "x-amz-content-sha256", NULL, &same) <= 1 &&
           slow_count(request, "x-amz-date", timestamp, &same) <= 1 &&
           slow_count(request, "x-amz-security-token", token, &same) <= 1 && same;
}

static bool slow_is_sound(const struct dlk_sigv4_request *request,
                          const struct dlk_sigv4_credentials *credentials, const char *region,
                          const char *service, const char *token, const char *timestamp)
{
    const char *path = request->path, *query = request->query == NULL ? "" : request->query;
    return *timestamp != '\0' && slow_is_token(request->method) && path != NULL &&
           (*path == '\0' || *path == '/') && strpbrk(path, "?#") == NULL &&
           !slow_has_control(path) && strchr(query, '#') == NULL && !slow_has_control(query) &&
           (request->body != NULL || request->body_length == 0) &&
           slow_is_scope(credentials->access_key_id) && slow_is_scope(region) &&
           slow_is_scope(service) && credentials->secret_access_key != NULL &&
           *credentials->secret_access_key != '\0' && (token == NULL || slow_is_visible(token)) &&
           slow_headers_are_sound(request, token, timestamp);
}

/* ---- Signing ---- */

static void slow_add_hex(char **text, const unsigned char *bytes)
{
    char hex[2 * SHA256_DIGEST_LENGTH + 1] = "";
    for (size_t i = 0; i < SHA256_DIGEST_LENGTH; i++) {
        hex[2 * i] = "0123456789abcdef"[bytes[i] / 16];
        hex[2 * i + 1] = "0123456789abcdef"[bytes[i] % 16];
    }
    slow_add(text, hex);
}

static void slow_add_sha256(char **text, const void *bytes, size_t length)
{
    unsigned char hash[SHA256_DIGEST_LENGTH];
    if (SHA256(length > 0 ? bytes : "", length, hash) == NULL) {
        abort();
    }
    slow_add_hex(text, hash);
}

static void slow_hmac(const void *key, size_t key_length, const char *text,
                      unsigned char mac[SHA256_DIGEST_LENGTH])
{
    unsigned char made[EVP_MAX_MD_SIZE];
    if (HMAC(EVP_sha256(), key, (int)key_length, (const unsigned char *)text, strlen(text), made,
             NULL) == NULL) {
        abort();
    }
    memcpy(mac, made, SHA256_DIGEST_LENGTH);
}

/* All headers that are to be sent. */
static struct dlk_sigv4_header *slow_all_headers(const struct dlk_sigv4_request *request,
                                                 const char *token, const char *timestamp,
                                                 size_t *count)
{
    struct dlk_sigv4_header *all = calloc(request->header_count + 2, sizeof *all);
    bool same = true;
    if (all == NULL) {
        abort();
    }
    *count = request->header_count;
    for (size_t i = 0; i < *count; i++) {
        all[i] = request->headers[i];
    }
    if (slow_count(request, "x-amz-date", NULL, &same) == 0) {
        all[(*count)++] = (struct dlk_sigv4_header){"x-amz-date", timestamp};
    }
    if (token != NULL && slow_count(request, "x-amz-security-token", NULL, &same) == 0) {
        all[(*count)++] = (struct dlk_sigv4_header){"x-amz-security-token", token};
    }
    return all;
}

/* False: a header's value cannot be sent. */
static bool slow_canonical(const struct dlk_sigv4_request *request, const char *token,
                           struct slow_signature *out)
{
    char *path = slow_path(request), *query = slow_query(request->query), *hash = NULL;
    size_t count;
    struct dlk_sigv4_header *all = slow_all_headers(request, token, out->timestamp, &count);
    slow_add(&out->canonical, request->method);
    slow_add(&out->canonical, "\n");
    slow_add(&out->canonical, path);
    slow_add(&out->canonical, "\n");
    slow_add(&out->canonical, query);
    slow_add(&out->canonical, "\n");
    bool sound = slow_headers(all, count, &out->canonical, &out->names);
    slow_add(&out->canonical, "\n");
    slow_add(&out->canonical, out->names);
    slow_add(&out->canonical, "\n");
    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(all[i].name, "x-amz-content-sha256") == 0) {
            hash = slow_value(all[i].value);
        }
    }
    if (hash == NULL) {
        slow_add_sha256(&hash, request->body, request->body_length);
    }
    slow_add(&out->canonical, hash);
    free(hash);
    free(all);
    free(query);
    free(path);
    return sound;
}

static void slow_sign_text(const struct dlk_sigv4_credentials *credentials, const char *region,
                           const char *service, struct slow_signature *out)
{
    unsigned char key[SHA256_DIGEST_LENGTH];
    char date[9], *secret = NULL, *scope = NULL;
    (void)snprintf(date, sizeof date, "%.8s", out->timestamp);
    slow_add(&scope, date);
    slow_add(&scope, "/");
    slow_add(&scope, region);
    slow_add(&scope, "/");
    slow_add(&scope, service);
    slow_add(&scope, "/aws4_request");

    slow_add(&out->to_sign, "AWS4-HMAC-SHA256\n");
    slow_add(&out->to_sign, out->timestamp);
    slow_add(&out->to_sign, "\n");
    slow_add(&out->to_sign, scope);
    slow_add(&out->to_sign, "\n");
    slow_add_sha256(&out->to_sign, out->canonical, strlen(out->canonical));

    slow_add(&secret, "AWS4");
    slow_add(&secret, credentials->secret_access_key);
    slow_hmac(secret, strlen(secret), date, key);
    slow_hmac(key, sizeof key, region, key);
    slow_hmac(key, sizeof key, service, key);
    slow_hmac(key, sizeof key, "aws4_request", key);
    slow_hmac(key, sizeof key, out->to_sign, key);

    slow_add(&out->authorization, "AWS4-HMAC-SHA256 Credential=");
    slow_add(&out->authorization, credentials->access_key_id);
    slow_add(&out->authorization, "/");
    slow_add(&out->authorization, scope);
    slow_add(&out->authorization, ", SignedHeaders=");
    slow_add(&out->authorization, out->names);
    slow_add(&out->authorization, ", Signature=");
    slow_add_hex(&out->authorization, key);
    free(secret);
    free(scope);
}

/* With the NUL behind it. */
static bool slow_is_too_big(const char *text)
{
    return text != NULL && strlen(text) + 1 > DLK_SIGV4_MAX_TEXT;
}

/* The path before segments are taken away, the query before it is decoded, what a key is known by. */
static bool slow_is_perhaps_too_big(const struct dlk_sigv4_request *request,
                                    const struct dlk_sigv4_credentials *credentials)
{
    size_t path = request->path == NULL ? 0 : strlen(request->path);
    size_t query = request->query == NULL ? 0 : strlen(request->query);
    return 3 * path >= DLK_SIGV4_MAX_TEXT || query >= DLK_SIGV4_MAX_TEXT ||
           (credentials->secret_access_key != NULL &&
            strlen(credentials->secret_access_key) >= DLK_SIGV4_MAX_TEXT / 2);
}

void slow_sign(const struct dlk_sigv4_request *request,
               const struct dlk_sigv4_credentials *credentials, const char *region,
               const char *service, int64_t unix_time, struct slow_signature *out)
{
    const char *token = credentials->session_token;
    time_t seconds = (time_t)unix_time;
    struct tm date;
    memset(out, 0, sizeof *out);
    token = token == NULL || *token == '\0' ? NULL : token;
    if (unix_time >= 0 && gmtime_r(&seconds, &date) != NULL && date.tm_year + 1900 <= 9999) {
        (void)strftime(out->timestamp, sizeof out->timestamp, "%Y%m%dT%H%M%SZ", &date);
    }
    if (request->header_count > DLK_SIGV4_MAX_HEADERS) {
        out->verdict |= SLOW_TOO_BIG;
    }
    if (slow_is_perhaps_too_big(request, credentials)) {
        out->verdict |= SLOW_PERHAPS_TOO_BIG;
    }
    if (!slow_is_sound(request, credentials, region, service, token, out->timestamp) ||
        !slow_canonical(request, token, out)) {
        out->verdict |= SLOW_REFUSED;
        return;
    }
    slow_sign_text(credentials, region, service, out);
    if (slow_is_too_big(out->canonical) || slow_is_too_big(out->authorization) ||
        sizeof "AWS4" + strlen(credentials->secret_access_key) > DLK_SIGV4_MAX_TEXT) {
        out->verdict |= SLOW_TOO_BIG;
    }
}

void slow_signature_free(struct slow_signature *signature)
{
    free(signature->canonical);
    free(signature->names);
    free(signature->to_sign);
    free(signature->authorization);
    memset(signature, 0, sizeof *signature);
}
