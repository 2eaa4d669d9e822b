"""`POST /v1/users/{user}/disconnect`: end every live connection of a user, on every process (scope `admin`)."""

from collections.abc import Callable
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub.core.errors import Forbidden, Invalid
from hub.core.frames import close_reason
from hub.core.topics import user_topic
from hub.live.gateway import Gateway
from hub.store.control import Notice, send_notice
from hub.web.auth import authenticate
from hub.web.context import context
from hub.web.http import decode_body, ok

KIND: Final = "disconnect"
MAX_REASON: Final = 123
"""Bytes that a close frame can carry (RFC 6455, section 5.5)."""


class Disconnect(msgspec.Struct, forbid_unknown_fields=True):
    reason: str = "disconnected"


class _Disconnected(msgspec.Struct):
    user: str
    reason: str


async def disconnect(request: Request) -> Response:
    """Answered when every process has been told. A client whose credential is still good may come back."""
    principal = await authenticate(request, "admin")
    user = request.path_params["user"]
    user_topic(user, "user")
    given = await decode_body(request, Disconnect)
    if close_reason(given.reason) != given.reason:
        raise Invalid.field("reason", f"has over {MAX_REASON} bytes, which is what a close can carry")
    await send_notice(context(request).link, KIND, principal.app, _Disconnected(user, given.reason))
    return ok(request, {"user": user}, 202)


def disconnector(gateway: Gateway) -> Callable[[Notice], None]:
    """What a process does when it is told: close the user's connections."""

    def close(notice: Notice) -> None:
        told = msgspec.json.decode(notice.data, type=_Disconnected)
        for connection in gateway:
            principal = connection.principal
            if principal is not None and (principal.app, principal.user) == (notice.app, told.user):
                connection.close(Forbidden.close_code, told.reason)

    return close


routes = [Route("/v1/users/{user:path}/disconnect", disconnect, methods=["POST"])]
