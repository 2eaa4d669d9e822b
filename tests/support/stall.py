"""A line to the store that goes dead at a chosen command: what a process that dies right there leaves behind."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from hub.store.scripts import script


class Stall:
    """Forwards connections to a store's Unix socket until the script is called; from then on nothing passes any more.

    With `done` the call itself still reaches the store, and only what that answers is kept back.
    """

    def __init__(self, store_url: str, name: str, *, done: bool) -> None:
        self._target = urlsplit(store_url).path
        self._sha = script(name).sha.encode()
        self._done = done
        self.stalled = asyncio.Event()
        self.url = ""

    @classmethod
    @contextlib.asynccontextmanager
    async def at(cls, store_url: str, name: str, *, done: bool) -> AsyncGenerator[Self]:
        line = cls(store_url, name, done=done)
        with tempfile.TemporaryDirectory(prefix="hub-stall-") as folder:
            path = Path(folder) / "socket"
            line.url = f"unix://{path}"
            server = await asyncio.start_unix_server(line._serve, path)
            try:
                yield line
            finally:
                server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._target)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(self._commands(reader, back), self._answers(there, writer))
        for one in (writer, back):
            one.transport.abort()

    async def _commands(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1 << 20):
            if self.stalled.is_set():
                continue
            if self._sha in chunk and b"EVALSHA" in chunk:
                self.stalled.set()
                if not self._done:
                    continue
            writer.write(chunk)
            await writer.drain()
        writer.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1 << 20):
            if not self.stalled.is_set():
                writer.write(chunk)
                await writer.drain()
        writer.close()
