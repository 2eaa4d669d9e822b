"""Clients that keep the hub waiting, on either protocol: each is cut off within its bound; here all at once."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from tests.support.bystander import descriptors
from tests.support.hub import Hub, auth, publish
from tests.support.raw_ws import TEXT, RawWs, frame, request
from tests.support.waiting import eventually

GET = b"GET /health/live HTTP/1.1\r\nhost: hub\r\n\r\n"
POST = (
    b"POST /v1/events HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\n"
    + "".join(f"{name}: {value}\r\n" for name, value in auth().items()).encode()
)
LATE = b"HTTP/1.1 408 Request Timeout"
ODD: dict[str, bytes] = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a version of its own": b"GET / HTTP/3.7\r\nhost: hub\r\n\r\n",
    "an unknown method": b"FETCH / HTTP/1.1\r\nhost: hub\r\n\r\n",
    "a header without a colon": GET[:-2] + b"nonsense\r\n\r\n",
    "no host": GET.replace(b"host: hub\r\n", b""),
    "two hosts": GET.replace(b"host: hub", b"host: hub\r\nhost: hub"),
    "a host that is none": GET.replace(b"host: hub", b"host: hub/v1 evil"),
    "a port that is none": GET.replace(b"host: hub", b"host: hub:http"),
    "two lengths": POST + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a length that is no number": POST + b"content-length: many\r\n\r\n",
    "a chunk without a size": POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n",
}
BOUND = 30.0


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub() as running:
        yield running


async def test_whoever_keeps_the_hub_waiting_is_cut_off_and_the_others_are_served(hub: Hub, topic: str) -> None:
    before, logged = descriptors(hub), len(hub.webs[0].log)
    waiting: dict[str, Callable[[Hub, str], Coroutine[Any, Any, None]]] = {
        "who says nothing": says_nothing,
        "half a request line": half_a_request_line,
        "headers that drip": dripping_headers,
        "half a handshake": half_a_handshake,
        "line ends behind a request": line_ends_behind_a_request,
        "half a request behind another": half_a_request_behind_another,
        "half a body": half_a_body,
        "half a chunk": half_a_chunk,
        "no credential": no_credential,
        "an answer unread": answer_unread,
        "a web socket unread": web_socket_unread,
        "busy clients": busy_clients,
    }
    began = time.monotonic()
    tasks = {name: asyncio.create_task(wait(hub, topic)) for name, wait in waiting.items()}
    idle = [asyncio.create_task(says_nothing(hub, topic)) for _ in range(300)]
    async with hub.client() as client:
        served = 0
        while not all(task.done() for task in (*tasks.values(), *idle)):
            assert (await client.get("/health/live")).status_code == 200
            served += 1
            await asyncio.sleep(0.05)
    assert served > 50
    assert time.monotonic() - began < BOUND
    failed = {name: task.exception() for name, task in tasks.items() if task.exception() is not None}
    assert not failed
    await asyncio.gather(*idle)
    await eventually(lambda: descriptors(hub) <= before + 1, "the hub holds no more sockets than before")
    abandoned = hub.webs[0].log[logged:].count("request_abandoned")
    assert len(idle) <= abandoned <= len(idle) + len(tasks), "each is logged once"


async def says_nothing(hub: Hub, topic: str) -> None:
    async with RawWs.connect(hub) as raw:
        began = time.monotonic()
        assert await raw.ended(BOUND) == b""
        assert time.monotonic() - began > 8


async def half_a_request_line(hub: Hub, topic: str) -> None:
    async with RawWs.connect(hub) as raw:
        raw.send(GET[:8])
        assert (await raw.ended(BOUND)).startswith(LATE)


async def dripping_headers(hub: Hub, topic: str) -> None:
    async with RawWs.connect(hub) as raw:
        raw.send(GET[:-2])
        dripping = asyncio.create_task(_drip(raw))
        assert (await raw.ended(BOUND)).startswith(LATE)
        dripping.cancel()


async def _drip(raw: RawWs) -> None:
    while True:
        raw.send(b"x-drop: 1\r\n")
        await asyncio.sleep(0.5)


async def half_a_handshake(hub: Hub, topic: str) -> None:
    async with RawWs.connect(hub) as raw:
        raw.send(request(**auth())[:-2])
        assert (await raw.ended(BOUND)).startswith(LATE)


async def line_ends_behind_a_request(hub: Hub, topic: str) -> None:
    async with RawWs.connect(hub) as raw:
        raw.send(GET)
        assert (await raw.head())[0] == 200
        raw.send(b"\r\n")
        assert LATE in await raw.ended(BOUND)


async def half_a_request_behind_another(hub: Hub, topic: str) -> None:
    async with RawWs.connect(hub) as raw:
        raw.send(GET + GET[:-2])
        assert (await raw.head())[0] == 200
        assert LATE in await raw.ended(BOUND)


async def half_a_body(hub: Hub, topic: str) -> None:
    async with RawWs.connect(hub) as raw:
        raw.send(POST + b'content-length: 100\r\n\r\n{"topic":')
        head, _, body = (await raw.ended(BOUND)).partition(b"\r\n\r\n")
        assert head.startswith(LATE)
        error = json.loads(body)["error"]
        assert (error["code"], error["message"]) == ("REQUEST_TIMEOUT", "The body didn't come in time")


async def half_a_chunk(hub: Hub, topic: str) -> None:
    async with RawWs.connect(hub) as raw:
        raw.send(POST + b'transfer-encoding: chunked\r\n\r\n64\r\n{"topic":')
        assert (await raw.ended(BOUND)).startswith(LATE)


async def no_credential(hub: Hub, topic: str) -> None:
    async with RawWs.open(hub, authorized=False) as raw:
        async with asyncio.timeout(BOUND):
            assert await raw.reader.readexactly(2)
        raw.send(frame(8, (4001).to_bytes(2)))
        assert (await raw.ended(BOUND))[:2] == (4001).to_bytes(2)


async def answer_unread(hub: Hub, topic: str) -> None:
    room = topic + ".unread"
    async with hub.client() as client:
        for _ in range(60):
            await publish(client, room, "x" * 200_000)
    logged = len(hub.webs[0].log)
    async with RawWs.connect(hub, window=4096) as raw:
        raw.stall()
        raw.send(POST.replace(b"POST /v1/events", f"GET /v1/events?topic={room}&limit=100".encode()) + b"\r\n")
        await eventually(lambda: "answer_abandoned" in hub.webs[0].log[logged:], "it is cut off", BOUND)


async def web_socket_unread(hub: Hub, topic: str) -> None:
    """It stays below the limit of bytes, and is closed by age."""
    room = topic + ".behind"
    async with RawWs.open(hub, window=4096) as raw, hub.client() as client:
        raw.send(frame(TEXT, json.dumps({"type": "join_room", "room": room}).encode()))
        assert (await raw.message())["type"] == "room_joined"
        raw.stall()
        for _ in range(8):
            await publish(client, room, "x" * 100_000)
        await eventually(lambda: '"code":4008' in hub.webs[0].log, "it is closed by age", BOUND)


async def busy_clients(hub: Hub, topic: str) -> None:
    """Whoever asks on and on at the moment of judgement isn't taken for one who reads nothing."""
    await asyncio.gather(*(_busy(hub) for _ in range(20)))


async def _busy(hub: Hub) -> None:
    async with RawWs.connect(hub) as raw:
        began = time.monotonic()
        await _served(raw, 1)
        await asyncio.sleep(began + 9.5 - time.monotonic())
        while time.monotonic() < began + 10.5:
            await _served(raw, 20)


async def _served(raw: RawWs, count: int) -> None:
    raw.send(GET * count)
    for _ in range(count):
        assert (await raw.head())[0] == 200
        await raw.reader.readexactly(len(b'{"status":"ok"}'))


async def test_headers_without_end_are_refused_at_their_limit(hub: Hub) -> None:
    async with RawWs.connect(hub) as raw:
        raw.send(GET[:-2], *(b"x-%d: %s\r\n" % (n, b"x" * 1000) for n in range(100)))
        status, _, error = await raw.refused()
        assert (status, error["code"]) == (431, "HEADERS_TOO_LARGE")


@pytest.mark.parametrize("odd", ODD)
async def test_what_is_no_http_is_told_so_in_the_hubs_shape(hub: Hub, odd: str) -> None:
    async with RawWs.connect(hub) as raw:
        raw.send(ODD[odd])
        status, headers, error = await raw.refused()
        assert headers["connection"] == "close"
        assert (status, error["code"], error["docs"]) == (400, "NOT_HTTP", "/docs/errors/NOT_HTTP")
    async with hub.client() as client:
        assert (await client.get(error["docs"])).status_code == 200


@pytest.mark.parametrize("host", [b"", b"hub", b"hub:8080", b"hub.example:", b"[::1]:8080", b"127.0.0.1"])
async def test_any_host_with_or_without_a_port_will_do(hub: Hub, host: bytes) -> None:
    async with RawWs.connect(hub) as raw:
        raw.send(GET.replace(b"host: hub", b"host: " + host))
        assert (await raw.head())[0] == 200


async def test_http_1_0_needs_no_host(hub: Hub) -> None:
    async with RawWs.connect(hub) as raw:
        raw.send(b"GET /health/live HTTP/1.0\r\n\r\n")
        assert (await raw.head())[0] == 200


async def test_what_is_no_http_behind_a_request_is_told_so_behind_its_answer(hub: Hub) -> None:
    async with RawWs.connect(hub) as raw:
        await _served(raw, 1)
        raw.send(ODD["TLS"])
        assert (await raw.refused())[0] == 400
