"""The live connections of an app, counted over all web processes together; HUB_MAX_CONNECTIONS_PER_APP limits them."""

import asyncio
import contextlib
from collections import Counter, deque
from typing import Final

from hub.core.errors import HubError, RateLimited, StoreUnavailable
from hub.store.quota import LEASE, QuotaStore

TAKEN_FOR: Final = 5.0
"""Seconds that a seat is kept for a connection that doesn't come to be."""


class Quota:
    """This process's connections by app, which it tells the store of. `most` is None where there is no limit.

    A connection asks first (`take`) and is counted when it is there (`fill`); in between its seat is taken. What a
    process tells is its whole count, so a word that got lost is made good by the next.
    """

    def __init__(self, store: QuotaStore, most: int | None) -> None:
        self._store = store
        self._most = most
        self._filled: Counter[str] = Counter()
        self._taken: dict[str, deque[float]] = {}
        self._changed: set[str] = set()
        self._wake = asyncio.Event()

    async def take(self, app: str) -> None:
        """Raise RateLimited when the app has all the connections that it may have.

        While the store is away only this process's own are counted.
        """
        if self._most is None:
            return
        taken = self._taken.setdefault(app, deque())
        taken.append(asyncio.get_running_loop().time())
        count = self._count(app)
        try:
            allowed = await self._store.write(app, count, self._most)
        except StoreUnavailable:
            allowed = count <= self._most
        if not allowed:
            if taken:
                taken.pop()
            raise RateLimited(f"The app has {self._most} live connections, which is all that it may have")

    def fill(self, app: str) -> None:
        """A connection is there."""
        if taken := self._taken.get(app):
            taken.popleft()
        self._filled[app] += 1

    def free(self, app: str) -> None:
        """A connection is gone."""
        self._filled[app] -= 1
        if self._most is not None:  # somebody may wait for the seat
            self._changed.add(app)
            self._wake.set()

    async def run(self) -> None:
        """Tell the store: at once of seats that were freed where they are few, and of all before their lease ends."""
        loop = asyncio.get_running_loop()
        while True:
            renew_at = loop.time() + LEASE / 3
            while loop.time() < renew_at:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(renew_at):
                        await self._wake.wait()
                self._wake.clear()
                await self._tell(self._changed)
            await self._tell({*self._filled, *self._taken})

    async def _tell(self, apps: set[str]) -> None:
        for app in list(apps):
            apps.discard(app)
            count = self._count(app)
            with contextlib.suppress(HubError):  # it is told again before the lease ends
                await self._store.write(app, count)
            if not self._count(app):
                self._filled.pop(app, None)
                self._taken.pop(app, None)

    def _count(self, app: str) -> int:
        taken, now = self._taken.get(app, deque()), asyncio.get_running_loop().time()
        while taken and taken[0] < now - TAKEN_FOR:
            taken.popleft()
        return self._filled[app] + len(taken)
