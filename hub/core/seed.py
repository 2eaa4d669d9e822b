"""The chance in what is made: ids, keys, secrets. With an Idempotency-Key it comes out the same when the request is
tried again, so whoever made something and could not say so any more doesn't make another one."""

import base64
import hashlib
import hmac
import secrets


class Seed:
    """Draws bytes, anew each time; from a `root` (a secret) always the same ones, in the order of the draws.

    `at` is when it was drawn from first, in ms: what is made bears that time.
    """

    __slots__ = ("_at", "_drawn", "_root")

    def __init__(self, root: bytes | None = None, at: int | None = None) -> None:
        self._root = root
        self._at = at
        self._drawn = 0

    @property
    def is_kept(self) -> bool:
        """Whether a retry would draw the same."""
        return self._root is not None

    def time(self, now_ms: int) -> int:
        return now_ms if self._at is None else self._at

    def draw(self, count: int) -> bytes:
        """Up to 32 bytes."""
        if self._root is None:
            return secrets.token_bytes(count)
        self._drawn += 1
        return hmac.digest(self._root, b"%d" % self._drawn, hashlib.sha256)[:count]

    def text(self, count: int) -> str:
        """So many bytes in the alphabet of URLs."""
        return base64.urlsafe_b64encode(self.draw(count)).rstrip(b"=").decode()
