"""OAuth 2 grants (RFC 6749): what an API key's client was given, as an access token and a refresh token.

A grant is one value with the digests of its present tokens. A refresh replaces both; the access token that was there
before stays good until its end, for requests under way. A refresh token that is not the present one was used before:
somebody else may have it, so the grant ends (RFC 9700, section 4.14.2).
"""

import time
from typing import Final, NamedTuple

import msgspec

from hub.core import opaque
from hub.core.errors import Unauthenticated
from hub.core.opaque import ACCESS_TOKEN, REFRESH_TOKEN
from hub.core.revocation import token_name
from hub.store import keys
from hub.store.api_keys import ApiKey
from hub.store.apps import new_version
from hub.store.connect import Link
from hub.store.digest import digest, matches
from hub.store.revocations import Revocations
from hub.store.scripts import script
from hub.store.versioned import Version

ACCESS_SECONDS: Final = 3600
REFRESH_SECONDS: Final = 7 * 86400
"""How long a refresh token is good that is not used."""
_TRIES: Final = 5


class Access(msgspec.Struct, frozen=True):
    """An access token: its digest, its end in ms, and what it is for."""

    digest: str
    ends: int
    scopes: tuple[str, ...]


class Grant(msgspec.Struct, frozen=True):
    """`access` has the present access token and the one before."""

    id: str
    app: str
    key: str
    scopes: tuple[str, ...]
    refresh: str = ""
    access: tuple[Access, ...] = ()


class Issued(NamedTuple):
    access_token: str
    refresh_token: str
    expires_in: int
    scopes: tuple[str, ...]


class Grants:
    """Gives out, renews and ends grants."""

    def __init__(self, link: Link, version: Version, revocations: Revocations) -> None:
        self._link = link
        self._version = version
        self._revocations = revocations

    async def issue(self, key: ApiKey, scopes: tuple[str, ...]) -> Issued:
        """Give a key's client tokens for these scopes, which must be the key's own."""
        now = _now()
        grant, issued = _renewed(Grant(opaque.new_id(now), key.app, key.id, scopes), key, scopes, now)
        await self._link.call("SET", keys.grant(grant.id), msgspec.json.encode(grant), "EX", REFRESH_SECONDS)
        return issued

    async def refresh(self, key: ApiKey, token: str, scopes: tuple[str, ...] | None) -> Issued | None:
        """New tokens for a refresh token of this key's client, with these scopes or all of the grant's that the key
        still has; None if it is good for nothing. One that was used before ends its grant.
        """
        for _ in range(_TRIES):
            grant, raw = await self._of(token, REFRESH_TOKEN)
            if grant is None or grant.key != key.id:
                return None
            if not matches(token, grant.refresh):
                await self._end(grant)
                return None
            allowed = tuple(scope for scope in grant.scopes if scope in key.all_scopes)
            renewed, issued = _renewed(grant, key, allowed if scopes is None else scopes, _now())
            if not set(issued.scopes) <= set(allowed):
                return None
            if await self._swap(grant.id, raw, msgspec.json.encode(renewed)):
                return issued
        return None

    async def revoke(self, key: ApiKey, token: str) -> None:
        """End the grant of an access or refresh token of this key's client (RFC 7009); another's is left alone."""
        for kind in (ACCESS_TOKEN, REFRESH_TOKEN):
            grant, _ = await self._of(token, kind)
            if grant is None or grant.key != key.id:
                continue
            if any(matches(token, known) for known in (grant.refresh, *(one.digest for one in grant.access))):
                await self._end(grant)

    async def find(self, token: str) -> tuple[Grant, Access]:
        """The grant of an access token, and what stands there of it. Raises Unauthenticated."""
        grant, _ = await self._of(token, ACCESS_TOKEN)
        if grant is not None:
            for access in grant.access:
                if matches(token, access.digest):
                    return grant, access
        raise Unauthenticated("The access token is not known, was revoked, or has expired; get a new one")

    async def _of(self, token: str, kind: str) -> tuple[Grant | None, bytes]:
        found = opaque.parse(token)
        if found is None or found.kind != kind:
            return None, b""
        raw: bytes | None = await self._link.call("GET", keys.grant(found.id))
        return (None, b"") if raw is None else (_READ.decode(raw), raw)

    async def _end(self, grant: Grant) -> None:
        """Refuse the grant's tokens from now on, and close what they opened."""
        await self._revocations.revoke(grant.app, token_name(grant.id), _now(), ACCESS_SECONDS)
        await self._swap(grant.id, b"", b"")

    async def _swap(self, grant_id: str, raw: bytes, text: bytes) -> bool:
        names = [keys.grant(grant_id), keys.ACCESS_VERSION]
        try:
            return bool(await self._link.run(script("grant_swap"), names, [raw, text, REFRESH_SECONDS, new_version()]))
        finally:
            self._version.forget()


_READ: Final = msgspec.json.Decoder(Grant)


def _renewed(grant: Grant, key: ApiKey, scopes: tuple[str, ...], now: int) -> tuple[Grant, Issued]:
    """The grant with new tokens. The access token ends with its key at the latest."""
    access, refresh = opaque.mint(ACCESS_TOKEN, grant.id), opaque.mint(REFRESH_TOKEN, grant.id)
    ends = min(now + ACCESS_SECONDS * 1000, now + ACCESS_SECONDS * 1000 if key.expires_at is None else key.expires_at)
    renewed = msgspec.structs.replace(
        grant, refresh=digest(refresh), access=(Access(digest(access), ends, scopes), *grant.access[:1])
    )
    return renewed, Issued(access, refresh, (ends - now) // 1000, scopes)


def _now() -> int:
    return time.time_ns() // 1_000_000
