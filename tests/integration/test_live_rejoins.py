"""A join of a room that the connection is in already: it takes the old membership's place at once, or not at all."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from hub.core.cursor import START, Position
from hub.core.errors import StoreUnavailable
from hub.live import slice as slices
from hub.store.connect import Link
from hub.store.log import Log
from tests.support.gateways import Client, Process, fan_out_asked, process
from tests.support.store import StoreProcess
from tests.support.waiting import eventually


@pytest.fixture
async def one(store: StoreProcess, link: Link) -> AsyncIterator[Process]:
    async with process(store, window=10) as running:
        yield running


async def test_a_rejoin_that_is_refused_leaves_the_old_membership_as_it_was(store: StoreProcess, link: Link) -> None:
    class Away(Log):
        async def observe(
            self, partition: int, epoch: int = 0, last: Position = START
        ) -> tuple[int, Position, Position]:
            raise StoreUnavailable("away")

        def over(self, link: Link) -> Log:
            return Log(link, partitions=1, retention=3600)

    def wrap(link: Link, partitions: int) -> Log:
        return Away(link, partitions=partitions, retention=3600)

    async with process(store, window=10, wrap=wrap) as one:
        begin = one.gateway.cursor()
        client = Client().open(one)
        await client.join(one, "a.x")
        await one.publish_all([("a.x", n) for n in range(20)])
        await eventually(lambda: len(client.data()) == 20, "they came")
        with pytest.raises(StoreUnavailable):
            await client.join(one, "a.x", begin)
        await one.publish("a.x", 20)
        await eventually(lambda: client.data() == list(range(21)), "the old membership goes on")


async def test_a_rejoin_gets_what_came_meanwhile_once(one: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE", 1)
    client, first = Client(), Client().open(one)
    await first.join(one, "a.x")
    client.open(one)
    await client.join(one, "a.x")
    joining: list[asyncio.Task[None]] = []

    def rejoin(message: dict[str, object]) -> None:
        if message["type"] == "event" and not joining:
            joining.append(asyncio.create_task(client.join(one, "a.x", types=("t",))))

    first.on_write = rejoin
    await one.publish("a.x", 1)
    await eventually(lambda: joining and joining[0].done(), "it has joined again")
    await one.publish("a.x", 2)
    await eventually(lambda: 2 in client.data(), "the second event came")
    assert client.data() == [1, 2]


async def test_a_rejoin_that_waits_for_its_turn_gets_what_comes_meanwhile_once(
    one: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client().open(one)
    await client.join(one, "a.x")
    asked = fan_out_asked(one, monkeypatch)
    async with one.gateway.turn.take():
        await one.publish("a.x", 1)
        await asyncio.wait_for(asked.wait(), 15)
        joining = asyncio.create_task(client.join(one, "a.x"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not joining.done()
    await joining
    await one.publish("a.x", 2)
    await eventually(lambda: 2 in client.data(), "it is live")
    assert client.data() == [1, 2]
