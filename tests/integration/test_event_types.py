"""The catalogue of event types: its routes, and what is published checked against its schemas on every way in."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from hub.core.errors import Conflict
from hub.core.event_type import MAX_TYPES, EventTypeInput
from hub.store.catalogue import Catalogue, Checked
from hub.store.connect import Link
from hub.store.paging import Window
from tests.support.hub import Hub, publish
from tests.support.live import WsClient
from tests.support.receiver import Receiver
from tests.support.waiting import eventually

ORDER = {
    "type": "object",
    "properties": {"total": {"type": "number", "minimum": 0}, "lines": {"items": {"required": ["sku"]}}},
    "required": ["total"],
}


@pytest.fixture(scope="module")
def site() -> Iterator[Hub]:
    with Hub(web=2, workers=1) as running:
        yield running


@pytest.fixture
async def web(site: Hub) -> AsyncIterator[httpx.AsyncClient]:
    async with site.client() as opened:
        yield opened
        for one in (await opened.get("/v1/event-types?limit=500")).json()["data"]:
            await opened.delete(f"/v1/event-types/{one['type']}")


async def put(web: httpx.AsyncClient, name: str, **fields: Any) -> httpx.Response:
    return await web.put(f"/v1/event-types/{name}", json=fields)


def details(response: httpx.Response) -> dict[str, str]:
    assert response.status_code == 400, response.text
    return {one["field"]: one["message"] for one in response.json()["error"]["details"]}


def event(topic: str, data: Any, **fields: Any) -> dict[str, Any]:
    return {"topic": topic, "type": "order.created", "data": data, **fields}


async def test_a_types_life(web: httpx.AsyncClient) -> None:
    made = await put(web, "order.created", description="An order", schema=ORDER, example={"total": 7})
    assert made.status_code == 201, made.text
    shown = (await web.get("/v1/event-types/order.created")).json()["data"]
    assert shown == made.json()["data"]
    assert (shown["type"], shown["schema"], shown["example"]) == ("order.created", ORDER, {"total": 7})
    changed = await put(web, "order.created", description="Another")
    assert changed.status_code == 200
    assert (changed.json()["data"]["schema"], changed.json()["data"]["created_at"]) == (None, shown["created_at"])
    await put(web, "a/b:c+d.e")
    await put(web, "cart.filled")
    first = (await web.get("/v1/event-types?limit=2")).json()
    rest = (await web.get("/v1/event-types", params={"after": first["pagination"]["next_cursor"]})).json()
    assert [one["type"] for one in (*first["data"], *rest["data"])] == ["a/b:c+d.e", "cart.filled", "order.created"]
    assert rest["pagination"]["has_more"] is False
    assert (await web.delete("/v1/event-types/a/b:c+d.e")).status_code == 204
    for response in (await web.get("/v1/event-types/a/b:c+d.e"), await web.delete("/v1/event-types/a/b:c+d.e")):
        assert response.status_code == 404


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("hub.mine", {}, "type"),
        ("not a type", {}, "type"),
        ("order.created", {"description": "x" * 1001}, "description"),
        ("order.created", {"schema": []}, "schema"),
        ("order.created", {"schema": {"type": "strange"}}, "schema.type"),
        ("order.created", {"schema": {"$ref": "https://example.com/"}}, "schema.$ref"),
        ("order.created", {"schema": {"pattern": "(?=x)"}}, "schema.pattern"),
        ("order.created", {"schema": ORDER, "example": {"total": "7"}}, "example.total"),
        ("order.created", {"example": "x" * 20_000}, "example"),
        ("order.created", {"examples": []}, "examples"),
    ],
)
async def test_what_is_wrong_with_a_type_is_named(
    web: httpx.AsyncClient, name: str, body: dict[str, Any], field: str
) -> None:
    assert list(details(await put(web, name, **body))) == [field]
    assert (await web.get("/v1/event-types")).json()["data"] == []


async def test_what_does_not_fit_is_refused_by_its_path_and_nothing_is_appended(
    web: httpx.AsyncClient, topic: str
) -> None:
    await put(web, "order.created", schema=ORDER)
    alone = await web.post("/v1/events", json=event(topic, {"total": -1, "lines": [{"sku": 1}, {}]}))
    assert details(alone) == {
        "data.total": "breaks the schema's minimum: 0",
        "data.lines[1]": "'sku' is a required property",
    }
    batch = [event(topic, {"total": 1}), event(topic, {}), event(topic, {"total": 2})]
    assert list(details(await web.post("/v1/events", json=batch))) == ["[1].data"]
    assert list(details(await web.post("/v1/events", json=event(topic, {}, ephemeral=True)))) == ["data"]
    cloud: dict[str, Any] = {
        "specversion": "1.0",
        "id": "a",
        "source": "/s",
        "type": "order.created",
        "subject": topic,
        "data": {},
    }
    headers = {"content-type": "application/cloudevents+json"}
    assert list(details(await web.post("/v1/events", json=cloud, headers=headers))) == ["data"]
    binary = {"ce-specversion": "1.0", "ce-id": "b", "ce-source": "/s", "ce-type": "order.created", "ce-topic": topic}
    assert list(details(await web.post("/v1/events", json={"total": "7"}, headers=binary))) == ["data.total"]
    assert (await web.get("/v1/events", params={"topic": topic})).json()["data"] == []
    assert (await web.post("/v1/events", json=event(topic, {"total": 1}))).status_code == 202
    await publish(web, topic, {"anything": 1})  # of another type


async def test_a_broadcast_is_checked_too(web: httpx.AsyncClient, site: Hub, topic: str) -> None:
    await put(web, "order.created", schema=ORDER)
    async with WsClient.open(site) as ws:
        refused = await ws.ask("broadcast", room=topic, event_type="order.created", data={})
        assert (refused["type"], refused["code"]) == ("error", "VALIDATION_FAILED")
        assert "data: 'total' is a required property" in refused["message"]
        good = await ws.ask("broadcast", room=topic, event_type="order.created", data={"total": 1})
        assert good["type"] == "ack"


async def test_a_direct_message_is_checked_too(web: httpx.AsyncClient, site: Hub) -> None:
    await put(web, "direct_message", schema=ORDER)
    async with WsClient.open(site) as ws:
        refused = await ws.ask("direct_message", user="bob", data={})
        assert (refused["type"], refused["code"]) == ("error", "VALIDATION_FAILED")
        assert "data: 'total' is a required property" in refused["message"]
        assert (await ws.ask("direct_message", user="bob", data={"total": 1}))["type"] == "ack"
    assert (await web.delete("/v1/event-types/direct_message")).status_code == 204


async def test_a_changed_schema_counts_for_the_next_event_on_every_process(
    web: httpx.AsyncClient, site: Hub, topic: str
) -> None:
    await put(web, "other.type")
    async with site.client(1) as other:
        await eventually(lambda: _refuses(web, other, topic), "the app's first type is known to the other process")
        for maximum in range(5):
            await put(web, "order.created", schema={"properties": {"total": {"maximum": maximum}}})
            for client in (web, other):
                body = event(topic, {"total": maximum + 1})
                assert list(details(await client.post("/v1/events", json=body))) == ["data.total"]
                assert (await client.post("/v1/events", json=event(topic, {"total": maximum}))).status_code == 202
        await web.delete("/v1/event-types/order.created")
        assert (await other.post("/v1/events", json=event(topic, {"total": 100}))).status_code == 202


async def test_a_test_event_carries_the_types_example(web: httpx.AsyncClient) -> None:
    await put(web, "order.created", schema=ORDER, example={"total": 42})
    async with Receiver() as receiver:
        made = (await web.post("/v1/endpoints", json={"url": receiver.url()})).json()["data"]
        await web.post(f"/v1/endpoints/{made['id']}/test", json={"type": "order.created"})
        assert (await receiver.until(1))[0].event["data"] == {"total": 42}
        await web.delete(f"/v1/endpoints/{made['id']}")


async def test_an_app_without_types_costs_the_store_nothing(link: Link) -> None:
    mine = Catalogue(link)
    await mine.look()
    assert not mine.has("default")
    for n in range(3):
        await link.call("HSET", "hub:{cfg}:types", "", n, "other", n)
        await mine.look()
    assert (mine.has("default"), mine.has("other")) == (False, True)
    await mine.check("other", [Checked("order.created", b"not even JSON", "data")])


async def test_the_number_of_types_is_bounded(link: Link) -> None:
    mine = Catalogue(link)
    await link.pipeline([("HSET", "hub:{cfg}:types:default", f"t{n}", "{}") for n in range(MAX_TYPES)])
    with pytest.raises(Conflict):
        await mine.put("default", "one.more", EventTypeInput())


async def _refuses(web: httpx.AsyncClient, other: httpx.AsyncClient, topic: str) -> bool:
    await put(web, "order.created", schema=False)
    return (await other.post("/v1/events", json=event(topic, 1))).status_code == 400


async def test_the_types_of_an_app_that_is_deleted_go_with_it(link: Link) -> None:
    mine = Catalogue(link)
    for app in ("one", "other"):
        await mine.put(app, "order.created", EventTypeInput(schema=False))
    await mine.purge("one")
    assert await mine.page("one", Window(10)) == ([], None, None)
    await mine.check("one", [Checked("order.created", b"1", "data")])
    assert len((await mine.page("other", Window(10)))[0]) == 1
