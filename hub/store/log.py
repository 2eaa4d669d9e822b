"""The log: append events, read them back. One Redis stream per partition; see keys.py for what lies beside it."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from hub import metrics
from hub.core import cursor as cursors
from hub.core.cursor import START, Mark, Position
from hub.core.errors import Detail, HubError, NotFound
from hub.core.event import Event
from hub.store import keys
from hub.store.appends import Appended, Appends
from hub.store.commits import Commits
from hub.store.connect import Link
from hub.store.scripts import script
from hub.store.traffic import Counter
from hub.store.wire import Reply

PAGE: Final = 500


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One event as the log holds it. `position` is its place in `partition`."""

    partition: int
    position: Position
    app: str
    topic: str
    type: str
    id: str
    origin: str
    """See core.origin."""
    body: bytes


def parse_entry(partition: int, raw: Reply) -> Entry:
    """An element of XREAD's or XRANGE's reply."""
    raw_id, (_, app, _, topic, _, kind, _, event_id, _, origin, _, body) = raw
    position = cursors.parse_id(raw_id)
    return Entry(
        partition, position, app.decode(), topic.decode(), kind.decode(), event_id.decode(), origin.decode(), body
    )


class Log:
    """The log of one deployment. `durability` is `store`, `fsync` (WAITAOF) or `replicated` (WAIT).

    The last two wait on `append_link`, and hold up what else is called there. What is appended is told to `counter`.
    """

    def __init__(
        self,
        link: Link,
        *,
        partitions: int,
        retention: int,
        durability: str = "store",
        append_link: Link | None = None,
        counter: Counter | None = None,
    ) -> None:
        self._link = link
        self.partitions = partitions
        self._retention = retention
        self._counter = counter
        writer = link if durability == "store" else Commits(append_link or link, durability)
        self._appends = [Appends(writer, partition, retention) for partition in range(partitions)]

    def over(self, link: Link) -> "Log":
        """The same log over another link."""
        return Log(link, partitions=self.partitions, retention=self._retention)

    # -- append ------------------------------------------------------------------------------------------------------

    async def append(
        self, app: str, events: Sequence[Event], origin: str = "", claim: tuple[str, str] | None = None
    ) -> list[Appended]:
        """Append events, in order, one call per partition; return once they are as durable as was configured.

        Raises StoreUnavailable, LogFull. Their details name the events that were appended all the same; others may have
        been too. A retry with the same ids completes it. `claim` is the key and the fingerprint of a request that
        must be the same as it was, else IdempotencyKeyReused; only a log of one partition can check it here.
        """
        began = time.perf_counter()
        try:
            if self.partitions == 1:
                done = await self._appends[0].append(app, events, origin, claim)
            else:
                done = await self._append_all(app, events, origin)
        except HubError as exc:
            metrics.APPEND_FAILURES.labels(exc.code).inc()
            raise
        metrics.APPEND_SECONDS.observe(time.perf_counter() - began)
        if self._counter is not None:
            self._counter.count(app, events=[one.duplicate for one in done].count(False))
        return done

    async def _append_all(self, app: str, events: Sequence[Event], origin: str) -> list[Appended]:
        groups: dict[int, list[int]] = {}
        for index, event in enumerate(events):
            groups.setdefault(keys.partition_of(app, event.topic, self.partitions), []).append(index)
        results: list[Appended | None] = [None] * len(events)
        outcomes = await asyncio.gather(
            *(self._appends[p].append(app, [events[i] for i in group], origin, None) for p, group in groups.items()),
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

    async def indexed_above(self, partition: int) -> int:
        """The time (ms) above which topics' indexes name every entry of the log; older ones may have ended before it.

        To be asked after an index was read: an index ends while one looks.
        """
        clock, known = await self._link.pipeline([("TIME",), ("HMGET", keys.meta(partition), "retention", "indexed")])
        retention, indexed = (int(value or 0) for value in known)
        return max(int(clock[0]) * 1000 + int(clock[1]) // 1000 - retention * 1000, indexed)

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
            # One command each, in one pipeline: 4 µs an event, wherever in the log the topic's lie.
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

    async def body(self, partition: int, position: Position, event_id: str) -> bytes | None:
        """The bytes of an event of which both place and id are known; None where the log no longer has it."""
        raw_id = cursors.format_id(position)
        found = await self._link.call("XRANGE", keys.log(partition), raw_id, raw_id)
        entry = parse_entry(partition, found[0]) if found else None
        return entry.body if entry is not None and entry.id == event_id else None

    async def _cursor_of(self, entry: Entry) -> str:
        """The place right behind an entry, in every partition."""
        marks: list[Mark] = []
        for partition in range(self.partitions):
            epoch, newest, floor = await self.observe(partition)
            last = cursors.last_by((entry.position, entry.partition), partition)
            marks.append(Mark(partition, epoch, *min(last, max(newest, floor))))
        return cursors.encode(marks)


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
