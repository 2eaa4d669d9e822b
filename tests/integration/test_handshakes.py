"""Nothing is sent to an endpoint with a handshake before its target agreed: real workers, a real receiver."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from hub.core.endpoint import EndpointPatch, RateLimit
from hub.core.errors import NotConfigured
from hub.core.handshake import Granted, Refused
from hub.store import keys
from hub.store.connect import Link
from hub.store.handshakes import Handshakes
from hub.store.queues import Claimed, Want
from tests.support.hub import Hub, publish
from tests.support.receiver import Got, Receiver, answer
from tests.support.waiting import eventually
from tests.support.webhooks import APP, Ground

ORIGIN = "hub.example"
SETTINGS: dict[str, Any] = {"HUB_PUBLIC_URL": f"https://{ORIGIN}", "HUB_RETRY_SCHEDULE": "0.2,0.2,3600"}
YES = answer(200, webhook_allowed_origin=ORIGIN, webhook_allowed_rate="*")
NO = answer(405, allow="POST")


@pytest.fixture(scope="module")
def site() -> Iterator[Hub]:
    with Hub(web=1, workers=1, **SETTINGS) as running:
        yield running


@pytest.fixture
async def client(site: Hub) -> AsyncIterator[httpx.AsyncClient]:
    async with site.client() as opened:
        yield opened


async def register(client: httpx.AsyncClient, receiver: Receiver, topic: str, **fields: Any) -> str:
    given = {"url": receiver.url(), "topics": [topic], "handshake": True, **fields}
    made = await client.post("/v1/endpoints", json=given)
    assert made.status_code == 201, made.text
    return made.json()["data"]["id"]


async def read(client: httpx.AsyncClient, ep: str) -> dict[str, Any]:
    return (await client.get(f"/v1/endpoints/{ep}")).json()["data"]


async def until(client: httpx.AsyncClient, ep: str, state: str, tries: int = 0) -> dict[str, Any]:
    """Wait for a state of the permission; returns the endpoint."""

    async def look() -> dict[str, Any] | None:
        seen = await read(client, ep)
        permission = seen["permission"]
        return seen if permission["state"] == state and permission["tries"] >= tries else None

    found = await eventually(look, f"the handshake is {state}")
    assert found is not None
    return found


async def change(client: httpx.AsyncClient, ep: str, **fields: Any) -> dict[str, Any]:
    changed = await client.patch(f"/v1/endpoints/{ep}", json=fields)
    assert changed.status_code == 200, changed.text
    return changed.json()["data"]


async def told(client: httpx.AsyncClient, ep: str) -> list[tuple[str, str | None]]:
    listed = await client.get("/v1/events", params={"topic": "hub.operational", "order": "asc", "limit": "500"})
    return [(one["type"], one["data"].get("reason")) for one in listed.json()["data"] if one["data"]["endpoint"] == ep]


def posts(receiver: Receiver, path: str = "/hook") -> list[Got]:
    return [one for one in receiver.at(path) if one.method == "POST"]


async def until_posts(receiver: Receiver, count: int, path: str = "/hook") -> list[Got]:
    await eventually(lambda: len(posts(receiver, path)) >= count, f"{count} deliveries arrive at {path}")
    return posts(receiver, path)


async def test_a_target_that_agrees_gets_all_that_it_was_owed_meanwhile(
    client: httpx.AsyncClient, receiver: Receiver, topic: str
) -> None:
    receiver.answers["/hook"] = [NO, answer(204, webhook_allowed_origin="*")]
    ep = await register(client, receiver, topic, headers={"authorization": "Bearer x"})
    sent = await publish(client, topic)
    seen = await until(client, ep, "granted")
    assert (seen["enabled"], seen["disabled_reason"], seen["permission"]["rate"]) == (True, None, None)
    (got,) = await until_posts(receiver, 1)
    assert got.event["id"] == sent["id"]
    assert (got.headers["webhook-request-origin"], got.headers["origin"]) == (ORIGIN, ORIGIN)
    asked = [one for one in receiver.got if one.method == "OPTIONS"]
    assert len(asked) == 2
    assert asked[0].headers["webhook-request-origin"] == ORIGIN
    assert asked[0].headers["authorization"] == "Bearer x"
    assert "webhook-signature" not in asked[0].headers
    assert [kind for kind, _ in await told(client, ep)] == [
        "hub.endpoint.handshake_refused", "hub.endpoint.handshake_granted",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answered", "reason"),
    [
        (NO, "it answered 405"),
        (answer(200), "it answered 200 without WebHook-Allowed-Origin"),
        (answer(200, webhook_allowed_origin="other.example"), "it allows 'other.example', and this is 'hub.example'"),
        (answer(301, location="/ok", webhook_allowed_origin="*"), "it answered 301"),
    ],
)
async def test_a_target_that_refuses_gets_nothing_and_is_asked_again_on_the_schedule(
    client: httpx.AsyncClient, receiver: Receiver, topic: str, answered: bytes, reason: str
) -> None:
    receiver.then = answered
    ep = await register(client, receiver, topic)
    await publish(client, topic)
    seen = await until(client, ep, "refused", 3)
    assert (seen["enabled"], seen["disabled_reason"]) == (False, "handshake")
    assert seen["permission"]["reason"] == reason
    assert seen["permission"]["next_at"] > seen["permission"]["asked_at"]
    assert [one.method for one in receiver.got] == ["OPTIONS"] * 3
    assert receiver.got[2].at - receiver.got[0].at >= 0.4
    assert await told(client, ep) == [("hub.endpoint.handshake_refused", reason)]
    receiver.then = YES
    await change(client, ep, enabled=True)  # asks at once
    await until(client, ep, "granted")
    assert len(await until_posts(receiver, 1)) == 1


async def test_a_target_that_hangs_is_a_refusal_and_holds_up_no_other(
    client: httpx.AsyncClient, receiver: Receiver, topic: str
) -> None:
    receiver.answers["/hang"] = [_hang]
    receiver.answers["/hook"] = [YES]
    hanging = await register(client, receiver, topic, url=receiver.url("/hang"), timeout=1)
    await receiver.until(1, "/hang")
    other = await register(client, receiver, topic)
    await until(client, other, "granted")
    assert (await read(client, hanging))["permission"]["state"] == "pending"
    seen = await until(client, hanging, "refused")
    assert seen["permission"]["reason"] == "no answer: timeout"


async def test_an_allowed_rate_bounds_the_deliveries_of_a_minute(
    client: httpx.AsyncClient, receiver: Receiver, topic: str
) -> None:
    receiver.answers["/hook"] = [answer(200, webhook_allowed_origin=ORIGIN, webhook_allowed_rate="3")]
    ep = await register(client, receiver, topic, rate_limit={"limit": 100, "period": 1})
    for _ in range(5):
        await publish(client, topic)
    assert (await until(client, ep, "granted"))["permission"]["rate"] == 3
    await until_posts(receiver, 3)
    assert receiver.got[0].headers["webhook-request-rate"] == "6000"

    async def rests() -> bool:
        backlog = (await client.get(f"/v1/endpoints/{ep}/stats")).json()["data"]["backlog"]
        return (backlog["fresh"], backlog["in_flight"]) == (2, 0)

    await eventually(rests, "two are left for the next minute")


async def test_another_url_has_to_agree_again_and_gets_nothing_before(
    client: httpx.AsyncClient, receiver: Receiver, topic: str
) -> None:
    receiver.answers["/hook"] = [YES]
    ep = await register(client, receiver, topic)
    await until(client, ep, "granted")
    receiver.answers["/new"] = [NO, YES]
    changed = await change(client, ep, url=receiver.url("/new"))
    assert (changed["enabled"], changed["disabled_reason"]) == (False, "handshake")
    assert changed["permission"]["state"] == "pending"
    await publish(client, topic)
    await until_posts(receiver, 1, "/new")
    assert [one.method for one in receiver.at("/new")] == ["OPTIONS", "OPTIONS", "POST"]
    assert not posts(receiver)


async def test_a_callback_agrees_once_with_the_rate_that_it_names(
    client: httpx.AsyncClient, receiver: Receiver, topic: str
) -> None:
    receiver.then = answer(200)
    ep = await register(client, receiver, topic, retry={"schedule": [3600]})
    (asked,) = await receiver.until(1)
    callback = asked.headers["webhook-request-callback"].removeprefix(f"https://{ORIGIN}")
    assert callback.startswith(f"/v1/handshakes/{ep}/")
    anonymous = {"authorization": ""}
    assert (await client.post(f"{callback[:-1]}_", headers=anonymous)).status_code == 404
    assert (await client.post(f"/v1/handshakes/{ep}/a", headers=anonymous)).status_code == 404
    bad = await client.post(callback, headers={**anonymous, "webhook-allowed-rate": "many"})
    assert (bad.status_code, bad.json()["error"]["details"][0]["field"]) == (400, "WebHook-Allowed-Rate")
    assert (await read(client, ep))["enabled"] is False
    agreed = await client.post(callback, headers={**anonymous, "webhook-allowed-rate": "600"})
    assert (agreed.status_code, agreed.json()["data"]) == (200, {"endpoint": ep, "rate": 600})
    assert (await until(client, ep, "granted"))["enabled"] is True
    await publish(client, topic)
    assert len(await until_posts(receiver, 1)) == 1
    assert (await client.get(callback, headers=anonymous)).status_code == 404


async def test_a_paused_endpoint_is_asked_when_it_is_enabled_and_one_without_handshake_never(
    client: httpx.AsyncClient, receiver: Receiver, topic: str
) -> None:
    ep = await register(client, receiver, topic, enabled=False)
    seen = await read(client, ep)
    assert (seen["disabled_reason"], seen["permission"]["state"]) == ("manual", "pending")
    receiver.then = NO
    assert (await change(client, ep, enabled=True))["disabled_reason"] == "handshake"
    await until(client, ep, "refused")
    assert (await change(client, ep, enabled=False))["disabled_reason"] == "manual"
    assert (await change(client, ep, enabled=True))["disabled_reason"] == "handshake"
    free = await change(client, ep, handshake=False)
    assert (free["enabled"], free["disabled_reason"], free["permission"]) == (True, None, None)
    count = len([one for one in receiver.got if one.method == "OPTIONS"])
    await publish(client, topic)
    await until_posts(receiver, 1)
    assert len([one for one in receiver.got if one.method == "OPTIONS"]) == count


async def test_a_deleted_endpoint_is_asked_no_more(
    site: Hub, client: httpx.AsyncClient, receiver: Receiver, topic: str
) -> None:
    receiver.then = NO
    ep = await register(client, receiver, topic, retry={"schedule": [0.1] * 40})
    await receiver.until(1)
    assert (await client.delete(f"/v1/endpoints/{ep}")).status_code == 204

    def asks() -> bool:
        with site.store.client() as store:
            return not any(store.zscore(keys.asks(p), ep) for p in range(16))

    await eventually(asks, "nobody is to ask it")


async def test_a_handshake_needs_a_name_to_ask_under(ground: Ground) -> None:
    with pytest.raises(NotConfigured, match="HUB_PUBLIC_URL"):
        await ground.endpoint(handshake=True)
    ep = await ground.endpoint()
    with pytest.raises(NotConfigured, match="HUB_PUBLIC_URL"):
        await ground.endpoints.update(APP, ep, EndpointPatch(handshake=True))


async def test_what_was_asked_of_the_url_before_agrees_to_nothing_and_an_answer_counts_once(link: Link) -> None:
    ground = Ground(link, HUB_PUBLIC_URL=f"https://{ORIGIN}")
    ep = await ground.endpoint(handshake=True)
    partition, asking = ground.queues.partition_of(ep), Handshakes(link, ground.queues.partitions, 15)
    old = await asking.take(partition)
    assert old is not None
    assert await asking.take(partition) is None  # it is being asked, for as long as the answer may take
    assert old.timeout == 10
    assert float(await link.call("ZSCORE", keys.asks(partition), ep)) > (time.time() + old.timeout) * 1000
    await ground.endpoints.update(APP, ep, EndpointPatch(url="http://127.0.0.1:9/new"))
    assert not await asking.granted(old, ORIGIN, Granted(None))
    assert not await asking.refused(old, Refused("no"), None)
    seen = await ground.endpoints.get(APP, ep)
    assert seen.permission is not None
    assert (seen.disabled_reason, seen.permission.state, seen.permission.tries) == ("handshake", "pending", 0)
    new = await asking.take(partition)
    assert new is not None
    assert new.config.url == "http://127.0.0.1:9/new"
    assert await asking.granted(new, ORIGIN, Granted(None))
    assert not await asking.granted(new, ORIGIN, Granted(1))
    seen = await ground.endpoints.get(APP, ep)
    assert seen.permission is not None
    assert (seen.enabled, seen.permission.state, seen.permission.rate) == (True, "granted", None)


async def test_a_worker_that_dies_while_it_asks_is_followed_by_another(receiver: Receiver, topic: str) -> None:
    with Hub(web=1, workers=1, **SETTINGS) as site:
        async with site.client() as client:
            receiver.answers["/hook"] = [_hang, YES]
            ep = await register(client, receiver, topic, timeout=1)
            await publish(client, topic)
            await receiver.until(1)
            site.workers[0].kill()
            assert (await read(client, ep))["disabled_reason"] == "handshake"
            site.start_worker()
            await until(client, ep, "granted")
            assert len(await until_posts(receiver, 1)) == 1


async def test_the_owners_limit_and_the_targets_both_hold(ground: Ground) -> None:
    ep = await ground.endpoint(rate_limit=RateLimit(2))
    partition = ground.queues.partition_of(ep)
    await ground.link.call("HSET", keys.endpoint(partition, ep), "allow", 3, "span", 60_000)
    await ground.owe(ep, await ground.append(6))
    claimed = 0

    async def claim() -> bool:
        nonlocal claimed
        (reply,) = await ground.queues.claim(partition, [Want(ep, 10)], 60_000, "nonce")
        assert isinstance(reply, Claimed)
        claimed += len(reply.entries)
        return claimed >= 3

    assert not await claim()
    assert claimed == 2
    await eventually(claim, "the owner's next second has come")
    assert claimed == 3
    score = await ground.link.call("ZSCORE", keys.sched(partition), ep)
    first = (await ground.link.call("ZRANGE", keys.claims(partition, ep), 0, 0, "WITHSCORES"))[1]
    assert float(score) >= float(first) + 60_000


async def _hang(_writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)
