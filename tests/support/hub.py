"""A running hub for tests: a store and real web and worker processes, each of which a test may kill."""

import base64
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import jwt

from tests.support.store import StoreProcess
from tests.support.waiting import until

KEY = "test-bootstrap-key-0123456789"
JWT_SECRET = "test-jwt-secret-0123456789-0123456789"


class HubProcess:
    """One web or worker process, with its log."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self._log = tempfile.NamedTemporaryFile(prefix="hub-log-", suffix=".jsonl")  # noqa: SIM115 - lives as long as this
        self.process = subprocess.Popen(
            [sys.executable, "-m", *arguments], env={**os.environ, **environment}, stderr=self._log, stdout=self._log
        )

    @property
    def log(self) -> str:
        """The lines that it has written to their end."""
        text = Path(self._log.name).read_text(errors="replace")
        return text[: text.rfind("\n") + 1]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()

    def terminate(self, seconds: float = 20) -> int:
        """SIGTERM; returns the exit code."""
        self.process.terminate()
        return self.process.wait(seconds)

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        self._log.close()


class Hub:
    """The processes of one deployment on this machine, and the settings that they share.

    Every second web process does without io_uring, so tests that use two see both ways of writing.
    """

    def __init__(self, *, web: int = 1, workers: int = 0, concurrency: int = 200, **settings: str) -> None:
        self.store = StoreProcess()
        self.environment = {
            "HUB_REDIS_URL": self.store.url,
            "HUB_BOOTSTRAP_KEY": KEY,
            "HUB_JWT_SECRET": JWT_SECRET,
            "HUB_SECRET_KEY": base64.b64encode(b"k" * 32).decode(),
            "HUB_WEBHOOK_ALLOW_HTTP": "1",
            "HUB_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
            "HUB_LOG_FORMAT": "json",
            "HUB_DRAIN_WAIT": "0",
            **settings,
        }
        self.ports = [free_port() for _ in range(web)]
        self.webs: list[HubProcess] = []
        self.workers: list[HubProcess] = []
        self._worker_count = workers
        self._concurrency = concurrency

    def on(self, store: StoreProcess) -> Self:
        """Use a store that a test has made with options of its own."""
        self.store.__exit__(None, None, None)
        self.store = store
        self.environment["HUB_REDIS_URL"] = store.url
        return self

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException as exc:
            self.__exit__(type(exc), exc, None)
            raise
        return self

    def _start(self) -> None:
        self.store.start()
        for port in self.ports:
            self.webs.append(self.start_web(port))
        for _ in range(self._worker_count):
            self.start_worker()
        for index in range(len(self.ports)):
            self.until_ready(index)

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if exc is not None:
            for process in (*self.webs, *self.workers):
                print(process.log[-3000:])
        for process in (*self.webs, *self.workers):
            process.close()
        self.store.__exit__(None, None, None)

    def start_web(self, port: int) -> HubProcess:
        ring = {"HUB_IO_URING": "off"} if port in self.ports[1::2] else {}
        return HubProcess(["hub", "serve", "--host", "127.0.0.1", "--port", str(port)], {**ring, **self.environment})

    def restart_web(self, index: int = 0) -> None:
        self.webs[index].close()
        self.webs[index] = self.start_web(self.ports[index])
        self.until_ready(index)

    def start_worker(self) -> HubProcess:
        self.workers.append(HubProcess(["workers", "--concurrency", str(self._concurrency)], self.environment))
        return self.workers[-1]

    def until_ready(self, index: int = 0, seconds: float = 60) -> None:
        until(lambda: self.is_ready(index), f"web process {index} is ready", seconds)

    def is_ready(self, index: int = 0) -> bool:
        assert self.webs[index].process.poll() is None, f"web process {index} has ended"
        try:
            return httpx.get(self.url("/health/ready", index), timeout=3).status_code == 200
        except httpx.HTTPError:
            return False

    def url(self, path: str = "", index: int = 0) -> str:
        return f"http://127.0.0.1:{self.ports[index]}{path}"

    def ws_url(self, index: int = 0) -> str:
        return f"ws://127.0.0.1:{self.ports[index]}/v1/ws"

    def client(self, index: int = 0, key: str = KEY) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url("", index), headers=auth(key), timeout=10)


def auth(key: str = KEY) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def token(user: str | None = None, *, ttl: float = 600, secret: str = JWT_SECRET, **grants: list[str]) -> str:
    """A browser's JWT: `token("ann", subscribe=["orders.**"])`."""
    claims: dict[str, Any] = {"exp": int(time.time() + ttl), "hub": grants}
    if user is not None:
        claims["sub"] = user
    return jwt.encode(claims, secret, algorithm="HS256")


async def publish(client: httpx.AsyncClient, topic: str, data: Any = None, **fields: Any) -> dict[str, Any]:
    """Publish one event; returns the answer's data."""
    event = {"topic": topic, "type": "test.event", "data": data, **fields}
    response = await client.post("/v1/events", json=event)
    assert response.status_code == 202, response.text
    return response.json()["data"]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def whole_log(client: httpx.AsyncClient, topic: str = "**") -> list[str]:
    """The ids of all events that the log holds for a topic pattern, in its order, listed to the end."""
    found: list[str] = []
    query = {"topic": topic, "limit": "500"}
    while True:
        answer = (await client.get("/v1/events", params=query)).json()
        found += [event["id"] for event in answer["data"]]
        if not answer["pagination"]["has_more"]:
            return found
        query["after"] = answer["pagination"]["next_cursor"]
