/* SPDX-License-Identifier: Apache-2.0 */
#include "strangers.h"

#include "fuzz.h"
#include "rough_network.h"

#include <inttypes.h>
#include <stdio.h>

#define STRANGER_SECOND INT64_C(1000000)
#define STRANGER_TTL_S \
    19 /* less than go_lease_ms: where time is not trusted, it is taken over after that */

static json_t *stranger_item(const json_t *have, const char *partition, const char *key)
{
    return have != NULL ? json_deep_copy(have)
                        : json_pack("{s{ss}s{ss}}", "id", "S", partition, "name", "S", key);
}

static void stranger_set(json_t *item, const char *name, int64_t number)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%" PRId64, number);
    (void)json_object_set_new(item, name, json_pack("{ss}", "N", text));
}

/* ---- Go ---- */

bool stranger_go_believes(const struct stranger_go *go)
{
    return go->held && rough_server_us() + go->ahead_us < go->expires_s * STRANGER_SECOND;
}

/* Writes the record, with the next version; what it does not know stays. */
static void go_write(struct stranger_go *go, struct small_dynamo *server, const char *partition,
                     const char *key)
{
    long double version = 0;
    json_t *item = stranger_item(small_find(server, partition, key), partition, key);
    (void)small_number(item, "version", &version);
    if (version >= INT64_MAX) { /* another stranger's */
        json_decref(item);
        return;
    }
    go->version = (int64_t)version + 1;
    go->expires_s =
        dlk_seconds_down(rough_server_us() + go->ahead_us + STRANGER_TTL_S * STRANGER_SECOND);
    go->held = true;
    stranger_set(item, "version", go->version);
    stranger_set(item, "expires", go->expires_s);
    small_put(server, item);
}

void stranger_go(struct stranger_go *go, struct small_dynamo *server, const char *partition,
                 const char *key, unsigned what)
{
    long double expires, version;
    int64_t now_s = dlk_seconds_down(rough_server_us() + go->ahead_us);
    const json_t *have = small_find(server, partition, key);
    bool expired = have != NULL && small_number(have, "expires", &expires) && expires < now_s;
    bool same =
        have != NULL && small_number(have, "version", &version) && (int64_t)version == go->version;
    if (what % 3 == 0 || !go->held) {
        if (have == NULL || expired) {
            go_write(go, server, partition, key);
        }
    } else if (what % 3 == 1) {
        go->held = same && !expired;
        if (go->held) {
            go_write(go, server, partition, key);
        }
    } else {
        go->held = false;
        if (same) {
            small_remove(server, partition, key);
        }
    }
}

/* ---- The rest ---- */

bool stranger_time_to_live(struct small_dynamo *server, const char *partition, const char *key)
{
    long double expires;
    const json_t *have = small_find(server, partition, key);
    if (have == NULL || !small_number(have, "expires", &expires) || expires <= DLK_TOMBSTONE ||
        expires >= (long double)dlk_seconds_down(rough_server_us())) {
        return false;
    }
    small_remove(server, partition, key);
    return true;
}

void stranger_meddle(struct small_dynamo *server, const char *partition, const char *key,
                     unsigned what)
{
    static const char *const changes[] = {
        "{\"version\":{\"N\":\"1\"}}",
        "{\"version\":{\"S\":\"1\"}}",
        "{\"expires\":{\"N\":\"1\"}}",
        "{\"expires\":{\"N\":\"1900000030.5\"}}",
        "{\"nonce\":{\"N\":\"1\"}}",
        "{\"version\":{\"N\":\"9223372036854775807\"},\"expires\":{\"N\":\"1\"}}",
        "{\"nonce\":{\"S\":\"0123456789abcdef0123456789abcdef.1.1\"},\"version\":{\"N\":\"1\"}}",
        "{\"lease\":{\"N\":\"9223372036854775807\"},\"holder\":{\"S\":\"\"}}",
        "{\"expires\":{\"N\":\"-5\"}}",
        "{\"expires\":{\"N\":\"9E+100\"}}",
    };
    size_t count = sizeof changes / sizeof *changes;
    if (what % (count + 1) == count) {
        small_remove(server, partition, key);
        return;
    }
    json_t *item = stranger_item(small_find(server, partition, key), partition, key);
    json_t *change = json_loads(changes[what % (count + 1)], 0, NULL);
    if (json_object_get(item, "version") == NULL && what % 2 == 0) {
        stranger_set(item, "version", 5);
    }
    (void)json_object_update(item, change);
    json_decref(change);
    small_put(server, item);
}
