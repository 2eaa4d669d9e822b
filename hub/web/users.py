"""`POST /v1/users/{user}/disconnect`: end every live connection of a user, on every process."""

from collections.abc import Callable
from typing import Final

import msgspec

from hub.core.errors import Forbidden, Invalid
from hub.core.frames import close_reason
from hub.core.topics import user_topic
from hub.live.gateway import Gateway
from hub.store.control import Notice, send_notice
from hub.web.auth import scope
from hub.web.operation import Body, Call, Operation

KIND: Final = "disconnect"
MAX_REASON: Final = 123
"""Bytes that a close frame can carry (RFC 6455, section 5.5)."""


class Disconnect(msgspec.Struct, forbid_unknown_fields=True):
    reason: str = "disconnected"


class DisconnectedUser(msgspec.Struct, frozen=True):
    """Whose connections end."""

    user: str


class _Disconnected(msgspec.Struct):
    user: str
    reason: str


async def disconnect(call: Call[Disconnect]) -> DisconnectedUser:
    """Answered when every process has been told. A client whose credential is still good may come back."""
    user, reason = call.path("user"), call.body.reason
    user_topic(user, "user")
    if close_reason(reason) != reason:
        raise Invalid.field("reason", f"has over {MAX_REASON} bytes, which is what a close can carry")
    await send_notice(call.resources.link, KIND, call.app, _Disconnected(user, reason))
    return DisconnectedUser(user)


def disconnector(gateway: Gateway) -> Callable[[Notice], None]:
    """What a process does when it is told: close the user's connections."""

    def close(notice: Notice) -> None:
        told = msgspec.json.decode(notice.data, type=_Disconnected)
        for connection in gateway:
            principal = connection.principal
            if principal is not None and (principal.app, principal.user) == (notice.app, told.user):
                connection.close(Forbidden.close_code, told.reason)

    return close


operations = (
    Operation(
        "POST", "/v1/users/{user:path}/disconnect", disconnect, "Disconnect a user", scope("admin"),
        body=Body(Disconnect, example={"reason": "signed out"}), answer=DisconnectedUser, status=202,
    ),
)  # fmt: skip
