/* storm.h - what storm.c (the phases and the verdict) and storm_clients.c (the clients) share. */
#ifndef HUB_BENCH_STORM_H
#define HUB_BENCH_STORM_H

#include "load.h"

enum state { AWAY, OPENING, READY };
enum { CURSOR_MAX = 128 };

struct client {
    struct handler handler; /* first: the loop hands it back */
    int fd, room;
    bool stays, upgraded;
    enum state state;
    char cursor[CURSOR_MAX], pending[CURSOR_MAX]; /* of what was handled; of the SSE block under way */
    char event[16];                               /* of that block, unless it is a plain event */
    struct chunk_decoder chunks;
    uint64_t again_at, retry; /* when it may come back; the pause that the hub asked for, in ns */
    char *kept;               /* what the last read left unfinished */
    size_t kept_length;
    uint64_t count, sum, order;
};

struct tally {
    int opening, ready, gone; /* gone: closed by their process, which was told to end */
    int unrecovered;
    bool ending; /* the clients' process was told to end: they come back by themselves */
};

extern struct client *clients;
extern struct tally tally;

/* Cuts a client off; it may come back after the pause (ns). */
void client_leave(struct client *client, uint64_t pause);
/* Connects a client that is away, and lets it go on from its cursor. */
void client_come(struct client *client, int port);

#endif
