"""The process supervisor: starts a deployment's processes in stages, rolls them, and stops all in order.

uvicorn's own multi-process mode is not used: one worker killed while it starts ends the whole service with exit code 0,
and the others outlive a parent that was killed.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final

from hub import telemetry
from hub.keeper import Child, Keeper, set_within

FALSE_STARTS: Final = 3
"""So many deaths in a row before the deployment was ready once end the start: waiting would not mend it."""
READY_POLL: Final = 0.05
SERVES_WITHIN: Final = 45.0
"""Seconds that a new process has to serve in a roll; it waits for its store for 30 of them."""


class Supervisor:
    """Keeps the children of all stages running until SIGTERM or SIGINT.

    A stage starts when the one before it is ready, and ends after the ones behind it have ended. `announce` is called
    once, when all are ready; `released` when the stop begins, to let go of what the children share: the socket.
    SIGHUP rolls the children that can be, one by one; without any it stops like SIGTERM.
    """

    def __init__(
        self,
        stages: Sequence[Sequence[Child]],
        *,
        announce: Callable[[], None] = lambda: None,
        released: Callable[[], None] = lambda: None,
    ) -> None:
        self._stages = [[Keeper(child) for child in stage] for stage in stages]
        self._announce = announce
        self._released = released
        self._running: list[dict[Keeper, asyncio.Task[bool]]] = []
        self._stop = asyncio.Event()
        self._roll = asyncio.Event()
        self._wake = asyncio.Event()
        self._log = telemetry.logger()

    async def run(self) -> int:
        """The exit code: 0 after a clean stop, 1 when the start failed or a child had to be killed."""
        self._handle_signals()
        started = await self._start()
        if started:
            self._announce()
            await self._until_stopped()
        self._stop.set()
        self._released()
        clean = True
        for stage in reversed(self._running):
            for keeper in stage:
                keeper.stop.set()
            clean = all(await asyncio.gather(*stage.values())) and clean
        return 0 if clean and started is not False else 1

    async def _start(self) -> bool | None:
        """True when every stage is ready, False when a child can't start, None when a stop came first."""
        for stage in self._stages:
            self._running.append({keeper: _begin(keeper) for keeper in stage})
            while not self._stop.is_set() and not await _all_ready(stage):
                failed = [keeper.child for keeper in stage if keeper.deaths >= FALSE_STARTS]
                if failed:
                    for child in failed:
                        self._log.error("a process can't start", process=child.name, hint=child.hint)
                    return False
                await set_within(self._stop, READY_POLL)
            if self._stop.is_set():
                return None
        return True

    async def _until_stopped(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            if self._roll.is_set():
                self._roll.clear()
                await self._roll_all()
            else:
                await self._wake.wait()

    # -- a roll ------------------------------------------------------------------------------------------------------

    async def _roll_all(self) -> None:
        """Replace each process by a new one: first the new one serves, then the old one drains and ends."""
        self._log.info("rolling")
        for stage in self._running:
            for keeper in [keeper for keeper in stage if keeper.child.rolls]:
                if not await self._replace(stage, keeper):
                    return
        self._log.info("rolled")

    async def _replace(self, stage: dict[Keeper, asyncio.Task[bool]], old: Keeper) -> bool:
        new = Keeper(old.child)
        stage[new] = _begin(new)  # a stop ends both
        deadline = time.monotonic() + SERVES_WITHIN
        while not (new.serves.is_set() or new.deaths or self._stop.is_set() or time.monotonic() > deadline):
            await set_within(self._wake, READY_POLL)
        if self._stop.is_set():
            return False
        if not new.serves.is_set():
            reason = "it ended" if new.deaths else f"it did not serve within {SERVES_WITHIN:.0f} s"
            self._log.error("the roll stopped; the old process goes on", process=old.child.name, reason=reason)
            await self._end(stage, new)
            return False
        await self._end(stage, old)
        return not self._stop.is_set()

    async def _end(self, stage: dict[Keeper, asyncio.Task[bool]], keeper: Keeper) -> None:
        keeper.stop.set()
        await asyncio.wait({stage[keeper]})
        del stage[keeper]

    # -- signals -----------------------------------------------------------------------------------------------------

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup asked for it
            loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP and not self._stop.is_set() and self._can_roll:
            self._roll.set()
            self._wake.set()
            return
        if not self._stop.is_set():
            self._log.info("stopping; a second signal kills", signal=number.name)
            self._stop.set()
            self._wake.set()
            return
        self._log.warning("killing", signal=number.name)
        for stage in self._running:
            for keeper in stage:
                keeper.kill.set()

    @property
    def _can_roll(self) -> bool:
        return any(keeper.child.rolls for stage in self._stages for keeper in stage)


def _begin(keeper: Keeper) -> asyncio.Task[bool]:
    return asyncio.create_task(keeper.run(), name=keeper.child.name)


async def _all_ready(stage: list[Keeper]) -> bool:
    checks = [keeper.child.ready() for keeper in stage if keeper.child.ready is not None]
    return all(await asyncio.gather(*checks))
