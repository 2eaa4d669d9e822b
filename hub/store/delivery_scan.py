"""The order in which deliveries are listed, and reading it from the endpoints' indexes."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from hub.core import cursor as cursors
from hub.store import keys
from hub.store.connect import Link
from hub.store.records import TESTS, Ref
from hub.store.wire import Arg

_PAGE: Final = 100
_LEAST_PAGE: Final = 5


class Filter(NamedTuple):
    """What to list: `since` (inclusive) and `until` (exclusive) in ms of the event's append, `event` its id."""

    endpoint: str | None = None
    event: str | None = None
    status: str | None = None
    since: int | None = None
    until: int | None = None

    def is_within(self, ms: int) -> bool:
        return (self.since is None or ms >= self.since) and (self.until is None or ms < self.until)


class Place(NamedTuple):
    """A delivery's place in listings, which are in this order or against it."""

    ms: int
    seq: int
    partition: int
    endpoint: str
    origin: int = 0

    @property
    def ref(self) -> Ref:
        return Ref(self.partition, self.ms, self.seq, self.origin)


class Start(NamedTuple):
    """Where reading begins, behind a place or with it, and whether it goes down to older ones."""

    place: Place | None
    inclusive: bool
    downward: bool

    def precedes(self, place: Place) -> bool:
        """Whether a place is still to be read."""
        if self.place is None or place == self.place:
            return self.place is None or self.inclusive
        return place < self.place if self.downward else place > self.place


class Listed:
    """Places that are known beforehand."""

    def __init__(self, places: Sequence[Place], start: Start) -> None:
        self._places = sorted(filter(start.precedes, places), reverse=start.downward)

    async def take(self, count: int) -> list[Place]:
        """The next places, at most `count`; none at the end."""
        taken, self._places = self._places[:count], self._places[count:]
        return taken


class Owner(NamedTuple):
    """An endpoint, its delivery partition, and the origins of what it was owed."""

    endpoint: str
    partition: int
    origins: Sequence[int]


class _Source:
    """One index: the deliveries of one endpoint from one log partition, of one origin."""

    __slots__ = ("done", "endpoint", "first", "found", "key", "origin", "partition")

    def __init__(self, endpoint: str, partition: int, origin: int, key: str, first: str) -> None:
        self.endpoint, self.partition, self.origin, self.key, self.first = endpoint, partition, origin, key, first
        self.found: list[Place] = []
        self.done = False


class Merge:
    """Places from many indexes, read in pages, in one order."""

    def __init__(
        self,
        link: Link,
        owners: Sequence[Owner],
        log_partitions: int,
        wanted: Filter,
        start: Start,
    ) -> None:
        self._link = link
        self._start = start
        low = "-" if wanted.since is None else str(wanted.since)
        high = "+" if wanted.until is None else f"({wanted.until}-0"
        first, self._last = (high, low) if start.downward else (low, high)
        if start.place is not None and wanted.is_within(start.place.ms):
            first = cursors.format_id((start.place.ms, start.place.seq))
        self._sources = [
            _Source(endpoint, p, origin, keys.origin_index(partition, endpoint, p, origin), first)
            for endpoint, partition, origins in owners
            for origin in origins
            for p in range(1 if origin == TESTS else log_partitions)
        ]

    async def take(self, count: int) -> list[Place]:
        """The next places, at most `count`; none at the end."""
        taken: list[Place] = []
        while len(taken) < count:
            await self._fill()
            self._sources = [source for source in self._sources if source.found]
            if not self._sources:
                break
            best = (max if self._start.downward else min)(self._sources, key=lambda source: source.found[0])
            taken.append(best.found.pop(0))
        return taken

    async def _fill(self) -> None:
        dry = [source for source in self._sources if not source.found and not source.done]
        if not dry:
            return
        count = max(_LEAST_PAGE, _PAGE // len(self._sources))
        command = "XREVRANGE" if self._start.downward else "XRANGE"
        commands: list[tuple[Arg, ...]] = [
            (command, source.key, source.first, self._last, "COUNT", count) for source in dry
        ]
        for source, reply in zip(dry, await self._link.pipeline(commands), strict=True):
            places = [
                Place(*cursors.parse_id(raw_id), source.partition, source.endpoint, source.origin)
                for raw_id, _ in reply
            ]
            source.done = len(places) < count
            if places:
                source.first = f"({cursors.format_id((places[-1].ms, places[-1].seq))}"
            source.found = list(filter(self._start.precedes, places))
        await self._fill()  # a page may have held only what lies on the cursor's other side
