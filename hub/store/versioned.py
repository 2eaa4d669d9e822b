"""Caches of what decides who may do what, good for as long as the store's version says so.

Each change that takes a right away gives the store another version, in the same script. A process asks for the version
before it uses what it remembers, unless it knows one that is younger than FRESH: so a change counts everywhere after
that time, whatever becomes of notices and of the processes' clocks. A busy process asks ten times a second instead of
once a request, and ahead of time, so that its requests needn't wait. Without an answer nothing is remembered.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from hub.store import keys
from hub.store.connect import Link

FRESH: Final = 0.2
"""Seconds that an answer counts, from when it was asked for."""
ASK_AFTER: Final = 0.1
"""Seconds after which the next one is asked for, where somebody needs the version."""
MOST: Final = 10_000
"""Entries of one cache; the oldest goes first."""
T = TypeVar("T")


class Version:
    """The present version, as the store confirmed it."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._known = b""
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[bytes] | None = None
        self._asking_since = float("-inf")

    def forget(self) -> None:
        """Something changed: ask again before the next use."""
        self._asked_at = self._asking_since = float("-inf")

    def known(self) -> bytes | None:
        """The version, if nobody needs to wait for it."""
        now = time.monotonic()
        age = now - self._asked_at
        if age >= FRESH:
            return None
        if age >= ASK_AFTER:
            self._ask_soon(now)
        return self._known

    async def current(self) -> bytes:
        """The version. Who comes while it is being asked for shares the answer. Raises StoreUnavailable."""
        if (known := self.known()) is not None:
            return known
        return await asyncio.shield(self._ask_soon(time.monotonic()))

    def _ask_soon(self, now: float) -> asyncio.Task[bytes]:
        """Ask, unless that is under way."""
        if self._asking is None or self._asking.done() or now - self._asking_since >= FRESH:
            self._asking_since = now
            self._asking = asyncio.create_task(self._ask(now), name="access version")
            self._asking.add_done_callback(_seen)
        return self._asking

    async def _ask(self, now: float) -> bytes:
        found: bytes = await self._link.call("GET", keys.ACCESS_VERSION) or b""
        if now == self._asking_since:  # else it was forgotten meanwhile, or somebody asked later
            self._known, self._asked_at = found, now
        return found


def _seen(task: asyncio.Task[bytes]) -> None:
    """Its failure was somebody's to hear, who may have gone."""
    if not task.cancelled():
        task.exception()


class VersionedCache(Generic[T]):
    """Remembers what a look-up found, under the version at which it was looked up."""

    def __init__(self, version: Version) -> None:
        self._version = version
        self._at = b""
        self._entries: OrderedDict[str, T] = OrderedDict()

    async def get(self, name: str, load: Callable[[], Awaitable[T]]) -> T:
        """What is remembered under a name, or else what `load` finds now; its errors are not remembered."""
        version = self._version.known()
        if version is None:
            version = await self._version.current()
        if version != self._at:
            self._entries.clear()
            self._at = version
        if (found := self._entries.get(name)) is not None:
            return found
        loaded = await load()
        if version == self._at:  # else it may be what a change has ended since
            self._entries[name] = loaded
            if len(self._entries) > MOST:
                self._entries.popitem(last=False)
        return loaded

    def remembered(self, name: str) -> T | None:
        """What `get` would find without waiting."""
        version = self._version.known()
        return None if version is None or version != self._at else self._entries.get(name)

    def drop(self, name: str) -> None:
        self._entries.pop(name, None)
