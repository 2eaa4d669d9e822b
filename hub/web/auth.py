"""Credentials on requests (RFC 6750 bearer tokens): API keys and OAuth access tokens for servers, JWTs for browsers."""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from starlette.requests import HTTPConnection

from hub.core.claims import Principal
from hub.core.errors import Forbidden, Unauthenticated
from hub.web.context import Context, context

COOKIE: Final = "hub_token"


class Credential(NamedTuple):
    """Who may call an operation: the rule in the documents' words, and the check.

    `check` returns who calls, None where that is open to all; it raises Unauthenticated, Forbidden. `scope` is what an
    API key must have. `in_url` says that the credential may also be `?token=` or `?ticket=`. `scheme` names how it is
    sent, among the documents' security schemes.
    """

    rule: str
    check: Callable[[HTTPConnection], Awaitable[Principal | None]]
    scope: str | None = None
    in_url: bool = False
    scheme: str = "bearer"


def scope(name: str) -> Credential:
    """A key or a token that has the scope."""

    async def check(request: HTTPConnection) -> Principal:
        return await authenticate(request, name)

    return Credential(f"`{name}`", check, name)


async def authenticate(request: HTTPConnection, scope: str) -> Principal:
    """The credential's holder, who must have the scope. Raises Unauthenticated, Forbidden."""
    token = bearer(request)
    if token is None:
        raise Unauthenticated("No credential; send Authorization: Bearer KEY")
    resources = context(request)
    principal = resources.access.remembered(token) or await identify(resources, token)
    principal.require(scope)
    return principal


async def authenticate_live(request: HTTPConnection, *, cookies: bool = False) -> Principal | None:
    """Who opens a live connection; None without a credential.

    By header, or for clients that can't set one by `?token=`, `?ticket=` or, where that is allowed, the cookie
    `hub_token`; in this order. A WebSocket uses its ticket up.
    """
    resources = context(request)
    token = bearer(request) or request.query_params.get("token")
    if token is not None:
        return await identify(resources, token)
    ticket = request.query_params.get("ticket")
    if ticket is not None:
        principal = await resources.tickets.admit(ticket, once=request.scope["type"] == "websocket")
        await resources.revocations.check(principal)
        await resources.apps.check_open(principal.app)
        return principal
    token = request.cookies.get(COOKIE) if cookies else None
    if token is None:
        return None
    check_origin(request)
    return await verify(resources, token)


def check_origin(request: HTTPConnection) -> None:
    """Raise Forbidden unless the page that caused this request may use the browser's cookies: it is of this host, or
    `HUB_CORS_ORIGINS` lists its origin (`*` lists none).

    A browser sends no Origin with an EventSource of the page's own; then `Sec-Fetch-Site` (W3C Fetch Metadata) says so.
    """
    origin = request.headers.get("origin")
    if origin is None:
        allowed = request.headers.get("sec-fetch-site") == "same-origin"
    else:
        is_own = origin.partition("://")[2] == request.headers.get("host", "")
        allowed = is_own or (origin != "*" and origin in context(request).settings.cors_origins)
    if not allowed:
        raise Forbidden("A cookie counts only on a page of this host or of an origin that HUB_CORS_ORIGINS lists")


async def identify(resources: Context, token: str) -> Principal:
    """The holder of a JWT, an API key or an access token. Raises Unauthenticated; Forbidden for an app's that is
    disabled."""
    if token.count(".") == 2 and not resources.access.is_bootstrap(token):
        return await verify(resources, token)
    return await resources.access.principal(token)


async def verify(resources: Context, token: str) -> Principal:
    """The holder of a JWT, or Unauthenticated, also for one that was revoked."""
    principal = await resources.tokens.verify(token)
    await resources.revocations.check(principal)
    return principal


def bearer(request: HTTPConnection) -> str | None:
    header = request.headers.get("authorization")
    if header is None:
        return None
    kind, _, token = header.partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise Unauthenticated("The Authorization header must be: Bearer KEY")
    return token.strip()


async def _open(_request: HTTPConnection) -> None:
    return None


async def _holder(request: HTTPConnection) -> Principal:
    token = bearer(request)
    if token is None:
        raise Unauthenticated("No credential; send Authorization: Bearer KEY or TOKEN")
    return await identify(context(request), token)


async def _live(request: HTTPConnection) -> Principal:
    return _required(await authenticate_live(request))


async def _page(request: HTTPConnection) -> Principal:
    return _required(await authenticate_live(request, cookies=True))


def _required(principal: Principal | None) -> Principal:
    if principal is None:
        raise Unauthenticated("No credential; send Authorization: Bearer TOKEN, or ?ticket= where headers can't be set")
    return principal


OPEN: Final = Credential("", _open)
CLIENT: Final = Credential("a client's id and secret", _open, scheme="client")
"""An OAuth client, which the operation itself checks: RFC 6749 says how it is refused."""
HOLDER: Final = Credential("a key or a token", _holder)
LIVE: Final = Credential("`events:subscribe` or a token", _live, "events:subscribe", in_url=True)
PAGE: Final = Credential("`events:subscribe` or a token", _page, "events:subscribe", in_url=True)
"""As LIVE, and by the cookie of a page."""
