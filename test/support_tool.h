/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs share that answer a test in JavaScript: a line of JSON in, a line of JSON out, until the input
 * ends. */
#ifndef TEST_SUPPORT_TOOL_H
#define TEST_SUPPORT_TOOL_H

#include <jansson.h>

/* Answers each line as soon as it is there. The exit status: a failure if a line is no JSON. */
int tool_run(json_t *(*answer)(const json_t *in, void *context), void *context);

/* An object: all there shall be of AWS_*, and what else it has. */
void tool_set_environment(const json_t *env);

#endif
