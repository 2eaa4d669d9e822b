"""The handshake of webhooks: nothing is sent to a target before it has agreed.

"HTTP 1.1 Web Hooks for Event Delivery" 1.0.1 and 1.0.2 (CloudEvents), section 4, "Abuse Protection": an OPTIONS request
asks, and the answer's `WebHook-Allowed-Origin` and `WebHook-Allowed-Rate` agree. A status alone never does.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from hub.core.endpoint import MAX_RATE, RateLimit

MINUTE: Final = 60
_MAX_DIGITS: Final = 12


class Granted(NamedTuple):
    """The target agrees. `rate` is in requests a minute, None without a bound."""

    rate: int | None


class Refused(NamedTuple):
    """It doesn't, or not yet; why, in words for the endpoint's owner."""

    reason: str


def origin_of(public_url: str) -> str:
    """The name under which a deployment asks: its public URL's host."""
    return urlsplit(public_url).hostname or ""


def question(origin: str, rate: RateLimit | None, callback: str | None) -> dict[str, str]:
    """The request's headers. `callback` is a URL that grants when it is called; only https will do."""
    headers = {"WebHook-Request-Origin": origin}
    if callback is not None and callback.startswith("https://"):
        headers["WebHook-Request-Callback"] = callback
    if rate is not None:
        headers["WebHook-Request-Rate"] = str(max(1, rate.limit * MINUTE // rate.period))
    return headers


def introduction(origin: str) -> dict[str, str]:
    """What each delivery carries once it is granted: the header of 1.0.2, and the one that 1.0.1 has for it."""
    return {"WebHook-Request-Origin": origin, "Origin": origin}


def judge(origin: str, status: int | None, error: str | None, headers: Mapping[str, str]) -> Granted | Refused:
    """What an answer means; header names are lower-case, `error` is the sender's code for what went wrong."""
    if error is not None or status is None:
        return Refused(f"it answered {status}" if error in ("status", "redirect") else f"no answer: {error}")
    allowed = headers.get("webhook-allowed-origin")
    if allowed is None:
        return Refused(f"it answered {status} without WebHook-Allowed-Origin")
    if allowed.strip() != "*" and allowed.strip().lower() != origin.lower():
        return Refused(f"it allows {allowed.strip()[:100]!r}, and this is {origin!r}")
    return agreed(headers.get("webhook-allowed-rate"))


def agreed(rate: str | None) -> Granted | Refused:
    """A grant with this `WebHook-Allowed-Rate`; none means no bound, as `*` does."""
    text = (rate or "*").strip()
    if text == "*":
        return Granted(None)
    if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and int(text) > 0:
        return Granted(int(text))
    return Refused(f"WebHook-Allowed-Rate is {text[:40]!r}; allowed are a whole number above 0 and *")


def window(rate: int) -> RateLimit:
    """The limit that keeps to a rate per minute in every minute; a high one is kept by the second."""
    return RateLimit(rate, MINUTE) if rate <= MAX_RATE else RateLimit(min(rate // MINUTE, MAX_RATE), 1)
