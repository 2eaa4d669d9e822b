"""A real store for tests: its own process and folder, which a test may kill, start again or empty."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from redis.exceptions import RedisError

from hub.store import embedded
from hub.store.connect import Link
from tests.support.waiting import until


class StoreProcess:
    """A valkey-server (or HUB_TEST_STORE, such as /usr/bin/redis-server) on a Unix socket, with an append-only file.

    `options` are settings of its own, `--port 7000`; `url` is where it then is reached.
    """

    def __init__(self, *options: str, url: str | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hub-store-"))
        self.url = url or embedded.url(self.folder)
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        command = embedded.command(self.folder, binary=os.environ.get("HUB_TEST_STORE"))
        self._process = subprocess.Popen(
            [*command, *self._options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._answers, "the store answers")

    def kill(self) -> None:
        """As a power cut would: nothing is flushed."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def wipe(self) -> None:
        """Kill it and lose its data."""
        self.kill()
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def client(self) -> redis.Redis:
        """A plain client, for looking from outside."""
        return redis.Redis.from_url(self.url)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except (RedisError, OSError):
            return False


@contextlib.asynccontextmanager
async def linked(store: StoreProcess) -> AsyncGenerator[Link]:
    """A link to it, as the hub has one."""
    link = Link(store.url)
    await link.open(5)
    try:
        yield link
    finally:
        await link.close()
