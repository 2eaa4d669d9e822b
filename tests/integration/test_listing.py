"""Listings against a real store: by topic and type, both ways, over partitions and what was trimmed."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.core import cursor as cursors
from hub.core.cursor import START, Mark, Position
from hub.core.errors import InvalidCursor
from hub.core.topics import compile_pattern
from hub.store import keys, listing
from hub.store.connect import Link
from tests.support.logs import APP, event, everything, log_on
from tests.support.store import StoreProcess, linked


async def test_what_was_trimmed_is_skipped_by_the_topic_index_and_does_not_end_a_page(link: Link) -> None:
    log = log_on(link)
    batch = [event() for _ in range(30)]
    await log.append(APP, batch)
    await link.call("XTRIM", keys.log(0), "MAXLEN", 12)  # the floor is not known yet, as amid a trim
    left = [one.id for one in batch[18:]]
    assert [entry.id for entry in await log.range_topic(APP, "orders.42", START, 5)] == left[:5]
    assert [entry.id for entry in await log.range_topic_back(APP, "orders.42", None, 20)] == left[::-1]
    for newest_first in (False, True):
        found = await everything(log, topic="orders.42", newest_first=newest_first)
        assert [entry.id for entry, _ in found.entries] == (left[::-1] if newest_first else left)


async def test_positions_at_the_edges_of_their_range_are_read_both_ways(link: Link) -> None:
    ids = ["1-1", "5-18446744073709551615", "6-0", "281474976710655-18446744073709551614"]
    fields = ("a", APP, "t", "orders.42", "y", "t", "i", "x", "r", "", "e", '{"id":"x"}')
    for one in ids:
        await link.call("XADD", keys.log(0), one, *fields)
    log = log_on(link)
    for newest_first in (False, True):
        found = await everything(log, limit=1, newest_first=newest_first)
        positions = [cursors.format_id(entry.position) for entry, _ in found.entries]
        assert positions == (ids[::-1] if newest_first else ids)
        assert all(cursors.decode(cursor)[0].position == entry.position for entry, cursor in found.entries)


async def test_events_of_one_moment_in_several_partitions_have_one_order(link: Link) -> None:
    log = log_on(link, partitions=3)
    for partition in range(3):
        fields = ("a", APP, "t", "orders.42", "y", "t", "i", f"x{partition}", "r", "", "e", "{}")
        for one in ("7-0", "7-1"):
            await link.call("XADD", keys.log(partition), one, *fields)
    forward = [(entry.position, entry.id) for entry, _ in (await everything(log, limit=2)).entries]
    back = [(entry.position, entry.id) for entry, _ in (await everything(log, limit=2, newest_first=True)).entries]
    assert forward == back[::-1] == [((7, seq), f"x{partition}") for seq in (0, 1) for partition in range(3)]


async def test_a_cursor_that_names_a_partition_that_is_not_there_is_refused(link: Link) -> None:
    log = log_on(link, partitions=2)
    epoch = (await log.observe(0))[0]
    with pytest.raises(InvalidCursor, match="2 partitions"):
        await listing.page(log, APP, after=(Mark(5, epoch, 1, 0),))


async def test_a_cursor_that_names_one_partition_is_a_place_among_all(link: Link) -> None:
    """As the answer to a publish has one: what lies before it in the other partitions isn't after it."""
    log = log_on(link, partitions=3)
    answers = [(await log.append(APP, [event(f"orders.{n}")]))[0] for n in range(9)]
    places = {one.id: cursors.decode(one.cursor) for one in answers}
    ids = [entry.id for entry, _ in (await everything(log)).entries]
    for n, id in enumerate(ids):
        assert len(places[id]) == 1
        newer = await listing.page(log, APP, after=places[id])
        older = await listing.page(log, APP, before=places[id])
        assert [entry.id for entry, _ in newer.entries] == ids[n + 1 :]
        assert [entry.id for entry, _ in older.entries] == ids[:n]


@pytest.mark.parametrize("newest_first", [False, True])
async def test_a_page_that_looked_at_much_else_is_short_and_goes_on(
    link: Link, monkeypatch: pytest.MonkeyPatch, newest_first: bool
) -> None:
    log = log_on(link, partitions=2)
    rare = [event("orders.1", "order.rare") for _ in range(3)]
    for n in range(3):
        await log.append(APP, [rare[n], *(event(f"orders.{one}") for one in range(200))])
    monkeypatch.setattr(listing, "SCAN_BUDGET", 100)
    first = await listing.page(log, APP, types=("order.rare",), newest_first=newest_first)
    assert len(first.entries) <= 1
    assert first.next_cursor is not None
    found = await everything(log, types=("order.rare",), newest_first=newest_first)
    ids = [one.id for one in rare]
    assert [entry.id for entry, _ in found.entries] == (ids[::-1] if newest_first else ids)


async def test_an_event_that_is_appended_while_a_page_is_read_has_its_own_place(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = log_on(link, partitions=2)
    observe = log.observe

    async def and_append(partition: int) -> tuple[int, Position, Position]:
        known = await observe(partition)
        await log.append(APP, [event(f"orders.{n}") for n in range(4)])
        return known

    monkeypatch.setattr(log, "observe", and_append)
    page = await listing.page(log, APP)
    monkeypatch.undo()
    ids = [entry.id for entry, _ in page.entries]
    assert len(ids) == 8
    for n, (_, cursor) in enumerate(page.entries):
        newer = await listing.page(log, APP, after=cursors.decode(cursor))
        assert [entry.id for entry, _ in newer.entries] == ids[n + 1 :]


async def test_an_event_that_is_found_by_its_id_has_its_place_in_every_partition(link: Link) -> None:
    log = log_on(link, partitions=3)
    for n in range(9):
        await log.append(APP, [event(f"orders.{n}")])
    for entry, cursor in (await everything(log)).entries:
        assert await log.find(APP, entry.id) == (entry, cursor)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_a_walk_over_partitions_goes_back_by_the_same_pages_whatever_is_added(
    link: Link, limit: int, newest_first: bool
) -> None:
    log = log_on(link, partitions=3)
    for n in range(17):
        await log.append(APP, [event(f"orders.{n % 6}", "order.created" if n % 4 else "order.paid")])

    async def page(after: str | None, before: str | None) -> listing.Page:
        bounds = [() if one is None else cursors.decode(one) for one in (after, before)]
        return await listing.page(
            log,
            APP,
            types=("order.created",),
            after=bounds[0],
            before=bounds[1],
            limit=limit,
            newest_first=newest_first,
        )

    there = [await page(None, None)]
    if newest_first:  # what is newer than the first page belongs to none behind it
        await log.append(APP, [event(f"orders.{n}") for n in range(6)])
    while (cursor := there[-1].next_cursor) is not None:
        there.append(await (page(None, cursor) if newest_first else page(cursor, None)))
    back = [there[-1]]
    while len(back) < len(there):
        cursor = back[-1].prev_cursor
        back.append(await (page(cursor, None) if newest_first else page(None, cursor)))
    ids = [[[entry.id for entry, _ in page.entries] for page in pages] for pages in (there, back[::-1])]
    assert ids[0] == ids[1]
    assert len({id for page in ids[0] for id in page}) == sum(map(len, ids[0])) == 12


Spec = tuple[str, str, str]
_apps = st.sampled_from([APP, "other"])
_topics = st.sampled_from(["orders.1", "orders.2", "orders.2.items", "users.1", "@user.ann"])
_types = st.sampled_from(["order.created", "order.paid", "user.seen"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    batches=st.lists(st.lists(st.tuples(_apps, _topics, _types), min_size=1, max_size=12), max_size=6),
    trimmed=st.integers(0, 10),
    pattern=st.sampled_from(["**", "orders.*", "orders.**", "orders.2", "@user.ann", "nothing.here"]),
    types=st.sampled_from([(), ("order.*",), ("user.seen", "order.paid")]),
    limit=st.integers(1, 9),
    partitions=st.sampled_from([1, 3]),
)
def test_listings_agree_with_a_model_both_ways(
    store: StoreProcess,
    batches: list[list[Spec]],
    trimmed: int,
    pattern: str,
    types: tuple[str, ...],
    limit: int,
    partitions: int,
) -> None:
    async def check() -> None:
        async with linked(store) as link:
            await link.call("FLUSHALL")
            log = log_on(link, partitions=partitions)
            model: list[tuple[tuple[int, int], int, str, Spec]] = []
            for batch in batches:
                for app in {spec[0] for spec in batch}:
                    specs = [spec for spec in batch if spec[0] == app]
                    for answer, spec in zip(
                        await log.append(app, [event(topic, kind) for _, topic, kind in specs]), specs, strict=True
                    ):
                        (mark,) = cursors.decode(answer.cursor)
                        model.append((mark.position, mark.partition, answer.id, spec))
            model.sort()
            for partition in range(partitions):
                inside = [one for one in model if one[1] == partition]
                for gone in inside[:trimmed]:
                    await link.call("HSET", keys.meta(partition), "floor", cursors.format_id(gone[0]))
                    await link.call("XDEL", keys.log(partition), cursors.format_id(gone[0]))
                    model.remove(gone)
            wanted = [
                (position, id)
                for position, _, id, (app, topic, kind) in model
                if app == APP
                and compile_pattern(pattern).fullmatch(topic)
                and (not types or any(compile_pattern(one).fullmatch(kind) for one in types))
            ]
            for newest_first in (False, True):
                page = await everything(log, topic=pattern, types=types, limit=limit, newest_first=newest_first)
                got = [(entry.position, entry.id) for entry, _ in page.entries]
                assert got == (wanted[::-1] if newest_first else wanted)
                for n, (_, text) in enumerate(page.entries):  # a cursor is one place, whichever order it comes from
                    place, at = cursors.decode(text), len(wanted) - 1 - n if newest_first else n
                    older = await listing.page(log, APP, topic=pattern, types=types, before=place, newest_first=True)
                    newer = await listing.page(log, APP, topic=pattern, types=types, after=place)
                    assert [entry.id for entry, _ in older.entries] == [id for _, id in wanted[:at]][::-1][:50]
                    assert [entry.id for entry, _ in newer.entries] == [id for _, id in wanted[at + 1 :]][:50]

    asyncio.run(check())
