/* load.h - what the files of the load client share. load.c explains the program and its arguments. */
#ifndef HUB_BENCH_LOAD_H
#define HUB_BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- options (load.c) ---- */

enum mode { MODE_NONE, MODE_WS, MODE_SSE };

enum peer_kind { PEER_HUB, PEER_LIMIT, PEER_NCHAN, PEER_SOCKETIO, PEER_WS };

struct pid_list {
    int pids[64];
    int count;
};

struct options {
    const char *label;
    enum mode mode;          /* what the subscribers speak; none: publish only */
    enum peer_kind peer;     /* what is spoken with the server (load_peers.c) */
    int port;                /* subscribers */
    int publish_port;        /* publishing by HTTP */
    int feed_port;           /* limit.c's line protocol; 0: publish by HTTP */
    const char *key;         /* API key */
    int subscribers, rooms;  /* subscriber i is in room i % rooms */
    int connections;         /* that publish, one request in flight on each */
    int batch;               /* events per request; 1 sends the bare object */
    int size;                /* bytes of one published event */
    struct pid_list server, store;
    const char *phases;
    double warmup, settle, drain; /* seconds */
};

extern struct options options;

_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- event loop and sockets (load_loop.c) ---- */

/* Whoever waits for a file descriptor puts this first in its struct. */
struct handler {
    void (*on_ready)(struct handler *self, uint32_t epoll_events);
};

/* Bytes that the kernel didn't take yet. */
struct outbox {
    char *data;
    size_t length, sent, capacity;
};

uint64_t now_ns(void);
void loop_open(void);
void loop_watch(int fd, uint32_t epoll_events, struct handler *handler);
void loop_change(int fd, uint32_t epoll_events, struct handler *handler);
void loop_forget(int fd);
/* Handles what is ready; waits for it until `deadline` at the latest (0: doesn't wait). */
void loop_run(uint64_t deadline);
/* Runs the loop for some seconds. */
void loop_rest(double seconds);

int connect_local(int port);
void outbox_reserve(struct outbox *out, size_t more);
/* Sends what it can. False when the connection is broken. */
bool outbox_flush(struct outbox *out, int fd);

/* ---- framings (load_wire.c) ---- */

enum { MESSAGE_MAX = 1 << 18, FRAME_HEAD = 6 };

struct frame {
    int opcode;
    const char *data;
    size_t length;
};

/* Where the decoder of `Transfer-Encoding: chunked` stands. All zero is its beginning. */
struct chunk_decoder {
    enum { CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_DATA, CHUNK_END } state;
    size_t left;
};

/* Finds the frame that `data` begins with. Returns how long it is with its head, 0 while it isn't complete. */
size_t frame_parse(const char *data, size_t length, struct frame *frame);
/* Writes a client's frame of up to 125 bytes; returns its length. */
size_t frame_build(char *into, int opcode, const char *payload, size_t length);
/* Removes the chunk framing in place; returns how many bytes of content there are. */
size_t unchunk(struct chunk_decoder *decoder, char *data, size_t length);

/* ---- what each peer wants to hear (load_peers.c) ---- */

enum { SUBSCRIBE_MAX = 1024, TALK_MAX = 125 };

/* What a text means that isn't an event, to a subscriber that isn't ready yet, or is. */
enum talk { TALK_NOTHING, TALK_ANSWER, TALK_READY, TALK_GAP, TALK_ERROR };

/* The peer of that name; dies when there is none. */
enum peer_kind parse_peer(const char *name);
/* Writes the request that opens a subscriber, up to SUBSCRIBE_MAX bytes; returns its length. */
size_t write_subscribe(char *into, int room);
/* Whether a subscriber is ready once the response's head is there: the room was in its path. */
bool ready_by_head(void);
/* Hears a text; with TALK_ANSWER `answer` holds what to send back, up to TALK_MAX bytes and a NUL. */
enum talk hear(const char *data, size_t length, bool ready, int room, char *answer);
/* Whether the events of a batch go out in a request each, sent together (the peer has no batches). */
bool publishes_singly(void);
/* Writes the head of a publishing request, up to 512 bytes; returns its length. */
size_t write_publish_head(char *into, int room, size_t body);

/* ---- subscribers (load_subscribers.c) ---- */

struct room {
    int members;    /* open subscribers */
    uint64_t count; /* accepted events so far, and the sum of their marks' hashes */
    uint64_t sum;
};

struct subscriber_totals {
    uint64_t delivered, bytes, reads, gaps;
    int ready, failed, closed;
};

/* Every event carries a mark: "@T" 19 digits of CLOCK_MONOTONIC in ns, "S" 10 digits of sequence number. */
enum { MARK_LENGTH = 32 };

extern struct room *rooms;
extern struct subscriber_totals totals;

uint64_t mark_hash(uint64_t sequence);
/* Opens all, at most a hundred at a time in their handshake. False when some failed or it took over a minute. */
bool subscribers_connect(void);
/* Open subscribers that didn't get exactly the events of their room. */
int subscribers_wrong(void);
/* Open subscribers that got their room's events in another order than the room's first member. */
int subscribers_disordered(void);

/* ---- publisher (load_publisher.c) ---- */

struct publish_totals {
    uint64_t events, requests;       /* sent */
    uint64_t acked, acked_requests;  /* answered 2xx (by the line protocol: handed to the kernel) */
    uint64_t rejected;               /* events answered otherwise, or whose connection broke */
    uint64_t owed;                   /* deliveries that the accepted events owe: one per member of the room */
};

extern struct publish_totals published;

void publisher_open(void);
/* Sends one request of `options.batch` events marked with `due`. False when no connection is free. */
bool publish(uint64_t due);
/* True while a request waits for its answer. */
bool publisher_busy(void);

/* ---- measuring (load_measure.c) ---- */

struct histogram {
    uint64_t buckets[4096]; /* microseconds, 64 per power of two: within 1.6% */
    uint64_t max;
};

struct cpu {
    uint64_t run_ns;  /* on a core */
    uint64_t wait_ns; /* runnable, but the core was taken by somebody else */
};

extern struct histogram delivery_latency, answer_latency;

void histogram_reset(struct histogram *histogram);
void histogram_add(struct histogram *histogram, uint64_t nanoseconds);
uint64_t histogram_percentile(const struct histogram *histogram, double share);

struct cpu cpu_of(const struct pid_list *list);
uint64_t cpu_of_self_ns(void);
double rss_mb(const struct pid_list *list);

#endif
