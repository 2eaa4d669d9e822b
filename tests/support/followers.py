"""Clients of a running hub that keep a Record: over WebSocket, as a stream of server-sent events, by polling.

Each has one connection at a time, comes when it is told to, and ends as often as the network or the hub wants.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any, Protocol

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from hub.core import cursor as cursors
from hub.core.cursor import Mark
from tests.support.hub import Hub, auth
from tests.support.record import Record

GONE = (ConnectionClosed, OSError, EOFError, InvalidHandshake, httpx.HTTPError)
Hear = Callable[[int, tuple[Mark, ...]], None]
"""Told of each event that came, with the cursor that it carried."""


class Follower(Protocol):
    """What all three have in common."""

    @property
    def records(self) -> list[Record]: ...
    @property
    def is_away(self) -> bool: ...
    @property
    def is_live(self) -> bool:
        """Whether every subscription of the present connection was answered."""
        ...

    def come(self, index: int) -> None:
        """Connect to a web process, unless it is connected."""
        ...

    async def cut(self) -> None:
        """Reset the connection."""
        ...


class _Base:
    def __init__(self, hub: Hub, hear: Hear) -> None:
        self._hub = hub
        self._hear = hear
        self._task: asyncio.Task[None] | None = None
        self._answered = False

    @property
    def is_away(self) -> bool:
        return self._task is None or self._task.done()

    @property
    def is_live(self) -> bool:
        return self._answered and not self.is_away

    def come(self, index: int) -> None:
        if self.is_away:
            self._answered = False
            self._task = asyncio.create_task(self._until_gone(index))

    async def cut(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _until_gone(self, index: int) -> None:
        with contextlib.suppress(*GONE):
            await self._follow(index)

    async def _follow(self, index: int) -> None:
        raise NotImplementedError

    def _got(self, record: Record, event: dict[str, Any], cursor: str) -> None:
        record.event(event["data"], cursor)
        self._hear(event["data"], cursors.decode(cursor))


class WsFollower(_Base):
    """In several rooms, each with a cursor of its own; it can leave one, and stop reading."""

    def __init__(self, hub: Hub, hear: Hear, rooms: tuple[str, ...]) -> None:
        super().__init__(hub, hear)
        self._rooms = {room: Record((room,)) for room in rooms}
        self._joined: set[str] = set()
        self._waiting: set[str] = set()
        self._socket: ClientConnection | None = None

    @property
    def records(self) -> list[Record]:
        return list(self._rooms.values())

    async def _follow(self, index: int) -> None:
        async with connect(self._hub.ws_url(index), additional_headers=auth(), compression=None) as socket:
            self._socket, self._joined, self._waiting = socket, set(), set(self._rooms)
            try:
                for room in self._rooms:
                    await self.join(room)
                async for text in socket:
                    await self._take(json.loads(text))
            finally:
                self._socket = None
                socket.transport.abort()

    async def join(self, room: str) -> None:
        """Join or join again after the room's cursor; while it is joined nothing is done."""
        if self._socket is not None and room not in self._joined:
            self._joined.add(room)
            after = self._rooms[room].cursor
            await self._say(type="join_room", room=room, **({"after": after} if after else {}))

    async def leave(self, room: str) -> None:
        if self._socket is not None:
            await self._say(type="leave_room", room=room)

    def stall(self) -> None:
        if self._socket is not None:
            self._socket.transport.pause_reading()

    def read_on(self) -> None:
        if self._socket is not None:
            self._socket.transport.resume_reading()

    async def _say(self, **message: Any) -> None:
        with contextlib.suppress(*GONE):
            assert self._socket is not None
            await self._socket.send(json.dumps(message))

    async def _take(self, message: dict[str, Any]) -> None:
        kind, room = message["type"], message.get("room")
        if kind == "room_left":
            self._joined.discard(message["room"])
            self._waiting.add(message["room"])
            self._answered = False
        elif kind == "error":  # the store was away, or the room not joined yet
            assert message["code"] in ("STORE_UNAVAILABLE", "VALIDATION_FAILED"), message
            if message["code"] == "STORE_UNAVAILABLE":
                raise EOFError
        elif kind == "room_joined":
            self._rooms[message["room"]].began(message["cursor"], message.get("recovered"))
            self._waiting.discard(message["room"])
            self._answered = not self._waiting
        elif kind == "gap":
            self._rooms[message["room"]].begin(message["to"])
        elif kind == "event" and room is not None:
            self._got(self._rooms[room], message["event"], message["cursor"])


class SseFollower(_Base):
    """On one stream of several topics and patterns."""

    def __init__(self, hub: Hub, hear: Hear, patterns: tuple[str, ...]) -> None:
        super().__init__(hub, hear)
        self._record = Record(patterns)

    @property
    def records(self) -> list[Record]:
        return [self._record]

    async def _follow(self, index: int) -> None:
        query = "&".join(f"topic={pattern}" for pattern in self._record.patterns)
        cursor = self._record.cursor
        headers = auth() if cursor is None else {**auth(), "last-event-id": cursor}
        url = self._hub.url(f"/v1/stream?{query}", index)
        async with (
            httpx.AsyncClient(timeout=5) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            if response.status_code != 200:
                return
            fields: dict[str, str] = {}
            async for line in response.aiter_lines():
                name, _, value = line.partition(":")
                if name:
                    fields[name] = value.removeprefix(" ")
                elif not line:
                    self._take(fields)
                    fields = {}

    def _take(self, fields: dict[str, str]) -> None:
        kind, data = fields.get("event"), json.loads(fields.get("data", "null"))
        if kind == "hub.connected":
            self._answered = True
            self._record.began(fields["id"], data.get("recovered"))
        elif kind == "hub.gap":
            assert fields["id"] == data["to"]
            self._record.begin(fields["id"])
        elif data is not None:
            self._got(self._record, data, fields["id"])
        elif "id" in fields:  # a heartbeat
            self._record.cursor = fields["id"]


class PollFollower(_Base):
    """From poll to poll."""

    def __init__(self, hub: Hub, hear: Hear, pattern: str) -> None:
        super().__init__(hub, hear)
        self._record = Record((pattern,))

    @property
    def records(self) -> list[Record]:
        return [self._record]

    async def _follow(self, index: int) -> None:
        async with self._hub.client(index) as client:
            while True:
                cursor = self._record.cursor
                query = {"topic": self._record.patterns[0], "wait": "2" if cursor else "0", "limit": "7"}
                answer = await client.get("/v1/poll", params=query | ({"after": cursor} if cursor else {}))
                if answer.status_code != 200:
                    return
                self._take(answer.json())

    def _take(self, answer: dict[str, Any]) -> None:
        self._answered = True
        end, recovered = answer["pagination"]["next_cursor"], answer["pagination"].get("recovered")
        if recovered is not True:  # events that came while the poll was answered lie before its end
            self._record.begin(end, known=False)
        for event in answer["data"]:
            self._got(self._record, event, event["cursor"])
        if recovered is not True:
            self._record.begin(end)
        self._record.cursor = end
