"""Signing secrets at rest: AES-256-GCM under HUB_SECRET_KEY, bound to the endpoint that they belong to."""

import base64
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hub.core.errors import NotConfigured

_NONCE: Final = 12
_VERSION: Final = "v1:"


class Secrets:
    """Seals and opens secrets. `key` is 32 bytes, or None where none was configured."""

    def __init__(self, key: bytes | None) -> None:
        self._cipher = None if key is None else AESGCM(key)

    def seal(self, endpoint_id: str, secret: str) -> str:
        """Encrypt a secret for storage. Raises NotConfigured."""
        nonce = os.urandom(_NONCE)
        sealed = self._use().encrypt(nonce, secret.encode(), endpoint_id.encode())
        return _VERSION + base64.b64encode(nonce + sealed).decode()

    def open(self, endpoint_id: str, sealed: str) -> str:
        """The secret. Raises NotConfigured, also when the key is not the one that it was sealed with."""
        raw = base64.b64decode(sealed.removeprefix(_VERSION))
        try:
            return self._use().decrypt(raw[:_NONCE], raw[_NONCE:], endpoint_id.encode()).decode()
        except InvalidTag:
            raise NotConfigured("HUB_SECRET_KEY is not the key that this endpoint's secret was sealed with") from None

    def check(self) -> None:
        """Raise NotConfigured where nothing can be sealed."""
        self._use()

    def _use(self) -> AESGCM:
        if self._cipher is None:
            raise NotConfigured("HUB_SECRET_KEY is not set, so signing secrets can't be kept; set 32 bytes in base64")
        return self._cipher
