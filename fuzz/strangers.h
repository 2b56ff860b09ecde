/* SPDX-License-Identifier: Apache-2.0 */
/* Others who write records: a client of the Go library, the table's time to live, and who keeps no rule. */
#ifndef FUZZ_STRANGERS_H
#define FUZZ_STRANGERS_H

#include "small_dynamo.h"

/* Its requests take no time. */
struct stranger_go {
    int64_t ahead_us; /* its host's clock */
    bool held;
    int64_t expires_s, version;
};

/* By its own clock. */
bool stranger_go_believes(const struct stranger_go *go);
/* Locks, renews or unlocks, as the Go library does. */
void stranger_go(struct stranger_go *go, struct small_dynamo *server, const char *partition,
                 const char *key, unsigned what);
/* Sooner than it ever is at work. Whether the item was removed. */
bool stranger_time_to_live(struct small_dynamo *server, const char *partition, const char *key);
/* Changes or removes the item. */
void stranger_meddle(struct small_dynamo *server, const char *partition, const char *key,
                     unsigned what);

#endif
