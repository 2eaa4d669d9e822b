"""Plays scenarios: opens a peer, puts it under load, reads what the load client measured."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from bench import processes, rivals
from bench.processes import BenchError, Cores, Peer, Programs
from bench.report import AS_HUB, HALF, SATURATED, WRONGS, Measurement, parse
from bench.scenarios import (
    ADDED_BYTES,
    BARE,
    BY_SCENARIO,
    EVENT_BYTES,
    FALLBACK_DELIVERY_BYTES,
    FANOUT,
    FIXED_RATE,
    HUB,
    IDLE_SETTLE,
    LIMIT,
    LIMIT_JOIN,
    NCHAN,
    SEND,
    SOCKETIO,
    WS,
    Pace,
    Scenario,
    payload_bytes,
)


@dataclass(frozen=True, slots=True)
class Run:
    """What all measurements of one run have in common."""

    programs: Programs
    cores: Cores
    pace: Pace
    serve_command: str
    event_bytes: int = EVENT_BYTES


@contextmanager
def open_peer(run: Run, scenario: Scenario, name: str) -> Generator[Peer]:
    """A fresh server, so that no scenario inherits another's log, memory or connections."""
    cores = run.cores
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as path:
        folder = Path(path)
        if name == NCHAN:
            opening = rivals.nchan(folder, cores.server)
        elif name == SOCKETIO:
            opening = rivals.socketio(folder, cores)
        elif name == WS:
            opening = rivals.ws(cores.server)
        elif name == BARE:
            opening = processes.bare(folder, cores)
        elif name in (LIMIT, LIMIT_JOIN):
            opening = processes.limit(run.programs.limit, scenario.mode, cores.server, join=name == LIMIT_JOIN)
        else:
            opening = processes.hub(folder, cores, run.serve_command, split=name == FANOUT, ring=name != SEND)
        with opening as peer:
            yield peer


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase: the name it gets, and what load.c is told."""

    name: str
    kind: str
    value: float


def phases_of(scenario: Scenario, name: str, hub: dict[str, Measurement]) -> list[Phase]:
    """Saturation, and half load: at half of what the Hub reached, or of what the peer reached itself if that is less.

    The limit server is also fed at the rate that the Hub reached saturated: a send() to a sleeping client costs more
    than one to a busy client, so a machine that does less work pays more for each piece.
    """
    if scenario.plan == "idle":
        return []
    if scenario.plan == "fixed":
        return [Phase("fixed rate", "rate", FIXED_RATE)]
    phases = [Phase(SATURATED, "sat", scenario.window)]
    if scenario.plan == "loads":
        half = hub.get(HALF)
        phases.append(Phase(HALF, "upto", half["events_s"]) if half else Phase(HALF, "frac", 0.5))
    if name == LIMIT and SATURATED in hub and not scenario.publishes_only:
        phases.append(Phase(AS_HUB, "upto", hub[SATURATED]["events_s"]))
    return phases


def load_command(run: Run, scenario: Scenario, peer: Peer, size: int, phases: Sequence[Phase]) -> list[str]:
    measured = run.pace.measured
    options: dict[str, object] = {
        "mode": scenario.mode,
        "peer": peer.kind,
        "port": peer.port,
        "publish-port": peer.publish_port,
        "feed-port": peer.feed_port,
        "key": peer.key,
        "subscribers": scenario.subscribers,
        "rooms": scenario.rooms,
        "batch": scenario.batch,
        "connections": scenario.connections,
        "size": size,
        "server": ",".join(map(str, peer.server.pids)),
        "store": ",".join(map(str, peer.store.pids)) if peer.store else "",
        "phases": ",".join(f"{phase.kind}:{phase.value:.2f}:{measured}" for phase in phases),
        "warmup": run.pace.warmup,
        "settle": IDLE_SETTLE if scenario.plan == "idle" else run.pace.settle,
    }
    return [str(run.programs.load), *(f"--{name}={value}" for name, value in options.items())]


def measure(run: Run, scenario: Scenario, name: str, size: int, hub: dict[str, Measurement]) -> list[Measurement]:
    """Puts one peer under one scenario's load; `hub` is what the Hub did under it, by phase."""
    phases = phases_of(scenario, name, hub)
    with open_peer(run, scenario, name) as peer, processes.pinned(run.cores.client):
        command = load_command(run, scenario, peer, size, phases)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=300, check=False)
        if done.returncode:
            raise BenchError(
                f"load ended with {done.returncode} ({name}, {scenario.name}):\n{peer.server.last_words()}"
            )
    connect, *measured = parse(scenario, name, done.stdout)
    found = [replace(measurement, phase=phase.name) for measurement, phase in zip(measured, phases, strict=True)]
    slow = {AS_HUB} if found and found[-1]["events_s"] < phases[-1].value * 0.85 else set[str]()
    return [connect, *(measurement for measurement in found if measurement.phase not in slow)]


def size_for(run: Run, scenario: Scenario, name: str, hub: dict[str, Measurement]) -> int:
    """Bytes of an event as it is published to a peer; the limit server sends as many per delivery as the Hub did."""
    if name in (HUB, SEND, FANOUT) or scenario.publishes_only:
        return run.event_bytes - ADDED_BYTES
    if name in (LIMIT, LIMIT_JOIN):
        delivered = hub[SATURATED]["bytes_per_delivery"] if SATURATED in hub else FALLBACK_DELIVERY_BYTES
        return payload_bytes(scenario.mode, delivered)
    return run.event_bytes


def fits(scenario: Scenario, name: str, asked: Sequence[str]) -> bool:
    """Whether a peer is played in a scenario."""
    if name in scenario.peers:
        return True
    fans_out = scenario.plan == "loads" and not scenario.publishes_only
    return name in BY_SCENARIO and name in asked and fans_out and LIMIT in scenario.peers


def run_scenario(run: Run, scenario: Scenario, peers: Sequence[str], asked: Sequence[str]) -> list[Measurement]:
    """Plays a scenario against all its peers, the Hub first; in several rounds the first says the rates."""
    playing = [name for name in peers if fits(scenario, name, asked)]
    found: dict[str, list[Measurement]] = {name: [] for name in playing}
    hub: dict[str, Measurement] = {}
    for _ in range(run.pace.rounds if scenario.in_rounds else 1):
        for name in playing:
            print(f"… {scenario.title}: {name}", file=sys.stderr, flush=True)
            measured = measure(run, scenario, name, size_for(run, scenario, name, hub), hub)
            found[name] += measured
            if name == HUB and not hub:
                hub = {measurement.phase: measurement for measurement in measured}
    return [one for measured in found.values() for one in middle(measured)]


def middle(measured: Sequence[Measurement]) -> list[Measurement]:
    """Of the rounds of one peer, by phase: the middle of each number, and the worst of what makes one worthless."""
    by_phase: dict[str, list[Measurement]] = {}
    for one in measured:
        by_phase.setdefault(one.phase, []).append(one)
    return [
        replace(
            rounds[0],
            fields={
                name: (max(values, key=abs) if name in WRONGS else median(values))
                for name in rounds[0].fields
                if (values := [one.fields[name] for one in rounds if name in one.fields])
            },
        )
        for rounds in by_phase.values()
    ]
