"""What every client must pass: it receives, is cut off, comes back by itself, and has missed nothing."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from tests.support.cut import Line
from tests.support.hub import publish
from tests.support.waiting import eventually

Events = Callable[[], "list[Any] | Awaitable[list[Any]]"]
ROUNDS = 2


async def receives_cut_or_not(client: httpx.AsyncClient, line: Line, topic: str, events: Events) -> None:
    """Cut the line under the client again and again while events are published; each must come once, in order."""
    expected: list[Any] = ["hello"]
    await _are(events, expected)
    for number in range(ROUNDS):
        expected.append(f"live {number}")
        await publish(client, topic, expected[-1])
        await _are(events, expected)
        line.cut()
        for missed in range(5):
            expected.append(f"missed {number}.{missed}")
            await publish(client, topic, expected[-1])
        line.mend()
        await _are(events, expected)


async def _are(events: Events, expected: list[Any]) -> None:
    last: list[Any] = []

    async def enough() -> bool:
        nonlocal last
        got = events()
        last = got if isinstance(got, list) else await got
        return len(last) >= len(expected)

    await eventually(enough, f"{len(expected)} events came")
    assert last == expected
