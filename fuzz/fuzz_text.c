/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dates, UTF-8, base64, JSON strings, regions and their endpoints, nonces, and what dates teach of the server's time:
 * the first byte says which, the rest is what they are given. Each against the slow and obvious way.
 */
#define _GNU_SOURCE 1 /* before any header: timegm */
#include "message.h"
#include "slow_value.h"

#include <inttypes.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEXT_LAST_SECOND INT64_C(253402300799) /* of the year 9999 */

/* Whether it matches; the parts. The pattern is always the same at one place. */
static bool text_matches(regex_t *form, const char *pattern, const char *text, regmatch_t parts[12])
{
    if (form->re_nsub == 0) {
        fuzz_check(regcomp(form, pattern, REG_EXTENDED) == 0 && form->re_nsub > 0);
    }
    return regexec(form, text, 12, parts, 0) == 0;
}

static int text_number(const char *text, regmatch_t part)
{
    return (int)strtol(text + part.rm_so, NULL, 10);
}

/* ---- Dates ---- */

/* False: there is no such moment. A leap second is taken for the one that follows. */
static bool text_moment(struct tm tm, int64_t *moment)
{
    struct tm same = tm;
    bool leaps = tm.tm_sec == 60;
    same.tm_sec -= leaps ? 1 : 0;
    struct tm given = same;
    time_t seconds = timegm(&same);
    *moment = (int64_t)seconds + (leaps ? 1 : 0);
    return tm.tm_year >= 70 && tm.tm_sec <= 60 && given.tm_mon == same.tm_mon &&
           given.tm_mday == same.tm_mday && given.tm_hour == same.tm_hour &&
           given.tm_min == same.tm_min && given.tm_sec == same.tm_sec;
}

static void text_check_http_date(const char *text)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    static regex_t form;
    regmatch_t parts[12];
    int64_t quick = -7, slow = 0;
    bool sound = text_matches(
        &form,
        "^..., ([0-9]{2}) ([JFMASOND][a-z]{2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT$",
        text, parts);
    if (sound) {
        char month[4];
        (void)snprintf(month, sizeof month, "%.3s", text + parts[2].rm_so);
        const char *found = strstr(months, month);
        struct tm tm = {.tm_mday = text_number(text, parts[1]),
                        .tm_year = text_number(text, parts[3]) - 1900,
                        .tm_mon = found != NULL ? (int)(found - months) / 3 : -1,
                        .tm_hour = text_number(text, parts[4]),
                        .tm_min = text_number(text, parts[5]),
                        .tm_sec = text_number(text, parts[6])};
        sound = found != NULL && (found - months) % 3 == 0 && text_moment(tm, &slow);
    }
    bool taken = dlk_http_date(text, &quick);
    fuzz_check(taken == sound);
    fuzz_check(taken ? quick == slow && quick >= 0 && quick <= TEXT_LAST_SECOND + 1 : quick == -7);
}

static void text_check_rfc3339(const char *text)
{
    static regex_t form;
    regmatch_t parts[12];
    int64_t quick = -7, slow = 0;
    bool sound =
        text_matches(&form,
                     "^([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})"
                     "(\\.[0-9]+)?(Z|z|UTC|[+-]([0-9]{2}):([0-9]{2}))$",
                     text, parts);
    if (sound) {
        struct tm tm = {.tm_year = text_number(text, parts[1]) - 1900,
                        .tm_mon = text_number(text, parts[2]) - 1,
                        .tm_mday = text_number(text, parts[3]),
                        .tm_hour = text_number(text, parts[4]),
                        .tm_min = text_number(text, parts[5]),
                        .tm_sec = text_number(text, parts[6])};
        sound = text_moment(tm, &slow);
    }
    if (sound && parts[9].rm_so >= 0) {
        int hours = text_number(text, parts[9]), minutes = text_number(text, parts[10]);
        int ahead = (hours * 60 + minutes) * 60;
        slow -= text[parts[8].rm_so] == '-' ? -ahead : ahead;
        sound = hours < 24 && minutes < 60;
    }
    bool taken = dlk_rfc3339(text, &quick);
    fuzz_check(taken == sound);
    fuzz_check(!taken || quick == slow);
}

/* Any second, written as servers do. */
static void text_check_second(int64_t any)
{
    time_t second = (time_t)((uint64_t)any % (uint64_t)(TEXT_LAST_SECOND + 1));
    struct tm tm;
    char text[64];
    int64_t read = -1;
    (void)gmtime_r(&second, &tm);
    (void)strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    fuzz_check(dlk_http_date(text, &read) && read == second);
    text_check_http_date(text);
    (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    fuzz_check(dlk_rfc3339(text, &read) && read == second);
}

/* ---- UTF-8 ---- */

static void text_check_utf8(const char *text, size_t length, size_t room)
{
    char copy[600], slow[4];
    size_t used = 0, at = 0;
    room = room % (sizeof copy - 1) + 1;
    memset(copy, 'x', sizeof copy);
    dlk_copy_text(copy, room, text);
    fuzz_check(dlk_is_utf8(text, length) == slow_is_utf8(text, length));
    for (size_t whole = strlen(text); at < whole;) {
        size_t count = 1;
        while (count < 4 && at + count < whole && !slow_is_utf8(text + at, count)) {
            count++;
        }
        bool valid = slow_is_utf8(text + at, count);
        fuzz_check(dlk_utf8_sequence(text + at, length - at) == (valid ? count : 0));
        count = valid ? count : 1;
        memcpy(slow, text + at, count);
        unsigned char first = (unsigned char)slow[0], second = (unsigned char)slow[1];
        bool control = first < ' ' || first == 0x7F || (first == 0xC2 && second < 0xA0);
        size_t put = valid && !control ? count : 1;
        slow[0] = !valid ? '?' : control ? ' ' : slow[0];
        if (used + put >= room) {
            break;
        }
        fuzz_check(memcmp(copy + used, slow, put) == 0);
        used += put;
        at += count;
    }
    fuzz_check(copy[used] == '\0' && copy[room] == 'x' && message_is_clean(copy));
}

static void text_check_argument(const char *text)
{
    dynalock_error error = SLOW_UNTOLD;
    size_t length = strlen(text);
    bool sound = length >= 1 && length <= 20 && slow_is_utf8(text, length);
    int code = dlk_check_text(text, 1, 20, "it", &error);
    fuzz_check((code == 0) == sound);
    if (code == 0) {
        slow_check_untold(&error);
    } else {
        SLOW_CHECK_TOLD(&error, code, DYNALOCK_ERR_ARGUMENT);
    }
}

/* ---- JSON strings and base64 ---- */

static void text_check_json(const char *text, size_t length)
{
    struct dlk_buffer buffer;
    dlk_buffer_init(&buffer, 6 * length + 2);
    dlk_json_string(&buffer, text, length);
    fuzz_check(dlk_buffer_ok(&buffer));
    if (slow_is_utf8(text, length)) {
        json_t *json = slow_parse(buffer.data, buffer.length);
        fuzz_check(json_is_string(json) && json_string_length(json) == length);
        fuzz_check(memcmp(json_string_value(json), text, length) == 0);
        fuzz_check(slow_is_sendable(buffer.data, buffer.length));
        json_decref(json);
    }
    dlk_buffer_free(&buffer);
}

static void text_check_base64(const char *text, size_t length)
{
    struct dlk_buffer buffer;
    char *slow = slow_base64(text, length);
    unsigned char *quick = slow_alloc(length / 4 * 3);
    size_t decoded = 77, looked = 77, slow_length = 0;

    dlk_buffer_init(&buffer, length * 2 + 4);
    dlk_base64_encode(&buffer, (const unsigned char *)text, length);
    fuzz_check(dlk_buffer_ok(&buffer) && strlen(slow) == buffer.length);
    fuzz_check(length == 0 || strcmp(buffer.data, slow) == 0);
    fuzz_check(dlk_base64_decode(slow, strlen(slow), NULL, &looked) && looked == length);
    dlk_buffer_free(&buffer);
    free(slow);

    unsigned char *bytes = slow_unbase64(text, length, &slow_length);
    looked = 77;
    fuzz_check(dlk_base64_decode(text, length, NULL, &looked) == (bytes != NULL));
    fuzz_check(dlk_base64_decode(text, length, quick, &decoded) == (bytes != NULL));
    fuzz_check(looked == decoded && decoded == (bytes != NULL ? slow_length : 77));
    fuzz_check(bytes == NULL || memcmp(bytes, quick, decoded) == 0);
    free(quick);
    free(bytes);
}

/* ---- Regions ---- */

static bool text_is_label(const char *text)
{
    static regex_t form;
    regmatch_t parts[12];
    return text_matches(&form, "^([A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])$", text,
                        parts) &&
           strlen(text) <= 63;
}

/* As AWS's SDKs do it; false: what is left is no region. */
static bool text_region(const char *name, char *region, bool *fips)
{
    static regex_t pseudo, cut;
    regmatch_t parts[12];
    if (strlen(name) > 79) {
        return false;
    }
    (void)strcpy(region, name);
    if (text_matches(&pseudo, "(^fips-|-fips$)", name, parts)) {
        *fips = true;
        if (strcmp(name, "aws-fips") == 0 || strcmp(name, "fips-aws-global") == 0) {
            (void)strcpy(region, "us-east-1");
        } else {
            fuzz_check(text_matches(&cut, "(fips-(dkr-|prod-)?|-fips)", name, parts));
            (void)strcpy(region + parts[0].rm_so, name + parts[0].rm_eo);
        }
    }
    return text_is_label(region);
}

struct text_partition {
    const char *form, *suffix, *dual_suffix;
};

static const struct text_partition *text_partition_of(const char *region)
{
    static const struct text_partition partitions[] = {
        {"^(cn-[A-Za-z0-9_]+-[0-9]+|aws-cn-global)$", "amazonaws.com.cn",
         "api.amazonwebservices.com.cn"},
        {"^(us-gov-[A-Za-z0-9_]+-[0-9]+|aws-us-gov-global)$", "amazonaws.com", "api.aws"},
        {"^(us-iso-[A-Za-z0-9_]+-[0-9]+|aws-iso-global)$", "c2s.ic.gov", "api.aws.ic.gov"},
        {"^(us-isob-[A-Za-z0-9_]+-[0-9]+|aws-iso-b-global)$", "sc2s.sgov.gov", "api.aws.scloud"},
        {"^(eu-isoe-[A-Za-z0-9_]+-[0-9]+|aws-iso-e-global)$", "cloud.adc-e.uk",
         "api.cloud-aws.adc-e.uk"},
        {"^(us-isof-[A-Za-z0-9_]+-[0-9]+|aws-iso-f-global)$", "csp.hci.ic.gov",
         "api.aws.hci.ic.gov"},
        {"^(eusc-de-[A-Za-z0-9_]+-[0-9]+)$", "amazonaws.eu", "api.amazonwebservices.eu"},
        {"(.*)", "amazonaws.com", "api.aws"},
    };
    static regex_t forms[sizeof partitions / sizeof *partitions];
    regmatch_t parts[12];
    size_t i = 0;
    while (!text_matches(&forms[i], partitions[i].form, region, parts)) {
        i++;
    }
    return &partitions[i];
}

static void text_endpoint(const char *service, const char *region, bool fips, bool dual,
                          char url[400])
{
    const struct text_partition *partition = text_partition_of(region);
    bool government = strncmp(partition->form, "^(us-gov", 8) == 0;
    const char *kind = fips && !(government && !dual) ? "-fips" : "";
    bool global =
        strcmp(service, "sts") == 0 && strcmp(region, "aws-global") == 0 && !fips && !dual;
    if (strcmp(service, "dynamodb") == 0 && strcmp(region, "local") == 0) {
        (void)strcpy(url, fips || dual ? "" : "http://localhost:8000/");
    } else if (global) {
        (void)strcpy(url, "https://sts.amazonaws.com/");
    } else {
        (void)snprintf(url, 400, "https://%s%s.%s.%s/", service, kind, region,
                       dual ? partition->dual_suffix : partition->suffix);
    }
}

static void text_check_region(const char *name, unsigned how)
{
    static const char services[][12] = {"dynamodb", "sts", "portal.sso", "oidc"};
    dynalock_error error = SLOW_UNTOLD;
    char region[DLK_REGION_SIZE] = "?", slow_region[80], url[DLK_URL_SIZE], slow_url[400];
    bool fips = (how & 1) != 0, slow_fips = fips, dual = (how & 2) != 0;
    const char *service = services[how >> 2 & 3];

    int code = dlk_endpoint_region(name, region, &fips, &error);
    fuzz_check((code == 0) == text_region(name, slow_region, &slow_fips));
    if (code != 0) {
        SLOW_CHECK_TOLD(&error, code, DYNALOCK_ERR_CONFIG);
        fuzz_check(strcmp(region, "?") == 0);
        return;
    }
    fuzz_check(strcmp(region, slow_region) == 0 && fips == slow_fips);
    slow_check_untold(&error);
    text_endpoint(service, region, fips, dual, slow_url);
    size_t room = (how & 16) != 0 ? strlen(slow_url) : sizeof url; /* one byte too small */
    code = dlk_endpoint_make(service, region, fips, dual, url, room, &error);
    if (code != 0) {
        SLOW_CHECK_TOLD(&error, code, DYNALOCK_ERR_CONFIG);
        fuzz_check(slow_url[0] == '\0' || room < sizeof url);
    } else {
        fuzz_check(room == sizeof url || strcmp(region, "local") == 0 ||
                   strcmp(region, "aws-global") == 0);
        fuzz_check(room < sizeof url || strcmp(url, slow_url) == 0);
    }
}

/* ---- Nonces ---- */

static void text_check_made_nonce(struct fuzz_input *input)
{
    char tenure[DLK_TENURE_SIZE], nonce[DLK_NONCE_SIZE], slow[200], other[DLK_TENURE_SIZE];
    for (int i = 0; i < DLK_TENURE_SIZE - 1; i++) {
        tenure[i] = "0123456789abcdef"[fuzz_byte(input) & 15];
    }
    tenure[DLK_TENURE_SIZE - 1] = '\0';
    unsigned write = (unsigned)fuzz_int(input), since = (unsigned)fuzz_int(input);
    int64_t version = fuzz_int(input);
    dlk_nonce_make(nonce, tenure, write, since, version);
    if (since > 0) {
        (void)snprintf(slow, sizeof slow, "%s.%u.%u.%" PRId64, tenure, write, since, version);
    } else {
        (void)snprintf(slow, sizeof slow, "%s.%u.%" PRId64, tenure, write, version);
    }
    fuzz_check(strcmp(nonce, slow) == 0);
    fuzz_check(dlk_nonce_of(nonce, tenure));
    fuzz_check(dlk_nonce_version(nonce) == version);
    fuzz_check(dlk_nonce_since_token(nonce) == since);
    memcpy(other, tenure, sizeof other);
    other[write % 32] = 'x';
    fuzz_check(!dlk_nonce_of(nonce, other));
    dynalock_kv kv = {.nonce = nonce, .version = version, .current = true};
    fuzz_check(dlk_record_of(&kv, tenure) && !dlk_record_of(&kv, other));
    fuzz_check(dlk_record_same(&kv, version, slow) && !dlk_record_same(&kv, version, NULL));
    fuzz_check(!dlk_record_same(&kv, version ^ 1, nonce) && !dlk_record_same(&kv, version, tenure));
}

static void text_check_any_nonce(const char *nonce)
{
    char tenure[DLK_TENURE_SIZE], *copy = strdup(nonce), *parts[4] = {NULL};
    size_t count = 0;
    for (char *at = copy; at != NULL && count < 4;) {
        parts[count++] = strsep(&at, ".");
    }
    const char *first = parts[0] != NULL ? parts[0] : "";
    (void)snprintf(tenure, sizeof tenure, "%s", first);
    fuzz_check(dlk_nonce_of(nonce, tenure) ==
               (count > 1 && *tenure != '\0' && strlen(first) < sizeof tenure));
    fuzz_check(count == 4 || dlk_nonce_since_token(nonce) == 0);
    fuzz_check(count > 1 || dlk_nonce_version(nonce) == 0);
    free(copy);
}

static void text_check_numbers(struct fuzz_input *input)
{
    int64_t us = fuzz_int(input), version = fuzz_int(input);
    struct dlk_now now = {.real_us = us};
    dynalock_kv kv = {.version = version};
    int64_t down = dlk_seconds_down(us), up = dlk_seconds_up(us);
    __extension__ typedef __int128 wide;
    fuzz_check((wide)down * 1000000 <= us && (wide)(down + 1) * 1000000 > us);
    fuzz_check((wide)up * 1000000 >= us && (wide)(up - 1) * 1000000 < us);
    fuzz_check(dlk_version_is_spent(version) == ((wide)version + 0xFFFFFFFF > INT64_MAX));
    if (!dlk_version_is_spent(version)) {
        int64_t first = dlk_first_version(&now, &kv);
        fuzz_check(first >= 1 && first > version &&
                   (first == us || first == 1 || first == version + 1));
    }
    fuzz_check(dlk_first_version(&now, NULL) == (us > 0 ? us : 1));
}

/* ---- The server's time ---- */

/* A server whose clock runs a little faster or slower than the boot clock, and what is known of it. */
struct text_server {
    struct dlk_servertime known;
    int64_t boot_us, base_us, ahead_us;
    int ppm;
    bool honest; /* as yet */
};

static int64_t text_server_time(const struct text_server *server, int64_t boot_us)
{
    int64_t age_us = boot_us - server->base_us;
    return boot_us + server->ahead_us + age_us / 1000000 * server->ppm;
}

static void text_check_now(const struct text_server *server, int64_t real_us)
{
    struct dlk_now now;
    const struct dlk_servertime *known = &server->known;
    dlk_servertime_now(known, server->boot_us, real_us, &now);
    fuzz_check(now.boot_us == server->boot_us);
    fuzz_check(now.known == (known->any && server->boot_us - known->newest_us <= 300000000));
    fuzz_check(!now.trusted || (now.known && known->agreeing >= 2));
    fuzz_check(now.lease_us >= now.upper_us);
    if (!known->any) {
        fuzz_check(now.lower_us == 2000000 && now.upper_us == real_us + 2000000 &&
                   now.real_us == real_us);
        return;
    }
    int64_t truth_us = text_server_time(server, server->boot_us);
    fuzz_check(now.upper_us - now.lower_us >= 1000000);
    fuzz_check(now.real_us >= now.lower_us && now.real_us <= now.upper_us);
    fuzz_check(!server->honest || (now.lower_us <= truth_us && truth_us <= now.upper_us));
    fuzz_check(!now.trusted ||
               (real_us >= now.lower_us - 2000000 && real_us <= now.upper_us + 2000000));
}

/* An answer whose exchange ended so long ago. */
static void text_sample(struct text_server *server, struct fuzz_input *input, int64_t ago_us)
{
    int64_t took_us = (int64_t)fuzz_below(input, 65536) << fuzz_below(input, 8);
    int64_t received_us = server->boot_us - ago_us, sent_us = received_us - took_us;
    int64_t cached_us = (int64_t)fuzz_below(input, 45) * 1000;
    int64_t made_us = sent_us + took_us / 256 * fuzz_byte(input);
    int64_t date_s = dlk_seconds_down(text_server_time(server, made_us) - cached_us);
    bool honest = server->honest;
    if (sent_us < 0 || date_s < 0 || date_s > TEXT_LAST_SECOND) {
        return;
    }
    enum dlk_sample_result result =
        dlk_servertime_add(&server->known, sent_us, received_us, date_s);
    int64_t width_us = server->known.high_us - server->known.low_us;
    fuzz_check(!honest || (result == DLK_SAMPLE_AGREES && server->known.conflicts == 0));
    fuzz_check(!honest || (width_us > 0 && width_us <= 1100000 + took_us));
}

/* A date of any year. */
static void text_lie(struct text_server *server, struct fuzz_input *input)
{
    int64_t date_s = (int64_t)((uint64_t)fuzz_int(input) % (uint64_t)(TEXT_LAST_SECOND + 1));
    int64_t took_us = fuzz_below(input, 65536) * INT64_C(100);
    uint64_t conflicts = server->known.conflicts;
    bool any = server->known.any;
    if (server->boot_us < took_us) {
        return;
    }
    enum dlk_sample_result result =
        dlk_servertime_add(&server->known, server->boot_us - took_us, server->boot_us, date_s);
    server->honest = false;
    fuzz_check(any || result == DLK_SAMPLE_AGREES);
    fuzz_check(server->known.conflicts == conflicts + (result != DLK_SAMPLE_AGREES ? 1 : 0));
    fuzz_check(server->known.low_us <= server->known.high_us);
}

static void text_check_server(struct fuzz_input *input)
{
    struct text_server server = {.honest = true};
    server.boot_us = fuzz_int(input) & ((INT64_C(1) << 50) - 1);
    server.base_us = server.boot_us;
    server.ppm = (int)fuzz_below(input, 801) - 400;
    server.ahead_us = (int64_t)((uint64_t)fuzz_int(input) % (uint64_t)TEXT_LAST_SECOND) * 1000000 -
                      server.boot_us;
    while (input->left > 0) {
        int64_t real_us = text_server_time(&server, server.boot_us);
        switch (fuzz_byte(input) % 8) {
        case 0: text_lie(&server, input); break;
        case 1: text_sample(&server, input, fuzz_below(input, 65536) * INT64_C(150)); break;
        case 2: text_sample(&server, input, 0); break;
        case 3: server.boot_us += fuzz_below(input, 65536); break;
        case 4: server.boot_us += fuzz_below(input, 65536) * INT64_C(10000); break;
        case 5: server.boot_us += fuzz_below(input, 256) * INT64_C(86400000000); break;
        case 6: /* the host was suspended, or the server's clock set */
            server.ahead_us += (fuzz_below(input, 65536) - INT64_C(32768)) * 100000;
            server.honest = server.honest && !server.known.any;
            break;
        default: real_us = fuzz_int(input) >> 4; break;
        }
        text_check_now(&server, real_us);
    }
}

/* ---- Any ---- */

static void text_check_text(struct fuzz_input *input, uint8_t what)
{
    uint8_t how = what >= 5 ? fuzz_byte(input) : 0;
    size_t length = input->left;
    char *text = slow_alloc(length + 1);
    memcpy(text, length > 0 ? (const char *)input->data : "", length);
    text[length] = '\0';
    switch (what) {
    case 0: text_check_http_date(text); break;
    case 1: text_check_rfc3339(text); break;
    case 2: text_check_json(text, length); break;
    case 3: text_check_base64(text, length); break;
    case 4: text_check_any_nonce(text); break;
    case 5: text_check_region(text, how); break;
    default:
        text_check_utf8(text, length, how);
        text_check_argument(text);
        break;
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, size};
    uint8_t what = fuzz_byte(&input) % 11;
    switch (what) {
    case 7: text_check_second(fuzz_int(&input)); break;
    case 8: text_check_made_nonce(&input); break;
    case 9: text_check_numbers(&input); break;
    case 10: text_check_server(&input); break;
    default: text_check_text(&input, what); break;
    }
    return 0;
}
