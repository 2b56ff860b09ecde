/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations on records and on the table, a series of them on one store, over a network on which anything may happen.
 * Each keeps its contract; and as long as the server is honest, what it reports is so in the table.
 */
/* wrap: dlk_wake_open dlk_wake_close dlk_wake_up dlk_wake_drain dlk_wake_works dlk_alarm_open dlk_alarm_close */
/* wrap: dlk_alarm_set dlk_alarm_works dlk_wait_readable dlk_thread_start dlk_random dlk_random_below */
/* wrap: dlk_wait_changed pthread_join pthread_cond_wait pthread_cond_broadcast pthread_mutex_lock */
/* wrap: pthread_mutex_unlock */
#include "contract.h"
#include "rough_network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARTITION "partition"
#define EPOCH_S INT64_C(1900000000)
#define SECOND INT64_C(1000000)

enum { SERIES = 24, KEPT = 3, FATES = 16 };

/* One call. */
struct operation {
    bool sure_of_nothing;  /* it said that it has written nothing */
    unsigned writes;       /* that the server has carried out for it */
    json_t *found, *after; /* the item when it was last read, or after its last write; NULL: none */
    json_t *before;        /* its first write */
    bool read;
};

static struct fixture {
    struct fuzz_input input;
    dynalock_store *store;
    struct small_dynamo server;
    struct virtual_host host;
    struct operation series[SERIES + 1]; /* from 1 */
    unsigned current;
    struct rough_fate fates[FATES];
    unsigned fate_count;
    dynalock_kv *kept[KEPT];
    int64_t timeout_ms;
    unsigned max_attempts;
    bool honest;  /* the server was, so far */
    bool meddled; /* a stranger has, or a late request may have */
    char *text;   /* of the input: a key, and whatever else; alive during one operation */
    json_t *json;
} f;

/* ---- The network ---- */

static struct rough_fate next_fate(const struct memory_request *request)
{
    struct rough_fate fate = {ROUGH_GOOD, 1};
    (void)request;
    if (f.fate_count > 0) {
        fate = f.fates[0];
        memmove(f.fates, f.fates + 1, --f.fate_count * sizeof f.fates[0]);
    }
    fate.kind %= ROUGH_KINDS;
    f.honest = f.honest && fate.kind < ROUGH_NO_DATE;
    return fate;
}

static json_t *copy_of(const json_t *item)
{
    return item != NULL ? json_deep_copy(item) : NULL;
}

/* The item that the request is about. */
static const json_t *item_of(const struct memory_request *request)
{
    json_t *root = json_loadb(request->body, request->length, JSON_ALLOW_NUL, NULL);
    const json_t *key = json_object_get(root, "Key");
    key = key != NULL ? key : json_object_get(root, "Item");
    const json_t *item = NULL;
    if (small_text(key, "id") != NULL) {
        item = small_find(&f.server, small_text(key, "id"), small_text(key, "name"));
    }
    json_decref(root);
    return item;
}

static void before_request(const struct memory_request *request)
{
    struct operation *operation = &f.series[request->tag];
    if (operation->writes == 0) {
        json_decref(operation->before);
        operation->before = copy_of(item_of(request));
    }
    f.meddled = f.meddled || request->tag != f.current; /* a late one */
}

static void after_request(const struct memory_request *request, const struct small_answer *answer)
{
    struct operation *operation = &f.series[request->tag];
    if (answer->written) {
        operation->writes++;
        json_decref(operation->after);
        operation->after = copy_of(item_of(request));
    } else if (strcmp(request->operation, "GetItem") == 0 && answer->status == 200) {
        json_decref(operation->found);
        operation->found = copy_of(item_of(request));
        operation->read = true;
    }
}

static char *input_text(void)
{
    size_t length;
    return fuzz_text(&f.input, &length);
}

static void raw_answer(struct memory_answer *answer)
{
    static const int statuses[] = {200, 400, 500, 503, 429, 413, 204, 302};
    static char request_id[80];
    uint8_t flags = fuzz_byte(&f.input);
    size_t length;
    char *body = fuzz_text(&f.input, &length);
    if (flags & 8) { /* what has 0xFF in it, or is longer */
        char *id = input_text();
        (void)snprintf(request_id, sizeof request_id, "%s", id);
        free(id);
    } else {
        (void)snprintf(request_id, sizeof request_id, "RAW");
    }
    *answer = (struct memory_answer){.status = statuses[flags % 8],
                                     .body = body,
                                     .length = length,
                                     .has_crc = (flags & 16) != 0,
                                     .crc = small_crc32(body, length),
                                     .has_date = (flags & 32) != 0,
                                     .date_s = EPOCH_S + virtual_now_us() / SECOND,
                                     .retry_after_ms = (flags & 64) != 0 ? 1000 : -1,
                                     .request_id = request_id};
}

/* ---- Arguments ---- */

static const char *choose_key(void)
{
    static const char *const keys[] = {"a", "ab", "abc", "b", "lock/1", "\xC3\xA4\xE2\x82\xAC"};
    unsigned choice = fuzz_below(&f.input, 9);
    if (choice < 6) {
        return keys[choice];
    }
    if (choice == 6) {
        return NULL;
    }
    free(f.text);
    f.text = input_text();
    return f.text;
}

static dynalock_value choose_value(void)
{
    unsigned choice = fuzz_below(&f.input, 8);
    char *text = choice > 1 && choice < 6 ? input_text() : NULL;
    dynalock_value value = dynalock_none();
    if (choice == 1) {
        static const char large[402 * 1024];
        unsigned size = fuzz_byte(&f.input); /* about as large as it may be, or small */
        value = dynalock_bytes(large, size < 6 ? sizeof large - size * 1024 : size);
    } else if (choice == 2) {
        free(f.text); /* it is no key's: those are chosen after */
        f.text = text;
        text = NULL;
        value = dynalock_bytes(f.text, strlen(f.text));
    } else if (choice == 3 || choice == 4) {
        json_decref(f.json);
        f.json = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
        value = choice == 3 ? dynalock_json(f.json) : dynalock_attribute(f.json);
    } else if (choice == 5) {
        value = dynalock_value_make(fuzz_byte(&f.input));
    } else if (choice == 6) {
        value = dynalock_bytes("value", 5);
    }
    free(text);
    return value;
}

static const dynalock_write_options *choose_write(dynalock_write_options *options)
{
    static const int64_t ttls[] = {
        0, 1, 999, 1000, 20000, 3600000, -1, INT64_MAX, INT64_C(100) * 365 * 86400 * 1000};
    unsigned choice = fuzz_byte(&f.input);
    *options =
        (dynalock_write_options){.ttl_ms = ttls[choice % 9], .never_expires = choice % 16 == 9};
    options->reserved[3] = choice == 250 ? 1 : 0;
    return choice == 251 ? NULL : options;
}

static const dynalock_read_options *choose_read(dynalock_read_options *options)
{
    unsigned choice = fuzz_byte(&f.input);
    *options = (dynalock_read_options){.eventually_consistent = choice % 2 == 1};
    options->reserved[0] = choice == 250 ? 1 : 0;
    return choice == 251 ? NULL : options;
}

/* ---- What each call has to keep ---- */

struct watched {
    dynalock_error error;
    dynalock_error *told;       /* NULL: it is not asked for */
    int64_t began_us, waits_us; /* besides requests */
    uint64_t sent;
};

static void begin(struct watched *w)
{
    f.current++;
    rough.tag = f.current;
    contract_error_init(&w->error);
    w->told = fuzz_byte(&f.input) == 255 ? NULL : &w->error;
    w->began_us = virtual_now_us();
    w->waits_us = 0;
    w->sent = rough.sent;
}

/* calls: as many DynamoDB operations as it may take, at the most. */
static void end(struct watched *w, int code, const int *codes, unsigned calls)
{
    struct operation *operation = &f.series[f.current];
    rough_tell("call %u: code %d", f.current, code);
    contract_check_code(code, codes, false);
    if (w->told != NULL) {
        contract_check_error(code, &w->error);
        bool open = (w->error.flags & DYNALOCK_ERROR_OUTCOME_UNKNOWN) != 0;
        operation->sure_of_nothing = code != 0 && !open;
    }
    fuzz_check(rough.sent - w->sent <= calls * (f.max_attempts + 1));
    fuzz_check(virtual_now_us() - w->began_us <= calls * f.timeout_ms * 1000 + w->waits_us + 2000);
    fuzz_check(code != DYNALOCK_ERR_CLOSED && code != DYNALOCK_ERR_FORKED);
    fuzz_check(memory_under_way() == 0);
}

static struct operation *current(void)
{
    return &f.series[f.current];
}

static bool expired_at(const json_t *item, int64_t server_us)
{
    long double expires;
    return small_number(item, "expires", &expires) && expires * SECOND < (long double)server_us;
}

/* What a condition names of them is the same. */
static void check_named(const json_t *item, const dynalock_kv *kv)
{
    long double number;
    fuzz_check(item != NULL);
    fuzz_check(strcmp(small_text(item, "id"), dynalock_kv_partition(kv)) == 0);
    fuzz_check(strcmp(small_text(item, "name"), dynalock_kv_key(kv)) == 0);
    fuzz_check(small_number(item, "version", &number) &&
               (int64_t)number == dynalock_kv_version(kv));
    const char *nonce = small_text(item, "nonce");
    fuzz_check((nonce == NULL) == (kv->nonce == NULL));
    fuzz_check(nonce == NULL || strcmp(nonce, kv->nonce) == 0);
}

/* The server's item and the record are the same. */
static void check_same(const json_t *item, const dynalock_kv *kv)
{
    long double number;
    json_t *attribute = NULL;
    check_named(item, kv);
    bool expires = small_number(item, "expires", &number);
    fuzz_check(expires == kv->has_expires);
    fuzz_check(!expires || (number >= kv->expires && number < (long double)kv->expires + 1));
    const json_t *payload = json_object_get(item, "payload");
    if (payload != NULL) {
        fuzz_check(dynalock_kv_attribute(kv, &attribute, NULL) == 0);
        fuzz_check(json_equal(attribute, payload));
        json_decref(attribute);
    } else {
        fuzz_check(dynalock_kv_type(kv) == NULL);
    }
}

/* What was replaced, or removed, is the record that was named; a stranger may have changed it under its version. */
static void check_previous(const dynalock_kv *previous)
{
    f.meddled ? check_named(current()->before, previous) : check_same(current()->before, previous);
}

/* When a record that is written now expires. */
static void check_expiry(const json_t *item, const dynalock_write_options *options,
                         int64_t began_us)
{
    long double expires;
    int64_t ttl_ms = options == NULL || options->ttl_ms == 0 ? 20000 : options->ttl_ms;
    if (options != NULL && options->never_expires) {
        fuzz_check(json_object_get(item, "expires") == NULL);
        return;
    }
    fuzz_check(small_number(item, "expires", &expires));
    if (rough.dateless) {
        return;
    }
    fuzz_check(expires * SECOND >=
               (long double)(EPOCH_S * SECOND + began_us - 50000) + ttl_ms * 1000);
    /* What is known of the time may be as wide as the one answer took that told of it. */
    fuzz_check(expires * SECOND <= (long double)rough_server_us() + ttl_ms * 1000 + 9 * SECOND);
}

static void check_payload(const json_t *item, const dynalock_value *value)
{
    const json_t *payload = json_object_get(item, "payload");
    fuzz_check((payload == NULL) == (value->kind == DYNALOCK_VALUE_NONE));
    if (value->kind == DYNALOCK_VALUE_BYTES) {
        struct dlk_buffer text;
        dlk_buffer_init(&text, 1 << 20);
        dlk_base64_encode(&text, value->bytes, value->length);
        const char *stored = json_string_value(json_object_get(payload, "S"));
        fuzz_check(stored != NULL && strcmp(stored, text.length > 0 ? text.data : "") == 0);
        dlk_buffer_free(&text);
    }
}

/* ---- Operations ---- */

static void keep(dynalock_kv *kv)
{
    dynalock_kv **slot = &f.kept[fuzz_below(&f.input, KEPT)];
    dynalock_kv_free(*slot);
    *slot = kv;
}

static dynalock_kv *const nothing = (dynalock_kv *)&f; /* that no call may have touched */

static void run_put(void)
{
    static const int codes[] = {DYNALOCK_ERR_TOO_LARGE, 0};
    struct watched w;
    dynalock_write_options options;
    dynalock_value value = choose_value();
    const dynalock_write_options *how = choose_write(&options);
    const char *key = f.text == value.bytes && f.text != NULL ? "k" : choose_key();
    begin(&w);
    int code = dynalock_put(f.store, key, value, how, w.told);
    end(&w, code, codes, 2);
    if (code == 0 && f.honest) {
        fuzz_check(current()->writes > 0);
        check_payload(current()->after, &value);
        check_expiry(current()->after, how, w.began_us);
        fuzz_check(json_object_get(current()->after, "nonce") == NULL);
    }
}

static void run_get(void)
{
    static const int codes[] = {DYNALOCK_ERR_NOT_FOUND, DYNALOCK_ERR_TYPE, DYNALOCK_ERR_TOO_LARGE,
                                0};
    struct watched w;
    dynalock_read_options options;
    dynalock_kv *kv = nothing;
    const dynalock_read_options *how = choose_read(&options);
    const char *key = choose_key();
    begin(&w);
    int code = dynalock_get(f.store, key, how, &kv, w.told);
    end(&w, code, codes, 1);
    fuzz_check((code == 0) == (kv != nothing));
    fuzz_check(current()->writes == 0);
    if (code == 0 && f.honest) {
        check_same(current()->found, kv);
    }
    if (code == DYNALOCK_ERR_NOT_FOUND && f.honest) {
        fuzz_check(current()->read &&
                   (current()->found == NULL || expired_at(current()->found, rough_server_us())));
    }
    if (code == 0) {
        keep(kv);
    }
}

static void run_exists(void)
{
    static const int codes[] = {DYNALOCK_ERR_TYPE, DYNALOCK_ERR_TOO_LARGE, 0};
    struct watched w;
    dynalock_read_options options;
    bool unset = fuzz_byte(&f.input) % 2 == 0;
    bool exists = unset;
    const dynalock_read_options *how = choose_read(&options);
    const char *key = choose_key();
    begin(&w);
    int code = dynalock_exists(f.store, key, how, &exists, w.told);
    end(&w, code, codes, 1);
    fuzz_check(code == 0 || exists == unset);
    fuzz_check(current()->writes == 0);
    if (code == 0 && f.honest) {
        const json_t *found = current()->found;
        fuzz_check(!exists || found != NULL);
        fuzz_check(exists || found == NULL || expired_at(found, rough_server_us()));
    }
}

static void run_delete(void)
{
    static const int codes[] = {DYNALOCK_ERR_TOO_LARGE, 0};
    struct watched w;
    const char *key = choose_key();
    begin(&w);
    int code = dynalock_delete(f.store, key, w.told);
    end(&w, code, codes, 1);
    if (code == 0 && f.honest) {
        fuzz_check(current()->after == NULL);
        fuzz_check(f.meddled || small_find(&f.server, PARTITION, key) == NULL);
    }
}

struct listed {
    size_t count;
    int stop_at, result;
    char last[1100];
    const char *prefix;
};

static void check_listed(const dynalock_kv *kv, struct listed *listed)
{
    const char *key = dynalock_kv_key(kv);
    const char *prefix = listed->prefix != NULL ? listed->prefix : "";
    if (f.honest) {
        fuzz_check(strcmp(dynalock_kv_partition(kv), PARTITION) == 0);
        fuzz_check(strncmp(key, prefix, strlen(prefix)) == 0);
        fuzz_check(listed->count == 0 || strcmp(listed->last, key) < 0);
    }
    (void)snprintf(listed->last, sizeof listed->last, "%.1090s", key);
    listed->count++;
}

static int on_each(dynalock_kv *kv, void *context)
{
    struct listed *listed = context;
    check_listed(kv, listed);
    return --listed->stop_at == 0 ? listed->result : 0;
}

/* Each page is a call, and none but the last is empty. */
static unsigned pages(void)
{
    return f.honest ? (unsigned)f.server.count + 1 : 1000;
}

static void check_list_count(size_t count, const char *prefix)
{
    size_t all = 0, sure = 0;
    prefix = prefix != NULL ? prefix : "";
    for (size_t i = 0; i < f.server.count; i++) {
        const json_t *item = f.server.items[i];
        if (strcmp(small_text(item, "id"), PARTITION) == 0 &&
            strncmp(small_text(item, "name"), prefix, strlen(prefix)) == 0) {
            all++;
            sure += expired_at(item, rough_server_us()) ? 0 : 1;
        }
    }
    fuzz_check(count >= sure && count <= all);
}

static void run_list(void)
{
    static const int codes[] = {DYNALOCK_ERR_TYPE, DYNALOCK_ERR_TOO_LARGE, 0};
    struct watched w;
    dynalock_read_options options;
    dynalock_kv *first = nothing, **items = &first;
    size_t count = 4711;
    const dynalock_read_options *how = choose_read(&options);
    struct listed listed = {.prefix = choose_key()};
    begin(&w);
    uint64_t writes = f.server.writes;
    int code = dynalock_list(f.store, listed.prefix, how, &items, &count, w.told);
    end(&w, code, codes, pages());
    fuzz_check(current()->writes == 0);
    if (code != 0) {
        fuzz_check(items == &first && count == 4711);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        check_listed(items[i], &listed);
    }
    if (f.honest && writes == f.server.writes) {
        check_list_count(count, listed.prefix);
    }
    dynalock_list_free(items, count);
}

static void run_list_each(void)
{
    static const int codes[] = {DYNALOCK_ERR_TYPE, DYNALOCK_ERR_TOO_LARGE, 0};
    struct watched w;
    dynalock_read_options options;
    const dynalock_read_options *how = choose_read(&options);
    struct listed listed = {.stop_at = (int)fuzz_below(&f.input, 5), .result = 7};
    listed.prefix = choose_key();
    begin(&w);
    int code = dynalock_list_each(f.store, listed.prefix, how, on_each, &listed, w.told);
    if (code == 7) {
        fuzz_check(listed.stop_at == 0);
        contract_check_error(0,
                             w.told != NULL ? &w.error : (contract_error_init(&w.error), &w.error));
        return;
    }
    end(&w, code, codes, pages());
    fuzz_check(current()->writes == 0);
}

static void run_atomic_put(void)
{
    static const int codes[] = {DYNALOCK_ERR_EXISTS, DYNALOCK_ERR_MODIFIED, DYNALOCK_ERR_TYPE,
                                DYNALOCK_ERR_TOO_LARGE, 0};
    struct watched w;
    dynalock_write_options options;
    dynalock_kv *kv = nothing;
    unsigned slot = fuzz_below(&f.input, KEPT + 3);
    const dynalock_kv *previous = slot < KEPT ? f.kept[slot] : NULL;
    dynalock_value value = choose_value();
    const dynalock_write_options *how = choose_write(&options);
    const char *key = previous != NULL && fuzz_byte(&f.input) % 8 != 0 ? dynalock_kv_key(previous)
                      : f.text == value.bytes && f.text != NULL        ? "k"
                                                                       : choose_key();
    bool wanted = fuzz_byte(&f.input) % 8 != 0;
    begin(&w);
    int code = dynalock_atomic_put(f.store, key, value, previous, how, wanted ? &kv : NULL, w.told);
    end(&w, code, codes, previous != NULL ? 3 : 9);
    fuzz_check((code == 0 && wanted) == (kv != nothing));
    if (f.honest && previous != NULL) {
        fuzz_check(current()->writes <= 1);
    }
    fuzz_check(code != DYNALOCK_ERR_EXISTS || previous == NULL);
    fuzz_check(code != DYNALOCK_ERR_MODIFIED || previous != NULL);
    if (code == 0 && f.honest) {
        fuzz_check(current()->writes > 0);
        check_payload(current()->after, &value);
        if (previous == NULL || (how != NULL && (how->ttl_ms != 0 || how->never_expires))) {
            check_expiry(current()->after, how, w.began_us);
        }
        fuzz_check(previous != NULL || current()->before == NULL ||
                   expired_at(current()->before, rough_server_us()));
        if (previous != NULL) {
            check_previous(previous);
        }
        if (wanted) {
            check_same(current()->after, kv);
        }
    }
    if (code == 0 && wanted) {
        keep(kv);
    }
}

static void run_atomic_delete(void)
{
    static const int codes[] = {DYNALOCK_ERR_NOT_FOUND, DYNALOCK_ERR_MODIFIED, DYNALOCK_ERR_TYPE,
                                DYNALOCK_ERR_TOO_LARGE, 0};
    struct watched w;
    unsigned slot = fuzz_below(&f.input, KEPT + 1);
    const dynalock_kv *previous = slot < KEPT ? f.kept[slot] : NULL;
    const char *key =
        previous != NULL && fuzz_byte(&f.input) % 8 != 0 ? dynalock_kv_key(previous) : choose_key();
    begin(&w);
    int code = dynalock_atomic_delete(f.store, key, previous, w.told);
    end(&w, code, codes, 3);
    fuzz_check(!f.honest || f.meddled || current()->writes <= 1);
    if (code == 0 && f.honest) {
        fuzz_check(current()->writes > 0 && current()->after == NULL);
        check_previous(previous);
    }
}

static void check_report(const dynalock_table_report *report)
{
    fuzz_check(report->ttl >= DYNALOCK_TTL_ENABLED && report->ttl <= DYNALOCK_TTL_UNSUPPORTED);
    fuzz_check((report->message[0] == '\0') == (report->ttl == DYNALOCK_TTL_ENABLED));
    contract_check_text(report->message);
}

static void run_table(bool create)
{
    static const int codes[] = {DYNALOCK_ERR_BAD_TABLE, DYNALOCK_ERR_TOO_LARGE, 0};
    static const int64_t waits[] = {0, 1, 700, 10000, -1, 86400001};
    struct watched w;
    dynalock_table_report report, unset;
    memset(&unset, 0x33, sizeof unset);
    report = unset;
    int64_t wait_ms = create ? waits[fuzz_below(&f.input, 6)] : 0;
    dynalock_table_report *asked = fuzz_byte(&f.input) % 8 != 0 ? &report : NULL;
    bool was_there = !f.server.no_table;
    begin(&w);
    int code = create ? dynalock_table_create(f.store, wait_ms, asked, w.told)
                      : dynalock_table_verify(f.store, asked, w.told);
    int64_t waited_ms = !create ? 0 : wait_ms == 0 ? 60000 : wait_ms;
    w.waits_us = (waited_ms + 500) * 1000; /* and the last poll may be late */
    end(&w, code, codes, 8 + (unsigned)(waited_ms < 0 ? 0 : waited_ms / 500));
    fuzz_check(create || current()->writes == 0);
    if (code != 0) {
        fuzz_check(memcmp(&report, &unset, sizeof report) == 0);
        current()->sure_of_nothing = false; /* the table may be there, and not be ready */
        return;
    }
    if (asked != NULL) {
        check_report(&report);
        fuzz_check(!f.honest || !report.created || !was_there);
    }
    if (f.honest) {
        fuzz_check(!f.server.no_table && !f.server.wrong_keys);
        fuzz_check(asked == NULL || report.ttl != DYNALOCK_TTL_ENABLED ||
                   (f.server.ttl_enabled && !f.server.ttl_wrong));
    }
}

/* ---- What happens besides ---- */

static void add_fates(void)
{
    for (unsigned more = 1 + fuzz_below(&f.input, 4); more > 0; more--) {
        struct rough_fate fate = {fuzz_byte(&f.input), fuzz_byte(&f.input)};
        if (f.fate_count < FATES) {
            f.fates[f.fate_count++] = fate;
        }
    }
}

static void pass_time(void)
{
    static const int64_t spans_ms[] = {1, 100, 1000, 3000, 25000, 299000, 301000, 86400000};
    virtual_wait(NULL, NULL, virtual_now_us() + spans_ms[fuzz_below(&f.input, 8)] * 1000);
}

static void set_clock(void)
{
    static const int64_t ahead_s[] = {0, 1, -1, 3, -3, 400, -400, 7200, -7200, -EPOCH_S};
    f.host.ahead_us =
        EPOCH_S * SECOND - f.host.boot_us + ahead_s[fuzz_below(&f.input, 10)] * SECOND;
}

/* A record of others' making. */
static void meddle(void)
{
    static const char *const others[] = {
        "{\"version\":{\"N\":\"1\"},\"expires\":{\"N\":\"1900000001\"},\"payload\":{\"S\":\"Z28=\"}}",
        "{\"version\":{\"N\":\"1\"},\"expires\":{\"N\":\"1\"}}",
        "{\"version\":{\"N\":\"2\"}}",
        "{\"version\":{\"N\":\"9223372036854775807\"},\"expires\":{\"N\":\"5\"}}",
        "{\"version\":{\"N\":\"1.5\"}}",
        "{\"version\":{\"S\":\"1\"},\"expires\":{\"N\":\"5\"}}",
        "{}",
        "{\"version\":{\"N\":\"3\"},\"expires\":{\"N\":\"1900000000.75\"},\"nonce\":{\"S\":\"x\"}}",
        "{\"version\":{\"N\":\"3\"},\"expires\":{\"N\":\"-1E+120\"}}",
        "{\"version\":{\"N\":\"3\"},\"nonce\":{\"N\":\"1\"},\"payload\":{\"BOOL\":true}}",
        "{\"version\":{\"N\":\"3\"},\"payload\":{\"L\":[{\"N\":\"1\"},{\"NULL\":true}]},"
        "\"holder\":{\"S\":\"me\"},\"lease\":{\"N\":\"20000\"},"
        "\"nonce\":{\"S\":\"0123456789abcdef0123456789abcdef.4.1.3\"}}",
        "{\"version\":{\"N\":\"9223372036854775807\"}}",
    };
    static const char *const keys[] = {"a", "ab", "abc", "b"};
    unsigned choice = fuzz_below(&f.input, 13);
    const char *key = keys[fuzz_below(&f.input, 4)];
    json_t *item = choice < 12 ? json_loads(others[choice], 0, NULL) : NULL;
    f.meddled = true;
    if (item == NULL) {
        small_remove(&f.server, PARTITION, key);
        return;
    }
    (void)json_object_set_new(item, "id", json_pack("{ss}", "S", PARTITION));
    (void)json_object_set_new(item, "name", json_pack("{ss}", "S", key));
    if (f.server.count < SMALL_ITEMS - 2 || small_find(&f.server, PARTITION, key) != NULL) {
        small_put(&f.server, item);
    } else {
        json_decref(item);
    }
}

static void look_at_a_record(void)
{
    dynalock_kv *kv = f.kept[fuzz_below(&f.input, KEPT)];
    const void *bytes = &f;
    size_t length = 4711;
    json_t *json = NULL;
    dynalock_error error;
    static const int codes[] = {DYNALOCK_ERR_TYPE, DYNALOCK_ERR_MEMORY, 0};
    if (kv == NULL) {
        return;
    }
    contract_error_init(&error);
    int code = dynalock_kv_bytes(kv, &bytes, &length, &error);
    contract_check_code(code, codes, true);
    contract_check_error(code, &error);
    fuzz_check((code != 0) == (bytes == &f && length == 4711));
    contract_error_init(&error);
    code = dynalock_kv_json(kv, &json, &error);
    contract_check_code(code, codes, true);
    contract_check_error(code, &error);
    fuzz_check((code == 0) == (json != NULL));
    json_decref(json);
    (void)dynalock_kv_expires_ms(kv);
    fuzz_check((dynalock_kv_lease_ms(kv) > 0) == (dynalock_kv_token(kv) != 0) ||
               kv->version < 65536);
    fuzz_check(dynalock_kv_lease_ms(kv) > 0 || dynalock_kv_holder(kv) == NULL);
}

static void look_at_the_store(void)
{
    dynalock_counters counters;
    dynalock_store_info info;
    fuzz_check(dynalock_store_counters(f.store, &counters) == 0);
    fuzz_check(counters.attempts >= counters.operations && counters.attempts >= counters.retries);
    fuzz_check(counters.attempts <= rough.sent + counters.retries + counters.unanswered);
    fuzz_check(dynalock_store_describe(f.store, &info, NULL) == 0);
    fuzz_check(info.clock_ahead_min_ms <= info.clock_ahead_max_ms);
    if (f.honest && info.clock_known) { /* it is as far ahead as it says */
        int64_t ahead_ms = (f.host.boot_us + f.host.ahead_us - EPOCH_S * SECOND) / 1000;
        fuzz_check(info.clock_ahead_min_ms - 1 <= ahead_ms);
        fuzz_check(info.clock_ahead_max_ms + 1 >= ahead_ms);
    }
}

static bool run_one(void)
{
    unsigned choice = fuzz_byte(&f.input);
    switch (choice % 16) {
    case 0: run_put(); break;
    case 1: run_get(); break;
    case 2: run_exists(); break;
    case 3: run_delete(); break;
    case 4: run_list(); break;
    case 5: run_list_each(); break;
    case 6:
    case 7: run_atomic_put(); break;
    case 8: run_atomic_delete(); break;
    case 9: run_table(false); break;
    case 10: run_table(true); break;
    case 11: pass_time(); break;
    case 12: set_clock(); break;
    case 13: meddle(); break;
    case 14: look_at_a_record(); break;
    default: look_at_the_store(); break;
    }
    return f.input.left > 0;
}

/* ---- A run ---- */

static void on_event(const dynalock_event *event, void *context)
{
    (void)context;
    contract_check_event(event);
}

static void set_up(void)
{
    static const int64_t timeouts[] = {30000, 30000, 100, 1000, 60000};
    static const int64_t attempt_timeouts[] = {0, 0, 50, 1000};
    uint8_t flags = fuzz_byte(&f.input);
    uint8_t table = fuzz_byte(&f.input);
    f.server = (struct small_dynamo){.shows_items = (flags & 1) == 0,
                                     .page = flags >> 6,
                                     .no_table = (table & 7) == 7,
                                     .wrong_keys = (table & 24) == 24,
                                     .no_ttl = (table & 96) == 96,
                                     .ttl_enabled = (table & 32) != 0,
                                     .ttl_wrong = (table & 160) == 160,
                                     .creating = table % 5};
    rough = (struct rough_network){.server = &f.server,
                                   .epoch_us = EPOCH_S * SECOND,
                                   .cached_us = (flags & 8) != 0 ? 50000 : 0,
                                   .dateless = (flags & 6) == 6,
                                   .fate = next_fate,
                                   .before = before_request,
                                   .carried_out = after_request,
                                   .raw = raw_answer};
    f.host = (struct virtual_host){.boot_us = 1000 * SECOND};
    set_clock();
    f.max_attempts = 1 + fuzz_below(&f.input, 5);
    f.timeout_ms = timeouts[fuzz_below(&f.input, 5)];
    dynalock_options options = {.region = "us-east-1",
                                .endpoint = "http://127.0.0.1:1",
                                .access_key_id = CONTRACT_KEY_ID,
                                .secret_access_key = CONTRACT_SECRET,
                                .session_token = (flags & 16) != 0 ? CONTRACT_TOKEN : NULL,
                                .timeout_ms = f.timeout_ms,
                                .attempt_timeout_ms = attempt_timeouts[fuzz_below(&f.input, 4)],
                                .max_attempts = (int)f.max_attempts,
                                .flags = DYNALOCK_NO_CURL_INIT,
                                .log = (flags & 32) != 0 ? on_event : NULL};
    fuzz_check(dynalock_open("table", PARTITION, &options, &f.store, NULL) == 0);
    f.store->clock = virtual_clock(&f.host);
    virtual_be(&f.host);
    f.honest = true;
}

/* What is on its way arrives, and is counted. */
static void tear_down(void)
{
    f.current = 0;
    virtual_wait(NULL, NULL, virtual_now_us() + 300 * SECOND);
    fuzz_check(rough_on_the_way() == 0);
    fuzz_check(dynalock_close(f.store) == 0);
    fuzz_check(memory_under_way() == 0 && memory_requests() == 0 && virtual_descriptors() == 0);
    for (unsigned i = 0; i <= SERIES; i++) {
        struct operation *operation = &f.series[i];
        fuzz_check(!operation->sure_of_nothing || operation->writes == 0 || !f.honest);
        json_decref(operation->found);
        json_decref(operation->after);
        json_decref(operation->before);
    }
    for (int i = 0; i < KEPT; i++) {
        dynalock_kv_free(f.kept[i]);
    }
    small_clear(&f.server);
    free(f.text);
    json_decref(f.json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    if (!ready) {
        contract_environment();
        ready = true;
    }
    if (contract_is_told(data, size)) {
        return 0;
    }
    f = (struct fixture){.input = {data, size}};
    virtual_reset(fuzz_byte(&f.input));
    set_up();
    while (f.current < SERIES && f.input.left > 0) {
        if (fuzz_byte(&f.input) % 2 == 1) {
            add_fates();
        }
        (void)run_one();
    }
    tear_down();
    return 0;
}
