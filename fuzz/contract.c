/* SPDX-License-Identifier: Apache-2.0 */
#include "contract.h"

#include "message.h"

#include <stdlib.h>
#include <string.h>

void contract_environment(void)
{
    static const char *const names[] = {"AWS_ACCESS_KEY_ID",
                                        "AWS_SECRET_ACCESS_KEY",
                                        "AWS_SESSION_TOKEN",
                                        "AWS_REGION",
                                        "AWS_DEFAULT_REGION",
                                        "AWS_PROFILE",
                                        "AWS_ENDPOINT_URL",
                                        "AWS_ENDPOINT_URL_DYNAMODB",
                                        "AWS_MAX_ATTEMPTS",
                                        "AWS_RETRY_MODE",
                                        "AWS_CA_BUNDLE",
                                        "AWS_USE_FIPS_ENDPOINT",
                                        "AWS_USE_DUALSTACK_ENDPOINT",
                                        "AWS_WEB_IDENTITY_TOKEN_FILE",
                                        "AWS_ROLE_ARN",
                                        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                        "AWS_CONTAINER_CREDENTIALS_FULL_URI"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)unsetenv(names[i]);
    }
    (void)setenv("AWS_CONFIG_FILE", "/nonexistent", 1);
    (void)setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent", 1);
}

static const char *const contract_secrets[] = {"SECRET-secret", "TOKEN-token"};

bool contract_is_told(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < sizeof contract_secrets / sizeof *contract_secrets; i++) {
        size_t length = strlen(contract_secrets[i]);
        for (size_t at = 0; at + length <= size; at++) {
            if (memcmp(data + at, contract_secrets[i], length) == 0) {
                return true;
            }
        }
    }
    return false;
}

void contract_check_text(const char *text)
{
    fuzz_check(text != NULL && message_is_clean(text));
    for (size_t i = 0; i < sizeof contract_secrets / sizeof *contract_secrets; i++) {
        fuzz_check(strstr(text, contract_secrets[i]) == NULL);
    }
}

void contract_error_init(dynalock_error *error)
{
    memset(error, 0x5A, sizeof *error);
}

static bool contract_is_one_of(int code, const int *codes)
{
    while (*codes != 0 && *codes != code) {
        codes++;
    }
    return *codes != 0;
}

void contract_check_code(int code, const int *codes, bool only)
{
    static const int common[] = {DYNALOCK_ERR_ARGUMENT,
                                 DYNALOCK_ERR_MEMORY,
                                 DYNALOCK_ERR_SYSTEM,
                                 DYNALOCK_ERR_CLOSED,
                                 DYNALOCK_ERR_FORKED,
                                 DYNALOCK_ERR_CREDENTIALS,
                                 DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE,
                                 DYNALOCK_ERR_NOT_AUTHORIZED,
                                 DYNALOCK_ERR_NO_TABLE,
                                 DYNALOCK_ERR_NETWORK,
                                 DYNALOCK_ERR_TLS,
                                 DYNALOCK_ERR_TIMEOUT,
                                 DYNALOCK_ERR_THROTTLED,
                                 DYNALOCK_ERR_SERVICE,
                                 DYNALOCK_ERR_BAD_RESPONSE,
                                 DYNALOCK_ERR_REFUSED,
                                 0};
    fuzz_check(code == 0 || contract_is_one_of(code, codes) ||
               (!only && contract_is_one_of(code, common)));
}

void contract_check_error(int code, const dynalock_error *error)
{
    dynalock_error untouched;
    if (code == 0) {
        contract_error_init(&untouched);
        fuzz_check(memcmp(error, &untouched, sizeof untouched) == 0);
        return;
    }
    fuzz_check(error->code == code);
    fuzz_check((error->flags & ~7U) == 0);
    fuzz_check(((error->flags & DYNALOCK_ERROR_RETRYABLE) != 0) == dynalock_is_retryable(code));
    fuzz_check(error->http_status >= 0 && error->http_status <= 999);
    fuzz_check(error->reserved_int == 0 && error->reserved[0] == 0 && error->reserved[3] == 0);
    fuzz_check(memchr(error->name, '\0', sizeof error->name) != NULL);
    fuzz_check(memchr(error->request_id, '\0', sizeof error->request_id) != NULL);
    fuzz_check(memchr(error->message, '\0', sizeof error->message) != NULL);
    fuzz_check(error->message[0] != '\0');
    contract_check_text(error->name);
    contract_check_text(error->request_id);
    contract_check_text(error->message);
}

void contract_check_event(const dynalock_event *event)
{
    fuzz_check(strcmp(dynalock_event_name(event->id), dynalock_event_name(0)) != 0);
    fuzz_check(event->code <= 0 && event->code >= DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE);
    fuzz_check(event->cause >= DYNALOCK_CAUSE_NONE && event->cause <= DYNALOCK_CAUSE_CLOSED);
    fuzz_check(event->attempt >= 0 && event->elapsed_ms >= 0 && event->wait_ms >= 0);
    fuzz_check(event->remaining_ms >= 0);
    contract_check_text(event->operation);
    contract_check_text(event->key);
    contract_check_text(event->request_id);
    contract_check_text(event->name);
    contract_check_text(event->message);
    fuzz_check(strlen(event->key) <= 255);
}
