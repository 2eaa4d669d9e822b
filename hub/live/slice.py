"""A slice of a fan-out: the writes between two chances for the loop to do something else.

How it writes is decided once per process: one by one, or all by one system call where there is a ring. Who can't be
sent to straight, and what a socket doesn't take, goes by the connection's own write path in both cases.
"""

from typing import Final, NamedTuple

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
        self._taken = 0

    @property
    def left(self) -> int:
        """How many more writes it takes."""
        return SLICE - self._taken

    def add(self, seats: Seats, first: int, data: bytes) -> int:
        """Write to the seats from `first` on, as far as the slice reaches; returns where it ended.

        Nothing may be awaited between this and `send`: seats are as they are now.
        """
        end = min(first + self.left, len(seats.members))
        self._taken += end - first
        self._write(seats, first, end, data)
        return end

    def send(self) -> None:
        """Write what wasn't yet, and begin the next slice."""
        self._taken = 0

    def close(self) -> None:
        """Free what it holds; it writes no more."""

    def _write(self, seats: Seats, first: int, end: int, data: bytes) -> None:
        seats.write(first, end, data)


class Part(NamedTuple):
    """The same bytes for the seats from `first` to before `end`."""

    seats: Seats
    first: int
    end: int
    data: bytes


class RingSlice(Slice):
    """Collects writes and makes them by one system call."""

    how = "io_uring"

    def __init__(self, ring: Ring) -> None:
        super().__init__()
        self._ring: Ring | None = ring
        self._parts: list[Part] = []
        self._added: list[Part] = []
        """Those that the ring has been given."""

    def send(self) -> None:
        parts, self._parts = self._parts, []
        ring = self._ring
        for part in parts:
            if ring is None or len(part.data) > _LARGE or self._taken <= _FEW:
                super()._write(*part)
                continue
            heads = part.seats.heads[part.first : part.end]
            if not ring.add(heads, part.data):
                self._send(ring)  # the stage is full
                ring.add(heads, part.data)
            self._added.append(part)
        if ring is not None and self._added:
            self._send(ring)
        super().send()

    def close(self) -> None:
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def _write(self, seats: Seats, first: int, end: int, data: bytes) -> None:
        self._parts.append(Part(seats, first, end, data))

    def _send(self, ring: Ring) -> None:
        """Nobody is in two parts, and who is aside now is written to afterwards: whoever is sent to straight, and falls
        behind by it, has got these bytes.
        """
        added, self._added = self._added, []
        aside = [(part, index) for part in added for index in part.seats.aside if part.first <= index < part.end]
        found = ring.send()
        if found:
            self._settle(added, dict(found))
        for part, index in aside:
            part.seats.write(index, index + 1, part.data)

    def _settle(self, added: list[Part], results: dict[int, int]) -> None:
        """Tell the connections what of their bytes was not taken."""
        slot = 0
        for part in added:
            for index in range(part.first, part.end):
                result = results.get(slot)
                slot += 1
                member = part.seats.members[index]
                if result is not None and member is not None and part.seats.heads[index] != NO_SEND:
                    member.sent(part.data, result)


def open_slice(use_ring: bool) -> Slice:
    """By a ring, if that is wanted and to be had."""
    if use_ring:
        try:
            return RingSlice(Ring())
        except OSError as exc:
            logger().info("io_uring_refused", reason=str(exc))
    return Slice()
