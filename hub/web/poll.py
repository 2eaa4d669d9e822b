"""`GET /v1/poll`: long polling, for clients that can do neither WebSocket nor server-sent events."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from hub.core.errors import Forbidden, InvalidCursor, StoreUnavailable, Unauthenticated
from hub.live.gateway import Gateway
from hub.live.polling import Polling
from hub.live.replay import Start
from hub.live.rooms import RoomKey
from hub.web import query
from hub.web.auth import LIVE
from hub.web.events import Event
from hub.web.http import Page
from hub.web.operation import Call, Operation
from hub.web.protocols import EXTENSION, LiveHttp
from hub.web.selection import TOPICS, TYPES, selection

WAIT: Final = 25.0
MAX_WAIT: Final = 60.0
_NAME: Final = "poll"
AFTER: Final = query.cursor("after", "Only events after this cursor; without one, from now on.")
HOW_LONG: Final = query.seconds("wait", "How many seconds to wait for an event.", default=WAIT, most=MAX_WAIT)
LIMIT: Final = query.number("limit", "How many events an answer has at most.", default=100, most=500)
_REFUSALS: Final = {refusal.close_code: refusal for refusal in (Unauthenticated, Forbidden)}
_CLIENT_GONE: Final = 499
"""What the log shows for a client that didn't wait; nobody gets it."""


async def poll(call: Call[None]) -> Page | Response:
    """The events after the cursor, at once if there are any, else the first that come; without a cursor from now on."""
    request, principal, resources = call.request, call.principal, call.resources
    patterns, types = selection(request, principal)
    wait, limit = HOW_LONG.of(request), LIMIT.of(request)
    start = Start(AFTER.of(request) or None)
    if request.method == "HEAD":
        return Response(headers={"cache-control": "no-store"}, media_type="application/json")
    gateway = resources.gateway
    await gateway.take_seat(principal.app)
    raw = request.scope.get("extensions", {}).get(EXTENSION)
    if isinstance(raw, LiveHttp):
        raw.leave()  # from here on it waits, which is no work
    connection = Polling(limit)
    gateway.admit(connection, principal)
    gateway.add(connection)
    try:
        key = RoomKey(principal.app, patterns, types, "poll", framed=False)
        if not await _unless_gone(request, collect(gateway, connection, key, start, wait)):
            return Response(status_code=_CLIENT_GONE)
    finally:
        gateway.drop(connection)
    if connection.ended is not None:
        code, reason = connection.ended
        if code in _REFUSALS:
            raise _REFUSALS[code](f"The poll ended: {reason}")
        if not connection.cursor:  # before it had a place to go on from, and without one the client would lose its own
            raise StoreUnavailable("This process is shutting down")
    call.headers["cache-control"] = "no-store"
    return _answer(connection, limit)


async def collect(gateway: Gateway, connection: Polling, key: RoomKey, start: Start, wait: float) -> None:
    """Have the connection joined until it has something to answer, for `wait` seconds at most."""
    await gateway.join(connection, _NAME, key, start, connection.announce)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0 if gateway.draining else wait):
            await connection.arrived()
    # In turn, so that everything up to the gateway's cursor has been written to this connection too.
    async with gateway.turn.take():
        if not connection.closed:
            connection.cursor = gateway.cursor()
        connection.detach()


async def _unless_gone(request: Request, collecting: Coroutine[Any, Any, None]) -> bool:
    """Run it to its end, or until the client has gone; False then."""
    task, gone = asyncio.ensure_future(collecting), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        return task.done()
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _answer(connection: Polling, limit: int) -> Page:
    events = [
        msgspec.Raw(body if cursor is None else body[:-1] + b',"cursor":"%b"}' % cursor)
        for cursor, body in connection.events
    ]
    more = {} if connection.recovered is None else {"recovered": connection.recovered}
    return Page(items=events, limit=limit, next_cursor=connection.cursor, more={"has_more": connection.full, **more})


operations = (
    Operation(
        "GET", "/v1/poll", poll, "Poll for events", LIVE,
        query=(TOPICS, TYPES, AFTER, HOW_LONG, LIMIT, query.TOKEN, query.TICKET),
        answer=Event, is_list=True, errors=(InvalidCursor,),
    ),
)  # fmt: skip
