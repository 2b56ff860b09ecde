/* SPDX-License-Identifier: Apache-2.0 */
/* init: the table is created, or verified. */
#include "command.h"

#include <jansson.h>
#include <stdio.h>

static int init_print(const struct settings *settings, const dynalock_table_report *report)
{
    if (settings->json) {
        return json_print(json_pack("{s:s, s:b, s:b, s:s?}", "table", settings->table, "created",
                                    report->created, "ttl", report->ttl == DYNALOCK_TTL_ENABLED,
                                    "warning",
                                    report->message[0] != '\0' ? report->message : NULL));
    }
    (void)printf("table %s: %s\nkeys: id (S), name (S)\n", settings->table,
                 report->created ? "created" : "exists");
    if (report->ttl == DYNALOCK_TTL_ENABLED) {
        (void)printf("time to live: on for expires\n");
    } else {
        (void)printf("time to live: warning: %s\n", report->message);
    }
    return EXIT_OK;
}

int command_init(struct settings *settings, int argc, char **argv)
{
    dynalock_store *store = NULL;
    dynalock_table_report table;
    dynalock_error error;
    int status = settings_no_option(settings, argc, argv);
    if (status == -1) {
        status = settings_arguments(argc, argv, 0, 0, "nothing");
    }
    if (status != -1) {
        return status;
    }
    status = settings_open(settings, PARTITION_OF_LOCKS, NULL, NULL, &store);
    if (status == EXIT_OK) {
        status = dynalock_table_create(store, 0, &table, &error) == 0
                     ? init_print(settings, &table)
                     : report(settings->table, &error);
    }
    (void)dynalock_close(store);
    return status;
}
