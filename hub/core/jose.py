"""Signed tokens (JWS, RFC 7515; JWT, RFC 7519): which key verifies one, and whether it is good now.

What a token's header says decides nothing but which of the app's own keys is tried: each key is bound to its algorithm
(RFC 8725, section 3.1), `jku`, `x5u`, `jwk` and `x5c` are never looked at, `crit` and `b64` are refused.
"""

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import jwt
import msgspec

from hub.core.errors import Unauthenticated
from hub.core.jwk import ALGORITHMS, Key

MAX_TOKEN: Final = 16 * 1024
"""Characters of a token."""
MAX_SKEW: Final = 60.0
"""Seconds that a token's `iat` may lie ahead: revoking all of a user's tokens goes by it."""
_FORBIDDEN: Final = frozenset({"crit", "b64"})


class Rules(msgspec.Struct, frozen=True):
    """What an app asks of its tokens besides a signature. `leeway` is in seconds."""

    issuer: str | None = None
    audience: str | None = None
    leeway: float = 0.0


class Glance(NamedTuple):
    """What an unverified token says that decides by which keys it is verified."""

    algorithm: str
    key_id: str | None
    app: object
    """Its `app` claim; None without one."""


def glance(token: str) -> Glance:
    """Read what is needed to find the keys; nothing of it is true yet. Raises Unauthenticated."""
    if len(token) > MAX_TOKEN:
        raise Unauthenticated(f"The token has {len(token)} characters; allowed are {MAX_TOKEN}")
    try:
        parts = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, RecursionError) as exc:
        raise Unauthenticated(f"The token is not valid: {exc}") from None
    header, claims = parts["header"], parts["payload"]
    if unknown := sorted(_FORBIDDEN & header.keys()):
        raise Unauthenticated(f"The token is not valid: its header has {unknown[0]}, which is not understood")
    algorithm, key_id = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise Unauthenticated(f"The token is not valid: its alg must be one of {', '.join(ALGORITHMS)}")
    return Glance(algorithm, key_id, claims.get("app"))


def candidates(seen: Glance, keys: Sequence[Key]) -> list[Key]:
    """The keys that may have signed a token: of its algorithm and, where it names one, of its id."""
    return [
        key for key in keys
        if key.algorithm == seen.algorithm and (seen.key_id is None or key.id is None or key.id == seen.key_id)
    ]  # fmt: skip


def verify(token: str, keys: Sequence[Key], rules: Rules, now: float, *, expired: bool = False) -> tuple[Any, Key]:
    """The claims of a token that one of these keys signed, and the key. `now` is in seconds since the epoch.

    Raises Unauthenticated; with `expired`, a token whose time is over is good too.
    """
    fault = "none of the app's keys signed it"
    for key in keys:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.jwk,
                algorithms=[key.algorithm],
                audience=rules.audience,
                issuer=rules.issuer,
                options={
                    "require": ["exp"],
                    "verify_aud": rules.audience is not None,
                    "verify_iss": rules.issuer is not None,
                    "verify_sub": False,  # from_jwt does
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidSignatureError:
            continue
        except (jwt.PyJWTError, RecursionError) as exc:
            fault = str(exc)
            break
        _check_times(claims, rules.leeway, now, expired)
        return claims, key
    raise Unauthenticated(f"The token is not valid: {fault}")


def _check_times(claims: dict[str, Any], leeway: float, now: float, expired: bool) -> None:
    if "nbf" in claims and _seconds(claims, "nbf") > now + leeway:
        raise Unauthenticated("The token is not valid yet (nbf)")
    if "iat" in claims and _seconds(claims, "iat") > now + leeway + MAX_SKEW:
        raise Unauthenticated("The token is not valid: its iat lies in the future")
    if _seconds(claims, "exp") + leeway <= now and not expired:
        raise Unauthenticated("The token has expired; get a new one")


def _seconds(claims: dict[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Unauthenticated(f"The token's {name} claim must be a time in seconds since 1970")
    return value
