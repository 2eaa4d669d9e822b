"""The janitor trims the log by age and size and holds appends back when the store is nearly full.

Web and worker processes alike run one; a lease lets one of them work at a time.
"""

import asyncio
import secrets
from typing import Final

from hub.core.errors import HubError
from hub.settings import Settings
from hub.store import keys
from hub.store.connect import Link
from hub.store.scripts import script
from hub.store.wire import Arg, StoreError
from hub.telemetry import logger

PERIOD: Final = 1.0
LEASE_MS: Final = 5000
FULL_AT: Final = 0.85
CALLS: Final = 1000
"""Most calls to trim one partition in one sweep."""
CONTROL_SECONDS: Final = 60
"""What the control stream keeps: its readers are a moment behind, and it holds whole ephemeral events."""


class Janitor:
    """One process's part. `run` never ends by itself."""

    def __init__(self, link: Link, settings: Settings) -> None:
        self._link = link
        self._settings = settings
        self._name = secrets.token_hex(8)

    async def run(self) -> None:
        while True:
            try:
                if await self._holds_lease():
                    await self.sweep()
            except (HubError, StoreError) as exc:
                logger().debug("janitor_waits", reason=str(exc))
            await asyncio.sleep(PERIOD)

    async def sweep(self) -> int:
        """Trim every partition by at most a tenth, and the control stream; returns how many events were removed.

        Ages are by the store's clock, as the positions are: a process whose own is wrong trims nothing too early.
        """
        now = int((await self._link.call("TIME"))[0])
        full = "1" if await self._store_is_full() else "0"
        without_endpoints = "0" if await self._link.call("HLEN", keys.ENDPOINTS) else "1"
        most = (self._settings.log_max_bytes or 0) // self._settings.partitions
        args: list[Arg] = [(now - self._settings.retention) * 1000, most, full, without_endpoints]
        removed = sum([await self._trim(partition, args) for partition in range(self._settings.partitions)])
        await self._link.call("XTRIM", keys.CONTROL, "MINID", "~", (now - CONTROL_SECONDS) * 1000)
        return removed

    async def _trim(self, partition: int, args: list[Arg]) -> int:
        names = [keys.log(partition), keys.meta(partition)]
        removed, left = 0, ""
        for _ in range(CALLS):
            some, more, _ = await self._link.run(script("trim"), names, [*args, left])
            removed += int(some)
            if not more:
                break
            left = str(more)
        return removed

    async def _store_is_full(self) -> bool:
        info = dict(
            line.split(b":", 1) for line in (await self._link.call("INFO", "memory")).split(b"\r\n") if b":" in line
        )
        limit = int(info[b"maxmemory"])
        return bool(limit) and int(info[b"used_memory"]) > limit * FULL_AT

    async def _holds_lease(self) -> bool:
        """By a script that may run at the store's memory limit, which is when room must be made."""
        return bool(await self._link.run(script("lease"), [keys.JANITOR_LEASE], [self._name, LEASE_MS]))
