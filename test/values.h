/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of values and of records share. */
#ifndef TEST_VALUES_H
#define TEST_VALUES_H

#include "../internal.h"

#include <inttypes.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define NINES "99999999999999999999999999999999999999"
#define NONCE "0123456789abcdef0123456789abcdef"
#define KEYS "\"id\":{\"S\":\"p\"},\"name\":{\"S\":\"k\"}"
#define ITEM(more) "{\"Item\":{" KEYS "," more "}}"
#define PAYLOAD(attribute) ITEM("\"version\":{\"N\":\"1\"},\"payload\":" attribute)

enum { BODY_MAX = 16 << 20 };

static uint64_t random_state;

static inline uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static inline size_t random_below(size_t bound)
{
    return (size_t)(random_next() >> 11) % bound;
}

static inline json_t *parse(const char *text)
{
    json_error_t failure;
    json_t *json = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &failure);

    if (json == NULL) {
        fail_msg("%s: %s", text, failure.text);
    }
    return json;
}

/* The text becomes the caller's. */
static inline int write_text(dynalock_value value, char **text, size_t *size, dynalock_error *error)
{
    struct dlk_buffer buffer;
    int code;

    dlk_buffer_init(&buffer, BODY_MAX);
    code = dlk_json_value(&buffer, &value, size, error);
    if (code != DYNALOCK_OK) {
        dlk_buffer_free(&buffer);
        return code;
    }
    *text = buffer.data;
    return code;
}

static inline void assert_contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", part, text);
    }
}

static inline dynalock_kv *kv_of(const char *body)
{
    dynalock_error error;
    dynalock_kv *kv = NULL;

    if (dlk_json_item(body, strlen(body), &kv, &error) != DYNALOCK_OK) {
        fail_msg("%s: %s", body, error.message);
    }
    return kv;
}

#endif
