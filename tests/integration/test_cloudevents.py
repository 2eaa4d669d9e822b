"""CloudEvents through a running hub: published by the SDK, delivered to the SDK."""

from typing import Any

import httpx
import msgspec
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from standardwebhooks.webhooks import Webhook

from hub.core.cloudevents import STRUCTURED
from tests.support.hub import Hub, publish
from tests.support.live import SseClient
from tests.support.receiver import Receiver


def event(topic: str, id: str, **attributes: Any) -> CloudEvent:
    return CloudEvent(
        {"id": id, "source": "/shop", "type": "order.created", "topic": topic, "datacontenttype": "application/json",
         **attributes},
        {"größe": 7},
    )  # fmt: skip


async def test_what_the_sdk_publishes_in_any_mode_is_stored_alike(client: httpx.AsyncClient, topic: str) -> None:
    structured, binary = to_structured_event(event(topic, "s", shop="a")), to_binary_event(event(topic, "b", shop="a"))
    for message in (structured, binary):
        answer = await client.post("/v1/events", content=message.body, headers=message.headers)
        assert answer.status_code == 202, answer.text
    batch = [msgspec.json.decode(to_structured_event(event(topic, id)).body) for id in ("x", "y")]
    answer = await client.post(
        "/v1/events",
        content=msgspec.json.encode(batch),
        headers={"content-type": "application/cloudevents-batch+json; charset=utf-8"},
    )
    assert [one["id"] for one in answer.json()["data"]] == ["x", "y"]
    listed = (await client.get("/v1/events", params={"topic": topic, "order": "asc"})).json()["data"]
    assert [one["id"] for one in listed] == ["s", "b", "x", "y"]
    assert {(one["source"], one["type"], one["data"]["größe"]) for one in listed} == {("/shop", "order.created", 7)}
    assert [one.get("extensions") for one in listed] == [{"shop": "a"}, {"shop": "a"}, None, None]
    again = await client.post("/v1/events", content=structured.body, headers=structured.headers)
    assert again.json()["data"]["duplicate"] is True


async def test_what_is_wrong_with_a_cloudevent_is_named(client: httpx.AsyncClient, topic: str) -> None:
    given = {"specversion": "1.0", "id": "a", "source": "/s", "type": "order.created", "topic": topic}
    kind = {"content-type": "application/cloudevents+json"}
    for body, field in (({**given, "specversion": "0.3"}, "specversion"), ({**given, "topic": "a b"}, "topic")):
        answer = await client.post("/v1/events", content=msgspec.json.encode(body), headers=kind)
        assert (answer.status_code, answer.json()["error"]["details"][0]["field"]) == (400, field)
    headers = {f"ce-{name}": value for name, value in given.items()} | {"content-type": "text/plain"}
    answer = await client.post("/v1/events", content=b"hello", headers=headers)
    assert (answer.status_code, answer.json()["error"]["details"][0]["field"]) == (400, "datacontenttype")
    answer = await client.post("/v1/events", content=b"hello", headers={"content-type": "text/plain"})
    assert answer.status_code == 415


@pytest.mark.parametrize("format", ["cloudevents-binary", "cloudevents-structured"])
@pytest.mark.parametrize("transform", [None, '{sum: data."größe"}'])
async def test_an_endpoint_gets_cloudevents_that_the_sdk_reads_and_whose_signature_verifies(
    client: httpx.AsyncClient, topic: str, format: str, transform: str | None
) -> None:
    async with Receiver() as receiver:
        made = await client.post(
            "/v1/endpoints",
            json={"url": receiver.url(), "topics": [topic], "format": format, "transform": transform},
        )
        assert made.status_code == 201, made.text
        assert made.json()["data"]["format"] == format
        sent = event(topic, "e", subject="ein Größe 100%")
        message = to_structured_event(sent)
        assert (await client.post("/v1/events", content=message.body, headers=message.headers)).status_code == 202
        (got,) = await receiver.until(1)
        await client.delete(f"/v1/endpoints/{made.json()['data']['id']}")
        Webhook(made.json()["data"]["secret"]).verify(got.body, got.headers, json_parse=False)
        read = from_http_event(HTTPMessage(got.headers, got.body))
        assert read.get_data() == ({"größe": 7} if transform is None else {"sum": 7})
        assert (read.get_id(), read.get_source(), read.get_type()) == ("e", "/shop", "order.created")
        assert (read.get_subject(), read.get_extension("topic")) == ("ein Größe 100%", topic)
        assert read.get_time() == sent.get_time()
        assert got.headers["webhook-id"] == "e"


async def test_a_stream_of_cloudevents_is_read_by_the_sdk_and_resumes_by_the_same_ids(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    async def read(sse: SseClient) -> CloudEvent:
        block = await sse.event()
        assert block.get("event") in (None, "order.created")
        found = from_http_event(HTTPMessage({"content-type": STRUCTURED}, block["data"].encode()))
        assert isinstance(found, CloudEvent)
        return found

    query = f"topic={topic}&topic={topic}.*"
    async with SseClient.open(hub, f"{query}&format=cloudevents&named=1") as sse:
        assert (await sse.event())["event"] == "hub.connected"
        message = to_structured_event(event(topic, "ce", shop="a", subject="42"))
        await client.post("/v1/events", content=message.body, headers=message.headers)
        first = await read(sse)
        assert first.get_attributes() == {**event(topic, "ce", shop="a", subject="42").get_attributes()} | {
            "time": first.get_time()
        }
        assert first.get_data() == {"größe": 7}
        sent = await publish(client, f"{topic}.x", [1, "größe"], type="order.created")
        second = await read(sse)
        assert (second.get_id(), second.get_source(), second.get_extension("topic")) == (
            sent["id"],
            "hub",
            f"{topic}.x",
        )
        assert second.get_data() == [1, "größe"]
        assert sse.id == sent["cursor"]
        await publish(client, topic, "gone", type="order.created", ephemeral=True)
        assert (await read(sse)).get_data() == "gone"
        assert sse.id == sent["cursor"]
    await publish(client, topic, 3)
    async with SseClient.open(hub, query, index=1, last_event_id=sse.id) as plain:
        await plain.event()
        (third,) = await plain.data(1)
        assert (third["data"], third["topic"]) == (3, topic)
    async with SseClient.open(hub, f"{query}&format=cloudevents", index=1, last_event_id=sse.id) as again:
        await again.event()
        assert (await read(again)).get_id() == third["id"]
        assert again.id == plain.id


@pytest.mark.parametrize("path", ["/v1/stream?topic=a&format=xml", "/v1/poll?topic=a&format=cloudevents"])
async def test_another_format_is_refused_by_name(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["error"]["details"][0]["field"]) == (400, "format")
