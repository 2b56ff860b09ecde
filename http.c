/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP for credentials: single requests to other places than DynamoDB. Knows no AWS but the addresses of
 * containers' endpoints. */
#include "easy.h"
#include "providers.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define HTTP_HEADERS_MAX ((size_t)64 * 1024)
#define HTTP_CONNECT_MS 3000
#define HTTP_SLICE_MS 50

/* One request under way. */
struct http_call {
    const struct dlk_http_request *request;
    struct dlk_http_answer *answer;
    CURL *easy;
    CURLM *multi;
    struct curl_slist *headers;
    size_t header_bytes;
    bool guarded; /* plain HTTP, and the request is */
    bool refused; /* an address was */
    bool cancelled;
    char error[CURL_ERROR_SIZE];
};

/* ---- Where a plain request may go ---- */

static bool http_is_local_v4(struct in_addr address)
{
    uint32_t number = ntohl(address.s_addr);
    return number >> 24 == 127 || number == 0xA9FEAA02U /* 169.254.170.2 */
           || number == 0xA9FEAA17U /* 169.254.170.23 */;
}

static bool http_is_local_v6(const struct in6_addr *address)
{
    static const unsigned char eks[16] = {0xFD, 0, 0x0E, 0xC2, [15] = 0x23}; /* fd00:ec2::23 */
    return IN6_IS_ADDR_LOOPBACK(address) || memcmp(address->s6_addr, eks, sizeof eks) == 0;
}

static bool http_is_local(const struct curl_sockaddr *address)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (address->family == AF_INET && address->addrlen >= sizeof v4) {
        memcpy(&v4, &address->addr, sizeof v4);
        return http_is_local_v4(v4.sin_addr);
    }
    if (address->family == AF_INET6 && address->addrlen >= sizeof v6) {
        memcpy(&v6, (const void *)&address->addr, sizeof v6);
        return http_is_local_v6(&v6.sin6_addr);
    }
    return false;
}

/* ---- Callbacks of libcurl ---- */

static curl_socket_t http_on_socket(void *context, curlsocktype purpose,
                                    struct curl_sockaddr *address)
{
    struct http_call *call = context;
    (void)purpose;
    if (call->guarded && !http_is_local(address)) {
        call->refused = true;
        return CURL_SOCKET_BAD;
    }
    return dlk_easy_socket(address);
}

static size_t http_on_body(char *bytes, size_t size, size_t count, void *context)
{
    struct http_call *call = context;
    return dlk_sigv4_append(&call->answer->body, bytes, size * count) == DLK_SIGV4_OK ? size * count
                                                                                      : 0;
}

static size_t http_on_header(char *line, size_t size, size_t count, void *context)
{
    struct http_call *call = context;
    call->header_bytes += size * count;
    if (call->header_bytes > HTTP_HEADERS_MAX) {
        return 0;
    }
    if (call->request->wanted != NULL) {
        (void)dlk_easy_header(line, size * count, call->request->wanted, call->answer->header,
                              sizeof call->answer->header);
    }
    return size * count;
}

/* ---- Setting up ---- */

static bool http_set_connection(CURL *easy, const struct dlk_http_request *request)
{
    int64_t timeout_ms = request->timeout_ms > 0 ? request->timeout_ms : 1;
    int64_t connect_ms = timeout_ms < HTTP_CONNECT_MS ? timeout_ms : HTTP_CONNECT_MS;
    return dlk_easy_set(easy, request->url, request->ca_file) &&
           curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L) == CURLE_OK &&
           (!request->direct || (curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK &&
                                 curl_easy_setopt(easy, CURLOPT_NOPROXY, "*") == CURLE_OK));
}

static bool http_set_method(CURL *easy, const struct dlk_http_request *request)
{
    if (strcmp(request->method, "GET") == 0) {
        return curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L) == CURLE_OK;
    }
    return curl_easy_setopt(easy, CURLOPT_POST, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body != NULL ? request->body : "") ==
               CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_length) ==
               CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method) == CURLE_OK;
}

static bool http_set_callbacks(struct http_call *call)
{
    CURL *easy = call->easy;
    return curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, http_on_socket) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, call) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, http_on_body) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEDATA, call) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, http_on_header) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HEADERDATA, call) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->error) == CURLE_OK;
}

static bool http_add_header(struct http_call *call, const char *line)
{
    struct curl_slist *longer = curl_slist_append(call->headers, line);
    if (longer == NULL) {
        return false;
    }
    call->headers = longer;
    return true;
}

static bool http_set_headers(struct http_call *call)
{
    const struct dlk_http_request *request = call->request;
    bool added = http_add_header(call, "Expect:") && http_add_header(call, "Accept:") &&
                 (request->body != NULL || http_add_header(call, "Content-Type:"));
    for (size_t i = 0; added && i < DLK_HTTP_HEADERS && request->headers[i] != NULL; i++) {
        added = http_add_header(call, request->headers[i]);
    }
    return added && curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->headers) == CURLE_OK;
}

/* ---- Running ---- */

static bool http_is_cancelled(const struct dlk_http_request *request)
{
    return request->cancelled != NULL && atomic_load(request->cancelled);
}

/* In slices: whoever cancels has no descriptor to wake this thread by. */
static CURLcode http_drive(struct http_call *call)
{
    int running = 0;
    int left = 0;
    do {
        if (http_is_cancelled(call->request)) {
            call->cancelled = true;
            return CURLE_ABORTED_BY_CALLBACK;
        }
        if (curl_multi_perform(call->multi, &running) != CURLM_OK ||
            (running > 0 &&
             curl_multi_poll(call->multi, NULL, 0, HTTP_SLICE_MS, NULL) != CURLM_OK)) {
            return CURLE_RECV_ERROR;
        }
    } while (running > 0);
    const CURLMsg *message = curl_multi_info_read(call->multi, &left);
    return message != NULL ? message->data.result : CURLE_RECV_ERROR;
}

static int http_fail(const struct http_call *call, CURLcode code, dynalock_error *error)
{
    const char *words = call->error[0] != '\0' ? call->error : curl_easy_strerror(code);
    if (call->cancelled) {
        return dlk_fail(error, DYNALOCK_ERR_CLOSED, "the store is closing");
    }
    if (call->refused) {
        return dlk_fail(error, DYNALOCK_ERR_CREDENTIALS,
                        "without TLS, it is asked only at 127.0.0.0/8, ::1, 169.254.170.2, "
                        "169.254.170.23 and fd00:ec2::23");
    }
    if (call->answer->body.status == DLK_SIGV4_ETOOBIG || call->header_bytes > HTTP_HEADERS_MAX) {
        words = "the answer is too large";
    }
    return dlk_fail(error,
                    call->answer->body.status == DLK_SIGV4_ENOMEM
                        ? DYNALOCK_ERR_MEMORY
                        : dlk_easy_result(call->easy, code),
                    "%s", words);
}

static int http_run(struct http_call *call, dynalock_error *error)
{
    long status = 0;
    CURLcode code = CURLE_OUT_OF_MEMORY;
    call->easy = curl_easy_init();
    call->multi = call->easy != NULL ? dlk_easy_multi() : NULL;
    if (call->multi != NULL && http_set_connection(call->easy, call->request) &&
        http_set_method(call->easy, call->request) && http_set_callbacks(call) &&
        http_set_headers(call) && curl_multi_add_handle(call->multi, call->easy) == CURLM_OK) {
        code = http_drive(call);
        (void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
        (void)curl_multi_remove_handle(call->multi, call->easy);
    }
    call->answer->status = (int)status;
    return code == CURLE_OK ? 0 : http_fail(call, code, error);
}

static void http_end(struct http_call *call)
{
    curl_easy_cleanup(call->easy);
    if (call->multi != NULL) {
        (void)curl_multi_cleanup(call->multi);
    }
    for (struct curl_slist *header = call->headers; header != NULL; header = header->next) {
        dlk_wipe_bytes(header->data, strlen(header->data));
    }
    curl_slist_free_all(call->headers);
}

int dlk_http(const struct dlk_http_request *request, struct dlk_http_answer *answer,
             dynalock_error *error)
{
    struct http_call call = {.request = request, .answer = answer};
    struct dlk_sigpipe sigpipe;
    call.guarded = request->guarded && strncasecmp(request->url, "https:", 6) != 0;
    dlk_sigpipe_hold(&sigpipe);
    int code = http_run(&call, error);
    http_end(&call);
    dlk_sigpipe_release(&sigpipe);
    if (code != 0) {
        dlk_http_answer_free(answer);
    }
    return code;
}

void dlk_http_answer_free(struct dlk_http_answer *answer)
{
    dlk_sigv4_text_free(&answer->body);
    answer->status = 0;
    answer->header[0] = '\0';
}
