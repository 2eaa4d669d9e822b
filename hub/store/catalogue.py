"""The catalogue of event types: written by their owners, and asked about every event that is published.

A process keeps the versions of all apps' catalogues and looks each second whether any has changed. An app without types
costs a publish nothing; of one that has some, the version is checked in the store each time, so a schema that was
changed counts for the next event everywhere, and an app's first one within a second.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import msgspec

from hub.core import event_type
from hub.core.errors import Conflict, HubError, Invalid, NotFound
from hub.core.event import now_text
from hub.core.event_type import EventType, EventTypeInput
from hub.store import keys
from hub.store.connect import Link
from hub.store.paging import Slice, Window, page_of
from hub.store.scripts import script
from hub.store.wire import Reply
from hub.telemetry import logger

if TYPE_CHECKING:
    from hub.core.schema import Schema

PERIOD: Final = 1.0
_APPS: Final = 1000
"""Apps whose schemas are kept ready."""
_TRIES: Final = 20
"""Changes of one type at the same time, of which each try lets at least one through."""
_TURN: Final = 0.02
"""Seconds of checking after which others get their turn."""
_NONE: Final = b"0"
Check: TypeAlias = Callable[[EventType | None], None]


class Checked(NamedTuple):
    """An event to be checked: its type, its data as JSON, and what names the data in errors, `[3].data`."""

    type: str
    data: bytes
    field: str


class _Known(NamedTuple):
    """An app's schemas at a version, made when they are first needed; None for a type without one."""

    version: bytes
    schemas: "dict[str, Schema | None]"


class Catalogue:
    """The event types of one deployment."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._seen: bytes | None = None
        self._apps: set[str] = set()
        self._known: OrderedDict[str, _Known] = OrderedDict()

    # -- for owners --------------------------------------------------------------------------------------------------

    async def put(
        self, app: str, name: str, given: EventTypeInput, check: Check | None = None
    ) -> tuple[EventType, bool]:
        """Write a type; returns it, and whether it is new. Raises Invalid, Conflict (too many, or changes).

        `check` sees what is replaced, None where the type is new, and may raise.
        """
        await asyncio.to_thread(event_type.check, name, given)  # it may take some 100 ms
        now = now_text(time.time_ns() // 1_000_000)

        def replaced(known: EventType | None) -> EventType:
            return EventType(type=name, description=given.description, schema=given.schema, example=given.example,
                             created_at=now if known is None else known.created_at, updated_at=now)  # fmt: skip

        record, answer = await self._change(app, name, replaced, check)
        assert record is not None
        if answer == b"many":
            raise Conflict(f"The app has {event_type.MAX_TYPES} event types, which is all that is allowed; delete one")
        return record, answer == b"new"

    async def get(self, app: str, name: str) -> EventType:
        """Raises NotFound."""
        raw = await self._link.call("HGET", keys.event_types(app), name)
        if raw is None:
            raise _missing(name)
        return msgspec.json.decode(raw, type=EventType)

    async def page(self, app: str, window: Window) -> Slice[EventType]:
        """An app's types by name."""
        names = sorted(raw.decode() for raw in await self._link.call("HKEYS", keys.event_types(app)))

        async def load(wanted: list[str]) -> list[EventType | None]:
            found: Reply = await self._link.call("HMGET", keys.event_types(app), *wanted)
            return [None if raw is None else msgspec.json.decode(raw, type=EventType) for raw in found]

        return await page_of(names, load, window)

    async def delete(self, app: str, name: str, check: Check | None = None) -> None:
        """Raises NotFound, and Conflict when others keep changing it. `check` sees what is removed, and may raise."""

        def removed(known: EventType | None) -> None:
            if known is None:
                raise _missing(name)

        await self._change(app, name, removed, check)

    async def purge(self, app: str) -> None:
        """Remove all types of an app."""
        for raw in await self._link.call("HKEYS", keys.event_types(app)):
            await self._write(app, raw.decode(), b"")

    async def example(self, app: str, name: str) -> msgspec.Raw | None:
        """The type's example as JSON; None without one."""
        try:
            example = (await self.get(app, name)).example
        except NotFound:
            return None
        return None if example is msgspec.UNSET else msgspec.Raw(msgspec.json.encode(example))

    async def _change(
        self, app: str, name: str, change: Callable[[EventType | None], EventType | None], check: Check | None
    ) -> tuple[EventType | None, bytes]:
        """Replace a type by what becomes of it, None for nothing; returns that, and what the script said."""
        for _ in range(_TRIES):
            raw = await self._link.call("HGET", keys.event_types(app), name)
            known = None if raw is None else msgspec.json.decode(raw, type=EventType)
            changed = change(known)
            if check is not None:
                check(known)
            record = b"" if changed is None else msgspec.json.encode(changed)
            answer = await self._write(app, name, record, raw or b"")
            if answer != b"changed":
                return changed, answer
        raise Conflict("The event type was changed by others at the same time; try again")

    async def _write(self, app: str, name: str, record: bytes, known: bytes = b"*") -> bytes:
        names = [keys.event_types(app), keys.EVENT_TYPE_VERSIONS]
        answer = await self._link.run(script("type_put"), names, [app, name, record, event_type.MAX_TYPES, known])
        await self.look()
        return answer

    # -- for publishers ----------------------------------------------------------------------------------------------

    def has(self, app: str) -> bool:
        """Whether the app ever had types: without any, nothing is to be checked."""
        return app in self._apps

    async def check(self, app: str, events: Iterable[Checked]) -> None:
        """Raise Invalid unless the data of each event is as its type's schema says; the first that isn't is named."""
        known = await self._current(app)
        began = time.monotonic()
        for event in events:
            if event.type not in known.schemas:
                known.schemas[event.type] = await self._schema(app, event.type)
            schema = known.schemas[event.type]
            if schema is None:
                continue
            if time.monotonic() - began > _TURN:
                await asyncio.sleep(0)
                began = time.monotonic()
            try:
                data = msgspec.json.decode(event.data)
            except RecursionError:
                raise Invalid.field(event.field, "is nested too deep") from None
            schema.check(data, event.field)

    async def _current(self, app: str) -> _Known:
        version = await self._link.call("HGET", keys.EVENT_TYPE_VERSIONS, app) or _NONE
        known = self._known.get(app)
        if known is None or known.version != version:
            known = self._known[app] = _Known(version, {})
            if len(self._known) > _APPS:
                self._known.popitem(last=False)
        self._known.move_to_end(app)
        return known

    async def _schema(self, app: str, name: str) -> "Schema | None":
        raw = await self._link.call("HGET", keys.event_types(app), name)
        document = None if raw is None else msgspec.json.decode(raw, type=EventType).schema
        if document is None:
            return None
        from hub.core.schema import Schema  # only here: its library takes long to import

        return Schema(document, is_known=True)

    async def look(self) -> None:
        """Learn which apps have types, if that has changed."""
        seen = await self._link.call("HGET", keys.EVENT_TYPE_VERSIONS, "")
        if seen != self._seen:
            self._apps = {raw.decode() for raw in await self._link.call("HKEYS", keys.EVENT_TYPE_VERSIONS)} - {""}
            self._seen = seen

    async def run(self) -> None:
        """Look each second, until cancelled."""
        while True:
            try:
                await self.look()
            except HubError as exc:
                logger().debug("catalogue_waits", reason=exc.message)
            await asyncio.sleep(PERIOD)


def _missing(name: str) -> NotFound:
    return NotFound(f"No event type {name[:80]!r}")
