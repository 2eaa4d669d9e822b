"""`GET /v1/ws`: the WebSocket (RFC 6455, subprotocol `hub.v1.json`), from the handshake to the close."""

import asyncio
import contextlib
from typing import Any, Final

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from hub.core.claims import Principal
from hub.core.errors import HubError, UpgradeRequired
from hub.live.connection import PlainConnection, RawConnection
from hub.web import query
from hub.web.auth import PAGE, authenticate_live
from hub.web.context import context
from hub.web.http import request_id
from hub.web.operation import Call, Operation
from hub.web.protocols import EXTENSION, LiveWebSocket
from hub.web.session import HEARTBEAT, Session

SUBPROTOCOL: Final = "hub.v1.json"
_DISCONNECTED: Final = (WebSocketDisconnect, RuntimeError)
"""RuntimeError is how starlette says that the close was already taken."""


async def no_websocket(call: Call[None]) -> None:
    """A WebSocket (RFC 6455), subprotocol `hub.v1.json`; its messages are described by `/asyncapi.json`."""
    if call.principal.subscribe is None:
        call.principal.require("events:subscribe")
    raise UpgradeRequired("This is a WebSocket; send Upgrade: websocket, or use GET /v1/stream or GET /v1/poll")


async def websocket(socket: WebSocket) -> None:
    """Accept, then authenticate: whatever is wrong is a close code (see core.errors), since browsers see nothing else.

    On the hub's own server the connection is handed over to a slim protocol, and this coroutine ends.
    """
    fault: HubError | None = None
    principal: Principal | None = None
    try:
        principal = await authenticate_live(socket, cookies=True)
        if principal is not None:
            await context(socket).gateway.take_seat(principal.app)
    except HubError as exc:
        fault = exc
    try:
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in socket.scope["subprotocols"] else None)
    except _DISCONNECTED:
        return
    raw = socket.scope.get("extensions", {}).get(EXTENSION)
    if not isinstance(raw, LiveWebSocket):
        connection = PlainConnection("ws", HEARTBEAT)
        session = Session(context(socket), connection, request_id(socket))
        _begin(session, principal, fault)
        await _converse(socket, connection, session)
    elif (slim := raw.hand_over()) is not None:
        session = Session(context(socket), RawConnection(slim, "ws", HEARTBEAT), request_id(socket))
        _begin(session, principal, fault)
        raw.serve(slim, session)


def _begin(session: Session, principal: Principal | None, fault: HubError | None) -> None:
    if fault is not None:
        session.refuse(fault)
    elif principal is not None:
        session.open(principal)
    else:
        session.await_credential()


async def _converse(socket: WebSocket, connection: PlainConnection, session: Session) -> None:
    """Serve on a server without the raw path, for as long as the connection lasts."""
    pump = asyncio.ensure_future(_pump(socket, connection))
    try:
        while not connection.closed:
            await session.handle(await _receive(socket))
    except _DISCONNECTED:
        pass
    finally:
        connection.close(1000)
        session.end()
        await pump


async def _receive(socket: WebSocket) -> bytes:
    """The next message's bytes, text or binary."""
    message: Any = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text = message.get("text")
    return text.encode() if text is not None else message["bytes"]


async def _pump(socket: WebSocket, connection: PlainConnection) -> None:
    """Send what the gateway wrote: one JSON text a line."""
    with contextlib.suppress(*_DISCONNECTED):
        async for chunk in connection.chunks():
            for line in chunk.splitlines():
                await socket.send_text(line.decode())
        if connection.ended is not None and socket.application_state is WebSocketState.CONNECTED:
            await socket.close(*connection.ended)


routes = [WebSocketRoute("/v1/ws", websocket)]
operations = (
    Operation(
        "GET", "/v1/ws", no_websocket, "Open a WebSocket", PAGE,
        query=(query.TOKEN, query.TICKET), status=101, errors=(UpgradeRequired,),
    ),
)  # fmt: skip
