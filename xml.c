/* SPDX-License-Identifier: Apache-2.0 */
/* XML as STS sends it: the text of a few elements, read strictly. No DTD, no CDATA, no comments. */
#include "providers.h"

#include <string.h>

#define XML_PATH_MAX 256
#define XML_SPACE " \t\r\n"

struct xml_reader {
    const char *at, *end;
    char path[XML_PATH_MAX]; /* of the element that is open */
    size_t path_length;
    bool any; /* the root has begun */
    struct dlk_xml_wanted *wanted, *taking;
    size_t count;
};

static bool xml_is_space(char c)
{
    return c != '\0' && strchr(XML_SPACE, c) != NULL;
}

static void xml_skip_space(struct xml_reader *reader)
{
    while (reader->at < reader->end && xml_is_space(*reader->at)) {
        reader->at++;
    }
}

static bool xml_take(struct xml_reader *reader, const char *text)
{
    size_t length = strlen(text);
    if ((size_t)(reader->end - reader->at) < length || memcmp(reader->at, text, length) != 0) {
        return false;
    }
    reader->at += length;
    return true;
}

static size_t xml_name(const struct xml_reader *reader)
{
    size_t length = 0;
    while (reader->at + length < reader->end) {
        char c = reader->at[length];
        bool first = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c == ':';
        bool later = (c >= '0' && c <= '9') || c == '-' || c == '.';
        if (!first && (length == 0 || !later)) {
            break;
        }
        length++;
    }
    return length;
}

/* ---- Text ---- */

static bool xml_append_code_point(struct dlk_sigv4_text *text, unsigned long c)
{
    char bytes[4];
    size_t length = 0;
    if (c == 0 || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) {
        return false;
    }
    if (c < 0x80) {
        bytes[length++] = (char)c;
    } else if (c < 0x800) {
        bytes[length++] = (char)(0xC0 | (c >> 6));
    } else if (c < 0x10000) {
        bytes[length++] = (char)(0xE0 | (c >> 12));
        bytes[length++] = (char)(0x80 | ((c >> 6) & 0x3F));
    } else {
        bytes[length++] = (char)(0xF0 | (c >> 18));
        bytes[length++] = (char)(0x80 | ((c >> 12) & 0x3F));
        bytes[length++] = (char)(0x80 | ((c >> 6) & 0x3F));
    }
    if (c >= 0x80) {
        bytes[length++] = (char)(0x80 | (c & 0x3F));
    }
    return dlk_sigv4_append(text, bytes, length) == DLK_SIGV4_OK;
}

/* "#38" or "#x26". */
static bool xml_number(const char *digits, size_t length, unsigned long *number)
{
    bool is_hex = length > 0 && digits[0] == 'x';
    size_t first = is_hex ? 1 : 0;
    *number = 0;
    if (length <= first || length > 8) {
        return false;
    }
    for (size_t i = first; i < length; i++) {
        char c = digits[i];
        unsigned long digit = 16;
        if (c >= '0' && c <= '9') {
            digit = (unsigned long)(c - '0');
        } else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) {
            digit = (unsigned long)((c | 0x20) - 'a') + 10;
        }
        if (digit >= (is_hex ? 16U : 10U)) {
            return false;
        }
        *number = *number * (is_hex ? 16 : 10) + digit;
    }
    return true;
}

/* What stands between & and ;. */
static bool xml_reference(struct dlk_sigv4_text *text, const char *name, size_t length)
{
    static const struct {
        char name[5], text[2];
    } entities[] = {{"amp", "&"}, {"lt", "<"}, {"gt", ">"}, {"quot", "\""}, {"apos", "'"}};
    unsigned long number = 0;
    if (length > 1 && name[0] == '#') {
        return xml_number(name + 1, length - 1, &number) && xml_append_code_point(text, number);
    }
    for (size_t i = 0; i < sizeof entities / sizeof *entities; i++) {
        if (strlen(entities[i].name) == length && memcmp(entities[i].name, name, length) == 0) {
            return dlk_sigv4_append_string(text, entities[i].text) == DLK_SIGV4_OK;
        }
    }
    return false;
}

/* Up to the next tag. */
static const char *xml_text(struct xml_reader *reader)
{
    const char *next = memchr(reader->at, '<', (size_t)(reader->end - reader->at));
    next = next != NULL ? next : reader->end;
    if (reader->path_length == 0) {
        xml_skip_space(reader);
        return reader->at == next ? NULL : "there is text outside its root";
    }
    while (reader->taking != NULL && reader->at < next) {
        const char *reference = memchr(reader->at, '&', (size_t)(next - reader->at));
        const char *plain_end = reference != NULL ? reference : next;
        (void)dlk_sigv4_append(&reader->taking->text, reader->at, (size_t)(plain_end - reader->at));
        reader->at = plain_end;
        if (reference != NULL) {
            const char *semicolon = memchr(reference, ';', (size_t)(next - reference));
            if (semicolon == NULL || !xml_reference(&reader->taking->text, reference + 1,
                                                    (size_t)(semicolon - reference) - 1)) {
                return "it has an entity that XML does not know";
            }
            reader->at = semicolon + 1;
        }
    }
    reader->at = next;
    return NULL;
}

/* ---- Tags ---- */

static struct dlk_xml_wanted *xml_find(const struct xml_reader *reader)
{
    for (size_t i = 0; i < reader->count; i++) {
        if (strcmp(reader->wanted[i].path, reader->path) == 0) {
            return &reader->wanted[i];
        }
    }
    return NULL;
}

static const char *xml_close(struct xml_reader *reader, const char *name, size_t length)
{
    char *slash = strrchr(reader->path, '/');
    char *last = slash != NULL ? slash + 1 : reader->path;
    if (reader->path_length == 0 || strlen(last) != length || memcmp(last, name, length) != 0) {
        return "its tags do not match";
    }
    last = slash != NULL ? slash : reader->path;
    *last = '\0';
    reader->path_length = (size_t)(last - reader->path);
    reader->taking = NULL;
    return NULL;
}

static const char *xml_open(struct xml_reader *reader, const char *name, size_t length)
{
    size_t used = reader->path_length;
    if (used == 0 && reader->any) {
        return "it has two roots";
    }
    if (reader->taking != NULL) {
        return "an element is where text should be";
    }
    if (used + length + 2 > sizeof reader->path) {
        return "it is nested too deep";
    }
    if (used > 0) {
        reader->path[used++] = '/';
    }
    memcpy(reader->path + used, name, length);
    reader->path[used + length] = '\0';
    reader->path_length = used + length;
    reader->any = true;
    reader->taking = xml_find(reader);
    if (reader->taking != NULL) {
        if (reader->taking->found) {
            return "an element that is needed is there twice";
        }
        reader->taking->found = true;
    }
    return NULL;
}

/* What follows the name in a tag: attributes, which mean nothing here. */
static bool xml_attributes(struct xml_reader *reader)
{
    for (;;) {
        const char *before = reader->at;
        xml_skip_space(reader);
        size_t length = xml_name(reader);
        if (length == 0) {
            return true;
        }
        if (reader->at == before) {
            return false;
        }
        reader->at += length;
        xml_skip_space(reader);
        if (!xml_take(reader, "=")) {
            return false;
        }
        xml_skip_space(reader);
        char quote = reader->at < reader->end ? *reader->at : '\0';
        if (quote != '"' && quote != '\'') {
            return false;
        }
        const char *from = reader->at + 1;
        const char *close = memchr(from, quote, (size_t)(reader->end - from));
        if (close == NULL || memchr(from, '<', (size_t)(close - from)) != NULL) {
            return false;
        }
        reader->at = close + 1;
    }
}

/* Behind a '<'. */
static const char *xml_tag(struct xml_reader *reader)
{
    static const char *const broken = "it is not well-formed";
    bool closes = xml_take(reader, "/");
    const char *name = reader->at;
    size_t length = xml_name(reader);
    if (length == 0) {
        return broken;
    }
    reader->at += length;
    if (closes) {
        xml_skip_space(reader);
        return xml_take(reader, ">") ? xml_close(reader, name, length) : broken;
    }
    if (!xml_attributes(reader)) {
        return broken;
    }
    bool empty = xml_take(reader, "/");
    if (!xml_take(reader, ">")) {
        return broken;
    }
    const char *wrong = xml_open(reader, name, length);
    return wrong == NULL && empty ? xml_close(reader, name, length) : wrong;
}

static const char *xml_declaration(struct xml_reader *reader)
{
    (void)xml_take(reader, "\xEF\xBB\xBF");
    if (!xml_take(reader, "<?xml")) {
        return NULL;
    }
    return xml_attributes(reader) && xml_take(reader, "?>") ? NULL : "it is not well-formed";
}

const char *dlk_xml_read(const char *text, size_t length, struct dlk_xml_wanted *wanted,
                         size_t count)
{
    struct xml_reader reader = {.at = text, .end = text + length, .wanted = wanted, .count = count};
    const char *wrong =
        memchr(text, '\0', length) != NULL ? "it is not well-formed" : xml_declaration(&reader);
    while (wrong == NULL && reader.at < reader.end) {
        wrong = xml_text(&reader);
        if (wrong == NULL && xml_take(&reader, "<")) {
            wrong = xml_tag(&reader);
        }
    }
    if (wrong == NULL && (!reader.any || reader.path_length > 0)) {
        wrong = "it is not complete";
    }
    for (size_t i = 0; wrong == NULL && i < count; i++) {
        if (wanted[i].text.status != DLK_SIGV4_OK) {
            wrong = "no memory is left for it";
        }
    }
    return wrong;
}
