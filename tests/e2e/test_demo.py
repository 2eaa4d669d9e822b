"""The demo shows what it says, fails when it can't, and leaves nothing behind."""

import re
import signal
import sys
from pathlib import Path

from tests.support.processes import Running, children_of, is_alive
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
ON_ANOTHER_SCHEDULE = """
import asyncio, sys
from tests.tutorial import demo
demo.SCHEDULE = (0.4, 0.1)
sys.exit(asyncio.run(demo.run()))
"""


def start(*arguments: str) -> Running:
    return Running([sys.executable, *arguments], folder=ROOT)


def processes_of(demo: Running) -> set[int]:
    """The demo's hub, and the processes of that."""
    hub = children_of(demo.process.pid)
    return hub.union(*(children_of(pid) for pid in hub))


def test_the_demo_shows_the_whole_job_within_20_seconds() -> None:
    with start("-m", "tests.tutorial.demo") as demo:
        demo.until_printed("ready at http://127.0.0.1:")
        started = processes_of(demo)
        assert len(started) == 4  # hub dev, store, web, worker
        assert demo.process.wait(30) == 0
        assert not any(is_alive(pid) for pid in started)
        for line in (
            "order.created {'total': 9} reached both within",
            "attempt 1: answered 500",
            "s after the one before: answered 200",
            "each signature verifies with the package standardwebhooks",
            "succeeded after 3 attempts",
            "recovered: all 4 events, in order, each once, on both transports",
            "the hub ended with exit code 0",
        ):
            assert line in demo.out
        took = re.search(r"All as promised, in (\S+) s\.", demo.out)
        assert took is not None
        assert float(took[1]) < 20


def test_ctrl_c_stops_the_hub_too() -> None:
    with start("-m", "tests.tutorial.demo") as demo:
        demo.until_printed("ready at http://127.0.0.1:")
        started = processes_of(demo)
        assert demo.stop(signal.SIGINT, 30) == 130
        assert "Stopping the hub" in demo.out
        until(lambda: not any(is_alive(pid) for pid in started), "the hub's processes have ended", 1)


def test_a_step_that_fails_ends_the_demo_with_1_and_says_why() -> None:
    with start("-c", ON_ANOTHER_SCHEDULE) as demo:
        assert demo.process.wait(30) == 1
        assert re.search(r"The demo failed: the gaps \S+ s and \S+ s break the schedule", demo.out)
        assert "The hub's last words:" in demo.out
