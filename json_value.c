/* SPDX-License-Identifier: Apache-2.0 */
/* Values: what is written as attribute values, and what attribute values are read as. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

struct value_writer {
    struct dlk_buffer *out;
    bool plain; /* what is walked over is plain JSON, not attribute JSON */
    size_t size;
    dynalock_error *error;
};

struct value_member { /* of a set */
    const char *text;
    size_t length;
    size_t index;
    struct dlk_number number;
};

typedef int (*value_write_fn)(struct value_writer *writer, const json_t *json,
                              const struct dlk_place *place, int depth);

static int value_write(struct value_writer *writer, const json_t *json,
                       const struct dlk_place *place, int depth);

/* ---- What is wrong, and where ---------------------------------------------------------------- */

static int value_bad(const struct value_writer *writer, const struct dlk_place *place,
                     const char *reason)
{
    return dlk_place_fail(writer->error, DYNALOCK_ERR_ARGUMENT, place, reason);
}

static int value_count(struct value_writer *writer, const struct dlk_place *place, size_t bytes)
{
    if (bytes > DLK_ITEM_MAX || writer->size + bytes > DLK_ITEM_MAX) {
        return dlk_place_fail(writer->error, DYNALOCK_ERR_TOO_LARGE, place,
                              "goes over DynamoDB's limit of 400 KB for an item");
    }
    writer->size += bytes;
    return DYNALOCK_OK;
}

/* ---- Writing scalars ------------------------------------------------------------------------- */

static int value_write_utf8(struct value_writer *writer, const char *text, size_t length,
                            const struct dlk_place *place)
{
    int code;

    if (!dlk_is_utf8(text, length)) {
        return value_bad(writer, place, "is not valid UTF-8");
    }
    code = value_count(writer, place, length);
    if (code == DYNALOCK_OK) {
        dlk_json_string(writer->out, text, length);
    }
    return code;
}

static int value_write_string(struct value_writer *writer, const json_t *json,
                              const struct dlk_place *place, int depth)
{
    (void)depth;
    if (!json_is_string(json)) {
        return value_bad(writer, place, "is not a string");
    }
    return value_write_utf8(writer, json_string_value(json), json_string_length(json), place);
}

static int value_parse_number(struct value_writer *writer, const json_t *json,
                              const struct dlk_place *place, struct dlk_number *number)
{
    const char *reason = "is not a string with a number in it";

    if (json_is_string(json)) {
        reason = dlk_number_parse(json_string_value(json), json_string_length(json), number);
    }
    return reason == NULL ? DYNALOCK_OK : value_bad(writer, place, reason);
}

static int value_write_number(struct value_writer *writer, const json_t *json,
                              const struct dlk_place *place, int depth)
{
    struct dlk_number number;
    int code = value_parse_number(writer, json, place, &number);

    (void)depth;
    if (code == DYNALOCK_OK) {
        code = value_count(writer, place, dlk_number_size(&number));
    }
    if (code == DYNALOCK_OK) {
        dlk_json_string(writer->out, json_string_value(json), json_string_length(json));
    }
    return code;
}

static int value_write_binary(struct value_writer *writer, const json_t *json,
                              const struct dlk_place *place, int depth)
{
    size_t decoded = 0;
    int code;

    (void)depth;
    if (!json_is_string(json) ||
        !dlk_base64_decode(json_string_value(json), json_string_length(json), NULL, &decoded)) {
        return value_bad(writer, place, "is not a string of canonical base64");
    }
    code = value_count(writer, place, decoded);
    if (code == DYNALOCK_OK) {
        dlk_json_string(writer->out, json_string_value(json), json_string_length(json));
    }
    return code;
}

static int value_write_bool(struct value_writer *writer, const json_t *json,
                            const struct dlk_place *place, int depth)
{
    (void)depth;
    if (!json_is_boolean(json)) {
        return value_bad(writer, place, "is neither true nor false");
    }
    dlk_buffer_text(writer->out, json_is_true(json) ? "true" : "false");
    return value_count(writer, place, 1);
}

static int value_write_null(struct value_writer *writer, const json_t *json,
                            const struct dlk_place *place, int depth)
{
    (void)depth;
    if (!json_is_true(json)) {
        return value_bad(writer, place, "is not true");
    }
    dlk_buffer_text(writer->out, "true");
    return value_count(writer, place, 1);
}

/* ---- Writing sets ---------------------------------------------------------------------------- */

static int value_compare_texts(const void *left, const void *right)
{
    const struct value_member *a = left;
    const struct value_member *b = right;

    if (a->length != b->length) {
        return a->length < b->length ? -1 : 1;
    }
    return memcmp(a->text, b->text, a->length);
}

static int value_compare_numbers(const void *left, const void *right)
{
    const struct value_member *a = left;
    const struct value_member *b = right;

    return dlk_number_compare(&a->number, &b->number);
}

static int value_check_unique(struct value_writer *writer, struct value_member *members,
                              size_t count, const struct dlk_place *place, bool numbers)
{
    int (*compare)(const void *, const void *) =
        numbers ? value_compare_numbers : value_compare_texts;
    size_t i;

    qsort(members, count, sizeof members[0], compare);
    for (i = 1; i < count; i++) {
        if (compare(&members[i - 1], &members[i]) == 0) {
            struct dlk_place here = {place, NULL, members[i].index};

            return value_bad(writer, &here, "is in the set twice");
        }
    }
    return DYNALOCK_OK;
}

static int value_write_members(struct value_writer *writer, const json_t *json,
                               const struct dlk_place *place, value_write_fn writes,
                               struct value_member *members)
{
    bool numbers = writes == value_write_number;
    size_t count = json_array_size(json);
    int code = DYNALOCK_OK;
    size_t i;

    for (i = 0; code == DYNALOCK_OK && i < count; i++) {
        struct dlk_place here = {place, NULL, i};
        const json_t *member = json_array_get(json, i);

        dlk_buffer_text(writer->out, i > 0 ? "," : "");
        code = writes(writer, member, &here, 0);
        if (code == DYNALOCK_OK) {
            members[i].text = json_string_value(member);
            members[i].length = json_string_length(member);
            members[i].index = i;
        }
        if (code == DYNALOCK_OK && numbers) {
            code = value_parse_number(writer, member, &here, &members[i].number);
        }
    }
    return code == DYNALOCK_OK ? value_check_unique(writer, members, count, place, numbers) : code;
}

static int value_write_set(struct value_writer *writer, const json_t *json,
                           const struct dlk_place *place, value_write_fn writes)
{
    struct value_member *members;
    size_t count;
    int code;

    if (!json_is_array(json)) {
        return value_bad(writer, place, "is not an array");
    }
    count = json_array_size(json);
    if (count == 0) {
        return value_bad(writer, place, "is an empty set");
    }
    if (count > DLK_ITEM_MAX) {
        return value_count(writer, place, count);
    }
    members = calloc(count, sizeof members[0]);
    if (members == NULL) {
        return dlk_place_fail(writer->error, DYNALOCK_ERR_MEMORY, place,
                              "is too much for the memory");
    }
    dlk_buffer_text(writer->out, "[");
    code = value_write_members(writer, json, place, writes, members);
    dlk_buffer_text(writer->out, "]");
    free(members);
    return code;
}

/* Members of BS are canonical, so that equal bytes are equal texts. */
static int value_write_string_set(struct value_writer *writer, const json_t *json,
                                  const struct dlk_place *place, int depth)
{
    (void)depth;
    return value_write_set(writer, json, place, value_write_string);
}

static int value_write_number_set(struct value_writer *writer, const json_t *json,
                                  const struct dlk_place *place, int depth)
{
    (void)depth;
    return value_write_set(writer, json, place, value_write_number);
}

static int value_write_binary_set(struct value_writer *writer, const json_t *json,
                                  const struct dlk_place *place, int depth)
{
    (void)depth;
    return value_write_set(writer, json, place, value_write_binary);
}

/* ---- Writing lists and maps ------------------------------------------------------------------ */

static int value_check_depth(struct value_writer *writer, const struct dlk_place *place, int depth)
{
    if (depth >= DLK_DEPTH_MAX) {
        return value_bad(writer, place, "is nested deeper than DynamoDB's 32 levels");
    }
    return value_count(writer, place, 3);
}

static int value_write_list(struct value_writer *writer, const json_t *json,
                            const struct dlk_place *place, int depth)
{
    int code;
    size_t i;

    if (!json_is_array(json)) {
        return value_bad(writer, place, "is not an array");
    }
    code = value_check_depth(writer, place, depth);
    dlk_buffer_text(writer->out, "[");
    for (i = 0; code == DYNALOCK_OK && i < json_array_size(json); i++) {
        struct dlk_place here = {place, NULL, i};

        dlk_buffer_text(writer->out, i > 0 ? "," : "");
        code = value_count(writer, &here, 1);
        if (code == DYNALOCK_OK) {
            code = value_write(writer, json_array_get(json, i), &here, depth + 1);
        }
    }
    dlk_buffer_text(writer->out, "]");
    return code;
}

static size_t value_key_length(void *iterator)
{
#if JANSSON_VERSION_HEX >= 0x020e00
    return json_object_iter_key_len(iterator);
#else
    return strlen(json_object_iter_key(iterator));
#endif
}

/* `place` is the map's: a name that is refused may not be fit to be shown. */
static int value_write_name(struct value_writer *writer, const char *name, size_t length,
                            const struct dlk_place *place)
{
    int code;

    if (length == 0 || length > DLK_ATTRIBUTE_NAME_MAX) {
        return value_bad(writer, place, "has a member whose name is not of 1 to 65535 bytes");
    }
    if (memchr(name, '\0', length) != NULL) {
        return value_bad(writer, place, "has a member with U+0000 in its name");
    }
    if (!dlk_is_utf8(name, length)) {
        return value_bad(writer, place, "has a member whose name is not valid UTF-8");
    }
    code = value_count(writer, place, length + 1);
    if (code == DYNALOCK_OK) {
        dlk_json_string(writer->out, name, length);
        dlk_buffer_text(writer->out, ":");
    }
    return code;
}

static int value_write_map(struct value_writer *writer, const json_t *json,
                           const struct dlk_place *place, int depth)
{
    void *at;
    int code;

    if (!json_is_object(json)) {
        return value_bad(writer, place, "is not an object");
    }
    code = value_check_depth(writer, place, depth);
    dlk_buffer_text(writer->out, "{");
    for (at = dlk_json_first(json); code == DYNALOCK_OK && at != NULL;
         at = dlk_json_next(json, at)) {
        struct dlk_place here = {place, json_object_iter_key(at), 0};

        dlk_buffer_text(writer->out, at != dlk_json_first(json) ? "," : "");
        code = value_write_name(writer, here.name, value_key_length(at), place);
        if (code == DYNALOCK_OK) {
            code = value_write(writer, json_object_iter_value(at), &here, depth + 1);
        }
    }
    dlk_buffer_text(writer->out, "}");
    return code;
}

/* ---- Writing values -------------------------------------------------------------------------- */

static const struct value_type {
    char name[5];
    value_write_fn write;
} value_types[] = {
    {"S", value_write_string},      {"N", value_write_number},      {"B", value_write_binary},
    {"SS", value_write_string_set}, {"NS", value_write_number_set}, {"BS", value_write_binary_set},
    {"M", value_write_map},         {"L", value_write_list},        {"BOOL", value_write_bool},
    {"NULL", value_write_null},
};

static const struct value_type *value_find_type(const char *name)
{
    size_t i;

    for (i = 0; i < sizeof value_types / sizeof value_types[0]; i++) {
        if (strcmp(name, value_types[i].name) == 0) {
            return &value_types[i];
        }
    }
    return NULL;
}

static int value_write_attribute(struct value_writer *writer, const json_t *json,
                                 const struct dlk_place *place, int depth)
{
    void *only = json_object_size(json) == 1 ? dlk_json_first(json) : NULL;
    const struct value_type *type = NULL;
    struct dlk_place here = {place, NULL, 0};
    int code;

    if (only != NULL && strlen(json_object_iter_key(only)) == value_key_length(only)) {
        type = value_find_type(json_object_iter_key(only));
    }
    if (type == NULL) {
        return value_bad(writer, place,
                         "is not an object with one member that is a type: S, N, B, "
                         "SS, NS, BS, M, L, BOOL, NULL");
    }
    here.name = type->name;
    dlk_buffer_text(writer->out, "{\"");
    dlk_buffer_text(writer->out, type->name);
    dlk_buffer_text(writer->out, "\":");
    code = type->write(writer, json_object_iter_value(only), &here, depth);
    dlk_buffer_text(writer->out, "}");
    return code;
}

static int value_write_decimal(struct value_writer *writer, const struct dlk_place *place,
                               const struct dlk_number *number, const char *text)
{
    dlk_buffer_text(writer->out, "{\"N\":\"");
    dlk_buffer_text(writer->out, text);
    dlk_buffer_text(writer->out, "\"}");
    return value_count(writer, place, dlk_number_size(number));
}

static int value_write_integer(struct value_writer *writer, const json_t *json,
                               const struct dlk_place *place)
{
    struct dlk_number number;
    char text[DLK_NUMBER_TEXT];

    (void)snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(json));
    (void)dlk_number_parse(text, strlen(text), &number);
    return value_write_decimal(writer, place, &number, text);
}

static int value_write_real(struct value_writer *writer, const json_t *json,
                            const struct dlk_place *place)
{
    struct dlk_number number;
    char text[DLK_NUMBER_TEXT];
    const char *reason = dlk_number_from_double(json_real_value(json), &number);

    if (reason != NULL) {
        return value_bad(writer, place, reason);
    }
    dlk_number_format(&number, text);
    return value_write_decimal(writer, place, &number, text);
}

static int value_write_wrapped(struct value_writer *writer, const json_t *json,
                               const struct dlk_place *place, int depth, const char *head,
                               value_write_fn writes)
{
    int code;

    dlk_buffer_text(writer->out, head);
    code = writes(writer, json, place, depth);
    dlk_buffer_text(writer->out, "}");
    return code;
}

static int value_write_plain(struct value_writer *writer, const json_t *json,
                             const struct dlk_place *place, int depth)
{
    switch (json != NULL ? json_typeof(json) : JSON_NULL) {
    case JSON_STRING:
        return value_write_wrapped(writer, json, place, depth, "{\"S\":", value_write_string);
    case JSON_INTEGER: return value_write_integer(writer, json, place);
    case JSON_REAL: return value_write_real(writer, json, place);
    case JSON_TRUE:
    case JSON_FALSE:
        return value_write_wrapped(writer, json, place, depth, "{\"BOOL\":", value_write_bool);
    case JSON_ARRAY:
        return value_write_wrapped(writer, json, place, depth, "{\"L\":", value_write_list);
    case JSON_OBJECT:
        return value_write_wrapped(writer, json, place, depth, "{\"M\":", value_write_map);
    case JSON_NULL:
    default: dlk_buffer_text(writer->out, "{\"NULL\":true}"); return value_count(writer, place, 1);
    }
}

static int value_write(struct value_writer *writer, const json_t *json,
                       const struct dlk_place *place, int depth)
{
    return writer->plain ? value_write_plain(writer, json, place, depth)
                         : value_write_attribute(writer, json, place, depth);
}

static int value_write_bytes(struct value_writer *writer, const void *bytes, size_t length)
{
    int code;

    if (bytes == NULL && length > 0) {
        return value_bad(writer, NULL, "has a length, but no bytes");
    }
    code = value_count(writer, NULL, length);
    if (code == DYNALOCK_OK) {
        code = value_count(writer, NULL, (length + 2) / 3 * 4 - length);
    }
    if (code == DYNALOCK_OK) {
        dlk_buffer_text(writer->out, "{\"S\":\"");
        dlk_base64_encode(writer->out, bytes, length);
        dlk_buffer_text(writer->out, "\"}");
    }
    return code;
}

int dlk_json_value(struct dlk_buffer *buffer, const dynalock_value *value, size_t *size,
                   dynalock_error *error)
{
    struct value_writer writer = {buffer, value->kind == DYNALOCK_VALUE_JSON, 0, NULL};
    int code;

    writer.error = error;
    if (value->kind == DYNALOCK_VALUE_BYTES) {
        code = value_write_bytes(&writer, value->bytes, value->length);
    } else if (!writer.plain && value->kind != DYNALOCK_VALUE_ATTRIBUTE) {
        code = value_bad(&writer, NULL, "is of no kind that can be written");
    } else if (value->json == NULL) {
        code = value_bad(&writer, NULL, "is a NULL pointer");
    } else {
        code = value_write(&writer, value->json, NULL, 0);
    }
    if (code == DYNALOCK_OK) {
        code = dlk_buffer_result(buffer, error);
    }
    if (code == DYNALOCK_OK) {
        *size += writer.size;
    }
    return code;
}
