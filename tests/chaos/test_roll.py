"""`hub serve --web N` replaces its processes one by one on SIGHUP, and nobody misses an event."""

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from hub.keeper import READY_FD
from tests.support.hub import KEY, auth, free_port
from tests.support.live import WsClient
from tests.support.processes import Running, hub_command, is_alive
from tests.support.store import StoreProcess
from tests.support.supervised import StandIn
from tests.support.waiting import eventually, until

ROOT = Path(__file__).parents[2]
SERVES = [sys.executable, "-c", "import os, sys, time; os.write(int(sys.argv[1]), b'1'); time.sleep(600)", READY_FD]


class Serving(Running):
    """`hub serve --web 2` on a store."""

    def __init__(self, store: StoreProcess, folder: Path) -> None:
        self.port = free_port()
        environ = {
            "HUB_REDIS_URL": store.url,
            "HUB_BOOTSTRAP_KEY": KEY,
            "HUB_SECRET_KEY": base64.b64encode(b"k" * 32).decode(),
            "HUB_LOG_FORMAT": "json",
            "HUB_DRAIN_WAIT": "0.2",
        }
        command = hub_command("serve", "--host", "127.0.0.1", "--port", str(self.port), "--web", "2")
        super().__init__(command, environ=environ, folder=folder)

    def webs(self) -> list[int]:
        return [self.pid_of("web-1"), self.pid_of("web-2")]


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    with StoreProcess() as store, Serving(store, tmp_path) as running:
        running.until_logged("ready")
        yield running


def supervise(folder: Path, *children: StandIn) -> Running:
    spec = msgspec.json.encode([children]).decode()
    return Running(
        [sys.executable, "-m", "tests.support.supervised", spec], environ={"PYTHONPATH": str(ROOT)}, folder=folder
    )


class Follower:
    """A client that comes back with its cursor whenever it is closed."""

    def __init__(self, port: int) -> None:
        self.got: list[int] = []
        self.cursor: str | None = None
        self.closes: set[int] = set()
        self._url = f"ws://127.0.0.1:{port}/v1/ws"

    async def run(self, total: int) -> None:
        while len(self.got) < total:
            async with connect(self._url, additional_headers=auth(), compression=None) as connection:
                try:
                    await self._listen(WsClient(connection), total)
                except ConnectionClosed as closed:
                    self.closes.add(0 if closed.rcvd is None else closed.rcvd.code)

    async def _listen(self, ws: WsClient, total: int) -> None:
        joined = await ws.join("room.a", **({} if self.cursor is None else {"after": self.cursor}))
        assert joined.get("recovered", True) is True
        self.cursor = self.cursor or joined["cursor"]
        while len(self.got) < total:
            message = await ws.next("event")
            self.got.append(message["event"]["data"])
            self.cursor = message["cursor"]


async def accepted(client: httpx.AsyncClient, n: int) -> bool:
    """Whether event n is in; asked again when it met a process at its end, which its id makes harmless."""
    try:
        event = {"topic": "room.a", "type": "t", "data": n, "id": f"event-{n}"}
        return (await client.post("/v1/events", json=event)).status_code == 202
    except httpx.TransportError:
        return False


async def test_a_roll_replaces_each_process_and_no_client_misses_an_event(serving: Serving) -> None:
    before = await asyncio.to_thread(serving.webs)
    total = 200
    followers = [Follower(serving.port) for _ in range(6)]
    following = [asyncio.create_task(follower.run(total)) for follower in followers]
    await eventually(lambda: all(follower.cursor for follower in followers), "all have joined")
    serving.process.send_signal(signal.SIGHUP)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{serving.port}", headers=auth()) as client:
        for n in range(total - 1):
            await eventually(lambda n=n: accepted(client, n), "the event was accepted")
        await asyncio.to_thread(serving.until_logged, "rolled", seconds=40)
        await eventually(lambda: accepted(client, total - 1), "the last event was accepted")
    await asyncio.wait_for(asyncio.gather(*following), 30)
    for follower in followers:
        assert follower.got == list(range(total))
        assert follower.closes == {1012}
    assert not set(before) & set(await asyncio.to_thread(serving.webs))
    assert not any(map(is_alive, before))
    assert [line["cause"] for line in serving.log("stopped")] == ["exit code 0"] * 2
    assert await asyncio.to_thread(serving.stop) == 0


def test_a_new_process_serves_before_the_old_one_is_told_to_end(tmp_path: Path) -> None:
    with supervise(tmp_path, StandIn("one", SERVES), StandIn("two", SERVES)) as supervisor:
        supervisor.until_printed("all are ready")
        supervisor.process.send_signal(signal.SIGHUP)
        supervisor.until_logged("rolled")
        lines = [json.loads(line) for line in supervisor.err.splitlines()]
        story = [(line["event"], line["process"]) for line in lines if line["event"] in ("started", "stopped")]
        assert sorted(story[:2]) == [("started", "one"), ("started", "two")]
        assert story[2:] == [("started", "one"), ("stopped", "one"), ("started", "two"), ("stopped", "two")]
        assert supervisor.stop() == 0
        assert not supervisor.descendants()


def test_a_new_process_that_does_not_serve_stops_the_roll_and_the_old_ones_go_on(tmp_path: Path) -> None:
    flag = tmp_path / "broken"
    up = tmp_path / "up"
    code = (
        "import os, pathlib, sys, time; os.path.exists(sys.argv[2]) and sys.exit(3); "
        "os.write(int(sys.argv[1]), b'1'); pathlib.Path(sys.argv[3]).touch(); time.sleep(600)"
    )
    one = StandIn("one", [sys.executable, "-c", code, READY_FD, str(flag), str(up)], ready=str(up))
    with supervise(tmp_path, one, StandIn("two", SERVES)) as supervisor:
        supervisor.until_printed("all are ready")
        old = supervisor.pid_of("one"), supervisor.pid_of("two")
        flag.touch()
        supervisor.process.send_signal(signal.SIGHUP)
        (failed,) = supervisor.until_logged("the roll stopped; the old process goes on", process="one")
        assert failed["reason"] == "it ended"
        assert all(map(is_alive, old))
        assert len(supervisor.log("started", process="two")) == 1
        flag.unlink()
        supervisor.process.send_signal(signal.SIGHUP)
        supervisor.until_logged("rolled")
        until(lambda: not any(map(is_alive, old)), "the old ones have ended")
        assert supervisor.stop() == 0
        assert not supervisor.descendants()


def test_a_stop_during_a_roll_ends_old_and_new(tmp_path: Path) -> None:
    flag = tmp_path / "mute"
    code = "import os, sys, time; os.path.exists(sys.argv[2]) or os.write(int(sys.argv[1]), b'1'); time.sleep(600)"
    with supervise(tmp_path, StandIn("one", [sys.executable, "-c", code, READY_FD, str(flag)])) as supervisor:
        supervisor.until_printed("all are ready")
        flag.touch()
        supervisor.process.send_signal(signal.SIGHUP)
        supervisor.until_logged("started", process="one", count=2)
        assert supervisor.stop(seconds=10) == 0
        assert len(supervisor.log("stopped", process="one")) == 2
        assert not supervisor.descendants()


def test_what_can_not_be_rolled_stops_on_sighup(tmp_path: Path) -> None:
    sleeps = StandIn("one", [sys.executable, "-c", "import time; time.sleep(600)"])
    with supervise(tmp_path, sleeps) as supervisor:
        supervisor.until_printed("all are ready")
        os.kill(supervisor.process.pid, signal.SIGHUP)
        assert supervisor.process.wait(10) == 0
