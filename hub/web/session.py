"""A WebSocket session: what each of a client's messages does."""

import asyncio
import secrets
import time
from typing import Final

from hub.core import cursor as cursors
from hub.core import event as events
from hub.core.claims import Principal
from hub.core.errors import Forbidden, HubError, Invalid, Overloaded, Unauthenticated
from hub.core.event import EventInput
from hub.core.frames import close_reason
from hub.core.topics import check_pattern, check_topic, check_type_pattern, is_pattern, user_topic
from hub.live import notices
from hub.live.connection import Connection
from hub.live.own import own_topic
from hub.live.presence import Snapshot
from hub.live.replay import Announce, Start
from hub.live.rooms import RoomKey
from hub.telemetry import logger
from hub.web.auth import identify
from hub.web.context import Context
from hub.web.http import now_ms
from hub.web.messages import (
    Authenticate,
    Broadcast,
    DirectMessage,
    JoinRoom,
    LeaveRoom,
    Ping,
    Presence,
    Ref,
    parse,
    reference,
)
from hub.web.publish import check_types, publish_all
from hub.web.sse import MAX_HISTORY

MAX_TYPES: Final = 100
HEARTBEAT: Final = 25.0
AUTHENTICATE_WITHIN: Final = 10.0


class Session:
    """One client's side of the conversation, from the accepted handshake to the end of the connection."""

    __slots__ = ("_began", "_connection", "_deadline", "_request_id", "_resources")

    def __init__(self, resources: Context, connection: Connection, request_id: str) -> None:
        self._resources = resources
        self._connection = connection
        self._request_id = request_id
        self._deadline: asyncio.TimerHandle | None = None
        self._began = time.monotonic()

    @property
    def _principal(self) -> Principal:
        assert self._connection.principal is not None
        return self._connection.principal

    def await_credential(self) -> None:
        """Give the client its time to send a first `authenticate`."""
        late = Unauthenticated(f"No credential came within {AUTHENTICATE_WITHIN:.0f} s")
        self._deadline = asyncio.get_running_loop().call_later(AUTHENTICATE_WITHIN, self.refuse, late)

    def refuse(self, fault: HubError) -> None:
        """End a connection that has no right to be."""
        self._connection.close(fault.close_code, close_reason(fault.message))

    def open(self, principal: Principal) -> None:
        """Begin to serve an authenticated client, for whom a seat was taken."""
        self._resources.gateway.admit(self._connection, principal)
        self._resources.gateway.add(self._connection)
        self._connection.send(
            notices.message(
                "connected",
                connection_id=f"conn_{secrets.token_hex(8)}",
                user=principal.user or False,
                heartbeat=int(HEARTBEAT),
                cursor=self._resources.gateway.cursor(),
            )
        )

    def end(self) -> None:
        """The connection is gone."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._resources.gateway.farewells.add(self._ended)

    def _ended(self) -> None:
        connection, principal = self._connection, self._connection.principal
        logger().info(
            "websocket_ended",
            request_id=self._request_id,
            user=None if principal is None else principal.user,
            key=None if principal is None else principal.key_id,
            rooms=len(connection.rooms),
            duration=round(time.monotonic() - self._began, 2),
            closed_by="client" if connection.ended is None else "hub",
            code=None if connection.ended is None else connection.ended[0],
        )
        self._resources.gateway.drop(connection)

    async def handle(self, data: bytes) -> None:
        """Carry out one message; a fault is answered with `error` and its `ref`, and ends nothing."""
        if self._connection.principal is None:
            await self._first(data)
            return
        try:
            message = parse(data)
            match message:
                case JoinRoom():
                    await self._join(message)
                case LeaveRoom():
                    await self._leave(message)
                case Broadcast():
                    await self._broadcast(message)
                case DirectMessage():
                    await self._direct_message(message)
                case Presence():
                    await self._presence(message)
                case Authenticate():
                    await self._authenticate(message)
                case Ping():
                    self._answer("pong", message.ref)
        except HubError as exc:
            self._answer("error", reference(data), code=exc.code, message=exc.message)

    async def _first(self, data: bytes) -> None:
        try:
            message = parse(data)
            if not isinstance(message, Authenticate):
                raise Unauthenticated("The first message must be authenticate")
            principal = await identify(self._resources, message.token)
            await self._resources.gateway.take_seat(principal.app)
        except HubError as exc:
            self.refuse(exc)
            return
        if self._deadline is not None:
            self._deadline.cancel()
        if not self._connection.closed:
            self._connection.send(authenticated(principal, message.ref))
            self.open(principal)

    def _answer(self, kind: str, ref: Ref, **fields: object) -> None:
        self._connection.send(notices.message(kind, **fields, ref=ref))

    async def _join(self, message: JoinRoom) -> None:
        if (message.room is None) == (message.rooms is None):
            raise Invalid.field("room", "send either room or rooms")
        rooms = list(dict.fromkeys(message.rooms)) if message.rooms is not None else [message.room or ""]
        for room in rooms:
            self._principal.require_subscribe(check_pattern(room, "room"))
            if message.presence:
                self._require_presence(room, "presence")
        own = own_topic(self._connection)
        if not rooms or len({*self._connection.rooms, *rooms} - {own}) > self._resources.settings.ws_max_rooms:
            raise Invalid.field("rooms", f"a connection may be in 1 to {self._resources.settings.ws_max_rooms} rooms")
        if not 0 <= message.history <= MAX_HISTORY:
            raise Invalid.field("history", f"{message.history} is out of range; allowed is 0 to {MAX_HISTORY}")
        types = tuple(sorted({check_type_pattern(kind, "types") for kind in message.types or ()}))
        if len(types) > MAX_TYPES:
            raise Invalid.field("types", f"has {len(types)} patterns; allowed are at most {MAX_TYPES}")
        after = None if message.after is None else cursors.decode(message.after, "after")
        for room in rooms:
            key = RoomKey(self._principal.app, (room,), types, "ws", self._connection.framed)
            start = Start(after, message.history)
            await self._join_one(room, key, start, message)

    async def _join_one(self, room: str, key: RoomKey, start: Start, message: JoinRoom) -> None:
        gateway, connection = self._resources.gateway, self._connection
        if message.presence:
            async with gateway.presence.watching(connection, room) as snapshot:
                await gateway.join(connection, room, key, start, _joined(room, message.ref, snapshot))
        else:
            gateway.presence.unwatch(connection, room)
            await gateway.join(connection, room, key, start, _joined(room, message.ref))

    def _require_presence(self, room: str, field: str) -> None:
        if is_pattern(room):
            raise Invalid.field(field, f"{room!r} is a pattern; only topics have presence")
        self._principal.require_presence(check_topic(room, field))

    def _keep_presence(self, renewed: Principal, room: str) -> None:
        """Stop telling of joins and leaves where a new token doesn't allow it."""
        presence = self._resources.gateway.presence
        if presence.watches(self._connection, room):
            try:
                renewed.require_presence(room)
            except Forbidden:
                presence.unwatch(self._connection, room)

    async def _presence(self, message: Presence) -> None:
        self._require_presence(message.room, "room")
        members = await self._resources.gateway.presence.members(self._principal.app, message.room)
        self._answer("presence", message.ref, room=message.room, users=members.users, count=members.count)

    async def _leave(self, message: LeaveRoom) -> None:
        if message.room == own_topic(self._connection):
            raise Invalid.field("room", "is the user's own room, which a connection is always in")
        if not await self._resources.gateway.leave(self._connection, message.room):
            raise Invalid.field("room", f"{message.room[:80]!r} was not joined on this connection")
        self._resources.gateway.presence.leave(self._connection, (message.room,))
        self._answer("room_left", message.ref, room=message.room)

    async def _broadcast(self, message: Broadcast) -> None:
        item = EventInput(message.room, message.event_type, message.data, ephemeral=message.ephemeral)
        await self._publish(item, message)

    async def _direct_message(self, message: DirectMessage) -> None:
        """An event on the user's own topic. Its source is the sender's, which no client can choose."""
        item = EventInput(user_topic(message.user), "direct_message", message.data, source=own_topic(self._connection))
        await self._publish(item, message)

    async def _publish(self, item: EventInput, message: Broadcast | DirectMessage) -> None:
        now = now_ms()
        built = events.build(
            item,
            id=events.new_id(now) if message.id is None else message.id,
            now_ms=now,
            max_bytes=self._resources.settings.max_event_bytes,
        )
        self._principal.require_publish(built.topic)
        if self._resources.catalogue.has(self._principal.app):
            await check_types(self._resources, self._principal.app, [item])
        line = self._resources.door.requests
        if line.is_full:
            self._resources.door.count(1, live=False)
            raise Overloaded.now()
        line.enter()
        try:
            (done,) = await publish_all(self._resources, self._principal.app, [built], self._request_id)
        finally:
            line.leave()
        self._answer("ack", message.ref, id=done.id, cursor=done.cursor, duplicate=done.duplicate or None)

    async def _authenticate(self, message: Authenticate) -> None:
        """A new token for the same user: the connection lives on until that one ends."""
        renewed = await identify(self._resources, message.token)
        if (renewed.app, renewed.user) != (self._principal.app, self._principal.user):
            raise Forbidden("The token is another user's or app's; open a connection of its own for it")
        self._resources.gateway.admit(self._connection, renewed)
        for name in list(self._connection.rooms):
            try:
                renewed.require_subscribe(name)
            except Forbidden:
                await self._resources.gateway.leave(self._connection, name)
                self._resources.gateway.presence.leave(self._connection, (name,))
                self._answer("room_left", None, room=name, reason="the new token doesn't grant it")
            else:
                self._keep_presence(renewed, name)
        self._connection.send(authenticated(renewed, message.ref))


def authenticated(principal: Principal, ref: Ref) -> bytes:
    expires_in = None if principal.expires_at is None else max(0, int(principal.expires_at - time.time()))
    return notices.message("authenticated", expires_in=expires_in, ref=ref)


def _joined(room: str, ref: Ref, snapshot: Snapshot | None = None) -> Announce:
    def announce(cursor: str, recovered: bool | None) -> bytes:
        users, count = (None, None) if snapshot is None else snapshot()
        return notices.message("room_joined", room=room, cursor=cursor, recovered=recovered, presence=users,
                               count=count, ref=ref)  # fmt: skip

    return announce
