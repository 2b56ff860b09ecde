/* SPDX-License-Identifier: Apache-2.0 */
/* Providers of credentials, as far as they need no network: XML, JSON, dates, programs, and the chain. */
#include "../providers.h"
#include "support_environment.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define NOW INT64_C(1700000000)

static int clear_world(void **state)
{
    (void)state;
    environment_clear();
    environment_set("AWS_REGION", "us-east-1");
    home_drop(".aws/config");
    home_drop(".aws/credentials");
    return 0;
}

static int make_world(void **state)
{
    (void)state;
    home_make();
    return 0;
}

static int end_world(void **state)
{
    (void)state;
    return home_remove();
}

/* ---- Dates, hashes --------------------------------------------------------------------------- */

static void test_dates_are_read_as_rfc_3339_has_them(void **state)
{
    static const struct {
        const char *text;
        int64_t moment;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2001-09-09T01:46:40Z", 1000000000},
        {"2024-02-29T23:59:59Z", 1709251199},
        {"2024-02-29t23:59:59.123456789z", 1709251199},
        {"2024-03-01T00:59:59+01:00", 1709251199},
        {"2024-02-29T18:29:59-05:30", 1709251199},
        {"2024-02-29T23:59:59UTC", 1709251199},
        {"2024-02-29 23:59:59Z", 1709251199},
        {"2100-01-01T00:00:00Z", INT64_C(4102444800)},
    };
    static const char *const bad[] = {"",
                                      "2024",
                                      "2024-02-30T00:00:00Z",
                                      "2023-02-29T00:00:00Z",
                                      "2024-13-01T00:00:00Z",
                                      "2024-00-01T00:00:00Z",
                                      "2024-01-00T00:00:00Z",
                                      "2024-01-01T24:00:00Z",
                                      "2024-01-01T00:60:00Z",
                                      "2024-01-01T00:00:61Z",
                                      "2024-01-01T00:00:00",
                                      "1700000000",
                                      "2024-01-01T00:00:00.Z",
                                      "2024-01-01T00:00:00+1:00",
                                      "2024-01-01T00:00:00+24:00",
                                      "2024-01-01T00:00:00Z ",
                                      "2024-01-01X00:00:00Z",
                                      "1969-12-31T23:59:59Z",
                                      "2024-01-01T00:00:00*01:00"};
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        int64_t moment = -1;
        assert_true(dlk_rfc3339(good[i].text, &moment));
        assert_int_equal(moment, good[i].moment);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        int64_t moment = -1;
        assert_false(dlk_rfc3339(bad[i], &moment));
    }
}

static void test_sha1_is_that_of_the_standard(void **state)
{
    char hex[DLK_SHA1_HEX_SIZE];
    (void)state;
    assert_int_equal(dlk_sha1_hex("abc", hex), 0);
    assert_string_equal(hex, "a9993e364706816aba3e25717850c26c9cd0d89d");
    assert_int_equal(dlk_sha1_hex("", hex), 0);
    assert_string_equal(hex, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
}

/* ---- XML ------------------------------------------------------------------------------------- */

/* What is wrong with it; the text of a/b, if found, goes to taken. */
static const char *read_xml(const char *text, size_t length, char taken[64], bool *found)
{
    struct dlk_xml_wanted wanted = {.path = "a/b"};
    /* In memory of its very size, so that a step too far is seen. */
    char *copy = malloc(length > 0 ? length : 1);
    assert_non_null(copy);
    memcpy(copy, text, length);
    const char *wrong = dlk_xml_read(copy, length, &wanted, 1);
    (void)snprintf(taken, 64, "%s", wanted.text.data != NULL ? wanted.text.data : "");
    *found = wanted.found;
    dlk_sigv4_text_free(&wanted.text);
    free(copy);
    return wrong;
}

static void test_the_text_of_an_element_is_read(void **state)
{
    static const struct {
        const char *xml, *text;
    } good[] = {
        {"<a><b>x</b></a>", "x"},
        {"\xEF\xBB\xBF<?xml version=\"1.0\" encoding='UTF-8'?>\n<a xmlns='u'>\n <b >x</b >\n</a>\n",
         "x"},
        {"<a><c><b>no</b></c><b>yes</b></a>", "yes"},
        {"<a><b>&lt;&amp;&gt;&quot;&apos;&#65;&#x42;&#x20AC;&#x1F512;</b></a>",
         "<&>\"'AB\xE2\x82\xAC\xF0\x9F\x94\x92"},
        {"<a><b>&#xE9;&#x7FF;</b></a>", "\xC3\xA9\xDF\xBF"},
        {"<a><b/></a>", ""},
        {"<a><b></b><c k=\"v>'\" l='\"/'/></a>", ""},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        char taken[64];
        bool found = false;
        assert_null(read_xml(good[i].xml, strlen(good[i].xml), taken, &found));
        assert_true(found);
        assert_string_equal(taken, good[i].text);
    }
}

static void test_xml_that_is_not_sound_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      " ",
                                      "x",
                                      "<a>",
                                      "</a>",
                                      "<a></b>",
                                      "<a/><a/>",
                                      "<a/>x",
                                      "x<a/>",
                                      "<a><b>x</a></b>",
                                      "<!DOCTYPE a [<!ENTITY e 'x'>]><a><b>&e;</b></a>",
                                      "<a><b><![CDATA[x]]></b></a>",
                                      "<a><!-- c --><b>x</b></a>",
                                      "<a><b>&e;</b></a>",
                                      "<a><b>&amp</b></a>",
                                      "<a><b>&#0;</b></a>",
                                      "<a><b>&#xD800;</b></a>",
                                      "<a><b>&#x110000;</b></a>",
                                      "<a><b>&#99999999999999;</b></a>",
                                      "<a><b>&#xZ;</b></a>",
                                      "<a><b>&;</b></a>",
                                      "<a><b>&#;</b></a>",
                                      "<a><b>x</b><b>y</b></a>",
                                      "<a><b><c/></b></a>",
                                      "<a k><b/></a>",
                                      "<a k=v><b/></a>",
                                      "<a k='<'><b/></a>",
                                      "<a k='v'l='w'/>",
                                      "<a k='v><b/></a>",
                                      "< a/>",
                                      "<a><?pi?></a>",
                                      "<a",
                                      "<a><b",
                                      "<a><b>x</b"};
    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        char taken[64];
        bool found = false;
        if (read_xml(bad[i], strlen(bad[i]), taken, &found) == NULL) {
            fail_msg("taken for XML: %s", bad[i]);
        }
    }
}

static void test_xml_cut_off_anywhere_is_refused(void **state)
{
    static const char whole[] = "<?xml version=\"1.0\"?><a x='1'><c>&amp;</c><b>&#65;text</b></a>";
    (void)state;
    for (size_t length = 0; length < sizeof whole - 1; length++) {
        char taken[64];
        bool found = false;
        assert_non_null(read_xml(whole, length, taken, &found));
    }
}

static void test_xml_nested_too_deep_is_refused(void **state)
{
    char deep[4096] = "";
    (void)state;
    for (int i = 0; i < 1000; i++) {
        (void)strcat(deep, "<a>");
    }
    char taken[64];
    bool found = false;
    assert_non_null(read_xml(deep, strlen(deep), taken, &found));
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static int read_json(const char *text, enum dlk_credentials_form form, struct dlk_found *found,
                     dynalock_error *error)
{
    memset(error, 0, sizeof *error);
    return dlk_json_credentials(text, strlen(text), form, found, error);
}

static void test_credentials_of_each_form_are_read(void **state)
{
    static const struct {
        enum dlk_credentials_form form;
        const char *json, *token;
        int64_t expires;
    } good[] = {
        {DLK_FORM_PROCESS, "{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\"}\n",
         NULL, 0},
        {DLK_FORM_PROCESS,
         "{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"SessionToken\":null,"
         "\"Expiration\":\"\",\"AccountId\":5}",
         NULL, 0},
        {DLK_FORM_PROCESS,
         "{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"SessionToken\":\"T\","
         "\"Expiration\":\"2001-09-09T01:46:40Z\"}",
         "T", 1000000000},
        {DLK_FORM_CONTAINER,
         "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Token\":\"T\","
         "\"Expiration\":\"2001-09-09T01:46:40Z\"}",
         "T", 1000000000},
        {DLK_FORM_IMDS,
         "{\"Code\":\"Success\",\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Token\":\"T\","
         "\"Expiration\":\"2001-09-09T01:46:40Z\"}",
         "T", 1000000000},
        {DLK_FORM_SSO,
         "{\"roleCredentials\":{\"accessKeyId\":\"A\",\"secretAccessKey\":\"S\",\"sessionToken\":"
         "\"T\",\"expiration\":1000000000999}}",
         "T", 1000000000},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        struct dlk_found found = {0};
        dynalock_error error;
        if (read_json(good[i].json, good[i].form, &found, &error) != 0) {
            fail_msg("%s: %s", good[i].json, error.message);
        }
        assert_string_equal(found.access_key_id, "A");
        assert_string_equal(found.secret_access_key, "S");
        assert_int_equal(found.expires_s, good[i].expires);
        if (good[i].token != NULL) {
            assert_string_equal(found.session_token, good[i].token);
        } else {
            assert_null(found.session_token);
        }
        dlk_found_free(&found);
    }
}

static void test_credentials_that_are_not_whole_are_refused_without_a_secret(void **state)
{
    static const struct {
        enum dlk_credentials_form form;
        const char *json, *word;
    } bad[] = {
        {DLK_FORM_PROCESS, "", "not a JSON object"},
        {DLK_FORM_PROCESS, "[\"HUSH\"]", "not a JSON object"},
        {DLK_FORM_PROCESS, "{\"AccessKeyId\":\"HUSH\"", "not a JSON object"},
        {DLK_FORM_PROCESS, "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"HUSH\"}", "Version"},
        {DLK_FORM_PROCESS, "{\"Version\":2,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"HUSH\"}",
         "Version"},
        {DLK_FORM_PROCESS, "{\"Version\":\"1\",\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"HUSH\"}",
         "Version"},
        {DLK_FORM_PROCESS, "{\"Version\":1,\"AccessKeyId\":\"A\"}", "SecretAccessKey"},
        {DLK_FORM_PROCESS, "{\"Version\":1,\"AccessKeyId\":7,\"SecretAccessKey\":\"HUSH\"}",
         "AccessKeyId"},
        {DLK_FORM_PROCESS, "{\"Version\":1,\"AccessKeyId\":\"\",\"SecretAccessKey\":\"HUSH\"}",
         "AccessKeyId"},
        {DLK_FORM_PROCESS,
         "{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"HUSH\",\"Expiration\":\"HUSH\"}",
         "Expiration"},
        {DLK_FORM_CONTAINER,
         "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"HUSH\",\"Expiration\":\"2001-09-09T01:46:40Z\"}",
         "Token"},
        {DLK_FORM_CONTAINER,
         "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"HUSH\",\"Token\":\"HUSH\"}", "Expiration"},
        {DLK_FORM_IMDS,
         "{\"Code\":\"AssumeRoleUnauthorizedAccess\",\"Message\":\"HUSH\",\"AccessKeyId\":\"A\","
         "\"SecretAccessKey\":\"HUSH\",\"Token\":\"T\",\"Expiration\":\"2001-09-09T01:46:40Z\"}",
         "AssumeRoleUnauthorizedAccess"},
        {DLK_FORM_SSO, "{\"roleCredentials\":[\"HUSH\"]}", "accessKeyId"},
        {DLK_FORM_SSO,
         "{\"roleCredentials\":{\"accessKeyId\":\"A\",\"secretAccessKey\":\"HUSH\",\"sessionToken\":"
         "\"HUSH\",\"expiration\":\"HUSH\"}}",
         "expiration"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct dlk_found found = {0};
        dynalock_error error;
        assert_int_equal(read_json(bad[i].json, bad[i].form, &found, &error),
                         DYNALOCK_ERR_BAD_RESPONSE);
        assert_non_null(strstr(error.message, bad[i].word));
        assert_null(strstr(error.message, "HUSH"));
        assert_null(found.access_key_id);
    }
    char *token = NULL;
    int64_t expires_s = 0;
    dynalock_error error;
    assert_int_equal(dlk_json_sso_token("HUSH", 4, &token, &expires_s, &error),
                     DYNALOCK_ERR_BAD_RESPONSE);
    assert_null(token);
    assert_null(strstr(error.message, "HUSH"));
}

static void test_a_servers_words_are_cut_where_they_repeat_a_secret(void **state)
{
    char words[100] = "the token eyJhbGciOiJSUzI1NiJ9 is wrong";
    char part[100] = "the token eyJhbGciOiJSUzI1... is wrong";
    char canonical[100] = "no match. The Canonical String for this was 'POST";
    (void)state;
    dlk_cut_secret(words, "eyJhbGciOiJSUzI1NiJ9");
    assert_string_equal(words, "the token ");
    dlk_cut_secret(part, "eyJhbGciOiJSUzI1NiJ9");
    assert_string_equal(part, "the token ");
    dlk_cut_secret(canonical, NULL);
    assert_string_equal(canonical, "no match. ");
    dlk_cut_secret(words, "");
    assert_string_equal(words, "the token ");
}

/* ---- Programs -------------------------------------------------------------------------------- */

static atomic_bool cancelled;

/* Runs a chain that is settled now. */
static int fetch(int64_t timeout_ms, struct dlk_credentials **made, dynalock_error *error)
{
    const dynalock_options options = {0};
    const struct dlk_fetch how = {.now_s = NOW, .timeout_ms = timeout_ms, .cancelled = &cancelled};
    struct dlk_profiles *profiles = NULL;
    struct dlk_config config = {0};
    struct dlk_chain *chain = NULL;
    memset(error, 0, sizeof *error);
    int code = dlk_profiles_read(&profiles, error);
    assert_int_equal(code, 0);
    code = dlk_config_read(&config, &options, profiles, error);
    if (code == 0) {
        code = dlk_chain_new(&chain, &options, &config, profiles, dlk_profiles_chosen(&options),
                             error);
        dlk_config_free(&config);
    }
    dlk_profiles_free(profiles);
    if (code == 0) {
        code = dlk_chain_fetch(chain, &how, made, error);
        dlk_chain_free(chain);
    }
    return code;
}

static int run_program(const char *command, int64_t timeout_ms, struct dlk_credentials **made,
                       dynalock_error *error)
{
    char config[2048];
    (void)snprintf(config, sizeof config, "[default]\ncredential_process = %s\n", command);
    home_put(".aws/config", config);
    return fetch(timeout_ms, made, error);
}

#define GOOD "{\"Version\":1,\"AccessKeyId\":\"AKID\",\"SecretAccessKey\":\"HUSH\"}"

static void assert_runs(const char *command)
{
    struct dlk_credentials *made = NULL;
    dynalock_error error;
    if (run_program(command, 10000, &made, &error) != 0) {
        fail_msg("%s: %s", command, error.message);
    }
    assert_string_equal(made->access_key_id, "AKID");
    assert_string_equal(made->secret_access_key, "HUSH");
    assert_string_equal(made->source, "profile default, credential_process");
    assert_int_equal(made->expires_s, 0);
    dlk_credentials_unref(made);
}

static void assert_runs_not(const char *command, int64_t timeout_ms, const char *word)
{
    struct dlk_credentials *made = NULL;
    dynalock_error error;
    assert_int_equal(run_program(command, timeout_ms, &made, &error), DYNALOCK_ERR_CREDENTIALS);
    assert_null(made);
    assert_int_equal(error.code, DYNALOCK_ERR_CREDENTIALS);
    if (strstr(error.message, word) == NULL) {
        fail_msg("%s", error.message);
    }
    assert_null(strstr(error.message, "HUSH"));
}

static void put_script(const char *name, const char *text)
{
    home_put(name, text);
    assert_int_equal(chmod(home_path(name), 0700), 0);
}

static void test_a_program_gives_credentials(void **state)
{
    (void)state;
    assert_runs("echo '" GOOD "'");
    assert_runs("printf '%s' '" GOOD "'");
    assert_runs("/bin/sh -c \"echo '{\\\"Version\\\":1,\\\"AccessKeyId\\\":\\\"AKID\\\","
                "\\\"SecretAccessKey\\\":\\\"HUSH\\\"}'\"");
}

static void test_a_program_gets_words_and_no_shell(void **state)
{
    char command[1024];
    (void)state;
    put_script("words", "#!/bin/sh\n"
                        "[ $# -eq 6 ] && [ \"$1\" = 'a b' ] && [ \"$2\" = 'c\"d' ] && "
                        "[ \"$3\" = \"it's\" ] && [ \"$4\" = '$HOME;*|&' ] && [ \"$5\" = '' ] && "
                        "[ \"$6\" = 'x\\y' ] || exit 9\n"
                        "echo '" GOOD "'\n");
    (void)snprintf(command, sizeof command,
                   "\"%s\" \"a b\" 'c\"d' it\\'s $HOME\\;*|& \"\" \"x\\y\"", home_path("words"));
    assert_runs(command);
    home_drop("words");
}

static void test_a_command_that_is_not_one_is_refused(void **state)
{
    (void)state;
    assert_runs_not("echo 'HUSH", 1000, "a quote that does not end");
    assert_runs_not("echo \"HUSH", 1000, "a quote that does not end");
    assert_runs_not("echo \\", 1000, "a quote that does not end");
    char many[2 * 257 + 1] = "";
    for (size_t i = 0; i < sizeof many - 1; i++) {
        many[i] = i % 2 == 0 ? 'x' : ' ';
    }
    assert_runs_not(many, 1000, "more than 256 words");
}

/* Root alone can try. */
static void test_a_privileged_program_runs_none(void **state)
{
    (void)state;
    if (geteuid() == 0) {
        assert_int_equal(setresuid(65534, 0, 0), 0);
        assert_runs_not("echo '" GOOD "'", 1000, "a privileged program runs no");
        assert_int_equal(setresuid(0, 0, 0), 0);
        assert_runs("echo '" GOOD "'");
    }
}

static void test_a_program_that_cannot_be_started_is_told(void **state)
{
    (void)state;
    /* Where the system has no vfork, all that is left of the reason is the status. */
    assert_runs_not("/nonexistent/program HUSH", 1000, "no such program");
    assert_runs_not("no-such-program-anywhere HUSH", 1000, "no such program");
    struct dlk_credentials *made = NULL;
    dynalock_error error;
    assert_int_equal(run_program("/etc/passwd HUSH", 1000, &made, &error),
                     DYNALOCK_ERR_CREDENTIALS);
    assert_true(strstr(error.message, "permission denied") != NULL ||
                strstr(error.message, "status 127") != NULL);
}

static void test_a_program_that_fails_is_told_by_its_status(void **state)
{
    (void)state;
    assert_runs_not("sh -c 'echo HUSH; echo HUSH >&2; exit 7'", 5000, "status 7");
    assert_runs_not("sh -c 'kill -9 $$'", 5000, "signal 9");
    assert_runs_not("sh -c 'echo HUSH'", 5000, "not a JSON object");
    assert_runs_not("true", 5000, "not a JSON object");
    assert_runs_not("echo '{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"HUSH\","
                    "\"Expiration\":\"2001-01-01T00:00:00Z\"}'",
                    5000, "expired");
    assert_runs_not("echo '{\"Version\":1,\"AccessKeyId\":\"A A\",\"SecretAccessKey\":\"HUSH\"}'",
                    5000, "white space");
}

static void test_a_program_that_prints_too_much_is_ended(void **state)
{
    (void)state;
    assert_runs_not("yes HUSH", 10000, "more than 64 KB");
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static int64_t now_ms(void)
{
    struct dlk_clock clock = dlk_system_clock();
    return clock.boot_us(clock.context) / 1000;
}

static void test_a_program_that_hangs_is_ended_with_what_it_started(void **state)
{
    char command[1024];
    (void)state;
    put_script("hangs", "#!/bin/sh\nsleep 60 &\necho $! >\"$1\"\nwait\n");
    (void)snprintf(command, sizeof command, "%shangs %spid", home_path(""), home_path(""));
    int64_t from = now_ms();
    assert_runs_not(command, 500, "did not end in time");
    assert_in_range(now_ms() - from, 400, 5000);
    FILE *file = fopen(home_path("pid"), "r");
    int pid = 0;
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%d", &pid), 1);
    (void)fclose(file);
    for (int i = 0; i < 100 && kill(pid, 0) == 0; i++) {
        char name[64], status[512] = "";
        (void)snprintf(name, sizeof name, "/proc/%d/stat", pid);
        FILE *proc = fopen(name, "r"); /* init may be slow to reap it */
        if (proc != NULL) {
            (void)fread(status, 1, sizeof status - 1, proc);
            (void)fclose(proc);
        }
        if (strstr(status, ") Z") != NULL) {
            break;
        }
        assert_int_not_equal(i, 99);
        (void)usleep(20000);
    }
    home_drop("hangs");
    home_drop("pid");
}

static void test_a_program_whose_children_keep_its_output_is_not_waited_for(void **state)
{
    (void)state;
    int64_t from = now_ms();
    assert_runs("sh -c 'sleep 3 & echo \"$0\"' '" GOOD "'");
    assert_in_range(now_ms() - from, 0, 2500);
}

static void *cancel_soon(void *context)
{
    (void)context;
    (void)usleep(200000);
    atomic_store(&cancelled, true);
    return NULL;
}

static void test_a_program_is_ended_when_the_store_closes(void **state)
{
    struct dlk_credentials *made = NULL;
    dynalock_error error;
    pthread_t thread;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, NULL), 0);
    int64_t from = now_ms();
    assert_int_equal(run_program("sleep 30", 20000, &made, &error), DYNALOCK_ERR_CLOSED);
    assert_in_range(now_ms() - from, 0, 5000);
    assert_int_equal(pthread_join(thread, NULL), 0);
    atomic_store(&cancelled, false);
}

static void test_a_program_gets_a_clean_world(void **state)
{
    sigset_t blocked, before;
    (void)state;
    /* Descriptor 9 is not close-on-exec, SIGTERM is blocked and SIGPIPE ignored here. */
    int open_here = dup2(STDOUT_FILENO, 9);
    assert_int_equal(open_here, 9);
    (void)sigemptyset(&blocked);
    (void)sigaddset(&blocked, SIGTERM);
    assert_int_equal(sigprocmask(SIG_BLOCK, &blocked, &before), 0);
    struct sigaction ignore = {.sa_handler = SIG_IGN}, old;
    assert_int_equal(sigaction(SIGPIPE, &ignore, &old), 0);
    put_script("world", "#!/bin/sh\n"
                        "read line && exit 3\n"
                        "grep -q '^SigBlk:[[:space:]]*0*$' /proc/self/status || exit 4\n"
                        /* From 32 on they are the libc's own. */
                        "ignored=$(sed -n 's/^SigIgn:[[:space:]]*//p' /proc/self/status)\n"
                        "case ${ignored#????????} in 00000000 | 80000000) ;; *) exit 5 ;; esac\n"
#if defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 34)
                        "[ -e /proc/$$/fd/9 ] && exit 6\n"
#endif
#endif
                        "echo noise >&2\necho '" GOOD "'\n");
    char command[512];
    (void)snprintf(command, sizeof command, "%s", home_path("world"));
    assert_runs(command);
    assert_int_equal(sigaction(SIGPIPE, &old, NULL), 0);
    assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
    (void)close(9);
    home_drop("world");
}

static void test_a_program_runs_where_children_are_left_to_the_system(void **state)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, old;
    (void)state;
    assert_int_equal(sigaction(SIGCHLD, &ignore, &old), 0);
    assert_runs("echo '" GOOD "'");
    assert_int_equal(sigaction(SIGCHLD, &old, NULL), 0);
}

static void test_a_program_runs_where_the_standard_descriptors_are_closed(void **state)
{
    (void)state;
    int kept[3];
    for (int i = 0; i < 3; i++) {
        kept[i] = fcntl(i, F_DUPFD_CLOEXEC, 20);
        (void)close(i);
    }
    struct dlk_credentials *made = NULL;
    dynalock_error error;
    int code = run_program("echo '" GOOD "'", 5000, &made, &error);
    for (int i = 0; i < 3; i++) {
        (void)dup2(kept[i], i);
        (void)close(kept[i]);
    }
    assert_int_equal(code, 0);
    dlk_credentials_unref(made);
}

static void test_other_children_are_not_reaped(void **state)
{
    (void)state;
    pid_t other = fork();
    if (other == 0) {
        _exit(5);
    }
    assert_runs("echo '" GOOD "'");
    int status = 0;
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_int_equal(WEXITSTATUS(status), 5);
}

/* ---- The chain ------------------------------------------------------------------------------- */

/* A source settled by config (and environment): no time is left to ask it, but the error names it. */
static void assert_source(const char *config, const char *source)
{
    struct dlk_credentials *made = NULL;
    dynalock_error error;
    home_put(".aws/config", config);
    int code = fetch(0, &made, &error);
    const char *named = code == 0 ? made->source : error.message;
    if (strstr(named, source) == NULL) {
        fail_msg("%s: %s", config, named);
    }
    dlk_credentials_unref(made);
}

/* Opening fails. */
static void assert_no_source(const char *config, const char *word)
{
    assert_source(config, word);
}

#define KEYS "aws_access_key_id = AKID\naws_secret_access_key = HUSH\n"
#define ROLE "role_arn = arn:aws:iam::123456789012:role/r\n"
#define SSO "sso_start_url = u\nsso_region = us-east-1\nsso_account_id = 1\nsso_role_name = r\n"

static void test_a_profile_has_sources_in_the_sdks_order(void **state)
{
    (void)state;
    assert_source("[default]\n" KEYS, "profile default");
    assert_source("[default]\n" KEYS "credential_process = x\n" SSO, "profile default");
    assert_source("[default]\ncredential_process = x\n" SSO, "profile default, credential_process");
    assert_source("[default]\n" SSO, "profile default, SSO");
    assert_source("[default]\n" SSO ROLE "web_identity_token_file = f\ncredential_process = x\n",
                  "profile default, web identity");
    assert_source("[default]\n" KEYS ROLE "web_identity_token_file = f\n", "profile default");
    assert_source("[default]\n" KEYS ROLE "source_profile = default\n", "profile default, role");
    assert_source("[default]\n" ROLE "credential_source = Ec2InstanceMetadata\n",
                  "instance metadata");
    assert_source("[default]\nregion = us-east-1\n", "instance metadata");
    assert_source("[default]\naws_access_key_id = AKID\ncredential_process = x\n",
                  "profile default, credential_process");
}

static void test_a_role_takes_its_source_from_other_profiles(void **state)
{
    (void)state;
    assert_source("[default]\n" ROLE "source_profile = b\n[profile b]\n" ROLE
                  "source_profile = c\n[profile c]\ncredential_process = x\n",
                  "profile c, credential_process");
    /* Keys come first in a profile that is a source. */
    assert_source("[default]\n" ROLE "source_profile = b\n[profile b]\n" KEYS ROLE
                  "source_profile = nowhere\n",
                  "profile default, role");
    assert_source("[default]\n" ROLE "source_profile = b\n[profile b]\ncredential_source = "
                  "Ec2InstanceMetadata\n",
                  "instance metadata");
    assert_source("[default]\n" ROLE "source_profile = b\n[profile b]\n" ROLE
                  "source_profile = default\n" KEYS,
                  "profile default, role");
}

static void test_a_profile_that_cannot_work_is_refused(void **state)
{
    static const struct {
        const char *config, *word;
    } bad[] = {
        {"[default]\naws_access_key_id = AKID\n", "profile default has aws_access_key_id without"},
        {"[default]\naws_secret_access_key = HUSH\n", "has aws_secret_access_key without"},
        {"[default]\n" ROLE, "has role_arn without source_profile"},
        {"[default]\n" ROLE "source_profile = a\ncredential_source = Environment\n", "has both"},
        {"[default]\n" ROLE "source_profile = a\n", "names source_profile a, which is not there"},
        {"[default]\n" ROLE "source_profile = a\n[profile a]\nregion = r\n",
         "profile a has no credentials"},
        {"[default]\n" ROLE "source_profile = a\n[profile a]\n" ROLE "source_profile = a\n",
         "loop"},
        {"[default]\n" ROLE "source_profile = default\n", "loop"},
        {"[default]\n" ROLE "source_profile = a\n[profile a]\n" ROLE "source_profile = default\n",
         "loop"},
        {"[default]\n" ROLE "credential_source = Moon\n", "none of Environment"},
        {"[default]\n" ROLE "credential_source = Environment\n",
         "credential_source Environment is not there"},
        {"[default]\n" ROLE "credential_source = EcsContainer\n",
         "credential_source EcsContainer is not there"},
        {"[default]\n" KEYS ROLE "source_profile = default\nmfa_serial = x\n", "MFA"},
        {"[default]\n" KEYS ROLE "source_profile = default\nduration_seconds = 10\n",
         "duration_seconds"},
        {"[default]\n" KEYS ROLE "source_profile = default\nduration_seconds = 3600s\n",
         "duration_seconds"},
        {"[default]\nsso_start_url = u\n", "profile default has no sso_region"},
        {"[default]\nsso_session = s\n", "names sso-session s, which is not there"},
        {"[default]\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\n[sso-session s]\nsso_region = r\n",
         "sso-session s has no sso_start_url"},
        {"[default]\nsso_session = s\nsso_role_name = r\n[sso-session s]\nsso_region = us-east-1\nsso_start_url = u\n",
         "profile default has no sso_account_id"},
        {"[default]\nlogin_session = x\n", "aws login"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct dlk_credentials *made = NULL;
        dynalock_error error;
        home_put(".aws/config", bad[i].config);
        assert_int_equal(fetch(0, &made, &error), DYNALOCK_ERR_CREDENTIALS);
        if (strstr(error.message, bad[i].word) == NULL || strstr(error.message, "HUSH") != NULL ||
            strstr(error.message, "instance metadata: ") != NULL) {
            fail_msg("%s: %s", bad[i].config, error.message);
        }
    }
}

static void test_a_chain_of_too_many_profiles_is_refused(void **state)
{
    char config[4096] = "[default]\n" ROLE "source_profile = p0\n";
    (void)state;
    for (int i = 0; i < 20; i++) {
        size_t used = strlen(config);
        (void)snprintf(config + used, sizeof config - used,
                       "[profile p%d]\n" ROLE "source_profile = p%d\n", i, i + 1);
    }
    assert_no_source(config, "more than 8 profiles");
}

static void test_the_environment_comes_before_the_default_profile(void **state)
{
    (void)state;
    setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "HUSH", 1);
    assert_source("[default]\n" KEYS, "environment");
}

static void test_a_named_profile_comes_before_the_environment(void **state)
{
    (void)state;
    setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "HUSH", 1);
    setenv("AWS_PROFILE", "dev", 1);
    assert_source("[profile dev]\n" KEYS, "profile dev");
    assert_source("[profile dev]\n" ROLE "credential_source = Environment\n", "profile dev, role");
    assert_no_source("[default]\n" KEYS, "there is no profile dev");
}

static void test_half_of_a_pair_in_the_environment_is_refused(void **state)
{
    (void)state;
    setenv("AWS_SECRET_ACCESS_KEY", "HUSH", 1);
    assert_no_source("[default]\n" KEYS,
                     "environment: a secret access key without an access key id");
}

static void test_what_follows_the_profile_is_in_the_sdks_order(void **state)
{
    (void)state;
    assert_source("", "instance metadata");
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/x", 1);
    assert_source("", "container");
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent", 1);
    assert_source("", "container");
    setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r", 1);
    assert_source("", "web identity");
    assert_source("[default]\ncredential_process = x\n", "profile default, credential_process");
}

static void test_a_chain_that_finds_nothing_says_what_it_tried(void **state)
{
    static const char *const words[] = {
        "environment: AWS_ACCESS_KEY_ID", "profile default: not there",
        "web identity: AWS_WEB_IDENTITY_TOKEN_FILE", "container: AWS_",
        "instance metadata: AWS_EC2_METADATA_DISABLED"};
    struct dlk_credentials *made = NULL;
    dynalock_error error;
    (void)state;
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    assert_int_equal(fetch(0, &made, &error), DYNALOCK_ERR_CREDENTIALS);
    for (size_t i = 0; i < COUNT(words); i++) {
        assert_non_null(strstr(error.message, words[i]));
    }
    setenv("AWS_EC2_METADATA_DISABLED", "false", 1);
    assert_source("", "instance metadata: ");
}

static void test_container_addresses_are_checked_before_anything_is_sent(void **state)
{
    static const char *const bad_relative[] = {"creds", ".evil.example/x", "@evil.example/x",
                                               "/a b"};
    static const char *const bad_full[] = {"ftp://127.0.0.1/x", "127.0.0.1/x", "http:///x",
                                           "http://u:HUSH@127.0.0.1/", "http://127.0.0.1/\r\nX: y"};
    (void)state;
    for (size_t i = 0; i < COUNT(bad_full); i++) {
        setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", bad_full[i], 1);
        assert_no_source("", "AWS_CONTAINER_CREDENTIALS_FULL_URI is not");
    }
    for (size_t i = 0; i < COUNT(bad_relative); i++) {
        setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", bad_relative[i], 1);
        assert_no_source("", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is not");
    }
}

static void test_the_address_of_instance_metadata_is_checked_before_anything_is_sent(void **state)
{
    static const char *const bad[] = {"169.254.169.254",
                                      "ftp://169.254.169.254",
                                      "http://u:HUSH@host/",
                                      "http://host/?a",
                                      "http://host/#a",
                                      "http://host/\r\nX: y",
                                      "http://h\xC3\xA9/",
                                      "http://",
                                      "https://",
                                      "http:////",
                                      "http:///host",
                                      "http://:80"};
    char endless[3000] = "http://";
    (void)state;
    memset(endless + 7, 'h', sizeof endless - 8);
    for (size_t i = 0; i < COUNT(bad); i++) {
        setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", bad[i], 1);
        assert_no_source("", "the endpoint of instance metadata is not an http");
    }
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", endless, 1);
    assert_no_source("", "the endpoint of instance metadata is not an http");
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv5", 1); /* the endpoint says it all */
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1//", 1);
    assert_source("", "instance metadata: ");
    unsetenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    assert_no_source("", "neither IPv4 nor IPv6");
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6", 1);
    assert_source("", "instance metadata: ");
}

static void test_a_role_needs_a_region_to_be_asked_for_in(void **state)
{
    (void)state;
    unsetenv("AWS_REGION");
    assert_no_source("[default]\n" KEYS ROLE "source_profile = default\n", "no region for STS");
}

/* Nobody: as a user who may not read what is the tester's own, even if that is root. */
static void assert_token_file(bool nobody, const char *word)
{
    struct dlk_credentials *made = NULL;
    dynalock_error error;
    uid_t user = geteuid();
    nobody = nobody && user == 0;
    assert_int_equal(nobody ? setresuid(65534, 65534, user) : 0, 0);
    int code = fetch(1000, &made, &error);
    assert_int_equal(nobody ? setresuid(user, user, user) : 0, 0);
    assert_int_equal(code, DYNALOCK_ERR_CREDENTIALS);
    assert_int_equal(error.flags & DYNALOCK_ERROR_RETRYABLE, 0); /* waiting will not mend it */
    if (strstr(error.message, word) == NULL || strstr(error.message, "HUSH") != NULL) {
        fail_msg("%s", error.message);
    }
}

static void test_a_token_file_that_cannot_be_read_is_named(void **state)
{
    static char large[70000];
    (void)state;
    memset(large, 'x', sizeof large - 1);
    setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r", 1);
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    home_put("token", large);
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", home_path("token"), 1);
    assert_token_file(false, "/token cannot be read (too large)");
    home_put("token", "HUSH");
    assert_int_equal(chmod(home_path("token"), 0), 0);
    assert_token_file(true, "/token may not be read");
    home_drop("token");
    assert_token_file(false, "there is no file");
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/", 1);
    assert_token_file(false, "/ cannot be read (the system refuses)");
}

static void test_options_come_first_and_are_fixed(void **state)
{
    const dynalock_options options = {.access_key_id = "OPT", .secret_access_key = "HUSH"};
    const dynalock_options half = {.access_key_id = "OPT"};
    struct dlk_profiles *profiles = NULL;
    struct dlk_config config = {0};
    struct dlk_chain *chain = NULL;
    struct dlk_credentials *made = NULL;
    const struct dlk_fetch how = {.now_s = NOW};
    dynalock_error error = {0};
    (void)state;
    setenv("AWS_PROFILE", "nobody", 1);
    assert_int_equal(dlk_profiles_read(&profiles, &error), 0);
    assert_int_equal(dlk_config_read(&config, &options, profiles, &error), 0);
    assert_int_equal(dlk_chain_new(&chain, &options, &config, profiles, "nobody", &error), 0);
    assert_true(dlk_chain_is_fixed(chain));
    assert_int_equal(dlk_chain_fetch(chain, &how, &made, &error), 0);
    assert_string_equal(made->access_key_id, "OPT");
    assert_string_equal(made->source, "options");
    dlk_credentials_unref(made);
    dlk_chain_free(chain);
    assert_int_equal(dlk_chain_new(&chain, &half, &config, profiles, "nobody", &error),
                     DYNALOCK_ERR_CREDENTIALS);
    assert_non_null(strstr(error.message, "options: an access key id without a secret access key"));
    dlk_config_free(&config);
    dlk_profiles_free(profiles);
}

#define IN_WORLD(test) cmocka_unit_test_setup(test, clear_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dates_are_read_as_rfc_3339_has_them),
        cmocka_unit_test(test_sha1_is_that_of_the_standard),
        cmocka_unit_test(test_the_text_of_an_element_is_read),
        cmocka_unit_test(test_xml_that_is_not_sound_is_refused),
        cmocka_unit_test(test_xml_cut_off_anywhere_is_refused),
        cmocka_unit_test(test_xml_nested_too_deep_is_refused),
        cmocka_unit_test(test_credentials_of_each_form_are_read),
        cmocka_unit_test(test_credentials_that_are_not_whole_are_refused_without_a_secret),
        cmocka_unit_test(test_a_servers_words_are_cut_where_they_repeat_a_secret),
        IN_WORLD(test_a_program_gives_credentials),
        IN_WORLD(test_a_program_gets_words_and_no_shell),
        IN_WORLD(test_a_command_that_is_not_one_is_refused),
        IN_WORLD(test_a_privileged_program_runs_none),
        IN_WORLD(test_a_program_that_cannot_be_started_is_told),
        IN_WORLD(test_a_program_that_fails_is_told_by_its_status),
        IN_WORLD(test_a_program_that_prints_too_much_is_ended),
        IN_WORLD(test_a_program_that_hangs_is_ended_with_what_it_started),
        IN_WORLD(test_a_program_whose_children_keep_its_output_is_not_waited_for),
        IN_WORLD(test_a_program_is_ended_when_the_store_closes),
        IN_WORLD(test_a_program_gets_a_clean_world),
        IN_WORLD(test_a_program_runs_where_children_are_left_to_the_system),
        IN_WORLD(test_a_program_runs_where_the_standard_descriptors_are_closed),
        IN_WORLD(test_other_children_are_not_reaped),
        IN_WORLD(test_a_profile_has_sources_in_the_sdks_order),
        IN_WORLD(test_a_role_takes_its_source_from_other_profiles),
        IN_WORLD(test_a_profile_that_cannot_work_is_refused),
        IN_WORLD(test_a_chain_of_too_many_profiles_is_refused),
        IN_WORLD(test_the_environment_comes_before_the_default_profile),
        IN_WORLD(test_a_named_profile_comes_before_the_environment),
        IN_WORLD(test_half_of_a_pair_in_the_environment_is_refused),
        IN_WORLD(test_what_follows_the_profile_is_in_the_sdks_order),
        IN_WORLD(test_a_chain_that_finds_nothing_says_what_it_tried),
        IN_WORLD(test_container_addresses_are_checked_before_anything_is_sent),
        IN_WORLD(test_the_address_of_instance_metadata_is_checked_before_anything_is_sent),
        IN_WORLD(test_a_role_needs_a_region_to_be_asked_for_in),
        IN_WORLD(test_a_token_file_that_cannot_be_read_is_named),
        IN_WORLD(test_options_come_first_and_are_fixed),
    };
    return cmocka_run_group_tests(tests, make_world, end_world);
}
