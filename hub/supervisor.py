"""The process supervisor: starts a deployment's processes in stages, starts again what died, stops all in order.

uvicorn's own multi-process mode is not used: one worker killed while it starts ends the whole service with exit code 0,
and the others outlive a parent that was killed.
"""

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
FALSE_STARTS: Final = 3
"""So many deaths in a row before the deployment was ready once end the start: waiting would not mend it."""
READY_POLL: Final = 0.05

_PR_SET_PDEATHSIG: Final = 1


class Child(msgspec.Struct, frozen=True):
    """One process to keep running.

    `stop_within` is how many seconds it has from SIGTERM to its end; `ready` says whether it serves yet; `hint` goes
    into the log line of its death; `fds` are inherited.
    """

    name: str
    command: Sequence[str]
    environ: Mapping[str, str]
    stop_within: float = 10.0
    ready: Callable[[], Awaitable[bool]] | None = None
    fds: tuple[int, ...] = ()
    hint: str | None = None


class Supervisor:
    """Keeps the children of all stages running until SIGTERM or SIGINT.

    A stage starts when the one before it is ready, and ends after the ones behind it have ended. `announce` is called
    once, when all are ready; `released` when the stop begins, to let go of what the children share: the socket.
    """

    def __init__(
        self,
        stages: Sequence[Sequence[Child]],
        *,
        announce: Callable[[], None] = lambda: None,
        released: Callable[[], None] = lambda: None,
    ) -> None:
        self._stages = [[_Keeper(child) for child in stage] for stage in stages]
        self._announce = announce
        self._released = released
        self._stop = asyncio.Event()
        self._log = telemetry.logger()

    async def run(self) -> int:
        """The exit code: 0 after a clean stop, 1 when the start failed or a child had to be killed."""
        self._handle_signals()
        running: list[list[asyncio.Task[bool]]] = []
        started = await self._start(running)
        if started:
            self._announce()
            await self._stop.wait()
        self._stop.set()
        self._released()
        clean = True
        for stage, tasks in zip(reversed(self._stages[: len(running)]), reversed(running), strict=True):
            for keeper in stage:
                keeper.stop.set()
            clean = all(await asyncio.gather(*tasks)) and clean
        return 0 if clean and started is not False else 1

    async def _start(self, running: list[list[asyncio.Task[bool]]]) -> bool | None:
        """True when every stage is ready, False when a child can't start, None when a stop came first."""
        for stage in self._stages:
            running.append([asyncio.create_task(keeper.run(), name=keeper.child.name) for keeper in stage])
            while not self._stop.is_set() and not await _all_ready(stage):
                failed = [keeper.child for keeper in stage if keeper.deaths >= FALSE_STARTS]
                if failed:
                    for child in failed:
                        self._log.error("a process can't start", process=child.name, hint=child.hint)
                    return False
                await _set_within(self._stop, READY_POLL)
            if self._stop.is_set():
                return None
        return True

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup asked for it
            loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        if not self._stop.is_set():
            self._log.info("stopping; a second signal kills", signal=number.name)
            self._stop.set()
            return
        self._log.warning("killing", signal=number.name)
        for stage in self._stages:
            for keeper in stage:
                keeper.kill.set()


class _Keeper:
    """One child's life, over all of its processes."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.deaths = 0
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
            await _set_within(self.stop, delay)
        return True

    async def _live(self) -> str | None:
        """One process, from start to end: None when it was stopped, else why it ended."""
        try:
            process = await _spawn(self.child)
        except OSError as exc:
            return str(exc)
        self._log.info("started", pid=process.pid)
        exited = asyncio.create_task(process.wait())
        await _first(exited, self.stop)
        if exited.done():
            return _cause(exited.result())
        return await self._end(process, exited)

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


_KILLED: Final = "killed by the supervisor"


async def _all_ready(stage: list[_Keeper]) -> bool:
    checks = [keeper.child.ready() for keeper in stage if keeper.child.ready is not None]
    return all(await asyncio.gather(*checks))


async def _first(exited: asyncio.Task[int], event: asyncio.Event) -> None:
    """Wait until the process ended or the event is set."""
    waiter = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({exited, waiter}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def _cause(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code} ({signal.strsignal(-code)})"


async def _spawn(child: Child) -> asyncio.subprocess.Process:
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
        *child.command,
        stdin=asyncio.subprocess.DEVNULL,
        env=child.environ,
        pass_fds=child.fds,
        start_new_session=True,  # Ctrl-C in the terminal is for the supervisor alone
        umask=0o077,  # what they write holds events
        preexec_fn=die_with_supervisor,
    )


def _vanish() -> NoReturn:
    os._exit(1)
