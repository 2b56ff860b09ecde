/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* unshare */
#include "support_certificate.h"

#include "support_process.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>
#include <curl/curl.h>

struct certificate certificate_new(const char *name)
{
    struct certificate made = {.folder = "/tmp/dynalock-tls-XXXXXX"};
    assert_non_null(mkdtemp(made.folder));
    snprintf(made.key, sizeof made.key, "%s/key.pem", made.folder);
    snprintf(made.file, sizeof made.file, "%s/cert.pem", made.folder);
    process_certificate(made.key, made.file, name);
    return made;
}

void certificate_remove(const struct certificate *certificate)
{
    unlink(certificate->key);
    unlink(certificate->file);
    rmdir(certificate->folder);
}

bool certificate_trust(const struct certificate *certificate)
{
    const char *named = "/etc/ssl/certs/ca-certificates.crt";
    char bundle[4096];
#if LIBCURL_VERSION_NUM >= 0x074600
    named = curl_version_info(CURLVERSION_NOW)->cainfo;
#endif
    return named && realpath(named, bundle) &&
           (unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) &&
           mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount(certificate->file, bundle, NULL, MS_BIND, NULL) == 0;
}
