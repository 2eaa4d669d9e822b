"""A deliverer that is held up between its claim and its sending: it sends in time, or gives back."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import pytest

from hub.core.endpoint import RateLimit
from hub.store import keys
from hub.store.connect import Link
from hub.store.queues import Lease, Queues
from hub.store.traffic import Counter
from tests.support.receiver import Receiver
from tests.support.webhook_site import ended
from tests.support.webhooks import Ground
from workers.deliver import PROMPT, Deliverer
from workers.sender import Sender


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


@asynccontextmanager
async def _delivering(ground: Ground, queues: Queues) -> AsyncGenerator[None]:
    def nothing(_: Any) -> None: ...

    sender = Sender("test", allowed=(ip_network("127.0.0.0/8"),))
    deliverer = Deliverer(
        queues,
        sender,
        ground.settings,
        concurrency=10,
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
