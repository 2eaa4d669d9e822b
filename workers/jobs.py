"""Recoveries and replays: a worker takes a job that is due, goes on with it for a while, and lets go of it again."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec

from hub.core.errors import HubError, Invalid
from hub.core.expression import Expression, ExpressionFailed
from hub.core.matching import Matcher, Subscription
from hub.store.job_steps import PAUSE_MS, JobSteps, Matches, Outcome, Taken
from hub.store.log import Entry
from hub.store.queues import Queues
from hub.telemetry import logger
from workers.outage import Outage

PERIOD: Final = 1.0
"""Seconds between looks for jobs."""
TURN: Final = 2.0
"""Seconds that a worker goes on with one job until another has its turn."""


class JobRunner:
    """Does the jobs of all delivery partitions; `owed` is called with a partition that got work."""

    def __init__(self, steps: JobSteps, queues: Queues, owed: Callable[[int], None]) -> None:
        self._steps = steps
        self._queues = queues
        self._owed = owed

    async def run(self) -> None:
        """Work until cancelled."""
        outage = Outage("jobs")
        while True:
            pause = PERIOD
            try:
                for partition in await self._steps.waiting():
                    if await self._turn(partition):
                        pause = PAUSE_MS / 1000
                outage.ended()
            except HubError as exc:
                outage.began(exc.message)
            except Exception:
                logger().exception("jobs failed")
            await asyncio.sleep(pause)

    async def _turn(self, partition: int) -> bool:
        """Go on with a job of the partition; says whether there is more to do soon."""
        job = await self._steps.take(partition)
        if job is None:
            return False
        until = time.monotonic() + TURN
        while job is not None and time.monotonic() < until:
            outcome = await self._step(job)
            if outcome != "moved":
                self._owed(partition)
            if outcome != "ok":
                if outcome == "ended":
                    logger().info("job ended", endpoint=job.endpoint, kind=job.kind, number=job.number)
                return outcome == "full"
            job = await self._steps.read(partition, job.endpoint, job.number)
        if job is not None:
            await self._steps.release(job)
        return True

    async def _step(self, job: Taken) -> Outcome:
        try:
            if job.kind == "recover":
                return await self._steps.recover(job)
            return await self._steps.replay(job, await self._matches(job))
        except HubError:
            raise
        except Exception as exc:
            logger().exception("job step failed", endpoint=job.endpoint, kind=job.kind, number=job.number)
            return "ended" if await self._steps.failed(job, f"a step failed: {type(exc).__name__}") else "moved"

    async def _matches(self, job: Taken) -> Matches:
        """Whether an event is one of the endpoint's, by its filters as they are now, however old the event is."""
        found = await self._queues.config(job.partition, job.endpoint)
        if found is None:
            return lambda _: False  # deleted: the step says so
        config = found.config
        matcher = Matcher()
        matcher.put(Subscription(config.id, config.app, config.types, config.topics, {}))
        expression = None if config.filter is None else _expression(config.filter)

        def matches(entry: Entry) -> bool:
            if not matcher.match(entry.app, entry.topic, entry.type):
                return False
            return config.filter is None or (expression is not None and _passes(expression, entry))

        return matches


def _expression(text: str) -> Expression | None:
    try:
        return Expression(text, "filter")
    except Invalid:  # it was written under rules that took it
        return None


def _passes(expression: Expression, entry: Entry) -> bool:
    try:
        return expression.matches(msgspec.json.decode(entry.body))
    except ExpressionFailed:
        return False
