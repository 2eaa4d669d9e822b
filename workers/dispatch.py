"""Dispatch: one leased reader per log partition matches events with endpoints and enqueues deliveries, in log order.

The lease only saves work. Two readers do no harm: each delivery partition keeps what it has applied, and what is owed
has a record, so nothing is enqueued twice or out of order by one that stalled and woke again.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Final

from hub import metrics
from hub.core.cursor import Position, parse_id
from hub.core.errors import HubError, LogFull, StoreUnavailable
from hub.store.audience import Audience
from hub.store.connect import Link
from hub.store.dispatching import Dispatching
from hub.store.log import Entry, parse_entry
from hub.store.queues import Owed, Queues, StaleReader
from hub.store.wire import Reply
from hub.telemetry import logger
from workers.outage import Outage

RENEW: Final = 1.0
"""Seconds between renewals of the lease, and between looks at whether the log is still the same."""
TRIES: Final = 5
TURN: Final = 0.02
"""Seconds of matching, filters included, after which the worker's other work gets its turn."""
CUT: Final = 0.25
"""Seconds of matching after which what was found is owed, before the rest of the page is looked at."""


class Dispatcher:
    """Reads one log partition while it holds the lease, and waits for the lease while another does.

    `owed` is called with the delivery partitions that got work, and those that have operational events to report.
    """

    def __init__(
        self,
        place: Dispatching,
        reader: Link,
        audience: Audience,
        queues: Queues,
        owed: Callable[[set[int], set[int]], None],
    ) -> None:
        self._place = place
        self._reader = reader
        self._audience = audience
        self._queues = queues
        self._owed = owed
        self._outage = Outage("dispatch")
        self._begun: tuple[int, Position] | None = None

    async def run(self) -> None:
        """Dispatch until cancelled; then give the lease back."""
        try:
            while True:
                await self._turn()
                await asyncio.sleep(RENEW)
        finally:
            with contextlib.suppress(HubError, asyncio.CancelledError):
                await self._place.release()

    async def _turn(self) -> None:
        try:
            if await self._place.hold():
                await self._read_on()
        except (StoreUnavailable, LogFull) as exc:
            self._outage.began(exc.message)
        except StaleReader:
            logger().info("dispatch was overtaken", partition=self._place.partition)
        except Exception:
            logger().exception("dispatch failed", partition=self._place.partition)

    async def _read_on(self) -> None:
        """Read from the dispatched position until the lease is lost, or the log is no longer the one that was read."""
        epoch, position = await self._place.reached()
        if (epoch, position) != self._begun:  # the same again: it was held up there
            self._begun = (epoch, position)
            logger().info("dispatch begins", partition=self._place.partition, epoch=epoch, position=position)
        with metrics.DISPATCH_HELD.track_inprogress():
            await self._read_from(epoch, position)

    async def _read_from(self, epoch: int, position: Position) -> None:
        renewed = time.monotonic()
        while True:
            if time.monotonic() - renewed >= RENEW:
                if not await self._place.hold():
                    return
                renewed = time.monotonic()
                if (await self._place.reached(epoch, position, position))[0] != epoch:
                    return
                self._outage.ended()
            page = await self._place.read(self._reader, position)
            if not page:
                continue
            end = parse_id(page[-1][0])
            await self._dispatch(epoch, self._parse(page), end)
            if (await self._place.reached(epoch, position, end)) != (epoch, end):
                return
            position = end

    def _parse(self, page: list[Reply]) -> list[Entry]:
        entries: list[Entry] = []
        for raw in page:
            try:
                entries.append(parse_entry(self._place.partition, raw))
            except (LookupError, ValueError, TypeError, AttributeError):
                metrics.DISPATCH_PASSED.inc()
                logger().error(
                    "event passed", partition=self._place.partition, position=repr(raw[0]), error="unreadable"
                )
        return entries

    async def _dispatch(self, epoch: int, entries: list[Entry], end: Position) -> None:
        """Enqueue a batch; one that the store refuses is taken event by event: one poison event stops nobody."""
        try:
            await self._enqueue(epoch, entries, end)
            return
        except (HubError, StaleReader):
            raise
        except Exception:
            logger().exception("batch refused", partition=self._place.partition, events=len(entries))
        for entry in entries:
            await self._dispatch_one(epoch, entry)

    async def _dispatch_one(self, epoch: int, entry: Entry) -> None:
        for tries in range(1, TRIES + 1):
            try:
                await self._enqueue(epoch, [entry], entry.position)
                return
            except (HubError, StaleReader):
                raise
            except Exception as exc:
                if tries == TRIES:
                    metrics.DISPATCH_PASSED.inc()
                    logger().error("event passed", event_id=entry.id, app=entry.app, tries=tries, error=repr(exc))
            await asyncio.sleep(0.05 * tries)

    async def _enqueue(self, epoch: int, entries: Sequence[Entry], end: Position) -> None:
        started = time.perf_counter()
        await self._audience.refresh()  # after the events were read: whoever existed when they were answered is known
        plan: dict[int, list[Owed]] = {}
        done = 0
        turned = began = time.monotonic()
        for n, entry in enumerate(entries):
            now = time.monotonic()
            if now - began > CUT:  # costly filters: what comes before needn't wait for what comes behind, nor the lease
                await self._owe(epoch, entries[done:n], entries[n - 1].position, plan, started)
                await self._place.hold()
                plan, done, turned = {}, n, now
                started, began = time.perf_counter(), time.monotonic()
            elif now - turned > TURN:
                await asyncio.sleep(0)
                turned = time.monotonic()
            groups: dict[int, list[str]] = {}
            for endpoint_id in self._audience.match(entry):
                groups.setdefault(self._queues.partition_of(endpoint_id), []).append(endpoint_id)
            for partition, endpoints in groups.items():
                plan.setdefault(partition, []).append(Owed(entry, endpoints))
        await self._owe(epoch, entries[done:], end, plan, started)

    async def _owe(
        self, epoch: int, entries: Sequence[Entry], end: Position, plan: dict[int, list[Owed]], started: float
    ) -> None:
        """Enqueue what was matched, up to and with `end`."""
        if not plan:
            _count(entries, 0, started)
            return
        source = self._place.partition
        outcomes = await asyncio.gather(
            *(self._queues.enqueue(partition, source, epoch, end, owed) for partition, owed in plan.items()),
            return_exceptions=True,
        )
        done = [one for one in outcomes if not isinstance(one, BaseException)]
        told = {p for p, one in zip(plan, outcomes, strict=True) if not isinstance(one, BaseException) and one[1]}
        if done:
            self._owed(set(plan), told)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        _count(entries, sum(one[0] for one in done), started)


def _count(entries: Sequence[Entry], owed: int, started: float) -> None:
    metrics.DISPATCHED.inc(len(entries))
    metrics.DELIVERIES_OWED.inc(owed)
    metrics.DISPATCH_SECONDS.observe(time.perf_counter() - started)
