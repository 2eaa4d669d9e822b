"""Rooms: who gets which event. All members of a room get the same bytes."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeVar

import msgspec

from hub.core import cloudevents, frames
from hub.core.topics import is_pattern, matches_any
from hub.live.connection import Connection
from hub.live.seats import Seats

_REMEMBERED: Final = 100_000
_K = TypeVar("_K")


class RoomKey(NamedTuple):
    """What makes two subscriptions the same. A WebSocket room has one pattern, an SSE stream may have several."""

    app: str
    patterns: tuple[str, ...]
    types: tuple[str, ...]
    transport: Literal["ws", "sse", "poll"]
    framed: bool
    named: bool = False
    cloudevents: bool = False
    """Whether events come as CloudEvents in the JSON format (SSE)."""


_as_cloudevent = lru_cache(maxsize=8)(cloudevents.structured)
"""Made once for all rooms that an event goes to."""


class Room:
    """The members of one RoomKey.

    `seats` are those who are in this room alone: the fan-out writes the same bytes to all of them. `others` are the
    connections with several rooms, whose frames are joined per connection.
    """

    __slots__ = ("key", "others", "render", "seats", "types")

    def __init__(self, key: RoomKey) -> None:
        self.key = key
        self.seats = Seats()
        self.others: dict[Connection, None] = {}
        self.types = key.types
        self.render = renderer(key)
        """(cursor, type, body) to the bytes that this room's members get; without a cursor for an ephemeral event."""

    @property
    def is_empty(self) -> bool:
        return not self.others and not self.seats

    def accepts(self, kind: str) -> bool:
        return not self.types or matches_any(self.types, kind)

    def sit(self, connection: Connection) -> None:
        connection.seat = (self, self.seats.take(connection))

    def stand(self, connection: Connection) -> None:
        assert connection.seat is not None
        self.seats.leave(connection.seat[1])
        connection.seat = None

    def close_up(self) -> None:
        """Close up the seats before a fan-out, so that it doesn't pass by those that were left."""
        for index in self.seats.close_up() if self.seats.holes else ():
            member = self.seats.members[index]
            assert member is not None
            member.seat = (self, index)

    def rise(self, connection: Connection) -> None:
        """Move a sole member to those whose frames are joined one by one, until it is seated again."""
        self.stand(connection)
        self.others[connection] = None


def renderer(key: RoomKey) -> Callable[[bytes | None, str, bytes], bytes]:
    """See Room.render."""
    if key.transport == "poll":
        return lambda cursor, _kind, body: b"%b %b\n" % (cursor or b"", body)
    if key.transport == "ws":
        room = msgspec.json.encode(key.patterns[0])
        if key.framed:
            return lambda cursor, _kind, body: frames.ws_frame(frames.ws_event(room, cursor, body))
        return lambda cursor, _kind, body: frames.ws_event(room, cursor, body) + b"\n"
    named, as_cloudevent = key.named, key.cloudevents

    def block(cursor: bytes | None, kind: str, body: bytes) -> bytes:
        event = _as_cloudevent(body) if as_cloudevent else body
        return frames.sse_event(cursor, kind.encode() if named else None, event)

    if key.framed:
        return lambda cursor, kind, body: frames.http_chunk(block(cursor, kind, body))
    return block


class Rooms:
    """Every room of this process, found by (app, topic)."""

    def __init__(self) -> None:
        self._rooms: dict[RoomKey, Room] = {}
        self._exact: dict[tuple[str, str], dict[Room, None]] = {}
        self._wild: dict[str, dict[Room, None]] = {}
        self._found: dict[tuple[str, str], tuple[Room, ...]] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    def __iter__(self) -> Iterator[Room]:
        return iter(self._rooms.values())

    def of(self, app: str, topic: str) -> tuple[Room, ...]:
        """The rooms that an event on this topic goes to."""
        found = self._found.get((app, topic))
        if found is None:
            wild = [room for room in self._wild.get(app, ()) if matches_any(room.key.patterns, topic)]
            found = tuple(dict.fromkeys((*self._exact.get((app, topic), ()), *wild)))
            if len(self._found) >= _REMEMBERED:
                self._found.clear()
            self._found[app, topic] = found
        return found

    def enter(self, connection: Connection, name: str, key: RoomKey) -> None:
        """Make the connection a member under the joined string `name`. Only between two fan-outs."""
        room = self._rooms.get(key) or self._open(key)
        if not connection.rooms:
            room.sit(connection)
        else:
            if connection.seat is not None:
                connection.seat[0].rise(connection)
            room.others[connection] = None
        connection.rooms[name] = room

    def leave(self, connection: Connection, name: str) -> None:
        """End a membership. Only between two fan-outs, unless the connection leaves all (`leave_all`)."""
        self._remove(connection, connection.rooms.pop(name))
        if len(connection.rooms) == 1:
            (last,) = connection.rooms.values()
            self.reseat(connection, last)

    def reseat(self, connection: Connection, room: Room) -> None:
        """Seat the sole member of a room that has stood up, unless it is in none or in several by now."""
        if connection in room.others and len(connection.rooms) == 1:
            del room.others[connection]
            room.sit(connection)

    def leave_all(self, connection: Connection) -> None:
        """End every membership, at any time: the write path of its seat is void from now on."""
        for room in connection.rooms.values():
            self._remove(connection, room)
        connection.rooms.clear()

    def _remove(self, connection: Connection, room: Room) -> None:
        if connection.seat is not None:
            room.stand(connection)
        else:
            del room.others[connection]
        if room.is_empty:
            self._close(room)

    def _open(self, key: RoomKey) -> Room:
        room = self._rooms[key] = Room(key)
        for pattern in key.patterns:
            if is_pattern(pattern):
                self._wild.setdefault(key.app, {})[room] = None
            else:
                self._exact.setdefault((key.app, pattern), {})[room] = None
        self._forget(key)
        return room

    def _close(self, room: Room) -> None:
        del self._rooms[room.key]
        app = room.key.app
        for pattern in room.key.patterns:
            if is_pattern(pattern):
                _discard(self._wild, app, room)
            else:
                _discard(self._exact, (app, pattern), room)
        self._forget(room.key)

    def _forget(self, key: RoomKey) -> None:
        if any(is_pattern(pattern) for pattern in key.patterns):
            self._found.clear()
        else:
            for pattern in key.patterns:
                self._found.pop((key.app, pattern), None)


def _discard(group: dict[_K, dict[Room, None]], name: _K, room: Room) -> None:
    members = group.get(name, {})
    members.pop(room, None)
    if not members:
        group.pop(name, None)
