/* SPDX-License-Identifier: Apache-2.0 */
/* break: a lock's record is shown, and exactly that removed. */
#include "command.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char break_warning[] =
    "The holder notices with its next renewal only: what it does under the lock may go on until then.";

/* A terminal to ask on; NULL: there is none. */
static FILE *break_terminal(void)
{
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC);
    if (fd < 0 && isatty(STDIN_FILENO)) {
        fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    }
    return fd < 0 ? NULL : fdopen(fd, "r");
}

static bool break_is_wanted(FILE *terminal)
{
    char question[256];
    char answer[16] = "";
    int length = snprintf(question, sizeof question, "%s\nRemove it? [y/N] ", break_warning);
    (void)!write(fileno(terminal), question, (size_t)length);
    return fgets(answer, sizeof answer, terminal) != NULL &&
           (strcmp(answer, "y\n") == 0 || strcmp(answer, "Y\n") == 0 ||
            strcmp(answer, "yes\n") == 0);
}

static int break_show(const struct settings *settings, dynalock_store *store, const dynalock_kv *kv)
{
    int64_t now_ms = holder_now_ms(store);
    int status = EXIT_OK;
    if (settings->json) {
        status = json_print(holder_json(kv, now_ms));
    } else {
        struct columns columns = {.heading = HOLDER_COLUMNS};
        status = holder_add(&columns, kv, now_ms) ? EXIT_OK : EXIT_SYSTEM;
        columns_print(&columns);
        columns_free(&columns);
    }
    (void)fflush(stdout);
    return status;
}

/* Whether it is the same holder's, who has but renewed it. */
static bool break_is_renewed(const dynalock_kv *shown, const dynalock_kv *now)
{
    return dynalock_kv_holder(shown) != NULL && dynalock_kv_holder(now) != NULL &&
           dynalock_kv_token(shown) == dynalock_kv_token(now) &&
           strcmp(dynalock_kv_holder(shown), dynalock_kv_holder(now)) == 0;
}

/* A holder renews every few seconds, and thinking takes longer: what is removed is the record of the tenure shown, as
 * it is now. */
static int break_remove(dynalock_store *store, const dynalock_kv *shown, dynalock_error *error)
{
    const char *key = dynalock_kv_key(shown);
    int code = dynalock_atomic_delete(store, key, shown, error);
    for (int tries = 0; code == DYNALOCK_ERR_MODIFIED && tries < 5; tries++) {
        dynalock_kv *now = NULL;
        dynalock_error again;
        int found = dynalock_get(store, key, NULL, &now, &again);
        if (found != 0) {
            *error = again;
            return found;
        }
        if (!break_is_renewed(shown, now)) {
            dynalock_kv_free(now);
            return code;
        }
        code = dynalock_atomic_delete(store, key, now, error);
        dynalock_kv_free(now);
    }
    return code;
}

static int break_report(const char *key, int code, const dynalock_error *error)
{
    if (code == DYNALOCK_ERR_MODIFIED) {
        complain("%s: not removed: the record has changed meanwhile; see dynalock locks", key);
        return EXIT_CONDITION;
    }
    /* It is gone, by this call or another's, where an answer was lost. */
    if (code == DYNALOCK_ERR_NOT_FOUND && (error->flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN) != 0) {
        return EXIT_OK;
    }
    return code == 0 ? EXIT_OK : report(key, error);
}

/* terminal: NULL: without asking. */
static int break_lock(const struct settings *settings, dynalock_store *store, const char *key,
                      FILE *terminal)
{
    dynalock_kv *kv = NULL;
    dynalock_error error;
    if (dynalock_get(store, key, NULL, &kv, &error) != 0) {
        return report(key, &error);
    }
    int status = break_show(settings, store, kv);
    if (status == EXIT_OK && terminal != NULL && !break_is_wanted(terminal)) {
        complain("%s: not removed", key);
        status = EXIT_CONDITION;
    } else if (status == EXIT_OK) {
        int code = break_remove(store, kv, &error);
        status = break_report(key, code, &error);
        if (status == EXIT_OK && !settings->json) {
            (void)printf("removed%s%s\n", terminal == NULL ? ". " : "",
                         terminal == NULL ? break_warning : "");
        }
    }
    dynalock_kv_free(kv);
    return status;
}

int command_break(struct settings *settings, int argc, char **argv)
{
    static const struct option own[] = {{"yes", no_argument, NULL, 256}, {NULL, 0, NULL, 0}};
    dynalock_store *store = NULL;
    FILE *terminal = NULL;
    bool ask = true;
    int option;
    while ((option = settings_option(settings, argc, argv, "", own)) == 256) {
        ask = false;
    }
    if (option != -1) {
        return option == 'h' ? EXIT_OK : EXIT_USAGE;
    }
    int status = settings_arguments(argc, argv, 1, 1, "a KEY");
    if (status != -1) {
        return status;
    }
    if (ask && (terminal = break_terminal()) == NULL) {
        return complain_usage("break: there is no terminal to ask on; --yes does without");
    }
    status = settings_open(settings, PARTITION_OF_LOCKS, NULL, NULL, &store);
    if (status == EXIT_OK) {
        status = break_lock(settings, store, argv[optind], terminal);
    }
    (void)dynalock_close(store);
    if (terminal != NULL) {
        (void)fclose(terminal);
    }
    return status;
}
