"""A poll that waits: a connection that keeps what it gets until it is answered."""

import asyncio
from typing import Final

import msgspec

from hub.live.connection import Connection, nowhere

MAX_BYTES: Final = 1024 * 1024
"""Bytes of one answer, give or take an event."""


class _Gap(msgspec.Struct, tag_field="type", tag="gap"):
    to: str


class Polling(Connection):
    """Joined like any other. `events` are (cursor, body), in order; an ephemeral event has no cursor.

    `cursor` is where to go on from, after what is in `events`; `recovered` is false when events before may be lost.
    """

    __slots__ = ("_limit", "_size", "_wake", "cursor", "events", "full", "recovered")

    def __init__(self, limit: int) -> None:
        super().__init__("poll", float("inf"))
        self._limit = limit
        self._size = 0
        self._wake = asyncio.Event()
        self.events: list[tuple[bytes | None, bytes]] = []
        self.cursor = ""
        self.full = False
        self.recovered: bool | None = None
        self.write = self._take

    @property
    def framed(self) -> bool:
        return False

    def close(self, code: int, reason: str = "") -> None:
        if not self.closed:
            self.ended = (code, reason)
            self._stop()

    async def drained(self) -> None:
        """It takes all at once, up to its limit."""

    def slow_for(self, now: float) -> float:
        return 0.0

    def send(self, payload: bytes) -> None:
        """Of what the hub says beside events only a gap matters here: what was lost is to be known at once."""
        try:
            gap = msgspec.json.decode(payload, type=_Gap)
        except msgspec.ValidationError:
            return
        self.recovered = False
        self.cursor = gap.to
        self._stop()

    def announce(self, cursor: str, recovered: bool | None) -> bytes:
        """The join's answer, which isn't sent."""
        self.cursor, self.recovered = cursor, recovered
        return b"{}"

    async def arrived(self) -> None:
        """Wait until there is something to answer."""
        if not self.events and self.recovered is not False and not self.closed:
            await self._wake.wait()

    def _take(self, data: bytes) -> None:
        for line in data.split(b"\n"):
            if not line or self.full:
                break
            cursor, _, body = line.partition(b" ")
            self.events.append((cursor or None, body))
            self._size += len(body)
            if cursor:
                self.cursor = cursor.decode()
            if len(self.events) >= self._limit or self._size >= MAX_BYTES:
                self.full = True
                self._stop()
        self._wake.set()

    def _stop(self) -> None:
        self.closed = True
        self._use(nowhere)
        self._wake.set()
