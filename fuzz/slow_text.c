/* SPDX-License-Identifier: Apache-2.0 */
#include "slow_text.h"

#include "fuzz.h"
#include "message.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

void *slow_alloc(size_t size)
{
    void *memory = calloc(1, size > 0 ? size : 1);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

bool slow_begins(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool slow_ends(const char *text, const char *suffix)
{
    size_t length = strlen(text), ending = strlen(suffix);
    return length >= ending && memcmp(text + length - ending, suffix, ending) == 0;
}

/* ---- UTF-8 ---- */

/* The code point of the bytes as one sequence; -1: they are none. */
static long slow_code_point(const unsigned char *bytes, size_t count)
{
    static const unsigned marks[] = {0, 0x00, 0xC0, 0xE0, 0xF0};
    static const unsigned masks[] = {0, 0x80, 0xE0, 0xF0, 0xF8};
    if ((bytes[0] & masks[count]) != marks[count]) {
        return -1;
    }
    long point = bytes[0] & ~masks[count] & 0xFF;
    for (size_t i = 1; i < count; i++) {
        if (bytes[i] / 64 != 2) {
            return -1;
        }
        point = point * 64 + bytes[i] % 64;
    }
    size_t needed = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    bool surrogate = point >= 0xD800 && point <= 0xDFFF;
    return needed == count && !surrogate && point <= 0x10FFFF ? point : -1;
}

bool slow_is_utf8(const char *text, size_t length)
{
    for (size_t at = 0; at < length;) {
        bool plain = text[at] >= ' ' && text[at] <= '~'; /* nearly all of it */
        long point = plain ? text[at] : -1;
        size_t count = plain ? 1 : 0;
        while (point < 0 && count < 4 && at + count < length) {
            count++;
            point = slow_code_point((const unsigned char *)text + at, count);
        }
        if (point < 0) {
            return false;
        }
        at += count;
    }
    return true;
}

bool slow_is_sendable(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7F) {
            return false;
        }
    }
    return slow_is_utf8(text, length) && strlen(text) == length;
}

/* ---- Errors ---- */

void slow_check_told(const dynalock_error *error, int code, const int *codes)
{
    while (*codes != 0 && *codes != code) {
        codes++;
    }
    fuzz_check(*codes == code && code != 0);
    message_check(error, code);
    fuzz_check((error->flags & ~7U) == 0);
    fuzz_check(error->name[0] == '\0' && error->request_id[0] == '\0');
}

void slow_check_untold(const dynalock_error *error)
{
    const dynalock_error untold = SLOW_UNTOLD;
    fuzz_check(error->code == untold.code && strcmp(error->message, untold.message) == 0);
}

/* ---- Base64 ---- */

char *slow_base64(const void *bytes, size_t length)
{
    char *text = slow_alloc((length + 2) / 3 * 4 + 1);
    (void)EVP_EncodeBlock((unsigned char *)text, bytes, (int)length);
    return text;
}

unsigned char *slow_unbase64(const char *text, size_t length, size_t *decoded)
{
    unsigned char *bytes = slow_alloc(length + 1);
    int count = length > 0 ? EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)length) : 0;
    for (size_t end = length; end > 0 && text[end - 1] == '=' && count > 0; end--) {
        count--; /* OpenSSL counts what stands for the padding */
    }
    char *again = slow_base64(bytes, count > 0 ? (size_t)count : 0);
    bool same = count >= 0 && strlen(again) == length && memcmp(again, text, length) == 0;
    free(again);
    if (!same) {
        free(bytes);
        return NULL;
    }
    *decoded = (size_t)count;
    return bytes;
}
