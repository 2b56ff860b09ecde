/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a store, with all that it reads, while one call after another that the library makes of what it depends on
 * fails (see support_fail.h): a whole store, or none and a code that says why; and the next open is as good as the first.
 */
#include "fail_system.h"
#include "support.h"
#include "support_environment.h"

#include <sys/wait.h>
#include <unistd.h>

#define FAIL_MOST 3000

struct world {
    const char *name;
    const char *config, *credentials; /* of ~/.aws; NULL: no such file */
    const char *environment[8];       /* names and values in turn; ~ stands for the home */
    dynalock_options options;
    const char *endpoint; /* of the store */
};

static void ignore(const dynalock_event *event, void *context)
{
    (void)event;
    (void)context;
}

static const struct world worlds[] = {
    {.name = "open by options",
     .options = {.region = "us-east-1",
                 .endpoint = "http://127.0.0.1:1",
                 .access_key_id = "A",
                 .secret_access_key = "S",
                 .session_token = "T",
                 .log = ignore},
     .endpoint = "http://127.0.0.1:1/"},
    {.name = "open by the environment",
     .environment = {"AWS_REGION", "eu-west-1", "AWS_ACCESS_KEY_ID", "A", "AWS_SECRET_ACCESS_KEY",
                     "S"},
     .endpoint = "https://dynamodb.eu-west-1.amazonaws.com/"},
    {.name = "open by a profile",
     .config = "[default]\nregion = eu-north-1\n"
               "[profile dev]\nregion = eu-central-1\nservices = here\nrole_arn = r\n"
               "source_profile = base\nmax_attempts = 2\nca_bundle = unused\n"
               "[services here]\ndynamodb =\n  endpoint_url = http://localhost:8000\n",
     .credentials = "[base]\naws_access_key_id = A\naws_secret_access_key = S\n",
     .environment = {"AWS_PROFILE", "dev", "AWS_CA_BUNDLE", "~/token"},
     .endpoint = "http://localhost:8000/"},
    {.name = "open by a login",
     .config = "[default]\nregion = eu-north-1\nsso_session = corp\nsso_account_id = 123456789012\n"
               "sso_role_name = rig\n[sso-session corp]\nsso_region = eu-west-1\n"
               "sso_start_url = https://corp.example/start\n",
     .endpoint = "https://dynamodb.eu-north-1.amazonaws.com/"},
};

static void put_file(const char *name, const char *text)
{
    if (text != NULL) {
        home_put(name, text);
    } else {
        home_drop(name);
    }
}

static void set_world(const struct world *world)
{
    environment_clear();
    put_file(".aws/config", world->config);
    put_file(".aws/credentials", world->credentials);
    for (size_t i = 0; i < COUNT(world->environment) && world->environment[i] != NULL; i += 2) {
        const char *text = world->environment[i + 1];
        environment_set(world->environment[i], *text == '~' ? home_path(text + 2) : text);
    }
}

static void judge_open(const struct world *world, dynalock_store *store)
{
    dynalock_store_info info;
    check(dynalock_store_describe(store, &info, &failure), 0);
    assert_string_equal(info.endpoint, world->endpoint);
    check(dynalock_close(store), 0);
}

/* True: something was made fail. */
static bool open_once(const struct world *world, unsigned nth)
{
    dynalock_store *none = (dynalock_store *)(uintptr_t)world;
    dynalock_store *store = none;
    dynalock_error error = {0};
    fail_arm(nth, 1);
    int code = dynalock_open("t", "p", &world->options, &store, &error);
    bool failed = fail_disarm();
    if (code == 0) { /* some are of no account: whether a MAC can be started over is only tried */
        judge_open(world, store);
        return failed;
    }
    if (!failed || store != none || error.code != code || error.message[0] == '\0' ||
        (code != DYNALOCK_ERR_MEMORY && code != DYNALOCK_ERR_SYSTEM)) {
        fail_msg("%s, with %s failing as call %u: code %d, \"%s\"", world->name, fail_what(), nth,
                 code, error.message);
    }
    check(dynalock_open("t", "p", &world->options, &store, &failure), 0);
    judge_open(world, store);
    return true;
}

static void test_a_store_is_opened_whole_or_not_at_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(worlds); i++) {
        set_world(&worlds[i]);
        for (unsigned nth = 1; open_once(&worlds[i], nth); nth++) {
            assert_true(nth < FAIL_MOST);
        }
        assert_true(fail_report(worlds[i].name) > 20);
    }
}

/* In a process of its own each time: what is set up for all stores is set up once. Exits with 0 if all is well. */
static void open_first(void)
{
    dynalock_store *store = NULL;
    int code = dynalock_open("t", "p", &worlds[0].options, &store, NULL);
    fail_exempt(true);
    if (code == 0) {
        (void)dynalock_close(store);
    }
    code = dynalock_open("t", "p", &worlds[0].options, &store, NULL);
    /* What OpenSSL sets up once and could not, it does not try again. */
    bool by_openssl = code == DYNALOCK_ERR_SYSTEM && strncmp(fail_what(), "OpenSSL", 7) == 0;
    _exit(code == 0 || by_openssl ? 0 : 1);
}

static void test_the_first_open_of_a_program_can_be_repeated(void **state)
{
    bool failed = true;
    (void)state;
    unsigned step = 1;
    for (unsigned nth = 1; failed; nth += step) {
        int status = 0;
        fail_arm(nth, 1);
        pid_t pid = fork();
        if (pid == 0) {
            open_first();
        }
        assert_true(pid > 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        failed = fail_disarm();
        if (status != 0) {
            fail_msg("the second open failed, too, after %s in the first", fail_what());
        }
        /* OpenSSL sets up a lot. */
        step = strncmp(fail_what(), "OpenSSL", 7) == 0 ? fail_step(40) : 1;
    }
    assert_true(fail_report("first open of a program") > 20);
}

static int begin(void **state)
{
    (void)state;
    home_make();
    home_put("token", "some"); /* taken for a bundle: nothing is sent */
    return 0;
}

static int end(void **state)
{
    (void)state;
    return home_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_open_of_a_program_can_be_repeated),
        cmocka_unit_test(test_a_store_is_opened_whole_or_not_at_all),
    };
    fail_install();
    return cmocka_run_group_tests(tests, begin, end);
}
