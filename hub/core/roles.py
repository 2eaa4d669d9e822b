"""Roles: names for sets of scopes, so that a key says what it is for."""

from collections.abc import Iterable, Mapping
from typing import Final

from hub.core.claims import ALL_APPS, SCOPES
from hub.core.errors import Invalid

ROLES: Final[Mapping[str, frozenset[str]]] = {
    "admin": SCOPES - {ALL_APPS},
    "publisher": frozenset({"events:publish"}),
    "subscriber": frozenset({"events:subscribe", "events:read"}),
    "operator": frozenset({"endpoints:read", "endpoints:write", "events:read"}),
}
"""`admin` may do everything within its app; `operator` looks after the webhooks."""


def scopes_of(role: str | None, scopes: Iterable[str]) -> frozenset[str]:
    """What a role and single scopes give together; a name that this version doesn't know gives nothing."""
    return (ROLES.get(role or "", frozenset()) | frozenset(scopes)) & SCOPES


def check_grant(role: str | None, scopes: Iterable[str]) -> None:
    """Raise Invalid unless these are a role or scopes that a key can be given."""
    if role is not None and role not in ROLES:
        raise Invalid.field("role", f"{role[:40]!r} is not allowed; choose from {', '.join(ROLES)}")
    unknown = sorted(set(scopes) - SCOPES)
    if unknown:
        raise Invalid.field("scopes", f"{unknown[0][:40]!r} is not allowed; choose from {', '.join(sorted(SCOPES))}")
    if role is None and not set(scopes):
        raise Invalid.field("scopes", f"is empty; choose from {', '.join(sorted(SCOPES))}, or name a role")
