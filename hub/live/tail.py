"""The tail: each web process reads the log once, from a position that it takes once, and sees when the log changed.

Every connection and every second it asks the store whether this still is the log that it was reading (observe.lua).
When it isn't — a failover lost entries, the store came back without them — the epoch is higher, and the tail says from
where the new log goes on.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec

from hub.core import cursor as cursors
from hub.core.cursor import START, Mark, Position
from hub.core.errors import HubError
from hub.live.window import MAX_BYTES, MAX_ENTRIES, Window
from hub.store import keys
from hub.store.connect import Link
from hub.store.control import ControlItem, observe, parse_item
from hub.store.log import PAGE, Entry, Log, parse_entry
from hub.store.wire import Reply, StoreError
from hub.telemetry import logger

COUNT = 256
"""Entries read at once; what arrives while they are fanned out is the next batch."""
BLOCK_MS = 1000


class Batch(msgspec.Struct, frozen=True):
    """What one read brought."""

    entries: list[Entry]
    control: list[ControlItem]


class Reset(msgspec.Struct, frozen=True):
    """A partition goes on above `mark`: in a new epoch when the log lost entries that were read, in the same one when
    it was trimmed past what was not read yet.
    """

    mark: Mark


class Missed(msgspec.Struct, frozen=True):
    """Notices may have been missed: the store was away, or this process was for longer than it keeps them."""


class Tail:
    """Reads all partitions and the control stream over a link of its own.

    What it asks about the log goes over that link too: over another one, in a failover, it could ask the old master
    about what it reads from the new one. `make_window` takes the floors.
    """

    def __init__(self, log: Log, link: Link, make_window: Callable[[list[Position]], Window] = Window) -> None:
        self._log = log.over(link)
        self._make_window = make_window
        self._link = link
        self._streams = {keys.log(partition).encode(): partition for partition in range(log.partitions)}
        self._marks: list[Mark] = []
        self._control = START
        self._heard = 0
        """How many elements the control stream had got when that one was added, if none was missed."""
        self._checked_on = -1
        self._checked_at = 0.0
        self.window: Window
        self.fault: str | None = "the tail has not started"
        """Why events can't arrive now, or None."""

    async def start(self) -> list[Mark]:
        """Take the position to read from, and fill the window with what lies before it. Raises StoreUnavailable."""
        floors: list[Position] = []
        older: list[Entry] = []
        self._marks = []
        for partition in range(self._log.partitions):
            epoch, last, floor = await self._log.observe(partition)
            self._marks.append(Mark(partition, epoch, *last))
            entries, reached = await self._before(partition, last, floor)
            _, _, trimmed = await self._log.observe(partition)  # pages that were trimmed meanwhile are not here
            floors.append(max(reached, trimmed))
            older += entries
        stream = await observe(self._link)
        self._control, self._heard = stream.last, stream.added
        self.window = self._make_window(floors)
        for entry in sorted(older, key=lambda entry: entry.position):
            self.window.push(entry)
        self.fault = None
        return list(self._marks)

    async def _before(self, partition: int, last: Position, floor: Position) -> tuple[list[Entry], Position]:
        entries: list[Entry] = []
        below: Position | None = (last[0], last[1] + 1)
        size = 0
        while size < MAX_BYTES / 2 and len(entries) < MAX_ENTRIES / 2:
            page = await self._log.range_back(partition, below, PAGE)
            entries += page
            size += sum(len(entry.body) for entry in page)
            if len(page) < PAGE:
                return entries, floor
            below = page[-1].position
        return entries, cursors.before(entries[-1].position)

    async def read(self) -> AsyncIterator[Batch | Reset | Missed]:
        """Batches in log order, for ever; over any failure of the store."""
        while True:
            try:
                for found in await self._check():
                    yield found
                items = await self._read_once()
            except (HubError, StoreError) as exc:
                if self.fault is None:
                    logger().warning("tail_interrupted", reason=str(exc))
                self.fault = str(exc)
                await asyncio.sleep(0.05)
                continue
            if self.fault is not None:
                logger().info("tail_reading", marks=cursors.encode(self._marks))
                self.fault = None
            for item in items:
                yield item

    async def _read_once(self) -> list[Batch | Reset]:
        """What comes within BLOCK_MS, or the partitions that were trimmed past what was not read yet.

        The floors are asked for in the same write, right before the read: while a read waits nothing is there to trim.
        """
        floors = [("HGET", keys.meta(mark.partition), "floor") for mark in self._marks]
        names = [*(keys.log(mark.partition) for mark in self._marks), keys.CONTROL]
        ids = [*(cursors.format_id(mark.position) for mark in self._marks), cursors.format_id(self._control)]
        command = ("XREAD", "COUNT", COUNT, "BLOCK", BLOCK_MS, "STREAMS", *names, *ids)
        *trimmed, reply = await self._link.pipeline([*floors, command], timeout=BLOCK_MS / 1000 + 1.5)
        if self._link.generation != self._checked_on:
            return []  # read over a new connection, perhaps from another log: check first, then read it again
        overtaken = [self._overtaken(*found) for found in zip(list(self._marks), trimmed, strict=True)]
        if any(overtaken):
            return [reset for reset in overtaken if reset is not None]
        return [] if reply is None else [self._take(reply)]

    def _overtaken(self, mark: Mark, floor: bytes | None) -> Reset | None:
        """Go on behind the floor when this process was behind by more than the log keeps."""
        position = START if floor is None else cursors.parse_id(floor)
        if position <= mark.position:
            return None
        logger().warning("tail_overtaken", partition=mark.partition, read=cursors.format_id(mark.position),
                         goes_on_above=cursors.format_id(position))  # fmt: skip
        self._marks[mark.partition] = mark._replace(ms=position[0], seq=position[1])
        return Reset(self._marks[mark.partition])

    def _take(self, reply: Reply) -> Batch:
        entries: list[Entry] = []
        control: list[ControlItem] = []
        for name, items in reply:
            if name == keys.CONTROL.encode():
                control += [parse_item(item) for item in items]
                self._control = cursors.parse_id(items[-1][0])
                self._heard += len(items)
                continue
            partition = self._streams[name]
            entries += [parse_entry(partition, item) for item in items]
            ms, seq = entries[-1].position
            self._marks[partition] = self._marks[partition]._replace(ms=ms, seq=seq)
        return Batch(entries, control)

    async def _check(self) -> list[Reset | Missed]:
        now = asyncio.get_running_loop().time()
        generation = self._link.generation
        if generation == self._checked_on and now - self._checked_at < 1.0:
            return []
        resets: list[Reset] = []
        for mark in list(self._marks):
            epoch, last, _ = await self._log.observe(mark.partition, mark.epoch, mark.position)
            if epoch == mark.epoch:
                continue
            position = await self._last_common(mark.partition, min(last, mark.position))
            logger().warning("log_lost_entries", partition=mark.partition, read=cursors.format_id(mark.position),
                             goes_on_above=cursors.format_id(position), epoch=epoch)  # fmt: skip
            resets.append(Reset(Mark(mark.partition, epoch, *position)))
        missed = [Missed()] if await self._has_missed() or generation != self._checked_on else []
        for reset in resets:  # only now: had the store gone away above, all of it would have to be found out again
            self._marks[reset.mark.partition] = reset.mark
        self._checked_on, self._checked_at = generation, now
        return [*resets, *missed]

    async def _has_missed(self) -> bool:
        """Whether elements of the control stream were trimmed away before they were read, or it is another stream."""
        stream = await observe(self._link)
        if stream.last < self._control:
            self._control, self._heard = START, stream.added - stream.length
            return True
        # What is not read yet can't be told from what is gone, except by its number: then the next check tells.
        unread = 0 if stream.last == self._control else stream.length
        if self._heard <= stream.added <= self._heard + unread:
            return False
        self._heard = stream.added - unread
        return True

    async def _last_common(self, partition: int, newest: Position) -> Position:
        """The last position that was read and still exists. What the log holds above it is new to this process."""
        known, floor = self.window.positions(partition), self.window.floors[partition]
        below: Position = (newest[0], newest[1] + 1)
        while page := await self._log.range_back(partition, below, PAGE):
            for entry in page:
                if entry.position <= floor or entry.position in known:
                    return entry.position
            below = page[-1].position
        return cursors.START
