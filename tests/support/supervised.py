"""A supervisor over stand-in processes, as a program: `python -m tests.support.supervised JSON`."""

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from hub import settings, telemetry
from hub.keeper import Child
from hub.supervisor import Supervisor


class StandIn(msgspec.Struct):
    """A child; `ready` is a file that is there once it serves."""

    name: str
    command: list[str]
    stop_within: float = 10
    ready: str | None = None

    def child(self) -> Child:
        flag = None if self.ready is None else Path(self.ready)

        async def is_ready() -> bool:
            return flag is None or os.path.exists(flag)  # noqa: ASYNC240 - a stand-in may block

        return Child(self.name, self.command, os.environ, stop_within=self.stop_within, ready=is_ready)


async def run(stages: list[list[StandIn]]) -> int:
    children = [[stand_in.child() for stand_in in stage] for stage in stages]
    return await Supervisor(children, announce=lambda: print("all are ready", flush=True)).run()


if __name__ == "__main__":
    telemetry.configure(settings.load({"HUB_LOG_FORMAT": "json"}), "test")
    raise SystemExit(asyncio.run(run(msgspec.json.decode(sys.argv[1], type=list[list[StandIn]]))))
