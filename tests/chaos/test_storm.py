"""A resume storm: all are cut at once and come back with their cursors, while events go on. Each gets each once."""

import asyncio
import contextlib
import shutil
import signal

import pytest

from bench import storm
from bench.processes import Cores
from hub.processes import WEB_DRAIN
from tests.support.hub import Hub, publish
from tests.support.live import WsClient
from tests.support.waiting import eventually

CLIENTS, ROOMS = 300, 5


def reads(hub: Hub) -> int:
    """How often the store was asked for entries; scripts that look at the log's ends count too."""
    with hub.store.client() as client:
        stats = client.info("commandstats")
        assert isinstance(stats, dict)
        return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("xrange", "xrevrange"))


@pytest.mark.parametrize("killed", [False, True])
async def test_all_who_were_cut_at_once_catch_up_without_a_read_of_the_store_for_each(killed: bool) -> None:
    """They come back to both processes, or, when theirs was killed, to the other one and to its successor."""
    with Hub(web=2) as hub:
        got: list[list[int]] = [[] for _ in range(CLIENTS)]
        places: list[str] = [""] * CLIENTS
        sent: list[list[int]] = [[] for _ in range(ROOMS)]
        stop = asyncio.Event()

        async def publisher() -> None:
            async with hub.client(1) as client:
                n = 0
                while not stop.is_set():
                    await publish(client, f"room.{n % ROOMS}", n)
                    sent[n % ROOMS].append(n)
                    n += 1

        async def listen(number: int, index: int, ready: asyncio.Event) -> None:
            async with WsClient.open(hub, index=index) as ws:
                answer = await ws.join(
                    f"room.{number % ROOMS}", **({"after": places[number]} if places[number] else {})
                )
                assert answer.get("recovered", True) is True
                places[number] = places[number] or answer["cursor"]
                ready.set()
                with contextlib.suppress(asyncio.CancelledError):
                    while True:
                        message = await ws.next("event")
                        got[number].append(message["event"]["data"])
                        places[number] = message["cursor"]
                ws.connection.transport.abort()

        async def open_all(indexes: list[int]) -> list[asyncio.Task[None]]:
            ready = [asyncio.Event() for _ in range(CLIENTS)]
            tasks = [
                asyncio.create_task(listen(number, indexes[number % len(indexes)], ready[number]))
                for number in range(CLIENTS)
            ]
            await asyncio.wait_for(asyncio.gather(*(event.wait() for event in ready)), 30)
            return tasks

        first = await open_all([0])
        publishing = asyncio.create_task(publisher())
        await eventually(lambda: all(len(each) > 3 for each in got), "events flow")
        for task in first:
            task.cancel()
        await asyncio.gather(*first)
        if killed:
            hub.webs[0].kill()
            await asyncio.to_thread(hub.restart_web, 0)
        before = reads(hub)
        second = await open_all([0, 1])
        assert reads(hub) - before < CLIENTS / 5
        stop.set()
        await publishing
        for number in range(CLIENTS):
            await eventually(lambda n=number: len(got[n]) >= len(sent[n % ROOMS]), "it has caught up")
            assert got[number] == sent[number % ROOMS]
        for task in second:
            task.cancel()
        await asyncio.gather(*second)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("mode", storm.MODES)
@pytest.mark.parametrize("scenario", storm.SCENARIOS, ids=lambda scenario: scenario.name)
def test_five_thousand_come_back_while_others_go_on(scenario: storm.Scenario, mode: str) -> None:
    fields = storm.play(storm.build(), scenario, storm.Size(5000, 200, 50, 200, 3, mode), Cores.pick())
    assert not fields["failed"], fields
    assert float(str(fields["reads_per_client"])) < 0.1
    if scenario.signal == signal.SIGTERM:
        assert fields["exit_code"] == 0
        assert 0 < float(str(fields["ended_s"])) < WEB_DRAIN + 0.5  # HUB_DRAIN_WAIT
