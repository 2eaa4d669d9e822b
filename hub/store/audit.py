"""The audit log: what was changed by whom, per app, kept for HUB_AUDIT_RETENTION."""

import re
from typing import Final

import msgspec

from hub.core.errors import Detail, InvalidCursor
from hub.core.event import now_text
from hub.store import keys
from hub.store.connect import Link
from hub.store.wire import Reply

MAX_LENGTH: Final = 100_000
"""Entries that an app keeps at most; the oldest go first."""
_ID: Final = re.compile(r"aud_(\d{1,15}-\d{1,20})")


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """One action as it is kept: never a secret, and of a body only the names of its fields.

    `actor` is `key:ID`, `user:NAME` or `token:ID`; `action` a method and a path with its parameters' names; `target`
    what these stood for, or the id of what was made; `status` the answer's, with the error's code where it was one.
    """

    actor: str
    action: str
    target: str | None
    fields: tuple[str, ...]
    address: str
    request_id: str
    status: int
    error: str | None


class AuditEntry(Deed, frozen=True, kw_only=True):
    """One action, with when it was done (RFC 3339, by the store's clock)."""

    id: str
    at: str


class Audit:
    """The audit logs of one deployment. `retention` is in seconds."""

    def __init__(self, link: Link, retention: int) -> None:
        self._link = link
        self._retention = retention

    async def add(self, app: str, deed: Deed, now_ms: int) -> None:
        """Keep a deed. Raises StoreUnavailable, LogFull."""
        key = keys.audit(app)
        await self._link.pipeline(
            [
                ("XADD", key, "MAXLEN", "~", MAX_LENGTH, "*", "d", msgspec.json.encode(deed)),
                ("XTRIM", key, "MINID", "~", now_ms - self._retention * 1000),
                ("EXPIRE", key, self._retention),
            ]
        )

    async def page(
        self, app: str, *, limit: int, after: str | None = None, before: str | None = None
    ) -> tuple[list[AuditEntry], str | None, str | None]:
        """Up to `limit` deeds, newest first, behind one or before one; with the ids to go on and back from."""
        key = keys.audit(app)
        if before is not None:
            found = await self._link.call("XRANGE", key, f"({_place(before, 'before')}", "+", "COUNT", limit + 1)
            more, found = len(found) > limit, found[:limit][::-1]
            entries = [_entry(raw) for raw in found]
            return entries, entries[-1].id if entries else None, entries[0].id if more else None
        top = "+" if after is None else f"({_place(after, 'after')}"
        found = await self._link.call("XREVRANGE", key, top, "-", "COUNT", limit + 1)
        entries = [_entry(raw) for raw in found[:limit]]
        next_id = entries[-1].id if len(found) > limit else None
        return entries, next_id, entries[0].id if entries and after is not None else None


def _entry(raw: Reply) -> AuditEntry:
    place, fields = raw
    deed = msgspec.json.decode(fields[1], type=Deed)
    at = now_text(int(place.partition(b"-")[0]))
    return AuditEntry(id=f"aud_{place.decode()}", at=at, **msgspec.structs.asdict(deed))


def _place(id: str, field: str) -> str:
    found = _ID.fullmatch(id)
    if found is None:
        message = "is not the id of an entry of this list"
        raise InvalidCursor(f"{field}: {message}", (Detail(field, message),))
    return found[1]
