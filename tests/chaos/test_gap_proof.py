"""The gap proof: random plans against real processes and a real store, and each client's record against the log.

Hypothesis draws the plans: clients of all three kinds come, are cut, leave and join; events are published; the log is
trimmed, loses entries or is replaced; processes die, the store among them. Whatever happens, in whatever order: between
a cursor and the next `gap` or `recovered: false` a client has lost nothing, got nothing twice and nothing out of order.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hub.core import cursor as cursors
from hub.core.cursor import Mark
from hub.core.topics import matches_any
from hub.store import keys
from hub.store.connect import Link
from hub.store.scripts import script
from tests.support.brisk import BriskHub
from tests.support.followers import Follower, PollFollower, SseFollower, WsFollower
from tests.support.hub import Hub
from tests.support.record import Event, Record
from tests.support.store import linked
from tests.support.waiting import eventually

PARTITIONS = 2
APP = "default"
OFTEN = ("publish", "publish", "publish", "cut", "come", "leave", "join", "stall", "read_on", "pause") * 4
SELDOM = ("trim", "trim", "lose_entries", "lose_entries", "lose_all", "kill_web", "kill_store", "replace_store")
Plan = list[tuple[str, int]]
PLANS: st.SearchStrategy[Plan] = st.lists(
    st.tuples(st.sampled_from(OFTEN + SELDOM), st.integers(0, 10_000)), min_size=15, max_size=30
)


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with BriskHub(web=2, HUB_PARTITIONS=str(PARTITIONS), TEST_WINDOW="5") as running:
        yield running


class World:
    """One plan's: topics of its own, and all that was published to them."""

    def __init__(self, hub: Hub, link: Link, prefix: str) -> None:
        self._hub, self._link = hub, link
        self._topics = [f"{prefix}.{name}" for name in ("a.x", "a.y", "b.x")]
        self.events: list[Event] = []
        ax, _, bx = self._topics
        a, every = f"{prefix}.a.*", f"{prefix}.**"
        self._websockets = [
            WsFollower(hub, self.hear, rooms) for rooms in ((ax,), (every,), (ax, every), (a, bx, every))
        ]
        self.followers: list[Follower] = [
            *self._websockets,
            *(SseFollower(hub, self.hear, patterns) for patterns in ((ax,), (a, ax, bx), (every,))),
            PollFollower(hub, self.hear, every),
            PollFollower(hub, self.hear, bx),
        ]
        self._clients = [hub.client(index) for index in range(len(hub.ports))]

    def hear(self, n: int, cursor: tuple[Mark, ...]) -> None:
        """What a client got tells, where the publisher was not told it, that it was appended, and where."""
        event = self.events[n]
        found = next(mark.position for mark in cursor if mark.partition == event.partition)
        event.position = event.position or found
        assert event.position == found, "an event has one position"

    async def close(self) -> None:
        for follower in self.followers:
            await follower.cut()
        for client in self._clients:
            await client.aclose()

    async def run(self, plan: Plan) -> None:
        for follower in self.followers:
            follower.come(0)
        for kind, number in plan:
            step: Callable[[random.Random], Any] = getattr(self, kind)
            await step(random.Random(number))
            await asyncio.sleep(0)

    # -- what may happen ---------------------------------------------------------------------------------------------

    async def publish(self, chance: random.Random) -> None:
        for _ in range(chance.choice((1, 3, 10, 30))):
            await self._publish(chance.choice(self._topics), chance.randrange(2))

    async def _publish(self, topic: str, index: int) -> Event:
        n = len(self.events)
        event = Event(n, topic, keys.partition_of(APP, topic, PARTITIONS), None)
        self.events.append(event)
        with contextlib.suppress(httpx.TransportError):
            answer = await self._clients[index].post("/v1/events", json={"topic": topic, "type": "t", "data": n})
            if answer.status_code == 202:
                (mark,) = cursors.decode(answer.json()["data"]["cursor"])
                assert mark.partition == event.partition
                assert event.position in (None, mark.position)
                event.position = mark.position
            else:
                assert answer.status_code == 503, answer.text
        return event

    async def pause(self, chance: random.Random) -> None:
        await asyncio.sleep(chance.choice((0.01, 0.05, 0.2)))

    async def cut(self, chance: random.Random) -> None:
        for follower in self.followers:
            if chance.random() < 0.4:
                await follower.cut()

    async def come(self, chance: random.Random) -> None:
        for follower in self.followers:
            if chance.random() < 0.7:
                follower.come(chance.randrange(2))

    async def leave(self, chance: random.Random) -> None:
        ws = chance.choice(self._websockets)
        await ws.leave(chance.choice(ws.records).patterns[0])

    async def join(self, chance: random.Random) -> None:
        for ws in self._websockets:
            for record in ws.records:
                await ws.join(record.patterns[0])

    async def stall(self, chance: random.Random) -> None:
        chance.choice(self._websockets).stall()

    async def read_on(self, chance: random.Random) -> None:
        for ws in self._websockets:
            ws.read_on()

    async def trim(self, chance: random.Random) -> None:
        partition = chance.randrange(PARTITIONS)
        names = [keys.log(partition), keys.meta(partition)]
        await self._link.run(script("trim"), names, ["9" * 15, "0", "0", "1", chance.choice((1, 10, 60))])

    async def lose_entries(self, chance: random.Random) -> None:
        """A failover to a replica that lacked the last ones."""
        log = keys.log(chance.randrange(PARTITIONS))
        for raw_id, _ in await self._link.call("XREVRANGE", log, "+", "-", "COUNT", chance.choice((1, 5))):
            await self._link.call("XDEL", log, raw_id)
            for event in self.events:
                if keys.log(event.partition) == log and event.position in (None, cursors.parse_id(raw_id)):
                    event.lost = True

    async def lose_all(self, chance: random.Random) -> None:
        await self._link.call("FLUSHALL")
        self._all_lost()

    async def replace_store(self, chance: random.Random) -> None:
        self._hub.store.wipe()
        self._all_lost()
        await asyncio.to_thread(self._hub.store.start)

    def _all_lost(self) -> None:
        for event in self.events:
            event.lost = True

    async def kill_store(self, chance: random.Random) -> None:
        self._hub.store.kill()
        await asyncio.to_thread(self._hub.store.start)

    async def kill_web(self, chance: random.Random) -> None:
        index = chance.randrange(2)
        self._hub.webs[index].kill()
        self._hub.webs[index].close()
        self._hub.webs[index] = self._hub.start_web(self._hub.ports[index])

    # -- the end -----------------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """All is well again; everyone comes back, and gets one more event on each topic."""
        for index in range(len(self._hub.ports)):
            await eventually(lambda n=index: asyncio.to_thread(self._hub.is_ready, n), "it is ready", 40)
        await self._noticed()
        await eventually(self._all_live, "all are live", 40)
        last = [await self._publish(topic, 0) for topic in self._topics]
        assert all(event.position for event in last)
        for follower in self.followers:
            for record in follower.records:
                wanted = {event.n for event in last if matches_any(record.patterns, event.topic)}
                await eventually(lambda r=record, w=wanted: self._has(r, w), f"{record.patterns} have caught up", 20)

    async def _has(self, record: Record, wanted: set[int]) -> bool:
        """Whether it has got these; who was closed meanwhile, as one that had stalled for long, comes back for them."""
        return record.has(wanted) or (await self._all_live() and record.has(wanted))

    async def _all_live(self) -> bool:
        for follower in self.followers:
            follower.come(0)
        await self.read_on(random.Random())
        await self.join(random.Random())
        return all(follower.is_live for follower in self.followers)

    async def _noticed(self) -> None:
        """Both processes have seen what happened to the log: what a new client is told last is what the store says."""
        for client in self._clients:
            await eventually(lambda c=client: self._agrees(c), "the epochs agree", 20)

    async def _agrees(self, client: httpx.AsyncClient) -> bool:
        answer = await client.get("/v1/poll", params={"topic": f"{self._topics[0]}.**", "wait": "0"})
        if answer.status_code != 200:
            return False
        marks = cursors.decode(answer.json()["pagination"]["next_cursor"])
        return [str(mark.epoch).encode() for mark in marks] == [
            await self._link.call("HGET", keys.meta(mark.partition), "epoch") for mark in marks
        ]

    def check(self) -> None:
        for follower in self.followers:
            for record in follower.records:
                record.check(self.events, PARTITIONS)


async def play(hub: Hub, prefix: str, plan: Plan) -> None:
    async with linked(hub.store) as link:
        world = World(hub, link, prefix)
        try:
            await world.run(plan)
            await world.settle()
            world.check()
        finally:
            await world.close()


def proof(hub: Hub, name: str) -> Callable[[Plan], None]:
    """A plan's test: its topics are of its own, so that the processes go on from plan to plan."""
    played = 0

    def one(plan: Plan) -> None:
        nonlocal played
        played += 1
        asyncio.run(play(hub, f"{name}{played}", plan))

    return one


def test_through_random_plans_no_record_disagrees_with_the_log_unless_it_was_told(hub: Hub) -> None:
    one = proof(hub, "short")
    limits = settings(max_examples=3, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
    limits(given(plan=PLANS)(one))()


@pytest.mark.slow
def test_through_many_long_plans_no_record_disagrees_with_the_log_unless_it_was_told(hub: Hub) -> None:
    one = proof(hub, "long")
    limits = settings(
        max_examples=150, deadline=None, database=None, print_blob=True, phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    limits(given(plan=PLANS)(one))()
