/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records that a stranger wrote, in the place of a lock's, over the record of a lock that is held, and the time to
 * live of the table: the answer is a clear error or waiting; never a theft, never a crash.
 */
#include "support_lock.h"

#define AHEAD "\"expires\":{\"N\":\"4102444800\"}" /* 2100 */
#define PAST "\"expires\":{\"N\":\"1600000000\"}"
#define VERSION "\"version\":{\"N\":\"5\"}"
#define TENURE "00112233445566778899aabbccddeeff"
#define OURS "\"nonce\":{\"S\":\"" TENURE ".1.5\"},\"lease\":{\"N\":\"20000\"}"
#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

static const dynalock_lock_options quick = {.poll_ms = 100};

/* A record of these attributes. The functions that read it give an answer, whatever it is. */
static void put_record(struct bench *b, const char *key, const char *attributes)
{
    bench_put_item(b, key, "%s", attributes);
}

static void read_it_all(struct bench *b, const char *key)
{
    dynalock_kv *kv = NULL, **items = NULL;
    size_t count = 0;
    bool exists = false;
    int codes[3] = {dynalock_get(b->store, key, NULL, &kv, NULL),
                    dynalock_exists(b->store, key, NULL, &exists, NULL),
                    dynalock_list(b->store, key, NULL, &items, &count, NULL)};
    for (size_t i = 0; i < COUNT(codes); i++) {
        assert_true(codes[i] == 0 || codes[i] == DYNALOCK_ERR_NOT_FOUND ||
                    codes[i] == DYNALOCK_ERR_TYPE);
    }
    dynalock_kv_free(kv);
    dynalock_list_free(items, count);
}

/* One try at a lock with that record in its place. A record that is not taken over is left as it is. */
static void try_over(struct bench *b, const char *attributes, int expected)
{
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(b->store, key, quick);
    put_record(b, key, attributes);
    json_t *before = bench_item(b, key);
    if (expected == DYNALOCK_ERR_TYPE) {
        read_it_all(b, key);
    }
    int code = dynalock_lock_acquire(lock, -1, 0, &failure);
    json_t *after = bench_item(b, key);
    if (code != expected || (code != 0 && !json_equal(before, after))) {
        fail_msg("%.300s: %d (%s), not %d", attributes, code, code ? failure.message : "acquired",
                 expected);
    }
    if (code == DYNALOCK_ERR_TYPE) {
        assert_contains(failure.message, "record");
    } else if (code == 0) {
        assert_true(dynalock_lock_token(lock) > 5);
        assert_int_equal(json_object_size(after), 7); /* nothing of the stranger's is left */
        check(dynalock_lock_release(lock, &failure), 0);
    }
    json_decref(before);
    json_decref(after);
    dynalock_lock_free(lock);
}

/* ---- In the place of a lock's record ---------------------------------------------------------- */

/* Attributes, and what comes of a try where the record expires in 2100, and where it has expired long ago. */
struct shape {
    const char *attributes;
    int ahead, past;
};

#define WAITS DYNALOCK_ERR_NOT_ACQUIRED
#define ODD DYNALOCK_ERR_TYPE

static const struct shape versions[] = {
    {VERSION, WAITS, 0},
    {"", ODD, ODD},
    {"\"version\":{\"N\":\"0\"}", WAITS, 0},
    {"\"version\":{\"N\":\"-5\"}", WAITS, 0},
    {"\"version\":{\"N\":\"-9223372036854775808\"}", WAITS, 0},
    {"\"version\":{\"N\":\"-9223372036854775809\"}", ODD, ODD},
    {"\"version\":{\"N\":\"9223372036854775807\"}", ODD, ODD},
    {"\"version\":{\"N\":\"9223372036854775808\"}", ODD, ODD},
    {"\"version\":{\"N\":\"1E+40\"}", ODD, ODD},
    {"\"version\":{\"N\":\"-1E+40\"}", ODD, ODD},
    {"\"version\":{\"N\":\"1E+2\"}", WAITS, 0},
    {"\"version\":{\"N\":\"1.5\"}", ODD, ODD},
    {"\"version\":{\"N\":\"1E-100\"}", ODD, ODD},
    {"\"version\":{\"S\":\"5\"}", ODD, ODD},
    {"\"version\":{\"NULL\":true}", ODD, ODD},
    {"\"version\":{\"BOOL\":true}", ODD, ODD},
    {"\"version\":{\"NS\":[\"5\"]}", ODD, ODD},
    {"\"version\":{\"L\":[{\"N\":\"5\"}]}", ODD, ODD},
    {"\"version\":{\"M\":{\"N\":{\"N\":\"5\"}}}", ODD, ODD},
    {"\"version\":{\"B\":\"NQ==\"}", ODD, ODD},
};

static const struct shape tenures[] = {
    {"\"nonce\":{\"S\":\"\"}", WAITS, 0},
    {"\"nonce\":{\"S\":\"x\"}", WAITS, 0},
    {"\"nonce\":{\"S\":\"" TENURE "\"}", WAITS, 0},
    {"\"nonce\":{\"S\":\"" TENURE ".1\"}", WAITS, 0},
    {"\"nonce\":{\"S\":\"" TENURE ".1.\"}", WAITS, 0},
    {"\"nonce\":{\"S\":\"" TENURE "..5\"}", WAITS, 0},
    {"\"nonce\":{\"S\":\"" TENURE ".1.5\"}", WAITS, 0},
    {"\"nonce\":{\"S\":\"" TENURE ".1.6\"},\"lease\":{\"N\":\"1\"}", WAITS, 0}, /* of no version */
    {"\"nonce\":{\"S\":\"" TENURE ".1.05\"},\"lease\":{\"N\":\"1\"}", WAITS, 0},
    {"\"nonce\":{\"S\":\"" TENURE "." HUNDRED HUNDRED ".5\"}", WAITS, 0},
    {"\"nonce\":{\"S\":\"" HUNDRED HUNDRED HUNDRED HUNDRED ".1.5\"}", WAITS, 0},
    {"\"nonce\":{\"S\":\"\\u00e9\\ud83d\\ude00\"}", WAITS, 0},
    {"\"nonce\":{\"S\":\"" TENURE ".1.5\\u0000\"}", ODD, ODD},
    {"\"nonce\":{\"N\":\"5\"}", ODD, ODD},
    {"\"nonce\":{\"NULL\":true}", ODD, ODD},
    {"\"nonce\":{\"B\":\"eA==\"}", ODD, ODD},
    {"\"nonce\":{\"L\":[]}", ODD, ODD},
    {OURS, WAITS, 0},
    {OURS ",\"holder\":{\"S\":\"Ada\"}", WAITS, 0},
    {OURS ",\"holder\":{\"S\":\"\"}", WAITS, 0},
    {OURS ",\"holder\":{\"S\":\"" HUNDRED HUNDRED HUNDRED "%s%n\"}", WAITS, 0},
    {OURS ",\"holder\":{\"S\":\"\\u0000\\n\\u001b[2J\"}", WAITS, 0},
    {OURS ",\"holder\":{\"N\":\"5\"}", WAITS, 0},
    {OURS ",\"holder\":{\"M\":{}}", WAITS, 0},
    {"\"nonce\":{\"S\":\"" TENURE ".1.5\"},\"lease\":{\"N\":\"0\"}", WAITS, 0},
    {"\"nonce\":{\"S\":\"" TENURE ".1.5\"},\"lease\":{\"N\":\"-1\"}", WAITS, 0},
    {"\"nonce\":{\"S\":\"" TENURE ".1.5\"},\"lease\":{\"N\":\"1\"}", WAITS, 0},
    {"\"nonce\":{\"S\":\"" TENURE ".1.5\"},\"lease\":{\"N\":\"0.5\"}", WAITS, 0},
    {"\"nonce\":{\"S\":\"" TENURE ".1.5\"},\"lease\":{\"N\":\"9223372036854775807\"}", WAITS, 0},
    {"\"nonce\":{\"S\":\"" TENURE ".1.5\"},\"lease\":{\"N\":\"9223372036854775\"}", WAITS, 0},
    {"\"nonce\":{\"S\":\"" TENURE ".1.5\"},\"lease\":{\"N\":\"9E+125\"}", WAITS, 0},
    {"\"nonce\":{\"S\":\"" TENURE ".1.5\"},\"lease\":{\"S\":\"20000\"}", WAITS, 0},
    {"\"nonce\":{\"S\":\"" TENURE ".1.5\"},\"lease\":{\"NULL\":true}", WAITS, 0},
    {"\"lease\":{\"N\":\"1\"},\"holder\":{\"S\":\"Ada\"}", WAITS, 0}, /* and no nonce */
    {"\"payload\":{\"NULL\":true}", WAITS, 0},
    {"\"payload\":{\"S\":\"no base64!\"}", WAITS, 0},
    {"\"payload\":{\"N\":\"12345678901234567890123456789012345678\"}", WAITS, 0},
    {"\"payload\":{\"L\":[{\"NULL\":true},{\"M\":{\"a\":{\"SS\":[\"x\"]}}}]}", WAITS, 0},
    {"\"payload\":{\"B\":\"AAEC\"}", WAITS, 0},
    {"\"payload\":{\"BOOL\":false},\"other\":{\"S\":\"x\"},\"size\":{\"N\":\"1\"}", WAITS, 0},
};

/* Guard: a record is a dynalock's only with an int64 version, and is then taken over exactly as seen. */
static void test_a_version_of_any_shape_is_an_error_or_a_holder(void **state)
{
    struct bench *b = *state;
    char text[2000];
    warm(b->store);
    for (size_t i = 0; i < COUNT(versions); i++) {
        const char *comma = versions[i].attributes[0] != '\0' ? "," : "";
        snprintf(text, sizeof text, "%s%s" AHEAD, versions[i].attributes, comma);
        try_over(b, text, versions[i].ahead);
        snprintf(text, sizeof text, "%s%s" PAST, versions[i].attributes, comma);
        try_over(b, text, versions[i].past);
    }
}

/* Guard: nonce, holder and lease mean something only in the form that dynalock writes, at the record's version. */
static void test_a_nonce_holder_lease_or_payload_of_any_shape_opens_no_lock(void **state)
{
    struct bench *b = *state;
    char text[2000];
    warm(b->store);
    for (size_t i = 0; i < COUNT(tenures); i++) {
        snprintf(text, sizeof text, VERSION "," AHEAD ",%s", tenures[i].attributes);
        try_over(b, text, tenures[i].ahead);
        snprintf(text, sizeof text, VERSION "," PAST ",%s", tenures[i].attributes);
        try_over(b, text, tenures[i].past);
    }
}

/* Guard: expires is seconds, rounded down, and of any size; what is no number is no expiry to judge by. */
static void test_an_expiry_of_any_shape_is_seconds_or_an_error(void **state)
{
    static const struct {
        const char *expires;
        int code;
    } cases[] = {
        {"{\"N\":\"1700000000000\"}", WAITS}, /* milliseconds: the year 55840 */
        {"{\"N\":\"1700000000000000\"}", WAITS},
        {"{\"N\":\"1700000000.999\"}", 0},
        {"{\"N\":\"4102444800.5\"}", WAITS},
        {"{\"N\":\"9223372036854775807\"}", WAITS},
        {"{\"N\":\"9223372036854775808\"}", WAITS},
        {"{\"N\":\"9223372036854\"}", WAITS}, /* the last second that is an int64 of microseconds */
        {"{\"N\":\"9223372036855\"}", WAITS},
        {"{\"N\":\"1E+125\"}", WAITS},
        {"{\"N\":\"-1E+125\"}", 0},
        {"{\"N\":\"-9223372036854775808\"}", 0},
        {"{\"N\":\"-9223372036854775809\"}", 0},
        {"{\"N\":\"-1\"}", 0},
        {"{\"N\":\"-0.5\"}", 0},
        {"{\"N\":\"0\"}", 0},
        {"{\"N\":\"1E-130\"}", 0},
        {"{\"N\":\"1\"}", 0}, /* released */
        {"{\"N\":\"1.5\"}", 0},
        {"{\"N\":\"2\"}", 0},
        {"{\"S\":\"1\"}", ODD},
        {"{\"S\":\"2100-01-01\"}", ODD},
        {"{\"NULL\":true}", ODD},
        {"{\"BOOL\":true}", ODD},
        {"{\"NS\":[\"1\"]}", ODD},
        {"{\"M\":{}}", ODD},
    };
    struct bench *b = *state;
    char text[400];
    warm(b->store);
    for (size_t i = 0; i < COUNT(cases); i++) {
        snprintf(text, sizeof text, VERSION ",\"expires\":%s", cases[i].expires);
        try_over(b, text, cases[i].code);
        snprintf(text, sizeof text, VERSION "," OURS ",\"expires\":%s", cases[i].expires);
        try_over(b, text, cases[i].code);
    }
}

/* Guard: a clock that is not known has no expiry passed but that of what was released. */
static void test_without_a_date_only_what_was_released_is_free(void **state)
{
    struct bench *b = *state;
    rig_do(b->rig, "'cmd':'set','date':'none'");
    try_over(b, VERSION "," PAST, WAITS);
    try_over(b, VERSION "," OURS "," PAST, WAITS);
    try_over(b, VERSION ",\"expires\":{\"N\":\"0\"}", WAITS);
    try_over(b, VERSION ",\"expires\":{\"N\":\"-1E+125\"}", WAITS);
    try_over(b, VERSION "," AHEAD, WAITS);
    try_over(b, VERSION ",\"expires\":{\"N\":\"1\"}", 0);
}

/* Guard: an error ends the wait, for nothing will change by waiting. */
static void test_a_wait_for_a_record_that_is_no_lock_ends_at_once(void **state)
{
    struct bench *b = *state;
    const char *key = bench_key(b);
    dynalock_lock *lock = lock_make(b->store, key, quick);
    put_record(b, key, "\"version\":{\"S\":\"5\"}," AHEAD);
    int64_t began_ms = monotonic_ms();
    check(dynalock_lock_acquire(lock, -1, LONG_MS, &failure), DYNALOCK_ERR_TYPE);
    assert_true(monotonic_ms() - began_ms < LONG_MS / 4);
    assert_contains(failure.message, "version is not an int64");
    bench_delete_item(b, key);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    lock_end(lock);
}

/* Guard: a takeover names the record that was judged, in version, nonce and expiry: what is another by then is judged
 * anew. */
static void test_a_strangers_record_is_taken_only_as_it_was_judged(void **state)
{
    static const struct {
        const char *attributes;
        int code, writes;
    } changed[] = {
        {VERSION "," AHEAD, WAITS, 2},
        {VERSION ",\"mark\":{\"S\":\"x\"}", WAITS, 2},
        {"\"version\":{\"N\":\"6\"}," PAST, 0, 3},
        {VERSION "," OURS "," PAST, 0, 3},
        {VERSION ",\"expires\":{\"N\":\"1600000001\"}", 0, 3},
    };
    struct bench *b = *state;
    warm(b->store);
    for (size_t i = 0; i < COUNT(changed); i++) {
        const char *key = bench_key(b);
        dynalock_lock *lock = lock_make(b->store, key, quick);
        struct waiter waiter;
        put_record(b, key, VERSION "," PAST);
        rig_reset_counts(b->rig);
        rig_fault(
            b->rig,
            "'match':{'op':'PutItem','key':'%s','nth':2},'action':{'do':'hold','where':'request'}",
            key);
        waiter_start(&waiter, lock, -1, 0);
        assert_true(rig_wait(b->rig, "PutItem", "held", 1, LONG_MS));
        put_record(b, key, changed[i].attributes);
        rig_let_go(b->rig);
        check(waiter_join(&waiter), changed[i].code);
        assert_int_equal(bench_count(b, "PutItem"), changed[i].writes);
        dynalock_lock_free(lock);
    }
}

/* ---- Over the record of a lock that is held --------------------------------------------------- */

/* What the stranger does, as an update's expression and its values; what the next renewal says, why the lock is
 * lost, and whether the release then leaves the record. T is the tenure, V and W are the version and the next. */
struct deed {
    const char *expression, *values;
    int renewed, cause;
    bool left;
};

#define EITHER 1 /* renewed, or lost */

static const struct deed deeds[] = {
    {"SET holder = :a", "\":a\":{\"N\":\"5\"}", 0, 0, false},
    {"REMOVE holder", NULL, 0, 0, false},
    {"SET payload = :a", "\":a\":{\"NULL\":true}", 0, 0, false},
    {"SET lease = :a", "\":a\":{\"S\":\"x\"}", 0, 0, false},
    {"SET lease = :a", "\":a\":{\"N\":\"-1E+100\"}", 0, 0, false},
    {"REMOVE lease", NULL, 0, 0, false},
    {"SET mark = :a", "\":a\":{\"L\":[]}", 0, 0, false},
    {"REMOVE expires", NULL, 0, 0, false},
    {"SET expires = :a", "\":a\":{\"N\":\"1E+125\"}", 0, 0, false},
    {"SET expires = :a", "\":a\":{\"N\":\"1600000000\"}", DYNALOCK_ERR_LOST, DYNALOCK_CAUSE_EXPIRED,
     false},
    {"SET expires = :a", "\":a\":{\"S\":\"x\"}", DYNALOCK_ERR_LOST, DYNALOCK_CAUSE_TAKEN_OVER,
     true},
    {"SET version = :a", "\":a\":{\"N\":\"W\"}", DYNALOCK_ERR_LOST, DYNALOCK_CAUSE_TAKEN_OVER,
     true},
    {"SET version = :a", "\":a\":{\"N\":\"1E+40\"}", DYNALOCK_ERR_LOST, DYNALOCK_CAUSE_TAKEN_OVER,
     true},
    {"SET version = :a", "\":a\":{\"S\":\"V\"}", DYNALOCK_ERR_LOST, DYNALOCK_CAUSE_TAKEN_OVER,
     true},
    {"REMOVE version", NULL, DYNALOCK_ERR_LOST, DYNALOCK_CAUSE_TAKEN_OVER, true},
    {"REMOVE nonce", NULL, DYNALOCK_ERR_LOST, DYNALOCK_CAUSE_TAKEN_OVER, true},
    {"SET nonce = :a", "\":a\":{\"N\":\"5\"}", DYNALOCK_ERR_LOST, DYNALOCK_CAUSE_TAKEN_OVER, true},
    {"SET nonce = :a", "\":a\":{\"S\":\"\"}", DYNALOCK_ERR_LOST, DYNALOCK_CAUSE_TAKEN_OVER, true},
    {"SET nonce = :a", "\":a\":{\"S\":\"" TENURE ".1.V\"}", DYNALOCK_ERR_LOST,
     DYNALOCK_CAUSE_TAKEN_OVER, true},
    {"SET nonce = :a", "\":a\":{\"S\":\"T.1.W\"}", DYNALOCK_ERR_LOST, DYNALOCK_CAUSE_TAKEN_OVER,
     true},
    {"SET nonce = :a, version = :b", "\":a\":{\"S\":\"T.1.V\"},\":b\":{\"N\":\"W\"}",
     DYNALOCK_ERR_LOST, DYNALOCK_CAUSE_TAKEN_OVER, true},
    /* Writes of this tenure by every sign, which it never sent: they give nothing to others, and are removed. */
    {"SET nonce = :a", "\":a\":{\"S\":\"T.77.V\"}", DYNALOCK_ERR_LOST, DYNALOCK_CAUSE_EXPIRED,
     false},
    {"SET nonce = :a, version = :b", "\":a\":{\"S\":\"T.77.W\"},\":b\":{\"N\":\"W\"}", EITHER,
     DYNALOCK_CAUSE_EXPIRED, false},
};

static void deed_values(char *text, size_t size, const char *values, const json_t *item)
{
    int64_t version = item_number(item, "version");
    size_t used = 0;
    for (const char *c = values; *c != '\0' && used + 40 < size; c++) {
        if (*c == 'T') {
            used +=
                (size_t)snprintf(text + used, size - used, "%.32s", item_text(item, "nonce", "S"));
        } else if ((*c == 'V' || *c == 'W') && c[1] == '\"') {
            used += (size_t)snprintf(text + used, size - used, "%" PRId64,
                                     version + (*c == 'W' ? 1 : 0));
        } else {
            text[used++] = *c;
        }
    }
    text[used] = '\0';
}

static void deed_do(struct bench *b, const char *key, const struct deed *deed)
{
    char part[500] = "";
    json_t *item = bench_item(b, key);
    if (deed->values) {
        char values[400] = "";
        deed_values(values, sizeof values, deed->values, item);
        snprintf(part, sizeof part, ",\"ExpressionAttributeValues\":{%s}", values);
    }
    json_t *answer = rig_raw(
        b->rig, "UpdateItem",
        "'TableName':'%s','Key':{'id':{'S':'%s'},'name':{'S':'%s'}},'UpdateExpression':'%s'%s",
        b->table, b->partition, key, deed->expression, part);
    if (!json_object_get(answer, "result")) {
        fail_msg("%s: %s", deed->expression, json_string_value(json_object_get(answer, "message")));
    }
    json_decref(answer);
    json_decref(item);
}

/* Guard: version and nonce in the condition of a renewal and of a release; what is found is the tenure's only if its
 * nonce is at the record's version, and extends nothing if this write was not sent. */
static void test_a_strangers_hand_on_a_held_record_loses_the_lock_or_changes_nothing(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(deeds); i++) {
        const struct deed *deed = &deeds[i];
        const char *key = bench_key(b);
        dynalock_lock *lock =
            lock_take(b->store, key, (dynalock_lock_options){.renewal = DYNALOCK_RENEWAL_NONE});
        deed_do(b, key, deed);
        json_t *before = bench_item(b, key);
        read_it_all(b, key);
        int code = dynalock_lock_renew(lock, 0, &failure);
        bool expected = code == deed->renewed ||
                        (deed->renewed == EITHER && (code == 0 || code == DYNALOCK_ERR_LOST));
        if (!expected || dynalock_lock_cause(lock) != (code != 0 ? deed->cause : 0)) {
            fail_msg("%s %s: %d, %s", deed->expression, deed->values ? deed->values : "", code,
                     dynalock_cause_name(dynalock_lock_cause(lock)));
        }
        check(dynalock_lock_release(lock, &failure), code);
        json_t *after = bench_item(b, key);
        if (deed->left ? !json_equal(before, after) : after != NULL) {
            fail_msg("%s %s: the record after the release", deed->expression,
                     deed->values ? deed->values : "");
        }
        json_decref(before);
        json_decref(after);
        dynalock_lock_free(lock);
    }
}

/* Guard: the same in a release that no renewal went before; it removes nothing but its own. */
static void test_a_release_over_a_strangers_hand_leaves_what_is_not_its_own(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < COUNT(deeds); i++) {
        const struct deed *deed = &deeds[i];
        const char *key = bench_key(b);
        bool ours = !deed->left || strncmp(deed->expression, "SET expires", 11) == 0;
        dynalock_lock *lock =
            lock_take(b->store, key, (dynalock_lock_options){.renewal = DYNALOCK_RENEWAL_NONE});
        deed_do(b, key, deed);
        json_t *before = bench_item(b, key);
        check(dynalock_lock_release(lock, &failure), ours ? 0 : DYNALOCK_ERR_LOST);
        json_t *after = bench_item(b, key);
        if (ours ? after != NULL : !json_equal(before, after)) {
            fail_msg("%s %s: the record after the release", deed->expression,
                     deed->values ? deed->values : "");
        }
        json_decref(before);
        json_decref(after);
        dynalock_lock_free(lock);
    }
}

/* ---- The table's time to live ----------------------------------------------------------------- */

/* The table removes it, where the server has a time to live; otherwise this does. */
static void expire_away(struct bench *b, const char *key)
{
    deed_do(b, key,
            &(struct deed){"SET expires = :a", "\":a\":{\"N\":\"1900000000\"}", 0, 0, false});
    char past[60];
    snprintf(past, sizeof past, "\":a\":{\"N\":\"%" PRId64 "\"}", real_ms() / 1000 - 60);
    deed_do(b, key, &(struct deed){"SET expires = :a", past, 0, 0, false});
    if (!test_is_local()) {
        bench_delete_item(b, key);
    }
}

static void set_time_to_live(struct bench *b)
{
    if (test_is_local()) {
        json_t *answer = rig_raw(b->rig, "UpdateTimeToLive",
                                 "'TableName':'%s','TimeToLiveSpecification':"
                                 "{'Enabled':true,'AttributeName':'expires'}",
                                 b->table);
        assert_non_null(json_object_get(answer, "result"));
        json_decref(answer);
    }
}

enum { RENEWED, RELEASED, TAKEN, KEPT, AGED };

/* Begun by the group's setup: the time to live takes a while. */
static struct aged {
    struct bench *b;
    char keys[AGED][64];
    dynalock_lock *locks[AGED];
} aged;

static int set_up(void **state)
{
    (void)state;
    aged.b = bench_new();
    set_time_to_live(aged.b);
    for (int i = 0; i < AGED; i++) {
        snprintf(aged.keys[i], sizeof aged.keys[i], "%s", bench_key(aged.b));
        aged.locks[i] = lock_take(aged.b->store, aged.keys[i],
                                  (dynalock_lock_options){.ttl_ms = 120000,
                                                          .renewal = DYNALOCK_RENEWAL_NONE,
                                                          .keep_record = i == KEPT});
        if (i != KEPT) {
            expire_away(aged.b, aged.keys[i]);
        }
    }
    check(dynalock_lock_release(aged.locks[KEPT], &failure), 0);
    return 0;
}

static int take_down(void **state)
{
    (void)state;
    for (int i = 0; i < AGED; i++) {
        dynalock_lock_free(aged.locks[i]);
    }
    bench_free(aged.b);
    return 0;
}

/* Guard: what is gone is lost, and is not brought back by a renewal. */
static void test_a_held_record_that_the_time_to_live_removes_is_lost(void **state)
{
    dynalock_lock *lock = aged.locks[RENEWED];
    (void)state;
    assert_true(await_gone(aged.b, aged.keys[RENEWED]));
    check(dynalock_lock_renew(lock, 0, &failure), DYNALOCK_ERR_LOST);
    assert_int_equal(dynalock_lock_cause(lock), DYNALOCK_CAUSE_GONE);
    assert_false(is_there(aged.b, aged.keys[RENEWED]));
    check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_LOST);
    check(dynalock_lock_release(lock, &failure), DYNALOCK_ERR_NOT_HELD);
}

/* Guard: a release that finds nothing to remove, and was answered each time, tells of a loss. */
static void test_a_release_of_what_the_time_to_live_removed_tells_of_the_loss(void **state)
{
    (void)state;
    assert_true(await_gone(aged.b, aged.keys[RELEASED]));
    check(dynalock_lock_release(aged.locks[RELEASED], &failure), DYNALOCK_ERR_LOST);
    assert_int_equal(dynalock_lock_cause(aged.locks[RELEASED]), DYNALOCK_CAUSE_GONE);
    assert_false(is_there(aged.b, aged.keys[RELEASED]));
}

/* Guard: nonce and version in the condition of a renewal; the next token is greater though nothing was there. */
static void test_what_the_time_to_live_removes_is_free_for_others(void **state)
{
    dynalock_lock *before = aged.locks[TAKEN];
    (void)state;
    assert_true(await_gone(aged.b, aged.keys[TAKEN]));
    dynalock_lock *next =
        lock_take(bench_direct(aged.b), aged.keys[TAKEN], (dynalock_lock_options){0});
    assert_true(dynalock_lock_token(next) > dynalock_lock_token(before));
    check(dynalock_lock_renew(before, 0, &failure), DYNALOCK_ERR_LOST);
    assert_int_equal(dynalock_lock_cause(before), DYNALOCK_CAUSE_TAKEN_OVER);
    check(dynalock_lock_release(before, &failure), DYNALOCK_ERR_LOST);
    check(dynalock_lock_renew(next, 0, &failure), 0);
    lock_end(next);
}

/* Guard: a released record's expiry lies so far back that the time to live leaves it: tokens go on from it. */
static void test_the_time_to_live_leaves_the_record_of_a_released_lock(void **state)
{
    dynalock_lock *lock = aged.locks[KEPT];
    (void)state;
    assert_true(await_gone(aged.b, aged.keys[TAKEN])); /* which expired later than that */
    json_t *item = bench_item(aged.b, aged.keys[KEPT]);
    assert_non_null(item);
    int64_t version = item_number(item, "version");
    json_decref(item);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    assert_true(dynalock_lock_token(lock) > version);
    check(dynalock_lock_release(lock, &failure), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOCK_TEST(test_a_version_of_any_shape_is_an_error_or_a_holder),
        LOCK_TEST(test_a_nonce_holder_lease_or_payload_of_any_shape_opens_no_lock),
        LOCK_TEST(test_an_expiry_of_any_shape_is_seconds_or_an_error),
        LOCK_TEST(test_without_a_date_only_what_was_released_is_free),
        LOCK_TEST(test_a_wait_for_a_record_that_is_no_lock_ends_at_once),
        LOCK_TEST(test_a_strangers_record_is_taken_only_as_it_was_judged),
        LOCK_TEST(test_a_strangers_hand_on_a_held_record_loses_the_lock_or_changes_nothing),
        LOCK_TEST(test_a_release_over_a_strangers_hand_leaves_what_is_not_its_own),
        cmocka_unit_test(test_a_held_record_that_the_time_to_live_removes_is_lost),
        cmocka_unit_test(test_a_release_of_what_the_time_to_live_removed_tells_of_the_loss),
        cmocka_unit_test(test_what_the_time_to_live_removes_is_free_for_others),
        cmocka_unit_test(test_the_time_to_live_leaves_the_record_of_a_released_lock),
    };

    return cmocka_run_group_tests(tests, set_up, take_down);
}
