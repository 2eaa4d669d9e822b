"""API keys and tokens: `/v1/keys`, `POST /v1/tokens`, `POST /v1/tokens/revoke` (scope `admin`)."""

import math
import re
import secrets
import time
from typing import Any, Final

import jwt
import msgspec

from hub.core.claims import DEFAULT_APP, SCOPES, Principal
from hub.core.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from hub.core.event import now_text
from hub.core.revocation import token_name, user_name
from hub.core.topics import check_pattern, user_topic
from hub.store.access import ApiKey
from hub.store.revocations import LONGEST
from hub.web.auth import scope
from hub.web.context import Context
from hub.web.http import Page, now_ms
from hub.web.operation import Body, Call, Operation

MAX_TTL: Final = 30 * 86400
_APP: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class KeyInput(msgspec.Struct, forbid_unknown_fields=True):
    scopes: tuple[str, ...]
    name: str = ""
    app: str | None = None


class TokenInput(msgspec.Struct, forbid_unknown_fields=True):
    user: str | None = None
    subscribe: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    presence: tuple[str, ...] = ()
    ttl: int = 3600


class RevokeInput(msgspec.Struct, forbid_unknown_fields=True):
    jti: str | None = None
    token: str | None = None
    user: str | None = None


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An API key's record."""

    id: str
    app: str
    name: str
    scopes: tuple[str, ...]
    created_at: str


class NewKey(Key, frozen=True, kw_only=True):
    """An API key, whose text is shown this once."""

    key: str


class Token(msgspec.Struct, frozen=True):
    """A JWT, and for how many seconds it is good."""

    token: str
    expires_in: int


class Revoked(msgspec.Struct, frozen=True):
    """What was named: jti, token or user."""

    revoked: str


async def create_key(call: Call[KeyInput]) -> NewKey:
    """The key's text is in this answer and never again. Only the bootstrap key may name another app."""
    principal, given = call.principal, call.body
    unknown = sorted(set(given.scopes) - SCOPES)
    if unknown or not given.scopes:
        raise Invalid.field("scopes", f"{unknown or 'empty'} is not allowed; choose from {', '.join(sorted(SCOPES))}")
    if len(given.name) > 100:
        raise Invalid.field("name", f"has {len(given.name)} characters; allowed are 100")
    app = principal.app if given.app is None else given.app
    if not _APP.fullmatch(app):
        raise Invalid.field("app", "must be 1 to 63 of a-z 0-9 _ - and begin with a letter or digit")
    if app != principal.app and principal.key_id != "bootstrap":
        raise Forbidden("Only the bootstrap key may make keys for another app")
    record, key = await call.resources.access.create(app, given.name, given.scopes)
    return NewKey(**msgspec.structs.asdict(_shown(record)), key=key)


async def list_keys(call: Call[None]) -> Page:
    """All of the app's, oldest first."""
    records = [_shown(record) for record in await call.resources.access.of_app(call.app)]
    return Page(items=records, limit=len(records), next_cursor=None)


async def revoke_key(call: Call[None]) -> None:
    """The next request with it is refused, and what it has opened is closed, on every process."""
    await call.resources.access.revoke(call.app, call.path("id"))


async def create_token(call: Call[TokenInput]) -> Token:
    """A JWT for a browser: whose it is, and which topics it may receive and publish to."""
    settings = call.resources.settings
    secret = settings.jwt_secret
    if secret is None or call.app != DEFAULT_APP:
        raise Conflict("Tokens can't be signed: HUB_JWT_SECRET is not set, or this key isn't of the app default")
    claims: dict[str, Any] = {**claims_of(call.body), "jti": secrets.token_hex(8)}
    if settings.jwt_audience is not None:
        claims["aud"] = settings.jwt_audience
    token = jwt.encode(claims, secret, algorithm="HS256")
    return Token(token, claims["exp"] - now_ms() // 1000)


def claims_of(given: TokenInput) -> dict[str, Any]:
    """What a token of these rights claims. Raises Invalid."""
    if not 1 <= given.ttl <= MAX_TTL:
        raise Invalid.field("ttl", f"{given.ttl} is out of range; allowed is 1 to {MAX_TTL} seconds")
    if given.user is not None:
        user_topic(given.user, "user")
    grants: dict[str, list[str]] = {}
    for name in ("subscribe", "publish", "presence"):
        patterns: tuple[str, ...] = getattr(given, name)
        if len(patterns) > 100:
            raise Invalid.field(name, f"has {len(patterns)} patterns; allowed are 100")
        grants[name] = [check_pattern(pattern, name) for pattern in patterns]
    # To the millisecond, so that who is given a new token right after all were revoked isn't refused with it.
    now = now_ms()
    claims: dict[str, Any] = {"iat": now / 1000, "exp": now // 1000 + given.ttl, "hub": grants}
    if given.user is not None:
        claims["sub"] = given.user
    return claims


async def revoke_token(call: Call[RevokeInput]) -> Revoked:
    """Void a token, or all that a user was given until now, on every process: open connections end, new are refused."""
    given = call.body
    what = [name for name in ("jti", "token", "user") if getattr(given, name) is not None]
    if len(what) != 1:
        raise Invalid.field("jti", f"send one of jti, token and user; {len(what)} were sent")
    name, seconds = _revoked(call.resources, call.principal, given)
    if seconds > 0:
        await call.resources.revocations.revoke(call.app, name, now_ms(), seconds)
    return Revoked(what[0])


def _revoked(resources: Context, principal: Principal, given: RevokeInput) -> tuple[str, int]:
    """The name that is to be revoked, and for how many seconds more it could be used."""
    if given.user is not None:
        user_topic(given.user, "user")
        return user_name(given.user), LONGEST
    if given.jti is not None:
        return token_name(given.jti), LONGEST
    try:
        holder = resources.tokens.read(given.token or "")
    except Unauthenticated as exc:
        raise Invalid.field("token", f"is none of this hub: {exc.message}") from None
    if holder.app != principal.app:
        raise Invalid.field("token", "is another app's")
    assert holder.token_id is not None
    assert holder.expires_at is not None
    return token_name(holder.token_id), min(LONGEST, math.ceil(holder.expires_at - time.time()))


def _shown(record: ApiKey) -> Key:
    return Key(
        id=record.id, app=record.app, name=record.name, scopes=record.scopes, created_at=now_text(record.created_at)
    )


_ADMIN: Final = scope("admin")
operations = (
    Operation(
        "POST", "/v1/keys", create_key, "Make an API key", _ADMIN, body=Body(KeyInput), answer=NewKey, status=201
    ),
    Operation("GET", "/v1/keys", list_keys, "List API keys", _ADMIN, answer=Key, is_list=True),
    Operation("DELETE", "/v1/keys/{id}", revoke_key, "Revoke an API key", _ADMIN, status=204, errors=(NotFound,)),
    Operation(
        "POST", "/v1/tokens", create_token, "Sign a token", _ADMIN,
        body=Body(TokenInput), answer=Token, status=201, errors=(Conflict,),
    ),
    Operation(
        "POST", "/v1/tokens/revoke", revoke_token, "Revoke a token", _ADMIN, body=Body(RevokeInput), answer=Revoked
    ),
)  # fmt: skip
