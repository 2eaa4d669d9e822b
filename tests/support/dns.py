"""A name server on loopback for tests: real packets, answers as it is told (RFC 1035, section 4)."""

import asyncio
import ipaddress
import struct
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, cast

_A: Final = 1
_NO_SUCH_NAME: Final = 3


class NameServer(asyncio.DatagramProtocol):
    """`answers` gives a name's IPv4 addresses, an empty list for no such name, or None to say nothing at all.

    `asked` has the names of the questions for IPv4, in order. Nothing of an answer may be kept (TTL 0).
    """

    def __init__(self, answers: Callable[[str], list[str] | None]) -> None:
        self.asked: list[str] = []
        self._answers = answers
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._transport is not None
        self._transport.close()

    @property
    def place(self) -> tuple[str, int]:
        assert self._transport is not None
        return cast("tuple[str, int]", self._transport.get_extra_info("sockname"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        name, end = _name(data)
        (kind,) = struct.unpack_from("!H", data, end)
        found: list[str] | None = []
        if kind == _A:
            self.asked.append(name)
            found = self._answers(name)
        if found is None:
            return
        records = [ipaddress.IPv4Address(one).packed for one in found]
        flags = 0x8180 | (_NO_SUCH_NAME if kind == _A and not found else 0)
        head = data[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0)
        body = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", _A, 1, 0, 4) + one for one in records)
        assert self._transport is not None
        self._transport.sendto(head + data[12 : end + 4] + body, addr)


def _name(data: bytes) -> tuple[str, int]:
    """The question's name, and where it ends."""
    labels: list[str] = []
    at = 12
    while length := data[at]:
        labels.append(data[at + 1 : at + 1 + length].decode().lower())
        at += 1 + length
    return ".".join(labels), at + 1
