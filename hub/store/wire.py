"""The thin Redis connection: RESP2 by hiredis, every command of one loop tick written at once, replies in order.

It costs about half of a general client's CPU per command, which is why the log, the tail and the deliveries use it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, cast

import hiredis

from hub import metrics
from hub.core.errors import HubError, IdempotencyKeyReused, LogFull, StoreUnavailable

Arg: TypeAlias = str | bytes | int | float
Reply: TypeAlias = Any
"""What Redis answered: bytes, int, None or a list of replies."""


_pack = cast("Callable[[tuple[Arg, ...]], bytes]", hiredis.pack_command)


class Asker(Protocol):
    """Who is told a command's reply; a future is one."""

    def done(self) -> bool: ...

    def set_result(self, result: Reply, /) -> None: ...

    def set_exception(self, exception: Exception, /) -> None: ...


class StoreError(Exception):
    """The store refused a command for a reason that waiting does not mend: a bug or a misuse of ours."""


_UNAVAILABLE = ("LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "MISCONF", "NOREPLICAS",
                "NOAUTH", "WRONGPASS", "NOPERM", "UNBLOCKED")  # fmt: skip
_DEMOTED = ("READONLY", "UNBLOCKED")
"""What a master answers that has become a replica: another one is to be looked for."""


def to_error(reply: Exception) -> Exception:
    """The hub's error for an error reply."""
    text = str(reply)
    fault = _judge(text)
    if not text.startswith("NOSCRIPT"):
        metrics.STORE_ERRORS.labels(fault.code if isinstance(fault, HubError) else "REFUSED").inc()
    return fault


def _judge(text: str) -> Exception:
    if text.startswith("LOGFULL"):
        return LogFull("The log is at its limit; try again when deliveries or retention have freed room")
    if text.startswith("REUSED"):
        return IdempotencyKeyReused.now()
    if text.startswith("OOM") or "OOM command" in text:
        return LogFull("The store is at its memory limit; give it more, or shorten HUB_RETENTION")
    if text.startswith(_UNAVAILABLE):
        return StoreUnavailable(f"The store can't serve now: {text}")
    return StoreError(text)


class Wire(asyncio.Protocol):
    """One connection. It is lost once: then every pending reply is StoreUnavailable and `lost` is set."""

    def __init__(self, on_lost: Callable[["Wire"], None], timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._pending: deque[tuple[Asker, float, bool]] = deque()
        """Each with its deadline, and whether it doesn't block by intent: those are timed."""
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._on_lost = on_lost
        self._timeout = timeout
        self._watch: asyncio.TimerHandle | None = None
        self.fault = "The connection to the store was lost"
        """Why it ended; only meaningful when it has."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports aren't instances of asyncio's

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._watch is not None:
            self._watch.cancel()
        while self._pending:
            asker = self._pending.popleft()[0]
            if not asker.done():
                asker.set_exception(StoreUnavailable(self.fault))
        self._on_lost(self)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        if self._pending and self._pending[0][2]:
            metrics.STORE_ROUND_TRIP_SECONDS.observe(self._loop.time() - self._pending[0][1] + self._timeout)
        while (reply := self._reader.gets()) is not False:
            asker = self._pending.popleft()[0]
            if asker.done():  # its caller was cancelled; the reply has its place in the order all the same
                continue
            if isinstance(reply, Exception):
                asker.set_exception(to_error(reply))
                if str(reply).startswith(_DEMOTED):
                    self.close()
            else:
                asker.set_result(reply)

    def send(self, *command: Arg, timeout: float | None = None) -> asyncio.Future[Reply]:
        """Queue a command; it is written with the others of this loop tick. The wire dies when a reply is overdue."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        if self._transport is None:
            future.set_exception(StoreUnavailable(self.fault))
            return future
        if not self._out:
            self._loop.call_soon(self._flush)
        self._queue(future, command, timeout)
        return future

    def ask(self, asker: Asker, command: tuple[Arg, ...]) -> None:
        """Write a command now, behind what is queued, and tell the reply as soon as it is there."""
        self._queue(asker, command, None)
        self._flush()

    def _queue(self, asker: Asker, command: tuple[Arg, ...], timeout: float | None) -> None:
        self._pending.append((asker, self._loop.time() + (timeout or self._timeout), timeout is None))
        self._out.append(_pack(command))
        if self._watch is None:
            self._watch = self._loop.call_later(0.2, self._check_overdue)

    @property
    def is_lost(self) -> bool:
        return self._transport is None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self._transport is not None:
            self._transport.write(b"".join(out))

    def _check_overdue(self) -> None:
        self._watch = None
        if not self._pending:
            return
        if self._loop.time() > self._pending[0][1]:
            self.fault = "The store did not answer in time; the connection to it was ended"
            self.close()
        else:
            self._watch = self._loop.call_later(0.2, self._check_overdue)
