"""What the hub itself says on a live connection beside events, for both transports."""

import random
import time
from typing import Any

import msgspec
from sse_starlette.event import ServerSentEvent

from hub import metrics
from hub.core.frames import sse_heartbeat

_encode = msgspec.json.Encoder().encode


def now() -> float:
    """Seconds since the epoch, for the expiry of tokens."""
    return time.time()


def message(kind: str, **fields: Any) -> bytes:
    """A WebSocket message; fields that are None are left out."""
    return _encode({"type": kind, **{name: value for name, value in fields.items() if value is not None}})


def block(event: str, cursor: str, data: dict[str, Any]) -> bytes:
    """An SSE block of the hub's own, with its `id:`."""
    return ServerSentEvent(_encode(data).decode(), event=event, id=cursor, sep="\n").encode()


def retry() -> bytes:
    """When a stream's client should come back, in milliseconds, spread so that not all come at once."""
    return b"retry: %d\n\n" % random.randint(1000, 4000)


def heartbeat(transport: str, cursor: str | None) -> bytes:
    """A sign of life that keeps a quiet subscriber's cursor young; without one while a replay is under way."""
    if transport == "ws":
        return message("heartbeat", cursor=cursor)
    return b":\n\n" if cursor is None else sse_heartbeat(cursor.encode())


def token_expiring(transport: str, seconds: float) -> bytes:
    """The connection ends with its credential, in so many seconds."""
    expires_in = max(0, int(seconds))
    if transport == "sse":
        # Without an `id:`, which a replay under way would make a lie.
        return b"event: hub.token_expiring\ndata: %b\n\n" % _encode({"expires_in": expires_in})
    return message("token_expiring", expires_in=expires_in)


def gap(transport: str, room: str, lost_from: str, to: str) -> bytes:
    """Events between the cursors may be lost to this subscriber; `to` replaces its cursor."""
    metrics.GAPS.inc()
    if transport == "sse":
        return block("hub.gap", to, {"from": lost_from, "to": to})
    return _encode({"type": "gap", "room": room, "from": lost_from, "to": to})
