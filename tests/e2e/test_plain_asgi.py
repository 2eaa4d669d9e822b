"""The application on another ASGI server, without the raw write path: the same answers, events and cursors."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.support.hub import Hub, HubProcess, publish, token
from tests.support.live import SseClient, WsClient
from tests.support.waiting import eventually


class MixedHub(Hub):
    """Two web processes of one deployment: uvicorn as it comes, and the hub's own server."""

    def start_web(self, port: int) -> HubProcess:
        if port != self.ports[0]:
            return super().start_web(port)
        plain = ["uvicorn", "--factory", "hub.app:asgi", "--host", "127.0.0.1", "--port", str(port)]
        return HubProcess(plain, self.environment)


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with MixedHub(web=2) as running:
        yield running


@pytest.fixture
async def client(hub: Hub) -> AsyncIterator[httpx.AsyncClient]:
    """At the plain server."""
    async with hub.client(0) as opened:
        yield opened


def plain(message: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name not in ("ref", "connection_id")}


async def test_publishing_and_reading_back_is_the_same(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    sent = await publish(client, topic, {"n": 1}, id="order-1")
    assert await publish(client, topic, {"n": 1}, id="order-1") == {**sent, "duplicate": True}
    async with hub.client(1) as other:
        for path in (f"/v1/events/{sent['id']}", f"/v1/events?topic={topic}", "/v1/events?limit=0", "/v1/nothing"):
            here, there = await client.get(path), await other.get(path)
            assert here.status_code == there.status_code
            assert [here.json().get(name) for name in ("data", "pagination", "error")] == [
                there.json().get(name) for name in ("data", "pagination", "error")
            ]


async def test_members_of_both_servers_get_the_same_messages(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    first = await publish(client, topic, "before")
    async with WsClient.open(hub, index=0) as here, WsClient.open(hub, index=1) as there:
        for ws in (here, there):
            answer = await ws.join(topic, after=first["cursor"])
            assert plain(answer) == {
                "type": "room_joined", "room": topic, "cursor": first["cursor"], "recovered": True,
            }  # fmt: skip
        assert (await here.ask("broadcast", room=topic, data=["a\u2028b", 1.50], id="m-1"))["type"] == "ack"
        assert (await there.ask("broadcast", room=topic, data=2, event_type="chat.said"))["type"] == "ack"
        assert (await there.ask("broadcast", room=topic, data=3, ephemeral=True))["type"] == "ack"
        got = [await here.events(3), await there.events(3)]
        assert got[0] == got[1]
        assert [message["event"]["data"] for message in got[0]] == [["a\u2028b", 1.50], 2, 3]
        assert (await here.ask("leave_room", room=topic))["type"] == "room_left"
        await publish(client, topic, "unheard")
        assert await here.quiet() == []


async def test_a_client_resumes_on_either_server(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    async with WsClient.open(hub, index=0) as ws:
        await ws.join(topic)
        await publish(client, topic, 0)
        cursor = (await ws.next("event"))["cursor"]
        ws.connection.transport.abort()
    for n in range(1, 250):
        await publish(client, topic, n)
    for index in (0, 1):
        async with WsClient.open(hub, index=index) as ws:
            assert (await ws.join(topic, after=cursor))["recovered"] is True
            assert [message["event"]["data"] for message in await ws.events(249)] == list(range(1, 250))
            assert await ws.quiet() == []
        async with SseClient.open(hub, f"topic={topic}", index=index, last_event_id=cursor) as sse:
            assert json.loads((await sse.event())["data"]) == {"cursor": cursor, "recovered": True}
            assert [event["data"] for event in await sse.data(249)] == list(range(1, 250))


async def test_streams_of_both_servers_carry_the_same_blocks(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    query = f"topic={topic}.*&named=1"
    async with SseClient.open(hub, query, index=0) as here, SseClient.open(hub, query, index=1) as there:
        for name in ("content-type", "cache-control", "x-accel-buffering"):
            assert here.response.headers[name] == there.response.headers[name]
        for sse in (here, there):
            assert 1000 <= int((await sse.block())["retry"]) <= 4000
            connected = await sse.block()
            assert connected["event"] == "hub.connected"
            assert json.loads(connected["data"]) == {"cursor": connected["id"]}
        for n in range(5):
            await publish(client, f"{topic}.{n}", "line\u2028break", type="a.b")
        blocks = [[await sse.event() for _ in range(5)] for sse in (here, there)]
        assert blocks[0] == blocks[1]
        assert {block["event"] for block in blocks[0]} == {"a.b"}


async def test_mistakes_and_wrong_credentials_are_answered_the_same(hub: Hub, topic: str) -> None:
    said: list[list[Any]] = []
    for index in (0, 1):
        async with WsClient.open(hub, index=index) as ws:
            await ws.connection.send("{")
            answers: list[Any] = [await ws.next("error"), plain(await ws.ask("join_room", room="a..b"))]
        for query in ("?token=nonsense", f"?token={token('ann', ttl=-5)}"):
            async with connect(hub.ws_url(index) + query) as ws:
                with pytest.raises(ConnectionClosed) as closed:
                    await ws.recv()
                answers.append(closed.value.rcvd)
        said.append(answers)
    assert said[0] == said[1]


async def test_a_connection_ends_with_its_token(hub: Hub, topic: str) -> None:
    granted = token("ann", ttl=2, subscribe=[topic])
    async with (
        WsClient.open(hub, key=None, query=f"?token={granted}", index=0) as ws,
        SseClient.open(hub, f"topic={topic}", key=granted, index=0) as sse,
    ):
        await ws.join(topic)
        await sse.event()
        await ws.next("token_expiring")
        assert (await sse.event())["event"] == "hub.token_expiring"
        with pytest.raises(ConnectionClosed) as closed:
            await ws.connection.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4009
        assert "retry" in await sse.block()
        with pytest.raises(EOFError):
            await sse.block()


async def test_a_token_in_a_url_is_in_no_log(hub: Hub, topic: str) -> None:
    granted = token("ann", subscribe=[topic])
    async with WsClient.open(hub, key=None, query=f"?token={granted}", index=0) as ws:
        await ws.join(topic)
    async with httpx.AsyncClient() as browser:
        url = hub.url(f"/v1/stream?topic={topic}&token={granted}", 0)
        async with browser.stream("GET", url) as response:
            assert response.status_code == 200
    process = hub.webs[0]
    await eventually(lambda: '"path":"/v1/stream"' in process.log, "the stream is logged")
    assert "token=" not in process.log
    assert granted not in process.log


async def test_presence_direct_messages_and_disconnects_are_the_same(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    def badge(user: str) -> str:
        return token(user, subscribe=[topic], presence=[topic], publish=["@user.*"])

    async with WsClient.open(hub, key=badge("ann")) as here, WsClient.open(hub, key=badge("bob"), index=1) as there:
        assert (await here.join(topic, presence=True))["presence"] == ["ann"]
        assert sorted((await there.join(topic, presence=True))["presence"]) == ["ann", "bob"]
        assert (await here.next("user_joined"))["users"] == ["bob"]
        ack = await there.ask("direct_message", user="ann", data="hello")
        message = await here.next("event")
        assert (message["room"], message["cursor"]) == ("@user.ann", ack["cursor"])
        assert (await client.post("/v1/users/ann/disconnect", json={"reason": "bye"})).status_code == 202
        with pytest.raises(ConnectionClosed):
            await here.connection.recv()
        assert (here.connection.close_code, here.connection.close_reason) == (4003, "bye")
        assert (await there.next("user_left"))["users"] == ["ann"]


async def test_the_process_ends_when_it_is_asked_to(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    """Last here: the plain server is gone afterwards; a client goes on at the other."""
    async with WsClient.open(hub, index=0) as ws:
        await ws.join(topic)
        cursor = (await publish(client, topic, 1))["cursor"]
        hub.webs[0].process.terminate()
        with pytest.raises(ConnectionClosed):
            await drained(ws)
    await eventually(lambda: hub.webs[0].process.poll() is not None, "the process has ended", 20)
    assert "Traceback" not in hub.webs[0].log
    async with hub.client(1) as other, WsClient.open(hub, index=1) as ws:
        await publish(other, topic, 2)
        assert (await ws.join(topic, after=cursor))["recovered"] is True
        assert (await ws.next("event"))["event"]["data"] == 2


async def drained(ws: WsClient) -> None:
    while True:
        await ws.connection.recv()
