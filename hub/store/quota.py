"""How many live connections each web process has of an app: leases, so that a process that died counts no more."""

from collections.abc import Sequence
from typing import Final

from hub.store import keys
from hub.store.connect import Link
from hub.store.scripts import script
from hub.store.wire import Arg

LEASE: Final = 6.0
"""Seconds that a process's count stands; written anew in a third of that."""


class QuotaStore:
    """The counts of one process, called `holder`."""

    def __init__(self, link: Link, holder: str) -> None:
        self._link = link
        self._holder = holder

    async def write(self, app: str, count: int, most: int = -1) -> bool:
        """Say that this process has so many connections of an app; False where all would have more than `most`."""
        args: list[Arg] = [self._holder, count, most, round(LEASE * 1000)]
        return bool(await self._link.run(script("quota"), [keys.quota(app)], args))


def living(reply: Sequence[bytes], now_ms: int) -> int:
    """How many connections all processes together have, of what HGETALL says of `keys.quota`."""
    counts = [value.split(b" ") for value in reply[1::2]]
    return sum(int(count) for count, until in counts if int(until) > now_ms)
