/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plain JSON, written and read again; and the numbers behind it: from text, from a double, and between them. The input
 * is JSON text; or, after a byte below ' ', says how to build a value, or is bytes, numbers or doubles.
 */
#include "slow_value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLAIN_SECRET "S3cr3t"

static bool plain_is_reason(const char *reason, unsigned faults)
{
    for (unsigned fault = 0; fault < SLOW_FAULTS; fault++) {
        if ((faults & 1U << fault) != 0 && slow_ends(reason, slow_reasons[fault])) {
            return true;
        }
    }
    return false;
}

/* ---- Values ---- */

/* What is read where this was written: a real that is whole comes back as an integer. */
static json_t *plain_expected(const json_t *json)
{
    struct slow_decimal decimal;
    int64_t whole = 0;
    json_t *made = NULL;
    if (json_is_array(json)) {
        made = json_array();
        for (size_t i = 0; i < json_array_size(json); i++) {
            (void)json_array_append_new(made, plain_expected(json_array_get(json, i)));
        }
    } else if (json_is_object(json)) {
        made = json_object();
        for (void *at = json_object_iter((json_t *)json); at != NULL;
             at = json_object_iter_next((json_t *)json, at)) {
            (void)json_object_set_new_nocheck(made, json_object_iter_key(at),
                                              plain_expected(json_object_iter_value(at)));
        }
    } else if (json_is_real(json)) {
        slow_decimal_shortest(json_real_value(json), &decimal);
        made = slow_decimal_floor(&decimal, &whole) ? json_integer(whole) : json_deep_copy(json);
        free(decimal.digits);
    } else {
        made = json_deep_copy(json);
    }
    return made;
}

/* The record that such a write makes, by the library's own short way. */
static dynalock_kv *plain_record(const struct dlk_buffer *text)
{
    dynalock_kv *kv = NULL;
    fuzz_check(dlk_kv_make("p", "k", "n", text->data, text->length, &kv, NULL) == 0);
    fuzz_check(strcmp(dynalock_kv_partition(kv), "p") == 0 &&
               strcmp(dynalock_kv_key(kv), "k") == 0);
    return kv;
}

static void plain_check_written(const struct dlk_buffer *text, const json_t *json)
{
    json_t *attribute = slow_parse(text->data, text->length);
    json_t *expected = plain_expected(json), *back = NULL;
    size_t size;
    dynalock_kv *kv = plain_record(text);

    fuzz_check(slow_is_sendable(text->data, text->length));
    fuzz_check(attribute != NULL && slow_stands_for(attribute, json));
    fuzz_check(slow_write_faults(attribute, false, &size) == 0);
    fuzz_check(dynalock_kv_json(kv, &back, NULL) == 0);
    fuzz_check(slow_equal(back, expected));
    dynalock_kv_free(kv);
    json_decref(attribute);
    json_decref(expected);
    json_decref(back);
}

static void plain_check_value(const json_t *json)
{
    dynalock_error error = SLOW_UNTOLD;
    dynalock_value value = dynalock_json(json);
    struct dlk_buffer text;
    size_t size = 1000, slow_size;
    unsigned faults = slow_write_faults(json, true, &slow_size);

    dlk_buffer_init(&text, SIZE_MAX / 2);
    int code = dlk_json_value(&text, &value, &size, &error);
    fuzz_check((code == 0) == (faults == 0 && slow_size <= DLK_ITEM_MAX));
    if (code == 0) {
        fuzz_check(size == 1000 + slow_size);
        slow_check_untold(&error);
        plain_check_written(&text, json);
    } else {
        SLOW_CHECK_TOLD(&error, code, DYNALOCK_ERR_ARGUMENT, DYNALOCK_ERR_TOO_LARGE);
        fuzz_check(size == 1000);
        fuzz_check(code == DYNALOCK_ERR_ARGUMENT ? plain_is_reason(error.message, faults)
                                                 : slow_size > DLK_ITEM_MAX);
        fuzz_check(!slow_has_only_in_values(json, PLAIN_SECRET) ||
                   strstr(error.message, PLAIN_SECRET) == NULL);
    }
    dlk_buffer_free(&text);
}

static void plain_check_bytes(const void *bytes, size_t length)
{
    dynalock_error error = SLOW_UNTOLD;
    dynalock_value value = dynalock_bytes(bytes, length);
    struct dlk_buffer text;
    const void *back = NULL;
    size_t size = 0, back_length = 0;
    char *slow = slow_base64(bytes, length);

    dlk_buffer_init(&text, SIZE_MAX / 2);
    int code = dlk_json_value(&text, &value, &size, &error);
    fuzz_check((code == 0) == (strlen(slow) <= DLK_ITEM_MAX));
    if (code == 0) {
        fuzz_check(size == strlen(slow) && text.length == size + strlen("{'S':''}"));
        fuzz_check(memcmp(text.data + strlen("{'S':'"), slow, size) == 0);
        dynalock_kv *kv = plain_record(&text);
        fuzz_check(dynalock_kv_bytes(kv, &back, &back_length, NULL) == 0);
        fuzz_check(back_length == length && memcmp(back, bytes, length) == 0);
        dynalock_kv_free(kv);
    } else {
        SLOW_CHECK_TOLD(&error, code, DYNALOCK_ERR_TOO_LARGE);
        fuzz_check(size == 0);
    }
    dlk_buffer_free(&text);
    free(slow);
}

/* So many bytes of one kind: about as many as an item may have. Of small inputs alone, as it takes long. */
static void plain_check_large(struct fuzz_input *input)
{
    if (input->left > 2) {
        return;
    }
    size_t length = DLK_ITEM_MAX / 4 * 3 - 4 + fuzz_below(input, 16);
    char *bytes = slow_alloc(length);
    memset(bytes, fuzz_byte(input), length);
    plain_check_bytes(bytes, length);
    free(bytes);
}

/* ---- Numbers ---- */

static bool plain_same(double a, double b)
{
    return !(a < b) && !(a > b);
}

static void plain_check_double(double value)
{
    struct dlk_number number, again;
    struct slow_decimal slow, written;
    double back = 0;

    const char *reason = dlk_number_from_double(value, &number);
    if (!isfinite(value)) {
        fuzz_check(reason != NULL && strstr(reason, isnan(value) ? "NaN" : "infinite") != NULL);
        return;
    }
    slow_decimal_shortest(value, &slow);
    bool far = slow.exponent < -130 || slow.exponent > 125;
    fuzz_check((reason == NULL) == !far);
    if (reason == NULL) {
        char text[DLK_NUMBER_TEXT];
        dlk_number_format(&number, text);
        fuzz_check(strlen(text) <= 30);
        fuzz_check(slow_decimal_read(text, strlen(text), &written) == 0);
        fuzz_check(slow_decimal_same(&written, &slow));
        fuzz_check(dlk_number_size(&number) == slow_decimal_size(&slow));
        fuzz_check(dlk_number_parse(text, strlen(text), &again) == NULL);
        fuzz_check(dlk_number_compare(&number, &again) == 0);
        fuzz_check(dlk_number_to_double(&again, &back) && plain_same(back, value));
        free(written.digits);
    } else {
        fuzz_check(strcmp(reason, slow_reasons[SLOW_FAR]) == 0);
    }
    free(slow.digits);
}

static unsigned plain_check_text(const char *text, size_t length, struct dlk_number *number,
                                 struct slow_decimal *slow)
{
    const double untouched = 7;
    int64_t floor = 77, slow_floor;
    double back = untouched;
    unsigned faults = slow_decimal_read(text, length, slow);
    const char *reason = dlk_number_parse(text, length, number);

    fuzz_check((reason == NULL) == (faults == 0));
    if (reason != NULL) {
        fuzz_check(plain_is_reason(reason, faults));
        return faults;
    }
    fuzz_check((size_t)number->count == slow->count && number->negative == slow->negative);
    fuzz_check(memcmp(number->digits, slow->digits, slow->count) == 0);
    fuzz_check(slow->count == 0 || number->exponent == slow->exponent);
    fuzz_check(dlk_number_size(number) == slow_decimal_size(slow));
    fuzz_check(dlk_number_floor(number, &floor) == slow_decimal_floor(slow, &slow_floor));
    fuzz_check(floor == slow_floor);
    double nearest = strtod(text, NULL);
    struct slow_decimal shortest;
    slow_decimal_shortest(nearest, &shortest);
    bool exact = slow_decimal_same(slow, &shortest);
    fuzz_check(dlk_number_to_double(number, &back) == exact);
    fuzz_check(plain_same(back, exact ? nearest : untouched));
    free(shortest.digits);
    return 0;
}

static void plain_check_two(struct fuzz_input *input)
{
    struct dlk_number numbers[2];
    struct slow_decimal slow[2];
    unsigned faults = 0;
    for (int i = 0; i < 2; i++) {
        size_t length;
        char *text = fuzz_text(input, &length);
        faults |= plain_check_text(text, length, &numbers[i], &slow[i]);
        free(text);
    }
    if (faults == 0) {
        int order = dlk_number_compare(&numbers[0], &numbers[1]);
        int other = dlk_number_compare(&numbers[1], &numbers[0]);
        fuzz_check((order == 0) == slow_decimal_same(&slow[0], &slow[1]));
        fuzz_check((order < 0) == (other > 0) && (order > 0) == (other < 0));
    }
    free(slow[0].digits);
    free(slow[1].digits);
}

static double plain_double(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* And those around it: a power of two has neighbours at two distances. */
static void plain_check_doubles(struct fuzz_input *input)
{
    uint64_t bits = (uint64_t)fuzz_int(input);
    plain_check_double(plain_double(bits));
    plain_check_double(plain_double(bits + 1));
    plain_check_double(plain_double(bits - 1));
    plain_check_double(plain_double(bits >> 52 << 52));
}

/* ---- Any ---- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, size};
    json_t *json = NULL;

    if (size == 0 || *data >= ' ') {
        json = slow_parse((const char *)data, size);
    } else {
        switch (fuzz_byte(&input)) {
        case 1: json = slow_build(&input); break;
        case 2: plain_check_two(&input); break;
        case 3: plain_check_doubles(&input); break;
        case 4: plain_check_large(&input); break;
        default: plain_check_bytes(input.data, input.left); break;
        }
    }
    if (json != NULL) {
        plain_check_value(json);
    }
    json_decref(json);
    return 0;
}
