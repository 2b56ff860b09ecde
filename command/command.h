/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the command share. */
#ifndef COMMAND_H
#define COMMAND_H

#include <dynalock.h>

/* dynalock(1), EXIT STATUS */
enum exit_code {
    EXIT_OK = 0,
    EXIT_NOT_FOUND = 1,
    EXIT_CONDITION = 2,
    EXIT_USAGE = 64,
    EXIT_SERVICE = 69,
    EXIT_SYSTEM = 70,
    EXIT_NOT_ACQUIRED = 75,
    EXIT_LOST = 76,
    EXIT_CANNOT_EXECUTE = 126,
    EXIT_NO_COMMAND = 127,
    EXIT_SIGNAL = 128 /* + its number */
};

/* The global options. */
struct settings {
    const char *table;
    bool table_given;      /* by --table */
    const char *partition; /* NULL: the subcommand's */
    const char *endpoint;  /* this and the next two: NULL: the library's default */
    const char *region;
    const char *profile;
    bool verbose;
    bool json;
    const char *usage; /* what --help prints */
};

/* ---- main.c: the subcommands. argv[0] is the subcommand's name; what is returned is the exit status. ---- */

struct subcommand {
    const char *name;
    int (*run)(struct settings *settings, int argc, char **argv);
    const char *usage; /* what `dynalock NAME --help` prints */
};

int command_run(struct settings *settings, int argc, char **argv);    /* run.c */
int command_put(struct settings *settings, int argc, char **argv);    /* put.c */
int command_get(struct settings *settings, int argc, char **argv);    /* records.c */
int command_exists(struct settings *settings, int argc, char **argv); /* and these too */
int command_rm(struct settings *settings, int argc, char **argv);
int command_ls(struct settings *settings, int argc, char **argv);
int command_locks(struct settings *settings, int argc, char **argv);   /* locks.c */
int command_break(struct settings *settings, int argc, char **argv);   /* break.c */
int command_init(struct settings *settings, int argc, char **argv);    /* init.c */
int command_doctor(struct settings *settings, int argc, char **argv);  /* doctor.c */
int command_version(struct settings *settings, int argc, char **argv); /* version.c */

/* ---- settings.c ---- */

struct option; /* getopt.h */

/* getopt_long with the subcommand's own options (ended by {0}; short options as text) and the global ones, which it
 * takes to settings. -1: at the end of the options, optind is at the first argument. '?': wrong, and said so;
 * 'h': --help, and printed. Else the val of an own option, with optarg: a letter other than v and h, or 256 to 999.
 * With "+" before own_short, the first argument ends the options. */
int settings_option(struct settings *settings, int argc, char **argv, const char *own_short,
                    const struct option *own_long);
/* The same where there are no own options, to the end. -1, or the exit status. */
int settings_no_option(struct settings *settings, int argc, char **argv);

/* Whether there are as many arguments as that after the options; else says so. -1, or EXIT_USAGE. what: "a KEY". */
int settings_arguments(int argc, char **argv, int least, int most, const char *what);

/* Of the environment. NULL: not set, or empty, or this program is set-user-id: then who calls it has set it. */
const char *settings_variable(const char *name);

/* A version as it stands in an option. False, and said so: it is none. */
bool settings_version(const char *option, const char *text, int64_t *version);

/* Opens the store; partition: where the settings name none. log, which may be NULL, gets the events as well as -v and
 * DYNALOCK_LOG do. 0; or says what is wrong, and returns an exit code. */
int settings_open(const struct settings *settings, const char *partition, dynalock_log_fn log,
                  void *context, dynalock_store **store);

/* The same, and says nothing: 0, or what dynalock_open may fail with. */
int settings_try_open(const struct settings *settings, const char *partition, dynalock_log_fn log,
                      void *context, dynalock_store **store, dynalock_error *error);

#define PARTITION_OF_LOCKS "Lock"
#define PARTITION_OF_RECORDS "default"

/* ---- log.c ---- */

/* What -v and DYNALOCK_LOG ask for is told, and log, which may be NULL, called. Sets what dynalock_options shall have;
 * one store at a time. 0 or DYNALOCK_ERR_SYSTEM. */
int log_open(const struct settings *settings, dynalock_log_fn log, void *context,
             dynalock_options *options, dynalock_error *error);

/* ---- report.c: what goes wrong ---- */

/* One line on standard error: "dynalock: " and what printf would make of it. */
__attribute__((format(printf, 1, 2))) void complain(const char *format, ...);
/* The same, and EXIT_USAGE. */
__attribute__((format(printf, 1, 2))) int complain_usage(const char *format, ...);
/* "dynalock: WHAT: the error's message", and what to do where that is known; NULL: without WHAT. The exit code for
 * error->code. */
int report(const char *what, const dynalock_error *error);
/* What the advice has to name: a table that was given by --table, or NULL; the partition. */
void report_about(const char *table, const char *partition);
/* " --table NAME", or "". */
const char *report_table(void);

/* ---- duration.c ---- */

#define DURATION_MAX_MS (INT64_C(100) * 365 * 86400000) /* no sum with it overflows */

/* "500ms", "20s", "5m", "2h", "1d"; whole numbers. False: it is none, or over DURATION_MAX_MS. */
bool duration_parse(const char *text, int64_t *ms);
/* "3m 12s" and so on, for people. */
void duration_print(int64_t ms, char *text, size_t size);
/* Of an option, of min_ms at the least and max_ms at the most. False, and said so: it is none, or not of these. */
bool duration_option(const char *option, const char *text, int64_t min_ms, int64_t max_ms,
                     int64_t *ms);

/* ---- text.c ---- */

/* Writes text with its control characters as \n, \t, \x1b and so on: what others have written can neither end a line
 * nor speak to a terminal. */
void text_escape(const char *text, char *escaped, size_t size);
/* "2026-11-23T13:02:40Z", or with milliseconds. */
#define TIME_SIZE 40
void text_time(int64_t ms, bool with_ms, char text[TIME_SIZE]);
/* The host's clock, since 1970. */
int64_t time_now_ms(void);
/* One that is never set, to measure by. */
int64_t time_passed_us(void);

/* ---- holders.c: who holds what ---- */

struct json_t; /* jansson.h */

/* The service's clock, as well as it is known. */
int64_t holder_now_ms(dynalock_store *store);
/* Since when it is held: the token is the time of the acquisition, unless the versions had run ahead of that. 0: not
 * known. */
int64_t holder_since_ms(int64_t token, int64_t now_ms);
#define HOLDER_COLUMNS                                       \
    {                                                        \
        "KEY", "HOLDER", "TOKEN", "HELD SINCE", "LEASE LEFT" \
    }
struct columns;
bool holder_add(struct columns *columns, const dynalock_kv *kv, int64_t now_ms);
struct json_t *holder_json(const dynalock_kv *kv, int64_t now_ms);

/* ---- put.c ---- */

/* Says so; EXIT_CONDITION. */
int version_changed(const char *key, int64_t asked, int64_t found);

/* ---- columns.c ---- */

/* Rows under a heading, in columns as wide as they need, printed some at a time. All zero but the heading at first. */
#define COLUMNS_MAX 5
#define COLUMNS_ROWS 512
struct columns_row {
    char *cells[COLUMNS_MAX];
};
struct columns {
    const char *heading[COLUMNS_MAX]; /* NULL: no more columns */
    struct columns_row *row;
    size_t rows;
    int width[COLUMNS_MAX];
    bool headed;
};

/* False, and said so: out of memory. Control characters are escaped. */
bool columns_add(struct columns *columns, const char *const *cells);
void columns_print(
    struct columns *columns); /* what has not been yet; under the heading, in any case */
void columns_free(struct columns *columns);

/* ---- json.c ---- */

/* Prints value and a newline; reals in the shortest form that reads back as the same number. EXIT_OK, or says what is
 * wrong. Takes the reference; NULL is for want of memory. */
int json_print(struct json_t *value);
/* An object's "expires_ms": null for never. */
struct json_t *json_expiry(int64_t expires_ms);

#endif
