/* SPDX-License-Identifier: Apache-2.0 */
/* The bodies of answers, and the records in them. */
#include "internal.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int codec_no_memory(dynalock_error *error)
{
    return dlk_fail(error, DYNALOCK_ERR_MEMORY, "out of memory");
}

static int codec_bad(dynalock_error *error, const char *what)
{
    return dlk_fail(error, DYNALOCK_ERR_BAD_RESPONSE, "the answer is not DynamoDB's: %s", what);
}

/* ---- A record -------------------------------------------------------------------------------- */

/* Borrowed; text NULL: there is none. */
struct codec_text {
    const char *text;
    size_t length;
};

enum codec_texts { CODEC_PARTITION, CODEC_KEY, CODEC_NONCE, CODEC_HOLDER, CODEC_TEXTS };

/* None, where there is no such S, or one with U+0000. */
static struct codec_text codec_string(const json_t *item, const char *name)
{
    struct codec_text found = {NULL, 0};

    found.text = dlk_attribute_string(json_object_get(item, name), &found.length);
    if (found.text != NULL && memchr(found.text, '\0', found.length) != NULL) {
        found.text = NULL;
    }
    return found;
}

/* A record with these texts, in one block with it. */
static dynalock_kv *codec_new(const struct codec_text texts[CODEC_TEXTS])
{
    char *copies[CODEC_TEXTS] = {NULL};
    size_t size = sizeof(dynalock_kv);
    dynalock_kv *kv;
    char *at;
    int i;

    for (i = 0; i < CODEC_TEXTS; i++) {
        size += texts[i].text != NULL ? texts[i].length + 1 : 0;
    }
    kv = calloc(1, size);
    if (kv == NULL) {
        return NULL;
    }
    at = (char *)(kv + 1);
    for (i = 0; i < CODEC_TEXTS; i++) {
        if (texts[i].text != NULL) {
            copies[i] = at;
            memcpy(at, texts[i].text, texts[i].length);
            at += texts[i].length + 1;
        }
    }
    kv->partition = copies[CODEC_PARTITION];
    kv->key = copies[CODEC_KEY];
    kv->nonce = copies[CODEC_NONCE];
    kv->holder = copies[CODEC_HOLDER];
    return kv;
}

static int codec_odd(const dynalock_kv *kv, dynalock_error *error, int code, const char *what)
{
    char key[128];

    dlk_copy_text(key, sizeof key, kv->key);
    return dlk_fail(error, code, "record \"%s\": %s", key, what);
}

static int codec_numbers(const json_t *item, dynalock_kv *kv, dynalock_error *error)
{
    const json_t *version = json_object_get(item, "version");
    const json_t *expires = json_object_get(item, "expires");
    bool exact = false;

    if (version == NULL) {
        return codec_odd(kv, error, DYNALOCK_ERR_TYPE, "it has no version");
    }
    if (!dlk_attribute_floor(version, &kv->version, &exact) || !exact) {
        return codec_odd(kv, error, DYNALOCK_ERR_TYPE, "version is not an int64");
    }
    if (expires != NULL && !dlk_attribute_floor(expires, &kv->expires, &exact)) {
        return codec_odd(kv, error, DYNALOCK_ERR_TYPE, "expires is not a number");
    }
    kv->has_expires = expires != NULL;
    return DYNALOCK_OK;
}

/* Whether it is <32 lower-case hex digits>.<number of the write>.[<since the token>.]<version>, with this
 * version. */
static bool codec_nonce_names(const char *nonce, int64_t version)
{
    char expected[24];
    size_t digits;

    if (strspn(nonce, "0123456789abcdef") != 32 || nonce[32] != '.') {
        return false;
    }
    nonce += 33;
    digits = strspn(nonce, "0123456789");
    if (digits == 0 || nonce[digits] != '.') {
        return false;
    }
    nonce += digits + 1;
    digits = strspn(nonce, "0123456789");
    nonce += digits > 0 && nonce[digits] == '.' ? digits + 1 : 0;
    (void)snprintf(expected, sizeof expected, "%" PRId64, version);
    return strcmp(nonce, expected) == 0;
}

/* Anyone may write these attributes: a holder or a lease of a wrong type counts as absent. A nonce
 * does not: no condition could be written that it meets. */
static int codec_tenure(const json_t *item, dynalock_kv *kv, dynalock_error *error)
{
    int64_t lease = 0;
    bool exact = false;

    if (kv->nonce == NULL && json_object_get(item, "nonce") != NULL) {
        return codec_odd(kv, error, DYNALOCK_ERR_TYPE, "nonce is not a string without U+0000");
    }
    if (dlk_attribute_floor(json_object_get(item, "lease"), &lease, &exact) && exact && lease > 0) {
        kv->lease_ms = lease;
    }
    /* What none of ours can have written could not be written over, either. */
    kv->current = kv->nonce != NULL && strlen(kv->nonce) < DLK_NONCE_SIZE && kv->version > 0 &&
                  kv->version < INT64_MAX && codec_nonce_names(kv->nonce, kv->version);
    return DYNALOCK_OK;
}

static int codec_payload(const json_t *item, dynalock_kv *kv, dynalock_error *error)
{
    json_t *payload = json_object_get(item, "payload");

    if (payload != NULL && dlk_attribute_type(payload) == NULL) {
        return codec_odd(kv, error, DYNALOCK_ERR_BAD_RESPONSE, "payload is no attribute value");
    }
    kv->payload = json_incref(payload);
    return DYNALOCK_OK;
}

static int codec_record(const json_t *item, dynalock_kv **kv, dynalock_error *error)
{
    const struct codec_text texts[CODEC_TEXTS] = {
        codec_string(item, "id"), codec_string(item, "name"), codec_string(item, "nonce"),
        codec_string(item, "holder")};
    dynalock_kv *record;
    int code;

    if (!json_is_object(item)) {
        return codec_bad(error, "an item is no object");
    }
    if (texts[CODEC_KEY].text == NULL) {
        return dlk_fail(error, DYNALOCK_ERR_TYPE, "a record's name is not a string without U+0000");
    }
    record = codec_new(texts);
    if (record == NULL) {
        return codec_no_memory(error);
    }
    code = record->partition != NULL
               ? codec_numbers(item, record, error)
               : codec_odd(record, error, DYNALOCK_ERR_TYPE, "id is not a string without U+0000");
    if (code == DYNALOCK_OK) {
        code = codec_tenure(item, record, error);
    }
    if (code == DYNALOCK_OK) {
        code = codec_payload(item, record, error);
    }
    if (code != DYNALOCK_OK) {
        dynalock_kv_free(record);
        return code;
    }
    *kv = record;
    return DYNALOCK_OK;
}

/* ---- The bodies of answers ------------------------------------------------------------------- */

/* jansson's own words are not handed on: they quote the text. Where its memory runs out within a
 * string it calls the text invalid, and so must we. */
static int codec_load(const char *body, size_t length, json_t **root, dynalock_error *error)
{
    json_error_t failure;
    json_t *json;

    if (!dlk_json_is_sane(body, length)) {
        return codec_bad(error, "it is nested too deep, or has too many parts");
    }
    memset(&failure, 0, sizeof failure);
    json = json_loadb(length > 0 ? body : "", length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL,
                      &failure);
    if (json_is_object(json)) {
        *root = json;
        return DYNALOCK_OK;
    }
    if (json != NULL) {
        json_decref(json);
        return codec_bad(error, "it is no JSON object");
    }
    if (json_error_code(&failure) == json_error_out_of_memory || failure.text[0] == '\0') {
        return codec_no_memory(error);
    }
    if (json_error_code(&failure) == json_error_null_byte_in_key) {
        return dlk_fail(error, DYNALOCK_ERR_TYPE,
                        "the answer has a member with U+0000 in its name, which cannot be read");
    }
    return dlk_fail(error, DYNALOCK_ERR_BAD_RESPONSE,
                    "the answer is not DynamoDB's: it is no JSON, from byte %d of %zu on",
                    failure.position, length);
}

bool dlk_json_is_object(const char *body, size_t length)
{
    json_t *root = NULL;
    if (length == 2 && memcmp(body, "{}", 2) == 0) {
        return true;
    }
    if (codec_load(body, length, &root, NULL) != DYNALOCK_OK) {
        return false;
    }
    json_decref(root);
    return true;
}

int dlk_json_item(const char *body, size_t length, dynalock_kv **kv, dynalock_error *error)
{
    json_t *root = NULL;
    const json_t *item;
    int code = codec_load(body, length, &root, error);

    if (code != DYNALOCK_OK) {
        return code;
    }
    item = json_object_get(root, "Item");
    if (item != NULL) {
        code = codec_record(item, kv, error);
    } else {
        *kv = NULL;
    }
    json_decref(root);
    return code;
}

static int codec_last_key(const json_t *root, struct dlk_page *page, dynalock_error *error)
{
    const json_t *last = json_object_get(root, "LastEvaluatedKey");
    struct codec_text name;

    if (last == NULL || json_is_null(last)) {
        return DYNALOCK_OK;
    }
    name = codec_string(last, "name");
    if (name.text == NULL || name.length > DLK_KEY_MAX) {
        return codec_bad(error, "LastEvaluatedKey has no name");
    }
    page->last_key = strdup(name.text);
    return page->last_key != NULL ? DYNALOCK_OK : codec_no_memory(error);
}

static int codec_items(const json_t *items, struct dlk_page *page, dynalock_error *error)
{
    size_t count = json_array_size(items);
    int code = DYNALOCK_OK;

    if (!json_is_array(items)) {
        return codec_bad(error, "there are no Items");
    }
    if (count == 0) {
        return DYNALOCK_OK;
    }
    page->items = calloc(count, sizeof page->items[0]);
    if (page->items == NULL) {
        return codec_no_memory(error);
    }
    while (code == DYNALOCK_OK && page->count < count) {
        code = codec_record(json_array_get(items, page->count), &page->items[page->count], error);
        page->count += code == DYNALOCK_OK ? 1U : 0U;
    }
    return code;
}

int dlk_json_page(const char *body, size_t length, struct dlk_page *page, dynalock_error *error)
{
    struct dlk_page found = {NULL, 0, NULL};
    json_t *root = NULL;
    int code = codec_load(body, length, &root, error);

    if (code == DYNALOCK_OK) {
        code = codec_items(json_object_get(root, "Items"), &found, error);
    }
    if (code == DYNALOCK_OK) {
        code = codec_last_key(root, &found, error);
    }
    json_decref(root);
    if (code != DYNALOCK_OK) {
        dlk_page_free(&found);
        return code;
    }
    *page = found;
    return DYNALOCK_OK;
}

void dlk_page_free(struct dlk_page *page)
{
    dynalock_list_free(page->items, page->count);
    free(page->last_key);
    memset(page, 0, sizeof *page);
}

/* ---- Tables ---------------------------------------------------------------------------------- */

static const char *codec_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text != NULL ? text : "";
}

/* The name and type of the key of that kind, HASH or RANGE; "": there is none. */
static const char *codec_key(const json_t *table, const char *kind, const char **type)
{
    const json_t *keys = json_object_get(table, "KeySchema");
    const json_t *types = json_object_get(table, "AttributeDefinitions");
    const char *name = "";
    size_t i;

    *type = "?";
    for (i = 0; i < json_array_size(keys); i++) {
        if (strcmp(codec_text(json_array_get(keys, i), "KeyType"), kind) == 0) {
            name = codec_text(json_array_get(keys, i), "AttributeName");
        }
    }
    for (i = 0; i < json_array_size(types); i++) {
        if (strcmp(codec_text(json_array_get(types, i), "AttributeName"), name) == 0) {
            *type = codec_text(json_array_get(types, i), "AttributeType");
        }
    }
    return name;
}

static void codec_keys(const json_t *table, struct dlk_table_state *state)
{
    const char *hash_type;
    const char *range_type;
    const char *hash = codec_key(table, "HASH", &hash_type);
    const char *range = codec_key(table, "RANGE", &range_type);
    char hash_name[64];
    char range_name[64];

    dlk_copy_text(hash_name, sizeof hash_name, hash);
    dlk_copy_text(range_name, sizeof range_name, range);
    if (range[0] != '\0') {
        (void)snprintf(state->keys, sizeof state->keys,
                       "%s (%.8s) partition key, %s (%.8s) sort key", hash_name, hash_type,
                       range_name, range_type);
    } else if (hash[0] != '\0') {
        (void)snprintf(state->keys, sizeof state->keys, "%s (%.8s) partition key, no sort key",
                       hash_name, hash_type);
    } else {
        (void)snprintf(state->keys, sizeof state->keys, "no keys given");
    }
    state->keys_right = strcmp(hash, "id") == 0 && strcmp(hash_type, "S") == 0 &&
                        strcmp(range, "name") == 0 && strcmp(range_type, "S") == 0;
}

int dlk_json_table(const char *body, size_t length, struct dlk_table_state *state,
                   dynalock_error *error)
{
    struct dlk_table_state found;
    json_t *root = NULL;
    const json_t *table;
    int code = codec_load(body, length, &root, error);

    if (code != DYNALOCK_OK) {
        return code;
    }
    table = json_object_get(root, "Table");
    if (table == NULL) {
        table = json_object_get(root, "TableDescription");
    }
    memset(&found, 0, sizeof found);
    dlk_copy_text(found.status, sizeof found.status, codec_text(table, "TableStatus"));
    codec_keys(table, &found);
    json_decref(root);
    if (found.status[0] == '\0') {
        return codec_bad(error, "there is no TableStatus");
    }
    *state = found;
    return DYNALOCK_OK;
}

int dlk_json_ttl(const char *body, size_t length, struct dlk_ttl_state *state,
                 dynalock_error *error)
{
    struct dlk_ttl_state found;
    json_t *root = NULL;
    const json_t *ttl;
    int code = codec_load(body, length, &root, error);

    if (code != DYNALOCK_OK) {
        return code;
    }
    ttl = json_object_get(root, "TimeToLiveDescription");
    memset(&found, 0, sizeof found);
    dlk_copy_text(found.status, sizeof found.status, codec_text(ttl, "TimeToLiveStatus"));
    dlk_copy_text(found.attribute, sizeof found.attribute, codec_text(ttl, "AttributeName"));
    json_decref(root);
    if (found.status[0] == '\0') {
        return codec_bad(error, "there is no TimeToLiveStatus");
    }
    *state = found;
    return DYNALOCK_OK;
}

/* ---- Errors ---------------------------------------------------------------------------------- */

/* "com.amazonaws.dynamodb.v20120810#ThrottlingException:http://..." */
static void codec_error_name(const char *type, char *name, size_t size)
{
    char text[192];
    const char *hash;

    dlk_copy_text(text, sizeof text, type);
    text[strcspn(text, ":")] = '\0';
    hash = strrchr(text, '#');
    dlk_copy_text(name, size, hash != NULL ? hash + 1 : text);
}

void dlk_json_error(const char *body, size_t length, struct dlk_service_error *error)
{
    json_t *root = NULL;
    const json_t *item;
    const char *message;
    dynalock_error problem;

    int code;

    memset(error, 0, sizeof *error);
    code = codec_load(body, length, &root, &problem); /* without a root, nothing is found below */
    codec_error_name(codec_text(root, "__type"), error->name, sizeof error->name);
    message = codec_text(root, "message");
    if (message[0] == '\0') {
        message = codec_text(root, "Message");
    }
    dlk_copy_text(error->message, sizeof error->message, message);
    item = json_object_get(root, "Item");
    if (item != NULL) {
        code = codec_record(item, &error->item, &problem);
    }
    error->out_of_memory = code == DYNALOCK_ERR_MEMORY;
    /* Of all that is in an error, only a record can have names that cannot be read: TYPE. */
    error->item_unreadable =
        code == DYNALOCK_ERR_TYPE || (item != NULL && code == DYNALOCK_ERR_BAD_RESPONSE);
    if (error->item_unreadable) {
        dlk_copy_text(error->item_problem, sizeof error->item_problem, problem.message);
    }
    json_decref(root);
}

/* ---- Records, as the caller sees them -------------------------------------------------------- */

int dlk_kv_make(const char *partition, const char *key, const char *nonce, const char *value_text,
                size_t value_length, dynalock_kv **kv, dynalock_error *error)
{
    const struct codec_text texts[CODEC_TEXTS] = {{partition, strlen(partition)},
                                                  {key, strlen(key)},
                                                  {nonce, nonce != NULL ? strlen(nonce) : 0},
                                                  {NULL, 0}};
    dynalock_kv *made = codec_new(texts);

    /* The value's text is this library's own, and right: there is but one reason to fail. */
    if (made == NULL || (value_length > 0 && codec_load(value_text, value_length, &made->payload,
                                                        NULL) != DYNALOCK_OK)) {
        dynalock_kv_free(made);
        return codec_no_memory(error);
    }
    *kv = made;
    return DYNALOCK_OK;
}

void dynalock_kv_free(dynalock_kv *kv)
{
    if (kv == NULL) {
        return;
    }
    free(kv->bytes);
    json_decref(kv->payload);
    free(kv);
}

void dynalock_list_free(dynalock_kv **items, size_t count)
{
    size_t i;

    for (i = 0; items != NULL && i < count; i++) {
        dynalock_kv_free(items[i]);
    }
    free(items);
}

const char *dynalock_kv_partition(const dynalock_kv *kv)
{
    return kv != NULL ? kv->partition : NULL;
}

const char *dynalock_kv_key(const dynalock_kv *kv)
{
    return kv != NULL ? kv->key : NULL;
}

int64_t dynalock_kv_version(const dynalock_kv *kv)
{
    return kv != NULL ? kv->version : 0;
}

int64_t dynalock_kv_expires_ms(const dynalock_kv *kv)
{
    if (kv == NULL || !kv->has_expires) {
        return 0;
    }
    if (kv->expires == 0) {
        return 1; /* long past; 0 would say never */
    }
    if (kv->expires > INT64_MAX / 1000) {
        return INT64_MAX;
    }
    return kv->expires < INT64_MIN / 1000 ? INT64_MIN : kv->expires * 1000;
}

const char *dynalock_kv_type(const dynalock_kv *kv)
{
    return kv != NULL ? dlk_attribute_type(kv->payload) : NULL;
}

static bool codec_is_lock(const dynalock_kv *kv)
{
    return kv != NULL && kv->current && kv->lease_ms > 0;
}

const char *dynalock_kv_holder(const dynalock_kv *kv)
{
    return codec_is_lock(kv) ? kv->holder : NULL;
}

int64_t dynalock_kv_lease_ms(const dynalock_kv *kv)
{
    return codec_is_lock(kv) ? kv->lease_ms : 0;
}

int64_t dynalock_kv_token(const dynalock_kv *kv)
{
    return codec_is_lock(kv) ? kv->version - dlk_nonce_since_token(kv->nonce) : 0;
}

static int codec_null(dynalock_error *error)
{
    return dlk_fail(error, DYNALOCK_ERR_ARGUMENT, "an argument is NULL");
}

static int codec_no_value(const dynalock_kv *kv, dynalock_error *error)
{
    return codec_odd(kv, error, DYNALOCK_ERR_TYPE, "it has no value");
}

int dynalock_kv_bytes(dynalock_kv *kv, const void **bytes, size_t *length, dynalock_error *error)
{
    int code = DYNALOCK_OK;

    if (kv == NULL || bytes == NULL || length == NULL) {
        return codec_null(error);
    }
    if (kv->payload == NULL) {
        return codec_no_value(kv, error);
    }
    if (kv->bytes == NULL) {
        code = dlk_attribute_bytes(kv->payload, &kv->bytes, &kv->bytes_length, error);
    }
    if (code == DYNALOCK_OK) {
        *bytes = kv->bytes;
        *length = kv->bytes_length;
    }
    return code;
}

int dynalock_kv_json(const dynalock_kv *kv, struct json_t **json, dynalock_error *error)
{
    if (kv == NULL || json == NULL) {
        return codec_null(error);
    }
    if (kv->payload == NULL) {
        return codec_no_value(kv, error);
    }
    return dlk_attribute_plain(kv->payload, json, error);
}

int dynalock_kv_attribute(const dynalock_kv *kv, struct json_t **json, dynalock_error *error)
{
    json_t *copy;

    if (kv == NULL || json == NULL) {
        return codec_null(error);
    }
    if (kv->payload == NULL) {
        return codec_no_value(kv, error);
    }
    copy = json_deep_copy(kv->payload);
    if (copy == NULL) {
        return codec_no_memory(error);
    }
    *json = copy;
    return DYNALOCK_OK;
}
