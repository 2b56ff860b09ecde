/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resolves what it is told to, for config.test.mjs; see support_tool.h.
 *
 * In: env (an object: all there is of AWS_*, and HOME), options ({"profile", "region", "endpoint"}, each
 * may be missing), ask ([[section, name, key], ...], section 0 to 2 as enum dlk_section), services
 * ([[service id, service, region], ...]), make ([[service, region, fips, dual_stack], ...]).
 *
 * Out: error (the message, where the files could not be read), answers (what ask asks for; null: not
 * there), config ({"region", "url", "host", "max_attempts", "ca_file", "lacks_region"} or {"error"}),
 * services and made (URLs, or null where it was refused).
 */
#include "../internal.h"
#include "support_tool.h"

static const char *tool_text(const json_t *list, size_t index)
{
    return json_string_value(json_array_get(list, index));
}

static json_t *tool_ask(const struct dlk_profiles *profiles, const json_t *questions)
{
    json_t *answers = json_array();
    for (size_t i = 0; i < json_array_size(questions); i++) {
        const json_t *one = json_array_get(questions, i);
        json_int_t section = json_integer_value(json_array_get(one, 0));
        const char *value = dlk_profiles_get(profiles, (enum dlk_section)section, tool_text(one, 1),
                                             tool_text(one, 2));
        (void)json_array_append_new(answers, value != NULL ? json_string(value) : json_null());
    }
    return answers;
}

static json_t *tool_services(const struct dlk_config *config, const struct dlk_profiles *profiles,
                             const json_t *services)
{
    json_t *urls = json_array();
    for (size_t i = 0; i < json_array_size(services); i++) {
        const json_t *one = json_array_get(services, i);
        char url[DLK_URL_SIZE];
        int code = dlk_config_endpoint(config, profiles, tool_text(one, 0), tool_text(one, 1),
                                       tool_text(one, 2), url, NULL);
        (void)json_array_append_new(urls, code == 0 ? json_string(url) : json_null());
    }
    return urls;
}

static json_t *tool_make(const json_t *hosts)
{
    json_t *urls = json_array();
    for (size_t i = 0; i < json_array_size(hosts); i++) {
        const json_t *one = json_array_get(hosts, i);
        char url[DLK_URL_SIZE];
        int code = dlk_endpoint_make(tool_text(one, 0), tool_text(one, 1),
                                     json_is_true(json_array_get(one, 2)),
                                     json_is_true(json_array_get(one, 3)), url, sizeof url, NULL);
        (void)json_array_append_new(urls, code == 0 ? json_string(url) : json_null());
    }
    return urls;
}

static void tool_config(json_t *out, const struct dlk_profiles *profiles,
                        const dynalock_options *options, const json_t *services)
{
    struct dlk_config config;
    dynalock_error error = {0};
    int code = dlk_config_read(&config, options, profiles, &error);
    if (code != 0) {
        (void)json_object_set_new(out, "config", json_pack("{s:s}", "error", error.message));
        return;
    }
    (void)json_object_set_new(out, "config",
                              json_pack("{s:s?, s:s?, s:s?, s:i, s:s?, s:b}", "region",
                                        config.region, "url", config.url, "host", config.host,
                                        "max_attempts", config.max_attempts, "ca_file",
                                        config.ca_file, "lacks_region", config.lacks_region));
    (void)json_object_set_new(out, "services", tool_services(&config, profiles, services));
    dlk_config_free(&config);
}

static json_t *tool_answer(const json_t *in, void *context)
{
    const json_t *given = json_object_get(in, "options");
    dynalock_options options = {
        .profile = json_string_value(json_object_get(given, "profile")),
        .region = json_string_value(json_object_get(given, "region")),
        .endpoint = json_string_value(json_object_get(given, "endpoint")),
    };
    struct dlk_profiles *profiles;
    dynalock_error error = {0};
    json_t *out = json_object();
    (void)context;
    tool_set_environment(json_object_get(in, "env"));
    (void)json_object_set_new(out, "made", tool_make(json_object_get(in, "make")));
    if (dlk_profiles_read(&profiles, &error) != 0) {
        (void)json_object_set_new(out, "error", json_string(error.message));
        return out;
    }
    (void)json_object_set_new(out, "answers", tool_ask(profiles, json_object_get(in, "ask")));
    tool_config(out, profiles, &options, json_object_get(in, "services"));
    dlk_profiles_free(profiles);
    return out;
}

int main(void)
{
    return tool_run(tool_answer, NULL);
}
