/* overload.c - open-loop load for `make bench-overload`: requests arrive at a fixed rate, whether or not earlier ones were
 * answered. Linux only. Talks to 127.0.0.1.
 *
 *   cc -O2 -Wall -Wextra -o overload overload.c
 *   overload PORT KEY RATE SECONDS CONNECTIONS
 *
 * Of 10 requests 7 publish, 2 list 10 events and 1 opens a stream, on a connection of its own, and leaves it. The others
 * go out on kept connections, on one where none is unanswered; where there is none, and for a stream where STREAMS are being
 * opened, they are given up (`unsent`). RATE 0: each connection asks again at once (closed loop): that finds the capacity.
 *
 * Prints one JSON object: per second what was offered, answered (2xx), refused (503) and wrong; latencies in ms from the
 * moment a request was sent. `published` is the number of 202. Exit codes: 0, or 1 for wrong use or no connection.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PUBLISH, LIST, STREAM, KINDS };
enum { BUFFER = 1 << 16, SAMPLES = 1 << 22, STREAMS = 4096 };

struct connection {
    int fd, kind;         /* kind of the request that is unanswered, or -1 */
    uint64_t due;
    size_t body_left;     /* of the answer that is being read */
    size_t head_length;
    bool once;            /* a stream's: closed at its answer */
    bool in_body, counted, closing;
    char head[2048];
};

static struct connection **idle;
static size_t idle_count;
static uint32_t accepted[SAMPLES], refused[SAMPLES]; /* µs */
static size_t accepted_count, refused_count, wrong, published, lost, unsent, streams;
static char requests[KINDS][1024];
static size_t request_length[KINDS];
static int epoll, port;
static char buffer[BUFFER];
static uint64_t measured_from;
static bool open_loop, over;

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void connect_it(struct connection *c)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0 || (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)) {
        perror("overload: connect");
        exit(1);
    }
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (c->once) {
        struct linger hard = {1, 0}; /* no port is left waiting */
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    }
    struct epoll_event event = {.events = EPOLLIN | (c->once ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
    c->head_length = c->body_left = 0;
    c->in_body = c->counted = c->closing = false;
}

static int next_kind(void)
{
    static const int mix[] = {PUBLISH, PUBLISH, LIST, PUBLISH, PUBLISH, STREAM, PUBLISH, PUBLISH, LIST, PUBLISH};
    static size_t at;
    return mix[at++ % 10];
}

static void ask(struct connection *c, int kind, uint64_t due)
{
    c->kind = kind;
    c->due = due;
    c->counted = false;
    if (send(c->fd, requests[kind], request_length[kind], MSG_NOSIGNAL) != (ssize_t)request_length[kind] && errno != EAGAIN)
        lost++;
}

static void open_stream(uint64_t due)
{
    struct connection *c = calloc(1, sizeof *c);
    c->once = true;
    c->kind = STREAM;
    c->due = due;
    connect_it(c);
    streams++;
}

static void arrive(int kind, uint64_t due)
{
    if (kind == STREAM && streams < STREAMS)
        open_stream(due);
    else if (kind != STREAM && idle_count)
        ask(idle[--idle_count], kind, due);
    else if (due >= measured_from)
        unsent++;
}

static void is_free(struct connection *c)
{
    c->kind = -1;
    idle[idle_count++] = c;
}

static void answered(struct connection *c, int status)
{
    uint64_t now = now_us();
    c->counted = true;
    if (status == 202 && c->kind == PUBLISH)
        published++;
    if (now < measured_from || over)
        return;
    uint32_t took = (uint32_t)(now - c->due);
    if (status / 100 == 2 && accepted_count < SAMPLES)
        accepted[accepted_count++] = took;
    else if (status == 503 && refused_count < SAMPLES)
        refused[refused_count++] = took;
    else {
        if (!wrong++)
            fprintf(stderr, "overload: unexpected answer: %.200s\n", c->head);
    }
}

static void closed(struct connection *c)
{
    if (!c->counted && c->kind >= 0)
        lost++;
    close(c->fd);
    if (c->once) {
        free(c);
        streams--;
        return;
    }
    bool was_idle = c->kind < 0;
    connect_it(c);
    if (!was_idle)
        is_free(c);
}

/* Takes the bytes of one answer; returns how many. */
static size_t take(struct connection *c, const char *data, size_t length)
{
    if (c->in_body) {
        size_t part = length < c->body_left ? length : c->body_left;
        c->body_left -= part;
        if (!c->body_left) {
            c->in_body = false;
            c->head_length = 0;
            is_free(c);
        }
        return part;
    }
    size_t room = sizeof c->head - 1 - c->head_length, part = length < room ? length : room, old = c->head_length;
    memcpy(c->head + old, data, part);
    c->head_length += part;
    c->head[c->head_length] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end)
        return part;
    size_t head = (size_t)(end + 4 - c->head);
    answered(c, atoi(c->head + 9));
    char *declared = strcasestr(c->head, "\r\ncontent-length:");
    c->body_left = declared && declared < end ? (size_t)atol(declared + 17) : 0;
    c->in_body = c->body_left > 0;
    if (!c->in_body && !c->once) {
        c->head_length = 0;
        is_free(c);
    }
    return head - old;
}

static void on_ready(struct connection *c, uint32_t events)
{
    if (c->once && (events & EPOLLOUT)) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
        if (send(c->fd, requests[STREAM], request_length[STREAM], MSG_NOSIGNAL) < 0) {
            closed(c);
            return;
        }
    }
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return;
    ssize_t count = recv(c->fd, buffer, sizeof buffer, 0);
    if (count < 0 && errno == EAGAIN)
        return;
    if (count <= 0) {
        closed(c);
        return;
    }
    for (ssize_t used = 0; used < count;) {
        used += (ssize_t)take(c, buffer + used, (size_t)(count - used));
        if (c->once && c->counted) {
            closed(c);
            return;
        }
    }
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static double percentile(uint32_t *samples, size_t count, double share)
{
    return count ? samples[(size_t)((double)(count - 1) * share)] / 1000.0 : 0;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fputs("overload: see the head of overload.c for the arguments\n", stderr);
        return 1;
    }
    port = atoi(argv[1]);
    double rate = atof(argv[3]), seconds = atof(argv[4]);
    int connections = atoi(argv[5]);
    static const char body[] = "{\"topic\":\"load.1\",\"type\":\"load.sent\",\"data\":{\"text\":\"0123456789012345678901234567890123456789\"}}";
    request_length[PUBLISH] = (size_t)sprintf(requests[PUBLISH],
        "POST /v1/events HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
        "Content-Length: %zu\r\n\r\n%s", argv[2], strlen(body), body);
    request_length[LIST] = (size_t)sprintf(requests[LIST],
        "GET /v1/events?topic=load.1&limit=10 HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer %s\r\n\r\n", argv[2]);
    request_length[STREAM] = (size_t)sprintf(requests[STREAM],
        "GET /v1/stream?topic=quiet.1 HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer %s\r\n\r\n", argv[2]);
    epoll = epoll_create1(0);
    idle = calloc((size_t)connections, sizeof *idle);
    for (int i = 0; i < connections; i++) {
        struct connection *c = calloc(1, sizeof *c);
        c->kind = -1;
        connect_it(c);
        idle[idle_count++] = c;
    }
    usleep(300000); /* until all are connected */
    open_loop = rate > 0;
    uint64_t began = now_us(), end = began + (uint64_t)(seconds * 1e6), arrived = 0;
    measured_from = began + (uint64_t)(seconds * 1e6 / 2); /* the first half warms up: it takes seconds to see an overload */
    struct epoll_event events[512];
    for (;;) {
        uint64_t now = now_us();
        if (now >= end + 2000000 || (over && idle_count == (size_t)connections && !streams))
            break;
        over = now >= end;
        if (open_loop && !over)
            for (; (double)arrived < (double)(now - began) * rate / 1e6; arrived++)
                arrive(next_kind(), now);
        else if (!over)
            while (idle_count && streams < 20)
                arrive(next_kind(), now);
        int count = epoll_wait(epoll, events, 512, 1);
        for (int i = 0; i < count; i++)
            on_ready(events[i].data.ptr, events[i].events);
    }
    double span = (double)(end - measured_from) / 1e6;
    qsort(accepted, accepted_count, sizeof *accepted, by_size);
    qsort(refused, refused_count, sizeof *refused, by_size);
    printf("{\"offered_s\": %.0f, \"accepted_s\": %.0f, \"refused_s\": %.0f, \"wrong\": %zu, \"lost\": %zu, \"published\": %zu, "
           "\"unsent_s\": %.0f, \"accepted_p50_ms\": %.1f, \"accepted_p99_ms\": %.1f, \"refused_p50_ms\": %.1f, \"refused_p99_ms\": %.1f}\n",
           rate, (double)accepted_count / span, (double)refused_count / span, wrong, lost, published, (double)unsent / span,
           percentile(accepted, accepted_count, .5), percentile(accepted, accepted_count, .99),
           percentile(refused, refused_count, .5), percentile(refused, refused_count, .99));
    return 0;
}
