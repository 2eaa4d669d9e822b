"""The census: how many deliveries are owed, and how endpoints stand, per app and over all.

It looks at every endpoint, so it isn't taken when somebody asks, but every few seconds by one process, which a lease
lets work; what it found lies in the store for all.
"""

import asyncio
import secrets
import time
from typing import Final

import msgspec

from hub.core import breaker
from hub.core.errors import HubError
from hub.store import keys
from hub.store.connect import Link
from hub.store.scripts import script
from hub.store.wire import Reply, StoreError
from hub.telemetry import logger

PERIOD: Final = 5.0
"""Seconds between two censuses; longer where one takes more than a tenth of that."""
LEASE_MS: Final = 15_000
KEPT: Final = 120
"""Seconds for which one is shown when no newer one follows."""
_PAGE: Final = 500
_FIELDS: Final = 9


class Count(msgspec.Struct):
    """What is owed, and by how many endpoints of which state. Times are ms by the store's clock, 0: there is none.

    `oldest` is when the oldest event was appended that wasn't sent yet, `due` when the first retry was or is due; both
    of enabled endpoints whose breaker is closed.
    """

    fresh: int = 0
    retries: int = 0
    leased: int = 0
    waiting: int = 0
    oldest: int = 0
    due: int = 0
    endpoints: dict[str, int] = {}
    breakers: dict[str, int] = {}

    @property
    def owed(self) -> int:
        return self.fresh + self.retries + self.leased + self.waiting

    def add(self, reply: list[Reply], now_ms: int) -> None:
        """Count an endpoint as census.lua has it."""
        state, why, until = (reply[n].decode() for n in range(3))
        if not state:
            return
        for n, name in enumerate(("fresh", "retries", "leased", "waiting"), 3):
            setattr(self, name, getattr(self, name) + reply[n])
        standing = "enabled" if state == "on" else why or state
        self.endpoints[standing] = self.endpoints.get(standing, 0) + 1
        circuit = breaker.state(int(until) if until else None, now_ms)
        self.breakers[circuit] = self.breakers.get(circuit, 0) + 1
        if state == "on" and not until:
            self.oldest = _earlier(self.oldest, reply[7].split(b"-")[1] if reply[7] else b"")
            self.due = _earlier(self.due, reply[8].split(b".")[0])


class _Subscription(msgspec.Struct):
    app: str


_app_of = msgspec.json.Decoder(_Subscription).decode


class Census:
    """One process's part in taking it. `run` never ends by itself."""

    def __init__(self, link: Link, delivery_partitions: int) -> None:
        self._link = link
        self._partitions = delivery_partitions
        self._name = secrets.token_hex(8)

    async def run(self) -> None:
        while True:
            began = time.monotonic()
            try:
                if await self._link.run(script("lease"), [keys.CENSUS_LEASE], [self._name, LEASE_MS]):
                    await self.take()
            except (HubError, StoreError) as exc:
                logger().debug("census_waits", reason=str(exc))
            await asyncio.sleep(max(PERIOD, 10 * (time.monotonic() - began)))

    async def take(self) -> None:
        """Count, and leave the result in the store."""
        counts: dict[str, Count] = {"": Count()}
        seconds, micros = await self._link.call("TIME")
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        known: set[bytes] = set()
        cursor: bytes | int = 0
        while True:
            cursor, flat = await self._link.call("HSCAN", keys.ENDPOINTS, cursor, "COUNT", _PAGE)
            page = {id: _app_of(text).app for id, text in zip(flat[::2], flat[1::2], strict=True) if id not in known}
            known |= page.keys()  # a scan may come to one twice
            await self._count(counts, page, now_ms)
            if cursor == b"0":
                break
        lines = [part for app, count in counts.items() for part in (app, msgspec.json.encode(count))]
        await self._link.pipeline(
            [
                ("DEL", keys.CENSUS),
                ("HSET", keys.CENSUS, *lines, "@at", now_ms),
                ("EXPIRE", keys.CENSUS, KEPT),
            ]
        )

    async def _count(self, counts: dict[str, Count], page: dict[bytes, str], now_ms: int) -> None:
        groups: dict[int, list[str]] = {}
        for raw in page:
            groups.setdefault(keys.delivery_partition(raw.decode(), self._partitions), []).append(raw.decode())
        for partition, ids in groups.items():
            names = [
                make(partition, one)
                for one in ids
                for make in (keys.endpoint, keys.fresh, keys.retries, keys.leases, keys.waiting)
            ]
            reply = await self._link.run(script("census"), names, [])
            for n, one in enumerate(ids):
                line = reply[_FIELDS * n : _FIELDS * (n + 1)]
                counts[""].add(line, now_ms)
                counts.setdefault(page[one.encode()], Count()).add(line, now_ms)


async def read(link: Link, app: str = "") -> tuple[Count, int]:
    """The newest census of an app, or of all, and when it was taken (0: there is none)."""
    return parse(await link.call("HMGET", keys.CENSUS, app, "@at"))


def parse(reply: Reply) -> tuple[Count, int]:
    text, at = reply
    count = Count() if text is None else msgspec.json.decode(text, type=Count)
    return count, 0 if at is None else int(at)


def _earlier(known: int, found: bytes) -> int:
    if not found:
        return known
    return min(known, int(found)) if known else int(found)
