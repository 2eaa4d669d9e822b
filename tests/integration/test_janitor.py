"""The janitor: what it trims, what it never trims, and how the hub answers when there is no room."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest

from hub.core import cursor as cursors
from hub.core.cursor import START
from hub.core.errors import LogFull
from hub.store import keys
from hub.store.connect import Link
from hub.store.janitor import Janitor
from hub.store.log import Log, check_layout
from hub.store.scripts import script
from tests.support.hub import Hub, publish
from tests.support.live import SseClient, WsClient
from tests.support.store import StoreProcess, linked
from tests.support.waiting import eventually
from tests.support.webhooks import APP, Ground, settings

HOUR_MS = 3_600_000


async def add_old(link: Link, count: int, *, partition: int = 0, size: int = 10) -> None:
    """Entries of two hours ago, as an earlier run left them."""
    began = int(time.time() * 1000) - 2 * HOUR_MS
    fields = ("a", APP, "t", "orders.42", "y", "t", "i", "x", "r", "", "e", "x" * size)
    for first in range(0, count, 1000):
        page = range(first, min(first + 1000, count))
        await link.pipeline([("XADD", keys.log(partition), f"{began + n}-0", *fields) for n in page])


async def floor_of(link: Link, partition: int = 0) -> bytes | None:
    return await link.call("HGET", keys.meta(partition), "floor")


async def sweep_dry(janitor: Janitor) -> list[int]:
    """Sweeps until one removes nothing; how many entries each removed."""
    removed: list[int] = []
    while some := await janitor.sweep():
        removed.append(some)
    return removed


# -- by age ----------------------------------------------------------------------------------------------------------


async def test_what_is_older_than_the_retention_goes_a_tenth_at_a_time_and_the_floor_is_kept(link: Link) -> None:
    await add_old(link, 90)
    ground = Ground(link, HUB_RETENTION="3600")
    young = await ground.append(10)
    last_old = (await ground.log.range_back(0, young[0].position, 1))[0]
    removed = await sweep_dry(Janitor(link, ground.settings))
    assert removed[:3] == [10, 9, 8]
    assert sum(removed) == 90
    assert [entry.id for entry in await ground.log.range(0, START)] == [entry.id for entry in young]
    assert await floor_of(link) == cursors.format_id(last_old.position).encode()
    assert (await ground.log.observe(0))[2] == last_old.position


async def test_a_big_log_is_trimmed_as_fast_as_it_grows(link: Link) -> None:
    await add_old(link, 30_000)
    assert await Janitor(link, settings(HUB_RETENTION="3600")).sweep() == 3000


async def test_each_partition_is_trimmed_on_its_own(link: Link) -> None:
    await add_old(link, 20, partition=0)
    await add_old(link, 50, partition=2)
    janitor = Janitor(link, settings(HUB_RETENTION="3600", HUB_PARTITIONS="3"))
    assert await janitor.sweep() == 2 + 5
    assert sum(await sweep_dry(janitor)) == 63
    assert await floor_of(link, 1) is None


async def test_a_process_whose_clock_is_wrong_trims_nothing_too_early(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground = Ground(link, HUB_RETENTION="3600")
    await ground.append(20)
    ahead = time.time() + 10 * 86400
    monkeypatch.setattr(time, "time", lambda: ahead)
    assert await Janitor(link, ground.settings).sweep() == 0


async def test_the_control_stream_keeps_a_minute(link: Link) -> None:
    old = int(time.time() * 1000) - HOUR_MS
    await link.pipeline([("XADD", keys.CONTROL, f"{old + n}-0", "e", "x" * 5000) for n in range(20)])
    await link.call("XADD", keys.CONTROL, "*", "e", "new")
    await Janitor(link, settings()).sweep()
    assert await link.call("XLEN", keys.CONTROL) == 1


# -- never past what dispatch has applied -----------------------------------------------------------------------------


async def test_what_dispatch_has_not_applied_stays_while_there_are_endpoints(link: Link) -> None:
    await add_old(link, 40)
    ground = Ground(link, HUB_RETENTION="3600")
    endpoint = await ground.endpoint()
    janitor = Janitor(link, ground.settings)
    assert await janitor.sweep() == 0
    applied = (await ground.log.range(0, START))[24].position
    await link.call("HSET", keys.meta(0), "dispatched", cursors.format_id(applied))
    assert sum(await sweep_dry(janitor)) == 25
    assert await floor_of(link) == cursors.format_id(applied).encode()
    await ground.endpoints.delete(APP, endpoint)
    await ground.purge(endpoint)
    await eventually(lambda: gone(link), "the endpoint is gone")
    assert sum(await sweep_dry(janitor)) == 15


async def gone(link: Link) -> bool:
    return not await link.call("HLEN", keys.ENDPOINTS)


# -- by size ----------------------------------------------------------------------------------------------------------


async def test_a_log_over_its_bytes_is_held_back_trimmed_and_taken_from_again(link: Link) -> None:
    await add_old(link, 400, size=4000)
    ground = Ground(link, HUB_LOG_MAX_BYTES=str(1024 * 1024), HUB_RETENTION=str(30 * 86400))
    janitor = Janitor(link, ground.settings)
    assert await janitor.sweep() == 40
    with pytest.raises(LogFull):
        await ground.append(1)
    assert sum(await sweep_dry(janitor)) > 100
    assert (await ground.append(1))[0].topic == "orders.42"
    size = await link.call("MEMORY", "USAGE", keys.log(0))
    assert 0.6 * 1024 * 1024 < size < 0.85 * 1024 * 1024
    assert await floor_of(link) is not None


async def test_a_log_over_its_bytes_that_dispatch_has_not_applied_is_held_back_and_kept(link: Link) -> None:
    ground = Ground(link, HUB_LOG_MAX_BYTES=str(1024 * 1024))
    await ground.endpoint()
    await add_old(link, 400, size=4000)
    assert await Janitor(link, ground.settings).sweep() == 0
    with pytest.raises(LogFull):
        await ground.append(1)
    assert await link.call("XLEN", keys.log(0)) == 400


# -- at the store's memory limit ---------------------------------------------------------------------------------------


@asynccontextmanager
async def no_memory(link: Link) -> AsyncGenerator[None]:
    await link.call("CONFIG", "SET", "maxmemory", 1024 * 1024)
    try:
        yield
    finally:
        await link.call("CONFIG", "SET", "maxmemory", "1gb")


async def test_at_the_memory_limit_the_janitor_still_takes_its_lease_and_makes_room(link: Link) -> None:
    await add_old(link, 50, size=40_000)
    janitor = Janitor(link, settings(HUB_RETENTION="3600"))
    async with no_memory(link):
        task = asyncio.create_task(janitor.run())
        await eventually(lambda: link.call("HGET", keys.meta(0), "full"), "the log is held for full")
        await eventually(lambda: floor_of(link), "something was trimmed")
        task.cancel()


async def test_at_the_memory_limit_a_process_can_still_start_on_a_store_that_was_laid_out(link: Link) -> None:
    await check_layout(link, 1, 16)
    await add_old(link, 50, size=40_000)
    async with no_memory(link):
        await check_layout(link, 1, 16)
        with pytest.raises(ValueError, match="laid out with 16"):
            await check_layout(link, 1, 4)


# -- seen from outside -------------------------------------------------------------------------------------------------


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        yield running


@pytest.fixture
async def client(hub: Hub) -> AsyncIterator[httpx.AsyncClient]:
    async with hub.client() as opened:
        yield opened


async def test_a_full_store_refuses_events_serves_readers_and_takes_events_when_there_is_room(
    hub: Hub, client: httpx.AsyncClient
) -> None:
    first = await publish(client, "room.a", "first")
    with hub.store.client() as store:
        used = store.info("memory")["used_memory"]
        store.config_set("maxmemory", used + 300_000)
        event = {"topic": "room.a", "type": "t", "data": "x" * 50_000}
        async with WsClient.open(hub) as ws:
            await ws.join("room.a")
            taken = 0
            while (response := await client.post("/v1/events", json=event)).status_code == 202:
                taken += 1
            assert (response.status_code, response.json()["error"]["code"]) == (503, "LOG_FULL")
            assert int(response.headers["retry-after"]) >= 1
            assert len(await ws.events(taken)) == taken
            refused = await ws.ask("broadcast", room="room.a", data="y" * 50_000)
            assert (refused["type"], refused["code"]) == ("error", "LOG_FULL")
        assert (await client.get(f"/v1/events/{first['id']}")).json()["data"]["data"] == "first"
        assert len((await client.get("/v1/events", params={"limit": "500"})).json()["data"]) == taken + 1
        assert hub.is_ready()
        async with SseClient.open(hub, f"topic=room.a&after={first['cursor']}") as sse:
            assert '"recovered":true' in (await sse.event())["data"]
            assert len(await sse.data(taken)) == taken
        hub.restart_web()
        assert (await client.post("/v1/events", json=event)).json()["error"]["code"] == "LOG_FULL"
        store.config_set("maxmemory", 0)

        async def taken_again() -> bool:
            return (await client.post("/v1/events", json=event)).status_code == 202

        await eventually(taken_again, "publishing works again")


async def test_a_cursor_below_the_floor_is_said_not_to_recover(hub: Hub, client: httpx.AsyncClient) -> None:
    cursor = [(await publish(client, "room.a", n))["cursor"] for n in range(20)]
    async with linked(hub.store) as link:
        for _ in range(8):  # 2 of 20, then 1 each
            names: list[str] = [keys.log(0), keys.meta(0)]
            await link.run(script("trim"), names, [int(time.time() * 1000) + HOUR_MS, 0, "0", "1", ""])
        assert await floor_of(link) == cursors.format_id(cursors.decode(cursor[8])[0].position).encode()
    hub.restart_web()  # its window begins at the floor
    for n, recovered in ((3, False), (7, False), (8, True), (15, True)):
        async with WsClient.open(hub) as ws:
            assert (await ws.join("room.a", after=cursor[n]))["recovered"] is recovered
            assert (await ws.join("room.*", after=cursor[n]))["recovered"] is recovered
        async with SseClient.open(hub, "topic=room.a", last_event_id=cursor[n]) as sse:
            assert f'"recovered":{str(recovered).lower()}' in (await sse.event())["data"]
            if recovered:
                assert [event["data"] for event in await sse.data(19 - n)] == list(range(n + 1, 20))


async def test_the_lease_moves_on_when_its_holder_is_killed(hub: Hub) -> None:
    with hub.store.client() as store:
        holder = await eventually(lambda: store.get(keys.JANITOR_LEASE), "the web process has the lease")
        hub.start_worker()
        await eventually(lambda: "worker started" in hub.workers[0].log, "the worker has started")
        hub.webs[0].kill()

        def another() -> bool:
            return store.get(keys.JANITOR_LEASE) not in (holder, None)

        await eventually(another, "the worker has the lease")
        assert 0 < store.pttl(keys.JANITOR_LEASE) <= 5000


async def test_a_log_that_only_the_store_limit_holds_back_is_not_trimmed(store: StoreProcess, link: Link) -> None:
    """Nothing accepted is dropped to make room: only age and HUB_LOG_MAX_BYTES trim."""
    log = Log(link, partitions=1, retention=3600)
    ground = Ground(link)
    await ground.append(30)
    async with no_memory(link):
        assert await Janitor(link, ground.settings).sweep() == 0
        assert await link.call("HGET", keys.meta(0), "full") == b"1"
    assert await Janitor(link, ground.settings).sweep() == 0
    assert await link.call("HGET", keys.meta(0), "full") is None
    assert len(await log.range(0, START)) == 30
