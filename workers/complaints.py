"""What goes wrong with an endpoint's filter, told as operational events: seldom enough not to flood its owner."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from hub.core.errors import HubError
from hub.store.connect import Link
from hub.store.log import Entry
from hub.store.outbox import FILTER_FAILED, Told, tell
from hub.store.queues import Queues
from hub.telemetry import logger

EVERY: Final = 60.0
"""Seconds between two complaints of one worker about one endpoint."""
_REMEMBERED: Final = 10_000
_WAITING: Final = 1000


class Complaints:
    """Tells them one by one; `reported` is called with each delivery partition whose outbox holds one."""

    def __init__(self, link: Link, queues: Queues, reported: Callable[[int], None]) -> None:
        self._link = link
        self._queues = queues
        self._reported = reported
        self._told: OrderedDict[str, float] = OrderedDict()
        self._waiting: asyncio.Queue[Told] = asyncio.Queue(_WAITING)

    def filter_failed(self, entry: Entry, endpoint_id: str, reason: str) -> None:
        """The filter couldn't be applied to an event. Of the hub's own events nothing is told: that would never end."""
        now = time.monotonic()
        if entry.type.startswith("hub.") or now - self._told.get(endpoint_id, -EVERY) < EVERY or self._waiting.full():
            return
        self._told[endpoint_id] = now
        self._told.move_to_end(endpoint_id)
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        logger().warning("filter failed", endpoint=endpoint_id, event_id=entry.id, error=reason)
        self._waiting.put_nowait(Told(FILTER_FAILED, entry.app, endpoint_id, entry.id, reason))

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            told = await self._waiting.get()
            partition = self._queues.partition_of(told.endpoint)
            try:
                await tell(self._link, partition, told)
            except HubError:
                continue  # the store is away, which others report; the next failure complains again
            self._reported(partition)
