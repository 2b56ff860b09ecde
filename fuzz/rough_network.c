/* SPDX-License-Identifier: Apache-2.0 */
#include "rough_network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUGH_SKEW_S 300 /* that a signature may be off by */
#define ROUGH_MS INT64_C(1000)
#define ROUGH_SECOND INT64_C(1000000)

struct rough_network rough;

/* One exchange on its way. */
struct rough_journey {
    struct memory_request *request;
    struct rough_fate fate;
    unsigned number;
    bool again; /* a copy: nobody gets the answer */
    struct memory_answer answer;
    char *body;
    char request_id[24];
};

static unsigned rough_journeys;

int64_t rough_server_us(void)
{
    return rough.epoch_us + virtual_now_us();
}

unsigned rough_on_the_way(void)
{
    return rough_journeys;
}

void rough_tell(const char *format, ...)
{
    static int wanted = -1;
    va_list arguments;
    wanted = wanted < 0 ? getenv("FUZZ_TRACE") != NULL : wanted;
    if (wanted == 0) {
        return;
    }
    (void)fprintf(stderr, "%12.6f ", (double)virtual_now_us() / 1000000);
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
}

static void rough_end(struct rough_journey *journey)
{
    memory_unref(journey->request);
    free(journey->body);
    free(journey);
    rough_journeys--;
}

static void rough_deliver(void *context)
{
    struct rough_journey *journey = context;
    rough_tell("answer %u: result %d, status %d: %.*s", journey->number, journey->answer.result,
               journey->answer.status, (int)journey->answer.length,
               journey->answer.body != NULL ? journey->answer.body : "");
    journey->answer.connected = journey->number % 8 == 1;
    memory_answer(journey->request, &journey->answer);
    rough_end(journey);
}

/* Days since 1970 of a date of Gregory's calendar. */
static int64_t rough_days(int64_t year, int64_t month, int64_t day)
{
    int64_t days = 0;
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    for (int64_t y = 1970; y < year; y++) {
        days += y % 4 == 0 && (y % 100 != 0 || y % 400 == 0) ? 366 : 365;
    }
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days + before[month - 1] + (leap && month > 2 ? 1 : 0) + day - 1;
}

/* "20231114T221320Z" */
static int64_t rough_read_date(const char *text)
{
    int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
    fuzz_check(sscanf(text, "%4d%2d%2dT%2d%2d%2dZ", &year, &month, &day, &hour, &minute, &second) ==
               6);
    return rough_days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
}

static void rough_date(struct memory_answer *answer)
{
    answer->has_date = !rough.dateless;
    answer->date_s = dlk_seconds_down(rough_server_us() - rough.cached_us);
}

/* As the service answers. */
static void rough_answer_body(struct rough_journey *journey, int status, char *body, bool has_crc)
{
    free(journey->body);
    journey->body = body;
    fuzz_check(body != NULL);
    (void)snprintf(journey->request_id, sizeof journey->request_id, "REQUEST%u", journey->number);
    journey->answer = (struct memory_answer){.status = status,
                                             .body = body,
                                             .length = strlen(body),
                                             .has_crc = has_crc,
                                             .crc = has_crc ? small_crc32(body, strlen(body)) : 0,
                                             .retry_after_ms = -1,
                                             .request_id = journey->request_id};
    rough_date(&journey->answer);
}

static void rough_answer_error(struct rough_journey *journey, int status, const char *name,
                               const char *message)
{
    char body[512];
    (void)snprintf(body, sizeof body,
                   "{\"__type\":\"com.amazonaws.dynamodb.v20120810#%s\",\"message\":\"%s\"}", name,
                   message);
    rough_answer_body(journey, status, strdup(body), true);
}

/* At the server. */
static void rough_carry_out(struct rough_journey *journey)
{
    struct small_answer done;
    int64_t late_s = dlk_seconds_down(rough_server_us()) - rough_read_date(journey->request->date);
    if (late_s > ROUGH_SKEW_S || late_s < -ROUGH_SKEW_S) {
        rough_answer_error(journey, 400, "InvalidSignatureException",
                           late_s > 0 ? "Signature expired: it is too old"
                                      : "Signature not yet current");
        return;
    }
    if (rough.before != NULL) {
        rough.before(journey->request);
    }
    small_do(rough.server, journey->request, &done);
    rough_tell("carried out %u%s: %s%s", journey->number, journey->again ? " again" : "",
               done.written   ? "written"
               : done.refused ? "refused"
                              : "answered",
               journey->request->lane == NULL ? ", nobody waits" : "");
    if (rough.carried_out != NULL) {
        rough.carried_out(journey->request, &done);
    }
    rough_answer_body(journey, done.status, done.body, true);
}

static void rough_no_answer(struct rough_journey *journey, int result, bool may_have_arrived,
                            const char *message)
{
    journey->answer = (struct memory_answer){.result = result,
                                             .may_have_arrived = may_have_arrived,
                                             .message = message,
                                             .retry_after_ms = -1};
}

/* Somebody else's page: not signed, and its Date says nothing. */
static void rough_page(struct rough_journey *journey, int status)
{
    rough_answer_body(journey, status, strdup("<html><body>Hello</body></html>"), false);
    journey->answer.request_id = "";
    journey->answer.date_s += (int64_t)journey->fate.argument * 60 - 7200;
}

static void rough_refuse(struct rough_journey *journey)
{
    static const struct {
        const char *name, *message;
    } reasons[] = {
        {"AccessDeniedException", "User: is not authorized to perform: dynamodb:PutItem"},
        {"ValidationException", "One or more parameter values were invalid"},
        {"ValidationException", "Item size has exceeded the maximum allowed size"},
        {"ExpiredTokenException", "The security token included in the request is expired"},
        {"UnrecognizedClientException", "The security token included in the request is invalid"},
        {"InvalidSignatureException", "The Canonical String for this request should have been "
                                      "'POST\\nx-amz-security-token:token-TOKEN-token\\n'"},
        {"ResourceNotFoundException", "Requested resource not found"},
        {"", "nobody knows"},
        {"SomethingNew", "\\u001b[31mred\\u0000"},
        {"TransactionConflictException", "Transaction is ongoing for the item"},
    };
    size_t i = journey->fate.argument % (sizeof reasons / sizeof *reasons);
    rough_answer_error(journey, 400, reasons[i].name, reasons[i].message);
}

static void rough_throttle(struct rough_journey *journey)
{
    static const char *const names[] = {"ProvisionedThroughputExceededException",
                                        "ThrottlingException", "RequestLimitExceeded",
                                        "LimitExceededException"};
    rough_answer_error(journey, 400, names[journey->fate.argument % 4], "Rate exceeded");
    journey->answer.retry_after_ms = journey->fate.argument >= 128 ? journey->fate.argument : -1;
}

static void rough_fail(struct rough_journey *journey)
{
    static const char *const names[] = {"InternalServerError", "ServiceUnavailable",
                                        "ThrottlingException", "InternalFailure"};
    unsigned i = journey->fate.argument % 4;
    rough_answer_error(journey, i == 1 ? 503 : 500, names[i], "Internal server error");
}

static void rough_change_date(struct rough_journey *journey)
{
    static const int64_t by_s[] = {1, -1, 2, -3, 60, -60, 3600, -3600, 86400, -86400 * 365};
    struct memory_answer *answer = &journey->answer;
    answer->has_date = journey->fate.kind != ROUGH_NO_DATE;
    answer->date_s = journey->fate.argument < 250
                         ? answer->date_s + by_s[journey->fate.argument % 10]
                     : journey->fate.argument < 253 ? 0
                                                    : INT64_C(253402300799);
}

/* The answer that the exchange gets, once what is to be carried out has been. */
static void rough_spoil(struct rough_journey *journey)
{
    static const int statuses[] = {502, 503, 504, 413, 404};
    struct memory_answer *answer = &journey->answer;
    switch (journey->fate.kind) {
    case ROUGH_RESET_BEFORE:
    case ROUGH_RESET_AFTER:
    case ROUGH_LATE:
        rough_no_answer(journey, DYNALOCK_ERR_NETWORK, true, "Recv failure: Connection reset");
        break;
    case ROUGH_COPY:
    case ROUGH_TWICE: answer->resent = true; break;
    case ROUGH_THROTTLED: rough_throttle(journey); break;
    case ROUGH_FAILED_BEFORE:
    case ROUGH_FAILED_AFTER: rough_fail(journey); break;
    case ROUGH_PORTAL: rough_page(journey, 200); break;
    case ROUGH_GATEWAY_BEFORE:
    case ROUGH_GATEWAY_AFTER: rough_page(journey, statuses[journey->fate.argument % 5]); break;
    case ROUGH_WRONG_CRC: answer->crc ^= 1U << journey->fate.argument % 32; break;
    case ROUGH_CUT:
        answer->length = answer->length * journey->fate.argument / 256;
        answer->has_crc = false;
        break;
    case ROUGH_REFUSED: rough_refuse(journey); break;
    case ROUGH_TLS: rough_no_answer(journey, DYNALOCK_ERR_TLS, false, "certificate expired"); break;
    case ROUGH_UNREACHABLE:
        rough_no_answer(journey, DYNALOCK_ERR_NETWORK, false, "Could not connect");
        break;
    case ROUGH_NO_DATE:
    case ROUGH_WRONG_DATE: rough_change_date(journey); break;
    case ROUGH_RAW:
        rough_answer_body(journey, 200, strdup("{}"), false);
        if (rough.raw != NULL) {
            rough.raw(answer);
            free(journey->body);
            journey->body = (char *)(uintptr_t)answer->body;
        }
        break;
    default: break;
    }
}

static bool rough_arrives(uint8_t kind)
{
    switch (kind) {
    case ROUGH_LOST_REQUEST:
    case ROUGH_UNREACHABLE:
    case ROUGH_RESET_BEFORE:
    case ROUGH_LATE:
    case ROUGH_THROTTLED:
    case ROUGH_FAILED_BEFORE:
    case ROUGH_PORTAL:
    case ROUGH_GATEWAY_BEFORE:
    case ROUGH_REFUSED:
    case ROUGH_TLS:
    case ROUGH_RAW: return false;
    default: return true;
    }
}

static void rough_again(const struct rough_journey *journey, int64_t when_us);

static void rough_arrive(void *context)
{
    struct rough_journey *journey = context;
    uint8_t kind = journey->fate.kind;
    if (journey->again) {
        rough_carry_out(journey);
        rough_end(journey);
        return;
    }
    if (rough_arrives(kind)) {
        rough_carry_out(journey);
    }
    if (kind == ROUGH_TWICE) {
        rough_carry_out(journey);
    }
    if (kind == ROUGH_COPY || kind == ROUGH_LATE) {
        rough_again(journey, virtual_now_us() + journey->fate.argument * ROUGH_SECOND);
    }
    rough_spoil(journey);
    if (kind == ROUGH_LOST_ANSWER || kind == ROUGH_LOST_REQUEST) {
        rough_end(journey);
        return;
    }
    int64_t back_us = kind == ROUGH_SLOW_ANSWER ? journey->fate.argument * 100 * ROUGH_MS
                      : kind == ROUGH_GOOD      ? journey->fate.argument * ROUGH_MS
                                                : ROUGH_MS;
    virtual_at(virtual_now_us() + back_us, rough_deliver, journey);
}

static struct rough_journey *rough_begin(struct memory_request *request, struct rough_fate fate)
{
    struct rough_journey *journey = calloc(1, sizeof *journey);
    if (journey == NULL) {
        abort();
    }
    journey->request = memory_ref(request);
    journey->fate = fate;
    journey->number = (unsigned)rough.sent;
    rough_journeys++;
    return journey;
}

static void rough_again(const struct rough_journey *journey, int64_t when_us)
{
    struct rough_journey *copy = rough_begin(journey->request, journey->fate);
    copy->again = true;
    virtual_at(when_us, rough_arrive, copy);
}

bool memory_serve(struct memory_request *request)
{
    struct rough_fate fate = {ROUGH_GOOD, 1};
    request->tag = rough.tag;
    rough.sent++;
    if (rough.fate != NULL) {
        fate = rough.fate(request);
    }
    rough_tell("send %u, fate %d %d: %s %s", (unsigned)rough.sent, fate.kind, fate.argument,
               request->operation, request->body);
    if (fate.kind == ROUGH_NO_MEMORY) {
        return false;
    }
    int64_t there_us = fate.kind == ROUGH_SLOW_REQUEST  ? fate.argument * 100 * ROUGH_MS
                       : fate.kind == ROUGH_GOOD        ? fate.argument * ROUGH_MS
                       : fate.kind == ROUGH_UNREACHABLE ? 0
                                                        : ROUGH_MS;
    virtual_at(virtual_now_us() + there_us, rough_arrive, rough_begin(request, fate));
    return true;
}
