"""One fault at a time, with real workers: a clock jumps, a store is away, an endpoint is deleted, a worker is dead."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest

from hub.core.errors import StoreUnavailable
from hub.store import keys
from tests.support.hub import Hub
from tests.support.receiver import Receiver
from tests.support.waiting import eventually
from tests.support.webhook_site import emptied, ended, start
from tests.support.webhooks import APP, Ground

HOUR_MS = 3_600_000
JUMP = """
for _, key in ipairs({KEYS[2], KEYS[3]}) do
  local all = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for n = 1, #all, 2 do redis.call('ZADD', key, all[n + 1] - ARGV[1], all[n]) end
end
return redis.call('HINCRBY', KEYS[1], 'last', -ARGV[1])
"""
"""To the scripts it is as if the store's clock had gone on by so many ms. KEYS: tick, sched, an endpoint's leases."""


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with start(workers=2) as running:
        yield running


@pytest.fixture
async def ground(hub: Hub) -> AsyncIterator[Ground]:
    async with emptied(hub) as opened:
        yield opened


async def test_a_clock_that_jumps_repeats_no_attempt_that_is_under_way(ground: Ground, receiver: Receiver) -> None:
    receiver.delay = 1.5  # more than three looks of each worker at what is due
    ep = await ground.endpoint(url=receiver.url())
    await ground.append(1)
    await receiver.until(1)
    partition = ground.queues.partition_of(ep)
    names = (keys.tick(partition), keys.sched(partition), keys.leases(partition, ep))
    await ground.link.call("EVAL", JUMP, len(names), *names, HOUR_MS)
    done = await ended(ground, ep, "succeeded")
    assert [one.number for one in done.attempts] == [1]
    assert len(receiver.got) == 1
    await ground.append(1)
    await receiver.until(2)  # and the endpoint is served as before


async def test_an_answer_that_comes_while_the_store_is_away_is_recorded_when_it_is_back(
    ground: Ground, receiver: Receiver, hub: Hub
) -> None:
    receiver.delay = 0.5
    ep = await ground.endpoint(url=receiver.url())
    await ground.append(1)
    await receiver.until(1)
    hub.store.kill()
    await eventually(lambda: receiver.in_flight == 0, "the partner has answered")
    await asyncio.sleep(1)  # the store is away for longer than a call is tried
    hub.store.start()
    await eventually(lambda: _is_up(ground), "the store is reached again")
    done = await ended(ground, ep, "succeeded")
    assert [one.number for one in done.attempts] == [1]
    assert len(receiver.got) == 1


async def test_a_deleted_endpoint_with_work_queued_gets_nothing_more_and_all_of_it_is_cancelled(
    ground: Ground, receiver: Receiver
) -> None:
    receiver.delay = 0.3
    doomed = await ground.endpoint(url=receiver.url("/doomed"), max_in_flight=3)
    other = await ground.endpoint(url=receiver.url("/other"), max_in_flight=100)
    await ground.append(250)
    await receiver.until(3, "/doomed")
    await ground.endpoints.delete(APP, doomed)
    sent = len(receiver.at("/doomed"))
    await receiver.until(250, "/other")
    await eventually(lambda: _none_pending(ground, doomed), "what it was owed has ended")
    assert len(receiver.at("/doomed")) <= sent + 3  # what was claimed before
    ends = Counter(await ground.statuses(endpoint=doomed))
    assert sum(ends.values()) == 250
    assert ends["succeeded"] == len(receiver.at("/doomed"))
    assert ends["cancelled"] == 250 - ends["succeeded"]
    await eventually(lambda: _none_pending(ground, other), "the other one's are recorded")
    partition = ground.queues.partition_of(doomed)
    of_endpoint = [key for key in keys.of_endpoint(partition, doomed)[2:] if key != keys.claims(partition, doomed)]
    assert await ground.link.call("EXISTS", *of_endpoint) == 0


async def test_an_endpoint_whose_keys_cannot_be_used_holds_up_no_other_that_is_claimed_with_it(
    ground: Ground, receiver: Receiver, hub: Hub
) -> None:
    good = await ground.endpoint(url=receiver.url(), topics=("good",))
    bad = await ground.endpoint(topics=("bad",))
    while ground.queues.partition_of(bad) != ground.queues.partition_of(good):
        bad = await ground.endpoint(topics=("bad",))
    for worker in hub.workers:
        worker.signal(signal.SIGSTOP)
    ground.epoch = (await ground.log.observe(0))[0]
    await ground.owe([bad, good], await ground.append(1, topic="good"))
    partition = ground.queues.partition_of(bad)
    await ground.link.call("SET", keys.fresh(partition, bad), "nonsense")
    await ground.link.call("ZADD", keys.sched(partition), 1, bad)
    for worker in hub.workers:
        worker.signal(signal.SIGCONT)
    done = await ended(ground, good, "succeeded")
    assert [one.number for one in done.attempts] == [1]
    await eventually(lambda: any('"claiming failed"' in one.log for one in hub.workers), "it is told of")
    await ground.link.call("DEL", keys.fresh(partition, bad))


async def test_what_a_dead_worker_left_to_tell_is_told_by_another(ground: Ground, receiver: Receiver) -> None:
    await ground.endpoint(url=receiver.url("/watch"), topics=("hub.operational",))
    ep = await ground.endpoint(url="http://127.0.0.1:9/", topics=("nobody",), enabled=False)
    (entry,) = await ground.append(1, topic="elsewhere")
    # Claimed and settled by hand, as by a worker that dies before it has moved what it reported.
    ground.epoch = (await ground.log.observe(0))[0]
    await ground.owe(ep, [entry])
    partition = ground.queues.partition_of(ep)
    await ground.link.call("HSET", keys.endpoint(partition, ep), "state", "on")
    await ground.settle(ep, await ground.claim(ep), "exhausted")
    (told,) = await receiver.until(1, "/watch")
    assert told.event["type"] == "hub.delivery.exhausted"
    assert told.event["data"]["event"] == entry.id
    await eventually(lambda: _is_empty(ground, keys.outbox(partition)), "the outbox is let go")


async def _none_pending(ground: Ground, ep: str) -> bool:
    statuses = await ground.statuses(endpoint=ep)
    return bool(statuses) and "pending" not in statuses


async def _is_empty(ground: Ground, key: str) -> bool:
    return await ground.link.call("XLEN", key) == 0


async def _is_up(ground: Ground) -> bool:
    try:
        return await ground.link.call("PING") == b"PONG"
    except StoreUnavailable:
        return False
