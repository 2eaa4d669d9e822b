"""The webhook benchmark's tables, and their place in BENCHMARKS.md."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeAlias

Row: TypeAlias = dict[str, Any]

PAGE: Final = Path(__file__).resolve().parent.parent / "BENCHMARKS.md"
TARGET: Final = 2.0
"""The most CPU per delivery, as a multiple of the plain loop's."""
_SECTION = re.compile(r"(<!-- webhooks: begin -->\n).*?(<!-- webhooks: end -->)", re.DOTALL)
_ENDPOINTS = (1, 10, 1000)


def middle(rows: Sequence[Row]) -> Row:
    """Of several rounds: the middle of each number, the longest of the longest, and what was wrong in any."""
    numbers = {name: median(row[name] for row in rows) for name in rows[0] if name != "faults"}
    longest = max(row["max_ms"] for row in rows)
    return {**numbers, "max_ms": longest, "faults": [fault for row in rows for fault in row["faults"]]}


def line(row: Row) -> str:
    """One measurement, for the terminal."""
    numbers = " ".join(
        f"{name}={value:.1f}" if isinstance(value, float) else f"{name}={value}" for name, value in row.items()
    )
    return f"  {numbers}"


def section(rows: Sequence[Row], seconds: float) -> str:
    found = {(row["scenario"], row["phase"]): row for row in rows}

    def get(scenario: str, phase: str = "saturated") -> Row | None:
        return found.get((scenario, phase))

    parts = [f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {seconds:g} s a phase, events of 500 bytes."]
    parts += [_speed(get), _growth(get), _latency(get), _isolation(get)]
    return "\n\n".join(part for part in parts if part)


def write(rows: Sequence[Row], seconds: float) -> None:
    """Put the tables into BENCHMARKS.md."""
    text, count = _SECTION.subn(lambda found: f"{found[1]}\n{section(rows, seconds)}\n\n{found[2]}", PAGE.read_text())
    if count != 1:
        raise SystemExit(f"{PAGE.name} has lost its marks for the webhooks")
    PAGE.write_text(text)


_Get: TypeAlias = Callable[..., Row | None]


def _speed(get: _Get) -> str:
    rows: list[list[str]] = []
    for count in _ENDPOINTS:
        loop, hub = get(f"loop-{count}"), get(f"hub-{count}")
        for name, row in (("plain loop", loop), ("hub", hub)):
            if row:
                times = f"{row['worker_us'] / loop['worker_us']:.2f}" if loop and name == "hub" else "1.00"
                rows.append([f"{count:,}", name, *_costs(row), times])
    head = ["endpoints", "sender", "deliveries/s", "µs CPU each", "µs store each", "busy", "× loop"]
    return _table(f"Saturated, one worker on one core (target: ≤ {TARGET:g} × the loop)", head, rows)


def _growth(get: _Get) -> str:
    cases = (("one worker, 2,000 owed", "hub-1000"), ("two workers, 2,000 owed", "workers-2"))
    rows = [[title, *_costs(row), f"{row['rss_mb']:.0f}"] for title, name in cases if (row := get(name))]
    if deep := get("backlog"):
        title = f"one worker, {deep['owed']:,} owed (enqueued at {deep['enqueued_s']:,.0f}/s)"
        rows.append([title, *_costs(deep), f"{deep['rss_mb']:.0f}"])
    head = ["1,000 endpoints", "deliveries/s", "µs CPU each", "µs store each", "busy", "MB of workers"]
    return _table("Growth with workers and with what is owed", head, rows)


def _latency(get: _Get) -> str:
    rows = [
        [f"{count:,}", f"{row['deliveries_s']:,.0f}", f"{row['worker_us']:.0f}", *_times(row)]
        for count in _ENDPOINTS
        if (row := get(f"hub-{count}", "half load"))
    ]
    head = ["endpoints", "deliveries/s", "µs CPU each", "p50 ms", "p99 ms", "longest ms"]
    return _table("Half load, from publish to receipt", head, rows)


def _isolation(get: _Get) -> str:
    cases = (("slow-partner", "alone"), ("slow-partner", "beside it"), ("filters", "alone"), ("filters", "beside it"))
    titles = {
        ("slow-partner", "alone"): "nobody else",
        ("slow-partner", "beside it"): "a partner that takes 30 s, with 10,000 owed",
        ("filters", "alone"): "nobody else (before the next line)",
        ("filters", "beside it"): "a tenant with costly filters",
    }
    rows = [[titles[case], f"{row['deliveries_s']:,.0f}", *_times(row)] for case in cases if (row := get(*case))]
    head = ["beside them", "deliveries/s", "p50 ms", "p99 ms", "longest ms"]
    return _table("100 healthy endpoints, 500 events a second (the middle of 3 rounds each, in turn)", head, rows)


def _costs(row: Row) -> list[str]:
    return [
        f"{row['deliveries_s']:,.0f}",
        f"{row['worker_us']:.0f}",
        f"{row['store_us']:.0f}",
        f"{row['busy']:.0%}",
    ]


def _times(row: Row) -> list[str]:
    return [f"{row[name]:.1f}" for name in ("p50_ms", "p99_ms", "max_ms")]


def _table(title: str, head: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return f"### {title}\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
