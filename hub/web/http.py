"""HTTP's common shapes: the envelopes, error answers and request bodies."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from hub import metrics
from hub.core.errors import HubError, PayloadTooLarge, UnsupportedMediaType
from hub.core.event import now_text

MAX_BODY = 64 * 1024
"""Bytes of a request body, except for publishing."""

_encode = msgspec.json.Encoder().encode


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def ok(request: HTTPConnection, data: Any, status: int = 200) -> Response:
    """`{"success": true, "data": …, "meta": …}`; structs, dicts, lists and msgspec.Raw are encoded as they are."""
    return _json({"success": True, "data": data, "meta": _meta(request)}, status)


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a list. A cursor is None at that end; `more` is what else the pagination says."""

    items: Sequence[Any]
    limit: int
    next_cursor: str | None
    prev_cursor: str | None = None
    more: dict[str, Any] = {}


def page(request: HTTPConnection, found: Page) -> Response:
    """A list's answer, with its pagination."""
    pagination = {"next_cursor": found.next_cursor, "prev_cursor": found.prev_cursor, "limit": found.limit,
                  "has_more": found.next_cursor is not None, **found.more}  # fmt: skip
    return _json({"success": True, "data": found.items, "pagination": pagination, "meta": _meta(request)}, 200)


def failed(request: HTTPConnection, exc: HubError) -> Response:
    """An error's answer; as problem+json (RFC 9457) for a client that asks for it."""
    metrics.ERRORS.labels(exc.code).inc()
    details = [{"field": detail.field, "message": detail.message} for detail in exc.details]
    if "application/problem+json" in request.headers.get("accept", ""):
        body = {"type": "about:blank", "title": exc.code, "status": exc.status, "detail": exc.message, "code": exc.code,
                "details": details, "request_id": request_id(request)}  # fmt: skip
        response = _json(body, exc.status)
        response.headers["content-type"] = "application/problem+json"
    else:
        error = {"code": exc.code, "message": exc.message, "details": details}
        response = _json({"success": False, "error": error, "meta": _meta(request)}, exc.status)
    if exc.retry_after is not None:
        response.headers["retry-after"] = str(exc.retry_after)
    if exc.status == 401:
        response.headers["www-authenticate"] = "Bearer"
    return response


def request_id(request: HTTPConnection) -> str:
    return request.scope["state"]["request_id"]


def content_type(request: Request) -> str:
    """The body's media type, without parameters."""
    return request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()


async def read_body(request: Request, limit: int = MAX_BODY, kinds: Sequence[str] | None = None) -> bytes:
    """The request's body as bytes, of one of these types or any. Raises UnsupportedMediaType, PayloadTooLarge."""
    if kinds is not None and (kind := content_type(request)) not in kinds:
        raise UnsupportedMediaType(f"Content-Type {kind!r} is not understood; send {' or '.join(kinds)}")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise PayloadTooLarge(f"The body has {declared} bytes; allowed are {limit}")
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise PayloadTooLarge(f"The body is over {limit} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _meta(request: HTTPConnection) -> dict[str, str]:
    return {"request_id": request_id(request), "timestamp": now_text(now_ms())}


def _json(body: Any, status: int) -> Response:
    return Response(_encode(body), status, media_type="application/json")
