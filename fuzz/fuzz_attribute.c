/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attribute JSON: what comes as a record's value and is asked for in every way, and what is written. Both are judged
 * by slow_value.c, and what was written is read again. The input is JSON text; or, after a byte below ' ', says how to
 * build a value, and whether to fill it up to the limit of an item.
 */
#include "slow_value.h"

#include <stdlib.h>
#include <string.h>

#define ATTRIBUTE_SECRET "S3cr3t"

static const char attribute_head[] =
    "{\"Item\":{\"id\":{\"S\":\"p\"},\"name\":{\"S\":\"k\"},\"version\":{\"N\":\"7\"},\"payload\":";

static bool attribute_is_reason(const char *message, unsigned faults)
{
    for (unsigned fault = 0; fault < SLOW_FAULTS; fault++) {
        if ((faults & 1U << fault) != 0 && slow_ends(message, slow_reasons[fault])) {
            return true;
        }
    }
    return false;
}

static dynalock_kv *attribute_read(const char *text, size_t length, int *code,
                                   dynalock_error *error)
{
    dynalock_kv *untouched = (dynalock_kv *)(void *)&untouched, *kv = untouched;
    struct dlk_buffer body;
    dlk_buffer_init(&body, SIZE_MAX / 2);
    dlk_buffer_text(&body, attribute_head);
    dlk_buffer_bytes(&body, text, length);
    dlk_buffer_text(&body, "}}");
    *code = dlk_json_item(body.data, body.length, &kv, error);
    dlk_buffer_free(&body);
    fuzz_check((*code == 0) == (kv != untouched));
    return *code == 0 ? kv : NULL;
}

/* ---- Reading ---- */

static void attribute_check_bytes(dynalock_kv *kv, const json_t *json)
{
    dynalock_error error = SLOW_UNTOLD;
    const void *bytes = &error, *again;
    size_t length = 77, slow_length = 0;
    const json_t *inner = NULL;
    const char *type = slow_type(json, &inner);
    unsigned char *slow = NULL;
    bool is_text = (strcmp(type, "S") == 0 || strcmp(type, "B") == 0) && json_is_string(inner);

    if (is_text) {
        slow = slow_unbase64(json_string_value(inner), json_string_length(inner), &slow_length);
    }
    int code = dynalock_kv_bytes(kv, &bytes, &length, &error);
    fuzz_check((code == 0) == (slow != NULL));
    if (code == 0) {
        fuzz_check(length == slow_length && memcmp(bytes, slow, length) == 0);
        fuzz_check(((const char *)bytes)[length] == '\0');
        fuzz_check(dynalock_kv_bytes(kv, &again, &length, NULL) == 0 && again == bytes);
        slow_check_untold(&error);
    } else {
        SLOW_CHECK_TOLD(&error, code, DYNALOCK_ERR_TYPE);
        fuzz_check(bytes == &error && length == 77);
        fuzz_check(slow_ends(error.message,
                             is_text ? "is not canonical base64" : "is neither an S nor a B"));
    }
    free(slow);
}

static void attribute_check_plain(const dynalock_kv *kv, const json_t *json)
{
    dynalock_error error = SLOW_UNTOLD;
    unsigned faults;
    json_t *plain = NULL, *slow = slow_plain(json, &faults);

    int code = dynalock_kv_json(kv, &plain, &error);
    fuzz_check((code == 0) == (faults == 0));
    if (code == 0) {
        fuzz_check(slow_equal(plain, slow));
        slow_check_untold(&error);
    } else {
        SLOW_CHECK_TOLD(&error, code, DYNALOCK_ERR_TYPE);
        fuzz_check(plain == NULL && attribute_is_reason(error.message, faults));
        fuzz_check(!slow_has_only_in_values(json, ATTRIBUTE_SECRET) ||
                   strstr(error.message, ATTRIBUTE_SECRET) == NULL);
    }
    json_decref(plain);
    json_decref(slow);
}

static void attribute_check_record(dynalock_kv *kv, const json_t *json)
{
    const json_t *inner = NULL;
    json_t *copy = NULL;

    fuzz_check(dynalock_kv_type(kv) != NULL);
    fuzz_check(strcmp(dynalock_kv_type(kv), slow_type(json, &inner)) == 0);
    fuzz_check(dynalock_kv_attribute(kv, &copy, NULL) == 0);
    fuzz_check(slow_equal(copy, json));
    json_decref(copy);
    attribute_check_plain(kv, json);
    attribute_check_bytes(kv, json);
}

/* json NULL: the text is none, or brings more than the payload. */
static void attribute_check_answer(const char *text, size_t length, const json_t *json)
{
    const json_t *inner = NULL;
    dynalock_error error = SLOW_UNTOLD;
    int code;
    dynalock_kv *kv = attribute_read(text, length, &code, &error);

    if (kv == NULL) {
        SLOW_CHECK_TOLD(&error, code, DYNALOCK_ERR_TYPE, DYNALOCK_ERR_BAD_RESPONSE);
        fuzz_check(json == NULL || slow_type(json, &inner) == NULL ||
                   slow_depth(json) + 2 > DLK_JSON_DEPTH_MAX);
        return;
    }
    fuzz_check(json == NULL || slow_depth(json) + 2 <= DLK_JSON_DEPTH_MAX);
    slow_check_untold(&error);
    if (json != NULL) {
        attribute_check_record(kv, json);
    }
    dynalock_kv_free(kv);
}

/* ---- Writing ---- */

static void attribute_check_written(const struct dlk_buffer *text, const json_t *json)
{
    json_t *again = slow_parse(text->data, text->length);

    fuzz_check(slow_is_sendable(text->data, text->length));
    fuzz_check(slow_equal(again, json));
    json_decref(again);
    attribute_check_answer(text->data, text->length, json);
}

static void attribute_check_value(const json_t *json)
{
    dynalock_error error = SLOW_UNTOLD;
    dynalock_value value = dynalock_attribute(json);
    struct dlk_buffer text;
    size_t size = 1000, slow_size;
    unsigned faults = slow_write_faults(json, false, &slow_size);

    dlk_buffer_init(&text, SIZE_MAX / 2);
    int code = dlk_json_value(&text, &value, &size, &error);
    fuzz_check((code == 0) == (faults == 0 && slow_size <= DLK_ITEM_MAX));
    if (code == 0) {
        fuzz_check(size == 1000 + slow_size);
        slow_check_untold(&error);
        attribute_check_written(&text, json);
    } else {
        SLOW_CHECK_TOLD(&error, code, DYNALOCK_ERR_ARGUMENT, DYNALOCK_ERR_TOO_LARGE);
        fuzz_check(size == 1000);
        fuzz_check(code == DYNALOCK_ERR_ARGUMENT
                       ? attribute_is_reason(error.message, faults)
                       : slow_size > DLK_ITEM_MAX &&
                             slow_ends(error.message, "limit of 400 KB for an item"));
        fuzz_check(!slow_has_only_in_values(json, ATTRIBUTE_SECRET) ||
                   strstr(error.message, ATTRIBUTE_SECRET) == NULL);
        fuzz_check(dlk_json_value(&text, &value, &size, NULL) == code);
    }
    dlk_buffer_free(&text);
}

/* In a list with a string that makes it about as large as an item may be. */
static json_t *attribute_fill(json_t *json, unsigned more)
{
    size_t size;
    if (slow_write_faults(json, false, &size) != 0 || size > DLK_ITEM_MAX / 2) {
        return json;
    }
    size_t length = DLK_ITEM_MAX - size - 7 + more;
    char *filling = slow_alloc(length);
    memset(filling, 'x', length);
    json_t *filled = json_pack("{s:[o,{s:o}]}", "L", json, "S", json_stringn(filling, length));
    free(filling);
    return filled;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, size};
    bool is_text = size == 0 || *data >= ' ';
    unsigned how = is_text ? 0 : fuzz_byte(&input);
    const char *text = (const char *)input.data;
    json_t *json = (how & 1) != 0 ? slow_build(&input) : slow_parse(text, input.left);

    if (is_text) {
        attribute_check_answer(text, size, json);
    } else if ((how & 6) == 6 && json != NULL && size <= 12) { /* it takes long */
        json = attribute_fill(json, how >> 3);
    }
    if (json != NULL) {
        attribute_check_value(json);
    }
    json_decref(json);
    return 0;
}
