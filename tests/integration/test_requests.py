"""Requests with an Idempotency-Key in the store: one runs, others wait or get its answer, a retry makes the same."""

import asyncio
import time
from typing import Any

import pytest

from hub.core.endpoint import EndpointInput
from hub.core.errors import HubError, IdempotencyKeyReused, NotConfigured, RequestInProgress
from hub.core.seed import Seed
from hub.core.tenant import AppInput, SigningKeyInput
from hub.store import keys
from hub.store.api_keys import ApiKeys, KeySpec
from hub.store.apps import Apps
from hub.store.connect import Link
from hub.store.paging import Window
from hub.store.requests import KEEP, Claim, Requests, Run, Stored
from hub.store.revocations import Revocations
from hub.store.versioned import Version
from tests.support.webhooks import APP, Ground

SECRET = b"k" * 32
ANSWER = Stored(201, {"content-type": "application/json"}, b'{"secret": "whsec_x"}')
CLAIM = Claim(APP, "key-1", "f1")


@pytest.fixture
def requests(link: Link) -> Requests:
    return Requests(link, SECRET, 4)


async def run(requests: Requests, claim: Claim, answer: Stored | None) -> Any:
    async with requests.begin(claim) as begun:
        if isinstance(begun, Run):
            begun.answer = answer
        return begun


async def test_an_answer_is_given_again_to_the_same_request_alone(link: Link, requests: Requests) -> None:
    assert isinstance(await run(requests, CLAIM, ANSWER), Run)
    assert await run(Requests(link, SECRET, 4), CLAIM, None) == ANSWER
    with pytest.raises(IdempotencyKeyReused):
        await run(requests, Claim(APP, "key-1", "f2"), None)
    assert isinstance(await run(requests, Claim("other", "key-1", "f2"), None), Run)
    assert KEEP - 5 <= await link.call("TTL", requests.key(CLAIM)) <= KEEP


async def test_while_one_runs_the_others_are_told_to_wait(requests: Requests) -> None:
    async with requests.begin(CLAIM):
        with pytest.raises(RequestInProgress) as caught:
            await run(requests, CLAIM, None)
    assert caught.value.retry_after in range(1, 11)
    assert isinstance(await run(requests, CLAIM, ANSWER), Run)  # without an answer, the next one runs


async def test_a_request_is_held_for_as_long_as_it_runs(requests: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.store.requests.HOLD", 0.3)
    async with requests.begin(CLAIM):
        until = time.monotonic() + 3 * 0.3
        while time.monotonic() < until:
            with pytest.raises(RequestInProgress):
                await run(requests, CLAIM, None)
            await asyncio.sleep(0.02)


async def test_a_failure_frees_the_request(requests: Requests) -> None:
    with pytest.raises(ZeroDivisionError):
        async with requests.begin(CLAIM):
            raise ZeroDivisionError
    assert isinstance(await run(requests, CLAIM, None), Run)


async def test_who_lost_the_request_to_another_does_not_store_its_answer(link: Link, requests: Requests) -> None:
    async with requests.begin(CLAIM) as late:
        await link.call("HSET", requests.key(CLAIM), "u", "1")  # it was held for too long
        async with requests.begin(CLAIM) as second:
            assert isinstance(second, Run)
            assert isinstance(late, Run)
            assert late.seed.draw(8) == second.seed.draw(8)
            second.answer = ANSWER
        late.answer = Stored(500, {}, b"late")
    assert await run(requests, CLAIM, None) == ANSWER


async def test_nothing_runs_where_answers_cannot_be_sealed(link: Link) -> None:
    with pytest.raises(NotConfigured):
        await run(Requests(link, None, 4), CLAIM, None)
    await run(Requests(link, SECRET, 4), CLAIM, ANSWER)
    with pytest.raises(HubError, match="HUB_SECRET_KEY"):
        await run(Requests(link, b"z" * 32, 4), CLAIM, None)


async def test_a_publish_claims_its_key_once_and_for_its_body_alone(link: Link, requests: Requests) -> None:
    assert [await requests.claim(CLAIM, 600) for _ in range(2)] == [True, False]
    with pytest.raises(IdempotencyKeyReused):
        await requests.claim(Claim(APP, "key-1", "f2"), 600)
    assert 0 < await link.call("TTL", requests.key(CLAIM)) <= 600


async def test_an_endpoint_of_a_kept_seed_is_made_once_and_completed(ground: Ground) -> None:
    def seed() -> Seed:
        return Seed(b"root", 1_790_000_000_000)

    given = EndpointInput(url="https://example.com/hook")
    first, secret = await ground.endpoints.create(APP, given, seed())
    # As a process leaves it that died before it told of the endpoint.
    await ground.link.call("DEL", keys.app_endpoints(APP), keys.ENDPOINTS)
    await ground.link.call("EXPIRE", keys.endpoint(ground.queues.partition_of(first.id), first.id), 300)
    again, same = await ground.endpoints.create(APP, given, seed())
    assert (again.id, same) == (first.id, secret)
    assert await ground.endpoints.ids(APP) == [first.id]
    assert await ground.link.call("TTL", keys.endpoint(ground.queues.partition_of(first.id), first.id)) == -1
    fresh, _ = await ground.endpoints.create(APP, given)
    assert fresh.id != first.id


async def test_apps_and_their_keys_of_a_kept_seed_are_made_once(link: Link, ground: Ground) -> None:
    version, revocations = Version(link), Revocations(link)
    apps = Apps(link, ground.settings, version, revocations)
    api_keys = ApiKeys(link, apps, version, revocations)
    spec = KeySpec("reader", None, ("events:read",), None)
    apps_made = [await apps.create(AppInput("shop"), Seed(b"a", 1_790_000_000_000)) for _ in range(2)]
    keys_made = [await api_keys.create("shop", spec, Seed(b"k", 1_790_000_000_000)) for _ in range(2)]
    signing = [await apps.add_key("shop", SigningKeyInput(), Seed(b"s", 1_790_000_000_000)) for _ in range(2)]
    assert apps_made[0] == apps_made[1]
    assert keys_made[0] == keys_made[1]
    assert signing[0][1] == signing[1][1]
    assert len((await api_keys.page("shop", Window(10))).items) == 1
    assert len((await apps.get("shop")).signing_keys) == 1
    with pytest.raises(HubError, match="there already"):
        await apps.create(AppInput("shop"), Seed(b"a", 1_790_000_000_001))
