"""What a client asks for again, and how fast it gets it; the lines of "Live, exactly" are in test_live_lines."""

import asyncio
import contextlib

import pytest

from hub.core.errors import StoreUnavailable
from hub.live.replay import STEP_BYTES
from hub.store import keys
from hub.store.connect import Link
from hub.store.control import Notice, send_notice
from tests.support.gateways import APP, Client, Process, process
from tests.support.store import StoreProcess
from tests.support.waiting import eventually


async def test_a_member_that_joins_again_gets_what_it_asks_for_once_more(store: StoreProcess, link: Link) -> None:
    async with process(store) as one:
        client = Client().open(one)
        await client.join(one, "a.x")
        sent = [await one.publish("a.x", n) for n in range(4)]
        await eventually(lambda: client.data() == [0, 1, 2, 3], "they came")
        await client.join(one, "a.x", sent[0].cursor)
        assert client.data()[4:] == [1, 2, 3]
        await client.join(one, "a.x", history=2)
        assert client.data()[7:] == [2, 3]
        await client.join(one, "a.*", history=1)
        await one.publish("a.x", 4)
        await eventually(lambda: client.data("a.*") == [3, 4], "it goes on in both")
        await eventually(lambda: client.data("a.x")[9:] == [4], "it goes on in both")


async def test_a_replay_from_the_window_goes_at_the_clients_pace_too(store: StoreProcess, link: Link) -> None:
    async with process(store) as one:
        begin = one.gateway.cursor()
        size, count = 60_000, 20
        for n in range(count):
            await one.publish("a.x", f"{n:02}" + "x" * size)
        await eventually(lambda: len(one.gateway.window) == count, "all is in the window")
        slow, quick = Client().open(one), Client().open(one)
        slow.flows.clear()
        joining = asyncio.create_task(slow.join(one, "a.x", begin))
        await eventually(slow.data, "the replay has begun")
        await quick.join(one, "a.x", begin)  # it holds up nobody else
        assert len(quick.data()) == count
        assert len(slow.data()) <= STEP_BYTES // size + 1
        slow.flows.set()
        await joining
        assert [text[:2] for text in slow.data()] == [f"{n:02}" for n in range(count)]


async def test_a_notice_that_cant_be_handled_stops_nothing(store: StoreProcess, link: Link) -> None:
    def fail(_: Notice) -> None:
        raise ValueError("a bug of ours")

    async with process(store) as one:
        heard: list[Notice] = []
        one.gateway.on_notice("test", fail)
        one.gateway.on_notice("test", heard.append)
        client = Client().open(one)
        await client.join(one, "a.x")
        await send_notice(one.link, "test", APP, {})
        await eventually(lambda: heard, "the next handler had it")
        await one.publish("a.x", 1)
        await eventually(lambda: client.data() == [1], "events go on")
        assert one.gateway.fault is None


async def test_a_join_after_the_log_lost_more_than_the_window_held_is_answered_at_once(
    store: StoreProcess, link: Link
) -> None:
    async with process(store, window=10) as one:
        client, late = Client().open(one), Client().open(one)
        await client.join(one, "a.x")
        await one.publish_all([("a.x", n) for n in range(20)])
        await eventually(lambda: len(client.data()) == 20, "they came")
        await one.link.call("FLUSHALL")
        await eventually(lambda: client.of("gap"), "the loss was noticed")
        await asyncio.wait_for(late.join(one, "a.x", client.of("gap")[0]["to"]), 5)
        assert late.of("room_joined")[0]["recovered"] is True
        await one.publish("a.x", 20)
        await eventually(lambda: late.data() == [20], "it is live")


async def test_what_another_store_holds_comes_behind_the_gap_and_the_gap_once(
    store: StoreProcess, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection broke while the tail was not reading: its next read must not go to the other store unchecked."""
    async with process(store) as one:
        client, waits, fan_out = Client().open(one), asyncio.Event(), one.gateway.turn.fan_out
        await client.join(one, "a.x")

        def ask() -> contextlib.AbstractAsyncContextManager[None]:
            waits.set()
            return fan_out()

        monkeypatch.setattr(one.gateway.turn, "fan_out", ask)
        async with one.gateway.turn.take():
            await one.publish("a.x", 1)
            await asyncio.wait_for(waits.wait(), 5)
            store.wipe()
            store.start()
            await eventually(lambda: publishes(one, 2), "the other store takes events")
        await eventually(lambda: client.data() == [1, 2], "both came")
        with store.client() as outside:
            outside.client_kill_filter(_type="normal", skipme=True)
        await eventually(lambda: publishes(one, 3), "it is reached again")
        await eventually(lambda: client.data() == [1, 2, 3], "it goes on")
        told = [message["event"]["data"] if message["type"] == "event" else message["type"] for message in client.told]
        assert told == ["room_joined", 1, "gap", 2, 3]


async def publishes(one: Process, n: int) -> bool:
    with contextlib.suppress(StoreUnavailable):
        await one.publish("a.x", n)
        return True
    return False


async def test_what_a_store_with_an_older_clock_holds_is_new(store: StoreProcess, link: Link) -> None:
    async with process(store) as one:
        client = Client().open(one)
        await client.join(one, "a.x")
        await one.publish("a.x", 1)
        await eventually(client.data, "it came")
        event = ("a", APP, "t", "a.x", "y", "t", "i", "evt_5", "r", "", "e", b'{"data":5}')
        await one.link.pipeline([("FLUSHALL",), ("XADD", keys.log(0), "5-0", *event)])
        await eventually(lambda: len(client.told) == 4, "it came")
        assert [message["type"] for message in client.told] == ["room_joined", "event", "gap", "event"]
        assert client.data() == [1, 5]


async def test_a_process_one_of_whose_tasks_has_died_is_not_ready(store: StoreProcess, link: Link) -> None:
    async with process(store) as one:
        assert one.gateway.fault is None
        (pulse,) = [task for task in asyncio.all_tasks() if task.get_name() == "pulse"]
        pulse.cancel()
        await eventually(lambda: one.gateway.fault == "the pulse has stopped", "it says so")
