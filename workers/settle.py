"""Settle: record how attempts ended, those of one endpoint together, also when the store is away for a moment."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, NamedTuple, TypeVar

from hub import metrics
from hub.core.errors import StoreUnavailable
from hub.store.queues import SETTLE_BUDGET_MS, Queues, Settlement
from hub.telemetry import logger

T = TypeVar("T")

MOST_PER_SETTLE: Final = 50
BUDGET: Final = SETTLE_BUDGET_MS / 1000
_ENDS: Final = {"ok": "succeeded", "exhausted": "exhausted", "gone": "cancelled"}


class Owner(NamedTuple):
    """An endpoint with its delivery partition."""

    partition: int
    endpoint: str


class Settler:
    """Collects what ended per endpoint while the settlement before is under way.

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
        self._waiting: dict[Owner, list[Settlement]] = {}
        self._busy: set[Owner] = set()

    def add(self, owner: Owner, settlement: Settlement) -> None:
        self._waiting.setdefault(owner, []).append(settlement)
        if owner not in self._busy:
            self._busy.add(owner)
            self._start(self._flush(owner))

    async def _flush(self, owner: Owner) -> None:
        try:
            while waiting := self._waiting.pop(owner, None):
                for n in range(0, len(waiting), MOST_PER_SETTLE):
                    await self._record(owner, waiting[n : n + MOST_PER_SETTLE])
        finally:
            self._busy.discard(owner)

    async def _record(self, owner: Owner, settlements: list[Settlement]) -> None:
        try:
            held, reported = await insist(lambda: self._queues.settle(*owner, settlements))
        except Exception as exc:  # the leases run out, and what they held is sent again
            logger().error("attempts not recorded", endpoint=owner.endpoint, count=len(settlements), error=repr(exc))
            metrics.UNRECORDED.inc(len(settlements))
            held, reported = [], 0
        for settlement, still in zip(settlements, held, strict=False):
            if still and (status := _ENDS.get(settlement.verdict)) is not None:
                metrics.DELIVERIES_ENDED.labels(status).inc()
            if not still:
                metrics.LEASES_LOST.inc()
                logger().warning("lease was lost", endpoint=owner.endpoint, ref=settlement.ref)
        if reported:
            self._reported(owner.partition)
        self._ended(owner, len(settlements))


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
