"""A web process dies between what it did and saying so: the retry does nothing twice, and says what was done."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any, cast

import httpx

from tests.support.hub import Hub, free_port, whole_log
from tests.support.stall import Stall
from tests.support.waiting import eventually

KEY = {"idempotency-key": "once"}


@contextlib.asynccontextmanager
async def dying(hub: Hub, name: str, *, done: bool, method: str, path: str, body: Any) -> AsyncGenerator[None]:
    """Have a second process take the request, and kill it when it calls the script."""
    async with Stall.at(hub.store.url, name, done=done) as line:
        hub.environment["HUB_REDIS_URL"] = line.url
        hub.ports.append(free_port())
        hub.webs.append(hub.start_web(hub.ports[-1]))
        await asyncio.to_thread(hub.until_ready, 1)
        async with hub.client(1) as doomed:
            request = asyncio.ensure_future(doomed.request(method, path, json=body, headers=KEY))
            await asyncio.wait_for(line.stalled.wait(), 10)
            if done:  # what was called has happened, too
                await eventually(lambda: _appended(hub) > 0, "the store has done it")
            hub.webs[1].kill()
            with contextlib.suppress(httpx.HTTPError):
                await request
        yield


async def test_killed_between_the_append_and_its_answer_a_publish_is_repeated_without_a_second_event() -> None:
    with Hub() as hub:
        batch = [{"topic": "orders.1", "type": "order.created", "data": n} for n in range(3)]
        async with (
            dying(hub, "append", done=True, method="POST", path="/v1/events", body=batch),
            hub.client() as client,
        ):
            other = await client.post("/v1/events", json=batch[:1], headers=KEY)
            assert (other.status_code, other.json()["error"]["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
            again = await client.post("/v1/events", json=batch, headers=KEY)
            assert again.status_code == 202
            assert again.headers["idempotency-replay"] == "true"
            assert await whole_log(client) == [one["id"] for one in again.json()["data"]]


async def test_killed_before_its_answer_was_stored_a_creation_is_repeated_without_a_second_one() -> None:
    with Hub() as hub:
        body = {"url": "http://127.0.0.1:9/", "topics": ["a.*"]}
        async with (
            dying(hub, "request_end", done=False, method="POST", path="/v1/endpoints", body=body),
            hub.client() as client,
        ):
            (made,) = (await client.get("/v1/endpoints")).json()["data"]
            busy = await client.post("/v1/endpoints", json=body, headers=KEY)
            assert (busy.status_code, busy.json()["error"]["code"]) == (409, "REQUEST_IN_PROGRESS")
            assert 0 < int(busy.headers["retry-after"]) <= 10
            _end_holds(hub)
            again = await client.post("/v1/endpoints", json=body, headers=KEY)
            assert again.status_code == 201
            assert again.json()["data"]["id"] == made["id"]
            kept = await client.get(f"/v1/endpoints/{made['id']}/secret")
            assert again.json()["data"]["secret"] == kept.json()["data"]["secret"]
            assert len((await client.get("/v1/endpoints")).json()["data"]) == 1
            replayed = await client.post("/v1/endpoints", json=body, headers=KEY)
            assert replayed.headers["idempotency-replay"] == "true"
            assert replayed.content == again.content


def _end_holds(hub: Hub) -> None:
    """As if the time had passed that a request is its process's."""
    with hub.store.client() as store:
        for name in cast("list[bytes]", store.keys("hub:{p*}:k:*")):
            store.hset(name.decode(), "u", "1")


def _appended(hub: Hub) -> int:
    with hub.store.client() as store:
        return sum(store.xlen(name) for name in cast("list[bytes]", store.keys("hub:{p*}:log")))
