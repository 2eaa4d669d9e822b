/* load_loop.c - the load client's event loop (epoll, level-triggered), its clock and its sockets. */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int epoll_fd;

uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void loop_open(void)
{
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        die("epoll_create1: %s", strerror(errno));
}

static void control(int operation, int fd, uint32_t epoll_events, struct handler *handler)
{
    struct epoll_event event = {.events = epoll_events, .data.ptr = handler};
    if (epoll_ctl(epoll_fd, operation, fd, &event) < 0)
        die("epoll_ctl: %s", strerror(errno));
}

void loop_watch(int fd, uint32_t epoll_events, struct handler *handler)
{
    control(EPOLL_CTL_ADD, fd, epoll_events, handler);
}

void loop_change(int fd, uint32_t epoll_events, struct handler *handler)
{
    control(EPOLL_CTL_MOD, fd, epoll_events, handler);
}

void loop_forget(int fd)
{
    control(EPOLL_CTL_DEL, fd, 0, NULL);
}

void loop_run(uint64_t deadline)
{
    struct epoll_event ready[128];
    uint64_t now = deadline ? now_ns() : 0;
    uint64_t patience = deadline > now ? deadline - now : 0;
    struct timespec timeout = {(time_t)(patience / 1000000000u), (long)(patience % 1000000000u)};

    /* epoll_pwait2 waits in nanoseconds: a client that spun until its next due time would take the store's core. */
    int count = epoll_pwait2(epoll_fd, ready, 128, &timeout, NULL);
    for (int i = 0; i < count; i++) {
        struct handler *handler = ready[i].data.ptr;
        handler->on_ready(handler, ready[i].events);
    }
}

void loop_rest(double seconds)
{
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
    while (now_ns() < end)
        loop_run(end);
}

int connect_local(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct linger reset = {.l_onoff = 1, .l_linger = 0}; /* leaves no TIME_WAIT behind, so runs can follow each other */
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket: %s (is the limit of open files too low?)", strerror(errno));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* Blocking: on loopback the kernel answers at once, whether or not the server is quick to accept. */
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("connect to port %d: %s", port, strerror(errno));
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return fd;
}

void outbox_reserve(struct outbox *out, size_t more)
{
    if (out->length + more <= out->capacity)
        return;
    out->capacity = (out->length + more) * 2;
    out->data = realloc(out->data, out->capacity);
    if (!out->data)
        die("out of memory");
}

bool outbox_flush(struct outbox *out, int fd)
{
    while (out->sent < out->length) {
        ssize_t taken = send(fd, out->data + out->sent, out->length - out->sent, MSG_NOSIGNAL);
        if (taken < 0 && errno == EINTR)
            continue;
        if (taken < 0)
            return errno == EAGAIN;
        out->sent += (size_t)taken;
    }
    out->length = out->sent = 0;
    return true;
}
