"""API keys as their owners manage them. A key's text is shown once; the store has its digest."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from hub.core import opaque
from hub.core.errors import Conflict, NotFound
from hub.core.revocation import key_name
from hub.core.roles import scopes_of
from hub.core.seed import Seed
from hub.store import keys
from hub.store.apps import Apps, new_version
from hub.store.connect import Link
from hub.store.digest import digest
from hub.store.paging import Slice, Window, page
from hub.store.revocations import Revocations
from hub.store.scripts import script
from hub.store.versioned import Version
from hub.store.wire import Arg


class ApiKey(msgspec.Struct, frozen=True):
    """A key's record. `scopes` are those given besides the role's; times are in ms."""

    id: str
    app: str
    name: str
    scopes: tuple[str, ...]
    created_at: int
    digest: str
    role: str | None = None
    expires_at: int | None = None

    @property
    def all_scopes(self) -> frozenset[str]:
        return scopes_of(self.role, self.scopes)


_READ: Final = msgspec.json.Decoder(ApiKey)


class Listed(msgspec.Struct, frozen=True):
    """A key and when it was last used, in ms, to the minute; None where it never was."""

    key: ApiKey
    last_used_at: int | None


class KeySpec(msgspec.Struct, frozen=True):
    """What a key is to be; `expires_at` is in ms."""

    name: str
    role: str | None
    scopes: tuple[str, ...]
    expires_at: int | None


class ApiKeys:
    """The API keys of one deployment."""

    def __init__(self, link: Link, apps: Apps, version: Version, revocations: Revocations) -> None:
        self._link = link
        self._apps = apps
        self._version = version
        self._revocations = revocations

    async def create(self, app_id: str, spec: KeySpec, seed: Seed | None = None) -> tuple[ApiKey, str]:
        """Make a key of an app; returns its record and its text. Raises NotFound, Conflict."""
        app, text = await self._apps.read(app_id)
        if app is None or app.gone:
            raise NotFound(f"No app {app_id[:70]!r}")
        seed = seed or Seed()
        now = seed.time(time.time_ns() // 1_000_000)
        part = opaque.new_id(now, seed)
        key = opaque.mint(opaque.API_KEY, part, seed)
        record = ApiKey(f"key_{part}", app_id, spec.name, spec.scopes, now, digest(key), spec.role, spec.expires_at)
        names = [keys.API_KEYS, keys.app_keys(app_id), keys.APPS]
        args: list[Arg] = [record.id, msgspec.json.encode(record), app_id, text]
        if not await self._link.run(script("key_put"), names, args):
            raise Conflict("The app was changed by others at the same time; try again")
        return record, key

    async def get(self, key_id: str) -> Listed:
        """A key, whose ever it is. Raises NotFound."""
        (found,) = await self._many([key_id])
        if found is None:
            raise NotFound("No API key has this id")
        return found

    async def page(self, app_id: str, window: Window, keep: Callable[[Listed], bool] | None = None) -> Slice[Listed]:
        """An app's keys by age; of those looked at the ones to `keep`."""
        return await page(self._link, keys.app_keys(app_id), self._many, window, keep)

    async def revoke(self, app_id: str, key_id: str) -> None:
        """Refuse a key from now on, on every process, and close what it has opened."""
        # First the notice: if the store goes away between the two, the key is still there to be revoked again.
        await self._revocations.revoke(app_id, key_name(key_id), time.time_ns() // 1_000_000)
        await self._drop(app_id, key_id)

    async def purge(self, app_id: str) -> None:
        """Remove all keys of an app that is being deleted."""
        found: Iterable[bytes] = await self._link.call("ZRANGE", keys.app_keys(app_id), 0, -1)
        for raw in found:
            await self._drop(app_id, raw.decode())

    async def used(self, moments: Sequence[tuple[str, int]]) -> None:
        """Note when keys were used last, in ms."""
        args: list[Arg] = [value for moment in moments for value in moment]
        await self._link.run(script("keys_used"), [keys.API_KEYS, keys.KEYS_USED], args)

    async def _drop(self, app_id: str, key_id: str) -> None:
        names = [keys.API_KEYS, keys.app_keys(app_id), keys.KEYS_USED, keys.ACCESS_VERSION]
        try:
            await self._link.run(script("key_drop"), names, [key_id, new_version()])
        finally:
            self._version.forget()

    async def _many(self, ids: list[str]) -> list[Listed | None]:
        records, used = await self._link.pipeline([("HMGET", keys.API_KEYS, *ids), ("HMGET", keys.KEYS_USED, *ids)])
        return [
            None if raw is None else Listed(parse(raw), None if moment is None else int(moment))
            for raw, moment in zip(records, used, strict=True)
        ]


def parse(raw: bytes) -> ApiKey:
    return _READ.decode(raw)
