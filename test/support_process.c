/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* pipe2, environ */
#include "support_process.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

static void process_check(int good, const char *what)
{
    if (!good) {
        fflush(stdout);
        fprintf(stderr, "test process: %s: %s\n", what, strerror(errno));
        abort();
    }
}

static pid_t process_spawn(char *const *argv, int in, int out)
{
    posix_spawn_file_actions_t actions;
    pid_t pid = -1;
    process_check(posix_spawn_file_actions_init(&actions) == 0 &&
                      posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO) == 0 &&
                      posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO) == 0,
                  "posix_spawn_file_actions");
    process_check(posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ) == 0, argv[0]);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

static int process_read_port(int fd)
{
    char text[16] = "";
    for (size_t used = 0; used + 1 < sizeof text && !strchr(text, '\n');) {
        ssize_t n = read(fd, text + used, 1);
        process_check(n > 0 || (n < 0 && errno == EINTR), "the server's port");
        used += n > 0 ? 1 : 0;
    }
    return (int)strtol(text, NULL, 10);
}

struct process process_start(const char *kind, const char *key, const char *certificate)
{
    char node[] = "tools/node";
    char script[] = "test/rig/odd.mjs";
    char *argv[] = {node, script, (char *)kind, (char *)key, (char *)certificate, NULL};
    struct process process;
    int in[2];
    int out[2];
    process_check(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0, "pipe");
    process.pid = process_spawn(argv, in[0], out[1]);
    close(in[0]);
    close(out[1]);
    process.in = in[1];
    snprintf(process.endpoint, sizeof process.endpoint, "%s://127.0.0.1:%d", key ? "https" : "http",
             process_read_port(out[0]));
    close(out[0]);
    return process;
}

void process_end(struct process *process)
{
    close(process->in);
    while (waitpid(process->pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

/* ---- Certificates ---------------------------------------------------------------------------- */

static EVP_PKEY *process_key(void)
{
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
    process_check(context && EVP_PKEY_keygen_init(context) == 1 &&
                      EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context, NID_X9_62_prime256v1) == 1 &&
                      EVP_PKEY_keygen(context, &key) == 1,
                  "key");
    EVP_PKEY_CTX_free(context);
    return key;
}

static void process_extend(X509 *x509, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    process_check(extension && X509_add_ext(x509, extension, -1) == 1, "extension");
    X509_EXTENSION_free(extension);
}

static X509 *process_self_signed(EVP_PKEY *key, const char *name)
{
    char names[200];
    X509 *x509 = X509_new();
    process_check(x509 && X509_set_version(x509, 2) == 1 && X509_set_pubkey(x509, key) == 1 &&
                      ASN1_INTEGER_set(X509_get_serialNumber(x509), 1) == 1 &&
                      X509_gmtime_adj(X509_getm_notBefore(x509), -3600) &&
                      X509_gmtime_adj(X509_getm_notAfter(x509), 86400),
                  "certificate");
    X509_NAME *subject = X509_get_subject_name(x509);
    process_check(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                             (const unsigned char *)name, -1, -1, 0) == 1 &&
                      X509_set_issuer_name(x509, subject) == 1,
                  "name");
    snprintf(names, sizeof names, "%s:%s",
             strspn(name, "0123456789.") == strlen(name) ? "IP" : "DNS", name);
    process_extend(x509, NID_subject_alt_name, names);
    process_extend(x509, NID_basic_constraints, "critical,CA:TRUE");
    process_check(X509_sign(x509, key, EVP_sha256()) > 0, "signature");
    return x509;
}

void process_certificate(const char *key, const char *certificate, const char *name)
{
    EVP_PKEY *made = process_key();
    X509 *x509 = process_self_signed(made, name);
    FILE *key_file = fopen(key, "w");
    FILE *file = fopen(certificate, "w");
    process_check(key_file && file &&
                      PEM_write_PrivateKey(key_file, made, NULL, NULL, 0, NULL, NULL) == 1 &&
                      PEM_write_X509(file, x509) == 1,
                  "files");
    process_check(fclose(key_file) == 0 && fclose(file) == 0, "files");
    X509_free(x509);
    EVP_PKEY_free(made);
}
