"""Revocation: which credentials a revocation ends.

Each credential has names, `token:ID`, `user:NAME`, `key:ID` and `signer:ID` (the key that signed a token). A revocation
strikes one name: a token or a key for good, a user's credentials as far as they were issued up to a moment.
"""

from collections.abc import Mapping
from typing import Final

from hub.core.claims import Principal

_USER: Final = "user:"


def token_name(token_id: str) -> str:
    return f"token:{token_id}"


def user_name(user: str) -> str:
    return _USER + user


def key_name(key_id: str) -> str:
    return f"key:{key_id}"


def signer_name(key_id: str) -> str:
    return f"signer:{key_id}"


def names(principal: Principal) -> list[str]:
    """The names by which this credential can be revoked."""
    found: list[str] = []
    if principal.key_id is not None:
        found.append(key_name(principal.key_id))
    if principal.token_id is not None:
        found.append(token_name(principal.token_id))
    if principal.user is not None:
        found.append(user_name(principal.user))
    if principal.signer is not None:
        found.append(signer_name(principal.signer))
    return found


def is_void(principal: Principal, struck: Mapping[str, int]) -> bool:
    """Whether a revocation, name to moment in ms, ends this credential, as it does one that says no time of its own."""
    return any(
        name in struck and (not name.startswith(_USER) or principal.issued_at <= struck[name])
        for name in names(principal)
    )
