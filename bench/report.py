"""Turns the load client's JSON lines into measurements, ratios, warnings and tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, cast

from bench.scenarios import HUB, LIMIT, SEND, Scenario

CONNECT, SATURATED, HALF, AS_HUB = "connect", "saturated", "half load", "as hub"
"""Phases. As hub: the limit server, fed at the rate that the Hub reached saturated."""
WRONGS: Final = {
    "lost": "deliveries lost (below zero: too many)",
    "wrong": "subscribers didn't get exactly what was published",
    "disordered": "subscribers saw another order than their room",
    "gaps": "gaps were reported",
    "closed": "subscribers were closed",
    "rejected": "events were refused",
}
"""Fields of what makes a measurement worthless, and what they count."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One phase of one peer. `fields` is what load.c printed; bench/README.md names them."""

    scenario: Scenario
    peer: str
    phase: str
    fields: dict[str, float]

    def __getitem__(self, field: str) -> float:
        return self.fields[field]

    @property
    def per_second(self) -> float:
        return self["events_s" if self.scenario.publishes_only else "deliveries_s"]

    @property
    def server_us(self) -> float:
        """CPU of the web process per unit (a delivery, or a published event)."""
        return self[f"server_us_per_{self.scenario.unit}"]

    @property
    def path_us(self) -> float:
        """CPU of the whole path per unit: the web process and the store."""
        return self.server_us + self[f"store_us_per_{self.scenario.unit}"]

    def latency_ms(self, percentile: str) -> float:
        """From the moment it was due to its delivery, or to the publisher's answer where nothing is delivered."""
        kind = "answer" if self.scenario.publishes_only else "delivery"
        return self[f"{kind}_{percentile}_us"] / 1000


def parse(scenario: Scenario, peer: str, output: str) -> list[Measurement]:
    """The measurements in the load client's output."""
    measurements: list[Measurement] = []
    for line in output.splitlines():
        fields = cast("dict[str, object]", json.loads(line))
        numbers = {name: float(value) for name, value in fields.items() if isinstance(value, int | float)}
        measurements.append(Measurement(scenario, peer, str(fields["phase"]), numbers))
    return measurements


def ratio(measurement: Measurement, measurements: Sequence[Measurement], peer: str = LIMIT) -> float | None:
    """CPU of the web process per unit, as a multiple of what another peer needed in the same scenario and phase.

    Of the limit server's at the same rate where it could reach it (see play.phases_of), else of its own saturation.
    """
    others = {
        other.phase: other
        for other in measurements
        if other.scenario == measurement.scenario and other.peer == peer and other.phase != CONNECT
    }
    same = others.get(measurement.phase)
    if peer == LIMIT and measurement.peer in (HUB, SEND) and measurement.phase == SATURATED:
        same = others.get(AS_HUB, same)
    if same is None or measurement.phase == CONNECT or not same.server_us:
        return None
    return measurement.server_us / same.server_us


def failures(measurement: Measurement) -> Iterator[str]:
    """What makes a measurement worthless."""
    if measurement.phase == CONNECT:
        return
    for field, meaning in WRONGS.items():
        if measurement[field]:
            yield f"{measurement[field]:.0f} {meaning}"
    if measurement.per_second == 0:
        yield "nothing arrived"
    if measurement.server_us == 0:
        yield "no CPU time of the server was found"


def doubts(measurement: Measurement) -> Iterator[str]:
    """What makes a measurement hard to read."""
    in_turns = measurement.scenario.one_in_flight
    if measurement.phase == SATURATED and not in_turns and measurement["server_busy"] < 0.85:
        yield f"the server was only {measurement['server_busy']:.0%} busy: client or store set the pace"
    if measurement.phase != CONNECT and measurement["server_wait"] > 0.1:
        yield f"others held the server's core for {measurement['server_wait']:.0%} of the time: a noisy machine"


def remarks(measurements: Sequence[Measurement]) -> list[str]:
    lines: list[str] = []
    for measurement in measurements:
        where = f"{measurement.scenario.name} {measurement.peer} {measurement.phase}"
        lines += [f"FAILED  {where}: {text}" for text in failures(measurement)]
        lines += [f"doubt   {where}: {text}" for text in doubts(measurement)]
    return lines


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns by width: the first three are words, the others numbers."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines: list[str] = []
    for row in rows:
        cells = [
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def speed_table(measurements: Sequence[Measurement]) -> str:
    head = "scenario,peer,phase,per s,server µs,store µs/event,path µs,x limit,busy,p50 ms,p99 ms,bytes,per read,lost"
    phases = [measurement for measurement in measurements if measurement.phase != CONNECT]
    return table([head.split(","), *(speed_row(phase, ratio(phase, phases)) for phase in phases)])


def speed_row(measurement: Measurement, multiple: float | None) -> list[str]:
    return [
        measurement.scenario.name,
        measurement.peer,
        measurement.phase,
        f"{measurement.per_second:,.0f}",
        f"{measurement.server_us:.2f}",
        f"{measurement['store_us_per_event']:.1f}",
        f"{measurement.path_us:.2f}",
        "-" if multiple is None else f"{multiple:.2f}",
        f"{measurement['server_busy']:.0%}",
        f"{measurement.latency_ms('p50'):.2f}",
        f"{measurement.latency_ms('p99'):.2f}",
        f"{measurement['bytes_per_delivery']:.0f}",
        f"{measurement['deliveries_per_read']:.1f}",
        f"{measurement['lost']:.0f}",
    ]


def connection_table(measurements: Sequence[Measurement]) -> str:
    head = "scenario,peer,,connections,KB each,µs each,seconds,server MB"
    connects = [measurement for measurement in measurements if measurement.phase == CONNECT and measurement["ready"]]
    return table([head.split(","), *map(connection_row, connects)]) if connects else ""


def connection_row(measurement: Measurement) -> list[str]:
    return [
        measurement.scenario.name,
        measurement.peer,
        "",
        f"{measurement['ready']:.0f}",
        f"{measurement['kb_per_connection']:.1f}",
        f"{measurement['server_us_per_connection']:.0f}",
        f"{measurement['seconds']:.2f}",
        f"{measurement['server_rss_mb']:.0f}",
    ]
