"""Tokens for browsers: `POST /v1/tokens`, `POST /v1/tokens/revoke` (scope `admin`)."""

import math
import secrets
import time
from typing import Any, Final

import jwt
import msgspec

from hub.core.claims import DEFAULT_APP, Principal
from hub.core.errors import Conflict, Invalid, Unauthenticated
from hub.core.revocation import token_name, user_name
from hub.core.topics import check_pattern, user_topic
from hub.store.revocations import LONGEST
from hub.web.auth import scope
from hub.web.context import Context
from hub.web.http import now_ms
from hub.web.operation import Body, Call, Operation

MAX_TTL: Final = 30 * 86400


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


class Token(msgspec.Struct, frozen=True):
    """A JWT, and for how many seconds it is good."""

    token: str
    expires_in: int


class Revoked(msgspec.Struct, frozen=True):
    """What was named: jti, token or user."""

    revoked: str


async def create_token(call: Call[TokenInput]) -> Token:
    """A JWT for a browser: whose it is, and which topics it may receive and publish to. It is signed with the app's
    newest HS256 key (that of `default` is HUB_JWT_SECRET where it is set)."""
    claims: dict[str, Any] = {**claims_of(call.body), "jti": secrets.token_hex(8)}
    return Token(await sign(call.resources, call.app, claims), claims["exp"] - now_ms() // 1000)


async def sign(resources: Context, app: str, claims: dict[str, Any]) -> str:
    """A JWT of an app, by its newest HS256 key, with what the app asks of its tokens. Raises NotFound, Conflict."""
    key_id, secret = await resources.apps.signing(app)
    rules = (await resources.apps.verifying(app)).app.tokens
    given = {"app": None if app == DEFAULT_APP else app, "iss": rules.issuer, "aud": rules.audience}
    named = {name: value for name, value in given.items() if value is not None}
    return jwt.encode(
        {**claims, **named}, secret, algorithm="HS256", headers=None if key_id is None else {"kid": key_id}
    )


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
    name, seconds = await _revoked(call.resources, call.principal, given)
    if seconds > 0:
        await call.resources.revocations.revoke(call.app, name, now_ms(), seconds)
    return Revoked(what[0])


async def _revoked(resources: Context, principal: Principal, given: RevokeInput) -> tuple[str, int]:
    """The name that is to be revoked, and for how many seconds more it could be used."""
    if given.user is not None:
        user_topic(given.user, "user")
        return user_name(given.user), LONGEST
    if given.jti is not None:
        return token_name(given.jti), LONGEST
    try:
        holder = await resources.tokens.read(given.token or "")
    except Unauthenticated as exc:
        raise Invalid.field("token", f"is none of this hub: {exc.message}") from None
    if holder.app != principal.app:
        raise Invalid.field("token", "is another app's")
    assert holder.token_id is not None
    assert holder.expires_at is not None
    return token_name(holder.token_id), min(LONGEST, math.ceil(holder.expires_at - time.time()))


_ADMIN: Final = scope("admin")
operations = (
    Operation(
        "POST", "/v1/tokens", create_token, "Sign a token", _ADMIN,
        body=Body(TokenInput, example={"user": "ann", "subscribe": ["orders.**"], "publish": ["chat.*"], "ttl": 600}),
        answer=Token, status=201, errors=(Conflict,),
    ),
    Operation(
        "POST", "/v1/tokens/revoke", revoke_token, "Revoke a token", _ADMIN,
        body=Body(RevokeInput, example={"user": "ann"}),
        answer=Revoked
    ),
)  # fmt: skip
