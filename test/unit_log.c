/* SPDX-License-Identifier: Apache-2.0 */
/* Events of the keeper's that nobody takes in time are dropped, counted, and told of. */
#include "../internal.h"
#include "support.h"

#include <string.h>

#define MANY 300 /* more than are kept */

static void *log_much(void *context)
{
    dlk_log_defer();
    for (int i = 0; i < MANY; i++) {
        dlk_log(context, &(dynalock_event){.id = DYNALOCK_EVENT_RENEWED, .key = "k"});
    }
    return NULL;
}

static void test_what_is_not_taken_in_time_is_dropped_and_told(void **state)
{
    static dynalock_store store;
    struct capture *events = capture_new();
    pthread_t thread;
    (void)state;
    assert_int_equal(dlk_log_init(&store.log, capture_log, events), 0);
    assert_int_equal(dlk_wake_open(&store.watch_wake), 0);
    assert_int_equal(pthread_create(&thread, NULL, log_much, &store), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    while (dlk_log_waits(&store.log)) {
        dlk_log_hand_on(&store);
    }
    int kept = capture_count(events, DYNALOCK_EVENT_RENEWED, "k");
    assert_true(kept > 0 && kept < MANY);
    assert_int_equal(dlk_log_dropped(&store.log), MANY - kept);
    assert_int_equal(capture_count(events, DYNALOCK_EVENT_DROPPED, NULL), 1);
    dlk_wake_close(&store.watch_wake);
    dlk_log_free(&store.log);
    capture_free(events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_not_taken_in_time_is_dropped_and_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
