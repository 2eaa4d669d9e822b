"""Handshakes: a worker asks the targets that have to agree, and goes on asking on the endpoint's schedule."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

from hub import metrics
from hub.core.errors import HubError
from hub.core.handshake import Granted, Refused, judge, origin_of, question
from hub.core.retry import next_delay, retry_after
from hub.settings import Settings
from hub.store.handshakes import Ask, Handshakes
from hub.telemetry import logger
from workers.outage import Outage
from workers.sender import Answer, Sender

PERIOD: Final = 0.5
"""Seconds between looks for somebody to ask."""
AT_ONCE: Final = 50
"""Targets that one worker asks at once: one that hangs holds up nobody else."""
CALLBACK: Final = "/v1/handshakes/"


class Asking:
    """Asks for all delivery partitions; `reported` is called with one that has operational events."""

    def __init__(
        self, handshakes: Handshakes, sender: Sender, settings: Settings, reported: Callable[[int], None]
    ) -> None:
        self._handshakes = handshakes
        self._sender = sender
        self._settings = settings
        self._reported = reported
        self._room = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Work until cancelled. What was being asked then is asked again by another worker."""
        outage = Outage("handshakes")
        try:
            while True:
                try:
                    await self._look()
                    outage.ended()
                except HubError as exc:
                    outage.began(exc.message)
                except Exception:
                    logger().exception("handshakes failed")
                await asyncio.sleep(PERIOD)
        finally:
            for task in self._tasks:
                task.cancel()

    async def _look(self) -> None:
        for partition in await self._handshakes.waiting():
            while True:
                await self._room.acquire()
                ask = None
                try:
                    ask = await self._handshakes.take(partition)
                finally:
                    if ask is None:
                        self._room.release()
                if ask is None:
                    break
                task = asyncio.create_task(self._one(ask))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _one(self, ask: Ask) -> None:
        try:
            await self._ask(ask)
        except HubError:
            return  # the store is away, which others report; the question is put again
        except Exception:
            logger().exception("handshake failed", endpoint=ask.config.id)
        finally:
            self._room.release()

    async def _ask(self, ask: Ask) -> None:
        config, public = ask.config, self._settings.public_url
        origin = origin_of(public or "")
        if public is None:
            answer, verdict = Answer(0), Refused("the workers have no HUB_PUBLIC_URL, so there is no origin to name")
        else:
            headers = {
                **config.headers,
                **question(origin, config.rate_limit, f"{public}{CALLBACK}{config.id}/{ask.nonce}"),
            }
            answer = await self._sender.send(config.url, headers, b"", ask.timeout, method="OPTIONS")
            verdict = judge(origin, answer.status, answer.error, answer.headers)
        reason = None
        if isinstance(verdict, Granted):
            held = await self._handshakes.granted(ask, origin, verdict)
        else:
            reason = verdict.reason
            held = await self._handshakes.refused(ask, verdict, self._again(ask, answer))
        result = "granted" if reason is None else "refused"
        metrics.HANDSHAKES.labels(result if held else "void").inc()
        logger().info(
            "handshake", endpoint=config.id, result=result, reason=reason, status=answer.status,
            duration_ms=answer.duration_ms, tries=ask.tries + 1, held=held,
        )  # fmt: skip
        if held:
            self._reported(ask.partition)

    def _again(self, ask: Ask, answer: Answer) -> float | None:
        """In how many seconds to ask again, None for never."""
        schedule = self._settings.retry_schedule if ask.config.retry is None else ask.config.retry
        wait = retry_after(answer.headers.get("retry-after"), time.time()) if answer.status in (429, 503) else 0
        return next_delay(schedule, ask.tries + 1, random.random(), wait)
