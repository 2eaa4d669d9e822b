"""A web process ends: asked to, or not. Nobody misses an event, and nobody holds it up."""

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from hub.web.server import DRAIN_SECONDS
from tests.support.hub import KEY, Hub, publish
from tests.support.live import SseClient, WsClient, connected
from tests.support.waiting import eventually


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub(web=2) as running:
        yield running


@pytest.fixture
async def client(hub: Hub) -> AsyncIterator[httpx.AsyncClient]:
    """At the second process, which stays."""
    async with hub.client(1) as opened:
        yield opened


async def test_sigterm_closes_each_connection_properly_and_exits_zero(hub: Hub, client: httpx.AsyncClient) -> None:
    async with WsClient.open(hub) as ws, SseClient.open(hub, "topic=room.a") as sse:
        await ws.join("room.a")
        await sse.event()
        sent = await publish(client, "room.a", 1)
        assert (await ws.next("event"))["cursor"] == sent["cursor"]
        await sse.event()
        began = time.monotonic()
        hub.webs[0].signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            await ws.connection.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert closed.value.rcvd.reason.startswith("retry=")
        assert "retry" in await sse.block()
        with pytest.raises(EOFError):  # the body ended as HTTP asks for: httpx would raise on a cut one
            await sse.block()
        assert await asyncio.to_thread(hub.webs[0].process.wait, 10) == 0
        assert time.monotonic() - began < 10
        await publish(client, "room.a", 2)
        async with WsClient.open(hub, index=1) as again:
            assert (await again.join("room.a", after=sent["cursor"]))["recovered"] is True
            assert (await again.next("event"))["event"]["data"] == 2


async def test_who_has_not_yet_said_who_it_is_is_closed_properly_too(hub: Hub) -> None:
    async with WsClient.open(hub, key=None) as ws:
        hub.webs[0].signal(signal.SIGTERM)
        assert await ws.closed() == 1012
    assert await asyncio.to_thread(hub.webs[0].process.wait, 10) == 0


async def test_closes_are_staggered_and_each_client_gets_a_time_of_its_own_to_come_back(hub: Hub) -> None:
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(WsClient.open(hub)) for _ in range(60)]

        async def closed(ws: WsClient) -> tuple[float, int]:
            with pytest.raises(ConnectionClosed) as closed:
                await ws.connection.recv()
            assert closed.value.rcvd is not None
            return time.monotonic(), int(closed.value.rcvd.reason.removeprefix("retry="))

        hub.webs[0].signal(signal.SIGTERM)
        told = await asyncio.gather(*map(closed, sockets))
    moments, pauses = sorted(at for at, _ in told), {pause for _, pause in told}
    assert moments[-1] - moments[0] > 0.8 * DRAIN_SECONDS
    assert moments[len(moments) // 2] - moments[0] > 0.3 * DRAIN_SECONDS, "half of them in the first half"
    assert len(pauses) > 40
    assert min(pauses) < 1000 < 2000 < max(pauses)


async def test_readiness_falls_first_while_everything_goes_on() -> None:
    with Hub(HUB_DRAIN_WAIT="2") as hub:
        async with hub.client() as client, WsClient.open(hub) as ws:
            await ws.join("room.a")
            hub.webs[0].signal(signal.SIGTERM)
            await eventually(lambda: not hub.is_ready(), "it says that it isn't ready")
            told = await client.get("/health/ready")
            assert (told.status_code, told.headers["retry-after"]) == (503, "1")
            assert told.json() == {"status": "unavailable", "faults": {"process": "this process is shutting down"}}
            assert (await client.get("/health/live")).status_code == 200
            sent = await publish(client, "room.a", 1)
            assert (await ws.next("event"))["cursor"] == sent["cursor"]
            began = time.monotonic()
            assert (await client.get("/v1/poll?topic=room.a&wait=25")).json()["data"] == []
            assert time.monotonic() - began < 1, "it is to ask another process"
            async with WsClient.open(hub) as late:
                assert (await late.join("room.a", after=sent["cursor"]))["recovered"] is True
                for each in (ws, late):
                    with pytest.raises(ConnectionClosed) as closed:
                        await each.connection.recv()
                    assert closed.value.rcvd is not None
                    assert closed.value.rcvd.code == 1012
        assert await asyncio.to_thread(hub.webs[0].process.wait, 10) == 0


async def test_a_second_signal_ends_the_wait_and_nobody_goes_untold() -> None:
    with Hub(HUB_DRAIN_WAIT="60") as hub:
        async with WsClient.open(hub) as ws:
            hub.webs[0].signal(signal.SIGTERM)
            await eventually(lambda: not hub.is_ready(), "it drains")
            began = time.monotonic()
            hub.webs[0].signal(signal.SIGTERM)
            assert await ws.closed() == 1012
        assert await asyncio.to_thread(hub.webs[0].process.wait, 10) == 0
        assert time.monotonic() - began < 10


async def test_polls_amid_the_closes_are_answered_with_their_place_and_sent_elsewhere(
    hub: Hub, client: httpx.AsyncClient
) -> None:
    """Each on a connection that is kept, as a client has it: its next poll comes on it, too."""
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(WsClient.open(hub)) for _ in range(60)]  # which take their time
        pollers = [await stack.enter_async_context(hub.client()) for _ in range(2)]
        cursor = (await publish(client, "a.b", 0))["cursor"]
        query = {"topic": "a.b", "after": cursor, "wait": "25"}
        waiting = asyncio.ensure_future(pollers[0].get("/v1/poll", params=query, timeout=30))
        assert (await pollers[1].get("/health/live")).status_code == 200
        await eventually(lambda: connected(pollers[1], "poll"), "the poll waits")
        hub.webs[0].signal(signal.SIGTERM)
        await sockets[0].closed()
        await publish(client, "a.b", 1)
        for answer in (await waiting, await pollers[1].get("/v1/poll", params=query)):
            assert answer.status_code == 200
            page = answer.json()
            assert [event["data"] for event in page["data"]] in ([], [1])
            assert page["pagination"]["next_cursor"] == (page["data"][0]["cursor"] if page["data"] else cursor)
        for poller in pollers:
            with pytest.raises(httpx.ConnectError):
                await poller.get("/v1/poll", params=query)


async def test_a_client_that_reads_nothing_does_not_hold_up_the_end(hub: Hub, client: httpx.AsyncClient) -> None:
    with socket.create_connection(("127.0.0.1", hub.ports[0])) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(f"GET /v1/stream?topic=room.a HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\r\n".encode())
        await eventually(lambda: b"hub.connected" in sock.recv(4096, socket.MSG_PEEK), "the stream began")
        for _ in range(20):
            await publish(client, "room.a", "x" * 100_000)
        began = time.monotonic()
        assert await asyncio.to_thread(hub.webs[0].terminate) == 0
        assert time.monotonic() - began < 10


async def test_a_killed_process_costs_its_clients_nothing_but_the_way_to_another(
    hub: Hub, client: httpx.AsyncClient
) -> None:
    async with WsClient.open(hub) as ws:
        await ws.join("room.a")
        sent = await publish(client, "room.a", 0)
        assert (await ws.next("event"))["cursor"] == sent["cursor"]
        hub.webs[0].kill()
        with pytest.raises(ConnectionClosed):
            await ws.connection.recv()
    for n in range(1, 10):
        await publish(client, "room.a", n)
    hub.restart_web(0)  # its window is filled again before it is ready
    for index in (0, 1):
        async with WsClient.open(hub, index=index) as ws:
            assert (await ws.join("room.a", after=sent["cursor"]))["recovered"] is True
            assert [message["event"]["data"] for message in await ws.events(9)] == list(range(1, 10))


async def test_a_client_that_stops_reading_is_closed_and_resumes_while_others_go_on(
    hub: Hub, client: httpx.AsyncClient
) -> None:
    async with WsClient.open(hub) as quick, WsClient.open(hub) as slow:
        await quick.join("room.a")
        await slow.join("room.a")
        first = await publish(client, "room.a", "first")
        assert (await slow.next("event"))["cursor"] == first["cursor"]
        slow.connection.transport.pause_reading()
        total = 60
        reading = asyncio.create_task(quick.events(total + 1))
        for n in range(total):
            await publish(client, "room.a", [n, "x" * 100_000])
        assert [message["event"]["data"][0] for message in (await reading)[1:]] == list(range(total))
        await eventually(lambda: '"code":4008' in hub.webs[0].log, "the slow one was closed")
    async with WsClient.open(hub) as again:
        assert (await again.join("room.a", after=first["cursor"]))["recovered"] is True
        assert [message["event"]["data"][0] for message in await again.events(total)] == list(range(total))
