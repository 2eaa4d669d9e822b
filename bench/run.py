"""Runs the benchmarks: every scenario against the Hub, the physical limit and other servers, one after another.

    python -m bench.run [--quick] [--scenario NAME]... [--peer NAME]... [--serve-command 'CMD --port {port}']

Prints tables, and writes everything to bench/.build/results.json; bench/README.md says how to read them. Exits with 1
when something was lost, refused or out of order: a number from such a run means nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType

from bench import processes, report, rivals
from bench.play import Run, run_scenario
from bench.processes import BUILD, SERVE_COMMAND, BenchError, Cores
from bench.report import Measurement
from bench.scenarios import BY_SCENARIO, EVENT_BYTES, PEERS, QUICK, SCENARIOS, THOROUGH, Scenario


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
        "nginx": version("nginx", "-v").removeprefix("nginx version: "),
        "node": version("node", "--version"),
    }


def version(*command: str) -> str:
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip()


def write_results(run: Run, started: float, measurements: Sequence[Measurement], left_out: Sequence[str]) -> Path:
    results = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 1),
        "machine": machine(run.cores),
        "pace": asdict(run.pace),
        "event_bytes": run.event_bytes,
        "left_out": list(left_out),
        "measurements": [
            {
                "scenario": measurement.scenario.name,
                "peer": measurement.peer,
                "phase": measurement.phase,
                "ratio": report.ratio(measurement, measurements),
                **measurement.fields,
            }
            for measurement in measurements
        ],
        "remarks": report.remarks(measurements),
    }
    path = BUILD / "results.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    return path


def print_report(measurements: Sequence[Measurement], left_out: Sequence[str], path: Path) -> None:
    for text in (report.speed_table(measurements), report.connection_table(measurements)):
        if text:
            print(f"\n{text}")
    print("\n" + "\n".join([*report.remarks(measurements), *left_out, f"everything is in {path}"]))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Benchmarks of the Hub against limit and peers (bench/README.md).")
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--quick", action="store_true", help="short phases, fewer scenarios: under 3 minutes, coarser")
    parser.add_argument("--scenario", action="append", choices=names, help="only this one (repeatable)")
    parser.add_argument(
        "--peer",
        action="append",
        choices=PEERS,
        help=f"only this one (repeatable; default: all; {', '.join(sorted(BY_SCENARIO))} in some scenarios)",
    )
    parser.add_argument("--seconds", type=float, help="of each measured phase, instead of the default")
    parser.add_argument("--event-bytes", type=int, default=EVENT_BYTES, help="of an event as delivered (%(default)s)")
    parser.add_argument(
        "--serve-command", default=SERVE_COMMAND, help="starts the Hub; {port} is filled in (%(default)s)"
    )
    return parser.parse_args()


def prepare(arguments: argparse.Namespace) -> Run:
    if not sys.platform.startswith("linux"):
        raise BenchError("the benchmarks need Linux (epoll, /proc, core affinity)")
    pace = QUICK if arguments.quick else THOROUGH
    if arguments.seconds:
        pace = replace(pace, measured=arguments.seconds)
    cores = Cores.pick()
    if cores.server == cores.client:
        print("only one core: server, client and store share it, so saturation means little", file=sys.stderr)
    return Run(processes.build(), cores, pace, str(arguments.serve_command), int(arguments.event_bytes))


def choose_peers(asked: Sequence[str]) -> tuple[list[str], list[str]]:
    """The peers of this run, and what is said of those that aren't installed."""
    wanted = [name for name in PEERS if not asked or name in asked]
    lacks = {name: lack for name in wanted if (lack := rivals.missing(name))}
    left_out = [f"left out {name}: {lack}" for name, lack in lacks.items()]
    print("\n".join(left_out), end="\n" if left_out else "", file=sys.stderr)
    return [name for name in wanted if name not in lacks], left_out


def choose_scenarios(asked: Sequence[str], quick: bool) -> list[Scenario]:
    usual = ("always",) if quick else ("always", "thorough")
    wanted = [scenario for scenario in SCENARIOS if (scenario.name in asked if asked else scenario.when in usual)]
    files = processes.raise_file_limit()
    for scenario in wanted:
        if scenario.files > files:
            print(f"{scenario.name} left out: {scenario.files} open files needed, {files} allowed", file=sys.stderr)
    return [scenario for scenario in wanted if scenario.files <= files]


def exit_on_signal(number: int, frame: FrameType | None) -> None:
    """Leaves by an exception, so that everything started is stopped."""
    del frame
    sys.exit(128 + number)


def main() -> int:
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, exit_on_signal)
    started = time.time()
    measurements: list[Measurement] = []
    try:
        run = prepare(arguments)
        peers, left_out = choose_peers(arguments.peer or ())
        for scenario in choose_scenarios(arguments.scenario or (), arguments.quick):
            measurements += run_scenario(run, scenario, peers, arguments.peer or ())
        if not measurements:
            raise BenchError("nothing was measured")
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print_report(measurements, left_out, write_results(run, started, measurements, left_out))
    return 1 if any(failure for measurement in measurements for failure in report.failures(measurement)) else 0


if __name__ == "__main__":
    sys.exit(main())
