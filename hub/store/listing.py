"""Listing the log: pages of an app's events by topic and type, in log order or backward, over all partitions."""

from collections.abc import Sequence
from typing import Final

import msgspec

from hub.core import cursor as cursors
from hub.core.cursor import START, Cursor, Mark, Position
from hub.core.errors import InvalidCursor
from hub.core.topics import compile_pattern, is_pattern
from hub.store import keys
from hub.store.log import PAGE, Entry, Log

SCAN_BUDGET: Final = 20_000
"""Log entries that one listing may look at; the cursor that it returns goes on from there."""


class Page(msgspec.Struct, frozen=True):
    """A listing's part: entries with their cursors, and where to go on and back; None where there is nothing more."""

    entries: list[tuple[Entry, str]]
    next_cursor: str | None
    prev_cursor: str | None = None


async def page(
    log: Log,
    app: str,
    *,
    topic: str = "**",
    types: tuple[str, ...] = (),
    after: Cursor = (),
    before: Cursor = (),
    since: int | None = None,
    until: int | None = None,
    limit: int = 50,
    newest_first: bool = False,
) -> Page:
    """List an app's events by topic pattern and type patterns, in log order or newest first.

    A page lies next to the cursor that is given: what follows `after`, or what comes right before `before`. With both,
    it begins at the one that the order comes to first. `since` (inclusive) and `until` (exclusive) are in ms of the
    append. At most SCAN_BUDGET entries are looked at; a page may therefore be short, even empty, and still have a
    cursor to go on from.

    A cursor stands right behind the event of its greatest place, which is the one that carries it: `before` leaves that
    event out, and in the other partitions nothing that the cursor is behind.
    """
    for field, cursor in (("after", after), ("before", before)):
        if any(mark.partition >= log.partitions for mark in cursor):
            raise InvalidCursor.field(field, f"is of a hub with more than {log.partitions} partitions; list without it")
    wanted = [keys.partition_of(app, topic, log.partitions)] if not is_pattern(topic) else range(log.partitions)
    seen = {partition: await log.observe(partition) for partition in wanted}
    back = newest_first if bool(after) == bool(before) else bool(before)
    span = (since, until)
    scans = [_Scan(log, app, topic, types, p, seen[p], after, before, span, back) for p in wanted]
    found: list[Entry] = []
    looked = 0
    while len(found) < limit and looked < SCAN_BUDGET:
        looked += sum([await scan.fill(min(PAGE, max(limit * 2, 50))) for scan in scans])
        ready = [scan for scan in scans if scan.head is not None]
        if not ready or any(scan.head is None and not scan.done for scan in scans):
            if not ready and all(scan.done for scan in scans):
                break
            continue
        found.append((max if back else min)(ready, key=_Scan.place).take())
    further, opposite = _edges(scans, back)
    # There is no cursor where nothing is left to read, and none to the other side where the page begins the list.
    further = None if all(scan.done and scan.head is None for scan in scans) else further
    opposite = opposite if bool(after) != bool(before) else None
    turned = back != newest_first
    items = [(entry, _beside(entry, scans)) for entry in (reversed(found) if turned else found)]
    return Page(items, opposite, further) if turned else Page(items, further, opposite)


def _beside(entry: Entry, scans: Sequence["_Scan"]) -> str:
    """The cursor right behind an entry: what is newer in the list follows it, whichever way the list was read."""
    return cursors.encode(scan.behind(entry) for scan in scans)


def _edges(scans: Sequence["_Scan"], back: bool) -> tuple[str, str]:
    """The cursors to go on from where reading ended, and to go back from where it began."""
    ended, began = [scan.mark for scan in scans], [scan.beginning for scan in scans]
    return (_below(ended), cursors.encode(began)) if back else (cursors.encode(ended), _below(began))


def _below(bounds: Sequence[Mark]) -> str:
    """A cursor for `before` of which these are the bounds, each exclusive: so is that cursor in one partition only."""
    own = max(bounds, key=lambda mark: mark.place)
    return cursors.encode(m if m is own else m.at(cursors.before(m.position)) for m in bounds)


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
        span: tuple[int | None, int | None],
        back: bool,
    ) -> None:
        self._log, self._app, self._topic = log, app, topic
        self._exact = not is_pattern(topic)
        self._topic_re = compile_pattern(topic)
        self._types = [compile_pattern(pattern) for pattern in types]
        epoch, newest, floor = observed
        self.partition, self._epoch, self._back = partition, epoch, back
        self._known = max(newest, floor)
        since, until = span
        self._low = max(_bound(after, partition, epoch, "after") or START, floor)
        self._high = _bound(before, partition, epoch, "before")
        if self._high is not None and max(before, key=lambda mark: mark.place).partition != partition:
            self._high = cursors.behind(self._high)
        if self._high is None and back:  # what is appended from now on is newer than the first page
            self._high = cursors.behind(newest)
        self._began = self._high if back and self._high is not None else self._low
        if since is not None:
            self._low = max(self._low, cursors.before((since, 0)))
        if until is not None:
            self._high = (until, 0) if self._high is None else min(self._high, (until, 0))
        self._reached = self._taken = self._high if back and self._high is not None else self._low
        self._found: list[Entry] = []
        self.done = False

    @property
    def head(self) -> Entry | None:
        return self._found[0] if self._found else None

    def place(self) -> tuple[Position, int]:
        assert self.head is not None
        return self.head.position, self.partition

    @property
    def beginning(self) -> Mark:
        """Where reading began, as a bound from the other side: what lies beyond it is what wasn't read."""
        return self._mark(cursors.before(self._began) if self._back else cursors.behind(self._began))

    def behind(self, entry: Entry) -> Mark:
        """The place right behind an entry of any partition, but behind nothing that may be appended yet."""
        return self._mark(min(cursors.last_by((entry.position, entry.partition), self.partition), self._known))

    def _mark(self, position: Position) -> Mark:
        return Mark(self.partition, self._epoch, *position)

    @property
    def mark(self) -> Mark:
        """How far this partition was consumed: to the entry taken last, or to what was looked at when none waits."""
        return self._mark(self._taken if self._found else self._reached)

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
            self._known = max(self._known, inside[0].position, self._reached)
        self.done = len(page) < count or len(inside) < len(page)
        return len(page)

    async def _read(self, count: int) -> list[Entry]:
        if self._back:
            if self._exact:
                return await self._log.range_topic_back(self._app, self._topic, self._reached, count)
            return await self._log.range_back(self.partition, self._reached, count)
        if self._exact:
            return await self._log.range_topic(self._app, self._topic, self._reached, count)
        return await self._log.range(self.partition, self._reached, count)

    def _inside(self, position: Position) -> bool:
        return position > self._low and (self._high is None or position < self._high)

    def _selects(self, entry: Entry) -> bool:
        return (
            entry.app == self._app
            and (self._exact or self._topic_re.fullmatch(entry.topic) is not None)
            and (not self._types or any(pattern.fullmatch(entry.type) for pattern in self._types))
        )


def _bound(cursor: Cursor, partition: int, epoch: int, field: str) -> Position | None:
    """The last position of a partition that a cursor is behind; one that it doesn't name follows from its place."""
    for mark in cursor:
        if mark.partition == partition:
            if mark.epoch != epoch:
                raise InvalidCursor.field(field, "was made before the log lost entries; list without it")
            return mark.position
    return cursors.last_by(max(mark.place for mark in cursor), partition) if cursor else None
