/* SPDX-License-Identifier: Apache-2.0 */
/* What the responder answers; see answers.c. */
#ifndef BENCH_ANSWERS_H
#define BENCH_ANSWERS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct answer {
    const char *status; /* "200 OK"; NULL: never answered */
    const char *body;   /* lives as long as the responder */
    size_t length;
    uint32_t crc;
    int64_t delay_us;
};

int64_t answer_now_us(void);
const char *answer_date(void);
/* body has a NUL behind it. */
void answer_find(const char *target, const char *body, size_t length, struct answer *answer);
void answer_trouble(bool on);
void answer_gaps(char *text, size_t size);
void answer_reset(void);

#endif
