"""Group commit: appends that must reach the disk or a replica first wait for it together, on a connection of their own.

WAIT and WAITAOF hold up the connection that they are sent on (and cover only what was written there). A wait for each
append would put publishers in a line, and everything else on that connection behind them.
"""

import asyncio
from typing import Final

from hub.core.errors import StoreUnavailable
from hub.store.connect import Link
from hub.store.scripts import Script
from hub.store.wire import Arg, Asker, Reply, StoreError

WAIT_MS: Final = 700
"""A publisher waits for at most the round under way and its own, which keeps it under the promised 2 s."""


class _Pending:
    """One script call of a round, and who waits for it."""

    def __init__(self, script: Script, keys: list[str], args: list[Arg]) -> None:
        self.script = script
        self.operands = (len(keys), *keys, *args)
        self.done: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def fail(self, exc: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(exc)


class Commits:
    """Runs scripts in rounds, each with one wait behind it. `durability` is `fsync` or `replicated`."""

    def __init__(self, link: Link, durability: str) -> None:
        self._link = link
        self._durability = durability
        self._wait: tuple[Arg, ...] = ("WAITAOF", 1, 0, WAIT_MS) if durability == "fsync" else ("WAIT", 1, WAIT_MS)
        self._queue: list[_Pending] = []
        self._rounds: asyncio.Task[None] | None = None

    async def run(self, script: Script, keys: list[str], args: list[Arg]) -> Reply:
        """Run a script; return when what it wrote is durable. Raises StoreUnavailable (it may have run), LogFull."""
        pending = _Pending(script, keys, args)
        self._queue.append(pending)
        if self._rounds is None or self._rounds.done():
            self._rounds = asyncio.create_task(self._run(), name="commits")
        return await pending.done

    def ask(self, asker: Asker, script: Script, keys: list[str], args: list[Arg]) -> bool:
        """False: everything goes by rounds."""
        return False

    async def _run(self) -> None:
        while self._queue:
            taken, self._queue = self._queue, []
            try:
                await self._round(taken)
            except BaseException as exc:
                for pending in taken:
                    pending.fail(exc)
                if not isinstance(exc, Exception):
                    raise

    async def _round(self, taken: list[_Pending]) -> None:
        *replies, acknowledged = await self._link.attempt(
            [*(("EVALSHA", one.script.sha, *one.operands) for one in taken), self._wait]
        )
        forgotten: list[_Pending] = []
        for pending, reply in zip(taken, replies, strict=True):
            if isinstance(reply, StoreError) and str(reply).startswith("NOSCRIPT"):
                forgotten.append(pending)
            elif isinstance(reply, BaseException):
                pending.fail(reply)
            elif (fault := self._fault(acknowledged)) is not None:
                pending.fail(fault)
            elif not pending.done.done():
                pending.done.set_result(reply)
        if forgotten:
            for source in {pending.script.source for pending in forgotten}:
                await self._link.call("SCRIPT", "LOAD", source)
            self._queue[:0] = forgotten

    def _fault(self, acknowledged: Reply | BaseException) -> StoreUnavailable | None:
        """Why the wait confirms nothing, or None. WAIT answers a number, WAITAOF two (its own disk, replicas)."""
        what = f"The store did not confirm HUB_DURABILITY={self._durability}"
        if isinstance(acknowledged, BaseException):
            return StoreUnavailable(f"{what}: {acknowledged}")
        count = acknowledged if isinstance(acknowledged, int) else acknowledged[0]
        return None if count else StoreUnavailable(f"{what} in time; publish again")
