/* SPDX-License-Identifier: Apache-2.0 */
/* JSON as the command prints it. jansson alone prints 0.1 as 0.10000000000000001. */
#include "command.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool json_write(const json_t *value);

/* A terminal obeys control characters, and there are others than those that JSON escapes. */
static size_t json_flags(void)
{
    return isatty(STDOUT_FILENO) ? JSON_ENCODE_ANY | JSON_ENSURE_ASCII : JSON_ENCODE_ANY;
}

/* The fewest digits that are the same number again. */
static bool json_write_real(const json_t *value)
{
    for (size_t digits = 15; digits <= 17; digits++) {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        json_t *again = text != NULL ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
        bool same = again != NULL && json_equal(value, again);
        bool failed = text == NULL || ((same || digits == 17) && fputs(text, stdout) == EOF);
        json_decref(again);
        free(text);
        if (same || failed) {
            return !failed;
        }
    }
    return true;
}

static bool json_write_array(const json_t *value)
{
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (putchar(i == 0 ? '[' : ',') == EOF || !json_write(json_array_get(value, i))) {
            return false;
        }
    }
    return fputs(json_array_size(value) == 0 ? "[]" : "]", stdout) != EOF;
}

static bool json_write_text(const char *text)
{
    json_t *string = json_string(text);
    bool written = string != NULL && json_dumpf(string, stdout, json_flags()) == 0;
    json_decref(string);
    return written;
}

static bool json_write_object(const json_t *value)
{
    json_t *object = json_incref((json_t *)(uintptr_t)value); /* the iteration wants it not const */
    const char *name;
    json_t *member;
    bool written = putchar('{') != EOF;
    bool first = true;
    json_object_foreach(object, name, member)
    {
        written = written && (first || putchar(',') != EOF) && json_write_text(name) &&
                  putchar(':') != EOF && json_write(member);
        first = false;
    }
    json_decref(object);
    return written && putchar('}') != EOF;
}

static bool json_write(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_REAL: return json_write_real(value);
    case JSON_ARRAY: return json_write_array(value);
    case JSON_OBJECT: return json_write_object(value);
    default: return json_dumpf(value, stdout, json_flags()) == 0;
    }
}

int json_print(json_t *value)
{
    bool no_memory = value == NULL;
    bool written = !no_memory && json_write(value) && putchar('\n') != EOF;
    json_decref(value);
    if (no_memory || (!written && ferror(stdout) == 0)) {
        complain("out of memory");
    } /* what could not be written, main says */
    return written ? EXIT_OK : EXIT_SYSTEM;
}

json_t *json_expiry(int64_t expires_ms)
{
    return expires_ms == 0 ? json_null() : json_integer(expires_ms);
}
