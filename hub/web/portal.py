"""`POST /v1/portal`: a link to an app's own portal, a page on which a tenant looks after its webhooks.

The credential in the link is a JWT of the app's. It stands in the URL's fragment, which browsers send to nobody, so it
is in no log of a server or a proxy, and in no `Referer`.
"""

import secrets
from typing import Final

import msgspec

from hub.core.errors import Conflict, Invalid, NotFound
from hub.web.admin import sign
from hub.web.api_keys import require_app
from hub.web.auth import scope
from hub.web.http import now_ms
from hub.web.operation import Body, Call, Operation

SCOPES: Final = ("endpoints:read", "endpoints:write")
"""What the portal's holder may do: see to endpoints and deliveries, and nothing else."""
MAX_TTL: Final = 7 * 86400


class PortalInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`ttl` is in seconds; `app` another app than the caller's own, for who has the scope `apps`."""

    ttl: int = 3600
    app: str | None = None


class Portal(msgspec.Struct, frozen=True):
    """A link, for how many seconds it is good, and the id by which it is revoked (`POST /v1/tokens/revoke`)."""

    url: str
    expires_in: int
    jti: str


async def create(call: Call[PortalInput]) -> Portal:
    """Whoever has the link sees and changes the app's endpoints and deliveries, until it ends or is revoked. It is
    signed as tokens are: with the app's newest HS256 key (that of `default` is HUB_JWT_SECRET where it is set)."""
    given, app = call.body, call.app if call.body.app is None else call.body.app
    if not 1 <= given.ttl <= MAX_TTL:
        raise Invalid.field("ttl", f"{given.ttl} is out of range; allowed is 1 to {MAX_TTL} seconds")
    require_app(call.principal, app)
    now, jti = now_ms(), secrets.token_hex(8)
    claims = {"iat": now / 1000, "exp": now // 1000 + given.ttl, "jti": jti, "scope": " ".join(SCOPES)}
    token = await sign(call.resources, app, claims)
    call.headers["cache-control"] = "no-store"
    base = call.resources.settings.public_url or str(call.request.base_url).rstrip("/")
    return Portal(f"{base}/portal#token={token}", given.ttl, jti)


operations = (
    Operation(
        "POST", "/v1/portal", create, "Make a link to the portal", scope("admin"),
        body=Body(PortalInput, example={"ttl": 3600}), answer=Portal, status=201, errors=(NotFound, Conflict),
    ),
)  # fmt: skip
