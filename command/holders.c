/* SPDX-License-Identifier: Apache-2.0 */
/* Who holds a lock, as its record tells. */
#include "command.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#define HOLDER_2020_MS INT64_C(1577836800000)
#define HOLDER_DAY_MS INT64_C(86400000)

int64_t holder_now_ms(dynalock_store *store)
{
    dynalock_store_info info;
    int64_t now_ms = time_now_ms();
    if (dynalock_store_describe(store, &info, NULL) == 0 && info.clock_known) {
        now_ms -= info.clock_ahead_min_ms + (info.clock_ahead_max_ms - info.clock_ahead_min_ms) / 2;
    }
    return now_ms;
}

int64_t holder_since_ms(int64_t token, int64_t now_ms)
{
    int64_t since_ms = token / 1000;
    return since_ms >= HOLDER_2020_MS && since_ms <= now_ms + HOLDER_DAY_MS ? since_ms : 0;
}

static int64_t holder_left_ms(const dynalock_kv *kv, int64_t now_ms)
{
    int64_t left_ms = dynalock_kv_expires_ms(kv) - now_ms;
    return left_ms > 0 ? left_ms : 0;
}

bool holder_add(struct columns *columns, const dynalock_kv *kv, int64_t now_ms)
{
    const char *holder = dynalock_kv_holder(kv);
    int64_t since_ms = holder_since_ms(dynalock_kv_token(kv), now_ms);
    char token[24] = "-";
    char since[TIME_SIZE] = "-";
    char left[32] = "never ends";
    if (holder != NULL) {
        (void)snprintf(token, sizeof token, "%" PRId64, dynalock_kv_token(kv));
    }
    if (since_ms != 0) {
        text_time(since_ms, false, since);
    }
    if (dynalock_kv_expires_ms(kv) != 0) {
        duration_print(holder_left_ms(kv, now_ms), left, sizeof left);
    }
    const char *cells[] = {dynalock_kv_key(kv), holder != NULL ? holder : "-", token, since, left};
    return columns_add(columns, cells);
}

static json_t *holder_number(int64_t number, bool known)
{
    return known ? json_integer(number) : json_null();
}

json_t *holder_json(const dynalock_kv *kv, int64_t now_ms)
{
    const char *holder = dynalock_kv_holder(kv);
    int64_t since_ms = holder_since_ms(dynalock_kv_token(kv), now_ms);
    int64_t expires_ms = dynalock_kv_expires_ms(kv);
    return json_pack("{s:s, s:s?, s:o, s:o, s:o, s:o, s:I}", "key", dynalock_kv_key(kv), "holder",
                     holder, "token", holder_number(dynalock_kv_token(kv), holder != NULL),
                     "since_ms", holder_number(since_ms, since_ms != 0), "left_ms",
                     holder_number(holder_left_ms(kv, now_ms), expires_ms != 0), "expires_ms",
                     json_expiry(expires_ms), "version", (json_int_t)dynalock_kv_version(kv));
}
