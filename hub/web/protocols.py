"""The server's two protocols, which hand an application the connection's raw write path (ASGI extension `hub.raw`).

They keep uvicorn's parsing and ASGI contract, and add what live connections need: pause and loss are told to the
writer, a close can't be held up by a client that reads nothing, and the kernel hides only little of a slow reader.
"""

import asyncio
import socket
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from hub.core import frames
from hub.live import notices
from hub.live.connection import RawConnection

EXTENSION: Final = "hub.raw"
FORCE_AFTER: Final = 5.0
"""Seconds that a client has to take its close; one that reads nothing would keep the socket for ever."""
_NOTSENT_LOWAT: Final = 128 * 1024
_USER_TIMEOUT_MS: Final = 30_000
_HIGH_WATER: Final = 64 * 1024
_REFUSED: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class _Live(asyncio.Protocol):
    """What both protocols share: they tell the connection's writer what happens to its transport."""

    transport: asyncio.Transport
    _connection: RawConnection | None = None
    _force: asyncio.TimerHandle | None = None

    def attach(self, connection: RawConnection) -> None:
        """Serve as a connection's raw path: from now on only it writes."""
        self._connection = connection
        self.transport.set_write_buffer_limits(_HIGH_WATER)
        sock = self.transport.get_extra_info("socket")
        if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
            return
        for name, value in (("TCP_NOTSENT_LOWAT", _NOTSENT_LOWAT), ("TCP_USER_TIMEOUT", _USER_TIMEOUT_MS)):
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._connection is not None:
            self._connection.paused()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._connection is not None:
            self._connection.resumed()

    def connection_lost(self, exc: Exception | None) -> None:
        self.told_lost()
        if self._force is not None:
            self._force.cancel()
        super().connection_lost(exc)

    def told_lost(self) -> None:
        if self._connection is not None:
            self._connection.lost()

    def abort_soon(self) -> None:
        self._force = asyncio.get_running_loop().call_later(FORCE_AFTER, self.transport.abort)


class LiveWebSocket(_Live, WebSocketsSansIOProtocol):
    """A WebSocket (RFC 6455) whose frames may also be written straight to `transport`."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.transport.is_closing():
            # A handshake over the parser's limits (8 KB a line): uvicorn would leave it open without an answer.
            self.transport.write(_REFUSED)
            self.transport.close()

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)  # its task starts later, so the scope can still be added to
        if hasattr(self, "scope"):
            cast("dict[str, dict[str, Any]]", self.scope)["extensions"][EXTENSION] = self

    def handle_ping(self) -> None:
        pong = b"".join(self.conn.data_to_send())
        if self._connection is not None:
            self._connection.write(pong)
        else:
            self.transport.write(pong)

    def handle_close(self, event: Any) -> None:
        self.told_lost()
        super().handle_close(event)

    def handle_parser_exception(self) -> None:
        self.told_lost()
        super().handle_parser_exception()

    def close_live(self, code: int, reason: str) -> None:
        """Send the close frame behind what was written, and wait for the client's; abort after FORCE_AFTER."""
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.abort_soon()
        self.close_timer = self._force


class LiveHttp(_Live, HttpToolsProtocol):
    """HTTP/1.1, whose response body may be written straight to `transport` as chunks (server-sent events)."""

    _streaming = False

    def on_message_begin(self) -> None:
        if self._streaming:  # a second request behind a stream that never ends
            self.told_lost()
            self.transport.close()
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)["extensions"] = {EXTENSION: self}

    def attach(self, connection: RawConnection) -> None:
        self._streaming = True
        super().attach(connection)

    def close_live(self, code: int, reason: str) -> None:
        """End the chunked body properly behind a `retry:`; abort after FORCE_AFTER."""
        if not self.transport.is_closing():
            self.transport.write(frames.http_chunk(notices.retry()) + frames.LAST_CHUNK)
            self.transport.close()
            self.abort_soon()
