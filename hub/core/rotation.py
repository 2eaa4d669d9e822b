"""Changing an endpoint's secret without a gap: for the grace period the old ones go on signing beside the new one."""

from typing import Final

import msgspec

from hub.core.errors import Conflict, Invalid
from hub.core.seed import Seed
from hub.core.signing import Signature, key_of, kind_of, new_secret

DEFAULT_GRACE: Final = 86400
MAX_GRACE: Final = 30 * 86400
MOST_AT_ONCE: Final = 5
"""Signatures of one attempt: each costs its time, and the header has to fit."""


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an owner asks for. `grace` is in seconds; absent, `signature` stays as it is and `secret` is a new one."""

    grace: int = DEFAULT_GRACE
    signature: Signature | None = None
    secret: str | None = None


class Retired(msgspec.Struct, frozen=True):
    """A sealed secret that signs until a time, in ms."""

    secret: str
    signature: Signature
    until: int


def chosen(secret: str | None, signature: Signature, field: str = "secret", seed: Seed | None = None) -> str:
    """The owner's secret, or a new one. Raises Invalid where it isn't one for this signature."""
    if secret is None:
        return new_secret(signature, seed)
    key_of(secret, field)
    if kind_of(secret) != signature:
        wanted = "whsec_" if signature == "v1" else "whsk_"
        raise Invalid.field(field, f'must begin with {wanted}: the endpoint\'s signature is "{signature}"')
    return secret


def retire(
    secret: str, signature: Signature, before: tuple[Retired, ...], grace: int, now_ms: int
) -> tuple[Retired, ...]:
    """The secrets that still sign once this one is replaced, newest first. No old one outlasts the new grace, so a
    grace of 0 ends them all. Raises Invalid, and Conflict where too many would sign."""
    if not 0 <= grace <= MAX_GRACE:
        raise Invalid.field("grace", f"{grace} is out of range; allowed are 0 to {MAX_GRACE} seconds")
    until = now_ms + grace * 1000
    kept = [msgspec.structs.replace(one, until=min(one.until, until)) for one in before]
    kept = [one for one in (Retired(secret, signature, until), *kept) if one.until > now_ms]
    if len(kept) >= MOST_AT_ONCE:
        raise Conflict(f"{MOST_AT_ONCE} secrets sign already; wait until one has ended, or end them by a grace of 0")
    return tuple(kept)
