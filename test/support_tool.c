/* SPDX-License-Identifier: Apache-2.0 */
#include "support_tool.h"

#include "support_environment.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static bool tool_say(const json_t *out)
{
    return json_dumpf(out, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF &&
           fflush(stdout) == 0;
}

int tool_run(json_t *(*answer)(const json_t *in, void *context), void *context)
{
    char *line = NULL;
    size_t size = 0;
    int status = EXIT_SUCCESS;
    while (status == EXIT_SUCCESS && getline(&line, &size, stdin) > 0) {
        json_error_t error = {0};
        json_t *in = json_loads(line, 0, &error);
        json_t *out = in != NULL ? answer(in, context) : NULL;
        if (in == NULL) {
            fprintf(stderr, "tool: %s\n", error.text);
        }
        status = out != NULL && tool_say(out) ? EXIT_SUCCESS : EXIT_FAILURE;
        json_decref(out);
        json_decref(in);
    }
    free(line);
    return status;
}

void tool_set_environment(const json_t *env)
{
    const char *name;
    json_t *value;
    environment_clear();
    json_object_foreach((json_t *)env, name, value)
    {
        (void)setenv(name, json_string_value(value), 1);
    }
}
