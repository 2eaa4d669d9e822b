"""What is measured: the scenarios, how long each phase lasts, and the bytes that a peer has to send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Mode = Literal["ws", "sse", "none"]
Plan = Literal["loads", "saturated", "fixed", "idle"]
When = Literal["always", "thorough"]

HUB, SEND, FANOUT, LIMIT, LIMIT_JOIN, NCHAN, SOCKETIO, WS, BARE = (
    "hub",
    "hub-send",
    "hub-fanout",
    "limit",
    "limit-join",
    "nchan",
    "socketio",
    "ws",
    "bare",
)
PEERS: Final = (HUB, SEND, FANOUT, LIMIT, LIMIT_JOIN, NCHAN, SOCKETIO, WS, BARE)
"""In the order of a run: the Hub goes first, since the others are fed at its rates."""
BY_SCENARIO: Final = frozenset({SEND, FANOUT, LIMIT_JOIN})
"""Peers that are played where a scenario names them; where a run asks for them also elsewhere, if they fit."""
FOR_SSE: Final = (HUB, LIMIT, NCHAN)
FOR_WS: Final = (HUB, LIMIT, NCHAN, SOCKETIO, WS)
FOR_ROOMS: Final = (HUB, FANOUT, LIMIT, NCHAN)

ADDED_BYTES: Final = 83
"""What the Hub adds to a published event: its id and its timestamp."""
EVENT_BYTES: Final = 200
"""Of an event as subscribers get it, without what is put around it. The other peers are published it whole."""
FALLBACK_DELIVERY_BYTES: Final = 280
"""Sent by the limit server when the Hub wasn't measured before it."""
FIXED_RATE: Final = 500
"""Events a second where the cost of an event is compared between numbers of rooms."""


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
    peers: tuple[str, ...] = FOR_WS
    plan: Plan = "loads"
    when: When = "always"
    in_rounds: bool = False
    """Whether all peers are played several times, in turn: else noise decides where a target is close."""

    @property
    def publishes_only(self) -> bool:
        return self.mode == "none"

    @property
    def unit(self) -> str:
        """What is counted and paid for."""
        return "event" if self.publishes_only else "delivery"

    @property
    def one_in_flight(self) -> bool:
        """Whether nothing is published before the last is delivered, so that the server has to wait for it."""
        return self.window == self.batch

    @property
    def files(self) -> int:
        """File descriptors that client and server need, roughly."""
        return self.subscribers + self.connections + 200


def _rooms(count: int, when: When) -> Scenario:
    title = f"WebSocket, {count} rooms of one, {FIXED_RATE} events/s"
    return Scenario(f"rooms-{count}", title, "ws", count, count, 1, 8, 8, (HUB,), "fixed", when)


def _connections(count: int, when: When) -> Scenario:
    title = f"WebSocket, {count} in one room"
    return Scenario(f"connections-{count}", title, "ws", count, 1, 1, 1, 8, FOR_SSE, "saturated", when)


SCENARIOS: Final = (
    Scenario("ws-single", "WebSocket, 1000 in one room, an event at a time", "ws", 1000, 1, 1, 1, 8, (*FOR_WS, SEND)),
    Scenario("ws-window8", "WebSocket, 1000 in one room, 8 events in flight", "ws", 1000, 1, 1, 8, 8),
    Scenario("ws-burst10", "WebSocket, 1000 in one room, bursts of 10", "ws", 1000, 1, 10, 10, 8),
    Scenario(
        "sse-single",
        "SSE, 1000 on one topic, an event at a time",
        "sse",
        1000,
        1,
        1,
        1,
        8,
        (*FOR_SSE, SEND),
        in_rounds=True,
    ),
    Scenario("sse-burst10", "SSE, 1000 on one topic, bursts of 10", "sse", 1000, 1, 10, 10, 8, FOR_SSE),
    Scenario("ws-5000", "WebSocket, 5000 in 1000 rooms", "ws", 5000, 1000, 100, 1000, 10, FOR_ROOMS),
    _rooms(1, "always"),
    _rooms(10, "thorough"),
    _rooms(100, "always"),
    _rooms(1000, "thorough"),
    _rooms(10000, "always"),
    _connections(1000, "always"),
    _connections(3000, "thorough"),
    _connections(10000, "always"),
    Scenario("idle-ws", "WebSocket, 5000 that wait", "ws", 5000, 50, 1, 1, 1, FOR_WS, "idle"),
    Scenario("idle-sse", "SSE, 5000 that wait", "sse", 5000, 50, 1, 1, 1, FOR_SSE, "idle"),
    Scenario(
        "publish",
        "publish one by one",
        "none",
        0,
        1000,
        1,
        64,
        64,
        (HUB, LIMIT, BARE),
        "loads",
        "thorough",
        in_rounds=True,
    ),
    Scenario(
        "publish-100", "publish in batches of 100", "none", 0, 1000, 100, 800, 8, (HUB, LIMIT), "loads", "thorough"
    ),
)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of one phase, before it is measured, and after the connecting; and how many rounds are played."""

    measured: float
    warmup: float
    settle: float
    rounds: int = 1


QUICK: Final = Pace(measured=0.9, warmup=0.3, settle=0.3)
THOROUGH: Final = Pace(measured=4, warmup=0.8, settle=0.5, rounds=3)
IDLE_SETTLE: Final = 3.0
"""Before the memory of connections that wait is read: time to free what their handshakes needed."""


def payload_bytes(mode: Mode, delivery_bytes: float) -> int:
    """Bytes of payload with which limit.c's framing takes as many bytes per delivery as were seen on the wire."""
    head = len("14a\r\ndata: \n\n\r\n") if mode == "sse" else 4
    return max(round(delivery_bytes) - head, 126)
