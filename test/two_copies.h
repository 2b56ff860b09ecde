/* SPDX-License-Identifier: Apache-2.0 */
/* A user of a copy of the library; two_copies_user.c makes one of each copy that it is compiled with. */
#ifndef TEST_TWO_COPIES_H
#define TEST_TWO_COPIES_H

#include <stdbool.h>
#include <stdint.h>

struct copy_store;

struct copy {
    const char *(*version)(void); /* the library's own function */
    struct copy_store *(*open)(const char *table, const char *partition, const char *endpoint);
    /* A lock of the name: what dynalock_lock_acquire, without waiting, and _release return. */
    int (*take)(struct copy_store *s, const char *key);
    int (*give_back)(struct copy_store *s);
    int (*renewals)(struct copy_store *s); /* how many there were so far */
    bool (*holds)(struct copy_store *s);
    void (*close)(struct copy_store *s);
};

extern const struct copy linked_copy;   /* of the library the program is linked with */
extern const struct copy vendored_copy; /* of the source that was taken in */

#endif
