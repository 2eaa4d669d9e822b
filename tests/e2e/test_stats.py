"""`GET /v1/stats`: an app's own figures, whichever process is asked."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.support.hub import KEY, Hub, auth, publish
from tests.support.live import SseClient, WsClient
from tests.support.receiver import Receiver, answer
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def counted() -> Iterator[Hub]:
    """A hub of these tests' own: they count what it does."""
    with Hub(web=2, workers=1, HUB_RETRY_SCHEDULE="0.05") as running:
        yield running


@pytest.fixture
async def site() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


async def tenant(hub: Hub, app: str, role: str = "admin") -> str:
    """A key of another app."""
    async with hub.client() as root:
        made = await root.post("/v1/keys", json={"app": app, "role": role})
        return made.json()["data"]["key"]


async def stats(client: httpx.AsyncClient) -> dict[str, Any]:
    answered = await client.get("/v1/stats")
    assert answered.status_code == 200, answered.text
    return answered.json()["data"]


def shows(client: httpx.AsyncClient, wanted: Callable[[dict[str, Any]], bool]) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return wanted(await stats(client))

    return look


async def test_what_passes_through_an_app_is_counted_over_all_processes(counted: Hub, site: Receiver) -> None:
    key, other = await tenant(counted, "busy"), await tenant(counted, "idle")
    site.answers["/bad"] = [answer(500)] * 100
    async with (
        counted.client(0, key) as one,
        counted.client(1, key) as two,
        counted.client(1, other) as stranger,
        WsClient.open(counted, key=key) as ws,
        SseClient.open(counted, "topic=**", key=key),
    ):
        await ws.join("stats.room")
        for path in ("/good", "/bad"):
            made = await one.post("/v1/endpoints", json={"url": site.url(path), "topics": ["stats.*"]})
            assert made.status_code == 201, made.text
        await one.patch(f"/v1/endpoints/{(await idle_endpoint(one, site))}", json={"enabled": False})
        for n in range(3):
            await publish((one, two)[n % 2], "stats.room", n, id=f"event-{n}")
        await publish(two, "stats.room", 0, id="event-0")  # known already, so nothing is appended

        def all_is_counted(told: dict[str, Any]) -> bool:
            hour, standing = told["traffic"]["1h"], told["standing"]
            return bool(
                hour["succeeded"] == 3
                and hour["exhausted"] == 3
                and told["connections"] == 2
                and standing
                and standing["states"] == {"enabled": 2, "manual": 1}
                and standing["backlog"]["total"] == 0
            )

        for client in (one, two):
            await eventually(shows(client, all_is_counted), "all of it is counted")
        told = await stats(two)
        assert told["app"] == "busy"
        assert told["endpoints"] == 3
        for name in ("total", "1h", "24h", "7d"):
            found = told["traffic"][name]
            # 3 exhausted deliveries are also 3 operational events, which are appended too.
            assert (found["events"], found["attempts"], found["success_rate"]) == (6, 9, 0.3333)
        assert told["rate"]["attempts"] > 0
        assert (await stats(stranger))["traffic"]["total"]["events"] == 0
        assert {name: (await stats(stranger))[name] for name in ("app", "connections", "topics", "endpoints")} == {
            "app": "idle", "connections": 0, "topics": 0, "endpoints": 0,
        }  # fmt: skip
    async with counted.client(1, key) as late:
        await eventually(shows(late, lambda told: told["connections"] == 0), "who has left isn't counted")


async def idle_endpoint(client: httpx.AsyncClient, site: Receiver) -> str:
    made = await client.post("/v1/endpoints", json={"url": site.url("/idle"), "topics": ["nothing"]})
    return made.json()["data"]["id"]


async def test_what_is_owed_and_since_when_is_told(counted: Hub) -> None:
    key = await tenant(counted, "owing")
    async with counted.client(0, key) as client:
        body = {"url": "http://127.0.0.1:1/", "topics": ["owed.*"], "retry": {"schedule": [600]}}
        (await client.post("/v1/endpoints", json=body)).raise_for_status()
        await publish(client, "owed.x")

        def is_owed(told: dict[str, Any]) -> bool:
            return told["standing"] is not None and told["standing"]["backlog"]["retrying"] == 1

        await eventually(shows(client, is_owed), "the retry is owed")
        standing = (await stats(client))["standing"]
        assert standing["backlog"]["total"] == 1
        assert standing["oldest_owed_at"] is None  # it was sent once
        assert standing["next_retry_at"] > standing["counted_at"]


@pytest.mark.parametrize(
    ("role", "status"), [("admin", 200), ("operator", 200), ("publisher", 403), ("subscriber", 403)]
)
async def test_who_looks_after_the_app_may_see_them(counted: Hub, role: str, status: int) -> None:
    key = await tenant(counted, "roles", role)
    async with httpx.AsyncClient(base_url=counted.url()) as client:
        assert (await client.get("/v1/stats", headers=auth(key))).status_code == status
        assert (await client.get("/v1/stats")).status_code == 401
        some = await client.get("/v1/stats?fields=app,connections", headers=auth(KEY))
        assert some.json()["data"].keys() == {"app", "connections"}
