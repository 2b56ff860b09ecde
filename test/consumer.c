/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program of somebody who uses the library, as C99 and as C++: tools/check-installed builds it against what is
 * installed.
 *
 * usage: consumer [TABLE]
 *
 * Without a table it does what needs no server. The table is created if it is not there.
 */
#include <dynalock.h>

#include <stdio.h>
#include <string.h>

static int fail(const char *what, const dynalock_error *error)
{
    fprintf(stderr, "%s: %s\n", what, error->message);
    return 1;
}

static int use_records(dynalock_store *store)
{
    dynalock_error error;
    dynalock_kv *kv = NULL;
    const void *bytes = NULL;
    size_t length = 0;
    if (dynalock_put(store, "record", dynalock_bytes("value", 5), NULL, &error) != 0) {
        return fail("put", &error);
    }
    if (dynalock_get(store, "record", NULL, &kv, &error) != 0) {
        return fail("get", &error);
    }
    int code = dynalock_kv_bytes(kv, &bytes, &length, &error);
    int same = code == 0 && length == 5 && memcmp(bytes, "value", 5) == 0;
    dynalock_kv_free(kv);
    return same ? 0 : fail("the value is another", &error);
}

static int use_lock(dynalock_store *store)
{
    dynalock_error error;
    dynalock_lock *lock = NULL;
    if (dynalock_lock_new(store, "lock", NULL, &lock, &error) != 0) {
        return fail("lock_new", &error);
    }
    int code = dynalock_lock_acquire(lock, -1, 20000, &error);
    if (code == 0) {
        code = dynalock_lock_release(lock, &error);
    }
    dynalock_lock_free(lock);
    return code == 0 ? 0 : fail("acquire and release", &error);
}

static int use_table(const char *table)
{
    dynalock_error error;
    dynalock_store *store = NULL;
    if (dynalock_open(table, "consumer", NULL, &store, &error) != 0) {
        return fail("open", &error);
    }
    int failed = dynalock_table_create(store, 0, NULL, &error) != 0
                     ? fail("table_create", &error)
                     : use_records(store) != 0 || use_lock(store) != 0;
    (void)dynalock_close(store);
    return failed;
}

int main(int argc, char **argv)
{
    dynalock_error error;
    dynalock_store *store = NULL;
    if (dynalock_open("", "", NULL, &store, &error) != DYNALOCK_ERR_ARGUMENT) {
        fprintf(stderr, "A table without a name was not refused\n");
        return 1;
    }
    if (strcmp(dynalock_version(), DYNALOCK_VERSION) != 0) {
        fprintf(stderr, "header %s, library %s\n", DYNALOCK_VERSION, dynalock_version());
        return 1;
    }
    return argc > 1 ? use_table(argv[1]) : 0;
}
