"""Appending to one partition: what comes within one turn of the event loop goes to the store as one call.

A busy process is handed many publishes in a turn. A call for each would cost it a command and a reply, and the store a
script's start, which is more than the events themselves.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

import msgspec

from hub.core.event import Event
from hub.core.origin import traced
from hub.store import keys
from hub.store.scripts import Script, script
from hub.store.wire import Arg, Asker, Reply, StoreError

MOST: Final = 256
"""Events of one call, unless one request brings more: the store serves nobody else meanwhile."""
_pack = msgspec.msgpack.Encoder().encode
_Packed: TypeAlias = tuple[str, str, str, str, str, str, str]
"""App, topic, type, id, timestamp, origin, body: the store's MessagePack knows text, but no bytes."""


class Appended(msgspec.Struct, frozen=True, gc=False):
    """The answer to one event of an append. For a duplicate, `type` and `timestamp` are the first event's."""

    id: str
    cursor: str
    topic: str
    type: str
    timestamp: str
    duplicate: bool


class Writer(Protocol):
    """What runs the scripts, and answers when what they wrote is as durable as was configured."""

    async def run(self, script: Script, keys: list[str], args: list[Arg]) -> Reply: ...

    def ask(self, asker: Asker, script: Script, keys: list[str], args: list[Arg]) -> bool: ...


class Appends:
    """The appends of one partition."""

    def __init__(self, writer: Writer, partition: int, retention: int) -> None:
        self._writer = writer
        self._partition = partition
        self._retention = retention
        self._names = (keys.log(partition), keys.meta(partition))
        self._group: _Group | None = None
        self._sending: set[asyncio.Task[None]] = set()

    async def append(
        self, app: str, events: Sequence[Event], origin: str, claim: tuple[str, str] | None
    ) -> list[Appended]:
        """Append events, in order and next to each other. Raises what Log.append says."""
        if claim is not None:  # whose refusal is of one request alone
            names, packed = [*self._names, claim[0]], list[_Packed]()
            self._add(names, packed, app, events, origin)
            return self._parse(events, await self._writer.run(script("append"), names, self._args(packed, claim[1])), 1)
        group = self._group
        if group is None or len(group.packed) >= MOST:
            loop = asyncio.get_running_loop() if group is None else group.loop
            group = self._group = _Group(self, self._names, loop)
            loop.call_soon(self._begin, group)
        first = 1 + len(group.packed)
        self._add(group.names, group.packed, app, events, origin)
        future: asyncio.Future[Reply] = group.loop.create_future()
        group.waiting.append(future)
        return self._parse(events, await future, first)

    def _add(self, names: list[str], packed: list[_Packed], app: str, events: Sequence[Event], origin: str) -> None:
        # All or none: what is in these lists may be others' too.
        packed += [
            (
                app,
                event.topic,
                event.type,
                event.id,
                event.timestamp,
                origin if event.traceparent is None else traced(origin, event.traceparent),
                event.body.decode(),
            )
            for event in events
        ]
        seen, index = keys.seen(self._partition, app, ""), keys.topic_index(self._partition, app, "")
        for event in events:
            names += (seen + event.id, index + event.topic)

    def _args(self, packed: list[_Packed], fingerprint: str) -> list[Arg]:
        return [self._retention, fingerprint, _pack(packed)]

    def _begin(self, group: "_Group") -> None:
        if self._group is group:
            self._group = None
        try:
            if not self._writer.ask(group, script("append"), group.names, self._args(group.packed, "")):
                self.send(group)
        except Exception as exc:  # a bug; nobody else would tell those who wait
            group.fail(exc)

    def send(self, group: "_Group") -> None:
        """Append a group with patience: the store is away, or knows the script no more."""
        task = group.loop.create_task(self._send(group), name="append")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, group: "_Group") -> None:
        try:
            reply = await self._writer.run(script("append"), group.names, self._args(group.packed, ""))
        except BaseException as exc:
            group.fail(exc)
            if not isinstance(exc, Exception):
                raise
        else:
            group.set_result(reply)

    def _parse(self, events: Sequence[Event], reply: Reply, first: int) -> list[Appended]:
        """What append.lua answers of each event, from the `first` line on.

        A cursor is what cursors.encode would give: this runs once per event, and a batch's share their millisecond.
        """
        head = f"{self._partition:x}-{int(reply[0]):x}-"
        done: list[Appended] = []
        shared, start = b"", ""
        for n, event in enumerate(events, first):
            line: bytes = reply[n]
            kind, timestamp, is_duplicate = event.type, event.timestamp, line.startswith(b"=")
            if is_duplicate:
                line, first_timestamp, first_kind = line[1:].split(b" ", 2)
                kind, timestamp = first_kind.decode(), first_timestamp.decode()
            ms, _, seq = line.partition(b"-")
            if ms != shared:
                shared, start = ms, f"{head}{int(ms):x}-"
            done.append(Appended(event.id, f"{start}{int(seq):x}", event.topic, kind, timestamp, is_duplicate))
        return done


class _Group:
    """Appends that go to the store together, and who waits for its answer, which it is told as a future is."""

    __slots__ = ("_appends", "loop", "names", "packed", "waiting")

    def __init__(self, appends: Appends, names: Sequence[str], loop: asyncio.AbstractEventLoop) -> None:
        self._appends = appends
        self.loop = loop
        self.names = [*names]
        self.packed: list[_Packed] = []
        self.waiting: list[asyncio.Future[Reply]] = []

    def done(self) -> bool:
        return False

    def set_result(self, reply: Reply) -> None:
        for future in self.waiting:
            if not future.done():  # else who waited has gone
                future.set_result(reply)

    def set_exception(self, exc: Exception) -> None:
        if isinstance(exc, StoreError) and str(exc).startswith("NOSCRIPT"):
            self._appends.send(self)
        else:
            self.fail(exc)

    def fail(self, exc: BaseException) -> None:
        for future in self.waiting:
            if not future.done():
                future.set_exception(exc)
