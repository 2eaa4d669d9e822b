"""The pulse: one timer for all connections, for heartbeats, tokens that end, and clients that stay behind."""

import asyncio
from typing import TYPE_CHECKING, Final

from hub import metrics
from hub.live import notices
from hub.live.connection import SLOW_CONSUMER, SLOW_SECONDS, TOKEN_EXPIRED, Connection
from hub.live.slice import SLICE

if TYPE_CHECKING:
    from hub.live.gateway import Gateway

PULSE: Final = 0.5
"""Seconds between two looks at all connections."""
WARN_SECONDS: Final = (1.0, 30.0)
"""How long before its credential's end a connection is told, at least and at most: a fifth of the time that it has."""


def warn_at(expires_at: float) -> float:
    """When to say that a credential's end is near, both in seconds since the epoch."""
    least, most = WARN_SECONDS
    return expires_at - max(least, min(most, (expires_at - notices.now()) / 5))


async def beat(gateway: "Gateway") -> None:
    """Look at all connections, for ever."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(PULSE)
        metrics.TAIL_UP.set(gateway.fault is None)
        metrics.ROOMS.set(len(gateway.rooms))
        metrics.WINDOW_EVENTS.set(len(gateway.window))
        connections = list(gateway)
        for first in range(0, len(connections), SLICE):
            # In turn: amid a fan-out the gateway's cursor is ahead of what a connection got.
            async with gateway.turn.take():
                for connection in connections[first : first + SLICE]:
                    _attend(gateway, connection, loop.time())
            await asyncio.sleep(0)


def _attend(gateway: "Gateway", connection: Connection, now: float) -> None:
    expires_at = None if connection.principal is None else connection.principal.expires_at
    if expires_at is not None and expires_at <= notices.now():
        if connection.warn_at is not None:  # the loop was busy all the while, but nobody is closed unwarned
            connection.send(notices.token_expiring(connection.transport, 0))
        connection.close(TOKEN_EXPIRED, "token expired")
    elif connection.slow_for(now) > SLOW_SECONDS:
        connection.close(SLOW_CONSUMER, "slow consumer")
    else:
        _remind(gateway, connection, expires_at, now)


def _remind(gateway: "Gateway", connection: Connection, expires_at: float | None, now: float) -> None:
    if connection.next_beat <= now:
        connection.next_beat = now + connection.interval
        cursor = None if connection.replaying else gateway.cursor()
        connection.send(notices.heartbeat(connection.transport, cursor))
    if expires_at is not None and connection.warn_at is not None and connection.warn_at <= notices.now():
        connection.warn_at = None
        connection.send(notices.token_expiring(connection.transport, expires_at - notices.now()))
