"""Presence: who is in which room, over all processes, and the word of it to those who asked.

Members are the connections that have a user, in each topic that they joined (not in patterns). `live/holdings.py`
writes them to the store; every process hears of each change by the control stream, in order. A topic that somebody
watches here is kept in memory (`live/watched.py`), so a join reads nothing of it but its version.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Final, TypeAlias

from hub.core.errors import HubError, StoreUnavailable
from hub.core.topics import is_pattern
from hub.live import watched
from hub.live.connection import Connection
from hub.live.holdings import Holdings
from hub.live.watched import MOST_NAMES, Watched
from hub.store.connect import Link
from hub.store.control import Notice
from hub.store.paging import Slice, Window
from hub.store.presence import Members, PresenceStore
from hub.store.wire import StoreError
from hub.telemetry import logger

PERIOD: Final = 0.15
"""Seconds for which joins and leaves are collected, at least."""
SHARE: Final = 9
"""How many times longer than it takes to tell is collected: presence gets a tenth of a process at most."""
_SLICE: Final = 500
_BEHIND_SECONDS: Final = 1.0
"""How long a change that the store has may take to be heard here; then the topic is read again."""
_PAUSE: Final = 0.2
_SETTLED_SECONDS: Final = 2.0
"""When every process has found that the store was lost, and has written again what it holds."""

Snapshot: TypeAlias = Callable[[], tuple[list[str], int]]
"""Who is in a topic, and how many; whoever calls it watches the topic from that moment on."""


class Presence:
    """One process's part."""

    def __init__(self, link: Link) -> None:
        self._store = PresenceStore(link)
        self._holdings = Holdings(link, self._store, self.missed)
        self._places: dict[Connection, list[str]] = {}
        self._watched: dict[tuple[str, str], Watched] = {}
        self._loading: dict[Watched, asyncio.Task[None]] = {}
        self._changed: dict[Watched, None] = {}
        self._has_changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._reload: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._places) + len(self._watched) + len(self._holdings)

    def start(self) -> list[asyncio.Task[None]]:
        """Begin; returns the tasks, which never end by themselves."""
        self._tasks = [
            asyncio.create_task(self._holdings.run(), name="presence"),
            asyncio.create_task(self._tell_changes(), name="telling of presence"),
        ]
        return self._tasks

    def hand_over(self) -> None:
        """Say nothing more of members who leave: they are about to come back elsewhere. Their lease runs out."""
        self._holdings.stop()
        if self._reload is not None:
            self._reload.cancel()
        for task in self._tasks:
            task.cancel()

    async def stop(self) -> None:
        self.hand_over()
        tasks = [*self._tasks, *self._loading.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- members -----------------------------------------------------------------------------------------------------

    def enter(self, connection: Connection, topics: Iterable[str]) -> None:
        """The connection is in these topics; patterns among them don't count."""
        principal = connection.principal
        if principal is None or principal.user is None:
            return
        places = self._places.setdefault(connection, [])
        for topic in topics:
            if topic not in places and not is_pattern(topic):
                places.append(topic)
                self._holdings.add((principal.app, topic, principal.user))
        if not places:
            del self._places[connection]

    def leave(self, connection: Connection, topics: Iterable[str]) -> None:
        """It is in these no more, and hears no more of them."""
        principal = connection.principal
        if principal is None:
            return
        for topic in topics:
            self.unwatch(connection, topic)
            places = self._places.get(connection, [])
            if topic in places and principal.user is not None:
                places.remove(topic)
                self._holdings.remove((principal.app, topic, principal.user))
                if not places:
                    del self._places[connection]

    def drop(self, connection: Connection) -> None:
        """The connection has ended."""
        self.leave(connection, (*self._places.get(connection, ()), *connection.rooms))

    async def members(self, app: str, topic: str, most: int = MOST_NAMES) -> Members:
        """Who is in a topic, what was done by this process before included. Raises StoreUnavailable."""
        await self._holdings.version(app, topic, None)
        return await self._store.members(app, topic, most)

    async def topics(self, app: str, prefix: str, window: Window) -> Slice[tuple[str, int]]:
        """Topics with members, and how many, by name."""
        return await self._store.topics(app, prefix, window)

    # -- watchers ----------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def watching(self, connection: Connection, topic: str) -> AsyncGenerator[Snapshot]:
        """Get a topic ready to be watched by a connection that is joining it. Raises StoreUnavailable.

        The snapshot knows of every join that was answered before this one began, on whichever process, and of itself.
        """
        assert connection.principal is not None
        app, user = connection.principal.app, connection.principal.user
        room = self._watched.get((app, topic))
        if room is None:
            room = self._watched[app, topic] = Watched(app, topic)
            self._load(room)
        room.holds += 1

        def snapshot() -> tuple[list[str], int]:
            room.watch(connection)
            return room.snapshot()

        try:
            self.enter(connection, (topic,))
            await self._caught_up(room, await self._holdings.version(app, topic, user))
            yield snapshot
        finally:
            room.holds -= 1
            if topic not in connection.rooms:  # it came to nothing
                self.leave(connection, (topic,))
            self._forget(room)

    def watches(self, connection: Connection, topic: str) -> bool:
        room = self._room_of(connection, topic)
        return room is not None and connection in room.watchers

    def unwatch(self, connection: Connection, topic: str) -> None:
        room = self._room_of(connection, topic)
        if room is not None and connection in room.watchers:
            del room.watchers[connection]
            self._forget(room)

    def _room_of(self, connection: Connection, topic: str) -> Watched | None:
        return None if connection.principal is None else self._watched.get((connection.principal.app, topic))

    def _forget(self, room: Watched) -> None:
        if room.is_idle and self._watched.get((room.app, room.topic)) is room:
            del self._watched[room.app, room.topic]
            self._changed.pop(room, None)
            if task := self._loading.pop(room, None):
                task.cancel()

    # -- what the store says -----------------------------------------------------------------------------------------

    def hear(self, notice: Notice) -> None:
        """A change, off the control stream."""
        if not self._watched:
            return
        diff = watched.decode(notice.data)
        room = self._watched.get((notice.app, diff.topic))
        if room is None:
            return
        if not room.hear(diff):
            logger().info("presence_missed", topic=diff.topic, version=diff.version)
            self._load(room)
        self._note(room)

    def missed(self) -> None:
        """Changes may have been missed: read every watched topic again.

        Not at once: what is written again by and by would look as if everybody left and came back.
        """
        if self._reload is None and not self._holdings.stopped:
            self._reload = asyncio.get_running_loop().call_later(_SETTLED_SECONDS, self._load_all)

    def _load_all(self) -> None:
        self._reload = None
        for room in self._watched.values():
            self._load(room)

    def _load(self, room: Watched) -> None:
        room.unload()
        if room not in self._loading:
            self._loading[room] = asyncio.create_task(self._read(room), name="presence read")

    async def _read(self, room: Watched) -> None:
        try:
            while room.version is None and not room.is_idle:
                try:
                    if not room.load(await self._store.members(room.app, room.topic)):
                        room.unload()
                except (HubError, StoreError) as exc:
                    logger().debug("presence_waits", topic=room.topic, reason=str(exc))
                    await asyncio.sleep(_PAUSE)
            room.moved.set()
            self._note(room)
        finally:
            if self._loading.get(room) is asyncio.current_task():
                del self._loading[room]

    async def _caught_up(self, room: Watched, version: int) -> None:
        """Wait until a version has been heard of. Should the word of it be lost, the topic is read."""
        for _ in range(3):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_BEHIND_SECONDS):
                    while room.version is None or room.version < version:
                        room.moved.clear()
                        await room.moved.wait()
                    return
            self._load(room)
            version = 0  # whatever is read from now on is newer
        raise StoreUnavailable(f"Who is in {room.topic} can't be read now")

    # -- telling -----------------------------------------------------------------------------------------------------

    def _note(self, room: Watched) -> None:
        if room.has_changes:
            self._changed[room] = None
            self._has_changed.set()

    async def _tell_changes(self) -> None:
        loop = asyncio.get_running_loop()
        pause = PERIOD
        while True:
            await self._has_changed.wait()
            await asyncio.sleep(pause)
            self._has_changed.clear()
            began = loop.time()
            rooms, self._changed = list(self._changed), {}
            written = 0
            for room in rooms:
                written = await self._tell(room, written)
            pause = max(PERIOD, SHARE * (loop.time() - began))

    async def _tell(self, room: Watched, written: int) -> int:
        """Not in the gateway's turn, so no event waits for it: a frame is whole, and goes to whoever still watches."""
        told, batch = room.take()
        for connection, start in told:
            if connection in room.watchers and (frame := batch.frame(start, connection.framed)):
                connection.write(frame)
                written += 1
                if written >= _SLICE:
                    written = 0
                    await asyncio.sleep(0)
        return written
