"""An endpoint's figures: kept by settle, read without looking at deliveries one by one."""

import time
from datetime import datetime

import msgspec
import pytest

from hub.core import tally
from hub.core.endpoint import EndpointPatch
from hub.store import keys
from hub.store.attempts import Attempt
from hub.store.delivery_scan import Filter
from hub.store.figures import Backlog, EndpointStats, Figures
from hub.store.paging import Window
from hub.store.queues import Settlement
from tests.support.webhooks import APP, Ground


@pytest.fixture
def figures(ground: Ground) -> Figures:
    return Figures(ground.link, ground.settings, ground.endpoints)


async def test_attempts_are_counted_by_answer_duration_and_end(ground: Ground, figures: Figures) -> None:
    ep = await ground.endpoint(max_in_flight=100)
    await ground.owe(ep, await ground.append(20))
    leases = await ground.claim(ep)
    partition = ground.queues.partition_of(ep)

    def made(n: int) -> Attempt:
        ok = n < 15
        return Attempt(number=1, at="2026-01-31T08:00:00.000Z", duration_ms=n * 10, status=200 if ok else 503,
                       error=None if ok else "status")  # fmt: skip

    ends = [Settlement(lease.token, lease.ref, "ok" if n < 15 else "exhausted", 0, made(n), "ok" if n < 15 else "down")
            for n, lease in enumerate(leases)]  # fmt: skip
    for some in (ends[:7], ends[7:]):
        await ground.queues.settle(partition, [(ep, some)])
    stats = await figures.read(APP, ep)
    for window in stats.windows.values():
        assert (window.attempts, window.answers["2xx"], window.answers["5xx"]) == (20, 15, 5)
        assert (window.success_rate, window.succeeded, window.exhausted) == (0.75, 15, 5)
        assert window.latency_ms is not None
        assert 70 <= window.latency_ms.p50 <= 100
        assert 150 <= window.latency_ms.p99 <= 200
    assert (stats.backlog.total, stats.oldest_owed_at) == (0, None)


async def test_cancelled_deliveries_are_counted_however_they_were_cancelled(ground: Ground, figures: Figures) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(5))
    (first, *_), _, _ = await ground.deliveries.page(APP, Filter(endpoint=ep), Window(1, descending=True))
    await ground.deliveries.cancel(APP, first.id)  # by hand
    (lease,) = await ground.claim(ep, 1)
    await ground.settle(ep, [lease], "gone")  # 410
    assert await ground.purge(ep) == 3  # what was queued then
    for window in (await figures.read(APP, ep)).windows.values():
        assert (window.cancelled, window.attempts, window.succeeded, window.exhausted) == (5, 1, 0, 0)
    assert await ground.statuses(endpoint=ep) == ["cancelled"] * 5


async def test_a_lost_lease_and_an_attempt_that_was_not_made_count_nothing(ground: Ground, figures: Figures) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(2))
    first, second = await ground.claim(ep)
    assert await ground.settle(ep, [first], "ok") == [True]
    assert await ground.settle(ep, [first], "ok") == [False]
    await ground.settle(ep, [second], "back")
    assert (await figures.read(APP, ep)).windows["1h"].attempts == 1


async def test_buckets_that_have_passed_are_added_to_hours_and_days(ground: Ground, figures: Figures) -> None:
    ep = await ground.endpoint(max_in_flight=100)
    await ground.owe(ep, await ground.append(6))
    leases = await ground.claim(ep)
    name = keys.figures(ground.queues.partition_of(ep), ep)
    slot = int(time.time() * 1000) // tally.SLOT
    for age, lease in zip((288 * 6 + 5, 288 * 6 + 5, 20 * 12, 12, 1, 0), leases, strict=True):
        await ground.settle(ep, [lease], "ok")
        await _shift(ground, name, slot - age)
    hour, day, week = (await figures.read(APP, ep)).windows.values()
    assert (hour.attempts, day.attempts) == (2, 4)
    assert week.attempts in (
        4,
        6,
    )  # by where in the day it is now, the oldest bucket is the sixth before or the seventh
    assert await ground.link.call("TTL", name) > 7 * 86400
    assert await ground.link.call("HLEN", name) <= 1 + 12 + 24 + 7


async def test_the_backlog_and_the_oldest_that_is_owed_are_told(ground: Ground, figures: Figures) -> None:
    ep = await ground.endpoint(max_in_flight=5)
    entries = await ground.append(5)
    await ground.owe(ep, entries)
    leases = await ground.claim(ep)
    await ground.settle(ep, leases[:2], "ok")
    await ground.settle(ep, [leases[2]], "retry", due_in_ms=60_000)
    stats = await figures.read(APP, ep)
    assert (stats.backlog.total, stats.backlog.retrying, stats.backlog.in_flight) == (3, 1, 2)
    assert _ms(stats) == entries[2].position[0]
    await ground.settle(ep, leases[3:], "ok")
    more = await ground.append(1)
    await ground.owe(ep, more)
    assert _ms(await figures.read(APP, ep)) == entries[2].position[0]
    id = (await ground.deliveries.page(APP, Filter(endpoint=ep), Window(10, descending=True)))[0][3].id
    await ground.deliveries.cancel(APP, id)
    assert _ms(await figures.read(APP, ep)) == more[0].position[0]


async def test_what_waits_in_line_and_how_the_endpoint_stands_are_told(ground: Ground, figures: Figures) -> None:
    ep = await ground.endpoint(max_in_flight=1, ordered=True)
    await ground.owe(ep, await ground.append(3, topic="red"))
    await ground.owe(ep, await ground.append(3, topic="blue"))
    (lease,) = await ground.claim(ep)
    stats = await figures.read(APP, ep)
    assert stats.backlog == Backlog(total=6, fresh=1, retrying=0, in_flight=1, in_line=4)
    assert (stats.endpoint, stats.enabled, stats.disabled_reason) == (ep, True, None)
    assert (stats.failing_since, stats.breaker) == (None, "closed")
    await ground.settle(ep, [lease], "retry", due_in_ms=60_000)
    await ground.endpoints.update(APP, ep, EndpointPatch(enabled=False))
    await ground.link.call("HSET", keys.endpoint(ground.queues.partition_of(ep), ep), "open", 1)
    stats = await figures.read(APP, ep)
    assert stats.backlog == Backlog(total=6, fresh=1, retrying=1, in_flight=0, in_line=4)
    assert (stats.enabled, stats.disabled_reason, stats.breaker) == (False, "manual", "half-open")
    assert stats.failing_since is not None


def _ms(stats: EndpointStats) -> int:
    assert stats.oldest_owed_at is not None
    return round(datetime.fromisoformat(stats.oldest_owed_at).timestamp() * 1000)


async def _shift(ground: Ground, name: str, slot: int) -> None:
    """Make the present bucket one of another time."""
    bucket = msgspec.msgpack.decode(await ground.link.call("HGET", name, "now"), type=list[int])
    await ground.link.call("HSET", name, "now", msgspec.msgpack.encode([slot, *bucket[1:]]))
