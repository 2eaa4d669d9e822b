"""The turn: who holds it may change who gets what. One at a time, in the order of asking, but the fan-out hardly waits.

With thousands of joins in line (a resume storm) a fair lock would make each event wait for all of them; one that always
let events go first would keep the joins out for as long as the hub is busy. So some of each go by turns.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator
from typing import Final

OTHERS_BETWEEN: Final = 16
"""How many joins, leaves and slices of a heartbeat may go before a fan-out that waits."""


class Turn:
    """A lock with two lines: `fan_out` for the one task that fans out, `take` for everyone else."""

    def __init__(self) -> None:
        self._held = False
        self._first: asyncio.Future[None] | None = None
        self._others: deque[asyncio.Future[None]] = deque()
        self._went = 0

    @contextlib.asynccontextmanager
    async def fan_out(self) -> AsyncGenerator[None]:
        if self._held:
            self._first = asyncio.get_running_loop().create_future()
            self._went = 0
            await self._granted(self._first)
        self._held = True
        try:
            yield
        finally:
            self._pass_on()

    @contextlib.asynccontextmanager
    async def take(self) -> AsyncGenerator[None]:
        if self._held:
            mine = asyncio.get_running_loop().create_future()
            self._others.append(mine)
            await self._granted(mine)
        self._held = True
        try:
            yield
        finally:
            self._pass_on()

    async def _granted(self, mine: asyncio.Future[None]) -> None:
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():  # it was granted, and goes to the next one
                self._pass_on()
            elif mine is self._first:
                self._first = None
            raise

    def _pass_on(self) -> None:
        """Give the turn to whoever is next; it stays held until that one has gone."""
        while self._others and self._others[0].cancelled():
            self._others.popleft()
        if self._first is not None and (self._went >= OTHERS_BETWEEN or not self._others):
            granted, self._first = self._first, None
        elif self._others:
            granted = self._others.popleft()
            self._went += 1
        else:
            self._held = False
            return
        self._held = True
        granted.set_result(None)
