/* SPDX-License-Identifier: Apache-2.0 */
#include "support_events.h"

dynalock_store *narrow(struct bench *b, int connections)
{
    dynalock_options options = bench_options(b);
    options.max_connections = connections;
    options.close_timeout_ms = 1000;
    options.log = capture_log;
    options.log_context = b->events;
    return bench_open(b, &options);
}

int64_t expires_of(struct bench *b, const char *key)
{
    json_t *item = bench_item(b, key);
    int64_t expires = item != NULL ? item_number(item, "expires") : 0;
    json_decref(item);
    return expires;
}

int event_fd(dynalock_store *store)
{
    int fd = -1;
    check(dynalock_event_fd(store, &fd, &failure), 0);
    assert_true(fd >= 0);
    return fd;
}

int lock_event_fd(dynalock_lock *lock)
{
    int fd = -1;
    check(dynalock_lock_event_fd(lock, &fd, &failure), 0);
    assert_true(fd >= 0);
    return fd;
}

static void event_is_whole(const dynalock_lock_event *event)
{
    assert_int_not_equal(event->kind, DYNALOCK_LOCK_EVENT_NONE);
    assert_non_null(event->lock);
    if (event->code != 0) {
        assert_int_equal(event->error.code, event->code);
        assert_true(event->error.message[0] != '\0');
    }
}

dynalock_lock_event next_event(dynalock_store *store)
{
    dynalock_lock_event event;
    if (!readable(event_fd(store), LONG_MS)) {
        fail_msg("there is no event");
    }
    check(dynalock_next_event(store, &event, &failure), 0);
    event_is_whole(&event);
    return event;
}

dynalock_lock_event next_lock_event(dynalock_lock *lock)
{
    dynalock_lock_event event;
    if (!readable(lock_event_fd(lock), LONG_MS)) {
        fail_msg("there is no event of the lock");
    }
    check(dynalock_lock_next_event(lock, &event, &failure), 0);
    event_is_whole(&event);
    assert_ptr_equal(event.lock, lock);
    return event;
}

void no_event(dynalock_store *store)
{
    dynalock_lock_event event;
    memset(&event, 1, sizeof event);
    assert_false(readable(event_fd(store), 0));
    check(dynalock_next_event(store, &event, &failure), 0);
    assert_int_equal(event.kind, DYNALOCK_LOCK_EVENT_NONE);
    assert_null(event.lock);
}

void check_event_is(dynalock_lock_event event, const dynalock_lock *lock, int kind, int code,
                    const char *file, int line)
{
    if (event.kind != kind || event.code != code || event.lock != lock) {
        print_error("an event of kind %d and code %d (%s) of %s lock, not %d and %d\n", event.kind,
                    event.code, event.code != 0 ? event.error.message : "",
                    event.lock == lock ? "the" : "another", kind, code);
        _fail(file, line);
    }
}

void lock_start(dynalock_lock *lock, int64_t wait_ms)
{
    check(dynalock_lock_acquire_start(lock, wait_ms, &failure), 0);
}

dynalock_lock_event acquire_by_event(dynalock_store *store, dynalock_lock *lock, int64_t wait_ms,
                                     int code)
{
    lock_start(lock, wait_ms);
    dynalock_lock_event event = next_event(store);
    check_event(event, lock, DYNALOCK_LOCK_EVENT_ACQUIRE, code);
    return event;
}

dynalock_lock_event release_by_event(dynalock_store *store, dynalock_lock *lock, int code)
{
    check(dynalock_lock_release_start(lock, &failure), 0);
    dynalock_lock_event event = next_event(store);
    check_event(event, lock, DYNALOCK_LOCK_EVENT_RELEASE, code);
    return event;
}

dynalock_lock_event cancel_by_event(dynalock_store *store, dynalock_lock *lock)
{
    int64_t began = monotonic_ms();
    check(dynalock_lock_cancel(lock, &failure), 0);
    dynalock_lock_event event = next_event(store);
    check_event(event, lock, DYNALOCK_LOCK_EVENT_ACQUIRE, DYNALOCK_ERR_CANCELLED);
    assert_true(monotonic_ms() - began < AT_ONCE_MS);
    assert_int_equal(dynalock_lock_state(lock), DYNALOCK_LOCK_IDLE);
    assert_int_equal(dynalock_lock_remaining_ms(lock), 0);
    return event;
}
