"""What an attempt's answer means for its delivery. Decides and does nothing."""

from typing import Final, NamedTuple

from hub.core.retry import next_delay, retry_after
from hub.store.queues import Lease, Verdict
from workers.sender import Answer

FORGIVEN: Final = 3
"""Attempts beyond the schedule for leases that were lost with their worker; past them the event itself is suspected."""


class Decision(NamedTuple):
    """The verdict and, for a retry, the seconds until it."""

    verdict: Verdict
    delay: float = 0


def before_sending(lease: Lease, schedule: tuple[float, ...]) -> Decision | None:
    """How a claimed delivery ends without being sent, or None when it is to be sent."""
    standing = lease.standing
    if standing is None or standing.status != "pending" or standing.generation != lease.generation:
        return Decision("drop")  # it ended, or was retried by hand, after this entry was queued
    if lease.body is None or lease.attempt - standing.base > len(schedule) + 1 + FORGIVEN:
        return Decision("exhausted")
    return None


def after_answer(answer: Answer, attempt: int, schedule: tuple[float, ...], *, chance: float, now: float) -> Decision:
    """What follows from an answer. `attempt` counts from 1 in this run of the schedule; `now` is in seconds."""
    if answer.error is None:
        return Decision("ok")
    if answer.status == 410:
        return Decision("gone")
    wait = retry_after(answer.headers.get("retry-after"), now) if answer.status in (429, 503) else 0
    delay = next_delay(schedule, attempt, chance, wait)
    return Decision("exhausted") if delay is None else Decision("retry", delay)
