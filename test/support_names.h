/* SPDX-License-Identifier: Apache-2.0 */
/* A name that the test looks up itself: getaddrinfo is put in front of the C library's, which libcurl asks, mostly in
 * a thread of its own. */
#ifndef TEST_SUPPORT_NAMES_H
#define TEST_SUPPORT_NAMES_H

#include <stdbool.h>

/* Before there are threads: it is 127.0.0.1 when look_up returns true, and may be tried again when it returns false. */
void names_take(const char *name, bool (*look_up)(void));

#endif
