/* SPDX-License-Identifier: Apache-2.0 */
/* Attribute values as they come: as plain JSON, bytes, whole numbers. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

typedef int (*attr_fn)(const json_t *from, const struct dlk_place *place, int depth, json_t **json,
                       dynalock_error *error);

static int attr_value(const json_t *attribute, const struct dlk_place *place, int depth,
                      json_t **json, dynalock_error *error);

/* ---- What is wrong, and where ---------------------------------------------------------------- */

/* "M.a.L[3]" */
static void attr_path(const struct dlk_place *place, struct dlk_buffer *path)
{
    char name[64];

    if (place == NULL) {
        return;
    }
    attr_path(place->up, path);
    if (place->name == NULL) {
        (void)snprintf(name, sizeof name, "[%zu]", place->index);
    } else {
        dlk_buffer_text(path, place->up != NULL ? "." : "");
        dlk_copy_text(name, sizeof name, place->name);
    }
    dlk_buffer_text(path, name);
}

/* Never with the value itself, which may be a secret. */
int dlk_place_fail(dynalock_error *error, int code, const struct dlk_place *place,
                   const char *reason)
{
    struct dlk_buffer path;

    if (error == NULL) {
        return code;
    }
    dlk_buffer_init(&path, sizeof error->message / 2);
    attr_path(place, &path);
    if (path.length == 0) {
        (void)dlk_fail(error, code, "the value %s", reason);
    } else {
        (void)dlk_fail(error, code, "the value at %s%s %s", path.data,
                       dlk_buffer_ok(&path) ? "" : "...", reason);
    }
    dlk_buffer_free(&path);
    return code;
}

/* jansson's iterators do not change the object, though they ask for one that may be. */
void *dlk_json_first(const json_t *object)
{
    return json_object_iter((json_t *)object);
}

void *dlk_json_next(const json_t *object, void *iterator)
{
    return json_object_iter_next((json_t *)object, iterator);
}

/* ---- Reading --------------------------------------------------------------------------------- */

static int attr_odd(dynalock_error *error, const struct dlk_place *place, const char *reason)
{
    return dlk_place_fail(error, DYNALOCK_ERR_TYPE, place, reason);
}

static int attr_made(const json_t *json, dynalock_error *error)
{
    return json != NULL ? DYNALOCK_OK : dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
}

static int attr_text(const json_t *text, const struct dlk_place *place, int depth, json_t **json,
                     dynalock_error *error)
{
    (void)depth;
    if (!json_is_string(text)) {
        return attr_odd(error, place, "is not a string");
    }
    *json = json_stringn_nocheck(json_string_value(text), json_string_length(text));
    return attr_made(*json, error);
}

static int attr_number(const json_t *text, const struct dlk_place *place, int depth, json_t **json,
                       dynalock_error *error)
{
    struct dlk_number number;
    int64_t integer;
    double real;

    (void)depth;
    if (!json_is_string(text) ||
        dlk_number_parse(json_string_value(text), json_string_length(text), &number) != NULL) {
        return attr_odd(error, place, "is not a number");
    }
    if (dlk_number_floor(&number, &integer)) {
        *json = json_integer(integer);
    } else if (dlk_number_to_double(&number, &real)) {
        *json = json_real(real);
    } else {
        return attr_odd(error, place, "is a number that neither int64 nor double holds exactly");
    }
    return attr_made(*json, error);
}

static int attr_bool(const json_t *flag, const struct dlk_place *place, int depth, json_t **json,
                     dynalock_error *error)
{
    (void)depth;
    if (!json_is_boolean(flag)) {
        return attr_odd(error, place, "is neither true nor false");
    }
    *json = json_boolean(json_is_true(flag));
    return DYNALOCK_OK;
}

static int attr_null(const json_t *flag, const struct dlk_place *place, int depth, json_t **json,
                     dynalock_error *error)
{
    (void)depth;
    if (!json_is_true(flag)) {
        return attr_odd(error, place, "is not true");
    }
    *json = json_null();
    return DYNALOCK_OK;
}

static int attr_array(const json_t *from, const struct dlk_place *place, int depth, attr_fn reader,
                      json_t **json, dynalock_error *error)
{
    json_t *array;
    int code;
    size_t i;

    if (!json_is_array(from)) {
        return attr_odd(error, place, "is not an array");
    }
    array = json_array();
    code = attr_made(array, error);
    for (i = 0; code == DYNALOCK_OK && i < json_array_size(from); i++) {
        struct dlk_place here = {place, NULL, i};
        json_t *member = NULL;

        code = reader(json_array_get(from, i), &here, depth, &member, error);
        if (code == DYNALOCK_OK && json_array_append_new(array, member) != 0) {
            code = attr_made(NULL, error);
        }
    }
    if (code == DYNALOCK_OK) {
        *json = array;
    } else {
        json_decref(array);
    }
    return code;
}

static int attr_texts(const json_t *set, const struct dlk_place *place, int depth, json_t **json,
                      dynalock_error *error)
{
    return attr_array(set, place, depth, attr_text, json, error);
}

static int attr_numbers(const json_t *set, const struct dlk_place *place, int depth, json_t **json,
                        dynalock_error *error)
{
    return attr_array(set, place, depth, attr_number, json, error);
}

static int attr_list(const json_t *list, const struct dlk_place *place, int depth, json_t **json,
                     dynalock_error *error)
{
    if (depth >= DLK_DEPTH_MAX) {
        return attr_odd(error, place, "is nested deeper than 32 levels");
    }
    return attr_array(list, place, depth + 1, attr_value, json, error);
}

static int attr_map(const json_t *map, const struct dlk_place *place, int depth, json_t **json,
                    dynalock_error *error)
{
    json_t *object;
    void *at;
    int code;

    if (!json_is_object(map) || depth >= DLK_DEPTH_MAX) {
        return attr_odd(error, place,
                        json_is_object(map) ? "is nested deeper than 32 levels"
                                            : "is not an object");
    }
    object = json_object();
    code = attr_made(object, error);
    for (at = dlk_json_first(map); code == DYNALOCK_OK && at != NULL; at = dlk_json_next(map, at)) {
        struct dlk_place here = {place, json_object_iter_key(at), 0};
        json_t *member = NULL;

        code = attr_value(json_object_iter_value(at), &here, depth + 1, &member, error);
        if (code == DYNALOCK_OK && json_object_set_new_nocheck(object, here.name, member) != 0) {
            code = attr_made(NULL, error);
        }
    }
    if (code == DYNALOCK_OK) {
        *json = object;
    } else {
        json_decref(object);
    }
    return code;
}

/* ---- Attribute values ------------------------------------------------------------------------ */

static const struct attr_type {
    char name[5];
    attr_fn read;
} attr_types[] = {
    {"S", attr_text},     {"N", attr_number},  {"B", attr_text}, {"SS", attr_texts},
    {"NS", attr_numbers}, {"BS", attr_texts},  {"M", attr_map},  {"L", attr_list},
    {"BOOL", attr_bool},  {"NULL", attr_null},
};

/* The type of an attribute value and what stands behind it. NULL: it is none. */
static const struct attr_type *attr_unwrap(const json_t *attribute, const json_t **inner)
{
    void *only = json_object_size(attribute) == 1 ? dlk_json_first(attribute) : NULL;
    size_t i;

    for (i = 0; only != NULL && i < sizeof attr_types / sizeof attr_types[0]; i++) {
        if (strcmp(json_object_iter_key(only), attr_types[i].name) == 0) {
            *inner = json_object_iter_value(only);
            return &attr_types[i];
        }
    }
    return NULL;
}

static int attr_value(const json_t *attribute, const struct dlk_place *place, int depth,
                      json_t **json, dynalock_error *error)
{
    const json_t *inner = NULL;
    const struct attr_type *type = attr_unwrap(attribute, &inner);
    struct dlk_place here = {place, NULL, 0};

    if (type == NULL) {
        return attr_odd(error, place, "is not an attribute value");
    }
    here.name = type->name;
    return type->read(inner, &here, depth, json, error);
}

int dlk_attribute_plain(const json_t *attribute, json_t **json, dynalock_error *error)
{
    return attr_value(attribute, NULL, 0, json, error);
}

const char *dlk_attribute_type(const json_t *attribute)
{
    const json_t *inner = NULL;
    const struct attr_type *type = attr_unwrap(attribute, &inner);

    return type != NULL ? type->name : NULL;
}

/* The JSON string behind a type. NULL: the attribute is not of that type. */
static const json_t *attr_text_of(const json_t *attribute, const char *type)
{
    const json_t *text = json_object_get(attribute, type);

    return json_object_size(attribute) == 1 && json_is_string(text) ? text : NULL;
}

const char *dlk_attribute_string(const json_t *attribute, size_t *length)
{
    const json_t *text = attr_text_of(attribute, "S");

    if (text == NULL) {
        return NULL;
    }
    *length = json_string_length(text);
    return json_string_value(text);
}

bool dlk_attribute_floor(const json_t *attribute, int64_t *floor, bool *exact)
{
    const json_t *text = attr_text_of(attribute, "N");
    struct dlk_number number;

    if (text == NULL ||
        dlk_number_parse(json_string_value(text), json_string_length(text), &number) != NULL) {
        return false;
    }
    *exact = dlk_number_floor(&number, floor);
    return true;
}

int dlk_attribute_bytes(const json_t *attribute, void **bytes, size_t *length,
                        dynalock_error *error)
{
    const json_t *text = attr_text_of(attribute, "S");
    unsigned char *decoded;
    size_t count = 0;

    if (text == NULL) {
        text = attr_text_of(attribute, "B");
    }
    if (text == NULL) {
        return attr_odd(error, NULL, "is neither an S nor a B");
    }
    decoded = malloc(json_string_length(text) / 4 * 3 + 1);
    if (decoded == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    if (!dlk_base64_decode(json_string_value(text), json_string_length(text), decoded, &count)) {
        free(decoded);
        return attr_odd(error, NULL, "is not canonical base64");
    }
    decoded[count] = '\0';
    *bytes = decoded;
    *length = count;
    return DYNALOCK_OK;
}
