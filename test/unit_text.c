/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers, errors, and what text is made of: UTF-8, base64, numbers. */
#include "../internal.h"

#include <inttypes.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define NINES "99999999999999999999999999999999999999"

/* ---- Buffers and errors ---------------------------------------------------------------------- */

static void test_buffer(void **state)
{
    struct dlk_buffer buffer;
    dynalock_error error;
    int i;

    (void)state;
    dlk_buffer_init(&buffer, 1000);
    dlk_buffer_bytes(&buffer, NULL, 0);
    assert_string_equal(buffer.data, "");
    for (i = 0; i < 100; i++) {
        dlk_buffer_text(&buffer, "0123456789");
    }
    assert_int_equal(buffer.length, 1000);
    assert_int_equal(dlk_buffer_result(&buffer, &error), DYNALOCK_OK);
    dlk_buffer_bytes(&buffer, "", 1);
    dlk_buffer_bytes(&buffer, NULL, 0);
    assert_false(dlk_buffer_ok(&buffer));
    assert_int_equal(buffer.length, 1000);
    assert_int_equal(dlk_buffer_result(&buffer, &error), DYNALOCK_ERR_TOO_LARGE);
    assert_string_equal(error.message, "more than 1000 bytes");
    dlk_buffer_clear(&buffer);
    dlk_buffer_int(&buffer, INT64_MIN);
    dlk_buffer_text(&buffer, " ");
    dlk_buffer_int(&buffer, INT64_MAX);
    assert_true(dlk_buffer_ok(&buffer));
    assert_string_equal(buffer.data, "-9223372036854775808 9223372036854775807");
    dlk_buffer_free(&buffer);
    assert_null(buffer.data);
    assert_int_equal(buffer.max, 1000);
    dlk_buffer_text(&buffer, "x");
    assert_int_equal(dlk_buffer_result(&buffer, &error), DYNALOCK_OK);
    dlk_buffer_free(&buffer);
}

static void test_error(void **state)
{
    dynalock_error error;
    char longer[600];

    (void)state;
    memset(&error, 'x', sizeof error);
    assert_int_equal(dlk_fail(NULL, DYNALOCK_ERR_BUSY, "x"), DYNALOCK_ERR_BUSY);
    assert_int_equal(dlk_fail(&error, DYNALOCK_ERR_BUSY, "a\nb %d", 1), DYNALOCK_ERR_BUSY);
    assert_string_equal(error.message, "a b 1");
    assert_int_equal(error.code, DYNALOCK_ERR_BUSY);
    assert_int_equal(error.flags, DYNALOCK_ERROR_RETRYABLE);
    assert_string_equal(error.name, "");
    assert_string_equal(error.request_id, "");
    (void)dlk_fail(&error, DYNALOCK_ERR_LOST, "lost: %s", error.message);
    assert_string_equal(error.message, "lost: a b 1");
    assert_int_equal(error.flags, 0);
    memset(longer, 'a', sizeof longer);
    memcpy(longer + 509, "\xE2\x82\xAC", 3);
    longer[599] = '\0';
    (void)dlk_fail(&error, DYNALOCK_ERR_LOST, "%s", longer);
    assert_int_equal(strlen(error.message), 509);
    assert_int_equal(error.message[508], 'a');
}

static void test_names(void **state)
{
    int code;
    int other;

    (void)state;
    for (code = DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE; code <= DYNALOCK_OK; code++) {
        assert_string_not_equal(dynalock_strerror(code), "unknown code");
        for (other = code + 1; other <= DYNALOCK_OK; other++) {
            assert_string_not_equal(dynalock_strerror(code), dynalock_strerror(other));
        }
    }
    assert_string_equal(dynalock_strerror(DYNALOCK_ERR_NOT_FOUND), "not found");
    assert_string_equal(dynalock_strerror(1), "unknown code");
    assert_string_equal(dynalock_strerror(DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE - 1),
                        "unknown code");
    assert_true(dynalock_is_retryable(DYNALOCK_ERR_THROTTLED));
    assert_false(dynalock_is_retryable(DYNALOCK_OK));
    assert_false(dynalock_is_retryable(DYNALOCK_ERR_NO_TABLE));
    assert_false(dynalock_is_retryable(7));
    assert_string_equal(dynalock_event_name(DYNALOCK_EVENT_ATTEMPT), "attempt");
    assert_string_equal(dynalock_event_name(DYNALOCK_EVENT_ACQUIRED), "acquired");
    assert_string_equal(dynalock_event_name(DYNALOCK_EVENT_RELEASE_FAILED), "release failed");
    assert_string_equal(dynalock_event_name(DYNALOCK_EVENT_DROPPED), "dropped");
    assert_string_equal(dynalock_event_name(DYNALOCK_EVENT_CREDENTIALS), "credentials");
    assert_string_equal(dynalock_event_name(0), "unknown event");
    assert_string_equal(dynalock_event_name(DYNALOCK_EVENT_CREDENTIALS + 1), "unknown event");
    assert_string_equal(dynalock_cause_name(DYNALOCK_CAUSE_NONE), "none");
    assert_string_equal(dynalock_cause_name(DYNALOCK_CAUSE_TAKEN_OVER), "taken over");
    assert_string_equal(dynalock_cause_name(DYNALOCK_CAUSE_CLOSED), "closed");
    assert_string_equal(dynalock_cause_name(-1), "unknown cause");
    assert_string_equal(dynalock_cause_name(DYNALOCK_CAUSE_CLOSED + 1), "unknown cause");
    assert_string_equal(dynalock_version(), DYNALOCK_VERSION);
}

static void test_copy_text(void **state)
{
    static const struct {
        size_t size;
        const char *from;
        const char *to;
    } cases[] = {
        {8, "abc", "abc"},
        {4, "abcd", "abc"},
        {1, "abc", ""},
        {8, "a\tb\x7F\x01", "a b  "},
        {8, "\xC3\xA9\xC3\xA9", "\xC3\xA9\xC3\xA9"},
        {4, "\xC3\xA9\xC3\xA9", "\xC3\xA9"},
        {5, "a\xF0\x9F\x98\x80", "a"},
        {6, "a\xF0\x9F\x98\x80", "a\xF0\x9F\x98\x80"},
        {8,
         "a\xFF"
         "b\xC3",
         "a?b?"},
        {8,
         "\xC2\x9B"
         "31m",
         " 31m"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        char to[8] = "zzzzzzz";

        dlk_copy_text(to, cases[i].size, cases[i].from);
        assert_string_equal(to, cases[i].to);
    }
    dlk_copy_text(NULL, 0, "no room, not even for the end");
}

static void test_utf8(void **state)
{
    static const char *const good[] = {
        "",
        "a",
        "\x7F",
        "\xC2\x80",
        "\xDF\xBF",
        "\xE0\xA0\x80",
        "\xED\x9F\xBF",
        "\xEE\x80\x80",
        "\xEF\xBF\xBF",
        "\xF0\x90\x80\x80",
        "\xF4\x8F\xBF\xBF",
    };
    static const char *const bad[] = {
        "\x80",
        "\xBF",
        "\xC0\x80",
        "\xC1\xBF",
        "\xC2",
        "\xC2"
        "A",
        "\xE0\x9F\xBF",
        "\xED\xA0\x80",
        "\xED\xBF\xBF",
        "\xE1\x80",
        "\xE1\x80"
        "A",
        "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80",
        "\xF1\x80\x80",
        "\xFE",
        "\xFF",
        "ok\xC3",
    };
    dynalock_error error;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(good); i++) {
        assert_true(dlk_is_utf8(good[i], strlen(good[i])));
    }
    for (i = 0; i < COUNT(bad); i++) {
        assert_false(dlk_is_utf8(bad[i], strlen(bad[i])));
        assert_int_equal(dlk_check_text(bad[i], 0, 9, "key", &error), DYNALOCK_ERR_ARGUMENT);
        assert_string_equal(error.message, "key is not valid UTF-8");
    }
    assert_int_equal(dlk_check_text("abc", 1, 3, "key", &error), DYNALOCK_OK);
    assert_int_equal(dlk_check_text(NULL, 1, 3, "key", &error), DYNALOCK_ERR_ARGUMENT);
    assert_string_equal(error.message, "key is NULL");
    assert_int_equal(dlk_check_text("", 1, 3, "key", &error), DYNALOCK_ERR_ARGUMENT);
    assert_int_equal(dlk_check_text("abcd", 1, 3, "key", &error), DYNALOCK_ERR_ARGUMENT);
    assert_string_equal(error.message, "key has 4 bytes: must be 1 to 3");
}

static void test_string(void **state)
{
    struct dlk_buffer buffer;

    (void)state;
    dlk_buffer_init(&buffer, 1000);
    dlk_json_string(&buffer, "a\0\x1F\x7F\"\\\n/\xC3\xA9", 10);
    assert_string_equal(buffer.data, "\"a\\u0000\\u001f\\u007f\\u0022\\u005c\\u000a/\xC3\xA9\"");
    dlk_buffer_clear(&buffer);
    dlk_json_string(&buffer, "", 0);
    assert_string_equal(buffer.data, "\"\"");
    dlk_buffer_free(&buffer);
}

static void test_base64(void **state)
{
    static const char *const bad[] = {
        "A",    "AA",   "AAA",      "AAAAA",  "=",          "====",  "A===",
        "AA=A", "AB==", "AAB=",     "AA==\n", "AA== ",      " AA==", "AA\nAA",
        "A-AA", "A_AA", "AA==AAAA", "AAAA=",  "Y\xC3\xA9=",
    };
    static const char *const good[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
        {"\xFF\xEF\xBE", "/+++"},
    };
    struct dlk_buffer buffer;
    unsigned char bytes[16];
    size_t length;
    size_t i;

    (void)state;
    dlk_buffer_init(&buffer, 1000);
    for (i = 0; i < COUNT(good); i++) {
        dlk_buffer_clear(&buffer);
        dlk_buffer_text(&buffer, "");
        dlk_base64_encode(&buffer, (const unsigned char *)good[i][0], strlen(good[i][0]));
        assert_string_equal(buffer.data, good[i][1]);
        assert_true(dlk_base64_decode(good[i][1], strlen(good[i][1]), bytes, &length));
        assert_int_equal(length, strlen(good[i][0]));
        assert_memory_equal(bytes, good[i][0], length);
    }
    for (i = 0; i < COUNT(bad); i++) {
        if (dlk_base64_decode(bad[i], strlen(bad[i]), bytes, &length)) {
            fail_msg("taken: %s", bad[i]);
        }
    }
    dlk_buffer_free(&buffer);
}

/* ---- Numbers --------------------------------------------------------------------------------- */

static void test_number_parse(void **state)
{
    static const struct {
        const char *text;
        const char *canonical; /* digits E exponent; NULL: refused */
    } cases[] = {
        {"0", "E0"},
        {"-0", "E0"},
        {"0.00", "E0"},
        {"0E9999", "E0"},
        {"1", "1E0"},
        {"+1", "1E0"},
        {"-1", "-1E0"},
        {"1.0", "1E0"},
        {"1.", "1E0"},
        {".5", "5E-1"},
        {"0.5", "5E-1"},
        {"0012", "12E1"},
        {"1e5", "1E5"},
        {"1E+5", "1E5"},
        {"100000", "1E5"},
        {"10.010", "1001E1"},
        {"1E-130", "1E-130"},
        {"1E-0130", "1E-130"},
        {"0.0000001E-123", "1E-130"},
        {"10E124", "1E125"},
        {NINES, NINES "E37"},
        {NINES "000", NINES "E40"},
        {"0.000" NINES, NINES "E-4"},
        {"9."
         "9999999999999999999999999999999999999"
         "E125",
         NINES "E125"},
        {"-" NINES "E88", "-" NINES "E125"},
        {"1"
         "00000000000000000000000000000000000000"
         "0000",
         "1E42"},
        {"", NULL},
        {"-", NULL},
        {"+", NULL},
        {".", NULL},
        {"-.", NULL},
        {"e5", NULL},
        {"1e", NULL},
        {"1e+", NULL},
        {"1e-", NULL},
        {"1e5.", NULL},
        {"1e5 ", NULL},
        {" 1", NULL},
        {"1 ", NULL},
        {"1_0", NULL},
        {"1,5", NULL},
        {"0x1", NULL},
        {"NaN", NULL},
        {"Infinity", NULL},
        {"1d", NULL},
        {"--1", NULL},
        {"+-1", NULL},
        {"1..2", NULL},
        {"1.2.3", NULL},
        {"\xD9\xA1", NULL},
        {NINES "9", NULL},
        {"1"
         "0000000000000000000000000000000000000"
         "1",
         NULL},
        {"1E126", NULL},
        {"10E125", NULL},
        {"9.9E-131", NULL},
        {"1E99999999999999999999", NULL},
        {"0E99999999999", NULL},
        {"1E-99999999999", NULL},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        struct dlk_number number;
        const char *reason = dlk_number_parse(cases[i].text, strlen(cases[i].text), &number);

        if ((reason == NULL) != (cases[i].canonical != NULL)) {
            fail_msg("%s: %s", cases[i].text, reason != NULL ? reason : "taken");
        }
        if (reason == NULL) {
            char text[64];

            (void)snprintf(text, sizeof text, "%s%.*sE%d", number.negative ? "-" : "", number.count,
                           number.digits, number.exponent);
            assert_string_equal(text, cases[i].canonical);
        }
    }
}

static void test_number_floor(void **state)
{
    static const struct {
        const char *text;
        int64_t floor;
        bool exact;
    } cases[] = {
        {"0", 0, true},
        {"7", 7, true},
        {"-7", -7, true},
        {"1E2", 100, true},
        {"100.0", 100, true},
        {"0.5", 0, false},
        {"-0.5", -1, false},
        {"1.5", 1, false},
        {"-1.5", -2, false},
        {"1E-130", 0, false},
        {"-1E-130", -1, false},
        {"123.456", 123, false},
        {"9223372036854775807", INT64_MAX, true},
        {"9223372036854775808", INT64_MAX, false},
        {"-9223372036854775808", INT64_MIN, true},
        {"-9223372036854775809", INT64_MIN, false},
        {"-9223372036854775808.5", INT64_MIN, false},
        {"9223372036854775807.5", INT64_MAX, false},
        {"9999999999999999999", INT64_MAX, false},
        {"-9999999999999999999", INT64_MIN, false},
        {"1E18", 1000000000000000000, true},
        {"1E19", INT64_MAX, false},
        {"1E125", INT64_MAX, false},
        {"-1E125", INT64_MIN, false},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        struct dlk_number number;
        int64_t floor = 99;

        assert_null(dlk_number_parse(cases[i].text, strlen(cases[i].text), &number));
        assert_int_equal(dlk_number_floor(&number, &floor), cases[i].exact);
        if (floor != cases[i].floor) {
            fail_msg("%s: %" PRId64, cases[i].text, floor);
        }
    }
}

static void test_number_double(void **state)
{
    static const struct {
        double value;
        const char *text; /* NULL: refused */
    } cases[] = {
        {0.0, "0"},
        {-0.0, "0"},
        {1.0, "1"},
        {0.1, "0.1"},
        {-0.5, "-0.5"},
        {0.05, "0.05"},
        {1.5, "1.5"},
        {123.25, "123.25"},
        {1e15, "1000000000000000"},
        {1e20, "100000000000000000000"},
        {1e21, "1E21"},
        {1.5e100, "15E99"},
        {0.3, "0.3"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1.0 / 3.0, "0.3333333333333333"},
        {1e-7, "0.0000001"},
        {1.25e-8, "125E-10"},
        {1e-130, "1E-130"},
        {0x1p-24, "5960464477539063E-23"},
        {-0x1p122, "-5316911983139664E21"},
        {9.9e125, "99E124"},
        {123456789012345680.0, "123456789012345680"},
        {1e-131, NULL},
        {1e126, NULL},
        {1e308, NULL},
        {5e-324, NULL},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        struct dlk_number number;
        char text[DLK_NUMBER_TEXT];
        double back = 0.0;
        const char *reason = dlk_number_from_double(cases[i].value, &number);

        if (cases[i].text == NULL) {
            assert_non_null(reason);
            continue;
        }
        assert_null(reason);
        dlk_number_format(&number, text);
        assert_string_equal(text, cases[i].text);
        assert_null(dlk_number_parse(text, strlen(text), &number));
        assert_true(dlk_number_to_double(&number, &back));
        assert_false(back < cases[i].value || back > cases[i].value);
    }
}

static void test_locale(void **state)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"};
    size_t i = 0;

    while (i < COUNT(names) && setlocale(LC_ALL, names[i]) == NULL) {
        i++;
    }
    if (i == COUNT(names)) {
        skip();
    }
    assert_string_not_equal(localeconv()->decimal_point, ".");
    test_number_double(state);
    (void)setlocale(LC_ALL, "C");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buffer),       cmocka_unit_test(test_error),
        cmocka_unit_test(test_names),        cmocka_unit_test(test_copy_text),
        cmocka_unit_test(test_utf8),         cmocka_unit_test(test_string),
        cmocka_unit_test(test_base64),       cmocka_unit_test(test_number_parse),
        cmocka_unit_test(test_number_floor), cmocka_unit_test(test_number_double),
        cmocka_unit_test(test_locale),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
