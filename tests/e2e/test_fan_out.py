"""A crowd in one room, on a process that writes by io_uring and on one that doesn't."""

import asyncio
import contextlib
import json

import httpx
import pytest

from tests.support.hub import Hub, publish
from tests.support.live import SseClient, WsClient

EVENTS = 40


@pytest.mark.parametrize("index", [0, 1])
def test_a_process_says_by_what_it_writes(hub: Hub, index: int) -> None:
    # Not by splitlines: a path that somebody asked for may hold what Unicode takes for a line's end.
    lines = [json.loads(line) for line in hub.webs[index].log.split("\n") if line.startswith("{")]
    ready = next(line for line in lines if line["event"] == "web_ready")
    refused = any(line["event"] == "io_uring_refused" for line in lines)
    assert ready["writes"] == ("send" if index == 1 or refused else "io_uring")
    assert not (index == 1 and refused)


@pytest.mark.parametrize("index", [0, 1])
async def test_a_crowd_gets_every_event_in_order_while_some_are_cut_and_some_leave(
    hub: Hub, client: httpx.AsyncClient, topic: str, index: int
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(WsClient.open(hub, index=index)) for _ in range(12)]
        streams = [await stack.enter_async_context(SseClient.open(hub, f"topic={topic}", index=index))
                   for _ in range(8)]  # fmt: skip
        for ws in sockets:
            await ws.join(topic)
        for stream in streams:
            while (await stream.block()).get("event") != "hub.connected":
                pass
        several = sockets[:5]  # their frames are joined one by one
        for ws in several:
            await ws.join(f"{topic}.**")
        first, second = EVENTS // 2, EVENTS
        for n in range(first):
            await publish(client, topic, n)
        sockets[6].connection.transport.abort()
        sockets[9].connection.transport.abort()
        await streams[3].response.aclose()
        await sockets[11].ask("leave_room", room=topic)
        for n in range(first, second):
            await publish(client, topic, n)

        async def read(ws: WsClient, count: int) -> list[int]:
            return [message["event"]["data"] for message in await ws.events(count)]

        staying = [ws for n, ws in enumerate(sockets) if n not in (6, 9, 11)]
        for got in await asyncio.gather(*(read(ws, EVENTS) for ws in staying)):
            assert got == list(range(EVENTS))
        assert await read(sockets[11], first) == list(range(first))
        assert await sockets[11].quiet() == []
        for got in await asyncio.gather(*(one.data(EVENTS) for n, one in enumerate(streams) if n != 3)):
            assert [event["data"] for event in got] == list(range(EVENTS))
