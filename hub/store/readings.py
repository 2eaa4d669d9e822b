"""What a scrape reads of the store: a few commands, whatever it holds, and within a bounded time."""

import asyncio
from typing import Final

from hub import metrics
from hub.core.errors import HubError
from hub.settings import Settings
from hub.store import census, keys
from hub.store.connect import Link
from hub.store.requirements import parse_info
from hub.store.scripts import script
from hub.store.wire import Reply, StoreError

WITHIN: Final = 0.5
"""Seconds that the store has; a scrape goes on without it."""


class Readings:
    """Sets the metrics of SHARED. Scrapes at the same time share one reading."""

    def __init__(self, link: Link, settings: Settings) -> None:
        self._link = link
        self._partitions = settings.partitions
        self._delivery_partitions = settings.delivery_partitions
        self._reading: asyncio.Task[bool] | None = None

    async def take(self) -> bool:
        """Whether the store answered in time; without an answer, what was set before is out of date."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._take(), name="readings")
        return await asyncio.shield(self._reading)

    async def _take(self) -> bool:
        try:
            async with asyncio.timeout(WITHIN):
                await self._read()
        except (HubError, StoreError, TimeoutError):
            metrics.STORE_UP.set(0)
            return False
        metrics.STORE_UP.set(1)
        return True

    async def _read(self) -> None:
        endpoints, info, counted, time, *outboxes = await self._link.pipeline(
            [
                ("HLEN", keys.ENDPOINTS),
                ("INFO", "memory"),
                ("HMGET", keys.CENSUS, "", "@at"),
                ("TIME",),
                *(("XLEN", keys.outbox(p)) for p in range(self._delivery_partitions)),
            ]
        )
        readings = await asyncio.gather(
            *(
                self._link.run(
                    script("reading"), [keys.log(p), keys.meta(p), keys.dispatch_lease(p)], ["0" if endpoints else "1"]
                )
                for p in range(self._partitions)
            )
        )
        for partition, reading in enumerate(readings):
            _set_log(str(partition), reading)
        memory = parse_info(info)
        metrics.STORE_MEMORY_BYTES.set(int(memory["used_memory"]))
        metrics.STORE_MEMORY_LIMIT_BYTES.set(int(memory.get("maxmemory", "0")))
        metrics.OUTBOX_EVENTS.set(sum(outboxes))
        _set_census(*census.parse(counted), int(time[0]) * 1000 + int(time[1]) // 1000)


def _set_log(partition: str, reading: Reply) -> None:
    events, size, full, oldest, lag, leased = reading
    metrics.LOG_EVENTS.labels(partition).set(events)
    metrics.LOG_BYTES.labels(partition).set(size)
    metrics.LOG_FULL.labels(partition).set(full)
    metrics.LOG_OLDEST_SECONDS.labels(partition).set(oldest / 1000)
    metrics.DISPATCH_LAG_SECONDS.labels(partition).set(lag / 1000)
    metrics.DISPATCH_LEASED.labels(partition).set(leased)


def _set_census(count: census.Count, at: int, now: int) -> None:
    for state in ("fresh", "retries", "waiting", "leased"):
        metrics.QUEUE_DELIVERIES.labels(state).set(getattr(count, state))
    for gauge, known, numbers in (
        (metrics.ENDPOINTS, ("enabled", "manual", "failing", "backlog", "gone"), count.endpoints),
        (metrics.BREAKERS, ("closed", "open", "half-open"), count.breakers),
    ):
        for state in {*known, *numbers}:
            gauge.labels(state).set(numbers.get(state, 0))
    metrics.QUEUE_OLDEST_SECONDS.set(max(0, now - count.oldest) / 1000 if count.oldest else 0)
    metrics.QUEUE_OVERDUE_SECONDS.set(max(0, now - count.due) / 1000 if count.due else 0)
    metrics.CENSUS_AGE_SECONDS.set((now - at) / 1000 if at else float("nan"))
