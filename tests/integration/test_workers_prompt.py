"""A deliverer between claim and sending: held up, it sends in time or gives back; and it lets others go between."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import pytest

from hub.core.endpoint import EndpointPatch, RateLimit
from hub.store import keys
from hub.store.connect import Link
from hub.store.delivery_scan import Filter
from hub.store.paging import Window
from hub.store.queues import Known, Lease, Queues
from hub.store.traffic import Counter
from tests.support.receiver import Receiver
from tests.support.waiting import eventually
from tests.support.webhook_site import ended
from tests.support.webhooks import APP, Ground
from workers.deliver import AT_ONCE, PROMPT, Deliverer
from workers.sender import Answer, Sender
from workers.settle import BUDGET

LOCAL = (ip_network("127.0.0.0/8"),)


class HeldUp(Queues):
    """The store's queues, whose first answers about a claim take their time."""

    delays: list[float]

    async def load(self, partition: int, claims: Sequence[tuple[str, Sequence[str]]]) -> list[list[Lease]]:
        found = await super().load(partition, claims)
        if self.delays:
            await asyncio.sleep(self.delays.pop(0))
        return found


@pytest.mark.parametrize(("limit", "delayed"), [(RateLimit(2, period=3600), 2), (None, 1)])
async def test_only_what_a_rate_limit_counts_has_to_be_sent_promptly(
    link: Link, limit: RateLimit | None, delayed: int
) -> None:
    ground = Ground(link)
    queues = HeldUp(link, partitions=4, retention=3600)
    queues.delays = [PROMPT + 0.05] * 2
    async with Receiver() as receiver, _delivering(ground, queues):
        ep = await ground.endpoint(url=receiver.url(), rate_limit=limit)
        await ground.owe(ep, await ground.append(1))
        done = await ended(ground, ep, "succeeded")
        assert [one.number for one in done.attempts] == [1]  # what was given back is no attempt
        assert len(receiver.got) == 1
        assert 2 - len(queues.delays) == delayed
        counted = await link.call("ZCARD", keys.claims(ground.queues.partition_of(ep), ep))
        assert counted == (0 if limit is None else 1)


class Waiting(Queues):
    """The store's queues, from which nobody learns of an endpoint before `told` is set."""

    told: asyncio.Event

    async def config(self, partition: int, endpoint_id: str) -> Known | None:
        await self.told.wait()
        return await super().config(partition, endpoint_id)


@pytest.mark.parametrize(("change", "status"), [("agree", "pending"), ("delete", "cancelled")])
async def test_what_was_claimed_before_its_endpoint_may_get_nothing_any_more_is_not_sent(
    link: Link, change: str, status: str
) -> None:
    ground = Ground(link, HUB_PUBLIC_URL="https://hub.example")
    queues = Waiting(link, partitions=4, retention=3600)
    queues.told = asyncio.Event()
    async with Receiver() as receiver, _delivering(ground, queues):
        ep = await ground.endpoint(url=receiver.url())
        await ground.owe(ep, await ground.append(1))
        leases = keys.leases(ground.queues.partition_of(ep), ep)

        async def leased() -> int:
            return await link.call("ZCARD", leases)

        async def ended() -> bool:
            return await leased() == 0

        await eventually(leased, "it is claimed")
        _, ends = await link.call("ZRANGE", leases, 0, 0, "WITHSCORES")
        outlasts = int(ends) / 1000 - time.time() - ground.settings.webhook_timeout
        if change == "agree":  # its target has to, from now on
            await ground.endpoints.update(APP, ep, EndpointPatch(handshake=True))
        else:
            await ground.endpoints.delete(APP, ep)
        queues.told.set()
        await eventually(ended, "it is given back, or has ended", 3)
        assert BUDGET - 2 < outlasts <= BUDGET  # a lease outlasts an attempt, and by no more than it takes to record it
        page, _, _ = await ground.deliveries.page(APP, Filter(endpoint=ep), Window(10, descending=True))
        assert [(one.status, one.attempt_count) for one in page] == [(status, 0)]
        assert receiver.connections == 0


class Turns(Sender):
    """A sender that knows how many attempts began in each turn of the loop."""

    def __init__(self) -> None:
        super().__init__("test", allowed=LOCAL)
        self.turn = 0
        self.began: dict[int, int] = defaultdict(int)

    async def send(
        self, url: str, headers: dict[str, str], body: bytes, timeout: float, method: str = "POST"
    ) -> Answer:
        self.began[self.turn] += 1
        return await super().send(url, headers, body, timeout, method)

    async def count(self) -> None:
        while True:
            self.turn += 1
            await asyncio.sleep(0)


@pytest.mark.parametrize(("transform", "at_once"), [(None, AT_ONCE), ("data", 1)])
async def test_a_claim_of_very_many_leaves_the_loop_to_others_between(
    link: Link, transform: str | None, at_once: int
) -> None:
    ground, sender = Ground(link), Turns()
    counting = asyncio.create_task(sender.count())
    queues = Queues(link, partitions=4, retention=3600)
    async with Receiver() as receiver, _delivering(ground, queues, sender, concurrency=400):
        ep = await ground.endpoint(url=receiver.url(), max_in_flight=100, transform=transform)
        await ground.owe(ep, await ground.append(1))
        await ended(ground, ep, "succeeded")  # from now on it is known for quick
        await ground.owe(ep, await ground.append(100))
        await receiver.until(101)
    counting.cancel()
    assert sum(sender.began.values()) == 101
    assert max(sender.began.values()) <= at_once


@asynccontextmanager
async def _delivering(
    ground: Ground, queues: Queues, sender: Sender | None = None, concurrency: int = 10
) -> AsyncGenerator[None]:
    def nothing(_: Any) -> None: ...

    sender = sender or Sender("test", allowed=LOCAL)
    deliverer = Deliverer(
        queues,
        sender,
        ground.settings,
        concurrency=concurrency,
        nonce="worker",
        counter=Counter(ground.link),
        reported=nothing,
        saturated=nothing,
    )
    task = asyncio.create_task(deliverer.run())
    try:
        yield
    finally:
        deliverer.stop()
        await task
        await sender.close()
