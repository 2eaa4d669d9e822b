"""The audit log: what was changed by whom, per app, kept for HUB_AUDIT_RETENTION."""

import re
from collections.abc import Callable
from typing import Final

import msgspec

from hub.core.event import now_text
from hub.store import keys
from hub.store.connect import Link
from hub.store.paging import Edge, Row, Slice, Window, walk
from hub.store.wire import Reply

MAX_LENGTH: Final = 100_000
"""Entries that an app keeps at most; the oldest go first."""
ID: Final = re.compile(r"aud_\d{1,15}-\d{1,19}")


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
        self, app: str, window: Window, keep: Callable[[AuditEntry], bool] | None = None
    ) -> Slice[AuditEntry]:
        """An app's deeds by age; of those looked at the ones to `keep`."""

        async def read(edge: Edge | None, count: int) -> list[Row[AuditEntry]]:
            start = None if edge is None else f"{'' if edge.inclusive else '('}{edge.id.removeprefix('aud_')}"
            bounds = ("XREVRANGE", start or "+", "-") if window.downward else ("XRANGE", start or "-", "+")
            found = await self._link.call(bounds[0], keys.audit(app), *bounds[1:], "COUNT", count)
            return [(entry.id, entry) for entry in map(_entry, found)]

        return await walk(window, read, keep)


def _entry(raw: Reply) -> AuditEntry:
    place, fields = raw
    deed = msgspec.json.decode(fields[1], type=Deed)
    at = now_text(int(place.partition(b"-")[0]))
    return AuditEntry(id=f"aud_{place.decode()}", at=at, **msgspec.structs.asdict(deed))
