"""Web processes' live halves inside the test's own process, over a real store: a test can force what comes when.

A `Process` is what a web process is to the log: links, a tail, a gateway. A `Client` is one connection that keeps what
it was told, room by room, and comes back with its cursors.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any, Self

import pytest

from hub.core import cursor as cursors
from hub.core.cursor import Position
from hub.core.event import Event
from hub.live.connection import Connection, nowhere
from hub.live.gateway import Gateway
from hub.live.presence import Presence
from hub.live.replay import Start
from hub.live.rooms import RoomKey
from hub.live.tail import Tail
from hub.live.window import Window
from hub.store import keys
from hub.store.appends import Appended
from hub.store.connect import Link
from hub.store.log import Log
from hub.store.scripts import script
from tests.support.store import StoreProcess

APP = "default"


class Process:
    """`wrap` may put a Log of the test's own in the place of the plain one."""

    def __init__(self, link: Link, tail_link: Link, gateway: Gateway) -> None:
        self.link = link
        self.gateway = gateway
        self._tail_link = tail_link

    @classmethod
    async def start(
        cls,
        store: StoreProcess,
        *,
        partitions: int = 1,
        window: int = 50_000,
        wrap: Callable[[Link, int], Log] | None = None,
    ) -> Self:
        links = [Link(store.url), Link(store.url)]
        for link in links:
            await link.open(5)
        log = wrap(links[0], partitions) if wrap else Log(links[0], partitions=partitions, retention=3600)

        def make_window(floors: list[Position]) -> Window:
            return Window(floors, max_entries=window)

        gateway = Gateway(log, Tail(log, links[1], make_window), Presence(links[0]))
        await gateway.start()
        return cls(links[0], links[1], gateway)

    async def stop(self) -> None:
        await self.gateway.stop()
        await self.link.close()
        await self._tail_link.close()
        await asyncio.sleep(0)  # for what their transports have left to do

    async def publish(self, topic: str, data: Any, kind: str = "t") -> Appended:
        (done,) = await self.publish_all([(topic, data)], kind)
        return done

    async def publish_all(self, items: list[tuple[str, Any]], kind: str = "t") -> list[Appended]:
        events = [
            Event(f"evt_{topic}_{data}", topic, kind, "2026-01-01T00:00:00Z", json.dumps({"data": data}).encode())
            for topic, data in items
        ]
        return await self.gateway.log.append(APP, events)


@contextlib.asynccontextmanager
async def process(store: StoreProcess, **options: Any) -> AsyncGenerator[Process]:
    running = await Process.start(store, **options)
    try:
        yield running
    finally:
        await running.stop()


class Client(Connection):
    """One connection at a time. `on_write` is called with each message as it is written, amid whatever writes it."""

    def __init__(self, *, interval: float = 3600.0) -> None:
        super().__init__("ws", interval)
        self.told: list[dict[str, Any]] = []
        self.on_write: Callable[[dict[str, Any]], None] = lambda _: None
        self.flows = asyncio.Event()
        """While it is not set, replays wait for this client."""
        self.flows.set()
        self.write = self._hear

    @property
    def framed(self) -> bool:
        return False

    def close(self, code: int, reason: str = "") -> None:
        if not self.closed:
            self.closed = True
            self.ended = (code, reason)
            self._use(nowhere)
            self.flows.set()

    async def drained(self) -> None:
        await self.flows.wait()

    def slow_for(self, now: float) -> float:
        return 0.0

    def open(self, at: Process) -> Self:
        at.gateway.add(self)
        return self

    async def join(
        self, at: Process, room: str, after: str | None = None, *, history: int = 0, types: tuple[str, ...] = ()
    ) -> None:
        key = RoomKey(APP, (room,), types, "ws", framed=False)
        start = Start(None if after is None else cursors.decode(after), history)

        def announce(cursor: str, recovered: bool | None) -> bytes:
            return json.dumps({"type": "room_joined", "room": room, "cursor": cursor, "recovered": recovered}).encode()

        await at.gateway.join(self, room, key, start, announce)

    def of(self, kind: str, room: str | None = None) -> list[dict[str, Any]]:
        return [message for message in self.told if message["type"] == kind and room in (None, message.get("room"))]

    def data(self, room: str | None = None) -> list[Any]:
        """The data of the events that came, in order."""
        return [message["event"]["data"] for message in self.of("event", room)]

    def _hear(self, data: bytes) -> None:
        for line in data.splitlines():
            message = json.loads(line)
            self.told.append(message)
            self.on_write(message)


async def trim(link: Link, count: int, partition: int = 0) -> None:
    """What the janitor does with the oldest entries."""
    names = [keys.log(partition), keys.meta(partition)]
    removed, _, _ = await link.run(script("trim"), names, ["9" * 15, "0", "0", "1", count])
    assert int(removed) == count


def fan_out_asked(one: Process, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when the fan-out asks for its turn: whoever asks behind it comes behind it."""
    asked, fan_out = asyncio.Event(), one.gateway.turn.fan_out

    def ask() -> contextlib.AbstractAsyncContextManager[None]:
        asked.set()
        return fan_out()

    monkeypatch.setattr(one.gateway.turn, "fan_out", ask)
    return asked
