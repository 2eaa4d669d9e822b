"""Every line of "Live, exactly" (design.md), each against the interleaving that would break it.

| line | here | and elsewhere |
|---|---|---|
| one sequencer | join between slices; leave, loss, notice amid a fan-out | unit/test_turn |
| log order per connection | several rooms on one connection | e2e/test_websocket; test_live_model |
| fast or slow | | unit/test_slice, test_slim, test_connection (TLS); chaos/test_drain; test_live_ends |
| replay | held while window, trim or epoch moves; the budget | test_live_rejoins, test_live_replay, test_live_model |
| cursors | heartbeats amid fan-out and replay; ahead of the tail; partitions not named | e2e/test_stream: precedence |
| epoch | during a replay; noticed by another; store away | chaos/test_store_lost; test_live_replay; test_log |
| frames | replayed and live bytes are the same | unit/test_frames; e2e/test_stream |
| patterns, payload | | unit/test_topics; unit/test_event; e2e/test_publish |
| control stream | a notice amid a batch | test_live_reading: nothing repeated; unit/test_steps |
| window, prefilled | trimmed amid the prefill; what others delivered | chaos/test_drain: killed; chaos/test_storm |
| uvicorn's traps | | chaos/test_drain; chaos/test_roll; e2e/test_stream; e2e/test_supervisor |
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from hub.core import cursor as cursors
from hub.core.cursor import START
from hub.live import pulse
from hub.live import replay as replays
from hub.live import slice as slices
from hub.store.connect import Link
from hub.store.control import Notice, send_notice
from tests.support.gateways import APP, Client, Process, fan_out_asked, process, trim
from tests.support.store import StoreProcess
from tests.support.waiting import eventually


@pytest.fixture
async def one(store: StoreProcess, link: Link) -> AsyncIterator[Process]:
    """A process with a window of ten events."""
    async with process(store, window=10) as running:
        yield running


# -- one sequencer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resumes", [False, True])
async def test_a_join_between_two_slices_gets_the_event_in_flight_once_or_not_at_all(
    one: Process, monkeypatch: pytest.MonkeyPatch, resumes: bool
) -> None:
    """The seat that it takes is a free one, which the running loop has still ahead."""
    monkeypatch.setattr(slices, "SLICE", 1)
    early = [Client().open(one) for _ in range(3)]
    for client in early:
        await client.join(one, "a.x")
    await early[2].join(one, "a.y")
    one.gateway.drop(early[1])
    before = one.gateway.cursor()
    late = Client().open(one)
    joining: list[asyncio.Task[None]] = []

    def join(message: dict[str, object]) -> None:
        if message["type"] == "event" and not joining:
            joining.append(asyncio.create_task(late.join(one, "a.x", before if resumes else None)))

    early[0].on_write = join
    await one.publish("a.x", 1)
    await eventually(lambda: joining and joining[0].done(), "the late one has joined")
    await one.publish("a.x", 2)
    await eventually(lambda: 2 in late.data() and 2 in early[2].data(), "the second event came")
    assert late.data() == ([1, 2] if resumes else [2])
    assert early[0].data() == early[2].data("a.x") == [1, 2]
    assert early[1].data() == []


async def test_a_leave_amid_a_fan_out_waits_for_it_and_a_lost_connection_does_not(
    one: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "SLICE", 1)
    first, leaver, lost, last = (Client().open(one) for _ in range(4))
    for client in (first, leaver, lost, last):
        await client.join(one, "a.x")
    leaving: list[asyncio.Task[bool]] = []

    def interrupt(message: dict[str, object]) -> None:
        if message["type"] == "event" and not leaving:
            leaving.append(asyncio.create_task(one.gateway.leave(leaver, "a.x")))
            one.gateway.drop(lost)

    first.on_write = interrupt
    await one.publish("a.x", 1)
    await eventually(lambda: leaving and leaving[0].done(), "it has left")
    await one.publish("a.x", 2)
    await eventually(lambda: last.data() == first.data() == [1, 2], "the others got both")
    assert leaver.data() == [1]
    assert lost.data() == []
    for client in (first, last, leaver):
        one.gateway.drop(client)
    assert not len(one.gateway.rooms)
    assert not len(one.gateway)


async def test_what_a_notice_changes_amid_a_batch_neither_doubles_nor_reorders_events(one: Process) -> None:
    """Its handler takes a room away, so that the connection goes from a joined buffer of its own to its room's."""
    client, other = Client().open(one), Client().open(one)
    await client.join(one, "a.x")
    await client.join(one, "a.*")
    await other.join(one, "a.x")

    def handle(_: Notice) -> None:
        one.gateway.rooms.leave(client, "a.*")

    one.gateway.on_notice("test", handle)
    async with one.gateway.turn.take():  # so that all of it is one read of the tail
        await one.publish("a.x", 0)
        await eventually(lambda: one.gateway.log.observe(0), "it is in the log")
        for n in range(1, 4):
            await one.publish("a.x", n)
        await send_notice(one.link, "test", APP, {})
        await one.publish("a.x", 4)
    await eventually(lambda: "a.*" not in client.rooms, "the notice was handled")
    await one.publish("a.x", 5)
    await eventually(lambda: 5 in client.data("a.x"), "the last one came")
    assert client.data("a.x") == other.data() == [0, 1, 2, 3, 4, 5]
    assert client.data("a.*") in ([0, 1, 2, 3], [0, 1, 2, 3, 4])


async def test_several_rooms_on_one_connection_get_each_event_in_log_order(one: Process) -> None:
    client, sole = Client().open(one), Client().open(one)
    for room in ("a.x", "a.*", "**"):
        await client.join(one, room)
    await sole.join(one, "**")
    await one.publish_all([(f"a.{name}", n) for n, name in enumerate("xyxxyx")])
    await eventually(lambda: len(sole.data()) == 6, "all came")
    assert [n for n, _ in enumerate("xyxxyx")] == sole.data() == client.data("**") == client.data("a.*")
    assert client.data("a.x") == [0, 2, 3, 5]
    positions = [cursors.decode(message["cursor"])[0].position for message in client.of("event")]
    assert positions == sorted(positions)


# -- replay ------------------------------------------------------------------------------------------------------------


async def held_replay(one: Process, room: str, count: int = 300) -> tuple[Client, asyncio.Task[None]]:
    """A client that has read the first page of `count` events and now holds its replay up."""
    begin = one.gateway.cursor()
    await one.publish_all([("a.x", n) for n in range(count)])
    await eventually(lambda: one.gateway.window.floors[0] > START, "the window has moved on")
    client = Client().open(one)
    client.flows.clear()
    joining = asyncio.create_task(client.join(one, room, begin))
    await eventually(client.data, "the replay has begun")
    return client, joining


@pytest.mark.parametrize("room", ["a.x", "a.*"])
async def test_a_window_that_moves_on_during_a_replay_loses_nothing(one: Process, room: str) -> None:
    client, joining = await held_replay(one, room)
    await one.publish_all([("a.x", n) for n in range(300, 700)])
    await eventually(lambda: one.gateway.window.topic_since(APP, "a.x", START)[-1].body.endswith(b"699}"), "read")
    client.flows.set()
    await joining
    await one.publish("a.x", 700)
    await eventually(lambda: 700 in client.data(), "it is live")
    assert client.of("room_joined")[0]["recovered"] is True
    assert client.data() == list(range(701))
    assert not client.of("gap")


@pytest.mark.parametrize("room", ["a.x", "a.*"])
async def test_what_the_store_has_beyond_a_fan_out_that_is_late_comes_once(
    one: Process, monkeypatch: pytest.MonkeyPatch, room: str
) -> None:
    client, joining = await held_replay(one, room, 250)  # the last page is not full
    asked, may_go, fan_out = asyncio.Event(), asyncio.Event(), one.gateway.turn.fan_out

    @contextlib.asynccontextmanager
    async def later() -> AsyncGenerator[None]:
        asked.set()
        await may_go.wait()
        async with fan_out():
            yield

    monkeypatch.setattr(one.gateway.turn, "fan_out", later)
    await one.publish_all([("a.x", n) for n in range(250, 255)])
    await asyncio.wait_for(asked.wait(), 15)
    client.flows.set()
    await joining
    may_go.set()
    await one.publish("a.x", 255)
    await eventually(lambda: 255 in client.data(), "it is live")
    assert client.data() == list(range(256))


@pytest.mark.parametrize("room", ["a.x", "a.*"])
async def test_a_window_that_moves_on_while_a_replay_waits_for_its_turn_loses_nothing(
    one: Process, monkeypatch: pytest.MonkeyPatch, room: str
) -> None:
    client, joining = await held_replay(one, room)
    asked = fan_out_asked(one, monkeypatch)
    async with one.gateway.turn.take():
        await one.publish_all([("a.x", n) for n in range(300, 340)])
        await asyncio.wait_for(asked.wait(), 15)
        client.flows.set()
        await eventually(lambda: 289 in client.data(), "it has read what lies below the window")
        for _ in range(5):
            await asyncio.sleep(0)
        assert not joining.done()
    await joining
    await one.publish("a.x", 340)
    await eventually(lambda: 340 in client.data(), "it is live")
    assert client.data() == list(range(341))


@pytest.mark.parametrize("room", ["a.x", "a.*"])
async def test_a_log_that_is_trimmed_past_a_replay_gives_a_gap(one: Process, room: str) -> None:
    client, joining = await held_replay(one, room)
    held = len(client.data())
    for _ in range(2):
        await trim(one.link, 100)
    client.flows.set()
    await joining
    await one.publish("a.x", 300)
    await eventually(lambda: 300 in client.data(), "it is live")
    (gap,) = client.of("gap")
    before = client.told[: client.told.index(gap)]
    got = [message["event"]["data"] for message in before if message["type"] == "event"]
    assert got == list(range(len(got)))
    assert len(got) >= held
    assert gap["from"] == [message for message in before if message["type"] == "event"][-1]["cursor"]
    assert client.data()[len(got) :] == [300]


@pytest.mark.parametrize("room", ["a.x", "a.*"])
async def test_an_epoch_that_changes_during_a_replay_gives_a_gap_and_goes_on_in_the_new_one(
    one: Process, room: str
) -> None:
    client, joining = await held_replay(one, room)
    await one.link.call("FLUSHALL")
    client.flows.set()  # at once: the tail may not have seen it yet
    await joining
    await eventually(lambda: client.of("gap"), "it was told")
    await one.publish("a.x", 1000)
    await eventually(lambda: 1000 in client.data(), "it is live")
    got = client.data()
    gap = client.told.index(client.of("gap")[0])
    before = [message["event"]["data"] for message in client.told[:gap] if message["type"] == "event"]
    assert before == list(range(len(before)))
    assert got[len(before) :] == [1000]


async def test_a_join_that_waits_for_its_turn_while_the_epoch_changes_is_not_recovered(
    one: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = await one.publish("a.x", 1)
    await eventually(lambda: one.gateway.cursor() == done.cursor, "it was fanned out")
    turn, asked = one.gateway.turn, fan_out_asked(one, monkeypatch)
    client = Client().open(one)
    async with turn.take():
        await one.link.call("FLUSHALL")
        await asyncio.wait_for(asked.wait(), 15)
        joining = asyncio.create_task(client.join(one, "a.x", done.cursor))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not joining.done()
    await joining
    assert [answer["recovered"] for answer in client.of("room_joined")] == [False]
    await one.publish("a.x", 2)
    await eventually(lambda: client.data() == [2], "it is live")


async def test_replayed_bytes_are_those_that_went_out_live(one: Process) -> None:
    live, begin = Client().open(one), one.gateway.cursor()
    await live.join(one, "a.*")
    await one.publish_all([("a.x", n) for n in range(8)])
    await eventually(lambda: len(live.data()) == 8, "they came")
    for _ in range(2):  # rendered, then found among what was rendered
        late = Client().open(one)
        await late.join(one, "a.*", begin)
        assert late.of("event") == live.of("event")


async def test_a_replay_of_a_pattern_looks_at_no_more_of_the_log_than_its_budget(
    one: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "SCAN_BUDGET", 250)
    before = (await one.publish("b.y", "first")).cursor
    await one.publish_all([("b.y", n) for n in range(400)])
    await one.publish("a.x", 400)
    await eventually(lambda: one.gateway.cursor() > before and len(one.gateway.window) == 10, "it is all read")
    wide, narrow = Client().open(one), Client().open(one)
    await wide.join(one, "a.*", before)
    await narrow.join(one, "a.x", before)  # a topic has its own index, and no such limit
    await one.publish("a.x", 401)
    await eventually(lambda: wide.data() == [401] and narrow.data() == [400, 401], "both are live")
    (gap,) = wide.of("gap")
    assert gap["from"] < gap["to"]
    assert narrow.of("gap") == []


# -- cursors -----------------------------------------------------------------------------------------------------------


async def test_a_heartbeat_amid_a_fan_out_is_never_ahead_of_what_came(
    one: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "SLICE", 1)
    monkeypatch.setattr(pulse, "SLICE", 1)
    monkeypatch.setattr(pulse, "PULSE", 0.0)
    clients = [Client(interval=0.0).open(one) for _ in range(50)]
    for client in clients:
        await client.join(one, "a.x")
    await eventually(lambda: clients[0].of("heartbeat"), "the pulse has begun to hurry")
    for n in range(20):
        await one.publish("a.x", n)
    await eventually(lambda: clients[-1].data() == list(range(20)), "all came")
    for client in clients:
        reached = START
        assert client.of("heartbeat")
        for message in client.told:
            position = cursors.decode(message["cursor"])[0].position
            assert position > reached if message["type"] == "event" else position >= reached
            reached = position


async def test_a_heartbeat_amid_a_replay_carries_no_cursor(one: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "PULSE", 0.01)
    client, joining = await held_replay(one, "a.x")
    client.interval, client.next_beat = 0.0, 0.0
    await eventually(lambda: len(client.of("heartbeat")) > 2, "heartbeats came")
    assert all("cursor" not in beat for beat in client.of("heartbeat"))
    client.flows.set()
    await joining
    await eventually(lambda: "cursor" in client.of("heartbeat")[-1], "then they carry it again")
