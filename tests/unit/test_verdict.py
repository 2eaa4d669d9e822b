"""What answers mean for a delivery."""

import pytest

from hub.core.origin import Origin
from hub.store.queues import Lease
from hub.store.records import Standing
from workers.sender import Answer
from workers.verdict import Decision, after_answer, before_sending

SCHEDULE = (5.0, 10.0)


def lease(attempt: int = 1, generation: int = 0, *, status: str = "pending", current: int = 0, base: int = 0) -> Lease:
    standing = Standing(status, attempt - 1, current, base, 0, [])
    return Lease("token", "0-1-0", attempt, generation, "evt_1", "t", Origin(""), standing, b"{}")


def decide(answer: Answer, attempt: int = 1) -> Decision:
    return after_answer(answer, attempt, SCHEDULE, chance=0, now=1_795_000_000)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_2xx_is_delivered(status: int) -> None:
    assert decide(Answer(1, status)) == Decision("ok")


def test_410_is_gone_even_on_the_last_attempt() -> None:
    assert decide(Answer(1, 410, "status"), 3) == Decision("gone")


@pytest.mark.parametrize("status", [300, 302, 308, 400, 401, 404, 500, 502, None])
def test_anything_else_is_retried_on_the_schedule_until_it_is_exhausted(status: int | None) -> None:
    answer = Answer(1, status, "status")
    assert [decide(answer, n) for n in (1, 2, 3)] == [
        Decision("retry", 5),
        Decision("retry", 10),
        Decision("exhausted"),
    ]


@pytest.mark.parametrize(("status", "delay"), [(429, 60), (503, 60), (500, 5)])
def test_retry_after_counts_for_429_and_503(status: int, delay: float) -> None:
    assert decide(Answer(1, status, "status", {"retry-after": "60"})) == Decision("retry", delay)


def test_a_pending_delivery_is_sent() -> None:
    assert before_sending(lease(), SCHEDULE) is None
    assert before_sending(lease(5, 1, current=1, base=4), SCHEDULE) is None


@pytest.mark.parametrize(
    "stale",
    [lease(status="cancelled"), lease(status="succeeded"), lease(current=1), lease()._replace(standing=None)],
)
def test_a_stale_entry_is_dropped(stale: Lease) -> None:
    assert before_sending(stale, SCHEDULE) == Decision("drop")


def test_a_delivery_whose_workers_keep_dying_ends() -> None:
    assert before_sending(lease(6), SCHEDULE) is None  # three attempts and three that were lost
    assert before_sending(lease(7), SCHEDULE) == Decision("exhausted")


def test_a_delivery_without_its_bytes_ends() -> None:
    assert before_sending(lease()._replace(body=None), SCHEDULE) == Decision("exhausted")
