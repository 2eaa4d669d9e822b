"""The hash under which credentials are kept: the store never sees one itself."""

import hashlib


def digest(text: str) -> str:
    """SHA-256 in hexadecimal. Credentials are long and random, so one round is enough."""
    return hashlib.sha256(text.encode()).hexdigest()
