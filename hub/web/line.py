"""Connections whose requests wait, unread by the application, until there is room for them."""

from collections import deque
from typing import Protocol

from hub.core.valve import Valve


class Waiting(Protocol):
    """A connection that stands in line."""

    def come_in(self) -> None: ...

    def turn_away(self) -> None: ...


class Line(Valve):
    """A valve, and who stands before it: they come in in their order, and nobody overtakes them.

    `longest` is how many seconds one may stand.
    """

    __slots__ = ("_waiting", "longest")

    def __init__(self, lag: float, patience: float, longest: float, wait: float | None = None) -> None:
        super().__init__(lag, patience, wait)
        self.longest = longest
        self._waiting: deque[tuple[Waiting, float]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_closed(self) -> bool:
        """Whether who comes now has to wait."""
        return self.is_full or bool(self._waiting)

    def stand(self, who: Waiting, now: float) -> None:
        self._waiting.append((who, now))

    def leave(self) -> None:
        super().leave()
        self.admit()

    def admit(self) -> None:
        """Let in whom there is room for."""
        while self._waiting and not self.is_full:
            self._waiting.popleft()[0].come_in()

    def turn_away(self, now: float, most: int) -> int:
        """Refuse up to `most` of those who have stood for too long; returns how many."""
        count = 0
        while count < most and self._waiting and self._waiting[0][1] <= now - self.longest:
            self._waiting.popleft()[0].turn_away()
            count += 1
        return count
