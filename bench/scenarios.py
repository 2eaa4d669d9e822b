"""What is measured: the scenarios, how long each phase lasts, and the bytes that a peer has to send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["ws", "sse", "none"]

EVENT_BYTES = 130
"""Of an event as it is published; with id, timestamp and cursor it is delivered as somewhat over 200."""

FALLBACK_DELIVERY_BYTES = 330
"""Sent by the limit server when the Hub wasn't measured before it."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Subscribers spread evenly over rooms, and the publisher that feeds them."""

    name: str
    title: str
    mode: Mode
    subscribers: int
    rooms: int
    batch: int
    """Events per publish request; 1 publishes bare objects."""
    window: int
    """Events in flight at saturation: what a server can join in one write, and what p99 at saturation consists of."""
    connections: int
    """That publish, with one request in flight on each."""

    @property
    def publishes_only(self) -> bool:
        return self.mode == "none"

    @property
    def unit(self) -> str:
        """What is counted and paid for."""
        return "event" if self.publishes_only else "delivery"

    @property
    def files(self) -> int:
        """File descriptors that client and server need, roughly."""
        return self.subscribers + self.connections + 200


SCENARIOS = (
    Scenario("ws-1room", "WebSocket, 1000 in one room", "ws", 1000, 1, batch=1, window=8, connections=8),
    Scenario("ws-5000", "WebSocket, 5000 in 1000 rooms", "ws", 5000, 1000, batch=100, window=1000, connections=10),
    Scenario("ws-1000", "WebSocket, 1000 in 1000 rooms", "ws", 1000, 1000, batch=100, window=1000, connections=10),
    Scenario("sse-1topic", "SSE, 1000 on one topic", "sse", 1000, 1, batch=1, window=8, connections=8),
    Scenario("publish", "publish one by one", "none", 0, 1000, batch=1, window=64, connections=64),
    Scenario("publish-100", "publish in batches of 100", "none", 0, 1000, batch=100, window=800, connections=8),
)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds; of one phase, before it is measured, and after the connecting."""

    measured: float
    warmup: float
    settle: float

    def phases(self, scenario: Scenario) -> str:
        """The phases as load.c takes them: saturation, then half of what it reached."""
        return f"sat:{scenario.window}:{self.measured},frac:0.5:{self.measured}"


QUICK = Pace(measured=0.9, warmup=0.3, settle=0.3)
THOROUGH = Pace(measured=6, warmup=1, settle=1)


def payload_bytes(mode: Mode, delivery_bytes: float) -> int:
    """Bytes of payload with which limit.c's framing takes as many bytes per delivery as were seen on the wire."""
    head = len("14a\r\ndata: \n\n\r\n") if mode == "sse" else 4
    return max(round(delivery_bytes) - head, 126)
