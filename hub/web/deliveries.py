"""Routes of deliveries and their attempts."""

from typing import Final

from hub.core.errors import Conflict, InvalidCursor, NotFound, PayloadExpired
from hub.store.deliveries import Delivery, DeliveryDetail
from hub.store.delivery_scan import Filter
from hub.store.records import STATUSES
from hub.web import query
from hub.web.auth import scope
from hub.web.http import Page
from hub.web.operation import Call, Operation

ENDPOINT: Final = query.text("endpoint", "Only those of this endpoint.")
EVENT: Final = query.text("event", "Only those of this event.")
STATUS: Final = query.choice("status", "Only those that stand so.", *STATUSES.values())
SINCE: Final = query.time("since", "Only those of events from this time on.")
UNTIL: Final = query.time("until", "Only those of events before this time.")
CURSOR: Final = query.text("cursor", "The `next_cursor` of the page before.")


async def listing(call: Call[None]) -> Page:
    """Newest event first."""
    request, limit = call.request, query.LIMIT.of(call.request)
    wanted = Filter(
        endpoint=ENDPOINT.of(request),
        event=EVENT.of(request),
        status=STATUS.of(request),
        since=SINCE.of(request),
        until=UNTIL.of(request),
    )
    items, next_cursor = await call.resources.deliveries.page(call.app, wanted, limit=limit, cursor=CURSOR.of(request))
    return Page(items=items, limit=limit, next_cursor=next_cursor)


async def read(call: Call[None]) -> DeliveryDetail:
    """A delivery with its attempts, oldest first."""
    return await call.resources.deliveries.get(call.app, call.path("id"))


async def retry(call: Call[None]) -> Delivery:
    """An ended delivery is owed once more."""
    return await call.resources.deliveries.retry(call.app, call.path("id"))


async def cancel(call: Call[None]) -> Delivery:
    """Nothing more is tried."""
    return await call.resources.deliveries.cancel(call.app, call.path("id"))


_READ: Final = scope("endpoints:read")
_WRITE: Final = scope("endpoints:write")
operations = (
    Operation(
        "GET", "/v1/deliveries", listing, "List deliveries", _READ,
        query=(ENDPOINT, EVENT, STATUS, SINCE, UNTIL, CURSOR, query.LIMIT),
        answer=Delivery, is_list=True, errors=(InvalidCursor,),
    ),
    Operation(
        "GET", "/v1/deliveries/{id}", read, "Read one delivery", _READ, answer=DeliveryDetail, errors=(NotFound,)
    ),
    Operation(
        "POST", "/v1/deliveries/{id}/retry", retry, "Retry a delivery", _WRITE,
        answer=Delivery, status=202, errors=(NotFound, Conflict, PayloadExpired),
    ),
    Operation(
        "POST", "/v1/deliveries/{id}/cancel", cancel, "Cancel a delivery", _WRITE,
        answer=Delivery, errors=(NotFound, Conflict),
    ),
)  # fmt: skip
