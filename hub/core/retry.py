"""When a failed attempt is tried again. A policy returns a decision and never sleeps."""

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from hub.core.errors import Invalid

DEFAULT_SCHEDULE: Final = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
"""Seconds before the second, third, … attempt: ten attempts over about three days, as Standard Webhooks suggests."""

MAX_ATTEMPTS: Final = 50
MAX_DELAY: Final = 7 * 86400.0
JITTER: Final = 0.2
"""A delay grows by up to this share, never shrinks: the schedule is a promise of the least gap."""


class Exponential(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`base * factor**n` seconds, at most `max`, for `attempts` attempts in all."""

    base: float = 5
    factor: float = 3
    max: float = 86400
    attempts: int = 10


class Explicit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The seconds before each retry; there is one attempt more than there are delays."""

    schedule: tuple[float, ...]


class RetryInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An endpoint's `retry` as its owner writes it: either `schedule`, or the exponential's fields."""

    schedule: tuple[float, ...] | None = None
    base: float | None = None
    factor: float | None = None
    max: float | None = None
    attempts: int | None = None


def schedule_of(given: RetryInput, field: str = "retry") -> tuple[float, ...]:
    """The delays that the input stands for, or Invalid."""
    exponential = {name: getattr(given, name) for name in ("base", "factor", "max", "attempts")}
    exponential = {name: value for name, value in exponential.items() if value is not None}
    if given.schedule is not None:
        if exponential:
            raise Invalid.field(field, f"has schedule and {', '.join(exponential)}; allowed is one form or the other")
        return check_schedule(given.schedule, f"{field}.schedule")
    policy = Exponential(**exponential)
    _check_exponential(policy, field)
    return tuple(min(policy.max, policy.base * policy.factor**n) for n in range(policy.attempts - 1))


def check_schedule(delays: tuple[float, ...], field: str) -> tuple[float, ...]:
    if len(delays) >= MAX_ATTEMPTS:
        raise Invalid.field(field, f"has {len(delays)} delays; allowed are at most {MAX_ATTEMPTS - 1}")
    for delay in delays:
        if not 0 < delay <= MAX_DELAY:
            raise Invalid.field(
                field, f"{delay} is out of range; a delay is over 0 and at most {MAX_DELAY:.0f} seconds"
            )
    return delays


def _check_exponential(policy: Exponential, field: str) -> None:
    if not 0 < policy.base <= MAX_DELAY:
        raise Invalid.field(
            f"{field}.base", f"{policy.base} is out of range; allowed is over 0 to {MAX_DELAY:.0f} seconds"
        )
    if not 1 <= policy.factor <= 10:
        raise Invalid.field(f"{field}.factor", f"{policy.factor} is out of range; allowed is 1 to 10")
    if not policy.base <= policy.max <= MAX_DELAY:
        raise Invalid.field(f"{field}.max", f"{policy.max} is out of range; allowed is base to {MAX_DELAY:.0f} seconds")
    if not 1 <= policy.attempts <= MAX_ATTEMPTS:
        raise Invalid.field(f"{field}.attempts", f"{policy.attempts} is out of range; allowed is 1 to {MAX_ATTEMPTS}")


def next_delay(schedule: tuple[float, ...], attempt: int, chance: float, at_least: float = 0) -> float | None:
    """Seconds until the attempt after `attempt` (counted from 1), or None when that was the last.

    `chance` in [0, 1) spreads the retries upward; `at_least` is a partner's `Retry-After`.
    """
    if attempt > len(schedule):
        return None
    return max(schedule[attempt - 1], min(at_least, MAX_DELAY)) * (1 + JITTER * chance)


def retry_after(value: str | None, now: float) -> float:
    """Seconds that a `Retry-After` header asks for (RFC 9110, section 10.2.3), 0 without a usable one.

    `now` is in seconds since the epoch, for the form that is a date.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), MAX_DELAY)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0
    return min(max(0.0, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now), MAX_DELAY)
