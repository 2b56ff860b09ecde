/* SPDX-License-Identifier: Apache-2.0 */
/* What every message of an error is held to. */
#ifndef FUZZ_MESSAGE_H
#define FUZZ_MESSAGE_H

#include "../internal.h"

/* The error is of that code; its message is there, is UTF-8 and has no control character in it. */
void message_check(const dynalock_error *error, int code);
bool message_is_clean(const char *text);
/* The first bytes of the secret, part of them at most, stand in the message. What has fewer than eight, any message may
 * have by chance. */
bool message_tells(const char *message, const char *secret, size_t part);

#endif
