"""Clients that flood, stall and break the rules: each is bounded, told, logged once, and costs the others nothing."""

import asyncio
import contextlib
import json
import resource
import socket
import time
from collections.abc import Iterator

import pytest

from hub.web.sockets import FORCE_AFTER
from tests.support.bystander import Bystander, descriptors, late, resident
from tests.support.hub import KEY, Hub, auth, publish
from tests.support.live import SseClient, WsClient
from tests.support.raw_ws import BINARY, CLOSE, CONT, PING, PONG, TEXT, RawWs, frame, request, say
from tests.support.waiting import eventually

SLACK = 0.2
"""Seconds that an event to a bystander may take longer: one machine carries the tests, hub, store and flood."""
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """A hub of its own, whose memory and log are read."""
    with Hub() as running:
        yield running


FLOODS = {
    "messages": (say("x") * 5000, {4029, 4008}),
    "messages that are not JSON": (frame(TEXT, b"{", key=b"abcd") * 5000, {4029, 4008}),
    "pings": (frame(PING, b"x" * 125, key=b"abcd") * 2000, {4029, 4008}),
    "pongs that nobody asked for": (frame(PONG, key=b"abcd") * 10_000, {4029}),
    "a message of empty fragments that never ends": (
        frame(TEXT, b"{", fin=False) + frame(CONT, fin=False, key=b"abcd") * 10_000,
        {4029, 1008},
    ),
    "a message of single bytes that never ends": (
        frame(TEXT, b"{", fin=False) + frame(CONT, b" ", fin=False, key=b"abcd") * 10_000,
        {4029, 1008},
    ),
    "a message of large fragments that never ends": (
        frame(BINARY, b"x", fin=False) + frame(CONT, b"x" * 65535, fin=False, key=b"abcd") * 20,
        {1009},
    ),
    "half a message, then a close": (
        frame(TEXT, b"x" * 900_000, fin=False) + frame(CLOSE, (1000).to_bytes(2)),
        {1000},
    ),
    "frames that break the rules": (frame(3) * 1000, {1002}),
    "bytes that are no frames": (b"\xff" * 100_000, {1002}),
}


def flood(port: int, blob: bytes, until: float) -> list[int]:
    """Connect, send the blob, read why it was closed, again and again; returns the close codes (1006 for none)."""
    codes: list[int] = []
    while time.monotonic() < until:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            came = b""
            with contextlib.suppress(ConnectionError):
                sock.sendall(request(**auth()))
                while b'"connected"' not in came:
                    came += sock.recv(65536)
                sock.sendall(blob)
                while chunk := sock.recv(65536):
                    came += chunk
            codes.append(_close_code(came))
    return codes


def _close_code(came: bytes) -> int:
    """Of the close frame at the end of the server's frames."""
    at = came.find(b"\r\n\r\n") + 4
    while at + 2 <= len(came):
        opcode, size, at = came[at] & 15, came[at + 1], at + 2
        if size > 125:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(came[at : at + width]), at + width
        if opcode == CLOSE:
            return int.from_bytes(came[at : at + 2])
        at += size
    return 1006


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_is_ended_with_its_code_and_costs_the_others_nothing(hub: Hub, topic: str, kind: str) -> None:
    blob, allowed = FLOODS[kind]
    async with Bystander.of(hub, topic) as bystander:
        before = await bystander.late()
        held, logged = resident(hub), len(hub.webs[0].log)
        flooding = asyncio.ensure_future(asyncio.to_thread(flood, hub.ports[0], blob, time.monotonic() + 0.5))
        during: list[float] = []
        while not flooding.done():
            during.append(await bystander.takes())
        codes = await flooding
    assert set(codes) <= allowed
    assert late(during) < before + SLACK
    assert resident(hub) < held + 32 * MIB
    said = [line for line in hub.webs[0].log[logged:].splitlines() if "/v1/events" not in line]
    assert len(said) <= 2 * len(codes) + 2, said[:10]  # the handshake and the end


async def test_a_flood_of_joins_is_answered_within_the_limits_and_costs_the_others_nothing(
    hub: Hub, topic: str
) -> None:
    rooms = [f"{topic}.{n}" for n in range(501)]
    async with Bystander.of(hub, topic) as bystander, WsClient.open(hub) as ws, hub.client() as client:
        for n in range(50):
            await publish(client, rooms[n], n)
        before = await bystander.late()
        assert (await ws.ask("join_room", rooms=rooms))["code"] == "VALIDATION_FAILED"

        async def join() -> None:
            for _ in range(6):
                await ws.say("join_room", rooms=rooms[:500], history=50)
            await ws.say("ping", ref="done")
            while True:
                message = json.loads(await ws.connection.recv())
                if message.get("ref") == "done":
                    return

        joining = asyncio.ensure_future(join())
        during: list[float] = []
        while not joining.done():
            during.append(await bystander.takes())
        await joining
    assert late(during) < before + SLACK


async def test_a_client_that_stops_reading_is_closed_resumes_and_costs_the_others_nothing(hub: Hub, topic: str) -> None:
    async with Bystander.of(hub, topic) as bystander, hub.client() as client, RawWs.open(hub, window=4096) as slow:
        before = await bystander.late()
        room = topic + ".large"
        slow.send(frame(TEXT, json.dumps({"type": "join_room", "room": room}).encode()))
        assert (await slow.message())["type"] == "room_joined"
        slow.stall()
        stalled = time.monotonic()
        during: list[float] = []
        for n in range(60):
            await publish(client, room, [n, "x" * 100_000])
            during.append(await bystander.takes())
        assert late(during) < before + SLACK
        slow.resume()
        got: list[int] = []
        cursor = ""
        try:
            while (came := await slow.frame()).opcode != CLOSE:
                message = json.loads(came.payload)
                got.append(message["event"]["data"][0])
                cursor = message["cursor"]
            assert int.from_bytes(came.payload[:2]) == 4008
        except (asyncio.IncompleteReadError, ConnectionError):  # on a machine so busy that it was cut off meanwhile
            assert time.monotonic() - stalled > FORCE_AFTER
        assert 0 < len(got) < 20  # 1 MiB waits for it here, and little in the kernel (TCP_NOTSENT_LOWAT)
    async with WsClient.open(hub) as ws:
        assert (await ws.join(room, after=cursor))["recovered"] is True
        got += [message["event"]["data"][0] for message in await ws.events(60 - len(got))]
        assert got == list(range(60))


async def test_each_limit_is_a_setting(topic: str) -> None:
    with Hub(
        HUB_WS_MAX_ROOMS="3",
        HUB_WS_MAX_MESSAGE_BYTES="2048",
        HUB_WS_MESSAGE_RATE="5",
        HUB_MAX_CONNECTIONS_PER_APP="2",
    ) as hub:
        async with RawWs.open(hub) as raw:
            for size, ends in ((2048, False), (2049, True)):
                raw.send(say("x", size))
                if ends:
                    await raw.fails(1009)
                else:
                    assert (await raw.message())["ref"] == "x"
        async with RawWs.open(hub) as raw:
            raw.send(say("x") * 50)  # ten seconds' worth
            assert [(await raw.message())["ref"] for _ in range(50)] == ["x"] * 50
            raw.send(say("x") * 50)
            while (got := await raw.frame()).opcode == TEXT:
                pass
            assert got == (CLOSE, (4029).to_bytes(2) + b"too many frames")
            assert await raw.ended() == b""
        async with WsClient.open(hub) as ws:
            for n in range(3):
                await ws.join(f"{topic}.{n}")
            await ws.join(f"{topic}.0")
            assert (await ws.ask("join_room", room=f"{topic}.3"))["code"] == "VALIDATION_FAILED"
            await ws.ask("leave_room", room=f"{topic}.0")
            await ws.join(f"{topic}.3")
        await _counts_connections(hub, topic)


async def _counts_connections(hub: Hub, topic: str) -> None:
    """Two connections of any kind, and no third until one has ended."""
    async with hub.client() as client, WsClient.open(hub):
        async with SseClient.open(hub, f"topic={topic}"):
            async with RawWs.connect(hub) as raw:
                raw.send(request(**auth()))
                assert (await raw.head())[0] == 101
                assert (await raw.closed())[0] == 4029
            async with WsClient.open(hub, key=None) as late:
                await late.say("authenticate", token=KEY)
                assert await late.closed() == 4029
            for path in ("/v1/stream", "/v1/poll"):
                refused = await client.get(path, params={"topic": topic})
                assert (refused.status_code, refused.json()["error"]["code"]) == (429, "RATE_LIMITED")
                assert refused.headers["retry-after"]

        async def opens() -> bool:
            async with RawWs.connect(hub) as raw:
                raw.send(request(**auth()))
                await raw.head()
                return (await raw.frame()).opcode == TEXT

        await eventually(opens, "the place of the stream that ended is free")


async def test_a_flood_of_half_open_handshakes_past_all_descriptors_costs_the_others_nothing(topic: str) -> None:
    """What can't be accepted waits in the kernel or is refused there; who is connected goes on; no log is flooded."""
    with Hub() as hub:
        limit = descriptors(hub) + 100
        resource.prlimit(hub.webs[0].process.pid, resource.RLIMIT_NOFILE, (limit, limit))
        async with Bystander.of(hub, topic) as bystander:
            before = await bystander.late()
            logged = len(hub.webs[0].log)
            with contextlib.ExitStack() as flooding:
                for _ in range(400):
                    with contextlib.suppress(OSError):
                        sock = flooding.enter_context(socket.create_connection(("127.0.0.1", hub.ports[0]), timeout=2))
                        sock.sendall(request(**auth())[:-2])
                await eventually(lambda: descriptors(hub) >= limit - 1, "no descriptor is left")
                assert late([await bystander.takes() for _ in range(50)]) < before + SLACK
                said = [line for line in hub.webs[0].log[logged:].splitlines() if "/v1/events" not in line]
                assert len(said) <= 5, said[:5]
            await eventually(hub.is_ready, "new connections are served again")
            async with WsClient.open(hub) as ws:
                await ws.join(topic)
