"""The reading side of "Live, exactly": cursors, epochs, partitions and the window; the table is in test_live_lines."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from hub.core import cursor as cursors
from hub.core.claims import Principal
from hub.core.cursor import START, Mark, Position
from hub.core.errors import StoreUnavailable
from hub.core.event import Event
from hub.live import replay as replays
from hub.store import keys
from hub.store.connect import Link
from hub.store.control import send_ephemeral
from hub.store.log import Entry, Log
from tests.support.gateways import APP, Client, Process, process, trim
from tests.support.store import StoreProcess
from tests.support.waiting import eventually


@pytest.fixture
async def one(store: StoreProcess, link: Link) -> AsyncIterator[Process]:
    """A process with a window of ten events."""
    async with process(store, window=10) as running:
        yield running


@pytest.mark.parametrize("soon", [10.0, 0.0], ids=["in a moment", "later"])
async def test_a_cursor_ahead_of_this_processs_tail_waits_for_it(
    store: StoreProcess, one: Process, monkeypatch: pytest.MonkeyPatch, soon: float
) -> None:
    """The store is asked only when the fan-out doesn't come to it in a moment."""
    monkeypatch.setattr(replays, "SOON", soon)
    async with process(store) as behind:
        ahead = Client().open(one)
        await ahead.join(one, "a.x")
        late = Client().open(behind)
        async with behind.gateway.turn.take():  # its fan-out can't go on
            await one.publish("a.x", 1)
            await eventually(lambda: ahead.data() == [1], "the other process delivered it")
            if soon:
                monkeypatch.setattr(behind.gateway.log, "observe", None)
            joining = asyncio.create_task(late.join(behind, "a.x", ahead.of("event")[-1]["cursor"]))
            await asyncio.sleep(0.05)
            assert late.told == []
        await joining
        await one.publish("a.x", 2)
        await eventually(late.data, "it is live")
        assert late.of("room_joined")[0]["recovered"] is True
        assert late.data() == [2]


async def test_a_cursor_past_the_logs_last_entry_or_of_an_epoch_that_only_others_know_is_not_recovered(
    store: StoreProcess, one: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "CATCH_UP_SECONDS", 60)  # what isn't in the store is not waited for
    await one.publish("a.x", 1)
    epoch, last, _ = await one.gateway.log.observe(0)
    beyond = Client().open(one)
    async with asyncio.timeout(15):
        await beyond.join(one, "a.x", cursors.encode([Mark(0, epoch, last[0] + 60_000, 0)]))
    newer = Client().open(one)
    await newer.join(one, "a.x", cursors.encode([Mark(0, epoch + 1, *last)]))
    await one.publish("a.x", 2)
    for client in (beyond, newer):
        assert client.of("room_joined")[0]["recovered"] is False
        await eventually(client.data, "it is live")
        assert client.data() == [2]


async def test_partitions_that_a_cursor_does_not_name_mean_now(store: StoreProcess, link: Link) -> None:
    async with process(store, partitions=3) as one:
        topics = [f"a.{n}" for n in range(12)]
        begin = cursors.decode(one.gateway.cursor())
        await one.publish_all([(topic, 0) for topic in topics])
        client = Client().open(one)
        live = Client().open(one)
        await live.join(one, "**", one.gateway.cursor())
        for partition in range(3):
            _, last, _ = await one.gateway.log.observe(partition)
            await one.gateway.reached(partition, last)
        await client.join(one, "**", cursors.encode([begin[1]]))
        await one.publish_all([(topic, 1) for topic in topics])
        of_one = [topic for topic in topics if keys.partition_of(APP, topic, 3) == 1]
        await eventually(lambda: client.data().count(1) == len(topics), "all of the second round came")
        assert client.data().count(0) == len(of_one)


# -- epoch, window -----------------------------------------------------------------------------------------------------


async def test_a_loss_that_another_process_noticed_first_is_answered_not_recovered(
    store: StoreProcess, one: Process
) -> None:
    """This one's tail has not looked yet, and its own epoch is the cursor's."""
    begin = one.gateway.cursor()
    await one.publish_all([("a.x", n) for n in range(30)])
    await eventually(lambda: one.gateway.window.floors[0] > START, "the window has moved on")
    async with one.gateway.turn.take():  # it can't take the reset
        await one.link.call("FLUSHALL")
        async with process(store) as other:
            await other.publish("a.x", 30)
        client = Client().open(one)
        joining = asyncio.create_task(client.join(one, "a.x", begin))
        await eventually(lambda: joining.done() or client.replaying, "it is under way")
    await joining
    assert client.of("room_joined")[0]["recovered"] is False


async def test_a_store_that_goes_away_amid_the_check_of_two_partitions_hides_no_gap(
    store: StoreProcess, link: Link
) -> None:
    class Flaky(Log):
        """Its second partition can't be asked the first time after a loss."""

        failures = 1

        async def observe(
            self, partition: int, epoch: int = 0, last: Position = START
        ) -> tuple[int, Position, Position]:
            found = await super().observe(partition, epoch, last)
            if epoch and found[0] != epoch and partition == 1 and self.failures:
                self.failures -= 1
                raise StoreUnavailable("away")
            return found

        def over(self, link: Link) -> Log:
            return Flaky(link, partitions=2, retention=3600)

    def wrap(link: Link, partitions: int) -> Log:
        return Flaky(link, partitions=partitions, retention=3600)

    async with process(store, partitions=2, wrap=wrap) as one:
        client = Client().open(one)
        await client.join(one, "**")
        await one.publish_all([(f"a.{n}", n) for n in range(8)])
        await eventually(lambda: len(client.data()) == 8, "they came")
        before = cursors.decode(one.gateway.cursor())
        await one.link.call("FLUSHALL")
        await eventually(lambda: len(client.of("gap")) == 2, "both partitions' losses were told")
        after = cursors.decode(one.gateway.cursor())
        assert all(new.epoch > old.epoch for old, new in zip(before, after, strict=True))


async def test_a_gap_is_told_to_those_alone_who_follow_the_partition_that_lost_something(
    store: StoreProcess, link: Link
) -> None:
    async with process(store, partitions=2) as one:
        rooms = [next(f"a.{n}" for n in range(9) if keys.partition_of(APP, f"a.{n}", 2) == half) for half in (0, 1)]
        users = [next(f"u{n}" for n in range(9) if keys.partition_of(APP, f"@user.u{n}", 2) == half) for half in (0, 1)]
        clients: list[Client] = []
        for half in (0, 1):
            client = Client()
            client.principal = Principal(APP, user=users[half])
            await client.open(one).join(one, rooms[half])
            clients.append(client)
        both = Client().open(one)
        for room in (*rooms, "a.*"):
            await both.join(one, room)
        await one.publish(rooms[0], "kept")
        lost = cursors.decode((await one.publish(rooms[1], "lost")).cursor)[0]
        await eventually(lambda: clients[1].data() == ["lost"], "it came")
        await link.call("XDEL", keys.log(1), cursors.format_id(lost.position))
        await eventually(lambda: len(both.of("gap")) == 2, "the loss was noticed")
        assert {gap["room"] for gap in both.of("gap")} == {rooms[1], "a.*"}
        assert {gap["room"] for gap in clients[1].of("gap")} == {rooms[1], f"@user.{users[1]}"}
        assert clients[0].of("gap") == []


async def test_a_log_that_lost_all_that_was_read_repeats_no_ephemeral_event(one: Process) -> None:
    client = Client().open(one)
    await client.join(one, "a.x")
    passing = Event("evt_p", "a.x", "t", "2026-01-01T00:00:00Z", b'{"data":"passing"}')
    await send_ephemeral(one.link, APP, [passing])
    await eventually(client.data, "it came")
    done = await one.publish("a.x", "lost")
    await eventually(lambda: client.data() == ["passing", "lost"], "both came")
    await one.link.call("XDEL", keys.log(0), cursors.format_id(cursors.decode(done.cursor)[0].position))
    await eventually(lambda: client.of("gap"), "the loss was noticed")
    await send_ephemeral(one.link, APP, [passing])
    await eventually(lambda: client.data()[-1] == "passing", "it is heard")
    await one.publish("a.x", "last")
    await eventually(lambda: client.data()[-1] == "last", "it goes on")
    assert client.data() == ["passing", "lost", "passing", "last"]


async def test_what_is_trimmed_amid_the_prefill_is_not_taken_for_being_in_the_window(
    store: StoreProcess, link: Link
) -> None:
    class Trimmed(Log):
        """Its oldest entries go between the first look at the log and the first page."""

        async def range_back(self, partition: int, below: Position | None, count: int = 500) -> list[Entry]:
            await trim(link, 10)
            return await super().range_back(partition, below, count)

        def over(self, link: Link) -> Log:
            return Trimmed(link, partitions=1, retention=3600)

    def wrap(link: Link, partitions: int) -> Log:
        return Trimmed(link, partitions=partitions, retention=3600)

    async with process(store) as first:
        begin = first.gateway.cursor()
        await first.publish_all([("a.x", n) for n in range(20)])
    async with process(store, wrap=wrap) as second:
        client = Client().open(second)
        await client.join(second, "a.x", begin)
        assert client.of("room_joined")[0]["recovered"] is False
        assert client.data() == []


async def test_a_process_that_starts_has_in_its_window_what_others_delivered(store: StoreProcess, one: Process) -> None:
    begin = one.gateway.cursor()
    await one.publish_all([("a.x", n) for n in range(30)])
    async with process(store) as fresh:
        reads = await calls(one.link, "xrange")
        for client in (Client().open(fresh) for _ in range(100)):
            await client.join(fresh, "a.x", begin)
            assert client.data() == list(range(30))
        assert await calls(one.link, "xrange") - reads < 20  # the tails' own checks, once a second


async def calls(link: Link, command: str) -> int:
    stats = (await link.call("INFO", "commandstats")).decode()
    lines = [line for line in stats.splitlines() if line.startswith(f"cmdstat_{command}:")]
    return int(lines[0].partition("calls=")[2].partition(",")[0]) if lines else 0


async def test_a_log_that_is_kept_longer_than_a_topics_index_is_replayed_all_the_same(
    store: StoreProcess, link: Link
) -> None:
    """The index ends with the retention, the log when it is trimmed; and a longer retention does not reach back."""

    def wrap(link: Link, partitions: int) -> Log:
        return Log(link, partitions=partitions, retention=1)

    async def index_is_gone() -> bool:
        return not await link.call("EXISTS", keys.topic_index(0, APP, "a.x"))

    async with process(store, window=10, wrap=wrap) as short:
        begin = (await short.publish("a.x", "before")).cursor
        for n in range(5):
            await short.publish("a.x", n)
        await eventually(index_is_gone, "the index has ended")
        await short.publish_all([("a.y", n) for n in range(20)])
        await eventually(lambda: short.gateway.window.floors[0] > START, "the window has moved on")
        await _gets(short, begin, 5)
        await short.publish("a.x", 5)  # begins another index
        await short.publish_all([("a.y", n) for n in range(20)])
        await _gets(short, begin, 6)
        async with process(store, window=10) as longer:
            await longer.publish("a.y", 0)  # from now on indexes are kept for an hour
            await eventually(index_is_gone, "the index has ended")
            await _gets(longer, begin, 6)


async def _gets(at: Process, after: str, count: int) -> None:
    client = Client().open(at)
    await client.join(at, "a.x", after)
    assert client.of("room_joined")[0]["recovered"] is True
    assert client.data() == list(range(count))
    at.gateway.drop(client)
