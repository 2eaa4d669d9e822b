"""Own rooms: a WebSocket with a user is always in `@user.<sub>`, without having joined it.

This costs no Room of its own and no place in another: who is in one room besides keeps its seat there.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from hub.core.topics import user_topic
from hub.live.connection import Connection
from hub.live.rooms import Room, RoomKey, Rooms, renderer

PREFIX: Final = "@user."


def own_topic(connection: Connection) -> str | None:
    """The topic of the connection's user, if it has one."""
    principal = connection.principal
    return None if principal is None or principal.user is None else user_topic(principal.user)


class Step(msgspec.Struct):
    """What a fan-out has gathered: for those with a seat per room, for others per connection; both in log order."""

    sole: dict[Room, list[bytes]]
    mixed: dict[Connection, list[bytes]]
    risen: list[tuple[Connection, Room]]
    """Who stood up for this step, because their own room's frames have a place among those of their one room."""


class OwnRooms:
    """Who is in whose own room. A connection that joins its own by name, to resume it, leaves it here."""

    def __init__(self) -> None:
        self._members: dict[tuple[str, str], tuple[Connection, ...]] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[tuple[str, str, Connection]]:
        """App, topic and connection of each membership; a copy."""
        return iter([(app, topic, one) for (app, topic), members in self._members.items() for one in members])

    def enter(self, connection: Connection, topic: str) -> None:
        assert connection.principal is not None
        key = (connection.principal.app, topic)
        self._members[key] = (*self._members.get(key, ()), connection)

    def leave(self, connection: Connection, topic: str) -> bool:
        """Whether it was a member."""
        if connection.principal is None:
            return False
        key = (connection.principal.app, topic)
        members = self._members.get(key, ())
        left = tuple(member for member in members if member is not connection)
        if left:
            self._members[key] = left
        else:
            self._members.pop(key, None)
        return len(left) < len(members)

    def of(self, app: str, topic: str) -> tuple[Connection, ...]:
        return self._members.get((app, topic), ())

    def gather(self, step: Step, app: str, topic: str, cursor: bytes | None, body: bytes) -> None:
        """Add an event's frames to a step."""
        frames: dict[bool, bytes] = {}
        for connection in self.of(app, topic):
            framed = connection.framed
            if framed not in frames:
                frames[framed] = renderer(RoomKey(app, (topic,), (), "ws", framed))(cursor, "", body)
            if connection.seat is not None:
                room = connection.seat[0]
                room.rise(connection)
                step.mixed[connection] = list(step.sole.get(room, ()))
                step.risen.append((connection, room))
            step.mixed.setdefault(connection, []).append(frames[framed])

    def settle(self, step: Step, rooms: Rooms) -> None:
        """Give everyone their seats back, at the end of a step."""
        for connection, room in step.risen:
            rooms.reseat(connection, room)
