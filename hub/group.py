"""The processes of one supervisor: each tells the others its metrics, so that whichever is scraped answers for all.

They meet in a folder that the supervisor made: each listens on a Unix socket there, and a socket that nobody listens on
any more is removed by whoever finds it. Nothing is written while nobody asks.
"""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Final

import msgspec

from hub import exposition, metrics
from hub.exposition import Family
from hub.telemetry import logger

WITHIN: Final = 0.5
"""Seconds that the others have to answer a scrape, together."""
_ENDING: Final = ".metrics"


class Group:
    """This process's place among the others. Without a folder it is alone."""

    def __init__(self, name: str, folder: Path | None = None) -> None:
        self.name = name
        self._folder = folder
        self._path = None if folder is None else folder / f"{name}.{os.getpid()}{_ENDING}"
        self._server: asyncio.Server | None = None

    @property
    def is_alone(self) -> bool:
        return self._folder is None

    async def open(self) -> None:
        """Listen. A process that can't is missing in the scrapes of others, which its log says."""
        if self._path is None:
            return
        unready = self._path.with_suffix(".new")
        try:
            self._server = await asyncio.start_unix_server(self._answer, unready)
            unready.rename(self._path)  # only now: a socket that refuses is taken for a dead process's
        except OSError as exc:
            logger().warning("metrics_not_shared", reason=str(exc))

    async def close(self) -> None:
        if self._server is not None and self._path is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def pages(self) -> tuple[list[list[Family]], int]:
        """The metrics of every process of the group, and how many processes did not answer in time."""
        own = exposition.snapshot(metrics.PROCESS, process=self.name)
        others = [path for path in self._others() if path != self._path]
        answers = await asyncio.gather(*map(_ask, others))
        return [own, *(one for one in answers if one)], sum(one is None for one in answers)

    def _others(self) -> list[Path]:
        try:
            return [] if self._folder is None else sorted(self._folder.glob(f"*{_ENDING}"))
        except OSError:
            return []

    async def _answer(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(exposition.encode(exposition.snapshot(metrics.PROCESS, process=self.name)))
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()


async def _ask(path: Path) -> list[Family] | None:
    """What a process says of itself: nothing where it has ended, None where it doesn't answer."""
    try:
        async with asyncio.timeout(WITHIN):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                return exposition.decode(await reader.read())
            finally:
                writer.close()
    except (ConnectionRefusedError, FileNotFoundError):
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - in a folder of sockets
        return []
    except (OSError, TimeoutError, msgspec.MsgspecError):
        return None
