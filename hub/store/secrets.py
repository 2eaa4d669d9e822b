"""Signing secrets at rest: AES-256-GCM under HUB_SECRET_KEY, bound to the endpoint that they belong to.

What was sealed under an earlier key (HUB_SECRET_KEY_PREVIOUS) is still opened; `hub reseal` seals it anew.
"""

import base64
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hub.core.errors import NotConfigured

_NONCE: Final = 12
_VERSION: Final = "v1:"


class Secrets:
    """Seals under `key`, opens under it and the `previous` ones. Each is 32 bytes; None where none was configured."""

    def __init__(self, key: bytes | None, previous: tuple[bytes, ...] = ()) -> None:
        self._cipher = None if key is None else AESGCM(key)
        self._previous = tuple(AESGCM(one) for one in previous)

    def seal(self, endpoint_id: str, secret: str) -> str:
        """Encrypt a secret for storage. Raises NotConfigured."""
        nonce = os.urandom(_NONCE)
        sealed = self._use().encrypt(nonce, secret.encode(), endpoint_id.encode())
        return _VERSION + base64.b64encode(nonce + sealed).decode()

    def open(self, endpoint_id: str, sealed: str) -> str:
        """The secret. Raises NotConfigured, also when none of the keys is the one that it was sealed with."""
        for cipher in (self._use(), *self._previous):
            if (secret := _opened(cipher, endpoint_id, sealed)) is not None:
                return secret
        raise NotConfigured("HUB_SECRET_KEY is not the key that this endpoint's secret was sealed with")

    def reseal(self, endpoint_id: str, sealed: str) -> str:
        """The same secret, sealed under the present key; as it is where it was already. Raises NotConfigured."""
        if _opened(self._use(), endpoint_id, sealed) is not None:
            return sealed
        return self.seal(endpoint_id, self.open(endpoint_id, sealed))

    def check(self) -> None:
        """Raise NotConfigured where nothing can be sealed."""
        self._use()

    def _use(self) -> AESGCM:
        if self._cipher is None:
            raise NotConfigured("HUB_SECRET_KEY is not set, so signing secrets can't be kept; set 32 bytes in base64")
        return self._cipher


def _opened(cipher: AESGCM, endpoint_id: str, sealed: str) -> str | None:
    raw = base64.b64decode(sealed.removeprefix(_VERSION))
    try:
        return cipher.decrypt(raw[:_NONCE], raw[_NONCE:], endpoint_id.encode()).decode()
    except InvalidTag:
        return None
