/* SPDX-License-Identifier: Apache-2.0 */
#include "sigv4.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/opensslv.h>
#if OPENSSL_VERSION_NUMBER >= 0x30000000L && !defined(DLK_SIGV4_OPENSSL_1_1)
#define DLK_SIGV4_FETCHES 1
#include <openssl/core_names.h>
#include <openssl/params.h>
#else
#define DLK_SIGV4_FETCHES 0
#include <openssl/hmac.h>
#endif

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    SIG_CACHED_KEYS = 4, /* one caller's, twice at midnight, and a role's */
    SIG_FIRST_CAPACITY = 1024,
    SIG_SMALL = 256
};

/* A text that begins on the stack, and moves where it grows. */
#define SIG_LENT(room)                              \
    {                                               \
        (room), 0, sizeof(room), DLK_SIGV4_OK, true \
    }

struct sig_cached_key {
    struct dlk_sigv4_text id; /* what the key was derived from; empty: no key */
    unsigned char key[DLK_SIGV4_HASH_SIZE];
    uint64_t last_used;
};

struct dlk_sigv4_signer {
#if DLK_SIGV4_FETCHES
    EVP_MD *sha256;
    EVP_MAC *hmac;
    bool starts_over;       /* EVP_MAC_init without a key does, with the last one: from 3.0.3 on */
    struct sig_tools *idle; /* under the lock, as what follows it */
#endif
    pthread_mutex_t lock;
    uint64_t uses;
    struct sig_cached_key keys[SIG_CACHED_KEYS];
};

/* Growing texts */

int dlk_sigv4_fail(struct dlk_sigv4_text *text, int status)
{
    if (text->status == DLK_SIGV4_OK) {
        text->status = status;
    }
    return text->status;
}

static void sig_drop(struct dlk_sigv4_text *text)
{
    OPENSSL_cleanse(text->data, text->length);
    if (!text->is_lent) {
        free(text->data);
    }
}

/* Not realloc, which would leave a copy of the token behind. */
static int sig_grow(struct dlk_sigv4_text *text, size_t needed)
{
    size_t capacity = text->capacity == 0 ? SIG_FIRST_CAPACITY : text->capacity;
    char *data;

    while (capacity < needed) {
        capacity *= 2;
    }
    data = malloc(capacity);
    if (data == NULL) {
        return dlk_sigv4_fail(text, DLK_SIGV4_ENOMEM);
    }
    if (text->data != NULL) {
        memcpy(data, text->data, text->length);
        sig_drop(text);
    }
    text->data = data;
    text->capacity = capacity;
    text->is_lent = false;
    return DLK_SIGV4_OK;
}

int dlk_sigv4_append(struct dlk_sigv4_text *text, const char *bytes, size_t length)
{
    if (text->status != DLK_SIGV4_OK) {
        return text->status;
    }
    if (length >= DLK_SIGV4_MAX_TEXT - text->length) {
        return dlk_sigv4_fail(text, DLK_SIGV4_ETOOBIG);
    }
    if ((text->data == NULL || length >= text->capacity - text->length) &&
        sig_grow(text, text->length + length + 1) != DLK_SIGV4_OK) {
        return text->status;
    }
    memcpy(text->data + text->length, bytes, length);
    text->length += length;
    text->data[text->length] = '\0';
    return DLK_SIGV4_OK;
}

int dlk_sigv4_append_string(struct dlk_sigv4_text *text, const char *string)
{
    return dlk_sigv4_append(text, string, strlen(string));
}

void dlk_sigv4_text_free(struct dlk_sigv4_text *text)
{
    if (text == NULL) {
        return;
    }
    if (text->data != NULL) {
        sig_drop(text);
    }
    *text = (struct dlk_sigv4_text){0};
}

/* Crypto. What goes wrong here must not stay in the caller's OpenSSL error queue. */

#if DLK_SIGV4_FETCHES
/* Contexts cost more to make than to use: each thread that signs borrows a pair. */
struct sig_tools {
    EVP_MD_CTX *digest;
    EVP_MAC_CTX *mac;
    bool has_key; /* mac has this one */
    unsigned char key[DLK_SIGV4_HASH_SIZE];
    struct sig_tools *next;
};

static void sig_tools_free(struct sig_tools *tools)
{
    while (tools != NULL) {
        struct sig_tools *next = tools->next;

        EVP_MD_CTX_free(tools->digest);
        EVP_MAC_CTX_free(tools->mac);
        OPENSSL_cleanse(tools->key, sizeof tools->key);
        free(tools);
        tools = next;
    }
}

static bool sig_mac_once(EVP_MAC_CTX *context, const unsigned char *key, size_t key_length,
                         const char *text, size_t length, unsigned char *mac)
{
    size_t size = 0;

    return EVP_MAC_init(context, key, key_length, NULL) == 1 &&
           EVP_MAC_update(context, (const unsigned char *)text, length) == 1 &&
           EVP_MAC_final(context, mac, &size, DLK_SIGV4_HASH_SIZE) == 1 &&
           size == DLK_SIGV4_HASH_SIZE;
}

static struct sig_tools *sig_tools_new(const dlk_sigv4_signer *signer)
{
    char sha256[] = "SHA256"; /* OSSL_PARAM takes no const */
    OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0),
                               OSSL_PARAM_construct_end()};
    struct sig_tools *tools = calloc(1, sizeof *tools);

    if (tools == NULL) {
        return NULL;
    }
    tools->digest = EVP_MD_CTX_new();
    tools->mac = EVP_MAC_CTX_new(signer->hmac);
    if (tools->digest == NULL || tools->mac == NULL ||
        EVP_MAC_CTX_set_params(tools->mac, parameters) != 1) {
        sig_tools_free(tools);
        return NULL;
    }
    return tools;
}

static struct sig_tools *sig_borrow(dlk_sigv4_signer *signer)
{
    struct sig_tools *tools;

    (void)pthread_mutex_lock(&signer->lock);
    tools = signer->idle;
    if (tools != NULL) {
        signer->idle = tools->next;
        tools->next = NULL;
    }
    (void)pthread_mutex_unlock(&signer->lock);
    return tools != NULL ? tools : sig_tools_new(signer);
}

static void sig_give_back(dlk_sigv4_signer *signer, struct sig_tools *tools)
{
    (void)pthread_mutex_lock(&signer->lock);
    tools->next = signer->idle;
    signer->idle = tools;
    (void)pthread_mutex_unlock(&signer->lock);
}

static bool sig_digest(dlk_sigv4_signer *signer, const void *data, size_t length,
                       unsigned char *hash)
{
    struct sig_tools *tools = sig_borrow(signer);
    unsigned int size = 0;
    bool done;

    if (tools == NULL) {
        return false;
    }
    done = EVP_DigestInit_ex(tools->digest, signer->sha256, NULL) == 1 &&
           EVP_DigestUpdate(tools->digest, data, length) == 1 &&
           EVP_DigestFinal_ex(tools->digest, hash, &size) == 1;
    sig_give_back(signer, tools);
    return done && size == DLK_SIGV4_HASH_SIZE;
}

static bool sig_mac(dlk_sigv4_signer *signer, const unsigned char *key, size_t key_length,
                    const char *text, size_t length, unsigned char *mac)
{
    struct sig_tools *tools = sig_borrow(signer);
    bool again, done;

    if (tools == NULL) {
        return false;
    }
    again = tools->has_key && key_length == sizeof tools->key &&
            memcmp(key, tools->key, sizeof tools->key) == 0;
    done = sig_mac_once(tools->mac, again ? NULL : key, again ? 0 : key_length, text, length, mac);
    tools->has_key = done && signer->starts_over && key_length == sizeof tools->key;
    if (tools->has_key && !again) {
        memcpy(tools->key, key, sizeof tools->key);
    }
    sig_give_back(signer, tools);
    return done;
}

/* Tried, for the provider may be older than the library: what cannot do it succeeds, and is wrong. */
static bool sig_starts_over(EVP_MAC_CTX *context)
{
    static const unsigned char key[DLK_SIGV4_HASH_SIZE] = {1};
    unsigned char first[DLK_SIGV4_HASH_SIZE], second[DLK_SIGV4_HASH_SIZE];

    return sig_mac_once(context, key, sizeof key, "text", 4, first) &&
           sig_mac_once(context, NULL, 0, "text", 4, second) &&
           memcmp(first, second, sizeof first) == 0;
}

static bool sig_fetch(dlk_sigv4_signer *signer)
{
    signer->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    signer->hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    if (signer->sha256 != NULL && signer->hmac != NULL) {
        signer->idle = sig_tools_new(signer);
    }
    if (signer->idle == NULL) {
        return false;
    }
    signer->starts_over = sig_starts_over(signer->idle->mac);
    return true;
}

static void sig_release(dlk_sigv4_signer *signer)
{
    sig_tools_free(signer->idle);
    EVP_MD_free(signer->sha256);
    EVP_MAC_free(signer->hmac);
}
#else
static bool sig_digest(dlk_sigv4_signer *signer, const void *data, size_t length,
                       unsigned char *hash)
{
    unsigned int size = 0;

    (void)signer;
    return EVP_Digest(data, length, hash, &size, EVP_sha256(), NULL) == 1 &&
           size == DLK_SIGV4_HASH_SIZE;
}

static bool sig_mac(dlk_sigv4_signer *signer, const unsigned char *key, size_t key_length,
                    const char *text, size_t length, unsigned char *mac)
{
    const unsigned char *data = (const unsigned char *)text;
    unsigned int size = 0;

    (void)signer;
    return HMAC(EVP_sha256(), key, (int)key_length, data, length, mac, &size) != NULL &&
           size == DLK_SIGV4_HASH_SIZE;
}

static bool sig_fetch(dlk_sigv4_signer *signer)
{
    (void)signer;
    return true;
}

static void sig_release(dlk_sigv4_signer *signer)
{
    (void)signer;
}
#endif

static int sig_sha256(dlk_sigv4_signer *signer, const void *data, size_t length,
                      unsigned char hash[DLK_SIGV4_HASH_SIZE])
{
    bool done;

    (void)ERR_set_mark();
    done = sig_digest(signer, data, length, hash);
    (void)ERR_pop_to_mark();
    return done ? DLK_SIGV4_OK : DLK_SIGV4_ECRYPTO;
}

/* `mac` may be where the key is. */
static int sig_hmac(dlk_sigv4_signer *signer, const unsigned char *key, size_t key_length,
                    const char *text, size_t length, unsigned char mac[DLK_SIGV4_HASH_SIZE])
{
    unsigned char out[DLK_SIGV4_HASH_SIZE];
    bool done;

    (void)ERR_set_mark();
    done = sig_mac(signer, key, key_length, text, length, out);
    (void)ERR_pop_to_mark();
    if (done) {
        memcpy(mac, out, sizeof out);
    }
    OPENSSL_cleanse(out, sizeof out);
    return done ? DLK_SIGV4_OK : DLK_SIGV4_ECRYPTO;
}

static void sig_hex(const unsigned char *hash, size_t size, char *hex)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < size; i++) {
        hex[2 * i] = digits[hash[i] >> 4];
        hex[2 * i + 1] = digits[hash[i] & 15];
    }
    hex[2 * size] = '\0';
}

int dlk_sha1_hex(const char *text, char hex[DLK_SHA1_HEX_SIZE])
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    bool done;

    (void)ERR_set_mark();
    done = EVP_Digest(text, strlen(text), hash, &size, EVP_sha1(), NULL) == 1 &&
           2 * size + 1 == DLK_SHA1_HEX_SIZE;
    (void)ERR_pop_to_mark();
    if (done) {
        sig_hex(hash, size, hex);
    }
    return done ? DLK_SIGV4_OK : DLK_SIGV4_ECRYPTO;
}

static int sig_append_sha256(dlk_sigv4_signer *signer, struct dlk_sigv4_text *text,
                             const void *data, size_t length)
{
    unsigned char hash[DLK_SIGV4_HASH_SIZE];
    char hex[DLK_SIGV4_HEX_SIZE];
    int status = sig_sha256(signer, data, length, hash);

    if (status != DLK_SIGV4_OK) {
        return dlk_sigv4_fail(text, status);
    }
    sig_hex(hash, sizeof hash, hex);
    return dlk_sigv4_append(text, hex, DLK_SIGV4_HEX_SIZE - 1);
}

/* The signer */

int dlk_sigv4_signer_new(dlk_sigv4_signer **signer)
{
    dlk_sigv4_signer *made;
    bool fetched;

    if (signer == NULL) {
        return DLK_SIGV4_EINPUT;
    }
    made = calloc(1, sizeof *made);
    if (made == NULL) {
        return DLK_SIGV4_ENOMEM;
    }
    if (pthread_mutex_init(&made->lock, NULL) != 0) {
        free(made);
        return DLK_SIGV4_ENOMEM;
    }
    (void)ERR_set_mark();
    fetched = sig_fetch(made);
    (void)ERR_pop_to_mark();
    if (!fetched) {
        dlk_sigv4_signer_free(made);
        return DLK_SIGV4_ECRYPTO;
    }
    *signer = made;
    return DLK_SIGV4_OK;
}

void dlk_sigv4_signer_free(dlk_sigv4_signer *signer)
{
    if (signer == NULL) {
        return;
    }
    sig_release(signer);
    (void)pthread_mutex_destroy(&signer->lock);
    for (size_t i = 0; i < SIG_CACHED_KEYS; i++) {
        dlk_sigv4_text_free(&signer->keys[i].id);
    }
    OPENSSL_cleanse(signer->keys, sizeof signer->keys);
    free(signer);
}

/* The canonical request, the string to sign, the key */

static int sig_append_body_hash(dlk_sigv4_signer *signer, struct dlk_sigv4_text *out,
                                const struct dlk_sigv4_request *request)
{
    size_t count;
    const char *given = dlk_sigv4_find_header(request, "x-amz-content-sha256", &count);

    if (given != NULL) {
        return dlk_sigv4_append_value(out, given);
    }
    return sig_append_sha256(signer, out, request->body_length == 0 ? "" : request->body,
                             request->body_length);
}

int dlk_sigv4_canonical_request(dlk_sigv4_signer *signer, struct dlk_sigv4_text *out,
                                struct dlk_sigv4_text *names,
                                const struct dlk_sigv4_request *request, const char *session_token,
                                const char *timestamp)
{
    if (out == NULL) {
        return DLK_SIGV4_EINPUT;
    }
    if (signer == NULL || names == NULL || request == NULL ||
        !dlk_sigv4_is_token(request->method) ||
        (request->body == NULL && request->body_length > 0)) {
        return dlk_sigv4_fail(out, DLK_SIGV4_EINPUT);
    }
    (void)dlk_sigv4_append_string(out, request->method);
    (void)dlk_sigv4_append_char(out, '\n');
    (void)dlk_sigv4_append_path(out, request);
    (void)dlk_sigv4_append_char(out, '\n');
    (void)dlk_sigv4_append_query(out, request->query);
    (void)dlk_sigv4_append_char(out, '\n');
    if (dlk_sigv4_append_headers(out, names, request, session_token, timestamp) != DLK_SIGV4_OK) {
        return out->status;
    }
    (void)dlk_sigv4_append_char(out, '\n');
    (void)dlk_sigv4_append(out, names->data, names->length);
    (void)dlk_sigv4_append_char(out, '\n');
    return sig_append_body_hash(signer, out, request);
}

int dlk_sigv4_append_scope(struct dlk_sigv4_text *out, const char *timestamp, const char *region,
                           const char *service)
{
    if (out == NULL) {
        return DLK_SIGV4_EINPUT;
    }
    if (timestamp == NULL || strlen(timestamp) != DLK_SIGV4_TIMESTAMP_SIZE - 1 ||
        !dlk_sigv4_is_scope_part(region) || !dlk_sigv4_is_scope_part(service)) {
        return dlk_sigv4_fail(out, DLK_SIGV4_EINPUT);
    }
    (void)dlk_sigv4_append(out, timestamp, DLK_SIGV4_DATE_LENGTH);
    (void)dlk_sigv4_append_char(out, '/');
    (void)dlk_sigv4_append_string(out, region);
    (void)dlk_sigv4_append_char(out, '/');
    (void)dlk_sigv4_append_string(out, service);
    return dlk_sigv4_append_string(out, "/aws4_request");
}

int dlk_sigv4_string_to_sign(dlk_sigv4_signer *signer, struct dlk_sigv4_text *out,
                             const struct dlk_sigv4_text *canonical, const char *timestamp,
                             const char *region, const char *service)
{
    if (out == NULL) {
        return DLK_SIGV4_EINPUT;
    }
    if (signer == NULL || canonical == NULL || canonical->data == NULL || timestamp == NULL) {
        return dlk_sigv4_fail(out, DLK_SIGV4_EINPUT);
    }
    (void)dlk_sigv4_append_string(out, "AWS4-HMAC-SHA256\n");
    (void)dlk_sigv4_append_string(out, timestamp);
    (void)dlk_sigv4_append_char(out, '\n');
    (void)dlk_sigv4_append_scope(out, timestamp, region, service);
    (void)dlk_sigv4_append_char(out, '\n');
    return sig_append_sha256(signer, out, canonical->data, canonical->length);
}

/* By their serial, where they have one. Else with the secret: new credentials may have an old access key id.
 * The NULs keep the parts apart. Hashed, for the cache outlives the credentials. */
static int sig_key_id(dlk_sigv4_signer *signer, struct dlk_sigv4_text *id,
                      const struct dlk_sigv4_credentials *credentials, const char *timestamp,
                      const char *region, const char *service)
{
    char room[SIG_SMALL];
    struct dlk_sigv4_text plain = SIG_LENT(room);
    int status;

    if (credentials->serial != 0) {
        (void)dlk_sigv4_append(id, (const char *)&credentials->serial, sizeof credentials->serial);
        return dlk_sigv4_append_scope(id, timestamp, region, service);
    }
    (void)dlk_sigv4_append(&plain, credentials->access_key_id,
                           strlen(credentials->access_key_id) + 1);
    (void)dlk_sigv4_append(&plain, credentials->secret_access_key,
                           strlen(credentials->secret_access_key) + 1);
    status = dlk_sigv4_append_scope(&plain, timestamp, region, service);
    if (status == DLK_SIGV4_OK) {
        status = sig_append_sha256(signer, id, plain.data, plain.length);
    }
    dlk_sigv4_text_free(&plain);
    return status;
}

static int sig_derive_key(dlk_sigv4_signer *signer, const char *secret, const char *timestamp,
                          const char *region, const char *service,
                          unsigned char key[DLK_SIGV4_HASH_SIZE])
{
    const size_t size = DLK_SIGV4_HASH_SIZE;
    struct dlk_sigv4_text text = {0};
    int status;

    (void)dlk_sigv4_append_string(&text, "AWS4");
    status = dlk_sigv4_append_string(&text, secret);
    if (status == DLK_SIGV4_OK) {
        status = sig_hmac(signer, (const unsigned char *)text.data, text.length, timestamp,
                          DLK_SIGV4_DATE_LENGTH, key);
    }
    if (status == DLK_SIGV4_OK) {
        status = sig_hmac(signer, key, size, region, strlen(region), key);
    }
    if (status == DLK_SIGV4_OK) {
        status = sig_hmac(signer, key, size, service, strlen(service), key);
    }
    if (status == DLK_SIGV4_OK) {
        status = sig_hmac(signer, key, size, "aws4_request", strlen("aws4_request"), key);
    }
    dlk_sigv4_text_free(&text);
    return status;
}

/* Under the lock. */
static struct sig_cached_key *sig_cached(dlk_sigv4_signer *signer, const struct dlk_sigv4_text *id)
{
    for (size_t i = 0; i < SIG_CACHED_KEYS; i++) {
        struct sig_cached_key *cached = &signer->keys[i];

        if (cached->id.length == id->length && memcmp(cached->id.data, id->data, id->length) == 0) {
            cached->last_used = ++signer->uses;
            return cached;
        }
    }
    return NULL;
}

static bool sig_look_up(dlk_sigv4_signer *signer, const struct dlk_sigv4_text *id,
                        unsigned char key[DLK_SIGV4_HASH_SIZE])
{
    const struct sig_cached_key *cached;

    (void)pthread_mutex_lock(&signer->lock);
    cached = sig_cached(signer, id);
    if (cached != NULL) {
        memcpy(key, cached->key, DLK_SIGV4_HASH_SIZE);
    }
    (void)pthread_mutex_unlock(&signer->lock);
    return cached != NULL;
}

/*
 * Leaves in `id` what is to be freed: the id that had to go, or its own if another thread was
 * quicker.
 */
static void sig_remember(dlk_sigv4_signer *signer, struct dlk_sigv4_text *id,
                         const unsigned char key[DLK_SIGV4_HASH_SIZE])
{
    struct sig_cached_key *oldest = &signer->keys[0];

    (void)pthread_mutex_lock(&signer->lock);
    if (sig_cached(signer, id) == NULL) {
        struct dlk_sigv4_text old;

        for (size_t i = 1; i < SIG_CACHED_KEYS; i++) {
            if (signer->keys[i].last_used < oldest->last_used) {
                oldest = &signer->keys[i];
            }
        }
        old = oldest->id;
        oldest->id = *id;
        *id = old;
        memcpy(oldest->key, key, DLK_SIGV4_HASH_SIZE);
        oldest->last_used = ++signer->uses;
    }
    (void)pthread_mutex_unlock(&signer->lock);
}

int dlk_sigv4_signing_key(dlk_sigv4_signer *signer, const struct dlk_sigv4_credentials *credentials,
                          const char *timestamp, const char *region, const char *service,
                          unsigned char key[DLK_SIGV4_HASH_SIZE])
{
    struct dlk_sigv4_text id = {0};
    int status;

    if (signer == NULL || key == NULL || credentials == NULL ||
        !dlk_sigv4_is_scope_part(credentials->access_key_id) ||
        credentials->secret_access_key == NULL || *credentials->secret_access_key == '\0') {
        return DLK_SIGV4_EINPUT;
    }
    status = sig_key_id(signer, &id, credentials, timestamp, region, service);
    if (status == DLK_SIGV4_OK && !sig_look_up(signer, &id, key)) {
        status =
            sig_derive_key(signer, credentials->secret_access_key, timestamp, region, service, key);
        if (status == DLK_SIGV4_OK) {
            sig_remember(signer, &id, key);
        }
    }
    dlk_sigv4_text_free(&id);
    return status;
}

/* All of it */

static int sig_append_signature(dlk_sigv4_signer *signer, struct dlk_sigv4_text *out,
                                const struct dlk_sigv4_text *to_sign,
                                const struct dlk_sigv4_credentials *credentials,
                                const char *timestamp, const char *region, const char *service)
{
    unsigned char key[DLK_SIGV4_HASH_SIZE], mac[DLK_SIGV4_HASH_SIZE];
    char hex[DLK_SIGV4_HEX_SIZE];
    int status = dlk_sigv4_signing_key(signer, credentials, timestamp, region, service, key);

    if (status == DLK_SIGV4_OK) {
        status = sig_hmac(signer, key, sizeof key, to_sign->data, to_sign->length, mac);
    }
    OPENSSL_cleanse(key, sizeof key);
    if (status != DLK_SIGV4_OK) {
        return dlk_sigv4_fail(out, status);
    }
    sig_hex(mac, sizeof mac, hex);
    return dlk_sigv4_append(out, hex, DLK_SIGV4_HEX_SIZE - 1);
}

static int sig_authorize(dlk_sigv4_signer *signer, struct dlk_sigv4_text *out,
                         const struct dlk_sigv4_text *to_sign, const struct dlk_sigv4_text *names,
                         const struct dlk_sigv4_credentials *credentials, const char *timestamp,
                         const char *region, const char *service)
{
    (void)dlk_sigv4_append_string(out, "AWS4-HMAC-SHA256 Credential=");
    (void)dlk_sigv4_append_string(out, credentials->access_key_id);
    (void)dlk_sigv4_append_char(out, '/');
    (void)dlk_sigv4_append_scope(out, timestamp, region, service);
    (void)dlk_sigv4_append_string(out, ", SignedHeaders=");
    (void)dlk_sigv4_append(out, names->data, names->length);
    (void)dlk_sigv4_append_string(out, ", Signature=");
    return sig_append_signature(signer, out, to_sign, credentials, timestamp, region, service);
}

int dlk_sigv4_sign(dlk_sigv4_signer *signer, const struct dlk_sigv4_request *request,
                   const struct dlk_sigv4_credentials *credentials, const char *region,
                   const char *service, int64_t unix_time, struct dlk_sigv4_signature *out)
{
    char canonical_room[SIG_FIRST_CAPACITY], names_room[SIG_SMALL], to_sign_room[SIG_SMALL];
    struct dlk_sigv4_text canonical = SIG_LENT(canonical_room), names = SIG_LENT(names_room);
    struct dlk_sigv4_text to_sign = SIG_LENT(to_sign_room), authorization = {0};
    char timestamp[DLK_SIGV4_TIMESTAMP_SIZE];
    int status;

    if (signer == NULL || credentials == NULL ||
        !dlk_sigv4_is_scope_part(credentials->access_key_id) || out == NULL ||
        dlk_sigv4_format_time(unix_time, timestamp) != DLK_SIGV4_OK) {
        return DLK_SIGV4_EINPUT;
    }
    status = dlk_sigv4_canonical_request(signer, &canonical, &names, request,
                                         credentials->session_token, timestamp);
    if (status == DLK_SIGV4_OK) {
        status = dlk_sigv4_string_to_sign(signer, &to_sign, &canonical, timestamp, region, service);
    }
    if (status == DLK_SIGV4_OK) {
        status = sig_authorize(signer, &authorization, &to_sign, &names, credentials, timestamp,
                               region, service);
    }
    if (status == DLK_SIGV4_OK) {
        memcpy(out->timestamp, timestamp, sizeof timestamp);
        out->authorization = authorization.data;
        authorization = (struct dlk_sigv4_text){0};
    }
    dlk_sigv4_text_free(&canonical);
    dlk_sigv4_text_free(&names);
    dlk_sigv4_text_free(&to_sign);
    dlk_sigv4_text_free(&authorization);
    return status;
}

void dlk_sigv4_signature_free(struct dlk_sigv4_signature *signature)
{
    if (signature == NULL) {
        return;
    }
    free(signature->authorization);
    signature->authorization = NULL;
}
