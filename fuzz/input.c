/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fuzz_failed(const char *what, const char *file, int line)
{
    (void)fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
    abort();
}

uint8_t fuzz_byte(struct fuzz_input *input)
{
    if (input->left == 0) {
        return 0;
    }
    input->left--;
    return *input->data++;
}

unsigned fuzz_below(struct fuzz_input *input, unsigned bound)
{
    unsigned number = fuzz_byte(input);
    if (bound > 256) {
        number = number << 8 | fuzz_byte(input);
    }
    return number % bound;
}

int64_t fuzz_int(struct fuzz_input *input)
{
    uint64_t number = 0;
    for (int i = 0; i < 8; i++) {
        number = number << 8 | fuzz_byte(input);
    }
    int64_t same;
    memcpy(&same, &number, sizeof same);
    return same;
}

char *fuzz_text(struct fuzz_input *input, size_t *length)
{
    const uint8_t *end = input->left == 0 ? NULL : memchr(input->data, 0xFF, input->left);
    size_t size = end == NULL ? input->left : (size_t)(end - input->data);
    char *text = malloc(size + 1);
    if (text == NULL) {
        abort();
    }
    if (size > 0) {
        memcpy(text, input->data, size);
    }
    text[size] = '\0';
    size_t used = end == NULL ? size : size + 1;
    if (used > 0) {
        input->data += used;
        input->left -= used;
    }
    if (length != NULL) {
        *length = size;
    }
    return text;
}
