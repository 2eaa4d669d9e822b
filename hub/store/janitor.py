"""The janitor trims the log by age and size and holds appends back when the store is nearly full.

Web and worker processes alike run one; a lease lets one of them work at a time.
"""

import asyncio
import secrets
import time
from typing import Final

from hub.core.errors import HubError
from hub.settings import Settings
from hub.store import keys
from hub.store.connect import Link
from hub.store.scripts import script
from hub.store.wire import StoreError
from hub.telemetry import logger

PERIOD: Final = 1.0
LEASE_MS: Final = 5000
FULL_AT: Final = 0.85


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
        """Trim every partition once; returns how many entries were removed."""
        full = "1" if await self._store_is_full() else "0"
        without_endpoints = "0" if await self._link.call("HLEN", keys.ENDPOINTS) else "1"
        oldest = int((time.time() - self._settings.retention) * 1000)
        removed = 0
        for partition in range(self._settings.partitions):
            names = [keys.log(partition), keys.meta(partition)]
            most = (self._settings.log_max_bytes or 0) // self._settings.partitions
            reply = await self._link.run(script("trim"), names, [oldest, most, full, without_endpoints])
            removed += int(reply[0])
        return removed

    async def _store_is_full(self) -> bool:
        info = dict(
            line.split(b":", 1) for line in (await self._link.call("INFO", "memory")).split(b"\r\n") if b":" in line
        )
        limit = int(info[b"maxmemory"])
        return bool(limit) and int(info[b"used_memory"]) > limit * FULL_AT

    async def _holds_lease(self) -> bool:
        if await self._link.call("SET", keys.JANITOR_LEASE, self._name, "NX", "PX", LEASE_MS):
            return True
        if await self._link.call("GET", keys.JANITOR_LEASE) != self._name.encode():
            return False
        # Two janitors at once would do no harm (each trim is one script), so renewing needs no compare-and-set.
        await self._link.call("PEXPIRE", keys.JANITOR_LEASE, LEASE_MS)
        return True
