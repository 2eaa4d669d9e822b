"""Partners of every kind behind one port: fast, slow, flaky, hanging, resetting, lying about length."""

import asyncio
import random
import time
from types import TracebackType
from typing import Final, NamedTuple, Self

OK: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
NO: Final = b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nno"
LIE: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\nless"
KINDS: Final = ("fast", "slow", "flaky", "hanging", "resetting", "lying")


_PROBE: Final = b"POST /probe HTTP/1.1\r\nwebhook-id: none\r\ncontent-length: 0\r\n\r\n"


class Receipt(NamedTuple):
    """One request that came whole. `answered` is when a whole 200 was written, None where there was none."""

    kind: str
    path: str
    event: str
    at: float
    answered: float | None


class Partners:
    """Serves `/KIND/N` and writes all down. But for fast and slow a third of the answers is bad, of hanging 1 in 20."""

    def __init__(self, seed: int) -> None:
        self.receipts: list[Receipt] = []
        self._chance = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def url(self, path: str) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{path}"

    async def caught_up(self) -> None:
        """Wait until what was sent before this call has been read, also where its sender has died since."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port)  # connections are taken and read in their order
        writer.write(_PROBE)
        await reader.readexactly(len(OK))
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        await reader.readexactly(int(headers["content-length"]))
        path, at = first.split(" ")[1], time.monotonic()
        if path == "/probe":
            writer.write(OK)
            return True
        kind = path.split("/")[1]
        whole = await self._answer(kind, writer)
        answered = time.monotonic() if whole else None
        self.receipts.append(Receipt(kind, path, headers["webhook-id"], at, answered))
        return whole or kind == "flaky"

    async def _answer(self, kind: str, writer: asyncio.StreamWriter) -> bool:
        """Whether a whole 200 was written."""
        if kind == "slow":
            await asyncio.sleep(0.1)
        elif kind == "hanging":
            if self._chance.random() < 0.05:
                await asyncio.sleep(3)
                return False
        elif kind != "fast" and self._chance.random() < 1 / 3:
            if kind == "flaky":
                writer.write(NO)
            elif kind == "lying":
                writer.write(LIE)
                await writer.drain()
            return False
        writer.write(OK)
        await writer.drain()
        return True
