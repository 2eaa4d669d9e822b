"""`GET /v1/events`, `/v1/events/{id}`: reading the log."""

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub.core.errors import Invalid
from hub.core.topics import check_pattern, check_type_pattern
from hub.store import listing
from hub.store.log import Entry
from hub.web.auth import authenticate
from hub.web.context import context
from hub.web.http import check_query, ok, page, query_cursor, query_limit

_PARAMETERS: Final = frozenset({"topic", "type", "after", "before", "limit", "order"})


async def list_events(request: Request) -> Response:
    """Oldest first, or newest first with `order=desc`. A short page with `has_more` looked at much else."""
    principal = await authenticate(request, "events:read")
    check_query(request, _PARAMETERS)
    query = request.query_params
    order = query.get("order", "asc")
    if order not in ("asc", "desc"):
        raise Invalid.field("order", f"{order[:40]!r} is not an order; allowed: asc, desc")
    limit = query_limit(request)
    found = await listing.page(
        context(request).log,
        principal.app,
        topic=check_pattern(query.get("topic", "**"), "topic"),
        types=tuple(check_type_pattern(kind, "type") for kind in query.getlist("type")),
        after=query_cursor(request, "after"),
        before=query_cursor(request, "before"),
        limit=limit,
        newest_first=order == "desc",
    )
    items = [with_cursor(entry, cursor) for entry, cursor in found.entries]
    return page(request, items, limit=limit, next_cursor=found.next_cursor)


async def read_event(request: Request) -> Response:
    principal = await authenticate(request, "events:read")
    entry, cursor = await context(request).log.find(principal.app, request.path_params["id"])
    return ok(request, with_cursor(entry, cursor))


def with_cursor(entry: Entry, cursor: str) -> msgspec.Raw:
    """The event's own bytes, with its cursor beside them."""
    return msgspec.Raw(entry.body[:-1] + b',"cursor":"%b"}' % cursor.encode())


routes = [
    Route("/v1/events", list_events, methods=["GET"]),
    Route("/v1/events/{id:path}", read_event, methods=["GET"]),
]
