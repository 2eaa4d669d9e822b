"""API keys and tokens: `/v1/keys`, `POST /v1/tokens`, `POST /v1/tokens/revoke` (scope `admin`)."""

import math
import re
import secrets
import time
from typing import Any, Final

import jwt
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub.core.claims import DEFAULT_APP, SCOPES, Principal
from hub.core.errors import Conflict, Forbidden, Invalid, Unauthenticated
from hub.core.event import now_text
from hub.core.revocation import token_name, user_name
from hub.core.topics import check_pattern, user_topic
from hub.store.access import ApiKey
from hub.store.revocations import LONGEST
from hub.web.auth import authenticate
from hub.web.context import context
from hub.web.http import decode_body, now_ms, ok, page

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


async def create_key(request: Request) -> Response:
    """Make a key; its text is in this answer and never again. Only the bootstrap key may name another app."""
    principal = await authenticate(request, "admin")
    given = await decode_body(request, KeyInput)
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
    record, key = await context(request).access.create(app, given.name, given.scopes)
    return ok(request, {**_shown(record), "key": key}, 201)


async def list_keys(request: Request) -> Response:
    principal = await authenticate(request, "admin")
    records = [_shown(record) for record in await context(request).access.of_app(principal.app)]
    return page(request, records, limit=len(records), next_cursor=None)


async def revoke_key(request: Request) -> Response:
    """Revoke a key: the next request with it is refused, and what it has opened is closed, on every process."""
    principal = await authenticate(request, "admin")
    await context(request).access.revoke(principal.app, request.path_params["id"])
    return Response(status_code=204)


async def create_token(request: Request) -> Response:
    """Sign a JWT for a browser: whose it is, and which topics it may receive and publish to."""
    principal = await authenticate(request, "admin")
    given = await decode_body(request, TokenInput)
    secret = context(request).settings.jwt_secret
    if secret is None or principal.app != DEFAULT_APP:
        raise Conflict("Tokens can't be signed: HUB_JWT_SECRET is not set, or this key isn't of the app default")
    claims: dict[str, Any] = {**claims_of(given), "jti": secrets.token_hex(8)}
    audience = context(request).settings.jwt_audience
    if audience is not None:
        claims["aud"] = audience
    token = jwt.encode(claims, secret, algorithm="HS256")
    return ok(request, {"token": token, "expires_in": claims["exp"] - now_ms() // 1000}, 201)


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


async def revoke_token(request: Request) -> Response:
    """Void a token, or all that a user was given until now, on every process: open connections end, new are refused."""
    principal = await authenticate(request, "admin")
    given = await decode_body(request, RevokeInput)
    what = [name for name in ("jti", "token", "user") if getattr(given, name) is not None]
    if len(what) != 1:
        raise Invalid.field("jti", f"send one of jti, token and user; {len(what)} were sent")
    name, seconds = _revoked(request, principal, given)
    if seconds > 0:
        await context(request).revocations.revoke(principal.app, name, now_ms(), seconds)
    return ok(request, {"revoked": what[0]})


def _revoked(request: Request, principal: Principal, given: RevokeInput) -> tuple[str, int]:
    """The name that is to be revoked, and for how many seconds more it could be used."""
    if given.user is not None:
        user_topic(given.user, "user")
        return user_name(given.user), LONGEST
    if given.jti is not None:
        return token_name(given.jti), LONGEST
    try:
        holder = context(request).tokens.read(given.token or "")
    except Unauthenticated as exc:
        raise Invalid.field("token", f"is none of this hub: {exc.message}") from None
    if holder.app != principal.app:
        raise Invalid.field("token", "is another app's")
    assert holder.token_id is not None
    assert holder.expires_at is not None
    return token_name(holder.token_id), min(LONGEST, math.ceil(holder.expires_at - time.time()))


def _shown(record: ApiKey) -> dict[str, Any]:
    return {"id": record.id, "app": record.app, "name": record.name, "scopes": record.scopes,
            "created_at": now_text(record.created_at)}  # fmt: skip


routes = [
    Route("/v1/keys", create_key, methods=["POST"]),
    Route("/v1/keys", list_keys, methods=["GET"]),
    Route("/v1/keys/{id}", revoke_key, methods=["DELETE"]),
    Route("/v1/tokens", create_token, methods=["POST"]),
    Route("/v1/tokens/revoke", revoke_token, methods=["POST"]),
]
