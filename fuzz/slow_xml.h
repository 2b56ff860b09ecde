/* SPDX-License-Identifier: Apache-2.0 */
/* XML as xml.c promises to read it, made a tree of first. */
#ifndef FUZZ_SLOW_XML_H
#define FUZZ_SLOW_XML_H

#include <stdbool.h>
#include <stddef.h>

struct slow_element {
    char *name, *text; /* all of its own text, as it stands there */
    size_t text_length;
    struct slow_element *parent, **children;
    size_t count;
};

struct slow_document {
    struct slow_element *root; /* NULL: it is not well-formed */
    size_t longest_path;
};

void slow_xml_read(const char *text, size_t length, struct slow_document *document);
void slow_xml_free(struct slow_document *document);
/* How many elements have the path "Outer/Inner"; *one is the last of them. */
size_t slow_xml_find(const struct slow_document *document, const char *path,
                     const struct slow_element **one);
/* The element's text with its references replaced, to be freed; NULL: it has one that is none. */
char *slow_xml_text(const struct slow_element *element, size_t *length);

#endif
