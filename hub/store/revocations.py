"""Revoked credentials: remembered for as long as they could be used, and told to every web process.

The mark in the store is the truth; the notice on the control stream only makes open connections end at once.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from hub.core.claims import Principal
from hub.core.errors import Unauthenticated
from hub.core.revocation import is_void, names
from hub.store import control, keys
from hub.store.connect import Link
from hub.store.digest import digest
from hub.store.scripts import script

KIND: Final = "revoked"
LONGEST: Final = 366 * 86400
"""Seconds that a revocation is remembered where the credential's end isn't known."""


class Revoked(msgspec.Struct, frozen=True):
    """What the notice holds: a name (see core.revocation) and the moment, in ms, up to which it is void."""

    name: str
    before: int


class Revocations:
    """Asks the store each time: a revoked credential is refused by the next request on every process."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def revoke(self, app: str, name: str, now_ms: int, seconds: int = LONGEST) -> None:
        """Void the credentials of this name. Raises StoreUnavailable: it may then have happened or not."""
        notice = msgspec.json.encode(Revoked(name, now_ms))
        await self._link.run(
            script("revoke"),
            [keys.revoked(app, digest(name)), keys.CONTROL],
            [now_ms, seconds, control.MAX_LENGTH, KIND, app, notice],
        )

    async def check(self, principal: Principal) -> None:
        """Raise Unauthenticated if this credential was revoked."""
        if (await self.void([principal]))[0]:
            raise Unauthenticated("The credential was revoked; get a new one")

    async def void(self, principals: Sequence[Principal]) -> list[bool]:
        """For each whether it was revoked."""
        named = [(principal, name) for principal in principals for name in names(principal)]
        if not named:
            return [False] * len(principals)
        marks = await self._link.call("MGET", *(keys.revoked(one.app, digest(name)) for one, name in named))
        struck = {(one.app, name): int(mark) for (one, name), mark in zip(named, marks, strict=True) if mark}
        return [
            is_void(one, {name: struck[one.app, name] for name in names(one) if (one.app, name) in struck})
            for one in principals
        ]
