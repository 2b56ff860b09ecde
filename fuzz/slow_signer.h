/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signature Version 4 once more, by AWS's description of it and by what sigv4.h promises: nothing is kept from one
 * signature to the next, every text is copied whenever it grows, and what is wrong is looked for on its own.
 */
#ifndef FUZZ_SLOW_SIGNER_H
#define FUZZ_SLOW_SIGNER_H

#include "../sigv4.h"

enum {
    SLOW_REFUSED = 1, /* EINPUT */
    SLOW_TOO_BIG = 2, /* ETOOBIG */
    /* ETOOBIG is allowed: a text that may be built on the way is that long. */
    SLOW_PERHAPS_TOO_BIG = 4
};

struct slow_signature {
    int verdict; /* what of the above holds; the rest is there if it is not refused */
    char timestamp[DLK_SIGV4_TIMESTAMP_SIZE];
    char *canonical, *names, *to_sign, *authorization;
};

void slow_sign(const struct dlk_sigv4_request *request,
               const struct dlk_sigv4_credentials *credentials, const char *region,
               const char *service, int64_t unix_time, struct slow_signature *out);
void slow_signature_free(struct slow_signature *signature);

#endif
