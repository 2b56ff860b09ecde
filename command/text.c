/* SPDX-License-Identifier: Apache-2.0 */
/* Text for people. */
#include "command.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* How many bytes a control character has here: C0, DEL, or as UTF-8 C1, an end of a line or paragraph, and what turns the
 * direction of writing (U+2028 to U+202E, U+2066 to U+2069); 0: it is none. */
static size_t control_length(const unsigned char *at)
{
    if (at[0] < 0x20 || at[0] == 0x7f) {
        return 1;
    }
    if (at[0] == 0xe2 && ((at[1] == 0x80 && at[2] >= 0xa8 && at[2] <= 0xae) ||
                          (at[1] == 0x81 && at[2] >= 0xa6 && at[2] <= 0xa9))) {
        return 3;
    }
    return at[0] == 0xc2 && at[1] >= 0x80 && at[1] <= 0x9f ? 2 : 0;
}

static size_t escape_one(unsigned char byte, char *to)
{
    static const char letters[] = "abtnvfr"; /* of 7 to 13 */
    to[0] = '\\';
    if (byte >= 7 && byte <= 13) {
        to[1] = letters[byte - 7];
        return 2;
    }
    (void)snprintf(to + 1, 4, "x%02x", byte);
    return 4;
}

void text_escape(const char *text, char *escaped, size_t size)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t length = 0;
    while (*at != '\0' && length + 13 < size) { /* what one character may become, and a NUL */
        size_t control = control_length(at);
        if (control == 0) {
            escaped[length++] = (char)*at++;
        }
        for (; control > 0; control--) {
            length += escape_one(*at++, escaped + length);
        }
    }
    escaped[length] = '\0';
}

void text_time(int64_t ms, bool with_ms, char text[TIME_SIZE])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    char date[TIME_SIZE / 2 + 4];
    if (ms < 0 || (int64_t)seconds != ms / 1000 || gmtime_r(&seconds, &tm) == NULL ||
        strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
        (void)snprintf(text, TIME_SIZE, "%" PRId64 "ms", ms);
    } else if (with_ms) {
        (void)snprintf(text, TIME_SIZE, "%s.%03dZ", date, (int)(ms % 1000));
    } else {
        (void)snprintf(text, TIME_SIZE, "%sZ", date);
    }
}

static int64_t time_of(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t time_now_ms(void)
{
    return time_of(CLOCK_REALTIME) / 1000;
}

int64_t time_passed_us(void)
{
    return time_of(CLOCK_MONOTONIC);
}
