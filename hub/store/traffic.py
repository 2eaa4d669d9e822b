"""What passes through an app, counted: events appended, and webhook attempts with what they came to.

Each process counts in memory and adds that to the store every few seconds, so that counting costs an event nothing. A
process that is killed takes what it counted since then with it: these are figures, not an account.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from hub.core import tally
from hub.core.errors import HubError
from hub.store import keys
from hub.store.connect import Link
from hub.store.scripts import script
from hub.store.wire import StoreError
from hub.telemetry import logger

PERIOD: Final = 2.0
"""Seconds between two additions."""
_AT_ONCE: Final = 100
SIZE: Final = 5
"""Numbers of a bucket: which one it is, and the counts."""


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """Events appended; webhook attempts made; deliveries that ended `succeeded` or `exhausted`.

    `success_rate` is the share of the attempts that succeeded; None without any.
    """

    events: int
    attempts: int
    succeeded: int
    exhausted: int
    success_rate: float | None


class Rate(msgspec.Struct, frozen=True):
    """Per second, on average over the last 5 to 10 minutes."""

    events: float
    attempts: float


class Counter:
    """One process's counts, on their way to the store."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._counts: dict[str, list[int]] = {}

    def count(self, app: str, *, events: int = 0, attempts: int = 0, succeeded: int = 0, exhausted: int = 0) -> None:
        held = self._counts.get(app)
        if held is None:
            held = self._counts[app] = [0] * (SIZE - 1)
        held[0] += events
        held[1] += attempts
        held[2] += succeeded
        held[3] += exhausted

    async def run(self) -> None:
        """Add to the store, for ever."""
        while True:
            await asyncio.sleep(PERIOD)
            await self.flush()

    async def flush(self) -> None:
        """Add what was counted since the last time. What the store doesn't take is added the next time."""
        counts, self._counts = list(self._counts.items()), {}
        for n in range(0, len(counts), _AT_ONCE):
            await asyncio.gather(*(self._add(app, numbers) for app, numbers in counts[n : n + _AT_ONCE]))

    async def _add(self, app: str, numbers: list[int]) -> None:
        try:
            await self._link.run(script("traffic"), [keys.traffic(app)], [*numbers])
        except (HubError, StoreError) as exc:
            logger().debug("traffic_waits", reason=str(exc))
            events, attempts, succeeded, exhausted = numbers
            self.count(app, events=events, attempts=attempts, succeeded=succeeded, exhausted=exhausted)


def parse(reply: Sequence[bytes], now_ms: int) -> tuple[dict[str, Traffic], Rate]:
    """The traffic by window, `total` first, and the rate, of what HGETALL says of `keys.traffic`."""
    held = dict(zip(reply[::2], reply[1::2], strict=True))
    totals = [int(held.pop(b"total%d" % n, 0)) for n in range(1, SIZE)]
    buckets = [one for one in (tally.bucket(*item) for item in held.items()) if len(one[1]) == SIZE]
    found = {"total": [0, *totals], **tally.sums(buckets, now_ms, SIZE)}
    first = now_ms // tally.SLOT - 1
    recent = [one for ring, one in buckets if ring in ("now", "m") and one[0] >= first]
    seconds = (now_ms - first * tally.SLOT) / 1000
    rate = Rate(*(round(sum(one[n] for one in recent) / seconds, 2) for n in (1, 2)))
    return {name: _traffic(numbers) for name, numbers in found.items()}, rate


def _traffic(numbers: Sequence[int]) -> Traffic:
    _, events, attempts, succeeded, exhausted = numbers
    rate = round(succeeded / attempts, 4) if attempts else None
    return Traffic(events=events, attempts=attempts, succeeded=succeeded, exhausted=exhausted, success_rate=rate)
