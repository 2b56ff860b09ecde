/* SPDX-License-Identifier: Apache-2.0 */
/* A program that sends the requests in the file that is its argument, says so by a byte on its standard output, and
 * ends: as many requests as cold_ours makes, with libcurl alone. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char *text = calloc(1, 65536);
    FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
    struct floor_script script;
    if (text == NULL || file == NULL || fread(text, 1, 65535, file) == 0) {
        bench_fail("cold_floor", "there are no requests to send");
    }
    (void)fclose(file);
    floor_parse(&script, text);
    floor_run(floor_open(), &script);
    _exit(write(STDOUT_FILENO, "x", 1) != 1);
}
