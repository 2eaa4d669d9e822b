"""Rendered: the bytes of entries that were replayed, kept for a while for the next one that replays them.

After a cut thousands come back and miss the same events. Each replay has its own positions, so what is kept is found by
the cursor that the bytes carry; with one log partition that is the same for all.
"""

from collections.abc import Callable
from typing import Final

from hub.live.rooms import RoomKey, renderer
from hub.store.log import Entry

MAX_BYTES: Final = 16 * 1024 * 1024
_OVERHEAD: Final = 200
"""Bytes that a frame costs beside itself, roughly."""
_ROOM_OVERHEAD: Final = 1500


class Rendered:
    """The frames of all rooms. When they are MAX_BYTES, they are forgotten, and those in use are made again."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._rooms: dict[RoomKey, Frames] = {}
        self._max_bytes = max_bytes
        self.size = 0

    def of(self, key: RoomKey) -> "Frames":
        """A room's frames; to be asked for again after each wait, since they may have been forgotten."""
        found = self._rooms.get(key)
        if found is None:
            found = self._rooms[key] = Frames(self, renderer(key))
            self.grow(_ROOM_OVERHEAD)
        return found

    def grow(self, size: int) -> None:
        self.size += size
        if self.size > self._max_bytes:
            for frames in self._rooms.values():
                frames.forget()
            self._rooms.clear()
            self.size = 0


class Frames:
    """One room's."""

    def __init__(self, owner: Rendered, render: Callable[[bytes | None, str, bytes], bytes]) -> None:
        self._owner = owner
        self._render = render
        self._known: dict[tuple[bytes, int], bytes] = {}

    def get(self, entry: Entry, cursor: bytes) -> bytes:
        """The bytes of an entry that carry this cursor. Positions of several partitions may come to one cursor in
        another order, so the entry's own partition tells whose bytes they are."""
        name = (cursor, entry.partition)
        frame = self._known.get(name)
        if frame is None:
            frame = self._known[name] = self._render(cursor, entry.type, entry.body)
            self._owner.grow(len(frame) + _OVERHEAD)
        return frame

    def forget(self) -> None:
        self._known.clear()
