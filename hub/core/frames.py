"""The bytes that go on the wire: WebSocket frames (RFC 6455, section 5.2), SSE blocks and HTTP/1.1 chunks.

Everything here is a pure function of its arguments, so one event is encoded once for all connections that share a room.
"""

import struct
from typing import Final

TEXT: Final = 0x81
CLOSE: Final = 0x88
PONG: Final = 0x8A
LAST_CHUNK: Final = b"0\r\n\r\n"


def ws_frame(payload: bytes, head: int = TEXT) -> bytes:
    """One unmasked, final frame."""
    size = len(payload)
    if size < 126:
        return bytes((head, size)) + payload
    if size < 65536:
        return struct.pack("!BBH", head, 126, size) + payload
    return struct.pack("!BBQ", head, 127, size) + payload


def ws_close(code: int, reason: str = "") -> bytes:
    """A close frame; the reason is cut (see close_reason)."""
    return ws_frame(struct.pack("!H", code) + close_reason(reason).encode(), CLOSE)


def close_reason(text: str) -> str:
    """The text cut, between characters, to the 123 bytes that a close frame can carry."""
    return text.encode(errors="replace")[:123].decode(errors="ignore")


def ws_event(room: bytes, cursor: bytes | None, body: bytes) -> bytes:
    """The `event` message. `room` is the joined string as JSON; an ephemeral event has no cursor."""
    if cursor is None:
        return b'{"type":"event","room":%b,"event":%b}' % (room, body)
    return b'{"type":"event","room":%b,"cursor":"%b","event":%b}' % (room, cursor, body)


def sse_event(cursor: bytes | None, name: bytes | None, body: bytes) -> bytes:
    """An SSE block (WHATWG HTML, section 9.2.6). The body has no line break (see core.event)."""
    head = b"" if cursor is None else b"id: %b\n" % cursor
    if name is not None:
        head += b"event: %b\n" % name
    return b"%bdata: %b\n\n" % (head, body)


def sse_heartbeat(cursor: bytes) -> bytes:
    """A block of `id:` alone: no event is dispatched, but the stream's last event id moves on."""
    return b"id: %b\n\n" % cursor


def http_chunk(payload: bytes) -> bytes:
    """One chunk of a chunked body (RFC 9112, section 7.1); nothing for no bytes, since an empty chunk is the last."""
    return b"%x\r\n%b\r\n" % (len(payload), payload) if payload else b""
