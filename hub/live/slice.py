"""A slice of a fan-out: the writes between two chances for the loop to do something else.

How it writes is decided once per process: one by one, or all by one system call where there is a ring. Who can't be
sent to straight, and what a socket doesn't take, goes by the connection's own write path in both cases.
"""

from typing import Final

from hub.live.ring import ENTRIES, NO_SEND, Ring
from hub.live.seats import Seats
from hub.telemetry import logger

SLICE: Final = 500
"""Writes until the loop gets a chance to do something else."""
_FEW: Final = 3
"""Up to so many writes cost less one by one."""
_LARGE: Final = 64 * 1024
"""Bytes from which a copy for the ring costs more than a call of its own."""
assert SLICE <= ENTRIES


class Slice:
    """Writes one by one, as they are added."""

    how = "send"
    """By what it writes."""

    def __init__(self) -> None:
        self.left = SLICE
        """How many more writes it takes."""

    def begin(self) -> None:
        """Forget what a fan-out that failed may have left behind."""
        self.left = SLICE

    def add(self, seats: Seats, first: int, data: bytes) -> int:
        """Write to the seats from `first` on, as far as the slice reaches; returns where it ended.

        Nothing may be awaited between this and `send`: seats are as they are now.
        """
        end = min(first + self.left, len(seats.members))
        self.left -= end - first
        seats.write(first, end, data)
        return end

    def send(self) -> None:
        """Write what wasn't yet, and begin the next slice."""
        self.left = SLICE

    def close(self) -> None:
        """Free what it holds; it writes no more."""


Part = tuple[Seats, int, int, bytes]
"""The same bytes for the seats from the first number to before the second."""


class RingSlice(Slice):
    """Collects writes and makes them by one system call."""

    how = "io_uring"

    def __init__(self, ring: Ring) -> None:
        super().__init__()
        self._ring = ring
        self._parts: list[Part] = []

    def begin(self) -> None:
        super().begin()
        self._parts = []

    def add(self, seats: Seats, first: int, data: bytes) -> int:
        end = first + self.left
        if end > len(seats.members):
            end = len(seats.members)
        self.left -= end - first
        self._parts.append((seats, first, end, data))
        return end

    def send(self) -> None:
        parts, self._parts = self._parts, []
        few = SLICE - self.left <= _FEW
        self.left = SLICE
        ring = self._ring
        added: list[Part] = []
        for part in parts:
            seats, first, end, data = part
            if few or len(data) > _LARGE:
                seats.write(first, end, data)
                continue
            heads = seats.heads[first:end]
            if not ring.add(heads, data):  # the stage is full
                self._send(added)
                added = []
                ring.add(heads, data)
            added.append(part)
        if added:
            self._send(added)

    def close(self) -> None:
        self._ring.close()

    def _send(self, added: list[Part]) -> None:
        """Make the sends that the ring was given.

        Nobody is in two parts, and who is aside now is written to afterwards: whoever is sent to straight, and falls
        behind by it, has got these bytes.
        """
        aside = [
            (seats, index, data)
            for seats, first, end, data in added
            if seats.aside
            for index in seats.aside
            if first <= index < end
        ]
        found = self._ring.send()
        if found:
            _settle(added, dict(found))
        for seats, index, data in aside:
            seats.write(index, index + 1, data)


def _settle(added: list[Part], results: dict[int, int]) -> None:
    """Tell the connections what of their bytes was not taken."""
    slot = 0
    for seats, first, end, data in added:
        for index in range(first, end):
            member = seats.members[index]
            if slot in results and member is not None and seats.heads[index] != NO_SEND:
                member.sent(data, results[slot])
            slot += 1


def open_slice(use_ring: bool) -> Slice:
    """By a ring, if that is wanted and to be had."""
    if use_ring:
        try:
            return RingSlice(Ring())
        except OSError as exc:
            logger().info("io_uring_refused", reason=str(exc))
    return Slice()
