"""Who holds a credential that the store knows: an API key, or an access token of an OAuth client."""

import asyncio
import time
from typing import Final

from hub.core import opaque
from hub.core.claims import DEFAULT_APP, SCOPES, Principal
from hub.core.errors import HubError, NotFound, Unauthenticated
from hub.core.opaque import ACCESS_TOKEN, API_KEY
from hub.store import keys
from hub.store.api_keys import ApiKey, ApiKeys
from hub.store.apps import parse as parse_app
from hub.store.connect import Link
from hub.store.digest import digest, matches
from hub.store.grants import Grants
from hub.store.versioned import Version, VersionedCache
from hub.store.wire import StoreError
from hub.telemetry import logger

USED_SECONDS: Final = 60.0
"""How often a process writes down which keys were used."""
_UNKNOWN: Final = "The API key is not known, or was revoked"


class Access:
    """Looks credentials up, and remembers what it found while the store's version is the same."""

    def __init__(
        self, link: Link, bootstrap_key: str | None, version: Version, api_keys: ApiKeys, grants: Grants
    ) -> None:
        self._link = link
        self._bootstrap = digest(bootstrap_key) if bootstrap_key else None
        self._api_keys = api_keys
        self._grants = grants
        self._principals: VersionedCache[Principal] = VersionedCache(version)
        self._used: dict[str, int] = {}

    async def principal(self, credential: str) -> Principal:
        """Who holds this API key or access token. Raises Unauthenticated; Forbidden where their app is disabled."""
        return self._used_now(await self._principals.get(credential, lambda: self._find(credential)))

    def remembered(self, credential: str) -> Principal | None:
        """The same for one that was seen lately, without waiting; None for any other. Raises Unauthenticated."""
        found = self._principals.remembered(credential)
        return None if found is None else self._used_now(found)

    def _used_now(self, found: Principal) -> Principal:
        """Note its use. Raises Unauthenticated where it has ended."""
        now = time.time()
        if found.expires_at is not None and found.expires_at <= now:
            raise Unauthenticated("The credential has expired; get a new one")
        assert found.key_id is not None
        self._used[found.key_id] = int(now * 1000)
        return found

    def is_bootstrap(self, key: str) -> bool:
        return self._bootstrap is not None and matches(key, self._bootstrap)

    async def client(self, key_id: str, key: str) -> ApiKey:
        """The API key that an OAuth client shows as its id and secret, read anew.

        Raises Unauthenticated; Forbidden where its app is disabled.
        """
        record = await self._key(key_id)
        if not matches(key, record.digest):
            raise Unauthenticated(_UNKNOWN)
        if record.expires_at is not None and record.expires_at <= time.time() * 1000:
            raise Unauthenticated("The API key has expired; get a new one")
        self._used[record.id] = time.time_ns() // 1_000_000
        return record

    async def run(self) -> None:
        """Write down which keys were used, now and then and at the end."""
        try:
            while True:
                await asyncio.sleep(USED_SECONDS)
                await self.write_used()
        finally:
            await self.write_used()

    async def write_used(self) -> None:
        """Write down which keys were used since the last time."""
        used, self._used = self._used, {}
        used.pop("bootstrap", None)
        if not used:
            return
        try:
            await self._api_keys.used(list(used.items()))
        except (HubError, StoreError) as exc:  # a time that is missing harms nobody
            logger().debug("last_used_not_written", reason=str(exc))

    async def _find(self, credential: str) -> Principal:
        if self.is_bootstrap(credential):
            return Principal(DEFAULT_APP, SCOPES, key_id="bootstrap")
        found = opaque.parse(credential)
        if found is not None and found.kind == ACCESS_TOKEN:
            return await self._of_token(credential)
        if found is None or found.kind != API_KEY:
            raise Unauthenticated(_UNKNOWN)
        record = await self._key(f"key_{found.id}")
        if not matches(credential, record.digest):
            raise Unauthenticated(_UNKNOWN)
        return Principal(record.app, record.all_scopes, key_id=record.id, expires_at=_seconds(record.expires_at))

    async def _of_token(self, token: str) -> Principal:
        grant, access = await self._grants.find(token)
        record = await self._key(grant.key)
        scopes = record.all_scopes.intersection(access.scopes)
        return Principal(grant.app, scopes, key_id=record.id, token_id=grant.id, expires_at=access.ends / 1000)

    async def _key(self, key_id: str) -> ApiKey:
        """A key whose app may be used. Raises Unauthenticated, Forbidden."""
        try:
            record = (await self._api_keys.get(key_id)).key
        except NotFound:
            raise Unauthenticated(_UNKNOWN) from None
        app = parse_app(record.app, await self._link.call("HGET", keys.APPS, record.app))
        if app is None or app.gone:
            raise Unauthenticated(_UNKNOWN)
        app.check_open()
        return record


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000
