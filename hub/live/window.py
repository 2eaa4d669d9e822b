"""The window: the newest events, in memory, so that a reconnect costs the store nothing."""

from collections import deque
from collections.abc import Mapping
from typing import Final

from hub.core.cursor import Position
from hub.store.log import Entry

MAX_ENTRIES: Final = 50_000
MAX_BYTES: Final = 64 * 1024 * 1024
_OVERHEAD: Final = 400
"""Bytes that an entry costs beside its body, roughly."""


class Window:
    """Entries in the order of their fan-out. For each partition, everything above `floor` is here."""

    def __init__(self, floors: list[Position], *, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self.floors = floors
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: deque[Entry] = deque()
        self._topics: dict[tuple[str, str], deque[Entry]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def push(self, entry: Entry) -> None:
        """Add the newest entry; the oldest give way to it."""
        self._entries.append(entry)
        topic = (entry.app, entry.topic)
        entries = self._topics.get(topic)
        if entries is None:
            self._topics[topic] = entries = deque[Entry]()
        entries.append(entry)
        self._bytes += len(entry.body) + _OVERHEAD
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._evict()

    def since(self, starts: Mapping[int, Position]) -> list[Entry]:
        """The entries above the positions, of the partitions that are named, in order."""
        found: list[Entry] = []
        open_partitions = set(starts)
        for entry in reversed(self._entries):
            if not open_partitions:
                break
            if entry.partition not in open_partitions:
                continue
            if entry.position > starts[entry.partition]:
                found.append(entry)
            else:  # a partition's positions only grow, so what lies before is not above either
                open_partitions.discard(entry.partition)
        found.reverse()
        return found

    def topic_since(self, app: str, topic: str, start: Position) -> list[Entry]:
        """One topic's entries above the position, in order."""
        found: list[Entry] = []
        for entry in reversed(self._topics.get((app, topic), ())):
            if entry.position <= start:
                break
            found.append(entry)
        found.reverse()
        return found

    def cut(self, partition: int, position: Position) -> None:
        """Forget a partition's entries above the position: the log has lost them."""
        self._keep([entry for entry in self._entries if entry.partition != partition or entry.position <= position])
        self.floors[partition] = min(self.floors[partition], position)

    def skip(self, partition: int, position: Position) -> None:
        """Forget all of a partition: what follows is above the position, and what lies between was never here."""
        self._keep([entry for entry in self._entries if entry.partition != partition])
        self.floors[partition] = position

    def positions(self, partition: int) -> set[Position]:
        return {entry.position for entry in self._entries if entry.partition == partition}

    def _keep(self, entries: list[Entry]) -> None:
        self._entries.clear()
        self._topics.clear()
        self._bytes = 0
        for entry in entries:
            self.push(entry)

    def _evict(self) -> None:
        entry = self._entries.popleft()
        self._bytes -= len(entry.body) + _OVERHEAD
        self.floors[entry.partition] = entry.position
        topic = (entry.app, entry.topic)
        entries = self._topics[topic]
        entries.popleft()
        if not entries:
            del self._topics[topic]
