"""The supervisor, over stand-in processes that do what the test needs."""

import os
import signal
import sys
import time
from pathlib import Path

import msgspec
import pytest

from hub.supervisor import FALSE_STARTS
from tests.support.processes import Running, children_of, is_alive
from tests.support.supervised import StandIn
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
DEAF = [
    sys.executable,
    "-c",
    "import pathlib, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "pathlib.Path(sys.argv[1]).touch(); time.sleep(600)",
]


def supervise(folder: Path, *stages: list[StandIn]) -> Running:
    spec = msgspec.json.encode(stages).decode()
    return Running(
        [sys.executable, "-m", "tests.support.supervised", spec], environ={"PYTHONPATH": str(ROOT)}, folder=folder
    )


def test_a_child_that_was_killed_is_started_again_and_the_log_says_why(tmp_path: Path) -> None:
    with supervise(tmp_path, [StandIn("one", SLEEP)]) as supervisor:
        supervisor.until_printed("all are ready")
        first = supervisor.pid_of("one")
        os.kill(first, signal.SIGKILL)
        (died,) = supervisor.until_logged("a process died; starting it again", process="one")
        assert died["cause"] == "signal 9 (Killed)"
        assert died["delay"] == 0.1
        supervisor.until_logged("started", count=2, process="one")
        assert is_alive(supervisor.pid_of("one"))
        assert supervisor.pid_of("one") != first
        assert supervisor.stop() == 0


def test_a_child_that_keeps_dying_is_started_ever_later_but_never_given_up(tmp_path: Path) -> None:
    steady = StandIn("steady", SLEEP)
    crash = StandIn("crash", [sys.executable, "-c", "raise SystemExit(7)"])
    with supervise(tmp_path, [steady, crash]) as supervisor:
        supervisor.until_printed("all are ready")
        deaths = supervisor.until_logged("a process died; starting it again", count=4, process="crash")
        assert [line["delay"] for line in deaths[:4]] == [0.1, 0.2, 0.4, 0.8]
        assert {line["cause"] for line in deaths} == {"exit code 7"}
        assert not supervisor.log("a process died; starting it again", process="steady")
        assert supervisor.stop() == 0


def test_a_start_that_can_not_succeed_ends_with_1_and_leaves_nothing_running(tmp_path: Path) -> None:
    store = StandIn("store", SLEEP)
    broken = StandIn("broken", ["/nonexistent/program"], ready=str(tmp_path / "never"))
    with supervise(tmp_path, [store], [broken]) as supervisor:
        assert supervisor.process.wait(20) == 1
        deaths = supervisor.log("a process died; starting it again", process="broken")
        assert len(deaths) in (FALSE_STARTS - 1, FALSE_STARTS)
        assert "No such file" in deaths[0]["cause"]
        assert supervisor.log("a process can't start", process="broken")
        assert not supervisor.descendants()


def test_a_stage_starts_after_the_one_before_is_ready_and_stops_before_it(tmp_path: Path) -> None:
    flag = tmp_path / "store-is-ready"
    with supervise(tmp_path, [StandIn("store", SLEEP, ready=str(flag))], [StandIn("web", SLEEP)]) as supervisor:
        supervisor.until_logged("started", process="store")
        assert not supervisor.log("started", process="web")
        flag.touch()
        supervisor.until_printed("all are ready")
        assert supervisor.stop() == 0
        assert [line["process"] for line in supervisor.log("stopped")] == ["web", "store"]
        assert not supervisor.descendants()


def test_a_stop_during_the_start_ends_it_at_once(tmp_path: Path) -> None:
    with supervise(tmp_path, [StandIn("store", SLEEP, ready=str(tmp_path / "never"))]) as supervisor:
        supervisor.until_logged("started", process="store")
        assert supervisor.stop(seconds=5) == 0
        assert not supervisor.descendants()


def test_a_child_that_does_not_stop_in_time_is_killed_and_the_exit_code_says_so(tmp_path: Path) -> None:
    deaf = StandIn("deaf", [*DEAF, str(tmp_path / "deaf")], stop_within=0.3, ready=str(tmp_path / "deaf"))
    with supervise(tmp_path, [deaf, StandIn("one", SLEEP)]) as supervisor:
        supervisor.until_printed("all are ready")
        assert supervisor.stop() == 1
        assert supervisor.log("did not stop in time; killing it", process="deaf")
        assert supervisor.log("stopped", process="one")
        assert not supervisor.descendants()


def test_a_second_signal_kills_without_waiting(tmp_path: Path) -> None:
    deaf = StandIn("deaf", [*DEAF, str(tmp_path / "deaf")], stop_within=600, ready=str(tmp_path / "deaf"))
    with supervise(tmp_path, [deaf]) as supervisor:
        supervisor.until_printed("all are ready")
        supervisor.process.send_signal(signal.SIGINT)
        supervisor.until_logged("stopping; a second signal kills", signal="SIGINT")
        began = time.monotonic()
        assert supervisor.stop(signal.SIGINT) == 1
        assert time.monotonic() - began < 5
        assert not supervisor.descendants()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_a_killed_supervisor_leaves_no_child_behind(tmp_path: Path) -> None:
    deaf = StandIn("deaf", [*DEAF, str(tmp_path / "deaf")], ready=str(tmp_path / "deaf"))
    with supervise(tmp_path, [deaf], [StandIn("one", SLEEP)]) as supervisor:
        supervisor.until_printed("all are ready")
        children = children_of(supervisor.process.pid)
        assert len(children) == 2
        supervisor.stop(signal.SIGKILL)
        until(lambda: not any(is_alive(pid) for pid in children), "the children are gone")


def test_ctrl_c_in_the_terminal_reaches_the_supervisor_alone(tmp_path: Path) -> None:
    with supervise(tmp_path, [StandIn("one", SLEEP)]) as supervisor:
        supervisor.until_printed("all are ready")
        child = supervisor.pid_of("one")
        assert os.getpgid(child) == child  # a terminal signals the foreground group
        assert os.getpgid(child) != os.getpgid(supervisor.process.pid)
        assert supervisor.stop(signal.SIGINT) == 0
