"""A WebSocket client in raw frames (RFC 6455, section 5.2), for what a well-behaved library never sends."""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import socket
from collections.abc import AsyncGenerator, Iterable
from typing import Any, NamedTuple, Self, cast

from tests.support.hub import Hub, auth

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
WITHIN = 10.0
KEY = base64.b64encode(bytes(range(16))).decode()
ACCEPT = base64.b64encode(
    hashlib.sha1((KEY + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode(), usedforsecurity=False).digest()
).decode()
HEADERS = {
    "host": "127.0.0.1",
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-key": KEY,
    "sec-websocket-version": "13",
}


class Received(NamedTuple):
    """A frame of the server."""

    opcode: int
    payload: bytes


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    key: bytes | None = None,
    form: int | None = None,
    length: int | None = None,
) -> bytes:
    """A client's frame; `form` 125, 126 or 127 forces how the length is written, `length` what it claims."""
    size = len(payload) if length is None else length
    form = form or (125 if size < 126 else 126 if size < 65536 else 127)
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    mask_bit = 0x80 if masked else 0
    if form == 125:
        head = bytes((first, mask_bit | size))
    else:
        head = bytes((first, mask_bit | form)) + size.to_bytes(2 if form == 126 else 8, "big")
    if not masked:
        return head + payload
    key = os.urandom(4) if key is None else key
    pad = (key * (len(payload) // 4 + 1))[: len(payload)]
    return head + key + (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(len(payload), "big")


def request(path: str = "/v1/ws", *, first: str | None = None, **headers: str | None) -> bytes:
    """A handshake; a header with the value None is left out (`_` in a name stands for `-`)."""
    given = HEADERS | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [
        first or f"GET {path} HTTP/1.1",
        *(f"{name}: {value}" for name, value in given.items() if value is not None),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class RawWs:
    """A connection whose every byte a test decides; what the server sends is checked against the rules for servers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, hub: Hub, window: int | None = None) -> AsyncGenerator[Self]:
        """A connection on which nothing has been said yet; `window` is the bytes that the kernel takes ahead of us."""
        sock = socket.socket()
        if window is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", hub.ports[0]))
        reader, writer = await asyncio.open_connection(sock=sock, limit=4 * 1024 * 1024 if window is None else window)
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, hub: Hub, path: str = "/v1/ws", *, authorized: bool = True, window: int | None = None
    ) -> AsyncGenerator[Self]:
        """One whose handshake is done; an authorized one has read `connected` too."""
        async with cls.connect(hub, window) as raw:
            raw.send(request(path, **(auth() if authorized else {})))
            status, headers = await raw.head()
            assert status == 101, (status, headers)
            assert headers["sec-websocket-accept"] == ACCEPT
            if authorized:
                assert (await raw.message())["type"] == "connected"
            yield raw

    def send(self, *chunks: bytes) -> None:
        self.writer.write(b"".join(chunks))

    async def chop(self, data: bytes, size: int = 1) -> None:
        """Send in pieces, each of which leaves before the next."""
        for start in range(0, len(data), size):
            self.writer.write(data[start : start + size])
            await asyncio.sleep(0)

    def stall(self) -> None:
        """Read nothing from now on."""
        cast("asyncio.ReadTransport", self.writer.transport).pause_reading()

    def resume(self) -> None:
        cast("asyncio.ReadTransport", self.writer.transport).resume_reading()

    async def head(self) -> tuple[int, dict[str, str]]:
        """The status and the headers of an HTTP answer."""
        async with asyncio.timeout(WITHIN):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = (line.partition(":") for line in lines[1:] if line)
        return int(lines[0].split()[1]), {name.lower(): value.strip() for name, _, value in headers}

    async def refused(self) -> tuple[int, dict[str, str], dict[str, Any]]:
        """The last answer of a connection: status, headers, and the error, which has the hub's shape."""
        status, headers = await self.head()
        came = await self.ended()
        assert headers["content-type"] == "application/json", (headers, came)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert len(came) == int(headers["content-length"])
        said = json.loads(came)
        assert said.keys() == {"success", "error", "meta"}
        assert said["success"] is False
        assert said["error"].keys() == {"code", "message", "details", "hint", "docs"}
        assert said["meta"]["request_id"] == headers["x-request-id"]
        return status, headers, said["error"]

    async def frame(self) -> Received:
        """The next frame: never masked, fragmented or with reserved bits, and its length in the shortest form."""
        async with asyncio.timeout(WITHIN):
            first, second = await self.reader.readexactly(2)
            size = second & 0x7F
            if size > 125:
                form, size = size, int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
                assert size > 125 if form == 126 else size > 65535, "a length is not in its shortest form"
            payload = await self.reader.readexactly(size)
        assert first & 0xF0 == 0x80, f"FIN and reserved bits are {first:#x}"
        assert not second & 0x80, "a server masks nothing"
        return Received(first & 0x0F, payload)

    async def message(self) -> dict[str, Any]:
        """The next message, which must come as text."""
        got = await self.frame()
        assert got.opcode == TEXT, got
        return json.loads(got.payload)

    async def closed(self) -> tuple[int, str]:
        """Code and reason of the close frame, which must be next and last; 1005 when it is empty."""
        got = await self.frame()
        assert got.opcode == CLOSE, got
        assert len(got.payload) != 1
        assert got.payload[:2] != (1005).to_bytes(2)
        return (int.from_bytes(got.payload[:2], "big"), got.payload[2:].decode()) if got.payload else (1005, "")

    async def ended(self, seconds: float = WITHIN) -> bytes:
        """Wait for the end of the connection; returns what came before it."""
        came = b""
        with contextlib.suppress(ConnectionError):  # a reset is an end too
            async with asyncio.timeout(seconds):
                while chunk := await self.reader.read(65536):
                    came += chunk
        return came

    async def fails(self, *codes: int) -> None:
        """The server fails the connection: a close frame with one of the codes, then the end, and nothing else."""
        code, reason = await self.closed()
        assert code in codes, (code, reason)
        assert await self.ended() == b""

    async def lives(self) -> None:
        """The connection still answers."""
        self.send(say("alive"))
        answer = await self.message()
        assert answer == {"type": "pong", "ref": "alive"}, answer


def say(ref: str, size: int | None = None) -> bytes:
    """A text frame that asks for `ref` back."""
    return frame(TEXT, ask(ref, size))


def ask(ref: str, size: int | None = None) -> bytes:
    """A message that asks for `ref` back, padded by spaces to `size` bytes."""
    text = json.dumps({"type": "ping", "ref": ref}, ensure_ascii=False).encode()
    return text if size is None else text + b" " * (size - len(text))


def fragments(opcode: int, parts: Iterable[bytes]) -> list[bytes]:
    """The frames of one message that is sent in these parts."""
    pieces = list(parts)
    return [frame(CONT if index else opcode, piece, fin=index == len(pieces) - 1) for index, piece in enumerate(pieces)]
