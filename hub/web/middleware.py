"""Around every request: its id, its one wide log line, and an answer in the hub's shape for whatever went wrong."""

import random
import re
import time
from collections.abc import Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub import metrics
from hub.core.errors import HubError, Invalid, MethodNotAllowed, NotFound
from hub.core.opaque import hide
from hub.telemetry import logger, wide
from hub.web.door import REFUSED
from hub.web.exchange import Whole, Writer, join
from hub.web.http import SECURITY, Lines, broken, failed
from hub.web.incoming import Incoming, NamedHeaders
from hub.web.operation import Resource

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_POLICY: Final = b"content-security-policy"
_VARY: Final = (b"vary", b"Origin")
_QUIET: Final = frozenset({"/health/live", "/health/ready", "/metrics"})


class RequestContext:
    """Takes or makes the `X-Request-ID`, returns it, and logs the request: never its query, which may hold a token.

    It also adds what every answer carries, and the headers that an inner layer left in the state.

    `direct` has resources by their paths, each with the headers of its version: a request that names no version and
    comes from no page goes to them past the layers within, which would find nothing to do. `cors` says that answers
    depend on the origin.
    """

    def __init__(self, app: ASGIApp, direct: Mapping[str, tuple[Resource, Lines]], *, cors: bool) -> None:
        self._app = app
        vary = [_VARY] if cors else []
        self._direct = {
            path: (resource, _Same([*SECURITY, *lines, *vary]), _Same([*SECURITY[:-1], *lines, *vary]))
            for path, (resource, lines) in direct.items()
        }
        self._cors = cors
        self._writer = Writer()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request = Incoming(scope, receive, send) if scope["type"] == "http" else None
        headers = NamedHeaders(scope) if request is None else request.headers
        trip = _Trip(scope, headers)
        try:
            if request is not None and (found := self._to(scope, headers)) is not None:
                resource, same, with_policy = found
                response = await resource.respond(request)
                trip.begin(response.status_code)
                same = same if type(response) is Whole or not _has_policy(response.raw_headers) else with_policy
                response.raw_headers.append((b"x-request-id", trip.request_id.encode()))
                if not self._writer.write(response, send, same.lines):
                    response.raw_headers += same.headers
                    await response(scope, receive, send)
            else:
                await self._app(scope, receive, trip.through(send))
        except Exception:  # the answer to a bug is on its way, or can't be given any more
            logger().exception("request_broken_off", path=hide(scope["path"]), request_id=trip.request_id)
            raise
        finally:
            trip.end()

    def _to(self, scope: Scope, headers: NamedHeaders) -> "tuple[Resource, _Same, _Same] | None":
        found = self._direct.get(scope["path"])
        if found is None or "api-version" in headers or b"version=" in scope["query_string"]:
            return None
        return None if self._cors and "origin" in headers else found


class _Same:
    """Headers that each answer of a resource has, also as the lines that they are sent in."""

    __slots__ = ("headers", "lines")

    def __init__(self, headers: Lines) -> None:
        self.headers = headers
        self.lines = join(headers)


class _Trip:
    """One request on its way through: when it began, what was answered."""

    __slots__ = ("_began", "_scope", "_status", "request_id")

    def __init__(self, scope: Scope, headers: NamedHeaders) -> None:
        given = headers.get("x-request-id")
        if given is None or not _REQUEST_ID.fullmatch(given):
            given = f"req_{random.getrandbits(96):024x}"  # to be unique, not secret: that spares a call of the system
        self.request_id: str = given
        scope.setdefault("state", {})["request_id"] = self.request_id
        self._scope = scope
        self._status = 0
        self._began = time.perf_counter()

    def begin(self, status: int) -> None:
        """An answer begins: count it."""
        self._status = status
        operation = self._scope.get("operation")  # what the client named may be anything, so only what was found
        named = ("WS", "/v1/ws") if self._scope["type"] == "websocket" else ("other", "other")
        found = named if operation is None else (operation.method, operation.path)
        count, seconds = metrics.of_request(*found, status)
        count.inc()
        seconds.observe(time.perf_counter() - self._began)

    def through(self, send: Send) -> Send:
        """The same where the answer comes as ASGI's messages, and its headers with it."""

        async def answer(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
                self.begin(message.get("status", 101))
                headers = [*message.get("headers", ()), (b"x-request-id", self.request_id.encode())]
                headers += self._scope["state"].get("headers", ())
                message["headers"] = [*headers, *(SECURITY[:-1] if _has_policy(headers) else SECURITY)]
            await send(message)

        return answer

    def end(self) -> None:
        scope = self._scope
        if scope["path"] in _QUIET or REFUSED in scope["state"]:
            return
        line = {
            "method": scope.get("method", "WS"),
            "path": hide(scope["path"]),
            "status": self._status,
            "duration_ms": round((time.perf_counter() - self._began) * 1000, 2),
            "request_id": self.request_id,
        }
        wide("request", line, "info" if self._status < 500 else "warning")


def _has_policy(headers: Lines) -> bool:
    return any(name == _POLICY for name, _ in headers)


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


async def no_route(scope: Scope, receive: Receive, send: Send) -> None:
    """A path that leads nowhere; of a handshake too, which starlette would answer by an empty 403."""
    if scope["type"] == "http":
        raise HTTPException(404)
    await failed(HTTPConnection(scope), NotFound(f"No route {scope['path']}"))(scope, receive, send)


async def on_failure(request: Request, exc: Exception) -> Response:
    """A bug of ours outside of the operations, which answer theirs themselves."""
    return broken(request, exc)
