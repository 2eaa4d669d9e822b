"""Behind nginx, with the documented configuration: HTTP/1.1 and HTTP/2, streams, polls, WebSockets, none held back."""

import asyncio
import json
import os
import signal
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.support.hub import Hub, auth, publish, token
from tests.support.live import SseClient, WsClient
from tests.support.nginx import Nginx, binary
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub() as running:
        yield running


@pytest.fixture(scope="module")
def nginx(hub: Hub) -> Iterator[Nginx]:
    if binary() is None:
        reason = "nginx is not installed; .ci/run installs it"
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    with Nginx(hub) as running:
        yield running


@pytest.fixture
async def client(hub: Hub) -> AsyncIterator[httpx.AsyncClient]:
    """Past nginx, for publishing."""
    async with hub.client() as opened:
        yield opened


@pytest.fixture(params=["HTTP/1.1", "HTTP/2"])
async def proxied(nginx: Nginx, request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    is_two = request.param == "HTTP/2"
    context = ssl.create_default_context(cafile=str(nginx.certificate))
    url = nginx.tls_url if is_two else nginx.url
    async with httpx.AsyncClient(
        base_url=url, headers=auth(), timeout=10, http1=not is_two, http2=is_two, verify=context
    ) as opened:
        assert (await opened.get("/health/live")).http_version == request.param
        yield opened


async def test_each_event_of_a_stream_comes_through_at_once_and_its_id_resumes_it(
    client: httpx.AsyncClient, proxied: httpx.AsyncClient, topic: str
) -> None:
    async with proxied.stream("GET", f"/v1/stream?topic={topic}.*&topic={topic}.b.**") as response:
        assert response.status_code == 200
        sse = SseClient(response)
        assert "retry" in await sse.block()
        assert (await sse.block())["event"] == "hub.connected"
        for n in range(5):  # one at a time: an answer that is held back would never come
            await publish(client, f"{topic}.a", n)
            assert [event["data"] for event in await sse.data(1)] == [n]
        last = sse.id or ""
    await publish(client, f"{topic}.b.c", "missed")
    async with proxied.stream("GET", f"/v1/stream?topic={topic}.*&topic={topic}.b.**",
                              headers={"last-event-id": last}) as response:  # fmt: skip
        sse = SseClient(response)
        assert json.loads((await sse.event())["data"]) == {"cursor": last, "recovered": True}
        assert [event["data"] for event in await sse.data(1)] == ["missed"]


async def test_many_streams_share_one_connection_of_http_2(nginx: Nginx, client: httpx.AsyncClient, topic: str) -> None:
    """More than the six that a browser opens to a host with HTTP/1.1."""
    context = ssl.create_default_context(cafile=str(nginx.certificate))
    limits = httpx.Limits(max_connections=1)
    async with httpx.AsyncClient(
        base_url=nginx.tls_url, headers=auth(), http1=False, http2=True, verify=context, limits=limits, timeout=10
    ) as browser:

        async def one(n: int, ready: asyncio.Barrier) -> list[Any]:
            async with browser.stream("GET", f"/v1/stream?topic={topic}.{n}&topic={topic}.all") as response:
                sse = SseClient(response)
                await sse.event()
                await ready.wait()
                return [event["data"] for event in await sse.data(2)]

        ready = asyncio.Barrier(21)
        streams = [asyncio.ensure_future(one(n, ready)) for n in range(20)]
        async with asyncio.timeout(10):
            await ready.wait()
        for n in range(20):
            await publish(client, f"{topic}.{n}", n)
        await publish(client, f"{topic}.all", "all")
        assert await asyncio.gather(*streams) == [[n, "all"] for n in range(20)]


async def test_a_poll_waits_and_is_answered(client: httpx.AsyncClient, proxied: httpx.AsyncClient, topic: str) -> None:
    empty = (await proxied.get(f"/v1/poll?topic={topic}&wait=0")).json()
    after = empty["pagination"]["next_cursor"]
    waiting = asyncio.ensure_future(proxied.get(f"/v1/poll?topic={topic}&wait=25&after={after}"))
    await publish(client, topic, 1)
    assert [event["data"] for event in (await waiting).json()["data"]] == [1]


async def test_a_websocket_comes_through(hub: Hub, nginx: Nginx, client: httpx.AsyncClient, topic: str) -> None:
    ticket = (await client.post("/v1/tickets", json={"subscribe": [topic]})).json()["data"]["ticket"]
    async with connect(f"ws://127.0.0.1:{nginx.port}/v1/ws?ticket={ticket}") as connection:
        ws = WsClient(connection)
        await ws.next("connected")
        await ws.join(topic)
        sent = await publish(client, topic, 1)
        assert (await ws.next("event"))["event"]["id"] == sent["id"]


async def test_a_cookie_counts_on_the_proxys_own_origin(proxied: httpx.AsyncClient, topic: str) -> None:
    del proxied.headers["authorization"]
    cookie = {"cookie": f"hub_token={token('ann', subscribe=[topic])}"}
    own = str(proxied.base_url).rstrip("/")
    for origin, status in ((own, 200), ("https://evil.example", 403), ("https://127.0.0.1", 403)):
        async with proxied.stream("GET", f"/v1/stream?topic={topic}", headers={**cookie, "origin": origin}) as response:
            assert response.status_code == status


async def test_the_hub_sees_that_a_client_has_gone(hub: Hub, proxied: httpx.AsyncClient, topic: str) -> None:
    before = hub.webs[0].log.count('"event":"stream_ended"')
    async with proxied.stream("GET", f"/v1/stream?topic={topic}") as response:
        await SseClient(response).event()
    await proxied.aclose()  # httpx resets no stream of HTTP/2: a browser does, or closes the connection
    await eventually(lambda: hub.webs[0].log.count('"event":"stream_ended"') == before + 1, "the stream has ended")


async def test_a_restart_ends_streams_properly_and_nothing_is_lost(hub: Hub, nginx: Nginx, topic: str) -> None:
    """Last here: the hub is another one afterwards."""
    context = ssl.create_default_context(cafile=str(nginx.certificate))
    async with httpx.AsyncClient(
        base_url=nginx.tls_url, headers=auth(), http1=False, http2=True, verify=context, timeout=10
    ) as browser:
        async with browser.stream("GET", f"/v1/stream?topic={topic}") as response:
            sse = SseClient(response)
            last = (await sse.event())["id"]
            async with connect(f"ws://127.0.0.1:{nginx.port}/v1/ws", additional_headers=auth()) as ws:
                await ws.recv()
                hub.webs[0].signal(signal.SIGTERM)
                with pytest.raises(ConnectionClosed) as closed:
                    await ws.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1012
            # To the end of a whole answer, which httpx tells from one that breaks off.
            assert "retry" in (await sse.rest())[-1]
        hub.restart_web()
        async with hub.client() as client:
            await publish(client, topic, "meanwhile")
        async with browser.stream("GET", f"/v1/stream?topic={topic}", headers={"last-event-id": last}) as response:
            sse = SseClient(response)
            await sse.event()
            assert [event["data"] for event in await sse.data(1)] == ["meanwhile"]
