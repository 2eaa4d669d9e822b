"""The keeper of one child process: starts it, starts it again when it died, and ends it."""

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NoReturn

import msgspec

from hub import telemetry

FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 5.0
STEADY: Final = 10.0
"""Seconds that a child must have been up for its next death to count as the first."""
READY_FD: Final = "{ready-fd}"
_KILLED: Final = "killed by the supervisor"
_PR_SET_PDEATHSIG: Final = 1


class Child(msgspec.Struct, frozen=True):
    """One process to keep running.

    `stop_within` is how many seconds it has from SIGTERM to its end; `ready` says whether it serves yet; `hint` goes
    into the log line of its death; `fds` are inherited. READY_FD in the command stands for a pipe into which each of
    its processes writes a byte once it serves; such a child can be rolled.
    """

    name: str
    command: Sequence[str]
    environ: Mapping[str, str]
    stop_within: float = 10.0
    ready: Callable[[], Awaitable[bool]] | None = None
    fds: tuple[int, ...] = ()
    hint: str | None = None

    @property
    def rolls(self) -> bool:
        return READY_FD in self.command


class Keeper:
    """One child's life, over all of its processes."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.deaths = 0
        self.serves = asyncio.Event()
        """Set once a process has said so by its READY_FD."""
        self.stop = asyncio.Event()
        self.kill = asyncio.Event()
        self._log = telemetry.logger().bind(process=child.name)

    async def run(self) -> bool:
        """Keep the child running until `stop`. False when its last process had to be killed."""
        while not self.stop.is_set():
            began = time.monotonic()
            cause = await self._live()
            if cause is None:
                return True
            if self.stop.is_set():
                return cause != _KILLED
            self.deaths = 1 if time.monotonic() - began >= STEADY else self.deaths + 1
            delay = min(FIRST_DELAY * 2 ** (self.deaths - 1), LONGEST_DELAY)
            hint = {} if self.child.hint is None else {"hint": self.child.hint}
            self._log.warning("a process died; starting it again", cause=cause, delay=delay, **hint)
            await set_within(self.stop, delay)
        return True

    async def _live(self) -> str | None:
        """One process, from start to end: None when it was stopped, else why it ended."""
        told, tells = os.pipe() if self.child.rolls else (None, None)
        try:
            process = await _spawn(self.child, tells)
        except OSError as exc:
            _close(told)
            return str(exc)
        finally:
            _close(tells)
        self._log.info("started", pid=process.pid)
        exited = asyncio.create_task(process.wait())
        try:
            if told is not None:
                asyncio.get_running_loop().add_reader(told, self._hear, told)
            await _first(exited, self.stop)
            return _cause(exited.result()) if exited.done() else await self._end(process, exited)
        finally:
            if told is not None:
                asyncio.get_running_loop().remove_reader(told)
                os.close(told)

    def _hear(self, told: int) -> None:
        asyncio.get_running_loop().remove_reader(told)
        if os.read(told, 1):
            self.serves.set()

    async def _end(self, process: asyncio.subprocess.Process, exited: asyncio.Task[int]) -> str | None:
        process.terminate()
        try:
            async with asyncio.timeout(self.child.stop_within):
                await _first(exited, self.kill)
        except TimeoutError:
            self._log.warning("did not stop in time; killing it", seconds=self.child.stop_within)
        if not exited.done():
            process.kill()
            await exited
            return _KILLED
        self._log.info("stopped", cause=_cause(exited.result()))
        return None


async def _first(exited: asyncio.Task[int], event: asyncio.Event) -> None:
    """Wait until the process ended or the event is set."""
    waiter = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({exited, waiter}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()


async def set_within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def _cause(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code} ({signal.strsignal(-code)})"


async def _spawn(child: Child, tells: int | None) -> asyncio.subprocess.Process:
    # Loaded before the fork: between fork and exec only what needs no lock is safe.
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    supervisor = os.getpid()

    def die_with_supervisor() -> None:
        if libc is None:
            return
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:  # it was killed before the line above could see it
            _vanish()

    return await asyncio.create_subprocess_exec(
        *(str(tells) if part == READY_FD else part for part in child.command),
        stdin=asyncio.subprocess.DEVNULL,
        env=child.environ,
        pass_fds=child.fds if tells is None else (*child.fds, tells),
        start_new_session=True,  # Ctrl-C in the terminal is for the supervisor alone
        umask=0o077,  # what they write holds events
        preexec_fn=die_with_supervisor,
    )


def _close(fd: int | None) -> None:
    if fd is not None:
        os.close(fd)


def _vanish() -> NoReturn:
    os._exit(1)
