/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE 1
#include "support_server.h"

#include "support_fail.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SERVER_CONNECTIONS 200

struct connection {
    char *in, *out; /* out: what is held */
    size_t used, size, out_length;
    bool closes;
};

struct server {
    server_fn serve;
    void *context;
    int port;
    char endpoint[40];
    int wake[2];
    pthread_t thread;
    struct pollfd fds[2 + SERVER_CONNECTIONS]; /* the listener, the wake, the connections */
    struct connection connections[SERVER_CONNECTIONS];
    pthread_mutex_t mutex;

    int held, disconnected; /* under the mutex, as what follows */
    bool ends, lets_go, disconnects;
};

static void server_die(const char *what)
{
    fprintf(stderr, "test server: %s: %s\n", what, strerror(errno));
    _exit(1);
}

void server_find(const struct server_request *request, const char *name, char *value, size_t size)
{
    const char *at = strcasestr(request->head, name);
    value[0] = '\0';
    if (at != NULL) {
        at += strlen(name);
        at += strspn(at, ": ");
        (void)snprintf(value, size, "%.*s", (int)strcspn(at, "\r\n"), at);
    }
}

/* What x-amz-crc32 has. */
static uint32_t server_crc(const char *bytes, size_t length)
{
    static uint32_t table[256];
    uint32_t crc = UINT32_MAX;
    for (uint32_t i = 0; table[255] == 0 && i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++) {
            table[i] = (table[i] >> 1) ^ ((table[i] & 1) != 0 ? 0xEDB88320U : 0);
        }
    }
    for (size_t i = 0; i < length; i++) {
        crc = (crc >> 8) ^ table[(crc ^ (unsigned char)bytes[i]) & 0xFF];
    }
    return ~crc;
}

static void connection_close(struct server *server, size_t i)
{
    struct connection *connection = &server->connections[i];
    (void)close(server->fds[2 + i].fd);
    server->fds[2 + i].fd = -1;
    free(connection->in);
    free(connection->out);
    *connection = (struct connection){0};
}

static void connection_send(struct server *server, size_t i)
{
    struct connection *connection = &server->connections[i];
    size_t sent = 0;
    while (sent < connection->out_length) {
        ssize_t length = send(server->fds[2 + i].fd, connection->out + sent,
                              connection->out_length - sent, MSG_NOSIGNAL);
        if (length <= 0) {
            connection->closes = true;
            break;
        }
        sent += (size_t)length;
    }
    free(connection->out);
    connection->out = NULL;
    if (connection->closes) {
        connection_close(server, i);
    }
}

static void connection_answer(struct server *server, size_t i, struct server_answer *answer)
{
    struct connection *connection = &server->connections[i];
    const char *body = answer->body != NULL ? answer->body : "";
    char date[40];
    time_t now = time(NULL);
    struct tm parts;
    (void)strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &parts));
    int length =
        asprintf(&connection->out,
                 "HTTP/1.1 %d OK\r\nDate: %s\r\nContent-Type: application/x-amz-json-1.0\r\n"
                 "x-amzn-RequestId: REQUEST\r\nx-amz-crc32: %u\r\n"
                 "X-Aws-Ec2-Metadata-Token-Ttl-Seconds: 21600\r\n"
                 "Content-Length: %zu\r\n%s\r\n%s",
                 answer->status, date, server_crc(body, strlen(body)), strlen(body),
                 answer->closes ? "Connection: close\r\n" : "", body);
    if (length < 0) {
        server_die("asprintf");
    }
    free(answer->body);
    connection->out_length = (size_t)length;
    connection->closes = answer->closes;
    if (!answer->is_held) {
        connection_send(server, i);
        return;
    }
    (void)pthread_mutex_lock(&server->mutex);
    server->held++;
    (void)pthread_mutex_unlock(&server->mutex);
}

/* True: a whole request was there. */
static bool connection_serve(struct server *server, size_t i)
{
    struct connection *connection = &server->connections[i];
    struct server_answer answer = {.status = 200};
    char number[24];
    char *end = connection->used > 0 ? strstr(connection->in, "\r\n\r\n") : NULL;
    if (end == NULL || connection->out != NULL) {
        return false;
    }
    size_t head = (size_t)(end - connection->in) + 4;
    end[2] = '\0';
    struct server_request request = {.head = connection->in, .body = connection->in + head};
    server_find(&request, "\nContent-Length", number, sizeof number);
    request.length = strtoul(number, NULL, 10);
    if (connection->used < head + request.length) {
        end[2] = '\r';
        return false;
    }
    server->serve(&request, &answer, server->context);
    connection->used -= head + request.length;
    memmove(connection->in, connection->in + head + request.length, connection->used + 1);
    connection_answer(server, i, &answer);
    return true;
}

static void connection_read(struct server *server, size_t i)
{
    struct connection *connection = &server->connections[i];
    if (connection->size - connection->used < 4096) {
        connection->size = 2 * connection->size + 8192;
        connection->in = realloc(connection->in, connection->size);
        if (connection->in == NULL) {
            server_die("realloc");
        }
    }
    ssize_t got = recv(server->fds[2 + i].fd, connection->in + connection->used,
                       connection->size - connection->used - 1, 0);
    if (got <= 0) {
        connection_close(server, i);
        return;
    }
    connection->used += (size_t)got;
    connection->in[connection->used] = '\0';
    while (connection_serve(server, i)) {
    }
}

static void server_accept(struct server *server)
{
    int one = 1;
    int fd = accept(server->fds[0].fd, NULL, NULL);
    if (fd < 0) {
        return;
    }
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    for (size_t i = 0; i < SERVER_CONNECTIONS; i++) {
        if (server->fds[2 + i].fd < 0) {
            server->fds[2 + i].fd = fd;
            return;
        }
    }
    server_die("more connections than it has room for");
}

/* False: it is to end. */
static bool server_obey(struct server *server)
{
    char bytes[64];
    (void)!read(server->wake[0], bytes, sizeof bytes);
    (void)pthread_mutex_lock(&server->mutex);
    bool ends = server->ends;
    bool lets_go = server->lets_go;
    bool disconnects = server->disconnects;
    server->lets_go = server->disconnects = false;
    server->held = lets_go ? 0 : server->held;
    (void)pthread_mutex_unlock(&server->mutex);
    for (size_t i = 0; lets_go && i < SERVER_CONNECTIONS; i++) {
        if (server->fds[2 + i].fd >= 0 && server->connections[i].out != NULL) {
            connection_send(server, i);
        }
    }
    for (size_t i = 0; disconnects && i < SERVER_CONNECTIONS; i++) {
        if (server->fds[2 + i].fd >= 0) {
            connection_close(server, i);
        }
    }
    if (disconnects) {
        (void)pthread_mutex_lock(&server->mutex);
        server->disconnected++;
        (void)pthread_mutex_unlock(&server->mutex);
    }
    return !ends;
}

static void *server_main(void *context)
{
    struct server *server = context;
    fail_exempt(true);
    for (;;) {
        if (poll(server->fds, 2 + SERVER_CONNECTIONS, -1) < 0) {
            continue;
        }
        if (server->fds[1].revents != 0 && !server_obey(server)) {
            return NULL;
        }
        for (size_t i = 0; i < SERVER_CONNECTIONS; i++) {
            if (server->fds[2 + i].fd >= 0 && server->fds[2 + i].revents != 0) {
                connection_read(server, i);
            }
        }
        if (server->fds[0].revents != 0) {
            server_accept(server);
        }
    }
}

struct server *server_start(server_fn serve, void *context)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    struct server *server = calloc(1, sizeof *server);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server == NULL || listener < 0 ||
        bind(listener, (const struct sockaddr *)&address, size) != 0 ||
        listen(listener, 100) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0 ||
        pipe2(server->wake, O_CLOEXEC) != 0 || pthread_mutex_init(&server->mutex, NULL) != 0) {
        server_die("start");
        return NULL;
    }
    for (size_t i = 0; i < 2 + SERVER_CONNECTIONS; i++) {
        server->fds[i] = (struct pollfd){.fd = -1, .events = POLLIN};
    }
    server->fds[0].fd = listener;
    server->fds[1].fd = server->wake[0];
    server->serve = serve;
    server->context = context;
    (void)snprintf(server->endpoint, sizeof server->endpoint, "http://127.0.0.1:%d",
                   ntohs(address.sin_port));
    if (pthread_create(&server->thread, NULL, server_main, server) != 0) {
        server_die("thread");
    }
    return server;
}

static void server_tell(struct server *server, bool *what)
{
    (void)pthread_mutex_lock(&server->mutex);
    *what = true;
    (void)pthread_mutex_unlock(&server->mutex);
    (void)!write(server->wake[1], "x", 1);
}

void server_let_go(struct server *server)
{
    server_tell(server, &server->lets_go);
}

void server_end(struct server *server)
{
    server_tell(server, &server->ends);
    (void)pthread_join(server->thread, NULL);
    for (size_t i = 0; i < SERVER_CONNECTIONS; i++) {
        if (server->fds[2 + i].fd >= 0) {
            connection_close(server, i);
        }
    }
    (void)close(server->fds[0].fd);
    (void)close(server->wake[0]);
    (void)close(server->wake[1]);
    (void)pthread_mutex_destroy(&server->mutex);
    free(server);
}

const char *server_endpoint(const struct server *server)
{
    return server->endpoint;
}

bool server_await_held(struct server *server, int count, int timeout_ms)
{
    for (int i = 0; i < timeout_ms; i++) {
        (void)pthread_mutex_lock(&server->mutex);
        bool there = server->held >= count;
        (void)pthread_mutex_unlock(&server->mutex);
        if (there) {
            return true;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return false;
}

static int server_disconnected(struct server *server)
{
    (void)pthread_mutex_lock(&server->mutex);
    int count = server->disconnected;
    (void)pthread_mutex_unlock(&server->mutex);
    return count;
}

void server_disconnect(struct server *server)
{
    int before = server_disconnected(server);
    server_tell(server, &server->disconnects);
    while (server_disconnected(server) == before) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
}
