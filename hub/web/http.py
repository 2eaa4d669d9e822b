"""HTTP's common shapes: the envelopes, error answers, request bodies and query parameters."""

import time
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from hub.core import cursor as cursors
from hub.core.cursor import Cursor
from hub.core.errors import HubError, Invalid, PayloadTooLarge, UnsupportedMediaType, from_msgspec
from hub.core.event import now_text

T = TypeVar("T")
MAX_BODY = 64 * 1024
"""Bytes of a request body, except for publishing."""

_encode = msgspec.json.Encoder().encode


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def ok(request: HTTPConnection, data: Any, status: int = 200) -> Response:
    """`{"success": true, "data": …, "meta": …}`; structs, dicts, lists and msgspec.Raw are encoded as they are."""
    return _json({"success": True, "data": data, "meta": _meta(request)}, status)


def page(
    request: HTTPConnection, items: Sequence[Any], *, limit: int, next_cursor: str | None, **more: Any
) -> Response:
    """A list's answer, with its pagination and what `more` adds to that. `next_cursor` is None at the end."""
    pagination = {"next_cursor": next_cursor, "prev_cursor": None, "limit": limit, "has_more": next_cursor is not None,
                  **more}  # fmt: skip
    return _json({"success": True, "data": items, "pagination": pagination, "meta": _meta(request)}, 200)


def failed(request: HTTPConnection, exc: HubError) -> Response:
    """An error's answer; as problem+json (RFC 9457) for a client that asks for it."""
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


async def read_body(request: Request, limit: int = MAX_BODY, kinds: Sequence[str] = ("application/json",)) -> bytes:
    """The request's body as bytes, of one of these types. Raises UnsupportedMediaType, PayloadTooLarge."""
    if (kind := content_type(request)) not in kinds:
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


async def decode_body(request: Request, shape: type[T]) -> T:
    """The request's JSON body as a struct, or Invalid naming the field. An empty body is an empty object."""
    try:
        return msgspec.json.decode(await read_body(request) or b"{}", type=shape)
    except msgspec.MsgspecError as exc:
        raise from_msgspec(exc) from None
    except RecursionError:
        raise Invalid.field("body", "is nested too deep") from None


def query_limit(request: HTTPConnection, default: int = 50, most: int = 500, name: str = "limit") -> int:
    """A number from 1 to `most` in the query, or Invalid."""
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most):
        raise Invalid.field(name, f"{text[:40]!r} is not a number from 1 to {most}")
    return int(text)


def query_cursor(request: HTTPConnection, name: str) -> Cursor:
    text = request.query_params.get(name)
    return cursors.decode(text, name) if text else ()


def check_query(request: HTTPConnection, allowed: frozenset[str]) -> None:
    """Raise Invalid for a parameter that the route doesn't know, so that a misspelt filter never widens a result."""
    for name in request.query_params:
        if name not in allowed:
            raise Invalid.field(name[:80], f"is not a parameter here; allowed: {', '.join(sorted(allowed))}")


def _meta(request: HTTPConnection) -> dict[str, str]:
    return {"request_id": request_id(request), "timestamp": now_text(now_ms())}


def _json(body: Any, status: int) -> Response:
    return Response(_encode(body), status, media_type="application/json")
