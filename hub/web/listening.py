"""What an SSE stream serves: one join, for as long as the connection lasts."""

import asyncio
import time

from hub.core.claims import Principal
from hub.core.errors import HubError
from hub.live import notices
from hub.live.connection import Connection
from hub.live.gateway import Gateway
from hub.live.replay import Start
from hub.live.rooms import RoomKey
from hub.telemetry import logger

_NAME = "stream"


class Listening:
    """One stream's membership, from the response's head to its end."""

    __slots__ = ("_began", "_connection", "_gateway", "_joining", "_request_id")

    def __init__(self, gateway: Gateway, connection: Connection, request_id: str) -> None:
        self._gateway = gateway
        self._connection = connection
        self._request_id = request_id
        self._began = time.monotonic()
        self._joining: asyncio.Task[None] | None = None

    def begin(self, principal: Principal, key: RoomKey, start: Start) -> None:
        """Say when to come back, then `hub.connected`, then what was missed, then events as they come."""
        self._connection.send(notices.retry())
        self._gateway.admit(self._connection, principal)
        self._gateway.add(self._connection)
        self._joining = asyncio.get_running_loop().create_task(self._join(key, start))

    def end(self) -> None:
        """The connection is gone."""
        if self._joining is not None:
            self._joining.cancel()
        self._gateway.farewells.add(self._ended)

    def _ended(self) -> None:
        connection, principal = self._connection, self._connection.principal
        logger().info(
            "stream_ended",
            request_id=self._request_id,
            user=None if principal is None else principal.user,
            key=None if principal is None else principal.key_id,
            duration=round(time.monotonic() - self._began, 2),
            closed_by="client" if connection.ended is None else "hub",
            code=None if connection.ended is None else connection.ended[0],
        )
        self._gateway.drop(connection)

    async def _join(self, key: RoomKey, start: Start) -> None:
        try:
            await self._gateway.join(self._connection, _NAME, key, start, _connected)
        except HubError as exc:  # the client comes back after its `retry:`
            self._connection.close(exc.close_code, exc.message)
        self._joining = None


def _connected(cursor: str, recovered: bool | None) -> bytes:
    data = {"cursor": cursor} if recovered is None else {"cursor": cursor, "recovered": recovered}
    return notices.block("hub.connected", cursor, data)
