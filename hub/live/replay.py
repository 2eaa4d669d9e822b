"""Replay: from where a subscriber stood to the live stream, exactly once and in order."""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from hub import metrics
from hub.core import cursor as cursors
from hub.core.cursor import Cursor, Mark, Position
from hub.core.errors import HubError, Invalid
from hub.core.topics import is_pattern, matches_any
from hub.live import notices
from hub.live.connection import Connection
from hub.live.rooms import RoomKey
from hub.store.log import Entry
from hub.telemetry import logger

if TYPE_CHECKING:
    from hub.live.gateway import Gateway

SCAN_BUDGET: Final = 200_000
"""Entries of the log that one replay of a pattern may look at."""
CATCH_UP_SECONDS: Final = 2.0
"""How long a cursor may be ahead of this process's tail, when the store has what it names."""
SOON: Final = 0.25
"""The same before the store is asked: another process is a few milliseconds ahead at most."""
PAGE: Final = 100
STEP_BYTES: Final = 256 * 1024
"""What is written until the client has taken it."""

Announce: TypeAlias = Callable[[str, bool | None], bytes]
"""Makes a join's answer from the cursor that the replay starts from, and whether it recovers all (None: not asked)."""


class Start(msgspec.Struct, frozen=True):
    """Where a subscriber wants to begin: after a cursor, or with the last `history` events, or now."""

    after: Cursor | None = None
    history: int = 0


class Replay:
    """One join's replay. `_reached` is, per partition that the room follows, how far it has got."""

    def __init__(self, gateway: "Gateway", connection: Connection, key: RoomKey) -> None:
        self._gateway = gateway
        self._connection = connection
        self._key = key
        self._partitions = gateway.partitions_of(key)
        self._topic = key.patterns[0] if len(key.patterns) == 1 and not is_pattern(key.patterns[0]) else None
        self._marks: list[Mark] = []
        self._asked: set[int] = set()
        """The partitions that begin at a place that was asked for; the others begin now."""
        self._budget = SCAN_BUDGET
        self._indexed_above = 0
        """As far as it is known: see Log.indexed_above."""

    async def run(self, name: str, start: Start, announce: Announce) -> None:
        self._connection.replaying += 1
        began = time.perf_counter()
        try:
            await self._run(name, start, announce)
            metrics.REPLAY_SECONDS.observe(time.perf_counter() - began)
        finally:
            self._connection.replaying -= 1

    async def _run(self, name: str, start: Start, announce: Announce) -> None:
        recovered = await self._plan(start)  # if this is refused, an older membership of that name goes on
        metrics.REPLAYS.labels({None: "none", True: "yes", False: "no"}[recovered]).inc()
        if await self._gateway.leave(self._connection, name):
            for mark in self._gateway.marks:  # what came meanwhile went to the older membership
                if mark.partition not in self._asked:
                    self._marks[mark.partition] = mark
        said = False
        while not self._connection.closed:
            if recovered is not False and self._below_window():
                if not said:
                    said = self._say(announce, recovered)
                await self._from_store(name)
            async with self._gateway.turn.take():
                if recovered is False or self._outdated():
                    if said:
                        self._give_up(name, "the log has lost entries")
                    self._marks = list(self._gateway.marks)
                    recovered = recovered and False
                if self._below_window():  # it has moved on since the last page
                    continue
                if not said:
                    said = self._say(announce, recovered)
                if self._from_window():
                    if not self._connection.closed:
                        self._gateway.rooms.enter(self._connection, name, self._key)
                    return
            await self._connection.drained()

    # -- where to start ----------------------------------------------------------------------------------------------

    async def _plan(self, start: Start) -> bool | None:
        """Set the marks to start from; returns whether all since the cursor can be had (None: no cursor)."""
        self._marks = list(self._gateway.marks)
        if start.after is None:
            if start.history:
                await self._plan_history(start.history)
            return None
        for mark in start.after:
            if mark.partition >= len(self._marks):
                return False
            if mark.partition in self._partitions and not await self._can_start(mark):
                return False
            if mark.epoch == self._marks[mark.partition].epoch:
                self._marks[mark.partition] = mark
                self._asked.add(mark.partition)
        return True

    async def _can_start(self, mark: Mark) -> bool:
        gateway, partition = self._gateway, mark.partition
        if mark.epoch == gateway.marks[partition].epoch and mark.position > gateway.position(partition):
            await self._caught_up(mark, SOON)
        live = gateway.marks[partition]
        if mark.epoch != live.epoch:
            return False
        if gateway.window.floors[partition] <= mark.position <= live.position:
            return True
        # With what the fan-out has reached: that this is no longer the log it read must not be found out too late.
        epoch, last, floor = await gateway.log.observe(partition, live.epoch, live.position)
        return epoch == live.epoch and floor <= mark.position <= last and await self._caught_up(mark, CATCH_UP_SECONDS)

    async def _caught_up(self, mark: Mark, seconds: float) -> bool:
        """Whether the fan-out comes to a position in time: what another process delivered comes here in a moment."""
        try:
            async with asyncio.timeout(seconds):
                await self._gateway.reached(mark.partition, mark.position)
        except TimeoutError:
            return False
        return True

    async def _plan_history(self, count: int) -> None:
        if self._topic is not None and not self._key.types:
            partition = self._partitions[0]
            below = _next(self._gateway.position(partition))
            entries = await self._gateway.log.range_topic_back(self._key.app, self._topic, below, count)
        else:  # patterns and filters: as far back as the window reaches
            starts = {partition: self._gateway.window.floors[partition] for partition in self._partitions}
            entries = [e for e in reversed(self._gateway.window.since(starts)) if self._selects(e)][:count]
        for entry in entries:  # newest first: the oldest of each partition stays
            mark = self._marks[entry.partition]
            self._marks[entry.partition] = Mark(mark.partition, mark.epoch, *cursors.before(entry.position))
            self._asked.add(entry.partition)

    # -- from the store, under the client's own backpressure -----------------------------------------------------------

    def _below_window(self) -> list[int]:
        floors = self._gateway.window.floors
        return [p for p in self._partitions if self._marks[p].position < floors[p]]

    async def _from_store(self, name: str) -> None:
        try:
            while not self._connection.closed and (below := self._below_window()):
                for partition in below:
                    await self._page(partition)
        except HubError as exc:  # answered already: what can't be read now is a gap, not a silence
            self._give_up(name, exc.message)

    async def _page(self, partition: int) -> None:
        gateway = self._gateway
        after, floor, live = (
            self._marks[partition].position,
            gateway.window.floors[partition],
            gateway.position(partition),
        )
        if self._topic is not None and after[0] > self._indexed_above:
            entries = await gateway.log.range_topic(self._key.app, self._topic, after, PAGE)
            reached = entries[-1].position if len(entries) == PAGE else floor
            self._indexed_above = await gateway.log.indexed_above(partition)
            if after[0] <= self._indexed_above:  # the index may have ended: read the log itself, as for a pattern
                return
        else:
            entries = await gateway.log.range(partition, after, PAGE)
            reached = entries[-1].position if entries else floor
            self._budget -= len(entries)
        await self._require_whole(partition, after)
        # Beyond the fan-out's own position nothing is replayed: it would come a second time, live.
        entries = [entry for entry in entries if entry.position <= live]
        while entries and not self._connection.closed:
            entries = entries[self._write_some(entries) :]
            await self._connection.drained()
        self._move(partition, max(self._marks[partition].position, min(reached, live)))
        if self._budget < 0:
            raise Invalid(f"the replay looked at {SCAN_BUDGET} entries without reaching the present")
        if self._outdated():
            raise Invalid("the log has lost entries")

    async def _require_whole(self, partition: int, after: Position) -> None:
        """Raise Invalid if entries above the position may have been missing when the log was read just now."""
        known = self._marks[partition].epoch
        epoch, _, floor = await self._gateway.log.observe(partition, known, self._gateway.position(partition))
        if floor > after:
            raise Invalid("the log was trimmed past the replay")
        if epoch != known:
            raise Invalid("the log has lost entries")

    def _give_up(self, name: str, reason: str) -> None:
        lost_from = cursors.encode(self._marks)
        self._marks = list(self._gateway.marks)
        to = cursors.encode(self._marks)
        logger().warning("replay_gap", room=name, reason=reason, lost_from=lost_from, to=to)
        self._connection.send(notices.gap(self._connection.transport, name, lost_from, to))

    # -- from the window, in the step that registers -------------------------------------------------------------------

    def _from_window(self) -> bool:
        """Write what the window holds, as far as fits in one step; True when nothing is left."""
        gateway = self._gateway
        starts = {partition: self._marks[partition].position for partition in self._partitions}
        if self._topic is not None:
            (start,) = starts.values()
            entries = gateway.window.topic_since(self._key.app, self._topic, start)
        elif any(starts[p] < gateway.position(p) for p in self._partitions):
            entries = gateway.window.since(starts)
        else:
            entries = []
        return self._write_some(entries) == len(entries)

    def _write_some(self, entries: list[Entry]) -> int:
        """Write the first entries, up to a step's bytes; returns how many were dealt with."""
        if not entries:
            return 0
        frames = self._gateway.rendered.of(self._key._replace(types=()))
        rendered: list[bytes] = []
        size = done = 0
        for entry in entries:
            if size > STEP_BYTES:
                break
            self._move(entry.partition, entry.position)
            if self._selects(entry):
                frame = frames.get(entry, cursors.encode(self._marks).encode())
                rendered.append(frame)
                size += len(frame)
            done += 1
        if rendered:
            metrics.REPLAYED_EVENTS.inc(len(rendered))
            self._connection.write(b"".join(rendered))
        return done

    def _move(self, partition: int, position: Position) -> None:
        self._marks[partition] = Mark(partition, self._marks[partition].epoch, *position)

    def _say(self, announce: Announce, recovered: bool | None) -> bool:
        self._connection.send(announce(cursors.encode(self._marks), recovered))
        return True

    def _outdated(self) -> bool:
        return any(self._marks[p].epoch != self._gateway.marks[p].epoch for p in self._partitions)

    def _selects(self, entry: Entry) -> bool:
        key = self._key
        if entry.app != key.app:
            return False
        if entry.topic != self._topic and (self._topic is not None or not matches_any(key.patterns, entry.topic)):
            return False
        return not key.types or matches_any(key.types, entry.type)


def _next(position: Position) -> Position:
    return (position[0], position[1] + 1)
