"""What time brings to a WebSocket: heartbeats, and an end to who never says who it is."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from hub.core import cursor as cursors
from tests.support.brisk import SECONDS, BriskHub
from tests.support.hub import Hub, publish, token
from tests.support.live import WsClient, connected
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with BriskHub(web=2) as running:
        yield running


@pytest.fixture
async def client(hub: Hub) -> AsyncIterator[httpx.AsyncClient]:
    async with hub.client() as opened:
        yield opened


async def test_heartbeats_keep_the_cursor_of_a_quiet_room_young(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    async with WsClient.open(hub) as ws:
        assert ws.connected["heartbeat"] == 25  # what it is without help
        joined = (await ws.join(topic))["cursor"]
        began = asyncio.get_running_loop().time()
        assert (await ws.next("heartbeat")).keys() == {"type", "cursor"}
        assert asyncio.get_running_loop().time() - began < SECONDS + 1.0
        sent = await publish(client, topic + ".elsewhere", "not for this room")
        beat = await eventually(lambda: reaches(ws, sent["cursor"]), "a heartbeat carries a newer cursor")
        assert beat is not None
        assert cursors.decode(beat) > cursors.decode(joined)
    await publish(client, topic, "missed")
    async with WsClient.open(hub, index=1) as ws:
        assert (await ws.join(topic, after=beat))["recovered"] is True
        assert (await ws.next("event"))["event"]["data"] == "missed"


async def reaches(ws: WsClient, cursor: str) -> str | None:
    beat = (await ws.next("heartbeat"))["cursor"]
    return beat if cursors.decode(beat) >= cursors.decode(cursor) else None


async def test_who_says_in_time_who_it_is_stays_and_who_does_not_is_closed(hub: Hub, topic: str) -> None:
    async with WsClient.open(hub, key=None) as ann, WsClient.open(hub, key=None) as silent:
        assert (await ann.ask("authenticate", token=token("ann", subscribe=[topic])))["type"] == "authenticated"
        assert await silent.closed() == 4001
        for _ in range(2):
            await ann.next("heartbeat")
        assert (await ann.ask("ping"))["type"] == "pong"


async def test_nothing_but_authenticate_may_come_first(hub: Hub, topic: str) -> None:
    for message in ({"type": "ping"}, {"type": "join_room", "room": topic}, {"type": "authenticate", "token": "no"}):
        async with WsClient.open(hub, key=None) as ws:
            await ws.say(message.pop("type"), **message)
            assert await ws.closed() == 4001


async def test_who_goes_while_its_credential_is_looked_up_leaves_nothing_behind(
    hub: Hub, client: httpx.AsyncClient
) -> None:
    key = (await client.post("/v1/keys", json={"scopes": ["events:subscribe"]})).json()["data"]["key"]
    async with WsClient.open(hub, key=None) as ws:
        ended = hub.webs[0].log.count('"websocket_ended"')
        hub.store.hang()
        try:
            await ws.say("authenticate", token=key)
            await ws.connection.ping()
            ws.connection.transport.abort()
            await eventually(lambda: hub.webs[0].log.count('"websocket_ended"') > ended, "its end was seen")
        finally:
            hub.store.wake()
    await eventually(lambda: hub.is_ready(), "the store is reached again")
    async with WsClient.open(hub, key=None) as ws:  # behind it
        assert (await ws.ask("authenticate", token=key))["type"] == "authenticated"
    await eventually(lambda: has_no_websocket(client), "nobody is left")


async def has_no_websocket(client: httpx.AsyncClient) -> bool:
    return await connected(client, "ws") == 0
