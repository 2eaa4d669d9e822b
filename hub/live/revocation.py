"""Revocation of open connections: whoever's credential was revoked is closed, on every process, at once.

A notice on the control stream says what was revoked. A process that may have missed one asks the store about all its
connections.
"""

import asyncio
import contextlib
from typing import Final

import msgspec

from hub.core.errors import HubError, Unauthenticated
from hub.core.revocation import is_void
from hub.live.connection import Connection
from hub.live.gateway import Gateway
from hub.store.control import Notice
from hub.store.revocations import KIND, Revocations, Revoked
from hub.telemetry import logger

_SLICE: Final = 500
"""Connections looked at until the loop gets a chance to do something else."""
_RECENT_SECONDS: Final = 60.0
"""How long a revocation is held against connections that are just being opened: their credential may have been looked
up before it."""
_PAUSE: Final = 0.2


class RevocationWatch:
    """One process's part. `run` never ends by itself."""

    def __init__(self, gateway: Gateway, revocations: Revocations) -> None:
        self._gateway = gateway
        self._revocations = revocations
        self._recent: dict[str, dict[str, int]] = {}
        """By app: the name and moment of each revocation of the last minute."""
        self._forget_at: dict[tuple[str, str], float] = {}
        self._missed = False
        self._noticed = False
        self._wake = asyncio.Event()
        gateway.on_notice(KIND, self._take)
        gateway.on_missed(self._miss)
        gateway.on_admit(self.judge)

    def judge(self, connection: Connection) -> None:
        """Close a connection whose credential a recent revocation has ended."""
        principal = connection.principal
        if principal is not None and is_void(principal, self._recent.get(principal.app, {})):
            _end(connection)

    async def run(self) -> None:
        while True:
            if not (self._noticed or self._missed):
                self._wake.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_RECENT_SECONDS):
                        await self._wake.wait()
            self._forget()
            if self._noticed:
                self._noticed = False
                await self._sweep()
            if self._missed:
                self._missed = False
                await self._ask()

    def _take(self, notice: Notice) -> None:
        revoked = msgspec.json.decode(notice.data, type=Revoked)
        struck = self._recent.setdefault(notice.app, {})
        struck[revoked.name] = max(revoked.before, struck.get(revoked.name, 0))
        self._forget_at[notice.app, revoked.name] = asyncio.get_running_loop().time() + _RECENT_SECONDS
        self._noticed = True
        self._wake.set()

    def _miss(self) -> None:
        self._missed = True
        self._wake.set()

    def _forget(self) -> None:
        now = asyncio.get_running_loop().time()
        for app, name in [key for key, at in self._forget_at.items() if at <= now]:
            del self._forget_at[app, name]
            del self._recent[app][name]
            if not self._recent[app]:
                del self._recent[app]

    async def _sweep(self) -> None:
        """Hold the recent revocations against every connection: one pass, however many there are."""
        for n, connection in enumerate(self._gateway, 1):
            self.judge(connection)
            if n % _SLICE == 0:
                await asyncio.sleep(0)

    async def _ask(self) -> None:
        """Hold the store's word against every connection."""
        held = [(connection, connection.principal) for connection in self._gateway if connection.principal is not None]
        for first in range(0, len(held), _SLICE):
            part = held[first : first + _SLICE]
            try:
                void = await self._revocations.void([principal for _, principal in part])
            except HubError as exc:  # away again, or still: it has to be asked all the same
                logger().debug("revocation_waits", reason=exc.message)
                self._missed = True
                await asyncio.sleep(_PAUSE)
                return
            for (connection, principal), is_revoked in zip(part, void, strict=True):
                if is_revoked and connection.principal is principal:
                    _end(connection)


def _end(connection: Connection) -> None:
    connection.close(Unauthenticated.close_code, "the credential was revoked")
