/* SPDX-License-Identifier: Apache-2.0 */
/* get, exists, rm, ls: records are read, removed and listed. */
#include "command.h"

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Once the options have been taken: there must be a KEY and no more; opens the store. -1, or the exit status. */
static int records_open(const struct settings *settings, int argc, char **argv,
                        dynalock_store **store)
{
    int status = settings_arguments(argc, argv, 1, 1, "a KEY");
    if (status == -1) {
        status = settings_open(settings, PARTITION_OF_RECORDS, NULL, NULL, store);
        status = status == EXIT_OK ? -1 : status;
    }
    return status;
}

/* ---- get ---- */

static int get_bytes(dynalock_kv *kv)
{
    const void *bytes = NULL;
    size_t length = 0;
    dynalock_error error;
    int code = dynalock_kv_bytes(kv, &bytes, &length, &error);
    const char *type = dynalock_kv_type(kv);
    if (code == DYNALOCK_ERR_TYPE && type == NULL) {
        complain("%s: it has no value; --json shows the record", dynalock_kv_key(kv));
        return EXIT_SERVICE;
    }
    if (code == DYNALOCK_ERR_TYPE) {
        complain("%s: the value (type %s) is not bytes; --json shows it", dynalock_kv_key(kv),
                 type);
        return EXIT_SERVICE;
    }
    if (code != 0) {
        return report(dynalock_kv_key(kv), &error);
    }
    (void)fwrite(bytes, 1, length, stdout); /* main looks whether it could be */
    return EXIT_OK;
}

/* "value", plain JSON; "attribute" where that cannot stand for it; neither where there is no value. */
static int get_json_value(const dynalock_kv *kv, json_t *object)
{
    json_t *value = NULL;
    dynalock_error error;
    const char *name = "value";
    if (dynalock_kv_type(kv) == NULL) {
        return 0;
    }
    int code = dynalock_kv_json(kv, &value, &error);
    if (code == DYNALOCK_ERR_TYPE) {
        name = "attribute";
        code = dynalock_kv_attribute(kv, &value, &error);
    }
    return code == 0 ? json_object_set_new(object, name, value) : -1;
}

static int get_json(const dynalock_kv *kv)
{
    json_t *object =
        json_pack("{s:s, s:I, s:o, s:s?}", "key", dynalock_kv_key(kv), "version",
                  (json_int_t)dynalock_kv_version(kv), "expires_ms",
                  json_expiry(dynalock_kv_expires_ms(kv)), "type", dynalock_kv_type(kv));
    if (object != NULL && get_json_value(kv, object) != 0) {
        json_decref(object);
        object = NULL;
    }
    return json_print(object);
}

int command_get(struct settings *settings, int argc, char **argv)
{
    dynalock_store *store = NULL;
    dynalock_kv *kv = NULL;
    dynalock_error error;
    int status = settings_no_option(settings, argc, argv);
    if (status == -1) {
        status = records_open(settings, argc, argv, &store);
    }
    if (status != -1) {
        return status;
    }
    if (dynalock_get(store, argv[optind], NULL, &kv, &error) != 0) {
        status = report(argv[optind], &error);
    } else {
        status = settings->json ? get_json(kv) : get_bytes(kv);
    }
    dynalock_kv_free(kv);
    (void)dynalock_close(store);
    return status;
}

/* ---- exists ---- */

int command_exists(struct settings *settings, int argc, char **argv)
{
    dynalock_store *store = NULL;
    dynalock_error error;
    bool exists = false;
    int status = settings_no_option(settings, argc, argv);
    if (status == -1) {
        status = records_open(settings, argc, argv, &store);
    }
    if (status != -1) {
        return status;
    }
    if (dynalock_exists(store, argv[optind], NULL, &exists, &error) != 0) {
        status = report(argv[optind], &error);
    } else {
        status = exists ? EXIT_OK : EXIT_NOT_FOUND;
    }
    (void)dynalock_close(store);
    return status;
}

/* ---- rm ---- */

static int rm_exactly(dynalock_store *store, const char *key, int64_t version)
{
    dynalock_kv *kv = NULL;
    dynalock_error error;
    int status = EXIT_OK;
    int code = dynalock_get(store, key, NULL, &kv, &error);
    if (code == 0 && dynalock_kv_version(kv) != version) {
        status = version_changed(key, version, dynalock_kv_version(kv));
    } else if (code == 0) {
        code = dynalock_atomic_delete(store, key, kv, &error);
        if (code == DYNALOCK_ERR_NOT_FOUND && (error.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN) != 0) {
            code = 0; /* it is gone, by this call or another's, where an answer was lost */
        }
    }
    dynalock_kv_free(kv);
    return code != 0 ? report(key, &error) : status;
}

static int rm_any(dynalock_store *store, const char *key)
{
    dynalock_error error;
    return dynalock_delete(store, key, &error) != 0 ? report(key, &error) : EXIT_OK;
}

int command_rm(struct settings *settings, int argc, char **argv)
{
    static const struct option own[] = {{"if-version", required_argument, NULL, 256},
                                        {NULL, 0, NULL, 0}};
    dynalock_store *store = NULL;
    bool exactly = false;
    int64_t version = 0;
    int option;
    while ((option = settings_option(settings, argc, argv, "", own)) == 256) {
        exactly = true;
        if (!settings_version("--if-version", optarg, &version)) {
            return EXIT_USAGE;
        }
    }
    if (option != -1) {
        return option == 'h' ? EXIT_OK : EXIT_USAGE;
    }
    int status = records_open(settings, argc, argv, &store);
    if (status != -1) {
        return status;
    }
    status = exactly ? rm_exactly(store, argv[optind], version) : rm_any(store, argv[optind]);
    (void)dynalock_close(store);
    return status;
}

/* ---- ls ---- */

enum { LS_NO_BYTES = -1, LS_NO_MEMORY = -2 };

/* Of bytes, how many they are; or one of these. */
static int64_t ls_size(dynalock_kv *kv)
{
    const void *bytes = NULL;
    size_t length = 0;
    if (dynalock_kv_type(kv) == NULL) {
        return 0;
    }
    int code = dynalock_kv_bytes(kv, &bytes, &length, NULL);
    if (code == DYNALOCK_ERR_MEMORY) {
        complain("out of memory");
        return LS_NO_MEMORY;
    }
    return code == 0 ? (int64_t)length : LS_NO_BYTES;
}

static int ls_print(dynalock_kv *kv, void *context)
{
    struct columns *columns = context;
    int64_t size = ls_size(kv);
    if (size == LS_NO_MEMORY) {
        return EXIT_SYSTEM;
    }
    char version[24];
    char length[24];
    char expires[TIME_SIZE] = "never";
    (void)snprintf(version, sizeof version, "%" PRId64, dynalock_kv_version(kv));
    (void)snprintf(length, sizeof length, "%" PRId64, size);
    if (dynalock_kv_expires_ms(kv) != 0) {
        text_time(dynalock_kv_expires_ms(kv), false, expires);
    }
    const char *cells[] = {dynalock_kv_key(kv), version, expires, size >= 0 ? length : "-"};
    return columns_add(columns, cells) ? 0 : EXIT_SYSTEM;
}

static int ls_print_json(dynalock_kv *kv, void *context)
{
    (void)context;
    int64_t size = ls_size(kv);
    if (size == LS_NO_MEMORY) {
        return EXIT_SYSTEM;
    }
    return json_print(json_pack(
        "{s:s, s:I, s:o, s:s?, s:o}", "key", dynalock_kv_key(kv), "version",
        (json_int_t)dynalock_kv_version(kv), "expires_ms", json_expiry(dynalock_kv_expires_ms(kv)),
        "type", dynalock_kv_type(kv), "size", size >= 0 ? json_integer(size) : json_null()));
}

static int ls_list(const struct settings *settings, dynalock_store *store, const char *prefix)
{
    struct columns columns = {.heading = {"KEY", "VERSION", "EXPIRES", "SIZE"}};
    dynalock_error error;
    int code = dynalock_list_each(store, prefix, NULL, settings->json ? ls_print_json : ls_print,
                                  &columns, &error);
    if (!settings->json && (code >= 0 || columns.rows > 0)) {
        columns_print(&columns);
    }
    columns_free(&columns);
    return code < 0 ? report(NULL, &error) : code;
}

int command_ls(struct settings *settings, int argc, char **argv)
{
    dynalock_store *store = NULL;
    int status = settings_no_option(settings, argc, argv);
    if (status == -1) {
        status = settings_arguments(argc, argv, 0, 1, "a PREFIX");
    }
    if (status != -1) {
        return status;
    }
    status = settings_open(settings, PARTITION_OF_RECORDS, NULL, NULL, &store);
    if (status == EXIT_OK) {
        status = ls_list(settings, store, argv[optind]);
    }
    (void)dynalock_close(store);
    return status;
}
