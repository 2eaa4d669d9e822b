"""What a webhook delivery costs, beside a plain loop that only signs and sends.

    python -m bench.webhooks [--scenario NAME]... [--seconds 4] [--backlog 1000000] [--write]

Prints a table; everything goes to bench/.build/webhooks.json, and with --write the tables into BENCHMARKS.md.
bench/README.md says how to read them. Exits with 1 when a delivery was lost, doubled or unsigned.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import webhook_report, webhook_site
from bench.processes import BUILD, BenchError, Cores, raise_file_limit
from bench.webhook_report import Row
from bench.webhook_site import Site, between, faults, site

WARM_UP: Final = 2.0
IN_FLIGHT: Final = 100
"""Of the plain loop, and what an endpoint takes at once: as many as the hub lets one endpoint have of its 200."""
HEALTHY: Final = 100
HEALTHY_RATE: Final = 500
OWED_TO_SLOW: Final = 10_000
ROUNDS: Final = 3


class Run(NamedTuple):
    program: Path
    cores: Cores
    seconds: float
    backlog: int


async def hub(run: Run, endpoints: int, workers: int = 1, half: bool = True) -> AsyncGenerator[Row]:
    """Workers that always have something to deliver, then the same at half of that rate."""
    async with site(run.program, run.cores) as place:
        await place.add_endpoints(endpoints, max_in_flight=IN_FLIGHT)
        for number in range(workers):
            await place.start_worker(run.cores.server if number == 0 else run.cores.client)
        await place.saturate(WARM_UP, endpoints)
        saturated = await _measured(place, lambda: place.saturate(run.seconds, endpoints))
        yield {"phase": "saturated", **saturated, "faults": await _ended(place)}
        if half:
            rate = saturated["deliveries_s"] / 2
            await place.reset()
            row = await _measured(place, lambda: place.steadily(rate, run.seconds, endpoints))
            yield {"phase": "half load", **row, "faults": await _ended(place)}


async def loop(run: Run, endpoints: int) -> AsyncGenerator[Row]:
    async with site(run.program, run.cores) as place:
        place.start_loop(endpoints, IN_FLIGHT)
        await asyncio.sleep(WARM_UP)
        yield {"phase": "saturated", **await _measured(place, lambda: asyncio.sleep(run.seconds)), "faults": []}


async def backlog(run: Run, endpoints: int) -> AsyncGenerator[Row]:
    """A worker that starts with very much owed already."""
    async with site(run.program, run.cores) as place:
        await place.add_endpoints(endpoints, max_in_flight=IN_FLIGHT)
        began = time.monotonic()
        await place.fill(run.backlog)
        filled = place.n / (time.monotonic() - began)
        await place.start_worker(run.cores.server)
        await asyncio.sleep(WARM_UP)
        row = await _measured(place, lambda: asyncio.sleep(run.seconds))
        counted = await place.received()
        wrong = [f"{counted[name]} {name}" for name in ("repeated", "unsigned") if counted[name]]
        yield {"phase": "saturated", **row, "owed": place.n, "enqueued_s": filled, "faults": wrong}


async def slow_partner(run: Run) -> AsyncGenerator[Row]:
    """100 healthy endpoints alone, and beside one that owes 10,000 deliveries to a partner that answers after 30 s; in
    turn, each time on a deployment of its own."""
    found: dict[str, list[Row]] = {"alone": [], "beside it": []}
    for _ in range(ROUNDS):
        for phase, rows in found.items():
            rows.append(await _healthy(run, 0 if phase == "alone" else OWED_TO_SLOW))
    for phase, rows in found.items():
        yield {"phase": phase, **webhook_report.middle(rows)}


async def _healthy(run: Run, owed: int) -> Row:
    """Measured when all that is owed to the slow one is queued, and as much is in flight as may be."""
    async with site(run.program, run.cores) as place:
        await place.add_endpoints(HEALTHY)
        (slow,) = await place.add_endpoints(1, prefix="slow", max_in_flight=1000, timeout=60)
        await place.start_worker(run.cores.server)
        await place.steadily(HEALTHY_RATE, WARM_UP, HEALTHY)
        await place.drained()
        for _ in range(owed // 500):
            await place.publish(500, 1, "slow")
        in_flight = await place.settled(slow, owed)
        await place.reset()
        row = await _measured(place, lambda: place.steadily(HEALTHY_RATE, run.seconds, HEALTHY))
        wrong = [*await _ended(place), *([] if in_flight or not owed else ["nothing was sent to the slow partner"])]
        await place.hurry()
        return {**row, "slow_in_flight": in_flight, "faults": wrong}


SCENARIOS: Final[dict[str, Callable[[Run], AsyncGenerator[Row]]]] = {
    "loop-1": lambda run: loop(run, 1),
    "hub-1": lambda run: hub(run, 1),
    "loop-10": lambda run: loop(run, 10),
    "hub-10": lambda run: hub(run, 10),
    "loop-1000": lambda run: loop(run, 1000),
    "hub-1000": lambda run: hub(run, 1000),
    "workers-2": lambda run: hub(run, 1000, workers=2, half=False),
    "backlog": lambda run: backlog(run, 1000),
    "slow-partner": slow_partner,
}


async def _measured(place: Site, work: Callable[[], Any]) -> dict[str, float]:
    first = await place.moment()
    await work()
    return between(first, await place.moment())


async def _ended(place: Site) -> list[str]:
    await place.drained()
    return [*faults(await place.received(), place.n)]


async def play(run: Run, names: list[str]) -> list[Row]:
    rows: list[Row] = []
    for name in names:
        print(f"… {name}", file=sys.stderr, flush=True)
        async with aclosing(SCENARIOS[name](run)) as phases:
            async for row in phases:
                rows.append({"scenario": name, **row})
                print(webhook_report.line(rows[-1]), file=sys.stderr, flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description="Webhook deliveries beside a plain aiohttp loop (bench/README.md).")
    parser.add_argument("--scenario", action="append", choices=[*SCENARIOS], help="only this one (repeatable)")
    parser.add_argument("--seconds", type=float, default=4, help="of each measured phase (%(default)s)")
    parser.add_argument("--backlog", type=int, default=1_000_000, help="deliveries owed in `backlog` (%(default)s)")
    parser.add_argument("--write", action="store_true", help="the tables into BENCHMARKS.md")
    given = parser.parse_args()
    raise_file_limit()
    try:
        run = Run(webhook_site.build(), Cores.pick(), given.seconds, given.backlog)
        rows = asyncio.run(play(run, given.scenario or [*SCENARIOS]))
    except BenchError as error:
        print(f"webhooks: {error}", file=sys.stderr)
        return 1
    (BUILD / "webhooks.json").write_text(webhook_site.as_json(rows))
    failed = [f"{row['scenario']} {row['phase']}: {fault}" for row in rows for fault in row["faults"]]
    print(webhook_report.section(rows, given.seconds))
    print("\n".join(failed), file=sys.stderr)
    if given.write and not failed:
        webhook_report.write(rows, given.seconds)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
