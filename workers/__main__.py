"""`python -m workers`: one webhook worker, set up by the environment. Exit codes: 0 ok, 1 failed, 2 usage."""

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Final

import uvloop

from hub import settings as settings_module
from hub import telemetry, tracing
from hub.core.errors import HubError
from hub.group import Group
from workers.runner import run

RESOLVERS: Final = "64"
"""Threads for name look-ups (uvloop's default is 4): a few dead name servers must not hold everybody's up."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m workers", description="Run one webhook worker.")
    parser.add_argument("--concurrency", type=int, default=200, help="attempts in flight at once (default 200)")
    parser.add_argument("--name", default="worker", help="its name among the processes of its supervisor")
    parser.add_argument("--group", type=Path, help="the folder where they meet")
    options = parser.parse_args()
    if options.concurrency < 1:
        parser.error("--concurrency must be at least 1")
    try:
        settings = settings_module.load()
        tracing.configure(settings, "worker")
    except settings_module.SettingsError as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    os.environ.setdefault("UV_THREADPOOL_SIZE", RESOLVERS)  # libuv reads it at its first look-up
    telemetry.configure(settings, "worker")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings, options.concurrency, Group(options.name, options.group)))
    except (HubError, settings_module.SettingsError) as exc:
        telemetry.logger().error("start_failed", reason=str(exc))
        return 1
    finally:
        tracing.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
