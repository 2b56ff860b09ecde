/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server that answers DynamoDB's requests at once with fixed answers, and counts: what is measured
 * against it is the client. One thread, epoll, plain HTTP/1.1 and, given a certificate, TLS.
 *
 *   responder [CERTIFICATE KEY]   prints "PORT TLS_PORT" (0: none); ends when its standard input does
 *
 * What it answers is in answers.c. GET of these paths, which is not counted:
 *   /counts    requests, connections, bytes, as JSON
 *   /reset     all counts to 0, the recording dropped
 *   /record    keep the requests from now on, as they came, to 1 MB
 *   /recorded  those requests, one after the other; and keep no more
 *   /gaps      of the writes to keys named "scale-NUMBER", as JSON, which then begin anew: see answers.c
 *   /trouble   from now on some of these keys' writes fail: see answers.c
 */
#include "answers.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 256
#define RECORDED_MAX ((size_t)1 << 20)

struct bytes {
    char *data;
    size_t length, capacity;
};

struct connection {
    int fd;
    SSL *ssl;
    bool accepted, writing, control, gone;
    struct bytes in, out;
    size_t sent;
    struct connection *next; /* of those that wait for their delay */
    int64_t due_us;
    struct answer delayed;
};

static struct counts {
    unsigned long long requests, connections, open, most_open, in, out;
} counts;

static int epoll;
static int listeners[2];
static SSL_CTX *tls;
static bool recording;
static struct bytes recorded;
static struct connection *delayed_first, **delayed_last = &delayed_first;

static _Noreturn void broken(const char *what)
{
    perror(what);
    exit(1);
}

static void reserve(struct bytes *bytes, size_t more)
{
    if (bytes->length + more + 1 > bytes->capacity) {
        bytes->capacity = (bytes->length + more + 1) * 2;
        bytes->data = realloc(bytes->data, bytes->capacity);
        if (bytes->data == NULL) {
            broken("responder: memory");
        }
    }
}

static void append(struct bytes *bytes, const char *data, size_t length)
{
    reserve(bytes, length);
    memcpy(bytes->data + bytes->length, data, length);
    bytes->length += length;
    bytes->data[bytes->length] = '\0';
}

/* ---- Connections ---- */

static void watch(int fd, void *what, uint32_t events, int how)
{
    struct epoll_event event = {.events = events, .data.ptr = what};
    if (epoll_ctl(epoll, how, fd, &event) != 0) {
        broken("responder: epoll_ctl");
    }
}

static void connection_open(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int on = 1;
    if (fd < 0) {
        return;
    }
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
        broken("responder: accept");
    }
    connection->fd = fd;
    connection->accepted = true;
    if (listener == listeners[1]) {
        connection->ssl = SSL_new(tls);
        if (connection->ssl == NULL || SSL_set_fd(connection->ssl, fd) != 1) {
            broken("responder: TLS");
        }
        SSL_set_accept_state(connection->ssl);
    }
    counts.connections++;
    counts.open++;
    counts.most_open = counts.open > counts.most_open ? counts.open : counts.most_open;
    watch(fd, connection, EPOLLIN, EPOLL_CTL_ADD);
}

static void connection_close(struct connection *connection)
{
    if (!connection->control) {
        counts.open--;
    }
    SSL_free(connection->ssl);
    (void)close(connection->fd);
    connection->fd = -1;
    connection->gone = true;
    if (connection->due_us == 0) {
        free(connection->in.data);
        free(connection->out.data);
        free(connection);
    }
}

/* As recv and send do; a connection that TLS has ended reads as one that was closed. */
static ssize_t connection_read(struct connection *connection, char *to, size_t size)
{
    if (connection->ssl == NULL) {
        return recv(connection->fd, to, size, 0);
    }
    int got = SSL_read(connection->ssl, to, (int)size);
    int error = got > 0 ? SSL_ERROR_NONE : SSL_get_error(connection->ssl, got);
    errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : 0;
    return got > 0 ? got : errno == EAGAIN ? -1 : 0;
}

static ssize_t connection_write(struct connection *connection, const char *from, size_t size)
{
    if (connection->ssl == NULL) {
        return send(connection->fd, from, size, MSG_NOSIGNAL);
    }
    int put = SSL_write(connection->ssl, from, (int)size);
    int error = put > 0 ? SSL_ERROR_NONE : SSL_get_error(connection->ssl, put);
    errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EPIPE;
    return put > 0 ? put : -1;
}

/* False: the connection is gone. */
static bool connection_flush(struct connection *connection)
{
    while (connection->sent < connection->out.length) {
        ssize_t put = connection_write(connection, connection->out.data + connection->sent,
                                       connection->out.length - connection->sent);
        if (put < 0 && errno != EAGAIN) {
            connection_close(connection);
            return false;
        }
        if (put < 0) {
            if (!connection->writing) {
                watch(connection->fd, connection, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
                connection->writing = true;
            }
            return true;
        }
        connection->sent += (size_t)put;
    }
    connection->out.length = connection->sent = 0;
    if (connection->writing) {
        watch(connection->fd, connection, EPOLLIN, EPOLL_CTL_MOD);
        connection->writing = false;
    }
    return true;
}

/* ---- Answers ---- */

static void respond(struct connection *connection, const struct answer *answer)
{
    char head[512];
    int length = snprintf(head, sizeof head,
                          "HTTP/1.1 %s\r\nServer: Server\r\nDate: %s\r\n"
                          "Content-Type: application/x-amz-json-1.0\r\nContent-Length: %zu\r\n"
                          "Connection: keep-alive\r\nx-amzn-RequestId: "
                          "BENCH0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789AB\r\n"
                          "x-amz-crc32: %u\r\n\r\n",
                          answer->status, answer_date(), answer->length, answer->crc);
    append(&connection->out, head, (size_t)length);
    append(&connection->out, answer->body, answer->length);
    counts.out += connection->control ? 0 : (size_t)length + answer->length;
}

static void control(struct connection *connection, const char *path)
{
    char text[512] = "{}";
    struct answer answer = {.status = "200 OK", .body = text};
    if (!connection->control) {
        connection->control = true;
        counts.connections--;
        counts.open--;
    }
    if (strncmp(path, "/counts ", 8) == 0) {
        (void)snprintf(text, sizeof text,
                       "{\"requests\":%llu,\"connections\":%llu,\"open\":%llu,\"most_open\":%llu,"
                       "\"in\":%llu,\"out\":%llu}",
                       counts.requests, counts.connections, counts.open, counts.most_open,
                       counts.in, counts.out);
    } else if (strncmp(path, "/reset ", 7) == 0) {
        counts = (struct counts){.open = counts.open, .most_open = counts.open};
        recorded.length = 0;
        recording = false;
        answer_reset();
    } else if (strncmp(path, "/record ", 8) == 0) {
        recorded.length = 0;
        recording = true;
    } else if (strncmp(path, "/recorded ", 10) == 0) {
        recording = false;
        answer.body = recorded.data != NULL ? recorded.data : "";
        answer.length = recorded.length;
        respond(connection, &answer);
        return;
    } else if (strncmp(path, "/gaps ", 6) == 0) {
        answer_gaps(text, sizeof text);
    } else if (strncmp(path, "/trouble ", 9) == 0) {
        answer_trouble(true);
    }
    answer.length = strlen(text);
    respond(connection, &answer);
}

static void delay(struct connection *connection, const struct answer *answer)
{
    connection->delayed = *answer;
    connection->due_us = answer_now_us() + answer->delay_us;
    connection->next = NULL;
    *delayed_last = connection;
    delayed_last = &connection->next;
}

/* All delays are the same: the first is due first. */
static int respond_delayed(void)
{
    while (delayed_first != NULL) {
        struct connection *connection = delayed_first;
        int64_t left_us = connection->due_us - answer_now_us();
        if (left_us > 0) {
            return (int)(left_us / 1000);
        }
        delayed_first = connection->next;
        delayed_last = delayed_first != NULL ? delayed_last : &delayed_first;
        connection->due_us = 0;
        if (connection->gone) {
            free(connection->in.data);
            free(connection->out.data);
            free(connection);
        } else {
            respond(connection, &connection->delayed);
            (void)connection_flush(connection);
        }
    }
    return -1;
}

/* ---- Requests ---- */

/* The value of a header, at the line's end; NULL: there is none. */
static const char *header(const char *head, const char *name)
{
    const char *found = strcasestr(head, name);
    return found != NULL ? found + strlen(name) : NULL;
}

/* Answers the first request in connection->in; 0: it is not whole. Else its length. */
static size_t request(struct connection *connection)
{
    char *start = connection->in.data;
    char *end = memmem(start, connection->in.length, "\r\n\r\n", 4);
    if (end == NULL) {
        return 0;
    }
    *end = '\0';
    const char *length_text = header(start, "\r\nContent-Length: ");
    size_t body_length = length_text != NULL ? strtoul(length_text, NULL, 10) : 0;
    size_t head_length = (size_t)(end - start) + 4;
    const char *target = header(start, "\r\nX-Amz-Target: ");
    bool whole = head_length + body_length <= connection->in.length;
    if (whole && strncmp(start, "GET ", 4) == 0) {
        control(connection, start + 4);
    } else if (whole) {
        counts.requests++;
        counts.in += head_length + body_length;
        struct answer answer;
        answer_find(target != NULL ? target : "", end + 4, body_length, &answer);
        *end = '\r';
        if (recording && recorded.length < RECORDED_MAX) {
            append(&recorded, start, head_length + body_length);
        }
        if (answer.status == NULL) { /* never */
        } else if (answer.delay_us > 0) {
            delay(connection, &answer);
        } else {
            respond(connection, &answer);
        }
    }
    *end = '\r';
    return whole ? head_length + body_length : 0;
}

static void connection_serve(struct connection *connection)
{
    for (;;) {
        reserve(&connection->in, 16384);
        ssize_t got = connection_read(connection, connection->in.data + connection->in.length,
                                      connection->in.capacity - connection->in.length - 1);
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            connection_close(connection);
            return;
        }
        if (got < 0) {
            break;
        }
        connection->in.length += (size_t)got;
        connection->in.data[connection->in.length] = '\0';
        if (connection->ssl == NULL) { /* a second read would mostly find nothing */
            break;
        }
    }
    size_t used = 0;
    while (connection->in.length > 0 && (used = request(connection)) > 0) {
        connection->in.length -= used;
        memmove(connection->in.data, connection->in.data + used, connection->in.length);
    }
    (void)connection_flush(connection);
}

/* ---- The whole ---- */

static int listen_locally(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        broken("responder: listen");
    }
    *port = ntohs(address.sin_port);
    return fd;
}

static void serve(struct epoll_event *event)
{
    struct connection *connection = event->data.ptr;
    if (event->data.ptr == &listeners[0] || event->data.ptr == &listeners[1]) {
        connection_open(*(int *)event->data.ptr);
    } else if ((event->events & EPOLLOUT) == 0 || connection_flush(connection)) {
        connection_serve(connection);
    }
}

int main(int argc, char **argv)
{
    int ports[2] = {0, 0};
    struct epoll_event events[BATCH];
    epoll = epoll_create1(EPOLL_CLOEXEC);
    listeners[0] = listen_locally(&ports[0]);
    watch(listeners[0], &listeners[0], EPOLLIN, EPOLL_CTL_ADD);
    watch(STDIN_FILENO, NULL, EPOLLIN, EPOLL_CTL_ADD);
    if (argc == 3) {
        tls = SSL_CTX_new(TLS_server_method());
        if (tls == NULL || SSL_CTX_use_certificate_chain_file(tls, argv[1]) != 1 ||
            SSL_CTX_use_PrivateKey_file(tls, argv[2], SSL_FILETYPE_PEM) != 1) {
            broken("responder: certificate");
        }
        (void)SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                        SSL_MODE_RELEASE_BUFFERS);
        listeners[1] = listen_locally(&ports[1]);
        watch(listeners[1], &listeners[1], EPOLLIN, EPOLL_CTL_ADD);
    }
    printf("%d %d\n", ports[0], ports[1]);
    (void)fflush(stdout);
    for (;;) {
        int count = epoll_wait(epoll, events, BATCH, respond_delayed());
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL) {
                return 0;
            }
            serve(&events[i]);
        }
    }
}
