/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing records. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

#define KV_TTL_MS 20000
#define KV_ITEM_MAX ((size_t)400 * 1024)
#define KV_TIME_MAX_MS (INT64_C(100) * 365 * 86400 * 1000)
#define KV_ROUNDS 4        /* of a create that keeps meeting other records */
#define LIST_EMPTY_MAX 100 /* pages without a record, one after another */

/* ---- What the operations share ---- */

/* One operation on one key. */
struct kv_operation {
    dynalock_store *store;
    const char *key;
    struct dlk_call call;
    struct dlk_buffer value; /* the attribute value as text; empty: none */
    struct dlk_item item;
    char tenure[DLK_TENURE_SIZE];
    char nonce[DLK_NONCE_SIZE];
    unsigned writes;
    bool open; /* an earlier write of this operation may still happen */
};

static int kv_begin(struct kv_operation *operation, dynalock_store *store, const char *key,
                    dynalock_error *error)
{
    int code = dlk_enter(store, error);
    if (code != 0) {
        return code;
    }
    code = dlk_check_text(key, 1, DLK_KEY_MAX, "key", error);
    if (code != 0) {
        dlk_leave(store);
        return code;
    }
    *operation = (struct kv_operation){.store = store, .key = key};
    dlk_call_init(store, &operation->call, "", key);
    dlk_buffer_init(&operation->value, KV_ITEM_MAX * 8);
    return 0;
}

static int kv_end(struct kv_operation *operation, int code)
{
    dlk_call_free(&operation->call);
    dlk_buffer_free(&operation->value);
    dlk_leave(operation->store);
    return code;
}

static int kv_fail(struct kv_operation *operation, int code, dynalock_error *error)
{
    (void)dlk_call_fail(&operation->call, code, error);
    if (error != NULL && operation->open) {
        error->flags |= DYNALOCK_ERROR_OUTCOME_UNKNOWN;
    }
    return code;
}

/* The record is not what the operation needs it to be. */
static int kv_conflict(struct kv_operation *operation, int code, const char *message,
                       dynalock_error *error)
{
    bool open = operation->open || operation->call.unanswered;
    (void)kv_fail(operation, code, error);
    if (error != NULL) {
        dlk_copy_text(error->message, sizeof error->message, message);
        error->flags &= ~(unsigned)DYNALOCK_ERROR_OUTCOME_UNKNOWN;
        error->flags |= open ? DYNALOCK_ERROR_OUTCOME_UNKNOWN : 0U;
    }
    return code;
}

/* One consistent read of the record; *kv NULL: there is none. */
static int kv_read(struct dlk_call *call, const char *key, dynalock_kv **kv, dynalock_error *error)
{
    dlk_request_get(call->store, call, key, true, false);
    int code = dlk_call_complete(call);
    if (code != 0) {
        return dlk_call_fail(call, code, error);
    }
    return dlk_json_item(call->exchange.answer.data, call->exchange.answer.length, kv, error);
}

/* What an operation has to know of the time before it writes: reads the key first if no answer has
 * told yet. */
static int kv_need_time(dynalock_store *store, struct dlk_call *call, const char *key,
                        struct dlk_now *now, dynalock_error *error)
{
    dlk_store_now(store, now);
    if (now->known || atomic_load(&store->dateless)) {
        return 0;
    }
    dlk_request_get(store, call, key, true, true);
    int code = dlk_call_complete(call);
    if (code != 0) {
        return dlk_call_fail(call, code, error);
    }
    dlk_store_now(store, now);
    return 0;
}

static int kv_compose(struct kv_operation *operation, dynalock_value value, dynalock_error *error)
{
    size_t size = 0;
    int code = dlk_compose_value(&value, &operation->value, &size, error);
    if (code != 0) {
        return code;
    }
    bool has_value = value.kind != DYNALOCK_VALUE_NONE;
    if (dlk_record_size(operation->store->partition, operation->key, NULL, size, has_value) >
        KV_ITEM_MAX) {
        return dlk_fail(error, DYNALOCK_ERR_TOO_LARGE,
                        "the record would exceed DynamoDB's limit of 400 KB");
    }
    operation->item.value = has_value ? operation->value.data : NULL;
    operation->item.value_length = operation->value.length;
    return 0;
}

static int kv_check_write(const dynalock_write_options *options, dynalock_error *error)
{
    if (options == NULL) {
        return 0;
    }
    if (options->ttl_ms < 0 || options->ttl_ms > KV_TIME_MAX_MS ||
        (options->never_expires && options->ttl_ms != 0)) {
        return dlk_fail(error, DYNALOCK_ERR_ARGUMENT,
                        "ttl_ms is negative, over a hundred years, or given together with "
                        "never_expires");
    }
    return dlk_check_reserved(options->reserved,
                              sizeof options->reserved / sizeof *options->reserved, error);
}

/* Sets when the item expires: by the options, or, if they say nothing and there is a previous
 * record, as that one. */
static void kv_set_expiry(struct kv_operation *operation, const dynalock_write_options *options,
                          const dynalock_kv *previous, const struct dlk_now *now)
{
    static const dynalock_write_options defaults = {0};
    struct dlk_item *item = &operation->item;
    options = options != NULL ? options : &defaults;
    item->keep_expires = previous != NULL && options->ttl_ms == 0 && !options->never_expires;
    item->has_expires = !options->never_expires && !item->keep_expires;
    if (item->has_expires) {
        int64_t ttl_ms = options->ttl_ms > 0 ? options->ttl_ms : KV_TTL_MS;
        item->expires = dlk_seconds_up(now->upper_us + ttl_ms * 1000);
    }
}

/* The next write of this operation: a nonce of its own. */
static void kv_number(struct kv_operation *operation, int64_t version)
{
    operation->open = operation->open || operation->call.unanswered;
    operation->item.version = version;
    dlk_nonce_make(operation->nonce, operation->tenure, ++operation->writes, 0, version);
    operation->item.nonce = operation->nonce;
}

/* ---- Reading ---- */

static int kv_check_read(const dynalock_read_options *options, bool *consistent,
                         dynalock_error *error)
{
    *consistent = options == NULL || !options->eventually_consistent;
    return options == NULL
               ? 0
               : dlk_check_reserved(options->reserved,
                                    sizeof options->reserved / sizeof *options->reserved, error);
}

static int kv_get(struct kv_operation *operation, bool consistent, bool only_presence,
                  dynalock_kv **kv, dynalock_error *error)
{
    struct dlk_call *call = &operation->call;
    dynalock_kv *found = NULL;
    struct dlk_now now;
    dlk_request_get(operation->store, call, operation->key, consistent, only_presence);
    int code = dlk_call_complete(call);
    if (code != 0) {
        return kv_fail(operation, code, error);
    }
    code = dlk_json_item(call->exchange.answer.data, call->exchange.answer.length, &found, error);
    if (code != 0) {
        return code;
    }
    dlk_store_now(operation->store, &now);
    if (found == NULL || dlk_record_expired(found, &now)) {
        dynalock_kv_free(found);
        return dlk_fail(error, DYNALOCK_ERR_NOT_FOUND, "there is no such record");
    }
    *kv = found;
    return 0;
}

int dynalock_get(dynalock_store *store, const char *key, const dynalock_read_options *options,
                 dynalock_kv **kv, dynalock_error *error)
{
    struct kv_operation operation;
    bool consistent = true;
    int code = kv_begin(&operation, store, key, error);
    if (code != 0) {
        return code;
    }
    if (kv == NULL) {
        return kv_end(&operation,
                      dlk_fail(error, DYNALOCK_ERR_ARGUMENT, "there is no place for the answer"));
    }
    code = kv_check_read(options, &consistent, error);
    return kv_end(&operation, code != 0 ? code : kv_get(&operation, consistent, false, kv, error));
}

int dynalock_exists(dynalock_store *store, const char *key, const dynalock_read_options *options,
                    bool *exists, dynalock_error *error)
{
    struct kv_operation operation;
    bool consistent = true;
    dynalock_kv *kv = NULL;
    int code = kv_begin(&operation, store, key, error);
    if (code != 0) {
        return code;
    }
    code = exists == NULL
               ? dlk_fail(error, DYNALOCK_ERR_ARGUMENT, "there is no place for the answer")
               : kv_check_read(options, &consistent, error);
    if (code == 0) {
        dynalock_error missing;
        code = kv_get(&operation, consistent, true, &kv, &missing);
        if (code == 0 || code == DYNALOCK_ERR_NOT_FOUND) {
            *exists = code == 0;
            code = 0;
        } else if (error != NULL) {
            *error = missing;
        }
        dynalock_kv_free(kv);
    }
    return kv_end(&operation, code);
}

/* ---- Writing ---- */

int dynalock_put(dynalock_store *store, const char *key, dynalock_value value,
                 const dynalock_write_options *options, dynalock_error *error)
{
    struct kv_operation operation;
    struct dlk_now now;
    int code = kv_begin(&operation, store, key, error);
    if (code != 0) {
        return code;
    }
    code = kv_check_write(options, error);
    if (code == 0) {
        code = kv_compose(&operation, value, error);
    }
    if (code == 0) {
        code = kv_need_time(store, &operation.call, key, &now, error);
    }
    if (code == 0) {
        kv_set_expiry(&operation, options, NULL, &now);
        operation.item.version = dlk_first_version(&now, NULL);
        dlk_request_put(store, &operation.call, key, &operation.item);
        code = dlk_call_complete(&operation.call);
        code = code != 0 ? kv_fail(&operation, code, error) : 0;
    }
    return kv_end(&operation, code);
}

int dynalock_delete(dynalock_store *store, const char *key, dynalock_error *error)
{
    struct kv_operation operation;
    int code = kv_begin(&operation, store, key, error);
    if (code != 0) {
        return code;
    }
    dlk_request_delete(store, &operation.call, key);
    code = dlk_call_complete(&operation.call);
    return kv_end(&operation, code != 0 ? kv_fail(&operation, code, error) : 0);
}

/* After a failed condition: the record as it is. The answer shows it, or, from a server that does
 * not show them, a read. */
static int kv_seen(struct kv_operation *operation, dynalock_kv **seen, dynalock_error *error)
{
    struct dlk_call *call = &operation->call;
    if (call->service.item_unreadable) {
        return kv_conflict(operation, DYNALOCK_ERR_TYPE, call->service.item_problem, error);
    }
    if (dlk_call_shows_record(call)) {
        *seen = call->service.item;
        call->service.item = NULL;
        return 0;
    }
    operation->open = operation->open || call->unanswered;
    int code = kv_read(call, operation->key, seen, error);
    if (code != 0 && error != NULL && operation->open) {
        error->flags |= DYNALOCK_ERROR_OUTCOME_UNKNOWN;
    }
    return code;
}

/* What was written, as a kv. */
static int kv_written(struct kv_operation *operation, const dynalock_kv *previous, int64_t version,
                      const char *nonce, dynalock_kv **kv, dynalock_error *error)
{
    const struct dlk_item *item = &operation->item;
    dynalock_kv *made = NULL;
    if (kv == NULL) {
        return 0;
    }
    if (dlk_kv_make(operation->store->partition, operation->key, nonce, item->value,
                    item->value_length, &made, error) != 0) {
        (void)dlk_fail(error, DYNALOCK_ERR_MEMORY,
                       "the record was written, but there is no memory to tell of it");
        if (error != NULL) {
            error->flags |= DYNALOCK_ERROR_OUTCOME_UNKNOWN;
        }
        return DYNALOCK_ERR_MEMORY;
    }
    bool kept = item->keep_expires && previous != NULL;
    made->current = true;
    made->version = version;
    made->has_expires = kept ? previous->has_expires : item->has_expires;
    made->expires = kept ? previous->expires : item->expires;
    *kv = made;
    return 0;
}

/* One round of a create. 1: to be tried again over *over, which it replaces; 0: done; else a code. */
static int kv_create_round(struct kv_operation *operation, dynalock_kv **over, dynalock_kv **kv,
                           dynalock_error *error)
{
    struct dlk_now now;
    dynalock_kv *seen = NULL;
    dlk_store_now(operation->store, &now);
    if (*over != NULL && dlk_version_is_spent((*over)->version)) {
        return dlk_fail(error, DYNALOCK_ERR_TYPE,
                        "the record's version is at the end of its range");
    }
    kv_number(operation, dlk_first_version(&now, *over));
    dlk_request_create(operation->store, &operation->call, operation->key, &operation->item, *over);
    int code = dlk_call_complete(&operation->call);
    if (code == 0) {
        return kv_written(operation, NULL, operation->item.version, operation->nonce, kv, error);
    }
    if (code != DLK_CONDITION_FAILED) {
        return kv_fail(operation, code, error);
    }
    code = kv_seen(operation, &seen, error);
    dynalock_kv_free(*over);
    *over = seen;
    if (code != 0) {
        return code;
    }
    if (seen != NULL && dlk_nonce_of(seen->nonce, operation->tenure)) {
        dlk_count(operation->store, DLK_ADOPTED);
        return kv_written(operation, NULL, dlk_nonce_version(seen->nonce), seen->nonce, kv, error);
    }
    dlk_store_now(operation->store, &now);
    if (seen == NULL || dlk_record_expired(seen, &now)) {
        return 1;
    }
    return kv_conflict(operation, DYNALOCK_ERR_EXISTS, "there is a record of this key", error);
}

static int kv_create(struct kv_operation *operation, dynalock_kv **kv, dynalock_error *error)
{
    dynalock_kv *over = NULL;
    int code = 1;
    for (int round = 0; round < KV_ROUNDS && code == 1; round++) {
        code = kv_create_round(operation, &over, kv, error);
    }
    dynalock_kv_free(over);
    if (code == 1) { /* others create and remove it all the time */
        code = kv_conflict(operation, DYNALOCK_ERR_EXISTS,
                           "others create and remove this record all the time", error);
    }
    return code;
}

static int kv_replace(struct kv_operation *operation, const dynalock_kv *previous,
                      const struct dlk_now *now, dynalock_kv **kv, dynalock_error *error)
{
    struct dlk_base base = {previous->version, previous->nonce, dlk_seconds_down(now->lower_us)};
    dynalock_kv *seen = NULL;
    if (dlk_version_is_spent(previous->version)) {
        return dlk_fail(error, DYNALOCK_ERR_TYPE,
                        "the record's version is at the end of its range");
    }
    kv_number(operation, previous->version + 1);
    dlk_request_replace(operation->store, &operation->call, operation->key, &operation->item,
                        &base);
    int code = dlk_call_complete(&operation->call);
    if (code == 0) {
        return kv_written(operation, previous, operation->item.version, operation->nonce, kv,
                          error);
    }
    if (code != DLK_CONDITION_FAILED) {
        return kv_fail(operation, code, error);
    }
    code = kv_seen(operation, &seen, error);
    if (code != 0) {
        return code;
    }
    if (seen != NULL && dlk_nonce_of(seen->nonce, operation->tenure)) {
        dlk_count(operation->store, DLK_ADOPTED);
        code =
            kv_written(operation, previous, operation->item.version, operation->nonce, kv, error);
    } else {
        /* The version this write would have made is another's, or not made yet: it has not
         * happened, and its condition can never be true again. Past that, it may have happened and
         * been followed by others. */
        bool settled = seen != NULL && seen->version >= previous->version &&
                       seen->version <= previous->version + 1;
        operation->open = !settled && (operation->open || operation->call.unanswered);
        operation->call.unanswered = false;
        code = kv_conflict(
            operation, DYNALOCK_ERR_MODIFIED,
            "the record is not the previous one any more: it was written, has expired or is gone",
            error);
    }
    dynalock_kv_free(seen);
    return code;
}

int dynalock_atomic_put(dynalock_store *store, const char *key, dynalock_value value,
                        const dynalock_kv *previous, const dynalock_write_options *options,
                        dynalock_kv **kv, dynalock_error *error)
{
    struct kv_operation operation;
    struct dlk_now now;
    int code = kv_begin(&operation, store, key, error);
    if (code != 0) {
        return code;
    }
    if (previous != NULL &&
        (strcmp(previous->key, key) != 0 || strcmp(previous->partition, store->partition) != 0)) {
        code = dlk_fail(error, DYNALOCK_ERR_ARGUMENT,
                        "previous is a record of another key or partition");
    }
    if (code == 0) {
        code = kv_check_write(options, error);
    }
    if (code == 0) {
        code = kv_compose(&operation, value, error);
    }
    if (code == 0 && dlk_tenure_new(operation.tenure) != 0) {
        code = dlk_fail(error, DYNALOCK_ERR_SYSTEM, "no random bytes could be had");
    }
    if (code == 0) {
        code = kv_need_time(store, &operation.call, key, &now, error);
    }
    if (code == 0) {
        kv_set_expiry(&operation, options, previous, &now);
        code = previous == NULL ? kv_create(&operation, kv, error)
                                : kv_replace(&operation, previous, &now, kv, error);
    }
    return kv_end(&operation, code);
}

static int kv_delete_exactly(struct kv_operation *operation, const dynalock_kv *previous,
                             const struct dlk_now *now, dynalock_error *error)
{
    struct dlk_base base = {previous->version, previous->nonce, dlk_seconds_down(now->lower_us)};
    dynalock_kv *seen = NULL;
    dlk_request_delete_exactly(operation->store, &operation->call, operation->key, &base);
    int code = dlk_call_complete(&operation->call);
    if (code == 0) {
        return 0;
    }
    if (code != DLK_CONDITION_FAILED) {
        return kv_fail(operation, code, error);
    }
    code = kv_seen(operation, &seen, error);
    if (code != 0) {
        return code;
    }
    bool gone = seen == NULL || dlk_record_expired(seen, now);
    dynalock_kv_free(seen);
    return gone ? kv_conflict(operation, DYNALOCK_ERR_NOT_FOUND, "there is no such record", error)
                : kv_conflict(operation, DYNALOCK_ERR_MODIFIED, "the record was written since",
                              error);
}

int dynalock_atomic_delete(dynalock_store *store, const char *key, const dynalock_kv *previous,
                           dynalock_error *error)
{
    struct kv_operation operation;
    struct dlk_now now;
    int code = kv_begin(&operation, store, key, error);
    if (code != 0) {
        return code;
    }
    if (previous == NULL || strcmp(previous->key, key) != 0 ||
        strcmp(previous->partition, store->partition) != 0) {
        code = dlk_fail(error, DYNALOCK_ERR_ARGUMENT,
                        "previous is NULL, or a record of another key or partition");
    }
    if (code == 0) {
        code = kv_need_time(store, &operation.call, key, &now, error);
    }
    return kv_end(&operation,
                  code != 0 ? code : kv_delete_exactly(&operation, previous, &now, error));
}

/* ---- Listing ---- */

/* Gets each item, and may take it: then it leaves NULL. */
typedef int (*list_take_fn)(dynalock_kv **kv, void *context);

/* Hands the items of a page over, those that have expired left out. */
static int list_hand_over(dynalock_store *store, struct dlk_page *page, list_take_fn take,
                          void *context)
{
    struct dlk_now now;
    int code = 0;
    dlk_store_now(store, &now);
    for (size_t i = 0; i < page->count && code == 0; i++) {
        if (!dlk_record_expired(page->items[i], &now)) {
            code = take(&page->items[i], context);
        }
    }
    return code;
}

/* Reads the page that starts at *start_key (NULL: the first), and hands it over; *start_key becomes
 * the next one's (NULL: that was the last). */
static int list_page(struct dlk_call *call, const char *prefix, bool consistent, char **start_key,
                     unsigned *empty, list_take_fn take, void *context, dynalock_error *error)
{
    struct dlk_page page = {0};
    dlk_request_query(call->store, call, prefix, consistent, *start_key);
    int code = dlk_call_complete(call);
    if (code != 0) {
        return dlk_call_fail(call, code, error);
    }
    code = dlk_json_page(call->exchange.answer.data, call->exchange.answer.length, &page, error);
    if (code == 0) {
        code = list_hand_over(call->store, &page, take, context);
    }
    /* Keys come in the order of their bytes. */
    bool stuck =
        *start_key != NULL && page.last_key != NULL && strcmp(page.last_key, *start_key) <= 0;
    free(*start_key);
    *start_key = page.last_key;
    page.last_key = NULL;
    *empty = page.count > 0 ? 0 : *empty + 1;
    dlk_page_free(&page);
    return code == 0 && (stuck || *empty > LIST_EMPTY_MAX)
               ? dlk_fail(error, DYNALOCK_ERR_BAD_RESPONSE,
                          "Query: its pages lead nowhere; see LastEvaluatedKey")
               : code;
}

static int list_pages(struct dlk_call *call, const char *prefix, bool consistent, list_take_fn take,
                      void *context, dynalock_error *error)
{
    char *start_key = NULL;
    unsigned empty = 0;
    int code;
    do {
        code = list_page(call, prefix, consistent, &start_key, &empty, take, context, error);
    } while (code == 0 && start_key != NULL);
    free(start_key);
    return code;
}

static int list_run(dynalock_store *store, const char *prefix, const dynalock_read_options *options,
                    list_take_fn take, void *context, dynalock_error *error)
{
    struct dlk_call call;
    bool consistent = true;
    int code = dlk_enter(store, error);
    if (code != 0) {
        return code;
    }
    code = kv_check_read(options, &consistent, error);
    if (code == 0 && prefix != NULL) {
        code = dlk_check_text(prefix, 0, DLK_KEY_MAX, "prefix", error);
    }
    if (code == 0) {
        dlk_call_init(store, &call, "Query", prefix);
        code = list_pages(&call, prefix, consistent, take, context, error);
        dlk_call_free(&call);
    }
    dlk_leave(store);
    return code;
}

struct list_callback {
    dynalock_list_fn call;
    void *context;
};

static int list_show(dynalock_kv **kv, void *context)
{
    const struct list_callback *callback = context;
    dlk_callback_begin();
    int code = callback->call(*kv, callback->context);
    dlk_callback_end();
    return code;
}

int dynalock_list_each(dynalock_store *store, const char *prefix,
                       const dynalock_read_options *options, dynalock_list_fn callback,
                       void *context, dynalock_error *error)
{
    struct list_callback shown = {callback, context};
    return callback != NULL ? list_run(store, prefix, options, list_show, &shown, error)
                            : dlk_fail(error, DYNALOCK_ERR_ARGUMENT, "there is no callback");
}

struct list_result {
    dynalock_kv **items;
    size_t count, capacity;
};

static int list_collect(dynalock_kv **kv, void *context)
{
    struct list_result *result = context;
    if (result->count == result->capacity) {
        size_t capacity = result->capacity > 0 ? result->capacity * 2 : 16;
        dynalock_kv **items = realloc(result->items, capacity * sizeof(dynalock_kv *));
        if (items == NULL) {
            return DYNALOCK_ERR_MEMORY;
        }
        result->items = items;
        result->capacity = capacity;
    }
    result->items[result->count++] = *kv;
    *kv = NULL;
    return 0;
}

int dynalock_list(dynalock_store *store, const char *prefix, const dynalock_read_options *options,
                  dynalock_kv ***items, size_t *count, dynalock_error *error)
{
    struct list_result result = {0};
    if (items == NULL || count == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_ARGUMENT, "there is no place for the answer");
    }
    int code = list_run(store, prefix, options, list_collect, &result, error);
    if (code != 0) {
        dynalock_list_free(result.items, result.count);
        return code == DYNALOCK_ERR_MEMORY ? dlk_fail(error, code, "out of memory") : code;
    }
    *items = result.items;
    *count = result.count;
    return 0;
}
