"""How a process reaches the store: a link that connects, loads the scripts, and comes back after every loss."""

import asyncio
import contextlib
import random
from typing import Final

from hub import metrics
from hub.core.errors import HubError, StoreUnavailable
from hub.store.address import CONNECT_TIMEOUT, Address, dial, log_in, resolver
from hub.store.scripts import Script, sources
from hub.store.wire import Arg, Asker, Reply, StoreError, Wire

CALL_TIMEOUT: Final = 1.2
"""Seconds until an unanswered command kills the connection."""
WAIT_FOR_LINK: Final = 0.5
"""Seconds that a call waits for a connection; with CALL_TIMEOUT and its check it stays under the promised 2 s."""


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


async def _greet(wire: Wire, address: Address) -> None:
    role = await wire.send("ROLE")
    if role[0] != b"master":
        raise StoreUnavailable(f"The store at {address.path or address.host} is a {role[0].decode()}, not the master")
    for source in sources():
        await wire.send("SCRIPT", "LOAD", source)
