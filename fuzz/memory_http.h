/* SPDX-License-Identifier: Apache-2.0 */
/* Takes http.c's place in the fuzzers that name it: requests are looked at, and answered by the fuzzer. */
#ifndef FUZZ_MEMORY_HTTP_H
#define FUZZ_MEMORY_HTTP_H

#include "../providers.h"

/* Answers one request as dlk_http does; what it leaves in the answer where it fails is freed. */
extern int (*memory_http_answer)(const struct dlk_http_request *request,
                                 struct dlk_http_answer *answer, dynalock_error *error);

#endif
