/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answers, by operation and by what the record's key starts with:
 *   kv-             GetItem finds a record; under any other key it finds none
 *   held-           PutItem's condition fails: the answer shows a lock that is held
 *   slow-           the same as without it, 5 ms later
 *   hang-, throttle-  never answered; throttled
 *   many-N-P-       Query gives N records, P to a page
 *   scale-N         writes' times are noted: see answer_gaps; once there is trouble, those of N = 0, 1000, 2000...
 *                   hang, and those of N = 1, 1001, 2001... are throttled
 */
#include "answers.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DELAY_US 5000
#define NOTED 65536
#define PAGES 4096
#define TROUBLE_EVERY 1000

static const char item[] =
    "{\"Item\":{\"expires\":{\"N\":\"4102444800\"},\"id\":{\"S\":\"bench\"},"
    "\"name\":{\"S\":\"kv-0123456789\"},\"nonce\":{\"S\":\""
    "0123456789abcdef0123456789abcdef.1.1700000000000001\"},\"payload\":{\"S\":\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlh"
    "YmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVm"
    "MDEyMw==\"},\"version\":{\"N\":\"1700000000000001\"}}}";

static const char held[] =
    "{\"__type\":\"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException\","
    "\"message\":\"The conditional request failed\",\"Item\":{\"expires\":{\"N\":\"4102444800\"},"
    "\"holder\":{\"S\":\"another 4711 2031-01-02T03:04:05Z\"},\"id\":{\"S\":\"bench\"},"
    "\"lease\":{\"N\":\"86400000\"},\"name\":{\"S\":\"held-0123456789\"},\"nonce\":{\"S\":"
    "\"0123456789abcdef0123456789abcdef.1.1700000000000001\"},"
    "\"version\":{\"N\":\"1700000000000001\"}}}";

static const char throttled[] =
    "{\"__type\":\"com.amazonaws.dynamodb.v20120810#ThrottlingException\","
    "\"message\":\"Rate of requests exceeds the allowed throughput.\"}";

static struct page {
    unsigned long items, per_page, first;
    char *body;
    size_t length;
    uint32_t crc;
} pages[PAGES];
static size_t page_count;

static struct note {
    int64_t last_us, longest_us;
    unsigned long writes;
} notes[NOTED];
static bool trouble;

int64_t answer_now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

const char *answer_date(void)
{
    static char text[64];
    static time_t made;
    time_t now = time(NULL);
    struct tm broken;
    if (now != made && gmtime_r(&now, &broken) != NULL) {
        (void)strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &broken);
        made = now;
    }
    return text;
}

static uint32_t crc32_of(const char *bytes, size_t length)
{
    static uint32_t table[256];
    if (table[1] == 0) {
        for (uint32_t i = 0; i < 256; i++) {
            table[i] = i;
            for (int bit = 0; bit < 8; bit++) {
                table[i] = (table[i] >> 1) ^ ((table[i] & 1) != 0 ? UINT32_C(0xEDB88320) : 0);
            }
        }
    }
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < length; i++) {
        crc = (crc >> 8) ^ table[(crc ^ (unsigned char)bytes[i]) & 0xFF];
    }
    return ~crc;
}

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* ---- Pages ---- */

static void page_make(struct page *page)
{
    unsigned long end = page->first + page->per_page;
    end = end < page->items ? end : page->items;
    FILE *out = open_memstream(&page->body, &page->length);
    if (out == NULL) {
        abort();
    }
    fprintf(out, "{\"Count\":%lu,\"Items\":[", end - page->first);
    for (unsigned long i = page->first; i < end; i++) {
        fprintf(out,
                "%s{\"expires\":{\"N\":\"4102444800\"},\"id\":{\"S\":\"bench\"},\"name\":{\"S\":"
                "\"many-%lu-%lu-%07lu\"},\"nonce\":{\"S\":\"0123456789abcdef0123456789abcdef.1."
                "%lu\"},\"payload\":{\"S\":\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"},"
                "\"version\":{\"N\":\"%lu\"}}",
                i > page->first ? "," : "", page->items, page->per_page, i, 1700000000000000 + i,
                1700000000000000 + i);
    }
    fprintf(out, "],");
    if (end < page->items) {
        fprintf(out,
                "\"LastEvaluatedKey\":{\"id\":{\"S\":\"bench\"},\"name\":{\"S\":"
                "\"many-%lu-%lu-%07lu\"}},",
                page->items, page->per_page, end - 1);
    }
    fprintf(out, "\"ScannedCount\":%lu}", end - page->first);
    (void)fclose(out);
    page->crc = crc32_of(page->body, page->length);
}

static const struct page *page_find(const char *body)
{
    const char *prefix = strstr(body, "\"many-");
    const char *start = strstr(body, "\"ExclusiveStartKey\"");
    const char *last = start != NULL ? strstr(start, "\"many-") : NULL;
    struct page wanted = {0};
    char *end = NULL;
    if (prefix == NULL) {
        return NULL;
    }
    wanted.items = strtoul(prefix + 6, &end, 10);
    wanted.per_page = strtoul(end + 1, NULL, 10);
    if (last != NULL) {
        (void)strtoul(last + 6, &end, 10);
        (void)strtoul(end + 1, &end, 10);
        wanted.first = strtoul(end + 1, NULL, 10) + 1;
    }
    for (size_t i = 0; i < page_count; i++) {
        if (pages[i].items == wanted.items && pages[i].per_page == wanted.per_page &&
            pages[i].first == wanted.first) {
            return &pages[i];
        }
    }
    if (page_count == PAGES || wanted.per_page == 0) {
        return NULL;
    }
    page_make(&wanted);
    pages[page_count] = wanted;
    return &pages[page_count++];
}

/* ---- Times of writes ---- */

static void note(const char *target, unsigned long number)
{
    struct note *of = &notes[number];
    int64_t now_us = answer_now_us();
    if (starts(target, "DynamoDB_20120810.DeleteItem")) {
        of->last_us = 0;
        return;
    }
    if (of->last_us != 0 && now_us - of->last_us > of->longest_us) {
        of->longest_us = now_us - of->last_us;
    }
    of->last_us = now_us;
    of->writes++;
}

/* Over all keys "scale-N" but those in trouble, since it was last asked: how many were written, their writes, and
 * the longest time between two writes of one, and since the last. */
void answer_gaps(char *text, size_t size)
{
    int64_t now_us = answer_now_us();
    int64_t longest_us = 0;
    int64_t oldest_us = 0;
    unsigned long keys = 0;
    unsigned long writes = 0;
    for (size_t i = 0; i < NOTED; i++) {
        if (trouble && i % TROUBLE_EVERY < 2) {
            continue;
        }
        keys += notes[i].writes > 0;
        writes += notes[i].writes;
        longest_us = notes[i].longest_us > longest_us ? notes[i].longest_us : longest_us;
        if (notes[i].last_us != 0 && now_us - notes[i].last_us > oldest_us) {
            oldest_us = now_us - notes[i].last_us;
        }
        notes[i].writes = 0;
        notes[i].longest_us = 0;
    }
    (void)snprintf(text, size,
                   "{\"keys\":%lu,\"writes\":%lu,\"longest_us\":%lld,\"oldest_us\":%lld}", keys,
                   writes, (long long)longest_us, (long long)oldest_us);
}

void answer_reset(void)
{
    memset(notes, 0, sizeof notes);
    trouble = false;
}

void answer_trouble(bool on)
{
    trouble = on;
}

/* ---- All of them ---- */

static void fixed(struct answer *answer, const char *status, const char *body, size_t length)
{
    answer->status = status;
    answer->body = body;
    answer->length = length;
}

static void answer_write(const char *target, const char *key, struct answer *answer)
{
    static uint32_t held_crc;
    static uint32_t throttled_crc;
    static uint32_t empty_crc;
    if (empty_crc == 0) {
        held_crc = crc32_of(held, sizeof held - 1);
        throttled_crc = crc32_of(throttled, sizeof throttled - 1);
        empty_crc = crc32_of("{}", 2);
    }
    if (starts(key, "held-") && starts(target, "DynamoDB_20120810.PutItem")) {
        fixed(answer, "400 Bad Request", held, sizeof held - 1);
        answer->crc = held_crc;
    } else if (starts(key, "throttle-")) {
        fixed(answer, "400 Bad Request", throttled, sizeof throttled - 1);
        answer->crc = throttled_crc;
    } else if (!starts(key, "hang-")) {
        fixed(answer, "200 OK", "{}", 2);
        answer->crc = empty_crc;
    }
}

void answer_find(const char *target, const char *body, size_t length, struct answer *answer)
{
    static uint32_t item_crc;
    static const char name[] = "\"name\":{\"S\":\"";
    *answer = (struct answer){0};
    if (starts(target, "DynamoDB_20120810.Query")) {
        const struct page *page = page_find(body);
        if (page != NULL) {
            fixed(answer, "200 OK", page->body, page->length);
            answer->crc = page->crc;
        }
        return;
    }
    const char *key = memmem(body, length, name, sizeof name - 1);
    key = key != NULL ? key + sizeof name - 1 : "";
    if (starts(key, "slow-")) {
        answer->delay_us = DELAY_US;
        key += 5;
    }
    if (starts(key, "kv-") && starts(target, "DynamoDB_20120810.GetItem")) {
        item_crc = item_crc != 0 ? item_crc : crc32_of(item, sizeof item - 1);
        fixed(answer, "200 OK", item, sizeof item - 1);
        answer->crc = item_crc;
        return;
    }
    if (starts(key, "scale-")) {
        unsigned long number = strtoul(key + strlen("scale-"), NULL, 10) % NOTED;
        note(target, number);
        if (trouble && number % TROUBLE_EVERY < 2 &&
            !starts(target, "DynamoDB_20120810.DeleteItem")) {
            key = number % TROUBLE_EVERY == 0 ? "hang-" : "throttle-";
        }
    }
    answer_write(target, key, answer);
}
