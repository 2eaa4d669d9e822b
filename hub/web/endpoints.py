"""Routes of webhook endpoints."""

from typing import Final

import msgspec

from hub.core.endpoint import EndpointInput, EndpointPatch
from hub.core.errors import Conflict, EndpointUrlForbidden, InvalidCursor, NotConfigured, NotFound
from hub.core.rotation import Rotation
from hub.store.deliveries import Delivery
from hub.store.endpoints import Endpoint, SigningSecrets
from hub.store.figures import EndpointStats
from hub.store.records import is_endpoint_id
from hub.store.samples import SampleInput
from hub.web import query
from hub.web.auth import scope
from hub.web.http import Page, request_id
from hub.web.operation import Body, Call, Operation


def _check_id(text: str, name: str) -> str:
    if text and not is_endpoint_id(text):
        raise InvalidCursor.field(name, "is not a cursor of this listing; pass one back exactly as an answer had it")
    return text


AFTER: Final = query.text("after", "The `next_cursor` of the page before.", _check_id)


class NewEndpoint(Endpoint, frozen=True, kw_only=True):
    """An endpoint and, this once, its secret."""

    secret: str


async def create(call: Call[EndpointInput]) -> NewEndpoint:
    """The answer has the endpoint's secret, this once."""
    endpoint, secret = await call.resources.endpoints.create(call.app, call.body, call.seed)
    return NewEndpoint(**msgspec.structs.asdict(endpoint), secret=secret)


async def listing(call: Call[None]) -> Page:
    """Newest first."""
    limit = query.LIMIT.of(call.request)
    items, after = await call.resources.endpoints.page(call.app, limit=limit, below=AFTER.of(call.request))
    return Page(items=items, limit=limit, next_cursor=after)


async def read(call: Call[None]) -> Endpoint:
    """An endpoint, how it does included."""
    return await call.resources.endpoints.get(call.app, call.path("id"))


async def update(call: Call[EndpointPatch]) -> Endpoint:
    """What is absent stays; null sets what has a default back to it."""
    return await call.resources.endpoints.update(call.app, call.path("id"), call.body, call.check_match)


async def delete(call: Call[None]) -> None:
    """Nothing more is owed to it, and what was queued is cancelled."""
    await call.resources.endpoints.delete(call.app, call.path("id"), call.check_match)


async def secret(call: Call[None]) -> SigningSecrets:
    """What the receiver verifies with, for whoever may change the endpoint."""
    call.headers["cache-control"] = "no-store"
    return await call.resources.endpoints.secrets(call.app, call.path("id"))


async def rotate(call: Call[Rotation]) -> SigningSecrets:
    """Another secret; the old one signs beside it for the grace."""
    return await call.resources.endpoints.rotate(call.app, call.path("id"), call.body)


async def test(call: Call[SampleInput]) -> Delivery:
    """A test event is owed to this endpoint alone; the answer is its delivery, to be read again with its attempts."""
    resources, app = call.resources, call.app
    example = await resources.catalogue.example(app, call.body.type)
    id = await resources.samples.send(app, call.path("id"), call.body, example, request_id(call.request))
    return await resources.deliveries.get(app, id)


async def stats(call: Call[None]) -> EndpointStats:
    """What its attempts came to in the last hour, day and week, and what it is owed now."""
    return await call.resources.figures.read(call.app, call.path("id"))


_READ: Final = scope("endpoints:read")
_WRITE: Final = scope("endpoints:write")
operations = (
    Operation(
        "POST", "/v1/endpoints", create, "Register a webhook", _WRITE,
        body=Body(EndpointInput, example={"url": "https://partner.example/hooks", "types": ["order.*"]}),
        answer=NewEndpoint, status=201, errors=(EndpointUrlForbidden, NotConfigured),
    ),
    Operation(
        "GET", "/v1/endpoints", listing, "List endpoints", _READ,
        query=(AFTER, query.LIMIT), answer=Endpoint, is_list=True, errors=(InvalidCursor,),
    ),
    Operation("GET", "/v1/endpoints/{id}", read, "Read one endpoint", _READ, answer=Endpoint, errors=(NotFound,)),
    Operation(
        "PATCH", "/v1/endpoints/{id}", update, "Change an endpoint", _WRITE,
        body=Body(EndpointPatch, media=("application/json", "application/merge-patch+json"),
                  example={"description": "orders to the warehouse", "max_in_flight": 5}),
        answer=Endpoint, errors=(EndpointUrlForbidden, NotFound, Conflict, NotConfigured), conditional=True,
    ),
    Operation(
        "DELETE", "/v1/endpoints/{id}", delete, "Delete an endpoint", _WRITE,
        status=204, errors=(NotFound,), conditional=True,
    ),
    Operation(
        "GET", "/v1/endpoints/{id}/secret", secret, "Read an endpoint's secrets", _WRITE,
        answer=SigningSecrets, errors=(NotFound, NotConfigured),
    ),
    Operation(
        "POST", "/v1/endpoints/{id}/secret/rotate", rotate, "Rotate an endpoint's secret", _WRITE,
        body=Body(Rotation, example={"grace": 3600}), answer=SigningSecrets, errors=(NotFound, Conflict, NotConfigured),
    ),
    Operation(
        "POST", "/v1/endpoints/{id}/test", test, "Send a test event", _WRITE,
        body=Body(SampleInput, example={"type": "order.created"}),
        answer=Delivery, status=202, errors=(NotFound, Conflict),
    ),
    Operation(
        "GET", "/v1/endpoints/{id}/stats", stats, "Read an endpoint's figures", _READ,
        answer=EndpointStats, errors=(NotFound,),
    ),
)  # fmt: skip
