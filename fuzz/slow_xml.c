/* SPDX-License-Identifier: Apache-2.0 */
#include "slow_xml.h"

#include <stdlib.h>
#include <string.h>

#define SLOW_SPACE " \t\r\n"
#define SLOW_FIRST "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_:"
#define SLOW_LATER SLOW_FIRST "0123456789-."

/* What is left of a document. */
struct slow_rest {
    const char *at;
    size_t left;
};

static void *slow_allocate(void *old, size_t size)
{
    void *made = realloc(old, size);
    if (made == NULL) {
        abort();
    }
    return made;
}

static void slow_skip(struct slow_rest *rest, size_t length)
{
    rest->at += length;
    rest->left -= length;
}

static bool slow_take(struct slow_rest *rest, const char *text)
{
    size_t length = strlen(text);
    bool there = rest->left >= length && memcmp(rest->at, text, length) == 0;
    slow_skip(rest, there ? length : 0);
    return there;
}

static bool slow_is_next(const struct slow_rest *rest, const char *characters)
{
    return rest->left > 0 && *rest->at != '\0' && strchr(characters, *rest->at) != NULL;
}

static size_t slow_take_all(struct slow_rest *rest, const char *characters)
{
    size_t count = 0;
    for (; slow_is_next(rest, characters); count++) {
        slow_skip(rest, 1);
    }
    return count;
}

/* NULL: there is none. */
static char *slow_name(struct slow_rest *rest)
{
    const char *start = rest->at;
    if (!slow_is_next(rest, SLOW_FIRST)) {
        return NULL;
    }
    size_t length = slow_take_all(rest, SLOW_LATER);
    char *name = slow_allocate(NULL, length + 1);
    memcpy(name, start, length);
    name[length] = '\0';
    return name;
}

static bool slow_attribute(struct slow_rest *rest)
{
    char *name = slow_name(rest);
    free(name);
    (void)slow_take_all(rest, SLOW_SPACE);
    if (name == NULL || !slow_take(rest, "=")) {
        return false;
    }
    (void)slow_take_all(rest, SLOW_SPACE);
    if (!slow_is_next(rest, "\"'")) {
        return false;
    }
    char quote = *rest->at;
    do {
        slow_skip(rest, 1);
        if (rest->left == 0 || *rest->at == '<') {
            return false;
        }
    } while (*rest->at != quote);
    slow_skip(rest, 1);
    return true;
}

static bool slow_attributes(struct slow_rest *rest)
{
    for (;;) {
        size_t spaces = slow_take_all(rest, SLOW_SPACE);
        if (!slow_is_next(rest, SLOW_FIRST)) {
            return true;
        }
        if (spaces == 0 || !slow_attribute(rest)) {
            return false;
        }
    }
}

static struct slow_element *slow_begin(struct slow_element *parent, char *name)
{
    struct slow_element *made = slow_allocate(NULL, sizeof *made);
    *made = (struct slow_element){.name = name, .parent = parent};
    if (parent != NULL) {
        parent->children =
            slow_allocate(parent->children, (parent->count + 1) * sizeof(struct slow_element *));
        parent->children[parent->count++] = made;
    }
    return made;
}

/* The text up to the next tag. */
static void slow_text(struct slow_element *element, struct slow_rest *rest)
{
    while (rest->left > 0 && *rest->at != '<') {
        element->text = slow_allocate(element->text, element->text_length + 1);
        element->text[element->text_length++] = *rest->at;
        slow_skip(rest, 1);
    }
}

static size_t slow_path_length(const struct slow_element *element)
{
    size_t length = 0;
    for (; element != NULL; element = element->parent) {
        length += strlen(element->name) + 1;
    }
    return length;
}

/* One tag behind its '<': opens an element in *open, or closes it. */
static bool slow_tag(struct slow_document *document, struct slow_element **open,
                     struct slow_rest *rest)
{
    bool closes = slow_take(rest, "/");
    char *name = slow_name(rest);
    if (name == NULL) {
        return false;
    }
    if (closes) {
        bool same = *open != NULL && strcmp((*open)->name, name) == 0;
        free(name);
        (void)slow_take_all(rest, SLOW_SPACE);
        *open = same ? (*open)->parent : NULL;
        return same && slow_take(rest, ">");
    }
    if (*open == NULL && document->root != NULL) {
        free(name);
        return false;
    }
    struct slow_element *made = slow_begin(*open, name);
    document->root = document->root == NULL ? made : document->root;
    size_t length = slow_path_length(made);
    document->longest_path = length > document->longest_path ? length : document->longest_path;
    if (!slow_attributes(rest)) {
        return false;
    }
    *open = slow_take(rest, "/") ? *open : made;
    return slow_take(rest, ">");
}

static bool slow_read(struct slow_document *document, struct slow_rest *rest)
{
    struct slow_element *open = NULL;
    (void)slow_take(rest, "\xEF\xBB\xBF");
    if (slow_take(rest, "<?xml") && !(slow_attributes(rest) && slow_take(rest, "?>"))) {
        return false;
    }
    while (rest->left > 0) {
        if (open != NULL) {
            slow_text(open, rest);
        } else {
            (void)slow_take_all(rest, SLOW_SPACE);
        }
        if (rest->left > 0 && !(slow_take(rest, "<") && slow_tag(document, &open, rest))) {
            return false;
        }
    }
    return open == NULL && document->root != NULL;
}

void slow_xml_read(const char *text, size_t length, struct slow_document *document)
{
    struct slow_rest rest = {text, length};
    *document = (struct slow_document){0};
    if (!slow_read(document, &rest)) {
        slow_xml_free(document);
    }
}

static void slow_free(struct slow_element *element)
{
    for (size_t i = 0; i < element->count; i++) {
        slow_free(element->children[i]);
    }
    free(element->children);
    free(element->name);
    free(element->text);
    free(element);
}

void slow_xml_free(struct slow_document *document)
{
    if (document->root != NULL) {
        slow_free(document->root);
        document->root = NULL;
    }
}

/* ---- Asking ---- */

static size_t slow_find(const struct slow_element *element, const char *path,
                        const struct slow_element **one)
{
    size_t length = strlen(element->name), count = 0;
    if (strncmp(path, element->name, length) != 0) {
        return 0;
    }
    if (path[length] == '\0') {
        *one = element;
        return 1;
    }
    for (size_t i = 0; path[length] == '/' && i < element->count; i++) {
        count += slow_find(element->children[i], path + length + 1, one);
    }
    return count;
}

size_t slow_xml_find(const struct slow_document *document, const char *path,
                     const struct slow_element **one)
{
    *one = NULL;
    return document->root == NULL ? 0 : slow_find(document->root, path, one);
}

static size_t slow_encode_point(unsigned long point, char *to)
{
    size_t more = point < 0x80 ? 0 : point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    static const unsigned char first[] = {0, 0xC0, 0xE0, 0xF0};
    for (size_t i = more; i > 0; i--) {
        to[i] = (char)(0x80 + point % 64);
        point /= 64;
    }
    to[0] = (char)(first[more] + point);
    return more + 1;
}

/* "amp", "#38", "#x26": its bytes at *to; 0: it is none. Of a number eight characters at the most. */
static size_t slow_reference(const char *name, char *to)
{
    static const char *const names[] = {"amp", "lt", "gt", "quot", "apos"};
    for (size_t i = 0; i < 5; i++) {
        if (strcmp(name, names[i]) == 0) {
            *to = "&<>\"'"[i];
            return 1;
        }
    }
    bool hex = strncmp(name, "#x", 2) == 0;
    const char *digits = name + (hex ? 2 : 1);
    size_t length = *name == '#' ? strlen(digits) : 0;
    if (length == 0 || strlen(name) > 9 ||
        strspn(digits, hex ? "0123456789abcdefABCDEF" : "0123456789") != length) {
        return 0;
    }
    unsigned long point = strtoul(digits, NULL, hex ? 16 : 10);
    bool sound = point > 0 && point <= 0x10FFFF && !(point >= 0xD800 && point <= 0xDFFF);
    return sound ? slow_encode_point(point, to) : 0;
}

char *slow_xml_text(const struct slow_element *element, size_t *length)
{
    char *text = slow_allocate(NULL, element->text_length + 1);
    size_t used = 0;
    for (size_t i = 0; i < element->text_length; i++) {
        char name[16] = "", point[4];
        const char *rest = element->text + i;
        const char *end = memchr(rest, ';', element->text_length - i);
        if (*rest != '&') {
            text[used++] = *rest;
            continue;
        }
        size_t named = end == NULL ? sizeof name : (size_t)(end - rest) - 1;
        if (named < sizeof name) {
            memcpy(name, rest + 1, named);
        }
        size_t size =
            named < sizeof name && strlen(name) == named ? slow_reference(name, point) : 0;
        if (size == 0) {
            free(text);
            return NULL;
        }
        memcpy(text + used, point, size);
        used += size;
        i += named + 1;
    }
    text[used] = '\0';
    *length = used;
    return text;
}
