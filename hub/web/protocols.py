"""The server's two protocols, which hand an application the connection's raw write path (ASGI extension `hub.raw`).

They keep uvicorn's parsing and ASGI contract. A WebSocket is handed over to a slim protocol after its handshake; an
HTTP response that never ends is told of pause and loss, and its close can't be held up by a client that reads nothing.
"""

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from hub.core import frames
from hub.live import notices
from hub.live.connection import RawConnection
from hub.web.slim import Conversation, SlimWebSocket
from hub.web.sockets import FORCE_AFTER, tune

EXTENSION: Final = "hub.raw"
_REFUSED: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class LiveWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket (RFC 6455) until its handshake is done."""

    _early = b""

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)  # its task starts later, so the scope can still be added to
        if hasattr(self, "scope"):
            cast("dict[str, dict[str, Any]]", self.scope)["extensions"][EXTENSION] = self

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated:
            super().data_received(data)
            if self.conn.handshake_exc is not None and not self.transport.is_closing():
                # A handshake over the parser's limits (8 KB a line): uvicorn would leave it open without an answer.
                self.transport.write(_REFUSED)
                self.transport.close()
            return
        self._early += data  # of a client that doesn't wait for the answer to its handshake
        if len(self._early) > self.config.ws_max_size:
            self.transport.abort()

    def hand_over(self) -> SlimWebSocket | None:
        """Give the transport to a slim protocol, after the handshake was accepted; None when the client is gone.

        This object is done then: what uvicorn still does with it at the end of the ASGI call touches nothing.
        """
        if self.disconnected or self.transport.is_closing():
            return None
        slim = SlimWebSocket(self.transport, cast("set[Any]", self.connections), self.config.ws_max_size)
        self.connections.discard(self)
        self.transport.set_protocol(slim)
        self.transport = cast("asyncio.Transport", _HandedOver())
        cast("dict[str, dict[str, Any]]", self.scope)["extensions"].pop(EXTENSION)  # else a cycle keeps both alive
        return slim

    def serve(self, slim: SlimWebSocket, session: Conversation) -> None:
        """Begin the conversation, with what the client sent too early."""
        slim.serve(session, self._early)


class _HandedOver:
    """Stands for a transport that this protocol no longer has."""

    def close(self) -> None:
        """Uvicorn closes it when the ASGI call ends."""

    def is_closing(self) -> bool:
        return True


class LiveHttp(HttpToolsProtocol):
    """HTTP/1.1, whose response body may be written straight to `transport` as chunks (server-sent events)."""

    _connection: RawConnection | None = None
    _force: asyncio.TimerHandle | None = None

    def on_message_begin(self) -> None:
        if self._connection is not None:  # a second request behind a stream that never ends
            self._connection.lost()
            self.transport.close()
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)["extensions"] = {EXTENSION: self}

    def attach(self, connection: RawConnection) -> None:
        """From now on only this connection writes."""
        self._connection = connection
        tune(self.transport)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._connection is not None:
            self._connection.paused()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._connection is not None:
            self._connection.resumed()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._connection.lost()
        if self._force is not None:
            self._force.cancel()
        super().connection_lost(exc)

    def close_live(self, code: int, reason: str) -> None:
        """End the chunked body properly behind a `retry:`; abort after FORCE_AFTER."""
        if not self.transport.is_closing():
            self.transport.write(frames.http_chunk(notices.retry()) + frames.LAST_CHUNK)
            self.transport.close()
            self._force = asyncio.get_running_loop().call_later(FORCE_AFTER, self.transport.abort)
