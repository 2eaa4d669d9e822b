"""The log: append events, read them back. One Redis stream per partition; see keys.py for what lies beside it."""

import asyncio
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from hub.core import cursor as cursors
from hub.core.cursor import START, Cursor, Mark, Position
from hub.core.errors import Detail, HubError, InvalidCursor, NotFound
from hub.core.event import Event
from hub.core.topics import compile_pattern, is_pattern
from hub.store import keys
from hub.store.commits import Commits
from hub.store.connect import Link
from hub.store.scripts import script
from hub.store.wire import Arg, Reply

PAGE: Final = 500
SCAN_BUDGET: Final = 20_000
"""Log entries that one listing may look at; the cursor that it returns goes on from there."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One event as the log holds it. `position` is its place in `partition`."""

    partition: int
    position: Position
    app: str
    topic: str
    type: str
    id: str
    request_id: str
    body: bytes


class Appended(msgspec.Struct, frozen=True):
    """The answer to one event of an append. For a duplicate, `type` and `timestamp` are the first event's."""

    id: str
    topic: str
    type: str
    timestamp: str
    cursor: str
    duplicate: bool


class Page(msgspec.Struct, frozen=True):
    """A listing's part: entries with their cursors, and where to go on."""

    entries: list[tuple[Entry, str]]
    next_cursor: str | None


def parse_entry(partition: int, raw: Reply) -> Entry:
    """An element of XREAD's or XRANGE's reply."""
    raw_id, fields = raw
    return Entry(
        partition,
        cursors.parse_id(raw_id),
        fields[1].decode(),
        fields[3].decode(),
        fields[5].decode(),
        fields[7].decode(),
        fields[9].decode(),
        fields[11],
    )


class Log:
    """The log of one deployment. `durability` is `store`, `fsync` (WAITAOF) or `replicated` (WAIT).

    The last two wait on `append_link`, and hold up what else is called there.
    """

    def __init__(
        self,
        link: Link,
        *,
        partitions: int,
        retention: int,
        durability: str = "store",
        append_link: Link | None = None,
    ) -> None:
        self._link = link
        self.partitions = partitions
        self._retention = retention
        self._writer = link if durability == "store" else Commits(append_link or link, durability)

    # -- append ------------------------------------------------------------------------------------------------------

    async def append(self, app: str, events: Sequence[Event], request_id: str = "") -> list[Appended]:
        """Append events, in order, one call per partition; return once they are as durable as was configured.

        Raises StoreUnavailable, LogFull. Their details name the events that were appended all the same; others may have
        been too. A retry with the same ids completes it.
        """
        groups: dict[int, list[int]] = {}
        for index, event in enumerate(events):
            groups.setdefault(keys.partition_of(app, event.topic, self.partitions), []).append(index)
        results: list[Appended | None] = [None] * len(events)
        outcomes = await asyncio.gather(
            *(self._append_partition(app, p, [events[i] for i in group], request_id) for p, group in groups.items()),
            return_exceptions=True,
        )
        fault: BaseException | None = None
        for group, outcome in zip(groups.values(), outcomes, strict=True):
            if isinstance(outcome, BaseException):
                fault = fault or outcome
                continue
            for index, appended in zip(group, outcome, strict=True):
                results[index] = appended
        if fault is not None:
            raise _partial(fault, results)
        return [result for result in results if result is not None]

    async def _append_partition(self, app: str, partition: int, events: list[Event], request_id: str) -> list[Appended]:
        names = [keys.log(partition), keys.meta(partition)]
        args: list[Arg] = [self._retention]
        for event in events:
            names += (keys.seen(partition, app, event.id), keys.topic_index(partition, app, event.topic))
            args += (app, event.topic, event.type, event.id, event.timestamp, request_id, event.body)
        reply = await self._writer.run(script("append"), names, args)
        epoch = int(reply[0])
        return [_appended(event, partition, epoch, line) for event, line in zip(events, reply[1:], strict=True)]

    # -- read --------------------------------------------------------------------------------------------------------

    async def observe(self, partition: int, epoch: int = 0, last: Position = START) -> tuple[int, Position, Position]:
        """The partition's epoch, last position and trim floor; raises the epoch if `last` was lost (observe.lua)."""
        names = [keys.log(partition), keys.meta(partition)]
        reply = await self._link.run(script("observe"), names, [str(epoch), cursors.format_id(last)])
        return int(reply[0]), cursors.parse_id(reply[1]), cursors.parse_id(reply[2])

    async def range(self, partition: int, after: Position, count: int = PAGE) -> list[Entry]:
        """Up to `count` entries above a position, in order."""
        reply = await self._link.call(
            "XRANGE", keys.log(partition), f"({cursors.format_id(after)}", "+", "COUNT", count
        )
        return [parse_entry(partition, raw) for raw in reply]

    async def range_back(self, partition: int, below: Position | None, count: int = PAGE) -> list[Entry]:
        """Up to `count` entries below a position (None: from the newest), newest first."""
        top = "+" if below is None else f"({cursors.format_id(below)}"
        reply = await self._link.call("XREVRANGE", keys.log(partition), top, "-", "COUNT", count)
        return [parse_entry(partition, raw) for raw in reply]

    async def range_topic(self, app: str, topic: str, after: Position, count: int = PAGE) -> list[Entry]:
        """Up to `count` entries of one topic above a position, in order, by its index."""
        return await self._indexed("XRANGE", app, topic, f"({cursors.format_id(after)}", "+", count)

    async def range_topic_back(self, app: str, topic: str, below: Position | None, count: int) -> list[Entry]:
        """Up to `count` entries of one topic below a position, newest first, by its index."""
        top = "+" if below is None else f"({cursors.format_id(below)}"
        return await self._indexed("XREVRANGE", app, topic, top, "-", count)

    async def _indexed(self, command: str, app: str, topic: str, first: str, last: str, count: int) -> list[Entry]:
        partition = keys.partition_of(app, topic, self.partitions)
        index = keys.topic_index(partition, app, topic)
        entries: list[Entry] = []
        while (wanted := count - len(entries)) > 0:
            ids = [raw_id for raw_id, _ in await self._link.call(command, index, first, last, "COUNT", wanted)]
            if not ids:
                break
            found = await self._link.pipeline([("XRANGE", keys.log(partition), raw_id, raw_id) for raw_id in ids])
            entries += [parse_entry(partition, reply[0]) for reply in found if reply]
            # The index may name what was trimmed. Going back that is the end; going forward there is more behind it: a
            # short answer would say that there is none.
            if len(ids) < wanted or (command == "XREVRANGE" and not all(found)):
                break
            first = f"({ids[-1].decode()}"
        return entries

    async def find(self, app: str, event_id: str) -> tuple[Entry, str]:
        """An app's event by id, with its cursor, or NotFound. The first, where topics share an id."""
        for partition in range(self.partitions):
            known = await self._link.call("HVALS", keys.seen(partition, app, event_id))
            for line in sorted(known, key=lambda line: cursors.parse_id(line.split(b" ")[0])):
                raw_id = line.split(b" ")[0]
                if found := await self._link.call("XRANGE", keys.log(partition), raw_id, raw_id):
                    entry = parse_entry(partition, found[0])
                    return entry, await self._cursor_of(entry)
        raise NotFound(f"No event {event_id!r} is in the log; it may have passed its retention")

    async def page(
        self,
        app: str,
        *,
        topic: str = "**",
        types: tuple[str, ...] = (),
        after: Cursor = (),
        before: Cursor = (),
        limit: int = 50,
        newest_first: bool = False,
    ) -> Page:
        """List an app's events by topic pattern and type patterns, between two cursors, in log order or backward.

        At most SCAN_BUDGET entries are looked at; a page may therefore be short, even empty, and still have a cursor to
        go on from.
        """
        for field, cursor in (("after", after), ("before", before)):
            if any(mark.partition >= self.partitions for mark in cursor):
                raise InvalidCursor(f"{field}: this hub has {self.partitions} partitions; list without it")
        wanted = [keys.partition_of(app, topic, self.partitions)] if not is_pattern(topic) else range(self.partitions)
        seen = {partition: await self.observe(partition) for partition in wanted}
        scans = [_Scan(self, app, topic, types, p, seen[p], after, before, newest_first) for p in wanted]
        found: list[tuple[Entry, str]] = []
        looked = 0
        while len(found) < limit and looked < SCAN_BUDGET:
            looked += sum([await scan.fill(min(PAGE, max(limit * 2, 50))) for scan in scans])
            ready = [scan for scan in scans if scan.head is not None]
            if not ready or any(scan.head is None and not scan.done for scan in scans):
                if not ready and all(scan.done for scan in scans):
                    break
                continue
            best = (max if newest_first else min)(ready, key=_Scan.place)
            found.append((best.take(), cursors.encode(scan.mark for scan in scans if scan.mark is not None)))
        more = not all(scan.done and scan.head is None for scan in scans)
        return Page(found, cursors.encode(s.mark for s in scans if s.mark is not None) if more else None)

    async def _cursor_of(self, entry: Entry) -> str:
        epoch, _, _ = await self.observe(entry.partition)
        return cursors.encode([Mark(entry.partition, epoch, *entry.position)])


class _Scan:
    """One partition's part of a listing: pages of the log (or of a topic's index), filtered, with their place."""

    def __init__(
        self,
        log: Log,
        app: str,
        topic: str,
        types: tuple[str, ...],
        partition: int,
        observed: tuple[int, Position, Position],
        after: Cursor,
        before: Cursor,
        newest_first: bool,
    ) -> None:
        self._log, self._app, self._topic = log, app, topic
        self._exact = not is_pattern(topic)
        self._topic_re = compile_pattern(topic)
        self._types = [compile_pattern(pattern) for pattern in types]
        epoch, _, floor = observed
        self._partition, self._epoch, self._back = partition, epoch, newest_first
        self._low = max(_bound(after, partition, epoch, "after") or START, floor)
        self._high = _bound(before, partition, epoch, "before")
        self._reached = self._high if newest_first else self._low
        self._taken: Position | None = None
        self._found: list[Entry] = []
        self.done = False

    @property
    def head(self) -> Entry | None:
        return self._found[0] if self._found else None

    def place(self) -> tuple[Position, int]:
        assert self.head is not None
        return self.head.position, self._partition

    @property
    def mark(self) -> Mark | None:
        """How far this partition was consumed: to the entry taken last, or to what was looked at when none waits."""
        position = self._taken if self._found else self._reached
        return None if position is None else Mark(self._partition, self._epoch, *position)

    def take(self) -> Entry:
        entry = self._found.pop(0)
        self._taken = entry.position
        return entry

    async def fill(self, count: int) -> int:
        """Read a page unless one waits; returns how many entries were looked at."""
        if self._found or self.done:
            return 0
        self._taken = self._reached
        page = await self._read(count)
        inside = [entry for entry in page if self._inside(entry.position)]
        self._found = [entry for entry in inside if self._selects(entry)]
        if inside:
            self._reached = inside[-1].position
        self.done = len(page) < count or len(inside) < len(page)
        return len(page)

    async def _read(self, count: int) -> list[Entry]:
        if self._back:
            if self._exact:
                return await self._log.range_topic_back(self._app, self._topic, self._reached, count)
            return await self._log.range_back(self._partition, self._reached, count)
        start = self._reached or START
        if self._exact:
            return await self._log.range_topic(self._app, self._topic, start, count)
        return await self._log.range(self._partition, start, count)

    def _inside(self, position: Position) -> bool:
        return position > self._low and (self._high is None or position < self._high)

    def _selects(self, entry: Entry) -> bool:
        return (
            entry.app == self._app
            and (self._exact or self._topic_re.fullmatch(entry.topic) is not None)
            and (not self._types or any(pattern.fullmatch(entry.type) for pattern in self._types))
        )


def _bound(cursor: Cursor, partition: int, epoch: int, field: str) -> Position | None:
    for mark in cursor:
        if mark.partition == partition:
            if mark.epoch != epoch:
                raise InvalidCursor(f"{field}: the log has lost entries since this cursor was made; list without it")
            return mark.position
    return None


_LINE = re.compile(rb"(=?)(\S+) (\S+) (.*)", re.DOTALL)


def _appended(event: Event, partition: int, epoch: int, line: bytes) -> Appended:
    found = _LINE.fullmatch(line)
    assert found is not None
    cursor = cursors.encode([Mark(partition, epoch, *cursors.parse_id(found[2]))])
    return Appended(event.id, event.topic, found[4].decode(), found[3].decode(), cursor, bool(found[1]))


def _partial(fault: BaseException, results: Sequence[Appended | None]) -> BaseException:
    """The fault of an append, with what was appended in spite of it."""
    done = [Detail(f"[{index}]", f"was appended as {one.id}") for index, one in enumerate(results) if one is not None]
    if not done or not isinstance(fault, HubError):
        return fault
    message = f"{len(done)} of {len(results)} events were appended; publish again with the same ids to complete them"
    return type(fault)(f"{fault.message}. {message}", tuple(done))


async def check_layout(link: Link, partitions: int, delivery_partitions: int) -> None:
    """Fix the numbers of partitions at the first start; raise ValueError when they differ from then on."""
    for name, value in (("partitions", partitions), ("delivery_partitions", delivery_partitions)):
        fixed = await link.call("HGET", keys.LAYOUT, name)
        if fixed is None:  # asked first: a store at its memory limit refuses writes, but a process may start
            await link.call("HSETNX", keys.LAYOUT, name, value)
            fixed = await link.call("HGET", keys.LAYOUT, name)
        if int(fixed) != value:
            raise ValueError(
                f"HUB_{name.upper()} is {value}, but this store was laid out with {int(fixed)}; set it to {int(fixed)}"
            )
