"""Who is asking, and what they may do: API keys by scope, JWTs (RFC 7519) by capability claims."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from hub.core import topics
from hub.core.errors import Forbidden, HubError, Unauthenticated

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
    if user is not None and (not isinstance(user, str) or not user or len(topics.user_topic(user)) > topics.MAX_BYTES):
        raise Unauthenticated("The token's sub claim must be a non-empty string of at most 80 bytes")
    grants: Any = claims.get("hub", {})
    if not isinstance(grants, dict):
        raise Unauthenticated('The token\'s hub claim must be an object such as {"subscribe": ["orders.**"]}')
    subscribe = _patterns(grants, "subscribe")
    if user is not None:
        subscribe = (*subscribe, topics.user_topic(user))
    expires_at = float(claims["exp"])
    return Principal(app, user=user, subscribe=subscribe, publish=_patterns(grants, "publish"), expires_at=expires_at)


def _patterns(grants: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values: Any = grants.get(name, [])
    if not isinstance(values, list) or len(values) > 100:  # pyright: ignore[reportUnknownArgumentType]
        raise Unauthenticated(f"The token's hub.{name} claim must be a list of at most 100 topic patterns")
    try:
        return tuple(topics.check_pattern(str(value), f"hub.{name}") for value in values)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    except HubError as exc:
        raise Unauthenticated(f"The token's claim {exc.message}") from None
