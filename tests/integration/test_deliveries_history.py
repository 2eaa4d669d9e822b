"""Deliveries as users see them: look up, list, retry by hand, cancel, and the attempts of each."""

import pytest

from hub.core.errors import Conflict, NotFound, PayloadExpired
from hub.store import keys
from hub.store.delivery_scan import Filter
from hub.store.paging import Window
from hub.store.records import delivery_id, parse_delivery_id, parse_ref
from tests.support.webhooks import APP, Ground


async def test_a_delivery_shows_its_event_its_status_and_its_attempts(ground: Ground) -> None:
    ep = await ground.endpoint()
    (entry,) = await ground.append(1, topic="orders.7", kind="order.paid")
    await ground.owe(ep, [entry])
    (lease,) = await ground.claim(ep)
    id = delivery_id(parse_ref(lease.ref), ep)
    before = await ground.deliveries.get(APP, id)
    assert (before.status, before.attempt_count, before.attempts) == ("pending", 0, [])
    assert (before.event.id, before.event.type, before.event.topic) == (entry.id, "order.paid", "orders.7")
    assert before.next_attempt_at is not None
    await ground.settle(ep, [lease], "retry")
    await ground.settle(ep, await ground.claim(ep), "ok")
    after = await ground.deliveries.get(APP, id)
    assert [(one.number, one.status, one.error) for one in after.attempts] == [(1, 500, "status"), (2, 200, None)]
    assert (after.status, after.attempt_count, after.next_attempt_at) == ("succeeded", 2, None)
    assert after.ended_at is not None


@pytest.mark.parametrize("id", ["x", "dlv_0-1-0_" + "0" * 24, "dlv_0-01-0_" + "0" * 24, "dlv_9999999-1-1_x"])
async def test_an_unknown_delivery_is_not_found(ground: Ground, id: str) -> None:
    with pytest.raises(NotFound):
        await ground.deliveries.get(APP, id)


async def test_another_apps_delivery_is_not_found(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(1))
    (listed,), _, _ = await ground.deliveries.page(APP, Filter(), Window(10, descending=True))
    for act in (ground.deliveries.get, ground.deliveries.retry, ground.deliveries.cancel):
        with pytest.raises(NotFound):
            await act("other", listed.id)
    assert await ground.deliveries.page("other", Filter(endpoint=ep), Window(10, descending=True)) == ([], None, None)


async def test_a_delivery_that_failed_for_good_can_be_retried_by_hand_from_the_schedules_start(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(1))
    await ground.settle(ep, await ground.claim(ep), "retry")
    leases = await ground.claim(ep)
    await ground.settle(ep, leases, "exhausted")
    id = delivery_id(parse_ref(leases[0].ref), ep)
    assert (await ground.deliveries.retry(APP, id)).status == "pending"
    with pytest.raises(Conflict):
        await ground.deliveries.retry(APP, id)
    assert await ground.reserve(ep) == [ep]
    (lease,) = await ground.claim(ep)
    assert lease.standing is not None
    assert lease.body == leases[0].body
    body = keys.owed_body(ground.queues.partition_of(ep), lease.ref)
    assert await ground.link.call("TTL", body) == -1  # it is kept for as long as it is owed
    assert (lease.attempt, lease.standing.base, lease.generation) == (3, 2, 1)
    assert await ground.link.call("TTL", keys.record(ground.queues.partition_of(ep), lease.ref)) == -1
    await ground.settle(ep, [lease], "ok")
    done = await ground.deliveries.get(APP, id)
    assert (done.status, [one.number for one in done.attempts]) == ("succeeded", [1, 2, 3])
    assert await ground.link.call("EXISTS", body) == 0  # nothing is left that could be retried from it


async def test_a_delivery_of_an_endpoint_that_is_gone_is_not_owed_again(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(1))
    (lease,) = await ground.claim(ep)
    await ground.settle(ep, [lease], "gone")
    with pytest.raises(Conflict):
        await ground.deliveries.retry(APP, delivery_id(parse_ref(lease.ref), ep))
    assert await ground.statuses() == ["cancelled"]


async def test_an_exhausted_delivery_without_its_bytes_and_without_its_event_can_not_be_retried(ground: Ground) -> None:
    ep = await ground.endpoint()
    (entry,) = await ground.append(1)
    await ground.owe(ep, [entry])
    (lease,) = await ground.claim(ep)
    await ground.settle(ep, [lease], "exhausted")
    partition, id = ground.queues.partition_of(ep), delivery_id(parse_ref(lease.ref), ep)
    body, record = keys.owed_body(partition, lease.ref), keys.record(partition, lease.ref)
    await ground.link.call("XTRIM", keys.log(0), "MAXLEN", 0)
    assert abs(await ground.link.call("TTL", body) - await ground.link.call("TTL", record)) <= 1
    await ground.link.call("DEL", body)  # its time is over
    with pytest.raises(PayloadExpired):
        await ground.deliveries.retry(APP, id)
    assert (await ground.deliveries.get(APP, id)).status == "exhausted"


async def test_a_succeeded_delivery_is_sent_again_from_the_log_and_never_without_its_bytes(ground: Ground) -> None:
    ep = await ground.endpoint()
    (entry,) = await ground.append(1)
    await ground.owe(ep, [entry])
    leases = await ground.claim(ep)
    await ground.settle(ep, leases, "ok")
    id = delivery_id(parse_ref(leases[0].ref), ep)
    await ground.deliveries.retry(APP, id)
    (lease,) = await ground.claim(ep)
    assert lease.body == entry.body
    await ground.settle(ep, [lease], "ok")
    await ground.link.call("XTRIM", keys.log(0), "MAXLEN", 0)
    with pytest.raises(PayloadExpired):
        await ground.deliveries.retry(APP, id)


async def test_a_cancelled_delivery_is_dropped_when_it_is_claimed(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(1))
    (listed,), _, _ = await ground.deliveries.page(APP, Filter(), Window(10, descending=True))
    assert (await ground.deliveries.cancel(APP, listed.id)).status == "cancelled"
    with pytest.raises(Conflict):
        await ground.deliveries.cancel(APP, listed.id)
    (lease,) = await ground.claim(ep)
    assert lease.standing is not None
    assert lease.standing.status == "cancelled"
    await ground.settle(ep, [lease], "drop")
    assert await ground.reserve(ep) == []


async def test_a_cancelled_delivery_that_is_retried_is_owed_once(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(1))
    (listed,), _, _ = await ground.deliveries.page(APP, Filter(), Window(10, descending=True))
    await ground.deliveries.cancel(APP, listed.id)
    await ground.deliveries.retry(APP, listed.id)
    leases = await ground.claim(ep)
    current = [one for one in leases if one.standing is not None and one.standing.generation == one.generation]
    assert (len(leases), len(current)) == (2, 1)  # the entry that the cancelled one left is known for stale
    await ground.settle(ep, [one for one in leases if one not in current], "drop")
    await ground.settle(ep, current, "ok")
    assert await ground.statuses() == ["succeeded"]


async def test_an_attempt_under_way_when_its_delivery_was_cancelled_is_shown_and_the_end_stays(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(1))
    leases = await ground.claim(ep)
    id = delivery_id(parse_ref(leases[0].ref), ep)
    await ground.deliveries.cancel(APP, id)
    await ground.settle(ep, leases, "retry")
    shown = await ground.deliveries.get(APP, id)
    assert (shown.status, len(shown.attempts)) == ("cancelled", 1)
    assert await ground.claim(ep) == []


async def test_a_late_answer_to_a_cancelled_delivery_does_not_end_what_was_retried_since(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(1))
    late = await ground.claim(ep)
    id = delivery_id(parse_ref(late[0].ref), ep)
    await ground.deliveries.cancel(APP, id)
    await ground.deliveries.retry(APP, id)
    await ground.settle(ep, late, "ok")
    shown = await ground.deliveries.get(APP, id)
    assert (shown.status, len(shown.attempts)) == ("pending", 1)
    await ground.settle(ep, await ground.claim(ep), "ok")
    assert (await ground.deliveries.get(APP, id)).status == "succeeded"


async def test_a_late_answer_to_an_earlier_attempt_takes_no_number_back(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(1))
    late = await ground.claim(ep)
    id = delivery_id(parse_ref(late[0].ref), ep)
    await ground.deliveries.cancel(APP, id)
    await ground.deliveries.retry(APP, id)
    for _ in range(2):
        await ground.settle(ep, await ground.claim(ep), "retry")
    await ground.settle(ep, late, "ok")
    shown = await ground.deliveries.get(APP, id)
    assert (shown.status, shown.attempt_count, len(shown.attempts)) == ("pending", 2, 3)
    assert [lease.attempt for lease in await ground.claim(ep)] == [3]


async def test_an_entry_whose_record_is_gone_is_dropped(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(1))
    partition = ground.queues.partition_of(ep)
    (lease,) = await ground.claim(ep)
    await ground.link.call("DEL", keys.record(partition, lease.ref), keys.owed_body(partition, lease.ref))
    ((read,),) = await ground.queues.load(partition, [(ep, [lease.token])])
    assert (read.standing, read.body) == (None, None)
    assert await ground.settle(ep, [read], "drop") == [True]


async def test_a_deleted_endpoints_deliveries_stay_readable(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(1))
    (listed,), _, _ = await ground.deliveries.page(APP, Filter(), Window(10, descending=True))
    await ground.endpoints.delete(APP, ep)
    await ground.purge(ep)
    assert (await ground.deliveries.get(APP, listed.id)).status == "cancelled"
    with pytest.raises(NotFound):
        await ground.deliveries.retry(APP, listed.id)
    assert await ground.statuses(endpoint=ep) == ["cancelled"]


async def test_what_has_ended_stays_listed_for_the_retention_with_its_attempts_and_its_bytes(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(5))
    (by_hand,), _, _ = await ground.deliveries.page(APP, Filter(), Window(1, descending=True))
    await ground.deliveries.cancel(APP, by_hand.id)
    for verdict in ("ok", "exhausted", "gone"):
        await ground.settle(ep, await ground.claim(ep, 1), verdict)
    await ground.purge(ep)
    assert sorted(await ground.statuses()) == ["cancelled"] * 3 + ["exhausted", "succeeded"]
    partition, keep = ground.queues.partition_of(ep), ground.settings.attempt_retention
    page, _, _ = await ground.deliveries.page(APP, Filter(endpoint=ep), Window(10, descending=True))
    names = [keys.attempts(partition), keys.delivery_index(partition, ep, 0)]
    for one in page:
        parsed = parse_delivery_id(one.id)
        assert parsed is not None
        names.append(keys.record(partition, str(parsed[0])))
        names += [keys.owed_body(partition, str(parsed[0]))] * (one.status != "succeeded")
        made = (await ground.deliveries.get(APP, one.id)).attempts
        assert len(made) == one.attempt_count
    assert len(names) == 2 + 5 + 4
    for name in names:
        assert keep - 10 < await ground.link.call("TTL", name) <= keep, name


async def test_listing_pages_through_all_endpoints_newest_first_each_once(ground: Ground) -> None:
    ids = [await ground.endpoint() for _ in range(5)]
    wanted: set[tuple[str, str]] = set()
    for _ in range(3):
        entries = await ground.append(9)
        await ground.owe(ids, entries)
        wanted |= {(ep, entry.id) for ep in ids for entry in entries}
    seen: list[tuple[str, str]] = []
    times: list[str] = []
    cursor = None
    while True:
        page, cursor, _ = await ground.deliveries.page(APP, Filter(), Window(7, cursor, descending=True))
        seen += [(one.endpoint, one.event.id) for one in page]
        times += [one.created_at for one in page]
        if cursor is None:
            break
        assert len(page) == 7
    assert len(seen) == len(wanted) == 135
    assert set(seen) == wanted
    assert times == sorted(times, reverse=True)


async def test_listing_filters_by_endpoint_event_status_and_time(ground: Ground) -> None:
    one, two = await ground.endpoint(), await ground.endpoint()
    entries = await ground.append(3)
    await ground.owe([one, two], entries)
    await ground.settle(one, await ground.claim(one, 2), "ok")
    assert await ground.statuses(endpoint=one) == ["pending", "succeeded", "succeeded"]
    assert await ground.statuses(status="succeeded") == ["succeeded"] * 2
    assert sorted(await ground.statuses(event=entries[0].id)) == ["pending", "succeeded"]
    assert await ground.statuses(event=entries[0].id, endpoint=two) == ["pending"]
    assert await ground.statuses(event="evt_unknown") == []
    assert await ground.statuses(endpoint="nonsense") == []
    ms = entries[0].position[0]
    assert len(await ground.statuses(since=ms)) == 6
    assert await ground.statuses(until=ms) == []
    assert await ground.statuses(since=ms + 60_000) == []
