/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each source of credentials, while one call after another of what the library depends on fails (see support_fail.h):
 * found out, and fetched from. Credentials, or a failure that says so and that does not stay, and nothing left behind.
 */
#include "../providers.h"
#include "fail_system.h"
#include "support.h"
#include "support_environment.h"
#include "support_server.h"

#define NOW INT64_C(1700000000)
#define FAIL_MOST 3000

/* ---- One server for all of them ---- */

#define XML_KEYS                                                                             \
    "<Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s&amp;s</SecretAccessKey>" \
    "<SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
#define JSON_KEYS(token)                                            \
    "\"AccessKeyId\":\"ASIA\",\"SecretAccessKey\":\"s&s\",\"" token \
    "\":\"t\",\"Expiration\":\"2099-01-01T00:00:00Z\"}"

static const struct {
    const char *asked; /* a part of the request */
    const char *body;
} answers[] = {
    {"Action=AssumeRoleWithWebIdentity",
     "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>" XML_KEYS
     "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"},
    {"Action=AssumeRole",
     "<AssumeRoleResponse><AssumeRoleResult>" XML_KEYS "</AssumeRoleResult></AssumeRoleResponse>"},
    {"GET /container", "{" JSON_KEYS("Token")},
    {"PUT /latest/api/token", "token"},
    {"/security-credentials/role", "{\"Code\":\"Success\"," JSON_KEYS("Token")},
    {"/security-credentials/", "role"},
    {"/placement/region", "eu-west-1"},
    {"GET /federation/credentials",
     "{\"roleCredentials\":{\"accessKeyId\":\"ASIA\",\"secretAccessKey\":\"s&s\",\"sessionToken\":"
     "\"t\",\"expiration\":4070908800000}}"},
};

static void serve(const struct server_request *request, struct server_answer *answer, void *context)
{
    (void)context;
    for (size_t i = 0; i < COUNT(answers) && answer->body == NULL; i++) {
        if (strstr(request->head, answers[i].asked) != NULL ||
            strstr(request->body, answers[i].asked) != NULL) {
            answer->body = strdup(answers[i].body);
        }
    }
    answer->status = answer->body != NULL ? 200 : 404;
}

/* ---- The sources ---- */

struct source {
    const char *name;
    const char *profile; /* of ~/.aws/config */
    const char
        *environment[8]; /* names and values in turn; ~ stands for the home, @ for the server */
    const char *session_token; /* that comes; NULL: none */
    dynalock_options options;
};

static int callback(dynalock_credentials *credentials, void *context)
{
    (void)context;
    *credentials = (dynalock_credentials){.access_key_id = "ASIA",
                                          .secret_access_key = "s&s",
                                          .session_token = "t",
                                          .expires_ms = INT64_C(4070908800000)};
    return 0;
}

static const struct source sources[] = {
    {.name = "options",
     .options = {.access_key_id = "ASIA", .secret_access_key = "s&s", .session_token = "t"},
     .session_token = "t"},
    {.name = "callback", .options = {.credentials = callback}, .session_token = "t"},
    {.name = "environment",
     .environment = {"AWS_ACCESS_KEY_ID", "ASIA", "AWS_SECRET_ACCESS_KEY", "s&s",
                     "AWS_SESSION_TOKEN", "t"},
     .session_token = "t"},
    {.name = "profile's keys",
     .profile = "[default]\naws_access_key_id = ASIA\naws_secret_access_key = s&s\n"},
    {.name = "credential_process",
     .profile =
         "[default]\ncredential_process = echo '{\"Version\":1," JSON_KEYS("SessionToken") "'\n",
     .session_token = "t"},
    {.name = "role by credential_process",
     .profile =
         "[default]\nregion = us-east-1\nrole_arn = r\nsource_profile = p\nexternal_id = e\n"
         "[profile p]\ncredential_process = echo '{\"Version\":1," JSON_KEYS("SessionToken") "'\n",
     .environment = {"AWS_ENDPOINT_URL_STS", "@"},
     .session_token = "t"},
    {.name = "web identity",
     .environment = {"AWS_WEB_IDENTITY_TOKEN_FILE", "~/token", "AWS_ROLE_ARN", "r",
                     "AWS_ENDPOINT_URL_STS", "@"},
     .session_token = "t"},
    {.name = "SSO",
     .profile =
         "[default]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = rig\n"
         "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n",
     .environment = {"AWS_ENDPOINT_URL_SSO", "@"},
     .session_token = "t"},
    {.name = "container",
     .environment = {"AWS_CONTAINER_CREDENTIALS_FULL_URI", "@/container",
                     "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "~/token"},
     .session_token = "t"},
    {.name = "instance metadata",
     .environment = {"AWS_EC2_METADATA_SERVICE_ENDPOINT", "@"},
     .session_token = "t"},
};

static void set_world(const struct source *source, const struct server *server)
{
    environment_clear();
    if (source->profile != NULL) {
        home_put(".aws/config", source->profile);
    } else {
        home_drop(".aws/config");
    }
    for (size_t i = 0; i < COUNT(source->environment) && source->environment[i] != NULL; i += 2) {
        char value[600];
        const char *text = source->environment[i + 1];
        (void)snprintf(value, sizeof value, "%s%s",
                       *text == '@'   ? server_endpoint(server)
                       : *text == '~' ? home_path(text + 2)
                                      : text,
                       *text == '@' ? text + 1 : "");
        environment_set(source->environment[i], value);
    }
    environment_set("AWS_REGION", "us-east-1");
}

/* ---- The test ---- */

static int find_out(const struct source *source, struct dlk_chain **chain, dynalock_error *error)
{
    struct dlk_profiles *profiles = NULL;
    struct dlk_config config = {0};
    int code = dlk_profiles_read(&profiles, error);
    if (code == 0) {
        code = dlk_config_read(&config, &source->options, profiles, error);
    }
    if (code == 0) {
        code = dlk_chain_new(chain, &source->options, &config, profiles, "default", error);
    }
    dlk_config_free(&config);
    dlk_profiles_free(profiles);
    return code;
}

/* No more than the code says: what has failed now may be had in a moment. */
static void judge(const char *name, unsigned nth, int code, const dynalock_error *error)
{
    /* jansson takes a want of memory for a mistake in the text; and libcurl does not fail to tell the status. */
    bool misread =
        code == DYNALOCK_ERR_CREDENTIALS &&
        (strncmp(fail_what(), "json", 4) == 0 || strncmp(fail_what(), "jansson", 7) == 0 ||
         strcmp(fail_what(), "curl_easy_getinfo") == 0);
    bool passes =
        misread || code == DYNALOCK_ERR_MEMORY || code == DYNALOCK_ERR_SYSTEM ||
        (code == DYNALOCK_ERR_CREDENTIALS && (error->flags & DYNALOCK_ERROR_RETRYABLE) != 0);
    if (!passes || error->code != code || error->message[0] == '\0') {
        fail_msg("%s, with %s failing as call %u: code %d, \"%s\"", name, fail_what(), nth, code,
                 error->message);
    }
}

static void judge_made(const struct source *source, const struct dlk_credentials *made)
{
    assert_string_equal(made->access_key_id, "ASIA");
    assert_string_equal(made->secret_access_key, "s&s");
    if (source->session_token != NULL) {
        assert_string_equal(made->session_token, source->session_token);
    } else {
        assert_null(made->session_token);
    }
}

/* True: something was made fail. */
static bool fetch_once(const struct source *source, dlk_sigv4_signer *signer, unsigned nth)
{
    struct dlk_chain *chain = NULL;
    struct dlk_credentials *made = NULL;
    struct dlk_fetch how = {.now_s = NOW, .timeout_ms = 10000, .signer = signer};
    dynalock_error error = {0};
    fail_arm(nth, 1);
    int code = find_out(source, &chain, &error);
    assert_int_equal(chain != NULL, code == 0);
    if (code == 0) {
        code = dlk_chain_fetch(chain, &how, &made, &error);
        assert_int_equal(made != NULL, code == 0);
    }
    bool failed = fail_disarm();
    if (code == 0) {
        judge_made(source, made);
    } else {
        assert_true(failed);
        judge(source->name, nth, code, &error);
    }
    if (code != 0 && chain != NULL) { /* and once more, by the same */
        check(dlk_chain_fetch(chain, &how, &made, &failure), 0);
        judge_made(source, made);
    }
    dlk_credentials_unref(made);
    dlk_chain_free(chain);
    return failed;
}

static void test_each_source_gives_credentials_or_says_why_not(void **state)
{
    dlk_sigv4_signer *signer = NULL;
    assert_int_equal(dlk_sigv4_signer_new(&signer), 0);
    for (size_t i = 0; i < COUNT(sources); i++) {
        set_world(&sources[i], *state);
        (void)fetch_once(&sources[i], signer, 0);
        for (unsigned nth = 1; fetch_once(&sources[i], signer, nth); nth++) {
            assert_true(nth < FAIL_MOST);
        }
        assert_true(fail_report(sources[i].name) > 5);
    }
    dlk_sigv4_signer_free(signer);
}

static bool ask_region_once(unsigned nth)
{
    struct dlk_fetch how = {.timeout_ms = 10000};
    struct dlk_profiles *profiles = NULL;
    char region[DLK_REGION_SIZE] = "untouched";
    dynalock_error error = {0};
    fail_arm(nth, 1);
    int code = dlk_profiles_read(&profiles, &error);
    if (code == 0) {
        code = dlk_imds_region(&how, profiles, "default", region, sizeof region, &error);
    }
    bool failed = fail_disarm();
    dlk_profiles_free(profiles);
    if (code == 0) {
        assert_string_equal(region, "eu-west-1");
    } else {
        assert_true(failed);
        assert_string_equal(region, "untouched");
        assert_true(code == DYNALOCK_ERR_MEMORY || code == DYNALOCK_ERR_SYSTEM ||
                    code == DYNALOCK_ERR_CONFIG);
        assert_true(error.message[0] != '\0');
    }
    return failed;
}

static void test_the_region_is_that_of_the_instance_or_none(void **state)
{
    set_world(&sources[COUNT(sources) - 1], *state);
    for (unsigned nth = 1; ask_region_once(nth); nth++) {
        assert_true(nth < FAIL_MOST);
    }
    assert_true(fail_report("instance's region") > 50);
}

static int begin(void **state)
{
    home_make();
    home_put("token", "text");
    home_put(".aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json", /* of "corp" */
             "{\"accessToken\":\"token\",\"expiresAt\":\"2099-01-01T00:00:00Z\"}");
    *state = server_start(serve, NULL);
    return 0;
}

static int end(void **state)
{
    server_end(*state);
    home_drop(".aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json");
    return home_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_source_gives_credentials_or_says_why_not),
        cmocka_unit_test(test_the_region_is_that_of_the_instance_or_none),
    };
    fail_install();
    return cmocka_run_group_tests(tests, begin, end);
}
