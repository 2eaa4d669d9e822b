"""The processes of a deployment: what `hub dev` and `hub serve` run, on which socket, and how long they may drain."""

import asyncio
import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from hub import dev, listening, settings, telemetry
from hub.keeper import READY_FD, Child
from hub.listening import StartError, listen
from hub.settings import Settings
from hub.store import embedded
from hub.supervisor import Supervisor

WEB_DRAIN: Final = 9.0
"""Seconds, without HUB_DRAIN_WAIT: closes, what clients take to answer them, and requests under way."""
WORKER_DRAIN: Final = 130.0
"""Seconds: the longest timeout that a webhook may have (120), and the time to record what came of it."""


def python(module: str, *arguments: str) -> list[str]:
    """The command for a module of ours, never for a folder of that name where the hub was started: hence `-P`."""
    return [sys.executable, "-P", "-m", module, *arguments]


def worker_command(concurrency: int, *more: str) -> list[str]:
    return python("workers", "--concurrency", str(concurrency), *more)


def serve(sock: socket.socket, web: int) -> int:
    """Run several web processes on one socket until SIGTERM or SIGINT; SIGHUP rolls them. The exit code."""
    with tempfile.TemporaryDirectory(prefix="hub-") as group:
        stages = [_web(sock, web, os.environ, group, rolls=True)]
        return asyncio.run(_supervise(stages, sock, lambda: telemetry.logger().info("ready", url=url_of(sock))))


def run_dev(data_dir: Path, host: str, port: int, web: int, workers: int, banner: Callable[[str, str], str]) -> int:
    """Run the whole hub until SIGTERM or SIGINT; the exit code. `banner` words the greeting, from URL and API key."""
    settings.load()  # before anything is made or taken: a wrong variable is what its user should hear of first
    data_dir = data_dir.resolve()
    _prepare(data_dir)
    with (
        dev.locked(data_dir) as lock,
        contextlib.closing(listen(host, port)) as sock,
        tempfile.TemporaryDirectory(prefix="hub-") as group,
    ):
        environ = dev.environment(
            os.environ, data_dir, dev.load_secrets(data_dir), embedded.url(data_dir), url_of(sock)
        )
        configured = settings.load(environ)
        telemetry.configure(configured, "dev")
        own_store = configured.redis_url == embedded.url(data_dir)
        stages = [
            *([[_store(data_dir, lock)]] if own_store else []),
            [*_web(sock, web, environ, group, rolls=False), *_workers(workers, environ, group)],
        ]
        url, key = url_of(sock), environ["HUB_BOOTSTRAP_KEY"]
        with dev.announced(data_dir, url, key):
            return asyncio.run(_supervise(stages, sock, lambda: print(banner(url, key), flush=True)))


def url_of(sock: socket.socket) -> str:
    """How a client on this machine reaches the socket."""
    return listening.url_of(*_address(sock))


def require(configured: Settings) -> None:
    """Raise SettingsError, naming what is not set, unless a production process has what it needs."""
    if configured.redis_url is None:
        raise settings.SettingsError(
            "HUB_REDIS_URL is not set; give a Redis 7.0 or newer, or Valkey, such as redis://127.0.0.1:6379/0 "
            "(hub dev brings its own)"
        )
    if configured.secret_key is None:
        raise settings.SettingsError(
            "HUB_SECRET_KEY is not set; make one with `openssl rand -base64 32`, the same for every process, and keep "
            "it: it encrypts the webhook secrets"
        )


def _address(sock: socket.socket) -> tuple[str, int]:
    host, port = sock.getsockname()[:2]
    return str(host), int(port)


async def _supervise(stages: list[list[Child]], sock: socket.socket, announce: Callable[[], None]) -> int:
    return await Supervisor(stages, announce=announce, released=sock.close).run()


def _prepare(data_dir: Path) -> None:
    try:
        embedded.prepare(data_dir)
    except OSError as exc:
        raise StartError(f"The data folder {data_dir} can't be used: {exc.strerror or exc}") from None
    if not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        raise StartError(f"The data folder {data_dir} can't be written by this user; choose another --data-dir")


def _store(data_dir: Path, lock: int) -> Child:
    async def ready() -> bool:
        return await embedded.answers(data_dir)

    try:
        command = embedded.command(data_dir)
    except OSError as exc:
        raise StartError(f"The store can't be started: {exc}") from None
    return Child(
        "store", command, os.environ, ready=ready, fds=(lock,),
        hint=f"see {embedded.log_path(data_dir)}",
    )  # fmt: skip


def _web(sock: socket.socket, count: int, environ: Mapping[str, str], group: str, *, rolls: bool) -> list[Child]:
    fd = sock.fileno()
    command = python("hub", "web", "--fd", str(fd), *(["--ready-fd", READY_FD] if rolls else []), "--group", group)
    bound = WEB_DRAIN + settings.load(environ).drain_wait
    host, port = _address(sock)

    async def ready() -> bool:
        return await _is_ready(host, port)

    names = [f"web-{n + 1}" for n in range(count)]
    return [
        Child(name, [*command, "--name", name], environ, stop_within=bound, ready=ready, fds=(fd,)) for name in names
    ]


def _workers(count: int, environ: Mapping[str, str], group: str) -> list[Child]:
    names = [f"worker-{n + 1}" for n in range(count)]
    return [
        Child(name, worker_command(200, "--name", name, "--group", group), environ, stop_within=WORKER_DRAIN)
        for name in names
    ]


async def _is_ready(host: str, port: int) -> bool:
    """Whether the hub says that an event can travel. The unspecified address reaches this machine too."""
    request = b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request)
                return (await reader.readline()).split()[1:2] == [b"200"]
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
