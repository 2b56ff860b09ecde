/* SPDX-License-Identifier: Apache-2.0 */
/* What dynalock.h promises of every call: its code, its error, its events, and that no secret is in them. */
#ifndef FUZZ_CONTRACT_H
#define FUZZ_CONTRACT_H

#include "../dynalock.h"

#include "fuzz.h"

/* What stores are opened with, and is never to be seen but in a signature. */
#define CONTRACT_KEY_ID "AKID"
#define CONTRACT_SECRET "SECRET-secret-SECRET"
#define CONTRACT_TOKEN "token-TOKEN-token"

/* Whether the secrets stand in the input: then they may stand anywhere. */
bool contract_is_told(const uint8_t *data, size_t size);

/* Removes what the environment says of AWS. */
void contract_environment(void);

/* A text of the library's for people. */
void contract_check_text(const char *text);
/* To be given to a call as it is, and to be looked at after it. Codes that end in 0 are those that the function may
 * fail with besides those of every operation; with only set, it may fail with none but them. */
void contract_error_init(dynalock_error *error);
void contract_check_code(int code, const int *codes, bool only);
void contract_check_error(int code, const dynalock_error *error);
void contract_check_event(const dynalock_event *event);

#endif
