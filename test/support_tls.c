/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* pipe2, environ */
#include "support_tls.h"

#include "support_lock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define TLS_DAY_S 86400
#define TLS_START_MS 20000
#define TLS_FIRST_FD 200 /* of nginx's listeners */

static void tls_check(int good, const char *what)
{
    if (!good) {
        fflush(stdout);
        fprintf(stderr, "test tls: %s: %s\n", what, strerror(errno));
        abort();
    }
}

static const char *tls_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

static const char *tls_text(const char *format, ...)
{
    static _Thread_local char texts[4][300];
    static _Thread_local unsigned next;
    char *text = texts[next++ % 4];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof texts[0], format, arguments);
    va_end(arguments);
    return text;
}

/* ---- Certificates ---------------------------------------------------------------------------- */

struct authority {
    EVP_PKEY *key;
    X509 *x509;
};

static EVP_PKEY *tls_key(void)
{
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
    tls_check(context && EVP_PKEY_keygen_init(context) == 1 &&
                  EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context, NID_X9_62_prime256v1) == 1 &&
                  EVP_PKEY_keygen(context, &key) == 1,
              "key");
    EVP_PKEY_CTX_free(context);
    return key;
}

static void tls_extend(X509 *x509, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    tls_check(extension && X509_add_ext(x509, extension, -1) == 1, "extension");
    X509_EXTENSION_free(extension);
}

/* by NULL: by itself; names NULL: an authority. */
static X509 *tls_certificate(EVP_PKEY *key, const char *subject, const char *names, int64_t from_s,
                             int64_t until_s, const struct authority *by)
{
    static long serial;
    X509 *x509 = X509_new();
    tls_check(x509 && X509_set_version(x509, 2) == 1 && X509_set_pubkey(x509, key) == 1 &&
                  ASN1_INTEGER_set(X509_get_serialNumber(x509), ++serial) == 1 &&
                  X509_gmtime_adj(X509_getm_notBefore(x509), (long)from_s) &&
                  X509_gmtime_adj(X509_getm_notAfter(x509), (long)until_s),
              "certificate");
    X509_NAME *name = X509_get_subject_name(x509);
    tls_check(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)subject,
                                         -1, -1, 0) == 1 &&
                  X509_set_issuer_name(x509, by ? X509_get_subject_name(by->x509) : name) == 1,
              "name");
    tls_extend(x509, NID_basic_constraints, names ? "CA:FALSE" : "critical,CA:TRUE");
    if (names) {
        tls_extend(x509, NID_subject_alt_name, names);
    }
    tls_check(X509_sign(x509, by ? by->key : key, EVP_sha256()) > 0, "signature");
    return x509;
}

static struct authority tls_authority(const char *name)
{
    struct authority made = {.key = tls_key()};
    made.x509 = tls_certificate(made.key, name, NULL, -TLS_DAY_S, TLS_DAY_S, NULL);
    return made;
}

static void tls_authority_free(struct authority *authority)
{
    X509_free(authority->x509);
    EVP_PKEY_free(authority->key);
}

static void tls_write_certificate(const char *path, X509 *x509)
{
    FILE *file = fopen(path, "w");
    tls_check(file && PEM_write_X509(file, x509) == 1 && fclose(file) == 0, path);
}

static void tls_certify(const struct tls_farm *farm, const struct tls_site *site, EVP_PKEY *key,
                        const struct authority *ours, const struct authority *stranger)
{
    const char *authority = site->authority ? site->authority : "ours";
    const struct authority *by = strcmp(authority, "self") == 0       ? NULL
                                 : strcmp(authority, "stranger") == 0 ? stranger
                                                                      : ours;
    X509 *x509 = tls_certificate(key, site->name, site->names ? site->names : "IP:127.0.0.1",
                                 site->from_s ? site->from_s : -TLS_DAY_S,
                                 site->until_s ? site->until_s : TLS_DAY_S, by);
    tls_write_certificate(tls_text("%s/%s.pem", farm->folder, site->name), x509);
    X509_free(x509);
}

static void tls_certify_all(struct tls_farm *farm)
{
    struct authority ours = tls_authority("ours");
    struct authority stranger = tls_authority("stranger");
    EVP_PKEY *key = tls_key();
    FILE *file = fopen(tls_text("%s/key.pem", farm->folder), "w");
    tls_check(file && PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1 &&
                  fclose(file) == 0,
              "key.pem");
    for (size_t i = 0; i < farm->count; i++) {
        tls_certify(farm, &farm->sites[i], key, &ours, &stranger);
    }
    tls_write_certificate(farm->authority, ours.x509);
    tls_write_certificate(farm->stranger, stranger.x509);
    EVP_PKEY_free(key);
    tls_authority_free(&ours);
    tls_authority_free(&stranger);
}

/* ---- nginx ----------------------------------------------------------------------------------- */

static void tls_listen(struct tls_farm *farm, size_t i)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    farm->listeners[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    tls_check(farm->listeners[i] >= 0 && farm->listeners[i] < TLS_FIRST_FD &&
                  bind(farm->listeners[i], (struct sockaddr *)&address, length) == 0 &&
                  listen(farm->listeners[i], 128) == 0 &&
                  getsockname(farm->listeners[i], (struct sockaddr *)&address, &length) == 0,
              "listen");
    farm->ports[i] = ntohs(address.sin_port);
}

static void tls_configure(const struct tls_farm *farm, int port)
{
    const char *folder = farm->folder;
    FILE *file = fopen(tls_text("%s/nginx.conf", folder), "w");
    tls_check(file != NULL, "nginx.conf");
    fprintf(
        file,
        "daemon off; worker_processes 1; pid %s/pid; error_log %s/error.log info;\n"
        "events { worker_connections 256; }\n"
        "http {\naccess_log off; client_max_body_size 2m; client_body_buffer_size 2m;\n"
        "client_body_temp_path %s/body; proxy_temp_path %s/proxy; fastcgi_temp_path %s/fastcgi;\n"
        "uwsgi_temp_path %s/uwsgi; scgi_temp_path %s/scgi;\n"
        "proxy_http_version 1.1; proxy_next_upstream off; proxy_set_header Host $http_host;\n"
        "proxy_set_header Connection close; ssl_certificate_key %s/key.pem;\n",
        folder, folder, folder, folder, folder, folder, folder, folder);
    for (size_t i = 0; i < farm->count; i++) {
        const struct tls_site *site = &farm->sites[i];
        fprintf(file,
                "server { listen 127.0.0.1:%d ssl; ssl_certificate %s/%s.pem; %s\n"
                "  location / { proxy_pass http://127.0.0.1:%d; } }\n",
                farm->ports[i], folder, site->name, site->directives ? site->directives : "",
                site->port ? site->port : port);
    }
    tls_check(fprintf(file, "}\n") > 0 && fclose(file) == 0, "nginx.conf");
}

static pid_t tls_spawn(char **argv, posix_spawn_file_actions_t *actions, char **env)
{
    pid_t pid = -1;
    errno = posix_spawnp(&pid, argv[0], actions, NULL, argv, env);
    tls_check(errno == 0, argv[0]);
    return pid;
}

/* A root that is none out of its own namespace: nginx then keeps its user, which may not be another's there. */
static bool tls_may_unshare(void)
{
    char *argv[] = {(char *)"unshare", (char *)"-U", (char *)"true", NULL};
    int status = -1;
    pid_t pid = tls_spawn(argv, NULL, environ);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status == 0;
}

/* nginx takes over listeners that are open already, if NGINX names them: no port is ever free for another. */
static void tls_run(struct tls_farm *farm)
{
    char conf[64], listeners[6 + TLS_SITES_MAX * 4] = "NGINX=";
    char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    char *env[] = {listeners, path, NULL};
    char *argv[] = {(char *)"unshare",
                    (char *)"-U",
                    (char *)"nginx",
                    (char *)"-e",
                    (char *)"stderr",
                    (char *)"-c",
                    conf,
                    NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    for (size_t i = 0; i < farm->count; i++) {
        size_t used = strlen(listeners);
        snprintf(listeners + used, sizeof listeners - used, "%d;", TLS_FIRST_FD + (int)i);
        posix_spawn_file_actions_adddup2(&actions, farm->listeners[i], TLS_FIRST_FD + (int)i);
    }
    snprintf(conf, sizeof conf, "%s/nginx.conf", farm->folder);
    farm->pid = tls_spawn(argv + (tls_may_unshare() ? 0 : 2), &actions, env);
    posix_spawn_file_actions_destroy(&actions);
}

static void tls_await(const struct tls_farm *farm)
{
    char pid[64];
    snprintf(pid, sizeof pid, "%s/pid", farm->folder);
    for (int i = 0; access(pid, F_OK) != 0; i++) {
        tls_check(i < TLS_START_MS / 10 && waitpid(farm->pid, NULL, WNOHANG) == 0,
                  "nginx does not start");
        poll(NULL, 0, 10);
    }
}

void tls_start(struct tls_farm *farm, const struct tls_site *sites, size_t count, int port)
{
    *farm = (struct tls_farm){.folder = "/tmp/dynalock-tls-XXXXXX", .sites = sites, .count = count};
    tls_check(count <= TLS_SITES_MAX && mkdtemp(farm->folder) != NULL, "mkdtemp");
    snprintf(farm->authority, sizeof farm->authority, "%s/ours-ca.pem", farm->folder);
    snprintf(farm->stranger, sizeof farm->stranger, "%s/stranger-ca.pem", farm->folder);
    tls_certify_all(farm);
    for (size_t i = 0; i < count; i++) {
        tls_listen(farm, i);
    }
    tls_configure(farm, port);
    tls_run(farm);
    tls_await(farm);
}

/* How often nginx says so in its log. */
static int tls_count(const struct tls_farm *farm, const char *what)
{
    char line[512];
    int count = 0;
    FILE *file = fopen(tls_text("%s/error.log", farm->folder), "r");
    tls_check(file != NULL, "error.log");
    while (fgets(line, sizeof line, file)) {
        count += strstr(line, what) ? 1 : 0;
    }
    fclose(file);
    return count;
}

/* False: it has not said so once more in that time. */
static bool tls_says(const struct tls_farm *farm, const char *what, int before, int64_t ms)
{
    int64_t end = monotonic_ms() + ms;
    while (tls_count(farm, what) == before && monotonic_ms() < end) {
        sleep_ms(10);
    }
    return tls_count(farm, what) != before;
}

void tls_reload(const struct tls_farm *farm)
{
    static const char begins[] = "start worker process ";
    static const char ends[] = "gracefully shutting down";
    int begun = tls_count(farm, begins);
    int ended = tls_count(farm, ends);
    bool reloaded = false;
    for (int i = 0; i < 6 && !reloaded; i++) {
        tls_check(kill(farm->pid, SIGHUP) == 0, "reload");
        reloaded = tls_says(farm, begins, begun, LONG_MS / 6);
    }
    tls_check(reloaded, "reload: no new worker");
    /* nginx that is told to reload anew before was seen to answer nobody. */
    if (!tls_says(farm, ends, ended, 2000)) {
        fprintf(stderr, "nginx: after a reload the old worker stays\n");
    }
}

/* For whoever has to find out why a test failed. */
static void tls_show_log(const struct tls_farm *farm)
{
    char line[512];
    FILE *file = fopen(tls_text("%s/error.log", farm->folder), "r");
    while (file != NULL && fgets(line, sizeof line, file)) {
        if (strstr(line, "[notice]") || strstr(line, "[alert]") || strstr(line, "[emerg]")) {
            fprintf(stderr, "nginx: %s", line);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

void tls_end(struct tls_farm *farm)
{
    char *argv[] = {(char *)"rm", (char *)"-rf", farm->folder, NULL};
    tls_show_log(farm);
    kill(farm->pid, SIGTERM);
    while (waitpid(farm->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    for (size_t i = 0; i < farm->count; i++) {
        close(farm->listeners[i]);
    }
    waitpid(tls_spawn(argv, NULL, environ), NULL, 0);
}

const char *tls_endpoint(const struct tls_farm *farm, const char *site, const char *host)
{
    for (size_t i = 0; i < farm->count; i++) {
        if (strcmp(farm->sites[i].name, site) == 0) {
            return tls_text("https://%s:%d", host, farm->ports[i]);
        }
    }
    tls_check(0, site);
    return NULL;
}

const char *tls_file(const struct tls_farm *farm, const char *name, const char *text)
{
    const char *path = tls_text("%s/%s", farm->folder, name);
    FILE *file = fopen(path, "w");
    tls_check(file != NULL, path);
    bool written = fputs(text, file) >= 0;
    tls_check(fclose(file) == 0 && written, path);
    return path;
}

/* ---- A forward proxy ------------------------------------------------------------------------- */

void forward_start(struct forward *forward)
{
    char *argv[] = {(char *)"tools/node", (char *)"test/rig/forward.mjs", NULL};
    int in[2], out[2];
    posix_spawn_file_actions_t actions;
    *forward = (struct forward){.pid = -1};
    tls_check(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0, "pipe");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    forward->pid = tls_spawn(argv, &actions, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    forward->in = in[1];
    forward->out = out[0];
    while (!strchr(forward->asked, '\n')) {
        struct pollfd ready = {forward->out, POLLIN, 0};
        tls_check(poll(&ready, 1, TLS_START_MS) == 1, "the forward proxy's port");
        (void)forward_asked(forward);
    }
    snprintf(forward->url, sizeof forward->url, "http://127.0.0.1:%d", atoi(forward->asked));
    forward->asked[0] = '\0';
}

const char *forward_asked(struct forward *forward)
{
    struct pollfd ready = {forward->out, POLLIN, 0};
    size_t used = strlen(forward->asked);
    while (used + 1 < sizeof forward->asked && poll(&ready, 1, 0) == 1) {
        ssize_t got = read(forward->out, forward->asked + used, sizeof forward->asked - used - 1);
        tls_check(got > 0, "the forward proxy has ended");
        used += (size_t)got;
        forward->asked[used] = '\0';
    }
    return forward->asked;
}

void forward_end(struct forward *forward)
{
    close(forward->in);
    while (waitpid(forward->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    close(forward->out);
}
