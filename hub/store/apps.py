"""Apps as their operators manage them: records that every credential is judged by.

A deletion begins by one write, from which on nothing of the app opens anything. What it owned is then removed step by
step, by whoever deleted it and, should that break off, by any web process (see reaper.py).
"""

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from hub.core import jwk, opaque, tenant
from hub.core.claims import DEFAULT_APP
from hub.core.errors import Conflict, NotFound, Unauthenticated
from hub.core.jwk import Key
from hub.core.revocation import signer_name
from hub.core.seed import Seed
from hub.core.tenant import App, AppInput, AppPatch, SigningKey, SigningKeyInput
from hub.settings import Settings
from hub.store import control, keys
from hub.store.connect import Link
from hub.store.paging import Slice, Window, page
from hub.store.revocations import Revocations
from hub.store.scripts import script
from hub.store.secrets import Secrets
from hub.store.versioned import Version, VersionedCache
from hub.store.wire import Arg

KIND: Final = "app"
"""The notice that an app was disabled, enabled again or deleted; it holds its state."""
_TRIES: Final = 5
"""Times that a change is applied anew because another one came between."""
_READ = msgspec.json.Decoder(App)


class Verifying(msgspec.Struct, frozen=True):
    """An app with the keys that verify its tokens, a JWKS's apart."""

    app: App
    keys: tuple[Key, ...]


class Apps:
    """The apps of one deployment."""

    def __init__(self, link: Link, settings: Settings, version: Version, revocations: Revocations) -> None:
        self._link = link
        self._settings = settings
        self._version = version
        self._revocations = revocations
        self._secrets = Secrets(settings.secret_key, settings.secret_key_previous)
        self._verifying: VersionedCache[Verifying] = VersionedCache(version)

    async def get(self, app_id: str) -> App:
        """An app. Raises NotFound, also for one that is deleted."""
        app, _ = await self.read(app_id)
        if app is None or app.gone:
            raise _missing(app_id)
        return app

    async def read(self, app_id: str) -> tuple[App | None, bytes]:
        """An app's record, whatever its state, and its text; None where there never was one."""
        raw: bytes | None = await self._link.call("HGET", keys.APPS, app_id)
        return parse(app_id, raw), raw or b""

    async def verifying(self, app_id: str) -> Verifying:
        """An app that may be used, with its keys. Raises NotFound, Forbidden."""
        return await self._verifying.get(app_id, lambda: self._load(app_id))

    async def check_open(self, app_id: str) -> None:
        """Raise Unauthenticated, Forbidden unless an app's credentials count now."""
        try:
            await self.verifying(app_id)
        except NotFound:
            raise Unauthenticated("The credential's app is deleted") from None

    async def create(self, given: AppInput, seed: Seed | None = None) -> App:
        """Make an app. Raises Invalid, and Conflict where the id was given before, unless by this seed."""
        seed = seed or Seed()
        app = tenant.create(given, seed.time(_now()))
        known, _ = await self.read(app.id)
        if seed.is_kept and known == app:
            return app
        if known is not None or not await self._put(app, b""):
            gone = known is not None and known.gone
            raise Conflict(f"The app {app.id!r} {'was deleted; an id is given once' if gone else 'is there already'}")
        return app

    async def page(self, window: Window) -> Slice[App]:
        """Apps by id."""
        return await page(self._link, keys.APP_INDEX, self._many, window)

    async def update(self, app_id: str, given: AppPatch, check: Callable[[App], None] | None = None) -> App:
        """Change an app; disabling ends its connections on every process. Raises Invalid, NotFound, Conflict.

        `check` sees the state that is changed, and may raise.
        """
        app = await self._change(app_id, lambda app: tenant.change(app, given, _now()), check)
        await control.send_notice(self._link, KIND, app_id, app.state)
        return app

    async def delete(self, app_id: str, check: Callable[[App], None] | None = None) -> None:
        """Begin an app's deletion: from now on nothing of it opens anything. Raises NotFound, Conflict.

        `check` sees its state just before, and may raise.
        """
        await self._change(app_id, lambda app: tenant.end(app, _now()), check)
        await control.send_notice(self._link, KIND, app_id, "deleting")

    async def list_default(self) -> None:
        """Have the default app stand in the list; it is there without having been made."""
        await self._link.call("ZADD", keys.APP_INDEX, 0, DEFAULT_APP)

    async def ending(self) -> list[str]:
        """The apps whose deletion is under way."""
        found: list[bytes] = await self._link.call("SMEMBERS", keys.ENDING_APPS)
        return sorted(raw.decode() for raw in found)

    async def finish(self, app_id: str) -> None:
        """Say that a deletion is done. The id stays taken: what the log still holds must never be another's."""
        app, text = await self.read(app_id)
        if app is not None and app.state == "deleting":
            await self._put(msgspec.structs.replace(app, state="deleted"), text)

    async def closed(self, app_ids: Sequence[str]) -> set[str]:
        """Which of these apps may not be used now."""
        texts = await self._link.call("HMGET", keys.APPS, *app_ids) if app_ids else ()
        found = {app_id: parse(app_id, text) for app_id, text in zip(app_ids, texts, strict=True)}
        return {app_id for app_id, app in found.items() if app is None or app.state != "enabled"}

    # -- signing keys ------------------------------------------------------------------------------------------------

    async def add_key(
        self, app_id: str, given: SigningKeyInput, seed: Seed | None = None
    ) -> tuple[SigningKey, str | None]:
        """Give an app a key that signs its tokens; returns it and, of an HS256 key, its secret.

        Raises Invalid, NotFound, Conflict, NotConfigured.
        """
        seed = seed or Seed()
        now = seed.time(_now())
        key_id, secret = f"sig_{opaque.new_id(now, seed)}", None
        if given.public_key is not None:
            algorithm, material = tenant.public_material(given.public_key)
        else:
            secret = seed.text(32) + seed.text(16) if given.secret is None else given.secret
            tenant.check_secret(secret)
            algorithm, material = "HS256", self._secrets.seal(key_id, secret)
        key = SigningKey(key_id, algorithm, material, now)
        if seed.is_kept and any(one.id == key_id for one in (await self.get(app_id)).signing_keys):
            return key, secret
        await self._change(app_id, lambda app: tenant.with_key(app, key, _now()))
        return key, secret

    async def remove_key(self, app_id: str, key_id: str) -> None:
        """End a signing key, and what was opened by its tokens. Raises NotFound."""
        if all(key.id != key_id for key in (await self.get(app_id)).signing_keys):
            raise NotFound(f"No signing key {key_id[:40]!r}")
        # First the notice: if the store goes away between the two, the key is still there to be removed again.
        await self._revocations.revoke(app_id, signer_name(key_id), _now())
        await self._change(app_id, lambda app: tenant.without_key(app, key_id, _now()))

    async def reseal(self, app_id: str) -> bool:
        """Seal its signing keys' secrets under the present key; False where they are. Raises NotFound, Conflict."""
        before = await self.get(app_id)
        if self._resealed(before) == before:
            return False
        await self._change(app_id, self._resealed)
        return True

    def _resealed(self, app: App) -> App:
        found = [msgspec.structs.replace(key, material=self._secrets.reseal(key.id, key.material))
                 if key.algorithm == "HS256" else key for key in app.signing_keys]  # fmt: skip
        return msgspec.structs.replace(app, signing_keys=tuple(found))

    async def signing(self, app_id: str) -> tuple[str | None, str]:
        """What signs an app's tokens now: a key's id (None for HUB_JWT_SECRET) and the secret. Raises Conflict."""
        if app_id == DEFAULT_APP and self._settings.jwt_secret is not None:
            return None, self._settings.jwt_secret
        for key in reversed((await self.get(app_id)).signing_keys):
            if key.algorithm == "HS256":
                return key.id, self._secrets.open(key.id, key.material)
        named = " and HUB_JWT_SECRET is not set" if app_id == DEFAULT_APP else ""
        raise Conflict(f"The app has no key to sign with{named}; make one by POST /v1/apps/{app_id}/signing-keys")

    # -- inside ------------------------------------------------------------------------------------------------------

    async def _load(self, app_id: str) -> Verifying:
        app = await self.get(app_id)
        app.check_open()
        found = [self._key(key) for key in app.signing_keys]
        if app_id == DEFAULT_APP:
            app = _of_settings(app, self._settings)
            if self._settings.jwt_secret is not None:
                found.append(jwk.secret_key(self._settings.jwt_secret))
        return Verifying(app, tuple(found))

    def _key(self, key: SigningKey) -> Key:
        if key.algorithm == "HS256":
            return jwk.secret_key(self._secrets.open(key.id, key.material), key.id)
        return jwk.public_key(key.material, key.id)

    async def _many(self, ids: list[str]) -> list[App | None]:
        texts = await self._link.call("HMGET", keys.APPS, *ids)
        return [parse(app_id, text) for app_id, text in zip(ids, texts, strict=True)]

    async def _change(
        self, app_id: str, change: Callable[[App], App], check: Callable[[App], None] | None = None
    ) -> App:
        for _ in range(_TRIES):
            app, text = await self.read(app_id)
            if app is None or app.gone:
                raise _missing(app_id)
            if check is not None:
                check(app)
            changed = change(app)
            if await self._put(changed, text):
                return changed
        raise Conflict("The app was changed by others at the same time; try again")

    async def _put(self, app: App, text: bytes) -> bool:
        names = [keys.APPS, keys.APP_INDEX, keys.ENDING_APPS, keys.ACCESS_VERSION]
        args: list[Arg] = [app.id, text, msgspec.json.encode(app), app.state, new_version()]
        try:
            return bool(await self._link.run(script("app_put"), names, args))
        finally:
            self._version.forget()


def parse(app_id: str, raw: bytes | None) -> App | None:
    """A record; the default app is there without one."""
    if raw is None:
        return App(app_id, "The deployment's own") if app_id == DEFAULT_APP else None
    return _READ.decode(raw)


def new_version() -> str:
    """Never the same twice, as a number might be after a failover that lost some."""
    return secrets.token_hex(8)


def _of_settings(app: App, settings: Settings) -> App:
    rules = tenant.TokenRules(settings.jwt_issuer, settings.jwt_audience, settings.jwt_jwks_url)
    return msgspec.structs.replace(app, tokens=rules)


def _missing(app_id: str) -> NotFound:
    return NotFound(f"No app {app_id[:70]!r}")


def _now() -> int:
    return time.time_ns() // 1_000_000
