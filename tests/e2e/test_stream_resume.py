"""GET /v1/stream over several topics, patterns and log partitions: one id resumes it all, and it stays young."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from hub.core import cursor as cursors
from tests.support.brisk import SECONDS, BriskHub
from tests.support.hub import Hub, publish
from tests.support.live import SseClient
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with BriskHub(web=2, HUB_PARTITIONS="3") as running:
        yield running


@pytest.fixture
async def client(hub: Hub) -> AsyncIterator[httpx.AsyncClient]:
    async with hub.client() as opened:
        yield opened


async def test_one_id_resumes_topics_and_patterns_of_all_partitions_each_event_once(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    """Cut again and again, on either process, while events go on: none is lost or doubled, topics keep their order."""
    query = "&".join(f"topic={topic}.{name}" for name in ("a", "b.*", "c.**", "c.d"))
    names = ("a", "b.x", "b.y", "c.d", "c.d.e", "c.f")
    total, chance = 240, random.Random(3)

    async def publish_all() -> None:
        for n in range(total):
            await publish(client, f"{topic}.{names[n % len(names)]}", n)
            await publish(client, f"{topic}.other", n)

    got: list[Any] = []
    last: str | None = None
    async with SseClient.open(hub, query) as sse:
        last = (await sse.event())["id"]
    publishing = asyncio.ensure_future(publish_all())
    cuts = 0
    while len(got) < total:
        async with SseClient.open(hub, query, index=cuts % 2, last_event_id=last) as sse:
            first = await sse.event()
            assert json.loads(first["data"]) == {"cursor": last, "recovered": True}
            for _ in range(chance.randrange(5, 40)):
                if len(got) == total:
                    break
                got.append((await sse.data(1))[0]["data"])
            last = sse.id
        cuts += 1
    await publishing
    assert cuts > 5
    assert sorted(got) == list(range(total))
    for n in range(len(names)):
        own = [number for number in got if number % len(names) == n]
        assert own == sorted(own)


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_cursor_of_a_list_or_of_one_event_resumes_right_behind_the_event(
    hub: Hub, client: httpx.AsyncClient, topic: str, order: str
) -> None:
    for n in range(12):
        await publish(client, f"{topic}.{n}", n)
    query = {"topic": f"{topic}.*", "order": order, "limit": "5"}
    page = (await client.get("/v1/events", params=query)).json()["data"]
    await publish(client, f"{topic}.12", 12)
    for event in page:
        alone = (await client.get(f"/v1/events/{event['id']}")).json()["data"]
        for cursor in {event["cursor"], alone["cursor"]}:
            async with SseClient.open(hub, f"topic={topic}.*&after={cursor}") as sse:
                assert json.loads((await sse.event())["data"])["recovered"] is True
                newer = await sse.data(12 - event["data"])
                assert sorted(one["data"] for one in newer) == list(range(event["data"] + 1, 13))


async def test_a_quiet_stream_gets_blocks_of_an_id_alone_that_keep_its_cursor_young(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    async with SseClient.open(hub, f"topic={topic}") as sse:
        began = (await sse.event())["id"]
        before = asyncio.get_running_loop().time()
        assert list(await sse.block()) == ["id"]
        assert asyncio.get_running_loop().time() - before < SECONDS + 1.0
        for n in range(5):
            await publish(client, f"{topic}.elsewhere{n}", "not for this stream")
        here = await eventually(lambda: moved(sse, began), "a heartbeat carries a newer cursor")
    assert here is not None
    marks, older = cursors.decode(here), cursors.decode(began)
    assert [mark.partition for mark in marks] == [mark.partition for mark in older] == [0, 1, 2]
    assert sum(new.position > old.position for new, old in zip(marks, older, strict=True)) >= 1
    await publish(client, topic, "missed")
    async with SseClient.open(hub, f"topic={topic}", index=1, last_event_id=here) as sse:
        assert json.loads((await sse.event())["data"])["recovered"] is True
        assert [event["data"] for event in await sse.data(1)] == ["missed"]


async def moved(sse: SseClient, since: str) -> str | None:
    block = await sse.block()
    assert list(block) == ["id"]
    return block["id"] if block["id"] != since else None


async def test_the_time_to_come_back_is_spread(hub: Hub, topic: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(SseClient.open(hub, f"topic={topic}")) for _ in range(12)]
        retries = [int((await sse.block())["retry"]) for sse in streams]
    assert all(1000 <= retry <= 4000 for retry in retries)
    assert len(set(retries)) > 6


@pytest.mark.slow
async def test_without_help_the_heartbeat_comes_every_fifteen_seconds() -> None:
    with Hub() as slow:
        async with httpx.AsyncClient(timeout=40) as page:
            headers = {"authorization": f"Bearer {slow.environment['HUB_BOOTSTRAP_KEY']}"}
            async with page.stream("GET", slow.url("/v1/stream?topic=a"), headers=headers) as response:
                began = asyncio.get_running_loop().time()
                beats: list[float] = []
                block: list[str] = []
                async for line in response.aiter_lines():
                    block.append(line)
                    if line == "":
                        if [part.partition(":")[0] for part in block] == ["id", ""]:
                            beats.append(asyncio.get_running_loop().time() - began)
                        block = []
                    if len(beats) == 2:
                        break
    assert 14 < beats[0] < 16.5
    assert 14 < beats[1] - beats[0] < 16.5
