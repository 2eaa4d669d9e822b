"""Routes of the catalogue of event types."""

from typing import Final

from hub.core.errors import Conflict, InvalidCursor, NotFound
from hub.core.event_type import EventType, EventTypeInput
from hub.web.auth import scope
from hub.web.http import Page
from hub.web.operation import Answer, Body, Call, Operation
from hub.web.paging import Paging

PAGING: Final = Paging("event-types")


async def put(call: Call[EventTypeInput]) -> Answer:
    """It is written as a whole. With a schema, what is published with this type from now on must be as that says."""
    call.principal.require_key("change the catalogue")
    written, is_new = await call.resources.catalogue.put(call.app, call.path("type"), call.body, call.check_match)
    return Answer(written, status=201 if is_new else 200)


async def listing(call: Call[None]) -> Page:
    """By name."""
    window = PAGING.window(call.request)
    return PAGING.page(await call.resources.catalogue.page(call.app, window), window)


async def read(call: Call[None]) -> EventType:
    """What the catalogue says of a type."""
    return await call.resources.catalogue.get(call.app, call.path("type"))


async def delete(call: Call[None]) -> None:
    """Nothing is checked for this type any more."""
    call.principal.require_key("change the catalogue")
    await call.resources.catalogue.delete(call.app, call.path("type"), call.check_match)


_READ: Final = scope("endpoints:read")
_WRITE: Final = scope("endpoints:write")
_PATH: Final = "/v1/event-types/{type:path}"
operations = (
    Operation(
        "GET", "/v1/event-types", listing, "List event types", _READ,
        query=PAGING.params, answer=EventType, is_list=True, errors=(InvalidCursor,),
    ),
    Operation("GET", _PATH, read, "Read one event type", _READ, answer=EventType, errors=(NotFound,)),
    Operation(
        "PUT", _PATH, put, "Write an event type", _WRITE,
        body=Body(EventTypeInput, example={"description": "an order came in", "example": {"total": 99}}),
        answer=EventType, errors=(Conflict,), conditional=True,
        more_answers={"201": {"description": "The type is new."}},
    ),
    Operation(
        "DELETE", _PATH, delete, "Delete an event type", _WRITE,
        status=204, errors=(NotFound, Conflict), conditional=True,
    ),
)  # fmt: skip
