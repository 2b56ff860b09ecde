/* SPDX-License-Identifier: Apache-2.0 */
#include "memory_http.h"
#include "fuzz.h"

#include <string.h>
#include <strings.h>

int (*memory_http_answer)(const struct dlk_http_request *request, struct dlk_http_answer *answer,
                          dynalock_error *error);

static bool memory_is_visible(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text < '!' || *text > '~') {
            return false;
        }
    }
    return true;
}

/* "Name: value" on one line. */
static void memory_check_header(const char *line)
{
    size_t name = strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");
    fuzz_check(name > 0 && line[name] == ':' && line[name + 1] == ' ');
    for (const char *at = line + name; *at != '\0'; at++) {
        fuzz_check(*at == '\t' || ((unsigned char)*at >= ' ' && *at != 0x7F));
    }
}

/* What may be sent: a request is one, and nobody can have it send another. */
static void memory_check(const struct dlk_http_request *request,
                         const struct dlk_http_answer *answer)
{
    bool ended = false;
    bool is_get = strcmp(request->method, "GET") == 0;
    fuzz_check(is_get || strcmp(request->method, "POST") == 0 ||
               strcmp(request->method, "PUT") == 0);
    fuzz_check(strncasecmp(request->url, "http://", 7) == 0 ||
               strncasecmp(request->url, "https://", 8) == 0);
    fuzz_check(memory_is_visible(request->url));
    const char *host = strstr(request->url, "://") + 3;
    size_t length = strcspn(host, "/?#");
    fuzz_check(length > 0 && memchr(host, '@', length) == NULL);
    for (size_t i = 0; i < DLK_HTTP_HEADERS; i++) {
        fuzz_check(!ended || request->headers[i] == NULL);
        ended = request->headers[i] == NULL;
        if (!ended) {
            memory_check_header(request->headers[i]);
        }
    }
    fuzz_check(request->body != NULL || request->body_length == 0);
    fuzz_check(!is_get || request->body == NULL);
    fuzz_check(request->timeout_ms >= 0);
    fuzz_check(request->wanted == NULL || *request->wanted != '\0');
    fuzz_check(answer->status == 0 && answer->header[0] == '\0' && answer->body.data == NULL);
}

int dlk_http(const struct dlk_http_request *request, struct dlk_http_answer *answer,
             dynalock_error *error)
{
    memory_check(request, answer);
    int code = request->cancelled != NULL && atomic_load(request->cancelled)
                   ? dlk_fail(error, DYNALOCK_ERR_CLOSED, "the store is closing")
                   : memory_http_answer(request, answer, error);
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
