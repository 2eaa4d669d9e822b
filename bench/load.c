/* load.c - the load client of `make bench`: a swarm of WebSocket or SSE subscribers and an HTTP publisher in one thread
 * (epoll), so that what is measured is the server and not the client. Linux only. Talks to 127.0.0.1.
 *
 *   cc -O2 -Wall -Wextra -o load load.c load_*.c
 *   load --mode ws|sse|none --port P --phases LIST [--subscribers N] [--rooms R] ...
 *
 *   --mode none        publishes without subscribers
 *   --peer hub|limit|nchan|socketio|ws    what is there (load_peers.c)
 *   --publish-port Q   publishes by HTTP to another process than --port
 *   --feed-port F      publishes by limit.c's line protocol instead of HTTP
 *   --key KEY          sent as `Authorization: Bearer KEY`
 *   --connections K    publishing connections, one request in flight on each
 *   --batch B          events per request
 *   --size BYTES       of one published event
 *   --server, --store  pids, comma-separated, whose CPU and memory are measured
 *   --phases LIST      comma-separated:
 *       sat:WINDOW:SECONDS    publishes as fast as the server delivers, WINDOW events not delivered (mode none: not
 *                             answered) yet
 *       frac:SHARE:SECONDS    publishes at a fixed rate, a share of the last saturation's
 *       rate:EVENTS:SECONDS   publishes at a fixed rate of events per second
 *       upto:EVENTS:SECONDS   the same, at half of what the last saturation reached where that was under 1.1 EVENTS
 *                    An empty list: opens the subscribers and reports what each of them cost
 *   --warmup S  --settle S  --drain S    before each measured span, after connecting, and at most after each phase
 *
 * Prints a JSON object per line: one for the connecting, one per phase (bench/README.md names the fields). Latency runs
 * from the moment an event was due, sent late or not, to the read that brought it. Exit codes: 0 ran (look at `lost`),
 * 1 wrong use or no connection, 2 a subscriber couldn't be opened.
 */
#define _GNU_SOURCE
#include "load.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

struct options options = {
    .label = "",
    .key = "",
    .rooms = 1,
    .connections = 8,
    .batch = 1,
    .size = 130,
    .phases = "sat:8:5,frac:0.5:5",
    .warmup = 1,
    .settle = 1,
    .drain = 5,
};

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

/* ---- arguments ---- */

static struct pid_list parse_pids(char *text)
{
    struct pid_list list = {.count = 0};
    for (char *pid = strtok(text, ","); pid && list.count < 64; pid = strtok(NULL, ","))
        list.pids[list.count++] = atoi(pid);
    return list;
}

static enum mode parse_mode(const char *text)
{
    if (strcmp(text, "ws") == 0)
        return MODE_WS;
    if (strcmp(text, "sse") == 0)
        return MODE_SSE;
    if (strcmp(text, "none") == 0)
        return MODE_NONE;
    die("--mode is ws, sse or none, not %s", text);
}

static void set_option(int option, char *value)
{
    switch (option) {
    case 'l': options.label = value; break;
    case 'm': options.mode = parse_mode(value); break;
    case 'x': options.peer = parse_peer(value); break;
    case 'p': options.port = atoi(value); break;
    case 'f': options.feed_port = atoi(value); break;
    case 'k': options.key = value; break;
    case 'n': options.subscribers = atoi(value); break;
    case 'r': options.rooms = atoi(value); break;
    case 'c': options.connections = atoi(value); break;
    case 'b': options.batch = atoi(value); break;
    case 's': options.size = atoi(value); break;
    case 'S': options.server = parse_pids(value); break;
    case 'T': options.store = parse_pids(value); break;
    case 'P': options.phases = value; break;
    case 'w': options.warmup = atof(value); break;
    case 'e': options.settle = atof(value); break;
    case 'q': options.publish_port = atoi(value); break;
    case 'd': options.drain = atof(value); break;
    default: die("see the head of load.c for the arguments");
    }
}

static void parse_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"label", 1, 0, 'l'},  {"mode", 1, 0, 'm'},        {"peer", 1, 0, 'x'},  {"port", 1, 0, 'p'},
        {"feed-port", 1, 0, 'f'}, {"publish-port", 1, 0, 'q'}, {"key", 1, 0, 'k'},      {"subscribers", 1, 0, 'n'}, {"rooms", 1, 0, 'r'},
        {"connections", 1, 0, 'c'}, {"batch", 1, 0, 'b'},  {"size", 1, 0, 's'},  {"server", 1, 0, 'S'},
        {"store", 1, 0, 'T'},  {"phases", 1, 0, 'P'},      {"warmup", 1, 0, 'w'}, {"settle", 1, 0, 'e'},
        {"drain", 1, 0, 'd'},  {0, 0, 0, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1)
        set_option(option, optarg);
    if (optind < argc)
        die("what is %s?", argv[optind]);
    if (options.mode == MODE_NONE)
        options.subscribers = 0;
    if (!options.publish_port)
        options.publish_port = options.port;
    if (!options.port || options.rooms < 1 || options.batch < 1 || options.connections < 1)
        die("--port, --rooms, --batch and --connections must be positive");
}

static void raise_file_limit(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* ---- phases ---- */

struct phase {
    char kind[16]; /* sat, frac, rate, upto */
    double value;  /* window in events, share, events per second (twice) */
    double seconds;
};

/* All counters at one moment; a phase is the difference of two. */
struct snapshot {
    uint64_t time;
    struct subscriber_totals subscribers;
    struct publish_totals published;
    struct cpu server, store;
    uint64_t client_ns;
};

static double saturation; /* events per second, of the last `sat` phase */

static struct snapshot take_snapshot(void)
{
    return (struct snapshot){
        .time = now_ns(),
        .subscribers = totals,
        .published = published,
        .server = cpu_of(&options.server),
        .store = cpu_of(&options.store),
        .client_ns = cpu_of_self_ns(),
    };
}

/* Events that aren't delivered to everybody yet, on the average; without subscribers, that aren't answered yet. */
static double in_flight(const struct snapshot *begin)
{
    if (options.mode == MODE_NONE)
        return (double)(published.events - published.acked - published.rejected);
    double owed = (double)(int64_t)(published.owed - begin->published.owed);
    double delivered = (double)(totals.delivered - begin->subscribers.delivered);
    return (owed - delivered) * options.rooms / (totals.ready ? totals.ready : 1);
}

static void publish_window(const struct snapshot *begin, double window)
{
    if (window < options.batch)
        window = options.batch;
    while (in_flight(begin) + options.batch <= window && publish(now_ns()))
        ;
}

/* Publishes what is due; returns how late the oldest one is that couldn't be sent. */
static uint64_t publish_due(uint64_t *due, uint64_t step)
{
    uint64_t now = now_ns();
    while (*due <= now) {
        if (!publish(*due))
            return now - *due;
        *due += step;
    }
    return 0;
}

/* Events per second that a phase asks for. */
static double rate_of(const struct phase *phase)
{
    double rate = phase->value;
    if (strcmp(phase->kind, "frac") == 0)
        rate *= saturation;
    else if (strcmp(phase->kind, "upto") == 0 && rate * 1.1 > saturation)
        rate = saturation / 2;
    return rate > 0.01 ? rate : 0.01;
}

/* Publishes until `end`; returns how late it got, in ns, at most. */
static uint64_t run_until(uint64_t end, const struct phase *phase, const struct snapshot *begin, uint64_t *due)
{
    bool saturate = strcmp(phase->kind, "sat") == 0;
    uint64_t step = (uint64_t)(1e9 * options.batch / rate_of(phase)), behind = 0;
    while (now_ns() < end) {
        if (saturate) {
            publish_window(begin, phase->value);
            loop_run(end);
        } else {
            uint64_t late = publish_due(due, step);
            behind = late > behind ? late : behind;
            loop_run(late ? end : *due < end ? *due : end); /* when late, the next answer or read goes on */
        }
    }
    return behind;
}

/* Waits until everything owed is delivered and answered, or `options.drain` is over. Returns the deliveries lost. */
static int64_t drain(const struct snapshot *begin)
{
    uint64_t end = now_ns() + (uint64_t)(options.drain * 1e9);
    int64_t missing;
    for (;;) {
        uint64_t owed = published.owed - begin->published.owed;
        missing = (int64_t)(owed - (totals.delivered - begin->subscribers.delivered));
        uint64_t now = now_ns();
        if ((missing <= 0 && !publisher_busy()) || now >= end)
            break;
        loop_run(now + 10000000 < end ? now + 10000000 : end);
    }
    loop_rest(0.1); /* whatever comes twice or too late shows in `lost` below zero and in `wrong` */
    return (int64_t)((published.owed - begin->published.owed) - (totals.delivered - begin->subscribers.delivered));
}

/* ---- reports ---- */

static double per(double amount, uint64_t count)
{
    return count ? amount / (double)count : 0;
}

static void print_latency(const char *name, const struct histogram *histogram)
{
    printf(",\"%s_p50_us\":%" PRIu64 ",\"%s_p99_us\":%" PRIu64 ",\"%s_max_us\":%" PRIu64, name,
           histogram_percentile(histogram, 0.50), name, histogram_percentile(histogram, 0.99), name, histogram->max);
}

static void print_span(const struct snapshot *from, const struct snapshot *to)
{
    double seconds = (double)(to->time - from->time) / 1e9;
    uint64_t deliveries = to->subscribers.delivered - from->subscribers.delivered;
    uint64_t events = to->published.acked - from->published.acked;
    uint64_t requests = to->published.acked_requests - from->published.acked_requests;
    uint64_t reads = to->subscribers.reads - from->subscribers.reads;
    double server_us = (double)(to->server.run_ns - from->server.run_ns) / 1e3;
    double server_wait_us = (double)(to->server.wait_ns - from->server.wait_ns) / 1e3;
    double store_us = (double)(to->store.run_ns - from->store.run_ns) / 1e3;
    double client_us = (double)(to->client_ns - from->client_ns) / 1e3;

    printf(",\"seconds\":%.3f,\"deliveries\":%" PRIu64 ",\"events\":%" PRIu64, seconds, deliveries, events);
    printf(",\"deliveries_s\":%.1f,\"events_s\":%.1f,\"requests_s\":%.1f", (double)deliveries / seconds,
           (double)events / seconds, (double)requests / seconds);
    printf(",\"server_us_per_delivery\":%.4f,\"store_us_per_delivery\":%.4f", per(server_us, deliveries),
           per(store_us, deliveries));
    printf(",\"server_us_per_event\":%.3f,\"store_us_per_event\":%.3f", per(server_us, events), per(store_us, events));
    printf(",\"server_busy\":%.3f,\"server_wait\":%.3f,\"store_busy\":%.3f,\"client_busy\":%.3f",
           server_us / seconds / 1e6, server_wait_us / seconds / 1e6, store_us / seconds / 1e6,
           client_us / seconds / 1e6);
    printf(",\"bytes_per_delivery\":%.1f,\"deliveries_per_read\":%.2f",
           per((double)(to->subscribers.bytes - from->subscribers.bytes), deliveries), per((double)deliveries, reads));
}

static void print_head(const char *phase)
{
    printf("{\"label\":\"%s\",\"phase\":\"%s\",\"subscribers\":%d,\"rooms\":%d,\"batch\":%d", options.label, phase,
           options.subscribers, options.rooms, options.batch);
}

static void print_tail(void)
{
    printf(",\"server_rss_mb\":%.1f,\"store_rss_mb\":%.1f}\n", rss_mb(&options.server), rss_mb(&options.store));
    fflush(stdout);
}

static void run_phase(const struct phase *phase)
{
    struct snapshot begin = take_snapshot();
    uint64_t due = begin.time, warm = begin.time + (uint64_t)(options.warmup * 1e9);
    uint64_t behind = run_until(warm, phase, &begin, &due);

    histogram_reset(&delivery_latency);
    histogram_reset(&answer_latency);
    struct snapshot from = take_snapshot();
    uint64_t late = run_until(warm + (uint64_t)(phase->seconds * 1e9), phase, &begin, &due);
    struct snapshot to = take_snapshot();
    behind = late > behind ? late : behind;

    print_head(phase->kind);
    print_span(&from, &to);
    print_latency("delivery", &delivery_latency);
    print_latency("answer", &answer_latency);
    int64_t lost = drain(&begin);
    printf(",\"behind_ms\":%.1f,\"lost\":%" PRId64 ",\"wrong\":%d,\"disordered\":%d", (double)behind / 1e6, lost,
           subscribers_wrong(), subscribers_disordered());
    printf(",\"gaps\":%" PRIu64 ",\"closed\":%d,\"rejected\":%" PRIu64, totals.gaps - begin.subscribers.gaps,
           totals.closed - begin.subscribers.closed, published.rejected - begin.published.rejected);
    print_tail();
    if (strcmp(phase->kind, "sat") == 0)
        saturation = (double)(to.published.acked - from.published.acked) * 1e9 / (double)(to.time - from.time);
}

/* Opens the subscribers and reports what each of them cost. */
static bool connect_all(void)
{
    loop_rest(0.2);
    double rss = rss_mb(&options.server);
    struct snapshot from = take_snapshot();
    bool complete = subscribers_connect();
    struct snapshot to = take_snapshot();
    if (options.subscribers)
        loop_rest(options.settle);

    uint64_t ready = (uint64_t)totals.ready;
    double kb = (rss_mb(&options.server) - rss) * 1024;
    print_head("connect");
    printf(",\"ready\":%d,\"failed\":%d,\"seconds\":%.3f", totals.ready, totals.failed,
           (double)(to.time - from.time) / 1e9);
    printf(",\"server_us_per_connection\":%.1f,\"kb_per_connection\":%.2f",
           per((double)(to.server.run_ns - from.server.run_ns) / 1e3, ready), per(kb, ready));
    print_tail();
    return complete;
}

int main(int argc, char **argv)
{
    struct phase phase;
    parse_options(argc, argv);
    raise_file_limit();
    loop_open();
    publisher_open();
    if (!connect_all())
        return 2;
    char *list = strdup(options.phases), *rest;
    for (char *text = strtok_r(list, ",", &rest); text; text = strtok_r(NULL, ",", &rest)) {
        if (sscanf(text, "%15[a-z]:%lf:%lf", phase.kind, &phase.value, &phase.seconds) != 3)
            die("a phase is KIND:VALUE:SECONDS, not %s", text);
        run_phase(&phase);
    }
    free(list);
    return 0;
}
