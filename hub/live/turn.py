"""The turn: who has it may change who gets what. The fan-out has it alone; joins, leaves and heartbeats share it.

What those do with it is one step without a wait in it, so they can't come in between each other, and many may go in one
tick of the loop. With thousands of joins in line (a resume storm) a fan-out that waited for all of them would be late,
and one that always went first would keep them out for as long as the hub is busy. So some of them go between two.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator
from typing import Final

OTHERS_BETWEEN: Final = 16
"""How many of those in line go between two fan-outs: in one tick of the loop, as long as their steps take."""


class Turn:
    """`fan_out` is for the one task that fans out, `take` for everyone else, whose step must not wait for anything."""

    def __init__(self) -> None:
        self._fans_out = False
        self._inside = 0
        """Others that have the turn, or were told to go and will in the next tick."""
        self._first: asyncio.Future[None] | None = None
        self._others: deque[asyncio.Future[None]] = deque()

    @contextlib.asynccontextmanager
    async def fan_out(self) -> AsyncGenerator[None]:
        if self._inside:
            self._first = asyncio.get_running_loop().create_future()
            await self._told(self._first)
        self._fans_out = True
        try:
            yield
        finally:
            self._leave_fan_out()

    @contextlib.asynccontextmanager
    async def take(self) -> AsyncGenerator[None]:
        if self._fans_out or self._first is not None or self._others:
            mine = asyncio.get_running_loop().create_future()
            self._others.append(mine)
            await self._told(mine)
        else:
            self._inside += 1
        try:
            yield
        finally:
            self._leave()

    async def _told(self, mine: asyncio.Future[None]) -> None:
        """Wait until it may go."""
        try:
            await mine
        except asyncio.CancelledError:
            may_go = mine.done() and not mine.cancelled()
            if mine is self._first:
                self._first = None
                if not self._inside:
                    self._next()
            elif may_go and self._fans_out:
                self._leave_fan_out()
            elif may_go:
                self._leave()
            raise

    def _leave_fan_out(self) -> None:
        self._fans_out = False
        self._let_some_go()
        if not self._inside:
            self._next()

    def _leave(self) -> None:
        self._inside -= 1
        if not self._inside:
            self._next()

    def _next(self) -> None:
        """Nobody has the turn: the fan-out's, if it waits."""
        if self._first is None:
            self._let_some_go()
        else:
            granted, self._first = self._first, None
            self._fans_out = True
            granted.set_result(None)

    def _let_some_go(self) -> None:
        while self._others and self._inside < OTHERS_BETWEEN:
            granted = self._others.popleft()
            if not granted.cancelled():
                self._inside += 1
                granted.set_result(None)
