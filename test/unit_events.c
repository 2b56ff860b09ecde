/* SPDX-License-Identifier: Apache-2.0 */
/* The order of a lock's events, at moments that no test of the whole can choose. Nothing is sent. */
#include "../lock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct scene {
    dynalock_store *store;
    dynalock_lock *lock;
    struct dlk_started *started;
};

static void started_free(struct dlk_started *started)
{
    free(started);
}

static int scene_setup(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    dynalock_options options = {.region = "us-east-1",
                                .endpoint = "http://127.0.0.1:1",
                                .access_key_id = "AKID",
                                .secret_access_key = "secret"};
    dynalock_error error;
    assert_int_equal(dynalock_open("t", "p", &options, &scene->store, &error), 0);
    assert_int_equal(dynalock_lock_new(scene->store, "k", NULL, &scene->lock, &error), 0);
    scene->started = calloc(1, sizeof *scene->started);
    *scene->started = (struct dlk_started){
        .lock = scene->lock, .kind = DYNALOCK_LOCK_EVENT_ACQUIRE, .free = started_free};
    *state = scene;
    return 0;
}

static int scene_teardown(void **state)
{
    struct scene *scene = *state;
    dynalock_lock_free(scene->lock);
    assert_int_equal(dynalock_close(scene->store), 0);
    free(scene);
    return 0;
}

static void scene_begin(struct scene *scene)
{
    (void)pthread_mutex_lock(&scene->store->mutex);
    dlk_started_begin(scene->started);
    (void)pthread_mutex_unlock(&scene->store->mutex);
}

static void scene_lose(struct scene *scene, int cause)
{
    (void)pthread_mutex_lock(&scene->store->mutex);
    scene->lock->cause = cause;
    dlk_events_loss(scene->lock);
    (void)pthread_mutex_unlock(&scene->store->mutex);
}

static void scene_end(struct scene *scene, int code)
{
    const dynalock_error error = {.code = code};
    dlk_started_end(scene->started, code, &error);
}

static dynalock_lock_event scene_next(struct scene *scene)
{
    dynalock_lock_event event;
    assert_int_equal(dynalock_next_event(scene->store, &event, NULL), 0);
    return event;
}

static void test_a_loss_before_the_end_of_its_acquisition_is_told_after_it(void **state)
{
    struct scene *scene = *state;
    scene_begin(scene);
    scene_lose(scene, DYNALOCK_CAUSE_EXPIRED);
    assert_int_equal(scene_next(scene).kind, DYNALOCK_LOCK_EVENT_NONE);
    scene_end(scene, 0);
    dynalock_lock_event first = scene_next(scene);
    assert_int_equal(first.kind, DYNALOCK_LOCK_EVENT_ACQUIRE);
    assert_int_equal(first.code, 0);
    dynalock_lock_event second = scene_next(scene);
    assert_int_equal(second.kind, DYNALOCK_LOCK_EVENT_LOST);
    assert_int_equal(second.cause, DYNALOCK_CAUSE_EXPIRED);
    assert_int_equal(scene_next(scene).kind, DYNALOCK_LOCK_EVENT_NONE);
}

static void test_the_end_of_what_was_started_on_a_freed_lock_is_not_told(void **state)
{
    struct scene *scene = *state;
    dynalock_error error;
    scene_begin(scene);
    dynalock_lock_free(scene->lock);
    assert_int_equal(scene->started->stop, DYNALOCK_ERR_CANCELLED);
    scene_end(scene, DYNALOCK_ERR_CANCELLED);
    assert_int_equal(scene_next(scene).kind, DYNALOCK_LOCK_EVENT_NONE);
    assert_int_equal(dynalock_lock_new(scene->store, "k", NULL, &scene->lock, &error), 0);
}

static void test_an_event_that_waits_when_its_lock_gets_a_descriptor_moves_there(void **state)
{
    struct scene *scene = *state;
    int fd = -1;
    scene_begin(scene);
    scene_end(scene, 0);
    assert_int_equal(dynalock_lock_event_fd(scene->lock, &fd, NULL), 0);
    assert_int_equal(dlk_wait_readable(&fd, 1, 0), 0);
    assert_int_equal(scene_next(scene).kind, DYNALOCK_LOCK_EVENT_NONE);
    dynalock_lock_event event;
    assert_int_equal(dynalock_lock_next_event(scene->lock, &event, NULL), 0);
    assert_int_equal(event.kind, DYNALOCK_LOCK_EVENT_ACQUIRE);
    assert_int_equal(dlk_wait_readable(&fd, 1, 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_a_loss_before_the_end_of_its_acquisition_is_told_after_it, scene_setup,
            scene_teardown),
        cmocka_unit_test_setup_teardown(
            test_the_end_of_what_was_started_on_a_freed_lock_is_not_told, scene_setup,
            scene_teardown),
        cmocka_unit_test_setup_teardown(
            test_an_event_that_waits_when_its_lock_gets_a_descriptor_moves_there, scene_setup,
            scene_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
