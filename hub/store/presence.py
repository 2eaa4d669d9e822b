"""Presence: which users are in which topics, over all processes. Each process holds its members by a lease of its own.

All of it lies in the hash slot of the control stream, so that a change and the word of it are one step: what the
processes hear is exactly what happened, in the order in which it happened.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from hub.store import keys
from hub.store.connect import Link
from hub.store.control import MAX_LENGTH
from hub.store.paging import Edge, Row, Slice, Window, walk
from hub.store.scripts import script
from hub.store.wire import Arg

KIND: Final = "presence"
"""The kind of a change's notice on the control stream; its data is a Diff."""
LEASE_MS: Final = 8000
"""How long the members of a process that is gone stay. It renews each second."""
SILENCE_MS: Final = 3000
"""Without any process for so long, the store was away: no lease is ended for the time of one (presence_renew.lua)."""
CHUNK: Final = 200
"""Most changes of one call, which holds the store up for about a millisecond."""

Member: TypeAlias = tuple[str, str, str]
"""App, topic, user."""


class Diff(msgspec.Struct, frozen=True):
    """What changed in one topic. `before` is the version that it changed, 0 when nobody was there."""

    topic: str
    count: int
    version: int
    before: int
    joined: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class Members(msgspec.Struct, frozen=True):
    """Who is in a topic. `version` is 0 when nobody is, else it grows with each change."""

    version: int
    count: int
    users: list[str]


class PresenceStore:
    """The typed side of the scripts. Every method raises StoreUnavailable."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def renew(self, holder: str, *, new: bool) -> tuple[bool, list[str]]:
        """Whether the holder has its lease, and the holders that have ended and still have members."""
        names = [keys.PRESENCE_LEASES, keys.PRESENCE]
        holds, *ended = await self._link.run(
            script("presence_renew"), names, [holder, LEASE_MS, "new" if new else "known", SILENCE_MS]
        )
        return bool(holds), [name.decode() for name in ended]

    async def change(
        self, holder: str, changes: Sequence[tuple[str, Member]], *, ended: bool = False
    ) -> list[tuple[int, int]] | None:
        """Apply (`+`, `-` or `?`, member) in order; returns each topic's version and count. None: the lease is gone."""
        names = [keys.PRESENCE_LEASES, keys.PRESENCE, keys.held(holder), keys.CONTROL]
        args: list[Arg] = [holder, "ended" if ended else "held", MAX_LENGTH]
        for op, (app, topic, user) in changes:
            names += (keys.members(app, topic), keys.live_topics(app))
            args += (op, app, topic, user)
        reply = await self._link.run(script("presence_change"), names, args)
        return list(zip(reply[::2], reply[1::2], strict=True)) if reply else None

    async def clear(self, holder: str) -> bool:
        """Remove some members of a holder that has ended; returns whether there may be more."""
        held = await self._link.call("SRANDMEMBER", keys.held(holder), CHUNK)
        if not held:
            await self._link.call("ZREM", keys.PRESENCE_LEASES, holder)
            return False
        members = [_member(raw) for raw in held]
        return await self.change(holder, [("-", member) for member in members], ended=True) is not None

    async def members(self, app: str, topic: str, most: int = 0) -> Members:
        """A topic's users, at most so many of them (0: all)."""
        version, count, *users = await self._link.run(script("presence_members"), [keys.members(app, topic)], [most])
        return Members(version, count, [user.decode() for user in users])

    async def topics(self, app: str, prefix: str, window: Window) -> Slice[tuple[str, int]]:
        """An app's topics with members, and how many, by name."""
        lowest: bytes = f"[{prefix}".encode() if prefix else b"-"
        highest = f"[{prefix}".encode() + b"\xff" if prefix else b"+"

        async def read(edge: Edge | None, count: int) -> list[Row[tuple[str, int]]]:
            low, high = lowest, highest
            if edge is not None:
                start = f"{'[' if edge.inclusive else '('}{edge.id}".encode()
                if window.downward:
                    high = start if not prefix or start[1:] <= high[1:] else high
                else:
                    low = start if start[1:] >= low[1:] else low
            bounds = (high, low, "BYLEX", "REV") if window.downward else (low, high, "BYLEX")
            rows = await self._link.call("ZRANGE", keys.live_topics(app), *bounds, "LIMIT", 0, count)
            found = [raw.decode() for raw in rows]
            sizes = await self._link.pipeline([("HLEN", keys.members(app, topic)) for topic in found]) if found else []
            return [(topic, (topic, size - 1) if size > 1 else None)
                    for topic, size in zip(found, sizes, strict=True)]  # fmt: skip

        return await walk(window, read)


def _member(raw: bytes) -> Member:
    app, topic, user = raw.decode().split("\0", 2)
    return app, topic, user
