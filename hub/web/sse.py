"""`GET /v1/stream`: server-sent events (WHATWG HTML, section 9.2), resumed by Last-Event-ID."""

from collections.abc import AsyncIterator
from typing import Final

from sse_starlette import sse
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hub.core import cursor as cursors
from hub.core.claims import Principal
from hub.core.cursor import Cursor
from hub.core.errors import Invalid, InvalidCursor
from hub.live import notices
from hub.live.connection import PlainConnection, RawConnection
from hub.live.replay import Start
from hub.live.rooms import RoomKey
from hub.web import query
from hub.web.auth import PAGE
from hub.web.context import context
from hub.web.http import request_id
from hub.web.listening import Listening
from hub.web.operation import Call, Operation
from hub.web.protocols import EXTENSION, LiveHttp
from hub.web.selection import TOPICS, TYPES, selection

MAX_HISTORY: Final = 1000
HEARTBEAT: Final = 15.0
HISTORY: Final = query.number("history", "How many past events to begin with.", default=0, least=1, most=MAX_HISTORY)
LAST_EVENT_ID: Final = query.cursor("last_event_id", "As the header Last-Event-ID, for who can't set it.")
AFTER: Final = query.cursor("after", "Only events after this cursor.")
NAMED: Final = query.flag("named", "1 gives each event its type as the name that EventSource listeners go by.")
FORMAT: Final = query.choice("format", "How events are written.", "standard", "cloudevents", default="standard")
_HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}
# The gateway closes streams itself; the package's own watcher of uvicorn's signals would end them unfinished.
sse.AppStatus.disable_automatic_graceful_drain()


async def stream(call: Call[None]) -> Response:
    """Server-sent events, resumed by the header Last-Event-ID. Without a cursor it begins now."""
    request, principal, resources = call.request, call.principal, call.resources
    patterns, types = selection(request, principal)
    raw = request.scope.get("extensions", {}).get(EXTENSION)
    chunked = isinstance(raw, LiveHttp) and raw.is_chunked
    key = RoomKey(
        principal.app, patterns, types, "sse", chunked, NAMED.of(request), FORMAT.of(request) == "cloudevents"
    )
    start = _start(request)
    if request.method == "HEAD":
        return Response(headers=_HEADERS)
    await resources.gateway.take_seat(principal.app)
    if isinstance(raw, LiveHttp):
        return RawStream(raw, request, principal, key, start)
    connection = PlainConnection("sse", HEARTBEAT)
    listening = Listening(resources.gateway, connection, request_id(request))
    return sse.EventSourceResponse(_blocks(connection, listening, principal, key, start), headers=_HEADERS, ping=2**31)


class RawStream(Response):
    """A stream that is written by the gateway, straight to the socket: this call ends when it has begun."""

    def __init__(self, raw: LiveHttp, request: Request, principal: Principal, key: RoomKey, start: Start) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._raw, self._request, self._principal, self._key, self._start = raw, request, principal, key, start

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._key.framed:
            self._raw.end_by_close()
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if (slim := self._raw.hand_over()) is None:
            return
        connection = RawConnection(slim, "sse", HEARTBEAT, framed=self._key.framed)
        listening = Listening(context(self._request).gateway, connection, request_id(self._request))
        slim.serve(listening)
        listening.begin(self._principal, self._key, self._start)


async def _blocks(
    connection: PlainConnection, listening: Listening, principal: Principal, key: RoomKey, start: Start
) -> AsyncIterator[bytes]:
    listening.begin(principal, key, start)
    try:
        async for chunk in connection.chunks():
            yield chunk
        yield notices.retry()
    finally:
        connection.close(1000)
        listening.end()


def _start(request: Request) -> Start:
    """Where to begin, in the order Last-Event-ID, last_event_id, after, history."""
    history = HISTORY.of(request)
    # A header that isn't a cursor of ours comes from a stream of another server: that asks for what can't be honoured.
    if header := request.headers.get("last-event-id", "").strip():  # what stands behind it the parser leaves there
        return Start(_tolerant(header))
    for given in (LAST_EVENT_ID, AFTER):
        if cursor := given.of(request):
            return Start(cursor)
    return Start(history=history)


def _tolerant(text: str) -> Cursor:
    try:
        return cursors.decode(text)
    except Invalid:
        return (cursors.Mark(2**62, 0, 0, 0),)


operations = (
    Operation(
        "GET", "/v1/stream", stream, "Stream events", PAGE,
        query=(TOPICS, TYPES, HISTORY, AFTER, LAST_EVENT_ID, NAMED, FORMAT, query.TOKEN, query.TICKET),
        media="text/event-stream", errors=(InvalidCursor,),
    ),
)  # fmt: skip
