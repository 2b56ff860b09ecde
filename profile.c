/* SPDX-License-Identifier: Apache-2.0 */
/* The shared files ~/.aws/config and ~/.aws/credentials, read as AWS's JavaScript SDK reads them. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROFILE_FILE_MAX (1 << 20)
#define PROFILE_PATH_MAX 4096
#define PROFILE_WORD "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
#define PROFILE_SPACE " \t\v\f\r"

/* A property, or (key NULL) the header of a section. All texts stand in the file's own text. */
struct profile_line {
    const char *section; /* "x"; "profile.x" for [profile x] and its like */
    const char *parent;  /* of an indented property: the one above that has no value; NULL: none */
    const char *key, *value;
};

struct profile_file {
    char *text;
    size_t length;
    struct profile_line *lines;
    size_t count, capacity;
};

struct dlk_profiles {
    struct profile_file config, credentials;
    char note[PROFILE_PATH_MAX + 100];
};

/* ---- Parsing ---- */

static bool profile_add(struct profile_file *file, const char *section, const char *parent,
                        const char *key, const char *value)
{
    if (file->count == file->capacity) {
        size_t capacity = file->capacity > 0 ? file->capacity * 2 : 32;
        struct profile_line *grown = realloc(file->lines, capacity * sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        file->lines = grown;
        file->capacity = capacity;
    }
    file->lines[file->count++] = (struct profile_line){section, parent, key, value};
    return true;
}

/* Without the comment, and the white space around it. A comment begins the line, or follows white space. */
static char *profile_strip(char *line)
{
    char *end = line;
    while (*end != '\0' && !((*end == '#' || *end == ';') &&
                             (end == line || strchr(PROFILE_SPACE, end[-1]) != NULL))) {
        end++;
    }
    while (end > line && strchr(PROFILE_SPACE, end[-1]) != NULL) {
        end--;
    }
    *end = '\0';
    return line + strspn(line, PROFILE_SPACE);
}

static bool profile_is_prefix(const char *text)
{
    return strcmp(text, "profile") == 0 || strcmp(text, "sso-session") == 0 ||
           strcmp(text, "services") == 0;
}

/* [profile x] and [profile "x"] become "profile.x"; other names stay. NULL: nobody asks for it. */
static char *profile_section(char *name)
{
    char *space = name + strspn(name, PROFILE_WORD);
    if (space == name || *space == '\0' || strchr(PROFILE_SPACE, *space) == NULL) {
        return *name != '\0' ? name : NULL;
    }
    char quote[2] = {space[1] == '"' || space[1] == '\'' ? space[1] : '\0', '\0'};
    const char *rest = space + 1 + strlen(quote);
    size_t length = strspn(rest, PROFILE_WORD "@+.%:/");
    if (length == 0 || strcmp(rest + length, quote) != 0) {
        return name;
    }
    *space = '\0';
    if (!profile_is_prefix(name)) {
        return NULL;
    }
    *space = '.';
    memmove(space + 1, rest, length);
    space[1 + length] = '\0';
    return name;
}

/* What stands in the brackets. A header that is none ends the section before it all the same: what follows
 * would otherwise become another profile's. */
static char *profile_header(char *text)
{
    char *end = text + strlen(text) - 1;
    if (*end != ']') {
        end = strchr(text, ']');
        if (end == NULL || (end[1] != '#' && end[1] != ';')) {
            return NULL;
        }
    }
    *end = '\0';
    return profile_section(text + 1);
}

static bool profile_property(struct profile_file *file, const char *section, const char **parent,
                             char *text, bool indented)
{
    char *equals = strchr(text, '=');
    if (equals == NULL || equals == text) {
        return true;
    }
    const char *value = equals + 1 + strspn(equals + 1, PROFILE_SPACE);
    do {
        *equals-- = '\0';
    } while (strchr(PROFILE_SPACE, *equals) != NULL);
    if (*value == '\0') {
        *parent = text;
        return true;
    }
    if (!indented) {
        *parent = NULL;
    }
    return profile_add(file, section, *parent, text, value);
}

static bool profile_parse(struct profile_file *file)
{
    const char *section = NULL, *parent = NULL;
    char *line = file->text + (strncmp(file->text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0);
    bool done = true;
    while (line != NULL && done) {
        char *next = strchr(line, '\n');
        if (next != NULL) {
            *next++ = '\0';
        }
        bool indented = *line != '\0' && strchr(PROFILE_SPACE, *line) != NULL;
        char *text = profile_strip(line);
        if (*text == '[') {
            section = profile_header(text);
            parent = NULL;
            done = section == NULL || profile_add(file, section, NULL, NULL, NULL);
        } else if (section != NULL) {
            done = profile_property(file, section, &parent, text, indented);
        }
        line = next;
    }
    return done;
}

/* ---- Reading ---- */

/* Of a privileged program: its own, not that of who called it. */
bool dlk_home(char *home, size_t size)
{
    char names[4096];
    struct passwd entry, *found = NULL;
    const char *value = dlk_config_env("HOME");
    if (value == NULL && getpwuid_r(geteuid(), &entry, names, sizeof names, &found) == 0 &&
        found != NULL) {
        value = entry.pw_dir;
    }
    return value != NULL && *value != '\0' && (size_t)snprintf(home, size, "%s", value) < size;
}

/* False: there is no such path. */
static bool profile_path(char *path, size_t size, const char *variable, const char *usual)
{
    const char *given = dlk_config_env(variable);
    given = given != NULL ? given : usual;
    if (strncmp(given, "~/", 2) != 0) {
        return (size_t)snprintf(path, size, "%s", given) < size;
    }
    if (!dlk_home(path, size)) {
        return false;
    }
    size_t length = strlen(path);
    return (size_t)snprintf(path + length, size - length, "%s", given + 1) < size - length;
}

static const char *profile_why(int number)
{
    switch (number) {
    case EACCES:
    case EPERM: return "permission denied";
    case EISDIR: return "it is a directory";
    default: return "the system refuses";
    }
}

/* 0, or errno. The text has room for one byte more than is allowed, and the NUL. */
static int profile_fill(struct profile_file *file, int fd)
{
    while (file->length <= PROFILE_FILE_MAX) {
        ssize_t got = read(fd, file->text + file->length, PROFILE_FILE_MAX + 1 - file->length);
        if (got == 0) {
            break;
        }
        if (got < 0 && errno != EINTR) {
            return errno;
        }
        file->length += got > 0 ? (size_t)got : 0;
    }
    file->text[file->length] = '\0';
    return 0;
}

/* The JavaScript SDK takes a file that cannot be read for an empty one; here a note says why. */
static int profile_load(struct dlk_profiles *profiles, struct profile_file *file, const char *path,
                        dynalock_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* it may be a FIFO */
    int failure = fd < 0 ? errno : 0;
    if (failure == 0) {
        file->text = malloc(PROFILE_FILE_MAX + 2);
        failure = file->text != NULL ? profile_fill(file, fd) : ENOMEM;
        (void)close(fd);
    }
    if (failure == ENOMEM) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    if (failure == EMFILE || failure == ENFILE || failure == EIO) {
        /* It is there, and may say who we are: another's credentials must not be used in its place. */
        return dlk_fail(error, DYNALOCK_ERR_SYSTEM, "%.300s cannot be read: %s", path,
                        profile_why(failure));
    }
    if (failure != 0) {
        if (failure != ENOENT && failure != ENOTDIR) {
            (void)snprintf(profiles->note, sizeof profiles->note, "%s cannot be read: %s", path,
                           profile_why(failure));
        }
        file->length = 0;
        return 0;
    }
    if (file->length > PROFILE_FILE_MAX || memchr(file->text, '\0', file->length) != NULL) {
        return dlk_fail(error, DYNALOCK_ERR_CONFIG, "%.300s %s", path,
                        file->length > PROFILE_FILE_MAX
                            ? "is larger than 1 MB"
                            : "has a NUL byte in it: it is no text, or UTF-16");
    }
    return profile_parse(file) ? 0 : dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
}

static int profile_load_both(struct dlk_profiles *profiles, dynalock_error *error)
{
    char path[PROFILE_PATH_MAX];
    int code = 0;
    if (profile_path(path, sizeof path, "AWS_CONFIG_FILE", "~/.aws/config")) {
        code = profile_load(profiles, &profiles->config, path, error);
    }
    if (code == 0 &&
        profile_path(path, sizeof path, "AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")) {
        code = profile_load(profiles, &profiles->credentials, path, error);
    }
    return code;
}

int dlk_profiles_read(struct dlk_profiles **profiles, dynalock_error *error)
{
    struct dlk_profiles *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
    }
    int code = profile_load_both(made, error);
    if (code != 0) {
        dlk_profiles_free(made);
        return code;
    }
    *profiles = made;
    return 0;
}

static void profile_free_file(struct profile_file *file)
{
    volatile char *text = file->text; /* a plain memset before free is optimised away */
    for (size_t i = 0; text != NULL && i < file->length; i++) {
        text[i] = '\0';
    }
    free(file->text);
    free(file->lines);
}

void dlk_profiles_free(struct dlk_profiles *profiles)
{
    if (profiles != NULL) {
        profile_free_file(&profiles->config);
        profile_free_file(&profiles->credentials);
        free(profiles);
    }
}

const char *dlk_profiles_note(const struct dlk_profiles *profiles)
{
    return profiles->note;
}

/* ---- Asking ---- */

const char *dlk_profiles_chosen(const dynalock_options *options)
{
    if (options->profile != NULL && *options->profile != '\0') {
        return options->profile;
    }
    const char *name = dlk_config_env("AWS_PROFILE");
    return name != NULL ? name : "default";
}

static bool profile_is_key(const struct profile_line *line, const char *key)
{
    if (line->parent != NULL) {
        size_t length = strlen(line->parent);
        if (strncmp(key, line->parent, length) != 0 || key[length] != '.') {
            return false;
        }
        key += length + 1;
    }
    return strcmp(line->key, key) == 0;
}

/* The last line of the section; key NULL: any property; "": the header will do. */
static const struct profile_line *profile_find(const struct profile_file *file, const char *prefix,
                                               const char *name, const char *key)
{
    size_t length = strlen(prefix);
    for (size_t i = file->count; i-- > 0;) {
        const struct profile_line *line = &file->lines[i];
        bool wanted = key == NULL
                          ? line->key != NULL
                          : *key == '\0' || (line->key != NULL && profile_is_key(line, key));
        if (wanted && strncmp(line->section, prefix, length) == 0 &&
            strcmp(line->section + length, name) == 0) {
            return line;
        }
    }
    return NULL;
}

/* The prefix of the profile's section in the configuration file: [profile default] hides [default]. */
static const char *profile_prefix(const struct profile_file *config, const char *name)
{
    bool plain =
        strcmp(name, "default") == 0 && profile_find(config, "profile.", name, NULL) == NULL;
    return plain ? "" : "profile.";
}

static const struct profile_line *profile_of(const struct dlk_profiles *profiles, bool config_first,
                                             const char *name, const char *key)
{
    const struct profile_line *config =
        profile_find(&profiles->config, profile_prefix(&profiles->config, name), name, key);
    if (config_first && config != NULL) {
        return config;
    }
    const struct profile_line *line = profile_find(&profiles->credentials, "", name, key);
    return line != NULL ? line : config;
}

static const struct profile_line *profile_in(const struct dlk_profiles *profiles,
                                             enum dlk_section section, const char *name,
                                             const char *key)
{
    switch (section) {
    case DLK_SECTION_SSO_SESSION: return profile_find(&profiles->config, "sso-session.", name, key);
    case DLK_SECTION_SERVICES: return profile_find(&profiles->config, "services.", name, key);
    case DLK_SECTION_PROFILE: break;
    }
    return profile_of(profiles, false, name, key);
}

bool dlk_profiles_has(const struct dlk_profiles *profiles, enum dlk_section section,
                      const char *name)
{
    return profile_in(profiles, section, name, "") != NULL;
}

const char *dlk_profiles_get(const struct dlk_profiles *profiles, enum dlk_section section,
                             const char *name, const char *key)
{
    const struct profile_line *line = profile_in(profiles, section, name, key);
    return line != NULL ? line->value : NULL;
}

const char *dlk_profiles_setting(const struct dlk_profiles *profiles, const char *name,
                                 const char *key)
{
    const struct profile_line *line = profile_of(profiles, true, name, key);
    return line != NULL ? line->value : NULL;
}
