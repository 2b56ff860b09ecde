/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every operation on records and on the table, and every way to read a value, while one call after another that the
 * library makes of what it depends on fails: see support_fail.h. It must end with the right code, leave what it was to
 * fill in alone, lose nothing, leave the store usable, and say that a write may have happened if it has.
 */
#include "fail_system.h"
#include "support.h"
#include "support_table.h"

#define FAIL_MOST 3000
#define VALUE "some bytes"
#define A_RECORD "'version':{'N':'5'},'payload':{'S':'c29tZSBieXRlcw=='}"
#define A_TREE                                                                                   \
    "'version':{'N':'5'},'payload':{'M':{'a':{'L':[{'N':'1.5'},{'N':'7'},{'BOOL':true},{'NULL':" \
    "true}]},'b':{'B':'YQ=='},'s':{'SS':['x','y']},'n':{'NS':['1','2']},'t':{'S':'text'}}}"
#define A_LOCK                                                                                     \
    "'version':{'N':'5'},'nonce':{'S':'0123456789abcdef0123456789abcdef.1.5'},'holder':{'S':'h'}," \
    "'lease':{'N':'20000'},'expires':{'N':'4102444800'}"

/* What an operation works on: made anew for each run. */
struct scene {
    struct table *table;
    const char *key;
    dynalock_kv *previous;
    json_t *value, *attribute;
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
    table_remove(scene->table, scene->key);
}

static void a_record(struct scene *scene)
{
    table_put(scene->table, scene->key, A_RECORD);
}

static void a_tree(struct scene *scene)
{
    table_put(scene->table, scene->key, A_TREE);
}

static void a_lock(struct scene *scene)
{
    table_put(scene->table, scene->key, A_LOCK);
}

static void an_expired_record(struct scene *scene)
{
    table_put(scene->table, scene->key, "'version':{'N':'5'},'expires':{'N':'100'}");
}

static void three_records(struct scene *scene)
{
    char other[40];
    a_record(scene);
    for (int i = 0; i < 2; i++) {
        (void)snprintf(other, sizeof other, "%s/%d", scene->key, i);
        table_put(scene->table, other, A_LOCK);
    }
}

static void as_read(struct scene *scene)
{
    dynalock_store *store = table_open(scene->table, NULL);
    check(dynalock_get(store, scene->key, NULL, &scene->previous, &failure), 0);
    check(dynalock_close(store), 0);
}

static void a_record_as_read(struct scene *scene)
{
    a_record(scene);
    as_read(scene);
}

static void a_tree_as_read(struct scene *scene)
{
    a_tree(scene);
    as_read(scene);
}

static void a_record_written_since(struct scene *scene)
{
    a_record_as_read(scene);
    table_put(scene->table, scene->key, "'version':{'N':'9'}");
}

static void a_record_gone_since(struct scene *scene)
{
    a_record_as_read(scene);
    no_record(scene);
}

static void no_table(struct scene *scene)
{
    table_drop(scene->table, true);
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

static int run_put_of_nothing(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    const dynalock_write_options never = {.never_expires = true};
    return dynalock_put(store, scene->key, dynalock_none(), &never, error);
}

static int run_put_of_json(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    return dynalock_put(store, scene->key, dynalock_json(scene->value), NULL, error);
}

static int run_put_of_attribute(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    return dynalock_put(store, scene->key, dynalock_attribute(scene->attribute), NULL, error);
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
    } else {
        assert_null(bytes);
    }
    dynalock_kv_free(kv);
    return code;
}

static int run_get_of_lock(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    const dynalock_read_options cheap = {.eventually_consistent = true};
    dynalock_kv *kv = NULL;
    int code = dynalock_get(store, scene->key, &cheap, &kv, error);
    if (code == 0) {
        assert_string_equal(dynalock_kv_holder(kv), "h");
        assert_int_equal(dynalock_kv_token(kv), 5);
    }
    dynalock_kv_free(kv);
    return code;
}

static int run_get_of_none(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    dynalock_kv *kv = NULL;
    return expected(dynalock_get(store, scene->key, NULL, &kv, error), DYNALOCK_ERR_NOT_FOUND);
}

static int run_json(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    json_t *json = NULL;
    int code = dynalock_kv_json(scene->previous, &json, error);
    (void)store;
    assert_int_equal(json != NULL, code == 0);
    if (code == 0) {
        assert_int_equal(json_array_size(json_object_get(json, "a")), 4);
        assert_string_equal(json_string_value(json_object_get(json, "t")), "text");
    }
    json_decref(json);
    return code;
}

static int run_attribute(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    json_t *json = NULL;
    int code = dynalock_kv_attribute(scene->previous, &json, error);
    (void)store;
    assert_int_equal(json != NULL, code == 0);
    assert_int_equal(json_object_size(json_object_get(json, "M")), code == 0 ? 5 : 0);
    json_decref(json);
    return code;
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
    assert_int_equal(count, 3);
    dynalock_list_free(items, count);
    return 0;
}

static int count_item(dynalock_kv *kv, void *context)
{
    (void)kv;
    ++*(int *)context;
    return 0;
}

/* Pages of two. */
static int run_list_each(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    int count = 0;
    int code = dynalock_list_each(store, scene->key, NULL, count_item, &count, error);
    assert_true(code == 0 ? count == 3 : count == 0 || count == 2);
    return code;
}

static int atomic_put(dynalock_store *store, struct scene *scene, dynalock_value value,
                      const dynalock_write_options *options, dynalock_error *error)
{
    dynalock_kv *kv = scene->previous;
    int code = dynalock_atomic_put(store, scene->key, value, scene->previous, options, &kv, error);
    if (code != 0) {
        assert_ptr_equal(kv, scene->previous);
        return code;
    }
    assert_true(dynalock_kv_version(kv) > 5);
    dynalock_kv_free(kv);
    return 0;
}

static int run_atomic_put(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    return atomic_put(store, scene, dynalock_bytes("x", 1), NULL, error);
}

static int run_atomic_put_of_json(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    const dynalock_write_options options = {.ttl_ms = 5000};
    return atomic_put(store, scene, dynalock_json(scene->value), &options, error);
}

static int run_atomic_put_of_attribute(dynalock_store *store, struct scene *scene,
                                       dynalock_error *error)
{
    const dynalock_write_options never = {.never_expires = true};
    return atomic_put(store, scene, dynalock_attribute(scene->attribute), &never, error);
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

/* A record that is gone after a lost answer may have been removed by another: that is said, and is right. */
static int run_atomic_delete(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    int code = dynalock_atomic_delete(store, scene->key, scene->previous, error);
    bool unknown = code != 0 && (error->flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN) != 0;
    return code == DYNALOCK_ERR_NOT_FOUND && unknown && !table_has(scene->table, scene->key) ? 0
                                                                                             : code;
}

static int run_delete_of_another(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    return expected(dynalock_atomic_delete(store, scene->key, scene->previous, error),
                    DYNALOCK_ERR_MODIFIED);
}

static int run_delete_of_none(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    return expected(dynalock_atomic_delete(store, scene->key, scene->previous, error),
                    DYNALOCK_ERR_NOT_FOUND);
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

static int run_counters(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    dynalock_counters counters;
    (void)scene;
    (void)error;
    return dynalock_store_counters(store, &counters);
}

static int run_describe(dynalock_store *store, struct scene *scene, dynalock_error *error)
{
    dynalock_store_info info;
    (void)scene;
    return dynalock_store_describe(store, &info, error);
}

/* ---- One run with a failure, and what must hold after it ---- */

/* The error is that of what failed, and says no more and no less than what has happened to the record. */
static void judge(const struct operation *operation, unsigned nth, int code,
                  const dynalock_error *error, struct scene *scene, bool changed)
{
    if (!fail_explains(code) || error->code == 0 || error->message[0] == '\0') {
        fail_msg("%s, with %s failing as call %u: code %d, \"%s\"", operation->name, fail_what(),
                 nth, code, error->message);
    }
    if (changed && (error->flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN) == 0) {
        fail_msg("%s, with %s failing as call %u: code %d, and the record was written",
                 operation->name, fail_what(), nth, code);
    }
    if ((error->flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN) != 0 &&
        table_count(scene->table, NULL) == 0) {
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
    json_t *before = table_item(scene->table, scene->key);
    table_reset(scene->table);
    fail_arm(nth, 1);
    int code = operation->run(store, scene, &error);
    bool failed = fail_disarm();
    json_t *after = table_item(scene->table, scene->key);
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
    table_drop(scene->table, false);
    return failed;
}

/* cold: with connection, signer and server time still to be made. */
static void sweep(const struct operation *operation, struct scene *scene, bool cold)
{
    char name[80];
    dynalock_store *store = cold ? NULL : table_open(scene->table, NULL);
    bool failed = true;
    scene->key = table_key(scene->table);
    unsigned step = fail_step(operation->run == run_create_table ? 5 : 1); /* that one waits */
    for (unsigned nth = cold ? 1 : 0; failed || nth == 0;
         nth += nth == 0 ? 1 : step) { /* 0: none */
        dynalock_store *used = cold ? table_open(scene->table, NULL) : store;
        assert_true(nth < FAIL_MOST);
        failed = run_once(operation, used, scene, nth);
        if (cold) {
            assert_false(run_once(operation, used, scene, 0)); /* and it is usable afterwards */
            check(dynalock_close(used), 0);
        }
        failed = failed || nth == 0;
    }
    if (!cold) {
        assert_false(run_once(operation, store, scene, 0));
    }
    check(dynalock_close(store), 0);
    (void)snprintf(name, sizeof name, "%s%s", operation->name, cold ? ", on a new store" : "");
    (void)fail_report(name);
}

static const struct operation operations[] = {
    {"put", no_record, run_put},
    {"put over a record", a_record, run_put},
    {"put of no value", a_record, run_put_of_nothing},
    {"put of JSON", no_record, run_put_of_json},
    {"put of an attribute value", no_record, run_put_of_attribute},
    {"get", a_record, run_get},
    {"get of a lock", a_lock, run_get_of_lock},
    {"get of none", no_record, run_get_of_none},
    {"kv json", a_tree_as_read, run_json},
    {"kv attribute", a_tree_as_read, run_attribute},
    {"exists", a_record, run_exists},
    {"delete", a_record, run_delete},
    {"list", three_records, run_list},
    {"list each", three_records, run_list_each},
    {"create", no_record, run_atomic_put},
    {"create over an expired record", an_expired_record, run_atomic_put},
    {"create of one that is there", a_record, run_create_of_one_there},
    {"replace", a_record_as_read, run_atomic_put},
    {"replace by JSON", a_record_as_read, run_atomic_put_of_json},
    {"replace by an attribute value", a_record_as_read, run_atomic_put_of_attribute},
    {"replace of another", a_record_written_since, run_replace_of_another},
    {"atomic delete", a_record_as_read, run_atomic_delete},
    {"atomic delete of another", a_record_written_since, run_delete_of_another},
    {"atomic delete of none", a_record_gone_since, run_delete_of_none},
    {"table verify", no_record, run_verify},
    {"table create", no_table, run_create_table},
    {"table create of one that is there", no_record, run_create_table},
    {"store counters", no_record, run_counters},
    {"store describe", no_record, run_describe},
};

static void test_each_operation_survives_each_failure_on_a_store_in_use(void **state)
{
    for (size_t i = 0; i < COUNT(operations); i++) {
        sweep(&operations[i], *state, false);
    }
}

static void test_each_operation_survives_each_failure_on_a_new_store(void **state)
{
    static const char *const chosen[] = {"put", "get", "create over an expired record", "list"};
    for (size_t i = 0; i < COUNT(operations); i++) {
        for (size_t c = 0; c < COUNT(chosen); c++) {
            if (strcmp(operations[i].name, chosen[c]) == 0) {
                sweep(&operations[i], *state, true);
            }
        }
    }
}

static int begin(void **state)
{
    static struct scene scene;
    scene.table = table_start();
    scene.value = json_text("{'a':[1,1.5,true,null],'s':'text','m':{'k':'v'}}");
    scene.attribute = json_text(
        "{'M':{'s':{'SS':['a','b']},'n':{'NS':['1','2']},'b':{'BS':['YQ==']},'l':{'L':[{'N':'1'}]}}}");
    *state = &scene;
    return 0;
}

static int end(void **state)
{
    struct scene *scene = *state;
    table_end(scene->table);
    json_decref(scene->value);
    json_decref(scene->attribute);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_operation_survives_each_failure_on_a_store_in_use),
        cmocka_unit_test(test_each_operation_survives_each_failure_on_a_new_store),
    };
    fail_install();
    return cmocka_run_group_tests(tests, begin, end);
}
