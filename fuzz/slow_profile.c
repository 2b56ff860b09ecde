/* SPDX-License-Identifier: Apache-2.0 */
#include "slow_profile.h"

#include "fuzz.h"
#include "slow_text.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOW_SPACE " \t\v\f\r"

static char *slow_copy(const char *text, size_t length)
{
    char *copy = slow_alloc(length + 1);
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

static char *slow_trimmed(const char *text, size_t length)
{
    while (length > 0 && strchr(SLOW_SPACE, text[length - 1]) != NULL) {
        length--;
    }
    while (length > 0 && strchr(SLOW_SPACE, *text) != NULL) {
        text++;
        length--;
    }
    return slow_copy(text, length);
}

static char *slow_joined(const char *first, const char *second)
{
    size_t length = strlen(first);
    char *joined = slow_alloc(length + strlen(second) + 2);
    (void)sprintf(joined, "%s.%s", first, second);
    return joined;
}

/* Without a comment, and without white space around it. */
static char *slow_stripped(const char *line)
{
    size_t length = strlen(line), end = length;
    for (size_t i = length; i-- > 0;) {
        bool mark = line[i] == '#' || line[i] == ';';
        if (mark && (i == 0 || strchr(SLOW_SPACE, line[i - 1]) != NULL)) {
            end = i;
        }
    }
    return slow_trimmed(line, end);
}

/* NULL: the header is none, or of nothing that is asked for. To be freed. */
static char *slow_section(const char *header)
{
    static regex_t form;
    regmatch_t parts[4];
    size_t length = strlen(header);
    const char *closing = strchr(header, ']');
    if (form.re_nsub == 0) {
        fuzz_check(regcomp(&form,
                           "^([A-Za-z0-9_-]+)[" SLOW_SPACE "]([\"']?)([A-Za-z0-9_@+.%:/-]+)\\2$",
                           REG_EXTENDED) == 0);
    }
    if (header[length - 1] != ']') { /* a comment right behind it will do */
        if (closing == NULL || (closing[1] != '#' && closing[1] != ';')) {
            return NULL;
        }
        length = (size_t)(closing - header) + 1;
    }
    char *name = slow_copy(header + 1, length - 2), *section = NULL;
    if (regexec(&form, name, 4, parts, 0) != 0) {
        section = *name != '\0' ? strdup(name) : NULL;
    } else {
        name[parts[1].rm_eo] = '\0';
        name[parts[3].rm_eo] = '\0';
        if (strcmp(name, "profile") == 0 || strcmp(name, "sso-session") == 0 ||
            strcmp(name, "services") == 0) {
            section = slow_joined(name, name + parts[3].rm_so);
        }
    }
    free(name);
    return section;
}

static void slow_add(struct slow_ini *ini, const char *section, char *key, char *value)
{
    ini->lines = realloc(ini->lines, (ini->count + 1) * sizeof *ini->lines);
    fuzz_check(ini->lines != NULL);
    ini->lines[ini->count++] = (struct slow_line){strdup(section), key, value};
}

/* *parent: the property above without a value, whose own are indented. */
static void slow_property(struct slow_ini *ini, const char *section, char **parent,
                          const char *text, bool indented)
{
    const char *equals = strchr(text, '=');
    if (equals == NULL || equals == text) {
        return;
    }
    char *key = slow_trimmed(text, (size_t)(equals - text));
    char *value = slow_trimmed(equals + 1, strlen(equals + 1));
    if (*value == '\0') {
        free(*parent);
        *parent = key;
        free(value);
        return;
    }
    if (!indented) {
        free(*parent);
        *parent = NULL;
    }
    slow_add(ini, section, *parent != NULL ? slow_joined(*parent, key) : strdup(key), value);
    free(key);
}

void slow_ini_read(struct slow_ini *ini, const char *text)
{
    char *section = NULL, *parent = NULL;
    *ini = (struct slow_ini){NULL, 0};
    text += slow_begins(text, "\xEF\xBB\xBF") ? 3 : 0;
    while (text != NULL) {
        const char *end = strchr(text, '\n');
        char *line = slow_copy(text, end != NULL ? (size_t)(end - text) : strlen(text));
        char *stripped = slow_stripped(line);
        if (*stripped == '[') {
            free(section);
            free(parent);
            parent = NULL;
            section = slow_section(stripped);
            if (section != NULL) {
                slow_add(ini, section, NULL, NULL);
            }
        } else if (section != NULL) {
            slow_property(ini, section, &parent, stripped,
                          *line != '\0' && strchr(SLOW_SPACE, *line) != NULL);
        }
        free(stripped);
        free(line);
        text = end != NULL ? end + 1 : NULL;
    }
    free(section);
    free(parent);
}

void slow_ini_free(struct slow_ini *ini)
{
    for (size_t i = 0; i < ini->count; i++) {
        free(ini->lines[i].section);
        free(ini->lines[i].key);
        free(ini->lines[i].value);
    }
    free(ini->lines);
}

const char *slow_ini_get(const struct slow_ini *ini, const char *section, const char *key)
{
    const char *found = NULL;
    for (size_t i = 0; i < ini->count; i++) {
        const struct slow_line *line = &ini->lines[i];
        if (line->key != NULL && strcmp(line->section, section) == 0 &&
            strcmp(line->key, key) == 0) {
            found = line->value;
        }
    }
    return found;
}

bool slow_ini_has(const struct slow_ini *ini, const char *section)
{
    for (size_t i = 0; i < ini->count; i++) {
        if (strcmp(ini->lines[i].section, section) == 0) {
            return true;
        }
    }
    return false;
}

/* What the profile is called in the configuration file: the default one may go without its prefix. To be freed. */
static char *slow_profile_section(const struct slow_ini *config, const char *profile)
{
    bool prefixed = strcmp(profile, "default") != 0;
    for (size_t i = 0; i < config->count; i++) {
        prefixed = prefixed || (config->lines[i].key != NULL &&
                                strcmp(config->lines[i].section, "profile.default") == 0);
    }
    return prefixed ? slow_joined("profile", profile) : strdup(profile);
}

const char *slow_profile_get(const struct slow_ini *config, const struct slow_ini *credentials,
                             bool config_first, const char *profile, const char *key)
{
    char *section = slow_profile_section(config, profile);
    const char *one = slow_ini_get(config, section, key),
               *other = slow_ini_get(credentials, profile, key);
    free(section);
    return one == NULL || (other != NULL && !config_first) ? other : one;
}

bool slow_profile_has(const struct slow_ini *config, const struct slow_ini *credentials,
                      const char *profile)
{
    char *section = slow_profile_section(config, profile);
    bool has = slow_ini_has(config, section) || slow_ini_has(credentials, profile);
    free(section);
    return has;
}
