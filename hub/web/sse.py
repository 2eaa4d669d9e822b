"""`GET /v1/stream`: server-sent events (WHATWG HTML, section 9.2), resumed by Last-Event-ID."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from sse_starlette import sse
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from hub.core import cursor as cursors
from hub.core.claims import Principal
from hub.core.cursor import Cursor
from hub.core.errors import Invalid, NotAcceptable, Unauthenticated
from hub.core.topics import check_pattern, check_type_pattern
from hub.live import notices
from hub.live.connection import PlainConnection, RawConnection
from hub.live.gateway import Gateway
from hub.live.replay import Start
from hub.live.rooms import RoomKey
from hub.web.auth import authenticate_live
from hub.web.context import context
from hub.web.http import check_query, query_limit
from hub.web.protocols import EXTENSION, LiveHttp

MAX_TOPICS: Final = 100
MAX_HISTORY: Final = 1000
HEARTBEAT: Final = 15.0
_PARAMETERS: Final = frozenset({"topic", "type", "history", "after", "last_event_id", "named", "token"})
_HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}
# The gateway closes streams itself; the package's own watcher of uvicorn's signals would end them unfinished.
sse.AppStatus.disable_automatic_graceful_drain()


async def stream(request: Request) -> Response:
    principal = await authenticate_live(request)
    if principal is None:
        raise Unauthenticated("No credential; send Authorization: Bearer TOKEN, or ?token= where headers can't be set")
    check_query(request, _PARAMETERS)
    _check_accept(request)
    if request.method == "HEAD":
        return Response(headers=_HEADERS)
    patterns, types, named = _selection(request, principal)
    raw = request.scope.get("extensions", {}).get(EXTENSION)
    framed = isinstance(raw, LiveHttp) and request.scope["http_version"] == "1.1"
    key = RoomKey(principal.app, patterns, types, "sse", framed, named)
    gateway = context(request).gateway
    start = _start(request)
    if framed:
        return RawStream(gateway, raw, key, start, principal)
    connection = PlainConnection("sse", HEARTBEAT)
    connection.principal = principal
    return sse.EventSourceResponse(_blocks(gateway, connection, key, start), headers=_HEADERS, ping=2**31)


class RawStream(Response):
    """A stream whose chunks are written by the gateway, straight to the transport."""

    def __init__(self, gateway: Gateway, raw: LiveHttp, key: RoomKey, start: Start, principal: Principal) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._gateway, self._raw, self._key, self._start, self._principal = gateway, raw, key, start, principal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        connection = RawConnection(self._raw, "sse", HEARTBEAT)
        connection.principal = self._principal
        connection.send(notices.retry())
        self._gateway.add(connection)
        joining = asyncio.ensure_future(self._gateway.join(connection, "stream", self._key, self._start, _connected))
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            self._gateway.drop(connection)
            joining.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await joining


async def _blocks(gateway: Gateway, connection: PlainConnection, key: RoomKey, start: Start) -> AsyncIterator[bytes]:
    connection.send(notices.retry())
    gateway.add(connection)
    joining = asyncio.ensure_future(gateway.join(connection, "stream", key, start, _connected))
    try:
        async for chunk in connection.chunks():
            yield chunk
        yield notices.retry()
    finally:
        connection.close(1000)
        gateway.drop(connection)
        joining.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await joining


def _connected(cursor: str, recovered: bool | None) -> bytes:
    data = {"cursor": cursor} if recovered is None else {"cursor": cursor, "recovered": recovered}
    return notices.block("hub.connected", cursor, data)


def _selection(request: Request, principal: Principal) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    query = request.query_params
    patterns = tuple(sorted({check_pattern(topic, "topic") for topic in query.getlist("topic")}))
    if not 1 <= len(patterns) <= MAX_TOPICS:
        raise Invalid.field(
            "topic", f"was given {len(patterns)} times; allowed are 1 to {MAX_TOPICS} topics or patterns"
        )
    for pattern in patterns:
        principal.require_subscribe(pattern)
    types = tuple(sorted({check_type_pattern(kind, "type") for kind in query.getlist("type")}))
    if len(types) > MAX_TOPICS:
        raise Invalid.field("type", f"was given {len(types)} times; allowed are at most {MAX_TOPICS}")
    named = query.get("named", "0")
    if named not in ("0", "1"):
        raise Invalid.field("named", f"{named[:40]!r} is not allowed; send 1 or 0")
    return patterns, types, named == "1"


def _start(request: Request) -> Start:
    """Where to begin, in the order Last-Event-ID, last_event_id, after, history."""
    query = request.query_params
    history = query_limit(request, default=0, most=MAX_HISTORY, name="history") if "history" in query else 0
    # A header that isn't a cursor of ours comes from a stream of another server: that asks for what can't be honoured.
    if header := request.headers.get("last-event-id"):
        return Start(_tolerant(header))
    for name in ("last_event_id", "after"):
        if text := query.get(name):
            return Start(cursors.decode(text, name))
    return Start(history=history)


def _tolerant(text: str) -> Cursor:
    try:
        return cursors.decode(text)
    except Invalid:
        return (cursors.Mark(2**62, 0, 0, 0),)


def _check_accept(request: Request) -> None:
    accept = request.headers.get("accept", "*/*")
    if not any(kind in accept for kind in ("text/event-stream", "text/*", "*/*")):
        raise NotAcceptable("This is a stream of server-sent events; send Accept: text/event-stream")


routes = [Route("/v1/stream", stream, methods=["GET"])]
