"""The resume storm's table, and its place in BENCHMARKS.md."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

Row: TypeAlias = Mapping[str, Any]

PAGE: Final = Path(__file__).resolve().parent.parent / "BENCHMARKS.md"
PHASES: Final = ("before", "during", "after")
_SECTION = re.compile(r"(<!-- storm: begin -->\n).*?(<!-- storm: end -->)", re.DOTALL)


def section(rows: Sequence[tuple[str, Row]], rate: float, seconds: float) -> str:
    """The table of (title of the scenario, its fields)."""
    first = rows[0][1]
    conditions = (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end; "
        f"{first['clients']:,} cut, {first['others']} stay, {first['rooms']} rooms, "
        f"{rate:g} events/s, {seconds:g} s a phase."
    )
    head = ["storm", "transport", "all back, s", "µs CPU per client", "store reads per client",
            *(f"p99 {phase}, ms" for phase in PHASES), "longest, ms"]  # fmt: skip
    lines = [head, ["---", "---", *["---:"] * (len(head) - 2)], *(_cells(title, row) for title, row in rows)]
    return conditions + "\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def write(text: str) -> None:
    """Put the section into BENCHMARKS.md."""
    page, count = _SECTION.subn(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", PAGE.read_text())
    if count != 1:
        raise SystemExit(f"{PAGE.name} has lost its marks for the storm")
    PAGE.write_text(page)


def _cells(title: str, row: Row) -> list[str]:
    return [
        title,
        {"ws": "WebSocket", "sse": "SSE"}[row["mode"]],
        f"{row['back_s']:.1f}",
        f"{row['server_us_per_client']:,.0f}",
        f"{row['reads_per_client']:.2f}",
        *(f"{row[phase]['p99_ms']:,.1f}" for phase in PHASES),
        f"{row['during']['max_ms']:,.1f}",
    ]
