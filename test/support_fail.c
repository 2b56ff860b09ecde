/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE 1
#include "support_fail.h"

#include "../dynalock.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/opensslv.h>
#include <poll.h>
#include <pwd.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define FAIL_NAMES 128

/* Shared with what is forked. */
struct fail_state {
    atomic_uint from, count, calls;
    atomic_bool did;
    _Atomic(const char *) name;
};

struct fail_tally {
    const char *name;
    unsigned count;
};

static struct fail_state *fail_state;
static struct fail_tally fail_tally[FAIL_NAMES + 1]; /* the last is never used */
static atomic_bool fail_late;
static pthread_t fail_late_thread;
static _Thread_local bool fail_polled, fail_is_exempt;

void fail_arm(unsigned nth, unsigned count)
{
    atomic_store(&fail_state->calls, 0);
    atomic_store(&fail_state->did, false);
    atomic_store(&fail_state->name, "");
    atomic_store(&fail_state->count, count);
    atomic_store(&fail_state->from, nth);
}

static void fail_count_point(void)
{
    const char *name = fail_what();
    struct fail_tally *tally = fail_tally;
    while (tally->name != NULL && strcmp(tally->name, name) != 0 &&
           tally < fail_tally + FAIL_NAMES - 1) {
        tally++;
    }
    tally->name = name;
    tally->count++;
}

bool fail_disarm(void)
{
    bool was_armed = atomic_exchange(&fail_state->from, 0) != 0;
    bool did = atomic_load(&fail_state->did);
    if (was_armed && did) {
        fail_count_point();
    }
    return did;
}

const char *fail_what(void)
{
    return atomic_load(&fail_state->name);
}

void fail_exempt(bool is_exempt)
{
    fail_is_exempt = is_exempt;
}

bool fail_explains(int code)
{
    static const char *const network[] = {
        "socket",          "connect",           "send", "recv", "getsockopt", "setsockopt",
        "curl_multi_poll", "curl_multi_perform"};
    const char *what = fail_what();
    if (code == DYNALOCK_ERR_MEMORY || code == DYNALOCK_ERR_SYSTEM) {
        return true;
    }
    /* jansson takes a want of memory for a mistake in the text as often as not. */
    if (code == DYNALOCK_ERR_BAD_RESPONSE) {
        return strcmp(what, "jansson's malloc") == 0;
    }
    for (size_t i = 0; code == DYNALOCK_ERR_NETWORK && i < sizeof network / sizeof *network; i++) {
        if (strcmp(what, network[i]) == 0) {
            return true;
        }
    }
    return false;
}

void fail_look_late(pthread_t thread, bool late)
{
    fail_late_thread = thread;
    atomic_store(&fail_late, late);
}

unsigned fail_step(unsigned usual)
{
    const char *sweep = getenv("DYNALOCK_TEST_SWEEP");
    return sweep != NULL && strcmp(sweep, "full") == 0 ? 1 : usual;
}

static int fail_compare(const void *one, const void *other)
{
    const struct fail_tally *a = one;
    const struct fail_tally *b = other;
    return (a->count < b->count) - (a->count > b->count);
}

unsigned fail_report(const char *operation)
{
    unsigned points = 0;
    qsort(fail_tally, FAIL_NAMES, sizeof fail_tally[0], fail_compare);
    for (size_t i = 0; i < FAIL_NAMES; i++) {
        points += fail_tally[i].count;
    }
    printf("# sweep: %s: %u points:", operation, points);
    for (size_t i = 0; i < FAIL_NAMES && fail_tally[i].count > 0; i++) {
        printf(" %s %u%s", fail_tally[i].name, fail_tally[i].count,
               fail_tally[i + 1].count > 0 ? "," : "");
    }
    printf("\n");
    (void)fflush(stdout);
    memset(fail_tally, 0, sizeof fail_tally);
    return points;
}

bool fail_now(const char *name)
{
    unsigned from = fail_state == NULL || fail_is_exempt ? 0 : atomic_load(&fail_state->from);
    if (from == 0) {
        return false;
    }
    unsigned call = atomic_fetch_add(&fail_state->calls, 1) + 1;
    if (call < from || call - from >= atomic_load(&fail_state->count)) {
        return false;
    }
    atomic_store(&fail_state->name, name);
    atomic_store(&fail_state->did, true);
    return true;
}

/* What is waited with may fail, but not for ever: who waits would only wait the harder. */
static bool fail_once(const char *name)
{
    return atomic_load(&fail_state->count) == 1 && fail_now(name);
}

static int fail_with(int why)
{
    errno = why;
    return -1;
}

static void *fail_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

#define FAIL_WRAP(type, name, parameters, arguments, failure)         \
    type __real_##name parameters;                                    \
    type __wrap_##name parameters;                                    \
    type __wrap_##name parameters                                     \
    {                                                                 \
        return fail_now(#name) ? (failure) : __real_##name arguments; \
    }

/* The names are the linker's; not every compiler knows each of these. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wunknown-warning-option"
#pragma GCC diagnostic ignored "-Wreserved-identifier"

/* ---- Memory ---- */

FAIL_WRAP(void *, malloc, (size_t size), (size), fail_memory())
FAIL_WRAP(void *, calloc, (size_t count, size_t size), (count, size), fail_memory())
FAIL_WRAP(void *, realloc, (void *old, size_t size), (old, size), fail_memory())
FAIL_WRAP(char *, strdup, (const char *text), (text), fail_memory())

/*
 * jansson does not look whether its growing text buffer has grown: it drops characters, and may write past an end. So
 * what may be that buffer (a power of two from 32 on) does not fail.
 */
static void *fail_json_malloc(size_t size)
{
    bool buffer = size >= 32 && (size & (size - 1)) == 0;
    return !buffer && fail_now("jansson's malloc") ? NULL : __real_malloc(size);
}

static void *fail_curl_malloc(size_t size)
{
    return fail_now("libcurl's malloc") ? fail_memory() : __real_malloc(size);
}

static void *fail_curl_calloc(size_t count, size_t size)
{
    return fail_now("libcurl's calloc") ? fail_memory() : __real_calloc(count, size);
}

static void *fail_curl_realloc(void *old, size_t size)
{
    return fail_now("libcurl's realloc") ? fail_memory() : __real_realloc(old, size);
}

static char *fail_curl_strdup(const char *text)
{
    return fail_now("libcurl's strdup") ? fail_memory() : __real_strdup(text);
}

static void *fail_crypto_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return fail_now("OpenSSL's malloc") ? fail_memory() : __real_malloc(size);
}

static void *fail_crypto_realloc(void *old, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return fail_now("OpenSSL's realloc") ? fail_memory() : __real_realloc(old, size);
}

static void fail_crypto_free(void *old, const char *file, int line)
{
    (void)file;
    (void)line;
    free(old);
}

void fail_install(void)
{
    fail_state =
        mmap(NULL, sizeof *fail_state, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (fail_state == MAP_FAILED ||
        CRYPTO_set_mem_functions(fail_crypto_malloc, fail_crypto_realloc, fail_crypto_free) != 1 ||
        curl_global_init_mem(CURL_GLOBAL_DEFAULT, fail_curl_malloc, free, fail_curl_realloc,
                             fail_curl_strdup, fail_curl_calloc) != CURLE_OK) {
        fprintf(stderr, "failures cannot be made\n");
        _exit(1);
    }
    fail_arm(0, 0);
    json_object_seed(0);
    json_set_alloc_funcs(fail_json_malloc, free);
}

/* ---- Threads ---- */

FAIL_WRAP(int, pthread_create,
          (pthread_t * thread, const pthread_attr_t *attributes, void *(*run)(void *),
           void *context),
          (thread, attributes, run, context), EAGAIN)
FAIL_WRAP(int, pthread_mutex_init, (pthread_mutex_t * mutex, const pthread_mutexattr_t *attributes),
          (mutex, attributes), ENOMEM)
FAIL_WRAP(int, pthread_cond_init,
          (pthread_cond_t * condition, const pthread_condattr_t *attributes),
          (condition, attributes), ENOMEM)
FAIL_WRAP(int, pthread_condattr_init, (pthread_condattr_t * attributes), (attributes), ENOMEM)
FAIL_WRAP(int, pthread_condattr_setclock, (pthread_condattr_t * attributes, clockid_t clock),
          (attributes, clock), EINVAL)
FAIL_WRAP(int, pthread_attr_init, (pthread_attr_t * attributes), (attributes), ENOMEM)
FAIL_WRAP(int, pthread_attr_setstacksize, (pthread_attr_t * attributes, size_t size),
          (attributes, size), EINVAL)

/* ---- The system ---- */

FAIL_WRAP(int, eventfd, (unsigned value, int flags), (value, flags), fail_with(EMFILE))
FAIL_WRAP(int, timerfd_create, (int clock, int flags), (clock, flags), fail_with(EMFILE))
FAIL_WRAP(ssize_t, getrandom, (void *bytes, size_t length, unsigned flags), (bytes, length, flags),
          fail_with(ENOSYS))
FAIL_WRAP(int, pipe, (int fds[2]), (fds), fail_with(EMFILE))
FAIL_WRAP(int, pipe2, (int fds[2], int flags), (fds, flags), fail_with(EMFILE))
FAIL_WRAP(int, socket, (int domain, int type, int protocol), (domain, type, protocol),
          fail_with(EMFILE))
FAIL_WRAP(int, getsockname, (int fd, struct sockaddr *address, socklen_t *length),
          (fd, address, length), fail_with(ENOBUFS))
int __real_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    return fail_once("poll") ? fail_with(EINTR) : __real_poll(fds, count, timeout_ms);
}
/* Of files: what is in a pipe, or a counter, is always there. */
static bool fail_can_be_read(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

ssize_t __real_read(int fd, void *bytes, size_t size);
ssize_t __wrap_read(int fd, void *bytes, size_t size);
ssize_t __wrap_read(int fd, void *bytes, size_t size)
{
    return fail_can_be_read(fd) && fail_now("read") ? fail_with(EIO) : __real_read(fd, bytes, size);
}

FAIL_WRAP(int, getpwuid_r,
          (uid_t user, struct passwd *entry, char *names, size_t size, struct passwd **found),
          (user, entry, names, size, found), EIO)
FAIL_WRAP(int, gethostname, (char *name, size_t size), (name, size), fail_with(ENAMETOOLONG))

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return fail_now("open") ? fail_with(EMFILE) : __real_open(path, flags, mode);
}

/* What is asked with a number, and what without, are passed in the same way. To ask whether it is open does not fail. */
int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return command != F_GETFD && fail_now("fcntl") ? fail_with(EMFILE)
                                                   : __real_fcntl(fd, command, argument);
}

FAIL_WRAP(int, posix_spawnp,
          (pid_t * pid, const char *file, const posix_spawn_file_actions_t *actions,
           const posix_spawnattr_t *attributes, char *const words[], char *const environment[]),
          (pid, file, actions, attributes, words, environment), EAGAIN)
FAIL_WRAP(int, posix_spawn_file_actions_init, (posix_spawn_file_actions_t * actions), (actions),
          ENOMEM)
FAIL_WRAP(int, posix_spawn_file_actions_adddup2,
          (posix_spawn_file_actions_t * actions, int from, int to), (actions, from, to), ENOMEM)
FAIL_WRAP(int, posix_spawn_file_actions_addopen,
          (posix_spawn_file_actions_t * actions, int fd, const char *path, int flags, mode_t mode),
          (actions, fd, path, flags, mode), ENOMEM)
#if __GLIBC_PREREQ(2, 34)
FAIL_WRAP(int, posix_spawn_file_actions_addclosefrom_np,
          (posix_spawn_file_actions_t * actions, int from), (actions, from), ENOMEM)
#endif
FAIL_WRAP(int, posix_spawnattr_init, (posix_spawnattr_t * attributes), (attributes), ENOMEM)

/* ---- libcurl ---- */

FAIL_WRAP(CURLcode, curl_global_init, (long flags), (flags), CURLE_OUT_OF_MEMORY)
FAIL_WRAP(CURL *, curl_easy_init, (void), (), NULL)
FAIL_WRAP(CURLM *, curl_multi_init, (void), (), NULL)
FAIL_WRAP(CURLMcode, curl_multi_add_handle, (CURLM * multi, CURL *easy), (multi, easy),
          CURLM_OUT_OF_MEMORY)
FAIL_WRAP(CURLMcode, curl_multi_wakeup, (CURLM * multi), (multi), CURLM_WAKEUP_FAILURE)
FAIL_WRAP(struct curl_slist *, curl_slist_append, (struct curl_slist * list, const char *text),
          (list, text), NULL)

/* What it is there for is done: it is called to part what will be freed next. */
CURLMcode __real_curl_multi_remove_handle(CURLM *multi, CURL *easy);
CURLMcode __wrap_curl_multi_remove_handle(CURLM *multi, CURL *easy);
CURLMcode __wrap_curl_multi_remove_handle(CURLM *multi, CURL *easy)
{
    CURLMcode code = __real_curl_multi_remove_handle(multi, easy);
    return fail_now("curl_multi_remove_handle") ? CURLM_INTERNAL_ERROR : code;
}

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

CURLcode __real_curl_easy_getinfo(CURL *easy, CURLINFO info, ...);
CURLcode __wrap_curl_easy_getinfo(CURL *easy, CURLINFO info, ...);
CURLcode __wrap_curl_easy_getinfo(CURL *easy, CURLINFO info, ...)
{
    va_list arguments;
    va_start(arguments, info);
    void *to = va_arg(arguments, void *);
    va_end(arguments);
    return fail_now("curl_easy_getinfo") ? CURLE_BAD_FUNCTION_ARGUMENT
                                         : __real_curl_easy_getinfo(easy, info, to);
}

CURLMcode __real_curl_multi_setopt(CURLM *multi, CURLMoption option, ...);
CURLMcode __wrap_curl_multi_setopt(CURLM *multi, CURLMoption option, ...);
CURLMcode __wrap_curl_multi_setopt(CURLM *multi, CURLMoption option, ...)
{
    va_list arguments;
    va_start(arguments, option);
    long number = va_arg(arguments, long);
    va_end(arguments);
    return fail_now("curl_multi_setopt") ? CURLM_OUT_OF_MEMORY
                                         : __real_curl_multi_setopt(multi, option, number);
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
    if (fail_once("curl_multi_poll")) {
        return CURLM_OUT_OF_MEMORY;
    }
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
    return fail_now("curl_multi_perform") ? CURLM_OUT_OF_MEMORY
                                          : __real_curl_multi_perform(multi, running);
}

/* ---- OpenSSL ---- */

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

/* ---- jansson ---- */

FAIL_WRAP(json_t *, json_object, (void), (), NULL)
FAIL_WRAP(json_t *, json_array, (void), (), NULL)
FAIL_WRAP(json_t *, json_stringn_nocheck, (const char *text, size_t length), (text, length), NULL)
FAIL_WRAP(json_t *, json_integer, (json_int_t number), (number), NULL)
FAIL_WRAP(json_t *, json_real, (double number), (number), NULL)
FAIL_WRAP(json_t *, json_deep_copy, (const json_t *json), (json), NULL)

/* As jansson does, these take the reference. */
static int fail_json_decref(json_t *value)
{
    json_decref(value);
    return -1;
}

FAIL_WRAP(int, json_array_append_new, (json_t * array, json_t *value), (array, value),
          fail_json_decref(value))
FAIL_WRAP(int, json_object_set_new_nocheck, (json_t * object, const char *key, json_t *value),
          (object, key, value), fail_json_decref(value))

json_t *__real_json_loadb(const char *text, size_t length, size_t flags, json_error_t *error);
json_t *__wrap_json_loadb(const char *text, size_t length, size_t flags, json_error_t *error);
json_t *__wrap_json_loadb(const char *text, size_t length, size_t flags, json_error_t *error)
{
    if (!fail_now("json_loadb")) {
        return __real_json_loadb(text, length, flags, error);
    }
    if (error != NULL) {
        *error = (json_error_t){.line = -1, .column = -1};
        (void)snprintf(error->text, sizeof error->text - 1, "out of memory");
        error->text[sizeof error->text - 1] = (char)json_error_out_of_memory;
    }
    return NULL;
}

#pragma GCC diagnostic pop
