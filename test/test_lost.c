/* SPDX-License-Identifier: Apache-2.0 */
/* Answers that are lost: what becomes of each kind of write, and what the caller is told. */
#include "support.h"

#include <time.h>

enum kind { PUT, DELETE, CREATE, REPLACE, ATOMIC_DELETE, KINDS };

static const char *const operations[KINDS] = {"UpdateItem", "DeleteItem", "PutItem", "UpdateItem",
                                              "DeleteItem"};

/* One write, on this thread or another. */
struct write {
    dynalock_store *store;
    const char *key;
    enum kind kind;
    dynalock_kv *previous;
    dynalock_kv *kv;
    int code;
    dynalock_error error;
    pthread_t thread;
};

static void *run(void *argument)
{
    struct write *w = argument;
    const dynalock_value value = dynalock_bytes("new", 3);
    memset(&w->error, 0, sizeof w->error);
    switch (w->kind) {
    case PUT: w->code = dynalock_put(w->store, w->key, value, NULL, &w->error); break;
    case DELETE: w->code = dynalock_delete(w->store, w->key, &w->error); break;
    case CREATE:
    case REPLACE:
        w->code =
            dynalock_atomic_put(w->store, w->key, value, w->previous, NULL, &w->kv, &w->error);
        break;
    default: w->code = dynalock_atomic_delete(w->store, w->key, w->previous, &w->error);
    }
    return NULL;
}

static struct write begin(struct bench *b, dynalock_store *store, enum kind kind)
{
    struct write w = {.store = store, .key = bench_key(b), .kind = kind};
    if (kind != CREATE) {
        check(dynalock_atomic_put(store, w.key, dynalock_bytes("old", 3), NULL, NULL, &w.previous,
                                  &failure),
              DYNALOCK_OK);
    } else {
        check(dynalock_delete(store, w.key, &failure), DYNALOCK_OK);
    }
    bench_reset(b);
    return w;
}

static void end(struct write *w)
{
    dynalock_kv_free(w->previous);
    dynalock_kv_free(w->kv);
}

static void assert_code(const struct write *w, int code, bool unknown)
{
    failure = w->error;
    check_result(w->code, code, operations[w->kind], __FILE__, __LINE__);
    if (code != DYNALOCK_OK) {
        assert_int_equal((w->error.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN) != 0, unknown);
    }
}

/* A store that gives up an attempt soon. */
static dynalock_store *hasty(struct bench *b, int64_t attempt_timeout_ms, int max_attempts)
{
    dynalock_options options = bench_options(b);
    options.attempt_timeout_ms = attempt_timeout_ms;
    options.max_attempts = max_attempts;
    return bench_open(b, &options);
}

/* All attempts of the write, of which there were this many at the least, had one body. */
static void assert_one_body(struct bench *b, enum kind kind, size_t least)
{
    json_t *log = rig_log(b->rig, operations[kind]);
    const json_t *first = json_object_get(json_array_get(log, 0), "request");
    assert_true(json_array_size(log) >= least);
    for (size_t i = 1; i < json_array_size(log); i++) {
        assert_true(json_equal(first, json_object_get(json_array_get(log, i), "request")));
    }
    json_decref(log);
}

static void assert_written(struct bench *b, const struct write *w, int64_t version)
{
    json_t *item = bench_item(b, w->key);
    assert_non_null(item);
    assert_int_equal(item_number(item, "version"), version);
    assert_string_equal(item_text(item, "payload", "S"), "bmV3");
    json_decref(item);
}

static void assert_gone(struct bench *b, const char *key)
{
    json_t *item = bench_item(b, key);
    assert_null(item);
}

/* ---- One answer lost, on either kind of connection, in every way ----------------------------- */

static const struct loss {
    const char *action;
    bool fresh; /* on a new connection */
} losses[] = {
    {"'drop'", true},
    {"'drop'", false},
    {"{'do':'reset'}", true},
    {"{'do':'reset'}", false},
    {"{'do':'truncate'}", true},
    {"{'do':'truncate','bytes':0}", true},
    {"'wrong-crc'", false},
    {"{'do':'status','status':500,'forward':true}", false},
    {"{'do':'status','status':503,'forward':true,'body':'<html>try later</html>'}", false},
    {"{'do':'blackhole','forward':true}", false},
};

/* The action is JSON with ' for ". */
static void lose(struct bench *b, const char *op, int times, const char *action)
{
    json_t *json = json_text(action);
    char *quoted = json_dumps(json, JSON_ENCODE_ANY | JSON_COMPACT);
    rig_fault(b->rig, "'match':{'op':'%s'},'times':%d,'action':%s", op, times, quoted);
    free(quoted);
    json_decref(json);
}

static struct write lose_one(struct bench *b, dynalock_store *store, enum kind kind,
                             const struct loss *loss)
{
    struct write w = begin(b, store, kind);
    if (loss->fresh) {
        rig_do(b->rig, "'cmd':'hang-up'");
    }
    lose(b, operations[kind], 1, loss->action);
    (void)run(&w);
    return w;
}

static void test_a_put_whose_answer_is_lost_is_done(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = hasty(b, 700, 4);
    for (size_t i = 0; i < COUNT(losses); i++) {
        struct write w = lose_one(b, store, PUT, &losses[i]);
        assert_code(&w, DYNALOCK_OK, false);
        assert_one_body(b, PUT, 2);
        assert_written(b, &w, dynalock_kv_version(w.previous) + 2);
        end(&w);
    }
    dynalock_close(store);
}

static void test_a_delete_whose_answer_is_lost_is_done(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = hasty(b, 700, 4);
    for (size_t i = 0; i < COUNT(losses); i++) {
        struct write w = lose_one(b, store, DELETE, &losses[i]);
        assert_code(&w, DYNALOCK_OK, false);
        assert_one_body(b, DELETE, 2);
        assert_gone(b, w.key);
        end(&w);
    }
    dynalock_close(store);
}

static uint64_t adopted(dynalock_store *store)
{
    dynalock_counters counters;
    check(dynalock_store_counters(store, &counters), DYNALOCK_OK);
    return counters.adopted;
}

static void test_a_create_whose_answer_is_lost_is_recognised(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = hasty(b, 700, 4);
    for (size_t i = 0; i < COUNT(losses); i++) {
        struct write w = lose_one(b, store, CREATE, &losses[i]);
        assert_code(&w, DYNALOCK_OK, false);
        assert_one_body(b, CREATE, 2);
        assert_written(b, &w, dynalock_kv_version(w.kv));
        assert_int_equal(adopted(store), i + 1);
        check(dynalock_atomic_delete(store, w.key, w.kv, &failure), DYNALOCK_OK);
        end(&w);
    }
    dynalock_close(store);
}

static void test_a_replace_whose_answer_is_lost_is_recognised(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = hasty(b, 700, 4);
    for (size_t i = 0; i < COUNT(losses); i++) {
        struct write w = lose_one(b, store, REPLACE, &losses[i]);
        assert_code(&w, DYNALOCK_OK, false);
        assert_one_body(b, REPLACE, 2);
        assert_int_equal(dynalock_kv_version(w.kv), dynalock_kv_version(w.previous) + 1);
        assert_written(b, &w, dynalock_kv_version(w.kv));
        assert_int_equal(adopted(store), i + 1);
        check(dynalock_atomic_delete(store, w.key, w.kv, &failure), DYNALOCK_OK);
        end(&w);
    }
    dynalock_close(store);
}

static void test_an_atomic_delete_whose_answer_is_lost_says_so(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = hasty(b, 700, 4);
    for (size_t i = 0; i < COUNT(losses); i++) {
        struct write w = lose_one(b, store, ATOMIC_DELETE, &losses[i]);
        assert_one_body(b, ATOMIC_DELETE, 2);
        assert_gone(b, w.key);
        assert_code(&w, DYNALOCK_ERR_NOT_FOUND, true);
        end(&w);
    }
    dynalock_close(store);
}

static void test_a_request_that_never_arrived_is_sent_again(void **state)
{
    struct bench *b = *state;
    for (int kind = 0; kind < KINDS; kind++) {
        struct write w = begin(b, b->store, (enum kind)kind);
        rig_fault(b->rig, "'match':{'op':'%s'},'action':'drop-before'", operations[kind]);
        (void)run(&w);
        assert_code(&w, DYNALOCK_OK, false);
        assert_one_body(b, (enum kind)kind, 2);
        end(&w);
    }
}

static void test_a_conditional_write_that_is_delivered_twice_is_recognised(void **state)
{
    struct bench *b = *state;
    for (int kind = CREATE; kind <= REPLACE; kind++) {
        struct write w = begin(b, b->store, (enum kind)kind);
        rig_fault(b->rig, "'match':{'op':'%s'},'action':'twice'", operations[kind]);
        (void)run(&w);
        assert_code(&w, DYNALOCK_OK, false);
        assert_written(b, &w, dynalock_kv_version(w.kv));
        end(&w);
    }
}

/* ---- The answer lost, and others at work before the next attempt ----------------------------- */

static void overwrite(struct bench *b, const char *key, int64_t version, const char *nonce)
{
    bench_put_item(b, key,
                   "'version':{'N':'%" PRId64 "'},'expires':{'N':'%" PRId64 "'},'nonce':{'S':'%s'}",
                   version, (int64_t)time(NULL) + 60, nonce);
}

/* Starts the write; its first attempt meets the fault, and its second waits at the proxy. */
static struct write interrupt(struct bench *b, enum kind kind, const char *action)
{
    struct write w = begin(b, b->store, kind);
    rig_do(b->rig, "'cmd':'hang-up'");
    rig_fault(b->rig, "'match':{'op':'%s'},'action':'%s'", operations[kind], action);
    rig_fault(b->rig, "'match':{'op':'%s'},'action':{'do':'hold','where':'request'}",
              operations[kind]);
    return w;
}

static void start(struct bench *b, struct write *w)
{
    assert_int_equal(pthread_create(&w->thread, NULL, run, w), 0);
    assert_true(rig_wait(b->rig, operations[w->kind], "held", 1, 10000));
}

static void finish(struct bench *b, struct write *w)
{
    assert_int_equal(rig_let_go(b->rig), 1);
    assert_int_equal(pthread_join(w->thread, NULL), 0);
}

#define OTHERS_NONCE "00000000000000000000000000000000.1.5"

/* The answer to the second attempt does not show what is there, and then nothing answers any more. */
static void test_a_write_whose_outcome_cannot_be_read_may_have_happened(void **state)
{
    struct bench *b = *state;
    for (int kind = CREATE; kind <= ATOMIC_DELETE; kind++) {
        dynalock_store *store = hasty(b, 5000, 2);
        struct write w = begin(b, store, (enum kind)kind);
        lose(b, operations[kind], 1, "'drop'");
        lose(b, operations[kind], 1,
             "{'do':'status','status':400,'type':'x#ConditionalCheckFailedException'}");
        lose(b, "GetItem", -1, "'status'");
        (void)run(&w);
        assert_code(&w, DYNALOCK_ERR_SERVICE, true);
        assert_int_equal(bench_count(b, "GetItem"), 2);
        rig_clear_faults(b->rig);
        dynalock_close(store);
        end(&w);
    }
}

static void test_a_create_followed_by_anothers_is_not_known_to_have_failed(void **state)
{
    struct bench *b = *state;
    static const char *const actions[] = {"drop", "drop-before"};
    for (size_t i = 0; i < COUNT(actions); i++) {
        struct write w = interrupt(b, CREATE, actions[i]);
        start(b, &w);
        overwrite(b, w.key, 5, OTHERS_NONCE);
        finish(b, &w);
        assert_code(&w, DYNALOCK_ERR_EXISTS, true);
        assert_null(w.kv);
        end(&w);
    }
}

static void test_a_create_that_another_deleted_is_done_again(void **state)
{
    struct bench *b = *state;
    struct write w = interrupt(b, CREATE, "drop");
    start(b, &w);
    bench_delete_item(b, w.key);
    finish(b, &w);
    assert_code(&w, DYNALOCK_OK, false);
    assert_written(b, &w, dynalock_kv_version(w.kv));
    end(&w);
}

static void test_a_create_that_go_has_written_over_is_recognised(void **state)
{
    struct bench *b = *state;
    struct write w = interrupt(b, CREATE, "drop");
    start(b, &w);
    json_t *item = bench_item(b, w.key);
    int64_t version = item_number(item, "version");
    overwrite(b, w.key, version + 1, item_text(item, "nonce", "S"));
    finish(b, &w);
    assert_code(&w, DYNALOCK_OK, false);
    assert_int_equal(dynalock_kv_version(w.kv), version);
    check(dynalock_atomic_delete(b->store, w.key, w.kv, &failure), DYNALOCK_ERR_MODIFIED);
    json_decref(item);
    end(&w);
}

/* What stands in the table when a replace is tried again, and what the caller is to hear. */
static const struct meeting {
    const char *action;
    int version; /* less the previous one's; -1: gone; -9: a small version */
    bool own_nonce;
    int code;
    bool unknown;
} replaces[] = {
    {"drop", 2, false, DYNALOCK_ERR_MODIFIED, true},
    {"drop", 9, false, DYNALOCK_ERR_MODIFIED, true},
    {"drop", -1, false, DYNALOCK_ERR_MODIFIED, true},
    {"drop", -9, false, DYNALOCK_ERR_MODIFIED, true},
    {"drop", 2, true, DYNALOCK_OK, false},
    {"drop-before", 1, false, DYNALOCK_ERR_MODIFIED, false},
    {"drop-before", 0, false, DYNALOCK_ERR_MODIFIED, false},
    {"drop-before", 2, false, DYNALOCK_ERR_MODIFIED, true},
    {"drop-before", -1, false, DYNALOCK_ERR_MODIFIED, true},
};

static void test_a_replace_followed_by_anothers_says_what_can_be_known(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(replaces); i++) {
        const struct meeting *m = &replaces[i];
        struct write w = interrupt(b, REPLACE, m->action);
        int64_t version = dynalock_kv_version(w.previous);
        start(b, &w);
        json_t *item = bench_item(b, w.key);
        if (m->version == -1) {
            bench_delete_item(b, w.key);
        } else {
            overwrite(b, w.key, m->version == -9 ? 5 : version + m->version,
                      m->own_nonce ? item_text(item, "nonce", "S") : OTHERS_NONCE);
        }
        finish(b, &w);
        assert_code(&w, m->code, m->unknown);
        json_decref(item);
        end(&w);
    }
}

static void test_an_atomic_delete_followed_by_others_writes_says_what_can_be_known(void **state)
{
    struct bench *b = *state;
    struct write w = interrupt(b, ATOMIC_DELETE, "drop");
    start(b, &w);
    overwrite(b, w.key, 5, OTHERS_NONCE);
    finish(b, &w);
    assert_code(&w, DYNALOCK_ERR_MODIFIED, true);
    end(&w);
    w = interrupt(b, ATOMIC_DELETE, "drop-before");
    start(b, &w);
    bench_delete_item(b, w.key);
    finish(b, &w);
    assert_code(&w, DYNALOCK_ERR_NOT_FOUND, true);
    end(&w);
}

/* Removed by its first attempt, and brought back by a create that came late: nothing tells that from one that was left. */
static void test_an_atomic_delete_that_finds_its_record_expired_may_have_happened(void **state)
{
    struct bench *b = *state;
    struct write w = interrupt(b, ATOMIC_DELETE, "drop-before");
    start(b, &w);
    json_t *item = bench_item(b, w.key);
    bench_put_item(b, w.key, "'version':{'N':'%s'},'nonce':{'S':'%s'},'expires':{'N':'1700000000'}",
                   item_text(item, "version", "N"), item_text(item, "nonce", "S"));
    json_decref(item);
    finish(b, &w);
    assert_code(&w, DYNALOCK_ERR_NOT_FOUND, true);
    end(&w);
}

/* ---- No answer at all ------------------------------------------------------------------------ */

static void test_writes_without_any_answer_may_have_happened(void **state)
{
    struct bench *b = *state;
    const struct {
        const char *action;
        int code;
    } cases[] = {{"{'do':'blackhole','forward':true}", DYNALOCK_ERR_TIMEOUT},
                 {"{'do':'reset','when':'before'}", DYNALOCK_ERR_NETWORK},
                 {"'drop'", DYNALOCK_ERR_NETWORK},
                 {"{'do':'status','status':500}", DYNALOCK_ERR_SERVICE}};
    dynalock_store *store = hasty(b, 1000, 2);
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (int kind = 0; kind < KINDS; kind++) {
            struct write w = begin(b, b->store, (enum kind)kind);
            w.store = store;
            lose(b, operations[kind], -1, cases[i].action);
            (void)run(&w);
            assert_code(&w, cases[i].code, true);
            assert_true(w.error.flags & DYNALOCK_ERROR_RETRYABLE);
            assert_one_body(b, (enum kind)kind, 2);
            rig_clear_faults(b->rig);
            end(&w);
        }
    }
    dynalock_close(store);
}

static void test_a_later_throttle_does_not_settle_a_lost_answer(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = hasty(b, 5000, 2);
    for (int kind = 0; kind < KINDS; kind++) {
        struct write w = begin(b, store, (enum kind)kind);
        rig_do(b->rig, "'cmd':'hang-up'");
        rig_fault(b->rig, "'match':{'op':'%s'},'action':'drop'", operations[kind]);
        rig_fault(b->rig, "'times':-1,'action':'throttle'");
        (void)run(&w);
        assert_code(&w, DYNALOCK_ERR_THROTTLED, true);
        assert_true(w.error.flags & DYNALOCK_ERROR_THROTTLED);
        rig_clear_faults(b->rig);
        end(&w);
    }
    dynalock_close(store);
}

static void test_throttled_and_refused_writes_have_not_happened(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = hasty(b, 5000, 1);
    for (int kind = 0; kind < KINDS; kind++) {
        struct write w = begin(b, store, (enum kind)kind);
        rig_fault(b->rig, "'action':'throttle'");
        (void)run(&w);
        assert_code(&w, DYNALOCK_ERR_THROTTLED, false);
        end(&w);
        w = begin(b, store, (enum kind)kind);
        rig_fault(b->rig, "'action':{'do':'status','status':400,'type':'x#AccessDeniedException'}");
        (void)run(&w);
        assert_code(&w, DYNALOCK_ERR_NOT_AUTHORIZED, false);
        end(&w);
    }
    dynalock_close(store);
}

static void test_writes_that_found_no_server_have_not_happened(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = hasty(b, 5000, 2);
    for (int kind = 0; kind < KINDS; kind++) {
        struct write w = begin(b, store, (enum kind)kind);
        rig_do(b->rig, "'cmd':'shut'");
        (void)run(&w);
        assert_code(&w, DYNALOCK_ERR_NETWORK, false);
        assert_true(w.error.flags & DYNALOCK_ERROR_RETRYABLE);
        assert_int_equal(w.error.http_status, 0);
        rig_do(b->rig, "'cmd':'open'");
        end(&w);
    }
    dynalock_close(store);
}

static void test_reads_never_have_an_unknown_outcome(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = hasty(b, 5000, 2);
    const char *key = bench_key(b);
    dynalock_kv *kv = NULL, **items = NULL;
    size_t count = 0;
    bool exists = false;
    rig_fault(b->rig, "'times':-1,'action':{'do':'reset'}");
    check(dynalock_get(store, key, NULL, &kv, &failure), DYNALOCK_ERR_NETWORK);
    assert_int_equal(failure.flags, DYNALOCK_ERROR_RETRYABLE);
    check(dynalock_exists(store, key, NULL, &exists, &failure), DYNALOCK_ERR_NETWORK);
    assert_int_equal(failure.flags, DYNALOCK_ERROR_RETRYABLE);
    check(dynalock_list(store, key, NULL, &items, &count, &failure), DYNALOCK_ERR_NETWORK);
    assert_int_equal(failure.flags, DYNALOCK_ERROR_RETRYABLE);
    dynalock_close(store);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_clear, bench_violations)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_put_whose_answer_is_lost_is_done),
        TEST(test_a_delete_whose_answer_is_lost_is_done),
        TEST(test_a_create_whose_answer_is_lost_is_recognised),
        TEST(test_a_replace_whose_answer_is_lost_is_recognised),
        TEST(test_an_atomic_delete_whose_answer_is_lost_says_so),
        TEST(test_a_request_that_never_arrived_is_sent_again),
        TEST(test_a_conditional_write_that_is_delivered_twice_is_recognised),
        TEST(test_a_write_whose_outcome_cannot_be_read_may_have_happened),
        TEST(test_a_create_followed_by_anothers_is_not_known_to_have_failed),
        TEST(test_a_create_that_another_deleted_is_done_again),
        TEST(test_a_create_that_go_has_written_over_is_recognised),
        TEST(test_a_replace_followed_by_anothers_says_what_can_be_known),
        TEST(test_an_atomic_delete_followed_by_others_writes_says_what_can_be_known),
        TEST(test_an_atomic_delete_that_finds_its_record_expired_may_have_happened),
        TEST(test_writes_without_any_answer_may_have_happened),
        TEST(test_a_later_throttle_does_not_settle_a_lost_answer),
        TEST(test_throttled_and_refused_writes_have_not_happened),
        TEST(test_writes_that_found_no_server_have_not_happened),
        TEST(test_reads_never_have_an_unknown_outcome),
    };

    return cmocka_run_group_tests(tests, bench_setup, bench_teardown);
}
