"""What a WebSocket client sends, read from bytes: frames into messages (RFC 6455, section 5). No I/O.

Only what a server needs: client frames are masked, extensions are never agreed, messages are bounded.
"""

import codecs
from typing import Final, NamedTuple, TypeAlias

from websockets.utils import apply_mask

from hub.core.errors import RateLimited

_CONTINUATION: Final = 0x0
_TEXT: Final = 0x1
_BINARY: Final = 0x2
_CLOSE: Final = 0x8
_PING: Final = 0x9
_PONG: Final = 0xA
_CLOSE_CODES: Final = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})
"""What a close frame may carry (section 7.4.1 and IANA's registry); 3000 to 4999 are for libraries and applications."""
MAX_FRAGMENTS: Final = 1024
_Utf8: Final = codecs.getincrementaldecoder("utf-8")


class Message(NamedTuple):
    """A whole message; text was checked to be UTF-8."""

    data: bytes


class Ping(NamedTuple):
    payload: bytes


class Close(NamedTuple):
    """The client's close; 1005 stands for none given (section 7.1.5)."""

    code: int
    reason: str


Item: TypeAlias = Message | Ping | Close


class Violation(Exception):
    """The client broke the protocol: the connection fails with this close code (section 7.1.7)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class _Frame(NamedTuple):
    final: bool
    opcode: int
    payload: bytes
    end: int


class MessageReader:
    """Turns a connection's bytes into items. After a Violation or a Close nothing more may be fed."""

    __slots__ = ("_buffer", "_decoder", "_fragments", "_max_size", "_size", "_wanted")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._buffer: bytearray | None = None
        """The beginning of a frame."""
        self._wanted = 0
        """Bytes that it must have before it is worth another look: else each of many small pieces would copy it all."""
        self._fragments: list[bytes] | None = None
        self._decoder: codecs.IncrementalDecoder | None = None
        """Of a text that comes in fragments: what is no UTF-8 is refused at the first fragment that shows it."""
        self._size = 0

    def feed(self, data: bytes, items: list[Item], most: int) -> int:
        """Read on; what is complete is appended to `items`. Returns how many frames that took, `most` at most.

        Raises Violation, after the items before it: for one frame more too.
        """
        if self._buffer is not None:
            self._buffer += data
            if len(self._buffer) < self._wanted:
                return 0
            data = bytes(self._buffer)
            self._buffer = None
        offset = taken = 0
        while (frame := self._next(data, offset)) is not None:
            if taken == most:
                raise Violation(RateLimited.close_code, "too many frames")
            taken += 1
            offset = frame.end
            item = self._control(frame) if frame.opcode >= _CLOSE else self._data(frame)
            if item is not None:
                items.append(item)
                if isinstance(item, Close):
                    break
        if offset < len(data):
            self._buffer = bytearray(memoryview(data)[offset:])
        return taken

    def _next(self, data: bytes, offset: int) -> _Frame | None:
        start, self._wanted = offset, 2
        if len(data) - offset < 2:
            return None
        first, second = data[offset], data[offset + 1]
        opcode, length = first & 0x0F, second & 0x7F
        self._check_head(first, second)
        offset += 2
        if length >= 126:
            width = 2 if length == 126 else 8
            self._wanted = 2 + width
            if len(data) - offset < width:
                return None
            length = int.from_bytes(data[offset : offset + width])
            offset += width
        if opcode < _CLOSE and self._size + length > self._max_size:
            raise Violation(1009, f"a message may have {self._max_size} bytes")
        end = offset + 4 + length
        self._wanted = end - start
        if len(data) < end:
            return None
        payload = apply_mask(data[offset + 4 : end], data[offset : offset + 4]) if length else b""
        return _Frame(bool(first & 0x80), opcode, payload, end)

    def _check_head(self, first: int, second: int) -> None:
        opcode = first & 0x0F
        if first & 0x70:
            raise Violation(1002, "reserved bits are set, but no extension was agreed")
        if opcode not in (_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG):
            raise Violation(1002, f"opcode {opcode} is reserved")
        if not second & 0x80:
            raise Violation(1002, "a client's frame must be masked")
        if opcode >= _CLOSE and (not first & 0x80 or second & 0x7F > 125):
            raise Violation(1002, "a control frame must be whole and have at most 125 bytes")
        if opcode == _CONTINUATION and self._fragments is None:
            raise Violation(1002, "there is no message to continue")
        if opcode in (_TEXT, _BINARY) and self._fragments is not None:
            raise Violation(1002, "the message before has not ended")

    def _data(self, frame: _Frame) -> Message | None:
        if self._fragments is None:
            if frame.final:
                if frame.opcode == _TEXT:
                    _text(frame.payload)
                return Message(frame.payload)
            self._fragments, self._size = [], 0
            self._decoder = _Utf8() if frame.opcode == _TEXT else None
        if self._decoder is not None:
            _text(frame.payload, self._decoder, final=frame.final)
        self._fragments.append(frame.payload)
        self._size += len(frame.payload)
        if not frame.final:
            if len(self._fragments) > MAX_FRAGMENTS:
                raise Violation(1008, f"a message may have {MAX_FRAGMENTS} fragments")
            return None
        whole = b"".join(self._fragments)
        self._fragments = self._decoder = None
        self._size = 0
        return Message(whole)

    def _control(self, frame: _Frame) -> Ping | Close | None:
        if frame.opcode == _PING:
            return Ping(frame.payload)
        if frame.opcode == _PONG:
            return None
        if not frame.payload:
            return Close(1005, "")
        code = int.from_bytes(frame.payload[:2])
        if len(frame.payload) == 1 or not (code in _CLOSE_CODES or 3000 <= code <= 4999):
            raise Violation(1002, "the close code is not valid")
        return Close(code, _text(frame.payload[2:]))


def _text(data: bytes, decoder: codecs.IncrementalDecoder | None = None, *, final: bool = True) -> str:
    """The text, or the part of it that these bytes complete."""
    try:
        return data.decode() if decoder is None else decoder.decode(data, final)
    except UnicodeDecodeError:
        raise Violation(1007, "text must be UTF-8") from None
