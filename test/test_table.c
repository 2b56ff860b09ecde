/* SPDX-License-Identifier: Apache-2.0 */
/* Creating and verifying the table, and what is said of one that will not do. */
#include "support.h"

#include <unistd.h>

static const char *table_name(void)
{
    static char name[64];
    static int count;
    snprintf(name, sizeof name, "table-%ld-%d", (long)getpid(), ++count);
    return name;
}

static dynalock_store *store_of(struct bench *b, const char *table)
{
    dynalock_options options = bench_options(b);
    dynalock_store *store = NULL;
    check(dynalock_open(table, "p", &options, &store, &failure), DYNALOCK_OK);
    return store;
}

/* Straight at the server; members are JSON with ' for ". */
static json_t *raw(struct bench *b, const char *op, const char *table, const char *members)
{
    char input[1024];
    snprintf(input, sizeof input, "'TableName':'%s'%s", table, members);
    for (char *p = input; *p; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    json_t *answer = rig_raw(b->rig, op, "%s", input);
    json_t *result = json_incref(json_object_get(answer, "result"));
    json_decref(answer);
    return result;
}

static void make_table(struct bench *b, const char *table, const char *schema)
{
    char members[900];
    snprintf(members, sizeof members, ",'BillingMode':'PAY_PER_REQUEST',%s", schema);
    json_t *made = raw(b, "CreateTable", table, members);
    assert_non_null(made);
    json_decref(made);
    for (int64_t end = monotonic_ms() + 10000; monotonic_ms() < end; sleep_ms(20)) {
        json_t *described = raw(b, "DescribeTable", table, "");
        const char *status =
            json_string_value(json_object_get(json_object_get(described, "Table"), "TableStatus"));
        bool active = status && strcmp(status, "ACTIVE") == 0;
        json_decref(described);
        if (active) {
            return;
        }
    }
    fail_msg("table %s did not become active", table);
}

#define DEFINE(name, type) "{'AttributeName':'" name "','AttributeType':'" type "'}"
#define KEY(name, kind) "{'AttributeName':'" name "','KeyType':'" kind "'}"
#define SCHEMA(definitions, keys) "'AttributeDefinitions':[" definitions "],'KeySchema':[" keys "]"
#define RIGHT \
    SCHEMA(DEFINE("id", "S") "," DEFINE("name", "S"), KEY("id", "HASH") "," KEY("name", "RANGE"))

static void drop_table(struct bench *b, const char *table)
{
    json_decref(raw(b, "DeleteTable", table, ""));
}

static void set_ttl(struct bench *b, const char *table, const char *attribute)
{
    char members[200];
    snprintf(members, sizeof members,
             ",'TimeToLiveSpecification':{'AttributeName':'%s','Enabled':true}", attribute);
    json_t *done = raw(b, "UpdateTimeToLive", table, members);
    assert_non_null(done);
    json_decref(done);
}

/* With a report that was full of other things. */
static dynalock_table_report verify(dynalock_store *store)
{
    dynalock_table_report report;
    memset(&report, 0x5A, sizeof report);
    check(dynalock_table_verify(store, &report, &failure), DYNALOCK_OK);
    assert_false(report.created);
    return report;
}

static dynalock_table_report create(dynalock_store *store, bool created)
{
    dynalock_table_report report;
    memset(&report, 0x5A, sizeof report);
    dynalock_error untouched = {.code = 77};
    assert_int_equal(dynalock_table_create(store, 0, &report, &untouched), DYNALOCK_OK);
    assert_int_equal(untouched.code, 77);
    assert_int_equal(report.created, created);
    return report;
}

static void assert_report(dynalock_table_report report, int ttl, const char *word)
{
    assert_int_equal(report.ttl, ttl);
    if (ttl == DYNALOCK_TTL_ENABLED) {
        assert_string_equal(report.message, "");
    } else {
        assert_contains(report.message, word);
    }
}

/* What is said of a table of this library. dynalite has time to live "off", and cannot turn it on. */
static void assert_created(dynalock_table_report report)
{
    assert_report(report, test_is_local() ? DYNALOCK_TTL_ENABLED : DYNALOCK_TTL_UNSUPPORTED,
                  "time to live");
}

static void assert_verified(dynalock_table_report report)
{
    assert_report(report, test_is_local() ? DYNALOCK_TTL_ENABLED : DYNALOCK_TTL_DISABLED, "off");
}

/* ---- Creating -------------------------------------------------------------------------------- */

static void test_a_table_is_created_and_can_be_used_at_once(void **state)
{
    struct bench *b = *state;
    const char *table = table_name();
    dynalock_store *store = store_of(b, table);
    assert_created(create(store, true));
    check(dynalock_put(store, "k", dynalock_none(), NULL, &failure), DYNALOCK_OK);
    assert_verified(verify(store));
    assert_created(create(store, false));
    assert_int_equal(bench_count(b, "CreateTable"), 1);
    json_t *described = raw(b, "DescribeTable", table, "");
    const json_t *billing =
        json_object_get(json_object_get(described, "Table"), "BillingModeSummary");
    assert_string_equal(json_string_value(json_object_get(billing, "BillingMode")),
                        "PAY_PER_REQUEST");
    json_decref(described);
    dynalock_close(store);
    drop_table(b, table);
}

static void test_the_report_is_not_needed(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = store_of(b, b->table);
    check(dynalock_table_verify(store, NULL, &failure), DYNALOCK_OK);
    check(dynalock_table_create(store, 1, NULL, &failure), DYNALOCK_OK);
    assert_int_equal(dynalock_table_verify(store, NULL, NULL), 0);
    dynalock_close(store);
}

static void test_a_bad_wait_is_refused(void **state)
{
    struct bench *b = *state;
    check(dynalock_table_create(b->store, -1, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    check(dynalock_table_create(b->store, INT64_MAX, NULL, &failure), DYNALOCK_ERR_ARGUMENT);
    assert_int_equal(bench_count(b, NULL), 0);
}

static void test_create_waits_until_the_table_is_active(void **state)
{
    struct bench *b = *state;
    const char *table = table_name();
    dynalock_store *store = store_of(b, table);
    rig_fault(b->rig,
              "'match':{'op':'DescribeTable','nth':2},'action':{'do':'rewrite','status':200,"
              "'body':{'Table':{'TableStatus':'CREATING'}}}");
    rig_fault(b->rig, "'match':{'op':'DescribeTable','nth':2},'action':{'do':'status','status':400,"
                      "'type':'x#ResourceNotFoundException'}");
    assert_created(create(store, true));
    assert_true(bench_count(b, "DescribeTable") >= 4);
    dynalock_close(store);
    drop_table(b, table);
}

static void test_the_wait_for_the_table_has_its_limit(void **state)
{
    struct bench *b = *state;
    dynalock_table_report report = {.ttl = 99};
    rig_fault(b->rig, "'match':{'op':'DescribeTable'},'times':-1,'action':{'do':'rewrite',"
                      "'body':{'Table':{'TableStatus':'CREATING'}}}");
    int64_t begun = monotonic_ms();
    check(dynalock_table_create(b->store, 1200, &report, &failure), DYNALOCK_ERR_TIMEOUT);
    assert_in_range(monotonic_ms() - begun, 1200, 6000);
    assert_contains(failure.message, "CREATING");
    assert_true(failure.flags & DYNALOCK_ERROR_RETRYABLE);
    assert_int_equal(report.ttl, 99);
    assert_int_equal(bench_count(b, "CreateTable"), 0);
}

static void test_a_lost_answer_of_create_table_does_no_harm(void **state)
{
    struct bench *b = *state;
    const char *table = table_name();
    dynalock_store *store = store_of(b, table);
    rig_fault(b->rig, "'match':{'op':'CreateTable'},'action':'drop'");
    check(dynalock_table_create(store, 0, NULL, &failure), DYNALOCK_OK);
    assert_verified(verify(store));
    dynalock_close(store);
    drop_table(b, table);
}

struct creator {
    dynalock_store *store;
    pthread_t thread;
    int code;
    dynalock_table_report report;
    dynalock_error error;
};

static void *run(void *argument)
{
    struct creator *c = argument;
    c->code = dynalock_table_create(c->store, 0, &c->report, &c->error);
    return NULL;
}

static void start(struct creator *c)
{
    memset(&c->error, 0, sizeof c->error);
    assert_int_equal(pthread_create(&c->thread, NULL, run, c), 0);
}

static void finish(struct creator *creators, size_t count, int code)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(pthread_join(creators[i].thread, NULL), 0);
        assert_int_equal(dynalock_close(creators[i].store), 0);
    }
    for (size_t i = 0; i < count; i++) {
        failure = creators[i].error;
        check_result(creators[i].code, code, "dynalock_table_create", __FILE__, __LINE__);
    }
}

static void test_several_may_create_the_table_at_once(void **state)
{
    struct bench *b = *state;
    const char *table = table_name();
    struct creator creators[4];
    int created = 0;
    /* All have seen that there is no table before one makes it. */
    rig_fault(b->rig,
              "'match':{'op':'CreateTable'},'times':4,'action':{'do':'hold','where':'request'}");
    for (size_t i = 0; i < COUNT(creators); i++) {
        creators[i].store = store_of(b, table);
        start(&creators[i]);
    }
    assert_true(rig_wait(b->rig, "CreateTable", "held", COUNT(creators), 20000));
    assert_int_equal(rig_let_go(b->rig), COUNT(creators));
    finish(creators, COUNT(creators), DYNALOCK_OK);
    for (size_t i = 0; i < COUNT(creators); i++) {
        created += creators[i].report.created ? 1 : 0;
        assert_created(creators[i].report);
    }
    assert_int_equal(created, 1);
    drop_table(b, table);
}

#define TTL_IS(more)                                                                        \
    "'match':{'op':'DescribeTimeToLive'},'times':%d,'action':{'do':'rewrite','status':200," \
    "'body':{'TimeToLiveDescription':{'TimeToLiveStatus':" more "}}}"

static void test_another_may_turn_time_to_live_on_meanwhile(void **state)
{
    struct bench *b = *state;
    rig_fault(b->rig, TTL_IS("'DISABLED'"), 1);
    rig_fault(b->rig, TTL_IS("'ENABLING','AttributeName':'expires'"), 1);
    rig_fault(b->rig, "'match':{'op':'UpdateTimeToLive'},'action':{'do':'status','status':400,"
                      "'type':'x#ValidationException','message':'TimeToLive is already enabled'}");
    assert_report(create(b->store, false), DYNALOCK_TTL_ENABLED, "");
    assert_int_equal(bench_count(b, "UpdateTimeToLive"), 1);
}

static void test_closing_the_store_ends_the_wait(void **state)
{
    struct bench *b = *state;
    struct creator creator = {.store = store_of(b, b->table)};
    rig_fault(b->rig, "'match':{'op':'DescribeTable'},'times':-1,'action':{'do':'rewrite',"
                      "'body':{'Table':{'TableStatus':'CREATING'}}}");
    start(&creator);
    assert_true(rig_wait(b->rig, "DescribeTable", "answered", 2, 20000));
    int64_t now = monotonic_ms();
    assert_int_equal(dynalock_close(creator.store), 0);
    assert_true(monotonic_ms() - now < 10000);
    creator.store = NULL;
    finish(&creator, 1, DYNALOCK_ERR_CLOSED);
}

/* ---- Tables that will not do ----------------------------------------------------------------- */

static void test_a_table_that_is_not_there_is_called_so(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = store_of(b, table_name());
    dynalock_table_report report = {.ttl = 99};
    dynalock_kv *kv = NULL;
    check(dynalock_table_verify(store, &report, &failure), DYNALOCK_ERR_NO_TABLE);
    assert_int_equal(report.ttl, 99);
    assert_string_equal(failure.name, "ResourceNotFoundException");
    assert_int_equal(failure.http_status, 400);
    check(dynalock_get(store, "k", NULL, &kv, &failure), DYNALOCK_ERR_NO_TABLE);
    check(dynalock_put(store, "k", dynalock_none(), NULL, &failure), DYNALOCK_ERR_NO_TABLE);
    assert_int_equal(failure.flags, 0);
    dynalock_close(store);
}

static void test_tables_of_other_keys_are_refused_with_words(void **state)
{
    struct bench *b = *state;
    const struct {
        const char *schema, *word, *more;
    } tables[] = {
        {SCHEMA(DEFINE("id", "S"), KEY("id", "HASH")), "id (S)", "no sort key"},
        {SCHEMA(DEFINE("id", "N") "," DEFINE("name", "S"),
                KEY("id", "HASH") "," KEY("name", "RANGE")),
         "id (N)", "name (S)"},
        {SCHEMA(DEFINE("id", "S") "," DEFINE("name", "B"),
                KEY("id", "HASH") "," KEY("name", "RANGE")),
         "id (S)", "name (B)"},
        {SCHEMA(DEFINE("id", "S") "," DEFINE("name", "S"),
                KEY("name", "HASH") "," KEY("id", "RANGE")),
         "name (S) partition", "id (S) sort"},
        {SCHEMA(DEFINE("pk", "S") "," DEFINE("sk", "S"), KEY("pk", "HASH") "," KEY("sk", "RANGE")),
         "pk (S)", "sk (S)"},
    };
    for (size_t i = 0; i < COUNT(tables); i++) {
        const char *table = table_name();
        dynalock_table_report report = {.ttl = 99};
        make_table(b, table, tables[i].schema);
        dynalock_store *store = store_of(b, table);
        check(dynalock_table_verify(store, &report, &failure), DYNALOCK_ERR_BAD_TABLE);
        assert_contains(failure.message, tables[i].word);
        assert_contains(failure.message, tables[i].more);
        check(dynalock_table_create(store, 0, &report, &failure), DYNALOCK_ERR_BAD_TABLE);
        assert_int_equal(report.ttl, 99);
        assert_int_equal(bench_count(b, "CreateTable"), 0);
        assert_int_equal(bench_count(b, "UpdateTimeToLive"), 0);
        dynalock_close(store);
        drop_table(b, table);
    }
}

static void test_not_being_allowed_to_see_or_make_the_table_is_an_error(void **state)
{
    struct bench *b = *state;
    dynalock_store *store = store_of(b, table_name());
    rig_fault(b->rig,
              "'match':{'op':'DescribeTable'},'times':2,'action':{'do':'status','status':400,"
              "'type':'x#AccessDeniedException','message':'not you'}");
    check(dynalock_table_verify(store, NULL, &failure), DYNALOCK_ERR_NOT_AUTHORIZED);
    check(dynalock_table_create(store, 0, NULL, &failure), DYNALOCK_ERR_NOT_AUTHORIZED);
    assert_contains(failure.message, "not you");
    rig_fault(b->rig, "'match':{'op':'CreateTable'},'action':{'do':'status','status':400,"
                      "'type':'x#AccessDeniedException'}");
    check(dynalock_table_create(store, 0, NULL, &failure), DYNALOCK_ERR_NOT_AUTHORIZED);
    assert_contains(failure.message, "CreateTable");
    assert_int_equal(bench_count(b, "CreateTable"), 1);
    dynalock_close(store);
}

static void test_a_table_that_may_be_made_but_not_seen_is_not_waited_for(void **state)
{
    struct bench *b = *state;
    const char *table = table_name();
    dynalock_store *store = store_of(b, table);
    rig_fault(b->rig, "'match':{'op':'DescribeTable','nth':2},'times':-1,'action':{'do':'status',"
                      "'status':400,'type':'x#AccessDeniedException','message':'not you'}");
    check(dynalock_table_create(store, 0, NULL, &failure), DYNALOCK_ERR_NOT_AUTHORIZED);
    assert_contains(failure.message, "not you");
    assert_int_equal(bench_count(b, "CreateTable"), 1);
    assert_int_equal(bench_count(b, "DescribeTable"), 2);
    rig_clear_faults(b->rig);
    dynalock_close(store);
    drop_table(b, table);
}

/* ---- Time to live ---------------------------------------------------------------------------- */

static void test_time_to_live_that_is_off_is_told_and_turned_on(void **state)
{
    struct bench *b = *state;
    const char *table = table_name();
    make_table(b, table, RIGHT);
    dynalock_store *store = store_of(b, table);
    assert_report(verify(store), DYNALOCK_TTL_DISABLED, "off");
    assert_int_equal(bench_count(b, "UpdateTimeToLive"), 0);
    assert_created(create(store, false));
    assert_verified(verify(store));
    assert_int_equal(bench_count(b, "UpdateTimeToLive"), 1);
    dynalock_close(store);
    drop_table(b, table);
}

static void test_time_to_live_on_another_attribute_is_told_and_left(void **state)
{
    struct bench *b = *state;
    const char *table = table_name();
    make_table(b, table, RIGHT);
    if (test_is_local()) {
        set_ttl(b, table, "theirs");
    } else {
        rig_fault(b->rig, TTL_IS("'ENABLED','AttributeName':'theirs'"), 2);
    }
    dynalock_store *store = store_of(b, table);
    assert_report(verify(store), DYNALOCK_TTL_WRONG, "theirs");
    assert_report(create(store, false), DYNALOCK_TTL_WRONG, "theirs");
    assert_int_equal(bench_count(b, "UpdateTimeToLive"), 0);
    dynalock_close(store);
    drop_table(b, table);
}

/* What the server may say of the time to live, and what becomes of it. */
static const struct said {
    const char *status, *attribute;
    int ttl;
} said[] = {
    {"ENABLED", "expires", DYNALOCK_TTL_ENABLED}, {"ENABLING", "expires", DYNALOCK_TTL_ENABLED},
    {"DISABLED", "", DYNALOCK_TTL_DISABLED},      {"DISABLING", "expires", DYNALOCK_TTL_DISABLED},
    {"ENABLED", "ttl", DYNALOCK_TTL_WRONG},       {"ENABLING", "ttl", DYNALOCK_TTL_WRONG}};

static void test_every_state_of_time_to_live_is_understood(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(said); i++) {
        rig_fault(b->rig,
                  "'match':{'op':'DescribeTimeToLive'},'action':{'do':'rewrite','status':200,"
                  "'body':{'TimeToLiveDescription':{'TimeToLiveStatus':'%s'%s%s%s}}}",
                  said[i].status, *said[i].attribute ? ",\"AttributeName\":\"" : "",
                  said[i].attribute, *said[i].attribute ? "\"" : "");
        assert_report(verify(b->store), said[i].ttl,
                      said[i].ttl == DYNALOCK_TTL_WRONG ? "ttl" : "off");
    }
}

static void test_time_to_live_that_may_not_be_read_is_a_warning(void **state)
{
    struct bench *b = *state;
    rig_fault(b->rig, "'match':{'op':'DescribeTimeToLive'},'times':2,'action':{'do':'status',"
                      "'status':400,'type':'x#AccessDeniedException','message':'not you'}");
    assert_report(verify(b->store), DYNALOCK_TTL_UNREADABLE, "not you");
    assert_report(create(b->store, false), DYNALOCK_TTL_UNREADABLE, "not you");
}

static void test_time_to_live_that_may_not_be_turned_on_is_a_warning(void **state)
{
    struct bench *b = *state;
    rig_fault(b->rig, "'match':{'op':'DescribeTimeToLive'},'action':{'do':'rewrite','status':200,"
                      "'body':{'TimeToLiveDescription':{'TimeToLiveStatus':'DISABLED'}}}");
    rig_fault(b->rig, "'match':{'op':'UpdateTimeToLive'},'action':{'do':'status','status':400,"
                      "'type':'x#AccessDeniedException','message':'not you'}");
    assert_report(create(b->store, false), DYNALOCK_TTL_UNREADABLE, "not you");
    assert_int_equal(bench_count(b, "UpdateTimeToLive"), 1);
}

static void test_a_failing_service_is_no_state_of_time_to_live(void **state)
{
    struct bench *b = *state;
    dynalock_table_report report = {.ttl = 99};
    rig_fault(b->rig, "'match':{'op':'DescribeTimeToLive'},'times':4,'action':{'do':'status'}");
    check(dynalock_table_verify(b->store, &report, &failure), DYNALOCK_ERR_SERVICE);
    assert_int_equal(report.ttl, 99);
    assert_int_equal(bench_count(b, "DescribeTimeToLive"), 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_clear, bench_violations)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_table_is_created_and_can_be_used_at_once),
        TEST(test_the_report_is_not_needed),
        TEST(test_a_bad_wait_is_refused),
        TEST(test_create_waits_until_the_table_is_active),
        TEST(test_the_wait_for_the_table_has_its_limit),
        TEST(test_a_lost_answer_of_create_table_does_no_harm),
        TEST(test_several_may_create_the_table_at_once),
        TEST(test_another_may_turn_time_to_live_on_meanwhile),
        TEST(test_closing_the_store_ends_the_wait),
        TEST(test_a_table_that_is_not_there_is_called_so),
        TEST(test_tables_of_other_keys_are_refused_with_words),
        TEST(test_not_being_allowed_to_see_or_make_the_table_is_an_error),
        TEST(test_a_table_that_may_be_made_but_not_seen_is_not_waited_for),
        TEST(test_time_to_live_that_is_off_is_told_and_turned_on),
        TEST(test_time_to_live_on_another_attribute_is_told_and_left),
        TEST(test_every_state_of_time_to_live_is_understood),
        TEST(test_time_to_live_that_may_not_be_read_is_a_warning),
        TEST(test_time_to_live_that_may_not_be_turned_on_is_a_warning),
        TEST(test_a_failing_service_is_no_state_of_time_to_live),
    };

    return cmocka_run_group_tests(tests, bench_setup, bench_teardown);
}
