/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* accept4, pipe2, strcasestr */
#include "support_hostile.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS 128
#define RULES 4
#define REQUEST_MAX ((size_t)1024 * 1024)
#define SEEN 64

struct connection {
    int fd; /* -1: none */
    char *in;
    size_t used;
    struct hostile_answer answer; /* under way, if answering */
    bool answering;
    char *text;  /* what answer.head is, where it was made */
    size_t sent; /* of the head, or of the part */
    bool in_parts;
    int64_t due_ms; /* of the next part */
};

struct rule {
    char operation[32]; /* "": any */
    struct hostile_answer answer;
    bool set;
};

struct seen {
    char operation[64];
    int count;
    char *request;
};

struct hostile {
    int listener, wake[2];
    char endpoint[40];
    pthread_t thread;
    struct connection connections[CONNECTIONS];

    pthread_mutex_t mutex; /* of what follows */
    bool ending;
    struct rule rules[RULES];
    hostile_fn choose;
    void *context;
    struct seen seen[SEEN];
    int requests;
    char *newest;
};

static _Noreturn void hostile_broken(const char *what)
{
    fflush(stdout);
    fprintf(stderr, "hostile server: %s: %s\n", what, strerror(errno));
    abort();
}

static char *hostile_copy(const char *text)
{
    char *copy = strdup(text);
    if (!copy) {
        hostile_broken("memory");
    }
    return copy;
}

long peak_kb(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss;
}

/* ---- What is answered ------------------------------------------------------------------------- */

char *hostile_text(int status, const char *body)
{
    char date[64];
    time_t now = time(NULL);
    struct tm parts;
    size_t size = strlen(body) + 300;
    char *text = malloc(size);
    if (!text || !gmtime_r(&now, &parts)) {
        hostile_broken("memory");
    }
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    snprintf(text, size,
             "HTTP/1.1 %d Some\r\n" HOSTILE_ID "Date: %s\r\nContent-Length: %zu\r\n\r\n%s", status,
             date, strlen(body), body);
    return text;
}

/* As DynamoDB, of a table with one record "k" in the partition "p", takes all that is written. */
static char *hostile_fair(const char *operation)
{
    static const char *const bodies[][2] = {
        {"GetItem",
         "{\"Item\":{\"id\":{\"S\":\"p\"},\"name\":{\"S\":\"k\"},\"version\":{\"N\":\"1\"},"
         "\"payload\":{\"S\":\"eA==\"}}}"},
        {"Query", "{\"Items\":[],\"Count\":0,\"ScannedCount\":0}"},
        {"DescribeTable",
         "{\"Table\":{\"TableStatus\":\"ACTIVE\",\"KeySchema\":[{\"AttributeName\":\"id\",\"KeyType\":\"HASH\"},"
         "{\"AttributeName\":\"name\",\"KeyType\":\"RANGE\"}],\"AttributeDefinitions\":[{\"AttributeName\":\"id\","
         "\"AttributeType\":\"S\"},{\"AttributeName\":\"name\",\"AttributeType\":\"S\"}]}}"},
        {"DescribeTimeToLive", "{\"TimeToLiveDescription\":{\"TimeToLiveStatus\":\"ENABLED\","
                               "\"AttributeName\":\"expires\"}}"},
    };
    for (size_t i = 0; i < COUNT(bodies); i++) {
        if (strcmp(operation, bodies[i][0]) == 0) {
            return hostile_text(200, bodies[i][1]);
        }
    }
    return hostile_text(200, "{}");
}

static void hostile_operation(const char *request, char *operation, size_t size)
{
    static const char target[] = "DynamoDB_20120810.";
    const char *found = strstr(request, target);
    if (found) {
        found += sizeof target - 1;
        snprintf(operation, size, "%.*s", (int)strcspn(found, "\r\n"), found);
    } else {
        size_t length = strcspn(request, " ") + 1;
        length += strcspn(request + length, " ?\r\n");
        snprintf(operation, size, "%.*s", (int)length, request);
    }
}

/* With the mutex held. */
static int hostile_note(struct hostile *h, const char *operation, const char *request)
{
    size_t i = 0;
    while (i < SEEN - 1 && h->seen[i].count > 0 && strcmp(h->seen[i].operation, operation) != 0) {
        i++;
    }
    struct seen *seen = &h->seen[i];
    snprintf(seen->operation, sizeof seen->operation, "%s", operation);
    free(seen->request);
    seen->request = hostile_copy(request);
    free(h->newest);
    h->newest = hostile_copy(request);
    h->requests++;
    return ++seen->count;
}

static void hostile_decide(struct hostile *h, struct connection *c)
{
    char operation[64];
    hostile_operation(c->in, operation, sizeof operation);
    pthread_mutex_lock(&h->mutex);
    int number = hostile_note(h, operation, c->in);
    hostile_fn choose = h->choose;
    void *context = h->context;
    bool found = false;
    for (size_t i = RULES; i > 0 && !found; i--) {
        const struct rule *rule = &h->rules[i - 1];
        found = rule->set && (!rule->operation[0] || strcmp(rule->operation, operation) == 0);
        c->answer = found ? rule->answer : c->answer;
    }
    pthread_mutex_unlock(&h->mutex);
    char *chosen = choose ? choose(operation, c->in, number, context) : NULL;
    if (chosen || !found) {
        c->text = chosen ? chosen : hostile_fair(operation);
        c->answer = (struct hostile_answer){.head = c->text};
    }
    if (c->answer.head_length == 0 && c->answer.head) {
        c->answer.head_length = strlen(c->answer.head);
    }
    c->answering = true;
    c->in_parts = false;
    c->sent = 0;
}

/* ---- The thread ------------------------------------------------------------------------------- */

static void connection_drop(struct connection *c)
{
    close(c->fd);
    free(c->in);
    free(c->text);
    *c = (struct connection){.fd = -1};
}

/* Whether a whole request has come. */
static bool connection_is_asked(const struct connection *c)
{
    const char *head_end = c->used > 0 ? strstr(c->in, "\r\n\r\n") : NULL;
    if (!head_end) {
        return false;
    }
    const char *field = strcasestr(c->in, "content-length:");
    size_t body = field && field < head_end ? strtoul(field + 15, NULL, 10) : 0;
    return c->used >= (size_t)(head_end - c->in) + 4 + body;
}

static void connection_read(struct hostile *h, struct connection *c)
{
    char some[65536];
    ssize_t got = recv(c->fd, some, sizeof some, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
        connection_drop(c);
        return;
    }
    if (got < 0 || c->answering || c->used + (size_t)got > REQUEST_MAX) {
        return; /* what comes amid an answer is nothing to us */
    }
    c->in = realloc(c->in, c->used + (size_t)got + 1);
    if (!c->in) {
        hostile_broken("memory");
    }
    memcpy(c->in + c->used, some, (size_t)got);
    c->used += (size_t)got;
    c->in[c->used] = '\0';
    if (connection_is_asked(c)) {
        hostile_decide(h, c);
    }
}

/* What is to be sent next; NULL: nothing now. */
static const char *connection_next(struct connection *c, size_t *length)
{
    const struct hostile_answer *answer = &c->answer;
    const char *from = c->in_parts ? answer->part : answer->head;
    size_t size = c->in_parts ? strlen(answer->part) : answer->head_length;
    if (c->sent < size) {
        *length = size - c->sent;
        return !c->in_parts || monotonic_ms() >= c->due_ms ? from + c->sent : NULL;
    }
    if (answer->part && answer->times != 0) {
        c->answer.times -= answer->times > 0 ? 1 : 0;
        c->in_parts = true;
        c->sent = 0;
        c->due_ms = monotonic_ms() + answer->pause_ms;
        return connection_next(c, length);
    }
    c->answering = false;
    c->used = 0;
    free(c->text);
    c->text = NULL;
    if (answer->end) {
        connection_drop(c);
    }
    return NULL;
}

static void connection_write(struct connection *c)
{
    size_t length = 0;
    for (int i = 0; i < 8 && c->fd >= 0 && c->answering; i++) {
        const char *from = connection_next(c, &length);
        ssize_t sent = from ? send(c->fd, from, length, MSG_NOSIGNAL) : 0;
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            connection_drop(c);
        }
        if (!from || sent <= 0) {
            return;
        }
        c->sent += (size_t)sent;
    }
}

static void hostile_accept(struct hostile *h)
{
    int on = 1;
    int fd = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    size_t i = 0;
    while (i < CONNECTIONS && h->connections[i].fd >= 0) {
        i++;
    }
    if (fd >= 0 && i == CONNECTIONS) {
        close(fd);
    } else if (fd >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        h->connections[i] = (struct connection){.fd = fd};
    }
}

/* How to wait for the connection; *wait_ms becomes less, where it has something to send later. */
static short connection_events(const struct connection *c, int *wait_ms)
{
    if (!c->answering) {
        return POLLIN;
    }
    int64_t left = c->in_parts && c->sent == 0 ? c->due_ms - monotonic_ms() : 0;
    if (left > 0) {
        *wait_ms = left < *wait_ms ? (int)left : *wait_ms;
        return POLLIN;
    }
    return POLLIN | POLLOUT;
}

static bool hostile_is_ending(struct hostile *h)
{
    pthread_mutex_lock(&h->mutex);
    bool ending = h->ending;
    pthread_mutex_unlock(&h->mutex);
    return ending;
}

static void *hostile_main(void *context)
{
    struct hostile *h = context;
    struct pollfd fds[CONNECTIONS + 2];
    while (!hostile_is_ending(h)) {
        int wait_ms = 1000;
        for (size_t i = 0; i < CONNECTIONS; i++) {
            fds[i] = (struct pollfd){.fd = h->connections[i].fd,
                                     .events = connection_events(&h->connections[i], &wait_ms)};
        }
        fds[CONNECTIONS] = (struct pollfd){.fd = h->listener, .events = POLLIN};
        fds[CONNECTIONS + 1] = (struct pollfd){.fd = h->wake[0], .events = POLLIN};
        (void)poll(fds, CONNECTIONS + 2, wait_ms);
        for (size_t i = 0; i < CONNECTIONS; i++) {
            struct connection *c = &h->connections[i];
            if (c->fd >= 0 && (fds[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
                connection_read(h, c);
            }
            if (c->fd >= 0 && c->answering) {
                connection_write(c);
            }
        }
        if ((fds[CONNECTIONS].revents & POLLIN) != 0) {
            hostile_accept(h);
        }
    }
    return NULL;
}

/* ---- For the test ----------------------------------------------------------------------------- */

struct hostile *hostile_start(void)
{
    struct hostile *h = calloc(1, sizeof *h);
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t length = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (!h || pipe2(h->wake, O_CLOEXEC) != 0 ||
        (h->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) < 0 ||
        bind(h->listener, (struct sockaddr *)&at, sizeof at) != 0 ||
        listen(h->listener, CONNECTIONS) != 0 ||
        getsockname(h->listener, (struct sockaddr *)&at, &length) != 0) {
        hostile_broken("socket");
    }
    snprintf(h->endpoint, sizeof h->endpoint, "http://127.0.0.1:%d", ntohs(at.sin_port));
    for (size_t i = 0; i < CONNECTIONS; i++) {
        h->connections[i].fd = -1;
    }
    pthread_mutex_init(&h->mutex, NULL);
    if (pthread_create(&h->thread, NULL, hostile_main, h) != 0) {
        hostile_broken("thread");
    }
    return h;
}

void hostile_end(struct hostile *h)
{
    pthread_mutex_lock(&h->mutex);
    h->ending = true;
    pthread_mutex_unlock(&h->mutex);
    if (write(h->wake[1], "", 1) != 1 || pthread_join(h->thread, NULL) != 0) {
        hostile_broken("end");
    }
    for (size_t i = 0; i < CONNECTIONS; i++) {
        if (h->connections[i].fd >= 0) {
            connection_drop(&h->connections[i]);
        }
    }
    for (size_t i = 0; i < SEEN; i++) {
        free(h->seen[i].request);
    }
    free(h->newest);
    close(h->listener);
    close(h->wake[0]);
    close(h->wake[1]);
    pthread_mutex_destroy(&h->mutex);
    free(h);
}

const char *hostile_endpoint(const struct hostile *h)
{
    return h->endpoint;
}

void hostile_set(struct hostile *h, const char *operation, const struct hostile_answer *answer)
{
    size_t i = 0;
    pthread_mutex_lock(&h->mutex);
    while (i < RULES - 1 && h->rules[i].set &&
           strcmp(h->rules[i].operation, operation ? operation : "") != 0) {
        i++;
    }
    struct rule *rule = &h->rules[i];
    rule->set = answer != NULL;
    if (answer) {
        snprintf(rule->operation, sizeof rule->operation, "%s", operation ? operation : "");
        rule->answer = *answer;
    }
    pthread_mutex_unlock(&h->mutex);
}

void hostile_choose(struct hostile *h, hostile_fn choose, void *context)
{
    pthread_mutex_lock(&h->mutex);
    h->choose = choose;
    h->context = context;
    pthread_mutex_unlock(&h->mutex);
}

static const struct seen *hostile_seen(const struct hostile *h, const char *operation)
{
    for (size_t i = 0; i < SEEN; i++) {
        if (strcmp(h->seen[i].operation, operation) == 0) {
            return &h->seen[i];
        }
    }
    return NULL;
}

int hostile_requests(struct hostile *h, const char *operation)
{
    pthread_mutex_lock(&h->mutex);
    const struct seen *seen = operation ? hostile_seen(h, operation) : NULL;
    int count = !operation ? h->requests : seen ? seen->count : 0;
    pthread_mutex_unlock(&h->mutex);
    return count;
}

char *hostile_request(struct hostile *h, const char *operation)
{
    pthread_mutex_lock(&h->mutex);
    const struct seen *seen = operation ? hostile_seen(h, operation) : NULL;
    const char *request = !operation ? h->newest : seen ? seen->request : NULL;
    char *copy = request ? hostile_copy(request) : NULL;
    pthread_mutex_unlock(&h->mutex);
    return copy;
}

dynalock_store *hostile_open(const struct hostile *h, const dynalock_options *options)
{
    dynalock_options all = options ? *options : (dynalock_options){0};
    dynalock_store *store = NULL;
    all.endpoint = h->endpoint;
    all.region = RIG_REGION;
    all.access_key_id = all.access_key_id ? all.access_key_id : RIG_KEY_ID;
    all.secret_access_key = all.secret_access_key ? all.secret_access_key : RIG_SECRET;
    all.max_attempts = all.max_attempts ? all.max_attempts : 1;
    all.close_timeout_ms = all.close_timeout_ms ? all.close_timeout_ms : 20;
    all.attempt_timeout_ms = all.attempt_timeout_ms ? all.attempt_timeout_ms : 150;
    check(dynalock_open("t", "p", &all, &store, &failure), DYNALOCK_OK);
    return store;
}
