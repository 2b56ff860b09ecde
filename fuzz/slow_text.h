/* SPDX-License-Identifier: Apache-2.0 */
/* Second opinions on text and errors: slow, and plain enough to be seen right. */
#ifndef FUZZ_SLOW_TEXT_H
#define FUZZ_SLOW_TEXT_H

#include "../internal.h"

/* One that cannot be used yet: not even a function that fails may leave it so. */
#define SLOW_UNTOLD ((dynalock_error){.code = 77, .message = "untold"})

/* A failure as it has to be told: code is error's, and one of codes (0 ends them); the message is one line of text. */
void slow_check_told(const dynalock_error *error, int code, const int *codes);
#define SLOW_CHECK_TOLD(error, code, ...) \
    slow_check_told(error, code, (const int[]){__VA_ARGS__, 0})
/* On success: nothing was told. */
void slow_check_untold(const dynalock_error *error);

/* By decoding and encoding again. */
bool slow_is_utf8(const char *text, size_t length);
/* What stands in a request: valid UTF-8 without a control character of ASCII, all `length` bytes of it. */
bool slow_is_sendable(const char *text, size_t length);
bool slow_begins(const char *text, const char *prefix);
bool slow_ends(const char *text, const char *suffix);

/* OpenSSL's; to be freed. */
char *slow_base64(const void *bytes, size_t length);
/* NULL: it is not canonical; to be freed. Canonical is what encodes to the same text again. */
unsigned char *slow_unbase64(const char *text, size_t length, size_t *decoded);

void *slow_alloc(size_t size); /* never NULL */

#endif
