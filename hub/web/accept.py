"""Which form an answer takes: `Accept` and `Accept-Encoding` with their q-values (RFC 9110, section 12.5)."""

from collections.abc import Sequence
from typing import Final

JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
_PLAIN: Final = frozenset({"", "*/*", JSON, "application/json, text/plain, */*"})
"""What nearly every client sends; all mean JSON first."""


def choose(accept: str, offers: Sequence[str]) -> str | None:
    """The offer that the client likes best, the first of equals; None when it takes none."""
    if accept in _PLAIN:
        return offers[0] if accept != JSON or JSON in offers else None
    ranges = [_weighted(part) for part in accept.lower().split(",") if part.strip()]
    if not ranges:
        return offers[0]
    best = max(offers, key=lambda offer: _quality(offer, ranges))  # max keeps the first of equals
    return best if _quality(best, ranges) > 0 else None


def takes_gzip(accept_encoding: str) -> bool:
    """Whether an answer may be compressed by gzip."""
    if "gzip" not in accept_encoding and "*" not in accept_encoding:
        return False
    codings = dict(_weighted(part) for part in accept_encoding.lower().split(","))
    return codings.get("gzip", codings.get("*", 0.0)) > 0


def _quality(offer: str, ranges: list[tuple[str, float]]) -> float:
    """By the most specific range that matches; 0 where none does."""
    kind = offer.partition("/")[0]
    for wanted in (offer, f"{kind}/*", "*/*"):
        found = [quality for given, quality in ranges if given == wanted]
        if found:
            return max(found)
    return 0.0


def _weighted(part: str) -> tuple[str, float]:
    """A range without its parameters, and its q-value; one that is none counts as 0."""
    name, *parameters = (piece.strip() for piece in part.split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return name, 0.0
            return name, quality if 0 <= quality <= 1 else 0.0
    return name, 1.0
