"""A worker process: it owns the links and the tasks, and ends them in order."""

import asyncio
import contextlib
import secrets
import signal
from collections.abc import Callable
from typing import Final

from hub import VERSION
from hub.group import Group
from hub.settings import Settings
from hub.store import embedded
from hub.store.audience import Audience
from hub.store.census import Census
from hub.store.connect import Link
from hub.store.dispatching import Dispatching
from hub.store.handshakes import Handshakes
from hub.store.janitor import Janitor
from hub.store.job_steps import JobSteps
from hub.store.log import Log
from hub.store.outbox import Outbox
from hub.store.queues import Queues
from hub.store.requirements import require_store, store_patience
from hub.store.traffic import Counter
from hub.telemetry import logger
from workers.complaints import Complaints
from workers.deliver import Deliverer
from workers.dispatch import Dispatcher
from workers.handshakes import Asking
from workers.jobs import JobRunner
from workers.sender import Sender
from workers.status import status
from workers.upkeep import Doorbell, Upkeep

ANSWER_WITHIN: Final = 5.0
"""Seconds that the store has for an answer: nobody waits for a worker, so a store under load isn't given up at once."""


async def run(settings: Settings, concurrency: int, group: Group) -> None:
    """Work until SIGTERM or SIGINT; then finish what is in flight. Raises StoreUnavailable, SettingsError."""
    url = settings.redis_url or embedded.url(settings.data_dir)
    async with contextlib.AsyncExitStack() as stack:
        link = Link(url, timeout=ANSWER_WITHIN)
        stack.push_async_callback(link.close)
        await link.open()
        async for attempt in store_patience():
            with attempt:
                await require_store(link, settings)
        await group.open()
        stack.push_async_callback(group.close)
        await stack.enter_async_context(status(settings, group, link))
        await Worker(settings, concurrency, url, link).run(stack)


class Worker:
    """Dispatchers for every log partition, one deliverer, and the upkeep."""

    def __init__(self, settings: Settings, concurrency: int, url: str, link: Link) -> None:
        self._settings = settings
        self._concurrency = concurrency
        self._url = url
        self._link = link
        self._token = secrets.token_hex(6)
        self._counter = Counter(link)
        # Operational events need no durability wait, which would hold up claims on this link: the outbox lets go of one
        # only after it was appended, so a store that loses the append still has it there.
        self._log = Log(link, partitions=settings.partitions, retention=settings.retention, counter=self._counter)
        self._queues = Queues(link, partitions=settings.delivery_partitions, retention=settings.attempt_retention)

    async def run(self, stack: contextlib.AsyncExitStack) -> None:
        partitions = self._settings.delivery_partitions
        upkeep = Upkeep(self._link, Outbox(self._link, self._log), partitions, self._settings.attempt_retention)
        sender = Sender(
            f"Hub/{VERSION}", allowed=self._settings.webhook_allow_networks, proxy=self._settings.webhook_proxy
        )
        stack.push_async_callback(sender.close)
        deliverer = Deliverer(
            self._queues,
            sender,
            self._settings,
            concurrency=self._concurrency,
            nonce=self._token,
            reported=upkeep.report,
            counter=self._counter,
            saturated=lambda crowded: doorbell.ring(crowded),
        )
        doorbell = Doorbell(self._link, await self._open(stack), partitions, deliverer.wake)

        def owed(enqueued: set[int], told: set[int]) -> None:
            deliverer.wake(enqueued)
            for partition in told:
                upkeep.report(partition)

        complaints = Complaints(self._link, self._queues, upkeep.report)
        audience = Audience(self._link, complaints.filter_failed)
        dispatchers = [
            Dispatcher(Dispatching(self._link, p, self._token), await self._open(stack), audience, self._queues, owed)
            for p in range(self._settings.partitions)
        ]
        janitor = Janitor(self._link, self._settings)
        steps = JobSteps(self._link, self._log, partitions=partitions, retention=self._settings.attempt_retention)
        jobs = JobRunner(steps, self._queues, lambda partition: deliverer.wake([partition]))
        census = Census(self._link, partitions)
        handshakes = Handshakes(self._link, partitions, self._settings.webhook_timeout)
        asking = Asking(handshakes, sender, self._settings, upkeep.report)
        sources = [asyncio.create_task(task.run()) for task in (*dispatchers, doorbell)]
        background = [
            asyncio.create_task(task.run())
            for task in (upkeep, janitor, complaints, jobs, census, asking, self._counter)
        ]

        def stop() -> None:
            deliverer.stop()
            for task in sources:  # others take the leases and the bells over at once
                task.cancel()

        _on_signals(stop)
        logger().info("worker started", concurrency=self._concurrency)
        try:
            await deliverer.run()
        finally:
            for task in (*sources, *background):
                task.cancel()
            await asyncio.gather(*sources, *background, return_exceptions=True)
            await self._counter.flush()
        logger().info("worker stopped")

    async def _open(self, stack: contextlib.AsyncExitStack) -> Link:
        """A link of its own, for commands that block."""
        link = Link(self._url, timeout=ANSWER_WITHIN)
        stack.push_async_callback(link.close)
        await link.open()
        return link


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
