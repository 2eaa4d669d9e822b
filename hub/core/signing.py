"""Standard Webhooks signatures over `id.timestamp.body` (Standard Webhooks 1.0, "Signatures").

`v1` is HMAC-SHA256 under a secret that both sides know; `v1a` is ed25519 (RFC 8032) under a private key that never
leaves the hub. While a secret is being rotated there are several signatures, separated by spaces.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.core.errors import Invalid
from hub.core.seed import Seed

PREFIX: Final = "whsec_"
PRIVATE: Final = "whsk_"
PUBLIC: Final = "whpk_"

Signature: TypeAlias = Literal["v1", "v1a"]
Key: TypeAlias = bytes | Ed25519PrivateKey
"""What signs: an HMAC key, or a private key."""


def new_secret(kind: Signature = "v1", seed: Seed | None = None) -> str:
    """A fresh secret: `whsec_` and 32 random bytes in base64 (the specification asks for 24 to 64), or `whsk_` and an
    ed25519 key pair, the seed and then the public key."""
    key = (seed or Seed()).draw(32)
    if kind == "v1":
        return _text(PREFIX, key)
    return _text(PRIVATE, key + _public(Ed25519PrivateKey.from_private_bytes(key)))


def key_of(secret: str, field: str = "secret") -> Key:
    """The key of a `whsec_` or `whsk_` secret, or Invalid."""
    if secret.startswith(PRIVATE):
        pair = _bytes(PRIVATE, secret)
        if len(pair) == 64:
            key = Ed25519PrivateKey.from_private_bytes(pair[:32])
            if _public(key) == pair[32:]:
                return key
        raise Invalid.field(field, "must be whsk_ and the 64 bytes of an ed25519 key pair in base64")
    key = _bytes(PREFIX, secret)
    if not 24 <= len(key) <= 64:
        raise Invalid.field(field, "must be whsec_ and 24 to 64 bytes in base64")
    return key


def kind_of(secret: str) -> Signature:
    """Which signature a secret makes."""
    return "v1a" if secret.startswith(PRIVATE) else "v1"


def shown(secret: str) -> str:
    """What a receiver verifies with: a `whsec_` secret itself; of a `whsk_` key the public half, `whpk_`."""
    return secret if kind_of(secret) == "v1" else _text(PUBLIC, _bytes(PRIVATE, secret)[32:])


def sign(keys: Iterable[Key], message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`, one signature per key. `timestamp` is in seconds since the epoch."""
    content = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(
        "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
        if isinstance(key, bytes)
        else "v1a," + base64.b64encode(key.sign(content)).decode()
        for key in keys
    )


def _text(prefix: str, raw: bytes) -> str:
    return prefix + base64.b64encode(raw).decode()


def _bytes(prefix: str, text: str) -> bytes:
    """The bytes behind a prefix; none where the text has another form."""
    try:
        return base64.b64decode(text.removeprefix(prefix), validate=True) if text.startswith(prefix) else b""
    except (binascii.Error, ValueError):
        return b""


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()
