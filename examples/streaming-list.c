/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list of any length in little memory: records are handed over one by one as their pages come, and the listing ends
 * where enough has been seen. Writes some large records first, so that there is more than one page.
 *
 * usage: streaming-list [TABLE]
 *
 * Region, endpoint and credentials come from the environment. The table (default: dynalock-demo) must be there.
 */
#include <dynalock.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RECORDS = 24, RECORD_SIZE = 60000, ENOUGH = 1 };

/* Ends the program with what went wrong. */
static void must(int code, const dynalock_error *error)
{
    if (code != 0) {
        fprintf(stderr, "%s\n", error->message);
        exit(1);
    }
}

static void write_records(dynalock_store *store)
{
    static char page[RECORD_SIZE];
    const dynalock_write_options options = {.ttl_ms = 600000};
    dynalock_error error;
    memset(page, 'x', sizeof page);
    for (int i = 0; i < RECORDS; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "book/page-%02d", i);
        must(dynalock_put(store, key, dynalock_bytes(page, sizeof page), &options, &error), &error);
    }
}

static void remove_records(dynalock_store *store)
{
    dynalock_error error;
    for (int i = 0; i < RECORDS; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "book/page-%02d", i);
        must(dynalock_delete(store, key, &error), &error);
    }
}

struct sum {
    dynalock_error *error;
    int records;
    size_t bytes;
};

/* kv lives as long as this call: what is needed of it later is copied. */
static int add(dynalock_kv *kv, void *context)
{
    struct sum *sum = context;
    const void *bytes = NULL;
    size_t length = 0;
    int code = dynalock_kv_bytes(kv, &bytes, &length, sum->error);
    sum->records++;
    sum->bytes += length;
    return code; /* not 0: ends the listing, which returns it */
}

static int find(dynalock_kv *kv, void *context)
{
    if (strcmp(dynalock_kv_key(kv), context) < 0) {
        return 0;
    }
    printf("the first from %s on: %s\n", (const char *)context, dynalock_kv_key(kv));
    return ENOUGH;
}

int main(int argc, char **argv)
{
    dynalock_store *store = NULL;
    dynalock_error error;
    struct sum sum = {&error, 0, 0};
    char wanted[] = "book/page-1";
    const char *table = argc > 1 ? argv[1] : "dynalock-demo";

    must(dynalock_open(table, "streaming", NULL, &store, &error), &error);
    write_records(store);
    must(dynalock_list_each(store, "book/", NULL, add, &sum, &error), &error);
    printf("%d records, %zu bytes\n", sum.records, sum.bytes);

    int code = dynalock_list_each(store, "book/", NULL, find, wanted, &error);
    if (code != ENOUGH) {
        must(code, &error);
        printf("none from %s on\n", wanted);
    }
    remove_records(store);
    (void)dynalock_close(store);
    return 0;
}
