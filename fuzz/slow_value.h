/* SPDX-License-Identifier: Apache-2.0 */
/* A second opinion on numbers and values, by what dynalock.h says of them. */
#ifndef FUZZ_SLOW_VALUE_H
#define FUZZ_SLOW_VALUE_H

#include "fuzz.h"
#include "slow_text.h"

#include <jansson.h>

/* ---- Numbers ---- */

/* digits[0].digits[1..] * 10^exponent, no zero at either end; count 0: zero. */
struct slow_decimal {
    bool negative;
    size_t count;
    long exponent;
    char *digits; /* to be freed */
};

/* What may be wrong with a value, to be told by slow_reasons[bit]. Of reading comes what of writing has been. */
enum slow_fault {
    SLOW_UTF8,
    SLOW_STRING,
    SLOW_NUMBER_STRING,
    SLOW_NUMBER,
    SLOW_LONG,
    SLOW_FAR,
    SLOW_BASE64,
    SLOW_BOOL,
    SLOW_TRUE,
    SLOW_TWICE,
    SLOW_ARRAY,
    SLOW_EMPTY,
    SLOW_DEPTH,
    SLOW_OBJECT,
    SLOW_NAME,
    SLOW_NAME_NUL,
    SLOW_NAME_UTF8,
    SLOW_TYPE,
    SLOW_READ_DEPTH,
    SLOW_READ_TYPE,
    SLOW_INEXACT,
    SLOW_FAULTS
};

extern const char *const slow_reasons[SLOW_FAULTS];

/* The set of faults, 1 << enum slow_fault; 0: it is one that DynamoDB takes. Fills *decimal in any case. */
unsigned slow_decimal_read(const char *text, size_t length, struct slow_decimal *decimal);
/* The shortest that reads back as the double; of these, the nearest. Not of NaN, nor of what is infinite. */
void slow_decimal_shortest(double value, struct slow_decimal *decimal);
bool slow_decimal_same(const struct slow_decimal *a, const struct slow_decimal *b);
bool slow_decimal_floor(const struct slow_decimal *decimal, int64_t *floor);
size_t slow_decimal_size(const struct slow_decimal *decimal);

/* ---- Values ---- */

/* Any JSON value made of the input's bytes, also such as no text can make: names with U+0000, no UTF-8. */
json_t *slow_build(struct fuzz_input *input);
/* Of text, strictly; NULL: it is no JSON, or has a member twice. */
json_t *slow_parse(const char *text, size_t length);

/* The faults of attribute JSON (plain false) or of plain JSON as something to be written; *size: what it counts. */
unsigned slow_write_faults(const json_t *json, bool plain, size_t *size);
/* Attribute JSON as plain JSON, or NULL and *faults. */
json_t *slow_plain(const json_t *attribute, unsigned *faults);
/* The type of an attribute value; NULL: it is none. */
const char *slow_type(const json_t *attribute, const json_t **inner);
/* Whether the attribute value is what dynalock.h says plain JSON becomes. */
bool slow_stands_for(const json_t *attribute, const json_t *plain);
/* As json_equal, but that reals are so, too, if they are the same bits. */
bool slow_equal(const json_t *a, const json_t *b);
/* How many arrays and objects stand one in another. */
size_t slow_depth(const json_t *json);
/* Whether a string, and not a name, has that text in it. */
bool slow_has_only_in_values(const json_t *json, const char *text);

#endif
