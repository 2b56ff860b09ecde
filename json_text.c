/* SPDX-License-Identifier: Apache-2.0 */
/* Text in and out of JSON: UTF-8, escapes, base64. */
#include <stdio.h>
#include <string.h>

#include "internal.h"

bool dlk_is_utf8(const char *text, size_t length)
{
    while (length > 0) {
        size_t taken = dlk_utf8_sequence(text, length);

        if (taken == 0) {
            return false;
        }
        text += taken;
        length -= taken;
    }
    return true;
}

bool dlk_json_is_sane(const char *text, size_t length)
{
    bool quoted = false;
    size_t depth = 0;
    size_t parts = 0;
    size_t i;

    for (i = 0; i < length && depth <= DLK_JSON_DEPTH_MAX && parts <= DLK_JSON_PARTS_MAX; i++) {
        if (text[i] == '"') {
            quoted = !quoted;
        } else if (quoted) {
            i += text[i] == '\\' ? 1U : 0U;
        } else if (text[i] == '[' || text[i] == '{') {
            depth++;
            parts++;
        } else if (text[i] == ',') {
            parts++;
        } else if (depth > 0 && (text[i] == ']' || text[i] == '}')) {
            depth--;
        }
    }
    return depth <= DLK_JSON_DEPTH_MAX && parts <= DLK_JSON_PARTS_MAX;
}

int dlk_check_text(const char *text, size_t min, size_t max, const char *what,
                   dynalock_error *error)
{
    size_t length;

    if (text == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_ARGUMENT, "%s is NULL", what);
    }
    length = strlen(text);
    if (length < min || length > max) {
        return dlk_fail(error, DYNALOCK_ERR_ARGUMENT, "%s has %zu bytes: must be %zu to %zu", what,
                        length, min, max);
    }
    if (!dlk_is_utf8(text, length)) {
        return dlk_fail(error, DYNALOCK_ERR_ARGUMENT, "%s is not valid UTF-8", what);
    }
    return DYNALOCK_OK;
}

void dlk_json_string(struct dlk_buffer *buffer, const char *text, size_t length)
{
    size_t start = 0;
    size_t i;

    dlk_buffer_text(buffer, "\"");
    for (i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        char escape[8];

        if (byte >= 0x20U && byte != '"' && byte != '\\' && byte != 0x7FU) {
            continue;
        }
        (void)snprintf(escape, sizeof escape, "\\u%04x", (unsigned)byte);
        dlk_buffer_bytes(buffer, text + start, i - start);
        dlk_buffer_text(buffer, escape);
        start = i + 1;
    }
    dlk_buffer_bytes(buffer, text + start, length - start);
    dlk_buffer_text(buffer, "\"");
}

static const char text_base64[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* The four digits of up to three bytes. */
static void text_base64_group(const unsigned char *bytes, size_t left, char *text)
{
    unsigned b1 = left > 1 ? bytes[1] : 0U;
    unsigned b2 = left > 2 ? bytes[2] : 0U;

    text[0] = text_base64[bytes[0] >> 2];
    text[1] = text_base64[(bytes[0] & 0x03U) << 4 | b1 >> 4];
    text[2] = left > 1 ? text_base64[(b1 & 0x0FU) << 2 | b2 >> 6] : '=';
    text[3] = left > 2 ? text_base64[b2 & 0x3FU] : '=';
}

void dlk_base64_encode(struct dlk_buffer *buffer, const unsigned char *bytes, size_t length)
{
    char text[256];
    size_t used = 0;
    size_t i;

    for (i = 0; i < length; i += 3) {
        text_base64_group(bytes + i, length - i, text + used);
        used += 4;
        if (used == sizeof text) {
            dlk_buffer_bytes(buffer, text, used);
            used = 0;
        }
    }
    dlk_buffer_bytes(buffer, text, used);
}

static int text_base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool dlk_base64_decode(const char *text, size_t length, unsigned char *bytes, size_t *decoded)
{
    size_t padding = 0;
    unsigned bits = 0;
    size_t i;

    if (length % 4 != 0) {
        return false;
    }
    while (padding < 2 && padding < length && text[length - 1 - padding] == '=') {
        padding++;
    }
    for (i = 0; i < length; i++) {
        int digit = i < length - padding ? text_base64_digit(text[i]) : 0;

        if (digit < 0) {
            return false;
        }
        bits = (bits << 6 | (unsigned)digit) & 0xFFFFFFU;
        if (i % 4 == 3 && bytes != NULL) {
            bytes[i / 4 * 3] = (unsigned char)(bits >> 16);
            bytes[i / 4 * 3 + 1] = (unsigned char)(bits >> 8 & 0xFFU);
            bytes[i / 4 * 3 + 2] = (unsigned char)(bits & 0xFFU);
        }
    }
    if (padding > 0 && (bits & (padding == 1 ? 0xFFU : 0xFFFFU)) != 0) {
        return false;
    }
    *decoded = length / 4 * 3 - padding;
    return true;
}
