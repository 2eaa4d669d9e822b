"""The store is killed and comes back, with its data or without, under publishing and live subscribers."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.support.hub import Hub, publish, whole_log
from tests.support.live import SseClient, WsClient, connected
from tests.support.waiting import eventually


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        yield running


@pytest.fixture
async def client(hub: Hub) -> AsyncIterator[httpx.AsyncClient]:
    async with hub.client() as opened:
        yield opened


async def collect(ws: WsClient, into: list[dict[str, Any]]) -> None:
    while True:
        into.append(await ws.next("event"))


async def collect_stream(sse: SseClient, into: list[Any]) -> None:
    while True:
        into += await sse.data(1)


async def test_nothing_that_was_answered_202_is_lost_by_a_killed_store(hub: Hub, client: httpx.AsyncClient) -> None:
    accepted: list[str] = []
    refused: list[float] = []

    async def publisher(name: int) -> None:
        for n in range(150):
            event = {"topic": "room.a", "type": "t", "data": n, "id": f"{name}-{n}"}
            began = time.monotonic()
            while (response := await client.post("/v1/events", json=event)).status_code != 202:
                assert response.json()["error"]["code"] == "STORE_UNAVAILABLE"
                assert response.headers["retry-after"]
                refused.append(time.monotonic() - began)
                began = time.monotonic()
            accepted.append(f"{name}-{n}")

    async with WsClient.open(hub) as ws, SseClient.open(hub, "topic=room.*") as sse:
        await ws.join("room.a")
        await sse.event()
        frames: list[dict[str, Any]] = []
        streamed: list[Any] = []
        followers = [asyncio.create_task(collect(ws, frames)), asyncio.create_task(collect_stream(sse, streamed))]
        publishers = [asyncio.create_task(publisher(name)) for name in range(4)]
        for kills in (1, 2):
            goal = 150 * kills
            await eventually(lambda goal=goal: len(accepted) > goal, "some events are in")
            hub.store.kill()
            await eventually(lambda kills=kills: len(refused) >= 4 * kills, "publishers are refused")
            assert not hub.is_ready()
            assert "store" in (await client.get("/health/ready")).text
            hub.store.start()
        await asyncio.gather(*publishers)
        assert max(refused) < 2.0
        await eventually(lambda: len(frames) >= 600 and len(streamed) >= 600, "all events have come")
        log = await whole_log(client)
        assert sorted(log) == sorted(set(accepted)) == sorted(accepted)
        # On connections that stayed open all the time: each event once, in the order of the log.
        assert [message["event"]["id"] for message in frames] == log
        assert [event["id"] for event in streamed] == log
        for follower in followers:
            follower.cancel()
    await eventually(hub.is_ready, "the hub is ready again")


async def test_a_store_that_came_back_empty_gives_a_gap_and_a_new_epoch(hub: Hub, client: httpx.AsyncClient) -> None:
    async with WsClient.open(hub) as ws, SseClient.open(hub, "topic=room.a") as sse:
        await ws.join("room.a")
        await sse.event()
        old = await publish(client, "room.a", "old")
        assert (await ws.next("event"))["event"]["data"] == "old"
        await sse.event()
        query = {"topic": "room.a", "after": old["cursor"], "wait": "25"}
        polling = asyncio.ensure_future(client.get("/v1/poll", params=query, timeout=30))
        await eventually(lambda: connected(client, "poll"), "the poll waits")
        hub.store.wipe()
        hub.store.start()
        gap = await ws.next("gap")
        assert gap["room"] == "room.a"
        assert gap["from"] == old["cursor"]
        block = await sse.event()
        assert block["event"] == "hub.gap"
        assert block["id"] == gap["to"]
        assert json.loads(block["data"]) == {"from": gap["from"], "to": gap["to"]}
        told = (await polling).json()
        assert told["data"] == []
        assert (told["pagination"]["recovered"], told["pagination"]["next_cursor"]) == (False, gap["to"])
        new = await eventually(lambda: accepted(client, "room.a", "new"), "publishing works again")
        assert new is not None
        assert (await ws.next("event"))["event"]["id"] == new["id"]
        assert (await sse.data(1))[0]["id"] == new["id"]
        assert new["cursor"].split("-")[1] > old["cursor"].split("-")[1]  # the epoch
        async with WsClient.open(hub) as late:
            assert (await late.join("room.a", after=old["cursor"]))["recovered"] is False
            assert (await late.join("room.a", after=gap["to"]))["recovered"] is True
            assert (await late.next("event"))["event"]["id"] == new["id"]


async def test_a_store_that_hangs_is_answered_within_two_seconds(hub: Hub, client: httpx.AsyncClient) -> None:
    await publish(client, "room.a", 1)
    os.kill(hub.store.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        response = await client.post("/v1/events", json={"topic": "room.a", "type": "t", "data": 2})
        assert time.monotonic() - began < 2.0
        assert (response.status_code, response.json()["error"]["code"]) == (503, "STORE_UNAVAILABLE")
        assert "did not answer in time" in response.json()["error"]["message"]
        assert (await client.get("/health/ready")).status_code == 503
        assert (await client.get("/health/live")).status_code == 200
    finally:
        os.kill(hub.store.pid, signal.SIGCONT)
    await eventually(lambda: accepted(client, "room.a", 3), "publishing works again")


async def accepted(client: httpx.AsyncClient, topic: str, data: Any) -> dict[str, Any] | None:
    response = await client.post("/v1/events", json={"topic": topic, "type": "t", "data": data})
    return response.json()["data"] if response.status_code == 202 else None


async def test_a_process_that_slept_while_the_log_was_trimmed_says_that_events_are_gone(
    hub: Hub, client: httpx.AsyncClient
) -> None:
    async with WsClient.open(hub) as ws:
        await ws.join("room.a")
        first = await publish(client, "room.a", 0)
        assert (await ws.next("event"))["cursor"] == first["cursor"]
        hub.webs[0].signal(signal.SIGSTOP)
        with hub.store.client() as store:  # what the janitor of another process would do
            for n in range(1, 30):
                fields = {"a": "default", "t": "room.a", "y": "t", "i": f"e{n}", "r": "", "e": b'{"id":%d}' % n}
                store.xadd("hub:{p0}:log", fields)  # pyright: ignore[reportArgumentType]
            newest = store.xrevrange("hub:{p0}:log", count=6)
            assert isinstance(newest, list)
            store.hset("hub:{p0}:meta", "floor", newest[-1][0])
            store.xtrim("hub:{p0}:log", maxlen=5, approximate=False)
        hub.webs[0].signal(signal.SIGCONT)
        gap = await ws.next("gap")
        got = [0]
        while got[-1] != 29:
            got.append((await ws.next("event"))["event"]["id"])
        assert got[-5:] == [25, 26, 27, 28, 29]
        assert got[:-5] in ([0], [0, 1])  # a read that waited when the process fell asleep got the first
        async with WsClient.open(hub) as late:
            assert (await late.join("room.a", after=first["cursor"]))["recovered"] is False
            assert (await late.join("room.a", after=gap["to"]))["recovered"] is True
            assert len(await late.events(5)) == 5
