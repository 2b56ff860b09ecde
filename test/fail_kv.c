/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every operation on records, while one call after another that the library makes of what it depends on fails: memory,
 * descriptors, entropy, libcurl, OpenSSL. It must end with the right code, lose nothing, leave the store usable, and say
 * that a write may have happened if it has.
 */
/* wrap: malloc calloc realloc strdup pthread_create eventfd timerfd_create getrandom */
/* wrap: curl_easy_init curl_multi_init curl_multi_add_handle curl_slist_append curl_easy_setopt */
/* wrap: curl_multi_setopt curl_multi_poll curl_multi_perform EVP_MD_fetch EVP_MAC_fetch EVP_MD_CTX_new */
/* wrap: EVP_MAC_CTX_new EVP_MAC_CTX_set_params EVP_DigestInit_ex EVP_DigestUpdate EVP_DigestFinal_ex */
/* wrap: EVP_MAC_init EVP_MAC_update EVP_MAC_final EVP_Digest */
#include "support.h"
#include "support_fail.h"

#define FAIL_MOST 600
#define VALUE "some bytes"

/* What an operation works on: made anew for each run. */
struct scene {
    struct bench *bench;
    const char *key;
    dynalock_kv *previous;
};

struct operation {
    const char *name;
    void (*prepare)(struct scene *scene);
    /* 0: it did what it is there for; what it hands out is judged and freed. */
    int (*run)(dynalock_store *store, struct scene *scene, dynalock_error *error);
};

/* ---- Scenes ---- */

static void no_record(struct scene *scene)
{
    bench_delete_item(scene->bench, scene->key);
}

static void a_record(struct scene *scene)
{
    bench_put_item(scene->bench, scene->key,
                   "'version':{'N':'5'},'payload':{'S':'c29tZSBieXRlcw=='}");
}

static void an_expired_record(struct scene *scene)
{
    bench_put_item(scene->bench, scene->key, "'version':{'N':'5'},'expires':{'N':'100'}");
}

static void a_record_as_read(struct scene *scene)
{
    a_record(scene);
    check(dynalock_get(bench_direct(scene->bench), scene->key, NULL, &scene->previous, &failure),
          0);
}

static void a_record_written_since(struct scene *scene)
{
    a_record_as_read(scene);
    bench_put_item(scene->bench, scene->key, "'version':{'N':'9'}");
}

static void a_record_gone_since(struct scene *scene)
{
    a_record_as_read(scene);
    no_record(scene);
}

/* ---- Operations ---- */

static int expected(int code, int wanted)
{
    return code == wanted ? 0 : code == 0 ? DYNALOCK_ERR_BAD_RESPONSE : code;
}

static int run_put(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    return dynalock_put(store, scene->key, dynalock_bytes("x", 1), NULL, error);
}

static int run_get(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    dynalock_kv *kv = scene->previous;
    const void *bytes = NULL;
    size_t length = 0;
    int code = dynalock_get(store, scene->key, NULL, &kv, error);
    if (code != 0) {
        assert_ptr_equal(kv, scene->previous);
        return code;
    }
    code = dynalock_kv_bytes(kv, &bytes, &length, error);
    if (code == 0) {
        assert_int_equal(length, strlen(VALUE));
        assert_memory_equal(bytes, VALUE, length);
    }
    dynalock_kv_free(kv);
    return code;
}

static int run_get_of_none(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    dynalock_kv *kv = NULL;
    return expected(dynalock_get(store, scene->key, NULL, &kv, error), DYNALOCK_ERR_NOT_FOUND);
}

static int run_exists(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    bool exists = false;
    int code = dynalock_exists(store, scene->key, NULL, &exists, error);
    assert_int_equal(exists, code == 0);
    return code;
}

static int run_delete(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    return dynalock_delete(store, scene->key, error);
}

static int run_list(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    dynalock_kv *none = NULL;
    dynalock_kv **items = &none;
    size_t count = 77;
    int code = dynalock_list(store, scene->key, NULL, &items, &count, error);
    if (code != 0) {
        assert_ptr_equal(items, &none);
        assert_int_equal(count, 77);
        return code;
    }
    assert_int_equal(count, 1);
    dynalock_list_free(items, count);
    return 0;
}

static int count_item(dynalock_kv *kv, void *context)
{
    (void)kv;
    ++*(int *)context;
    return 0;
}

static int run_list_each(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    int count = 0;
    int code = dynalock_list_each(store, scene->key, NULL, count_item, &count, error);
    assert_int_equal(count, code == 0 ? 1 : 0);
    return code;
}

static int run_atomic_put(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    dynalock_kv *kv = scene->previous;
    int code = dynalock_atomic_put(store, scene->key, dynalock_bytes("x", 1), scene->previous, NULL,
                                   &kv, error);
    if (code != 0) {
        assert_ptr_equal(kv, scene->previous);
        return code;
    }
    assert_true(dynalock_kv_version(kv) > 5);
    dynalock_kv_free(kv);
    return 0;
}

static int run_create_of_one_there(dynalock_store *store, struct scene *scene,
                                   dynalock_error *error)
{
    return expected(run_atomic_put(store, scene, error), DYNALOCK_ERR_EXISTS);
}

static int run_replace_of_another(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    return expected(run_atomic_put(store, scene, error), DYNALOCK_ERR_MODIFIED);
}

static int run_atomic_delete(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    return dynalock_atomic_delete(store, scene->key, scene->previous, error);
}

static int run_delete_of_another(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    return expected(run_atomic_delete(store, scene, error), DYNALOCK_ERR_MODIFIED);
}

static int run_delete_of_none(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    return expected(run_atomic_delete(store, scene, error), DYNALOCK_ERR_NOT_FOUND);
}

static int run_verify(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    dynalock_table_report report = {.ttl = 99};
    int code = dynalock_table_verify(store, &report, error);
    (void)scene;
    assert_int_equal(report.ttl == 99, code != 0);
    return code;
}

static int run_create_table(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    dynalock_table_report report = {.ttl = 99};
    int code = dynalock_table_create(store, 5000, &report, error);
    (void)scene;
    assert_int_equal(report.ttl == 99, code != 0);
    return code;
}

/* ---- One run with a failure, and what must hold after it ---- */

static int writes_sent(struct bench *bench)
{
    return bench_count(bench, "PutItem") + bench_count(bench, "UpdateItem") +
           bench_count(bench, "DeleteItem");
}

/* What the failed call was, and the error says no more and no less than what has happened to the record. */
static void judge(const struct operation *operation, unsigned nth, int code,
                  const dynalock_error *error, struct scene *scene, bool changed)
{
    /* jansson takes a want of memory for a mistake in the text as often as not. */
    bool misread =
        code == DYNALOCK_ERR_BAD_RESPONSE && strcmp(fail_what(), "jansson's malloc") == 0;
    bool right = code == DYNALOCK_ERR_MEMORY || code == DYNALOCK_ERR_SYSTEM || misread;
    if (!right || error->code == 0 || error->message[0] == '\0') {
        fail_msg("%s, with %s failing as call %u: code %d, \"%s\"", operation->name, fail_what(),
                 nth, code, error->message);
    }
    if (changed && (error->flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN) == 0) {
        fail_msg("%s, with %s failing as call %u: code %d, and the record was written",
                 operation->name, fail_what(), nth, code);
    }
    if ((error->flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN) != 0 && writes_sent(scene->bench) == 0) {
        fail_msg("%s, with %s failing as call %u: nothing was sent, and \"may have happened\"",
                 operation->name, fail_what(), nth);
    }
}

/* True: something was made fail. */
static bool run_once(const struct operation *operation, dynalock_store *store, struct scene *scene,
                     unsigned nth)
{
    dynalock_error error = {0};
    operation->prepare(scene);
    json_t *before = bench_item(scene->bench, scene->key);
    bench_reset(scene->bench);
    fail_arm(nth, 1);
    int code = operation->run(store, scene, &error);
    bool failed = fail_disarm();
    json_t *after = bench_item(scene->bench, scene->key);
    bool changed = (before == NULL) != (after == NULL) ||
                   (before != NULL && after != NULL && json_equal(before, after) == 0);
    json_decref(before);
    json_decref(after);
    if (code != 0) {
        judge(operation, nth, code, &error, scene, changed);
        assert_true(failed);
    }
    dynalock_kv_free(scene->previous);
    scene->previous = NULL;
    return failed;
}

static void run_for_each_failure(const struct operation *operation, struct bench *bench, bool cold)
{
    struct scene scene = {.bench = bench, .key = bench_key(bench)};
    dynalock_store *store = cold ? NULL : bench_open(bench, NULL);
    bool failed = true;
    for (unsigned nth = cold ? 1 : 0; failed || nth == 0; nth++) { /* 0: as it should be */
        dynalock_store *used = cold ? bench_open(bench, NULL) : store;
        assert_true(nth < FAIL_MOST);
        failed = run_once(operation, used, &scene, nth);
        if (cold) {
            assert_false(run_once(operation, used, &scene, 0)); /* and it is usable afterwards */
            assert_int_equal(dynalock_close(used), 0);
        }
        failed = failed || nth == 0;
    }
    assert_int_equal(dynalock_close(store), 0);
}

static const struct operation operations[] = {
    {"put", no_record, run_put},
    {"put over a record", a_record, run_put},
    {"get", a_record, run_get},
    {"get of none", no_record, run_get_of_none},
    {"exists", a_record, run_exists},
    {"delete", a_record, run_delete},
    {"list", a_record, run_list},
    {"list each", a_record, run_list_each},
    {"create", no_record, run_atomic_put},
    {"create over an expired record", an_expired_record, run_atomic_put},
    {"create of one that is there", a_record, run_create_of_one_there},
    {"replace", a_record_as_read, run_atomic_put},
    {"replace of another", a_record_written_since, run_replace_of_another},
    {"atomic delete", a_record_as_read, run_atomic_delete},
    {"atomic delete of another", a_record_written_since, run_delete_of_another},
    {"atomic delete of none", a_record_gone_since, run_delete_of_none},
    {"table verify", no_record, run_verify},
    {"table create", no_record, run_create_table},
};

static void test_each_operation_survives_each_failure_on_a_store_in_use(void **state)
{
    for (size_t i = 0; i < COUNT(operations); i++) {
        run_for_each_failure(&operations[i], *state, false);
    }
}

/* With connection, signer and server time still to be made. */
static void test_each_operation_survives_each_failure_on_a_new_store(void **state)
{
    static const char *const chosen[] = {"put", "get", "create over an expired record"};
    for (size_t i = 0; i < COUNT(operations); i++) {
        for (size_t c = 0; c < COUNT(chosen); c++) {
            if (strcmp(operations[i].name, chosen[c]) == 0) {
                run_for_each_failure(&operations[i], *state, true);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_operation_survives_each_failure_on_a_store_in_use),
        cmocka_unit_test(test_each_operation_survives_each_failure_on_a_new_store),
    };
    fail_install();
    return cmocka_run_group_tests(tests, bench_setup, bench_teardown);
}
