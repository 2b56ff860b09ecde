/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounds on the server's time. An answer's Date says: Date <= server time when it was made < Date +
 * 1 s, and that moment lies between sending and receiving. Kept as bounds on the difference to the
 * boot clock.
 */
#include "internal.h"

#include <string.h>

#define ST_SECOND INT64_C(1000000)
#define ST_SLACK (50 * INT64_C(1000)) /* servers cache the text of Date */
#define ST_FRESH (300 * ST_SECOND)    /* older samples decide nothing */
#define ST_HOST_AGREES (2 * ST_SECOND)
#define ST_AGREEING 2
#define ST_RELEASED ((DLK_TOMBSTONE + 1) * ST_SECOND)

/* 500 ppm: more than any clock that is not broken drifts. */
static int64_t st_drift(int64_t age_us)
{
    return age_us > 0 ? age_us / 2000 + 1 : 0;
}

static int64_t st_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t st_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Digits at the places of d; any other byte of the pattern stands for itself, and ? for any. */
static bool st_matches(const char *text, const char *pattern)
{
    for (; *pattern != '\0'; text++, pattern++) {
        bool digit = *text >= '0' && *text <= '9';
        if (*text == '\0' || (*pattern == 'd' ? !digit : *pattern != '?' && *pattern != *text)) {
            return false;
        }
    }
    return *text == '\0';
}

static int st_number(const char *digits, int count)
{
    int number = 0;
    for (int i = 0; i < count; i++) {
        number = number * 10 + (digits[i] - '0');
    }
    return number;
}

static int st_leaps_until(int year)
{
    return year / 4 - year / 100 + year / 400;
}

/* month: 0 to 11. False: there is no such moment. Not by libcurl or timegm: time_t may end in 2038. */
static bool st_moment(int year, int month, int day, const char *time, int64_t *moment_s)
{
    static const int days_before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
    int hour = st_number(time, 2), minute = st_number(time + 3, 2);
    int second = st_number(time + 6, 2); /* 60: a leap second */
    if (month < 0 || month > 11 || year < 1970 || hour > 23 || minute > 59 || second > 60) {
        return false;
    }
    int leap_day = st_leaps_until(year) - st_leaps_until(year - 1);
    if (day < 1 ||
        day > days_before[month + 1] - days_before[month] + (month == 1 ? leap_day : 0)) {
        return false;
    }
    int64_t days = INT64_C(365) * (year - 1970) + st_leaps_until(year - 1) - st_leaps_until(1969) +
                   days_before[month] + (month > 1 ? leap_day : 0) + day - 1;
    *moment_s = days * 86400 + hour * INT64_C(3600) + minute * INT64_C(60) + second;
    return true;
}

bool dlk_http_date(const char *text, int64_t *date_s)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    if (!st_matches(text, "???, dd ??? dddd dd:dd:dd GMT")) {
        return false;
    }
    int month = 0;
    while (month < 12 && memcmp(names + (size_t)month * 3, text + 8, 3) != 0) {
        month++;
    }
    return st_moment(st_number(text + 12, 4), month, st_number(text + 5, 2), text + 17, date_s);
}

bool dlk_rfc3339(const char *text, int64_t *moment_s)
{
    char copy[20];
    int offset_s = 0;
    size_t length = strlen(text);
    if (length < sizeof copy) {
        return false;
    }
    memcpy(copy, text, sizeof copy - 1);
    copy[sizeof copy - 1] = '\0';
    if (!st_matches(copy, "dddd-dd-dd?dd:dd:dd") || strchr("Tt ", copy[10]) == NULL ||
        !st_moment(st_number(copy, 4), st_number(copy + 5, 2) - 1, st_number(copy + 8, 2),
                   copy + 11, moment_s)) {
        return false;
    }
    const char *zone = text + sizeof copy - 1;
    if (*zone == '.' && zone[1] >= '0' && zone[1] <= '9') {
        zone += 1 + strspn(zone + 1, "0123456789");
    }
    if (strcmp(zone, "Z") == 0 || strcmp(zone, "z") == 0 || strcmp(zone, "UTC") == 0) {
        return true;
    }
    if (!st_matches(zone, "?dd:dd") || (*zone != '+' && *zone != '-') ||
        st_number(zone + 1, 2) > 23 || st_number(zone + 4, 2) > 59) {
        return false;
    }
    offset_s = st_number(zone + 1, 2) * 3600 + st_number(zone + 4, 2) * 60;
    *moment_s += *zone == '-' ? offset_s : -offset_s;
    return true;
}

/* Bounds, made at least a second wide: front ends disagree among themselves. */
static void st_widen(int64_t *low, int64_t *high)
{
    int64_t lacking = ST_SECOND - (*high - *low);
    if (lacking > 0) {
        *low -= lacking / 2;
        *high += lacking - lacking / 2;
    }
}

/* Takes a sample's bounds together with what was known; widens or narrows *low and *high. */
static enum dlk_sample_result st_merge(struct dlk_servertime *st, int64_t received_us, int64_t *low,
                                       int64_t *high)
{
    int64_t drift = st_drift(received_us - st->boot_us);
    int64_t old_low = st->low_us - drift;
    int64_t old_high = st->high_us + drift;
    int64_t wide_low = old_low;
    int64_t wide_high = old_high;
    enum dlk_sample_result result = DLK_SAMPLE_AGREES;
    if (*low <= old_high && *high >= old_low) {
        *low = st_max(*low, old_low);
        *high = st_min(*high, old_high);
        return result;
    }
    st_widen(&wide_low, &wide_high);
    if (*low > wide_high || *high < wide_low) {
        result = *low > wide_high ? DLK_SAMPLE_JUMPED : DLK_SAMPLE_CONFLICTS;
        st->agreeing = 0;
        st->conflicts++;
    }
    /* The hull, for one of the two is wrong and nobody knows which; the next sample narrows it.
     * Keeping to the intersection instead, bounds that disagree for good would never be usable
     * again. */
    *low = st_min(*low, old_low);
    *high = st_max(*high, old_high);
    return result;
}

enum dlk_sample_result dlk_servertime_add(struct dlk_servertime *st, int64_t sent_us,
                                          int64_t received_us, int64_t date_s)
{
    int64_t low = date_s * ST_SECOND - received_us - ST_SLACK;
    int64_t high = (date_s + 1) * ST_SECOND - sent_us + ST_SLACK;
    enum dlk_sample_result result = DLK_SAMPLE_AGREES;
    if (!st->any || received_us - st->newest_us > ST_FRESH) {
        st->agreeing = 0;
    }
    if (st->any) {
        result = st_merge(st, received_us, &low, &high);
    }
    st->any = true;
    st->low_us = low;
    st->high_us = high;
    /* Exchanges overlap, so this one may have been received before the newest: the bounds hold for
     * the later moment. */
    st->boot_us = st_max(st->boot_us, received_us);
    st->newest_us = st_max(st->newest_us, received_us);
    st->agreeing++;
    return result;
}

void dlk_servertime_now(const struct dlk_servertime *st, int64_t boot_us, int64_t real_us,
                        struct dlk_now *now)
{
    *now = (struct dlk_now){0};
    now->boot_us = boot_us;
    now->known = st->any && boot_us - st->newest_us <= ST_FRESH;
    if (!st->any) { /* nothing has expired, as far as we know, but what was released */
        now->lower_us = ST_RELEASED;
        now->upper_us = now->lease_us = real_us + ST_HOST_AGREES;
        now->real_us = real_us;
        return;
    }
    int64_t wider = st_drift(boot_us - st->boot_us);
    now->lower_us = boot_us + st->low_us - wider;
    now->upper_us = boot_us + st->high_us + wider;
    st_widen(&now->lower_us, &now->upper_us);
    now->real_us = st_min(st_max(real_us, now->lower_us), now->upper_us);
    bool host_agrees =
        real_us >= now->lower_us - ST_HOST_AGREES && real_us <= now->upper_us + ST_HOST_AGREES;
    now->trusted = now->known && host_agrees && st->agreeing >= ST_AGREEING;
    /* If Date is wrong and late, a lease counted from it would look expired to everyone else. */
    now->lease_us = host_agrees ? now->upper_us : st_max(now->upper_us, real_us);
}
