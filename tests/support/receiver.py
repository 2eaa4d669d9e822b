"""A partner's HTTP server for tests: it keeps what it got and answers as it is told."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

from tests.support.waiting import eventually

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Got(NamedTuple):
    """One request; `at` is in seconds of a monotonic clock, header names are lower-case."""

    at: float
    path: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"

    @property
    def event(self) -> dict[str, Any]:
        return msgspec.json.decode(self.body)


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """An HTTP answer as bytes; header names are written with `_` for `-`."""
    lines = [f"HTTP/1.1 {status} Status", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Receiver:
    """Serves HTTP/1.1 on loopback, plainly enough to answer wrongly where a test wants that.

    `answers` are given in turn, per path; then `then`. An answer is bytes, or a coroutine function that gets the
    writer.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._place = (host, port)
        self.connections = 0
        self.got: list[Got] = []
        self.answers: dict[str, list[bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]]] = {}
        self.then: bytes = OK
        self.delay = 0.0
        self.in_flight = 0
        self.most_in_flight = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, *self._place)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:  # what nobody read yet would keep one open
            writer.transport.abort()
        await asyncio.sleep(0)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def url(self, path: str = "/hook") -> str:
        return f"http://{self._place[0]}:{self.port}{path}"

    def at(self, path: str = "/hook") -> list[Got]:
        return [one for one in self.got if one.path == path]

    async def until(self, count: int, path: str = "/hook", seconds: float = 15) -> list[Got]:
        """Wait for `count` requests at a path."""
        await eventually(lambda: len(self.at(path)) >= count, f"{count} requests arrive at {path}", seconds)
        return self.at(path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
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
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        method, path, _ = first.split(" ")
        self.got.append(Got(time.monotonic(), path, headers, body, method))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.delay:
                await asyncio.sleep(self.delay)
            waiting = self.answers.get(path)
            wanted = waiting.pop(0) if waiting else self.then
            if not isinstance(wanted, bytes):
                await wanted(writer)
                return False
        finally:
            self.in_flight -= 1
        writer.write(wanted)
        await writer.drain()
        return True
