"""Around every request: its id, its one wide log line, and an answer in the hub's shape for whatever went wrong."""

import re
import secrets
import time
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub import metrics
from hub.core.errors import HubError, Invalid, MethodNotAllowed, NotFound
from hub.core.opaque import hide
from hub.telemetry import logger
from hub.web.http import broken, failed

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SECURITY: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""For every answer that doesn't say otherwise: it is data, to be framed and executed nowhere."""
_QUIET: Final = frozenset({"/health/live", "/health/ready", "/metrics"})


class RequestContext:
    """Takes or makes the `X-Request-ID`, returns it, and logs the request: never its query, which may hold a token.

    It also adds what every answer carries, and the headers that an inner layer left in the state.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"] = request_id
        began = time.perf_counter()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.accept"):
                status = message.get("status", 101)
                operation = scope.get("operation")  # what the client named may be anything, so only what was found
                named = ("WS", "/v1/ws") if scope["type"] == "websocket" else ("other", "other")
                found = named if operation is None else (operation.method, operation.path)
                count, seconds = metrics.of_request(*found, status)
                count.inc()
                seconds.observe(time.perf_counter() - began)
                headers = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                    *state.get("headers", ()),
                ]
                has_policy = any(name == b"content-security-policy" for name, _ in headers)
                message["headers"] = [*headers, *(_SECURITY[:-1] if has_policy else _SECURITY)]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except Exception:
            if scope["type"] == "websocket":  # HTTP's are answered and logged by on_failure
                logger().exception("websocket_failed", path=hide(scope["path"]), request_id=request_id)
            raise
        finally:
            if scope["path"] not in _QUIET:
                duration = round((time.perf_counter() - began) * 1000, 2)
                level = "info" if status < 500 else "warning"
                getattr(logger(), level)("request", method=scope.get("method", "WS"), path=hide(scope["path"]),
                                         status=status, duration_ms=duration, request_id=request_id)  # fmt: skip


async def on_hub_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HubError)
    return failed(request, exc)


async def on_http_error(request: Request, exc: Exception) -> Response:
    """The router's own refusals, in the hub's shape."""
    assert isinstance(exc, HTTPException)
    if exc.status_code == 404:
        return failed(request, NotFound(f"No route {request.url.path}"))
    if exc.status_code == 405:
        response = failed(request, MethodNotAllowed(f"{request.method} is not allowed here; see the Allow header"))
        response.headers.update(exc.headers or {})
        return response
    return failed(request, Invalid(str(exc.detail)))


async def on_failure(request: Request, exc: Exception) -> Response:
    """A bug of ours outside of the operations, which answer theirs themselves."""
    return broken(request, exc)
