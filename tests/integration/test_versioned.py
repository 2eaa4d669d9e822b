"""What a process remembers of credentials: for as long as the store's version stays, and no longer."""

import asyncio
import time
from typing import Any

import pytest

from hub.core.errors import Conflict, NotFound, StoreUnavailable, Unauthenticated
from hub.core.tenant import AppInput, AppPatch
from hub.settings import load
from hub.store import keys, versioned
from hub.store.access import Access
from hub.store.api_keys import ApiKeys, KeySpec
from hub.store.apps import Apps
from hub.store.connect import Link
from hub.store.grants import Grants
from hub.store.revocations import Revocations
from hub.store.versioned import Version, VersionedCache
from tests.support.store import StoreProcess, linked
from tests.support.waiting import eventually

SPEC = KeySpec("", "publisher", (), None)


class Process:
    """One web process's part of it. It hears no notices at all."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.version = Version(link)
        revocations = Revocations(link)
        self.apps = Apps(link, load({}), self.version, revocations)
        self.keys = ApiKeys(link, self.apps, self.version, revocations)
        self.grants = Grants(link, self.version, revocations)
        self.access = Access(link, None, self.version, self.keys, self.grants)

    async def refuses(self, credential: str) -> bool:
        try:
            await self.access.principal(credential)
        except Unauthenticated:
            return True
        return False


async def calls(link: Link, command: str) -> int:
    """How often the store was asked this since it started."""
    info: bytes = await link.call("INFO", "commandstats")
    found = [line for line in info.split(b"\r\n") if line.startswith(f"cmdstat_{command}:".encode())]
    return int(found[0].partition(b"calls=")[2].partition(b",")[0]) if found else 0


async def test_a_busy_process_asks_for_the_version_and_not_for_the_key(link: Link) -> None:
    one = Process(link)
    _, key = await one.keys.create("default", SPEC)
    await one.access.principal(key)
    hgets, gets = await calls(link, "hmget"), await calls(link, "get")
    began = asyncio.get_running_loop().time()
    for _ in range(2000):
        assert (await one.access.principal(key)).scopes == {"events:publish"}
    passed = asyncio.get_running_loop().time() - began
    assert await calls(link, "hmget") == hgets
    assert await calls(link, "get") - gets <= passed / versioned.ASK_AFTER + 1


async def test_a_revoked_key_is_refused_by_a_process_that_hears_of_nothing(link: Link, store: StoreProcess) -> None:
    async with linked(store) as other:
        here, there = Process(link), Process(other)
        record, key = await here.keys.create("default", SPEC)
        await there.access.principal(key)
        await here.access.principal(key)
        await here.keys.revoke("default", record.id)
        revoked_at = asyncio.get_running_loop().time()
        assert await here.refuses(key), "the process that revoked it knows at once"
        while not await there.refuses(key):
            assert asyncio.get_running_loop().time() - revoked_at < versioned.FRESH * 2
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("what", ["app", "grant"])
async def test_an_app_and_a_grant_that_end_are_seen_the_same_way(link: Link, store: StoreProcess, what: str) -> None:
    async with linked(store) as other:
        here, there = Process(link), Process(other)
        await here.apps.create(AppInput("acme"))
        record, key = await here.keys.create("acme", SPEC)
        issued = await here.grants.issue(record, ("events:publish",))
        credential = key if what == "app" else issued.access_token
        await there.access.principal(credential)
        if what == "app":
            await here.apps.delete("acme")
        else:
            await here.grants.revoke(record, issued.refresh_token)
        await eventually(lambda: there.refuses(credential), "it is refused", versioned.FRESH * 3)


async def test_without_an_answer_nothing_that_is_remembered_counts(store: StoreProcess) -> None:
    async with linked(store) as link:
        one = Process(link)
        _, key = await one.keys.create("default", SPEC)
        await one.access.principal(key)
        store.hang()
        try:
            await asyncio.sleep(versioned.FRESH)
            with pytest.raises(StoreUnavailable):
                await one.access.principal(key)
        finally:
            store.wake()
        await eventually(lambda: answers(one, key), "the store is back")


async def answers(one: Process, key: str) -> bool:
    try:
        await one.access.principal(key)
    except StoreUnavailable:
        return False
    return True


async def test_what_was_looked_up_before_a_change_is_not_remembered_after_it(link: Link) -> None:
    """The look-up is slow: the change, and somebody who sees it, come in between."""
    version = Version(link)
    cache: VersionedCache[str] = VersionedCache(version)
    going, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        going.set()
        await go_on.wait()
        return "old"

    async def new() -> str:
        return "new"

    looking = asyncio.create_task(cache.get("key", slow))
    await going.wait()
    await link.call("SET", keys.ACCESS_VERSION, "another")
    version.forget()
    await cache.get("other", new)
    go_on.set()
    assert await looking == "old", "it began before the change"
    assert await cache.get("key", new) == "new"


async def test_who_comes_together_asks_once_and_an_error_is_not_remembered(link: Link) -> None:
    version = Version(link)
    before = await calls(link, "get")
    assert len(set(await asyncio.gather(*(version.current() for _ in range(100))))) == 1
    assert await calls(link, "get") - before == 1
    cache: VersionedCache[str] = VersionedCache(version)

    async def fails() -> str:
        raise Unauthenticated("no")

    async def works() -> str:
        return "yes"

    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await cache.get("key", fails)
    assert await cache.get("key", works) == "yes"


async def test_a_cache_keeps_its_bound(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versioned, "MOST", 3)
    cache: VersionedCache[int] = VersionedCache(Version(link))
    loaded: list[str] = []

    async def load_one(name: str) -> int:
        loaded.append(name)
        return len(loaded)

    for name in "abcda":
        await cache.get(name, lambda name=name: load_one(name))
    assert loaded == ["a", "b", "c", "d", "a"]


async def test_the_last_use_is_written_now_and_then_and_not_for_a_key_that_ended(link: Link) -> None:
    one = Process(link)
    record, key = await one.keys.create("default", SPEC)
    ended, other = await one.keys.create("default", SPEC)
    before = time.time_ns() // 1_000_000
    for _ in range(20):
        await one.access.principal(key)
    await one.access.principal(other)
    await one.keys.revoke("default", ended.id)
    assert (await one.keys.get(record.id)).last_used_at is None
    assert await link.call("HLEN", keys.KEYS_USED) == 0
    await one.access.write_used()
    used = (await one.keys.get(record.id)).last_used_at
    assert used is not None
    assert 0 <= used - before < 5000
    assert await link.call("HLEN", keys.KEYS_USED) == 1
    await one.keys.used([(record.id, used - 1000)])
    assert (await one.keys.get(record.id)).last_used_at == used, "an older moment of a slower process"
    await one.keys.revoke("default", record.id)
    assert await link.call("HLEN", keys.KEYS_USED) == 0


async def test_the_last_use_is_written_at_the_end(link: Link) -> None:
    one = Process(link)
    record, key = await one.keys.create("default", SPEC)
    running = asyncio.create_task(one.access.run())
    await asyncio.sleep(0)
    await one.access.principal(key)
    running.cancel()
    await asyncio.wait([running])
    assert (await one.keys.get(record.id)).last_used_at is not None


# -- grants ------------------------------------------------------------------------------------------------------------


async def test_of_refreshes_that_come_together_one_wins_and_the_grant_ends(link: Link) -> None:
    """A refresh token that is used twice was stolen, or so it must seem."""
    one = Process(link)
    record, _ = await one.keys.create("default", SPEC)
    issued = await one.grants.issue(record, ("events:publish",))
    again = await asyncio.gather(*(one.grants.refresh(record, issued.refresh_token, None) for _ in range(5)))
    (won,) = [found for found in again if found is not None]
    assert await one.refuses(issued.access_token)
    assert await one.refuses(won.access_token)
    assert await one.grants.refresh(record, won.refresh_token, None) is None
    assert await link.call("KEYS", keys.grant("*").replace("{", "\\{")) == []


async def test_a_key_of_an_app_that_is_changed_meanwhile_is_not_made_behind_its_back(link: Link) -> None:
    one = Process(link)
    await one.apps.create(AppInput("acme"))
    made = await asyncio.gather(
        *(attempt(one) for _ in range(20)), one.apps.delete("acme"), *(attempt(one) for _ in range(20))
    )
    await one.keys.purge("acme")
    assert await link.call("ZCARD", keys.app_keys("acme")) == 0
    assert all([await one.refuses(key) for key in made if key is not None])
    assert await attempt(one) is None


async def attempt(one: Process) -> Any:

    try:
        return (await one.keys.create("acme", SPEC))[1]
    except (Conflict, NotFound):
        return None


async def test_two_changes_to_an_app_at_once_are_both_kept(link: Link) -> None:
    one = Process(link)
    await one.apps.create(AppInput("acme"))
    await asyncio.gather(
        one.apps.update("acme", AppPatch(name="Acme")), one.apps.update("acme", AppPatch(enabled=False))
    )
    app = await one.apps.get("acme")
    assert (app.name, app.state) == ("Acme", "disabled")
