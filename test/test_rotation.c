/* SPDX-License-Identifier: Apache-2.0 */
/* Locks that are held while credentials come and go. The proxies take none that has expired. */
#include "support_source.h"

/* The second call fails, the fourth, ... */
static int act_fail_half(struct source *source, dynalock_credentials *credentials)
{
    (void)credentials;
    return source->calls % 2 == 0 ? DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE : 0;
}

static void held_all_along(dynalock_store *store, dynalock_lock *lock, int64_t token)
{
    dynalock_counters counters;
    check(dynalock_lock_ensure(lock, 1, &failure), DYNALOCK_OK);
    assert_int_equal(dynalock_lock_token(lock), token);
    assert_int_equal(dynalock_store_counters(store, &counters), 0);
    assert_int_equal(counters.lost, 0);
    print_message("renewed %d times, %d failed\n", (int)counters.renewed,
                  (int)counters.renewals_failed);
}

/* A container's endpoint that hands out what lives for 5 s, and fails every other request; a store that asks it. */
struct container {
    struct rig *service, *proxy;
    struct capture *events;
    dynalock_store *store;
};

static struct container container_open(struct bench *b)
{
    struct container c = {.service = rig_open(), .proxy = rig_open(), .events = capture_new()};
    char settings[40], uri[60];
    json_t *made = rig(c.service, "'cmd':'metadata','lifetime_s':5");
    c.service->proxy = (int)json_integer_value(json_object_get(made, "proxy"));
    snprintf(uri, sizeof uri, "http://127.0.0.1:%d/creds",
             (int)json_integer_value(json_object_get(made, "port")));
    json_decref(made);
    snprintf(settings, sizeof settings, "'metadata':%d", c.service->proxy);
    dynalock_options options = {.region = RIG_REGION,
                                .endpoint = rig_proxy_new(c.proxy, test_server(), settings),
                                .log = capture_log,
                                .log_context = c.events};
    rig_do(c.service, "'cmd':'seed','seed':5,'rates':{'status':0.3,'drop-before':0.2}");
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri, 1);
    c.store = bench_open(b, &options);
    unsetenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    return c;
}

static int container_given(const struct container *c)
{
    int given = 0;
    for (int n = capture_count(c->events, DYNALOCK_EVENT_CREDENTIALS, NULL); n > 0; n--) {
        given += capture_get(c->events, DYNALOCK_EVENT_CREDENTIALS, NULL, n).code == 0 ? 1 : 0;
    }
    return given;
}

static void container_close(struct container *c)
{
    dynalock_close(c->store);
    capture_free(c->events);
    rig_close(c->proxy);
    rig_close(c->service);
}

static void test_locks_outlive_three_rotations_of_sources_that_fail_half_of_the_time(void **state)
{
    struct bench *b = *state;
    struct source *source = source_new(b, 5000);
    dynalock_store *store = source_open(source, NULL);
    struct container container = container_open(b);
    const dynalock_lock_options options = {.ttl_ms = 4000, .poll_ms = 300};
    source->act = act_fail_half;
    dynalock_lock *lock = lock_take(store, bench_key(b), options);
    dynalock_lock *other = lock_make(container.store, bench_key(b), options);
    check(dynalock_lock_acquire(other, -1, LONG_MS, &failure), DYNALOCK_OK);
    int64_t token = dynalock_lock_token(lock), other_token = dynalock_lock_token(other);
    int64_t end = monotonic_ms() + LONG_MS;
    while ((source_given(source) < 4 || container_given(&container) < 4) && monotonic_ms() < end) {
        sleep_ms(20);
    }
    sleep_ms(1000); /* with the last of them */
    held_all_along(store, lock, token);
    held_all_along(container.store, other, other_token);
    assert_true(source_given(source) >= 4);
    assert_true(source_calls(source) >= 7);
    assert_true(container_given(&container) >= 4);
    assert_true(rig_total(container.service) > container_given(&container));
    /* None was used past its end, nor with another's token. */
    assert_int_equal(source_refused(b->rig), 0);
    assert_int_equal(source_refused(container.proxy), 0);
    lock_end(lock);
    lock_end(other);
    dynalock_close(store);
    source_free(source);
    container_close(&container);
}

static void test_a_callback_that_blocks_for_longer_than_the_lease_disturbs_no_renewal(void **state)
{
    struct bench *b = *state;
    struct source *source = source_new(b, 15000);
    dynalock_store *store = source_open(source, NULL);
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_take(store, key, (dynalock_lock_options){.ttl_ms = 4200});
    source_block(source, true);
    assert_true(source_await(source, 2)); /* ahead of the expiry, which is 5 s off at the least */
    int before = capture_count(b->events, DYNALOCK_EVENT_RENEWED, key);
    int64_t longest = 0;
    for (int64_t end = monotonic_ms() + 4400; monotonic_ms() < end;) {
        int64_t began = monotonic_ms();
        check(dynalock_lock_ensure(lock, 1, &failure), DYNALOCK_OK);
        bool exists = false;
        check(dynalock_exists(store, "nothing", NULL, &exists, &failure), DYNALOCK_OK);
        longest = monotonic_ms() - began > longest ? monotonic_ms() - began : longest;
        sleep_ms(20);
    }
    print_message("the longest call took %" PRId64 " ms\n", longest);
    assert_true(capture_count(b->events, DYNALOCK_EVENT_RENEWED, key) - before >= 2);
    assert_int_equal(capture_count(b->events, DYNALOCK_EVENT_RENEWAL_FAILED, key), 0);
    assert_int_equal(source_calls(source), 2);
    source_block(source, false);
    lock_end(lock);
    dynalock_close(store);
    source_free(source);
}

static int act_fail_after_the_first(struct source *source, dynalock_credentials *credentials)
{
    (void)credentials;
    return source->calls > 1 ? DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE : 0;
}

static void test_a_lock_is_lost_by_its_credentials_where_there_are_none_any_more(void **state)
{
    struct bench *b = *state;
    struct source *source = source_new(b, 4000);
    dynalock_store *store = source_open(source, NULL);
    source->act = act_fail_after_the_first;
    dynalock_lock *lock = lock_take(store, bench_key(b), (dynalock_lock_options){.ttl_ms = 3000});
    assert_true(await_state(lock, DYNALOCK_LOCK_LOST));
    assert_int_equal(dynalock_lock_cause(lock), DYNALOCK_CAUSE_CREDENTIALS);
    assert_int_equal(source_refused(b->rig), 0);
    dynalock_lock_free(lock);
    dynalock_close(store);
    source_free(source);
}

/* The service that hands them out is not well: AWS wants them used on, and it asked again, but not all the time. */
static void test_an_instance_that_gives_what_has_expired_is_believed(void **state)
{
    struct bench *b = *state;
    struct rig *service = rig_open(), *proxy = rig_open();
    char url[60];
    json_t *made = rig(service, "'cmd':'metadata','lifetime_s':-60,'fixed':{'id':'" RIG_KEY_ID
                                "','secret':'" RIG_SECRET "','token':'given-by-the-instance'}");
    service->proxy = (int)json_integer_value(json_object_get(made, "proxy"));
    snprintf(url, sizeof url, "http://127.0.0.1:%d",
             (int)json_integer_value(json_object_get(made, "port")));
    json_decref(made);
    dynalock_options options = {.region = RIG_REGION,
                                .endpoint = rig_proxy_new(proxy, test_server(),
                                                          "'tokens':{'" RIG_KEY_ID
                                                          "':'given-by-the-instance'}")};
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url, 1);
    dynalock_store *store = bench_open(b, &options);
    unsetenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    for (int i = 0; i < 5; i++) {
        check(dynalock_put(store, "k", dynalock_none(), NULL, &failure), DYNALOCK_OK);
    }
    assert_int_equal(rig_count(service, "imds-credentials"), 1);
    dynalock_close(store);
    rig_close(proxy);
    rig_close(service);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOCK_TEST(test_locks_outlive_three_rotations_of_sources_that_fail_half_of_the_time),
        LOCK_TEST(test_a_callback_that_blocks_for_longer_than_the_lease_disturbs_no_renewal),
        LOCK_TEST(test_a_lock_is_lost_by_its_credentials_where_there_are_none_any_more),
        LOCK_TEST(test_an_instance_that_gives_what_has_expired_is_believed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
