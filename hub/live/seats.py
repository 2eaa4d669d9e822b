"""Seats: connections that get the same bytes, kept in the form in which one system call can write to all of them."""

from array import array
from collections.abc import Iterable
from typing import Self

from hub.live.connection import Connection
from hub.live.ring import NO_SEND, head


class Seats:
    """A connection keeps its seat until it leaves or the rows are closed up, so both only between two fan-outs.

    While a fan-out is under way seats are only left: nobody in it is skipped or gets anything twice.
    """

    __slots__ = ("aside", "heads", "holes", "members")

    def __init__(self) -> None:
        self.members: list[Connection | None] = []
        self.heads = array("Q")
        """For each seat how the ring sends to it; NO_SEND for who is aside or gone."""
        self.aside: set[int] = set()
        """Who has to be written to by `write`: no raw path, or behind."""
        self.holes: list[int] = []
        """Seats that were left."""

    @classmethod
    def of(cls, connections: Iterable[Connection]) -> Self:
        """Seats for a moment: nobody knows of them, so nobody leaves them."""
        seats = cls()
        for connection in connections:
            seats.take(connection)
        return seats

    def __len__(self) -> int:
        """How many are here."""
        return len(self.members) - len(self.holes)

    def take(self, connection: Connection) -> int:
        if self.holes:
            index = self.holes.pop()
            self.members[index] = connection
        else:
            index = len(self.members)
            self.members.append(connection)
            self.heads.append(NO_SEND)
        self.direct(index, connection.direct)
        return index

    def leave(self, index: int) -> None:
        self.members[index] = None
        self.heads[index] = NO_SEND
        self.aside.discard(index)
        self.holes.append(index)

    def close_up(self) -> list[int]:
        """Fill the seats that were left with the last of the row; returns those where somebody else sits now."""
        filled: list[int] = []
        for hole in sorted(self.holes):
            while self.members and self.members[-1] is None:
                self._pop()
            if hole >= len(self.members):
                break
            member = self.members[-1]
            assert member is not None
            self._pop()
            self.members[hole] = member
            self.direct(hole, member.direct)
            filled.append(hole)
        self.holes.clear()
        return filled

    def direct(self, index: int, descriptor: int | None) -> None:
        """Send straight to this descriptor from now on; None: by the connection's `write`."""
        if descriptor is None:
            self.heads[index] = NO_SEND
            self.aside.add(index)
        else:
            self.heads[index] = head(descriptor)
            self.aside.discard(index)

    def _pop(self) -> None:
        self.members.pop()
        self.heads.pop()
        self.aside.discard(len(self.members))

    def write(self, first: int, end: int, data: bytes) -> None:
        """Write to some of them one by one."""
        for member in self.members[first:end]:
            if member is not None:
                member.write(data)
