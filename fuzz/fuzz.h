/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzzer is a file fuzz_NAME.c with this one function: it takes any bytes, and must return. What it finds wrong it
 * says by fuzz_check, or by a sanitizer. clang's libFuzzer calls it with bytes of its own making (`make fuzz`), and
 * replay.c with those of corpus/fuzz_NAME, and all their beginnings (`make check`).
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the process where it does not hold. */
#define fuzz_check(holds) ((holds) ? (void)0 : fuzz_failed(#holds, __FILE__, __LINE__))
_Noreturn void fuzz_failed(const char *what, const char *file, int line);

/* Reads an input piece by piece. Past its end everything is 0 and empty. */
struct fuzz_input {
    const uint8_t *data;
    size_t left;
};

uint8_t fuzz_byte(struct fuzz_input *input);
unsigned fuzz_below(struct fuzz_input *input,
                    unsigned bound);        /* 0 to bound - 1; bound is at most 65,536 */
int64_t fuzz_int(struct fuzz_input *input); /* eight bytes */
/* Up to the next byte 0xFF, or the end: a text that ends in NUL, to be freed. *length may be NULL. */
char *fuzz_text(struct fuzz_input *input, size_t *length);

#endif
