/* storm.c - the resume storm: WebSocket clients that are cut at once and come back with their cursors, while events go
 * on and others stay. Shares its parts with the load client (load_*.c). Linux only; talks to 127.0.0.1.
 *
 *   storm --port P --key KEY [--clients N] [--others M] [--rooms R] [--rate EVENTS] [--seconds S] [--resume-port Q]
 *         [--publish-port Q] [--signal NUMBER --pid PID] [--server PIDS]
 *
 *   --clients, --others  those that are cut, and those that stay (they are at the publish port), spread over the rooms
 *   --resume-port        where the clients come back to
 *   --signal, --pid      instead of cutting the clients: end the process that they are at, 9 or 15
 *   --seconds            of each phase: before, during (at least, and until all are back), after
 *
 * Prints one JSON object: latency of those that stay, per phase; how long it took until all were back; the server's CPU
 * per client; and what was wrong: clients that didn't get each event of their room exactly once in the order in which
 * one that stayed got it, gaps, and `recovered: false`. Exit codes: 0 nothing was wrong, 1 wrong use, 2 something was.
 */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum state { AWAY, OPENING, READY };
enum { HANDSHAKES = 1000, BUFFER = 1 << 20, CURSOR_MAX = 128 };

struct client {
    struct handler handler; /* first: the loop hands it back */
    int fd, room;
    bool stays, upgraded;
    enum state state;
    char cursor[CURSOR_MAX];
    uint64_t again_at; /* when it may come back */
    char *kept;        /* what the last read left unfinished */
    size_t kept_length;
    uint64_t count, sum, order;
};

struct options options = {.mode = MODE_WS, .peer = PEER_HUB, .key = "", .label = "", .rooms = 50, .connections = 16,
                          .batch = 1, .size = 130};
struct room *rooms;
struct subscriber_totals totals;

static struct client *clients;
static int cut_count = 5000, stay_count = 200, resume_port, kill_signal, kill_pid, opening, ready, gone, unrecovered;
static double rate = 200, seconds = 5;
static bool ending; /* the clients' process was told to end: they come back by themselves */
static char buffer[BUFFER];
static uint64_t next_due;

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("storm: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

uint64_t mark_hash(uint64_t sequence)
{
    uint64_t hash = sequence + 0x9e3779b97f4a7c15u;
    hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
    hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebu;
    return hash ^ (hash >> 31);
}

/* ---- what a client hears ---- */

static void leave(struct client *client, uint64_t pause)
{
    loop_forget(client->fd);
    close(client->fd);
    opening -= client->state == OPENING;
    ready -= client->state == READY;
    client->state = AWAY;
    client->kept_length = 0;
    client->again_at = now_ns() + pause;
}

static void lost(struct client *client, uint64_t pause)
{
    if (!ending || client->stays)
        die("a client was closed by the server");
    gone += client->state == READY;
    leave(client, pause);
}

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
        unrecovered += *client->cursor && !has(text, length, "\"recovered\":true");
        keep_cursor(client, text, length);
        client->state = READY;
        opening--;
        ready++;
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

static size_t hear_all(struct client *client, const char *data, size_t length, uint64_t read_at)
{
    struct frame frame;
    size_t used = 0, size;
    if (!client->upgraded) {
        const char *end = memmem(data, length, "\r\n\r\n", 4);
        if (!end)
            return 0;
        if (strncmp(data, "HTTP/1.1 101", 12) != 0)
            die("unexpected answer: %.200s", data);
        client->upgraded = true;
        used = (size_t)(end + 4 - data);
    }
    while (client->state != AWAY && (size = frame_parse(data + used, length - used, &frame))) {
        if (frame.opcode == 8)
            hear_close(client, frame.data, frame.length);
        else
            hear_text(client, frame.data, frame.length, read_at);
        used += size;
    }
    return used;
}

static void on_client(struct handler *handler, uint32_t events)
{
    struct client *client = (struct client *)handler;
    size_t old = client->kept_length;
    (void)events;
    memcpy(buffer, client->kept, old);
    ssize_t count = recv(client->fd, buffer + old, BUFFER - 1 - old, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0) {
        lost(client, 50000000);
        return;
    }
    size_t length = old + (size_t)count;
    buffer[length] = 0;
    size_t used = hear_all(client, buffer, length, now_ns());
    if (client->state == AWAY)
        return;
    client->kept_length = length - used;
    client->kept = realloc(client->kept, client->kept_length + 1);
    memcpy(client->kept, buffer + used, client->kept_length);
}

/* ---- coming and going ---- */

static void come(struct client *client, int port)
{
    char request[SUBSCRIBE_MAX];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        die("socket: %s", strerror(errno));
    setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    size_t length = write_subscribe(request, client->room);
    if (connect(client->fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        send(client->fd, request, length, MSG_NOSIGNAL) != (ssize_t)length) {
        close(client->fd); /* nobody listens there yet */
        client->again_at = now_ns() + 50000000;
        return;
    }
    fcntl(client->fd, F_SETFL, fcntl(client->fd, F_GETFL) | O_NONBLOCK);
    client->upgraded = false;
    client->state = OPENING;
    opening++;
    client->handler.on_ready = on_client;
    loop_watch(client->fd, EPOLLIN, &client->handler);
}

/* Opens those that are away and may come, so many at once. */
static void come_all(int port, int most)
{
    uint64_t now = now_ns();
    for (int i = 0; i < cut_count + stay_count && opening < most; i++)
        if (clients[i].state == AWAY && clients[i].again_at <= now)
            come(&clients[i], clients[i].stays ? options.publish_port : port);
}

static void run_until(uint64_t end, int port, int most, bool until_ready)
{
    uint64_t step = (uint64_t)(1e9 / rate), patience = now_ns() + 60000000000u;
    for (uint64_t now = now_ns(); now < end || (until_ready && ready < cut_count + stay_count); now = now_ns()) {
        if (now > patience)
            die("only %d are back after a minute", ready);
        while (next_due && next_due <= now && publish(next_due))
            next_due += step;
        if (ready + opening < cut_count + stay_count)
            come_all(port, most);
        loop_run(now + 2000000);
    }
}

static void strike(void)
{
    ending = kill_signal != 0;
    if (ending && kill(kill_pid, kill_signal) < 0)
        die("kill: %s", strerror(errno));
    for (int i = 0; i < cut_count && !ending; i++)
        leave(&clients[i], 0);
}

/* ---- the verdict ---- */

static int wrong(bool in_order)
{
    int found = 0;
    for (int i = 0; i < cut_count + stay_count; i++) {
        struct client *client = &clients[i], *first = &clients[cut_count + client->room];
        struct room *room = &rooms[client->room];
        found += in_order ? client->order != first->order : client->count != room->count || client->sum != room->sum;
    }
    return found;
}

static void print_phase(const char *name)
{
    printf("\"%s\":{\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.2f},", name,
           (double)histogram_percentile(&delivery_latency, 0.5) / 1e3,
           (double)histogram_percentile(&delivery_latency, 0.99) / 1e3, (double)delivery_latency.max / 1e3);
    histogram_reset(&delivery_latency);
}

static void parse_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"port", 1, 0, 'p'}, {"resume-port", 1, 0, 'r'}, {"publish-port", 1, 0, 'q'}, {"key", 1, 0, 'k'},
        {"clients", 1, 0, 'n'}, {"others", 1, 0, 'm'}, {"rooms", 1, 0, 'o'}, {"rate", 1, 0, 'e'},
        {"seconds", 1, 0, 's'}, {"signal", 1, 0, 'g'}, {"pid", 1, 0, 'i'}, {"server", 1, 0, 'S'}, {0, 0, 0, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1)
        switch (option) {
        case 'p': options.port = atoi(optarg); break;
        case 'r': resume_port = atoi(optarg); break;
        case 'q': options.publish_port = atoi(optarg); break;
        case 'k': options.key = optarg; break;
        case 'n': cut_count = atoi(optarg); break;
        case 'm': stay_count = atoi(optarg); break;
        case 'o': options.rooms = atoi(optarg); break;
        case 'e': rate = atof(optarg); break;
        case 's': seconds = atof(optarg); break;
        case 'g': kill_signal = atoi(optarg); break;
        case 'i': kill_pid = atoi(optarg); break;
        case 'S':
            for (char *pid = strtok(optarg, ","); pid && options.server.count < 64; pid = strtok(NULL, ","))
                options.server.pids[options.server.count++] = atoi(pid);
            break;
        default: die("see the head of storm.c for the arguments");
        }
    if (!options.publish_port)
        options.publish_port = options.port;
    if (!resume_port)
        resume_port = options.port;
    if (!options.port || options.rooms < 1 || stay_count < options.rooms || cut_count < 1 || rate <= 0)
        die("--port, --clients and --rate must be positive, and --others at least as many as --rooms");
}

int main(int argc, char **argv)
{
    struct rlimit files;
    parse_options(argc, argv);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    rooms = calloc((size_t)options.rooms, sizeof *rooms);
    clients = calloc((size_t)(cut_count + stay_count), sizeof *clients);
    for (int i = 0; i < cut_count + stay_count; i++) {
        clients[i].stays = i >= cut_count;
        clients[i].room = (clients[i].stays ? i - cut_count : i) % options.rooms;
    }
    uint64_t phase = (uint64_t)(seconds * 1e9);
    loop_open();
    publisher_open();
    run_until(0, options.port, 100, true);
    loop_rest(1);

    next_due = now_ns();
    run_until(now_ns() + 1000000000, options.port, 100, false);
    histogram_reset(&delivery_latency);
    struct cpu idle_from = cpu_of(&options.server);
    run_until(now_ns() + phase, options.port, 100, false);
    struct cpu from = cpu_of(&options.server);
    printf("{");
    print_phase("before");

    uint64_t began = now_ns();
    strike();
    if (ending) /* until the process has let go of all */
        while (gone < cut_count)
            run_until(now_ns() + 2000000, resume_port, HANDSHAKES, false);
    run_until(0, resume_port, HANDSHAKES, true);
    double back = (double)(now_ns() - began) / 1e9;
    struct cpu to = cpu_of(&options.server);
    run_until(began + phase, resume_port, HANDSHAKES, true);
    print_phase("during");
    run_until(now_ns() + phase, resume_port, HANDSHAKES, false);
    print_phase("after");
    next_due = 0;
    for (uint64_t end = now_ns() + 10000000000u; now_ns() < end && (publisher_busy() || wrong(false));)
        loop_run(now_ns() + 10000000);

    double idle = (double)(from.run_ns - idle_from.run_ns) / 1e3 / seconds * back;
    double cpu = ((double)(to.run_ns - from.run_ns) / 1e3 - idle) / cut_count;
    int lost_any = wrong(false), disordered = wrong(true);
    printf("\"clients\":%d,\"others\":%d,\"rooms\":%d,\"events\":%" PRIu64 ",\"back_s\":%.2f,\"server_us_per_client\":%.0f,",
           cut_count, stay_count, options.rooms, published.acked, back, cpu);
    printf("\"wrong\":%d,\"disordered\":%d,\"gaps\":%" PRIu64 ",\"unrecovered\":%d,\"rejected\":%" PRIu64 "}\n", lost_any,
           disordered, totals.gaps, unrecovered, published.rejected);
    return lost_any || disordered || totals.gaps || unrecovered ? 2 : 0;
}
