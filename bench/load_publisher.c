/* load_publisher.c - publishes events: by POST on kept-alive connections, or by limit.c's line protocol. To a peer without
 * batches their events go out as so many requests in one write.
 *
 * Event number n goes to room n % rooms. What is owed is counted when a request is sent, since its events may reach
 * subscribers before its answer does, and taken back when it is refused.
 */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct publisher {
    struct handler handler; /* first: the loop hands it back */
    int fd;
    bool busy;              /* a request waits for its answer */
    int answers_left;       /* of a batch sent as so many requests */
    uint64_t first, owed;   /* that request: its first sequence number, the deliveries it owes */
    uint64_t due;           /* and when it was to be sent */
    struct outbox out;
    bool writing;           /* waits for room in the socket */
    char head[8192];        /* of the answer */
    size_t head_length;
    size_t body_left;       /* of the answer, not read yet */
    bool in_body, accepted; /* accepted: all answers so far are */
};

struct publish_totals published;

static struct publisher *publishers;
static uint64_t next_sequence;

/* ---- what is sent ---- */

static size_t write_event(char *at, uint64_t sequence, uint64_t due)
{
    int room = (int)(sequence % (uint64_t)options.rooms);
    int length = sprintf(at,
                         "{\"topic\":\"bench.%d\",\"type\":\"bench.tick\",\"data\":{\"mark\":\"@T%019" PRIu64
                         "S%010" PRIu64 "\",\"pad\":\"",
                         room, due, sequence);
    while (length < options.size - 3)
        at[length++] = 'x';
    memcpy(at + length, "\"}}", 3);
    return (size_t)length + 3;
}

static size_t event_capacity(void)
{
    return (size_t)options.size + 256;
}

/* Counts the next `options.batch` events as published. */
static void count_events(struct publisher *publisher)
{
    publisher->first = next_sequence;
    publisher->owed = 0;
    for (int i = 0; i < options.batch; i++, next_sequence++) {
        struct room *room = &rooms[next_sequence % (uint64_t)options.rooms];
        room->count++;
        room->sum += mark_hash(next_sequence);
        publisher->owed += (uint64_t)room->members;
    }
    published.events += (uint64_t)options.batch;
    published.requests++;
    published.owed += publisher->owed;
}

static void take_back(struct publisher *publisher)
{
    for (int i = 0; i < options.batch; i++) {
        uint64_t sequence = publisher->first + (uint64_t)i;
        struct room *room = &rooms[sequence % (uint64_t)options.rooms];
        room->count--;
        room->sum -= mark_hash(sequence);
    }
    published.rejected += (uint64_t)options.batch;
    published.owed -= publisher->owed;
}

static void write_lines(struct publisher *publisher, uint64_t due)
{
    struct outbox *out = &publisher->out;
    outbox_reserve(out, event_capacity() * (size_t)options.batch);
    for (int i = 0; i < options.batch; i++) {
        uint64_t sequence = next_sequence + (uint64_t)i;
        char *at = out->data + out->length;
        int prefix = sprintf(at, "%d ", (int)(sequence % (uint64_t)options.rooms));
        size_t length = write_event(at + prefix, sequence, due);
        at[(size_t)prefix + length] = '\n';
        out->length += (size_t)prefix + length + 1;
    }
}

/* One request with `count` events, from sequence number `first` on. */
static void write_one_request(struct outbox *out, uint64_t first, int count, uint64_t due)
{
    static char *body;
    size_t length = 0;
    if (!body)
        body = malloc(event_capacity() * (size_t)options.batch + 2);
    if (count > 1)
        body[length++] = '[';
    for (int i = 0; i < count; i++) {
        if (i > 0)
            body[length++] = ',';
        length += write_event(body + length, first + (uint64_t)i, due);
    }
    if (count > 1)
        body[length++] = ']';
    outbox_reserve(out, length + 512);
    out->length += write_publish_head(out->data + out->length, (int)(first % (uint64_t)options.rooms), length);
    memcpy(out->data + out->length, body, length);
    out->length += length;
}

static void write_request(struct publisher *publisher, uint64_t due)
{
    bool singly = publishes_singly();
    publisher->answers_left = singly ? options.batch : 1;
    for (int i = 0; i < publisher->answers_left; i++)
        write_one_request(&publisher->out, next_sequence + (uint64_t)i, singly ? 1 : options.batch, due);
}

/* ---- what comes back ---- */

static void complain(const char *what, const char *detail)
{
    static int complaints;
    if (complaints++ < 3)
        fprintf(stderr, "load: publishing: %s: %.300s\n", what, detail);
}

static void on_publisher(struct handler *handler, uint32_t events);

static void open_publisher(struct publisher *publisher)
{
    publisher->handler.on_ready = on_publisher;
    publisher->fd = connect_local(options.feed_port ? options.feed_port : options.publish_port);
    publisher->busy = publisher->in_body = publisher->writing = false;
    publisher->head_length = publisher->out.length = publisher->out.sent = 0;
    loop_watch(publisher->fd, EPOLLIN, &publisher->handler);
}

/* Servers close idle connections, that is no error; closing one with a request on it is. */
static void reopen_publisher(struct publisher *publisher)
{
    if (options.feed_port)
        die("the limit server closed the feed");
    if (publisher->busy) {
        complain("connection lost", "a request was under way");
        take_back(publisher);
    }
    loop_forget(publisher->fd);
    close(publisher->fd);
    open_publisher(publisher);
}

static void finish_request(struct publisher *publisher)
{
    publisher->busy = false;
    if (!publisher->accepted) {
        take_back(publisher);
        return;
    }
    published.acked += (uint64_t)options.batch;
    published.acked_requests++;
    histogram_add(&answer_latency, now_ns() - publisher->due);
}

static void begin_body(struct publisher *publisher, const char *end)
{
    char *length = strcasestr(publisher->head, "\ncontent-length:");
    if (!length || length > end)
        die("an answer without Content-Length: %.300s", publisher->head);
    if (strncmp(publisher->head, "HTTP/1.1 2", 10) != 0) {
        publisher->accepted = false;
        complain("refused", publisher->head);
    }
    publisher->in_body = true;
    publisher->body_left = strtoull(length + 16, NULL, 10);
}

/* Takes what belongs to the answer's head; begins its body once that is whole. Returns the bytes taken. */
static size_t take_head(struct publisher *publisher, const char *data, size_t length)
{
    size_t old = publisher->head_length, space = sizeof publisher->head - 1 - old;
    size_t count = length < space ? length : space;
    memcpy(publisher->head + old, data, count);
    publisher->head[old + count] = 0;
    char *end = strstr(publisher->head, "\r\n\r\n");
    if (!end) {
        if (count == space)
            die("an answer's head is over %zu bytes", old + count);
        publisher->head_length += count;
        return count;
    }
    begin_body(publisher, end);
    publisher->head_length = 0;
    return (size_t)(end + 4 - publisher->head) - old;
}

static size_t take_body(struct publisher *publisher, size_t length)
{
    size_t count = length < publisher->body_left ? length : publisher->body_left;
    publisher->body_left -= count;
    return count;
}

static void read_answer(struct publisher *publisher)
{
    static char answer[1 << 16];
    ssize_t count = recv(publisher->fd, answer, sizeof answer, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0) {
        reopen_publisher(publisher);
        return;
    }
    for (size_t used = 0; used < (size_t)count;) {
        size_t left = (size_t)count - used;
        used += publisher->in_body ? take_body(publisher, left) : take_head(publisher, answer + used, left);
        if (!publisher->in_body || publisher->body_left)
            continue;
        publisher->in_body = false;
        if (--publisher->answers_left == 0)
            finish_request(publisher);
    }
}

static void push(struct publisher *publisher)
{
    if (!outbox_flush(&publisher->out, publisher->fd)) {
        reopen_publisher(publisher);
        return;
    }
    bool writing = publisher->out.length > 0;
    if (writing != publisher->writing)
        loop_change(publisher->fd, writing ? EPOLLIN | EPOLLOUT : EPOLLIN, &publisher->handler);
    publisher->writing = writing;
}

static void on_publisher(struct handler *handler, uint32_t events)
{
    struct publisher *publisher = (struct publisher *)handler;
    if (events & EPOLLOUT)
        push(publisher);
    else
        read_answer(publisher);
}

/* ---- for the phases ---- */

void publisher_open(void)
{
    if (options.feed_port)
        options.connections = 1;
    publishers = calloc((size_t)options.connections, sizeof *publishers);
    for (int i = 0; i < options.connections; i++)
        open_publisher(&publishers[i]);
}

static struct publisher *free_publisher(void)
{
    for (int i = 0; i < options.connections; i++)
        if (!publishers[i].busy && publishers[i].out.length < (options.feed_port ? 1u << 20 : 1u))
            return &publishers[i];
    return NULL;
}

bool publish(uint64_t due)
{
    struct publisher *publisher = free_publisher();
    if (!publisher)
        return false;
    if (options.feed_port)
        write_lines(publisher, due);
    else
        write_request(publisher, due);
    count_events(publisher);
    publisher->due = due;
    publisher->accepted = true;
    if (options.feed_port) {
        published.acked += (uint64_t)options.batch;
        published.acked_requests++;
    } else {
        publisher->busy = true;
    }
    push(publisher);
    return true;
}

bool publisher_busy(void)
{
    for (int i = 0; i < options.connections; i++)
        if (publishers[i].busy || publishers[i].out.length)
            return true;
    return false;
}
