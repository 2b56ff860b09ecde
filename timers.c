/* SPDX-License-Identifier: Apache-2.0 */
/* Timers by due time: a pairing heap whose nodes are the timers themselves, so that nothing here
 * can fail. */
#include "internal.h"

/* Both are roots, or NULL. */
static struct dlk_timer *timers_meld(struct dlk_timer *a, struct dlk_timer *b)
{
    if (a == NULL || b == NULL) {
        return a != NULL ? a : b;
    }
    if (b->due_us < a->due_us) {
        struct dlk_timer *swap = a;
        a = b;
        b = swap;
    }
    b->previous = a;
    b->next = a->child;
    if (a->child != NULL) {
        a->child->previous = b;
    }
    a->child = b;
    return a;
}

/* Melds a list of siblings into one root: in pairs from the left, then all from the right. */
static struct dlk_timer *timers_meld_list(struct dlk_timer *list)
{
    struct dlk_timer *pairs = NULL;
    while (list != NULL) {
        struct dlk_timer *a = list;
        struct dlk_timer *b = a->next;
        list = b != NULL ? b->next : NULL;
        a->next = a->previous = NULL;
        if (b != NULL) {
            b->next = b->previous = NULL;
        }
        a = timers_meld(a, b);
        a->next = pairs;
        pairs = a;
    }
    struct dlk_timer *root = NULL;
    while (pairs != NULL) {
        struct dlk_timer *next = pairs->next;
        pairs->next = NULL;
        root = timers_meld(root, pairs);
        pairs = next;
    }
    return root;
}

void dlk_timers_remove(struct dlk_timers *timers, struct dlk_timer *timer)
{
    if (!timer->queued) {
        return;
    }
    struct dlk_timer *children = timers_meld_list(timer->child);
    if (timer == timers->root) {
        timers->root = children;
    } else {
        if (timer->previous->child == timer) {
            timer->previous->child = timer->next;
        } else {
            timer->previous->next = timer->next;
        }
        if (timer->next != NULL) {
            timer->next->previous = timer->previous;
        }
        timers->root = timers_meld(timers->root, children);
    }
    timer->child = timer->next = timer->previous = NULL;
    timer->queued = false;
}

void dlk_timers_add(struct dlk_timers *timers, struct dlk_timer *timer, int64_t due_us)
{
    dlk_timers_remove(timers, timer);
    timer->due_us = due_us;
    timer->child = timer->next = timer->previous = NULL;
    timer->queued = true;
    timers->root = timers_meld(timers->root, timer);
}

struct dlk_timer *dlk_timers_pop(struct dlk_timers *timers, int64_t now_us)
{
    struct dlk_timer *first = timers->root;
    if (first == NULL || first->due_us > now_us) {
        return NULL;
    }
    dlk_timers_remove(timers, first);
    return first;
}

bool dlk_timers_next(const struct dlk_timers *timers, int64_t *due_us)
{
    if (timers->root == NULL) {
        return false;
    }
    *due_us = timers->root->due_us;
    return true;
}
