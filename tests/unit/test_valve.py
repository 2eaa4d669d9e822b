"""When a process begins to refuse, how far, and when it stops."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.valve import LEAST, NO_LIMIT, Valve

TARGET, PATIENCE, TICK, WAIT = 0.05, 0.5, 0.025, 0.25


def valve(busy: int = 0) -> Valve:
    made = Valve(TARGET, PATIENCE)
    made.busy = busy
    return made


def late(one: Valve, seconds: float, lag: float, now: float = 0.0) -> float:
    """The loop is late by `lag` for so long; returns the time then."""
    end = now + seconds
    while now < end:
        now += TICK + lag
        one.observe(lag, now)
    return now


def test_a_burst_that_is_done_before_patience_ends_closes_nothing() -> None:
    one = valve(5000)
    late(one, PATIENCE - TICK, 0.2)
    assert one.limit == NO_LIMIT
    one.observe(0.0, 1.0)
    late(one, PATIENCE - TICK, 0.2, 1.0)
    assert one.limit == NO_LIMIT, "what went before doesn't count"


def test_lateness_with_short_turns_in_between_is_lateness_too() -> None:
    """Where a turn of the loop takes 0.2 s, most requests wait for it, whatever turns come in between."""
    one, now = valve(1000), 0.0
    for _ in range(5):
        now = late(one, 0.2, 0.2, now)
        one.observe(0.001, now := now + TICK)
    assert one.is_full


def test_one_long_pause_is_no_overload() -> None:
    one = valve(5000)
    one.observe(3.0, 10.0)
    one.observe(3.0, 13.0)
    assert one.limit == NO_LIMIT


def test_lateness_that_stands_cuts_what_may_be_in_progress_below_what_is() -> None:
    one = valve(1000)
    late(one, 4.0, 0.5)
    assert one.is_full
    assert LEAST <= one.limit < 1000


@given(st.lists(st.floats(0.06, 5.0), min_size=1, max_size=60), st.integers(0, 10_000))
def test_however_late_it_is_a_few_are_let_in(lags: list[float], busy: int) -> None:
    one, now = valve(busy), 0.0
    for lag in lags:
        now += lag + TICK
        one.observe(lag, now)
        assert one.limit >= LEAST


def test_it_opens_wholly_once_the_load_has_gone() -> None:
    one = valve(1000)
    now = late(one, 30.0, 2.0)
    assert one.limit == LEAST
    one.busy = 0
    late(one, 5.0, 0.0, now)
    assert one.limit == NO_LIMIT


def test_under_a_flood_the_lateness_settles_around_the_target() -> None:
    """Each request in progress makes the loop 1 ms late, and there are always more."""
    one, now, lags = valve(3000), 0.0, list[float]()
    for _ in range(2000):
        one.busy = min(3000, one.limit)
        lag = one.busy * 0.001
        now += lag + TICK
        lags.append(lag)
        one.observe(lag, now)
    settled = lags[200:]
    assert max(settled) < 2 * TARGET
    assert sum(settled) / len(settled) > TARGET / 2, "the process isn't left idle"


# -- requests that wait for something else than the loop ---------------------------------------------------------------


def serve(one: Valve, seconds: float, load: int, takes: Callable[[int], float], now: float = 0.0) -> float:
    """Let as many requests be in progress as are let in of `load`, where each takes so long; returns the time then."""
    end, done = now + seconds, 0.0
    while now < end:
        now += TICK
        one.busy = min(load, one.limit)
        done += one.busy * TICK / takes(one.busy)
        while done >= 1:
            done -= 1
            one.enter()
            one.leave()
        one.observe(0.001, now)
    return now


def test_requests_that_wait_for_each_other_are_held_to_what_is_served_soon() -> None:
    """2 ms each, one after another, in a store that is asked by a loop that is never late."""
    one = waiting_valve()
    serve(one, 5.0, 3000, lambda busy: 0.002 * busy)
    assert 0.25 <= 0.002 * one.busy <= 2 * WAIT
    serve(one, 5.0, 10, lambda busy: 0.002 * busy, 5.0)
    assert one.limit == NO_LIMIT


@pytest.mark.parametrize("known", [True, False])
def test_requests_that_wait_for_a_slow_disk_harm_nobody(known: bool) -> None:
    """0.6 s each, however many they are: as soon as that has shown where few are in progress, all are let in."""
    one, now = waiting_valve(), 0.0
    if known:
        now = serve(one, 1.0, 10, lambda _: 0.6)
        now = serve(one, 5.0, 0, lambda _: 0.6, now)  # that nothing comes for a while tells nothing of it
    now = serve(one, 1.5, 1000, lambda _: 0.6, now)
    assert (one.limit == NO_LIMIT) == known
    serve(one, 10.0, 1000, lambda _: 0.6, now)
    assert one.limit == NO_LIMIT


def waiting_valve() -> Valve:
    return Valve(TARGET, PATIENCE, WAIT)
