"""Turns a run's results.json into what BENCHMARKS.md shows: its tables, and the charts in docs/benchmarks.

    python -m bench.plot [--write] [--results PATH]

Prints the tables; with --write it puts them between the two marks of BENCHMARKS.md, and writes the charts and a copy of
results.json to docs/benchmarks.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.processes import BENCH, BUILD
from bench.report import AS_HUB, CONNECT, HALF, SATURATED
from bench.scenarios import BARE, FANOUT, FIXED_RATE, HUB, LIMIT, NCHAN, SOCKETIO
from bench.svg import Bar, Group, bar_chart

PAGE: Final = BENCH.parent / "BENCHMARKS.md"
CHARTS: Final = BENCH.parent / "docs" / "benchmarks"
SECTION: Final = re.compile(r"(<!-- results: begin -->\n).*(<!-- results: end -->)", re.DOTALL)
FAN_OUT: Final = ("ws-single", "ws-window8", "ws-burst10", "sse-single", "sse-burst10", "ws-5000")
IDLE: Final = ("idle-ws", "idle-sse")

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """CPU per delivery of the Hub's web process, as a multiple of a peer's, at most."""

    meaning: str
    scenario: str
    peer: str
    most: float
    hub: str = HUB
    """Which of the Hub's own peers."""


TARGETS: Final = (
    Target("single events, of the C limit's", "ws-single", LIMIT, 1.4),
    Target("bursts of 10, of the C limit's", "ws-burst10", LIMIT, 0.35),
    Target("single events, of Nchan's", "ws-single", NCHAN, 1.0),
    Target("bursts of 10, of Nchan's", "ws-burst10", NCHAN, 0.3),
    Target("SSE, of Nchan's", "sse-single", NCHAN, 0.85),
    Target("single events, of socket.io's", "ws-single", SOCKETIO, 0.6),
    Target("bursts of 10, of socket.io's", "ws-burst10", SOCKETIO, 0.15),
    Target("5,000 in 1,000 rooms, fan-out alone, of the C limit's", "ws-5000", LIMIT, 1.5, FANOUT),
)
PUBLISH_RATE: Final = 0.6
"""Requests/s of single events, of the bare route's, at least."""
BATCH_US: Final = 10.0
"""CPU of the web process per event in batches of 100, at most."""
MOST_KB: Final = {"idle-ws": 25.0, "idle-sse": 16.0}


class Results:
    """A run's measurements, by scenario, peer and phase."""

    def __init__(self, data: Fields) -> None:
        self.data = data
        self._rows: dict[tuple[str, str, str], Fields] = {
            (row["scenario"], row["peer"], row["phase"]): row for row in data["measurements"]
        }

    def get(self, scenario: str, peer: str, phase: str) -> Fields | None:
        return self._rows.get((scenario, peer, phase))

    def of(self, scenario: str, phase: str) -> Iterator[Fields]:
        """The rows of every peer in a phase of a scenario."""
        for (name, _, which), row in self._rows.items():
            if (name, which) == (scenario, phase):
                yield row

    def series(self, prefix: str, peer: str, phase: str) -> list[Fields]:
        """The rows of a peer in scenarios that differ in a number, by that number."""
        rows = [row for (name, who, which), row in self._rows.items()
                if name.startswith(prefix) and (who, which) == (peer, phase)]  # fmt: skip
        return sorted(rows, key=lambda row: row["subscribers"])

    def multiple(self, target: Target, phase: str) -> float | None:
        """The Hub's CPU per delivery as a multiple of a peer's; the limit's at the same rate if it reaches it."""
        hub, other = self.get(target.scenario, target.hub, phase), self.get(target.scenario, target.peer, phase)
        if target.peer == LIMIT and target.hub == HUB and phase == SATURATED:
            other = self.get(target.scenario, LIMIT, AS_HUB) or other
        if hub is None or other is None:
            return None
        return hub["server_us_per_delivery"] / other["server_us_per_delivery"]


# ---- tables ----


def table(head: str, rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is words, the others numbers."""
    columns = head.split("|")
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def verdict(value: float | None, most: float) -> str:
    if value is None:
        return "not measured"
    return f"{value:.2f}" if value <= most else f"**{value:.2f}**"


def targets(results: Results) -> str:
    rows = [
        [
            f"CPU per delivery, {target.meaning}",
            f"≤ {target.most}",
            verdict(results.multiple(target, SATURATED), target.most),
            verdict(results.multiple(target, HALF), target.most),
        ]
        for target in TARGETS
    ]
    for scenario, most in MOST_KB.items():
        row = results.get(scenario, HUB, CONNECT)
        kind = "WebSocket" if scenario == "idle-ws" else "SSE stream"
        rows.append(
            [f"KB per idle {kind}", f"≤ {most:.0f}", verdict(row["kb_per_connection"] if row else None, most), ""]
        )
    if (hub := results.get("publish", HUB, SATURATED)) and (bare := results.get("publish", BARE, SATURATED)):
        share = hub["events_s"] / bare["events_s"]
        shown = f"{share:.2f}" if share >= PUBLISH_RATE else f"**{share:.2f}**"
        rows.append(
            ["Requests/s, publishing single events, of a bare Starlette route's", f"≥ {PUBLISH_RATE}", shown, ""]
        )
    if hub := results.get("publish-100", HUB, SATURATED):
        cost = verdict(hub["server_us_per_event"], BATCH_US)
        rows.append(["µs CPU per event, publishing batches of 100", f"≤ {BATCH_US:.0f}", cost, ""])
    return table("|target|saturated|half load", rows)


def speed(results: Results, scenario: str) -> str:
    rows = [
        [
            row["peer"],
            phase,
            f"{row['deliveries_s']:,.0f}",
            f"{row['server_us_per_delivery']:.2f}",
            f"{row['server_us_per_delivery'] + row['store_us_per_delivery']:.2f}",
            "" if row["ratio"] is None else f"{row['ratio']:.2f}",
            f"{row['delivery_p50_us'] / 1000:.1f}",
            f"{row['delivery_p99_us'] / 1000:.1f}",
            f"{row['server_busy']:.0%}",
        ]
        for phase in (SATURATED, AS_HUB, HALF)
        for row in results.of(scenario, phase)
    ]
    return table("server|load|deliveries/s|µs CPU each|with the store|× limit|p50 ms|p99 ms|busy", rows)


def memory(results: Results) -> str:
    rows = [
        [row["peer"], "WebSocket" if scenario == "idle-ws" else "SSE", f"{row['ready']:,.0f}",
         f"{row['kb_per_connection']:.1f}", f"{row['server_us_per_connection']:.0f}"]
        for scenario in IDLE
        for row in results.of(scenario, CONNECT)
    ]  # fmt: skip
    return table("server|connection|open|KB each|µs CPU to open", rows)


def rooms(results: Results) -> str:
    rows = [
        [f"{row['rooms']:,.0f}", f"{row['server_us_per_event']:.0f}", f"{row['delivery_p50_us'] / 1000:.2f}",
         f"{row['delivery_p99_us'] / 1000:.2f}"]
        for row in results.series("rooms-", HUB, "fixed rate")
    ]  # fmt: skip
    return table("rooms and connections|µs CPU per event|p50 ms|p99 ms", rows)


def connections(results: Results) -> str:
    rows = [
        [
            f"{row['subscribers']:,.0f}",
            row["peer"],
            f"{row['server_us_per_delivery']:.2f}",
            f"{row['deliveries_s']:,.0f}",
            f"{row['delivery_p50_us'] / 1000:.1f}",
            f"{row['delivery_p99_us'] / 1000:.1f}",
        ]
        for peer in (HUB, LIMIT, NCHAN)
        for row in results.series("connections-", peer, SATURATED)
    ]
    return table("connections|server|µs CPU per delivery|deliveries/s|p50 ms|p99 ms", rows)


def publishing(results: Results) -> str:
    rows = [
        [row["peer"], meaning, phase, f"{row['events_s']:,.0f}", f"{row['server_us_per_event']:.1f}",
         f"{row['store_us_per_event']:.1f}", f"{row['answer_p50_us'] / 1000:.1f}",
         f"{row['answer_p99_us'] / 1000:.1f}", f"{row['server_busy']:.0%}"]
        for scenario, meaning in (("publish", "one by one"), ("publish-100", "batches of 100"))
        for phase in (SATURATED, HALF)
        for row in results.of(scenario, phase)
        if row["peer"] != LIMIT
    ]  # fmt: skip
    return table("server|events|load|events/s|µs CPU each|µs store each|p50 ms|p99 ms|busy", rows)


def conditions(results: Results) -> str:
    machine, pace = results.data["machine"], results.data["pace"]
    node = machine["node"] and f"Node {machine['node']}"
    peers = [f"Python {machine['python']}", *(text for text in (machine["nginx"], node) if text)]
    run = (
        f"{results.data['started'][:10]}, {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}; "
        f"{', '.join(peers)}. {pace['measured']:g} s a phase, {results.data['seconds'] / 60:.0f} minutes in all, "
        f"events of {results.data['event_bytes']} bytes."
    )
    parts = [run, *(f"{line[:1].upper()}{line[1:]}." for line in results.data["left_out"])]
    if remarks := results.data["remarks"]:
        listed = "\n".join(f"- {line}" for line in remarks)
        parts.append(f"<details><summary>{len(remarks)} remarks</summary>\n\n{listed}\n\n</details>")
    return "\n\n".join(parts)


TITLES: Final = {
    "ws-single": "WebSocket, 1,000 in one room, one event in flight",
    "ws-window8": "WebSocket, 1,000 in one room, 8 events in flight",
    "ws-burst10": "WebSocket, 1,000 in one room, bursts of 10",
    "sse-single": "SSE, 1,000 on one topic, one event in flight",
    "sse-burst10": "SSE, 1,000 on one topic, bursts of 10",
    "ws-5000": "WebSocket, 5,000 in 1,000 rooms, batches of 100 events",
}


def section(results: Results) -> str:
    """What stands between the marks of BENCHMARKS.md. What a run left out is left out here."""
    parts = ["### Conditions of this run", conditions(results), "### Targets", targets(results)]
    parts += ["![CPU per delivery, saturated](docs/benchmarks/cpu-saturated.svg)"]
    parts += ["![CPU per delivery, half load](docs/benchmarks/cpu-half-load.svg)"]
    parts += ["![Latency at half load](docs/benchmarks/latency.svg)"]
    for scenario in FAN_OUT:
        if results.get(scenario, HUB, SATURATED):
            parts += [f"### {TITLES[scenario]}", speed(results, scenario)]
    parts += ["### Memory of a connection that waits", memory(results)]
    parts += ["![Memory per connection](docs/benchmarks/memory.svg)"]
    parts += ["### From 1 to 10,000 rooms", f"One connection in each room, {FIXED_RATE} events a second, one by one.",
              rooms(results), "### From 1,000 to 10,000 connections", "All in one room, one event in flight.",
              connections(results), "![Rooms and connections](docs/benchmarks/flat.svg)"]  # fmt: skip
    parts += ["### Publishing, nobody subscribed", "*bare* is a Starlette route that does one XADD, and nothing else.",
              publishing(results)]  # fmt: skip
    return "\n\n".join(parts) + "\n"


# ---- charts ----


def groups(results: Results, scenarios: Sequence[str], phase: str, field: str, unit: float = 1) -> list[Group]:
    found = [
        Group(scenario, [Bar(row["peer"], row[field] / unit) for row in results.of(scenario, phase)])
        for scenario in scenarios
    ]
    return [group for group in found if group.bars]


def latencies(results: Results) -> list[Group]:
    return [
        Group(
            scenario,
            [
                Bar(row["peer"], row["delivery_p99_us"] / 1000, row["delivery_p50_us"] / 1000)
                for row in results.of(scenario, HALF)
            ],
        )
        for scenario in FAN_OUT
        if results.get(scenario, HUB, HALF)
    ]


def flat(results: Results) -> list[Group]:
    """Both series, each as a share of its own first: 1 is flat."""
    found: list[Group] = []
    series = (("rooms-", "fixed rate", "server_us_per_event"), ("connections-", SATURATED, "server_us_per_delivery"))
    for prefix, phase, field in series:
        firsts = {peer: rows[0][field] for peer in (HUB, LIMIT, NCHAN) if (rows := results.series(prefix, peer, phase))}
        for row in results.series(prefix, HUB, phase):
            bars = [Bar(peer, other[field] / first) for peer, first in firsts.items()
                    if (other := results.get(row["scenario"], peer, phase))]  # fmt: skip
            found.append(Group(row["scenario"], bars))
    return found


def charts(results: Results) -> dict[str, str]:
    """By file name."""
    us = "µs of one core, store not included; shorter is better"
    cpu = "server_us_per_delivery"
    return {
        "cpu-saturated.svg": bar_chart("CPU per delivery, saturated", us, groups(results, FAN_OUT, SATURATED, cpu)),
        "cpu-half-load.svg": bar_chart("CPU per delivery, half load", us, groups(results, FAN_OUT, HALF, cpu)),
        "latency.svg": bar_chart("Latency at half load", "ms; dark: median, pale: p99", latencies(results)),
        "memory.svg": bar_chart(
            "Memory of a connection that waits", "KB resident", groups(results, IDLE, CONNECT, "kb_per_connection")
        ),
        "flat.svg": bar_chart(
            "Rooms and connections",
            "CPU per event (rooms) or delivery (connections), the smallest number of each = 1",
            flat(results),
        ),
    }


def write(results: Results, text: str) -> None:
    CHARTS.mkdir(parents=True, exist_ok=True)
    for name, svg in charts(results).items():
        (CHARTS / name).write_text(svg)
    (CHARTS / "results.json").write_text(json.dumps(results.data, indent=1) + "\n")
    page = PAGE.read_text()
    replaced, count = SECTION.subn(lambda match: f"{match[1]}\n{text}\n{match[2]}", page)
    if count != 1:
        raise SystemExit(f"{PAGE.name} has lost its marks for the results")
    PAGE.write_text(replaced)


def main() -> int:
    parser = argparse.ArgumentParser(description="Tables and charts of a benchmark run.")
    parser.add_argument("--write", action="store_true", help="into BENCHMARKS.md and docs/benchmarks")
    parser.add_argument("--results", type=Path, default=BUILD / "results.json", help="of bench.run (%(default)s)")
    arguments = parser.parse_args()
    if not arguments.results.exists():
        print(f"bench: {arguments.results} isn't there: run `python -m bench.run` first", file=sys.stderr)
        return 1
    results = Results(json.loads(arguments.results.read_text()))
    text = section(results)
    if arguments.write:
        write(results, text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
