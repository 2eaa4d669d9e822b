"""The resume storm: thousands of clients are cut at once and come back with their cursors, while events go on.

    python -m bench.storm [--clients 5000] [--others 200] [--rooms 50] [--rate 200] [--seconds 5] [--scenario NAME]...
        [--mode ws|sse]... [--write]

Prints a JSON line per scenario and transport (bench/README.md names the fields). Exits with 1 when a client didn't get
each event of its room exactly once and in order, or the store was read for each of them.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import os
import secrets
import shlex
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bench import processes, storm_report
from bench.processes import BENCH, BUILD, SERVE_COMMAND, BenchError, Cores, Running

PARTS = ("load_loop.c", "load_wire.c", "load_measure.c", "load_publisher.c", "load_peers.c")
MODES = ("ws", "sse")
READS = ("xrange", "xrevrange", "evalsha")


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    title: str
    elsewhere: bool = False
    """The clients come back to another process than the one they were cut from; those that stay are there too."""
    signal: int = 0
    """Ends the clients' process, instead of cutting them from outside."""


SCENARIOS = (
    Scenario("cut", "cut, and back at the same process"),
    Scenario("other", "cut, and back at another process", elsewhere=True),
    Scenario("killed", "their process is killed, and they go to another", elsewhere=True, signal=9),
    Scenario("drained", "their process drains, and they go to another", elsewhere=True, signal=15),
)


@dataclass(frozen=True, slots=True)
class Size:
    clients: int
    others: int
    rooms: int
    rate: float
    seconds: float
    mode: str = "ws"
    """`ws` or `sse`."""


def build() -> Path:
    BUILD.mkdir(exist_ok=True)
    program = BUILD / "storm"
    processes.compile_c(program, [BENCH / "storm.c", BENCH / "storm_clients.c", *(BENCH / part for part in PARTS)])
    return program


def reads(path: Path) -> int:
    """Commands so far that read the log, or may (scripts: appends, and the tails' checks)."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"INFO commandstats\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer and not answer.endswith(b"\r\n\r\n"):
            answer += connection.recv(65536)
            size, _, rest = answer.partition(b"\r\n")
            if len(rest) >= int(size[1:]) + 2:
                break
    total = 0
    for line in answer.decode().splitlines():
        name, _, fields = line.partition(":")
        if name.removeprefix("cmdstat_") in READS:
            total += int(fields.partition("calls=")[2].partition(",")[0])
    return total


def play(program: Path, scenario: Scenario, size: Size, cores: Cores) -> dict[str, object]:
    """One storm against fresh processes; the program's fields, and how often the store was read."""
    with tempfile.TemporaryDirectory(prefix="hub-storm-") as name, ExitStack() as stack:
        folder, key = Path(name), secrets.token_urlsafe(32)
        store, url = stack.enter_context(processes.store(folder, cores.client))
        del store
        environ = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")} | {
            "HUB_REDIS_URL": url,
            "HUB_BOOTSTRAP_KEY": key,
            "HUB_SECRET_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
            "HUB_DRAIN_WAIT": "0.5",
        }

        def web(label: str, core: int) -> tuple[Running, int]:
            port = processes.free_port()
            command = shlex.split(SERVE_COMMAND.format(port=port))
            process = stack.enter_context(processes.running(label, command, core, environ, BENCH.parent))
            process.wait_until(lambda: processes.is_ready(port))
            return process, port

        first, port = web("storm-first", cores.server)
        second, other = web("storm-second", cores.server) if scenario.elsewhere else (first, port)
        options: dict[str, object] = {
            "mode": size.mode, "port": port, "resume-port": other, "publish-port": other, "key": key,
            "clients": size.clients, "others": size.others, "rooms": size.rooms, "rate": size.rate,
            "seconds": size.seconds, "signal": scenario.signal, "pid": first.popen.pid, "server": second.popen.pid,
        }  # fmt: skip
        before = reads(folder / "store.sock")
        with processes.pinned(cores.client):
            done = subprocess.run(
                [str(program), *(f"--{name}={value}" for name, value in options.items())],
                stdout=subprocess.PIPE, text=True, timeout=300, check=False,
            )  # fmt: skip
        if done.returncode not in (0, 2):
            raise BenchError(f"storm ended with {done.returncode}:\n{second.last_words()}")
        fields: dict[str, object] = json.loads(done.stdout)
        others = reads(folder / "store.sock") - before - int(str(fields["events"]))  # each event is one append
        return {
            "scenario": scenario.name,
            "mode": size.mode,
            **fields,
            "reads_per_client": round(others / size.clients, 3),
            "exit_code": first.popen.poll(),
            "failed": done.returncode != 0,
        }


def main() -> int:
    parser = argparse.ArgumentParser(description="Resume storms against the Hub (bench/README.md).")
    parser.add_argument("--clients", type=int, default=5000)
    parser.add_argument("--others", type=int, default=200)
    parser.add_argument("--rooms", type=int, default=50)
    parser.add_argument("--rate", type=float, default=200, help="events per second")
    parser.add_argument("--seconds", type=float, default=5, help="of each phase")
    parser.add_argument("--scenario", action="append", choices=[scenario.name for scenario in SCENARIOS])
    parser.add_argument("--mode", action="append", choices=MODES)
    parser.add_argument("--write", action="store_true", help="the table into BENCHMARKS.md")
    given = parser.parse_args()
    size = Size(given.clients, given.others, given.rooms, given.rate, given.seconds)
    files = processes.raise_file_limit()
    if files < size.clients + size.others + 200:
        print(f"storm: {size.clients + size.others + 200} open files needed, {files} allowed", file=sys.stderr)
        return 1
    failed = False
    rows: list[tuple[str, dict[str, object]]] = []
    try:
        program = build()
        for scenario, mode in itertools.product(SCENARIOS, given.mode or MODES):
            if not given.scenario or scenario.name in given.scenario:
                fields = play(program, scenario, replace(size, mode=mode), Cores.pick())
                print(json.dumps(fields), flush=True)
                rows.append((scenario.title, fields))
                failed = failed or bool(fields["failed"]) or float(str(fields["reads_per_client"])) > 0.1
    except BenchError as error:
        print(f"storm: {error}", file=sys.stderr)
        return 1
    table = storm_report.section(rows, size.rate, size.seconds)
    print(table)
    if given.write and not failed:
        storm_report.write(table)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
