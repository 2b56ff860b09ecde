/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration that several programs change at once, and no change is lost: one JSON object in one record, read,
 * changed and written only if it is still the one that was read (compare and swap).
 *
 * usage: config-store TABLE CONFIGURATION [NAME=VALUE]...    (NAME= removes NAME)
 *
 * Prints the configuration. Region, endpoint and credentials come from the environment. The table must be there.
 */
#include <dynalock.h>
#include <jansson.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void fail(const char *message)
{
    fprintf(stderr, "%s\n", message);
    exit(1);
}

/* Ends the program with what went wrong. */
static void must(int code, const dynalock_error *error)
{
    if (code != 0) {
        fail(error->message);
    }
}

/* The configuration as it is; an empty one, and *kv NULL, where there is none. */
static json_t *read_config(dynalock_store *store, const char *name, dynalock_kv **kv)
{
    dynalock_error error;
    json_t *config = NULL;
    *kv = NULL;
    int code = dynalock_get(store, name, NULL, kv, &error);
    if (code == DYNALOCK_ERR_NOT_FOUND) {
        config = json_object();
    } else {
        must(code, &error);
        must(dynalock_kv_json(*kv, &config, &error), &error);
    }
    if (!json_is_object(config)) {
        fail("this record is no configuration");
    }
    return config;
}

/* One of "NAME=VALUE" and "NAME=". */
static void change(json_t *config, const char *setting)
{
    const char *equals = strchr(setting, '=');
    char name[64];
    if (equals == NULL || equals == setting || (size_t)(equals - setting) >= sizeof name) {
        fail("a setting is NAME=VALUE, with a name of 1 to 63 bytes");
    }
    (void)snprintf(name, sizeof name, "%.*s", (int)(equals - setting), setting);
    if (equals[1] == '\0') {
        (void)json_object_del(config, name);
    } else if (json_object_set_new(config, name, json_string(equals + 1)) != 0) {
        fail("a setting is UTF-8");
    }
}

/* Another program may write between our reading and our writing: then all is done anew, with what it wrote. */
static void update(dynalock_store *store, const char *name, char **settings, int count)
{
    const dynalock_write_options for_good = {.never_expires = true};
    dynalock_error error;
    int code = DYNALOCK_ERR_MODIFIED;
    while (code == DYNALOCK_ERR_MODIFIED || code == DYNALOCK_ERR_EXISTS) {
        dynalock_kv *kv = NULL;
        json_t *config = read_config(store, name, &kv);
        for (int i = 0; i < count; i++) {
            change(config, settings[i]);
        }
        code = dynalock_atomic_put(store, name, dynalock_json(config), kv, &for_good, NULL, &error);
        json_decref(config);
        dynalock_kv_free(kv);
    }
    must(code, &error);
}

static void print(dynalock_store *store, const char *name)
{
    dynalock_kv *kv = NULL;
    json_t *config = read_config(store, name, &kv);
    printf("version %" PRId64 "\n", kv != NULL ? dynalock_kv_version(kv) : 0);
    (void)json_dumpf(config, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    printf("\n");
    json_decref(config);
    dynalock_kv_free(kv);
}

int main(int argc, char **argv)
{
    dynalock_store *store = NULL;
    dynalock_error error;
    if (argc < 3) {
        fprintf(stderr, "usage: config-store TABLE CONFIGURATION [NAME=VALUE]...\n");
        return 2;
    }
    must(dynalock_open(argv[1], "configurations", NULL, &store, &error), &error);
    if (argc > 3) {
        update(store, argv[2], argv + 3, argc - 3);
    }
    print(store, argv[2]);
    (void)dynalock_close(store);
    return 0;
}
