/* SPDX-License-Identifier: Apache-2.0 */
/* What `dynalock run` shows on a terminal while it waits. */
#ifndef WAITING_H
#define WAITING_H

#include <dynalock.h>

void waiting_begin(const char *key);
void waiting_note(const dynalock_event *event); /* who holds it; from any thread */
int waiting_show(void);                         /* after how many ms to show it again; -1: never */
void waiting_end(void);                         /* nothing of it stays on the terminal */

#endif
