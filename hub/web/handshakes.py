"""The callback by which a webhook's target agrees to be sent events (CloudEvents web hooks, section 4.1.2)."""

import msgspec

from hub.core.errors import Invalid, NotFound
from hub.core.handshake import Granted, agreed, origin_of
from hub.web.auth import OPEN
from hub.web.operation import Call, Operation


class Permission(msgspec.Struct, frozen=True):
    """What was agreed to. `rate` is in requests a minute, null without a bound."""

    endpoint: str
    rate: int | None


async def agree(call: Call[None]) -> Permission:
    """Whoever has the URL agrees, once. A header `WebHook-Allowed-Rate` bounds the requests a minute."""
    call.headers["cache-control"] = "no-store"
    grant = agreed(call.request.headers.get("webhook-allowed-rate"))
    if not isinstance(grant, Granted):
        raise Invalid.field("WebHook-Allowed-Rate", grant.reason)
    endpoint_id, origin = call.path("endpoint"), origin_of(call.resources.settings.public_url or "")
    if not origin:
        raise NotFound("No handshake waits for this callback: HUB_PUBLIC_URL is not set")
    await call.resources.handshakes.called_back(endpoint_id, call.path("key"), origin, grant)
    return Permission(endpoint_id, grant.rate)


_PATH = "/v1/handshakes/{endpoint}/{key}"
operations = (
    Operation(
        "GET", _PATH, agree, "Agree to a webhook, by hand", OPEN, answer=Permission, errors=(Invalid, NotFound),
    ),
    Operation(
        "POST", _PATH, agree, "Agree to a webhook", OPEN, answer=Permission, errors=(Invalid, NotFound), keyed=False,
    ),
)  # fmt: skip
