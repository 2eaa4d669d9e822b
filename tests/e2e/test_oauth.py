"""OAuth 2 as a client sees it: RFC 6749 (client credentials, refresh) and RFC 7009 (revocation)."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from hub.store.grants import ACCESS_SECONDS
from tests.support.hub import Hub, publish
from tests.support.live import SseClient, WsClient
from tests.support.waiting import eventually

BOUND = 1.0


@pytest.fixture
async def oauth(hub: Hub) -> AsyncIterator[httpx.AsyncClient]:
    """A client without any credential of its own."""
    async with httpx.AsyncClient(base_url=hub.url(), timeout=10) as opened:
        yield opened


@pytest.fixture
async def key(client: httpx.AsyncClient) -> dict[str, Any]:
    body = {"scopes": ["events:publish", "events:read", "events:subscribe"]}
    return (await client.post("/v1/keys", json=body)).json()["data"]


def form(key: dict[str, Any], **fields: str) -> dict[str, str]:
    return {"client_id": key["id"], "client_secret": key["key"], **fields}


async def granted(oauth: httpx.AsyncClient, key: dict[str, Any], **fields: str) -> dict[str, Any]:
    answer = await oauth.post("/v1/oauth/token", data=form(key, grant_type="client_credentials", **fields))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refreshed(oauth: httpx.AsyncClient, key: dict[str, Any], token: str, **fields: str) -> httpx.Response:
    body = form(key, grant_type="refresh_token", refresh_token=token, **fields)
    return await oauth.post("/v1/oauth/token", data=body)


async def status(hub: Hub, token: str, index: int = 0, path: str = "/v1/events") -> int:
    async with hub.client(index, token) as one:
        return (await one.get(path)).status_code


async def refused(hub: Hub, token: str) -> bool:
    return all([await status(hub, token, index) == 401 for index in (0, 1)])


async def test_client_credentials_give_a_bearer_token_for_the_scopes_asked_for(
    hub: Hub, oauth: httpx.AsyncClient, key: dict[str, Any], topic: str
) -> None:
    everything = await granted(oauth, key)
    assert everything["token_type"] == "Bearer"
    assert everything["expires_in"] == ACCESS_SECONDS
    assert everything["scope"] == "events:publish events:read events:subscribe"
    some = await granted(oauth, key, scope="events:read events:read")
    assert some["scope"] == "events:read"
    async with hub.client(1, everything["access_token"]) as one:
        await publish(one, topic, 1)
        assert (await one.get("/v1/endpoints")).status_code == 403
    assert await status(hub, some["access_token"]) == 200
    async with hub.client(1, some["access_token"]) as one:
        assert (await one.post("/v1/events", json={"topic": topic, "type": "a", "data": 1})).status_code == 403


async def test_a_client_may_show_itself_by_http_basic(oauth: httpx.AsyncClient, key: dict[str, Any]) -> None:
    body = {"grant_type": "client_credentials"}
    plain = await oauth.post("/v1/oauth/token", data=body, auth=(key["id"], key["key"]))
    assert plain.status_code == 200
    assert (plain.headers["cache-control"], plain.headers["pragma"]) == ("no-store", "no-cache")
    escaped = ["".join(f"%{ord(letter):02X}" for letter in text) for text in (key["id"], key["key"])]  # RFC 6749, 2.3.1
    encoded = base64.b64encode(":".join(escaped).encode()).decode()
    header = {"authorization": f"basic {encoded}"}
    assert (await oauth.post("/v1/oauth/token", data=body, headers=header)).status_code == 200
    both = await oauth.post("/v1/oauth/token", data=form(key, **body), auth=(key["id"], key["key"]))
    assert (both.status_code, both.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("path", ["/v1/oauth/token", "/v1/oauth/revoke"])
@pytest.mark.parametrize(
    "wrong", ["no secret", "another secret", "no client", "an id as secret", "bearer", "basic", "text", "no colon"]
)
async def test_a_client_that_is_not_known_is_refused_the_same_way(
    oauth: httpx.AsyncClient, key: dict[str, Any], path: str, wrong: str
) -> None:
    fields = {"grant_type": "client_credentials", "token": "x"}
    client = {
        "no secret": {"client_id": key["id"]},
        "another secret": {"client_id": key["id"], "client_secret": key["key"][:-1] + "x"},
        "no client": {"client_id": "key_" + "0" * 24, "client_secret": key["key"]},
        "an id as secret": {"client_id": key["id"], "client_secret": key["id"]},
    }.get(wrong, {})
    header = {
        "bearer": f"Bearer {key['key']}".encode(),
        "basic": b"Basic " + base64.b64encode(f"{key['id']}:wrong".encode()),
        "text": b"Basic \xe9\xff",
        "no colon": b"Basic " + base64.b64encode(b"key"),
    }.get(wrong)
    headers = {} if header is None else {b"authorization": header}
    answer = await oauth.post(path, data={**fields, **client}, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert key["key"] not in answer.text


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "authorization_code", "code": "x"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials", "scope": "admin"}, "invalid_scope"),
        ({"grant_type": "client_credentials", "scope": "events:read openid"}, "invalid_scope"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "nonsense"}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": f"hubrt_{'0' * 24}_{'a' * 43}"}, "invalid_grant"),
        ({"grant_type": ["client_credentials", "client_credentials"]}, "invalid_request"),
        ({"grant_type": "client_credentials", **{f"f{n}": "x" for n in range(18)}}, "invalid_request"),
    ],
)
async def test_a_request_that_is_wrong_is_refused_as_the_rfc_says(
    oauth: httpx.AsyncClient, key: dict[str, Any], fields: dict[str, Any], error: str
) -> None:
    answer = await oauth.post("/v1/oauth/token", data=form(key, **fields))
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert answer.json()["error_description"].isascii()
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("body", [b"\xff=\xfe", b"{}", b"%ff=%fe", b"", b"=&&=;", b"a" * 15_000])
async def test_a_body_that_is_no_form_is_refused(oauth: httpx.AsyncClient, body: bytes) -> None:
    for kind in ("application/x-www-form-urlencoded", "application/json", "text/plain"):
        for path in ("/v1/oauth/token", "/v1/oauth/revoke"):
            answer = await oauth.post(path, content=body, headers={"content-type": kind})
            assert answer.status_code in (400, 401)
            assert answer.json()["error"] in ("invalid_request", "invalid_client")
    big = await oauth.post("/v1/oauth/token", content=b"a" * 20_000, headers={"content-type": "text/plain"})
    assert big.status_code == 413


async def test_a_refresh_replaces_both_tokens_and_the_access_token_before_stays_until_its_end(
    hub: Hub, oauth: httpx.AsyncClient, key: dict[str, Any]
) -> None:
    first = await granted(oauth, key)
    second = (await refreshed(oauth, key, first["refresh_token"])).json()
    third = (await refreshed(oauth, key, second["refresh_token"], scope="events:read")).json()
    assert third["scope"] == "events:read"
    assert len({one["refresh_token"] for one in (first, second, third)}) == 3
    assert await status(hub, second["access_token"], 1) == 200
    assert await status(hub, third["access_token"], 1) == 200
    await eventually(lambda: refused(hub, first["access_token"]), "the token before last is refused", BOUND)
    fourth = (await refreshed(oauth, key, third["refresh_token"])).json()
    assert fourth["scope"] == first["scope"], "a narrower token narrows no grant"
    more = await refreshed(oauth, key, fourth["refresh_token"], scope="admin")
    assert (more.status_code, more.json()["error"]) == (400, "invalid_grant")


async def test_a_refresh_token_that_comes_again_ends_the_grant_and_what_it_opened_everywhere(
    hub: Hub, oauth: httpx.AsyncClient, key: dict[str, Any], topic: str
) -> None:
    other = await granted(oauth, key)
    first = await granted(oauth, key)
    second = (await refreshed(oauth, key, first["refresh_token"])).json()
    async with (
        WsClient.open(hub, key=second["access_token"], index=1) as ws,
        SseClient.open(hub, f"topic={topic}", key=first["access_token"]) as sse,
        WsClient.open(hub, key=other["access_token"], index=1) as unharmed,
    ):
        await sse.event()
        again = await refreshed(oauth, key, first["refresh_token"])
        assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
        assert (await asyncio.gather(ws.closed(), sse.rest()))[0] == 4001
        for token in (first["access_token"], second["access_token"]):
            await eventually(lambda token=token: refused(hub, token), "the grant's token is refused", BOUND)
        assert (await refreshed(oauth, key, second["refresh_token"])).json()["error"] == "invalid_grant"
        assert (await unharmed.ask("ping"))["type"] == "pong"
    assert await status(hub, other["access_token"]) == 200


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
async def test_revoking_either_token_ends_both(
    hub: Hub, oauth: httpx.AsyncClient, key: dict[str, Any], which: str
) -> None:
    issued = await granted(oauth, key)
    async with WsClient.open(hub, key=issued["access_token"], index=1) as ws:
        for token in (issued[which], issued[which], "nonsense", f"hubat_{'0' * 24}_{'a' * 43}"):
            answer = await oauth.post("/v1/oauth/revoke", data=form(key, token=token, token_type_hint="access_token"))
            assert (answer.status_code, answer.content) == (200, b"")
        assert await ws.closed() == 4001
    await eventually(lambda: refused(hub, issued["access_token"]), "it is refused", BOUND)
    assert (await refreshed(oauth, key, issued["refresh_token"])).json()["error"] == "invalid_grant"
    missing = await oauth.post("/v1/oauth/revoke", data=form(key))
    assert (missing.status_code, missing.json()["error"]) == (400, "invalid_request")


async def test_a_revoked_key_ends_its_clients_tokens(
    hub: Hub, client: httpx.AsyncClient, oauth: httpx.AsyncClient, key: dict[str, Any]
) -> None:
    issued = await granted(oauth, key)
    async with WsClient.open(hub, key=issued["access_token"], index=1) as ws:
        await client.delete(f"/v1/keys/{key['id']}")
        assert await ws.closed() == 4001
    await eventually(lambda: refused(hub, issued["access_token"]), "it is refused", BOUND)
    assert (await refreshed(oauth, key, issued["refresh_token"])).json()["error"] == "invalid_client"
    answer = await oauth.post("/v1/oauth/token", data=form(key, grant_type="client_credentials"))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_a_token_ends_with_its_key_at_the_latest(client: httpx.AsyncClient, oauth: httpx.AsyncClient) -> None:
    short = (await client.post("/v1/keys", json={"scopes": ["events:read"], "ttl": 60})).json()["data"]
    assert 50 <= (await granted(oauth, short))["expires_in"] <= 60


async def test_a_key_that_has_ended_is_no_client(oauth: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    short = (await client.post("/v1/keys", json={"role": "publisher", "ttl": 1})).json()["data"]

    async def is_refused() -> bool:
        answer = await oauth.post("/v1/oauth/token", data=form(short, grant_type="client_credentials"))
        assert answer.status_code == 200 or answer.json()["error"] == "invalid_client"
        return answer.status_code == 401

    assert not await is_refused()
    await eventually(is_refused, "the key has ended", 3)


async def test_a_client_of_a_disabled_app_gets_nothing(client: httpx.AsyncClient, oauth: httpx.AsyncClient) -> None:
    made = (await client.post("/v1/keys", json={"app": "oauth-disabled", "role": "publisher"})).json()["data"]
    await client.patch("/v1/apps/oauth-disabled", json={"enabled": False})
    answer = await oauth.post("/v1/oauth/token", data=form(made, grant_type="client_credentials"))
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")


async def test_a_refresh_token_opens_nothing_by_itself(hub: Hub, oauth: httpx.AsyncClient, key: dict[str, Any]) -> None:
    issued = await granted(oauth, key)
    assert await status(hub, issued["refresh_token"]) == 401
    assert await status(hub, issued["access_token"].replace("hubat", "hubsk")) == 401
    assert (await refreshed(oauth, key, issued["access_token"])).json()["error"] == "invalid_grant"
    assert await status(hub, issued["access_token"]) == 200
