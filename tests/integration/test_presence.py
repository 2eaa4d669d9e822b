"""Presence in the store: who is where, by leases; what changed is told once and in order."""

import msgspec
import pytest

from hub.store import keys
from hub.store.connect import Link
from hub.store.control import Notice, parse_item
from hub.store.paging import Edge, Window
from hub.store.presence import LEASE_MS, Diff, Member, Members, PresenceStore

ROOM = ("default", "room.a")


@pytest.fixture
def presence(link: Link) -> PresenceStore:
    return PresenceStore(link)


def ann(topic: str = "room.a") -> Member:
    return ("default", topic, "ann")


def bob(topic: str = "room.a") -> Member:
    return ("default", topic, "bob")


async def told(link: Link) -> list[Diff]:
    """What the control stream says, in order."""
    items = [parse_item(item) for item in await link.call("XRANGE", keys.CONTROL, "-", "+")]
    return [msgspec.json.decode(item.data, type=Diff) for item in items if isinstance(item, Notice)]


async def let_pass(link: Link, holder: str) -> None:
    """As if the holder's lease had run out, and the silence before were over."""
    await link.call("ZADD", keys.PRESENCE_LEASES, 1, holder)
    await link.call("HSET", keys.PRESENCE, "grace", 0)


async def test_a_user_of_two_processes_is_one_user_until_both_have_let_go(link: Link, presence: PresenceStore) -> None:
    for holder in ("one", "two"):
        assert await presence.renew(holder, new=True) == (True, [])
        await presence.change(holder, [("+", ann())])
        await presence.change(holder, [("+", ann())])
    assert (await presence.members(*ROOM)).users == ["ann"]
    await presence.change("one", [("-", ann())])
    await presence.change("one", [("-", ann())])
    assert (await presence.members(*ROOM)).count == 1
    await presence.change("two", [("-", ann())])
    assert await presence.members(*ROOM) == Members(0, 0, [])
    assert [(diff.joined, diff.left, diff.count) for diff in await told(link)] == [(("ann",), (), 1), ((), ("ann",), 0)]


async def test_each_change_names_the_version_before_it(link: Link, presence: PresenceStore) -> None:
    await presence.renew("one", new=True)
    first = await presence.change("one", [("+", ann()), ("+", ann("room.b"))])
    second = await presence.change("one", [("+", bob()), ("?", ("default", "room.b", ""))])
    assert first is not None
    assert second is not None
    diffs = [diff for diff in await told(link) if diff.topic == "room.a"]
    assert [(diff.version, diff.before) for diff in diffs] == [(first[0][0], 0), (second[0][0], first[0][0])]
    assert second[0][1] == 2
    assert second[1] == first[1]  # asking changes nothing
    await presence.change("one", [("-", ann()), ("-", bob())])
    await presence.change("one", [("+", bob())])
    diffs = [diff for diff in await told(link) if diff.topic == "room.a"]
    assert [(set(diff.left), diff.count, diff.before) for diff in diffs[2:]] == [
        ({"ann", "bob"}, 0, second[0][0]),
        (set(), 1, 0),
    ]
    assert [diff.version for diff in diffs] == sorted(diff.version for diff in diffs)


async def test_the_members_of_a_process_that_is_gone_leave_once_and_with_its_lease(
    link: Link, presence: PresenceStore
) -> None:
    for holder in ("dead", "alive"):
        await presence.renew(holder, new=True)
    await presence.change("dead", [("+", ann()), ("+", bob())])
    await presence.change("alive", [("+", bob())])
    assert await presence.renew("alive", new=False) == (True, [])
    assert await presence.change("dead", [("-", ann())], ended=True) is None  # its lease has not ended
    await let_pass(link, "dead")
    for _ in range(2):  # whoever renews may clear, and several do
        assert await presence.renew("alive", new=False) == (True, ["dead"])
    assert await presence.clear("dead")
    assert await presence.clear("dead") is False
    assert await presence.renew("alive", new=False) == (True, [])
    assert (await presence.members(*ROOM)).users == ["bob"]
    assert [diff.left for diff in await told(link) if diff.left] == [("ann",)]
    assert await link.call("EXISTS", keys.held("dead")) == 0


async def test_a_process_whose_lease_has_ended_changes_nothing_more_under_it(
    link: Link, presence: PresenceStore
) -> None:
    await presence.renew("slow", new=True)
    await presence.renew("other", new=True)
    await let_pass(link, "slow")
    await presence.renew("other", new=False)
    assert await presence.renew("slow", new=False) == (False, ["slow"])
    assert await presence.change("slow", [("+", ann())]) is None
    assert await presence.members(*ROOM) == Members(0, 0, [])


async def test_after_a_silence_every_lease_gets_its_time_again(link: Link, presence: PresenceStore) -> None:
    """A store that was away for longer than a lease must not make everybody leave and come back."""
    await presence.renew("one", new=True)
    await presence.renew("two", new=True)
    await presence.change("two", [("+", ann())])
    now = int((await link.call("TIME"))[0]) * 1000
    await link.call("HSET", keys.PRESENCE, "tick", now - 60_000, "grace", 0)
    await link.call("ZADD", keys.PRESENCE_LEASES, now - 50_000, "one", now - 50_000, "two")
    assert await presence.renew("one", new=False) == (True, [])
    assert await presence.renew("two", new=False) == (True, [])
    assert (await presence.members(*ROOM)).users == ["ann"]
    assert float(await link.call("ZSCORE", keys.PRESENCE_LEASES, "two")) >= now + LEASE_MS


async def test_a_clock_that_went_back_does_not_make_a_lease_last(link: Link, presence: PresenceStore) -> None:
    await presence.renew("one", new=True)
    now = int((await link.call("TIME"))[0]) * 1000
    await link.call("ZADD", keys.PRESENCE_LEASES, now + 10 * LEASE_MS, "far")
    await presence.renew("one", new=False)
    assert float(await link.call("ZSCORE", keys.PRESENCE_LEASES, "far")) <= now + LEASE_MS + 2000


async def test_of_a_crowd_some_are_named_and_all_are_counted(presence: PresenceStore) -> None:
    await presence.renew("one", new=True)
    users = [f"user-{n}" for n in range(150)]
    await presence.change("one", [("+", (*ROOM, user)) for user in users])
    few = await presence.members(*ROOM, most=100)
    assert (few.count, len(set(few.users))) == (150, 100)
    assert set(few.users) < set(users)
    assert set((await presence.members(*ROOM)).users) == set(users)


async def test_topics_with_members_are_listed_by_prefix_and_page(presence: PresenceStore) -> None:
    await presence.renew("one", new=True)
    changes = [("+", ann(f"orders.{n}")) for n in range(5)]
    other = ("other", "orders.9", "ann")
    await presence.change("one", [*changes, ("+", bob("orders.2")), ("+", bob("ordersx")), ("+", other)])
    assert (await presence.topics("default", "orders.", Window(3))).items == [
        ("orders.0", 1),
        ("orders.1", 1),
        ("orders.2", 2),
    ]
    assert (await presence.topics("default", "orders.", Window(3, Edge("orders.2")))).items == [
        ("orders.3", 1),
        ("orders.4", 1),
    ]
    assert len((await presence.topics("default", "", Window(50))).items) == 6
    await presence.change("one", [("-", ann("orders.3"))])
    assert ("orders.3", 1) not in (await presence.topics("default", "", Window(50))).items
    assert (await presence.topics("nobody", "", Window(50))).items == []


async def test_names_that_look_like_syntax_stay_what_they_are(link: Link, presence: PresenceStore) -> None:
    await presence.renew("one", new=True)
    users = ['a"b', "ä\u2028€", "nul\0inside", "-", "0", "a b"]
    await presence.change("one", [("+", (*ROOM, user)) for user in users])
    assert set((await presence.members(*ROOM)).users) == set(users)
    assert {user for diff in await told(link) for user in diff.joined} == set(users)
    await let_pass(link, "one")
    await presence.renew("two", new=True)
    await presence.clear("one")
    assert (await presence.members(*ROOM)).count == 0
