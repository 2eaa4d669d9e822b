"""The cursor: where a reader stands in the log, as one opaque string that resumes every path.

It holds, per log partition, the partition's epoch and a stream id (milliseconds, sequence). Its text is lower-case
hexadecimal, `partition-epoch-ms-seq`, joined by `_` in the order of the partitions; every cursor has one spelling.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

from hub.core.errors import Detail, InvalidCursor

Position: TypeAlias = tuple[int, int]
"""A place in one partition's log: milliseconds and sequence of a stream id. Positions compare as numbers."""

START: Final[Position] = (0, 0)
_MAX_TEXT: Final = 8192
_HEX = r"(?:0|[1-9a-f][0-9a-f]{0,15})"
_MARK = re.compile(rf"({_HEX})-({_HEX})-({_HEX})-({_HEX})")


class Mark(NamedTuple):
    """One partition's part of a cursor."""

    partition: int
    epoch: int
    ms: int
    seq: int

    @property
    def position(self) -> Position:
        return (self.ms, self.seq)

    @property
    def place(self) -> tuple[Position, int]:
        """Its place among those of all partitions; see last_by."""
        return self.position, self.partition

    def at(self, position: Position) -> "Mark":
        """The same partition and epoch at another position."""
        return Mark(self.partition, self.epoch, *position)


Cursor: TypeAlias = tuple[Mark, ...]
"""At most one mark per partition, ordered by partition. A partition that isn't named means now."""


def encode(marks: Iterable[Mark]) -> str:
    return "_".join([f"{p:x}-{epoch:x}-{ms:x}-{seq:x}" for p, epoch, ms, seq in marks])


def decode(text: str, field: str = "cursor") -> Cursor:
    """Parse a cursor's text, or raise InvalidCursor."""
    marks: list[Mark] = []
    for part in text.split("_") if len(text) <= _MAX_TEXT else [""]:
        found = _MARK.fullmatch(part)
        if found is None:
            raise _invalid(field)
        mark = Mark(*(int(group, 16) for group in found.groups()))
        if marks and mark.partition <= marks[-1].partition:
            raise _invalid(field)
        marks.append(mark)
    return tuple(marks)


def _invalid(field: str) -> InvalidCursor:
    message = "is not a cursor of this hub; pass one back exactly as an event or an answer carried it"
    return InvalidCursor(f"{field}: {message}", (Detail(field, message),))


def parse_id(raw: bytes) -> Position:
    """A Redis stream id, `ms-seq`, as a position."""
    ms, _, seq = raw.partition(b"-")
    return (int(ms), int(seq))


def format_id(position: Position) -> str:
    """A position as a Redis stream id."""
    return f"{position[0]}-{position[1]}"


def behind(position: Position) -> Position:
    """The least position above this one."""
    ms, seq = position
    return (ms, seq + 1) if seq < 2**64 - 1 else (ms + 1, 0)


def last_by(place: tuple[Position, int], partition: int) -> Position:
    """The greatest position of a partition that comes no later than a place, which is a position in some partition.

    Over all partitions positions are in order, and of equal ones the lower partition comes first.
    """
    position, own = place
    return position if partition <= own else before(position)


def before(position: Position) -> Position:
    """The greatest position below this one (sequences are 64-bit)."""
    ms, seq = position
    if seq:
        return (ms, seq - 1)
    return (ms - 1, 2**64 - 1) if ms else START
