/* SPDX-License-Identifier: Apache-2.0 */
/* Rows in columns. A long list is printed in parts, so that it needs neither much memory nor all of the list. */
#include "command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_CELL_MAX 8192 /* a key has 1,024 bytes, each of which may become four */

/* In characters, of UTF-8. */
static int columns_width(const char *text)
{
    int width = 0;
    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

static char *columns_cell(const char *text)
{
    char escaped[COLUMNS_CELL_MAX];
    text_escape(text, escaped, sizeof escaped);
    return strdup(escaped);
}

static size_t columns_count(const struct columns *columns)
{
    size_t count = 0;
    while (count < COLUMNS_MAX && columns->heading[count] != NULL) {
        count++;
    }
    return count;
}

static void columns_widen(struct columns *columns, const char *const *cells)
{
    for (size_t i = 0; i < columns_count(columns); i++) {
        int width = columns_width(cells[i]);
        columns->width[i] = width > columns->width[i] ? width : columns->width[i];
    }
}

static bool columns_fill(struct columns_row *row, size_t count, const char *const *cells)
{
    for (size_t i = 0; i < count; i++) {
        row->cells[i] = columns_cell(cells[i]);
        if (row->cells[i] == NULL) {
            return false;
        }
    }
    return true;
}

bool columns_add(struct columns *columns, const char *const *cells)
{
    if (columns->rows == COLUMNS_ROWS) {
        columns_print(columns);
    }
    if (columns->row == NULL) {
        columns->row = calloc(COLUMNS_ROWS, sizeof *columns->row);
    }
    struct columns_row *row = columns->row != NULL ? &columns->row[columns->rows++] : NULL;
    if (row == NULL || !columns_fill(row, columns_count(columns), cells)) {
        complain("out of memory");
        return false;
    }
    columns_widen(columns, (const char *const *)row->cells);
    return true;
}

static void columns_line(const struct columns *columns, const char *const *cells)
{
    size_t last = columns_count(columns) - 1;
    for (size_t i = 0; i < last; i++) {
        (void)printf("%s%*s", cells[i], columns->width[i] - columns_width(cells[i]) + 2, "");
    }
    (void)puts(cells[last]);
}

static void columns_clear(struct columns *columns)
{
    for (size_t i = 0; i < columns->rows; i++) {
        for (size_t j = 0; j < COLUMNS_MAX; j++) {
            free(columns->row[i].cells[j]);
            columns->row[i].cells[j] = NULL;
        }
    }
    columns->rows = 0;
}

void columns_print(struct columns *columns)
{
    if (!columns->headed) {
        columns->headed = true;
        columns_widen(columns, columns->heading);
        columns_line(columns, columns->heading);
    }
    for (size_t i = 0; i < columns->rows; i++) {
        if (columns->row[i].cells[columns_count(columns) - 1] !=
            NULL) { /* else there was no memory for it */
            columns_line(columns, (const char *const *)columns->row[i].cells);
        }
    }
    columns_clear(columns);
}

void columns_free(struct columns *columns)
{
    columns_clear(columns);
    free(columns->row);
    columns->row = NULL;
}
