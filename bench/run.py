"""Runs the benchmarks: every scenario against the Hub and the physical limit, one after another in one run.

    python -m bench.run [--quick] [--scenario NAME]... [--peer NAME]... [--serve-command 'CMD --port {port}']

Prints tables, and writes everything to bench/.build/results.json; bench/README.md says how to read them. Exits with 1
when something was lost, refused or out of order: a number from such a run means nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType

from bench import processes, report
from bench.processes import BUILD, SERVE_COMMAND, BenchError, Cores, Peer, Programs
from bench.report import Measurement
from bench.scenarios import (
    EVENT_BYTES,
    FALLBACK_DELIVERY_BYTES,
    QUICK,
    SCENARIOS,
    THOROUGH,
    Pace,
    Scenario,
    payload_bytes,
)

HUB, FANOUT, LIMIT, LIMIT_JOIN = "hub", "hub-fanout", "limit", "limit-join"
PEERS = (HUB, FANOUT, LIMIT, LIMIT_JOIN)


@dataclass(frozen=True, slots=True)
class Run:
    """What all measurements of one run have in common."""

    programs: Programs
    cores: Cores
    pace: Pace
    serve_command: str
    event_bytes: int


@contextmanager
def open_peer(run: Run, scenario: Scenario, name: str) -> Generator[Peer]:
    """A fresh server, so that no scenario inherits another's log, memory or connections."""
    if name in (HUB, FANOUT):
        with (
            tempfile.TemporaryDirectory(prefix="hub-bench-") as folder,
            processes.hub(Path(folder), run.cores, run.serve_command, split=name == FANOUT) as peer,
        ):
            yield peer
    else:
        join = name == LIMIT_JOIN
        with processes.limit(run.programs.limit, scenario.mode, run.cores.server, join=join) as peer:
            yield peer


def load_command(run: Run, scenario: Scenario, peer: Peer, size: int, phases: str) -> list[str]:
    options: dict[str, object] = {
        "mode": scenario.mode,
        "peer": HUB if peer.store else LIMIT,
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
        "phases": phases,
        "warmup": run.pace.warmup,
        "settle": run.pace.settle,
    }
    return [str(run.programs.load), *(f"--{name}={value}" for name, value in options.items())]


def measure(run: Run, scenario: Scenario, name: str, size: int, earlier: Sequence[Measurement]) -> list[Measurement]:
    """Puts one peer under one scenario's load; the limit server also under the rates that `earlier` peers reached."""
    with open_peer(run, scenario, name) as peer:
        found = put_under_load(run, scenario, name, peer, size, run.pace.phases(scenario))
        if name == LIMIT and not scenario.publishes_only:
            most = next(measurement["events_s"] for measurement in found if measurement.phase == "sat")
            rates = [other for other in earlier if other.phase != "connect" and other["events_s"] < most * 0.9]
            if rates:
                phases = ",".join(f"rate:{other['events_s']:.1f}:{run.pace.measured}" for other in rates)
                again = put_under_load(run, scenario, name, peer, size, phases)[1:]
                found += [
                    replace(measurement, phase=report.as_peer(other.peer, other.phase))
                    for measurement, other in zip(again, rates, strict=True)
                ]
    return found


def put_under_load(run: Run, scenario: Scenario, name: str, peer: Peer, size: int, phases: str) -> list[Measurement]:
    command = load_command(run, scenario, peer, size, phases)
    with processes.pinned(run.cores.client):
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=300, check=False)
    if done.returncode:
        raise BenchError(f"load ended with {done.returncode} ({name}, {scenario.name}):\n{peer.server.last_words()}")
    return report.parse(scenario, name, done.stdout)


def run_scenario(run: Run, scenario: Scenario, peers: Sequence[str]) -> list[Measurement]:
    """Measures the Hub first, so that the limit can send as many bytes per delivery as it did."""
    measurements: list[Measurement] = []
    delivered: float = FALLBACK_DELIVERY_BYTES
    for name in peers:
        print(f"… {scenario.title}: {name}", file=sys.stderr, flush=True)
        if name == FANOUT and scenario.publishes_only:
            continue
        fan_out_of_limit = name in (LIMIT, LIMIT_JOIN) and not scenario.publishes_only
        size = payload_bytes(scenario.mode, delivered) if fan_out_of_limit else run.event_bytes
        measured = measure(run, scenario, name, size, measurements)
        measurements += measured
        for measurement in measured:
            if name in (HUB, FANOUT) and measurement.phase == "sat" and measurement["deliveries"]:
                delivered = measurement["bytes_per_delivery"]
    return measurements


def machine(cores: Cores) -> dict[str, object]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": cpu[0] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "server_core": cores.server,
        "client_and_store_core": cores.client,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def write_results(run: Run, started: float, measurements: Sequence[Measurement]) -> Path:
    results = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 1),
        "machine": machine(run.cores),
        "pace": asdict(run.pace),
        "event_bytes": run.event_bytes,
        "serve_command": run.serve_command,
        "measurements": [
            {
                "scenario": measurement.scenario.name,
                "peer": measurement.peer,
                "phase": measurement.phase,
                "ratio": None if measurement.phase == "connect" else report.ratio(measurement, measurements),
                **measurement.fields,
            }
            for measurement in measurements
        ],
        "remarks": report.remarks(measurements),
    }
    path = BUILD / "results.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    return path


def print_report(measurements: Sequence[Measurement], path: Path) -> None:
    for text in (report.speed_table(measurements), report.connection_table(measurements)):
        if text:
            print(f"\n{text}")
    print("\n" + "\n".join([*report.remarks(measurements), f"everything is in {path}"]))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Benchmarks of the Hub against the physical limit (bench/README.md).")
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--quick", action="store_true", help="short phases: under a minute in all, coarser numbers")
    parser.add_argument("--scenario", action="append", choices=names, help="only this one (repeatable)")
    parser.add_argument(
        "--peer", action="append", choices=PEERS, help="only this one (repeatable; default: all but limit-join)"
    )
    parser.add_argument("--seconds", type=float, help="of each measured phase, instead of the default")
    parser.add_argument("--event-bytes", type=int, default=EVENT_BYTES, help="of an event as published (%(default)s)")
    parser.add_argument(
        "--serve-command", default=SERVE_COMMAND, help="starts the Hub; {port} is filled in (%(default)s)"
    )
    return parser.parse_args()


def prepare(arguments: argparse.Namespace) -> Run:
    if not sys.platform.startswith("linux"):
        raise BenchError("the benchmarks need Linux (epoll, /proc, core affinity)")
    pace = QUICK if arguments.quick else THOROUGH
    if arguments.seconds:
        pace = Pace(arguments.seconds, pace.warmup, pace.settle)
    cores = Cores.pick()
    if cores.server == cores.client:
        print("only one core: server, client and store share it, so saturation means little", file=sys.stderr)
    return Run(processes.build(), cores, pace, str(arguments.serve_command), int(arguments.event_bytes))


def run_all(run: Run, names: Sequence[str], peers: Sequence[str]) -> list[Measurement]:
    measurements: list[Measurement] = []
    files = processes.raise_file_limit()
    for scenario in SCENARIOS:
        if names and scenario.name not in names:
            continue
        if scenario.files > files:
            print(f"{scenario.name} left out: {scenario.files} open files needed, {files} allowed", file=sys.stderr)
            continue
        measurements += run_scenario(run, scenario, peers)
    if not measurements:
        raise BenchError("nothing was measured")
    return measurements


def exit_on_signal(number: int, frame: FrameType | None) -> None:
    """Leaves by an exception, so that everything started is stopped."""
    del frame
    sys.exit(128 + number)


def main() -> int:
    arguments = parse_arguments()
    peers = [name for name in PEERS if name in (arguments.peer or (HUB, FANOUT, LIMIT))]
    signal.signal(signal.SIGTERM, exit_on_signal)
    started = time.time()
    try:
        run = prepare(arguments)
        measurements = run_all(run, arguments.scenario or (), peers)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print_report(measurements, write_results(run, started, measurements))
    return 1 if any(failure for measurement in measurements for failure in report.failures(measurement)) else 0


if __name__ == "__main__":
    sys.exit(main())
