"""What a web process does at 10 × the load it can serve: to its callers, and to those who only stand by.

    python -m bench.overload [--seconds 12] [--factor 10] [--lag 0.05] [--write]

Prints a table, and with --write puts it into BENCHMARKS.md. bench/README.md says how to read it. Exits with 1 when an
event that was answered 202 isn't in the log, or a request was answered by something else than 2xx or 503.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import processes, webhook_site
from bench.processes import BENCH, BUILD, BenchError, Cores, Running, raise_file_limit
from bench.webhook_site import Site, cpu_us, site
from hub.store import keys

RATE: Final = 200
"""Events a second that are appended past the web process: each is owed to one endpoint, and to the bystander."""
CLOSED: Final = 64
"""Connections that find the capacity, each asking again at once."""
OPEN: Final = 4000
"""Connections on which the others arrive; beyond them are only streams."""
PAGE: Final = BENCH.parent / "BENCHMARKS.md"
_SECTION: Final = re.compile(r"(<!-- overload: begin -->\n).*?(<!-- overload: end -->)", re.DOTALL)


class Run(NamedTuple):
    program: Path
    place: Site
    web: Running
    port: int
    key: str


def build() -> Path:
    BUILD.mkdir(exist_ok=True)
    program = BUILD / "overload"
    processes.compile_c(program, [BENCH / "overload.c"])
    return program


async def play(seconds: float, factor: float, lag: str) -> list[dict[str, Any]]:
    cores, program = Cores.pick(), build()
    async with site(webhook_site.build(), cores) as place:
        key, port = secrets.token_urlsafe(32), processes.free_port()
        own = {"HUB_BOOTSTRAP_KEY": key, "HUB_JWT_SECRET": secrets.token_urlsafe(48), "HUB_SHED_LAG": lag}
        command = [sys.executable, "-m", "hub", "serve", "--host", "127.0.0.1", "--port", str(port), "--web", "1"]
        web = place.stack.enter_context(
            processes.running("overloaded", command, cores.server, place.environment | own, BENCH.parent)
        )
        await asyncio.to_thread(web.wait_until, lambda: processes.is_ready(port))
        await place.add_endpoints(1)
        await place.start_worker(cores.client)
        run = Run(program, place, web, port, key)
        rows: list[dict[str, Any]] = [{"load": "none", **await beside(run, lambda: asyncio.sleep(seconds / 2))}]
        capacity = await beside(run, lambda: load(run, 0, seconds, CLOSED))
        rows.append({"load": "capacity", **capacity})
        for times in (1, factor):
            rate = capacity["accepted_s"] * times
            rows.append({"load": f"{times:g} ×", **await beside(run, lambda rate=rate: load(run, rate, seconds, OPEN))})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
        return rows


async def load(run: Run, rate: float, seconds: float, connections: int) -> dict[str, Any]:
    """What the load client says of its run."""
    arguments = map(str, (run.port, run.key, rate, seconds, connections))
    client = await asyncio.create_subprocess_exec(run.program, *arguments, stdout=asyncio.subprocess.PIPE)
    output, _ = await client.communicate()
    if client.returncode:
        raise BenchError("the load client failed")
    return json.loads(output)


async def beside(run: Run, work: Callable[[], Awaitable[dict[str, Any] | None]]) -> dict[str, Any]:
    """Do it beside probes, a subscriber and webhooks; returns what was measured of all of them."""
    await run.place.reset()
    before = await entries(run.place)
    probes: list[float] = []
    unready: list[bytes] = []
    heard: list[float] = []
    others = [asyncio.create_task(probe(run, probes, unready)), asyncio.create_task(listen(run, heard)),
              asyncio.create_task(run.place.steadily(RATE, 10_000, 1))]  # fmt: skip
    try:
        await asyncio.sleep(0.5)
        heard.clear()
        probes.clear()
        unready.clear()
        first, cpu = await run.place.moment(), web_us(run)
        said = await work() or {}
        last, seconds = await run.place.moment(), time.monotonic()
        found = webhook_site.between(first, last)
        busy = (web_us(run) - cpu) / 1e6 / (seconds - first.at)
    finally:
        for task in others:
            task.cancel()
        ended = await asyncio.gather(*others, return_exceptions=True)
    failed = [str(one) for one in ended if isinstance(one, Exception)]
    if failed:
        raise BenchError(f"who stood by failed: {failed}")
    await run.place.drained()
    kept = await entries(run.place) - before - run.place.n
    faults = [f"{said['wrong']} wrong answers"] if said.get("wrong") else []
    if kept < said.get("published", 0):
        faults.append(f"{said['published']} answered 202, {kept} in the log")
    return {**said, "web_busy": busy, "health_p99_ms": late(probes), "unready": len(unready),
            "live_p99_ms": late(heard),
            "deliveries_s": found["deliveries_s"], "delivery_p99_ms": found["p99_ms"],
            "faults": faults}  # fmt: skip


def web_us(run: Run) -> float:
    return sum(cpu_us(pid)[0] for pid in run.web.pids)


async def entries(place: Site) -> int:
    """Events in the log."""
    return int(await place.link.call("XLEN", keys.log(0)))


async def probe(run: Run, took: list[float], unready: list[bytes]) -> None:
    """Ask for both kinds of health in turn, 40 times a second, as a platform would more seldom; times in ms.

    `unready` gets what was answered by anything but 200.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", run.port)
    with contextlib.closing(writer):
        while True:
            for path in (b"live", b"ready"):
                began = time.monotonic()
                writer.write(b"GET /health/%b HTTP/1.1\r\nhost: hub\r\n\r\n" % path)
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                if not head.startswith(b"HTTP/1.1 200"):
                    unready.append(body)
                took.append((time.monotonic() - began) * 1000)
                await asyncio.sleep(0.025)


async def listen(run: Run, took: list[float]) -> None:
    """Hear the events that are appended past the web process; times in ms, from before the append."""
    reader, writer = await asyncio.open_connection("127.0.0.1", run.port)
    with contextlib.closing(writer):
        writer.write(
            b"GET /v1/stream?topic=t.* HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer %b\r\n\r\n" % run.key.encode()
        )
        while True:
            line = await reader.readline()
            if not line:
                raise BenchError("the stream ended")
            if found := re.search(rb'"at":(\d+)', line):
                took.append((time.monotonic_ns() - int(found[1])) / 1e6)


def late(samples: list[float]) -> float:
    return sorted(samples)[int(len(samples) * 0.99)] if samples else 0.0


HEAD: Final = ("load", "offered/s", "sent/s", "accepted/s", "refused/s", "accepted p50", "p99 ms", "refused p99 ms",
               "health p99 ms", "not ready", "live p99 ms", "webhooks/s", "webhook p99 ms", "web process busy",
        "accepted per CPU second")  # fmt: skip


def cells(row: dict[str, Any]) -> list[str]:
    def of(name: str, form: str = ",.0f") -> str:
        return format(row[name], form) if name in row else ""

    sent = f"{row['offered_s'] - row['unsent_s']:,.0f}" if row.get("offered_s") else ""
    return [row["load"], of("offered_s"), sent, of("accepted_s"), of("refused_s"), of("accepted_p50_ms", ".1f"),
            of("accepted_p99_ms", ".1f"), of("refused_p99_ms", ".1f"), of("health_p99_ms", ".1f"),
            of("unready"), of("live_p99_ms", ".1f"), of("deliveries_s"), of("delivery_p99_ms", ".1f"),
            of("web_busy", ".0%"), of("per_cpu")]  # fmt: skip


def section(rows: list[dict[str, Any]], seconds: float) -> str:
    for row in rows:
        row["per_cpu"] = row.get("accepted_s", 0) / row["web_busy"]
    table = [list(HEAD), ["---", *["---:"] * (len(HEAD) - 1)], *map(cells, rows)]
    text = "\n".join(f"| {' | '.join(line)} |" for line in table)
    share, fair = (rows[-1][name] / rows[1][name] for name in ("accepted_s", "per_cpu"))
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {seconds:g} s a phase. At {rows[-1]['load']} the web "
        f"process serves {share:.0%} of its capacity, per second of its CPU {fair:.0%}.\n\n{text}"
    )


def write(text: str) -> None:
    page, count = _SECTION.subn(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", PAGE.read_text())
    if count != 1:
        raise SystemExit(f"{PAGE.name} has lost its marks for the overload")
    PAGE.write_text(page)


def main() -> int:
    parser = argparse.ArgumentParser(description="A web process at many times its capacity (bench/README.md).")
    parser.add_argument("--seconds", type=float, default=12, help="of each phase (%(default)s)")
    parser.add_argument("--factor", type=float, default=10, help="times the capacity (%(default)s)")
    parser.add_argument("--lag", default="0.05", help="HUB_SHED_LAG: seconds, or off (%(default)s)")
    parser.add_argument("--write", action="store_true", help="the table into BENCHMARKS.md")
    given = parser.parse_args()
    raise_file_limit()
    try:
        rows = asyncio.run(play(given.seconds, given.factor, given.lag))
    except BenchError as error:
        print(f"overload: {error}", file=sys.stderr)
        return 1
    text = section(rows, given.seconds)
    print(text)
    failed = [f"{row['load']}: {fault}" for row in rows for fault in row["faults"]]
    print("\n".join(failed), file=sys.stderr)
    if given.write and not failed:
        write(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
