/* load_peers.c - how each peer is subscribed to and published to; all else in the load client is the same for all. Pure.
 *
 *   hub       {"type":"connected"}, join_room, {"type":"room_joined"}; by SSE the topic is in the query, and
 *             `event: hub.connected` comes first; POST /v1/events, batches as an array
 *   limit     the room is the path, of WebSocket and SSE; events come by its line protocol (load_publisher.c)
 *   nchan     the channel is the path: /ws/ID, /sse/ID; POST /pub/ID, an event each
 *   socketio  Engine.IO 4 over WebSocket: 0{...}, 40, 40{...}, then 420["join",ROOM], acknowledged by 430[...]; 2 is a ping
 *             and 3 the answer; published by POST /publish of peers/socketio.mjs, batches as an array
 *   ws        the room is the path; published by POST /publish of peers/ws.mjs
 */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <string.h>

enum peer_kind parse_peer(const char *name)
{
    static const char *const names[] = {"hub", "limit", "nchan", "socketio", "ws"};
    for (int i = 0; i < (int)(sizeof names / sizeof names[0]); i++)
        if (strcmp(name, names[i]) == 0)
            return (enum peer_kind)i;
    die("--peer is hub, limit, nchan, socketio or ws, not %s", name);
}

/* ---- subscribing ---- */

static void write_target(char *into, size_t size, int room)
{
    bool sse = options.mode == MODE_SSE;
    switch (options.peer) {
    case PEER_HUB:
        snprintf(into, size, sse ? "/v1/stream?topic=bench.%d" : "/v1/ws", room);
        break;
    case PEER_NCHAN:
        snprintf(into, size, "/%s/bench.%d", sse ? "sse" : "ws", room);
        break;
    case PEER_SOCKETIO:
        snprintf(into, size, "/socket.io/?EIO=4&transport=websocket");
        break;
    case PEER_WS:
        snprintf(into, size, "/bench.%d", room);
        break;
    case PEER_LIMIT:
        snprintf(into, size, "/%d", room);
        break;
    }
}

size_t write_subscribe(char *into, int room)
{
    char target[64], authorization[256] = "";
    write_target(target, sizeof target, room);
    if (options.peer == PEER_HUB)
        snprintf(authorization, sizeof authorization, "Authorization: Bearer %.200s\r\n", options.key);
    return (size_t)snprintf(
        into, SUBSCRIBE_MAX, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s%s%s\r\n", target, options.port, authorization,
        options.mode == MODE_SSE ? "Accept: text/event-stream\r\n"
                                 : "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                                   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        options.mode == MODE_WS && options.peer == PEER_HUB ? "Sec-WebSocket-Protocol: hub.v1.json\r\n" : "");
}

bool ready_by_head(void)
{
    return options.peer != PEER_HUB && options.peer != PEER_SOCKETIO;
}

static bool has(const char *data, size_t length, const char *word)
{
    return memmem(data, length, word, strlen(word)) != NULL;
}

static enum talk hear_hub(const char *data, size_t length, bool ready, int room, char *answer)
{
    if (options.mode == MODE_SSE) {
        if (has(data, length, "hub.gap"))
            return TALK_GAP;
        return !ready && has(data, length, "hub.connected") ? TALK_READY : TALK_NOTHING;
    }
    if (!ready && has(data, length, "\"connected\"")) {
        snprintf(answer, TALK_MAX + 1, "{\"type\":\"join_room\",\"room\":\"bench.%d\"}", room);
        return TALK_ANSWER;
    }
    if (!ready && has(data, length, "\"room_joined\""))
        return TALK_READY;
    if (has(data, length, "\"gap\""))
        return TALK_GAP;
    return has(data, length, "\"error\"") ? TALK_ERROR : TALK_NOTHING;
}

static enum talk hear_socketio(const char *data, size_t length, bool ready, int room, char *answer)
{
    if (length == 1 && data[0] == '2') {
        strcpy(answer, "3");
        return TALK_ANSWER;
    }
    if (!ready && data[0] == '0') {
        strcpy(answer, "40");
        return TALK_ANSWER;
    }
    if (!ready && length > 2 && memcmp(data, "40", 2) == 0) {
        snprintf(answer, TALK_MAX + 1, "420[\"join\",\"bench.%d\"]", room);
        return TALK_ANSWER;
    }
    if (!ready && length > 3 && memcmp(data, "430", 3) == 0)
        return TALK_READY;
    return length > 1 && memcmp(data, "44", 2) == 0 ? TALK_ERROR : TALK_NOTHING;
}

enum talk hear(const char *data, size_t length, bool ready, int room, char *answer)
{
    if (options.peer == PEER_HUB)
        return hear_hub(data, length, ready, room, answer);
    if (options.peer == PEER_SOCKETIO && length > 0)
        return hear_socketio(data, length, ready, room, answer);
    return TALK_NOTHING;
}

/* ---- publishing ---- */

bool publishes_singly(void)
{
    return options.peer == PEER_NCHAN;
}

size_t write_publish_head(char *into, int room, size_t body)
{
    char target[64], authorization[256] = "";
    snprintf(target, sizeof target, "/publish");
    if (options.peer == PEER_NCHAN)
        snprintf(target, sizeof target, "/pub/bench.%d", room);
    if (options.peer == PEER_HUB || options.peer == PEER_LIMIT) {
        snprintf(target, sizeof target, "/v1/events");
        snprintf(authorization, sizeof authorization, "Authorization: Bearer %.200s\r\n", options.key);
    }
    return (size_t)snprintf(into, 512,
                            "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%sContent-Type: application/json\r\n"
                            "Content-Length: %zu\r\n\r\n",
                            target, options.publish_port, authorization, body);
}
