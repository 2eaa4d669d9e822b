"""GET /v1/ws: rooms, broadcast, resume, and what a client's mistakes lead to."""

import asyncio
import json

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.support.hub import Hub, auth, publish, token
from tests.support.live import WsClient
from tests.support.waiting import eventually


async def test_a_member_gets_the_events_of_its_room_and_no_others(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    async with WsClient.open(hub) as ws:
        answer = await ws.join(topic)
        assert "recovered" not in answer
        await publish(client, topic + "x", "other")
        sent = await publish(client, topic, {"n": 1})
        message = await ws.next("event")
        assert message["room"] == topic
        assert message["cursor"] == sent["cursor"]
        assert message["event"]["id"] == sent["id"]
        assert message["event"]["data"] == {"n": 1}
        assert await ws.quiet() == []


async def test_connected_says_for_whom_the_hub_takes_the_client(hub: Hub) -> None:
    async with WsClient.open(hub) as server, WsClient.open(hub, key=token("ann"), index=1) as ann:
        for ws, user in ((server, False), (ann, "ann")):
            assert ws.connected.keys() == {"type", "connection_id", "user", "heartbeat", "cursor"}
            assert ws.connected["user"] == user
        assert server.connected["connection_id"] != ann.connected["connection_id"]


async def test_a_broadcast_has_a_type_and_an_id_which_counts_once(hub: Hub, topic: str) -> None:
    async with WsClient.open(hub) as ws:
        await ws.join(topic)
        ack = await ws.ask("broadcast", room=topic, data=1, id="once")
        assert "duplicate" not in ack
        again = await ws.ask("broadcast", room=topic, data=2, id="once")
        assert (again["id"], again["cursor"], again["duplicate"]) == ("once", ack["cursor"], True)
        own = await ws.ask("broadcast", room=topic, data=3)
        events = [message["event"] for message in await ws.events(2)]
        assert [(event["id"], event["type"], event["data"]) for event in events] == [
            ("once", "message", 1), (own["id"], "message", 3),
        ]  # fmt: skip
        assert await ws.quiet() == []


async def test_a_broadcast_is_acknowledged_and_comes_to_all_its_sender_too(hub: Hub, topic: str) -> None:
    async with WsClient.open(hub) as sender, WsClient.open(hub, index=1) as other:
        await sender.join(topic)
        await other.join(topic)
        ack = await sender.ask("broadcast", room=topic, data=[1, 2], event_type="chat.said", id="msg-1")
        assert ack["type"] == "ack"
        assert ack["id"] == "msg-1"
        for ws in (sender, other):
            event = (await ws.next("event"))["event"]
            assert (event["id"], event["type"], event["data"]) == ("msg-1", "chat.said", [1, 2])


async def test_an_ephemeral_broadcast_reaches_members_and_leaves_no_trace(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    async with WsClient.open(hub) as sender, WsClient.open(hub, index=1) as other:
        await sender.join(topic)
        await other.join(topic)
        ack = await sender.ask("broadcast", room=topic, data="typing", ephemeral=True)
        assert ack["type"] == "ack"
        for ws in (sender, other):
            message = await ws.next("event")
            assert "cursor" not in message
            assert message["event"]["data"] == "typing"
    assert (await client.get("/v1/events", params={"topic": topic})).json()["data"] == []


async def test_after_leaving_nothing_more_comes(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    async with WsClient.open(hub) as ws:
        await ws.join(topic)
        await ws.join(topic + "2")
        assert (await ws.ask("leave_room", room=topic))["type"] == "room_left"
        await publish(client, topic, "unheard")
        await publish(client, topic + "2", "heard")
        assert (await ws.next("event"))["event"]["data"] == "heard"
        assert await ws.quiet() == []
        assert (await ws.ask("leave_room", room=topic))["code"] == "VALIDATION_FAILED"


async def test_overlapping_joins_give_one_frame_each_in_log_order(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    rooms = [f"{topic}.a", f"{topic}.*", f"{topic}.**"]
    async with WsClient.open(hub) as ws:
        await ws.say("join_room", rooms=rooms)
        assert [(await ws.next("room_joined"))["room"] for _ in rooms] == rooms
        for n in range(20):
            await publish(client, f"{topic}.{'a' if n % 2 else 'b'}", n)
        for n in range(20):
            expected = rooms if n % 2 else rooms[1:]
            got = await ws.events(len(expected))
            assert [message["event"]["data"] for message in got] == [n] * len(expected)
            assert sorted(message["room"] for message in got) == sorted(expected)


async def test_a_join_with_types_gets_only_those(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    async with WsClient.open(hub) as ws:
        await ws.join(topic, types=["order.*"])
        await publish(client, topic, 1, type="invoice.paid")
        await publish(client, topic, 2, type="order.created")
        assert (await ws.next("event"))["event"]["data"] == 2


async def test_a_reconnect_replays_exactly_what_was_missed_on_any_process(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    async with WsClient.open(hub) as ws:
        await ws.join(topic)
        await publish(client, topic, 0)
        cursor = (await ws.next("event"))["cursor"]
        ws.connection.transport.abort()
    for n in range(1, 40):
        await publish(client, topic, n)
    for index in (0, 1):
        async with WsClient.open(hub, index=index) as ws:
            answer = await ws.join(topic, after=cursor)
            assert answer["recovered"] is True
            assert answer["cursor"] == cursor
            assert [message["event"]["data"] for message in await ws.events(39)] == list(range(1, 40))
            assert await ws.quiet() == []


async def test_the_cursor_of_connected_covers_what_comes_before_the_join(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    async with WsClient.open(hub) as ws:
        await publish(client, topic, "before the join")
        answer = await ws.join(topic, after=ws.connected["cursor"])
        assert answer["recovered"] is True
        assert (await ws.next("event"))["event"]["data"] == "before the join"


async def test_history_gives_the_last_events_and_goes_on_live(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    for n in range(10):
        await publish(client, topic, n)
    async with WsClient.open(hub) as ws:
        answer = await ws.join(topic, history=3)
        assert "recovered" not in answer
        await publish(client, topic, 10)
        assert [message["event"]["data"] for message in await ws.events(4)] == [7, 8, 9, 10]
        assert await ws.quiet() == []


async def test_history_of_a_pattern_goes_by_its_types(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    for n in range(8):
        await publish(client, f"{topic}.{n % 2}", n, type="order.made" if n < 6 else "invoice.paid")
    async with WsClient.open(hub) as ws:
        await ws.join(f"{topic}.*", history=3, types=["order.*"])
        await publish(client, f"{topic}.0", 8, type="order.made")
        assert [message["event"]["data"] for message in await ws.events(4)] == [3, 4, 5, 8]
        assert await ws.quiet() == []


async def test_a_cursor_that_cant_be_honoured_is_said_and_delivery_is_live(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    sent = await publish(client, topic, 1)
    partition, epoch, ms, seq = sent["cursor"].split("-")
    for wrong in (
        f"{partition}-1-{ms}-{seq}",
        f"{partition}-{epoch}-{int(ms, 16) + 10**9:x}-0",
        f"63-{epoch}-{ms}-{seq}",
    ):
        async with WsClient.open(hub) as ws:
            answer = await ws.join(topic, after=wrong)
            assert answer["recovered"] is False
            assert answer["cursor"] != wrong
            live = await publish(client, topic, "live")
            assert (await ws.next("event"))["event"]["id"] == live["id"]


async def test_every_publish_beside_joins_arrives_exactly_once_in_order(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    """Clients are cut and resume at random moments, while publishing goes on."""
    total = 300

    async def follow(index: int) -> list[int]:
        got: list[int] = []
        cursor: str | None = None
        while len(got) < total:
            async with WsClient.open(hub, index=index % 2) as ws:
                answer = await ws.join(topic, **({} if cursor is None else {"after": cursor}))
                assert answer.get("recovered", True) is True
                cursor = cursor or answer["cursor"]
                started.add(index)
                for _ in range(min(7 + 13 * (index % 5), total - len(got))):
                    message = await ws.next("event")
                    got.append(message["event"]["data"])
                    cursor = message["cursor"]
                ws.connection.transport.abort()
        return got

    started: set[int] = set()
    followers = [asyncio.create_task(follow(index)) for index in range(10)]
    await eventually(lambda: len(started) == len(followers), "all have joined")
    for n in range(total):
        await publish(client, topic, n)
    for got in await asyncio.gather(*followers):
        assert got == list(range(total))


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("{", "INVALID_JSON", "not valid JSON"),
        ("[]", "VALIDATION_FAILED", "object"),
        ('{"type":"dance","ref":7}', "VALIDATION_FAILED", "join_room"),
        ('{"type":"join_room","ref":7}', "VALIDATION_FAILED", "room"),
        ('{"type":"join_room","room":"a b","ref":7}', "VALIDATION_FAILED", "room"),
        ('{"type":"join_room","room":"a.**.b","ref":7}', "VALIDATION_FAILED", "room"),
        ('{"type":"join_room","room":"a","after":"nonsense","ref":7}', "INVALID_CURSOR", "after"),
        ('{"type":"join_room","room":"a","history":-1,"ref":7}', "VALIDATION_FAILED", "history"),
        ('{"type":"join_room","room":"a","history":1001,"ref":7}', "VALIDATION_FAILED", "history"),
        ('{"type":"join_room","room":"a","rooms":["b"],"ref":7}', "VALIDATION_FAILED", "either"),
        ('{"type":"join_room","rooms":[],"ref":7}', "VALIDATION_FAILED", "rooms"),
        (
            json.dumps({"type": "join_room", "room": "a", "types": [f"t.{n}" for n in range(101)], "ref": 7}),
            "VALIDATION_FAILED",
            "types",
        ),
        ('{"type":"join_room","room":"a","colour":1,"ref":7}', "VALIDATION_FAILED", "colour"),
        ('{"type":"broadcast","room":"hub.x","data":1,"ref":7}', "VALIDATION_FAILED", "reserved"),
        ('{"type":"broadcast","room":"a.*","data":1,"ref":7}', "VALIDATION_FAILED", "topic"),
        ('{"type":"broadcast","room":"a","ref":7}', "VALIDATION_FAILED", "data"),
    ],
)
async def test_a_mistake_is_answered_and_closes_nothing(hub: Hub, text: str, code: str, says: str) -> None:
    async with WsClient.open(hub) as ws:
        await ws.connection.send(text)
        error = await ws.next("error")
        assert error["code"] == code, error
        assert says in error["message"]
        assert error.get("ref") == (7 if "ref" in text else None)
        assert (await ws.ask("ping"))["type"] == "pong"


async def test_the_subprotocol_is_agreed(hub: Hub) -> None:
    async with connect(hub.ws_url(), additional_headers=auth(), subprotocols=["x", "hub.v1.json"]) as ws:  # pyright: ignore[reportArgumentType]
        assert ws.subprotocol == "hub.v1.json"
        assert ws.protocol.extensions == []  # deflate would forbid sharing frames


async def test_a_token_opens_its_rooms_only(hub: Hub, topic: str) -> None:
    granted = token("ann", subscribe=[f"{topic}.**"], publish=[f"{topic}.chat"])
    async with WsClient.open(hub, key=None, query=f"?token={granted}") as ws:
        assert ws.connected["user"] == "ann"
        await ws.join(f"{topic}.chat")
        await ws.join(f"{topic}.*")
        await ws.join("@user.ann")
        for room in (topic, "**", "@user.bob"):
            error = await ws.ask("join_room", room=room)
            assert (error["type"], error["code"]) == ("error", "FORBIDDEN")
        assert (await ws.ask("broadcast", room=f"{topic}.chat", data=1))["type"] == "ack"
        assert (await ws.ask("broadcast", room=f"{topic}.other", data=1))["code"] == "FORBIDDEN"


async def test_a_first_message_may_authenticate(hub: Hub, topic: str) -> None:
    async with WsClient.open(hub, key=None) as ws:
        answer = await ws.ask("authenticate", token=token("ann", subscribe=[topic]))
        assert answer["type"] == "authenticated"
        assert 0 < answer["expires_in"] <= 600
        await ws.next("connected")
        await ws.join(topic)
        other = await ws.ask("authenticate", token=token("bob"))
        assert (other["type"], other["code"]) == ("error", "FORBIDDEN")
        assert (await ws.ask("authenticate", token=token("ann")))["type"] == "authenticated"
        left = await ws.next("room_left")  # the new token doesn't grant the room
        assert left["room"] == topic
        assert left["reason"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?token=nonsense", 4001),
        (f"?token={token('ann', secret='another-secret-of-enough-length-0000')}", 4001),
        (f"?token={token('ann', ttl=-5)}", 4001),
    ],
)
async def test_a_wrong_credential_closes_with_its_code(hub: Hub, query: str, code: int) -> None:
    async with connect(hub.ws_url() + query) as ws:
        with pytest.raises(ConnectionClosed) as closed:
            await ws.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code
    assert closed.value.rcvd.reason
    assert "No credential" not in closed.value.rcvd.reason, "at once, not when its time is up"


async def test_a_connection_ends_with_its_token(hub: Hub, topic: str) -> None:
    async with WsClient.open(hub, key=None, query=f"?token={token('ann', ttl=2, subscribe=[topic])}") as ws:
        await ws.join(topic)
        await ws.next("token_expiring")
        with pytest.raises(ConnectionClosed) as closed:
            await ws.connection.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4009


async def test_too_big_a_message_closes_with_1009_and_bad_text_with_1007(hub: Hub) -> None:
    async with WsClient.open(hub) as ws:
        await ws.connection.send("x" * (1024 * 1024 + 1))
        with pytest.raises(ConnectionClosed) as closed:
            await ws.connection.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
    async with WsClient.open(hub) as ws:
        await ws.connection.send(b"\xff\xfe", text=True)
        with pytest.raises(ConnectionClosed) as closed:
            await ws.connection.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1007
