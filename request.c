/* SPDX-License-Identifier: Apache-2.0 */
/* The requests' bodies. Keys, partition and table are valid UTF-8 by now: see dlk_check_text. */
#include "internal.h"

#include <string.h>

static void request_string(struct dlk_buffer *body, const char *text)
{
    dlk_json_string(body, text, strlen(text));
}

/* ,"name":{"S":"text"} */
static void request_s(struct dlk_buffer *body, const char *name, const char *text)
{
    request_string(body, name);
    dlk_buffer_text(body, ":{\"S\":");
    request_string(body, text);
    dlk_buffer_text(body, "}");
}

static void request_n(struct dlk_buffer *body, const char *name, int64_t number)
{
    request_string(body, name);
    dlk_buffer_text(body, ":{\"N\":\"");
    dlk_buffer_int(body, number);
    dlk_buffer_text(body, "\"}");
}

static void request_comma(struct dlk_buffer *body)
{
    dlk_buffer_text(body, ",");
}

static void request_table(const dynalock_store *store, struct dlk_buffer *body)
{
    dlk_buffer_text(body, "{\"TableName\":");
    request_string(body, store->table);
}

static void request_id(const dynalock_store *store, struct dlk_buffer *body, const char *key)
{
    request_s(body, "id", store->partition);
    request_comma(body);
    request_s(body, "name", key);
}

static void request_key(const dynalock_store *store, struct dlk_buffer *body, const char *key)
{
    request_table(store, body);
    dlk_buffer_text(body, ",\"Key\":{");
    request_id(store, body, key);
    dlk_buffer_text(body, "}");
}

void dlk_request_get(dynalock_store *store, struct dlk_call *call, const char *key, bool consistent,
                     bool only_presence)
{
    struct dlk_buffer *body = &call->body;
    dlk_call_reset(store, call, "GetItem");
    request_key(store, body, key);
    if (only_presence) {
        dlk_buffer_text(body, ",\"ProjectionExpression\":\"id,#n,version,expires\","
                              "\"ExpressionAttributeNames\":{\"#n\":\"name\"}");
    }
    dlk_buffer_text(body, consistent ? ",\"ConsistentRead\":true}" : "}");
}

void dlk_request_query(dynalock_store *store, struct dlk_call *call, const char *prefix,
                       bool consistent, const char *start_key)
{
    struct dlk_buffer *body = &call->body;
    bool prefixed = prefix != NULL && *prefix != '\0';
    dlk_call_reset(store, call, "Query");
    request_table(store, body);
    dlk_buffer_text(body, ",\"KeyConditionExpression\":\"id = :i");
    dlk_buffer_text(
        body, prefixed ? " AND begins_with(#n, :p)\",\"ExpressionAttributeNames\":{\"#n\":\"name\"}"
                       : "\"");
    dlk_buffer_text(body, ",\"ExpressionAttributeValues\":{");
    request_s(body, ":i", store->partition);
    if (prefixed) {
        request_comma(body);
        request_s(body, ":p", prefix);
    }
    dlk_buffer_text(body, "}");
    if (start_key != NULL) {
        dlk_buffer_text(body, ",\"ExclusiveStartKey\":{");
        request_s(body, "id", store->partition);
        request_comma(body);
        request_s(body, "name", start_key);
        dlk_buffer_text(body, "}");
    }
    dlk_buffer_text(body, consistent ? ",\"ConsistentRead\":true}" : "}");
}

/* ---- Writes ---- */

static void request_write(dynalock_store *store, struct dlk_call *call, const char *operation)
{
    dlk_call_reset(store, call, operation);
    call->write = true;
}

static void request_value(struct dlk_buffer *body, const char *name, const struct dlk_item *item)
{
    request_string(body, name);
    dlk_buffer_text(body, ":");
    dlk_buffer_bytes(body, item->value, item->value_length);
}

/* The condition that the record is of this version and nonce, its end left open. */
static void request_condition(struct dlk_buffer *body, const char *nonce)
{
    dlk_buffer_text(body, ",\"ConditionExpression\":\"version = :v AND ");
    dlk_buffer_text(body, nonce != NULL ? "nonce = :o" : "attribute_not_exists(nonce)");
}

static void request_condition_values(struct dlk_buffer *body, int64_t version, const char *nonce)
{
    request_n(body, ":v", version);
    if (nonce != NULL) {
        request_comma(body);
        request_s(body, ":o", nonce);
    }
}

static void request_end_conditional(struct dlk_buffer *body)
{
    dlk_buffer_text(body, "},\"ReturnValuesOnConditionCheckFailure\":\"ALL_OLD\"}");
}

void dlk_request_put(dynalock_store *store, struct dlk_call *call, const char *key,
                     const struct dlk_item *item)
{
    struct dlk_buffer *body = &call->body;
    request_write(store, call, "UpdateItem");
    request_key(store, body, key);
    dlk_buffer_text(body, ",\"UpdateExpression\":\"SET version = if_not_exists(version, :u) + :1");
    dlk_buffer_text(body, item->value != NULL ? ", payload = :p" : "");
    dlk_buffer_text(body, item->has_expires ? ", expires = :e" : "");
    dlk_buffer_text(body, " REMOVE nonce, holder, lease");
    dlk_buffer_text(body, item->value != NULL ? "" : ", payload");
    dlk_buffer_text(body, item->has_expires ? "" : ", expires");
    dlk_buffer_text(body, "\",\"ExpressionAttributeValues\":{");
    request_n(body, ":u", item->version);
    request_comma(body);
    request_n(body, ":1", 1);
    if (item->value != NULL) {
        request_comma(body);
        request_value(body, ":p", item);
    }
    if (item->has_expires) {
        request_comma(body);
        request_n(body, ":e", item->expires);
    }
    dlk_buffer_text(body, "}}");
}

static void request_item(const dynalock_store *store, struct dlk_buffer *body, const char *key,
                         const struct dlk_item *item)
{
    dlk_buffer_text(body, ",\"Item\":{");
    request_id(store, body, key);
    request_comma(body);
    request_n(body, "version", item->version);
    request_comma(body);
    request_s(body, "nonce", item->nonce);
    if (item->has_expires) {
        request_comma(body);
        request_n(body, "expires", item->expires);
    }
    if (item->holder != NULL) {
        request_comma(body);
        request_s(body, "holder", item->holder);
        request_comma(body);
        request_n(body, "lease", item->lease_ms);
    }
    if (item->value != NULL) {
        request_comma(body);
        request_value(body, "payload", item);
    }
    dlk_buffer_text(body, "}");
}

/* The record expires as seen: in that second, for a stranger's may have a fraction, or lie beyond
 * an int64. */
static void request_expiry_condition(struct dlk_buffer *body, const dynalock_kv *over)
{
    if (!over->has_expires) {
        dlk_buffer_text(body, " AND attribute_not_exists(expires)\"");
        return;
    }
    dlk_buffer_text(body, over->expires > INT64_MIN ? " AND expires >= :x" : "");
    dlk_buffer_text(body, over->expires < INT64_MAX ? " AND expires < :y\"" : "\"");
}

void dlk_request_create(dynalock_store *store, struct dlk_call *call, const char *key,
                        const struct dlk_item *item, const dynalock_kv *over)
{
    struct dlk_buffer *body = &call->body;
    request_write(store, call, "PutItem");
    request_table(store, body);
    request_item(store, body, key, item);
    if (over == NULL) {
        dlk_buffer_text(body, ",\"ConditionExpression\":\"attribute_not_exists(id)\","
                              "\"ReturnValuesOnConditionCheckFailure\":\"ALL_OLD\"}");
        return;
    }
    request_condition(body, over->nonce);
    request_expiry_condition(body, over);
    dlk_buffer_text(body, ",\"ExpressionAttributeValues\":{");
    request_condition_values(body, over->version, over->nonce);
    if (over->has_expires && over->expires > INT64_MIN) {
        request_comma(body);
        request_n(body, ":x", over->expires);
    }
    if (over->has_expires && over->expires < INT64_MAX) {
        request_comma(body);
        request_n(body, ":y", over->expires + 1);
    }
    request_end_conditional(body);
}

void dlk_request_replace(dynalock_store *store, struct dlk_call *call, const char *key,
                         const struct dlk_item *item, const struct dlk_base *base)
{
    struct dlk_buffer *body = &call->body;
    bool renewal = item->lease_ms > 0;
    request_write(store, call, "UpdateItem");
    request_key(store, body, key);
    dlk_buffer_text(body, ",\"UpdateExpression\":\"SET version = :w, nonce = :n");
    dlk_buffer_text(body, item->has_expires ? ", expires = :e" : "");
    dlk_buffer_text(body, renewal ? ", lease = :l" : item->value != NULL ? ", payload = :p" : "");
    dlk_buffer_text(body, renewal               ? ""
                          : item->value != NULL ? " REMOVE holder, lease"
                                                : " REMOVE holder, lease, payload");
    dlk_buffer_text(body, !item->has_expires && !item->keep_expires ? ", expires\"" : "\"");
    request_condition(body, base->nonce);
    dlk_buffer_text(
        body,
        " AND (attribute_not_exists(expires) OR expires >= :t)\",\"ExpressionAttributeValues\":{");
    request_condition_values(body, base->version, base->nonce);
    request_comma(body);
    request_n(body, ":t", base->not_expired_at);
    request_comma(body);
    request_n(body, ":w", item->version);
    request_comma(body);
    request_s(body, ":n", item->nonce);
    if (item->has_expires) {
        request_comma(body);
        request_n(body, ":e", item->expires);
    }
    if (renewal) {
        request_comma(body);
        request_n(body, ":l", item->lease_ms);
    } else if (item->value != NULL) {
        request_comma(body);
        request_value(body, ":p", item);
    }
    request_end_conditional(body);
}

void dlk_request_delete(dynalock_store *store, struct dlk_call *call, const char *key)
{
    request_write(store, call, "DeleteItem");
    request_key(store, &call->body, key);
    dlk_buffer_text(&call->body, "}");
}

void dlk_request_delete_exactly(dynalock_store *store, struct dlk_call *call, const char *key,
                                const struct dlk_base *base)
{
    struct dlk_buffer *body = &call->body;
    bool judged = base->not_expired_at != DLK_EXPIRED_OR_NOT;
    request_write(store, call, "DeleteItem");
    request_key(store, body, key);
    request_condition(body, base->nonce);
    dlk_buffer_text(body,
                    judged ? " AND (attribute_not_exists(expires) OR expires >= :t)\"" : "\"");
    dlk_buffer_text(body, ",\"ExpressionAttributeValues\":{");
    request_condition_values(body, base->version, base->nonce);
    if (judged) {
        request_comma(body);
        request_n(body, ":t", base->not_expired_at);
    }
    request_end_conditional(body);
}

void dlk_request_keep(dynalock_store *store, struct dlk_call *call, const char *key,
                      const struct dlk_base *base, const char *nonce)
{
    struct dlk_buffer *body = &call->body;
    request_write(store, call, "UpdateItem");
    request_key(store, body, key);
    dlk_buffer_text(body, ",\"UpdateExpression\":\"SET version = :w, nonce = :n, expires = :e "
                          "REMOVE payload, holder, lease\"");
    request_condition(body, base->nonce);
    dlk_buffer_text(body, "\",\"ExpressionAttributeValues\":{");
    request_condition_values(body, base->version, base->nonce);
    request_comma(body);
    request_n(body, ":w", base->version + 1);
    request_comma(body);
    request_s(body, ":n", nonce);
    request_comma(body);
    request_n(body, ":e", DLK_TOMBSTONE);
    request_end_conditional(body);
}

/* ---- The table ---- */

void dlk_request_table(dynalock_store *store, struct dlk_call *call, const char *operation)
{
    dlk_call_reset(store, call, operation);
    request_table(store, &call->body);
    dlk_buffer_text(&call->body, "}");
}

void dlk_request_create_table(dynalock_store *store, struct dlk_call *call)
{
    dlk_call_reset(store, call, "CreateTable");
    request_table(store, &call->body);
    dlk_buffer_text(&call->body, ",\"BillingMode\":\"PAY_PER_REQUEST\",\"AttributeDefinitions\":["
                                 "{\"AttributeName\":\"id\",\"AttributeType\":\"S\"},"
                                 "{\"AttributeName\":\"name\",\"AttributeType\":\"S\"}],"
                                 "\"KeySchema\":[{\"AttributeName\":\"id\",\"KeyType\":\"HASH\"},"
                                 "{\"AttributeName\":\"name\",\"KeyType\":\"RANGE\"}]}");
}

void dlk_request_enable_ttl(dynalock_store *store, struct dlk_call *call)
{
    dlk_call_reset(store, call, "UpdateTimeToLive");
    request_table(store, &call->body);
    dlk_buffer_text(
        &call->body,
        ",\"TimeToLiveSpecification\":{\"Enabled\":true,\"AttributeName\":\"expires\"}}");
}
