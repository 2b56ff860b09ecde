/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First steps: writing records, reading them, replacing one only if nobody else has meanwhile, listing them.
 *
 * usage: first-steps [TABLE]
 *
 * Region, endpoint and credentials come from the environment. The table (default: dynalock-demo) is created if it is
 * not there.
 */
#include <dynalock.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program with what went wrong. */
static void must(int code, const dynalock_error *error)
{
    if (code != 0) {
        fprintf(stderr, "%s (%s)\n", error->message, dynalock_strerror(code));
        exit(1);
    }
}

static void print_kv(dynalock_kv *kv)
{
    const void *bytes = NULL;
    size_t length = 0;
    dynalock_error error;
    must(dynalock_kv_bytes(kv, &bytes, &length, &error), &error);
    printf("%s = \"%.*s\", version %" PRId64 "\n", dynalock_kv_key(kv), (int)length,
           (const char *)bytes, dynalock_kv_version(kv));
}

static dynalock_value text(const char *string)
{
    return dynalock_bytes(string, strlen(string));
}

/* Reads the record, and replaces it by what is made of it; again, if another was quicker. */
static void append(dynalock_store *store, const char *key, const char *more)
{
    dynalock_error error;
    int code = DYNALOCK_ERR_MODIFIED;
    while (code == DYNALOCK_ERR_MODIFIED) {
        dynalock_kv *kv = NULL;
        const void *bytes = NULL;
        size_t length = 0;
        char value[256];
        must(dynalock_get(store, key, NULL, &kv, &error), &error);
        must(dynalock_kv_bytes(kv, &bytes, &length, &error), &error);
        (void)snprintf(value, sizeof value, "%.*s%s", (int)length, (const char *)bytes, more);
        code = dynalock_atomic_put(store, key, text(value), kv, NULL, NULL, &error);
        dynalock_kv_free(kv);
    }
    must(code, &error);
}

static void list(dynalock_store *store, const char *prefix)
{
    dynalock_kv **items = NULL;
    size_t count = 0;
    dynalock_error error;
    must(dynalock_list(store, prefix, NULL, &items, &count, &error), &error);
    for (size_t i = 0; i < count; i++) {
        print_kv(items[i]);
    }
    dynalock_list_free(items, count);
}

int main(int argc, char **argv)
{
    dynalock_store *store = NULL;
    dynalock_kv *kv = NULL;
    dynalock_error error;
    const dynalock_write_options hour = {.ttl_ms = 3600000};

    must(dynalock_open(argc > 1 ? argv[1] : "dynalock-demo", "first steps", NULL, &store, &error),
         &error);
    must(dynalock_table_create(store, 0, NULL, &error), &error);

    /* put writes, whatever is there. */
    must(dynalock_put(store, "greeting/en", text("good morning"), &hour, &error), &error);
    must(dynalock_put(store, "greeting/fr", text("bonjour"), &hour, &error), &error);

    must(dynalock_get(store, "greeting/en", NULL, &kv, &error), &error);
    print_kv(kv);
    dynalock_kv_free(kv);

    /* atomic_put without a previous record writes only where there is none. */
    int code = dynalock_atomic_put(store, "greeting/fr", text("salut"), NULL, NULL, NULL, &error);
    printf("create greeting/fr: %s\n", dynalock_strerror(code));

    append(store, "greeting/fr", " tout le monde");
    list(store, "greeting/");

    must(dynalock_delete(store, "greeting/en", &error), &error);
    must(dynalock_delete(store, "greeting/fr", &error), &error);
    code = dynalock_get(store, "greeting/fr", NULL, &kv, &error);
    printf("get greeting/fr: %s\n", dynalock_strerror(code));
    (void)dynalock_close(store);
    return code == DYNALOCK_ERR_NOT_FOUND ? 0 : 1;
}
