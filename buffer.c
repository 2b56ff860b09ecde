/* SPDX-License-Identifier: Apache-2.0 */
/* Growing bytes with a limit. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { BUFFER_FIRST_CAPACITY = 1024 }; /* most requests and answers fit */

void dlk_buffer_init(struct dlk_buffer *buffer, size_t max)
{
    memset(buffer, 0, sizeof *buffer);
    buffer->max = max;
}

void dlk_buffer_free(struct dlk_buffer *buffer)
{
    free(buffer->data);
    dlk_buffer_init(buffer, buffer->max);
}

void dlk_buffer_clear(struct dlk_buffer *buffer)
{
    buffer->length = 0;
    buffer->out_of_memory = false;
    buffer->too_large = false;
    if (buffer->data != NULL) {
        buffer->data[0] = '\0';
    }
}

bool dlk_buffer_ok(const struct dlk_buffer *buffer)
{
    return !buffer->out_of_memory && !buffer->too_large;
}

/* Room for `more` bytes and a NUL. */
static bool buffer_reserve(struct dlk_buffer *buffer, size_t more)
{
    size_t capacity = buffer->capacity;
    char *data;

    if (more > buffer->max - buffer->length) {
        buffer->too_large = true;
        return false;
    }
    if (buffer->length + more < capacity) {
        return true;
    }
    if (capacity == 0) {
        capacity = BUFFER_FIRST_CAPACITY;
    }
    while (capacity <= buffer->length + more) {
        capacity = capacity > SIZE_MAX / 2 ? SIZE_MAX : capacity * 2;
    }
    data = realloc(buffer->data, capacity);
    if (data == NULL) {
        buffer->out_of_memory = true;
        return false;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

void dlk_buffer_bytes(struct dlk_buffer *buffer, const void *bytes, size_t length)
{
    if (!dlk_buffer_ok(buffer) || !buffer_reserve(buffer, length)) {
        return;
    }
    if (length > 0) {
        memcpy(buffer->data + buffer->length, bytes, length);
    }
    buffer->length += length;
    buffer->data[buffer->length] = '\0';
}

void dlk_buffer_text(struct dlk_buffer *buffer, const char *text)
{
    dlk_buffer_bytes(buffer, text, strlen(text));
}

void dlk_buffer_int(struct dlk_buffer *buffer, int64_t number)
{
    char text[24];
    char *at = text + sizeof text;
    uint64_t left = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;

    do {
        *--at = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (number < 0) {
        *--at = '-';
    }
    dlk_buffer_bytes(buffer, at, (size_t)(text + sizeof text - at));
}

int dlk_buffer_result(const struct dlk_buffer *buffer, dynalock_error *error)
{
    if (buffer->out_of_memory) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    if (buffer->too_large) {
        return dlk_fail(error, DYNALOCK_ERR_TOO_LARGE, "more than %zu bytes", buffer->max);
    }
    return DYNALOCK_OK;
}
