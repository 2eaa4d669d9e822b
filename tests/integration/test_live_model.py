"""Whatever happens, in whatever order, each client's record agrees with the log, or it was told that it doesn't.

Two processes' live halves over a real store, with tiny windows. Random plans of joins, cuts, publishes, slow clients,
trims, lost entries, a store that comes back empty, and processes that die. Then each room's record of each client is
held against all that was ever appended: between a cursor and the next `gap` or `recovered: false` there is no loss, no
duplicate and no disorder.
"""

import asyncio
import random
from typing import Any

import pytest

from hub.core import cursor as cursors
from hub.core.topics import matches
from hub.live import pulse
from hub.live import slice as slices
from hub.store import keys
from hub.store.connect import Link
from hub.store.scripts import script
from tests.support.gateways import Client, Process
from tests.support.record import Event, Record
from tests.support.store import StoreProcess
from tests.support.waiting import eventually

TOPICS = ("a.x", "a.y", "b.x")
ROOMS = ("a.x", "a.*", "**", "b.x")


class User:
    """A person with one connection at a time, who follows rooms through cuts and keeps a cursor for each."""

    def __init__(self, rooms: tuple[str, ...]) -> None:
        self.rooms = rooms
        self.client: Client | None = None
        self.at: Process | None = None
        self.records = {room: Record((room,)) for room in rooms}
        self.joining: asyncio.Task[None] | None = None

    def connect(self, at: Process) -> None:
        self.client, self.at = Client(interval=0.02).open(at), at
        self.client.on_write = self.hear
        self.joining = asyncio.create_task(self._join_all(self.client, at))

    async def _join_all(self, client: Client, at: Process) -> None:
        for room in self.rooms:
            await client.join(at, room, self.records[room].cursor)

    def cut(self) -> None:
        if self.client is not None and self.at is not None:
            self.client.close(1006)
            self.at.gateway.drop(self.client)
            self.client = self.at = None

    def hear(self, message: dict[str, Any]) -> None:
        kind, room = message["type"], message.get("room")
        if kind == "heartbeat":
            if "cursor" in message and self.client is not None:
                for name in self.client.rooms:
                    self.records[name].cursor = message["cursor"]
            return
        assert room is not None
        if kind == "event":
            self.records[room].event(message["event"]["data"], message["cursor"])
        elif kind == "gap":
            self.records[room].begin(message["to"])
        else:
            self.records[room].began(message["cursor"], message["recovered"])


class World:
    def __init__(self, store: StoreProcess, link: Link, partitions: int, window: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.partitions, self._store, self._link, self._window = partitions, store, link, window
        self.events: list[Event] = []
        self.processes: list[Process] = []
        self.users = [User(rooms) for rooms in (*[(room,) for room in ROOMS], ("a.x", "**"), ("a.*", "b.x", "**"))]

    async def start(self) -> None:
        self.processes = [await self._process() for _ in range(2)]
        for user in self.users:
            user.connect(self.random.choice(self.processes))

    async def stop(self) -> None:
        for user in self.users:
            user.cut()
            if user.joining is not None:
                await asyncio.gather(user.joining, return_exceptions=True)
        for process in self.processes:
            await process.stop()

    async def _process(self) -> Process:
        return await Process.start(self._store, partitions=self.partitions, window=self._window)

    # -- what may happen ---------------------------------------------------------------------------------------------

    async def publish(self) -> None:
        for _ in range(self.random.choice((1, 1, 3, 40))):
            await self._publish(self.random.choice(TOPICS))

    async def _publish(self, topic: str) -> Event:
        n = len(self.events)
        done = await self.random.choice(self.processes).publish(topic, n)
        (mark,) = cursors.decode(done.cursor)
        self.events.append(Event(n, topic, mark.partition, mark.position))
        return self.events[-1]

    async def cut(self) -> None:
        self.random.choice(self.users).cut()

    async def come_back(self) -> None:
        for user in self.users:
            if user.client is None and self.random.random() < 0.7:
                user.connect(self.random.choice(self.processes))

    async def slow_down(self) -> None:
        user = self.random.choice(self.users)
        if user.client is not None:
            user.client.flows.clear()

    async def speed_up(self) -> None:
        for user in self.users:
            if user.client is not None:
                user.client.flows.set()

    async def trim(self) -> None:
        partition = self.random.randrange(self.partitions)
        names = [keys.log(partition), keys.meta(partition)]
        await self._link.run(script("trim"), names, ["9" * 15, "0", "0", "1", self.random.choice((1, 10, 60))])

    async def lose_entries(self) -> None:
        """A failover to a replica that lacked the last ones."""
        partition = self.random.randrange(self.partitions)
        newest = await self._link.call("XREVRANGE", keys.log(partition), "+", "-", "COUNT", self.random.choice((1, 5)))
        for raw_id, _ in newest:
            await self._link.call("XDEL", keys.log(partition), raw_id)
            for event in self.events:
                if (event.partition, event.position) == (partition, cursors.parse_id(raw_id)):
                    event.lost = True

    async def lose_all(self) -> None:
        for event in self.events:
            event.lost = True
        await self._link.call("FLUSHALL")

    async def die(self) -> None:
        """A process ends, with all its connections, and another one begins."""
        index = self.random.randrange(2)
        for user in self.users:
            if user.at is self.processes[index]:
                user.cut()
        await self.processes[index].stop()
        self.processes[index] = await self._process()

    async def pause(self) -> None:
        await asyncio.sleep(self.random.choice((0.0, 0.0, 0.001, 0.02)))

    async def run(self, steps: int) -> None:
        often = [self.publish, self.publish, self.publish, self.cut, self.come_back, self.slow_down, self.speed_up]
        seldom = [self.trim, self.lose_entries, self.lose_all, self.die]
        for _ in range(steps):
            await self.random.choice(often if self.random.random() < 0.9 else seldom)()
            await self.pause()

    # -- the end -----------------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """All come back, catch up, and get one more event on each topic."""
        for user in self.users:
            if user.client is None:
                user.connect(self.random.choice(self.processes))
        await self.speed_up()
        for user in self.users:
            assert user.joining is not None
            await asyncio.wait_for(user.joining, 20)
        for process in self.processes:  # what was lost has been noticed
            for partition in range(self.partitions):
                await eventually(lambda p=process, n=partition: self._agrees(p, n), "the epochs agree")
        last = [await self._publish(topic) for topic in TOPICS]
        for user in self.users:
            for room in user.rooms:
                wanted = {event.n for event in last if matches(room, event.topic)}
                await eventually(lambda r=user.records[room], w=wanted: r.has(w), f"{room} caught up")

    async def _agrees(self, process: Process, partition: int) -> bool:
        epoch, _, _ = await process.gateway.log.observe(partition)
        return process.gateway.marks[partition].epoch == epoch

    def check(self) -> None:
        for user in self.users:
            for record in user.records.values():
                record.check(self.events, self.partitions)


async def run(store: StoreProcess, link: Link, partitions: int, seed: int, steps: int) -> None:
    world = World(store, link, partitions, random.Random(seed).choice((3, 20, 200)), seed)
    await world.start()
    try:
        await world.run(steps)
        await world.settle()
        world.check()
    finally:
        await world.stop()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("partitions", [1, 3])
async def test_each_record_agrees_with_the_log_or_says_that_it_does_not(
    store: StoreProcess, link: Link, monkeypatch: pytest.MonkeyPatch, partitions: int, seed: int
) -> None:
    monkeypatch.setattr(pulse, "PULSE", 0.01)
    monkeypatch.setattr(slices, "SLICE", 2)
    await run(store, link, partitions, seed, 60)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 200))
@pytest.mark.parametrize("partitions", [1, 3])
async def test_each_record_agrees_with_the_log_through_long_and_many_plans(
    store: StoreProcess, link: Link, monkeypatch: pytest.MonkeyPatch, partitions: int, seed: int
) -> None:
    monkeypatch.setattr(pulse, "PULSE", 0.01)
    monkeypatch.setattr(slices, "SLICE", 2)
    await run(store, link, partitions, seed, 300)
