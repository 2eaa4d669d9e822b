"""How a process reaches the store: a link that connects, loads the scripts, and comes back after every loss."""

import asyncio
import contextlib
import random
import ssl
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final, TypeAlias
from urllib.parse import unquote, urlsplit

import msgspec
from redis.asyncio.connection import parse_url
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisError

from hub import metrics
from hub.core.errors import HubError, StoreUnavailable
from hub.store.scripts import Script, sources
from hub.store.wire import Arg, Asker, Reply, StoreError, Wire

CALL_TIMEOUT: Final = 1.2
"""Seconds until an unanswered command kills the connection."""
CONNECT_TIMEOUT: Final = 1.0
WAIT_FOR_LINK: Final = 0.5
"""Seconds that a call waits for a connection; with CALL_TIMEOUT and its check it stays under the promised 2 s."""


_OTHERS_WITHIN: Final = 0.1
"""Seconds that the other Sentinels have once one has named a master."""
_Answer: TypeAlias = tuple[str, int] | str


class Address(msgspec.Struct, frozen=True):
    """Where one Redis listens, and how to log in there."""

    path: str | None = None
    host: str = "127.0.0.1"
    port: int = 6379
    username: str | None = None
    password: str | None = None
    database: int = 0
    tls: bool = False


def resolver(url: str) -> Callable[[], Awaitable[Address]]:
    """A function that finds the address to connect to now; with Sentinel that is the present master."""
    if url.startswith("redis+sentinel://"):
        return _sentinel(url)
    address = _address(url)

    async def fixed() -> Address:
        return address

    return fixed


def _address(url: str) -> Address:
    given: dict[str, Any] = dict(parse_url(url))
    if "path" in given and "host" not in given:
        found = Address(path=given["path"])
    else:
        found = Address(host=given.get("host", "127.0.0.1"), port=given.get("port", 6379), tls=url.startswith("rediss"))
    login = {"username": given.get("username"), "password": given.get("password"), "database": int(given.get("db", 0))}
    return msgspec.structs.replace(found, **login)


def _sentinel(url: str) -> Callable[[], Awaitable[Address]]:
    parts = urlsplit(url)
    hosts = [host.rpartition(":") for host in parts.netloc.rpartition("@")[2].split(",")]
    nodes = [(host or port, int(port) if host else 26379) for host, _, port in hosts]
    service = parts.path.strip("/") or "mymaster"

    username, password = (unquote(text) if text else None for text in (parts.username, parts.password))

    async def master() -> Address:
        # All at once: one that hangs must not keep the others from naming the new master. They may disagree after a
        # failover: the next try may then take another answer.
        asking = [asyncio.create_task(_ask(node, service)) for node in nodes]
        try:
            answers = await _first(asking)
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        masters = sorted({answer for answer in answers if isinstance(answer, tuple)})
        if not masters:
            raise StoreUnavailable(f"No Sentinel names a master of {service}: {'; '.join(map(str, answers))}")
        host, port = random.choice(masters)
        return Address(host=host, port=port, username=username, password=password)

    return master


async def _first(asking: Collection[asyncio.Task[_Answer]]) -> list[_Answer]:
    """What was answered until shortly after the first master was named."""
    pending: Collection[asyncio.Task[_Answer]] = asking
    answers: list[_Answer] = []
    while pending:
        named = any(isinstance(answer, tuple) for answer in answers)
        done, pending = await asyncio.wait(
            pending, timeout=_OTHERS_WITHIN if named else None, return_when=asyncio.FIRST_COMPLETED
        )
        answers += [task.result() for task in done]
        if not done:
            break
    return answers


async def _ask(node: tuple[str, int], service: str) -> _Answer:
    """The master that one Sentinel knows, or why it names none."""
    sentinel: Any = Sentinel([node], socket_timeout=CONNECT_TIMEOUT, socket_connect_timeout=CONNECT_TIMEOUT)
    try:
        return await sentinel.discover_master(service)
    except (RedisError, OSError, TimeoutError) as exc:
        return str(exc)
    finally:
        for client in sentinel.sentinels:
            await client.aclose()


class Link:
    """One lasting connection to the store.

    A call waits shortly for the connection and then fails with StoreUnavailable; a call that was under way when the
    connection broke fails the same way, and may or may not have been carried out.
    """

    def __init__(self, url: str, *, timeout: float = CALL_TIMEOUT) -> None:
        self._resolve = resolver(url)
        self._timeout = timeout
        self._wire: Wire | None = None
        self._up = asyncio.Event()
        self._lost = asyncio.Event()
        self._fault = "it was not reached yet"
        self.generation = 0
        """How often it has connected: a reader of the log compares it, as each connection may lead to another log."""
        self._task: asyncio.Task[None] | None = None

    async def open(self, wait: float | None = None) -> None:
        """Start connecting; with `wait`, raise StoreUnavailable unless it succeeds within so many seconds."""
        self._task = asyncio.create_task(self._keep_up(), name="store link")
        if wait is not None:
            await self._until_up(wait)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._wire is not None:
            self._wire.close()

    @property
    def is_up(self) -> bool:
        return self._wire is not None

    @property
    def fault(self) -> str:
        """Why the store can't be reached; only meaningful while `is_up` is false."""
        return self._fault

    async def call(self, *command: Arg, timeout: float | None = None) -> Reply:
        """Run one command. Raises StoreUnavailable, LogFull, StoreError. `timeout` is for commands that block."""
        wire = self._wire or await self._until_up(WAIT_FOR_LINK)
        return await wire.send(*command, timeout=timeout)

    async def pipeline(self, commands: list[tuple[Arg, ...]], timeout: float | None = None) -> list[Reply]:
        """Run commands in one write, on one connection, in order. The first error is raised after all have ended."""
        wire = self._wire or await self._until_up(WAIT_FOR_LINK)
        if len(commands) == 1:
            return [await wire.send(*commands[0], timeout=timeout)]
        replies = await _all(wire, commands, timeout)
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
        return replies

    async def attempt(self, commands: list[tuple[Arg, ...]]) -> list[Reply | BaseException]:
        """The same, with each command's error in place of its reply. Raises StoreUnavailable if none was sent."""
        return await _all(self._wire or await self._until_up(WAIT_FOR_LINK), commands, None)

    async def run(self, script: Script, keys: list[str], args: list[Arg]) -> Reply:
        """Run a script by its hash; one that the store forgot is sent in full."""
        operands = (len(keys), *keys, *args)
        try:
            wire = self._wire or await self._until_up(WAIT_FOR_LINK)
            return await wire.send("EVALSHA", script.sha, *operands)
        except StoreError as exc:
            if not str(exc).startswith("NOSCRIPT"):
                raise
        return await self.call("EVAL", script.source, *operands)

    def ask(self, asker: Asker, script: Script, keys: list[str], args: list[Arg]) -> bool:
        """Begin to run a script by its hash, now, and tell `asker` what came of it; False where there's no connection.

        One that the store forgot is StoreError NOSCRIPT: that is for `run`.
        """
        if self._wire is None:
            return False
        self._wire.ask(asker, ("EVALSHA", script.sha, len(keys), *keys, *args))
        return True

    async def _until_up(self, wait: float) -> Wire:
        try:
            async with asyncio.timeout(wait):
                while self._wire is None:
                    await self._up.wait()
        except TimeoutError:
            raise StoreUnavailable(f"The store can't be reached: {self._fault}") from None
        return self._wire

    async def _keep_up(self) -> None:
        delay = 0.05
        while True:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT * 2):
                    wire = await self._connect()
            except (OSError, HubError, StoreError, TimeoutError, ValueError) as exc:
                self._fault = str(exc) or "no answer in time"
                await asyncio.sleep(delay * (0.5 + random.random()))
                delay = min(delay * 1.6, 0.5)
                continue
            delay = 0.05
            self._wire = wire
            self.generation += 1
            metrics.STORE_CONNECTS.inc()
            self._up.set()
            await self._lost.wait()

    async def _connect(self) -> Wire:
        address = await self._resolve()
        self._lost.clear()
        wire = await dial(address, lambda: Wire(self._on_lost, self._timeout))
        try:
            await log_in(wire, address)
            await _greet(wire, address)
        except BaseException:
            wire.close()
            raise
        if wire.is_lost:  # between the last answer and now: nobody would hear of it any more
            raise StoreUnavailable(wire.fault)
        return wire

    def _on_lost(self, wire: Wire) -> None:
        if wire is self._wire:
            metrics.STORE_LOSSES.inc()
            self._wire = None
            self._fault = wire.fault
            self._up.clear()
            self._lost.set()


async def _all(wire: Wire, commands: list[tuple[Arg, ...]], timeout: float | None) -> list[Reply | BaseException]:
    futures = [wire.send(*command, timeout=timeout) for command in commands]
    try:
        with contextlib.suppress(Exception):  # it is among the answers
            for last in futures[-1:]:  # replies come in order: with the last one all are there
                await last
    except asyncio.CancelledError:
        for future in futures:
            future.cancel()
        raise
    return [future.exception() or future.result() for future in futures]


async def dial(address: Address, make: Callable[[], Wire]) -> Wire:
    """A connection to the address, over TLS where it says so. Raises OSError."""
    loop = asyncio.get_running_loop()
    if address.path is not None:
        return (await loop.create_unix_connection(make, address.path))[1]
    context = ssl.create_default_context() if address.tls else None
    return (await loop.create_connection(make, address.host, address.port, ssl=context))[1]


async def log_in(wire: Wire, address: Address) -> None:
    if address.password is not None:
        await wire.send("AUTH", *filter(None, (address.username, address.password)))
    if address.database:
        await wire.send("SELECT", address.database)


async def _greet(wire: Wire, address: Address) -> None:
    role = await wire.send("ROLE")
    if role[0] != b"master":
        raise StoreUnavailable(f"The store at {address.path or address.host} is a {role[0].decode()}, not the master")
    for source in sources():
        await wire.send("SCRIPT", "LOAD", source)
