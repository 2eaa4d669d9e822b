"""The web process: uvicorn with the hub's protocols, and an end that loses nobody.

At SIGTERM it says that it isn't ready, goes on for a moment so that balancers see it, stops accepting, closes live
connections one after another with a code that tells clients to come back (RFC 6455, section 7.4.1: 1012), lets requests
finish, and exits 0.
"""

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
from collections.abc import Generator
from types import FrameType
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from hub.telemetry import logger
from hub.web.context import Context
from hub.web.protocols import LiveHttp, LiveWebSocket

DRAIN_SECONDS: Final = 1.5
"""Over which the closes of live connections are spread."""
REQUESTS_SECONDS: Final = 2
"""What a request under way gets to finish."""
BACKLOG: Final = 4096
ACCEPTS: Final = 4
"""Connections accepted in one turn of the loop: in a storm of handshakes everybody else waits for each of them."""


class HubServer(uvicorn.Server):
    """uvicorn's server, with the hub's way to stop. A byte is written to `ready_fd` once it serves."""

    def __init__(self, config: uvicorn.Config, ready_fd: int | None) -> None:
        super().__init__(config)
        self._ready_fd = ready_fd
        self._forced = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Handle SIGINT and SIGTERM; unlike uvicorn's own, a stop that was asked for isn't raised again at the end."""
        loop = asyncio.get_running_loop()
        # A terminal that closed, unless nohup was asked to ignore that; a supervisor's children never see one.
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        handled = (signal.SIGINT, signal.SIGTERM, *(() if ignored else (signal.SIGHUP,)))
        for number in handled:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in handled:
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._ready_fd is not None:
            with contextlib.suppress(OSError):  # whoever waited for it is gone
                os.write(self._ready_fd, b"1")
            os.close(self._ready_fd)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.started:  # still waiting for the store: there is nothing to drain
            raise SystemExit(0)
        if self.should_exit:
            self.force_exit = True
            self._forced.set()
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        resources: Context | None = self.lifespan.state.get("context")
        if resources is not None and not self.force_exit:
            await self._drain(resources)
        await super().shutdown(sockets)

    async def _drain(self, resources: Context) -> None:
        gateway = resources.gateway
        logger().info("draining", connections=len(gateway))
        gateway.draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(resources.settings.drain_wait):
                await self._forced.wait()
        for server in self.servers:
            server.close()
        for connection in self.server_state.connections:
            if isinstance(connection, LiveHttp):
                connection.end_soon()
        await gateway.drain(DRAIN_SECONDS)


def listeners(sock: socket.socket) -> list[socket.socket]:
    """The listening socket by as many descriptors as connections are to be accepted in one turn of the loop.

    uvloop accepts one for each descriptor. With a single one a busy process, whose turns are long, would leave new
    clients, and probes of its health among them, waiting unaccepted.
    """
    # Not by socket.dup, which makes what all of them share blocking: other processes that accept would hang.
    return [sock, *(socket.socket(fileno=os.dup(sock.fileno())) for _ in range(ACCEPTS - 1))]


def serve(app: ASGIApp, sock: socket.socket, ready_fd: int | None = None) -> int:
    """Serve on a listening socket until SIGINT or SIGTERM; returns the exit code."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=LiveHttp,
        ws=LiveWebSocket,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # HUB_TRUSTED_PROXIES says whose X-Forwarded-For counts; uvicorn's own trusts loopback
        backlog=BACKLOG,
        ws_ping_interval=None,
        ws_ping_timeout=None,
        ws_per_message_deflate=False,
        ws_max_size=1024 * 1024,
        timeout_graceful_shutdown=REQUESTS_SECONDS,
        timeout_keep_alive=30,
    )
    server = HubServer(config, ready_fd)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each live connection is an open file
    # What was imported stays, so the collector need not look at it again; and thousands of connections make a full
    # pass expensive, while the hot path leaves it nothing to find: it may run seldom. A young pass comes so late that
    # what is in progress has mostly ended before it, and takes but a millisecond or two: everybody waits for it.
    gc.freeze()
    gc.set_threshold(20_000, 20, 600)
    try:
        server.run(sockets=listeners(sock))
    except SystemExit as exc:  # uvicorn's way to say that start-up failed; the lifespan has logged why
        return exc.code if isinstance(exc.code, int) else 1
    return 0 if server.started else 1
