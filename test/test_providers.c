/* SPDX-License-Identifier: Apache-2.0 */
/* Providers of credentials against the rig's fakes of the services they ask: what is sent, what is taken, what is
 * refused, and what the failure says. */
#include "../internal.h"
#include "../providers.h"
#include "support.h"
#include "support_environment.h"

#include <curl/curl.h>
#include <time.h>
#include <unistd.h>

#define ROLE "arn:aws:iam::123456789012:role/rig"

struct world {
    struct rig *rig; /* its proxy is the fake */
    char url[64];    /* the fake's, without a slash at the end */
    dlk_sigv4_signer *signer;
    struct dlk_chain *chain;
    int64_t now_s; /* 0: the clock's */
};

static atomic_bool cancelled;

/* ---- Setup ----------------------------------------------------------------------------------- */

static int make_world(void **state)
{
    static struct world world;
    struct world *w = &world;
    if (dlk_sigv4_signer_new(&w->signer) != 0 ||
        curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return -1;
    }
    home_make();
    *state = w;
    return 0;
}

static int end_world(void **state)
{
    struct world *w = *state;
    dlk_sigv4_signer_free(w->signer);
    return home_remove();
}

/* A fake of its own for each test. */
static int new_fake(void **state)
{
    struct world *w = *state;
    environment_clear();
    environment_set("AWS_REGION", RIG_REGION);
    unsetenv("http_proxy");
    atomic_store(&cancelled, false);
    w->now_s = 0;
    home_put(".aws/config", "");
    w->rig = rig_open();
    json_t *made = rig(w->rig, "'cmd':'metadata'");
    w->rig->proxy = (int)json_integer_value(json_object_get(made, "proxy"));
    (void)snprintf(w->url, sizeof w->url, "http://127.0.0.1:%d",
                   (int)json_integer_value(json_object_get(made, "port")));
    json_decref(made);
    return 0;
}

static int end_fake(void **state)
{
    struct world *w = *state;
    int violations = rig_violations(w->rig);
    dlk_chain_free(w->chain);
    w->chain = NULL;
    rig_close(w->rig);
    return violations == 0 ? 0 : -1;
}

/* ---- Fetching -------------------------------------------------------------------------------- */

static void settle(struct world *w)
{
    const dynalock_options options = {0};
    struct dlk_profiles *profiles = NULL;
    struct dlk_config config = {0};
    dlk_chain_free(w->chain);
    w->chain = NULL;
    check(dlk_profiles_read(&profiles, &failure), 0);
    check(dlk_config_read(&config, &options, profiles, &failure), 0);
    check(dlk_chain_new(&w->chain, &options, &config, profiles, dlk_profiles_chosen(&options),
                        &failure),
          0);
    assert_false(dlk_chain_is_fixed(w->chain));
    dlk_config_free(&config);
    dlk_profiles_free(profiles);
}

static struct dlk_fetch how(const struct world *w, int64_t timeout_ms)
{
    return (struct dlk_fetch){.now_s = w->now_s != 0 ? w->now_s : (int64_t)time(NULL),
                              .timeout_ms = timeout_ms,
                              .cancelled = &cancelled,
                              .signer = w->signer};
}

static struct dlk_credentials *fetch(struct world *w)
{
    struct dlk_credentials *made = NULL;
    const struct dlk_fetch with = how(w, 10000);
    if (w->chain == NULL) {
        settle(w);
    }
    check(dlk_chain_fetch(w->chain, &with, &made, &failure), 0);
    assert_memory_equal(made->access_key_id, "ASIA", 4);
    assert_memory_equal(made->secret_access_key, "HUSH", 4);
    assert_memory_equal(made->session_token, "HUSH", 4);
    assert_in_range(made->expires_s, time(NULL) + 3500, time(NULL) + 3610);
    return made;
}

static void works(struct world *w)
{
    dlk_credentials_unref(fetch(w));
}

static void fails_within(struct world *w, int64_t timeout_ms, const char *word, bool retryable)
{
    struct dlk_credentials *made = NULL;
    const struct dlk_fetch with = how(w, timeout_ms);
    if (w->chain == NULL) {
        settle(w);
    }
    check(dlk_chain_fetch(w->chain, &with, &made, &failure), DYNALOCK_ERR_CREDENTIALS);
    assert_null(made);
    assert_contains(failure.message, word);
    assert_null(strstr(failure.message, "HUSH"));
    assert_int_equal(failure.flags, retryable ? DYNALOCK_ERROR_RETRYABLE : 0);
}

static void fails(struct world *w, const char *word, bool retryable)
{
    fails_within(w, 10000, word, retryable);
}

#define FAKE(w, ...) rig_do((w)->rig, "'cmd':'set'," __VA_ARGS__)
#define FAULT(w, ...) rig_fault((w)->rig, __VA_ARGS__)
#define ASKED(w, op) rig_count((w)->rig, (op))

/* The next answer to op (NULL: to whatever) has another body. */
static void next_body(struct world *w, const char *op, int status, const char *body)
{
    json_t *text = json_string(body);
    char *dump = json_dumps(text, JSON_ENCODE_ANY);
    json_decref(text);
    FAULT(w, "'match':{'op':%s%s%s},'action':{'do':'rewrite','status':%d,'body':%s}",
          op != NULL ? "\"" : "", op != NULL ? op : "null", op != NULL ? "\"" : "", status, dump);
    free(dump);
}

/* ---- A container ----------------------------------------------------------------------------- */

static void use_container(struct world *w)
{
    char url[100];
    (void)snprintf(url, sizeof url, "%s/creds", w->url);
    environment_set("AWS_CONTAINER_CREDENTIALS_FULL_URI", url);
}

static void test_a_containers_endpoint_gives_credentials(void **state)
{
    struct world *w = *state;
    use_container(w);
    struct dlk_credentials *made = fetch(w);
    assert_string_equal(made->source, "container endpoint");
    assert_false(made->stable);
    dlk_credentials_unref(made);
    assert_int_equal(ASKED(w, "container"), 1);
}

static void test_a_containers_token_is_sent_as_it_is(void **state)
{
    struct world *w = *state;
    use_container(w);
    environment_set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic HUSH==");
    FAKE(w, "'container':{'path':'/creds','authorization':'Basic HUSH=='}");
    works(w);
}

static void test_a_containers_token_file_comes_first_and_is_read_each_time(void **state)
{
    struct world *w = *state;
    use_container(w);
    environment_set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "another");
    environment_set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", home_path("token"));
    home_put("token", "HUSH-1");
    FAKE(w, "'container':{'path':'/creds','authorization':'HUSH-1'}");
    works(w);
    home_put("token", "HUSH-2");
    FAKE(w, "'container':{'path':'/creds','authorization':'HUSH-2'}");
    works(w);
}

static void test_a_containers_token_that_no_header_can_carry_is_refused(void **state)
{
    static const char *const bad[] = {"HUSH\r\nX: y", "HUSH\n", "HUSH\x01", "\x7f"};
    struct world *w = *state;
    use_container(w);
    environment_set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", home_path("token"));
    for (size_t i = 0; i < COUNT(bad); i++) {
        home_put("token", bad[i]);
        fails(w, "line break", false);
    }
    home_put("token", "");
    fails(w, "is empty", false);
    home_drop("token");
    fails(w, "there is no file", false);
    assert_int_equal(rig_total(w->rig), 0);
}

static void test_a_containers_refusal_is_told_without_the_token(void **state)
{
    struct world *w = *state;
    use_container(w);
    environment_set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "HUSH-and-more-of-it");
    FAKE(w, "'container':{'path':'/creds','authorization':'another'}");
    fails(w, "HTTP status 401, Unauthorized: the token ", false);
    assert_int_equal(ASKED(w, "container"), 1);
}

static void test_a_failing_endpoint_is_asked_three_times(void **state)
{
    struct world *w = *state;
    use_container(w);
    FAULT(w, "'times':2,'action':{'do':'status','status':503,'body':'busy'}");
    works(w);
    assert_int_equal(ASKED(w, "container"), 3);
    FAULT(w, "'times':3,'action':{'do':'status','status':500,'body':'HUSH'}");
    fails(w, "HTTP status 500", true);
    assert_int_equal(ASKED(w, "container"), 6);
    FAULT(w, "'times':2,'action':'drop'");
    works(w);
}

static void test_an_answer_that_is_no_credentials_is_refused(void **state)
{
    static const char *const bad[] = {
        "HUSH", "[]", "", "{\"AccessKeyId\":\"HUSH\"}",
        "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"HUSH\",\"Token\":\"HUSH\"}"};
    struct world *w = *state;
    use_container(w);
    for (size_t i = 0; i < COUNT(bad); i++) {
        next_body(w, NULL, 200, bad[i]);
        fails(w, "container endpoint: ", true);
    }
}

static void test_a_redirection_is_not_followed(void **state)
{
    struct world *w = *state;
    use_container(w);
    FAULT(w, "'action':{'do':'status','status':302,'headers':{'Location':'%s/creds'}}", w->url);
    fails(w, "HTTP status 302", false);
    assert_int_equal(rig_total(w->rig), 1);
}

static void test_an_endless_answer_is_cut_off(void **state)
{
    struct world *w = *state;
    char *large = test_malloc(300001);
    memset(large, 'x', 300000);
    large[300000] = '\0';
    use_container(w);
    FAULT(w, "'action':{'do':'rewrite','body':'%s'}", large);
    fails(w, "the answer is too large", true);
    test_free(large);
}

static void test_a_slow_endpoint_is_given_up(void **state)
{
    struct world *w = *state;
    int64_t from = monotonic_ms();
    use_container(w);
    FAULT(w, "'times':-1,'action':'blackhole'");
    fails_within(w, 700, "container endpoint: ", true);
    assert_in_range(monotonic_ms() - from, 600, 3000);
}

static void *cancel_soon(void *context)
{
    (void)context;
    sleep_ms(200);
    atomic_store(&cancelled, true);
    return NULL;
}

static void test_a_fetch_ends_soon_when_it_is_cancelled(void **state)
{
    struct world *w = *state;
    pthread_t thread;
    struct dlk_credentials *made = NULL;
    const struct dlk_fetch with = how(w, 20000);
    use_container(w);
    settle(w);
    FAULT(w, "'times':-1,'action':'blackhole'");
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, NULL), 0);
    int64_t from = monotonic_ms();
    check(dlk_chain_fetch(w->chain, &with, &made, &failure), DYNALOCK_ERR_CLOSED);
    assert_in_range(monotonic_ms() - from, 100, 1500);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void test_a_foreign_address_is_not_asked_without_tls(void **state)
{
    static const char *const foreign[] = {"http://192.0.2.1/creds", "http://169.254.169.254/creds",
                                          "http://[2001:db8::1]/creds", "http://0x0a000001/creds",
                                          "http://[::ffff:192.0.2.1]/creds"};
    struct world *w = *state;
    for (size_t i = 0; i < COUNT(foreign); i++) {
        environment_set("AWS_CONTAINER_CREDENTIALS_FULL_URI", foreign[i]);
        settle(w);
        fails(w, "without TLS, it is asked only at 127.0.0.0/8", false);
    }
}

static void test_localhost_may_be_asked_without_tls(void **state)
{
    struct world *w = *state;
    char url[100];
    (void)snprintf(url, sizeof url, "http://localhost%s/creds", strrchr(w->url, ':'));
    environment_set("AWS_CONTAINER_CREDENTIALS_FULL_URI", url);
    works(w);
}

static void test_no_proxy_is_used_for_metadata(void **state)
{
    struct world *w = *state;
    environment_set("http_proxy", "http://127.0.0.1:1");
    use_container(w);
    works(w);
    unsetenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    environment_set("AWS_EC2_METADATA_SERVICE_ENDPOINT", w->url);
    settle(w);
    works(w);
}

static void test_expired_credentials_are_refused(void **state)
{
    struct world *w = *state;
    use_container(w);
    w->now_s = (int64_t)time(NULL) + 7200;
    fails(w, "what it gave has expired", false);
}

/* ---- Instance metadata ----------------------------------------------------------------------- */

static void use_instance(struct world *w)
{
    environment_set("AWS_EC2_METADATA_SERVICE_ENDPOINT", w->url);
}

static void test_instance_metadata_gives_credentials(void **state)
{
    struct world *w = *state;
    use_instance(w);
    struct dlk_credentials *made = fetch(w);
    assert_string_equal(made->source, "instance metadata");
    assert_true(made->stable);
    dlk_credentials_unref(made);
    assert_int_equal(ASKED(w, "imds-token"), 1);
    assert_int_equal(ASKED(w, "imds-role"), 1);
    assert_int_equal(ASKED(w, "imds-credentials"), 1);
}

static void test_a_token_of_instance_metadata_is_used_while_it_lasts(void **state)
{
    struct world *w = *state;
    use_instance(w);
    works(w);
    works(w);
    works(w);
    assert_int_equal(ASKED(w, "imds-token"), 1);
}

static void test_what_cannot_be_a_token_of_instance_metadata_is_not_sent_on(void **state)
{
    static const char *const bad[] = {"", "HUSH HUSH", "HUSH\r\nX-Evil: 1", "HUSH\xC3\xA9"};
    struct world *w = *state;
    use_instance(w);
    for (size_t i = 0; i < COUNT(bad); i++) {
        next_body(w, "imds-token", 200, bad[i]);
        fails(w, "what it gives is not a token", true);
    }
    assert_int_equal(ASKED(w, "imds-role"), 0);
}

static void test_a_token_of_instance_metadata_that_ends_is_replaced(void **state)
{
    struct world *w = *state;
    use_instance(w);
    FAKE(w, "'token_ttl_s':2");
    works(w);
    sleep_ms(1100); /* half of its time: not waited for its end */
    works(w);
    assert_int_equal(ASKED(w, "imds-token"), 2);
    FAULT(w, "'match':{'op':'imds-role'},'action':{'do':'status','status':401,'body':''}");
    works(w);
    assert_int_equal(ASKED(w, "imds-token"), 3);
    FAULT(
        w,
        "'match':{'op':'imds-credentials'},'times':2,'action':{'do':'status','status':401,'body':''}");
    fails(w, "HTTP status 401", false);
    works(w); /* the second was refused as well, and is not shown again */
    assert_int_equal(ASKED(w, "imds-token"), 5);
}

static void test_an_instance_without_a_role_says_so(void **state)
{
    struct world *w = *state;
    use_instance(w);
    FAKE(w, "'role':null");
    fails(w, "instance metadata: the instance has no role", false);
}

static void test_instance_metadata_that_is_switched_off_says_so(void **state)
{
    struct world *w = *state;
    use_instance(w);
    FAULT(w, "'times':-1,'action':{'do':'status','status':403,'body':''}");
    fails(w, "it is switched off", false);
    assert_int_equal(rig_total(w->rig), 1);
}

static void test_no_token_is_no_reason_to_ask_without(void **state)
{
    struct world *w = *state;
    use_instance(w);
    FAULT(w,
          "'times':-1,'match':{'op':'imds-token'},'action':{'do':'status','status':404,'body':''}");
    fails(w, "HTTP status 404, for a token", false);
    assert_int_equal(ASKED(w, "imds-role"), 0);
}

static void test_success_with_another_code_is_a_failure(void **state)
{
    struct world *w = *state;
    use_instance(w);
    next_body(w, "imds-credentials", 200,
              "{\"Code\":\"AssumeRoleUnauthorizedAccess\",\"Message\":\"HUSH\"}");
    fails(w, "AssumeRoleUnauthorizedAccess", true);
}

static void test_expired_credentials_of_an_instance_are_taken(void **state)
{
    struct world *w = *state;
    use_instance(w);
    w->now_s = (int64_t)time(NULL) + 7200;
    struct dlk_credentials *made = fetch(w);
    assert_true(made->stable);
    dlk_credentials_unref(made);
}

static void test_odd_names_of_instance_metadata_are_refused(void **state)
{
    static const char *const bad[] = {"", "a b", "../../x", "r?x", "r#x", "r%20", "<html>"};
    struct world *w = *state;
    use_instance(w);
    for (size_t i = 0; i < COUNT(bad); i++) {
        next_body(w, "imds-role", 200, bad[i]);
        fails(w, "is not a name", true);
    }
    next_body(w, "imds-role", 200, "rig-role\nanother");
    works(w);
}

static void test_slow_instance_metadata_is_given_a_second_each_time(void **state)
{
    struct world *w = *state;
    use_instance(w);
    int64_t from = monotonic_ms();
    FAULT(w, "'times':-1,'action':'blackhole'");
    fails(w, "instance metadata: ", true);
    assert_in_range(monotonic_ms() - from, 2900, 6000);
    assert_int_equal(rig_total(w->rig), 3);
}

static void test_the_region_is_that_of_the_instance(void **state)
{
    struct world *w = *state;
    struct dlk_profiles *profiles = NULL;
    char region[DLK_REGION_SIZE] = "untouched";
    const struct dlk_fetch with = how(w, 5000);
    use_instance(w);
    FAKE(w, "'region':'eu-north-1'");
    check(dlk_profiles_read(&profiles, &failure), 0);
    check(dlk_imds_region(&with, profiles, "default", region, sizeof region, &failure), 0);
    assert_string_equal(region, "eu-north-1");
    FAULT(w, "'match':{'op':'imds-region'},'action':{'do':'rewrite','body':'<nowhere>'}");
    check(dlk_imds_region(&with, profiles, "default", region, sizeof region, &failure),
          DYNALOCK_ERR_CONFIG);
    assert_string_equal(region, "eu-north-1");
    environment_set("AWS_EC2_METADATA_DISABLED", "true");
    check(dlk_imds_region(&with, profiles, "default", region, sizeof region, &failure),
          DYNALOCK_ERR_CONFIG);
    dlk_profiles_free(profiles);
}

/* ---- Roles ----------------------------------------------------------------------------------- */

static void use_role(struct world *w, const char *more)
{
    char config[1000];
    (void)snprintf(config, sizeof config,
                   "[default]\nrole_arn = " ROLE "\nsource_profile = base\n%s\n"
                   "[profile base]\naws_access_key_id = " RIG_KEY_ID
                   "\naws_secret_access_key = " RIG_SECRET "\n",
                   more);
    home_put(".aws/config", config);
    environment_set("AWS_ENDPOINT_URL_STS", w->url);
}

static void test_a_role_is_assumed_with_a_signed_request(void **state)
{
    struct world *w = *state;
    use_role(w, "");
    FAKE(w, "'assume':{'RoleArn':'" ROLE "','DurationSeconds':'3600'}");
    struct dlk_credentials *made = fetch(w);
    assert_string_equal(made->source, "profile default, role");
    dlk_credentials_unref(made);
    assert_int_equal(ASKED(w, "AssumeRole"), 1);
}

static void test_a_role_is_assumed_as_the_profile_says(void **state)
{
    struct world *w = *state;
    use_role(
        w,
        "external_id = a b+c/d&e=f%%\xC3\xA4\nrole_session_name = me@here\nduration_seconds = 900");
    FAKE(
        w,
        "'assume':{'ExternalId':'a b+c/d&e=f%%%%\xC3\xA4','RoleSessionName':'me@here','DurationSeconds':'900'}");
    works(w);
}

static void test_a_role_is_assumed_in_the_region_of_its_profile(void **state)
{
    struct world *w = *state;
    use_role(w, "region = eu-west-3");
    FAKE(w, "'region':'eu-west-3'");
    works(w);
}

static void test_a_role_is_assumed_with_credentials_that_have_a_token(void **state)
{
    struct world *w = *state;
    char config[400];
    use_container(w);
    environment_set("AWS_ENDPOINT_URL_STS", w->url);
    (void)snprintf(config, sizeof config,
                   "[default]\nrole_arn = " ROLE "\ncredential_source = EcsContainer\n");
    home_put(".aws/config", config);
    works(w);
    assert_int_equal(ASKED(w, "container"), 1);
    assert_int_equal(ASKED(w, "AssumeRole"), 1);
}

static void test_a_role_is_assumed_through_a_role(void **state)
{
    struct world *w = *state;
    environment_set("AWS_ENDPOINT_URL_STS", w->url);
    home_put(".aws/config", "[default]\nrole_arn = " ROLE "\nsource_profile = b\n"
                            "[profile b]\nrole_arn = " ROLE "-b\nsource_profile = c\n"
                            "[profile c]\naws_access_key_id = " RIG_KEY_ID
                            "\naws_secret_access_key = " RIG_SECRET "\n");
    works(w);
    assert_int_equal(ASKED(w, "AssumeRole"), 2);
    FAKE(w, "'assume':{'RoleArn':'" ROLE "'}");
    fails(w, "profile default, role: profile b, role: HTTP status 403, AccessDenied", false);
}

static void test_what_sts_refuses_is_told_in_its_words(void **state)
{
    struct world *w = *state;
    use_role(w, "");
    FAKE(w, "'assume':{'RoleArn':'another'}");
    fails(w, "HTTP status 403, AccessDenied: User is not authorized to perform: sts:AssumeRole",
          false);
    FAKE(w, "'assume':{},'secrets':{'" RIG_KEY_ID "':'another'}");
    fails(w, "InvalidSignatureException", false);
    FAKE(w, "'secrets':{'other':'x'}");
    fails(w, "UnrecognizedClientException", false);
    assert_int_equal(ASKED(w, "AssumeRole"), 3);
}

static void test_what_sts_says_of_a_signature_is_cut(void **state)
{
    struct world *w = *state;
    use_role(w, "");
    next_body(
        w, NULL, 403,
        "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>No match. The Canonical "
        "String for this was HUSH</Message></Error></ErrorResponse>");
    fails(w, "SignatureDoesNotMatch: No match. ", false);
}

static void test_throttling_of_sts_passes(void **state)
{
    struct world *w = *state;
    use_role(w, "");
    for (int i = 0; i < 2; i++) {
        next_body(w, NULL, 400,
                  "<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message>"
                  "</Error></ErrorResponse>");
    }
    works(w);
    assert_int_equal(ASKED(w, "AssumeRole"), 3);
}

static void test_throttling_of_sts_that_goes_on_is_told_as_what_may_pass(void **state)
{
    struct world *w = *state;
    use_role(w, "");
    for (int i = 0; i < 3; i++) {
        next_body(w, NULL, 400,
                  "<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message>"
                  "</Error></ErrorResponse>");
    }
    fails(w, "HTTP status 400, Throttling: Rate exceeded", true);
    assert_int_equal(ASKED(w, "AssumeRole"), 3);
}

static void test_an_answer_of_sts_that_is_not_sound_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "HUSH",
        "{}",
        "<AssumeRoleResponse/>",
        "<!DOCTYPE x><AssumeRoleResponse/>",
        "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId>"
        "<SecretAccessKey>HUSH</SecretAccessKey><SessionToken>HUSH</SessionToken>"
        "<Expiration>soon</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>",
        "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId>"
        "<SecretAccessKey>HUSH</SecretAccessKey><SessionToken>HUSH</SessionToken>"
        "<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult>",
        "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId>"
        "<SecretAccessKey>HUSH</SecretAccessKey>"
        "<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"};
    struct world *w = *state;
    use_role(w, "");
    for (size_t i = 0; i < COUNT(bad); i++) {
        next_body(w, NULL, 200, bad[i]);
        fails(w, "profile default, role: the answer ", true);
    }
}

/* ---- Web identity ---------------------------------------------------------------------------- */

static void use_identity(struct world *w, const char *token)
{
    home_put("token", token);
    environment_set("AWS_WEB_IDENTITY_TOKEN_FILE", home_path("token"));
    environment_set("AWS_ROLE_ARN", ROLE);
    environment_set("AWS_ENDPOINT_URL_STS", w->url);
}

static void test_a_web_identity_is_exchanged_unsigned(void **state)
{
    struct world *w = *state;
    use_identity(w, "HUSH.eyJh+/=.x_y-z");
    environment_set("AWS_ROLE_SESSION_NAME", "pod-1");
    FAKE(w, "'identity':{'WebIdentityToken':'HUSH.eyJh+/=.x_y-z','RoleArn':'" ROLE
            "','RoleSessionName':'pod-1'}");
    struct dlk_credentials *made = fetch(w);
    assert_string_equal(made->source, "web identity");
    dlk_credentials_unref(made);
}

static void test_a_web_identitys_token_is_read_each_time(void **state)
{
    struct world *w = *state;
    use_identity(w, "HUSH-1");
    works(w);
    home_put("token", "HUSH-2");
    FAKE(w, "'identity':{'WebIdentityToken':'HUSH-2'}");
    works(w);
    home_drop("token");
    fails(w, "web identity: there is no file", false);
}

static void test_a_web_identity_of_a_profile_is_exchanged(void **state)
{
    struct world *w = *state;
    char config[700];
    home_put("token", "HUSH-3");
    (void)snprintf(config, sizeof config,
                   "[default]\nrole_arn = " ROLE
                   "\nweb_identity_token_file = %s\nrole_session_name = by-profile\n",
                   home_path("token"));
    home_put(".aws/config", config);
    environment_set("AWS_ENDPOINT_URL_STS", w->url);
    FAKE(w, "'identity':{'WebIdentityToken':'HUSH-3','RoleSessionName':'by-profile'}");
    works(w);
}

static void test_a_web_identity_that_is_refused_is_told_without_the_token(void **state)
{
    struct world *w = *state;
    use_identity(w, "HUSH-and-more-of-it");
    FAKE(w, "'identity':{'WebIdentityToken':'another'}");
    fails(w, "InvalidIdentityToken: The ID Token provided is not a valid JWT: ", false);
    assert_int_equal(ASKED(w, "AssumeRoleWithWebIdentity"), 3);
}

/* ---- SSO ------------------------------------------------------------------------------------- */

static void put_login(const char *key, const char *token, const char *expires)
{
    char hash[DLK_SHA1_HEX_SIZE], name[100], text[400];
    assert_int_equal(dlk_sha1_hex(key, hash), 0);
    (void)snprintf(name, sizeof name, ".aws/sso/cache/%s.json", hash);
    (void)snprintf(text, sizeof text,
                   "{\"accessToken\":\"%s\",\"expiresAt\":\"%s\",\"region\":\"x\"}", token,
                   expires);
    home_put(name, text);
}

static void remove_login(const char *key)
{
    char hash[DLK_SHA1_HEX_SIZE], name[100];
    assert_int_equal(dlk_sha1_hex(key, hash), 0);
    (void)snprintf(name, sizeof name, ".aws/sso/cache/%s.json", hash);
    home_drop(name);
}

static void use_sso(struct world *w)
{
    home_put(
        ".aws/config",
        "[profile dev]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = rig\n"
        "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n");
    environment_set("AWS_PROFILE", "dev");
    environment_set("AWS_ENDPOINT_URL_SSO", w->url);
    FAKE(w, "'sso':{'token':'HUSH-sso','account_id':'123456789012','role_name':'rig'}");
}

static void test_a_login_gives_the_credentials_of_its_role(void **state)
{
    struct world *w = *state;
    use_sso(w);
    put_login("corp", "HUSH-sso", "2099-01-01T00:00:00Z");
    struct dlk_credentials *made = fetch(w);
    assert_string_equal(made->source, "profile dev, SSO");
    dlk_credentials_unref(made);
    remove_login("corp");
}

static void test_a_login_of_the_older_form_gives_credentials(void **state)
{
    struct world *w = *state;
    use_sso(w);
    home_put(".aws/config", "[profile dev]\nsso_account_id = 123456789012\nsso_role_name = rig\n"
                            "sso_region = eu-west-1\nsso_start_url = https://corp.example/start\n");
    put_login("https://corp.example/start", "HUSH-sso", "2099-01-01T00:00:00UTC");
    works(w);
    remove_login("https://corp.example/start");
}

static void test_a_login_that_is_over_says_what_to_run(void **state)
{
    struct world *w = *state;
    use_sso(w);
    fails(w, "run aws sso login --profile dev", false);
    put_login("corp", "HUSH-sso", "2001-01-01T00:00:00Z");
    fails(w, "the login has expired: run aws sso login --profile dev", false);
    put_login("corp", "HUSH-sso", "HUSH");
    fails(w, "run aws sso login --profile dev", false);
    assert_int_equal(rig_total(w->rig), 0);
    put_login("corp", "HUSH-old", "2099-01-01T00:00:00Z");
    fails(w, "the portal does not take the login: run aws sso login --profile dev", false);
    put_login("corp", "HUSH-sso", "2099-01-01T00:00:00Z");
    FAKE(w, "'sso':{'token':'HUSH-sso','account_id':'1','role_name':'rig'}");
    fails(w, "HTTP status 403, ForbiddenException: No access", false);
    remove_login("corp");
}

#define WITH_FAKE(test) cmocka_unit_test_setup_teardown(test, new_fake, end_fake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FAKE(test_a_containers_endpoint_gives_credentials),
        WITH_FAKE(test_a_containers_token_is_sent_as_it_is),
        WITH_FAKE(test_a_containers_token_file_comes_first_and_is_read_each_time),
        WITH_FAKE(test_a_containers_token_that_no_header_can_carry_is_refused),
        WITH_FAKE(test_a_containers_refusal_is_told_without_the_token),
        WITH_FAKE(test_a_failing_endpoint_is_asked_three_times),
        WITH_FAKE(test_an_answer_that_is_no_credentials_is_refused),
        WITH_FAKE(test_a_redirection_is_not_followed),
        WITH_FAKE(test_an_endless_answer_is_cut_off),
        WITH_FAKE(test_a_slow_endpoint_is_given_up),
        WITH_FAKE(test_a_fetch_ends_soon_when_it_is_cancelled),
        WITH_FAKE(test_a_foreign_address_is_not_asked_without_tls),
        WITH_FAKE(test_localhost_may_be_asked_without_tls),
        WITH_FAKE(test_no_proxy_is_used_for_metadata),
        WITH_FAKE(test_expired_credentials_are_refused),
        WITH_FAKE(test_instance_metadata_gives_credentials),
        WITH_FAKE(test_a_token_of_instance_metadata_is_used_while_it_lasts),
        WITH_FAKE(test_what_cannot_be_a_token_of_instance_metadata_is_not_sent_on),
        WITH_FAKE(test_a_token_of_instance_metadata_that_ends_is_replaced),
        WITH_FAKE(test_an_instance_without_a_role_says_so),
        WITH_FAKE(test_instance_metadata_that_is_switched_off_says_so),
        WITH_FAKE(test_no_token_is_no_reason_to_ask_without),
        WITH_FAKE(test_success_with_another_code_is_a_failure),
        WITH_FAKE(test_expired_credentials_of_an_instance_are_taken),
        WITH_FAKE(test_odd_names_of_instance_metadata_are_refused),
        WITH_FAKE(test_slow_instance_metadata_is_given_a_second_each_time),
        WITH_FAKE(test_the_region_is_that_of_the_instance),
        WITH_FAKE(test_a_role_is_assumed_with_a_signed_request),
        WITH_FAKE(test_a_role_is_assumed_as_the_profile_says),
        WITH_FAKE(test_a_role_is_assumed_in_the_region_of_its_profile),
        WITH_FAKE(test_a_role_is_assumed_with_credentials_that_have_a_token),
        WITH_FAKE(test_a_role_is_assumed_through_a_role),
        WITH_FAKE(test_what_sts_refuses_is_told_in_its_words),
        WITH_FAKE(test_what_sts_says_of_a_signature_is_cut),
        WITH_FAKE(test_throttling_of_sts_passes),
        WITH_FAKE(test_throttling_of_sts_that_goes_on_is_told_as_what_may_pass),
        WITH_FAKE(test_an_answer_of_sts_that_is_not_sound_is_refused),
        WITH_FAKE(test_a_web_identity_is_exchanged_unsigned),
        WITH_FAKE(test_a_web_identitys_token_is_read_each_time),
        WITH_FAKE(test_a_web_identity_of_a_profile_is_exchanged),
        WITH_FAKE(test_a_web_identity_that_is_refused_is_told_without_the_token),
        WITH_FAKE(test_a_login_gives_the_credentials_of_its_role),
        WITH_FAKE(test_a_login_of_the_older_form_gives_credentials),
        WITH_FAKE(test_a_login_that_is_over_says_what_to_run),
    };
    return cmocka_run_group_tests(tests, make_world, end_world);
}
