"""Holdings: what this process holds in presence, by a lease that it renews; written behind, in order."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from itertools import islice
from typing import Final

from hub.core.errors import HubError, StoreUnavailable
from hub.store.connect import Link
from hub.store.presence import CHUNK, Member, PresenceStore
from hub.store.wire import StoreError
from hub.telemetry import logger

RENEW_SECONDS: Final = 1.0
_PAUSE: Final = 0.2


class Holdings:
    """Which users are in which topics by connections of this process.

    With every new connection to the store, which may be another store or have lost writes, it begins anew: under
    another name it writes all that it holds. What the old name held ends with its lease, so nobody is seen to leave.
    """

    def __init__(self, link: Link, store: PresenceStore, on_begin: Callable[[], None]) -> None:
        self._link = link
        self._store = store
        self._on_begin = on_begin
        self._holder: str | None = None
        self._generation = -1
        self._renew_at = 0.0
        self._ended: list[str] = []
        self._connections: dict[Member, int] = {}
        self._waiting: dict[Member, list[asyncio.Future[int]]] = {}
        """What the store is to be told, and who waits for it. Told is what is so by then."""
        self._behind = 0
        """What is to be written before anybody is removed: the same users may be held under the old name."""
        self._wake = asyncio.Event()
        self.stopped = False

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, member: Member) -> None:
        """One more connection of this user in this topic."""
        count = self._connections.get(member, 0)
        self._connections[member] = count + 1
        if not count:
            self._write(member)

    def remove(self, member: Member) -> None:
        """One less."""
        count = self._connections[member]
        if count > 1:
            self._connections[member] = count - 1
        else:
            del self._connections[member]
            self._write(member)

    async def version(self, app: str, topic: str, user: str | None) -> int:
        """The topic's version once what was said before, this user in it too, is written. Raises StoreUnavailable."""
        if self.stopped:
            raise StoreUnavailable("This process is shutting down")
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._write((app, topic, user or "")).append(future)
        return await future

    async def run(self) -> None:
        """Write, renew, remove the members of processes that are gone; over any failure of the store."""
        while True:
            try:
                if not self._waiting and not self._ended:
                    await self._rest()
                await self._keep_lease()
                await self._write_some()
                if self._ended and self._behind <= 0 and not await self._store.clear(self._ended[-1]):
                    self._ended.pop()
            except (HubError, StoreError) as exc:
                logger().debug("presence_waits", reason=str(exc))
                self._holder, self._renew_at = None, 0.0
                self._fail(exc if isinstance(exc, HubError) else StoreUnavailable(str(exc)))
                await asyncio.sleep(_PAUSE)

    def stop(self) -> None:
        """Leave what is held to the lease: who comes back on another process before its end has never left."""
        self.stopped = True
        self._fail(StoreUnavailable("This process is shutting down"))

    def _write(self, member: Member) -> list[asyncio.Future[int]]:
        if self.stopped:
            return []
        self._wake.set()
        return self._waiting.setdefault(member, [])

    async def _rest(self) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._renew_at):
                await self._wake.wait()

    async def _keep_lease(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._holder is not None and self._generation == self._link.generation and now < self._renew_at:
            return
        self._renew_at = now + RENEW_SECONDS
        if self._holder is not None and self._generation == self._link.generation:
            holds, self._ended = await self._store.renew(self._holder, new=False)
            if holds:
                return
            logger().warning("presence_lease_lost", members=len(self._connections))
        await self._begin()

    async def _begin(self) -> None:
        self._generation = self._link.generation
        holder = secrets.token_hex(8)
        _, self._ended = await self._store.renew(holder, new=True)
        self._holder = holder
        for member in self._connections:
            self._waiting.setdefault(member, [])
        self._behind = len(self._waiting)
        self._on_begin()

    async def _write_some(self) -> None:
        if self._holder is None or not self._waiting:
            return
        members = list(islice(self._waiting, CHUNK))
        asked = [self._waiting.pop(member) for member in members]
        changes = [(self._op(member), member) for member in members]
        try:
            states = await self._store.change(self._holder, changes)
        except BaseException as exc:
            _give_up(asked, exc if isinstance(exc, HubError) else StoreUnavailable("The store did not take presence"))
            raise
        if states is None:  # the lease ended: begin anew, and write this then
            self._holder = None
            for member, futures in zip(members, asked, strict=True):
                self._waiting.setdefault(member, []).extend(futures)
            return
        self._behind -= len(members)
        for (version, _), futures in zip(states, asked, strict=True):
            for future in futures:
                if not future.done():
                    future.set_result(version)

    def _op(self, member: Member) -> str:
        if not member[2]:
            return "?"
        return "+" if member in self._connections else "-"

    def _fail(self, exc: HubError) -> None:
        """Whoever waits is told; all that is held is written again after the next beginning."""
        asked, self._waiting = list(self._waiting.values()), {}
        _give_up(asked, exc)


def _give_up(asked: list[list[asyncio.Future[int]]], exc: HubError) -> None:
    for futures in asked:
        for future in futures:
            if not future.done():
                future.set_exception(StoreUnavailable(exc.message))
