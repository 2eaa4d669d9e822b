"""Every delivery is accounted for, while workers and the store are killed and partners misbehave in every way.

At least once, none lost; and twice only where a worker died in mid-attempt, or the store was away between the answer
and its record.
"""

import asyncio
import random
import time
from collections import defaultdict
from secrets import token_hex
from typing import NamedTuple

import pytest
from msgspec import Raw

from hub.core.errors import HubError
from hub.core.event import Event, EventInput, seal
from hub.core.retry import RetryInput
from hub.store.deliveries import Delivery
from hub.store.delivery_scan import Filter
from hub.store.paging import Window
from tests.support.hub import Hub, free_port
from tests.support.partners import KINDS, Partners, Receipt
from tests.support.waiting import eventually
from tests.support.webhook_site import ground_of, start
from tests.support.webhooks import APP, Ground

CONCURRENCY = 60
OFTEN = RetryInput(schedule=(0.1,) * 40)
TWICE = RetryInput(schedule=(0.1, 0.1))
SETTLED_WITHIN = 3.0
"""Seconds after its answer within which an attempt of a worker that lives, on a store that answers, is recorded."""


class Size(NamedTuple):
    """`each`: endpoints per kind; `kills`: rounds, in each of which a worker or the store dies."""

    events: int
    each: int
    kills: int
    batch: int
    seconds: float


class Outage(NamedTuple):
    """When something was killed, and when it was there again."""

    what: str
    began: float
    ended: float


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(Size(400, 2, 2, 20, 40), id="small"),
        pytest.param(Size(20_000, 7, 24, 50, 400), id="full", marks=pytest.mark.slow),
    ],
)
async def test_every_delivery_is_accounted_for(size: Size) -> None:
    chance = random.Random(size.events)
    with start(workers=2, concurrency=CONCURRENCY) as hub:
        async with ground_of(hub) as ground, Partners(size.events) as partners:
            owners = await _endpoints(ground, partners, size.each)
            owed: dict[str, str] = {}  # event to endpoint
            publishing = asyncio.create_task(_publish(ground, owners, owed, size))
            outages = await _kill(hub, ground, partners, size, chance)
            await publishing
            await eventually(lambda: _settled(ground, owners, owed), "every delivery has ended", size.seconds)
            quiet = await _publish(ground, owners, owed, size._replace(events=size.events // 10))
            await eventually(lambda: _settled(ground, owners, owed), "every delivery has ended", size.seconds)
            statuses = {(one.event.id, one.endpoint): one for one in await _all(ground)}
            _account(owners, owed, statuses, partners.receipts, outages, set(quiet))


async def _endpoints(ground: Ground, partners: Partners, each: int) -> dict[str, str]:
    """Endpoint to kind: some of each, and one that is dead."""
    owners: dict[str, str] = {}
    for kind in KINDS:
        for n in range(each):
            ep = await ground.endpoint(
                url=partners.url(f"/{kind}/{n}"), topics=(f"{kind}.{n}",), retry=OFTEN, timeout=1, max_in_flight=20
            )
            owners[ep] = f"{kind}.{n}"
    dead = await ground.endpoint(url=f"http://127.0.0.1:{free_port()}/", topics=("dead.0",), retry=TWICE, timeout=1)
    return {**owners, dead: "dead.0"}


async def _publish(ground: Ground, owners: dict[str, str], owed: dict[str, str], size: Size) -> list[str]:
    """Publish in turn to all endpoints, each batch until it was accepted; returns the events' ids."""
    names, made = list(owners.items()), list[str]()
    for first in range(0, size.events, size.batch):
        events = [
            seal(
                EventInput(names[n % len(names)][1], "order.created", Raw(b"{}")),
                id=f"evt_{token_hex(8)}", timestamp="2026-01-31T08:00:00Z", max_bytes=10_000,
            )
            for n in range(first, min(size.events, first + size.batch))
        ]  # fmt: skip

        await eventually(lambda batch=events: _accepted(ground, batch), "the batch was accepted", 30)
        made += [event.id for event in events]
        owed.update({event.id: names[(first + n) % len(names)][0] for n, event in enumerate(events)})
        await asyncio.sleep(0.02)
    return made


async def _accepted(ground: Ground, events: list[Event]) -> bool:
    try:
        await ground.log.append(APP, events)
    except HubError:
        return False
    return True


async def _kill(hub: Hub, ground: Ground, partners: Partners, size: Size, chance: random.Random) -> list[Outage]:
    outages: list[Outage] = []
    for n in range(size.kills):
        await asyncio.sleep(chance.uniform(0.3, 0.6) if size.kills < 5 else chance.uniform(0.5, 4))
        began = time.monotonic()
        if n % 2 == 0:
            hub.store.kill()
            await asyncio.to_thread(hub.store.start, 60)
            await eventually(lambda: _is_up(ground), "the store is reached again", 30)
            outages.append(Outage("store", began, time.monotonic()))
        else:
            victim = hub.workers.pop(chance.randrange(len(hub.workers)))
            victim.close()
            await partners.caught_up()  # what it had sent is read by now
            hub.start_worker()
            outages.append(Outage("worker", began, time.monotonic()))
    return outages


async def _is_up(ground: Ground) -> bool:
    try:
        return await ground.link.call("PING") == b"PONG"
    except HubError:
        return False


async def _all(ground: Ground) -> list[Delivery]:
    found: list[Delivery] = []
    cursor = None
    while True:
        page, cursor, _ = await ground.deliveries.page(APP, Filter(), Window(500, cursor, descending=True))
        found += page
        if cursor is None:
            return found


async def _settled(ground: Ground, owners: dict[str, str], owed: dict[str, str]) -> bool:
    """Whether all that isn't owed to the dead one has ended; its breaker may hold up the rest of that."""
    pending, _, _ = await ground.deliveries.page(APP, Filter(status="pending"), Window(500, descending=True))
    if any(owners[one.endpoint] != "dead.0" for one in pending):
        return False
    return len(await _all(ground)) >= len(owed)


def _account(
    owners: dict[str, str],
    owed: dict[str, str],
    statuses: dict[tuple[str, str], Delivery],
    receipts: list[Receipt],
    outages: list[Outage],
    quiet: set[str],
) -> None:
    assert dict(statuses.keys()) == owed, "each event is owed to its endpoint, and to no other"
    by_event: dict[str, list[Receipt]] = defaultdict(list)
    for receipt in receipts:
        by_event[receipt.event].append(receipt)
    assert set(by_event) <= set(owed)
    repeated: list[Receipt] = []
    for event, ep in owed.items():
        name, status = owners[ep], statuses[event, ep].status
        if name == "dead.0":
            assert status in ("exhausted", "pending")
            assert event not in by_event
            continue
        assert {receipt.path for receipt in by_event[event]} == {"/" + name.replace(".", "/")}
        whole = sorted((one for one in by_event[event] if one.answered is not None), key=lambda one: one.at)
        assert status == "succeeded", f"{event} to {name} ended as {status}"
        assert whole, f"{event} to {name} succeeded, but was never answered"
        repeated += whole[:-1]
        if event in quiet:
            assert len(whole) == 1, f"{event} to {name} came {len(whole)} times although nothing died"
    unexplained = [receipt for receipt in repeated if not _explained(receipt, outages)]
    assert not unexplained, f"repeated although nothing died then: {unexplained}; {outages}"
    # A death repeats no more than what was in flight with it.
    assert len(repeated) <= len(outages) * 2 * CONCURRENCY
    print(f"{len(owed)} deliveries, {len(receipts)} requests, {len(outages)} deaths, {len(repeated)} repeated")


def _explained(receipt: Receipt, outages: list[Outage]) -> bool:
    """Whether something died between the answer and the time by which it is recorded otherwise."""
    assert receipt.answered is not None
    by = receipt.answered + SETTLED_WITHIN
    return any(one.began <= by and receipt.at <= one.ended for one in outages)
