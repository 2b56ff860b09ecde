/* SPDX-License-Identifier: Apache-2.0 */
#include "support_fail.h"

#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/opensslv.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

static atomic_uint fail_from, fail_count, fail_calls;
static atomic_bool fail_did, fail_late;
static _Atomic(const char *) fail_name = "";
static pthread_t fail_late_thread;
static _Thread_local bool fail_polled;

void fail_arm(unsigned nth, unsigned count)
{
    atomic_store(&fail_calls, 0);
    atomic_store(&fail_did, false);
    atomic_store(&fail_name, "");
    atomic_store(&fail_count, count);
    atomic_store(&fail_from, nth);
}

bool fail_disarm(void)
{
    atomic_store(&fail_from, 0);
    return atomic_load(&fail_did);
}

const char *fail_what(void)
{
    return atomic_load(&fail_name);
}

void fail_look_late(pthread_t thread, bool late)
{
    fail_late_thread = thread;
    atomic_store(&fail_late, late);
}

/* Whether the call that is being made fails. */
static bool fail_now(const char *name)
{
    unsigned from = atomic_load(&fail_from);
    if (from == 0) {
        return false;
    }
    unsigned call = atomic_fetch_add(&fail_calls, 1) + 1;
    if (call < from || call - from >= atomic_load(&fail_count)) {
        return false;
    }
    atomic_store(&fail_did, true);
    atomic_store(&fail_name, name);
    return true;
}

/* FAIL_WRAPPED: all of these, in the order of the wrap lines. */

#define FAIL_WRAP(type, name, parameters, arguments, failure)         \
    type __real_##name parameters;                                    \
    type __wrap_##name parameters;                                    \
    type __wrap_##name parameters                                     \
    {                                                                 \
        return fail_now(#name) ? (failure) : __real_##name arguments; \
    }

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wunknown-warning-option"
#pragma GCC diagnostic ignored "-Wreserved-identifier"

FAIL_WRAP(void *, malloc, (size_t size), (size), NULL)
FAIL_WRAP(void *, calloc, (size_t count, size_t size), (count, size), NULL)
FAIL_WRAP(void *, realloc, (void *old, size_t size), (old, size), NULL)
FAIL_WRAP(char *, strdup, (const char *text), (text), NULL)

/*
 * jansson does not look whether its growing text buffer has grown: it drops characters, and may write past an end. So
 * what may be that buffer (a power of two from 32 on) does not fail.
 */
static void *fail_json_malloc(size_t size)
{
    bool buffer = size >= 32 && (size & (size - 1)) == 0;
    return !buffer && fail_now("jansson's malloc") ? NULL : __real_malloc(size);
}

void fail_install(void)
{
    json_set_alloc_funcs(fail_json_malloc, free);
}

static int fail_system(void)
{
    errno = EMFILE;
    return -1;
}

FAIL_WRAP(int, pthread_create,
          (pthread_t * thread, const pthread_attr_t *attributes, void *(*run)(void *),
           void *context),
          (thread, attributes, run, context), EAGAIN)
FAIL_WRAP(int, eventfd, (unsigned value, int flags), (value, flags), fail_system())
FAIL_WRAP(int, timerfd_create, (int clock, int flags), (clock, flags), fail_system())
FAIL_WRAP(ssize_t, getrandom, (void *bytes, size_t length, unsigned flags), (bytes, length, flags),
          fail_system())

FAIL_WRAP(CURL *, curl_easy_init, (void), (), NULL)
FAIL_WRAP(CURLM *, curl_multi_init, (void), (), NULL)
FAIL_WRAP(CURLMcode, curl_multi_add_handle, (CURLM * multi, CURL *easy), (multi, easy),
          CURLM_OUT_OF_MEMORY)
FAIL_WRAP(struct curl_slist *, curl_slist_append, (struct curl_slist * list, const char *text),
          (list, text), NULL)

CURLcode __real_curl_easy_setopt(CURL *easy, CURLoption option, ...);
CURLcode __wrap_curl_easy_setopt(CURL *easy, CURLoption option, ...);
CURLcode __wrap_curl_easy_setopt(CURL *easy, CURLoption option, ...)
{
    va_list arguments;
    CURLcode code = CURLE_OUT_OF_MEMORY;
    if (fail_now("curl_easy_setopt")) {
        return code;
    }
    va_start(arguments, option);
    if (option < CURLOPTTYPE_OBJECTPOINT) {
        code = __real_curl_easy_setopt(easy, option, va_arg(arguments, long));
    } else if (option >= CURLOPTTYPE_OFF_T) {
        code = __real_curl_easy_setopt(easy, option, va_arg(arguments, curl_off_t));
    } else {
        code = __real_curl_easy_setopt(easy, option, va_arg(arguments, void *));
    }
    va_end(arguments);
    return code;
}

CURLMcode __real_curl_multi_setopt(CURLM *multi, CURLMoption option, ...);
CURLMcode __wrap_curl_multi_setopt(CURLM *multi, CURLMoption option, ...);
CURLMcode __wrap_curl_multi_setopt(CURLM *multi, CURLMoption option, ...)
{
    va_list arguments;
    if (fail_now("curl_multi_setopt")) {
        return CURLM_OUT_OF_MEMORY;
    }
    va_start(arguments, option);
    CURLMcode code = __real_curl_multi_setopt(multi, option, va_arg(arguments, long));
    va_end(arguments);
    return code;
}

static bool fail_is_late(void)
{
    return atomic_load(&fail_late) && pthread_equal(pthread_self(), fail_late_thread) != 0;
}

CURLMcode __real_curl_multi_poll(CURLM *multi, struct curl_waitfd fds[], unsigned count,
                                 int timeout_ms, int *ready);
CURLMcode __wrap_curl_multi_poll(CURLM *multi, struct curl_waitfd fds[], unsigned count,
                                 int timeout_ms, int *ready);
CURLMcode __wrap_curl_multi_poll(CURLM *multi, struct curl_waitfd fds[], unsigned count,
                                 int timeout_ms, int *ready)
{
    CURLMcode code = __real_curl_multi_poll(multi, fds, count, timeout_ms, ready);
    fail_polled = fail_is_late();
    return code;
}

CURLMcode __real_curl_multi_perform(CURLM *multi, int *running);
CURLMcode __wrap_curl_multi_perform(CURLM *multi, int *running);
CURLMcode __wrap_curl_multi_perform(CURLM *multi, int *running)
{
    if (fail_polled) {
        fail_polled = false;
        *running = 1;
        return CURLM_OK;
    }
    return __real_curl_multi_perform(multi, running);
}

#if OPENSSL_VERSION_NUMBER >= 0x30000000L
FAIL_WRAP(EVP_MD *, EVP_MD_fetch, (OSSL_LIB_CTX * context, const char *name, const char *query),
          (context, name, query), NULL)
FAIL_WRAP(EVP_MAC *, EVP_MAC_fetch, (OSSL_LIB_CTX * context, const char *name, const char *query),
          (context, name, query), NULL)
FAIL_WRAP(EVP_MD_CTX *, EVP_MD_CTX_new, (void), (), NULL)
FAIL_WRAP(EVP_MAC_CTX *, EVP_MAC_CTX_new, (EVP_MAC * mac), (mac), NULL)
FAIL_WRAP(int, EVP_MAC_CTX_set_params, (EVP_MAC_CTX * mac, const OSSL_PARAM *parameters),
          (mac, parameters), 0)
FAIL_WRAP(int, EVP_DigestInit_ex, (EVP_MD_CTX * digest, const EVP_MD *type, ENGINE *engine),
          (digest, type, engine), 0)
FAIL_WRAP(int, EVP_DigestUpdate, (EVP_MD_CTX * digest, const void *data, size_t length),
          (digest, data, length), 0)
FAIL_WRAP(int, EVP_DigestFinal_ex, (EVP_MD_CTX * digest, unsigned char *hash, unsigned *size),
          (digest, hash, size), 0)
FAIL_WRAP(int, EVP_MAC_init,
          (EVP_MAC_CTX * mac, const unsigned char *key, size_t length,
           const OSSL_PARAM *parameters),
          (mac, key, length, parameters), 0)
FAIL_WRAP(int, EVP_MAC_update, (EVP_MAC_CTX * mac, const unsigned char *data, size_t length),
          (mac, data, length), 0)
FAIL_WRAP(int, EVP_MAC_final, (EVP_MAC_CTX * mac, unsigned char *out, size_t *length, size_t size),
          (mac, out, length, size), 0)
#endif
FAIL_WRAP(int, EVP_Digest,
          (const void *data, size_t length, unsigned char *hash, unsigned *size, const EVP_MD *type,
           ENGINE *engine),
          (data, length, hash, size, type, engine), 0)

#pragma GCC diagnostic pop
