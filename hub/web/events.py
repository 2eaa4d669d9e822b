"""`GET /v1/events`, `/v1/events/{id}`: reading the log."""

from typing import Any, Final

import msgspec

from hub.core.errors import InvalidCursor, NotFound
from hub.core.topics import check_pattern, check_type_pattern
from hub.store import listing
from hub.store.log import Entry
from hub.web import query
from hub.web.auth import scope
from hub.web.http import Page
from hub.web.operation import Call, Operation

TOPIC: Final = query.text("topic", "A topic, or a pattern of topics.", check_pattern)
TYPES: Final = query.texts("type", "A type, or a pattern of types; any of those given.", check_type_pattern)
AFTER: Final = query.cursor("after", "Only events after this cursor, the next ones.")
BEFORE: Final = query.cursor("before", "Only events before this cursor, the last ones.")
SINCE: Final = query.time("since", "Only events from this time on.")
UNTIL: Final = query.time("until", "Only events before this time.")
ORDER: Final = query.choice("order", "Oldest or newest first.", "asc", "desc", default="asc")


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event, with its cursor beside it."""

    id: str
    type: str
    topic: str
    timestamp: str
    data: Any
    cursor: str
    source: str | None = None
    subject: str | None = None
    dataschema: str | None = None
    extensions: dict[str, str | int | bool] | None = None


async def list_events(call: Call[None]) -> Page:
    """Oldest first, or newest first with `order=desc`. A cursor is a place in the log, whatever the order: newest first
    goes on by `before` the `next_cursor`, and back by `after` the `prev_cursor`. A short page with `has_more` looked at
    much else."""
    request, limit = call.request, query.LIMIT.of(call.request)
    found = await listing.page(
        call.resources.log,
        call.app,
        topic=TOPIC.of(request) or "**",
        types=TYPES.of(request),
        after=AFTER.of(request),
        before=BEFORE.of(request),
        since=SINCE.of(request),
        until=UNTIL.of(request),
        limit=limit,
        newest_first=ORDER.of(request) == "desc",
    )
    items = [with_cursor(entry, cursor) for entry, cursor in found.entries]
    return Page(items=items, limit=limit, next_cursor=found.next_cursor, prev_cursor=found.prev_cursor)


async def read_event(call: Call[None]) -> msgspec.Raw:
    """An event by its id."""
    entry, cursor = await call.resources.log.find(call.app, call.path("id"))
    return with_cursor(entry, cursor)


def with_cursor(entry: Entry, cursor: str) -> msgspec.Raw:
    """The event's own bytes, with its cursor beside them."""
    return msgspec.Raw(entry.body[:-1] + b',"cursor":"%b"}' % cursor.encode())


_READ: Final = scope("events:read")
operations = (
    Operation(
        "GET", "/v1/events", list_events, "List the log", _READ,
        query=(TOPIC, TYPES, SINCE, UNTIL, AFTER, BEFORE, query.LIMIT, ORDER),
        answer=Event, is_list=True, errors=(InvalidCursor,),
    ),
    Operation("GET", "/v1/events/{id:path}", read_event, "Read one event", _READ, answer=Event, errors=(NotFound,)),
)  # fmt: skip
