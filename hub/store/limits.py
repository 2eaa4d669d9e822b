"""Rate limits, counted in the store by limit.lua for all processes alike.

Requests of one loop tick that fall under the same rules are counted by one call. Where little is left, they wait for
its answer, so nothing is admitted that the store has not counted. Where much is left (a tenth, when last heard), a
request goes on at once and its unit travels with the request's own commands: no round trip is added. Then a process may
be mistaken, but only by what it has out that the store has not confirmed, which is at most a hundredth of the limit: so
much may each web process admit beyond it, and that is counted all the same. A rule of under 100 requests is always
asked first, so it is exact.
"""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Final

import msgspec

from hub.core.errors import StoreUnavailable
from hub.core.limits import Rule, Standing
from hub.store import keys
from hub.store.connect import Link
from hub.store.scripts import script
from hub.store.wire import Arg

SHARE: Final = 100
"""One part in so many of a rule's limit may be out unconfirmed."""
AMPLE: Final = 10
"""One part in so many must be left for a request to go on unasked."""
_MOST_KNOWN: Final = 10_000
"""Callers and counters remembered; what is forgotten is asked anew."""


class Verdict(msgspec.Struct, frozen=True):
    """`refused` is the index of the rule that stands against it, None where all allow it."""

    refused: int | None
    standings: tuple[Standing, ...]


class _Counter:
    """One rule for one subject, as this process last heard of it."""

    __slots__ = ("at", "key", "margin", "out", "rule", "standing", "unasked")

    def __init__(self, key: str, rule: Rule) -> None:
        self.key = key
        self.rule = rule
        self.unasked = rule.quota // SHARE
        self.margin = rule.quota // AMPLE
        self.standing = Standing(0, 0, 0)
        self.at = 0.0
        self.out = 0
        """Units admitted that the store has not confirmed."""

    @property
    def is_ample(self) -> bool:
        return self.out < self.unasked and self.standing.left - self.out > self.margin

    def now(self, clock: float) -> Standing:
        """How it stands now, as far as this process can tell."""
        heard = self.standing
        passed = int((clock - self.at) * 1000)
        return Standing(heard.left - self.out, max(0, heard.whole - passed), max(0, heard.more - passed))


class Gate:
    """The rules that one kind of request of one caller falls under."""

    def __init__(self, limits: "Limits", counters: Sequence[_Counter]) -> None:
        self._limits = limits
        self._counters = counters
        self.rules = tuple(counter.rule for counter in counters)
        self._names = [counter.key for counter in counters]
        self._operands: list[Arg] = []
        for rule in self.rules:
            self._operands += (rule.algorithm, rule.limit, rule.period * 1000, rule.burst)
        self._taken = 0
        self._waiting: list[asyncio.Future[Verdict]] = []
        self._is_called = False

    def pass_unasked(self) -> Verdict | None:
        """Let a request through at once, or None: then ask."""
        counters = self._counters
        for counter in counters:
            if not counter.is_ample:
                return None
        clock = time.monotonic()
        for counter in counters:
            counter.out += 1
        self._taken += 1
        self._call_soon()
        return Verdict(None, tuple(counter.now(clock) for counter in counters))

    async def ask(self) -> Verdict:
        """Take one unit of every rule, if all have one. Raises StoreUnavailable."""
        waiting: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._call_soon()
        return await waiting

    @property
    def is_idle(self) -> bool:
        return not self._is_called and not any(counter.out for counter in self._counters)

    def _call_soon(self) -> None:
        if not self._is_called:
            self._is_called = True
            self._limits.start(self._count())

    async def _count(self) -> None:
        """One call for all that came until it was sent."""
        taken, self._taken = self._taken, 0
        waiting, self._waiting = self._waiting, []
        self._is_called = False
        try:
            granted = await self._call(taken, len(waiting))
        except Exception as exc:  # whatever it was, nobody may wait for ever
            for one in waiting:
                if not one.done():
                    one.set_exception(exc)
            if not waiting and not isinstance(exc, StoreUnavailable):
                raise
            return
        finally:
            for counter in self._counters:
                counter.out -= taken
        standings = tuple(counter.standing for counter in self._counters)
        refused = min(range(len(standings)), key=lambda n: standings[n].left)
        for index, one in enumerate(waiting):
            if not one.done():
                one.set_result(Verdict(None if index < granted else refused, standings))

    async def _call(self, taken: int, wanted: int) -> int:
        args: list[Arg] = [self._limits.offset, taken, wanted, *self._operands]
        try:
            reply = await self._limits.link.run(script("limit"), self._names, args)
        except BaseException:
            for counter in self._counters:
                counter.standing = Standing(0, 0, 0)  # who knows what is left; ask the next time
            raise
        clock = time.monotonic()
        for index, counter in enumerate(self._counters):
            counter.standing, counter.at = Standing(*reply[1 + 3 * index : 4 + 3 * index]), clock
        return reply[0]


class Limits:
    """The rate limits of one process. `offset` is added to the store's clock, in ms; only tests have one."""

    def __init__(self, link: Link, offset: int = 0) -> None:
        self.link = link
        self.offset = offset
        self._counters: dict[str, _Counter] = {}
        self._gates: dict[tuple[str, str, tuple[str | None, ...]], Gate] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def gate(self, app: str, label: str, rules: Sequence[Rule], subjects: tuple[str | None, ...]) -> Gate:
        """The gate for a caller of an app: of each rule, the subject that it counts for, None where it counts nothing.

        `label` names the rules.
        """
        key = (app, label, subjects)
        gate = self._gates.get(key)
        if gate is None:
            if len(self._gates) >= _MOST_KNOWN or len(self._counters) >= _MOST_KNOWN:
                self._forget()
            pairs = zip(rules, subjects, strict=True)
            counters = [self._counter(app, rule, subject) for rule, subject in pairs if subject is not None]
            gate = self._gates[key] = Gate(self, counters)
        return gate

    def start(self, call: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(call)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _counter(self, app: str, rule: Rule, subject: str) -> _Counter:
        key = keys.limit(app, rule.name, subject)
        return self._counters.setdefault(key, _Counter(key, rule))

    def _forget(self) -> None:
        self._gates = {key: gate for key, gate in self._gates.items() if not gate.is_idle}
        self._counters = {key: counter for key, counter in self._counters.items() if counter.out}
