"""Workers and their store are stopped, stalled, killed and emptied: nothing is lost, and all goes on by itself."""

import asyncio
import base64
import signal
from collections import Counter

from hub.core.errors import StoreUnavailable
from hub.store import keys
from tests.support.hub import Hub, HubProcess
from tests.support.receiver import Receiver, answer
from tests.support.waiting import eventually
from tests.support.webhook_site import ended, ground_of, start
from tests.support.webhooks import APP, Ground


async def test_sigterm_lets_the_attempts_in_flight_end_and_loses_nothing() -> None:
    with start() as hub:
        async with ground_of(hub) as ground, Receiver() as receiver:
            receiver.delay = 0.7
            ep = await ground.endpoint(url=receiver.url(), max_in_flight=5)
            entries = await ground.append(12)
            await receiver.until(5)
            assert await asyncio.to_thread(hub.workers[0].terminate) == 0
            assert receiver.in_flight == 0
            assert await ground.link.call("ZCARD", keys.leases(ground.queues.partition_of(ep), ep)) == 0
            before = len(receiver.got)
            assert sorted(await ground.statuses()) == ["pending"] * (12 - before) + ["succeeded"] * before
            receiver.delay = 0
            hub.start_worker()
            await receiver.until(12)
            await eventually(lambda: _all_ended(ground), "every delivery has ended")
            assert _ids(receiver) == {entry.id: 1 for entry in entries}  # nothing was sent twice either


async def test_an_attempt_whose_worker_was_killed_is_made_by_another() -> None:
    with start(workers=2) as hub:
        async with ground_of(hub) as ground, Receiver() as receiver:
            receiver.delay = 60
            ep = await ground.endpoint(url=receiver.url(), timeout=3)  # it is to be killed before that
            await ground.append(1)
            await receiver.until(1)
            receiver.delay = 0
            busy = _sending(hub)
            busy.kill()
            await receiver.until(2)
            done = await ended(ground, ep, "succeeded")
            assert [one.number for one in done.attempts] == [2]  # the first ended with its worker, unrecorded
            await ground.append(1)
            await receiver.until(3)  # the dispatch lease was taken over as well


async def test_a_dispatching_worker_that_stalls_and_wakes_again_enqueues_nothing_twice() -> None:
    with start(workers=2) as hub:
        async with ground_of(hub) as ground, Receiver() as receiver:
            await ground.endpoint(url=receiver.url())
            entries = await ground.append(1)
            await receiver.until(1)
            stalled = _sending(hub)
            stalled.signal(signal.SIGSTOP)
            entries += await ground.append(20)
            await receiver.until(21, seconds=20)  # once the lease has run out
            stalled.signal(signal.SIGCONT)
            entries += await ground.append(20)
            await receiver.until(41)
            await eventually(lambda: _all_ended(ground), "every delivery has ended")
            assert _ids(receiver) == {entry.id: 1 for entry in entries}


async def test_a_worker_that_stalls_in_mid_attempt_changes_nothing_when_it_wakes() -> None:
    with start(workers=2) as hub:
        async with ground_of(hub) as ground, Receiver() as receiver:
            receiver.delay = 3
            ep = await ground.endpoint(url=receiver.url(), timeout=1)
            await ground.append(1)
            await receiver.until(1)
            receiver.delay = 0
            stalled = _sending(hub)
            stalled.signal(signal.SIGSTOP)
            await receiver.until(2, seconds=20)
            done = await ended(ground, ep, "succeeded")
            stalled.signal(signal.SIGCONT)
            await eventually(lambda: '"lease was lost"' in stalled.log, "the late answer meets the fence")
            again = await ground.deliveries.get(APP, done.id)
            assert again == done


async def test_a_store_that_is_killed_again_and_again_loses_no_delivery() -> None:
    with start(workers=2) as hub:
        async with ground_of(hub) as ground, Receiver() as receiver:
            receiver.delay = 0.01
            for path in ("/a", "/b", "/c"):
                await ground.endpoint(url=receiver.url(path), max_in_flight=20)
            wanted: set[str] = set()
            for downtime in (0, 0, 1.5):
                wanted |= {entry.id for entry in await ground.append(150)}
                enough = len(receiver.got) + 50
                await eventually(lambda: len(receiver.got) > enough, "deliveries are under way")  # noqa: B023
                hub.store.kill()
                await asyncio.sleep(downtime)
                hub.store.start()
                await eventually(lambda: _is_up(ground), "the store is reached again")
            await eventually(lambda: _all_got(receiver, wanted), "every event reached every endpoint", 30)
            await eventually(lambda: _all_ended(ground), "every delivery has ended")


async def test_a_store_that_comes_back_empty_is_served_from_the_start() -> None:
    with start() as hub:
        async with ground_of(hub) as ground, Receiver() as receiver:
            await ground.endpoint(url=receiver.url("/old"))
            await ground.append(1)
            await receiver.until(1, "/old")
            hub.store.wipe()
            hub.store.start()
            await eventually(lambda: _is_up(ground), "the store is reached again")
            await ground.endpoint(url=receiver.url("/new"))
            entries = await ground.append(3)
            await receiver.until(3, "/new")
            assert _ids(receiver, "/new") == {entry.id: 1 for entry in entries}
            assert len(receiver.at("/old")) == 1


async def test_a_full_store_holds_dispatch_up_and_loses_nothing() -> None:
    with start() as hub:
        async with ground_of(hub) as ground, Receiver() as receiver:
            receiver.delay = 0.3
            await ground.endpoint(url=receiver.url())
            entries = await ground.append(1)
            await receiver.until(1)
            hub.workers[0].signal(signal.SIGSTOP)
            entries += await ground.append(5)
            await ground.link.call("CONFIG", "SET", "maxmemory", 1)
            hub.workers[0].signal(signal.SIGCONT)
            await eventually(lambda: '"dispatch waits"' in hub.workers[0].log, "dispatch waits")
            await eventually(lambda: _all_ended(ground), "what was in flight is recorded all the same")
            await ground.link.call("CONFIG", "SET", "maxmemory", 0)
            await receiver.until(6)
            assert _ids(receiver) == {entry.id: 1 for entry in entries}


async def test_a_log_that_is_trimmed_while_retries_wait_takes_nothing_from_them() -> None:
    with start() as hub:
        async with ground_of(hub) as ground, Receiver() as receiver:
            receiver.answers["/hook"] = [answer(500)] * 3
            ep = await ground.endpoint(url=receiver.url())
            entries = await ground.append(3)
            await receiver.until(3)
            await ground.link.call("XTRIM", keys.log(0), "MAXLEN", 0)
            await receiver.until(6)
            await eventually(lambda: _all_ended(ground), "every delivery has ended")
            assert await ground.statuses(endpoint=ep) == ["succeeded"] * 3
            assert {got.body for got in receiver.got[3:]} == {entry.body for entry in entries}


async def test_an_event_that_the_store_refuses_is_passed_and_stops_nobody() -> None:
    with start() as hub:
        async with ground_of(hub) as ground, Receiver() as receiver:
            good, bad = (
                await ground.endpoint(url=receiver.url("/good")),
                await ground.endpoint(url=receiver.url("/bad")),
            )
            while ground.queues.partition_of(good) == ground.queues.partition_of(bad):
                await ground.endpoints.delete(APP, bad)
                bad = await ground.endpoint(url=receiver.url("/bad"))
            broken = keys.fresh(ground.queues.partition_of(bad), bad)
            await ground.link.call("SET", broken, "not a list")
            first, second = await ground.append(2)
            await receiver.until(2, "/good")
            await eventually(lambda: hub.workers[0].log.count('"event passed"') == 2, "both are reported")
            assert hub.workers[0].log.count('"tries":5') == 2
            await ground.link.call("DEL", broken)
            (third,) = await ground.append(1)
            await receiver.until(1, "/bad")
            await receiver.until(3, "/good")
            assert _ids(receiver, "/good") == {entry.id: 1 for entry in (first, second, third)}
            assert _ids(receiver, "/bad") == {third.id: 1}


async def test_a_worker_with_another_secret_key_sends_nothing_unsigned_and_says_why() -> None:
    with start(HUB_SECRET_KEY=base64.b64encode(b"x" * 32).decode()) as hub:
        async with ground_of(hub) as ground, Receiver() as receiver:
            ep = await ground.endpoint(url=receiver.url())
            await ground.append(1)
            done = await ended(ground, ep, "exhausted")
            assert {one.error for one in done.attempts} == {"secret"}
            assert receiver.got == []


def _sending(hub: Hub) -> HubProcess:
    """The worker that claims: the one that dispatches, which claims what it enqueued at once."""
    (one,) = [one for one in hub.workers if '"dispatch begins"' in one.log]
    return one


def _ids(receiver: Receiver, path: str = "/hook") -> Counter[str]:
    return Counter(got.headers["webhook-id"] for got in receiver.at(path))


def _all_got(receiver: Receiver, wanted: set[str]) -> bool:
    return all(wanted <= set(_ids(receiver, path)) for path in ("/a", "/b", "/c"))


async def _all_ended(ground: Ground) -> bool:
    return "pending" not in await ground.statuses()


async def _is_up(ground: Ground) -> bool:
    try:
        return await ground.link.call("PING") == b"PONG"
    except StoreUnavailable:
        return False
