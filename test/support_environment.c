/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* environ */
#include "support_environment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

void environment_clear(void)
{
    for (size_t i = 0; environ[i] != NULL;) {
        char name[100] = "";
        if (strncmp(environ[i], "AWS_", 4) == 0 && sscanf(environ[i], "%99[^=]", name) == 1) {
            (void)unsetenv(name);
            i = 0;
        } else {
            i++;
        }
    }
}

void environment_set(const char *name, const char *value)
{
    assert_int_equal(setenv(name, value, 1), 0);
}

/* ---- The home -------------------------------------------------------------------------------- */

static const char *const home_folders[] = {".aws", ".aws/sso", ".aws/sso/cache"};
#define HOME_FOLDERS (sizeof home_folders / sizeof home_folders[0])

static char home[200];

void home_make(void)
{
    const char *base = getenv("TMPDIR");
    (void)snprintf(home, sizeof home, "%s/home-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(home));
    for (size_t i = 0; i < HOME_FOLDERS; i++) {
        assert_int_equal(mkdir(home_path(home_folders[i]), 0700), 0);
    }
    environment_set("HOME", home);
}

int home_remove(void)
{
    home_drop(".aws/config");
    home_drop(".aws/credentials");
    home_drop("token");
    for (size_t i = HOME_FOLDERS; i > 0; i--) {
        (void)rmdir(home_path(home_folders[i - 1]));
    }
    return rmdir(home);
}

const char *home_path(const char *name)
{
    static char path[400];
    (void)snprintf(path, sizeof path, "%s/%s", home, name);
    return path;
}

void home_put(const char *name, const char *text)
{
    FILE *file = fopen(home_path(name), "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

void home_drop(const char *name)
{
    (void)unlink(home_path(name));
}
