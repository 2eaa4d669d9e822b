"""Real workers keep an endpoint's policies: its order, its rate limit, its breaker, and everybody else's slots."""

import asyncio
import random
import time
from collections import defaultdict
from statistics import quantiles

from hub.core.endpoint import RateLimit
from hub.core.retry import RetryInput
from hub.store import keys
from tests.support.receiver import Got, Receiver, answer
from tests.support.waiting import eventually
from tests.support.webhook_site import ground_of, start
from tests.support.webhooks import APP, Ground

SOON = RetryInput(schedule=(0.05,) * 20)


async def test_an_ordered_endpoint_gets_each_topic_in_order_through_failures_and_a_killed_worker() -> None:
    with start(workers=2) as hub:
        async with ground_of(hub) as ground, Receiver() as receiver:
            chance = random.Random(1)
            receiver.answers["/hook"] = [answer(chance.choice((200, 500, 503))) for _ in range(60)]
            receiver.delay = 0.02
            ep = await ground.endpoint(url=receiver.url(), ordered=True, retry=SOON, timeout=1)
            wanted: dict[str, list[str]] = {}
            for topic in ("a", "b", "c", "d"):
                wanted[topic] = [entry.id for entry in await ground.append(10, topic=topic)]
            await receiver.until(25)
            hub.workers[0].kill()
            await eventually(lambda: _none_pending(ground, ep), "every delivery has ended", 30)
            for topic, ids in wanted.items():
                seen = [got.event["id"] for got in receiver.got if got.event["topic"] == topic]
                assert list(dict.fromkeys(seen)) == ids
                places = [ids.index(one) for one in seen]
                assert places == sorted(places), "a delivery came again after one behind it"
            assert receiver.most_in_flight > 1  # topics don't wait for each other


async def test_a_blocked_topic_holds_up_no_other_topic() -> None:
    with start() as hub:
        async with ground_of(hub) as ground, Receiver() as receiver:
            receiver.answers["/hook"] = [answer(500)]
            ep = await ground.endpoint(url=receiver.url(), ordered=True, retry=RetryInput(schedule=(3600,)))
            (stuck, *_) = await ground.append(5, topic="stuck")
            await receiver.until(1)
            free = await ground.append(20, topic="free")
            await receiver.until(21)
            assert [got.event["id"] for got in receiver.got] == [entry.id for entry in (stuck, *free)]
            assert await ground.statuses(endpoint=ep) == ["succeeded"] * 20 + ["pending"] * 5


async def test_a_rate_limit_holds_across_workers() -> None:
    with start(workers=3) as hub:
        async with ground_of(hub) as ground, Receiver() as receiver:
            await ground.endpoint(url=receiver.url(), rate_limit=RateLimit(8), max_in_flight=100)
            await ground.append(25)
            got = await receiver.until(25)
            for n in range(len(got) - 8):
                # A claim is sent within 250 ms; the rest is what a busy machine may add.
                assert got[n + 8].at - got[n].at > 0.65
            assert got[-1].at - got[0].at < 8  # 3 s, if it is used up


async def test_an_endpoint_is_disabled_loudly_at_its_own_backlog_limit_and_no_other_is() -> None:
    with start() as hub:
        async with ground_of(hub) as ground, Receiver() as receiver:
            await ground.endpoint(url=receiver.url("/watch"), topics=("hub.operational",))
            other = await ground.endpoint(url=receiver.url("/other"), types=("order.*",))
            receiver.answers["/down"] = [answer(500)] * 100
            retry = RetryInput(schedule=(3600,))
            ep = await ground.endpoint(url=receiver.url("/down"), types=("order.*",), retry=retry, max_backlog=7)
            await ground.append(7)
            await receiver.until(7, "/down")
            assert (await ground.endpoints.get(APP, ep)).enabled
            await ground.append(3)
            (told,) = await receiver.until(1, "/watch")
            assert told.event["type"] == "hub.endpoint.disabled"
            assert told.event["data"] == {"endpoint": ep, "reason": "backlog"}
            seen = await ground.endpoints.get(APP, ep)
            assert (seen.enabled, seen.disabled_reason, seen.max_backlog) == (False, "backlog", 7)
            await receiver.until(10, "/other")
            assert (await ground.endpoints.get(APP, other)).enabled
            assert len(await ground.statuses(endpoint=ep)) == 7


async def test_a_breaker_lets_one_attempt_through_until_the_partner_is_back() -> None:
    with start(workers=2) as hub:
        async with ground_of(hub) as ground, Receiver() as receiver:
            watch = receiver.url("/watch")
            await ground.endpoint(url=watch, topics=("hub.operational",))
            receiver.answers["/down"] = [answer(503)] * 1000
            ep = await ground.endpoint(url=receiver.url("/down"), types=("order.*",), retry=SOON)
            await ground.append(40)
            await receiver.until(11, "/down")
            partition = ground.queues.partition_of(ep)
            key, leases = keys.endpoint(partition, ep), keys.leases(partition, ep)
            await ground.link.call("HINCRBY", key, "down", -60_000)  # as if it had failed for a minute
            await eventually(lambda: _is(ground, ep, "open"), "the breaker opens")
            await eventually(lambda: _is_empty(ground, leases), "what was under way has ended")
            for _ in range(3):
                before = len(receiver.at("/down"))
                await _end_the_pause(ground, ep)
                await receiver.until(before + 1, "/down")
                await eventually(lambda: _is(ground, ep, "open"), "the probe has failed")
                assert len(receiver.at("/down")) == before + 1
            receiver.answers["/down"] = []
            await _end_the_pause(ground, ep)
            await eventually(lambda: _none_pending(ground, ep), "every delivery has ended")
            told = await receiver.until(2, "/watch")
            assert [one.event["type"] for one in told] == ["hub.endpoint.failing", "hub.endpoint.recovered"]
            assert told[0].event["data"]["endpoint"] == ep
            assert await _is(ground, ep, "closed")


async def _is_empty(ground: Ground, key: str) -> bool:
    return not await ground.link.call("EXISTS", key)


async def test_slow_endpoints_together_leave_half_of_the_slots_and_lock_out_no_new_one() -> None:
    with start(concurrency=16) as hub:
        async with ground_of(hub) as ground, Receiver() as slow, Receiver() as quick:
            slow.delay = 60
            for n in range(6):
                await ground.endpoint(url=slow.url(), max_in_flight=20, topics=(f"slow.{n}",), timeout=30)
                await ground.append(20, topic=f"slow.{n}")
            await slow.until(6)
            await ground.endpoint(url=quick.url(), topics=("quick",), max_in_flight=20)
            await ground.append(300, topic="quick")
            await quick.until(300)
            assert slow.most_in_flight <= 16 // 2


async def test_a_partner_of_30_seconds_with_10000_deliveries_does_not_move_the_others() -> None:
    with start() as hub:
        async with ground_of(hub) as ground, Receiver() as slow, Receiver() as quick:
            slow.delay = 30
            paths = {f"healthy.{n}": f"/{n}" for n in range(100)}
            for topic, path in paths.items():
                await ground.endpoint(url=quick.url(path), topics=(topic,))
            await _latencies(ground, quick, list(paths), 100)  # connections, caches
            alone = await _latencies(ground, quick, list(paths), 400)
            # It takes as many at once as a user can ask for: nothing but the worker's own rule is in its way.
            ep = await ground.endpoint(url=slow.url(), topics=("slow",), max_in_flight=1000, timeout=60)
            for _ in range(10):
                await ground.append(1000, topic="slow")
            await eventually(lambda: _owes(ground, ep, 9700), "they are owed")
            await slow.until(6)
            beside = await _latencies(ground, quick, list(paths), 400)
            assert 6 <= slow.most_in_flight <= 100
            print(f"p99 of the healthy: {_p99(alone) * 1000:.1f} ms alone, {_p99(beside) * 1000:.1f} ms beside it")
            assert _p99(beside) < _p99(alone) + 0.5  # it would be half a minute


async def _latencies(ground: Ground, receiver: Receiver, topics: list[str], count: int) -> list[float]:
    """Seconds from the append to the receipt, at 200 events a second."""
    sent: dict[str, float] = {}
    receiver.got.clear()
    began = time.monotonic()
    for n in range(count):
        await asyncio.sleep(max(0.0, began + n / 200 - time.monotonic()))
        at = time.monotonic()
        (entry,) = await ground.append(1, topic=topics[n % len(topics)])
        sent[entry.id] = at
    await eventually(lambda: len(receiver.got) >= count, "all have arrived", 30)
    arrived: dict[str, list[Got]] = defaultdict(list)
    for got in receiver.got:
        arrived[got.headers["webhook-id"]].append(got)
    return [arrived[event][0].at - at for event, at in sent.items()]


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100)[98]


async def _owes(ground: Ground, ep: str, count: int) -> bool:
    return await ground.link.call("LLEN", keys.fresh(ground.queues.partition_of(ep), ep)) >= count


async def _is(ground: Ground, ep: str, state: str) -> bool:
    return (await ground.endpoints.get(APP, ep)).breaker == state


async def _end_the_pause(ground: Ground, ep: str) -> None:
    """As if it were over."""
    partition = ground.queues.partition_of(ep)
    await ground.link.call("HSET", keys.endpoint(partition, ep), "open", 1)
    await ground.link.call("ZADD", keys.sched(partition), 1, ep)


async def _none_pending(ground: Ground, ep: str) -> bool:
    statuses = await ground.statuses(endpoint=ep)
    return bool(statuses) and "pending" not in statuses
