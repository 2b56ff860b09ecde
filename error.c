/* SPDX-License-Identifier: Apache-2.0 */
/* Errors, the names of codes, and text that is safe to show. */
#include <stdio.h>
#include <string.h>

#include "internal.h"

/* More than fits: dlk_copy_text cuts, as it does not cut a character. */
enum { ERROR_MESSAGE_ROOM = sizeof(((dynalock_error *)0)->message) + 4 };

/* Texts stand in the tables themselves, here and elsewhere: pointers would have to be relocated whenever a
 * program starts. */
struct error_entry {
    int code;
    bool retryable;
    char text[32];
};

static const struct error_entry error_entries[] = {
    {DYNALOCK_OK, false, "success"},
    {DYNALOCK_ERR_ARGUMENT, false, "bad argument"},
    {DYNALOCK_ERR_MEMORY, true, "out of memory"},
    {DYNALOCK_ERR_SYSTEM, true, "refused by the operating system"},
    {DYNALOCK_ERR_NOT_FOUND, false, "not found"},
    {DYNALOCK_ERR_EXISTS, false, "exists"},
    {DYNALOCK_ERR_MODIFIED, false, "modified"},
    {DYNALOCK_ERR_TYPE, false, "of another type"},
    {DYNALOCK_ERR_TOO_LARGE, false, "too large"},
    {DYNALOCK_ERR_CANCELLED, false, "cancelled"},
    {DYNALOCK_ERR_NOT_ACQUIRED, true, "not acquired"},
    {DYNALOCK_ERR_LOST, false, "lock lost"},
    {DYNALOCK_ERR_NOT_HELD, false, "lock not held"},
    {DYNALOCK_ERR_SHORT_LEASE, false, "too little left of the lease"},
    {DYNALOCK_ERR_BUSY, true, "busy"},
    {DYNALOCK_ERR_CLOSED, false, "closed"},
    {DYNALOCK_ERR_FORKED, false, "not usable after fork"},
    {DYNALOCK_ERR_CONFIG, false, "bad configuration"},
    {DYNALOCK_ERR_CREDENTIALS, false, "no credentials"},
    {DYNALOCK_ERR_NOT_AUTHORIZED, false, "not authorized"},
    {DYNALOCK_ERR_NO_TABLE, false, "no such table"},
    {DYNALOCK_ERR_BAD_TABLE, false, "table has other keys"},
    {DYNALOCK_ERR_NETWORK, true, "network failure"},
    {DYNALOCK_ERR_TLS, false, "TLS refused"},
    {DYNALOCK_ERR_TIMEOUT, true, "timed out"},
    {DYNALOCK_ERR_THROTTLED, true, "throttled"},
    {DYNALOCK_ERR_SERVICE, true, "service failure"},
    {DYNALOCK_ERR_BAD_RESPONSE, true, "bad response"},
    {DYNALOCK_ERR_REFUSED, false, "refused by the service"},
    {DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE, true, "no credentials for now"},
};

static const char error_event_names[][16] = {
    "unknown event", "attempt", "retry",          "waiting",     "acquired", "taken over",
    "adopted",       "renewed", "renewal failed", "lost",        "released", "release failed",
    "cleaned",       "clock",   "dropped",        "credentials",
};

static const char error_cause_names[][12] = {
    "none",      "taken over", "gone",        "expired", "unreachable",
    "throttled", "service",    "credentials", "clock",   "closed",
};

static const struct error_entry *error_find(int code)
{
    size_t i;

    for (i = 0; i < sizeof error_entries / sizeof error_entries[0]; i++) {
        if (error_entries[i].code == code) {
            return &error_entries[i];
        }
    }
    return NULL;
}

const char *dynalock_strerror(int code)
{
    const struct error_entry *entry = error_find(code);

    return entry != NULL ? entry->text : "unknown code";
}

bool dynalock_is_retryable(int code)
{
    const struct error_entry *entry = error_find(code);

    return entry != NULL && entry->retryable;
}

const char *dynalock_event_name(int id)
{
    const int count = sizeof error_event_names / sizeof error_event_names[0];

    return error_event_names[id > 0 && id < count ? id : 0];
}

const char *dynalock_cause_name(int cause)
{
    const int count = sizeof error_cause_names / sizeof error_cause_names[0];

    return cause >= 0 && cause < count ? error_cause_names[cause] : "unknown cause";
}

const char *dynalock_version(void)
{
    return DYNALOCK_VERSION;
}

int(dlk_fail)(dynalock_error *error, int code, const char *format, ...)
{
    char message[ERROR_MESSAGE_ROOM];
    va_list arguments;

    if (error == NULL) {
        return code;
    }
    /* The arguments may point into *error: it is cleared only when they have been read. */
    va_start(arguments, format);
    if (vsnprintf(message, sizeof message, format, arguments) < 0) {
        message[0] = '\0';
    }
    va_end(arguments);
    memset(error, 0, sizeof *error);
    error->code = code;
    error->flags = dynalock_is_retryable(code) ? DYNALOCK_ERROR_RETRYABLE : 0U;
    dlk_copy_text(error->message, sizeof error->message, message);
    return code;
}

static bool error_is_continuation(unsigned char byte)
{
    return (byte & 0xC0U) == 0x80U;
}

/* RFC 3629, table in section 4: no overlong forms, no surrogates, nothing above U+10FFFF. */
size_t dlk_utf8_sequence(const char *text, size_t length)
{
    const unsigned char *byte = (const unsigned char *)text;
    unsigned char first = length > 0 ? byte[0] : 0xFFU;
    unsigned char low = 0x80U;
    unsigned char high = 0xBFU;
    size_t count;
    size_t i;

    if (first < 0x80U) {
        return 1;
    }
    if (first < 0xC2U || first > 0xF4U) {
        return 0;
    }
    count = first < 0xE0U ? 2 : first < 0xF0U ? 3 : 4;
    if (first == 0xE0U) {
        low = 0xA0U;
    } else if (first == 0xEDU) {
        high = 0x9FU;
    } else if (first == 0xF0U) {
        low = 0x90U;
    } else if (first == 0xF4U) {
        high = 0x8FU;
    }
    if (length < count || byte[1] < low || byte[1] > high) {
        return 0;
    }
    for (i = 2; i < count; i++) {
        if (!error_is_continuation(byte[i])) {
            return 0;
        }
    }
    return count;
}

static bool error_is_control(const char *text, size_t length)
{
    unsigned char first = (unsigned char)text[0];

    return (length == 1 && (first < 0x20U || first == 0x7FU)) ||
           (length == 2 && first == 0xC2U && (unsigned char)text[1] < 0xA0U);
}

void dlk_copy_text(char *to, size_t size, const char *from)
{
    size_t left = strlen(from);
    size_t used = 0;

    if (size == 0) {
        return;
    }
    while (left > 0) {
        if (*from >= ' ' && *from <= '~' && used + 1 < size) { /* nearly all of it */
            to[used++] = *from++;
            left--;
            continue;
        }
        size_t length = dlk_utf8_sequence(from, left);
        size_t taken = length > 0 ? length : 1;
        bool replaced = length == 0 || error_is_control(from, length);

        if (used + (replaced ? 1 : length) >= size) {
            break;
        }
        if (replaced) {
            to[used++] = length == 0 ? '?' : ' ';
        } else {
            memcpy(to + used, from, length);
            used += length;
        }
        from += taken;
        left -= taken;
    }
    to[used] = '\0';
}
