/* SPDX-License-Identifier: Apache-2.0 */
/* doctor: what dynalock needs is tried, step by step. */
#include "command.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DOCTOR_READS 5
#define DOCTOR_CLOCK_MS 2000 /* more than that is worth a warning */
#define DOCTOR_LEASE_MS 10000

enum doctor_status { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_FAILED };

struct doctor {
    struct settings *settings;
    dynalock_store *store;
    char key[48]; /* the doctor's own */
    int64_t start_us;
    bool failed;
};

/* ---- Steps ---- */

static void doctor_print(struct doctor *doctor, enum doctor_status status, const char *step,
                         const char *text, double ms)
{
    static const char *const words[] = {"ok", "warning", "FAILED"};
    static const char *const names[] = {"ok", "warning", "failed"};
    if (doctor->settings->json) {
        int printed = json_print(json_pack("{s:s, s:s, s:s, s:f}", "step", step, "status",
                                           names[status], "message", text, "ms", ms));
        doctor->failed = doctor->failed || printed != EXIT_OK;
    } else {
        (void)printf("%-8s %-13s %s (%.1f ms)\n", words[status], step, text, ms);
    }
    (void)fflush(stdout);
}

/* A step is over; the next one's time begins. False: it has failed. */
__attribute__((format(printf, 4, 5))) static bool doctor_step(struct doctor *doctor,
                                                              enum doctor_status status,
                                                              const char *step, const char *format,
                                                              ...)
{
    char text[1024];
    char escaped[sizeof text + 256];
    int64_t tenths = (time_passed_us() - doctor->start_us) / 100;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    text_escape(text, escaped, sizeof escaped);
    doctor_print(doctor, status, step, escaped, (double)tenths / 10);
    doctor->failed = doctor->failed || status == DOCTOR_FAILED;
    doctor->start_us = time_passed_us();
    return status != DOCTOR_FAILED;
}

static bool doctor_fail(struct doctor *doctor, const char *step, const dynalock_error *error)
{
    return doctor_step(doctor, DOCTOR_FAILED, step, "%s", error->message);
}

/* ---- What is tried, in this order; false: there is no use in going on ---- */

static bool doctor_settings(struct doctor *doctor)
{
    dynalock_store_info info;
    dynalock_error error;
    int code =
        settings_try_open(doctor->settings, PARTITION_OF_LOCKS, NULL, NULL, &doctor->store, &error);
    if (code == 0) {
        code = dynalock_store_describe(doctor->store, &info, &error);
    }
    if (code != 0) {
        return doctor_fail(doctor, code == DYNALOCK_ERR_CREDENTIALS ? "credentials" : "settings",
                           &error);
    }
    (void)doctor_step(doctor, DOCTOR_OK, "settings", "region %s, endpoint %s, profile %s, table %s",
                      info.region, info.endpoint, info.profile, doctor->settings->table);
    return doctor_step(doctor, DOCTOR_OK, "credentials", "to be had from: %s", info.credentials);
}

/* Which step it is that failed, of all that the first request takes. */
static const char *doctor_step_of(int code)
{
    switch (code) {
    case DYNALOCK_ERR_TLS: return "TLS";
    case DYNALOCK_ERR_CREDENTIALS:
    case DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE: return "credentials";
    case DYNALOCK_ERR_NETWORK:
    case DYNALOCK_ERR_TIMEOUT: return "connection";
    case DYNALOCK_ERR_NOT_AUTHORIZED: return "authorisation";
    case DYNALOCK_ERR_NO_TABLE:
    case DYNALOCK_ERR_BAD_TABLE: return "table";
    default: return "request";
    }
}

/* Whether DynamoDB itself has answered. */
static bool doctor_is_answered(const dynalock_error *error)
{
    return error->code == DYNALOCK_ERR_NO_TABLE || error->code == DYNALOCK_ERR_NOT_AUTHORIZED ||
           error->code == DYNALOCK_ERR_BAD_TABLE || error->code == DYNALOCK_ERR_REFUSED;
}

static bool doctor_connection(struct doctor *doctor)
{
    dynalock_store_info info;
    dynalock_error error = {.code = 0};
    bool exists = false;
    int code = dynalock_exists(doctor->store, doctor->key, NULL, &exists, &error);
    if (code != 0 && !doctor_is_answered(&error)) {
        return doctor_fail(doctor, doctor_step_of(code), &error);
    }
    bool tls = dynalock_store_describe(doctor->store, &info, NULL) == 0 &&
               strncmp(info.endpoint, "https:", 6) == 0;
    (void)doctor_step(doctor, DOCTOR_OK, "connection", "the service answers; %s",
                      tls ? "TLS, and its certificate is good"
                          : "without TLS: the endpoint is http");
    if (code == DYNALOCK_ERR_NOT_AUTHORIZED && strstr(error.name, "AccessDenied") != NULL) {
        (void)doctor_fail(doctor, "authorisation", &error); /* other operations may be allowed */
        return true;
    }
    if (code == DYNALOCK_ERR_NO_TABLE) {
        return doctor_step(doctor, DOCTOR_FAILED, "table", "%s; `dynalock init%s` creates it",
                           error.message, report_table());
    }
    return code == 0 || code == DYNALOCK_ERR_BAD_TABLE || code == DYNALOCK_ERR_REFUSED ||
           doctor_fail(doctor, doctor_step_of(code), &error);
}

static void doctor_clock(struct doctor *doctor)
{
    dynalock_store_info info;
    if (dynalock_store_describe(doctor->store, &info, NULL) != 0 || !info.clock_known) {
        (void)doctor_step(doctor, DOCTOR_WARNING, "clock", "the service's is not known: no Date");
        return;
    }
    /* Between the two lies what the difference is; a Date has whole seconds. */
    bool behind = info.clock_ahead_max_ms < 0;
    int64_t off_ms = behind                        ? -info.clock_ahead_max_ms
                     : info.clock_ahead_min_ms > 0 ? info.clock_ahead_min_ms
                                                   : 0;
    char off[32];
    duration_print(off_ms, off, sizeof off);
    (void)doctor_step(doctor, off_ms > DOCTOR_CLOCK_MS ? DOCTOR_WARNING : DOCTOR_OK, "clock",
                      off_ms == 0 ? "agrees with the service's" : "at least %s %s the service's",
                      off, behind ? "behind" : "ahead of");
}

static bool doctor_table(struct doctor *doctor)
{
    dynalock_table_report table;
    dynalock_error error;
    int code = dynalock_table_verify(doctor->store, &table, &error);
    if (code == DYNALOCK_ERR_NOT_AUTHORIZED) {
        return doctor_step(doctor, DOCTOR_WARNING, "table", "not to be verified: %s",
                           error.message);
    }
    if (code != 0) {
        return doctor_fail(doctor, "table", &error);
    }
    (void)doctor_step(doctor, DOCTOR_OK, "table", "its keys are id and name");
    if (table.ttl == DYNALOCK_TTL_DISABLED) {
        return doctor_step(doctor, DOCTOR_WARNING, "time to live",
                           "%s; `dynalock init%s` turns it on, where the server has it",
                           table.message, report_table());
    }
    return table.ttl == DYNALOCK_TTL_ENABLED
               ? doctor_step(doctor, DOCTOR_OK, "time to live", "on for expires")
               : doctor_step(doctor, DOCTOR_WARNING, "time to live", "%s", table.message);
}

static int doctor_hold(dynalock_lock *lock, int64_t *token, dynalock_error *error)
{
    int code = dynalock_lock_acquire(lock, -1, 0, error);
    *token = dynalock_lock_token(lock);
    return code == 0 ? dynalock_lock_release(lock, error) : code;
}

static bool doctor_lock(struct doctor *doctor)
{
    const dynalock_lock_options options = {.ttl_ms = DOCTOR_LEASE_MS};
    dynalock_lock *lock = NULL;
    dynalock_error error;
    int64_t token = 0;
    int code = dynalock_lock_new(doctor->store, doctor->key, &options, &lock, &error);
    if (code == 0) {
        code = doctor_hold(lock, &token, &error);
    }
    dynalock_lock_free(lock);
    return code != 0 ? doctor_fail(doctor, "lock", &error)
                     : doctor_step(doctor, DOCTOR_OK, "lock",
                                   "%s acquired and released, token %" PRId64, doctor->key, token);
}

static int doctor_compare(const void *one, const void *other)
{
    const double *a = one;
    const double *b = other;
    return (*a > *b) - (*a < *b);
}

static void doctor_round_trips(struct doctor *doctor)
{
    double ms[DOCTOR_READS];
    dynalock_error error;
    for (size_t i = 0; i < DOCTOR_READS; i++) {
        bool exists = false;
        int64_t start_us = time_passed_us();
        if (dynalock_exists(doctor->store, doctor->key, NULL, &exists, &error) != 0) {
            (void)doctor_fail(doctor, "round trips", &error);
            return;
        }
        ms[i] = (double)(time_passed_us() - start_us) / 1000;
    }
    qsort(ms, DOCTOR_READS, sizeof ms[0], doctor_compare);
    (void)doctor_step(doctor, DOCTOR_OK, "round trips",
                      "of %d consistent reads: shortest %.1f ms, median %.1f ms", DOCTOR_READS,
                      ms[0], ms[DOCTOR_READS / 2]);
}

static void doctor_examine(struct doctor *doctor)
{
    if (!doctor_settings(doctor) || !doctor_connection(doctor)) {
        return;
    }
    doctor_clock(doctor);
    if (doctor_table(doctor) && doctor_lock(doctor)) {
        doctor_round_trips(doctor);
    }
}

int command_doctor(struct settings *settings, int argc, char **argv)
{
    struct doctor doctor = {.settings = settings};
    unsigned char random[8];
    int status = settings_no_option(settings, argc, argv);
    if (status == -1) {
        status = settings_arguments(argc, argv, 0, 0, "nothing");
    }
    if (status != -1) {
        return status;
    }
    if (getentropy(random, sizeof random) != 0) {
        complain("no random numbers are to be had");
        return EXIT_SYSTEM;
    }
    size_t length = (size_t)snprintf(doctor.key, sizeof doctor.key, ".dynalock-doctor/");
    for (size_t i = 0; i < sizeof random; i++) {
        length += (size_t)snprintf(doctor.key + length, 3, "%02x", random[i]);
    }
    doctor.start_us = time_passed_us();
    doctor_examine(&doctor);
    (void)dynalock_close(doctor.store);
    return doctor.failed ? EXIT_SERVICE : EXIT_OK;
}
