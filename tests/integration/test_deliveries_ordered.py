"""Ordered endpoints against a real store: one delivery of a topic at a time, in the log's order, whatever happens."""

import random
from collections import defaultdict
from collections.abc import AsyncIterator

import pytest

from hub.core.endpoint import EndpointPatch
from hub.store import keys
from hub.store.connect import Link
from hub.store.delivery_scan import Filter
from hub.store.log import Entry
from hub.store.paging import Window
from hub.store.queues import Lease
from hub.store.records import delivery_id, parse_ref
from tests.support.store import StoreProcess
from tests.support.waiting import eventually
from tests.support.webhooks import APP, Ground


async def test_the_head_of_a_topic_blocks_it_until_it_ends_and_no_other_topic(ground: Ground) -> None:
    ep = await ground.endpoint(ordered=True)
    red = await ground.append(3, topic="red")
    blue = await ground.append(2, topic="blue")
    await ground.owe(ep, [*red, *blue])
    first, other = await ground.claim(ep)
    assert [first.event, other.event] == [red[0].id, blue[0].id]
    await ground.settle(ep, [first], "retry", due_in_ms=60_000)
    await ground.settle(ep, [other], "ok")
    (other,) = await ground.claim(ep)
    assert other.event == blue[1].id
    await ground.settle(ep, [other], "ok")
    assert await ground.claim(ep) == []
    assert await ground.reserve(ep) == []  # not before the retry is due


async def test_an_exhausted_head_lets_the_next_one_go(ground: Ground) -> None:
    ep = await ground.endpoint(ordered=True)
    entries = await ground.append(3)
    await ground.owe(ep, entries)
    seen: list[str] = []
    for verdict in ("exhausted", "drop", "ok"):
        (lease,) = await ground.claim(ep)
        await ground.settle(ep, [lease], verdict)
        seen.append(lease.event)
    assert seen == [entry.id for entry in entries]
    assert await ground.claim(ep) == []


async def test_a_head_that_is_retried_goes_before_what_came_later(ground: Ground) -> None:
    ep = await ground.endpoint(ordered=True)
    entries = await ground.append(2)
    await ground.owe(ep, entries[:1])
    await ground.settle(ep, await ground.claim(ep), "retry")
    await ground.owe(ep, entries[1:])
    (again,) = await ground.claim(ep)
    assert (again.event, again.attempt) == (entries[0].id, 2)
    await ground.settle(ep, [again], "ok")
    assert [lease.event for lease in await ground.claim(ep)] == [entries[1].id]


async def test_a_head_that_waits_for_its_retry_and_is_cancelled_by_hand_lets_the_next_one_go(ground: Ground) -> None:
    ep = await ground.endpoint(ordered=True)
    entries = await ground.append(2)
    await ground.owe(ep, entries)
    (head,) = await ground.claim(ep)
    await ground.settle(ep, [head], "retry", due_in_ms=3_600_000)
    await ground.deliveries.cancel(APP, delivery_id(parse_ref(head.ref), ep))
    assert await ground.reserve(ep) == [ep]
    (stale,) = await ground.claim(ep)
    assert stale.standing is not None
    assert (stale.event, stale.standing.status) == (head.event, "cancelled")
    await ground.settle(ep, [stale], "drop")
    assert [lease.event for lease in await ground.claim(ep)] == [entries[1].id]


async def test_a_retry_by_hand_goes_beside_the_order_and_frees_nobody(ground: Ground) -> None:
    ep = await ground.endpoint(ordered=True)
    old, new, last = await ground.append(3)
    await ground.owe(ep, [old])
    (lease,) = await ground.claim(ep)
    await ground.settle(ep, [lease], "exhausted")
    await ground.owe(ep, [new, last])
    await ground.deliveries.retry(APP, delivery_id(parse_ref(lease.ref), ep))
    both = {one.event: one for one in await ground.claim(ep)}
    assert set(both) == {old.id, new.id}
    await ground.settle(ep, [both[old.id]], "ok")
    assert await ground.claim(ep) == []  # `last` waits for `new` alone
    await ground.settle(ep, [both[new.id]], "ok")
    assert [one.event for one in await ground.claim(ep)] == [last.id]


async def test_what_was_owed_in_order_keeps_it_when_the_endpoint_is_no_longer_ordered(ground: Ground) -> None:
    ep = await ground.endpoint(ordered=True)
    entries = await ground.append(5)
    await ground.owe(ep, entries[:3])
    await ground.endpoints.update(APP, ep, EndpointPatch(ordered=False))
    await ground.owe(ep, entries[3:])  # these wait for nobody
    first, *free = await ground.claim(ep)
    assert [lease.event for lease in (first, *free)] == [entries[n].id for n in (0, 3, 4)]
    await ground.settle(ep, [first, *free], "ok")
    for entry in entries[1:3]:
        (lease,) = await ground.claim(ep)
        assert lease.event == entry.id
        await ground.settle(ep, [lease], "ok")


async def test_what_waits_behind_a_head_counts_for_the_backlog_and_is_cancelled_with_the_endpoint(
    ground: Ground, store: StoreProcess
) -> None:
    ep = await ground.endpoint(ordered=True, max_backlog=250)
    assert await ground.owe(ep, await ground.append(300)) == 250
    assert (await ground.endpoints.get(APP, ep)).disabled_reason == "backlog"
    await ground.endpoints.delete(APP, ep)
    cancelled = [count async for count in _purged(ground, ep)]
    assert sum(cancelled) == 250
    assert len(cancelled) < 10  # in slices, not one by one
    with store.client() as client:
        assert client.keys("hub:{d*}:[efrlhw]:*") == []


@pytest.mark.parametrize("seed", range(3))
async def test_order_holds_under_failures_lost_leases_cancels_and_pauses(link: Link, seed: int) -> None:
    chance = random.Random(seed)
    ground = Ground(link, budget_ms=1)
    ep = await ground.endpoint(ordered=True, max_in_flight=4)
    run = _Run(ground, ep)
    for _ in range(200):
        await run.step(chance)
    await run.finish()


class _Run:
    """Acts at random as dispatch, as workers that fail, stall or die, and as the owner; and watches what is claimed."""

    def __init__(self, ground: Ground, ep: str) -> None:
        self.ground = ground
        self.ep = ep
        self.owed: dict[str, list[str]] = defaultdict(list)
        """Per topic the events that haven't ended, in their order."""
        self.topics: dict[str, str] = {}
        self.leases: list[Lease] = []
        self.ended = 0

    async def step(self, chance: random.Random) -> None:
        act = chance.choices((self.owe, self.claim, self.settle, self.cancel, self.pause), (3, 5, 6, 1, 1))[0]
        await act(chance)

    async def owe(self, chance: random.Random) -> None:
        entries: list[Entry] = []
        for _ in range(chance.randint(1, 3)):
            topic = f"topic.{chance.randint(1, 3)}"
            entries += await self.ground.append(1, topic=topic)
            self.owed[topic].append(entries[-1].id)
            self.topics[entries[-1].id] = topic
        await self.ground.owe(self.ep, entries)

    async def claim(self, chance: random.Random) -> None:
        """By a worker that sends, or by one that dies: then the lease runs out at once."""
        await self.ground.reserve(self.ep)
        timeout_ms = chance.choice((1, 60_000))
        leases = await self.ground.claim(
            self.ep, chance.randint(1, 4), timeout_ms=timeout_ms, nonce=chance.choice("ab")
        )
        for lease in leases:
            assert lease.standing is not None
            if lease.standing.status == "pending":
                assert self.owed[self.topics[lease.event]][0] == lease.event, "a delivery overtook one before it"
        self.leases += leases

    async def settle(self, chance: random.Random) -> None:
        if not self.leases:
            return
        lease = self.leases.pop(chance.randrange(len(self.leases)))
        verdict = chance.choice(("ok", "ok", "retry", "exhausted", "back"))
        if lease.standing is not None and lease.standing.status != "pending":
            verdict = "drop"
        (held,) = await self.ground.settle(self.ep, [lease], verdict, due_in_ms=chance.choice((0, 3)))
        if held and verdict in ("ok", "exhausted"):
            self.end(lease.event)

    async def cancel(self, chance: random.Random) -> None:
        statuses = await self.ground.deliveries.page(APP, Filter(), Window(500, descending=True))
        pending = [one for one in statuses[0] if one.status == "pending"]
        if pending:
            one = chance.choice(pending)
            await self.ground.deliveries.cancel(APP, one.id)
            self.end(one.event.id)

    async def pause(self, chance: random.Random) -> None:
        for enabled in (False, True):
            await self.ground.endpoints.update(APP, self.ep, EndpointPatch(enabled=enabled))

    def end(self, event: str) -> None:
        queue = self.owed[self.topics[event]]
        if event in queue:  # an attempt that was under way when it was cancelled settles it too
            queue.remove(event)
            self.ended += 1

    async def finish(self) -> None:
        """Everything that is left is claimed, in its order, and leaves nothing behind."""
        await self.ground.settle(self.ep, self.leases, "back")

        async def drained() -> bool:
            await self.ground.reserve(self.ep)
            for lease in await self.ground.claim(self.ep):
                assert lease.standing is not None
                if lease.standing.status != "pending":
                    await self.ground.settle(self.ep, [lease], "drop")
                    continue
                assert self.owed[self.topics[lease.event]][0] == lease.event
                if (await self.ground.settle(self.ep, [lease], "ok"))[0]:
                    self.end(lease.event)
            return not any(self.owed.values())

        await eventually(drained, "all that was owed is delivered")
        partition = self.ground.queues.partition_of(self.ep)
        for key in (keys.heads(partition, self.ep), keys.waiting(partition, self.ep)):
            await eventually(lambda: _is_gone(self.ground, key), "nothing waits any more")  # noqa: B023
        assert self.ended == len(self.topics)


async def _is_gone(ground: Ground, key: str) -> bool:
    return await ground.link.call("EXISTS", key) == 0


async def _purged(ground: Ground, ep: str) -> AsyncIterator[int]:
    while count := await ground.purge(ep):
        yield count
