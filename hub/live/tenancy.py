"""Apps that are closed: when one is disabled or deleted, its live connections end on every process, at once.

A notice on the control stream says so; a process that may have missed one asks the store about the apps that it serves.
"""

import asyncio
import contextlib
from typing import Final

import msgspec

from hub.core.errors import Forbidden, HubError
from hub.live.connection import Connection
from hub.live.gateway import Gateway
from hub.store.apps import KIND, Apps
from hub.store.control import Notice
from hub.store.versioned import Version
from hub.store.wire import StoreError
from hub.telemetry import logger

_SLICE: Final = 500
_PAUSE: Final = 0.2
_RECENT: Final = 60.0
"""Seconds for which a closed app is held against connections that are just being opened: their credential may have been
looked up before."""


class Tenancy:
    """One process's part. `run` never ends by itself."""

    def __init__(self, gateway: Gateway, apps: Apps, version: Version) -> None:
        self._gateway = gateway
        self._apps = apps
        self._version = version
        self._closed: dict[str, float] = {}
        """Apps that were closed lately, with the time until which that is remembered."""
        self._ask = False
        self._sweep = False
        self._wake = asyncio.Event()
        gateway.on_notice(KIND, self._take)
        gateway.on_missed(self._miss)
        gateway.on_admit(self.judge)

    def judge(self, connection: Connection) -> None:
        """End a connection of an app that was closed while it was being opened."""
        if connection.principal is not None and connection.principal.app in self._closed:
            _end(connection)

    async def run(self) -> None:
        while True:
            if not (self._sweep or self._ask):
                self._wake.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_RECENT):
                        await self._wake.wait()
            now = asyncio.get_running_loop().time()
            self._closed = {app: until for app, until in self._closed.items() if until > now}
            if self._ask:
                await self._ask_store()
            if self._sweep:
                self._sweep = False
                await self._sweep_all()

    def _take(self, notice: Notice) -> None:
        self._version.forget()
        if msgspec.json.decode(notice.data) == "enabled":
            self._closed.pop(notice.app, None)
        else:
            self._close(notice.app)
            self._wake.set()

    def _close(self, app: str) -> None:
        self._closed[app] = asyncio.get_running_loop().time() + _RECENT
        self._sweep = True

    def _miss(self) -> None:
        self._version.forget()
        self._ask = True
        self._wake.set()

    async def _ask_store(self) -> None:
        self._ask = False
        remembered = dict(self._closed)
        served = {one.principal.app for one in self._gateway if one.principal is not None}
        try:
            closed = await self._apps.closed(sorted(served | remembered.keys()))
        except (HubError, StoreError) as exc:  # away again, or still: it has to be asked all the same
            logger().debug("closed_apps_wait", reason=str(exc))
            self._ask = True
            await asyncio.sleep(_PAUSE)
            return
        for app in closed:
            self._close(app)
        for app, until in remembered.items():
            if app not in closed and self._closed.get(app) == until:  # it was enabled again meanwhile
                del self._closed[app]

    async def _sweep_all(self) -> None:
        for n, connection in enumerate(self._gateway, 1):
            self.judge(connection)
            if n % _SLICE == 0:
                await asyncio.sleep(0)


def _end(connection: Connection) -> None:
    connection.close(Forbidden.close_code, "the app is disabled or deleted")
