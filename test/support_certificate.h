/* SPDX-License-Identifier: Apache-2.0 */
/* A certificate for a server of support_process.h, in files of its own. */
#ifndef TEST_SUPPORT_CERTIFICATE_H
#define TEST_SUPPORT_CERTIFICATE_H

#include <stdbool.h>

struct certificate {
    char folder[32], key[48], file[48];
};

/* For "127.0.0.1" or a DNS name; nobody vouches for it. */
struct certificate certificate_new(const char *name);
void certificate_remove(const struct certificate *certificate);

/* From then on the libcurl of this process, and of no other, trusts it alone: by a mount that only this process sees.
 * False: may not be done here. */
bool certificate_trust(const struct certificate *certificate);

#endif
