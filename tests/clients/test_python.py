"""Python's clients, which others wrote: httpx-sse and websockets."""

import asyncio
import contextlib
import json
from typing import Any

import httpx
import httpx_sse
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.clients.resume import RETURNS, misses_nothing
from tests.support.cut import Line
from tests.support.hub import Hub, auth, publish


async def follow_sse(url: str, topic: str, got: list[Any], recovered: list[bool | None]) -> None:
    """Read a stream for ever, and come back with the last id."""
    last: dict[str, str] = {}
    async with httpx.AsyncClient(base_url=url, headers=auth(), timeout=10) as http:
        while True:
            with contextlib.suppress(httpx.TransportError):
                async with httpx_sse.aconnect_sse(
                    http, "GET", "/v1/stream", params={"topic": topic}, headers=last
                ) as stream:
                    async for event in stream.aiter_sse():
                        last = {"last-event-id": event.id}
                        if event.event == "hub.connected":
                            recovered.append(event.json().get("recovered"))
                            if len(recovered) == 1:
                                await publish(http, topic, "hello")
                        elif event.data:
                            got.append(event.json()["data"])
            await asyncio.sleep(0.05)


async def follow_ws(url: str, topic: str, got: list[Any], recovered: list[bool | None]) -> None:
    """Stay in a room for ever, and come back with the last cursor."""
    after: dict[str, str] = {}
    while True:
        with contextlib.suppress(ConnectionClosed, OSError, EOFError, InvalidHandshake):
            async with connect(f"{url.replace('http', 'ws')}/v1/ws", additional_headers=auth()) as ws:
                await ws.send(json.dumps({"type": "join_room", "room": topic, **after}))
                async for text in ws:
                    message = json.loads(text)
                    if message["type"] in ("room_joined", "event"):
                        after = {"after": message["cursor"]}
                    if message["type"] == "room_joined":
                        recovered.append(message.get("recovered"))
                        if len(recovered) == 1:
                            await ws.send(json.dumps({"type": "broadcast", "room": topic, "data": "hello"}))
                    elif message["type"] == "event":
                        got.append(message["event"]["data"])
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("follow", [follow_sse, follow_ws], ids=["httpx-sse", "websockets"])
async def test_it_publishes_receives_is_cut_and_resumes(mortal: Hub, topic: str, follow: Any) -> None:
    got: list[Any] = []
    recovered: list[bool | None] = []
    async with Line.to(mortal.ports[0]) as line:
        following = asyncio.create_task(follow(line.url, topic, got, recovered))
        try:
            await misses_nothing(mortal, line, topic, lambda: got)
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following
    assert recovered == [None] + [True] * RETURNS
