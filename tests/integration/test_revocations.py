"""Revocations in the store, and the watch that holds them against a process's connections."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator

import pytest

from hub.core.claims import Principal
from hub.core.errors import LogFull, Unauthenticated
from hub.core.revocation import token_name, user_name
from hub.live.gateway import Gateway
from hub.live.polling import Polling
from hub.live.presence import Presence
from hub.live.revocation import RevocationWatch
from hub.live.tail import Tail
from hub.store.connect import Link
from hub.store.log import Log
from hub.store.revocations import Revocations
from tests.support.store import StoreProcess, linked
from tests.support.waiting import eventually

ANN = Principal("default", user="ann", token_id="t-1", issued_at=1000)
BOB = Principal("default", user="bob", token_id="t-2", issued_at=1000)


@pytest.fixture(scope="module")
def store() -> Iterator[StoreProcess]:
    with StoreProcess() as running:
        yield running


@contextlib.asynccontextmanager
async def watched(store: StoreProcess) -> AsyncGenerator[tuple[Gateway, Revocations, Link]]:
    """A web process's gateway with its watch."""
    async with linked(store) as link, linked(store) as tail_link:
        log = Log(link, partitions=1, retention=3600)
        gateway = Gateway(log, Tail(log, tail_link), Presence(link))
        await gateway.start()
        revocations = Revocations(link)
        task = asyncio.create_task(RevocationWatch(gateway, revocations).run())
        try:
            yield gateway, revocations, link
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await gateway.stop()


def opened(gateway: Gateway, principal: Principal) -> Polling:
    connection = Polling(10)
    gateway.admit(connection, principal)
    gateway.add(connection)
    return connection


async def test_a_connection_whose_credential_was_looked_up_before_the_notice_and_opened_after_it_is_closed(
    store: StoreProcess,
) -> None:
    async with watched(store) as (gateway, revocations, _):
        witness = opened(gateway, ANN)
        await revocations.check(ANN)
        await revocations.revoke("default", token_name("t-1"), 1)
        await eventually(lambda: witness.closed, "the notice has come")
        late, other = opened(gateway, ANN), opened(gateway, BOB)
        assert late.ended == (4001, "the credential was revoked")
        assert not other.closed
        gateway.admit(other, ANN)  # renewed by a token that was looked up before
        assert other.closed


async def test_another_apps_revocation_is_nothing_to_this_one(store: StoreProcess) -> None:
    async with watched(store) as (gateway, revocations, _):
        mine, witness = opened(gateway, BOB), opened(gateway, Principal("else", user="bob", token_id="t-2"))
        await revocations.revoke("else", user_name("bob"), 5000)
        await eventually(lambda: witness.closed, "the notice has come")
        assert not mine.closed
        await revocations.check(BOB)


async def test_a_store_without_room_still_revokes(store: StoreProcess) -> None:
    carl = Principal("default", user="carl", token_id="t-3", issued_at=1000)
    async with watched(store) as (gateway, revocations, link):
        connection = opened(gateway, carl)
        limit = (await link.call("CONFIG", "GET", "maxmemory"))[1]
        await link.call("CONFIG", "SET", "maxmemory", 1)
        try:
            with pytest.raises(LogFull):
                await link.call("SET", "anything", 1)
            await revocations.revoke("default", user_name("carl"), 1000)
        finally:
            await link.call("CONFIG", "SET", "maxmemory", limit)
        await eventually(lambda: connection.closed, "the notice has come")
        with pytest.raises(Unauthenticated):
            await revocations.check(carl)


async def test_an_older_revocation_takes_nothing_back(store: StoreProcess) -> None:
    dora = Principal("default", user="dora", token_id="t-4", issued_at=1000)
    async with linked(store) as link:
        revocations = Revocations(link)
        await revocations.revoke("default", user_name("dora"), 2000)
        await revocations.revoke("default", user_name("dora"), 500)
        assert await revocations.void([dora, BOB]) == [True, False]
