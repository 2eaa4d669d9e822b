"""Finishes the deletion of apps: removes their keys, endpoints and event types.

Whoever deletes an app does the same at once; here it is completed where that broke off, and done once more a while
later: a request that had passed its checks just before may have made something in between.
"""

import asyncio
import time
from typing import Final

from hub.core.errors import HubError, NotFound
from hub.store.api_keys import ApiKeys
from hub.store.apps import Apps
from hub.store.catalogue import Catalogue
from hub.store.endpoints import Endpoints
from hub.store.wire import StoreError
from hub.telemetry import logger

PERIOD: Final = 5.0
LAST_REQUEST_MS: Final = 120_000
"""No request that began before a deletion is still at work after this."""


class Reaper:
    """One process's part. Each step may be done twice, so no lease is needed."""

    def __init__(self, apps: Apps, api_keys: ApiKeys, endpoints: Endpoints, catalogue: Catalogue) -> None:
        self._apps = apps
        self._api_keys = api_keys
        self._endpoints = endpoints
        self._catalogue = catalogue
        self._listed = False

    async def run(self) -> None:
        """Look after deletions, for ever."""
        while True:
            try:
                await self.sweep(time.time_ns() // 1_000_000)
            except (HubError, StoreError) as exc:
                logger().debug("reaper_waits", reason=str(exc))
            await asyncio.sleep(PERIOD)

    async def sweep(self, now_ms: int) -> None:
        if not self._listed:
            await self._apps.list_default()
            self._listed = True
        for app_id in await self._apps.ending():
            await self.purge(app_id)
            app, _ = await self._apps.read(app_id)
            if app is not None and (app.ended_at or 0) + LAST_REQUEST_MS < now_ms:
                await self._apps.finish(app_id)
                logger().info("app_deleted", app=app_id)

    async def purge(self, app_id: str) -> None:
        """Remove what an app owns: its keys, its endpoints with what they are owed, and its event types."""
        await self._api_keys.purge(app_id)
        for endpoint_id in await self._endpoints.ids(app_id):
            try:
                await self._endpoints.delete(app_id, endpoint_id)
            except NotFound:  # another process was faster
                continue
        await self._catalogue.purge(app_id)
