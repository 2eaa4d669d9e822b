"""Presence: who is in a room, over two web processes, and the word of it to those who asked."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from tests.support.hub import KEY, Hub, auth, token
from tests.support.live import SseClient, WsClient, connected
from tests.support.waiting import eventually


def badge(user: str | None, topic: str) -> str:
    """A token for a topic and what lies below it."""
    both = [topic, f"{topic}.**"]
    return token(user, subscribe=both, presence=both)


@contextlib.asynccontextmanager
async def enter(hub: Hub, user: str, topic: str, index: int = 0, **fields: Any) -> AsyncGenerator[WsClient]:
    """A user's connection that has joined the topic."""
    async with WsClient.open(hub, key=badge(user, topic), index=index) as ws:
        await ws.join(topic, **fields)
        yield ws


async def present(client: httpx.AsyncClient, topic: str) -> list[str]:
    data = (await client.get(f"/v1/topics/{topic}/presence")).json()["data"]
    assert data["count"] == len(data["users"])
    return sorted(data["users"])


async def test_a_snapshot_comes_with_the_join_and_changes_after_it(hub: Hub, topic: str) -> None:
    async with enter(hub, "ann", topic, presence=True) as ann:
        async with enter(hub, "bob", topic, index=1):  # counted, although it didn't ask
            joined = await ann.next("user_joined")
            assert joined == {"type": "user_joined", "room": topic, "users": ["bob"], "count": 2}
            async with WsClient.open(hub, key=badge("cid", topic), index=1) as cid:
                answer = await cid.join(topic, presence=True)
                assert sorted(answer["presence"]) == ["ann", "bob", "cid"]
                assert answer["count"] == 3
                assert (await ann.next("user_joined"))["users"] == ["cid"]
                assert [message["type"] for message in await cid.quiet()] == []  # its own coming is no news to it
            assert await ann.next("user_left") == {"type": "user_left", "room": topic, "users": ["cid"], "count": 2}
        assert (await ann.next("user_left"))["users"] == ["bob"]
        assert await ann.quiet() == []


async def test_someone_who_did_not_ask_hears_of_nobody(hub: Hub, topic: str) -> None:
    async with enter(hub, "ann", topic) as ann, enter(hub, "eve", topic, presence=True) as eve:
        async with enter(hub, "bob", topic, index=1):
            await eve.next("user_joined")
        await eve.next("user_left")
        assert await ann.quiet() == []


async def test_several_tabs_on_several_processes_are_one_user(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    async with enter(hub, "ann", topic, presence=True) as ann, contextlib.AsyncExitStack() as tabs:
        for index in (0, 0):
            await tabs.enter_async_context(enter(hub, "bob", topic, index=index))
        assert (await ann.next("user_joined"))["users"] == ["bob"]
        async with enter(hub, "bob", topic, index=1), enter(hub, "bob", topic, presence=True) as fourth:
            assert (await fourth.ask("presence", room=topic))["users"].count("bob") == 1
            assert await present(client, topic) == ["ann", "bob"]
        async with enter(hub, "cid", topic), enter(hub, "cid", topic, index=1):  # written behind bob's lost tabs
            await ann.next("user_joined")
        assert (await ann.next("user_left"))["users"] == ["cid"]
        assert await present(client, topic) == ["ann", "bob"]
        await tabs.pop_all().aclose()
        assert (await ann.next("user_left")) == {"type": "user_left", "room": topic, "users": ["bob"], "count": 1}
        assert await ann.quiet() == []


async def test_leaving_the_room_and_closing_the_connection_both_end_presence(hub: Hub, topic: str) -> None:
    async with (
        enter(hub, "ann", topic, presence=True) as ann,
        enter(hub, "bob", topic, index=1) as bob,
        enter(hub, "cid", topic) as cid,
    ):
        while (await ann.next("user_joined"))["count"] < 3:
            pass
        await bob.ask("leave_room", room=topic)
        assert (await ann.next("user_left"))["users"] == ["bob"]
        cid.connection.transport.abort()
        assert (await ann.next("user_left"))["users"] == ["cid"]


async def has_count(ws: WsClient, topic: str, count: int) -> bool:
    return (await ws.ask("presence", room=topic))["count"] == count


async def test_joining_a_room_again_is_no_news(hub: Hub, topic: str) -> None:
    async with enter(hub, "ann", topic, presence=True) as ann, enter(hub, "bob", topic) as bob:
        await ann.next("user_joined")
        for presence in (False, True, False):
            await bob.join(topic, presence=presence)
        async with enter(hub, "cid", topic):
            assert await ann.next("user_joined") == {"type": "user_joined", "room": topic, "users": ["cid"], "count": 3}
        await ann.next("user_left")
        assert await ann.quiet() == []


async def test_joining_again_without_presence_ends_the_word_of_it(hub: Hub, topic: str) -> None:
    async with enter(hub, "ann", topic, presence=True) as ann, enter(hub, "eve", topic, presence=True) as eve:
        assert (await ann.next("user_joined"))["users"] == ["eve"]
        await ann.join(topic)
        async with enter(hub, "bob", topic):
            await eve.next("user_joined")
        assert await ann.quiet() == []


async def test_many_joins_are_told_in_few_messages(hub: Hub, topic: str) -> None:
    async with enter(hub, "ann", topic, presence=True) as ann, contextlib.AsyncExitStack() as crowd:
        users = [f"user{n}" for n in range(40)]
        await asyncio.gather(
            *(crowd.enter_async_context(enter(hub, user, topic, index=n % 2)) for n, user in enumerate(users))
        )
        told: list[dict[str, Any]] = []
        while not told or told[-1]["count"] < 41:
            told.append(await ann.next("user_joined"))
        assert sorted(user for message in told for user in message["users"]) == sorted(users)
        assert len(told) < 20
        await crowd.pop_all().aclose()
        left: list[dict[str, Any]] = []
        while not left or left[-1]["count"] > 1:
            left.append(await ann.next("user_left"))
        assert sorted(user for message in left for user in message["users"]) == sorted(users)


async def test_every_watcher_of_a_storm_ends_with_the_same_list(hub: Hub, topic: str) -> None:
    """What the snapshot held and what came after it are the room, however joins, leaves and batches fall."""
    users = [f"user{n}" for n in range(30)]

    async def member(n: int, user: str) -> tuple[WsClient, set[str]]:
        ws = await open_clients.enter_async_context(WsClient.open(hub, key=badge(user, topic), index=n % 2))
        if n % 3 == 0:
            await ws.join(topic)
            await ws.ask("leave_room", room=topic)
        return ws, set((await ws.join(topic, presence=True))["presence"])

    async with contextlib.AsyncExitStack() as open_clients:
        members = await asyncio.gather(*(member(n, user) for n, user in enumerate(users)))
        for ws, _ in members[25:]:
            await ws.ask("leave_room", room=topic)
        for ws, known in members[:25]:
            await eventually(lambda ws=ws: has_count(ws, topic, 25), "all is written")
            await eventually(lambda ws=ws, known=known: catches_up(ws, known, set(users[:25])), "it knows the room")


async def catches_up(ws: WsClient, known: set[str], wanted: set[str]) -> bool:
    for message in await ws.quiet():
        if message["type"] == "user_joined":
            known |= set(message["users"])
        elif message["type"] == "user_left":
            known -= set(message["users"])
    return known == wanted


async def test_presence_needs_its_own_right_and_a_topic(hub: Hub, topic: str) -> None:
    async with WsClient.open(hub, key=token("ann", subscribe=[f"{topic}.**", topic], presence=[topic])) as ws:
        assert (await ws.ask("join_room", room=f"{topic}.a", presence=True))["code"] == "FORBIDDEN"
        assert (await ws.ask("presence", room=f"{topic}.a"))["code"] == "FORBIDDEN"
        assert (await ws.ask("join_room", room=f"{topic}.*", presence=True))["code"] == "VALIDATION_FAILED"
        assert (await ws.ask("presence", room=f"{topic}.*"))["code"] == "VALIDATION_FAILED"
        assert "presence" not in await ws.join(f"{topic}.a")
        assert (await ws.join(topic, presence=True))["presence"] == ["ann"]
        answer = await ws.ask("authenticate", token=token("ann", subscribe=[topic]))
        assert answer["type"] == "authenticated"
        async with enter(hub, "bob", topic), enter(hub, "eve", topic, presence=True) as eve:
            await eventually(lambda: has_count(eve, topic, 3), "all are there")
            async with enter(hub, "cid", topic):
                await eve.next("user_joined")
        assert [message for message in await ws.quiet() if message["type"] == "user_joined"] == []


async def test_a_connection_without_a_user_watches_but_is_not_there(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    async with WsClient.open(hub) as key_holder, WsClient.open(hub, key=badge(None, topic)) as nobody:
        assert (await key_holder.join(topic, presence=True))["presence"] == []
        assert (await nobody.join(topic, presence=True))["count"] == 0
        async with enter(hub, "bob", topic, index=1):
            for ws in (key_holder, nobody):
                assert (await ws.next("user_joined"))["users"] == ["bob"]
    await eventually(lambda: is_empty(client, topic), "nobody is there")


async def is_empty(client: httpx.AsyncClient, topic: str) -> bool:
    return await present(client, topic) == []


async def test_a_stream_with_a_user_is_a_member_and_a_pattern_is_not(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    async with (
        enter(hub, "ann", topic, presence=True) as ann,
        SseClient.open(hub, f"topic={topic}", key=badge("bob", topic), index=1) as sse,
        WsClient.open(hub, key=badge("cid", topic)) as cid,
    ):
        await sse.event()
        assert (await ann.next("user_joined"))["users"] == ["bob"]
        await cid.join(f"{topic}.**")
        await cid.join(f"{topic}.own")
        assert await present(client, topic) == ["ann", "bob"]
        await eventually(lambda: is_listed(client, f"{topic}.own"), "what cid joined is written")
    await eventually(lambda: is_empty(client, topic), "all have left")


async def test_a_poll_that_waits_is_not_a_member(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    async with hub.client(key=badge("bob", topic)) as bob:
        waiting = asyncio.ensure_future(bob.get("/v1/poll", params={"topic": topic, "wait": "20"}, timeout=30))
        await eventually(lambda: connected(client, "poll"), "the poll waits")
        async with enter(hub, "ann", topic, presence=True) as ann:  # written behind it on the same process
            assert await present(client, topic) == ["ann"]
            assert (await client.post("/v1/events", json={"topic": topic, "type": "t", "data": 1})).status_code == 202
            assert (await waiting).status_code == 200
            await ann.next("event")
            assert await ann.quiet() == []


async def is_listed(client: httpx.AsyncClient, topic: str) -> bool:
    """As the only one beside it: what was joined before is written before."""
    listed = (await client.get("/v1/topics", params={"prefix": topic[:-3]})).json()["data"]
    return [item["topic"] for item in listed] == [topic]


async def test_a_join_that_is_refused_leaves_nobody_behind(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    async with WsClient.open(hub, key=badge("ann", topic)) as ws:
        for presence in (False, True):
            answer = await ws.ask("join_room", room=topic, presence=presence, after="nonsense")
            assert answer["code"] == "INVALID_CURSOR"
        assert (await ws.ask("join_room", room="elsewhere", presence=True))["code"] == "FORBIDDEN"
        assert await present(client, topic) == []


async def test_topics_with_members_are_listed_for_servers(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for n in range(5):
            ws = await stack.enter_async_context(WsClient.open(hub, key=badge("ann", topic), index=n % 2))
            await ws.join(f"{topic}.{n}")
        await stack.enter_async_context(enter(hub, "bob", f"{topic}.3"))
        query = {"prefix": f"{topic}.", "limit": "3"}
        await eventually(lambda: lists(client, query, 3, topic), "all are written")
        first = (await client.get("/v1/topics", params=query)).json()
        assert [item["topic"] for item in first["data"]] == [f"{topic}.{n}" for n in range(3)]
        query["after"] = first["pagination"]["next_cursor"]
        second = (await client.get("/v1/topics", params=query)).json()
        assert second["data"] == [{"topic": f"{topic}.3", "count": 2}, {"topic": f"{topic}.4", "count": 1}]
        assert second["pagination"]["has_more"] is False
        online = (await client.get("/v1/topics/@user.bob/presence")).json()["data"]
        assert online["count"] == 1


async def lists(client: httpx.AsyncClient, query: dict[str, str], count: int, topic: str) -> bool:
    found = (await client.get("/v1/topics", params=query)).json()["data"]
    return len(found) == count and await present(client, f"{topic}.3") == ["ann", "bob"]


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/v1/topics/room.x/presence", token("ann", presence=["room.*"]), 200),
        ("/v1/topics/room.x/presence", token("ann", subscribe=["room.*"]), 403),
        ("/v1/topics/room.x/presence", None, 401),
        ("/v1/topics/room.*/presence", KEY, 400),
        ("/v1/topics/room.x/presence?limit=0", KEY, 400),
        ("/v1/topics", token("ann", presence=["**"]), 403),
        ("/v1/topics?prefix=ä", KEY, 400),
        ("/v1/topics?prefx=a", KEY, 400),
    ],
)
async def test_who_may_ask_over_http(hub: Hub, path: str, key: str | None, status: int) -> None:
    async with httpx.AsyncClient(headers=auth(key) if key else {}, timeout=10) as asker:
        assert (await asker.get(hub.url(path))).status_code == status
