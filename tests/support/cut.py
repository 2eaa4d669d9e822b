"""A TCP proxy between a client and a web process, which can be cut and mended: the network as clients know it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Self


class Line:
    """Forwards connections to a port; while it is cut, all are reset, new ones too."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._cut = False
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.taken = 0
        """Connections that were forwarded."""

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, target: int) -> AsyncGenerator[Self]:
        line = cls(target)
        server = await asyncio.start_server(line._serve, "127.0.0.1", 0)
        line.port = server.sockets[0].getsockname()[1]
        try:
            yield line
        finally:
            server.close()
            line.cut()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Reset every connection, and those that come, until it is mended."""
        self._cut = True
        for writer in self._open:
            writer.transport.abort()

    def mend(self) -> None:
        self._cut = False

    def lead_to(self, target: int) -> None:
        """Forward connections that come from now on to another port."""
        self._target = target

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            writer.transport.abort()
            return
        self.taken += 1
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._open |= {writer, back}
        try:
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        finally:
            self._open -= {writer, back}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()
