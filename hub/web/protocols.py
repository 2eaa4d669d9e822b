"""The server's two protocols, which hand an application the connection's raw write path (ASGI extension `hub.raw`).

They keep uvicorn's parsing and ASGI contract; after the handshake a live connection is handed over to a slim protocol.
"""

import asyncio
import base64
import sys
import time
from typing import Any, Final, cast

from httptools import HttpParserUpgrade
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from hub.core.errors import HeadersTooLarge, HubError, NotHttp, UpgradeRequired
from hub.web.context import Context
from hub.web.door import REFUSED, Turned
from hub.web.line import Line
from hub.web.patience import PatientHttp
from hub.web.slim import Conversation, SlimStream, SlimWebSocket
from hub.web.unasked import refusal

EXTENSION: Final = "hub.raw"


class LiveWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket (RFC 6455) until its handshake is done."""

    _early = b""
    _line: Line | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._line = cast("Context", self.app_state["context"]).door.connects
        self._line.enter()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        super().connection_lost(exc)

    def _leave(self) -> None:
        """The handshake is over: what follows is no request in progress."""
        if self._line is not None:
            line, self._line = self._line, None
            line.leave()

    def handle_connect(self, event: Any) -> None:
        if event.headers.get_all("Sec-WebSocket-Version") != ["13"]:
            error = UpgradeRequired("Sec-WebSocket-Version must be 13")
            self._refuse(error, (b"sec-websocket-version", b"13"))  # RFC 6455, section 4.2.2
            return
        if not _is_key(event.headers.get_all("Sec-WebSocket-Key")):
            self._refuse(NotHttp("Sec-WebSocket-Key must be there once, with 16 bytes in base64"))
            return
        super().handle_connect(event)  # its task starts later, so the scope can still be added to
        if hasattr(self, "scope"):
            cast("dict[str, dict[str, Any]]", self.scope)["extensions"][EXTENSION] = self

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated:
            super().data_received(data)
            if self.conn.handshake_exc is not None and not self.transport.is_closing():
                # A handshake over the parser's limits (8 KB a line): uvicorn would leave it open without an answer.
                self._refuse(HeadersTooLarge("A line of the handshake is too long, or there are too many"))
            return
        self._early += data  # of a client that doesn't wait for the answer to its handshake
        if len(self._early) > self.config.ws_max_size:
            self.transport.abort()

    def _refuse(self, error: HubError, *headers: tuple[bytes, bytes]) -> None:
        self.handshake_initiated = self.handshake_complete = self.close_sent = True
        self.transport.write(refusal(error, *headers))
        self.transport.close()

    def hand_over(self) -> SlimWebSocket | None:
        """Give the transport to a slim protocol, after the handshake was accepted; None when the client is gone.

        This object is done then: what uvicorn still does with it at the end of the ASGI call touches nothing.
        """
        self._leave()
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


def _is_key(keys: list[str]) -> bool:
    """Whether the handshake's key is as RFC 6455, section 4.1, wants it."""
    try:
        return len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == 16
    except ValueError:
        return False


class _HandedOver:
    """Stands for a transport that this protocol no longer has."""

    def close(self) -> None:
        """Uvicorn closes it when the ASGI call ends."""

    def is_closing(self) -> bool:
        return True


class LiveHttp(PatientHttp):
    """HTTP/1.1, until a response begins that never ends (server-sent events); see web.door for what it refuses."""

    _line: Line | None = None
    """What counts the request in progress."""
    _held: tuple[bytes, Turned] | None = None
    """What a connection in line has sent."""
    _ends = False
    _behind: int | None = None
    """Where, in the bytes that came with a handshake's end, those behind it begin."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._door = cast("Context", self.app_state["context"]).door
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not ((self._door.requests.is_closed or self._door.connects.is_closed) and self._has_to_wait(data)):
            self._take(data)

    def _take(self, data: bytes) -> None:
        super().data_received(data)
        if self._behind is not None and self._behind < len(data):  # uvicorn would forget them
            cast("LiveWebSocket", self.transport.get_protocol()).data_received(data[self._behind :])

    def _has_to_wait(self, data: bytes) -> bool:
        if self._head_bytes or self._awaited == "body" or not self._idle:
            return False  # amid a request; it was let in, or is told in full
        turned = self._door.keeps_out(data)
        if turned is None:
            return False
        self._unset_keepalive_if_required()
        self._awaited = None
        self._held = data, turned
        self.flow.pause_reading()
        (self._door.connects if turned.live else self._door.requests).stand(self, time.monotonic())
        return True

    def come_in(self) -> None:
        """There is room now for what was held."""
        if (held := self._go_on()) is not None:
            self._take(held[0])

    def turn_away(self) -> None:
        """What was held has waited for too long."""
        if (held := self._go_on()) is None:
            return
        if self.flow.write_paused:  # who asks on and on and reads no answer
            self.transport.abort()
            return
        self.transport.write(self._door.answer(held[1]))
        if not held[1].keeps:
            self.transport.close()

    def _go_on(self) -> tuple[bytes, Turned] | None:
        """What was held, unless the client has gone."""
        held, self._held = self._held, None
        if self.transport.is_closing():
            return None
        self.flow.resume_reading()
        self._await_head()
        return held

    def leave(self) -> None:
        """The request is no longer in progress: it ended, or only waits from now on."""
        if self._line is not None:
            line, self._line = self._line, None
            line.leave()

    def on_headers_complete(self) -> None:
        before = self.cycle
        super().on_headers_complete()
        if self._ends:
            self.cycle.keep_alive = False
        if self.cycle is before or self._line is not None:  # a handshake; or one behind another, which run in turn
            return
        line = self._door.line(self.scope["raw_path"])
        if line is None:
            return
        if line.is_full:
            cast("dict[str, dict[str, Any]]", self.scope)["state"][REFUSED] = True
            self._door.count(1, line is self._door.connects)
        else:
            line.enter()
            self._line = line

    def end_soon(self) -> None:
        """Close the connection behind the answer to the request in progress, or else to the next: whoever asks again
        is to ask another process."""
        self._ends = True
        if cast("Any", self.cycle) is not None:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        is_last = not self.pipeline
        super().on_response_complete()
        if is_last:
            self.leave()

    def handle_websocket_upgrade(self) -> None:
        if self._door.connects.is_full:
            self.forget()
            self.transport.write(self._door.answer(Turned(1, live=True, keeps=False)))
            self.transport.close()
        else:
            self._behind = cast("HttpParserUpgrade", sys.exception()).args[0]
            super().handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)["extensions"] = {EXTENSION: self}

    @property
    def is_chunked(self) -> bool:
        """Whether a response without an end goes out in chunks: HTTP/1.0 doesn't know them (RFC 9112, section 6.1)."""
        return cast("dict[str, Any]", self.scope)["http_version"] != "1.0"

    def end_by_close(self) -> None:
        """Have the response that is about to begin end with the connection (section 6.3), which uvicorn never does."""
        self.cycle.chunked_encoding = False

    def hand_over(self) -> SlimStream | None:
        """Give the transport to a slim protocol, after such a response was begun; None when the client is gone.

        For uvicorn the request ends as one whose client went away.
        """
        if self.cycle.disconnected or self.transport.is_closing():
            return None
        self.forget()
        self.leave()
        slim = SlimStream(self.transport, cast("set[Any]", self.connections), chunked=self.is_chunked)
        self.connections.discard(self)
        self.transport.set_protocol(slim)
        self.cycle.disconnected = True
        cast("dict[str, Any]", self.scope)["extensions"].pop(EXTENSION)  # else a cycle keeps both alive
        return slim
