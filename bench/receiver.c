/* receiver.c - the partner: reads webhook requests over HTTP/1.1, answers 200, and counts. One thread, epoll.

   receiver --port N [--slow-ms 30000]

   Listens on all of 127/8, so that each endpoint can have a host of its own. A request's body holds `"n":NUMBER`, which
   event it is, and `"at":NS`, when it was published (CLOCK_MONOTONIC). Paths that begin with /slow are answered late and
   counted apart. Requests of its own:
   GET /reset forgets what was counted; GET /hurry answers at once what waits, and what comes; GET /stats answers, as
   JSON: received, repeated (an event that came before), unsigned, slow, connections (open now), p50_us, p99_us, max_us (from "at" to the request's last byte). */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ROOM = 64 * 1024, MOST_EVENTS = 1 << 24, BATCH = 256 };

struct connection {
    int fd;
    size_t used;
    struct connection *next_due; /* while it waits for its late answer */
    uint64_t due_ns;
    char buffer[ROOM];
};

static struct {
    uint64_t received, repeated, unsigned_, slow;
} counts;
static long connections;
static uint8_t *seen;
static struct connection *first_due, *last_due;
static uint64_t slow_ns = 30000000000u;
static int epoll;

static const char OK[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, ": %s\n", strerror(errno));
    exit(1);
}

static bool send_all(struct connection *connection, const char *text, size_t length)
{
    return send(connection->fd, text, length, MSG_NOSIGNAL) == (ssize_t)length;
}

static uint64_t number_after(const char *text, size_t length, const char *name)
{
    const char *found = memmem(text, length, name, strlen(name));
    return found ? strtoull(found + strlen(name), NULL, 10) : 0;
}

static bool answer_stats(struct connection *connection)
{
    char body[512], text[768];
    int length = snprintf(body, sizeof body,
                          "{\"received\":%" PRIu64 ",\"repeated\":%" PRIu64 ",\"unsigned\":%" PRIu64 ",\"slow\":%" PRIu64
                          ",\"connections\":%ld,\"p50_us\":%" PRIu64 ",\"p99_us\":%" PRIu64 ",\"max_us\":%" PRIu64 "}",
                          counts.received, counts.repeated, counts.unsigned_, counts.slow, connections,
                          histogram_percentile(&delivery_latency, 0.5), histogram_percentile(&delivery_latency, 0.99),
                          delivery_latency.max);
    length = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", length, body);
    return send_all(connection, text, (size_t)length);
}

static void count(const char *head, size_t head_length, const char *body, size_t length)
{
    uint64_t at = number_after(body, length, "\"at\":"), n = number_after(body, length, "\"n\":") % (MOST_EVENTS * 8u);
    counts.received++;
    if (seen[n / 8] >> (n % 8) & 1)
        counts.repeated++;
    seen[n / 8] |= (uint8_t)(1u << (n % 8));
    if (!memmem(head, head_length, "webhook-signature: v1,", 22))
        counts.unsigned_++;
    if (at)
        histogram_add(&delivery_latency, now_ns() - at);
}

static void hurry(void)
{
    slow_ns = 0;
    for (struct connection *each = first_due; each; each = each->next_due)
        each->due_ns = 0;
}

static void answer_late(struct connection *connection)
{
    counts.slow++;
    connection->due_ns = now_ns() + slow_ns;
    connection->next_due = NULL;
    if (last_due)
        last_due->next_due = connection;
    else
        first_due = connection;
    last_due = connection;
}

/* One whole request. False: the connection is to be closed. */
static bool take(struct connection *connection, size_t head_length, size_t length)
{
    const char *text = connection->buffer;
    if (!strncmp(text, "GET /stats ", 11))
        return answer_stats(connection);
    if (!strncmp(text, "GET /reset ", 11)) {
        memset(&counts, 0, sizeof counts);
        memset(seen, 0, MOST_EVENTS);
        histogram_reset(&delivery_latency);
    } else if (!strncmp(text, "GET /hurry ", 11)) {
        hurry();
    } else if (!strncmp(text, "POST /slow", 10)) {
        answer_late(connection);
        return true;
    } else {
        count(text, head_length, text + head_length, length - head_length);
    }
    return send_all(connection, OK, sizeof OK - 1);
}

/* Takes what is complete; false: the connection is to be closed. */
static bool parse(struct connection *connection)
{
    for (;;) {
        char *end = memmem(connection->buffer, connection->used, "\r\n\r\n", 4);
        if (!end)
            return connection->used < ROOM;
        size_t head = (size_t)(end + 4 - connection->buffer), body = 0;
        char *field = connection->buffer;
        while ((field = memchr(field, '\n', (size_t)(end - field))) && ++field < end)
            if (!strncasecmp(field, "content-length:", 15))
                body = strtoul(field + 15, NULL, 10);
        if (head + body > ROOM)
            return false;
        if (connection->used < head + body)
            return true;
        if (!take(connection, head, head + body))
            return false;
        connection->used -= head + body;
        memmove(connection->buffer, connection->buffer + head + body, connection->used);
    }
}

static void forget(struct connection *connection)
{
    struct connection **link = &first_due, *before = NULL;
    while (*link && *link != connection) {
        before = *link;
        link = &(*link)->next_due;
    }
    if (*link) {
        *link = connection->next_due;
        if (last_due == connection)
            last_due = before;
    }
    connections--;
    close(connection->fd);
    free(connection);
}

static void read_from(struct connection *connection)
{
    ssize_t got = recv(connection->fd, connection->buffer + connection->used, ROOM - connection->used, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        forget(connection);
        return;
    }
    connection->used += (size_t)got;
    if (!parse(connection))
        forget(connection);
}

static void accept_all(int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        int on = 1;
        struct connection *connection = malloc(sizeof *connection);
        if (!connection)
            die("malloc");
        connection->fd = fd;
        connection->used = 0;
        connection->next_due = NULL;
        connections++;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

static int listen_on(int port)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&place, sizeof place) || listen(fd, 4096))
        die("listen");
    return fd;
}

static int answer_due(void)
{
    uint64_t now = now_ns();
    while (first_due && first_due->due_ns <= now) {
        struct connection *connection = first_due;
        first_due = connection->next_due;
        if (!first_due)
            last_due = NULL;
        if (!send_all(connection, OK, sizeof OK - 1))
            shutdown(connection->fd, SHUT_RDWR);
    }
    return first_due ? (int)((first_due->due_ns - now) / 1000000 + 1) : -1;
}

int main(int argc, char **argv)
{
    int port = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--port"))
            port = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--slow-ms"))
            slow_ns = strtoull(argv[i + 1], NULL, 10) * 1000000u;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    seen = calloc(MOST_EVENTS, 1);
    epoll = epoll_create1(0);
    int listener = listen_on(port);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[BATCH];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(epoll, events, BATCH, answer_due());
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr)
                read_from(events[i].data.ptr);
            else
                accept_all(listener);
        }
    }
}
