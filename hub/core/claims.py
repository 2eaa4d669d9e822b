"""Who is asking, and what they may do: API keys by scope, JWTs (RFC 7519) by capability claims."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from hub.core import topics
from hub.core.errors import Forbidden, HubError, Unauthenticated

_Patterns: TypeAlias = Annotated[list[str], msgspec.Meta(max_length=100)]
DEFAULT_APP: Final = "default"
SCOPES: Final = frozenset(
    {"events:publish", "events:read", "events:subscribe", "endpoints:read", "endpoints:write", "admin"}
)


class Principal(msgspec.Struct, frozen=True):
    """An authenticated caller of one app.

    `patterns_*` are the topics that a token grants; None means every topic of the app (an API key with the scope).
    `expires_at` is in seconds since the epoch, None for a key.
    """

    app: str
    scopes: frozenset[str] = frozenset()
    key_id: str | None = None
    user: str | None = None
    subscribe: tuple[str, ...] | None = None
    publish: tuple[str, ...] | None = None
    expires_at: float | None = None

    def require(self, scope: str) -> None:
        if scope not in self.scopes:
            raise Forbidden(f"This credential lacks the scope {scope}; use one that has it")

    def require_subscribe(self, pattern: str) -> None:
        """Raise Forbidden unless every topic that the pattern can match may be received."""
        self._require_topic("events:subscribe", self.subscribe, pattern, "receive")

    def require_publish(self, topic: str) -> None:
        self._require_topic("events:publish", self.publish, topic, "publish to")

    def _require_topic(self, scope: str, granted: tuple[str, ...] | None, wanted: str, verb: str) -> None:
        if granted is None:
            self.require(scope)
        elif not any(topics.covers(pattern, wanted) for pattern in granted):
            raise Forbidden(f"This token may not {verb} {wanted!r}; its hub claim must list a pattern that covers it")


def from_jwt(claims: Mapping[str, Any]) -> Principal:
    """Read verified claims: `sub`, `app`, `hub.subscribe`, `hub.publish`, `exp`. Raises Unauthenticated."""
    app = claims.get("app", DEFAULT_APP)
    if app != DEFAULT_APP:  # a signing key belongs to one app: its holder can't name another
        raise Unauthenticated(f"The token's app claim must be {DEFAULT_APP!r} or absent")
    user = claims.get("sub")
    own = () if user is None else (_own_topic(user),)
    try:
        grants = msgspec.convert(claims.get("hub", {}), dict[str, Any])
    except msgspec.ValidationError:
        message = 'The token\'s hub claim must be an object such as {"subscribe": ["orders.**"]}'
        raise Unauthenticated(message) from None
    return Principal(
        app,
        user=user,
        subscribe=(*_patterns(grants, "subscribe"), *own),
        publish=_patterns(grants, "publish"),
        expires_at=_expiry(claims.get("exp")),
    )


def _own_topic(user: object) -> str:
    if not isinstance(user, str):
        raise Unauthenticated("The token's sub claim must be a string")
    try:
        return topics.user_topic(user, "sub")
    except HubError as exc:
        raise Unauthenticated(f"The token's claim {exc.message}") from None


def _expiry(value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise Unauthenticated("The token's exp claim must be its end in seconds since 1970")
    return seconds


def _patterns(grants: Mapping[str, Any], name: str) -> tuple[str, ...]:
    try:
        values = msgspec.convert(grants.get(name, []), _Patterns)
    except msgspec.ValidationError:
        raise Unauthenticated(f"The token's hub.{name} claim must be a list of at most 100 topic patterns") from None
    try:
        return tuple(topics.check_pattern(value, f"hub.{name}") for value in values)
    except HubError as exc:
        raise Unauthenticated(f"The token's claim {exc.message}") from None
