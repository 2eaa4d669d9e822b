"""Endpoints and deliveries over HTTP, through a real web process and a real worker."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.support.hub import Hub, publish
from tests.support.receiver import Receiver, answer
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def site() -> Iterator[Hub]:
    with Hub(web=1, workers=1, HUB_RETRY_SCHEDULE="0.2") as running:
        yield running


@pytest.fixture
async def web(site: Hub) -> AsyncIterator[httpx.AsyncClient]:
    async with site.client() as opened:
        yield opened
        for one in (await opened.get("/v1/endpoints?limit=500")).json()["data"]:
            await opened.delete(f"/v1/endpoints/{one['id']}")


async def make(web: httpx.AsyncClient, url: str = "http://127.0.0.1:9/", **fields: Any) -> dict[str, Any]:
    response = await web.post("/v1/endpoints", json={"url": url, **fields})
    assert response.status_code == 201, response.text
    return response.json()["data"]


async def test_an_endpoints_life(web: httpx.AsyncClient) -> None:
    made = await make(web, types=["order.*"], retry={"base": 1, "factor": 2, "attempts": 3})
    assert made["secret"].startswith("whsec_")
    assert made["retry"] == {"schedule": [1.0, 2.0]}
    path = f"/v1/endpoints/{made['id']}"
    shown = (await web.get(path)).json()["data"]
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert (await web.get(f"{path}/secret")).json()["data"] == {
        "secret": made["secret"],
        "signature": "v1",
        "previous": [],
    }
    changed = (await web.patch(path, json={"enabled": False, "description": "d"})).json()["data"]
    assert (changed["enabled"], changed["disabled_reason"], changed["types"]) == (False, "manual", ["order.*"])
    listed = (await web.get("/v1/endpoints")).json()
    assert [one["id"] for one in listed["data"]] == [made["id"]]
    assert "secret" not in listed["data"][0]
    assert (await web.delete(path)).json()["data"] == {"id": made["id"], "deleted": True}
    for response in (await web.get(path), await web.patch(path, json={}), await web.delete(path)):
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({}, "url", "VALIDATION_FAILED"),
        ({"url": 5}, "url", "VALIDATION_FAILED"),
        ({"url": "ftp://example.com/"}, "url", "ENDPOINT_URL_FORBIDDEN"),
        ({"url": "http://127.0.0.1/", "orderly": True}, "orderly", "VALIDATION_FAILED"),
        ({"url": "http://127.0.0.1/", "types": "order.*"}, "types", "VALIDATION_FAILED"),
        ({"url": "http://127.0.0.1/", "retry": {"schedule": [1], "steps": 2}}, "retry.steps", "VALIDATION_FAILED"),
        ({"url": "http://127.0.0.1/", "headers": {"Host": "x"}}, "headers.Host", "VALIDATION_FAILED"),
    ],
)
async def test_what_is_wrong_with_an_endpoint_is_named(
    web: httpx.AsyncClient, body: dict[str, Any], field: str, code: str
) -> None:
    response = await web.post("/v1/endpoints", json=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["details"][0]["field"]) == (code, field)


async def test_endpoints_are_listed_in_pages(web: httpx.AsyncClient) -> None:
    ids = {(await make(web))["id"] for _ in range(5)}
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        page = (await web.get("/v1/endpoints", params={"limit": 2, **({"after": cursor} if cursor else {})})).json()
        seen += [one["id"] for one in page["data"]]
        cursor = page["pagination"]["next_cursor"]
        assert page["pagination"]["has_more"] is (cursor is not None)
    assert (len(seen), set(seen)) == (5, ids)
    refused = await web.get("/v1/endpoints", params={"after": "ep_nothing"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "INVALID_CURSOR")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "status=failed", "since=yesterday", "cursor=x", "topic=a", "until=9"]
)
async def test_a_listings_wrong_parameter_is_named(web: httpx.AsyncClient, query: str) -> None:
    response = await web.get(f"/v1/deliveries?{query}")
    assert response.status_code == 400
    assert response.json()["error"]["details"][0]["field"] == query.partition("=")[0]


async def test_credentials_are_needed(site: Hub) -> None:
    async with httpx.AsyncClient(base_url=site.url()) as nobody:
        for method, path in (
            ("GET", "/v1/endpoints"),
            ("POST", "/v1/endpoints"),
            ("DELETE", "/v1/endpoints/ep_1"),
            ("GET", "/v1/deliveries"),
            ("POST", "/v1/deliveries/dlv_1/retry"),
        ):
            assert (await nobody.request(method, path)).status_code == 401


async def test_a_published_event_is_delivered_shown_retried_and_cancelled(web: httpx.AsyncClient) -> None:
    async with Receiver() as receiver:
        receiver.answers["/hook"] = [answer(500, b"no")]
        endpoint = (await make(web, receiver.url()))["id"]
        sent = await publish(web, "orders.42", {"total": 5}, type="order.created")

        async def ended(status: str) -> dict[str, Any]:
            query = {"endpoint": endpoint, "event": sent["id"], "status": status}
            return (await _until_listed(web, query))[0]

        one = await ended("succeeded")
        assert one["event"] == {"id": sent["id"], "type": "order.created", "topic": "orders.42"}
        shown = (await web.get(f"/v1/deliveries/{one['id']}")).json()["data"]
        assert [(made["number"], made["status"]) for made in shown["attempts"]] == [(1, 500), (2, 200)]
        assert receiver.got[0].event["data"] == {"total": 5}
        retried = await web.post(f"/v1/deliveries/{one['id']}/retry")
        assert (retried.status_code, retried.json()["data"]["status"]) == (202, "pending")
        await receiver.until(3)
        await ended("succeeded")
        refused = await web.post(f"/v1/deliveries/{one['id']}/cancel")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "CONFLICT")
        await web.patch(f"/v1/endpoints/{endpoint}", json={"enabled": False})
        await publish(web, "orders.43")
        (waiting,) = await _until_listed(web, {"status": "pending"})
        cancelled = await web.post(f"/v1/deliveries/{waiting['id']}/cancel")
        assert (cancelled.status_code, cancelled.json()["data"]["status"]) == (200, "cancelled")


async def _until_listed(web: httpx.AsyncClient, query: dict[str, str]) -> list[dict[str, Any]]:
    """Wait until there are such deliveries."""

    async def look() -> list[dict[str, Any]]:
        return (await web.get("/v1/deliveries", params=query)).json()["data"]

    return await eventually(look, f"a delivery is listed by {query}")


async def test_an_endpoints_figures_follow_its_attempts(web: httpx.AsyncClient, topic: str) -> None:
    async with Receiver() as receiver:
        receiver.answers["/hook"] = [answer(500)]
        made = await make(web, receiver.url(), topics=[topic])
        for n in range(3):
            await publish(web, topic, n)

        async def hour() -> dict[str, Any] | None:
            stats = (await web.get(f"/v1/endpoints/{made['id']}/stats")).json()["data"]
            return stats["windows"]["1h"] if stats["backlog"]["total"] == 0 else None

        await receiver.until(4)
        window = await eventually(hour, "everything has ended")
        assert window is not None
        assert (window["attempts"], window["success_rate"], window["succeeded"]) == (4, 0.75, 3)
        assert window["answers"] == {"2xx": 3, "3xx": 0, "4xx": 0, "5xx": 1, "none": 0}
    assert (await web.get("/v1/endpoints/ep_none/stats")).status_code == 404
