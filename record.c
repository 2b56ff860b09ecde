/* SPDX-License-Identifier: Apache-2.0 */
/* What a record means: its nonce, its expiry, its version, its size. */
#include "internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int dlk_tenure_new(char tenure[DLK_TENURE_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[(DLK_TENURE_SIZE - 1) / 2];
    if (dlk_random(bytes, sizeof bytes) != 0) {
        return DYNALOCK_ERR_SYSTEM;
    }
    for (size_t i = 0; i < sizeof bytes; i++) {
        tenure[2 * i] = digits[bytes[i] >> 4];
        tenure[2 * i + 1] = digits[bytes[i] & 15];
    }
    tenure[2 * sizeof bytes] = '\0';
    return 0;
}

void dlk_nonce_make(char nonce[DLK_NONCE_SIZE], const char *tenure, unsigned write,
                    unsigned since_token, int64_t version)
{
    int length = snprintf(nonce, DLK_NONCE_SIZE, "%s.%u.", tenure, write);
    if (since_token > 0) {
        length += snprintf(nonce + length, DLK_NONCE_SIZE - (size_t)length, "%u.", since_token);
    }
    (void)snprintf(nonce + length, DLK_NONCE_SIZE - (size_t)length, "%" PRId64, version);
}

bool dlk_nonce_of(const char *nonce, const char *tenure)
{
    size_t length = strlen(tenure);
    return nonce != NULL && length > 0 && strncmp(nonce, tenure, length) == 0 &&
           nonce[length] == '.';
}

bool dlk_record_of(const dynalock_kv *kv, const char *tenure)
{
    return kv->current && dlk_nonce_of(kv->nonce, tenure);
}

bool dlk_record_same(const dynalock_kv *kv, int64_t version, const char *nonce)
{
    return kv->version == version && (kv->nonce == NULL) == (nonce == NULL) &&
           (nonce == NULL || strcmp(kv->nonce, nonce) == 0);
}

int64_t dlk_nonce_version(const char *nonce)
{
    const char *dot = strrchr(nonce, '.');
    return dot != NULL ? (int64_t)strtoll(dot + 1, NULL, 10) : 0;
}

unsigned dlk_nonce_since_token(const char *nonce)
{
    const char *part = strchr(nonce, '.'); /* of the write's number */
    part = part != NULL ? strchr(part + 1, '.') : NULL;
    return part != NULL && strchr(part + 1, '.') != NULL ? (unsigned)strtoul(part + 1, NULL, 10)
                                                         : 0;
}

bool dlk_record_expired(const dynalock_kv *kv, const struct dlk_now *now)
{
    return kv->has_expires && kv->expires < dlk_seconds_down(now->lower_us);
}

int64_t dlk_seconds_down(int64_t us)
{
    int64_t seconds = us / 1000000;
    return us % 1000000 < 0 ? seconds - 1 : seconds;
}

int64_t dlk_seconds_up(int64_t us)
{
    int64_t seconds = us / 1000000;
    return us % 1000000 > 0 ? seconds + 1 : seconds;
}

int64_t dlk_first_version(const struct dlk_now *now, const dynalock_kv *over)
{
    int64_t version = now->real_us > 0 ? now->real_us : 1;
    return over != NULL && over->version >= version ? over->version + 1 : version;
}

bool dlk_version_is_spent(int64_t version)
{
    return version > INT64_MAX - INT64_C(0xFFFFFFFF);
}

size_t dlk_record_size(const char *partition, const char *key, const char *holder,
                       size_t value_size, bool has_value)
{
    /* Names and values: id, name, version, expires, nonce; holder and lease; payload. Numbers take
     * up to 11 bytes. */
    size_t size = 2 + strlen(partition) + 4 + strlen(key) + 7 + 11 + 7 + 7 + 5 + DLK_NONCE_SIZE;
    size += holder != NULL ? 6 + strlen(holder) + 5 + 7 : 0;
    return size + (has_value ? 7 + value_size : 0);
}

int dlk_compose_value(const dynalock_value *value, struct dlk_buffer *text, size_t *size,
                      dynalock_error *error)
{
    *size = 0;
    dlk_buffer_clear(text);
    if (value->kind == DYNALOCK_VALUE_NONE) {
        return 0;
    }
    return dlk_json_value(text, value, size, error);
}
