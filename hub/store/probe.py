"""One bare connection to a store that may not be fit for use: no scripts are loaded, a loss is final."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Final

from hub.core.errors import StoreUnavailable
from hub.store.address import dial, log_in, resolver
from hub.store.wire import Arg, Reply, StoreError, Wire

PROBE_TIMEOUT: Final = 3.0


class Probe:
    """Runs commands as a Link does."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def call(self, *command: Arg) -> Reply:
        """Run one command. Raises StoreUnavailable, LogFull, StoreError."""
        return await self._wire.send(*command)


@contextlib.asynccontextmanager
async def probe(url: str) -> AsyncGenerator[Probe]:
    """Connect and log in. Raises StoreUnavailable with the reason."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            wire = await _connect(url)
    except (OSError, TimeoutError, StoreError) as exc:
        raise StoreUnavailable(str(exc) or f"no answer within {PROBE_TIMEOUT:.0f} s") from None
    try:
        yield Probe(wire)
    finally:
        wire.close()


async def _connect(url: str) -> Wire:
    address = await resolver(url)()
    wire = await dial(address, lambda: Wire(lambda _: None, PROBE_TIMEOUT))
    await log_in(wire, address)
    return wire
