/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fencing token at work. A lease cannot stop a holder that stood still and goes on too late; the resource can: here
 * a file, whose writer refuses a token smaller than the greatest it saw. The late holder is played by this program:
 * its first lock is not renewed, and it writes once more when the second lock has taken over.
 *
 * usage: fencing FILE [TABLE]
 *
 * Region, endpoint and credentials come from the environment. The table (default: dynalock-demo) must be there.
 */
#define _POSIX_C_SOURCE 200809L

#include <dynalock.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Ends the program with what went wrong. */
static void must(int code, const dynalock_error *error)
{
    if (code != 0) {
        fprintf(stderr, "%s\n", error->message);
        exit(1);
    }
}

/* The greatest token that has written, which the file begins with; 0 where there is none. */
static int64_t greatest_token(int fd)
{
    char text[32];
    ssize_t length = pread(fd, text, sizeof text - 1, 0);
    if (length <= 0) {
        return 0;
    }
    text[length] = '\0';
    return strtoll(text, NULL, 10);
}

/* 1: written; 0: refused, for another with a later token has been here; -1: see errno. */
static int guarded_write(const char *path, int64_t token, const char *text)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -1;
    }
    int result = -1;
    /* To compare and to write must be one step: the file is locked meanwhile. */
    if (fcntl(fd, F_SETLKW, &whole) == 0) {
        result = token >= greatest_token(fd);
        if (result == 1 &&
            (ftruncate(fd, 0) != 0 || dprintf(fd, "%" PRId64 "\n%s\n", token, text) < 0)) {
            result = -1;
        }
    }
    return close(fd) == 0 ? result : -1;
}

static void write_and_tell(const char *path, dynalock_lock *lock, const char *who)
{
    const int64_t token = dynalock_lock_token(lock);
    int result = guarded_write(path, token, who);
    if (result < 0) {
        perror(path);
        exit(1);
    }
    printf("%s, token %" PRId64 ": %s\n", who, token, result == 1 ? "written" : "refused");
}

static dynalock_lock *acquire(dynalock_store *store, const dynalock_lock_options *options)
{
    dynalock_lock *lock = NULL;
    dynalock_error error;
    must(dynalock_lock_new(store, "fencing", options, &lock, &error), &error);
    must(dynalock_lock_acquire(lock, -1, -1, &error), &error);
    return lock;
}

int main(int argc, char **argv)
{
    dynalock_store *store = NULL;
    dynalock_error error;
    /* keep_record: released, the record stays, and tokens increase strictly whatever clocks do. */
    const dynalock_lock_options paused = {
        .ttl_ms = 2000, .keep_record = true, .renewal = DYNALOCK_RENEWAL_NONE};
    const dynalock_lock_options renewed = {.ttl_ms = 5000, .poll_ms = 1000, .keep_record = true};
    if (argc < 2) {
        fprintf(stderr, "usage: fencing FILE [TABLE]\n");
        return 2;
    }
    must(dynalock_open(argc > 2 ? argv[2] : "dynalock-demo", "fencing", NULL, &store, &error),
         &error);

    dynalock_lock *early = acquire(store, &paused);
    write_and_tell(argv[1], early, "the first holder");
    /* It stands still now, so it neither renews nor looks; its lease ends, and another takes over. */
    dynalock_lock *late = acquire(store, &renewed);
    write_and_tell(argv[1], late, "the second holder");
    write_and_tell(argv[1], early, "the first holder, late");

    must(dynalock_lock_release(late, &error), &error);
    dynalock_lock_free(late);
    dynalock_lock_free(early);
    (void)dynalock_close(store);
    return 0;
}
