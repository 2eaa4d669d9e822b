"""The gateway: one sequencer per web process, which applies event batches, joins and leaves in one order.

Whoever holds the turn may change who gets what: a batch from its first slice to its last, a join for the step that
finishes its replay and registers it, a leave. A connection that is lost needs no turn: its write path just ends.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from hub import metrics
from hub.core import cursor as cursors
from hub.core.claims import Principal
from hub.core.cursor import Mark, Position
from hub.live import notices, pulse
from hub.live.connection import RESTARTING, Connection
from hub.live.farewells import Farewells
from hub.live.own import PREFIX, OwnRooms, Step, own_topic
from hub.live.presence import Presence
from hub.live.quota import Quota
from hub.live.rendered import Rendered
from hub.live.replay import Announce, Replay, Start
from hub.live.rooms import Room, RoomKey, Rooms
from hub.live.seats import Seats
from hub.live.slice import Slice
from hub.live.steps import Events, count, steps
from hub.live.tail import Missed, Reset, Tail
from hub.live.turn import Turn
from hub.store import keys
from hub.store.control import Notice
from hub.store.log import Entry, Log
from hub.store.presence import KIND as PRESENCE
from hub.telemetry import logger

FAREWELL_SECONDS: Final = 5.2
"""How long a drain waits for clients to take their close; those that read nothing are cut off before (see RawPath)."""


class Gateway:
    """Fans the log out to this process's live connections."""

    def __init__(
        self, log: Log, tail: Tail, presence: Presence, out: Slice | None = None, quota: Quota | None = None
    ) -> None:
        self.log = log
        self._slice = out or Slice()
        self.presence = presence
        self._quota = quota
        self.rooms = Rooms()
        self.own = OwnRooms()
        self.turn = Turn()
        self.farewells = Farewells()
        self.rendered = Rendered()
        self._tail = tail
        self._connections: dict[Connection, str] = {}
        """Each with its app."""
        self._marks: list[Mark] = []
        self._texts: list[bytes] = []
        """Each mark as it stands in a cursor."""
        self._moved = asyncio.Event()
        self._left = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._handlers: dict[str, list[Callable[[Notice], None]]] = {}
        self._on_missed: list[Callable[[], None]] = []
        self._on_admit: list[Callable[[Connection], None]] = []
        self.draining = False
        """Set when the process begins to end: it isn't ready any more, but goes on for now."""
        self._closing = False
        self.on_notice(PRESENCE, presence.hear)
        self.on_missed(presence.missed)

    def on_notice(self, kind: str, handle: Callable[[Notice], None]) -> None:
        """Have notices of a kind handled, in the order of the control stream and in turn with the fan-out."""
        self._handlers.setdefault(kind, []).append(handle)

    def on_missed(self, handle: Callable[[], None]) -> None:
        """Have it handled when notices may have been missed: what they said must be looked up in the store."""
        self._on_missed.append(handle)

    def on_admit(self, judge: Callable[[Connection], None]) -> None:
        """Have each credential judged that a connection comes with, at first or anew; `judge` may close it."""
        self._on_admit.append(judge)

    async def start(self) -> None:
        """Take the position and begin. Raises StoreUnavailable when the store can't be read now."""
        self._marks = await self._tail.start()
        self._texts = [cursors.encode([mark]).encode() for mark in self._marks]
        self.window = self._tail.window
        self._tasks = [
            asyncio.create_task(self._run(), name="tail"),
            asyncio.create_task(pulse.beat(self), name="pulse"),
        ]
        self._tasks += self.presence.start()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.presence.stop()

    @property
    def fault(self) -> str | None:
        """Why events can't travel now, or None."""
        if self.draining:
            return "this process is shutting down"
        dead = [task.get_name() for task in self._tasks if task.done()]
        return f"the {dead[0]} has stopped" if dead else self._tail.fault

    @property
    def marks(self) -> tuple[Mark, ...]:
        """Where the fan-out stands, for every partition."""
        return tuple(self._marks)

    def position(self, partition: int) -> Position:
        return self._marks[partition].position

    def cursor(self) -> str:
        return b"_".join(self._texts).decode()

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        """The open connections; a copy, so that they may end meanwhile."""
        return iter(list(self._connections))

    async def reached(self, partition: int, position: Position) -> None:
        """Wait until the fan-out has come to a position."""
        while self._marks[partition].position < position:
            self._moved.clear()
            await self._moved.wait()

    # -- connections -------------------------------------------------------------------------------------------------

    def admit(self, connection: Connection, principal: Principal) -> None:
        """Let a connection be the holder's of a credential, and no longer than that lasts."""
        connection.principal = principal
        connection.warn_at = None if principal.expires_at is None else pulse.warn_at(principal.expires_at)
        for judge in self._on_admit:
            judge(connection)

    async def take_seat(self, app: str) -> None:
        """Keep a place for a connection that is about to be added. Raises RateLimited when the app has no more."""
        if self._quota is not None:
            await self._quota.take(app)

    def add(self, connection: Connection) -> None:
        connection.next_beat = asyncio.get_running_loop().time() + connection.interval
        app = "" if connection.principal is None else connection.principal.app
        self._connections[connection] = app
        if self._quota is not None:
            self._quota.fill(app)
        metrics.CONNECTIONS.labels(connection.transport).inc()
        metrics.CONNECTIONS_OPENED.labels(connection.transport).inc()
        own = own_topic(connection)
        if own is not None and connection.transport == "ws":
            # Needs no turn: what a running step gathered lies below the cursor that the client is told.
            self.own.enter(connection, own)
            self.presence.enter(connection, (own,))
        if self._closing and connection.transport != "poll":  # a poll is answered at once by now
            self._send_away(connection)

    def drop(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        if (app := self._connections.pop(connection, None)) is not None:
            if self._quota is not None:
                self._quota.free(app)
            code = "client" if connection.ended is None else str(connection.ended[0])
            metrics.CONNECTIONS.labels(connection.transport).dec()
            metrics.CONNECTIONS_CLOSED.labels(connection.transport, code).inc()
        connection.detach()
        self.presence.drop(connection)
        self.rooms.leave_all(connection)
        if (own := own_topic(connection)) is not None:
            self.own.leave(connection, own)
        self._left.set()

    async def join(self, connection: Connection, name: str, key: RoomKey, start: Start, announce: Announce) -> None:
        """Replay from `start`, then deliver live, with no event lost, doubled or out of order between the two.

        `announce` makes the answer, which is written first. Raises InvalidCursor, StoreUnavailable before anything was
        written.
        """
        if connection in self._connections and connection.transport != "poll":  # a poll comes and goes all the time
            self.presence.enter(connection, key.patterns)
        try:
            await Replay(self, connection, key).run(name, start, announce)
        finally:
            if name not in connection.rooms and name != own_topic(connection):
                self.presence.leave(connection, key.patterns)

    async def leave(self, connection: Connection, name: str) -> bool:
        """End a membership; False when there was none. The user is present still, until `presence.leave`."""
        async with self.turn.take():
            if name not in connection.rooms:
                return name == own_topic(connection) and self.own.leave(connection, name)
            self.rooms.leave(connection, name)
            return True

    # -- fan-out -----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        async for item in self._tail.read():
            if isinstance(item, Reset):
                await self._reset(item)
            elif isinstance(item, Missed):
                for handle in self._on_missed:
                    handle()
            else:
                for step in steps(item):
                    async with self.turn.fan_out():
                        if isinstance(step, Notice):
                            self._tell(step)
                        else:
                            began = time.perf_counter()
                            delivered = await self._fan_out(step)
                            count(step, delivered, time.perf_counter() - began)

    async def _fan_out(self, step: Events) -> int:
        """Write the step's events to whoever gets them; returns how many events that was, over all connections."""
        sole: dict[Room, list[bytes]] = {}
        mixed: dict[Connection, list[bytes]] = {}
        gathered = Step(sole, mixed, [])
        reached: dict[int, Position] = {}
        for item in step:
            if is_entry := isinstance(item, Entry):
                self.window.push(item)
                reached[item.partition] = item.position
            rooms = self.rooms.of(item.app, item.topic)
            is_own = item.topic.startswith(PREFIX)
            if not rooms and not is_own:  # where most events have no subscriber here, most of the work is this
                continue
            cursor = self._advance(reached) if is_entry else None
            if is_own:
                self.own.gather(gathered, item.app, item.topic, cursor, item.body)
            for room in rooms:
                if room.accepts(item.type):
                    frame = room.render(cursor, item.type, item.body)
                    if room.seats:
                        sole.setdefault(room, []).append(frame)
                    for connection in room.others:
                        mixed.setdefault(connection, []).append(frame)
        self._advance(reached)
        self._moved.set()
        out, delivered = self._slice, 0
        out.begin()
        for room, rendered in sole.items():
            room.close_up()
            delivered += len(room.seats.members) * len(rendered)
            data, first = b"".join(rendered), 0
            while first < len(room.seats.members):
                first = out.add(room.seats, first, data)
                if not out.left:
                    out.send()
                    await asyncio.sleep(0)
        for rendered, connections in _together(mixed):
            data, first = b"".join(rendered), 0
            delivered += len(connections) * len(rendered)
            while first < len(connections):
                # Seats of the moment: who is lost while the loop does something else is not among the next.
                seats = Seats.of(connections[first : first + out.left])
                first += out.add(seats, 0, data)
                if not out.left:
                    out.send()
                    await asyncio.sleep(0)
        out.send()
        self.own.settle(gathered, self.rooms)
        return delivered

    def _tell(self, notice: Notice) -> None:
        for handle in self._handlers.get(notice.kind, ()):
            try:
                handle(notice)
            except Exception:
                logger().exception("notice_failed", kind=notice.kind)

    def _advance(self, reached: dict[int, Position]) -> bytes:
        """Move on to where the fan-out has come, by partition; returns the cursor of there."""
        for partition, position in reached.items():
            epoch = self._marks[partition][1]
            self._marks[partition] = Mark(partition, epoch, *position)
            # What cursors.encode would give, without its detour over text: this runs once per event.
            self._texts[partition] = b"%x-%x-%x-%x" % (partition, epoch, *position)
        reached.clear()
        return self._texts[0] if len(self._texts) == 1 else b"_".join(self._texts)

    async def _reset(self, reset: Reset) -> None:
        """Entries are lost to this process: say so to everyone who follows the partition, and go on behind them."""
        async with self.turn.fan_out():
            partition = reset.mark.partition
            lost_from = self.cursor()
            if reset.mark.epoch == self._marks[partition].epoch:
                self.window.skip(partition, reset.mark.position)
            else:
                self.window.cut(partition, reset.mark.position)
            self._marks[partition] = reset.mark
            self._texts[partition] = cursors.encode((reset.mark,)).encode()
            to = self.cursor()
            for connection in list(self._connections):
                for name, room in connection.rooms.items():
                    if self.follows(room.key, partition):
                        connection.send(notices.gap(connection.transport, name, lost_from, to))
            for app, topic, connection in self.own:
                if keys.partition_of(app, topic, self.log.partitions) == partition:
                    connection.send(notices.gap(connection.transport, topic, lost_from, to))

    def follows(self, key: RoomKey, partition: int) -> bool:
        """Whether a room's events can come from a partition."""
        return partition in self.partitions_of(key)

    def partitions_of(self, key: RoomKey) -> list[int]:
        partitions = self.log.partitions
        if any("*" in pattern for pattern in key.patterns):
            return list(range(partitions))
        return sorted({keys.partition_of(key.app, pattern, partitions) for pattern in key.patterns})

    # -- the end -------------------------------------------------------------------------------------------------------

    async def drain(self, seconds: float) -> None:
        """Close every connection, spread over `seconds`; whoever still comes is sent away at once."""
        self.draining = self._closing = True
        self.presence.hand_over()
        connections = list(self._connections)
        for n, connection in enumerate(connections, 1):
            self._send_away(connection)
            if n % max(1, len(connections) // 20) == 0:
                await asyncio.sleep(seconds / 20)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                while self._connections:
                    self._left.clear()
                    await self._left.wait()

    def _send_away(self, connection: Connection) -> None:
        """Close it with a moment of its own to come back."""
        connection.close(RESTARTING, f"retry={random.randint(100, 3000)}")


def _together(mixed: dict[Connection, list[bytes]]) -> Iterable[tuple[tuple[bytes, ...], list[Connection]]]:
    """Connections that get the same frames, together."""
    groups: dict[tuple[bytes, ...], list[Connection]] = {}
    for connection, rendered in mixed.items():
        groups.setdefault(tuple(rendered), []).append(connection)
    return groups.items()
