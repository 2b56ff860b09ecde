/* SPDX-License-Identifier: Apache-2.0 */
/* version: ours and the libraries'. */
#include "command.h"

#include <curl/curl.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>

static const char *version_jansson(void)
{
#if JANSSON_VERSION_HEX >= 0x020d00
    return jansson_version_str();
#else
    return JANSSON_VERSION;
#endif
}

int command_version(struct settings *settings, int argc, char **argv)
{
    int status = settings_no_option(settings, argc, argv);
    if (status == -1) {
        status = settings_arguments(argc, argv, 0, 0, "nothing");
    }
    if (status != -1) {
        return status;
    }
    const char *openssl = OpenSSL_version(OPENSSL_VERSION);
    if (settings->json) {
        return json_print(json_pack("{s:s, s:s, s:s, s:s, s:s}", "dynalock", DYNALOCK_VERSION,
                                    "library", dynalock_version(), "libcurl", curl_version(),
                                    "openssl", openssl, "jansson", version_jansson()));
    }
    (void)printf("dynalock %s (library %s)\n%s\n%s\njansson %s\n", DYNALOCK_VERSION,
                 dynalock_version(), curl_version(), openssl, version_jansson());
    return EXIT_OK;
}
