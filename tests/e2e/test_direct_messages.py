"""Direct messages, a user's own room, and the end of a user's connections."""

import asyncio
import contextlib
from urllib.parse import quote

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.hub import Hub, auth, publish, token
from tests.support.live import SseClient, WsClient, connected
from tests.support.waiting import eventually

ANN = token("ann", publish=["@user.bob", "room.**"], subscribe=["room.**"])


def user_of(topic: str) -> str:
    """A user that no other test knows."""
    return "user/" + topic


def own(topic: str) -> str:
    return f"@user.user%2F{topic.replace('.', '%2E')}"


async def test_a_direct_message_reaches_every_connection_of_its_user_and_no_others(hub: Hub, topic: str) -> None:
    user, room = user_of(topic), own(topic)
    sender = token("ann", publish=[room])
    async with (
        WsClient.open(hub, key=token(user)) as first,
        WsClient.open(hub, key=token(user), index=1) as second,
        WsClient.open(hub, key=token("other")) as other,
        SseClient.open(hub, f"topic={quote(room)}", key=token(user)) as sse,
        WsClient.open(hub, key=sender) as ann,
    ):
        await sse.event()
        ack = await ann.ask("direct_message", user=user, data={"text": "hello"}, id="dm-1")
        assert (ack["type"], ack["id"]) == ("ack", "dm-1")
        assert "duplicate" not in ack
        for ws in (first, second):
            message = await ws.next("event")
            assert message["room"] == room
            assert message["cursor"] == ack["cursor"]
            event = message["event"]
            assert (event["id"], event["type"], event["topic"]) == ("dm-1", "direct_message", room)
            assert event["data"] == {"text": "hello"}
            assert event["source"] == "@user.ann"
        assert (await sse.data(1))[0]["id"] == "dm-1"
        assert (await ann.ask("direct_message", user=user, data=2, id="dm-1"))["duplicate"] is True
        assert await other.quiet() == []
        assert await ann.quiet() == []
        assert await first.quiet() == []


async def test_a_direct_message_needs_a_right_to_publish_there(hub: Hub, topic: str) -> None:
    async with WsClient.open(hub, key=ANN) as ann, WsClient.open(hub) as server:
        assert (await ann.ask("direct_message", user=user_of(topic), data=1))["code"] == "FORBIDDEN"
        assert (await ann.ask("direct_message", user="bob", data=1))["type"] == "ack"
        assert (await ann.ask("direct_message", user="", data=1))["code"] == "VALIDATION_FAILED"
        assert (await ann.ask("direct_message", user="bob"))["code"] == "VALIDATION_FAILED"
        ack = await server.ask("direct_message", user=user_of(topic), data=1)
        assert ack["type"] == "ack"
    async with hub.client() as client:
        event = (await client.get(f"/v1/events/{ack['id']}")).json()["data"]
        assert event["topic"] == own(topic)
        assert "source" not in event


async def test_an_own_room_is_resumed_as_any_other(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    user, room = user_of(topic), own(topic)
    async with WsClient.open(hub, key=token(user)) as ws:
        await publish(client, room, 0)
        cursor = (await ws.next("event"))["cursor"]
    for n in range(1, 6):
        await publish(client, room, n)
    async with WsClient.open(hub, key=token(user), index=1) as ws:
        answer = await ws.join(room, after=cursor)
        assert answer["recovered"] is True
        assert answer["cursor"] == cursor
        await publish(client, room, 6)
        assert [message["event"]["data"] for message in await ws.events(6)] == [1, 2, 3, 4, 5, 6]
        assert await ws.quiet() == []  # in it once, not twice
        assert (await ws.ask("join_room", room=room, after="nonsense"))["code"] == "INVALID_CURSOR"
        await publish(client, room, 7)
        assert (await ws.next("event"))["event"]["data"] == 7


async def test_nobody_leaves_the_own_room(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    user, room = user_of(topic), own(topic)
    async with WsClient.open(hub, key=token(user, subscribe=[topic])) as ws:
        for joined in (False, True):
            if joined:
                await ws.join(room)
            assert (await ws.ask("leave_room", room=room))["code"] == "VALIDATION_FAILED"
            await publish(client, room, joined)
            assert (await ws.next("event"))["event"]["data"] is joined
        assert (await ws.ask("join_room", room=room, after="nonsense"))["code"] == "INVALID_CURSOR"
        await publish(client, room, "still")
        assert (await ws.next("event"))["event"]["data"] == "still"


@pytest.mark.parametrize("rooms", [["a"], ["a", "b"]], ids=["one room", "two rooms"])
async def test_events_of_a_room_and_direct_messages_come_in_log_order(
    hub: Hub, client: httpx.AsyncClient, topic: str, rooms: list[str]
) -> None:
    """In one batch, so that they are gathered in one step: a place in the room's shared frames must be kept."""
    room = own(topic)
    batch = [{"topic": room if n % 3 == 0 else f"{topic}.a", "type": "t", "data": n} for n in range(60)]
    async with (
        WsClient.open(hub, key=token(user_of(topic), subscribe=[f"{topic}.*"])) as ws,
        WsClient.open(hub) as all_,
    ):
        for name in rooms:
            await ws.join(f"{topic}.{name}")
        await all_.join(f"{topic}.a")
        for first in (0, 60):
            for item in batch:
                item["data"] = first + batch.index(item)
            assert (await client.post("/v1/events", json=batch)).status_code == 202
        assert [message["event"]["data"] for message in await ws.events(120)] == list(range(120))
        assert [message["event"]["data"] for message in await all_.events(80)] == [n for n in range(120) if n % 3]
        assert await ws.quiet() == []


async def test_an_own_room_is_told_of_a_gap(topic: str) -> None:
    with Hub() as hub:
        async with hub.client() as client, WsClient.open(hub, key=token("bob")) as ws:
            await publish(client, "@user.bob", 1)
            await ws.next("event")
            hub.store.wipe()
            hub.store.start()
            assert (await ws.next("gap"))["room"] == "@user.bob"


async def test_a_user_is_disconnected_everywhere_within_a_second(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    user = user_of(topic)
    key = token(user, subscribe=[topic])
    async with (
        WsClient.open(hub, key=key) as first,
        WsClient.open(hub, key=key, index=1) as second,
        SseClient.open(hub, f"topic={topic}", key=key, index=1) as sse,
        WsClient.open(hub, key=token("other")) as other,
        hub.client(1, key) as poller,
        hub.client(1) as there,
    ):
        await sse.event()
        polling = asyncio.ensure_future(poller.get("/v1/poll", params={"topic": topic, "wait": "25"}, timeout=30))
        await eventually(lambda: connected(there, "poll"), "the poll waits")
        path = f"/v1/users/{user.replace('/', '%2F')}/disconnect"
        answer = await client.post(path, json={"reason": "banned"})
        assert answer.status_code == 202
        assert answer.json()["data"] == {"user": user}
        async with asyncio.timeout(1):
            for ws in (first, second):
                with pytest.raises(ConnectionClosed):
                    await ws.connection.recv()
                assert (ws.connection.close_code, ws.connection.close_reason) == (4003, "banned")
            await read_to_end(sse)
            assert (await polling).status_code == 403
        assert await other.quiet() == []
    async with WsClient.open(hub, key=key) as again:  # its token is good still
        assert again.connected["user"] == user


async def read_to_end(sse: SseClient) -> None:
    with contextlib.suppress(EOFError):
        while True:
            await sse.block()


async def test_only_an_administrator_disconnects(hub: Hub, client: httpx.AsyncClient) -> None:
    made = (await client.post("/v1/keys", json={"scopes": ["events:publish"], "name": "p"})).json()["data"]
    for key, status in ((made["key"], 403), (token("bob"), 403)):
        assert (await client.post("/v1/users/bob/disconnect", headers=auth(key))).status_code == status
    long = {"reason": "x" * 124}
    assert (await client.post("/v1/users/bob/disconnect", json=long)).status_code == 400


async def test_another_apps_user_of_the_same_name_stays(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    made = (await client.post("/v1/keys", json={"scopes": ["admin"], "app": "other"})).json()["data"]
    user = user_of(topic)
    async with WsClient.open(hub, key=token(user)) as ws:
        for key, is_closed in ((made["key"], False), (None, True)):
            headers = auth(key) if key else None
            path = f"/v1/users/{user.replace('/', '%2F')}/disconnect"
            assert (await client.post(path, headers=headers)).status_code == 202
            await publish(client, own(topic), 1, ephemeral=True)  # behind it on the same stream
            if not is_closed:
                await ws.next("event")
        await eventually(lambda: ws.connection.close_code == 4003, "it is closed")
