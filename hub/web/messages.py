"""What a WebSocket client may say (see docs/live.md), decoded by its `type`."""

from typing import TypeAlias

import msgspec

from hub.core.decoding import from_msgspec
from hub.core.errors import Invalid

Ref: TypeAlias = int | str | None
"""A client's own mark, which comes back in the answer."""


class _Message(msgspec.Struct, tag_field="type", forbid_unknown_fields=True, kw_only=True):
    ref: Ref = None


class JoinRoom(_Message, tag="join_room"):
    room: str | None = None
    rooms: list[str] | None = None
    after: str | None = None
    history: int = 0
    types: list[str] | None = None
    presence: bool = False


class LeaveRoom(_Message, tag="leave_room"):
    room: str


class Broadcast(_Message, tag="broadcast"):
    room: str
    data: msgspec.Raw
    event_type: str = "message"
    id: str | None = None
    ephemeral: bool = False


class DirectMessage(_Message, tag="direct_message"):
    user: str
    data: msgspec.Raw
    id: str | None = None


class Presence(_Message, tag="presence"):
    room: str


class Authenticate(_Message, tag="authenticate"):
    token: str


class Ping(_Message, tag="ping"):
    pass


Message: TypeAlias = JoinRoom | LeaveRoom | Broadcast | DirectMessage | Presence | Authenticate | Ping
TYPES = ("join_room", "leave_room", "broadcast", "direct_message", "presence", "authenticate", "ping")

_decode = msgspec.json.Decoder(Message).decode


class _Reference(msgspec.Struct):
    ref: Ref = None


def parse(data: bytes) -> Message:
    """Decode a message, or raise Invalid."""
    try:
        data.decode()
        return _decode(data)
    except UnicodeDecodeError as exc:
        raise Invalid(f"The message is not UTF-8: {exc.reason}") from None
    except msgspec.ValidationError as exc:
        if "Invalid value" in str(exc) and "$.type" in str(exc):
            raise Invalid.field("type", f"is not a message type of this hub; allowed: {', '.join(TYPES)}") from None
        raise from_msgspec(exc, "") from None
    except msgspec.MsgspecError as exc:
        raise from_msgspec(exc, "message") from None
    except RecursionError:
        raise Invalid("The message is nested too deep") from None


def reference(data: bytes) -> Ref:
    """The `ref` of a message that is wrong otherwise, so that its error can be told apart."""
    try:
        return msgspec.json.decode(data, type=_Reference).ref
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
