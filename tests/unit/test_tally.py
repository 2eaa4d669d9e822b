"""An endpoint's figures: what an attempt counts as, windows and percentiles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.tally import ANSWERS, BOUNDS, SIZE, SLOT, code, percentile, windows

NOW = 1_795_000_000_000


def bucket(number: int, **places: int) -> list[int]:
    made = [0] * SIZE
    made[0] = number
    for name, count in places.items():
        made[int(name[1:])] = count
    return made


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [(200, None, "2xx"), (204, None, "2xx"), (302, "redirect", "3xx"), (404, "status", "4xx"), (500, "status", "5xx"),
     (200, "timeout", "none"), (None, "connect", "none"), (None, "secret", "none"), (199, "status", "2xx")],
)  # fmt: skip
def test_an_attempt_counts_by_what_was_answered(status: int | None, error: str | None, kind: str) -> None:
    assert ANSWERS[code(status, error, 5) // 100 - 1] == kind


@given(st.integers(0, 1_000_000))
def test_every_duration_has_its_class(ms: int) -> None:
    place = code(200, None, ms) % 100 - 1
    assert 0 <= place <= len(BOUNDS)
    assert place == len(BOUNDS) or ms <= BOUNDS[place]
    assert place == 0 or ms > BOUNDS[place - 1]


def test_a_window_sums_its_own_ring_and_the_present_bucket() -> None:
    slot = NOW // SLOT
    held = [
        ("now", bucket(slot, p1=1)),
        ("m", bucket(slot - 11, p1=10)),
        ("m", bucket(slot - 12, p1=100)),  # too old for the hour
        ("h", bucket(slot // 12 - 23, p5=1000)),
        ("d", bucket(slot // 288 - 6, p4=10_000)),
        ("d", bucket(slot // 288 - 7, p4=7)),
    ]
    made = windows(held, NOW)
    assert [made[name].attempts for name in ("1h", "24h", "7d")] == [11, 1001, 10_001]
    assert made["1h"].success_rate == 1
    assert made["24h"].answers["none"] == 1000
    assert made["7d"].success_rate == 0.0001


def test_a_present_bucket_that_has_passed_counts_where_it_belongs() -> None:
    old = ("now", bucket(NOW // SLOT - 12, p1=5))
    assert [window.attempts for window in windows([old], NOW).values()] == [0, 5, 5]


def test_without_attempts_there_is_no_rate_and_no_latency() -> None:
    for window in windows([], NOW).values():
        assert (window.attempts, window.success_rate, window.latency_ms) == (0, None, None)


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=300), st.floats(0.01, 0.99))
def test_a_percentile_lies_in_the_class_of_the_true_one(durations: list[int], share: float) -> None:
    classes = [0] * (len(BOUNDS) + 1)
    for ms in durations:
        classes[code(200, None, ms) % 100 - 1] += 1
    true = sorted(durations)[max(0, -(-share * len(durations) // 1).__int__() - 1)]
    place = code(200, None, true) % 100 - 1
    low = BOUNDS[place - 1] if place else 0
    assert low <= percentile(classes, share) <= BOUNDS[min(place, len(BOUNDS) - 1)]
