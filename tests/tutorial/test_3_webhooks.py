"""Part 3: webhooks. A partner registers a URL; every event that its filters match is owed to it, until it has it."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.support.hub import Hub, publish
from tests.support.live import SseClient
from tests.support.receiver import Receiver, answer
from tests.support.waiting import eventually

SOON = {"schedule": [0.1, 0.3]}
"""Retries after 0.1 s and 0.3 s, for tests. Without `retry`, the deployment's schedule: ten attempts in three days."""


@pytest.fixture
async def partner() -> AsyncIterator[Receiver]:
    """A partner's server: it keeps what it gets, and answers 200 unless it was told otherwise."""
    async with Receiver() as receiver:
        yield receiver


async def register(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    made = await client.post("/v1/endpoints", json=fields)
    assert made.status_code == 201, made.text
    return made.json()["data"]


async def delivery_of(client: httpx.AsyncClient, event: dict[str, Any], status: str) -> dict[str, Any]:
    """The event's delivery with its attempts, once it has come to this status."""

    found: list[dict[str, Any]] = []

    async def is_so() -> bool:
        query = {"event": event["id"], "status": status}
        found[:] = (await client.get("/v1/deliveries", params=query)).json()["data"]
        return bool(found)

    await eventually(is_so, f"the delivery is {status}")
    return (await client.get(f"/v1/deliveries/{found[0]['id']}")).json()["data"]


async def test_an_endpoint_gets_what_its_filters_match_and_signed(
    client: httpx.AsyncClient, topic: str, partner: Receiver
) -> None:
    """An endpoint is a URL with filters on types and topics. The answer that makes it carries its secret; give that to
    the partner."""
    endpoint = await register(client, url=partner.url(), types=["order.*"], topics=[f"{topic}.**"])
    await publish(client, f"{topic}.42", {"total": 0}, type="visit.counted")
    event = await publish(client, f"{topic}.42", {"total": 7}, type="order.paid")
    (got,) = await partner.until(1)

    # The body is the event. Three headers let the partner check it, as the Standard Webhooks specification says: any of
    # its libraries will do. The check refuses what was changed on the way and what is older than five minutes.
    verifier = Webhook(endpoint["secret"])
    body = verifier.verify(got.body.decode(), got.headers)
    assert body == {"id": event["id"], "type": "order.paid", "topic": f"{topic}.42", "timestamp": event["timestamp"],
                    "data": {"total": 7}}  # fmt: skip
    with pytest.raises(WebhookVerificationError):
        verifier.verify(got.body.decode().replace("7", "700"), got.headers)
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"].startswith("Hub/")


async def test_a_failure_is_tried_again_and_every_attempt_can_be_looked_up(
    client: httpx.AsyncClient, topic: str, partner: Receiver
) -> None:
    """2xx means delivered; anything else, and no answer at all, is tried again on the schedule. A delivery says how it
    stands, and keeps what the partner answered."""
    partner.answers["/hook"] = [answer(500, b"out of disk"), answer(302, location="/elsewhere")]
    await register(client, url=partner.url(), topics=[topic], retry=SOON)
    event = await publish(client, topic, "parcel")
    attempts = await partner.until(3)
    delivery = await delivery_of(client, event, "succeeded")
    assert [attempt.get("status") for attempt in delivery["attempts"]] == [500, 302, 200]
    assert delivery["attempts"][0]["body"] == "out of disk"
    assert delivery["attempts"][1]["error"] == "redirect"  # never followed

    # The id stays the same over all attempts: a partner that keeps the ids that it has handled handles each event once,
    # although a webhook is delivered at least once.
    assert {attempt.headers["webhook-id"] for attempt in attempts} == {event["id"]}


async def test_a_delivery_that_is_exhausted_can_be_retried_by_hand(
    hub: Hub, client: httpx.AsyncClient, topic: str, partner: Receiver
) -> None:
    """When the last attempt failed too, the delivery is `exhausted`, and the hub publishes that as an event of its own
    to `hub.operational`: follow it like any topic, on a stream, in a room, or by another webhook."""
    async with SseClient.open(hub, "topic=hub.operational&type=hub.delivery.exhausted") as operations:
        await operations.event()
        partner.answers["/hook"] = [answer(503) for _ in range(3)]
        await register(client, url=partner.url(), topics=[topic], retry=SOON)
        event = await publish(client, topic, "parcel")
        while (told := (await operations.data(1))[0])["data"]["event"] != event["id"]:
            pass
    delivery = await delivery_of(client, event, "exhausted")
    assert told["data"]["delivery"] == delivery["id"]

    # The partner has mended its server: owe it once more.
    retried = await client.post(f"/v1/deliveries/{delivery['id']}/retry")
    assert retried.status_code == 202
    delivery = await delivery_of(client, event, "succeeded")
    assert delivery["attempt_count"] == 4
    assert len(partner.at()) == 4


async def test_a_disabled_endpoint_collects_and_gets_all_when_it_is_enabled(
    client: httpx.AsyncClient, topic: str, partner: Receiver
) -> None:
    """While a partner moves house, disable its endpoint: nothing is sent, nothing is lost."""
    endpoint = await register(client, url=partner.url(), topics=[topic], enabled=False)
    events = [await publish(client, topic, number) for number in range(3)]
    for event in events:
        assert (await delivery_of(client, event, "pending"))["attempt_count"] == 0
    assert partner.at() == []
    moved = {"enabled": True, "url": partner.url("/new-house")}
    assert (await client.patch(f"/v1/endpoints/{endpoint['id']}", json=moved)).status_code == 200
    got = await partner.until(3, "/new-house")
    assert {one.event["id"] for one in got} == {event["id"] for event in events}


async def test_410_says_that_nobody_is_there_any_more(client: httpx.AsyncClient, topic: str, partner: Receiver) -> None:
    """A partner that answers 410 Gone is asked no more: the endpoint is disabled, and what it is owed is cancelled."""
    partner.then = answer(410)
    endpoint = await register(client, url=partner.url(), topics=[topic])
    event = await publish(client, topic, "parcel")
    delivery = await delivery_of(client, event, "cancelled")
    assert delivery["attempts"][0]["status"] == 410
    shown = (await client.get(f"/v1/endpoints/{endpoint['id']}")).json()["data"]
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "gone")
