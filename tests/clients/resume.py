"""What every client must pass: it receives, is cut off, comes back by itself, and has missed nothing."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any, Final

from tests.support.cut import Line
from tests.support.hub import Hub, publish
from tests.support.waiting import eventually

Events = Callable[[], "list[Any] | Awaitable[list[Any]]"]
CUTS: Final = 2
RETURNS: Final = CUTS + 2
"""How often a client comes back in `misses_nothing`."""


async def misses_nothing(hub: Hub, line: Line, topic: str, events: Events) -> None:
    """Whatever becomes of the connection, each event must come once, in order; the first is the client's own.

    The line leads to the first of two web processes. It is cut again and again; then that process is killed amid the
    stream and the line leads to the other one, which is stopped in the end, when the first one's successor serves.
    """
    expected: list[Any] = ["hello"]
    await _are(events, expected)
    await _cut(hub, line, topic, events, expected)
    for index, number in ((0, signal.SIGKILL), (1, signal.SIGTERM)):
        await _ended(hub, index, number, line, topic, events, expected)
        await asyncio.to_thread(hub.restart_web, index)


async def _cut(hub: Hub, line: Line, topic: str, events: Events, expected: list[Any]) -> None:
    async with hub.client(1) as client:
        for number in range(CUTS):
            expected.append(f"live {number}")
            await publish(client, topic, expected[-1])
            await _are(events, expected)
            line.cut()
            for missed in range(5):
                expected.append(f"missed {number}.{missed}")
                await publish(client, topic, expected[-1])
            line.mend()
            await _are(events, expected)


async def _ended(
    hub: Hub, index: int, number: signal.Signals, line: Line, topic: str, events: Events, expected: list[Any]
) -> None:
    """End a web process while events flow, and let the client go to the other one."""
    before, stop = len(expected), asyncio.Event()

    async def flow() -> None:
        async with hub.client(1 - index) as client:
            while not stop.is_set():
                expected.append(f"{number.name} {len(expected)}")
                await publish(client, topic, expected[-1])

    flowing = asyncio.create_task(flow())
    try:
        await eventually(lambda: _count(events, before + 20), "events flow")
        line.lead_to(hub.ports[1 - index])
        hub.webs[index].signal(number)
        # While it drains events still flow through it: what comes later has come by the other one.
        await eventually(lambda: hub.webs[index].process.poll() is not None, "it has ended")
        at = len(expected)
        await eventually(lambda: _count(events, at + 20), "they flow again")
    finally:
        stop.set()
        await flowing
    await _are(events, expected)


async def _count(events: Events, least: int) -> bool:
    return len(await _got(events)) >= least


async def _got(events: Events) -> list[Any]:
    got = events()
    return got if isinstance(got, list) else await got


async def _are(events: Events, expected: list[Any]) -> None:
    await eventually(lambda: _count(events, len(expected)), f"{len(expected)} events came")
    assert await _got(events) == expected
