"""Standard Webhooks signatures, `v1`: HMAC-SHA256 over `id.timestamp.body` (Standard Webhooks 1.0, "Signatures")."""

import base64
import binascii
import hashlib
import hmac
import secrets

from hub.core.errors import Invalid

PREFIX = "whsec_"


def new_secret() -> str:
    """A fresh signing secret: `whsec_` and 32 random bytes in base64 (the specification asks for 24 to 64)."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def secret_key(secret: str, field: str = "secret") -> bytes:
    """The raw key of a `whsec_` secret, or Invalid."""
    try:
        if not secret.startswith(PREFIX):
            raise binascii.Error
        key = base64.b64decode(secret[len(PREFIX) :], validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not 24 <= len(key) <= 64:
        raise Invalid.field(field, "must be whsec_ and 24 to 64 bytes in base64")
    return key


def sign(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`. `timestamp` is in seconds since the epoch."""
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode()
