"""Tickets: short credentials for URLs that can't carry a header, kept by their hash with whom they let in."""

import secrets
import time
from typing import Final

import msgspec

from hub.core.claims import Principal
from hub.core.errors import Unauthenticated
from hub.store import keys
from hub.store.connect import Link
from hub.store.digest import digest

_PREFIX: Final = "tkt_"


class Tickets:
    def __init__(self, link: Link) -> None:
        self._link = link

    async def issue(self, principal: Principal, expires_at: float) -> str:
        """Make a ticket that lets this principal in until `expires_at`, in seconds since the epoch."""
        ticket = _PREFIX + secrets.token_urlsafe(24)
        ends = max(1, int(expires_at * 1000))
        await self._link.call("SET", keys.ticket(digest(ticket)), msgspec.json.encode(principal), "PXAT", ends)
        return ticket

    async def admit(self, ticket: str, *, once: bool) -> Principal:
        """Whom a ticket lets in, or Unauthenticated. With `once` it is used up, by one of those who come together."""
        raw = await self._link.call("GETDEL" if once else "GET", keys.ticket(digest(ticket)))
        if raw is None:
            raise Unauthenticated("The ticket is not known, was used, or has expired; get a new one")
        principal = msgspec.json.decode(raw, type=Principal)
        if principal.expires_at is not None and principal.expires_at <= time.time():
            raise Unauthenticated("The ticket has expired; get a new one")
        return principal
