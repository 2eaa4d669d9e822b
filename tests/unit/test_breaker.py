"""What an attempt says of its endpoint, and the breaker's states."""

import pytest

from hub.core.breaker import POLICY, says, state


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (200, None, "ok"),
        (204, None, "ok"),
        (400, "status", "alive"),
        (404, "status", "alive"),
        (410, "status", "alive"),
        (302, "redirect", "alive"),
        (429, "status", "down"),
        (500, "status", "down"),
        (503, "status", "down"),
        (None, "timeout", "down"),
        (200, "timeout", "down"),
        (200, "protocol", "down"),
        (None, "connect", "down"),
        (None, "forbidden", "down"),
        (None, "secret", ""),
        (None, "proxy", ""),
        (None, "transform", ""),
    ],
)
def test_an_answer_says_whether_the_endpoint_is_there(status: int | None, error: str | None, expected: str) -> None:
    assert says(status, error) == expected


def test_it_is_half_open_from_the_end_of_its_pause_on() -> None:
    assert state(None, 5) == "closed"
    assert state(1000, 999) == "open"
    assert state(1000, 1000) == "half-open"


def test_a_failing_endpoint_is_probed_often_enough_that_its_days_of_failure_count_on() -> None:
    assert POLICY.pause <= POLICY.longest < POLICY.idle < POLICY.disable
