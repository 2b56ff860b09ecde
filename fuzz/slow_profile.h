/* SPDX-License-Identifier: Apache-2.0 */
/* A second reader of the shared files, as AWS's JavaScript SDK has it: lines, split and trimmed, and expressions. */
#ifndef FUZZ_SLOW_PROFILE_H
#define FUZZ_SLOW_PROFILE_H

#include <stdbool.h>
#include <stddef.h>

struct slow_line {
    char *section, *key, *value; /* key NULL: the header alone */
};

struct slow_ini {
    struct slow_line *lines;
    size_t count;
};

void slow_ini_read(struct slow_ini *ini, const char *text);
void slow_ini_free(struct slow_ini *ini);
/* Borrowed; NULL: there is none. */
const char *slow_ini_get(const struct slow_ini *ini, const char *section, const char *key);
bool slow_ini_has(const struct slow_ini *ini, const char *section);

/* By what stands in both: the section "services.x", or the profile x, where the file that comes first wins. */
const char *slow_profile_get(const struct slow_ini *config, const struct slow_ini *credentials,
                             bool config_first, const char *profile, const char *key);
bool slow_profile_has(const struct slow_ini *config, const struct slow_ini *credentials,
                      const char *profile);

#endif
