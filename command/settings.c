/* SPDX-License-Identifier: Apache-2.0 */
/* The global options, before and after the subcommand, and the store they make. */
#include "command.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/auxv.h>
#endif

enum {
    GLOBAL_TABLE = 1000,
    GLOBAL_PARTITION,
    GLOBAL_ENDPOINT,
    GLOBAL_REGION,
    GLOBAL_PROFILE,
    GLOBAL_JSON
};

static const struct option settings_global[] = {
    {"table", required_argument, NULL, GLOBAL_TABLE},
    {"partition", required_argument, NULL, GLOBAL_PARTITION},
    {"endpoint-url", required_argument, NULL, GLOBAL_ENDPOINT},
    {"region", required_argument, NULL, GLOBAL_REGION},
    {"profile", required_argument, NULL, GLOBAL_PROFILE},
    {"verbose", no_argument, NULL, 'v'},
    {"json", no_argument, NULL, GLOBAL_JSON},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* Longer than an attempt: what one that is under way may win is removed. */
#define SETTINGS_CLOSE_MS 8000

#define SETTINGS_GLOBAL (sizeof settings_global / sizeof settings_global[0])
#define SETTINGS_OPTIONS (SETTINGS_GLOBAL + 16)

static bool settings_take(struct settings *settings, int option)
{
    switch (option) {
    case GLOBAL_TABLE:
        settings->table = optarg;
        settings->table_given = true;
        return true;
    case GLOBAL_PARTITION: settings->partition = optarg; return true;
    case GLOBAL_ENDPOINT: settings->endpoint = optarg; return true;
    case GLOBAL_REGION: settings->region = optarg; return true;
    case GLOBAL_PROFILE: settings->profile = optarg; return true;
    case 'v': settings->verbose = true; return true;
    case GLOBAL_JSON: settings->json = true; return true;
    default: return false;
    }
}

const char *settings_variable(const char *name)
{
#ifdef __linux__
    bool trusted = getauxval(AT_SECURE) == 0;
#else
    bool trusted = geteuid() == getuid() && getegid() == getgid();
#endif
    const char *value = trusted ? getenv(name) : NULL;
    return value != NULL && value[0] != '\0' ? value : NULL;
}

/* Own options and the global ones in one table. */
static void settings_merge(const char *own_short, const struct option *own_long, char *text,
                           size_t size, struct option all[SETTINGS_OPTIONS])
{
    size_t count = 0;
    while (own_long != NULL && own_long[count].name != NULL &&
           count < SETTINGS_OPTIONS - SETTINGS_GLOBAL) {
        all[count] = own_long[count];
        count++;
    }
    memcpy(all + count, settings_global, sizeof settings_global);
    bool in_order = own_short[0] == '+';
    (void)snprintf(text, size, "%s:hv%s", in_order ? "+" : "", own_short + in_order);
}

static int settings_wrong(const struct settings *settings, int option, char **argv)
{
    const char *last = argv[optind - 1];
    bool is_long = strncmp(last, "--", 2) == 0;
    if (option == ':') {
        complain("%s needs an argument", last);
    } else if (is_long && optopt != 0) {
        complain("%.*s takes no argument", (int)strcspn(last, "="), last);
    } else if (is_long || optopt == 0) {
        complain("no such option, or an ambiguous one: %s", last);
    } else {
        bool takes_key = strstr(settings->usage, " KEY") != NULL;
        complain("no such option: -%c%s", optopt,
                 takes_key ? "; a KEY that begins with - comes after --" : "");
    }
    return '?';
}

int settings_option(struct settings *settings, int argc, char **argv, const char *own_short,
                    const struct option *own_long)
{
    struct option all[SETTINGS_OPTIONS];
    char text[64];
    int option;
    settings_merge(own_short, own_long, text, sizeof text, all);
    opterr = 0;
    /* It would make options behind KEY arguments. It is COMMAND's all the same. */
    const char *posix = getenv("POSIXLY_CORRECT");
    char *kept = posix != NULL ? strdup(posix) : NULL;
    (void)unsetenv("POSIXLY_CORRECT");
    do {
        option = getopt_long(argc, argv, text, all, NULL);
    } while (settings_take(settings, option));
    if (kept != NULL) {
        (void)setenv("POSIXLY_CORRECT", kept, 1);
        free(kept);
    }
    if (option == 'h') {
        (void)fputs(settings->usage, stdout);
    }
    return option == '?' || option == ':' ? settings_wrong(settings, option, argv) : option;
}

int settings_no_option(struct settings *settings, int argc, char **argv)
{
    int option = settings_option(settings, argc, argv, "", NULL);
    return option == -1 ? -1 : option == 'h' ? EXIT_OK : EXIT_USAGE;
}

int settings_arguments(int argc, char **argv, int least, int most, const char *what)
{
    if (argc - optind < least) {
        return complain_usage("%s: %s is missing; see dynalock %s --help", argv[0], what, argv[0]);
    }
    if (argc - optind > most) {
        return complain_usage("%s: one argument too many: %s; see dynalock %s --help", argv[0],
                              argv[optind + most], argv[0]);
    }
    return -1;
}

bool settings_version(const char *option, const char *text, int64_t *version)
{
    char *end = NULL;
    errno = 0;
    intmax_t number = strtoimax(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || number > INT64_MAX || number < INT64_MIN) {
        complain_usage("%s: %s is no version: it is a whole number, as get --json and ls show it",
                       option, text);
        return false;
    }
    *version = number;
    return true;
}

int settings_try_open(const struct settings *settings, const char *partition, dynalock_log_fn log,
                      void *context, dynalock_store **store, dynalock_error *error)
{
    dynalock_options options = {.region = settings->region,
                                .endpoint = settings->endpoint,
                                .profile = settings->profile,
                                .close_timeout_ms = SETTINGS_CLOSE_MS};
    if (settings->partition != NULL) {
        partition = settings->partition;
    }
    report_about(settings->table_given ? settings->table : NULL, partition);
    int code = log_open(settings, log, context, &options, error);
    return code == 0 ? dynalock_open(settings->table, partition, &options, store, error) : code;
}

int settings_open(const struct settings *settings, const char *partition, dynalock_log_fn log,
                  void *context, dynalock_store **store)
{
    dynalock_error error;
    int code = settings_try_open(settings, partition, log, context, store, &error);
    return code == 0 ? EXIT_OK : report(NULL, &error);
}
