/* storm.c - the resume storm: clients that are cut at once and come back with their cursors, while events go on and
 * others stay. Shares its parts with the load client (load_*.c). Linux only; talks to 127.0.0.1.
 *
 *   storm --port P --key KEY [--mode ws|sse] [--clients N] [--others M] [--rooms R] [--rate EVENTS] [--seconds S] [--resume-port Q]
 *         [--publish-port Q] [--signal NUMBER --pid PID] [--server PIDS]
 *
 *   --clients, --others  those that are cut, and those that stay (they are at the publish port), spread over the rooms
 *   --resume-port        where the clients come back to
 *   --signal, --pid      instead of cutting the clients: end the process that they are at, 9 or 15
 *   --seconds            of each phase: before, during (at least, and until all are back), after
 *
 * Prints one JSON object: latency of those that stay, per phase; how long it took until all were back, and until the
 * process that was told to end had ended; the server's CPU per client; and what was wrong: clients that didn't get each event of their room exactly once in the order in which
 * one that stayed got it, gaps, and `recovered: false`. Exit codes: 0 nothing was wrong, 1 wrong use, 2 something was.
 */
#define _GNU_SOURCE
#include "storm.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { HANDSHAKES = 1000 };

struct options options = {.mode = MODE_WS, .peer = PEER_HUB, .key = "", .label = "", .rooms = 50, .connections = 16,
                          .batch = 1, .size = 130};
struct room *rooms;
struct subscriber_totals totals;

static int cut_count = 5000, stay_count = 200, resume_port, kill_signal, kill_pid;
static double rate = 200, seconds = 5;
static uint64_t next_due, ended_at;

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

/* ---- coming and going ---- */

/* Opens those that are away and may come, so many at once. */
static void come_all(int port, int most)
{
    uint64_t now = now_ns();
    for (int i = 0; i < cut_count + stay_count && tally.opening < most; i++)
        if (clients[i].state == AWAY && clients[i].again_at <= now)
            client_come(&clients[i], clients[i].stays ? options.publish_port : port);
}

/* Whether the clients' process has ended, be it that nobody has looked yet. */
static bool has_ended(void)
{
    char path[40], state = 'Z';
    snprintf(path, sizeof path, "/proc/%d/stat", kill_pid);
    FILE *file = fopen(path, "r");
    if (file) {
        (void)!fscanf(file, "%*d (%*[^)]) %c", &state);
        fclose(file);
    }
    return state == 'Z';
}

static void run_until(uint64_t end, int port, int most, bool until_ready)
{
    uint64_t step = (uint64_t)(1e9 / rate), patience = now_ns() + 60000000000u;
    int were = tally.ready;
    for (uint64_t now = now_ns(); now < end || (until_ready && tally.ready < cut_count + stay_count); now = now_ns()) {
        if (tally.ready != were) {
            were = tally.ready;
            patience = now + 60000000000u;
        } else if (now > patience) {
            die("for a minute no one came back to the %d that are", tally.ready);
        }
        while (next_due && next_due <= now && publish(next_due))
            next_due += step;
        if (tally.ending && !ended_at && has_ended())
            ended_at = now;
        if (tally.ready + tally.opening < cut_count + stay_count)
            come_all(port, most);
        loop_run(now + 2000000);
    }
}

static void strike(void)
{
    tally.ending = kill_signal != 0;
    if (tally.ending && kill(kill_pid, kill_signal) < 0)
        die("kill: %s", strerror(errno));
    for (int i = 0; i < cut_count && !tally.ending; i++)
        client_leave(&clients[i], 0);
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
        {"seconds", 1, 0, 's'}, {"mode", 1, 0, 'M'}, {"signal", 1, 0, 'g'}, {"pid", 1, 0, 'i'}, {"server", 1, 0, 'S'}, {0, 0, 0, 0},
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
        case 'M': options.mode = strcmp(optarg, "sse") == 0 ? MODE_SSE : MODE_WS; break;
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
    if (tally.ending) /* until the process has let go of all */
        while (tally.gone < cut_count)
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

    double ended = ended_at ? (double)(ended_at - began) / 1e9 : 0;
    double idle = (double)(from.run_ns - idle_from.run_ns) / 1e3 / seconds * back;
    double cpu = ((double)(to.run_ns - from.run_ns) / 1e3 - idle) / cut_count;
    int lost_any = wrong(false), disordered = wrong(true);
    printf("\"clients\":%d,\"others\":%d,\"rooms\":%d,\"events\":%" PRIu64 ",\"back_s\":%.2f,\"ended_s\":%.2f,"
           "\"server_us_per_client\":%.0f,", cut_count, stay_count, options.rooms, published.acked, back, ended, cpu);
    printf("\"wrong\":%d,\"disordered\":%d,\"gaps\":%" PRIu64 ",\"unrecovered\":%d,\"rejected\":%" PRIu64 "}\n", lost_any,
           disordered, totals.gaps, tally.unrecovered, published.rejected);
    return lost_any || disordered || totals.gaps || tally.unrecovered ? 2 : 0;
}
