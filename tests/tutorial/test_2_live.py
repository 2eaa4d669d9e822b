"""Part 2: live. Browsers and services get events as they are appended, and catch up when they were away."""

import json
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.support.hub import Hub, publish
from tests.support.live import SseClient, WsClient


async def make_token(client: httpx.AsyncClient, **claims: Any) -> str:
    """What a service does for its user's browser: ask the hub, with a key that has the scope `admin`, for a token."""
    answer = await client.post("/v1/tokens", json=claims)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["token"])


async def heard(socket: ClientConnection) -> dict[str, Any]:
    return json.loads(await socket.recv())


async def test_a_stream_is_one_long_http_answer(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    """`GET /v1/stream` is what EventSource in a browser reads: server-sent events. First comes `hub.connected`, then
    each event in a block: `id:` is its cursor, `data:` the event."""
    lines: list[str] = []
    async with client.stream("GET", "/v1/stream", params={"topic": f"{topic}.*"}) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        sent: dict[str, Any] = {}
        async for line in answer.aiter_lines():
            lines.append(line)
            if line == "event: hub.connected":
                sent = await publish(client, f"{topic}.42", {"total": 7}, type="order.created")
            if line.startswith("data:") and sent and sent["id"] in line:
                break
    assert lines[0].startswith("retry: ")
    assert lines[-2] == f"id: {sent['cursor']}"
    assert json.loads(lines[-1].removeprefix("data: "))["data"] == {"total": 7}


async def test_a_websocket_joins_rooms_and_speaks_json(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    """A room is a topic, or a pattern. Browsers can't set headers on a WebSocket, so the token goes into the URL; a
    first message `authenticate` does as well. What a client says with a `ref` is answered with that `ref`."""
    token = await make_token(client, user="ann", subscribe=[f"{topic}.**"], publish=[f"{topic}.*"])
    async with connect(f"{hub.ws_url()}?token={token}", subprotocols=[Subprotocol("hub.v1.json")]) as socket:
        connected = await heard(socket)
        assert (connected["type"], connected["user"]) == ("connected", "ann")

        await socket.send(json.dumps({"type": "join_room", "room": f"{topic}.**", "ref": 1}))
        joined = await heard(socket)
        assert (joined["type"], joined["room"], joined["ref"]) == ("room_joined", f"{topic}.**", 1)

        """Others publish, over HTTP or by `broadcast`; members get the event with its cursor, the sender too."""
        said = {"type": "broadcast", "room": f"{topic}.42", "event_type": "order.noted", "data": "call back", "ref": 2}
        await socket.send(json.dumps(said))
        answers = {message["type"]: message for message in (await heard(socket), await heard(socket))}
        assert answers["ack"]["ref"] == 2
        assert answers["event"]["event"]["data"] == "call back"
        assert answers["event"]["cursor"] == answers["ack"]["cursor"]


async def test_a_token_opens_what_it_names_and_its_users_own_topic(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    """The claims in the token are all that it may do; nobody has to be asked again. `@user.NAME` is a user's own topic:
    whatever is published there is for that user, and a wildcard never reaches it."""
    token = await make_token(client, user="ann", subscribe=[f"{topic}.*"])
    async with WsClient.open(hub, key=None, query=f"?token={token}") as ws:
        refused = await ws.ask("join_room", room="payroll.2026")
        assert (refused["type"], refused["code"]) == ("error", "FORBIDDEN")
        await ws.join("@user.ann")
        await publish(client, "@user.ann", "only you see this")
        assert (await ws.next("event"))["event"]["data"] == "only you see this"


async def test_whoever_was_away_gives_the_cursor_back_and_misses_nothing(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    """Keep the cursor of the last event that you handled. After a loss, join `after` it, on whichever process the
    balancer gives you: what was missed comes first, in order, then it is live again. `recovered` says that it is all
    there."""
    async with WsClient.open(hub, index=0) as ws:
        await ws.join(topic)
        await publish(client, topic, 1)
        cursor = (await ws.next("event"))["cursor"]
    for number in (2, 3, 4):
        await publish(client, topic, number)
    async with WsClient.open(hub, index=1) as ws:
        assert (await ws.join(topic, after=cursor))["recovered"] is True
        await publish(client, topic, 5)
        assert [message["event"]["data"] for message in await ws.events(4)] == [2, 3, 4, 5]

    # EventSource does so by itself: it sends the last `id:` as `Last-Event-ID`. The cursors are the same.
    async with SseClient.open(hub, f"topic={topic}", last_event_id=cursor) as stream:
        assert json.loads((await stream.event())["data"]) == {"cursor": cursor, "recovered": True}
        assert [event["data"] for event in await stream.data(4)] == [2, 3, 4, 5]


async def test_a_cursor_that_cannot_be_honoured_is_said_to_be_so(hub: Hub, topic: str) -> None:
    """A cursor from a log that is no more (its second part, the epoch, is another) or from before the retention can't
    bring back what was missed. `recovered: false`: read anew what you show, then go on from the answer's cursor."""
    async with WsClient.open(hub) as ws:
        answer = await ws.join(topic, after="0-1-1-0")
        assert answer["recovered"] is False
        assert answer["cursor"] != "0-1-1-0"


async def test_a_newcomer_may_ask_for_the_last_events(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    """`history` begins with the newest N events: enough for a chat window or a chart."""
    for number in range(5):
        await publish(client, topic, number)
    async with WsClient.open(hub) as ws:
        await ws.join(topic, history=2)
        assert [message["event"]["data"] for message in await ws.events(2)] == [3, 4]


async def test_what_only_matters_now_is_published_as_ephemeral(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    """A cursor that moves, somebody who types: `ephemeral` events reach whoever is connected, and are nowhere else.
    They have no cursor, and no webhook gets them."""
    async with WsClient.open(hub) as ws:
        await ws.join(topic)
        sent = await publish(client, topic, "typing", ephemeral=True)
        assert sent["cursor"] is None
        message = await ws.next("event")
        assert message["event"]["data"] == "typing"
        assert "cursor" not in message
    assert (await client.get("/v1/events", params={"topic": topic})).json()["data"] == []


async def test_a_token_ends_its_connection_and_a_new_one_prolongs_it(hub: Hub, client: httpx.AsyncClient) -> None:
    """When the token ends, so does the connection: close code 4009. Send `authenticate` with a new token before."""
    short, long = [await make_token(client, user="ann", ttl=ttl) for ttl in (1, 600)]
    async with WsClient.open(hub, key=None, query=f"?token={short}") as ws:
        with pytest.raises(ConnectionClosed) as closed:
            await ws.next("nothing comes")
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4009
    async with WsClient.open(hub, key=None, query=f"?token={await make_token(client, user='ann', ttl=60)}") as ws:
        answer = await ws.ask("authenticate", token=long)
        assert answer["type"] == "authenticated"
        assert answer["expires_in"] > 60
