"""An endpoint's fields, defaults and secrets as its owner has them over HTTP, through a real web process and worker."""

import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from hub.core.endpoint import ID
from hub.core.signing import PRIVATE, PUBLIC, new_secret, shown
from tests.support.hub import Hub, publish
from tests.support.live import WsClient
from tests.support.receiver import Receiver, answer
from tests.support.waiting import eventually
from tests.support.webhook_site import attempts_logged

URL = "http://127.0.0.1:9/hook"
DEFAULTS: dict[str, Any] = {
    "description": "", "types": None, "topics": None, "filter": None, "transform": None, "format": "standard",
    "signature": "v1", "headers": {}, "ordered": False, "max_in_flight": 10, "max_backlog": 100_000,
    "rate_limit": None, "timeout": 15, "metadata": {}, "enabled": True, "handshake": False, "permission": None,
    "retry": {"schedule": [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]},
    "disabled_reason": None, "failing_since": None, "breaker": "closed",
}  # fmt: skip
OTHERS: dict[str, Any] = {
    "url": "http://127.0.0.1:9/other?a=b", "description": "to the warehouse", "types": ["order.*", "cart.filled"],
    "topics": ["orders.**"], "filter": "data.total > `1`", "transform": "data", "format": "cloudevents-binary",
    "headers": {"X-Team": "blue"}, "ordered": True, "max_in_flight": 3, "max_backlog": 7,
    "rate_limit": {"limit": 5, "period": 60}, "timeout": 2.5, "retry": {"schedule": [1, 2.5]},
    "metadata": {"team": "blue"}, "enabled": False,
}  # fmt: skip
RESET = ("types", "topics", "filter", "transform", "rate_limit", "timeout", "retry")


@pytest.fixture(scope="module")
def site() -> Iterator[Hub]:
    with Hub(web=1, workers=1, HUB_LOG_LEVEL="debug") as running:
        yield running


@pytest.fixture
async def web(site: Hub) -> AsyncIterator[httpx.AsyncClient]:
    async with site.client() as opened:
        yield opened
        for one in (await opened.get("/v1/endpoints?limit=500")).json()["data"]:
            await opened.delete(f"/v1/endpoints/{one['id']}")


async def make(web: httpx.AsyncClient, key: str | None = None, **fields: Any) -> dict[str, Any]:
    response = await web.post(
        "/v1/endpoints", json={"url": URL, **fields}, headers={"idempotency-key": key} if key else None
    )
    assert response.status_code == 201, response.text
    return response.json()["data"]


async def read(web: httpx.AsyncClient, id: str) -> dict[str, Any]:
    return (await web.get(f"/v1/endpoints/{id}")).json()["data"]


def part(of: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    return {name: of[name] for name in names}


async def test_an_endpoint_of_a_url_alone_has_the_defaults_that_are_documented(web: httpx.AsyncClient) -> None:
    made = await make(web)
    assert ID.fullmatch(made.pop("id"))
    assert made.pop("created_at") == made.pop("updated_at")
    assert made.pop("secret").startswith("whsec_")
    assert made == {"url": URL, **DEFAULTS}


async def test_every_field_is_kept_as_it_was_given_at_first_or_later(web: httpx.AsyncClient) -> None:
    state = {"disabled_reason": "manual"}
    made = await make(web, **OTHERS)
    assert await read(web, made["id"]) == {name: value for name, value in made.items() if name != "secret"}
    assert part(made, {**OTHERS, **state}) == {**OTHERS, **state}
    later = await make(web)
    changed = await web.patch(f"/v1/endpoints/{later['id']}", json=OTHERS)
    assert changed.status_code == 200, changed.text
    wanted = {**DEFAULTS, **OTHERS, **state}
    assert part(await read(web, later["id"]), wanted) == wanted
    assert (await read(web, later["id"]))["updated_at"] > later["updated_at"]


async def test_null_sets_back_what_has_a_default_and_nothing_else(web: httpx.AsyncClient) -> None:
    made = await make(web, **OTHERS)
    await web.patch(f"/v1/endpoints/{made['id']}", json=dict.fromkeys(RESET))
    wanted = {**OTHERS, **{name: DEFAULTS[name] for name in RESET}}
    assert part(await read(web, made["id"]), wanted) == wanted
    for name in OTHERS.keys() - {*RESET}:
        refused = await web.patch(f"/v1/endpoints/{made['id']}", json={name: None})
        assert refused.status_code == 400, name
        assert refused.json()["error"]["details"][0]["field"] == name


@pytest.mark.parametrize("given", [{"secret": new_secret("v1a")}, {"signature": "v1a", "secret": new_secret()},
                                   {"secret": "whsec_short"}, {"secret": ""}])  # fmt: skip
async def test_a_secret_that_does_not_fit_its_signature_is_refused_by_name(
    web: httpx.AsyncClient, given: dict[str, Any]
) -> None:
    made = await make(web)
    for path in ("/v1/endpoints", f"/v1/endpoints/{made['id']}/secret/rotate"):
        body = {"url": URL, **given} if path == "/v1/endpoints" else given
        refused = await web.post(path, json=body)
        assert refused.status_code == 400, refused.text
        assert refused.json()["error"]["details"][0]["field"] == "secret"
        assert given["secret"] == "" or given["secret"] not in refused.text
    assert len((await web.get("/v1/endpoints")).json()["data"]) == 1


async def test_a_secret_is_rotated_for_a_day_unless_another_grace_is_named_and_five_sign_at_most(
    web: httpx.AsyncClient,
) -> None:
    given = new_secret()
    made = await make(web, secret=given)
    assert made["secret"] == given
    at = f"/v1/endpoints/{made['id']}/secret"
    first = (await web.post(f"{at}/rotate")).json()["data"]
    (old,) = first["previous"]
    assert (old["secret"], old["signature"]) == (given, "v1")
    left = datetime.fromisoformat(old["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=24, seconds=-10) < left <= timedelta(hours=24)
    shorter = (await web.post(f"{at}/rotate", json={"grace": 60, "signature": "v1a"})).json()["data"]
    assert shorter["secret"].startswith(PUBLIC)
    assert [one["secret"] for one in shorter["previous"]] == [first["secret"], given]
    for one in shorter["previous"]:
        assert datetime.fromisoformat(one["expires_at"]) - datetime.now(UTC) <= timedelta(seconds=60)
    for _ in range(2):
        assert (await web.post(f"{at}/rotate", json={"grace": 60})).is_success
    assert (await web.post(f"{at}/rotate", json={"grace": 60})).status_code == 409
    assert (await web.post(f"{at}/rotate", json={"grace": 30 * 86400 + 1})).status_code == 400
    last = (await web.post(f"{at}/rotate", json={"grace": 0})).json()["data"]
    assert last["previous"] == []
    shown_now = await web.get(at)
    assert (shown_now.json()["data"], shown_now.headers["cache-control"]) == (last, "no-store")


async def test_no_secret_of_an_endpoint_is_in_a_log_a_listing_or_the_store(
    web: httpx.AsyncClient, site: Hub, topic: str
) -> None:
    hmac, pair = new_secret(), new_secret("v1a")
    async with Receiver() as receiver:
        fields: dict[str, Any] = {"url": receiver.url(), "topics": [topic]}
        own = await make(web, "made-once", secret=hmac, **fields)
        assert await make(web, "made-once", secret=hmac, **fields) == own  # its kept answer holds the secret too
        await make(web, secret=pair, signature="v1a", **fields)
        made = await make(web, **fields)
        rotated = await web.post(f"/v1/endpoints/{made['id']}/secret/rotate", json={})
        secrets = {hmac, pair, made["secret"], rotated.json()["data"]["secret"]}
        await publish(web, topic)
        for got in await receiver.until(3):
            if got.headers["webhook-signature"].startswith("v1,"):
                assert any(_verifies(one, got.body, got.headers) for one in secrets)
        answers = "".join([(await web.get(path)).text for path in ("/v1/endpoints", "/v1/deliveries", "/v1/audit")])
        rest = b""
        with site.store.client() as client:
            client.config_set("rdbcompression", "no")  # a dump would hide what it holds
            for key in client.keys("*"):
                rest += client.dump(key) or b""
        assert made["id"].encode() in rest
        for one in secrets:
            bare = one.removeprefix(PRIVATE).removeprefix("whsec_")
            for text in (answers, *(process.log for process in (*site.webs, *site.workers))):
                assert bare not in text
            assert bare[:20].encode() not in rest
        assert shown(pair) not in answers


async def test_deliveries_are_listed_by_endpoint_event_status_and_the_time_of_their_event(
    web: httpx.AsyncClient, topic: str
) -> None:
    paused = (await make(web, topics=[topic], enabled=False))["id"]
    other = (await make(web, topics=[topic], enabled=False))["id"]
    first, second = [(await publish(web, topic, n))["id"] for n in range(2)]

    async def listed(**query: str) -> list[tuple[str, str]]:
        found = await web.get("/v1/deliveries", params=query)
        assert found.status_code == 200, found.text
        return sorted((one["endpoint"], one["event"]["id"]) for one in found.json()["data"])

    async def both() -> bool:
        return len(await listed(endpoint=paused)) == len(await listed(endpoint=other)) == 2

    await eventually(both, "all are owed")
    assert await listed(endpoint=paused) == sorted([(paused, first), (paused, second)])
    assert await listed(event=first) == sorted([(paused, first), (other, first)])
    assert await listed(endpoint=other, event=second, status="pending") == [(other, second)]
    assert await listed(endpoint=other, status="succeeded") == []
    soon, before = [(datetime.now(UTC) + timedelta(minutes=n)).isoformat() for n in (1, -1)]
    assert len(await listed(endpoint=paused, since=before, until=soon)) == 2
    assert await listed(endpoint=paused, since=soon) == await listed(endpoint=paused, until=before) == []


async def test_a_room_and_a_stream_of_events_see_what_becomes_of_endpoints(
    web: httpx.AsyncClient, site: Hub, topic: str
) -> None:
    async with Receiver() as receiver, WsClient.open(site) as ws:
        await ws.join("hub.operational")
        receiver.then = answer(410)
        ep = (await make(web, url=receiver.url(), topics=[topic]))["id"]
        event = (await publish(web, topic))["id"]
        while (told := (await ws.next("event"))["event"])["data"]["endpoint"] != ep:
            pass
        assert (told["type"], told["topic"]) == ("hub.endpoint.disabled", "hub.operational")
        assert told["data"] == {"endpoint": ep, "event": event, "reason": "gone"}


async def test_the_request_id_of_a_publish_is_in_the_line_of_every_attempt(
    web: httpx.AsyncClient, site: Hub, topic: str
) -> None:
    async with Receiver() as receiver:
        receiver.answers["/hook"] = [answer(500)]
        await make(web, url=receiver.url(), topics=[topic], retry={"schedule": [0.05]})
        asked = f"req-{time.monotonic_ns()}"
        body = {"topic": topic, "type": "order.created", "data": 1}
        (await web.post("/v1/events", json=body, headers={"x-request-id": asked})).raise_for_status()
        await receiver.until(2)
        worker = site.workers[0]
        await eventually(lambda: len(attempts_logged(worker, request_id=asked)) == 2, "both are logged")
        assert [line["attempt"] for line in attempts_logged(worker, request_id=asked)] == [1, 2]


def _verifies(secret: str, body: bytes, headers: dict[str, str]) -> bool:
    try:
        Webhook(secret).verify(body, headers)
    except Exception:  # of another kind, or another's
        return False
    return True
