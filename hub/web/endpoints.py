"""Routes of webhook endpoints."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub.core.endpoint import EndpointInput, EndpointPatch
from hub.core.errors import InvalidCursor
from hub.core.rotation import Rotation
from hub.store.records import is_endpoint_id
from hub.web.auth import authenticate
from hub.web.context import context
from hub.web.http import check_query, decode_body, ok, page, query_limit


async def create(request: Request) -> Response:
    """POST /v1/endpoints: 201 with the endpoint and, this once, its secret."""
    principal = await authenticate(request, "endpoints:write")
    given = await decode_body(request, EndpointInput)
    endpoint, secret = await context(request).endpoints.create(principal.app, given)
    data: dict[str, Any] = {**msgspec.structs.asdict(endpoint), "secret": secret}
    return ok(request, data, 201)


async def listing(request: Request) -> Response:
    """GET /v1/endpoints, newest first."""
    principal = await authenticate(request, "endpoints:read")
    check_query(request, frozenset(("after", "limit")))
    limit = query_limit(request)
    below = request.query_params.get("after")
    if below and not is_endpoint_id(below):
        raise InvalidCursor.field("after", "is not a cursor of this listing; pass one back exactly as an answer had it")
    items, next_cursor = await context(request).endpoints.page(principal.app, limit=limit, below=below)
    return page(request, items, limit=limit, next_cursor=next_cursor)


async def read(request: Request) -> Response:
    """GET /v1/endpoints/{id}."""
    principal = await authenticate(request, "endpoints:read")
    return ok(request, await context(request).endpoints.get(principal.app, request.path_params["id"]))


async def update(request: Request) -> Response:
    """PATCH /v1/endpoints/{id}: what is absent stays."""
    principal = await authenticate(request, "endpoints:write")
    given = await decode_body(request, EndpointPatch)
    return ok(request, await context(request).endpoints.update(principal.app, request.path_params["id"], given))


async def delete(request: Request) -> Response:
    """DELETE /v1/endpoints/{id}: nothing more is owed to it."""
    principal = await authenticate(request, "endpoints:write")
    await context(request).endpoints.delete(principal.app, request.path_params["id"])
    return ok(request, {"id": request.path_params["id"], "deleted": True})


async def secret(request: Request) -> Response:
    """GET /v1/endpoints/{id}/secret: what the receiver verifies with, for whoever may change the endpoint."""
    principal = await authenticate(request, "endpoints:write")
    return ok(request, await context(request).endpoints.secrets(principal.app, request.path_params["id"]))


async def rotate(request: Request) -> Response:
    """POST /v1/endpoints/{id}/secret/rotate: another secret; the old one signs beside it for the grace."""
    principal = await authenticate(request, "endpoints:write")
    given = await decode_body(request, Rotation)
    return ok(request, await context(request).endpoints.rotate(principal.app, request.path_params["id"], given))


routes: list[Route] = [
    Route("/v1/endpoints", create, methods=["POST"]),
    Route("/v1/endpoints", listing, methods=["GET"]),
    Route("/v1/endpoints/{id}", read, methods=["GET"]),
    Route("/v1/endpoints/{id}", update, methods=["PATCH"]),
    Route("/v1/endpoints/{id}", delete, methods=["DELETE"]),
    Route("/v1/endpoints/{id}/secret", secret, methods=["GET"]),
    Route("/v1/endpoints/{id}/secret/rotate", rotate, methods=["POST"]),
]
