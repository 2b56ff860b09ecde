/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list of 10,000 items against jansson's bare parse of the same bytes, and the heap that the streaming form
 * takes, by the number of pages.
 */
#include "bench.h"

#include <jansson.h>
#include <malloc.h>
#include <stdlib.h>

#define PAGES_MAX 16
#define PAGE_ITEMS 1000 /* of the streaming form */
#define LOOK_EVERY 250  /* items, at the heap */

static dynalock_store *store;
static struct body {
    char *text;
    size_t length;
} bodies[PAGES_MAX];
static size_t body_count;

/* ---- CPU ---- */

static void list_ours(void *context, long times)
{
    (void)context;
    for (long i = 0; i < times; i++) {
        bench_list(store);
    }
}

static int list_drop(dynalock_kv *kv, void *context)
{
    size_t *count = context;
    (void)kv;
    (*count)++;
    return 0;
}

static void list_each_ours(void *context, long times)
{
    (void)context;
    for (long i = 0; i < times; i++) {
        size_t count = 0;
        dynalock_error error;
        bench_check(dynalock_list_each(store, "many-10000-5000-", NULL, list_drop, &count, &error),
                    &error, "list_each");
        if (count != BENCH_ITEMS) {
            bench_fail("list_each", "not all items came");
        }
    }
}

static void list_bare(void *context, long times)
{
    (void)context;
    for (long i = 0; i < times; i++) {
        for (size_t page = 0; page < body_count; page++) {
            json_t *json = json_loadb(bodies[page].text, bodies[page].length, 0, NULL);
            if (json == NULL) {
                bench_fail("list", "a page is no JSON");
            }
            json_decref(json);
        }
    }
}

/* The same pages as the list gets. */
static void fetch_bodies(void)
{
    struct floor_script script;
    struct floor *floor = floor_open();
    free(bench_control("/record"));
    list_ours(NULL, 1);
    floor_parse(&script, bench_control("/recorded"));
    for (body_count = 0; body_count < script.count && body_count < PAGES_MAX; body_count++) {
        struct body *body = &bodies[body_count];
        body->text = floor_fetch(floor, &script.requests[body_count], &body->length);
    }
    floor_close(floor);
    floor_free(&script);
}

/* ---- Memory ---- */

static size_t heap(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

struct memory {
    size_t items, most;
};

static int look(dynalock_kv *kv, void *context)
{
    struct memory *memory = context;
    (void)kv;
    if (memory->items++ % LOOK_EVERY == 0) {
        size_t now = heap();
        memory->most = now > memory->most ? now : memory->most;
    }
    return 0;
}

/* The most that the streaming form held on the heap. */
static double memory_of_each(const char *prefix)
{
    struct memory memory = {0, 0};
    dynalock_error error;
    size_t before = heap();
    bench_check(dynalock_list_each(store, prefix, NULL, look, &memory, &error), &error,
                "list_each");
    return memory.most > before ? (double)(memory.most - before) : 0;
}

static void tell_memory(void)
{
    static const struct {
        const char *prefix;
        int pages;
    } lists[] = {{"many-1000-1000-", 1}, {"many-10000-1000-", 10}, {"many-100000-1000-", 100}};
    (void)memory_of_each(lists[0].prefix);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        bench_print(json_pack("{s:s,s:i,s:i,s:f}", "kind", "list memory", "pages", lists[i].pages,
                              "items", lists[i].pages * PAGE_ITEMS, "bytes",
                              memory_of_each(lists[i].prefix)));
    }
}

int main(void)
{
    struct bench_pair pairs[] = {
        {.name = "list of 10,000", .floor = list_bare, .ours = list_ours},
        {.name = "list_each of 10,000", .floor = list_bare, .ours = list_each_ours},
    };
    size_t bytes = 0;
    store = bench_store(NULL);
    fetch_bodies();
    bench_measure(pairs, 2);
    for (size_t page = 0; page < body_count; page++) {
        bytes += bodies[page].length;
        free(bodies[page].text);
    }
    for (size_t i = 0; i < 2; i++) {
        if (pairs[i].rounds > 0) {
            json_t *line = bench_medians("list", &pairs[i]);
            (void)json_object_set_new(line, "items", json_integer(BENCH_ITEMS));
            (void)json_object_set_new(line, "bytes", json_integer((json_int_t)bytes));
            bench_print(line);
        }
    }
    tell_memory();
    return dynalock_close(store);
}
