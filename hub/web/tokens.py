"""JSON Web Tokens (RFC 7519) that open live connections. Whether one was revoked is asked of the store, each time."""

import time
from collections import OrderedDict
from typing import Any, Final

import jwt

from hub.core.claims import Principal, from_jwt
from hub.core.errors import Unauthenticated
from hub.settings import Settings
from hub.store.digest import digest

_CACHE: Final = 10_000


class Tokens:
    """Verifies JWTs (HS256). That costs tens of microseconds, so a good token is remembered until it expires."""

    def __init__(self, settings: Settings) -> None:
        self._secret = settings.jwt_secret
        self._audience = settings.jwt_audience
        self._known: OrderedDict[str, Principal] = OrderedDict()

    def verify(self, token: str) -> Principal:
        """The token's principal, or Unauthenticated."""
        known = self._known.get(token)
        if known is None:
            known = self._verify(token)
            self._known[token] = known
            if len(self._known) > _CACHE:
                self._known.popitem(last=False)
        if known.expires_at is not None and known.expires_at <= time.time():
            del self._known[token]
            raise Unauthenticated("The token has expired; get a new one")
        return known

    def read(self, token: str) -> Principal:
        """The principal of a token of this hub's, also of one that has expired, or Unauthenticated."""
        return self._verify(token, verify_exp=False)

    def _verify(self, token: str, *, verify_exp: bool = True) -> Principal:
        if self._secret is None:
            raise Unauthenticated("This hub accepts no tokens: HUB_JWT_SECRET is not set")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._secret,
                algorithms=["HS256"],
                audience=self._audience,
                options={"require": ["exp"], "verify_aud": self._audience is not None, "verify_exp": verify_exp},
            )
        except jwt.PyJWTError as exc:
            raise Unauthenticated(f"The token is not valid: {exc}") from None
        return from_jwt(claims, digest(token))
