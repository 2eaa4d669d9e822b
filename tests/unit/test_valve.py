"""When a process begins to refuse, how far, and when it stops."""

from hypothesis import given
from hypothesis import strategies as st

from hub.core.valve import LEAST, NO_LIMIT, Valve

TARGET, PATIENCE, TICK = 0.05, 0.5, 0.025


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
