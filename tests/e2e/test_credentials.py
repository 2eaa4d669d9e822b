"""Credentials: no route is open without one, what a key opens and keeps shut, and that apps are apart."""

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from hub.app import OPERATIONS
from hub.core.claims import ALL_APPS, SCOPES
from hub.web import auth as auth_rules
from hub.web.operation import Operation
from tests.support.hub import KEY, Hub, auth, publish, token
from tests.support.live import SseClient, WsClient, closed_with
from tests.support.receiver import Receiver
from tests.support.waiting import eventually

QUERIES = {"/v1/stream": {"topic": "a.b"}, "/v1/poll": {"topic": "a.b", "wait": "0"}}


def calls(operations: Iterable[Operation]) -> list[tuple[str, str]]:
    """Method and path of each; ids in a path are filled in."""
    found: list[tuple[str, str]] = []
    for operation in operations:
        path = re.sub(r"{[a-z]+(:path)?}", "nothing", operation.path)
        methods = ("GET", "HEAD") if operation.method == "GET" else (operation.method,)
        found += [(method, path) for method in methods]
    return found


OPEN = {path for _, path in calls(one for one in OPERATIONS if one.access is auth_rules.OPEN)}
CLIENTS = {"/v1/oauth/token", "/v1/oauth/revoke"}
"""Where a client shows its id and secret (see test_oauth.py)."""
API = [call for call in calls(one for one in OPERATIONS if one.access is not auth_rules.OPEN) if call[1] not in CLIENTS]


async def new_key(client: httpx.AsyncClient, *scopes: str, **fields: Any) -> dict[str, Any]:
    response = await client.post("/v1/keys", json={"scopes": scopes, **fields})
    assert response.status_code == 201, response.text
    return response.json()["data"]


async def status_of(hub: Hub, method: str, path: str, headers: dict[str, str]) -> tuple[int, httpx.Headers]:
    """The answer's status; a stream that begins is not read."""
    body = None if method in ("GET", "HEAD", "DELETE") else b"{}"
    query = QUERIES.get(path, {})
    async with (
        httpx.AsyncClient(base_url=hub.url(), timeout=10) as client,
        client.stream(method, path, headers=headers, params=query, content=body) as response,
    ):
        return response.status_code, response.headers


@pytest.fixture
async def tenants(client: httpx.AsyncClient, topic: str) -> tuple[str, str]:
    """A key with every scope within the app default, and one within an app of this test's own."""
    ours = await new_key(client, role="admin")
    theirs = await new_key(client, role="admin", app="app-" + topic.partition(".")[0])
    return ours["key"], theirs["key"]


# -- no way around -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), API)
@pytest.mark.parametrize(
    "header", [None, "Bearer", "Bearer wrong-key", f"Basic {KEY}", "Bearer a.b.c", f"Bearer {KEY}x", f"Bearer {KEY} x"]
)
async def test_no_route_is_open_without_a_credential(hub: Hub, method: str, path: str, header: str | None) -> None:
    status, headers = await status_of(hub, method, path, {} if header is None else {"authorization": header})
    assert status == 401
    assert headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
async def test_the_scheme_is_read_in_any_case(hub: Hub, scheme: str) -> None:
    assert (await status_of(hub, "GET", "/v1/events", {"authorization": f"{scheme} {KEY}"}))[0] == 200


@pytest.fixture(scope="module")
def scoped(hub: Hub) -> dict[str, str]:
    """A key for each scope alone."""
    keys: dict[str, str] = {}
    for scope in sorted(SCOPES):
        made = httpx.post(hub.url("/v1/keys"), json={"scopes": [scope]}, headers=auth())
        keys[scope] = made.json()["data"]["key"]
    return keys


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path in API if method != "HEAD"])
async def test_each_route_asks_for_one_scope_and_refuses_a_key_without_it(
    hub: Hub, scoped: dict[str, str], method: str, path: str
) -> None:
    passed: list[str] = []
    for scope, key in scoped.items():
        status, _ = await status_of(hub, method, path, auth(key))
        assert status < 500 or status == 501
        assert status != 401
        if status != 403:
            passed.append(scope)
    assert len(passed) == 1, passed


async def test_the_open_routes_say_nothing_but_how_the_process_is(hub: Hub) -> None:
    async with httpx.AsyncClient(base_url=hub.url()) as client:
        for path in ("/health/live", "/health/ready"):
            assert (await client.get(path)).json() == {"status": "ok"}


def test_no_other_route_is_open_than_health_the_documents_the_pages_and_a_callback_with_its_key() -> None:
    documents = {path for path in OPEN if path == "/docs" or path.startswith("/docs/")} | {
        "/openapi.json",
        "/asyncapi.json",
    }
    pages = {"/dashboard", "/portal"}  # files that hold no data: who looks brings a credential
    callback = "/v1/handshakes/nothing/nothing"
    assert {"/health/live", "/health/ready", callback, *documents, *pages} >= OPEN


async def test_a_token_of_a_browser_opens_no_route_of_the_servers(client: httpx.AsyncClient, hub: Hub) -> None:
    for method, path in API:
        if path in ("/v1/stream", "/v1/poll", "/v1/ws", "/v1/tickets", "/v1/topics/nothing/presence"):
            continue
        granted = token("ann", subscribe=["**"], publish=["**"])
        expected = 401 if path == "/metrics" else 403  # there it is one credential or none
        assert (await status_of(hub, method, path, auth(granted)))[0] == expected, path


@pytest.mark.parametrize(
    "first", ['{"type":"join_room","room":"a"}', '{"type":"ping"}', "{", '{"type":"authenticate"}']
)
async def test_a_websocket_that_does_not_authenticate_first_is_closed(hub: Hub, first: str) -> None:
    code = await closed_with(hub, "", first)
    assert code == (4001 if "room" in first or "ping" in first else 4000)


@pytest.mark.parametrize("given", ["nonsense", "", "a.b.c", f"{KEY}x"])
async def test_a_websocket_that_authenticates_wrongly_is_closed_with_4001(hub: Hub, given: str) -> None:
    assert await closed_with(hub, "", json.dumps({"type": "authenticate", "token": given})) == 4001


# -- keys --------------------------------------------------------------------------------------------------------------


async def test_a_key_is_shown_once_works_on_every_process_and_is_revoked_on_every_process(
    hub: Hub, client: httpx.AsyncClient
) -> None:
    made = await new_key(client, "events:read", name="reader")
    assert made["key"].startswith("hubsk_")
    assert datetime.fromisoformat(made["created_at"]).tzinfo is UTC
    listed = (await client.get("/v1/keys")).json()["data"]
    (shown,) = [one for one in listed if one["id"] == made["id"]]
    assert shown == {name: value for name, value in made.items() if name != "key"}
    assert made["key"] not in (await client.get("/v1/keys")).text
    with hub.store.client() as store:
        assert not any(made["key"].encode() in value for value in store.hgetall("hub:{cfg}:keys").values())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    for index in (0, 1):
        async with hub.client(index, made["key"]) as reader:
            assert (await reader.get("/v1/events")).status_code == 200
    async with hub.client(1) as other:
        assert (await other.delete(f"/v1/keys/{made['id']}")).status_code == 204
    for index in (0, 1):
        async with hub.client(index, made["key"]) as reader:
            await eventually(lambda reader=reader: refused(reader), "the key is refused", 1.0)
    assert (await client.delete(f"/v1/keys/{made['id']}")).status_code == 404


async def refused(reader: httpx.AsyncClient) -> bool:
    return (await reader.get("/v1/events")).status_code == 401


async def test_only_who_has_the_scope_apps_may_name_another_app(
    hub: Hub, client: httpx.AsyncClient, tenants: tuple[str, str]
) -> None:
    for key in tenants:
        async with hub.client(key=key) as admin:
            refused = await admin.post("/v1/keys", json={"scopes": ["admin"], "app": "third"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "FORBIDDEN")
            passed_on = await admin.post("/v1/keys", json={"scopes": [ALL_APPS]})
            assert (passed_on.status_code, passed_on.json()["error"]["code"]) == (403, "FORBIDDEN")
            own = (await admin.get("/v1/keys")).json()["data"][0]["app"]
            assert (await new_key(admin, "events:read"))["app"] == own
    for app in ("Default", "a b", "", "x" * 64, "a:b", "{a}"):
        refused = await client.post("/v1/keys", json={"scopes": ["admin"], "app": app})
        assert (refused.status_code, refused.json()["error"]["details"][0]["field"]) == (400, "app")
    foreign = await client.post("/v1/keys", json={"scopes": [ALL_APPS], "app": "third"})
    assert (foreign.status_code, foreign.json()["error"]["details"][0]["field"]) == (400, "scopes")
    operator = await new_key(client, ALL_APPS, "admin")
    async with hub.client(key=operator["key"]) as runner:
        assert (await new_key(runner, "events:read", app="third"))["app"] == "third"


async def test_an_app_sees_nothing_of_another(
    hub: Hub, client: httpx.AsyncClient, tenants: tuple[str, str], topic: str
) -> None:
    _, theirs = tenants
    async with Receiver() as site, hub.client(key=theirs) as them, WsClient.open(hub, key=theirs) as ws:
        await ws.join(topic)
        await ws.join("**")
        made = (await client.post("/v1/endpoints", json={"url": site.url(), "topics": [topic]})).json()["data"]
        async with SseClient.open(hub, f"topic={topic}&topic=**", key=theirs) as sse:
            await sse.event()
            sent = await publish(client, topic, "ours", id="same-id")
            await site.until(1)
            delivery = await eventually(lambda: first_delivery(client, made["id"]), "the delivery is listed")
            for path in (f"/v1/events/{sent['id']}", f"/v1/endpoints/{made['id']}", f"/v1/deliveries/{delivery}",
                         f"/v1/endpoints/{made['id']}/secret"):  # fmt: skip
                assert (await them.get(path)).status_code == 404, path
                assert (await client.get(path)).status_code == 200, path
            changes = [them.patch(f"/v1/endpoints/{made['id']}", json={"enabled": False}),
                       them.delete(f"/v1/endpoints/{made['id']}"),
                       them.post(f"/v1/deliveries/{delivery}/retry"),
                       them.post(f"/v1/deliveries/{delivery}/cancel")]  # fmt: skip
            assert [(await change).status_code for change in changes] == [404] * 4
            for path in ("/v1/events", f"/v1/events?topic={topic}", "/v1/endpoints", "/v1/deliveries",
                         f"/v1/deliveries?endpoint={made['id']}", "/v1/events?order=desc"):  # fmt: skip
                answer = await them.get(path)
                assert answer.json().get("data", []) == [], path
            own = await publish(them, topic, "theirs", id="same-id")
            assert own["duplicate"] is False
            assert [event["data"] for event in await sse.data(1)] == ["theirs"]
            got = await ws.events(2)
            assert [message["event"]["data"] for message in got] == ["theirs"] * 2
            assert await ws.quiet() == []
            # A cursor is a place in the log, not a right: it brings only what is the app's own.
            async with WsClient.open(hub, key=theirs) as late:
                await late.join("**", after=sent["cursor"])
                assert (await late.next("event"))["event"]["id"] == own["id"]
                assert await late.quiet() == []
        keys = (await them.get("/v1/keys")).json()["data"]
        assert {key["app"] for key in keys} == {keys[0]["app"]}
        foreign = (await client.get("/v1/keys")).json()["data"][0]["id"]
        assert (await them.delete(f"/v1/keys/{foreign}")).status_code == 404
        assert (await them.post("/v1/tokens", json={"subscribe": ["**"]})).status_code == 409
        assert len(site.got) == 1


async def first_delivery(client: httpx.AsyncClient, endpoint: str) -> str | None:
    found = (await client.get("/v1/deliveries", params={"endpoint": endpoint})).json()["data"]
    return found[0]["id"] if found else None
