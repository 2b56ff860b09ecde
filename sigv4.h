/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AWS Signature Version 4 for one HTTP request, in the Authorization header. Pure: the time and the
 * credentials are passed in, nothing is read from the environment. Private to the library; needs no
 * OpenSSL header.
 */
#ifndef DLK_SIGV4_H
#define DLK_SIGV4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DLK_SIGV4_OK = 0,
    DLK_SIGV4_ENOMEM = -1,
    DLK_SIGV4_EINPUT = -2, /* something that cannot be signed, or not be sent; see dlk_sigv4_sign */
    DLK_SIGV4_ECRYPTO = -3, /* OpenSSL failed, or has no SHA-256 or no HMAC */
    DLK_SIGV4_ETOOBIG =
        -4 /* more than DLK_SIGV4_MAX_HEADERS headers, or a text over DLK_SIGV4_MAX_TEXT */
};

enum {
    DLK_SIGV4_MAX_HEADERS = 256,
    DLK_SIGV4_MAX_TEXT =
        256 * 1024, /* of any one text that is built, in bytes; the body may be of any size */
    DLK_SIGV4_HASH_SIZE = 32,
    DLK_SIGV4_HEX_SIZE = 65,       /* with the final NUL */
    DLK_SHA1_HEX_SIZE = 41,        /* the same */
    DLK_SIGV4_TIMESTAMP_SIZE = 17, /* YYYYMMDDTHHMMSSZ and the final NUL */
    DLK_SIGV4_DATE_LENGTH = 8      /* the YYYYMMDD at a timestamp's head */
};

struct dlk_sigv4_credentials {
    const char *access_key_id, *secret_access_key;
    const char *session_token; /* NULL or "": none */
    uint64_t serial;           /* not 0: it stands for these, with this signer, and for no others */
};

struct dlk_sigv4_header {
    const char *name, *value;
};

struct dlk_sigv4_request {
    const char *method;
    const char *path;  /* starts with '/'; "" is taken for "/" */
    const char *query; /* without the '?'; NULL or "": none */
    const struct dlk_sigv4_header
        *headers; /* in the order in which they are sent; host must be among them */
    size_t header_count;
    const void *body; /* may be NULL if body_length is 0 */
    size_t body_length;
    /* S3 wants both of these, other services neither. */
    bool keep_segments; /* leave empty, "." and ".." segments of the path as they are */
    bool keep_encoding; /* take the path as encoded already: do not encode it again */
};

struct dlk_sigv4_signature {
    char timestamp[DLK_SIGV4_TIMESTAMP_SIZE]; /* the x-amz-date header to send */
    char *authorization;                      /* the Authorization header's value */
};

/*
 * Fetched algorithms and the last few signing keys. Any number of threads may sign with one signer
 * at once.
 */
typedef struct dlk_sigv4_signer dlk_sigv4_signer;

int dlk_sigv4_signer_new(dlk_sigv4_signer **signer);
void dlk_sigv4_signer_free(dlk_sigv4_signer *signer); /* wipes the keys; takes NULL */

/*
 * Signs the request and all its headers but those that proxies and clients change on the way.
 * x-amz-date, and x-amz-security-token if the credentials have a token, are signed too and must be
 * sent; when they are among the headers already, they must say the same. An x-amz-content-sha256
 * header stands for the hash of the body. `*out` is set on success only; dlk_sigv4_signature_free
 * frees what it holds.
 *
 * EINPUT: a NULL that must not be one; no host, or one of the headers named in this file twice; a
 * time before 1970 or after 9999; a method or header name that is no HTTP token; an access key id,
 * region or service that is empty or has other than visible ASCII characters, '/' or ','; a token
 * with other than visible ASCII characters; an empty secret; a path that does not start with '/'; a
 * '?' or '#' in the path, a '#' in the query, a control character in either. In a signed header's value tabs
 * are white space, as is a line end with a space or tab after it (a folded line); any other control
 * character would end the header or the message early and is refused.
 */
int dlk_sigv4_sign(dlk_sigv4_signer *signer, const struct dlk_sigv4_request *request,
                   const struct dlk_sigv4_credentials *credentials, const char *region,
                   const char *service, int64_t unix_time, struct dlk_sigv4_signature *out);
void dlk_sigv4_signature_free(
    struct dlk_sigv4_signature *signature); /* takes NULL; may be called twice */

/*
 * A growing text: starts as {0}; once something has been appended it ends in a NUL that `length`
 * does not count. It keeps its first error in `status`, which later appends return.
 */
struct dlk_sigv4_text {
    char *data;
    size_t length, capacity;
    int status;
    bool is_lent; /* data was set to some room of the caller's, and is not to be freed */
};

int dlk_sigv4_append(struct dlk_sigv4_text *text, const char *bytes, size_t length);
int dlk_sigv4_append_string(struct dlk_sigv4_text *text, const char *string);
int dlk_sigv4_fail(struct dlk_sigv4_text *text, int status); /* returns the first error */
void dlk_sigv4_text_free(struct dlk_sigv4_text *text);       /* wipes: there may be a token in it */

/* The hot path of signing. */
static inline int dlk_sigv4_append_char(struct dlk_sigv4_text *text, char c)
{
    if (text->status != DLK_SIGV4_OK || text->length + 2 > text->capacity) {
        return dlk_sigv4_append(text, &c, 1);
    }
    text->data[text->length++] = c;
    text->data[text->length] = '\0';
    return DLK_SIGV4_OK;
}

/*
 * The stages of signing. Each appends to a text, takes the same input as dlk_sigv4_sign and returns
 * the same codes.
 */
int dlk_sigv4_format_time(int64_t unix_time, char out[DLK_SIGV4_TIMESTAMP_SIZE]);
int dlk_sigv4_append_path(struct dlk_sigv4_text *out, const struct dlk_sigv4_request *request);
int dlk_sigv4_append_query(struct dlk_sigv4_text *out, const char *query);

/* `lines` gets a line for each signed header, `names` the names between semicolons. */
int dlk_sigv4_append_headers(struct dlk_sigv4_text *lines, struct dlk_sigv4_text *names,
                             const struct dlk_sigv4_request *request, const char *session_token,
                             const char *timestamp);

/* A header's value with its white space trimmed and folded. */
int dlk_sigv4_append_value(struct dlk_sigv4_text *out, const char *value);

/* The value of the last header of that name and the number of them. */
const char *dlk_sigv4_find_header(const struct dlk_sigv4_request *request, const char *name,
                                  size_t *count);

/* For names of files, nothing that must be safe. */
int dlk_sha1_hex(const char *text, char hex[DLK_SHA1_HEX_SIZE]);

bool dlk_sigv4_is_token(const char *s);      /* a method's or header's name */
bool dlk_sigv4_is_scope_part(const char *s); /* an access key id, region or service */

/* `names` gets the names of the signed headers, as in the canonical request. */
int dlk_sigv4_canonical_request(dlk_sigv4_signer *signer, struct dlk_sigv4_text *out,
                                struct dlk_sigv4_text *names,
                                const struct dlk_sigv4_request *request, const char *session_token,
                                const char *timestamp);
int dlk_sigv4_append_scope(struct dlk_sigv4_text *out, const char *timestamp, const char *region,
                           const char *service);
int dlk_sigv4_string_to_sign(dlk_sigv4_signer *signer, struct dlk_sigv4_text *out,
                             const struct dlk_sigv4_text *canonical, const char *timestamp,
                             const char *region, const char *service);

/* The signing key, cached or derived. Secret: wipe it after use. */
int dlk_sigv4_signing_key(dlk_sigv4_signer *signer, const struct dlk_sigv4_credentials *credentials,
                          const char *timestamp, const char *region, const char *service,
                          unsigned char key[DLK_SIGV4_HASH_SIZE]);

#endif
