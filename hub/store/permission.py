"""How the handshake with an endpoint's target stands, as the endpoint's hash has it (see endpoint_put.lua)."""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from hub.core.event import now_text

FIELDS: Final = ("permit", "refusal", "rate", "asks", "asked", "again")
"""What `parse` takes, in this order."""


class Permission(msgspec.Struct, frozen=True):
    """How the handshake with an endpoint's target stands. Times are RFC 3339.

    `origin` is the name that it agreed to, `rate` the requests a minute that it allows, None without a bound. `reason`
    is why it refused the last time, `tries` how often; `next_at` is when it is asked again, None where it isn't by
    itself.
    """

    state: Literal["pending", "granted", "refused"]
    origin: str | None
    rate: int | None
    reason: str | None
    tries: int
    asked_at: str | None
    next_at: str | None


def parse(reply: Sequence[bytes | None]) -> Permission:
    """The permission that the hash's FIELDS stand for."""
    origin, refusal = (None if one is None else one.decode() for one in reply[:2])
    rate, tries, asked, again = (None if one is None else int(one) for one in reply[2:])
    return Permission(
        state="granted" if origin else "refused" if refusal else "pending",
        origin=origin,
        rate=rate,
        reason=refusal,
        tries=tries or 0,
        asked_at=None if asked is None else now_text(asked),
        next_at=None if again is None else now_text(again),
    )
