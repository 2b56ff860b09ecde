/* SPDX-License-Identifier: Apache-2.0 */
/* Time, path, query and headers as SigV4 wants them; no cryptography. */
#include "sigv4.h"

#include <stdlib.h>
#include <string.h>

/* Characters, independent of the locale */

static bool canon_is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool canon_is_control(char c)
{
    return (unsigned char)c < ' ' || c == 0x7f;
}

static char canon_lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static int canon_hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = canon_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* HTTP's token: a method, or the name of a header. */
bool dlk_sigv4_is_token(const char *s)
{
    if (s == NULL || *s == '\0') {
        return false;
    }
    for (; *s != '\0'; s++) {
        if (!canon_is_alphanumeric(*s) && strchr("!#$%&'*+-.^_`|~", *s) == NULL) {
            return false;
        }
    }
    return true;
}

/* What stands in the Credential, where '/' and ',' are separators. */
bool dlk_sigv4_is_scope_part(const char *s)
{
    const char *p = s;

    if (s == NULL) {
        return false;
    }
    while (*p > ' ' && *p <= '~' && *p != '/' && *p != ',') {
        p++;
    }
    return p != s && *p == '\0';
}

static bool canon_is_visible_ascii(const char *s)
{
    while (*s > ' ' && *s <= '~') {
        s++;
    }
    return *s == '\0';
}

static bool canon_is_uri_part(const char *s, const char *refused)
{
    for (; *s != '\0'; s++) {
        if (canon_is_control(*s) || strchr(refused, *s) != NULL) {
            return false;
        }
    }
    return true;
}

/* The time */

static bool canon_is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static char *canon_put_digits(char *out, int value, int width)
{
    for (int i = width - 1; i >= 0; i--) {
        out[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return out + width;
}

/* Not gmtime_r: time_t may be narrower than the time that is passed in. */
int dlk_sigv4_format_time(int64_t unix_time, char out[DLK_SIGV4_TIMESTAMP_SIZE])
{
    static const int64_t end_of_9999 = INT64_C(253402300799);
    static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year = 1970, month = 0, days, seconds;

    if (out == NULL || unix_time < 0 || unix_time > end_of_9999) {
        return DLK_SIGV4_EINPUT;
    }
    days = (int)(unix_time / 86400);
    seconds = (int)(unix_time % 86400);
    for (; days >= 365 + canon_is_leap(year); year++) {
        days -= 365 + canon_is_leap(year);
    }
    for (; days >= month_days[month] + (month == 1 && canon_is_leap(year)); month++) {
        days -= month_days[month] + (month == 1 && canon_is_leap(year));
    }
    out = canon_put_digits(canon_put_digits(canon_put_digits(out, year, 4), month + 1, 2), days + 1,
                           2);
    *out++ = 'T';
    out = canon_put_digits(canon_put_digits(out, seconds / 3600, 2), seconds / 60 % 60, 2);
    out = canon_put_digits(out, seconds % 60, 2);
    *out++ = 'Z';
    *out = '\0';
    return DLK_SIGV4_OK;
}

/* The path and the query */

static int canon_append_encoded(struct dlk_sigv4_text *out, char c)
{
    static const char digits[] = "0123456789ABCDEF";
    unsigned char byte = (unsigned char)c;
    char encoded[3] = {'%', digits[byte >> 4], digits[byte & 15]};

    if (canon_is_alphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~') {
        return dlk_sigv4_append_char(out, c);
    }
    return dlk_sigv4_append(out, encoded, sizeof encoded);
}

static void canon_append_segment(struct dlk_sigv4_text *out, const char *segment, size_t length,
                                 bool keep_encoding)
{
    if (keep_encoding) {
        (void)dlk_sigv4_append(out, segment, length);
        return;
    }
    for (size_t i = 0; i < length; i++) {
        (void)canon_append_encoded(out, segment[i]);
    }
}

/* Takes the last segment and its slash off what was appended from `start` on. */
static void canon_pop_segment(struct dlk_sigv4_text *out, size_t start)
{
    while (out->length > start) {
        out->length--;
        if (out->data[out->length] == '/') {
            break;
        }
    }
    if (out->data != NULL) {
        out->data[out->length] = '\0';
    }
}

static void canon_append_normalised(struct dlk_sigv4_text *out, const char *path,
                                    bool keep_encoding)
{
    size_t start = out->length;
    const char *p = path;

    while (*p != '\0') {
        size_t length = strcspn(++p, "/");

        if (length == 2 && p[0] == '.' && p[1] == '.') {
            canon_pop_segment(out, start);
        } else if (length > 0 && !(length == 1 && p[0] == '.')) {
            (void)dlk_sigv4_append_char(out, '/');
            canon_append_segment(out, p, length, keep_encoding);
        }
        p += length;
    }
    if (out->length == start || p[-1] == '/') {
        (void)dlk_sigv4_append_char(out, '/');
    }
}

int dlk_sigv4_append_path(struct dlk_sigv4_text *out, const struct dlk_sigv4_request *request)
{
    const char *path;

    if (out == NULL) {
        return DLK_SIGV4_EINPUT;
    }
    if (request == NULL || request->path == NULL ||
        (request->path[0] != '\0' && request->path[0] != '/') ||
        !canon_is_uri_part(request->path, "?#")) {
        return dlk_sigv4_fail(out, DLK_SIGV4_EINPUT);
    }
    path = request->path[0] == '\0' ? "/" : request->path;
    if (!request->keep_segments) {
        canon_append_normalised(out, path, request->keep_encoding);
        return out->status;
    }
    while (*path != '\0') {
        size_t length = strcspn(++path, "/");

        (void)dlk_sigv4_append_char(out, '/');
        canon_append_segment(out, path, length, request->keep_encoding);
        path += length;
    }
    return out->status;
}

/*
 * A '+' stays one, as in AWS's own SDKs: it is a space only in forms. A '%' that begins no escape
 * is taken for itself.
 */
static void canon_append_reencoded(struct dlk_sigv4_text *out, const char *s, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        int high = s[i] == '%' && length - i > 2 ? canon_hex_value(s[i + 1]) : -1;
        int low = high >= 0 ? canon_hex_value(s[i + 2]) : -1;

        if (low >= 0) {
            (void)canon_append_encoded(out, (char)(unsigned char)(high * 16 + low));
            i += 2;
        } else {
            (void)canon_append_encoded(out, s[i]);
        }
    }
}

struct canon_pair {
    const char *start; /* key, then value, both encoded */
    size_t offset, key_length, value_length;
};

static int canon_compare_bytes(const char *a, size_t a_length, const char *b, size_t b_length)
{
    int order = memcmp(a, b, a_length < b_length ? a_length : b_length);

    return order != 0 ? order : (a_length > b_length) - (a_length < b_length);
}

static int canon_compare_pairs(const void *left, const void *right)
{
    const struct canon_pair *a = left, *b = right;
    int order = canon_compare_bytes(a->start, a->key_length, b->start, b->key_length);

    return order != 0 ? order
                      : canon_compare_bytes(a->start + a->key_length, a->value_length,
                                            b->start + b->key_length, b->value_length);
}

/* Appends keys and values one after another, and says in `pairs` where they are. */
static size_t canon_split_query(struct dlk_sigv4_text *encoded, struct canon_pair *pairs,
                                const char *query)
{
    size_t count = 0;

    while (*query != '\0') {
        size_t length = strcspn(query, "&");
        size_t key_length = strcspn(query, "=&");
        size_t value_start = key_length < length ? key_length + 1 : length;
        struct canon_pair *pair = &pairs[count];

        if (length > 0) {
            pair->offset = encoded->length;
            canon_append_reencoded(encoded, query, key_length);
            pair->key_length = encoded->length - pair->offset;
            canon_append_reencoded(encoded, query + value_start, length - value_start);
            pair->value_length = encoded->length - pair->offset - pair->key_length;
            count++;
        }
        query += length + (query[length] == '&');
    }
    return count;
}

static void canon_append_sorted(struct dlk_sigv4_text *out, const char *encoded,
                                struct canon_pair *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        pairs[i].start = encoded + pairs[i].offset;
    }
    qsort(pairs, count, sizeof *pairs, canon_compare_pairs);
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            (void)dlk_sigv4_append_char(out, '&');
        }
        (void)dlk_sigv4_append(out, pairs[i].start, pairs[i].key_length);
        (void)dlk_sigv4_append_char(out, '=');
        (void)dlk_sigv4_append(out, pairs[i].start + pairs[i].key_length, pairs[i].value_length);
    }
}

int dlk_sigv4_append_query(struct dlk_sigv4_text *out, const char *query)
{
    struct dlk_sigv4_text encoded = {0};
    struct canon_pair *pairs;
    size_t count = 1;

    if (out == NULL) {
        return DLK_SIGV4_EINPUT;
    }
    if (query == NULL || *query == '\0' || out->status != DLK_SIGV4_OK) {
        return out->status;
    }
    if (!canon_is_uri_part(query, "#")) {
        return dlk_sigv4_fail(out, DLK_SIGV4_EINPUT);
    }
    if (strlen(query) >= DLK_SIGV4_MAX_TEXT) {
        return dlk_sigv4_fail(out, DLK_SIGV4_ETOOBIG);
    }
    for (const char *p = query; *p != '\0'; p++) {
        count += *p == '&';
    }
    pairs = malloc(count * sizeof *pairs);
    if (pairs == NULL) {
        return dlk_sigv4_fail(out, DLK_SIGV4_ENOMEM);
    }
    /* So that there is a text to point into even if all keys and values are empty. */
    (void)dlk_sigv4_append_char(&encoded, '&');
    count = canon_split_query(&encoded, pairs, query);
    if (encoded.status == DLK_SIGV4_OK) {
        canon_append_sorted(out, encoded.data, pairs, count);
    } else {
        (void)dlk_sigv4_fail(out, encoded.status);
    }
    free(pairs);
    dlk_sigv4_text_free(&encoded);
    return out->status;
}

/* The headers */

struct canon_header {
    const char *name, *value;
    size_t arrival;
};

static int canon_compare_names(const char *a, const char *b)
{
    while (*a != '\0' && canon_lower(*a) == canon_lower(*b)) {
        a++;
        b++;
    }
    return (unsigned char)canon_lower(*a) - (unsigned char)canon_lower(*b);
}

static int canon_compare_headers(const void *left, const void *right)
{
    const struct canon_header *a = left, *b = right;
    int order = canon_compare_names(a->name, b->name);

    return order != 0 ? order : (a->arrival > b->arrival) - (a->arrival < b->arrival);
}

/* What a client library or a proxy may add, change or take away after signing. */
static bool canon_is_unsigned(const char *name)
{
    static const char names[][20] = {
        "authorization", "connection", "expect",     "keep-alive",        "te",
        "trailer",       "upgrade",    "user-agent", "transfer-encoding", "x-amzn-trace-id"};
    static const char prefix[] = "proxy-";
    size_t i = 0;

    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
        if (canon_lower(name[0]) == names[n][0] && canon_compare_names(name, names[n]) == 0) {
            return true;
        }
    }
    while (prefix[i] != '\0' && canon_lower(name[i]) == prefix[i]) {
        i++;
    }
    return prefix[i] == '\0';
}

/*
 * The length of the white space at p, folded lines included; -1: a control character that has no
 * place there.
 */
static int canon_white_space(const char *p)
{
    size_t line_end = p[0] == '\r' && p[1] == '\n' ? 2 : p[0] == '\n';

    if (line_end > 0) {
        return p[line_end] == ' ' || p[line_end] == '\t' ? (int)line_end + 1 : -1;
    }
    if (*p == ' ' || *p == '\t') {
        return 1;
    }
    return *p != '\0' && canon_is_control(*p) ? -1 : 0;
}

int dlk_sigv4_append_value(struct dlk_sigv4_text *out, const char *value)
{
    bool begun = false;

    while (*value != '\0') {
        const char *word;
        int space;

        while ((space = canon_white_space(value)) > 0) {
            value += space;
        }
        word = value;
        while (*value != '\0' && *value != ' ' && !canon_is_control(*value)) {
            value++;
        }
        if (space < 0) {
            return dlk_sigv4_fail(out, DLK_SIGV4_EINPUT);
        }
        if (begun && value > word) {
            (void)dlk_sigv4_append_char(out, ' ');
        }
        (void)dlk_sigv4_append(out, word, (size_t)(value - word));
        begun = true;
    }
    return out->status;
}

static void canon_append_name(struct dlk_sigv4_text *lines, struct dlk_sigv4_text *names,
                              const char *name)
{
    size_t length = 0;

    for (; name[length] != '\0'; length++) {
        (void)dlk_sigv4_append_char(names, canon_lower(name[length]));
    }
    if (names->status == DLK_SIGV4_OK) {
        (void)dlk_sigv4_append(lines, names->data + names->length - length, length);
    }
}

const char *dlk_sigv4_find_header(const struct dlk_sigv4_request *request, const char *name,
                                  size_t *count)
{
    const char *value = NULL;

    *count = 0;
    for (size_t i = 0; i < request->header_count; i++) {
        const char *given = request->headers[i].name;
        if (canon_lower(given[0]) == name[0] && canon_compare_names(given, name) == 0) {
            value = request->headers[i].value;
            ++*count;
        }
    }
    return value;
}

/* Whether the caller's own header, if any, is the one that is to be there. */
static int canon_check_added(const struct dlk_sigv4_request *request, const char *name,
                             const char *value, bool *there)
{
    size_t count;
    const char *found = dlk_sigv4_find_header(request, name, &count);

    *there = count > 0;
    if (count > 1 || (found != NULL && value != NULL && strcmp(found, value) != 0)) {
        return DLK_SIGV4_EINPUT;
    }
    return DLK_SIGV4_OK;
}

static int canon_check_headers(const struct dlk_sigv4_request *request)
{
    size_t hosts, hashes;

    if (request->header_count > DLK_SIGV4_MAX_HEADERS) {
        return DLK_SIGV4_ETOOBIG;
    }
    if (request->headers == NULL) {
        return DLK_SIGV4_EINPUT;
    }
    for (size_t i = 0; i < request->header_count; i++) {
        if (!dlk_sigv4_is_token(request->headers[i].name) || request->headers[i].value == NULL) {
            return DLK_SIGV4_EINPUT;
        }
    }
    (void)dlk_sigv4_find_header(request, "host", &hosts);
    (void)dlk_sigv4_find_header(request, "x-amz-content-sha256", &hashes);
    return hosts == 1 && hashes <= 1 ? DLK_SIGV4_OK : DLK_SIGV4_EINPUT;
}

/* `sorted` has room for the request's headers and two more. */
static int canon_collect_headers(const struct dlk_sigv4_request *request, const char *token,
                                 const char *timestamp, struct canon_header *sorted, size_t *count)
{
    bool has_date, has_token;
    size_t n = 0;

    if (canon_check_added(request, "x-amz-date", timestamp, &has_date) != DLK_SIGV4_OK ||
        canon_check_added(request, "x-amz-security-token", token, &has_token) != DLK_SIGV4_OK) {
        return DLK_SIGV4_EINPUT;
    }
    for (size_t i = 0; i < request->header_count; i++) {
        if (!canon_is_unsigned(request->headers[i].name)) {
            sorted[n] =
                (struct canon_header){request->headers[i].name, request->headers[i].value, n};
            n++;
        }
    }
    if (!has_date) {
        sorted[n] = (struct canon_header){"x-amz-date", timestamp, n};
        n++;
    }
    if (!has_token && token != NULL) {
        sorted[n] = (struct canon_header){"x-amz-security-token", token, n};
        n++;
    }
    qsort(sorted, n, sizeof *sorted, canon_compare_headers);
    *count = n;
    return DLK_SIGV4_OK;
}

static void canon_append_header_lines(struct dlk_sigv4_text *lines, struct dlk_sigv4_text *names,
                                      const struct canon_header *sorted, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && canon_compare_names(sorted[i - 1].name, sorted[i].name) == 0) {
            (void)dlk_sigv4_append_char(lines, ',');
        } else {
            if (i > 0) {
                (void)dlk_sigv4_append_char(lines, '\n');
                (void)dlk_sigv4_append_char(names, ';');
            }
            canon_append_name(lines, names, sorted[i].name);
            (void)dlk_sigv4_append_char(lines, ':');
        }
        (void)dlk_sigv4_append_value(lines, sorted[i].value);
    }
    (void)dlk_sigv4_append_char(lines, '\n');
}

int dlk_sigv4_append_headers(struct dlk_sigv4_text *lines, struct dlk_sigv4_text *names,
                             const struct dlk_sigv4_request *request, const char *session_token,
                             const char *timestamp)
{
    const char *token = session_token == NULL || *session_token == '\0' ? NULL : session_token;
    struct canon_header *sorted;
    size_t count = 0;
    int status;

    if (lines == NULL || names == NULL) {
        return DLK_SIGV4_EINPUT;
    }
    if (request == NULL || timestamp == NULL || (token != NULL && !canon_is_visible_ascii(token))) {
        return dlk_sigv4_fail(lines, DLK_SIGV4_EINPUT);
    }
    status = canon_check_headers(request);
    if (status != DLK_SIGV4_OK) {
        return dlk_sigv4_fail(lines, status);
    }
    sorted = malloc((request->header_count + 2) * sizeof *sorted);
    if (sorted == NULL) {
        return dlk_sigv4_fail(lines, DLK_SIGV4_ENOMEM);
    }
    status = canon_collect_headers(request, token, timestamp, sorted, &count);
    if (status == DLK_SIGV4_OK) {
        canon_append_header_lines(lines, names, sorted, count);
    }
    free(sorted);
    return dlk_sigv4_fail(lines, status != DLK_SIGV4_OK ? status : names->status);
}
