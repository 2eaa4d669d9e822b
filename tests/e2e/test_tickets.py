"""POST /v1/tickets: credentials for URLs, used up by a WebSocket, good for an EventSource's reconnects."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.support.hub import Hub, auth, publish, token
from tests.support.live import SseClient, WsClient
from tests.support.waiting import eventually


async def made(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post("/v1/tickets", json=fields)
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]


async def closed_with(hub: Hub, query: str, index: int = 0) -> int | None:
    async with connect(hub.ws_url(index) + query) as ws:
        return await WsClient(ws).closed()


async def stream_status(hub: Hub, ticket: str, topic: str, index: int = 0) -> int:
    async with (
        httpx.AsyncClient() as browser,
        browser.stream("GET", hub.url(f"/v1/stream?topic={topic}&ticket={ticket}", index)) as response,
    ):
        return response.status_code


@pytest.fixture
async def browser(hub: Hub, topic: str) -> AsyncIterator[httpx.AsyncClient]:
    """Someone with a token."""
    async with hub.client(key=token("ann", subscribe=[f"{topic}.*"])) as opened:
        yield opened


async def test_a_ticket_opens_one_websocket_with_the_rights_that_it_was_made_for(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    ticket = await made(client, user="ann", subscribe=[f"{topic}.*"], publish=[f"{topic}.chat"], ttl=60)
    assert 58 <= ticket["expires_in"] <= 60
    async with WsClient.open(hub, key=None, query=f"?ticket={ticket['ticket']}", index=1) as ws:
        assert ws.connected["user"] == "ann"
        await ws.join(f"{topic}.chat")
        assert (await ws.ask("broadcast", room=f"{topic}.chat", data=1))["type"] == "ack"
        assert (await ws.ask("broadcast", room=f"{topic}.news", data=1))["code"] == "FORBIDDEN"
        assert (await ws.ask("join_room", room=topic))["code"] == "FORBIDDEN"
        for index in (0, 1):
            assert await closed_with(hub, f"?ticket={ticket['ticket']}", index) == 4001
    assert await stream_status(hub, ticket["ticket"], f"{topic}.chat") == 401


async def test_of_those_who_come_with_one_ticket_at_once_one_gets_in(hub: Hub, client: httpx.AsyncClient) -> None:
    ticket = (await made(client, user="ann"))["ticket"]

    async def come(index: int) -> str:
        async with connect(hub.ws_url(index) + f"?ticket={ticket}") as ws:
            try:
                return json.loads(await ws.recv())["type"]
            except ConnectionClosed:
                return str(ws.close_code)

    assert sorted(await asyncio.gather(*(come(n % 2) for n in range(10)))) == ["4001"] * 9 + ["connected"]


async def test_a_stream_may_come_back_with_its_ticket_and_last_event_id_until_it_ends(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    """As an EventSource does: the same URL, and the header."""
    ticket = (await made(client, subscribe=[topic], ttl=3))["ticket"]
    ends = time.time() + 3
    url, headers = f"topic={topic}&ticket={ticket}", {}
    for n in range(3):
        async with (
            httpx.AsyncClient(headers=headers) as page,
            page.stream("GET", hub.url(f"/v1/stream?{url}", n % 2)) as response,
        ):
            assert response.status_code == 200
            sse = SseClient(response)
            await sse.event()
            assert [event["data"] for event in await sse.data(1 if n else 0)] == (["missed"] if n else [])
            await publish(client, topic, n)
            assert [event["data"] for event in await sse.data(1)] == [n]
            headers = {"last-event-id": sse.id or ""}
            if n < 2:
                await publish(client, topic, "missed")
            if n == 2:
                block = await sse.event()
                assert block["event"] == "hub.token_expiring"
                await sse.rest()  # it lives no longer than its ticket
    assert time.time() >= ends - 1
    await eventually(lambda: time.time() > ends, "the ticket has ended")
    assert [await stream_status(hub, ticket, topic, n) for n in (0, 1)] == [401, 401]


async def test_the_holder_of_a_token_gets_a_ticket_for_itself_and_nothing_more(
    hub: Hub, browser: httpx.AsyncClient, topic: str
) -> None:
    ticket = await made(browser, ttl=30)
    assert 28 <= ticket["expires_in"] <= 30
    async with WsClient.open(hub, key=None, query=f"?ticket={ticket['ticket']}", index=1) as ws:
        assert ws.connected["user"] == "ann"
        await ws.join(f"{topic}.a")
        await ws.join("@user.ann")
        assert (await ws.ask("join_room", room="other"))["code"] == "FORBIDDEN"
        assert (await ws.ask("broadcast", room=f"{topic}.a", data=1))["code"] == "FORBIDDEN"
    for more in ({"user": "bob"}, {"subscribe": ["**"]}, {"publish": ["**"]}):
        refused = await browser.post("/v1/tickets", json=more)
        assert (refused.status_code, refused.json()["error"]["details"][0]["field"]) == (400, next(iter(more)))


async def test_a_ticket_ends_with_the_token_that_made_it_and_its_connection_too(hub: Hub, topic: str) -> None:
    brief = token("ann", ttl=3, subscribe=[topic])
    async with hub.client(key=brief) as holder:
        ticket = await made(holder)
    assert ticket["expires_in"] <= 3
    async with WsClient.open(hub, key=None, query=f"?ticket={ticket['ticket']}") as ws:
        assert await ws.closed() == 4009


async def test_a_ticket_that_outlives_its_moment_leaves_the_connection_to_the_token(hub: Hub, topic: str) -> None:
    """The ticket is good for a second, the token behind it for ten minutes: so is the WebSocket."""
    async with hub.client(key=token("ann", subscribe=[topic])) as holder:
        tickets = [(await made(holder, ttl=1))["ticket"] for _ in range(2)]
    async with WsClient.open(hub, key=None, query=f"?ticket={tickets[0]}") as ws:
        began = time.time()
        await eventually(lambda: time.time() > began + 2, "the tickets have ended")
        assert (await ws.ask("ping"))["type"] == "pong"
        assert await closed_with(hub, f"?ticket={tickets[1]}") == 4001


@pytest.mark.parametrize("how", ["token", "user", "key"])
async def test_revocation_ends_tickets_and_what_they_opened(
    hub: Hub, client: httpx.AsyncClient, topic: str, how: str
) -> None:
    key = (await client.post("/v1/keys", json={"scopes": ["admin"]})).json()["data"]
    made_token = await client.post("/v1/tokens", json={"user": "eve", "subscribe": [topic]})
    granted = made_token.json()["data"]["token"]
    async with hub.client(key=key["key"] if how == "key" else granted) as maker:
        fields = {"user": "eve", "subscribe": [topic]} if how == "key" else {}
        first, second = [(await made(maker, **fields))["ticket"] for _ in range(2)]
    async with WsClient.open(hub, key=None, query=f"?ticket={first}", index=1) as ws:
        if how == "key":
            await client.delete(f"/v1/keys/{key['id']}")
        else:
            await client.post("/v1/tokens/revoke", json={how: granted if how == "token" else "eve"})
        async with asyncio.timeout(1):
            assert await ws.closed() == 4001
    assert await stream_status(hub, second, topic, 1) == 401
    assert await closed_with(hub, f"?ticket={second}") == 4001


async def test_a_ticket_of_another_app_opens_that_app(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    key = (await client.post("/v1/keys", json={"scopes": ["admin", "events:publish"], "app": "elsewhere"})).json()
    async with hub.client(key=key["data"]["key"]) as them:
        ticket = (await made(them, subscribe=["**"]))["ticket"]
        async with WsClient.open(hub, key=None, query=f"?ticket={ticket}") as ws:
            await ws.join("**")
            await publish(client, topic, "ours")
            await publish(them, topic, "theirs")
            assert (await ws.next("event"))["event"]["data"] == "theirs"
            assert await ws.quiet() == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"ttl": 0}, "ttl"),
        ({"ttl": 30 * 86400 + 1}, "ttl"),
        ({"ttl": 10**9}, "ttl"),
        ({"publish": ["a.b"] * 101}, "publish"),
        ({"subscribe": ["a..b"]}, "subscribe"),
        ({"user": ""}, "user"),
        ({"users": "x"}, "users"),
    ],
)
async def test_a_wrong_field_is_refused_by_name(client: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    for path in ("/v1/tickets", "/v1/tokens"):
        refused = await client.post(path, json=body)
        assert (refused.status_code, refused.json()["error"]["details"][0]["field"]) == (400, field)


async def test_a_token_may_be_good_for_30_days_with_100_patterns_of_each_kind(client: httpx.AsyncClient) -> None:
    given = {"ttl": 30 * 86400, **{kind: ["a.b"] * 100 for kind in ("subscribe", "publish", "presence")}}
    for path in ("/v1/tickets", "/v1/tokens"):
        answer = await client.post(path, json=given)
        assert answer.status_code == 201
        assert answer.json()["data"]["expires_in"] >= 30 * 86400 - 2


async def test_a_ticket_is_in_no_log_and_not_in_the_store(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    ticket = (await made(client, subscribe=[topic]))["ticket"]
    assert await stream_status(hub, ticket, topic) == 200
    assert await stream_status(hub, "tkt_wrong", topic) == 401
    async with WsClient.open(hub, key=None, query=f"?ticket={ticket}"):
        pass
    await eventually(lambda: hub.webs[0].log.count('"path":"/v1/ws"') > 0, "the WebSocket is logged")
    for process in hub.webs:
        assert ticket not in process.log
        assert "ticket=" not in process.log
    ticket = (await made(client, subscribe=[topic]))["ticket"]
    with hub.store.client() as store:
        for name in store.scan_iter("hub:{ctl}:*"):  # pyright: ignore[reportUnknownVariableType]
            assert ticket.encode() not in bytes(name)  # pyright: ignore[reportUnknownArgumentType]


async def test_a_ticket_is_no_key_for_the_rest_of_the_api(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    ticket = (await made(client, subscribe=["**"], publish=["**"]))["ticket"]
    async with httpx.AsyncClient(base_url=hub.url()) as page:
        assert (await page.get(f"/v1/events?ticket={ticket}")).status_code == 401
        assert (await page.get("/v1/events", headers=auth(ticket))).status_code == 401
        assert (await page.post("/v1/tickets", headers=auth(ticket))).status_code == 401
        polled = await page.get(f"/v1/poll?topic={topic}&wait=0&ticket={ticket}")
        assert polled.status_code == 200
