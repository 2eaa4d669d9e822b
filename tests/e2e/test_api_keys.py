"""API keys: roles, an end, when they were used last, and pages of them."""

import contextlib
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from hub.core.roles import ROLES
from tests.support.hub import Hub
from tests.support.live import WsClient
from tests.support.waiting import eventually

_numbers = itertools.count(1)


async def made(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post("/v1/keys", json=fields)
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]


@pytest.mark.parametrize("role", sorted(ROLES))
async def test_a_role_stands_for_its_scopes(hub: Hub, client: httpx.AsyncClient, role: str) -> None:
    key = await made(client, role=role)
    assert (key["role"], key["scopes"]) == (role, sorted(ROLES[role]))
    async with hub.client(1, key["key"]) as one:
        for path, scope in (("/v1/keys", "admin"), ("/v1/events", "events:read"), ("/v1/endpoints", "endpoints:read")):
            assert (await one.get(path)).status_code == (200 if scope in ROLES[role] else 403)
        sent = await one.post("/v1/events", json={"topic": "a", "type": "a", "data": 1})
        assert sent.status_code == (202 if "events:publish" in ROLES[role] else 403)


async def test_a_role_and_scopes_add_up(client: httpx.AsyncClient) -> None:
    assert (await made(client, role="publisher", scopes=["events:read"]))["scopes"] == ["events:publish", "events:read"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes"),
        ({"role": "root"}, "role"),
        ({"role": "publisher", "name": "x" * 101}, "name"),
        ({"role": "publisher", "ttl": 0}, "ttl"),
        ({"role": "publisher", "ttl": -5}, "ttl"),
        ({"role": "publisher", "ttl": 10**12}, "ttl"),
        ({"role": "publisher", "ttl": 10**30}, "ttl"),
        ({"role": "publisher", "ttl": "1h"}, "ttl"),
        ({"role": "publisher", "expires_at": "soon"}, "expires_at"),
        ({"role": "publisher", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"role": "publisher", "expires_at": "9999-01-01T00:00:00Z"}, "expires_at"),
        ({"role": "publisher", "ttl": 5, "expires_at": "2030-01-01T00:00:00Z"}, "ttl"),
    ],
)
async def test_a_key_that_breaks_a_rule_is_not_made(
    client: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    answer = await client.post("/v1/keys", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["details"][0]["field"] == field


async def test_a_key_that_ends_is_refused_then_everywhere_and_so_is_what_it_opened(
    hub: Hub, client: httpx.AsyncClient
) -> None:
    key = await made(client, role="subscriber", ttl=2)
    ends = datetime.fromisoformat(key["expires_at"])
    assert timedelta(0) < ends - datetime.now(UTC) <= timedelta(seconds=2)
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(WsClient.open(hub, key=key["key"], index=n)) for n in (0, 1)]
        assert (await sockets[0].next("token_expiring"))["expires_in"] in (0, 1)
        assert [await ws.closed() for ws in sockets] == [4009, 4009]
    assert datetime.now(UTC) >= ends
    for index in (0, 1):
        async with hub.client(index, key["key"]) as one:
            assert (await one.get("/v1/events")).status_code == 401
    assert (await client.get(f"/v1/keys/{key['id']}")).json()["data"]["expires_at"] == key["expires_at"]
    assert (await client.delete(f"/v1/keys/{key['id']}")).status_code == 204
    assert (await client.get(f"/v1/keys/{key['id']}")).status_code == 404


async def test_keys_are_listed_in_pages_both_ways_oldest_first(hub: Hub, client: httpx.AsyncClient) -> None:
    app = f"pages-{next(_numbers)}"
    admin = await made(client, app=app, role="admin")
    ids = [admin["id"]]
    async with hub.client(1, admin["key"]) as one:
        ids += [(await made(one, role="publisher", name=f"n{n}"))["id"] for n in range(6)]
        forward: list[str] = []
        query: dict[str, Any] = {"limit": 3}
        pages: list[dict[str, Any]] = []
        while True:
            pages.append((await one.get("/v1/keys", params=query)).json())
            forward += [key["id"] for key in pages[-1]["data"]]
            if not pages[-1]["pagination"]["has_more"]:
                break
            query["after"] = pages[-1]["pagination"]["next_cursor"]
        assert forward == ids
        assert [page["pagination"]["prev_cursor"] is None for page in pages] == [True, False, False]
        back = await one.get("/v1/keys", params={"limit": 3, "before": pages[2]["pagination"]["prev_cursor"]})
        assert back.json()["data"] == pages[1]["data"]
        assert (await one.get("/v1/keys", params={"limit": 3, "before": f"keys:{ids[0]}"})).json()["data"] == []
        for wrong in (
            {"after": f"keys:{ids[0]}", "before": f"keys:{ids[1]}"},
            {"limit": 0},
            {"limit": 501},
            {"since": "x"},
        ):
            assert (await one.get("/v1/keys", params=wrong)).status_code == 400
    listed = (await client.get("/v1/keys", params={"app": app})).json()["data"]
    assert [key["id"] for key in listed] == ids, "whoever runs the deployment sees them"
    assert (await client.get(f"/v1/keys/{ids[3]}")).json()["data"]["app"] == app


@pytest.mark.parametrize("text", ["hubsk_", "hubsk_x_y", f"hubsk_{'0' * 24}_{'a' * 43}", "hubsk_" + "a" * 43])
async def test_a_text_that_is_no_key_is_refused(hub: Hub, text: str) -> None:
    async with hub.client(0, text) as one:
        answer = await one.get("/v1/events")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHENTICATED")
    assert text not in answer.text


async def test_a_key_with_another_keys_id_is_refused(hub: Hub, client: httpx.AsyncClient) -> None:
    one, other = await made(client, role="admin"), await made(client, role="publisher")
    mixed = "_".join((*one["key"].split("_", 2)[:2], other["key"].split("_", 2)[2]))
    await eventually(lambda: is_open(hub, other["key"], "/v1/topics", 403), "the other one is known")
    for forged in (mixed, one["key"][:-1], one["key"] + "a", one["key"].upper()):
        assert await is_open(hub, forged, "/v1/events", 401)
    assert await is_open(hub, one["key"], "/v1/events", 200)


async def is_open(hub: Hub, key: str, path: str, status: int) -> bool:
    async with hub.client(0, key) as opened:
        return (await opened.get(path)).status_code == status
