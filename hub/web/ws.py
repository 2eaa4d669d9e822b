"""`GET /v1/ws`: the WebSocket (RFC 6455, subprotocol `hub.v1.json`), from the handshake to the close."""

import asyncio
import contextlib
import secrets
from typing import Any, Final

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from hub.core import frames
from hub.core.claims import Principal
from hub.core.errors import HubError, Unauthenticated
from hub.live import notices
from hub.live.connection import Connection, PlainConnection, RawConnection
from hub.web.auth import authenticate_live
from hub.web.context import context
from hub.web.messages import Authenticate, parse
from hub.web.protocols import EXTENSION, LiveWebSocket
from hub.web.session import Session, authenticated, identified

SUBPROTOCOL: Final = "hub.v1.json"
HEARTBEAT: Final = 25.0
AUTHENTICATE_WITHIN: Final = 10.0
_DISCONNECTED: Final = (WebSocketDisconnect, RuntimeError)
"""RuntimeError is how starlette says that the close was already taken."""


async def websocket(socket: WebSocket) -> None:
    """Accept, authenticate, serve. Whatever ends it is a close code (see core.errors): browsers see nothing else."""
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in socket.scope["subprotocols"] else None)
    try:
        principal, first = await _who(socket)
    except HubError as exc:
        with contextlib.suppress(*_DISCONNECTED):
            await socket.close(exc.close_code, frames.close_reason(exc.message))
        return
    except _DISCONNECTED:
        return
    raw = socket.scope.get("extensions", {}).get(EXTENSION)
    if isinstance(raw, LiveWebSocket):
        await _serve(socket, RawConnection(raw, principal.app, "ws", HEARTBEAT, principal.expires_at), principal, first)
        return
    connection = PlainConnection(principal.app, "ws", HEARTBEAT, principal.expires_at)
    pump = asyncio.ensure_future(_pump(socket, connection))
    try:
        await _serve(socket, connection, principal, first)
    finally:
        connection.close(1000)
        await pump


async def _who(socket: WebSocket) -> tuple[Principal, Authenticate | None]:
    """The credential of the handshake, or of a first `authenticate` message."""
    principal = await authenticate_live(socket)
    if principal is not None:
        return principal, None
    try:
        async with asyncio.timeout(AUTHENTICATE_WITHIN):
            message = parse(await receive(socket))
    except TimeoutError:
        raise Unauthenticated(f"No credential came within {AUTHENTICATE_WITHIN:.0f} s") from None
    if not isinstance(message, Authenticate):
        raise Unauthenticated("The first message must be authenticate")
    return await identified(socket, message.token), message


async def _serve(socket: WebSocket, connection: Connection, principal: Principal, first: Authenticate | None) -> None:
    resources = context(socket)
    session = Session(socket, connection, principal)
    resources.gateway.add(connection)
    try:
        if first is not None:
            connection.send(authenticated(principal, first.ref))
        connection.send(
            notices.message(
                "connected",
                connection_id=f"conn_{secrets.token_hex(8)}",
                user=principal.user or False,
                heartbeat=int(HEARTBEAT),
                cursor=resources.gateway.cursor(),
            )
        )
        while not connection.closed:
            await session.handle(await receive(socket))
    except _DISCONNECTED:
        pass
    except Exception:
        connection.close(1011, "internal error")
        raise
    finally:
        resources.gateway.drop(connection)


async def receive(socket: WebSocket) -> bytes:
    """The next message's bytes, text or binary."""
    message: Any = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text = message.get("text")
    return text.encode() if text is not None else message["bytes"]


async def _pump(socket: WebSocket, connection: PlainConnection) -> None:
    """Send what the gateway wrote, on a server without the raw path: one JSON text a line."""
    with contextlib.suppress(*_DISCONNECTED):
        async for chunk in connection.chunks():
            for line in chunk.splitlines():
                await socket.send_text(line.decode())
        if connection.ended is not None and socket.application_state is WebSocketState.CONNECTED:
            await socket.close(*connection.ended)


routes = [WebSocketRoute("/v1/ws", websocket)]
