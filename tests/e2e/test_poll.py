"""GET /v1/poll: long polling over the same log, window and cursors as streams."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from hub.core import cursor as cursors
from tests.support.hub import KEY, Hub, publish, token
from tests.support.live import SseClient
from tests.support.waiting import eventually


class Poller:
    """Polls from where it stands: `data` of the next answer, and the cursor for the one after."""

    def __init__(self, client: httpx.AsyncClient, query: str) -> None:
        self.client = client
        self.query = query
        self.cursor: str | None = None
        self.answer: dict[str, Any] = {}

    async def next(self, wait: float = 10) -> list[Any]:
        after = "" if self.cursor is None else f"&after={self.cursor}"
        response = await self.client.get(f"/v1/poll?{self.query}&wait={wait}{after}", timeout=wait + 5)
        assert response.status_code == 200, response.text
        assert response.headers["cache-control"] == "no-store"
        self.answer = response.json()
        self.cursor = self.answer["pagination"]["next_cursor"]
        return [event["data"] for event in self.answer["data"]]


async def test_a_poll_without_events_gives_the_cursor_to_go_on_from(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    poller = Poller(client, f"topic={topic}")
    began = time.monotonic()
    assert await poller.next(wait=0.3) == []
    assert 0.3 <= time.monotonic() - began < 2
    assert "recovered" not in poller.answer["pagination"]
    assert poller.answer["pagination"]["has_more"] is False
    sent = await publish(client, topic, 1)
    assert await poller.next() == [1]
    (event,) = poller.answer["data"]
    assert (event["id"], event["cursor"], event["topic"]) == (sent["id"], sent["cursor"], topic)
    assert poller.answer["pagination"]["recovered"] is True
    assert await poller.next(wait=0) == []


async def test_the_cursor_of_a_quiet_topic_does_not_age(client: httpx.AsyncClient, topic: str) -> None:
    poller = Poller(client, f"topic={topic}")
    await poller.next(wait=0)
    sent = await publish(client, f"{topic}.elsewhere", 1)
    assert await poller.next(wait=0.2) == []
    assert poller.cursor is not None
    assert cursors.decode(poller.cursor) >= cursors.decode(sent["cursor"])


async def test_a_poll_that_waits_is_answered_when_the_first_event_comes(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    async with hub.client(1) as other:
        poller = Poller(other, f"topic={topic}.*&topic={topic}&type=wanted.*")
        await poller.next(wait=0)
        waiting = asyncio.ensure_future(poller.next(wait=25))
        await publish(client, topic, "unwanted", type="other.kind")
        await publish(client, topic + "x", "elsewhere", type="wanted.kind")
        await asyncio.wait([waiting], timeout=0.2)
        assert not waiting.done()
        began = time.monotonic()
        await publish(client, f"{topic}.a", "here", type="wanted.kind")
        assert await waiting == ["here"]
        assert time.monotonic() - began < 1


async def test_between_polls_nothing_is_lost_or_doubled_on_any_process(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    total = 200
    async with hub.client(1) as other:
        pollers = [Poller(one, f"topic={topic}.**&limit=7") for one in (client, other)]

        async def follow(n: int) -> list[Any]:
            got: list[Any] = []
            while len(got) < total:
                got += await pollers[n].next()
                pollers[n].client = (client, other)[len(got) % 2]  # on the other process next
            return got

        for poller in pollers:
            await poller.next(wait=0)
        following = [asyncio.ensure_future(follow(n)) for n in (0, 1)]
        for n in range(total):
            await publish(client, f"{topic}.{n % 5}", n)
        for task in following:
            got = await task
            assert sorted(got) == list(range(total))
            for topic_number in range(5):
                own = [n for n in got if n % 5 == topic_number]
                assert own == sorted(own)


async def test_events_that_wait_come_at_once_up_to_the_limit(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    first = await publish(client, topic, 0)
    for n in range(1, 12):
        await publish(client, topic, n)
    poller = Poller(client, f"topic={topic}&limit=5")
    poller.cursor = first["cursor"]
    began = time.monotonic()
    pages = [await poller.next(wait=25)]
    while poller.answer["pagination"]["has_more"]:
        assert poller.answer["pagination"]["limit"] == 5
        pages.append(await poller.next(wait=25))
    assert pages == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11]]
    assert time.monotonic() - began < 2


async def test_big_events_fill_an_answer_before_the_limit(client: httpx.AsyncClient, topic: str) -> None:
    first = await publish(client, topic, 0)
    for n in range(12):
        await publish(client, topic, f"{n:02}" + "x" * 200_000)
    poller = Poller(client, f"topic={topic}&limit=500")
    poller.cursor = first["cursor"]
    got: list[str] = []
    sizes: list[int] = []
    while len(got) < 12:
        page = await poller.next()
        sizes.append(len(page))
        got += [text[:2] for text in page]
    assert got == [f"{n:02}" for n in range(12)]
    assert max(sizes) <= 6


async def test_a_cursor_that_cant_be_honoured_is_said_at_once(client: httpx.AsyncClient, topic: str) -> None:
    sent = await publish(client, topic, 1)
    partition, _, ms, seq = sent["cursor"].split("-")
    poller = Poller(client, f"topic={topic}")
    poller.cursor = f"{partition}-1-{ms}-{seq}"
    began = time.monotonic()
    assert await poller.next(wait=25) == []
    assert time.monotonic() - began < 3
    assert poller.answer["pagination"]["recovered"] is False
    await publish(client, topic, 2)
    assert await poller.next() == [2]


async def test_an_ephemeral_event_reaches_a_poll_that_waits_and_has_no_cursor(
    client: httpx.AsyncClient, topic: str
) -> None:
    poller = Poller(client, f"topic={topic}")
    await poller.next(wait=0)
    waiting = asyncio.ensure_future(poller.next(wait=25))
    while not waiting.done():
        await publish(client, topic, {"cursor": "0-0-0-0"}, ephemeral=True)
        await asyncio.wait([waiting], timeout=0.05)
    assert "cursor" not in poller.answer["data"][0]
    await publish(client, topic, 2)
    assert await poller.next() == [2]


async def test_a_token_polls_what_it_grants(hub: Hub, topic: str) -> None:
    granted = token("ann", subscribe=[f"{topic}.*"])
    async with httpx.AsyncClient(base_url=hub.url()) as page:
        assert (await page.get(f"/v1/poll?topic={topic}.a&wait=0&token={granted}")).status_code == 200
        assert (await page.get(f"/v1/poll?topic={topic}.**&wait=0&token={granted}")).status_code == 403
        assert (await page.get(f"/v1/poll?topic={topic}.a&wait=0")).status_code == 401
        cookie = {"cookie": f"hub_token={granted}", "sec-fetch-site": "same-origin"}
        assert (await page.get(f"/v1/poll?topic={topic}.a&wait=0", headers=cookie)).status_code == 401


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "topic"),
        ("topic=a..b", "topic"),
        ("topic=a&wait=-1", "wait"),
        ("topic=a&wait=61", "wait"),
        ("topic=a&wait=nan", "wait"),
        ("topic=a&wait=soon", "wait"),
        ("topic=a&limit=0", "limit"),
        ("topic=a&after=zzz", "after"),
        ("topic=a&type=b%20c", "type"),
        ("topic=a&history=5", "history"),
    ],
)
async def test_a_wrong_parameter_is_refused_by_name(client: httpx.AsyncClient, query: str, field: str) -> None:
    response = await client.get(f"/v1/poll?{query}")
    assert (response.status_code, response.json()["error"]["details"][0]["field"]) == (400, field)


async def test_a_wrong_accept_is_refused_at_once(client: httpx.AsyncClient, topic: str) -> None:
    wrong = await client.get(f"/v1/poll?topic={topic}", headers={"accept": "text/event-stream"}, timeout=3)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (406, "NOT_ACCEPTABLE")


async def test_head_is_answered_at_once(client: httpx.AsyncClient, topic: str) -> None:
    head = await client.head(f"/v1/poll?topic={topic}", timeout=3)
    assert (head.status_code, head.headers["content-type"]) == (200, "application/json")


@pytest.fixture
async def alone() -> AsyncIterator[Hub]:
    """A hub that a test may stop."""
    with Hub() as running:
        yield running


async def test_clients_that_go_leave_nothing_behind_and_a_drain_answers_those_that_wait(alone: Hub) -> None:
    async with alone.client() as client:
        first = await publish(client, "a.b", 0)
        for _ in range(50):
            _, writer = await asyncio.open_connection("127.0.0.1", alone.ports[0])
            writer.write(
                f"GET /v1/poll?topic=a.*&wait=60 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\r\n".encode()
            )
            await writer.drain()
            writer.close()
        await eventually(lambda: alone.webs[0].log.count('"status":499') == 50, "the hub has seen them go")
        poller = Poller(client, "topic=a.*")
        poller.cursor = first["cursor"]
        waiting = asyncio.ensure_future(poller.next(wait=25))
        async with SseClient.open(alone, "topic=a.b") as sse:
            await sse.event()
            await asyncio.wait([waiting], timeout=0.3)
            began = time.monotonic()
            alone.webs[0].signal(signal.SIGTERM)
            assert await waiting == []
            assert time.monotonic() - began < 3
            # Only the poll and the stream were there to be closed.
            await eventually(lambda: '"connections":2' in alone.webs[0].log, "the drain is logged")
        alone.restart_web()
        cursor = poller.cursor
    async with alone.client() as client:
        again = Poller(client, "topic=a.*")
        again.cursor = cursor
        await publish(client, "a.c", "after the restart")
        assert await again.next() == ["after the restart"]
