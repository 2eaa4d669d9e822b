"""A live connection's write path: every byte for a subscriber goes through its `write`.

`write` is a plain attribute that points at what is right for the moment: straight to the transport while the client
keeps up, through a check of limits while it doesn't, nowhere once it is closed. So fan-out is a loop over functions.
"""

import asyncio
import errno
import os
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Final, Protocol, cast

from hub.core import frames
from hub.core.claims import Principal

if TYPE_CHECKING:
    from hub.live.rooms import Room

SLOW_BYTES: Final = 1024 * 1024
"""Bytes that may wait for one client before it is closed."""
SLOW_SECONDS: Final = 10.0
"""How long a client may stay behind before it is closed."""
SLOW_CONSUMER: Final = 4008
TOKEN_EXPIRED: Final = 4009
RESTARTING: Final = 1012


def nowhere(data: bytes) -> None:
    """The write path of a connection that is gone."""


class RawPath(Protocol):
    """What the server hands over (ASGI extension `hub.raw`): the transport under a connection."""

    transport: asyncio.Transport

    def attach(self, connection: "RawConnection") -> None:
        """From now on tell the connection `paused`, `resumed` and `lost`, and write through it."""
        ...

    def close_live(self, code: int, reason: str) -> None:
        """End the connection politely, and by force when the client doesn't take it within seconds."""
        ...


class Connection:
    """One subscriber: its rooms, and its write path. Subclasses know the transport."""

    __slots__ = ("closed", "direct", "ended", "interval", "next_beat", "principal", "replaying", "rooms",
                 "seat", "transport", "warn_at", "write")  # fmt: skip

    def __init__(self, transport: str, interval: float) -> None:
        self.transport = transport
        self.interval = interval
        self.next_beat = 0.0
        self.principal: Principal | None = None
        """Whose it is; None until it has authenticated. The connection ends when this does."""
        self.warn_at: float | None = None
        """When to say that its end is near, in seconds since the epoch; None: not, or not any more."""
        self.replaying = 0
        """Joins whose replay is under way: until it has ended, the gateway's cursor isn't the client's."""
        self.rooms: dict[str, Room] = {}
        """By the joined string."""
        self.seat: tuple[Room, int] | None = None
        """Its place among the sole members of a room, while it is in one room only."""
        self.write: Callable[[bytes], None] = nowhere
        self.direct: int | None = None
        """The descriptor to which bytes may go straight now, instead of through `write`; see `sent`."""
        self.closed = False
        self.ended: tuple[int, str] | None = None
        """Close code and reason, when it was the hub that ended it."""

    @property
    def framed(self) -> bool:
        """Whether it takes frames or chunks (see core.frames), or payloads: for a plain ASGI server, and HTTP/1.0."""
        raise NotImplementedError

    def close(self, code: int, reason: str = "") -> None:
        """End it. Nothing is written from now on; the client is told as far as it still reads."""
        raise NotImplementedError

    async def drained(self) -> None:
        """Wait until the client keeps up; returns at once when it does, or is gone."""
        raise NotImplementedError

    def slow_for(self, now: float) -> float:
        """Seconds for which the client has been behind."""
        raise NotImplementedError

    def send(self, payload: bytes) -> None:
        """Write one message: a JSON text for WebSocket, a whole block for SSE."""
        if not self.framed:
            self.write(payload + b"\n" if self.transport == "ws" else payload)
        else:
            self.write(frames.ws_frame(payload) if self.transport == "ws" else frames.http_chunk(payload))

    def detach(self) -> None:
        """Nothing is written from now on; whoever owns the connection ends it."""
        self._use(nowhere)

    def sent(self, data: bytes, result: int) -> None:
        """Go on from a send of these bytes to `direct`: how many were taken, or minus an errno."""
        raise NotImplementedError

    def _use(self, write: Callable[[bytes], None], direct: int | None = None) -> None:
        self.write = write
        self.direct = direct
        if self.seat is not None:
            room, index = self.seat
            room.seats.direct(index, direct)


class RawConnection(Connection):
    """On the hub's own server. While nothing waits, bytes go straight to the socket, past the transport.

    That saves a third of what a delivery costs, and is safe under three rules. What the socket doesn't take goes to the
    transport, and so does all that follows until the transport's buffer is empty: no frame is ever split by another.
    Everything on a live connection is written here, the answer to a ping included. And `lost` runs before the transport
    closes its descriptor, so a number that was given to another connection is never written to.
    """

    __slots__ = ("_caught_up", "_fd", "_framed", "_paused_since", "_raw", "_transport")

    def __init__(self, raw: RawPath, transport: str, interval: float, *, framed: bool = True) -> None:
        super().__init__(transport, interval)
        self._raw = raw
        self._framed = framed
        self._transport = raw.transport
        encrypted = raw.transport.get_extra_info("ssl_object") is not None
        self._fd: int | None = None if encrypted else raw.transport.get_extra_info("socket").fileno()
        self._paused_since: float | None = None
        self._caught_up: asyncio.Future[None] | None = None
        raw.attach(self)
        self.write = self._write_behind
        if raw.transport.is_closing():
            self.lost()

    @property
    def framed(self) -> bool:
        return self._framed

    def close(self, code: int, reason: str = "") -> None:
        if not self.closed:
            self.ended = (code, reason)
            self.lost()
            self._raw.close_live(code, reason)

    async def drained(self) -> None:
        while self._paused_since is not None and not self.closed:
            if self._caught_up is None:
                self._caught_up = asyncio.get_running_loop().create_future()
            await self._caught_up

    def slow_for(self, now: float) -> float:
        return 0.0 if self._paused_since is None else now - self._paused_since

    def paused(self) -> None:
        """The transport holds more than its high-water mark."""
        self._paused_since = asyncio.get_running_loop().time()

    def resumed(self) -> None:
        """The transport holds less than its low-water mark again."""
        self._paused_since = None
        self._wake()

    def lost(self) -> None:
        """The connection is over, or about to be: nothing more may be written to its descriptor."""
        self.closed = True
        self._use(nowhere)
        self._wake()

    def sent(self, data: bytes, result: int) -> None:
        if result == -errno.EAGAIN:
            result = 0
        if result < 0:  # reset by the client
            self.lost()
            self._transport.abort()
        elif result < len(data):
            self._use(self._write_behind)
            self._transport.write(data[result:])

    def _write_through(self, data: bytes) -> None:
        try:
            result = os.write(cast("int", self._fd), data)
        except OSError as exc:
            result = -(exc.errno or errno.EIO)
        if result < len(data):
            self.sent(data, result)

    def _write_behind(self, data: bytes) -> None:
        waiting = self._transport.get_write_buffer_size()
        if not waiting and self._fd is not None:
            self._use(self._write_through, self._fd)
            self._write_through(data)
        elif waiting and waiting + len(data) > SLOW_BYTES:
            self.close(SLOW_CONSUMER, "slow consumer")
        else:
            self._transport.write(data)

    def _wake(self) -> None:
        if self._caught_up is not None and not self._caught_up.done():
            self._caught_up.set_result(None)
        self._caught_up = None


class PlainConnection(Connection):
    """On any other ASGI server: what is written waits here until the route's own task has sent it."""

    __slots__ = ("_behind_since", "_chunks", "_size", "_taken", "_wake")

    def __init__(self, transport: str, interval: float) -> None:
        super().__init__(transport, interval)
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._behind_since: float | None = None
        self._wake = asyncio.Event()
        self._taken = asyncio.Event()
        self.write = self._queue

    @property
    def framed(self) -> bool:
        return False

    def close(self, code: int, reason: str = "") -> None:
        if not self.closed:
            self.closed = True
            self.ended = (code, reason)
            self._use(nowhere)
            self._wake.set()
            self._taken.set()

    async def drained(self) -> None:
        while self._chunks and not self.closed:
            self._taken.clear()
            await self._taken.wait()

    def slow_for(self, now: float) -> float:
        return 0.0 if self._behind_since is None else now - self._behind_since

    async def chunks(self) -> AsyncIterator[bytes]:
        """What was written, until the connection is closed."""
        while self._chunks or not self.closed:
            if not self._chunks:
                self._behind_since = None
                self._wake.clear()
                await self._wake.wait()
                continue
            chunk = self._chunks.popleft()
            self._size -= len(chunk)
            self._taken.set()
            yield chunk

    def _queue(self, data: bytes) -> None:
        if self._size + len(data) > SLOW_BYTES:
            self._chunks.clear()
            self.close(SLOW_CONSUMER, "slow consumer")
            return
        if self._behind_since is None:
            self._behind_since = asyncio.get_running_loop().time()
        self._chunks.append(data)
        self._size += len(data)
        self._wake.set()
