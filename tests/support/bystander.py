"""Somebody else's client, while one misbehaves: how long events take to it, and what the web process holds."""

import contextlib
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Self

import httpx

from tests.support.hub import Hub, publish
from tests.support.live import WsClient


class Bystander:
    """A subscriber that reads at once."""

    def __init__(self, client: httpx.AsyncClient, ws: WsClient, topic: str) -> None:
        self._client = client
        self._ws = ws
        self._topic = topic

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, hub: Hub, topic: str) -> AsyncGenerator[Self]:
        async with hub.client() as client, WsClient.open(hub) as ws:
            await ws.join(topic)
            yield cls(client, ws, topic)

    async def takes(self) -> float:
        """Seconds from before an event is published until it has come."""
        began = time.perf_counter()
        await publish(self._client, self._topic)
        await self._ws.next("event")
        return time.perf_counter() - began

    async def late(self, count: int = 100) -> float:
        """What the late ones of so many events took, one after the other."""
        return late([await self.takes() for _ in range(count)])


def late(seconds: list[float]) -> float:
    """The 95th percentile: of the few dozen events beside a short flood the very last says more of the machine."""
    return sorted(seconds)[int(len(seconds) * 0.95) - 1]


def resident(hub: Hub) -> int:
    """Bytes of memory of the first web process."""
    status = Path(f"/proc/{hub.webs[0].process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def descriptors(hub: Hub) -> int:
    """Open files and sockets of the first web process."""
    return len(list(Path(f"/proc/{hub.webs[0].process.pid}/fd").iterdir()))
