"""Real processes for tests: started, watched by what they print, and never left behind."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hub.cli import main
from tests.support.waiting import until


class Running:
    """One process that was started; its output goes to files, so a full pipe can't stall it."""

    def __init__(self, command: Sequence[str], *, environ: Mapping[str, str] | None = None, folder: Path) -> None:
        self._out = tempfile.NamedTemporaryFile(prefix="out-")  # noqa: SIM115 - lives as long as this
        self._err = tempfile.NamedTemporaryFile(prefix="err-")  # noqa: SIM115
        self._known: set[int] = set()
        self.process = subprocess.Popen(
            command, env=clean_environment(environ), cwd=folder, stdin=subprocess.DEVNULL, stdout=self._out,
            stderr=self._err,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if exc is not None:
            print(self.out[-3000:], self.err[-6000:])
        left = self.descendants()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._out.close()
        self._err.close()

    @property
    def out(self) -> str:
        return Path(self._out.name).read_text(errors="replace")

    @property
    def err(self) -> str:
        return Path(self._err.name).read_text(errors="replace")

    def log(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The log lines of this event that have these fields."""
        lines = [json.loads(line) for line in self.err.splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in lines if line["event"] == event and fields.items() <= line.items()]

    def until_logged(self, event: str, *, count: int = 1, seconds: float = 20, **fields: Any) -> list[dict[str, Any]]:
        """Wait for `count` such lines; returns them."""

        def found() -> list[dict[str, Any]]:
            lines = self.log(event, **fields)
            return lines if len(lines) >= count else []

        return until(found, f"{event!r} {fields} is logged", seconds)

    def until_printed(self, text: str, seconds: float = 20) -> str:
        """Wait until standard output holds the text; returns all of it."""
        until(lambda: text in self.out or self.process.poll() is not None, f"{text!r} is printed", seconds)
        assert text in self.out, f"it ended with {self.process.returncode}: {self.err[-3000:]}"
        return self.out

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 20) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def pid_of(self, name: str) -> int:
        """The present process of a supervisor's child."""
        return int(self.until_logged("started", process=name)[-1]["pid"])

    def descendants(self) -> set[int]:
        """The children that were ever seen here and are still there, and those that are there now."""
        self._known |= children_of(self.process.pid)
        self._known |= {int(line["pid"]) for line in self.log("started")}
        self._known = {pid for pid in self._known if is_alive(pid)}
        return self._known


def hub_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "hub", *arguments]


def run_hub(
    *arguments: str, folder: Path, environ: Mapping[str, str] | None = None, stdin: str = "", seconds: float = 20
) -> subprocess.CompletedProcess[str]:
    """Run a command of the hub to its end."""
    return subprocess.run(
        hub_command(*arguments), env=clean_environment(environ), cwd=folder, input=stdin, capture_output=True,
        text=True, timeout=seconds, check=False,
    )  # fmt: skip


def call_hub(*arguments: str, folder: Path, environ: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run a command of the hub to its end in this process: exit code, standard output, standard error.

    It is the same as `run_hub`, without the third of a second that a new interpreter takes.
    """
    out, err = io.StringIO(), io.StringIO()
    before = dict(os.environ)
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        argv, sys.argv = sys.argv, ["hub", *arguments]
        try:
            os.environ.clear()
            os.environ.update(clean_environment(environ, before))
            main()
        except SystemExit as exc:
            return exc.code if isinstance(exc.code, int) else 0, out.getvalue(), err.getvalue()
        finally:
            sys.argv = argv
            os.environ.clear()
            os.environ.update(before)
    return 0, out.getvalue(), err.getvalue()


def clean_environment(environ: Mapping[str, str] | None = None, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """This process's environment without the hub's variables, and then those given."""
    return {**{name: value for name, value in base.items() if not name.startswith("HUB_")}, **(environ or {})}


def children_of(pid: int) -> set[int]:
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found |= {int(child) for child in (task / "children").read_text().split()}
    return found


def is_alive(pid: int) -> bool:
    """Whether it runs; a zombie, which only waits for its parent to look, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
