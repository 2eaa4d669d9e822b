"""What the webhook benchmarks run against: a store, a receiver, workers, and the publisher's side of the store."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from msgspec import Raw

from bench import processes
from bench.processes import BENCH, BUILD, BenchError, Cores, Running
from hub import settings as settings_module
from hub.core.endpoint import EndpointInput
from hub.core.event import EventInput, seal
from hub.store import keys
from hub.store.connect import Link
from hub.store.endpoints import Endpoints
from hub.store.log import Entry, Log
from hub.store.queues import Owed, Queues

APP = "default"
EVENT_BYTES = 500
WINDOW = 2000
"""Deliveries owed at saturation where nothing was queued before."""
UNCHANGED = 3.0
"""Seconds: longer than it takes a worker to know an endpoint for slow."""
FILL = 500
"""Events that are enqueued at once to fill the queues."""


def host_of(endpoint: int) -> str:
    """Each endpoint has a host of its own, as in life: 127.0.1.0 and up."""
    return f"127.0.{1 + endpoint // 250}.{1 + endpoint % 250}"


def payload(n: int, size: int, at: int) -> bytes:
    """An event's data, padded so that its whole envelope has about `size` bytes; `at` is in ns."""
    head = f'{{"n":{n},"at":{at},"text":"'
    return f'{head}{"x" * max(0, size - len(head) - 120)}"}}'.encode()


def build() -> Path:
    BUILD.mkdir(exist_ok=True)
    program = BUILD / "receiver"
    processes.compile_c(program, [BENCH / "receiver.c", BENCH / "load_measure.c", BENCH / "load_loop.c"])
    return program


@dataclass(frozen=True, slots=True)
class Moment:
    """What was counted up to a moment. `received` and the latencies are the receiver's; CPU in µs, memory in MB."""

    at: float
    received: dict[str, int]
    worker_us: float
    waited_us: float
    store_us: float
    rss_mb: float


@dataclass(slots=True)
class Site:
    """One deployment under load. `n` counts the events that were published since the last of `resets`."""

    port: int
    cores: Cores
    environment: dict[str, str]
    stack: ExitStack
    store: Running
    link: Link
    log: Log
    endpoints: Endpoints
    queues: Queues
    http: httpx.AsyncClient
    ids: list[str] = field(default_factory=list[str])
    senders: list[Running] = field(default_factory=list[Running])
    n: int = 0
    resets: int = 0

    async def add_endpoints(self, count: int, *, prefix: str = "", **fields: object) -> list[str]:
        """Endpoints that take `t.N` each, at hosts of their own."""

        async def add(number: int) -> str:
            topics = (f"t.{prefix}{number}",)
            url = f"http://{host_of(number)}:{self.port}/{prefix}{number}"
            made, _ = await self.endpoints.create(APP, EndpointInput(**{"url": url, "topics": topics, **fields}))  # pyright: ignore[reportArgumentType]
            return made.id

        ids = [await add(number) for number in range(count)]
        self.ids += ids
        return ids

    async def start_worker(self, core: int, *arguments: str) -> Running:
        number = len(self.senders)
        command = [sys.executable, "-m", "workers", *arguments]
        worker = self.stack.enter_context(
            processes.running(f"worker-{number}", command, core, self.environment, BENCH.parent)
        )
        await asyncio.to_thread(worker.wait_until, lambda: b"worker started" in worker.log.read_bytes())
        self.senders.append(worker)
        return worker

    def start_loop(self, endpoints: int, in_flight: int) -> None:
        command = [sys.executable, "-m", "bench.webhook_loop", "--port", str(self.port), "--endpoints", str(endpoints),
                   "--in-flight", str(in_flight), "--bytes", str(EVENT_BYTES)]  # fmt: skip
        self.senders.append(
            self.stack.enter_context(
                processes.running("loop", command, self.cores.server, self.environment, BENCH.parent)
            )
        )

    # -- load --------------------------------------------------------------------------------------------------------

    async def publish(self, count: int, topics: int, prefix: str = "") -> None:
        """Append `count` events at once, to the topics in turn."""
        events = [
            seal(
                EventInput(f"t.{prefix}{n % topics}", "bench.event", Raw(payload(n, EVENT_BYTES, time.monotonic_ns()))),
                id=f"evt_{self.resets}_{n:022d}",
                timestamp="2026-01-31T08:00:00.000Z",
                max_bytes=262_144,
            )
            for n in range(self.n, self.n + count)
        ]
        self.n += count
        await self.log.append(APP, events, "req_bench")

    async def saturate(self, seconds: float, topics: int) -> None:
        """Publish so that there always is something to deliver, and never more than the window."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            room = WINDOW - (self.n - (await self.received())["received"])
            if room >= 100:
                for _ in range(room // 100):
                    await self.publish(100, topics)
            await asyncio.sleep(0.01)

    async def steadily(self, rate: float, seconds: float, topics: int, prefix: str = "") -> None:
        """Publish at a rate, evenly: what is due every 2 ms at once."""
        began, sent = time.monotonic(), 0
        while (passed := time.monotonic() - began) < seconds:
            due = int(passed * rate) - sent
            if due:
                await self.publish(due, topics, prefix)
                sent += due
            await asyncio.sleep(0.002)

    async def drained(self, seconds: float = 30) -> bool:
        """Wait until the receiver got as many as were published."""
        until = time.monotonic() + seconds
        while (await self.received())["received"] < self.n:
            if time.monotonic() > until:
                return False
            await asyncio.sleep(0.02)
        return True

    async def settled(self, endpoint: str, owed: int, seconds: float = 60) -> int:
        """Wait until so many deliveries are owed to an endpoint and no more of them get under way; how many are."""
        partition, until = self.queues.partition_of(endpoint), time.monotonic() + seconds
        before, since = (-1, -1), 0.0
        while before[0] + before[1] != owed or time.monotonic() - since < UNCHANGED:
            if time.monotonic() > until:
                raise BenchError(f"{before[0] + before[1]} of {owed} deliveries are owed after {seconds:g} s")
            now = await self.link.pipeline(
                [("LLEN", keys.fresh(partition, endpoint)), ("ZCARD", keys.leases(partition, endpoint))]
            )
            if (now[0], now[1]) != before:
                before, since = (now[0], now[1]), time.monotonic()
            await asyncio.sleep(0.1)
        return before[1]

    async def hurry(self) -> None:
        """Let the slow partner answer all that it has, so that workers can end."""
        await self.http.get("/hurry")

    async def fill(self, count: int) -> None:
        """Owe `count` events, to each endpoint in turn, by the script that dispatch uses."""
        partitions: dict[int, list[str]] = {}
        for one in self.ids:
            partitions.setdefault(self.queues.partition_of(one), []).append(one)
        began = time.time_ns() // 1_000_000 - 3_600_000
        shares = {partition: count * len(ids) // len(self.ids) for partition, ids in partitions.items()}
        await asyncio.gather(*(self._fill(p, ids, shares[p], began) for p, ids in partitions.items()))

    async def _fill(self, partition: int, ids: list[str], count: int, ms: int) -> None:
        for first in range(0, count, FILL):
            owed: list[Owed] = []
            for n in range(first, min(count, first + FILL)):
                number, self.n = self.n, self.n + 1
                event = seal(
                    EventInput("t.0", "bench.event", Raw(payload(number, EVENT_BYTES, 0))),
                    id=f"evt_{self.resets}_{number:022d}", timestamp="2026-01-31T08:00:00.000Z", max_bytes=262_144,
                )  # fmt: skip
                entry = Entry(0, (ms, number), APP, "t.0", "bench.event", event.id, "req_bench", event.body)
                owed.append(Owed(entry, [ids[n % len(ids)]]))
            await self.queues.enqueue(partition, 0, 1, owed[-1].entry.position, owed)

    # -- measuring ---------------------------------------------------------------------------------------------------

    async def received(self) -> dict[str, int]:
        return (await self.http.get("/stats")).json()

    async def reset(self) -> None:
        """Forget what was counted; what was published counts from here."""
        await self.http.get("/reset")
        self.n, self.resets = 0, self.resets + 1

    async def moment(self) -> Moment:
        worker_us = waited_us = rss = 0.0
        received = await self.received()
        for sender in self.senders:
            run, wait = cpu_us(sender.popen.pid)
            worker_us, waited_us, rss = worker_us + run, waited_us + wait, rss + rss_mb(sender.popen.pid)
        return Moment(time.monotonic(), received, worker_us, waited_us, cpu_us(self.store.popen.pid)[0], rss)


def cpu_us(pid: int) -> tuple[float, float]:
    """A process's CPU time, and the time that it could have run but others had its core, in µs, over all threads."""
    run = wait = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "schedstat").read_text().split()
        run, wait = run + int(fields[0]), wait + int(fields[1])
    return run / 1000, wait / 1000


def rss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024


@asynccontextmanager
async def site(program: Path, cores: Cores, *, slow_ms: int = 30_000) -> AsyncGenerator[Site]:
    """A fresh store and a receiver; workers are started on it. Receiver, store and this process share a core."""
    with tempfile.TemporaryDirectory(prefix="hub-webhooks-") as path, ExitStack() as stack:
        store, url = stack.enter_context(processes.store(Path(path), cores.client))
        port = processes.free_port()
        receiver = [str(program), "--port", str(port), "--slow-ms", str(slow_ms)]
        partner = stack.enter_context(processes.running("receiver", receiver, cores.client))
        await asyncio.to_thread(partner.wait_until, lambda: processes.accepts(port))
        own = {
            "HUB_REDIS_URL": url,
            "HUB_SECRET_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
            "HUB_WEBHOOK_ALLOW_HTTP": "1",
            "HUB_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
        }
        settings = settings_module.load(own)
        link = Link(url, timeout=10)
        await link.open(5)
        log = Log(link, partitions=settings.partitions, retention=settings.retention)
        queues = Queues(link, partitions=settings.delivery_partitions, retention=settings.attempt_retention)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")} | own
        stack.enter_context(processes.pinned(cores.client))
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as http:
                yield Site(
                    port, cores, environment, stack, store, link, log, Endpoints(link, settings, log), queues, http
                )
        finally:
            await link.close()


def between(first: Moment, last: Moment) -> dict[str, float]:
    """What happened between two moments, per delivery."""
    seconds, count = last.at - first.at, last.received["received"] - first.received["received"]
    worker, store = last.worker_us - first.worker_us, last.store_us - first.store_us
    return {
        "seconds": round(seconds, 3),
        "deliveries_s": count / seconds,
        "worker_us": worker / max(1, count),
        "store_us": store / max(1, count),
        "busy": worker / seconds / 1e6,
        "waited": (last.waited_us - first.waited_us) / seconds / 1e6,
        "store_busy": store / seconds / 1e6,
        "p50_ms": last.received["p50_us"] / 1000,
        "p99_ms": last.received["p99_us"] / 1000,
        "max_ms": last.received["max_us"] / 1000,
        "rss_mb": last.rss_mb,
    }


def faults(received: dict[str, int], published: int) -> Sequence[str]:
    """What makes a run worthless."""
    found = [f"{received[name]} {name}" for name in ("repeated", "unsigned") if received[name]]
    if received["received"] != published:
        found.append(f"{published} published, {received['received']} received")
    return found


def as_json(value: object) -> str:
    return json.dumps(value, indent=1) + "\n"
