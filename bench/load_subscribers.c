/* load_subscribers.c - the swarm: opens WebSockets or SSE streams, and counts every event that they bring.
 *
 * load_peers.c knows what is said until a subscriber is ready; from then on every frame or data line with a mark is an
 * event, whoever sent it.
 *
 * Reads cut frames, chunks and lines wherever they like. All connections read into one buffer; what is left of an
 * unfinished frame, head or line is kept by the connection and put in front of its next read. Messages are expected
 * in one WebSocket frame each (nothing here continues a fragmented one), uncompressed.
 */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum state { STATE_UNOPENED, STATE_HEAD, STATE_GREETING, STATE_READY, STATE_CLOSED };

struct subscriber {
    struct handler handler; /* first: the loop hands it back */
    int fd, room;
    enum state state;
    bool chunked;
    struct chunk_decoder chunks;
    char *kept; /* what the last read left unfinished */
    size_t kept_length, kept_capacity;
    uint64_t count, sum; /* to compare with the room's */
    uint64_t order;      /* a hash of the sequence numbers in the order of their arrival */
};

enum {
    BUFFER_SIZE = 1 << 19,
    HANDSHAKES_AT_ONCE = 100,
    OP_TEXT = 1,
    OP_CLOSE = 8,
    OP_PING = 9,
    OP_PONG = 10,
};

struct room *rooms;
struct subscriber_totals totals;

static struct subscriber *subscribers;
static char buffer[BUFFER_SIZE];
static uint64_t read_at; /* when the bytes in the buffer were read */

/* ---- counting ---- */

uint64_t mark_hash(uint64_t sequence)
{
    uint64_t hash = sequence + 0x9e3779b97f4a7c15u; /* splitmix64: sums of these don't agree by accident */
    hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
    hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebu;
    return hash ^ (hash >> 31);
}

static uint64_t digits(const char *at, int count)
{
    uint64_t value = 0;
    for (int i = 0; i < count; i++)
        value = value * 10 + (uint64_t)(at[i] - '0');
    return value;
}

static void count_event(struct subscriber *subscriber, const char *mark)
{
    uint64_t due = digits(mark + 2, 19), sequence = digits(mark + 22, 10);
    subscriber->count++;
    subscriber->sum += mark_hash(sequence);
    subscriber->order = subscriber->order * 0x100000001b3u + sequence;
    totals.delivered++;
    histogram_add(&delivery_latency, read_at > due ? read_at - due : 0);
}

/* Counts the marks in a message; returns how many there were. */
static int count_marks(struct subscriber *subscriber, const char *at, const char *end)
{
    int found = 0;
    while (end - at >= MARK_LENGTH && (at = memchr(at, '@', (size_t)(end - at)))) {
        if (end - at >= MARK_LENGTH && at[1] == 'T' && at[21] == 'S') {
            count_event(subscriber, at);
            found++;
            at += MARK_LENGTH;
        } else {
            at++;
        }
    }
    return found;
}

static int unlike_room(bool (*unlike)(const struct subscriber *, const struct subscriber *first))
{
    const struct subscriber **first = calloc((size_t)options.rooms, sizeof *first);
    int count = 0;
    for (int i = 0; i < options.subscribers; i++) {
        const struct subscriber *subscriber = &subscribers[i];
        if (subscriber->state != STATE_READY)
            continue;
        if (!first[subscriber->room])
            first[subscriber->room] = subscriber;
        count += unlike(subscriber, first[subscriber->room]);
    }
    free(first);
    return count;
}

static bool unlike_published(const struct subscriber *subscriber, const struct subscriber *first)
{
    const struct room *room = &rooms[subscriber->room];
    (void)first;
    return subscriber->count != room->count || subscriber->sum != room->sum;
}

static bool unlike_first(const struct subscriber *subscriber, const struct subscriber *first)
{
    return subscriber->order != first->order;
}

int subscribers_wrong(void)
{
    return unlike_room(unlike_published);
}

int subscribers_disordered(void)
{
    return unlike_room(unlike_first);
}

/* ---- the life of a subscriber ---- */

static void become_ready(struct subscriber *subscriber)
{
    subscriber->state = STATE_READY;
    rooms[subscriber->room].members++;
    totals.ready++;
}

static void close_subscriber(struct subscriber *subscriber, const char *why, const char *detail)
{
    static int complaints;
    if (subscriber->state == STATE_CLOSED)
        return;
    if (complaints++ < 3)
        fprintf(stderr, "load: subscriber closed: %s: %.300s\n", why, detail);
    if (subscriber->state == STATE_READY) {
        rooms[subscriber->room].members--;
        totals.ready--;
        totals.closed++;
    } else {
        totals.failed++;
    }
    subscriber->state = STATE_CLOSED;
    loop_forget(subscriber->fd);
    close(subscriber->fd);
}

/* Requests, joins and pongs are small and rare: a socket that doesn't take one whole at once is broken. */
static void send_whole(struct subscriber *subscriber, const char *data, size_t length)
{
    if (send(subscriber->fd, data, length, MSG_NOSIGNAL) != (ssize_t)length)
        close_subscriber(subscriber, "send", strerror(errno));
}

static void send_frame(struct subscriber *subscriber, int opcode, const char *payload, size_t length)
{
    char frame[FRAME_HEAD + 125];
    send_whole(subscriber, frame, frame_build(frame, opcode, payload, length));
}

static void send_request(struct subscriber *subscriber)
{
    char request[SUBSCRIBE_MAX];
    subscriber->state = STATE_HEAD;
    send_whole(subscriber, request, write_subscribe(request, subscriber->room));
}

/* ---- the response's head ---- */

static bool head_is_right(const char *head)
{
    if (options.mode == MODE_SSE)
        return strncmp(head, "HTTP/1.1 200", 12) == 0;
    /* The accept value that RFC 6455 derives from the key above. */
    return strncmp(head, "HTTP/1.1 101", 12) == 0 && strstr(head, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

/* Returns the head's length, 0 while it isn't complete. */
static size_t read_head(struct subscriber *subscriber, char *data, size_t length)
{
    char *end = memmem(data, length, "\r\n\r\n", 4);
    if (!end)
        return 0;
    end[2] = 0;
    if (!head_is_right(data)) {
        close_subscriber(subscriber, "unexpected answer", data);
        return length;
    }
    subscriber->chunked = strcasestr(data, "\ntransfer-encoding: chunked") != NULL;
    if (ready_by_head())
        become_ready(subscriber);
    else
        subscriber->state = STATE_GREETING;
    return (size_t)(end + 4 - data);
}

/* ---- WebSocket ---- */

/* A text that isn't an event: greeting, answer to the join, heartbeat, gap, error. */
static void read_control(struct subscriber *subscriber, const char *data, size_t length)
{
    char answer[TALK_MAX + 1], text[301];
    switch (hear(data, length, subscriber->state == STATE_READY, subscriber->room, answer)) {
    case TALK_ANSWER:
        send_frame(subscriber, OP_TEXT, answer, strlen(answer));
        break;
    case TALK_READY:
        become_ready(subscriber);
        break;
    case TALK_GAP:
        totals.gaps++;
        break;
    case TALK_ERROR:
        snprintf(text, sizeof text, "%.*s", (int)(length < 300 ? length : 300), data);
        close_subscriber(subscriber, "error", text);
        break;
    case TALK_NOTHING:
        break;
    }
}

static void read_frame(struct subscriber *subscriber, const struct frame *frame)
{
    if (frame->opcode == OP_PING) {
        send_frame(subscriber, OP_PONG, frame->data, frame->length < 125 ? frame->length : 125);
    } else if (frame->opcode == OP_CLOSE) {
        char reason[200];
        const unsigned char *code = (const unsigned char *)frame->data;
        snprintf(reason, sizeof reason, "%d %.*s", frame->length >= 2 ? code[0] << 8 | code[1] : 1005,
                 frame->length > 2 ? (int)frame->length - 2 : 0, frame->data + 2);
        close_subscriber(subscriber, "close frame", reason);
    } else if (!count_marks(subscriber, frame->data, frame->data + frame->length)) {
        read_control(subscriber, frame->data, frame->length);
    }
}

/* Reads the frames that are complete; returns how many bytes they were. */
static size_t read_frames(struct subscriber *subscriber, const char *data, size_t length)
{
    struct frame frame;
    size_t used = 0, size;
    while (subscriber->state != STATE_CLOSED && (size = frame_parse(data + used, length - used, &frame))) {
        read_frame(subscriber, &frame);
        used += size;
    }
    return used;
}

/* ---- SSE ---- */

static void read_line(struct subscriber *subscriber, const char *line, size_t length)
{
    if (strncmp(line, "data:", 5) == 0)
        count_marks(subscriber, line, line + length);
    else if (strncmp(line, "event:", 6) == 0)
        read_control(subscriber, line, length);
}

/* Reads the lines that are complete; returns how many bytes they were. */
static size_t read_lines(struct subscriber *subscriber, const char *data, size_t length)
{
    size_t used = 0;
    const char *end;
    while ((end = memchr(data + used, '\n', length - used))) {
        size_t line = (size_t)(end - (data + used));
        if (line >= 6)
            read_line(subscriber, data + used, line);
        used += line + 1;
    }
    return used;
}

/* ---- reading ---- */

static void keep(struct subscriber *subscriber, const char *data, size_t length)
{
    if (length > MESSAGE_MAX)
        die("over %d bytes without an end of frame or line", MESSAGE_MAX);
    if (length > subscriber->kept_capacity) {
        subscriber->kept_capacity = length * 2;
        free(subscriber->kept);
        subscriber->kept = malloc(subscriber->kept_capacity);
    }
    if (length)
        memcpy(subscriber->kept, data, length);
    subscriber->kept_length = length;
}

/* Reads the buffer's `length` bytes, of which the first `old` were there before; keeps what is unfinished. */
static void consume(struct subscriber *subscriber, size_t old, size_t length)
{
    size_t used = 0;
    if (subscriber->state == STATE_HEAD) {
        used = read_head(subscriber, buffer, length);
        old = used;
    }
    if (subscriber->state != STATE_HEAD && subscriber->state != STATE_CLOSED) {
        if (subscriber->chunked)
            length = old + unchunk(&subscriber->chunks, buffer + old, length - old);
        used += options.mode == MODE_WS ? read_frames(subscriber, buffer + used, length - used)
                                        : read_lines(subscriber, buffer + used, length - used);
    }
    keep(subscriber, buffer + used, length - used);
}

static void on_subscriber(struct handler *handler, uint32_t events)
{
    struct subscriber *subscriber = (struct subscriber *)handler;
    size_t old = subscriber->kept_length;
    (void)events;
    if (old)
        memcpy(buffer, subscriber->kept, old);
    ssize_t count = recv(subscriber->fd, buffer + old, BUFFER_SIZE - old, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0) {
        close_subscriber(subscriber, "read", count ? strerror(errno) : "end of stream");
        return;
    }
    read_at = now_ns();
    totals.bytes += (uint64_t)count;
    totals.reads++;
    consume(subscriber, old, old + (size_t)count);
}

/* ---- opening them all ---- */

static void open_subscriber(int index)
{
    struct subscriber *subscriber = &subscribers[index];
    subscriber->handler.on_ready = on_subscriber;
    subscriber->room = index % options.rooms;
    subscriber->fd = connect_local(options.port);
    loop_watch(subscriber->fd, EPOLLIN, &subscriber->handler);
    send_request(subscriber);
}

bool subscribers_connect(void)
{
    uint64_t deadline = now_ns() + 60000000000u;
    int opened = 0, settled = 0;
    subscribers = calloc((size_t)options.subscribers + 1, sizeof *subscribers);
    rooms = calloc((size_t)options.rooms, sizeof *rooms);
    while (settled < options.subscribers && now_ns() < deadline) {
        while (opened < options.subscribers && opened - settled < HANDSHAKES_AT_ONCE)
            open_subscriber(opened++);
        loop_run(deadline);
        settled = totals.ready + totals.failed + totals.closed;
    }
    return totals.ready == options.subscribers;
}
