"""The log against a real store: append, deduplicate, read back in order, notice what was lost."""

import asyncio

import pytest

from hub.core import cursor as cursors
from hub.core.cursor import START, Mark
from hub.core.errors import IdempotencyKeyReused, InvalidCursor, LogFull, NotFound, StoreUnavailable
from hub.store import keys, listing
from hub.store.appends import MOST
from hub.store.connect import Link
from hub.store.log import Log
from hub.store.requirements import store_faults
from tests.support.hub import free_port
from tests.support.logs import APP, event, everything, log_on
from tests.support.store import StoreProcess, linked
from tests.support.waiting import eventually


async def calls(link: Link, command: str) -> int:
    """How often the store has run a command."""
    stats = (await link.call("INFO", "commandstats")).decode()
    found = [line for line in stats.splitlines() if line.startswith(f"cmdstat_{command}:")]
    return int(found[0].partition("calls=")[2].partition(",")[0]) if found else 0


async def can_waitaof(link: Link) -> bool:
    return not any("WAITAOF" in fault.what for fault in await store_faults(link, "fsync"))


# -- append ----------------------------------------------------------------------------------------------------------


async def test_events_keep_their_order_within_a_partition_and_their_answers_the_order_of_the_batch(link: Link) -> None:
    log = log_on(link, partitions=3)
    batch = [event(f"orders.{n % 10}") for n in range(100)]
    answers = await log.append(APP, batch, "req_1")
    assert [answer.id for answer in answers] == [one.id for one in batch]
    for partition in range(3):
        wanted = [one.id for one in batch if keys.partition_of(APP, one.topic, 3) == partition]
        assert [entry.id for entry in await log.range(partition, START)] == wanted
        assert len(wanted) >= 10


async def test_a_batch_takes_one_call_for_each_partition_that_it_touches(link: Link) -> None:
    log = log_on(link, partitions=3)
    batch = [event(f"orders.{n}") for n in range(50)]
    touched = {keys.partition_of(APP, one.topic, 3) for one in batch}
    before = await calls(link, "evalsha")
    await log.append(APP, batch)
    assert await calls(link, "evalsha") - before == len(touched) == 3
    before = await calls(link, "evalsha")
    await log.append(APP, [event("orders.1"), event("orders.1")])
    assert await calls(link, "evalsha") - before == 1


async def test_what_comes_in_one_turn_of_the_loop_takes_one_call_and_each_gets_its_own_answer(link: Link) -> None:
    log = log_on(link)
    batches = [[event(f"orders.{n}") for _ in range(n % 3 + 1)] for n in range(40)]
    apps = [f"app{n % 2}" for n in range(40)]
    before = await calls(link, "evalsha")
    answers = await asyncio.gather(*(log.append(*each) for each in zip(apps, batches, strict=True)))
    assert await calls(link, "evalsha") - before == 1
    assert [[one.id for one in answer] for answer in answers] == [[one.id for one in batch] for batch in batches]
    kept = [(entry.app, entry.id) for entry in await log.range(0, START)]
    assert kept == [(app, one.id) for app, batch in zip(apps, batches, strict=True) for one in batch]
    for app, answer in zip(apps, answers, strict=True):
        for one in answer:
            assert (await log.find(app, one.id))[1] == one.cursor


async def test_a_call_holds_the_store_up_for_a_few_hundred_events_at_most(link: Link) -> None:
    log = log_on(link)
    before = await calls(link, "evalsha")
    await asyncio.gather(*(log.append(APP, [event()]) for _ in range(3 * MOST)))
    assert await calls(link, "evalsha") - before == 3
    assert await link.call("XLEN", keys.log(0)) == 3 * MOST


async def test_who_goes_away_and_who_is_refused_take_nobody_with_them(link: Link) -> None:
    log = log_on(link)
    await log.append(APP, [event()], claim=("hub:{p0}:claim", "first"))
    gone, *others = (asyncio.create_task(log.append(APP, [event(id=f"x{n}")])) for n in range(3))
    refused = asyncio.create_task(log.append(APP, [event(id="y")], claim=("hub:{p0}:claim", "second")))
    await asyncio.sleep(0)
    gone.cancel()
    assert [(await one)[0].id for one in others] == ["x1", "x2"]
    with pytest.raises(IdempotencyKeyReused):
        await refused
    with pytest.raises(asyncio.CancelledError):
        await gone
    kept = [entry.id for entry in await log.range(0, START)]
    assert kept[-3:] == ["x0", "x1", "x2"]  # who went away had asked for it


async def test_a_store_that_is_lost_meanwhile_is_told_to_each_who_waits(store: StoreProcess) -> None:
    async with linked(store) as link, linked(store) as other:
        log = log_on(link)
        await other.call("CLIENT", "PAUSE", 10_000, "WRITE")
        waiting = [asyncio.create_task(log.append(APP, [event()])) for _ in range(5)]
        await asyncio.sleep(0)
        await other.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        await other.call("CLIENT", "UNPAUSE")
        assert all(isinstance(one, StoreUnavailable) for one in outcomes)


async def test_an_id_is_appended_once_per_app_and_topic_within_one_batch_too(link: Link) -> None:
    log = log_on(link)
    first, second = await log.append(APP, [event("a", "first", id="x"), event("a", "second", id="x")])
    assert (first.duplicate, second.duplicate) == (False, True)
    assert (second.cursor, second.type) == (first.cursor, "first")
    (elsewhere,) = await log.append(APP, [event("b", id="x")])
    (other_app,) = await log.append("other", [event("a", id="x")])
    assert (elsewhere.duplicate, other_app.duplicate) == (False, False)
    assert len(await log.range(0, START)) == 3
    assert (await log.find(APP, "x"))[0].topic == "a"  # the first, where topics share an id
    with pytest.raises(NotFound):
        await log.find("third", "x")


async def test_a_duplicate_renews_what_it_is_recognised_by(link: Link) -> None:
    log = log_on(link)
    await log.append(APP, [event("a", id="x")])
    await link.call("EXPIRE", keys.seen(0, APP, "x"), 10)
    (again,) = await log.append(APP, [event("a", id="x")])
    assert again.duplicate
    assert await link.call("TTL", keys.seen(0, APP, "x")) > 3000


async def test_scripts_that_the_store_forgot_are_sent_again(link: Link) -> None:
    log = log_on(link, partitions=3)
    await link.call("SCRIPT", "FLUSH")
    assert [len(one) for one in await asyncio.gather(*(log.append(APP, [event()] * 2) for _ in range(3)))] == [2] * 3
    await link.call("SCRIPT", "FLUSH")
    answers = await log.append(APP, [event(f"orders.{n}") for n in range(20)])
    assert not any(answer.duplicate for answer in answers)
    assert len((await everything(log)).entries) == 23
    before = await calls(link, "eval")
    await log.append(APP, [event()])
    assert await calls(link, "eval") == before  # by its hash again


async def test_a_batch_that_fails_half_way_says_what_was_appended_and_a_retry_completes_it(link: Link) -> None:
    log = log_on(link, partitions=3)
    batch = [event(f"orders.{n}") for n in range(12)]
    full = keys.partition_of(APP, "orders.0", 3)
    outside = [n for n, one in enumerate(batch) if keys.partition_of(APP, one.topic, 3) != full]
    await link.call("HSET", keys.meta(full), "full", "1")
    with pytest.raises(LogFull) as refused:
        await log.append(APP, batch)
    assert [detail.field for detail in refused.value.details] == [f"[{n}]" for n in outside]
    assert all(batch[n].id in detail.message for n, detail in zip(outside, refused.value.details, strict=True))
    assert f"{len(outside)} of 12 events were appended" in refused.value.message
    await link.call("HDEL", keys.meta(full), "full")
    answers = await log.append(APP, batch)
    assert [n for n, answer in enumerate(answers) if answer.duplicate] == outside
    assert sorted(entry.id for entry, _ in (await everything(log)).entries) == sorted(one.id for one in batch)


async def test_a_log_that_is_full_takes_nothing_of_a_batch(link: Link) -> None:
    log = log_on(link)
    await link.call("HSET", keys.meta(0), "full", "1")
    with pytest.raises(LogFull) as refused:
        await log.append(APP, [event(), event()])
    assert refused.value.details == ()
    assert await link.call("XLEN", keys.log(0)) == 0


async def test_an_index_of_a_log_that_was_lost_hides_no_new_event(link: Link) -> None:
    """Its last id is ahead of the new log's, as after a clock that went back."""
    log = log_on(link)
    await link.call("XADD", keys.topic_index(0, APP, "orders.42"), "99999999999999-0", "p", "")
    batch = [event() for _ in range(3)]
    await log.append(APP, batch)
    assert [entry.id for entry in await log.range_topic(APP, "orders.42", START)] == [one.id for one in batch]
    assert await link.call("TTL", keys.topic_index(0, APP, "orders.42")) > 0


# -- durability ------------------------------------------------------------------------------------------------------


async def test_fsync_waits_for_the_disk_together_and_holds_up_no_reader(store: StoreProcess, link: Link) -> None:
    await link.call("CONFIG", "SET", "appendfsync", "everysec")
    try:
        async with linked(store) as append_link:
            log = Log(link, partitions=2, retention=3600, durability="fsync", append_link=append_link)
            if not await can_waitaof(link):
                with pytest.raises(StoreUnavailable, match=r"HUB_DURABILITY=fsync.*WAITAOF"):
                    await log.append(APP, [event()])
                return
            loop = asyncio.get_running_loop()
            began, waited = loop.time(), await calls(link, "waitaof")
            publishers = [asyncio.create_task(log.append(APP, [event(f"orders.{n}")])) for n in range(200)]
            await eventually(lambda: log.range(0, START), "an event is in the log")
            await asyncio.gather(*publishers)
            assert loop.time() - began < 2
            assert 1 <= await calls(link, "waitaof") - waited < 50
            assert len((await everything(log, limit=50)).entries) == 200
    finally:
        await link.call("CONFIG", "SET", "appendfsync", "always")


async def test_a_round_gives_each_publisher_its_own_outcome(store: StoreProcess, link: Link) -> None:
    async with linked(store) as append_link:
        log = Log(link, partitions=3, retention=3600, durability="fsync", append_link=append_link)
        if not await can_waitaof(link):
            return
        await link.call("SCRIPT", "FLUSH")
        full = keys.partition_of(APP, "orders.0", 3)
        await link.call("HSET", keys.meta(full), "full", "1")
        outcomes = await asyncio.gather(
            *(log.append(APP, [event(f"orders.{n}")]) for n in range(30)), return_exceptions=True
        )
        for n, outcome in enumerate(outcomes):
            assert isinstance(outcome, LogFull) == (keys.partition_of(APP, f"orders.{n}", 3) == full)


async def test_fsync_without_an_append_only_file_is_unavailable_and_the_retry_a_duplicate(
    store: StoreProcess, link: Link
) -> None:
    log = Log(link, partitions=1, retention=3600, durability="fsync")
    await link.call("CONFIG", "SET", "appendonly", "no")
    try:
        with pytest.raises(StoreUnavailable, match="did not confirm HUB_DURABILITY=fsync"):
            await log.append(APP, [event(id="x")])
    finally:
        await link.call("CONFIG", "SET", "appendonly", "yes")
    if await can_waitaof(link):
        (again,) = await log.append(APP, [event(id="x")])
        assert again.duplicate


async def test_replicated_is_unavailable_until_a_replica_has_it() -> None:
    port = free_port()
    with StoreProcess("--port", str(port), "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0") as master:
        async with linked(master) as link:
            log = Log(link, partitions=1, retention=3600, durability="replicated")
            began = asyncio.get_running_loop().time()
            with pytest.raises(StoreUnavailable, match="HUB_DURABILITY=replicated in time"):
                await log.append(APP, [event(id="x")])
            assert asyncio.get_running_loop().time() - began < 2
            with StoreProcess("--replicaof", "127.0.0.1", str(port)) as replica, replica.client() as at_replica:
                await eventually(lambda: at_replica.info()["master_link_status"] == "up", "the replica follows", 20)
                (again,) = await log.append(APP, [event(id="x")])
                assert again.duplicate
                assert at_replica.xlen(keys.log(0)) == 1


# -- observe ---------------------------------------------------------------------------------------------------------


async def test_a_lost_entry_raises_the_epoch_once_among_all_who_read_it(store: StoreProcess, link: Link) -> None:
    log = log_on(link)
    await log.append(APP, [event(), event()])
    epoch, last, floor = await log.observe(0)
    assert floor == START
    assert (await log.observe(0, epoch, last))[0] == epoch
    await link.call("XDEL", keys.log(0), cursors.format_id(last))
    async with linked(store) as one, linked(store) as two:
        seen = await asyncio.gather(*(log_on(by).observe(0, epoch, last) for by in (link, one, two) * 10))
    assert {one[0] for one in seen} == {max(one[0] for one in seen)}
    assert seen[0][0] > epoch
    assert (await log.observe(0))[0] == seen[0][0]
    assert seen[0][1] < last


async def test_a_trimmed_entry_never_raises_the_epoch(link: Link) -> None:
    log = log_on(link)
    await log.append(APP, [event() for _ in range(4)])
    epoch, last, _ = await log.observe(0)
    await link.call("HSET", keys.meta(0), "floor", cursors.format_id(last))
    await link.call("XTRIM", keys.log(0), "MAXLEN", 0)
    assert await log.observe(0, epoch, last) == (epoch, START, last)


async def test_a_store_that_came_back_empty_has_an_epoch_that_no_older_cursor_names(link: Link) -> None:
    log = log_on(link)
    await log.append(APP, [event()])
    epoch, last, _ = await log.observe(0)
    await link.call("FLUSHALL")
    await asyncio.sleep(0.002)  # epochs are the store's milliseconds
    assert (await log.observe(0, epoch, last))[0] > epoch
    with pytest.raises(InvalidCursor):
        await listing.page(log, APP, after=(Mark(0, epoch, *last),))
