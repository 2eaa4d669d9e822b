"""Routes of webhook endpoints."""

from collections.abc import Callable
from typing import Final

import msgspec
from starlette.requests import Request

from hub.core.endpoint import ID, EndpointInput, EndpointPatch
from hub.core.errors import Conflict, EndpointUrlForbidden, InvalidCursor, NotConfigured, NotFound
from hub.core.rotation import Rotation
from hub.core.topics import check_topic, check_type, matches_any
from hub.store.deliveries import DeliveryDetail
from hub.store.endpoints import Endpoint, SigningSecrets
from hub.store.figures import EndpointStats
from hub.store.samples import SampleInput
from hub.web import query
from hub.web.auth import scope
from hub.web.http import Page, request_id
from hub.web.operation import Body, Call, Operation
from hub.web.paging import Paging

PAGING: Final = Paging("endpoints", ID, newest_first=True)
ENABLED: Final = query.choice("enabled", "Only those that are, or aren't.", "true", "false")
TYPE: Final = query.text("type", "Only those that take events of this type.", check_type)
TOPIC: Final = query.text("topic", "Only those that take events of this topic.", check_topic)


class NewEndpoint(Endpoint, frozen=True, kw_only=True):
    """An endpoint and, this once, its secret."""

    secret: str


async def create(call: Call[EndpointInput]) -> NewEndpoint:
    """The answer has the endpoint's secret, this once."""
    endpoint, secret = await call.resources.endpoints.create(call.app, call.body, call.seed)
    return NewEndpoint(**msgspec.structs.asdict(endpoint), secret=secret)


async def listing(call: Call[None]) -> Page:
    """By age, newest first. A short page with `has_more` looked at much else."""
    window = PAGING.window(call.request)
    return PAGING.page(await call.resources.endpoints.page(call.app, window, _filter(call.request)), window)


def _filter(request: Request) -> Callable[[Endpoint], bool] | None:
    enabled, kind, topic = ENABLED.of(request), TYPE.of(request), TOPIC.of(request)
    if enabled is kind is topic is None:
        return None

    def keep(one: Endpoint) -> bool:
        return (
            enabled in (None, "true" if one.enabled else "false")
            and (kind is None or one.types is None or matches_any(one.types, kind))
            and (topic is None or matches_any(one.topics or ("**",), topic))
        )

    return keep


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


async def test(call: Call[SampleInput]) -> DeliveryDetail:
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
        query=(ENABLED, TYPE, TOPIC, *PAGING.params), answer=Endpoint, is_list=True, errors=(InvalidCursor,),
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
        answer=DeliveryDetail, status=202, errors=(NotFound, Conflict),
    ),
    Operation(
        "GET", "/v1/endpoints/{id}/stats", stats, "Read an endpoint's figures", _READ,
        answer=EndpointStats, errors=(NotFound,),
    ),
)  # fmt: skip
