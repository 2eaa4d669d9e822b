"""A gateway's presence, in this process, so that what it remembers can be looked at."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import Raw

from hub.core import event as events
from hub.core.claims import Principal
from hub.core.errors import StoreUnavailable
from hub.core.event import EventInput
from hub.live.connection import Connection
from hub.live.gateway import Gateway
from hub.live.presence import Presence
from hub.live.replay import Start
from hub.live.rooms import RoomKey
from hub.live.tail import Tail
from hub.live.watched import decode
from hub.store import keys
from hub.store.connect import Link
from hub.store.log import Log
from hub.store.presence import CHUNK, KIND, PresenceStore
from tests.support.store import StoreProcess
from tests.support.waiting import eventually

ROOM = "room.a"


class Client(Connection):
    """A WebSocket's connection that keeps what is written."""

    def __init__(self, user: str | None) -> None:
        super().__init__("ws", 25.0)
        self.got: list[dict[str, Any]] = []
        self.principal = Principal("default", user=user, subscribe=("**",), presence=("**",))
        self.write = self._keep

    @property
    def framed(self) -> bool:
        return False

    async def drained(self) -> None:
        return

    def slow_for(self, now: float) -> float:
        return 0.0

    def close(self, code: int, reason: str = "") -> None:
        self.closed = True

    def _keep(self, data: bytes) -> None:
        self.got += [json.loads(line) for line in data.splitlines()]

    def told(self) -> list[tuple[str, list[str]]]:
        return [(message["type"], message["users"]) for message in self.got if message["type"].startswith("user_")]


@pytest.fixture
async def gateway(link: Link, store: StoreProcess) -> AsyncIterator[Gateway]:
    tail_link = Link(store.url)
    await tail_link.open(5)
    log = Log(link, partitions=1, retention=3600)
    made = Gateway(log, Tail(log, tail_link), Presence(link))
    await made.start()
    yield made
    await made.stop()
    await tail_link.close()


async def join(gateway: Gateway, client: Client, *, watch: bool = False, start: Start | None = None) -> None:
    key = RoomKey("default", (ROOM,), (), "ws", framed=False)
    if not watch:
        await gateway.join(client, ROOM, key, start or Start(), lambda _cursor, _recovered: b'{"type":"room_joined"}')
        return
    async with gateway.presence.watching(client, ROOM) as snapshot:

        def announce(_cursor: str, _recovered: bool | None) -> bytes:
            users, count = snapshot()
            return json.dumps({"type": "room_joined", "presence": users, "count": count}).encode()

        await gateway.join(client, ROOM, key, Start(), announce)


async def test_nothing_is_remembered_of_connections_that_are_gone(gateway: Gateway, link: Link) -> None:
    clients = [Client(f"user{n % 7}") for n in range(20)]
    for n, client in enumerate(clients):
        gateway.add(client)
        await join(gateway, client, watch=n % 2 == 0)
    assert len(gateway.presence) > 0
    assert len(gateway.own) == 7
    for n, client in enumerate(clients):
        if n % 3 == 0:
            await gateway.leave(client, ROOM)
            gateway.presence.leave(client, (ROOM,))
        gateway.drop(client)
    assert (len(gateway.presence), len(gateway.own), len(gateway.rooms)) == (0, 0, 0)

    async def held() -> bool:
        return not await link.call("KEYS", "hub:{ctl}:held:*") and not await link.call("KEYS", "hub:{ctl}:members:*")

    await eventually(held, "the store has heard of it")


async def test_a_direct_message_costs_nobody_the_seat(gateway: Gateway) -> None:
    """Who is in one room gets its frames by the room's seat, the cheap way: after a direct message as before it."""
    ann = Client("ann")
    gateway.add(ann)
    await join(gateway, ann)
    seat = ann.seat
    assert seat is not None
    sent = [events.build(EventInput(topic, "t", Raw(b"1")), id=topic, now_ms=1, max_bytes=1000)
            for topic in (ROOM, "@user.ann")]  # fmt: skip
    await gateway.log.append("default", sent)
    await eventually(lambda: [one["room"] for one in ann.got[1:]] == [ROOM, "@user.ann"], "both have come")
    assert ann.seat == seat


async def test_a_lease_that_was_lost_is_begun_anew_without_anybody_leaving(gateway: Gateway, link: Link) -> None:
    ann, bob = Client("ann"), Client("bob")
    crowd = [Client(f"user{n}") for n in range(3 * CHUNK)]
    for client in crowd:
        gateway.add(client)
    for client in (ann, bob):
        gateway.add(client)
        await join(gateway, client, watch=client is ann)
    await eventually(lambda: ann.told() == [("user_joined", ["bob"])], "ann hears of bob")
    left: list[str] = []
    gateway.on_notice(KIND, lambda notice: left.extend(decode(notice.data).left))
    (old,) = await link.call("ZRANGE", keys.PRESENCE_LEASES, 0, -1)
    await link.call("ZADD", keys.PRESENCE_LEASES, 0, old)  # as another process does when it has run out

    async def is_cleared() -> bool:
        leases = await link.call("ZRANGE", keys.PRESENCE_LEASES, 0, -1)
        return len(leases) == 1 and leases != [old]

    await eventually(is_cleared, "the old lease's members are removed")
    assert set((await PresenceStore(link).members("default", ROOM)).users) == {"ann", "bob"}
    assert ann.told() == [("user_joined", ["bob"])]
    gateway.drop(bob)
    await eventually(lambda: "bob" in left, "of those who leave is heard")
    assert left == ["bob"] * len(left)


@pytest.fixture
def never_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the look at everything that follows a process's start."""
    monkeypatch.setattr("hub.live.presence._SETTLED_SECONDS", 600.0)


@pytest.mark.usefixtures("never_settled")
async def test_a_change_whose_word_was_lost_is_made_up_for(gateway: Gateway, link: Link) -> None:
    ann = Client("ann")
    gateway.add(ann)
    await join(gateway, ann, watch=True)
    other = PresenceStore(link)
    await other.renew("other", new=True)
    # Written as by a process whose entries on the control stream were trimmed before they were read.
    await link.call("HSET", keys.members("default", ROOM), "eve", 1, "", 10**6)
    await link.call("HSET", keys.PRESENCE, "version", 10**6)
    await other.change("other", [("+", ("default", ROOM, "bob"))])

    def knows() -> bool:
        return sorted(user for kind, users in ann.told() if kind == "user_joined" for user in users) == ["bob", "eve"]

    await eventually(knows, "ann knows of both")
    late = Client("late")
    gateway.add(late)
    await link.call("HSET", keys.members("default", ROOM), "", 10**7)  # a version that is never told
    await link.call("HSET", keys.members("default", ROOM), "zoe", 1)
    await join(gateway, late, watch=True)
    (answer,) = [message for message in late.got if message["type"] == "room_joined"]
    assert set(answer["presence"]) == {"ann", "bob", "eve", "zoe", "late"}


async def test_a_join_with_presence_says_so_when_the_store_is_away(gateway: Gateway, store: StoreProcess) -> None:
    ann = Client("ann")
    gateway.add(ann)
    store.kill()
    try:
        with pytest.raises(StoreUnavailable):
            await join(gateway, ann, watch=True)
        with pytest.raises(StoreUnavailable):
            await join(gateway, ann, start=Start(history=5))
        own = RoomKey("default", ("@user.ann",), (), "ws", framed=False)
        with pytest.raises(StoreUnavailable):
            await gateway.join(ann, "@user.ann", own, Start(history=5), lambda _cursor, _recovered: b"{}")
        assert len(gateway.presence) == 2  # ann, in her own room
        await join(gateway, ann)
        assert [message["type"] for message in ann.got] == ["room_joined"]
    finally:
        store.start()
    await eventually(lambda: is_present(gateway, "ann"), "what was joined meanwhile is written")


async def is_present(gateway: Gateway, user: str) -> bool:
    try:
        return user in (await gateway.presence.members("default", ROOM)).users
    except StoreUnavailable:
        return False
