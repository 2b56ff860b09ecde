/* SPDX-License-Identifier: Apache-2.0 */
/* To be preloaded: counts the allocations of a program, those of its libraries included (glibc). */
#include <stdatomic.h>
#include <stddef.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
unsigned long bench_allocations_count(void);

static atomic_ulong allocations;

unsigned long bench_allocations_count(void)
{
    return atomic_load_explicit(&allocations, memory_order_relaxed);
}

static void allocations_add(void)
{
    (void)atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
}

void *malloc(size_t size)
{
    allocations_add();
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    allocations_add();
    return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    allocations_add();
    return __libc_realloc(old, size);
}
