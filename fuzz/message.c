/* SPDX-License-Identifier: Apache-2.0 */
#include "message.h"
#include "fuzz.h"

#include <string.h>

/* The code point at *text, which is moved behind it; -1: it is no UTF-8. */
static long message_point(const unsigned char **text)
{
    static const long least[] = {0, 0x80, 0x800, 0x10000};
    unsigned first = *(*text)++;
    int more = first < 0x80 ? 0 : first < 0xC0 ? -1 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
    long point = more <= 0 ? (long)first : (long)(first & (0x3FU >> more));
    for (int i = 0; i < more; i++) {
        if ((**text & 0xC0U) != 0x80U) {
            return -1;
        }
        point = point << 6 | (*(*text)++ & 0x3F);
    }
    return more < 0 || first > 0xF7 || point < least[more] || point > 0x10FFFF ||
                   (point >= 0xD800 && point <= 0xDFFF)
               ? -1
               : point;
}

bool message_is_clean(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    while (*at != '\0') {
        long point = message_point(&at);
        if (point < 0x20 || (point >= 0x7F && point < 0xA0)) {
            return false;
        }
    }
    return true;
}

void message_check(const dynalock_error *error, int code)
{
    fuzz_check(error->code == code);
    fuzz_check(memchr(error->message, '\0', sizeof error->message) != NULL);
    fuzz_check(error->message[0] != '\0');
    fuzz_check(message_is_clean(error->message));
}

bool message_tells(const char *message, const char *secret, size_t part)
{
    char start[64];
    size_t length = secret == NULL ? 0 : strlen(secret);
    size_t taken = length < part ? length : part;
    if (length < 8) {
        return false;
    }
    if (taken >= sizeof start) {
        return strstr(message, secret) != NULL;
    }
    memcpy(start, secret, taken);
    start[taken] = '\0';
    return strstr(message, start) != NULL;
}
