/* SPDX-License-Identifier: Apache-2.0 */
/* A program that takes one lock, says so by a byte on its standard output, and ends. */
#include <dynalock.h>
#include <stdlib.h>
#include <unistd.h>

int main(void)
{
    const char *ca_file = getenv("BENCH_CA");
    dynalock_options options = {.region = "us-east-1",
                                .endpoint = getenv("BENCH_URL"),
                                .access_key_id = "AKIDBENCHBENCHBENCHB",
                                .secret_access_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYBENCHBENCH",
                                .ca_file = ca_file != NULL && *ca_file != '\0' ? ca_file : NULL};
    dynalock_store *store = NULL;
    dynalock_lock *lock = NULL;
    if (dynalock_open("bench", "bench", &options, &store, NULL) != 0 ||
        dynalock_lock_new(store, "lock-0123456789", NULL, &lock, NULL) != 0 ||
        dynalock_lock_acquire(lock, -1, 0, NULL) != 0) {
        return 1;
    }
    _exit(write(STDOUT_FILENO, "x", 1) != 1);
}
