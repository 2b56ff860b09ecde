/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials from each source there is, to a record written and read through the proxy that verifies signatures;
 * and that no secret is ever in an event or an error. */
#include "support.h"
#include "support_environment.h"

#define ROLE "arn:aws:iam::123456789012:role/rig"

struct world {
    struct bench *bench; /* for its table */
    struct rig *fake;    /* its proxy is a fake of the services that hand out credentials */
    struct rig *front;   /* its proxy knows what the fake has handed out, and nothing else */
    char url[64];        /* the fake's, without a slash at the end */
    struct capture *events;
};

/* ---- Setup ----------------------------------------------------------------------------------- */

static int make_world(void **state)
{
    static struct world world;
    struct world *w = &world;
    home_make();
    w->bench = bench_new();
    w->events = capture_new();
    *state = w;
    return 0;
}

static int end_world(void **state)
{
    struct world *w = *state;
    capture_free(w->events);
    bench_free(w->bench);
    return home_remove();
}

/* A proxy that knows what the fake hands out; settings as for rig_proxy_new. */
static void put_proxy(struct world *w, const char *settings)
{
    char all[300];
    (void)snprintf(all, sizeof all, "'metadata':%d%s%s", w->fake->proxy,
                   settings != NULL ? "," : "", settings != NULL ? settings : "");
    w->front = rig_open();
    rig_proxy_new(w->front, test_server(), all);
}

static int begin(void **state)
{
    struct world *w = *state;
    environment_clear();
    environment_set("AWS_REGION", RIG_REGION);
    home_put(".aws/config", "");
    capture_clear(w->events);
    w->fake = rig_open();
    w->front = NULL;
    return 0;
}

static void put_fake(struct world *w, json_t *made, const char *settings)
{
    w->fake->proxy = (int)json_integer_value(json_object_get(made, "proxy"));
    (void)snprintf(w->url, sizeof w->url, "http://127.0.0.1:%d",
                   (int)json_integer_value(json_object_get(made, "port")));
    json_decref(made);
    put_proxy(w, settings);
}

static int begin_with_fake(void **state)
{
    struct world *w = *state;
    if (begin(state) != 0) {
        return -1;
    }
    put_fake(w, rig(w->fake, "'cmd':'metadata'"), "'secrets':{}");
    return 0;
}

static int end(void **state)
{
    struct world *w = *state;
    int violations = w->front != NULL ? rig_violations(w->front) + rig_violations(w->fake) : 0;
    for (int i = 1; i <= capture_count(w->events, 0, NULL); i++) {
        struct captured event = capture_get(w->events, 0, NULL, i);
        if (strstr(event.message, "HUSH") != NULL || strstr(event.name, "HUSH") != NULL ||
            strstr(event.message, RIG_SECRET) != NULL) {
            print_error("a secret is in an event: %s\n", event.message);
            violations++;
        }
    }
    rig_close(w->front);
    rig_close(w->fake);
    return violations == 0 ? 0 : -1;
}

/* ---- A record, by what was found ------------------------------------------------------------- */

static dynalock_store *open_store(struct world *w)
{
    dynalock_store *store = NULL;
    dynalock_options options = {
        .endpoint = w->front->endpoint, .log = capture_log, .log_context = w->events};
    check(dynalock_open(w->bench->table, w->bench->partition, &options, &store, &failure), 0);
    return store;
}

static void works(struct world *w)
{
    dynalock_store *store = open_store(w);
    const char *key = bench_key(w->bench);
    dynalock_kv *kv = NULL;
    check(dynalock_put(store, key, dynalock_none(), NULL, &failure), 0);
    check(dynalock_get(store, key, NULL, &kv, &failure), 0);
    dynalock_kv_free(kv);
    assert_int_equal(dynalock_close(store), 0);
    json_t *counts = rig(w->front, "'cmd':'counts','proxy':%d", w->front->proxy);
    assert_int_equal(json_integer_value(json_object_get(counts, "refused")), 0);
    assert_in_range(json_integer_value(json_object_get(counts, "forwarded")), 2, 3);
    json_decref(counts);
}

/* Of instance metadata, which is given a second: on a busy machine that may be too short. */
static void assert_asked(struct world *w, const char *operation)
{
    assert_in_range(rig_count(w->fake, operation), 1, 3);
}

static void fails(struct world *w, const char *word)
{
    dynalock_store *store = open_store(w);
    check(dynalock_put(store, "k", dynalock_none(), NULL, &failure), DYNALOCK_ERR_CREDENTIALS);
    assert_contains(failure.message, word);
    assert_null(strstr(failure.message, "HUSH"));
    assert_int_equal(dynalock_close(store), 0);
    assert_int_equal(rig_total(w->front), 0);
}

/* ---- The sources ----------------------------------------------------------------------------- */

static void test_a_container(void **state)
{
    struct world *w = *state;
    char url[100];
    (void)snprintf(url, sizeof url, "%s/creds", w->url);
    environment_set("AWS_CONTAINER_CREDENTIALS_FULL_URI", url);
    environment_set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", home_path("token"));
    home_put("token", "HUSH-token");
    rig_do(w->fake, "'cmd':'set','container':{'path':'/creds','authorization':'HUSH-token'}");
    works(w);
    assert_int_equal(rig_count(w->fake, "container"), 1);
}

static void test_instance_metadata(void **state)
{
    struct world *w = *state;
    environment_set("AWS_EC2_METADATA_SERVICE_ENDPOINT", w->url);
    works(w);
    assert_asked(w, "imds-credentials");
}

static void test_a_role_by_a_profile(void **state)
{
    struct world *w = *state;
    home_put(".aws/config", "[profile dev]\nrole_arn = " ROLE "\nsource_profile = base\n");
    home_put(".aws/credentials", "[base]\naws_access_key_id = " RIG_KEY_ID
                                 "\naws_secret_access_key = " RIG_SECRET "\n");
    environment_set("AWS_PROFILE", "dev");
    environment_set("AWS_ENDPOINT_URL_STS", w->url);
    works(w);
    assert_int_equal(rig_count(w->fake, "AssumeRole"), 1);
    home_drop(".aws/credentials");
}

static void test_a_role_by_instance_metadata(void **state)
{
    struct world *w = *state;
    home_put(".aws/config",
             "[default]\nrole_arn = " ROLE "\ncredential_source = Ec2InstanceMetadata\n");
    environment_set("AWS_EC2_METADATA_SERVICE_ENDPOINT", w->url);
    environment_set("AWS_ENDPOINT_URL_STS", w->url);
    works(w);
    assert_int_equal(rig_count(w->fake, "AssumeRole"), 1);
}

static void test_a_web_identity(void **state)
{
    struct world *w = *state;
    home_put("token", "HUSH.web.identity");
    environment_set("AWS_WEB_IDENTITY_TOKEN_FILE", home_path("token"));
    environment_set("AWS_ROLE_ARN", ROLE);
    environment_set("AWS_ENDPOINT_URL_STS", w->url);
    rig_do(w->fake, "'cmd':'set','identity':{'WebIdentityToken':'HUSH.web.identity'}");
    works(w);
    assert_int_equal(rig_count(w->fake, "AssumeRoleWithWebIdentity"), 1);
}

static void test_a_login(void **state)
{
    /* SHA-1 of "corp" */
    static const char cache[] = ".aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json";
    struct world *w = *state;
    home_put(".aws/config",
             "[default]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = rig\n"
             "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/\n");
    home_put(cache, "{\"accessToken\":\"HUSH-sso\",\"expiresAt\":\"2099-01-01T00:00:00Z\"}");
    environment_set("AWS_ENDPOINT_URL_SSO", w->url);
    rig_do(w->fake,
           "'cmd':'set','sso':{'token':'HUSH-sso','account_id':'123456789012','role_name':'rig'}");
    works(w);
    assert_int_equal(rig_count(w->fake, "sso"), 1);
    home_drop(cache);
}

static void test_a_program(void **state)
{
    struct world *w = *state;
    home_put(".aws/config",
             "[default]\ncredential_process = echo '{\"Version\":1,\"AccessKeyId\":\"AKIDPROGRAM\","
             "\"SecretAccessKey\":\"HUSH-program\",\"SessionToken\":\"HUSH-token\"}'\n");
    rig_do(w->front, "'cmd':'set','secrets':{'AKIDPROGRAM':'HUSH-program'},"
                     "'tokens':{'AKIDPROGRAM':'HUSH-token'}");
    works(w);
}

static void test_keys_of_a_profile(void **state)
{
    struct world *w = *state;
    home_put(".aws/config", "[default]\naws_access_key_id = AKIDPROFILE\n"
                            "aws_secret_access_key = HUSH-profile\n");
    rig_do(w->front, "'cmd':'set','secrets':{'AKIDPROFILE':'HUSH-profile'}");
    works(w);
}

/* ---- At the addresses that these services really have ----------------------------------------- */

/* False: there is no network of our own to have that address in. */
static bool put_fake_at(struct world *w, const char *address, const char *settings)
{
    json_t *made = rig_try(w->fake, "'cmd':'metadata','host':'%s','region':'eu-north-1'", address);
    if (!json_is_true(json_object_get(made, "ok"))) {
        print_message("not here: %s\n", json_string_value(json_object_get(made, "error")));
        json_decref(made);
        return false;
    }
    put_fake(w, made, settings);
    return true;
}

static void test_an_instance_at_its_address_with_its_region(void **state)
{
    struct world *w = *state;
    unsetenv("AWS_REGION");
    if (put_fake_at(w, "169.254.169.254", "'secrets':{},'region':'eu-north-1'")) {
        works(w);
        assert_asked(w, "imds-region");
        assert_asked(w, "imds-credentials");
    }
}

static void test_a_container_at_its_address(void **state)
{
    struct world *w = *state;
    environment_set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/creds");
    if (put_fake_at(w, "169.254.170.2", "'secrets':{}")) {
        works(w);
        assert_int_equal(rig_count(w->fake, "container"), 1);
    }
}

/* ---- Failures -------------------------------------------------------------------------------- */

static void test_a_call_without_credentials_says_what_was_tried(void **state)
{
    struct world *w = *state;
    environment_set("AWS_EC2_METADATA_SERVICE_ENDPOINT", w->url);
    rig_do(w->fake, "'cmd':'set','role':null");
    fails(w, "instance metadata: the instance has no role");
    assert_contains(failure.message, "environment: AWS_ACCESS_KEY_ID is not set");
    assert_contains(failure.message, "profile default: ");
    assert_contains(failure.message, "web identity: ");
    assert_contains(failure.message, "container: ");
}

static void test_a_program_that_fails_fails_the_call(void **state)
{
    struct world *w = *state;
    home_put(".aws/config", "[default]\ncredential_process = sh -c 'echo HUSH; exit 3'\n");
    environment_set("AWS_EC2_METADATA_SERVICE_ENDPOINT", w->url);
    fails(w, "profile default, credential_process: it ended with status 3");
    assert_int_equal(rig_total(w->fake), 0); /* not those of another identity */
}

static void test_open_refuses_what_cannot_work(void **state)
{
    struct world *w = *state;
    dynalock_store *store = NULL;
    dynalock_options options = {.endpoint = w->front->endpoint};
    environment_set("AWS_PROFILE", "nobody");
    check(dynalock_open("t", "p", &options, &store, &failure), DYNALOCK_ERR_CREDENTIALS);
    assert_contains(failure.message, "there is no profile nobody");
    unsetenv("AWS_PROFILE");
    environment_set("AWS_EC2_METADATA_DISABLED", "true");
    check(dynalock_open("t", "p", &options, &store, &failure), DYNALOCK_ERR_CREDENTIALS);
    assert_contains(failure.message, "AWS_EC2_METADATA_DISABLED is set");
    options.access_key_id = "AKID";
    check(dynalock_open("t", "p", &options, &store, &failure), DYNALOCK_ERR_CREDENTIALS);
    assert_contains(failure.message, "an access key id without a secret access key");
}

static void test_closing_does_not_wait_for_a_fetch(void **state)
{
    struct world *w = *state;
    dynalock_store *store = NULL;
    dynalock_options options = {.endpoint = w->front->endpoint, .timeout_ms = 300};
    environment_set("AWS_EC2_METADATA_SERVICE_ENDPOINT", w->url);
    rig_fault(w->fake, "'times':-1,'action':'blackhole'");
    check(dynalock_open(w->bench->table, "p", &options, &store, &failure), 0);
    int code = dynalock_put(store, "k", dynalock_none(), NULL, &failure);
    assert_true(code == DYNALOCK_ERR_CREDENTIALS || code == DYNALOCK_ERR_TIMEOUT);
    int64_t from = monotonic_ms();
    assert_int_equal(dynalock_close(store), 0);
    assert_in_range(monotonic_ms() - from, 0, 1500);
}

/* ---- Rotation -------------------------------------------------------------------------------- */

static void test_a_lock_outlives_its_credentials_though_half_of_the_fetches_fail(void **state)
{
    struct world *w = *state;
    char url[100];
    dynalock_lock *lock = NULL;
    const dynalock_lock_options options = {.ttl_ms = 3000};
    (void)snprintf(url, sizeof url, "%s/creds", w->url);
    environment_set("AWS_CONTAINER_CREDENTIALS_FULL_URI", url);
    rig_do(w->fake, "'cmd':'set','lifetime_s':8");
    dynalock_store *store = open_store(w);
    check(dynalock_lock_new(store, bench_key(w->bench), &options, &lock, &failure), 0);
    check(dynalock_lock_acquire(lock, -1, 0, &failure), 0);
    int64_t token = dynalock_lock_token(lock);
    rig_do(w->fake, "'cmd':'seed','seed':'rotation','op':'container',"
                    "'rates':{'drop':0.25,'status':0.25}");
    for (int64_t until = monotonic_ms() + 20000; monotonic_ms() < until; sleep_ms(50)) {
        check(dynalock_lock_ensure(lock, 0, &failure), 0);
        assert_int_equal(dynalock_lock_token(lock), token);
    }
    check(dynalock_lock_release(lock, &failure), 0);
    dynalock_lock_free(lock);
    assert_int_equal(dynalock_close(store), 0);
    json_t *counts = rig(w->fake, "'cmd':'counts','proxy':%d", w->fake->proxy);
    json_t *faults = json_object_get(counts, "faults");
    json_int_t failed = json_integer_value(json_object_get(faults, "drop")) +
                        json_integer_value(json_object_get(faults, "status"));
    json_int_t asked = json_integer_value(json_object_get(counts, "total"));
    print_message("%d fetches, %d of them failed\n", (int)asked, (int)failed);
    assert_true(failed >= 2);
    assert_true(asked - failed >= 4); /* three rotations */
    json_decref(counts);
}

#define WITH_FAKE(test) cmocka_unit_test_setup_teardown(test, begin_with_fake, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FAKE(test_a_container),
        WITH_FAKE(test_instance_metadata),
        WITH_FAKE(test_a_role_by_a_profile),
        WITH_FAKE(test_a_role_by_instance_metadata),
        WITH_FAKE(test_a_web_identity),
        WITH_FAKE(test_a_login),
        WITH_FAKE(test_a_program),
        WITH_FAKE(test_keys_of_a_profile),
        cmocka_unit_test_setup_teardown(test_an_instance_at_its_address_with_its_region, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_container_at_its_address, begin, end),
        WITH_FAKE(test_a_call_without_credentials_says_what_was_tried),
        WITH_FAKE(test_a_program_that_fails_fails_the_call),
        WITH_FAKE(test_open_refuses_what_cannot_work),
        WITH_FAKE(test_closing_does_not_wait_for_a_fetch),
        WITH_FAKE(test_a_lock_outlives_its_credentials_though_half_of_the_fetches_fail),
    };
    return cmocka_run_group_tests(tests, make_world, end_world);
}
