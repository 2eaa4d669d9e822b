"""A watched topic: what is told in a batch is what is new to whoever is told."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hub.live.connection import Connection
from hub.live.watched import MOST_NAMES, Watched
from hub.store.presence import Diff, Members


def room(*users: str, version: int = 1) -> Watched:
    watched = Watched("default", "room.a")
    assert watched.load(Members(version, len(users), list(users)))
    return watched


def diff(version: int, *, before: int | None = None, joined: tuple[str, ...] = (), left: tuple[str, ...] = ()) -> Diff:
    return Diff("room.a", 0, version, version - 1 if before is None else before, joined, left)


def told(watched: Watched) -> dict[Connection, list[dict[str, Any]]]:
    """What each watcher is told of the batch."""
    watchers, batch = watched.take()
    return {
        connection: [json.loads(line) for line in batch.frame(start, False).splitlines()]
        for connection, start in watchers
    }


def watcher() -> Connection:
    return Connection("ws", 25.0)


def test_joins_and_leaves_are_told_with_the_count() -> None:
    watched, connection = room("ann", "bob"), watcher()
    watched.watch(connection)
    watched.hear(diff(2, joined=("cid", "dan")))
    watched.hear(diff(3, left=("ann",)))
    assert told(watched)[connection] == [
        {"type": "user_left", "room": "room.a", "users": ["ann"], "count": 3},
        {"type": "user_joined", "room": "room.a", "users": ["cid", "dan"], "count": 3},
    ]
    assert told(watched)[connection] == []


def test_what_changed_back_is_not_told() -> None:
    watched, connection = room("ann"), watcher()
    watched.watch(connection)
    watched.hear(diff(2, left=("ann",)))
    watched.hear(diff(3, before=0, joined=("ann", "bob")))
    watched.hear(diff(4, left=("bob",)))
    assert told(watched)[connection] == []


def test_what_the_snapshot_held_is_not_told() -> None:
    watched, old, new = room("ann"), watcher(), watcher()
    watched.watch(old)
    watched.hear(diff(2, joined=("bob",)))
    watched.watch(new)
    assert watched.snapshot() == (["ann", "bob"], 2)
    watched.hear(diff(3, left=("bob",)))
    heard = told(watched)
    assert heard[old] == []
    assert [(message["type"], message["users"]) for message in heard[new]] == [("user_left", ["bob"])]


def test_a_missed_change_is_found_out_and_an_old_one_ignored() -> None:
    watched = room("ann", version=5)
    assert watched.hear(diff(4, joined=("old",)))
    assert watched.hear(diff(7, joined=("bob",))) is False
    watched.unload()
    assert watched.hear(diff(8, joined=("cid",)))  # kept until the topic is read
    assert watched.hear(diff(9, left=("ann",)))
    assert watched.load(Members(7, 3, ["ann", "bob", "eve"]))
    assert watched.snapshot() == (["bob", "eve", "cid"], 3)
    watched.unload()
    watched.hear(diff(12, joined=("far",)))
    assert watched.load(Members(10, 1, ["bob"])) is False


def test_what_was_read_anew_is_told_as_what_differs() -> None:
    watched, connection = room("ann", "bob"), watcher()
    watched.watch(connection)
    watched.unload()
    watched.load(Members(9, 2, ["bob", "cid"]))
    assert [(message["type"], message["users"]) for message in told(watched)[connection]] == [
        ("user_left", ["ann"]),
        ("user_joined", ["cid"]),
    ]


def test_of_a_crowd_some_are_named_and_all_are_counted() -> None:
    watched, connection = room(), watcher()
    watched.watch(connection)
    watched.hear(diff(2, joined=tuple(f"user{n}" for n in range(3 * MOST_NAMES))))
    (message,) = told(watched)[connection]
    assert (len(message["users"]), message["count"]) == (MOST_NAMES, 3 * MOST_NAMES)
    users, count = watched.snapshot()
    assert (len(users), count) == (MOST_NAMES, 3 * MOST_NAMES)


def test_in_a_storm_of_joins_each_watcher_still_learns_of_every_change() -> None:
    """More came within one batch than are told exactly; the last ones may be told names that they know."""
    watched, known = room("host"), dict[Connection, set[str]]()
    for n in range(100):
        joined = (f"user{n}", "guest") if n == 80 else (f"user{n}",)
        watched.hear(diff(n + 2, joined=joined, left=("guest",) if n == 98 else ()))
        watched.watch(connection := watcher())
        known[connection] = set(watched.snapshot()[0])
    for connection, messages in told(watched).items():
        for message in messages:
            names = set(message["users"])
            known[connection] = known[connection] | names if "joined" in message["type"] else known[connection] - names
    assert all(one == set(watched.users) for one in known.values())


@given(st.lists(st.one_of(st.sampled_from(["ann", "bob", "cid"]), st.just("watch"), st.just("tell")), max_size=200))
def test_every_watcher_knows_the_room_after_every_batch(steps: list[str]) -> None:
    """Users come and go, watchers come at any time (more than are told exactly), batches end at any time."""
    watched, version = room(), 0
    known: dict[Connection, set[str]] = {}

    def tell() -> None:
        for connection, messages in told(watched).items():
            for message in messages:
                assert message["count"] == len(watched.users)
                if message["type"] == "user_joined":
                    known[connection] |= set(message["users"])
                else:
                    known[connection] -= set(message["users"])
        assert all(one == set(watched.users) for one in known.values())

    watched.load(Members(0, 0, []))
    for step in steps:
        if step == "tell":
            tell()
        elif step == "watch":
            connection = watcher()
            watched.watch(connection)
            known[connection] = set(watched.snapshot()[0])
        else:
            before, version = (version if watched.users else 0), version + 1
            left = (step,) if step in watched.users else ()
            assert watched.hear(diff(version, before=before, joined=() if left else (step,), left=left))
    tell()
