"""The delivery queues' scripts against a real store: what is enqueued, claimed and settled, and by whom."""

import time
from fnmatch import fnmatchcase
from typing import Any

import pytest
from msgspec import structs

from hub.core.cursor import before
from hub.core.endpoint import EndpointPatch, RateLimit
from hub.store import attempts, keys
from hub.store.connect import Link
from hub.store.queues import Claimed, Lease, Owed, StaleReader, Want
from tests.support.store import StoreProcess
from tests.support.waiting import eventually
from tests.support.webhooks import APP, BUDGET_MS, Ground


async def test_a_batch_enqueued_twice_is_owed_once(ground: Ground) -> None:
    ep = await ground.endpoint()
    entries = await ground.append(3)
    assert await ground.owe(ep, entries) == 3
    assert await ground.owe(ep, entries) == 0
    assert len(await ground.claim(ep)) == 3


async def test_a_batch_that_was_overtaken_enqueues_nothing(ground: Ground) -> None:
    ep = await ground.endpoint()
    entries = await ground.append(6)
    assert await ground.owe(ep, entries[3:]) == 3
    assert await ground.owe(ep, entries[:3]) == 0  # a stalled reader: the other has applied what follows
    assert [lease.event for lease in await ground.claim(ep)] == [entry.id for entry in entries[3:]]


async def test_the_end_of_a_batch_counts_as_applied_even_where_it_owed_nothing(ground: Ground) -> None:
    ep = await ground.endpoint()
    entries = await ground.append(2)
    await ground.owe(ep, entries[:1], end=entries[1].position)
    assert await ground.owe(ep, entries[1:]) == 0


async def test_positions_compare_as_numbers(ground: Ground) -> None:
    ep = await ground.endpoint()
    (entry,) = await ground.append(1)
    ms = entry.position[0]
    low, high = (structs.replace(entry, position=(ms, seq)) for seq in (9, 10))
    assert await ground.owe(ep, [low]) == 1
    assert await ground.owe(ep, [high]) == 1  # as text, 10 sorts below 9


async def test_a_new_epoch_is_read_from_the_start_and_still_owes_nothing_twice(ground: Ground) -> None:
    ep = await ground.endpoint()
    entries = await ground.append(4)
    assert await ground.owe(ep, entries[2:]) == 2
    ground.epoch = 2
    assert await ground.owe(ep, entries) == 2
    ground.epoch = 1
    with pytest.raises(StaleReader):
        await ground.owe(ep, entries)


async def test_what_was_applied_is_not_owed_again_by_a_stalled_reader_when_its_record_is_gone(ground: Ground) -> None:
    ep = await ground.endpoint()
    entries = await ground.append(4)
    await ground.owe(ep, entries[2:])
    assert await ground.owe(ep, entries[:2]) == 0
    leases = await ground.claim(ep)
    await ground.settle(ep, leases, "ok")
    for lease in leases:  # as when its time is over
        await ground.link.call("DEL", keys.record(ground.queues.partition_of(ep), lease.ref))
    assert await ground.owe(ep, entries) == 0


async def test_a_record_that_was_to_go_stays_while_another_part_of_its_event_is_owed(ground: Ground) -> None:
    ground = Ground(ground.link, HUB_DELIVERY_PARTITIONS="1")
    one, two = await ground.endpoint(), await ground.endpoint()
    (entry,) = await ground.append(1)
    await ground.queues.enqueue(0, 0, 1, before(entry.position), [Owed(entry, [one])])
    (lease,) = await ground.claim(one)
    await ground.settle(one, [lease], "ok")
    assert await ground.link.call("TTL", keys.record(0, lease.ref)) > 0
    await ground.queues.enqueue(0, 0, 1, entry.position, [Owed(entry, [two])])
    assert await ground.link.call("TTL", keys.record(0, lease.ref)) == -1
    (lease,) = await ground.claim(two)
    assert lease.body == entry.body


async def test_a_backlog_of_the_hubs_own_events_disables_and_tells_nobody(ground: Ground) -> None:
    ep = await ground.endpoint(topics=("hub.**",), max_backlog=1)
    await ground.owe(ep, await ground.append(3, topic="hub.operational", kind="hub.endpoint.failing"))
    assert (await ground.endpoints.get(APP, ep)).disabled_reason == "backlog"
    assert await ground.link.call("XLEN", keys.outbox(ground.queues.partition_of(ep))) == 0


async def test_an_event_for_very_many_endpoints_is_owed_to_each(ground: Ground) -> None:
    ground = Ground(ground.link, HUB_DELIVERY_PARTITIONS="1")
    ids = [await ground.endpoint() for _ in range(3)]
    (entry,) = await ground.append(1)
    many = [*ids, *(f"ep_{n:024x}" for n in range(1200))]  # the unknown ones owe nothing
    done, _ = await ground.queues.enqueue(0, 0, 1, entry.position, [Owed(entry, many)])
    assert done == 3
    assert (await ground.queues.enqueue(0, 0, 1, entry.position, [Owed(entry, many)]))[0] == 0


async def test_a_claim_keeps_within_the_endpoints_cap(ground: Ground) -> None:
    ep = await ground.endpoint(max_in_flight=4)
    await ground.owe(ep, await ground.append(10))
    first = await ground.claim(ep, 3)
    assert len(first) == 3
    assert len(await ground.claim(ep)) == 1
    assert await ground.claim(ep) == []
    assert await ground.reserve(ep) == []  # nothing to do for it until a lease ends
    await ground.settle(ep, first[:2], "ok")
    assert await ground.reserve(ep) == [ep]
    assert len(await ground.claim(ep)) == 2


async def test_deliveries_are_claimed_in_log_order(ground: Ground) -> None:
    ep = await ground.endpoint(max_in_flight=100)
    entries = await ground.append(30)
    await ground.owe(ep, entries)
    assert [lease.event for lease in await ground.claim(ep)] == [entry.id for entry in entries]


async def test_a_reserved_endpoint_is_kept_from_other_workers(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(1))
    assert await ground.reserve(ep) == [ep]
    assert await ground.reserve(ep) == []


async def test_a_lease_that_ran_out_is_claimed_again_and_its_late_answer_changes_nothing(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(1))
    (lost,) = await ground.claim(ep, timeout_ms=50)
    again = await _reclaimed(ground, ep)
    assert again.attempt == 2
    assert await ground.settle(ep, [lost], "ok") == [False]
    assert await ground.statuses() == ["pending"]
    assert await ground.settle(ep, [again], "ok") == [True]
    assert await ground.settle(ep, [again], "exhausted") == [False]
    assert await ground.statuses() == ["succeeded"]


async def test_nothing_is_taken_back_for_the_budget_after_a_gap(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(1))
    await ground.reserve(ep)
    await ground.claim(ep, timeout_ms=1)
    tick = keys.tick(ground.queues.partition_of(ep))
    await eventually(lambda: _lease_has_ended(ground, ep), "the lease has run out")
    await ground.link.call("HSET", tick, "last", 1)  # as if nobody had come by since long ago
    began = time.monotonic()
    assert await ground.reserve(ep) in ([], [ep])
    assert await ground.claim(ep) == []
    await _reclaimed(ground, ep)
    assert time.monotonic() - began >= BUDGET_MS / 1000 * 0.9


async def test_retries_get_half_of_a_claim_while_fresh_work_waits(ground: Ground) -> None:
    ep = await ground.endpoint(max_in_flight=1000)
    old = await ground.append(20)
    await ground.owe(ep, old)
    await ground.settle(ep, await ground.claim(ep), "retry")
    await ground.owe(ep, await ground.append(20))
    for most, expected in ((10, 5), (1, 0), (1, 1), (1, 0), (5, 3), (5, 2)):
        leases = await ground.claim(ep, most)
        assert len(leases) == most
        assert sum(lease.attempt == 2 for lease in leases) == expected
    rest = await ground.claim(ep, 1000)  # where one kind is short, the other gets all
    assert len(rest) == 40 - 23


async def test_a_retry_waits_for_its_time_and_the_endpoint_is_scheduled_for_it(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(1))
    (lease,) = await ground.claim(ep)
    await ground.settle(ep, [lease], "retry", due_in_ms=400)
    assert await ground.claim(ep) == []
    due = (await ground.queues.reserve(ground.queues.partition_of(ep), 10)).next_ms
    assert due is not None
    assert 100 < due <= 400
    (again,) = await eventually(lambda: ground.claim(ep), "the retry is due")
    assert (again.event, again.attempt) == (lease.event, 2)


async def test_an_endpoint_over_its_backlog_limit_is_disabled_once_and_says_so(link: Link, ground: Ground) -> None:
    ep, other = await ground.endpoint(max_backlog=2), await ground.endpoint()
    await ground.endpoints.update(APP, ep, EndpointPatch(max_backlog=5))
    assert await ground.owe([ep, other], await ground.append(4)) == 8
    assert await ground.owe(ep, await ground.append(4)) == 1
    assert await ground.owe(ep, await ground.append(4)) == 0
    assert (await ground.endpoints.get(APP, ep)).disabled_reason == "backlog"
    assert await ground.claim(ep) == []
    assert await link.call("XLEN", keys.outbox(ground.queues.partition_of(ep))) == 1
    await ground.endpoints.update(APP, ep, EndpointPatch(enabled=True))
    assert len(await ground.claim(ep)) == 5
    assert (await ground.endpoints.get(APP, other)).enabled


async def test_a_disabled_endpoint_goes_on_collecting_and_delivers_when_enabled(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.endpoints.update(APP, ep, EndpointPatch(enabled=False))
    assert await ground.claim(ep) == []
    assert await ground.owe(ep, await ground.append(3)) == 3
    assert await ground.reserve(ep) == []
    assert await ground.claim(ep) == []
    assert await ground.reserve(ep) == []
    enabled = await ground.endpoints.update(APP, ep, EndpointPatch(enabled=True))
    assert (enabled.enabled, enabled.disabled_reason) == (True, None)
    assert await ground.reserve(ep) == [ep]
    assert len(await ground.claim(ep)) == 3


async def test_an_endpoint_that_is_gone_is_disabled_and_owes_nothing_more(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(5))
    first, second, third = await ground.claim(ep, 3)
    await ground.settle(ep, [first], "gone")
    await ground.settle(ep, [second], "retry")  # under way when the endpoint went
    await ground.settle(ep, [third], "ok")
    assert await ground.purge(ep) == 2
    assert sorted(await ground.statuses()) == ["cancelled"] * 4 + ["succeeded"]
    assert (await ground.endpoints.get(APP, ep)).disabled_reason == "gone"
    assert await ground.owe(ep, await ground.append(1)) == 0
    await ground.endpoints.update(APP, ep, EndpointPatch(enabled=True))
    assert await ground.owe(ep, await ground.append(1)) == 1


async def test_what_was_to_be_cancelled_stays_when_the_endpoint_was_enabled_again_meanwhile(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(3))
    (first,) = await ground.claim(ep, 1)
    await ground.settle(ep, [first], "gone")
    partition = ground.queues.partition_of(ep)
    (claimed,) = await ground.queues.claim(partition, [Want(ep, 10)], 1000, "nonce")
    assert isinstance(claimed, Claimed)
    assert claimed.purge
    await ground.endpoints.update(APP, ep, EndpointPatch(enabled=True))
    assert await ground.queues.purge(partition, ep, claimed.entries) == 0
    assert len(await ground.claim(ep)) == 2


async def test_operational_events_that_nobody_fetches_fill_no_store(ground: Ground) -> None:
    ep = await ground.endpoint()
    outbox = keys.outbox(ground.queues.partition_of(ep))
    await ground.link.pipeline([("XADD", outbox, "*", "kind", "old")] * 10_500)
    await ground.owe(ep, await ground.append(1))
    await ground.settle(ep, await ground.claim(ep), "exhausted")
    assert await ground.link.call("XLEN", outbox) < 10_200
    ((_, newest),) = await ground.link.call("XREVRANGE", outbox, "+", "-", "COUNT", 1)
    assert b"hub.delivery.exhausted" in newest


async def test_a_deleted_endpoint_gets_nothing_more_and_leaves_no_key(ground: Ground, store: StoreProcess) -> None:
    ep = await ground.endpoint()
    entries = await ground.append(150)
    await ground.owe(ep, entries)
    leases = await ground.claim(ep, 2)
    await ground.endpoints.delete(APP, ep)
    assert await ground.owe(ep, await ground.append(1)) == 0
    for count in (100, 48):
        assert await ground.reserve(ep) == [ep]
        assert await ground.purge(ep) == count
    await ground.settle(ep, leases[:1], "ok")
    await ground.settle(ep, leases[1:], "retry")
    with store.client() as client:
        assert client.keys("hub:{d*}:[efrl]:*") == []
        assert client.keys("hub:{d*}:b:*") != []  # cancelled: they may be looked at, for the retention
        assert all(client.ttl(key) > 0 for pattern in keys.WHILE_OWED for key in client.keys(pattern))
        assert client.zcard(keys.sched(ground.queues.partition_of(ep))) == 0


async def test_bytes_are_freed_when_all_succeeded_and_kept_where_something_failed(ground: Ground) -> None:
    ground = Ground(ground.link, HUB_DELIVERY_PARTITIONS="1")
    one, two = await ground.endpoint(), await ground.endpoint()
    good, bad = await ground.append(2)
    await ground.queues.enqueue(0, 0, 1, bad.position, [Owed(good, [one, two]), Owed(bad, [one, two])])
    await ground.settle(one, await ground.claim(one), "ok")
    leases = await ground.claim(two)
    assert await ground.link.call("EXISTS", keys.owed_body(0, leases[0].ref)) == 1
    await ground.settle(two, leases[:1], "ok")
    await ground.settle(two, leases[1:], "exhausted")
    assert await ground.link.call("EXISTS", keys.owed_body(0, leases[0].ref)) == 0
    assert await ground.link.call("TTL", keys.owed_body(0, leases[1].ref)) > 0
    assert await ground.link.call("TTL", keys.record(0, leases[0].ref)) > 0


async def test_no_key_is_left_without_a_time_to_live_but_the_listed_ones(ground: Ground, store: StoreProcess) -> None:
    ids = [await ground.endpoint(rate_limit=RateLimit(100)) for _ in range(3)]
    await ground.owe(ids, await ground.append(5))
    for ep, verdict in zip(ids, ("ok", "exhausted", "gone"), strict=True):
        await ground.settle(ep, await ground.claim(ep), verdict)
        await ground.endpoints.update(APP, ep, EndpointPatch(enabled=True))
    with store.client() as client:
        for name in sorted(_text(raw) for raw in client.keys("*")):
            listed = any(fnmatchcase(name, pattern) for pattern in keys.PERMANENT)
            assert listed or client.ttl(name) > 0, name


async def test_attempts_are_trimmed_by_bytes(ground: Ground) -> None:
    ep = await ground.endpoint(max_in_flight=1000)
    await ground.owe(ep, await ground.append(400))
    await ground.settle(ep, await ground.claim(ep, 1000), "ok")
    partition = ground.queues.partition_of(ep)
    await attempts.trim(ground.link, partition, 0, most=10_000)
    assert 0 < await ground.link.call("XLEN", keys.attempts(partition)) < 350
    assert await ground.link.call("TTL", keys.attempts(partition)) > 0


def _text(raw: Any) -> str:
    return raw.decode()


async def _reclaimed(ground: Ground, ep: str) -> Lease:
    (lease,) = await eventually(lambda: ground.claim(ep), "the lease has run out and is taken back")
    return lease


async def _lease_has_ended(ground: Ground, ep: str) -> bool:
    _, ends = await ground.link.call("ZRANGE", keys.leases(ground.queues.partition_of(ep), ep), 0, 0, "WITHSCORES")
    seconds, micros = await ground.link.call("TIME")
    return int(seconds) * 1000 + int(micros) // 1000 > int(ends)
