"""Recoveries and replays: what they owe, once each, whoever works on them, and how they keep within bounds."""

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hub.core.endpoint import EndpointPatch
from hub.core.errors import Conflict, Invalid, NotFound
from hub.core.span import Span
from hub.store import keys
from hub.store.delivery_scan import Filter
from hub.store.job_steps import PAUSE_MS, JobSteps, Taken
from hub.store.jobs import MOST_KEPT, MOST_RUNNING, Job, Kind
from hub.store.log import Entry
from hub.store.paging import Edge, Window
from tests.support.webhooks import APP, Ground
from workers.jobs import JobRunner

EPOCH = Span(datetime.fromtimestamp(0, UTC))


def since(entry: Entry) -> Span:
    return Span(datetime.fromtimestamp(entry.position[0] / 1000, UTC))


async def run(ground: Ground, job: Job, steps: JobSteps | None = None) -> list[str]:
    """Go on with a job until it has ended, or has to wait; returns the steps' outcomes."""
    steps = steps or ground.steps()
    runner = JobRunner(steps, ground.queues, lambda _: None)
    partition, number = ground.queues.partition_of(job.endpoint), int(job.id.rpartition("_")[2])
    outcomes: list[str] = []
    while (taken := await steps.read(partition, job.endpoint, number)) is not None:
        outcomes.append(await runner._step(taken))  # pyright: ignore[reportPrivateUsage]
        if outcomes[-1] not in ("ok", "moved"):
            break
    return outcomes


async def begun(ground: Ground, ep: str, kind: Kind, span: Span = EPOCH) -> Job:
    return await ground.jobs.start(APP, ep, kind, span)


async def done(ground: Ground, ep: str, kind: Kind, span: Span = EPOCH, **limits: int) -> Job:
    job = await begun(ground, ep, kind, span)
    await run(ground, job, ground.steps(**limits))
    return await ground.jobs.get(APP, job.id)


async def fail(ground: Ground, ep: str, entries: list[Entry]) -> None:
    """Owe the events and exhaust them."""
    await ground.owe(ep, entries)
    await ground.settle(ep, await ground.claim(ep, 1000), "exhausted")


async def test_a_recovery_owes_what_is_exhausted_once_more_and_nothing_else(ground: Ground) -> None:
    ep = await ground.endpoint(max_in_flight=100)
    entries = await ground.append(4)
    await ground.owe(ep, entries)
    good, *bad = await ground.claim(ep)
    await ground.settle(ep, [good], "ok")
    await ground.settle(ep, bad, "exhausted")
    job = await done(ground, ep, "recover")
    assert (job.status, job.owed, job.hastened, job.expired, job.progress) == ("completed", 3, 0, 0, 1.0)
    assert await ground.reserve(ep) == [ep]
    again = await ground.claim(ep)
    assert [(one.event, one.attempt, one.generation) for one in again] == [(e.id, 2, 1) for e in entries[1:]]
    partition = ground.queues.partition_of(ep)
    for one in again:  # kept for as long as it is owed, and not longer
        for name in (keys.record(partition, one.ref), keys.owed_body(partition, one.ref)):
            assert await ground.link.call("TTL", name) == -1
    await ground.settle(ep, again, "ok")
    for one in again:
        assert await ground.link.call("EXISTS", keys.owed_body(partition, one.ref)) == 0
    assert await ground.statuses() == ["succeeded"] * 4
    assert (await done(ground, ep, "recover")).owed == 0


async def test_a_recovery_keeps_within_its_span(ground: Ground) -> None:
    ep = await ground.endpoint(max_in_flight=100)
    old = await ground.append(2)
    await asyncio.sleep(0.002)
    new = await ground.append(2)
    await asyncio.sleep(0.002)
    last = await ground.append(1)
    await fail(ground, ep, [*old, *new, *last])
    job = await done(ground, ep, "recover", Span(since(new[0]).since, since(last[0]).since))
    assert job.owed == 2
    assert [one.event for one in await ground.claim(ep)] == [entry.id for entry in new]


async def test_a_recovery_brings_forward_what_failed_and_waits_for_its_next_attempt(ground: Ground) -> None:
    ep = await ground.endpoint(max_in_flight=100)
    entries = await ground.append(4)
    await ground.owe(ep, entries)
    leases = await ground.claim(ep)
    await ground.settle(ep, leases[:2], "retry", due_in_ms=3_600_000)
    assert await ground.claim(ep) == []
    await ground.settle(ep, leases[3:], "retry")  # due already
    job = await done(ground, ep, "recover")
    assert (job.owed, job.hastened) == (0, 2)
    wanted = {(entries[n].id, 2) for n in (0, 1, 3)}
    assert {(one.event, one.attempt) for one in await ground.claim(ep)} == wanted


async def test_a_replay_owes_all_that_matches_sent_before_or_not_as_deliveries_of_its_own(ground: Ground) -> None:
    early = await ground.append(2)
    wanted = "topic != 'orders.7' && length(topic) > `0`"
    ep = await ground.endpoint(max_in_flight=100, types=("order.*",), filter=wanted)
    sent = await ground.append(2)
    await ground.append(1, topic="orders.7")
    await ground.append(2, kind="cart.filled")
    await ground.owe(ep, sent)
    await ground.settle(ep, await ground.claim(ep), "ok")
    job = await done(ground, ep, "replay")
    assert (job.status, job.owed) == ("completed", 4)
    assert await ground.reserve(ep) == [ep]
    leases = await ground.claim(ep)
    assert {one.event for one in leases} == {entry.id for entry in (*early, *sent)}
    assert {one.body for one in leases} == {entry.body for entry in (*early, *sent)}
    await ground.settle(ep, leases[:3], "ok")
    await ground.settle(ep, leases[3:], "exhausted")
    listed, _, _ = await ground.deliveries.page(APP, Filter(endpoint=ep), Window(100, descending=True))
    assert [one.origin for one in listed].count(job.id) == 4
    assert [one.origin for one in listed].count(None) == 2
    of_event, _, _ = await ground.deliveries.page(APP, Filter(event=sent[0].id), Window(100, descending=True))
    assert {one.origin for one in of_event} == {None, job.id}
    shown = await ground.deliveries.get(APP, next(one.id for one in listed if one.origin))
    assert (shown.origin, shown.attempts[0].number) == (job.id, 1)
    assert (await done(ground, ep, "recover")).owed == 1  # what a replay failed at is recovered like all else


async def test_what_is_published_after_a_replay_began_is_left_to_dispatch(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.append(1)
    job = await begun(ground, ep, "replay")
    await ground.append(1)
    await run(ground, job)
    assert (await ground.jobs.get(APP, job.id)).owed == 1


async def test_pages_of_replays_and_of_listings_meet_without_loss(ground: Ground) -> None:
    ep = await ground.endpoint(max_in_flight=1000)
    entries = await ground.append(450)
    await ground.owe(ep, entries)
    jobs = [await done(ground, ep, "replay") for _ in range(2)]
    assert [job.owed for job in jobs] == [450, 450]
    found: list[str] = []
    cursor: Edge | None = None
    while True:
        page, cursor, _ = await ground.deliveries.page(APP, Filter(endpoint=ep), Window(70, cursor, descending=True))
        found += [one.id for one in page]
        if cursor is None:
            break
    assert (len(found), len(set(found))) == (1350, 1350)


@pytest.mark.parametrize("kind", ["recover", "replay"])
async def test_two_workers_on_one_job_that_die_at_random_owe_each_delivery_once(ground: Ground, kind: Kind) -> None:
    ep = await ground.endpoint(max_in_flight=1000)
    entries = [entry for _ in range(3) for entry in await ground.append(200)]
    await fail(ground, ep, entries)
    job = await begun(ground, ep, kind)
    partition, number = ground.queues.partition_of(ep), int(job.id.rpartition("_")[2])
    chance = random.Random(7)
    steps = ground.steps(most_due=250)
    runner = JobRunner(steps, ground.queues, lambda _: None)
    held: list[Taken] = []
    outcomes: list[str] = []
    claimed: list[str] = []
    while (taken := await steps.read(partition, ep, number)) is not None:
        held.append(taken)  # what a worker knew that froze, and goes on with later
        some = [chance.choice(held), taken] if chance.random() < 0.5 else [taken, taken]
        outcomes += await asyncio.gather(*(runner._step(one) for one in some))  # pyright: ignore[reportPrivateUsage]
        leases = await ground.claim(ep, 120)
        claimed += [lease.ref for lease in leases]
        await ground.settle(ep, leases, "exhausted" if chance.random() < 0.3 else "ok")
    leases = await ground.claim(ep, 1000)
    claimed += [lease.ref for lease in leases]
    assert (len(claimed), len(set(claimed))) == (600, 600)
    assert (await ground.jobs.get(APP, job.id)).owed == 600
    assert {"moved", "full", "ok"} <= set(outcomes)


async def test_a_job_waits_while_the_endpoint_has_enough_to_do_and_never_disables_it(ground: Ground) -> None:
    ep = await ground.endpoint(max_in_flight=1000, max_backlog=100)
    entries = await ground.append(200)
    await ground.owe(ep, entries[:80])
    job = await begun(ground, ep, "replay")
    steps = ground.steps()
    assert await run(ground, job, steps) == ["full"]
    waiting = await ground.jobs.get(APP, job.id)
    assert (waiting.status, waiting.owed, waiting.reason) == ("running", 10, "the endpoint has enough to do")
    assert 0 <= waiting.progress < 1
    assert await ground.owe(ep, entries[80:90]) == 10  # the rest of the limit is left to what is published
    assert (await ground.endpoints.get(APP, ep)).enabled
    while (await run(ground, job, steps))[-1:] == ["full"]:
        await ground.settle(ep, await ground.claim(ep, 1000), "ok")
    assert (await ground.jobs.get(APP, job.id)).owed == 200


async def test_a_job_waits_as_well_for_the_heads_of_an_ordered_endpoints_topics(ground: Ground) -> None:
    ep = await ground.endpoint(max_in_flight=100, ordered=True)
    for n in range(8):
        await ground.append(1, topic=f"topic.{n}")
    job = await begun(ground, ep, "replay")
    for _ in range(2):
        assert await run(ground, job, ground.steps(most_due=5)) == ["full"]
    assert len(await ground.claim(ep)) == 5


async def test_a_job_that_one_worker_has_taken_is_kept_from_the_others_until_it_lets_go(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.append(1)
    await begun(ground, ep, "replay")
    partition, steps = ground.queues.partition_of(ep), ground.steps()
    taken = await steps.take(partition)
    assert taken is not None
    assert await steps.take(partition) is None
    await steps.release(taken)
    assert await steps.take(partition) == taken


async def test_a_replay_leaves_fresh_work_half_of_every_claim(ground: Ground) -> None:
    ep = await ground.endpoint(max_in_flight=100)
    await ground.append(50)
    await done(ground, ep, "replay")
    fresh = await ground.append(20)
    await ground.owe(ep, fresh)
    leases = await ground.claim(ep, 20)
    assert sum(one.event in {entry.id for entry in fresh} for one in leases) == 10


async def test_a_job_waits_for_a_disabled_endpoint_and_ends_with_a_deleted_one(ground: Ground) -> None:
    paused, deleted, gone = [await ground.endpoint(max_in_flight=10) for _ in range(3)]
    await ground.append(20)
    await ground.endpoints.update(APP, paused, EndpointPatch(enabled=False))
    waiting = await begun(ground, paused, "replay")
    assert await run(ground, waiting, ground.steps(most_due=5)) == ["full"]
    due = await ground.link.call("ZRANGE", keys.jobs(ground.queues.partition_of(paused)), 0, 0, "WITHSCORES")
    assert int(due[1]) > time.time() * 1000 + 10 * PAUSE_MS  # it isn't asked in a hurry whether it is resumed
    assert await ground.claim(paused) == []
    await ground.endpoints.update(APP, paused, EndpointPatch(enabled=True))
    assert len(await ground.claim(paused)) == 5
    job = await begun(ground, deleted, "replay")
    await ground.endpoints.delete(APP, deleted)
    assert await run(ground, job) == ["ended"]
    ended = await ground.jobs.get(APP, job.id)
    assert (ended.status, ended.reason) == ("cancelled", "the endpoint was deleted")
    with pytest.raises(NotFound):
        await begun(ground, deleted, "replay")
    await ground.owe(gone, await ground.append(1))
    job = await begun(ground, gone, "replay")
    await ground.settle(gone, await ground.claim(gone), "gone")
    assert await run(ground, job) == ["ended"]
    with pytest.raises(Conflict):
        await begun(ground, gone, "recover")


async def test_a_cancelled_job_owes_nothing_more_and_what_it_owed_stays(ground: Ground) -> None:
    ep = await ground.endpoint(max_in_flight=100)
    await ground.append(20)
    job = await begun(ground, ep, "replay")
    steps = ground.steps(most_due=5)
    held = await steps.read(ground.queues.partition_of(ep), ep, int(job.id.rpartition("_")[2]))
    assert held is not None
    assert await run(ground, job, steps) == ["full"]
    cancelled = await ground.jobs.cancel(APP, job.id)
    assert (cancelled.status, cancelled.owed) == ("cancelled", 5)
    assert cancelled.ended_at is not None
    assert await steps.replay(held, lambda _: True) == "ended"
    assert len(await ground.claim(ep)) == 5
    with pytest.raises(Conflict):
        await ground.jobs.cancel(APP, job.id)


async def test_bytes_that_are_gone_are_counted(ground: Ground) -> None:
    ep = await ground.endpoint(max_in_flight=100)
    entries = await ground.append(6)
    await fail(ground, ep, entries)
    partition = ground.queues.partition_of(ep)
    for entry in entries[:4]:
        await ground.link.call("DEL", keys.owed_body(partition, f"0-{entry.position[0]}-{entry.position[1]}"))
    await ground.link.call("HSET", keys.meta(0), "dispatched", "{}-{}".format(*entries[-1].position))
    floor = "{}-{}".format(*entries[1].position)
    await ground.link.call("XTRIM", keys.log(0), "MINID", "{}-{}".format(*entries[2].position))
    await ground.link.call("HSET", keys.meta(0), "floor", floor)
    recovered = await done(ground, ep, "recover")
    assert (recovered.owed, recovered.expired) == (4, 2)  # two of those whose bytes were freed still are in the log
    replayed = await done(ground, ep, "replay")
    assert (replayed.owed, replayed.expired) == (4, 2)


async def test_an_ordered_endpoint_is_recovered_and_replayed_in_order(ground: Ground) -> None:
    ep = await ground.endpoint(max_in_flight=100, ordered=True)
    entries = await ground.append(3)
    await ground.owe(ep, entries)
    for _ in entries:
        await ground.settle(ep, await ground.claim(ep), "exhausted")
    await done(ground, ep, "recover")
    await done(ground, ep, "replay")
    sent: list[str] = []
    for _ in range(6):
        (lease,) = await ground.claim(ep)
        sent.append(lease.event)
        await ground.settle(ep, [lease], "ok")
    assert sent == [entry.id for entry in entries] * 2
    assert await ground.claim(ep) == []


async def test_a_job_whose_steps_keep_failing_ends_as_failed(ground: Ground) -> None:
    ep = await ground.endpoint()
    await ground.append(1)
    job = await begun(ground, ep, "replay")
    broken = keys.retries(ground.queues.partition_of(ep), ep)
    await ground.link.call("SET", broken, "not a sorted set")
    assert await run(ground, job) == ["moved"] * 4 + ["ended"]
    ended = await ground.jobs.get(APP, job.id)
    assert (ended.status, ended.reason) == ("failed", "a step failed: StoreError")
    await ground.link.call("DEL", broken)


async def test_jobs_are_listed_newest_first_and_bounded(ground: Ground) -> None:
    ep = await ground.endpoint()
    first = await done(ground, ep, "recover")
    running = [await begun(ground, ep, "recover") for _ in range(MOST_RUNNING)]
    with pytest.raises(Conflict):
        await begun(ground, ep, "recover")
    assert [one.id for one in (await ground.jobs.of_endpoint(APP, ep, Window(50, descending=True))).items] == [
        one.id for one in (*running[::-1], first)
    ]
    for one in running:
        await ground.jobs.cancel(APP, one.id)
    for _ in range(MOST_KEPT):
        await ground.jobs.cancel(APP, (await begun(ground, ep, "recover")).id)
    assert len((await ground.jobs.of_endpoint(APP, ep, Window(500))).items) == MOST_KEPT


async def test_another_apps_job_is_not_found(ground: Ground) -> None:
    ep = await ground.endpoint()
    job = await begun(ground, ep, "recover")
    for act in (ground.jobs.get, ground.jobs.cancel):
        for app, id in (("other", job.id), (APP, "job_x"), (APP, f"{job.id}9")):
            with pytest.raises(NotFound):
                await act(app, id)
    with pytest.raises(NotFound):
        await ground.jobs.start("other", ep, "replay", EPOCH)
    with pytest.raises(NotFound):
        await ground.jobs.of_endpoint("other", ep, Window(1))


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"since": datetime.now(UTC) + timedelta(days=1)}, "since"),
        ({"since": datetime.now(UTC), "until": datetime.now(UTC) - timedelta(days=1)}, "until"),
    ],
)
async def test_a_span_that_is_empty_is_refused_by_name(ground: Ground, given: dict[str, Any], field: str) -> None:
    ep = await ground.endpoint()
    with pytest.raises(Invalid) as refused:
        await begun(ground, ep, "replay", Span(**given))
    assert refused.value.details[0].field == field
