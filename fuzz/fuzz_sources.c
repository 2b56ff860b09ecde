/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every source of credentials, found out as dynalock_open does and then fetched from, with all that it meets: requests
 * are checked as they are made, what it hands out must have been given to it, and no secret may stand in what it says.
 * An input: six bytes of knobs; then up to a byte 0xFF each: the environment (lines), the configuration file, the file
 * of a token; and then the answers: the kind of each (a byte), a header, up to 0xFF, and a body, up to 0xFF.
 */
/* wrap: dlk_system_clock dlk_wait_readable dlk_random_below dlk_read_file */
/* wrap: dlk_fetch_process dlk_fetch_role dlk_fetch_web_identity dlk_fetch_sso dlk_fetch_container dlk_fetch_imds */
/* wrap: posix_spawnp posix_spawn_file_actions_adddup2 waitid waitpid kill */
#include "errand_time.h"
#include "fake_child.h"
#include "memory_http.h"
#include "message.h"
#include "slow_signer.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LETTERS_AND_DIGITS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

enum { VARIABLES = 24, SECRETS = 40, FETCHES = 3 };
enum {
    MOST_OF_ONE = 24,
    MOST_PROFILES = 9
}; /* requests: a token twice, two documents, each tried three times */

/* The kinds of answers, by the low four bits of their byte: '0' is a 200. */
static const int statuses[16] = {200, 400, 401, 403, 404, 429, 500, 503,
                                 302, 204, 0,   0,   0,   0,   299, 200};

static struct {
    struct fuzz_input input;
    const uint8_t *data;
    size_t size;
    size_t told; /* of the data: what is not an answer */
    unsigned now_s_ahead, timeout_knob, cancel_at, rounds, gap, options;

    atomic_bool cancelled;
    unsigned requests, fetch_requests;
    int64_t deadline_us;
    char *body; /* of the last answer */
    size_t body_length;
    char last_request[1200]; /* method and URL */
    unsigned attempts;       /* of it, one after another */
    char *token;             /* of instance metadata, as given last */
    int64_t token_until_us;
    bool token_refused;
    /* What is being fetched from; NULL: the region, of instance metadata. */
    const struct dlk_source *source;
    const struct dlk_credentials *base;
    const struct dlk_fetch *how;

    char *secrets[SECRETS]; /* that the library has sent, or was to send */
    size_t secret_count;
    char *handed[3]; /* by the callback */
    int64_t handed_ms;
} world;

static int file_fd = -1, config_fd = -1;
static dlk_sigv4_signer *signer;

/* ---- Secrets ---- */

static void keep_secret(const char *secret)
{
    if (secret != NULL && strlen(secret) >= 16 && world.secret_count < SECRETS) {
        world.secrets[world.secret_count] = strdup(secret);
        fuzz_check(world.secrets[world.secret_count++] != NULL);
    }
}

static size_t times_in(const uint8_t *data, size_t size, const char *text)
{
    size_t count = 0, length = strlen(text);
    const uint8_t *at = data;
    while ((at = memmem(at, size - (size_t)(at - data), text, length)) != NULL) {
        count++;
        at++;
    }
    return count;
}

/* What begins a secret may stand in a message for another reason: where it stands elsewhere in what is configured. */
static void check_untold(const char *message)
{
    for (size_t i = 0; i < world.secret_count; i++) {
        char start[17];
        (void)snprintf(start, sizeof start, "%s", world.secrets[i]);
        fuzz_check(strstr(message, start) == NULL || times_in(world.data, world.told, start) != 1);
    }
}

/* The texts of an answer that are secret by their names; no message may have them if they stand there once. */
static void check_answer_untold(const char *message)
{
    static const char *const names[] = {"SecretAccessKey", "secretAccessKey", "SessionToken",
                                        "sessionToken", "Token"};
    static const char *const behind[] = {"\":\"", "\" : \"", ">"};
    bool is_xml = world.body != NULL && strncmp(world.body, "<", 1) == 0;
    for (size_t i = 0; i < 15 && world.body != NULL; i++) {
        char start[32];
        if ((i % 3 == 2) != is_xml) { /* XML in a text of JSON is no more than that */
            continue;
        }
        (void)snprintf(start, sizeof start, "%s%s", names[i / 3], behind[i % 3]);
        const char *at = strstr(world.body, start);
        (void)snprintf(start, 17, "%s", at == NULL ? "" : at + strlen(start));
        if (strlen(start) == 16 && strspn(start, LETTERS_AND_DIGITS) >= 12) {
            fuzz_check(strstr(message, start) == NULL ||
                       times_in(world.data, world.size, start) != 1);
        }
    }
}

static void check_error(const dynalock_error *error, int code)
{
    message_check(error, code);
    check_untold(error->message);
    check_answer_untold(error->message);
}

/* ---- Requests ---- */

static const char *header_of(const struct dlk_http_request *request, const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < DLK_HTTP_HEADERS && request->headers[i] != NULL; i++) {
        if (strncmp(request->headers[i], name, length) == 0 &&
            strncmp(request->headers[i] + length, ": ", 2) == 0) {
            return request->headers[i] + length + 2;
        }
    }
    return NULL;
}

static void check_signed(const struct dlk_http_request *request)
{
    const struct dlk_sigv4_header headers[] = {{"content-type", header_of(request, "Content-Type")},
                                               {"host", header_of(request, "Host")}};
    const struct dlk_sigv4_request to_sign = {.method = "POST",
                                              .path = strchr(strstr(request->url, "://") + 3, '/'),
                                              .headers = headers,
                                              .header_count = 2,
                                              .body = request->body,
                                              .body_length = request->body_length};
    const struct dlk_sigv4_credentials credentials = {
        world.base->access_key_id, world.base->secret_access_key, world.base->session_token, 0};
    const char *token = header_of(request, "X-Amz-Security-Token");
    const char *date = header_of(request, "X-Amz-Date"),
               *authorization = header_of(request, "Authorization");
    struct slow_signature slow;
    slow_sign(&to_sign, &credentials, world.source->region, "sts", world.how->now_s, &slow);
    fuzz_check(slow.verdict == 0);
    fuzz_check(authorization != NULL && strcmp(authorization, slow.authorization) == 0);
    fuzz_check(date != NULL && strcmp(date, slow.timestamp) == 0);
    fuzz_check((token == NULL) == (world.base->session_token == NULL));
    fuzz_check(token == NULL || strcmp(token, world.base->session_token) == 0);
    fuzz_check(
        strncmp(strstr(request->url, "://") + 3, headers[1].value, strlen(headers[1].value)) == 0);
    slow_signature_free(&slow);
}

static void check_form(const struct dlk_http_request *request)
{
    fuzz_check(strcmp(header_of(request, "Content-Type"),
                      "application/x-www-form-urlencoded; charset=utf-8") == 0);
    fuzz_check(strlen(request->body) == request->body_length);
    fuzz_check(strspn(request->body, LETTERS_AND_DIGITS "-._~%&=") == request->body_length);
    fuzz_check(strncmp(request->body, "Action=AssumeRole", 17) == 0);
    fuzz_check(strstr(request->body, "&Version=2011-06-15&RoleArn=") != NULL);
    fuzz_check(strstr(request->body, "&RoleSessionName=") != NULL);
}

/* Of instance metadata: a token first, then what is asked with it. */
static void check_imds(const struct dlk_http_request *request)
{
    const char *token = header_of(request, "X-aws-ec2-metadata-token");
    fuzz_check(request->direct && strstr(request->url, "/latest/") != NULL);
    if (strcmp(request->method, "PUT") == 0) {
        const char *end = request->url + strlen(request->url) - strlen("/latest/api/token");
        fuzz_check(end > request->url && strcmp(end, "/latest/api/token") == 0);
        fuzz_check(strcmp(header_of(request, "X-aws-ec2-metadata-token-ttl-seconds"), "21600") ==
                   0);
        fuzz_check(request->wanted != NULL && token == NULL);
        free(world.token);
        world.token = NULL;
        world.token_refused = false;
    } else {
        fuzz_check(strcmp(request->method, "GET") == 0 &&
                   strstr(request->url, "/latest/meta-data/") != NULL);
        fuzz_check(token != NULL && world.token != NULL && strcmp(token, world.token) == 0);
        fuzz_check(!world.token_refused);
        fuzz_check(world.attempts > 1 || errand_time_us <= world.token_until_us);
    }
}

/* Without the scheme before it, "Bearer". */
static const char *authorization_token(const char *authorization)
{
    const char *space = strrchr(authorization, ' ');
    return space == NULL ? authorization : space + 1;
}

/* It stands in the file, and has not expired. */
static void check_login(const char *token)
{
    char text[16384], *read = NULL;
    ssize_t length = pread(file_fd, text, sizeof text, 0);
    int64_t expires_s = 0;
    fuzz_check(length > 0);
    fuzz_check(dlk_json_sso_token(text, (size_t)length, &read, &expires_s, NULL) == 0);
    fuzz_check(strcmp(read, token) == 0 && expires_s > world.how->now_s);
    dlk_wipe(read);
}

static void check_attempts(const struct dlk_http_request *request)
{
    char this_request[sizeof world.last_request];
    (void)snprintf(this_request, sizeof this_request, "%s %s", request->method, request->url);
    world.attempts = strcmp(this_request, world.last_request) == 0 ? world.attempts + 1 : 1;
    fuzz_check(world.attempts <= DLK_ERRAND_ATTEMPTS);
    memcpy(world.last_request, this_request, sizeof this_request);
}

static void check_request(const struct dlk_http_request *request)
{
    int kind = world.source == NULL ? DLK_SOURCE_IMDS : (int)world.source->kind;
    const char *authorization = header_of(request, "Authorization");
    fuzz_check(world.source == NULL ||
               strncmp(request->url, world.source->url, strlen(world.source->url)) == 0);
    if (kind == DLK_SOURCE_IMDS) {
        check_imds(request);
    } else if (kind == DLK_SOURCE_CONTAINER) {
        fuzz_check(request->direct && request->guarded && strcmp(request->method, "GET") == 0);
        keep_secret(authorization);
        keep_secret(authorization == NULL ? NULL : authorization_token(authorization));
    } else if (kind == DLK_SOURCE_SSO) {
        const char *token = header_of(request, "x-amz-sso_bearer_token");
        fuzz_check(strcmp(request->method, "GET") == 0 && token != NULL && *token != '\0');
        fuzz_check(strstr(request->url, "/federation/credentials?role_name=") != NULL);
        fuzz_check(strstr(request->url, "&account_id=") != NULL);
        check_login(token);
        keep_secret(token);
    } else {
        fuzz_check(kind == DLK_SOURCE_ROLE || kind == DLK_SOURCE_WEB_IDENTITY);
        fuzz_check(strcmp(request->method, "POST") == 0 && !request->direct);
        check_form(request);
        fuzz_check((kind == DLK_SOURCE_ROLE) == (authorization != NULL));
        if (kind == DLK_SOURCE_ROLE) {
            check_signed(request);
        }
    }
}

/* ---- Answers ---- */

static int fail_request(unsigned kind, const struct dlk_http_request *request,
                        dynalock_error *error)
{
    static const int codes[] = {DYNALOCK_ERR_NETWORK, DYNALOCK_ERR_TIMEOUT, DYNALOCK_ERR_TLS,
                                DYNALOCK_ERR_BAD_RESPONSE};
    int code = codes[kind % 4];
    errand_time_us += code == DYNALOCK_ERR_TIMEOUT
                          ? (request->timeout_ms > 0 ? request->timeout_ms : 1) * 1000
                          : 0;
    return dlk_fail(error, code, "it failed");
}

static unsigned take_answer(char **header)
{
    unsigned kind = world.input.left > 0 ? fuzz_byte(&world.input) & 15U : 10;
    *header = fuzz_text(&world.input, NULL);
    free(world.body);
    world.body = fuzz_text(&world.input, &world.body_length);
    return kind;
}

static int answer(const struct dlk_http_request *request, struct dlk_http_answer *made,
                  dynalock_error *error)
{
    char *header;
    int64_t left_ms = (world.deadline_us - errand_time_us) / 1000;
    world.requests++;
    world.fetch_requests++;
    fuzz_check(!atomic_load(&world.cancelled));
    fuzz_check(request->timeout_ms <= 5000 && request->timeout_ms <= (left_ms > 0 ? left_ms : 0));
    check_attempts(request);
    check_request(request);
    int64_t asked_us = errand_time_us;
    unsigned kind = take_answer(&header);
    if (world.cancel_at == world.requests && world.how != NULL && world.how->cancelled != NULL) {
        atomic_store(&world.cancelled, true);
    }
    errand_time_us += request->timeout_ms >= 3 ? 3000 : 0;
    made->status = statuses[kind];
    if (request->wanted != NULL && strlen(header) < sizeof made->header && made->status != 0) {
        (void)snprintf(made->header, sizeof made->header, "%s", header);
    }
    free(header);
    if (made->status == 0) {
        return fail_request(kind, request, error);
    }
    if (strcmp(request->method, "PUT") == 0) {
        long ttl_s = strtol(made->header, NULL, 10);
        free(world.token);
        world.token = strdup(world.body);
        world.token_until_us = asked_us + (ttl_s > 0 && ttl_s <= 21600 ? ttl_s : 21600) * 1000000;
    }
    world.token_refused = made->status == 401;
    if (world.body_length > 0) {
        fuzz_check(dlk_sigv4_append(&made->body, world.body, world.body_length) == DLK_SIGV4_OK);
    }
    return 0;
}

static int give(dynalock_credentials *credentials, void *context)
{
    char *header;
    unsigned kind = take_answer(&header);
    (void)context;
    fuzz_check(dlk_in_callback());
    if (statuses[kind] != 200) {
        free(header);
        return kind % 3 == 0   ? DYNALOCK_ERR_NETWORK
               : kind % 3 == 1 ? DYNALOCK_ERR_CREDENTIALS
                               : (int)kind;
    }
    credentials->expires_ms = world.handed_ms = strtoll(header, NULL, 10);
    char *parts = world.body;
    for (size_t i = 0; i < 3; i++) {
        size_t length = strcspn(parts, "\n");
        free(world.handed[i]);
        world.handed[i] = strndup(parts, length);
        parts += length + (parts[length] != '\0');
    }
    credentials->access_key_id = world.handed[0];
    credentials->secret_access_key = world.handed[1];
    credentials->session_token = *world.handed[2] != '\0' ? world.handed[2] : NULL;
    keep_secret(world.handed[1]);
    keep_secret(world.handed[2]);
    free(header);
    return 0;
}

static void pass(void)
{
    if (!fake_child_is_gone()) {
        fake_child_tick();
        if (world.cancel_at == 200) {
            atomic_store(&world.cancelled, true);
        }
    }
}

static void set_child(const struct dlk_source *source)
{
    static const struct fake_child children[16] = {
        [0] = {.ticks = 1},
        [1] = {.status = 1 << 8, .ticks = 2},
        [2] = {.status = 127 << 8},
        [3] = {.status = SIGSEGV},
        [4] = {.spawn_error = ENOENT},
        [5] = {.spawn_error = EACCES},
        [6] = {.ticks = -1},
        [7] = {.ticks = -1, .babbles = true},
        [8] = {.spawn_error = ENOMEM},
        [9] = {.ticks = 3},
        [10] = {.ticks = 2, .is_orphan = true},
        [11] = {.ticks = 4, .babbles = true, .is_orphan = true},
        [15] = {.ticks = 20}};
    char *header;
    unsigned kind = take_answer(&header);
    struct fake_child child = children[kind];
    child.output = world.body;
    child.length = world.body_length < 60000 ? world.body_length : 60000;
    fake_child_set(&child, source->command);
    free(header);
}

/* ---- In the place of the library's own ---- */

int __real_dlk_read_file(const char *path, size_t max, struct dlk_sigv4_text *text,
                         dynalock_error *error);
int __wrap_dlk_read_file(const char *path, size_t max, struct dlk_sigv4_text *text,
                         dynalock_error *error);

/* There is one file, whatever its name. */
int __wrap_dlk_read_file(const char *path, size_t max, struct dlk_sigv4_text *text,
                         dynalock_error *error)
{
    char own[48];
    fuzz_check(path != NULL && *path != '\0');
    (void)snprintf(own, sizeof own, "/proc/self/fd/%d", file_fd);
    int code = __real_dlk_read_file(own, max, text, error);
    keep_secret(code == 0 ? text->data : NULL);
    return code;
}

#define FETCH(name, parameters, arguments)               \
    int __real_dlk_fetch_##name parameters;              \
    int __wrap_dlk_fetch_##name parameters;              \
    int __wrap_dlk_fetch_##name parameters               \
    {                                                    \
        world.source = source;                           \
        world.fetch_requests = world.attempts = 0;       \
        prepare_##name;                                  \
        int code = __real_dlk_fetch_##name arguments;    \
        fuzz_check(world.fetch_requests <= MOST_OF_ONE); \
        fuzz_check(fake_child_is_gone());                \
        return code;                                     \
    }
#define prepare_process set_child(source)
#define prepare_role                      \
    world.base = base;                    \
    keep_secret(base->secret_access_key); \
    keep_secret(base->session_token)
#define prepare_web_identity (void)0
#define prepare_sso (void)0
#define prepare_container keep_secret(source->token)
#define prepare_imds (void)0

FETCH(process,
      (const struct dlk_source *source, const struct dlk_errand *errand, struct dlk_found *found,
       dynalock_error *error),
      (source, errand, found, error))
FETCH(role,
      (const struct dlk_source *source, const struct dlk_credentials *base,
       const struct dlk_errand *errand, struct dlk_found *found, dynalock_error *error),
      (source, base, errand, found, error))
FETCH(web_identity,
      (const struct dlk_source *source, const struct dlk_errand *errand, struct dlk_found *found,
       dynalock_error *error),
      (source, errand, found, error))
FETCH(sso,
      (const struct dlk_source *source, const struct dlk_errand *errand, struct dlk_found *found,
       dynalock_error *error),
      (source, errand, found, error))
FETCH(container,
      (const struct dlk_source *source, const struct dlk_errand *errand, struct dlk_found *found,
       dynalock_error *error),
      (source, errand, found, error))
FETCH(imds,
      (struct dlk_source * source, const struct dlk_errand *errand, struct dlk_found *found,
       dynalock_error *error),
      (source, errand, found, error))

/* ---- What is configured ---- */

static void set_file(int *fd, const char *text, size_t length)
{
    if (*fd < 0) {
        *fd = memfd_create("fuzz", MFD_CLOEXEC);
    }
    fuzz_check(*fd >= 0 && ftruncate(*fd, 0) == 0 &&
               pwrite(*fd, text, length, 0) == (ssize_t)length);
}

/* The lines, behind what is always there. */
static void set_environment(char *lines, char *variables[VARIABLES + 4], char config[64])
{
    static char credentials[] = "AWS_SHARED_CREDENTIALS_FILE=/dev/null/none",
                home[] = "HOME=/nowhere/else";
    size_t count = 0;
    (void)snprintf(config, 64, "AWS_CONFIG_FILE=/proc/self/fd/%d", config_fd);
    variables[count++] = config;
    variables[count++] = credentials;
    variables[count++] = home;
    for (char *rest = NULL, *line = strtok_r(lines, "\n", &rest);
         line != NULL && count < VARIABLES + 3; line = strtok_r(NULL, "\n", &rest)) {
        if (strchr(line, '=') != NULL) {
            variables[count++] = line;
        }
    }
    variables[count] = NULL;
}

/* ---- Fetching ---- */

/* What was handed out was handed in, unless it was written with escapes. */
static void check_given(const char *text)
{
    static const char escapes[] = {'\\', '&'};
    for (size_t i = 0; i < sizeof escapes; i++) {
        if (memchr(world.data, escapes[i], world.size) != NULL) {
            return;
        }
    }
    fuzz_check(text == NULL || memmem(world.data, world.size, text, strlen(text)) != NULL);
}

static bool is_visible(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text < '!' || *text > '~') {
            return false;
        }
    }
    return true;
}

static void check_made(const struct dlk_credentials *made, const struct dlk_chain *chain,
                       const struct dlk_fetch *how)
{
    bool is_imds = strcmp(made->source, "instance metadata") == 0;
    fuzz_check(strcmp(made->source, dlk_chain_name(chain)) == 0);
    fuzz_check(*made->access_key_id != '\0' && is_visible(made->access_key_id));
    fuzz_check(*made->secret_access_key != '\0' && is_visible(made->secret_access_key));
    fuzz_check(made->session_token == NULL ||
               (*made->session_token != '\0' && is_visible(made->session_token)));
    fuzz_check(made->stable == is_imds);
    if ((world.options & 4) != 0) { /* of the callback */
        fuzz_check(made->expires_s == world.handed_ms / 1000 ||
                   (made->expires_s == 0 && world.handed_ms / 1000 > 253402300799));
        fuzz_check(made->expires_s != 0 || world.handed_ms == 0 ||
                   world.handed_ms > how->now_s * 1000);
    }
    fuzz_check(made->expires_s == 0 || made->stable || made->expires_s > how->now_s);
    check_given(made->access_key_id);
    check_given(made->secret_access_key);
    check_given(made->session_token);
}

static void fetch(struct dlk_chain *chain)
{
    static const int64_t timeouts[] = {30000, 10000, 1000, 60, 0, 120000};
    struct dlk_fetch how = {.now_s = 1900000000 + (int64_t)world.now_s_ahead * 1000000,
                            .timeout_ms = timeouts[world.timeout_knob % 6],
                            .cancelled = &world.cancelled,
                            .signer = signer};
    struct dlk_credentials *const none = (void *)&world, *made = none;
    dynalock_error error = {0};
    int64_t start_us = errand_time_us;
    unsigned before = world.requests;
    world.how = &how;
    world.deadline_us = start_us + how.timeout_ms * 1000;
    int code = dlk_chain_fetch(chain, &how, &made, (world.options & 16) != 0 ? NULL : &error);
    fuzz_check(code == 0 || code == DYNALOCK_ERR_CREDENTIALS ||
               (code == DYNALOCK_ERR_CLOSED && atomic_load(&world.cancelled)));
    fuzz_check(world.requests - before <= MOST_OF_ONE + 3 * MOST_PROFILES);
    fuzz_check(errand_time_us - start_us <= how.timeout_ms * 1000 + 200000);
    if (code == 0) {
        check_made(made, chain, &how);
        dlk_credentials_unref(made);
    } else {
        fuzz_check(made == none);
        if ((world.options & 16) == 0) {
            check_error(&error, code);
            fuzz_check(code != DYNALOCK_ERR_CREDENTIALS ||
                       strncmp(error.message, "no credentials: ", 16) == 0);
        }
    }
    world.how = NULL;
}

static int ask_region(struct dlk_config *config, const struct dlk_profiles *profiles,
                      dynalock_error *error)
{
    const struct dlk_fetch how = {.timeout_ms = 2000};
    char region[DLK_REGION_SIZE] = "unset";
    int64_t start_us = errand_time_us;
    world.source = NULL;
    world.attempts = 0;
    world.deadline_us = start_us + 2000000;
    int code = dlk_imds_region(&how, profiles, config->profile, region, sizeof region, error);
    fuzz_check(code == 0 || code == DYNALOCK_ERR_CONFIG);
    fuzz_check(errand_time_us - start_us <= 2200000 && world.requests <= MOST_OF_ONE);
    if (code != 0) {
        check_error(error, code);
        fuzz_check(strcmp(region, "unset") == 0);
        dlk_config_free(config);
        return code;
    }
    fuzz_check(*region != '\0' && strspn(region, LETTERS_AND_DIGITS "-") == strlen(region));
    return dlk_config_set_region(config, profiles, region, error);
}

/* As dynalock_open does. */
static int open_chain(struct dlk_chain **chain, const struct dlk_profiles *profiles,
                      struct dlk_config *config, dynalock_error *error)
{
    dynalock_options options = {0};
    options.region = (world.options & 1) != 0 ? "eu-west-1" : NULL;
    options.profile = (world.options & 2) != 0 ? "dev" : NULL;
    options.credentials = (world.options & 4) != 0 ? give : NULL;
    int code = dlk_config_read(config, &options, profiles, error);
    if (code == 0 && config->lacks_region) {
        code = ask_region(config, profiles, error);
    }
    if (code == 0) {
        unsigned requests = world.requests, starts = fake_child_starts();
        code = dlk_chain_new(chain, &options, config, profiles, config->profile, error);
        fuzz_check(world.requests == requests && fake_child_starts() == starts);
    }
    return code;
}

static void run(void)
{
    struct dlk_profiles *profiles = NULL;
    struct dlk_config config = {0};
    struct dlk_chain *chain = NULL;
    dynalock_error error = {0};
    int code = dlk_profiles_read(&profiles, &error);
    code = code == 0 ? open_chain(&chain, profiles, &config, &error) : code;
    dlk_profiles_free(profiles);
    if (code != 0) {
        fuzz_check(code == DYNALOCK_ERR_CREDENTIALS || code == DYNALOCK_ERR_CONFIG);
        fuzz_check(chain == NULL);
        check_error(&error, code);
    } else {
        dlk_config_free(&config); /* the chain holds copies */
        fuzz_check(*dlk_chain_name(chain) != '\0' && message_is_clean(dlk_chain_name(chain)));
        for (unsigned i = 0; i <= world.rounds % FETCHES; i++) {
            fetch(chain);
            errand_time_us += (int64_t)world.gap * world.gap * world.gap * 10000;
        }
        dlk_chain_free(chain);
    }
    dlk_config_free(&config);
}

static void read_world(const uint8_t *data, size_t size, char **environment)
{
    memset(&world, 0, sizeof world);
    world.data = data;
    world.size = size;
    world.input = (struct fuzz_input){data, size};
    world.now_s_ahead = fuzz_byte(&world.input);
    world.timeout_knob = fuzz_byte(&world.input);
    world.cancel_at = fuzz_byte(&world.input);
    world.rounds = fuzz_byte(&world.input);
    world.gap = fuzz_byte(&world.input);
    world.options = fuzz_byte(&world.input);
    *environment = fuzz_text(&world.input, NULL);
    for (int *fd = &config_fd;; fd = &file_fd) {
        size_t length;
        char *text = fuzz_text(&world.input, &length);
        set_file(fd, text, length);
        free(text);
        if (fd == &file_fd) {
            break;
        }
    }
    world.told = size - world.input.left;
}

/* Of descriptors. */
static int lowest_free(void)
{
    int fd = dup(0);
    (void)close(fd);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char **const environment = environ;
    char *lines, *variables[VARIABLES + 4], config[64];
    if (signer == NULL) {
        fuzz_check(dlk_sigv4_signer_new(&signer) == DLK_SIGV4_OK);
    }
    read_world(data, size, &lines);
    int lowest = lowest_free();
    set_environment(lines, variables, config);
    memory_http_answer = answer;
    errand_time_passes = pass;
    errand_time_us = 1000000;
    environ = variables;
    run();
    environ = environment;
    fuzz_check(lowest_free() == lowest);
    for (size_t i = 0; i < world.secret_count; i++) {
        free(world.secrets[i]);
    }
    for (size_t i = 0; i < 3; i++) {
        free(world.handed[i]);
    }
    free(world.body);
    free(world.token);
    free(lines);
    return 0;
}
