/* SPDX-License-Identifier: Apache-2.0 */
#include "slow_value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const slow_reasons[SLOW_FAULTS] = {
    [SLOW_UTF8] = "is not valid UTF-8",
    [SLOW_STRING] = "is not a string",
    [SLOW_NUMBER_STRING] = "is not a string with a number in it",
    [SLOW_NUMBER] = "is not a number",
    [SLOW_LONG] = "has more than 38 significant digits",
    [SLOW_FAR] = "is out of range (1E-130 to 9.9E+125)",
    [SLOW_BASE64] = "is not a string of canonical base64",
    [SLOW_BOOL] = "is neither true nor false",
    [SLOW_TRUE] = "is not true",
    [SLOW_TWICE] = "is in the set twice",
    [SLOW_ARRAY] = "is not an array",
    [SLOW_EMPTY] = "is an empty set",
    [SLOW_DEPTH] = "is nested deeper than DynamoDB's 32 levels",
    [SLOW_OBJECT] = "is not an object",
    [SLOW_NAME] = "has a member whose name is not of 1 to 65535 bytes",
    [SLOW_NAME_NUL] = "has a member with U+0000 in its name",
    [SLOW_NAME_UTF8] = "has a member whose name is not valid UTF-8",
    [SLOW_TYPE] =
        "is not an object with one member that is a type: S, N, B, SS, NS, BS, M, L, BOOL, NULL",
    [SLOW_READ_DEPTH] = "is nested deeper than 32 levels",
    [SLOW_READ_TYPE] = "is not an attribute value",
    [SLOW_INEXACT] = "is a number that neither int64 nor double holds exactly",
};

/* ---- Numbers ---- */

static size_t slow_digits(const char *text, size_t length)
{
    size_t count = 0;
    while (count < length && text[count] >= '0' && text[count] <= '9') {
        count++;
    }
    return count;
}

/* Takes the zeros off both ends. */
static void slow_trim(struct slow_decimal *decimal)
{
    size_t zeros = 0;
    while (zeros < decimal->count && decimal->digits[zeros] == '0') {
        zeros++;
    }
    memmove(decimal->digits, decimal->digits + zeros, decimal->count - zeros);
    decimal->count -= zeros;
    decimal->exponent -= (long)zeros;
    while (decimal->count > 0 && decimal->digits[decimal->count - 1] == '0') {
        decimal->count--;
    }
    if (decimal->count == 0) {
        decimal->negative = false;
        decimal->exponent = 0;
    }
}

/* *text: what follows the digits that were read. */
static void slow_mantissa(const char **text, const char *end, struct slow_decimal *decimal)
{
    size_t whole = slow_digits(*text, (size_t)(end - *text)), part = 0;
    memcpy(decimal->digits, *text, whole);
    *text += whole;
    if (*text < end && **text == '.') {
        (*text)++;
        part = slow_digits(*text, (size_t)(end - *text));
        memcpy(decimal->digits + whole, *text, part);
        *text += part;
    }
    decimal->count = whole + part;
    decimal->exponent = (long)whole - 1;
}

/* False: there is none. */
static bool slow_exponent(const char *text, const char *end, long *exponent)
{
    bool down = text < end && *text == '-';
    if (text < end && (*text == '+' || *text == '-')) {
        text++;
    }
    if (text == end || slow_digits(text, (size_t)(end - text)) != (size_t)(end - text)) {
        return false;
    }
    long number = 0;
    for (; text < end && number < 100000000; text++) {
        number = number * 10 + (*text - '0');
    }
    *exponent = down ? -number : number;
    return true;
}

unsigned slow_decimal_read(const char *text, size_t length, struct slow_decimal *decimal)
{
    const char *end = text + length;
    long exponent = 0;
    *decimal = (struct slow_decimal){.digits = slow_alloc(length)};
    decimal->negative = text < end && *text == '-';
    if (text < end && (*text == '+' || *text == '-')) {
        text++;
    }
    slow_mantissa(&text, end, decimal);
    bool sound = decimal->count > 0;
    slow_trim(decimal);
    if (sound && text < end) {
        sound = (*text == 'E' || *text == 'e') && slow_exponent(text + 1, end, &exponent);
    }
    unsigned faults = sound ? 0 : 1U << SLOW_NUMBER;
    faults |= decimal->count > 38 ? 1U << SLOW_LONG : 0;
    /* An exponent that nobody writes is no number, and is out of range, too. */
    faults |= labs(exponent) > 1000000 ? 1U << SLOW_NUMBER | 1U << SLOW_FAR : 0;
    if (decimal->count > 0) {
        decimal->exponent += exponent;
        faults |= decimal->exponent < -130 || decimal->exponent > 125 ? 1U << SLOW_FAR : 0;
    }
    return faults;
}

bool slow_decimal_same(const struct slow_decimal *a, const struct slow_decimal *b)
{
    return a->negative == b->negative && a->count == b->count && a->exponent == b->exponent &&
           memcmp(a->digits, b->digits, a->count) == 0;
}

bool slow_decimal_floor(const struct slow_decimal *decimal, int64_t *floor)
{
    __extension__ __int128 whole = 0, top = INT64_MAX;
    long count = (long)decimal->count;
    if (decimal->exponent > 30) {
        *floor = decimal->negative ? INT64_MIN : INT64_MAX;
        return false;
    }
    for (long i = 0; count > 0 && i <= decimal->exponent; i++) {
        whole = whole * 10 + (i < count ? decimal->digits[i] - '0' : 0);
    }
    bool fraction = count > 0 && count - 1 > decimal->exponent;
    if (decimal->negative) {
        whole = -whole - (fraction ? 1 : 0);
    }
    bool fits = whole <= top && whole >= -top - 1;
    *floor = fits ? (int64_t)whole : whole > 0 ? INT64_MAX : INT64_MIN;
    return fits && !fraction;
}

size_t slow_decimal_size(const struct slow_decimal *decimal)
{
    size_t pairs = decimal->count / 2 + decimal->count % 2;
    return 1 + pairs + (decimal->negative ? 1 : 0);
}

/* The decimal of so many digits, so many units of the last one from the nearest; whether it reads back. */
static bool slow_decimal_near(double value, int precision, int units, struct slow_decimal *decimal)
{
    char text[64], copy[64];
    (void)snprintf(text, sizeof text, "%.*e", precision - 1, value);
    char *mark = strchr(text, 'e');
    long digits = 0;
    for (char *at = text; at < mark; at++) {
        digits = *at >= '0' && *at <= '9' ? digits * 10 + (*at - '0') : digits;
    }
    (void)snprintf(copy, sizeof copy, "%s%ldE%ld", value < 0 ? "-" : "", digits + units,
                   strtol(mark + 1, NULL, 10) - precision + 1);
    (void)slow_decimal_read(copy, strlen(copy), decimal);
    double back = strtod(copy, NULL);
    return !(back < value) && !(back > value);
}

void slow_decimal_shortest(double value, struct slow_decimal *decimal)
{
    static const int units[] = {0, 1, -1};
    for (int i = 0; i < 17 * 3; i++) {
        if (slow_decimal_near(value, i / 3 + 1, units[i % 3], decimal)) {
            return;
        }
        free(decimal->digits);
    }
    fuzz_check(false);
}

/* ---- Making values ---- */

#define SLOW_BUILD_DEPTH 80

static json_t *slow_build_at(struct fuzz_input *input, int depth, int *budget);

static json_t *slow_build_text(struct fuzz_input *input)
{
    size_t length;
    char *text = fuzz_text(input, &length);
    json_t *json = json_stringn_nocheck(text, length);
    free(text);
    return json;
}

static json_t *slow_build_array(struct fuzz_input *input, int depth, int *budget, bool texts)
{
    json_t *array = json_array();
    for (unsigned count = fuzz_below(input, 6); count > 0; count--) {
        (void)json_array_append_new(array, texts ? slow_build_text(input)
                                                 : slow_build_at(input, depth + 1, budget));
    }
    return array;
}

static void slow_set(json_t *object, const char *name, size_t length, json_t *value)
{
#if JANSSON_VERSION_HEX >= 0x020e00
    (void)json_object_setn_new_nocheck(object, name, length, value);
#else
    (void)length;
    (void)json_object_set_new_nocheck(object, name, value);
#endif
}

static json_t *slow_build_object(struct fuzz_input *input, int depth, int *budget)
{
    json_t *object = json_object();
    for (unsigned count = fuzz_below(input, 6); count > 0; count--) {
        size_t length;
        char *name = fuzz_text(input, &length);
        slow_set(object, name, length, slow_build_at(input, depth + 1, budget));
        free(name);
    }
    return object;
}

static json_t *slow_build_real(struct fuzz_input *input)
{
    int64_t bits = fuzz_int(input);
    double real;
    memcpy(&real, &bits, sizeof real);
    json_t *json = json_real(real);
    return json != NULL ? json : json_null(); /* not of NaN */
}

static json_t *slow_build_wrapped(struct fuzz_input *input, int depth, int *budget)
{
    static const char types[][5] = {"S", "N", "B", "SS", "NS", "BS", "M", "L", "BOOL", "NULL"};
    unsigned which = fuzz_below(input, 16);
    const char *type = types[which < 10 ? which : 7];
    json_t *inner;
    if (which < 3) {
        inner = slow_build_text(input);
    } else if (which < 6) {
        inner = slow_build_array(input, depth, budget, true);
    } else if (which == 6) {
        inner = slow_build_object(input, depth, budget);
    } else if (which == 7) {
        inner = slow_build_array(input, depth, budget, false);
    } else if (which < 10) {
        inner = json_boolean(fuzz_below(input, 2) == 0);
    } else { /* a list of one */
        inner = json_pack("[o]", slow_build_at(input, depth + 1, budget));
    }
    return json_pack("{s:o}", type, inner);
}

static json_t *slow_build_at(struct fuzz_input *input, int depth, int *budget)
{
    unsigned what = fuzz_below(input, 16);
    if (--*budget < 0 || depth > SLOW_BUILD_DEPTH) {
        what = 0;
    }
    switch (what) {
    case 0: return json_null();
    case 1: return json_true();
    case 2: return json_false();
    case 3: return json_integer(fuzz_int(input));
    case 4: return json_integer(fuzz_byte(input));
    case 5: return slow_build_real(input);
    case 6: return json_real((double)(fuzz_int(input) >> 40) / 64);
    case 7: return slow_build_text(input);
    case 8: return slow_build_array(input, depth, budget, false);
    case 9: return slow_build_object(input, depth, budget);
    case 10: return json_pack("[o]", slow_build_at(input, depth + 1, budget));
    default: return slow_build_wrapped(input, depth, budget);
    }
}

json_t *slow_build(struct fuzz_input *input)
{
    int budget = 500;
    return slow_build_at(input, 0, &budget);
}

json_t *slow_parse(const char *text, size_t length)
{
    return json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL,
                      NULL);
}

/* ---- What is wrong with a value to be written ---- */

struct slow_count {
    bool plain;
    size_t size;
    unsigned faults;
};

static void slow_count_value(struct slow_count *count, const json_t *json, int depth);

static void slow_fault(struct slow_count *count, bool faulty, enum slow_fault fault)
{
    count->faults |= faulty ? 1U << fault : 0;
}

static size_t slow_name_length(void *iterator)
{
#if JANSSON_VERSION_HEX >= 0x020e00
    return json_object_iter_key_len(iterator);
#else
    return strlen(json_object_iter_key(iterator));
#endif
}

static void slow_count_text(struct slow_count *count, const json_t *json)
{
    const char *text = json_string_value(json);
    size_t length = json_string_length(json);
    slow_fault(count, text == NULL, SLOW_STRING);
    slow_fault(count, text != NULL && !slow_is_utf8(text, length), SLOW_UTF8);
    count->size += length;
}

static void slow_count_number(struct slow_count *count, const json_t *json)
{
    struct slow_decimal decimal;
    if (!json_is_string(json)) {
        slow_fault(count, true, SLOW_NUMBER_STRING);
        return;
    }
    count->faults |= slow_decimal_read(json_string_value(json), json_string_length(json), &decimal);
    count->size += slow_decimal_size(&decimal);
    free(decimal.digits);
}

static void slow_count_base64(struct slow_count *count, const json_t *json)
{
    size_t length = 0;
    unsigned char *bytes = json_is_string(json) ? slow_unbase64(json_string_value(json),
                                                                json_string_length(json), &length)
                                                : NULL;
    slow_fault(count, bytes == NULL, SLOW_BASE64);
    count->size += length;
    free(bytes);
}

static bool slow_has_twice(const json_t *set, bool numbers)
{
    size_t count = json_array_size(set);
    struct slow_decimal *decimals = slow_alloc(count * sizeof *decimals);
    bool twice = false;
    for (size_t i = 0; i < count; i++) {
        const json_t *member = json_array_get(set, i);
        unsigned faults = slow_decimal_read(json_is_string(member) ? json_string_value(member) : "",
                                            json_string_length(member), &decimals[i]);
        for (size_t j = 0; j < i && !twice; j++) {
            twice = numbers ? faults == 0 && slow_decimal_same(&decimals[i], &decimals[j])
                            : json_equal(member, json_array_get(set, j));
        }
    }
    for (size_t i = 0; i < count; i++) {
        free(decimals[i].digits);
    }
    free(decimals);
    return twice;
}

static void slow_count_set(struct slow_count *count, const json_t *set, const char *type)
{
    size_t members = json_array_size(set);
    slow_fault(count, !json_is_array(set), SLOW_ARRAY);
    slow_fault(count, json_is_array(set) && members == 0, SLOW_EMPTY);
    slow_fault(count, slow_has_twice(set, *type == 'N'), SLOW_TWICE);
    for (size_t i = 0; i < members; i++) {
        const json_t *member = json_array_get(set, i);
        if (*type == 'N') {
            slow_count_number(count, member);
        } else if (*type == 'B') {
            slow_count_base64(count, member);
        } else {
            slow_count_text(count, member);
        }
    }
}

static void slow_count_list(struct slow_count *count, const json_t *list, int depth)
{
    slow_fault(count, !json_is_array(list), SLOW_ARRAY);
    slow_fault(count, depth >= 31, SLOW_DEPTH);
    count->size += 3;
    for (size_t i = 0; i < json_array_size(list); i++) {
        count->size += 1;
        slow_count_value(count, json_array_get(list, i), depth + 1);
    }
}

static void slow_count_map(struct slow_count *count, const json_t *map, int depth)
{
    slow_fault(count, !json_is_object(map), SLOW_OBJECT);
    slow_fault(count, depth >= 31, SLOW_DEPTH);
    count->size += 3;
    for (void *at = json_object_iter((json_t *)map); at != NULL;
         at = json_object_iter_next((json_t *)map, at)) {
        const char *name = json_object_iter_key(at);
        size_t length = slow_name_length(at);
        slow_fault(count, length < 1 || length > 65535, SLOW_NAME);
        slow_fault(count, strlen(name) < length, SLOW_NAME_NUL);
        slow_fault(count, !slow_is_utf8(name, length), SLOW_NAME_UTF8);
        count->size += length + 1;
        slow_count_value(count, json_object_iter_value(at), depth + 1);
    }
}

const char *slow_type(const json_t *attribute, const json_t **inner)
{
    static const char types[][5] = {"S", "N", "B", "SS", "NS", "BS", "M", "L", "BOOL", "NULL"};
    void *only = json_object_iter((json_t *)attribute);
    if (only == NULL || json_object_iter_next((json_t *)attribute, only) != NULL) {
        return NULL;
    }
    *inner = json_object_iter_value(only);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strlen(types[i]) == slow_name_length(only) &&
            strcmp(types[i], json_object_iter_key(only)) == 0) {
            return types[i];
        }
    }
    return NULL;
}

static void slow_count_attribute(struct slow_count *count, const json_t *json, int depth)
{
    const json_t *inner = NULL;
    const char *type = slow_type(json, &inner);
    if (type == NULL) {
        slow_fault(count, true, SLOW_TYPE);
    } else if (strcmp(type, "S") == 0) {
        slow_count_text(count, inner);
    } else if (strcmp(type, "N") == 0) {
        slow_count_number(count, inner);
    } else if (strcmp(type, "B") == 0) {
        slow_count_base64(count, inner);
    } else if (strcmp(type, "L") == 0) {
        slow_count_list(count, inner, depth);
    } else if (strcmp(type, "M") == 0) {
        slow_count_map(count, inner, depth);
    } else if (strcmp(type, "BOOL") == 0) {
        slow_fault(count, !json_is_boolean(inner), SLOW_BOOL);
        count->size += 1;
    } else if (strcmp(type, "NULL") == 0) {
        slow_fault(count, !json_is_true(inner), SLOW_TRUE);
        count->size += 1;
    } else {
        slow_count_set(count, inner, type);
    }
}

static void slow_decimal_of(const json_t *number, struct slow_decimal *decimal)
{
    if (json_is_integer(number)) {
        char text[32];
        (void)snprintf(text, sizeof text, "%lld", (long long)json_integer_value(number));
        (void)slow_decimal_read(text, strlen(text), decimal);
    } else {
        slow_decimal_shortest(json_real_value(number), decimal);
    }
}

static void slow_count_plain(struct slow_count *count, const json_t *json, int depth)
{
    struct slow_decimal decimal;
    switch (json_typeof(json)) {
    case JSON_STRING: slow_count_text(count, json); break;
    case JSON_ARRAY: slow_count_list(count, json, depth); break;
    case JSON_OBJECT: slow_count_map(count, json, depth); break;
    case JSON_INTEGER:
    case JSON_REAL:
        slow_decimal_of(json, &decimal);
        slow_fault(count, decimal.exponent < -130 || decimal.exponent > 125, SLOW_FAR);
        count->size += slow_decimal_size(&decimal);
        free(decimal.digits);
        break;
    default: count->size += 1; break;
    }
}

static void slow_count_value(struct slow_count *count, const json_t *json, int depth)
{
    if (count->plain) {
        slow_count_plain(count, json, depth);
    } else {
        slow_count_attribute(count, json, depth);
    }
}

unsigned slow_write_faults(const json_t *json, bool plain, size_t *size)
{
    struct slow_count count = {plain, 0, 0};
    slow_count_value(&count, json, 0);
    *size = count.size;
    return count.faults;
}

/* ---- Attribute JSON as plain JSON ---- */

static json_t *slow_plain_at(const json_t *attribute, int depth, unsigned *faults);

static json_t *slow_plain_number(const json_t *json, unsigned *faults)
{
    struct slow_decimal decimal, shortest;
    json_t *number = NULL;
    int64_t whole;
    if (!json_is_string(json)) {
        *faults |= 1U << SLOW_NUMBER;
        return NULL;
    }
    const char *text = json_string_value(json);
    if (slow_decimal_read(text, json_string_length(json), &decimal) != 0) {
        *faults |= 1U << SLOW_NUMBER;
    } else if (slow_decimal_floor(&decimal, &whole)) {
        number = json_integer(whole);
    } else {
        double real = strtod(text, NULL);
        slow_decimal_shortest(real, &shortest);
        if (slow_decimal_same(&decimal, &shortest)) {
            number = json_real(real);
        } else {
            *faults |= 1U << SLOW_INEXACT;
        }
        free(shortest.digits);
    }
    free(decimal.digits);
    return number;
}

static json_t *slow_plain_text(const json_t *json, unsigned *faults)
{
    *faults |= json_is_string(json) ? 0 : 1U << SLOW_STRING;
    return json_is_string(json) ? json_deep_copy(json) : NULL;
}

/* How: 'L' list, 'N' numbers, 'S' texts. */
static json_t *slow_plain_array(const json_t *json, int depth, char how, unsigned *faults)
{
    json_t *array = json_array();
    *faults |= json_is_array(json) ? 0 : 1U << SLOW_ARRAY;
    for (size_t i = 0; i < json_array_size(json); i++) {
        const json_t *member = json_array_get(json, i);
        json_t *made = how == 'L'   ? slow_plain_at(member, depth + 1, faults)
                       : how == 'N' ? slow_plain_number(member, faults)
                                    : slow_plain_text(member, faults);
        (void)json_array_append_new(array, made != NULL ? made : json_null());
    }
    return array;
}

static json_t *slow_plain_map(const json_t *json, int depth, unsigned *faults)
{
    json_t *object = json_object();
    *faults |= json_is_object(json) ? 0 : 1U << SLOW_OBJECT;
    for (void *at = json_object_iter((json_t *)json); at != NULL;
         at = json_object_iter_next((json_t *)json, at)) {
        json_t *made = slow_plain_at(json_object_iter_value(at), depth + 1, faults);
        slow_set(object, json_object_iter_key(at), slow_name_length(at),
                 made != NULL ? made : json_null());
    }
    return object;
}

static json_t *slow_plain_at(const json_t *attribute, int depth, unsigned *faults)
{
    const json_t *inner = NULL;
    const char *type = slow_type(attribute, &inner);
    if (type == NULL) {
        *faults |= 1U << SLOW_READ_TYPE;
        return NULL;
    }
    if (depth >= 31 && (strcmp(type, "L") == 0 || strcmp(type, "M") == 0)) {
        *faults |= 1U << SLOW_READ_DEPTH;
    }
    if (strcmp(type, "S") == 0 || strcmp(type, "B") == 0) {
        return slow_plain_text(inner, faults);
    }
    if (strcmp(type, "N") == 0) {
        return slow_plain_number(inner, faults);
    }
    if (strcmp(type, "BOOL") == 0) {
        *faults |= json_is_boolean(inner) ? 0 : 1U << SLOW_BOOL;
        return json_boolean(json_is_true(inner));
    }
    if (strcmp(type, "NULL") == 0) {
        *faults |= json_is_true(inner) ? 0 : 1U << SLOW_TRUE;
        return json_null();
    }
    return strcmp(type, "M") == 0
               ? slow_plain_map(inner, depth, faults)
               : slow_plain_array(inner, depth, strcmp(type, "BS") == 0 ? 'S' : *type, faults);
}

json_t *slow_plain(const json_t *attribute, unsigned *faults)
{
    *faults = 0;
    json_t *json = slow_plain_at(attribute, 0, faults);
    if (*faults != 0) {
        json_decref(json);
        json = NULL;
    }
    return json;
}

/* ---- Comparing ---- */

static bool slow_stands_for_number(const json_t *inner, const json_t *plain)
{
    struct slow_decimal left, right;
    if (!json_is_string(inner)) {
        return false;
    }
    if (json_is_integer(plain)) {
        char text[32];
        (void)snprintf(text, sizeof text, "%lld", (long long)json_integer_value(plain));
        return strcmp(text, json_string_value(inner)) == 0;
    }
    bool sound = slow_decimal_read(json_string_value(inner), json_string_length(inner), &left) == 0;
    slow_decimal_shortest(json_real_value(plain), &right);
    bool same = sound && slow_decimal_same(&left, &right);
    free(left.digits);
    free(right.digits);
    return same;
}

static bool slow_stands_for_array(const json_t *inner, const json_t *plain)
{
    bool same = json_is_array(inner) && json_array_size(inner) == json_array_size(plain);
    for (size_t i = 0; same && i < json_array_size(plain); i++) {
        same = slow_stands_for(json_array_get(inner, i), json_array_get(plain, i));
    }
    return same;
}

static bool slow_stands_for_object(const json_t *inner, const json_t *plain)
{
    bool same = json_is_object(inner) && json_object_size(inner) == json_object_size(plain);
    for (void *at = json_object_iter((json_t *)plain); same && at != NULL;
         at = json_object_iter_next((json_t *)plain, at)) {
        const json_t *member = json_object_get(inner, json_object_iter_key(at));
        same = member != NULL && slow_stands_for(member, json_object_iter_value(at));
    }
    return same;
}

bool slow_stands_for(const json_t *attribute, const json_t *plain)
{
    const json_t *inner = NULL;
    const char *type = slow_type(attribute, &inner);
    if (type == NULL) {
        return false;
    }
    switch (json_typeof(plain)) {
    case JSON_STRING: return strcmp(type, "S") == 0 && json_equal(inner, plain);
    case JSON_INTEGER:
    case JSON_REAL: return strcmp(type, "N") == 0 && slow_stands_for_number(inner, plain);
    case JSON_TRUE:
    case JSON_FALSE: return strcmp(type, "BOOL") == 0 && json_equal(inner, plain);
    case JSON_ARRAY: return strcmp(type, "L") == 0 && slow_stands_for_array(inner, plain);
    case JSON_OBJECT: return strcmp(type, "M") == 0 && slow_stands_for_object(inner, plain);
    default: return strcmp(type, "NULL") == 0 && json_is_true(inner);
    }
}

bool slow_equal(const json_t *a, const json_t *b)
{
    bool same = a != NULL && b != NULL && json_typeof(a) == json_typeof(b);
    if (same && json_is_real(a)) {
        double left = json_real_value(a), right = json_real_value(b);
        return memcmp(&left, &right, sizeof left) == 0;
    }
    if (same && json_is_array(a)) {
        same = json_array_size(a) == json_array_size(b);
        for (size_t i = 0; same && i < json_array_size(a); i++) {
            same = slow_equal(json_array_get(a, i), json_array_get(b, i));
        }
        return same;
    }
    if (same && json_is_object(a)) {
        same = json_object_size(a) == json_object_size(b);
        for (void *at = json_object_iter((json_t *)a); same && at != NULL;
             at = json_object_iter_next((json_t *)a, at)) {
            same = slow_equal(json_object_iter_value(at),
                              json_object_get(b, json_object_iter_key(at)));
        }
        return same;
    }
    return same && json_equal(a, b);
}

size_t slow_depth(const json_t *json)
{
    size_t deepest = 0;
    for (size_t i = 0; i < json_array_size(json); i++) {
        size_t depth = slow_depth(json_array_get(json, i));
        deepest = depth > deepest ? depth : deepest;
    }
    for (void *at = json_object_iter((json_t *)json); at != NULL;
         at = json_object_iter_next((json_t *)json, at)) {
        size_t depth = slow_depth(json_object_iter_value(at));
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + (json_is_array(json) || json_is_object(json) ? 1 : 0);
}

static bool slow_has(const json_t *json, const char *text, bool names)
{
    bool has = !names && json_is_string(json) && strstr(json_string_value(json), text) != NULL;
    for (size_t i = 0; !has && i < json_array_size(json); i++) {
        has = slow_has(json_array_get(json, i), text, names);
    }
    for (void *at = json_object_iter((json_t *)json); !has && at != NULL;
         at = json_object_iter_next((json_t *)json, at)) {
        has = (names && strstr(json_object_iter_key(at), text) != NULL) ||
              slow_has(json_object_iter_value(at), text, names);
    }
    return has;
}

bool slow_has_only_in_values(const json_t *json, const char *text)
{
    return slow_has(json, text, false) && !slow_has(json, text, true);
}
