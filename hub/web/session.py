"""A WebSocket session: what each of a client's messages does."""

import time

from starlette.websockets import WebSocket

from hub.core import cursor as cursors
from hub.core import event as events
from hub.core.claims import Principal
from hub.core.errors import Forbidden, HubError, Invalid
from hub.core.event import EventInput
from hub.core.topics import check_pattern, check_type_pattern
from hub.live import notices
from hub.live.connection import Connection
from hub.live.replay import Announce, Start
from hub.live.rooms import RoomKey
from hub.web.auth import identify
from hub.web.context import context
from hub.web.http import now_ms, request_id
from hub.web.messages import Authenticate, Broadcast, JoinRoom, LeaveRoom, Ping, Ref, parse, reference
from hub.web.publish import publish_all
from hub.web.sse import MAX_HISTORY

MAX_ROOMS = 500
"""Rooms that one connection may be in."""
MAX_TYPES = 100


class Session:
    """One client's side of the conversation."""

    def __init__(self, socket: WebSocket, connection: Connection, principal: Principal) -> None:
        self._socket = socket
        self._connection = connection
        self._principal = principal
        self._resources = context(socket)

    async def handle(self, data: bytes) -> None:
        """Carry out one message; a fault is answered with `error` and its `ref`, and ends nothing."""
        try:
            message = parse(data)
            match message:
                case JoinRoom():
                    await self._join(message)
                case LeaveRoom():
                    await self._leave(message)
                case Broadcast():
                    await self._broadcast(message)
                case Authenticate():
                    await self._authenticate(message)
                case Ping():
                    self._answer("pong", message.ref)
        except HubError as exc:
            self._answer("error", reference(data), code=exc.code, message=exc.message)

    def _answer(self, kind: str, ref: Ref, **fields: object) -> None:
        self._connection.send(notices.message(kind, **fields, ref=ref))

    async def _join(self, message: JoinRoom) -> None:
        if (message.room is None) == (message.rooms is None):
            raise Invalid.field("room", "send either room or rooms")
        rooms = list(dict.fromkeys(message.rooms)) if message.rooms is not None else [message.room or ""]
        for room in rooms:
            self._principal.require_subscribe(check_pattern(room, "room"))
        if not rooms or len({*self._connection.rooms, *rooms}) > MAX_ROOMS:
            raise Invalid.field("rooms", f"a connection may be in 1 to {MAX_ROOMS} rooms")
        if not 0 <= message.history <= MAX_HISTORY:
            raise Invalid.field("history", f"{message.history} is out of range; allowed is 0 to {MAX_HISTORY}")
        types = tuple(sorted({check_type_pattern(kind, "types") for kind in message.types or ()}))
        if len(types) > MAX_TYPES:
            raise Invalid.field("types", f"has {len(types)} patterns; allowed are at most {MAX_TYPES}")
        after = None if message.after is None else cursors.decode(message.after, "after")
        for room in rooms:
            key = RoomKey(self._principal.app, (room,), types, "ws", self._connection.framed)
            start = Start(after, message.history)
            await self._resources.gateway.join(self._connection, room, key, start, _joined(room, message.ref))

    async def _leave(self, message: LeaveRoom) -> None:
        if not await self._resources.gateway.leave(self._connection, message.room):
            raise Invalid.field("room", f"{message.room[:80]!r} was not joined on this connection")
        self._answer("room_left", message.ref, room=message.room)

    async def _broadcast(self, message: Broadcast) -> None:
        item = EventInput(message.room, message.event_type, message.data, ephemeral=message.ephemeral)
        now = now_ms()
        built = events.build(
            item,
            id=events.new_id(now) if message.id is None else message.id,
            now_ms=now,
            max_bytes=self._resources.settings.max_event_bytes,
        )
        self._principal.require_publish(built.topic)
        (done,) = await publish_all(self._resources, self._principal.app, [built], request_id(self._socket))
        self._answer("ack", message.ref, id=done["id"], cursor=done["cursor"], duplicate=done["duplicate"] or None)

    async def _authenticate(self, message: Authenticate) -> None:
        """A new token for the same user: the connection lives on until that one ends."""
        renewed = await identified(self._socket, message.token)
        if (renewed.app, renewed.user) != (self._principal.app, self._principal.user):
            raise Forbidden("The token is another user's or app's; open a connection of its own for it")
        self._principal = renewed
        self._connection.expires_at = renewed.expires_at
        for name in list(self._connection.rooms):
            try:
                renewed.require_subscribe(name)
            except Forbidden:
                await self._resources.gateway.leave(self._connection, name)
                self._answer("room_left", None, room=name, reason="the new token doesn't grant it")
        self._connection.send(authenticated(renewed, message.ref))


async def identified(socket: WebSocket, token: str) -> Principal:
    return await identify(socket, token)


def authenticated(principal: Principal, ref: Ref) -> bytes:
    expires_in = None if principal.expires_at is None else max(0, int(principal.expires_at - time.time()))
    return notices.message("authenticated", expires_in=expires_in, ref=ref)


def _joined(room: str, ref: Ref) -> Announce:
    def announce(cursor: str, recovered: bool | None) -> bytes:
        return notices.message("room_joined", room=room, cursor=cursor, recovered=recovered, ref=ref)

    return announce
