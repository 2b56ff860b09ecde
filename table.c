/* SPDX-License-Identifier: Apache-2.0 */
/* The table: creating it, and saying what is wrong with one that is there. */
#include "internal.h"

#include <stdio.h>
#include <string.h>

#define TABLE_WAIT_MS 60000
#define TABLE_POLL_US (INT64_C(500) * 1000)

static int table_describe(struct dlk_call *call, struct dlk_table_state *state,
                          dynalock_error *error)
{
    dlk_request_table(call->store, call, "DescribeTable");
    int code = dlk_call_complete(call);
    if (code != 0) {
        return dlk_call_fail(call, code, error);
    }
    return dlk_json_table(call->exchange.answer.data, call->exchange.answer.length, state, error);
}

static void table_warn(dynalock_table_report *report, int ttl, const char *message)
{
    report->ttl = ttl;
    dlk_copy_text(report->message, sizeof report->message, message);
}

/* A failure to ask for, or to change, the time to live: a warning, or, where it would fail the
 * caller too, a code. */
static int table_judge_ttl_failure(const struct dlk_call *call, int code,
                                   dynalock_table_report *report, dynalock_error *error)
{
    if (code == DYNALOCK_ERR_NOT_AUTHORIZED) {
        table_warn(report, DYNALOCK_TTL_UNREADABLE, call->error.message);
        return 0;
    }
    if (code == DYNALOCK_ERR_REFUSED &&
        (strcmp(call->error.name, "UnknownOperationException") == 0 ||
         strcmp(call->error.name, "UnknownOperation") == 0)) {
        table_warn(
            report, DYNALOCK_TTL_UNSUPPORTED,
            "this server has no time to live: expired records are never removed, though never seen either");
        return 0;
    }
    return dlk_call_fail(call, code, error);
}

static int table_read_ttl(struct dlk_call *call, dynalock_table_report *report,
                          dynalock_error *error)
{
    struct dlk_ttl_state state = {0};
    char words[256];
    dlk_request_table(call->store, call, "DescribeTimeToLive");
    int code = dlk_call_complete(call);
    if (code != 0) {
        return table_judge_ttl_failure(call, code, report, error);
    }
    code = dlk_json_ttl(call->exchange.answer.data, call->exchange.answer.length, &state, error);
    if (code != 0) {
        return code;
    }
    if (strncmp(state.status, "ENABL", 5) != 0) {
        table_warn(
            report, DYNALOCK_TTL_DISABLED,
            "time to live is off: expired records are never removed, though never seen either");
    } else if (strcmp(state.attribute, "expires") != 0) {
        (void)snprintf(words, sizeof words,
                       "time to live is on for \"%.150s\" and not for \"expires\"",
                       state.attribute);
        table_warn(report, DYNALOCK_TTL_WRONG, words);
    } else {
        table_warn(report, DYNALOCK_TTL_ENABLED, "");
    }
    return 0;
}

static int table_verify(struct dlk_call *call, dynalock_table_report *report, dynalock_error *error)
{
    struct dlk_table_state state = {0};
    int code = table_describe(call, &state, error);
    if (code != 0) {
        return code;
    }
    if (!state.keys_right) {
        return dlk_fail(
            error, DYNALOCK_ERR_BAD_TABLE,
            "the table has the keys %s; dynalock needs id (S) as partition key, name (S) as sort key",
            state.keys);
    }
    return table_read_ttl(call, report, error);
}

/* False: the store is being closed. */
static bool table_pause(const dynalock_store *store)
{
    int64_t until_us = dlk_store_boot_us(store) + TABLE_POLL_US;
    for (;;) {
        int64_t left_us = until_us - dlk_store_boot_us(store);
        if (left_us <= 0) {
            return true;
        }
        if (dlk_wait_readable(&store->closed.read_fd, 1, left_us / 1000 + 1) == 0) {
            return false;
        }
    }
}

static int table_wait_active(struct dlk_call *call, int64_t until_us, dynalock_error *error)
{
    dynalock_store *store = call->store;
    struct dlk_table_state state = {0};
    for (;;) {
        int code = table_describe(call, &state, error);
        if (code == 0 && strcmp(state.status, "ACTIVE") == 0) {
            return 0;
        }
        /* Just after CreateTable, DescribeTable may not know the table yet. */
        if (code != 0 && code != DYNALOCK_ERR_NO_TABLE && !dynalock_is_retryable(code)) {
            return code;
        }
        if (dlk_store_boot_us(store) >= until_us) {
            return dlk_fail(error, DYNALOCK_ERR_TIMEOUT,
                            "the table is not active yet: its status is %s",
                            state.status[0] != '\0' ? state.status : "not known");
        }
        if (!table_pause(store)) {
            return dlk_fail(error, DYNALOCK_ERR_CLOSED, "the store is being closed");
        }
    }
}

static int table_enable_ttl(struct dlk_call *call, dynalock_table_report *report,
                            dynalock_error *error)
{
    dlk_request_enable_ttl(call->store, call);
    int code = dlk_call_complete(call);
    if (code != 0) {
        code = table_judge_ttl_failure(call, code, report, error);
        bool another_was_quicker = code == DYNALOCK_ERR_REFUSED &&
                                   table_read_ttl(call, report, NULL) == 0 &&
                                   report->ttl != DYNALOCK_TTL_DISABLED;
        return another_was_quicker ? 0 : code;
    }
    table_warn(report, DYNALOCK_TTL_ENABLED, "");
    return 0;
}

/* May fill *error on the way to a success. */
static int table_create(struct dlk_call *call, int64_t wait_ms, dynalock_table_report *report,
                        dynalock_error *error)
{
    dynalock_store *store = call->store;
    struct dlk_table_state state = {0};
    int64_t until_us = dlk_store_boot_us(store) + wait_ms * 1000;
    int code = table_describe(call, &state, error);
    if (code == DYNALOCK_ERR_NO_TABLE) {
        dlk_request_create_table(store, call);
        code = dlk_call_complete(call);
        report->created = code == 0;
        if (strcmp(call->error.name, "ResourceInUseException") == 0) { /* another was quicker */
            code = 0;
        }
        if (code != 0) {
            return dlk_call_fail(call, code, error);
        }
    }
    if (code == 0 && strcmp(state.status, "ACTIVE") != 0) {
        code = table_wait_active(call, until_us, error);
    }
    if (code == 0) {
        code = table_verify(call, report, error);
    }
    if (code == 0 && report->ttl == DYNALOCK_TTL_DISABLED) {
        code = table_enable_ttl(call, report, error);
    }
    return code;
}

int dynalock_table_verify(dynalock_store *store, dynalock_table_report *report,
                          dynalock_error *error)
{
    struct dlk_call call;
    dynalock_table_report made = {0};
    int code = dlk_enter(store, error);
    if (code != 0) {
        return code;
    }
    dlk_call_init(store, &call, "DescribeTable", NULL);
    code = table_verify(&call, &made, error);
    dlk_call_free(&call);
    dlk_leave(store);
    if (code == 0 && report != NULL) {
        *report = made;
    }
    return code;
}

int dynalock_table_create(dynalock_store *store, int64_t wait_ms, dynalock_table_report *report,
                          dynalock_error *error)
{
    struct dlk_call call;
    dynalock_table_report made = {0};
    dynalock_error own;
    if (wait_ms < 0 || wait_ms > 86400000) {
        return dlk_fail(error, DYNALOCK_ERR_ARGUMENT, "wait_ms is not within 0 to 86,400,000");
    }
    int code = dlk_enter(store, error);
    if (code != 0) {
        return code;
    }
    dlk_call_init(store, &call, "DescribeTable", NULL);
    code = table_create(&call, wait_ms > 0 ? wait_ms : TABLE_WAIT_MS, &made, &own);
    dlk_call_free(&call);
    dlk_leave(store);
    if (code != 0 && error != NULL) {
        *error = own;
    }
    if (code == 0 && report != NULL) {
        *report = made;
    }
    return code;
}
