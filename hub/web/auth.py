"""Credentials on requests: API keys for servers, JWTs for browsers (RFC 6750 bearer tokens)."""

from starlette.requests import HTTPConnection

from hub.core.claims import Principal
from hub.core.errors import Unauthenticated
from hub.web.context import Context, context


async def authenticate(request: HTTPConnection, scope: str) -> Principal:
    """The API key's holder, who must have the scope. Raises Unauthenticated, Forbidden."""
    token = bearer(request)
    if token is None:
        raise Unauthenticated("No credential; send Authorization: Bearer KEY")
    principal = await context(request).access.principal(token)
    principal.require(scope)
    return principal


async def authenticate_live(request: HTTPConnection) -> Principal | None:
    """Who opens a live connection: by header, or by `?token=` for clients that can't set one. None without either."""
    token = bearer(request) or request.query_params.get("token")
    return None if token is None else await identify(context(request), token)


async def identify(resources: Context, token: str) -> Principal:
    """The holder of a JWT or an API key, or Unauthenticated."""
    if token.count(".") == 2 and not resources.access.is_bootstrap(token):
        return resources.tokens.verify(token)
    return await resources.access.principal(token)


def bearer(request: HTTPConnection) -> str | None:
    header = request.headers.get("authorization")
    if header is None:
        return None
    kind, _, token = header.partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise Unauthenticated("The Authorization header must be: Bearer KEY")
    return token.strip()
