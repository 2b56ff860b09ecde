/* SPDX-License-Identifier: Apache-2.0 */
/* libcurl's handles, as this library wants them. */
#include "easy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static atomic_int easy_global_result = CURLE_FAILED_INIT;

static void easy_global_init(void)
{
    if (!dlk_trusts_environment()) { /* else libcurl would write the keys of TLS there */
        (void)unsetenv("SSLKEYLOGFILE");
    }
    atomic_store(&easy_global_result, (int)curl_global_init(CURL_GLOBAL_DEFAULT));
}

int dlk_curl_init(dynalock_error *error)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static atomic_flag retrying = ATOMIC_FLAG_INIT;
    (void)pthread_once(&once, easy_global_init);
    /* Nobody waits for who tries again: a child of fork could not. */
    if (atomic_load(&easy_global_result) != CURLE_OK && !atomic_flag_test_and_set(&retrying)) {
        easy_global_init();
        atomic_flag_clear(&retrying);
    }
    int result = atomic_load(&easy_global_result);
    return result == CURLE_OK ? 0
                              : dlk_fail(error, DYNALOCK_ERR_SYSTEM, "curl_global_init: %s",
                                         curl_easy_strerror((CURLcode)result));
}

curl_socket_t dlk_easy_socket(const struct curl_sockaddr *address)
{
#ifdef SOCK_CLOEXEC
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
#else
    curl_socket_t made = socket(address->family, address->socktype, address->protocol);
    if (made >= 0) {
        (void)fcntl(made, F_SETFD, FD_CLOEXEC);
    }
    return made;
#endif
}

static bool easy_is_wakeup_socket(int fd)
{
    struct sockaddr address = {0};
    socklen_t length = sizeof address;
    return getsockname(fd, &address, &length) == 0 && address.sa_family == AF_UNIX &&
           fcntl(fd, F_GETFD) == 0;
}

/* libcurl before 8.9 makes a multi handle's wake-up sockets without close-on-exec, and gives no way
 * to reach them. They got the lowest two free descriptors, unless another thread was quicker: a
 * wake-up tells. */
static void easy_close_on_exec(CURLM *multi, const int lowest[2])
{
    if (!easy_is_wakeup_socket(lowest[0]) || !easy_is_wakeup_socket(lowest[1]) ||
        dlk_wait_readable(lowest, 2, 0) >= 0 || curl_multi_wakeup(multi) != CURLM_OK) {
        return;
    }
    if (dlk_wait_readable(lowest, 2, 0) >= 0) {
        (void)fcntl(lowest[0], F_SETFD, FD_CLOEXEC);
        (void)fcntl(lowest[1], F_SETFD, FD_CLOEXEC);
    }
}

CURLM *dlk_easy_multi(void)
{
    int lowest[2];
    bool known = pipe(lowest) == 0;
    if (known) {
        (void)close(lowest[0]);
        (void)close(lowest[1]);
    }
    CURLM *multi = curl_multi_init();
    if (multi != NULL && known) {
        easy_close_on_exec(multi, lowest);
    }
    return multi;
}

bool dlk_easy_set(CURL *easy, const char *url, const char *ca_file)
{
    return curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK &&
           (dlk_trusts_environment() || curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK) &&
           curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_USERAGENT, "dynalock/" DYNALOCK_VERSION) == CURLE_OK &&
           (ca_file == NULL || curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file) == CURLE_OK) &&
           curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
#if LIBCURL_VERSION_NUM >= 0x075700
           /* Without it, ending a transfer waits for a hanging getaddrinfo. */
           curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK &&
#endif
#if LIBCURL_VERSION_NUM >= 0x075500
           curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
#else
           curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS)) ==
               CURLE_OK;
#endif
}

bool dlk_easy_header(const char *line, size_t length, const char *name, char *value, size_t size)
{
    size_t skip = strlen(name);
    if (length <= skip || line[skip] != ':' || strncasecmp(line, name, skip) != 0) {
        return false;
    }
    const char *from = line + skip + 1;
    const char *end = line + length;
    while (from < end && (*from == ' ' || *from == '\t')) {
        from++;
    }
    while (end > from && (unsigned char)end[-1] <= ' ') {
        end--;
    }
    if ((size_t)(end - from) >= size) {
        return false;
    }
    memcpy(value, from, (size_t)(end - from));
    value[end - from] = '\0';
    return true;
}

int dlk_easy_result(CURL *easy, CURLcode code)
{
    long system_error = 0;
    switch (code) {
    case CURLE_OK: return 0;
    case CURLE_OUT_OF_MEMORY: return DYNALOCK_ERR_MEMORY;
    case CURLE_OPERATION_TIMEDOUT: return DYNALOCK_ERR_TIMEOUT;
    case CURLE_WRITE_ERROR:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_BAD_CONTENT_ENCODING: return DYNALOCK_ERR_BAD_RESPONSE;
    case CURLE_SSL_CONNECT_ERROR:
        /* A handshake that was cut off is the network's fault; one that was refused will be again. */
        (void)curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &system_error);
        return system_error == ECONNRESET || system_error == EPIPE ? DYNALOCK_ERR_NETWORK
                                                                   : DYNALOCK_ERR_TLS;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH: return DYNALOCK_ERR_TLS;
    default: return DYNALOCK_ERR_NETWORK;
    }
}

bool dlk_easy_may_raise_sigpipe(void)
{
#ifdef MSG_NOSIGNAL
    const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
    return info->version_num < 0x075800 || info->ssl_version == NULL ||
           strncmp(info->ssl_version, "OpenSSL/3", 9) != 0;
#else
    return true;
#endif
}
