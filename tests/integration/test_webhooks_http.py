"""Endpoints and deliveries over HTTP, through a real web process and a real worker."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

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
    assert (await web.delete(path)).status_code == 204
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
        ({"url": "http://127.0.0.1/", "headers": {"x-a": "b\r\nx-c: d"}}, "headers.x-a", "VALIDATION_FAILED"),
        ({"url": "http://127.0.0.1/", "format": "xml"}, "format", "VALIDATION_FAILED"),
        ({"url": "http://127.0.0.1/", "signature": "v2"}, "signature", "VALIDATION_FAILED"),
        ({"url": "http://127.0.0.1/", "filter": "a ||"}, "filter", "VALIDATION_FAILED"),
        ({"url": "http://127.0.0.1/", "transform": "a ||"}, "transform", "VALIDATION_FAILED"),
        ({"url": "http://127.0.0.1/", "rate_limit": {"limit": 0}}, "rate_limit.limit", "VALIDATION_FAILED"),
        ({"url": "http://127.0.0.1/", "max_in_flight": 1001}, "max_in_flight", "VALIDATION_FAILED"),
        ({"url": "http://127.0.0.1/", "max_backlog": 0}, "max_backlog", "VALIDATION_FAILED"),
        ({"url": "http://127.0.0.1/", "timeout": 121}, "timeout", "VALIDATION_FAILED"),
        ({"url": "http://127.0.0.1/", "retry": {"schedule": [0]}}, "retry.schedule", "VALIDATION_FAILED"),
        ({"url": "http://ann:secret@127.0.0.1/"}, "url", "VALIDATION_FAILED"),
        ({"url": "http://10.0.0.1/"}, "url", "ENDPOINT_URL_FORBIDDEN"),
        ({"url": "http://[::ffff:10.0.0.1]/"}, "url", "ENDPOINT_URL_FORBIDDEN"),
        ({"url": "http://partner.example:25/"}, "url", "ENDPOINT_URL_FORBIDDEN"),
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


async def test_a_test_event_goes_to_one_endpoint_alone_and_is_shown_as_a_delivery(
    web: httpx.AsyncClient, topic: str
) -> None:
    async with Receiver() as receiver:
        made = await make(web, receiver.url(), topics=[topic], filter="type == 'never'")
        await make(web, receiver.url("/other"), topics=["**", "hub.**"])
        sent = await web.post(f"/v1/endpoints/{made['id']}/test")
        assert sent.status_code == 202, sent.text
        delivery = sent.json()["data"]
        assert (delivery["origin"], delivery["status"], delivery["event"]["type"]) == ("test", "pending", "hub.test")
        (got,) = await receiver.until(1)
        assert Webhook(made["secret"]).verify(got.body, got.headers) == got.event
        assert got.event["id"] == delivery["event"]["id"]

        async def succeeded() -> dict[str, Any] | None:
            shown = (await web.get(f"/v1/deliveries/{delivery['id']}")).json()["data"]
            return shown if shown["status"] == "succeeded" else None

        shown = await eventually(succeeded, "the test event has arrived")
        assert shown is not None
        assert [one["status"] for one in shown["attempts"]] == [200]
        chosen = (await web.post(f"/v1/endpoints/{made['id']}/test", json={"type": "order.paid"})).json()["data"]
        assert (await receiver.until(2))[1].event["type"] == "order.paid"
        listed = (await web.get("/v1/deliveries", params={"endpoint": made["id"]})).json()["data"]
        assert [one["id"] for one in listed] == [chosen["id"], delivery["id"]]
        assert receiver.at("/other") == []
        assert (await web.get(f"/v1/events/{delivery['event']['id']}")).status_code == 404
        await web.patch(f"/v1/endpoints/{made['id']}", json={"enabled": False})
        assert (await web.post(f"/v1/endpoints/{made['id']}/test")).status_code == 409
        refused = await web.post(f"/v1/endpoints/{made['id']}/test", json={"type": "not a type"})
        assert refused.json()["error"]["details"][0]["field"] == "type"
    assert (await web.post("/v1/endpoints/ep_none/test")).status_code == 404


async def test_what_failed_is_recovered_and_what_matched_is_replayed_by_jobs(
    web: httpx.AsyncClient, topic: str
) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    async with Receiver() as receiver:
        early = await publish(web, topic, "early")
        receiver.answers["/hook"] = [answer(500)] * 4
        made = await make(web, receiver.url(), topics=[topic])
        ids = {(await publish(web, topic, n))["id"] for n in range(2)}
        await receiver.until(4)
        path = f"/v1/endpoints/{made['id']}"
        query = {"endpoint": made["id"], "status": "exhausted"}
        await eventually(lambda: _count(web, query, 2), "both are exhausted")
        begun = await web.post(f"{path}/recover", json={"since": before.isoformat()})
        assert begun.status_code == 202, begun.text
        job = await _ended(web, begun.json()["data"]["id"])
        assert (job["kind"], job["status"], job["owed"], job["progress"]) == ("recover", "completed", 2, 1.0)
        assert {got.headers["webhook-id"] for got in (await receiver.until(6))[4:]} == ids
        replay = (await web.post(f"{path}/replay", json={"since": before.isoformat()})).json()["data"]
        assert (await _ended(web, replay["id"]))["owed"] == 3
        assert {got.headers["webhook-id"] for got in (await receiver.until(9))[6:]} == {*ids, early["id"]}
        assert [one["id"] for one in (await web.get(f"{path}/jobs")).json()["data"]] == [replay["id"], job["id"]]
        assert (await web.post(f"/v1/jobs/{job['id']}/cancel")).status_code == 409


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "since"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-01-31T08:00:00"}, "since"),
        ({"since": "2999-01-31T08:00:00Z"}, "since"),
        ({"since": "2026-01-31T08:00:00Z", "until": "2026-01-30T08:00:00Z"}, "until"),
        ({"since": "2026-01-31T08:00:00Z", "types": []}, "types"),
    ],
)
async def test_what_is_wrong_with_a_span_is_named(web: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    made = await make(web)
    for kind in ("recover", "replay"):
        response = await web.post(f"/v1/endpoints/{made['id']}/{kind}", json=body)
        assert response.status_code == 400, response.text
        assert response.json()["error"]["details"][0]["field"] == field


async def _ended(web: httpx.AsyncClient, job: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        shown = (await web.get(f"/v1/jobs/{job}")).json()["data"]
        return shown if shown["status"] != "running" else None

    ended = await eventually(look, "the job has ended")
    assert ended is not None
    return ended


async def _count(web: httpx.AsyncClient, query: dict[str, str], count: int) -> bool:
    return len((await web.get("/v1/deliveries", params=query)).json()["data"]) == count
