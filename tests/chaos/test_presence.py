"""A web process is killed, a store loses its data: presence becomes true again by itself."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from hub.store import keys
from hub.store.presence import LEASE_MS
from tests.support.hub import Hub, token
from tests.support.live import WsClient
from tests.support.waiting import eventually

ROOM = "room.a"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub(web=3) as running:
        yield running


@pytest.fixture
async def client(hub: Hub) -> AsyncIterator[httpx.AsyncClient]:
    async with hub.client() as opened:
        yield opened


def badge(user: str) -> str:
    return token(user, subscribe=["room.*"], presence=["room.*"])


async def present(client: httpx.AsyncClient) -> list[str]:
    response = await client.get(f"/v1/topics/{ROOM}/presence")
    return sorted(response.json()["data"]["users"]) if response.status_code == 200 else ["?"]


async def are_present(client: httpx.AsyncClient, *users: str) -> bool:
    return await present(client) == sorted(users)


async def test_however_a_process_ends_its_members_leave_once_unless_they_came_back_elsewhere(
    client: httpx.AsyncClient, hub: Hub
) -> None:
    """One process is killed, one ends in order; ann watches on a third. Bob has a tab there, dan moves there."""
    async with WsClient.open(hub, key=badge("ann")) as ann, WsClient.open(hub, key=badge("bob")) as tab:
        await ann.join(ROOM, presence=True)
        async with contextlib.AsyncExitStack() as members:
            for user, index in (("bob", 1), ("cid", 1), ("dan", 2), ("eve", 2)):
                ws = await members.enter_async_context(WsClient.open(hub, key=badge(user), index=index))
                await ws.join(ROOM)
            await tab.join(ROOM)
            while (await ann.next("user_joined"))["count"] < 5:
                pass
            began = time.monotonic()
            hub.webs[1].kill()
            assert await asyncio.to_thread(hub.webs[2].terminate) == 0
            async with WsClient.open(hub, key=badge("dan")) as moved:
                await moved.join(ROOM)
                left: list[str] = []
                while len(left) < 2:
                    left += (await ann.next("user_left", LEASE_MS / 1000 + 2))["users"]
                assert time.monotonic() - began > LEASE_MS / 1000 - 2  # not before: they might have come back
                assert sorted(left) == ["cid", "eve"]
                assert await present(client) == ["ann", "bob", "dan"]
            assert (await ann.next("user_left"))["users"] == ["dan"]
    with hub.store.client() as store:
        await eventually(lambda: store.zcard(keys.PRESENCE_LEASES) == 1, "nothing is held for those that are gone")
        held: Any = store.keys("hub:{ctl}:held:*")
        assert len(held) <= 1


async def test_after_the_store_lost_everything_presence_comes_back(hub: Hub, client: httpx.AsyncClient) -> None:
    async with WsClient.open(hub, key=badge("ann")) as ann, WsClient.open(hub, key=badge("bob"), index=1) as bob:
        await ann.join(ROOM, presence=True)
        await bob.join(ROOM)
        assert (await ann.next("user_joined"))["users"] == ["bob"]
        hub.store.wipe()
        hub.store.start()
        await eventually(lambda: are_present(client, "ann", "bob"), "both are there again")
        async with WsClient.open(hub, key=badge("cid"), index=1) as cid:
            await cid.join(ROOM)
            assert (await ann.next("user_joined"))["users"] == ["cid"]
        assert (await ann.next("user_left"))["users"] == ["cid"]
        told = [message for message in await ann.quiet() if message["type"].startswith("user_")]
        assert told == []  # nobody was seen to leave and come back


async def test_an_emptied_store_is_noticed_although_no_connection_broke(hub: Hub, client: httpx.AsyncClient) -> None:
    async with WsClient.open(hub, key=badge("ann")) as ann:
        await ann.join(ROOM, presence=True)
        await eventually(lambda: are_present(client, "ann"), "ann is there")
        with hub.store.client() as store:
            store.flushall()
        await eventually(lambda: are_present(client, "ann"), "ann is there again")


@pytest.mark.slow
async def test_a_process_that_hung_for_longer_than_its_lease_tells_again_what_it_holds(
    hub: Hub, client: httpx.AsyncClient
) -> None:
    async with WsClient.open(hub, key=badge("ann")) as ann, WsClient.open(hub, key=badge("bob"), index=1) as bob:
        await ann.join(ROOM, presence=True)
        await bob.join(ROOM, presence=True)
        await ann.next("user_joined")
        hub.webs[1].signal(signal.SIGSTOP)
        assert (await ann.next("user_left", LEASE_MS / 1000 + 3))["users"] == ["bob"]
        hub.webs[1].signal(signal.SIGCONT)
        assert (await ann.next("user_joined"))["users"] == ["bob"]
        assert await present(client) == ["ann", "bob"]
