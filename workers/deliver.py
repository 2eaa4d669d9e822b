"""Deliver: claim what is due, send it, and settle how it ended."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from opentelemetry.trace import SpanKind

from hub import metrics, tracing
from hub.core import breaker
from hub.core.errors import LogFull, StoreUnavailable
from hub.settings import Settings
from hub.store.queues import HOLD_MS, Claimed, Lease, Queues, Settlement, Want
from hub.store.traffic import Counter
from hub.store.wire import StoreError
from hub.telemetry import logger
from workers.attempt import count, recorded, report
from workers.outage import Outage
from workers.sender import Answer, Sender
from workers.settle import BUDGET, Owner, Settler, insist
from workers.slots import Slots
from workers.targets import Target, Targets
from workers.verdict import after_answer, before_sending

TICK: Final = 0.4
"""Seconds between looks at every partition; the store takes more than a second without one for an outage."""
MOST_PER_CLAIM: Final = 100
AT_ONCE: Final = 8
"""Attempts of one claim that begin in one turn of the loop: nobody else's answer waits behind a hundred of them. One
with a transform, which takes its time, begins alone."""
PROMPT: Final = 0.25
"""Seconds after its claim in which a delivery of an endpoint with a rate limit is sent, or else given back."""


class Deliverer:
    """Keeps up to `concurrency` attempts in flight. A slot is taken by a claim and freed when its end is recorded.

    `reported` is called with a delivery partition that has operational events; `saturated` with those that have work
    for which there is no slot here.
    """

    def __init__(
        self,
        queues: Queues,
        sender: Sender,
        settings: Settings,
        *,
        concurrency: int,
        nonce: str,
        counter: Counter,
        reported: Callable[[int], None],
        saturated: Callable[[set[int]], None],
    ) -> None:
        self._queues = queues
        self._sender = sender
        self._targets = Targets(queues, settings)
        self._default_timeout_ms = round(settings.webhook_timeout * 1000)
        self._nonce = nonce
        self._counter = counter
        self._saturated = saturated
        self._per_endpoint = settings.metrics_per_endpoint
        self._slots = Slots(concurrency)
        metrics.SLOTS.set(concurrency)
        metrics.ATTEMPTS_IN_FLIGHT.set_function(lambda: concurrency - self._slots.free)
        self._wanted: set[int] = set()
        self._due: dict[int, float] = {}
        self._ticked = 0.0
        self._wake = asyncio.Event()
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._settler = Settler(queues, start=self._start, ended=self._release, reported=reported)

    # -- the loop ----------------------------------------------------------------------------------------------------

    def wake(self, partitions: Iterable[int]) -> None:
        """There may be work in these delivery partitions."""
        self._wanted.update(partitions)
        self._wake.set()

    def stop(self) -> None:
        """Claim nothing more; `run` returns when all that is in flight has ended and is recorded."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        outage = Outage("claiming")
        while not self._stopping:
            await self._until_work()
            try:
                await self._pass(self._turn())
                outage.ended()
            except (StoreUnavailable, LogFull) as exc:
                outage.began(exc.message)
                await asyncio.sleep(TICK / 2)
            except Exception:
                logger().exception("claiming failed")
                await asyncio.sleep(TICK)
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _until_work(self) -> None:
        now = time.monotonic()
        until = self._ticked + TICK
        if self._slots.free and self._due:
            until = min(until, *self._due.values())
        if not (self._wanted and self._slots.free) and until > now and not self._stopping:
            self._wake.clear()
            try:
                async with asyncio.timeout(until - now):
                    await self._wake.wait()
            except TimeoutError:
                return

    def _turn(self) -> list[int]:
        """The partitions to look at now: all of them at a tick, otherwise those that were named or are due."""
        now = time.monotonic()
        if now - self._ticked >= TICK:
            self._ticked = now
            turn = list(range(self._queues.partitions))
        elif self._slots.free:
            turn = list(self._wanted | {partition for partition, due in self._due.items() if due <= now})
        else:
            return []
        if self._slots.free:
            self._wanted.clear()
        elif self._wanted:
            self._saturated(set(self._wanted))
        return turn

    async def _pass(self, partitions: list[int]) -> None:
        """Reserve endpoints and claim from them as far as there are slots."""
        if not partitions:
            return
        most = -(-self._slots.free // len(partitions))
        replies = await asyncio.gather(*(self._queues.reserve(partition, most) for partition in partitions))
        now = time.monotonic()
        owners: list[Owner] = []
        for partition, reply in zip(partitions, replies, strict=True):
            self._due.pop(partition, None)
            if reply.next_ms is not None:
                self._due[partition] = now + reply.next_ms / 1000
            owners += [Owner(partition, endpoint) for endpoint in reply.endpoints]
        if not owners:
            return
        share = max(1, min(MOST_PER_CLAIM, self._slots.free // len(owners)))
        # Claims of none put the endpoints back for which no slot is left; slow ones that have to wait although some are
        # free are put back for later, or this would turn in a circle.
        wanted: dict[int, list[Want]] = {}
        for owner, slots in zip(owners, self._slots.take(owners, share, now), strict=True):
            want = Want(owner.endpoint, 0, HOLD_MS) if slots is None else Want(owner.endpoint, slots)
            wanted.setdefault(owner.partition, []).append(want)
            if slots is not None:
                self._wanted.add(owner.partition)
        await asyncio.gather(*(self._claim(partition, wants) for partition, wants in wanted.items()))
        if not self._slots.free:
            self._saturated(set(self._wanted))

    async def _claim(self, partition: int, wanted: list[Want]) -> None:
        replies: list[Claimed | StoreError | None] = [None] * len(wanted)
        began = time.monotonic()
        try:
            replies = await self._queues.claim(partition, wanted, self._default_timeout_ms, self._nonce)
        finally:
            for want, reply in zip(wanted, replies, strict=True):
                used = len(reply.entries) if isinstance(reply, Claimed) and not reply.purge else 0
                self._slots.give(Owner(partition, want.endpoint), want.most - used)
        claims: list[tuple[Owner, Claimed]] = []
        for want, reply in zip(wanted, replies, strict=True):
            owner = Owner(partition, want.endpoint)
            if isinstance(reply, StoreError):
                logger().error("claiming failed", endpoint=want.endpoint, error=str(reply))
            elif reply is None or not reply.entries:
                continue
            elif reply.purge:
                self._start(self._purge(owner, reply))
            else:
                claims.append((owner, reply))
        if claims:
            self._start(self._begin(partition, claims, began))

    # -- what was claimed --------------------------------------------------------------------------------------------

    async def _purge(self, owner: Owner, claimed: Claimed) -> None:
        cancelled = await self._queues.purge(*owner, claimed.entries)
        logger().info("deliveries cancelled", endpoint=owner.endpoint, count=cancelled)
        self.wake([owner.partition])

    async def _begin(self, partition: int, claims: list[tuple[Owner, Claimed]], began: float) -> None:
        """Start the attempts of what was claimed. Leases that can't be read run out and are claimed again."""
        wanted = [(owner.endpoint, claimed.entries) for owner, claimed in claims]
        try:
            loaded, targets = await asyncio.gather(
                insist(lambda: self._queues.load(partition, wanted)),
                insist(lambda: self._targets.get(partition, [(one.endpoint, claim.version) for one, claim in claims])),
            )
        except Exception:
            for owner, claimed in claims:
                self._release(owner, len(claimed.entries))
            raise
        begun = 0
        for (owner, claimed), leases, target in zip(claims, loaded, targets, strict=True):
            # What can't be sent soon enough after the claim began is given back: the rate limit counts claims, and a
            # lease must outlast its attempt.
            latest = began + (PROMPT if claimed.limited else BUDGET)
            for lease in leases:
                self._begin_one(owner, target, lease, latest)
                begun += AT_ONCE if target is not None and target.transform is not None else 1
                if begun >= AT_ONCE:
                    begun = 0
                    await asyncio.sleep(0)

    def _begin_one(self, owner: Owner, target: Target | None, lease: Lease, latest: float) -> None:
        if target is None:  # deleted: a retry of nothing is cancelled by the settlement
            self._settler.add(owner, Settlement(lease.token, lease.ref, "retry"))
        elif not target.agreed:  # it became another one after the claim
            self._settler.add(owner, Settlement(lease.token, lease.ref, "back"))
        elif (decision := before_sending(lease, target.schedule)) is not None:
            self._settler.add(owner, Settlement(lease.token, lease.ref, decision.verdict))
        else:
            tries = lease.attempt - (lease.standing.base if lease.standing else 0)
            self._start(self._attempt(owner, target, lease, lease.body or b"", tries, latest))

    async def _attempt(
        self, owner: Owner, target: Target, lease: Lease, body: bytes, tries: int, latest: float
    ) -> None:
        """Send once, not after `latest`. `tries` counts attempts in this run of the schedule."""
        if time.monotonic() > latest:
            self._settler.add(owner, Settlement(lease.token, lease.ref, "back"))
            return
        began = time.time()
        prepared = target.prepared(lease.event, int(began), body)
        if isinstance(prepared, Answer):
            answer = prepared
        else:
            answer = await self._send(owner, target, lease, *prepared)
        self._slots.answered(owner, answer.duration_ms / 1000, time.monotonic())
        decision = after_answer(answer, tries, target.schedule, chance=random.random(), now=time.time())
        report(owner, lease, answer, decision)
        count(owner, lease, began, answer, decision.verdict, self._per_endpoint)
        ends = {"succeeded": decision.verdict == "ok", "exhausted": decision.verdict == "exhausted"}
        self._counter.count(target.app, attempts=1, **ends)
        made, says = recorded(lease, began, answer), breaker.says(answer.status, answer.error)
        due_in_ms = round(decision.delay * 1000)
        ended = Settlement(lease.token, lease.ref, decision.verdict, due_in_ms, made, says, target.version)
        self._settler.add(owner, ended)

    async def _send(self, owner: Owner, target: Target, lease: Lease, headers: dict[str, str], body: bytes) -> Answer:
        """One try, as a span of the event's trace, whose context the partner gets."""
        parent, kind = lease.origin.traceparent, SpanKind.CLIENT
        with tracing.span(
            "attempt", parent, kind, event=lease.event, endpoint=owner.endpoint, attempt=lease.attempt
        ) as at:
            if at is not None:
                headers["traceparent"] = at
            answer = await self._sender.send(target.url, headers, body, target.timeout)
            tracing.note(answer.error, status=answer.status)
        return answer

    def _release(self, owner: Owner, slots: int) -> None:
        self._slots.give(owner, slots)
        self.wake([owner.partition])

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:
        logger().exception("delivery failed")
