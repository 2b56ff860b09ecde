/* SPDX-License-Identifier: Apache-2.0 */
/* put: a record's value from the command line or from standard input. */
#include "command.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PUT_RECORD_MAX ((size_t)400 * 1024) /* DynamoDB's limit */
#define PUT_JSON_MAX (8 * PUT_RECORD_MAX)   /* with white space, and escapes of six characters */

enum { OPTION_TTL = 256, OPTION_NO_EXPIRY, OPTION_IF_ABSENT, OPTION_IF_VERSION };

static const struct option put_options[] = {
    {"ttl", required_argument, NULL, OPTION_TTL},
    {"no-expiry", no_argument, NULL, OPTION_NO_EXPIRY},
    {"if-absent", no_argument, NULL, OPTION_IF_ABSENT},
    {"if-version", required_argument, NULL, OPTION_IF_VERSION},
    {"json-value", no_argument, NULL, DYNALOCK_VALUE_JSON},
    {"attribute-value", no_argument, NULL, DYNALOCK_VALUE_ATTRIBUTE},
    {NULL, 0, NULL, 0},
};

struct put {
    const char *key;
    const char *argument; /* NULL: standard input */
    int kind;             /* enum dynalock_value_kind */
    bool if_absent;
    bool if_version;
    bool no_expiry;
    bool json_output;
    int64_t version;
    int64_t ttl_ms;
    char *text;
    size_t length;
    json_t *json;
};

/* ---- What is asked for ---- */

static bool put_take(struct put *put, int option)
{
    switch (option) {
    case OPTION_TTL: return duration_option("--ttl", optarg, 1, DURATION_MAX_MS, &put->ttl_ms);
    case OPTION_NO_EXPIRY: put->no_expiry = true; return true;
    case OPTION_IF_ABSENT: put->if_absent = true; return true;
    case OPTION_IF_VERSION:
        put->if_version = true;
        return settings_version("--if-version", optarg, &put->version);
    default:
        if (put->kind != DYNALOCK_VALUE_BYTES && put->kind != option) {
            complain_usage("put: --json-value and --attribute-value exclude each other");
            return false;
        }
        put->kind = option;
        return true;
    }
}

/* -1, or the exit status. */
static int put_parse(struct put *put, struct settings *settings, int argc, char **argv)
{
    int option;
    while ((option = settings_option(settings, argc, argv, "", put_options)) != -1) {
        if (option == 'h') {
            return EXIT_OK;
        }
        if (option == '?' || !put_take(put, option)) {
            return EXIT_USAGE;
        }
    }
    int status = settings_arguments(argc, argv, 1, 2, "a KEY");
    if (status != -1) {
        return status;
    }
    if (put->no_expiry && put->ttl_ms > 0) {
        return complain_usage("put: --ttl and --no-expiry exclude each other");
    }
    if (put->if_absent && put->if_version) {
        return complain_usage("put: --if-absent and --if-version exclude each other");
    }
    put->key = argv[optind];
    put->json_output = settings->json;
    if (argc - optind > 1 && strcmp(argv[optind + 1], "-") != 0) {
        put->argument = argv[optind + 1];
    }
    return -1;
}

/* ---- The value ---- */

/* Reads to the end, but no more than limit and one byte. */
static int put_read(struct put *put, size_t limit)
{
    ssize_t count = 1;
    put->text = malloc(limit + 1);
    if (put->text == NULL) {
        complain("out of memory");
        return EXIT_SYSTEM;
    }
    while (count != 0 && put->length <= limit) {
        count = read(STDIN_FILENO, put->text + put->length, limit + 1 - put->length);
        if (count < 0 && errno != EINTR) {
            complain("standard input: %s", strerror(errno));
            return EXIT_SYSTEM;
        }
        put->length += count > 0 ? (size_t)count : 0;
    }
    if (put->length > limit) {
        return complain_usage("%s: standard input has more than %zu KB; a record can have %zu",
                              put->key, limit / 1024, PUT_RECORD_MAX / 1024);
    }
    return EXIT_OK;
}

static int put_parse_json(struct put *put, const char *text, size_t length)
{
    json_error_t error;
    put->json =
        json_loadb(text, length, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (put->json == NULL &&
        (json_error_code(&error) == json_error_out_of_memory || error.text[0] == 0)) {
        complain("out of memory");
        return EXIT_SYSTEM;
    }
    if (put->json == NULL) {
        return complain_usage("%s: the value is no JSON: line %d, column %d: %s", put->key,
                              error.line, error.column, error.text);
    }
    return EXIT_OK;
}

static int put_value(struct put *put, dynalock_value *value)
{
    const char *text = put->argument;
    if (text == NULL) {
        int status =
            put_read(put, put->kind == DYNALOCK_VALUE_BYTES ? PUT_RECORD_MAX : PUT_JSON_MAX);
        if (status != EXIT_OK) {
            return status;
        }
        text = put->text;
    } else {
        put->length = strlen(text);
    }
    if (put->kind == DYNALOCK_VALUE_BYTES) {
        *value = dynalock_bytes(text, put->length);
        return EXIT_OK;
    }
    int status = put_parse_json(put, text, put->length);
    *value =
        put->kind == DYNALOCK_VALUE_JSON ? dynalock_json(put->json) : dynalock_attribute(put->json);
    return status;
}

/* ---- Writing ---- */

int version_changed(const char *key, int64_t asked, int64_t found)
{
    complain("%s: it has version %" PRId64 " and not %" PRId64, key, found, asked);
    return EXIT_CONDITION;
}

/* What the next --if-version may be. */
static int put_tell(const dynalock_kv *kv)
{
    return json_print(json_pack("{s:s, s:I, s:o}", "key", dynalock_kv_key(kv), "version",
                                (json_int_t)dynalock_kv_version(kv), "expires_ms",
                                json_expiry(dynalock_kv_expires_ms(kv))));
}

static int put_replace(const struct put *put, dynalock_store *store, dynalock_value value,
                       const dynalock_write_options *options, dynalock_kv **written)
{
    dynalock_kv *previous = NULL;
    dynalock_error error;
    int code = dynalock_get(store, put->key, NULL, &previous, &error);
    if (code == DYNALOCK_ERR_NOT_FOUND) {
        complain("%s: there is no such record, of whatever version", put->key);
        return EXIT_CONDITION;
    }
    int status = EXIT_OK;
    if (code == 0 && dynalock_kv_version(previous) != put->version) {
        status = version_changed(put->key, put->version, dynalock_kv_version(previous));
    } else if (code == 0) {
        code = dynalock_atomic_put(store, put->key, value, previous, options, written, &error);
    }
    dynalock_kv_free(previous);
    return code != 0 ? report(put->key, &error) : status;
}

static int put_write(const struct put *put, dynalock_store *store, dynalock_value value)
{
    dynalock_error error;
    /* A record that is replaced keeps its expiry unless an option says otherwise; any other has none. */
    dynalock_write_options options = {.ttl_ms = put->ttl_ms,
                                      .never_expires =
                                          put->ttl_ms == 0 && (put->no_expiry || !put->if_version)};
    dynalock_kv *written = NULL;
    int status = EXIT_OK;
    if (put->if_version) {
        status = put_replace(put, store, value, &options, &written);
    } else {
        int code = put->if_absent ? dynalock_atomic_put(store, put->key, value, NULL, &options,
                                                        &written, &error)
                                  : dynalock_put(store, put->key, value, &options, &error);
        status = code == 0 ? EXIT_OK : report(put->key, &error);
    }
    if (put->json_output && written != NULL) {
        status = put_tell(written);
    }
    dynalock_kv_free(written);
    return status;
}

int command_put(struct settings *settings, int argc, char **argv)
{
    struct put put = {.kind = DYNALOCK_VALUE_BYTES};
    int status = put_parse(&put, settings, argc, argv);
    if (status != -1) {
        return status;
    }
    dynalock_store *store = NULL;
    dynalock_value value = dynalock_none();
    status = put_value(&put, &value);
    if (status == EXIT_OK) {
        status = settings_open(settings, PARTITION_OF_RECORDS, NULL, NULL, &store);
    }
    if (status == EXIT_OK) {
        status = put_write(&put, store, value);
    }
    (void)dynalock_close(store);
    json_decref(put.json);
    free(put.text);
    return status;
}
