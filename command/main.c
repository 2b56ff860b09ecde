/* SPDX-License-Identifier: Apache-2.0 */
/* dynalock: the library's records and locks, for the shell. See dynalock(1). */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char main_usage[] =
    "usage: dynalock [OPTION ...] SUBCOMMAND [ARGUMENT ...]\n"
    "\n"
    "  init     create the table, or verify it\n"
    "  run      run a command while holding a lock\n"
    "  put      write a record\n"
    "  get      print a record's value\n"
    "  exists   tell by the exit status whether there is a record\n"
    "  rm       remove a record\n"
    "  ls       list records\n"
    "  locks    list locks: who holds what\n"
    "  break    remove a lock's record, whoever holds it\n"
    "  doctor   tell what works and what does not\n"
    "  version  print versions\n"
    "\n"
    "Options, before or after the subcommand:\n"
    "  --table NAME          default: DYNALOCK_TABLE, then dynalock\n"
    "  --partition NAME      default: DYNALOCK_PARTITION, then Lock for locks, default for records\n"
    "  --endpoint-url URL    default: the environment's, the profile's, the region's\n"
    "  --region NAME         default: the environment's, the profile's, the instance's\n"
    "  --profile NAME        of ~/.aws/config and ~/.aws/credentials\n"
    "  --json                JSON, where something is printed: an object a line\n"
    "  -v, --verbose         tell on standard error what goes on\n"
    "  -h, --help            this, or what SUBCOMMAND takes; so does `dynalock help SUBCOMMAND`\n"
    "  -V, --version         before a subcommand only: as version\n"
    "\n"
    "DYNALOCK_LOG=FILE logs every exchange with the service, without secrets; `-`: to standard error.\n"
    "Exit status: 0 done, 1 not found, 2 condition failed, 64 usage, 69 service, 70 system,\n"
    "75 lock not acquired, 76 lock lost. More: man dynalock\n";

static const struct subcommand subcommands[] = {
    {"init", command_init,
     "usage: dynalock init\n"
     "Creates the table, or verifies the one there is: its keys and its time to live.\n"},
    {"run", command_run,
     "usage: dynalock run KEY [OPTION ...] -- COMMAND [ARG ...]\n"
     "Waits for the lock KEY, and runs COMMAND while holding it. Exits as COMMAND does.\n"
     "  --ttl D         the lease; default 20s, at least 2s\n"
     "  --wait D        how long to wait for the lock; default: for ever\n"
     "  --try           do not wait\n"
     "  --poll D        between two tries; default 3s\n"
     "  --keep-record   leave the record when done: tokens then increase strictly\n"
     "  --holder TEXT   who holds it, for people; default: host, pid, time\n"
     "  --value TEXT    stored with the lock\n"
     "  -E N, --conflict-exit-code N   exit status if the lock is not acquired in time; default 75\n"},
    {"put", command_put,
     "usage: dynalock put KEY [VALUE | -] [OPTION ...]\n"
     "Writes a record. Without VALUE, or with -, its value is standard input.\n"
     "  --ttl D             it expires after so long: 500ms, 20s, 5m, 2h, 1d; default: never\n"
     "  --no-expiry         it never expires; takes an expiry away with --if-version\n"
     "  --if-absent         only if there is no such record; else exits with 2\n"
     "  --if-version N      only if the record has this version; else exits with 2\n"
     "  --json-value        the value is JSON, and stored as such\n"
     "  --json              with --if-absent or --if-version: prints the new version\n"
     "  --attribute-value   the value is DynamoDB's attribute JSON, {\"N\":\"42\"}\n"},
    {"get", command_get,
     "usage: dynalock get KEY [--json]\n"
     "Prints the value's bytes and nothing else; with --json the record. 1: there is none.\n"},
    {"exists", command_exists,
     "usage: dynalock exists KEY\n"
     "Exits with 0 if there is such a record, with 1 if there is none.\n"},
    {"rm", command_rm,
     "usage: dynalock rm KEY [--if-version N]\n"
     "Removes a record. There being none is an error (1) only with --if-version.\n"},
    {"ls", command_ls,
     "usage: dynalock ls [PREFIX] [--json]\n"
     "Lists the records whose key begins with PREFIX: key, version, expiry, size\n"
     "where the value is bytes.\n"},
    {"locks", command_locks,
     "usage: dynalock locks [PREFIX] [--watch] [--json]\n"
     "Lists who holds what: key, holder, token, since when, how long that may last.\n"
     "  --watch   on a terminal, every second anew; elsewhere, a line for each change\n"},
    {"break", command_break,
     "usage: dynalock break KEY [--yes]\n"
     "Shows the lock's record and removes exactly that, after asking. The holder notices with\n"
     "its next renewal; until then its work may go on beside that of the next holder.\n"
     "  --yes   without asking\n"},
    {"doctor", command_doctor,
     "usage: dynalock doctor [--json]\n"
     "Tries, step by step, what dynalock needs: settings, credentials, connection, clock, table,\n"
     "time to live, a lock, round trips. Exits with 0 if nothing failed.\n"},
    {"version", command_version,
     "usage: dynalock version [--json]\n"
     "Prints the versions of the command and of the libraries.\n"},
};

static const struct subcommand *main_find(const char *name)
{
    for (size_t i = 0; i < sizeof subcommands / sizeof subcommands[0]; i++) {
        if (strcmp(subcommands[i].name, name) == 0) {
            return &subcommands[i];
        }
    }
    return NULL;
}

/* Sees to it that no file or socket becomes standard input, output or error where these are closed: what is put there
 * is open the wrong way round, and closed in a child. */
static bool main_standard_files(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", (fd == 0 ? O_WRONLY : O_RDONLY) | O_CLOEXEC) != fd) {
            return false;
        }
    }
    return true;
}

static int main_subcommand(struct settings *settings, int argc, char **argv)
{
    const struct subcommand *subcommand = main_find(argv[0]);
    if (subcommand == NULL) {
        return complain_usage("no such subcommand: %s; see dynalock --help", argv[0]);
    }
    settings->usage = subcommand->usage;
    optind = 0; /* from the start; 0 and not 1, for getopt keeps more to itself */
    return subcommand->run(settings, argc, argv);
}

static int main_run(int argc, char **argv)
{
    static const struct option own[] = {{"version", no_argument, NULL, 'V'}, {NULL, 0, NULL, 0}};
    const char *table = settings_variable("DYNALOCK_TABLE");
    struct settings settings = {.table = table != NULL ? table : "dynalock",
                                .partition = settings_variable("DYNALOCK_PARTITION"),
                                .usage = main_usage};
    char *version[] = {"version", NULL};
    switch (settings_option(&settings, argc, argv, "+V", own)) {
    case '?': return EXIT_USAGE;
    case 'h': return EXIT_OK;
    case 'V': return main_subcommand(&settings, 1, version);
    default: break;
    }
    if (optind >= argc) {
        (void)fputs(main_usage, stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[optind], "help") == 0) {
        char *asked[] = {optind + 1 < argc ? argv[optind + 1] : NULL, "--help", NULL};
        if (asked[0] != NULL) {
            return main_subcommand(&settings, 2, asked);
        }
        (void)fputs(main_usage, stdout);
        return EXIT_OK;
    }
    return main_subcommand(&settings, argc - optind, argv + optind);
}

int main(int argc, char **argv)
{
    if (!main_standard_files()) {
        return EXIT_SYSTEM;
    }
    int status = main_run(argc, argv);
    bool failed = ferror(stdout) != 0;
    if (fclose(stdout) != 0) {
        failed = true;
    }
    if (failed) {
        complain("standard output: %s", strerror(errno));
        return status == EXIT_OK ? EXIT_SYSTEM : status;
    }
    return status;
}
