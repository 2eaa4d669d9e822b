"""What workers do beside deliveries: report operational events, trim attempts, and answer the doorbell."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

from hub import metrics
from hub.core.errors import HubError
from hub.store import attempts, keys
from hub.store.connect import Link
from hub.store.endpoints import ring
from hub.store.outbox import Outbox
from hub.telemetry import logger
from workers.outage import Outage

PERIOD: Final = 5.0
"""Seconds between looks at all outboxes and attempts, for what a worker that died left behind."""


class Upkeep:
    """Looks after the delivery partitions; `retention` is the attempts', in seconds."""

    def __init__(self, link: Link, outbox: Outbox, partitions: int, retention: int) -> None:
        self._link = link
        self._outbox = outbox
        self._partitions = partitions
        self._retention = retention
        self._reported: set[int] = set()
        self._wake = asyncio.Event()

    def report(self, partition: int) -> None:
        """There are operational events in this delivery partition's outbox."""
        self._reported.add(partition)
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        looked = 0.0
        outage = Outage("upkeep")
        while True:
            try:
                await self._move()
                if time.monotonic() - looked >= PERIOD:
                    looked = time.monotonic()
                    await self._look()
                    continue
                outage.ended()
            except HubError as exc:
                outage.began(exc.message)
                await asyncio.sleep(1)
            except Exception:
                logger().exception("upkeep failed")
                await asyncio.sleep(1)
            self._wake.clear()
            try:
                async with asyncio.timeout(PERIOD):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _move(self) -> None:
        for partition in tuple(self._reported):
            metrics.OUTBOX_MOVED.inc(await self._outbox.move(partition))
            self._reported.discard(partition)

    async def _look(self) -> None:
        lengths = await self._link.pipeline([("XLEN", keys.outbox(p)) for p in range(self._partitions)])
        self._reported.update(p for p, length in enumerate(lengths) if length)
        oldest = (time.time_ns() // 1_000_000) - self._retention * 1000
        for partition in range(self._partitions):
            await attempts.trim(self._link, partition, oldest)


class Doorbell:
    """Wakes this worker when another process has work for it, and others when this one has too much."""

    def __init__(self, link: Link, listener: Link, partitions: int, wake: Callable[[Iterable[int]], None]) -> None:
        self._link = link
        self._listener = listener
        self._bells = {keys.doorbell(p): p for p in range(partitions)}
        self._wake = wake
        self._ringing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                heard = await self._listener.call("BLPOP", *self._bells, 1, timeout=2.5)
                if heard:
                    self._wake([self._bells[heard[0].decode()]])
            except HubError:
                await asyncio.sleep(0.5)  # whoever claims reports that the store is away

    def ring(self, partitions: set[int]) -> None:
        """Wake others, unless the last ring is still under way."""
        if self._ringing is None or self._ringing.done():
            self._ringing = asyncio.ensure_future(self._ring(partitions))

    async def _ring(self, partitions: set[int]) -> None:
        try:
            for partition in partitions:
                await ring(self._link, partition)
        except HubError:
            return
        await asyncio.sleep(0.05)  # the bell is not rung in a hurry either
