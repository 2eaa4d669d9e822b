"""JSON Web Tokens (RFC 7519): verified by the keys of the app that they name. Whether one was revoked is asked of the
store, each time."""

import time

import msgspec

from hub.core import jose
from hub.core.claims import DEFAULT_APP, Principal, from_jwt
from hub.core.errors import NotFound, Unauthenticated
from hub.core.jose import Glance
from hub.core.jwk import Key
from hub.store.apps import Apps, Verifying
from hub.store.digest import digest
from hub.store.versioned import Version, VersionedCache
from hub.web.jwks import Jwks


class _Verified(msgspec.Struct, frozen=True):
    """`generation` is the published keys' as the token was verified."""

    principal: Principal
    jwks_url: str | None
    generation: int


class Tokens:
    """Verifies JWTs. That costs tens of microseconds, so a good one is remembered while the keys are the same."""

    def __init__(self, apps: Apps, version: Version, jwks: Jwks, leeway: float) -> None:
        self._apps = apps
        self._jwks = jwks
        self._leeway = leeway
        self._known: VersionedCache[_Verified] = VersionedCache(version)

    async def verify(self, token: str) -> Principal:
        """The token's principal. Raises Unauthenticated; Forbidden where the app is disabled; KeysUnavailable."""
        found = await self._known.get(token, lambda: self._verify(token))
        if found.jwks_url is not None:
            self._jwks.refresh(found.jwks_url)
            if found.generation != self._jwks.generation:
                self._known.drop(token)
                found = await self._known.get(token, lambda: self._verify(token))
        ends = found.principal.expires_at
        if ends is not None and ends <= time.time():
            raise Unauthenticated("The token has expired; get a new one")
        return found.principal

    async def read(self, token: str) -> Principal:
        """The principal of a token of this hub's, also of one that has expired. Raises Unauthenticated."""
        return (await self._verify(token, expired=True)).principal

    async def _verify(self, token: str, *, expired: bool = False) -> _Verified:
        generation = self._jwks.generation
        seen = jose.glance(token)
        verifying = await self._app(seen)
        app = verifying.app
        keys = jose.candidates(seen, [*verifying.keys, *await self._published(verifying, seen)])
        if not keys:
            raise Unauthenticated(f"The token is not valid: the app has no {seen.algorithm} key that it could be from")
        claims, key = jose.verify(token, keys, app.rules(self._leeway), time.time(), expired=expired)
        principal = from_jwt(claims, digest(token), app=app.id, signer=key.id if key in verifying.keys else None)
        assert principal.expires_at is not None
        principal = msgspec.structs.replace(principal, expires_at=principal.expires_at + self._leeway)
        return _Verified(principal, app.tokens.jwks_url, generation)

    async def _app(self, seen: Glance) -> Verifying:
        """The app whose keys decide: that the token names it proves nothing yet."""
        named = seen.app or DEFAULT_APP
        if not isinstance(named, str):
            raise Unauthenticated("The token's app claim must be the id of an app")
        try:
            return await self._apps.verifying(named)
        except NotFound:
            raise Unauthenticated("The token is not valid: there is no app of that name") from None

    async def _published(self, verifying: Verifying, seen: Glance) -> list[Key]:
        """The keys of the app's JWKS, unless one of its own was named."""
        url = verifying.app.tokens.jwks_url
        own = any(key.id is not None and key.id == seen.key_id for key in verifying.keys)
        return [] if url is None or own or seen.algorithm == "HS256" else await self._jwks.keys(url, seen.key_id)
