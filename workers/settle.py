"""Settle: record how attempts ended, those of one partition together, also when the store is away for a moment."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, NamedTuple, TypeVar

from hub import metrics
from hub.core.errors import StoreUnavailable
from hub.store.queues import SETTLE_BUDGET_MS, Queues, Settlement
from hub.telemetry import logger

T = TypeVar("T")

MOST_PER_SETTLE: Final = 100
BUDGET: Final = SETTLE_BUDGET_MS / 1000
_ENDS: Final = {"ok": "succeeded", "exhausted": "exhausted", "gone": "cancelled"}


class Owner(NamedTuple):
    """An endpoint with its delivery partition."""

    partition: int
    endpoint: str


class Settler:
    """Collects what ended per delivery partition while the settlement before is under way.

    `start` runs a coroutine; `ended` is called with the number of settlements that were recorded, or given up;
    `reported` with a delivery partition that has operational events.
    """

    def __init__(
        self,
        queues: Queues,
        *,
        start: Callable[[Coroutine[Any, Any, None]], None],
        ended: Callable[[Owner, int], None],
        reported: Callable[[int], None],
    ) -> None:
        self._queues = queues
        self._start = start
        self._ended = ended
        self._reported = reported
        self._waiting: dict[int, list[tuple[Owner, Settlement]]] = {}
        self._busy: set[int] = set()

    def add(self, owner: Owner, settlement: Settlement) -> None:
        self._waiting.setdefault(owner.partition, []).append((owner, settlement))
        if owner.partition not in self._busy:
            self._busy.add(owner.partition)
            self._start(self._flush(owner.partition))

    async def _flush(self, partition: int) -> None:
        try:
            while waiting := self._waiting.pop(partition, None):
                for n in range(0, len(waiting), MOST_PER_SETTLE):
                    groups: dict[Owner, list[Settlement]] = {}
                    for owner, settlement in waiting[n : n + MOST_PER_SETTLE]:
                        groups.setdefault(owner, []).append(settlement)
                    await self._record(partition, groups)
        finally:
            self._busy.discard(partition)

    async def _record(self, partition: int, groups: dict[Owner, list[Settlement]]) -> None:
        ended = [(owner.endpoint, settlements) for owner, settlements in groups.items()]
        try:
            results, reported = await insist(lambda: self._queues.settle(partition, ended))
        except Exception as exc:
            results, reported = [exc] * len(ended), 0
        for (owner, settlements), held in zip(groups.items(), results, strict=True):
            _count(owner, settlements, held)
            self._ended(owner, len(settlements))
        if reported:
            self._reported(partition)


def _count(owner: Owner, settlements: list[Settlement], held: list[bool] | Exception) -> None:
    if isinstance(held, Exception):  # the leases run out, and what they held is sent again
        logger().error("attempts not recorded", endpoint=owner.endpoint, count=len(settlements), error=repr(held))
        metrics.UNRECORDED.inc(len(settlements))
        return
    for settlement, still in zip(settlements, held, strict=True):
        if not still:
            metrics.LEASES_LOST.inc()
            logger().warning("lease was lost", endpoint=owner.endpoint, ref=settlement.ref)
        elif (status := _ENDS.get(settlement.verdict)) is not None:
            metrics.DELIVERIES_ENDED.labels(status).inc()


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call while the store is away, for the settle budget at most."""
    until = time.monotonic() + BUDGET
    while True:
        try:
            return await call()
        except StoreUnavailable:
            if time.monotonic() >= until:
                raise
            await asyncio.sleep(0.1)
