"""Live connections after their handshake: small protocols in which an idle connection keeps little memory.

The handshake is an ASGI affair, of uvicorn and the routes; then the transport is handed over to one of these classes,
and what served the handshake is gone. They are the connection's raw path (see live.connection.RawPath).
"""

import asyncio
import contextlib
from collections import deque
from typing import Any, Final, Protocol

from hub.core import frames
from hub.core.messages import Close, Item, Message, MessageReader, Ping, Violation
from hub.live import notices
from hub.live.connection import RawConnection
from hub.telemetry import logger
from hub.web.sockets import FORCE_AFTER, tune

INBOX_MESSAGES: Final = 16
"""Messages that may wait while one is handled; beyond them nothing is read from the client."""
BURST_SECONDS: Final = 10.0
"""How much of its rate of frames a client that was quiet may use at once."""
LINGER_BYTES: Final = 4 * 1024 * 1024
"""What is thrown away of a client that was failed, before it is cut off."""


class Lasting(Protocol):
    """What a live connection serves: it is told when that is over."""

    def end(self) -> None: ...


class Conversation(Lasting, Protocol):
    """Whoever handles a WebSocket's messages: see web.session."""

    async def handle(self, data: bytes) -> None: ...


class Slim(asyncio.Protocol):
    """What both have in common: they tell the connection's writer what happens to its transport."""

    __slots__ = ("_all", "_closing", "_connection", "_force", "_served", "transport")

    def __init__(self, transport: asyncio.Transport, connections: set[Any]) -> None:
        self.transport = transport
        self._all = connections
        self._all.add(self)
        self._connection: RawConnection | None = None
        self._served: Lasting | None = None
        self._force: asyncio.TimerHandle | None = None
        self._closing = False

    def attach(self, connection: RawConnection) -> None:
        """From now on only this connection writes."""
        self._connection = connection
        tune(self.transport)

    def shutdown(self) -> None:
        """What the server calls at its end, when the connection was not drained before."""
        if self._connection is not None:
            self._connection.close(1012)
        self.transport.abort()

    def pause_writing(self) -> None:
        if self._connection is not None:
            self._connection.paused()

    def resume_writing(self) -> None:
        if self._connection is not None:
            self._connection.resumed()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._connection.lost()
        self._connection = None  # the two would hold each other, and what was read, until the collector comes by
        if self._force is not None:
            self._force.cancel()
        self._all.discard(self)
        if self._served is not None:
            self._served.end()
        self._served = None

    def _abort_soon(self) -> None:
        if self._force is None:
            self._force = asyncio.get_running_loop().call_later(FORCE_AFTER, self.transport.abort)


class SlimStream(Slim):
    """An HTTP response that never ends: chunks go out, and the client has nothing more to say.

    Without chunks, to HTTP/1.0, the body ends with the connection.
    """

    __slots__ = ("_chunked",)

    def __init__(self, transport: asyncio.Transport, connections: set[Any], *, chunked: bool = True) -> None:
        super().__init__(transport, connections)
        self._chunked = chunked

    def serve(self, served: Lasting) -> None:
        self._served = served

    def data_received(self, data: bytes) -> None:
        """A second request behind a stream that never ends."""
        if self._connection is not None:
            self._connection.lost()
        self.transport.close()

    def close_live(self, code: int, reason: str) -> None:
        """End the body properly behind a `retry:`; abort after FORCE_AFTER."""
        if not self._closing and not self.transport.is_closing():
            self._closing = True
            last = notices.retry()
            self.transport.write(frames.http_chunk(last) + frames.LAST_CHUNK if self._chunked else last)
            self.transport.close()
            self._abort_soon()


class SlimWebSocket(Slim):
    """Reads messages, answers pings and the close, and knows when the client is gone."""

    __slots__ = ("_due", "_inbox", "_rate", "_reader", "_session", "_task", "_thrown_away")

    def __init__(self, transport: asyncio.Transport, connections: set[Any], max_size: int, rate: int) -> None:
        super().__init__(transport, connections)
        self._reader = MessageReader(max_size)
        self._rate = rate
        self._due = 0.0
        """The time by which a client at its rate would have sent what this one has sent."""
        self._thrown_away: int | None = None
        """Bytes that came after it was failed."""
        self._inbox: deque[bytes] | None = None
        self._task: asyncio.Task[None] | None = None
        self._session: Conversation | None = None

    def serve(self, session: Conversation, early: bytes) -> None:
        """Hand messages to the session, those first that came amid the handshake."""
        self._served = self._session = session
        if early:
            self.data_received(early)

    def data_received(self, data: bytes) -> None:
        if self._thrown_away is not None:
            self._throw_away(data)
            return
        items: list[Item] = []
        breach: tuple[int, str] | None = None  # not the exception: it and this frame would hold each other
        now = asyncio.get_running_loop().time()
        self._due = max(self._due, now)
        try:
            taken = self._reader.feed(data, items, int((now + BURST_SECONDS - self._due) * self._rate))
            self._due += taken / self._rate
        except Violation as exc:
            breach = exc.code, exc.reason
        for item in items:
            self._take(item)
        if breach is not None:
            self._fail(*breach)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._session = None

    # -- what the client says ----------------------------------------------------------------------------------------

    def _take(self, item: Item) -> None:
        if isinstance(item, Close):
            self._closed_by_client(item)
        elif self._closing:  # past our close frame only the client's is of interest
            return
        elif isinstance(item, Ping):
            if self._connection is not None:
                self._connection.write(frames.ws_frame(item.payload, frames.PONG))
        else:
            self._receive(item)

    def _receive(self, message: Message) -> None:
        if self._inbox is None:
            self._inbox = deque()
        self._inbox.append(message.data)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())
        elif len(self._inbox) == INBOX_MESSAGES:
            self.transport.pause_reading()

    async def _work(self) -> None:
        """Handle what waits, one after the other; an idle connection has no task."""
        try:
            while self._inbox and self._session is not None and not self._closing:
                await self._session.handle(self._inbox.popleft())
                if len(self._inbox) == INBOX_MESSAGES - 1:
                    self._resume_reading()
        except Exception:
            logger().exception("websocket_failed")
            self._close(1011, "internal error")
        finally:
            self._inbox = self._task = None

    def _closed_by_client(self, close: Close) -> None:
        if self._connection is not None:
            self._connection.lost()
        if not self._closing:
            self._closing = True
            answer = frames.ws_frame(b"", frames.CLOSE) if close.code == 1005 else frames.ws_close(close.code)
            self.transport.write(answer)
        self.transport.close()
        self._abort_soon()

    # -- the end -----------------------------------------------------------------------------------------------------

    def close_live(self, code: int, reason: str) -> None:
        """Send the close frame behind what was written and wait for the client's; abort after FORCE_AFTER."""
        if self._closing or self.transport.is_closing():
            return
        self._closing = True
        self.transport.write(frames.ws_close(code, reason))
        self._resume_reading()
        self._abort_soon()

    def _fail(self, code: int, reason: str) -> None:
        """Fail the connection (section 7.1.7): say why and that nothing follows, and listen no more.

        The socket isn't closed at once: where bytes are left unread the kernel resets it, and the client would never
        see why it was closed.
        """
        self._thrown_away = 0
        self._reader = MessageReader(0)  # what it held of a message is of no use any more
        self._close(code, reason)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _throw_away(self, data: bytes) -> None:
        self._thrown_away = (self._thrown_away or 0) + len(data)
        if self._thrown_away > LINGER_BYTES:
            self.transport.abort()

    def _close(self, code: int, reason: str) -> None:
        if self._connection is not None:
            self._connection.close(code, reason)

    def _resume_reading(self) -> None:
        with contextlib.suppress(RuntimeError):  # it wasn't paused
            self.transport.resume_reading()
