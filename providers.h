/* SPDX-License-Identifier: Apache-2.0 */
/* Where credentials come from: the chain, its providers, and what these share. */
#ifndef DYNALOCK_PROVIDERS_H
#define DYNALOCK_PROVIDERS_H

#include "internal.h"

/* ---- http.c: one request, by a connection of its own ------------------------------------------ */

#define DLK_HTTP_HEADERS 6

struct dlk_http_request {
    const char *method; /* "GET", "POST" or "PUT" */
    const char *url;
    const char
        *headers[DLK_HTTP_HEADERS]; /* whole lines, borrowed; those after the last are NULL */
    const char *body;               /* borrowed; NULL: none */
    size_t body_length;
    const char *wanted;  /* the name of the one header of the answer that is asked for; or NULL */
    const char *ca_file; /* NULL: libcurl's own */
    int64_t timeout_ms;
    const atomic_bool *cancelled; /* NULL: never */
    bool direct;                  /* by no proxy */
    bool guarded; /* without TLS only to this host and to the addresses of containers' endpoints */
};

struct dlk_http_answer {
    int status;
    char header[64];            /* the wanted one's value; "": it did not come, or is longer */
    struct dlk_sigv4_text body; /* wiped when freed */
};

/* 0: an answer came, of any status. DYNALOCK_ERR_NETWORK, _TLS, _TIMEOUT, _BAD_RESPONSE, _MEMORY,
 * _CLOSED (cancelled). libcurl must have been initialised. */
int dlk_http(const struct dlk_http_request *request, struct dlk_http_answer *answer,
             dynalock_error *error);
void dlk_http_answer_free(struct dlk_http_answer *answer); /* may be called twice */

/* ---- xml.c: the few elements that are needed of an answer ------------------------------------- */

struct dlk_xml_wanted {
    const char *path; /* "Outer/Inner" */
    struct dlk_sigv4_text text;
    bool found;
};

/* Reads a whole document strictly and takes the text of the elements that are wanted. NULL, or what
 * is wrong with it: it is not well-formed as far as is looked at, has a DTD or a CDATA section, is
 * nested too deep, has a wanted element twice or with elements in it. The texts are to be freed in
 * any case. */
const char *dlk_xml_read(const char *text, size_t length, struct dlk_xml_wanted *wanted,
                         size_t count);

/* ---- json_credentials.c ----------------------------------------------------------------------- */

enum dlk_credentials_form {
    DLK_FORM_PROCESS,   /* "SessionToken"; Version is 1; token and expiration may be absent */
    DLK_FORM_CONTAINER, /* "Token" */
    DLK_FORM_IMDS,      /* the same; Code is "Success" */
    DLK_FORM_SSO        /* in "roleCredentials", in lower case, milliseconds */
};

/* What was read; free wipes it. */
struct dlk_found {
    char *access_key_id, *secret_access_key, *session_token; /* token: NULL: none */
    int64_t expires_s;                                       /* 0: never */
};

void dlk_found_free(struct dlk_found *found);
/* 0; DYNALOCK_ERR_BAD_RESPONSE, with what is wrong in the message; DYNALOCK_ERR_MEMORY. */
int dlk_json_credentials(const char *text, size_t length, enum dlk_credentials_form form,
                         struct dlk_found *found, dynalock_error *error);
/* Of a file in ~/.aws/sso/cache: its access token, to be given to dlk_wipe. */
int dlk_json_sso_token(const char *text, size_t length, char **token, int64_t *expires_s,
                       dynalock_error *error);
/* "Code: message" of an error body, or of what of the two there is; "": it has neither. */
void dlk_json_complaint(const char *text, size_t length, char *to, size_t size);

/* ---- provider.c: what the providers share ----------------------------------------------------- */

/* What the caller of the chain says about one fetch. */
struct dlk_fetch {
    int64_t now_s; /* server time as well as it is known */
    int64_t timeout_ms;
    const atomic_bool *cancelled; /* the store is closing: end soon; NULL: never */
    dlk_sigv4_signer *signer;
    const char *ca_file; /* NULL: libcurl's own */
};

/* The same, while it is under way. */
struct dlk_errand {
    const struct dlk_fetch *how;
    int64_t deadline_us; /* boot clock */
};

void dlk_errand_start(struct dlk_errand *errand, const struct dlk_fetch *how);
bool dlk_errand_cancelled(const struct dlk_errand *errand);
int64_t dlk_errand_left_ms(const struct dlk_errand *errand); /* 0: time is over */
/* False: cancelled, or no time left. */
bool dlk_errand_pause(const struct dlk_errand *errand, int64_t ms);

enum { DLK_ERRAND_ATTEMPTS = 3 };

/* dlk_http, tried again with a pause after what may pass: no answer, 5xx, 429, and what `again`
 * (NULL: nothing) says of an answer. Sets what the errand knows: ca_file, timeout (of an attempt:
 * attempt_ms at the most), cancelled. */
int dlk_errand_http(const struct dlk_errand *errand, struct dlk_http_request *request,
                    int64_t attempt_ms, bool (*again)(const struct dlk_http_answer *answer),
                    struct dlk_http_answer *answer, dynalock_error *error);
/* DYNALOCK_ERR_CREDENTIALS for an answer whose status is not 200: "HTTP status 403", and what the
 * server says, if it is not NULL or "". */
int dlk_errand_refused(const struct dlk_http_answer *answer, const char *words,
                       dynalock_error *error);

/* Makes a provider's failure one of DYNALOCK_ERR_CREDENTIALS, but for _MEMORY and _CLOSED; keeps the
 * message, and whether trying later can help. */
int dlk_provider_fail(int code, dynalock_error *error);

/* The whole file; max bytes at the most. The text is to be freed in any case. */
int dlk_read_file(const char *path, size_t max, struct dlk_sigv4_text *text, dynalock_error *error);

/* ---- The sources, as found out when the store was opened -------------------------------------- */

enum dlk_source_kind {
    DLK_SOURCE_FIXED,
    DLK_SOURCE_CALLBACK,
    DLK_SOURCE_PROCESS,
    DLK_SOURCE_ROLE,
    DLK_SOURCE_WEB_IDENTITY,
    DLK_SOURCE_SSO,
    DLK_SOURCE_CONTAINER,
    DLK_SOURCE_IMDS
};

struct dlk_source {
    enum dlk_source_kind kind;
    char name[96]; /* for people: "profile dev, credential_process" */

    struct dlk_credentials *fixed;    /* FIXED */
    dynalock_credentials_fn callback; /* CALLBACK */
    void *callback_context;
    char *command;           /* PROCESS */
    struct dlk_source *base; /* ROLE: whose credentials ask for it; owned */
    char *role_arn, *role_session_name, *external_id;
    char duration_s[8];          /* ROLE */
    char *token_file;            /* WEB_IDENTITY, CONTAINER, SSO */
    char *token;                 /* CONTAINER; of IMDS: its own, while it lasts */
    int64_t token_until_us;      /* IMDS: boot clock */
    char *url;                   /* of all that speak HTTP */
    char *region;                /* ROLE, WEB_IDENTITY, SSO */
    char *account_id, *sso_role; /* SSO */
    char *profile;               /* SSO: whose */
};

struct dlk_source *dlk_source_new(enum dlk_source_kind kind); /* NULL: no memory */
void dlk_source_free(struct dlk_source *source);              /* wipes; takes NULL */
/* Runs it. 0, DYNALOCK_ERR_CREDENTIALS, _MEMORY, _CLOSED; the message does not name the source. */
int dlk_source_fetch(struct dlk_source *source, const struct dlk_errand *errand,
                     struct dlk_credentials **made, dynalock_error *error);

/* What open knows while it looks for sources. */
struct dlk_setting {
    const struct dlk_config *config;
    const struct dlk_profiles *profiles;
    const char *profile; /* the chosen one */
};

/* Copies text (NULL: leaves it NULL); 0 or DYNALOCK_ERR_MEMORY. */
int dlk_source_set(char **to, const char *text, dynalock_error *error);

/* Each makes a source of what options, environment or profile say: 0; DYNALOCK_ERR_CREDENTIALS or
 * _CONFIG, with a message for people; DYNALOCK_ERR_MEMORY. *source stays NULL where there is nothing
 * of the kind. */
int dlk_source_keys(const char *id, const char *secret, const char *token, const char *name,
                    struct dlk_source **source, dynalock_error *error);
int dlk_source_environment(struct dlk_source **source, dynalock_error *error);
int dlk_source_callback(const dynalock_options *options, struct dlk_source **source,
                        dynalock_error *error);
int dlk_source_container(struct dlk_source **source, dynalock_error *error);
int dlk_source_imds(const struct dlk_setting *setting, struct dlk_source **source,
                    dynalock_error *error);
int dlk_source_web_identity(const struct dlk_setting *setting, struct dlk_source **source,
                            dynalock_error *error);
int dlk_source_web_identity_of(const struct dlk_setting *setting, const char *name,
                               const char *file, const char *role, const char *role_session_name,
                               struct dlk_source **source, dynalock_error *error);
/* STS's endpoint and region (NULL: DynamoDB's), into a source. */
int dlk_source_set_sts(struct dlk_source *made, const struct dlk_setting *setting,
                       const char *region, dynalock_error *error);
/* Of a profile that names SSO. */
int dlk_source_sso(const struct dlk_setting *setting, const char *profile,
                   struct dlk_source **source, dynalock_error *error);
int dlk_source_profile(const struct dlk_setting *setting, struct dlk_source **source,
                       dynalock_error *error);
bool dlk_imds_is_disabled(void);

/* One for each kind but FIXED. */
int dlk_fetch_callback(const struct dlk_source *source, struct dlk_found *found,
                       dynalock_error *error);
int dlk_fetch_process(const struct dlk_source *source, const struct dlk_errand *errand,
                      struct dlk_found *found, dynalock_error *error);
int dlk_fetch_container(const struct dlk_source *source, const struct dlk_errand *errand,
                        struct dlk_found *found, dynalock_error *error);
int dlk_fetch_imds(struct dlk_source *source, const struct dlk_errand *errand,
                   struct dlk_found *found, dynalock_error *error);
int dlk_fetch_role(const struct dlk_source *source, const struct dlk_credentials *base,
                   const struct dlk_errand *errand, struct dlk_found *found, dynalock_error *error);
int dlk_fetch_web_identity(const struct dlk_source *source, const struct dlk_errand *errand,
                           struct dlk_found *found, dynalock_error *error);
int dlk_fetch_sso(const struct dlk_source *source, const struct dlk_errand *errand,
                  struct dlk_found *found, dynalock_error *error);

/* ---- chain.c ---------------------------------------------------------------------------------- */

struct dlk_chain; /* what dynalock_open has found out; holds copies */

/* Sends and starts nothing. The source is settled here, by what is configured: options, environment,
 * profile, web identity, container, instance metadata. One that fails later is not passed over, as
 * credentials of another identity would be used. DYNALOCK_ERR_CREDENTIALS, _CONFIG, _MEMORY. */
int dlk_chain_new(struct dlk_chain **chain, const dynalock_options *options,
                  const struct dlk_config *config, const struct dlk_profiles *profiles,
                  const char *profile_name, dynalock_error *error);
/* Blocks; on any thread, but one at a time. DYNALOCK_ERR_CREDENTIALS, retryable where trying later
 * can help; DYNALOCK_ERR_MEMORY; DYNALOCK_ERR_CLOSED: it was cancelled. */
int dlk_chain_fetch(struct dlk_chain *chain, const struct dlk_fetch *how,
                    struct dlk_credentials **made, dynalock_error *error);
bool dlk_chain_is_fixed(const struct dlk_chain *chain);    /* never to be refreshed */
const char *dlk_chain_name(const struct dlk_chain *chain); /* of the source, for people */
void dlk_chain_free(struct dlk_chain *chain);              /* wipes; takes NULL */

/* The region that the instance is in, of its metadata. DYNALOCK_ERR_CONFIG, _MEMORY, _CLOSED. */
int dlk_imds_region(const struct dlk_fetch *how, const struct dlk_profiles *profiles,
                    const char *profile_name, char *region, size_t size, dynalock_error *error);

#endif
