/* storm_clients.c - a client of the storm: it comes, joins its room after its cursor, counts what it gets, is cut. */
#define _GNU_SOURCE
#include "storm.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 1 << 20 };

struct client *clients;
struct tally tally;
static char buffer[BUFFER];

void client_leave(struct client *client, uint64_t pause)
{
    loop_forget(client->fd);
    close(client->fd);
    tally.opening -= client->state == OPENING;
    tally.ready -= client->state == READY;
    client->state = AWAY;
    client->kept_length = 0;
    client->again_at = now_ns() + pause;
}

static void lost(struct client *client, uint64_t pause)
{
    if (!tally.ending || client->stays)
        die("a client was closed by the server");
    tally.gone += client->state == READY;
    client_leave(client, pause);
}

static bool has(const char *text, size_t length, const char *word)
{
    return memmem(text, length, word, strlen(word)) != NULL;
}

static void count_event(struct client *client, const char *mark, uint64_t read_at)
{
    uint64_t due = strtoull(mark + 2, NULL, 10), sequence = strtoull(mark + 22, NULL, 10);
    client->count++;
    client->sum += mark_hash(sequence);
    client->order = client->order * 0x100000001b3u + mark_hash(sequence);
    if (client->stays)
        histogram_add(&delivery_latency, read_at > due ? read_at - due : 0);
}

static void become_ready(struct client *client, const char *text, size_t length)
{
    tally.unrecovered += *client->cursor && !has(text, length, "\"recovered\":true");
    client->state = READY;
    tally.opening--;
    tally.ready++;
}

/* ---- WebSocket ---- */

static void say(struct client *client, const char *text)
{
    char frame[FRAME_HEAD + 125];
    size_t length = frame_build(frame, 1, text, strlen(text));
    if (send(client->fd, frame, length, MSG_NOSIGNAL) != (ssize_t)length)
        lost(client, 50000000);
}

static void keep_cursor(struct client *client, const char *text, size_t length)
{
    static const char name[] = "\"cursor\":\"";
    const char *at = memmem(text, length, name, sizeof name - 1);
    const char *end = at ? memchr(at + sizeof name - 1, '"', (size_t)(text + length - at) - sizeof name + 1) : NULL;
    if (!end || end - at - (long)sizeof name + 1 >= CURSOR_MAX)
        die("no cursor in %.*s", (int)(length < 200 ? length : 200), text);
    at += sizeof name - 1;
    memcpy(client->cursor, at, (size_t)(end - at));
    client->cursor[end - at] = 0;
}

static void hear_text(struct client *client, const char *text, size_t length, uint64_t read_at)
{
    char join[CURSOR_MAX + 80];
    const char *mark = memmem(text, length, "@T", 2);
    if (mark) {
        keep_cursor(client, text, length);
        count_event(client, mark, read_at);
    } else if (has(text, length, "\"type\":\"connected\"")) {
        int size = sprintf(join, "{\"type\":\"join_room\",\"room\":\"bench.%d\"", client->room);
        sprintf(join + size, *client->cursor ? ",\"after\":\"%s\"}" : "}", client->cursor);
        say(client, join);
    } else if (has(text, length, "\"type\":\"room_joined\"")) {
        become_ready(client, text, length);
        keep_cursor(client, text, length);
    } else if (has(text, length, "\"type\":\"gap\"")) {
        totals.gaps++;
    } else if (has(text, length, "\"type\":\"error\"")) {
        die("%.*s", (int)(length < 300 ? length : 300), text);
    }
}

/* A close frame says when to come back: `retry=MS`. */
static void hear_close(struct client *client, const char *data, size_t length)
{
    const char *retry = memmem(data, length, "retry=", 6);
    lost(client, retry ? strtoull(retry + 6, NULL, 10) * 1000000 : 0);
}

static size_t hear_frames(struct client *client, const char *data, size_t length, uint64_t read_at)
{
    struct frame frame;
    size_t used = 0, size;
    while (client->state != AWAY && (size = frame_parse(data + used, length - used, &frame))) {
        if (frame.opcode == 8)
            hear_close(client, frame.data, frame.length);
        else
            hear_text(client, frame.data, frame.length, read_at);
        used += size;
    }
    return used;
}

/* ---- SSE: the id counts once its block has ended ---- */

static void hear_line(struct client *client, const char *line, size_t length, uint64_t read_at)
{
    const char *mark;
    if (length == 0) {
        if (*client->pending)
            strcpy(client->cursor, client->pending);
        *client->pending = *client->event = 0;
    } else if (strncmp(line, "id: ", 4) == 0) {
        snprintf(client->pending, CURSOR_MAX, "%.*s", (int)length - 4, line + 4);
    } else if (strncmp(line, "event: ", 7) == 0) {
        snprintf(client->event, sizeof client->event, "%.*s", (int)length - 7, line + 7);
        totals.gaps += strcmp(client->event, "hub.gap") == 0;
    } else if (strncmp(line, "retry: ", 7) == 0) {
        client->retry = strtoull(line + 7, NULL, 10) * 1000000;
    } else if (strncmp(line, "data: ", 6) == 0) {
        if (strcmp(client->event, "hub.connected") == 0)
            become_ready(client, line, length);
        else if ((mark = memmem(line, length, "@T", 2)))
            count_event(client, mark, read_at);
    }
}

static size_t hear_lines(struct client *client, const char *data, size_t length, uint64_t read_at)
{
    size_t used = 0;
    const char *end;
    while ((end = memchr(data + used, '\n', length - used))) {
        hear_line(client, data + used, (size_t)(end - data) - used, read_at);
        used = (size_t)(end - data) + 1;
    }
    return used;
}

/* ---- reading ---- */

/* Returns the length of the answer's head, 0 while it isn't complete. */
static size_t hear_head(struct client *client, const char *data, size_t length)
{
    const char *end = memmem(data, length, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if (strncmp(data, options.mode == MODE_SSE ? "HTTP/1.1 200" : "HTTP/1.1 101", 12) != 0)
        die("unexpected answer: %.200s", data);
    client->upgraded = true;
    return (size_t)(end + 4 - data);
}

static void on_client(struct handler *handler, uint32_t events)
{
    struct client *client = (struct client *)handler;
    size_t old = client->kept_length, used = 0;
    (void)events;
    memcpy(buffer, client->kept, old);
    ssize_t count = recv(client->fd, buffer + old, BUFFER - 1 - old, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0) {
        lost(client, client->retry ? client->retry : 50000000);
        return;
    }
    size_t length = old + (size_t)count;
    buffer[length] = 0;
    if (!client->upgraded && strncmp(buffer, "HTTP/1.1 503", 12) == 0) { /* OVERLOADED: come back in 1 to 4 s */
        client_leave(client, (1 + (uint64_t)rand() % 4) * 1000000000);
        return;
    }
    if (!client->upgraded)
        old = used = hear_head(client, buffer, length);
    if (client->upgraded && options.mode == MODE_SSE) {
        length = old + unchunk(&client->chunks, buffer + old, length - old);
        used += hear_lines(client, buffer + used, length - used, now_ns());
    } else if (client->upgraded) {
        used += hear_frames(client, buffer + used, length - used, now_ns());
    }
    if (client->state == AWAY)
        return;
    client->kept_length = length - used;
    client->kept = realloc(client->kept, client->kept_length + 1);
    memcpy(client->kept, buffer + used, client->kept_length);
}

/* ---- coming ---- */

static size_t write_request(struct client *client, char *into)
{
    size_t length = write_subscribe(into, client->room);
    if (options.mode == MODE_SSE && *client->cursor) /* before the empty line */
        length += (size_t)sprintf(into + length - 2, "Last-Event-ID: %s\r\n\r\n", client->cursor) - 2;
    return length;
}

void client_come(struct client *client, int port)
{
    char request[SUBSCRIBE_MAX + CURSOR_MAX + 32];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        die("socket: %s", strerror(errno));
    setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    size_t length = write_request(client, request);
    if (connect(client->fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        send(client->fd, request, length, MSG_NOSIGNAL) != (ssize_t)length) {
        close(client->fd); /* nobody listens there yet */
        client->again_at = now_ns() + 50000000;
        return;
    }
    fcntl(client->fd, F_SETFL, fcntl(client->fd, F_GETFL) | O_NONBLOCK);
    client->upgraded = false;
    *client->pending = *client->event = 0;
    client->chunks = (struct chunk_decoder){0};
    client->retry = 0;
    client->state = OPENING;
    tally.opening++;
    client->handler.on_ready = on_client;
    loop_watch(client->fd, EPOLLIN, &client->handler);
}
