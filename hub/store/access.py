"""API keys: kept as SHA-256 hashes, each scoped to one app."""

import hmac
import secrets
import time

import msgspec

from hub.core.claims import DEFAULT_APP, SCOPES, Principal
from hub.core.errors import NotFound, Unauthenticated
from hub.core.revocation import key_name
from hub.store import keys
from hub.store.connect import Link
from hub.store.digest import digest
from hub.store.revocations import Revocations


class ApiKey(msgspec.Struct, frozen=True):
    """A key's record; the key itself is shown once and never kept."""

    id: str
    app: str
    name: str
    scopes: tuple[str, ...]
    created_at: int


class Access:
    """Looks keys up. Nothing is cached: a revoked key is refused by the next request on every process."""

    def __init__(self, link: Link, bootstrap_key: str | None, revocations: Revocations) -> None:
        self._link = link
        self._revocations = revocations
        self._bootstrap = digest(bootstrap_key) if bootstrap_key else None

    async def principal(self, key: str) -> Principal:
        """Who holds this key, or Unauthenticated."""
        hashed = digest(key)
        if self.is_bootstrap(key):
            return Principal(DEFAULT_APP, SCOPES, key_id="bootstrap")
        record = await self._link.call("HGET", keys.API_KEYS, hashed)
        if record is None:
            raise Unauthenticated("The API key is not known, or was revoked")
        known = msgspec.json.decode(record, type=ApiKey)
        return Principal(known.app, frozenset(known.scopes), key_id=known.id)

    def is_bootstrap(self, key: str) -> bool:
        return self._bootstrap is not None and hmac.compare_digest(digest(key), self._bootstrap)

    async def create(self, app: str, name: str, scopes: tuple[str, ...]) -> tuple[ApiKey, str]:
        """Make a key; returns its record and the key."""
        key = "hubsk_" + secrets.token_urlsafe(32)
        record = ApiKey(f"key_{secrets.token_hex(8)}", app, name, scopes, time.time_ns() // 1_000_000)
        await self._link.call("HSET", keys.API_KEYS, digest(key), msgspec.json.encode(record))
        return record, key

    async def of_app(self, app: str) -> list[ApiKey]:
        return sorted((record for _, record in await self._all(app)), key=lambda record: record.created_at)

    async def revoke(self, app: str, key_id: str) -> None:
        """Refuse a key from now on, and close what it has opened. Raises NotFound, StoreUnavailable."""
        for hashed, record in await self._all(app):
            if record.id == key_id:
                # First the notice: if the store goes away between the two, the key is still there to be revoked again.
                await self._revocations.revoke(app, key_name(key_id), time.time_ns() // 1_000_000)
                await self._link.call("HDEL", keys.API_KEYS, hashed)
                return
        raise NotFound(f"No API key {key_id!r}")

    async def _all(self, app: str) -> list[tuple[bytes, ApiKey]]:
        flat = await self._link.call("HGETALL", keys.API_KEYS)
        records = [(flat[n], msgspec.json.decode(flat[n + 1], type=ApiKey)) for n in range(0, len(flat), 2)]
        return [(hashed, record) for hashed, record in records if record.app == app]
