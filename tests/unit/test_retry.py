"""Schedules of retries, jitter and Retry-After."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.errors import Invalid
from hub.core.retry import (
    DEFAULT_SCHEDULE,
    JITTER,
    MAX_ATTEMPTS,
    MAX_DELAY,
    RetryInput,
    next_delay,
    retry_after,
    schedule_of,
)

NOW = 1_795_000_000.0


def test_an_exponential_policy_becomes_its_schedule() -> None:
    assert schedule_of(RetryInput(base=5, factor=3, max=100, attempts=5)) == (5, 15, 45, 100)
    assert schedule_of(RetryInput(attempts=1)) == ()
    assert len(schedule_of(RetryInput(base=1))) == 9


def test_what_an_exponential_policy_does_not_name_is_as_documented() -> None:
    thrice = (5, 15, 45, 135, 405, 1215, 3645, 10935, 32805)
    for one in (RetryInput(base=5), RetryInput(factor=3), RetryInput(max=86400), RetryInput(attempts=10)):
        assert schedule_of(one) == thrice
    assert schedule_of(RetryInput(base=40_000, attempts=3)) == (40_000, 86_400)


def test_an_explicit_schedule_stays_as_it_is() -> None:
    assert schedule_of(RetryInput(schedule=(5, 300))) == (5, 300)
    assert schedule_of(RetryInput(schedule=())) == ()


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (RetryInput(schedule=(5,), base=1), "retry"),
        (RetryInput(schedule=(0,)), "retry.schedule"),
        (RetryInput(schedule=(-1,)), "retry.schedule"),
        (RetryInput(schedule=(float("nan"),)), "retry.schedule"),
        (RetryInput(schedule=(MAX_DELAY + 1,)), "retry.schedule"),
        (RetryInput(schedule=(1.0,) * MAX_ATTEMPTS), "retry.schedule"),
        (RetryInput(base=0), "retry.base"),
        (RetryInput(factor=0.5), "retry.factor"),
        (RetryInput(factor=float("inf")), "retry.factor"),
        (RetryInput(base=10, max=5), "retry.max"),
        (RetryInput(attempts=0), "retry.attempts"),
        (RetryInput(attempts=MAX_ATTEMPTS + 1), "retry.attempts"),
    ],
)
def test_a_policy_out_of_range_is_refused_by_name(given: RetryInput, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        schedule_of(given)
    assert refused.value.details[0].field == field


@given(st.integers(1, len(DEFAULT_SCHEDULE)), st.floats(0, 1, exclude_max=True))
def test_a_delay_is_never_less_than_promised_and_grows_by_the_jitter_at_most(attempt: int, chance: float) -> None:
    delay = next_delay(DEFAULT_SCHEDULE, attempt, chance)
    promised = DEFAULT_SCHEDULE[attempt - 1]
    assert delay is not None
    assert promised <= delay <= promised * (1 + JITTER)


def test_after_the_last_delay_there_is_no_more_attempt() -> None:
    assert next_delay((5,), 1, 0) == 5
    assert next_delay((5,), 2, 0) is None
    assert next_delay((), 1, 0) is None


def test_a_partner_can_ask_for_more_time_but_not_for_ever() -> None:
    assert next_delay((5,), 1, 0, 60) == 60
    assert next_delay((5,), 1, 0, 1) == 5
    assert next_delay((5,), 1, 0, 1e12) == MAX_DELAY


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("0", 0),
        ("Wed, 18 Nov 2026 11:06:39 GMT", 0),
        ("Wed, 18 Nov 2026 11:10:40 GMT", 240),
        ("Wed, 18 Nov 2026 11:10:40 -0000", 240),
        ("99999999999999999999", MAX_DELAY),
        ("-5", 0),
        ("1.5", 0),
        ("²", 0),
        ("soon", 0),
        ("", 0),
        (None, 0),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_nonsense_is_none(value: str | None, seconds: float) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.text())
def test_no_retry_after_header_raises(value: str) -> None:
    assert 0 <= retry_after(value, NOW) <= MAX_DELAY
