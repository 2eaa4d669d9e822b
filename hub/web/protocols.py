"""The server's two protocols, which hand an application the connection's raw write path (ASGI extension `hub.raw`).

They keep uvicorn's parsing and ASGI contract; after the handshake a live connection is handed over to a slim protocol.
"""

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from hub.web.context import Context
from hub.web.patience import PatientHttp
from hub.web.slim import Conversation, SlimStream, SlimWebSocket

EXTENSION: Final = "hub.raw"
_OTHER_VERSION: Final = (
    b"HTTP/1.1 426 Upgrade Required\r\nsec-websocket-version: 13\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)
"""RFC 6455, section 4.2.2."""
_REFUSED: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class LiveWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket (RFC 6455) until its handshake is done."""

    _early = b""

    def handle_connect(self, event: Any) -> None:
        if event.headers.get_all("Sec-WebSocket-Version") != ["13"]:
            self.handshake_initiated = self.handshake_complete = self.close_sent = True
            self.transport.write(_OTHER_VERSION)
            self.transport.close()
            return
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
        settings = cast("Context", self.app_state["context"]).settings
        slim = SlimWebSocket(
            self.transport,
            cast("set[Any]", self.connections),
            settings.ws_max_message_bytes,
            settings.ws_message_rate,
        )
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


class LiveHttp(PatientHttp):
    """HTTP/1.1, until a response begins that never ends (server-sent events)."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)["extensions"] = {EXTENSION: self}

    def hand_over(self) -> SlimStream | None:
        """Give the transport to a slim protocol, after a chunked response was begun; None when the client is gone.

        For uvicorn the request ends as one whose client went away.
        """
        if self.cycle.disconnected or self.transport.is_closing():
            return None
        self.forget()
        slim = SlimStream(self.transport, cast("set[Any]", self.connections))
        self.connections.discard(self)
        self.transport.set_protocol(slim)
        self.cycle.disconnected = True
        cast("dict[str, Any]", self.scope)["extensions"].pop(EXTENSION)  # else a cycle keeps both alive
        return slim
