"""The hash under which credentials are kept: the store never sees one itself."""

import hashlib
import hmac


def digest(text: str) -> str:
    """SHA-256 in hexadecimal. Credentials are long and random, so one round is enough."""
    return hashlib.sha256(text.encode()).hexdigest()


def matches(text: str, known: str) -> bool:
    """Whether a credential has this digest; how long that takes says nothing."""
    return hmac.compare_digest(digest(text), known)
