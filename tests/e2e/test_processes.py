"""`hub dev` and `hub serve` as real processes: start, faults, restart, stop."""

import asyncio
import base64
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hub.store import embedded
from tests.support.processes import Running, call_hub, children_of, hub_command, is_alive, run_hub
from tests.support.receiver import OK, Receiver
from tests.support.store import StoreProcess
from tests.support.waiting import eventually, until

SECRETS = {"HUB_SECRET_KEY": base64.b64encode(b"k" * 32).decode(), "HUB_BOOTSTRAP_KEY": "test-key-0123456789"}


def start_dev(folder: Path, *arguments: str, **environ: str) -> Running:
    return Running(hub_command("dev", "--port", "0", "--workers", "0", *arguments), environ=environ, folder=folder)


class Client:
    """An API client made from what `hub dev` printed."""

    def __init__(self, running: Running) -> None:
        self.greeting = running.until_printed("Webhook")
        self.url = self._found(r"^Hub is at (\S+)$")
        self._headers = {"authorization": "Bearer " + self._found(r"^API key: (\S+)$")}

    def publish(self, topic: str, data: Any = None) -> httpx.Response:
        return self.post("/v1/events", {"topic": topic, "type": "test.event", "data": data})

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return httpx.post(self.url + path, json=body, headers=self._headers)

    def deliveries(self) -> list[str]:
        """The status of every delivery."""
        answer = httpx.get(f"{self.url}/v1/deliveries", headers=self._headers)
        return [delivery["status"] for delivery in answer.json()["data"]]

    def data(self, topic: str) -> list[Any]:
        """The data of the topic's events in the log."""
        answer = httpx.get(f"{self.url}/v1/events", params={"topic": topic}, headers=self._headers)
        return [item["event"]["data"] if "event" in item else item["data"] for item in answer.json()["data"]]

    def stream(self, topic: str) -> Any:
        return httpx.stream("GET", f"{self.url}/v1/stream", params={"topic": topic}, headers=self._headers)

    def _found(self, pattern: str) -> str:
        found = re.search(pattern, self.greeting, re.MULTILINE)
        assert found is not None
        return found[1]


@pytest.fixture
def store() -> Iterator[StoreProcess]:
    with StoreProcess() as running:
        yield running


# -- hub dev -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("curl") is None, reason="the greeting's lines are for curl")
def test_the_lines_that_dev_greets_with_work_as_they_stand(tmp_path: Path) -> None:
    with start_dev(tmp_path) as dev:
        greeting = Client(dev).greeting
        lines = dict(re.findall(r"^(Publish|Stream|Webhook) +(curl .*)$", greeting, re.MULTILINE))
        assert set(lines) == {"Publish", "Stream", "Webhook"}
        with Running(["sh", "-c", f"exec {lines['Stream']} -s"], folder=tmp_path) as stream:
            stream.until_printed("hub.connected")
            published = subprocess.run(lines["Publish"], shell=True, capture_output=True, text=True, check=True)  # noqa: S602
            assert '"success":true' in published.stdout
            stream.until_printed('"order.created"')


def test_dev_keeps_events_and_key_over_a_restart_and_its_folder_to_itself(tmp_path: Path) -> None:
    with start_dev(tmp_path) as dev:
        before = Client(dev)
        assert before.publish("restart.a", 7).status_code == 202
        assert dev.stop(signal.SIGINT) == 0
        assert not dev.descendants()
    with start_dev(tmp_path) as dev:
        after = Client(dev)
        assert re.findall("API key.*", after.greeting) == re.findall("API key.*", before.greeting)
        assert after.data("restart.a") == [7]
        assert dev.stop() == 0
    for path in (tmp_path / ".hub", *(tmp_path / ".hub").iterdir()):
        shared = path.name == "lock"  # it holds a process id
        assert shared or not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    assert not (tmp_path / ".hub" / "running.json").exists()


def test_a_store_that_was_killed_comes_back_with_its_events(tmp_path: Path) -> None:
    with start_dev(tmp_path) as dev:
        client = Client(dev)
        assert client.publish("kill.store", 1).status_code == 202
        os.kill(dev.pid_of("store"), signal.SIGKILL)
        (died,) = dev.until_logged("a process died; starting it again", process="store")
        assert died["cause"] == "signal 9 (Killed)"
        assert died["hint"].endswith("store.log")
        until(lambda: client.publish("kill.store", 2).status_code == 202, "publishing works again")
        assert client.data("kill.store")[:1] == [1]
        assert dev.stop() == 0


def test_a_web_process_that_was_killed_comes_back_and_nothing_is_refused_meanwhile(tmp_path: Path) -> None:
    with start_dev(tmp_path) as dev:
        client = Client(dev)
        os.kill(dev.pid_of("web-1"), signal.SIGKILL)
        dev.until_logged("a process died; starting it again", process="web-1")
        assert client.publish("kill.web").status_code == 202  # it waited in the socket's queue
        assert dev.stop() == 0


def test_an_open_stream_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    with start_dev(tmp_path, "--web", "2") as dev, Client(dev).stream("stop.a") as response:
        lines = response.iter_lines()
        assert next(lines)
        began = time.monotonic()
        assert dev.stop() == 0
        assert time.monotonic() - began < 10
        assert any(line.startswith("retry:") for line in lines)


async def test_the_stop_waits_for_the_attempt_in_flight_and_records_it(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def slowly(writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(OK)

    async with Receiver() as receiver:
        receiver.answers["/hook"] = [slowly]
        with start_dev(tmp_path, "--workers", "1") as dev:
            client = Client(dev)
            assert client.post("/v1/endpoints", {"url": receiver.url()}).status_code == 201
            assert client.publish("drain.a").status_code == 202
            await receiver.until(1)
            dev.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(dev.until_logged, "stopped", process="web-1")
            assert not dev.log("stopped", process="worker-1")
            release.set()
            assert await asyncio.to_thread(dev.process.wait, 20) == 0
            assert [line["process"] for line in dev.log("stopped")] == ["web-1", "worker-1", "store"]
        with start_dev(tmp_path, "--workers", "1") as dev:
            client = Client(dev)
            await eventually(lambda: client.deliveries() == ["succeeded"], "the delivery is recorded")
            assert dev.stop() == 0
        assert len(receiver.at()) == 1


def test_a_second_dev_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with start_dev(tmp_path) as dev:
        dev.until_logged("started", process="store")
        second = run_hub("dev", "--port", "0", folder=tmp_path)
        assert second.returncode == 1
        assert f"{tmp_path / '.hub'} is in use by another hub dev (process {dev.process.pid})" in second.stderr
        assert dev.process.poll() is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_a_killed_dev_leaves_no_process_and_can_be_started_again_at_once(tmp_path: Path) -> None:
    with start_dev(tmp_path) as dev:
        assert Client(dev).publish("killed.dev", 1).status_code == 202
        children = children_of(dev.process.pid)
        assert len(children) == 2
        dev.stop(signal.SIGKILL)
        with start_dev(tmp_path) as again:
            assert Client(again).data("killed.dev") == [1]
            assert not any(is_alive(pid) for pid in children)


def test_a_data_folder_too_deep_for_a_socket_works_all_the_same(tmp_path: Path) -> None:
    deep = tmp_path / ("deep-" * 12) / ("über uns " * 6)
    with start_dev(tmp_path, "--data-dir", str(deep)) as dev:
        assert Client(dev).publish("deep.a", 1).status_code == 202
        assert dev.stop() == 0
    assert (deep / "appendonlydir").is_dir()
    embedded.socket_path(deep).parent.rmdir()  # empty: the store took its socket away


def test_dev_uses_the_store_and_the_key_of_the_environment(tmp_path: Path, store: StoreProcess) -> None:
    with start_dev(tmp_path, HUB_REDIS_URL=store.url, HUB_BOOTSTRAP_KEY="my-own-key-0123456789") as dev:
        client = Client(dev)
        assert "API key: my-own-key-0123456789\n" in client.greeting
        assert client.publish("own.store").status_code == 202
        assert not dev.log("started", process="store")
        assert store.client().xlen("hub:{p0}:log") == 1


def test_a_port_in_use_is_said_by_its_number(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = run_hub("dev", "--port", port, folder=tmp_path)
    assert refused.returncode == 1
    assert f"Port {port} on 127.0.0.1 can't be used: Address already in use" in refused.stderr


def test_a_data_folder_that_can_not_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = call_hub("dev", "--data-dir", "file", folder=tmp_path)
    assert code == 1
    assert f"The data folder {tmp_path / 'file'} can't be used: File exists" in err
    (tmp_path / ".hub").mkdir()
    (tmp_path / ".hub" / "dev.json").write_text("{")
    code, _, err = call_hub("dev", "--port", "0", folder=tmp_path)
    assert code == 1
    assert f"{tmp_path / '.hub' / 'dev.json'} is damaged" in err


# -- hub serve, hub worker ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["dev", "serve", "worker"])
def test_a_wrong_setting_stops_the_start_with_its_name_its_value_and_what_is_allowed(
    tmp_path: Path, command: str
) -> None:
    code, _, err = call_hub(command, folder=tmp_path, environ={"HUB_PARTITIONS": "many"})
    assert code == 2
    assert err.startswith("hub: HUB_PARTITIONS is 'many'; allowed: 1 to 64")


def test_dev_says_a_wrong_setting_before_it_makes_or_takes_anything(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, _, err = call_hub("dev", "--port", port, folder=tmp_path, environ={"HUB_LOG_LEVEL": "loud"})
    assert code == 2
    assert "HUB_LOG_LEVEL" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["serve --port 0", "serve --port 0 --web 2", "worker"])
def test_a_process_that_waits_for_its_store_says_so_at_once(tmp_path: Path, command: str) -> None:
    environ = {"HUB_REDIS_URL": "redis://127.0.0.1:1", **SECRETS}
    with Running(hub_command(*command.split()), environ=environ, folder=tmp_path) as waiting:
        (line, *_) = waiting.until_logged("store_awaited", seconds=10)
        assert "Connection refused" in line["reason"]
        assert line["seconds"] == 30


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_what_production_needs_is_named_when_it_is_missing(tmp_path: Path, command: str) -> None:
    code, _, err = call_hub(command, folder=tmp_path)
    assert code == 2
    assert "HUB_REDIS_URL is not set" in err
    code, _, err = call_hub(command, folder=tmp_path, environ={"HUB_REDIS_URL": "redis://127.0.0.1:1"})
    assert code == 2
    assert "HUB_SECRET_KEY is not set; make one with `openssl rand -base64 32`" in err


@pytest.mark.parametrize("web", [1, 2])
def test_serve_runs_as_many_web_processes_as_asked_and_stops_with_0(
    tmp_path: Path, store: StoreProcess, web: int
) -> None:
    environ = {"HUB_REDIS_URL": store.url, **SECRETS}
    command = hub_command("serve", "--host", "127.0.0.1", "--port", "0", "--web", str(web))
    with Running(command, environ=environ, folder=tmp_path) as serve:
        serve.until_logged("web_ready", count=web)
        assert len(children_of(serve.process.pid)) == (0 if web == 1 else web)
        if web > 1:
            (ready,) = serve.until_logged("ready")
            assert httpx.get(f"{ready['url']}/health/ready").status_code == 200
        assert serve.stop() == 0
        assert not serve.descendants()


def test_worker_is_the_process_that_was_started_and_stops_with_0(tmp_path: Path, store: StoreProcess) -> None:
    environ = {"HUB_REDIS_URL": store.url, "HUB_LOG_LEVEL": "debug", **SECRETS}
    with Running(hub_command("worker"), environ=environ, folder=tmp_path) as worker:
        until(lambda: store.client().exists("hub:{p0}:lease"), "the worker reads the log")
        assert not children_of(worker.process.pid)
        assert worker.stop() == 0


@pytest.mark.parametrize("web", [1, 2])
def test_serve_refuses_a_store_that_may_evict_and_says_the_mend(tmp_path: Path, store: StoreProcess, web: int) -> None:
    store.client().config_set("maxmemory-policy", "allkeys-lru")
    environ = {"HUB_REDIS_URL": store.url, **SECRETS}
    refused = run_hub("serve", "--port", "0", "--web", str(web), folder=tmp_path, environ=environ)
    assert refused.returncode != 0
    assert "it may evict events that were accepted" in refused.stderr
    assert "CONFIG SET maxmemory-policy noeviction" in refused.stderr
