"""Routes of deliveries and their attempts."""

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub.core.errors import Invalid
from hub.store.delivery_scan import Filter
from hub.store.records import STATUSES
from hub.web.auth import authenticate
from hub.web.context import context
from hub.web.http import check_query, ok, page, query_limit

_QUERY = frozenset(("endpoint", "event", "status", "since", "until", "cursor", "limit"))


async def listing(request: Request) -> Response:
    """GET /v1/deliveries, newest event first."""
    principal = await authenticate(request, "endpoints:read")
    check_query(request, _QUERY)
    limit = query_limit(request)
    query = request.query_params
    wanted = Filter(
        endpoint=query.get("endpoint"),
        event=query.get("event"),
        status=_status(query.get("status")),
        since=_time(request, "since"),
        until=_time(request, "until"),
    )
    items, next_cursor = await context(request).deliveries.page(
        principal.app, wanted, limit=limit, cursor=query.get("cursor")
    )
    return page(request, items, limit=limit, next_cursor=next_cursor)


async def read(request: Request) -> Response:
    """GET /v1/deliveries/{id}, with its attempts."""
    principal = await authenticate(request, "endpoints:read")
    return ok(request, await context(request).deliveries.get(principal.app, request.path_params["id"]))


async def retry(request: Request) -> Response:
    """POST /v1/deliveries/{id}/retry: 202; it is owed once more."""
    principal = await authenticate(request, "endpoints:write")
    return ok(request, await context(request).deliveries.retry(principal.app, request.path_params["id"]), 202)


async def cancel(request: Request) -> Response:
    """POST /v1/deliveries/{id}/cancel: nothing more is tried."""
    principal = await authenticate(request, "endpoints:write")
    return ok(request, await context(request).deliveries.cancel(principal.app, request.path_params["id"]))


def _status(text: str | None) -> str | None:
    if text is not None and text not in STATUSES.values():
        raise Invalid.field("status", f"{text[:40]!r} is not a status; allowed: {', '.join(STATUSES.values())}")
    return text


def _time(request: Request, name: str) -> int | None:
    """A query parameter's RFC 3339 time in ms."""
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(
            text.replace(" ", "+").upper()
        )  # an unescaped + of an offset arrives as a space
        moment = parsed.replace(tzinfo=parsed.tzinfo or UTC).timestamp()
        if moment < 0:
            raise ValueError
    except (ValueError, OverflowError):
        raise Invalid.field(name, f"{text[:40]!r} is not an RFC 3339 time such as 2026-01-31T08:00:00Z") from None
    return round(moment * 1000)


routes: list[Route] = [
    Route("/v1/deliveries", listing, methods=["GET"]),
    Route("/v1/deliveries/{id}", read, methods=["GET"]),
    Route("/v1/deliveries/{id}/retry", retry, methods=["POST"]),
    Route("/v1/deliveries/{id}/cancel", cancel, methods=["POST"]),
]
