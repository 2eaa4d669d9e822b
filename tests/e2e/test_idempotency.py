"""Idempotency-Key: a request runs once, and whoever repeats it gets the same answer, from any process."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import pytest

from hub.app import OPERATIONS
from tests.support.hub import Hub, token

_numbers = itertools.count(1)
ENDPOINT = {"url": "http://127.0.0.1:9/", "topics": ["nobody.sends.here"]}


@pytest.fixture
def key() -> dict[str, str]:
    return {"idempotency-key": f"idempotency-{next(_numbers)}"}


@pytest.fixture
async def other(hub: Hub) -> AsyncIterator[httpx.AsyncClient]:
    """The second web process."""
    async with hub.client(1) as opened:
        yield opened


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/endpoints", ENDPOINT, 201),
        ("/v1/keys", {"scopes": ["events:read"]}, 201),
        ("/v1/tokens", {"user": "ann", "subscribe": ["a.*"]}, 201),
        ("/v1/tickets", {"user": "ann", "subscribe": ["a.*"]}, 201),
        ("/v1/tokens/revoke", {"user": "somebody"}, 200),
        ("/v1/apps/default/signing-keys", {}, 201),
        ("/v1/endpoints", {"url": "no url"}, 400),
    ],
)
async def test_a_repeated_request_gets_the_first_answer_again(
    client: httpx.AsyncClient, other: httpx.AsyncClient, key: dict[str, str], path: str, body: Any, status: int
) -> None:
    first = await client.post(path, json=body, headers=key)
    again = await other.post(path, json=body, headers=key)
    assert first.status_code == again.status_code == status, first.text
    assert "idempotency-replay" not in first.headers
    assert again.headers["idempotency-replay"] == "true"
    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    if signing := first.json().get("data", {}).get("algorithm"):
        assert signing == "HS256"
        await client.delete(f"/v1/apps/default/signing-keys/{first.json()['data']['id']}")
    if first.json().get("data", {}).get("id", "").startswith("ep_"):
        await client.delete(f"/v1/endpoints/{first.json()['data']['id']}")


async def test_a_patch_is_repeated_too_and_without_a_key_nothing_is(
    client: httpx.AsyncClient, key: dict[str, str]
) -> None:
    made = (await client.post("/v1/endpoints", json=ENDPOINT)).json()["data"]["id"]
    path = f"/v1/endpoints/{made}"
    await client.patch(path, json={"description": "one"}, headers=key)
    await client.patch(path, json={"description": "two"})
    again = await client.patch(path, json={"description": "one"}, headers=key)
    assert again.json()["data"]["description"] == "one"
    assert (await client.get(path)).json()["data"]["description"] == "two"
    await client.delete(path)


async def test_many_at_once_make_one(client: httpx.AsyncClient, other: httpx.AsyncClient, key: dict[str, str]) -> None:
    body = {"scopes": ["events:read"], "name": key["idempotency-key"]}
    answers = await asyncio.gather(
        *((client, other)[n % 2].post("/v1/keys", json=body, headers=key) for n in range(20))
    )
    outcomes = Counter((one.status_code, one.headers.get("idempotency-replay")) for one in answers)
    assert outcomes[(201, None)] == 1
    assert set(outcomes) <= {(201, None), (201, "true"), (409, None)}
    refused = [one for one in answers if one.status_code == 409]
    assert all(one.json()["error"]["code"] == "REQUEST_IN_PROGRESS" and "retry-after" in one.headers for one in refused)
    assert len({one.json()["data"]["key"] for one in answers if one.status_code == 201}) == 1
    listed = (await client.get("/v1/keys?limit=500")).json()["data"]
    assert sum(one["name"] == body["name"] for one in listed) == 1


async def test_a_key_that_comes_with_another_request_is_refused(
    client: httpx.AsyncClient, other: httpx.AsyncClient, key: dict[str, str], topic: str
) -> None:
    event = {"topic": topic, "type": "a.b", "data": 1}
    published = await client.post("/v1/events", json=event, headers=key)
    assert published.status_code == 202
    requests = [
        ("/v1/events", {**event, "data": 2}),
        ("/v1/events", {**event, "topic": f"{topic}.other"}),
        ("/v1/events", [event, event]),
        ("/v1/events", {**event, "ephemeral": True}),
        ("/v1/endpoints", ENDPOINT),
    ]
    for path, body in requests:
        refused = await other.post(path, json=body, headers=key)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "IDEMPOTENCY_KEY_REUSED"), body
    again = await other.post("/v1/events", json=event, headers=key)
    assert again.json()["data"] == {**published.json()["data"], "duplicate": True}
    assert again.headers["idempotency-replay"] == "true"
    listed = await client.get("/v1/events", params={"topic": f"{topic}.**"})
    assert listed.json()["data"] == []


JSON = {"content-type": "application/json"}
CLOUD_EVENT = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/shop", "ce-type": "order.created"}


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (JSON, {"content-type": "application/json; charset=utf-8"}),
        (JSON, {**JSON, **CLOUD_EVENT}),
        ({**JSON, **CLOUD_EVENT}, {**JSON, **CLOUD_EVENT, "ce-type": "order.paid"}),
    ],
)
async def test_what_says_how_to_read_a_body_is_a_part_of_the_request(
    client: httpx.AsyncClient, key: dict[str, str], topic: str, first: dict[str, str], then: dict[str, str]
) -> None:
    body = f'{{"topic":"{topic}","type":"a.b","data":1}}'.encode()  # an event, or the data of one
    for headers, status in ((first, 202), (then, 422), (first, 202)):
        answer = await client.post("/v1/events", content=body, headers={**headers, **key})
        assert answer.status_code == status, answer.text


async def test_a_condition_is_a_part_of_the_request(client: httpx.AsyncClient, key: dict[str, str]) -> None:
    path = f"/v1/endpoints/{(await client.post('/v1/endpoints', json=ENDPOINT)).json()['data']['id']}"
    tag = (await client.get(path)).headers["etag"]
    for condition, status in (({"if-match": tag}, 200), ({"if-match": '"other"'}, 422), ({}, 422)):
        answer = await client.patch(path, json={"description": "one"}, headers={**key, **condition})
        assert answer.status_code == status
    await client.delete(path)


async def test_a_retry_may_come_with_another_api_key_of_the_app(
    client: httpx.AsyncClient, hub: Hub, key: dict[str, str]
) -> None:
    body = {"scopes": ["events:read"], "name": "made-by-either"}
    second = (await client.post("/v1/keys", json={"role": "admin"})).json()["data"]["key"]
    first = await client.post("/v1/keys", json=body, headers=key)
    async with hub.client(1, second) as rotated:
        again = await rotated.post("/v1/keys", json=body, headers=key)
    assert again.headers["idempotency-replay"] == "true"
    assert again.content == first.content


async def test_a_repeated_answer_has_the_headers_of_the_first(client: httpx.AsyncClient, key: dict[str, str]) -> None:
    for repeated in (None, "true"):
        answer = await client.post("/v1/portal", json={}, headers=key)
        assert answer.headers.get("idempotency-replay") == repeated
        assert answer.headers["cache-control"] == "no-store"


async def test_a_refusal_that_a_retry_can_mend_is_not_kept(
    client: httpx.AsyncClient, hub: Hub, key: dict[str, str]
) -> None:
    app = f"mended-by-{key['idempotency-key']}"
    admin = (await client.post("/v1/keys", json={"app": app, "role": "admin"})).json()["data"]["key"]
    async with hub.client(key=admin) as own:
        asked = {"user": "ann", "subscribe": ["a.*"]}
        refused = await own.post("/v1/tokens", json=asked, headers=key)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "CONFLICT")
        await own.post(f"/v1/apps/{app}/signing-keys", json={})
        made = await own.post("/v1/tokens", json=asked, headers=key)
        assert made.status_code == 201, made.text
        assert "idempotency-replay" not in made.headers


async def test_a_failure_of_the_hub_is_not_kept(client: httpx.AsyncClient, key: dict[str, str]) -> None:
    body = {"url": "https://partner.example/hook", "handshake": True, "format": "cloudevents-binary"}
    for _ in range(2):  # there is no HUB_PUBLIC_URL
        failed = await client.post("/v1/endpoints", json=body, headers=key)
        assert failed.status_code == 501, failed.text
        assert "idempotency-replay" not in failed.headers


def test_every_post_and_patch_takes_a_key_but_those_of_oauth() -> None:
    keyed = {f"{one.method} {one.path}" for one in OPERATIONS if one.keyed}
    changing = {f"{one.method} {one.path}" for one in OPERATIONS if one.method in ("POST", "PATCH")}
    assert {path for path in changing - keyed if "/oauth/" not in path and "/handshakes/" not in path} == set()
    assert keyed <= changing


async def test_a_key_holds_over_partitions_too() -> None:
    with Hub(HUB_PARTITIONS="3") as hub:
        async with hub.client() as client:
            batch = [{"topic": f"spread.{n}", "type": "a.b", "data": n} for n in range(6)]
            headers = {"idempotency-key": "spread"}
            answers = [
                await client.post("/v1/events", json=body, headers=headers) for body in (batch, batch[:5], batch)
            ]
            assert [answer.status_code for answer in answers] == [202, 422, 202]
            first, again = answers[0].json()["data"], answers[2].json()["data"]
            assert again == [{**one, "duplicate": True} for one in first]
            assert answers[2].headers["idempotency-replay"] == "true"
            assert len((await client.get("/v1/events")).json()["data"]) == 6


async def test_ephemeral_events_are_not_sent_again(client: httpx.AsyncClient, key: dict[str, str], topic: str) -> None:
    event = {"topic": topic, "type": "typing", "data": 1, "ephemeral": True}
    answers = [(await client.post("/v1/events", json=event, headers=key)).json()["data"] for _ in range(2)]
    assert [one["duplicate"] for one in answers] == [False, True]


async def test_two_holders_of_tokens_never_get_each_others_answer(
    client: httpx.AsyncClient, hub: Hub, key: dict[str, str]
) -> None:
    tickets: list[str] = []
    for user in ("ann", "bob"):
        async with hub.client(0, token(user, subscribe=["a.*"])) as holder:
            answer = await holder.post("/v1/tickets", json={}, headers=key)
            assert answer.status_code == 201
            tickets.append(answer.json()["data"]["ticket"])
    assert tickets[0] != tickets[1]


@pytest.mark.parametrize("wrong", ["", "a b", "k" * 256, "é"])
async def test_a_key_is_1_to_255_visible_characters(client: httpx.AsyncClient, wrong: str) -> None:
    headers = {"idempotency-key": wrong.encode("latin-1")}
    for path, body in (("/v1/events", {"topic": "a.b", "type": "c", "data": 1}), ("/v1/keys", {"scopes": ["admin"]})):
        answer = await client.post(path, json=body, headers=cast("Any", headers))
        assert answer.status_code == 400
        assert answer.json()["error"]["details"][0]["field"] == "Idempotency-Key"


async def test_no_secret_of_an_answer_lies_in_the_store_in_clear(
    client: httpx.AsyncClient, hub: Hub, key: dict[str, str]
) -> None:
    made = (await client.post("/v1/endpoints", json=ENDPOINT, headers=key)).json()["data"]
    text = (await client.post("/v1/keys", json={"scopes": ["events:read"]}, headers={"idempotency-key": "k2"})).json()
    with hub.store.client() as store:
        names = cast("list[bytes]", store.keys("hub:{p*}:k:*"))
        dump = b"".join(
            value for name in names for value in cast("dict[bytes, bytes]", store.hgetall(name.decode())).values()
        )
    assert b"v1:" in dump
    for secret in (made["secret"], text["data"]["key"], text["data"]["key"].split("_", 2)[2]):
        assert secret.encode() not in dump
    await client.delete(f"/v1/endpoints/{made['id']}")
