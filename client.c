/* SPDX-License-Identifier: Apache-2.0 */
/* One DynamoDB call: sign, send, check, retry by AWS's standard rules; and what its answers teach
 * of the server. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENT_CONTENT_TYPE "Content-Type: application/x-amz-json-1.0"
#define CLIENT_TARGET "X-Amz-Target: DynamoDB_20120810."
#define CLIENT_TARGET_VALUE (sizeof "X-Amz-Target: " - 1)
#define CLIENT_BODY_MAX ((size_t)4 * 1024 * 1024)
#define CLIENT_RETRY_COST 14
#define CLIENT_THROTTLE_COST 5
#define CLIENT_BACKOFF_MS 25
#define CLIENT_THROTTLE_BACKOFF_MS 1000
#define CLIENT_BACKOFF_MAX_MS 20000
#define CLIENT_RETRY_AFTER_EXTRA_MS 5000
#define CLIENT_SKEW_S 300 /* AWS's window for the date of a signature */

static int64_t client_real(const dynalock_store *store)
{
    return store->clock.real_us(store->clock.context);
}

void dlk_store_now(dynalock_store *store, struct dlk_now *now)
{
    /* First, for what is counted from it must end no later for a pause here. */
    int64_t boot_us = dlk_store_boot_us(store);
    (void)pthread_mutex_lock(&store->client_mutex);
    dlk_servertime_now(&store->servertime, boot_us, client_real(store), now);
    (void)pthread_mutex_unlock(&store->client_mutex);
}

void dlk_call_init(dynalock_store *store, struct dlk_call *call, const char *operation,
                   const char *key)
{
    *call = (struct dlk_call){.store = store, .key = key};
    dlk_buffer_init(&call->body, CLIENT_BODY_MAX);
    dlk_exchange_init(&call->exchange);
    dlk_call_reset(store, call, operation);
}

static void call_forget_result(struct dlk_call *call)
{
    free(call->authorization);
    call->authorization = NULL;
    dynalock_kv_free(call->service.item);
    call->service = (struct dlk_service_error){0};
    call->error = (dynalock_error){0};
    call->code = 0;
}

void dlk_call_reset(dynalock_store *store, struct dlk_call *call, const char *operation)
{
    call_forget_result(call);
    dlk_buffer_clear(&call->body);
    call->operation = operation;
    call->write = false;
    call->max_attempts = store->max_attempts;
    call->attempt_timeout_ms = store->attempt_timeout_ms;
    call->deadline_us = dlk_store_boot_us(store) + store->timeout_ms * 1000;
    call->attempt = call->spent = 0;
    call->unanswered = call->throttled = false;
    call->clock_corrected = call->credentials_renewed = false;
}

void dlk_call_free(struct dlk_call *call)
{
    call_forget_result(call);
    dlk_buffer_free(&call->body);
    dlk_exchange_free(&call->exchange);
    dlk_wipe(call->token);
    call->token = NULL;
}

/* ---- Sending ---- */

static int call_end(struct dlk_call *call, int code, const char *message)
{
    call->code = code;
    (void)dlk_fail(&call->error, code, "%s: %s", call->operation, message);
    return code;
}

/* name: "Name: ", and a value behind it. NULL: no memory. */
static char *call_line(const char *name, const char *value)
{
    size_t name_length = strlen(name);
    size_t length = strlen(value) + 1;
    char *line = malloc(name_length + length);
    if (line != NULL) {
        /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): the NUL comes with the value */
        memcpy(line, name, name_length);
        memcpy(line + name_length, value, length);
    }
    return line;
}

/* What is not the same for all attempts. */
static int call_set_lines(struct dlk_call *call, const struct dlk_sigv4_signature *signature,
                          const char *session_token)
{
    free(call->authorization);
    dlk_wipe(call->token); /* it may be that of credentials before these */
    call->authorization = call_line("Authorization: ", signature->authorization);
    call->token = session_token != NULL ? call_line("X-Amz-Security-Token: ", session_token) : NULL;
    (void)snprintf(call->date, sizeof call->date, "X-Amz-Date: %s", signature->timestamp);
    return call->authorization != NULL && (call->token != NULL || session_token == NULL)
               ? 0
               : DYNALOCK_ERR_MEMORY;
}

static int64_t client_signing_time(dynalock_store *store)
{
    (void)pthread_mutex_lock(&store->client_mutex);
    int64_t skew = store->sign_skew_s;
    (void)pthread_mutex_unlock(&store->client_mutex);
    return client_real(store) / 1000000 + skew;
}

static int call_sign(dynalock_store *store, struct dlk_call *call,
                     const struct dlk_credentials *set)
{
    (void)snprintf(call->target, sizeof call->target, CLIENT_TARGET "%s", call->operation);
    struct dlk_sigv4_header headers[] = {
        {"content-type", &CLIENT_CONTENT_TYPE[sizeof "Content-Type: " - 1]},
        {"host", store->config.host},
        {"x-amz-target", call->target + CLIENT_TARGET_VALUE},
    };
    struct dlk_sigv4_request request = {.method = "POST",
                                        .path = "/",
                                        .headers = headers,
                                        .header_count = sizeof headers / sizeof *headers,
                                        .body = call->body.data,
                                        .body_length = call->body.length};
    struct dlk_sigv4_credentials credentials = {set->access_key_id, set->secret_access_key,
                                                set->session_token, call->signed_with};
    struct dlk_sigv4_signature signature;
    call->signed_s = client_signing_time(store);
    int failed = dlk_sigv4_sign(store->signer, &request, &credentials, store->config.region,
                                "dynamodb", call->signed_s, &signature);
    if (failed != 0) {
        return failed == DLK_SIGV4_ENOMEM    ? DYNALOCK_ERR_MEMORY
               : failed == DLK_SIGV4_ECRYPTO ? DYNALOCK_ERR_SYSTEM
                                             : DYNALOCK_ERR_CREDENTIALS;
    }
    int code = call_set_lines(call, &signature, set->session_token);
    dlk_sigv4_signature_free(&signature);
    return code;
}

bool dlk_call_begin(dynalock_store *store, struct dlk_call *call)
{
    int64_t now = dlk_store_boot_us(store);
    int64_t left_ms = (call->deadline_us - now) / 1000;
    if (store->generation != dlk_fork_generation()) { /* a callback of this call has forked */
        (void)call_end(call, DYNALOCK_ERR_FORKED, "this is a child of fork");
        return false;
    }
    if (!dlk_buffer_ok(&call->body)) {
        call->code = dlk_buffer_result(&call->body, &call->error);
        return false;
    }
    if (left_ms <= 0) {
        (void)call_end(call, DYNALOCK_ERR_TIMEOUT, "no time was left to send it");
        return false;
    }
    struct dlk_credentials *set = NULL;
    int code = dlk_refresh_take(store, &set, &call->signed_with, &call->error);
    if (code != 0) {
        call->code = code;
        return false;
    }
    code = call_sign(store, call, set);
    dlk_credentials_unref(set);
    if (code != 0) {
        (void)call_end(call, code,
                       code == DYNALOCK_ERR_MEMORY ? "out of memory" : "it could not be signed");
        return false;
    }
    if (call->attempt == 0) {
        dlk_count(store, DLK_OPERATIONS);
    }
    call->attempt++;
    dlk_count(store, DLK_ATTEMPTS);
    struct dlk_exchange *exchange = &call->exchange;
    const char *headers[DLK_EXCHANGE_HEADERS] = {CLIENT_CONTENT_TYPE, store->host_line,
                                                 call->target,        call->date,
                                                 call->authorization, call->token};
    memcpy(exchange->headers, headers, sizeof headers);
    exchange->body = call->body.data;
    exchange->body_length = call->body.length;
    exchange->timeout_ms = left_ms < call->attempt_timeout_ms ? left_ms : call->attempt_timeout_ms;
    return true;
}

/* ---- Judging an answer ---- */

/* What a name of an error means. */
struct client_meaning {
    char name[40];
    int code;
};

static const struct client_meaning client_meanings[] = {
    {"ConditionalCheckFailedException", DLK_CONDITION_FAILED},
    {"ResourceNotFoundException", DYNALOCK_ERR_NO_TABLE},
    {"AccessDeniedException", DYNALOCK_ERR_NOT_AUTHORIZED},
    {"AccessDenied", DYNALOCK_ERR_NOT_AUTHORIZED},
    {"UnrecognizedClientException", DYNALOCK_ERR_NOT_AUTHORIZED},
    {"InvalidClientTokenId", DYNALOCK_ERR_NOT_AUTHORIZED},
    {"InvalidSignatureException", DYNALOCK_ERR_NOT_AUTHORIZED},
    {"SignatureDoesNotMatch", DYNALOCK_ERR_NOT_AUTHORIZED},
    {"IncompleteSignatureException", DYNALOCK_ERR_NOT_AUTHORIZED},
    {"IncompleteSignature", DYNALOCK_ERR_NOT_AUTHORIZED},
    {"MissingAuthenticationTokenException", DYNALOCK_ERR_NOT_AUTHORIZED},
    {"MissingAuthenticationToken", DYNALOCK_ERR_NOT_AUTHORIZED},
    {"ExpiredTokenException", DYNALOCK_ERR_NOT_AUTHORIZED},
    {"ExpiredToken", DYNALOCK_ERR_NOT_AUTHORIZED},
    {"RequestTimeTooSkewed", DYNALOCK_ERR_NOT_AUTHORIZED},
    {"RequestExpired", DYNALOCK_ERR_NOT_AUTHORIZED},
    {"OptInRequired", DYNALOCK_ERR_NOT_AUTHORIZED},
    {"ProvisionedThroughputExceededException", DYNALOCK_ERR_THROTTLED},
    {"ThrottlingException", DYNALOCK_ERR_THROTTLED},
    {"Throttling", DYNALOCK_ERR_THROTTLED},
    {"ThrottledException", DYNALOCK_ERR_THROTTLED},
    {"RequestThrottledException", DYNALOCK_ERR_THROTTLED},
    {"RequestThrottled", DYNALOCK_ERR_THROTTLED},
    {"RequestLimitExceeded", DYNALOCK_ERR_THROTTLED},
    {"LimitExceededException", DYNALOCK_ERR_THROTTLED},
    {"TooManyRequestsException", DYNALOCK_ERR_THROTTLED},
    {"BandwidthLimitExceeded", DYNALOCK_ERR_THROTTLED},
    {"PriorRequestNotComplete", DYNALOCK_ERR_THROTTLED},
    {"EC2ThrottledException", DYNALOCK_ERR_THROTTLED},
    {"SlowDown", DYNALOCK_ERR_THROTTLED},
    {"TransactionInProgressException", DYNALOCK_ERR_THROTTLED},
    {"TransactionConflictException", DYNALOCK_ERR_SERVICE},
    {"ReplicatedWriteConflictException", DYNALOCK_ERR_SERVICE},
    {"InternalServerError", DYNALOCK_ERR_SERVICE},
    {"InternalFailure", DYNALOCK_ERR_SERVICE},
    {"ServiceUnavailable", DYNALOCK_ERR_SERVICE},
    {"RequestTimeout", DYNALOCK_ERR_SERVICE},
};

static const char client_clock_errors[][28] = {"InvalidSignatureException", "RequestTimeTooSkewed",
                                               "SignatureDoesNotMatch", "RequestExpired"};

static uint32_t client_crc_table[256];

static void client_make_crc_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t remainder = i;
        for (int bit = 0; bit < 8; bit++) {
            remainder = (remainder >> 1) ^ ((remainder & 1) != 0 ? UINT32_C(0xEDB88320) : 0);
        }
        client_crc_table[i] = remainder;
    }
}

/* CRC-32 of ISO 3309, as in gzip: what x-amz-crc32 holds. */
static uint32_t client_crc32(const char *bytes, size_t length)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, client_make_crc_table);
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < length; i++) {
        crc = (crc >> 8) ^ client_crc_table[(crc ^ (unsigned char)bytes[i]) & 0xFF];
    }
    return ~crc;
}

static void call_fail_bad_response(struct dlk_call *call, const char *what)
{
    call->code = DYNALOCK_ERR_BAD_RESPONSE;
    (void)dlk_fail(&call->error, DYNALOCK_ERR_BAD_RESPONSE, "%s: %s (HTTP status %d)",
                   call->operation, what, call->exchange.status);
}

/* Whether it is an answer of DynamoDB, and whole. A proxy's page, or a captive portal's "200 OK",
 * is not. */
static bool call_is_authentic(struct dlk_call *call)
{
    const struct dlk_exchange *exchange = &call->exchange;
    if (exchange->has_crc &&
        exchange->crc != client_crc32(exchange->answer.data, exchange->answer.length)) {
        call_fail_bad_response(call, "the answer's CRC-32 is not that of its x-amz-crc32 header");
        return false;
    }
    if (exchange->request_id[0] == '\0') {
        call_fail_bad_response(call, "the answer has no x-amzn-RequestId: it is not DynamoDB's");
        return false;
    }
    if (exchange->status == 200 &&
        (exchange->answer.length == 0 || exchange->answer.data[0] != '{')) {
        call_fail_bad_response(call, "the answer is not a JSON object");
        return false;
    }
    /* Of a write nothing more is read: that it is whole must show here. */
    if (exchange->status == 200 && call->write &&
        !dlk_json_is_object(exchange->answer.data, exchange->answer.length)) {
        call_fail_bad_response(call, "the answer is not a whole JSON object");
        return false;
    }
    return true;
}

/* Credentials that the service does not know, or no more: once more with newer ones, if there can be
 * any; true: try again. */
static bool call_renews_credentials(dynalock_store *store, struct dlk_call *call)
{
    static const char names[][28] = {"ExpiredTokenException", "ExpiredToken",
                                     "UnrecognizedClientException", "InvalidClientTokenId"};
    bool concerned = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        concerned = concerned || strcmp(call->service.name, names[i]) == 0;
    }
    if (!concerned || call->credentials_renewed) {
        return false;
    }
    call->credentials_renewed = true;
    return dlk_refresh_refuse(store, call->signed_with);
}

/* Takes the time of an authentic answer. */
static void client_learn_time(dynalock_store *store, const struct dlk_exchange *exchange)
{
    enum dlk_sample_result result = DLK_SAMPLE_AGREES;
    atomic_store(&store->dateless, !exchange->has_date);
    if (!exchange->has_date) {
        return;
    }
    (void)pthread_mutex_lock(&store->client_mutex);
    result = dlk_servertime_add(&store->servertime, exchange->sent_us, exchange->received_us,
                                exchange->date_s);
    (void)pthread_mutex_unlock(&store->client_mutex);
    if (result != DLK_SAMPLE_AGREES) {
        dlk_log(store,
                &(dynalock_event){
                    .id = DYNALOCK_EVENT_CLOCK,
                    .request_id = exchange->request_id,
                    .message = result == DLK_SAMPLE_JUMPED
                                   ? "server time is ahead of what this host's clock has counted"
                                   : "server time is behind what earlier answers said"});
    }
    if (result == DLK_SAMPLE_JUMPED && store->jumped != NULL) {
        store->jumped(store, exchange->sent_us, exchange->date_s);
    }
}

/* A signature refused for its date: corrects the signing clock by the answer's Date; true: try
 * again. */
static bool call_corrects_clock(dynalock_store *store, struct dlk_call *call)
{
    const struct dlk_exchange *exchange = &call->exchange;
    bool concerned = false;
    for (size_t i = 0; i < sizeof client_clock_errors / sizeof *client_clock_errors; i++) {
        concerned = concerned || strcmp(call->service.name, client_clock_errors[i]) == 0;
    }
    if (!concerned || call->clock_corrected || !exchange->has_date) {
        return false;
    }
    int64_t off = exchange->date_s - call->signed_s;
    if (off >= -CLIENT_SKEW_S && off <= CLIENT_SKEW_S) {
        return false;
    }
    call->clock_corrected = true;
    (void)pthread_mutex_lock(&store->client_mutex);
    store->sign_skew_s = exchange->date_s - client_real(store) / 1000000;
    (void)pthread_mutex_unlock(&store->client_mutex);
    dlk_log(store,
            &(dynalock_event){.id = DYNALOCK_EVENT_CLOCK,
                              .operation = call->operation,
                              .key = call->key,
                              .message = "the host's clock is wrong: signing by the server's"});
    return true;
}

static const struct client_meaning *client_find_meaning(const char *name)
{
    for (size_t i = 0; i < sizeof client_meanings / sizeof *client_meanings; i++) {
        if (strcmp(name, client_meanings[i].name) == 0) {
            return &client_meanings[i];
        }
    }
    return NULL;
}

static void call_say_service(struct dlk_call *call)
{
    const struct dlk_service_error *service = &call->service;
    if (service->name[0] == '\0') {
        (void)dlk_fail(&call->error, call->code, "%s: HTTP status %d", call->operation,
                       call->exchange.status);
    } else {
        bool no_table = call->code == DYNALOCK_ERR_NO_TABLE;
        (void)dlk_fail(&call->error, call->code, "%s: %s%s%s%s%s", call->operation, service->name,
                       service->message[0] != '\0' ? ": " : "", service->message,
                       no_table ? "; table: " : "", no_table ? call->store->table : "");
    }
}

static void call_fail_service(struct dlk_call *call)
{
    struct dlk_service_error *service = &call->service;
    int status = call->exchange.status;
    if (service->name[0] == '\0' && !service->item_unreadable && status < 500 && status != 429) {
        call_fail_bad_response(call, "the answer has no error of DynamoDB's in it");
        call->unanswered = true;
        return;
    }
    const struct client_meaning *meaning = client_find_meaning(service->name);
    int code = status >= 500              ? DYNALOCK_ERR_SERVICE
               : status == 429            ? DYNALOCK_ERR_THROTTLED
               : service->item_unreadable ? DLK_CONDITION_FAILED
                                          : DYNALOCK_ERR_REFUSED;
    if (meaning != NULL) {
        code = meaning->code;
    } else if (code == DYNALOCK_ERR_REFUSED && strstr(service->message, "Item size") != NULL) {
        code = DYNALOCK_ERR_TOO_LARGE;
    }
    if (code == DLK_CONDITION_FAILED &&
        strstr(call->body.data, "\"ConditionExpression\"") == NULL) {
        code = DYNALOCK_ERR_REFUSED; /* none was sent */
    }
    call->throttled = call->throttled || code == DYNALOCK_ERR_THROTTLED;
    call->code = code;
    dlk_cut_secret(service->message,
                   call->token != NULL ? call->token + sizeof "X-Amz-Security-Token: " - 1 : NULL);
    call_say_service(call);
}

/* Sets code and error of this attempt. */
static void call_read(dynalock_store *store, struct dlk_call *call)
{
    struct dlk_exchange *exchange = &call->exchange;
    call_forget_result(call);
    if (exchange->resent) {
        dlk_count(store, DLK_ATTEMPTS);
        dlk_count(store, DLK_RETRIES);
        dlk_count(store, DLK_UNANSWERED);
        call->unanswered = true;
    }
    if (exchange->result != 0) {
        dlk_count(store, DLK_UNANSWERED);
        (void)call_end(call, exchange->result, exchange->message);
        call->unanswered = call->unanswered || exchange->may_have_arrived;
        return;
    }
    if (!call_is_authentic(call)) {
        call->unanswered = true;
        return;
    }
    client_learn_time(store, exchange);
    if (exchange->status == 200) {
        return;
    }
    dlk_json_error(exchange->answer.data, exchange->answer.length, &call->service);
    if (call->service.out_of_memory) {
        (void)call_end(call, DYNALOCK_ERR_MEMORY, "no memory to read the answer");
    } else {
        call_fail_service(call);
    }
    if (call->service.item != NULL || call->service.item_unreadable) {
        atomic_store(&store->returns_items, true);
    }
    if (call->code == DYNALOCK_ERR_THROTTLED) {
        dlk_count(store, DLK_THROTTLED);
    }
    /* A server that failed may have done the write all the same. */
    call->unanswered = call->unanswered || exchange->status >= 500;
}

/* ---- Retries ---- */

static bool call_is_transient(const struct dlk_call *call)
{
    switch (call->code) {
    case DYNALOCK_ERR_NETWORK:
    case DYNALOCK_ERR_TIMEOUT:
    case DYNALOCK_ERR_THROTTLED:
    case DYNALOCK_ERR_SERVICE: return true;
    case DYNALOCK_ERR_BAD_RESPONSE: /* a wrong CRC, or a gateway's page */
        return call->exchange.result == 0 &&
               (call->exchange.has_crc || call->exchange.status == 200 ||
                call->exchange.status >= 500);
    default: return false;
    }
}

static int64_t call_backoff_ms(const struct dlk_call *call)
{
    bool throttled = call->code == DYNALOCK_ERR_THROTTLED;
    int64_t most = throttled ? CLIENT_THROTTLE_BACKOFF_MS : CLIENT_BACKOFF_MS;
    for (int i = 1; i < call->attempt && most < CLIENT_BACKOFF_MAX_MS; i++) {
        most *= 2;
    }
    most = most < CLIENT_BACKOFF_MAX_MS ? most : CLIENT_BACKOFF_MAX_MS;
    int64_t wait = (int64_t)dlk_random_below((uint64_t)most + 1);
    int64_t asked = call->exchange.result == 0 ? call->exchange.retry_after_ms : -1;
    if (asked > wait) {
        wait =
            asked < wait + CLIENT_RETRY_AFTER_EXTRA_MS ? asked : wait + CLIENT_RETRY_AFTER_EXTRA_MS;
    }
    return wait;
}

static int call_retry_cost(const struct dlk_call *call)
{
    return call->code == DYNALOCK_ERR_THROTTLED ? CLIENT_THROTTLE_COST : CLIENT_RETRY_COST;
}

static bool client_spend(dynalock_store *store, struct dlk_call *call)
{
    int cost = call_retry_cost(call);
    (void)pthread_mutex_lock(&store->client_mutex);
    bool enough = store->budget >= cost;
    if (enough) {
        store->budget -= cost;
        call->spent = cost;
    }
    (void)pthread_mutex_unlock(&store->client_mutex);
    return enough;
}

/* An answer that is no fault of the service's gives back what its last retry cost. */
static void client_refund(dynalock_store *store, struct dlk_call *call)
{
    (void)pthread_mutex_lock(&store->client_mutex);
    store->budget += call->spent > 0 ? call->spent : 1;
    if (store->budget > DLK_RETRY_BUDGET) {
        store->budget = DLK_RETRY_BUDGET;
    }
    (void)pthread_mutex_unlock(&store->client_mutex);
    call->spent = 0;
}

static void call_log(dynalock_store *store, const struct dlk_call *call, int id, int64_t wait_ms)
{
    dlk_log(store, &(dynalock_event){
                       .id = id,
                       .code = call->code == DLK_CONDITION_FAILED ? 0 : call->code,
                       .http_status = call->exchange.status,
                       .attempt = call->attempt,
                       .elapsed_ms = (call->exchange.received_us - call->exchange.sent_us) / 1000,
                       .wait_ms = wait_ms,
                       .operation = call->operation,
                       .key = call->key,
                       .request_id = call->exchange.request_id,
                       .name = call->service.name,
                       .message = call->error.message});
}

static void call_finish_error(struct dlk_call *call)
{
    dynalock_error *error = &call->error;
    error->http_status = call->exchange.result == 0 ? call->exchange.status : 0;
    dlk_copy_text(error->name, sizeof error->name, call->service.name);
    if (call->exchange.result == 0) {
        dlk_copy_text(error->request_id, sizeof error->request_id, call->exchange.request_id);
    }
    error->flags |= call->throttled ? DYNALOCK_ERROR_THROTTLED : 0U;
    error->flags |= call->write && call->unanswered ? DYNALOCK_ERROR_OUTCOME_UNKNOWN : 0U;
}

bool dlk_call_judge(dynalock_store *store, struct dlk_call *call, int64_t *wait_ms)
{
    call_read(store, call);
    if (call->exchange.connected) {
        dlk_count(store, DLK_CONNECTIONS);
    }
    if (call->code != 0) {
        call_finish_error(call);
    }
    call_log(store, call, DYNALOCK_EVENT_ATTEMPT, 0);
    *wait_ms = 0;
    if (call->code == DYNALOCK_ERR_NOT_AUTHORIZED &&
        (call_corrects_clock(store, call) || call_renews_credentials(store, call))) {
        return false;
    }
    if (!call_is_transient(call)) {
        client_refund(store, call);
        return true;
    }
    int64_t wait = call_backoff_ms(call);
    if (call->attempt >= call->max_attempts ||
        dlk_store_boot_us(store) + wait * 1000 >= call->deadline_us ||
        (call->rank == DLK_RANK_ORDINARY && !client_spend(store, call))) {
        return true;
    }
    dlk_count(store, DLK_RETRIES);
    call_log(store, call, DYNALOCK_EVENT_RETRY, wait);
    *wait_ms = wait;
    return false;
}

int dlk_call_run(dynalock_store *store, struct dlk_call *call, int stop_fd)
{
    const int stops[2] = {stop_fd, store->closed.read_fd};
    int64_t wait_ms = 0;
    int stopped = -1;
    while (stopped < 0) {
        stopped = dlk_refresh_await(store, stops, 2, call->deadline_us);
        if (stopped >= 0) {
            break;
        }
        if (!dlk_call_begin(store, call)) {
            return call->code;
        }
        stopped = dlk_exchange_run(store->transport, &call->exchange, stops, 2);
        if (stopped < 0 && dlk_call_judge(store, call, &wait_ms)) {
            return call->code;
        }
        int64_t until = dlk_store_boot_us(store) + wait_ms * 1000;
        while (stopped < 0 && dlk_store_boot_us(store) < until) {
            stopped = dlk_wait_readable(stops, 2, (until - dlk_store_boot_us(store)) / 1000 + 1);
        }
    }
    if (stopped == 0) {
        return call_end(call, DYNALOCK_ERR_CANCELLED, "the stop descriptor became readable");
    }
    return call_end(call, DYNALOCK_ERR_CLOSED, "the store is being closed");
}

void dlk_call_abort(dynalock_store *store, struct dlk_call *call)
{
    if (call->exchange.lane != NULL) {
        dlk_exchange_abort(store->transport, &call->exchange);
        call->unanswered = call->unanswered || call->exchange.may_have_arrived;
    }
}

int dlk_call_complete(struct dlk_call *call)
{
    int code = dlk_call_run(call->store, call, -1);
    dlk_call_abort(call->store, call);
    return code;
}

bool dlk_call_shows_record(const struct dlk_call *call)
{
    return call->service.item != NULL || call->service.item_unreadable ||
           atomic_load(&call->store->returns_items);
}

int dlk_call_fail(const struct dlk_call *call, int code, dynalock_error *error)
{
    if (error != NULL) {
        *error = call->error;
        error->code = code;
        error->flags &= ~(unsigned)DYNALOCK_ERROR_RETRYABLE;
        error->flags |= dynalock_is_retryable(code) ? DYNALOCK_ERROR_RETRYABLE : 0U;
        error->flags |= call->throttled ? DYNALOCK_ERROR_THROTTLED : 0U;
        error->flags |= call->write && call->unanswered ? DYNALOCK_ERROR_OUTCOME_UNKNOWN : 0U;
    }
    return code;
}
