/* SPDX-License-Identifier: Apache-2.0 */
/* The command's durations: read as a slower reader does, and printed so that what is read of it is at most a unit less. */
#include "../command/duration.c"
#include "fuzz.h"

#include <stdarg.h>
#include <stdlib.h>

static bool duration_complained;

int complain_usage(const char *format, ...)
{
    va_list arguments;
    char line[8192];
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    fuzz_check(line[0] != '\0');
    duration_complained = true;
    return EXIT_USAGE;
}

static bool slow_parse(const char *text, int64_t *ms)
{
    const char *unit = text;
    __extension__ unsigned __int128 total = 0;
    while (*unit >= '0' && *unit <= '9') {
        total = total * 10 + (unsigned)(*unit++ - '0');
        if (total > INT64_MAX) {
            return false;
        }
    }
    unsigned factor = strcmp(unit, "ms") == 0  ? 1
                      : strcmp(unit, "s") == 0 ? 1000
                      : strcmp(unit, "m") == 0 ? 60 * 1000
                      : strcmp(unit, "h") == 0 ? 3600 * 1000
                      : strcmp(unit, "d") == 0 ? 86400 * 1000
                                               : 0;
    total *= factor;
    *ms = (int64_t)total;
    return unit > text && factor > 0 && total <= DURATION_MAX_MS;
}

/* "1d 3h", "2.5s": the sum of its parts. */
static int64_t read_printed(char *printed)
{
    int64_t sum = 0, part = 0;
    char *point = strchr(printed, '.');
    if (point != NULL) { /* tenths of a second, and nothing else */
        fuzz_check(point[1] >= '0' && point[1] <= '9' && strcmp(point + 2, "s") == 0);
        return (int64_t)atoi(printed) * 1000 + (point[1] - '0') * 100;
    }
    for (char *word = strtok(printed, " "); word != NULL; word = strtok(NULL, " ")) {
        fuzz_check(slow_parse(word, &part));
        sum += part;
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, size};
    int64_t any = fuzz_int(&input);
    char *text = fuzz_text(&input, NULL);
    int64_t quick = -7, slow = 0;
    char printed[48];

    bool understood = duration_parse(text, &quick);
    fuzz_check(understood == slow_parse(text, &slow));
    fuzz_check(!understood || quick == slow);

    duration_complained = false;
    quick = -7;
    int64_t most = any < 0 ? DURATION_MAX_MS : any;
    bool taken = duration_option("--ttl", text, 1000, most, &quick);
    fuzz_check(taken == (understood && slow >= 1000 && slow <= most));
    fuzz_check(taken != duration_complained && (taken || quick == -7));

    any = understood ? slow : any % (DURATION_MAX_MS + 1);
    size_t few = 1 + (size_t)fuzz_byte(&input) % 8;
    duration_print(any, printed, few);
    fuzz_check(strlen(printed) < few);
    duration_print(any, printed, sizeof printed);
    fuzz_check(strlen(printed) < sizeof printed - 1);
    int64_t again = read_printed(printed);
    if (any <= 0) {
        fuzz_check(again == 0);
    } else {
        int64_t unit = any < 1000       ? 1
                       : any < 10000    ? 100
                       : any < 3600000  ? 1000
                       : any < 86400000 ? 60000
                                        : 3600000;
        fuzz_check(again <= any && any - again < unit);
    }
    free(text);
    return 0;
}
