"""Routes of deliveries and their attempts."""

from typing import Final

from hub.core.errors import Conflict, InvalidCursor, NotFound, PayloadExpired
from hub.store.deliveries import Delivery, DeliveryDetail
from hub.store.delivery_scan import Filter
from hub.store.records import DELIVERY, STATUSES
from hub.web import query
from hub.web.auth import scope
from hub.web.http import Page
from hub.web.operation import Call, Operation
from hub.web.paging import Paging

ENDPOINT: Final = query.text("endpoint", "Only those of this endpoint.")
EVENT: Final = query.text("event", "Only those of this event.")
STATUS: Final = query.choice("status", "Only those that stand so.", *STATUSES.values())
SINCE: Final = query.time("since", "Only those of events from this time on.")
UNTIL: Final = query.time("until", "Only those of events before this time.")
PAGING: Final = Paging("deliveries", DELIVERY, newest_first=True)
CURSOR: Final = query.text("cursor", "The same as `after`.", PAGING.check)


async def listing(call: Call[None]) -> Page:
    """By the age of their events, newest first. A short page with `has_more` looked at much else."""
    request = call.request
    window = PAGING.window(request, CURSOR.of(request))
    wanted = Filter(
        endpoint=ENDPOINT.of(request),
        event=EVENT.of(request),
        status=STATUS.of(request),
        since=SINCE.of(request),
        until=UNTIL.of(request),
    )
    return PAGING.page(await call.resources.deliveries.page(call.app, wanted, window), window)


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
        query=(ENDPOINT, EVENT, STATUS, SINCE, UNTIL, *PAGING.params, CURSOR),
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
