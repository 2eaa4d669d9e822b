/* limit.c - the physical limit that `make bench` compares the Hub with: an epoll server in one thread that knows nothing
 * but rooms, and does one send() per delivery of bytes that are ready-made. No HTTP parser, no auth, no store.
 *
 *   cc -O2 -Wall -Wextra -o limit limit.c
 *   limit --mode ws|sse --port P [--feed-port F] [--join]
 *
 *   --mode       what subscribers get: WebSocket text frames, or SSE `data:` blocks in HTTP chunks
 *   --port       `GET /N` subscribes to room N; a `POST` of anything is read and answered 202 (the limit of publishing)
 *   --feed-port  takes lines of `ROOM SPACE PAYLOAD LF`: each is one event, sent to every subscriber of the room
 *   --join       joins the frames that one turn of the loop brings a room, and sends them by one send()
 *
 * A subscriber that doesn't take its bytes whole is closed and named on stderr: a limit that may drop would be none.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ROOMS_MAX = 100000, INPUT_MAX = 1 << 22, FRAME_HEAD_MAX = 24, FRAME_TAIL_MAX = 4 };

enum kind { KIND_HTTP_LISTENER, KIND_FEED_LISTENER, KIND_HTTP, KIND_FEED, KIND_SUBSCRIBER };

struct connection {
    int fd;
    enum kind kind;
    int room, place;        /* of a subscriber: its place in the room's list */
    char *kept;             /* input that isn't complete yet */
    size_t kept_length;
};

struct room {
    struct connection **members;
    int count, capacity;
    char *pending; /* frames to send */
    size_t pending_length, pending_capacity;
};

static struct room rooms[ROOMS_MAX];
static int dirty[ROOMS_MAX], dirty_count; /* rooms with something pending */
static bool sse, join_frames;
static int epoll_fd;
static char input[INPUT_MAX];

static _Noreturn void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("limit: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(1);
}

/* ---- connections ---- */

static struct connection *watch(int fd, enum kind kind)
{
    struct connection *connection = calloc(1, sizeof *connection);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    connection->fd = fd;
    connection->kind = kind;
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl: %s", strerror(errno));
    return connection;
}

static void leave(struct connection *connection)
{
    struct room *room = &rooms[connection->room];
    struct connection *last = room->members[--room->count];
    room->members[connection->place] = last;
    last->place = connection->place;
}

static void close_connection(struct connection *connection)
{
    if (connection->kind == KIND_SUBSCRIBER)
        leave(connection);
    close(connection->fd);
    free(connection->kept);
    free(connection);
}

static void keep(struct connection *connection, const char *data, size_t length)
{
    char *kept = length ? malloc(length) : NULL;
    if (length)
        memcpy(kept, data, length);
    free(connection->kept);
    connection->kept = kept;
    connection->kept_length = length;
}

static int listen_local(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 2048) < 0)
        die("port %d: %s", port, strerror(errno));
    return fd;
}

static void accept_all(const struct connection *listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(fd, listener->kind == KIND_FEED_LISTENER ? KIND_FEED : KIND_HTTP);
    }
}

/* ---- fan-out ---- */

static void flush_room(struct room *room)
{
    for (int i = room->count - 1; i >= 0; i--) { /* from the end, because a member may have to go */
        struct connection *member = room->members[i];
        if (send(member->fd, room->pending, room->pending_length, MSG_NOSIGNAL) == (ssize_t)room->pending_length)
            continue;
        fprintf(stderr, "limit: a subscriber of room %d didn't take its bytes and is closed\n", member->room);
        close_connection(member);
    }
    room->pending_length = 0;
}

static void flush_dirty(void)
{
    for (int i = 0; i < dirty_count; i++)
        flush_room(&rooms[dirty[i]]);
    dirty_count = 0;
}

static char *reserve(struct room *room, size_t more)
{
    if (room->pending_length + more > room->pending_capacity) {
        room->pending_capacity = (room->pending_length + more) * 2;
        room->pending = realloc(room->pending, room->pending_capacity);
    }
    return room->pending + room->pending_length;
}

static size_t write_chunk(char *into, const char *payload, size_t length)
{
    size_t head = (size_t)sprintf(into, "%zx\r\ndata: ", length + 8);
    memcpy(into + head, payload, length);
    memcpy(into + head + length, "\n\n\r\n", 4);
    return head + length + 4;
}

static size_t write_frame(char *into, const char *payload, size_t length)
{
    size_t head = length < 126 ? 2 : 4;
    if (length > 0xffff)
        die("an event of %zu bytes", length);
    into[0] = (char)0x81;
    into[1] = (char)(length < 126 ? length : 126);
    if (head == 4) {
        into[2] = (char)(length >> 8);
        into[3] = (char)length;
    }
    memcpy(into + head, payload, length);
    return head + length;
}

static void fan_out(int number, const char *payload, size_t length)
{
    struct room *room = &rooms[number];
    char *into = reserve(room, length + FRAME_HEAD_MAX + FRAME_TAIL_MAX);
    if (room->pending_length == 0)
        dirty[dirty_count++] = number;
    room->pending_length += sse ? write_chunk(into, payload, length) : write_frame(into, payload, length);
    if (!join_frames)
        flush_dirty();
}

/* ---- input ---- */

static int room_number(const char *digits)
{
    int number = atoi(digits);
    if (number < 0 || number >= ROOMS_MAX)
        die("room %d: only 0 to %d", number, ROOMS_MAX - 1);
    return number;
}

static void subscribe(struct connection *connection, const char *request)
{
    const char *answer = sse ? "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                             : "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    connection->kind = KIND_SUBSCRIBER;
    connection->room = room_number(request + strlen("GET /"));
    struct room *room = &rooms[connection->room];
    if (room->count == room->capacity) {
        room->capacity = room->capacity ? room->capacity * 2 : 4;
        room->members = realloc(room->members, (size_t)room->capacity * sizeof *room->members);
    }
    connection->place = room->count;
    room->members[room->count++] = connection;
    if (send(connection->fd, answer, strlen(answer), MSG_NOSIGNAL) < 0)
        close_connection(connection);
}

/* A request that is complete, in `input`: returns its length, else 0. */
static size_t request_length(size_t length)
{
    input[length] = 0;
    char *end = memmem(input, length, "\r\n\r\n", 4);
    if (!end)
        return 0;
    size_t head = (size_t)(end + 4 - input), body = 0;
    if (input[0] == 'P') {
        char *field = strcasestr(input, "\ncontent-length:");
        body = field ? strtoull(field + 16, NULL, 10) : 0;
    }
    return head + body <= length ? head + body : 0;
}

static void read_request(struct connection *connection, size_t length)
{
    static const char accepted[] = "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n"
                                   "{\"success\":true}";
    size_t used = request_length(length);
    if (used && input[0] == 'G') {
        keep(connection, NULL, 0);
        subscribe(connection, input);
        return;
    }
    keep(connection, input + used, length - used);
    if (used && send(connection->fd, accepted, sizeof accepted - 1, MSG_NOSIGNAL) < 0)
        close_connection(connection);
}

static void read_feed(struct connection *connection, size_t length)
{
    size_t used = 0;
    char *end;
    while ((end = memchr(input + used, '\n', length - used))) {
        char *line = input + used, *space = memchr(line, ' ', (size_t)(end - line));
        if (!space)
            die("a line of the feed is ROOM SPACE PAYLOAD");
        fan_out(room_number(line), space + 1, (size_t)(end - space - 1));
        used += (size_t)(end - line) + 1;
    }
    keep(connection, input + used, length - used);
}

static void on_input(struct connection *connection)
{
    size_t old = connection->kept_length;
    if (old)
        memcpy(input, connection->kept, old);
    ssize_t count = recv(connection->fd, input + old, INPUT_MAX - 1 - old, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0)
        close_connection(connection);
    else if (connection->kind == KIND_FEED)
        read_feed(connection, old + (size_t)count);
    else if (connection->kind == KIND_HTTP)
        read_request(connection, old + (size_t)count);
    /* what subscribers say (pongs) is read and forgotten */
}

/* ---- main ---- */

static void serve(void)
{
    for (;;) {
        struct epoll_event ready[256];
        int count = epoll_wait(epoll_fd, ready, 256, -1);
        for (int i = 0; i < count; i++) {
            struct connection *connection = ready[i].data.ptr;
            if (connection->kind == KIND_HTTP_LISTENER || connection->kind == KIND_FEED_LISTENER)
                accept_all(connection);
            else
                on_input(connection);
        }
        flush_dirty();
    }
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"mode", 1, 0, 'm'}, {"port", 1, 0, 'p'}, {"feed-port", 1, 0, 'f'}, {"join", 0, 0, 'j'}, {0, 0, 0, 0},
    };
    int option, port = 0, feed_port = 0;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case 'm': sse = strcmp(optarg, "sse") == 0; break;
        case 'p': port = atoi(optarg); break;
        case 'f': feed_port = atoi(optarg); break;
        case 'j': join_frames = true; break;
        default: die("see the head of limit.c for the arguments");
        }
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    watch(listen_local(port), KIND_HTTP_LISTENER);
    if (feed_port)
        watch(listen_local(feed_port), KIND_FEED_LISTENER);
    serve();
}
