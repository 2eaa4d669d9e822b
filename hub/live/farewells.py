"""Farewells: what is left to do for connections that were lost, a few in each tick of the loop.

A cut loses thousands in the same tick. Nothing is written to them from that moment on (RawConnection.lost); that they
are taken from their rooms and logged can wait, and events for everybody else need not.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

EACH_TICK: Final = 20


class Farewells:
    """Carried out in the order in which they were added."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._runs = False

    def add(self, farewell: Callable[[], None]) -> None:
        self._waiting.append(farewell)
        if not self._runs:
            self._runs = True
            asyncio.get_running_loop().call_soon(self._some)

    def _some(self) -> None:
        try:
            for _ in range(min(EACH_TICK, len(self._waiting))):
                self._waiting.popleft()()
        finally:
            self._runs = bool(self._waiting)
            if self._runs:
                asyncio.get_running_loop().call_soon(self._some)
