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
from typing import Any, Self, cast

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

    def start(self, seconds: float = 15) -> None:
        command = embedded.command(self.folder, binary=os.environ.get("HUB_TEST_STORE"))
        self._process = subprocess.Popen(
            [*command, *self._options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._answers, "the store answers", seconds)

    def kill(self) -> None:
        """As a power cut would: nothing is flushed."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """Stop it where it is; it goes on by `wake`."""
        os.kill(self.pid, signal.SIGSTOP)
        until(lambda: _state(self.pid) == "T", "the store has stopped")

    def wake(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

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


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


class SentinelProcess:
    """A Sentinel that watches one master on loopback, and agrees with one other on a failover."""

    def __init__(self, port: int, service: str, master_port: int, password: str) -> None:
        self.port = port
        self._service = service
        self._folder = Path(tempfile.mkdtemp(prefix="hub-sentinel-"))
        self._config = self._folder / "sentinel.conf"
        self._config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {self._folder}\n"
            f"sentinel monitor {service} 127.0.0.1 {master_port} 2\n"
            f'sentinel auth-pass {service} "{password}"\n'
            f"sentinel down-after-milliseconds {service} 500\n"
            f"sentinel failover-timeout {service} 5000\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        binary = os.environ.get("HUB_TEST_STORE") or str(embedded.command(self._folder)[0])
        self._process = subprocess.Popen(
            [binary, str(self._config), "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def is_watching(self) -> bool:
        """Whether it knows the replica and the other Sentinel: before that it can't fail over."""
        try:
            with redis.Redis(port=self.port, decode_responses=True) as client:
                found = cast("dict[str, Any]", client.sentinel_master(self._service))
                return int(found["num-slaves"]) > 0 and int(found["num-other-sentinels"]) > 0
        except (RedisError, OSError):
            return False

    def master_port(self) -> int:
        """The port of the master that it names."""
        with redis.Redis(port=self.port, decode_responses=True) as client:
            return int(cast("Any", client.sentinel_get_master_addr_by_name(self._service))[1])


@contextlib.asynccontextmanager
async def linked(store: StoreProcess) -> AsyncGenerator[Link]:
    """A link to it, as the hub has one."""
    link = Link(store.url)
    await link.open(5)
    try:
        yield link
    finally:
        await link.close()
