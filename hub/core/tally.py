"""Figures kept in rings of 5 minutes, hours and days; an endpoint's are attempts by kind of answer and by duration.

The store counts (see tally.lua); here is what the numbers mean and how windows are made of them.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

import msgspec

BOUNDS: Final = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 1500, 2000, 3000, 5000,
                 7000, 10_000, 15_000, 20_000, 30_000, 60_000, 120_000)  # fmt: skip
"""Upper ends of the duration classes, in ms; one more class holds what took longer."""
ANSWERS: Final = ("2xx", "3xx", "4xx", "5xx", "none")
"""Kinds of answers; `none` is no answer, an incomplete one, or nothing sent."""
SLOT: Final = 300_000
"""Ms of the finest bucket."""
RINGS: Final = (("m", 1, 12), ("h", 12, 24), ("d", 288, 7))
"""Each ring's letter, the slots that one of its buckets holds, and how many buckets there are."""
WINDOWS: Final = ("1h", "24h", "7d")
_FIRST_CLASS: Final = 3 + len(ANSWERS)
SIZE: Final = _FIRST_CLASS + len(BOUNDS) + 2
"""Numbers of a bucket: which one it is, the kinds of answers, succeeded, exhausted, the duration classes, cancelled."""


class Latency(msgspec.Struct, frozen=True):
    """Percentiles of the attempts' durations in ms, estimated within their class."""

    p50: int
    p90: int
    p95: int
    p99: int


class Window(msgspec.Struct, frozen=True):
    """What an endpoint's attempts came to. `success_rate` is the share of attempts answered 2xx; None without any."""

    attempts: int
    answers: dict[str, int]
    success_rate: float | None
    succeeded: int
    exhausted: int
    cancelled: int
    latency_ms: Latency | None


def code(status: int | None, error: str | None, duration_ms: int) -> int:
    """What an attempt counts as, for settle.lua: 100 times the number of its kind, plus its duration's; from 1 on."""
    kind = len(ANSWERS)
    if error is None:
        kind = 1
    elif error in ("status", "redirect") and status is not None:
        kind = min(max(status // 100 - 1, 1), 4)
    return kind * 100 + 1 + sum(duration_ms > bound for bound in BOUNDS)


def windows(buckets: Iterable[tuple[str, Sequence[int]]], now_ms: int) -> dict[str, Window]:
    """An endpoint's windows up to now, as `sums` has them."""
    return {name: _window(found) for name, found in sums(buckets, now_ms, SIZE).items()}


def sums(buckets: Iterable[tuple[str, Sequence[int]]], now_ms: int, size: int) -> dict[str, list[int]]:
    """The windows up to now, of the rings' buckets with their letters, which have `size` numbers each. A window's first
    bucket may have begun before it would: the last hour is 55 to 60 minutes, the last day 23 to 24 hours."""
    held = list(buckets)
    made: dict[str, list[int]] = {}
    for name, (letter, width, count) in zip(WINDOWS, RINGS, strict=True):
        oldest = now_ms // SLOT // width - count
        made[name] = [0] * size
        for ring, one in held:
            number = one[0] // width if ring == "now" else one[0]
            if ring in ("now", letter) and number > oldest:
                made[name] = [a + b for a, b in zip(made[name], one, strict=True)]
    return made


def bucket(field: bytes, raw: bytes) -> tuple[str, Sequence[int]]:
    """A bucket as the store holds it, with its ring's letter."""
    letter = "now" if field == b"now" else field[:1].decode()
    return letter, msgspec.msgpack.decode(raw, type=list[int])


def _window(found: Sequence[int]) -> Window:
    answers: dict[str, int] = dict(zip(ANSWERS, found[1:], strict=False))
    attempts = sum(answers.values())
    succeeded, exhausted = found[_FIRST_CLASS - 2 : _FIRST_CLASS]
    *classes, cancelled = found[_FIRST_CLASS:]
    latency = Latency(*(percentile(classes, share) for share in (0.5, 0.9, 0.95, 0.99))) if any(classes) else None
    rate = round(answers["2xx"] / attempts, 4) if attempts else None
    return Window(attempts, answers, rate, succeeded, exhausted, cancelled, latency)


def percentile(classes: Sequence[int], share: float) -> int:
    """The duration in ms that `share` of the attempts stayed below; in the open last class its lower end."""
    wanted = share * sum(classes)
    for n, upto in enumerate(accumulate(classes)):
        if upto >= wanted and classes[n]:
            low = BOUNDS[n - 1] if n else 0
            if n == len(BOUNDS):
                return low
            return round(low + (BOUNDS[n] - low) * (wanted - (upto - classes[n])) / classes[n])
    return 0
