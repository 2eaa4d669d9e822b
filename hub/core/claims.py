"""Who is asking, and what they may do: API keys by scope, JWTs (RFC 7519) by capability claims."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from hub.core import topics
from hub.core.errors import Forbidden, HubError, Unauthenticated

_Patterns: TypeAlias = Annotated[list[str], msgspec.Meta(max_length=100)]
DEFAULT_APP: Final = "default"
ALL_APPS: Final = "apps"
"""The scope of who runs the deployment: make and change apps, and keys in any. Only keys of DEFAULT_APP can have it."""
SCOPES: Final = frozenset(
    {"events:publish", "events:read", "events:subscribe", "endpoints:read", "endpoints:write", "admin", ALL_APPS}
)
TOKEN_SCOPES: Final = SCOPES - {"admin", ALL_APPS}
"""What a JWT may claim: whoever signs tokens administers nothing by it."""


class Principal(msgspec.Struct, frozen=True):
    """An authenticated caller of one app.

    `subscribe`, `publish` and `presence` are the patterns that a token grants; None means every topic of the app, for
    who has the scope. `expires_at` is in seconds since the epoch, None for what has no end; `issued_at` in ms, 0 where
    a token doesn't say. By `key_id`, `token_id`, `user` and `signer`, the key that signed a token, a credential can be
    revoked (see core.revocation).
    """

    app: str
    scopes: frozenset[str] = frozenset()
    key_id: str | None = None
    user: str | None = None
    subscribe: tuple[str, ...] | None = None
    publish: tuple[str, ...] | None = None
    expires_at: float | None = None
    token_id: str | None = None
    issued_at: int = 0
    presence: tuple[str, ...] | None = None
    signer: str | None = None

    def require(self, scope: str) -> None:
        if scope not in self.scopes:
            raise Forbidden(f"This credential lacks the scope {scope}; use one that has it")

    def require_key(self, what: str) -> None:
        """Raise Forbidden for the holder of a token, who administers nothing by it."""
        if self.key_id is None:
            raise Forbidden(f"A token may not {what}; use an API key")

    def require_subscribe(self, pattern: str) -> None:
        """Raise Forbidden unless every topic that the pattern can match may be received."""
        self._require_topic("events:subscribe", self.subscribe, pattern, "receive")

    def require_publish(self, topic: str) -> None:
        self._require_topic("events:publish", self.publish, topic, "publish to")

    def require_presence(self, topic: str) -> None:
        """Raise Forbidden unless who is in the topic may be known."""
        self._require_topic("events:subscribe", self.presence, topic, "see who is in")

    def _require_topic(self, scope: str, granted: tuple[str, ...] | None, wanted: str, verb: str) -> None:
        if granted is None:
            self.require(scope)
        elif not any(topics.covers(pattern, wanted) for pattern in granted):
            raise Forbidden(f"This token may not {verb} {wanted!r}; its hub claim must list a pattern that covers it")


def from_jwt(
    claims: Mapping[str, Any], digest: str = "", *, app: str = DEFAULT_APP, signer: str | None = None
) -> Principal:
    """Read verified claims: `sub`, `app`, `scope`, `hub.subscribe`, `hub.publish`, `hub.presence`, `exp`, `iat`, `jti`.

    Raises Unauthenticated. `app` is whose key signed the token, and `signer` that key's id. A token without a `jti` is
    known by the digest of its text. `scope` (RFC 8693, section 4.2) may hold others' words too: they mean nothing here.
    """
    if claims.get("app", DEFAULT_APP) != app:  # a signing key belongs to one app: its holder can't name another
        raise Unauthenticated(f"The token's app claim must be {app!r}{' or absent' if app == DEFAULT_APP else ''}")
    user = claims.get("sub")
    own = () if user is None else (_own_topic(user),)
    try:
        grants = msgspec.convert(claims.get("hub", {}), dict[str, Any])
    except msgspec.ValidationError:
        message = 'The token\'s hub claim must be an object such as {"subscribe": ["orders.**"]}'
        raise Unauthenticated(message) from None
    scopes = _scopes(claims.get("scope", ""))

    def granted(name: str, scope: str, *more: str) -> tuple[str, ...] | None:
        """The patterns; where none are named, the scope stands for every topic."""
        return None if name not in grants and scope in scopes else (*_patterns(grants, name), *more)

    return Principal(
        app,
        scopes,
        user=user,
        subscribe=granted("subscribe", "events:subscribe", *own),
        publish=granted("publish", "events:publish"),
        presence=granted("presence", "events:subscribe"),
        expires_at=_seconds(claims.get("exp"), "exp claim must be its end"),
        token_id=str(claims.get("jti") or digest) or None,
        issued_at=round(_seconds(claims.get("iat", 0), "iat claim must be its beginning") * 1000),
        signer=signer,
    )


def _scopes(value: object) -> frozenset[str]:
    """What a `scope` claim grants: words with spaces between them, or a list of them as some issuers write it."""
    try:
        words = value.split() if isinstance(value, str) else msgspec.convert(value, list[str])
    except msgspec.ValidationError:
        raise Unauthenticated("The token's scope claim must be a text such as 'events:read events:publish'") from None
    return frozenset(words) & TOKEN_SCOPES


def _own_topic(user: object) -> str:
    if not isinstance(user, str):
        raise Unauthenticated("The token's sub claim must be a string")
    try:
        return topics.user_topic(user, "sub")
    except HubError as exc:
        raise Unauthenticated(f"The token's claim {exc.message}") from None


def _seconds(value: Any, what: str) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise Unauthenticated(f"The token's {what} in seconds since 1970")
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
