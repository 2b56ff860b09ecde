/* SPDX-License-Identifier: Apache-2.0 */
/* locks: who holds what, once or all the time. */
#include "command.h"

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* One listing. */
struct locks {
    dynalock_store *store;
    const char *prefix;
    bool json;
    struct columns columns;
};

static int locks_print(dynalock_kv *kv, void *context)
{
    struct locks *locks = context;
    int64_t now_ms = holder_now_ms(locks->store);
    if (locks->json) {
        return json_print(holder_json(kv, now_ms));
    }
    return holder_add(&locks->columns, kv, now_ms) ? 0 : EXIT_SYSTEM;
}

/* A code, or an exit status greater than 0. */
static int locks_list(struct locks *locks, dynalock_error *error)
{
    locks->columns = (struct columns){.heading = HOLDER_COLUMNS};
    int code = dynalock_list_each(locks->store, locks->prefix, NULL, locks_print, locks, error);
    if (!locks->json && (code >= 0 || locks->columns.rows > 0)) {
        columns_print(&locks->columns);
    }
    columns_free(&locks->columns);
    return code;
}

/* ---- --watch on a terminal ---- */

static int watch_draw(struct locks *locks, const struct settings *settings, dynalock_error *error)
{
    char now[TIME_SIZE];
    text_time(time_now_ms(), false, now);
    /* To the first line, and all that is there removed: in one piece with what follows, so that nothing flickers. */
    (void)printf("\033[H\033[JLocks of table %s, %s\n\n", settings->table, now);
    return locks_list(locks, error);
}

/* ---- --watch elsewhere: what has changed ---- */

struct watched {
    char *key;
    char *holder; /* NULL: a Go client, say */
    int64_t token;
    json_t *json; /* NULL: not asked for */
};

struct watch {
    struct locks *locks;
    struct watched *seen; /* in the order of their keys */
    size_t count;
    size_t room;
};

static void watch_forget(struct watch *watch)
{
    for (size_t i = 0; i < watch->count; i++) {
        free(watch->seen[i].key);
        free(watch->seen[i].holder);
        json_decref(watch->seen[i].json);
    }
    free(watch->seen);
    *watch = (struct watch){.locks = watch->locks};
}

static bool watch_grow(struct watch *watch)
{
    if (watch->count < watch->room) {
        return true;
    }
    size_t room = 2 * watch->room + 16;
    struct watched *seen = realloc(watch->seen, room * sizeof *seen);
    if (seen != NULL) {
        watch->seen = seen;
        watch->room = room;
    }
    return seen != NULL;
}

static int watch_see(dynalock_kv *kv, void *context)
{
    struct watch *watch = context;
    const char *holder = dynalock_kv_holder(kv);
    bool kept = watch_grow(watch);
    if (kept) {
        struct watched *one = &watch->seen[watch->count++];
        *one = (struct watched){.key = strdup(dynalock_kv_key(kv)),
                                .holder = holder != NULL ? strdup(holder) : NULL,
                                .token = dynalock_kv_token(kv)};
        if (watch->locks->json) {
            one->json = holder_json(kv, holder_now_ms(watch->locks->store));
        }
        kept = one->key != NULL && (holder == NULL || one->holder != NULL) &&
               (!watch->locks->json || one->json != NULL);
    }
    if (!kept) {
        complain("out of memory");
    }
    return kept ? 0 : EXIT_SYSTEM;
}

static int watch_tell_json(const struct watched *one, bool held)
{
    json_t *object = json_pack("{s:I, s:s}", "time_ms", (json_int_t)time_now_ms(), "change",
                               held ? "held" : "free");
    if (object != NULL && (held ? json_object_update(object, one->json)
                                : json_object_set_new(object, "key", json_string(one->key))) != 0) {
        json_decref(object);
        object = NULL;
    }
    return json_print(object);
}

static void watch_tell(const struct watch *watch, const struct watched *one, bool held)
{
    char now[TIME_SIZE];
    char key[8192];
    char holder[8192];
    if (watch->locks->json) {
        (void)watch_tell_json(one, held);
        return;
    }
    text_time(time_now_ms(), false, now);
    text_escape(one->key, key, sizeof key);
    text_escape(one->holder != NULL ? one->holder : "-", holder, sizeof holder);
    if (!held) {
        (void)printf("%s %s is free\n", now, key);
    } else if (one->holder == NULL) {
        (void)printf("%s %s is held\n", now, key);
    } else {
        (void)printf("%s %s is held by %s, token %" PRId64 "\n", now, key, holder, one->token);
    }
}

static void watch_compare(const struct watch *before, const struct watch *after)
{
    size_t i = 0;
    size_t j = 0;
    while (i < before->count || j < after->count) {
        int order = i == before->count  ? 1
                    : j == after->count ? -1
                                        : strcmp(before->seen[i].key, after->seen[j].key);
        if (order < 0) {
            watch_tell(after, &before->seen[i++], false);
        } else if (order > 0) {
            watch_tell(after, &after->seen[j++], true);
        } else if (before->seen[i++].token != after->seen[j++].token) {
            watch_tell(after, &after->seen[j - 1], true);
        }
    }
}

/* Lists, and tells in what that differs from *before, which it replaces. */
static int watch_changes(struct watch *before, dynalock_error *error)
{
    struct locks *locks = before->locks;
    struct watch after = {.locks = locks};
    int code = dynalock_list_each(locks->store, locks->prefix, NULL, watch_see, &after, error);
    if (code != 0) {
        watch_forget(&after);
        return code;
    }
    watch_compare(before, &after);
    watch_forget(before);
    *before = after;
    return 0;
}

static int locks_watch(struct locks *locks, const struct settings *settings)
{
    struct watch watch = {.locks = locks};
    bool draw = !locks->json && isatty(STDOUT_FILENO);
    int code = 0;
    dynalock_error error;
    for (;;) {
        code = draw ? watch_draw(locks, settings, &error) : watch_changes(&watch, &error);
        if (fflush(stdout) != 0 || ferror(stdout)) {
            break; /* main says why */
        }
        if (code > 0 || (code < 0 && (error.flags & DYNALOCK_ERROR_RETRYABLE) == 0)) {
            break;
        }
        if (code < 0) {
            (void)report(NULL, &error); /* and it may pass */
        }
        (void)nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    }
    watch_forget(&watch);
    return code < 0 ? report(NULL, &error) : code;
}

int command_locks(struct settings *settings, int argc, char **argv)
{
    static const struct option own[] = {{"watch", no_argument, NULL, 256}, {NULL, 0, NULL, 0}};
    struct locks locks = {.store = NULL};
    dynalock_error error;
    bool watch = false;
    int option;
    while ((option = settings_option(settings, argc, argv, "", own)) == 256) {
        watch = true;
    }
    if (option != -1) {
        return option == 'h' ? EXIT_OK : EXIT_USAGE;
    }
    int status = settings_arguments(argc, argv, 0, 1, "a PREFIX");
    if (status != -1) {
        return status;
    }
    locks.prefix = argv[optind];
    locks.json = settings->json;
    status = settings_open(settings, PARTITION_OF_LOCKS, NULL, NULL, &locks.store);
    if (status == EXIT_OK && watch) {
        status = locks_watch(&locks, settings);
    } else if (status == EXIT_OK) {
        status = locks_list(&locks, &error);
        status = status < 0 ? report(NULL, &error) : status;
    }
    (void)dynalock_close(locks.store);
    return status;
}
