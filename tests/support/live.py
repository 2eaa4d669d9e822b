"""Live clients for tests, on libraries that are not ours: `websockets`, and SSE lines read from httpx."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any, Self

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.hub import KEY, Hub, auth

WITHIN = 10.0


class WsClient:
    """A WebSocket client: `ask` sends a message and returns its answer, `next` the next message of a type."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.connected: dict[str, Any] = {}
        self._waiting: list[dict[str, Any]] = []
        self._refs = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, hub: Hub, *, key: str | None = KEY, index: int = 0, query: str = "") -> AsyncGenerator[Self]:
        headers = {} if key is None else auth(key)
        async with connect(hub.ws_url(index) + query, additional_headers=headers, compression=None) as connection:
            client = cls(connection)
            if key is not None or query:
                client.connected = await client.next("connected")
            yield client

    async def say(self, kind: str, **fields: Any) -> None:
        await self.connection.send(json.dumps({"type": kind, **fields}))

    async def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Send a message with a `ref` of its own, and wait for what comes back with it."""
        self._refs += 1
        await self.say(kind, **fields, ref=self._refs)
        return await self._find(lambda message: message.get("ref") == self._refs, f"the answer to {kind}")

    async def join(self, room: str, **fields: Any) -> dict[str, Any]:
        answer = await self.ask("join_room", room=room, **fields)
        assert answer["type"] == "room_joined", answer
        return answer

    async def next(self, kind: str, within: float = WITHIN) -> dict[str, Any]:
        return await self._find(lambda message: message["type"] == kind, kind, within)

    async def events(self, count: int) -> list[dict[str, Any]]:
        """The next `event` messages."""
        return [await self.next("event") for _ in range(count)]

    async def closed(self) -> int | None:
        """Read until the connection is closed; returns the code."""
        async with asyncio.timeout(WITHIN):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await self.connection.recv()
        return self.connection.close_code

    async def quiet(self) -> list[dict[str, Any]]:
        """What has come and was not asked for, up to the answer to a ping: everything written before it."""
        await self.ask("ping")
        waiting, self._waiting = self._waiting, []
        return waiting

    async def _find(
        self, wanted: Callable[[dict[str, Any]], bool], what: str, within: float = WITHIN
    ) -> dict[str, Any]:
        for n, message in enumerate(self._waiting):
            if wanted(message):
                return self._waiting.pop(n)
        try:
            async with asyncio.timeout(within):
                while True:
                    message = json.loads(await self.connection.recv())
                    if wanted(message):
                        return message
                    self._waiting.append(message)
        except TimeoutError:
            raise AssertionError(f"{what} did not come within {within} s; came: {self._waiting}") from None


class SseClient:
    """An SSE client that reads blocks as the specification says; `id` is the last event id it saw."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.id: str | None = None
        self._lines = response.aiter_lines()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, hub: Hub, query: str, *, key: str = KEY, index: int = 0, last_event_id: str | None = None
    ) -> AsyncGenerator[Self]:
        headers = auth(key) if last_event_id is None else {**auth(key), "last-event-id": last_event_id}
        async with (
            httpx.AsyncClient(timeout=httpx.Timeout(5, read=WITHIN)) as client,
            client.stream(
                "GET", hub.url(f"/v1/stream?{query}", index), headers=httpx.Headers(headers, encoding="latin-1")
            ) as response,
        ):
            assert response.status_code == 200, await response.aread()
            yield cls(response)

    async def block(self) -> dict[str, str]:
        """The next block with fields, a `retry:` or heartbeat included."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(WITHIN):
            async for line in self._lines:
                if line == "" and fields:
                    self.id = fields.get("id", self.id)
                    return fields
                name, _, value = line.partition(":")
                if name:
                    fields[name] = value.removeprefix(" ")
        raise EOFError

    async def rest(self) -> list[dict[str, str]]:
        """The blocks up to the stream's proper end."""
        blocks: list[dict[str, str]] = []
        with contextlib.suppress(EOFError):
            while True:
                blocks.append(await self.block())
        return blocks

    async def event(self) -> dict[str, str]:
        """The next block with data."""
        while "data" not in (block := await self.block()):
            pass
        return block

    async def data(self, count: int) -> list[Any]:
        """The `data` of the next events, decoded."""
        return [json.loads((await self.event())["data"]) for _ in range(count)]


async def connected(client: httpx.AsyncClient, transport: str) -> float:
    """How many live connections of a transport the process has, by its metrics."""
    lines = [line for line in (await client.get("/metrics")).text.splitlines() if line.startswith("hub_connections{")]
    return sum(float(line.split()[1]) for line in lines if f'transport="{transport}"' in line)


async def closed_with(hub: Hub, query: str, first: str | None = None) -> int | None:
    """The code that a WebSocket without a header is closed with, at once or on its first message."""
    async with connect(hub.ws_url() + query) as ws:
        if first is not None:
            await ws.send(first)
        with contextlib.suppress(ConnectionClosed):
            async with asyncio.timeout(5):
                raise AssertionError(f"it is not closed: {await ws.recv()!r}")
        return ws.close_code
