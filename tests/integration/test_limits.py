"""Rate limits against a real store: what is granted follows a model to the unit, whoever asks and however many."""

import asyncio
import math
import time
from itertools import count
from typing import Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.core.limits import Algorithm, Rule
from hub.store import keys
from hub.store.connect import Link
from hub.store.limits import SHARE, Gate, Limits
from hub.store.scripts import script
from hub.store.wire import Arg
from tests.support.store import StoreProcess, linked

APP = "acme"
_numbers = count()


class Model(Protocol):
    def left(self, now: int) -> int: ...
    def take(self, now: int, units: int) -> None: ...


class Fixed:
    def __init__(self, rule: Rule) -> None:
        self._limit, self._period = rule.limit, rule.period * 1000
        self._used: dict[int, int] = {}

    def left(self, now: int) -> int:
        return self._limit - self._used.get(now // self._period, 0)

    def take(self, now: int, units: int) -> None:
        window = now // self._period
        self._used[window] = self._used.get(window, 0) + units


class Sliding:
    def __init__(self, rule: Rule) -> None:
        self._limit, self._period = rule.limit, rule.period * 1000
        self._width = math.ceil(self._period / 60)
        self._taken: list[tuple[int, int]] = []

    def left(self, now: int) -> int:
        def counts(at: int) -> bool:
            return at // self._width * self._width + self._width > now - self._period

        return self._limit - sum(units for at, units in self._taken if counts(at))

    def take(self, now: int, units: int) -> None:
        self._taken.append((now, units))


class Bucket:
    def __init__(self, rule: Rule) -> None:
        self._limit, self._period, self._full = rule.limit, rule.period * 1000, rule.quota * rule.period * 1000
        self._level, self._at = self._full, 0

    def left(self, now: int) -> int:
        self._level = min(self._full, self._level + (now - self._at) * self._limit)
        self._at = now
        return self._level // self._period

    def take(self, now: int, units: int) -> None:
        self.left(now)
        self._level -= units * self._period


MODELS: dict[Algorithm, type[Fixed | Sliding | Bucket]] = {"fixed": Fixed, "sliding": Sliding, "bucket": Bucket}


def _rule(algorithm: Algorithm, limit: int, period: int, burst: int) -> Rule:
    return Rule("key", limit, period, algorithm, burst if algorithm == "bucket" else 0)


rules = st.builds(_rule, st.sampled_from(list(MODELS)), st.integers(1, 30), st.integers(1, 90), st.integers(0, 40))
steps = st.lists(st.tuples(st.integers(0, 40_000), st.integers(0, 3), st.integers(0, 12)), max_size=25)


class Exact:
    """Calls the script at times of its own: the store's clock stands in the test's view, since only ms are added to it.

    The time that a call used is between the two clock readings around it; it is repeated where a ms passed meanwhile.
    """

    def __init__(self, link: Link, *given: Rule) -> None:
        self._link = link
        number = next(_numbers)
        self._rules = given
        self._keys = [keys.limit(APP, f"{n}-{rule.name}", f"exact{number}") for n, rule in enumerate(given)]
        self.offset = 0

    async def call(self, taken: int, wanted: int) -> tuple[int, list[list[int]], int]:
        """Granted, the standings, and the ms at which it was counted."""
        args = [self.offset, taken, wanted]
        for rule in self._rules:
            args += [rule.algorithm, rule.limit, rule.period * 1000, rule.burst]
        # In one transaction the store's clock stands.
        *_, (clock, reply) = await self._link.pipeline(
            [("MULTI",), ("TIME",), ("EVAL", script("limit").source, len(self._keys), *self._keys, *args), ("EXEC",)]
        )
        now = int(clock[0]) * 1000 + int(clock[1]) // 1000 + self.offset
        return reply[0], [reply[1 + 3 * n : 4 + 3 * n] for n in range(len(self._rules))], now


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.lists(rules, min_size=1, max_size=3), plan=steps)
async def test_what_is_granted_and_what_is_said_to_be_left_follow_the_model(
    link: Link, chosen: list[Rule], plan: list[tuple[int, int, int]]
) -> None:
    exact, models = Exact(link, *chosen), [MODELS[rule.algorithm](rule) for rule in chosen]
    for passed, taken, wanted in plan:
        exact.offset += passed
        granted, standings, now = await exact.call(taken, wanted)
        expected = max(0, min(wanted, *(model.left(now) - taken for model in models)))
        assert granted == expected
        for model, (left, whole, more) in zip(models, standings, strict=True):
            model.take(now, taken + granted)
            assert left == model.left(now)
            assert (more == 0) == (left > 0)
            assert whole >= more


@pytest.mark.parametrize("algorithm", ["fixed", "sliding", "bucket"])
async def test_one_more_is_there_when_it_was_said_to_be_and_not_before(link: Link, algorithm: Algorithm) -> None:
    exact = Exact(link, Rule("key", 7, 10, algorithm))
    for passed, wanted in ((0, 3), (1234, 2), (2345, 9)):
        exact.offset += passed
        await exact.call(0, wanted)
    for _ in range(12):
        _, ((left, whole, more),), now = await exact.call(0, 100)
        assert left == 0
        exact.offset += more - 30  # less what these calls themselves may take
        granted, _, at = await exact.call(0, 1)
        while not granted:
            assert at < now + more
            exact.offset += 1
            granted, _, at = await exact.call(0, 1)
        assert at >= now + more
        exact.offset += whole
    exact.offset += 11_000
    assert (await exact.call(0, 100))[0] == 7


async def test_what_went_beyond_is_counted_and_paid_back(link: Link) -> None:
    exact = Exact(link, Rule("key", 5, 10, "bucket"))
    assert (await exact.call(12, 3))[:2] == (0, [[-7, 24_000, 16_000]])


async def test_links_together_get_no_unit_more_than_a_small_limit_has(store: StoreProcess, link: Link) -> None:
    """Exact: the limit is under the one that a process may go on unasked."""
    rule = Rule("key", SHARE - 1, 3600, "sliding")
    async with linked(store) as second, linked(store) as third:
        gates = [gate_of(one, rule, "small") for one in (link, second, third)]
        admitted = sum(await asyncio.gather(*(_press(gate, 100) for gate in gates for _ in range(2))))
    assert admitted == rule.limit


@pytest.mark.parametrize("algorithm", ["fixed", "sliding", "bucket"])
async def test_links_together_admit_at_most_a_hundredth_each_beyond_a_large_limit(
    store: StoreProcess, link: Link, algorithm: Algorithm
) -> None:
    rule = Rule("key", 2000, 31 * 86400 // 2, algorithm)
    async with linked(store) as second, linked(store) as third:
        several = [gate_of(one, rule, f"large-{algorithm}") for one in (link, second, third)]
        admitted = sum(await asyncio.gather(*(_press(gate, 1500) for gate in several for _ in range(2))))
        (verdict,) = [await several[0].ask()]
    assert rule.limit <= admitted <= rule.limit * (1 + 3 / SHARE)
    assert verdict.refused == 0
    assert verdict.standings[0].left <= rule.limit - admitted + 1  # what went beyond is counted; a bucket refills


async def test_where_much_is_left_a_request_goes_on_without_waiting_and_is_counted_all_the_same(link: Link) -> None:
    gate = gate_of(link, Rule("key", 1000, 3600, "sliding"), "ample")
    assert gate.pass_unasked() is None  # nothing is known yet
    assert (await gate.ask()).standings[0].left == 999
    passed = [gate.pass_unasked() for _ in range(15)]
    assert [verdict is not None for verdict in passed] == [True] * 10 + [False] * 5
    assert passed[9] is not None
    assert passed[9].standings[0].left == 989
    assert (await gate.ask()).standings[0].left == 988


@pytest.mark.parametrize(("used", "goes_on"), [(898, True), (899, False)])
async def test_where_no_more_than_a_tenth_is_left_every_request_waits_to_be_counted(
    link: Link, used: int, goes_on: bool
) -> None:
    rule = Rule("key", 1000, 3600, "sliding")
    name = keys.limit(APP, rule.name, f"scarce-{used}")
    args: list[Arg] = [0, used, 0, rule.algorithm, rule.limit, rule.period * 1000, rule.burst]
    await link.run(script("limit"), [name], args)
    gate = gate_of(link, rule, f"scarce-{used}")
    assert (await gate.ask()).standings[0].left == 999 - used
    assert (gate.pass_unasked() is not None) is goes_on
    await gate.ask()


async def test_of_several_rules_one_that_is_used_up_refuses_and_the_others_lose_nothing(link: Link) -> None:
    limits, many, few = Limits(link), Rule("app", 50, 3600, "sliding"), Rule("ip", 2, 3600, "fixed")
    gate, other = (limits.gate(APP, "plan", (many, few), ("", ip)) for ip in ("10.0.0.1", "10.0.0.2"))
    verdicts = [await gate.ask() for _ in range(5)]
    assert [verdict.refused for verdict in verdicts] == [None, None, 1, 1, 1]
    assert [standing.left for standing in (await other.ask()).standings] == [47, 1]


async def test_a_store_that_is_gone_fails_who_asks_and_lets_nobody_wait(store: StoreProcess) -> None:
    async with linked(store) as lost:
        gate = gate_of(lost, Rule("key", 1000, 3600, "sliding"), "lost")
        await gate.ask()
        assert gate.pass_unasked() is not None
        await lost.close()
        began = time.monotonic()
        results = await asyncio.gather(*(gate.ask() for _ in range(3)), return_exceptions=True)
        assert all(isinstance(result, Exception) for result in results)
        assert time.monotonic() - began < 2
        assert gate.pass_unasked() is None
        assert gate.is_idle


async def test_every_counter_ends_when_it_is_whole_again(link: Link) -> None:
    for algorithm in MODELS:
        await gate_of(link, Rule("key", 10, 60, algorithm), algorithm).ask()
        ttl = await link.call("PTTL", keys.limit(APP, "key-60s", algorithm))
        assert 0 < ttl <= 61_000


async def _press(gate: Gate, times: int) -> int:
    """Ask as a process does; returns how often it was let through."""
    admitted = 0
    for _ in range(times):
        verdict = gate.pass_unasked() or await gate.ask()
        admitted += verdict.refused is None
    return admitted


def gate_of(link: Link, rule: Rule, subject: str) -> Gate:
    return Limits(link).gate(APP, "plan", (rule,), (subject,))
