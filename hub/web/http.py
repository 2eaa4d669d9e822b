"""HTTP's common shapes: the envelopes, error answers and request bodies."""

import time
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import msgspec
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from hub import metrics
from hub.core.errors import HubError, PayloadTooLarge, UnsupportedMediaType
from hub.core.event import now_text
from hub.core.opaque import hide
from hub.telemetry import logger
from hub.web.accept import JSON, PROBLEM, choose
from hub.web.exchange import Whole, body_at_hand

Lines: TypeAlias = list[tuple[bytes, bytes]]
"""Headers, as ASGI has them."""
SECURITY: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""For every answer that doesn't say otherwise: it is data, to be framed and executed nowhere."""
MAX_BODY = 64 * 1024
"""Bytes of a request body, except for publishing."""

encode = msgspec.json.Encoder().encode


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def ok(request: HTTPConnection, data: Any, status: int = 200) -> Response:
    """`{"success": true, "data": …, "meta": …}`; structs, dicts, lists and msgspec.Raw are encoded as they are."""
    return Whole(envelope(request, encode(data)), status)


def envelope(request: HTTPConnection, data: bytes, pagination: bytes | None = None) -> bytes:
    """The bytes of a success, around data that is encoded."""
    paging = b"" if pagination is None else b',"pagination":' + pagination
    meta = b'{"request_id":"%b","timestamp":"%b"}' % (request_id(request).encode(), now_text(now_ms()).encode())
    return b'{"success":true,"data":%b%b,"meta":%b}' % (data, paging, meta)


class Fault(msgspec.Struct, frozen=True):
    """One field's fault."""

    field: str
    message: str


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a list. A cursor is None at that end; `more` is what else the pagination says."""

    items: Sequence[Any]
    limit: int
    next_cursor: str | None
    prev_cursor: str | None = None
    more: dict[str, Any] = {}

    def pagination(self) -> dict[str, Any]:
        return {"next_cursor": self.next_cursor, "prev_cursor": self.prev_cursor, "limit": self.limit,
                "has_more": self.next_cursor is not None, **self.more}  # fmt: skip


class ErrorBody(msgspec.Struct, frozen=True):
    """What is wrong (`code`, `message`, `details`), what to do (`hint`), and where to read on (`docs`)."""

    code: str
    message: str
    details: list[Fault]
    hint: str
    docs: str


class Problem(msgspec.Struct, frozen=True):
    """The same as problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    details: list[Fault]
    hint: str
    request_id: str


def failed(request: HTTPConnection, exc: HubError) -> Response:
    """An error's answer; as problem+json (RFC 9457) for a client that likes that better."""
    metrics.ERRORS.labels(exc.code).inc()
    faults = [Fault(detail.field, detail.message) for detail in exc.details]
    about = f"/docs/errors/{exc.code}"
    if choose(request.headers.get("accept", ""), (JSON, PROBLEM)) == PROBLEM:
        problem = Problem(about, exc.title, exc.status, exc.message, exc.code, faults, exc.mend, request_id(request))
        response = Response(encode(problem), exc.status, media_type=PROBLEM)
    else:
        error = ErrorBody(exc.code, exc.message, faults, exc.mend, about)
        response = _json({"success": False, "error": error, "meta": _meta(request)}, exc.status)
    if exc.retry_after is not None:
        response.headers["retry-after"] = str(exc.retry_after)
    if exc.status == 401:
        response.headers["www-authenticate"] = "Bearer"
    return response


def broken(request: HTTPConnection, exc: Exception) -> Response:
    """The answer to a bug of ours: logged with its trace, answered without it."""
    logger().error("request_failed", path=hide(request.url.path), request_id=request_id(request), exc_info=exc)
    return failed(request, HubError("The hub failed on this request; its log has the reason under the request id"))


def request_id(request: HTTPConnection) -> str:
    return request.scope["state"]["request_id"]


def content_type(request: Request) -> str:
    """The body's media type, without parameters."""
    return request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()


async def read_body(request: Request, limit: int = MAX_BODY, kinds: Sequence[str] | None = None) -> bytes:
    """The request's body as bytes, of one of these types or any. Raises UnsupportedMediaType, PayloadTooLarge."""
    if kinds is not None and (kind := content_type(request)) not in kinds:
        raise UnsupportedMediaType(f"Content-Type {kind!r} is not understood; send {' or '.join(kinds)}")
    if (coding := request.headers.get("content-encoding", "identity").lower()) != "identity":
        raise UnsupportedMediaType(f"Content-Encoding {coding[:40]!r} is not understood; send the body as it is")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise PayloadTooLarge(f"The body has {declared} bytes; allowed are {limit}")
    if (whole := body_at_hand(request)) is not None:
        if len(whole) > limit:
            raise PayloadTooLarge(f"The body is over {limit} bytes")
        return whole
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
    return Whole(encode(body), status)
