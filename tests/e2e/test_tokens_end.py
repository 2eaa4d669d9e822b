"""Tokens that end: by their time, renewed in band, or revoked on every process at once."""

import asyncio
import base64
import contextlib
import json
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from hub.store import keys
from tests.support.hub import Hub, auth, publish, token
from tests.support.live import SseClient, WsClient
from tests.support.waiting import eventually

BOUND = 1.0
"""Seconds within which a revocation reaches every open connection."""


async def refusal_of(hub: Hub, credential: str, topic: str, index: int) -> tuple[int, int, int | None]:
    """What a new stream, poll and WebSocket get: two statuses and a close code."""
    async with httpx.AsyncClient(headers=auth(credential)) as client:
        stream = await client.get(hub.url(f"/v1/stream?topic={topic}", index))
        poll = await client.get(hub.url(f"/v1/poll?topic={topic}&wait=0", index))
    async with connect(hub.ws_url(index), additional_headers=auth(credential)) as ws:
        return stream.status_code, poll.status_code, await WsClient(ws).closed()


async def made(client: httpx.AsyncClient, topic: str, user: str = "ann", **fields: Any) -> str:
    answer = await client.post("/v1/tokens", json={"user": user, "subscribe": [topic], **fields})
    return answer.json()["data"]["token"]


def claims_of(given: str) -> dict[str, Any]:
    part = given.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


# -- time --------------------------------------------------------------------------------------------------------------


async def test_a_connection_is_told_that_its_token_ends_and_then_closed(hub: Hub, topic: str) -> None:
    granted = token("ann", ttl=3, subscribe=[topic])
    async with (
        WsClient.open(hub, key=None, query=f"?token={granted}") as ws,
        SseClient.open(hub, f"topic={topic}", key=granted) as sse,
        WsClient.open(hub, key=None, query=f"?token={token('ann', ttl=40)}") as longer,
    ):
        await ws.join(topic)
        assert (await ws.next("token_expiring"))["expires_in"] in (0, 1)
        assert await ws.closed() == 4009
        assert time.time() >= claims_of(granted)["exp"]
        assert (await sse.event())["event"] == "hub.connected"
        block = await sse.event()
        assert (block["event"], json.loads(block["data"])["expires_in"]) in [("hub.token_expiring", n) for n in (0, 1)]
        assert "id" not in block
        assert [list(block) for block in await sse.rest()] == [["retry"]]
        assert await longer.quiet() == []


async def test_authenticate_renews_in_band_and_the_old_end_is_no_end(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    old = token("ann", ttl=3, subscribe=[topic])
    async with WsClient.open(hub, key=None, query=f"?token={old}") as ws:
        await ws.join(topic)
        await ws.next("token_expiring")
        answer = await ws.ask("authenticate", token=token("ann", ttl=600, subscribe=[topic]))
        assert answer["type"] == "authenticated"
        assert 590 <= answer["expires_in"] <= 600
        await eventually(lambda: time.time() > claims_of(old)["exp"] + 1, "the old token has ended")
        sent = await publish(client, topic, "still here")
        assert (await ws.next("event"))["event"]["id"] == sent["id"]
        assert await ws.quiet() == []


async def test_a_right_that_the_new_token_lacks_is_lost_with_a_reason(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    first = token("ann", subscribe=[f"{topic}.**"], publish=[f"{topic}.**"])
    async with WsClient.open(hub, key=None, query=f"?token={first}") as ws:
        for room in ("a", "b", "*"):
            await ws.join(f"{topic}.{room}")
        answer = await ws.ask("authenticate", token=token("ann", subscribe=[f"{topic}.a"]))
        assert answer["type"] == "authenticated"
        left = [await ws.next("room_left") for _ in range(2)]
        assert {message["room"] for message in left} == {f"{topic}.b", f"{topic}.*"}
        await eventually(lambda: present(client, topic), "who lost the right to a room is not in it")
        assert all(message["reason"] and "ref" not in message for message in left)
        await publish(client, f"{topic}.b", "unheard")
        await publish(client, f"{topic}.a", "heard")
        assert [m["event"]["data"] for m in await ws.quiet() if m["type"] == "event"] in ([], ["heard"])
        assert (await ws.ask("join_room", room=f"{topic}.b"))["code"] == "FORBIDDEN"
        assert (await ws.ask("broadcast", room=f"{topic}.a", data=1))["code"] == "FORBIDDEN"


async def present(client: httpx.AsyncClient, topic: str) -> bool:
    """Whether the user is where it still may be, and nowhere else."""
    counts = [(await client.get(f"/v1/topics/{topic}.{name}/presence")).json()["data"]["count"] for name in "ab"]
    return counts == [1, 0]


async def test_authenticate_for_another_user_is_refused_and_changes_nothing(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    other_key = (await client.post("/v1/keys", json={"scopes": ["admin"], "app": "elsewhere"})).json()
    async with hub.client(key=other_key["data"]["key"]) as them:
        await them.post("/v1/apps/elsewhere/signing-keys", json={})
        namesake = await made(them, "**")
    async with WsClient.open(hub, key=None, query=f"?token={token('ann', subscribe=[topic])}") as ws:
        await ws.join(topic)
        others = (token("bob", subscribe=["**"]), token(None, subscribe=["**"]), other_key["data"]["key"], namesake)
        for wrong in others:
            assert (await ws.ask("authenticate", token=wrong))["code"] == "FORBIDDEN"
        assert (await ws.ask("authenticate", token=token("ann", ttl=-5)))["code"] == "UNAUTHENTICATED"
        assert (await ws.ask("authenticate", token="nonsense"))["code"] == "UNAUTHENTICATED"
        assert (await ws.ask("join_room", room="any"))["code"] == "FORBIDDEN"
        await publish(client, topic, "still here")
        assert (await ws.next("event"))["event"]["data"] == "still here"


# -- revocation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["jti", "token", "user"])
async def test_a_revoked_token_ends_its_connections_on_every_process_within_a_second_and_opens_none(
    hub: Hub, client: httpx.AsyncClient, topic: str, how: str
) -> None:
    user = f"ann-{how}"
    granted = await made(client, topic, user)
    other = await made(client, topic, "bob")
    what = {"jti": claims_of(granted)["jti"], "token": granted, "user": user}[how]
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(WsClient.open(hub, key=granted, index=n)) for n in (0, 1)]
        streams = [
            await stack.enter_async_context(SseClient.open(hub, f"topic={topic}", key=granted, index=n)) for n in (0, 1)
        ]
        unharmed = [await stack.enter_async_context(WsClient.open(hub, key=other, index=n)) for n in (0, 1)]
        for ws in (*sockets, *unharmed):
            await ws.join(topic)
        for sse in streams:
            await sse.event()
        began = time.monotonic()
        answer = await client.post("/v1/tokens/revoke", json={how: what})
        assert answer.status_code == 200, answer.text
        codes = await asyncio.gather(*(ws.closed() for ws in sockets), *(sse.rest() for sse in streams))
        assert time.monotonic() - began < BOUND
        assert codes[:2] == [4001, 4001]
        for index in (0, 1):
            assert await refusal_of(hub, granted, topic, index) == (401, 401, 4001)
        sent = await publish(client, topic, "for the others")
        for ws in unharmed:
            assert (await ws.next("event"))["event"]["id"] == sent["id"]
            assert (await ws.ask("authenticate", token=granted))["code"] in ("FORBIDDEN", "UNAUTHENTICATED")


async def test_after_all_of_a_user_were_revoked_a_new_token_is_good(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    without_time = token("carl", subscribe=[topic])
    async with WsClient.open(hub, key=without_time) as ws:
        assert (await client.post("/v1/tokens/revoke", json={"user": "carl"})).status_code == 200
        assert await ws.closed() == 4001
    assert (await refusal_of(hub, without_time, topic, 1))[2] == 4001
    async with WsClient.open(hub, key=await made(client, topic, "carl"), index=1) as ws:
        await ws.join(topic)
        # Revoked once more, by the other process: this one too.
        async with hub.client(1) as other:
            await other.post("/v1/tokens/revoke", json={"user": "carl"})
        assert await ws.closed() == 4001


async def test_a_poll_that_waits_is_ended_by_revocation(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    granted = await made(client, topic, "dora")
    async with hub.client(1, granted) as poller:
        waiting = asyncio.ensure_future(poller.get(f"/v1/poll?topic={topic}&wait=25", timeout=30))
        await asyncio.wait([waiting], timeout=0.3)
        assert not waiting.done()
        began = time.monotonic()
        await client.post("/v1/tokens/revoke", json={"token": granted})
        assert (await waiting).status_code == 401
        assert time.monotonic() - began < BOUND


async def test_a_revoked_key_ends_what_it_opened_on_every_process_within_a_second(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    key = (await client.post("/v1/keys", json={"scopes": ["events:subscribe"]})).json()["data"]
    other = (await client.post("/v1/keys", json={"scopes": ["events:subscribe"]})).json()["data"]
    async with (
        WsClient.open(hub, key=key["key"], index=0) as here,
        WsClient.open(hub, key=key["key"], index=1) as there,
        SseClient.open(hub, f"topic={topic}", key=key["key"], index=1) as sse,
        WsClient.open(hub, key=other["key"], index=1) as unharmed,
    ):
        await sse.event()
        began = time.monotonic()
        assert (await client.delete(f"/v1/keys/{key['id']}")).status_code == 204
        assert (await asyncio.gather(here.closed(), there.closed(), sse.rest()))[:2] == [4001, 4001]
        assert time.monotonic() - began < BOUND
        assert (await unharmed.ask("ping"))["type"] == "pong"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "jti"),
        ({"jti": "a", "user": "b"}, "jti"),
        ({"user": ""}, "user"),
        ({"token": "nonsense"}, "token"),
        ({"token": token("ann", secret="another-secret-0123456789-0123456789")}, "token"),
        ({"jti": 7}, "jti"),
        ({"sub": "ann"}, "sub"),
    ],
)
async def test_a_revocation_that_names_nothing_is_refused(
    client: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    answer = await client.post("/v1/tokens/revoke", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["details"][0]["field"] == field


async def test_a_revocation_is_kept_no_longer_than_the_token_lives(hub: Hub, client: httpx.AsyncClient) -> None:
    granted = token("ann", ttl=50)
    with hub.store.client() as store:
        before = set(store.keys(keys.revoked("*", "*").replace("{", "\\{")))  # pyright: ignore[reportArgumentType]
        await client.post("/v1/tokens/revoke", json={"token": granted})
        await client.post("/v1/tokens/revoke", json={"token": token("ann", ttl=-50)})
        (mark,) = set(store.keys(keys.revoked("*", "*").replace("{", "\\{"))) - before  # pyright: ignore[reportArgumentType]
        assert 40 <= store.ttl(mark) <= 50


async def test_a_token_is_revoked_for_its_own_app_only(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    granted = await made(client, topic)
    made_key = await client.post("/v1/keys", json={"scopes": ["admin"], "app": "elsewhere"})
    async with hub.client(key=made_key.json()["data"]["key"]) as them, WsClient.open(hub, key=granted) as ws:
        assert (await them.post("/v1/tokens/revoke", json={"token": granted})).status_code == 400
        for body in ({"jti": claims_of(granted)["jti"]}, {"user": "ann"}):
            assert (await them.post("/v1/tokens/revoke", json=body)).status_code == 200
        async with WsClient.open(hub, key=granted, index=1):
            assert (await ws.ask("ping"))["type"] == "pong"


async def test_a_connection_that_is_opened_while_its_token_is_revoked_does_not_survive(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    """The look-up may come before the revocation and the registration after it, in any order of the two processes."""
    chance = random.Random(7)

    async def open_one(granted: str, index: int) -> int | None:
        await asyncio.sleep(chance.random() * 0.02)
        async with connect(hub.ws_url(index), additional_headers=auth(granted)) as ws:
            return await WsClient(ws).closed()

    for _ in range(15):
        granted = await made(client, topic)
        opening = [asyncio.ensure_future(open_one(granted, n % 2)) for n in range(8)]
        await asyncio.sleep(chance.random() * 0.02)
        await client.post("/v1/tokens/revoke", json={"token": granted})
        assert await asyncio.gather(*opening) == [4001] * 8


# -- a process that was away -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair() -> Iterator[Hub]:
    """Two web processes that a test may stop."""
    with Hub(web=2) as running:
        yield running


@pytest.fixture
async def admin(pair: Hub) -> AsyncIterator[httpx.AsyncClient]:
    async with pair.client(0) as opened:
        yield opened


@pytest.mark.parametrize("how", ["it slept", "it was cut off"])
async def test_a_process_that_missed_the_notice_asks_the_store_when_it_is_back(
    pair: Hub, admin: httpx.AsyncClient, topic: str, how: str
) -> None:
    granted, other = await made(admin, topic), await made(admin, topic, "bob")
    key = (await admin.post("/v1/keys", json={"scopes": ["events:subscribe"]})).json()["data"]
    tenant = f"slept-{'slept' in how:d}"
    theirs = (await admin.post("/v1/keys", json={"role": "admin", "app": tenant})).json()["data"]
    async with (
        WsClient.open(pair, key=granted, index=1) as ws,
        WsClient.open(pair, key=key["key"], index=1) as by_key,
        WsClient.open(pair, key=theirs["key"], index=1) as of_app,
        WsClient.open(pair, key=other, index=1) as unharmed,
    ):
        await unharmed.join(topic)
        pair.webs[1].signal(signal.SIGSTOP)
        try:
            await admin.post("/v1/tokens/revoke", json={"token": granted})
            await admin.delete(f"/v1/keys/{key['id']}")
            await admin.patch(f"/v1/apps/{tenant}", json={"enabled": False})
            with pair.store.client() as store:
                store.xtrim(keys.CONTROL, maxlen=0, approximate=False)
                if how == "it was cut off":
                    store.client_kill_filter(_type="normal", skipme=True)
        finally:
            pair.webs[1].signal(signal.SIGCONT)
        began = time.monotonic()
        assert await asyncio.gather(ws.closed(), by_key.closed(), of_app.closed()) == [4001, 4001, 4003]
        assert time.monotonic() - began < 2.5  # a look a second, and the way back to the store
        sent = await eventually(lambda: published(admin, topic), "the store is reached again")
        assert sent is not None
        assert (await unharmed.next("event"))["event"]["id"] == sent["id"]


async def published(client: httpx.AsyncClient, topic: str) -> dict[str, Any] | None:
    answer = await client.post("/v1/events", json={"topic": topic, "type": "a.b", "data": 1})
    return answer.json()["data"] if answer.status_code == 202 else None
