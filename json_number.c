/* SPDX-License-Identifier: Apache-2.0 */
/* DynamoDB's decimal numbers. Nothing here depends on the locale. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum {
    NUMBER_EXPONENT_MIN = -130,
    NUMBER_EXPONENT_MAX = 125,
    NUMBER_EXPONENT_LIMIT = 1000000, /* of the text after E: more than any item has digits */
    NUMBER_INT64_DIGITS = 19,
    NUMBER_PLAIN_MIN = -7, /* from here to the next, digits are written without an exponent */
    NUMBER_PLAIN_MAX = 20
};

static const char number_is_none[] = "is not a number";
static const char number_is_long[] = "has more than 38 significant digits";
static const char number_is_far[] = "is out of range (1E-130 to 9.9E+125)";

static const char number_zeros[] = "00000000000000000000"; /* NUMBER_PLAIN_MAX */

static bool number_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Adds the digit whose weight is 10^weight. Zeros wait in *zeros until a digit follows them. */
static bool number_add_digit(struct dlk_number *number, char digit, long weight, int *zeros)
{
    const int room = (int)sizeof number->digits;

    if (digit == '0') {
        *zeros += number->count > 0 && *zeros < room ? 1 : 0;
        return true;
    }
    if (number->count == 0) {
        number->exponent = (int)weight;
    }
    if (number->count + *zeros >= room) {
        return false;
    }
    memset(number->digits + number->count, '0', (size_t)*zeros);
    number->count += *zeros;
    *zeros = 0;
    number->digits[number->count++] = digit;
    return true;
}

/* The exponent's digits; -1: there are none, or too many. */
static long number_parse_exponent(const char *text, const char *end)
{
    long exponent = 0;

    if (text == end) {
        return -1;
    }
    for (; text < end; text++) {
        if (!number_is_digit(*text)) {
            return -1;
        }
        exponent = exponent * 10 + (*text - '0');
        if (exponent > NUMBER_EXPONENT_LIMIT) {
            return -1;
        }
    }
    return exponent;
}

/* [digits][.digits] with one digit at the least; *text is moved behind it. */
static const char *number_parse_mantissa(const char **text, const char *end,
                                         struct dlk_number *number)
{
    const char *point = NULL;
    const char *start = *text;
    const char *at;
    const char *whole_end = start;
    int zeros = 0;

    while (whole_end < end && number_is_digit(*whole_end)) {
        whole_end++;
    }
    for (at = start; at < end; at++) {
        long weight = (long)(whole_end - at) - (point == NULL ? 1 : 0);

        if (*at == '.' && point == NULL) {
            point = at;
        } else if (!number_is_digit(*at)) {
            break;
        } else if (!number_add_digit(number, *at, weight, &zeros)) {
            return number_is_long;
        }
    }
    *text = at;
    return at - start > (point == NULL ? 0 : 1) ? NULL : number_is_none;
}

const char *dlk_number_parse(const char *text, size_t length, struct dlk_number *number)
{
    const char *end = text + length;
    const char *reason;
    bool negative = length > 0 && *text == '-';
    long exponent = 0;

    memset(number, 0, sizeof *number);
    if (length > NUMBER_EXPONENT_LIMIT) {
        return number_is_long;
    }
    text += negative || (length > 0 && *text == '+') ? 1 : 0;
    reason = number_parse_mantissa(&text, end, number);
    if (reason != NULL) {
        return reason;
    }
    if (text < end && (*text == 'e' || *text == 'E')) {
        bool down = ++text < end && *text == '-';

        text += down || (text < end && *text == '+') ? 1 : 0;
        exponent = number_parse_exponent(text, end);
        if (exponent < 0) {
            return number_is_none;
        }
        exponent = down ? -exponent : exponent;
    } else if (text < end) {
        return number_is_none;
    }
    if (number->count == 0) {
        return NULL;
    }
    exponent += number->exponent;
    number->negative = negative;
    number->exponent = (int)exponent;
    return exponent < NUMBER_EXPONENT_MIN || exponent > NUMBER_EXPONENT_MAX ? number_is_far : NULL;
}

int dlk_number_compare(const struct dlk_number *a, const struct dlk_number *b)
{
    if (a->negative != b->negative) {
        return a->negative ? -1 : 1;
    }
    if (a->exponent != b->exponent) {
        return a->exponent < b->exponent ? -1 : 1;
    }
    if (a->count != b->count) {
        return a->count < b->count ? -1 : 1;
    }
    return memcmp(a->digits, b->digits, (size_t)a->count);
}

static int64_t number_clamp(bool negative, uint64_t magnitude)
{
    if (!negative) {
        return magnitude > (uint64_t)INT64_MAX ? INT64_MAX : (int64_t)magnitude;
    }
    return magnitude > (uint64_t)INT64_MAX ? INT64_MIN : -(int64_t)magnitude;
}

bool dlk_number_floor(const struct dlk_number *number, int64_t *floor)
{
    const uint64_t limit = (uint64_t)INT64_MAX + (number->negative ? 1U : 0U);
    bool fraction = number->count > 0 && number->count - 1 > number->exponent;
    uint64_t magnitude = 0;
    int i;

    if (number->count > 0 && number->exponent >= NUMBER_INT64_DIGITS) {
        *floor = number->negative ? INT64_MIN : INT64_MAX;
        return false;
    }
    for (i = 0; number->count > 0 && i <= number->exponent; i++) {
        magnitude = magnitude * 10 + (i < number->count ? (uint64_t)(number->digits[i] - '0') : 0U);
    }
    *floor = number_clamp(number->negative, magnitude);
    if (fraction && number->negative && *floor > INT64_MIN) {
        *floor -= 1;
    }
    return !fraction && magnitude <= limit;
}

/* By a text without a decimal point, which the locale could change. */
static double number_read(const struct dlk_number *number)
{
    char text[sizeof number->digits + 16];

    if (number->count == 0) {
        return 0.0;
    }
    (void)snprintf(text, sizeof text, "%s%.*sE%d", number->negative ? "-" : "", number->count,
                   number->digits, number->exponent - number->count + 1);
    return strtod(text, NULL);
}

/* The double rounded to `precision` digits. The decimal point, whatever it is, is no digit. */
static void number_round(double value, int precision, struct dlk_number *number)
{
    char text[64];
    const char *at;
    int zeros = 0;

    memset(number, 0, sizeof *number);
    (void)snprintf(text, sizeof text, "%.*e", precision - 1, value);
    for (at = text; *at != '\0' && *at != 'e'; at++) {
        if (number_is_digit(*at)) {
            (void)number_add_digit(number, *at, 0, &zeros);
        }
    }
    if (number->count > 0 && *at == 'e') {
        number->negative = text[0] == '-';
        number->exponent = (int)strtol(at + 1, NULL, 10);
    }
}

static void number_shortest(double value, struct dlk_number *number)
{
    int twice;

    /* Just below a power of two, doubles are twice as dense: where the nearest text does not read back, the next one up may. */
    for (twice = 2 * 15; twice <= 2 * 17; twice++) {
        int precision = twice / 2;
        double back;

        number_round(value, precision, number);
        number->digits[precision - 1] = (char)(number->digits[precision - 1] + twice % 2);
        back = number_read(number);
        if (!(back < value) && !(back > value)) {
            return;
        }
    }
}

const char *dlk_number_from_double(double value, struct dlk_number *number)
{
    if (isnan(value)) {
        return "is not a number (NaN)";
    }
    if (isinf(value)) {
        return "is infinite";
    }
    number_shortest(value, number);
    if (number->count > 0 &&
        (number->exponent < NUMBER_EXPONENT_MIN || number->exponent > NUMBER_EXPONENT_MAX)) {
        return number_is_far;
    }
    return NULL;
}

bool dlk_number_to_double(const struct dlk_number *number, double *value)
{
    struct dlk_number shortest;
    double nearest = number_read(number);

    number_shortest(nearest, &shortest);
    if (dlk_number_compare(number, &shortest) != 0) {
        return false;
    }
    *value = nearest;
    return true;
}

void dlk_number_format(const struct dlk_number *number, char text[DLK_NUMBER_TEXT])
{
    const char *sign = number->negative ? "-" : "";
    const char *digits = number->digits;
    int count = number->count;
    int whole = number->exponent + 1;

    if (count == 0) {
        (void)snprintf(text, DLK_NUMBER_TEXT, "0");
    } else if (number->exponent < NUMBER_PLAIN_MIN || number->exponent > NUMBER_PLAIN_MAX) {
        (void)snprintf(text, DLK_NUMBER_TEXT, "%s%.*sE%d", sign, count, digits, whole - count);
    } else if (whole <= 0) {
        (void)snprintf(text, DLK_NUMBER_TEXT, "%s0.%.*s%.*s", sign, -whole, number_zeros, count,
                       digits);
    } else if (whole >= count) {
        (void)snprintf(text, DLK_NUMBER_TEXT, "%s%.*s%.*s", sign, count, digits, whole - count,
                       number_zeros);
    } else {
        (void)snprintf(text, DLK_NUMBER_TEXT, "%s%.*s.%.*s", sign, whole, digits, count - whole,
                       digits + whole);
    }
}

size_t dlk_number_size(const struct dlk_number *number)
{
    return ((size_t)number->count + 1) / 2 + 1 + (number->negative ? 1U : 0U);
}
