"""Leases and the clock against a real store: how long one lasts, when it is taken back, and who is asked to do so."""

import time

from hub.store import keys
from hub.store.queues import HOLD_MS, Claimed, Settlement, Want
from hub.store.wire import StoreError
from tests.support.waiting import eventually
from tests.support.webhooks import APP, BUDGET_MS, Ground, attempt

HOUR_MS = 3_600_000


async def test_a_lease_lasts_for_the_endpoints_own_timeout_and_the_settle_budget(ground: Ground) -> None:
    patient, usual = await ground.endpoint(timeout=25), await ground.endpoint()
    for ep, timeout_ms in ((patient, 25_000), (usual, 9000)):
        await ground.owe(ep, await ground.append(1))
        before = await _now(ground)
        await ground.claim(ep, timeout_ms=9000)
        lasts = await _lease_ends(ground, ep) - before
        assert timeout_ms + BUDGET_MS <= lasts <= timeout_ms + BUDGET_MS + (await _now(ground) - before)


async def test_an_endpoint_is_scheduled_for_its_earliest_leases_end_though_a_retry_is_due_much_later(
    ground: Ground,
) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(3))
    failed, *_ = await ground.claim(ep, 1)
    await ground.claim(ep, 1, timeout_ms=200)
    await ground.claim(ep, 1, timeout_ms=60_000)
    await ground.settle(ep, [failed], "retry", due_in_ms=HOUR_MS)
    assert await _scheduled(ground, ep) == await _lease_ends(ground, ep)
    assert await eventually(lambda: ground.reserve(ep), "its lease has run out", 5) == [ep]
    (again,) = await ground.claim(ep)
    assert again.attempt == 2


async def test_a_clock_that_went_back_takes_nothing_back_for_the_budget_and_not_much_longer(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(1))
    await ground.reserve(ep)
    await ground.claim(ep, timeout_ms=1)
    await eventually(lambda: _has_ended(ground, ep), "the lease has run out")
    tick = keys.tick(ground.queues.partition_of(ep))
    await ground.link.call("HSET", tick, "last", await _now(ground) + HOUR_MS)  # as if the clock had been ahead
    began = time.monotonic()
    await ground.reserve(ep)
    assert await ground.claim(ep) == []

    async def is_taken_back() -> bool:
        await ground.reserve(ep)  # every one of these sees the clock: the step counts once
        return len(await ground.claim(ep)) == 1

    await eventually(is_taken_back, "the lease is taken back", 5)
    assert time.monotonic() - began >= BUDGET_MS / 1000 * 0.9


async def test_nobody_is_asked_to_take_back_a_lease_before_the_grace_has_passed(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(1))
    await ground.reserve(ep)
    await ground.claim(ep, timeout_ms=1)
    await eventually(lambda: _has_ended(ground, ep), "the lease has run out")
    partition = ground.queues.partition_of(ep)
    await ground.link.call("HSET", keys.tick(partition), "last", 1)
    assert await ground.reserve(ep) == [ep]
    grace = int(await ground.link.call("HGET", keys.tick(partition), "grace"))
    assert await ground.claim(ep) == []
    assert await _scheduled(ground, ep) == grace


async def test_who_may_not_claim_more_now_is_not_asked_again_until_later(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(2))
    before = await _now(ground)
    await ground.queues.claim(ground.queues.partition_of(ep), [Want(ep, 0, HOLD_MS)], 1000, "nonce")
    assert await _scheduled(ground, ep) >= before + HOLD_MS


async def test_an_endpoint_that_waits_for_its_turn_is_not_put_behind_others_by_what_it_is_owed_more(
    ground: Ground,
) -> None:
    ground = Ground(ground.link, HUB_DELIVERY_PARTITIONS="1")
    first, second = await ground.endpoint(), await ground.endpoint()
    for ep in (first, second, first):
        began = await _now(ground)
        await eventually(lambda: _is_past(ground, began), "another ms has begun")  # noqa: B023
        await ground.owe(ep, await ground.append(1))
    assert await ground.reserve(first, 1) == [first]


async def test_one_endpoint_with_keys_that_cannot_be_used_stops_no_other_of_its_partition(ground: Ground) -> None:
    ground = Ground(ground.link, HUB_DELIVERY_PARTITIONS="1")
    bad, good = await ground.endpoint(), await ground.endpoint()
    await ground.owe([bad, good], await ground.append(1))
    (lease,) = await ground.claim(good)
    (broken,) = await ground.claim(bad)
    for key in (keys.fresh(0, bad), keys.leases(0, bad)):
        await ground.link.call("SET", key, "nonsense")
    ended = [
        (ep, [Settlement(one.token, one.ref, "ok", 0, attempt(1, "ok"), "ok")])
        for ep, one in ((bad, broken), (good, lease))
    ]
    (failed, held), _ = await ground.queues.settle(0, ended)
    assert isinstance(failed, StoreError)
    assert held == [True]
    await ground.owe(good, await ground.append(1))
    failed, claimed = await ground.queues.claim(0, [Want(bad, 1), Want(good, 1)], 1000, "nonce")
    assert isinstance(failed, StoreError)
    assert isinstance(claimed, Claimed)
    assert len(claimed.entries) == 1


async def test_an_endpoint_that_is_unknown_does_not_stay_scheduled(ground: Ground) -> None:
    ep = await ground.endpoint()
    partition = ground.queues.partition_of(ep)
    await ground.link.call("ZADD", keys.sched(partition), 1, "ep_unknown")
    assert await ground.queues.claim(partition, [Want("ep_unknown", 1)], 1000, "nonce") == [None]
    assert await ground.link.call("ZSCORE", keys.sched(partition), "ep_unknown") is None


async def test_what_is_leased_or_waits_for_a_retry_counts_for_the_backlog(ground: Ground) -> None:
    ep = await ground.endpoint(max_backlog=3)
    await ground.owe(ep, await ground.append(3))
    failed, *_ = await ground.claim(ep, 2)
    await ground.settle(ep, [failed], "retry", due_in_ms=HOUR_MS)
    assert await ground.owe(ep, await ground.append(1)) == 0  # one fresh, one leased, one to be retried
    assert (await ground.endpoints.get(APP, ep)).disabled_reason == "backlog"


async def _now(ground: Ground) -> int:
    seconds, micros = await ground.link.call("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


async def _is_past(ground: Ground, ms: int) -> bool:
    return await _now(ground) > ms


async def _lease_ends(ground: Ground, ep: str) -> int:
    _, ends = await ground.link.call("ZRANGE", keys.leases(ground.queues.partition_of(ep), ep), 0, 0, "WITHSCORES")
    return int(ends)


async def _has_ended(ground: Ground, ep: str) -> bool:
    return await _now(ground) > await _lease_ends(ground, ep)


async def _scheduled(ground: Ground, ep: str) -> int:
    return int(await ground.link.call("ZSCORE", keys.sched(ground.queues.partition_of(ep)), ep))
