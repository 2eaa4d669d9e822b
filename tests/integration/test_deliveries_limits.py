"""Rate limits against a real store: never more claims in any window of the period, whoever claims them."""

import asyncio
import random
import time
from itertools import pairwise

from hub.core.endpoint import EndpointPatch, RateLimit
from hub.store import keys
from hub.store.connect import Link
from hub.store.queues import Lease, Want
from tests.support.store import StoreProcess, linked
from tests.support.waiting import eventually
from tests.support.webhooks import APP, BUDGET_MS, Ground

LIMIT, PERIOD_MS = 20, 1000
TIMEOUT_MS = 60_000


async def test_no_window_of_the_period_has_more_claims_than_the_limit_however_many_workers_claim(
    ground: Ground, store: StoreProcess
) -> None:
    ep = await ground.endpoint(rate_limit=RateLimit(LIMIT), max_in_flight=1000)
    await ground.owe(ep, await ground.append(200))
    async with linked(store) as second, linked(store) as third:
        grounds = [ground, *(Ground(link) for link in (second, third))]
        until = time.monotonic() + 2.4
        await asyncio.gather(*(_claim_on(one, ep, until, random.Random(n)) for n, one in enumerate(grounds)))
    times = await _claim_times(ground, ep)
    assert len(times) == 3 * LIMIT  # it is used up as well: at once, and as each period has passed
    for n in range(len(times) - LIMIT):
        assert times[n + LIMIT] - times[n] > PERIOD_MS


async def test_an_endpoint_is_scheduled_for_when_its_limit_allows_more(ground: Ground) -> None:
    ep = await ground.endpoint(rate_limit=RateLimit(2))
    await ground.owe(ep, await ground.append(5))
    leases = await ground.claim(ep)
    assert len(leases) == 2
    await ground.settle(ep, leases, "ok")
    assert await ground.reserve(ep) == []
    due = (await ground.queues.reserve(ground.queues.partition_of(ep), 10)).next_ms
    assert due is not None
    assert 500 < due <= PERIOD_MS + 1
    assert await ground.claim(ep) == []
    assert await eventually(lambda: ground.reserve(ep), "the period has passed") == [ep]
    assert len(await ground.claim(ep)) == 2


async def test_what_was_not_sent_is_given_back_and_does_not_count(ground: Ground) -> None:
    ep = await ground.endpoint(rate_limit=RateLimit(2, period=3600))
    entries = await ground.append(3)
    await ground.owe(ep, entries)
    first, second = await ground.claim(ep)
    assert await ground.settle(ep, [first], "back") == [True]
    assert await ground.settle(ep, [first], "back") == [False]
    await ground.settle(ep, [second], "retry")
    (again,) = await ground.claim(ep)
    assert (again.event, again.attempt) == (first.event, 1)  # in its old place, as the same attempt
    assert again.standing is not None
    assert again.standing.history == []
    await ground.settle(ep, [again], "drop")  # it had ended meanwhile, so nothing was sent
    (retry,) = await ground.claim(ep)
    assert await ground.claim(ep) == []
    await ground.settle(ep, [retry], "back")
    assert await ground.settle(ep, await ground.claim(ep), "ok") == [True]
    assert await ground.claim(ep) == []


async def test_a_lease_that_ran_out_still_counts(ground: Ground) -> None:
    ep = await ground.endpoint(rate_limit=RateLimit(1, period=3600))
    await ground.owe(ep, await ground.append(2))
    await ground.reserve(ep)
    await ground.claim(ep, timeout_ms=1)
    lease_key = keys.leases(ground.queues.partition_of(ep), ep)

    async def is_taken_back() -> bool:
        await ground.reserve(ep)
        assert await ground.claim(ep) == []
        return await ground.link.call("ZCARD", lease_key) == 0

    await eventually(is_taken_back, "the lease has run out")


async def test_a_change_of_the_limit_counts_from_the_next_claim(ground: Ground) -> None:
    ep = await ground.endpoint(rate_limit=RateLimit(4, period=3600))
    await ground.owe(ep, await ground.append(20))
    assert len(await ground.claim(ep, 3)) == 3
    await ground.endpoints.update(APP, ep, EndpointPatch(rate_limit=RateLimit(2, period=3600)))
    assert await ground.claim(ep) == []
    await ground.endpoints.update(APP, ep, EndpointPatch(rate_limit=RateLimit(5, period=3600)))
    assert len(await ground.claim(ep)) == 2
    changed = await ground.endpoints.update(APP, ep, EndpointPatch(rate_limit=None))
    assert changed.rate_limit is None
    assert len(await ground.claim(ep)) == 5  # the rest of max_in_flight


async def test_of_a_window_that_is_partly_used_the_rest_is_left_until_its_first_claims_have_passed(
    ground: Ground,
) -> None:
    ep = await ground.endpoint(rate_limit=RateLimit(4, period=3600), max_in_flight=100)
    await ground.owe(ep, await ground.append(20))
    old = await ground.claim(ep, 2)
    await _shift(ground, ep, old, 3_540_000)  # a minute is left of their period
    assert len(await ground.claim(ep)) == 2
    assert await ground.claim(ep) == []
    await _shift(ground, ep, old, 3_600_002)
    assert len(await ground.claim(ep)) == 2


async def test_a_clock_that_went_back_does_not_stop_an_endpoint_for_good(link: Link) -> None:
    ground = Ground(link)
    ep = await ground.endpoint(rate_limit=RateLimit(2), max_in_flight=100)
    await ground.owe(ep, await ground.append(20))
    await ground.claim(ep, 1)
    claims = keys.claims(ground.queues.partition_of(ep), ep)
    (token, at) = await link.call("ZRANGE", claims, 0, 0, "WITHSCORES")
    await link.call("ZADD", claims, int(at) + 3_600_000, token)  # as if it had been an hour later then
    assert len(await ground.claim(ep)) == 1

    async def both() -> bool:  # every claim keeps the key, so it isn't its end that forgets the step
        return len(await ground.claim(ep)) == 2

    await eventually(both, "a period after the step", 3)


async def _shift(ground: Ground, ep: str, leases: list[Lease], ms: int) -> None:
    """As if these had been claimed so long ago."""
    seconds, micros = await ground.link.call("TIME")
    now = int(seconds) * 1000 + int(micros) // 1000
    for lease in leases:
        await ground.link.call("ZADD", keys.claims(ground.queues.partition_of(ep), ep), now - ms, lease.token)


async def _claim_on(ground: Ground, ep: str, until: float, chance: random.Random) -> None:
    """As a worker in a hurry: it claims again and again, a few at a time, so that their periods end one by one."""
    partition = ground.queues.partition_of(ep)
    while time.monotonic() < until:
        await ground.queues.claim(partition, [Want(ep, chance.randint(1, 3))], TIMEOUT_MS, chance.choice("abc"))
        await asyncio.sleep(chance.random() * 0.01)


async def _claim_times(ground: Ground, ep: str) -> list[int]:
    """When each lease was claimed, in ms by the store's clock, oldest first: told by its end."""
    flat = await ground.link.call("ZRANGE", keys.leases(ground.queues.partition_of(ep), ep), 0, -1, "WITHSCORES")
    times = [int(end) - TIMEOUT_MS - BUDGET_MS for end in flat[1::2]]
    assert all(earlier <= later for earlier, later in pairwise(times))
    return times
