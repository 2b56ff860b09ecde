/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetching credentials, first and anew, while one call after another that the library makes of what it depends on fails
 * (see support_fail.h): who has good ones goes on with them, who has none is told so, and the next fetch brings them.
 */
#include "../internal.h"
#include "fail_system.h"
#include "support_lock.h"
#include "support_table.h"

#define FAIL_MOST 3000
#define BEYOND \
    3 /* runs without a failure end a sweep of threads: they do not take the same steps each time */

static int give(dynalock_credentials *credentials, void *context)
{
    (void)context;
    *credentials = (dynalock_credentials){.access_key_id = "AKID",
                                          .secret_access_key = "secret",
                                          .session_token = "token",
                                          .expires_ms = real_ms() + 3600 * INT64_C(1000)};
    return 0;
}

static dynalock_store *open_store(struct table *table)
{
    dynalock_options options = table_options(table);
    options.access_key_id = options.secret_access_key = NULL;
    options.credentials = give;
    return table_open(table, &options);
}

static int ask(dynalock_store *store, dynalock_error *error)
{
    bool exists = false;
    return dynalock_exists(store, "key", NULL, &exists, error);
}

/* A failed fetch is tried again after a second. */
static bool await_answer(dynalock_store *store)
{
    for (int64_t until = monotonic_ms() + LONG_MS; monotonic_ms() < until; sleep_ms(5)) {
        if (ask(store, NULL) == 0) {
            return true;
        }
    }
    return false;
}

static bool first_once(struct table *table, unsigned nth)
{
    dynalock_store *store = open_store(table);
    dynalock_error error = {0};
    fail_arm(nth, 1);
    int code = ask(store, &error);
    bool failed = fail_disarm();
    if (code != 0 && (!failed || error.code != code || error.message[0] == '\0' ||
                      (!fail_explains(code) && code != DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE))) {
        fail_msg("with %s failing as call %u: code %d, \"%s\"", fail_what(), nth, code,
                 error.message);
    }
    assert_true(await_answer(store));
    assert_int_equal(dynalock_close(store), 0);
    return failed;
}

static void test_the_first_fetch_brings_credentials_or_says_why_not(void **state)
{
    unsigned beyond = 0;
    for (unsigned nth = 1; beyond < BEYOND; nth += fail_step(3)) {
        assert_true(nth < FAIL_MOST);
        beyond = first_once(*state, nth) ? 0 : beyond + 1;
    }
    assert_true(fail_report("first fetch of credentials, and a request") > 50);
}

/* The time has come to fetch newer ones. */
static void make_due(dynalock_store *store)
{
    (void)pthread_mutex_lock(&store->refresh.mutex);
    store->refresh.fetch_at_us = 0;
    (void)pthread_mutex_unlock(&store->refresh.mutex);
}

static bool await_fetch(dynalock_store *store)
{
    bool fetching = true;
    for (int64_t until = monotonic_ms() + LONG_MS; fetching && monotonic_ms() < until;) {
        (void)pthread_mutex_lock(&store->refresh.mutex);
        fetching = store->refresh.fetching;
        (void)pthread_mutex_unlock(&store->refresh.mutex);
        sleep_ms(1);
    }
    return !fetching;
}

/* Those there are good for an hour: nobody notices. */
static bool refresh_once(dynalock_store *store, dynalock_lock *lock, unsigned nth)
{
    dynalock_error error = {0};
    make_due(store);
    fail_arm(nth, 1);
    int code = dynalock_lock_renew(lock, 0, &error);
    assert_true(await_fetch(store));
    bool failed = fail_disarm();
    if (code != 0 && (!failed || !fail_explains(code))) {
        fail_msg("with %s failing as call %u: code %d, \"%s\"", fail_what(), nth, code,
                 error.message);
    }
    check(dynalock_lock_ensure(lock, 1000, &failure), 0);
    check(dynalock_lock_renew(lock, 0, &failure), 0);
    return failed;
}

static void test_who_has_good_credentials_goes_on_with_them(void **state)
{
    dynalock_store *store = open_store(*state);
    dynalock_lock *lock = lock_take(
        store, "held", (dynalock_lock_options){.ttl_ms = 60000, .renewal = DYNALOCK_RENEWAL_NONE});
    unsigned beyond = 0;
    for (unsigned nth = 1; beyond < BEYOND; nth++) {
        assert_true(nth < FAIL_MOST);
        beyond = refresh_once(store, lock, nth) ? 0 : beyond + 1;
    }
    lock_end(lock);
    assert_int_equal(dynalock_close(store), 0);
    assert_true(fail_report("refresh of credentials, and a renewal") > 50);
}

static int begin(void **state)
{
    *state = table_start();
    return 0;
}

static int end(void **state)
{
    table_end(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_fetch_brings_credentials_or_says_why_not),
        cmocka_unit_test(test_who_has_good_credentials_goes_on_with_them),
    };
    fail_install();
    return cmocka_run_group_tests(tests, begin, end);
}
