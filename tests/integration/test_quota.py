"""The live connections of an app, counted over all web processes: never more than are allowed, and none of the dead."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from hub.core.errors import RateLimited
from hub.live.quota import Quota
from hub.store import keys
from hub.store.connect import Link
from hub.store.quota import QuotaStore, living
from tests.support.store import StoreProcess, linked
from tests.support.waiting import eventually

APP = "acme"


@contextlib.asynccontextmanager
async def process(link: Link, name: str, most: int | None) -> AsyncGenerator[Quota]:
    """What a web process has of it."""
    quota = Quota(QuotaStore(link, name), most)
    task = asyncio.create_task(quota.run())
    try:
        yield quota
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def opens(quota: Quota) -> bool:
    try:
        await quota.take(APP)
    except RateLimited:
        return False
    quota.fill(APP)
    return True


async def test_processes_together_open_as_many_as_are_allowed(store: StoreProcess, link: Link) -> None:
    async with (
        linked(store) as second,
        process(link, "one", 10) as one,
        process(second, "two", 10) as two,
    ):
        opened = await asyncio.gather(*(opens(quota) for _ in range(20) for quota in (one, two)))
        assert sum(opened) == 10
        for quota in (one, two):
            assert not await opens(quota)
        freeing, waiting = (one, two) if any(opened[::2]) else (two, one)
        freeing.free(APP)
        await eventually(lambda: opens(waiting), "the freed place is the other's")
        assert not await opens(freeing)


async def test_the_connections_of_a_process_that_died_count_until_its_lease_ends(link: Link) -> None:
    async with process(link, "living", 3) as living:
        dead = Quota(QuotaStore(link, "dead"), 3)
        assert [await opens(dead) for _ in range(3)] == [True] * 3
        assert not await opens(living)
        count, _, until = (await link.call("HGET", keys.quota(APP), "dead")).partition(b" ")
        assert count == b"3"
        now = (await link.call("TIME"))[0]
        assert 0 < int(until) - int(now) * 1000 <= 7000
        await link.call("HSET", keys.quota(APP), "dead", "3 1")  # it has ended
        assert await opens(living)
        assert await link.call("HKEYS", keys.quota(APP)) == [b"living"]


async def test_nothing_is_left_of_an_app_without_connections(link: Link) -> None:
    async with process(link, "one", 3) as quota:
        assert await opens(quota)
        assert 0 < await link.call("PTTL", keys.quota(APP)) <= 6000
        quota.free(APP)

        async def gone() -> bool:
            return not await link.call("EXISTS", keys.quota(APP))

        await eventually(gone, "the count is gone")


async def test_a_connection_that_never_came_to_be_gives_its_place_back(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.live.quota.TAKEN_FOR", 0.05)
    async with process(link, "one", 1) as quota:
        await quota.take(APP)
        await eventually(lambda: opens(quota), "the place is free again")


async def test_while_the_store_is_away_a_process_counts_its_own(store: StoreProcess) -> None:
    async with linked(store) as lost:
        quota = Quota(QuotaStore(lost, "one"), 2)
        await lost.close()
        assert [await opens(quota) for _ in range(3)] == [True, True, False]


async def test_without_a_limit_nobody_is_asked_and_all_are_counted(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.live.quota.LEASE", 0.3)

    async def counted() -> int:
        return living(await link.call("HGETALL", keys.quota(APP)), time.time_ns() // 1_000_000)

    async with process(link, "one", None) as one, process(link, "two", None) as two:
        assert [await opens(quota) for quota in (one, one, two, one, two)] == [True] * 5
        await eventually(lambda: is_now(counted, 5), "both processes' connections are counted")
        for quota in (one, two, one):
            quota.free(APP)
        await eventually(lambda: is_now(counted, 2), "those that are gone aren't")
    assert living([b"dead", b"3 1"], 2) == 0


async def is_now(read: Callable[[], Awaitable[int]], wanted: int) -> bool:
    return await read() == wanted
