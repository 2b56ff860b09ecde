/* SPDX-License-Identifier: Apache-2.0 */
/* Durations, as people write and read them. */
#include "command.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int64_t ms;
} duration_units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};

#define DURATION_UNITS (sizeof duration_units / sizeof duration_units[0])

/* DURATION_UNITS: it is no number with a unit. */
static size_t duration_unit(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    size_t unit = digits > 0 ? 0 : DURATION_UNITS;
    while (unit < DURATION_UNITS && strcmp(text + digits, duration_units[unit].name) != 0) {
        unit++;
    }
    return unit;
}

bool duration_parse(const char *text, int64_t *ms)
{
    size_t unit = duration_unit(text);
    int64_t number = 0;
    if (unit == DURATION_UNITS) {
        return false;
    }
    for (; *text >= '0' && *text <= '9'; text++) {
        number = number * 10 + (*text - '0');
        if (number > DURATION_MAX_MS / duration_units[unit].ms) {
            return false;
        }
    }
    *ms = number * duration_units[unit].ms;
    return true;
}

void duration_print(int64_t ms, char *text, size_t size)
{
    if (ms < 1000) {
        (void)snprintf(text, size, ms > 0 ? "%" PRId64 "ms" : "0s", ms);
        return;
    }
    if (ms < 10000) {
        int tenths = (int)(ms % 1000 / 100);
        (void)snprintf(text, size, tenths != 0 ? "%d.%ds" : "%ds", (int)(ms / 1000), tenths);
        return;
    }
    size_t unit = DURATION_UNITS - 1;
    while (ms < duration_units[unit].ms) {
        unit--;
    }
    int64_t rest = ms % duration_units[unit].ms / duration_units[unit - 1].ms;
    int length = snprintf(text, size, "%" PRId64 "%s", ms / duration_units[unit].ms,
                          duration_units[unit].name);
    if (unit > 1 && rest > 0 && length > 0 && (size_t)length < size) {
        (void)snprintf(text + length, size - (size_t)length, " %" PRId64 "%s", rest,
                       duration_units[unit - 1].name);
    }
}

/* What duration_parse does not take. */
static void duration_complain(const char *option, const char *text)
{
    if (text[0] != '\0' && strspn(text, "0123456789") == strlen(text)) {
        complain_usage("%s: %s of what? Give a unit: 500ms, 20s, 5m, 2h or 1d", option, text);
    } else {
        complain_usage("%s: %s is no duration: 500ms, 20s, 5m, 2h or 1d would be", option, text);
    }
}

bool duration_option(const char *option, const char *text, int64_t min_ms, int64_t max_ms,
                     int64_t *ms)
{
    int64_t given = INT64_MAX;
    char bound[32];
    if (duration_unit(text) == DURATION_UNITS) {
        duration_complain(option, text);
        return false;
    }
    if (!duration_parse(text, &given) || given > max_ms) {
        duration_print(max_ms, bound, sizeof bound);
        complain_usage("%s: %s is too long; %s is the most", option, text, bound);
        return false;
    }
    if (given < min_ms) {
        duration_print(min_ms, bound, sizeof bound);
        complain_usage("%s: %s is too short; %s is the least", option, text, bound);
        return false;
    }
    *ms = given;
    return true;
}
