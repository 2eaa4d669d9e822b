"""The breaker against a real store: it opens, probes once, closes, and disables what fails for days."""

import asyncio
import random
import time
from typing import Any

import pytest

from hub.core.breaker import DAY_MS, Policy
from hub.core.endpoint import EndpointPatch
from hub.store import keys
from hub.store.connect import Link
from hub.store.queues import Lease
from tests.support.store import StoreProcess, linked
from tests.support.waiting import eventually
from tests.support.webhooks import APP, Ground

PAUSE = 150
POLICY = Policy(failures=3, within=0, pause=PAUSE, longest=2 * PAUSE)


@pytest.fixture
def quick(link: Link) -> Ground:
    return Ground(link, policy=POLICY)


async def test_it_opens_after_failures_in_a_row_and_deliveries_wait_untried(quick: Ground) -> None:
    ep = await _owed(quick, 20)
    await quick.settle(ep, await quick.claim(ep, 2), "retry", due_in_ms=60_000)
    await quick.settle(ep, await quick.claim(ep, 1), "ok")  # a success between: the row begins anew
    await quick.settle(ep, await quick.claim(ep, 2), "retry", due_in_ms=60_000)
    assert (await quick.endpoints.get(APP, ep)).breaker == "closed"
    under_way = await quick.claim(ep, 2)
    await quick.settle(ep, under_way[:1], "retry", due_in_ms=60_000)
    seen = await quick.endpoints.get(APP, ep)
    assert seen.breaker == "open"
    assert seen.failing_since is not None
    assert await quick.claim(ep) == []
    assert await _told(quick, ep) == ["hub.endpoint.failing"]
    due = (await quick.queues.reserve(quick.queues.partition_of(ep), 10)).next_ms
    assert due is not None
    assert due <= PAUSE


async def test_one_probe_at_a_time_whoever_claims_and_its_success_closes(quick: Ground, store: StoreProcess) -> None:
    ep = await _opened(quick)
    async with linked(store) as second:
        other = Ground(second, policy=POLICY)

        async def one() -> list[Lease]:
            claims = await asyncio.gather(*(ground.claim(ep, 5) for ground in (quick, other) * 5))
            return [lease for claim in claims for lease in claim]

        (probe,) = await eventually(one, "the pause is over")
    assert (await quick.endpoints.get(APP, ep)).breaker == "half-open"
    assert await quick.reserve(ep) == []  # not before the probe has ended, one way or another
    await quick.settle(ep, [probe], "ok")
    assert (await quick.endpoints.get(APP, ep)).breaker == "closed"
    assert len(await quick.claim(ep)) == 10
    assert await _told(quick, ep) == ["hub.endpoint.failing", "hub.endpoint.recovered"]


async def test_each_probe_that_fails_doubles_the_pause_up_to_the_longest(quick: Ground) -> None:
    ep = await _opened(quick)
    for pause in (2 * PAUSE, 2 * PAUSE):
        (probe,) = await eventually(lambda: quick.claim(ep), "the pause is over")
        began = time.monotonic()
        await quick.settle(ep, [probe], "retry", due_in_ms=60_000)
        await eventually(lambda: _is_half_open(quick, ep), "the pause is over")
        assert time.monotonic() - began > (pause - 20) / 1000
        assert await _field(quick, ep, "pause") == str(pause).encode()
    assert await _told(quick, ep) == ["hub.endpoint.failing"]  # told once


async def test_a_probe_that_dies_with_its_worker_is_made_again(link: Link) -> None:
    quick = Ground(link, policy=POLICY, budget_ms=50)
    ep = await _opened(quick)
    (lost,) = await eventually(lambda: _claimed(quick, ep, timeout_ms=1), "the pause is over")
    (again,) = await eventually(lambda: _claimed(quick, ep), "the probe's lease has run out")
    assert again.token != lost.token
    assert await quick.settle(ep, [lost], "ok") == [False]
    assert await quick.claim(ep) == []
    await quick.settle(ep, [again], "ok")
    assert await quick.claim(ep) != []


async def test_a_probe_that_was_not_sent_is_made_again_at_once(quick: Ground) -> None:
    ep = await _opened(quick)
    for verdict in ("back", "drop"):
        (probe,) = await eventually(lambda: quick.claim(ep), "the pause is over")
        await quick.settle(ep, [probe], verdict)
    assert len(await quick.claim(ep)) == 1


async def test_what_was_under_way_closes_it_by_success_and_changes_nothing_by_failure(quick: Ground) -> None:
    ep = await _owed(quick, 20)
    *failed, late, good = await quick.claim(ep, 5)
    await quick.settle(ep, failed, "retry", due_in_ms=60_000)
    until = await _field(quick, ep, "open")
    assert until is not None
    await quick.settle(ep, [late], "retry", due_in_ms=60_000)
    assert await _field(quick, ep, "open") == until
    await quick.settle(ep, [good], "ok")
    assert (await quick.endpoints.get(APP, ep)).breaker == "closed"


async def test_an_endpoint_that_answers_with_refusals_is_alive(quick: Ground) -> None:
    ep = await _owed(quick, 20)
    await quick.settle(ep, await quick.claim(ep, 6), "retry", due_in_ms=60_000, says="alive")
    assert (await quick.endpoints.get(APP, ep)).breaker == "closed"
    await quick.settle(ep, await quick.claim(ep, 3), "retry", due_in_ms=60_000)
    assert (await quick.endpoints.get(APP, ep)).breaker == "open"
    (probe,) = await eventually(lambda: quick.claim(ep), "the pause is over")
    await quick.settle(ep, [probe], "retry", due_in_ms=60_000, says="alive")
    assert (await quick.endpoints.get(APP, ep)).breaker == "closed"
    await quick.settle(ep, await quick.claim(ep, 3), "retry", due_in_ms=60_000)
    assert (await quick.endpoints.get(APP, ep)).breaker == "open"
    assert await _told(quick, ep) == ["hub.endpoint.failing"]  # once: it answered, but had not recovered


async def test_failures_count_only_when_they_go_on_for_some_time(link: Link) -> None:
    patient = Ground(link, policy=POLICY._replace(within=100))
    ep = await _owed(patient, 20)
    began = time.monotonic()
    await patient.settle(ep, await patient.claim(ep, 5), "retry")

    async def is_open() -> bool:
        await patient.settle(ep, await patient.claim(ep, 1), "retry")
        return (await patient.endpoints.get(APP, ep)).breaker == "open"

    assert (await patient.endpoints.get(APP, ep)).breaker == "closed"
    await eventually(is_open, "it has failed for long enough")
    assert time.monotonic() - began > 0.09


async def test_nothing_but_failures_for_five_days_disables_and_says_so(quick: Ground) -> None:
    ep = await _owed(quick, 20)
    await quick.settle(ep, await quick.claim(ep, 1), "retry", says="alive")
    await _shift(quick, ep, 5 * DAY_MS - 60_000, "failing")
    await quick.settle(ep, await quick.claim(ep, 1), "retry", says="alive")
    assert (await quick.endpoints.get(APP, ep)).enabled
    await _shift(quick, ep, 60_000, "failing")
    await quick.settle(ep, await quick.claim(ep, 1), "retry", says="alive")
    seen = await quick.endpoints.get(APP, ep)
    assert (seen.enabled, seen.disabled_reason) == (False, "failing")
    assert await _told(quick, ep) == ["hub.endpoint.disabled"]
    assert await quick.statuses() == ["pending"] * 20  # nothing of what it is owed is given up
    assert await quick.claim(ep) == []
    assert await quick.owe(ep, await quick.append(1)) == 1  # it goes on collecting
    enabled = await quick.endpoints.update(APP, ep, EndpointPatch(enabled=True))
    assert (enabled.failing_since, enabled.disabled_reason) == (None, None)
    await quick.settle(ep, await quick.claim(ep, 1), "retry", says="alive")
    assert (await quick.endpoints.get(APP, ep)).enabled  # the days begin anew


async def test_what_fails_for_days_while_its_owner_has_paused_it_stays_paused_by_its_owner(quick: Ground) -> None:
    ep = await _owed(quick, 20)
    await quick.settle(ep, await quick.claim(ep, 1), "retry", says="alive")
    under_way = await quick.claim(ep, 1)
    await quick.endpoints.update(APP, ep, EndpointPatch(enabled=False))
    await _shift(quick, ep, 5 * DAY_MS, "failing")
    await quick.settle(ep, under_way, "retry", says="alive")
    assert (await quick.endpoints.get(APP, ep)).disabled_reason == "manual"
    assert await _told(quick, ep) == []


async def test_days_without_an_attempt_do_not_count(quick: Ground) -> None:
    ep = await _owed(quick, 20)
    await quick.settle(ep, await quick.claim(ep, 1), "retry")
    await _shift(quick, ep, 6 * DAY_MS, "failing", "failed")
    await quick.settle(ep, await quick.claim(ep, 1), "retry")
    assert (await quick.endpoints.get(APP, ep)).enabled


async def test_an_owner_who_changes_the_url_or_enables_begins_anew_and_still_hears_of_the_recovery(
    quick: Ground,
) -> None:
    ep = await _opened(quick)
    await quick.endpoints.update(APP, ep, EndpointPatch(description="still down"))
    assert await quick.claim(ep) == []
    await quick.endpoints.update(APP, ep, EndpointPatch(url="http://127.0.0.1:9/new"))
    lease, *others = await quick.claim(ep)
    assert others
    await quick.settle(ep, [lease], "ok")
    assert await _told(quick, ep) == ["hub.endpoint.failing", "hub.endpoint.recovered"]


async def test_a_success_begins_the_days_of_failure_anew(quick: Ground) -> None:
    ep = await _owed(quick, 20)
    await quick.settle(ep, await quick.claim(ep, 1), "retry", due_in_ms=60_000, says="alive")
    await _shift(quick, ep, 6 * DAY_MS, "failing")
    await quick.settle(ep, await quick.claim(ep, 1), "ok")
    assert (await quick.endpoints.get(APP, ep)).failing_since is None
    await quick.settle(ep, await quick.claim(ep, 1), "retry", due_in_ms=60_000, says="alive")
    assert (await quick.endpoints.get(APP, ep)).enabled


async def test_what_was_sent_to_the_url_before_says_nothing_of_the_present_one(quick: Ground) -> None:
    ep = await _owed(quick, 20)
    version = (await _field(quick, ep, "version")).decode()
    first, *down, gone = await quick.claim(ep, 5)
    await quick.endpoints.update(APP, ep, EndpointPatch(description="the same place"))
    await quick.settle(ep, [first], "retry", due_in_ms=60_000, version=version)
    assert (await quick.endpoints.get(APP, ep)).failing_since is not None
    await quick.endpoints.update(APP, ep, EndpointPatch(url="http://127.0.0.1:9/new"))
    assert await quick.settle(ep, down, "retry", due_in_ms=60_000, version=version) == [True] * 3
    await quick.settle(ep, [gone], "gone", version=version)
    seen = await quick.endpoints.get(APP, ep)
    assert (seen.enabled, seen.breaker, seen.failing_since) == (True, "closed", None)
    again = [lease for lease in await quick.claim(ep) if lease.attempt == 2]
    assert [lease.event for lease in again] == [gone.event]  # at once, and at the new place
    present = (await _field(quick, ep, "version")).decode()
    await quick.settle(ep, again, "gone", version=present)
    assert (await quick.endpoints.get(APP, ep)).disabled_reason == "gone"


async def test_deliveries_of_the_hubs_own_events_tell_of_nothing(quick: Ground) -> None:
    ep = await quick.endpoint(topics=("hub.**",))
    await quick.owe(ep, await quick.append(9, topic="hub.operational", kind="hub.endpoint.disabled"))
    await quick.settle(ep, await quick.claim(ep, 4), "retry")
    assert (await quick.endpoints.get(APP, ep)).breaker == "open"
    assert await _told(quick, ep) == []


@pytest.mark.parametrize("seed", range(3))
async def test_it_does_what_the_policy_says_at_random(link: Link, seed: int) -> None:
    """Beside a model of the three states, told by what is claimed."""
    chance = random.Random(seed)
    policy = Policy(failures=4, within=0, pause=3, longest=12)
    ground = Ground(link, policy=policy)
    ep = await ground.endpoint(max_in_flight=5)
    await ground.owe(ep, await ground.append(150))
    fails, is_open, probe = 0, False, ""
    opened = probed = 0
    leases: list[Lease] = []
    steps = 0
    while steps < 200 or not (opened and probed):  # pauses take their time however fast the steps are
        steps += 1
        if chance.random() < 0.5:
            found = await ground.claim(ep, chance.randint(1, 5))
            leases += found
            if is_open and found:
                assert not any(lease.token == probe for lease in leases[: -len(found)])
                assert len(found) == 1, "more than one probe"
                probe = found[0].token
                probed += 1
        elif leases:
            lease = leases.pop(chance.randrange(len(leases)))
            says = chance.choices(("ok", "alive", "down"), (1, 1, 18))[0]
            await ground.settle(ep, [lease], "ok" if says == "ok" else "retry", says=says)
            if says != "down":
                fails, is_open = 0, False
            elif not is_open:
                fails += 1
                is_open = fails >= policy.failures
                opened += is_open
                probe = ""
        state = (await ground.endpoints.get(APP, ep)).breaker
        assert (state != "closed") == is_open


async def _owed(ground: Ground, count: int) -> str:
    ep = await ground.endpoint()
    await ground.owe(ep, await ground.append(count))
    return ep


async def _opened(ground: Ground) -> str:
    ep = await _owed(ground, 20)
    await ground.settle(ep, await ground.claim(ep, 3), "retry", due_in_ms=60_000)
    assert (await ground.endpoints.get(APP, ep)).breaker == "open"
    return ep


async def _claimed(ground: Ground, ep: str, timeout_ms: int = 60_000) -> list[Lease]:
    await ground.reserve(ep)
    return await ground.claim(ep, timeout_ms=timeout_ms)


async def _is_half_open(ground: Ground, ep: str) -> bool:
    return (await ground.endpoints.get(APP, ep)).breaker == "half-open"


async def _field(ground: Ground, ep: str, name: str) -> Any:
    return await ground.link.call("HGET", keys.endpoint(ground.queues.partition_of(ep), ep), name)


async def _shift(ground: Ground, ep: str, ms: int, *names: str) -> None:
    """Let these moments be longer ago."""
    for name in names:
        await ground.link.call("HINCRBY", keys.endpoint(ground.queues.partition_of(ep), ep), name, -ms)


async def _told(ground: Ground, ep: str) -> list[str]:
    """The operational events that wait in the outbox."""
    found = await ground.link.call("XRANGE", keys.outbox(ground.queues.partition_of(ep)), "-", "+")
    return [fields[1].decode() for _, fields in found]
