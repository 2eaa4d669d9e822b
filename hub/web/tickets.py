"""`POST /v1/tickets`: credentials for URLs, of a WebSocket or an EventSource, which can't carry a header."""

import time
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub.core.claims import Principal, from_jwt
from hub.core.errors import Unauthenticated
from hub.web.admin import TokenInput, claims_of
from hub.web.auth import bearer, identify
from hub.web.context import context
from hub.web.http import decode_body, ok

TTL: Final = 3600


class OwnInput(msgspec.Struct, forbid_unknown_fields=True):
    """What the holder of a token may say: the ticket is for itself."""

    ttl: int = TTL


async def create_ticket(request: Request) -> Response:
    """An API key makes one for rights that it names, like a token; a token's holder one for itself."""
    token = bearer(request)
    if token is None:
        raise Unauthenticated("No credential; send Authorization: Bearer KEY or TOKEN")
    caller = await identify(context(request), token)
    if caller.key_id is None:
        holder, expires_at = await _own(request, caller)
    else:
        caller.require("admin")
        holder, expires_at = await _granted(request, caller)
    ticket = await context(request).tickets.issue(holder, expires_at)
    return ok(request, {"ticket": ticket, "expires_in": max(0, int(expires_at - time.time()))}, 201)


async def _own(request: Request, caller: Principal) -> tuple[Principal, float]:
    """The caller, whose connection ends with its token; the ticket with it or before."""
    given = await decode_body(request, OwnInput)
    claims = claims_of(TokenInput(ttl=given.ttl))
    assert caller.expires_at is not None
    return caller, min(claims["exp"], caller.expires_at)


async def _granted(request: Request, caller: Principal) -> tuple[Principal, float]:
    """Whoever is named. The connection ends with the ticket, and with the key that made it."""
    claims = claims_of(await decode_body(request, TokenInput))
    holder = msgspec.structs.replace(from_jwt(claims), app=caller.app, key_id=caller.key_id)
    return holder, claims["exp"]


routes = [Route("/v1/tickets", create_ticket, methods=["POST"])]
